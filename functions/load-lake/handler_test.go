package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"millrace/functions/load-lake/internal/drain"
	"millrace/functions/load-lake/internal/sweep"
	"millrace/shared/serve"
)

// drainFunc is a drainer.
type drainFunc func(ctx context.Context, more func() bool) (drain.Result, error)

func (f drainFunc) Drain(ctx context.Context, more func() bool) (drain.Result, error) {
	return f(ctx, more)
}

func newTestHandler(t *testing.T, stop context.Context, clock func() time.Time, f drainFunc) http.Handler {
	t.Helper()
	h := &handler{
		topics: map[string]*topic{"events.raw": {drainer: f}, "events.dead": {drainer: drainFunc(func(context.Context, func() bool) (drain.Result, error) { return drain.Result{Done: true}, nil })}},
		budget: time.Minute, stop: stop, clock: clock, logger: slog.New(slog.DiscardHandler),
	}
	o := (&config{Budget: time.Minute, Overrun: time.Minute}).intake()
	o.Logger = h.logger
	return serve.Events(h, o)
}

// post sends a tick as a PingSource does, and returns the answer's status and body.
func post(h http.Handler, data string) (status int, body string) {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(data))
	for k, v := range map[string]string{
		"Content-Type": "application/json", "Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Type": "dev.knative.sources.ping", "Ce-Source": "/apis/v1/namespaces/millrace/pingsources/drain-raw",
	} {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// Guards the answers: an empty 2xx after the drain, 503 for an outage and for a tick that cannot be served, so that a PingSource comes again and nothing is dead-lettered.
func TestAnswers(t *testing.T) {
	drains := 0
	var failure error
	h := newTestHandler(t, t.Context(), time.Now, func(context.Context, func() bool) (drain.Result, error) {
		drains++
		return drain.Result{Done: true}, failure
	})
	f := func(data string, wantStatus, wantDrains int) {
		t.Helper()
		drains = 0
		if status, body := post(h, data); status != wantStatus || body != "" || drains != wantDrains {
			t.Errorf("%s: %d %q after %d drains", data, status, body, drains)
		}
	}
	f(`{"topic":"events.raw"}`, 202, 1)
	f(`{"topic":"events.raw","budget":"10s"}`, 202, 1)
	f(`{"topic":"events.raw","budget":"soon"}`, 503, 0)
	f(`{"topic":"events.raw","budget":"-1s"}`, 503, 0)
	f(`{"topic":"other"}`, 503, 0)
	f(`{}`, 503, 0)
	f(`[`, 503, 0)
	failure = errors.New("the store is away")
	f(`{"topic":"events.raw"}`, 503, 1)
}

// Guards against ticks that queue behind a drain: one of the same topic is answered at once, one of another topic has its own drain, and the next one after the drain drains again.
func TestTickDuringDrain(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	h := newTestHandler(t, t.Context(), time.Now, func(context.Context, func() bool) (drain.Result, error) {
		started <- struct{}{}
		<-release
		return drain.Result{Done: true}, nil
	})
	first := make(chan int)
	go func() {
		status, _ := post(h, `{"topic":"events.raw"}`)
		first <- status
	}()
	<-started
	for range 20 {
		for _, topic := range []string{"events.raw", "events.dead"} {
			if status, _ := post(h, `{"topic":"`+topic+`"}`); status != 202 {
				t.Errorf("%s: %d", topic, status)
			}
		}
	}
	select {
	case s := <-first:
		t.Errorf("the first tick was answered %d during its drain", s)
	default:
	}
	release <- struct{}{}
	if s := <-first; s != 202 {
		t.Errorf("first: %d", s)
	}
	go func() { <-started; release <- struct{}{} }()
	if status, _ := post(h, `{"topic":"events.raw"}`); status != 202 {
		t.Errorf("afterwards: %d", status)
	}
}

// sweepFunc is a sweeper.
type sweepFunc func(dry bool, more func() bool) (sweep.Result, error)

func (f sweepFunc) Sweep(_ context.Context, dry bool, more func() bool) (sweep.Result, error) {
	return f(dry, more)
}

// Guards the two jobs against each other: a sweep neither waits for a drain of its topic nor is one, a second sweep meanwhile is answered at once, and a failed one is a 503.
func TestSweepDuringDrain(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	var failure error
	sweeps := 0
	h := &handler{
		topics: map[string]*topic{"events.raw": {
			drainer: drainFunc(func(context.Context, func() bool) (drain.Result, error) {
				started <- struct{}{}
				<-release
				return drain.Result{}, nil
			}),
			sweeper: sweepFunc(func(dry bool, more func() bool) (sweep.Result, error) {
				if sweeps++; !more() {
					t.Error("no time")
				}
				if dry {
					started <- struct{}{}
					<-release
				}
				return sweep.Result{}, failure
			}),
		}},
		budget: time.Minute, stop: t.Context(), clock: time.Now, logger: slog.New(slog.DiscardHandler),
	}
	o := (&config{Budget: time.Minute, Overrun: time.Minute}).intake()
	o.Logger = h.logger
	server := serve.Events(h, o)
	answers := make(chan int, 2)
	for _, data := range []string{`{"topic":"events.raw"}`, `{"topic":"events.raw","sweep":true,"dry_run":true}`} {
		go func() {
			status, _ := post(server, data)
			answers <- status
		}()
		<-started
	}
	if status, _ := post(server, `{"topic":"events.raw","sweep":true}`); status != 202 || sweeps != 1 {
		t.Errorf("during a sweep: %d after %d sweeps", status, sweeps)
	}
	for range 2 {
		release <- struct{}{}
		if s := <-answers; s != 202 {
			t.Errorf("got %d", s)
		}
	}
	failure = errors.New("the store is away")
	if status, _ := post(server, `{"topic":"events.raw","sweep":true}`); status != 503 || sweeps != 2 {
		t.Errorf("after an error: %d after %d sweeps", status, sweeps)
	}
}

// Guards the time budget: a drain is told to end when the budget is over, a tick's smaller budget counts, a larger one does not, and so does the process's end.
func TestBudget(t *testing.T) {
	now := time.Unix(0, 0)
	stop, end := context.WithCancel(t.Context())
	defer end()
	var ran time.Duration
	h := newTestHandler(t, stop, func() time.Time { return now }, func(_ context.Context, more func() bool) (drain.Result, error) {
		start := now
		for more() {
			now = now.Add(time.Second)
		}
		ran = now.Sub(start)
		return drain.Result{}, nil
	})
	for data, want := range map[string]time.Duration{
		`{"topic":"events.raw"}`: time.Minute, `{"topic":"events.raw","budget":"10s"}`: 10 * time.Second, `{"topic":"events.raw","budget":"1h"}`: time.Minute,
	} {
		if status, _ := post(h, data); status != 202 || ran != want {
			t.Errorf("%s: %d after %s", data, status, ran)
		}
	}
	end()
	if status, _ := post(h, `{"topic":"events.raw"}`); status != 202 || ran != 0 {
		t.Errorf("at the end: %d after %s", status, ran)
	}
}
