package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"millrace/functions/curate/internal/fault"
	"millrace/functions/curate/internal/ingest"
	"millrace/functions/curate/internal/jobmetrics"
	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/report"
)

// publish tells of the run, where there is something to tell: ops.runs, the report, beside the tables and in a file, and lineage. The metrics come last and of every run: a run that could not be told of is
// none that succeeded, since it ends with 1.
func (s *session) publish(ctx context.Context, o *outcome) error {
	var errs []error
	if o.worked() {
		errs = s.tell(ctx, o)
	} else {
		s.log.Info("nothing new", "duration", o.end.Sub(o.start))
	}
	if err := o.trace.close(ctx, o.failed()); err != nil {
		// Who reads the tables does not wait for who draws them.
		s.log.Warn("lineage was not sent", "error", err)
	}
	if s.config.PushgatewayURL != "" {
		m := o.metrics()
		m.Succeeded = m.Succeeded && len(errs) == 0
		if err := jobmetrics.Push(ctx, s.config.PushgatewayURL, m); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// tell writes ops.runs and the report; what of it fails keeps nothing else from being written.
func (s *session) tell(ctx context.Context, o *outcome) []error {
	var errs []error
	if err := s.record(ctx, o); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", tableRuns, err))
	}
	key := path.Join(s.config.Prefix, "_reports", o.start.Format("2006-01-02"), o.id+".html")
	var page bytes.Buffer
	found, err := s.findings(ctx, o)
	if err != nil {
		errs = append(errs, fault.Hide(err))
	}
	if err := report.Render(&page, s.report(o, found)); err != nil {
		errs = append(errs, err)
	} else {
		if err := s.public.Put(ctx, key, page.Bytes()); err != nil {
			errs = append(errs, fmt.Errorf("report %s: %w", key, err))
		}
		if s.config.Report != "" {
			if err := os.WriteFile(s.config.Report, page.Bytes(), 0o640); err != nil {
				errs = append(errs, fmt.Errorf("REPORT: %w", err))
			}
		}
	}
	s.log.Info("run", "run_id", o.id, "rows", o.ingest.Rows(), "duration", o.end.Sub(o.start), "report", key)
	return errs
}

// metrics is what the run tells Prometheus.
func (o *outcome) metrics() jobmetrics.Run {
	r := jobmetrics.Run{
		Ended: o.end, Duration: o.end.Sub(o.start), Steps: map[string]time.Duration{}, Succeeded: o.failed() == nil,
		Rows: map[string]int64{}, Alarms: map[jobmetrics.Alarm]int64{}, Lost: map[string]int64{}, Failed: map[string]int64{},
	}
	for _, x := range o.steps {
		r.Steps[x.name] = x.wall
	}
	for _, t := range o.ingest.Tables {
		r.Rows[t.Name.String()] += t.Rows
	}
	for _, a := range o.ingest.Alarms {
		if a.Code == ingest.CodeLost { // Lost tells of these, by how many
			continue
		}
		r.Alarms[jobmetrics.Alarm{Topic: a.Topic, Code: string(a.Code), Stops: a.Stops}]++
	}
	for _, l := range o.ingest.Logs {
		if l.Lost > 0 {
			r.Lost[l.Topic] += l.Lost
		}
	}
	if o.did("quality") {
		r.Held = map[string]int64{}
		for _, h := range o.quality.Held {
			r.Held[h.Source]++
		}
	}
	if o.did("sla") && len(o.sla.Levels) > 0 {
		r.SLA = map[jobmetrics.Level]bool{}
		for _, l := range o.sla.Levels {
			if l.Met != nil {
				r.SLA[jobmetrics.Level{Source: l.Source, Property: l.Property}] = *l.Met
			}
		}
	}
	for _, m := range o.models.Models {
		if m.Status != model.Failed && !m.Blocked {
			continue
		}
		n := int64(0)
		for _, t := range m.Tests {
			if !t.Passed {
				n++
			}
		}
		r.Failed[m.Name] = max(n, 1)
	}
	return r
}

// did says whether a step came to its end.
func (o *outcome) did(name string) bool {
	for _, x := range o.steps {
		if x.name == name {
			return x.err == nil
		}
	}
	return false
}
