package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/shared/delivery"
	"millrace/shared/event"
)

// The tests of an intake's own rules run a round on a partition that is a channel, in a bubble of synctest, where time passes at once; those of what Kafka does to it run on kfake.

// fakeSession notes what is marked, as sarama's own does.
type fakeSession struct {
	ctx context.Context

	mu       sync.Mutex
	position map[int32]int64
	metadata map[int32]string
}

func newFakeSession(ctx context.Context) *fakeSession {
	return &fakeSession{ctx: ctx, position: map[int32]int64{}, metadata: map[int32]string{}}
}

func (s *fakeSession) Claims() map[string][]int32 { return nil }
func (s *fakeSession) MemberID() string           { return "" }
func (s *fakeSession) GenerationID() int32        { return 1 }
func (s *fakeSession) Commit()                    {}
func (s *fakeSession) Context() context.Context   { return s.ctx }
func (s *fakeSession) MarkMessage(*sarama.ConsumerMessage, string) {
	panic("marks go by offset")
}

func (s *fakeSession) MarkOffset(_ string, p int32, offset int64, metadata string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.position[p]; !ok || offset > at {
		s.position[p], s.metadata[p] = offset, metadata
	}
}

func (s *fakeSession) ResetOffset(_ string, p int32, offset int64, metadata string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.position[p]; ok && offset <= at {
		s.position[p], s.metadata[p] = offset, metadata
	}
}

func (s *fakeSession) at(p int32) (int64, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.position[p]; ok {
		return at, s.metadata[p]
	}
	return -1, ""
}

// fakeClaim is a partition that begins at 0.
type fakeClaim struct {
	partition int32
	messages  chan *sarama.ConsumerMessage
}

func (c *fakeClaim) Topic() string                            { return "t" }
func (c *fakeClaim) Partition() int32                         { return c.partition }
func (c *fakeClaim) InitialOffset() int64                     { return 0 }
func (c *fakeClaim) HighWaterMarkOffset() int64               { return 1000 }
func (c *fakeClaim) Messages() <-chan *sarama.ConsumerMessage { return c.messages }

// bench is an intake without Kafka.
type bench struct {
	in      *Intake
	round   *round
	session *fakeSession
	end     context.CancelFunc
	claims  []*fakeClaim
	left    sync.WaitGroup
	log     fakeLog
}

func newBench(t *testing.T, partitions int, o IntakeOptions, h delivery.Handler) *bench {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	if o.OnUndecodable == nil {
		o.OnUndecodable = func(context.Context, http.Header, []byte, error) error {
			t.Error("a record is no CloudEvent")
			return nil
		}
	}
	b := &bench{in: NewIntake([]string{"none:1"}, []string{"t"}, "g", h, o)}
	b.in.reader = func() (rereader, func() error, error) { return &b.log, func() error { return nil }, nil }
	b.join(t, partitions, nil)
	return b
}

// join begins a generation, with what the former owners left in the commits' metadata.
func (b *bench) join(t *testing.T, partitions int, metadata map[int32]string) {
	t.Helper()
	var ctx context.Context
	ctx, b.end = context.WithCancel(t.Context())
	b.session, b.claims = newFakeSession(ctx), nil
	b.round = b.in.newRound(nil).(*round)
	b.round.before = map[string]map[int32]map[int64]failure{"t": {}}
	b.in.current = b.round
	for p := range partitions {
		before, err := decodeFailures(0, metadata[int32(p)])
		if err != nil {
			t.Fatal(err)
		}
		b.round.before["t"][int32(p)] = before
	}
	for p := range partitions {
		c := &fakeClaim{partition: int32(p), messages: make(chan *sarama.ConsumerMessage, 10_000)}
		b.claims = append(b.claims, c)
		b.left.Go(func() {
			if err := b.round.ConsumeClaim(b.session, c); err != nil {
				t.Error(err)
			}
		})
	}
}

// leave ends the generation, and waits until its partitions are given up.
func (b *bench) leave() {
	b.end()
	b.left.Wait()
	_ = b.round.Cleanup(b.session)
}

