package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"

	"millrace/functions/curate/internal/quality"
)

const releaseText = `curate release lets a day out of quarantine: the next run gives its rows to the facts, and the rules that held it do not hold it again.

  curate release events.enriched_yellowtaxitriprecords_0 2026-11-21 --by ann

Days that are held are in ops.quarantine, in the report of each run and in curate plan.
`

func runRelease(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	f := newFlags("release", releaseText)
	by := f.String("by", "", "who releases it, for ops.quarantine (default the user of this machine)")
	if err := f.parse(args, stdout, 2); err != nil {
		return err
	}
	if *by == "" {
		if u, err := user.Current(); err == nil {
			*by = u.Username
		}
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
	db, err := s.duck(ctx)
	if err != nil {
		return err
	}
	ended, err := quality.Release(ctx, s.warehouse, db, f.Arg(0), f.Arg(1), *by, s.clock())
	if err != nil {
		return err
	}
	for _, h := range ended {
		fmt.Fprintf(stdout, "released %s %s, held since %s by rule %s: %s\n", h.Source, h.Day, h.Since.Format("2006-01-02 15:04"), h.Rule, h.Reason)
	}
	return nil
}
