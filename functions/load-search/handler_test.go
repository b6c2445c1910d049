package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/contract"
	"millrace/shared/deadletter"
	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/mask"
	"millrace/shared/search"
	"millrace/shared/search/searchtest"
	"millrace/shared/serve"
)

const (
	arrived     = "2026-11-21T10:00:00Z"
	tripIndex   = "enriched-yellowtaxitriprecords-0-2026.11.21"
	deadIndex   = "dead-2026.11.21"
	tripPayload = `{"VendorID": 2,  "trip_distance": 1.50,
		"note": "a\u0000\ud800 b"}`
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// trip returns an enriched event of the source /taxi with this id, its payload and more attributes.
func trip(t testing.TB, id, payload string, more ...string) *event.Event {
	t.Helper()
	e := raw(t, "YellowTaxiTripRecords", id, event.EnrichedData([]byte(payload), []byte(`{"pickup_zone": "Midtown"}`)), append([]string{
		event.Stage, event.StageEnriched, event.DataHash, event.Hash([]byte(payload)),
	}, more...)...)
	return e
}

// dead returns a dead letter of the source /taxi with this id.
func dead(t testing.TB, id, payload string, more ...string) *event.Event {
	t.Helper()
	return raw(t, "YellowTaxiTripRecords", id, []byte(payload), append([]string{
		event.FailureStage, "enrich", event.FailureCode, "contract_violation", event.FailureMessage, "/VendorID: required",
		event.FailureTime, "2026-11-21T10:00:01Z",
	}, more...)...)
}

func raw(t testing.TB, eventType, id string, data []byte, attributes ...string) *event.Event {
	t.Helper()
	h := http.Header{
		"Ce-Specversion": {"1.0"}, "Ce-Type": {eventType}, "Ce-Source": {"/taxi"}, "Ce-Id": {id},
		"Ce-Collectortime": {arrived}, "Ce-Collectorid": {"c1"}, "Ce-Schemaversion": {"0-0-1"}, "Content-Type": {"application/json"},
	}
	for i := 0; i < len(attributes); i += 2 {
		h.Set("Ce-"+attributes[i], event.EncodeHeader(attributes[i+1]))
	}
	e, err := event.DecodeHTTP(h, data)
	if err != nil {
		t.Fatal(err)
	}
	if err := event.Derive(e, now); err != nil {
		t.Fatal(err)
	}
	return e
}

// topic is events.dead; err makes it fail.
type topic struct {
	mu      sync.Mutex
	letters []*event.Event
	err     error
}

func (p *topic) Publish(_ context.Context, events []*event.Event) []error {
	p.mu.Lock()
	defer p.mu.Unlock()
	errs := make([]error, len(events))
	for i, e := range events {
		if errs[i] = p.err; p.err == nil {
			p.letters = append(p.letters, e)
		}
	}
	return errs
}

// setup is load-search as main wires it, on a fake index and a fake topic, with a clock that tests move.
type setup struct {
	fake    *searchtest.Fake
	dead    *topic
	handler delivery.Handler
	loader  *handler
	now     time.Time

	registry *prometheus.Registry
}

func start(t testing.TB) *setup {
	t.Helper()
	fake := searchtest.NewFake(t)
	s := startOn(t, search.Options{URL: fake.URL})
	s.fake = fake
	return s
}

// startOn is start on another server; its fake is nil.
func startOn(t testing.TB, o search.Options) *setup {
	t.Helper()
	contracts, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	s := &setup{dead: &topic{}, now: now}
	clock := func() time.Time { return s.now }
	logger := slog.New(slog.DiscardHandler)
	s.registry = prometheus.NewRegistry()
	h := newHandler(searchtest.New(t, o), clock, logger, s.registry)
	s.loader = h
	h.key = mask.Settings{Text: "0123456789abcdef0123456789abcdef"}.Open().Key
	if err := h.accept(contracts); err != nil {
		t.Fatal(err)
	}
	s.handler = deadletter.HandlerOfDead(delivery.Attempts(h, 5), s.dead, stage, clock)
	return s
}

// want hands events to load-search and compares what is said of each: done, failed, retry, dead.
func (s *setup) want(t *testing.T, statuses string, events ...*event.Event) delivery.Outcomes {
	t.Helper()
	o := s.handler.Handle(t.Context(), events)
	got := make([]string, len(events))
	for i := range events {
		got[i] = o.Of(i).Status.String()
	}
	if strings.Join(got, " ") != statuses {
		t.Fatalf("outcomes %v, want %s (first error %v)", got, statuses, o.Of(0).Err)
	}
	return o
}

// letters compares the codes of what is on events.dead.
func (s *setup) letters(t *testing.T, codes string) {
	t.Helper()
	got := make([]string, len(s.dead.letters))
	for i, e := range s.dead.letters {
		got[i] = event.Attr(e, event.FailureCode)
	}
	if strings.Join(got, " ") != codes {
		t.Fatalf("dead letters %v, want %q", got, codes)
	}
}

func (s *setup) doc(t *testing.T, index, id string) map[string]any {
	t.Helper()
	d, ok := s.fake.Docs()[index+"/"+id]
	if !ok {
		t.Fatalf("no document %s in %s", id, index)
	}
	var m map[string]any
	if err := json.Unmarshal(d.Source, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func root(id string) string { return event.Identity("/taxi", id) }

func failItem(id string, status int, kind string) searchtest.Hooks {
	return searchtest.Hooks{Item: func(_, got string) (int, string, string) {
		if got == id {
			return status, kind, "reason"
		}
		return 0, "", ""
	}}
}

// Guards redelivery at every boundary: before the write, after it with the answer lost, and after the answer. Nothing is lost and
// nothing is there twice.
func TestRedelivery(t *testing.T) {
	s := start(t)
	events := []*event.Event{trip(t, "1", tripPayload), trip(t, "2", tripPayload), dead(t, "3", tripPayload)}

	s.fake.Set(searchtest.Hooks{Whole: func(r *http.Request, _ []byte) (int, http.Header, string) {
		if r.URL.Path == "/_bulk" {
			return 503, nil, ""
		}
		return 0, nil, ""
	}})
	s.want(t, "retry retry retry", events...)
	if n := len(s.fake.Docs()); n != 0 {
		t.Fatalf("%d documents before the write", n)
	}

	s.fake.Set(searchtest.Hooks{Cut: func(r *http.Request) bool { return r.URL.Path == "/_bulk" }})
	s.want(t, "retry retry retry", events...)
	before := s.fake.Docs()
	if len(before) != 3 {
		t.Fatalf("%d documents after a lost answer", len(before))
	}

	s.fake.Set(searchtest.Hooks{})
	s.want(t, "done done done", events...)
	s.want(t, "done done done", events...)
	if after := s.fake.Docs(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("documents changed:\n%v\n%v", before, after)
	}
	s.letters(t, "")
	if got := s.fake.Unmapped(); got != nil {
		t.Errorf("written without a template: %v", got)
	}
}

// Guards one event that comes twice in one batch.
func TestSameEventTwiceInOneBatch(t *testing.T) {
	s := start(t)
	s.want(t, "done done", trip(t, "1", tripPayload), trip(t, "1", tripPayload))
	if n := len(s.fake.Docs()); n != 1 {
		t.Errorf("%d documents", n)
	}
}

// Guards good events against a poison one among them: it alone becomes a dead letter, with its bytes and a message that quotes none.
func TestPoisonAmongGood(t *testing.T) {
	s := start(t)
	poison := trip(t, "2", `{"VendorID":"secret"}`)
	s.want(t, "done done done", trip(t, "1", tripPayload), poison, trip(t, "3", tripPayload))
	s.letters(t, "search_rejected")
	letter := s.dead.letters[0]
	if !bytes.Equal(letter.Data(), poison.Data()) || event.Attr(letter, event.RootID) != root("2") {
		t.Errorf("another event: %v", letter)
	}
	if m := event.Attr(letter, event.FailureMessage); strings.Contains(m, "secret") || !strings.Contains(m, "payload.VendorID") {
		t.Errorf("message %q", m)
	}
	if n := len(s.fake.Docs()); n != 2 {
		t.Errorf("%d documents", n)
	}
}

// Guards a poison event whose dead letter cannot be written: it is not answered for, and the good one beside it is.
func TestPoisonWhileDeadSinkIsDown(t *testing.T) {
	s := start(t)
	s.dead.err = errors.New("no broker")
	s.want(t, "done retry", trip(t, "1", tripPayload), trip(t, "2", `{"VendorID":"x"}`))
}

// Guards events against outages of the dependency: none is blamed, however often, and the server's wait is passed on.
func TestOutagesCountNothing(t *testing.T) {
	id := root("1")
	whole := func(status int, header http.Header) searchtest.Hooks {
		return searchtest.Hooks{Whole: func(r *http.Request, _ []byte) (int, http.Header, string) { return status, header, "" }}
	}
	for name, hooks := range map[string]searchtest.Hooks{
		"503":             whole(503, nil),
		"429":             whole(429, nil),
		"401":             whole(401, nil),
		"flood stage":     failItem(id, 429, "cluster_block_exception"),
		"overload":        failItem(id, 429, "es_rejected_execution_exception"),
		"index is gone":   failItem(id, 404, "index_not_found_exception"),
		"index is closed": failItem(id, 400, "index_closed_exception"),
		"no rights":       failItem(id, 403, "security_exception"),
		"an item missing": {Edit: func(items []map[string]any) []map[string]any { return items[1:] }},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			s.want(t, "done", trip(t, "0", tripPayload))
			s.fake.Set(hooks)
			for range 10 {
				if got := s.handler.Handle(t.Context(), []*event.Event{trip(t, "1", tripPayload), trip(t, "2", tripPayload)}); got[0].Status != delivery.Retry {
					t.Fatalf("outcome %+v", got[0])
				}
			}
			s.letters(t, "")
			s.fake.Set(searchtest.Hooks{})
			s.want(t, "done", trip(t, "1", tripPayload))
		})
	}
	s := start(t)
	s.fake.Set(whole(429, http.Header{"Retry-After": {"9"}}))
	if o := s.want(t, "retry", trip(t, "1", tripPayload)); o[0].After != 9*time.Second || !o[0].Away {
		t.Errorf("wait %s, for all: %v", o[0].After, o[0].Away)
	}
}

// Guards a refusal that nobody knows: it is tried again, and given up only after five attempts while others passed.
func TestUnknownRefusalCounts(t *testing.T) {
	s := start(t)
	s.fake.Set(failItem(root("2"), 400, "never_seen_before"))
	for range 4 {
		s.want(t, "done failed", trip(t, "1", tripPayload), trip(t, "2", tripPayload))
	}
	s.want(t, "done done", trip(t, "1", tripPayload), trip(t, "2", tripPayload))
	s.letters(t, "attempts_exhausted")
}

// Guards events that came past collect, whose arrival is another at each delivery to enrich: delivered again on another day, one with a time is one document, and one
// dead letter, however far its time is.
func TestForeignEventAcrossMidnight(t *testing.T) {
	for _, own := range []string{"2026-11-20T12:00:00Z", "2023-01-01T00:32:10Z"} {
		s := start(t)
		for _, arrival := range []string{"2026-11-21T11:00:00Z", "2026-11-21T23:59:59Z", "2026-11-22T00:00:01Z"} {
			foreign := []string{"time", own, event.CollectorTime, arrival, event.CollectorID, ""}
			s.want(t, "done done", trip(t, "1", tripPayload, foreign...), dead(t, "2", tripPayload, foreign...))
		}
		if n := len(s.fake.Docs()); n != 2 {
			t.Errorf("time %s: %d documents", own, n)
		}
	}
}

// Guards two payloads under one identity: the second is never silently "already there", in the same batch or later, and its dead
// letter can be found beside the first one's.
func TestIdentityConflict(t *testing.T) {
	s := start(t)
	s.want(t, "done done", trip(t, "1", `{"VendorID":1}`), trip(t, "1", `{"VendorID":2}`))
	s.want(t, "done", trip(t, "1", `{"VendorID":3}`))
	s.letters(t, "identity_conflict identity_conflict")
	if got := s.doc(t, tripIndex, root("1"))["payload"]; fmt.Sprint(got) != "map[VendorID:1]" {
		t.Errorf("payload %v", got)
	}
	s.want(t, "done done", s.dead.letters...)
	s.want(t, "done done", s.dead.letters...)
	if n := len(s.fake.Docs()); n != 3 {
		t.Errorf("%d documents", n)
	}
	s.letters(t, "identity_conflict identity_conflict")
}

// Guards a document against an event that only says that it is a replay, with another payload: it is an identity_conflict and never replaces, whether the document was there before,
// comes in the same batch, or is another forged one's; a replay of the event itself goes on, and an outage of the question is one.
func TestForgedReplayReplacesNothing(t *testing.T) {
	s := start(t)
	replay := func(id, payload, n string) *event.Event {
		return trip(t, id, payload, event.ReplayCount, n, event.ReplayID, "r")
	}
	payload := func(id string) string { return fmt.Sprint(s.doc(t, tripIndex, root(id))["payload"]) }
	s.want(t, "done", trip(t, "1", `{"VendorID":1}`))
	s.want(t, "done done done", replay("1", `{"VendorID":2}`, "7"), replay("2", `{"VendorID":2}`, "1"), trip(t, "2", `{"VendorID":1}`))
	s.letters(t, "identity_conflict identity_conflict")
	if payload("1") != "map[VendorID:1]" || payload("2") != "map[VendorID:1]" {
		t.Errorf("payloads %s, %s", payload("1"), payload("2"))
	}
	s.want(t, "done retry", replay("3", `{"VendorID":1}`, "1"), replay("3", `{"VendorID":2}`, "2"))
	s.want(t, "done", replay("3", `{"VendorID":2}`, "2"))
	if payload("3") != "map[VendorID:1]" {
		t.Errorf("payload %s", payload("3"))
	}
	s.letters(t, "identity_conflict identity_conflict identity_conflict")

	s.fake.Set(searchtest.Hooks{Whole: func(r *http.Request, _ []byte) (int, http.Header, string) {
		if r.URL.Path == "/_mget" {
			return 503, nil, ""
		}
		return 0, nil, ""
	}})
	s.want(t, "retry done", replay("1", `{"VendorID":1}`, "1"), trip(t, "4", `{"VendorID":1}`))
	s.fake.Set(searchtest.Hooks{})
	s.want(t, "done", replay("1", `{"VendorID":1}`, "1"))
	if got := s.doc(t, tripIndex, root("1"))["replay_count"]; got != 1.0 {
		t.Errorf("replay_count %v", got)
	}
}

// Guards replays: the first replaces the document, and one that comes late, or twice, or behind the original, changes nothing.
func TestReplaysInAnyOrder(t *testing.T) {
	s := start(t)
	replay := func(n string) *event.Event {
		return trip(t, "1", tripPayload, event.ReplayCount, n, event.ReplayID, "r"+n)
	}
	count := func(want float64) {
		t.Helper()
		if got := s.doc(t, tripIndex, root("1"))["replay_count"]; got != want {
			t.Errorf("replay_count %v, want %v", got, want)
		}
	}
	s.want(t, "done", trip(t, "1", tripPayload))
	count(0)
	s.want(t, "done", replay("1"))
	count(1)
	s.want(t, "done", replay("3"))
	s.want(t, "done done done", replay("2"), replay("3"), trip(t, "1", tripPayload))
	count(3)
	s.letters(t, "")

	// Dead letters of each replay are documents of their own.
	s.want(t, "done done", dead(t, "9", tripPayload), dead(t, "9", tripPayload, event.ReplayCount, "1"))
	s.doc(t, deadIndex, root("9")+":enrich:0")
	s.doc(t, deadIndex, root("9")+":enrich:1")
}

// Guards dead letters against being refused: the payload goes, the attributes stay, and nothing is dead-lettered again.
func TestRefusedDeadLetterKeepsAttributes(t *testing.T) {
	s := start(t)
	refuse := true
	s.fake.Set(searchtest.Hooks{Item: func(index, _ string) (int, string, string) {
		if index == deadIndex && refuse {
			refuse = false
			return 400, "document_parsing_exception", "reason"
		}
		return 0, "", ""
	}})
	s.want(t, "done done", dead(t, "1", tripPayload), trip(t, "2", tripPayload))
	d := s.doc(t, deadIndex, root("1")+":enrich:0")
	if d["payload"] != nil || d["payload_omitted"] != true || d["failure"].(map[string]any)["code"] != "contract_violation" {
		t.Errorf("document %v", d)
	}
	s.fake.Set(searchtest.Hooks{Item: func(string, string) (int, string, string) { return 400, "document_parsing_exception", "reason" }})
	for range 10 {
		s.want(t, "failed", dead(t, "3", tripPayload))
	}
	s.letters(t, "")
}

// Guards the indexes against dynamic mapping: a template that was deleted is made again before the next day's index, and after
// some minutes in any case; while it cannot be, nothing is written.
func TestTemplateGone(t *testing.T) {
	s := start(t)
	s.want(t, "done done", trip(t, "1", tripPayload), dead(t, "2", tripPayload))
	want := s.fake.Templates()
	if len(want) != 2 {
		t.Fatalf("templates %v", want)
	}
	s.fake.DropTemplates()
	s.want(t, "done done", trip(t, "3", tripPayload, event.CollectorTime, "2026-11-22T10:00:00Z"),
		dead(t, "4", tripPayload, event.CollectorTime, "2026-11-22T10:00:00Z"))
	s.fake.DropTemplates()
	s.now = s.now.Add(checkedFor)
	s.want(t, "done done", trip(t, "5", tripPayload), dead(t, "6", tripPayload))
	if got := s.fake.Templates(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("templates %v", got)
	}
	s.fake.Set(searchtest.Hooks{Whole: func(r *http.Request, _ []byte) (int, http.Header, string) {
		if r.Method == http.MethodPut {
			return 503, nil, ""
		}
		return 0, nil, ""
	}})
	s.fake.DropTemplates()
	before := len(s.fake.Docs())
	s.want(t, "retry", trip(t, "7", tripPayload, event.CollectorTime, "2026-11-23T10:00:00Z"))
	if len(s.fake.Docs()) != before || s.fake.Unmapped() != nil {
		t.Errorf("written without a template: %v", s.fake.Unmapped())
	}
}

// Guards other types against one whose contract has a mapping that Elasticsearch refuses: its events do not come again for hours in the slots of all, but
// are dead letters after five attempts while others passed, and alone they wait.
func TestRefusedTemplateStallsNobody(t *testing.T) {
	s := start(t)
	s.fake.Set(searchtest.Hooks{Whole: func(r *http.Request, _ []byte) (int, http.Header, string) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "pageview") {
			return 400, nil, `{"error":{"type":"illegal_argument_exception","reason":"invalid mappings"},"status":400}`
		}
		return 0, nil, ""
	}})
	page := raw(t, "PageView", "p", event.EnrichedData([]byte(`{}`), []byte(`{}`)), event.Stage, event.StageEnriched)
	for range 10 {
		s.want(t, "failed", page)
	}
	for i := range 4 {
		s.want(t, "failed done", page, trip(t, fmt.Sprint(i), tripPayload))
	}
	s.want(t, "done done", page, trip(t, "4", tripPayload))
	s.letters(t, "attempts_exhausted")
	if m := event.Attr(s.dead.letters[0], event.FailureMessage); !strings.Contains(m, "template millrace-enriched-pageview-0 is refused") {
		t.Errorf("message %q", m)
	}
}

