package quality

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
)

// Tables of this package.
var (
	TableQuality        = warehouse.Name{Namespace: "ops", Table: "quality"}
	TableQuarantine     = warehouse.Name{Namespace: "ops", Table: "quarantine"}
	TableNearDuplicates = warehouse.Name{Namespace: "ops", Table: "near_duplicates"}
	TableSLA            = warehouse.Name{Namespace: "ops", Table: "sla"}
)

var (
	typeText    = iceberg.PrimitiveTypes.String
	typeDate    = iceberg.PrimitiveTypes.Date
	typeInstant = iceberg.PrimitiveTypes.TimestampTz
	typeDouble  = iceberg.PrimitiveTypes.Float64
	typeLong    = iceberg.PrimitiveTypes.Int64
	typeBool    = iceberg.PrimitiveTypes.Bool
)

var specQuality = warehouse.Spec{Columns: []warehouse.Column{
	{Name: "run_id", Type: typeText, Doc: "The run of curate."},
	{Name: "evaluated_at", Type: typeInstant, Doc: "When the day was looked at."},
	{Name: "source", Type: typeText, Doc: "The table, events.x."},
	{Name: "arrival_date", Type: typeDate, Doc: "The day of the rows, all of which were looked at; null: rows whose record time is no date."},
	{Name: "kind", Type: typeText, Doc: "rule or profile."},
	{Name: "rule_id", Type: typeText, Doc: "The rule of the contract; null for a profile."},
	{Name: "name", Type: typeText, Doc: "The rule's name; null for a profile."},
	{Name: "element", Type: typeText, Doc: "The field, dotted; @x is an attribute of the event; empty: the whole."},
	{Name: "metric", Type: typeText, Doc: "Of rules the standard's, or sql; of profiles rows, copies, nulls, distinct, min, max, histogram, or failed, with the reason in value_text."},
	{Name: "dimension", Type: typeText, Doc: "The standard's dimension of the rule."},
	{Name: "severity", Type: typeText, Doc: "The rule's severity."},
	{Name: "unit", Type: typeText, Doc: "Unit of value; approximate: the profile's value is an estimate."},
	{Name: "value", Type: typeDouble, Doc: "What the metric or query gave; null where it is no finite number."},
	{Name: "value_text", Type: typeText, Doc: "The value as text; a histogram as JSON; why a rule failed or did not run."},
	{Name: "threshold", Type: typeText, Doc: "What the value is held against."},
	{Name: "passed", Type: typeBool, Doc: "Whether the rule holds; null where it is not run."},
	{Name: "blocking", Type: typeBool, Doc: "Whether a failure holds the day back."},
	{Name: "rows_checked", Type: typeLong, Doc: "Events of the day, each once."},
	{Name: "rows_failed", Type: typeLong, Doc: "Those that fail; null where the rule does not say."},
	{Name: "examples", Type: typeText, Doc: "Root ids of some that fail, a JSON array."},
	{Name: "description", Type: typeText, Doc: "The rule's description."},
}}

var specQuarantine = warehouse.Spec{Columns: []warehouse.Column{
	{Name: "source", Type: typeText, Doc: "The table, events.x."},
	{Name: "arrival_date", Type: typeDate, Doc: "The day that is held; null: rows whose record time is no date."},
	{Name: "rule", Type: typeText, Doc: "The rule that failed."},
	{Name: "reason", Type: typeText, Doc: "Why it failed, by the last evaluation."},
	{Name: "value", Type: typeDouble, Doc: "Its value."},
	{Name: "since", Type: typeInstant, Doc: "When the hold began."},
	{Name: "run_id", Type: typeText, Doc: "The run that began it."},
	{Name: "released_at", Type: typeInstant, Doc: "When it ended; null while it lasts."},
	{Name: "released_by", Type: typeText, Doc: "Who ended it: millrace:<why>, or whoever released it."},
}}

var specNearDuplicates = warehouse.Spec{Partition: []string{"source", "arrival_date"}, Columns: []warehouse.Column{
	{Name: "source", Type: typeText, Doc: "The table, events.x."},
	{Name: "arrival_date", Type: typeDate, Doc: "The day."},
	{Name: "rule_id", Type: typeText, Doc: "The rule with the custom property flag."},
	{Name: "group_key", Type: typeText, Doc: "The values that the rows share."},
	{Name: "root_id", Type: typeText, Doc: "One of them."},
	{Name: "rows_in_group", Type: typeLong, Doc: "How many they are."},
}}

