package drain_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/functions/load-lake/internal/drain"
	"millrace/shared/kafka"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
)

// cell is an offset of a partition of fakeKafka.
type cell struct {
	n     int    // the number of the event
	kind  string // a landing.Reason where it is no record
	at    time.Time
	epoch int32
}

// fakeKafka is a source that can be truncated. A fetch brings all that there is.
type fakeKafka struct {
	topic string
	start map[int32]int64
	logs  map[int32][]cell // by offset from 0 on
	epoch int32            // of what is appended; -1 says nothing
	now   time.Time
	asked int // fetches
}

func newFakeKafka(topic string, partitions int32) *fakeKafka {
	k := &fakeKafka{topic: topic, start: map[int32]int64{}, logs: map[int32][]cell{}, now: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	for p := range partitions {
		k.logs[p] = nil
	}
	return k
}

// add appends n events with numbers from first on, a millisecond apart.
func (k *fakeKafka) add(p int32, first, n int) {
	for i := range n {
		k.now = k.now.Add(time.Millisecond)
		k.logs[p] = append(k.logs[p], cell{n: first + i, at: k.now, epoch: k.epoch})
	}
}

// marker appends a control record.
func (k *fakeKafka) marker(p int32) {
	k.logs[p] = append(k.logs[p], cell{kind: landing.ReasonControl, epoch: k.epoch})
}

// truncate removes the offsets from end on, and makes another broker the leader.
func (k *fakeKafka) truncate(p int32, end int) {
	k.logs[p] = slices.Clone(k.logs[p][:end])
	if k.epoch >= 0 {
		k.epoch++
	}
}

func (k *fakeKafka) Topic(context.Context, string) (kafka.Topic, error) {
	t := kafka.Topic{Name: k.topic, ID: "fake-id"}
	for p := range k.logs {
		t.Partitions = append(t.Partitions, p)
	}
	slices.Sort(t.Partitions)
	return t, nil
}

func (k *fakeKafka) Span(_ context.Context, _ string, p int32) (kafka.Span, error) {
	return kafka.Span{Start: k.start[p], End: int64(len(k.logs[p]))}, nil
}

func (k *fakeKafka) Fetch(_ context.Context, _ string, p int32, from int64, _ int32) (kafka.Batch, error) {
	k.asked++
	cells := k.logs[p]
	if from < k.start[p] || from > int64(len(cells)) {
		return kafka.Batch{}, fmt.Errorf("fake: %w", sarama.ErrOffsetOutOfRange)
	}
	b := kafka.Batch{Next: int64(len(cells)), Stable: int64(len(cells))}
	for o := from; o < b.Next; o++ {
		c := cells[o]
		b.Epochs = append(b.Epochs, kafka.Epoch{Last: o, Leader: c.epoch})
		if c.kind != "" {
			b.Skipped = append(b.Skipped, kafka.Skip{First: o, Last: o, Reason: c.kind})
			continue
		}
		m := message(k.topic, p, c.n)
		value, err := m.Value.Encode()
		if err != nil {
			return kafka.Batch{}, err
		}
		r := &sarama.ConsumerMessage{Topic: k.topic, Partition: p, Offset: o, Timestamp: c.at, Value: value}
		for _, h := range m.Headers {
			r.Headers = append(r.Headers, &h)
		}
		b.Records = append(b.Records, r)
	}
	return b, nil
}

// drainer drains the fake.
func (k *fakeKafka) drainer(l *lake, store drain.Store, accept ...string) *drain.Drainer {
	l.t.Helper()
	s := l.settings()
	for _, a := range accept {
		one, err := drain.ParseAcceptance(a)
		if err != nil {
			l.t.Fatal(err)
		}
		s.AcceptTruncations = append(s.AcceptTruncations, one)
	}
	return drain.New(s, k, store, nil, func() time.Time { return l.now }, slog.New(slog.DiscardHandler), nil)
}

func (k *fakeKafka) drain(l *lake, accept ...string) (drain.Result, error) {
	return k.drainer(l, l.bucket(1), accept...).Drain(l.t.Context(), always)
}

// stopped drains, twice, and fails the test unless that stops for the truncation, without anything but one entry that says so. It returns the setting that the error proposes.
func (k *fakeKafka) stopped(l *lake) (proposed string) {
	l.t.Helper()
	r, err := k.drain(l)
	if !errors.Is(err, drain.ErrTruncated) || r.Rows != 0 || r.Entries != 1 {
		l.t.Fatalf("a truncated topic: %+v, %v", r, err)
	}
	// Not even where all traces are gone.
	start := k.start
	k.start = map[int32]int64{}
	for p, log := range k.logs {
		k.start[p] = int64(len(log))
	}
	if r, again := k.drain(l); again == nil || strings.SplitN(again.Error(), " of ", 2)[1] != strings.SplitN(err.Error(), " of ", 2)[1] || r.Entries != 0 {
		l.t.Errorf("again: %+v, %v; before %v", r, again, err)
	}
	k.start = start
	_, rest, ok := strings.Cut(err.Error(), "DRAIN_ACCEPT_TRUNCATION=")
	if !ok {
		l.t.Fatalf("no way on: %v", err)
	}
	proposed, _, _ = strings.Cut(rest, ";")
	return proposed
}

// Guards against skipping in silence what took the place of lost offsets, in each way in which a partition can lose its end and grow again; the drain must stay stopped, and go on, with
// nothing skipped, where the error proposes.
func TestTruncated(t *testing.T) {
	for _, c := range []struct {
		name     string
		epoch    int32              // of the first leader
		before   func(k *fakeKafka) // behind the events 0 to 9, which are drained in two entries of five
		after    func(k *fakeKafka) // the truncation
		proposed string
		rows     int
	}{
		{"ends before the log", 0, nil, func(k *fakeKafka) { k.truncate(0, 8) }, "events.raw/0@5:3", 10 + 3},
		{"all of it is gone", 0, nil, func(k *fakeKafka) { k.truncate(0, 0) }, "events.raw/0@0:3", 10},
		{"grown again beyond the log", 0, nil, func(k *fakeKafka) { k.truncate(0, 8); k.add(0, 100, 7) }, "events.raw/0@5:3", 10 + 10},
		{"grown again, the same timestamp", 0, nil, func(k *fakeKafka) {
			at := k.logs[0][9].at
			k.truncate(0, 8)
			k.add(0, 100, 7)
			k.logs[0][9].at = at
		}, "events.raw/0@5:3", 10 + 10},
		{"grown again, no epochs", -1, nil, func(k *fakeKafka) { k.truncate(0, 4); k.add(0, 100, 7) }, "events.raw/0@0:3", 10 + 11},
		{"a marker where a record was", 0, nil, func(k *fakeKafka) { k.truncate(0, 9); k.marker(0); k.add(0, 100, 1) }, "events.raw/0@5:3", 10 + 5},
		{"a record where a marker was", 0, func(k *fakeKafka) { k.marker(0) }, func(k *fakeKafka) { k.truncate(0, 10); k.add(0, 100, 2) }, "events.raw/0@5:3", 10 + 7},
		{"a marker where another was", 0, func(k *fakeKafka) { k.marker(0) }, func(k *fakeKafka) { k.truncate(0, 10); k.marker(0); k.add(0, 100, 2) }, "events.raw/0@5:3", 10 + 7},
		{"what would say where is forgotten", 0, nil, func(k *fakeKafka) { k.truncate(0, 8); k.add(0, 100, 7); k.start[0] = 7 }, "events.raw/0@7:3", 10 + 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLake(t, "events.raw", 1)
			k := newFakeKafka("events.raw", 1)
			k.epoch = c.epoch
			k.add(0, 0, 5)
			if _, err := k.drain(l); err != nil {
				t.Fatal(err)
			}
			k.add(0, 5, 5)
			if c.before != nil {
				c.before(k)
			}
			if _, err := k.drain(l); err != nil {
				t.Fatal(err)
			}
			c.after(k)
			proposed := k.stopped(l)
			if proposed != c.proposed {
				t.Errorf("proposes %s, want %s", proposed, c.proposed)
			}
			if _, err := k.drain(l, "events.raw/0@0:2", "events.dead/0@0:3", "events.raw/1@0:3"); !errors.Is(err, drain.ErrTruncated) {
				t.Errorf("an acceptance of something else: %v", err)
			}
			if r, err := k.drain(l, proposed); err != nil || !r.Done {
				t.Fatalf("accepted: %+v, %v", r, err)
			}
			if r, err := k.drain(l, proposed); err != nil || r.Entries != 0 {
				t.Errorf("what is accepted is done: %+v, %v", r, err)
			}
			x := l.landed("fake-id")
			if len(x.rows) != c.rows || x.next[0] != int64(len(k.logs[0])) {
				t.Errorf("%d rows, want %d; next %d", len(x.rows), c.rows, x.next[0])
			}
			for _, e := range k.logs[0] {
				if e.kind == "" && !slices.ContainsFunc(x.rows, func(r row) bool { return *r.ID == fmt.Sprint(e.n) }) {
					t.Errorf("event %d is in Kafka and not in the lake", e.n)
				}
			}
			// The setting that was left stops nothing later, and accepts nothing.
			k.truncate(0, 0)
			if x.next[0] > 0 {
				if _, err := k.drain(l, proposed); !errors.Is(err, drain.ErrTruncated) {
					t.Errorf("a second truncation, the first one's setting: %v", err)
				}
			}
		})
	}
}