// Guards against events that enrich would not send, from another producer: each is a dead letter that says why.
func TestUnusableEvents(t *testing.T) {
	s := start(t)
	data := event.EnrichedData([]byte(`{}`), []byte(`{}`))
	enriched := []string{event.Stage, event.StageEnriched}
	s.want(t, "done done done done done done",
		raw(t, "Unknown", "1", data, enriched...),
		trip(t, "2", tripPayload, event.SchemaVersion, "7-0-1"),
		trip(t, "3", tripPayload, event.SchemaVersion, "one"),
		raw(t, "YellowTaxiTripRecords", "4", []byte(`{"VendorID":1}`)),
		raw(t, "YellowTaxiTripRecords", "5", []byte(`{"payload":`), enriched...),
		trip(t, "6", tripPayload, event.CollectorTime, "yesterday"),
	)
	s.letters(t, "unknown_contract unknown_contract unknown_contract invalid_attribute not_json invalid_attribute")
	s.want(t, "done", trip(t, "7", tripPayload, event.SchemaVersion, "0-0-2")) // an addition, which may say what is personal
	s.letters(t, "unknown_contract unknown_contract unknown_contract invalid_attribute not_json invalid_attribute unknown_contract")
	if len(s.fake.Docs()) != 0 {
		t.Errorf("documents %v", s.fake.Docs())
	}
}

