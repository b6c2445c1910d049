package kafka

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"millrace/shared/delivery"
	"millrace/shared/event"
)

// lostOffsets returns what the metric of lost offsets says.
func lostOffsets(t *testing.T, registry *prometheus.Registry) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "millrace_intake_lost_offsets_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("no metric of lost offsets")
	return 0
}

// fakeLog holds what was sent to a bench's partitions, to be read again.
type fakeLog struct {
	mu      sync.Mutex
	records map[int32][]*sarama.ConsumerMessage // by offset, from 0 on; nil where there is none
	start   int64                               // of all partitions
	fails   int                                 // so many fetches fail
	fetches int
}

func (l *fakeLog) append(m *sarama.ConsumerMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.records == nil {
		l.records = map[int32][]*sarama.ConsumerMessage{}
	}
	for int64(len(l.records[m.Partition])) <= m.Offset {
		l.records[m.Partition] = append(l.records[m.Partition], nil)
	}
	l.records[m.Partition][m.Offset] = m
}

// Fetch returns at most 100 records.
func (l *fakeLog) Fetch(_ context.Context, topic string, partition int32, from int64, _ int32) (Batch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fetches++
	if l.fails > 0 {
		l.fails--
		return Batch{}, errors.New("Kafka is away")
	}
	all := l.records[partition]
	if topic != "t" || from < l.start || from > int64(len(all)) {
		return Batch{}, fmt.Errorf("fetch: %w", sarama.ErrOffsetOutOfRange)
	}
	b := Batch{Next: min(from+100, int64(len(all))), Stable: int64(len(all))}
	for _, m := range all[from:b.Next] {
		if m != nil {
			b.Records = append(b.Records, m)
		}
	}
	return b, nil
}

func (l *fakeLog) Span(_ context.Context, _ string, partition int32) (Span, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Span{l.start, int64(len(l.records[partition]))}, nil
}

// contracts is a handler of which some events wait while there is no contract.
type contracts struct {
	mu     sync.Mutex
	there  bool
	after  time.Duration // default 10 s
	waits  func(n int64) bool
	tries  int                // of events that wait
	done   map[int64]int      // by offset; events of a bench have it as their id
	order  map[string][]int64 // done, by subject
	passed func(n int64)
}

func (c *contracts) Handle(_ context.Context, events []*event.Event) delivery.Outcomes {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := doneAll(events)
	for i, e := range events {
		n, err := strconv.ParseInt(e.ID(), 10, 64)
		if err != nil {
			out.Failed(i, err)
			continue
		}
		if !c.there && c.waits(n) {
			c.tries++
			out.RetryAfter(i, errors.New("its contract comes later"), cmp.Or(c.after, 10*time.Second))
			continue
		}
		if c.done == nil {
			c.done, c.order = map[int64]int{}, map[string][]int64{}
		}
		c.done[n]++
		c.order[e.Source()] = append(c.order[e.Source()], n)
		if c.passed != nil {
			c.passed(n)
		}
	}
	return out
}

func (c *contracts) come() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.there = true
}

// state returns how many different events are done, how many were done more than once, and how often one that waits was tried.
func (c *contracts) state() (done, twice, tries int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.done {
		if n > 1 {
			twice++
		}
	}
	return len(c.done), twice, c.tries
}

