package reconcile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/functions/replay/internal/plan"
	"millrace/functions/replay/internal/source"
	"millrace/shared/document"
	"millrace/shared/event"
	"millrace/shared/landing"
	"millrace/shared/search"
)

var (
	noon  = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	later = noon.Add(time.Hour)
)

// fakeTopic holds records of one partition or more; forgotten are those of which it has deleted some.
type fakeTopic struct {
	records   []source.Record
	forgotten []int32
	starts    []plan.Partition
	err       error
}

func (t *fakeTopic) Scan(_ context.Context, from time.Time, f func(source.Record) error) (plan.Origin, []int32, error) {
	for _, r := range t.records {
		if r.Time.Before(from) {
			continue
		}
		if err := f(r); err != nil {
			return plan.Origin{}, nil, err
		}
	}
	return plan.Origin{Topic: plan.Topic{ID: "topic-id"}, Partitions: t.starts}, slices.Clone(t.forgotten), t.err
}

func (t *fakeTopic) Record(_ context.Context, partition int32, offset int64) (source.Record, error) {
	for _, r := range t.records {
		if r.Partition == partition && r.Offset == offset {
			return r, t.err
		}
	}
	return source.Record{}, source.ErrGone
}

// add writes an event to the topic's partition 0.
func (t *fakeTopic) add(e *event.Event, at time.Time) {
	t.records = append(t.records, source.Record{Place: plan.Place{Offset: int64(len(t.records))}, Event: e, Time: at})
}

// fakeSearch is what search shows: hashes by index and id.
type fakeSearch map[search.Ref]string

func (s fakeSearch) EnrichedIndex(eventType string, model int, t time.Time) string {
	return fmt.Sprintf("enriched-%s-%d-%s", eventType, model, t.Format(time.DateOnly))
}
func (s fakeSearch) DeadIndex(t time.Time) string { return "dead-" + t.Format(time.DateOnly) }

func (s fakeSearch) Versions(_ context.Context, refs []search.Ref) ([]search.Version, error) {
	out := make([]search.Version, len(refs))
	for i, r := range refs {
		var hash string
		hash, out[i].Found = s[r]
		out[i].Hash, _, _ = strings.Cut(hash, " ")
		out[i].Number = 1
		if _, version, ok := strings.Cut(hash, " "); ok { // of a replay
			out[i].Number, _ = strconv.ParseInt(version, 10, 64)
		}
	}
	return out, nil
}

// fakeLog has entries from the oldest on.
type fakeLog []landing.Entry

func (l fakeLog) Back(_ context.Context, f func(landing.Entry) (bool, error)) error {
	for _, e := range slices.Backward(l) {
		if more, err := f(e); err != nil || !more {
			return err
		}
	}
	return nil
}

// world is a pipeline's durable state.
type world struct {
	t                    *testing.T
	raw, enriched, dead  fakeTopic
	search               fakeSearch
	rawCommitted         int64
	enrichedCommitted    int64
	deadCommitted        int64
	logs                 [3]fakeLog
	groupsUnknown, noLog bool
	former               map[string]fakeLog // of events.raw, by topic id
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{t: t, search: fakeSearch{}, rawCommitted: 1000, enrichedCommitted: 1000, deadCommitted: 1000}
}

func (w *world) event(id string, attributes ...string) *event.Event {
	w.t.Helper()
	h := http.Header{
		"Ce-Specversion": {"1.0"}, "Ce-Type": {"T"}, "Ce-Source": {"/s"}, "Ce-Id": {id}, "Ce-Schemaversion": {"1-0-0"},
		"Ce-Collectorid": {"c"}, "Ce-Collectortime": {event.FormatTime(noon)}, "Ce-Datahash": {event.Hash([]byte(id))}, "Content-Type": {"application/json"},
	}
	for i := 0; i < len(attributes); i += 2 {
		h.Set("Ce-"+attributes[i], attributes[i+1])
	}
	e, err := event.DecodeHTTP(h, []byte(`{"payload":1,"enrichment":{}}`))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := event.Derive(e, noon); err != nil {
		w.t.Fatal(err)
	}
	return e
}

