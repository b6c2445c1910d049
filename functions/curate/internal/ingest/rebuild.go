package ingest

import (
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
	r, err := begin(ctx, o)
	if err != nil {
		return Result{}, err
	}
	r.dry = true
	return r.finish(r.all(ctx))
}

// Rebuild makes events.* and ops.landing anew from the landing logs, for a catalog that is stale or lost. Tables that are derived from them stay, and find the same rows under the same positions.
// First the logs and the objects they name are looked at: where some are missing, or a log is not whole, the error is ErrIncomplete (wrapped) and nothing is changed. A rebuild that is
// interrupted is finished by the next Run.
func Rebuild(ctx context.Context, o Options) (Result, error) {
	r, err := survey(ctx, o)
	if err != nil {
		return Result{}, err
	}
	if !o.Partial {
		if err := r.complete(ctx); err != nil {
			return r.finish(err)
		}
	}
	// First the table without which the others are made anew: the other way round, an interrupted rebuild would leave tables without rows that count as ingested.
	if err := o.Warehouse.Drop(ctx, Landing); err != nil {
		return r.finish(err)
	}
	names, err := o.Warehouse.Tables(ctx)
	if err != nil {
		return r.finish(err)
	}
	for _, n := range names {
		if n.Namespace != Namespace {
			continue
		}
		if err := o.Warehouse.Drop(ctx, n); err != nil {
			return r.finish(err)
		}
	}
	return Run(ctx, o)
}

// survey reads all logs as if nothing were ingested, and writes nothing.
func survey(ctx context.Context, o Options) (*run, error) {
	r := newRun(o)
	r.dry, r.whole = true, true
	return r, r.all(ctx)
}

// complete returns why landing is not complete: what alarms say, and objects that are not there with their size.
func (r *run) complete(ctx context.Context) error {
	var errs []error
	for _, a := range r.result.Alarms {
		if a.Stops || a.Code == CodeBegins {
			errs = append(errs, errors.New(a.String()))
		}
	}
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
					if missing[info.Key] == info.Size || slices.ContainsFunc(erased[info.Key], func(e landing.Erased) bool { return e.Bytes == info.Size }) {
						delete(missing, info.Key)
					}
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
			errs = append(errs, fmt.Errorf("object %s/%s is missing or has another size than %d", bucket.Name(), key, missing[key]))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	return nil
}

// Backfill makes the arrival days from to to, both included, of all events tables anew from landing, each table in one commit, up to the rows that it has. A table of which landing has fewer rows than it has itself is left as it
// is, and the error is ErrIncomplete (wrapped). The files of all days of a table lie in scratch until its commit.
func Backfill(ctx context.Context, o Options, from, to time.Time) (Result, error) {
	r, err := begin(ctx, o)
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
		if t := r.tables[n]; n.Namespace != Namespace || t != nil && shares[t] != nil {
			continue
		}
		t, err := r.o.Warehouse.Load(ctx, n)
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
	var had int64
	deleted := false
	for _, f := range files {
		had += f.Rows
		deleted = deleted || len(f.Deletes) > 0
	}
	if all.rows < had && !deleted && !r.o.Partial {
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
