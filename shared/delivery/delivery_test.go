package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"millrace/shared/event"
)

var errItem = errors.New("item refused")

func newEvent(t *testing.T, id string) *event.Event {
	t.Helper()
	e, err := event.DecodeStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/s","type":"T"}`, id))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Guards the rule that nothing but an explicit Done acknowledges: forgotten, short and dead outcomes are retried.
func TestOnlyDoneIsAcknowledged(t *testing.T) {
	o := NewOutcomes(7)
	o.Done(0)
	o.Retry(1, errItem)
	o.RetryAfter(2, errItem, 1500*time.Millisecond)
	o.Dead(3, event.CodeNotJSON, errItem)
	o.Hold(5, errItem, time.Hour)
	o.RetryAfter(6, errItem, time.Hour)
	want := [][2]int{{202, 0}, {503, 1}, {429, 2}, {503, 1}, {503, 1}, {429, 60}, {429, 60}, {503, 1}}
	for i, w := range want { // 4 was not mentioned, 7 is beyond the outcomes
		status, after := o.Of(i).HTTP()
		if status != w[0] || after != w[1] {
			t.Errorf("outcome %d: %d after %d s, want %v", i, status, after, w)
		}
	}
	if !errors.Is(o.Of(4).Err, ErrNotMentioned) || !errors.Is(o.Of(7).Err, ErrNotMentioned) {
		t.Error("an outcome that was not mentioned does not say so")
	}
}

// Guards that an unknown error means retry, and that only marked ones are permanent, wrapped or not.
func TestSettle(t *testing.T) {
	f := func(err error, want Outcome) {
		t.Helper()
		o := NewOutcomes(1)
		o.Settle(0, err)
		if got := o[0]; got.Status != want.Status || got.Code != want.Code || got.After != want.After || got.Away != want.Away {
			t.Errorf("Settle(%v) = %+v, want %+v", err, got, want)
		}
	}
	f(nil, Outcome{Status: Done})
	f(errItem, Outcome{Status: Retry})
	f(context.Canceled, Outcome{Status: Retry})
	f(fmt.Errorf("x: %w", Permanent(event.CodeNotJSON, errItem)), Outcome{Status: Dead, Code: event.CodeNotJSON})
	f(After(errItem, time.Second), Outcome{Status: Retry, After: time.Second})
	f(fmt.Errorf("x: %w", Away(ErrBusy, time.Second)), Outcome{Status: Retry, After: time.Second, Away: true})
	f(Away(errItem, time.Hour), Outcome{Status: Retry, After: MaxHold, Away: true})
	f(fmt.Errorf("x: %w", ErrRefused), Outcome{Status: Failed})
	f(fmt.Errorf("x: %w", ErrBusy), Outcome{Status: Retry})
}

// Guards a poison event: it is given up after five failures while others pass, and the good one is never touched.
func TestAttemptsGiveUpPoison(t *testing.T) {
	h := Attempts(HandlerFunc(func(_ context.Context, events []*event.Event) Outcomes {
		o := NewOutcomes(len(events))
		for i, e := range events {
			if e.ID() == "poison" {
				o.Failed(i, errItem)
			} else {
				o.Done(i)
			}
		}
		return o
	}), 5)
	batch := []*event.Event{newEvent(t, "good"), newEvent(t, "poison")}
	for n := 1; n <= 5; n++ {
		o := h.Handle(t.Context(), batch)
		if o[0].Status != Done {
			t.Fatalf("attempt %d: the good event is %v", n, o[0].Status)
		}
		want := Failed
		if n == 5 {
			want = Dead
		}
		if o[1].Status != want {
			t.Fatalf("attempt %d: the poison is %v, want %v", n, o[1].Status, want)
		}
	}
}

// Guards a batch against the one event that makes a handler panic: the others are done at once, and it is given up after five times, with a message
// that quotes nothing of it.
func TestPanicIsOneEventsFault(t *testing.T) {
	for n := range 7 {
		var batch []*event.Event
		for i := range 7 {
			batch = append(batch, newEvent(t, fmt.Sprint(i)))
		}
		poison := batch[n]
		h := Attempts(HandlerFunc(func(_ context.Context, events []*event.Event) Outcomes {
			o := NewOutcomes(len(events))
			for i, e := range events {
				if e == poison {
					panic(fmt.Sprintf("secret of %s", e.ID()))
				}
				o.Done(i)
			}
			return o
		}), 5)
		for attempt := 1; attempt <= 5; attempt++ {
			o := h.Handle(t.Context(), batch)
			for i := range batch {
				switch {
				case i != n && o[i].Status != Done:
					t.Fatalf("attempt %d: event %d is %v beside the poison %d", attempt, i, o[i].Status, n)
				case i == n && (attempt < 5) != (o[i].Status == Failed), i == n && (attempt == 5) != (o[i].Status == Dead):
					t.Fatalf("attempt %d: the poison is %v", attempt, o[i].Status)
				}
			}
			if err := o[n].Err; !errors.Is(err, ErrPanic) || strings.Contains(err.Error(), "secret") {
				t.Fatalf("error %v", err)
			}
		}
	}
}

// Guards a panicking handler's time: when the batch's context has ended nothing is handed over again, and nothing is acknowledged or counted.
func TestPanicWithoutTimeIsRetry(t *testing.T) {
	calls := 0
	ctx, cancel := context.WithCancel(t.Context())
	h := Attempts(HandlerFunc(func(context.Context, []*event.Event) Outcomes {
		calls++
		cancel()
		panic(errItem)
	}), 1)
	o := h.Handle(ctx, []*event.Event{newEvent(t, "1"), newEvent(t, "2")})
	if calls != 1 || o[0].Status != Retry || o[1].Status != Retry {
		t.Errorf("%d calls, outcomes %v, %v", calls, o[0].Status, o[1].Status)
	}
}

// Guards good events against a dependency's outage: while nothing passes, nothing counts, however long it lasts.
func TestAttemptsDoNotCountOutages(t *testing.T) {
	healthy, mention := false, true
	h := Attempts(HandlerFunc(func(_ context.Context, events []*event.Event) Outcomes {
		o := NewOutcomes(len(events))
		for i := range events {
			switch {
			case healthy:
				o.Done(i)
			case mention:
				o.Retry(i, errItem)
			}
		}
		return o
	}), 5)
	batch := []*event.Event{newEvent(t, "a"), newEvent(t, "b")}
	healthy = true
	h.Handle(t.Context(), []*event.Event{newEvent(t, "earlier")})
	healthy = false
	for range 20 {
		if o := h.Handle(t.Context(), batch); o[0].Status != Retry {
			t.Fatalf("got %v", o[0].Status)
		}
	}
	mention = false
	for range 20 { // unmentioned failures count once for the earlier success, then never
		if o := h.Handle(t.Context(), batch); o[0].Status != Failed {
			t.Fatalf("got %v", o[0].Status)
		}
	}
}

// Guards against committing past an unfinished event, in any order of finishing and with gaps in the offsets.
func TestOffsetsNeverPassUnfinished(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		o := NewOffsets(100)
		open := map[int64]bool{}
		gap := []int{3, 300, 5000}[round%3]
		var last int64 = 99
		for range 200 {
			if rng.IntN(2) == 0 || len(open) == 0 {
				last += 1 + int64(rng.IntN(gap))
				if err := o.Start(last); err != nil {
					t.Fatal(err)
				}
				open[last] = true
			} else {
				for offset := range open {
					delete(open, offset)
					o.Finish(offset)
					break
				}
			}
			want := last + 1
			for offset := range open {
				want = min(want, offset)
			}
			if o.Next() != want || o.Unfinished() != len(open) {
				t.Fatalf("next %d, want %d; unfinished %d, want %d", o.Next(), want, o.Unfinished(), len(open))
			}
		}
		if o.Start(last) == nil {
			t.Fatal("an offset was handed out twice")
		}
		if o.Finish(last+1) || o.Finish(o.Next()-1) {
			t.Fatal("what is not unfinished moved the position")
		}
	}
}
