package draft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"millrace/functions/replay/internal/plan"
	"millrace/functions/replay/internal/rehearsal"
	"millrace/functions/replay/internal/selection"
	"millrace/functions/replay/internal/source"
	"millrace/shared/contract"
	"millrace/shared/enrichment"
	"millrace/shared/event"
	"millrace/shared/search"
)

// index is search that shows what is in it, by root id, and can be away.
type index struct {
	shown map[string]search.Version
	err   error
	asked int
}

func (*index) EnrichedIndex(eventType string, model int, t time.Time) string {
	return fmt.Sprint(eventType, model, t.Format(time.DateOnly))
}
func (*index) DeadIndex(t time.Time) string { return "dead" + t.Format(time.DateOnly) }

func (i *index) Versions(_ context.Context, refs []search.Ref) ([]search.Version, error) {
	i.asked++
	out := make([]search.Version, len(refs))
	for n, r := range refs {
		out[n] = i.shown[r.ID]
	}
	return out, i.err
}

const view = `{"host":"example.com","method":"GET","url":"/","status":200,"visited_at":"2026-11-21T12:04:20Z"}`

var arrived = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

func newDraft(t testing.TB, i *index, change func(*selection.Selection)) *Draft {
	t.Helper()
	set, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := enrichment.Reference()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := enrichment.Bind(set, tables)
	if err != nil {
		t.Fatal(err)
	}
	s := selection.Selection{Source: selection.Dead, Limit: 1_000_000, MaxReplays: 3}
	if change != nil {
		change(&s)
	}
	return New(s, rehearsal.New(rules, i, i, s))
}

func record(t testing.TB, n int64, id, payload string, attributes ...string) source.Record {
	t.Helper()
	e := ce.New()
	e.SetID(id)
	e.SetSource("/test")
	e.SetType("PageView")
	e.SetExtension(event.SchemaVersion, "0-0-1")
	e.DataEncoded = []byte(payload)
	if err := event.Derive(&e, arrived); err != nil {
		t.Fatal(err)
	}
	d := event.DeadLetter(&e, event.Failure{Stage: "enrich", Code: event.CodeDeliveryExhausted})
	for i := 0; i < len(attributes); i += 2 {
		d.SetExtension(attributes[i], attributes[i+1])
	}
	return source.Record{Place: plan.Place{Offset: n}, Event: d, Time: arrived}
}

func finish(t *testing.T, d *Draft, records ...source.Record) (map[string]string, Summary) {
	t.Helper()
	for _, r := range records {
		if err := d.Add(t.Context(), r); err != nil && !errors.Is(err, source.ErrStop) {
			t.Fatal(err)
		}
	}
	entries, reasons, s, err := d.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for i, e := range entries {
		if i > 0 && entries[i-1].Offset >= e.Offset {
			t.Errorf("entry %d is not behind the one before", i)
		}
		code := event.Code("")
		if e.Reason > 0 {
			code = reasons[e.Reason-1].Code
		}
		got[fmt.Sprint(e.Offset)] = strings.TrimSpace(fmt.Sprintf("%s %s %d %s", e.Outcome, e.To, e.Count, code))
	}
	return got, s
}

