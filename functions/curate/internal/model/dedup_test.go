package model

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"millrace/shared/objectstore/objectstoretest"
)

var factColumns = []string{"root_id", "data_hash", "coalesce(replay_count, 0)", "kafka_partition", "kafka_offset", "pickup_date", "amount"}

func (l *lake) facts() []string { l.t.Helper(); return l.star("fact_trip", factColumns...) }

func (l *lake) conflicts() []string {
	l.t.Helper()
	return l.rows(ConflictsTable, "source", "root_id", "data_hash", "kafka_offset")
}

// The best copy stays, whichever way the copies come: in one run, in two, delivered again as it was, an earlier one late; marts follow.
func TestCopies(t *testing.T) {
	a1 := trip{id: "a", hash: "1", at: 10, offset: 1, day: "2026-11-20", zone: 1, amount: 1}
	a2 := trip{id: "a", hash: "1", at: 20, offset: 2, day: "2026-11-20", zone: 1, amount: 1}
	a0 := trip{id: "a", hash: "1", at: 5, partition: 1, offset: 1, day: "2026-11-20", zone: 1, amount: 1}
	b := trip{id: "b", hash: "2", at: 11, offset: 3, day: "2026-11-20", zone: 2, amount: 2.5}
	for _, c := range []struct {
		name string
		runs [][]trip
		want string // the copy of a that stays
		last Counts // of the last run
	}{
		{"in one run", [][]trip{{a2, a1, b}}, "a 1 0 0 1 2026-11-20 1", Counts{Added: 2, Duplicates: 1}},
		{"across runs", [][]trip{{a1, b}, {a2}}, "a 1 0 0 1 2026-11-20 1", Counts{Duplicates: 1}},
		{"delivered twice", [][]trip{{a1, b}, {a1, b}}, "a 1 0 0 1 2026-11-20 1", Counts{Duplicates: 2}},
		{"an earlier one late", [][]trip{{a1, b}, {a0}}, "a 1 0 1 1 2026-11-20 1", Counts{Replaced: 1}},
		{"an earlier one late, and twice", [][]trip{{a1, b}, {a0, a0, a2}}, "a 1 0 1 1 2026-11-20 1", Counts{Replaced: 1, Duplicates: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLake(t)
			var last Outcome
			for i, rows := range c.runs {
				l.land("T", int64(i+1), rows...)
				last = l.run()["fact_trip"]
			}
			l.same("fact_trip", l.facts(), c.want, "b 2 0 0 3 2026-11-20 2.5")
			if last.Counts != c.last {
				t.Errorf("counts: %+v, want %+v", last.Counts, c.last)
			}
			l.same("daily_trips", l.star("daily_trips"), "2026-11-20 Newark 1 1", "2026-11-20 Queens 1 2.5")
			l.same("conflicts", l.conflicts())
		})
	}
}

// A replay replaces what it replays, also where that moves the row to another day: both days of the mart are computed again.
func TestReplayChangesTheDay(t *testing.T) {
	l := newLake(t)
	l.land("T", 1, trip{id: "a", hash: "1", at: 1, offset: 1, day: "2026-11-19", zone: 1, amount: 1}, trip{id: "b", hash: "2", at: 2, offset: 2, day: "2026-11-19", zone: 2, amount: 3},
		trip{id: "c", hash: "3", at: 2, offset: 3, day: "2026-11-18", zone: 2, amount: 4})
	l.run()
	l.land("T", 2, trip{id: "a", hash: "1", replay: 1, at: 500, offset: 9, day: "2026-11-20", zone: 1, amount: 2.5})
	res := l.run()
	if c := res["fact_trip"].Counts; c != (Counts{Replaced: 1}) {
		t.Errorf("counts: %+v", c)
	}
	l.same("fact_trip", l.facts(), "a 1 1 0 9 2026-11-20 2.5", "b 2 0 0 2 2026-11-19 3", "c 3 0 0 3 2026-11-18 4")
	if d := res["daily_trips"].Days; !slices.Equal(d, []string{"2026-11-19", "2026-11-20"}) {
		t.Errorf("days of the mart: %q", d)
	}
	l.same("daily_trips", l.star("daily_trips"), "2026-11-18 Queens 1 4", "2026-11-19 Queens 1 3", "2026-11-20 Newark 1 2.5")
	// The copy that was replayed comes again: it stays beaten.
	l.land("T", 3, trip{id: "a", hash: "1", at: 1, offset: 1, day: "2026-11-19", zone: 1, amount: 1})
	if c := l.run()["fact_trip"].Counts; c != (Counts{Duplicates: 1}) {
		t.Errorf("the old copy again: %+v", c)
	}
}

