package model

import (
	"slices"
	"testing"
)

// The thin path: an incremental fact through an ephemeral model, dimensions, a mart by partition and one rebuilt whole; then nothing to do; then new rows in one partition.
func TestRun(t *testing.T) {
	l := newLake(t)
	l.land("T", 1, trip{id: "a", hash: "1", at: 1, offset: 1, day: "2026-11-20", zone: 1, amount: 2.5}, trip{id: "b", hash: "2", at: 2, offset: 2, day: "2026-11-21", zone: 2, amount: 3})
	res := l.run()
	if r := res["fact_trip"]; r.Status != Built || r.Mode != Rebuild || r.Counts.Added != 2 {
		t.Errorf("fact_trip: %+v", r)
	}
	l.same("fact_trip", l.star("fact_trip", "root_id", "pickup_date", "zone_key", "amount"), "a 2026-11-20 1 2.5", "b 2026-11-21 2 3")
	l.same("daily_trips", l.star("daily_trips"), "2026-11-20 Newark 1 2.5", "2026-11-21 Queens 1 3")
	l.same("zone_totals", l.star("zone_totals"), "1 1", "2 1")

	opened := l.opened
	for n, r := range l.run() {
		if r.Status != Current {
			t.Errorf("%s was not current: %+v", n, r)
		}
	}
	if l.opened != opened {
		t.Error("a run with nothing to do opened an engine")
	}

	l.land("T", 2, trip{id: "c", hash: "3", at: 3, offset: 3, day: "2026-11-21", zone: 2, amount: 4})
	res = l.run()
	if r := res["fact_trip"]; r.Status != Built || r.Mode != Merge || r.Counts != (Counts{Added: 1}) || r.SourceRows != 1 {
		t.Errorf("fact_trip: %+v", r)
	}
	if r := res["daily_trips"]; r.Mode != Overwrite || !slices.Equal(r.Days, []string{"2026-11-21"}) || r.Counts != (Counts{Added: 1, Removed: 1}) || r.SourceRows != 2 {
		t.Errorf("daily_trips: %+v", r)
	}
	l.same("daily_trips", l.star("daily_trips"), "2026-11-20 Newark 1 2.5", "2026-11-21 Queens 2 7")
	l.same("zone_totals", l.star("zone_totals"), "1 1", "2 2")
	if r := res["dim_zone"]; r.Status != Current {
		t.Errorf("dim_zone was built again: %+v", r)
	}
}
