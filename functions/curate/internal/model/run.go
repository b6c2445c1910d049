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

	"github.com/apache/iceberg-go"
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
	loaded := make([]*warehouse.Table, len(keys))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, k := range keys {
		group.Go(func() (err error) {
			loaded[i], err = r.fetch(gctx, names[k])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, k := range keys {
		r.tables[k] = loaded[i]
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

// decision is what is to be done for a model.
type decision struct {
	build      *Build            // nil: nothing is to be computed
	properties map[string]string // without a build: the checkpoint moves over what changed nothing
	cause      string
	missing    bool // an input is not there
}

func (r *runner) decide(ctx context.Context, m *Model) (decision, error) {
	b := &Build{Model: m, Name: starName(m.Name), Window: r.o.Window, Properties: map[string]string{}, SourceRows: -1}
	var err error
	if b.Target, err = r.table(ctx, b.Name); err != nil {
		return decision{}, err
	}
	if b.Spec, err = m.spec(); err != nil {
		return decision{}, err
	}
	print := m.fingerprint(r.o.Set)
	b.Properties[FingerprintProperty] = print
	why := ""
	switch {
	case b.Target == nil:
		why = "there is no table yet"
	case b.Target.Properties()[FingerprintProperty] == "":
		why = "the table has no checkpoint"
	case b.Target.Properties()[FingerprintProperty] != print:
		why = "the model has changed"
	case r.o.FullRefresh:
		why = "a full refresh was asked for"
	}
	b.Recreate = b.Target != nil && !fits(b.Target, b.Spec)
	tables, models := r.o.Set.reads(m)
	for _, n := range tables {
		t, err := r.table(ctx, tableName(n))
		if err != nil {
			return decision{}, err
		}
		if t == nil {
			return decision{cause: n + " is not there yet", missing: true}, nil
		}
		b.Inputs = append(b.Inputs, Input{Name: t.Name, Table: t})
	}
	for _, n := range models {
		t, err := r.table(ctx, starName(n))
		if err != nil {
			return decision{}, err
		}
		if t == nil || t.Properties()[FingerprintProperty] == "" {
			return decision{cause: n + " is not there yet", missing: true}, nil
		}
		b.Inputs = append(b.Inputs, Input{Name: t.Name, Table: t})
	}
	r.columns(b)
	switch {
	case m.Materialized == Table:
		return r.decideTable(ctx, b, why)
	case m.Overwrite:
		return r.decideOverwrite(ctx, b, why)
	default:
		return r.decideMerge(ctx, b, why)
	}
}

// fits says whether the table can take the columns: all of them have their type and none is too many.
func fits(t *warehouse.Table, s warehouse.Spec) bool {
	if !slices.Equal(t.Partition(), s.Partition) {
		return false
	}
	for _, f := range t.Schema().Fields() {
		i := slices.IndexFunc(s.Columns, func(c warehouse.Column) bool { return c.Name == f.Name })
		if i < 0 || !s.Columns[i].Type.Equals(f.Type) {
			return false
		}
	}
	return true
}

func (m *Model) spec() (warehouse.Spec, error) {
	s := warehouse.Spec{}
	for _, c := range m.Columns {
		t, err := icebergType(c.Type)
		if err != nil {
			return s, err
		}
		s.Columns = append(s.Columns, warehouse.Column{Name: c.Name, Type: t, Doc: c.Description})
	}
	if m.Partition != "" {
		s.Partition = []string{m.Partition}
	}
	return s, nil
}

// columns says of each input which columns the query can mean.
func (r *runner) columns(b *Build) {
	var names []string
	star := false
	for _, m := range append(r.o.Set.ephemeral(b.Model), b.Model) {
		n, s := words(m.toks)
		names, star = append(names, n...), star || s
	}
	for i := range b.Inputs {
		if star {
			continue
		}
		in := &b.Inputs[i]
		in.Columns = []string{}
		for _, f := range in.Table.Schema().Fields() {
			if slices.Contains(names, strings.ToLower(f.Name)) {
				in.Columns = append(in.Columns, f.Name)
			}
		}
		slices.Sort(in.Columns)
	}
}

// with sets the common table expressions: the inputs, each with its condition, then the ephemeral models.
func (r *runner) with(b *Build, where map[string]string) {
	b.ctes = nil
	for _, in := range b.Inputs {
		b.ctes = append(b.ctes, cte{name: quote(in.Name.Table), from: in.Name, where: where[in.Name.String()]})
	}
	for _, e := range r.o.Set.ephemeral(b.Model) {
		b.ctes = append(b.ctes, cte{name: quote(e.Name), sql: e.body})
	}
}

// narrow has an input give only some rows.
func (b *Build) narrow(name warehouse.Name, filter iceberg.BooleanExpression, columns ...string) {
	for i := range b.Inputs {
		in := &b.Inputs[i]
		if in.Name != name {
			continue
		}
		in.Filter = filter
		if in.Columns != nil {
			in.Columns = append(in.Columns, columns...)
			slices.Sort(in.Columns)
			in.Columns = slices.Compact(in.Columns)
		}
	}
}

// decideMerge plans a model that a source drives.
func (r *runner) decideMerge(ctx context.Context, b *Build, why string) (decision, error) {
	src := b.Inputs[slices.IndexFunc(b.Inputs, func(in Input) bool { return in.Name.Namespace == "events" })].Table
	name := src.Name.String()
	now, _, err := property[Position](src, PositionProperty)
	if err != nil {
		return decision{}, err
	}
	var old sourceState
	if b.Target != nil {
		states, _, err := property[map[string]sourceState](b.Target, SourcesProperty)
		if err != nil {
			return decision{}, err
		}
		var ok bool
		if old, ok = states[name]; !ok && why == "" {
			why = "the table has no checkpoint of " + name
		}
	}
	rebuild := why != "" || b.Recreate
	var released, still []string
	for _, d := range slices.Sorted(maps.Keys(old.Held)) {
		if r.o.Held(name, d) {
			still = append(still, d)
		} else {
			released = append(released, d)
		}
	}
	if !rebuild && len(released) == 0 && !now.beyond(old.Position) {
		return decision{cause: "nothing new in " + name}, nil
	}
	// First which days the new rows are of, then without those on hold.
	parts := []part{{from: old.Position, to: now}}
	if rebuild {
		parts = []part{{to: now}}
	}
	for _, d := range released {
		if !rebuild {
			parts = append(parts, part{day: d, from: old.Held[d], to: now})
		}
	}
	coming, err := planned(ctx, src, parts)
	if err != nil {
		return decision{}, err
	}
	next := sourceState{Position: Position{}}
	maps.Copy(next.Position, old.Position)
	for id, n := range now { // a source that was made anew from the log may be behind: what was taken from it stays taken
		next.Position[id] = max(n, next.Position[id])
	}
	held := map[string]Position{}
	for _, d := range still {
		held[d] = old.Held[d]
	}
	for _, d := range coming.days {
		if _, ok := held[d]; !ok && r.o.Held(name, d) {
			held[d] = old.Position
			if held[d] == nil {
				held[d] = Position{}
			}
		}
	}
	if len(held) > 0 {
		next.Held = held
	}
	apart := append(slices.Sorted(maps.Keys(held)), released...)
	if rebuild {
		apart = slices.Sorted(maps.Keys(held))
	}
	slices.Sort(apart)
	if rebuild {
		next.Position = now
		parts = []part{{except: apart, to: now}}
		for _, d := range apart {
			parts = append(parts, part{day: d, to: within(held[d], now)}) // rows of the day that had passed before stay
		}
	} else {
		parts = []part{{except: apart, from: old.Position, to: now}}
		for _, d := range released {
			parts = append(parts, part{day: d, from: old.Held[d], to: now})
		}
	}
	filter, err := files(parts)
	if err != nil {
		return decision{}, err
	}
	if coming, err = planned(ctx, src, parts); err != nil {
		return decision{}, err
	}
	state, err := asJSON(map[string]sourceState{name: next})
	if err != nil {
		return decision{}, err
	}
	b.Properties[SourcesProperty] = state
	b.Mode, b.SourceRows = Merge, coming.rows
	if rebuild {
		b.Mode = Rebuild
		why = cmp.Or(why, "the table's columns have changed")
	} else {
		why = fmt.Sprintf("new rows in %s", name)
		if len(released) > 0 {
			why += ", released: " + strings.Join(released, ", ")
		}
		if coming.rows == 0 {
			return decision{properties: b.Properties, cause: "new rows in " + name + " are all on hold"}, nil
		}
	}
	if len(held) > 0 {
		why += ", on hold: " + strings.Join(slices.Sorted(maps.Keys(held)), ", ")
	}
	b.Source, b.Conflicts = name, b.Model.conflicts()
	b.narrow(src.Name, filter, "landing_log", "landing_sequence", arrivalDate)
	r.with(b, map[string]string{name: where(parts)})
	return decision{build: b, cause: why}, nil
}

// within is p where it does not go beyond limit.
func within(p, limit Position) Position {
	out := Position{}
	for id, n := range p {
		out[id] = min(n, limit[id])
	}
	return out
}

type coming struct {
	rows int64
	days []string
}

// planned returns the rows of the files that can hold rows of the parts, and their days.
func planned(ctx context.Context, src *warehouse.Table, parts []part) (coming, error) {
	var c coming
	filter, err := files(parts)
	if err != nil {
		return c, err
	}
	fs, err := src.Plan(ctx, filter)
	if err != nil {
		return c, err
	}
	for _, f := range fs {
		c.rows += f.Rows
		if d, ok := f.Partition[arrivalDate].(iceberg.Date); ok {
			c.days = append(c.days, day(d))
		} else {
			c.days = append(c.days, noDay)
		}
	}
	slices.Sort(c.days)
	c.days = slices.Compact(c.days)
	return c, nil
}

// snapshots returns the snapshots of the inputs, by name.
func snapshots(b *Build) map[string]int64 {
	out := map[string]int64{}
	for _, in := range b.Inputs {
		out[in.Name.String()] = in.Table.Snapshot()
	}
	return out
}

// changed returns what changed the table's rows since the snapshot; all where that can no longer be told.
func changed(ctx context.Context, t *warehouse.Table, since int64) (c warehouse.Changes, all bool, err error) {
	if t.Snapshot() == since {
		return c, false, nil
	}
	c, err = t.Changes(ctx, since)
	if errors.Is(err, warehouse.ErrExpired) {
		return c, true, nil
	}
	return c, false, err
}

// decideTable plans a model that is rebuilt whole.
func (r *runner) decideTable(ctx context.Context, b *Build, why string) (decision, error) {
	conditions := map[string]string{}
	states := map[string]sourceState{}
	for _, in := range b.Inputs {
		if in.Name.Namespace != "events" || !slices.ContainsFunc(in.Table.Schema().Fields(), func(f iceberg.NestedField) bool { return f.Name == arrivalDate }) {
			continue
		}
		name := in.Name.String()
		now, _, err := property[Position](in.Table, PositionProperty)
		if err != nil {
			return decision{}, err
		}
		c, err := planned(ctx, in.Table, []part{{to: now}})
		if err != nil {
			return decision{}, err
		}
		state := sourceState{Position: now}
		var held []string
		for _, d := range c.days {
			if r.o.Held(name, d) {
				held = append(held, d)
			}
		}
		if len(held) > 0 {
			state.Held = map[string]Position{}
			for _, d := range held {
				state.Held[d] = Position{}
			}
		}
		states[name] = state
		p := []part{{except: held, to: now}}
		conditions[name] = where(p)
		filter, err := files(p)
		if err != nil {
			return decision{}, err
		}
		b.narrow(in.Name, filter, "landing_log", "landing_sequence", arrivalDate)
	}
	snaps := snapshots(b)
	var err error
	if b.Properties[UpstreamProperty], err = asJSON(snaps); err != nil {
		return decision{}, err
	}
	if len(states) > 0 {
		if b.Properties[SourcesProperty], err = asJSON(states); err != nil {
			return decision{}, err
		}
	}
	moved := false
	if why == "" && !b.Recreate {
		old, _, err := property[map[string]int64](b.Target, UpstreamProperty)
		if err != nil {
			return decision{}, err
		}
		oldStates, _, err := property[map[string]sourceState](b.Target, SourcesProperty)
		if err != nil {
			return decision{}, err
		}
		for name, s := range states {
			if !slices.Equal(slices.Sorted(maps.Keys(s.Held)), slices.Sorted(maps.Keys(oldStates[name].Held))) {
				why = "other days of " + name + " are on hold"
			}
		}
		for _, in := range b.Inputs {
			since, ok := old[in.Name.String()]
			if !ok {
				why = in.Name.String() + " is read for the first time"
				continue
			}
			c, all, err := changed(ctx, in.Table, since)
			if err != nil {
				return decision{}, err
			}
			if all || len(c.Added)+len(c.Removed) > 0 {
				why = in.Name.String() + " has changed"
			}
			moved = moved || since != in.Table.Snapshot()
		}
		if why == "" {
			d := decision{cause: "nothing it reads has changed"}
			if moved {
				d.properties = b.Properties
			}
			return d, nil
		}
	}
	b.Mode = Rebuild
	r.with(b, conditions)
	return decision{build: b, cause: cmp.Or(why, "the table's columns have changed")}, nil
}

// decideOverwrite plans a model of which the partitions are recomputed that changed in its upstream.
func (r *runner) decideOverwrite(ctx context.Context, b *Build, why string) (decision, error) {
	snaps := snapshots(b)
	var err error
	if b.Properties[UpstreamProperty], err = asJSON(snaps); err != nil {
		return decision{}, err
	}
	up := starName(b.Model.Upstream)
	retired, err := r.retired(b, up)
	if err != nil {
		return decision{}, err
	}
	b.Properties[RetiredProperty] = retired.String()
	moved := false
	days := map[iceberg.Date]bool{}
	if why == "" && !b.Recreate {
		old, _, err := property[map[string]int64](b.Target, UpstreamProperty)
		if err != nil {
			return decision{}, err
		}
		for _, in := range b.Inputs {
			since, ok := old[in.Name.String()]
			if !ok {
				why = in.Name.String() + " is read for the first time"
				continue
			}
			c, all, err := changed(ctx, in.Table, since)
			switch {
			case err != nil:
				return decision{}, err
			case all:
				why = "what changed in " + in.Name.String() + " can no longer be told"
			case in.Name != up && len(c.Added)+len(c.Removed) > 0:
				why = in.Name.String() + " has changed"
			case in.Name == up:
				for _, f := range slices.Concat(c.Added, c.Removed) {
					if d, ok := f.Partition[b.Model.Partition].(iceberg.Date); ok {
						days[d] = true
					} else {
						b.Days.Null = true
					}
				}
			}
			moved = moved || since != in.Table.Snapshot()
		}
	}
	switch {
	case (why != "" || b.Recreate) && (retired.Empty() || b.Target == nil || b.Recreate):
		b.Mode, b.Days = Rebuild, Partitions{}
		b.narrow(up, nil, b.Model.Partition)
		r.with(b, map[string]string{up.String(): retired.others(b.Model.Partition)})
		return decision{build: b, cause: cmp.Or(why, "the table's columns have changed")}, nil
	case why != "": // all of it, but for what can no longer be computed
		if b.Days, err = everyOther(ctx, b, up, retired); err != nil {
			return decision{}, err
		}
		moved = true
	default:
		maps.DeleteFunc(days, func(d iceberg.Date, _ bool) bool { return retired.Has(d) })
		b.Days.Days, b.Days.Null = slices.Sorted(maps.Keys(days)), b.Days.Null && !retired.Has(nil)
	}
	if len(b.Days.Days) == 0 && !b.Days.Null {
		d := decision{cause: "nothing it reads has changed"}
		if moved {
			d.properties = b.Properties
		}
		return d, nil
	}
	b.Mode = Overwrite
	filter := b.Days.filter(b.Model.Partition)
	b.narrow(up, filter, b.Model.Partition)
	b.SourceRows = 0
	fs, err := b.Inputs[slices.IndexFunc(b.Inputs, func(in Input) bool { return in.Name == up })].Table.Plan(ctx, filter)
	if err != nil {
		return decision{}, err
	}
	for _, f := range fs {
		b.SourceRows += f.Rows
	}
	r.with(b, map[string]string{up.String(): b.Days.Where(b.Model.Partition)})
	return decision{build: b, cause: cmp.Or(why, fmt.Sprintf("%d partition(s) of %s have changed", len(b.Days.names()), b.Model.Upstream))}, nil
}

// names is the partitions as a report has them.
func (p Partitions) names() []string {
	var out []string
	for _, d := range p.Days {
		out = append(out, day(d))
	}
	if p.Null {
		out = append(out, "null")
	}
	return out
}

// filter is Where for leaving files out.
func (p Partitions) filter(column string) iceberg.BooleanExpression {
	var out iceberg.BooleanExpression = iceberg.AlwaysFalse{}
	if len(p.Days) > 0 {
		out = iceberg.IsIn(iceberg.Reference(column), p.Days...)
	}
	if p.Null {
		out = iceberg.NewOr(out, iceberg.IsNull(iceberg.Reference(column)))
	}
	return out
}

func parseDay(s string) (iceberg.Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fmt.Errorf("day %q: %w", s, err)
	}
	return iceberg.Date(t.Unix() / 86400), nil
}
