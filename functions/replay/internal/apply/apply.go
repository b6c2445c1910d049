// Package apply sends the events of a plan, at a rate, and keeps a journal of how far it came.
//
// It guarantees that an event is journalled only after Kafka (or collect's receipt) confirmed it, and that an event of the plan is sent at least once however
// often the process is killed: what was sent and not journalled is sent again, with the same replayid and replaycount, and changes nothing. It checks before the first event that
// the plan's origin is still there.
//
// The crash points of a batch: read (nothing), sent and not confirmed (sent again), confirmed and not journalled (sent again), journalled (done).
//
// Memory: one batch (at most 8 MiB of data) and one fetch, or one object of the lake.
package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"millrace/functions/replay/internal/plan"
	"millrace/functions/replay/internal/source"
	"millrace/shared/delivery"
	"millrace/shared/event"
)

const (
	batchBytes = 8 << 20
	batchMost  = 500
)

// Source is where the events lie; source.Topic and source.Lake are.
//
// Check compares the origin with what is there; Events calls f with the event of each entry in order. Errors that wrap source.ErrGone say that something is not
// there any more. Both block.
type Source interface {
	Check(ctx context.Context, origin plan.Origin, entries []plan.Entry) error
	Events(ctx context.Context, origin plan.Origin, entries []plan.Entry, f func(plan.Entry, source.Record) error) error
}

// Collector is collect, for what it refused.
//
// Post blocks until collect has answered for the event: dead says that it refused it again. It may be repeated. The error says that nobody knows, or that collect cannot
// take it (ErrRefused).
type Collector interface {
	Post(ctx context.Context, e *event.Event) (dead bool, err error)
}

// ErrRefused is wrapped by the error of an event that can never be sent.
var ErrRefused = errors.New("refused")

// Options say how a plan is applied.
type Options struct {
	Rate     float64 // events a second
	Unknown  bool    // send those of which nobody knows what becomes of them
	RetryFor time.Duration
	DryRun   bool
	Journal  string                                     // the file
	Topics   map[plan.Target]delivery.Publisher         // by target
	Collect  Collector                                  // nil: what enters there again is left
	Progress func(done int64)                           // told of events that are settled; may be nil
	Wait     func(context.Context, time.Duration) error // nil waits by the clock
}

// Result is what became of a plan's events.
type Result struct {
	ID       string           `json:"id"`
	DryRun   bool             `json:"dry_run,omitempty"`
	Resumed  int64            `json:"resumed"` // settled by an earlier run
	Sent     map[string]int64 `json:"sent"`    // by target, in all runs
	Dead     int64            `json:"dead"`    // of those sent to collect, that it refused again
	Left     map[string]int64 `json:"left"`    // by why they were not sent
	Refused  []string         `json:"refused"` // root ids of those that Kafka does not take; the first hundred
	Complete bool             `json:"complete"`
}

const mostRefused = 100

// NotSent is the key of Result.Sent for events that were refused where they were sent to.
const NotSent = "refused"

// Sendable reports whether an entry is to be sent, or why not.
func (o *Options) Sendable(e plan.Entry) (why string, ok bool) {
	switch {
	case e.Outcome == plan.Fail, e.Outcome == plan.Settled, e.Outcome == plan.GivenUp, e.To == "":
		return string(e.Outcome), false
	case e.To == plan.Collect && o.Collect == nil:
		return "for collect, without --collect", false
	case e.Outcome == plan.Unknown && e.To != plan.Collect && !o.Unknown:
		return string(plan.Unknown), false
	}
	return "", true
}

// Select returns which entries are to be sent, by their indexes, and counts the others.
func (o *Options) Select(entries []plan.Entry) (indexes []int, left map[string]int64) {
	left = map[string]int64{}
	for i := range entries {
		if why, ok := o.Sendable(entries[i]); ok {
			indexes = append(indexes, i)
		} else {
			left[why]++
		}
	}
	return indexes, left
}

// Run sends what the journal does not hold as settled. The error says what stopped it; running again goes on. The result is valid in any case.
func Run(ctx context.Context, h plan.Header, entries []plan.Entry, from Source, o Options) (Result, error) {
	r := &run{o: o, result: Result{ID: h.ID, DryRun: o.DryRun, Sent: map[string]int64{}, Refused: []string{}}}
	if r.o.Wait == nil {
		r.o.Wait = wait
	}
	indexes, left := o.Select(entries)
	r.result.Left = left
	journal, err := openJournal(o.Journal, begin{Digest: h.Digest, Unknown: o.Unknown, Collect: o.Collect != nil}, o.DryRun)
	if err != nil {
		return r.result, err
	}
	state := journal.state
	r.journal = journal
	if state.Sent != nil {
		r.result.Sent = state.Sent
	}
	r.result.Dead, r.result.Refused = state.Dead, append(r.result.Refused, state.Refused...)
	r.result.Resumed = int64(state.Next)
	if state.Next > len(indexes) {
		return r.result, errors.Join(fmt.Errorf("journal %s has settled %d of %d events: it is another plan's", o.Journal, state.Next, len(indexes)), journal.close())
	}
	r.next = state.Next
	open := make([]plan.Entry, 0, len(indexes)-r.next)
	for _, i := range indexes[r.next:] {
		open = append(open, entries[i])
	}
	err = r.run(ctx, h, open, from)
	r.result.Complete = err == nil && !o.DryRun
	return r.result, errors.Join(err, journal.close())
}

