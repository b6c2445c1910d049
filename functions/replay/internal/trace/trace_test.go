package trace

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"millrace/functions/replay/internal/plan"
	"millrace/functions/replay/internal/reconcile"
	"millrace/functions/replay/internal/source"
	"millrace/shared/document"
	"millrace/shared/event"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
	"millrace/shared/search"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

type fakeTopic struct {
	records   []source.Record
	from      time.Time // asked for
	forgotten []int32
}

func (t *fakeTopic) Record(context.Context, int32, int64) (source.Record, error) {
	return source.Record{}, source.ErrGone
}

func (t *fakeTopic) Scan(_ context.Context, from time.Time, f func(source.Record) error) (plan.Origin, []int32, error) {
	t.from = from
	for _, r := range t.records {
		if err := f(r); err != nil {
			return plan.Origin{}, nil, err
		}
	}
	return plan.Origin{Topic: plan.Topic{ID: "topic-id"}}, t.forgotten, nil
}

type fakeSearch struct {
	hashes map[search.Ref]string
	found  []search.Found
}

func (s *fakeSearch) EnrichedIndex(eventType string, model int, t time.Time) string {
	return fmt.Sprintf("enriched-%s-%d-%s", eventType, model, t.Format(time.DateOnly))
}

func (s *fakeSearch) DeadIndex(t time.Time) string { return "dead-" + t.Format(time.DateOnly) }

func (s *fakeSearch) Find(context.Context, string) ([]search.Found, error) { return s.found, nil }

func (s *fakeSearch) Versions(_ context.Context, refs []search.Ref) ([]search.Version, error) {
	out := make([]search.Version, len(refs))
	for i, r := range refs {
		out[i].Hash, out[i].Found = s.hashes[r]
	}
	return out, nil
}

type fakeLog []landing.Entry

func (l fakeLog) Back(_ context.Context, f func(landing.Entry) (bool, error)) error {
	for _, e := range slices.Backward(l) {
		if more, err := f(e); err != nil || !more {
			return err
		}
	}
	return nil
}

type fakeObjects map[string][]byte

func (o fakeObjects) Get(_ context.Context, key string) ([]byte, error) {
	if b, ok := o[key]; ok {
		return b, nil
	}
	return nil, objectstore.ErrNotFound
}

// world is a pipeline's durable state with one event in it, of the id "1".
type world struct {
	t         *testing.T
	topics    [3]*fakeTopic
	committed [3]int64
	logs      [3]fakeLog
	objects   fakeObjects
	search    fakeSearch
	why       func(*event.Event) string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{
		t: t, topics: [3]*fakeTopic{{}, {}, {}}, committed: [3]int64{100, 100, 100}, objects: fakeObjects{},
		search: fakeSearch{hashes: map[search.Ref]string{}},
	}
}

// add writes an event of the id to a topic at offset 7 of partition 2 plus the records there are.
func (w *world) add(topic int, id string, at time.Time, attributes ...string) *event.Event {
	w.t.Helper()
	h := http.Header{
		"Ce-Specversion": {"1.0"}, "Ce-Type": {"T"}, "Ce-Source": {"/s"}, "Ce-Id": {id}, "Ce-Schemaversion": {"1-0-0"},
		"Ce-Collectorid": {"c"}, "Ce-Collectortime": {event.FormatTime(noon)}, "Content-Type": {"application/json"},
	}
	for i := 0; i < len(attributes); i += 2 {
		h.Set("Ce-"+attributes[i], attributes[i+1])
	}
	e, err := event.DecodeHTTP(h, []byte(`{"payload":1,"enrichment":{}}`))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := event.Derive(e, at); err != nil {
		w.t.Fatal(err)
	}
	t := w.topics[topic]
	t.records = append(t.records, source.Record{Place: plan.Place{Partition: 2, Offset: int64(7 + len(t.records))}, Event: e, Time: at})
	return e
}

func (w *world) index(e *event.Event, hash string) {
	w.t.Helper()
	ref, err := document.Ref(&w.search, e)
	if err != nil {
		w.t.Fatal(err)
	}
	w.search.hashes[ref] = hash
}

