// Package telemetry gives every function the same logs and metrics: one slog logger, one Prometheus registry, and
// constructors that hold metric names to Prometheus' conventions.
//
// It holds no globals and starts nothing. What is logged is the caller's business; the rule of the house is that payloads,
// attribute values and secrets are not: counts, codes, root ids and error texts are.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Log says how a function logs. Functions embed it in their configuration, so that the variables are the same everywhere.
type Log struct {
	// Level is the least level that is written: debug, info, warn or error.
	Level slog.Level `envconfig:"LOG_LEVEL" default:"info" desc:"debug, info, warn, error"`
	// Format is json (for machines) or text (for people).
	Format Format `envconfig:"LOG_FORMAT" default:"json" desc:"json, text"`
}

// Format is the form of a log line.
type Format string

// The forms of a log line.
const (
	JSON Format = "json"
	Text Format = "text"
)

// UnmarshalText reads a format's name, in any case, and refuses all others.
func (f *Format) UnmarshalText(b []byte) error {
	switch v := Format(strings.ToLower(string(b))); v {
	case JSON, Text:
		*f = v
		return nil
	default:
		return fmt.Errorf("log format %q is neither json nor text", b)
	}
}

// Logger returns a logger that writes to w and names the component (a function's name) in every line.
func Logger(w io.Writer, log Log, component string) *slog.Logger {
	o := &slog.HandlerOptions{Level: log.Level}
	var h slog.Handler = slog.NewJSONHandler(w, o)
	if log.Format == Text {
		h = slog.NewTextHandler(w, o)
	}
	return slog.New(h).With("component", component)
}

// Version returns the version of this build, as the Go tool stamped it: the module's version, or the revision of the checkout with
// "+dirty" where it had changes, or "devel".
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if revision == "" {
		return "devel"
	}
	return revision + dirty
}

// NewRegistry returns a registry with the collectors of the Go runtime and of the process, and with millrace_build_info, which is
// always 1 and carries the component and version.
func NewRegistry(component string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "millrace_build_info",
		Help:        "Always 1; the labels say which function of which version this is.",
		ConstLabels: prometheus.Labels{"component": component, "version": Version()},
	})
	build.Set(1)
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build)
	return r
}

// Latency is the buckets, in seconds, for what takes from a fraction of a millisecond to half a minute.
var Latency = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// Size is the buckets, in bytes, for what takes from a hundred bytes to 16 MiB.
var Size = prometheus.ExponentialBuckets(128, 4, 9)

// Count is the buckets for how many things came together, from one to some thousands.
var Count = []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000}

// Counter registers a counter. Its name must begin with millrace_ and end with _total; labels must have few values (codes, not
// ids). A bad or repeated name is a mistake in the program and panics.
func Counter(r prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	mustName(name, "_total")
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	r.MustRegister(c)
	return c
}

// Histogram registers a histogram. Its name must begin with millrace_ and end with its unit: _seconds, _bytes or _events. A bad or
// repeated name is a mistake in the program and panics.
func Histogram(r prometheus.Registerer, name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	mustName(name, "_seconds", "_bytes", "_events")
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	r.MustRegister(h)
	return h
}

// Gauge registers a gauge that is read when metrics are scraped; value must be safe for concurrent use. The name must begin
// with millrace_ and must not end as a counter's; a bad or repeated name is a mistake in the program and panics.
func Gauge(r prometheus.Registerer, name, help string, value func() float64) {
	mustName(name, "")
	if strings.HasSuffix(name, "_total") {
		panic("telemetry: the gauge " + name + " is named as a counter")
	}
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

func mustName(name string, suffixes ...string) {
	if strings.HasPrefix(name, "millrace_") {
		for _, s := range suffixes {
			if strings.HasSuffix(name, s) {
				return
			}
		}
	}
	panic(fmt.Sprintf("telemetry: metric %s must begin with millrace_ and end with one of %v", name, suffixes))
}
