package duck

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/iceberg-go"
)

// Quote returns the name as SQL has it, whatever it holds.
func Quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// Literal returns the text as an SQL string.
func Literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Type returns DuckDB's name of an Iceberg type. Types that DuckDB would not write back as they are (fixed, and those of format 3) are an error.
func Type(t iceberg.Type) (string, error) {
	switch t := t.(type) {
	case iceberg.BooleanType:
		return "BOOLEAN", nil
	case iceberg.Int32Type:
		return "INTEGER", nil
	case iceberg.Int64Type:
		return "BIGINT", nil
	case iceberg.Float32Type:
		return "FLOAT", nil
	case iceberg.Float64Type:
		return "DOUBLE", nil
	case iceberg.DecimalType:
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Precision(), t.Scale()), nil
	case iceberg.DateType:
		return "DATE", nil
	case iceberg.TimeType:
		return "TIME", nil
	case iceberg.TimestampType:
		return "TIMESTAMP", nil
	case iceberg.TimestampTzType:
		return "TIMESTAMP WITH TIME ZONE", nil
	case iceberg.StringType:
		return "VARCHAR", nil
	case iceberg.UUIDType:
		return "UUID", nil
	case iceberg.BinaryType:
		return "BLOB", nil
	case *iceberg.StructType:
		kids := make([]string, len(t.FieldList))
		for i, f := range t.FieldList {
			kid, err := Type(f.Type)
			if err != nil {
				return "", fmt.Errorf("%s: %w", f.Name, err)
			}
			kids[i] = Quote(f.Name) + " " + kid
		}
		if len(kids) == 0 {
			return "", fmt.Errorf("a struct without fields")
		}
		return "STRUCT(" + strings.Join(kids, ", ") + ")", nil
	case *iceberg.ListType:
		kid, err := Type(t.Element)
		if err != nil {
			return "", err
		}
		return kid + "[]", nil
	case *iceberg.MapType:
		key, err := Type(t.KeyType)
		if err != nil {
			return "", err
		}
		value, err := Type(t.ValueType)
		if err != nil {
			return "", err
		}
		return "MAP(" + key + ", " + value + ")", nil
	}
	return "", fmt.Errorf("the type %s is not supported", t)
}

// fieldIDs returns COPY's FIELD_IDS for the columns.
func fieldIDs(fs []iceberg.NestedField) string {
	parts := make([]string, len(fs))
	for i, f := range fs {
		parts[i] = Quote(f.Name) + ": " + fieldID(f.ID, f.Type)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func fieldID(id int, t iceberg.Type) string {
	kids := ""
	switch t := t.(type) {
	case *iceberg.StructType:
		for _, f := range t.FieldList {
			kids += ", " + Quote(f.Name) + ": " + fieldID(f.ID, f.Type)
		}
	case *iceberg.ListType:
		kids = ", element: " + fieldID(t.ElementID, t.Element)
	case *iceberg.MapType:
		kids = ", key: " + fieldID(t.KeyID, t.KeyType) + ", value: " + fieldID(t.ValueID, t.ValueType)
	}
	if kids == "" {
		return strconv.Itoa(id)
	}
	return "{__duckdb_field_id: " + strconv.Itoa(id) + kids + "}"
}

func errNoColumn(name string, all []iceberg.NestedField) error {
	names := make([]string, len(all))
	for i, f := range all {
		names[i] = f.Name
	}
	return fmt.Errorf("no column %q; there are %s", name, strings.Join(names, ", "))
}