// A day of which nothing is left goes from the mart, too.
func TestDayEmptied(t *testing.T) {
	l := newLake(t)
	l.land("T", 1, trip{id: "a", hash: "1", at: 1, offset: 1, day: "2026-11-19", zone: 1, amount: 1}, trip{id: "b", hash: "1", at: 1, offset: 2, day: "2026-11-18", zone: 1, amount: 1})
	l.run()
	l.land("T", 2, trip{id: "a", hash: "1", replay: 1, at: 5, offset: 3, day: "2026-11-20", zone: 1, amount: 1})
	l.run()
	l.same("daily_trips", l.star("daily_trips"), "2026-11-18 Newark 1 1", "2026-11-20 Newark 1 1")
}

// One identity with several data is told, each data once, however often and in whichever runs they come.
func TestConflicts(t *testing.T) {
	one := trip{id: "a", hash: "1", at: 1, offset: 1, day: "2026-11-20", zone: 1, amount: 1}
	two := trip{id: "a", hash: "2", at: 2, offset: 2, day: "2026-11-20", zone: 1, amount: 2.5}
	three := trip{id: "a", hash: "3", at: 3, offset: 3, day: "2026-11-20", zone: 1, amount: 3}
	other := trip{id: "b", hash: "9", at: 3, offset: 4, day: "2026-11-20", zone: 1, amount: 3}
	src := source.String()
	for _, runs := range [][][]trip{{{one, two, other}}, {{one, other}, {two}}, {{two, other}, {one}}, {{one, other}, {two}, {two, one}}} {
		l := newLake(t)
		for i, rows := range runs {
			l.land("T", int64(i+1), rows...)
			l.run()
		}
		l.same("conflicts", l.conflicts(), src+" a 1 1", src+" a 2 2")
		l.same("fact_trip", l.facts(), "a 1 0 0 1 2026-11-20 1", "b 9 0 0 4 2026-11-20 3")
		l.land("T", 9, three)
		if c := l.run()["fact_trip"].Counts; c != (Counts{Duplicates: 1, Conflicts: 1}) {
			t.Errorf("a third data: %+v", c)
		}
		l.same("conflicts", l.conflicts(), src+" a 1 1", src+" a 2 2", src+" a 3 3")
	}
}

// Of ops.conflicts only files that can have the new conflicts are read: one that is passed over wrongly (few ids, many, ids that begin alike for longer than statistics tell) would have its conflicts told twice.
func TestConflictsAreFound(t *testing.T) {
	for _, n := range []int{1, exactly, exactly + 1} {
		l := newLake(t)
		rows := func(hash string, offset int) (out []trip) {
			for i := range n {
				out = append(out, trip{id: fmt.Sprintf("0190a5d0-ac96-774b-bcce-000000000000-%03d", i), hash: hash, at: offset, offset: offset*1000 + i, day: "2026-11-20", zone: 1, amount: 1})
			}
			return out
		}
		l.land("T", 1, rows("1", 1)...)
		l.land("T", 2, rows("2", 2)...)
		if c := l.run()["fact_trip"].Counts; c.Conflicts != int64(2*n) {
			t.Errorf("%d ids with two data: %+v", n, c)
		}
		l.land("T", 3, rows("2", 3)...)
		if c := l.run()["fact_trip"].Counts; c.Conflicts != 0 {
			t.Errorf("the same again: %+v", c)
		}
		l.land("T", 4, append(rows("3", 4), trip{id: "z", hash: "1", at: 5, offset: 5, day: "2026-11-20", zone: 1, amount: 1}, trip{id: "z", hash: "2", at: 5, offset: 6, day: "2026-11-20", zone: 1, amount: 1})...)
		if c := l.run()["fact_trip"].Counts; c.Conflicts != int64(n+2) {
			t.Errorf("a third data of each, and another id: %+v", c)
		}
		if got := l.conflicts(); len(got) != 3*n+2 {
			t.Errorf("%d conflicts, want %d", len(got), 3*n+2)
		}
	}
}

