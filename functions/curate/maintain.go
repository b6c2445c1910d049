package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"millrace/functions/curate/internal/maintain"
)

const maintainText = `curate maintain keeps the warehouse in shape: it drops rows that are past their retention, merges small files to 128 MB, lets old snapshots
expire and deletes objects that no table names any more. A run of curate does the same once in MAINTAIN_EVERY. Landing is never touched.

Retention counts from the day of arrival. A contract's is that of events.enriched_*, of the facts that take their rows from there, and of what ops.conflicts, ops.near_duplicates and ops.quarantine
say of them; marts keep their sums. OPS_RETENTION is that of ops.landing, ops.quality, ops.sla, ops.runs, events.dead and the reports of runs. Rows are gone from older snapshots, too, once these expire.

Without --yes it says what it would do.
`

func runMaintain(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	f := newFlags("maintain", maintainText)
	yes := f.Bool("yes", false, "do it")
	if err := f.parse(args, stdout, 0); err != nil {
		return err
	}
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
	r, err := maintain.Run(ctx, s.upkeep(ctx, !*yes))
	for _, x := range r.Retention {
		fmt.Fprintf(stdout, "%s: retention takes what is before %s: %s\n", x.Table, x.Before, taken(x))
	}
	for _, x := range r.Compaction {
		fmt.Fprintf(stdout, "%s: merge %d files of %d rows, %d bytes\n", x.Table, x.Files, x.Rows, x.Bytes)
	}
	for _, x := range r.Expiry {
		fmt.Fprintf(stdout, "%s: %d snapshots expire, %d stay\n", x.Table, x.Gone, x.Stay)
	}
	fmt.Fprintf(stdout, "%d objects that nobody names, %d bytes; %d are too young\n", r.Sweep.Objects, r.Sweep.Bytes, r.Sweep.Young)
	for _, x := range r.Sweep.Unknown {
		fmt.Fprintf(stdout, "left alone, since the catalog knows no table there: %s\n", x)
	}
	if !*yes {
		fmt.Fprintln(stdout, "Nothing was changed: --yes does it.")
	}
	return err
}

// taken is what retention takes, in words.
func taken(x maintain.Retired) string {
	files := fmt.Sprintf("%d files", x.Files)
	if x.Rows > 0 {
		files = fmt.Sprintf("%d rows in %d files", x.Rows, x.Files)
	}
	if len(x.Days) > 0 {
		files += fmt.Sprintf(", %d whole days", len(x.Days))
	}
	return files
}
