package drain_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/functions/load-lake/internal/drain"
	"millrace/shared/kafka"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// numbers returns "first ... last", as landed.ids has them.
func numbers(first, n int) string {
	var s []string
	for i := first; i < first+n; i++ {
		s = append(s, fmt.Sprint(i))
	}
	return strings.Join(s, " ")
}

// Guards the main path: what is in the topic is in objects that the log names, byte for byte and once, and a second drain goes on from there.
func TestDrain(t *testing.T) {
	l := newLake(t, "events.raw", 3)
	l.events(0, 50, 3)
	if r := l.drain(); r.Rows != 50 || r.Entries != 1 || !r.Done {
		t.Errorf("%+v", r)
	}
	if r := l.drain(); r.Entries != 0 || !r.Done {
		t.Errorf("nothing new: %+v", r)
	}
	l.events(50, 7, 3)
	l.drain()
	x := l.landed(l.id())
	if got := x.ids(); got != numbers(0, 57) {
		t.Errorf("got %s", got)
	}
	if len(x.entries) != 2 || x.entries[1].Sequence != 2 || x.entries[0].Drain == x.entries[1].Drain || !x.entries[0].Time.Equal(l.now) {
		t.Errorf("entries %+v", x.entries)
	}
	for _, r := range x.rows {
		if want := fmt.Sprintf(` {"n": %s.0, "text":"\u00fc"}`, *r.ID); string(r.Payload) != want {
			t.Errorf("payload %q, want %q", r.Payload, want)
		}
	}
	for _, o := range x.entries[0].Objects {
		if want := "landing/raw/date=2026-11-20/" + x.entries[0].Drain + "-0.parquet"; o.Key != want || o.Type != "" || o.Kind != "raw" {
			t.Errorf("object %+v", o)
		}
	}
}

// before is a store that calls f before each conditional write.
type before struct {
	*objectstore.Bucket
	f func()
}

func (b before) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	b.f()
	return b.Bucket.PutIfAbsent(ctx, key, body)
}

// Guards exactly once with two drains at once: the second publishes while the first has its objects written and its entry not. The first must drop its work
// and go on behind the other's.
func TestAnotherDrainIsFirst(t *testing.T) {
	l := newLake(t, "events.raw", 2)
	l.events(0, 20, 2)
	once := sync.OnceFunc(func() {
		l.events(20, 5, 2)
		l.drain()
	})
	r, err := l.drainer(l.settings(), before{l.bucket(1), once}).Drain(t.Context(), always)
	if err != nil || !r.Done || r.Rows != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	x := l.landed(l.id())
	if got := x.ids(); got != numbers(0, 25) || len(x.entries) != 1 {
		t.Errorf("%d entries, %s", len(x.entries), got)
	}
}

// Guards exactly once with many drains at once that fill many small entries while events keep coming.
func TestDrainsAtOnce(t *testing.T) {
	l := newLake(t, "events.raw", 3)
	l.events(0, 300, 3)
	s := l.settings()
	s.Limits.Events = 7
	var wg sync.WaitGroup
	var published atomic.Int64
	for range 4 {
		d := l.drainer(s, l.bucket(2))
		wg.Go(func() {
			for range 3 {
				r, err := d.Drain(t.Context(), always)
				if err != nil || !r.Done {
					t.Errorf("%+v, %v", r, err)
				}
				published.Add(r.Rows)
			}
		})
	}
	wg.Go(func() { l.events(300, 100, 3) })
	wg.Wait()
	published.Add(l.drain().Rows)
	if got := l.landed(l.id()).ids(); got != numbers(0, 400) || published.Load() != 400 {
		t.Errorf("%d published: %s", published.Load(), got)
	}
}

