// Package ingress publishes events over HTTP: to a Broker's ingress, or whatever else takes CloudEvents in binary mode, one a request.
//
// It guarantees: an event is reported as written only after a whole answer 2xx, which a Broker's ingress gives once the event is durable; an event whose request may have
// arrived is never reported as not taken; answers are read to their end, at most 4 KiB of them, so that connections are used again; redirects are not followed.
//
// It keeps no order: events of one call are sent concurrently. It does not authenticate. It knows nothing of how durable an event is behind the
// ingress, so that [Sink.Durability] says single.
//
// # Decisions
//
// 2026-11-21, which answers are about the event. Context: an ingress answers 4xx for what is wrong with an event, with its own configuration (404 for a Broker that is not
// there yet) and with ours (401), and an event that is given up by mistake needs a replay. Decision: 413 and 431 say that the event is too large; 400, 415 and 422 that it
// was refused, which counts as one of its attempts, so that it is a dead letter only if it fails again and again while others pass; every other status is retried, after
// Retry-After where there is one. Consequences: a wrong address never makes dead letters; an event that an ingress dislikes does after five attempts.
package ingress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/tracecontext"
)

// Options are the settings of a [Sink]; zero values take the defaults.
type Options struct {
	Timeout        time.Duration     // of one Publish; default 3 s
	RequestTimeout time.Duration     // of one request; default Timeout
	Concurrency    int               // requests at one time, and connections kept; default 32
	Transport      http.RoundTripper // default: one of its own, with the proxies that the environment names
	Clock          func() time.Time  // for a Retry-After that is a date; default time.Now
}

// Sink publishes to one address. It is safe for concurrent use.
type Sink struct {
	address string // without password
	target  *url.URL
	o       Options
	client  *http.Client
	slots   chan struct{}
}

// Parse checks an address, http:// or https:// with a host. Its error does not quote it, since it can hold a password.
func Parse(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the address is no URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Fragment != "" {
		return nil, errors.New("the address is not http://host/path or https://host/path")
	}
	return u, nil
}

// New returns a sink for an address that [Parse] takes. It connects when it publishes.
func New(u *url.URL, o Options) *Sink {
	if o.Timeout <= 0 {
		o.Timeout = 3 * time.Second
	}
	if o.RequestTimeout <= 0 {
		o.RequestTimeout = o.Timeout
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 32
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{
			Proxy:       http.ProxyFromEnvironment,
			DialContext: (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			// A connection for each request that may be under way, kept while there is work.
			MaxConnsPerHost: o.Concurrency, MaxIdleConnsPerHost: o.Concurrency, IdleConnTimeout: 90 * time.Second,
			TLSHandshakeTimeout: 5 * time.Second, ForceAttemptHTTP2: true, DisableCompression: true,
		}
	}
	return &Sink{
		address: u.Redacted(), target: u, o: o, slots: make(chan struct{}, o.Concurrency),
		client: &http.Client{Transport: o.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// Publish implements [delivery.Publisher]: it sends each event in a request of its own and waits for all answers, at most for Timeout and ctx. An error wraps
// [delivery.ErrBusy], [delivery.ErrUnconfirmed], [delivery.ErrTooLarge] or [delivery.ErrRefused], and is one of [delivery.Away] where the answer says when to come again.
func (s *Sink) Publish(ctx context.Context, events []*event.Event) []error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	errs := make([]error, len(events))
	var next atomic.Int64
	var senders sync.WaitGroup
	for range min(len(events), s.o.Concurrency) {
		senders.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(events)); i = next.Add(1) - 1 {
				errs[i] = s.one(ctx, events[i])
			}
		})
	}
	senders.Wait()
	return errs
}

