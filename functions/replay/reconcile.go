package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/pflag"

	"millrace/functions/replay/internal/reconcile"
	"millrace/shared/progress"
)

// errGap says that the sums do not close.
var errGap = errors.New("events are missing, or the time is not whole: replay trace ID tells the way of one")

type reconcileFlags struct {
	from, to   string
	start, end time.Time
	groups     map[string]string
	format     string
	maxGaps    int
	all        bool
	wait       time.Duration
}

func (f *reconcileFlags) set() *pflag.FlagSet {
	return newFlags("reconcile", &f.format, f.add)
}

func (f *reconcileFlags) add(set *pflag.FlagSet) {
	set.StringVar(&f.from, "from", "24h", "events whose record was written at this `time` or later: 2026-11-21, 2026-11-21T10:00:00Z, or 6h for six hours ago")
	set.StringVar(&f.to, "to", "", "and before this `time` (default now)")
	set.StringToStringVar(&f.groups, "group", defaultGroups(), "the consumer group of each stage, as `stage=group`: what lies behind its committed offset is waiting, not missing")
	set.DurationVar(&f.wait, "wait", 0, "where something waits, look again until nothing does, at most for so long")
	set.IntVar(&f.maxGaps, "max-gaps", 20, "name at most so many events that are missing")
	set.BoolVar(&f.all, "all", false, "name every event that is missing")
}

func (f *reconcileFlags) parse(args []string, now time.Time) error {
	set := f.set()
	if err := set.Parse(args); err != nil {
		return err
	}
	var errs []error
	if set.NArg() > 0 {
		errs = append(errs, fmt.Errorf("reconcile takes no arguments: %q", set.Args()))
	}
	err := checkFormat(f.format)
	if err != nil {
		errs = append(errs, err)
	}
	if f.start, err = moment(f.from, now); err != nil {
		errs = append(errs, fmt.Errorf("--from: %w", err))
	}
	if f.end, err = moment(f.to, now); err != nil {
		errs = append(errs, fmt.Errorf("--to: %w", err))
	}
	if f.end.IsZero() {
		f.end = now.UTC()
	}
	if len(errs) == 0 && !f.start.Before(f.end) {
		errs = append(errs, errors.New("--from must be before --to"))
	}
	if f.groups, err = groupsOf(f.groups); err != nil {
		errs = append(errs, err)
	}
	if f.maxGaps < 0 {
		errs = append(errs, errors.New("--max-gaps must not be negative"))
	}
	if f.all {
		f.maxGaps = math.MaxInt
	}
	return errors.Join(errs...)
}

func runReconcile(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	var f reconcileFlags
	if err := f.parse(args, time.Now()); err != nil {
		return misused(err, stdout, reconcileHelp(&f))
	}
	c, err := readConfig()
	if err != nil {
		return err
	}
	from, err := c.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.close()) }()
	var read reading
	bar := progress.Start(stderr, read.state)
	defer bar.Stop()
	look := func() (*reconcile.Report, error) {
		o := reconcile.Options{From: f.start, To: f.end, Documents: from.search, Scanner: from.search, MaxGaps: f.maxGaps, Progress: read.note}
		stages, err := c.stages(from.kafka, f.groups, stderr)
		if err != nil {
			return nil, err
		}
		o.Raw, o.Enriched, o.Dead = stages[0].Stage, stages[1].Stage, stages[2].Stage
		return reconcile.Run(ctx, o)
	}
	report, err := settle(ctx, f.wait, look)
	bar.Stop()
	if err != nil {
		return err
	}
	err = tell(stdout, f.format, report, report.Print)
	switch {
	case err == nil && !report.Closed():
		return errGap
	case err == nil && f.wait > 0 && report.Waits() > 0:
		return fmt.Errorf("%d are still on their way after %s", report.Waits(), f.wait)
	}
	return err
}

// settle looks again until nothing waits, or the time is up.
func settle(ctx context.Context, wait time.Duration, look func() (*reconcile.Report, error)) (*reconcile.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, max(wait, time.Nanosecond))
	defer cancel()
	for {
		report, err := look()
		if err != nil || report.Waits() == 0 {
			return report, err
		}
		select {
		case <-ctx.Done():
			return report, nil
		case <-time.After(2 * time.Second):
		}
	}
}
