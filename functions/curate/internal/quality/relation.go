package quality

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"

	"millrace/shared/column"
	"millrace/shared/contract"
)

// engine runs the common language of DuckDB and Trino. It is used by one caller at a time.
type engine interface {
	// Exec runs statements.
	Exec(ctx context.Context, sql string, args ...any) error
	// Rows calls f with each row of the query, in its order. An error of f ends it and is returned.
	Rows(ctx context.Context, query string, f func(columns []string, row []any) error) error
}

// base is the relation of a day's files as they are; views over it make what rules read.
const (
	baseSchema = "quality"
	baseTable  = "files"
	base       = baseSchema + "." + baseTable
	beaten     = "quality_beaten"
)

// identity are the columns that tell copies of an event apart, and one row from another.
var identity = []string{"root_id", "replay_count", "kafka_timestamp", "kafka_partition", "kafka_offset", "landing_log", "landing_sequence"}

// attributes are those that are profiled, and visible to rules under their own names.
var (
	attributes = []string{"schema_version", "source", "time", "subject", "collector_tstamp"}
	failures   = []string{"event_type", "failure_stage", "failure_code"} // of dead letters
)

// attributesOf returns a source's attributes.
func attributesOf(source string) []string {
	if source == "events.dead" {
		return slices.Concat(failures, attributes)
	}
	return attributes
}

// ranking puts the best copy of an event first, as the facts do: the one replayed most often, of those the earliest.
const ranking = "coalesce(replay_count, 0) desc, kafka_timestamp, kafka_partition, kafka_offset, landing_log, landing_sequence"

// wanted returns which of the table's columns a day needs.
func wanted(schema *iceberg.Schema, source string) []string {
	var names []string
	for _, f := range schema.Fields() {
		if slices.Contains(identity, f.Name) || slices.Contains(attributesOf(source), f.Name) || f.Name == "payload" || f.Name == "enrichment" {
			names = append(names, f.Name)
		}
	}
	return names
}

// prepare makes the relation of the day's rows: each event once, by its best copy, its payload's fields as columns. It returns how many rows there are, and how many copies were left out.
// Rows without a root id, which are no events, are neither.
func prepare(ctx context.Context, db engine, schema *iceberg.Schema, model contract.Model, source string) (events, copies int64, err error) {
	if err := db.Exec(ctx, "create or replace temp table "+beaten+" as "+beatenQuery); err != nil {
		return 0, 0, err
	}
	var all int64
	err = db.Rows(ctx, "select count(*), count(root_id), (select count(*) from "+beaten+") from "+base, func(_ []string, row []any) error {
		all, events, copies = int64(valueOf(row[0]).Number), int64(valueOf(row[1]).Number), int64(valueOf(row[2]).Number)
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	// Every condition is paid for by every statement: most days need none.
	var where []string
	query := flatten(schema, model, source)
	if events < all {
		where = append(where, "f.root_id is not null")
	}
	if copies > 0 { // an outer join: DuckDB takes five times as long for NOT EXISTS, since it first makes a set of all rows' positions
		query += " left join " + beaten + " as b on b.kafka_partition = f.kafka_partition and b.kafka_offset = f.kafka_offset and b.landing_log = f.landing_log and b.landing_sequence = f.landing_sequence"
		where = append(where, "b.kafka_offset is null")
	}
	if len(where) > 0 {
		query += " where " + strings.Join(where, " and ")
	}
	return events - copies, copies, db.Exec(ctx, "create or replace temp view "+rows+" as "+query)
}

// beatenQuery finds the copies that are not the best. Duplicate ids are found first, since numbering all rows takes several times the memory.
const beatenQuery = `select kafka_partition, kafka_offset, landing_log, landing_sequence from (
  select kafka_partition, kafka_offset, landing_log, landing_sequence, row_number() over (partition by root_id order by ` + ranking + `) as place
  from ` + base + ` where root_id in (select root_id from ` + base + ` where root_id is not null group by root_id having count(*) > 1)
) as ranked where place > 1`

// flatten returns the query behind the relation that rules read.
func flatten(schema *iceberg.Schema, model contract.Model, source string) string {
	taken := map[string]bool{}
	var list []string
	add := func(name, expr string) {
		if key := strings.ToLower(name); !taken[key] {
			taken[key] = true
			list = append(list, expr+" as "+quote(name))
		}
	}
	payload := fieldsOf(schema, "payload")
	for _, f := range model.Payload {
		add(f.Name, part("payload", payload, f))
	}
	add(columnRoot, "f.root_id")
	add(columnSample, "f.kafka_offset")
	if fieldsOf(schema, "enrichment") != nil {
		add(columnEnrichment, "f.enrichment")
		add("enrichment", "f.enrichment")
	}
	add("root_id", "f.root_id")
	for _, name := range attributesOf(source) {
		if _, ok := schema.FindFieldByName(name); ok {
			add(name, "f."+name)
		}
	}
	return "select " + strings.Join(list, ", ") + " from " + base + " as f"
}

// fieldsOf returns the fields of a column that is a struct.
func fieldsOf(schema *iceberg.Schema, name string) []iceberg.NestedField {
	f, ok := schema.FindFieldByName(name)
	if !ok {
		return nil
	}
	s, _ := f.Type.(*iceberg.StructType)
	if s == nil {
		return nil
	}
	return s.FieldList
}

// part is a field of a struct column, or null of its type where the table has no such field yet.
func part(of string, fields []iceberg.NestedField, f contract.Field) string {
	name := column.Name(f)
	if slices.ContainsFunc(fields, func(n iceberg.NestedField) bool { return n.Name == name }) {
		return "f." + of + "." + quote(name)
	}
	return "cast(null as " + nullType(f) + ")"
}

func nullType(f contract.Field) string {
	switch f.Type {
	case contract.Integer:
		return "bigint"
	case contract.Number:
		return "double"
	case contract.Decimal:
		return fmt.Sprintf("decimal(%d,%d)", f.Precision, f.Scale)
	case contract.Boolean:
		return "boolean"
	case contract.Date:
		return "date"
	case contract.Timestamp:
		if f.Timezone {
			return "timestamp with time zone"
		}
		return "timestamp"
	case contract.Time:
		return "time"
	case contract.String, contract.Any, contract.Object, contract.Array:
	}
	return "varchar"
}
