// Package delivery is the contract between what brings events (HTTP, Kafka) and what handles them.
//
// A [Handler] takes a batch and says one [Outcome] for each event: done, retry, or dead. It never decides an HTTP status or an offset: only
// this package turns outcomes into answers ([Outcome.HTTP]) and positions ([Offsets]). The zero Outcome is a failure, so a path that forgets an
// event retries it.
//
// The package guarantees that nothing but an explicit Done lets an event go. It does no input or output; dead letters are written by package deadletter.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"millrace/shared/event"
)

// Handler processes events.
//
// Handle blocks until each event has its outcome, and may be called concurrently. It must be safe to repeat for the same events: delivery is at least
// once. It does not keep events after it returned, nor change them unless its comment says so. The context ends when the process must stop: what is not
// finished then stays unmentioned. The result has one outcome per event, in order; a shorter one fails those that are missing.
type Handler interface {
	Handle(ctx context.Context, events []*event.Event) Outcomes
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, events []*event.Event) Outcomes

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, events []*event.Event) Outcomes {
	return f(ctx, events)
}

// Publisher writes events to where others read them (a topic, a Broker).
//
// Publish blocks until each event is durable or has failed, and may be called concurrently. errs has one element per event; nil means durable, and nothing else does.
// An event with an error may still be written later, unless the error says otherwise. Events are not changed nor kept.
type Publisher interface {
	Publish(ctx context.Context, events []*event.Event) (errs []error)
}

// What a Publisher's error wraps, where it knows.
var (
	// ErrTooLarge says that the event is larger than where it goes can take: it was not written and never will be.
	ErrTooLarge = errors.New("too large to be written")
	// ErrBusy says that the event was not taken, and will not be written by this call.
	ErrBusy = errors.New("not taken")
	// ErrUnconfirmed says that the event was handed over and may be written, now or later.
	ErrUnconfirmed = errors.New("handed over, not confirmed")
	// ErrRefused says that this event was refused where others may pass: as an outcome it is Failed, and so one of the event's attempts.
	ErrRefused = errors.New("refused")
)

// Status is what became of an event in a handler.
type Status int

// The statuses. Failed is the zero value: an event that a handler does not mention has failed.
const (
	Failed Status = iota // the item failed: deliver again; counts as one of its attempts while others pass
	Done                 // its effects are durable
	Retry                // a dependency failed, or nobody knows: deliver again; counts nothing
	Dead                 // the same input would fail again: to be written to events.dead
)

func (s Status) String() string {
	switch s {
	case Failed:
		return "failed"
	case Done:
		return "done"
	case Retry:
		return "retry"
	case Dead:
		return "dead"
	}
	return fmt.Sprintf("status %d", int(s))
}

// ErrNotMentioned is the error of an outcome that a handler left out.
var ErrNotMentioned = errors.New("the handler gave no outcome")

// Outcome is what became of one event.
type Outcome struct {
	Status Status
	Code   event.Code    // why it is Dead
	Err    error         // why it is not Done; nil with Failed means it was not mentioned
	After  time.Duration // not before this time should it come again; 0 leaves it to who brings it
	// Away, with Retry, says that After is what a dependency asked for, for all that goes to it: where it is set for a whole batch, nothing else should be handed out before either. Without
	// it a time is the event's own, as of one whose contract is not there yet, and others go on.
	Away bool
}

// MaxHold is the longest that a dependency's own word (Retry-After) can hold events back. A proxy before a search server or a Broker's ingress may say an hour, which is meant for people, or
// forgets to take it back: asked again every minute, it costs one small batch, and events go on within a minute of its return.
const MaxHold = time.Minute

// Outcomes are the outcomes of a batch, by the events' index.
type Outcomes []Outcome

// NewOutcomes returns n outcomes, all not mentioned.
func NewOutcomes(n int) Outcomes { return make(Outcomes, n) }

