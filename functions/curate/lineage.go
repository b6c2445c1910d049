package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/ingest"
	"millrace/functions/curate/internal/lineage"
	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/quality"
	"millrace/functions/curate/internal/warehouse"
)

// lineageWithin is how long a run waits for the lineage service at its end.
const lineageWithin = 20 * time.Second

// tracing tells a lineage service, or a file, of a run while it goes on: a job for the run, one for each step, and of a step one for each table or model. START goes out where there is work, END where it is done, so
// that a run that dies leaves its STARTs without an end. A step that finds nothing to do is none, and so is a run of such steps. nil tells nobody.
type tracing struct {
	s       *session
	id      string
	open    func() (*lineage.Emitter, error)
	emitter *lineage.Emitter // nil until there is work, and where nobody is to be told
	opened  bool
	err     error
	run     *lineage.Run
	name    string       // of the step
	step    *lineage.Run // nil until it finds work
	model   *lineage.Run // that is being built
}

// tracing is for a run of that id, a UUID.
func (s *session) tracing(id string) *tracing { return &tracing{s: s, id: id, open: s.emitter} }

// begin says which step is next.
func (t *tracing) begin(step string) {
	if t != nil {
		t.name, t.step = step, nil
	}
}

// working says that the step has found something to do.
func (t *tracing) working() {
	if t == nil || t.step != nil {
		return
	}
	if !t.opened {
		t.opened = true
		t.emitter, t.err = t.open()
		t.run = t.emitter.Start(lineage.Job{Name: "curate", Kind: "RUN"}, nil, t.id, nil, nil)
	}
	t.step = t.emitter.Start(lineage.Job{Name: "curate." + t.name, Kind: "STEP"}, t.run, "", nil, nil)
}

// end says what the step did and that it is over.
func (t *tracing) end(o *outcome, err error) {
	if t == nil {
		return
	}
	if err != nil || o.busy(t.name) {
		t.working()
	}
	if t.step == nil {
		return
	}
	switch t.name {
	case "ingest":
		t.ingested(o.ingest)
	case "quality":
		t.judged(o.quality)
	}
	t.step.End(err, nil, nil)
}

// close says that the run is over, and waits until all was sent.
func (t *tracing) close(ctx context.Context, err error) error {
	if t == nil || !t.opened {
		return nil
	}
	t.run.End(err, nil, nil)
	ctx, cancel := context.WithTimeout(ctx, lineageWithin)
	defer cancel()
	return errors.Join(t.err, t.emitter.Close(ctx))
}

// emitter opens what is configured; nil where nothing is.
func (s *session) emitter() (*lineage.Emitter, error) {
	key := ""
	if s.config.LineageKeyFile != "" {
		b, err := os.ReadFile(s.config.LineageKeyFile)
		if err != nil {
			return nil, fmt.Errorf("OPENLINEAGE_API_KEY_FILE: %w", err)
		}
		key = strings.TrimSpace(string(b))
	}
	return lineage.New(lineage.Config{
		URL: s.config.LineageURL, Key: key, File: s.config.LineageFile, Namespace: s.config.LineageNamespace, Version: version(), Warehouse: s.warehouse.Location(), Clock: s.clock,
	})
}

// ingested tells of each table that took rows.
func (t *tracing) ingested(r ingest.Result) {
	for _, x := range r.Tables {
		name := x.Name.String()
		in := t.landed(x.Name, r)
		out := []lineage.Output{{Dataset: t.emitter.Table(name, nil), Rows: x.Rows, Bytes: x.Bytes, Files: int64(x.Files)}}
		t.emitter.Start(lineage.Job{Name: "ingest." + name, Kind: "INGEST"}, t.step, "", in, nil).End(nil, in, out)
	}
}

// landed is what a table's rows came from: objects of landing, each kind in its bucket, or the logs themselves.
func (t *tracing) landed(table warehouse.Name, r ingest.Result) []lineage.Input {
	at := func(bucket, name string) lineage.Input {
		return lineage.Input{Dataset: lineage.Dataset{Namespace: "s3://" + bucket, Name: name}}
	}
	switch table {
	case ingest.Landing:
		var in []lineage.Input
		for _, l := range r.Logs {
			if l.Entries > 0 {
				in = append(in, at(l.Bucket, "landing/_log/"+l.Topic+"/"+l.TopicID))
			}
		}
		return in
	case ingest.Dead:
		return []lineage.Input{at(t.s.private.Name(), "landing/dead")}
	}
	return []lineage.Input{at(t.s.public.Name(), "landing/enriched")}
}

// judged tells of each table whose days were looked at, also without a new row.
func (t *tracing) judged(r quality.Result) {
	checks := assertions(r)
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		in := []lineage.Input{{Dataset: t.emitter.Table(name, nil), Assertions: checks[name]}}
		t.emitter.Start(lineage.Job{Name: "quality." + name, Kind: "QUALITY"}, t.step, "", nil, nil).End(nil, in, nil)
	}
}

// modelBegan says that a model's rows are about to be computed.
func (t *tracing) modelBegan(m *model.Model) {
	t.working()
	t.model = t.emitter.Start(t.modelJob(m.Name), t.step, "", t.modelInputs(m.Name), nil)
}

// modelEnded says what became of a model, of one that failed before its rows were computed too.
func (t *tracing) modelEnded(m model.Outcome) {
	r := t.model
	t.model = nil
	switch m.Status {
	case model.Built:
		out := []lineage.Output{{Dataset: t.emitter.Table(t.modelJob(m.Name).Name, nil), Rows: m.Counts.Added + m.Counts.Replaced}}
		r.End(nil, t.modelInputs(m.Name), out)
	case model.Failed:
		if r == nil {
			t.working()
			r = t.emitter.Start(t.modelJob(m.Name), t.step, "", t.modelInputs(m.Name), nil)
		}
		r.End(errors.New(m.Cause), t.modelInputs(m.Name), nil)
	case model.Current, model.Skipped:
	}
}

func (t *tracing) modelJob(name string) lineage.Job {
	job := lineage.Job{Name: model.Namespace + "." + name, Kind: "MODEL", Engine: t.s.config.Engine}
	if m := t.s.models.Model(name); m != nil {
		job.Description = m.Description
	}
	return job
}

func (t *tracing) modelInputs(name string) []lineage.Input {
	var in []lineage.Input
	for _, table := range t.s.models.Inputs(name) {
		in = append(in, lineage.Input{Dataset: t.emitter.Table(table, nil)})
	}
	return in
}

// duck gives DuckDB to a step, which asks for it where it has something to do.
func (t *tracing) duck(ctx context.Context) (*duck.DB, error) {
	t.working()
	return t.s.duck(ctx)
}

// assertions are the rules' results by table.
func assertions(r quality.Result) map[string][]lineage.Assertion {
	out := map[string][]lineage.Assertion{}
	for _, d := range r.Days {
		for _, c := range d.Checks {
			if c.NotRun != "" { // nothing was asserted
				continue
			}
			out[d.Source] = append(out[d.Source], lineage.Assertion{
				Assertion: c.Metric, Success: !c.Failed(), Column: c.Element, Severity: c.Severity, Name: c.ID, Description: c.Description,
				Expected: c.Threshold.String(), Actual: c.Value.Text,
			})
		}
	}
	return out
}
