package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/landing"
	"millrace/shared/objectstore/objectstoretest"
)

type inner struct {
	T *time.Time `parquet:"t,optional,timestamp(microsecond)"`
}

type first struct {
	A *int64  `parquet:"a,optional"`
	L []inner `parquet:"l,optional,list"`
}

type moreInner struct {
	T *time.Time `parquet:"t,optional,timestamp(microsecond)"`
	U *string    `parquet:"u,optional"`
}

type second struct {
	A *int64      `parquet:"a,optional"`
	B *string     `parquet:"b,optional"`
	L []moreInner `parquet:"l,optional,list"`
}

type changed struct {
	A *string `parquet:"a,optional"`
}

const (
	propertiesOne = `{name: A, logicalType: integer, description: first}, {name: l, logicalType: array, items: {name: i, logicalType: object, properties: [{name: t, logicalType: timestamp}]}}`
	propertiesTwo = `{name: A, logicalType: integer, description: first}, {name: l, logicalType: array, items: {name: i, logicalType: object, properties: [{name: t, logicalType: timestamp}, {name: u, logicalType: string}]}}, {name: B, logicalType: string}`
)

// Guards additions to a contract: they add columns at every depth, rows of before have nulls there, whether rows of both come in one commit or not.
func TestAdditions(t *testing.T) {
	t.Parallel()
	for _, together := range []bool{false, true} {
		t.Run(fmt.Sprint(together), func(t *testing.T) {
			t.Parallel()
			l := newLake(t)
			l.know(l.contract("X", 1, propertiesOne))
			l.land(enriched, typedObject("X", &first{A: ref(int64(1)), L: []inner{{stamp(today)}, {}}}, nil))
			if !together {
				l.must()
			}
			l.know(l.contract("X", 1, propertiesOne), l.contract("X", 2, propertiesTwo))
			l.land(enriched, typedObject("X", &second{A: ref(int64(2)), B: ref("b"), L: []moreInner{{stamp(today), ref("u")}}}))
			if res := l.must(); len(res.Alarms) > 0 {
				t.Error(res.Alarms)
			}
			got := l.query(`select kafka_offset, payload is null, payload.a, payload.b, len(payload.l), payload.l[1].t, payload.l[1].u from events.enriched_x_0 order by 1`)
			if want := "0 false 1 <nil> 2 2026-11-20T12:00:00 <nil>\n1 true <nil> <nil> <nil> <nil> <nil>\n2 false 2 b 1 2026-11-20T12:00:00 u"; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// Guards the columns against being the contract's only: rows of a contract that is gone keep theirs, also when the table is made anew.
func TestContractGone(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.land(enriched, typedObject("X", &second{A: ref(int64(2)), B: ref("b")}))
	l.must()
	if got := l.query(`select payload.a, payload.b from events.enriched_x_0`); got != "2 b" {
		t.Errorf("got %s", got)
	}
	l.land(enriched, typedObject("X", &changed{ref("one")}), plain("Y", 1))
	if res := l.must(); codes(res) != string(CodeType)+"!" || res.Rows() != 1 {
		t.Errorf("another type than the table's, without a contract: %+v", res)
	}
}

// Guards the other tables and topics against one whose contract changed a type: it alone stays, with an alarm in each run, and takes all of its rows once the contract is what it was, also those that
// came meanwhile, each once.
func TestTypeChanged(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.know(l.contract("X", 1, propertiesOne))
	l.land(enriched, typedObject("X", &first{A: ref(int64(1))}))
	l.must()
	l.know(l.contract("X", 1, `{name: a, logicalType: string}`))
	l.land(enriched, typedObject("X", &changed{ref("one")}), plain("Y", 2))
	res := l.must()
	if codes(res) != string(CodeType)+"!" || res.Alarms[0].Table != "events.enriched_x_0" {
		t.Errorf("%+v", res.Alarms)
	}
	l.whole("Y", 2)
	l.know(l.contract("X", 1, propertiesOne))
	l.land(enriched, plain("Y", 1), typedObject("X", &first{A: ref(int64(2))}))
	res = l.must()
	if codes(res) != string(CodeType)+"!" || !strings.Contains(res.Alarms[0].Message, "payload.a") || !strings.Contains(res.Alarms[0].Hint, "INGEST_ACCEPT="+topicID(enriched)+"@2 ") {
		t.Errorf("rows of another type: %+v", res.Alarms)
	}
	l.whole("Y", 3)
	l.whole("X", 1)
	// The object that does not fit is given up; what came behind it is taken.
	res, err := l.run(func(o *Options) { o.Accept = []string{topicID(enriched) + "@2"} })
	if err != nil || codes(res) != string(CodeType) {
		t.Errorf("%v, %+v", err, res.Alarms)
	}
	l.whole("X", 2)
	if res := l.must(); len(res.Alarms) > 0 || len(res.Tables) > 0 {
		t.Errorf("%+v", res)
	}
}

// Guards the position of a table that is behind: once the contract fits again all of its rows come, once.
func TestBehind(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.know(l.contract("X", 1, propertiesOne))
	l.land(enriched, typedObject("X", &first{A: ref(int64(1))}))
	l.must()
	l.know(l.contract("X", 1, `{name: a, logicalType: string}`))
	for i := range 3 {
		l.land(enriched, typedObject("X", &first{A: ref(int64(i))}), plain("Y", 1))
		if res := l.must(); codes(res) != string(CodeType)+"!" || res.Rows() != 1 {
			t.Errorf("%+v", res)
		}
	}
	l.know(l.contract("X", 1, propertiesOne))
	if res := l.must(); len(res.Alarms) > 0 || res.Rows() != 3 {
		t.Errorf("%+v", res)
	}
	l.whole("X", 4)
	l.whole("Y", 3)
	if got := l.query("select sum(rows) from ops.landing"); got != "7" {
		t.Error(got)
	}
	if res := l.must(); res.Rows() != 0 || l.opened == 0 {
		t.Errorf("%+v", res)
	}
}

// Guards two types that share a name: the first keeps the table, rows of the other are an alarm, and nothing stops.
func TestCollision(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.land(enriched, plain("A.b", 1), plain("a-B", 2))
	l.land(enriched, plain("a_b", 2), plain("A.b", 2))
	res := l.must()
	if codes(res) != "table_collision table_collision" || !strings.Contains(res.Alarms[0].Message, `"A.b" and "a-B"`) {
		t.Errorf("%+v", res.Alarms)
	}
	l.whole("A.b", 3)
	l = newLake(t)
	l.know(l.contract("a-B", 1, propertiesOne))
	l.land(enriched, plain("A.b", 1), plain("a-B", 2))
	if res := l.must(); codes(res) != "table_collision" {
		t.Errorf("%+v", res.Alarms)
	}
	l.whole("a-B", 2)
}

// Guards names at their limits, rows without a type, and record times that are no SQL date.
func TestNames(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	long := strings.Repeat("Long.Name-", 13)[:128]
	far := plain("Far", 1)
	far.day = "12026-01-01"
	before := plain("Far", 1)
	before.day = "-0001-01-01"
	l.land(enriched, plain(long, 2), object{landing.KindEnriched, "", "", today, 1, plain("?", 1).body}, far, before)
	if res := l.must(); len(res.Alarms) > 0 || res.Rows() != 5 {
		t.Errorf("%+v", res)
	}
	l.whole(long, 2)
	if got := l.query(`select count(*), any_value(arrival_date) from events.enriched_far_0 union all select count(*), any_value(arrival_date) from events.enriched____`); got != "2 <nil>\n1 2026-11-20T00:00:00" {
		t.Error(got)
	}
	if l.must().Rows() != 0 {
		t.Error("taken twice")
	}
}

// Guards what the log itself says of losses: alarms, counted, and nothing stops.
func TestLosses(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	e := l.entry(enriched, plain("A", 2))
	e.Partitions[0].Next += 7
	e.Partitions[0].Lost = []landing.Range{{First: 2, Last: 6, Reason: landing.ReasonRetention}}
	e.Partitions[0].Skipped = []landing.Range{{First: 7, Last: 8, Reason: landing.ReasonControl}}
	l.publish(e)
	e = l.entry(enriched)
	e.Partitions[0].Broken = &landing.Break{Reason: landing.BreakEnd, End: 5}
	l.publish(e)
	e = l.entry(enriched, plain("A", 2))
	e.Partitions[0].Rewound = ref(e.Partitions[0].From)
	l.publish(e)
	res := l.must()
	if codes(res) != "offsets_lost topic_broken topic_rewound" || res.Rows() != 4 || res.Logs[0].Lost != 5 || res.Logs[0].Skipped != 2 {
		t.Errorf("%+v", res)
	}
	if got := l.query("select landing_sequence, rows, skipped, lost from ops.landing order by 1"); got != "1 2 2 5\n2 0 0 0\n3 2 0 0" {
		t.Error(got)
	}
	if res := l.must(); len(res.Alarms) > 0 {
		t.Error(res.Alarms)
	}
}

// Guards a log of which retention, or somebody, took parts.
func TestPartsOfLog(t *testing.T) {
	t.Parallel()
	gone := func(l *lake, n ...int64) {
		for _, n := range n {
			l.replaceObject(landing.Key(enriched, topicID(enriched), n), nil)
		}
	}
	for _, c := range []struct {
		name   string
		before int // entries that are ingested first
		gone   []int64
		accept string
		want   string
		rows   int
	}{
		{"the first ones, before anything is ingested", 0, []int64{1}, "", "log_begins_late", 4},
		{"the first ones, ingested", 2, []int64{1}, "", "", 5},
		{"the last one that was ingested", 2, []int64{1, 2}, "", "log_unjoined", 5},
		{"one that was not", 2, []int64{3}, "", "log_gap!", 2},
		{"the last one that was and the next", 2, []int64{1, 2, 3}, "", "log_gap!", 2},
		{"one that was not, given up", 2, []int64{3}, "@3", "log_gap", 4},
		{"two, given up", 1, []int64{3, 4}, "@3", "log_gap", 3},
		{"the last one that was and the next, given up", 2, []int64{1, 2, 3}, "@3", "log_gap", 4},
		{"the end", 5, []int64{5}, "", "log_short!", 5},
		{"all", 5, []int64{1, 2, 3, 4, 5}, "", "log_gone", 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLake(t)
			for i := range 5 {
				if i == c.before && i > 0 {
					l.must()
				}
				l.land(enriched, plain("A", 1))
			}
			if c.before == 5 {
				l.must()
			}
			gone(l, c.gone...)
			res, err := l.run(func(o *Options) {
				if c.accept != "" {
					o.Accept = []string{topicID(enriched) + c.accept}
				}
			})
			if err != nil || codes(res) != c.want {
				t.Errorf("%v, %+v", err, res.Alarms)
			}
			l.whole("A", c.rows)
			if c.accept != "" {
				if res := l.must(); len(res.Alarms) > 0 || len(res.Tables) > 0 {
					t.Errorf("afterwards: %+v", res)
				}
			}
		})
	}
}

// Guards the bounds of a commit: whole entries up to them, the position behind each, and the same rows as in one.
func TestLimits(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	for range 7 {
		l.land(enriched, plain("A", 3), plain("B", 1))
	}
	var told []int64
	res, err := l.run(func(o *Options) {
		o.Limits = Limits{Rows: 8}
		o.Progress = func(p Progress) { told = append(told, p.Sequence) }
	})
	if err != nil || res.Rows() != 28 || res.Tables[0].Commits != 4 || fmt.Sprint(told) != "[2 4 6 7]" {
		t.Errorf("%v, %+v, %v", err, res, told)
	}
	l.whole("A", 21)
	if got := l.query("select count(*), sum(rows) from ops.landing"); got != "14 28" {
		t.Error(got)
	}
}

// Guards against a second run beside the first: one of them is refused, or finds nothing, and no row is there twice.
func TestTwoRuns(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.land(enriched, plain("A", 3))
	l.must()
	l.land(enriched, plain("A", 4))
	res, err := l.run(func(o *Options) {
		o.write = func(ctx context.Context, db *duck.DB, query string, t *warehouse.Table, partition []string, next func() string) ([]duck.Written, error) {
			if t.Name != Landing {
				l.must() // the other one is faster
			}
			return duckWrite(ctx, db, query, t, partition, next)
		}
	})
	if !errors.Is(err, warehouse.ErrConflict) || len(res.Tables) > 0 {
		t.Errorf("%v, %+v", err, res)
	}
	l.whole("A", 7)
	l.must()
	l.whole("A", 7)
}

// Guards against scratch that is full, a store and a catalog that are away, and an engine that cannot be had: an error that says so, nothing committed, and the next run is whole.
func TestOutages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Options)
		fault  func(method, bucket, key string) objectstoretest.Fault
		want   string
	}{
		"disk full while writing": {change: func(o *Options) {
			o.write = func(_ context.Context, _ *duck.DB, _ string, _ *warehouse.Table, _ []string, next func() string) ([]duck.Written, error) {
				return nil, &os.PathError{Op: "write", Path: next(), Err: syscall.ENOSPC}
			}
		}, want: "no space left"},
		"no scratch": {change: func(o *Options) { o.Scratch = filepath.Join(o.Scratch, "missing") }, want: "landing objects"},
		"no engine":  {change: func(o *Options) { o.DB = func() (*duck.DB, error) { return nil, errors.New("no C compiler") } }, want: "no C compiler"},
		"objects away": {fault: func(_, _, key string) objectstoretest.Fault {
			if strings.HasSuffix(key, ".parquet") {
				return objectstoretest.Refuse
			}
			return objectstoretest.Serve
		}, want: "503"},
		"store away": {fault: func(string, string, string) objectstoretest.Fault { return objectstoretest.Refuse }, want: "503"},
		"disk of the store full": {fault: func(method, _, _ string) objectstoretest.Fault {
			if method == "PUT" {
				return objectstoretest.Full
			}
			return objectstoretest.Serve
		}, want: "507"},
		"a row is lost on the way": {change: func(o *Options) {
			o.write = func(ctx context.Context, db *duck.DB, query string, t *warehouse.Table, partition []string, next func() string) ([]duck.Written, error) {
				return duckWrite(ctx, db, "select * from ("+query+") limit 2", t, partition, next)
			}
		}, want: "3 rows were to be written, 2 were"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLake(t)
			l.land(enriched, plain("A", 3))
			l.s3.Fail(c.fault)
			_, err := l.run(c.change)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
			l.s3.Fail(nil)
			if res := l.must(); len(res.Alarms) > 0 || res.Rows() != 3 {
				t.Errorf("%+v", res)
			}
			l.whole("A", 3)
		})
	}
}