// Guards the whole way over HTTP: what Knative sends is answered with an empty 202 once it is in the index, an outage with 503, and a
// request that is no CloudEvent is kept as one dead letter.
func TestOverHTTP(t *testing.T) {
	s := start(t)
	clock := func() time.Time { return s.now }
	intake := serve.Events(s.handler, serve.Options{OnUndecodable: deadletter.Undecodable(s.dead, "/millrace/load-search", stage, clock), Clock: clock})
	srv := httptest.NewServer(intake)
	defer srv.Close()
	send := func(e *event.Event, change ...string) int {
		t.Helper()
		h := http.Header{}
		body, err := event.EncodeHTTP(e, h)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(change); i += 2 {
			h.Set(change[i], change[i+1])
		}
		req.Header = h
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || len(text) != 0 {
			t.Errorf("the answer has a body: %q, %v", text, err)
		}
		return res.StatusCode
	}
	if got := send(trip(t, "1", tripPayload)); got != 202 {
		t.Errorf("status %d", got)
	}
	s.doc(t, tripIndex, root("1"))
	s.fake.Set(searchtest.Hooks{Whole: func(*http.Request, []byte) (int, http.Header, string) { return 503, nil, "" }})
	if got := send(trip(t, "2", tripPayload)); got != 503 {
		t.Errorf("status %d", got)
	}
	s.fake.Set(searchtest.Hooks{})
	for range 2 {
		if got := send(trip(t, "3", tripPayload), "Ce-Specversion", "9"); got != 202 {
			t.Errorf("status %d", got)
		}
	}
	s.letters(t, "invalid_cloudevent invalid_cloudevent")
	s.want(t, "done done", s.dead.letters...)
	if n := len(s.fake.Docs()); n != 2 {
		t.Errorf("%d documents", n)
	}
}