// Guards each crash point, as an error of the store at that point: before an object is written, after it, before the entry is written, after it. The
// drain must fail, and the next one must make it good, whether the process is the same or another.
func TestStoreFailsAtEachStep(t *testing.T) {
	entry := func(key string) bool { return strings.HasPrefix(key, "landing/_log/") }
	for _, c := range []struct {
		name  string
		fault objectstoretest.Fault
		entry bool
	}{
		{"object not written", objectstoretest.Refuse, false},
		{"object written, answer lost", objectstoretest.WriteThenCut, false},
		{"entry not written", objectstoretest.Cut, true},
		{"entry written, answer lost", objectstoretest.WriteThenCut, true},
		{"entry written, answer an error", objectstoretest.WriteThenFail, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLake(t, "events.raw", 2)
			l.events(0, 9, 2)
			l.s3.Fail(func(method, _, key string) objectstoretest.Fault {
				if method == "PUT" && entry(key) == c.entry {
					return c.fault
				}
				return objectstoretest.Serve
			})
			d := l.drainer(l.settings(), l.bucket(1))
			if r, err := d.Drain(t.Context(), always); err == nil || r.Rows != 0 {
				t.Errorf("a drain over a failing store: %+v, %v", r, err)
			}
			l.s3.Fail(nil)
			l.events(9, 3, 2)
			if _, err := d.Drain(t.Context(), always); err != nil {
				t.Error(err)
			}
			l.drain()
			if got := l.landed(l.id()).ids(); got != numbers(0, 12) {
				t.Errorf("got %s", got)
			}
		})
	}
}

// Guards the lost answer within one drain: the HTTP client sends the entry again and gets 412 for its own first attempt, which must count as success, or the
// drain would read its own entry as another's.
func TestOwnEntryIsThereAlready(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	l.events(0, 9, 1)
	first := true
	l.s3.Fail(func(method, _, key string) objectstoretest.Fault {
		if method == "PUT" && first && strings.HasPrefix(key, "landing/_log/") {
			first = false
			return objectstoretest.WriteThenCut
		}
		return objectstoretest.Serve
	})
	r, err := l.drainer(l.settings(), l.bucket(3)).Drain(t.Context(), always)
	if err != nil || r.Rows != 9 || r.Entries != 1 || first {
		t.Errorf("%+v, %v", r, err)
	}
	if got := l.landed(l.id()).ids(); got != numbers(0, 9) {
		t.Errorf("got %s", got)
	}
}

// Guards against skipping in silence when a topic was deleted and created anew: the drain stops until the operator names the new id, and then begins a log of its own.
func TestRecreatedTopic(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	l.events(0, 9, 1)
	l.drain()
	old := l.id()
	s := l.settings()
	l.remove()
	if _, err := l.drainer(s, l.bucket(1)).Drain(t.Context(), always); !errors.Is(err, drain.ErrNoTopic) || !strings.Contains(err.Error(), "of events.raw: the topic does not exist, or was deleted: run provision") {
		t.Fatalf("without a topic: %v", err)
	}
	l.recreate(1)
	l.events(9, 20, 1)
	s.AcceptTopicIDs = []string{old} // an acceptance that was left in the configuration accepts nothing later
	if _, err := l.drainer(s, l.bucket(1)).Drain(t.Context(), always); !errors.Is(err, drain.ErrNewTopic) || !strings.Contains(err.Error(), l.id()) {
		t.Fatalf("got %v", err)
	}
	s.AcceptTopicIDs = []string{"another", l.id()}
	if _, err := l.drainer(s, l.bucket(1)).Drain(t.Context(), always); err != nil {
		t.Fatal(err)
	}
	l.drain() // once begun, the new log needs no acceptance
	if a, b := l.landed(old).ids(), l.landed(l.id()).ids(); a != numbers(0, 9) || b != numbers(9, 20) {
		t.Errorf("old %s, new %s", a, b)
	}
}

// Guards against records of the new topic in the old one's log where the topic is created anew in the middle of a drain.
func TestTopicRecreatedDuringDrain(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	l.events(0, 9, 1)
	old := l.id()
	source := &hookedSource{Reader: kafka.NewReader(l.client)}
	source.fetched = sync.OnceFunc(func() {
		l.recreate(1)
		l.events(0, 9, 1)
	})
	d := drain.New(l.settings(), source, l.bucket(1), nil, time.Now, slog.New(slog.DiscardHandler), nil)
	if _, err := d.Drain(t.Context(), always); !errors.Is(err, drain.ErrNewTopic) {
		t.Errorf("got %v", err)
	}
	if x := l.landed(old); len(x.entries) != 0 {
		t.Errorf("published %+v", x.entries)
	}
}