// Of returns the outcome of event i; one that is not there has failed.
func (o Outcomes) Of(i int) Outcome {
	if i < 0 || i >= len(o) {
		return Outcome{Err: ErrNotMentioned}
	}
	if o[i].Status == Failed && o[i].Err == nil {
		return Outcome{After: o[i].After, Err: ErrNotMentioned}
	}
	return o[i]
}

// Done says that the effects of event i are durable.
func (o Outcomes) Done(i int) { o[i] = Outcome{Status: Done} }

// Failed says that event i itself failed, in a way that may pass.
func (o Outcomes) Failed(i int, err error) { o[i] = Outcome{Status: Failed, Err: err} }

// Retry says that event i could not be handled through no fault of its own.
func (o Outcomes) Retry(i int, err error) { o[i] = Outcome{Status: Retry, Err: err} }

// RetryAfter is Retry, not before d.
func (o Outcomes) RetryAfter(i int, err error, d time.Duration) {
	o[i] = Outcome{Status: Retry, Err: err, After: d}
}

// Hold is Retry for an event that a dependency did not take, as it takes nothing before d, of which no more than [MaxHold] counts.
func (o Outcomes) Hold(i int, err error, d time.Duration) {
	o[i] = Outcome{Status: Retry, Err: err, After: min(d, MaxHold), Away: d > 0}
}

// Dead says that event i would fail again with the same input.
func (o Outcomes) Dead(i int, code event.Code, err error) {
	o[i] = Outcome{Status: Dead, Code: code, Err: err}
}

// RetryAll says Retry of every event: the dependency as a whole failed.
func (o Outcomes) RetryAll(err error) {
	for i := range o {
		o.Retry(i, err)
	}
}

// Settle applies an error as the outcome of event i: nil is Done, one made by [Permanent] is Dead, one made by [After] is Retry after its time, one made by [Away] the same for all that
// goes to that dependency, one that wraps [ErrRefused] is Failed, and any other, since it is unknown, is Retry.
func (o Outcomes) Settle(i int, err error) {
	var p *permanent
	var a *after
	switch {
	case err == nil:
		o.Done(i)
	case errors.As(err, &p):
		o.Dead(i, p.code, err)
	case errors.As(err, &a) && a.away:
		o.Hold(i, err, a.d)
	case errors.As(err, &a):
		o.RetryAfter(i, err, a.d)
	case errors.Is(err, ErrRefused):
		o.Failed(i, err)
	default:
		o.Retry(i, err)
	}
}

type permanent struct {
	code event.Code
	err  error
}

func (p *permanent) Error() string { return p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }

// Permanent marks an error that the same input will always give. Its text goes into the dead letter: it must quote no values.
func Permanent(code event.Code, err error) error { return &permanent{code: code, err: err} }

type after struct {
	err  error
	d    time.Duration
	away bool
}

func (a *after) Error() string { return a.err.Error() }
func (a *after) Unwrap() error { return a.err }

// After marks an error of one event that should not be tried again before d.
func After(err error, d time.Duration) error { return &after{err: err, d: d} }

// Away marks an error of a dependency that takes nothing before d, as it said; no more than [MaxHold] of it counts.
func Away(err error, d time.Duration) error { return &after{err: err, d: d, away: true} }

// HTTP returns the status with which a request that brought this event is answered, always with an empty body, and the seconds for Retry-After (0: none), which are those of
// [MaxHold] at most.
//
//	Done   202
//	Failed 503, Retry 503 or, with a time, 429
//	Dead   503: nobody wrote the dead letter, so the event must come again
//
// Knative retries 429 and 503, and takes every other 4xx and a 2xx with a body for final.
func (o Outcome) HTTP() (status, retryAfter int) {
	switch o.Status {
	case Done:
		return http.StatusAccepted, 0
	case Retry:
		if o.After > 0 {
			return http.StatusTooManyRequests, seconds(o.After)
		}
		return http.StatusServiceUnavailable, 1
	case Failed, Dead:
		return http.StatusServiceUnavailable, max(1, seconds(o.After))
	}
	return http.StatusServiceUnavailable, 1
}

func seconds(d time.Duration) int { return int((min(d, MaxHold) + time.Second - 1) / time.Second) }
