package landing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

func bucket(t *testing.T, attempts int) (*objectstore.Bucket, *objectstoretest.Server) {
	t.Helper()
	s := objectstoretest.NewServer("lake")
	t.Cleanup(s.Close)
	b, err := objectstore.Open(s.Config("lake", attempts))
	if err != nil {
		t.Fatal(err)
	}
	return b, s
}

// entry returns the entry with the sequence that reads ten offsets of partition 0.
func entry(sequence int64, drain string) Entry {
	return Entry{
		Version: 1, Topic: "t", TopicID: "id", Sequence: sequence, Drain: drain, Time: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC),
		Partitions: []Partition{{Partition: 0, From: (sequence - 1) * 10, Next: sequence * 10, Skipped: []Range{{First: sequence*10 - 2, Last: sequence*10 - 1, Reason: ReasonControl}}}},
		Objects:    []Object{{Key: "k" + drain, Kind: KindRaw, Rows: 8, Bytes: 1, SHA256: strings.Repeat("0", 64)}},
	}
}

// fill appends entries up to the sequence, and returns the last one.
func fill(t *testing.T, l *Log, to int64) Entry {
	t.Helper()
	var prev Entry
	for n := int64(1); n <= to; n++ {
		e := entry(n, "d")
		if err := l.Append(t.Context(), prev, e); err != nil {
			t.Fatal(err)
		}
		prev = e
	}
	return prev
}

// Guards the format, which other programs read: names, order, empty lists rather than null, the key.
func TestFormat(t *testing.T) {
	e := entry(1, "d")
	e.Time = e.Time.In(time.FixedZone("", 3600))
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"version":1,"topic":"t","topic_id":"id","sequence":1,"drain":"d","time":"2026-11-21T00:00:00Z","partitions":[{"partition":0,"from":0,"next":10,"skipped":[{"first":8,"last":9,"reason":"control"}],"lost":[]}],` +
		`"objects":[{"key":"kd","kind":"raw","type":"","rows":8,"bytes":1,"sha256":"` + strings.Repeat("0", 64) + `"}]}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	if got := Key("events.raw", "-x_", 7); got != "landing/_log/events.raw/-x_/00000000000000000007.json" {
		t.Errorf("key %s", got)
	}
	back, err := Decode(b)
	if err != nil || fmt.Sprint(back.Next()) != "map[0:10]" {
		t.Errorf("%+v, %v", back, err)
	}
}