func want(t *testing.T, got map[string]string, want map[string]string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// Guards an event against being replayed twice, or as what it was before: the newest of its letters counts, then the one of the earliest stage.
func TestNewestLetterCounts(t *testing.T) {
	got, s := finish(t, newDraft(t, &index{}, nil),
		record(t, 1, "a", view), record(t, 2, "a", view, event.ReplayCount, "2"), record(t, 3, "a", view, event.ReplayCount, "1"),
		record(t, 4, "b", `{"payload":`+view+`}`, event.FailureStage, "load-search", event.Stage, "enriched", event.DataHash, event.Hash([]byte(view))),
		record(t, 5, "b", view),
	)
	want(t, got, map[string]string{"2": "pass raw 3", "5": "pass raw 1"})
	if s.Superseded != 2 || s.Duplicates != 1 || s.Events != 2 {
		t.Errorf("%+v", s)
	}
}

// Guards what an identity stands for: of two payloads under one, neither takes the other's place.
func TestAnotherPayloadFails(t *testing.T) {
	other := strings.Replace(view, "200", "404", 1)
	got, _ := finish(t, newDraft(t, &index{}, nil), record(t, 1, "a", view), record(t, 2, "a", other, event.ReplayCount, "1"))
	want(t, got, map[string]string{"1": "pass raw 1", "2": "fail raw 2 identity_conflict"})
	shown := &index{shown: map[string]search.Version{event.Identity("/test", "a"): {Found: true, Hash: event.Hash([]byte(view)), Number: 1}}}
	got, _ = finish(t, newDraft(t, shown, nil), record(t, 1, "a", other))
	want(t, got, map[string]string{"1": "fail raw 1 identity_conflict"})
}

// Guards the cases in which nothing can be promised, or must not be: the reason says why.
func TestWhatNobodyCanPromise(t *testing.T) {
	wrapped := `{"payload":` + view + `,"enrichment":{}}`
	loadSearch := []string{event.FailureStage, "load-search", event.Stage, "enriched", event.DataHash, event.Hash([]byte(view))}
	collect := []string{event.FailureStage, "collect", event.FailureCode, "missing_field"}
	records := func() []source.Record {
		return []source.Record{
			record(t, 1, "1", wrapped, loadSearch...),
			record(t, 2, "2", wrapped, append(loadSearch, event.FailureCode, "search_rejected")...),
			record(t, 3, "3", view, event.FailureStage, "load-search"), // without the attribute stage
			record(t, 4, "4", "", event.DataHash, event.Hash([]byte(view))),
			record(t, 5, "5", "not JSON"),
			record(t, 6, "6", view, event.SchemaVersion, "9-9-9"),
			record(t, 7, "7", `{"event_type":"PageView"}`, collect...),
			record(t, 8, "8", `not JSON`, append(collect, event.FailureCode, "unparsed")...),
			record(t, 9, "9", view, event.FailureStage, "elsewhere"),
			record(t, 10, "10", view, event.ReplayCount, "3"),
			record(t, 11, "11", "not JSON", event.ReplayCount, "3"),
		}
	}
	all := map[string]string{
		"1": "pass enriched 1", "2": "unknown enriched 1 search_rejected", "3": "fail enriched 1 invalid_attribute", "4": "fail raw 1 too_large", "5": "fail raw 1 not_json",
		"6": "fail raw 1 unknown_contract", "7": "unknown collect 1 missing_field", "8": "fail collect 1 unparsed", "9": "unknown  1 delivery_exhausted",
		"10": "given up raw 4 delivery_exhausted", "11": "fail raw 4 not_json",
	}
	got, s := finish(t, newDraft(t, &index{}, nil), records()...)
	want(t, got, all)
	var table bytes.Buffer
	if err := s.Write(&table, true); err != nil || !strings.Contains(table.String(), "came back 3 times") {
		t.Errorf("%v\n%s", err, table.String())
	}
	got, _ = finish(t, newDraft(t, &index{}, func(s *selection.Selection) { s.Reenter = "enrich" }), records()...)
	all["1"], all["2"], all["3"] = "pass raw 1", "pass raw 1", "pass raw 1"
	want(t, got, all)
}

// Guards the plan against search's absence: a plan that says "pass" without having asked is none.
func TestSearchAway(t *testing.T) {
	away := errors.New("away")
	i := &index{err: away}
	d := newDraft(t, i, nil)
	var err error
	for n := int64(0); n < together && err == nil; n++ {
		err = d.Add(t.Context(), record(t, n, fmt.Sprint(n), view))
	}
	if !errors.Is(err, away) {
		t.Errorf("after %d events: %v", together, err)
	}
	d = newDraft(t, i, nil)
	if err := d.Add(t.Context(), record(t, 1, "1", view)); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := d.Finish(t.Context()); !errors.Is(err, away) {
		t.Errorf("at the end: %v", err)
	}
}

// Guards the limit, and the memory that it stands for: events beyond it are not taken, and the summary says so.
func TestLimit(t *testing.T) {
	d := newDraft(t, &index{}, func(s *selection.Selection) { s.Limit = 2 })
	got, s := finish(t, d, record(t, 1, "1", view), record(t, 2, "2", view), record(t, 3, "1", view), record(t, 4, "3", view))
	want(t, got, map[string]string{"1": "pass raw 1", "2": "pass raw 1"})
	if !s.More {
		t.Errorf("%+v", s)
	}
}

// Guards the promise of bounded memory: some 300 bytes an event, whatever its payload.
func TestMemory(t *testing.T) {
	const n = 50_000
	d := newDraft(t, &index{}, nil)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range int64(n) {
		if err := d.Add(t.Context(), record(t, i, fmt.Sprint(i), view)); err != nil {
			t.Fatal(err)
		}
	}
	if per := int64(heap()-before) / n; per > 400 {
		t.Errorf("%d bytes an event", per)
	} else {
		t.Logf("%d bytes an event", per)
	}
	runtime.KeepAlive(d)
}
