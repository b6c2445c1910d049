// Package deadletter writes what a handler gives up to events.dead, at once and in its own write.
//
// It stands between what brings events and a handler: the handler says Dead, this package makes the dead letter (the same
// event, original bytes, plus the failure's attributes), publishes all of a batch's dead letters in one call, and says
// Done for those whose write was confirmed and Retry for all others. So an event left to its Trigger's retries never holds
// back the good ones behind it, and none is answered for that is in neither place.
//
// For a handler that reads events.dead ([HandlerOfDead]), what is a dead letter already is never made one again, or one event could go round for
// ever: Dead becomes Failed then, and the handler must find another way (load-search writes the attributes only). No other handler may refuse:
// an event says that it is a dead letter by attributes, which a producer can write and a replay can leave, and would then block its Trigger's slot
// until the retries are over.
//
// A dead letter that is too large for its topic is written without its data, which its message says: the event as it came is in
// the topic it was read from, and in that topic's archive. One whose attributes alone are too large (collect bounds them, a Broker's own ingress does not)
// keeps those that tell what it is, each cut to 1 KiB.
//
// It does not count attempts (that is [delivery.Attempts]; put it inside) and does not log.
package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"millrace/shared/delivery"
	"millrace/shared/event"
)

var (
	// ErrAlreadyDead is wrapped by the error of a dead letter that its handler gave up again.
	ErrAlreadyDead = errors.New("it is a dead letter already")
	// ErrNotConfirmed is wrapped by the error of an event for whose dead letter the publisher gave no result.
	ErrNotConfirmed = errors.New("the dead letter's write was not confirmed")

	errNoCode = errors.New("given up without a failure code")
)

// AssumedVersion returns err with the schema version that was assumed for an event that names none: its dead letter carries it as
// [event.FailureVersion]. With version "" it returns err.
func AssumedVersion(err error, version string) error {
	if version == "" {
		return err
	}
	return &assumed{err, version}
}

type assumed struct {
	error
	version string
}

func (a *assumed) Unwrap() error { return a.error }

// Handler returns a handler that passes events to next and publishes what it gives up to "to", events.dead. stage names the
// function and becomes the failurestage; clock gives the failuretime.
//
// The outcomes are next's, but for Dead ones: Done once the dead letter is durable, Retry when its write failed or may have
// failed (then it can be there twice, with the same root id, stage and replay count). Events are not changed.
func Handler(next delivery.Handler, to delivery.Publisher, stage string, clock func() time.Time) delivery.Handler {
	return handler(next, to, stage, clock, false)
}

// HandlerOfDead is [Handler] for a handler that reads events.dead: an event that is a dead letter already must not become one again, and is Failed in place of
// Dead.
func HandlerOfDead(next delivery.Handler, to delivery.Publisher, stage string, clock func() time.Time) delivery.Handler {
	return handler(next, to, stage, clock, true)
}

func handler(next delivery.Handler, to delivery.Publisher, stage string, clock func() time.Time, readsDead bool) delivery.Handler {
	return delivery.HandlerFunc(func(ctx context.Context, events []*event.Event) delivery.Outcomes {
		got := next.Handle(ctx, events)
		out := delivery.NewOutcomes(len(events))
		var (
			letters []*event.Event
			of      []int // letters[n] is the dead letter of events[of[n]]
		)
		for i, e := range events {
			out[i] = got.Of(i)
			if out[i].Status != delivery.Dead {
				continue
			}
			if out[i].Code == "" {
				// A dead letter without a code would not be known as one.
				out.Failed(i, errNoCode)
				continue
			}
			cause := out[i].Err
			if cause == nil {
				cause = errors.New(string(out[i].Code))
			}
			if readsDead && event.IsDead(e) {
				out.Failed(i, fmt.Errorf("%w: %w", ErrAlreadyDead, cause))
				continue
			}
			f := event.Failure{Stage: stage, Code: out[i].Code, Message: cause.Error(), Time: clock()}
			var v *assumed
			if errors.As(cause, &v) {
				f.Version = v.version
			}
			letters = append(letters, event.DeadLetter(e, f))
			of = append(of, i)
		}
		if len(letters) == 0 {
			return out
		}
		errs := publish(ctx, to, letters)
		for n, i := range of {
			switch {
			case n >= len(errs):
				out.Retry(i, fmt.Errorf("dead letter of %s: %w", event.Attr(events[i], event.RootID), ErrNotConfirmed))
			case errs[n] != nil:
				out.Retry(i, fmt.Errorf("dead letter of %s: %w", event.Attr(events[i], event.RootID), errs[n]))
			default:
				out.Done(i)
			}
		}
		return out
	})
}

