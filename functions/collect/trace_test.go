package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/tracing"
	"millrace/shared/tracing/tracingtest"
)

const (
	requests = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	own      = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
)

// Guards whose trace an event is of, in each form in which it can come: its own where it says anything of one, valid or not, which is never a dead letter; else its request's; else none.
func TestWhoseTrace(t *testing.T) {
	r := newRig(t, nil)
	form := func(extensions string) string {
		return `{"event_type":"T","schema_version":"0-0-1","payload":1,"source":"/s","id":"1","extensions":{` + extensions + `}}`
	}
	structured := func(extensions string) string {
		if extensions != "" {
			extensions = "," + extensions
		}
		return `{"specversion":"1.0","id":"1","source":"/s","type":"T","data":1` + extensions + `}`
	}
	f := func(header, extensions, parent, state string) {
		t.Helper()
		for _, mode := range []struct {
			path, contentType, body string
		}{
			{"/api/v1/collect", "application/json", form(extensions)},
			{"/api/v1/collect", "application/json", "[" + form(extensions) + "]"},
			{"/api/v1/events", "application/cloudevents+json", structured(extensions)},
			{"/", "application/cloudevents-batch+json", "[" + structured(extensions) + "]"},
			{"/api/v1/events", "", ""},
		} {
			r.reset()
			h := http.Header{"Content-Type": {mode.contentType}}
			body := mode.body
			if mode.contentType == "" {
				h, body = binaryHeader(nil), "1"
				for member := range strings.SplitSeq(extensions, ",") {
					if name, value, ok := strings.Cut(strings.ReplaceAll(member, `"`, ""), ":"); ok {
						h.Set("Ce-"+name, event.EncodeHeader(value))
					}
				}
			}
			if header != "" {
				h.Set("Traceparent", header)
				h.Set("Tracestate", "vendor=1")
			}
			w := r.post(mode.path, h, []byte(body))
			if len(r.dead.events) != 0 || len(r.raw.events) != 1 {
				t.Fatalf("%s %s: %d, %d dead letters", mode.path, body, w.Code, len(r.dead.events))
			}
			e := r.raw.events[0]
			if event.Attr(e, "traceparent") != parent || event.Attr(e, "tracestate") != state {
				t.Errorf("%s %s: traceparent %q, tracestate %q", mode.path, body, event.Attr(e, "traceparent"), event.Attr(e, "tracestate"))
			}
			if want := event.Identity("/s", "1"); event.Attr(e, event.RootID) != want || event.Attr(e, event.DataHash) != event.Hash([]byte("1")) {
				t.Errorf("%s: another identity", body)
			}
		}
	}
	f("", ``, "", "")
	f(requests, ``, requests, "vendor=1")
	f("wrong", ``, "", "")
	f("", `"traceparent":"`+own+`"`, own, "")
	f(requests, `"traceparent":"`+own+`"`, own, "")
	f(requests, `"traceparent":"`+own+`","tracestate":"a=1"`, own, "a=1")
	f(requests, `"traceparent":"00-wrong"`, "00-wrong", "")
	f(requests, `"tracestate":"a=1"`, "", "a=1")
}

// Guards the trace of what fails at the top level, by which its producer finds it: its own where it can be read, else the request's, each event's of an array for itself.
func TestTraceOfDeadLetters(t *testing.T) {
	r := newRig(t, nil)
	r.post("/api/v1/collect", http.Header{"Traceparent": {requests}}, []byte(`[{"event_type":"T"},`+trip+`]`))
	r.post("/api/v1/collect", http.Header{"Traceparent": {requests}}, []byte(`{`))
	r.post("/api/v1/events", binaryHeader(map[string]string{"Ce-Rootid": "x", "Ce-Traceparent": own, "Traceparent": requests}), []byte(`1`))
	var got []string
	for _, e := range r.dead.events {
		got = append(got, event.Attr(e, "traceparent"))
	}
	if fmt.Sprint(got) != fmt.Sprint([]string{requests, requests, own}) || event.Attr(r.raw.events[0], "traceparent") != requests {
		t.Errorf("dead letters of %v", got)
	}
	r.reset()
	r.raw.fail = func(*event.Event) error { return delivery.ErrTooLarge }
	r.post("/api/v1/collect", http.Header{"Traceparent": {requests}}, []byte(trip))
	if e := r.dead.events[0]; event.Attr(e, "traceparent") != requests {
		t.Errorf("too large for Kafka: %v", e)
	}
}

// Guards collect's own spans: one for a request with what became of its events, in numbers; and that it begins a trace where nobody else did, if it is recorded.
func TestSpans(t *testing.T) {
	receiver := tracingtest.New(t)
	r := newRig(t, nil)
	begin := func(sampler string) {
		t.Helper()
		r.tracer = tracing.New(tracing.Spans{Endpoint: receiver.URL, Sampler: sampler}, stage, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	}
	begin("always_on")
	r.post("/api/v1/collect", nil, []byte(`[`+trip+`,{"event_type":"T"}]`))
	r.post("/api/v1/collect", http.Header{"Idempotency-Key": {""}}, []byte(trip))
	if err := r.tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := receiver.Spans()
	if len(spans) != 2 {
		t.Fatalf("spans %+v", spans)
	}
	s := spans[0]
	if s.Name != "receive /api/v1/collect" || s.Kind != "server" || s.Attributes["millrace.outcome.accepted"] != int64(1) || s.Attributes["millrace.outcome.dead_lettered"] != int64(1) ||
		s.Attributes["millrace.failure.missing_field"] != int64(1) || s.Attributes["http.response.status_code"] != int64(http.StatusMultiStatus) || s.Error {
		t.Errorf("span %+v", s)
	}
	if spans[1].Attributes["http.response.status_code"] != int64(http.StatusBadRequest) {
		t.Errorf("of a refused request %+v", spans[1])
	}
	for _, e := range []*event.Event{r.raw.events[0], r.dead.events[0]} {
		if want := "00-" + s.Trace + "-" + s.ID + "-01"; event.Attr(e, "traceparent") != want {
			t.Errorf("traceparent %s, want %s", event.Attr(e, "traceparent"), want)
		}
	}
	r.reset()
	begin("always_off")
	r.post("/api/v1/collect", nil, []byte(trip))
	if got := event.Attr(r.raw.events[0], "traceparent"); got != "" {
		t.Errorf("traceparent %s of a span that is not recorded", got)
	}
	if err := r.tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