// message returns a record with an event whose id is its offset.
func message(partition int32, offset int64, key string) *sarama.ConsumerMessage {
	m := &sarama.ConsumerMessage{Topic: "t", Partition: partition, Offset: offset, Value: []byte("{}")}
	if key != "" {
		m.Key = []byte(key)
	}
	for _, h := range [][2]string{{"ce_specversion", "1.0"}, {"ce_id", fmt.Sprint(offset)}, {"ce_source", fmt.Sprint("/", partition)}, {"ce_type", "T"}} {
		m.Headers = append(m.Headers, &sarama.RecordHeader{Key: []byte(h[0]), Value: []byte(h[1])})
	}
	return m
}

func (b *bench) send(partition int32, from, n int64, key func(i int64) string) {
	for i := from; i < from+n; i++ {
		k := ""
		if key != nil {
			k = key(i)
		}
		m := message(partition, i, k)
		b.log.append(m)
		b.claims[partition].messages <- m
	}
}

func doneAll(events []*event.Event) delivery.Outcomes {
	out := delivery.NewOutcomes(len(events))
	for i := range out {
		out.Done(i)
	}
	return out
}

// Guards the batches: events that lie there are handed out many at a time, over all partitions, by number, by bytes and, where they are few, after their time.
func TestIntakeBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sizes []int
		h := delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
			mu.Lock()
			defer mu.Unlock()
			sizes = append(sizes, len(events))
			return doneAll(events)
		})
		came := func(when string, want ...int) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(sizes, want) {
				t.Errorf("%s: batches of %v, want %v", when, sizes, want)
			}
		}
		b := newBench(t, 2, IntakeOptions{MaxBatch: 10, MaxConcurrentBatches: 1, MaxWait: time.Second}, h)
		b.send(0, 0, 9, nil)
		b.send(1, 0, 6, nil)
		synctest.Wait()
		came("before the wait is over", 10)
		<-time.After(time.Second)
		synctest.Wait()
		came("after it", 10, 5)
		first, _ := b.session.at(0)
		if second, _ := b.session.at(1); first != 9 || second != 6 {
			t.Errorf("positions %d and %d", first, second)
		}
		b.leave()
		if n := b.in.held.Load(); n != 0 {
			t.Errorf("%d bytes are still held", n)
		}
	})
}

// Guards the commit and good events against a poison one that is never done: the others go on and the position stays at it; it comes again after growing pauses, by itself.
func TestIntakeCommitsBehindTheOldestUnfinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Time
		done := map[string]int{}
		h := delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
			out := doneAll(events)
			for i, e := range events {
				if e.ID() == "3" {
					tries = append(tries, time.Now())
					out.Retry(i, errors.New("not yet"))
				} else {
					done[e.ID()]++
				}
			}
			return out
		})
		b := newBench(t, 1, IntakeOptions{MaxConcurrentBatches: 1}, h)
		b.send(0, 0, 10, nil)
		<-time.After(time.Minute)
		synctest.Wait()
		if at, _ := b.session.at(0); at != 3 || len(done) != 9 || len(tries) < 10 {
			t.Errorf("position %d, %d done, %d tries of the poison", at, len(done), len(tries))
		}
		for i := 1; i < len(tries); i++ {
			if pause := tries[i].Sub(tries[i-1]); pause < 50*time.Millisecond || pause > 2*maxRetryWait {
				t.Errorf("pause %d is %s", i, pause)
			}
		}
		for id, n := range done {
			if n != 1 {
				t.Errorf("event %s was done %d times", id, n)
			}
		}
		b.leave()
		if at, _ := b.session.at(0); at != 3 || b.in.held.Load() != 0 {
			t.Errorf("at the end: position %d, %d bytes held", at, b.in.held.Load())
		}
	})
}

