package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/shared/event"
)

// Guards memory where one partition of many hangs: each piece of records that were allocated together is counted until the last of them is settled, and an event that waits does not hold the
// answers of its batch.
func TestHeldRecordsAreCounted(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(64, "raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for p := range int32(64) {
		if err := c.MoveTopicPartition("raw", p, min(p, 1)^1); err != nil { // partition 0 alone is led by the second
			t.Fatal(err)
		}
	}
	const buffer = 4 << 20
	p := newTestProducer(t, c.ListenAddrs(), ProducerOptions{Timeout: 200 * time.Millisecond, Buffer: buffer})
	sink := p.Sink("raw")
	if err := sink.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	publish := func() (busy int) {
		events := make([]*event.Event, 1000)
		for i := range events {
			n++
			events[i] = newTestEvent(t, fmt.Sprint(n), `{}`)
		}
		for _, err := range sink.Publish(t.Context(), events) {
			if errors.Is(err, ErrBusy) {
				busy++
			}
		}
		return busy
	}
	if busy := publish(); busy > 0 {
		t.Fatalf("%d busy at first", busy)
	}
	held := make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if c.CurrentNode() == 1 {
			c.SleepControl(func() { <-held })
		}
		return nil, nil, false
	})
	t.Cleanup(sync.OnceFunc(func() { close(held) }))
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, busy := heap(), 0
	for range 40 {
		if busy = publish(); busy == 1000 {
			break
		}
	}
	if grown := heap() - before; grown > 3*buffer {
		t.Errorf("%d bytes are held where %d are counted", grown, buffer)
	}
	if busy < 1000 {
		t.Errorf("only %d of 1000 are busy with a full buffer", busy)
	}
	runtime.KeepAlive(p)
}

// wall is a broker's address that can be walled off: connections are cut, and new ones refused.
type wall struct {
	address string
	to      string

	mu    sync.Mutex
	l     net.Listener
	conns []net.Conn
	wg    sync.WaitGroup
}

func (w *wall) open(t *testing.T) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(context.WithoutCancel(t.Context()), "tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.l = l
	if w.address == "127.0.0.1:0" { // the next time it is the same, and connections may be dialing it
		w.address = l.Addr().String()
	}
	w.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "tcp", w.to)
			if err != nil {
				_ = in.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, in, out)
			w.mu.Unlock()
			pipe := func(a, b net.Conn) func() {
				return func() {
					buf := make([]byte, 64<<10)
					for {
						n, err := a.Read(buf)
						if n > 0 {
							_, _ = b.Write(buf[:n])
						}
						if err != nil {
							_, _ = a.Close(), b.Close()
							return
						}
					}
				}
			}
			w.wg.Go(pipe(in, out))
			w.wg.Go(pipe(out, in))
		}
	})
}

func (w *wall) shut() {
	w.mu.Lock()
	_ = w.l.Close()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
	w.mu.Unlock()
	w.wg.Wait()
}

