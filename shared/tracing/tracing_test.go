package tracing_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/tracecontext"
	"millrace/shared/tracing"
	"millrace/shared/tracing/tracingtest"
)

const traceID = "0af7651916cd43dd8448eb211c80319c"

// parent is the traceparent of span n in the trace.
func parent(n int, flags string) string { return fmt.Sprintf("00-%s-%016x-%s", traceID, n, flags) }

func newEvent(t testing.TB, id, traceparent string) *event.Event {
	t.Helper()
	text := `{"specversion":"1.0","id":"` + id + `","source":"/secret-source","type":"T","data":"secret-data"`
	if traceparent != "" {
		text += `,"traceparent":"` + traceparent + `"`
	}
	e, err := event.DecodeStructured([]byte(text + "}"))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func newTracer(t testing.TB, s tracing.Spans) *tracing.Tracer {
	t.Helper()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	tracer := tracing.New(s, "enrich", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if tracer == nil {
		t.Fatal("no tracer")
	}
	return tracer
}

// done is a handler that has done everything, having published it by the tracer.
func done(t testing.TB, tracer *tracing.Tracer, hop *tracecontext.Context) delivery.Handler {
	return delivery.HandlerFunc(func(ctx context.Context, events []*event.Event) delivery.Outcomes {
		ctx, send := tracer.Send(ctx, tracing.Place{System: "kafka", Destination: "events.enriched"}, events)
		*hop = tracecontext.Hop(ctx)
		send.Sent(make([]error, len(events)), len(events))
		o := delivery.NewOutcomes(len(events))
		for i := range o {
			o.Done(i)
		}
		return o
	})
}

// Guards the shape of a trace, as a receiver of OTLP sees it: the request, what was sent of it, the batch that took it up again, each under the other while there is one way only; and that
// spans hold numbers and codes alone.
func TestOneWay(t *testing.T) {
	r := tracingtest.New(t)
	tracer := newTracer(t, tracing.Spans{Endpoint: r.URL, Resource: "deployment.environment=test%20bed"})
	ctx, request := tracer.Receive(t.Context(), "POST", "/api/v1/collect", tracecontext.New(parent(1, "01"), "a=1"))
	if got := request.Context(); got.TraceID() != traceID || got.State != "a=1" || !got.Sampled() {
		t.Errorf("the request's context is %+v", got)
	}
	events := []*event.Event{newEvent(t, "1", parent(1, "01")), newEvent(t, "2", parent(1, "01"))}
	sendCtx, send := tracer.Send(ctx, tracing.Place{System: "kafka", Destination: "events.raw"}, events)
	hop := tracecontext.Hop(sendCtx)
	send.Sent([]error{nil, errors.New("secret-error")}, 2)
	request.End(tracing.Summary{Events: 2, Outcomes: map[string]int{"accepted": 1, "unconfirmed": 1}, Codes: map[event.Code]int{event.CodeNotJSON: 1}, Status: 503, Failed: true})

	var next tracecontext.Context
	h := tracer.Handler(tracing.Failures(done(t, tracer, &next)), tracing.Place{System: "kafka", Destination: "events.raw"})
	h.Handle(tracecontext.WithHops(t.Context(), []tracecontext.Context{hop, hop}), events)
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := r.Spans()
	one := func(name string) tracingtest.Span {
		t.Helper()
		found := tracingtest.Named(spans, "enrich", name)
		if len(found) != 1 {
			t.Fatalf("%d spans %q among %+v", len(found), name, spans)
		}
		return found[0]
	}
	receive, sent, process, again := one("receive /api/v1/collect"), one("send events.raw"), one("process events.raw"), one("send events.enriched")
	for _, s := range spans {
		if s.Trace != traceID {
			t.Errorf("%s is of trace %s", s.Name, s.Trace)
		}
	}
	if receive.Parent != "0000000000000001" || sent.Parent != receive.ID || process.Parent != sent.ID || again.Parent != process.ID {
		t.Errorf("parents: %+v", spans)
	}
	if hop.SpanID() != sent.ID || next.SpanID() != again.ID {
		t.Errorf("records name %s and %s", hop.SpanID(), next.SpanID())
	}
	if want := []string{traceID + "-" + sent.ID, traceID + "-0000000000000001"}; !slices.Equal(process.Links, want) {
		t.Errorf("links %v, want %v", process.Links, want)
	}
	if receive.Kind+sent.Kind+process.Kind != "serverproducerconsumer" || !receive.Error || !sent.Error || process.Error {
		t.Errorf("kinds or errors: %+v", spans)
	}
	for _, want := range []struct {
		span tracingtest.Span
		name string
		want any
	}{
		{receive, "messaging.batch.message_count", int64(2)},
		{receive, "http.response.status_code", int64(503)},
		{receive, "millrace.failure.not_json", int64(1)},
		{sent, "millrace.outcome.not_written", int64(1)},
		{sent, "messaging.system", "kafka"},
		{sent, "messaging.operation.type", "send"},
		{process, "messaging.destination.name", "events.raw"},
		{process, "millrace.outcome.done", int64(2)},
	} {
		if got := want.span.Attributes[want.name]; got != want.want {
			t.Errorf("%s: %s is %v", want.span.Name, want.name, got)
		}
	}
	_, bodies := r.Requests()
	if all := bytes.Join(bodies, nil); bytes.Contains(all, []byte("secret")) || !bytes.Contains(all, []byte("test bed")) {
		t.Error("spans hold values of an event, or lack the resource's attributes")
	}
}

// Guards a batch of many traces: each is linked once, unsampled ones and ones without a trace are not, there are 128 at most, and nobody is the parent.
func TestLinks(t *testing.T) {
	r := tracingtest.New(t)
	tracer := newTracer(t, tracing.Spans{Endpoint: r.URL, Sampler: "parentbased_traceidratio", SamplerArg: "0"})
	var hop tracecontext.Context
	h := tracer.Handler(done(t, tracer, &hop), tracing.Place{System: "http", Destination: "enrich"})
	var events []*event.Event
	for n := range 200 {
		events = append(events, newEvent(t, fmt.Sprint(n), parent(n+1, "01")))
	}
	h.Handle(t.Context(), events)
	h.Handle(t.Context(), []*event.Event{newEvent(t, "a", parent(1, "01")), newEvent(t, "b", parent(2, "00")), newEvent(t, "c", ""), newEvent(t, "d", "what"), newEvent(t, "e", parent(1, "01"))})
	if hop.IsZero() {
		t.Error("what follows on a recorded batch is not linked to it")
	}
	// The sampler takes none by itself: a batch in which nothing is recorded is not recorded, and says nothing to those behind it.
	h.Handle(t.Context(), []*event.Event{newEvent(t, "f", parent(3, "00")), newEvent(t, "g", "")})
	if !hop.IsZero() {
		t.Errorf("an unrecorded batch names itself: %+v", hop)
	}
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := tracingtest.Named(r.Spans(), "enrich", "process enrich")
	if len(spans) != 2 {
		t.Fatalf("%d spans of batches", len(spans))
	}
	if n := len(spans[0].Links); n != 128 || spans[0].Parent != "" || spans[0].Trace == traceID {
		t.Errorf("%d links, parent %q", n, spans[0].Parent)
	}
	if want := []string{traceID + "-0000000000000001"}; !slices.Equal(spans[1].Links, want) {
		t.Errorf("links %v", spans[1].Links)
	}
}

// Guards the reasons of dead letters, which whoever wraps the handler makes done of.
func TestFailuresAreCounted(t *testing.T) {
	r := tracingtest.New(t)
	tracer := newTracer(t, tracing.Spans{TracesEndpoint: r.URL + "/v1/traces", Service: "mine"})
	inner := tracing.Failures(delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
		o := delivery.NewOutcomes(len(events))
		o.Dead(0, event.CodeNotJSON, errors.New("x"))
		o.Retry(1, errors.New("x"))
		return o
	}))
	outer := delivery.HandlerFunc(func(ctx context.Context, events []*event.Event) delivery.Outcomes {
		o := inner.Handle(ctx, events)
		o.Done(0)
		return o
	})
	if got := tracer.Handler(outer, tracing.Place{}).Handle(t.Context(), []*event.Event{newEvent(t, "1", ""), newEvent(t, "2", "")}); got.Of(0).Status != delivery.Done || got.Of(1).Status != delivery.Retry {
		t.Errorf("outcomes changed: %v", got)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		tracer.Handler(delivery.HandlerFunc(func(context.Context, []*event.Event) delivery.Outcomes { panic("x") }), tracing.Place{Destination: "panics"}).Handle(t.Context(), []*event.Event{newEvent(t, "1", "")})
	}()
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := tracingtest.Named(r.Spans(), "mine", "process ")
	if len(spans) != 1 || spans[0].Attributes["millrace.failure.not_json"] != int64(1) || spans[0].Attributes["millrace.outcome.retry"] != int64(1) || !spans[0].Error {
		t.Errorf("spans %+v", spans)
	}
	if panicked := tracingtest.Named(r.Spans(), "mine", "process panics"); len(panicked) != 1 || !panicked[0].Error {
		t.Errorf("of the panic %+v", panicked)
	}
}

