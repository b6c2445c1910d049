package broker

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	"millrace/knative/local/internal/manifest"
	"millrace/shared/delivery"
	"millrace/shared/event"
)

// Knative's defaults where a delivery does not say.
const (
	defaultTimeout = 10 * time.Minute
	defaultBackoff = time.Second
)

// maxAnswer is how much of an answer is read: an event that could be published has no more.
const maxAnswer = 1 << 20

// maxErrorData is how much of an answer goes into knativeerrordata, in bytes before base64.
const maxErrorData = 1024

// policy is a Delivery with its defaults, without the sink.
type policy struct {
	retry   int
	linear  bool
	delay   time.Duration
	timeout time.Duration
}

func newPolicy(d *manifest.Delivery) policy {
	p := policy{delay: defaultBackoff, timeout: defaultTimeout}
	if d == nil {
		return p
	}
	if d.Retry != nil {
		p.retry = *d.Retry
	}
	p.linear = d.BackoffPolicy == manifest.BackoffLinear
	if d.BackoffDelay != nil {
		p.delay = time.Duration(*d.BackoffDelay)
	}
	if d.Timeout != nil {
		p.timeout = time.Duration(*d.Timeout)
	}
	return p
}

// backoff is the wait before the n-th retry, n from 1: delay x n or delay x 2^n, without jitter.
func (p policy) backoff(n int) time.Duration {
	factor := float64(n)
	if !p.linear {
		factor = math.Pow(2, float64(n))
	}
	if d := float64(p.delay) * factor; d < math.MaxInt64 {
		return time.Duration(d)
	}
	return math.MaxInt64
}

// verdict is what an answer means.
type verdict int

const (
	failed  verdict = iota // to be sent again
	taken                  // done
	refused                // never to be sent again
)

// result is what came of sending an event once.
type result struct {
	verdict verdict
	status  int          // HTTP's; 0 where there was no answer
	data    []byte       // the beginning of an answer that was no success
	header  http.Header  // of the answer
	reply   *event.Event // the event that a success may carry
	err     error        // why it is not taken
}

// judge applies Knative's table to an answer.
func judge(status int) verdict {
	switch {
	case status >= 200 && status < 300:
		return taken
	case status >= 300 && status < 500:
		switch status {
		case http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
			return failed
		}
		return refused
	}
	return failed
}

// target is where events are sent. send blocks until the event is durable there or not, is called concurrently and does not change the event.
type target interface {
	send(ctx context.Context, o outgoing) result
	// address is what knativeerrordest names.
	address() string
}

// httpTarget posts events in binary mode.
type httpTarget struct {
	url       string
	transport http.RoundTripper
	// replies is where events in answers go; nil ignores them.
	replies *topicTarget
}

func (t *httpTarget) address() string { return t.url }

func (t *httpTarget) send(ctx context.Context, o outgoing) result {
	header := http.Header{}
	body, err := o.http(header)
	if err != nil {
		return result{verdict: refused, err: fmt.Errorf("encode event: %w", err)}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return result{verdict: refused, err: fmt.Errorf("address: %w", err)}
	}
	req.Header = header
	resp, err := t.transport.RoundTrip(req)
	if err != nil {
		return result{err: fmt.Errorf("post: %w", err)}
	}
	defer func() { _ = resp.Body.Close() }() // what was read of it counts
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return result{err: fmt.Errorf("read the answer %d: %w", resp.StatusCode, err)}
	}
	r := result{verdict: judge(resp.StatusCode), status: resp.StatusCode, header: resp.Header, data: answer[:min(len(answer), maxErrorData)]}
	switch {
	case r.verdict != taken:
		r.err = fmt.Errorf("answered %d", resp.StatusCode)
		return r
	case isEvent(resp.Header):
		r.reply, err = event.DecodeHTTP(resp.Header, answer)
		if err == nil && len(answer) > maxAnswer {
			err = fmt.Errorf("more than %d bytes", maxAnswer)
		}
		if err != nil {
			r.verdict, r.err = refused, fmt.Errorf("answered %d with an event that cannot be read: %w", resp.StatusCode, err)
			return r
		}
	case len(answer) > 0:
		r.verdict, r.err = refused, fmt.Errorf("answered %d with a body that is no CloudEvent", resp.StatusCode)
		return r
	}
	r.data = nil
	if r.reply != nil && t.replies != nil {
		if err := t.replies.topic.Publish(ctx, []*event.Event{r.reply})[0]; err != nil {
			return result{err: fmt.Errorf("publish the reply: %w", err)}
		}
	}
	return r
}

// isEvent reports whether an answer says that it is a CloudEvent.
func isEvent(h http.Header) bool {
	return h.Get("Ce-Specversion") != "" || strings.HasPrefix(h.Get("Content-Type"), "application/cloudevents")
}

// topicTarget writes events into a Broker's topic.
type topicTarget struct {
	url   string
	topic delivery.Publisher
}

func (t *topicTarget) address() string { return t.url }

func (t *topicTarget) send(ctx context.Context, o outgoing) result {
	if err := t.topic.Publish(ctx, []*event.Event{o.decoded()})[0]; err != nil {
		return result{err: err}
	}
	return result{verdict: taken}
}

// deliver sends until the event is taken, refused or given up after all retries. stopped says that it ended before, since stopping or ctx did: then
// the event has to come again.
func (p policy) deliver(ctx context.Context, stopping <-chan struct{}, to target, o outgoing, retried func(n int, wait time.Duration, r result)) (r result, stopped bool) {
	for n := 1; ; n++ {
		attempt, cancel := context.WithTimeout(ctx, p.timeout)
		r = to.send(attempt, o)
		cancel()
		switch {
		case r.verdict != failed:
			return r, false
		case ctx.Err() != nil:
			return r, true
		case n > p.retry:
			return r, false
		}
		wait := p.backoff(n)
		retried(n, wait, r)
		timer := time.NewTimer(wait)
		select {
		case <-stopping:
			timer.Stop()
			return r, true
		case <-timer.C:
		}
	}
}

// deadLetter writes onto e what Knative writes onto an event that goes to a dead letter sink.
func deadLetter(e *event.Event, destination string, r result) {
	for name, values := range r.header {
		extension, ok := strings.CutPrefix(strings.ToLower(name), "kne-")
		if ok && event.ValidExtensionName(extension) && !event.IsContext(extension) && len(values) > 0 {
			e.SetExtension(extension, event.DecodeHeader(values[0]))
		}
	}
	e.SetExtension(event.KnativeErrorDst, destination)
	if r.status != 0 {
		e.SetExtension(event.KnativeErrCode, int32(r.status))
	}
	if len(r.data) > 0 {
		e.SetExtension(event.KnativeErrData, base64.StdEncoding.EncodeToString(r.data))
	}
}