func (w *world) follow() *Way {
	w.t.Helper()
	o := Options{RootID: event.Identity("/s", "1"), Now: noon.Add(time.Hour), Documents: &w.search, Why: w.why}
	for i, name := range []string{"events.raw", "events.enriched", "events.dead"} {
		committed := map[int32]int64{2: w.committed[i]}
		if w.committed[i] < 0 { // the group is not there
			committed = nil
		}
		o.Stages = append(o.Stages, Stage{
			Stage: reconcile.Stage{
				Name: name, Topic: w.topics[i], Committed: committed, Log: func(string) reconcile.Log { return w.logs[i] },
			},
			Reader: []string{"enrich", "load-search", "load-search"}[i], Objects: w.objects,
		})
	}
	way, err := Follow(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := way.Print(&b); err != nil || !strings.Contains(b.String(), way.Verdict) {
		w.t.Errorf("printed (%v): %s", err, b.String())
	}
	return way
}

func (w *world) says(want string) *Way {
	w.t.Helper()
	way := w.follow()
	if !strings.Contains(way.Verdict, want) {
		w.t.Errorf("verdict %q, want %q", way.Verdict, want)
	}
	return way
}

// Guards the whole way of one event among others: each record, the document, and the very row in the lake.
func TestAllTheWay(t *testing.T) {
	w := newWorld(t)
	const id = "0af7651916cd43dd8448eb211c80319c"
	w.add(0, "another", noon, "traceparent", "00-ffffffffffffffffffffffffffffffff-b7ad6b7169203331-01")
	w.add(0, "1", noon, "traceparent", "00-"+id+"-b7ad6b7169203331-01")
	e := w.add(1, "1", noon.Add(time.Second), event.Stage, event.StageEnriched)
	w.index(e, event.Attr(e, event.DataHash))
	var object bytes.Buffer
	type row struct {
		Partition int32 `parquet:"kafka_partition"`
		Offset    int64 `parquet:"kafka_offset"`
	}
	if err := parquet.Write(&object, []row{{1, 8}, {2, 7}, {2, 8}}); err != nil {
		t.Fatal(err)
	}
	w.objects["a.parquet"], w.objects["b.parquet"] = object.Bytes(), object.Bytes()
	w.logs[0] = fakeLog{
		{Sequence: 1, Partitions: []landing.Partition{{Partition: 2, From: 0, Next: 8}}, Objects: []landing.Object{{Key: "none"}}},
		{Sequence: 2, Drain: "d", Time: noon, Partitions: []landing.Partition{{Partition: 2, From: 8, Next: 9}}, Objects: []landing.Object{{Key: "a.parquet"}}},
		{Sequence: 3, Partitions: []landing.Partition{{Partition: 2, From: 9, Next: 9}}},
	}
	way := w.says("all the way")
	if len(way.Steps) != 2 || way.Steps[0].Offset != 8 || way.ID != "1" || way.Source != "/s" {
		t.Fatalf("way %+v", way)
	}
	var printed bytes.Buffer
	if err := way.Print(&printed); err != nil || way.TraceID != id || !strings.Contains(printed.String(), "trace    "+id+"\n") {
		t.Errorf("trace %s, %v: %s", way.TraceID, err, printed.String())
	}
	if l := way.Steps[0].Landed; l == nil || *l != (Landed{2, "d", noon, "a.parquet", 2}) {
		t.Errorf("landed %+v", l)
	}
	if d := way.Steps[1].Document; d == nil || !d.Found || d.Other || way.Steps[1].Landed != nil {
		t.Errorf("enriched: %+v", way.Steps[1])
	}
}

// Guards the answers to "where is it": waiting and how long the queue is, missing, given up with what to do.
func TestWhereItStops(t *testing.T) {
	w := newWorld(t)
	w.add(0, "1", noon)
	w.committed[0] = 3
	w.says("waits for enrich, behind 4 records of events.raw/2")
	w.committed[0] = 7
	w.says("waits for enrich: it is the next")
	w.committed[0] = 8
	w.says("missing behind events.raw")
	w.committed[0] = -1
	w.says("is not known")
	w.committed[0] = 8

	e := w.add(2, "1", noon.Add(time.Second), event.FailureStage, "enrich", event.FailureCode, string(event.CodeNotJSON))
	w.says("missing behind events.dead")
	w.index(e, event.Attr(e, event.DataHash))
	way := w.says(event.CodeNotJSON.Hint())
	if f := way.Steps[1].Failure; f == nil || f.Stage != "enrich" {
		t.Errorf("failure %+v", f)
	}
}

// Guards against calling an event missing that came all the way, where enrich's clock is behind collect's, or both wrote within a millisecond.
func TestClocksDiffer(t *testing.T) {
	for _, behind := range []time.Duration{0, 100 * time.Millisecond} {
		w := newWorld(t)
		w.add(0, "1", noon, event.DataHash, event.Hash([]byte("1")))
		e := w.add(1, "1", noon.Add(-behind), event.Stage, event.StageEnriched, event.DataHash, event.Hash([]byte("1")))
		w.says("missing behind events.enriched")
		w.index(e, event.Attr(e, event.DataHash))
		w.says("all the way")
		w.add(0, "1", noon.Add(time.Second), event.DataHash, event.Hash([]byte("another")))
		w.says("missing behind events.raw")
	}
}

// Guards against another record's row passing for the event's, where Kafka lost a record that was landed and gave its offset to this one: it waits while the topic is stopped, and afterwards the
// newer entry has it.
func TestLandedOfATruncatedTopic(t *testing.T) {
	w := newWorld(t)
	w.add(0, "1", noon) // at 2/7
	var object bytes.Buffer
	type row struct {
		Partition int32 `parquet:"kafka_partition"`
		Offset    int64 `parquet:"kafka_offset"`
	}
	if err := parquet.Write(&object, []row{{2, 7}}); err != nil {
		t.Fatal(err)
	}
	w.objects["old.parquet"], w.objects["new.parquet"] = object.Bytes(), object.Bytes()
	was := int64(9)
	log := fakeLog{
		{Sequence: 1, Partitions: []landing.Partition{{Partition: 2, Next: 9}}, Objects: []landing.Object{{Key: "old.parquet"}}},
		{Sequence: 2, Partitions: []landing.Partition{{Partition: 2, From: 9, Next: 9, Broken: &landing.Break{Reason: landing.BreakRecord, End: 10, Intact: 6}}}},
		{Sequence: 3, Partitions: []landing.Partition{{Partition: 2, From: 6, Next: 6, Rewound: &was}}},
		{Sequence: 4, Partitions: []landing.Partition{{Partition: 2, From: 6, Next: 10}}, Objects: []landing.Object{{Key: "new.parquet"}}},
	}
	w.logs[0] = log[:2]
	if way := w.says("missing behind events.raw"); way.Steps[0].Landed != nil || way.Steps[0].Lost != "" {
		t.Errorf("stopped: %+v", way.Steps[0])
	}
	w.logs[0] = log
	if way := w.says("missing behind events.raw"); way.Steps[0].Landed == nil || way.Steps[0].Landed.Object != "new.parquet" {
		t.Errorf("gone on: %+v", way.Steps[0])
	}
}

// Guards against another payload's document passing for the event's, and rows that the log lost for rows that wait.
func TestWhatIsNotThere(t *testing.T) {
	w := newWorld(t)
	w.add(0, "1", noon)
	e := w.add(1, "1", noon.Add(time.Second), event.Stage, event.StageEnriched)
	w.index(e, "another")
	w.logs[1] = fakeLog{{Sequence: 1, Partitions: []landing.Partition{{Partition: 2, Next: 9, Lost: []landing.Range{{First: 7, Last: 7, Reason: landing.ReasonRetention}}}}}}
	w.logs[0] = fakeLog{{Sequence: 1, Partitions: []landing.Partition{{Partition: 2, Next: 9}}}}
	way := w.says("missing behind events.enriched")
	if d := way.Steps[1].Document; d == nil || !d.Other {
		t.Errorf("document %+v", d)
	}
	if way.Steps[1].Lost != landing.ReasonRetention || !strings.Contains(way.Steps[0].Lost, "none of its 0 objects") {
		t.Errorf("lost %q and %q", way.Steps[1].Lost, way.Steps[0].Lost)
	}
}

// Guards what is said of an event of which there is nothing: how far was looked, and that Kafka may have forgotten it; a document tells where to look.
func TestNoTrace(t *testing.T) {
	w := newWorld(t)
	w.says("no trace of it since 2026-11-20T13:00:00Z")
	w.topics[0].forgotten = []int32{0}
	w.says("forgotten")
	w.search.found = []search.Found{{Ref: search.Ref{Index: "i", ID: "x"}, Version: 1, Collected: noon}, {Ref: search.Ref{Index: "j", ID: "x"}, Version: 2, Collected: noon.AddDate(0, 0, -3)}}
	way := w.says("Search shows it; Kafka holds no record")
	if len(way.Documents) != 2 || !w.topics[0].from.Equal(noon.AddDate(0, 0, -3).Add(-early)) {
		t.Errorf("documents %v, read from %s", way.Documents, w.topics[0].from)
	}
}

// Guards whoever asks why an event does not come on, against "at work": one whose contract is not there says so, as the record's own line and as the verdict, and only while it waits for enrich.
func TestWaitsForItsContract(t *testing.T) {
	w := newWorld(t)
	w.why = func(e *event.Event) string { return "no contract of " + e.Type() }
	w.committed[0] = 5
	w.add(0, "1", noon)
	way := w.says("It waits for enrich: no contract of T. It goes on by itself")
	var b strings.Builder
	if err := way.Print(&b); err != nil || !strings.Contains(b.String(), "since no contract of T") {
		t.Errorf("%v\n%s", err, b.String())
	}
	w.committed[0] = 100
	w.says("It is missing behind events.raw")
}

// Guards an event that was sent twice, and one that only the lake may still have: both records are told, and the way to look there.
func TestTwiceAndForgotten(t *testing.T) {
	w := newWorld(t)
	w.add(0, "1", noon)
	w.add(0, "1", noon.Add(time.Second))
	e := w.add(1, "1", noon.Add(2*time.Second), event.Stage, event.StageEnriched)
	w.index(e, event.Attr(e, event.DataHash))
	if way := w.says("It came all the way"); len(way.Steps) != 3 || way.Steps[0].Offset == way.Steps[1].Offset {
		t.Errorf("%+v", way.Steps)
	}
	w = newWorld(t)
	w.topics[0].forgotten = []int32{2}
	w.says("replay plan --lake --source raw --root-id " + event.Identity("/s", "1") + " --from ")
}
