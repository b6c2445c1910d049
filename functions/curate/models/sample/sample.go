// Package sample makes rows of the events tables for tests: copies, replays, conflicts, reversals, clocks of 2001 and 2098, codes that no dimension knows, nulls, and amounts that no meter shows.
//
// It guarantees: a row is a function of its number alone, so that two engines, or two runs, have the same rows; every query is of the common language of DuckDB and Trino.
//
// It does not: have all columns that landing objects have (those that no model reads are left out). Only tests use it.
package sample

import (
	"fmt"
	"strings"

	"github.com/apache/iceberg-go"
)

// Source is an events table and how to make its rows.
type Source struct {
	Table   string // in the namespace events
	Columns []iceberg.NestedField

	eventType, payload, shape string // the payload's row and its type, in SQL over n (the row's number) and k (the event's)
}

// Log is the landing log that the rows are said to come from.
const Log = "sample"

// Batch is how many rows an entry of the landing log has: row 1 begins the first, row Batch + 1 the second.
const Batch = 100

// Query returns a SELECT of rows from to to, numbers from 1. Every tenth is a copy of an earlier event: replayed, conflicting, or just sent twice.
func (s Source) Query(from, to int) string {
	return fmt.Sprintf(`with numbered as (
  select t.n, case when t.n %% 10 = 0 then t.n * 7 / 11 / 10 * 10 + (t.n / 10) %% 9 + 1 else t.n end as k
  from unnest(sequence(%d, %d)) as t(n)
)
select
  '%s' as event_type,
  '0-0-1' as schema_version,
  case when n %% 211 <> 0 then 'root-' || cast(k as varchar) end as root_id,
  'id-' || cast(k as varchar) as id,
  'https://sample.example/' || cast(k %% 3 as varchar) as source,
  'hash-' || cast(k as varchar) || case when n %% 50 = 0 then '-other' else '' end as data_hash,
  case when n %% 30 = 0 then cast(n / 30 %% 4 as bigint) end as replay_count,
  cast(n %% 4 as integer) as kafka_partition,
  cast(n as bigint) as kafka_offset,
  from_unixtime(cast(1795000000 + n / 7 * 60 as double)) as kafka_timestamp,
  case when n %% 97 <> 0 then cast(row(%s) as row(%s)) end as payload,
  cast(from_unixtime(cast(1795000000 + n / 7 * 60 as double)) as date) as arrival_date,
  '%s' as landing_log,
  cast((n - 1) / %d + 1 as bigint) as landing_sequence,
  'landing/enriched/sample-' || cast((n - 1) / %d + 1 as varchar) || '.parquet' as landing_object
from numbered`, from, to, s.eventType, s.payload, s.shape, Log, Batch, Batch)
}

type field struct {
	name, value string
	typ         iceberg.Type
	sql         string
}

func source(table, eventType string, fields []field) Source {
	s := Source{Table: table, eventType: eventType}
	var values, shape []string
	var nested []iceberg.NestedField
	for i, f := range fields {
		values = append(values, f.value)
		shape = append(shape, f.name+" "+f.sql)
		nested = append(nested, iceberg.NestedField{ID: i + 1, Name: f.name, Type: f.typ})
	}
	s.payload, s.shape = strings.Join(values, ",\n    "), strings.Join(shape, ", ")
	text, number := iceberg.PrimitiveTypes.String, iceberg.PrimitiveTypes.Int64
	for _, c := range []struct {
		name string
		typ  iceberg.Type
	}{
		{"event_type", text},
		{"schema_version", text},
		{"root_id", text},
		{"id", text},
		{"source", text},
		{"data_hash", text},
		{"replay_count", number},
		{"kafka_partition", iceberg.PrimitiveTypes.Int32},
		{"kafka_offset", number},
		{"kafka_timestamp", iceberg.PrimitiveTypes.TimestampTz},
		{"payload", &iceberg.StructType{FieldList: nested}},
		{"arrival_date", iceberg.PrimitiveTypes.Date},
		{"landing_log", text},
		{"landing_sequence", number},
		{"landing_object", text},
	} {
		s.Columns = append(s.Columns, iceberg.NestedField{ID: len(s.Columns) + 1, Name: c.name, Type: c.typ})
	}
	return s
}

// money is an amount of cents, negative in reversals, null now and then, and once in a while more than any meter shows; other are rows of a conflicting copy.
func money(modulo int) string {
	return fmt.Sprintf("case when n %% 503 = 0 then 1e300 when n %% %d = 0 then null else cast((case when k %% 83 = 0 then -1 else 1 end) * ((k * 31 + n %% 10) %% %d) as double) / 100 end", 37+modulo%11, modulo)
}