func (w *world) letter(id string, attributes ...string) *event.Event {
	return w.event(id, append([]string{event.FailureStage, "enrich", event.FailureCode, "not_json", event.FailureTime, event.FormatTime(noon)}, attributes...)...)
}

func (w *world) index(e *event.Event) {
	w.t.Helper()
	ref, err := document.Ref(w.search, e)
	if err != nil {
		w.t.Fatal(err)
	}
	w.search[ref] = event.Attr(e, event.DataHash)
}

// pass brings an event all the way.
func (w *world) pass(id string) {
	w.raw.add(w.event(id), noon)
	e := w.event(id, event.Stage, event.StageEnriched)
	w.enriched.add(e, noon)
	w.index(e)
}

func (w *world) run(from, to time.Time) *Report {
	w.t.Helper()
	r, err := Run(w.t.Context(), w.options(from, to))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) options(from, to time.Time) Options {
	stage := func(i int, name string, topic *fakeTopic, committed int64) Stage {
		log := w.logs[i]
		if log == nil && !w.noLog {
			log = fakeLog{{Partitions: []landing.Partition{{Partition: 0, Next: int64(len(topic.records))}}}}
		}
		s := Stage{Name: name, Topic: topic, Committed: map[int32]int64{0: committed}, Log: func(id string) Log {
			if log, ok := w.former[id]; ok {
				return log
			}
			if id != "topic-id" {
				w.t.Errorf("the log of topic id %q is asked for", id)
			}
			return log
		}}
		if w.groupsUnknown {
			s.Committed = nil
		}
		s.TopicIDs = func(context.Context) ([]string, error) {
			ids := []string{"topic-id"}
			if i == 0 {
				ids = append(ids, slices.Sorted(maps.Keys(w.former))...)
			}
			return ids, nil
		}
		return s
	}
	return Options{
		From: from, To: to, Documents: w.search, MaxGaps: 10,
		Raw: stage(0, "events.raw", &w.raw, w.rawCommitted), Enriched: stage(1, "events.enriched", &w.enriched, w.enrichedCommitted),
		Dead: stage(2, "events.dead", &w.dead, w.deadCommitted),
	}
}

func (w *world) closes(r *Report) {
	w.t.Helper()
	if !r.Closed() || r.Waits() != 0 {
		w.t.Errorf("the sums do not close: %+v", r)
	}
}

func (w *world) misses(r *Report, why Why, ids ...string) {
	w.t.Helper()
	var want []Gap
	for _, id := range ids {
		want = append(want, Gap{RootID: event.Identity("/s", id), Why: why})
	}
	slices.SortFunc(want, func(a, b Gap) int { return strings.Compare(a.RootID, b.RootID) })
	if r.Closed() || !slices.Equal(r.Gaps, want) || r.GapCount != int64(len(want)) {
		w.t.Errorf("gaps %d: %v, want %v", r.GapCount, r.Gaps, want)
	}
}

// Guards the plain sums: events that passed, a dead letter of enrich, one of collect that raw never saw, one of load-search, and an event that came twice.
func TestSumsClose(t *testing.T) {
	w := newWorld(t)
	w.pass("a")
	w.pass("b")
	w.pass("b") // delivered twice: one root id
	w.raw.add(w.event("bad"), noon)
	for _, letter := range []*event.Event{
		w.letter("bad"), w.letter("top", event.FailureStage, "collect"),
		w.letter("refused", event.FailureStage, "load-search", event.Stage, event.StageEnriched),
	} {
		w.dead.add(letter, noon)
		w.index(letter)
	}
	w.raw.add(w.event("refused"), noon)
	w.enriched.add(w.event("refused", event.Stage, event.StageEnriched), noon)
	r := w.run(noon, later)
	w.closes(r)
	if r.Raw != 4 || r.Enriched != 3 || r.Dead != 1 || r.Search != (Step{All: 3, Found: 2, Dead: 1}) || r.Letters != (Step{All: 3, Found: 3}) {
		t.Errorf("sums: %+v", r)
	}
	if l := r.Landing[0]; l.Records != 5 || l.Landed != 5 {
		t.Errorf("landed: %+v", l)
	}
}

