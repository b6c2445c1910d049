package delivery

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"

	"millrace/shared/event"
)

// maxTracked bounds the memory of [Attempts]: about 200 bytes for each event that failed and has not passed since.
const maxTracked = 10_000

// Attempts returns a handler that passes events to next and gives up one that failed limit times while others passed: its outcome becomes Dead with
// the code attempts_exhausted. A failure counts only if next finished some other event since this one's last failure; what is Retry counts nothing, since a dependency's
// outage is not an event's fault.
//
// A panic of next is the failure of one event, not of its batch: the batch is halved and handed over again until the event is found that panics
// alone. Its outcome is Failed with a [*PanicError]; the others have their own. A panic on another goroutine than the one that called next ends
// the process, as ever.
//
// It counts in memory, as well as it can: a restart forgets what nobody kept ([AttemptCounter.Count], [AttemptCounter.Restore]), and of more than 10,000
// failing events the longest untouched are forgotten. Both only mean more attempts.
func Attempts(next Handler, limit int) *AttemptCounter {
	return &AttemptCounter{next: next, limit: limit, byID: make(map[string]*list.Element), order: list.New()}
}

// AttemptCounter is the handler that [Attempts] returns. It is safe for concurrent use.
type AttemptCounter struct {
	next  Handler
	limit int

	mu     sync.Mutex
	passed uint64 // events that next finished
	byID   map[string]*list.Element
	order  *list.List // of *attempt, the most recently failed first
}

type attempt struct {
	id     string
	count  int
	passed uint64 // value of AttemptCounter.passed when it was last counted
}

// Handle implements [Handler].
func (a *AttemptCounter) Handle(ctx context.Context, events []*event.Event) Outcomes {
	out := NewOutcomes(len(events))
	a.guarded(ctx, events, out)
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range events {
		if out[i].Status == Done {
			a.passed++
		}
	}
	for i, e := range events {
		if (out[i].Status == Done || out[i].Status == Retry) && len(a.byID) == 0 {
			continue // nearly always
		}
		key := attemptKey(e)
		switch out[i].Status {
		case Done, Dead:
			a.forget(key)
		case Failed:
			if n := a.count(key); n >= a.limit {
				a.forget(key)
				out.Dead(i, event.CodeAttemptsExhausted, fmt.Errorf("gave up after %d attempts while others passed: %w", n, out[i].Err))
			}
		case Retry:
		}
	}
	return out
}

// guarded fills out with next's outcomes for events, whatever next does. Handling events twice is no harm: handlers are safe to repeat.
func (a *AttemptCounter) guarded(ctx context.Context, events []*event.Event, out Outcomes) {
	got, panicked := a.call(ctx, events)
	switch {
	case panicked == nil:
		for i := range events {
			out[i] = got.Of(i)
		}
	case len(events) == 1:
		out.Failed(0, panicked)
	case ctx.Err() != nil:
		out.RetryAll(fmt.Errorf("no time left to find which event it was: %w", panicked))
	default:
		half := len(events) / 2
		a.guarded(ctx, events[:half], out[:half])
		a.guarded(ctx, events[half:], out[half:])
	}
}

func (a *AttemptCounter) call(ctx context.Context, events []*event.Event) (got Outcomes, panicked error) {
	defer func() {
		if p := recover(); p != nil {
			panicked = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	return a.next.Handle(ctx, events), nil
}

// count notes a failure and returns how many of this event's failures count.
func (a *AttemptCounter) count(key string) int {
	el, ok := a.byID[key]
	if !ok {
		t := a.add(key).Value.(*attempt)
		if a.passed > 0 {
			t.count = 1
		}
		return t.count
	}
	a.order.MoveToFront(el)
	t := el.Value.(*attempt)
	if a.passed > t.passed {
		t.count, t.passed = t.count+1, a.passed
	}
	return t.count
}

// Count returns how many failures of e count so far; 0 also where it passed or was given up since. Whoever brings events keeps it beyond this process.
func (a *AttemptCounter) Count(e *event.Event) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if el, ok := a.byID[attemptKey(e)]; ok {
		return el.Value.(*attempt).count
	}
	return 0
}

// Restore says that n failures of e were counted before, elsewhere. A count that is higher here stays.
func (a *AttemptCounter) Restore(e *event.Event, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := attemptKey(e)
	el, ok := a.byID[key]
	if !ok {
		el = a.add(key)
	}
	t := el.Value.(*attempt)
	t.count = max(t.count, n)
}

// add begins to remember an event, in the place of the longest untouched where there are too many.
func (a *AttemptCounter) add(key string) *list.Element {
	if a.order.Len() >= maxTracked {
		oldest := a.order.Back()
		delete(a.byID, a.order.Remove(oldest).(*attempt).id)
	}
	el := a.order.PushFront(&attempt{id: key, passed: a.passed})
	a.byID[key] = el
	return el
}

func (a *AttemptCounter) forget(key string) {
	if el, ok := a.byID[key]; ok {
		a.order.Remove(el)
		delete(a.byID, key)
	}
}

// attemptKey tells a replayed event and a dead letter from the event itself.
func attemptKey(e *event.Event) string {
	id := event.Attr(e, event.RootID)
	if id == "" {
		id = event.Identity(e.Source(), e.ID())
	}
	return id + "/" + event.Attr(e, event.FailureStage) + "/" + event.Attr(e, event.ReplayCount)
}

// ErrPanic is wrapped by the error of an event whose handler panicked.
var ErrPanic = errors.New("the handler panicked")

// PanicError is the error of an event whose handler panicked. Its text, which can become a dead letter's message, says nothing of the value but its type, as
// that can quote the event; both fields are for logs.
type PanicError struct {
	Value any    // of the panic
	Stack []byte // of the goroutine that panicked
}

// Error implements error.
func (p *PanicError) Error() string {
	if err, ok := p.Value.(runtime.Error); ok {
		return ErrPanic.Error() + ": " + err.Error() // quotes numbers and types only
	}
	return fmt.Sprintf("%s with a %T", ErrPanic, p.Value)
}

// Unwrap returns [ErrPanic].
func (p *PanicError) Unwrap() error { return ErrPanic }
