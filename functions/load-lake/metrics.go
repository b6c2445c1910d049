package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"millrace/functions/load-lake/internal/drain"
	"millrace/functions/load-lake/internal/sweep"
	"millrace/shared/landing"
	"millrace/shared/telemetry"
)

// metrics are for rates and alarms; the count of record is the landing log.
type metrics struct {
	entries, rows, bytes, lost   *prometheus.CounterVec
	orphans, orphanBytes, sweeps *prometheus.CounterVec
	uncommitted                  *prometheus.CounterVec
	foreign, lag, last           *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"topic"})
		r.MustRegister(g)
		return g
	}
	return &metrics{
		entries: telemetry.Counter(r, "millrace_lake_entries_total", "Entries published in the landing log.", "topic"),
		rows:    telemetry.Counter(r, "millrace_lake_rows_total", "Rows published.", "topic"),
		bytes:   telemetry.Counter(r, "millrace_lake_object_bytes_total", "Bytes of objects published.", "topic"),
		lost:    telemetry.Counter(r, "millrace_lake_lost_offsets_total", "Offsets that Kafka no longer had: alarm above 0.", "topic"),

		orphans:     telemetry.Counter(r, "millrace_lake_orphans_deleted_total", "Objects deleted that no landing log named.", "topic"),
		orphanBytes: telemetry.Counter(r, "millrace_lake_orphan_bytes_deleted_total", "Their bytes.", "topic"),
		sweeps:      telemetry.Counter(r, "millrace_lake_sweeps_total", "Sweeps that looked at all there was to look at.", "topic"),
		uncommitted: telemetry.Counter(r, "millrace_lake_position_failures_total", "Positions that could not be shown as the consumer group's offsets.", "topic"),
		lag:         gauge("millrace_lake_lag_offsets", "Offsets of the topic that are not in the landing log, when a drain last looked."),
		last:        gauge("millrace_lake_last_entry_timestamp_seconds", "When the landing log's newest entry was written, when a drain last looked."),
		foreign:     gauge("millrace_lake_foreign_objects", "Objects under landing/ that the last sweep saw and that no drain wrote."),
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

func (m *metrics) progress(topic string, p drain.Progress) {
	m.lag.WithLabelValues(topic).Set(float64(p.Lag))
	if !p.Last.IsZero() {
		m.last.WithLabelValues(topic).Set(float64(p.Last.UnixMilli()) / 1000)
	}
}

func (m *metrics) swept(topic string, r sweep.Result) {
	if r.Deleted > 0 {
		m.orphanBytes.WithLabelValues(topic).Add(float64(r.Bytes))
	}
	m.orphans.WithLabelValues(topic).Add(float64(r.Deleted))
	if r.Due {
		m.foreign.WithLabelValues(topic).Set(float64(r.Foreign))
	}
	if r.Complete {
		m.sweeps.WithLabelValues(topic).Inc()
	}
}
