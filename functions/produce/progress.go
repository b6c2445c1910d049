package main

import (
	"fmt"
	"io"

	"millrace/functions/produce/internal/record"
	"millrace/functions/produce/internal/tally"
	"millrace/shared/progress"
)

func startProgress(w io.Writer, in *input, c Config, counts *tally.Tally, waits *outage) *progress.Bar {
	total := in.rows
	if c.MaxRecordCount > 0 && (total < 0 || c.MaxRecordCount < total) {
		total = c.MaxRecordCount
	}
	return progress.Start(w, func() progress.State {
		s := progressState(in.name, counts, total)
		if n := waits.events(); n > 0 {
			s.Notes = append(s.Notes, fmt.Sprintf("%d wait", n))
		}
		return s
	})
}

func progressState(name string, counts *tally.Tally, total int64) progress.State {
	s := progress.State{Name: name, Done: counts.Total(), Total: total, What: "events"}
	for _, status := range tally.Statuses[1:] {
		if n := counts.Count(status); n > 0 {
			s.Notes = append(s.Notes, fmt.Sprintf("%d %s", n, status))
		}
	}
	return s
}

// badRows reports rows that could not be made events: the first ones each, the rest by their number.
type badRows struct {
	w io.Writer
	n int
}

const mostBadRows = 20

func (b *badRows) report(e *record.RowError) {
	switch b.n++; {
	case b.n <= mostBadRows:
		fmt.Fprintln(b.w, e.Error())
	case b.n == mostBadRows+1:
		fmt.Fprintln(b.w, "more such rows are only counted")
	}
}
