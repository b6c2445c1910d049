//go:build cgo

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/functions/curate/internal/ingest"
	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/quality"
	"millrace/functions/curate/internal/report"
	"millrace/shared/contract"
)

// Guards the report's numbers that no step's result has: conflicts that this run found, and not those of an earlier one; log entries by table; rows that wait on a day that is held, which are those behind what facts took.
func TestReportHasTrueNumbers(t *testing.T) {
	l := newLake(t)
	s := l.session(t)
	s.config.MaintainEvery = 0
	const source, day = "events.enriched_yellowtaxitriprecords_0", "2026-11-20"
	told := func(o *outcome) (report.Run, findings) {
		t.Helper()
		if err := o.failed(); err != nil {
			t.Fatal(err)
		}
		f, err := s.findings(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return s.report(o, f), f
	}
	l.landed(t, s, "first", "", 40)
	if r, f := told(s.run(t.Context(), time.Hour)); len(r.Conflicts) != 0 || len(f.waiting) != 0 || len(r.Ingest) == 0 || r.Ingest[0].Table != source || r.Ingest[0].Entries != 1 || r.Ingest[0].Rows != 40 {
		t.Errorf("%+v", r)
	}
	l.landed(t, s, "second", "replace ('1' || data_hash as data_hash, kafka_timestamp + interval 1 hour as kafka_timestamp)", 3)
	r, _ := told(s.run(t.Context(), time.Hour))
	if len(r.Conflicts) != 3 || r.Conflicted != 3 || len(r.Conflicts[0].Hashes) != 2 || !strings.HasPrefix(r.Conflicts[0].Hashes[1], "1") || r.Conflicts[0].Arrived.Format(time.DateOnly) != day {
		t.Errorf("%d conflicts: %+v", r.Conflicted, r.Conflicts)
	}
	l.landed(t, s, "third", "replace ('2' || data_hash as data_hash, kafka_timestamp + interval 2 hours as kafka_timestamp)", 1)
	if r, _ := told(s.run(t.Context(), time.Hour)); len(r.Conflicts) != 1 || r.Conflicted != 1 || len(r.Conflicts[0].Hashes) != 3 {
		t.Errorf("one more: %+v", r.Conflicts)
	}
	l.landed(t, s, "fourth", "replace (cast(uuid() as varchar) as root_id)", 7)
	o := &outcome{quality: quality.Result{Held: quality.Holds{{Source: source, Day: day, Rule: "few"}, {Source: source, Day: "2026-11-19", Rule: "few"}, {Source: source, Day: "*"}}}}
	if r, _ := told(o); r.Quarantine[0].Rows != 0 {
		t.Errorf("nothing landed since: %+v", r.Quarantine)
	}
	with := s.ingest(t.Context())
	if _, err := ingest.Run(t.Context(), with); err != nil {
		t.Fatal(err)
	}
	if r, _ := told(o); r.Quarantine[0].Rows != 7 || r.Quarantine[1].Rows != 0 || r.Quarantine[2].Rows != 0 {
		t.Errorf("seven rows landed: %+v", r.Quarantine)
	}
	var page bytes.Buffer
	r, _ = told(o)
	if err := report.Render(&page, r); err != nil || !strings.Contains(page.String(), "7 rows wait") {
		t.Errorf("%v", err)
	}
}

// Guards people in example rows: values of fields that a contract classifies are not in the report, of rules as of models' tests, also where the lake has them as they are since the classification came later.
func TestExamplesShowNoClassifiedValues(t *testing.T) {
	set, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	s := &session{contracts: set, config: &config{}, warehouse: newLake(t).warehouse}
	examples := quality.Examples{Columns: []string{"root_id", "host", "url"}, Rows: [][]string{{"r", "jane.example", "/x"}, {"q", "null", "/y"}}}
	near := quality.Check{Rule: quality.Rule{ID: "near", Type: "library", Flag: true}, Ran: true, RowsFailed: 2, Groups: 1, Examples: examples}
	o := &outcome{
		quality: quality.Result{Days: []quality.Day{{Source: "events.enriched_pageview_0", Day: "2026-11-21", Checks: []quality.Check{near}, Unprofiled: "broken"}}},
		models:  model.Result{Models: []model.Outcome{{Name: "fact_page_view", Status: model.Failed, Tests: []model.TestResult{{Name: "x", Columns: []string{"ROOT_ID", "Host"}, Examples: [][]string{{"r", "jane.example"}}, Failures: 1}}}}},
	}
	r := s.report(o, findings{})
	var page bytes.Buffer
	if err := report.Render(&page, r); err != nil {
		t.Fatal(err)
	}
	if text := page.String(); strings.Contains(text, "jane") || strings.Count(text, "(withheld)") != 3 || !strings.Contains(text, "/x") || !strings.Contains(text, "A day could not be profiled") {
		t.Errorf("withheld %d times: %+v", strings.Count(text, "(withheld)"), r)
	}
	if got := fmt.Sprint(r.Rules[0].Examples.Rows[1], examples.Rows[0]); got != "[q null /y] [r jane.example /x]" {
		t.Errorf("%s", got)
	}
}

// The report and the metrics of a run are looked at by hand: go test ./functions/curate -run RunSample, RUN_SAMPLE naming a file for the page, PUSHGATEWAY_URL and OPENLINEAGE_FILE as curate run has them.
func TestRunSample(t *testing.T) {
	file := os.Getenv("RUN_SAMPLE")
	if file == "" {
		t.Skip("RUN_SAMPLE names no file")
	}
	l := newLake(t)
	s := l.session(t)
	l.landed(t, s, "first", "replace (struct_pack(airport_fee := payload.airport_fee, congestion_surcharge := payload.congestion_surcharge, dolocationid := payload.dolocationid, extra := payload.extra, fare_amount := -payload.fare_amount, improvement_surcharge := payload.improvement_surcharge, mta_tax := payload.mta_tax, passenger_count := payload.passenger_count, payment_type := payload.payment_type, pulocationid := payload.pulocationid, ratecodeid := payload.ratecodeid, store_and_fwd_flag := payload.store_and_fwd_flag, tip_amount := payload.tip_amount, tolls_amount := payload.tolls_amount, total_amount := payload.total_amount, tpep_dropoff_datetime := payload.tpep_dropoff_datetime, tpep_pickup_datetime := payload.tpep_pickup_datetime, trip_distance := payload.trip_distance, vendorid := payload.vendorid) as payload)", 2000)
	l.landed(t, s, "second", "replace ('1' || data_hash as data_hash, kafka_timestamp + interval 1 hour as kafka_timestamp)", 3)
	t.Setenv("REPORT", filepath.Clean(file))
	var out, said bytes.Buffer
	if code := run(t.Context(), []string{"run", "--dir", l.dir}, &out, &said); code != 0 {
		t.Errorf("%d: %s%s", code, out.String(), said.String())
	}
}