// hookedSource is a source that can be interrupted.
type hookedSource struct {
	*kafka.Reader
	fetched func()
	span    func(kafka.Span) kafka.Span
	fetch   func(kafka.Batch) kafka.Batch
}

func (s *hookedSource) Fetch(ctx context.Context, topic string, partition int32, from int64, maxBytes int32) (kafka.Batch, error) {
	b, err := s.Reader.Fetch(ctx, topic, partition, from, maxBytes)
	if s.fetched != nil {
		s.fetched()
	}
	if s.fetch != nil {
		b = s.fetch(b)
	}
	return b, err
}

func (s *hookedSource) Span(ctx context.Context, topic string, partition int32) (kafka.Span, error) {
	x, err := s.Reader.Span(ctx, topic, partition)
	if s.span != nil {
		x = s.span(x)
	}
	return x, err
}

// Guards against skipping in silence where the topic lost its end (an unclean election): the log stands behind it.
func TestTopicEndsBeforeTheLog(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	l.events(0, 9, 1)
	l.drain()
	source := &hookedSource{Reader: kafka.NewReader(l.client), span: func(s kafka.Span) kafka.Span { s.End = 5; return s }}
	d := drain.New(l.settings(), source, l.bucket(1), nil, time.Now, slog.New(slog.DiscardHandler), nil)
	if _, err := d.Drain(t.Context(), always); !errors.Is(err, drain.ErrTruncated) {
		t.Errorf("got %v", err)
	}
	if x := l.landed(l.id()); len(x.entries) != 2 || x.entries[1].Partitions[0].Broken == nil {
		t.Errorf("entries %+v", x.entries)
	}
}

// Guards against a hole that nobody sees: what retention took before it was drained is a lost range, with an error in the log, both at the first drain and later.
func TestRetentionOvertakes(t *testing.T) {
	l := newLake(t, "events.raw", 2)
	l.events(0, 20, 2) // even numbers in partition 0
	l.deleteRecords(0, 3)
	if r := l.drain(); r.Lost != 3 || r.Rows != 17 {
		t.Errorf("first %+v", r)
	}
	l.events(20, 20, 2)
	l.deleteRecords(0, 14)
	l.deleteRecords(1, 20)
	if r := l.drain(); r.Lost != 14 || r.Rows != 6 {
		t.Errorf("second %+v", r)
	}
	x := l.landed(l.id())
	if x.lost[landing.ReasonBeforeFirst] != 3 || x.lost[landing.ReasonRetention] != 14 || len(x.rows) != 23 {
		t.Errorf("lost %v, %d rows", x.lost, len(x.rows))
	}
	if got := strings.Count(l.logs.String(), "level=ERROR"); got != 3 {
		t.Errorf("%d errors in the log:\n%s", got, l.logs.String())
	}
}

// Guards against a drain that fails or skips where retention takes what it was about to read.
func TestRetentionOvertakesDuringDrain(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	for i := range 10 {
		l.events(i*10, 10, 1) // a batch of records each
	}
	s := l.settings()
	s.Limits.Fetch = 1 // a batch a fetch
	source := &hookedSource{Reader: kafka.NewReader(l.client)}
	source.fetched = sync.OnceFunc(func() { l.deleteRecords(0, 55) })
	d := drain.New(s, source, l.bucket(1), nil, time.Now, slog.New(slog.DiscardHandler), nil)
	r, err := d.Drain(t.Context(), always)
	if err != nil || r.Lost == 0 || r.Rows+r.Lost != 100 || r.Rows > 55 {
		t.Errorf("%+v, %v", r, err)
	}
	l.landed(l.id())
}

