package progress

import (
	"bytes"
	"testing"
	"time"
)

// Guards the line that a person waits by: how much, of how much, how long yet, and what else there is to say.
func TestLine(t *testing.T) {
	f := func(s State, elapsed time.Duration, bar bool, want string) {
		t.Helper()
		if got := s.Line(elapsed, bar); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	s := State{Name: "events.dead", Done: 50, Total: 200, What: "events", Notes: []string{"3 failed"}}
	f(s, 10*time.Second, true, "events.dead [=====               ] 50/200 25%, 30s left, 5/s, 3 failed")
	f(s, 10*time.Second, false, "events.dead 50/200 25%, 30s left, 5/s, 3 failed")
	s.Total = 0
	f(s, 10*time.Second, true, "events.dead 50 events, 5/s, 3 failed")
	f(State{Name: "x", Done: 5, Total: 4}, 0, true, "x [====================] 5/4 100%, 0/s")
}

// Guards the end of a job: the state is not asked for after Stop, which may be called twice.
func TestStop(t *testing.T) {
	stopped := false
	var out bytes.Buffer
	b := Start(&out, func() State {
		if stopped {
			t.Error("asked after Stop")
		}
		return State{}
	})
	b.Stop()
	stopped = true
	b.Stop()
	if out.Len() != 0 {
		t.Errorf("a log of a job that was done at once: %q", out.String())
	}
}
