package model

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/warehouse"
)

func twoDays(l *lake) {
	l.t.Helper()
	l.land("T", 1, trip{id: "a", hash: "1", at: 1, offset: 1, day: "2026-11-20", zone: 1, amount: 1}, trip{id: "b", hash: "2", at: 2, offset: 2, day: "2026-11-21", zone: 2, amount: 3})
	l.run()
}

// A model whose SQL changed is built anew from the beginning, with what was there before among it; comments and tests change nothing.
func TestModelChanged(t *testing.T) {
	l := newLake(t)
	twoDays(l)
	l.set = load(t, modelsWith(t, "payload.amount as amount", "-- as the meter said\n  payload.amount   as amount", "tests: [not_null, unique]", "tests: [not_null]"))
	for n, r := range l.run() {
		if r.Status != Current {
			t.Errorf("a comment and a test had %s built: %+v", n, r)
		}
	}
	l.set = load(t, modelsWith(t, "payload.amount as amount", "payload.amount * 2 as amount"))
	res := l.run()
	if r := res["fact_trip"]; r.Mode != Rebuild || r.Cause != "the model has changed" || r.Counts != (Counts{Added: 2, Removed: 2}) {
		t.Errorf("fact_trip: %+v", r)
	}
	l.same("fact_trip", l.facts(), "a 1 0 0 1 2026-11-20 2", "b 2 0 0 2 2026-11-21 6")
	l.same("daily_trips", l.star("daily_trips"), "2026-11-20 Newark 1 2", "2026-11-21 Queens 1 6")
}

// Rows that were taken from under a fact, as an erasure does, leave it with a full refresh alone.
func TestFullRefresh(t *testing.T) {
	l := newLake(t)
	l.land("T", 1, trip{id: "a", hash: "1", at: 1, offset: 1, day: "2026-11-20", zone: 1, amount: 1})
	l.land("T", 2, trip{id: "b", hash: "2", at: 2, offset: 2, day: "2026-11-21", zone: 2, amount: 3})
	l.run()
	ctx := t.Context()
	src, err := l.w.Load(ctx, source)
	if err != nil {
		t.Fatal(err)
	}
	all, err := src.Plan(ctx, betweenFiles(Position{"T": 1}, Position{"T": 2}))
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	if _, err := l.w.Commit(ctx, src, warehouse.Change{Remove: all}); err != nil {
		t.Fatal(err)
	}
	if r := l.run()["fact_trip"]; r.Status != Current {
		t.Errorf("fact_trip: %+v", r)
	}
	o := l.options("fact_trip+")
	o.FullRefresh = true
	res, err := Run(ctx, o)
	if err != nil || res.Failed() != nil {
		t.Fatal(res, err)
	}
	l.same("fact_trip", l.facts(), "a 1 0 0 1 2026-11-20 1")
	l.same("daily_trips", l.star("daily_trips"), "2026-11-20 Newark 1 1")
}