// Guards contracts that are published while the function runs: an event of a new type is a dead letter before, and searchable after, with
// its template there first.
func TestContractsChange(t *testing.T) {
	s := start(t)
	e := raw(t, "New", "1", event.EnrichedData([]byte(`{"a":"x"}`), []byte(`{}`)), event.Stage, event.StageEnriched)
	s.want(t, "done", e)
	s.letters(t, "unknown_contract")
	c := &contract.Contract{EventType: "New", Version: "0-0-1", Addition: 1, Payload: []contract.Field{{Name: "a", Type: contract.String}}}
	set, err := contract.NewSet(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.loader.accept(set); err != nil {
		t.Fatal(err)
	}
	s.want(t, "done", e)
	s.doc(t, "enriched-new-0-2026.11.21", root("1"))
	s.letters(t, "unknown_contract")

	// A version that adds a field: its template is there before the next write, not some minutes later.
	added := &contract.Contract{EventType: "New", Version: "0-0-2", Addition: 2, Payload: []contract.Field{{Name: "b", Type: contract.Integer}}}
	if set, err = contract.NewSet(c, added); err != nil {
		t.Fatal(err)
	}
	if err := s.loader.accept(set); err != nil {
		t.Fatal(err)
	}
	s.want(t, "done", raw(t, "New", "2", event.EnrichedData([]byte(`{"b":"x"}`), []byte(`{}`)), event.Stage, event.StageEnriched))
	s.letters(t, "unknown_contract search_rejected")
	if got := s.fake.Unmapped(); got != nil {
		t.Errorf("written without a template: %v", got)
	}
}

// Guards events of a new type against a contract that enrich has read before this function: it is looked for at once, its events come again until it may
// be awaited no longer, and then are dead letters without a wait of their own. While the contracts cannot be read, none is.
func TestEventsWaitForTheirContract(t *testing.T) {
	s := start(t)
	s.loader.interval, s.loader.wait = 10*time.Second, 30*time.Second
	published, looks := false, 0
	var broken error
	c := &contract.Contract{EventType: "New", Version: "0-0-1", Addition: 1, Payload: []contract.Field{{Name: "a", Type: contract.String}}}
	s.loader.reload = func(context.Context) (bool, error) {
		looks++
		if !published || broken != nil {
			return false, broken
		}
		set, err := contract.NewSet(c)
		if err != nil {
			return false, err
		}
		return true, s.loader.accept(set)
	}
	novel := func(id, version string) *event.Event {
		return raw(t, "New", id, event.EnrichedData([]byte(`{"a":"x"}`), []byte(`{}`)), event.Stage, event.StageEnriched, event.SchemaVersion, version)
	}
	o := s.want(t, "retry done retry", novel("1", "0-0-1"), trip(t, "2", tripPayload), novel("3", "0-0-1"))
	if o[0].After != 10*time.Second || looks != 1 {
		t.Errorf("comes again after %s, %d looks", o[0].After, looks)
	}
	s.now = s.now.Add(29 * time.Second)
	s.want(t, "retry", novel("1", "0-0-1"))
	s.now = s.now.Add(time.Second)
	broken = errors.New("no directory")
	s.want(t, "retry done retry", novel("1", "0-0-1"), trip(t, "2", tripPayload), novel("3", "0-0-1"))
	broken = nil
	s.letters(t, "")
	s.want(t, "done done", novel("1", "0-0-1"), novel("4", "0-0-1"))
	s.letters(t, "unknown_contract unknown_contract")
	s.want(t, "retry", novel("5", "1-0-0")) // another MODEL waits for itself
	published = true
	s.want(t, "done", novel("3", "0-0-1"))
	s.doc(t, "enriched-new-0-2026.11.21", root("3"))
	s.letters(t, "unknown_contract unknown_contract")
}

// version returns a contract of the type New, model 0, with these fields.
func version(addition int, fields ...contract.Field) *contract.Contract {
	return &contract.Contract{EventType: "New", Version: fmt.Sprintf("0-0-%d", addition), Addition: addition, Payload: fields}
}

// take accepts a set of these contracts.
func (s *setup) take(t *testing.T, contracts ...*contract.Contract) {
	t.Helper()
	set, err := contract.NewSet(contracts...)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.loader.accept(set); err != nil {
		t.Fatal(err)
	}
}

// Guards a field that is added to a contract: the indexes that are there take it before the next write, not with the next day; it is asked for once for a version,
// and an index that refuses it, or a server that cannot be asked, keeps no event back.
func TestAddedFieldsReachIndexesThatAreThere(t *testing.T) {
	a, b := contract.Field{Name: "a", Type: contract.String}, contract.Field{Name: "b", Type: contract.Integer}
	for name, test := range map[string]struct {
		answer  int // to the mapping, in place of the index's
		mapped  bool
		refused float64
		asked   int // by two writes, ten minutes apart
	}{
		"taken": {0, true, 0, 1}, "refused": {400, false, 1, 2}, "away": {503, false, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			event2 := func(id string) *event.Event {
				return raw(t, "New", id, event.EnrichedData([]byte(`{"b":"x"}`), []byte(`{}`)), event.Stage, event.StageEnriched, event.SchemaVersion, "0-0-2")
			}
			s.take(t, version(1, a))
			s.want(t, "done", raw(t, "New", "1", event.EnrichedData([]byte(`{"a":"x"}`), []byte(`{}`)), event.Stage, event.StageEnriched))
			asked := 0
			s.fake.Set(searchtest.Hooks{Whole: func(r *http.Request, _ []byte) (int, http.Header, string) {
				if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/_mapping") {
					return 0, nil, ""
				}
				asked++
				return test.answer, nil, `{"error":{"type":"illegal_argument_exception","reason":"limit of total fields"},"status":400}`
			}})
			s.take(t, version(1, a), version(2, b))
			want := "done"
			if test.mapped {
				want = "dead" // its text is no number
			}
			if got := s.loader.Handle(t.Context(), []*event.Event{event2("2")}).Of(0).Status.String(); got != want {
				t.Errorf("the first write: %s, want %s", got, want)
			}
			s.now = s.now.Add(checkedFor)
			s.loader.Handle(t.Context(), []*event.Event{event2("3")})
			if asked != test.asked {
				t.Errorf("asked %d times, want %d", asked, test.asked)
			}
			if got := counted(t, s.registry, "millrace_search_mappings_refused_total"); got != test.refused {
				t.Errorf("%v refusals counted, want %v", got, test.refused)
			}
			if got := s.fake.Unmapped(); got != nil {
				t.Errorf("written without a template: %v", got)
			}
		})
	}
}

