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

// file returns a contract file for an event type, a version and the type of its only field a.
func contractFile(t *testing.T, eventType, version, logicalType string) string {
	t.Helper()
	text := string(mustParse(t, "- {name: a, logicalType: string}").Source())
	for old, now := range map[string]string{"value: Test}": "value: " + eventType + "}", "1.2.3": version, "logicalType: string": "logicalType: " + logicalType} {
		if !strings.Contains(text, old) {
			t.Fatalf("no %q in\n%s", old, text)
		}
		text = strings.Replace(text, old, now, 1)
	}
	return text
}

// wrong returns the base names of the set's files that are wrong, with what they are for.
func wrong(s *Set) string {
	var list []string
	for _, v := range s.Invalid() {
		text := filepath.Base(v.File) + " " + v.EventType + " " + v.Version
		if v.Kept {
			text += " kept"
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// Guards a running function against a broken file: it keeps the contract it has, takes the other changes, says so once, and takes the repaired file.
func TestSourceKeepsContractOfBrokenFile(t *testing.T) {
	dir := t.TempDir()
	good := contractFile(t, "Test", "1.2.3", "string")
	write(t, dir, "test.odcs.yaml", good, 3*time.Hour)
	write(t, dir, "notes.txt", "not a contract", 0)
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	first := s.Set()
	before, ok := first.Find("Test", "1-2-3")
	if !ok || len(first.All()) != 4 {
		t.Fatalf("%d contracts", len(first.All()))
	}
	if changed, err := s.Reload(t.Context()); changed || err != nil || s.Set() != first {
		t.Errorf("nothing changed: %t, %v", changed, err)
	}
	write(t, dir, "test.odcs.yaml", contractFile(t, "Test", "1.2.4", "strings"), 2*time.Hour)
	write(t, dir, "other.odcs.yaml", contractFile(t, "Other", "0.0.1", "string"), 2*time.Hour)
	if changed, err := s.Reload(t.Context()); !changed || err != nil {
		t.Errorf("broken file: %t, %v", changed, err)
	}
	if now, _ := s.Set().Find("Test", "1-2-3"); now != before || !s.Set().Known("Other") {
		t.Error("the last good contract, or the other file's, is not in use")
	}
	if got := wrong(s.Set()); got != "test.odcs.yaml Test 1-2-4 kept" {
		t.Errorf("wrong: %s", got)
	}
	if _, held := s.Set().Held("Test", "1-2-4"); !held {
		t.Error("events of the version that the broken file is for do not wait")
	}
	if _, held := s.Set().Held("Test", "1-2-5"); held {
		t.Error("events of a version that no file is for wait")
	}
	if changed, err := s.Reload(t.Context()); changed || err != nil {
		t.Errorf("told again: %t, %v", changed, err)
	}
	write(t, dir, "test.odcs.yaml", contractFile(t, "Test", "1.2.4", "string"), time.Hour)
	if changed, err := s.Reload(t.Context()); !changed || err != nil || wrong(s.Set()) != "" {
		t.Errorf("repaired file: %t, %v, %s", changed, err, wrong(s.Set()))
	}
	if _, ok := s.Set().Find("Test", "1-2-4"); !ok {
		t.Error("the repaired contract is not there")
	}
}

// Guards a function that starts beside broken files: it starts, works with the others, and events of the broken ones' types wait instead of becoming dead letters.
func TestSourceStartsBesideBrokenFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.odcs.yaml", contractFile(t, "A", "0.0.1", "string"), 0)
	write(t, dir, "badtype.odcs.yaml", contractFile(t, "BadType", "0.0.1", "strings"), 0)
	write(t, dir, "badversion.odcs.yaml", contractFile(t, "BadVersion", "1.x.3", "string"), 0)
	write(t, dir, "noyaml.odcs.yaml", "version: 0.0.2\ncustomProperties:\n  - {property: eventType, value: NoYAML}\n\tx: {", 0)
	write(t, dir, "empty.odcs.yaml", "", 0)
	write(t, dir, "taxi.odcs.yaml", strings.Replace(string(taxi(t).Source()), "status: active", "statsu: active", 1), 0)
	if err := os.Symlink(filepath.Join(dir, "absent"), filepath.Join(dir, "link.odcs.yaml")); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	set := s.Set()
	want := "badtype.odcs.yaml BadType 0-0-1, badversion.odcs.yaml BadVersion , empty.odcs.yaml  , link.odcs.yaml  , " +
		"noyaml.odcs.yaml NoYAML 0-0-2, taxi.odcs.yaml YellowTaxiTripRecords 0-0-1"
	if got := wrong(set); got != want {
		t.Errorf("wrong files\n got %s\nwant %s", got, want)
	}
	for _, test := range []struct {
		eventType, version string
		found, held        bool
	}{
		{"A", "0-0-1", true, false},
		{"BadType", "0-0-1", false, true},
		{"BadType", "0-0-2", false, false},
		{"BadType", "", false, true},
		{"BadVersion", "9-9-9", false, true},
		{"NoYAML", "0-0-2", false, true},
		{"Nobody", "0-0-1", false, false},
		// The embedded contract would judge events by rules that the file was to change.
		{"YellowTaxiTripRecords", "0-0-1", false, true},
		{"PageView", "0-0-1", true, false},
	} {
		_, found := set.Find(test.eventType, test.version)
		v, held := set.Held(test.eventType, test.version)
		if found != test.found || !found && held != test.held {
			t.Errorf("%s %s: found %t, held %t", test.eventType, test.version, found, held)
		}
		if held && (!strings.Contains(v.Error(), v.File) || !strings.Contains(v.Error(), "wait") || !strings.Contains(v.Error(), "correct the file")) {
			t.Errorf("%s does not say what to do", v)
		}
	}
	// Nothing about a file changes when what it links to appears, so it is looked at again each time.
	write(t, dir, "absent", contractFile(t, "Linked", "0.0.1", "string"), 0)
	if changed, err := s.Reload(t.Context()); !changed || err != nil || !s.Set().Known("Linked") {
		t.Errorf("a file that could not be read: %t, %v", changed, err)
	}
	// Taken away, the file holds nothing back, and the embedded contract stands again.
	if err := os.Remove(filepath.Join(dir, "taxi.odcs.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reload(t.Context()); err != nil || !s.Set().Known("YellowTaxiTripRecords") {
		t.Errorf("without the broken file: %v, %s", err, wrong(s.Set()))
	}
}

// Guards against a broken file beside a running function that takes an embedded contract out of use.
func TestSourceKeepsEmbeddedInUse(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Replace(string(taxi(t).Source()), "status: active", "statsu: active", 1)
	write(t, dir, "taxi.odcs.yaml", broken, time.Hour)
	if changed, err := s.Reload(t.Context()); !changed || err != nil || !s.Set().Known("YellowTaxiTripRecords") {
		t.Errorf("%t, %v, %s", changed, err, wrong(s.Set()))
	}
	write(t, dir, "taxi.odcs.yaml", broken+" ", 0)
	if _, err := s.Reload(t.Context()); err != nil || !s.Set().Known("YellowTaxiTripRecords") || wrong(s.Set()) != "taxi.odcs.yaml YellowTaxiTripRecords 0-0-1 kept" {
		t.Errorf("broken in another way: %v, %s", err, wrong(s.Set()))
	}
}

// Guards against two good files that contradict each other: both are named, the one in use stays, and nothing else is touched.
func TestSourceNamesBothOfAConflict(t *testing.T) {
	for name, second := range map[string]struct{ text, wrong string }{
		"same version":     {contractFile(t, "Test", "1.2.3", "integer"), "a.odcs.yaml Test 1-2-3"},
		"same field":       {contractFile(t, "Test", "1.2.2", "integer"), "a.odcs.yaml Test 1-2-2"},
		"differ in case":   {contractFile(t, "TEST", "0.0.1", "string"), "a.odcs.yaml TEST 0-0-1"},
		"embedded in case": {contractFile(t, "pageview", "0.0.1", "string"), "a.odcs.yaml pageview 0-0-1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "b.odcs.yaml", contractFile(t, "Test", "1.2.3", "string"), time.Hour)
			s, err := Open(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			first, _ := s.Set().Find("Test", "1-2-3")
			write(t, dir, "a.odcs.yaml", second.text, 0) // first by name, but later
			write(t, dir, "c.odcs.yaml", contractFile(t, "Other", "0.0.1", "string"), 0)
			if changed, err := s.Reload(t.Context()); !changed || err != nil {
				t.Fatalf("%t, %v", changed, err)
			}
			if now, _ := s.Set().Find("Test", "1-2-3"); now != first || !s.Set().Known("Other") {
				t.Error("what was in use is not, or a third file is not taken")
			}
			if got := wrong(s.Set()); got != second.wrong {
				t.Fatalf("wrong: %s", got)
			}
			other := "b.odcs.yaml"
			if name == "embedded in case" {
				other = "embedded page_view.odcs.yaml"
			}
			if text := s.Set().Invalid()[0].Error(); !strings.Contains(text, other) || !strings.Contains(text, "a.odcs.yaml") {
				t.Errorf("both files are not named: %s", text)
			}
			// A start has nothing in use: the first by name.
			again, err := Open(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(again.Set().Invalid()); got != 1 || !again.Set().Known("Other") {
				t.Errorf("at the start: %s", wrong(again.Set()))
			}
		})
	}
}

// Guards against one contract that its user cannot work with: it alone is left out, at the start and later, and a better one before it stays.
func TestSourceLeavesOutWhatIsRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.odcs.yaml", contractFile(t, "A", "0.0.1", "string"), time.Hour)
	write(t, dir, "b.odcs.yaml", contractFile(t, "B", "0.0.1", "string"), time.Hour)
	noTable := errors.New("no such table")
	asked := 0
	refuse := func(s *Set) error {
		asked++
		var errs []error
		for _, c := range s.All() {
			if c.EventType == "B" || c.Addition == 9 {
				errs = append(errs, &Refusal{Contract: c, Err: noTable})
			}
		}
		return errors.Join(errs...)
	}
	s, err := Open(t.Context(), dir, refuse)
	if err != nil {
		t.Fatal(err)
	}
	if got := wrong(s.Set()); got != "b.odcs.yaml B 0-0-1" || !errors.Is(s.Set().Invalid()[0], noTable) || !s.Set().Known("A") {
		t.Errorf("at the start: %s", got)
	}
	write(t, dir, "a.odcs.yaml", contractFile(t, "A", "0.0.9", "string"), 0)
	asked = 0
	if _, err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Set().Find("A", "0-0-1"); !ok || wrong(s.Set()) != "a.odcs.yaml A 0-0-9 kept, b.odcs.yaml B 0-0-1" || asked != 2 {
		t.Errorf("later: %s, asked %d times", wrong(s.Set()), asked)
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
	if _, err := Open(t.Context(), "s3://bucket/contracts"); !errors.Is(err, errUnsupportedLocation) {
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
		s.watch(t.Context(), ticks, func(changed bool, err error) {
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
