package broker

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"millrace/knative/local/internal/manifest"
	"millrace/shared/event"
)

// handlerTransport answers requests by a handler, without a network.
type handlerTransport http.HandlerFunc

func (h handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

type publisherFunc func(*event.Event) error

func (f publisherFunc) Publish(_ context.Context, events []*event.Event) []error {
	errs := make([]error, len(events))
	for i, e := range events {
		errs[i] = f(e)
	}
	return errs
}

func testEvent() *event.Event {
	e := ce.New()
	e.SetID("1")
	e.SetSource("/s")
	e.SetType("T")
	e.DataEncoded = []byte(`{"a": 1}`)
	return &e
}

// Guards Knative's table of answers, which decides between success, retry and the dead letter sink: a wrong row loses events, or retries for hours what can never pass.
func TestAnswers(t *testing.T) {
	ceHeader := map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "r", "Ce-Source": "/r", "Ce-Type": "R"}
	for _, c := range []struct {
		status int
		header map[string]string
		body   string
		want   verdict
		reply  bool
	}{
		{status: 200, want: taken},
		{status: 202, want: taken},
		{status: 204, want: taken},
		{status: 200, body: "ok", want: refused},
		{status: 202, body: "{}", want: refused},
		{status: 200, body: " ", want: refused},
		{status: 200, header: ceHeader, body: "{}", want: taken, reply: true},
		{status: 202, header: ceHeader, want: taken, reply: true},
		{status: 200, header: map[string]string{"Content-Type": "application/cloudevents+json"}, body: `{"specversion":"1.0","id":"r","source":"/r","type":"R"}`, want: taken, reply: true},
		{status: 200, header: map[string]string{"Content-Type": "application/cloudevents+json"}, body: `{"id":"r"}`, want: refused},
		{status: 200, header: map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "r"}, body: "{}", want: refused},
		{status: 200, header: ceHeader, body: strings.Repeat("x", maxAnswer+1), want: refused},
		{status: 301, want: refused},
		{status: 307, want: refused},
		{status: 400, want: refused},
		{status: 401, want: refused},
		{status: 403, want: refused},
		{status: 413, want: refused},
		{status: 415, want: refused},
		{status: 422, want: refused},
		{status: 410, want: refused},
		{status: 404, want: failed},
		{status: 408, want: failed},
		{status: 409, want: failed},
		{status: 429, want: failed},
		{status: 500, want: failed},
		{status: 502, want: failed},
		{status: 503, want: failed},
		{status: 504, want: failed},
	} {
		t.Run(fmt.Sprint(c.status, c.header, len(c.body)), func(t *testing.T) {
			var replied *event.Event
			to := &httpTarget{
				url: "http://f.n.svc.cluster.local", replies: &topicTarget{topic: publisherFunc(func(e *event.Event) error { replied = e; return nil })},
				transport: handlerTransport(func(w http.ResponseWriter, _ *http.Request) {
					for name, value := range c.header {
						w.Header().Set(name, value)
					}
					w.WriteHeader(c.status)
					_, _ = io.WriteString(w, c.body)
				}),
			}
			r := to.send(t.Context(), outgoing{event: testEvent()})
			if r.verdict != c.want || (r.err == nil) != (c.want == taken) || r.status != c.status {
				t.Errorf("got %+v", r)
			}
			if (replied != nil) != c.reply || (c.reply && replied.ID() != "r") {
				t.Errorf("reply %v", replied)
			}
		})
	}
}

