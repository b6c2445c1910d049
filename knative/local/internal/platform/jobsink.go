package platform

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"millrace/knative/local/internal/manifest"
	"millrace/shared/event"
)

// maxJobEvent is how many bytes an event to a JobSink may have, and maxJobsKnown of how many events it is remembered that they had their Job.
const (
	maxJobEvent  = 1 << 20
	maxJobsKnown = 1000
)

// jobSinks starts a Job for each event that comes to a JobSink.
type jobSinks struct {
	sinks map[manifest.Key]*manifest.JobSink
	start func(job *manifest.Job)

	mu    sync.Mutex
	known map[string]bool // events that had their Job
}

// handleJobSinks has the JobSinks of the manifests take events, under the name that they have in a cluster. The end of ctx ends Jobs at work by SIGTERM; the platform's stop waits for that.
func (p *Platform) handleJobSinks(ctx, force context.Context) {
	if len(p.set.JobSinks) == 0 {
		return
	}
	var running sync.WaitGroup
	p.Handle(manifest.JobSinkHost, &jobSinks{sinks: p.set.JobSinks, known: map[string]bool{}, start: func(job *manifest.Job) {
		running.Go(func() {
			if err := p.RunJob(ctx, force, job); err != nil && ctx.Err() == nil {
				p.log.Warn("the job of an event failed", "jobsink", job.Metadata.Name, "error", err)
			}
		})
	}})
	p.onStop(func(context.Context) error {
		running.Wait()
		return nil
	})
}

// ServeHTTP answers 202 once the Job was started; the same event again starts none, as in a cluster. The event itself does not reach the process.
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
	if s.first(namespace + "/" + name + "\x00" + e.Source() + "\x00" + e.ID()) {
		s.start(sink.Job())
	}
	w.Header().Set("Location", "/namespaces/"+namespace+"/name/"+name+"/sources/"+url.PathEscape(e.Source())+"/ids/"+url.PathEscape(e.ID()))
	w.WriteHeader(http.StatusAccepted)
}

// first says whether the event comes for the first time, as far as is remembered.
func (s *jobSinks) first(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[id] {
		return false
	}
	if len(s.known) >= maxJobsKnown {
		clear(s.known)
	}
	s.known[id] = true
	return true
}