// Guards good events against any number of others that wait for their contract: these hold no bytes, are tried one by one, and pass within a moment once it is there, each once.
func TestIntakeGivesWaitingEventsUpFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &contracts{waits: func(n int64) bool { return n%4 != 3 }}
		size := recordSize(message(0, 0, ""))
		b := newBench(t, 1, IntakeOptions{MaxBytes: 50 * size, MaxBatch: 20}, c)
		b.log.fails = 3
		b.send(0, 0, 8000, nil)
		<-time.After(9 * time.Second)
		synctest.Wait()
		done, twice, tries := c.state()
		st := b.in.Status()
		if done != 2000 || twice != 0 || tries != 6000 || st.Waiting != 6000 || b.in.held.Load() != 0 || !st.Paused.IsZero() {
			t.Errorf("while they wait: %d done, %d twice, %d tries, %d bytes held, %+v", done, twice, tries, b.in.held.Load(), st)
		}
		<-time.After(5 * time.Minute)
		synctest.Wait()
		if _, _, later := c.state(); later-tries < 25 || later-tries > 35 {
			t.Errorf("in five minutes they were tried %d times", later-tries)
		}
		if at, _ := b.session.at(0); at > 0 {
			t.Errorf("position %d", at)
		}
		c.come()
		<-time.After(12 * time.Second)
		synctest.Wait()
		done, twice, _ = c.state()
		at, _ := b.session.at(0)
		if st = b.in.Status(); done != 8000 || twice != 0 || at != 8000 || st.Waiting != 0 || st.Unfinished != 0 || b.in.held.Load() != 0 {
			t.Errorf("after it came: %d done, %d twice, position %d, %d bytes held, %+v", done, twice, at, b.in.held.Load(), st)
		}
		b.leave()
	})
}

// Guards order within a key: what comes behind an event that waits does so too, whatever its type, and holds no bytes meanwhile; other keys go on.
func TestIntakeKeepsOrderBehindWaitingEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := func(n int64) string { return string(rune('a' + n%4)) }
		c := &contracts{waits: func(n int64) bool { return n == 0 || n == 1 || n == 40 }}
		size := recordSize(message(0, 0, "a"))
		b := newBench(t, 1, IntakeOptions{MaxBytes: 50 * size, MaxBatch: 20, Ordered: true, MaxConcurrentBatches: 3}, c)
		b.send(0, 0, 4000, key)
		<-time.After(time.Minute)
		synctest.Wait()
		if done, _, _ := c.state(); done != 2000 || b.in.held.Load() != 0 || b.in.Status().Waiting != 2000 {
			t.Errorf("while they wait: %d done, %d bytes held, %+v", done, b.in.held.Load(), b.in.Status())
		}
		c.come()
		<-time.After(5 * time.Minute)
		synctest.Wait()
		done, twice, _ := c.state()
		if at, _ := b.session.at(0); done != 4000 || twice != 0 || at != 4000 || b.in.held.Load() != 0 {
			t.Errorf("after it came: %d done, %d twice, position %d, %d bytes held", done, twice, at, b.in.held.Load())
		}
		of := map[string][]int64{}
		for _, n := range c.order["/0"] {
			of[key(n)] = append(of[key(n)], n)
		}
		b.log.mu.Lock()
		if b.log.fetches > 1000 { // how many lie together depends on who runs first; one each is the mistake
			t.Errorf("%d fetches for 2,000 events", b.log.fetches)
		}
		b.log.mu.Unlock()
		for k, list := range of {
			if !slices.IsSorted(list) {
				t.Errorf("key %s is out of order", k)
			}
		}
		b.leave()
	})
}

// Guards the bound: beyond MaxWaiting events that wait stay in memory, whose bound then holds reading up; both kinds pass when the contract comes.
func TestIntakeBoundsWaitingEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &contracts{waits: func(int64) bool { return true }}
		size := recordSize(message(0, 0, "a"))
		b := newBench(t, 2, IntakeOptions{MaxBytes: 50 * size, MaxBatch: 20, MaxWaiting: 300, Ordered: true}, c)
		key := func(n int64) string { return fmt.Sprint("k", n%100) }
		b.send(0, 0, 500, key)
		b.send(1, 0, 500, key)
		<-time.After(time.Minute)
		synctest.Wait()
		st := b.in.Status()
		if st.Waiting > 300+12 || st.Unfinished > 350+12 || b.in.held.Load() > 50*size*5/4 || b.in.paused.Load() != 2 || time.Since(st.Paused) < 50*time.Second {
			t.Errorf("%+v, %d bytes held, %d paused", st, b.in.held.Load(), b.in.paused.Load())
		}
		c.come()
		<-time.After(5 * time.Minute)
		synctest.Wait()
		first, _ := b.session.at(0)
		second, _ := b.session.at(1)
		if st = b.in.Status(); first != 500 || second != 500 || st.Waiting != 0 || b.in.held.Load() != 0 || b.in.paused.Load() != 0 || !st.Paused.IsZero() {
			t.Errorf("positions %d and %d, %d bytes held, %d paused, %+v", first, second, b.in.held.Load(), b.in.paused.Load(), st)
		}
		b.leave()
	})
}

