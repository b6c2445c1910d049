package warehouse

import (
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/shared/objectstore/objectstoretest"
)

// damages are the ways in which one table can be unusable. file is what the error must name.
var damages = []struct {
	name string
	do   func(t *testing.T, l *lake, w *Warehouse, tbl *Table) (file string)
}{
	{"metadata missing", func(t *testing.T, l *lake, w *Warehouse, tbl *Table) string {
		return spoil(t, l, w, tbl.ice.MetadataLocation(), nil)
	}},
	{"metadata cut", func(t *testing.T, l *lake, w *Warehouse, tbl *Table) string {
		return spoil(t, l, w, tbl.ice.MetadataLocation(), []byte(`{"format-version": 2, "table-uuid`))
	}},
	{"metadata of nothing", func(t *testing.T, l *lake, w *Warehouse, tbl *Table) string {
		return spoil(t, l, w, tbl.ice.MetadataLocation(), []byte(`{}`))
	}},
	{"manifest list missing", func(t *testing.T, l *lake, w *Warehouse, tbl *Table) string {
		return spoil(t, l, w, tbl.ice.CurrentSnapshot().ManifestList, nil)
	}},
	{"manifest list cut", func(t *testing.T, l *lake, w *Warehouse, tbl *Table) string {
		return spoil(t, l, w, tbl.ice.CurrentSnapshot().ManifestList, []byte("Obj"))
	}},
	{"manifest missing", func(t *testing.T, l *lake, w *Warehouse, tbl *Table) string {
		return spoil(t, l, w, manifest(t, w, tbl), nil)
	}},
	{"manifest cut", func(t *testing.T, l *lake, w *Warehouse, tbl *Table) string {
		return spoil(t, l, w, manifest(t, w, tbl), []byte("no Avro"))
	}},
	{"another bucket", func(t *testing.T, _ *lake, w *Warehouse, tbl *Table) string {
		row(t, w, tbl, "update iceberg_tables set metadata_location = 's3://elsewhere/x.metadata.json' where table_name = ?")
		return "s3://elsewhere/x.metadata.json"
	}},
	{"no metadata named", func(t *testing.T, _ *lake, w *Warehouse, tbl *Table) string {
		row(t, w, tbl, "update iceberg_tables set metadata_location = null where table_name = ?")
		return "entry in the catalog"
	}},
	{"a view of its name", func(t *testing.T, _ *lake, w *Warehouse, tbl *Table) string {
		row(t, w, tbl, "update iceberg_tables set iceberg_type = 'VIEW' where table_name = ?")
		return "entry in the catalog"
	}},
}

