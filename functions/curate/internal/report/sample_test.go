package report

import (
	"fmt"
	"time"
)

func at(hour, minute, second int) time.Time {
	return time.Date(2026, 11, 21, hour, minute, second, 0, time.UTC)
}

func trend(values ...float64) []Point {
	points := make([]Point, len(values))
	for i, v := range values {
		points[i] = Point{Day: time.Date(2026, 11, 22-len(values)+i, 0, 0, 0, 0, time.UTC).Format(time.DateOnly), Value: v}
	}
	return points
}

// sample is a run in which something of every kind is there.
func sample() Run {
	taxi := "events.enriched_yellowtaxitriprecords_0"
	sensor := "events.enriched_airqualitysensor_0"
	return Run{
		ID: "01936f2c-7b1e-7c3a-9f61-5a0f3f8a6f11", Version: "0.5.0", Warehouse: "s3://millrace/warehouse", Engine: "duckdb",
		Start: at(21, 5, 0), End: at(21, 5, 38),
		Steps: []Step{
			{Name: "ingest", Duration: 9200 * time.Millisecond, CPU: 5100 * time.Millisecond, Note: "14 entries, 23 objects"},
			{Name: "quality", Duration: 6100 * time.Millisecond, CPU: 7400 * time.Millisecond, Note: "2 tables, 3 days"},
			{Name: "models", Duration: 19300 * time.Millisecond, CPU: 21800 * time.Millisecond, Note: "12 of 13 models", Error: "model fact_sensor: test not_null failed"},
			{Name: "sla", Duration: 410 * time.Millisecond, CPU: 350 * time.Millisecond},
			{Name: "maintenance", Skipped: true, Note: "due in 5 h 12 min"},
		},
		Ingest: []Ingest{
			{Table: taxi, Rows: 100000, Files: 12, Bytes: 9_400_000, Entries: 8},
			{Table: sensor, Rows: 9357, Files: 9, Bytes: 812_345, Entries: 5, Alarms: []Alarm{{Kind: "offsets_lost", Text: "Topic events.enriched, partition 2: offsets 88120 to 88131 were no longer in Kafka when they were to be landed (12 events). Entry 00000000000000000017 says so."}}},
			{Table: "events.dead", Rows: 36, Files: 2, Bytes: 40_112, Entries: 1},
		},
		Rules: []Rule{
			{
				Table: taxi, Day: "2026-11-21", ID: "passengers-zero", Column: "passenger_count", Dimension: "accuracy", Severity: SeverityWarning, Metric: "invalidValues",
				Description: "A trip has a passenger, at most nine.", Unit: "percent", Value: new(7.93), Threshold: "at most 5", Limit: new(5.0), Rows: 100000,
				Trend: trend(1.6, 1.8, 1.7, 2.1, 1.9, 2.4, 2.2, 3.8, 7.93),
				Examples: Examples{
					Total: 7930, Columns: []string{"root_id", "vendorid", "tpep_pickup_datetime", "passenger_count", "trip_distance", "fare_amount"},
					Rows: [][]string{
						{"5b8f2c1e-9d3a-5c4b-8e7f-1a2b3c4d5e6f", "2", "2023-01-01 00:55:08", "0", "1.1", "7.9"},
						{"0f9e8d7c-6b5a-5432-9182-7c6d5e4f3a2b", "1", "2023-01-01 00:03:48", "0", "1.9", "12.1"},
						{"7a6b5c4d-3e2f-5a1b-8c9d-0e1f2a3b4c5d", "2", "2023-01-01 00:10:29", "0", "0.97", "10.7"},
					},
				},
			},
			{Table: taxi, Day: "2026-11-21", ID: "fare_amount-negative", Column: "fare_amount", Dimension: "conformity", Severity: SeverityWarning, Metric: "invalidValues", Description: "Reversed charges are negative; more than a few of them are a fault.", Unit: "percent", Value: new(1.002), Threshold: "at most 2", Limit: new(2.0), Rows: 100000, Passed: true, Trend: trend(0.9, 1.1, 1.0, 0.98, 1.02, 1.05, 0.97, 1.0, 1.002)},
			{Table: taxi, Day: "2026-11-21", ID: "dropoff-after-pickup", Dimension: "consistency", Severity: SeverityWarning, Metric: "sql", Description: "A trip ends after it began.", Value: new(0.0), Threshold: "exactly 0", Limit: new(0.0), Rows: 100000, Passed: true},
			{Table: taxi, Day: "2026-11-21", ID: "reversal-pairs", Dimension: "uniqueness", Severity: SeverityInfo, Metric: "sql", Description: "Charge and reversal of one trip, which share everything but the amounts' signs.", Value: new(871.0), Unit: "groups", Threshold: "at least 0", Rows: 100000, Passed: true},
			{
				Table: sensor, Day: "2026-11-21", ID: "co-missing", Column: "co_gt", Dimension: "completeness", Severity: SeverityError, Metric: "missingValues", Description: "-200 means that the sensor gave nothing.", Unit: "percent", Value: new(17.98), Threshold: "at most 10", Limit: new(10.0), Rows: 9357, Blocking: true, Trend: trend(3, 4.2, 3.7, 6, 8.8, 17.98),
				Examples: Examples{Total: 1683, Columns: []string{"root_id", "time", "co_gt"}, Rows: [][]string{{"9b2f7c10-1111-5222-8333-444455556666", "2004-03-11 04:00:00", "-200"}, {"9b2f7c10-1111-5222-8333-444455557777", "2004-03-12 05:00:00", "-200"}}},
			},
			{Table: sensor, Day: "2026-11-20", ID: "humidity-range", Column: "rh", Dimension: "accuracy", Severity: SeverityWarning, Metric: "invalidValues", Description: "Relative humidity in percent.", Unit: "rows", Value: new(2.0), Threshold: "exactly 0", Limit: new(0.0), Rows: 4000},
			{Table: sensor, Day: "2026-11-21", ID: "humidity-range", Column: "rh", Dimension: "accuracy", Severity: SeverityWarning, Metric: "invalidValues", Description: "Relative humidity in percent.", Unit: "rows", Value: new(5.0), Threshold: "exactly 0", Limit: new(0.0), Rows: 9357},
		},
		Profiles: []Profile{{
			Table: taxi, Day: "2026-11-21", Rows: 100000, Columns: []ColumnProfile{
				{Name: "fare_amount", Type: "double", Distinct: 2841, Min: "-495.1", Max: "650", Mean: "17.52", Histogram: []Bin{{"-500 to -300", 2}, {"-300 to -100", 14}, {"-100 to 0", 986}, {"0 to 20", 74210}, {"20 to 40", 16800}, {"40 to 60", 4300}, {"60 to 80", 3480}, {"80 to 650", 208}}},
				{Name: "store_and_fwd_flag", Type: "varchar", Nulls: 1520, Distinct: 2, Min: "N", Max: "Y", Frequent: []Bin{{"N", 97100}, {"Y", 1380}}},
				{Name: "tpep_pickup_datetime", Type: "timestamp", Distinct: 78412, Approximate: true, Min: "2022-10-24 17:37:47", Max: "2023-01-02 23:57:26", Histogram: []Bin{{"2022-10-24", 1}, {"2022-12-31", 35}, {"2023-01-01", 51230}, {"2023-01-02", 48734}}},
			},
		}},
		SLAs: []SLA{
			{Table: taxi, Property: "freshness", Element: "arrived_at", Description: "Trips are here within the hour.", Unit: "seconds", Value: new(14520.0), Threshold: "at most 1 hour", Limit: new(3600.0), Trend: trend(900, 1200, 1100, 2500, 14520)},
			{Table: taxi, Property: "volume", Unit: "rows", Value: new(100000.0), Threshold: "at least 50,000", Limit: new(50000.0), Kept: true, Trend: trend(98000, 101000, 99500, 100000)},
			{Table: sensor, Property: "latency", Element: "time", Unit: "seconds", Threshold: "at most 10 min", Error: "no row has a time"},
		},
		Quarantine: []Hold{
			{Source: sensor, Day: "2026-11-21", Rule: "co-missing", Reason: "Missing values of co_gt: 17.98 percent, expected at most 10.", Value: "17.98 %", Since: at(20, 35, 0), Rows: 9357, Release: "curate release " + sensor + " 2026-11-21"},
			{Source: taxi, Day: "2026-11-19", Rule: "volume", Reason: "Too few rows.", Since: at(3, 35, 0), Rows: 1200, Released: true, ReleasedBy: "the rule, which passes now"},
		},
		Models: []Model{
			{Name: "dim_zone", Kind: "table", Rows: 266, Duration: 120 * time.Millisecond, Tests: []Test{{Name: "unique", Column: "zone_key", Severity: SeverityError, Passed: true}, {Name: "not_null", Column: "zone_key", Severity: SeverityError, Passed: true}}},
			{Name: "fact_trip", Kind: "incremental", Added: 98113, Replaced: 1870, Removed: 0, Rows: 3_066_766, Duration: 11400 * time.Millisecond, Tests: []Test{
				{Name: "unique", Column: "root_id", Severity: SeverityError, Passed: true},
				{Name: "accepted_values", Column: "payment_type", Severity: "warn", Failures: 3, Examples: Examples{Total: 3, Columns: []string{"root_id", "payment_type"}, Rows: [][]string{{"11111111-2222-5333-8444-555555555555", "9"}}}},
			}},
			{Name: "fact_sensor", Kind: "incremental", Rows: 81210, Duration: 800 * time.Millisecond, Error: "", Tests: []Test{{Name: "not_null", Column: "station", Severity: SeverityError, Failures: 14}}},
			{Name: "mart_sensor_daily", Kind: "incremental", Rows: 391, Skipped: "fact_sensor, which it reads, was not brought up to date."},
		},
		Conflicts: []Conflict{{Table: taxi, RootID: "c0ffee00-1234-5678-9abc-def012345678", Hashes: []string{"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"}, Arrived: at(19, 1, 2)}},
		NearCopies: []NearCopies{{Table: taxi, Rule: "reversal-pairs", Groups: 871, Rows: 1742, Examples: Examples{
			Columns: []string{"vendorid", "tpep_pickup_datetime", "fare_amount"}, Rows: [][]string{{"2", "2023-01-01 00:14:02", "-8.6"}, {"2", "2023-01-01 00:14:02", "8.6"}},
		}}},
		Maintenance: []Maintenance{{Table: "star.fact_trip", Text: "41 files made into 3 of 128 MiB"}},
	}
}