// Guards the failures that are no answers: all of them are retried, also a reply that Kafka does not take, for the subscriber's work would be lost.
func TestNoAnswer(t *testing.T) {
	reply := handlerTransport(func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "r", "Ce-Source": "/r", "Ce-Type": "R"} {
			w.Header().Set(name, value)
		}
	})
	broken := &topicTarget{topic: publisherFunc(func(*event.Event) error { return errors.New("Kafka is away") })}
	for name, to := range map[string]target{
		"refused connection": &httpTarget{url: "http://127.0.0.1:1", transport: http.DefaultTransport},
		"reply not taken":    &httpTarget{url: "http://f", transport: reply, replies: broken},
		"topic":              broken,
	} {
		if r := to.send(t.Context(), outgoing{event: testEvent()}); r.verdict != failed || r.status != 0 || r.err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// script answers sends by its list and notes when they came.
type script struct {
	began   time.Time
	at      []time.Duration
	answers []result
	took    time.Duration
}

func (s *script) address() string { return "http://script" }

func (s *script) send(ctx context.Context, _ outgoing) result {
	s.at = append(s.at, time.Since(s.began))
	if s.took > 0 {
		timer := time.NewTimer(s.took)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return result{err: ctx.Err()}
		}
	}
	if len(s.answers) == 0 {
		return result{status: 503, header: http.Header{"Retry-After": {"3600"}}, err: errors.New("answered 503")}
	}
	r := s.answers[0]
	s.answers = s.answers[1:]
	return r
}

// Guards the schedule of retries, to the moment: linear delay x n, exponential delay x 2^n, Retry-After ignored, the time limit of each attempt, and an end as soon as an answer is final.
func TestRetrySchedule(t *testing.T) {
	s := time.Second
	for name, c := range map[string]struct {
		policy  policy
		answers []result
		took    time.Duration
		at      []time.Duration
		want    verdict
	}{
		"linear":           {policy: policy{retry: 3, linear: true, delay: s, timeout: s}, at: []time.Duration{0, 1 * s, 3 * s, 6 * s}},
		"exponential":      {policy: policy{retry: 3, delay: s, timeout: s}, at: []time.Duration{0, 2 * s, 6 * s, 14 * s}},
		"none":             {policy: policy{delay: s, timeout: s}, at: []time.Duration{0}},
		"success at last":  {policy: policy{retry: 9, linear: true, delay: s, timeout: s}, answers: []result{{status: 500}, {}, {verdict: taken}}, at: []time.Duration{0, 1 * s, 3 * s}, want: taken},
		"refused for good": {policy: policy{retry: 9, linear: true, delay: s, timeout: s}, answers: []result{{status: 500}, {verdict: refused}}, at: []time.Duration{0, 1 * s}, want: refused},
		"time-outs":        {policy: policy{retry: 2, linear: true, delay: s, timeout: 10 * s}, took: time.Minute, at: []time.Duration{0, 11 * s, 23 * s}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				to := &script{began: time.Now(), answers: c.answers, took: c.took}
				r, stopped := c.policy.deliver(t.Context(), nil, to, outgoing{}, func(int, time.Duration, result) {})
				if stopped || r.verdict != c.want || !slices.Equal(to.at, c.at) {
					t.Errorf("sent at %v, want %v; verdict %v, stopped %v", to.at, c.at, r.verdict, stopped)
				}
			})
		})
	}
}

// Guards against an overflow, which would retry without a pause.
func TestBackoffIsNeverNegative(t *testing.T) {
	for _, n := range []int{1, 60, 63, 64, 200, 5000} {
		if d := (policy{delay: time.Minute}).backoff(n); d < time.Minute {
			t.Errorf("retry %d after %v", n, d)
		}
	}
}

