package tally

import (
	"strings"
	"testing"
	"time"
)

// Guards against percentiles of the wrong rank: at most 2% too high, never above the maximum.
func TestPercentiles(t *testing.T) {
	c := New()
	for i := 1; i <= 1000; i++ {
		c.Settle(Accepted, int64(i), time.Duration(i)*time.Millisecond, "", "")
	}
	s := c.status[Accepted]
	for q, want := range map[float64]time.Duration{.5: 500 * time.Millisecond, .95: 950 * time.Millisecond, .99: 990 * time.Millisecond, 1: time.Second} {
		if got := s.quantile(q); got < want || float64(got) > float64(want)*1.021 || got > s.max {
			t.Errorf("the %v quantile is %s, want %s or 2%% more", q, got, want)
		}
	}
	var one spread
	one.add(0)
	if one.quantile(.5) != 0 || one.max != 0 {
		t.Errorf("of a single 0: %s", one.quantile(.5))
	}
	one.add(1000000 * time.Hour)
	if one.quantile(1) > one.max {
		t.Errorf("beyond the last bucket: %s", one.quantile(1))
	}
}

// Guards against a table whose rows do not make its total, and against a first example that a later one replaces.
func TestTable(t *testing.T) {
	c := New()
	c.Settle(Accepted, 1, 2*time.Millisecond, "", "")
	c.Settle(DeadLettered, 2, 3*time.Millisecond, "bad_type", "first")
	c.Settle(DeadLettered, 3, 3*time.Millisecond, "bad_type", "second")
	c.Settle(Unconfirmed, 4, 5*time.Second, "no_answer", "lost")
	c.Request(1000, 0)
	c.Request(500, 1)
	var b strings.Builder
	if err := c.Write(&b, 2*time.Second); err != nil {
		t.Fatal(err)
	}
	want := `        receipt  events     p50  p95  p99  max
       accepted       1     2ms  2ms  2ms  2ms
  dead_lettered       2     3ms  3ms  3ms  3ms
    unconfirmed       1      5s   5s   5s   5s
          total       4  3.04ms   5s   5s   5s
2 requests, 1 events resent, 0.0 MB, 2s, 2 events/s
dead_lettered bad_type: 2, first at row 2: first
unconfirmed no_answer: 1, first at row 4: lost
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	if c.Total() != 4 {
		t.Errorf("total %d", c.Total())
	}
}
