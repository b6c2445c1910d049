package ingest

import "testing"

// Guards dashboards on a lake without a dead letter, and the first one that comes: the table is there before it, empty, and takes it as if it had made the table, by its log's own positions.
func TestDeadBeforeTheFirst(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.land(enriched, plain("A", 3))
	l.must()
	for range 2 {
		l.with(func(o Options) {
			if err := EnsureDead(t.Context(), o.Warehouse); err != nil {
				t.Fatal(err)
			}
		})
	}
	if got := l.query("select count(*), count(failure_code), count(arrival_date) from events.dead"); got != "0 0 0" {
		t.Errorf("at first: %s", got)
	}
	l.land(deadOnes, deadObject("x"))
	l.land(deadOnes, deadObject("y"))
	if res := l.must(); len(res.Alarms) != 0 || res.Rows() != 2 {
		t.Errorf("%+v", res)
	}
	if res := l.must(); res.Rows() != 0 {
		t.Errorf("again: %+v", res)
	}
	if got := l.query("select failure_code, payload_bytes, landing_sequence from events.dead order by 1"); got != "x 7 1\ny 7 2" {
		t.Errorf("then: %s", got)
	}
}
