// Package column says what of a contract is which column of the lake: landing objects (load-lake) and the warehouse's tables (curate) have the same ones.
//
// It guarantees: a field's column never depends on an event; names are in lower case, since Iceberg and Trino ignore case, and no two fields of one object share one (package contract refuses that).
//
// It does not: know Parquet or Iceberg. How a scalar is written is each format's own business.
package column

import (
	"strings"

	"millrace/shared/contract"
)

// Shape is what kind of column a field has.
type Shape uint8

// The shapes of columns.
const (
	JSON   Shape = iota // one text that holds JSON: any value, an object of unknown fields, an array of anything
	Struct              // a column for each of the field's Fields
	List                // a list whose element is the column of the field's Items
	Scalar              // one value of the field's type
)

// Of returns the shape of the field's column.
func Of(f contract.Field) Shape {
	switch f.Type {
	case contract.Any:
		return JSON
	case contract.Object:
		if len(f.Fields) == 0 {
			return JSON
		}
		return Struct
	case contract.Array:
		if f.Items == nil {
			return JSON
		}
		return List
	case contract.String, contract.Integer, contract.Number, contract.Decimal, contract.Boolean, contract.Date, contract.Timestamp, contract.Time:
		return Scalar
	}
	return JSON
}

// Name returns the name of the field's column.
func Name(f contract.Field) string { return strings.ToLower(f.Name) }
