package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"github.com/google/uuid"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/fault"
	"millrace/functions/curate/internal/ingest"
	"millrace/functions/curate/internal/maintain"
	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/quality"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/telemetry"
)

// outcome is all that a run did and found: what the report, lineage, metrics and ops.runs are made of.
type outcome struct {
	id         string
	start, end time.Time
	steps      []step
	ingest     ingest.Result
	quality    quality.Result
	models     model.Result
	sla        quality.SLAResult
	upkeep     maintain.Result
	// conflictsBefore is the snapshot of ops.conflicts before the first model of the run was built.
	conflictsBefore int64
	conflictsKnown  bool     // it was looked up
	trace           *tracing // nil where nobody is told while the run goes on
	kept            bool     // maintenance was due
}

// step is one step of a run, with what it cost.
type step struct {
	name      string
	wall, cpu time.Duration
	err       error
}

// worked says whether anything was new.
func (o *outcome) worked() bool {
	return o.failed() != nil || slices.ContainsFunc([]string{"ingest", "quality", "models", "sla", "maintenance"}, o.busy)
}

// busy says whether the step found something to do.
func (o *outcome) busy(step string) bool {
	switch step {
	case "ingest":
		return o.ingest.Rows() > 0 || len(o.ingest.Alarms) > 0
	case "quality":
		return len(o.quality.Days) > 0 || len(o.quality.Began)+len(o.quality.Ended) > 0
	case "models":
		return slices.ContainsFunc(o.models.Models, func(m model.Outcome) bool { return m.Status == model.Built || m.Status == model.Failed })
	case "sla":
		return len(o.sla.Levels) > 0
	case "maintenance":
		return o.kept
	}
	return false
}

// failed joins what went wrong.
func (o *outcome) failed() error {
	var errs []error
	for _, s := range o.steps {
		if s.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, s.err))
		}
	}
	return errors.Join(errs...)
}

// do runs a step and notes what it took.
func (o *outcome) do(name string, f func() error) {
	start, cpu := time.Now(), used()
	o.trace.begin(name)
	err := fault.Hide(f())
	o.steps = append(o.steps, step{name, time.Since(start), used() - cpu, err})
	o.trace.end(o, err)
}

// used is the processor time that this process took until now, DuckDB's threads included.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const runText = `curate run takes what landed since the last run into the warehouse's tables: it verifies the landing log, checks quality, removes duplicates, builds the
star schema and measures the service levels. It is what the CronJob calls; where another run is at work it says so, by whom and since when, and ends with 0, or with 1
where that is longer ago than --patience, so that a lock that is stuck does not look like success.

A run that is killed leaves nothing half done: the next one goes on. Where something is wrong with one table or model the others are brought up to date, and the
run ends with 1.
`

func runRun(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	f := newFlags("run", runText)
	patience := f.Duration("patience", 30*time.Minute, "the `time` for which another run may be at work before that is an error")
	every := f.Duration("sla-interval", 15*time.Minute, "measure service levels again after this `time`, also where nothing is new")
	if err := f.parse(args, stdout, 0); err != nil {
		return err
	}
	if err := borrow(f.dir); err != nil {
		return err
	}
	s, err := open(ctx, stderr, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	unlock, err := s.warehouse.Lock(ctx)
	if errors.Is(err, warehouse.ErrBusy) {
		return s.busy(err, *patience)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	o := s.run(ctx, *every)
	return errors.Join(o.failed(), s.publish(context.WithoutCancel(ctx), o))
}

// run does the steps. Each catches up from its tables' own checkpoints, so that one that fails keeps back no more than what needs it.
func (s *session) run(ctx context.Context, every time.Duration) *outcome {
	id, err := uuid.NewV7()
	o := &outcome{id: id.String(), start: s.clock().UTC(), trace: s.tracing(id.String())}
	if err != nil {
		o.steps = append(o.steps, step{name: "run id", err: err})
		return o
	}
	o.do("ingest", func() (err error) {
		with := s.ingest(ctx)
		with.DB = func() (*duck.DB, error) { return o.trace.duck(ctx) }
		o.ingest, err = ingest.Run(ctx, with)
		if slices.ContainsFunc(o.ingest.Logs, func(l ingest.LogResult) bool { return l.Entries > 0 }) {
			err = errors.Join(err, ingest.EnsureDead(ctx, s.warehouse))
		}
		return errors.Join(err, o.ingest.Stopped())
	})
	o.do("quality", func() (err error) {
		with := s.quality(o.id)
		with.DB = o.trace.duck
		o.quality, err = quality.Run(ctx, with)
		return err
	})
	o.do("models", func() (err error) {
		with := s.model(o.quality.Held)
		with.Began = func(m *model.Model) {
			o.trace.modelBegan(m)
			if o.conflictsKnown {
				return
			}
			o.conflictsKnown = true
			var err error
			if o.conflictsBefore, err = s.snapshotOf(ctx, model.ConflictsTable); err != nil { // the report then names older ones, too
				s.log.WarnContext(ctx, "conflicts of this run cannot be told from others", "error", err)
			}
		}
		with.Ended = o.trace.modelEnded
		o.models, err = model.Run(ctx, with)
		if failed := o.models.Failed(); len(failed) > 0 {
			err = errors.Join(err, fmt.Errorf("not built: %q", failed), s.roomless(o.models))
		}
		return err
	})
	o.do("sla", func() (err error) {
		o.sla, err = quality.SLA(ctx, quality.SLAOptions{
			Warehouse: s.warehouse, DB: o.trace.duck, Contracts: s.contracts, RunID: o.id, Clock: s.clock, Logger: s.log, Interval: every,
		})
		return err
	})
	o.do("maintenance", func() (err error) {
		if s.config.MaintainEvery == 0 {
			return nil
		}
		if o.kept, err = maintain.Due(ctx, s.warehouse, s.clock(), s.config.MaintainEvery); err == nil && o.kept {
			o.trace.working()
			o.upkeep, err = maintain.Run(ctx, s.upkeep(ctx, false))
		}
		return err
	})
	for i := range o.steps { // the first one that lacked room says what to do, for all of them
		if dir := s.config.scratch(); lacksRoom(o.steps[i].err, dir) {
			o.steps[i].err = full(o.steps[i].err, dir)
			break
		}
	}
	o.end = s.clock().UTC()
	return o
}

// roomless is the cause of the first model that was not built for want of room in the scratch directory; nil where there is none.
func (s *session) roomless(r model.Result) error {
	for _, m := range r.Models {
		if m.Status != model.Failed {
			continue
		}
		if err := errors.New(m.Cause); lacksRoom(err, s.config.scratch()) {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	return nil
}

func (s *session) quality(id string) quality.Options {
	return quality.Options{Warehouse: s.warehouse, DB: s.duck, Contracts: s.contracts, RunID: id, Clock: s.clock, Logger: s.log}
}

func (s *session) model(held quality.Holds) model.Options {
	return model.Options{
		Set: s.models, Warehouse: s.warehouse, Engine: s.engine, Held: held.Held, Window: s.config.DedupWindow, Now: s.clock, Logger: s.log,
	}
}

// version is the program's, for reports.
func version() string { return telemetry.Version() }
