//go:build cgo

package duck

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"millrace/functions/curate/internal/warehouse"
)

func open(t testing.TB) *DB {
	t.Helper()
	d, err := Open(t.Context(), Options{Memory: 256 << 20, Threads: 2, Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// paths returns a next for Write that names files in a directory of the test.
func paths(t testing.TB) (string, func() string) {
	dir, n := t.TempDir(), 0
	return dir, func() string {
		n++
		return filepath.Join(dir, fmt.Sprintf("%d.parquet", n))
	}
}

// all returns the rows of a query as text.
func all(t testing.TB, d *DB, query string) []string {
	t.Helper()
	var out []string
	if err := d.Rows(t.Context(), query, func(_ []string, row []any) error {
		out = append(out, strings.TrimSpace(fmt.Sprintln(row...)))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func field(id int, name string, typ iceberg.Type) iceberg.NestedField {
	return iceberg.NestedField{ID: id, Name: name, Type: typ}
}

func structOf(fs ...iceberg.NestedField) *iceberg.StructType {
	return &iceberg.StructType{FieldList: fs}
}

// str and i64 are short for the types of most columns here.
var (
	str = iceberg.StringType{}
	i64 = iceberg.Int64Type{}
)

// everything has each type that a table of ours may have, nested ones too.
func everything() *iceberg.Schema {
	return iceberg.NewSchema(0,
		field(1, "a", iceberg.Int32Type{}), field(2, "b", i64), field(3, "c", iceberg.Float32Type{}), field(4, "d", iceberg.Float64Type{}),
		field(5, "e", iceberg.DecimalTypeOf(38, 10)), field(6, "f", iceberg.DecimalTypeOf(9, 2)), field(7, "g", iceberg.BooleanType{}), field(8, "h", iceberg.DateType{}),
		field(9, "i", iceberg.TimeType{}), field(10, "j", iceberg.TimestampType{}), field(11, "k", iceberg.TimestampTzType{}), field(12, "l", str),
		field(13, "m", iceberg.UUIDType{}), field(14, "n", iceberg.BinaryType{}),
		field(15, "o", structOf(field(16, "x", i64), field(17, "y", &iceberg.ListType{ElementID: 18, Element: structOf(field(19, "z", str))}))),
		field(20, "p", &iceberg.ListType{ElementID: 21, Element: str}),
		field(22, "q", &iceberg.MapType{KeyID: 23, KeyType: str, ValueID: 24, ValueType: i64}),
	)
}

const everythingSQL = `select 1 as a, 2 as b, 1.5 as c, 2.5 as d, '12345678901234567890.0123456789'::decimal(38,10) as e, 1.25 as f, true as g, date '2026-11-21' as h,
	time '10:11:12.123456' as i, timestamp '2026-11-21 10:11:12.123456' as j, timestamptz '2026-11-21 10:11:12.123456+02' as k, 'ü' as l,
	uuid 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee' as m, '\x00\xFF'::blob as n, {'x': 1, 'y': [{'z': 'q'}, null]} as o, ['a', null] as p, map {'k': 1} as q`

// Guards what other engines read: each type comes back as it was, with the schema's field ids at every level, microseconds, and the zone or its absence, all optional.
func TestWriteGivesTheSchemasTypes(t *testing.T) {
	d, schema := open(t), everything()
	_, next := paths(t)
	nulls := "select "
	for i, f := range schema.Fields() {
		if i > 0 {
			nulls += ", "
		}
		nulls += "null as " + f.Name
	}
	files, err := d.Write(t.Context(), everythingSQL+" union all "+nulls, schema, nil, next)
	if err != nil || len(files) != 1 || files[0].Rows != 2 {
		t.Fatal(files, err)
	}
	if err := d.Relation(t.Context(), warehouse.Name{Namespace: "star", Table: "t"}, schema, []warehouse.Local{{Path: files[0].Path}}, nil, ""); err != nil {
		t.Fatal(err)
	}
	if got := all(t, d, "select count(*) from ((select * from t) except (select * from ("+everythingSQL+") union all "+nulls+"))"); got[0] != "0" {
		t.Errorf("rows differ: %v", all(t, d, "select * from t"))
	}
	types := map[string]string{}
	columns, err := d.Describe(t.Context(), "select * from star.t")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range columns {
		types[c.Name] = c.Type
	}
	want := map[string]string{
		"a": "INTEGER", "b": "BIGINT", "c": "FLOAT", "d": "DOUBLE", "e": "DECIMAL(38,10)", "f": "DECIMAL(9,2)", "g": "BOOLEAN", "h": "DATE", "i": "TIME", "j": "TIMESTAMP",
		"k": "TIMESTAMP WITH TIME ZONE", "l": "VARCHAR", "m": "UUID", "n": "BLOB", "o": "STRUCT(x BIGINT, y STRUCT(z VARCHAR)[])", "p": "VARCHAR[]", "q": "MAP(VARCHAR, BIGINT)",
	}
	if !reflect.DeepEqual(types, want) {
		t.Errorf("%v\nwant\n%v", types, want)
	}
	ids, stamps := map[string]int32{}, map[string]bool{}
	for _, e := range elements(t, files[0].Path)[1:] {
		if e.FieldID != 0 {
			ids[e.Name] += e.FieldID
		}
		if s, ok := e.LogicalType.Value.(*format.TimestampType); ok {
			stamps[e.Name] = s.IsAdjustedToUTC
			if _, micros := s.Unit.Value.(*format.MicroSeconds); !micros {
				t.Errorf("%s is in %v", e.Name, s.Unit)
			}
		}
		if e.RepetitionType.V == format.Required && e.Name != "key" {
			t.Errorf("%s is required", e.Name)
		}
	}
	if want := map[string]int32{
		"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7, "h": 8, "i": 9, "j": 10, "k": 11, "l": 12, "m": 13, "n": 14, "o": 15, "x": 16, "y": 17, "z": 19,
		"p": 20, "element": 18 + 21, "q": 22, "key": 23, "value": 24,
	}; !reflect.DeepEqual(ids, want) {
		t.Errorf("field ids %v\nwant %v", ids, want)
	}
	if !reflect.DeepEqual(stamps, map[string]bool{"j": false, "k": true}) {
		t.Errorf("in UTC: %v", stamps)
	}
}

func elements(t *testing.T, path string) []format.SchemaElement {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	p, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return p.Metadata().Schema
}

// Guards partitions: whatever the values are (a path, the text that stands for null, longer than a file's name may be, null), each file has one, and no row is lost.
func TestWriteSplitsByAnyValue(t *testing.T) {
	d := open(t)
	dir, next := paths(t)
	schema := iceberg.NewSchema(0, field(1, "p", str), field(2, "q", iceberg.DateType{}), field(3, "n", i64))
	values := []string{"'a/../b'", "'__HIVE_DEFAULT_PARTITION__'", "null", "'null'", "''", "'%41=x'", "repeat('ü', 500)", "'A'", "'a'"}
	files, err := d.Write(t.Context(), "select v as p, date '2026-11-21' + (i % 2)::int as q, i as n from (select unnest(["+strings.Join(values, ", ")+"]) as v), range(4) r(i)", schema, []string{"p", "q"}, next)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 2*len(values) {
		t.Errorf("%d files for %d values", len(files), 2*len(values))
	}
	var locals []warehouse.Local
	for _, f := range files {
		if f.Rows != 2 {
			t.Errorf("%d rows in a file", f.Rows)
		}
		if got := all(t, d, "select count(distinct coalesce(p, '\x01')), count(distinct q), count(distinct p is null) from read_parquet("+Literal(f.Path)+")"); got[0] != "1 1 1" {
			t.Errorf("%s values in a file", got[0])
		}
		if got := elements(t, f.Path); len(got) != 4 {
			t.Errorf("columns %v", got)
		}
		locals = append(locals, warehouse.Local{Path: f.Path})
	}
	if err := d.Relation(t.Context(), warehouse.Name{Namespace: "star", Table: "t"}, schema, locals, nil, ""); err != nil {
		t.Fatal(err)
	}
	if got := all(t, d, "select count(*), count(distinct (p, q, n)) from t"); got[0] != "36 36" {
		t.Errorf("rows %v", got)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != len(files) {
		t.Errorf("%d entries, %v", len(left), err)
	}
}

// Guards against half a result: a value that does not fit, a column too few or too many, no rows: no file is left.
func TestWriteLeavesNothing(t *testing.T) {
	d := open(t)
	dir, next := paths(t)
	schema := iceberg.NewSchema(0, field(1, "a", i64), field(2, "b", str))
	for query, want := range map[string]string{
		"select case when i = 299999 then 'x' else '1' end as a, 'q' as b from range(300000) t(i)": "Could not convert string 'x'",
		"select 1 as a":                     "has no column b",
		"select 1 as a, 'q' as b, 1 as c":   "has a column c",
		"select nope as a, 'q' as b from t": "nope",
		"select 1 as a,\n'q' as b,\nnope":   "LINE 3",
		"select 1 as a, 'q' as b where 0=1": "",
	} {
		for _, partition := range [][]string{nil, {"b"}} {
			files, err := d.Write(t.Context(), query, schema, partition, next)
			if len(files) != 0 || (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) && want != "nope" {
				t.Errorf("%s: %v, %v", query, files, err)
			}
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// Guards tables that grew: a column, a field of a struct and of a struct in a list that a file lacks are null, a renamed column is found by its id, a column that was
// dropped and made anew under its old name is not, and a file without ids is read by names.
func TestRelationOfOlderFiles(t *testing.T) {
	d, ctx := open(t), t.Context()
	_, next := paths(t)
	old := iceberg.NewSchema(0, field(1, "id", iceberg.Int32Type{}), field(2, "was", str), field(3, "gone", str),
		field(4, "s", structOf(field(5, "x", i64), field(6, "y", str))), field(7, "l", &iceberg.ListType{ElementID: 8, Element: structOf(field(9, "x", i64))}))
	now := iceberg.NewSchema(0, field(1, "id", i64), field(2, "is", str), field(10, "gone", str),
		field(4, "s", structOf(field(5, "x", i64), field(11, "new", str), field(6, "y", str))),
		field(7, "l", &iceberg.ListType{ElementID: 8, Element: structOf(field(9, "x", i64), field(12, "new", str))}), field(13, "extra", iceberg.DecimalTypeOf(5, 2)))
	first, err := d.Write(ctx, "select 1 as id, 'w' as was, 'g' as gone, {'x': 1, 'y': 'y'} as s, [{'x': 2}] as l union all select 2, null, null, null, null", old, nil, next)
	if err != nil {
		t.Fatal(err)
	}
	second, err := d.Write(ctx, "select 3 as id, 'v' as \"is\", 'h' as gone, {'x': 1, 'new': 'n', 'y': 'y'} as s, [{'x': 2, 'new': 'n'}] as l, 1.25 as extra", now, nil, next)
	if err != nil {
		t.Fatal(err)
	}
	plain := next()
	if err := d.Exec(ctx, "copy (select 4 as id, 'u' as \"is\", {'y': 'y'} as s) to "+Literal(plain)); err != nil {
		t.Fatal(err)
	}
	if err := d.Relation(ctx, warehouse.Name{Namespace: "events", Table: "t"}, now, []warehouse.Local{{Path: first[0].Path}, {Path: second[0].Path}, {Path: plain}}, nil, ""); err != nil {
		t.Fatal(err)
	}
	if got, want := all(t, d, "select id, \"is\", gone, to_json(s), to_json(l), extra from events.t order by id"), []string{
		"1 w <nil> map[new:<nil> x:1 y:y] [map[new:<nil> x:2]] <nil>",
		"2 <nil> <nil> <nil> <nil> <nil>",
		"3 v h map[new:n x:1 y:y] [map[new:n x:2]] 1.25",
		"4 u <nil> map[new:<nil> x:<nil> y:y] <nil> <nil>",
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	columns, err := d.Describe(ctx, "select * from events.t")
	if err != nil || columns[0].Type != "BIGINT" || columns[3].Type != "STRUCT(x BIGINT, \"new\" VARCHAR, y VARCHAR)" {
		t.Errorf("%v, %v", columns, err)
	}
	if err := d.Relation(ctx, warehouse.Name{Namespace: "events", Table: "t"}, now, nil, []string{"s", "id"}, "id > 1"); err != nil {
		t.Fatal(err)
	}
	if columns, err := d.Describe(ctx, "select * from events.t"); err != nil || len(columns) != 2 || columns[0].Name != "id" {
		t.Errorf("an empty relation has %v, %v", columns, err)
	}
	if got := all(t, d, "select * from events.t"); len(got) != 0 {
		t.Errorf("rows of nothing: %v", got)
	}
}

// Guards rows that Trino deleted: those positions, of that file alone, are gone, also where only some columns are read and rows are filtered; and the name of each row's own file.
func TestRelationLeavesDeletedRowsOut(t *testing.T) {
	d, ctx := open(t), t.Context()
	_, next := paths(t)
	schema := iceberg.NewSchema(0, field(1, "id", i64), field(2, "b", str))
	var locals []warehouse.Local
	for i := range 2 {
		files, err := d.Write(ctx, fmt.Sprintf("select i + %d as id, 'v' || i as b from range(5) t(i) order by i", i*10), schema, nil, next)
		if err != nil {
			t.Fatal(err)
		}
		locals = append(locals, warehouse.Local{Path: files[0].Path, File: warehouse.File{Path: fmt.Sprintf("s3://b/%d.parquet", i)}})
	}
	deletes := next()
	if err := d.Exec(ctx, "copy (select * from (values ('s3://b/0.parquet', 1), ('s3://b/0.parquet', 4), ('s3://b/1.parquet', 0)) t(file_path, pos)) to "+Literal(deletes)); err != nil {
		t.Fatal(err)
	}
	locals[0].Deletes = []string{deletes}
	name := warehouse.Name{Namespace: "star", Table: "t"}
	if err := d.Relation(ctx, name, schema, locals, []string{"id"}, "id <> 12"); err != nil {
		t.Fatal(err)
	}
	if got := all(t, d, "select id from t order by id"); !slices.Equal(got, []string{"0", "2", "3", "10", "11", "13", "14"}) {
		t.Errorf("%v", got)
	}
	if err := d.Origins(ctx, name, schema, locals, []string{"id"}, "origin"); err != nil {
		t.Fatal(err)
	}
	if got, want := all(t, d, "select origin, sum(id) from t group by 1 order by min(id)"), []string{locals[0].Path + " 5", locals[1].Path + " 60"}; !slices.Equal(got, want) {
		t.Errorf("by origin: %v, want %v", got, want)
	}
	if err := d.Origins(ctx, name, schema, nil, []string{"id"}, "origin"); err != nil {
		t.Fatal(err)
	}
	if columns, err := d.Describe(ctx, "select * from t"); err != nil || len(columns) != 2 || columns[1] != (Column{"origin", "VARCHAR"}) {
		t.Errorf("without files: %v, %v", columns, err)
	}
	locals[1].Columns = []string{"b"}
	if err := d.Relation(ctx, name, schema, locals, []string{"id"}, ""); err == nil || !strings.Contains(err.Error(), "column id of s3://b/1.parquet was not fetched") {
		t.Errorf("a column that is not there: %v", err)
	}
	if err := d.Relation(ctx, name, schema, locals, []string{"nope"}, ""); err == nil || !strings.Contains(err.Error(), "there are id, b") {
		t.Errorf("a wrong column: %v", err)
	}
}

// Guards the graph of models and what query fetches: each table that a query reads, none of its own names, in every place where SQL may read one.
func TestReferencesAndColumns(t *testing.T) {
	d := open(t)
	for _, c := range []struct {
		query, tables, columns string
		all                    bool
	}{
		{"select 1", "", "", false},
		{"select A.x, count(*) from Star.Fact a join dim_zone z on a.k = z.k where z.b > 1 group by 1;", "dim_zone star.fact", "a b k x z", false},
		{"with c as (select x from t), d as (select x from c) select d.x from d, lake.events.u", "lake.events.u t", "d x", false},
		{"with t as (select x from t) select x from t", "t", "x", false},
		{"with c as (select 1 as x) select x from star.c", "star.c", "x", false},
		{"select x from (with c as (select x from q) select x from c) s union all select y from c", "c q", "x y", false},
		{"with recursive r(n) as (select 1 union all select n + 1 from r where n < 9) select n from r", "", "n", false},
		{"select e from t, unnest(t.l) u(e) where exists (select 1 from v where v.i = t.i) and k in (select k from w)", "t v w", "e i k l t v", false},
		{"select x from t cross join lateral (select y from q where q.i = t.i) z", "q t", "i q t x y", false},
		{"select (select max(x) from m) from t intersect select 1 from o", "m o t", "x", false},
		{"select payload.fare from t join u using (id) order by t.z", "t u", "fare id payload t z", false},
		{"select t.* from t", "t", "", true},
		{"select t from t", "t", "t", true},
		{"select x from t as s(x)", "t", "x", true},
		{"select x from t natural join u", "t u", "x", true},
		{"from t", "t", "", true},
		{"select count(*), sum(x) over (partition by y order by z) from t", "t", "x y z", false},
	} {
		tables, err := d.References(t.Context(), c.query)
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		columns, whole, err := d.Columns(t.Context(), c.query)
		if err != nil || strings.Join(tables, " ") != c.tables || strings.Join(columns, " ") != strings.TrimSpace(c.columns) || whole != c.all {
			t.Errorf("%s: %q, %q, %t, %v", c.query, tables, columns, whole, err)
		}
	}
}

// Guards models against another answer than Trino's where a count looks at nothing, or at nulls alone: 0, and a bigint.
func TestCountIf(t *testing.T) {
	d := open(t)
	got := all(t, d, "select count_if(x > 0), count_if(x is null), count_if(x > 0 and x < 0), typeof(count_if(x > 0)) from (values (cast(null as integer)), (null)) t(x)")
	got = append(got, all(t, d, "select count_if(x > 0) from (values (1)) t(x) where false")...)
	got = append(got, all(t, d, "select count_if(x > 1) over (order by x) from (values (1), (2), (3)) t(x) order by x")...)
	if text := strings.Join(got, " "); text != "0 2 0 BIGINT 0 0 1 2" {
		t.Error(text)
	}
}

// Guards `curate query` and models against anything but one SELECT, and people against an error without a place.
func TestReferencesRefuse(t *testing.T) {
	d := open(t)
	for _, query := range []string{
		"insert into t values (1)", "copy t to 'x'", "copy (select 1) to 'x'", "attach 'x'", "install httpfs", "load httpfs", "set threads=1", "pragma version", "create table t as select 1",
		"drop table t", "select 1; select 2", "call pragma_version()", "explain select 1", "export database 'x'", "show tables", "describe t", "select * from (describe t)", "", "checkpoint", "use star", "vacuum",
		"prepare p as select 1", "with x as (insert into t values (1) returning 1) select * from x",
	} {
		if tables, err := d.References(t.Context(), query); err == nil {
			t.Errorf("%q is taken for a SELECT of %v", query, tables)
		} else if !errors.Is(err, ErrNotSelect) && !strings.HasPrefix(query, "with") {
			t.Errorf("%q: %v", query, err)
		}
	}
	_, err := d.References(t.Context(), "select a,\n  'ü', b from where x")
	if err == nil || !strings.Contains(err.Error(), "(line 2, column 15)\n    'ü', b from where x\n                ^") {
		t.Errorf("%v", err)
	}
}

// Guards the machine from a user's SQL: once sealed, only the relations' files can be read, and nothing written, attached, installed, or configured.
func TestSealed(t *testing.T) {
	d, ctx := open(t), t.Context()
	dir, next := paths(t)
	schema := iceberg.NewSchema(0, field(1, "id", i64))
	files, err := d.Write(ctx, "select i as id from range(3) t(i)", schema, nil, next)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Relation(ctx, warehouse.Name{Namespace: "star", Table: "t"}, schema, []warehouse.Local{{Path: files[0].Path}}, nil, ""); err != nil {
		t.Fatal(err)
	}
	if got := all(t, d, "select count(*) from read_csv('/etc/passwd', sep=':', header=false)"); got[0] == "0" {
		t.Error("this test would not notice an open door")
	}
	for range 2 {
		if err := d.Seal(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, query := range []string{
		"select * from read_csv('/etc/passwd')", "select * from read_text('/etc/passwd')", "select * from read_blob('/etc/passwd')", "select * from '/etc/passwd'", "select * from glob('/etc/*')",
		"copy (select 1) to " + Literal(dir+"/x.csv"), "copy (select 1) to " + Literal(dir+"/1.parquet") + " (format csv)", "copy t to " + Literal(d.scratch+"/../x.csv"), "attach " + Literal(dir+"/x.db"), "install httpfs", "load httpfs",
		"load '/tmp/x.duckdb_extension'", "set enable_external_access=true", "reset lock_configuration", "set memory_limit='10GB'", "set temp_directory='/'", "export database " + Literal(dir),
		"create secret s (type s3)",
	} {
		if err := d.Rows(ctx, query, func([]string, []any) error { return nil }); err == nil {
			t.Errorf("%s is allowed", query)
		}
	}
	if got := all(t, d, "select count(*) from t"); got[0] != "3" {
		t.Errorf("the relation has %v rows", got)
	}
	if err := d.Relation(ctx, warehouse.Name{Namespace: "star", Table: "u"}, schema, nil, nil, ""); err == nil {
		t.Error("a relation after the seal")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v was written, %v", left, err)
	}
}

// Guards the pod: what needs more memory than the limit goes to scratch, which is empty after Close; what finds no room there either is an error, and DuckDB goes on.
func TestMemoryIsBounded(t *testing.T) {
	scratch := t.TempDir()
	d, err := Open(t.Context(), Options{Memory: 64 << 20, Threads: 1, Scratch: scratch, Spill: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	const big = "select count(*) from (select md5(i::varchar) as a, repeat('x', 100) || i as b from range(1500000) t(i) order by a, b limit 1400000)"
	if got := all(t, d, big); got[0] != "1400000" {
		t.Errorf("%v", got)
	}
	if err := d.Exec(t.Context(), "set max_temp_directory_size='1MB'"); err != nil {
		t.Fatal(err)
	}
	if err := d.Rows(t.Context(), big, func([]string, []any) error { return nil }); err == nil || !strings.Contains(err.Error(), "Out of Memory") {
		t.Errorf("without room: %v", err)
	}
	if got := all(t, d, "select 1"); got[0] != "1" {
		t.Errorf("afterwards: %v", got)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// Guards large results: all rows once, in the query's order, with a table in pieces, and another Stream after an error of the caller's.
func TestStream(t *testing.T) {
	d := open(t)
	errStop := errors.New("stop")
	if err := d.Stream(t.Context(), "select 1", func([]string, []any) error { return errStop }); !errors.Is(err, errStop) {
		t.Errorf("%v", err)
	}
	for _, n := range []int{0, 1, streamRows, 2*streamRows + 7} {
		want := int64(n)
		if err := d.Stream(t.Context(), fmt.Sprintf("select i from range(%d) t(i) order by i desc", n), func(_ []string, row []any) error {
			want--
			if row[0] != want {
				t.Fatalf("%v, want %d", row[0], want)
			}
			return nil
		}); err != nil || want != 0 {
			t.Errorf("%d rows are missing, %v", want, err)
		}
	}
}

// Guards shutdown: a cancelled query ends, with an error that says so.
func TestCancel(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := d.Rows(ctx, "select count(*) from range(1000000000000) t(i) where i % 7 <> 9", func([]string, []any) error { return nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
