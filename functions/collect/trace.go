package main

import (
	"context"
	"net/http"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"millrace/shared/event"
	"millrace/shared/tracecontext"
	"millrace/shared/tracing"
)

// receive begins the span of a request, where spans are made. from is the trace context that events of the request have which bring none.
func (c *collector) receive(ctx context.Context, r *http.Request) (_ context.Context, span tracing.Span, from tracecontext.Context) {
	from = tracecontext.FromHeader(r.Header)
	if c.tracer == nil {
		return ctx, span, from
	}
	ctx, span = c.tracer.Receive(ctx, r.Method, r.URL.Path, from) // the paths are routes
	if from.IsZero() {
		from = span.Context()
	}
	return ctx, span, from
}

// inherit gives events their request's trace context as the extension that says where they were created, those that have one of their own, valid or not, excepted.
func inherit(candidates []candidate, from tracecontext.Context) {
	if from.IsZero() {
		return
	}
	for i := range candidates {
		v1, ok := candidates[i].event.Context.(*ce.EventContextV1)
		if !ok || v1.Extensions == nil {
			continue // not after admit
		}
		x := v1.Extensions
		if _, own := x[tracecontext.Parent]; own {
			continue
		}
		if _, own := x[tracecontext.State]; own {
			continue
		}
		x[tracecontext.Parent] = from.Parent
		if from.State != "" {
			x[tracecontext.State] = from.State
		}
	}
}

// summary is what a request's span says.
func summary(candidates []candidate, code int) tracing.Summary {
	s := tracing.Summary{Events: len(candidates), Outcomes: map[string]int{}, Codes: map[event.Code]int{}, Status: code, Failed: code >= http.StatusInternalServerError}
	for i := range candidates {
		s.Outcomes[string(candidates[i].status())]++
		if candidates[i].code != "" {
			s.Codes[candidates[i].code]++
		}
	}
	return s
}
