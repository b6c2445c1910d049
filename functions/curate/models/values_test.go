package models_test

import (
	"fmt"
	"strings"
	"testing"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/models"
	"millrace/functions/curate/models/sample"
)

// star has all models computed by DuckDB from these rows of events, in place of which the other sources have none.
func star(t *testing.T, table, rows string) *duck.DB {
	t.Helper()
	db, err := duck.Open(t.Context(), duck.Options{Memory: 256 << 20, Threads: 1, Scratch: t.TempDir()})
	if err != nil {
		if strings.Contains(err.Error(), "C compiler") {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	do := func(sql string) {
		if err := db.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	do("create schema if not exists events")
	for _, s := range sample.Sources() {
		do("create table events." + s.Table + " as " + s.Query(1, 1) + " where false")
		if s.Table == table {
			do("insert into events." + s.Table + " by name " + rows)
		}
	}
	set, err := model.Load(models.Files)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range set.Models() {
		columns := make([]string, len(m.Columns))
		for i, c := range m.Columns {
			columns[i] = "cast(" + c.Name + " as " + c.Type + ") as " + c.Name
		}
		do("create table " + m.Name + " as select " + strings.Join(columns, ", ") + " from (" + m.SQL + "\n)")
	}
	return db
}

func rows(t *testing.T, db *duck.DB, query string) string {
	t.Helper()
	var out []string
	err := db.Rows(t.Context(), query, func(_ []string, row []any) error {
		parts := make([]string, len(row))
		for i, v := range row {
			parts[i] = fmt.Sprint(v)
		}
		out = append(out, strings.Join(parts, " "))
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return strings.Join(out, "\n")
}

// trip is a row of events as SQL: fields of the payload that differ from those of an ordinary trip.
func trip(id string, fields map[string]string) string {
	payload := map[string]string{
		"vendorid": "2", "tpep_pickup_datetime": "timestamp '2023-01-05 10:00:00.9'", "tpep_dropoff_datetime": "timestamp '2023-01-05 10:20:00.1'", "passenger_count": "1", "trip_distance": "2.5",
		"ratecodeid": "1", "pulocationid": "132", "dolocationid": "265", "payment_type": "1", "fare_amount": "10", "tip_amount": "2.005", "tolls_amount": "0", "total_amount": "12.5",
	}
	for k, v := range fields {
		payload[k] = v
	}
	list := []string{}
	for k, v := range payload {
		list = append(list, fmt.Sprintf("'%s': %s", k, v))
	}
	root := "'" + id + "'"
	if id == "" {
		root = "null"
	}
	return fmt.Sprintf("select %s as root_id, 'h' as data_hash, timestamptz '2026-11-21 10:00:00+00' as kafka_timestamp, 0 as kafka_partition, 0 as kafka_offset, {%s} as payload", root, strings.Join(list, ", "))
}

// What real trips get wrong must neither be lost, nor spread partitions, nor break a mart.
func TestTripsThatCannotBe(t *testing.T) {
	db := star(t, "enriched_yellowtaxitriprecords_0", strings.Join([]string{
		trip("plain", nil),
		trip("2001", map[string]string{"tpep_pickup_datetime": "timestamp '2001-01-01 00:03:14'"}),
		trip("2098", map[string]string{"tpep_pickup_datetime": "timestamp '2098-09-11 02:23:31'"}),
		trip("first", map[string]string{"tpep_pickup_datetime": "timestamp '2009-01-01 00:00:00'"}),
		trip("last", map[string]string{"tpep_pickup_datetime": "timestamp '2035-12-31 23:59:59.999999'"}),
		trip("no clock", map[string]string{"tpep_pickup_datetime": "cast(null as timestamp)"}),
		trip("codes", map[string]string{"vendorid": "5", "ratecodeid": "null", "payment_type": "-7", "pulocationid": "266", "dolocationid": "0"}),
		trip("reversal", map[string]string{"total_amount": "-12.5", "fare_amount": "-10", "passenger_count": "0", "trip_distance": "0", "tpep_dropoff_datetime": "timestamp '2023-01-05 09:00:00'"}),
		trip("huge", map[string]string{"total_amount": "1e300", "trip_distance": "-1e19", "passenger_count": "1e18", "fare_amount": "null"}),
		trip("", nil),
		"select 'withheld' as root_id, null as payload",
	}, " union all by name "))
	f := func(query, want string) {
		t.Helper()
		if got := rows(t, db, query); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", query, got, want)
		}
	}
	f("select root_id, pickup_date::varchar, pickup_at::varchar, pickup_hour from fact_trip where root_id in ('plain', '2001', '2098', 'first', 'last', 'no clock') order by root_id",
		"2001 1900-01-01 2001-01-01 00:03:14 0\n2098 1900-01-01 2098-09-11 02:23:31 2\nfirst 2009-01-01 2009-01-01 00:00:00 0\nlast 2035-12-31 2035-12-31 23:59:59.999999 23\n"+
			"no clock 1900-01-01 <nil> <nil>\nplain 2023-01-05 2023-01-05 10:00:00.9 10")
	f("select count(*) from fact_trip f where not exists (select 1 from dim_date d where d.date_key = f.pickup_date) or not exists (select 1 from dim_date d where d.date_key = f.dropoff_date)", "0")
	f("select vendor_key, vendor_id, rate_key, rate_code_id, payment_key, payment_type, pickup_zone_key, pickup_location_id, dropoff_zone_key, dropoff_location_id from fact_trip where root_id = 'codes'",
		"-1 5 -1 <nil> -1 -7 -1 266 -1 0")
	f("select is_reversal, has_no_passengers, has_no_distance, is_backwards, duration_seconds from fact_trip where root_id in ('plain', 'reversal') order by root_id",
		"false false false false 1200\ntrue true true true -3600")
	f("select count(*) from fact_trip where root_id is null or root_id = 'withheld'", "0")
	// 'huge' counts as a trip and adds to no sum that it would break; 2.005 dollars are a cent more than 2.
	f("select trips, reversals, backwards_trips, unknown_zone_trips, passengers, distance_miles, fare_amount, tip_amount, total_amount, avg_total_amount from mart_trip_daily where pickup_date = date '2023-01-05'",
		"4 1 1 1 2 5 10 8.04 12.5 4.166666666666667")
	f("select sum(trips)::bigint from mart_trip_hourly", "9")
	f("select pickup_hour, pickup_zone_key, pickup_zone, trips from mart_trip_hourly where pickup_zone_key = -1", "10 -1 Unknown 1")
}

// ISO weeks belong to other years at both ends of a year, and every fact's day has to be there.
func TestDates(t *testing.T) {
	db := star(t, "", "")
	if got, want := rows(t, db, "select date_key::varchar, iso_year, iso_week, iso_day_of_week, day_name, is_weekend, quarter, month_name, month_start::varchar from dim_date where date_key in (date '2021-01-03', date '2020-12-31', date '2024-12-30', date '1900-01-01') order by 1"),
		"1900-01-01 <nil> <nil> <nil> <nil> <nil> <nil> <nil> <nil>\n2020-12-31 2020 53 4 Thursday false 4 December 2020-12-01\n"+
			"2021-01-03 2020 53 7 Sunday true 1 January 2021-01-01\n2024-12-30 2025 1 1 Monday false 4 December 2024-12-01"; got != want {
		t.Errorf("dates\n%s\nwant\n%s", got, want)
	}
	if got := rows(t, db, "select count(*), count(distinct date_key), min(date_key)::varchar, max(date_key)::varchar from dim_date"); got != "16802 16802 1900-01-01 2035-12-31" {
		t.Errorf("dates %s", got)
	}
}