// Guards against events that vanish at each step, which is what the command is for.
func TestGaps(t *testing.T) {
	w := newWorld(t)
	w.pass("a")
	w.raw.add(w.event("b"), noon)
	w.raw.add(w.event("c"), noon)
	w.misses(w.run(noon, later), NotEnriched, "b", "c")

	w = newWorld(t)
	w.pass("a")
	clear(w.search)
	w.misses(w.run(noon, later), NotSearchable, "a")

	w = newWorld(t)
	w.raw.add(w.event("a"), noon)
	w.dead.add(w.letter("a"), noon)
	w.misses(w.run(noon, later), DeadNotFound, "a")

	// A dead letter from before an event was enriched does not stand for what load-search lost after a replay.
	w = newWorld(t)
	w.pass("a")
	clear(w.search)
	letter := w.letter("a")
	w.dead.add(letter, noon)
	w.index(letter)
	w.misses(w.run(noon, later), NotSearchable, "a")

	// Nor does one of two dead letters that is in search stand for the other.
	w = newWorld(t)
	w.raw.add(w.event("a"), noon)
	w.dead.add(letter, noon)
	w.index(letter)
	w.dead.add(w.letter("a", event.ReplayCount, "1"), noon)
	w.misses(w.run(noon, later), DeadNotFound, "a")
}

// Guards against taking another payload's document for the event's: load-search makes an identity_conflict of it, and without one it is missing.
func TestAnotherPayloadIsNotTheEvent(t *testing.T) {
	w := newWorld(t)
	w.raw.add(w.event("a"), noon)
	e := w.event("a", event.Stage, event.StageEnriched)
	w.enriched.add(e, noon)
	ref, err := document.Ref(w.search, e)
	if err != nil {
		t.Fatal(err)
	}
	w.search[ref] = "another"
	w.misses(w.run(noon, later), NotSearchable, "a")

	// Beside one that search shows it is missing all the same, until it is an identity_conflict.
	w.index(e)
	w.enriched.add(w.event("a", event.Stage, event.StageEnriched, event.DataHash, event.Hash([]byte("other"))), noon)
	w.misses(w.run(noon, later), NotSearchable, "a")
	conflict := w.letter("a", event.FailureStage, "load-search", event.Stage, event.StageEnriched, event.DataHash, event.Hash([]byte("other")))
	w.dead.add(conflict, noon)
	w.index(conflict)
	w.closes(w.run(noon, later))

	// A dead letter whose id is taken stands under the one with its hash.
	w = newWorld(t)
	letter := w.letter("a")
	w.dead.add(letter, noon)
	if ref, err = document.Ref(w.search, letter); err != nil {
		t.Fatal(err)
	}
	w.search[ref] = "another"
	w.misses(w.run(noon, later), DeadNotFound, "a")
	w.search[search.Ref{Index: ref.Index, ID: document.Distinct(ref.ID, event.Attr(letter, event.DataHash))}] = event.Attr(letter, event.DataHash)
	w.closes(w.run(noon, later))
}

// Guards the difference between what is missing and what is on its way: behind the committed offset an event waits, before it is missing; without a group nothing waits.
func TestWaiting(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.raw.add(w.event(strconv.Itoa(i)), noon)
	}
	w.rawCommitted = 2
	r := w.run(noon, later)
	if r.Raw != 4 || r.Waiting != 2 || r.GapCount != 2 {
		t.Errorf("raw %d, waiting %d, missing %d; want 4, 2, 2", r.Raw, r.Waiting, r.GapCount)
	}
	w.rawCommitted = 0
	if r = w.run(noon, later); !r.Closed() || r.Waits() != 4 {
		t.Errorf("all wait, and the report says %+v", r)
	}
	w.groupsUnknown = true
	if r = w.run(noon, later); r.GapCount != 4 {
		t.Errorf("without a group, %d are missing, want 4", r.GapCount)
	}
}