var specSLA = warehouse.Spec{Columns: []warehouse.Column{
	{Name: "run_id", Type: typeText, Doc: "The run of curate."},
	{Name: "evaluated_at", Type: typeInstant, Doc: "When it was measured."},
	{Name: "source", Type: typeText, Doc: "The table, events.x."},
	{Name: "property", Type: typeText, Doc: "The standard's property of the service level."},
	{Name: "element", Type: typeText, Doc: "What it is about, as the contract has it."},
	{Name: "target", Type: typeDouble, Doc: "What was agreed, in unit."},
	{Name: "actual", Type: typeDouble, Doc: "What was measured, in unit; null where it was not."},
	{Name: "unit", Type: typeText, Doc: "Unit of target and actual."},
	{Name: "met", Type: typeBool, Doc: "Whether it is kept; null where it was not measured."},
	{Name: "driver", Type: typeText, Doc: "regulatory, analytics or operational."},
	{Name: "description", Type: typeText, Doc: "The contract's description, and what was measured or why not."},
}}

// Values of SQL for rows that are written.
func sqlText(s string) string {
	if s == "" {
		return "null"
	}
	return literal(strings.ReplaceAll(s, "\x00", "\ufffd"))
}

func sqlInstant(t time.Time) string {
	if t.IsZero() {
		return "null"
	}
	return "cast('" + t.UTC().Format("2006-01-02 15:04:05.000000") + "+00' as timestamptz)"
}

func sqlDate(day string) string {
	if day == noDay {
		return "cast(null as date)"
	}
	return "date " + literal(day)
}

func sqlLong(n int64) string { return strconv.FormatInt(n, 10) }

func sqlNumber(v Value) string {
	if !v.IsNumber {
		return "null"
	}
	return double(v.Number)
}

// write makes rows a data file of the table. Each row has the columns' values in SQL, in the spec's order.
func write(ctx context.Context, w *warehouse.Warehouse, db *duck.DB, t *warehouse.Table, spec warehouse.Spec, values [][]string) ([]string, error) {
	if len(values) == 0 {
		return nil, nil
	}
	var names []string
	for _, c := range spec.Columns {
		names = append(names, quote(c.Name))
	}
	const out = "quality_out"
	for start := 0; start < len(values); start += 500 {
		var list []string
		for _, row := range values[start:min(start+500, len(values))] {
			list = append(list, "("+strings.Join(row, ", ")+")")
		}
		query := "select " + typed(spec) + " from (values " + strings.Join(list, ", ") + ") as v(" + strings.Join(names, ", ") + ")"
		statement := "create or replace temp table " + out + " as " + query
		if start > 0 {
			statement = "insert into " + out + " " + query
		}
		if err := db.Exec(ctx, statement); err != nil {
			return nil, err
		}
	}
	files, err := db.Write(ctx, "select * from "+out, t.Schema(), t.Partition(), func() string { return w.NewFile(t) })
	if err != nil {
		return nil, err
	}
	return paths(files), db.Exec(ctx, "drop table "+out)
}

func paths(files []duck.Written) []string {
	var list []string
	for _, f := range files {
		list = append(list, f.Path)
	}
	return list
}

// typed is the spec's columns, each with its type: a column of nulls alone has none.
func typed(spec warehouse.Spec) string {
	var list []string
	for _, c := range spec.Columns {
		name := map[iceberg.Type]string{typeText: "varchar", typeDate: "date", typeInstant: "timestamptz", typeDouble: "double", typeLong: "bigint", typeBool: "boolean"}[c.Type]
		list = append(list, "cast("+quote(c.Name)+" as "+name+") as "+quote(c.Name))
	}
	return strings.Join(list, ", ")
}

// load returns the table, nil where there is none.
func load(ctx context.Context, w *warehouse.Warehouse, name warehouse.Name) (*warehouse.Table, error) {
	t, err := w.Load(ctx, name)
	if errors.Is(err, warehouse.ErrNoTable) {
		return nil, nil //nolint:nilnil // no table and no error is what its callers ask for
	}
	return t, err
}

// noDay is the day of rows whose record time is no date (beyond the years 1 to 9999), which any producer can set: their arrival_date is null.
const noDay = "null"

// dayOfFile returns the day of a file's rows.
func dayOfFile(f warehouse.File) string {
	if d, ok := f.Partition["arrival_date"].(iceberg.Date); ok {
		return dayOf(d)
	}
	return noDay
}

// filesOf is the filter for a day's files, which may let others pass.
func filesOf(day string) (iceberg.BooleanExpression, error) {
	if day == noDay {
		return iceberg.IsNull(iceberg.Reference("arrival_date")), nil
	}
	date, err := dateOf(day)
	return iceberg.EqualTo(iceberg.Reference("arrival_date"), date), err
}

// dateOf returns a day as Iceberg counts it.
func dateOf(day string) (iceberg.Date, error) {
	t, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return 0, fmt.Errorf("day %q is not YYYY-MM-DD", shorten(day, 40))
	}
	return iceberg.Date(t.Unix() / (24 * 60 * 60)), nil
}

// dayOf is the inverse of dateOf.
func dayOf(d iceberg.Date) string { return time.Unix(int64(d)*24*60*60, 0).UTC().Format(time.DateOnly) }
