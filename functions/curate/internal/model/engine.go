package model

import (
	"context"
	"strings"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/warehouse"
)

// Mode is how a build changes its table.
type Mode string

// The modes.
const (
	// Rebuild replaces all rows of the table by those of the query: a `table` model whose input changed, an incremental one whose SQL changed, and the first build of either.
	Rebuild Mode = "rebuild"
	// Merge adds the rows of the query, the best row of each key staying.
	Merge Mode = "merge"
	// Overwrite replaces the rows of some values of the partition's column by those of the query.
	Overwrite Mode = "overwrite"
)

// Build is one table to be brought up to date, as the runner decided it: what an Engine gets to do. The engine does not decide what is read, only how.
type Build struct {
	Model  *Model
	Mode   Mode
	Name   warehouse.Name   // star.<model>
	Target *warehouse.Table // the table as it was when the build was planned; nil where there is none yet
	Spec   warehouse.Spec   // what the table is to be like; where Target cannot become so (a type changed, a column went), Mode is Rebuild and Recreate true
	// Recreate says that Target has to be made anew. An engine that cannot do so in the transaction of the rows does it right before them, when all else has succeeded: a kill in between
	// leaves a table without a checkpoint, which the next run builds.
	Recreate bool
	Inputs   []Input    // the tables that the SQL reads
	Days     Partitions // Overwrite: the values of Model.Partition that are replaced; rows of the query have no others
	Window   time.Duration
	// Source is the table that drives a model with a unique key, as it stands in ops.conflicts.
	Source string
	// Conflicts says that rows of one root_id with several data_hash are to be told: the columns root_id, data_hash, arrived_at, kafka_partition, kafka_offset are then there.
	Conflicts  bool
	Properties map[string]string // the checkpoint
	SourceRows int64             // rows of the input's files, of which the query takes some; -1: not known

	ctes []cte // of inputs and ephemeral models, in the order in which they need each other
}

// Input is a table that a build's SQL reads, as it was when the build was planned.
type Input struct {
	Name    warehouse.Name
	Table   *warehouse.Table
	Columns []string                  // the top-level columns that the SQL can name, sorted; nil: all
	Filter  iceberg.BooleanExpression // rows that do not match it are not needed: for leaving files out. The SQL says the same, and exactly. nil: all rows
}

// Partitions are values of a date column by which a table is partitioned.
type Partitions struct {
	Days []iceberg.Date // sorted, distinct
	Null bool           // the partition of rows without a day
}

// Engine computes models on one SQL engine over the warehouse's tables. Package model's own runs DuckDB on fetched files and commits by package warehouse; package trino's runs statements.
//
// It is used by one goroutine at a time. Errors are final for this build alone: the runner goes on with models that do not depend on it. Repeating a build that was
// killed at any point gives the same table, since the runner plans from the checkpoint (Build.Properties as found in the table): an engine that cannot commit rows and checkpoint in one
// transaction commits the checkpoint last, and its statements add nothing when they are repeated.
type Engine interface {
	// Stage computes the rows of the build and keeps them where no reader of the warehouse's tables sees them: of a Merge only the best of each key within the rows. Nothing of the
	// target has changed when it returns, nor where it fails.
	Stage(ctx context.Context, b *Build) (Staged, error)
}

// Staged are computed rows, before the tests.
type Staged interface {
	// Relations are two names (or parenthesised queries) to be used in FROM of Query, each with columns of the model: rows, what a commit would add (of a Merge, without rows that lose
	// against the target); and after, all rows of the partitions (of an unpartitioned table: all rows) that these rows lie in, as they would be after the commit. after need have no other columns than those
	// that are tested for uniqueness, nor, of a Merge where Model.TestsKeyAlone, other rows than those that have a new row's key.
	Relations() (rows, after string)
	// Query calls f with each row of a SELECT over Relations and the inputs. Values are as database/sql has them; f keeps none of the slices.
	Query(ctx context.Context, sql string, inputs []Input, f func(columns []string, row []any) error) error
	// Commit makes the rows the target's, in Build.Mode's way, with Build.Properties. Of a Merge with Conflicts, it first adds to ops.conflicts (ConflictsTable, ConflictsSpec) a row for each
	// root_id and data_hash of the keys that have several, but for those that are there. After an error the target is as it was, or (an answer got lost) wholly committed.
	Commit(ctx context.Context) (Counts, error)
	// Discard lets go of what was staged. It follows every Stage, with or without Commit, and does not take the context's end for an error of its own.
	Discard(ctx context.Context) error
}

// Counts says what a commit did, in rows.
type Counts struct {
	Added      int64 // new to the table
	Replaced   int64 // rows of a key that were there already, and lost against a better one, which Added does not count
	Removed    int64 // Rebuild, Overwrite: rows that were there before
	Duplicates int64 // rows of the query that lost: against another of them, or against the table's
	Conflicts  int64 // new rows in ops.conflicts
}

// ConflictsTable is where rows of one identity with different data are told.
var ConflictsTable = warehouse.Name{Namespace: "ops", Table: "conflicts"}

