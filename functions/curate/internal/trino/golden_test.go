//go:build integration && cgo

package trino_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/trino"
	"millrace/functions/curate/internal/warehouse"
	"millrace/functions/curate/models"
	"millrace/functions/curate/models/sample"
	"millrace/shared/objectstore"
)

// lake is a warehouse of its own in the catalog that Trino sees.
type lake struct {
	t  *testing.T
	w  *warehouse.Warehouse
	db *duck.DB // reads and lands, also where Trino computes
	// engine computes models.
	engine func(ctx context.Context) (model.Engine, error)
	opened int
	sql    *sql.DB
	prefix string
}

// catalogURL and the like are where the test's Trino has its lake: eval "$(../shared/services/services env)" and "$(../shared/services/lakehouse env)".
func environment(t *testing.T) (trinoURL, catalogURL, bucket string) {
	t.Helper()
	trinoURL, catalogURL = os.Getenv("TRINO_URL"), os.Getenv("CATALOG_URL")
	location, err := url.Parse(os.Getenv("LAKE_WAREHOUSE"))
	if trinoURL == "" || catalogURL == "" || err != nil || location.Host == "" || os.Getenv("S3_ENDPOINT") == "" {
		t.Skip("TRINO_URL, CATALOG_URL, LAKE_WAREHOUSE and S3_ENDPOINT are not all set: this test needs a Trino, its catalog and its bucket")
	}
	u, err := url.Parse(trinoURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("millrace")
	return u.String(), catalogURL, location.Host
}

func newLake(t *testing.T, name string) *lake {
	t.Helper()
	trinoURL, catalogURL, bucket := environment(t)
	store, err := objectstore.Open(objectstore.Config{
		Endpoint: os.Getenv("S3_ENDPOINT"), Region: "us-east-1", AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), Bucket: bucket,
	})
	if err != nil {
		t.Fatal(err)
	}
	l := &lake{t: t, prefix: "test_" + strings.ToLower(rand.Text()[:8]) + "_" + name + "_"}
	l.w, err = warehouse.Open(t.Context(), warehouse.Config{
		Catalog: catalogURL, Name: "lake", Store: store, Prefix: strings.TrimSuffix(l.prefix, "_"), Scratch: t.TempDir(), NamespacePrefix: l.prefix,
	})
	if err != nil {
		t.Fatal(err)
	}
	if l.db, err = duck.Open(t.Context(), duck.Options{Memory: 512 << 20, Threads: 1, Scratch: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if l.sql, err = sql.Open("trino", trinoURL+"?catalog=lake"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		for _, schema := range []string{"events", "ops", "star", "stage"} {
			if _, err := l.sql.ExecContext(ctx, `drop schema if exists lake."`+l.prefix+schema+`" cascade`); err != nil {
				t.Error(err)
			}
		}
		for {
			objects, err := store.List(ctx, strings.TrimSuffix(l.prefix, "_")+"/", "", objectstore.MaxList)
			if err != nil {
				t.Fatal(err)
			}
			if len(objects) == 0 {
				break
			}
			for _, o := range objects {
				if err := store.Delete(ctx, o.Key); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, c := range []interface{ Close() error }{l.sql, l.db, l.w} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return l
}

// byTrino has Trino compute.
func (l *lake) byTrino(wrap func(model.Engine) model.Engine) *lake {
	trinoURL, _, _ := environment(l.t)
	l.engine = func(ctx context.Context) (model.Engine, error) {
		e, err := trino.Open(ctx, trino.Config{URL: trinoURL, Warehouse: l.w, Timeout: 2 * time.Minute, Logger: slog.New(slog.NewTextHandler(l.t.Output(), nil))})
		if err != nil {
			return nil, err
		}
		l.t.Cleanup(func() {
			if err := e.Close(); err != nil {
				l.t.Error(err)
			}
		})
		if wrap != nil {
			return wrap(e), nil
		}
		return e, nil
	}
	return l
}

// byDuck has DuckDB compute.
func (l *lake) byDuck() *lake {
	l.engine = func(context.Context) (model.Engine, error) { return model.NewDuck(l.db, l.w), nil }
	return l
}

// land commits the rows from to to of each source, as curate's ingest would.
func (l *lake) land(ctx context.Context, from, to int) {
	l.t.Helper()
	for _, s := range sample.Sources() {
		l.landQuery(ctx, s, s.Query(from, to), int64(to/sample.Batch))
	}
}

// landQuery commits the rows of a query, up to the landing log's sequence.
func (l *lake) landQuery(ctx context.Context, s sample.Source, query string, sequence int64) {
	l.t.Helper()
	spec := warehouse.Spec{Partition: []string{"arrival_date"}}
	for _, c := range s.Columns {
		spec.Columns = append(spec.Columns, warehouse.Column{Name: c.Name, Type: c.Type})
	}
	t, err := l.w.Ensure(ctx, warehouse.Name{Namespace: "events", Table: s.Table}, spec)
	if err != nil {
		l.t.Fatal(err)
	}
	written, err := l.db.Write(ctx, query, t.Schema(), t.Partition(), func() string { return l.w.NewFile(t) })
	if err != nil {
		l.t.Fatal(err)
	}
	position, err := json.Marshal(map[string]int64{sample.Log: sequence})
	if err != nil {
		l.t.Fatal(err)
	}
	change := warehouse.Change{Properties: map[string]string{model.PositionProperty: string(position)}}
	for _, w := range written {
		change.Add = append(change.Add, w.Path)
	}
	if _, err := l.w.Commit(ctx, t, change); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lake) run(ctx context.Context, set *model.Set, selectors ...string) model.Result {
	l.t.Helper()
	res, err := model.Run(ctx, model.Options{Set: set, Warehouse: l.w, Select: selectors, Engine: func(ctx context.Context) (model.Engine, error) {
		l.opened++
		return l.engine(ctx)
	}})
	if err != nil {
		l.t.Fatal(err)
	}
	return res
}

// wellRun fails the test where a model did not end well.
func (l *lake) wellRun(ctx context.Context, set *model.Set) model.Result {
	l.t.Helper()
	res := l.run(ctx, set)
	for _, m := range res.Models {
		if m.Status != model.Built && m.Status != model.Current {
			l.t.Fatalf("%s: %s: %s", m.Name, m.Status, m.Cause)
		}
	}
	return res
}

// tables returns all rows of the star schema, or of some of its models, and of the conflicts, as sorted canonical text, read by DuckDB or by Trino.
func (l *lake) tables(ctx context.Context, set *model.Set, byTrino bool, only ...string) map[string][]string {
	l.t.Helper()
	columns := map[string][]string{"ops.conflicts": {"source", "root_id", "data_hash", "arrived_at", "kafka_partition", "kafka_offset"}}
	for _, m := range set.Models() {
		if m.Materialized == model.Ephemeral || len(only) > 0 && !slices.Contains(only, m.Name) {
			continue
		}
		for _, c := range m.Columns {
			columns["star."+m.Name] = append(columns["star."+m.Name], c.Name)
		}
	}
	out := map[string][]string{}
	for name, names := range columns {
		schema, table, _ := strings.Cut(name, ".")
		n := warehouse.Name{Namespace: schema, Table: table}
		line := func(row []any) {
			parts := make([]string, len(row))
			for i, v := range row {
				parts[i] = names[i] + "=" + canonical(v)
			}
			out[name] = append(out[name], strings.Join(parts, "|"))
		}
		out[name] = []string{}
		if _, err := l.w.Load(ctx, n); errors.Is(err, warehouse.ErrNoTable) && n == model.ConflictsTable {
			continue // there were none
		}
		if byTrino {
			l.readTrino(ctx, n, names, line)
		} else {
			l.readDuck(ctx, n, names, line)
		}
		slices.Sort(out[name])
	}
	return out
}

func (l *lake) readTrino(ctx context.Context, n warehouse.Name, columns []string, f func(row []any)) {
	l.t.Helper()
	schema, table := l.w.Identifier(n)
	rows, err := l.sql.QueryContext(ctx, "select "+strings.Join(columns, ", ")+` from lake."`+schema+`".`+table)
	if err != nil {
		l.t.Fatal(err)
	}
	defer rows.Close()
	row, to := make([]any, len(columns)), make([]any, len(columns))
	for i := range row {
		to[i] = &row[i]
	}
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			l.t.Fatal(err)
		}
		f(row)
	}
	if err := rows.Err(); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lake) readDuck(ctx context.Context, n warehouse.Name, columns []string, f func(row []any)) {
	l.t.Helper()
	t, err := l.w.Load(ctx, n)
	if err != nil {
		l.t.Fatal(err)
	}
	files, err := t.Plan(ctx, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, file := range files {
		if len(file.Deletes) > 0 {
			l.t.Errorf("%s has position deletes", file.Path)
		}
	}
	local, err := l.w.Fetch(ctx, files, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	view := warehouse.Name{Namespace: "golden", Table: n.Table}
	if err := l.db.Relation(ctx, view, t.Schema(), local, nil, ""); err != nil {
		l.t.Fatal(err)
	}
	err = l.db.Rows(ctx, "select "+strings.Join(columns, ", ")+" from golden."+n.Table, func(_ []string, row []any) error {
		f(row)
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

func canonical(v any) string {
	switch v := v.(type) {
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case int32:
		return strconv.FormatInt(int64(v), 10)
	}
	return fmt.Sprint(v)
}

func hash(rows []string) string {
	h := sha256.New()
	for _, r := range rows {
		h.Write([]byte(r + "\n"))
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

func same(t *testing.T, what string, want, got map[string][]string) {
	t.Helper()
	for name := range want {
		if len(want[name]) == len(got[name]) && hash(want[name]) == hash(got[name]) {
			continue
		}
		t.Errorf("%s: %s: %d rows, hash %s; and %d rows, hash %s", what, name, len(want[name]), hash(want[name]), len(got[name]), hash(got[name]))
		shown := 0
		for i := range min(len(want[name]), len(got[name])) {
			if want[name][i] != got[name][i] && shown < 2 {
				t.Errorf("%s\n%s", want[name][i], got[name][i])
				shown++
			}
		}
	}
}

// The two engines must be exchangeable: whoever computes them, in whatever portions, the star schema is the same, to the last digit.
func TestEnginesMakeTheSameTables(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	set, err := model.Load(models.Files)
	if err != nil {
		t.Fatal(err)
	}
	byDuck, byTrino := newLake(t, "duck").byDuck(), newLake(t, "trino").byTrino(nil)
	last := 0
	for _, to := range []int{700, 1500} {
		var counts []string
		var sum model.Counts
		for _, l := range []*lake{byDuck, byTrino} {
			l.land(ctx, last+1, to)
			res := l.wellRun(ctx, set)
			text := ""
			for _, m := range res.Models {
				text += fmt.Sprintf("%s %s %s %+v\n", m.Name, m.Status, m.Mode, m.Counts)
				sum.Replaced, sum.Duplicates, sum.Conflicts = sum.Replaced+m.Counts.Replaced, sum.Duplicates+m.Counts.Duplicates, sum.Conflicts+m.Counts.Conflicts
				for _, test := range m.Tests {
					text += fmt.Sprintf("  %s %d %q\n", test.Name, test.Failures, test.Columns)
				}
			}
			counts = append(counts, text)
			t.Logf("rows to %d: %s in %s", to, l.prefix, res.Duration.Round(time.Millisecond))
		}
		for what, n := range map[string]int64{"replaced": sum.Replaced, "duplicate": sum.Duplicates, "conflicting": sum.Conflicts} {
			if n == 0 && last > 0 {
				t.Errorf("rows to %d: none was %s: that is not compared", to, what)
			}
		}
		if counts[0] != counts[1] {
			t.Errorf("the engines count differently:\n%s\n%s", counts[0], counts[1])
		}
		last = to
		want := byDuck.tables(ctx, set, false)
		same(t, fmt.Sprintf("rows to %d, each engine's tables", to), want, byTrino.tables(ctx, set, true))
		for name, rows := range want {
			if len(rows) == 0 {
				t.Errorf("%s has no rows: nothing is compared", name)
			}
		}
	}
	same(t, "Trino's tables read by both", byTrino.tables(ctx, set, false), byTrino.tables(ctx, set, true))
	opened := byTrino.opened
	byTrino.wellRun(ctx, set)
	if byTrino.opened != opened {
		t.Error("a run without new rows opened the engine")
	}
	// And a build of everything at once is no other.
	whole := newLake(t, "whole").byDuck()
	whole.land(ctx, 1, last)
	whole.wellRun(ctx, set)
	want, got := byTrino.tables(ctx, set, true), whole.tables(ctx, set, false)
	delete(want, "ops.conflicts") // which copy stood first when a conflict was first seen depends on the portions
	delete(got, "ops.conflicts")
	same(t, "in portions and at once", want, got)
}

// A model that changes is built anew by either engine, with more columns, with fewer, with another type: the tables must follow alike, and what depends on them.
func TestEnginesFollowAChangedModel(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	version := func(front, query string) *model.Set {
		text := "/*---\nname: mart_views\nmaterialized: incremental\nstrategy: insert_overwrite\nupstream: fact_page_view\npartition: view_date\ncolumns:\n" +
			"  - {name: view_date, type: date}\n" + front + "---*/\nselect f.view_date, " + query + " from fact_page_view f group by f.view_date\n"
		set, err := model.Load(models.Files, fstest.MapFS{"mart_views.sql": {Data: []byte(text)}})
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	byDuck, byTrino := newLake(t, "duck").byDuck(), newLake(t, "trino").byTrino(nil)
	for i, set := range []*model.Set{
		version("  - {name: views, type: bigint}\n", "count(*) as views"),
		version("  - {name: hosts, type: bigint}\n  - {name: views, type: bigint}\n", "count(distinct f.host) as hosts, count(*) as views"),
		version("  - {name: hosts, type: bigint}\n", "count(distinct f.host) as hosts"),
		version("  - {name: hosts, type: varchar}\n", "min(f.host) as hosts"),
	} {
		for _, l := range []*lake{byDuck, byTrino} {
			l.land(ctx, i*200+1, i*200+200)
			for _, m := range l.run(ctx, set, "+mart_views").Models {
				if m.Status != model.Built && m.Status != model.Current {
					t.Fatalf("version %d, %s: %s: %s", i, m.Name, m.Status, m.Cause)
				}
			}
		}
		same(t, fmt.Sprintf("version %d", i), byDuck.tables(ctx, set, false, "fact_page_view", "mart_views"), byTrino.tables(ctx, set, true, "fact_page_view", "mart_views"))
	}
}

// Real trips hold what nobody thinks of; what was counted on the file must come out of either engine.
func TestRealTripsOnBothEngines(t *testing.T) {
	const file = "../../../../../shared/data/nyc_taxi/yellow_tripdata_2023-01_first100k.parquet"
	if _, err := os.Stat(file); err != nil {
		t.Skipf("the real trips are not here: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	set, err := model.Load(models.Files)
	if err != nil {
		t.Fatal(err)
	}
	trips := sample.Sources()[0]
	byDuck, byTrino := newLake(t, "duck").byDuck(), newLake(t, "trino").byTrino(nil)
	for _, l := range []*lake{byDuck, byTrino} {
		fields := []string{}
		for _, c := range trips.Columns {
			if payload, ok := c.Type.(*iceberg.StructType); ok {
				for _, f := range payload.FieldList {
					fields = append(fields, f.Name+" := t."+f.Name)
				}
			}
		}
		query := "select 'YellowTaxiTripRecords' as event_type, '0-0-1' as schema_version, 'root-' || t.file_row_number as root_id, 'id-' || t.file_row_number as id, 'https://sample.example/' as source, " +
			"'hash-' || t.file_row_number as data_hash, cast(null as bigint) as replay_count, 0 as kafka_partition, t.file_row_number as kafka_offset, to_timestamp(1795000000) as kafka_timestamp, " +
			"struct_pack(" + strings.Join(fields, ", ") + ") as payload, cast(to_timestamp(1795000000) as date) as arrival_date, 'sample' as landing_log, cast(1 as bigint) as landing_sequence, 'object' as landing_object " +
			"from read_parquet('" + file + "', file_row_number = true) t"
		l.landQuery(ctx, trips, query, 1)
		for _, m := range l.run(ctx, set, "+mart_trip_daily", "+mart_trip_hourly").Models {
			if m.Status != model.Built {
				t.Fatalf("%s: %s: %s", m.Name, m.Status, m.Cause)
			}
			t.Logf("%s %s: %s", l.prefix, m.Name, m.Duration.Round(time.Millisecond))
		}
	}
	left, right := byDuck.tables(ctx, set, false, "fact_trip", "mart_trip_daily", "mart_trip_hourly"), byTrino.tables(ctx, set, true, "fact_trip", "mart_trip_daily", "mart_trip_hourly")
	same(t, "real trips", left, right)
	counts := map[string]int{}
	for _, row := range right["star.fact_trip"] {
		for _, flag := range []string{"has_no_passengers=true", "has_no_distance=true", "fare_amount=-"} {
			if strings.Contains(row, "|"+flag) {
				counts[flag]++
			}
		}
		if !strings.Contains(row, "|pickup_at=2023-01-") {
			counts["outside the month"]++
		}
	}
	if got := fmt.Sprint(len(right["star.fact_trip"]), counts); got != "100000 map[fare_amount=-:1002 has_no_distance=true:1767 has_no_passengers=true:1749 outside the month:36]" {
		t.Errorf("counted %s", got)
	}
}
