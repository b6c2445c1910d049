package jobmetrics

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// gateway keeps metrics by family, as a Pushgateway does for POST: a family that comes takes the place of the one of its name, the others stay.
type gateway struct {
	families map[string]*dto.MetricFamily
	paths    []string
	methods  []string
	users    []string
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.paths, g.methods = append(g.paths, r.URL.Path), append(g.methods, r.Method)
	user, password, _ := r.BasicAuth()
	g.users = append(g.users, user+"/"+password)
	d := expfmt.NewDecoder(r.Body, expfmt.ResponseFormat(r.Header))
	for {
		var f dto.MetricFamily
		if err := d.Decode(&f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		g.families[f.GetName()] = &f
	}
}

// value returns a metric's value by its labels, in order.
func (g *gateway) value(name string, labels ...string) (float64, bool) {
	for _, m := range g.families[name].GetMetric() {
		var got []string
		for _, l := range m.GetLabel() {
			got = append(got, l.GetName()+"="+l.GetValue())
		}
		if strings.Join(got, ",") == strings.Join(labels, ",") {
			return m.GetGauge().GetValue(), true
		}
	}
	return 0, false
}

// Guards the alarm that no run succeeds: a failed run must not look like a good one nor take its time away, a day that was released must not be told of for ever, and what a failed run did not look at must stay.
func TestPush(t *testing.T) {
	model.NameValidationScheme = model.UTF8Validation //nolint:staticcheck // what the decoder needs
	g := &gateway{families: map[string]*dto.MetricFamily{}}
	server := httptest.NewServer(g)
	defer server.Close()
	at := time.Unix(1_700_000_000, 0)
	good := Run{
		Ended: at, Duration: 2 * time.Second, Steps: map[string]time.Duration{"ingest": time.Second}, Succeeded: true, Rows: map[string]int64{"events.dead": 7},
		Alarms: map[Alarm]int64{{"events.raw", "gap", true}: 1, {"events.raw", "log_gone", false}: 1}, Lost: map[string]int64{"events.raw": 3}, Held: map[string]int64{"events.a": 1, "events.b": 2},
		SLA: map[Level]bool{{"events.a", "freshness"}: false, {"events.a", "volume"}: true}, Failed: map[string]int64{"fact_trip": 0},
	}
	if err := Push(t.Context(), strings.Replace(server.URL, "http://", "http://ann:it's%20secret@", 1), good); err != nil {
		t.Fatal(err)
	}
	if g.paths[0] != "/metrics/job/curate" || g.methods[0] != http.MethodPost || g.users[0] != "ann/it's secret" {
		t.Errorf("%s %s by %q", g.methods[0], g.paths[0], g.users[0])
	}
	has := func(want float64, name string, labels ...string) {
		t.Helper()
		if got, ok := g.value(name, labels...); !ok || got != want {
			t.Errorf("%s %v: %v, %v; want %v", name, labels, got, ok, want)
		}
	}
	has(1_700_000_000, "millrace_curate_last_success_timestamp_seconds")
	has(1, "millrace_curate_last_run_succeeded")
	has(2, "millrace_curate_run_duration_seconds", "step=all")
	has(1, "millrace_curate_run_duration_seconds", "step=ingest")
	has(7, "millrace_curate_run_rows", "table=events.dead")
	has(1, "millrace_curate_landing_alarms", "code=gap", "stops=true", "topic=events.raw")
	has(1, "millrace_curate_landing_alarms", "code=log_gone", "stops=false", "topic=events.raw")
	has(3, "millrace_curate_lost_offsets", "topic=events.raw")
	has(0, "millrace_curate_sla_met", "property=freshness", "source=events.a")
	has(1, "millrace_curate_sla_met", "property=volume", "source=events.a")
	has(1, "millrace_curate_model_failures", "model=fact_trip")

	if err := Push(t.Context(), server.URL, Run{Ended: at.Add(time.Hour), Duration: time.Second}); err != nil {
		t.Fatal(err)
	}
	has(1_700_000_000, "millrace_curate_last_success_timestamp_seconds")
	has(1_700_003_600, "millrace_curate_last_run_timestamp_seconds")
	has(0, "millrace_curate_last_run_succeeded")
	has(2, "millrace_curate_quarantined_days", "source=events.b")

	good.Held = map[string]int64{"events.a": 0}
	if err := Push(t.Context(), server.URL, good); err != nil {
		t.Fatal(err)
	}
	has(0, "millrace_curate_quarantined_days", "source=events.a")
	if _, ok := g.value("millrace_curate_quarantined_days", "source=events.b"); ok {
		t.Error("days of a source that has none any more")
	}

	// A run that looked and found nothing at all: the last day was released, the gap was mended. No alert may go on.
	none := Run{
		Ended: at, Succeeded: true, Rows: map[string]int64{}, Alarms: map[Alarm]int64{}, Lost: map[string]int64{}, Held: map[string]int64{}, SLA: map[Level]bool{}, Failed: map[string]int64{},
	}
	if err := Push(t.Context(), server.URL, none); err != nil {
		t.Fatal(err)
	}
	for name, rests := range map[string]float64{"run_rows": 0, "landing_alarms": 0, "lost_offsets": 0, "quarantined_days": 0, "sla_met": 1, "model_failures": 0} {
		for _, m := range g.families["millrace_curate_"+name].GetMetric() {
			if got := m.GetGauge().GetValue(); got != rests {
				t.Errorf("%s of a run that found nothing: %v in %v, want %v", name, got, m, rests)
			}
		}
	}
}

// Guards a run against a gateway that is away or refuses: that must be an error at once, without the password.
func TestPushFails(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadRequest) }))
	defer server.Close()
	if err := Push(t.Context(), strings.Replace(server.URL, "http://", "http://user:secret@", 1), Run{}); err == nil || !strings.Contains(err.Error(), "400") || strings.Contains(err.Error(), "secret") {
		t.Errorf("a refusal: %v", err)
	}
	if err := Push(t.Context(), "http://user:secret@host:port", Run{}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("no URL: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Push(ctx, "http://user:secret@127.0.0.1:1", Run{}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}