// Guards against a time that is never whole again: of a topic in which little happens, retention deletes everything, long before the time that is asked for. What the log had before that
// time is not of it; what came since then may be.
func TestEmptiedByRetention(t *testing.T) {
	w := newWorld(t)
	w.pass("a")
	w.dead.forgotten, w.dead.starts = []int32{0, 1}, []plan.Partition{{Partition: 0, From: 5, Next: 5}, {Partition: 1, From: 7, Next: 7}}
	entry := func(at time.Time, next ...int64) landing.Entry {
		e := landing.Entry{Time: at}
		for i, n := range next {
			e.Partitions = append(e.Partitions, landing.Partition{Partition: int32(i), From: n, Next: n})
		}
		return e
	}
	old := noon.AddDate(0, 0, -40)
	w.logs[2] = fakeLog{entry(old, 5, 6), entry(noon.Add(time.Minute), 5, 7)}
	if r := w.run(noon, later); r.Closed() || !slices.Equal(r.Forgotten["events.dead"], []int32{1}) {
		t.Errorf("forgotten: %v, want partition 1", r.Forgotten)
	}
	w.logs[2] = fakeLog{entry(old, 5, 7)}
	w.closes(w.run(noon, later))
	w.logs[2][0].Partitions[0].Broken = &landing.Break{Reason: landing.BreakRecord}
	if r := w.run(noon, later); r.Closed() {
		t.Error("a partition that is broken is taken for whole")
	}
	w.logs[2] = fakeLog{}
	if r := w.run(noon, later); r.Closed() || len(r.Forgotten["events.dead"]) != 2 {
		t.Errorf("without a log: %v", r.Forgotten)
	}
}

// Guards the bounds: what came before or after the time counts nowhere, but an event of the time is followed beyond its end.
func TestTime(t *testing.T) {
	w := newWorld(t)
	w.raw.add(w.event("before"), noon.Add(-time.Second))
	w.raw.add(w.event("in"), later.Add(-time.Second))
	w.raw.add(w.event("after"), later)
	for _, id := range []string{"in", "after"} {
		e := w.event(id, event.Stage, event.StageEnriched)
		w.enriched.add(e, later)
		if id == "in" {
			w.index(e)
		}
	}
	r := w.run(noon, later)
	w.closes(r)
	if r.Raw != 1 || r.Enriched != 1 || r.Search.Found != 1 {
		t.Errorf("sums: %+v", r)
	}
}

// Guards against a gap where there is none: records are dated by the clocks of those who write them, and enrich's may be behind collect's.
func TestClocksDiffer(t *testing.T) {
	w := newWorld(t)
	for id, topic := range map[string]*fakeTopic{"good": &w.enriched, "bad": &w.dead} {
		w.raw.add(w.event(id), noon)
		e := w.letter(id)
		if topic == &w.enriched {
			e = w.event(id, event.Stage, event.StageEnriched)
		}
		topic.add(e, noon.Add(-100*time.Millisecond))
		w.index(e)
	}
	r := w.run(noon, later)
	w.closes(r)
	if r.Raw != 2 || r.Enriched != 1 || r.Dead != 1 || r.Landing[1].Records != 0 {
		t.Errorf("sums: %+v", r)
	}
}