// Guards against a drain that waits for ever, or counts markers as events: transactions leave control records, aborted ones records that nobody may see,
// and here they are the topic's tail.
func TestTransactions(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	l.events(0, 3, 1)
	l.transaction(true, message(l.topic, 0, 3), message(l.topic, 0, 4))
	l.transaction(false, message(l.topic, 0, 100), message(l.topic, 0, 101))
	l.transaction(true, message(l.topic, 0, 5))
	l.transaction(false, message(l.topic, 0, 102))
	if r := l.drain(); r.Rows != 6 || !r.Done {
		t.Errorf("%+v", r)
	}
	x := l.landed(l.id())
	if x.ids() != numbers(0, 6) || x.skipped["control"] != 4 || x.skipped["aborted"] != 3 || x.next[0] != 13 {
		t.Errorf("%s, skipped %v, next %v", x.ids(), x.skipped, x.next)
	}
	// A tail of nothing but an aborted transaction: no object, but the log goes on.
	l.transaction(false, message(l.topic, 0, 103))
	if r := l.drain(); r.Rows != 0 || r.Entries != 1 || !r.Done {
		t.Errorf("%+v", r)
	}
	if x := l.landed(l.id()); x.next[0] != 15 || len(x.entries[1].Objects) != 0 {
		t.Errorf("next %v", x.next)
	}
}