// ConflictsSpec are its columns: the source table (Build.Source) and root_id, one of the data hashes, and the copy of it that ranked first when the conflict was first seen.
func ConflictsSpec() warehouse.Spec {
	return warehouse.Spec{Columns: []warehouse.Column{
		{Name: "source", Type: iceberg.PrimitiveTypes.String, Doc: "the table that the rows came by"},
		{Name: "root_id", Type: iceberg.PrimitiveTypes.String, Doc: "the identity that several data have"},
		{Name: "data_hash", Type: iceberg.PrimitiveTypes.String, Doc: "SHA-256 of one of them"},
		{Name: "arrived_at", Type: iceberg.PrimitiveTypes.TimestampTz, Doc: "when the copy arrived that ranked first when this was seen"},
		{Name: "kafka_partition", Type: iceberg.PrimitiveTypes.Int32, Doc: "where that copy was"},
		{Name: "kafka_offset", Type: iceberg.PrimitiveTypes.Int64, Doc: "where that copy was"},
	}}
}

// Dialect is what the engines spell differently in the statements that the runner makes. Models' own text has none of it.
type Dialect struct {
	Types  map[string]string           // of a column type of the front matter ("timestamp", "timestamptz"); those not in it are spelled as they are
	Table  func(warehouse.Name) string // nil: schema.table
	Inline string                      // what goes between AS and the parenthesis of a CTE, such as "not materialized"
}

type cte struct {
	name string
	from warehouse.Name // a table, of which where is taken
	sql  string         // or an ephemeral model's text
	// where, if not empty, in the common language
	where string
}

// SQL is the build's SELECT: the inputs' delta and ephemeral models as common table expressions, the model in the middle, its columns cast to their types in their order.
func (b *Build) SQL(d Dialect) string {
	columns := make([]string, len(b.Model.Columns))
	for i, c := range b.Model.Columns {
		columns[i] = "cast(" + quote(c.Name) + " as " + d.spell(c.Type) + ") as " + quote(c.Name)
	}
	return b.query(d, strings.Join(columns, ", "))
}

// query is SQL with another select list.
func (b *Build) query(d Dialect, columns string) string {
	var w strings.Builder
	w.WriteString("with ")
	for _, c := range b.ctes {
		w.WriteString(c.name + " as " + d.Inline + " (" + c.text(d) + "\n),\n")
	}
	w.WriteString(outer + " as " + d.Inline + " (\n" + b.Model.body + "\n)\nselect " + columns + " from " + outer)
	return w.String()
}

const outer = "millrace_model"

func (c cte) text(d Dialect) string {
	if c.sql != "" {
		return "\n" + c.sql
	}
	table := quote(c.from.Namespace) + "." + quote(c.from.Table)
	if d.Table != nil {
		table = d.Table(c.from)
	}
	if c.where == "" {
		return "select * from " + table
	}
	return "select * from " + table + " where " + c.where
}

func (d Dialect) spell(t string) string {
	if s, ok := d.Types[t]; ok {
		return s
	}
	return t
}

// Better is a condition that is true where the row named a ranks before the row named b by the model's order_by, and false where it ranks behind or they are equal. Numbers that are null
// count as 0, other nulls rank last.
func (m *Model) Better(a, b string) string {
	out := "false"
	for i := len(m.Order) - 1; i >= 0; i-- {
		o := m.Order[i]
		x, y := m.orderValue(a, o), m.orderValue(b, o)
		op := "<"
		if o.Descending {
			op = ">"
		}
		first := x + " " + op + " " + y
		same := x + " = " + y
		if !m.numeric(o.Column) {
			first = "(" + x + " is not null and (" + y + " is null or " + first + "))"
			same = x + " is not distinct from " + y
		}
		out = "(" + first + " or (" + same + " and " + out + "))"
	}
	return out
}

// Ranking is what goes behind ORDER BY to have the best row of a key first, of rows named a ("" for no name).
func (m *Model) Ranking(a string) string {
	var parts []string
	for _, o := range m.Order {
		dir := " asc nulls last"
		if o.Descending {
			dir = " desc nulls last"
		}
		parts = append(parts, m.orderValue(a, o)+dir)
	}
	return strings.Join(parts, ", ")
}

func (m *Model) orderValue(alias string, o Order) string {
	c := quote(o.Column)
	if alias != "" {
		c = alias + "." + c
	}
	if m.numeric(o.Column) {
		return "coalesce(" + c + ", 0)"
	}
	return c
}

func (m *Model) numeric(column string) bool {
	for _, c := range m.Columns {
		if c.Name == column {
			return c.Type == "integer" || c.Type == "bigint" || c.Type == "double" || strings.HasPrefix(c.Type, "decimal")
		}
	}
	return false
}

// Where is a condition on a date column that is true for these partitions alone, in the common language.
func (p Partitions) Where(column string) string {
	var parts []string
	c := quote(column)
	for i := 0; i < len(p.Days); {
		j := i
		for j+1 < len(p.Days) && p.Days[j+1] == p.Days[j]+1 {
			j++
		}
		from, to := day(p.Days[i]), day(p.Days[j])
		if i == j {
			parts = append(parts, c+" = date '"+from+"'")
		} else {
			parts = append(parts, c+" between date '"+from+"' and date '"+to+"'")
		}
		i = j + 1
	}
	if p.Null {
		parts = append(parts, c+" is null")
	}
	if len(parts) == 0 {
		return "false"
	}
	return "(" + strings.Join(parts, " or ") + ")"
}

// day is YYYY-MM-DD.
func day(d iceberg.Date) string { return d.ToTime().Format(time.DateOnly) }

// quote makes a quoted identifier. Names of models and columns are lower case by Load, so that both engines take it for the same.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
