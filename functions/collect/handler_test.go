package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/event"
	"millrace/shared/function"
	"millrace/shared/kafka"
	"millrace/shared/rawjson"
	"millrace/shared/serve"
)

// fake is a topic in memory that can be told to fail.
type fake struct {
	durability string
	fail       func(e *event.Event) error // nil: never
	before     func()                     // called before the write

	mu     sync.Mutex
	events []*event.Event
}

func (f *fake) Durability() string { return f.durability }

func (f *fake) Publish(_ context.Context, events []*event.Event) []error {
	if f.before != nil {
		f.before()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	errs := make([]error, len(events))
	for i, e := range events {
		if f.fail != nil {
			errs[i] = f.fail(e)
		}
		if errs[i] == nil {
			f.events = append(f.events, e)
		}
	}
	return errs
}

type receipt struct {
	Index      int    `json:"index"`
	ID         string `json:"id"`
	Source     string `json:"source"`
	RootID     string `json:"root_id"`
	Status     string `json:"status"`
	Durability string `json:"durability"`
	Code       string `json:"code"`
	Message    string `json:"message"`
	Hint       string `json:"hint"`
}

var testTime = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// rig is a collector on two fakes.
type rig struct {
	*collector
	raw, dead *fake
	h         http.Handler
}

func newRig(tb testing.TB, change func(*config)) *rig {
	tb.Helper()
	cfg := config{
		Process: function.Process{Address: serve.Address{Port: 8080}, Grace: time.Second},
		Output:  function.Output{Sink: "kafka://k:1/events.raw"}, DeadLetters: function.DeadLetters{DeadSink: "kafka://k:1/events.dead"},
		Source: "/collect", CollectorID: "test-1", SendTimeout: 3 * time.Second, SendLinger: time.Millisecond, RetryAfter: 2 * time.Second,
		SendBufferBytes: 16 << 20, MaxBodyBytes: 16 << 20, MaxHeldBytes: 32 << 20, MaxEvents: 10_000,
	}
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		tb.Fatal(err)
	}
	r := &rig{raw: &fake{durability: "replicated"}, dead: &fake{durability: "single"}}
	r.collector = newCollector(&cfg, r.raw, r.dead, func() time.Time { return testTime }, slog.New(slog.DiscardHandler))
	r.register(prometheus.NewRegistry())
	r.h = r.routes()
	return r
}

func (r *rig) post(path string, header http.Header, body []byte) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	maps.Copy(req.Header, header)
	w := httptest.NewRecorder()
	r.h.ServeHTTP(w, req)
	return w
}

func receiptsOf(tb testing.TB, w *httptest.ResponseRecorder) []receipt {
	tb.Helper()
	var v struct {
		Receipts []receipt `json:"receipts"`
	}
	d := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		tb.Fatalf("answer %d %s: %v", w.Code, w.Body, err)
	}
	for i, r := range v.Receipts {
		if r.Index != i {
			tb.Errorf("receipt %d has index %d", i, r.Index)
		}
		if r.RootID != event.Identity(r.Source, r.ID) {
			tb.Errorf("receipt %d: root_id is not the identity of its source and id", i)
		}
	}
	return v.Receipts
}

// reset empties both topics.
func (r *rig) reset() { r.raw.events, r.dead.events = nil, nil }

const trip = `{"event_type":"YellowTaxiTripRecords","schema_version":"0-0-1","payload":{"VendorID":2,"fare_amount": 9.30,"x":"\u00fc\/","VendorID":1e0}}`

