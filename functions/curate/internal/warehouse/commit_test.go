package warehouse

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// Guards against half a commit: whichever PUT fails, of data, manifests or metadata, the table stays as it was, rows and properties; the same change then succeeds.
func TestCommitFailsAtEachWrite(t *testing.T) {
	l := newLake(t)
	w := l.open(t)
	tbl := commit(t, w, ensure(t, w, events, spec()), Change{Add: []string{write(t, w, ensure(t, w, events, spec()), `[{"id":"old","day":"2026-11-20"}]`)}, Properties: map[string]string{"at": "0"}})
	for failing := 1; ; failing++ {
		puts := 0
		l.server.Fail(func(method, _, _ string) objectstoretest.Fault {
			if method != http.MethodPut {
				return objectstoretest.Serve
			}
			if puts++; puts >= failing {
				return objectstoretest.Refuse
			}
			return objectstoretest.Serve
		})
		next, err := w.Commit(t.Context(), tbl, Change{RemoveAll: true, Add: []string{write(t, w, tbl, `[{"id":"new","day":"2026-11-20"}]`)}, Properties: map[string]string{"at": "1"}})
		l.server.Fail(nil)
		want, at := "old", "0"
		if err == nil {
			want, at = "new", "1"
			if next.Properties()["at"] != "1" {
				t.Errorf("the commit returned %v", next.Properties())
			}
		} else if errors.Is(err, ErrConflict) {
			t.Errorf("PUT %d: %v", failing, err)
		}
		now, loadErr := l.open(t).Load(t.Context(), events)
		if loadErr != nil {
			t.Fatal(loadErr)
		}
		if got := column(t, l.open(t), now, "id", false); !slices.Equal(got, []string{want}) || now.Properties()["at"] != at {
			t.Errorf("PUT %d failed (%v): rows %q, %v", failing, err, got, now.Properties())
		}
		if err == nil {
			if failing < 5 {
				t.Errorf("only %d PUTs were seen", failing)
			}
			return
		}
	}
}

// faulty is a catalog that loses its commits, or their answers.
type faulty struct {
	catalog.Catalog
	before, after error
	commits       int
}

func (f *faulty) CommitTable(ctx context.Context, id table.Identifier, reqs []table.Requirement, updates []table.Update) (table.Metadata, string, error) {
	if f.commits++; f.before != nil {
		return nil, "", f.before
	}
	meta, location, err := f.Catalog.CommitTable(ctx, id, reqs, updates)
	if err == nil && f.after != nil {
		return nil, "", f.after
	}
	return meta, location, err
}

