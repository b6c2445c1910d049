package tracecontext

import (
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"millrace/shared/event"
)

const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// Guards what counts as a trace context against OpenTelemetry's own reader, on what libraries send: what one takes and the other does not would break traces in two.
func FuzzParent(f *testing.F) {
	for _, s := range []string{
		good, good[:53] + "00", "", "00-0", strings.ToUpper(good), "ff" + good[2:], "cc" + good[2:], "cc" + good[2:] + "-what", "cc" + good[2:] + ".what", good + "-what", "0x" + good[2:],
		"00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", good[:53] + "ff", " " + good, good[:35] + "_" + good[36:], good[:53] + "0g",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := New(s, "")
		want := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{Parent: s}))
		if c.IsZero() {
			// Flags beyond the two that are known, and very long or unprintable rests of later versions: the specification leaves them to the reader.
			if want.IsValid() && len(s) <= 2*length && printable(s) {
				t.Errorf("%q is no context, and OpenTelemetry reads %s", s, want.TraceID())
			}
			return
		}
		if !want.IsValid() {
			if s[:2] == "00" && s[53] != '0' || s[:2] != "00" {
				return
			}
			t.Errorf("%q is a context, and OpenTelemetry says no", s)
			return
		}
		if c.TraceID() != want.TraceID().String() || c.SpanID() != want.SpanID().String() || c.Sampled() != want.IsSampled() {
			t.Errorf("%q: %s %s %t, OpenTelemetry %s %s %t", s, c.TraceID(), c.SpanID(), c.Sampled(), want.TraceID(), want.SpanID(), want.IsSampled())
		}
	})
}

// Guards the state's bounds: it is a producer's text, goes into every event of a request, and must not cost the trace.
func TestState(t *testing.T) {
	f := func(state string, want bool) {
		t.Helper()
		c := New(good, state)
		if c.Parent != good || (c.State == state) != want || !want && c.State != "" {
			t.Errorf("state %.60q: %+v", state, c)
		}
	}
	f("a=1,b@c=2", true)
	f("a=1, ,b=2", true)
	f(strings.Repeat("a", 600)+"=1", false)
	f(strings.Repeat("a=1,", 32)+"a=1", false)
	f("a", false)
	f("=1", false)
	f("a=\x01", false)
	f("a=ü", false)
	if c := New("what", "a=1"); !c.IsZero() || c.State != "" || c.TraceID() != "" || c.Sampled() {
		t.Errorf("a state without a parent: %+v", c)
	}
}

// Guards the ways in and out: an event's attributes, a request's header with its state in several lines, and what a context carries for those who publish.
func TestCarriers(t *testing.T) {
	h := http.Header{"Traceparent": {good}, "Tracestate": {"a=1", "b=2"}}
	c := FromHeader(h)
	if c != (Context{good, "a=1,b=2"}) {
		t.Fatalf("read %+v", c)
	}
	if again := (http.Header{}); true {
		c.SetHeader(again)
		if FromHeader(again) != c {
			t.Errorf("written %v", again)
		}
	}
	empty := http.Header{}
	Context{}.SetHeader(empty)
	if len(empty) != 0 || !FromHeader(http.Header{"Traceparent": {good, good}}).IsZero() {
		t.Error("no context was written, or two were read")
	}
	e, err := event.DecodeStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"T","traceparent":"` + good + `","tracestate":"a=1"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := Of(e); got != (Context{good, "a=1"}) {
		t.Errorf("of the event %+v", got)
	}
	ctx := WithHops(WithHop(t.Context(), c), []Context{c})
	if Hop(ctx) != c || len(Hops(ctx)) != 1 || !Hop(t.Context()).IsZero() || Hops(t.Context()) != nil {
		t.Error("the context lost it")
	}
}
