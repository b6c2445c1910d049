package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/landing"
)

// damaged says by an alarm that a table cannot be used, which is then left alone.
func (r *run) damaged(t *target, e landing.Entry, d *warehouse.Damaged) {
	t.failed = true
	r.alarm(Alarm{Code: CodeDamaged, Topic: e.Topic, TopicID: e.TopicID, Sequence: e.Sequence, Object: d.File, Table: t.name.String(), Stops: true, Message: d.Error()})
}

// blinded says by an alarm that ops.landing cannot be used. The tables of events have positions of their own, and go on.
func (r *run) blinded(d *warehouse.Damaged) {
	r.blind, r.entries = true, nil
	r.alarm(Alarm{Code: CodeDamaged, Object: d.File, Table: Landing.String(), Stops: true, Message: d.Error()})
}

// atFault returns what is wrong with a table that a commit to it failed for; nil where that was an outage, another run's commit or the end of this one.
func (r *run) atFault(ctx context.Context, name warehouse.Name, err error) *warehouse.Damaged {
	var d *warehouse.Damaged
	ours := ctx.Err() == nil && !errors.Is(err, warehouse.ErrConflict) && !errors.Is(err, warehouse.ErrLockLost)
	if ours && !errors.As(err, &d) {
		errors.As(r.o.Warehouse.Examine(ctx, name), &d)
	}
	return d
}

// blame makes an alarm of the error of a commit where its table alone is at fault, which then stays where it is; else it returns the error.
func (b *batch) blame(ctx context.Context, t *target, first *landing.Entry, err error) error {
	d := b.run.atFault(ctx, t.name, err)
	if d == nil {
		return err
	}
	b.run.damaged(t, *first, d)
	b.fail(t, first.Sequence-1)
	return nil
}

// missing finds tables that had rows and are not there any more: they are to be made anew from the logs that their rows are of. It costs one request to the catalog.
func (r *run) missing(ctx context.Context) error {
	if len(r.position) == 0 && len(r.rebuild) == 0 {
		return nil
	}
	names, err := r.o.Warehouse.TablesOf(ctx, Namespace)
	if err != nil {
		return err
	}
	if len(r.known) == 0 {
		return r.learn(ctx, names)
	}
	there := map[string]bool{}
	for _, n := range names {
		there[n.String()] = true
	}
	for _, name := range slices.Sorted(maps.Keys(r.known)) {
		if there[name] || slices.Contains(r.rebuild, name) {
			continue
		}
		r.remake(name)
		r.alarm(Alarm{Code: CodeDropped, Table: name, Message: fmt.Sprintf("the table %s had rows, and is not there any more: it is made anew from the landing logs", name)})
	}
	if r.dry { // Run does so when it drops them
		for _, name := range r.rebuild {
			r.remake(name)
		}
	}
	return nil
}

// learn notes the tables that there are, where an earlier version of ops.landing does not name them.
func (r *run) learn(ctx context.Context, names []warehouse.Name) error {
	for _, n := range names {
		t, err := r.o.Warehouse.Load(ctx, n)
		if damaged := (*warehouse.Damaged)(nil); errors.As(err, &damaged) {
			r.known[n.String()] = slices.Sorted(maps.Keys(r.position))
			continue
		}
		if err != nil {
			return err
		}
		// One that cannot be read is an alarm as soon as there are rows for the table.
		if p, err := ParsePosition(t.Properties()[PositionProperty]); err == nil && len(p) > 0 {
			r.known[n.String()] = slices.Sorted(maps.Keys(p))
		}
	}
	return nil
}

// remake notes that the table has no row, so that the logs are read from their beginning for it.
func (r *run) remake(name string) {
	p := Position{}
	for id := range r.position {
		if ids := r.known[name]; len(ids) == 0 || slices.Contains(ids, id) {
			p[id] = 0
		}
	}
	if len(p) > 0 {
		r.behind[name] = p
	}
	delete(r.known, name)
}

// resume drops what a rebuild has yet to drop, and writes down which tables are to be made anew before the first of them gets a row: killed then, it is the position of before that would count for them.
func (r *run) resume(ctx context.Context) error {
	for _, name := range r.rebuild {
		n := nameOf(name)
		if n.Namespace != Namespace {
			return fmt.Errorf("property %s of %s names %q, which is no table of events", rebuildProperty, Landing, name)
		}
		if err := r.o.Warehouse.Drop(ctx, n); err != nil {
			return err
		}
		r.remake(name)
	}
	r.rebuild = nil
	return r.flush(ctx)
}
