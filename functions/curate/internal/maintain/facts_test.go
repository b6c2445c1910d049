package maintain

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/objectstore/objectstoretest"
)

var (
	views = warehouse.Name{Namespace: "star", Table: "fact_view"}
	daily = warehouse.Name{Namespace: "star", Table: "mart_view"}

	landed = warehouse.Spec{Partition: []string{"arrival_date"}, Columns: []warehouse.Column{
		{Name: "id", Type: text},
		{Name: "seen", Type: date},
		{Name: "arrived_at", Type: iceberg.PrimitiveTypes.TimestampTz},
		{Name: "arrival_date", Type: date},
		{Name: "landing_log", Type: text},
		{Name: "landing_sequence", Type: long},
	}}

	// A fact by the day that a view is of, and a mart of it.
	files = fstest.MapFS{
		"fact_view.sql": {Data: []byte(`/*---
name: fact_view
materialized: incremental
unique_key: [id]
order_by: [arrived_at]
partition: seen
columns:
  - {name: id, type: varchar}
  - {name: seen, type: date}
  - {name: arrived_at, type: timestamptz}
  - {name: arrival_date, type: date}
---*/
select v.id, v.seen, v.arrived_at, v.arrival_date from events.enriched_pageview_0 v
`)},
		"mart_view.sql": {Data: []byte(`/*---
name: mart_view
materialized: incremental
strategy: insert_overwrite
upstream: fact_view
partition: seen
columns:
  - {name: seen, type: date}
  - {name: views, type: bigint}
---*/
select f.seen, count(*) as views from fact_view f group by f.seen
`)},
	}
)

// star is a lake with landed views, a fact and a mart.
type star struct {
	*lake
	models   *model.Set
	sequence int
}

func newStar(t *testing.T) *star {
	t.Helper()
	models, err := model.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	s := &star{lake: newLake(t), models: models}
	s.now = time.Date(2026, 11, 21, 1, 0, 0, 0, time.UTC)
	s.ensure(trips, landed)
	return s
}

// land commits views, each "id day", as of a day of arrival.
func (s *star) land(arrived string, views ...string) {
	s.t.Helper()
	db, err := s.duck()
	if err != nil {
		s.t.Fatal(err)
	}
	s.sequence++
	var rows []string
	for i, v := range views {
		id, seen, _ := strings.Cut(v, " ")
		rows = append(rows, fmt.Sprintf("('%s', date '%s', timestamptz '%s 12:00:%02d+00', date '%s', 'log', %d::bigint)", id, seen, arrived, i, arrived, s.sequence))
	}
	t := s.load(trips)
	written, err := db.Write(s.t.Context(), "select * from (values "+strings.Join(rows, ",")+") v(id, seen, arrived_at, arrival_date, landing_log, landing_sequence)", t.Schema(), t.Partition(), func() string { return s.w.NewFile(t) })
	if err != nil {
		s.t.Fatal(err)
	}
	c := warehouse.Change{Properties: map[string]string{model.PositionProperty: fmt.Sprintf(`{"log":%d}`, s.sequence)}}
	for _, w := range written {
		c.Add = append(c.Add, w.Path)
	}
	s.commit(t, c)
}

// build runs the models, and returns by which way each was built.
func (s *star) build(full bool) string {
	s.t.Helper()
	r, err := model.Run(s.t.Context(), model.Options{
		Set: s.models, Warehouse: s.w, FullRefresh: full, Now: func() time.Time { return s.now },
		Engine: func(context.Context) (model.Engine, error) {
			db, err := s.duck()
			return model.NewDuck(db, s.w), err
		},
	})
	if err != nil || len(r.Failed()) > 0 {
		s.t.Fatalf("%+v, %v", r, err)
	}
	var out []string
	for _, m := range r.Models {
		if m.Status == model.Built {
			out = append(out, m.Name+" "+string(m.Mode))
		}
	}
	return strings.Join(out, ", ")
}

