// Package tracing makes OpenTelemetry spans of what functions do with events, where an OTLP endpoint is set, and sends them there. Without one a function has no [Tracer], and nothing
// here costs anything; trace contexts travel with events all the same (package tracecontext).
//
// It guarantees that spans never hold events up: they wait in a queue of 512, what is beyond is dropped, an endpoint that is away or hangs costs nothing but spans, a line in the
// log a minute, and two seconds at the end. Spans say how many events there were and what became of them, by outcome and failure code: no ids, no payloads, no attributes, no error texts.
//
// It keeps no span that was not taken, and does not sample by what became of an event: that is the business of an OpenTelemetry collector.
//
//	collect              receive POST /api/v1/collect (server) ─ send events.raw (producer)
//	enrich               process events.raw (consumer) ─ send events.enriched, send events.dead
//	load-search          process events.enriched ─ send events.dead
//
// load-lake reads what thousands of requests wrote, and makes no spans: its log says what a drain did. By Triggers "process" names the function, as no request names its topic.
//
// # Decisions
//
// 2026-11-21, links, and a parent where there is one only. Context: a batch's events come from many traces, and a span has one parent. Decision: as OpenTelemetry's conventions for
// messaging say, the span of a batch is linked to the context in which each event was created and to the span that sent it, each once, at most 128 and only recorded ones; where all events came by one
// way, that is the parent too. With a sampler that goes by the parent, a link counts as one: a root span linked to a recorded one is recorded. Consequences: the events of one request are one trace
// from producer to search while they are in batches of their own; in a mixed batch the backend follows links; of more than 128 requests in a batch the others' traces end at the topic (the event's trace_id
// still finds its document).
//
// 2026-11-21, OTLP over HTTP by a client of ours. Context: OpenTelemetry's own client for HTTP imports gRPC and its gateway for the sake of two messages, which adds megabytes to each
// function's binary and start; its errors go to a global handler, which prints each. Decision: OpenTelemetry's SDK and its translation to OTLP, and 60 lines that post the result: once, in protobuf, uncompressed.
// Consequences: OTEL_EXPORTER_OTLP_PROTOCOL has one value; headers can be in a file that is read anew; a span is tried once, and lost when the endpoint is away at that moment;
// of OTEL_* what [Spans] has is read here, OTEL_BSP_* and OTEL_SPAN_* limits are the SDK's or fixed.
//
// 2026-11-21, who decides what is recorded. Context: collect is public, and a request's traceparent says whether its trace is recorded; OpenTelemetry's default obeys. Decision: the default stays, since a
// producer that traces wants its events' way. Consequences: whoever may send events can have spans made of each, up to what the queue lets through; where producers are not trusted
// with that, OTEL_TRACES_SAMPLER=traceidratio goes by the trace's id alone, the same in each function.
//
// 2026-11-21, an event without a trace. Context: few producers send a trace context. Decision: where spans are made and collect's own is recorded, it becomes the event's
// extension; else the event has none. Consequences: with tracing on, and a sampler of one in a hundred requests, each traced request can be found in search by trace_id.
package tracing