// Guards against reading what may still be aborted: an open transaction ends the drain's view, and its events come with a later drain.
func TestOpenTransaction(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	c := config()
	c.Producer.Transaction.ID = "open"
	p, err := sarama.NewSyncProducer(l.brokers, c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	l.events(0, 2, 1)
	if err := errors.Join(p.BeginTxn(), p.SendMessages([]*sarama.ProducerMessage{message(l.topic, 0, 2)})); err != nil {
		t.Fatal(err)
	}
	l.events(3, 2, 1)
	if r := l.drain(); r.Rows != 2 || !r.Done {
		t.Errorf("%+v", r)
	}
	if err := p.CommitTxn(); err != nil {
		t.Fatal(err)
	}
	l.drain()
	if got := l.landed(l.id()).ids(); got != numbers(0, 5) {
		t.Errorf("got %s", got)
	}
}

// Guards the good ones around poison: records that are no CloudEvent, in whatever way, are rows too, with their bytes.
func TestPoison(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	header := func(k, v string) sarama.RecordHeader { return sarama.RecordHeader{Key: []byte(k), Value: []byte(v)} }
	poison := []*sarama.ProducerMessage{
		{Value: sarama.StringEncoder("\xff\x00 no JSON")},
		{Key: sarama.StringEncoder("k\xff"), Value: nil}, // a tombstone
		{Value: sarama.StringEncoder("{"), Headers: []sarama.RecordHeader{header("ce_specversion", "0.1"), header("ce_type", "\xfe"), header("ce_id", "1"), header("ce_id", "2")}},
		{Value: sarama.StringEncoder("[]"), Headers: []sarama.RecordHeader{header("content-type", "application/cloudevents+json"), header("", "")}},
		{Value: sarama.StringEncoder("x"), Headers: []sarama.RecordHeader{header("ce_time", "yesterday"), header("ce_bad_name", "%zz"), header("ce_replaycount", "1e3")}},
	}
	l.events(0, 1, 1)
	for _, m := range poison {
		m.Topic = l.topic
		l.produce(place(m, 0))
	}
	l.events(1, 1, 1)
	if r := l.drain(); r.Rows != 7 {
		t.Errorf("%+v", r)
	}
	x := l.landed(l.id())
	if len(x.rows) != 7 {
		t.Fatalf("%d rows", len(x.rows))
	}
	for i, m := range poison {
		var want []byte
		if m.Value != nil {
			want, _ = m.Value.Encode()
		}
		if got := x.rows[i+1]; !bytes.Equal(got.Payload, want) || (got.Payload == nil) != (want == nil) || got.Root != nil {
			t.Errorf("poison %d: %+v", i, got)
		}
	}
	if h := x.rows[3].Headers; h == nil || *h != `[["Y2VfdHlwZQ==","/g==","base64"],["ce_id","2"]]` {
		t.Errorf("headers %s", *h)
	}
}

// Guards the limits and the time budget: entries stay small, a drain whose time is up leaves the log at its last entry, and the next goes on there.
func TestBudget(t *testing.T) {
	l := newLake(t, "events.raw", 2)
	l.events(0, 50, 2)
	s := l.settings()
	s.Limits.Events, s.Limits.Fetch = 4, 1
	checks := 0
	r, err := l.drainer(s, l.bucket(1)).Drain(t.Context(), func() bool { checks++; return checks <= 5 })
	if err != nil || r.Done || r.Rows == 0 || r.Rows > 24 {
		t.Errorf("%+v, %v", r, err)
	}
	first := r.Rows
	if r, err := l.drainer(s, l.bucket(1)).Drain(t.Context(), func() bool { return false }); err != nil || r.Done || r.Entries != 0 {
		t.Errorf("no time at all: %+v, %v", r, err)
	}
	if r, err = l.drainer(s, l.bucket(1)).Drain(t.Context(), always); err != nil || !r.Done || r.Rows != 50-first {
		t.Errorf("%+v, %v", r, err)
	}
	x := l.landed(l.id())
	if x.ids() != numbers(0, 50) {
		t.Errorf("got %s", x.ids())
	}
	for _, e := range x.entries {
		if n := e.Objects[0].Rows; len(e.Objects) != 1 || n > 4 {
			t.Errorf("%d rows in %d objects of one entry", n, len(e.Objects))
		}
	}
}

// Guards the memory: an entry closes when its records reach the limit in bytes, and one record beyond the limit still passes.
func TestEntryBytes(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	l.events(0, 6, 1)
	s := l.settings()
	s.Limits.Bytes = 1
	if r, err := l.drainer(s, l.bucket(1)).Drain(t.Context(), always); err != nil || r.Entries != 6 || r.Rows != 6 {
		t.Errorf("%+v, %v", r, err)
	}
	l.landed(l.id())
}

// Guards against a drain that never ends on a busy topic: the end is the one at the start.
func TestEndIsFixedAtTheStart(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	l.events(0, 5, 1)
	source := &hookedSource{Reader: kafka.NewReader(l.client)}
	n := 5
	var once sync.Once
	source.span = func(s kafka.Span) kafka.Span {
		once.Do(func() { l.events(n, 5, 1) })
		return s
	}
	d := drain.New(l.settings(), source, l.bucket(1), nil, time.Now, slog.New(slog.DiscardHandler), nil)
	if r, err := d.Drain(t.Context(), always); err != nil || r.Rows != 5 || !r.Done {
		t.Errorf("%+v, %v", r, err)
	}
	l.drain()
	if got := l.landed(l.id()).ids(); got != numbers(0, 10) {
		t.Errorf("got %s", got)
	}
}

// Guards against waiting for ever, and against skipping, where Kafka gives nothing though the partition goes on.
func TestNothingComes(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	l.events(0, 5, 1)
	source := &hookedSource{Reader: kafka.NewReader(l.client), fetch: func(kafka.Batch) kafka.Batch { return kafka.Batch{} }}
	d := drain.New(l.settings(), source, l.bucket(1), nil, time.Now, slog.New(slog.DiscardHandler), nil)
	if r, err := d.Drain(t.Context(), always); err == nil || r.Entries != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Guards partitions that are added to a topic: they join the log at 0.
func TestPartitionAdded(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	l.events(0, 5, 1)
	l.drain()
	if err := l.admin.CreatePartitions(l.topic, 3, nil, false); err != nil {
		t.Fatal(err)
	}
	if err := l.client.RefreshMetadata(l.topic); err != nil {
		t.Fatal(err)
	}
	l.events(5, 9, 3)
	l.drain()
	x := l.landed(l.id())
	if x.ids() != numbers(0, 14) || len(x.next) != 3 {
		t.Errorf("%s, next %v", x.ids(), x.next)
	}
}

// Guards days: they are the record's, in UTC, whatever the time of draining; a day is an object of its own.
func TestDays(t *testing.T) {
	l := newLake(t, "events.dead", 1)
	for i, at := range []time.Time{time.Date(2026, 11, 20, 23, 59, 59, 0, time.UTC), time.Date(2026, 11, 21, 1, 0, 0, 0, time.FixedZone("", 2*3600)), time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)} {
		m := message(l.topic, 0, i)
		m.Timestamp = at
		l.produce(m)
	}
	s := l.settings()
	s.Kind = landing.KindDead
	if _, err := l.drainer(s, l.bucket(1)).Drain(t.Context(), always); err != nil {
		t.Fatal(err)
	}
	e := l.landed(l.id()).entries[0]
	var got []string
	for _, o := range e.Objects {
		got = append(got, fmt.Sprintf("%s %d", strings.Replace(o.Key, e.Drain, "D", 1), o.Rows))
	}
	if want := "landing/dead/date=2026-11-20/D-0.parquet 2, landing/dead/date=2026-11-21/D-1.parquet 1"; strings.Join(got, ", ") != want {
		t.Errorf("got %v", got)
	}
}

// Guards against one object per record where records name a day each: an entry closes when it has enough objects.
func TestManyDays(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	for i := range 7 {
		m := message(l.topic, 0, i)
		m.Timestamp = m.Timestamp.AddDate(0, 0, i)
		l.produce(m)
	}
	s := l.settings()
	s.Limits.Groups = 3
	if r, err := l.drainer(s, l.bucket(1)).Drain(t.Context(), always); err != nil || r.Entries != 3 || r.Rows != 7 {
		t.Errorf("%+v, %v", r, err)
	}
	l.landed(l.id())
}

// Guards the whole: for random batches, transactions, retention, limits, outages at random requests, and drains at once, the objects named by the log hold
// every offset exactly once, and every committed event that was not lost.
func TestRandom(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel() // mostly waits for repetitions
			rnd := rand.New(rand.NewPCG(seed, 1))
			partitions := 1 + rnd.Int32N(3)
			l := newLake(t, "events.raw", partitions)
			committed, n := map[string]bool{}, 0
			some := func() (ms []*sarama.ProducerMessage) {
				for range 1 + rnd.IntN(12) {
					ms = append(ms, message(l.topic, rnd.Int32N(partitions), n))
					n++
				}
				return ms
			}
			commit := func(from int) {
				for i := from; i < n; i++ {
					committed[fmt.Sprint(i)] = true
				}
			}
			failures := 0
			for range 40 {
				switch from := n; rnd.IntN(8) {
				case 0, 1, 2:
					l.produce(some()...)
					commit(from)
				case 3:
					l.transaction(true, some()...)
					commit(from)
				case 4:
					l.transaction(false, some()...)
				case 5:
					if rnd.IntN(4) == 0 {
						p := rnd.Int32N(partitions)
						span, err := kafka.NewReader(l.client).Span(t.Context(), l.topic, p)
						if err != nil {
							t.Fatal(err)
						}
						l.deleteRecords(p, span.Start+rnd.Int64N(span.End-span.Start+1))
					}
				default:
					s := l.settings()
					s.Limits = drain.Limits{Events: 1 + rnd.IntN(20), Skips: 1 + rnd.IntN(5), Fetch: 1 + rnd.Int32N(4096)}
					fail, faults := rnd.IntN(3) > 0, rand.New(rand.NewPCG(rnd.Uint64(), 2)) // used under the server's lock
					l.s3.Fail(func(method, _, key string) objectstoretest.Fault {
						if fail && faults.IntN(8) == 0 {
							return objectstoretest.Fault(faults.IntN(5))
						}
						return objectstoretest.Serve
					})
					var wg sync.WaitGroup
					var failed atomic.Int32
					for range 1 + rnd.IntN(3) {
						budget := rnd.IntN(30)
						d := l.drainer(s, l.bucket(2))
						wg.Go(func() {
							if _, err := d.Drain(t.Context(), func() bool { budget--; return budget >= 0 }); err != nil {
								failed.Add(1)
							}
						})
					}
					wg.Wait()
					failures += int(failed.Load())
					l.s3.Fail(nil)
				}
			}
			l.drain()
			x := l.landed(l.id())
			var lost int64
			for _, k := range x.lost {
				lost += k
			}
			for _, r := range x.rows {
				if !committed[*r.ID] {
					t.Errorf("%s was aborted, or landed twice", *r.ID)
				}
				delete(committed, *r.ID)
			}
			if int64(len(committed)) > lost {
				t.Errorf("%d events are missing, %d offsets were lost", len(committed), lost)
			}
			t.Logf("%d events, %d rows, %d entries, %d failed drains, skipped %v, lost %v, %d objects in the store", n, len(x.rows), len(x.entries), failures, x.skipped, x.lost, len(l.s3.Objects(bucket)))
		})
	}
}

