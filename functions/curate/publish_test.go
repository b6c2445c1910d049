//go:build cgo

package main

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"millrace/functions/curate/internal/ingest"
	"millrace/functions/curate/internal/jobmetrics"
	"millrace/functions/curate/internal/maintain"
	"millrace/functions/curate/internal/quality"
	"millrace/shared/landing"
)

// Guards the age metric: a run that ends with 1 since its report could not be written must not count as one that succeeded, and its metrics must come all the same. An error's text
// can hold any bytes, and ops.runs must have it.
func TestRunThatCannotBeToldOf(t *testing.T) {
	model.NameValidationScheme = model.UTF8Validation //nolint:staticcheck // what the decoder needs
	succeeded := []float64{}
	gateway := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		d := expfmt.NewDecoder(r.Body, expfmt.ResponseFormat(r.Header))
		for {
			var f dto.MetricFamily
			if err := d.Decode(&f); err != nil {
				return
			}
			if f.GetName() == "millrace_curate_last_run_succeeded" {
				succeeded = append(succeeded, f.GetMetric()[0].GetGauge().GetValue())
			}
		}
	}))
	defer gateway.Close()
	l := newLake(t)
	t.Setenv("PUSHGATEWAY_URL", gateway.URL)
	t.Setenv("REPORT", filepath.Join(t.TempDir(), "not", "there.html"))
	if err := borrow(l.dir); err != nil {
		t.Fatal(err)
	}
	s, err := open(t.Context(), io.Discard, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	o := &outcome{id: "run", start: time.Unix(1, 0), end: time.Unix(2, 0), kept: true, steps: []step{{name: "ingest"}}}
	if err := s.publish(t.Context(), o); err == nil || !strings.Contains(err.Error(), "REPORT") {
		t.Errorf("%v", err)
	}
	s.config.Report = ""
	o.steps = append(o.steps, step{name: "models", err: errors.New("can't convert 'a\x00b\xff'")})
	if err := s.publish(t.Context(), o); err != nil {
		t.Error(err)
	}
	o.steps = o.steps[:1]
	if err := s.publish(t.Context(), o); err != nil {
		t.Error(err)
	}
	if !slices.Equal(succeeded, []float64{0, 0, 1}) {
		t.Errorf("the gateway heard of success: %v, want 0, 0 and 1", succeeded)
	}
}

// Guards the alarm of a landing log that stands still: what the log only mentions must not raise it, and offsets that are lost are told of once.
func TestAlarmsThatStop(t *testing.T) {
	o := &outcome{ingest: ingest.Result{
		Logs:   []ingest.LogResult{{Topic: "events.raw", Lost: 3}},
		Alarms: []ingest.Alarm{{Code: ingest.CodeGap, Topic: "events.raw", Stops: true}, {Code: ingest.CodeGone, Topic: "events.raw"}, {Code: ingest.CodeLost, Topic: "events.raw"}},
	}}
	m := o.metrics()
	want := map[jobmetrics.Alarm]int64{{Topic: "events.raw", Code: "log_gap", Stops: true}: 1, {Topic: "events.raw", Code: "log_gone"}: 1}
	if !maps.Equal(m.Alarms, want) || m.Lost["events.raw"] != 3 {
		t.Errorf("%v, %v lost", m.Alarms, m.Lost)
	}
}

// Guards against checks that look at nothing and pass: a rule for people is in no count of the report, and lineage asserts nothing of it. And what nobody can release is told without a command to release it.
func TestRulesForPeopleAreNoChecks(t *testing.T) {
	ran := quality.Check{Rule: quality.Rule{ID: "ran", Type: "library", Metric: "rowCount"}, Ran: true, Passed: true}
	text := quality.Check{Rule: quality.Rule{ID: "text", Type: "text", NotRun: "for people"}, Passed: true, Reason: "for people"}
	found := quality.Result{Days: []quality.Day{{Source: "events.a", Day: "2026-11-21", Checks: []quality.Check{text, ran}}}}
	if got := assertions(found)["events.a"]; len(got) != 1 || got[0].Name != "ran" {
		t.Errorf("lineage: %+v", got)
	}
	l := newLake(t)
	if err := borrow(l.dir); err != nil {
		t.Fatal(err)
	}
	s, err := open(t.Context(), io.Discard, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	s.config.LineageFile = filepath.Join(t.TempDir(), "lineage")
	told := &outcome{trace: s.tracing(uuid.NewString())}
	told.do("quality", func() error {
		told.quality = found
		return nil
	})
	if err := told.trace.close(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if told, err := os.ReadFile(s.config.LineageFile); err != nil || strings.Count(string(told), `"name":"quality.events.a"`) != 2 {
		t.Errorf("lineage of a day that was looked at again without a new row: %s, %v", told, err)
	}
	found.Held = quality.Holds{{Source: "events.a", Day: "*", Reason: "the file is broken."}, {Source: "events.a", Day: "2026-11-20", Rule: "few", Reason: "2."}}
	v := s.report(&outcome{quality: found}, findings{}).Verdict()
	if got := strings.Join(v.Reasons, "; "); got != "All days are held back (events.a); A day is held back: 2026-11-20 (events.a)" {
		t.Errorf("reasons: %s", got)
	}
	for _, h := range s.report(&outcome{quality: found}, findings{}).Quarantine {
		if (h.Release == "") != (h.Day == "*") {
			t.Errorf("%+v", h)
		}
	}
	found.Held = nil
	r := s.report(&outcome{quality: found}, findings{})
	if len(r.Rules) != 1 || !strings.Contains(r.Verdict().Headline, "one check") {
		t.Errorf("report: %+v, %s", r.Rules, r.Verdict().Headline)
	}
}

// Guards a lake in which no event has failed yet: its table of dead letters, which dashboards ask for, is there once anything landed. It has no snapshot, which no step of a run and no command may stumble over.
func TestLakeWithoutADeadLetter(t *testing.T) {
	l := newLake(t)
	if err := borrow(l.dir); err != nil {
		t.Fatal(err)
	}
	s, err := open(t.Context(), io.Discard, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	entry := landing.Entry{
		Version: landing.Version, Topic: "events.enriched", TopicID: "id", Sequence: 1, Drain: uuid.NewString(), Time: time.Unix(1_700_000_000, 0).UTC(),
		Partitions: []landing.Partition{{Partition: 0, From: 0, Next: 2, Skipped: []landing.Range{{First: 0, Last: 1, Reason: "deleted"}}}},
	}
	if err := landing.Open(s.public, entry.Topic, entry.TopicID).Append(t.Context(), landing.Entry{}, entry); err != nil {
		t.Fatal(err)
	}
	o := s.run(t.Context(), time.Minute)
	if err := o.failed(); err != nil {
		t.Error(err)
	}
	if r, err := maintain.Run(t.Context(), s.upkeep(t.Context(), false)); err != nil {
		t.Errorf("%v, %+v", err, r)
	}
	var out, said bytes.Buffer
	if code := run(t.Context(), []string{"query", "--dir", l.dir, "--format", "csv", "select count(*) as n from events.dead where failure_code = 'x'"}, &out, &said); code != 0 || !strings.Contains(out.String(), "0") {
		t.Errorf("%d: %s%s", code, out.String(), said.String())
	}
}

// Guards the help: each command is told of once, and is there.
func TestCommandsAreToldOfOnce(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, &out, io.Discard); code != 0 {
		t.Fatal(code)
	}
	for _, c := range commands() {
		if n := strings.Count(out.String(), "\n  curate "+c.name+" "); n != 1 {
			t.Errorf("curate %s stands in the help %d times", c.name, n)
		}
	}
}