// spoil replaces an object of a table, or removes it.
func spoil(t *testing.T, l *lake, w *Warehouse, file string, body []byte) string {
	t.Helper()
	key, err := w.Key(file)
	if err == nil && body == nil {
		err = l.store.Delete(t.Context(), key)
	} else if err == nil {
		err = l.store.Put(t.Context(), key, body)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func manifest(t *testing.T, w *Warehouse, tbl *Table) string {
	t.Helper()
	list, err := tbl.ice.CurrentSnapshot().Manifests(w.fileIO(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return list[0].FilePath()
}

func row(t *testing.T, w *Warehouse, tbl *Table, query string) {
	t.Helper()
	if _, err := w.db.ExecContext(t.Context(), query, tbl.Name.Table); err != nil {
		t.Fatal(err)
	}
}

// Guards every other table against one that is damaged: whichever of its parts is at fault, the error says that it is this table, and which file, so that a caller can go on with the others; and dropping it is
// possible, so that it can be made anew.
func TestDamaged(t *testing.T) {
	for _, c := range damages {
		t.Run(c.name, func(t *testing.T) {
			l := newLake(t)
			w := l.open(t)
			tbl := ensure(t, w, events, spec())
			tbl = commit(t, w, tbl, Change{Add: []string{write(t, w, tbl, `[{"id":"a","day":"2026-11-20"}]`)}})
			if err := w.Examine(t.Context(), events); err != nil {
				t.Fatalf("whole: %v", err)
			}
			file := c.do(t, l, w, tbl)
			w = l.open(t) // which has read nothing
			err := w.Examine(t.Context(), events)
			if damaged := (*Damaged)(nil); !errors.As(err, &damaged) || damaged.Name != events || !strings.Contains(err.Error(), file) || errors.Is(err, ErrNoTable) {
				t.Errorf("got %v, want one of %s", err, file)
			}
			if names, err := w.TablesOf(t.Context(), "events"); err != nil || slices.Contains(names, events) == (c.name == "a view of its name") {
				t.Errorf("the list: %v, %v", names, err)
			}
			if c.name == "a view of its name" {
				return // and not ours to drop
			}
			if err := w.Drop(t.Context(), events); err != nil {
				t.Error(err)
			}
			ensure(t, w, events, spec())
			if err := w.Examine(t.Context(), events); err != nil {
				t.Errorf("made anew: %v", err)
			}
		})
	}
}

// Guards against an outage that is taken for damage, on which somebody would make whole tables anew: a store or a catalog that is away is no table's fault, nor is a table that is not there.
func TestOutageIsNoDamage(t *testing.T) {
	l := newLake(t)
	w := l.open(t)
	tbl := ensure(t, w, events, spec())
	commit(t, w, tbl, Change{Add: []string{write(t, w, tbl, `[{"id":"a","day":"2026-11-20"}]`)}})
	f := func(what string, err error) {
		t.Helper()
		if damaged := (*Damaged)(nil); err == nil || errors.As(err, &damaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f("no table", w.Examine(t.Context(), Name{"events", "none"}))
	for _, suffix := range []string{".json", ".avro"} {
		l.server.Fail(func(_, _, key string) objectstoretest.Fault {
			if strings.HasSuffix(key, suffix) {
				return objectstoretest.Refuse
			}
			return objectstoretest.Serve
		})
		f(suffix, l.open(t).Examine(t.Context(), events))
	}
	refused := l.open(t)
	l.server.Fail(func(_, _, key string) objectstoretest.Fault {
		if strings.HasSuffix(key, ".json") {
			return objectstoretest.Refuse
		}
		return objectstoretest.Serve
	})
	_, cause := refused.cat.LoadTable(t.Context(), refused.identifier(events))
	l.server.Fail(nil)
	f("one that is over", refused.blame(t.Context(), events, cause))
	closed := l.open(t)
	if err := closed.db.Close(); err != nil {
		t.Fatal(err)
	}
	f("catalog", closed.Examine(t.Context(), events))
}

// Guards a REST catalog's tables: one whose metadata the server does not find is listed, and so damaged, not absent.
func TestDamagedOverREST(t *testing.T) {
	l := newLake(t)
	w := l.open(t)
	ensure(t, w, events, spec())
	rest := l.served(t, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/tables/"+events.Table) })
	damaged := (*Damaged)(nil)
	if _, err := rest.open(t).Load(t.Context(), events); !errors.As(err, &damaged) {
		t.Errorf("listed and not found: %v", err)
	}
	if _, err := rest.open(t).Load(t.Context(), Name{"events", "none"}); !errors.Is(err, ErrNoTable) || errors.As(err, &damaged) {
		t.Errorf("not listed: %v", err)
	}
}

// Guards against two at work after somebody removed the lock's file: who held it commits nothing more, makes and drops no table, and says why.
func TestLockFileRemoved(t *testing.T) {
	l := newLake(t)
	w := l.open(t)
	tbl := ensure(t, w, events, spec())
	unlock, err := w.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(w.path + "." + w.config.Name + ".lock"); err != nil {
		t.Fatal(err)
	}
	other, err := l.open(t).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lost(t, w, tbl)
	if err := errors.Join(unlock(), other(), w.Held(t.Context())); err != nil {
		t.Error(err)
	}
}

// lost checks that nothing can be changed by a warehouse whose lock is lost.
func lost(t *testing.T, w *Warehouse, tbl *Table) {
	t.Helper()
	if err := w.Held(t.Context()); !errors.Is(err, ErrLockLost) {
		t.Errorf("held: %v", err)
	}
	if _, err := w.Commit(t.Context(), tbl, Change{Properties: map[string]string{"x": "y"}}); !errors.Is(err, ErrLockLost) {
		t.Errorf("commit: %v", err)
	}
	if _, err := w.Ensure(t.Context(), Name{"events", "another"}, spec()); !errors.Is(err, ErrLockLost) {
		t.Errorf("make: %v", err)
	}
	if err := w.Drop(t.Context(), tbl.Name); !errors.Is(err, ErrLockLost) {
		t.Errorf("drop: %v", err)
	}
	now, err := w.Load(t.Context(), tbl.Name)
	if err != nil || now.Properties()["x"] != "" {
		t.Errorf("the table: %v, %v", now, err)
	}
}

// Guards whoever finds the lock taken: the error says by whom and since when.
func TestBusySaysSince(t *testing.T) { busySince(t, newLake(t)) }

func busySince(t *testing.T, l *lake) {
	t.Helper()
	before := time.Now().Add(-time.Minute) // clocks of a server
	unlock, err := l.open(t).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	busy := (*Busy)(nil)
	if _, err := l.open(t).Lock(t.Context()); !errors.As(err, &busy) || !strings.HasPrefix(busy.Holder, process()) || busy.Since.Before(before) || busy.For < 0 || busy.For > time.Minute {
		t.Errorf("%v: %+v", err, busy)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}
