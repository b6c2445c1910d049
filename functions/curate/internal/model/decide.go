package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/warehouse"
)

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
	if b.Recreate && slices.Equal(b.Target.Partition(), b.Spec.Partition) { // the table is dropped: its marts may not have heard yet of what retention took
		retired, err := RetiredOf(b.Target)
		if err != nil {
			return decision{}, err
		}
		b.Properties[RetiredProperty] = retired.String()
	}
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
