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

	"millrace/functions/curate/internal/lineage"
	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/quality"
)

// lineageWithin is how long a run waits for the lineage service at its end.
const lineageWithin = 20 * time.Second

// trace tells lineage services of the run, its ingest and its models. All of it goes out at the end of the run, since a run that finds nothing new is none. What cannot be sent is a
// warning: tables are not less right for it.
func (s *session) trace(ctx context.Context, o *outcome) error {
	key := ""
	if s.config.LineageKeyFile != "" {
		b, err := os.ReadFile(s.config.LineageKeyFile)
		if err != nil {
			return fmt.Errorf("OPENLINEAGE_API_KEY_FILE: %w", err)
		}
		key = strings.TrimSpace(string(b))
	}
	e, err := lineage.New(lineage.Config{ //nolint:contextcheck // it sends beside the run until Close, which has the context
		URL: s.config.LineageURL, Key: key, File: s.config.LineageFile, Namespace: s.config.LineageNamespace, Version: version(), Warehouse: s.warehouse.Location(), Clock: s.clock,
	})
	if e == nil || err != nil {
		return err
	}
	run := e.Start(lineage.Job{Name: "curate", Kind: "RUN"}, nil, o.id, nil, nil)
	checks := assertions(o.quality)
	for _, t := range o.ingest.Tables {
		name := t.Name.String()
		in := []lineage.Input{{Dataset: lineage.Dataset{Namespace: "s3://" + s.public.Name(), Name: "landing"}}}
		out := []lineage.Output{{Dataset: e.Table(name, nil), Rows: t.Rows, Bytes: t.Bytes, Files: int64(t.Files)}}
		e.Start(lineage.Job{Name: "ingest." + name, Kind: "INGEST"}, run, "", in, nil).End(nil, in, out)
	}
	for _, name := range slices.Sorted(maps.Keys(checks)) { // also of days that were looked at again without a new row
		in := []lineage.Input{{Dataset: e.Table(name, nil), Assertions: checks[name]}}
		e.Start(lineage.Job{Name: "quality." + name, Kind: "QUALITY"}, run, "", nil, nil).End(nil, in, nil)
	}
	for _, m := range o.models.Models {
		if m.Status != model.Built && m.Status != model.Failed {
			continue
		}
		var in []lineage.Input
		for _, name := range s.models.Inputs(m.Name) {
			in = append(in, lineage.Input{Dataset: e.Table(name, nil)})
		}
		job := lineage.Job{Name: model.Namespace + "." + m.Name, Kind: "MODEL", Engine: s.config.Engine}
		if x := s.models.Model(m.Name); x != nil {
			job.Description = x.Description
		}
		out := []lineage.Output{{Dataset: e.Table(job.Name, nil), Rows: m.Counts.Added + m.Counts.Replaced}}
		r := e.Start(job, run, "", in, nil)
		if m.Status == model.Failed {
			r.End(errors.New(m.Cause), in, nil)
			continue
		}
		r.End(nil, in, out)
	}
	run.End(o.failed(), nil, nil)
	ctx, cancel := context.WithTimeout(ctx, lineageWithin)
	defer cancel()
	return e.Close(ctx)
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
