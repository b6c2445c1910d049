package main

import (
	"errors"
	"fmt"
	"time"

	"millrace/functions/curate/internal/warehouse"
)

// busy says that another run is at work, by whom and since when. It is nil as long as that is no longer ago than patience: a run that began a moment ago does this one's work. Beyond it, and where nobody knows how
// long it is, it is an error: a lock that nobody lets go of would look like success for ever to whoever counts jobs that ended with 0. In neither case are metrics pushed, so that their time of the last success stays.
func (s *session) busy(taken error, patience time.Duration) error {
	b := new(warehouse.Busy)
	if errors.As(taken, &b) && !b.Since.IsZero() && b.For <= patience {
		s.log.Warn("nothing done: another run is at work", "holder", b.Holder, "since", b.Since.UTC(), "for", b.For.Round(time.Second))
		return nil
	}
	return fmt.Errorf("nothing is brought up to date: %w: end that process where it is stuck (on Postgres, select pg_terminate_backend(pid) lets go of the lock of one that is gone)", taken)
}