// Guards the accounting of the lake: what the log's end has not reached waits, what it lost, skipped or never held is told.
func TestLanding(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		w.pass(strconv.Itoa(i))
	}
	w.logs[0] = fakeLog{
		{Partitions: []landing.Partition{{Partition: 0, From: 1, Next: 4, Lost: []landing.Range{{First: 2, Last: 3, Reason: landing.ReasonRetention}}}}},
		{Partitions: []landing.Partition{{Partition: 0, From: 4, Next: 8, Skipped: []landing.Range{{First: 5, Last: 5, Reason: landing.ReasonAborted}}}}},
	}
	r := w.run(noon, later)
	want := Landed{Topic: "events.raw", TopicID: "topic-id", Records: 10, Landed: 4, Waiting: 2, Lost: 2, Skipped: 1, Missing: 1}
	if r.Landing[0] != want || r.Closed() {
		t.Errorf("landed %+v, want %+v", r.Landing[0], want)
	}
	w.logs[0], w.noLog = nil, true // no drain yet: all wait
	if r = w.run(noon, later); r.Landing[0].Waiting != 10 || !r.Closed() {
		t.Errorf("without a log: %+v", r.Landing[0])
	}
}

// Guards the accounting of a topic that Kafka truncated: while nobody said how to go on, what took the lost records' place waits, though the log stands behind it; afterwards the newer entry
// says what became of an offset, and the older one, which speaks of other records, nothing.
func TestLandingOfATruncatedTopic(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		w.pass(strconv.Itoa(i))
	}
	was := int64(12)
	first := landing.Entry{Partitions: []landing.Partition{{From: 0, Next: 12, Skipped: []landing.Range{{First: 4, Last: 8, Reason: landing.ReasonAborted}}}}}
	stop := landing.Entry{Partitions: []landing.Partition{{From: 12, Next: 12, Broken: &landing.Break{Reason: landing.BreakEnd, End: 10, Intact: 6}}}}
	w.logs[0] = fakeLog{first, stop}
	want := Landed{Topic: "events.raw", TopicID: "topic-id", Records: 10, Landed: 4, Waiting: 4, Skipped: 2}
	if r := w.run(noon, later); r.Landing[0] != want {
		t.Errorf("stopped: %+v, want %+v", r.Landing[0], want)
	}
	w.logs[0] = fakeLog{first, stop, {Partitions: []landing.Partition{{From: 6, Next: 6, Rewound: &was}}}, {Partitions: []landing.Partition{{From: 6, Next: 10}}}}
	want = Landed{Topic: "events.raw", TopicID: "topic-id", Records: 10, Landed: 8, Skipped: 2}
	if r := w.run(noon, later); r.Landing[0] != want {
		t.Errorf("gone on: %+v, want %+v", r.Landing[0], want)
	}
}

// Guards a time of which Kafka has deleted a part, and records that are no events: neither passes as whole.
func TestWhatCannotBeAccountedFor(t *testing.T) {
	w := newWorld(t)
	w.pass("a")
	w.raw.forgotten = []int32{3}
	w.raw.add(nil, noon)
	r := w.run(noon, later)
	if r.Closed() || !slices.Equal(r.Forgotten["events.raw"], []int32{3}) || r.Undecodable["events.raw"] != 1 {
		t.Errorf("report: %+v", r)
	}
	var b bytes.Buffer
	if err := r.Print(&b); err != nil || !strings.Contains(b.String(), "do not close") || !strings.Contains(b.String(), "[3]") {
		t.Errorf("printed (%v):\n%s", err, b.String())
	}
	w.raw.forgotten = nil
	r = w.run(noon, later)
	w.closes(r)
	b.Reset()
	if err := r.Print(&b); err != nil || !strings.Contains(b.String(), "1 records are no CloudEvent") || strings.Contains(b.String(), "nothing is missing") {
		t.Errorf("printed (%v):\n%s", err, b.String())
	}
}

