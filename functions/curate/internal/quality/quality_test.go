//go:build cgo

package quality

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/duck"
	"millrace/shared/contract"
)

const trips = "../../../../../shared/data/nyc_taxi/yellow_tripdata_2023-01_first100k.parquet"

// open starts DuckDB with little memory, as a pod has it.
func open(t *testing.T) *duck.DB {
	t.Helper()
	db, err := duck.Open(t.Context(), duck.Options{Memory: 512 << 20, Threads: 2, Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func run(t *testing.T, db *duck.DB, sql string) {
	t.Helper()
	if err := db.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// schemaOf returns an events table's schema whose payload has the fields of the contract.
func schemaOf(m contract.Model) *iceberg.Schema {
	id := 100
	var fields func(list []contract.Field) *iceberg.StructType
	fields = func(list []contract.Field) *iceberg.StructType {
		s := &iceberg.StructType{}
		for _, f := range list {
			id++
			n := iceberg.NestedField{ID: id, Name: strings.ToLower(f.Name), Type: iceberg.PrimitiveTypes.String}
			if f.Type == contract.Object && len(f.Fields) > 0 {
				n.Type = fields(f.Fields)
			}
			s.FieldList = append(s.FieldList, n)
		}
		return s
	}
	list := []iceberg.NestedField{
		{ID: 1, Name: "root_id", Type: iceberg.PrimitiveTypes.String},
		{ID: 2, Name: "source", Type: iceberg.PrimitiveTypes.String},
		{ID: 3, Name: "payload", Type: fields(m.Payload)},
	}
	if len(m.Enrichment) > 0 {
		list = append(list, iceberg.NestedField{ID: 4, Name: "enrichment", Type: fields(m.Enrichment)})
	}
	return iceberg.NewSchema(0, list...)
}

// rawDay makes the relation of a day's files out of a query that gives the payload's fields as columns, by number row.
func rawDay(t *testing.T, db *duck.DB, payload, from string) {
	t.Helper()
	run(t, db, "create schema if not exists quality; create or replace view "+base+" as select cast(uuid() as varchar) as root_id, 'test' as source, cast(null as bigint) as replay_count, "+
		"timestamptz '2026-11-21 10:00:00Z' as kafka_timestamp, 0 as kafka_partition, row_number() over () as kafka_offset, 'log' as landing_log, cast(1 as bigint) as landing_sequence, "+
		payload+" as payload from "+from)
}

func evaluate(t *testing.T, db *duck.DB, c *contract.Contract, m contract.Model) ([]Check, *evaluation) {
	t.Helper()
	rows, _, err := prepare(t.Context(), db, schemaOf(m), m, "events.test")
	if err != nil {
		t.Fatal(err)
	}
	e := &evaluation{db: db, rows: rows}
	checks, err := e.check(t.Context(), compile(c, m))
	if err != nil {
		t.Fatal(err)
	}
	return checks, e
}

// Guards what the rules of the contract we ship find in real trips: the counts were taken from the file by other means.
func TestRealTrips(t *testing.T) {
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
	m, err := set.Model("YellowTaxiTripRecords", 0)
	if err != nil {
		t.Fatal(err)
	}
	c := m.Versions[0]
	m.Enrichment = nil // which the file has not
	db := open(t)
	run(t, db, "create table trips as select * replace (cast(tpep_pickup_datetime as timestamp) as tpep_pickup_datetime, cast(tpep_dropoff_datetime as timestamp) as tpep_dropoff_datetime) from read_parquet('"+path+"')")
	var fields []string
	for _, f := range m.Payload {
		fields = append(fields, quote(strings.ToLower(f.Name))+" := "+quote(f.Name))
	}
	rawDay(t, db, "struct_pack("+strings.Join(fields, ", ")+")", "trips")
	checks, e := evaluate(t, db, c, m)
	got := map[string]string{}
	for _, k := range checks {
		got[k.ID] = fmt.Sprintf("%.3f of %d rows, %d failed, passed %v", k.Value.Number, k.RowsChecked, k.RowsFailed, k.Passed)
		if k.Reason != "" {
			t.Log(k.ID, k.Reason, k.Examples)
		}
	}
	for id, want := range map[string]string{
		"reversal-pairs":             "871.000 of 100000 rows, 1742 failed, passed true",
		"fare_amount-negative":       "1.002 of 100000 rows, 1002 failed, passed true",
		"passengers-zero":            "1.749 of 100000 rows, 1749 failed, passed true",
		"trip_distance-zero":         "1.767 of 100000 rows, 1767 failed, passed true",
		"pickup-in-prevailing-month": "0.036 of 100000 rows, 36 failed, passed true",
	} {
		if got[id] != want {
			t.Errorf("%s: %s, want %s", id, got[id], want)
		}
	}
	t.Log(got)
	columns, err := e.profile(context.Background(), schemaOf(m), m, "events.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, col := range columns {
		t.Logf("%s %s nulls %d distinct %d %v min %v max %v %v", col.Element, col.Type, col.Nulls, col.Distinct, col.Approximate, col.Min, col.Max, col.Histogram)
	}
}