// Guards an outage: nothing moves and nothing is lost; the handler is asked ever less often and with ever smaller batches; and when it is over, all is done within
// the longest pause, each event once.
func TestIntakeOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		away, calls, largest, finished := true, 0, 0, map[string]int{}
		h := delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
			mu.Lock()
			defer mu.Unlock()
			calls++
			if away {
				largest = len(events)
				out := delivery.NewOutcomes(len(events))
				out.RetryAll(errors.New("away"))
				return out
			}
			for _, e := range events {
				finished[e.Source()+e.ID()]++
			}
			return doneAll(events)
		})
		b := newBench(t, 2, IntakeOptions{MaxBatch: 100, MaxConcurrentBatches: 1}, h)
		b.send(0, 0, 500, nil)
		b.send(1, 0, 500, nil)
		<-time.After(10 * time.Minute)
		synctest.Wait()
		if at, _ := b.session.at(0); at > 0 || calls < 100 || calls > 400 || largest != 1 {
			t.Errorf("in the outage: position %d, %d calls, the last with %d events", at, calls, largest)
		}
		mu.Lock()
		away = false
		mu.Unlock()
		<-time.After(maxRetryWait + time.Second)
		synctest.Wait()
		first, _ := b.session.at(0)
		second, _ := b.session.at(1)
		if first != 500 || second != 500 || len(finished) != 1000 {
			t.Errorf("after it: positions %d and %d, %d events", first, second, len(finished))
		}
		for id, n := range finished {
			if n != 1 {
				t.Errorf("%s was done %d times", id, n)
			}
		}
		b.leave()
	})
}

// Guards an intake of few events against one that its handler holds back for long: it is not an outage for the others.
func TestIntakeOneHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done atomic.Int64
		h := delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
			out := doneAll(events)
			for i, e := range events {
				if e.ID() == "0" {
					out.RetryAfter(i, errors.New("its contract comes later"), time.Hour)
				} else {
					done.Add(1)
				}
			}
			return out
		})
		b := newBench(t, 1, IntakeOptions{}, h)
		b.send(0, 0, 1, nil)
		<-time.After(time.Second)
		b.send(0, 1, 1, nil)
		<-time.After(time.Second)
		synctest.Wait()
		if done.Load() != 1 {
			t.Error("the second event waits for the first")
		}
		b.leave()
	})
}

// Guards events of one type against another's whose contract is held back: many that wait are no outage for those behind them.
func TestIntakeManyHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done atomic.Int64
		h := delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
			out := doneAll(events)
			for i, e := range events {
				if n, _ := strconv.Atoi(e.ID()); n < 2000 {
					out.RetryAfter(i, errors.New("its contract comes later"), 10*time.Second)
				} else {
					done.Add(1)
				}
			}
			return out
		})
		b := newBench(t, 1, IntakeOptions{}, h)
		b.send(0, 0, 2010, nil)
		<-time.After(time.Minute)
		synctest.Wait()
		if done.Load() != 10 {
			t.Errorf("%d of the good events are done after a minute", done.Load())
		}
		b.leave()
	})
}

// Guards order within a key: an event is not handed out while an earlier one of its key is unfinished, not in the same batch either, whatever fails; other keys go on.
func TestIntakeOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[string][]int64{} // by key
		failed := map[string]int{}
		open := map[string]bool{}
		var mu sync.Mutex
		key := func(i int64) string { return string(rune('a' + i%3)) }
		h := delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
			mu.Lock()
			for _, e := range events {
				n, _ := strconv.ParseInt(e.ID(), 10, 64)
				if open[key(n)] {
					t.Errorf("event %d was handed out while another of its key was", n)
				}
				open[key(n)] = true
			}
			mu.Unlock()
			<-time.After(time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			out := doneAll(events)
			for i, e := range events {
				n, _ := strconv.ParseInt(e.ID(), 10, 64)
				open[key(n)] = false
				if n%3 == 0 && failed[e.ID()] < 2 { // key a fails often
					failed[e.ID()]++
					out.Failed(i, errors.New("again"))
					continue
				}
				seen[key(n)] = append(seen[key(n)], n)
			}
			return out
		})
		b := newBench(t, 1, IntakeOptions{Ordered: true, MaxConcurrentBatches: 4}, h)
		b.send(0, 0, 60, key)
		<-time.After(300 * time.Millisecond)
		mu.Lock()
		if len(seen["b"]) != 20 || len(seen["c"]) != 20 || len(seen["a"]) > 10 {
			t.Errorf("after a moment: %d, %d, %d", len(seen["a"]), len(seen["b"]), len(seen["c"]))
		}
		mu.Unlock()
		<-time.After(time.Minute)
		synctest.Wait()
		for k, list := range seen {
			if len(list) != 20 || !slices.IsSorted(list) {
				t.Errorf("key %s: %v", k, list)
			}
		}
		if at, _ := b.session.at(0); at != 60 {
			t.Errorf("position %d", at)
		}
		b.leave()
	})
}