// A column more, one less and one of another type: the table gets them, and all its rows have them.
func TestColumnsChanged(t *testing.T) {
	l := newLake(t)
	twoDays(l)
	more := []string{"  - {name: amount, type: double,", "  - {name: is_cheap, type: boolean}\n  - {name: amount, type: double,", "s.zone_key, s.amount\n", "s.zone_key, s.amount, s.amount < 2 as is_cheap\n"}
	l.set = load(t, modelsWith(t, more...))
	l.run()
	l.same("with a column more", l.star("fact_trip", "root_id", "amount", "is_cheap"), "a 1 true", "b 3 false")

	l.set = load(t, modelsWith(t, "  - {name: amount, type: double,", "  - {name: amount, type: \"decimal(10, 2)\","))
	res := l.run()
	l.same("with another type and a column less", l.star("fact_trip", "root_id", "amount", "typeof(amount)"), "a 1 DECIMAL(10,2)", "b 3 DECIMAL(10,2)")
	if r := res["fact_trip"]; r.Mode != Rebuild {
		t.Errorf("fact_trip: %+v", r)
	}
	table, err := l.w.Load(t.Context(), starName("fact_trip"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := table.Schema().FindFieldByName("is_cheap"); ok {
		t.Error("the column that went is still there")
	}
	l.land("T", 2, trip{id: "c", hash: "3", at: 3, offset: 3, day: "2026-11-21", zone: 2, amount: 4})
	l.run()
	l.same("and then merged", l.star("fact_trip", "root_id", "amount"), "a 1", "b 3", "c 4")
	for n, r := range l.run() {
		if r.Status != Current {
			t.Errorf("%s is not current: %+v", n, r)
		}
	}
}

// Guards the sums of days that retention took from a fact whose columns change before any run has told its marts: the fact's table is dropped, and what it remembers of those days must not go with it.
func TestColumnsChangedBehindRetention(t *testing.T) {
	l := newLake(t)
	twoDays(l)
	before := l.star("daily_trips")
	retired := Retired{}
	take := func(name warehouse.Name, properties func() map[string]string) {
		t.Helper()
		table, err := l.w.Load(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		files, err := table.Plan(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			for _, column := range table.Partition() {
				retired.Add(f.Partition[column])
			}
		}
		if _, err := l.w.Commit(t.Context(), table, warehouse.Change{Remove: files, Properties: properties()}); err != nil {
			t.Fatal(err)
		}
	}
	take(starName("fact_trip"), func() map[string]string { return map[string]string{RetiredProperty: retired.String()} })
	take(source, func() map[string]string { return nil })

	l.set = load(t, modelsWith(t, "  - {name: amount, type: double,", "  - {name: amount, type: \"decimal(10, 2)\","))
	if r := l.run()["fact_trip"]; r.Mode != Rebuild {
		t.Errorf("fact_trip: %+v", r)
	}
	l.same("fact_trip", l.facts())
	l.same("daily_trips", l.star("daily_trips"), before...)
}

// An addition to a contract gives the source a column that its older files lack; models that do not name it go on as before, one that does is rebuilt with it.
func TestSourceGetsAColumn(t *testing.T) {
	l := newLake(t)
	twoDays(l)
	l.columns = append(l.columns, warehouse.Column{Name: "extra_tip", Type: iceberg.PrimitiveTypes.Float64})
	l.land("T", 2, trip{id: "c", hash: "3", at: 3, offset: 3, day: "2026-11-21", zone: 2, amount: 4})
	if r := l.run()["fact_trip"]; r.Mode != Merge || r.Counts.Added != 1 {
		t.Errorf("fact_trip: %+v", r)
	}
	l.set = load(t, modelsWith(t, "payload.amount as amount", "payload.amount + coalesce(extra_tip, 0) as amount"))
	l.run()
	l.same("fact_trip", l.star("fact_trip", "root_id", "amount"), "a 1", "b 3", "c 4")
}

// Where the snapshot that a mart was computed from can no longer be told from the table's history, the mart is computed anew.
func TestExpiredSnapshot(t *testing.T) {
	l := newLake(t)
	twoDays(l)
	mart, err := l.w.Load(t.Context(), starName("daily_trips"))
	if err != nil {
		t.Fatal(err)
	}
	old, _, err := property[map[string]int64](mart, UpstreamProperty)
	if err != nil {
		t.Fatal(err)
	}
	old["star.fact_trip"] = 42
	text, err := asJSON(old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.w.Commit(t.Context(), mart, warehouse.Change{Properties: map[string]string{UpstreamProperty: text}}); err != nil {
		t.Fatal(err)
	}
	l.land("T", 2, trip{id: "c", hash: "3", at: 3, offset: 3, day: "2026-11-21", zone: 2, amount: 4})
	if r := l.run()["daily_trips"]; r.Mode != Rebuild || !strings.Contains(r.Cause, "can no longer be told") {
		t.Errorf("daily_trips: %+v", r)
	}
	l.same("daily_trips", l.star("daily_trips"), "2026-11-20 Newark 1 1", "2026-11-21 Queens 2 7")
}

// A dimension that a mart reads changes: all of the mart is computed again, the fact is not.
func TestDimensionChanged(t *testing.T) {
	l := newLake(t)
	twoDays(l)
	l.set = load(t, modelsWith(t, "'Newark'", "'Newark Airport'"))
	res := l.run()
	if res["fact_trip"].Status != Current || res["daily_trips"].Mode != Rebuild || res["dim_zone"].Mode != Rebuild {
		t.Errorf("%+v", res)
	}
	l.same("daily_trips", l.star("daily_trips"), "2026-11-20 Newark Airport 1 1", "2026-11-21 Queens 1 3")
}

// A compaction of the upstream changes no rows: the mart moves its checkpoint and computes nothing.
func TestUpstreamCompacted(t *testing.T) {
	l := newLake(t)
	twoDays(l)
	ctx := t.Context()
	fact, err := l.w.Load(ctx, starName("fact_trip"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := fact.Plan(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	ls, err := l.w.Fetch(ctx, all, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.db.Relation(ctx, warehouse.Name{Namespace: "look", Table: "all"}, fact.Schema(), ls, nil, ""); err != nil {
		t.Fatal(err)
	}
	written, err := l.db.Write(ctx, `select * from look."all"`, fact.Schema(), fact.Partition(), func() string { return l.w.NewFile(fact) })
	if err != nil {
		t.Fatal(err)
	}
	var add []string
	for _, w := range written {
		add = append(add, w.Path)
	}
	if _, err := l.w.Commit(ctx, fact, warehouse.Change{Add: add, Remove: all, Compaction: true}); err != nil {
		t.Fatal(err)
	}
	opened := l.opened
	for n, r := range l.run() {
		if r.Status != Current {
			t.Errorf("%s: %+v", n, r)
		}
	}
	if l.opened != opened {
		t.Error("an engine was opened")
	}
}

// Days in quarantine: their new rows wait, those that had passed stay, also where the fact is built anew; released, they are taken, each once.
func TestHeld(t *testing.T) {
	l := newLake(t)
	day := "2026-11-21"
	row := func(id string, at, offset int) trip {
		return trip{id: id, hash: id, at: at, offset: offset, day: "2026-11-20", zone: 1, amount: 1}
	}
	ids := func(want ...string) {
		t.Helper()
		l.same("fact_trip", l.star("fact_trip", "root_id"), want...)
	}
	l.land("T", 1, row("a", 1, 1))
	l.run()
	l.held = func(source, d string) bool { return source == "events.enriched_trip_0" && d == day }
	l.land("T", 2, row("b", 2, 2), row("c", 24*60+1, 3)) // c is of the next day
	if r := l.run()["fact_trip"]; !strings.Contains(r.Cause, "on hold: "+day) {
		t.Errorf("fact_trip: %+v", r)
	}
	ids("a", "c")
	l.land("T", 3, row("d", 3, 4))
	if r := l.run()["fact_trip"]; r.Status != Current || !strings.Contains(r.Cause, "all on hold") {
		t.Errorf("fact_trip with held rows alone: %+v", r)
	}
	l.set = load(t, modelsWith(t, "payload.amount as amount", "payload.amount + 1 as amount"))
	if r := l.run()["fact_trip"]; r.Mode != Rebuild {
		t.Errorf("fact_trip: %+v", r)
	}
	ids("a", "c")
	l.held = nil
	if r := l.run()["fact_trip"]; r.Mode != Merge || !strings.Contains(r.Cause, "released: "+day) || r.Counts != (Counts{Added: 2}) {
		t.Errorf("released: %+v", r)
	}
	ids("a", "b", "c", "d")
	if r := l.run()["fact_trip"]; r.Status != Current {
		t.Errorf("after the release: %+v", r)
	}
	l.held = func(_, d string) bool { return d == day } // held again, with a table that is built anew
	l.land("T", 4, row("e", 4, 5))
	l.set = load(t, modelsWith(t, "payload.amount as amount", "payload.amount + 2 as amount"))
	l.run()
	ids("a", "b", "c", "d")
	l.held = nil
	l.run()
	ids("a", "b", "c", "d", "e")
}

// A row of no arrival_date waits for no day's release: it is taken while another day is on hold, and not lost behind the position.
func TestHeldBesideRowsOfNoDay(t *testing.T) {
	l := newLake(t)
	l.land("T", 1, trip{id: "a", hash: "a", at: 1, offset: 1, day: "2026-11-20", zone: 1, amount: 1})
	l.run()
	l.held = func(_, d string) bool { return d == "2026-11-21" }
	l.land("T", 2, trip{id: "b", hash: "b", at: 2, offset: 2, day: "2026-11-20", zone: 1, amount: 1}, trip{id: "c", hash: "c", at: 3, offset: 3, day: "2026-11-20", zone: 1, amount: 1, dateless: true})
	l.run()
	l.same("fact_trip", l.star("fact_trip", "root_id"), "a", "c")
	l.held = nil
	l.run()
	l.same("fact_trip", l.star("fact_trip", "root_id"), "a", "b", "c")
}

// Rows of no arrival_date are a day of their own, which is held and released as any other: alone, beside a day, in a table that is built anew, and where nothing at all is proven.
func TestHeldRowsOfNoDay(t *testing.T) {
	l := newLake(t)
	two := func(sequence int64, a, b string) {
		t.Helper()
		l.land("T", sequence, trip{id: a, hash: a, at: int(sequence), offset: int(sequence), day: "2026-11-20", zone: 1, amount: 1}, trip{id: b, hash: b, at: int(sequence), offset: int(sequence) + 50, day: "2026-11-20", zone: 1, amount: 1, dateless: true})
	}
	step := func(what string, held func(source, day string) bool, want ...string) {
		t.Helper()
		l.held = held
		l.run()
		l.same(what, l.star("fact_trip", "root_id"), want...)
	}
	two(1, "a", "b")
	step("held from the first", func(_, d string) bool { return d == "null" }, "a")
	step("released", nil, "a", "b")
	two(2, "c", "d")
	step("all held", func(string, string) bool { return true }, "a", "b")
	step("the day alone is held", func(_, d string) bool { return d == "2026-11-21" }, "a", "b", "d")
	step("none is", nil, "a", "b", "c", "d")
	two(3, "e", "f")
	l.set = load(t, modelsWith(t, "payload.amount as amount", "payload.amount + 2 as amount"))
	step("built anew while held", func(_, d string) bool { return d == "null" }, "a", "b", "c", "d", "e")
	step("and released", nil, "a", "b", "c", "d", "e", "f")
}

// An engine quotes the value that it cannot convert: what is told of a failed model, by its outcome and in the log, where it is an error, must not.
func TestFailureQuotesNoValues(t *testing.T) {
	l := newLake(t)
	l.set = load(t, modelsWith(t, "payload.amount as amount", "cast(root_id as double) as amount"))
	l.land("T", 1, trip{id: "Jane Doe", hash: "1", at: 1, offset: 1, day: "2026-11-20", zone: 1, amount: 1})
	var log bytes.Buffer
	o := l.options()
	o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	res, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(res.Models, func(m Outcome) bool { return m.Name == "fact_trip" })
	if m := res.Models[i]; m.Status != Failed || !strings.Contains(m.Cause, "Could not convert string … to DOUBLE when casting from source column root_id") {
		t.Errorf("%+v", m)
	}
	if text := log.String(); strings.Contains(text+fmt.Sprint(res), "Doe") || !strings.Contains(text, "level=ERROR msg=model model=fact_trip status=failed") || !strings.Contains(text, "level=WARN msg=model model=daily_trips status=skipped") {
		t.Error(text)
	}
}

// New rows that fail a test of severity error are not committed, nor is anything that needs them; the rest goes on, and the next run, with the rows mended, too.
func TestFailingTest(t *testing.T) {
	l := newLake(t)
	twoDays(l)
	before, mart := l.facts(), l.star("daily_trips")
	l.land("T", 2, trip{id: "c", hash: "3", at: 3, offset: 3, day: "2026-11-21", zone: 99, amount: 77}, trip{id: "d", hash: "4", at: 3, offset: 4, day: "1999-12-31", zone: 98, amount: 1})
	res := l.try()
	r := res["fact_trip"]
	if r.Status != Failed || !strings.Contains(r.Cause, "test relationships_zone_key failed for 2") {
		t.Fatalf("fact_trip: %+v", r)
	}
	tests := map[string]TestResult{}
	for _, x := range r.Tests {
		tests[x.Name] = x
	}
	rel := tests["relationships_zone_key"]
	slices.SortFunc(rel.Examples, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	if rel.Passed || rel.Failures != 2 || strings.Join(rel.Columns, " ") != "root_id zone_key pickup_date" || strings.Join(rel.Examples[0], " ") != "c 99 2026-11-21" {
		t.Errorf("relationships: %+v", rel)
	}
	if x := tests["accepted_values_amount"]; x.Passed || x.Failures != 1 || x.Severity != Warn || len(x.Examples) != 1 {
		t.Errorf("accepted_values: %+v", x)
	}
	if x := tests["not_before_2000"]; x.Passed || x.Failures != 1 || len(x.Examples) != 1 || x.Examples[0][0] != "d" {
		t.Errorf("not_before_2000: %+v", x)
	}
	if x := tests["unique_root_id"]; !x.Passed {
		t.Errorf("unique: %+v", x)
	}
	if !res["daily_trips"].Blocked || !res["zone_totals"].Blocked || res["dim_zone"].Status != Current {
		t.Errorf("the others: %+v", res)
	}
	l.same("fact_trip", l.facts(), before...)
	l.same("daily_trips", l.star("daily_trips"), mart...)

	l.set = load(t, modelsWith(t, "(3, 'Bronx')", "(3, 'Bronx'), (98, 'a'), (99, 'b')", "date '2000-01-01'", "date '1900-01-01'"))
	r = l.run()["fact_trip"]
	if r.Counts.Added != 2 || len(r.Tests) == 0 {
		t.Errorf("mended: %+v", r)
	}
}

// unique looks at all rows of the partitions that new rows lie in, not at the new ones alone.
func TestUniqueAcrossRuns(t *testing.T) {
	l := newLake(t)
	l.set = load(t, modelsWith(t, "  - {name: kafka_offset, type: bigint}", "  - {name: kafka_offset, type: bigint, tests: [unique]}"))
	twoDays(l)
	l.land("T", 2, trip{id: "c", hash: "3", at: 3, offset: 1, day: "2026-11-21", zone: 2, amount: 1})
	l.run() // offset 1 is in another partition
	l.land("T", 3, trip{id: "d", hash: "3", at: 4, offset: 2, day: "2026-11-21", zone: 2, amount: 1})
	res := l.try()
	r := res["fact_trip"]
	if r.Status != Failed || !strings.Contains(r.Cause, "unique_kafka_offset failed for 1") {
		t.Fatalf("fact_trip: %+v", r)
	}
	for _, x := range r.Tests {
		if x.Name == "unique_kafka_offset" && (len(x.Examples) != 1 || strings.Join(x.Examples[0], " ") != "2 2") {
			t.Errorf("examples: %+v", x)
		}
	}
	// A replay that takes the place of the row that has the value is no copy of it.
	l.set = load(t, modelsWith(t, "  - {name: kafka_offset, type: bigint}", "  - {name: kafka_offset, type: bigint, tests: [unique]}"))
	l.land("T", 4, trip{id: "b", hash: "2", replay: 1, at: 9, offset: 7, day: "2026-11-21", zone: 2, amount: 1})
	l.run()
}

// A copy outside of the window and of the days that a run touches is not looked for; within it, it is found in any day.
func TestWindow(t *testing.T) {
	old := trip{id: "a", hash: "1", at: 0, offset: 1, day: "2026-11-01", zone: 1, amount: 1}
	again := trip{id: "a", hash: "1", replay: 1, at: 3 * 24 * 60, offset: 9, day: "2026-11-24", zone: 1, amount: 1}
	for _, c := range []struct {
		window time.Duration
		rows   int
	}{{4 * 24 * time.Hour, 1}, {24 * time.Hour, 2}} {
		l := newLake(t)
		l.window = c.window
		l.land("T", 1, old)
		l.run()
		l.land("T", 2, again)
		l.run()
		if got := l.facts(); len(got) != c.rows {
			t.Errorf("window %s: %q, want %d rows", c.window, got, c.rows)
		}
	}
}

// The window counts from the oldest new row: one whose clock is years ahead must not put the copies of all others out of sight, which would then stand twice.
func TestWindowOfClocksAhead(t *testing.T) {
	l := newLake(t)
	l.window = 24 * time.Hour
	l.land("T", 1, trip{id: "a", hash: "1", at: 0, offset: 1, day: "2026-11-01", zone: 1, amount: 1})
	l.run()
	l.land("T", 2,
		trip{id: "a", hash: "1", replay: 1, at: 60, offset: 9, day: "2026-11-24", zone: 1, amount: 1},
		trip{id: "b", hash: "2", at: 72 * 365 * 24 * 60, offset: 10, day: "2026-11-24", zone: 1, amount: 1})
	l.run()
	if got := l.facts(); len(got) != 2 {
		t.Errorf("%q, want a once, and b", got)
	}
}

// Rows that a model by partition puts into another partition than they come of would be doubled or lost: it fails, and its table stays.
func TestPartitionMoved(t *testing.T) {
	l := newLake(t)
	twoDays(l)
	l.set = load(t, modelsWith(t, "select pickup_date, zone_name, count(*)", "select cast(pickup_date + interval '1' day as date) as pickup_date, zone_name, count(*)"))
	l.run() // a rebuild knows all partitions
	mart := l.star("daily_trips")
	l.land("T", 2, trip{id: "c", hash: "3", at: 3, offset: 3, day: "2026-11-21", zone: 2, amount: 4})
	res := l.try()
	if r := res["daily_trips"]; r.Status != Failed || !strings.Contains(r.Cause, "pickup_date = 2026-11-22 come of other partitions of fact_trip") {
		t.Errorf("daily_trips: %+v", r)
	}
	l.same("daily_trips", l.star("daily_trips"), mart...)
}

// A model that fails in the engine leaves its table as it was, and names its file.
func TestModelFails(t *testing.T) {
	l := newLake(t)
	twoDays(l)
	before := l.star("zone_totals")
	l.set = load(t, modelsWith(t, "select zone_key, count(*) as trips from fact_trip", "select zone_key, cast(root_id as bigint) as trips from fact_trip", "group by zone_key\n", "\n"))
	res := l.try()
	if r := res["zone_totals"]; r.Status != Failed || r.File != "marts/zone_totals.sql" || !strings.Contains(r.Cause, "Conversion Error") {
		t.Errorf("zone_totals: %+v", r)
	}
	l.same("zone_totals", l.star("zone_totals"), before...)
}

// Before anything has landed, models of it wait, and say for what; the others are built.
func TestNothingLanded(t *testing.T) {
	l := newLake(t)
	res := l.run()
	if r := res["fact_trip"]; r.Status != Skipped || r.Cause != "events.enriched_trip_0 is not there yet" || r.Blocked {
		t.Errorf("fact_trip: %+v", r)
	}
	if r := res["daily_trips"]; r.Status != Skipped || r.Cause != "fact_trip is not there yet" {
		t.Errorf("daily_trips: %+v", r)
	}
	if res["dim_zone"].Status != Built {
		t.Errorf("dim_zone: %+v", res["dim_zone"])
	}
	l.land("T", 1)
	if r := l.run()["fact_trip"]; r.Status != Built {
		t.Errorf("fact_trip of an empty source: %+v", r)
	}
	l.same("fact_trip", l.facts())
	twoDays(l)
}

// An engine that cannot be opened fails the models that have work, and nothing else.
func TestNoEngine(t *testing.T) {
	l := newLake(t)
	twoDays(l)
	l.land("T", 2, trip{id: "c", hash: "3", at: 3, offset: 3, day: "2026-11-21", zone: 2, amount: 4})
	o := l.options()
	o.Engine = func(context.Context) (Engine, error) { return nil, errors.New("no compiler") }
	res, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(res.Failed(), " "); got != "fact_trip daily_trips zone_totals" {
		t.Errorf("failed: %s", got)
	}
}

// A plan says what a run would do, and does none of it.
func TestPlan(t *testing.T) {
	l := newLake(t)
	twoDays(l)
	steps := func() map[string]Step {
		t.Helper()
		list, err := Plan(t.Context(), l.options())
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]Step{}
		for _, s := range list {
			out[s.Model] = s
		}
		return out
	}
	for n, s := range steps() {
		if s.Mode != "" {
			t.Errorf("%s: %+v", n, s)
		}
	}
	l.land("T", 2, trip{id: "c", hash: "3", at: 3, offset: 3, day: "2026-11-21", zone: 2, amount: 4})
	before := l.facts()
	got := steps()
	if s := got["fact_trip"]; s.Mode != Merge || s.SourceRows != 1 || s.Reason != "new rows in events.enriched_trip_0" {
		t.Errorf("fact_trip: %+v", s)
	}
	if s := got["daily_trips"]; s.Mode != Overwrite || s.Reason != "fact_trip changes before" || s.SourceRows != -1 {
		t.Errorf("daily_trips: %+v", s)
	}
	if s := got["zone_totals"]; s.Mode != Rebuild {
		t.Errorf("zone_totals: %+v", s)
	}
	if s := got["dim_zone"]; s.Mode != "" {
		t.Errorf("dim_zone: %+v", s)
	}
	l.same("fact_trip", l.facts(), before...)
}

// Two sources' logs are told apart: a topic made anew begins at 1 again, and its rows are taken.
func TestTopicMadeAnew(t *testing.T) {
	l := newLake(t)
	l.land("T", 7, trip{id: "a", hash: "1", at: 1, offset: 1, day: "2026-11-20", zone: 1, amount: 1})
	l.run()
	l.land("U", 1, trip{id: "b", hash: "1", at: 2, offset: 1, day: "2026-11-20", zone: 1, amount: 1})
	if r := l.run()["fact_trip"]; r.Counts != (Counts{Added: 1}) {
		t.Errorf("fact_trip: %+v", r)
	}
}

// A run that is told to end stops, with what it did until then.
func TestCancelled(t *testing.T) {
	l := newLake(t)
	l.land("T", 1, trip{id: "a", hash: "1", at: 1, offset: 1, day: "2026-11-20", zone: 1, amount: 1})
	ctx, cancel := context.WithCancel(t.Context())
	o := l.options()
	open := o.Engine
	o.Engine = func(c context.Context) (Engine, error) {
		cancel()
		return open(c)
	}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("the run said %v", err)
	}
	l.run()
	l.same("fact_trip", l.facts(), "a 1 0 0 1 2026-11-20 1")
}