// Guards a contract that is changed under its version while the function runs: the field that it gets is known in today's index and in tomorrow's, and nobody has to notice that the
// version is the same.
func TestContractChangedInPlace(t *testing.T) {
	s := start(t)
	a, b := contract.Field{Name: "a", Type: contract.String}, contract.Field{Name: "b", Type: contract.Integer}
	write := func(id, day, payload string) string {
		e := raw(t, "New", id, event.EnrichedData([]byte(payload), []byte(`{}`)), event.Stage, event.StageEnriched, event.CollectorTime, day+"T10:00:00Z")
		return s.loader.Handle(t.Context(), []*event.Event{e}).Of(0).Status.String()
	}
	s.take(t, version(1, a))
	if got := write("1", "2026-11-21", `{"b":"text"}`); got != "done" {
		t.Fatalf("before: %s", got)
	}
	s.take(t, version(1, a, b))
	for id, day := range map[string]string{"2": "2026-11-21", "3": "2026-11-22"} {
		if got := write(id, day, `{"b":"text"}`); got != "dead" { // its text is no number
			t.Errorf("on %s: %s", day, got)
		}
	}
	if got := s.fake.Unmapped(); got != nil {
		t.Errorf("written without a template: %v", got)
	}
}

// counted adds up a metric.
func counted(t *testing.T, r *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// Guards events that enrich let through with a contract that this function cannot read: they come again until its file is mended, however long that takes,
// and are no dead letters; those of another MODEL are as before.
func TestEventsWaitForAMendedContract(t *testing.T) {
	s := start(t)
	s.loader.interval = 10 * time.Second // and no wait for others
	dir := t.TempDir()
	path := filepath.Join(dir, "new.odcs.yaml")
	good := `{apiVersion: v3.1.0, kind: DataContract, id: new, version: 0.0.1, status: active, customProperties: [{property: eventType, value: New}],
  schema: [{name: payload, properties: [{name: a, logicalType: string}]}]}`
	if err := os.WriteFile(path, []byte(strings.Replace(good, "logicalType", "logicalTyp", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	contracts, err := contract.Open(t.Context(), dir, s.loader.accept)
	if err != nil {
		t.Fatal(err)
	}
	s.loader.reload = contracts.Reload
	if got := counted(t, s.registry, "millrace_contract_files_invalid"); got != 1 {
		t.Errorf("%v files invalid", got)
	}
	novel := func(id, version string) *event.Event {
		return raw(t, "New", id, event.EnrichedData([]byte(`{"a":"x"}`), []byte(`{}`)), event.Stage, event.StageEnriched, event.SchemaVersion, version)
	}
	for range 3 {
		s.want(t, "retry done done", novel("1", "0-0-1"), trip(t, "2", tripPayload), novel("3", "1-0-0"))
		s.now = s.now.Add(time.Hour)
	}
	s.letters(t, "unknown_contract unknown_contract unknown_contract")
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	s.want(t, "done", novel("1", "0-0-1"))
	s.doc(t, "enriched-new-0-2026.11.21", root("1"))
}
