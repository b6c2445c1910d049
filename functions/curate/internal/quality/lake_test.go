//go:build cgo

package quality

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// lake is a warehouse with one events table, and what a run needs.
type lake struct {
	t       *testing.T
	w       *warehouse.Warehouse
	server  *objectstoretest.Server
	catalog string
	db      *duck.DB
	set     *contract.Set
	model   contract.Model
	table   warehouse.Name
	now     time.Time
	runs    int
	entries int64
	offset  int64
}

func newLake(t *testing.T, set *contract.Set, eventType string) *lake {
	t.Helper()
	server := objectstoretest.NewServer("lake")
	t.Cleanup(server.Close)
	m, err := set.Model(eventType, 0)
	if err != nil {
		t.Fatal(err)
	}
	l := &lake{
		t: t, server: server, catalog: "sqlite://" + filepath.Join(t.TempDir(), "catalog.db"), db: open(t), set: set, model: m, table: Source(eventType, 0),
		now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC),
	}
	l.w = l.reopen()
	return l
}

// reopen opens the warehouse as a new process does.
func (l *lake) reopen() *warehouse.Warehouse {
	l.t.Helper()
	store, err := objectstore.Open(l.server.Config("lake", 1))
	if err != nil {
		l.t.Fatal(err)
	}
	w, err := warehouse.Open(l.t.Context(), warehouse.Config{Catalog: l.catalog, Name: "lake", Store: store, Prefix: "warehouse", Scratch: l.t.TempDir()})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := w.Close(); err != nil {
			l.t.Error(err)
		}
	})
	return w
}

func icebergType(f contract.Field) iceberg.Type {
	switch f.Type {
	case contract.Integer:
		return iceberg.PrimitiveTypes.Int64
	case contract.Number:
		return iceberg.PrimitiveTypes.Float64
	case contract.Boolean:
		return iceberg.PrimitiveTypes.Bool
	case contract.Timestamp:
		if f.Timezone {
			return iceberg.PrimitiveTypes.TimestampTz
		}
		return iceberg.PrimitiveTypes.Timestamp
	case contract.Object:
		s := &iceberg.StructType{}
		for _, c := range f.Fields {
			s.FieldList = append(s.FieldList, iceberg.NestedField{Name: strings.ToLower(c.Name), Type: icebergType(c)})
		}
		return s
	default:
		return iceberg.PrimitiveTypes.String
	}
}