// Guards producers against events written twice: once no broker can be reached nothing more is handed to Kafka's client, so those events are busy, which is true, and not unconfirmed; the error
// says why, the log once; and an event that waits when Kafka comes back is written.
func TestNothingIsHandedOverWhileKafkaIsAway(t *testing.T) {
	w := &wall{address: "127.0.0.1:0"}
	backend, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(backend.Close)
	w.to = backend.ListenAddrs()[0]
	w.open(t)
	var log lockedBuffer
	p := NewProducer([]string{w.address}, ProducerOptions{Timeout: time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil)), Config: func(c *sarama.Config) {
		c.Net.Proxy.Enable, c.Net.Proxy.Dialer = true, redirect(w)
		c.Net.DialTimeout = time.Second
	}})
	t.Cleanup(func() { _ = p.Close(context.Background()) })
	sink := p.Sink("raw")
	if err := sink.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int64
	send := func() error {
		return sink.Publish(t.Context(), []*event.Event{newTestEvent(t, fmt.Sprint(sent.Add(1)), `1`)})[0]
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	w.shut()
	unconfirmed := 0
	for err := send(); !errors.Is(err, ErrBusy); err = send() {
		if unconfirmed++; unconfirmed > 3 {
			t.Fatalf("the %d. event is not busy: %v", unconfirmed, err)
		}
	}
	began := time.Now()
	if err := send(); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("away: %v", err)
	}
	if d := time.Since(began); d < 900*time.Millisecond || d > 3*time.Second {
		t.Errorf("it waited %s for Kafka to come back", d)
	}
	if n := strings.Count(log.String(), "events cannot be written: they are held back, and answered busy"); n != 1 {
		t.Errorf("told %d times: %s", n, log.String())
	}
	waiting := make(chan error, 1)
	go func() { waiting <- send() }()
	w.open(t)
	t.Cleanup(w.shut)
	if err := receive(t, waiting); err != nil {
		t.Errorf("one that waited when Kafka came back: %v", err)
	}
	if !strings.Contains(log.String(), "events can be written again") {
		t.Errorf("the end is not told: %s", log.String())
	}
	found := map[string]int{}
	client, err := sarama.NewClient(backend.ListenAddrs(), NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	all := 0 // with those that were written and not confirmed
	for partition := range int32(2) {
		end, err := client.GetOffset("raw", partition, sarama.OffsetNewest)
		if err != nil {
			t.Fatal(err)
		}
		all += int(end)
	}
	for _, m := range readAll(t, backend.ListenAddrs(), "raw", all) {
		e, err := Decode(m)
		if err != nil {
			t.Fatal(err)
		}
		found[e.ID()]++
	}
	last := fmt.Sprint(sent.Load())
	if found["1"] != 1 || found[last] != 1 || len(found) > 2+unconfirmed {
		t.Errorf("found %v, with %d unconfirmed of %s", found, unconfirmed, last)
	}
}

// redirect dials the wall whatever the address.
type redirectTo struct{ w *wall }

func redirect(w *wall) redirectTo { return redirectTo{w} }

// Dial implements proxy.Dialer.
func (r redirectTo) Dial(network, _ string) (net.Conn, error) {
	return (&net.Dialer{Timeout: time.Second}).Dial(network, r.w.address)
}

