package model

import (
	"slices"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/warehouse"
)

// What both engines' merges have in common: which existing rows meet the new ones, and by which columns they are compared.

const arrivedAt = "arrived_at"

// Arrival is the column that says when a row arrived, by which Build.Window counts; "" where the model does not say.
func (m *Model) Arrival() string {
	if t := m.typeOf(arrivedAt); t == "timestamptz" || t == "timestamp" {
		return arrivedAt
	}
	return ""
}

// Contest returns the columns by which rows of a key are compared, found and told, sorted.
func (b *Build) Contest() []string {
	m := b.Model
	names := slices.Clone(m.UniqueKey)
	for _, o := range m.Order {
		names = append(names, o.Column)
	}
	if m.Partition != "" {
		names = append(names, m.Partition)
	}
	if b.Conflicts { // the key is then root_id
		names = append(names, "data_hash", arrivedAt, "kafka_partition", "kafka_offset")
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Candidates returns those of the target's files in which rows are looked for that have a key of the new ones: the files of the partitions that new rows lie in, and those that can hold rows which arrived within
// the window before the oldest new row. A zero oldest is one that is not known: then all files.
func (b *Build) Candidates(files []warehouse.File, touched Partitions, oldest time.Time) []warehouse.File {
	since := oldest.Add(-b.Window)
	var out []warehouse.File
	for _, f := range files {
		if touched.Has(f, b.Model.Partition) || oldest.IsZero() || !before(f, b.Target.Schema(), since) {
			out = append(out, f)
		}
	}
	return out
}

// before says whether all rows of the file arrived before the time, by its statistics.
func before(f warehouse.File, schema *iceberg.Schema, since time.Time) bool {
	field, ok := schema.FindFieldByName(arrivedAt)
	if !ok {
		return false
	}
	bytes, ok := f.Data.UpperBoundValues()[field.ID]
	if !ok {
		return false
	}
	lit, err := iceberg.LiteralFromBytes(field.Type, bytes)
	if err != nil {
		return false // it is then looked at
	}
	l, ok := lit.(iceberg.TimestampLiteral)
	return ok && int64(l) < since.UnixMicro()
}

// Has says whether the file is of one of the partitions by the column; any is where the column is "", of a table without partitions.
func (p Partitions) Has(f warehouse.File, column string) bool {
	if column == "" {
		return true
	}
	if d, ok := f.Partition[column].(iceberg.Date); ok {
		_, found := slices.BinarySearch(p.Days, d)
		return found
	}
	return p.Null
}

// TestsKeyAlone says whether the key is all that the model tests for uniqueness. Of a merge the rows that were there and have the key of a new one then tell all that the other rows of their partitions would.
func (m *Model) TestsKeyAlone() bool {
	return len(m.UniqueKey) == 1 && !slices.ContainsFunc(m.Tests, func(t Test) bool { return t.Kind == Unique && t.Column != m.UniqueKey[0] })
}
