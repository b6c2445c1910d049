//go:build integration && cgo

package quality

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/apache/iceberg-go"
	_ "github.com/trinodb/trino-go-client/trino"
)

// trinoEngine runs what package quality writes on Trino: its relations are tables of the catalog memory.
type trinoEngine struct {
	db     *sql.DB
	prefix string
	made   map[string]bool
}

// place puts this test's tables where it made them.
func (e *trinoEngine) place(query string) string {
	return strings.ReplaceAll(strings.ReplaceAll(query, "quality_groups", e.prefix+"groups"), rows, e.prefix+"rows")
}

func (e *trinoEngine) Exec(ctx context.Context, statement string, _ ...any) error {
	name, query, ok := strings.Cut(strings.TrimPrefix(e.place(statement), "create or replace temp table "), " as ")
	if !ok {
		return fmt.Errorf("not for Trino: %s", statement)
	}
	e.made[name] = true
	for _, s := range []string{"drop table if exists " + name, "create table " + name + " as " + query} {
		if _, err := e.db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func (e *trinoEngine) Rows(ctx context.Context, query string, f func([]string, []any) error) error {
	found, err := e.db.QueryContext(ctx, e.place(query))
	if err != nil {
		return fmt.Errorf("%s: %w", query, err)
	}
	defer func() { _ = found.Close() }() // Err tells what went wrong
	columns, err := found.Columns()
	if err != nil {
		return err
	}
	for found.Next() {
		row, to := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			to[i] = &row[i]
		}
		if err := found.Scan(to...); err != nil {
			return err
		}
		if err := f(columns, row); err != nil {
			return err
		}
	}
	return found.Err()
}

const sampleRowsSQL = `select _root_id, _sample, cast(row(zone) as row(zone varchar)) as _enrichment, 'test' as source, name as "Name", name as host, cast(null as bigint) as age, cast(n as bigint) as "count",
	cast(amount as double) as amount, cast(amount as decimal(10,2)) as price, n > 2 as "on", cast(day as date) as day, cast(day || ' 10:00:00 UTC' as timestamp with time zone) as "at",
	array['x'] as tags, cast(row(n) as row("X" bigint)) as inner_row from (values
	('r1', 1, 'Harlem', 'a', 1, 1.5, '2026-01-01'), ('r2', 2, 'Harlem', 'a', 2, -1.0, '2026-01-02'), ('r3', 3, 'SoHo', 'ünü', 3, 7.25, '2026-01-03'),
	('r4', 4, null, null, 4, 1.5, '2026-01-04'), ('r5', 5, 'SoHo', 'b''c', 5, 0.0, '2026-01-05')) as v(_root_id, _sample, zone, name, n, amount, day)`

// decimals are texts of numbers with zeros behind them, which one driver keeps and the other does not.
var decimals = regexp.MustCompile(`(\d+)(?:\.0+|(\.\d*?[1-9])0+)"`)

// Guards that rules and profiles mean the same on Trino as on DuckDB: each is run on both, over the same rows.
func TestBothEnginesAgree(t *testing.T) {
	dsn := os.Getenv("TRINO_DSN")
	if dsn == "" {
		t.Skip("TRINO_DSN is not set: this test needs a Trino with the catalog memory")
	}
	db, err := sql.Open("trino", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	far := &trinoEngine{db: db, prefix: "memory.default.q_" + strings.ToLower(rand.Text()[:10]) + "_", made: map[string]bool{}}
	defer func() {
		for name := range far.made {
			if _, err := db.ExecContext(context.WithoutCancel(t.Context()), "drop table if exists "+name); err != nil {
				t.Error(err)
			}
		}
	}()
	yaml := strings.Replace(head+`    quality:
      - {id: twins, metric: duplicateValues, arguments: {properties: [Name, source_of]}, mustBe: 0, customProperties: [{property: flag, value: true}]}
      - {id: pairs, metric: duplicateValues, arguments: {properties: [amount, price]}, mustBe: 0, customProperties: [{property: flag, value: true}]}
      - {id: rows, metric: rowCount, mustBe: 0}
      - {id: sql, type: sql, query: 'select count(*) from ${table} where amount < 1', unit: rows, mustBe: 0}
      - {id: month, type: sql, query: "SELECT cast(100 as double) * count_if(month <> prevailing) / nullif(cast(count(*) as double), 0) FROM (SELECT date_trunc('day', \"at\") AS month FROM ${table}) AS trips CROSS JOIN (SELECT date_trunc('day', \"at\") AS prevailing FROM ${table} GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1) AS most", unit: percent, mustBe: 0}
      - {id: cte, type: sql, query: 'with x as (select "NAME" as n from ${table}) select count(n) from x', mustBe: 0}
`+strings.Replace(fields, "name: inner", "name: inner_row", 1), ", source_of", "", 1)
	add := func(property string, list ...string) {
		at := "{name: " + property + ","
		yaml = strings.Replace(yaml, at, at+" quality: ["+strings.Join(list, ", ")+"],", 1)
	}
	add("Name", "{id: n1, metric: nullValues, mustBe: 9}", "{id: n2, metric: missingValues, arguments: {missingValues: [null, \"b'c\"]}, mustBe: 9}", "{id: n3, metric: invalidValues, arguments: {pattern: '^[a-c]'}, mustBe: 9}",
		"{id: n4, metric: invalidValues, arguments: {maxLength: 2}, unit: percent, mustBe: 9}", "{id: n5, metric: duplicateValues, mustBe: 9}", "{id: n6, type: sql, query: 'select max(length(${column})) from ${table}', mustBe: 9}")
	add("amount", "{id: a1, metric: invalidValues, arguments: {minimum: 0, exclusiveMaximum: 7.25}, mustBe: 9}")
	add("price", "{id: p1, metric: invalidValues, arguments: {validValues: [1.5, 0]}, mustBe: 9}")
	add("count", "{id: c1, metric: invalidValues, arguments: {validValues: [1, 2], maximum: 4}, mustBe: 9}")
	add("on", "{id: o1, metric: invalidValues, arguments: {validValues: [true]}, mustBe: 9}")
	add("day", "{id: d1, metric: invalidValues, arguments: {minimum: 2026-01-03}, mustBe: 9}")
	add("at", "{id: t1, metric: invalidValues, arguments: {maximum: '2026-01-03T11:00:00+01:00'}, mustBe: 9}")
	add("X", "{id: x1, metric: invalidValues, arguments: {exclusiveMinimum: 1}, mustBe: 9}")
	yaml += "  - name: enrichment\n    logicalType: object\n    properties: [{name: zone, logicalType: string, classification: public, quality: [{id: z1, metric: nullValues, mustBe: 9}, {id: z2, metric: duplicateValues, mustBe: 9}]}]\n"
	c, m := modelOf(t, yaml)
	near := open(t)
	schema := iceberg.NewSchema(0, iceberg.NestedField{ID: 1, Name: "source", Type: typeText}, iceberg.NestedField{ID: 2, Name: "enrichment", Type: &iceberg.StructType{FieldList: []iceberg.NestedField{{ID: 3, Name: "zone", Type: typeText}}}})
	text := func(v any) string {
		b, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return decimals.ReplaceAllString(string(b), `$1$2"`)
	}
	var found [][]Check
	var profiles [][]Column
	for _, db := range []engine{near, far} {
		if err := db.Exec(t.Context(), "create or replace temp table "+rows+" as "+sampleRowsSQL); err != nil {
			t.Fatal(err)
		}
		e := &evaluation{db: db, rows: 5}
		checks, err := e.check(t.Context(), compile(c, m))
		if err != nil {
			t.Fatal(err)
		}
		for i := range checks {
			if !checks[i].Ran {
				t.Errorf("%T: %s: %s", db, checks[i].ID, checks[i].Reason)
			}
			checks[i].Value.Text = "" // a decimal's and an integer's differ
		}
		profile, err := e.profile(t.Context(), schema, m, "events.x")
		if err != nil {
			t.Fatal(err)
		}
		found, profiles = append(found, checks), append(profiles, profile)
	}
	for i := range found[0] {
		if a, b := text(found[0][i]), text(found[1][i]); a != b {
			t.Errorf("DuckDB\n%s\nTrino\n%s", a, b)
		}
	}
	for i := range profiles[0] {
		if a, b := text(profiles[0][i]), text(profiles[1][i]); a != b {
			t.Errorf("DuckDB\n%s\nTrino\n%s", a, b)
		}
	}
}