// Guards against drains that stop for nothing: what cannot be compared, since Kafka removed it as it is told to or an older load-lake left no mark, is read on, and a topic that is whole costs one
// fetch more.
func TestNotTruncated(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(l *lake, k *fakeKafka)
		rows int64
	}{
		{"whole", func(_ *lake, k *fakeKafka) { k.add(0, 10, 5) }, 5},
		{"a new leader", func(_ *lake, k *fakeKafka) { k.epoch++; k.add(0, 10, 5) }, 5},
		{"retention took all that was read", func(_ *lake, k *fakeKafka) { k.add(0, 10, 5); k.start[0] = 10 }, 5},
		{"retention took more", func(_ *lake, k *fakeKafka) { k.add(0, 10, 5); k.start[0] = 12 }, 3},
		{"compacted", func(_ *lake, k *fakeKafka) { k.add(0, 10, 5); k.logs[0][9] = cell{kind: landing.ReasonAbsent} }, 5},
		{"an entry without marks", func(l *lake, k *fakeKafka) {
			strip(l, 1)
			k.truncate(0, 9)
			k.add(0, 10, 6) // the first takes the place of the last
		}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLake(t, "events.raw", 1)
			k := newFakeKafka("events.raw", 1)
			k.add(0, 0, 10)
			if _, err := k.drain(l); err != nil {
				t.Fatal(err)
			}
			c.then(l, k)
			k.asked = 0
			if r, err := k.drain(l); err != nil || !r.Done || r.Rows != c.rows || k.asked > 3 {
				t.Errorf("%+v, %d fetches, %v", r, k.asked, err)
			}
			if r, err := k.drain(l); err != nil || r.Entries != 0 {
				t.Errorf("again: %+v, %v", r, err)
			}
		})
	}
}

