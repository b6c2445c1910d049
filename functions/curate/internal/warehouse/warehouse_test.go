package warehouse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// lake is a place for warehouses: a store and a catalog.
type lake struct {
	store   *objectstore.Bucket
	server  *objectstoretest.Server // nil for a real store
	prefix  string
	catalog string
	// namespaces is the prefix of the namespaces' names, in a catalog that others use too.
	namespaces string
}

func newLake(t *testing.T) *lake {
	t.Helper()
	s := objectstoretest.NewServer("lake")
	t.Cleanup(s.Close)
	b, err := objectstore.Open(s.Config("lake", 2))
	if err != nil {
		t.Fatal(err)
	}
	return &lake{store: b, server: s, prefix: "warehouse", catalog: "sqlite://" + filepath.Join(t.TempDir(), "catalog.db")}
}

func (l *lake) config(t *testing.T) Config {
	return Config{Catalog: l.catalog, Name: "lake", Store: l.store, Prefix: l.prefix, Scratch: t.TempDir(), NamespacePrefix: l.namespaces}
}

func (l *lake) open(t *testing.T) *Warehouse {
	t.Helper()
	w, err := Open(t.Context(), l.config(t))
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

var (
	long   = iceberg.PrimitiveTypes.Int64
	text   = iceberg.PrimitiveTypes.String
	date   = iceberg.PrimitiveTypes.Date
	events = Name{"events", "enriched_x_0"}
)

func spec() Spec {
	return Spec{
		Columns: []Column{
			{Name: "id", Type: text, Doc: "the id"},
			{Name: "n", Type: long},
			{Name: "payload", Type: structOf("a", long)},
			{Name: "day", Type: date},
		},
		Partition:  []string{"day"},
		Properties: map[string]string{"millrace.position": "0"},
	}
}

// structOf makes a struct of names and types in turn.
func structOf(args ...any) *iceberg.StructType {
	s := &iceberg.StructType{}
	for i := 0; i < len(args); i += 2 {
		s.FieldList = append(s.FieldList, iceberg.NestedField{ID: i + 1, Name: args[i].(string), Type: args[i+1].(iceberg.Type)})
	}
	return s
}

func ensure(t *testing.T, w *Warehouse, name Name, s Spec) *Table {
	t.Helper()
	tbl, err := w.Ensure(t.Context(), name, s)
	if err != nil {
		t.Fatal(err)
	}
	return tbl
}

// write makes a file for the table of the rows, a JSON array.
func write(t *testing.T, w *Warehouse, tbl *Table, rows string) string {
	t.Helper()
	path := w.NewFile(tbl)
	writeParquet(t, path, tbl.Schema(), rows)
	return path
}

func writeParquet(t testing.TB, path string, schema *iceberg.Schema, rows string) {
	t.Helper()
	arrow, err := table.SchemaToArrowSchema(schema, nil, true, false)
	if err != nil {
		t.Fatal(err)
	}
	rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, arrow, strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Release()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pqarrow.NewFileWriter(arrow, f, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Uncompressed), parquet.WithDictionaryDefault(false)), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(out.Write(rec), out.Close()); err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T, w *Warehouse, tbl *Table, c Change) *Table {
	t.Helper()
	next, err := w.Commit(t.Context(), tbl, c)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// column returns the values of a top-level column in all the table's files, sorted, as they are fetched by w.
func column(t *testing.T, w *Warehouse, tbl *Table, name string, only bool) []string {
	t.Helper()
	files, err := tbl.Plan(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	if only {
		columns = []string{name}
	}
	got, err := w.Fetch(t.Context(), files, columns)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range got {
		out = append(out, values(t, l.Path, name)...)
	}
	slices.Sort(out)
	return out
}

func values(t *testing.T, path, name string) []string {
	t.Helper()
	pf, err := file.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pf.Close() }()
	r, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	var leaves []int
	for i := range pf.MetaData().Schema.NumColumns() {
		if pf.MetaData().Schema.Column(i).ColumnPath()[0] == name {
			leaves = append(leaves, i)
		}
	}
	groups := make([]int, pf.NumRowGroups())
	for i := range groups {
		groups[i] = i
	}
	if len(leaves) == 0 {
		return slices.Repeat([]string{"absent"}, int(pf.NumRows()))
	}
	tbl, err := r.ReadRowGroups(context.Background(), leaves, groups)
	if err != nil {
		t.Fatal(err)
	}
	defer tbl.Release()
	var out []string
	for _, c := range tbl.Column(0).Data().Chunks() {
		for i := range c.Len() {
			out = append(out, c.ValueStr(i))
		}
	}
	return out
}

// Guards the whole path, on each catalog and store: a table that is made, filled, read by another process, replaced in part and whole, and dropped.
func TestConformance(t *testing.T) { conformance(t, newLake(t)) }

func conformance(t *testing.T, l *lake) {
	ctx := t.Context()
	w := l.open(t)
	if _, err := w.Load(ctx, events); !errors.Is(err, ErrNoTable) {
		t.Fatalf("load of no table: %v", err)
	}
	tbl := ensure(t, w, events, spec())
	if tbl.Snapshot() != 0 || tbl.Properties()["millrace.position"] != "0" || !slices.Equal(tbl.Partition(), []string{"day"}) {
		t.Errorf("made: snapshot %d, %v, %v", tbl.Snapshot(), tbl.Properties(), tbl.Partition())
	}
	if again := ensure(t, w, events, spec()); again.ice.MetadataLocation() != tbl.ice.MetadataLocation() {
		t.Error("a second Ensure committed")
	}
	if files, err := tbl.Plan(ctx, nil); err != nil || len(files) != 0 {
		t.Errorf("files of an empty table: %v, %v", files, err)
	}

	first := commit(t, w, tbl, Change{
		Add: []string{
			write(t, w, tbl, `[{"id":"a","n":1,"payload":{"a":10},"day":"2026-11-20"},{"id":"b","n":2,"day":"2026-11-20"}]`),
			write(t, w, tbl, `[{"id":"c","n":3,"day":"2026-11-21"}]`),
			write(t, w, tbl, `[{"id":"d","n":4}]`),
		},
		Properties: map[string]string{"millrace.position": "1", "x": "y"},
	})
	other := l.open(t)
	seen, err := other.Load(ctx, events)
	if err != nil {
		t.Fatal(err)
	}
	if seen.Snapshot() != first.Snapshot() || first.Snapshot() == 0 || seen.Properties()["millrace.position"] != "1" {
		t.Errorf("another process sees snapshot %d, %v", seen.Snapshot(), seen.Properties())
	}
	if got := column(t, other, seen, "id", false); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("another process reads %q", got)
	}
	plan := func(tbl *Table, f iceberg.BooleanExpression) []File {
		t.Helper()
		files, err := tbl.Plan(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	days := func(files []File) string {
		var out []string
		for _, f := range files {
			day := "null"
			if d, ok := f.Partition["day"].(iceberg.Date); ok {
				day = d.ToTime().Format("01-02")
			} else if f.Partition["day"] != nil {
				day = fmt.Sprintf("%T", f.Partition["day"])
			}
			out = append(out, fmt.Sprint(day, " ", f.Rows))
		}
		slices.Sort(out)
		return strings.Join(out, ", ")
	}
	if got := days(plan(seen, nil)); got != "11-20 2, 11-21 1, null 1" {
		t.Errorf("planned: %s", got)
	}
	if got := days(plan(seen, iceberg.GreaterThan(iceberg.Reference("n"), int64(2)))); got != "11-21 1, null 1" {
		t.Errorf("planned with n > 2: %s", got)
	}
	if got := days(plan(seen, iceberg.EqualTo(iceberg.Reference("day"), "2026-11-20"))); got != "11-20 2" {
		t.Errorf("planned with a day: %s", got)
	}

	// One file goes, another comes, the rest stays.
	beaten := plan(first, iceberg.EqualTo(iceberg.Reference("day"), "2026-11-20"))
	second := commit(t, w, first, Change{Remove: beaten, Add: []string{write(t, w, first, `[{"id":"b2","n":2,"day":"2026-11-20"}]`)}, Properties: map[string]string{"millrace.position": "2", "x": ""}})
	if got := column(t, w, second, "id", false); !slices.Equal(got, []string{"b2", "c", "d"}) {
		t.Errorf("after a replacement %q", got)
	}
	if _, ok := second.Properties()["x"]; ok || second.Properties()["millrace.position"] != "2" {
		t.Errorf("properties %v", second.Properties())
	}
	changes, err := second.Changes(ctx, first.Snapshot())
	if err != nil || days(changes.Added) != "11-20 1" || days(changes.Removed) != "11-20 2" {
		t.Errorf("changes: %+v, %v", changes, err)
	}

	// A compaction is no change.
	third := commit(t, w, second, Change{Compaction: true, Remove: plan(second, iceberg.EqualTo(iceberg.Reference("day"), "2026-11-20")), Add: []string{write(t, w, first, `[{"id":"b2","n":2,"day":"2026-11-20"}]`)}})
	if changes, err := third.Changes(ctx, second.Snapshot()); err != nil || len(changes.Added)+len(changes.Removed) != 0 || third.Snapshot() == second.Snapshot() {
		t.Errorf("changes by a compaction: %+v, %v", changes, err)
	}
	if op := third.ice.CurrentSnapshot().Summary.Operation; op != table.OpReplace {
		t.Errorf("operation %s", op)
	}
	if third.Properties()["millrace.position"] != "2" {
		t.Errorf("properties after a compaction: %v", third.Properties())
	}

	// Files go without others coming.
	fourth := commit(t, w, third, Change{Remove: plan(third, iceberg.IsNull(iceberg.Reference("day")))})
	if got := column(t, w, fourth, "id", false); !slices.Equal(got, []string{"b2", "c"}) {
		t.Errorf("after a removal %q", got)
	}
	fifth := commit(t, w, fourth, Change{RemoveAll: true, Add: []string{write(t, w, fourth, `[{"id":"z","day":"2026-11-22"}]`)}})
	if got := column(t, other, fifth, "id", false); !slices.Equal(got, []string{"z"}) {
		t.Errorf("after a rebuild %q", got)
	}
	sixth := commit(t, w, fifth, Change{RemoveAll: true, Properties: map[string]string{"millrace.position": "3"}})
	if got := plan(sixth, nil); len(got) != 0 {
		t.Errorf("after an emptying %v", got)
	}
	if all, err := sixth.Changes(ctx, 0); err != nil || len(all.Added) != 0 {
		t.Errorf("changes since the beginning: %v, %v", all, err)
	}
	if changes, err := sixth.Changes(ctx, first.Snapshot()); err != nil || days(changes.Added) != "11-20 1, 11-22 1" || days(changes.Removed) != "11-20 1, 11-20 2, 11-21 1, 11-22 1, null 1" {
		t.Errorf("changes: %s, %s, %v", days(changes.Added), days(changes.Removed), err)
	}
	if _, err := sixth.Changes(ctx, 1); !errors.Is(err, ErrExpired) {
		t.Errorf("changes since no snapshot: %v", err)
	}
	props := commit(t, w, sixth, Change{Properties: map[string]string{"only": "properties"}})
	if props.Properties()["only"] != "properties" || props.Snapshot() != sixth.Snapshot() {
		t.Errorf("properties alone: %v", props.Properties())
	}
	if same := commit(t, w, props, Change{}); same != props {
		t.Error("a change of nothing committed")
	}

	ensure(t, w, Name{"star", "fact"}, Spec{Columns: spec().Columns})
	if names, err := other.Tables(ctx); err != nil || fmt.Sprint(names) != "[events.enriched_x_0 star.fact]" {
		t.Errorf("tables: %v, %v", names, err)
	}
	if err := errors.Join(w.Drop(ctx, events), w.Drop(ctx, events)); err != nil {
		t.Error(err)
	}
	if _, err := other.Load(ctx, events); !errors.Is(err, ErrNoTable) {
		t.Errorf("load after drop: %v", err)
	}
	if _, err := w.Commit(ctx, props, Change{Properties: map[string]string{"a": "b"}}); !errors.Is(err, ErrNoTable) {
		t.Errorf("commit after drop: %v", err)
	}
}
