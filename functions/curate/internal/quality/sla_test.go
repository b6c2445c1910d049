//go:build cgo

package quality

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/contract"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// levels returns a lake whose contract has these service levels.
func levels(t *testing.T, list ...string) *lake {
	t.Helper()
	c, _ := modelOf(t, head+fields+"slaProperties:\n  - "+strings.Join(list, "\n  - ")+"\n")
	return newLake(t, setOf(t, c), "Thing")
}

// log appends rows to ops.landing, as ingest does: sequence, written_at, kind, event_type, arrival_date, rows.
func (l *lake) log(values ...string) {
	l.t.Helper()
	text, long := iceberg.PrimitiveTypes.String, iceberg.PrimitiveTypes.Int64
	name := warehouse.Name{Namespace: "ops", Table: "landing"}
	t, err := l.w.Ensure(l.t.Context(), name, warehouse.Spec{Columns: []warehouse.Column{
		{Name: "landing_log", Type: text},
		{Name: "landing_sequence", Type: long},
		{Name: "written_at", Type: iceberg.PrimitiveTypes.TimestampTz},
		{Name: "kind", Type: text},
		{Name: "event_type", Type: text},
		{Name: "arrival_date", Type: iceberg.PrimitiveTypes.Date},
		{Name: "rows", Type: long},
	}})
	if err != nil {
		l.t.Fatal(err)
	}
	files, err := l.db.Write(l.t.Context(), `select 'log' as landing_log, cast(n as bigint) as landing_sequence, cast(ts as timestamptz) as written_at, kind, cast(event_type as varchar) as event_type,
		cast(day as date) as arrival_date, cast(r as bigint) as "rows" from (values (`+strings.Join(values, "), (")+`)) as v(n, ts, kind, event_type, day, r)`, t.Schema(), nil, func() string { return l.w.NewFile(t) })
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.w.Commit(l.t.Context(), t, warehouse.Change{Add: paths(files)}); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lake) sla() SLAOptions {
	l.runs++
	return SLAOptions{
		Warehouse: l.w, Contracts: l.set, RunID: fmt.Sprintf("run-%d", l.runs), Clock: func() time.Time { return l.now }, Interval: time.Hour,
		DB: func(context.Context) (*duck.DB, error) { return l.db, nil },
	}
}