// Guards the memory of several drains in one process: a gate that is full lets nothing be read, a drain that waits at it ends with its context, and one that
// passed it makes room again after each entry.
func TestGate(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	l.events(0, 20, 1)
	s := l.settings()
	s.Limits.Events = 5
	s.Gate = drain.NewGate(1)
	s.Gate <- struct{}{} // somebody else's
	ctx, cancel := context.WithCancel(t.Context())
	source := &hookedSource{Reader: kafka.NewReader(l.client), fetched: func() { t.Error("something was read") }}
	source.span = func(s kafka.Span) kafka.Span { cancel(); return s } // the last step before the gate
	d := drain.New(s, source, l.bucket(1), nil, time.Now, slog.New(slog.DiscardHandler), nil)
	if _, err := d.Drain(ctx, always); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-s.Gate
	if r, err := l.drainer(s, l.bucket(1)).Drain(t.Context(), always); err != nil || r.Entries != 4 {
		t.Errorf("%+v, %v", r, err)
	}
	l.landed(l.id())
	// Nor is the record before fetched, by which a truncation would be seen.
	l.events(20, 5, 1)
	s.Gate <- struct{}{}
	again, end := context.WithCancel(t.Context())
	defer end()
	cancel = end
	if _, err := d.Drain(again, always); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Guards against an entry that names objects which a sweep may have taken for garbage: a drain that was held up between its objects and its entry publishes nothing, and the next
// one does the work again.
func TestHeldUpBetweenObjectAndEntry(t *testing.T) {
	l := newLake(t, "events.raw", 1)
	l.events(0, 9, 1)
	s := l.settings()
	s.PublishWithin = time.Hour
	hold := func(long time.Duration) drain.Store {
		return afterPut{l.bucket(1), func() { l.now = l.now.Add(long) }}
	}
	if r, err := l.drainer(s, hold(61*time.Minute)).Drain(t.Context(), always); !errors.Is(err, drain.ErrStale) || r.Rows != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if x := l.landed(l.id()); len(x.entries) != 0 {
		t.Errorf("published %+v", x.entries)
	}
	if _, err := l.drainer(s, hold(59*time.Minute)).Drain(t.Context(), always); err != nil {
		t.Error(err)
	}
	if got := l.landed(l.id()).ids(); got != numbers(0, 9) {
		t.Errorf("got %s", got)
	}
}

// afterPut is a store that calls f after each object.
type afterPut struct {
	*objectstore.Bucket
	f func()
}

func (a afterPut) Put(ctx context.Context, key string, body []byte) error {
	err := a.Bucket.Put(ctx, key, body)
	a.f()
	return err
}

// Guards what is told of the position: how far behind the log is, before, between and after entries, without what Kafka itself no longer has.
func TestProgress(t *testing.T) {
	l := newLake(t, "events.raw", 2)
	l.events(0, 20, 2)
	l.deleteRecords(0, 3)
	s := l.settings()
	s.Limits.Events = 10
	var seen []drain.Progress
	s.Progress = func(p drain.Progress) { seen = append(seen, p) }
	d := l.drainer(s, l.bucket(1))
	if _, err := d.Drain(t.Context(), always); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 3 || seen[0].Lag != 17 || seen[0].Held != 17 || seen[2].Held != 17 || !seen[0].Last.IsZero() || len(seen[0].Next) != 0 || seen[1].Lag != 7 || seen[2].Lag != 0 ||
		!seen[2].Last.Equal(l.now) || seen[2].Next[0] != 10 || seen[2].Next[1] != 10 {
		t.Errorf("%+v", seen)
	}
	if _, err := d.Drain(t.Context(), always); err != nil || len(seen) != 4 || seen[3].Lag != 0 || seen[3].Next[0] != 10 {
		t.Errorf("nothing new: %+v, %v", seen, err)
	}
}