// Guards memory: records are taken in only while there are bytes for them, which the end gives back; and a partition's window bounds what lies behind one that hangs.
func TestIntakeBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		var most, seen atomic.Int64
		h := delivery.HandlerFunc(func(ctx context.Context, events []*event.Event) delivery.Outcomes {
			select {
			case <-hang:
			case <-ctx.Done():
			}
			seen.Add(int64(len(events)))
			return doneAll(events)
		})
		size := recordSize(message(0, 0, ""))
		b := newBench(t, 2, IntakeOptions{MaxBytes: 10 * size, Timeout: time.Hour}, h)
		b.send(0, 0, 100, nil)
		b.send(1, 0, 100, nil)
		<-time.After(time.Minute)
		synctest.Wait()
		most.Store(b.in.held.Load())
		if st := b.in.Status(); most.Load() > 10*size || st.Unfinished > 10 || b.in.paused.Load() != 2 {
			t.Errorf("%d bytes held of %d, %+v, %d paused", most.Load(), 10*size, st, b.in.paused.Load())
		}
		close(hang)
		<-time.After(time.Minute)
		synctest.Wait()
		if seen.Load() != 200 || b.in.held.Load() != 0 || b.in.paused.Load() != 0 {
			t.Errorf("%d handled, %d bytes held, %d paused", seen.Load(), b.in.held.Load(), b.in.paused.Load())
		}
		b.leave()

		first := make(chan struct{})
		var others atomic.Int64
		stuck := delivery.HandlerFunc(func(ctx context.Context, events []*event.Event) delivery.Outcomes {
			for _, e := range events {
				if e.ID() == "0" {
					<-first
					return doneAll(events)
				}
			}
			others.Add(int64(len(events)))
			return doneAll(events)
		})
		b = newBench(t, 1, IntakeOptions{Window: 20, MaxBatch: 1, Timeout: time.Hour}, stuck)
		b.send(0, 0, 100, nil)
		<-time.After(time.Minute)
		synctest.Wait()
		if others.Load() != 19 || b.in.paused.Load() != 1 {
			t.Errorf("%d others behind the one that hangs", others.Load())
		}
		close(first)
		<-time.After(time.Minute)
		synctest.Wait()
		if at, _ := b.session.at(0); at != 100 {
			t.Errorf("position %d", at)
		}
		b.leave()
	})
}

// Guards the end of a generation: what is with the handler is waited for and committed, what waits is not begun, and one that hangs is waited for no longer than Drain, and not committed.
func TestIntakeDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var begun atomic.Int64
		h := delivery.HandlerFunc(func(ctx context.Context, events []*event.Event) delivery.Outcomes {
			begun.Add(1)
			if events[0].Source() == "/1" {
				<-ctx.Done()
				return nil
			}
			<-time.After(2 * time.Second)
			if ctx.Err() != nil {
				t.Error("the batch had no time to finish")
			}
			return doneAll(events)
		})
		b := newBench(t, 2, IntakeOptions{MaxBatch: 1, Drain: 5 * time.Second, Timeout: time.Hour}, h)
		b.send(0, 0, 3, nil)
		synctest.Wait()
		b.send(1, 0, 3, nil)
		<-time.After(time.Second)
		synctest.Wait()
		began := time.Now()
		b.leave()
		if at, _ := b.session.at(0); at != 2 || begun.Load() != 2 || time.Since(began) > 2*time.Second {
			t.Errorf("position %d, %d batches begun, left after %s", at, begun.Load(), time.Since(began))
		}
		b.join(t, 2, nil)
		b.send(1, 0, 3, nil)
		synctest.Wait()
		began = time.Now()
		b.leave()
		if took := time.Since(began); took < 5*time.Second || took > 7*time.Second {
			t.Errorf("left after %s with a handler that hangs", took)
		}
		if at, _ := b.session.at(1); at > 0 || b.in.held.Load() != 0 {
			t.Errorf("position %d of the partition that hung, %d bytes held", at, b.in.held.Load())
		}
	})
}