func (l *lake) measure() SLAResult {
	l.t.Helper()
	r, err := SLA(l.t.Context(), l.sla())
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func show(list []Level) []string {
	var out []string
	for _, l := range list {
		met, target, actual := "unknown", "null", "null"
		if l.Met != nil {
			met = fmt.Sprint(*l.Met)
		}
		if l.Target != nil {
			target = fmt.Sprintf("%.3f", *l.Target)
		}
		if l.Actual != nil {
			actual = fmt.Sprintf("%.3f", *l.Actual)
		}
		out = append(out, fmt.Sprintf("%s %s of %s %s: %s", l.Property, actual, target, l.Unit, met))
	}
	return out
}

// Guards each service level's measurement against hand-counted rows: yesterday whole, today running, a replayed event, a dead letter of collect, a type beside.
func TestServiceLevels(t *testing.T) {
	l := levels(t, "{property: freshness, value: 1, unit: h}", "{property: latency, value: 15, unit: m}", "{property: latency, value: 1, unit: m}", "{property: completeness, value: 99.9, unit: percent}",
		"{property: completeness, value: 75, unit: '%'}", "{property: throughput, value: 3, unit: d}", "{property: volume, value: 4, unit: d}", "{property: frequency, value: 12, unit: h}", "{property: frequency, value: 1, unit: h}",
		"{property: retention, value: 2, unit: d}", "{property: retention, value: 1, unit: d}", "{property: retention, value: 1, unit: M}", "{property: availability, value: 99, unit: percent}", "{property: endOfSupport, value: '2032-05-12T09:30:10-08:00'}",
		"{property: latency, value: soon, unit: m}", "{property: freshness, value: 5, unit: percent}", "{property: retention, value: 3}")
	thing := l.table
	stamped := func(list ...string) string {
		return "select cast(1 as double) as amount, root_id, cast(ts as timestamptz) as collector_tstamp, cast(replays as bigint) as replay_count from (values (" + strings.Join(list, "), (") + ")) as t(root_id, ts, replays)"
	}
	l.land("2026-11-18", stamped("'x', '2026-11-18 10:00:00Z', null")) // entry 1
	l.land("2026-11-20", stamped("'a', '2026-11-20 10:00:00Z', null", "'b', '2026-11-20 10:04:00Z', null", "'b', '2026-11-20 10:04:00Z', null", "'r', '2026-11-01 00:00:00Z', 1"))
	l.land(today, stamped("'c', '2026-11-21 11:30:00Z', null"))
	l.table = warehouse.Name{Namespace: "events", Table: "enriched_other_0"}
	l.land("2026-11-20", "select cast(1 as double) as amount, 'other' as root_id")
	l.table = thing
	l.log("1, '2026-11-19 10:05:00Z', 'enriched', 'Thing', '2026-11-18', 1", "2, '2026-11-20 10:06:00Z', 'enriched', 'Thing', '2026-11-20', 4", "3, '2026-11-21 11:31:00Z', 'enriched', 'Thing', '2026-11-21', 1",
		"9, '2026-11-20 10:06:00Z', 'raw', null, '2026-11-20', 5", "9, '2026-11-21 11:31:00Z', 'raw', null, '2026-11-21', 7")
	r := l.measure()
	equal(t, "levels", strings.Join(show(r.Levels), "\n"), strings.Join([]string{
		"freshness 0.500 of 1.000 h: true",
		"latency 5.880 of 15.000 m: true", // 6, 2, 2 and 1 minutes, interpolated
		"latency 5.880 of 1.000 m: false",
		"completeness 80.000 of 99.900 percent: false", // a, b, r and other of 5
		"completeness 80.000 of 75.000 percent: true",
		"throughput 4.000 of 3.000 d: true",
		"volume 4.000 of 4.000 d: true",
		"frequency 16.639 of 12.000 h: false", // the window is 5 days: 49.9 hours, three landings
		"frequency 0.483 of 1.000 h: true",    // the last day: one landing, 29 minutes ago
		"retention 3.500 of 2.000 d: true",    // it ended two and a half days ago, and has a day to be taken away
		"retention 3.500 of 1.000 d: false",
		"retention 0.115 of 1.000 M: true",
		"availability null of null percent: unknown",
		"endOfSupport null of null : unknown",
		"latency null of null m: unknown",
		"freshness null of 5.000 percent: unknown",
		"retention null of 3.000 : unknown",
	}, "\n"))
	equal(t, "ops.sla", l.rows(TableSLA, "select run_id, source, property, target, actual, met from x where property = 'completeness' order by target"), []string{
		"run-1 events.enriched_thing_0 completeness 75 80 true", "run-1 events.enriched_thing_0 completeness 99.9 80 false",
	})
	if !strings.Contains(r.Levels[12].Note, "not measured here") || !strings.Contains(r.Levels[14].Note, "no number") {
		t.Errorf("%+v", r.Levels)
	}
}

// Guards when levels are measured: at first, after something new, after the interval, and not else; without a service level never.
func TestWhenLevelsAreMeasured(t *testing.T) {
	l := levels(t, "{property: freshness, value: 1, unit: h}")
	if r := l.measure(); len(r.Levels) != 0 {
		t.Errorf("without a table: %+v", r)
	}
	l.land(today, amounts("1"))
	if r := l.measure(); len(r.Levels) != 1 {
		t.Errorf("at first: %+v", r)
	}
	o := l.sla()
	o.DB = func(context.Context) (*duck.DB, error) { return nil, errors.New("opened for nothing") }
	if r, err := SLA(t.Context(), o); err != nil || len(r.Levels) != 0 {
		t.Errorf("with nothing new: %+v, %v", r, err)
	}
	l.land(today, amounts("1"))
	if r := l.measure(); len(r.Levels) != 1 {
		t.Errorf("with something new: %+v", r)
	}
	l.now = l.now.Add(time.Hour)
	if r := l.measure(); len(r.Levels) != 1 || *r.Levels[0].Met || *r.Levels[0].Actual != 3 {
		t.Errorf("after the interval: %v", show(r.Levels))
	}
	c, _ := contractOf(t, "{metric: rowCount, mustBe: 0}")
	l.set = setOf(t, c)
	l.now = l.now.Add(48 * time.Hour)
	if r := l.measure(); len(r.Levels) != 0 {
		t.Errorf("without levels: %+v", r)
	}
}

// Guards a measurement that ends before its commit: it is measured again, and stands once.
func TestKilledMeasurementIsRepeated(t *testing.T) {
	l := levels(t, "{property: freshness, value: 1, unit: h}")
	l.land(today, amounts("1"))
	l.measure()
	l.land(today, amounts("1"))
	l.server.Fail(func(method, _, key string) objectstoretest.Fault {
		if method == http.MethodPut && strings.Contains(key, "ops/sla/") {
			return objectstoretest.WriteThenFail
		}
		return objectstoretest.Serve
	})
	if _, err := SLA(t.Context(), l.sla()); err == nil {
		t.Error("no error")
	}
	l.server.Fail(nil)
	l.measure()
	l.measure()
	equal(t, "ops.sla", l.rows(TableSLA, "select run_id from x order by 1"), []string{"run-1", "run-3"})
}

// Guards the levels of all sources against one whose objects are away: the others are measured, the error names it, and the next run measures it.
func TestOneSourcesLevelsAreAway(t *testing.T) {
	l := levels(t, "{property: freshness, value: 1, unit: h}")
	l.land(today, amounts("1"))
	other, _ := modelOf(t, strings.Replace(head, "value: Thing", "value: Other", 1)+fields+"slaProperties:\n  - {property: freshness, value: 1, unit: h}\n")
	set, err := contract.NewSet(append(l.set.All(), other)...)
	if err != nil {
		t.Fatal(err)
	}
	l.set, l.table = set, warehouse.Name{Namespace: "events", Table: "enriched_other_0"}
	l.land(today, amounts("1"))
	l.server.Fail(func(_, _, key string) objectstoretest.Fault {
		if strings.Contains(key, "enriched_other_0/data/") {
			return objectstoretest.Refuse
		}
		return objectstoretest.Serve
	})
	o := l.sla()
	o.Warehouse = l.reopen()
	r, err := SLA(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "events.enriched_other_0") || len(r.Levels) != 1 || r.Levels[0].Source != "events.enriched_thing_0" {
		t.Errorf("%v: %+v", err, r.Levels)
	}
	l.server.Fail(nil)
	if r := l.measure(); len(r.Levels) != 2 {
		t.Errorf("%+v", r.Levels)
	}
}

// Guards ops.sla against a share of nothing: a day whose raw entries have no rows is no measurement, neither a number that is none nor a level that is missed, and the other levels are measured and kept.
func TestCompletenessOfNothing(t *testing.T) {
	l := levels(t, "{property: completeness, value: 99.9, unit: percent}", "{property: frequency, value: 12, unit: h}")
	l.land(today, "select cast(1 as double) as amount")
	l.log("1, '2026-11-21 11:31:00Z', 'enriched', 'Thing', '2026-11-21', 1", "9, '2026-11-20 10:06:00Z', 'raw', null, '2026-11-20', 0")
	r := l.measure()
	if c := r.Levels[0]; c.Actual != nil || c.Met != nil || !strings.Contains(c.Note, "no raw row of 2026-11-20") || r.Levels[1].Met == nil {
		t.Errorf("%+v", r.Levels)
	}
	equal(t, "ops.sla", l.rows(TableSLA, "select property, actual, met, description like '%no raw row%' from x order by 1"), []string{"completeness null null true", "frequency 0.48333333333333334 true false"})
}

// Guards completeness against a table that is damaged: the events in it are not lost, so that the share of all is not known; the levels of the others are measured.
func TestCompletenessBesideADamagedTable(t *testing.T) {
	l := levels(t, "{property: completeness, value: 99.9, unit: percent}", "{property: frequency, value: 12, unit: h}")
	l.land(today, "select cast(1 as double) as amount")
	l.table = warehouse.Name{Namespace: "events", Table: "enriched_other_0"}
	l.land(today, "select cast(1 as double) as amount")
	l.log("1, '2026-11-21 11:31:00Z', 'enriched', 'Thing', '2026-11-21', 1", "9, '2026-11-21 10:06:00Z', 'raw', null, '2026-11-21', 2")
	b, _ := l.w.Store()
	page, err := b.List(t.Context(), "warehouse/events/enriched_other_0/metadata/", "", objectstore.MaxList)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range page {
		if strings.HasSuffix(object.Key, ".json") {
			if err := b.Delete(t.Context(), object.Key); err != nil {
				t.Fatal(err)
			}
		}
	}
	o := l.sla()
	o.Warehouse = l.reopen()
	r, err := SLA(t.Context(), o)
	if err != nil || len(r.Levels) != 2 {
		t.Fatalf("%v: %+v", err, r.Levels)
	}
	if c := r.Levels[0]; c.Met != nil || c.Actual != nil || !strings.Contains(c.Note, "events.enriched_other_0 cannot be read") || r.Levels[1].Met == nil {
		t.Errorf("%+v", r.Levels)
	}
}
