//go:build cgo

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/warehouse"
	"millrace/functions/curate/models/sample"
)

// Guards quarantine against the command that builds models by hand: a day that came in and that nobody has judged yet (a run was killed behind its ingest) must not get past the rules.
func TestModelsRunJudgesFirst(t *testing.T) {
	l := newLake(t)
	text, err := os.ReadFile("../../shared/contract/contracts/page_view.odcs.yaml")
	if err != nil {
		t.Fatal(err)
	}
	strict := strings.NewReplacer("version: 0.0.1", "version: 0.0.2", "mustBeLessThan: 5", "mustBeLessThan: -1", "severity: warning", "severity: error").Replace(string(text))
	contracts := t.TempDir()
	if err := os.WriteFile(filepath.Join(contracts, "page_view.odcs.yaml"), []byte(strict), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTRACTS", contracts)
	sources := sample.Sources()
	s := sources[slices.IndexFunc(sources, func(s sample.Source) bool { return s.Table == "enriched_pageview_0" })]
	name := warehouse.Name{Namespace: "events", Table: s.Table}
	spec := warehouse.Spec{Partition: []string{"arrival_date"}}
	for _, c := range s.Columns {
		spec.Columns = append(spec.Columns, warehouse.Column{Name: c.Name, Type: c.Type})
	}
	l.add(t, name, spec, s.Query(1, sample.Batch), false)
	table, err := l.warehouse.Load(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	position, err := json.Marshal(map[string]int64{sample.Log: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.warehouse.Commit(t.Context(), table, warehouse.Change{Properties: map[string]string{model.PositionProperty: string(position)}}); err != nil {
		t.Fatal(err)
	}
	var out, said bytes.Buffer
	if code := run(t.Context(), []string{"models", "run", "--dir", l.dir, "--select", "+fact_page_view"}, &out, &said); code != 0 {
		t.Fatalf("%d: %s%s", code, out.String(), said.String())
	}
	if got, _, err := l.query(t, "--format", "csv", "select count(*) as n from fact_page_view"); err != nil || got != "n\r\n0\r\n" {
		t.Errorf("%q, %v: %s", got, err, out.String())
	}
	if got, _, err := l.query(t, "--format", "csv", "select distinct source, rule from ops.quarantine"); err != nil || !strings.Contains(got, "events.enriched_pageview_0,server-errors") {
		t.Errorf("%q, %v", got, err)
	}
}

// A check must not fail since another user of the machine has made a directory first, nor leave its own.
func TestModelsCheckScratch(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	var out, said bytes.Buffer
	check := func() int { return run(t.Context(), []string{"models", "check", "--select", "dim_date"}, &out, &said) }
	if code := check(); code != 0 {
		t.Fatalf("%d: %s%s", code, out.String(), said.String())
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	// A file where a fixed name would lead to stands for another user's directory, which root could write to.
	if err := os.WriteFile(filepath.Join(tmp, "millrace-models-check"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := check(); code != 0 {
		t.Errorf("%d: %s%s", code, out.String(), said.String())
	}
}
