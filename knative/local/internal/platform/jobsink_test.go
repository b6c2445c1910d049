package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"millrace/knative/local/internal/manifest"
)

// flood is a JobSink whose Jobs end when the test says so.
type flood struct {
	*jobSinks
	ends []func()
}

func newFlood() *flood {
	f := &flood{}
	sink := &manifest.JobSink{}
	f.jobSinks = &jobSinks{sinks: map[manifest.Key]*manifest.JobSink{{Namespace: "millrace", Name: "curate"}: sink}, known: map[string]bool{}, start: func(_ *manifest.Job, ended func()) { f.ends = append(f.ends, ended) }}
	return f
}

func (f *flood) send(id string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/millrace/curate", http.NoBody)
	for name, value := range map[string]string{"ce-specversion": "1.0", "ce-type": "millrace.curate.requested", "ce-source": "/me", "ce-id": id} {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

// Guards the machine against as many processes as there are events, and the sender against a 202 for a Job that never runs: beyond the limit the answer is 429, and the same event has its Job once there is room.
func TestJobSinkFlood(t *testing.T) {
	f := newFlood()
	const limit = maxJobsAtWork + maxJobsWaiting
	for i := range limit {
		if w := f.send(fmt.Sprint(i)); w.Code != http.StatusAccepted {
			t.Fatalf("event %d: %d %s", i, w.Code, w.Body)
		}
	}
	if w := f.send("late"); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" || len(f.ends) != limit {
		t.Errorf("beyond the limit: %d, Retry-After %q, %d Jobs", w.Code, w.Header().Get("Retry-After"), len(f.ends))
	}
	if w := f.send("0"); w.Code != http.StatusAccepted || len(f.ends) != limit { // it had its Job: that is no reason to send again
		t.Errorf("an event that had its Job: %d, %d Jobs", w.Code, len(f.ends))
	}
	f.ends[0]()
	for range 2 {
		if w := f.send("late"); w.Code != http.StatusAccepted || len(f.ends) != limit+1 {
			t.Errorf("with room: %d, %d Jobs", w.Code, len(f.ends))
		}
	}
}

// Guards against a second Job for an event that came a moment ago, at the moment when others are forgotten.
func TestJobSinkRemembers(t *testing.T) {
	f := newFlood()
	for i := range 3 * maxJobsKnown {
		for range 2 {
			f.send(fmt.Sprint(i))
		}
		if i > 0 {
			f.send(fmt.Sprint(i - 1))
		}
		if len(f.ends) != i+1 {
			t.Fatalf("after event %d: %d Jobs", i, len(f.ends))
		}
		f.ends[i]()
	}
	if n := len(f.known) + len(f.older); n > 2*maxJobsKnown {
		t.Errorf("%d events are remembered", n)
	}
}

// Guards the machine against Jobs that are admitted and all run at once; each has its turn, a failed one included, and at the platform's end those that wait are told and not begun.
func TestFewJobsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var text strings.Builder
		var began, ended atomic.Int32
		end := make(chan error)
		start, wait := fewAtOnce(ctx, slog.New(slog.NewTextHandler(&text, nil)), func(*manifest.Job) error {
			began.Add(1)
			return <-end
		})
		for range maxJobsAtWork + 3 {
			start(&manifest.Job{}, func() { ended.Add(1) })
		}
		state := func(when string, wantBegan, wantEnded int32) {
			t.Helper()
			synctest.Wait()
			if b, e := began.Load(), ended.Load(); b != wantBegan || e != wantEnded {
				t.Errorf("%s: %d began and %d ended, want %d and %d", when, b, e, wantBegan, wantEnded)
			}
		}
		state("at first", maxJobsAtWork, 0)
		end <- errors.New("the catalog is away")
		state("after one failed", maxJobsAtWork+1, 1)
		cancel()
		state("stopping", maxJobsAtWork+1, 3)
		for range maxJobsAtWork {
			end <- nil
		}
		wait()
		state("stopped", maxJobsAtWork+1, maxJobsAtWork+3)
		if out := text.String(); strings.Count(out, "the platform stops") != 2 || strings.Count(out, "the catalog is away") != 1 {
			t.Error(out)
		}
	})
}