// Guards the pipeline against an endpoint that hangs: more spans than the queue holds cost no handler anything, the end waits no longer than it is let, fails nothing, and leaves no request behind.
func TestEndpointHangs(t *testing.T) {
	r := tracingtest.New(t)
	r.Hang(true)
	tracer := newTracer(t, tracing.Spans{Endpoint: r.URL})
	var hop tracecontext.Context
	h := tracer.Handler(done(t, tracer, &hop), tracing.Place{Destination: "events.raw"})
	for range 2000 {
		if o := h.Handle(t.Context(), []*event.Event{newEvent(t, "1", "")}); o.Of(0).Status != delivery.Done {
			t.Fatal("not done")
		}
	}
	r.AwaitRequest(0, 20*time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := tracer.Close(ctx); err != nil {
		t.Error(err)
	}
	if len(r.Spans()) != 0 {
		t.Error("spans came out of a receiver that hangs")
	}
}

// Guards what is asked for: all that cannot work is told before the start, nothing at all where no spans are wanted, and no text has a secret in it.
func TestValidate(t *testing.T) {
	f := func(s tracing.Spans, want ...string) {
		t.Helper()
		err := s.Validate()
		if len(want) == 0 && err != nil {
			t.Errorf("%+v: %v", s, err)
		}
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%+v: %v lacks %s", s, err, w)
			}
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret: %v", err)
		}
	}
	f(tracing.Spans{Sampler: "what", Protocol: "grpc"})
	f(tracing.Spans{Endpoint: "what", Disabled: true})
	f(tracing.Spans{Endpoint: "http://u:hunter2@h:4318", Headers: "authorization=Basic%20hunter2, b=2", Protocol: "http/protobuf"})
	f(tracing.Spans{Endpoint: "u:hunter2@h:4317", Protocol: "grpc"}, "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL")
	f(tracing.Spans{TracesEndpoint: "ftp://h"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	f(tracing.Spans{Endpoint: "http://h", Headers: "hunter2", HeadersFile: "x"}, "OTEL_EXPORTER_OTLP_HEADERS: number 1", "both set")
	f(tracing.Spans{Endpoint: "http://h", Headers: "a=1,b=hunter2%0a"}, "number 2")
	f(tracing.Spans{Endpoint: "http://h", Sampler: "jaeger_remote", Resource: "a"}, "OTEL_TRACES_SAMPLER", "OTEL_RESOURCE_ATTRIBUTES")
	f(tracing.Spans{Endpoint: "http://h", Sampler: "traceidratio", SamplerArg: "2"}, "OTEL_TRACES_SAMPLER_ARG")
	for _, sampler := range []string{"", "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"} {
		f(tracing.Spans{Endpoint: "http://h", Sampler: sampler, SamplerArg: "0.5"})
	}
	if tracing.New(tracing.Spans{}, "x", slog.Default(), prometheus.NewRegistry()) != nil {
		t.Error("a tracer, and no endpoint")
	}
	if s := (tracing.Spans{Headers: "hunter2"}); strings.Contains(fmt.Sprintf("%v %+v %#v %q", s, s, s, s.Headers), "hunter2") {
		t.Error("a secret is printed")
	}
	var none tracing.Span
	none.End(tracing.Summary{}) // must not panic
	if !none.Context().IsZero() {
		t.Error("no span has a context")
	}
}

// Guards the headers, which are secret: they reach the endpoint, those of a file as it is at each request, never the log; and what is lost is told once, not with each request.
func TestHeadersAndTheLog(t *testing.T) {
	r := tracingtest.New(t)
	r.Answer(http.StatusUnauthorized)
	file := filepath.Join(t.TempDir(), "headers")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("x-key=hunter2\n")
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	tracer := tracing.New(tracing.Spans{Endpoint: r.URL, HeadersFile: file}, "enrich", slog.New(slog.NewTextHandler(&log, nil)), registry)
	send := func() {
		t.Helper()
		before, _ := r.Requests()
		_, span := tracer.Receive(t.Context(), "POST", "/", tracecontext.Context{})
		span.End(tracing.Summary{})
		r.AwaitRequest(len(before), 20*time.Second)
	}
	send()
	write("x-key=changed%20too,y=2")
	send()
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	headers, _ := r.Requests()
	if a, b := headers[0].Get("X-Key"), headers[1].Get("X-Key"); a != "hunter2" || b != "changed too" || headers[1].Get("Y") != "2" {
		t.Errorf("headers %v", headers)
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "401") || strings.Contains(text, "hunter2") {
		t.Errorf("log: %s", text)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 1 || families[0].GetName() != "millrace_spans_total" || families[0].GetMetric()[0].GetCounter().GetValue() != 2 {
		t.Errorf("metrics %v", families)
	}
}
