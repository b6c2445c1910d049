package sweep_test

import (
	"log/slog"
	"testing"
	"time"

	"millrace/functions/load-lake/internal/sweep"
)

// Guards the objects of a drain that runs against a sweeper whose own clock jumped, days ahead or behind: the store's clock alone says how old they are.
func TestSweepersClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{24 * time.Hour, 30 * 24 * time.Hour, -25 * time.Hour} {
		l := newLake(t)
		l.publish("events.raw", "id1", l.put("raw", day1))
		young := l.put("raw", day1) // its entry is yet to come
		l.pass(2 * time.Hour)
		l.publish("events.raw", "id1", l.put("raw", day1)) // another drain's
		s := sweep.New(settings, l.b, func() time.Time { return l.now.Add(jump) }, slog.New(slog.DiscardHandler))
		if r, err := s.Sweep(t.Context(), false, always); err != nil || r.Deleted != 0 || r.Young == 0 {
			t.Errorf("jumped by %s: %+v, %v", jump, r, err)
		}
		if _, err := l.b.Get(t.Context(), young); err != nil {
			t.Errorf("jumped by %s: %v", jump, err)
		}
	}
}