// Guards one log against the outage of another's objects.
func TestOneBucketAway(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.land(deadOnes, deadObject("x"))
	l.land(enriched, plain("A", 3))
	l.s3.Fail(func(_, bucket, key string) objectstoretest.Fault {
		if bucket == "private" && strings.HasSuffix(key, ".parquet") {
			return objectstoretest.Refuse
		}
		return objectstoretest.Serve
	})
	if res, err := l.run(nil); err == nil || res.Rows() != 3 {
		t.Errorf("%v, %+v", err, res)
	}
	l.s3.Fail(nil)
	if res := l.must(); res.Rows() != 1 {
		t.Errorf("%+v", res)
	}
}

// Guards Plan: it says what Run does then, and does nothing.
func TestPlan(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.land(enriched, plain("A", 3), plainOn("A", "2026-11-19", 1))
	l.land(deadOnes, deadObject("x"))
	l.land(raw, rawObject(3))
	l.with(func(o Options) {
		res, err := Plan(t.Context(), o)
		if err != nil || len(res.Tables) != 2 || res.Rows() != 5 || len(res.Logs) != 3 || res.Logs[2].Rows != 3 || res.Tables[1].Days["2026-11-19"] != 1 || res.Tables[0].Bytes == 0 {
			t.Errorf("%v, %+v", err, res)
		}
		names, err := o.Warehouse.Tables(t.Context())
		if err != nil || len(names) > 0 || l.opened > 0 {
			t.Errorf("%v, %v, %d engines", err, names, l.opened)
		}
	})
	if res := l.must(); res.Rows() != 5 {
		t.Errorf("%+v", res)
	}
	l.with(func(o Options) {
		if res, err := Plan(t.Context(), o); err != nil || len(res.Tables) != 0 || res.Logs[2].Rows != 0 {
			t.Errorf("%v, %+v", err, res)
		}
	})
}

