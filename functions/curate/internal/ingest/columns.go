package ingest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/column"
	"millrace/shared/contract"
	"millrace/shared/landing"
)

// Columns of every events table that no landing object has.
const (
	ArrivalDate     = "arrival_date"     // the day of Kafka's record time in UTC, and the partition
	LandingLog      = "landing_log"      // topic id of the landing log
	LandingSequence = "landing_sequence" // of the log's entry
	LandingObject   = "landing_object"   // key of the landing object
)

// PayloadBytes is the column of events.dead that stands for the payload, which is unmasked and stays in the private bucket.
const PayloadBytes = "payload_bytes"

// withheld are columns of dead objects that the warehouse does not show, since they can hold what nobody has masked.
var withheld = []string{"payload", "extensions", "kafka_headers", "kafka_key"}

// order is how tables show the columns that are known here; others follow, before those of landing.
var order = []string{
	"event_type", "schema_version", "version_assumed", "root_id", "id", "source", "subject", "time", "collector_id", "collector_tstamp", "data_hash", "data_schema",
	"content_type", "partition_key", "stage", "failure_stage", "failure_code", "failure_message", "failure_time", "failure_origin_source", "failure_origin_id",
	"failure_assumed_version", "replay_id", "replay_count", "payload", PayloadBytes, "enrichment", "extensions", "_rescued", "kafka_partition", "kafka_offset",
	"kafka_timestamp", "kafka_key", "kafka_headers",
}

// docs describe the columns that are not a contract's.
var docs = map[string]string{
	"root_id":          "The event's identity everywhere: copies of one event share it.",
	"data_hash":        "SHA-256 of the payload's bytes: another one under the same root_id is a conflict.",
	"collector_tstamp": "When the collector took the event.",
	"time":             "When it happened, as the producer says.",
	"_rescued":         "JSON of what fitted no column, by JSON pointer.",
	"extensions":       "JSON of attributes without a column.",
	"kafka_timestamp":  "Kafka's record time.",
	PayloadBytes:       "Size of the payload, which is in the private bucket.",
	ArrivalDate:        "UTC day of Kafka's record time.",
	LandingLog:         "Topic id of the landing log that named the object.",
	LandingSequence:    "Sequence of the landing log's entry.",
	LandingObject:      "Key of the landing object that held the row.",
}

var landingColumns = []warehouse.Column{
	{Name: ArrivalDate, Type: iceberg.PrimitiveTypes.Date, Doc: docs[ArrivalDate]},
	{Name: LandingLog, Type: iceberg.PrimitiveTypes.String, Doc: docs[LandingLog]},
	{Name: LandingSequence, Type: iceberg.PrimitiveTypes.Int64, Doc: docs[LandingSequence]},
	{Name: LandingObject, Type: iceberg.PrimitiveTypes.String, Doc: docs[LandingObject]},
}

// contracted returns the columns that the contracts of a MODEL give its table, beside the attributes.
func contracted(m contract.Model) []warehouse.Column {
	var out []warehouse.Column
	for _, part := range []struct {
		name, doc string
		fields    []contract.Field
	}{{"payload", "What the producer sent, masked as the contract says.", m.Payload}, {"enrichment", "What the enrichment steps added.", m.Enrichment}} {
		if len(part.fields) > 0 {
			out = append(out, warehouse.Column{Name: part.name, Type: typeOf(contract.Field{Type: contract.Object, Fields: part.fields}), Doc: part.doc})
		}
	}
	return out
}

// typeOf returns the type of a field's column.
func typeOf(f contract.Field) iceberg.Type {
	switch column.Of(f) {
	case column.Struct:
		s := &iceberg.StructType{}
		for _, c := range f.Fields {
			s.FieldList = append(s.FieldList, iceberg.NestedField{Name: column.Name(c), Type: typeOf(c), Doc: c.Description})
		}
		return s
	case column.List:
		return &iceberg.ListType{Element: typeOf(*f.Items)}
	case column.Scalar:
		switch f.Type {
		case contract.Integer:
			return iceberg.PrimitiveTypes.Int64
		case contract.Number:
			return iceberg.PrimitiveTypes.Float64
		case contract.Boolean:
			return iceberg.PrimitiveTypes.Bool
		case contract.Date:
			return iceberg.PrimitiveTypes.Date
		case contract.Time:
			return iceberg.PrimitiveTypes.Time
		case contract.Timestamp:
			if f.Timezone {
				return iceberg.PrimitiveTypes.TimestampTz
			}
			return iceberg.PrimitiveTypes.Timestamp
		case contract.Decimal:
			return iceberg.DecimalTypeOf(f.Precision, f.Scale)
		default:
		}
	case column.JSON:
	}
	return iceberg.PrimitiveTypes.String
}