// Guards the replay of a dead letter, which has the root id of what is accounted for already: lost on its way through enrich, or refused by a search that shows the document of before, it is missing all the
// same; and its first failure does not count as its outcome.
func TestReplayMustComeToSomething(t *testing.T) {
	w := newWorld(t)
	w.raw.add(w.event("a"), noon)
	dead := w.letter("a")
	w.dead.add(dead, noon)
	w.index(dead)
	w.closes(w.run(noon, later))
	again := []string{event.ReplayID, "r", event.ReplayCount, "1"}
	w.raw.add(w.event("a", again...), noon.Add(time.Minute))
	w.misses(w.run(noon, later), ReplayLost, "a")
	w.rawCommitted = 1
	if r := w.run(noon, later); !r.Closed() || r.Waiting != 1 {
		t.Errorf("the replay waits: %+v", r)
	}
	w.rawCommitted = 1000

	e := w.event("a", append([]string{event.Stage, event.StageEnriched}, again...)...)
	w.enriched.add(e, noon.Add(time.Minute))
	w.misses(w.run(noon, later), NotSearchable, "a")
	w.index(e)
	w.misses(w.run(noon, later), NotSearchable, "a") // the document of before it
	ref, err := document.Ref(w.search, e)
	if err != nil {
		t.Fatal(err)
	}
	w.search[ref] += " 2"
	w.closes(w.run(noon, later))
	w.search[ref] = strings.Replace(w.search[ref], " 2", " 5", 1) // of a later replay
	w.closes(w.run(noon, later))

	// One that fails again has an outcome: its second letter.
	w.raw.add(w.event("b"), noon)
	w.raw.add(w.event("b", again...), noon.Add(time.Minute))
	for _, d := range []*event.Event{w.letter("b"), w.letter("b", again...)} {
		w.dead.add(d, noon.Add(time.Minute))
		w.index(d)
	}
	w.closes(w.run(noon, later))
}

// Guards the replay of what load-search gave up, which enters at the enriched topic: the letter that it was made of is no outcome of the replay, and the first payload's document none of the second's.
func TestReplayOfLoadSearchMustComeToSomething(t *testing.T) {
	w := newWorld(t)
	w.raw.add(w.event("a"), noon)
	w.enriched.add(w.event("a", event.Stage, event.StageEnriched), noon)
	letter := []string{event.FailureStage, "load-search", event.FailureCode, "delivery_exhausted", event.Stage, event.StageEnriched}
	dead := w.letter("a", letter...)
	w.dead.add(dead, noon)
	w.index(dead)
	w.closes(w.run(noon, later))
	again := []string{event.ReplayID, "r", event.ReplayCount, "1"}
	e := w.event("a", append([]string{event.Stage, event.StageEnriched}, again...)...)
	w.enriched.add(e, noon.Add(time.Minute))
	w.misses(w.run(noon, later), NotSearchable, "a")
	w.enrichedCommitted = 1
	if r := w.run(noon, later); !r.Closed() || r.Search.Waiting != 1 {
		t.Errorf("the replay waits: %+v", r)
	}
	w.enrichedCommitted = 1000
	failed := w.letter("a", append(letter, again...)...) // it failed once more
	w.dead.add(failed, noon.Add(time.Minute))
	w.index(failed)
	w.closes(w.run(noon, later))
	w.dead.records = w.dead.records[:1]
	w.misses(w.run(noon, later), NotSearchable, "a")
	w.index(e)
	ref, err := document.Ref(w.search, e)
	if err != nil {
		t.Fatal(err)
	}
	w.search[ref] += " 2"
	w.closes(w.run(noon, later))

	// Of two payloads the first is in search and the other an identity_conflict; a replay of the first that is lost is missing all the same.
	w = newWorld(t)
	w.pass("a")
	other := []string{event.DataHash, event.Hash([]byte("other"))}
	w.enriched.add(w.event("a", append([]string{event.Stage, event.StageEnriched}, other...)...), noon)
	conflict := w.letter("a", append(letter, other...)...)
	w.dead.add(conflict, noon)
	w.index(conflict)
	w.closes(w.run(noon, later))
	w.enriched.add(e, noon.Add(time.Minute))
	w.misses(w.run(noon, later), NotSearchable, "a")
}

