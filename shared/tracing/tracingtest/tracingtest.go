// Package tracingtest receives spans in tests, as a collector of OpenTelemetry's would: OTLP over HTTP, in protobuf.
package tracingtest

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is one that was received; ids are hex.
type Span struct {
	Service, Name     string
	Kind              string // server, producer, consumer
	Trace, ID, Parent string
	Links             []string // trace-span, in order
	Attributes        map[string]any
	Error             bool
}

// Receiver is an endpoint for spans.
type Receiver struct {
	URL string // what OTEL_EXPORTER_OTLP_ENDPOINT is to say

	t       testing.TB
	mu      sync.Mutex
	spans   []Span
	headers []http.Header
	bodies  [][]byte
	came    chan struct{} // closed and made anew with each request
	status  int
	hang    chan struct{} // not nil: requests wait for its end
}

// New starts a receiver, which ends with the test.
func New(t testing.TB) *Receiver {
	r := &Receiver{t: t, came: make(chan struct{}), status: http.StatusOK}
	server := httptest.NewServer(http.HandlerFunc(r.take))
	r.URL = server.URL
	t.Cleanup(func() {
		r.Hang(false)
		server.CloseClientConnections()
		server.Close()
	})
	return r
}

// Answer sets the status of further answers.
func (r *Receiver) Answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

// Hang makes further requests wait, or lets all go on.
func (r *Receiver) Hang(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case on && r.hang == nil:
		r.hang = make(chan struct{})
	case !on && r.hang != nil:
		close(r.hang)
		r.hang = nil
	}
}

func (r *Receiver) take(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // whoever sent it went away
	}
	r.mu.Lock()
	hang, status := r.hang, r.status
	r.headers, r.bodies = append(r.headers, req.Header), append(r.bodies, body)
	if status == http.StatusOK && hang == nil {
		// On the wire it is what the service's definition calls an ExportTraceServiceRequest.
		var data tracepb.TracesData
		if err := proto.Unmarshal(body, &data); err != nil || req.URL.Path != "/v1/traces" || req.Header.Get("Content-Type") != "application/x-protobuf" {
			r.t.Errorf("no spans: %s %s, %v", req.URL.Path, req.Header.Get("Content-Type"), err)
		}
		for _, rs := range data.ResourceSpans {
			service := fmt.Sprint(attributes(rs.GetResource().GetAttributes())["service.name"])
			for _, ss := range rs.GetScopeSpans() {
				for _, s := range ss.GetSpans() {
					r.spans = append(r.spans, span(service, s))
				}
			}
		}
	}
	close(r.came)
	r.came = make(chan struct{})
	r.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-req.Context().Done():
			return
		}
	}
	w.WriteHeader(status)
}

func span(service string, s *tracepb.Span) Span {
	kinds := map[tracepb.Span_SpanKind]string{tracepb.Span_SPAN_KIND_SERVER: "server", tracepb.Span_SPAN_KIND_PRODUCER: "producer", tracepb.Span_SPAN_KIND_CONSUMER: "consumer"}
	out := Span{
		Service: service, Name: s.GetName(), Kind: kinds[s.GetKind()], Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()),
		Parent: hex.EncodeToString(s.GetParentSpanId()), Attributes: attributes(s.GetAttributes()), Error: s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR,
	}
	for _, l := range s.GetLinks() {
		out.Links = append(out.Links, hex.EncodeToString(l.GetTraceId())+"-"+hex.EncodeToString(l.GetSpanId()))
	}
	return out
}

func attributes(list []*commonpb.KeyValue) map[string]any {
	m := map[string]any{}
	for _, kv := range list {
		switch v := kv.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_IntValue:
			m[kv.GetKey()] = v.IntValue
		case *commonpb.AnyValue_StringValue:
			m[kv.GetKey()] = v.StringValue
		default:
			m[kv.GetKey()] = v
		}
	}
	return m
}

// Spans returns what came so far.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.spans)
}

// Requests returns the headers and bodies of all requests so far.
func (r *Receiver) Requests() ([]http.Header, [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.headers), slices.Clone(r.bodies)
}

// Await returns all spans once enough says so, asked whenever a request came. It fails the test after the patience.
func (r *Receiver) Await(patience time.Duration, enough func([]Span) bool) []Span {
	r.t.Helper()
	end := time.After(patience)
	for {
		r.mu.Lock()
		spans, came := slices.Clone(r.spans), r.came
		r.mu.Unlock()
		if enough(spans) {
			return spans
		}
		select {
		case <-came:
		case <-end:
			r.t.Fatalf("after %s these spans came only: %+v", patience, spans)
		}
	}
}

// AwaitRequest returns once a request came that was not there when before was counted, by [Receiver.Requests].
func (r *Receiver) AwaitRequest(before int, patience time.Duration) {
	r.t.Helper()
	end := time.After(patience)
	for {
		r.mu.Lock()
		n, came := len(r.headers), r.came
		r.mu.Unlock()
		if n > before {
			return
		}
		select {
		case <-came:
		case <-end:
			r.t.Fatalf("no request within %s", patience)
		}
	}
}

// Named returns the spans of a service with that name.
func Named(spans []Span, service, name string) []Span {
	var found []Span
	for _, s := range spans {
		if s.Service == service && s.Name == name {
			found = append(found, s)
		}
	}
	return found
}
