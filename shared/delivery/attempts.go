package delivery

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"

	"millrace/shared/event"
)

// maxTracked bounds the memory of [Attempts]: about 200 bytes for each event that failed and has not passed since.
const maxTracked = 10_000

// Attempts returns a handler that passes events to next and gives up one that failed limit times while others passed: its outcome becomes Dead with
// the code attempts_exhausted. A failure counts only if next finished some other event since this one's last failure; what is Retry counts nothing, since a dependency's
// outage is not an event's fault.
//
// It counts in memory, as well as it can: a restart forgets, and of more than 10,000 failing events the longest untouched are forgotten. Both only
// mean more attempts.
func Attempts(next Handler, limit int) Handler {
	return &attempts{next: next, limit: limit, byID: make(map[string]*list.Element), order: list.New()}
}

type attempts struct {
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
	passed uint64 // value of attempts.passed when it was last counted
}

func (a *attempts) Handle(ctx context.Context, events []*event.Event) Outcomes {
	got := a.next.Handle(ctx, events)
	out := NewOutcomes(len(events))
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range events {
		if out[i] = got.Of(i); out[i].Status == Done {
			a.passed++
		}
	}
	for i, e := range events {
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

// count notes a failure and returns how many of this event's failures count.
func (a *attempts) count(key string) int {
	el, ok := a.byID[key]
	if !ok {
		if a.order.Len() >= maxTracked {
			oldest := a.order.Back()
			delete(a.byID, a.order.Remove(oldest).(*attempt).id)
		}
		t := &attempt{id: key}
		if a.passed > 0 {
			t.count, t.passed = 1, a.passed
		}
		a.byID[key] = a.order.PushFront(t)
		return t.count
	}
	a.order.MoveToFront(el)
	t := el.Value.(*attempt)
	if a.passed > t.passed {
		t.count, t.passed = t.count+1, a.passed
	}
	return t.count
}

func (a *attempts) forget(key string) {
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

// ErrPanic is the error of events whose handler panicked.
var ErrPanic = errors.New("the handler panicked")
