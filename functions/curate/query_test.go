//go:build cgo

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// lake is a warehouse in a directory as make run has it, in front of which the environment knows nothing.
type lake struct {
	dir       string
	store     *objectstoretest.Server
	warehouse *warehouse.Warehouse
	db        *duck.DB
	before    func(r *http.Request) // is called before each request of the query's
}

func newLake(t *testing.T) *lake {
	t.Helper()
	l := &lake{dir: t.TempDir(), store: objectstoretest.NewServer("millrace", "millrace-private")}
	t.Cleanup(l.store.Close)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.before != nil {
			l.before(r)
		}
		l.store.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	for _, name := range []string{"S3_ENDPOINT", "S3_REGION", "CATALOG_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "SCRATCH", "MODELS", "ENGINE", "S3_BUCKET", "WAREHOUSE_PREFIX", "DUCKDB_MEMORY"} {
		t.Setenv(name, "") // restores it at the end
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SCRATCH", t.TempDir())
	c := l.store.Config("millrace", 1)
	env := "# servers\nexport S3_ENDPOINT=" + front.URL + "\nexport S3_REGION=" + c.Region + "\nexport AWS_ACCESS_KEY_ID='" + c.AccessKey + "'\nexport AWS_SECRET_ACCESS_KEY='" +
		strings.ReplaceAll(c.SecretKey, "'", `'\''`) + "'\n"
	if err := os.WriteFile(filepath.Join(l.dir, "env"), []byte(env), 0o600); err != nil {
		t.Fatal(err)
	}
	bucket, err := objectstore.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if l.warehouse, err = warehouse.Open(t.Context(), warehouse.Config{Catalog: "sqlite://" + l.dir + "/catalog.db", Name: "lake", Store: bucket, Prefix: "warehouse", Scratch: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if l.db, err = duck.Open(t.Context(), duck.Options{Memory: 128 << 20, Threads: 1, Scratch: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(l.db.Close(), l.warehouse.Close()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// add commits the query's rows to the table; replace takes all others out.
func (l *lake) add(t *testing.T, name warehouse.Name, spec warehouse.Spec, query string, replace bool) {
	t.Helper()
	table, err := l.warehouse.Ensure(t.Context(), name, spec)
	if err != nil {
		t.Fatal(err)
	}
	files, err := l.db.Write(t.Context(), query, table.Schema(), table.Partition(), func() string { return l.warehouse.NewFile(table) })
	if err != nil {
		t.Fatal(err)
	}
	change := warehouse.Change{RemoveAll: replace}
	for _, f := range files {
		change.Add = append(change.Add, f.Path)
	}
	if _, err := l.warehouse.Commit(t.Context(), table, change); err != nil {
		t.Fatal(err)
	}
}

func (l *lake) query(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	err = runQuery(t.Context(), append([]string{"-dir", l.dir}, args...), &out, &errs)
	return out.String(), errs.String(), err
}

var (
	factTrip = warehouse.Name{Namespace: "star", Table: "fact_trip"}
	tripSpec = warehouse.Spec{Partition: []string{"day"}, Columns: []warehouse.Column{
		{Name: "day", Type: iceberg.PrimitiveTypes.Date},
		{Name: "id", Type: iceberg.PrimitiveTypes.String},
		{Name: "fare", Type: iceberg.DecimalTypeOf(9, 2)},
		{Name: "note", Type: iceberg.PrimitiveTypes.String},
		{Name: "ratio", Type: iceberg.PrimitiveTypes.Float64},
		{Name: "place", Type: &iceberg.StructType{FieldList: []iceberg.NestedField{{ID: 1, Name: "zone", Type: iceberg.PrimitiveTypes.String}}}},
	}}
)

const trips = `select * from (values (date '2026-11-20', 'a', 1.50, 'plain', 0.5, {'zone': 'Ü'}), (date '2026-11-21', 'b', null, 'q"uo,te', 'nan'::double, null),
	(date '2026-11-21', 'c', -12.25, '', null, {'zone': null}), (null, 'd', 0.00, 'two' || chr(10) || 'lines', 1e300, null)) t(day, id, fare, note, ratio, place)`

// Guards what people and programs read: each format, with NULL told from an empty text, numbers exact, order and heads as asked for.
func TestQueryFormats(t *testing.T) {
	l := newLake(t)
	l.add(t, factTrip, tripSpec, trips, false)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"select id, fare, note, place from fact_trip order by id;"}, `id    fare  note       place
──  ──────  ─────────  ─────────────
a     1.50  plain      {"zone":"Ü"}
b     NULL  q"uo,te    NULL
c   -12.25             {"zone":null}
d     0.00  two·lines  NULL
(4 rows)
`},
		{[]string{"--max-rows", "1", "select id from star.fact_trip order by id desc"}, "id\n──\nd\n(the first 1 rows; --max-rows shows more)\n"},
		{[]string{"select 1 as \"n\", 2 as \"n\" where 1 = 0"}, "n  n_1\n─  ───\n(0 rows)\n"},
		{[]string{"--format=csv", "select id, fare, note, day from fact_trip order by id"}, "id,fare,note,day\r\na,1.50,plain,2026-11-20\r\nb,,\"q\"\"uo,te\",2026-11-21\r\nc,-12.25,\"\",2026-11-21\r\nd,0.00,\"two\nlines\",\r\n"},
		{[]string{"--format", "json", "select id, fare, ratio, place from fact_trip where day = date '2026-11-21' order by id"}, `{"id":"b","fare":null,"ratio":null,"place":null}
{"id":"c","fare":-12.25,"ratio":null,"place":{"zone":null}}
`},
		{[]string{"--format", "json", "select 1 as q, 2 as \"Row\", 3 as row_"}, "{\"q\":1,\"Row\":2,\"row_\":3}\n"},
		{[]string{"select count(*) as n from fact_trip"}, "n\n─\n4\n(1 row)\n"},
		{[]string{"select column_name from information_schema.columns where table_name = 'fact_trip' and data_type like 'DEC%'"}, "column_name\n───────────\nfare\n(1 row)\n"},
		{[]string{"--format", "csv"}, "table,rows,bytes,files,changed\r\nstar.fact_trip"},
	} {
		out, stderr, err := l.query(t, c.args...)
		if len(c.args) == 2 && c.args[1] == "csv" { // the tables, with their sizes
			out, _, _ = strings.Cut(out, ",4,")
		}
		if err != nil || stderr != "" || out != c.want {
			t.Errorf("%q:\n%s\n%s\n%v", c.args, out, stderr, err)
		}
	}
}

// Guards the machine and its secrets from SQL that somebody else wrote: files, other databases and extensions are out of reach, and nothing but a SELECT is run.
func TestQueryReadsTablesAlone(t *testing.T) {
	l := newLake(t)
	l.add(t, factTrip, tripSpec, trips, false)
	out := filepath.Join(t.TempDir(), "x")
	for _, sql := range []string{
		"select * from read_csv('/etc/passwd')", "select * from read_text('/etc/passwd')", "select * from '/etc/passwd'", "select * from \"/etc/passwd\"", "select * from glob('/*')",
		"select id from fact_trip union all select content from read_text('" + l.dir + "/env')",
		"copy (select 1) to '" + out + "'", "copy fact_trip to '" + out + "'", "attach '" + out + "' as x", "install httpfs", "load httpfs", "set enable_external_access = true", "pragma version",
		"create table x as select 1", "drop view star.fact_trip", "insert into fact_trip select * from fact_trip", "select 1; attach '" + out + "'", "export database '" + out + "'",
		"select * from sqlite_scan('" + l.dir + "/catalog.db', 'iceberg_tables')",
	} {
		if got, _, err := l.query(t, "--format", "csv", sql); err == nil {
			t.Errorf("%s gives %s", sql, got)
		}
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was written: %v", err)
	}
}

// Guards people from errors that do not help: what there is, and where in the SQL the mistake is.
func TestQueryErrors(t *testing.T) {
	l := newLake(t)
	if _, _, err := l.query(t, "select * from fact_trip"); err == nil || !strings.Contains(err.Error(), "the warehouse is empty") {
		t.Errorf("of an empty warehouse: %v", err)
	}
	l.add(t, factTrip, tripSpec, trips, false)
	for _, c := range []struct {
		args   []string
		misuse bool
		want   []string
	}{
		{[]string{"select * from trips"}, false, []string{"there is no table trips", "star.fact_trip", "stg_yellow_taxi_trips"}},
		{[]string{"select fares from fact_trip"}, false, []string{`"fares"`, "LINE 1: select fares", "star.fact_trip has day, id, fare, note"}},
		{[]string{"select id,\nlen(fare) from fact_trip"}, false, []string{"LINE 2: len(fare)"}},
		{[]string{"select id\nfrom fact_trip where"}, false, []string{"line 2, column"}},
		{[]string{"drop table fact_trip"}, false, []string{"not one SELECT"}},
		{[]string{"--format", "xml", "select 1"}, true, []string{"--format"}},
		{[]string{"select", "1"}, true, []string{"quotation marks"}},
		{[]string{"--nope"}, true, []string{"nope"}},
	} {
		_, _, err := l.query(t, c.args...)
		if err == nil || errors.Is(err, errUsage) != c.misuse {
			t.Fatalf("%q: %v", c.args, err)
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v\nlacks %s", c.args, err, want)
			}
		}
	}
	dir := filepath.Join(t.TempDir(), "none")
	t.Setenv("CATALOG_URL", "")
	if err := os.Unsetenv("CATALOG_URL"); err != nil {
		t.Fatal(err)
	}
	if err := runQuery(t.Context(), []string{"--dir", dir, "select 1"}, &bytes.Buffer{}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "there is no catalog "+dir) {
		t.Errorf("of no directory: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}

// Guards a query beside a run: where a run replaced the table and maintenance removed its file between the plan and the fetch, the tables are read once more, whole; where files are missing
// for good it is an error that names one.
func TestQueryWhileFilesGo(t *testing.T) {
	l := newLake(t)
	l.add(t, factTrip, tripSpec, trips, false)
	bucket, err := objectstore.Open(l.store.Config("millrace", 1))
	if err != nil {
		t.Fatal(err)
	}
	sweep := func() {
		for key := range l.store.Objects("millrace") {
			if strings.HasSuffix(key, ".parquet") {
				if err := bucket.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		}
	}
	var once sync.Once
	swept := false
	l.before = func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".parquet") {
			once.Do(func() {
				sweep()
				l.add(t, factTrip, tripSpec, "select * from ("+trips+") where id <> 'a'", true)
				swept = true
			})
		}
	}
	out, _, err := l.query(t, "--format", "csv", "select count(id) as n from fact_trip")
	if err != nil || out != "n\r\n3\r\n" || !swept {
		t.Errorf("%q, %v, %t", out, err, swept)
	}
	sweep()
	if _, _, err := l.query(t, "select count(id) as n from fact_trip"); !errors.Is(err, objectstore.ErrNotFound) || !strings.Contains(err.Error(), ".parquet") {
		t.Errorf("%v", err)
	}
}

// Guards files of the machine from a SELECT that only has to be bound to open one, and to tell in its error what is in it: the engine is closed before it sees the text.
func TestQueryBindsSealed(t *testing.T) {
	l := newLake(t)
	l.add(t, factTrip, tripSpec, trips, false)
	dir := t.TempDir()
	for name, content := range map[string]string{"a.csv": "topsecret,b\n1,2\n", "a.json": `{"topsecret": 1}`, "sub=topsecret/a.csv": "c\n1\n"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700), os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.db.Exec(t.Context(), "copy (select 1 as topsecret) to "+duck.Literal(filepath.Join(dir, "a.parquet"))+" (format parquet)"); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{
		"read_csv('" + dir + "/a.csv')", "read_csv_auto('" + dir + "/a.csv')", "read_json('" + dir + "/a.json')", "read_parquet('" + dir + "/a.parquet')",
		"parquet_schema('" + dir + "/a.parquet')", "'" + dir + "/a.csv'", "read_csv('" + dir + "/*/a.csv', hive_partitioning=true)",
	} {
		for _, sql := range []string{"select nothing from " + from, "select f.id from fact_trip f, " + from + " x where x.nothing = 1", "select topsecret from " + from} {
			_, said, err := l.query(t, "--format", "csv", sql)
			if err == nil {
				t.Fatalf("%s is answered", sql)
			}
			if text := strings.ReplaceAll(said+err.Error(), sql, ""); strings.Contains(text, "topsecret") && !strings.Contains(sql, "topsecret") {
				t.Errorf("%s: %s", sql, text)
			}
			if text := err.Error(); !strings.Contains(text, "Permission Error") && !strings.Contains(text, "there is no table") {
				t.Errorf("%s got further than to the closed door: %s", sql, text)
			}
		}
	}
}

// Guards memory: a table of all rows is written as the rows come, however many they are, and what is wider than its column further down is still shown.
func TestTableIsStreamed(t *testing.T) {
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	p := &tablePrinter{w: w}
	if err := p.begin([]duck.Column{{Name: "n", Type: "BIGINT"}, {Name: "text", Type: "VARCHAR"}}); err != nil {
		t.Fatal(err)
	}
	for n := range 3 * aligned {
		text := "abc"
		if n == 2*aligned {
			text = "wider"
		}
		if err := p.row([]any{fmt.Sprint(n % 10), text}); err != nil {
			t.Fatal(err)
		}
		if len(p.rows) > aligned+1 {
			t.Fatalf("%d rows are held in memory", len(p.rows))
		}
	}
	if err := errors.Join(p.end(3*aligned, false), w.Flush()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 3*aligned+4 || lines[0] != "n  text" || lines[1] != "─  ────" || lines[2] != "0  abc" || lines[2+2*aligned] != "0  wider" || lines[3*aligned+2] != fmt.Sprintf("(%d rows)", 3*aligned) {
		t.Errorf("%d lines: %q ... %q", len(lines), lines[:4], lines[len(lines)-3:])
	}
}

// Guards people who ask for all rows as a table: none is left out.
func TestQueryAllRows(t *testing.T) {
	l := newLake(t)
	out, _, err := l.query(t, "--max-rows", "0", "select range as n from range(25000)")
	if err != nil || strings.Count(out, "\n") != 25003 || !strings.HasSuffix(out, "\n24999\n(25000 rows)\n") {
		t.Errorf("%d lines, %v: %.100s ... %s", strings.Count(out, "\n"), err, out, out[max(0, len(out)-50):])
	}
}