// strip takes the marks out of an entry, as if an older load-lake had written it.
func strip(l *lake, sequence int64) {
	l.t.Helper()
	b := l.bucket(1)
	e, err := landing.Open(b, l.topic, "fake-id").Read(l.t.Context(), sequence)
	if err != nil {
		l.t.Fatal(err)
	}
	for i := range e.Partitions {
		e.Partitions[i].Last = nil
	}
	body, err := e.Encode()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := b.Put(l.t.Context(), landing.Key(l.topic, "fake-id", sequence), body); err != nil {
		l.t.Fatal(err)
	}
}

// Guards a break that was seen in an older load-lake's log: without marks too it stays when the topic has grown again.
func TestTruncatedWithoutMarks(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	k := newFakeKafka("events.raw", 1)
	k.add(0, 0, 10)
	if _, err := k.drain(l); err != nil {
		t.Fatal(err)
	}
	strip(l, 1)
	k.truncate(0, 8)
	proposed := k.stopped(l)
	k.add(0, 100, 10)
	if _, err := k.drain(l); !errors.Is(err, drain.ErrTruncated) {
		t.Errorf("grown again: %v", err)
	}
	// Without a mark nothing is known to be whole.
	if r, err := k.drain(l, proposed); proposed != "events.raw/0@0:2" || err != nil || r.Rows != 18 {
		t.Errorf("%s: %+v, %v", proposed, r, err)
	}
}