// Copies of one key can lie in several files, of which new rows beat some and lose against others: each file is told from its neighbours, and files without a copy stay as they are.
func TestCopiesInManyFiles(t *testing.T) {
	l := newLake(t)
	day := func(i int) string { return fmt.Sprintf("2026-11-%02d", 1+i) }
	var first, second []trip
	for i := range 6 {
		first = append(first, trip{id: fmt.Sprint("a", i), hash: "1", at: 10, offset: i, day: day(i), zone: 1, amount: 1}, trip{id: fmt.Sprint("b", i), hash: "1", at: 10, offset: 10 + i, day: day(i), zone: 1, amount: 1})
	}
	l.land("T", 1, first...)
	l.run()
	before := l.paths("fact_trip")
	for i := range 4 { // the first two are better, the others worse; all come of another day
		second = append(second, trip{id: fmt.Sprint("a", i), hash: "1", at: 5 + 10*(i/2), partition: 1, offset: i, day: "2026-11-20", zone: 1, amount: 2})
	}
	l.land("T", 2, second...)
	if c := l.run()["fact_trip"].Counts; c != (Counts{Replaced: 2, Duplicates: 2}) {
		t.Errorf("counts: %+v", c)
	}
	want := []string{"a0 1 0 1 0 2026-11-20 2", "a1 1 0 1 1 2026-11-20 2"}
	for i := 2; i < 6; i++ {
		want = append(want, fmt.Sprintf("a%d 1 0 0 %d %s 1", i, i, day(i)))
	}
	for i := range 6 {
		want = append(want, fmt.Sprintf("b%d 1 0 0 %d %s 1", i, 10+i, day(i)))
	}
	l.same("fact_trip", l.facts(), want...)
	same := 0
	for _, p := range l.paths("fact_trip") {
		if slices.Contains(before, p) {
			same++
		}
	}
	if len(before) != 6 || same != 4 {
		t.Errorf("%d of %d files stayed, want 4 of 6", same, len(before))
	}
}

// Conflicts are told before the fact changes, so a kill in between finds them there: the next run tells nothing twice and finishes the fact.
func TestKilledBetweenConflictsAndFact(t *testing.T) {
	l := newLake(t)
	l.land("T", 1, trip{id: "a", hash: "1", at: 1, offset: 1, day: "2026-11-20", zone: 1, amount: 1})
	l.run()
	before := l.facts()
	l.land("T", 2, trip{id: "a", hash: "2", at: 0, offset: 2, day: "2026-11-20", zone: 1, amount: 2.5})
	l.server.Fail(func(method, _, key string) objectstoretest.Fault {
		if method == http.MethodPut && strings.Contains(key, "star/fact_trip/") {
			return objectstoretest.Refuse
		}
		return objectstoretest.Serve
	})
	res := l.try()
	if res["fact_trip"].Status != Failed || !res["daily_trips"].Blocked || res["dim_zone"].Status != Current {
		t.Errorf("with a store that refuses the fact: %+v", res)
	}
	l.server.Fail(nil)
	src := source.String()
	l.same("conflicts", l.conflicts(), src+" a 1 1", src+" a 2 2")
	l.same("fact_trip", l.facts(), before...)
	if c := l.run()["fact_trip"].Counts; c != (Counts{Replaced: 1}) {
		t.Errorf("after the kill: %+v", c)
	}
	l.same("conflicts", l.conflicts(), src+" a 1 1", src+" a 2 2")
	l.same("fact_trip", l.facts(), "a 2 0 0 2 2026-11-20 2.5")
}

// random returns rows with copies, replays that move days, conflicts and late ones.
func random(r *rand.Rand, n int) []trip {
	var out []trip
	for i := range n {
		id := r.IntN(n/2 + 1)
		t := trip{id: fmt.Sprintf("id%03d", id), hash: fmt.Sprint(id), at: r.IntN(3000), partition: r.IntN(3), offset: i, day: fmt.Sprintf("2026-11-%02d", 1+id%5), zone: 1 + id%3, amount: float64(1 + id%8)}
		switch r.IntN(10) {
		case 0:
			t.replay, t.day = 1+r.IntN(2), fmt.Sprintf("2026-11-%02d", 1+r.IntN(8))
		case 1:
			t.hash = "other"
		case 2:
			if len(out) > 0 {
				t = out[r.IntN(len(out))]
			}
		}
		out = append(out, t)
	}
	return out
}

