// Package jobmetrics tells Prometheus how runs of curate went. A job is gone before anybody scrapes it, so a Pushgateway keeps what the last run said.
//
// It guarantees: a run that failed leaves what the last one that succeeded said of its time; what a run did not look at (quarantine and service levels in one that stopped before) stays as the last one
// that did saw it; what is there no longer (a day released, an alarm gone) is gone from the gateway with the next run that looked.
//
// It does not: count anything (all metrics are gauges of the last run), keep history (table ops.runs does), or repeat a push that failed, since the next run says it all again.
//
// # Decision 2026-11-21: a Pushgateway, and kube-state-metrics without one
//
// Context: a run takes a moment every five minutes and has no port; Prometheus knows of batch jobs by the Pushgateway, by node_exporter's text files, which a pod has no way to, or by what others see of them.
// Decision: PUSHGATEWAY_URL, empty by default, with one group, job="curate"; alerts that need no word of curate's (no run has succeeded) are there a second time, of kube-state-metrics' time of the CronJob's last
// success. Consequences: without a Pushgateway, quarantine, service levels and gaps are seen in ops.quarantine, ops.sla, ops.landing and the report alone. Two lakes that push to one gateway need a
// grouping label each, which URLs of the form http://gateway:9091/metrics/job/... do not have here: give each its own gateway.
package jobmetrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
)

// Job is the group of the Pushgateway that runs write to, and the label job of what they say.
const Job = "curate"

// timeout is how long a push may take: a run is not to wait for it.
const timeout = 10 * time.Second

// Run is what a run tells. A nil map means that the run did not look; an empty one that nothing is there.
type Run struct {
	Ended     time.Time
	Duration  time.Duration
	Steps     map[string]time.Duration // by the step's name: ingest, quality, models, ...
	Succeeded bool                     // every step did what it was to
	Rows      map[string]int64         // rows taken from landing, by the table's name
	Alarms    map[Alarm]int64          // what is wrong with landing entries and objects
	Lost      map[string]int64         // offsets that entries read by this run say are lost, by topic
	Held      map[string]int64         // days in quarantine, by source table
	SLA       map[Level]bool           // whether a service level is kept
	Failed    map[string]int64         // models that failed or were left out since one before them failed: failing tests, or 1 for another reason
}

// Alarm is what is wrong with a topic's landing log or objects.
type Alarm struct {
	Topic, Code string
	Stops       bool // rows are not taken for it
}

// Level is a service level of a table.
type Level struct{ Source, Property string }

// Push writes what the run tells to the Pushgateway at the URL, http(s)://[user:password@]host:port. Its error does not quote the URL's password.
func Push(ctx context.Context, gateway string, r Run) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// The library's errors have the URL in them: user and password go apart from it.
	u, err := url.Parse(gateway)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("push the run's metrics: the Pushgateway's URL is not an http or https one")
	}
	user := u.User
	u.User = nil
	to := push.New(u.String(), Job).Gatherer(registry(r)).Client(&http.Client{Timeout: timeout})
	if user != nil {
		password, _ := user.Password()
		to.BasicAuth(user.Username(), password)
	}
	if err := to.AddContext(ctx); err != nil {
		return fmt.Errorf("push the run's metrics: %w", err)
	}
	return nil
}

// registry has the metrics that the run can tell of.
func registry(r Run) *prometheus.Registry {
	all := prometheus.NewRegistry()
	gauge := func(o prometheus.GaugeOpts, value float64) {
		g := prometheus.NewGauge(o)
		g.Set(value)
		all.MustRegister(g)
	}
	// A family without a series is not sent, and the gateway would keep the one that it has. So that there is one, a series whose labels are empty stands for none.
	vector := func(o prometheus.GaugeOpts, entries int, none float64, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(o, labels)
		all.MustRegister(v)
		if entries == 0 {
			v.WithLabelValues(make([]string, len(labels))...).Set(none)
		}
		return v
	}
	ended := float64(r.Ended.UnixMilli()) / 1000
	gauge(prometheus.GaugeOpts{Name: "millrace_curate_last_run_timestamp_seconds", Help: "When the last run ended, however it went."}, ended)
	succeeded := 0.0
	if r.Succeeded {
		succeeded = 1
		gauge(prometheus.GaugeOpts{Name: "millrace_curate_last_success_timestamp_seconds", Help: "When the last run that succeeded ended."}, ended)
	}
	gauge(prometheus.GaugeOpts{Name: "millrace_curate_last_run_succeeded", Help: "1 where the last run succeeded, 0 where it failed."}, succeeded)

	duration := vector(prometheus.GaugeOpts{Name: "millrace_curate_run_duration_seconds", Help: "How long the last run took, by step; all is the whole run."}, 1, 0, "step")
	duration.WithLabelValues("all").Set(r.Duration.Seconds())
	for step, took := range r.Steps {
		duration.WithLabelValues(step).Set(took.Seconds())
	}
	if r.Rows != nil {
		v := vector(prometheus.GaugeOpts{Name: "millrace_curate_run_rows", Help: "Rows that the last run took from landing, by table."}, len(r.Rows), 0, "table")
		for table, n := range r.Rows {
			v.WithLabelValues(table).Set(float64(n))
		}
	}
	if r.Alarms != nil {
		v := vector(prometheus.GaugeOpts{Name: "millrace_curate_landing_alarms", Help: "What is wrong with landing entries and objects, by topic and code; stops is true where rows are not taken for it."}, len(r.Alarms), 0, "topic", "code", "stops")
		for a, n := range r.Alarms {
			stops := "false"
			if a.Stops {
				stops = "true"
			}
			v.WithLabelValues(a.Topic, a.Code, stops).Set(float64(n))
		}
	}
	if r.Lost != nil {
		v := vector(prometheus.GaugeOpts{Name: "millrace_curate_lost_offsets", Help: "Offsets that the entries read by the last run say are lost, by topic."}, len(r.Lost), 0, "topic")
		for topic, n := range r.Lost {
			v.WithLabelValues(topic).Set(float64(n))
		}
	}
	if r.Held != nil {
		v := vector(prometheus.GaugeOpts{Name: "millrace_curate_quarantined_days", Help: "Days whose rows are held back, by source table."}, len(r.Held), 0, "source")
		for source, n := range r.Held {
			v.WithLabelValues(source).Set(float64(n))
		}
	}
	if r.SLA != nil {
		v := vector(prometheus.GaugeOpts{Name: "millrace_curate_sla_met", Help: "1 where the service level is kept, 0 where it is missed, by source table and property."}, len(r.SLA), 1, "source", "property")
		for l, met := range r.SLA {
			value := 0.0
			if met {
				value = 1
			}
			v.WithLabelValues(l.Source, l.Property).Set(value)
		}
	}
	if r.Failed != nil {
		v := vector(prometheus.GaugeOpts{Name: "millrace_curate_model_failures", Help: "Failing tests of a model that is not up to date, or 1 where it failed otherwise, by model."}, len(r.Failed), 0, "model")
		for model, n := range r.Failed {
			v.WithLabelValues(model).Set(float64(max(n, 1)))
		}
	}
	return all
}
