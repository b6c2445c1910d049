package drain_test

import (
	"fmt"
	"strings"
	"testing"
)

// numbers returns "first ... last", as landed.ids has them.
func numbers(first, n int) string {
	var s []string
	for i := first; i < first+n; i++ {
		s = append(s, fmt.Sprint(i))
	}
	return strings.Join(s, " ")
}

// Guards the main path: what is in the topic is in objects that the log names, byte for byte and once, and a second drain goes on from there.
func TestDrain(t *testing.T) {
	l := newLake(t, "events.raw", 3)
	l.events(0, 50, 3)
	if r := l.drain(); r.Rows != 50 || r.Entries != 1 || !r.Done {
		t.Errorf("%+v", r)
	}
	if r := l.drain(); r.Entries != 0 || !r.Done {
		t.Errorf("nothing new: %+v", r)
	}
	l.events(50, 7, 3)
	l.drain()
	x := l.landed(l.id())
	if got := x.ids(); got != numbers(0, 57) {
		t.Errorf("got %s", got)
	}
	if len(x.entries) != 2 || x.entries[1].Sequence != 2 || x.entries[0].Drain == x.entries[1].Drain || !x.entries[0].Time.Equal(l.now) {
		t.Errorf("entries %+v", x.entries)
	}
	for _, r := range x.rows {
		if want := fmt.Sprintf(` {"n": %s.0, "text":"\u00fc"}`, *r.ID); string(r.Payload) != want {
			t.Errorf("payload %q, want %q", r.Payload, want)
		}
	}
	for _, o := range x.entries[0].Objects {
		if want := "landing/raw/date=2026-11-20/" + x.entries[0].Drain + "-0.parquet"; o.Key != want || o.Type != "" || o.Kind != "raw" {
			t.Errorf("object %+v", o)
		}
	}
}
