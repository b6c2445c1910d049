package search_test

import (
	"errors"
	"testing"
	"time"

	client "millrace/shared/search"
	"millrace/shared/search/searchtest"
)

// Guards replay reconcile on the embedded part, which knows no points in time: it counts, and says of a scan that it offers none, so that documents are asked for by their ids.
func TestNoScan(t *testing.T) {
	_, base := start(t, t.TempDir())
	c := searchtest.New(t, client.Options{URL: base})
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	index := c.DeadIndex(at)
	if err := c.EnsureDead(t.Context()); err != nil {
		t.Fatal(err)
	}
	results, err := c.Bulk(t.Context(), []client.Operation{{Index: index, ID: "a", Source: []byte(`{"data_hash":"h","collector_tstamp":"2026-11-21T10:00:00Z"}`)}})
	if err != nil || results[0].Status != client.Done {
		t.Fatal(results, err)
	}
	if n, err := c.Count(t.Context(), index, at, at.Add(time.Second)); err != nil || n != 1 {
		t.Errorf("counted %d, %v", n, err)
	}
	if err := c.Scan(t.Context(), index, at, at.Add(time.Second), func(_, _ []byte) error { return nil }); !errors.Is(err, client.ErrNoScan) {
		t.Errorf("a scan: %v", err)
	}
}
