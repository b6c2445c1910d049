package telemetry

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Guards the two forms of a log line, and that the level set is honoured: a debug line in production costs money.
func TestLogger(t *testing.T) {
	f := func(log Log, want string) {
		t.Helper()
		var b bytes.Buffer
		l := Logger(&b, log, "collect")
		l.Debug("hidden")
		l.Warn("seen", "n", 1)
		if got := b.String(); !strings.Contains(got, want) || strings.Contains(got, "hidden") || strings.Count(got, "\n") != 1 {
			t.Errorf("%+v wrote %q, want one line with %q", log, got, want)
		}
		if log.Format == JSON && !json.Valid(b.Bytes()) {
			t.Errorf("%q is not JSON", b.String())
		}
	}
	f(Log{Format: JSON}, `"component":"collect","n":1`)
	f(Log{Level: slog.LevelWarn, Format: Text}, `msg=seen component=collect n=1`)
}

// Guards against a typing error in LOG_FORMAT that would go unnoticed.
func TestFormat(t *testing.T) {
	var f Format
	if err := f.UnmarshalText([]byte("TEXT")); err != nil || f != Text {
		t.Errorf("TEXT: %q, %v", f, err)
	}
	if err := f.UnmarshalText([]byte("xml")); err == nil {
		t.Error("xml was taken")
	}
}

// Guards metric names against drifting from Prometheus' conventions, which dashboards rest on.
func TestNames(t *testing.T) {
	r := NewRegistry("collect")
	panics := func(name string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s was accepted", name)
			}
		}()
		f()
	}
	Counter(r, "millrace_events_total", "Events.", "status").WithLabelValues("accepted").Inc()
	Histogram(r, "millrace_batch_events", "Events in a batch.", Count).WithLabelValues().Observe(3)
	Gauge(r, "millrace_admitted_bytes", "Bytes held.", func() float64 { return 1 })
	panics("counter without _total", func() { Counter(r, "millrace_events", "") })
	panics("foreign prefix", func() { Counter(r, "events_total", "") })
	panics("histogram without unit", func() { Histogram(r, "millrace_latency", "", Latency) })
	panics("gauge named as a counter", func() { Gauge(r, "millrace_x_total", "", func() float64 { return 0 }) })
	panics("the same twice", func() { Counter(r, "millrace_events_total", "Events.", "status") })

	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range families {
		seen[f.GetName()] = true
	}
	for _, name := range []string{"millrace_build_info", "millrace_events_total", "millrace_batch_events", "millrace_admitted_bytes", "go_goroutines"} {
		if !seen[name] {
			t.Errorf("%s is not exposed", name)
		}
	}
	var _ prometheus.Gatherer = r
}