// Guards against silence where retention removes what waits: the range is an error in the log and counted, and the position goes on past it; what is there still passes.
func TestIntakeCountsWaitingEventsThatKafkaDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &contracts{waits: func(int64) bool { return true }}
		registry := prometheus.NewRegistry()
		b := newBench(t, 1, IntakeOptions{MaxBatch: 20, Registerer: registry}, c)
		var text bytes.Buffer
		b.in.o.Logger = slog.New(slog.NewTextHandler(&text, nil))
		b.send(0, 0, 1000, nil)
		<-time.After(5 * time.Second)
		synctest.Wait()
		b.log.mu.Lock()
		b.log.start = 300
		clear(b.log.records[0][:300])
		b.log.records[0][500] = nil // as after compaction
		b.log.mu.Unlock()
		<-time.After(time.Minute)
		synctest.Wait()
		if at, _ := b.session.at(0); at != 300 || lostOffsets(t, registry) != 300 {
			t.Errorf("position %d, %v lost", at, lostOffsets(t, registry))
		}
		if !strings.Contains(text.String(), "records are lost: Kafka deleted them while their events waited") || !strings.Contains(text.String(), "first=0 last=299 events=300") {
			t.Errorf("said: %s", text.String())
		}
		c.come()
		<-time.After(time.Minute)
		synctest.Wait()
		if done, twice, _ := c.state(); done != 699 || twice != 0 {
			t.Errorf("%d done, %d twice", done, twice)
		}
		if at, _ := b.session.at(0); at != 1000 || lostOffsets(t, registry) != 301 {
			t.Errorf("position %d, %v lost", at, lostOffsets(t, registry))
		}
		b.leave()
	})
}

// Guards against a line of log and a fetch for each event where many wait for one of their key and retention removes them: they are lost together.
func TestIntakeCountsLostEventsOfOneKeyTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &contracts{waits: func(int64) bool { return true }}
		registry := prometheus.NewRegistry()
		b := newBench(t, 1, IntakeOptions{MaxBatch: 20, Ordered: true, Registerer: registry}, c)
		var text bytes.Buffer
		b.in.o.Logger = slog.New(slog.NewTextHandler(&text, nil))
		b.send(0, 0, 1000, func(int64) string { return "k" })
		<-time.After(5 * time.Second)
		synctest.Wait()
		b.log.mu.Lock()
		b.log.start = 300
		clear(b.log.records[0][:300])
		before := b.log.fetches
		b.log.mu.Unlock()
		<-time.After(time.Minute)
		synctest.Wait()
		at, _ := b.session.at(0)
		if n := strings.Count(text.String(), "records are lost"); at != 300 || lostOffsets(t, registry) != 300 || n != 1 || !strings.Contains(text.String(), "first=0 last=299 events=300") {
			t.Errorf("position %d, %v lost, told %d times: %s", at, lostOffsets(t, registry), n, text.String())
		}
		b.log.mu.Lock()
		if n := b.log.fetches - before; n > 20 {
			t.Errorf("%d fetches in a minute", n)
		}
		b.log.mu.Unlock()
		c.come()
		<-time.After(time.Minute)
		synctest.Wait()
		if done, twice, _ := c.state(); done != 700 || twice != 0 || b.in.Status().Waiting != 0 {
			t.Errorf("%d done, %d twice, %+v", done, twice, b.in.Status())
		}
		b.leave()
	})
}

