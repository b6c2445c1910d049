package tracing

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/telemetry"
	"millrace/shared/tracecontext"
)

const (
	queue    = 512             // spans that wait; further ones are dropped
	together = 128             // spans in one request
	linger   = time.Second     // how long a span waits for others
	flush    = 2 * time.Second // what the end may cost
	maxLinks = 128             // of one span
)

// Tracer makes spans. It is safe for concurrent use.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	client   *client
	logger   *slog.Logger
}

// New returns the tracer of a function, or nil where s does not ask for spans or is not valid. It connects when there are spans.
func New(s Spans, function string, logger *slog.Logger, r prometheus.Registerer) *Tracer {
	address, err := s.address()
	sampler, err2 := s.sampler()
	if !s.On() || err != nil || err2 != nil { // Validate told
		return nil
	}
	c := newClient(address, s.headers)
	e := &exporter{
		next: otlptrace.NewUnstarted(c), logger: logger, clock: time.Now,
		spans: telemetry.Counter(r, "millrace_spans_total", "Spans sent, by what became of them (taken, lost); not those dropped since too many waited.", "outcome"),
	}
	return newTracer(s, function, sampler, e, c, logger)
}

func newTracer(s Spans, function string, sampler sdk.Sampler, e sdk.SpanExporter, c *client, logger *slog.Logger) *Tracer {
	provider := sdk.NewTracerProvider(
		sdk.WithSampler(sampler), sdk.WithResource(s.resource(function)),
		sdk.WithBatcher(e, sdk.WithMaxQueueSize(queue), sdk.WithMaxExportBatchSize(together), sdk.WithBatchTimeout(linger), sdk.WithExportTimeout(requestTimeout)),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer("millrace"), client: c, logger: logger}
}

func (s Spans) resource(function string) *resource.Resource {
	service := s.Service
	list, _ := pairs(s.Resource, false) // Validate told
	var set []attribute.KeyValue
	for _, p := range list {
		if p[0] == "service.name" && service == "" {
			service = p[1]
		}
		set = append(set, attribute.String(p[0], p[1]))
	}
	if service == "" {
		service = function
	}
	set = append(set, attribute.String("service.name", service), attribute.String("service.namespace", "millrace"), attribute.String("service.version", telemetry.Version()))
	if host, err := os.Hostname(); err == nil {
		set = append(set, attribute.String("service.instance.id", host))
	}
	return resource.NewSchemaless(set...)
}

// Close sends what waits, within two seconds and ctx. It never fails: what cannot be sent is lost, and said.
func (t *Tracer) Close(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, flush)
	defer cancel()
	defer context.AfterFunc(limited, t.client.cancel)() // the SDK's own goroutine ends with its request
	if err := t.provider.Shutdown(limited); err != nil {
		t.logger.Warn("spans are lost: they could not be sent before the end", "error", err)
	}
	return nil
}

// Span is one under way. The zero value does nothing, so that who makes none need not ask.
type Span struct{ span trace.Span }

// Context returns the span's own context where it is recorded, else none.
func (s Span) Context() tracecontext.Context {
	if s.span == nil {
		return tracecontext.Context{}
	}
	c := s.span.SpanContext()
	if !c.IsValid() || !c.IsSampled() {
		return tracecontext.Context{}
	}
	return tracecontext.New("00-"+c.TraceID().String()+"-"+c.SpanID().String()+"-"+c.TraceFlags().String(), c.TraceState().String())
}

// Summary is what a span says of its events: numbers and codes, never a value.
type Summary struct {
	Events   int            // -1: not known
	Outcomes map[string]int // by name
	Codes    map[event.Code]int
	Status   int  // of HTTP; 0 for none
	Failed   bool // something of ours went wrong: the span is an error
}

// End ends the span.
func (s Span) End(sum Summary) {
	if s.span == nil {
		return
	}
	if s.span.IsRecording() {
		s.describe(sum)
	}
	s.span.End()
}

func (s Span) describe(sum Summary) {
	set := make([]attribute.KeyValue, 0, 2+len(sum.Outcomes)+len(sum.Codes))
	if sum.Events >= 0 {
		set = append(set, attribute.Int("messaging.batch.message_count", sum.Events))
	}
	for name, n := range sum.Outcomes {
		set = append(set, attribute.Int("millrace.outcome."+name, n))
	}
	for code, n := range sum.Codes {
		set = append(set, attribute.Int("millrace.failure."+string(code), n))
	}
	if sum.Status > 0 {
		set = append(set, attribute.Int("http.response.status_code", sum.Status))
	}
	s.span.SetAttributes(set...)
	if sum.Failed {
		s.span.SetStatus(codes.Error, "")
	}
}

// Receive begins the server span of a request for route ("POST /path"), which came with from. The context returned carries it to [Tracer.Send].
func (t *Tracer) Receive(ctx context.Context, method, route string, from tracecontext.Context) (context.Context, Span) {
	if parent := spanContext(from); parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	ctx, span := t.tracer.Start(ctx, "receive "+route, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", method), attribute.String("http.route", route),
	))
	return ctx, Span{span}
}

// Place is where events come from or go to, in the words of OpenTelemetry's conventions for messaging.
type Place struct {
	System      string // kafka or http
	Destination string // the topic's name, or the address' host and path
}

