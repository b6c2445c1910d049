// Package intake is what both ways in share: it hands batches of events to a [delivery.Handler] and says what became of them, in metrics and in the log, for whatever brings them: requests (package serve) and Kafka's
// records (package kafka).
//
// It guarantees that one outcome comes back for each event, whatever the handler does: one that panics, forgets events or returns too many finishes nothing. It gathers no batches, answers nothing and
// commits nothing.
package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/delivery"
	"millrace/shared/event"
)

// errPanicked is the outcome's error of all events of a batch whose handler panicked.
var errPanicked = errors.New("handler panicked")

// Runner hands batches to a handler. It is safe for concurrent use.
type Runner struct {
	handler delivery.Handler
	logger  *slog.Logger

	size        prometheus.Observer
	outcomes    [delivery.Dead + 1]prometheus.Counter
	undecodable prometheus.Counter
}

// NewRunner returns a runner for h. The metrics millrace_intake_batch_events and millrace_intake_events_total go to r; nil means none.
func NewRunner(h delivery.Handler, logger *slog.Logger, r prometheus.Registerer) *Runner {
	size := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "millrace_intake_batch_events", Help: "Events per batch handed to the handler.",
		Buckets: []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000},
	})
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "millrace_intake_events_total", Help: "Events handed out, by what became of them (done, failed, retry, dead: no dead letter yet, undecodable); one that comes again counts again.",
	}, []string{"outcome"})
	if r != nil {
		r.MustRegister(size, outcomes)
	}
	run := &Runner{handler: h, logger: logger, size: size, undecodable: outcomes.WithLabelValues("undecodable")}
	for status := range run.outcomes {
		run.outcomes[status] = outcomes.WithLabelValues(delivery.Status(status).String())
	}
	return run
}

// Handle hands events to the handler and returns one outcome for each. Where not all are done it logs one line, with the first such event's root id, and another for the first panic of a single
// event; whence says where the event of an index came from, for both, and may be nil.
func (r *Runner) Handle(ctx context.Context, events []*event.Event, whence func(i int) []any) delivery.Outcomes {
	r.size.Observe(float64(len(events)))
	out := delivery.NewOutcomes(len(events))
	copy(out, r.call(ctx, events))
	var counts [len(r.outcomes)]int
	first := -1
	for i := range out {
		status := out[i].Status
		if status < 0 || int(status) >= len(counts) {
			out.Failed(i, fmt.Errorf("the handler's outcome is %s", status))
			status = delivery.Failed
		}
		counts[status]++
		if status != delivery.Done && first < 0 {
			first = i
		}
	}
	for status, n := range counts {
		if n > 0 {
			r.outcomes[status].Add(float64(n))
		}
	}
	if first < 0 {
		return out
	}
	about := func(i int) []any {
		args := []any{"root_id", event.Attr(events[i], event.RootID)}
		if whence != nil {
			args = append(args, whence(i)...)
		}
		return args
	}
	for i := first; i < len(out); i++ {
		var p *delivery.PanicError
		if errors.As(out[i].Err, &p) {
			r.logger.Error("handler panicked", append(about(i), "panic", fmt.Sprint(p.Value), "stack", string(p.Stack))...)
			break // one tells enough
		}
	}
	o := out.Of(first)
	r.logger.Warn("events not done: they come again", "events", len(out)-counts[delivery.Done], "of", len(out),
		slog.Group("first", append(about(first), "status", o.Status.String(), "err", o.Err)...))
	return out
}

// call calls the handler.
func (r *Runner) call(ctx context.Context, events []*event.Event) (out delivery.Outcomes) {
	defer func() {
		if p := recover(); p != nil {
			r.logger.Error("handler panicked: all of its batch will be retried", "panic", fmt.Sprint(p), "events", len(events), "stack", string(debug.Stack()))
			out = delivery.NewOutcomes(len(events))
			out.RetryAll(errPanicked)
		}
	}()
	out = r.handler.Handle(ctx, events)
	if len(out) > len(events) {
		// Which outcome is whose is not known, so all events have failed.
		r.logger.Error("handler returned more outcomes than events", "outcomes", len(out), "events", len(events))
		return nil
	}
	return out
}

// Keeper keeps what is no event, as a dead letter; nil means that it is durable. header and body must not be changed; reason quotes no values.
type Keeper func(ctx context.Context, header http.Header, body []byte, reason error) error

// Undecodable has keep keep what is no CloudEvent, counts and logs it; whence says where it came from. With an error, of which a panic of keep is one too, it is not kept and must come again.
func (r *Runner) Undecodable(ctx context.Context, keep Keeper, header http.Header, body []byte, reason error, whence ...any) (err error) {
	log := r.logger.With(whence...)
	defer func() {
		if p := recover(); p != nil {
			log.Error("making a dead letter panicked: it will be tried again", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errors.New("making a dead letter panicked")
		}
	}()
	if err := keep(ctx, header, body, reason); err != nil {
		log.Error("no dead letter yet for what is no CloudEvent: it comes again", "reason", reason, "err", err)
		return fmt.Errorf("dead letter of what is no CloudEvent: %w", err)
	}
	r.undecodable.Inc()
	log.Warn("what came is no CloudEvent: it is a dead letter", "reason", reason)
	return nil
}
