package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/functions/load-lake/internal/drain"
	"millrace/functions/load-lake/internal/sweep"
)

// value returns what a registry's counter or gauge shows for topic t and, where it has one, the result.
func value(t *testing.T, r *prometheus.Registry, name, result string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			// Labels are in order: result, topic.
			if f.GetName() == name && (result == "" || m.GetLabel()[0].GetValue() == result) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// Guards the alarms: a topic that waits for an operator shows so until it goes on, an outage between changes nothing about that, and only a drain that reached the end counts as one.
func TestDrainMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	at := time.Unix(1000, 0)
	f := func(r drain.Result, err error, stopped, complete float64) {
		t.Helper()
		at = at.Add(time.Second)
		m.drained("t", r, err, at)
		if got := value(t, registry, "millrace_lake_stopped", ""); got != stopped {
			t.Errorf("%+v, %v: stopped %v", r, err, got)
		}
		if got := value(t, registry, "millrace_lake_last_complete_drain_timestamp_seconds", ""); got != complete {
			t.Errorf("%+v, %v: complete at %v", r, err, got)
		}
	}
	f(drain.Result{}, errors.New("outage"), 0, 0)
	f(drain.Result{Entries: 1}, nil, 0, 0)
	f(drain.Result{Done: true}, nil, 0, 1003)
	f(drain.Result{}, fmt.Errorf("drain: %w", drain.ErrTruncated), 1, 1003)
	f(drain.Result{}, errors.New("outage"), 1, 1003)
	f(drain.Result{}, fmt.Errorf("drain: %w", drain.ErrNewTopic), 1, 1003)
	f(drain.Result{Done: true}, nil, 0, 1007)
	for result, want := range map[string]float64{"failed": 2, "time_up": 1, "complete": 2, "stopped": 2} {
		if got := value(t, registry, "millrace_lake_drains_total", result); got != want {
			t.Errorf("%s: %v", result, got)
		}
	}
	m.swept("t", sweep.Result{}, nil)
	m.swept("t", sweep.Result{}, errors.New("too many"))
	if got := value(t, registry, "millrace_lake_sweep_failures_total", ""); got != 1 {
		t.Errorf("%v sweeps failed", got)
	}
}