// Guards against a gap where there is none: an event that was enriched and found before the time is not looked for since its payload was sent again within it and refused.
func TestEnrichedBeforeTheTime(t *testing.T) {
	w := newWorld(t)
	w.enriched.add(w.event("a", event.Stage, event.StageEnriched), noon.Add(-time.Minute))
	w.raw.add(w.event("b"), noon)
	for _, id := range []string{"a", "b"} {
		letter := w.letter(id)
		w.dead.add(letter, noon)
		w.index(letter)
	}
	r := w.run(noon, later)
	w.closes(r)
	if r.Search != (Step{}) || r.Letters.Found != 2 {
		t.Errorf("%+v", r)
	}
}

// Guards an enriched event that can be no document, beside one of its root id that search shows: it is missing until it is a dead letter.
func TestNoDocument(t *testing.T) {
	w := newWorld(t)
	w.pass("a")
	w.enriched.add(w.event("a", event.Stage, event.StageEnriched, event.SchemaVersion, "one"), noon)
	w.misses(w.run(noon, later), NotSearchable, "a")
	letter := w.letter("a", event.FailureStage, "load-search", event.Stage, event.StageEnriched, event.SchemaVersion, "one")
	w.dead.add(letter, noon)
	w.index(letter)
	w.closes(w.run(noon, later))
}

// Guards what Kafka lost of a partition's end, of which the topics say nothing: while it stands, and for the time in which it was read on, the sums do not close; later ones do.
func TestTruncatedTopic(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a", "b"} {
		w.pass(id)
	}
	was := int64(5)
	part := func(from, next int64) landing.Partition { return landing.Partition{From: from, Next: next} }
	stop, on := part(5, 5), part(2, 2)
	stop.Broken, on.Rewound = &landing.Break{Reason: landing.BreakEnd, End: 2, Intact: 2}, &was
	entry := func(at time.Time, p landing.Partition) landing.Entry {
		return landing.Entry{Time: at, Partitions: []landing.Partition{p}}
	}
	long := noon.AddDate(0, 0, -3)
	says := func(log fakeLog, want ...Truncated) {
		t.Helper()
		w.logs[0] = log
		r := w.run(noon, later)
		var text strings.Builder
		if err := r.Print(&text); err != nil || r.Closed() != (len(want) == 0) || !slices.Equal(r.Truncated, append([]Truncated{}, want...)) {
			t.Errorf("%+v, want %+v, %v", r.Truncated, want, err)
		}
		if strings.Contains(text.String(), "events.raw/0: Kafka lost its end from offset 2") != (len(want) > 0) || strings.Contains(text.String(), "nothing is missing") != (len(want) == 0) {
			t.Error(text.String())
		}
	}
	says(fakeLog{entry(long, part(0, 5)), entry(long, stop)}, Truncated{"events.raw", 0, 2, long, true})
	says(fakeLog{entry(long, part(0, 5)), entry(noon, stop), entry(noon, on), entry(noon, part(2, 2))}, Truncated{"events.raw", 0, 2, noon, false})
	says(fakeLog{entry(long, part(0, 5)), entry(long, stop), entry(long, on)})
}

// Guards against resent events that are counted twice, or taken for replays: raw has them as often as they were sent, the sums once.
func TestResent(t *testing.T) {
	w := newWorld(t)
	w.pass("a")
	w.pass("a")
	r := w.run(noon, later)
	w.closes(r)
	if r.Raw != 1 || r.Enriched != 1 || r.Search.All != 1 || r.Landing[0].Records != 2 {
		t.Errorf("%+v", r)
	}
}

// Guards a topic that was deleted and made again within the time: its old records are in no topic that could be asked, so the time is not whole; one that was last landed long before is none of its business.
func TestFormerTopic(t *testing.T) {
	w := newWorld(t)
	w.pass("a")
	w.former = map[string]fakeLog{"old-id": {{Sequence: 1, Time: noon.AddDate(0, 0, -3)}}}
	w.closes(w.run(noon, later))
	w.former["younger-id"] = fakeLog{{Sequence: 1, Time: noon.AddDate(0, 0, -3)}, {Sequence: 2, Time: noon.Add(time.Minute)}}
	r := w.run(noon, later)
	var text strings.Builder
	if err := r.Print(&text); err != nil || r.Closed() || len(r.Former) != 1 || r.Former[0].TopicID != "younger-id" || !strings.Contains(text.String(), "younger-id") {
		t.Errorf("%+v, %v\n%s", r.Former, err, text.String())
	}
}

