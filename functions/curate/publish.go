package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"millrace/functions/curate/internal/report"
)

// publish tells of the run, where there is something to tell: the report, beside the tables and in a file.
func (s *session) publish(ctx context.Context, o *outcome) error {
	if !o.worked() {
		s.log.Info("nothing new", "duration", o.end.Sub(o.start))
		return nil
	}
	var page bytes.Buffer
	if err := report.Render(&page, s.report(o)); err != nil {
		return err
	}
	var errs []error
	if err := s.record(ctx, o); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", tableRuns, err))
	}
	key := path.Join(s.config.Prefix, "_reports", o.start.Format("2006-01-02"), o.id+".html")
	if err := s.public.Put(ctx, key, page.Bytes()); err != nil {
		errs = append(errs, fmt.Errorf("report %s: %w", key, err))
	}
	if s.config.Report != "" {
		if err := os.WriteFile(s.config.Report, page.Bytes(), 0o640); err != nil {
			errs = append(errs, fmt.Errorf("REPORT: %w", err))
		}
	}
	s.log.Info("run", "run_id", o.id, "rows", o.ingest.Rows(), "duration", o.end.Sub(o.start), "report", key)
	return errors.Join(errs...)
}
