package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/contract"
	"millrace/shared/delivery"
	"millrace/shared/enrichment"
	"millrace/shared/event"
)

const testContract = `apiVersion: v3.1.0
kind: DataContract
id: test
version: 0.0.1
status: active
customProperties:
  - {property: eventType, value: %s}
schema:
  - name: payload
    properties: [{name: k, logicalType: string}]
`

// writeContract writes a contract file with a time of its own, so that a change is one on file systems with coarse clocks.
func writeContract(t *testing.T, dir, name, text string, changes int) {
	t.Helper()
	path := filepath.Join(dir, name+".odcs.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 21, 12, 0, changes, 0, time.UTC)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

// Guards good events against an operator's slip: where the contract's file is wrong they come again and are no dead letters, other types pass, what is unknown
// is dead at once, the metric and the log name the file, and the mended file lets them through.
func TestEventsWaitForAMendedContract(t *testing.T) {
	dir := t.TempDir()
	good := fmt.Sprintf(testContract, "Good")
	bad := strings.Replace(fmt.Sprintf(testContract, "Bad"), "logicalType", "logicalTyp", 1)
	// A lookup in a table that is not there can be seen by this function alone.
	noTable := strings.Replace(strings.Replace(fmt.Sprintf(testContract, "NoTable"), "schema:\n", `  - property: enrichmentSteps
    value: [{name: x, lookup: {table: absent, column: id, key: /k, fields: {v: v}, onMissing: fail}}]
schema:
  - {name: enrichment, properties: [{name: v, logicalType: string}]}
`, 1), "payload", "test", 1)
	writeContract(t, dir, "good", good, 0)
	writeContract(t, dir, "bad", bad, 0)
	writeContract(t, dir, "notable", noTable, 0)

	tables, err := enrichment.Reference()
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	registry := prometheus.NewRegistry()
	sink, dead := &topic{}, &topic{}
	h := newEnricher(sink, tables, slog.New(slog.NewJSONHandler(&logged, nil)), registry)
	source, err := contract.Open(t.Context(), dir, h.accept)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bad.odcs.yaml", "logicalTyp not found", "events of Bad 0-0-1 wait", "notable.odcs.yaml", `no reference table \"absent\"`, "correct the file"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, logged.String())
		}
	}
	invalid := func(n int) {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "millrace_contract_files_invalid" {
				if got := f.GetMetric()[0].GetGauge().GetValue(); got != float64(n) {
					t.Errorf("%v files invalid, want %d", got, n)
				}
				return
			}
		}
		t.Error("no metric of invalid files")
	}
	invalid(2)

	events := []*event.Event{
		raw(t, "good", "Good", "0-0-1", `{}`), raw(t, "bad", "Bad", "0-0-1", `{}`), raw(t, "assumed", "Bad", "", `{}`),
		raw(t, "notable", "NoTable", "0-0-1", `{"k":"1"}`), raw(t, "other", "Bad", "0-0-2", `{}`), raw(t, "nobody", "Nobody", "0-0-1", `{}`),
		raw(t, "schema", "Bad", "", `{}`),
	}
	events[6].SetDataSchema("urn:millrace:contract:Bad:0-0-2") // which no file is for
	h2 := pipe(h, dead)
	if got := fmt.Sprint(statuses(h2.Handle(t.Context(), events), len(events))); got != "[done retry retry retry done done done]" {
		t.Errorf("outcomes %s", got)
	}
	if got := fmt.Sprint(sink.ids(), dead.ids()); got != "[good] [other nobody schema]" {
		t.Errorf("enriched and dead: %s", got)
	}

	writeContract(t, dir, "bad", fmt.Sprintf(testContract, "Bad"), 1)
	changed, err := source.Reload(t.Context())
	if err != nil || !changed {
		t.Fatalf("%t, %v", changed, err)
	}
	invalid(1)
	if got := fmt.Sprint(statuses(h2.Handle(t.Context(), events[1:4]), 3)); got != "[done done retry]" {
		t.Errorf("after the file was mended: %s", got)
	}

	// Broken again while it runs: what it had goes on.
	writeContract(t, dir, "bad", bad, 2)
	if changed, err := source.Reload(t.Context()); err != nil || !changed {
		t.Fatalf("%t, %v", changed, err)
	}
	invalid(2)
	if got := h.Handle(t.Context(), events[1:2]).Of(0); got.Status != delivery.Done {
		t.Errorf("with the contract that was in use before: %v", got)
	}
}

// Guards whoever reads a dead letter of an event without schemaversion: the version that it was held against stands on it, and goes when it is replayed.
func TestAssumedVersionIsOnTheDeadLetter(t *testing.T) {
	sink, dead := &topic{}, &topic{}
	h := pipe(newTestEnricher(t, sink), dead)
	h.Handle(t.Context(), []*event.Event{
		raw(t, "assumed", taxi, "", `{}`), raw(t, "named", taxi, "0-0-1", `{}`), raw(t, "unknown", "Nobody", "", `{}`), raw(t, "nojson", taxi, "", `x`),
	})
	if len(dead.written) != 4 {
		t.Fatalf("%d dead letters", len(dead.written))
	}
	for i, want := range []string{"0-0-1", "", "", "0-0-1"} {
		if got := event.Attr(dead.written[i], event.FailureVersion); got != want {
			t.Errorf("%s: %s = %q, want %q", dead.written[i].ID(), event.FailureVersion, got, want)
		}
	}
	if got := event.Attr(dead.written[0], event.SchemaVersion); got != "" {
		t.Errorf("the dead letter is not the event as it came: schemaversion %s", got)
	}
	again := raw(t, "again", taxi, "", trip)
	again.SetExtension(event.FailureVersion, "0-0-1")
	again.SetExtension(event.ReplayID, "r")
	h.Handle(t.Context(), []*event.Event{again})
	if len(sink.written) != 1 || event.Attr(sink.written[0], event.FailureVersion) != "" || event.Attr(sink.written[0], event.VersionAssumed) != "true" {
		t.Errorf("replayed: %v", sink.written)
	}
}
