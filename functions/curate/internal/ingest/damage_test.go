package ingest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/objectstore/objectstoretest"
)

// ruin makes a table unusable, and returns what mends it.
type ruin func(l *lake, name warehouse.Name) (mend func())

// file is the object of the table that the path function names.
func ruinFile(change func([]byte) []byte, path func(o Options, t *warehouse.Table) string) ruin {
	return func(l *lake, name warehouse.Name) (mend func()) {
		l.with(func(o Options) {
			t, err := o.Warehouse.Load(context.Background(), name)
			if err != nil {
				l.t.Fatal(err)
			}
			key, err := o.Warehouse.Key(path(o, t))
			if err != nil {
				l.t.Fatal(err)
			}
			mend = l.replaceObject(key, change)
		})
		return mend
	}
}

func metadataOf(_ Options, t *warehouse.Table) string { return t.Iceberg().MetadataLocation() }

func manifestsOf(_ Options, t *warehouse.Table) string {
	return t.Iceberg().CurrentSnapshot().ManifestList
}

// ruinRow changes the catalog's row of the table.
func ruinRow(set string) ruin {
	return func(l *lake, name warehouse.Name) (mend func()) {
		var was sql.NullString
		do := func(query string, args ...any) {
			l.t.Helper()
			db, err := sql.Open("sqlite", strings.TrimPrefix(l.catalog, "sqlite://"))
			if err != nil {
				l.t.Fatal(err)
			}
			if was.String == "" {
				err = db.QueryRow("select metadata_location from iceberg_tables where table_name = ?", name.Table).Scan(&was)
			}
			if err == nil {
				_, err = db.Exec("update iceberg_tables set "+query+" where table_name = ?", append(args, name.Table)...)
			}
			if err := errors.Join(err, db.Close()); err != nil {
				l.t.Fatal(err)
			}
		}
		do(set)
		return func() { do("metadata_location = ?, iceberg_type = 'TABLE'", was.String) }
	}
}

var ruins = map[string]ruin{
	"metadata missing":      ruinFile(nil, metadataOf),
	"metadata cut":          ruinFile(func(b []byte) []byte { return b[:len(b)/2] }, metadataOf),
	"manifest list missing": ruinFile(nil, manifestsOf),
	"manifest list damaged": ruinFile(func([]byte) []byte { return []byte("Obj?") }, manifestsOf),
	"no metadata named":     ruinRow("metadata_location = null"),
	"metadata elsewhere":    ruinRow("metadata_location = 's3://elsewhere/1.metadata.json'"),
}

// Guards all other tables and logs against one table that is damaged, in whichever way: it is an alarm of each run that has rows for it, which names the table, the file and the command that makes it anew; the others
// go on; and once it is mended it takes all of its rows, each once.
func TestDamagedTable(t *testing.T) {
	t.Parallel()
	for name, ruin := range ruins {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLake(t)
			l.land(enriched, plain("A", 3), plain("B", 1))
			l.must()
			mend := ruin(l, TableOf("A", "0"))
			for i := range 2 {
				l.land(enriched, plain("A", 1), plain("B", 1))
				l.land(deadOnes, deadObject("x"))
				res := l.must()
				if codes(res) != string(CodeDamaged)+"!" || res.Rows() != 2 || res.Stopped() == nil {
					t.Fatalf("run %d: %+v", i, res)
				}
				if a := res.Alarms[0]; a.Table != "events.enriched_a_0" || !strings.Contains(a.Message, a.Object) || !strings.Contains(a.Hint, "curate rebuild --table events.enriched_a_0 --yes") || strings.Contains(a.Hint, "INGEST_ACCEPT") {
					t.Errorf("%+v", a)
				}
			}
			mend()
			if res := l.must(); len(res.Alarms) > 0 || res.Rows() != 2 {
				t.Errorf("mended: %+v", res)
			}
			l.whole("A", 5)
			l.whole("B", 3)
			if got := l.query("select sum(rows) from ops.landing"); got != "10" {
				t.Error(got)
			}
		})
	}
}