// Guards against a topic that is truncated, and grows again, while a drain is under way: what came before the drain's position would be skipped, and the next mark be the new record's.
func TestTruncatedDuringADrain(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	k := newFakeKafka("events.raw", 1)
	k.add(0, 0, 10)
	s := l.settings()
	s.Limits.Events = 5
	asked := 0
	more := func() bool {
		if asked++; asked == 2 { // the first entry is published, the second one's fetch comes
			k.truncate(0, 3)
			k.add(0, 100, 10)
		}
		return true
	}
	r, err := drain.New(s, k, l.bucket(1), nil, func() time.Time { return l.now }, slog.New(slog.DiscardHandler), nil).Drain(t.Context(), more)
	if err == nil || r.Rows != 5 {
		t.Fatalf("it goes on: %+v, %v", r, err)
	}
	proposed := k.stopped(l)
	if r, err := k.drain(l, proposed); proposed != "events.raw/0@0:2" || err != nil || r.Rows != 13 {
		t.Errorf("%s: %+v, %v", proposed, r, err)
	}
	l.landed("fake-id")

	// Another leader alone is no reason to stop.
	k.epoch++
	k.add(0, 200, 10)
	if r, err := k.drain(l, proposed); err != nil || r.Rows != 10 {
		t.Errorf("another leader: %+v, %v", r, err)
	}
}

// Guards the mark of a partition that did not grow for some entries: it must not be lost meanwhile. What grew back to where it was, exactly, is seen as soon as it grows.
func TestTruncatedWhileOthersGrow(t *testing.T) {
	l := newLake(t, "events.raw", 2)
	k := newFakeKafka("events.raw", 2)
	k.add(0, 0, 10)
	k.add(1, 10, 10)
	if _, err := k.drain(l); err != nil {
		t.Fatal(err)
	}
	k.truncate(0, 5)
	k.add(0, 100, 5)
	k.add(1, 20, 3)
	if r, err := k.drain(l); err != nil || r.Rows != 3 {
		t.Errorf("nothing to skip yet: %+v, %v", r, err)
	}
	k.add(0, 105, 1)
	k.truncate(1, 11)
	proposed := k.stopped(l)
	if proposed != "events.raw/0@0:3,events.raw/1@10:3" {
		t.Errorf("proposes %s", proposed)
	}
	one, two, _ := strings.Cut(proposed, ",")
	if _, err := k.drain(l, two); !errors.Is(err, drain.ErrTruncated) || !strings.Contains(err.Error(), one) || strings.Contains(err.Error(), two) {
		t.Errorf("one of two accepted: %v", err)
	}
	for _, behind := range []string{"events.raw/0@11:3", "events.raw/1@12:3"} {
		if _, err := k.drain(l, behind, one, two); !errors.Is(err, drain.ErrTruncated) || !strings.Contains(err.Error(), "cannot go on behind") {
			t.Errorf("%s: %v", behind, err)
		}
	}
	// The operator knows better: what was lost came in the same order, and nothing is landed twice.
	r, err := k.drain(l, "events.raw/0@5:3", "events.raw/1@11:3")
	if err != nil || r.Rows != 6 || !r.Done {
		t.Errorf("%+v, %v", r, err)
	}
	l.landed("fake-id")
}

// Guards each crash point of stopping and going on: the entry that says so is not written, is written and the answer lost, or is another drain's. Nothing may be read before it stands.
func TestTruncatedEntryFails(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	k := newFakeKafka("events.raw", 1)
	k.add(0, 0, 10)
	if _, err := k.drain(l); err != nil {
		t.Fatal(err)
	}
	k.truncate(0, 5)
	k.add(0, 100, 10)
	away := errors.New("the store is away")
	if r, err := k.drainer(l, putIfAbsent{l.bucket(1), func() error { return away }}).Drain(t.Context(), always); !errors.Is(err, away) || r.Entries != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	other := func() error {
		if _, err := k.drain(l); !errors.Is(err, drain.ErrTruncated) {
			t.Errorf("the other drain: %v", err)
		}
		return nil
	}
	if r, err := k.drainer(l, putIfAbsent{l.bucket(1), other}).Drain(t.Context(), always); !errors.Is(err, landing.ErrLost) || r.Entries != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	const accept = "events.raw/0@0:2"
	if r, err := k.drainer(l, putIfAbsent{l.bucket(1), func() error { return away }}, accept).Drain(t.Context(), always); !errors.Is(err, away) || r.Entries != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if x := l.landed("fake-id"); len(x.entries) != 2 || len(x.rows) != 10 {
		t.Errorf("%d entries, %d rows", len(x.entries), len(x.rows))
	}
	if r, err := k.drain(l, accept); err != nil || r.Rows != 15 {
		t.Errorf("%+v, %v", r, err)
	}
	l.landed("fake-id")
}