// Guards the shutdown: a wait for a retry ends at once, an attempt may finish, one that is cut by the context counts for nothing.
func TestStopWhileDelivering(t *testing.T) {
	p := policy{retry: 5, linear: true, delay: time.Hour, timeout: time.Hour}
	synctest.Test(t, func(t *testing.T) {
		stopping := make(chan struct{})
		time.AfterFunc(10*time.Second, func() { close(stopping) })
		to := &script{began: time.Now()}
		if _, stopped := p.deliver(t.Context(), stopping, to, outgoing{}, func(int, time.Duration, result) {}); !stopped || time.Since(to.began) != 10*time.Second {
			t.Errorf("stopped %v after %v", stopped, time.Since(to.began))
		}
		to = &script{began: time.Now(), took: time.Minute, answers: []result{{verdict: taken}}}
		if r, stopped := p.deliver(t.Context(), stopping, to, outgoing{}, func(int, time.Duration, result) {}); stopped || r.verdict != taken {
			t.Errorf("the attempt did not finish: %+v, stopped %v", r, stopped)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		to = &script{began: time.Now(), took: time.Minute}
		if _, stopped := (policy{timeout: time.Hour}).deliver(ctx, nil, to, outgoing{}, func(int, time.Duration, result) {}); !stopped {
			t.Error("an attempt that was cut counts as the last one")
		}
	})
}

// Guards what is written onto dead letters: the destination always, the code only after an answer, the data cut and in base64, Kne- headers, and never one of the event's own attributes.
func TestDeadLetterExtensions(t *testing.T) {
	e := testEvent()
	deadLetter(e, "http://f", result{})
	if got := e.Extensions(); len(got) != 1 || got["knativeerrordest"] != "http://f" {
		t.Errorf("without an answer: %v", got)
	}
	body := strings.Repeat("ä", 2000)
	to := &httpTarget{url: "http://f", transport: handlerTransport(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Kne-Foo", "b%20ar")
		w.Header().Set("Kne-Id", "stolen")
		w.Header().Set("Kne-Under_score", "x")
		w.WriteHeader(422)
		_, _ = io.WriteString(w, body)
	})}
	deadLetter(e, "http://f", to.send(t.Context(), outgoing{event: e}))
	data, err := base64.StdEncoding.DecodeString(event.Attr(e, "knativeerrordata"))
	if err != nil || string(data) != body[:1024] {
		t.Errorf("knativeerrordata has %d bytes, %v", len(data), err)
	}
	if event.Attr(e, "knativeerrorcode") != "422" || event.Attr(e, "foo") != "b ar" || e.ID() != "1" || len(e.Extensions()) != 4 {
		t.Errorf("%v", e)
	}
	if err := e.Validate(); err != nil {
		t.Error(err)
	}
}

// Guards the filters' dialects, one by one and combined, on attributes that are there and missing.
func TestFilters(t *testing.T) {
	e := testEvent()
	e.SetSubject("images/cat.png")
	e.SetExtension("ext", "x")
	for yaml, want := range map[string]bool{
		`filter: {attributes: {type: T}}`: true, `filter: {attributes: {type: S}}`: false, `filter: {attributes: {type: T, ext: ""}}`: true,
		`filter: {attributes: {missing: ""}}`: false, `filter: {attributes: {}}`: true, `{}`: true,
		`filters: [{exact: {type: T, ext: x}}]`: true, `filters: [{exact: {type: T, ext: z}}]`: false, `filters: [{exact: {missing: x}}]`: false,
		`filters: [{prefix: {subject: images/}}]`: true, `filters: [{prefix: {missing: i}}]`: false, `filters: [{suffix: {subject: .png}}]`: true, `filters: [{suffix: {subject: .gif}}]`: false,
		`filters: [{exact: {type: T}}, {exact: {ext: z}}]`: false, `filters: [{any: [{exact: {type: S}}, {exact: {ext: x}}]}]`: true,
		`filters: [{all: [{exact: {type: T}}, {prefix: {ext: x}}]}]`: true, `filters: [{all: [{exact: {type: T}}, {prefix: {ext: z}}]}]`: false,
		`filters: [{not: {exact: {type: T}}}]`: false, `filters: [{not: {any: [{exact: {type: S}}, {suffix: {subject: .gif}}]}}]`: true,
		`filters: [{cesql: "type = 'T' AND NOT EXISTS replayid"}]`: true, `filters: [{cesql: "ext LIKE 'y%'"}]`: false,
		// Where filters is there, filter is not looked at.
		"filter: {attributes: {type: S}}\n  filters: [{exact: {type: T}}]": true,
	} {
		s := manifest.NewSet()
		text := "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: t}\nspec:\n  broker: b\n  subscriber: {uri: 'http://s'}\n"
		if yaml != "{}" {
			text += "  " + yaml + "\n"
		}
		if err := s.Parse("t.yaml", []byte(text)); err != nil {
			t.Fatalf("%s: %v", yaml, err)
		}
		f, err := compileFilter(manifest.Sorted(s.Triggers)[0])
		if err != nil {
			t.Fatalf("%s: %v", yaml, err)
		}
		if got := f(e); got != want {
			t.Errorf("%s: %v", yaml, got)
		}
	}
}
