// Package source reads the events that a replay is about: from a topic, or from the landing area's objects where Kafka has forgotten. It reads once to
// select (Scan), and again to send what a plan names (Events).
//
// It guarantees that Events returns the very events that Scan saw at those places, or an error that says which is gone: a topic's id and an object's hash are
// compared. It writes nothing, and joins no consumer group.
package source

import (
	"errors"
	"fmt"
	"time"

	"millrace/functions/replay/internal/plan"
	"millrace/shared/event"
)

// Record is one record that was read.
type Record struct {
	plan.Place
	Event *event.Event // nil where it is no CloudEvent
	Time  time.Time    // of the record in Kafka
}

// Root derives what the event lacks and returns its root id; "" where the record is no event.
func (r Record) Root() string {
	if r.Event == nil || event.Derive(r.Event, r.Time) != nil {
		return ""
	}
	return event.Attr(r.Event, event.RootID)
}

// ErrGone is wrapped by the error that says which part of a plan's origin is not there any more.
var ErrGone = errors.New("gone")

// ErrStop is returned by Scan's callback to end the scan without an error.
var ErrStop = errors.New("stop")

// verify says whether e is the event that the entry is about.
func verify(e *event.Event, want plan.Entry) error {
	if e == nil || event.Attr(e, event.RootID) != want.Root || plan.HashPrefix(event.Attr(e, event.DataHash)) != want.Hash {
		return fmt.Errorf("event %s at %d/%d: another one lies there: %w", want.Root, want.Partition, want.Offset, ErrGone)
	}
	return nil
}
