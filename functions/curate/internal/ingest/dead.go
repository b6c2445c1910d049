package ingest

import (
	"context"
	"slices"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/landing"
)

// deadColumns are those of events.dead as load-lake lands dead letters: texts, but for these.
func deadColumns() []warehouse.Column {
	types := map[string]iceberg.Type{
		"time": iceberg.PrimitiveTypes.TimestampTz, "collector_tstamp": iceberg.PrimitiveTypes.TimestampTz, "failure_time": iceberg.PrimitiveTypes.TimestampTz, "kafka_timestamp": iceberg.PrimitiveTypes.TimestampTz,
		"replay_count": iceberg.PrimitiveTypes.Int64, "kafka_partition": iceberg.PrimitiveTypes.Int32, "kafka_offset": iceberg.PrimitiveTypes.Int64, PayloadBytes: iceberg.PrimitiveTypes.Int64,
	}
	var out []warehouse.Column
	for _, name := range order {
		if slices.Contains(withheld, name) || name == "enrichment" || name == "_rescued" {
			continue
		}
		c := warehouse.Column{Name: name, Type: types[name], Doc: docs[name]}
		if c.Type == nil {
			c.Type = iceberg.PrimitiveTypes.String
		}
		out = append(out, c)
	}
	return out
}

// EnsureDead makes events.dead where nobody's event has failed yet, so that whoever asks for failures finds none, not an error. A table that there is stays as it is.
func EnsureDead(ctx context.Context, w *warehouse.Warehouse) error {
	names, err := w.Tables(ctx)
	if err != nil || slices.Contains(names, Dead) {
		return err
	}
	_, err = w.Ensure(ctx, Dead, warehouse.Spec{
		Columns: tableOf(deadColumns()), Partition: []string{ArrivalDate}, Properties: map[string]string{KindProperty: landing.KindDead, TypeProperty: "", ModelProperty: ""},
	})
	return err
}