// Guards the thin path: payload byte for byte (key order, doubled keys, number spelling, escapes), attributes as the design's table says.
func TestEventAsDesigned(t *testing.T) {
	r := newRig(t, nil)
	w := r.post("/api/v1/collect", http.Header{"Content-Type": {"text/plain"}}, []byte(trip))
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("answered %d %s", w.Code, w.Body)
	}
	got := receiptsOf(t, w)
	if len(got) != 1 || got[0].Status != "accepted" || got[0].Durability != "replicated" || got[0].Source != "/collect" || got[0].Code != "" {
		t.Errorf("receipts %+v", got)
	}
	if len(got[0].ID) != 36 || got[0].ID[14] != '7' {
		t.Errorf("id %q is no UUIDv7", got[0].ID)
	}
	e := r.raw.events[0]
	const payload = `{"VendorID":2,"fare_amount": 9.30,"x":"\u00fc\/","VendorID":1e0}`
	if string(e.Data()) != payload {
		t.Errorf("payload %s", e.Data())
	}
	for name, want := range map[string]string{
		"type": "YellowTaxiTripRecords", "id": got[0].ID, "source": "/collect", "rootid": got[0].RootID, "datahash": event.Hash([]byte(payload)),
		"schemaversion": "0-0-1", "collectorid": "test-1", "collectortime": "2026-11-21T12:00:00Z", "datacontenttype": "application/json",
		"time": "", "subject": "", "partitionkey": "", "dataschema": "", "stage": "",
	} {
		if got := event.Attr(e, name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if err := e.Validate(); err != nil {
		t.Error(err)
	}
}

// Guards the optional fields and extensions on their way into attributes.
func TestOptionalFields(t *testing.T) {
	r := newRig(t, nil)
	w := r.post("/api/v1/collect", nil, []byte(`{"event_type":"T","schema_version":"1-2-3","payload":[],"id":"7","source":"https://x.example/a",
		"subject":"Z\u00fcrich","time":"2023-01-01T01:32:10.5+01:00","partition_key":"k","extensions":{"traceparent":"00-a","n":1.50,"b":true,"none":null}}`))
	if w.Code != 200 {
		t.Fatalf("answered %d %s", w.Code, w.Body)
	}
	e := r.raw.events[0]
	for name, want := range map[string]string{
		"id": "7", "source": "https://x.example/a", "subject": "Zürich", "time": "2023-01-01T00:32:10.5Z", "partitionkey": "k",
		"traceparent": "00-a", "n": "1.50", "b": "true", "none": "", "schemaversion": "1-2-3",
	} {
		if got := event.Attr(e, name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	// null is absent, as serialisers write it.
	r.reset()
	if w := r.post("/api/v1/collect", nil, []byte(`{"event_type":"T","schema_version":"0-0-1","payload":null,"id":null,"source":null,"time":null,"extensions":null}`)); w.Code != 200 {
		t.Errorf("nulls: answered %d %s", w.Code, w.Body)
	}
}

// Guards the rules of the top level: each failure has its code, quotes no value, and keeps the producer's object whole.
func TestTopLevelFailures(t *testing.T) {
	r := newRig(t, nil)
	f := func(object string, code event.Code, eventType string) {
		t.Helper()
		r.reset()
		w := r.post("/api/v1/collect", nil, []byte(object))
		if w.Code != 422 {
			t.Errorf("%s\nanswered %d %s", object, w.Code, w.Body)
			return
		}
		got := receiptsOf(t, w)
		if len(got) != 1 || got[0].Status != "dead_lettered" || got[0].Code != string(code) || got[0].Durability != "single" || got[0].Hint == "" || got[0].Message == "" {
			t.Errorf("%s\nreceipt %+v, want code %s", object, got, code)
		}
		if strings.Contains(got[0].Message, "secret") {
			t.Errorf("%s\nmessage quotes a value: %s", object, got[0].Message)
		}
		if len(r.raw.events) != 0 || len(r.dead.events) != 1 {
			t.Fatalf("%s\n%d raw, %d dead", object, len(r.raw.events), len(r.dead.events))
		}
		d := r.dead.events[0]
		if string(d.Data()) != strings.TrimSpace(object) && string(d.Data()) != object {
			t.Errorf("%s\nkept %s", object, d.Data())
		}
		for name, want := range map[string]string{
			"type": eventType, "source": "/collect", "failurestage": "collect", "failurecode": string(code),
			"failuretime": "2026-11-21T12:00:00Z", "collectorid": "test-1", "id": got[0].ID, "rootid": got[0].RootID,
			"datahash": event.Hash([]byte(object)), "failuremessage": got[0].Message,
		} {
			if got := event.Attr(d, name); got != want {
				t.Errorf("%s\n%s = %q, want %q", object, name, got, want)
			}
		}
		if d.ID() == "secret" || len(d.ID()) != 36 {
			t.Errorf("%s\nid %q is not a new one", object, d.ID())
		}
		if err := d.Validate(); err != nil {
			t.Errorf("%s\n%v", object, err)
		}
	}
	const unparsed = event.TypeUnparsed
	with := func(rest string) string {
		return `{"event_type":"T","schema_version":"0-0-1","payload":{},` + rest + `}`
	}
	f(`{"schema_version":"0-0-1","payload":{}}`, event.CodeMissingField, unparsed)
	f(`{"event_type":"T","payload":{}}`, event.CodeMissingField, "T")
	f(`{"event_type":"T","schema_version":"0-0-1"}`, event.CodeMissingField, "T")
	f(`{"event_type":null,"schema_version":"0-0-1","payload":1}`, event.CodeMissingField, unparsed)
	f(`{"event_type":7,"schema_version":"0-0-1","payload":1}`, event.CodeInvalidField, unparsed)
	f(`{"event_type":"secret name","schema_version":"0-0-1","payload":1}`, event.CodeInvalidField, unparsed)
	f(`{"event_type":"T","schema_version":"0-0-01","payload":1}`, event.CodeInvalidField, "T")
	f(`{"event_type":"T","schema_version":"1","payload":1}`, event.CodeInvalidField, "T")
	f(with(`"payload":{}`), event.CodeInvalidField, "T")
	f(with(`"event_type":"U"`), event.CodeInvalidField, "T")
	f(with(`"foo":"secret"`), event.CodeUnknownField, "T")
	f(`{"foo":"secret","schema_version":"0-0-1","payload":{},"event_type":"T"}`, event.CodeUnknownField, "T")
	f(with(`"Payload":{}`), event.CodeUnknownField, "T")
	f(with(`"rootid":"secret"`), event.CodeUnknownField, "T")
	f(with(`"id":"secret"`), event.CodeMissingSource, "T")
	f(with(`"id":"secret","source":""`), event.CodeInvalidField, "T")
	f(with(`"id":1,"source":"/s"`), event.CodeInvalidField, "T")
	f(with(`"id":"\ud800secret","source":"/s"`), event.CodeInvalidField, "T")
	f(with(`"id":"a\nsecret","source":"/s"`), event.CodeInvalidField, "T")
	f(with(`"source":"%zzsecret"`), event.CodeInvalidField, "T")
	f(with(`"time":"secret"`), event.CodeInvalidField, "T")
	f(with(`"time":"2023-01-01 00:00:00"`), event.CodeInvalidField, "T")
	f(with(`"time":1672531200`), event.CodeInvalidField, "T")
	f(with(`"extensions":[]`), event.CodeInvalidField, "T")
	f(with(`"extensions":{"a":{}}`), event.CodeInvalidAttribute, "T")
	f(with(`"extensions":{"a":"1","a":"2"}`), event.CodeInvalidAttribute, "T")
	f(with(`"extensions":{"a_b":"1"}`), event.CodeInvalidAttribute, "T")
	f(with(`"extensions":{"aB":"1"}`), event.CodeInvalidAttribute, "T")
	f(with(`"extensions":{"":"1"}`), event.CodeInvalidAttribute, "T")
	f(with(`"extensions":{"id":"1"}`), event.CodeInvalidAttribute, "T")
	f(with(`"extensions":{"datacontenttype":"text/plain"}`), event.CodeInvalidAttribute, "T")
	f(with(`"extensions":{"schemaversion":"9-9-9"}`), event.CodeInvalidAttribute, "T")
	for _, name := range []string{"rootid", "datahash", "collectorid", "collectortime", "stage", "failurecode", "replayid", "replaycount", "versionassumed", "knativeerrordest"} {
		f(with(`"extensions":{"`+name+`":"secret"}`), event.CodeReservedAttribute, "T")
	}
	f(with(`"subject":"`+strings.Repeat("ü", maxAttributes/6)+`"`), event.CodeTooLarge, "T")
	f(`7`, event.CodeUnparsed, unparsed)
	f(`"text"`, event.CodeUnparsed, unparsed)
	f(`[7]`[1:2], event.CodeUnparsed, unparsed)
	f(``, event.CodeUnparsed, unparsed)
	f(`{"event_type":"T"`, event.CodeUnparsed, unparsed)
	f(with(`"subject":"`+"\xff"+`"`), event.CodeUnparsed, unparsed)
	f(trip+trip, event.CodeUnparsed, unparsed)
}

// Guards an array against its worst element: only that one is a dead letter, holding its own bytes alone.
func TestOneBadAmongGood(t *testing.T) {
	r := newRig(t, nil)
	w := r.post("/api/v1/collect", nil, []byte(` [ `+trip+`, {"event_type":"T" , "bad":1} ,7,`+trip+`] `))
	got := receiptsOf(t, w)
	var statuses []string
	for _, x := range got {
		statuses = append(statuses, x.Status+" "+x.Code)
	}
	want := []string{"accepted ", "dead_lettered unknown_field", "dead_lettered unparsed", "accepted "}
	if w.Code != 207 || !slices.Equal(statuses, want) {
		t.Errorf("answered %d %q, want 207 %q", w.Code, statuses, want)
	}
	if len(r.raw.events) != 2 || len(r.dead.events) != 2 || string(r.dead.events[0].Data()) != `{"event_type":"T" , "bad":1}` {
		t.Errorf("%d raw, %d dead", len(r.raw.events), len(r.dead.events))
	}
	if w := r.post("/api/v1/collect", nil, []byte(` [] `)); w.Code != 200 || w.Body.String() != "{\"receipts\":[]}\n" {
		t.Errorf("no events: answered %d %s", w.Code, w.Body)
	}
}

// Guards the good events of an array against one that is JSON and nested deeper than is read: it alone is a dead letter, with its own bytes, in every form that brings several.
func TestOneTooDeepAmongGood(t *testing.T) {
	deep := strings.Repeat("[", rawjson.MaxDepth) + strings.Repeat("]", rawjson.MaxDepth)
	form := `{"event_type":"Deep","schema_version":"0-0-1","source":"/s","id":"1","payload":` + deep + `}`
	structured := `{"specversion":"1.0","type":"Deep","source":"/s","id":"1","data":` + deep + `}`
	good := `{"specversion":"1.0","type":"T","source":"/s","id":"2","data":1}`
	for _, c := range []struct {
		path, contentType, one, other string
	}{
		{"/api/v1/collect", "application/json", form, trip},
		{"/api/v1/events", event.MediaBatch, structured, good},
	} {
		r := newRig(t, nil)
		w := r.post(c.path, http.Header{"Content-Type": {c.contentType}}, []byte("["+c.other+","+c.one+","+c.other+"]"))
		got := receiptsOf(t, w)
		want := fmt.Sprintf("the event is nested more than %d levels deep", rawjson.MaxDepth)
		if w.Code != 207 || len(got) != 3 || got[0].Status != "accepted" || got[2].Status != "accepted" || got[1].Code != "unparsed" || got[1].Message != want {
			t.Errorf("%s: answered %d %+v", c.path, w.Code, got)
		}
		if len(r.dead.events) != 1 || string(r.dead.events[0].Data()) != c.one || r.dead.events[0].Type() != "Deep" || event.Attr(r.dead.events[0], event.FailureID) != "1" {
			t.Errorf("%s: %d dead letters: %.200v", c.path, len(r.dead.events), r.dead.events)
		}
	}
}

// Guards the statuses of the answer against each outcome of Kafka: nothing that is not durable may look as if it were.
func TestVerdicts(t *testing.T) {
	bad := `{"event_type":"Bad"}`
	fail := func(err error) func(*event.Event) error { return func(*event.Event) error { return err } }
	second := func(err error) func(*event.Event) error {
		n := 0
		return func(*event.Event) error {
			if n++; n%2 == 0 {
				return err
			}
			return nil
		}
	}
	wrapped := fmt.Errorf("%w: no connection", kafka.ErrBusy)
	for name, c := range map[string]struct {
		body      string
		raw, dead func(*event.Event) error
		code      int
		statuses  string
	}{
		"all accepted":             {trip + "," + trip, nil, nil, 200, "accepted accepted"},
		"mixed":                    {trip + "," + bad, nil, nil, 207, "accepted dead_lettered"},
		"all dead":                 {bad + "," + bad, nil, nil, 422, "dead_lettered dead_lettered"},
		"busy":                     {trip + "," + trip, fail(wrapped), nil, 503, "busy busy"},
		"unconfirmed":              {trip + "," + trip, fail(kafka.ErrUnconfirmed), nil, 503, "unconfirmed unconfirmed"},
		"unknown error":            {trip, fail(errors.New("what")), nil, 503, "unconfirmed"},
		"half of a batch":          {trip + "," + trip + "," + trip, second(kafka.ErrUnconfirmed), nil, 503, "accepted unconfirmed accepted"},
		"dead letter busy":         {trip + "," + bad, nil, fail(wrapped), 503, "accepted busy"},
		"dead letter not written":  {bad, nil, fail(kafka.ErrUnconfirmed), 503, "unconfirmed"},
		"raw busy, dead written":   {trip + "," + bad, fail(wrapped), nil, 503, "busy dead_lettered"},
		"too large for Kafka":      {trip + "," + trip, second(kafka.ErrTooLarge), nil, 207, "accepted dead_lettered"},
		"too large, and dead busy": {trip, fail(kafka.ErrTooLarge), fail(wrapped), 503, "busy"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.raw.fail, r.dead.fail = c.raw, c.dead
			w := r.post("/api/v1/collect", nil, []byte("["+c.body+"]"))
			var statuses []string
			for _, x := range receiptsOf(t, w) {
				statuses = append(statuses, x.Status)
				durable := x.Status == "accepted" || x.Status == "dead_lettered"
				if durable != (x.Durability != "") {
					t.Errorf("%s with durability %q", x.Status, x.Durability)
				}
				if x.Status != "accepted" && (x.Hint == "" || x.Message == "" || x.Code == "") {
					t.Errorf("%+v explains nothing", x)
				}
			}
			if got := strings.Join(statuses, " "); w.Code != c.code || got != c.statuses {
				t.Errorf("answered %d %q, want %d %q", w.Code, got, c.code, c.statuses)
			}
			if got := w.Header().Get("Retry-After"); (got == "2") != (c.code == 503) {
				t.Errorf("Retry-After %q with %d", got, w.Code)
			}
		})
	}
}

// Guards against a publisher that loses count: no receipt may rest on another event's answer.
func TestMissingAnswersAreUnconfirmed(t *testing.T) {
	r := newRig(t, nil)
	r.collector.raw = short{}
	for _, body := range []string{trip, "[" + trip + "," + trip + "]"} {
		w := r.post("/api/v1/collect", nil, []byte(body))
		for _, x := range receiptsOf(t, w) {
			if x.Status != "unconfirmed" {
				t.Errorf("%+v", x)
			}
		}
	}
}

type short struct{}

func (short) Publish(context.Context, []*event.Event) []error { return nil }
func (short) Durability() string                              { return "replicated" }

// Guards Knative's way in: only an empty body, 202 only for what is durable.
func TestKnativeRoute(t *testing.T) {
	event1 := []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"T","data":{"a":1}}`)
	structured := http.Header{"Content-Type": {"application/cloudevents+json"}}
	f := func(name string, code int, raw func(*event.Event) error, h http.Header, body []byte, wantRaw, wantDead int) {
		t.Helper()
		r := newRig(t, nil)
		r.raw.fail = raw
		w := r.post("/", h, body)
		if w.Code != code || w.Body.Len() != 0 || len(r.raw.events) != wantRaw || len(r.dead.events) != wantDead {
			t.Errorf("%s: answered %d %q, %d raw, %d dead; want %d %d %d", name, w.Code, w.Body, len(r.raw.events), len(r.dead.events), code, wantRaw, wantDead)
		}
		if (w.Header().Get("Retry-After") != "") != (code == 503) {
			t.Errorf("%s: Retry-After %q", name, w.Header().Get("Retry-After"))
		}
	}
	f("good", 202, nil, structured, event1, 1, 0)
	f("dead letter", 202, nil, structured, []byte(`{"specversion":"1.0","id":"1"}`), 0, 1)
	f("unparsed", 202, nil, structured, []byte(`{`), 0, 1)
	f("unconfirmed", 503, func(*event.Event) error { return kafka.ErrUnconfirmed }, structured, event1, 0, 0)
	f("no CloudEvent", 415, nil, nil, event1, 0, 0)
}

// Guards the limits: what is over them is refused or kept without data, and never a crash or a silent cut.
func TestSizes(t *testing.T) {
	payload := func(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }
	object := func(n int) string { return `{"event_type":"T","schema_version":"0-0-1","payload":` + payload(n) + `}` }
	r := newRig(t, nil)
	f := func(name, body string, code int, raw, dead int) {
		t.Helper()
		r.reset()
		w := r.post("/api/v1/collect", nil, []byte(body))
		if w.Code != code || len(r.raw.events) != raw || len(r.dead.events) != dead {
			t.Errorf("%s: answered %d %.200s, %d raw, %d dead; want %d, %d, %d", name, w.Code, w.Body, len(r.raw.events), len(r.dead.events), code, raw, dead)
		}
		if r.admission.Held() != 0 {
			t.Errorf("%s: %d bytes still held", name, r.admission.Held())
		}
	}
	f("large event", object(event.MaxSize-500), 200, 1, 0)
	f("event over the limit", object(event.MaxSize), 422, 0, 1)
	if d := r.dead.events[0]; len(d.Data()) != 0 || event.Attr(d, event.FailureCode) != "too_large" || d.Type() != "T" {
		t.Errorf("kept %d bytes as %s", len(d.Data()), event.Attr(d, event.FailureCode))
	}
	f("one over the limit in an array", "["+trip+","+object(event.MaxSize)+"]", 207, 1, 1)
	f("many large", "["+strings.Repeat(object(800_000)+",", 10)+trip+"]", 200, 11, 0)
	f("unparsed, kept", "{"+strings.Repeat("x", event.MaxSize-1), 422, 0, 1)
	f("unparsed, too large", "{"+strings.Repeat("x", event.MaxSize), 413, 0, 0)
	f("body over the limit", strings.Repeat(" ", 16<<20)+"7", 413, 0, 0)
	r.limits.events = 2
	f("as many events as allowed", "["+trip+","+trip+"]", 200, 2, 0)
	f("too many events", "["+trip+","+trip+","+trip+"]", 413, 0, 0)
	f("deep", strings.Repeat("[", 100_000), 422, 0, 1)
	f("deep payload", `{"event_type":"T","schema_version":"0-0-1","payload":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+`}`, 422, 0, 1)
}

// Guards memory against a request that is small when compressed: its parts must not be taken apart into many times its size before a limit is looked at.
func TestManyPartsCostLittle(t *testing.T) {
	const size = 16 << 20
	fill := func(begin, end string, part func(i int) string) []byte {
		b := append(make([]byte, 0, size), begin...)
		for i := 0; len(b) < size-20<<10; i++ {
			b = append(b, part(i)...)
		}
		return append(b, end...)
	}
	member := func(i int) string { return fmt.Sprintf(`"a%d":1,`, i) }
	structured := `{"specversion":"1.0","id":"1","source":"/s","type":"T",`
	crowd := structured + strings.Join(func() (m []string) {
		for i := range event.MaxAttributes - 10 {
			m = append(m, fmt.Sprintf(`"a%d":1`, i))
		}
		return m
	}(), ",") + `},`
	r := newRig(t, nil)
	f := func(name, path, contentType string, body []byte, code, dead int, letter event.Code) {
		t.Helper()
		r.reset()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w := r.post(path, http.Header{"Content-Type": {contentType}}, body)
		runtime.ReadMemStats(&after)
		if w.Code != code || len(r.raw.events) != 0 || len(r.dead.events) != dead {
			t.Errorf("%s: answered %d %.200s, %d raw, %d dead", name, w.Code, w.Body, len(r.raw.events), len(r.dead.events))
		}
		if dead == 1 && len(r.dead.events) == 1 && event.Attr(r.dead.events[0], event.FailureCode) != string(letter) {
			t.Errorf("%s: a dead letter %s", name, event.Attr(r.dead.events[0], event.FailureCode))
		}
		allocated := (after.TotalAlloc - before.TotalAlloc) >> 20
		t.Logf("%s: %d MiB", name, allocated)
		if allocated > 11*size>>20 { // the body, garbage and all
			t.Errorf("%s: allocated %d MiB", name, allocated)
		}
	}
	one := func(int) string { return "1," }
	f("batch of numbers", "/api/v1/events", event.MediaBatch, fill("[", "1]", one), 413, 0, "")
	f("form of numbers", "/api/v1/collect", "", fill("[", "1]", one), 413, 0, "")
	f("structured", "/api/v1/events", event.MediaStructured, fill(structured, `"z":1}`, member), 422, 1, event.CodeTooLarge)
	f("form extensions", "/api/v1/collect", "",
		fill(`{"event_type":"T","schema_version":"0-0-1","payload":1,"extensions":{`, `"z":1}}`, member), 422, 1, event.CodeTooLarge)
	f("batch of crowded events", "/api/v1/events", event.MediaBatch, fill("[", "1]", func(int) string { return crowd }), 413, 0, "")
}

// Guards compressed bodies, which producers behind slow lines send.
func TestGzip(t *testing.T) {
	r := newRig(t, nil)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, trip)
	_ = z.Close()
	if w := r.post("/api/v1/collect", http.Header{"Content-Encoding": {"gzip"}}, packed.Bytes()); w.Code != 200 {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
	if w := r.post("/api/v1/collect", http.Header{"Content-Encoding": {"gzip"}}, packed.Bytes()[:50]); w.Code != 400 {
		t.Errorf("cut short: answered %d %s", w.Code, w.Body)
	}
	if w := r.post("/api/v1/collect", http.Header{"Content-Encoding": {"br"}}, packed.Bytes()); w.Code != 415 {
		t.Errorf("brotli: answered %d %s", w.Code, w.Body)
	}
}

// Guards identity over retries: with a key, the same request sent twice is the same events, and the producer's own id wins.
func TestIdempotencyKey(t *testing.T) {
	r := newRig(t, nil)
	own := `{"event_type":"T","schema_version":"0-0-1","payload":1,"id":"own","source":"/s"}`
	send := func() []receipt {
		return receiptsOf(t, r.post("/api/v1/collect", http.Header{"Idempotency-Key": {"k-1"}}, []byte("["+trip+","+own+","+trip+"]")))
	}
	first, again := send(), send()
	if !slices.Equal(first, again) {
		t.Errorf("first %+v\nagain %+v", first, again)
	}
	if first[0].ID != "k-1/0" || first[1].ID != "own" || first[1].Source != "/s" || first[2].ID != "k-1/2" {
		t.Errorf("ids %q %q %q", first[0].ID, first[1].ID, first[2].ID)
	}
	for _, key := range [][]string{{""}, {"a", "b"}, {"a\x01"}, {strings.Repeat("k", 257)}} {
		if w := r.post("/api/v1/collect", http.Header{"Idempotency-Key": key}, []byte(trip)); w.Code != 400 {
			t.Errorf("key %.10q: answered %d", key, w.Code)
		}
	}
}

// Guards the parsing suite both ways: whatever must parse is accepted as a payload byte for byte, whatever must not is a dead letter with every byte,
// as a body and as a payload. Nothing crashes.
func TestParsingSuite(t *testing.T) {
	files, err := filepath.Glob("../../../shared/data/badinput/JSONTestSuite/test_parsing/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("../shared/data/badinput/JSONTestSuite is not here")
	}
	r := newRig(t, nil)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		body := slices.Concat([]byte(`{"event_type":"T","schema_version":"0-0-1","payload":`), b, []byte(`}`))
		r.reset()
		w := r.post("/api/v1/collect", nil, body)
		kept := w.Code == 200 && len(r.raw.events) == 1 && bytes.Equal(r.raw.events[0].Data(), rawjson.Trim(b))
		dead := w.Code == 422 && len(r.dead.events) == 1 && bytes.Equal(r.dead.events[0].Data(), body)
		switch name[0] {
		case 'y':
			if !kept {
				t.Errorf("%s: as a payload answered %d %s", name, w.Code, w.Body)
			}
		case 'n':
			// Some texts that are wrong alone are right inside an object, such as two members after a comma.
			if !dead && !strings.Contains(w.Body.String(), "dead_lettered") {
				t.Errorf("%s: as a payload answered %d %s", name, w.Code, w.Body)
			}
		default:
			if !kept && !dead {
				t.Errorf("%s: as a payload answered %d %s", name, w.Code, w.Body)
			}
		}
		r.reset()
		w = r.post("/api/v1/collect", nil, b)
		if w.Code != 200 && w.Code != 422 {
			t.Errorf("%s: as a body answered %d %s", name, w.Code, w.Body)
		}
		if name[0] == 'n' && (w.Code != 422 || len(r.dead.events) != 1 || !bytes.Equal(r.dead.events[0].Data(), b)) {
			t.Errorf("%s: as a body answered %d %s", name, w.Code, w.Body)
		}
	}
}

// Guards a request whose client hangs up: the write goes on, since half a request written and half not is what nobody can repair.
func TestClientGone(t *testing.T) {
	r := newRig(t, nil)
	ctx, hangUp := context.WithCancel(t.Context())
	r.raw.before = hangUp
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/api/v1/collect", strings.NewReader("["+trip+","+trip+"]"))
	r.h.ServeHTTP(httptest.NewRecorder(), req)
	if len(r.raw.events) != 2 {
		t.Errorf("%d events, want 2", len(r.raw.events))
	}
	// And a body that breaks off is not half an event.
	r.reset()
	req = httptest.NewRequest(http.MethodPost, "/api/v1/collect", strings.NewReader(trip[:40]))
	req.ContentLength = int64(len(trip))
	w := httptest.NewRecorder()
	r.h.ServeHTTP(w, req)
	if w.Code != 400 || len(r.raw.events)+len(r.dead.events) != 0 {
		t.Errorf("broken off: answered %d, %d events", w.Code, len(r.raw.events)+len(r.dead.events))
	}
}

// Guards memory: beyond the bytes that may be held a request is told to come again, and nothing of it is read.
func TestHeldBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *config) { c.MaxBodyBytes, c.MaxHeldBytes = event.MaxSize, event.MaxSize })
		gate := make(chan struct{})
		r.raw.before = func() { <-gate }
		big := `{"event_type":"T","schema_version":"0-0-1","payload":"` + strings.Repeat("x", 600_000) + `"}`
		var wg sync.WaitGroup
		wg.Go(func() { r.post("/api/v1/collect", nil, []byte(big)) })
		synctest.Wait()
		w := r.post("/api/v1/collect", nil, []byte(big))
		if w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("answered %d %s", w.Code, w.Body)
		}
		close(gate)
		wg.Wait()
		if w := r.post("/api/v1/collect", nil, []byte(big)); w.Code != 200 {
			t.Errorf("with room again: answered %d", w.Code)
		}
	})
}