// Guards the catalog's step: lost before it, the table is as it was; with only the answer lost, it is as it should be and the properties say so; neither is called a conflict, nor repeated.
func TestCommitFailsAtTheCatalog(t *testing.T) {
	away := errors.New("the catalog is away")
	f := func(name string, fault *faulty, want string, conflict bool) {
		t.Helper()
		l := newLake(t)
		w := l.open(t)
		tbl := ensure(t, w, events, spec())
		fault.Catalog = w.cat
		w.cat = fault
		_, err := w.Commit(t.Context(), tbl, Change{Add: []string{write(t, w, tbl, `[{"id":"new","day":"2026-11-20"}]`)}, Properties: map[string]string{"at": "1"}})
		if err == nil || errors.Is(err, ErrConflict) != conflict || !conflict && !errors.Is(err, away) {
			t.Errorf("%s: %v", name, err)
		}
		if fault.commits != 1 {
			t.Errorf("%s: %d attempts", name, fault.commits)
		}
		other := l.open(t)
		now, err := other.Load(t.Context(), events)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(now.Properties()["at"], column(t, other, now, "id", false)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	f("before", &faulty{before: away}, "[]", false)
	f("after", &faulty{after: away}, "1[new]", false)
	f("conflict", &faulty{before: fmt.Errorf("409: %w", table.ErrCommitFailed)}, "[]", true)
}

// Guards exactly-once: of two commits from one state one wins, be they of rows, of properties alone, of columns, or one of each; what the other wanted is nowhere.
func TestSecondCommitterLoses(t *testing.T) { secondCommitterLoses(t, newLake) }

func secondCommitterLoses(t *testing.T, newLake func(*testing.T) *lake) {
	rows := func(t *testing.T, w *Warehouse, tbl *Table, id string) error {
		_, err := w.Commit(t.Context(), tbl, Change{Add: []string{write(t, w, tbl, `[{"id":"`+id+`","day":"2026-11-20"}]`)}, Properties: map[string]string{"by": id}})
		return err
	}
	props := func(t *testing.T, w *Warehouse, tbl *Table, id string) error {
		_, err := w.Commit(t.Context(), tbl, Change{Properties: map[string]string{"by": id}})
		return err
	}
	rebuild := func(t *testing.T, w *Warehouse, tbl *Table, id string) error {
		_, err := w.Commit(t.Context(), tbl, Change{RemoveAll: true, Add: []string{write(t, w, tbl, `[{"id":"`+id+`","day":"2026-11-20"}]`)}, Properties: map[string]string{"by": id}})
		return err
	}
	columns := func(t *testing.T, _ *Warehouse, tbl *Table, id string) error {
		_, err := tbl.evolve(t.Context(), Spec{Columns: []Column{{Name: "more_" + id, Type: text}}})
		return err
	}
	type act func(*testing.T, *Warehouse, *Table, string) error
	acts := map[string]act{"rows": rows, "properties": props, "rebuild": rebuild, "columns": columns}
	for a, first := range acts {
		for b, second := range acts {
			t.Run(a+" then "+b, func(t *testing.T) {
				l := newLake(t)
				w, other := l.open(t), l.open(t)
				tbl := ensure(t, w, events, spec())
				tbl = commit(t, w, tbl, Change{Add: []string{write(t, w, tbl, `[{"id":"old","day":"2026-11-20"}]`)}, Properties: map[string]string{"by": "old"}})
				stale, err := other.Load(t.Context(), events)
				if err != nil {
					t.Fatal(err)
				}
				if err := first(t, w, tbl, "first"); err != nil {
					t.Fatal(err)
				}
				won, err := other.Load(t.Context(), events)
				if err != nil {
					t.Fatal(err)
				}
				if err := second(t, other, stale, "second"); !errors.Is(err, ErrConflict) {
					t.Errorf("the second: %v", err)
				}
				now, err := w.Load(t.Context(), events)
				if err != nil {
					t.Fatal(err)
				}
				if now.ice.MetadataLocation() != won.ice.MetadataLocation() {
					t.Errorf("the table moved on to %v", now.Properties())
				}
			})
		}
	}
}

// Guards many at once, truly concurrent: who loses reloads and goes on, and in the end each row is there once.
func TestManyCommitters(t *testing.T) { manyCommitters(t, newLake(t)) }

func manyCommitters(t *testing.T, l *lake) {
	const committers, commits = 4, 5
	ensure(t, l.open(t), events, spec())
	var wg sync.WaitGroup
	var want []string
	for i := range committers {
		w := l.open(t)
		for j := range commits {
			want = append(want, fmt.Sprintf("%d-%d", i, j))
		}
		wg.Go(func() {
			for j := range commits {
				for {
					tbl, err := w.Load(t.Context(), events)
					if err != nil {
						t.Error(err)
						return
					}
					_, err = w.Commit(t.Context(), tbl, Change{Add: []string{write(t, w, tbl, fmt.Sprintf(`[{"id":"%d-%d","day":"2026-11-20"}]`, i, j))}})
					if err == nil {
						break
					}
					if !errors.Is(err, ErrConflict) {
						t.Errorf("committer %d: %v", i, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	w := l.open(t)
	tbl, err := w.Load(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	if got := column(t, w, tbl, "id", false); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// Guards partitions: a file with two days, or with a day and none, is refused before anything is uploaded, and so is one without rows or with another type.
func TestCommitRefuses(t *testing.T) {
	l := newLake(t)
	w := l.open(t)
	tbl := ensure(t, w, events, spec())
	other := ensure(t, w, Name{"star", "other"}, Spec{Columns: []Column{{Name: "id", Type: long}, {Name: "day", Type: date}}})
	f := func(path string, want string) {
		t.Helper()
		if _, err := w.Commit(t.Context(), tbl, Change{Add: []string{path}}); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f(write(t, w, tbl, `[{"id":"a","day":"2026-11-20"},{"id":"b","day":"2026-11-21"}]`), "more than one value")
	f(write(t, w, tbl, `[{"id":"a","day":"2026-11-20"},{"id":"b"}]`), "several values")
	f(write(t, w, tbl, `[]`), "no ")
	f(write(t, w, other, `[{"id":1,"day":"2026-11-20"}]`), "id")
	f(filepath.Join(t.TempDir(), "none.parquet"), "no such file")
	if _, err := w.Commit(t.Context(), tbl, Change{Compaction: true, Add: []string{write(t, w, tbl, `[{"id":"a","day":"2026-11-20"}]`)}}); err == nil {
		t.Error("a compaction that adds rows")
	}
	for key := range l.server.Objects("lake") {
		if strings.HasSuffix(key, ".parquet") {
			t.Errorf("%s was uploaded", key)
		}
	}
}

// committerVariable makes the test's binary the child of TestKill.
const committerVariable = "MILLRACE_TEST_COMMITTER"

func TestMain(m *testing.M) {
	if settings := os.Getenv(committerVariable); settings != "" {
		if err := committing(context.Background(), strings.Fields(settings)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// committing holds the lock and replaces the whole table, generation after generation, until it is killed.
func committing(ctx context.Context, settings []string) error {
	store, err := objectstore.Open(objectstore.Config{Endpoint: settings[0], Region: "us-east-1", AccessKey: "key", SecretKey: "secret", Bucket: "lake", Attempts: 1})
	if err != nil {
		return err
	}
	w, err := Open(ctx, Config{Catalog: settings[1], Name: "lake", Store: store, Prefix: "warehouse", Scratch: settings[2]})
	if err != nil {
		return err
	}
	if _, err := w.Lock(ctx); err != nil {
		return err
	}
	fmt.Println("locked")
	for {
		tbl, err := w.Load(ctx, events)
		if err != nil {
			return err
		}
		generation, err := strconv.Atoi(tbl.Properties()["generation"])
		if err != nil {
			return err
		}
		next := strconv.Itoa(generation + 1)
		files := make([]string, 2)
		for i := range files {
			files[i] = w.NewFile(tbl)
			writeParquet(quiet{}, files[i], tbl.Schema(), `[{"id":"`+next+`","day":"2026-11-2`+strconv.Itoa(i)+`"}]`)
		}
		if _, err := w.Commit(ctx, tbl, Change{RemoveAll: true, Add: files, Properties: map[string]string{"generation": next}}); err != nil {
			return err
		}
	}
}

// quiet is a testing.TB outside a test.
type quiet struct{ testing.TB }

func (quiet) Helper()           {}
func (quiet) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// Guards against any kill: a committer that is killed at whichever of its requests leaves a table of one generation, rows and property alike, and no lock. Another process goes on from there, and
// removes what the dead one left in the scratch directory.
func TestKill(t *testing.T) {
	l := newLake(t)
	l.store = reopen(t, l) // without the transport that closes each connection
	w := l.open(t)
	commit(t, w, ensure(t, w, events, spec()), Change{Properties: map[string]string{"generation": "0"}})
	scratch := t.TempDir()
	last := 0
	seen := map[int]bool{}
	for round := range 10 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), committerVariable+"="+strings.Join([]string{l.server.URL, l.catalog, scratch}, " "))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		requests, after := 0, 3+round*4
		reached := make(chan struct{})
		l.server.Fail(func(string, string, string) objectstoretest.Fault {
			if requests++; requests == after {
				close(reached)
			}
			return objectstoretest.Serve
		})
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 7)
		if _, err := out.Read(line); err != nil {
			t.Fatalf("the child: %q, %v", line, err)
		}
		if round == 0 {
			if _, err := w.Lock(t.Context()); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), strconv.Itoa(cmd.Process.Pid)) {
				t.Errorf("lock beside the child %d: %v", cmd.Process.Pid, err)
			}
		}
		<-reached
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		l.server.Fail(nil)
		unlock, err := w.Lock(t.Context())
		if err != nil {
			t.Fatalf("lock after the kill: %v", err)
		}
		if err := unlock(); err != nil {
			t.Error(err)
		}
		now, err := w.Load(t.Context(), events)
		if err != nil {
			t.Fatal(err)
		}
		generation := now.Properties()["generation"]
		var want []string
		if generation != "0" {
			want = []string{generation, generation}
		}
		if got := column(t, w, now, "id", false); !slices.Equal(got, want) {
			t.Fatalf("round %d: generation %s has rows %q", round, generation, got)
		}
		n, err := strconv.Atoi(generation)
		if err != nil || n < last {
			t.Fatalf("round %d: generation %s after %d, %v", round, generation, last, err)
		}
		seen[n-last] = true
		last = n
	}
	if len(seen) < 3 {
		t.Errorf("the kills came after %v commits each: nothing was varied", seen)
	}
	s, err := newScratch(scratch)
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(scratch)
	if err != nil || len(left) != 2 {
		t.Errorf("left in the scratch directory: %v, %v", left, err)
	}
	if err := s.remove(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) != 0 {
		t.Errorf("left in the scratch directory: %v, %v", left, err)
	}
}

func reopen(t *testing.T, l *lake) *objectstore.Bucket {
	t.Helper()
	c := l.server.Config("lake", 1)
	c.Transport = nil
	b, err := objectstore.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Guards against two runs at once, in one process too, and against a lock that outlives its unlocking.
func TestLock(t *testing.T) { lockTwice(t, newLake(t)) }

func lockTwice(t *testing.T, l *lake) {
	w, other := l.open(t), l.open(t)
	if !w.Exclusive() {
		t.Error("the lock is said to keep nobody out")
	}
	for range 2 {
		unlock, err := w.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []*Warehouse{w, other} {
			if _, err := x.Lock(t.Context()); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "process ") {
				t.Errorf("second lock: %v", err)
			}
		}
		if err := errors.Join(unlock(), unlock()); err != nil {
			t.Error(err)
		}
	}
	unlock, err := other.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}
