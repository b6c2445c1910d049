package maintain

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/contract"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

const (
	hour = time.Hour
	day  = 24 * hour
)

var (
	text  = iceberg.PrimitiveTypes.String
	long  = iceberg.PrimitiveTypes.Int64
	date  = iceberg.PrimitiveTypes.Date
	trips = warehouse.Name{Namespace: "events", Table: "enriched_pageview_0"}
	fact  = warehouse.Name{Namespace: "star", Table: "fact"}
	spec  = warehouse.Spec{Columns: []warehouse.Column{{Name: "id", Type: text}, {Name: "n", Type: long}, {Name: "arrival_date", Type: date}}, Partition: []string{"arrival_date"}}
)

// lake is a warehouse on a store in the process, with a clock that the maintenance reads; what is written is dated by the system's.
type lake struct {
	t      *testing.T
	server *objectstoretest.Server
	w      *warehouse.Warehouse
	db     *duck.DB
	now    time.Time
}

func newLake(t *testing.T) *lake {
	t.Helper()
	s := objectstoretest.NewServer("lake")
	t.Cleanup(s.Close)
	c := s.Config("lake", 1)
	c.Transport = nil
	b, err := objectstore.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	w, err := warehouse.Open(t.Context(), warehouse.Config{Catalog: "sqlite://" + filepath.Join(t.TempDir(), "catalog.db"), Name: "lake", Store: b, Prefix: "warehouse", Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	l := &lake{t: t, server: s, w: w, now: time.Now()}
	t.Cleanup(func() {
		if l.db != nil {
			err = l.db.Close()
		}
		if err := errors.Join(err, w.Close()); err != nil {
			t.Error(err)
		}
	})
	return l
}

func (l *lake) options() Options {
	l.t.Helper()
	set, err := contract.NewSet()
	if err != nil {
		l.t.Fatal(err)
	}
	return Options{Warehouse: l.w, DB: l.duck, Contracts: set, Clock: func() time.Time { return l.now }, Files: 4, Snapshots: 2}
}

func (l *lake) duck() (*duck.DB, error) {
	if l.db != nil {
		return l.db, nil
	}
	db, err := duck.Open(l.t.Context(), duck.Options{Memory: 256 << 20, Threads: 1, Scratch: l.t.TempDir()})
	if err != nil {
		l.t.Skip(err) // no C compiler, which it says
	}
	l.db = db
	return db, nil
}

func (l *lake) run(o Options) Result {
	l.t.Helper()
	r, err := Run(l.t.Context(), o)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func (l *lake) ensure(name warehouse.Name, s warehouse.Spec) *warehouse.Table {
	l.t.Helper()
	t, err := l.w.Ensure(l.t.Context(), name, s)
	if err != nil {
		l.t.Fatal(err)
	}
	return t
}

func (l *lake) load(name warehouse.Name) *warehouse.Table {
	l.t.Helper()
	t, err := l.w.Load(l.t.Context(), name)
	if err != nil {
		l.t.Fatal(err)
	}
	return t
}

func (l *lake) commit(t *warehouse.Table, c warehouse.Change) *warehouse.Table {
	l.t.Helper()
	next, err := l.w.Commit(l.t.Context(), t, c)
	if err != nil {
		l.t.Fatal(err)
	}
	return next
}

// add commits one file with a row for each id.
func (l *lake) add(t *warehouse.Table, day string, ids ...string) *warehouse.Table {
	l.t.Helper()
	var rows []string
	for i, id := range ids {
		row := fmt.Sprintf(`{"id":%q,"n":%d`, id, i)
		if day != "" {
			row += fmt.Sprintf(`,"arrival_date":%q`, day)
		}
		rows = append(rows, row+"}")
	}
	path := l.w.NewFile(t)
	arrow, err := table.SchemaToArrowSchema(t.Schema(), nil, true, false)
	if err != nil {
		l.t.Fatal(err)
	}
	rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, arrow, strings.NewReader("["+strings.Join(rows, ",")+"]"))
	if err != nil {
		l.t.Fatal(err)
	}
	defer rec.Release()
	f, err := os.Create(path)
	if err != nil {
		l.t.Fatal(err)
	}
	out, err := pqarrow.NewFileWriter(arrow, f, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err != nil {
		l.t.Fatal(err)
	}
	if err := errors.Join(out.Write(rec), out.Close()); err != nil {
		l.t.Fatal(err)
	}
	return l.commit(t, warehouse.Change{Add: []string{path}})
}

func (l *lake) files(t *warehouse.Table) []warehouse.File {
	l.t.Helper()
	files, err := t.Plan(l.t.Context(), nil)
	if err != nil {
		l.t.Fatal(err)
	}
	return files
}

// rows returns the table's rows, sorted, as another process reads them that has no copies yet.
func (l *lake) rows(t *warehouse.Table, files []warehouse.File) string {
	l.t.Helper()
	var paths []string
	for _, f := range files {
		// Local copies must not hide what the store lost.
		local, err := l.w.Fetch(l.t.Context(), []warehouse.File{f}, nil)
		if err == nil {
			paths = append(paths, local[0].Path)
		}
	}
	if err := l.w.Release(paths); err != nil {
		l.t.Fatal(err)
	}
	local, err := l.w.Fetch(l.t.Context(), files, nil)
	if err != nil {
		return err.Error()
	}
	db, err := l.duck()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := db.Relation(l.t.Context(), t.Name, t.Schema(), local, nil, ""); err != nil {
		l.t.Fatal(err)
	}
	var out []string
	if err := db.Rows(l.t.Context(), "select id || ' ' || coalesce(cast(arrival_date as varchar), '-') from "+t.Name.String()+" order by 1", func(_ []string, row []any) error {
		out = append(out, fmt.Sprint(row[0]))
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
	return strings.Join(out, ", ")
}

func (l *lake) keys(part string) []string {
	var out []string
	for k := range l.server.Objects("lake") {
		if strings.Contains(k, part) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// Guards compaction: partitions with enough small files become one file each, with the rows that they had, in a snapshot that is no change for those who read changes; the others stay; files from
// before a column came get it; properties stay; a second run finds nothing.
func TestCompaction(t *testing.T) {
	l := newLake(t)
	tbl := l.ensure(fact, spec)
	tbl = l.commit(tbl, warehouse.Change{Properties: map[string]string{"millrace.sources": "x"}})
	for i := range 5 {
		tbl = l.add(tbl, "2026-11-20", fmt.Sprint("a", i), fmt.Sprint("b", i))
		tbl = l.add(tbl, "", fmt.Sprint("null", i))
	}
	wider := spec
	wider.Columns = append(slices.Clone(spec.Columns), warehouse.Column{Name: "more", Type: text})
	tbl = l.ensure(fact, wider)
	tbl = l.add(tbl, "2026-11-20", "late")
	tbl = l.add(tbl, "2026-11-21", "c")
	tbl = l.add(tbl, "2026-11-21", "d")
	want, before := l.rows(tbl, l.files(tbl)), tbl.Snapshot()
	dry := l.options()
	dry.DryRun = true
	dry.DB = func() (*duck.DB, error) { return nil, errors.New("a dry run needs no engine") }
	plan := fmt.Sprint(l.run(dry).Compaction)
	if got := l.load(fact); got.Snapshot() != before || !strings.HasPrefix(plan, "[{star.fact 2 11 0 16 ") {
		t.Errorf("a dry run: %s, snapshot %d became %d", plan, before, got.Snapshot())
	}
	r := l.run(l.options())
	if got := fmt.Sprint(r.Compaction); !strings.HasPrefix(got, "[{star.fact 2 11 2 16 ") {
		t.Errorf("result %s", got)
	}
	tbl = l.load(fact)
	if files := l.files(tbl); len(files) != 4 {
		t.Errorf("%d files", len(files))
	}
	if got := l.rows(tbl, l.files(tbl)); got != want {
		t.Errorf("rows\n%s\nwant\n%s", got, want)
	}
	if changes, err := tbl.Changes(t.Context(), before); err != nil || len(changes.Added)+len(changes.Removed) != 0 || tbl.Snapshot() == before {
		t.Errorf("changes %+v, %v", changes, err)
	}
	if tbl.Properties()["millrace.sources"] != "x" {
		t.Errorf("properties %v", tbl.Properties())
	}
	if again := l.run(l.options()); len(again.Compaction) != 0 || l.load(fact).Snapshot() != tbl.Snapshot() {
		t.Errorf("a second run: %+v", again.Compaction)
	}
}

// Guards the cost of compaction: a class waits for its number, takes those below it along, is cut at the target, and a large file is left alone.
func TestBatches(t *testing.T) {
	o := Options{Files: 3, Target: 100 << 20}
	o.defaults()
	const mb = 1 << 20
	f := func(want string, sizes ...int64) {
		t.Helper()
		var files []warehouse.File
		for _, s := range sizes {
			files = append(files, warehouse.File{Bytes: s})
		}
		var got []string
		for _, b := range o.batches(files) {
			got = append(got, fmt.Sprint(len(b.files), "=", b.bytes/mb))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%v: got %q, want %q", sizes, got, want)
		}
	}
	f("")
	f("", 1, 1)
	f("3=0", 1, 1, 1)
	f("3=0", 1, 1, 1, 80*mb)
	f("", 1, 1, 2*mb, 3*mb, 10*mb)
	f("4=9", 1, 3*mb, 3*mb, 3*mb, 5*mb)
	f("2=90 2=90", 45*mb, 45*mb, 45*mb, 45*mb)
	f("2=100", 60*mb, 40*mb, 60*mb)
	f("", 80*mb, 90*mb, 100*mb, 200*mb)
}

// Guards readers: what a query planned before stays readable through compaction, expiry and sweep of its hour, however many snapshots that made and however old its own; a day later it is gone, and
// the table as it is now is whole.
func TestAQueryRunsAcrossMaintenance(t *testing.T) {
	l := newLake(t)
	tbl := l.ensure(fact, spec)
	for i := range 8 {
		tbl = l.add(tbl, "2026-11-20", fmt.Sprint("a", i))
	}
	planned, want := l.files(tbl), l.rows(tbl, l.files(tbl))
	query := tbl
	o := l.options()
	o.Snapshots = 1
	l.now = l.now.Add(23 * hour)
	r := l.run(o)
	if len(r.Compaction) != 1 || len(r.Expiry) != 0 || r.Sweep.Objects != 0 {
		t.Errorf("the first maintenance: %+v", r)
	}
	for i := range 3 {
		l.add(l.load(fact), "2026-11-20", fmt.Sprint("b", i))
	}
	l.run(o)
	if got := l.rows(query, planned); got != want {
		t.Errorf("the query reads %s, want %s", got, want)
	}
	l.now = l.now.Add(2 * hour)
	dry := o
	dry.DryRun = true
	objects := len(l.keys(""))
	foreseen := l.run(dry)
	if len(l.keys("")) != objects {
		t.Error("a dry run deleted")
	}
	r = l.run(o)
	if len(r.Expiry) != 1 || r.Expiry[0].Stay != 1 || fmt.Sprint(foreseen.Expiry) != fmt.Sprint(r.Expiry) {
		t.Errorf("expiry a day later: %+v, foreseen %+v", r.Expiry, foreseen.Expiry)
	}
	r2 := l.run(o)
	if r.Sweep.Objects < 8 || r2.Sweep.Objects != 0 {
		t.Errorf("swept %+v, then %+v", r.Sweep, r2.Sweep)
	}
	if got := l.rows(query, planned); !strings.Contains(got, "not found") {
		t.Errorf("a day later the query reads %s", got)
	}
	now := l.load(fact)
	if got := l.rows(now, l.files(now)); got != want+", b0 2026-11-20, b1 2026-11-20, b2 2026-11-20" {
		t.Errorf("the table has %s", got)
	}
}

// Guards snapshots: the newest stay by number, and whatever was current within the time.
func TestExpiry(t *testing.T) {
	now := time.Now()
	f := func(want, least int, hours ...int) {
		t.Helper()
		var made []time.Time
		for _, h := range hours {
			made = append(made, now.Add(-time.Duration(h)*hour))
		}
		if got := expiry(made, now.Add(-day), least); got != want {
			t.Errorf("%v, %d at least: %d stay, want %d", hours, least, got, want)
		}
	}
	f(0, 5)
	f(1, 1, 100)
	f(2, 1, 1, 100)
	f(2, 1, 1, 100, 200)
	f(1, 1, 30, 100, 200)
	f(3, 3, 30, 100, 200, 300)
	f(4, 2, 1, 2, 23, 25, 26)
	f(2, 5, 90, 100)
}

// Guards the store: only objects of known or dropped tables go, only old ones, and only those that no table names; those of landing, of unknown folders and of tables that adopted them stay.
func TestSweep(t *testing.T) {
	l := newLake(t)
	now := l.now
	l.server.Clock(func() time.Time { return now.Add(-2 * day) })
	put := func(key string) {
		t.Helper()
		b, _ := l.w.Store()
		if err := b.Put(t.Context(), key, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	tbl := l.add(l.ensure(fact, spec), "2026-11-20", "kept")
	stage := l.ensure(warehouse.Name{Namespace: "star", Table: "stage"}, spec)
	stage = l.add(stage, "2026-11-20", "adopted")
	tbl = l.commit(tbl, warehouse.Change{Adopt: l.files(stage)})
	if err := l.w.Drop(t.Context(), stage.Name); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{
		"warehouse/star/fact/data/orphan.parquet", "warehouse/star/fact/metadata/orphan.avro", "landing/enriched/x.parquet", "warehouse/star/other/data/x.parquet", "warehouse/loose",
		"warehouse-2/star/fact/data/x.parquet",
	} {
		put(k)
	}
	l.server.Clock(func() time.Time { return now })
	put("warehouse/star/fact/data/young.parquet")
	o := l.options()
	if r, err := Run(t.Context(), Options{Warehouse: l.w, Contracts: o.Contracts, Clock: o.Clock, DryRun: true}); err != nil || r.Sweep.Objects < 5 {
		t.Errorf("a dry run: %+v, %v", r, err)
	}
	before := l.keys("")
	r := l.run(o)
	if fmt.Sprint(r.Sweep.Unknown) != "[loose star/other]" || r.Sweep.Young != 1 {
		t.Errorf("swept %+v", r.Sweep)
	}
	left := l.keys("")
	if len(before)-len(left) != r.Sweep.Objects {
		t.Errorf("%d objects went, %d are said to", len(before)-len(left), r.Sweep.Objects)
	}
	for _, k := range left {
		if strings.Contains(k, "orphan") || strings.Contains(k, "star/stage/metadata") {
			t.Errorf("%s stayed", k)
		}
	}
	for _, k := range []string{"landing/enriched/x.parquet", "warehouse/star/other/data/x.parquet", "warehouse/loose", "warehouse-2/star/fact/data/x.parquet", "warehouse/star/fact/data/young.parquet"} {
		if !slices.Contains(left, k) {
			t.Errorf("%s is gone", k)
		}
	}
	if got := l.rows(tbl, l.files(tbl)); got != "adopted 2026-11-20, kept 2026-11-20" {
		t.Errorf("the table has %s", got)
	}
}

// Guards against a sweep that does not know all names: where a manifest cannot be read, nothing is deleted.
func TestSweepOfADamagedTable(t *testing.T) {
	l := newLake(t)
	now := l.now
	l.server.Clock(func() time.Time { return now.Add(-2 * day) })
	l.add(l.ensure(fact, spec), "2026-11-20", "a")
	l.add(l.ensure(trips, spec), "2026-11-20", "a")
	b, _ := l.w.Store()
	if err := b.Put(t.Context(), "warehouse/star/fact/data/orphan.parquet", nil); err != nil {
		t.Fatal(err)
	}
	reader := newReader(t, l)
	for _, k := range l.keys("enriched_pageview_0/metadata/") {
		if strings.HasSuffix(k, ".avro") && !strings.Contains(k, "snap-") {
			if err := b.Delete(t.Context(), k); err != nil {
				t.Fatal(err)
			}
		}
	}
	o := l.options()
	o.Warehouse = reader
	before := len(l.keys(""))
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "sweep") {
		t.Errorf("got %v", err)
	}
	if got := len(l.keys("")); got != before {
		t.Errorf("%d objects of %d are left", got, before)
	}
}

// newReader opens the lake's warehouse again, with nothing in memory.
func newReader(t *testing.T, l *lake) *warehouse.Warehouse {
	t.Helper()
	c := l.w.Config()
	c.Scratch = t.TempDir()
	w, err := warehouse.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// Guards against a crash at any write or deletion of a maintenance that does everything: the rows are the same after each, and the next maintenance ends what was left.
func TestCrashAnywhere(t *testing.T) {
	for failing := 1; ; failing += 1 + failing/6 {
		l := newLake(t)
		now := l.now
		l.server.Clock(func() time.Time { return now.Add(-5 * day) })
		tbl := l.ensure(trips, spec)
		for i := range 5 {
			tbl = l.add(tbl, "2026-11-20", fmt.Sprint("a", i))
		}
		l.add(tbl, "2020-01-01", "past")
		b, _ := l.w.Store()
		for i := range 3 {
			if err := b.Put(t.Context(), fmt.Sprintf("warehouse/events/enriched_pageview_0/data/orphan-%d.parquet", i), nil); err != nil {
				t.Fatal(err)
			}
		}
		l.now = l.now.Add(2 * day)
		o := l.options()
		o.Snapshots = 1
		o.Contracts = pageView(t, "13", "M")
		writes := 0
		l.server.Fail(func(method, _, _ string) objectstoretest.Fault {
			if method == http.MethodPut || method == http.MethodDelete {
				if writes++; writes >= failing {
					return objectstoretest.Cut
				}
			}
			return objectstoretest.Serve
		})
		_, err := Run(t.Context(), o)
		l.server.Fail(nil)
		want := "a0 2026-11-20, a1 2026-11-20, a2 2026-11-20, a3 2026-11-20, a4 2026-11-20"
		tbl = l.load(trips)
		if got := l.rows(tbl, l.files(tbl)); strings.TrimSuffix(got, ", past 2020-01-01") != want {
			t.Fatalf("write %d failed (%v): %s", failing, err, got)
		}
		if err == nil {
			if failing < 8 {
				t.Errorf("only %d writes were seen", failing)
			}
			return
		}
		l.now = l.now.Add(2 * day)
		l.run(o)
		l.now = l.now.Add(2 * day)
		l.run(o)
		tbl = l.load(trips)
		if got := l.rows(tbl, l.files(tbl)); got != want {
			t.Errorf("after write %d had failed: %s", failing, got)
		}
		if got := l.keys("enriched_pageview_0/data/"); len(got) != 1 {
			t.Errorf("after write %d had failed: %q", failing, got)
		}
	}
}

// pageView is a contract of page views with a retention.
func pageView(t *testing.T, value, unit string) *contract.Set {
	t.Helper()
	embedded, err := os.ReadFile("../../../../shared/contract/contracts/page_view.odcs.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := contract.Parse("page_view.odcs.yaml", []byte(strings.Replace(string(embedded), "value: 13\n    unit: M", "value: "+value+"\n    unit: "+unit, 1)))
	if err != nil {
		t.Fatal(err)
	}
	set, err := contract.NewSet(c)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Guards retention: whole days go that are past it, the border's stays; a dry run says the same and does nothing; what cannot be understood keeps everything and is an error.
func TestRetention(t *testing.T) {
	l := newLake(t)
	l.now = time.Date(2026, 11, 21, 1, 0, 0, 0, time.UTC)
	tbl := l.ensure(trips, spec)
	for _, d := range []string{"2025-10-20", "2025-10-20", "2025-10-21", "2026-11-21", ""} {
		tbl = l.add(tbl, d, "x")
	}
	other := l.add(l.ensure(fact, spec), "2020-01-01", "old")
	o := l.options()
	o.Contracts = pageView(t, "13", "parsec")
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "parsec") {
		t.Errorf("got %v", err)
	}
	if got := len(l.files(l.load(trips))); got != 5 {
		t.Errorf("%d files after an error", got)
	}
	o.Contracts = pageView(t, "13", "M")
	o.DryRun = true
	want := "[{events.enriched_pageview_0 [2025-10-20] 2025-10-21 2 2 "
	if got := fmt.Sprint(l.run(o).Retention); !strings.HasPrefix(got, want) || len(l.files(l.load(trips))) != 5 {
		t.Errorf("a dry run: %s", got)
	}
	o.DryRun = false
	if got := fmt.Sprint(l.run(o).Retention); !strings.HasPrefix(got, want) {
		t.Errorf("got %s", got)
	}
	tbl = l.load(trips)
	if got := l.rows(tbl, l.files(tbl)); got != "x -, x 2025-10-21, x 2026-11-21" {
		t.Errorf("rows %s", got)
	}
	if got := len(l.files(l.load(other.Name))); got != 1 {
		t.Errorf("%d files of another namespace", got)
	}
	if got := l.run(o).Retention; len(got) != 0 {
		t.Errorf("a second run: %v", got)
	}
}

// Guards the units of a retention, where a mistake deletes.
func TestParseRetention(t *testing.T) {
	now := time.Date(2026, 3, 31, 23, 0, 0, 0, time.UTC)
	f := func(value any, unit, want string) {
		t.Helper()
		p, err := retention([]contract.SLA{{Property: "latency", Value: 1, Unit: "s"}, {Property: "retention", Value: value, Unit: unit}})
		got := "error"
		if err == nil {
			got = p.before(now).Format(time.DateOnly)
		}
		if got != want {
			t.Errorf("%v %s: %s, want %s (%v)", value, unit, got, want, err)
		}
	}
	f(7, "y", "2019-03-31")
	f("2", "years", "2024-03-31")
	f(13, "M", "2025-02-28") // not 31 February, which is in March
	f(1, "M", "2026-02-28")
	f(4, "M", "2025-11-30")
	f(3, "M", "2025-12-31")
	f(1.0, "w", "2026-03-24")
	f(30, "d", "2026-03-01")
	f(30, "m", "error")
	f(30, "", "error")
	f(0, "d", "error")
	f(-1, "y", "error")
	f(1.5, "y", "error")
	f("soon", "d", "error")
	f(nil, "d", "error")
	if p, err := retention([]contract.SLA{{Property: "retention", Value: 1, Unit: "y"}, {Property: "Retention", Value: 400, Unit: "d"}}); err != nil || p.days != 400 {
		t.Errorf("of two: %+v, %v", p, err)
	}
}

// Guards the others' turn: a table that another writer changes meanwhile is for the next run, the rest is done, and the maintenance counts as not done.
func TestConflict(t *testing.T) {
	l := newLake(t)
	for _, name := range []warehouse.Name{trips, fact} {
		tbl := l.ensure(name, spec)
		for i := range 4 {
			tbl = l.add(tbl, "2026-11-20", fmt.Sprint(i))
		}
	}
	l.ensure(landing, spec)
	if got, err := Due(t.Context(), l.w, l.now, day); err != nil || !got {
		t.Errorf("due at first: %v, %v", got, err)
	}
	o := l.options()
	once := false
	o.DB = func() (*duck.DB, error) {
		if !once {
			once = true
			l.commit(l.load(trips), warehouse.Change{Properties: map[string]string{"other": "writer"}})
		}
		return l.duck()
	}
	r, err := Run(t.Context(), o)
	if !errors.Is(err, warehouse.ErrConflict) || len(r.Compaction) != 1 || r.Compaction[0].Table != "star.fact" {
		t.Errorf("%+v, %v", r.Compaction, err)
	}
	due := func(want bool) {
		t.Helper()
		if got, err := Due(t.Context(), l.w, l.now, day); err != nil || got != want {
			t.Errorf("due %v, %v", got, err)
		}
	}
	due(false) // not at once
	l.now = l.now.Add(hour)
	due(true)
	if r := l.run(o); len(r.Compaction) != 1 || r.Compaction[0].Table != trips.String() {
		t.Errorf("the next run: %+v", r.Compaction)
	}
	due(false)
	l.now = l.now.Add(day - time.Second)
	due(false)
	l.now = l.now.Add(time.Second)
	due(true)
	if got, err := Due(t.Context(), newLake(t).w, l.now, hour); err != nil || got {
		t.Errorf("due without tables: %v, %v", got, err)
	}
}