// Guards a poison event's attempts against rebalances: it is given up after five failures though no owner saw more than two, and the first failure's time stays.
func TestIntakeKeepsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metadata := map[int32]string{}
		var mu sync.Mutex
		var dead []string
		given := func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(dead)
		}
		began := time.Now()
		for owner := range 3 {
			var poison atomic.Pointer[event.Event]
			inner := delivery.Attempts(delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
				out := doneAll(events)
				for i, e := range events {
					if e.ID() == "3" {
						poison.Store(e)
						out.Failed(i, errors.New("poison"))
					}
				}
				return out
			}), 5)
			h := delivery.HandlerFunc(func(ctx context.Context, events []*event.Event) delivery.Outcomes {
				out := inner.Handle(ctx, events)
				for i := range out {
					if out[i].Status == delivery.Dead { // as deadletter.Handler does
						mu.Lock()
						dead = append(dead, events[i].ID()+": "+out[i].Err.Error())
						mu.Unlock()
						out.Done(i)
					}
				}
				return out
			})
			b := newBench(t, 1, IntakeOptions{Attempts: inner, MaxConcurrentBatches: 1}, h)
			b.leave()
			b.join(t, 1, metadata)
			b.send(0, 0, 10, nil)
			synctest.Wait()
			for i := int64(10); i < 500 && len(given()) == 0; i++ { // others pass
				b.send(0, i, 1, nil)
				<-time.After(100 * time.Millisecond)
				if e := poison.Load(); e != nil && inner.Count(e) == 2*(owner+1) {
					break
				}
			}
			st := b.in.Status()
			b.leave()
			at, m := b.session.at(0)
			if len(given()) == 0 {
				if st.Failing != 1 || st.FirstFailure.Unix() != began.Unix() && owner > 0 {
					t.Errorf("owner %d: %+v", owner, st)
				}
				if at != 3 {
					t.Fatalf("owner %d: position %d", owner, at)
				}
				// The next owner reads from here: offsets in the test begin at 0 again, so the distance grows by the position.
				f, err := decodeFailures(at, m)
				if err != nil || f[3].attempts != 2*(owner+1) {
					t.Fatalf("owner %d: %q, %v, %v", owner, m, f, err)
				}
				metadata[0] = encodeFailures(0, []failure{f[3]}, maxMetadata)
				<-time.After(time.Hour)
			} else if m != "" {
				t.Errorf("metadata %q after it was given up", m)
			}
		}
		if len(dead) != 1 || dead[0] != "3: gave up after 5 attempts while others passed: poison" {
			t.Errorf("given up: %v", dead)
		}
	})
}

// Guards what a commit's metadata hold: all, or where there is no room those that failed most; what is not ours, or broken, is no failure of ours.
func TestMetadata(t *testing.T) {
	first := time.Unix(1_800_000_000, 0)
	var many []failure
	for i := range int64(1000) {
		many = append(many, failure{offset: 1_000_000 + i, attempts: int(i % 5), first: first})
	}
	for _, limit := range []int{0, 9, 10, 30, 200, 4096, 1 << 20} {
		text := encodeFailures(1_000_000, slices.Clone(many), limit)
		if len(text) > limit {
			t.Errorf("%d bytes of %d", len(text), limit)
		}
		got, err := decodeFailures(1_000_000, text)
		if err != nil {
			t.Fatal(err)
		}
		least := 5
		for offset, f := range got {
			if f != many[offset-1_000_000] {
				t.Fatalf("%+v", f)
			}
			least = min(least, f.attempts)
		}
		switch {
		case limit < 30 && len(got) > 0, limit == 4096 && (len(got) < 250 || least < 3), limit == 1<<20 && len(got) != 1000:
			t.Errorf("%d bytes hold %d, the least with %d attempts", limit, len(got), least)
		}
	}
	for text, bad := range map[string]bool{"": false, "somebody's": false, metadataVersion: true, metadataVersion + "1.2": true, metadataVersion + "1.x!.2": true, metadataVersion + "-1.1.1": true} {
		if got, err := decodeFailures(0, text); len(got) > 0 || (err != nil) != bad {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// Guards records that are no CloudEvent (foreign, empty, a tombstone): each is kept as a dead letter with its bytes and headers, again until that is durable, and the
// good ones beside them are done.
func TestIntakeUndecodable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		kept := map[string]string{}
		refusals := 2
		var good atomic.Int64
		b := newBench(t, 1, IntakeOptions{OnUndecodable: func(_ context.Context, h http.Header, value []byte, reason error) error {
			mu.Lock()
			defer mu.Unlock()
			if refusals > 0 {
				refusals--
				return errors.New("no dead letter now")
			}
			if !errors.Is(reason, ErrNotCloudEvent) {
				t.Errorf("reason %v", reason)
			}
			kept[string(value)] = h.Get("Ce-Type") + h.Get("X-Other")
			return nil
		}}, delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
			good.Add(int64(len(events)))
			return doneAll(events)
		}))
		foreign := message(0, 1, "k")
		foreign.Value, foreign.Headers = []byte("foreign"), []*sarama.RecordHeader{{Key: []byte("x-other"), Value: []byte("h")}}
		noID := message(0, 2, "k")
		noID.Value, noID.Headers = []byte("no id"), noID.Headers[2:]
		for _, m := range []*sarama.ConsumerMessage{message(0, 0, ""), foreign, noID, {Topic: "t", Offset: 3, Key: []byte("k")}, message(0, 7, "")} {
			b.claims[0].messages <- m
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if len(kept) != 3 || kept["foreign"] != "h" || kept["no id"] != "T" || good.Load() != 2 {
			t.Errorf("kept %v, %d good", kept, good.Load())
		}
		if at, _ := b.session.at(0); at != 8 {
			t.Errorf("position %d", at)
		}
		b.leave()
	})
}

