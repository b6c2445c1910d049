package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
)

// ErrIncomplete is what Rebuild and Backfill return (wrapped) where landing has less than the warehouse may have: nothing was changed, Options.Partial goes on all the same.
var ErrIncomplete = errors.New("landing does not have all rows any more")

// Plan returns what Run would do, as far as the logs say it; it fetches and writes nothing. Bytes of tables are those of the landing objects, and Files is 0.
func Plan(ctx context.Context, o Options) (Result, error) {
	r, err := begin(ctx, o, true)
	if err != nil {
		return Result{}, err
	}
	return r.finish(r.all(ctx))
}

// Rebuild makes events.* and ops.landing anew from the landing logs, or those of Options.Tables, for a catalog that is stale or lost and tables that are damaged. Tables that are derived from them stay, and
// find the same rows under the same positions.
//
// First the logs are read, and what they name is compared with what there is: each object must be there with the size that its entry or an erasure says, and for each table that can be read the objects up to its
// position must have as many rows of each day of arrival as the table has (Options.Verify: each object is fetched, too, and its SHA-256, rows and offsets checked). Where anything is missing, or a log is not
// whole, the error is ErrIncomplete (wrapped) and nothing is changed.
//
// Then one commit to ops.landing says which tables are to be dropped. A rebuild that is killed before it has changed nothing; after it the next Run, or the next Rebuild, finishes it. (Where ops.landing is itself
// damaged it is dropped and made anew by that commit; killed between these two, no table of events is dropped, and Rebuild is to be called again.)
func Rebuild(ctx context.Context, o Options) (Result, error) {
	for _, n := range o.Tables {
		if n.Namespace != Namespace && n != Landing {
			return Result{}, fmt.Errorf("%s is not made of the landing log: only tables of %s and %s are", n, Namespace, Landing)
		}
	}
	r, err := survey(ctx, o)
	if err != nil {
		return Result{}, err
	}
	if !o.Partial {
		if err := r.complete(ctx); err != nil {
			return r.finish(err)
		}
	}
	if err := mark(ctx, o); err != nil {
		return r.finish(err)
	}
	return Run(ctx, o)
}

// mark says in ops.landing which tables are to be dropped, and that it has no rows itself where it is one of those that are made anew.
func mark(ctx context.Context, o Options) error {
	names := slices.DeleteFunc(slices.Clone(o.Tables), func(n warehouse.Name) bool { return n == Landing })
	if len(o.Tables) == 0 {
		var err error
		if names, err = o.Warehouse.TablesOf(ctx, Namespace); err != nil {
			return err
		}
	}
	old := newRun(o)
	err := o.Warehouse.Examine(ctx, Landing)
	if err == nil {
		if old.ops, err = o.Warehouse.Load(ctx, Landing); err == nil {
			err = old.load(old.ops)
		}
	}
	if damaged := (*warehouse.Damaged)(nil); errors.As(err, &damaged) {
		old = newRun(o)
		err = o.Warehouse.Drop(ctx, Landing)
	}
	if err != nil && !errors.Is(err, warehouse.ErrNoTable) {
		return err
	}
	change := warehouse.Change{}
	if len(o.Tables) == 0 || slices.Contains(o.Tables, Landing) {
		change.RemoveAll = true
		next := newRun(o)
		next.ops, next.rebuild = old.ops, old.rebuild
		old = next
	}
	for _, n := range names {
		if !slices.Contains(old.rebuild, n.String()) {
			old.rebuild = append(old.rebuild, n.String())
		}
	}
	if old.ops == nil {
		if old.ops, err = o.Warehouse.Ensure(ctx, Landing, warehouse.Spec{Columns: opsColumns}); err != nil {
			return err
		}
	}
	change.Properties = old.properties()
	_, err = o.Warehouse.Commit(ctx, old.ops, change)
	return err
}

// nameOf reads what Name.String wrote.
func nameOf(s string) warehouse.Name {
	namespace, table, _ := strings.Cut(s, ".")
	return warehouse.Name{Namespace: namespace, Table: table}
}

// claim is what an entry says of an object of events.
type claim struct {
	rows, bytes int64
	table       warehouse.Name
	day         string // of arrival; "" is none
	id          string // of the topic
	sequence    int64  // of the entry
}