// Guards what is said of records that Kafka has deleted: how many of them the lake has, by the log's own sums, and how many nobody has.
func TestDeletedIsInTheLake(t *testing.T) {
	w := newWorld(t)
	w.pass("a")
	w.raw.forgotten, w.raw.starts = []int32{0}, []plan.Partition{{Partition: 0, From: 30, Next: 31}}
	w.raw.records[0].Offset = 30
	part := func(from, next int64) landing.Partition { return landing.Partition{From: from, Next: next} }
	lossy := part(20, 31)
	lossy.Lost, lossy.Skipped = []landing.Range{{First: 20, Last: 22, Reason: landing.ReasonRetention}}, []landing.Range{{First: 29, Last: 30, Reason: landing.ReasonControl}}
	w.logs[0] = fakeLog{
		{Sequence: 1, Time: noon.Add(-time.Hour), Partitions: []landing.Partition{part(0, 10)}},
		{Sequence: 2, Time: noon.Add(time.Minute), Partitions: []landing.Partition{part(10, 20), {Partition: 1, From: 0, Next: 50}}},
		{Sequence: 3, Time: noon.Add(2 * time.Minute), Partitions: []landing.Partition{lossy}},
	}
	r := w.run(noon, later)
	if got := r.InLake["events.raw"]; r.Closed() || got != (Deleted{Landed: 10 + 6, Lost: 3}) {
		t.Errorf("in the lake: %+v", got)
	}
	var text strings.Builder
	if err := r.Print(&text); err != nil || !strings.Contains(text.String(), "at most 16 of them") || !strings.Contains(text.String(), "3 as lost") {
		t.Errorf("%v\n%s", err, text.String())
	}
}

// Guards the names of what the lake does not have: by root id and place, not more than asked for, and the count is told all the same.
func TestNotLandedIsNamed(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a", "b", "c", "d"} {
		w.pass(id)
	}
	w.raw.records[2].Event = nil
	w.logs[0] = fakeLog{{Partitions: []landing.Partition{{From: 1, Next: 4, Lost: []landing.Range{{First: 2, Last: 2, Reason: landing.ReasonRetention}}}}}}
	r := w.run(noon, later)
	want := []Gap{{event.Identity("/s", "a"), NotLanded, "events.raw/0@0"}, {"", NotLanded, "events.raw/0@2"}}
	if r.Closed() || !slices.Equal(r.Gaps, want) || r.Landing[0].Missing != 1 || r.Landing[0].Lost != 1 {
		t.Errorf("%+v", r)
	}
	o := w.options(noon, later)
	o.MaxGaps = 1
	r, err := Run(t.Context(), o)
	var text strings.Builder
	if err = errors.Join(err, r.Print(&text)); err != nil || len(r.Gaps) != 1 || !strings.Contains(text.String(), "and 1 more: --all") {
		t.Errorf("%v\n%s", err, text.String())
	}
}

// Guards memory: beyond the most root ids it says what to do.
func TestTooMany(t *testing.T) {
	w := newWorld(t)
	w.pass("a")
	w.pass("b")
	o := w.options(noon, later)
	o.MaxRoots = 1
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "ask for less time") {
		t.Errorf("error %v", err)
	}
}

// Guards against a report of what could not be read.
func TestErrorsAreNoGaps(t *testing.T) {
	w := newWorld(t)
	w.pass("a")
	w.enriched.err = errors.New("away")
	if r, err := Run(t.Context(), w.options(noon, later)); err == nil {
		t.Errorf("a report %+v without events.enriched", r)
	}
}
