package main

import (
	"errors"
	"time"

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
	uncommitted, unswept, drains *prometheus.CounterVec
	foreign, lag, held, last     *prometheus.GaugeVec
	complete, stopped            *prometheus.GaugeVec
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
		unswept:     telemetry.Counter(r, "millrace_lake_sweep_failures_total", "Sweeps that ended with an error.", "topic"),
		drains:      telemetry.Counter(r, "millrace_lake_drains_total", "Drains by how they ended (complete, time_up, failed, stopped).", "topic", "result"),
		complete:    gauge("millrace_lake_last_complete_drain_timestamp_seconds", "When a drain last reached the topic's end."),
		stopped:     gauge("millrace_lake_stopped", "1 where the last drain stopped until an operator says how to go on: the topic was created anew, or lost events that were drained, or the landing log is gone. Alarm above 0."),
		held:        gauge("millrace_lake_held_offsets", "Offsets of the topic that Kafka had when a drain last looked; where the lag comes near, Kafka is about to delete what is not in the lake."),
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
	m.held.WithLabelValues(topic).Set(float64(p.Held))
	if !p.Last.IsZero() {
		m.last.WithLabelValues(topic).Set(float64(p.Last.UnixMilli()) / 1000)
	}
}

// drained is told how a drain ended.
func (m *metrics) drained(topic string, r drain.Result, err error, now time.Time) {
	stopped, result := 0.0, "time_up"
	switch {
	case errors.Is(err, drain.ErrNewTopic) || errors.Is(err, drain.ErrTruncated) || errors.Is(err, errLostLog):
		stopped, result = 1, "stopped"
	case err != nil:
		result = "failed"
	case r.Done:
		result = "complete"
		m.complete.WithLabelValues(topic).Set(float64(now.UnixMilli()) / 1000)
	}
	m.drains.WithLabelValues(topic, result).Inc()
	if result != "failed" { // an outage says nothing of the topic
		m.stopped.WithLabelValues(topic).Set(stopped)
	}
}

func (m *metrics) swept(topic string, r sweep.Result, err error) {
	failures := m.unswept.WithLabelValues(topic) // shows 0 from the first sweep on
	if err != nil {
		failures.Inc()
	}
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