// Guards Rebuild: from a catalog that is gone, and from one that is there, the tables come back with the same rows; where landing has less it changes nothing, but for Partial.
func TestRebuild(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.land(enriched, plain("A", 3), plain("B", 1))
	e := l.land(enriched, plain("A", 2))
	l.land(deadOnes, deadObject("x"))
	l.land(raw, rawObject(3))
	l.must()
	rebuild := func(partial bool) (res Result, err error) {
		l.with(func(o Options) { o.Partial = partial; res, err = Rebuild(t.Context(), o) })
		return res, err
	}
	same := func(b int) {
		t.Helper()
		l.whole("A", 5)
		l.whole("B", b)
		if got := l.query("select sum(rows) from ops.landing"); got != "10" {
			t.Error(got)
		}
	}
	l.catalog = "sqlite://" + filepath.Join(t.TempDir(), "another.db")
	for range 2 {
		if res, err := rebuild(false); err != nil || res.Rows() != 7 || len(res.Alarms) > 0 {
			t.Errorf("%v, %+v", err, res)
		}
		same(1)
	}
	mend := l.replaceObject(e.Objects[0].Key, nil)
	if _, err := rebuild(false); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), e.Objects[0].Key) {
		t.Errorf("got %v", err)
	}
	same(1)
	mend()
	l.replaceObject(landing.Key(enriched, topicID(enriched), 1), nil)
	if _, err := rebuild(false); !errors.Is(err, ErrIncomplete) {
		t.Errorf("got %v", err)
	}
	same(1)
	if res, err := rebuild(true); err != nil || res.Rows() != 3 || codes(res) != "log_begins_late" {
		t.Errorf("%v, %+v", err, res)
	}
	l.whole("A", 2)
}

