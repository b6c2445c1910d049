package main

import (
	"fmt"
	"testing"
	"time"

	"millrace/shared/event"
)

// Guards identity against a clock that jumps, a day ahead and an hour back: an event with an id is the same event whenever it is sent, one without gets an id of its own each time, each is
// accepted, and collectortime is what the clock said.
func TestClockJumps(t *testing.T) {
	r := newRig(t, nil)
	now := testTime
	r.clock = func() time.Time { return now }
	ids, roots := map[string]bool{}, map[string]bool{}
	for i, jump := range []time.Duration{0, 24 * time.Hour, -25 * time.Hour, 0, time.Nanosecond} {
		now = now.Add(jump)
		w := r.post("/api/v1/collect", nil, []byte(`[{"event_type":"T","schema_version":"0-0-1","id":"1","source":"/p","payload":1},{"event_type":"T","schema_version":"0-0-1","payload":2}]`))
		got := receiptsOf(t, w)
		if w.Code != 200 || len(got) != 2 {
			t.Fatalf("after %s: answered %d %+v", jump, w.Code, got)
		}
		roots[got[0].RootID], ids[got[1].ID] = true, true
		if len(roots) != 1 || len(ids) != i+1 {
			t.Errorf("after %s: %+v", jump, got)
		}
		for _, e := range r.raw.events[2*i:] {
			if at := event.Attr(e, event.CollectorTime); at != event.FormatTime(now) {
				t.Errorf("after %s: collectortime %s, want %s", jump, at, fmt.Sprint(now))
			}
		}
	}
}
