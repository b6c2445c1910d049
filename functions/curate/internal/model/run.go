package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/functions/curate/internal/fault"
	"millrace/functions/curate/internal/warehouse"
)

// Namespace is where models' tables are.
const Namespace = "star"

// DefaultWindow is for how long before the oldest new row existing rows of other partitions are looked at for copies.
const DefaultWindow = 720 * time.Hour

// Options are what a run needs.
type Options struct {
	Set       *Set
	Warehouse *warehouse.Warehouse
	// Engine is called once, when the first model has work; a run that finds nothing to do opens none. The caller closes what it opened.
	Engine func(ctx context.Context) (Engine, error)
	Select []string // as Set.Select has it; empty: all models
	// FullRefresh has the models built anew from all that their inputs hold, as dbt's --full-refresh: for rows of the past that were changed under them (backfill, erasure).
	FullRefresh bool
	// Held says whether the day (YYYY-MM-DD, of arrival, or null) of the source (events.x) is in quarantine. nil: none is.
	Held     func(source, day string) bool
	Window   time.Duration    // 0: DefaultWindow
	Examples int              // rows of each failing test that are kept for the report; 0: 5
	Now      func() time.Time // nil: time.Now
	Logger   *slog.Logger     // nil: none
	Began    func(m *Model)   // told of each model whose rows are about to be computed; nil: nobody is
	Ended    func(Outcome)    // told what became of each model; nil: nobody is
}

// Status is how a model's part of a run ended.
type Status string

// The statuses.
const (
	Built   Status = "built"   // rows were committed
	Current Status = "current" // nothing was new for it; its checkpoint may have moved
	Skipped Status = "skipped" // Cause says why; not an error of the model
	Failed  Status = "failed"  // Cause says why; the table is as it was
)

// Result is what a run did.
type Result struct {
	Models   []Outcome // in the order in which they ran
	Duration time.Duration
}

// Failed returns the names of the models that failed, or were skipped since one they read failed.
func (r Result) Failed() []string {
	var out []string
	for _, m := range r.Models {
		if m.Status == Failed || m.Blocked {
			out = append(out, m.Name)
		}
	}
	return out
}

// Outcome is what became of one model.
type Outcome struct {
	Name         string
	File         string
	Materialized Materialization
	Mode         Mode // of Built and Failed
	Status       Status
	Cause        string // why it was built, why it was not
	Blocked      bool   // skipped since a model that it needs failed
	Counts       Counts
	SourceRows   int64    // rows of the files that were read for it; -1: not known
	Days         []string // Overwrite: the partitions recomputed, YYYY-MM-DD, "null"
	Tests        []TestResult
	Duration     time.Duration
}

// TestResult is what became of one test.
type TestResult struct {
	Name     string
	Kind     TestKind
	Column   string
	Severity Severity
	Passed   bool
	Failures int64      // rows (Unique: values) that failed; of a SQL test, rows that it returned
	Columns  []string   // of Examples
	Examples [][]string // some of the rows that failed
	Duration time.Duration
}

// Step is what a run would do for one model.
type Step struct {
	Model      string
	Mode       Mode // "" where nothing is to be done
	Reason     string
	SourceRows int64 // at most so many rows are read; -1: not known before
	Days       []string
}

type runner struct {
	o      Options
	tables map[string]*warehouse.Table // by schema.table; nil: there is none
	engine Engine
	log    *slog.Logger
}

func newRunner(ctx context.Context, o Options) (*runner, []*Model, error) {
	o.Window = cmp.Or(o.Window, DefaultWindow)
	o.Examples = cmp.Or(o.Examples, 5)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Held == nil {
		o.Held = func(string, string) bool { return false }
	}
	r := &runner{o: o, tables: map[string]*warehouse.Table{}, log: o.Logger}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	models, err := o.Set.Select(o.Select...)
	if err != nil {
		return nil, nil, err
	}
	return r, models, r.loadAll(ctx, models)
}