// Guards the process against a record of which making a dead letter panics: it is tried again, and others go on.
func TestIntakeUndecodablePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls, good atomic.Int64
		b := newBench(t, 1, IntakeOptions{OnUndecodable: func(context.Context, http.Header, []byte, error) error {
			calls.Add(1)
			panic("a fault of ours")
		}}, delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
			good.Add(int64(len(events)))
			return doneAll(events)
		}))
		b.claims[0].messages <- &sarama.ConsumerMessage{Topic: "t", Offset: 0}
		b.send(0, 1, 3, nil)
		<-time.After(time.Minute)
		synctest.Wait()
		if at, _ := b.session.at(0); at > 0 || calls.Load() < 2 || good.Load() != 3 {
			t.Errorf("position %d, %d calls, %d good", at, calls.Load(), good.Load())
		}
		b.leave()
	})
}

// Guards against handlers that panic, forget events or return too much: none of it finishes an event.
func TestIntakeBadHandler(t *testing.T) {
	for name, bad := range map[string]func() delivery.Outcomes{
		"panics":            func() delivery.Outcomes { panic("x") },
		"forgets":           func() delivery.Outcomes { return nil },
		"returns too much":  func() delivery.Outcomes { o := delivery.NewOutcomes(9); o.Done(0); return o },
		"gives up unheeded": func() delivery.Outcomes { o := delivery.NewOutcomes(1); o.Dead(0, event.CodeNotJSON, nil); return o },
	} {
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			b := newBench(t, 1, IntakeOptions{}, delivery.HandlerFunc(func(context.Context, []*event.Event) delivery.Outcomes {
				calls++
				return bad()
			}))
			b.send(0, 0, 1, nil)
			<-time.After(time.Second)
			synctest.Wait()
			if at, _ := b.session.at(0); at > 0 || calls < 2 {
				t.Errorf("%s: position %d after %d calls", name, at, calls)
			}
			b.leave()
		})
	}
}