// land appends rows to the events table, as ingest does. from is a query that gives the payload's fields as columns, and may give root_id, replay_count, collector_tstamp and kafka_timestamp. The day "" is that of a
// record time that no date has.
func (l *lake) land(day, from string) {
	l.t.Helper()
	date := "date '" + day + "'"
	if day == "" {
		date, day = "cast(null as date)", today
	}
	text, long, instant := iceberg.PrimitiveTypes.String, iceberg.PrimitiveTypes.Int64, iceberg.PrimitiveTypes.TimestampTz
	spec := warehouse.Spec{Partition: []string{"arrival_date"}, Columns: []warehouse.Column{
		{Name: "root_id", Type: text},
		{Name: "source", Type: text},
		{Name: "collector_tstamp", Type: instant},
		{Name: "replay_count", Type: long},
		{Name: "payload", Type: icebergType(contract.Field{Type: contract.Object, Fields: l.model.Payload})},
		{Name: "kafka_partition", Type: iceberg.PrimitiveTypes.Int32},
		{Name: "kafka_offset", Type: long},
		{Name: "kafka_timestamp", Type: instant},
		{Name: "arrival_date", Type: iceberg.PrimitiveTypes.Date},
		{Name: "landing_log", Type: text},
		{Name: "landing_sequence", Type: long},
	}}
	t, err := l.w.Ensure(l.t.Context(), l.table, spec)
	if err != nil {
		l.t.Fatal(err)
	}
	l.entries++
	var have, payload []string
	if err := l.db.Rows(l.t.Context(), "describe "+from, func(_ []string, row []any) error {
		have = append(have, strings.ToLower(row[0].(string)))
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
	for _, f := range l.model.Payload {
		name := quote(strings.ToLower(f.Name))
		if slices.Contains(have, strings.ToLower(f.Name)) {
			payload = append(payload, name+" := "+name)
		} else {
			payload = append(payload, name+" := "+part("payload", nil, f))
		}
	}
	column := func(name, otherwise string) string {
		if slices.Contains(have, name) {
			return name
		}
		return otherwise + " as " + name
	}
	query := fmt.Sprintf(`select %s, 'test' as source, %s, %s, struct_pack(%s) as payload, 0 as kafka_partition, %d + row_number() over () as kafka_offset,
		%s, %s as arrival_date, 'log' as landing_log, %d as landing_sequence from (%s)`,
		column("root_id", "cast(uuid() as varchar)"), column("collector_tstamp", "timestamptz '"+day+" 10:00:00Z'"), column("replay_count", "cast(null as bigint)"), strings.Join(payload, ", "), l.offset,
		column("kafka_timestamp", "timestamptz '"+day+" 10:00:01Z'"), date, l.entries, from)
	files, err := l.db.Write(l.t.Context(), query, t.Schema(), t.Partition(), func() string { return l.w.NewFile(t) })
	if err != nil {
		l.t.Fatal(err)
	}
	for _, f := range files {
		l.offset += f.Rows
	}
	if _, err := l.w.Commit(l.t.Context(), t, warehouse.Change{Add: paths(files), Properties: map[string]string{propertyPosition: fmt.Sprintf(`{"log":%d}`, l.entries)}}); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lake) options() Options {
	l.runs++
	return Options{
		Warehouse: l.w, Contracts: l.set, RunID: fmt.Sprintf("run-%d", l.runs), Clock: func() time.Time { return l.now },
		DB: func(context.Context) (*duck.DB, error) { return l.db, nil },
	}
}

func (l *lake) run() Result {
	l.t.Helper()
	r, err := Run(l.t.Context(), l.options())
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// rows returns a query's rows over the table, which is relation x, as text.
func (l *lake) rows(name warehouse.Name, query string) []string {
	l.t.Helper()
	t, err := l.w.Load(l.t.Context(), name)
	if err != nil {
		l.t.Fatal(err)
	}
	files, err := t.Plan(l.t.Context(), nil)
	if err != nil {
		l.t.Fatal(err)
	}
	local, err := l.w.Fetch(l.t.Context(), files, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.db.Relation(l.t.Context(), warehouse.Name{Namespace: "main", Table: "x"}, t.Schema(), local, nil, ""); err != nil {
		l.t.Fatal(err)
	}
	var out []string
	if err := l.db.Rows(l.t.Context(), query, func(_ []string, row []any) error {
		var list []string
		for _, v := range row {
			if x := valueOf(v); x.Null {
				list = append(list, "null")
			} else {
				list = append(list, x.Text)
			}
		}
		out = append(out, strings.Join(list, " "))
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
	return out
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// Guards the way through the warehouse: real trips land, are evaluated once, and what they give stands in ops.quality and ops.near_duplicates.
func TestTripsThroughTheWarehouse(t *testing.T) {
	path, err := filepath.Abs(trips)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("the real trips are not here: ", err)
	}
	set, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	l := newLake(t, set, "YellowTaxiTripRecords")
	l.land("2026-11-21", "select * replace (cast(tpep_pickup_datetime as timestamp) as tpep_pickup_datetime, cast(tpep_dropoff_datetime as timestamp) as tpep_dropoff_datetime) from read_parquet('"+path+"')")
	r := l.run()
	if len(r.Days) != 1 || r.Days[0].Rows != 100_000 || r.Days[0].Version != "0-0-1" || r.Days[0].Source != "events.enriched_yellowtaxitriprecords_0" || len(r.Held) != 0 {
		t.Fatalf("%+v", r)
	}
	equal(t, "rules", l.rows(TableQuality, "select rule_id, rows_failed, value, passed, blocking from x where kind = 'rule' order by 1"), []string{
		"dropoff-after-pickup 0 0 true false", "fare_amount-negative 1002 1.002 true false", "passengers-zero 1749 1.749 true false",
		"pickup-in-prevailing-month 36 0.036 true false", "reversal-pairs 1742 871 true false", "total_amount-negative 1007 1.007 true false", "trip_distance-zero 1767 1.767 true false",
	})
	equal(t, "groups", l.rows(TableNearDuplicates, "select source, cast(arrival_date as varchar), rule_id, count(*), count(distinct group_key), count(distinct root_id), max(rows_in_group) from x group by 1, 2, 3"),
		[]string{"events.enriched_yellowtaxitriprecords_0 2026-11-21 reversal-pairs 1742 871 1742 2"})
	equal(t, "profile", l.rows(TableQuality, "select element, metric, value, value_text from x where kind = 'profile' and element in ('', 'trip_distance') and metric <> 'histogram' order by 1, 2"), []string{
		" copies 0 null", " rows 100000 null", "trip_distance distinct 2394 null", "trip_distance max 62359.52 62359.52", "trip_distance min 0 0", "trip_distance nulls 0 null",
	})
	if again := l.run(); len(again.Days) != 0 || again.Rows != 0 {
		t.Errorf("a run with nothing new looked at %v", again.Days)
	}
}