// Guards what is said while a topic is gone: the topic and what to do, to producers and in the log; nothing is handed over meanwhile; and once it is made anew events are written, without a
// restart.
func TestTopicGone(t *testing.T) {
	brokers, _ := newCluster(t, "raw", "dead")
	var log lockedBuffer
	p := NewProducer(brokers, ProducerOptions{Timeout: 300 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	t.Cleanup(func() { _ = p.Close(context.Background()) })
	raw, dead := p.Sink("raw"), p.Sink("dead")
	send := func(s *Sink, id string) error {
		return s.Publish(t.Context(), []*event.Event{newTestEvent(t, id, `1`)})[0]
	}
	admin, err := NewAdmin(brokers, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	if err := errors.Join(raw.Ready(t.Context()), send(raw, "before"), send(dead, "before")); err != nil {
		t.Fatal(err)
	}
	if err := admin.admin.DeleteTopic("raw"); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(20 * time.Second)
	for err := send(raw, "x"); !errors.Is(err, ErrBusy); err = send(raw, "x") {
		if time.Now().After(end) {
			t.Fatalf("never busy: %v", err)
		}
	}
	if err := send(raw, "y"); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "topic raw does not exist, or was deleted: run provision") {
		t.Errorf("gone: %v", err)
	}
	began := time.Now()
	for err := send(dead, "meanwhile"); err != nil; err = send(dead, "meanwhile") {
		if time.Now().After(end) {
			t.Fatalf("the other topic: %v", err)
		}
	}
	t.Logf("the other topic was written after %s", time.Since(began))
	if text := log.String(); strings.Count(text, "events cannot be written") != 1 || !strings.Contains(text, "topic=raw") {
		t.Errorf("log: %s", text)
	}
	if _, err := admin.EnsureTopic(t.Context(), TopicSpec{Name: "raw", Partitions: 2, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	for err := send(raw, "after"); err != nil; err = send(raw, "after") {
		if time.Now().After(end) {
			t.Fatalf("not written again: %v", err)
		}
	}
}

// refusing dials, but for what is refused: one address, or "" for all.
type refusing struct{ address atomic.Pointer[string] }

// Dial implements proxy.Dialer.
func (r *refusing) Dial(network, address string) (net.Conn, error) {
	if no := r.address.Load(); no != nil && (*no == "" || *no == address) {
		return nil, errors.New("refused")
	}
	return (&net.Dialer{Timeout: 5 * time.Second}).Dial(network, address)
}

// Guards producers of a cluster whose broker that they were told of is away: others are there, which the connection knows, so nothing is held back. Where none is, what was found of a topic stays.
func TestOtherBrokersCount(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(2, "raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	named := c.ListenAddrs()[0]
	dialer := new(refusing)
	p := newTestProducer(t, []string{named}, ProducerOptions{Config: func(c *sarama.Config) { c.Net.Proxy.Enable, c.Net.Proxy.Dialer = true, dialer }})
	sink := p.Sink("raw")
	if err := sink.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	dialer.address.Store(&named)
	if holds, err := p.reachable(); holds || err != nil {
		t.Errorf("events are held back for a broker of two: %v", err)
	}
	if holds, err := sink.writable(); holds || err != nil {
		t.Errorf("events of the topic are held back for a broker of two: %v", err)
	}
	none := ""
	dialer.address.Store(&none)
	if holds, err := p.reachable(); !holds || err == nil {
		t.Error("nothing is held back where no broker is left")
	}
	gone := errors.New("gone")
	sink.away.set(true, gone)
	if holds, err := sink.writable(); !holds || !errors.Is(err, gone) {
		t.Errorf("a topic that was gone when brokers went: %v, %v", holds, err)
	}
}

// Guards the log of a long outage, which says its reason once and not each second in other words; the gate's opening once events are confirmed all the same, by connections that were made before; and
// the end of a producer in an outage, which says nothing of its being over.
func TestGateIsQuietAndOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		p := &Producer{ending: make(chan struct{}), o: ProducerOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))}}
		var looks atomic.Int64
		g := &gate{p: p, check: func() (bool, error) {
			return true, fmt.Errorf("refused from port %d", looks.Add(1))
		}}
		told := func(want int) {
			t.Helper()
			synctest.Wait()
			if n := strings.Count(log.String(), "events cannot be written"); n != want {
				t.Errorf("told %d times, want %d: %s", n, want, log.String())
			}
		}
		g.examine(examineSoon)
		<-time.After(50 * time.Second)
		told(1)
		err := g.why()
		if n := looks.Load(); err == nil || err.Error() != fmt.Sprintf("refused from port %d", n) || n < 40 {
			t.Errorf("after %d looks: %v", n, err)
		}
		passed := make(chan error, 1)
		go func() { passed <- g.pass(t.Context()) }()
		<-time.After(70 * time.Second)
		told(2)
		select {
		case err := <-passed:
			t.Fatalf("an event passed: %v", err)
		default:
		}
		p.confirmed.Add(1) // between two looks
		select {
		case err = <-passed:
		case <-time.After(2 * time.Second):
			err = errors.New("it waits on")
		}
		if err != nil || g.why() != nil || strings.Count(log.String(), "events can be written again") != 1 {
			t.Errorf("after an event was confirmed: %v, %v, %s", err, g.why(), log.String())
		}
		<-time.After(time.Second)
		g.examine(examineSoon)
		told(3)
		close(p.ending)
		synctest.Wait()
		if err := g.pass(t.Context()); !errors.Is(err, ErrBusy) || strings.Count(log.String(), "events can be written again") != 1 {
			t.Errorf("at the end: %v, %s", err, log.String())
		}
	})
}
