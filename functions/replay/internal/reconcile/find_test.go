package reconcile

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"millrace/shared/event"
	"millrace/shared/search"
)

// fakeScanner is search that can be read as a whole, but for what is not refreshed; it notes which indexes were.
type fakeScanner struct {
	fakeSearch
	unrefreshed map[string]bool // by id
	others      int64           // documents of the time that nobody looks for
	err         error
	scanned     []string
	asked       int // documents by their ids
}

func (s *fakeScanner) Count(_ context.Context, index string, _, _ time.Time) (n int64, err error) {
	for ref := range s.fakeSearch {
		if ref.Index == index {
			n++
		}
	}
	return n + s.others, nil
}

func (s *fakeScanner) Scan(_ context.Context, index string, from, to time.Time, f func(id, hash []byte) error) error {
	s.scanned = append(s.scanned, index)
	if s.err != nil {
		return s.err
	}
	if from.After(noon) || to.Before(noon) {
		return fmt.Errorf("%s to %s leaves out %s", from, to, noon)
	}
	for ref, hash := range s.fakeSearch {
		if ref.Index == index && !s.unrefreshed[ref.ID] {
			if err := f([]byte(ref.ID), []byte(hash)); err != nil {
				return err
			}
		}
	}
	return f([]byte("no root id"), nil)
}

func (s *fakeScanner) Versions(ctx context.Context, refs []search.Ref) ([]search.Version, error) {
	s.asked += len(refs)
	return s.fakeSearch.Versions(ctx, refs)
}

// Guards the short way to a million documents: what a scan of their index shows is not asked for again, and what it does not show is, so that no document that is not refreshed, that is another payload's, or
// that is not there gets another answer than by its id.
func TestScan(t *testing.T) {
	const n = scanFrom + 100
	w := newWorld(t)
	for i := range n {
		w.pass(fmt.Sprint(i))
	}
	ref := func(id string) search.Ref {
		return search.Ref{Index: w.search.EnrichedIndex("T", 1, noon), ID: event.Identity("/s", id)}
	}
	w.pass("twice")
	again := w.event("twice", event.Stage, event.StageEnriched)
	w.enriched.add(again, noon.Add(time.Minute))
	run := func(s *fakeScanner) *Report {
		t.Helper()
		o := w.options(noon, later)
		o.Documents, o.Scanner = s, s
		r, err := Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	s := &fakeScanner{fakeSearch: w.search, unrefreshed: map[string]bool{ref("7").ID: true}}
	w.closes(run(s))
	if len(s.scanned) != 1 || s.asked != 1 {
		t.Errorf("scanned %v, and asked for %d", s.scanned, s.asked)
	}
	for name, s := range map[string]*fakeScanner{
		"no scan": {fakeSearch: w.search, err: fmt.Errorf("it is another server: %w", search.ErrNoScan)}, "too many others": {fakeSearch: w.search, others: scanMost * n},
	} {
		w.closes(run(s))
		if s.asked != n+2 || len(s.scanned) > 1 {
			t.Errorf("%s: scanned %v, and asked for %d", name, s.scanned, s.asked)
		}
	}
	delete(w.search, ref("8"))
	w.search[ref("9")] = event.Hash([]byte("another"))
	w.misses(run(&fakeScanner{fakeSearch: w.search}), NotSearchable, "8", "9")

	o := w.options(noon, later)
	o.Scanner = &fakeScanner{fakeSearch: w.search, err: errors.New("away")}
	if r, err := Run(t.Context(), o); err == nil || r != nil {
		t.Errorf("search is away: %+v, %v", r, err)
	}
}
