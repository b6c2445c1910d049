package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"millrace/functions/curate/internal/ingest"
	"millrace/functions/curate/internal/warehouse"
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

const rebuildText = `curate rebuild makes all of events.* and ops.landing anew from the landing log, for a catalog that was lost, or restored from an old copy; with --table only those
tables, for one whose metadata are damaged, as an alarm of a run says. The next run finds the rows that facts have already, and adds what they lack.

  curate rebuild --yes
  curate rebuild --table events.enriched_pageview_0 --yes

Before it drops anything it compares what there is with what landing can give back: the landing logs must be whole, each object that they name must be there with
its size, and each table's objects must have as many rows of each day as the table has. --verify fetches every object, too, and checks its SHA-256, rows and offsets.
Where anything is missing nothing is changed, unless --partial says that the rest may go. A table that cannot be read is not compared: landing is all there is of it.

A rebuild that is killed has changed nothing, or is finished by the next run, or by giving it again: it is written down before the first table is dropped.
`

func runRebuild(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := newFlags("rebuild", rebuildText)
	only := f.StringArray("table", nil, "only this `table`, events.x or ops.landing; may be given several times")
	verify := f.Bool("verify", false, "fetch and check every object first, which takes as long as the rebuild itself")
	partial := f.Bool("partial", false, "go on where landing is not whole, and lose what it lacks")
	yes := f.Bool("yes", false, "do it; without, say what there is to read")
	if err := f.parse(args, stdout, 0); err != nil {
		return err
	}
	var tables []warehouse.Name
	for _, name := range *only {
		namespace, table, ok := strings.Cut(name, ".")
		n := warehouse.Name{Namespace: namespace, Table: table}
		if !ok || namespace != ingest.Namespace && n != ingest.Landing {
			return fmt.Errorf("%w: --table %q: only tables events.x and %s are made of the landing log; models are made anew by curate models run --full-refresh", errUsage, name, ingest.Landing)
		}
		tables = append(tables, n)
	}
	if *partial && *verify {
		return fmt.Errorf("%w: --partial loses what is missing, which --verify refuses", errUsage)
	}
	if !*yes {
		what := "all tables of events and ops.landing"
		if len(tables) > 0 {
			what = strings.Join(*only, ", ")
		}
		fmt.Fprintf(stdout, "rebuild drops %s and reads the whole landing log again: give --yes to do that, or see curate plan.\n", what)
		return nil
	}
	return f.again(ctx, stdout, stderr, *partial, func(ctx context.Context, o ingest.Options) (ingest.Result, error) {
		o.Tables, o.Verify = tables, *verify
		return ingest.Rebuild(ctx, o)
	})
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