// Guards an intake against producers who invent types or versions of them that wait: beyond a bound those are tried as one kind, and all pass when the contract comes.
func TestIntakeBoundsKindsOfWaitingEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 3 * maxKinds
		c := &contracts{waits: func(int64) bool { return true }}
		b := newBench(t, 1, IntakeOptions{MaxBatch: 20}, c)
		for i := range int64(n) {
			m := message(0, i, "")
			m.Headers = append(m.Headers, &sarama.RecordHeader{Key: []byte("ce_schemaversion"), Value: fmt.Appendf(nil, "0-0-%d", i)})
			b.log.append(m)
			b.claims[0].messages <- m
		}
		<-time.After(5 * time.Second)
		synctest.Wait()
		_, _, first := c.state()
		<-time.After(time.Minute)
		synctest.Wait()
		_, _, later := c.state()
		if most := 7 * (maxKinds + 1); later-first > most || later-first < maxKinds || b.in.Status().Waiting != n {
			t.Errorf("in a minute they were tried %d times, %+v", later-first, b.in.Status())
		}
		c.come()
		<-time.After(time.Minute)
		synctest.Wait()
		if done, twice, _ := c.state(); done != n || twice != 0 || b.in.Status().Waiting != 0 {
			t.Errorf("%d done, %d twice, %+v", done, twice, b.in.Status())
		}
		b.leave()
	})
}

// Guards the end of an intake that is connecting to brokers which do not answer, as it would read waiting events again: it does not wait for each of them.
func TestConnectingForWaitingEventsIsBounded(t *testing.T) {
	t.Parallel() // it takes rereadTimeout
	in := NewIntake([]string{"a:1", "b:1", "c:1", "d:1", "e:1", "f:1", "g:1", "h:1"}, []string{"t"}, "g", &contracts{}, IntakeOptions{
		Logger: slog.New(slog.DiscardHandler), Config: func(c *sarama.Config) { c.Net.Proxy.Enable, c.Net.Proxy.Dialer = true, silent{} },
	})
	began := time.Now()
	if _, _, err := in.openReader(); err == nil || time.Since(began) > 2*rereadTimeout {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

// silent dials brokers that do not answer.
type silent struct{}

// Dial implements proxy.Dialer.
func (silent) Dial(string, string) (net.Conn, error) {
	<-time.After(1500 * time.Millisecond) // as a dialer's own timeout
	return nil, errors.New("timed out")
}

// forgetful counts failures, and can forget them, as a counter of bounded memory does.
type forgetful struct {
	mu sync.Mutex
	n  map[string]int
}

func (f *forgetful) Count(e *event.Event) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n[e.ID()]
}

func (f *forgetful) Restore(e *event.Event, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n[e.ID()] = max(n, f.n[e.ID()])
}

// Guards the attempts of an event that failed before it had to wait: the commit's metadata hold them all the time, and they count on when it is read again, whatever was forgotten meanwhile.
func TestIntakeKeepsAttemptsOfWaitingEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var phase, counted atomic.Int64 // phase 0: event 0 fails, 1: it waits, 2: it passes
		attempts := &forgetful{n: map[string]int{}}
		b := newBench(t, 1, IntakeOptions{Attempts: attempts}, delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
			out := doneAll(events)
			for i, e := range events {
				switch {
				case e.ID() != "0":
				case phase.Load() == 0:
					attempts.Restore(e, attempts.Count(e)+1)
					out.Failed(i, errors.New("it fails"))
				case phase.Load() == 1:
					out.RetryAfter(i, errors.New("its contract went away"), time.Minute)
				default:
					counted.Store(int64(attempts.Count(e)))
				}
			}
			return out
		}))
		b.send(0, 0, 10, nil)
		<-time.After(5 * time.Second)
		phase.Store(1)
		<-time.After(20 * time.Second)
		synctest.Wait()
		had := attempts.n["0"]
		clear(attempts.n)
		st := b.in.Status()
		b.send(0, 10, 1, nil) // a commit anew
		<-time.After(time.Second)
		synctest.Wait()
		at, metadata := b.session.at(0)
		kept, err := decodeFailures(0, metadata)
		if err != nil || at != 0 || had < 2 || st.Waiting != 1 || st.Failing != 1 || kept[0].attempts != had {
			t.Errorf("position %d, %d attempts, %+v, %q, %v", at, had, st, metadata, err)
		}
		phase.Store(2)
		<-time.After(2 * time.Minute)
		synctest.Wait()
		if at, metadata := b.session.at(0); at != 11 || metadata != "" || counted.Load() != int64(had) {
			t.Errorf("position %d, %q, %d attempts of %d", at, metadata, counted.Load(), had)
		}
		b.leave()
	})
}