// Guards readers against entries that do not account for what they claim, and writers against making them.
func TestValidate(t *testing.T) {
	for name, change := range map[string]func(*Entry){
		"a later version":      func(e *Entry) { e.Version = 2 },
		"no topic id":          func(e *Entry) { e.TopicID = "" },
		"no drain":             func(e *Entry) { e.Drain = "" },
		"sequence 0":           func(e *Entry) { e.Sequence = 0 },
		"a slash in the topic": func(e *Entry) { e.Topic = "a/b" },
		"a row too few":        func(e *Entry) { e.Objects[0].Rows-- },
		"a row too many":       func(e *Entry) { e.Objects[0].Rows++ },
		"no rows": func(e *Entry) {
			e.Objects = append(e.Objects, Object{Key: "x", Kind: "raw", Bytes: 1, SHA256: strings.Repeat("0", 64)})
		},
		"no checksum":            func(e *Entry) { e.Objects[0].SHA256 = "" },
		"backwards":              func(e *Entry) { e.Partitions[0].From = 11 },
		"a range beyond the end": func(e *Entry) { e.Partitions[0].Skipped[0].Last = 10 },
		"a range without reason": func(e *Entry) { e.Partitions[0].Skipped[0].Reason = "" },
		"overlapping ranges":     func(e *Entry) { e.Partitions[0].Skipped = append(e.Partitions[0].Skipped, e.Partitions[0].Skipped[0]) },
		"a mark without a kind":  func(e *Entry) { e.Partitions[0].Last = &Mark{} },
		"broken and read on":     func(e *Entry) { e.Partitions[0].Broken = &Break{Reason: BreakEnd} },
		"back to what is ahead":  func(e *Entry) { e.Partitions[0].Rewound = new(int64); e.Partitions[0].From = 1 },
		"partitions twice":       func(e *Entry) { e.Partitions = append(e.Partitions, Partition{Partition: 0}) },
	} {
		e := entry(1, "d")
		change(&e)
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(b); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	for _, text := range []string{"", "null", "{}", "[]", `{"version":1`} {
		if _, err := Decode([]byte(text)); err == nil {
			t.Errorf("%q passes", text)
		}
	}
	b, _ := entry(1, "d").Encode()
	if _, err := Decode(append(b, "{}"...)); err == nil {
		t.Error("text after the entry passes")
	}
}

// Guards the marks' names, which other programs read, and that they mean the same read back; and that an entry without them is as it was before there were any (TestFormat).
func TestFormatOfBreaks(t *testing.T) {
	e := entry(1, "d")
	epoch, was := int32(0), int64(10)
	e.Partitions[0].Last = &Mark{Kind: MarkRecord, Timestamp: 1, LeaderEpoch: &epoch}
	e.Partitions = append(e.Partitions, Partition{Partition: 1, From: 9, Next: 9, Broken: &Break{Reason: BreakEnd, End: 7, Intact: 5}}, Partition{Partition: 2, From: 5, Next: 5, Rewound: &was})
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"lost":[],"last":{"kind":"record","timestamp":1,"leader_epoch":0}}`, `"lost":[],"broken":{"reason":"end","end":7,"intact":5}}`, `"lost":[],"rewound":10}`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s misses %s", b, want)
		}
	}
	back, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := back.Encode(); err != nil || string(again) != string(b) {
		t.Errorf("%s, %v", again, err)
	}
}

// Guards against a topic that is called truncated, or whole, by a mark that does not say so.
func TestMarkDiffers(t *testing.T) {
	zero, one := int32(0), int32(1)
	record := Mark{Kind: MarkRecord, Timestamp: 7, LeaderEpoch: &zero}
	for name, c := range map[string]struct {
		was, now Mark
		want     bool
	}{
		"the same":               {record, Mark{Kind: MarkRecord, Timestamp: 7, LeaderEpoch: new(int32)}, false},
		"another time":           {record, Mark{Kind: MarkRecord, Timestamp: 8, LeaderEpoch: &zero}, true},
		"another leader":         {record, Mark{Kind: MarkRecord, Timestamp: 7, LeaderEpoch: &one}, true},
		"a leader not told":      {record, Mark{Kind: MarkRecord, Timestamp: 7}, false},
		"a leader not told then": {Mark{Kind: MarkRecord, Timestamp: 7}, record, false},
		"compacted":              {record, Mark{Kind: ReasonAbsent}, false},
		"a marker now":           {record, Mark{Kind: ReasonControl, LeaderEpoch: &zero}, true},
		"committed now":          {Mark{Kind: ReasonAborted}, record, true},
		"there now":              {Mark{Kind: ReasonAbsent}, record, true},
	} {
		if got := c.was.Differs(c.now); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// Guards the chain around a break: a broken partition goes on only with an operator's word, which is in the log, and a whole one never goes back.
func TestJoinOfBreaks(t *testing.T) {
	at := func(from, next int64, broken bool, rewound int64) Entry {
		e := Entry{Topic: "t", TopicID: "id", Sequence: 2, Partitions: []Partition{{From: from, Next: next}}}
		if broken {
			e.Partitions[0].Broken = &Break{Reason: BreakEnd}
		}
		if rewound >= 0 {
			e.Partitions[0].Rewound = &rewound
		}
		return e
	}
	whole, broken := at(0, 10, false, -1), at(10, 10, true, -1)
	whole.Sequence, broken.Sequence = 1, 1
	for name, c := range map[string]struct {
		prev, e Entry
		joins   bool
	}{
		"it breaks":                       {whole, at(10, 10, true, -1), true},
		"it stays broken":                 {broken, at(10, 10, true, -1), true},
		"it goes on without a word":       {broken, at(10, 12, false, -1), false},
		"it goes back":                    {broken, at(5, 5, false, 10), true},
		"it goes back and on":             {broken, at(5, 12, false, 10), true},
		"it goes on where it stood":       {broken, at(10, 10, false, 10), true},
		"it goes back from somewhere":     {broken, at(5, 5, false, 9), false},
		"it goes back and was not broken": {whole, at(5, 5, false, 10), false},
	} {
		if err := c.e.Join(c.prev); (err == nil) != c.joins {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Guards the chain: a gap, an overlap, a partition that vanished, or another log's entry must not pass as the next one.
func TestJoin(t *testing.T) {
	prev := entry(1, "d")
	for name, change := range map[string]func(*Entry){
		"a gap in the sequence": func(e *Entry) { e.Sequence = 3 },
		"the same sequence":     func(e *Entry) { e.Sequence = 1 },
		"a gap in the offsets":  func(e *Entry) { e.Partitions[0].From++ },
		"an overlap":            func(e *Entry) { e.Partitions[0].From-- },
		"no partition":          func(e *Entry) { e.Partitions = nil },
		"a new one not at 0":    func(e *Entry) { e.Partitions = append(e.Partitions, Partition{Partition: 1, From: 5, Next: 5}) },
		"another topic":         func(e *Entry) { e.Topic = "u" },
		"another topic id":      func(e *Entry) { e.TopicID = "x" },
	} {
		e := entry(2, "d")
		change(&e)
		if err := e.Join(prev); err == nil {
			t.Errorf("%s joins", name)
		}
	}
	e := entry(2, "d")
	e.Partitions = append(e.Partitions, Partition{Partition: 1})
	if err := e.Join(prev); err != nil {
		t.Error(err)
	}
}

// Guards finding the tail at all lengths around the page, from a cold start, with a fresh hint and with a stale one, and at a price that does not grow with the log.
func TestTail(t *testing.T) {
	b, s := bucket(t, 1)
	warm := Open(b, "t", "id")
	written := Open(b, "t", "id")
	var prev Entry
	next := int64(1)
	for _, n := range []int64{0, 1, 2, 999, 1000, 1001, 2000, 2001, 2500, 4001} {
		for ; next <= n; next++ {
			e := entry(next, "d")
			if err := written.Append(t.Context(), prev, e); err != nil {
				t.Fatal(err)
			}
			prev = e
		}
		for name, l := range map[string]*Log{"cold": Open(b, "t", "id"), "warm": warm, "fresh": written} {
			before := s.Requests("GET")
			e, err := l.Tail(t.Context())
			if err != nil || e.Sequence != n {
				t.Fatalf("%s, %d entries: tail %d, %v", name, n, e.Sequence, err)
			}
			if used := s.Requests("GET") - before; used > 14 || (name == "fresh" && used > 2) {
				t.Errorf("%s, %d entries: %d requests", name, n, used)
			}
		}
	}
}

// Guards the log against a retention rule on its old entries.
func TestTailWithoutTheOldEntries(t *testing.T) {
	b, _ := bucket(t, 1)
	fill(t, Open(b, "t", "id"), 1500)
	for n := int64(1); n <= 1200; n++ {
		if err := b.Delete(t.Context(), Key("t", "id", n)); err != nil {
			t.Fatal(err)
		}
	}
	if e, err := Open(b, "t", "id").Tail(t.Context()); err != nil || e.Sequence != 1500 {
		t.Errorf("tail %d, %v", e.Sequence, err)
	}
	count := 0
	if err := Open(b, "t", "id").After(t.Context(), 0, func(Entry) error { count++; return nil }); err != nil || count != 300 {
		t.Errorf("%d entries, %v", count, err)
	}
}

// Guards the one winner: of two drains that append the same sequence the second learns that it lost, and the log is the first's.
func TestAppendLost(t *testing.T) {
	b, _ := bucket(t, 1)
	l := Open(b, "t", "id")
	prev := fill(t, l, 3)
	if err := l.Append(t.Context(), prev, entry(4, "winner")); err != nil {
		t.Fatal(err)
	}
	if err := Open(b, "t", "id").Append(t.Context(), prev, entry(4, "loser")); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	if e, err := l.Tail(t.Context()); err != nil || e.Drain != "winner" {
		t.Errorf("%+v, %v", e, err)
	}
}

// Guards the lost answer: the entry that is there already is our own, so the append succeeded.
func TestAppendOwnEntryIsThere(t *testing.T) {
	b, s := bucket(t, 3)
	puts := 0
	s.Fail(func(method, _, _ string) objectstoretest.Fault {
		if method == "PUT" {
			if puts++; puts == 1 {
				return objectstoretest.WriteThenCut
			}
		}
		return objectstoretest.Serve
	})
	if err := Open(b, "t", "id").Append(t.Context(), Entry{}, entry(1, "d")); err != nil || puts != 2 {
		t.Errorf("%v after %d attempts", err, puts)
	}
}

// Guards against an outage that reads as a lost race or as success: nobody knows then whether the entry was written.
func TestAppendOutage(t *testing.T) {
	for _, fault := range []objectstoretest.Fault{objectstoretest.Refuse, objectstoretest.Cut, objectstoretest.WriteThenCut, objectstoretest.WriteThenFail} {
		b, s := bucket(t, 1)
		s.Fail(func(string, string, string) objectstoretest.Fault { return fault })
		if err := Open(b, "t", "id").Append(t.Context(), Entry{}, entry(1, "d")); err == nil || errors.Is(err, ErrLost) {
			t.Errorf("fault %d: %v", fault, err)
		}
		if _, err := Open(b, "t", "id").Tail(t.Context()); err == nil {
			t.Error("an outage reads as an empty log")
		}
	}
}

// Guards against writing an entry that does not follow: nothing may be sent.
func TestAppendRefusesWhatDoesNotJoin(t *testing.T) {
	b, s := bucket(t, 1)
	l := Open(b, "t", "id")
	prev := fill(t, l, 1)
	before := s.Requests("PUT")
	wrong := entry(2, "d")
	wrong.Objects[0].Rows++
	other := entry(2, "d")
	other.Topic = "u"
	for _, e := range []Entry{wrong, entry(3, "d"), other} {
		if err := l.Append(t.Context(), prev, e); err == nil {
			t.Errorf("%+v was appended", e)
		}
	}
	if s.Requests("PUT") != before {
		t.Error("something was sent")
	}
}

// Guards readers: entries come in order, from behind a checkpoint, and damage in the middle stops the reading with an error.
func TestAfter(t *testing.T) {
	b, _ := bucket(t, 1)
	l := Open(b, "t", "id")
	fill(t, l, 1005)
	for _, from := range []int64{0, 1, 1000, 1004, 1005} {
		next := from + 1
		if err := l.After(t.Context(), from, func(e Entry) error {
			if e.Sequence != next {
				t.Errorf("got %d, want %d", e.Sequence, next)
			}
			next++
			return nil
		}); err != nil || next != 1006 {
			t.Errorf("from %d: until %d, %v", from, next, err)
		}
	}
	stop := errors.New("stop")
	if err := l.After(t.Context(), 0, func(Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	if err := b.Delete(t.Context(), Key("t", "id", 500)); err != nil {
		t.Fatal(err)
	}
	if err := l.After(t.Context(), 0, func(Entry) error { return nil }); err == nil {
		t.Error("a gap passes")
	}
	moved, err := b.Get(t.Context(), Key("t", "id", 499))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), Key("t", "id", 500), moved); err != nil {
		t.Fatal(err)
	}
	if err := l.After(t.Context(), 0, func(Entry) error { return nil }); err == nil {
		t.Error("an entry under another's key passes")
	}
}

// Guards whoever asks for a time: every entry of the time comes, in order, at a price that does not grow with what was before it; also where drains' clocks were apart, by as much as was subtracted,
// where a retention rule removed the old entries, and where nothing is of the time. A hole within the time is an error.
func TestSince(t *testing.T) {
	b, s := bucket(t, 1)
	l := Open(b, "t", "id")
	if err := l.Since(t.Context(), time.Time{}, func(Entry) error { t.Error("an entry of an empty log"); return nil }); err != nil {
		t.Error(err)
	}
	day := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	at := func(n int64) time.Time { // every other drain's clock is ten minutes behind
		return day.Add(time.Duration(n)*time.Minute - time.Duration(n%2)*10*time.Minute)
	}
	var prev Entry
	for n := int64(1); n <= 1500; n++ {
		e := entry(n, "d")
		e.Time = at(n)
		if err := l.Append(t.Context(), prev, e); err != nil {
			t.Fatal(err)
		}
		prev = e
	}
	since := func(t0 time.Time) (got []int64, gets int, err error) {
		before := s.Requests("GET")
		err = Open(b, "t", "id").Since(t.Context(), t0, func(e Entry) error { got = append(got, e.Sequence); return nil })
		return got, s.Requests("GET") - before, err
	}
	for _, n := range []int64{1, 2, 3, 777, 1480, 1499, 1500} {
		got, gets, err := since(day.Add(time.Duration(n)*time.Minute - 10*time.Minute))
		if err != nil || len(got) == 0 || got[0] > n || got[0] < n-25 || got[len(got)-1] != 1500 || int64(len(got)) != 1500-got[0]+1 || gets > len(got)+30 {
			t.Errorf("since %d: %d entries, %d requests, %v", n, len(got), gets, err)
		}
	}
	if got, gets, err := since(day.Add(48 * time.Hour)); err != nil || len(got) > 0 || gets > 14 {
		t.Errorf("behind the end: %v, %d requests, %v", got, gets, err)
	}
	for n := int64(1); n <= 1200; n++ {
		if err := b.Delete(t.Context(), Key("t", "id", n)); err != nil {
			t.Fatal(err)
		}
	}
	if got, _, err := since(day); err != nil || len(got) != 300 {
		t.Errorf("without the old entries: %d, %v", len(got), err)
	}
	if err := b.Delete(t.Context(), Key("t", "id", 1400)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{1250, 1390} {
		if _, _, err := since(at(n)); err == nil {
			t.Errorf("a hole behind %d passes", n)
		}
	}
	if err := b.Delete(t.Context(), Key("t", "id", 1350)); err != nil { // where the search for the time looks first
		t.Fatal(err)
	}
	if got, _, err := since(at(1250)); !errors.Is(err, objectstore.ErrNotFound) || len(got) > 0 {
		t.Errorf("a hole in the middle passes: %d entries, %v", len(got), err)
	}
}

// gate is a store whose Gets wait until as many are under way as may be.
type gate struct {
	store
	mu         sync.Mutex
	open, most int
	once       sync.Once
	full       chan struct{}
}

func (g *gate) Get(ctx context.Context, key string) ([]byte, error) {
	g.mu.Lock()
	if g.open++; g.open == ahead {
		g.once.Do(func() { close(g.full) }) // it may be so many again
	}
	g.most = max(g.most, g.open)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.open--
	}()
	select {
	case <-g.full:
		return g.store.Get(ctx, key)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Guards a log of a year against being read one entry after the other: some are asked for while the first is on its way, no more than that, and they come in order; a failure ends
// the requests that are under way.
func TestReadsAhead(t *testing.T) {
	b, _ := bucket(t, 1)
	fill(t, Open(b, "t", "id"), 40)
	g := &gate{store: b, full: make(chan struct{})}
	next := int64(1)
	if err := Open(g, "t", "id").After(t.Context(), 0, func(e Entry) error {
		if e.Sequence != next {
			t.Errorf("got %d, want %d", e.Sequence, next)
		}
		next++
		return nil
	}); err != nil || next != 41 || g.most > ahead {
		t.Errorf("until %d, %d at a time, %v", next, g.most, err)
	}
	stop := errors.New("stop")
	g = &gate{store: b, full: make(chan struct{})}
	if err := Open(g, "t", "id").After(t.Context(), 0, func(Entry) error { return stop }); !errors.Is(err, stop) || g.open != 0 {
		t.Errorf("%d under way, %v", g.open, err)
	}
}

// Guards recognising a topic that was created anew: all ids are found, also those with characters around '/', and none of a topic with a longer name.
func TestTopicIDs(t *testing.T) {
	b, _ := bucket(t, 1)
	ids := []string{"--A", "0", "AbC", "abc", "abcd", "_z"}
	for _, id := range ids {
		for n := int64(1); n <= 3; n++ {
			if err := b.Put(t.Context(), Key("events.raw", id, n), []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := b.Put(t.Context(), Key("events.raw2", "other", 1), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	got, err := TopicIDs(t.Context(), b, "events.raw")
	if err != nil || len(got) != len(ids) {
		t.Errorf("%v, %v", got, err)
	}
	for _, id := range ids {
		if !strings.Contains(" "+strings.Join(got, " ")+" ", " "+id+" ") {
			t.Errorf("%s is missing in %v", id, got)
		}
	}
	if got, err := TopicIDs(context.Background(), b, "events"); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// Guards whoever must see the whole log: Back visits every entry from the newest to the first, across the bounds of what it reads at a time, and stops when told.
func TestBack(t *testing.T) {
	for _, n := range []int64{0, 1, 2, ahead, ahead + 1, ahead + 2, 3*ahead + 5} {
		b, _ := bucket(t, 1)
		fill(t, Open(b, "t", "id"), n)
		want := n
		err := Open(b, "t", "id").Back(t.Context(), func(e Entry) (bool, error) {
			if e.Sequence != want {
				t.Errorf("of %d: entry %d, want %d", n, e.Sequence, want)
			}
			want--
			return true, nil
		})
		if err != nil || want != 0 {
			t.Errorf("of %d: %v, %d left", n, err, want)
		}
		if n < 3 {
			continue
		}
		seen := 0
		if err := Open(b, "t", "id").Back(t.Context(), func(Entry) (bool, error) { seen++; return seen < 2, nil }); err != nil || seen != 2 {
			t.Errorf("stopped after %d: %v", seen, err)
		}
		failure := errors.New("no more")
		if err := Open(b, "t", "id").Back(t.Context(), func(Entry) (bool, error) { return false, failure }); !errors.Is(err, failure) {
			t.Errorf("got %v", err)
		}
	}
}

// Guards against a log that passes for whole though a part of it is gone: that must be an error wherever it is.
func TestBackFindsGaps(t *testing.T) {
	for _, gone := range []int64{1, 2, 20, 30} {
		b, _ := bucket(t, 1)
		fill(t, Open(b, "t", "id"), 31)
		if err := b.Delete(t.Context(), Key("t", "id", gone)); err != nil {
			t.Fatal(err)
		}
		if err := Open(b, "t", "id").Back(t.Context(), func(Entry) (bool, error) { return true, nil }); !errors.Is(err, objectstore.ErrNotFound) {
			t.Errorf("without %d: %v", gone, err)
		}
	}
}

// Guards against logs that are overlooked: Logs names each, whatever else begins with its name, and its newest entry's age is the store's.
func TestLogs(t *testing.T) {
	b, s := bucket(t, 1)
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	s.Clock(func() time.Time { return at })
	want := []Name{{"a-b", "id-2"}, {"a-b", "id"}, {"a", "id"}, {"b.raw", "_x"}}
	for _, n := range want {
		for seq := int64(1); seq < 3; seq++ {
			if err := b.Put(t.Context(), Key(n.Topic, n.TopicID, seq), []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := Logs(t.Context(), b)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v", got, err)
	}
	if err := b.Put(t.Context(), root+"c/note", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Logs(t.Context(), b); err == nil {
		t.Error("a key that is no entry's passes")
	}
	l := Open(b, "t", "id")
	if w, err := l.Written(t.Context()); err != nil || !w.IsZero() {
		t.Errorf("no entries: %s, %v", w, err)
	}
	fill(t, l, 3)
	if w, err := l.Written(t.Context()); err != nil || !w.Equal(at) {
		t.Errorf("%s, %v", w, err)
	}
}

// Guards the keys of objects, by which garbage is told from what is not ours: what a drain makes parses back, nothing else parses.
func TestPlace(t *testing.T) {
	const drain = "0193509c-5d80-7abc-8def-0123456789ab"
	for key, want := range map[string]Place{
		"landing/raw/date=2026-11-20/" + drain + "-0.parquet":                        {Kind: "raw", Day: "2026-11-20", Drain: drain},
		"landing/dead/date=2026-11-20/" + drain + "-17.parquet":                      {Kind: "dead", Day: "2026-11-20", Drain: drain, N: 17},
		"landing/enriched/a.b-c/12/date=2026-11-20/" + drain + "-1.parquet":          {Kind: "enriched", Type: "a.b-c", Model: "12", Day: "2026-11-20", Drain: drain, N: 1},
		"landing/enriched/type%2Fx/_/date=2026-11-20/" + drain + "-1.parquet":        {Kind: "enriched", Type: "type/x", Model: "_", Day: "2026-11-20", Drain: drain, N: 1},
		"landing/enriched/_/_/date=2026-11-20/" + drain + "-1.parquet":               {Kind: "enriched", Type: "_", Model: "_", Day: "2026-11-20", Drain: drain, N: 1},
		"landing/raw/date=0001-01-01/" + drain + "-200000.parquet":                   {Kind: "raw", Day: "0001-01-01", Drain: drain, N: 200000},
		"landing/raw/date=2026-11-20/" + drain + "--1.parquet":                       {},
		"landing/raw/date=2026-11-20/" + drain + "-+1.parquet":                       {},
		"landing/raw/date=2026-11-20/" + drain + "-01.parquet":                       {},
		"landing/raw/date=2026-11-20/" + drain + ".parquet":                          {},
		"landing/raw/date=2026-11-31/" + drain + "-1.parquet":                        {},
		"landing/raw/2026-11-20/" + drain + "-1.parquet":                             {},
		"landing/raw/date=2026-11-20/x/" + drain + "-1.parquet":                      {},
		"landing/enriched/date=2026-11-20/" + drain + "-1.parquet":                   {},
		"landing/enriched/a%zz/1/date=2026-11-20/" + drain + "-1.parquet":            {},
		"landing/other/date=2026-11-20/" + drain + "-1.parquet":                      {},
		"landing/_log/events.raw/id/00000000000000000001.json":                       {},
		"landing/raw/date=2026-11-20/0193509c-5d80-4abc-8def-0123456789ab-1.parquet": {}, // no UUIDv7
		"": {},
	} {
		got, ok := ParsePlace(key)
		if ok != (want != Place{}) || (ok && got != want) {
			t.Errorf("%s: %+v, %t", key, got, ok)
		}
	}
	p := Place{Kind: "raw", Day: "2026-11-20", Drain: drain, N: 3}
	at := p.Started()
	if got := at.Format(time.RFC3339Nano); got != "2024-11-21T21:24:05.12Z" {
		t.Errorf("started %s", got)
	}
	if before, after := p.Since(at), p.Since(at.Add(time.Millisecond)); before > p.Key() || after < p.Key() {
		t.Errorf("%s, %s, %s", before, p.Key(), after)
	}
}
