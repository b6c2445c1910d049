package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/landing"
	"millrace/shared/telemetry"
)

// metrics are for rates and alarms; the count of record is the landing log.
type metrics struct {
	entries, rows, bytes, lost *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	return &metrics{
		entries: telemetry.Counter(r, "millrace_lake_entries_total", "Entries published in the landing log.", "topic"),
		rows:    telemetry.Counter(r, "millrace_lake_rows_total", "Rows published.", "topic"),
		bytes:   telemetry.Counter(r, "millrace_lake_object_bytes_total", "Bytes of objects published.", "topic"),
		lost:    telemetry.Counter(r, "millrace_lake_lost_offsets_total", "Offsets that Kafka no longer had: alarm above 0.", "topic"),
	}
}

func (m *metrics) published(e landing.Entry) {
	m.entries.WithLabelValues(e.Topic).Inc()
	lost := m.lost.WithLabelValues(e.Topic) // shows 0 from the first entry on
	for _, o := range e.Objects {
		m.rows.WithLabelValues(e.Topic).Add(float64(o.Rows))
		m.bytes.WithLabelValues(e.Topic).Add(float64(o.Bytes))
	}
	for _, p := range e.Partitions {
		for _, l := range p.Lost {
			lost.Add(float64(l.Last - l.First + 1))
		}
	}
}
