//go:build integration

package dashboards

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/trinodb/trino-go-client/trino"
)

// tables make a small lake of the models' and the runs' shapes: a month of trips with the rhythm of a city, three days of operations in which a bit of everything fails.
var tables = []string{
	`create table %[1]sstar.mart_trip_hourly as
	select date_add('day', d, date '2023-01-01') as pickup_date, cast(h as bigint) as pickup_hour, cast(z as bigint) as pickup_zone_key,
	  element_at(array['Manhattan', 'Manhattan', 'Manhattan', 'Manhattan', 'Queens', 'Queens', 'Brooklyn', 'Bronx', 'Unknown'], z) as pickup_borough,
	  element_at(array['Upper East Side South', 'Midtown Center', 'Upper East Side North', 'Penn Station/Madison Sq West', 'JFK Airport', 'LaGuardia Airport', 'Williamsburg (North Side)', 'Mott Haven/Port Morris', 'Unknown'], z) as pickup_zone,
	  n as trips, n / 90 as reversals, n * 4 / 3 as passengers, n * 2.5e0 + z as distance_miles, n * 2.6e0 as tip_amount, n * (12e0 + z * 3) as total_amount
	from unnest(sequence(0, 30)) as a(d) cross join unnest(sequence(0, 23)) as b(h) cross join unnest(sequence(1, 9)) as c(z)
	cross join lateral (select cast(round((2 + cos((h - 17) * pi() / 12)) * (12 - z) * (5 + mod(d, 7)) / 3) as bigint) as n) as e`,
	`create table %[1]sstar.mart_trip_daily as
	select pickup_date, sum(trips) as trips, sum(reversals) as reversals, sum(trips) * 8 / 10 as card_trips, sum(trips) * 2 / 10 as cash_trips, sum(trips) * 17 / 1000 as no_passenger_trips,
	  sum(trips) * 18 / 1000 as no_distance_trips, sum(trips) / 9000 as backwards_trips, sum(trips) / 120 as unknown_zone_trips, sum(passengers) as passengers, sum(distance_miles) as distance_miles,
	  sum(trips) / 4e0 as duration_hours, sum(total_amount) * 0.7e0 as fare_amount, sum(tip_amount) as tip_amount, sum(trips) * 0.5e0 as tolls_amount, sum(total_amount) as total_amount,
	  sum(distance_miles) / cast(sum(trips) as double) as avg_distance_miles, sum(total_amount) / cast(sum(trips) as double) as avg_total_amount, 0.2e0 as tip_share
	from %[1]sstar.mart_trip_hourly group by pickup_date
	union all select date '2008-12-31', bigint '2', bigint '0', bigint '1', bigint '1', bigint '0', bigint '0', bigint '0', bigint '0', bigint '2', 5e0, 1e0, 20e0, 4e0, 0e0, 30e0, 2.5e0, 15e0, 0.2e0`,
	`create table %[1]sstar.dim_payment as select * from (values (bigint '-1', 'Unknown code'), (0, 'Flex fare'), (1, 'Card'), (2, 'Cash'), (3, 'No charge'), (4, 'Dispute')) as x(payment_key, payment_name)`,
	`create table %[1]sstar.fact_trip as
	select cast(uuid() as varchar) as root_id, date_add('day', mod(n, 31), date '2023-01-01') as pickup_date, cast(case when mod(n, 100) < 79 then 1 when mod(n, 100) < 96 then 2 when mod(n, 100) < 98 then 3 else 4 end as bigint) as payment_key,
	  mod(n, 90) = 0 as is_reversal, 15e0 + mod(n, 17) as total_amount
	from unnest(sequence(1, 9000)) as a(n)`,
	`create table %[1]sops.landing as
	select 'events.' || stage as topic, 'log-' || stage as landing_log, cast(h as bigint) as landing_sequence, 'drain-' || cast(h as varchar) as drain, written_at, stage as kind,
	  case when stage = 'enriched' then 'YellowTaxiTripRecords' end as event_type, 'landing/' || stage || '/' || cast(h as varchar) || '.parquet' as object, cast(written_at as date) as arrival_date,
	  cast(case stage when 'dead' then 3 + mod(h * 7, 40) else 9000 + 4000 * sin(h / 4e0) end as bigint) as "rows", cast(case stage when 'dead' then 21000 else 1900000 end as bigint) as bytes,
	  cast(0 as bigint) as skipped, cast(case when stage = 'raw' and h = 20 then 12 else 0 end as bigint) as lost
	from unnest(sequence(0, 71)) as a(h) cross join unnest(array['raw', 'enriched', 'dead']) as b(stage)
	cross join lateral (select cast(date_add('hour', h - 72, date_trunc('hour', current_timestamp)) as timestamp(6) with time zone) as written_at) as c`,
	`create table %[1]sevents.dead as
	select 'YellowTaxiTripRecords' as event_type, '0-0-1' as schema_version, cast(uuid() as varchar) as root_id, failed as collector_tstamp, failed as kafka_timestamp,
	  case when mod(n, 11) < 9 then 'enrich' when mod(n, 11) = 9 then 'collect' else 'load-search' end as failure_stage,
	  element_at(array['schema_violation', 'schema_violation', 'schema_violation', 'unknown_version', 'not_json', 'identity_conflict', 'delivery_exhausted'], 1 + mod(n * 5 + n / 7, 7)) as failure_code,
	  'The payload breaks its contract.' as failure_message, failed as failure_time, cast(failed as date) as arrival_date, cast(400 + mod(n, 300) as bigint) as payload_bytes
	from unnest(sequence(1, 700)) as a(n) cross join lateral (select cast(date_add('minute', -6 * n, current_timestamp) as timestamp(6) with time zone) as failed) as c`,
	`create table %[1]sops.sla as
	select 'run-' || cast(h as varchar) as run_id, measured as evaluated_at, source, property, element, target,
	  (case property when 'freshness' then 900e0 + 600 * sin(h / 5e0) * sin(h / 5e0) + (case when source like '%%taxi%%' and h > 60 then (h - 60) * 700 else 0 end) when 'completeness' then 99.7e0 else 1400e0 end) / (case unit when 'm' then 60e0 else 1e0 end) as actual,
	  unit, case when property = 'freshness' and source like '%%taxi%%' and h > 64 then false else true end as met, 'operational' as driver, 'As agreed with analytics.' as description
	from unnest(sequence(0, 71)) as a(h)
	cross join (values ('events.enriched_yellowtaxitriprecords_0', 'freshness', 'kafka_timestamp', 60e0, 'm'), ('events.enriched_airqualitysensor_0', 'freshness', 'kafka_timestamp', 7200e0, 's'),
	  ('events.enriched_yellowtaxitriprecords_0', 'latency', 'time', 60e0, 'm'), ('events.enriched_yellowtaxitriprecords_0', 'completeness', 'root_id', 99.5e0, 'percent')) as b(source, property, element, target, unit)
	cross join lateral (select cast(date_add('hour', h - 72, date_trunc('hour', current_timestamp)) as timestamp(6) with time zone) as measured) as c`,
	`create table %[1]sops.quality as
	select 'run' as run_id, cast(date_add('day', -d, current_timestamp) as timestamp(6) with time zone) as evaluated_at, source, date_add('day', -d, current_date) as arrival_date, kind, rule_id, rule_id as name, element, metric, dimension, severity, unit,
	  value as value, cast(value as varchar) as value_text, threshold, value <= most as passed, severity = 'error' as blocking, bigint '100000' as rows_checked, cast(value * 1000 as bigint) as rows_failed, '[]' as examples, 'A rule.' as description
	from unnest(sequence(0, 13)) as a(d)
	cross join (values ('events.enriched_yellowtaxitriprecords_0', 'rule', 'passengers-zero', 'passenger_count', 'invalidValues', 'accuracy', 'warning', 'percent', 'mustBeLessOrEqualTo 5', 5e0),
	  ('events.enriched_yellowtaxitriprecords_0', 'rule', 'fare_amount-negative', 'fare_amount', 'invalidValues', 'conformity', 'warning', 'percent', 'mustBeLessOrEqualTo 2', 2e0),
	  ('events.enriched_yellowtaxitriprecords_0', 'rule', 'dropoff-after-pickup', '', 'sql', 'consistency', 'warning', 'rows', 'mustBe 0', 0e0),
	  ('events.enriched_yellowtaxitriprecords_0', 'rule', 'no-null-vendor', 'vendorid', 'missingValues', 'completeness', 'error', 'rows', 'mustBe 0', 100e0),
	  ('events.enriched_airqualitysensor_0', 'rule', 'co-missing', 'co_gt', 'missingValues', 'completeness', 'error', 'percent', 'mustBeLessOrEqualTo 10', 10e0),
	  ('events.enriched_airqualitysensor_0', 'rule', 'humidity-range', 'rh', 'invalidValues', 'accuracy', 'info', 'rows', 'mustBe 0', 0e0),
	  ('events.enriched_airqualitysensor_0', 'profile', null, 'rh', 'nulls', null, null, null, null, 1e9)) as b(source, kind, rule_id, element, metric, dimension, severity, unit, threshold, most)
	cross join lateral (select case rule_id when 'passengers-zero' then 1.7e0 + (case when d < 2 then 6.23e0 else 0e0 end) when 'fare_amount-negative' then 1.002e0 when 'dropoff-after-pickup' then cast(mod(d, 3) as double)
	  when 'co-missing' then 3e0 + (case when d = 0 then 14.98e0 else d / 10e0 end) when 'humidity-range' then 4e0 else 0e0 end as value) as c
	union all select 'earlier', cast(date_add('hour', -30, current_timestamp) as timestamp(6) with time zone), 'events.enriched_yellowtaxitriprecords_0', current_date, 'rule', 'fare_amount-negative', 'fare_amount-negative', 'fare_amount', 'invalidValues',
	  'conformity', 'warning', 'percent', 9e0, '9', 'at most 2', false, false, bigint '10', bigint '1', '[]', 'A result that a later one replaced.'`,
	`create table %[1]sops.runs as
	select 'run-' || cast(h as varchar) as run_id, started as started_at, started as ended_at, 'duckdb' as engine, step, 2e0 + mod(h, 5) as seconds, spent * (1 + mod(h, 5) / 3e0) as cpu_seconds, bigint '9000' as "rows", cast(null as varchar) as error
	from unnest(sequence(0, 71)) as a(h) cross join (values ('ingest', 1.1e0), ('quality', 1.9e0), ('models', 4.2e0), ('sla', 0.2e0)) as b(step, spent)
	cross join lateral (select cast(date_add('hour', h - 72, date_trunc('hour', current_timestamp)) as timestamp(6) with time zone) as started) as c`,
	`create table %[1]sops.quarantine as
	select source, arrival_date, rule, reason, value, cast(since as timestamp(6) with time zone) as since, run_id, cast(released_at as timestamp(6) with time zone) as released_at, released_by
	from (values ('events.enriched_airqualitysensor_0', current_date, 'co-missing', 'Missing values: 17.98 percent, expected at most 10.', 17.98e0, current_timestamp, 'run-1', null, null),
	  ('events.enriched_yellowtaxitriprecords_0', date_add('day', -5, current_date), 'no-null-vendor', 'Missing values: 214 rows, expected at most 100.', 214e0, date_add('day', -5, current_timestamp), 'run-0', date_add('day', -4, current_timestamp), 'millrace:the rule passes'))
	  as x(source, arrival_date, rule, reason, value, since, run_id, released_at, released_by)`,
}