// stored returns the columns of an object as its own Parquet schema has them.
func stored(schema *parquet.Schema) ([]warehouse.Column, error) {
	var out []warehouse.Column
	var errs []error
	for _, f := range schema.Fields() {
		t, err := typeOfNode(f)
		if err != nil {
			errs = append(errs, fmt.Errorf("column %s: %w", f.Name(), err))
			continue
		}
		out = append(out, warehouse.Column{Name: f.Name(), Type: t, Doc: docs[f.Name()]})
	}
	return out, errors.Join(errs...)
}

// typeOfNode is the inverse of what load-lake makes of a column, as far as Iceberg tells types apart.
func typeOfNode(n parquet.Node) (iceberg.Type, error) {
	if n.Repeated() {
		return nil, errors.New("is repeated without being a list")
	}
	if !n.Leaf() {
		if l := n.Type().LogicalType(); l != nil {
			if _, ok := l.Value.(*format.ListType); ok {
				return listOf(n)
			}
			return nil, fmt.Errorf("the type %s has no column here", l)
		}
		s := &iceberg.StructType{}
		for _, f := range n.Fields() {
			t, err := typeOfNode(f)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.Name(), err)
			}
			s.FieldList = append(s.FieldList, iceberg.NestedField{Name: f.Name(), Type: t})
		}
		return s, nil
	}
	if l := n.Type().LogicalType(); l != nil {
		return logical(l)
	}
	switch n.Type().Kind() {
	case parquet.Boolean:
		return iceberg.PrimitiveTypes.Bool, nil
	case parquet.Int32:
		return iceberg.PrimitiveTypes.Int32, nil
	case parquet.Int64:
		return iceberg.PrimitiveTypes.Int64, nil
	case parquet.Float:
		return iceberg.PrimitiveTypes.Float32, nil
	case parquet.Double:
		return iceberg.PrimitiveTypes.Float64, nil
	case parquet.ByteArray:
		return iceberg.PrimitiveTypes.Binary, nil
	default:
		return nil, fmt.Errorf("the type %s has no column here", n.Type())
	}
}

func listOf(n parquet.Node) (iceberg.Type, error) {
	if fields := n.Fields(); len(fields) == 1 && fields[0].Repeated() {
		if inner := fields[0].Fields(); len(inner) == 1 {
			t, err := typeOfNode(inner[0])
			if err != nil {
				return nil, fmt.Errorf("element: %w", err)
			}
			return &iceberg.ListType{Element: t}, nil
		}
	}
	return nil, errors.New("is no list of three levels")
}

func logical(l *format.LogicalType) (iceberg.Type, error) {
	switch v := l.Value.(type) {
	case *format.StringType:
		return iceberg.PrimitiveTypes.String, nil
	case *format.DateType:
		return iceberg.PrimitiveTypes.Date, nil
	case *format.DecimalType:
		return iceberg.DecimalTypeOf(int(v.Precision), int(v.Scale)), nil
	case *format.IntType:
		switch {
		case v.IsSigned && v.BitWidth <= 32:
			return iceberg.PrimitiveTypes.Int32, nil
		case v.IsSigned:
			return iceberg.PrimitiveTypes.Int64, nil
		}
	case *format.TimeType:
		if _, ok := v.Unit.Value.(*format.MicroSeconds); ok {
			return iceberg.PrimitiveTypes.Time, nil
		}
	case *format.TimestampType:
		if _, ok := v.Unit.Value.(*format.MicroSeconds); ok && v.IsAdjustedToUTC {
			return iceberg.PrimitiveTypes.TimestampTz, nil
		} else if ok {
			return iceberg.PrimitiveTypes.Timestamp, nil
		}
	}
	return nil, fmt.Errorf("the type %s has no column here", l)
}

