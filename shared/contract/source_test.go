package contract

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func write(t *testing.T, dir, name, text string, age time.Duration) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC).Add(-age)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

// Guards a running function against a broken file: it keeps the contracts it has, says so once, and takes the repaired file.
func TestSourceKeepsOldSetOnBrokenFile(t *testing.T) {
	dir := t.TempDir()
	good := string(mustParse(t, "- {name: a, logicalType: string}").Source())
	write(t, dir, "test.odcs.yaml", good, 3*time.Hour)
	write(t, dir, "notes.txt", "not a contract", 0)
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	first := s.Set()
	if _, ok := first.Find("Test", "1-2-3"); !ok || len(first.All()) != 4 {
		t.Fatalf("%d contracts", len(first.All()))
	}
	if changed, err := s.Reload(t.Context()); changed || err != nil || s.Set() != first {
		t.Errorf("nothing changed: %t, %v", changed, err)
	}
	write(t, dir, "test.odcs.yaml", strings.Replace(good, "logicalType: string", "logicalType: strings", 1), 2*time.Hour)
	if changed, err := s.Reload(t.Context()); changed || err == nil || !strings.Contains(err.Error(), "test.odcs.yaml") || s.Set() != first {
		t.Errorf("broken file: %t, %v", changed, err)
	}
	if _, err := s.Reload(t.Context()); err != nil {
		t.Errorf("the same error again: %v", err)
	}
	write(t, dir, "test.odcs.yaml", strings.Replace(good, "1.2.3", "1.2.4", 1), time.Hour)
	if changed, err := s.Reload(t.Context()); !changed || err != nil {
		t.Errorf("repaired file: %t, %v", changed, err)
	}
	if _, ok := s.Set().Find("Test", "1-2-4"); !ok {
		t.Error("the repaired contract is not there")
	}
}

// Guards handlers that look for a contract beside Watch and beside each other: a change is taken once, and told once.
func TestReloadConcurrently(t *testing.T) {
	dir := t.TempDir()
	taken := 0 // unguarded: accept is never called concurrently
	s, err := Open(t.Context(), dir, func(*Set) error { taken++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "test.odcs.yaml", string(mustParse(t, "- {name: a, logicalType: string}").Source()), 0)
	var told atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			changed, err := s.Reload(t.Context())
			if err != nil {
				t.Error(err)
			}
			if changed {
				told.Add(1)
			}
			if _, ok := s.Set().Find("Test", "1-2-3"); !ok {
				t.Error("back from Reload, the contract is not there")
			}
		})
	}
	all.Wait()
	if taken != 2 || told.Load() != 1 {
		t.Errorf("taken %d times, told %d times", taken, told.Load())
	}
}

// Guards the order of things at start and later: a set that the user of contracts cannot work with is never taken.
func TestSourceAsksBeforeTaking(t *testing.T) {
	refuse := errors.New("no such table")
	if _, err := Open(t.Context(), "", func(*Set) error { return refuse }); !errors.Is(err, refuse) {
		t.Errorf("got %v", err)
	}
	if _, err := Open(t.Context(), "s3://bucket/contracts"); !errors.Is(err, ErrUnsupportedLocation) {
		t.Errorf("got %v", err)
	}
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// Guards that a file can take the place of an embedded contract, and that Watch tells of it.
func TestWatchReportsAndFileReplacesEmbedded(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), "file://"+dir)
	if err != nil {
		t.Fatal(err)
	}
	ticks, reports := make(chan time.Time), make(chan error, 1)
	done := make(chan struct{})
	go func() {
		s.Watch(t.Context(), ticks, func(changed bool, err error) {
			if !changed {
				err = errors.Join(errors.New("not changed"), err)
			}
			reports <- err
		})
		close(done)
	}()
	write(t, dir, "taxi.odcs.yaml", strings.Replace(string(taxi(t).Source()), "status: active", "status: retired", 1), 0)
	ticks <- time.Time{}
	if err := <-reports; err != nil {
		t.Fatal(err)
	}
	close(ticks)
	<-done
	if len(s.Set().All()) != 3 || len(s.Set().Active("YellowTaxiTripRecords")) != 0 {
		t.Errorf("%d contracts, the embedded one still active", len(s.Set().All()))
	}
}
