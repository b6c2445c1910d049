package main

import (
	"testing"
	"time"
)

// What is told must come to its end neither before nor long after the run does: a bar that stands at the end for ten minutes looks like a hang.
func TestProgress(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	p := &progress{planned: []time.Duration{time.Minute, time.Minute, 2 * time.Minute}, now: func() time.Time { return now }}
	p.begin(0)
	step := func(d time.Duration, want string) {
		t.Helper()
		now = now.Add(d)
		if got := p.line(nil); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	step(0, "[------------------------]  0%  0:00 gone, about 4:00 left; row 1 of 3: between loads; before it 0 sent, 0 lost")
	step(30*time.Second, "[###---------------------] 12%  0:30 gone, about 3:30 left; row 1 of 3: between loads; before it 0 sent, 0 lost")
	step(90*time.Second, "[######------------------] 24%  2:00 gone, about 3:03 left; row 1 of 3: between loads; before it 0 sent, 0 lost")
	p.begin(1) // twice as slow as planned
	step(0, "[######------------------] 25%  2:00 gone, about 6:00 left; row 2 of 3: between loads; before it 0 sent, 0 lost")
	now = now.Add(2 * time.Minute)
	p.begin(2)
	step(2*time.Minute, "[##################------] 75%  6:00 gone, about 2:00 left; row 3 of 3: between loads; before it 0 sent, 0 lost")
	step(time.Hour, "[#######################-] 98%  66:00 gone, about 0:12 left; row 3 of 3: between loads; before it 0 sent, 0 lost")
}