// Guards the end of a generation while events wait and while they are read again: nothing is committed past them, no bytes stay, and the next generation starts anew.
func TestIntakeLeavesWithWaitingEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &contracts{waits: func(n int64) bool { return n >= 10 }}
		b := newBench(t, 1, IntakeOptions{MaxBatch: 20}, c)
		b.send(0, 0, 1000, nil)
		<-time.After(5 * time.Second)
		synctest.Wait()
		b.leave()
		if at, _ := b.session.at(0); at != 10 || b.in.held.Load() != 0 {
			t.Errorf("position %d, %d bytes held", at, b.in.held.Load())
		}
		// It ends while events that were read again fill their bytes, and one waits for some.
		c.there, c.after = false, time.Second
		hang := make(chan struct{})
		c.waits = func(n int64) bool { return n >= 10 }
		b.in.againBytes = 3 * recordSize(message(0, 0, ""))
		b.in.again = semaphore.NewWeighted(b.in.againBytes)
		b.log.records = nil
		b.join(t, 1, nil)
		b.send(0, 0, 1000, nil)
		<-time.After(500 * time.Millisecond)
		synctest.Wait()
		c.mu.Lock()
		c.there = true
		held := 0
		c.passed = func(int64) {
			if held++; held > 1 { // the trial passes
				c.mu.Unlock()
				<-hang
				c.mu.Lock()
			}
		}
		c.mu.Unlock()
		<-time.After(5 * time.Second)
		synctest.Wait()
		if b.in.again.TryAcquire(1) {
			t.Error("the bytes of events that are read again are not used up: the test shows nothing")
		}
		time.AfterFunc(time.Second, func() { close(hang) })
		b.leave()
		b.in.batches.Wait()
		if !b.in.again.TryAcquire(b.in.againBytes) || b.in.held.Load() != 0 {
			t.Errorf("bytes are not given back; %d held", b.in.held.Load())
		}
		b.in.again.Release(b.in.againBytes)
		c.mu.Lock()
		c.passed, c.there, c.after = nil, false, 0
		c.mu.Unlock()
		b.log.records = nil
		b.join(t, 1, nil)
		b.send(0, 0, 1000, nil)
		<-time.After(5 * time.Second)
		b.log.mu.Lock()
		b.log.fails = 1000
		b.log.mu.Unlock()
		c.come()
		<-time.After(time.Minute)
		synctest.Wait()
		b.leave()
		if at, _ := b.session.at(0); at != 10 || b.in.held.Load() != 0 {
			t.Errorf("with Kafka away: position %d, %d bytes held", at, b.in.held.Load())
		}
		b.in.batches.Wait()
		if !b.in.again.TryAcquire(b.in.againBytes) || !b.in.bytes.TryAcquire(b.in.o.MaxBytes) {
			t.Error("bytes are not given back")
		}
	})
}

// Guards a dependency that asks for a pause: nothing else is handed to it meanwhile, and of an hour that it asks for no more than delivery.MaxHold is obeyed.
func TestIntakeHoldsBackAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []time.Time
		var done int
		var mu sync.Mutex
		away := true
		h := delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, time.Now())
			out := doneAll(events)
			for i := range events {
				if away {
					out.Settle(i, delivery.Away(errors.New("503 with Retry-After"), time.Hour))
				}
			}
			if !away {
				done += len(events)
			}
			return out
		})
		b := newBench(t, 1, IntakeOptions{MaxBatch: 10, MaxConcurrentBatches: 1}, h)
		b.send(0, 0, 1000, nil)
		<-time.After(10 * time.Minute)
		synctest.Wait()
		mu.Lock()
		if len(calls) < 9 || len(calls) > 12 || b.in.Status().Waiting != 0 {
			t.Errorf("%d calls in ten minutes, %+v", len(calls), b.in.Status())
		}
		for i := 1; i < len(calls); i++ {
			if pause := calls[i].Sub(calls[i-1]); pause < delivery.MaxHold {
				t.Errorf("pause %d is %s", i, pause)
			}
		}
		away = false
		mu.Unlock()
		<-time.After(delivery.MaxHold + time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if done != 1000 {
			t.Errorf("%d done a minute after its return", done)
		}
		b.leave()
	})
}