// healthy is a run in which all is well.
func healthy() Run {
	r := sample()
	r.Ingest[1].Alarms, r.Quarantine, r.Conflicts = nil, r.Quarantine[1:], nil
	r.Steps[2].Error = ""
	for i := range r.Rules {
		r.Rules[i].Passed, r.Rules[i].Value = true, r.Rules[i].Limit
		if r.Rules[i].Value == nil {
			r.Rules[i].Value = new(0.0)
		}
	}
	for i := range r.SLAs {
		r.SLAs[i].Kept, r.SLAs[i].Error, r.SLAs[i].Value = true, "", new(60.0)
	}
	for i := range r.Models {
		r.Models[i].Skipped = ""
		for j := range r.Models[i].Tests {
			r.Models[i].Tests[j] = Test{Name: r.Models[i].Tests[j].Name, Passed: true}
		}
	}
	return r
}

// large is a run with hundreds of rules, names as long as they come, and wide examples.
func large() Run {
	r := sample()
	long := "events.enriched_" + string(make([]rune, 0)) + "a_very_long_event_type_name_that_somebody_generated_from_a_java_package_com_example_transport_telemetry_v2_0"
	r.Rules = nil
	for i := range 200 {
		rule := Rule{Table: long, Day: "2026-11-21", ID: fmt.Sprintf("rule-number-%03d-which-has-a-rather-long-identifier-since-it-was-generated", i), Column: fmt.Sprintf("payload.some_nested_object.some_field_%03d", i), Dimension: "conformity", Severity: SeverityWarning, Unit: "rows", Value: new(float64(i * 1000)), Threshold: "at most 150,000", Passed: i <= 150, Trend: trend(1, 5, 3, float64(i))}
		if !rule.Passed {
			wide := Examples{Total: 5}
			row := make([]string, 0, 19)
			for c := range 19 {
				wide.Columns = append(wide.Columns, fmt.Sprintf("column_with_name_%d", c))
				row = append(row, fmt.Sprintf("value %d of a row", c*i))
			}
			wide.Rows = [][]string{row, row}
			rule.Examples = wide
		}
		r.Rules = append(r.Rules, rule)
	}
	return r
}
