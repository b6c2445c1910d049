package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

const (
	requestTimeout = 10 * time.Second // of one request with spans
	warnEvery      = time.Minute      // that spans are lost
	maxAnswer      = 64 << 10         // bytes of an answer that are read so that its connection can be used again
)

// exporter hands spans to an OTLP exporter and takes what goes wrong upon itself: it is counted, and told once in a while. To the SDK it has never failed, which would
// print each error otherwise.
type exporter struct {
	next   sdk.SpanExporter
	logger *slog.Logger
	clock  func() time.Time
	spans  *prometheus.CounterVec

	mu     sync.Mutex
	warned time.Time
	lost   int // spans since warned
}

// ExportSpans implements sdk.SpanExporter.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.next.ExportSpans(ctx, spans)
	if err == nil {
		e.spans.WithLabelValues("taken").Add(float64(len(spans)))
		return nil
	}
	e.spans.WithLabelValues("lost").Add(float64(len(spans)))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost += len(spans)
	if now := e.clock(); now.Sub(e.warned) >= warnEvery {
		e.logger.Warn("spans are lost: their endpoint does not take them; events are not concerned", "spans", e.lost, "error", err)
		e.warned, e.lost = now, 0
	}
	return nil
}

// Shutdown implements sdk.SpanExporter.
func (e *exporter) Shutdown(ctx context.Context) error { return e.next.Shutdown(ctx) }

// client posts spans as OTLP over HTTP has it (https://opentelemetry.io/docs/specs/otlp/#otlphttp), in protobuf. It tries once: spans that are late are worth less than the room they hold.
type client struct {
	address *url.URL
	headers func() (http.Header, error)
	http    *http.Client
	base    context.Context // ends with cancel, and all requests with it
	cancel  context.CancelFunc
}

func newClient(address *url.URL, headers func() (http.Header, error)) *client {
	base, cancel := context.WithCancel(context.Background())
	return &client{
		address: address, headers: headers, base: base, cancel: cancel,
		http: &http.Client{
			Timeout: requestTimeout,
			// A redirect would take the headers, which are secret, elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				Proxy:       http.ProxyFromEnvironment,
				DialContext: (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second,
				MaxConnsPerHost: 1, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
			},
		},
	}
}

// Start implements otlptrace.Client.
func (*client) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *client) Stop(context.Context) error {
	c.cancel()
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. Its errors name no address, which can hold a password, and no header.
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// On the wire an ExportTraceServiceRequest is a TracesData, by the specification; its own package brings all of gRPC.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.base, cancel)() //nolint:contextcheck // it ends with the client, and with whoever asks
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.address.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("make a request")
	}
	if req.Header, err = c.headers(); err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	res, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("send spans: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // it was read, or its connection is given up
	if _, err := io.CopyN(io.Discard, res.Body, maxAnswer); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer to spans: %w", err)
	}
	if res.StatusCode < 200 || res.StatusCode >= 300 {
		return fmt.Errorf("spans are answered %d", res.StatusCode)
	}
	return nil
}