// Guards a type that waits for its contract on a broker, in numbers that fit no memory: 50,000 of them, and as many good ones between. The good ones pass, bytes in flight stay within their bound,
// a member that dies without a commit and others that come change nothing of it, and once the contract is there all pass and the group's position is the end.
func TestIntakeOfWaitingEventsOnKafka(t *testing.T) {
	const n = 100_000
	brokers, cluster := newCluster(t, "t")
	p := NewProducer(brokers, ProducerOptions{Timeout: 20 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	defer func() { _ = p.Close(context.Background()) }()
	for from := 0; from < n; from += 5000 {
		var events []*event.Event
		for i := from; i < from+5000; i++ {
			e, err := event.DecodeStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":"%d","source":"/s","type":"%s","data":{"n":%d}}`, i, []string{"Good", "Waits"}[i%2], i))
			if err != nil {
				t.Fatal(err)
			}
			if err := event.Derive(e, time.Now()); err != nil {
				t.Fatal(err)
			}
			events = append(events, e)
		}
		for _, err := range p.Sink("t").Publish(t.Context(), events) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	const maxBytes = 4 << 20
	var dead atomic.Bool
	onCommit(cluster, func(int32, int64) bool { return !dead.Load() })
	var members [3]*Intake
	var most atomic.Int64
	c := &contracts{waits: func(n int64) bool { return n%2 == 1 }, after: 200 * time.Millisecond}
	start := func(i int) (stop func()) {
		h := delivery.HandlerFunc(func(ctx context.Context, events []*event.Event) delivery.Outcomes {
			if held := members[i].held.Load(); held > most.Load() {
				most.Store(held)
			}
			return c.Handle(ctx, events)
		})
		ready := make(chan struct{})
		members[i], stop = runIntake(t, brokers, delivery.HandlerFunc(func(ctx context.Context, events []*event.Event) delivery.Outcomes {
			<-ready
			return h.Handle(ctx, events)
		}), func(o *IntakeOptions) { o.MaxBytes, o.Ordered = maxBytes, true })
		close(ready)
		return stop
	}
	// until looks again whenever events were handled, or a moment passed.
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.After(60 * time.Second); !ok(); {
			select {
			case <-end:
				done, twice, tries := c.state()
				t.Fatalf("%s: not within a minute; %d done, %d twice, %d tries", what, done, twice, tries)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	stop := start(0)
	until("good ones", func() bool { done, _, _ := c.state(); return done >= n/2 })
	until("all wait", func() bool { return members[0].Status().Waiting == n/2 })
	if held := members[0].held.Load(); held > maxBytes/100 {
		t.Errorf("%d bytes held while %d wait", held, n/2)
	}
	dead.Store(true) // of what it did nothing is committed
	stop()
	dead.Store(false)
	before := committed(t, brokers, "t", "g")
	finished := int(max(0, before[0]) + max(0, before[1])) // which lie before the first that waits
	c.mu.Lock()
	clear(c.done)
	c.mu.Unlock()
	stops := []func(){start(1), start(2)}
	until("good ones again", func() bool { done, _, _ := c.state(); return done >= n/2-finished })
	c.come()
	until("all", func() bool { done, _, _ := c.state(); return done == n-finished })
	for _, stop := range stops {
		stop()
	}
	if at := committed(t, brokers, "t", "g"); at[0]+at[1] != n {
		t.Errorf("committed %v", at)
	}
	if most.Load() > maxBytes*5/4 {
		t.Errorf("%d bytes held of %d", most.Load(), maxBytes)
	}
	t.Logf("%d bytes held at most", most.Load())
}