// Guards the other routes.
func TestRoutes(t *testing.T) {
	r := newRig(t, nil)
	f := func(method, path string, code int, text string) {
		t.Helper()
		w := httptest.NewRecorder()
		r.h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code != code || !strings.Contains(w.Body.String(), text) {
			t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	}
	f("GET", "/api/v1", 200, `"collector_id":"test-1"`)
	f("GET", "/api/v1", 200, `"version":"`)
	f("GET", "/api/v1/collect", 405, "")
	f("GET", "/nowhere", 404, "")
	f("POST", "/api/v1/other", 404, "")
}

// Guards what a first-time user sees of a body that is no JSON: its own cause and place, the bytes kept, and none of them quoted.
func TestUnparsedSaysWhy(t *testing.T) {
	structured, batch := http.Header{"Content-Type": {event.MediaStructured}}, http.Header{"Content-Type": {event.MediaBatch}}
	for _, c := range []struct {
		path   string
		header http.Header
		body   string
		want   string
	}{
		{"/api/v1/collect", nil, "", "the body is not JSON: the text is empty"},
		{"/api/v1/collect", nil, " \n", "the body is not JSON: the text is only white space"},
		{"/api/v1/collect", nil, `{"event_type":"secret`, "the body is not JSON: byte 21: the text ends within a string"},
		{"/api/v1/collect", nil, trip + "\n" + trip, fmt.Sprintf("the body is not JSON: byte %d: another JSON text follows the first; several events go into an array", len(trip)+1)},
		{"/api/v1/collect", nil, "\x1f\x8b\x08\x00secret", "the body is not JSON: byte 0: the text looks like gzip; set Content-Encoding: gzip"},
		{"/api/v1/collect", nil, "3", "the body is JSON, but neither an object nor an array"},
		{"/api/v1/events", structured, `{"id":secret}`, "the body is not JSON: byte 6: no JSON value begins like this"},
		{"/api/v1/events", batch, `[{"id":"secret"},]`, "the batch is not JSON: byte 17: no element behind a comma"},
		{"/api/v1/events", batch, `{"id":"secret"}`, "the batch is JSON, but no array"},
	} {
		r := newRig(t, nil)
		got := receiptsOf(t, r.post(c.path, c.header, []byte(c.body)))
		if len(got) != 1 || got[0].Code != "unparsed" || got[0].Message != c.want {
			t.Errorf("%.40q: %+v, want %s", c.body, got, c.want)
		}
		if len(r.dead.events) != 1 || string(r.dead.events[0].Data()) != c.body || event.Attr(r.dead.events[0], event.FailureMessage) != c.want {
			t.Errorf("%.40q: dead letter %v", c.body, r.dead.events)
		}
	}
}

// Guards a producer that takes the wrong one of the two doors: it is told the other, by the receipt or the error, whichever mark gave it away.
func TestWrongDoorNamesTheOther(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		header http.Header
		body   string
		code   string
		other  bool
	}{
		{nil, `{"type":"T","specversion":"1.0","id":"1","source":"/s","data":{}}`, "unknown_field", true},
		{nil, `{"specversion":"1.0","type":"T"}`, "unknown_field", true},
		{http.Header{"Content-Type": {"application/cloudevents+json; charset=utf-8"}}, `{"type":"T","data":{}}`, "unknown_field", true},
		{http.Header{"Ce-Specversion": {"1.0"}, "Ce-Type": {"T"}}, `{}`, "missing_field", true},
		{nil, `{"type":"T"}`, "unknown_field", false},
		{nil, `{}`, "missing_field", false},
	} {
		got := receiptsOf(t, r.post("/api/v1/collect", c.header, []byte(c.body)))
		if len(got) != 1 || got[0].Code != c.code || strings.Count(got[0].Message, "/api/v1/events") != map[bool]int{true: 1}[c.other] {
			t.Errorf("%s: %+v", c.body, got)
		}
	}
	w := r.post("/api/v1/events", http.Header{"Content-Type": {"application/json"}}, []byte(trip))
	if w.Code != http.StatusUnsupportedMediaType || !strings.Contains(w.Body.String(), "/api/v1/collect") {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
}

// Guards a wrong path or method against an answer that programs cannot read and people learn nothing from.
func TestNotFound(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		method, path, allow string
		code                int
	}{
		{"POST", "/api/v1/collects", "", 404},
		{"POST", "/api/v1/collect/", "", 404},
		{"GET", "/api/v1/collect", "POST", 405},
		{"PUT", "/api/v1/events", "POST", 405},
		{"GET", "/", "POST", 405},
		{"POST", "/api/v1", "GET, HEAD", 405},
	} {
		w := httptest.NewRecorder()
		r.h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(trip)))
		var v struct{ Error string }
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != c.code || w.Header().Get("Allow") != c.allow || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %d %v %s (%v)", c.method, c.path, w.Code, w.Header(), w.Body, err)
		}
		for _, path := range []string{"POST /api/v1/collect ", "POST /api/v1/events ", "GET /api/v1 "} {
			if !strings.Contains(v.Error, path) {
				t.Errorf("%s %s: %q does not name %s", c.method, c.path, v.Error, path)
			}
		}
	}
	if len(r.raw.events)+len(r.dead.events) != 0 {
		t.Error("something was written")
	}
}