// putIfAbsent is a store that calls f before each conditional write, which fails where f does.
type putIfAbsent struct {
	*objectstore.Bucket
	f func() error
}

func (p putIfAbsent) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	if err := p.f(); err != nil {
		return err
	}
	return p.Bucket.PutIfAbsent(ctx, key, body)
}

// Guards a drain under way: another one of the topic finds the truncation, and the first must not go on behind the entry that says so.
func TestTruncationFoundByAnotherDrain(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	k := newFakeKafka("events.raw", 1)
	k.add(0, 0, 10)
	if _, err := k.drain(l); err != nil {
		t.Fatal(err)
	}
	k.add(0, 10, 10)
	once := false
	other := func() error {
		if once {
			return nil
		}
		once = true
		k.truncate(0, 5)
		if _, err := k.drain(l); !errors.Is(err, drain.ErrTruncated) {
			t.Errorf("the other drain: %v", err)
		}
		return nil
	}
	if r, err := k.drainer(l, putIfAbsent{l.bucket(1), other}).Drain(t.Context(), always); !errors.Is(err, drain.ErrTruncated) || r.Entries != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if x := l.landed("fake-id"); len(x.entries) != 2 || len(x.rows) != 10 {
		t.Errorf("%d entries, %d rows", len(x.entries), len(x.rows))
	}
}

// Guards the operator's setting against being read otherwise than it is written.
func TestAcceptance(t *testing.T) {
	want := drain.Acceptance{Topic: "events.raw", Partition: 3, Offset: 12, Entry: 40}
	if a, err := drain.ParseAcceptance(want.String()); err != nil || a != want {
		t.Errorf("%+v, %v", a, err)
	}
	for _, s := range []string{"", "events.raw/3@12", "events.raw@12:40", "/3@12:40", "t/-1@12:40", "t/3@-1:40", "t/3@12:0", "t/x@12:40", "t/3@12:40:1", "t/4294967296@0:1"} {
		if a, err := drain.ParseAcceptance(s); err == nil {
			t.Errorf("%q is %+v", s, a)
		}
	}
}

// Guards what the fake stands for, on a Kafka: one that lost what it had not synced when the power went, and took other events since. Its directory is put back to what it was.
func TestKafkaLosesItsEnd(t *testing.T) {
	l := newLake(t, "unused", 1) // for its store
	dir := t.TempDir()
	var cluster *kfake.Cluster
	start := func(from string) {
		t.Helper()
		var err error
		cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(from), kfake.SeedTopics(1, "events.raw"))
		if err != nil {
			t.Fatal(err)
		}
		l.brokers, l.topic = cluster.ListenAddrs(), "events.raw"
		l.open()
	}
	start(dir + "/now")
	l.events(0, 10, 1)
	l.drain()
	cluster.Close()
	if err := os.CopyFS(dir+"/synced", os.DirFS(dir+"/now")); err != nil {
		t.Fatal(err)
	}
	start(dir + "/now")
	id := l.id()
	l.events(10, 10, 1)
	l.drain()
	cluster.Close()
	start(dir + "/synced")
	t.Cleanup(func() { cluster.Close() })
	if l.id() != id {
		t.Fatal("another topic")
	}
	var ms []*sarama.ProducerMessage
	for n := range 15 {
		m := message(l.topic, 0, 100+n)
		m.Timestamp = m.Timestamp.Add(time.Minute)
		ms = append(ms, m)
	}
	l.produce(ms...)
	_, err := l.drainer(l.settings(), l.bucket(1)).Drain(t.Context(), always)
	if !errors.Is(err, drain.ErrTruncated) || !strings.Contains(err.Error(), "DRAIN_ACCEPT_TRUNCATION=events.raw/0@10:3;") {
		t.Fatalf("grown again: %v", err)
	}
	s := l.settings()
	s.AcceptTruncations = []drain.Acceptance{{Topic: "events.raw", Offset: 10, Entry: 3}}
	if r, err := l.drainer(s, l.bucket(1)).Drain(t.Context(), always); err != nil || r.Rows != 15 {
		t.Errorf("%+v, %v", r, err)
	}
	if x := l.landed(id); x.ids() != numbers(0, 20)+" "+numbers(100, 15) || x.next[0] != 25 {
		t.Errorf("%s, next %v", x.ids(), x.next)
	}
}
