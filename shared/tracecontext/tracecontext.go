// Package tracecontext carries W3C trace contexts (https://www.w3.org/TR/trace-context/) with events: in CloudEvents' distributed tracing extension, in headers of HTTP requests
// and Kafka records, and through a function in its context. It needs no tracing system, makes no spans and no ids: what came in goes out. Package tracing makes spans.
//
// It guarantees that a [Context] is valid or empty, whatever text it is made of, and that making one fails nothing. It does no input or output.
//
// # Decisions
//
// 2026-11-21, the extension says where an event was created, headers say from where it comes. Context: the CloudEvents extension (traceparent, tracestate) is an attribute, and must not be
// rewritten by those who pass the event on; OpenTelemetry's propagation for messaging writes the headers traceparent and tracestate anew at each hop. Decision: collect gives an event that has
// neither attribute those of its request, and from then on nobody changes them: not enrich, a dead letter or a replay. Beside them each record and request has the plain headers: the
// span that sends, where spans are made and this one is recorded, else the event's own extension. Consequences: a trace's id finds the event at every stage, in search and in the lake, with or without
// a tracing system; any consumer that knows OpenTelemetry goes on with the trace; a lake row keeps the plain header in kafka_headers, as every header that is no attribute.
//
// 2026-11-21, an extension that cannot be read stays. Context: traceparent is a producer's attribute, and libraries send empty, upper-case and all-zero ones. Decision: it is no reason for
// a dead letter; the attribute is kept as it came, and counts as no trace: no trace_id in search, no header, no link. The request's header does not take its place, nor joins an event that has
// only a tracestate: what a producer said is its own. Consequences: a broken tracing library loses traces and no events; the attribute is there to be looked at.
//
// 2026-11-21, sizes. Context: attributes that collect adds come on top of what an event may have. Decision: a tracestate of more than 512 bytes, 32 members or other than printable ASCII is
// left out of headers and not taken from them, as the specification lets us, the trace's id stays. Consequences: a request's header adds at most 600 bytes to each of
// its events, and some 2 KiB to their records, where a state is percent-encoded and stands twice.
package tracecontext

import (
	"context"
	"net/http"
	"strings"

	"millrace/shared/event"
)

// Names of the attributes of CloudEvents' distributed tracing extension, and of the plain headers of requests and records.
const (
	Parent = "traceparent"
	State  = "tracestate"
)

// Context is a place in a trace. The zero value is none.
type Context struct {
	Parent string // the header traceparent: version, trace's id, span's id and flags
	State  string // the header tracestate; may be empty
}

// Bounds of a tracestate.
const (
	maxState   = 512 // bytes
	maxMembers = 32
)

// New returns the context that the two texts are: none where parent is not valid, one without state where only that is not.
func New(parent, state string) Context {
	if !valid(parent) {
		return Context{}
	}
	if state != "" && !validState(state) {
		state = ""
	}
	return Context{parent, state}
}

// Of returns the context in e's extension, where it was created: none where it has none, or one that is not valid.
func Of(e *event.Event) Context {
	parent := event.Attr(e, Parent)
	if parent == "" {
		return Context{}
	}
	return New(parent, event.Attr(e, State))
}

// FromHeader returns the context in a request's header. More than one traceparent is none; several tracestates are one.
func FromHeader(h http.Header) Context {
	parents := h["Traceparent"]
	if len(parents) != 1 {
		return Context{}
	}
	return New(parents[0], strings.Join(h["Tracestate"], ","))
}

// SetHeader writes c into a request's header, or nothing where it is none.
func (c Context) SetHeader(h http.Header) {
	if c.Parent == "" {
		return
	}
	h["Traceparent"] = []string{c.Parent}
	if c.State != "" {
		h["Tracestate"] = []string{c.State}
	}
}

// IsZero reports whether there is none.
func (c Context) IsZero() bool { return c.Parent == "" }

// TraceID returns the trace's id, 32 lower-case hex digits, or "".
func (c Context) TraceID() string {
	if c.Parent == "" {
		return ""
	}
	return c.Parent[3:35]
}

// Span returns the ids of trace and span, as they stand in Parent, which tell contexts apart, or "".
func (c Context) Span() string {
	if c.Parent == "" {
		return ""
	}
	return c.Parent[3:52]
}

// SpanID returns the span's id, 16 lower-case hex digits, or "".
func (c Context) SpanID() string {
	if c.Parent == "" {
		return ""
	}
	return c.Parent[36:52]
}

// Sampled reports whether the trace is recorded, as far as the context says.
func (c Context) Sampled() bool {
	return c.Parent != "" && hexDigit(c.Parent[54])&1 == 1
}

// length of a traceparent of version 00. Later ones may go on behind a further hyphen.
const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

// valid is section 3.2.2 of the specification.
func valid(s string) bool {
	if len(s) < length || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	if len(s) > length && (s[:2] == "00" || s[length] != '-' || !printable(s[length:])) || len(s) > 2*length {
		return false
	}
	_, version := hex(s[:2])
	trace, traceOK := hex(s[3:35])
	span, spanOK := hex(s[36:52])
	_, flags := hex(s[53:55])
	return version && s[:2] != "ff" && traceOK && trace && spanOK && span && flags
}

// hex reports whether s is of lower-case hex digits, and one of them is not 0.
func hex(s string) (some, ok bool) {
	for i := range len(s) {
		if hexDigit(s[i]) > 15 {
			return false, false
		}
		some = some || s[i] != '0'
	}
	return some, true
}

func hexDigit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 16
}

func validState(s string) bool {
	if len(s) > maxState || !printable(s) || strings.Count(s, ",") >= maxMembers {
		return false
	}
	for member := range strings.SplitSeq(s, ",") {
		if member = strings.TrimSpace(member); member != "" && strings.IndexByte(member, '=') <= 0 {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

type (
	hopKey  struct{}
	hopsKey struct{}
)

// WithHop returns a context in which c is what sends: what is published with it says so in plain headers.
func WithHop(ctx context.Context, c Context) context.Context {
	return context.WithValue(ctx, hopKey{}, c)
}

// Hop returns what [WithHop] set, or none.
func Hop(ctx context.Context) Context {
	c, _ := ctx.Value(hopKey{}).(Context)
	return c
}

// WithHops returns a context for a batch, whose event i came with the plain headers hops[i].
func WithHops(ctx context.Context, hops []Context) context.Context {
	return context.WithValue(ctx, hopsKey{}, hops)
}

// Hops returns what [WithHops] set, or nil.
func Hops(ctx context.Context) []Context {
	hops, _ := ctx.Value(hopsKey{}).([]Context)
	return hops
}