// Guards whoever looks for an event by what its producer calls it: its dead letter says so in every form, also where its data is not kept or it is no JSON, bounded and
// readable by every consumer, and an event that is accepted does not.
func TestDeadLetterSaysWhatTheProducerCallsIt(t *testing.T) {
	r := newRig(t, nil)
	long := strings.Repeat("x", 2000)
	big := strings.Repeat("x", event.MaxSize)
	object := `{"id":"i","source":"/s",`
	for name, tt := range map[string]struct {
		path         string
		header       http.Header
		body         string
		source, id   string
		wantCode     event.Code
		wantType     string
		wantSentence string
	}{
		"form":             {"/api/v1/collect", nil, object + `"event_type":"T","schema_version":"0-0-1","more":1,"payload":{}}`, "/s", "i", "unknown_field", "T", ""},
		"form, too large":  {"/api/v1/collect", nil, object + `"event_type":"T","schema_version":"0-0-1","payload":"` + big + `"}`, "/s", "i", "too_large", "T", "bytes were not kept"},
		"form, half":       {"/api/v1/collect", nil, object + `"event_type":"T","payload":{"a":`, "/s", "i", "unparsed", "millrace.unparsed", ""},
		"form, broken":     {"/api/v1/collect", nil, `{"payload":{"a":},"source":"/s","id":"i"}`, "/s", "i", "unparsed", "millrace.unparsed", ""},
		"form, no id":      {"/api/v1/collect", nil, `{"source":"/s"}`, "/s", "", "missing_field", "millrace.unparsed", ""},
		"form, id no text": {"/api/v1/collect", nil, `{"source":"/s","id":7}`, "/s", "", "invalid_field", "millrace.unparsed", ""},
		"form, twice":      {"/api/v1/collect", nil, `{"source":"/s","id":"i","id":"j"}`, "/s", "i", "invalid_field", "millrace.unparsed", ""},
		"form, long":       {"/api/v1/collect", nil, `{"source":"` + long + `","id":"a\u0000\ud800\uffffb"}`, long[:1021] + "...", "a \ufffd\ufffdb", "missing_field", "millrace.unparsed", ""},
		"form, array":      {"/api/v1/collect", nil, `[` + object + `"payload":`, "", "", "unparsed", "millrace.unparsed", ""},
		"structured":       {"/api/v1/events", structured, object + `"type":"T"}`, "/s", "i", "invalid_cloudevent", "T", ""},
		"structured, attribute": {
			"/api/v1/events", structured, object + `"specversion":"1.0","type":"T","stage":"x"}`, "/s", "i", "reserved_attribute", "T", "",
		},
		"structured, half": {"/api/v1/events", structured, object + `"type":"T"`, "/s", "i", "unparsed", "millrace.unparsed", ""},
		"batch":            {"/api/v1/events", http.Header{"Content-Type": {event.MediaBatch}}, `[` + object + `"type":"T"}]`, "/s", "i", "invalid_cloudevent", "T", ""},
		"binary": {
			"/api/v1/events",
			http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"Z%C3%BCrich"}, "Ce-Source": {"/s"}, "Ce-Type": {"T"}, "Ce-Stage": {"x"}},
			big[:10],
			"/s", "Zürich", "reserved_attribute", "T", "",
		},
		"binary, too large": {
			"/api/v1/events",
			http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"i"}, "Ce-Source": {"/s"}, "Ce-Type": {"T"}},
			big + "x",
			"/s", "i", "too_large", "T", "bytes were not kept",
		},
		"accepted": {"/api/v1/collect", nil, object + `"event_type":"T","schema_version":"0-0-1","payload":{}}`, "", "", "", "T", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r.reset()
			w := r.post(tt.path, tt.header, []byte(tt.body))
			got := receiptsOf(t, w)
			if len(got) != 1 || got[0].Code != string(tt.wantCode) {
				t.Fatalf("answered %d %+v", w.Code, got)
			}
			e := append(slices.Clone(r.raw.events), r.dead.events...)[0]
			if source, id := event.Attr(e, event.FailureSource), event.Attr(e, event.FailureID); source != tt.source || id != tt.id {
				t.Errorf("called %q, %q, want %q, %q", source, id, tt.source, tt.id)
			}
			if tt.wantCode != "" && (e.ID() == tt.id || e.Source() != "/collect") {
				t.Errorf("the dead letter's own identity is %s %s", e.Source(), e.ID())
			}
			if e.Type() != tt.wantType || !strings.Contains(event.Attr(e, event.FailureMessage), tt.wantSentence) {
				t.Errorf("type %s: %s", e.Type(), event.Attr(e, event.FailureMessage))
			}
			if err := e.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}