// Sources returns the tables of the three contracts that ship.
func Sources() []Source {
	text, number, float, wall := iceberg.PrimitiveTypes.String, iceberg.PrimitiveTypes.Int64, iceberg.PrimitiveTypes.Float64, iceberg.PrimitiveTypes.Timestamp
	integer := func(name, value string) field {
		return field{name, "cast(" + value + " as bigint)", number, "bigint"}
	}
	double := func(name, value string) field { return field{name, value, float, "double"} }
	varchar := func(name, value string) field { return field{name, value, text, "varchar"} }
	clock := func(name, value string) field { return field{name, value, wall, "timestamp(6)"} }
	pickup := `case
      when k % 401 = 0 then timestamp '2001-01-01 00:03:14.000000'
      when k % 402 = 0 then timestamp '2098-09-11 02:23:31.000000'
      when k % 403 = 0 then null
      when k % 404 = 0 then timestamp '2022-12-31 23:59:59.999900'
      else date_add('second', k * 977 % 2592000, timestamp '2023-01-01 00:00:00.000000')
    end`
	trips := source("enriched_yellowtaxitriprecords_0", "YellowTaxiTripRecords", []field{
		integer("vendorid", "case when k % 89 = 0 then 42 when k % 4 = 0 then 1 else 2 end"),
		clock("tpep_pickup_datetime", pickup),
		clock("tpep_dropoff_datetime", "case when k % 404 = 0 then timestamp '2023-01-01 00:00:01.000100' when k % 405 = 0 then null else date_add('second', (k * 13) % 5000 - 60, timestamp '2023-01-15 00:00:00.000000') end"),
		double("passenger_count", "case when k % 19 = 0 then null else cast(k % 7 as double) end"),
		double("trip_distance", "case when k % 23 = 0 then 0e0 else cast((k * 17) % 3211 as double) / 100 end"),
		integer("ratecodeid", "case when k % 29 = 0 then null when k % 31 = 0 then 77 when k % 37 = 0 then 99 else k % 6 + 1 end"),
		varchar("store_and_fwd_flag", "case when k % 41 = 0 then 'Y' when k % 43 = 0 then null else 'N' end"),
		integer("pulocationid", "case when k % 47 = 0 then 999 else (k * 7) % 265 + 1 end"),
		integer("dolocationid", "case when k % 53 = 0 then -5 else (k * 11) % 265 + 1 end"),
		integer("payment_type", "case when k % 59 = 0 then 9 else k % 7 end"),
		double("fare_amount", money(9001)), double("extra", money(501)), double("mta_tax", money(51)), double("tip_amount", money(1999)), double("tolls_amount", money(655)),
		double("improvement_surcharge", money(101)), double("total_amount", money(12007)), double("congestion_surcharge", money(251)), double("airport_fee", money(126)),
	})
	views := source("enriched_pageview_0", "PageView", []field{
		varchar("host", "'pseudonym-' || cast(k % 61 as varchar)"),
		varchar("method", "case when k % 5 = 0 then 'POST' else 'GET' end"),
		varchar("url", "'/page/' || cast(k % 17 as varchar) || case when k % 3 = 0 then '?q=' || cast(k as varchar) || '?x' when k % 11 = 0 then '?' else '' end"),
		integer("status", "case when k % 13 = 0 then 404 when k % 17 = 0 then 503 when k % 19 = 0 then 302 when k % 101 = 0 then null else 200 end"),
		integer("bytes", "case when k % 7 = 0 then null when k % 1009 = 0 then 9223372036854775807 else (k * 37) % 60000 end"),
		varchar("referrer", "case when k % 2 = 0 then 'https://sample.example/' end"),
		varchar("user_agent", "case when k % 23 <> 0 then 'pseudonym-ua-' || cast(k % 5 as varchar) end"),
		{"visited_at", `case when k % 301 = 0 then null when k % 302 = 0 then from_unixtime(0e0)
      else from_unixtime(cast(807235200 + (k * 991) % 864000 as double)) end`, iceberg.PrimitiveTypes.TimestampTz, "timestamp with time zone"},
	})
	var readings []field
	readings = append(readings, varchar("sensor_id", "'sensor-' || cast(k % 3 as varchar)"),
		clock("measured_at", "case when k % 307 = 0 then null when k % 308 = 0 then timestamp '2201-01-01 05:00:00.000000' else date_add('second', k % 20000 * 3600, timestamp '2004-03-10 18:00:00.000000') end"))
	for i, name := range []string{
		"co_gt", "pt08_s1_co", "nmhc_gt", "c6h6_gt", "pt08_s2_nmhc", "nox_gt", "pt08_s3_nox", "no2_gt", "pt08_s4_no2", "pt08_s5_o3", "temperature", "relative_humidity", "absolute_humidity",
	} {
		readings = append(readings, double(name, fmt.Sprintf("case when k %% %d = 0 then -200e0 when k %% %d = 0 then null when n %% 509 = 0 then -1e250 else cast((k * %d) %% 99991 as double) / %d end",
			11+i, 60+i, 7+i, []int{10, 1, 100, 10000, 7}[i%5])))
	}
	return []Source{trips, views, source("enriched_airqualitysensor_0", "AirQualitySensor", readings)}
}