type run struct {
	o       Options
	result  Result
	journal *journal
	next    int // entries settled
	batch   []sending
	bytes   int
	started time.Time
	paced   int64 // events since started
}

type sending struct {
	to    plan.Target
	event *event.Event
}

func (r *run) run(ctx context.Context, h plan.Header, open []plan.Entry, from Source) error {
	if len(open) == 0 {
		return nil
	}
	if err := from.Check(ctx, h.Origin, open); err != nil {
		return err
	}
	most := min(batchMost, max(1, int(r.o.Rate/2)))
	r.started = time.Now()
	err := from.Events(ctx, h.Origin, open, func(at plan.Entry, record source.Record) error {
		e := record.Event
		if at.To != plan.Collect { // which refuses the attributes of a replay, and needs those of the failure to know what it is
			var err error
			if e, err = plan.Event(e, h.ID, at.Count); err != nil {
				return fmt.Errorf("event %s: %w", at.Root, err)
			}
		}
		r.batch = append(r.batch, sending{at.To, e})
		if r.bytes += len(e.Data()); len(r.batch) < most && r.bytes < batchBytes {
			return nil
		}
		return r.flush(ctx)
	})
	if err != nil {
		return err
	}
	return r.flush(ctx)
}

// flush sends the batch until each of its events is settled, and then journals that.
func (r *run) flush(ctx context.Context) error {
	if len(r.batch) == 0 {
		return nil
	}
	if !r.o.DryRun {
		if err := r.pace(ctx, len(r.batch)); err != nil {
			return err
		}
	}
	byTarget := map[plan.Target][]*event.Event{}
	for _, s := range r.batch {
		byTarget[s.to] = append(byTarget[s.to], s.event)
	}
	for _, to := range []plan.Target{plan.Collect, plan.Raw, plan.Enriched} {
		events := byTarget[to]
		if len(events) == 0 {
			continue
		}
		sent := int64(len(events))
		if !r.o.DryRun {
			refused, dead, err := r.send(ctx, to, events)
			if err != nil {
				return err
			}
			sent -= int64(len(refused))
			r.result.Dead += dead
			r.result.Refused = append(r.result.Refused, refused[:min(len(refused), max(0, mostRefused-len(r.result.Refused)))]...)
			if len(refused) > 0 {
				r.result.Sent[NotSent] += int64(len(refused))
			}
		}
		r.result.Sent[string(to)] += sent
	}
	r.next += len(r.batch)
	if r.o.Progress != nil {
		r.o.Progress(int64(r.next))
	}
	clear(r.batch)
	r.batch, r.bytes = r.batch[:0], 0
	if r.o.DryRun {
		return nil
	}
	return r.journal.note(state{Next: r.next, Sent: r.result.Sent, Dead: r.result.Dead, Refused: r.result.Refused})
}

// pace waits until n more events are due.
func (r *run) pace(ctx context.Context, n int) error {
	due := time.Duration(float64(r.paced) / r.o.Rate * float64(time.Second))
	r.paced += int64(n)
	early := due - time.Since(r.started)
	if -early > time.Second { // what was missed while Kafka was away is not made up for by a flood
		r.started, r.paced = time.Now(), int64(n)
	}
	return r.o.Wait(ctx, early)
}

// wait waits by the clock.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// send writes events to where they enter again until each is confirmed or can never be. It returns the root ids of those that cannot, and how many collect
// refused again.
func (r *run) send(ctx context.Context, to plan.Target, events []*event.Event) (refused []string, dead int64, err error) {
	begun := time.Now()
	for backoff := 200 * time.Millisecond; ; backoff = min(2*backoff, 5*time.Second) {
		errs := make([]error, len(events))
		if to == plan.Collect {
			for i, e := range events {
				var again bool
				again, errs[i] = r.o.Collect.Post(ctx, e)
				if again {
					dead++
				}
			}
		} else {
			publisher := r.o.Topics[to]
			if publisher == nil {
				return nil, 0, fmt.Errorf("no topic for %q", to)
			}
			got := publisher.Publish(ctx, events)
			for i := range errs {
				if errs[i] = errNoAnswer; i < len(got) {
					errs[i] = got[i]
				}
			}
		}
		var open []*event.Event
		var last error
		for i, err := range errs {
			switch {
			case err == nil:
			case errors.Is(err, delivery.ErrTooLarge), errors.Is(err, ErrRefused):
				refused = append(refused, event.Attr(events[i], event.RootID))
			default:
				open, last = append(open, events[i]), err
			}
		}
		if len(open) == 0 {
			return refused, dead, nil
		}
		if ctx.Err() != nil {
			return nil, 0, fmt.Errorf("interrupted; the same command goes on: %w", ctx.Err())
		}
		if time.Since(begun)+backoff > r.o.RetryFor {
			return nil, 0, fmt.Errorf("%d events not confirmed for %s; the same command goes on: %w", len(open), r.o.RetryFor, last)
		}
		if err := r.o.Wait(ctx, backoff); err != nil {
			return nil, 0, fmt.Errorf("interrupted; the same command goes on: %w", errors.Join(err, last))
		}
		events = slices.Clip(open)
	}
}

var errNoAnswer = errors.New("the publisher gave no answer for the event")