// one publishes one event when there is a free slot.
func (s *Sink) one(ctx context.Context, e *event.Event) error {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %d requests to %s are under way: %w", delivery.ErrBusy, s.o.Concurrency, s.address, ctx.Err())
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.RequestTimeout)
	defer cancel()
	var reached atomic.Bool // from then on the request may have been seen
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { reached.Store(true) }})
	req, err := s.request(ctx, e)
	if err != nil {
		return fmt.Errorf("%w: %w", delivery.ErrBusy, err)
	}
	res, err := s.client.Do(req)
	if err != nil {
		kind := delivery.ErrBusy
		if reached.Load() {
			kind = delivery.ErrUnconfirmed
		}
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the address, which can hold a password
		}
		return fmt.Errorf("%w: post to %s: %w", kind, s.address, err)
	}
	defer func() { _ = res.Body.Close() }() // it was read, or its connection is given up
	return s.outcome(res, drain(res.Body))
}

func (s *Sink) request(ctx context.Context, e *event.Event) (*http.Request, error) {
	h := make(http.Header, 16)
	body, err := event.EncodeHTTP(e, h)
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	if hop := tracecontext.Hop(ctx); hop.IsZero() {
		tracecontext.Of(e).SetHeader(h)
	} else {
		hop.SetHeader(h)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("make a request")
	}
	req.Header = h
	return req, nil
}

// maxAnswer is how many bytes of an answer are read so that its connection can be used again.
const maxAnswer = 4 << 10

// drain reads an answer's body to its end. One that is longer than anybody reads costs its connection, nothing else.
func drain(body io.Reader) error {
	_, err := io.CopyN(io.Discard, body, maxAnswer)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// outcome is what an answer says of its event; cut is the error of reading it.
func (s *Sink) outcome(res *http.Response, cut error) error {
	answered := func(kind error) error {
		return fmt.Errorf("%w: %s answered %d", kind, s.address, res.StatusCode)
	}
	var err error
	switch code := res.StatusCode; {
	case code >= 200 && code < 300 && cut != nil:
		return fmt.Errorf("%w: the answer of %s broke off: %w", delivery.ErrUnconfirmed, s.address, cut)
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusRequestEntityTooLarge, code == http.StatusRequestHeaderFieldsTooLarge:
		return answered(delivery.ErrTooLarge)
	case code == http.StatusBadRequest, code == http.StatusUnsupportedMediaType, code == http.StatusUnprocessableEntity:
		return answered(delivery.ErrRefused)
	case code >= 300 && code < 500 && code != http.StatusRequestTimeout && code != http.StatusConflict:
		err = answered(delivery.ErrBusy)
	default:
		err = answered(delivery.ErrUnconfirmed)
	}
	if d := s.retryAfter(res.Header.Get("Retry-After")); d > 0 {
		return delivery.Away(err, d)
	}
	return err
}

// maxRetryAfter bounds how long an answer can hold events back.
const maxRetryAfter = delivery.MaxHold

// retryAfter reads the header: seconds, or a date.
func (s *Sink) retryAfter(value string) time.Duration {
	if n, err := strconv.Atoi(value); err == nil {
		return min(max(0, time.Duration(min(n, int(maxRetryAfter/time.Second)))*time.Second), maxRetryAfter)
	}
	if t, err := http.ParseTime(value); err == nil {
		return min(max(0, t.Sub(s.o.Clock())), maxRetryAfter)
	}
	return 0
}

// Durability says what a nil error of Publish means: that an event may lie on one machine only, as nobody tells more.
func (*Sink) Durability() string { return "single" }

// Ready is nil once something answers at the address that may be an ingress: anything but 404 and the answers of a proxy that reaches nobody.
func (s *Sink) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.RequestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodOptions, s.target.String(), nil)
	if err != nil {
		return fmt.Errorf("look for %s: no request can be made", s.address)
	}
	res, err := s.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("look for %s: %w", s.address, err)
	}
	defer func() { _ = res.Body.Close() }() // it was read, or its connection is given up
	if err := drain(res.Body); err != nil {
		return fmt.Errorf("look for %s: %w", s.address, err)
	}
	switch res.StatusCode {
	case http.StatusNotFound, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fmt.Errorf("look for %s: it answers %d", s.address, res.StatusCode)
	}
	return nil
}

// Close closes connections that are not used. Publish has no buffer to flush.
func (s *Sink) Close(context.Context) error {
	s.client.CloseIdleConnections()
	return nil
}