// However the input is cut into runs, the tables are the same.
func TestAnyCut(t *testing.T) {
	for seed := range uint64(2) {
		r := rand.New(rand.NewPCG(seed, 1))
		rows := random(r, 80)
		var want map[string][]string
		for _, parts := range []int{1, 2, 6} {
			l := newLake(t)
			sequence := int64(0)
			for i := range parts {
				from, to := i*len(rows)/parts, (i+1)*len(rows)/parts
				for from < to { // several entries a run
					n := min(to-from, 1+r.IntN(40))
					sequence++
					l.land("T", sequence, rows[from:from+n]...)
					from += n
				}
				l.run()
			}
			got := map[string][]string{
				"fact_trip": l.facts(), "daily_trips": l.star("daily_trips"), "zone_totals": l.star("zone_totals"),
				"conflicts": l.rows(ConflictsTable, "source", "root_id", "data_hash"),
			}
			if want == nil {
				want = got
				if len(got["conflicts"]) == 0 || len(got["fact_trip"]) < 25 {
					t.Fatalf("seed %d makes no use of the test: %d conflicts, %d facts", seed, len(got["conflicts"]), len(got["fact_trip"]))
				}
				continue
			}
			for name := range want {
				if !slices.Equal(got[name], want[name]) {
					t.Errorf("seed %d in %d runs: %s:\n%s\nin one:\n%s", seed, parts, name, strings.Join(got[name], "\n"), strings.Join(want[name], "\n"))
				}
			}
		}
	}
}

// A store that fails at any request leaves tables that the next run brings to the same rows as one that never failed.
func TestKilledAnywhere(t *testing.T) {
	rows := random(rand.New(rand.NewPCG(7, 7)), 60)
	play := func(failAt int) (tables [][]string, puts int) {
		l := newLake(t)
		n := 0
		for i := range 3 {
			l.land("T", int64(i+1), rows[i*20:(i+1)*20]...)
			if i == 2 {
				l.server.Fail(func(method, _, key string) objectstoretest.Fault {
					if method != http.MethodPut || !strings.Contains(key, "star/") && !strings.Contains(key, "ops/") {
						return objectstoretest.Serve
					}
					n++
					if failAt > 0 && n >= failAt { // from here on all fails, as after a kill
						return objectstoretest.Refuse
					}
					return objectstoretest.Serve
				})
				l.try()
				l.server.Fail(nil)
			}
			l.run()
		}
		return [][]string{l.facts(), l.star("daily_trips"), l.star("zone_totals"), l.rows(ConflictsTable, "source", "root_id", "data_hash")}, n
	}
	want, puts := play(0)
	if puts < 10 {
		t.Fatalf("only %d objects were written", puts)
	}
	for at := 1; at <= puts; at += 1 + puts/5 {
		got, _ := play(at)
		for i := range want {
			if !slices.Equal(got[i], want[i]) {
				t.Errorf("killed at object %d of %d, table %d:\n%s\nwant\n%s", at, puts, i, strings.Join(got[i], "\n"), strings.Join(want[i], "\n"))
			}
		}
	}
}

// A row without its key cannot be told from its copies: the model fails, and nothing is committed.
func TestNullKey(t *testing.T) {
	l := newLake(t)
	l.set = load(t, modelsWith(t, "where root_id is not null", ""))
	l.land("T", 1, trip{id: "a", hash: "1", at: 1, day: "2026-11-20", zone: 1, amount: 1})
	l.run()
	before := l.facts()
	l.land("T", 2, trip{hash: "1", at: 1, day: "2026-11-20", zone: 1, amount: 1}, trip{id: "b", hash: "1", at: 1, day: "2026-11-20", zone: 1, amount: 1})
	res := l.try()
	if r := res["fact_trip"]; r.Status != Failed || !strings.Contains(r.Cause, "1 rows have no root_id") {
		t.Errorf("fact_trip: %+v", r)
	}
	l.same("fact_trip", l.facts(), before...)
}
