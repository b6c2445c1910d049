package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"millrace/functions/curate/internal/maintain"
)

const maintainText = `curate maintain keeps the warehouse in shape: it drops the days that a contract's retention has passed, merges small files to 128 MB, lets old snapshots
expire and deletes objects that no table names any more. A run of curate does the same once in MAINTAIN_EVERY. Landing is never touched.

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
		fmt.Fprintf(stdout, "%s: retention takes %d days before %s, %d rows in %d files\n", x.Table, len(x.Days), x.Before, x.Rows, x.Files)
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