// Guards a damaged table's way back: the command that its alarm names makes it anew from the landing log, whole, and no other table.
func TestRebuildOfOneTable(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"metadata missing", "manifest list damaged", "no metadata named"} {
		ruin := ruins[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLake(t)
			l.land(enriched, plain("A", 3), plain("B", 1))
			l.must()
			ruin(l, TableOf("A", "0"))
			l.land(enriched, plain("A", 1), plain("B", 1))
			l.must()
			res, err := l.rebuild(Options{Tables: []warehouse.Name{TableOf("A", "0")}, Verify: true})
			if err != nil || len(res.Alarms) > 0 || res.Rows() != 4 || len(res.Tables) != 1 {
				t.Errorf("%v, %+v", err, res)
			}
			l.whole("A", 4)
			l.whole("B", 2)
			if res := l.must(); len(res.Alarms) > 0 || res.Rows() != 0 {
				t.Errorf("%+v", res)
			}
		})
	}
}

// rebuild is Rebuild with the options' settings.
func (l *lake) rebuild(settings Options) (res Result, err error) {
	l.t.Helper()
	l.with(func(o Options) {
		o.Tables, o.Partial, o.Verify = settings.Tables, settings.Partial, settings.Verify
		res, err = Rebuild(context.Background(), o)
	})
	return res, err
}

// Guards the tables of events against a damaged ops.landing: they go on by their own positions, with an alarm in each run, and no row is taken twice; made anew, it has all entries.
func TestDamagedOpsLanding(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"metadata cut", "manifest list missing"} {
		ruin := ruins[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLake(t)
			l.land(enriched, plain("A", 3))
			l.must()
			ruin(l, Landing)
			for range 2 {
				l.land(enriched, plain("A", 1))
				if res := l.must(); codes(res) != string(CodeDamaged)+"!" || res.Alarms[0].Table != "ops.landing" || res.Rows() != 1 {
					t.Fatalf("%+v", res)
				}
			}
			if res, err := l.rebuild(Options{Tables: []warehouse.Name{Landing}}); err != nil || len(res.Alarms) > 0 || res.Rows() != 0 {
				t.Errorf("%v, %+v", err, res)
			}
			l.whole("A", 5)
			if got := l.query("select sum(rows), count(*) from ops.landing"); got != "5 3" {
				t.Error(got)
			}
		})
	}
}

// Guards the rows of a table that somebody dropped by hand: without this the next new row would make a table of the new rows alone, and nobody would know. It is made anew from the log with an alarm that stops nothing,
// also where the first run is killed in the middle, and costs nothing where no table is gone.
func TestDropped(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		land bool // rows come after it was dropped
		die  int  // after how many commits of data the first run dies; 0: it does not
	}{{"no new rows", false, 0}, {"new rows", true, 0}, {"killed", true, 1}, {"killed later", true, 2}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLake(t)
			for range 3 {
				l.land(enriched, plain("A", 2), plain("B", 1))
				l.land(deadOnes, deadObject("x"))
			}
			l.must()
			l.with(func(o Options) {
				if err := o.Warehouse.Drop(t.Context(), TableOf("A", "0")); err != nil {
					t.Fatal(err)
				}
			})
			want := 6
			if c.land {
				l.land(enriched, plain("A", 2))
				want = 8
			}
			l.with(func(o Options) {
				if res, err := Plan(t.Context(), o); err != nil || codes(res) != string(CodeDropped) || res.Rows() != int64(want) {
					t.Errorf("plan: %v, %+v", err, res)
				}
			})
			if c.die > 0 {
				n := 0
				l.s3.Fail(func(method, _, key string) objectstoretest.Fault {
					if method == "PUT" && strings.Contains(key, "enriched_a_0/data/") {
						n++
					}
					if n > c.die {
						return objectstoretest.Refuse
					}
					return objectstoretest.Serve
				})
				if _, err := l.run(func(o *Options) { o.Limits = Limits{Entries: 1} }); err == nil {
					t.Error("it did not die")
				}
				l.s3.Fail(nil)
			}
			res := l.must()
			if c.die == 0 && (codes(res) != string(CodeDropped) || res.Rows() != int64(want) || res.Stopped() != nil || res.Alarms[0].Table != "events.enriched_a_0") {
				t.Errorf("%+v", res)
			}
			l.whole("A", want)
			l.whole("B", 3)
			if got := l.query("select sum(rows) from ops.landing"); got != fmt.Sprint(want+6) {
				t.Error(got)
			}
			if res := l.must(); len(res.Alarms) > 0 || res.Rows() != 0 {
				t.Errorf("afterwards: %+v", res)
			}
		})
	}
}

