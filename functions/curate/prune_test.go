//go:build cgo

package main

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/warehouse"
)

// Guards answers from days that were left out: whatever the query's form, it gives what it gives over all rows, and a plain WHERE on the partition fetches those days alone. want is how many of
// fact_trip's five files (20, 21, 22, 23 November and no day) are fetched.
func TestQueryDays(t *testing.T) {
	l := newLake(t)
	l.add(t, factTrip, tripSpec, `select * from (values (date '2026-11-20', 'a', 1.50, 'plain', 0.5, {'zone': 'x'}), (date '2026-11-21', 'b', null, 'q', 1.0, null), (date '2026-11-22', 'c', -12.25, '', null, {'zone': null}),
	  (date '2026-11-23', 'd', 0.00, 'e', 2.0, null), (null, 'e', 0.00, 'f', 1e300, null)) t(day, id, fare, note, ratio, place)`, false)
	l.add(t, warehouse.Name{Namespace: "star", Table: "mart"}, warehouse.Spec{Partition: []string{"day"}, Columns: []warehouse.Column{
		{Name: "day", Type: iceberg.PrimitiveTypes.Date},
		{Name: "id", Type: iceberg.PrimitiveTypes.String},
		{Name: "f", Type: &iceberg.StructType{FieldList: []iceberg.NestedField{{ID: 1, Name: "day", Type: iceberg.PrimitiveTypes.Date}}}},
	}}, `select * from (values (date '2026-11-20', 'a', {'day': date '2026-11-23'}), (date '2026-11-22', 'b', {'day': date '2026-11-20'}), (date '2026-11-22', 'z', null)) t(day, id, f)`, false)
	var mu sync.Mutex
	fetched := map[string]bool{}
	l.before = func(r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/fact_trip/data/") {
			mu.Lock()
			fetched[r.URL.Path] = true
			mu.Unlock()
		}
	}
	for _, c := range []struct {
		sql  string
		want int
	}{
		{"select id from fact_trip where day = date '2026-11-21'", 1},
		{"select id from fact_trip where '2026-11-21' <= day order by 1", 3},
		{"select id from star.fact_trip t where t.day > cast('2026-11-21' as date) and day < '2026-11-23' and note = ''", 1},
		{"select id from fact_trip where day between '2026-11-21' and '2026-11-22' order by 1", 2},
		{"select id from fact_trip where day between '2026-11-21' and timestamp '2026-11-22 10:00:00' order by 1", 3},
		{"select id from fact_trip where day in ('2026-11-20', date '2026-11-23') order by 1", 2},
		{"select count(*) as n from fact_trip where day = '2020-01-01'", 0},
		{"select f.id, m.id from fact_trip f left join mart m on f.day = m.day where f.day >= '2026-11-22' order by 1, 2", 2},
		{"select f.id, m.id from mart m left join fact_trip f on f.id = m.id where f.day <= '2026-11-20' order by 1, 2", 1},
		{"select f.id, m.id from mart m full join fact_trip f on f.id = m.id where f.day <= '2026-11-20' order by 1, 2", 1},
		// A table's name goes before a column's of the same name.
		{"select f.id, m.id from mart m join fact_trip f on true where f.day = '2026-11-20' order by 1, 2", 1},
		// Where the table stands twice, the days of both are needed.
		{"select a.id, b.id from fact_trip a join fact_trip b on true where a.day = '2026-11-20' and b.day = '2026-11-21'", 2},
		{"select id from fact_trip where day = '2026-11-20' union all select id from fact_trip where day = '2026-11-22' order by 1", 2},
		{"select id, (select count(*) from fact_trip) as n from fact_trip where day = '2026-11-20'", 5},
		{"with fact_trip as (select * from star.fact_trip) select id from fact_trip where day = '2026-11-20'", 5},
		{"with t as (select id from fact_trip where day = '2026-11-20') select * from t", 1},
		// The column goes before a name that the query gives.
		{"select id, date '2026-11-20' as day from fact_trip where day = '2026-11-21'", 1},
		// What no row can be left out for.
		{"select id from fact_trip where day = '2026-11-20' or id = 'b' order by 1", 5},
		{"select id from fact_trip where not (day = '2026-11-20') order by 1", 5},
		{"select id from fact_trip where day is null", 5},
		{"select id from fact_trip where day is distinct from date '2026-11-20' order by 1", 5},
		{"select id from fact_trip where day + 1 = date '2026-11-22'", 5},
		{"select id from fact_trip where cast(day as varchar) = '2026-11-21'", 5},
		{"select id from fact_trip t(id, day) where day = 'b'", 5},
		{"select count(*) filter (where day = '2026-11-20') as n from fact_trip", 5},
		{"select f.id, m.id from fact_trip f left join mart m on f.id = m.id and f.day = '2026-11-20' order by 1, 2", 5},
		{"select m.id, f.id from mart m asof join fact_trip f on m.day >= f.day where f.day = '2026-11-20' order by 1", 5},
		{"select m.id, f.id from mart m positional join fact_trip f where f.day >= '2026-11-21' order by 1, 2", 5},
		{"select m.id from mart m anti join fact_trip f on f.id = m.id where m.day = '2026-11-22' order by 1", 5},
		{"select m.id from mart m where not exists (select 1 from fact_trip f where f.id = m.id and f.day = m.day) order by 1", 5},
		{"select m.id from mart m where not exists (select 1 from fact_trip f where f.id = m.id and f.day = '2026-11-20') order by 1", 1},
		{"select x.id from (select * from fact_trip) x where x.day = '2026-11-20'", 5},
	} {
		whole := &query{warehouse: l.warehouse, db: l.db, whole: true, needs: map[warehouse.Name]bool{}, names: map[string]bool{}, places: map[warehouse.Name][]place{}}
		var all bytes.Buffer
		tables, err := l.warehouse.Tables(t.Context())
		if whole.tables = tables; err == nil {
			err = whole.gather(t.Context(), c.sql)
		}
		if err == nil {
			err = whole.relations(t.Context())
		}
		if err == nil {
			err = render(t.Context(), l.db, c.sql, formatCSV, 0, &all, &all)
		}
		if err != nil {
			t.Fatalf("%s: %v", c.sql, err)
		}
		clear(fetched)
		out, _, err := l.query(t, "--format", "csv", c.sql)
		if err != nil || out != all.String() {
			t.Errorf("%s: %q, %v; over all days %q", c.sql, out, err, all.String())
		}
		if len(fetched) != c.want {
			t.Errorf("%s: %d files were fetched, want %d", c.sql, len(fetched), c.want)
		}
	}
}

// A function that is told by text what to read would see tables of which nothing was fetched, and answer as if there were no rows.
func TestQueryIndirect(t *testing.T) {
	l := newLake(t)
	l.add(t, factTrip, tripSpec, trips, false)
	for _, sql := range []string{
		"select * from query_table('fact_trip')", "select count(day) from fact_trip union all select count(*) from query('select note from fact_trip')",
		"select * from json_execute_serialized_sql(json_serialize_sql('select note from fact_trip'))",
	} {
		if out, _, err := l.query(t, sql); err == nil || !strings.Contains(err.Error(), "write it out") {
			t.Errorf("%s: %s, %v", sql, out, err)
		}
	}
}