// publish writes letters, and those that are too large once more in a smaller form, twice at most. It returns to's answer for each.
func publish(ctx context.Context, to delivery.Publisher, letters []*event.Event) []error {
	errs := to.Publish(ctx, letters)
	letters = slices.Clone(letters)
	for _, smaller := range []func(*event.Event) *event.Event{withoutData, cut} {
		var small []*event.Event
		var of []int
		for n := range min(len(letters), len(errs)) {
			if errors.Is(errs[n], delivery.ErrTooLarge) {
				letters[n] = smaller(letters[n])
				small, of = append(small, letters[n]), append(of, n)
			}
		}
		if len(small) == 0 {
			break
		}
		again := to.Publish(ctx, small)
		for k, n := range of {
			errs[n] = ErrNotConfirmed
			if k < len(again) {
				errs[n] = again[k]
			}
		}
	}
	return errs
}

// withoutData returns letter without its data, which its message says.
func withoutData(letter *event.Event) *event.Event {
	bare := &event.Event{Context: letter.Context.Clone()}
	note(bare, fmt.Sprintf("; the dead letter is too large with its %d bytes of data, which are where the event was read", len(letter.Data())))
	return bare
}

// note adds to a letter's message, in place of the message's end where there is no room.
func note(letter *event.Event, text string) {
	message := event.Attr(letter, event.FailureMessage)
	letter.SetExtension(event.FailureMessage, event.Cut(message, event.MaxFailureMessage-len(text))+text)
}

// maxAttribute is how long an attribute of a cut dead letter may be, in bytes: some twenty of them fit into any topic.
const maxAttribute = 1 << 10

// ours are the extensions that a cut dead letter keeps.
var ours = []string{
	event.RootID, event.DataHash, event.SchemaVersion, event.VersionAssumed, event.CollectorID, event.CollectorTime, event.Stage,
	event.FailureStage, event.FailureCode, event.FailureMessage, event.FailureTime,
	event.FailureSource, event.FailureID, event.FailureVersion, event.ReplayID, event.ReplayCount,
}

// cutSource is the source of a dead letter whose own is too long to be one.
const cutSource = "/millrace/cut"

// cut returns a letter without data, with the attributes that tell what it is, each cut to its length. What was too large are other attributes of
// an event that did not come by collect. Its identity is the whole event's.
func cut(letter *event.Event) *event.Event {
	root := event.Attr(letter, event.RootID)
	if root == "" || len(root) > maxAttribute {
		root = event.Identity(letter.Source(), letter.ID())
	}
	small := ce.New()
	small.SetID(event.Cut(letter.ID(), maxAttribute))
	small.SetType(event.Cut(letter.Type(), maxAttribute))
	small.SetSource(letter.Source())
	if len(letter.Source()) > maxAttribute {
		small.SetSource(cutSource)
	}
	if subject := letter.Subject(); subject != "" {
		small.SetSubject(event.Cut(subject, maxAttribute))
	}
	if t := letter.Time(); !t.IsZero() {
		small.SetTime(t)
	}
	for _, name := range ours {
		if value := event.Attr(letter, name); value != "" {
			small.SetExtension(name, event.Cut(value, maxAttribute))
		}
	}
	small.SetExtension(event.RootID, root)
	note(&small, "; its other attributes are too large, too, and are left out or cut")
	return &small
}