// name notes an object that the logs name; false where Options.Tables leave its table out.
func (r *run) name(s *source, o landing.Object, p place, sequence int64) bool {
	c := claim{rows: o.Rows, bytes: o.Bytes, table: Dead, day: p.date, id: s.log.TopicID(), sequence: sequence}
	if o.Kind == landing.KindEnriched {
		c.table = TableOf(p.Type, p.Model)
	}
	if !r.wanted(c.table) {
		return false
	}
	if r.named[s.bucket] == nil {
		r.named[s.bucket] = map[string]claim{}
	}
	r.named[s.bucket][o.Key] = c
	return true
}

// wanted says whether Options.Tables have the table.
func (r *run) wanted(n warehouse.Name) bool {
	return len(r.o.Tables) == 0 || slices.Contains(r.o.Tables, n)
}

// restorable is what landing can give back of a table: rows by day.
type restorable map[string]int64

// having returns the tables of events that can be read, those that are to be made anew.
func (r *run) having(ctx context.Context) (map[warehouse.Name]*target, error) {
	names, err := r.o.Warehouse.TablesOf(ctx, Namespace)
	if err != nil {
		return nil, err
	}
	out := map[warehouse.Name]*target{}
	for _, n := range names {
		if !r.wanted(n) {
			continue
		}
		t, err := r.o.Warehouse.Load(ctx, n)
		if damaged := (*warehouse.Damaged)(nil); errors.As(err, &damaged) {
			r.o.Logger.Warn("rebuild: what the table has cannot be compared with landing", "table", n.String(), "error", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		has := newTarget(n, "", "", "")
		has.table = t
		if has.position, err = ParsePosition(t.Properties()[PositionProperty]); err != nil {
			r.o.Logger.Warn("rebuild: what the table has cannot be compared with landing", "table", n.String(), "error", err)
			continue
		}
		out[n] = has
	}
	return out, nil
}

// fewer returns an error for each table and day of which landing can give back fewer rows than there are.
func (r *run) fewer(ctx context.Context, tables map[warehouse.Name]*target, can map[warehouse.Name]restorable) (errs []error, err error) {
	for _, n := range slices.SortedFunc(maps.Keys(tables), func(a, b warehouse.Name) int { return strings.Compare(a.String(), b.String()) }) {
		files, err := tables[n].table.Plan(ctx, nil)
		if err != nil {
			var damaged *warehouse.Damaged
			if !errors.As(r.o.Warehouse.Examine(ctx, n), &damaged) {
				return nil, err
			}
			r.o.Logger.Warn("rebuild: what the table has cannot be compared with landing", "table", n.String(), "error", damaged)
			continue
		}
		byDay := map[string][]warehouse.File{}
		for _, f := range files {
			day := dayOf(f)
			byDay[day] = append(byDay[day], f)
		}
		for _, day := range slices.Sorted(maps.Keys(byDay)) {
			if had := warehouse.Live(byDay[day]); can[n][day] < had {
				errs = append(errs, fmt.Errorf("%s has %d rows of %s, landing has %d of them", n, had, cmp.Or(day, "no day"), can[n][day]))
			}
		}
	}
	return errs, nil
}

// dayOf returns the day of arrival of a file's rows, "" where it is none.
func dayOf(f warehouse.File) string {
	if day, ok := f.Partition[ArrivalDate].(iceberg.Date); ok {
		return day.ToTime().Format(time.DateOnly)
	}
	return ""
}

// survey reads all logs as if nothing were ingested, and writes nothing.
func survey(ctx context.Context, o Options) (*run, error) {
	r := newRun(o)
	r.dry, r.whole = true, true
	return r, r.all(ctx)
}

// complete returns why landing is not complete: what alarms say, objects that are not there with their size, and tables that have more rows than these objects.
func (r *run) complete(ctx context.Context) error {
	var errs []error
	for _, a := range r.result.Alarms {
		if a.Stops || a.Code == CodeBegins {
			errs = append(errs, errors.New(a.String()))
		}
	}
	tables, err := r.having(ctx)
	if err != nil {
		return err
	}
	can := map[warehouse.Name]restorable{}
	buckets := map[*objectstore.Bucket]landing.Versions{}
	for _, s := range r.sources {
		erased, err := s.log.Versions(ctx)
		if err != nil {
			return err
		}
		if buckets[s.bucket] == nil {
			buckets[s.bucket] = landing.Versions{}
		}
		maps.Copy(buckets[s.bucket], erased)
	}
	for bucket, erased := range buckets {
		missing := r.named[bucket]
		for _, kind := range []string{landing.KindEnriched, landing.KindDead} {
			for after := ""; ; {
				page, err := bucket.List(ctx, landing.Prefix(kind), after, objectstore.MaxList)
				if err != nil {
					return err
				}
				for _, info := range page {
					after = info.Key
					c, ok := missing[info.Key]
					if !ok {
						continue
					}
					if c.bytes != info.Size {
						i := slices.IndexFunc(erased[info.Key], func(e landing.Erased) bool { return e.Bytes == info.Size })
						if i < 0 {
							continue
						}
						c.rows = erased[info.Key][i].Rows
					}
					if t := tables[c.table]; t != nil && c.sequence <= t.position[c.id] {
						if can[c.table] == nil {
							can[c.table] = restorable{}
						}
						can[c.table][c.day] += c.rows
					}
					delete(missing, info.Key)
				}
				if len(page) < objectstore.MaxList {
					break
				}
			}
		}
		keys := slices.Sorted(maps.Keys(missing))
		for i, key := range keys {
			if i == 10 {
				errs = append(errs, fmt.Errorf("and %d more objects", len(keys)-i))
				break
			}
			errs = append(errs, fmt.Errorf("object %s/%s is missing or has another size than %d", bucket.Name(), key, missing[key].bytes))
		}
	}
	fewer, err := r.fewer(ctx, tables, can)
	if err != nil {
		return err
	}
	if err := errors.Join(append(errs, fewer...)...); err != nil {
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	return nil
}

// Backfill makes the arrival days from to to, both included, of all events tables anew from landing, each table in one commit, up to the rows that it has. A table of which landing has fewer rows than it has itself is left as it
// is, and the error is ErrIncomplete (wrapped). The files of all days of a table lie in scratch until its commit.
func Backfill(ctx context.Context, o Options, from, to time.Time) (Result, error) {
	r, err := begin(ctx, o, false)
	if err != nil {
		return Result{}, err
	}
	return r.finish(r.backfill(ctx, from.UTC().Format(time.DateOnly), to.UTC().Format(time.DateOnly)))
}

// share is what one log has for one table.
type share struct {
	source *source
	pieces []*piece
}

func (r *run) backfill(ctx context.Context, from, to string) (err error) {
	defer func() {
		if r.scratch != "" {
			err = errors.Join(err, os.RemoveAll(r.scratch))
		}
	}()
	if from > to {
		return fmt.Errorf("no days lie from %s to %s", from, to)
	}
	if r.sources, err = r.find(ctx); err != nil {
		return err
	}
	shares := map[*target][]*share{}
	for _, s := range r.sources {
		at := landing.Entry{}
		failed := error(nil)
		readErr := s.log.After(ctx, 0, func(e landing.Entry) error {
			if at.Sequence > 0 && e.Sequence != at.Sequence+1 {
				return fmt.Errorf("entry %d follows entry %d", e.Sequence, at.Sequence)
			}
			at = e
			failed = r.pickDays(ctx, s, e, from, to, shares)
			return failed
		})
		if failed != nil {
			return failed
		}
		if readErr != nil {
			if _, gone := r.diagnose(ctx, s, &at, readErr); gone != nil {
				return gone
			}
			return fmt.Errorf("%w: the landing log of %s: %w", ErrIncomplete, s.log.Topic(), readErr)
		}
	}
	errs, err := r.unshared(ctx, shares, from, to)
	if err != nil {
		return err
	}
	for _, t := range slices.SortedFunc(maps.Keys(shares), func(a, b *target) int { return strings.Compare(a.name.String(), b.name.String()) }) {
		if t.failed {
			continue // as an alarm says
		}
		if err := r.refill(ctx, t, shares[t], from, to); err != nil {
			err = fmt.Errorf("%s: %w", t.name, err)
			if !errors.Is(err, ErrIncomplete) {
				return errors.Join(append(errs, err)...)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// unshared returns an error for each events table that has rows of the days and for which landing has none.
func (r *run) unshared(ctx context.Context, shares map[*target][]*share, from, to string) (errs []error, err error) {
	names, err := r.o.Warehouse.Tables(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if t := r.tables[n]; n.Namespace != Namespace || t != nil && (t.failed || shares[t] != nil) {
			continue // what is wrong with it, an alarm says
		}
		t, err := r.o.Warehouse.Load(ctx, n)
		if damaged := (*warehouse.Damaged)(nil); errors.As(err, &damaged) {
			errs = append(errs, fmt.Errorf("%w: %w", ErrIncomplete, err))
			continue
		}
		if err != nil {
			return nil, err
		}
		files, err := filesOf(ctx, t, from, to)
		if err != nil {
			return nil, err
		}
		if len(files) > 0 {
			errs = append(errs, fmt.Errorf("%s: %w: it has %d files of these days, landing has no rows", n, ErrIncomplete, len(files)))
		}
	}
	return errs, nil
}

// filesOf returns the table's files of the days.
func filesOf(ctx context.Context, t *warehouse.Table, from, to string) ([]warehouse.File, error) {
	files, err := t.Plan(ctx, nil)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(files, func(f warehouse.File) bool {
		day, ok := f.Partition[ArrivalDate].(iceberg.Date)
		text := day.ToTime().Format(time.DateOnly)
		return !ok || text < from || text > to
	}), nil
}

// pickDays adds the entry's objects of the days to the shares of their tables, as far as these have their rows.
func (r *run) pickDays(ctx context.Context, s *source, e landing.Entry, from, to string, shares map[*target][]*share) error {
	for _, o := range e.Objects {
		p, err := placeOf(o)
		if err != nil || o.Kind == landing.KindRaw || p.date < from || p.date > to {
			continue
		}
		t, err := r.target(ctx, s, e, p)
		if err != nil {
			return err
		}
		if t == nil || t.table == nil || t.position[e.TopicID] < e.Sequence {
			continue
		}
		list := shares[t]
		if len(list) == 0 || list[len(list)-1].source != s {
			list = append(list, &share{source: s})
			shares[t] = list
		}
		last := list[len(list)-1]
		last.pieces = append(last.pieces, &piece{object: o, place: p, entry: &e, target: t})
	}
	return nil
}

// refill puts the rows of the pieces in the place of the days' files.
func (r *run) refill(ctx context.Context, t *target, shares []*share, from, to string) error {
	var all added
	for _, sh := range shares {
		for len(sh.pieces) > 0 {
			n := r.portion(sh.pieces)
			b := &batch{run: r, source: sh.source, pieces: sh.pieces[:n]}
			sh.pieces = sh.pieces[n:]
			a, err := r.refillPortion(ctx, t, b)
			if err != nil {
				return err
			}
			all.add(a)
		}
	}
	files, err := filesOf(ctx, t.table, from, to)
	if err != nil {
		return err
	}
	if had := warehouse.Live(files); all.rows < had && !r.o.Partial {
		return fmt.Errorf("%w: it has %d rows of these days, landing has %d", ErrIncomplete, had, all.rows)
	}
	begin := r.o.Clock()
	defer func() { r.timed(&r.result.Durations.Commit, begin) }()
	if t.table, err = r.o.Warehouse.Commit(ctx, t.table, warehouse.Change{Add: all.paths, Remove: files}); err != nil {
		return err
	}
	if err := r.keep(all); err != nil {
		return err
	}
	t.result.Commits, t.result.Files, t.result.Bytes = 1, len(all.paths), all.bytes
	r.rows += all.rows
	r.o.Progress(Progress{Topic: t.name.String(), Rows: r.rows})
	return nil
}

// portion is how many of the pieces are fetched and written together: whole entries, as for Run.
func (r *run) portion(pieces []*piece) int {
	var rows, bytes int64
	for i, p := range pieces {
		if i > 0 && pieces[i-1].entry.Sequence != p.entry.Sequence && (rows >= r.o.Limits.Rows || bytes >= r.o.Limits.Bytes || i >= r.o.Limits.Objects) {
			return i
		}
		rows += p.object.Rows
		bytes += p.object.Bytes
	}
	return len(pieces)
}

func (r *run) refillPortion(ctx context.Context, t *target, b *batch) (added, error) {
	pieces := b.pieces
	bad, gone, err := b.fetch(ctx)
	if err != nil || gone != nil {
		return added{}, errors.Join(err, gone)
	}
	if bad != nil {
		bad.Table = t.name.String()
		r.alarm(*bad)
	}
	if bad != nil || len(b.pieces) != len(pieces) || t.failed {
		return added{}, fmt.Errorf("%w: see the alarms", ErrIncomplete)
	}
	given := slices.DeleteFunc(slices.Clone(b.pieces), func(p *piece) bool { return p.target == nil }) // what is left was given up
	fitting, columns, misfit, why := r.fit(t, b.source, given)
	if misfit != nil {
		return added{}, fmt.Errorf("%w: %w", ErrIncomplete, why)
	}
	if len(fitting) == 0 {
		return added{}, b.clean()
	}
	if err := r.ensure(ctx, t, columns); err != nil {
		return added{}, err
	}
	a, err := r.writePieces(ctx, t, fitting)
	if err != nil {
		return a, err
	}
	for _, p := range fitting {
		t.take(p)
	}
	return a, b.clean()
}