// show returns the rows of fact and mart.
func (s *star) show() string {
	s.t.Helper()
	db, err := s.duck()
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for name, query := range map[warehouse.Name]string{views: "select id || ' ' || seen from ", daily: "select seen || '=' || views from "} {
		t := s.load(name)
		local, err := s.w.Fetch(s.t.Context(), s.files(t), nil)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := db.Relation(s.t.Context(), name, t.Schema(), local, nil, ""); err != nil {
			s.t.Fatal(err)
		}
		if err := db.Rows(s.t.Context(), query+name.String(), func(_ []string, row []any) error {
			out = append(out, fmt.Sprint(row[0]))
			return nil
		}); err != nil {
			s.t.Fatal(err)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (s *star) keeping() Options {
	o := s.options()
	o.Contracts = pageView(s.t, "13", "M")
	o.Models = s.models
	o.Snapshots = 1
	return o
}

// Guards the promise of a contract's retention where its rows have gone on to: a fact loses those of the source that are past it, whatever its own partition, and takes none of them again; what its marts had
// counted stays, also where a late row comes, where history of the fact is gone, where all is refreshed, and where the mart's text changes.
func TestRetentionOfFacts(t *testing.T) {
	s := newStar(t)
	s.land("2025-10-20", "a 1995-07-01", "b 1995-07-02")
	s.land("2025-10-20", "c 1995-07-02", "d 1995-07-03")
	s.land("2025-10-21", "e 1995-07-03", "f 1995-07-04")
	s.build(false)
	s.land("2026-11-20", "g 1995-07-04") // in a file of its own, and another of the day stays
	s.build(false)
	counted := "1995-07-01=1, 1995-07-02=2, 1995-07-03=2, 1995-07-04=2"
	if got, want := s.show(), counted+", a 1995-07-01, b 1995-07-02, c 1995-07-02, d 1995-07-03, e 1995-07-03, f 1995-07-04, g 1995-07-04"; got != want {
		t.Fatalf("at first %s", got)
	}
	o := s.keeping()
	o.DryRun = true
	plan := s.run(o).Retention
	o.DryRun = false
	before := s.load(views).Snapshot()
	done := s.run(o).Retention
	if fmt.Sprint(plan) != fmt.Sprint(done) || len(done) != 2 || done[1].Table != "star.fact_view" || done[1].Rows != 4 || done[1].Files != 3 || done[1].Before != "2025-10-21" || s.load(views).Snapshot() == before {
		t.Fatalf("planned %+v, done %+v", plan, done)
	}
	if got := s.load(views).Properties()[model.RetiredProperty]; got != `["1995-07-01/1995-07-03"]` {
		t.Errorf("retired are %s", got)
	}
	kept := counted + ", e 1995-07-03, f 1995-07-04, g 1995-07-04"
	same := func(when string) {
		t.Helper()
		if got := s.show(); got != kept {
			t.Errorf("%s: %s, want %s", when, got, kept)
		}
	}
	if got := s.build(false); got != "" {
		t.Errorf("after retention there was something to build: %s", got)
	}
	same("after retention")
	if got := s.run(o).Retention; len(got) != 0 {
		t.Errorf("a second run takes %+v", got)
	}
	// A late row of a day that cannot be counted any more, and one of a day that can.
	s.land("2026-11-21", "h 1995-07-02", "i 1995-07-05")
	s.build(false)
	kept = counted + ", 1995-07-05=1, e 1995-07-03, f 1995-07-04, g 1995-07-04, h 1995-07-02, i 1995-07-05"
	same("after late rows")
	// All history of the fact goes, as by an erasure.
	if _, err := s.w.Expire(t.Context(), s.load(views), 1); err != nil {
		t.Fatal(err)
	}
	s.commit(s.load(daily), warehouse.Change{Properties: map[string]string{model.UpstreamProperty: `{"star.fact_view":1}`}})
	if got := s.build(false); got != "mart_view overwrite" {
		t.Errorf("without history: %s", got)
	}
	same("without history")
	s.build(true)
	same("after a full refresh")
	s.models = changed(t, "count(*) as views", "count(*) * 10 as views")
	s.build(false)
	kept = "1995-07-01=1, 1995-07-02=2, 1995-07-03=2, 1995-07-04=20, 1995-07-05=10, e 1995-07-03, f 1995-07-04, g 1995-07-04, h 1995-07-02, i 1995-07-05"
	same("by another text")
	if err := s.w.Drop(t.Context(), daily); err != nil {
		t.Fatal(err)
	}
	s.build(false) // of days of which rows are gone it would tell too little
	kept = "1995-07-04=20, 1995-07-05=10, e 1995-07-03, f 1995-07-04, g 1995-07-04, h 1995-07-02, i 1995-07-05"
	same("made anew")
}

// Guards the rows of a fact whose model somebody took away or renamed: nothing rebuilds the table any more, and its rows must not outlive the source's retention for that.
func TestRetentionOfFactsWithoutModel(t *testing.T) {
	s := newStar(t)
	s.land("2025-10-20", "a 1995-07-01", "b 1995-07-02")
	s.land("2026-11-20", "c 1995-07-02")
	s.build(false)
	none, err := model.Load(fstest.MapFS{})
	if err != nil {
		t.Fatal(err)
	}
	o := s.keeping()
	o.Models = none
	if done := s.run(o).Retention; len(done) != 2 || done[1].Table != "star.fact_view" || done[1].Rows != 2 {
		t.Errorf("taken were %+v", done)
	}
	if got, want := s.show(), "1995-07-01=1, 1995-07-02=2, c 1995-07-02"; got != want {
		t.Errorf("there is %s, want %s", got, want)
	}
}

// changed is the models with a text replaced.
func changed(t *testing.T, was, is string) *model.Set {
	t.Helper()
	other := fstest.MapFS{}
	for name, f := range files {
		other[name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(string(f.Data), was, is))}
	}
	set, err := model.Load(other)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Guards what a mart has not counted yet: a fact keeps its rows until the mart has seen them, and the maintenance says what it waits for and does the rest. A fact that does not say when its rows arrived is
// named, since it would keep them for ever.
func TestRetentionWaitsForMarts(t *testing.T) {
	s := newStar(t)
	s.land("2025-10-20", "a 1995-07-01")
	s.build(false)
	mart := s.load(daily).Properties()[model.UpstreamProperty]
	s.land("2025-10-20", "b 1995-07-01")
	s.build(false)
	now := s.load(daily).Properties()[model.UpstreamProperty]
	s.commit(s.load(daily), warehouse.Change{Properties: map[string]string{model.UpstreamProperty: mart}}) // as one that failed
	r, err := Run(t.Context(), s.keeping())
	if err == nil || !strings.Contains(err.Error(), "waits for star.mart_view") || len(r.Retention) != 1 || len(s.files(s.load(views))) != 2 {
		t.Fatalf("%+v, %v", r.Retention, err)
	}
	s.commit(s.load(daily), warehouse.Change{Properties: map[string]string{model.UpstreamProperty: now}})
	if r := s.run(s.keeping()); len(r.Retention) != 1 || r.Retention[0].Table != "star.fact_view" || len(s.files(s.load(views))) != 0 {
		t.Errorf("%+v", r.Retention)
	}
	if err := s.w.Drop(t.Context(), views); err != nil {
		t.Fatal(err)
	}
	s.ensure(views, warehouse.Spec{Columns: landed.Columns[:3], Partition: []string{"seen"}})
	if _, err := Run(t.Context(), s.keeping()); err == nil || !strings.Contains(err.Error(), "no column arrival_date") {
		t.Errorf("%v", err)
	}
}

// Guards a retention that is killed: after each write that fails the mart has what it had, and the next maintenance ends it.
func TestRetentionOfFactsKilled(t *testing.T) {
	for failing := 1; ; failing++ {
		s := newStar(t)
		s.land("2025-10-20", "a 1995-07-01", "b 1995-07-02")
		s.land("2026-11-20", "c 1995-07-02")
		s.build(false)
		writes := 0
		s.server.Fail(func(method, _, _ string) objectstoretest.Fault {
			if method == http.MethodPut || method == http.MethodDelete {
				if writes++; writes >= failing {
					return objectstoretest.Cut
				}
			}
			return objectstoretest.Serve
		})
		_, err := Run(t.Context(), s.keeping())
		s.server.Fail(nil)
		s.build(false)
		s.now = s.now.Add(2 * hour)
		s.run(s.keeping())
		s.build(false)
		if got, want := s.show(), "1995-07-01=1, 1995-07-02=2, c 1995-07-02"; got != want {
			t.Errorf("after write %d had failed: %s, want %s", failing, got, want)
		}
		if err == nil {
			if failing < 5 {
				t.Errorf("only %d writes were seen", failing)
			}
			return
		}
	}
}

// Guards against tables of ops that grow for ever, and against one that forgets what is still on hold, or what it tells of events that are still there. Reports go with them, and are nobody's orphans.
func TestRetentionOfOps(t *testing.T) {
	l := newLake(t)
	l.now = time.Date(2026, 11, 21, 1, 0, 0, 0, time.UTC)
	db, err := l.duck()
	if err != nil {
		t.Fatal(err)
	}
	instant := iceberg.PrimitiveTypes.TimestampTz
	fill := func(name string, spec warehouse.Spec, rows string) warehouse.Name {
		t.Helper()
		n := warehouse.Name{Namespace: strings.Split(name, ".")[0], Table: strings.Split(name, ".")[1]}
		tbl := l.ensure(n, spec)
		var columns []string
		for _, c := range spec.Columns {
			columns = append(columns, c.Name)
		}
		written, err := db.Write(t.Context(), "select * from (values "+rows+") v("+strings.Join(columns, ",")+")", tbl.Schema(), tbl.Partition(), func() string { return l.w.NewFile(tbl) })
		if err != nil {
			t.Fatal(err)
		}
		var paths []string
		for _, w := range written {
			paths = append(paths, w.Path)
		}
		l.commit(tbl, warehouse.Change{Add: paths, Properties: map[string]string{"millrace.position": "kept"}})
		return n
	}
	timed := func(column string) warehouse.Spec {
		return warehouse.Spec{Columns: []warehouse.Column{{Name: "id", Type: text}, {Name: column, Type: instant}}}
	}
	const old, young = "timestamptz '2026-08-22 23:59:59.999+00'", "timestamptz '2026-08-23 00:00:00+00'"
	rows := "('old', " + old + "), ('young', " + young + "), ('never', null)"
	of := func(column string, partition ...string) warehouse.Spec {
		typ := instant
		if column == "arrival_date" {
			typ = date
		}
		return warehouse.Spec{Columns: []warehouse.Column{{Name: "id", Type: text}, {Name: "source", Type: text}, {Name: column, Type: typ}}, Partition: partition}
	}
	const paged, other = "'events.enriched_pageview_0'", "'events.enriched_other_0'"
	sourced := "('old', " + paged + ", timestamptz '2025-10-20 23:59:59+00'), ('young', " + paged + ", timestamptz '2025-10-21 00:00:00+00'), ('other', " + other + ", timestamptz '2020-10-21 00:00:00+00'), ('never', " + paged + ", null)"
	tables := []warehouse.Name{
		fill("ops.landing", timed("written_at"), rows),
		fill("ops.quality", timed("evaluated_at"), rows),
		fill("ops.sla", timed("evaluated_at"), rows),
		fill("ops.runs", timed("ended_at"), rows),
		fill("ops.unknown", timed("ended_at"), rows),
		fill("ops.quarantine", of("released_at"), sourced),
		fill("ops.conflicts", of("arrived_at"), sourced),
		fill("ops.near_duplicates", of("arrival_date", "source", "arrival_date"), "('old', "+paged+", date '2025-10-20'), ('young', "+paged+", date '2025-10-21'), ('other', "+other+", date '2020-01-01')"),
		fill("events.dead", warehouse.Spec{Columns: spec.Columns, Partition: spec.Partition}, "('old', 1::bigint, date '2026-08-22'), ('young', 1::bigint, date '2026-08-23'), ('never', 1::bigint, null)"),
	}
	b, _ := l.w.Store()
	for _, key := range []string{"2026-08-22/a.html", "2026-08-23/b.html", "2026-11-20/c.html", "strange/d.html"} {
		if err := b.Put(t.Context(), "warehouse/_reports/"+key, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	show := func() string {
		t.Helper()
		var out []string
		for _, n := range tables {
			tbl := l.load(n)
			local, err := l.w.Fetch(t.Context(), l.files(tbl), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Relation(t.Context(), n, tbl.Schema(), local, nil, ""); err != nil {
				t.Fatal(err)
			}
			if err := db.Rows(t.Context(), "select string_agg(id, ' ' order by id) from "+n.String(), func(_ []string, row []any) error {
				out = append(out, fmt.Sprint(n.Table, ": ", row[0]))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if tbl.Properties()["millrace.position"] != "kept" {
				t.Errorf("%s lost its properties", n)
			}
		}
		return strings.Join(out, "\n")
	}
	before := show()
	o := l.options()
	o.Contracts = pageView(t, "13", "M")
	o.Orphans, o.Files = day, 100
	if r := l.run(o); len(r.Retention) != 3 { // by the contract alone
		t.Errorf("without a time: %+v", r.Retention)
	}
	o.OpsKeep = 90 * day
	o.DryRun = true
	plan := fmt.Sprint(l.run(o).Retention)
	o.DryRun = false
	r := l.run(o)
	if got := fmt.Sprint(r.Retention); got != plan || len(r.Retention) != 6 {
		t.Errorf("planned %s\ndone %s", plan, got)
	}
	want := strings.ReplaceAll(before, "never old young", "never young")
	want = strings.ReplaceAll(want, "unknown: never young", "unknown: never old young")
	want = strings.NewReplacer("never old other young", "never other young", "old other young", "other young").Replace(want)
	if got := show(); got != want {
		t.Errorf("left is\n%s\nwant\n%s", got, want)
	}
	if got := fmt.Sprint(l.keys("_reports")); got != "[warehouse/_reports/2026-08-23/b.html warehouse/_reports/2026-11-20/c.html warehouse/_reports/strange/d.html]" {
		t.Errorf("reports left: %s", got)
	}
	if got := fmt.Sprint(r.Sweep.Unknown); got != "[_reports/strange]" {
		t.Errorf("unknown: %s", got)
	}
	if r := l.run(o); len(r.Retention) != 0 {
		t.Errorf("a second run takes %+v", r.Retention)
	}
}