// Guards lakes of an earlier version, whose ops.landing does not name the tables: the first run notes those that there are.
func TestDroppedFromEarlierLake(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.land(enriched, plain("A", 2), plain("B", 1))
	l.must()
	l.with(func(o Options) {
		ops, err := o.Warehouse.Load(t.Context(), Landing)
		if err == nil {
			_, err = o.Warehouse.Commit(t.Context(), ops, warehouse.Change{Properties: map[string]string{tablesProperty: ""}})
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	l.must()
	l.with(func(o Options) {
		if err := o.Warehouse.Drop(t.Context(), TableOf("A", "0")); err != nil {
			t.Fatal(err)
		}
	})
	if res := l.must(); codes(res) != string(CodeDropped) || res.Rows() != 2 {
		t.Errorf("%+v", res)
	}
	l.whole("A", 2)
}

// Guards the rows of a table whose only commit came right before a run was killed, so that ops.landing did not name it: dropped later, it is missed all the same.
func TestDroppedAfterKill(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.land(enriched, plain("B", 1))
	l.must()
	l.land(enriched, plain("A", 2))
	l.s3.Fail(func(method, _, key string) objectstoretest.Fault {
		if method == "PUT" && strings.Contains(key, "ops/landing/") {
			return objectstoretest.Refuse
		}
		return objectstoretest.Serve
	})
	if _, err := l.run(nil); err == nil {
		t.Error("it did not die")
	}
	l.s3.Fail(nil)
	if res := l.must(); len(res.Alarms) > 0 || res.Rows() != 0 {
		t.Errorf("%+v", res)
	}
	l.whole("A", 2)
	l.with(func(o Options) {
		if err := o.Warehouse.Drop(t.Context(), TableOf("A", "0")); err != nil {
			t.Fatal(err)
		}
	})
	if res := l.must(); codes(res) != string(CodeDropped) || res.Rows() != 2 {
		t.Errorf("%+v", res)
	}
	l.whole("A", 2)
}

// Guards the memory of runs beside a damaged ops.landing, each of which reads all logs: rows that nothing will take are not kept.
func TestBlindKeepsNoRows(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.land(enriched, plain("A", 3))
	l.must()
	ruins["metadata cut"](l, Landing)
	l.land(enriched, plain("A", 1))
	l.with(func(o Options) {
		r, err := begin(t.Context(), o, false)
		if err == nil {
			err = r.all(t.Context())
		}
		if err != nil || !r.blind || r.rows != 1 || len(r.entries) > 0 {
			t.Errorf("%v, %d rows of events, %d of %s are kept", err, r.rows, len(r.entries), Landing)
		}
	})
}

// Guards a rebuild against its own death at each of its writes: the next run, with nothing said, finishes what it began, or it has begun nothing. A table that had rows of nobody's is the proof that it was made anew.
func TestRebuildKilled(t *testing.T) {
	t.Parallel()
	begun, finished := 0, false
	for n := 1; !finished; n++ {
		l := newLake(t)
		l.land(enriched, plain("A", 3), plain("B", 1))
		l.must()
		l.forge(TableOf("A", "0"))
		l.forge(TableOf("B", "0"))
		writes := 0
		l.s3.Fail(func(method, _, _ string) objectstoretest.Fault {
			if method == "PUT" || method == "DELETE" {
				if writes++; writes >= n {
					return objectstoretest.Cut
				}
			}
			return objectstoretest.Serve
		})
		_, err := l.rebuild(Options{Partial: true})
		l.s3.Fail(nil)
		if finished = err == nil; finished && n < 5 {
			t.Errorf("a rebuild writes %d times", n-1)
		}
		if res := l.must(); len(res.Alarms) > 0 {
			t.Errorf("killed at write %d: %+v", n, res.Alarms)
		}
		a, b := l.query("select count(*) from events.enriched_a_0"), l.query("select count(*) from events.enriched_b_0")
		switch {
		case a == "3" && b == "1":
			begun++
			if got := l.query("select sum(rows), count(*) from ops.landing"); got != "4 2" {
				t.Errorf("killed at write %d: ops.landing %s", n, got)
			}
		case a != "6" || b != "2" || begun > 0:
			t.Errorf("killed at write %d: %s rows of A, %s of B", n, a, b)
		}
	}
	if begun < 3 {
		t.Errorf("only %d rebuilds were finished by the next run", begun)
	}
}

// forge doubles the rows of a table, with the position that it has.
func (l *lake) forge(name warehouse.Name) {
	l.t.Helper()
	l.with(func(o Options) {
		ctx := context.Background()
		t, err := o.Warehouse.Load(ctx, name)
		if err != nil {
			l.t.Fatal(err)
		}
		files, err := t.Plan(ctx, nil)
		if err != nil {
			l.t.Fatal(err)
		}
		local, err := o.Warehouse.Fetch(ctx, files, nil)
		if err != nil {
			l.t.Fatal(err)
		}
		var add []string
		for _, f := range local {
			add = append(add, f.Path)
		}
		if _, err := o.Warehouse.Commit(ctx, t, warehouse.Change{Add: add}); err != nil {
			l.t.Fatal(err)
		}
	})
}

// Guards rows that only the warehouse has: a landing log that ends before them, or objects of the right number and sizes that hold fewer, must not take their place.
func TestRebuildCompares(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.land(enriched, plain("A", 3), plain("B", 1))
	l.must()
	l.forge(TableOf("A", "0"))
	refused := func(settings Options, words ...string) {
		t.Helper()
		_, err := l.rebuild(settings)
		if !errors.Is(err, ErrIncomplete) || slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(err.Error(), w) }) {
			t.Errorf("got %v", err)
		}
	}
	refused(Options{}, "events.enriched_a_0 has 6 rows of 2026-11-20, landing has 3")
	refused(Options{Tables: []warehouse.Name{TableOf("A", "0")}}, "6 rows")
	if got := l.query("select count(*) from events.enriched_a_0"); got != "6" {
		t.Errorf("%s rows are left", got)
	}
	// What is said of a table keeps no other from being made anew.
	if res, err := l.rebuild(Options{Tables: []warehouse.Name{TableOf("B", "0")}}); err != nil || res.Rows() != 1 {
		t.Errorf("%v, %+v", err, res)
	}
}

// Guards against tables that no landing log makes, and objects that have their size and other bytes: these are found where every object is read first.
func TestRebuildVerifies(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	e := l.land(enriched, plain("A", 3))
	l.must()
	if _, err := l.rebuild(Options{Tables: []warehouse.Name{{Namespace: "star", Table: "x"}}, Partial: true}); err == nil || errors.Is(err, ErrIncomplete) {
		t.Errorf("a table of models: %v", err)
	}
	mend := l.replaceObject(e.Objects[0].Key, func(b []byte) []byte {
		b[len(b)/2] ^= 1
		return b
	})
	if res, err := l.rebuild(Options{Verify: true}); !errors.Is(err, ErrIncomplete) || codes(res) != string(CodeObjectCorrupt)+"!" {
		t.Errorf("%v, %+v", err, res)
	}
	l.whole("A", 3)
	mend()
	if res, err := l.rebuild(Options{Verify: true}); err != nil || res.Rows() != 3 {
		t.Errorf("%v, %+v", err, res)
	}
	l.whole("A", 3)
}
