package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"millrace/functions/curate/internal/ingest"
	"millrace/shared/progress"
)

const backfillText = `curate backfill makes the days of arrival from --from to --to of all tables events.* anew from the landing log: each table in one commit, so that who reads
sees the old days or the new ones. Facts have taken these rows already: where the new ones differ, curate models run --full-refresh makes facts and marts anew.

  curate backfill --from 2026-11-01 --to 2026-11-03

Where landing has fewer rows than a table nothing is changed, unless --partial says that they may go.
`

func runBackfill(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := newFlags("backfill", backfillText)
	from := f.String("from", "", "the first `day`, 2026-11-01")
	to := f.String("to", "", "the last `day` (default the first)")
	partial := f.Bool("partial", false, "go on where landing has fewer rows than the table, and lose the difference")
	if err := f.parse(args, stdout, 0); err != nil {
		return err
	}
	first, err := time.Parse(time.DateOnly, *from)
	if err != nil {
		return fmt.Errorf("%w: --from %q is no day like 2026-11-01", errUsage, *from)
	}
	last := first
	if *to != "" {
		if last, err = time.Parse(time.DateOnly, *to); err != nil || last.Before(first) {
			return fmt.Errorf("%w: --to %q is no day like 2026-11-01 from --from on", errUsage, *to)
		}
	}
	return f.again(ctx, stdout, stderr, *partial, func(ctx context.Context, o ingest.Options) (ingest.Result, error) {
		return ingest.Backfill(ctx, o, first, last)
	})
}

const rebuildText = `curate rebuild makes all of events.* and ops.landing anew from the landing log, for a catalog that was lost, or restored from an old copy. The next run
finds the rows that facts have already, and adds what they lack.

Where landing no longer has all that the log names nothing is changed, unless --partial says that the rest may go.
`

func runRebuild(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := newFlags("rebuild", rebuildText)
	partial := f.Bool("partial", false, "go on where landing is not whole, and lose what it lacks")
	yes := f.Bool("yes", false, "do it; without, say what there is to read")
	if err := f.parse(args, stdout, 0); err != nil {
		return err
	}
	if !*yes {
		fmt.Fprintln(stdout, "rebuild drops all tables of events and ops.landing and reads the whole landing log again: give --yes to do that, or see curate plan.")
		return nil
	}
	return f.again(ctx, stdout, stderr, *partial, ingest.Rebuild)
}

// again runs do under the lock, shows how far it is and tells what came of it.
func (f *flags) again(ctx context.Context, stdout, stderr io.Writer, partial bool, do func(context.Context, ingest.Options) (ingest.Result, error)) (err error) {
	s, err := f.forPerson(ctx, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	unlock, err := s.warehouse.Lock(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	o := s.ingest(ctx)
	o.Partial = partial
	var done counter
	o.Progress = func(p ingest.Progress) { done.set(p.Topic, p.Rows) }
	bar := progress.Start(stderr, done.state)
	r, err := do(ctx, o)
	bar.Stop()
	for _, t := range r.Tables {
		fmt.Fprintf(stdout, "%s: %d rows of %d landing objects\n", t.Name, t.Rows, t.Objects)
	}
	for _, a := range r.Alarms {
		fmt.Fprintln(stdout, a.String())
	}
	return errors.Join(err, r.Stopped())
}
