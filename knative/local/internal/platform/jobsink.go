package platform

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"millrace/knative/local/internal/manifest"
	"millrace/shared/event"
)

// maxJobEvent is how many bytes an event to a JobSink may have, and maxJobsKnown of how many events at least it is remembered that they had their Job.
const (
	maxJobEvent  = 1 << 20
	maxJobsKnown = 1000
)

// In a cluster each event is a Job of its own, and what does not fit onto the nodes waits as Pending pods, which Kubernetes keeps. Here maxJobsAtWork processes run at a time and maxJobsWaiting more wait, in
// memory; what comes beyond is answered 429, for the sender to keep.
const (
	maxJobsAtWork  = 4
	maxJobsWaiting = 16
	jobsRetryAfter = 5 // seconds
)

// jobSinks starts a Job for each event that comes to a JobSink.
type jobSinks struct {
	sinks map[manifest.Key]*manifest.JobSink
	// start makes the Job run, later where others are at work, without waiting for it, and calls ended once it is over.
	start func(job *manifest.Job, ended func())

	mu           sync.Mutex
	open         int             // Jobs that are at work or wait
	known, older map[string]bool // events that had their Job; older is what known was when it was full
}

// handleJobSinks has the JobSinks of the manifests take events, under the name that they have in a cluster. The end of ctx ends Jobs at work by SIGTERM; the platform's stop waits for that.
func (p *Platform) handleJobSinks(ctx, force context.Context) {
	if len(p.set.JobSinks) == 0 {
		return
	}
	start, wait := fewAtOnce(ctx, p.log, func(job *manifest.Job) error { return p.RunJob(ctx, force, job) })
	p.Handle(manifest.JobSinkHost, &jobSinks{sinks: p.set.JobSinks, known: map[string]bool{}, start: start})
	p.onStop(func(context.Context) error {
		wait()
		return nil
	})
}

// fewAtOnce has maxJobsAtWork Jobs run at a time, the others after them. Those that still wait when ctx ends are not begun, which is told. wait returns when all have ended.
func fewAtOnce(ctx context.Context, log *slog.Logger, run func(*manifest.Job) error) (start func(job *manifest.Job, ended func()), wait func()) {
	var running sync.WaitGroup
	atWork := make(chan struct{}, maxJobsAtWork)
	return func(job *manifest.Job, ended func()) {
		running.Go(func() {
			defer ended()
			select {
			case atWork <- struct{}{}:
				defer func() { <-atWork }()
			case <-ctx.Done():
			}
			if ctx.Err() != nil {
				log.Warn("the job of an event is not run: the platform stops", "jobsink", job.Metadata.Name)
				return
			}
			if err := run(job); err != nil && ctx.Err() == nil {
				log.Warn("the job of an event failed", "jobsink", job.Metadata.Name, "error", err)
			}
		})
	}, running.Wait
}

// ServeHTTP answers 202 once the Job is at work or waits for others to end; the same event again starts none, as in a cluster. Where too many wait it answers 429, and the event is as if it had never come. The
// event itself does not reach the process.
func (s *jobSinks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	namespace, name, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	sink := s.sinks[manifest.Key{Namespace: namespace, Name: name}]
	if sink == nil {
		http.Error(w, "there is no JobSink of this name", http.StatusNotFound)
		return
	}
	if r.Method != http.MethodPost {
		http.Error(w, "events come by POST", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJobEvent))
	if err != nil {
		http.Error(w, "the event is too large, or broke off", http.StatusBadRequest)
		return
	}
	e, err := event.DecodeHTTP(r.Header, body)
	if err != nil {
		http.Error(w, "no CloudEvent: "+err.Error(), http.StatusBadRequest)
		return
	}
	first, ok := s.admit(namespace + "/" + name + "\x00" + e.Source() + "\x00" + e.ID())
	if !ok {
		w.Header().Set("Retry-After", strconv.Itoa(jobsRetryAfter))
		http.Error(w, fmt.Sprintf("%d Jobs are at work and %d wait: send the event again later", maxJobsAtWork, maxJobsWaiting), http.StatusTooManyRequests)
		return
	}
	if first {
		s.start(sink.Job(), s.ended)
	}
	w.Header().Set("Location", "/namespaces/"+namespace+"/name/"+name+"/sources/"+url.PathEscape(e.Source())+"/ids/"+url.PathEscape(e.ID()))
	w.WriteHeader(http.StatusAccepted)
}

// admit says whether the event comes for the first time, as far as is remembered, and, where it does, whether there is room for its Job.
func (s *jobSinks) admit(id string) (first, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[id] || s.older[id] {
		return false, true
	}
	if s.open >= maxJobsAtWork+maxJobsWaiting {
		return true, false
	}
	s.open++
	if len(s.known) >= maxJobsKnown {
		s.known, s.older = map[string]bool{}, s.known
	}
	s.known[id] = true
	return true, true
}

// ended makes room for another Job.
func (s *jobSinks) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}
