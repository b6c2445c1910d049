package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/warehouse"
)

// tableRuns says of each run that found something to do what it did and what it took.
var tableRuns = warehouse.Name{Namespace: "ops", Table: "runs"}

var specRuns = warehouse.Spec{Columns: []warehouse.Column{
	{Name: "run_id", Type: iceberg.PrimitiveTypes.String, Doc: "The run, a UUIDv7."},
	{Name: "started_at", Type: iceberg.PrimitiveTypes.TimestampTz, Doc: "When it began."},
	{Name: "ended_at", Type: iceberg.PrimitiveTypes.TimestampTz, Doc: "When its last step ended."},
	{Name: "engine", Type: iceberg.PrimitiveTypes.String, Doc: "duckdb or trino: what ran the models."},
	{Name: "step", Type: iceberg.PrimitiveTypes.String, Doc: "One of its steps."},
	{Name: "seconds", Type: iceberg.PrimitiveTypes.Float64, Doc: "What the step took."},
	{Name: "cpu_seconds", Type: iceberg.PrimitiveTypes.Float64, Doc: "What the process took of processors meanwhile."},
	{Name: "rows", Type: iceberg.PrimitiveTypes.Int64, Doc: "Rows that the step committed; null where it counts none."},
	{Name: "error", Type: iceberg.PrimitiveTypes.String, Doc: "Why the step failed; null where it did not."},
}}

// record appends the run to ops.runs, a row for each step.
func (s *session) record(ctx context.Context, o *outcome) error {
	t, err := s.warehouse.Ensure(ctx, tableRuns, specRuns)
	if err != nil {
		return err
	}
	db, err := s.duck(ctx)
	if err != nil {
		return err
	}
	var rows []string
	for _, x := range o.steps {
		failure := "null"
		if x.err != nil {
			failure = text(x.err.Error())
		}
		count := "null"
		if n, ok := o.rows(x.name); ok {
			count = fmt.Sprint(n)
		}
		rows = append(rows, fmt.Sprintf("(%s, timestamptz %s, timestamptz %s, %s, %s, %g, %g, %s, %s)", text(o.id), text(o.start.Format(instant)), text(o.end.Format(instant)),
			text(s.config.Engine), text(x.name), x.wall.Seconds(), x.cpu.Seconds(), count, failure))
	}
	var columns []string
	for _, c := range specRuns.Columns {
		columns = append(columns, `"`+c.Name+`"`)
	}
	query := "select * from (values " + strings.Join(rows, ", ") + ") as step(" + strings.Join(columns, ", ") + ")"
	written, err := db.Write(ctx, query, t.Schema(), nil, func() string { return s.warehouse.NewFile(t) })
	if err != nil {
		return err
	}
	var files []string
	for _, f := range written {
		files = append(files, f.Path)
	}
	_, err = s.warehouse.Commit(ctx, t, warehouse.Change{Add: files})
	return err
}

// rows is what a step committed.
func (o *outcome) rows(step string) (int64, bool) {
	switch step {
	case "ingest":
		return o.ingest.Rows(), true
	case "quality":
		return o.quality.Rows, true
	case "models":
		var n int64
		for _, m := range o.models.Models {
			n += m.Counts.Added + m.Counts.Replaced
		}
		return n, true
	}
	return 0, false
}

const instant = "2006-01-02 15:04:05.000000+00"

// text is a string as SQL has it.
func text(s string) string {
	return "'" + strings.NewReplacer("'", "''", "\x00", "\ufffd").Replace(strings.ToValidUTF8(s, "\ufffd")) + "'" // a statement ends at a zero byte
}