// shown returns the columns of the warehouse's table for those of an object.
func shown(kind string, object []warehouse.Column) []warehouse.Column {
	if kind != landing.KindDead {
		return object
	}
	out := slices.DeleteFunc(slices.Clone(object), func(c warehouse.Column) bool { return slices.Contains(withheld, c.Name) })
	return append(out, warehouse.Column{Name: PayloadBytes, Type: iceberg.PrimitiveTypes.Int64, Doc: docs[PayloadBytes]})
}

// tableOf returns all columns of a table, in the order in which it shows them.
func tableOf(columns []warehouse.Column) []warehouse.Column {
	out := slices.Clone(columns)
	rank := func(c warehouse.Column) int {
		if i := slices.Index(order, c.Name); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(out, func(a, b warehouse.Column) int { return rank(a) - rank(b) })
	return append(out, landingColumns...)
}

// merge returns the columns of both. What is in both has one type, or it is an error that names all that have two.
func merge(a, b []warehouse.Column) ([]warehouse.Column, error) {
	out := slices.Clone(a)
	var errs []error
	for _, c := range b {
		i := slices.IndexFunc(out, func(o warehouse.Column) bool { return o.Name == c.Name })
		if i < 0 {
			out = append(out, c)
			continue
		}
		out[i].Type = mergeType(c.Name, out[i].Type, c.Type, &errs)
		if out[i].Doc == "" {
			out[i].Doc = c.Doc
		}
	}
	return out, errors.Join(errs...)
}

func mergeType(path string, a, b iceberg.Type, errs *[]error) iceberg.Type {
	switch a := a.(type) {
	case *iceberg.StructType:
		if b, ok := b.(*iceberg.StructType); ok {
			out := &iceberg.StructType{FieldList: slices.Clone(a.FieldList)}
			for _, f := range b.FieldList {
				i := slices.IndexFunc(out.FieldList, func(o iceberg.NestedField) bool { return o.Name == f.Name })
				if i < 0 {
					out.FieldList = append(out.FieldList, f)
					continue
				}
				out.FieldList[i].Type = mergeType(path+"."+f.Name, out.FieldList[i].Type, f.Type, errs)
			}
			return out
		}
	case *iceberg.ListType:
		if b, ok := b.(*iceberg.ListType); ok {
			return &iceberg.ListType{ElementID: a.ElementID, Element: mergeType(path+"[]", a.Element, b.Element, errs)}
		}
	default:
		if a.Equals(b) {
			return a
		}
	}
	*errs = append(*errs, fmt.Errorf("column %s is %s and %s", path, typeName(a), typeName(b)))
	return a
}

// typeName spells a type as SQL does, which is DuckDB's spelling too.
func typeName(t iceberg.Type) string {
	switch t := t.(type) {
	case *iceberg.StructType:
		var fields []string
		for _, f := range t.FieldList {
			fields = append(fields, quoteName(f.Name)+" "+typeName(f.Type))
		}
		return "struct(" + strings.Join(fields, ", ") + ")"
	case *iceberg.ListType:
		return typeName(t.Element) + "[]"
	case iceberg.DecimalType:
		return fmt.Sprintf("decimal(%d,%d)", t.Precision(), t.Scale())
	case iceberg.BooleanType:
		return "boolean"
	case iceberg.Int32Type:
		return "integer"
	case iceberg.Int64Type:
		return "bigint"
	case iceberg.Float32Type:
		return "real"
	case iceberg.Float64Type:
		return "double"
	case iceberg.StringType:
		return "varchar"
	case iceberg.BinaryType:
		return "blob"
	case iceberg.TimestampType:
		return "timestamp"
	case iceberg.TimestampTzType:
		return "timestamptz"
	}
	return t.String() // date, time
}

// covers reports whether the table has all of the columns, in all their depth.
func covers(table, columns []warehouse.Column) bool {
	all, err := merge(table, columns)
	return err == nil && slices.EqualFunc(all, table, func(a, b warehouse.Column) bool { return typeName(a.Type) == typeName(b.Type) })
}

// columnsOf returns the columns of a table that there is.
func columnsOf(schema *iceberg.Schema) []warehouse.Column {
	var out []warehouse.Column
	for _, f := range schema.Fields() {
		out = append(out, warehouse.Column{Name: f.Name, Type: f.Type, Doc: f.Doc})
	}
	return out
}

func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func quoteText(s string) string { return `'` + strings.ReplaceAll(s, `'`, `''`) + `'` }