type lake struct {
	db     *sql.DB
	prefix string
}

// newLake makes the tables in schemas of their own, and removes them after the test; DASHBOARDS_PREFIX names schemas that stay, to be looked at.
func newLake(t *testing.T) lake {
	t.Helper()
	dsn := os.Getenv("TRINO_DSN")
	if dsn == "" || os.Getenv("SUPERSET_URL") == "" {
		t.Skip("SUPERSET_URL or TRINO_DSN is not set: no Superset with a Trino behind it")
	}
	db, err := sql.Open("trino", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	l := lake{db, os.Getenv("DASHBOARDS_PREFIX")}
	keep := l.prefix != ""
	if !keep {
		l.prefix = "dash" + strconv.FormatInt(time.Now().UnixNano(), 36) + "_"
	}
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(stop)
	run := func(ctx context.Context, query string) error {
		rows, err := db.QueryContext(ctx, query)
		if err != nil {
			return fmt.Errorf("%s: %w", query[:min(len(query), 80)], err)
		}
		defer rows.Close()
		for rows.Next() {
		}
		return rows.Err()
	}
	drop := func(ctx context.Context) {
		for _, schema := range []string{"events", "ops", "star"} {
			if err := run(ctx, "drop schema if exists lake."+l.prefix+schema+" cascade"); err != nil {
				t.Error(err)
			}
		}
	}
	drop(ctx)
	if !keep {
		t.Cleanup(func() {
			ctx, stop := context.WithTimeout(context.Background(), time.Minute)
			defer stop()
			drop(ctx)
		})
	}
	for _, schema := range []string{"events", "ops", "star"} {
		if err := run(ctx, "create schema lake."+l.prefix+schema); err != nil {
			t.Fatal(err)
		}
	}
	for _, table := range tables {
		if err := run(ctx, fmt.Sprintf(table, "lake."+l.prefix)); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l lake) number(t *testing.T, query string) float64 {
	t.Helper()
	var v float64
	if err := l.db.QueryRowContext(t.Context(), "select cast(("+strings.ReplaceAll(query, "lake.", "lake."+l.prefix)+") as double)").Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// searchIndices puts two dead letters into two days' indices; DASHBOARDS_PREFIX keeps them.
func searchIndices(t *testing.T, prefix string) string {
	t.Helper()
	base := os.Getenv("ELASTICSEARCH_URL")
	if base == "" {
		return ""
	}
	call := func(method, path, body string) {
		request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, base+"/"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode/100 != 2 && method != http.MethodDelete {
			t.Fatalf("%s %s: %s", method, path, response.Status)
		}
	}
	for i, day := range []string{"2026.11.20", "2026.11.21"} {
		index := strings.Trim(prefix, "_") + "-dead-" + day
		call(http.MethodDelete, index, "")
		if os.Getenv("DASHBOARDS_PREFIX") == "" {
			t.Cleanup(func() { call(http.MethodDelete, index, "") })
		}
		call(http.MethodPut, index, `{"mappings": {"dynamic": false, "properties": {"event_type": {"type": "keyword"}, "failure": {"properties": {"code": {"type": "keyword"}, "stage": {"type": "keyword"}}}}}}`)
		for n := range 3 - i {
			call(http.MethodPost, index+"/_doc?refresh=true", fmt.Sprintf(`{"event_type": "a", "failure": {"code": "%s", "stage": "enrich"}}`, []string{"schema_violation", "not_json", "schema_violation"}[n]))
		}
	}
	return strings.Trim(prefix, "_") + "-dead-*"
}

// Every chart of an imported bundle must show what SQL says of the tables, twice in a row, or people act on wrong numbers.
func TestSuperset(t *testing.T) {
	l := newLake(t)
	ctx, stop := context.WithTimeout(t.Context(), 8*time.Minute)
	defer stop()
	o := Options{Trino: os.Getenv("TRINO_URL"), SchemaPrefix: l.prefix}
	if index := searchIndices(t, l.prefix); index != "" {
		o.SearchCatalog, o.SearchIndex = "search", index
	}
	s, err := Login(ctx, os.Getenv("SUPERSET_URL"), orElse(os.Getenv("SUPERSET_ADMIN_USER"), "admin"), orElse(os.Getenv("SUPERSET_ADMIN_PASSWORD"), "admin"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := Bundle(o)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("DASHBOARDS_PREFIX") == "" {
		t.Cleanup(func() { remove(t, s, files, l.prefix) })
	}
	for range 2 {
		if err := s.Import(ctx, files, nil); err != nil {
			t.Fatal(err)
		}
	}
	slugs, err := Slugs(files)
	if err != nil {
		t.Fatal(err)
	}
	charts, err := s.Charts(ctx, slugs)
	if err != nil {
		t.Fatal(err)
	}
	var expected int
	for name := range files {
		if strings.HasPrefix(name, "charts/") {
			expected++
		}
	}
	if len(charts) != expected {
		t.Errorf("%d charts are on the dashboards, of %d in the bundle", len(charts), expected)
	}
	got := map[string]Chart{}
	for _, c := range charts {
		if c.Err != nil {
			t.Errorf("%v", c.Err)
		} else if len(c.Rows) == 0 {
			t.Errorf("chart %s is empty: %s", c.Name, c.Query)
		}
		got[c.Name] = c
	}
	cell := func(chart, column string, match map[string]any) float64 {
		for _, row := range got[chart].Rows {
			fits := true
			for k, v := range match {
				fits = fits && fmt.Sprint(row[k]) == fmt.Sprint(v)
			}
			if fits {
				switch v := row[column].(type) {
				case float64:
					return v
				case string:
					n, err := strconv.ParseFloat(v, 64)
					if err != nil {
						t.Errorf("%s: %v", chart, err)
					}
					return n
				}
			}
		}
		b, _ := json.Marshal(got[chart].Rows)
		t.Errorf("%s has no %s of %v: %.300s", chart, column, match, b)
		return math.NaN()
	}
	for _, c := range []struct {
		chart, column string
		match         map[string]any
		query         string
	}{
		{"Trips", "trip_count", nil, "select sum(trips) from lake.star.mart_trip_daily"},
		{"Revenue", "revenue", nil, "select sum(total_amount) from lake.star.mart_trip_daily"},
		{"Revenue per trip", "revenue_per_trip", nil, "select sum(total_amount) / sum(trips) from lake.star.mart_trip_daily"},
		{"Tips", "tips_of_fares", nil, "select sum(tip_amount) / sum(fare_amount) from lake.star.mart_trip_daily"},
		{"Trips by payment", "trip_count", map[string]any{"payment_name": "Cash"}, "select count(*) from lake.star.fact_trip where payment_key = 2"},
		{"Trips by hour of pick-up", "trip_count", map[string]any{"pickup_hour": 17, "pickup_borough": "Queens"}, "select sum(trips) from lake.star.mart_trip_hourly where pickup_hour = 17 and pickup_borough = 'Queens'"},
		{"Busiest pick-up zones", "trip_count", map[string]any{"pickup_zone": "JFK Airport"}, "select sum(trips) from lake.star.mart_trip_hourly where pickup_zone = 'JFK Airport'"},
		{"Boroughs", "revenue", map[string]any{"pickup_borough": "Bronx"}, "select sum(total_amount) from lake.star.mart_trip_hourly where pickup_borough = 'Bronx'"},
		{"Records to doubt", "record_count", map[string]any{"doubt": "No passengers"}, "select sum(no_passenger_trips) from lake.star.mart_trip_daily"},
		{"Events taken in", "row_count", nil, `select sum("rows") from lake.ops.landing where kind = 'raw'`},
		{"Offsets lost", "lost_count", nil, "select 12"},
		{"Dead letters", "dead_count", nil, "select 700"},
		{"Failed rules", "failed_count", nil, "select count_if(passed = false) from lake.ops.quality where kind = 'rule' and severity <> 'info' and run_id = 'run'"},
		{"SLAs missed", "missed_count", nil, "select 1"},
		{"Days held back", "held_count", nil, "select 1"},
		{"Flow by topic", "row_count", map[string]any{"topic": "events.dead"}, `select sum("rows") from lake.ops.landing where kind = 'dead'`},
		{"Failures by code", "dead_count", map[string]any{"failure_code": "not_json", "failure_stage": "enrich"}, "select count(*) from lake.events.dead where failure_code = 'not_json' and failure_stage = 'enrich'"},
		{"Service levels now", "actual", map[string]any{"property": "completeness"}, "select 99.7e0"},
		{"Freshness and latency: hours, by run", "hours_worst", map[string]any{"property": "latency"}, "select 1400e0 / 3600"},
		{"Quality rules that failed", "value", map[string]any{"rule_id": "co-missing"}, "select 17.98e0"},
		{"Runs of curate: CPU seconds per hour, by step", "cpu_sum", map[string]any{"step": "quality"}, "select max(cpu_seconds) from lake.ops.runs where step = 'quality'"},
		{"Quality by dimension", "rule_count", map[string]any{"dimension": "conformity"}, "select 14"},
	} {
		if g, w := cell(c.chart, c.column, c.match), l.number(t, c.query); math.Abs(g-w) > 1e-6*math.Max(1, math.Abs(w)) {
			t.Errorf("%s: %s is %v, SQL says %v", c.chart, c.column, g, w)
		}
	}
	if o.SearchCatalog != "" {
		if g := cell("Failures by code, in search", "dead_count", map[string]any{"failure_code": "not_json"}); g != 2 {
			t.Errorf("search has %v of not_json, not 2", g)
		}
	}
	if got["Quality rules that failed"].Rows[0]["expected"] != "at most 10" {
		t.Errorf("a threshold reads %v", got["Quality rules that failed"].Rows[0]["expected"])
	}
	if n := len(got["Trips per day (days with 10 or more)"].Rows); n != 31 {
		t.Errorf("%d days are shown, of 31 with trips", n)
	}
	exported, err := s.Export(ctx, slugs)
	if err != nil {
		t.Fatal(err)
	}
	restored, err := o.Restore(exported)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := source()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range restored {
		if _, there := files[name]; !there {
			t.Errorf("the export has %s, which the bundle has not", name)
		}
		if strings.HasPrefix(name, "dashboards/") && o.SearchCatalog == "" {
			continue // its chart of search was left out
		}
		if string(content) != string(tree[name]) {
			t.Errorf("the exported %s is not the tree's: %s", name, difference(string(content), string(tree[name])))
		}
	}
	for name := range files {
		if _, there := restored[name]; !there {
			t.Errorf("the export lacks %s", name)
		}
	}
}

// remove takes what a test imported out of Superset again, all of it.
func remove(t *testing.T, s *Superset, files map[string][]byte, prefix string) {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	members, err := s.Members(ctx, files)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for name := range files {
		if name != "metadata.yaml" {
			want++
		}
	}
	if len(members) != want {
		t.Errorf("Superset has %d members of the bundle of %s, which has %d", len(members), prefix, want)
	}
	if err := s.Remove(ctx, members); err != nil {
		t.Error(err)
	}
	if err := s.Remove(ctx, members); err != nil {
		t.Errorf("once more: %v", err)
	}
	if left, err := s.Members(ctx, files); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