// loadAll loads the tables of the models and of what they read, some at a time.
func (r *runner) loadAll(ctx context.Context, models []*Model) error {
	names := map[string]warehouse.Name{}
	for _, m := range models {
		if m.Materialized == Ephemeral {
			continue
		}
		tables, deps := r.o.Set.reads(m)
		for _, n := range append(deps, m.Name) {
			names[Namespace+"."+n] = warehouse.Name{Namespace: Namespace, Table: n}
		}
		for _, n := range tables {
			names[n] = tableName(n)
		}
	}
	keys := slices.Sorted(maps.Keys(names))
	loaded, damaged := make([]*warehouse.Table, len(keys)), make([]bool, len(keys))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, k := range keys {
		group.Go(func() (err error) {
			loaded[i], err = r.fetch(gctx, names[k])
			if damage := (*warehouse.Damaged)(nil); errors.As(err, &damage) {
				damaged[i], err = true, nil // whoever reads it asks again, and fails alone
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, k := range keys {
		if !damaged[i] {
			r.tables[k] = loaded[i]
		}
	}
	return nil
}

func (r *runner) fetch(ctx context.Context, name warehouse.Name) (*warehouse.Table, error) {
	t, err := r.o.Warehouse.Load(ctx, name)
	if errors.Is(err, warehouse.ErrNoTable) {
		return nil, nil
	}
	return t, err
}

// table returns a table as the run knows it, nil where there is none.
func (r *runner) table(ctx context.Context, name warehouse.Name) (*warehouse.Table, error) {
	if t, ok := r.tables[name.String()]; ok {
		return t, nil
	}
	t, err := r.fetch(ctx, name)
	if err == nil {
		r.tables[name.String()] = t
	}
	return t, err
}

func tableName(s string) warehouse.Name {
	schema, name, _ := strings.Cut(s, ".")
	return warehouse.Name{Namespace: schema, Table: name}
}

func starName(model string) warehouse.Name {
	return warehouse.Name{Namespace: Namespace, Table: model}
}

// Plan says what a run would do now, for each of the selected models with a table, in the order in which they would run.
func Plan(ctx context.Context, o Options) ([]Step, error) {
	r, models, err := newRunner(ctx, o)
	if err != nil {
		return nil, err
	}
	var steps []Step
	changing := map[string]bool{}
	for _, m := range models {
		if m.Materialized == Ephemeral {
			continue
		}
		d, err := r.decide(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("model %s (%s): %w", m.Name, m.File, err)
		}
		s := Step{Model: m.Name, Reason: d.cause}
		_, deps := o.Set.reads(m)
		switch {
		case d.build != nil:
			s.Mode, s.SourceRows, s.Days = d.build.Mode, d.build.SourceRows, d.build.Days.names()
		case m.Materialized == Incremental && !m.Overwrite:
		default:
			if i := slices.IndexFunc(deps, func(n string) bool { return changing[n] }); i >= 0 {
				s = Step{Model: m.Name, Mode: Rebuild, Reason: deps[i] + " changes before", SourceRows: -1}
				if m.Overwrite && r.tables[starName(m.Name).String()] != nil {
					s.Mode = Overwrite
				}
			}
		}
		changing[m.Name] = s.Mode != ""
		steps = append(steps, s)
	}
	return steps, nil
}

// Run brings the selected models up to date. What is wrong with one model is in its result, and the run goes on with those that do not need it; the error is for what ends the run: its context, a warehouse
// that is away, models that cannot be selected. The result holds what was done until then.
func Run(ctx context.Context, o Options) (Result, error) {
	var res Result
	r, models, err := newRunner(ctx, o)
	if err != nil {
		return res, err
	}
	start := r.o.Now()
	bad := map[string]bool{}
	for _, m := range models {
		if err := ctx.Err(); err != nil {
			res.Duration = r.o.Now().Sub(start)
			return res, err
		}
		blocker := ""
		for _, n := range o.Set.needs(m) {
			if bad[n] {
				blocker = n
			}
		}
		if m.Materialized == Ephemeral {
			bad[m.Name] = blocker != ""
			continue
		}
		var mr Outcome
		begin := r.o.Now()
		if blocker != "" {
			mr = Outcome{Status: Skipped, Cause: blocker + " failed", Blocked: true}
		} else {
			mr = r.run(ctx, m)
		}
		mr.Name, mr.File, mr.Materialized, mr.Duration = m.Name, m.File, m.Materialized, r.o.Now().Sub(begin)
		bad[m.Name] = mr.Status == Failed || mr.Blocked
		res.Models = append(res.Models, mr)
		if o.Ended != nil {
			o.Ended(mr)
		}
		level := slog.LevelInfo
		if mr.Status == Current || mr.Status == Skipped && !mr.Blocked {
			level = slog.LevelDebug // most runs find most models so
		}
		switch {
		case mr.Status == Failed:
			level = slog.LevelError
		case mr.Blocked:
			level = slog.LevelWarn
		}
		r.log.Log(ctx, level, "model", "model", m.Name, "status", mr.Status, "cause", mr.Cause, "mode", mr.Mode, "added", mr.Counts.Added, "replaced", mr.Counts.Replaced,
			"removed", mr.Counts.Removed, "duplicates", mr.Counts.Duplicates, "conflicts", mr.Counts.Conflicts, "duration", mr.Duration)
	}
	res.Duration = r.o.Now().Sub(start)
	return res, ctx.Err()
}

// run brings one model up to date.
func (r *runner) run(ctx context.Context, m *Model) (res Outcome) {
	fail := func(err error) Outcome {
		res.Status, res.Cause = Failed, fault.Text(err)
		return res
	}
	d, err := r.decide(ctx, m)
	if err != nil {
		return fail(err)
	}
	res.Cause = d.cause
	if d.missing {
		res.Status = Skipped
		return res
	}
	if d.build == nil {
		res.Status = Current
		if d.properties == nil {
			return res
		}
		t, err := r.o.Warehouse.Commit(ctx, r.tables[starName(m.Name).String()], warehouse.Change{Properties: d.properties})
		if err != nil {
			return fail(fmt.Errorf("moving the checkpoint: %w", err))
		}
		r.tables[starName(m.Name).String()] = t
		return res
	}
	b := d.build
	if r.o.Began != nil {
		r.o.Began(m)
	}
	res.Mode, res.SourceRows, res.Days = b.Mode, b.SourceRows, b.Days.names()
	if r.engine == nil {
		if r.engine, err = r.o.Engine(ctx); err != nil {
			return fail(fmt.Errorf("opening the engine: %w", err))
		}
	}
	staged, err := r.engine.Stage(ctx, b)
	if err != nil {
		return fail(err)
	}
	defer func() {
		if err := staged.Discard(context.WithoutCancel(ctx)); err != nil {
			r.log.WarnContext(ctx, "staged rows were left behind", "model", m.Name, "error", fault.Hide(err))
		}
	}()
	if res.Tests, err = r.tests(ctx, b, staged); err != nil {
		return fail(err)
	}
	for _, t := range res.Tests {
		if !t.Passed && t.Severity == Error {
			return fail(fmt.Errorf("test %s failed for %d", t.Name, t.Failures))
		}
	}
	if res.Counts, err = staged.Commit(ctx); err != nil {
		return fail(err)
	}
	if r.tables[b.Name.String()], err = r.fetch(ctx, b.Name); err != nil {
		return fail(fmt.Errorf("reading the table that was just committed: %w", err))
	}
	res.Status = Built
	return res
}