func (p Place) attributes(operation, kind string) trace.SpanStartOption {
	return trace.WithAttributes(
		attribute.String("messaging.system", p.System), attribute.String("messaging.destination.name", p.Destination),
		attribute.String("messaging.operation.name", operation), attribute.String("messaging.operation.type", kind),
	)
}

// Send begins the span of one publish of events, linked to where they were created. What is published with the context returned names it in plain headers, where
// it is recorded.
func (t *Tracer) Send(ctx context.Context, to Place, events []*event.Event) (context.Context, Span) {
	var links links
	if current := spanContextOf(ctx); current.IsValid() {
		links.leave(current)
	}
	for _, e := range events {
		links.add(tracecontext.Of(e))
	}
	ctx, span := t.tracer.Start(ctx, "send "+to.Destination, trace.WithSpanKind(trace.SpanKindProducer), trace.WithLinks(links.list...), to.attributes("send", "send"))
	s := Span{span}
	if c := s.Context(); !c.IsZero() {
		ctx = tracecontext.WithHop(ctx, c)
	}
	return ctx, s
}

// Sent ends a span of [Tracer.Send].
func (s Span) Sent(errs []error, events int) {
	sum := Summary{Events: events, Outcomes: map[string]int{}}
	for i := range events {
		outcome := "written"
		if i >= len(errs) || errs[i] != nil {
			outcome, sum.Failed = "not_written", true
		}
		sum.Outcomes[outcome]++
	}
	s.End(sum)
}

// Handler returns a handler with a span around each batch of next. It is linked to where the events were created (their extension) and to what sent them (their plain headers,
// [tracecontext.Hops]), each once, 128 at most, and of those only what is recorded. Where all events come by one way, that is the span's parent as well.
func (t *Tracer) Handler(next delivery.Handler, from Place) delivery.Handler {
	return delivery.HandlerFunc(func(ctx context.Context, events []*event.Event) delivery.Outcomes {
		hops := tracecontext.Hops(ctx)
		var links links
		var way tracecontext.Context
		one := true
		for i, e := range events {
			created := tracecontext.Of(e)
			hop := created
			if i < len(hops) && !hops[i].IsZero() {
				hop = hops[i]
				links.add(hop)
			}
			links.add(created)
			if i == 0 {
				way = hop
			}
			one = one && way.Span() == hop.Span()
		}
		if parent := spanContext(way); one && parent.IsValid() {
			ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
		}
		ctx, span := t.tracer.Start(ctx, "process "+from.Destination, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links.list...), from.attributes("process", "process"))
		done := false
		defer func() {
			if !done { // a panic, which the intake makes retries of
				Span{span}.End(Summary{Events: len(events), Failed: true})
			}
		}()
		out := next.Handle(ctx, events)
		done = true
		sum := Summary{Events: len(events), Outcomes: map[string]int{}}
		for i := range events {
			s := out.Of(i).Status
			sum.Outcomes[s.String()]++
			sum.Failed = sum.Failed || s != delivery.Done
		}
		Span{span}.End(sum)
		return out
	})
}

// Failures returns a handler that tells the span around it ([Tracer.Handler]) why events are given up. It belongs inside of what makes dead letters of them.
func Failures(next delivery.Handler) delivery.Handler {
	return delivery.HandlerFunc(func(ctx context.Context, events []*event.Event) delivery.Outcomes {
		out := next.Handle(ctx, events)
		span := trace.SpanFromContext(ctx)
		if !span.IsRecording() {
			return out
		}
		failures := map[event.Code]int{}
		for i := range events {
			if o := out.Of(i); o.Status == delivery.Dead {
				failures[o.Code]++
			}
		}
		Span{span}.describe(Summary{Events: -1, Codes: failures})
		return out
	})
}

// links are those of one span.
type links struct {
	list []trace.Link
	seen map[string]struct{}
	last string
}

// leave leaves c out.
func (l *links) leave(c trace.SpanContext) {
	l.seen = map[string]struct{}{c.TraceID().String() + "-" + c.SpanID().String(): {}}
}

// add links to c once, where it is recorded and there is room.
func (l *links) add(c tracecontext.Context) {
	name := c.Span()
	if name == l.last || len(l.list) >= maxLinks || !c.Sampled() { // as a rule an event comes with its neighbours
		return
	}
	if _, ok := l.seen[name]; ok {
		return
	}
	s := spanContext(c)
	if !s.IsValid() {
		return
	}
	if l.seen == nil {
		l.seen = map[string]struct{}{}
	}
	l.seen[name], l.last = struct{}{}, name
	l.list = append(l.list, trace.Link{SpanContext: s})
}

// spanContext is c in OpenTelemetry's form.
func spanContext(c tracecontext.Context) trace.SpanContext {
	if c.IsZero() {
		return trace.SpanContext{}
	}
	id, err := trace.TraceIDFromHex(c.TraceID())
	span, err2 := trace.SpanIDFromHex(c.SpanID())
	if err != nil || err2 != nil {
		return trace.SpanContext{} // not after tracecontext.New
	}
	var flags trace.TraceFlags
	state, err := trace.ParseTraceState(c.State)
	if err != nil {
		state = trace.TraceState{} // the trace goes on without it
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: flags.WithSampled(c.Sampled()), TraceState: state, Remote: true})
}

func spanContextOf(ctx context.Context) trace.SpanContext { return trace.SpanContextFromContext(ctx) }