// Guards Backfill: days are made anew in one commit for each table, other days' files and the position stay, rows behind the position are left to Run; where landing has less, nothing changes.
func TestBackfill(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	e := l.land(enriched, plainOn("A", "2026-11-18", 2), plainOn("A", "2026-11-19", 3), plain("A", 1), plainOn("B", "2026-11-19", 2))
	l.must()
	l.land(enriched, plainOn("A", "2026-11-19", 4))
	backfill := func(from, to string, limits Limits) (res Result, err error) {
		l.with(func(o Options) {
			o.Limits = limits
			res, err = Backfill(t.Context(), o, *stamp(from), *stamp(to))
		})
		return res, err
	}
	files := func() map[string]bool {
		out := map[string]bool{}
		l.with(func(o Options) {
			a, err := o.Warehouse.Load(t.Context(), TableOf("A", "0"))
			if err != nil {
				t.Fatal(err)
			}
			fs, err := a.Plan(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range fs {
				out[f.Path] = true
			}
		})
		return out
	}
	was := files()
	res, err := backfill("2026-11-19", "2026-11-20", Limits{Rows: 1})
	if err != nil || res.Rows() != 6 || len(res.Tables) != 2 || len(res.Alarms) > 0 {
		t.Errorf("%v, %+v", err, res)
	}
	kept := 0
	for f := range files() {
		if was[f] {
			kept++
		}
	}
	if kept != 1 {
		t.Errorf("%d files of before, 1 is of another day", kept)
	}
	l.whole("A", 6)
	l.whole("B", 2)
	l.must()
	l.whole("A", 10)
	mend := l.replaceObject(e.Objects[1].Key, nil)
	if res, err := backfill("2026-11-18", "2026-11-20", Limits{}); !errors.Is(err, ErrIncomplete) || codes(res) != "object_missing!" {
		t.Errorf("%v, %+v", err, res)
	}
	l.whole("A", 10)
	mend()
	l.replaceObject(landing.Key(enriched, topicID(enriched), 1), nil)
	if res, err := backfill("2026-11-18", "2026-11-20", Limits{}); !errors.Is(err, ErrIncomplete) {
		t.Errorf("%v, %+v", err, res)
	}
	l.whole("A", 10)
	l.whole("B", 2)
	if _, err := backfill("2026-11-20", "2026-11-18", Limits{}); err == nil {
		t.Error("backwards")
	}
}

// Guards days with an object that an operator gave up: what lies in its place now has no row in the table, neither by Run nor when the day is made anew.
func TestBackfillOfGivenUp(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.land(enriched, plain("A", 3))
	e := l.land(enriched, plain("A", 2))
	l.land(enriched, plain("A", 1))
	other := plain("A", 2).body(100)
	mend := l.replaceObject(e.Objects[0].Key, func([]byte) []byte { return other })
	accept := func(o *Options) { o.Accept = []string{topicID(enriched) + "@2"} }
	if res, err := l.run(accept); err != nil || res.Rows() != 4 || codes(res) != "object_corrupt" {
		t.Fatalf("%v, %+v", err, res)
	}
	backfill := func() (res Result, err error) {
		l.with(func(o Options) {
			accept(&o)
			res, err = Backfill(t.Context(), o, *stamp(today), *stamp(today))
		})
		return res, err
	}
	for _, lies := range []bool{true, false} {
		if !lies {
			l.replaceObject(e.Objects[0].Key, nil)
		}
		if res, err := backfill(); err != nil || res.Rows() != 4 {
			t.Errorf("%v, %+v", err, res)
		}
		if got := l.query("select count(*), count(root_id), sum(landing_sequence) from events.enriched_a_0"); got != "4 4 6" {
			t.Errorf("rows, those with root ids, sequences: %s", got)
		}
	}
	mend()
	if res, err := backfill(); err != nil || res.Rows() != 6 {
		t.Errorf("%v, %+v", err, res)
	}
	l.whole("A", 6)
}

// Guards the warehouse, which many may read, against what is private in dead letters.
func TestDeadPrivacy(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.land(deadOnes, deadObject("x"))
	l.must()
	for key, body := range l.s3.Objects("public") {
		if bytes.Contains(body, []byte("secret")) {
			t.Errorf("%s holds what is private", key)
		}
	}
	if got := l.query("select column_name from information_schema.columns where table_schema = 'events' and column_name in ('payload', 'extensions', 'kafka_headers', 'kafka_key')"); got != "" {
		t.Error(got)
	}
}

// Guards objects that lost a person's rows on request: they are taken for what is left of them, also by a rebuild, and one whose rows all went is no obstacle.
func TestErased(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	e := l.land(enriched, plain("A", 3), plain("B", 1))
	erase := func(o landing.Object, left []byte, rows, first, last int64) {
		sum := sha256.Sum256(left)
		err := landing.Open(l.public, enriched, topicID(enriched)).Erase(t.Context(), landing.Erasure{ID: "x", Time: now, Objects: []landing.Erased{{
			Key: o.Key, Was: o.SHA256, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(left)), Rows: rows, Gone: []landing.Gone{{First: first, Last: last}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		l.put(o.Key, left)
	}
	erase(e.Objects[0], plain("A", 2).body(0), 2, 2, 2)
	erase(e.Objects[1], plain("B", 0).body(0), 0, 3, 3)
	if res := l.must(); len(res.Alarms) > 0 || res.Rows() != 2 {
		t.Errorf("%+v", res)
	}
	l.land(enriched, plain("A", 1))
	l.must()
	l.whole("A", 3)
	l.with(func(o Options) {
		if res, err := Rebuild(t.Context(), o); err != nil || res.Rows() != 3 {
			t.Errorf("%v, %+v", err, res)
		}
		if res, err := Backfill(t.Context(), o, *stamp(today), *stamp(today)); err != nil || res.Rows() != 3 {
			t.Errorf("%v, %+v", err, res)
		}
	})
	l.whole("A", 3)
	l.put(e.Objects[0].Key, plain("A", 1).body(0)) // by nobody's word
	l.with(func(o Options) {
		if _, err := Rebuild(t.Context(), o); !errors.Is(err, ErrIncomplete) {
			t.Errorf("got %v", err)
		}
	})
}