// runIntake runs an intake on brokers until the returned function is called, which waits for its end.
func runIntake(t *testing.T, brokers []string, h delivery.Handler, change func(*IntakeOptions)) (in *Intake, stop func()) {
	t.Helper()
	o := IntakeOptions{
		Logger: slog.New(slog.DiscardHandler), Commit: 10 * time.Millisecond, Config: func(s *sarama.Config) {
			s.Consumer.Group.Heartbeat.Interval = 50 * time.Millisecond
			s.Consumer.Offsets.Retry.Max = 1
		},
		OnUndecodable: func(context.Context, http.Header, []byte, error) error { return nil },
	}
	if change != nil {
		change(&o)
	}
	in = NewIntake(brokers, []string{"t"}, "g", h, o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := receive(t, done); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return in, stop
}

// writeEvents writes events with the ids from..from+n-1, each its own key.
func writeEvents(t *testing.T, brokers []string, topic string, from, n int) {
	t.Helper()
	p := NewProducer(brokers, ProducerOptions{Timeout: 20 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	defer func() { _ = p.Close(context.Background()) }()
	var events []*event.Event
	for i := range n {
		e, err := event.DecodeStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":"%d","source":"/s","type":"T","data":{"n":%d}}`, from+i, from+i))
		if err != nil {
			t.Fatal(err)
		}
		if err := event.Derive(e, time.Now()); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	for i, err := range p.Sink(topic).Publish(t.Context(), events) {
		if err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
	}
}

// Guards the whole way on a broker: readiness, batches, what was not committed before an end without one comes again, and what was does not.
func TestIntakeOnKafka(t *testing.T) {
	brokers, cluster := newCluster(t, "t")
	writeEvents(t, brokers, "t", 0, 100)
	var refuse atomic.Bool
	refuse.Store(true)
	onCommit(cluster, func(int32, int64) bool { return !refuse.Load() })
	seen := make(chan string, 10_000)
	h := delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
		for _, e := range events {
			seen <- e.ID()
		}
		return doneAll(events)
	})
	all := func(n int) {
		t.Helper()
		ids := map[string]bool{}
		for len(ids) < n {
			ids[receive(t, seen)] = true
		}
	}
	in, stop := runIntake(t, brokers, h, nil)
	all(100)
	if err := in.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	stop()
	refuse.Store(false)
	_, stop = runIntake(t, brokers, h, nil)
	all(100)
	stop()
	for len(seen) > 0 {
		<-seen
	}
	got := committed(t, brokers, "t", "g")
	if got[0]+got[1] != 100 {
		t.Errorf("committed %v", got)
	}
	writeEvents(t, brokers, "t", 100, 10)
	_, stop = runIntake(t, brokers, h, nil)
	all(10)
	stop()
	if len(seen) > 0 {
		t.Errorf("%d events that were committed came again", len(seen))
	}
}

// Guards the start before provision: an intake without its topic is not ready, says why, and takes events in once it is there.
func TestIntakeWaitsForItsTopic(t *testing.T) {
	brokers, _ := newCluster(t)
	seen := make(chan string, 100)
	in, _ := runIntake(t, brokers, delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
		for _, e := range events {
			seen <- e.ID()
		}
		return doneAll(events)
	}), nil)
	if err := in.Ready(t.Context()); err == nil {
		t.Error("ready without a topic")
	}
	a, err := NewAdmin(brokers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.EnsureTopic(t.Context(), TopicSpec{Name: "t", Partitions: 2, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	writeEvents(t, brokers, "t", 0, 1)
	receive(t, seen)
	if err := in.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// Guards attempts in real commits: an owner that ends leaves them, with the position, to the next one.
func TestIntakeMetadataOnKafka(t *testing.T) {
	brokers, _ := newCluster(t, "t")
	writeEvents(t, brokers, "t", 0, 40)
	counts := make(chan int, 100)
	handler := func(n int, fail bool) (*delivery.AttemptCounter, delivery.Handler) {
		failed := 0
		var a *delivery.AttemptCounter
		a = delivery.Attempts(delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
			out := doneAll(events)
			for i, e := range events {
				if e.ID() == "7" {
					counts <- a.Count(e)
					if failed++; fail && failed <= n {
						out.Failed(i, errors.New("x"))
					} else if fail {
						out.Retry(i, errors.New("x"))
					}
				}
			}
			return out
		}), 50)
		return a, a
	}
	a, h := handler(1, true)
	_, stop := runIntake(t, brokers, h, func(o *IntakeOptions) { o.Attempts, o.MaxBatch, o.MaxConcurrentBatches = a, 1, 1 })
	for receive(t, counts) == 0 { // until it is counted, others having passed
	}
	stop()
	for len(counts) > 0 {
		<-counts
	}
	a, h = handler(0, false)
	_, stop = runIntake(t, brokers, h, func(o *IntakeOptions) { o.Attempts = a })
	if n := receive(t, counts); n == 0 {
		t.Error("the second owner knows of no failure")
	}
	stop()
	got := committed(t, brokers, "t", "g")
	if got[0]+got[1] != 40 {
		t.Errorf("committed %v", got)
	}
}

// Guards retention that overtakes an intake: it goes on at the oldest record, and what is lost is counted.
func TestIntakeCountsLostRecords(t *testing.T) {
	brokers, _ := newCluster(t, "t")
	produceTo(t, brokers, "t", 0, 10)
	a, err := NewAdmin(brokers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.EnsureStart(t.Context(), GroupTopic{Group: "g", Topic: "t"}); err != nil {
		t.Fatal(err)
	}
	if err := a.admin.DeleteRecords("t", map[int32]int64{0: 6}); err != nil {
		t.Fatal(err)
	}
	kept := make(chan string, 10)
	registry := prometheus.NewRegistry()
	_, stop := runIntake(t, brokers, delivery.HandlerFunc(func(context.Context, []*event.Event) delivery.Outcomes { return nil }), func(o *IntakeOptions) {
		o.Registerer = registry
		o.OnUndecodable = func(_ context.Context, _ http.Header, value []byte, _ error) error { kept <- string(value); return nil }
	})
	for range 4 {
		receive(t, kept)
	}
	stop()
	lost := lostOffsets(t, registry)
	if lost != 6 {
		t.Errorf("%v offsets lost of 6", lost)
	}
	if got := committed(t, brokers, "t", "g")[0]; got != 10 {
		t.Errorf("committed %d", got)
	}
}

// Guards the end of a function that is told to end while its group waits for other members, as long as a rebalance may take: nothing is in hand, so it does not wait with it.
func TestIntakeEndsWhileTheGroupWaits(t *testing.T) {
	brokers, cluster := newCluster(t, "t")
	asked, held := make(chan struct{}, 10), make(chan struct{})
	defer close(held)
	cluster.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		asked <- struct{}{}
		cluster.SleepControl(func() { <-held })
		return nil, nil, false
	})
	in, stop := runIntake(t, brokers, delivery.HandlerFunc(func(context.Context, []*event.Event) delivery.Outcomes { return nil }), nil)
	receive(t, asked)
	began := time.Now()
	stop()
	if took := time.Since(began); took > 3*joinTime {
		t.Errorf("it ended after %s", took)
	}
	if in.Ready(t.Context()) == nil {
		t.Error("ready without having joined")
	}
}

// Guards the position against a broker that takes less metadata than ours: it is committed all the same, with what there is room for.
func TestIntakeShortMetadata(t *testing.T) {
	brokers, cluster := newCluster(t, "t")
	writeEvents(t, brokers, "t", 0, 300)
	var refused, taken atomic.Int64
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		req := r.(*kmsg.OffsetCommitRequest)
		longest := 0
		res := req.ResponseKind().(*kmsg.OffsetCommitResponse)
		for _, topic := range req.Topics {
			answer := kmsg.NewOffsetCommitResponseTopic()
			answer.Topic = topic.Topic
			for _, p := range topic.Partitions {
				if p.Metadata != nil {
					longest = max(longest, len(*p.Metadata))
				}
				a := kmsg.NewOffsetCommitResponseTopicPartition()
				a.Partition, a.ErrorCode = p.Partition, int16(sarama.ErrOffsetMetadataTooLarge)
				answer.Partitions = append(answer.Partitions, a)
			}
			res.Topics = append(res.Topics, answer)
		}
		if longest > 200 {
			refused.Add(1)
			return res, nil, true
		}
		if longest > 0 {
			taken.Add(1)
		}
		return nil, nil, false
	})
	committedSome := make(chan struct{}, 1)
	a := delivery.Attempts(delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
		if taken.Load() > 0 && refused.Load() > 0 {
			select {
			case committedSome <- struct{}{}:
			default:
			}
		}
		out := doneAll(events)
		for i, e := range events {
			if n, _ := strconv.Atoi(e.ID()); n >= 100 {
				out.Failed(i, errors.New("x"))
			}
		}
		return out
	}), 1000)
	_, stop := runIntake(t, brokers, a, func(o *IntakeOptions) { o.Attempts = a })
	receive(t, committedSome)
	stop()
	got := committed(t, brokers, "t", "g")
	if got[0] < 1 || got[1] < 1 {
		t.Errorf("committed %v", got)
	}
}
