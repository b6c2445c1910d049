package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"millrace/functions/internal/gameday/internal/ledger"
	"millrace/functions/internal/gameday/internal/load"
)

// A row that lost something, had no effect or could not be played must never read as held, and the table must say so.
func TestVerdict(t *testing.T) {
	whole := func() *ledger.Account {
		return &ledger.Account{Sent: 2, Final: [load.Statuses]int{load.Accepted: 2}, Raw: ledger.Count{Rows: 3, Distinct: 2, Duplicates: 1}, LakeRaw: ledger.Count{Rows: 3, Distinct: 2}}
	}
	lost := whole()
	lost.Lost = []ledger.Missing{{RootID: "r1", Where: "not in search", Stored: true}, {RootID: "r2"}}
	wrong := whole()
	wrong.Wrong = []string{"a document twice"}
	for _, one := range []struct {
		o        *outcome
		ok       bool
		row, say string
	}{ // the row of the table from lost on
		{&outcome{Account: whole(), toSearch: 2 * time.Second}, true, "| 0 | 1 / 0 / 0 | 0 / 0 | 2.0 s / 0.0 s |", "held"},
		{&outcome{Account: lost}, false, "| **2, did not hold** |", "LOST r1: not in search\n    LOST r2: in no store at all"},
		{&outcome{Account: wrong}, false, "| **0, did not hold** |", "WRONG a document twice"},
		{&outcome{Account: whole(), broken: []string{"not one 429"}}, false, "| **0, did not hold** |", "WRONG not one 429"},
		{&outcome{Account: whole(), err: errors.New("still moving")}, false, "| **0, did not hold** |", "WRONG still moving"},
		{&outcome{err: errors.New("no platform")}, false, "| **not played** |", "WRONG no platform"},
	} {
		one.o.row = &row{name: "a fault"}
		if one.o.ok() != one.ok {
			t.Errorf("%+v: ok is %t", one.o, one.o.ok())
		}
		want := "HELD: 1 of 1 rows"
		if !one.ok {
			want = "DID NOT HOLD: 0 of 1 rows"
		}
		if line, err := verdict([]*outcome{one.o}, time.Minute); !strings.HasPrefix(line, want) || (err == nil) != one.ok {
			t.Errorf("%+v: %q, %v", one.o, line, err)
		}
		if table := report([]*outcome{one.o}, circumstances{}); !strings.Contains(table, one.row) || !strings.Contains(table, "**"+want) {
			t.Errorf("%q and %q are not in\n%s", one.row, want, table)
		}
		var b strings.Builder
		if one.o.describe(&b); !strings.Contains(b.String(), one.say) {
			t.Errorf("%q is not in\n%s", one.say, b.String())
		}
	}
}

// The short form must play the rows that are marked for it, and a name must find its row in either form.
func TestChoose(t *testing.T) {
	all := []row{{name: "a", short: true}, {name: "bc"}, {name: "c"}}
	for _, one := range []struct {
		short bool
		only  []string
		want  string
	}{{false, nil, "a bc c"}, {true, nil, "a"}, {true, []string{"c"}, "bc c"}, {false, []string{"b", "c"}, "bc c"}, {false, []string{"x"}, ""}} {
		var names []string
		for _, r := range choose(all, one.short, one.only) {
			names = append(names, r.name)
		}
		if got := strings.Join(names, " "); got != one.want {
			t.Errorf("short %t, only %q: %q, want %q", one.short, one.only, got, one.want)
		}
	}
}

// Two rows of one name, or a row that never asks whether its fault did anything, prove less than they say; a fault without an end would go on into the next row.
func TestRows(t *testing.T) {
	names := map[string]bool{}
	for i := range rows {
		r := &rows[i]
		if names[r.String()] {
			t.Errorf("%q stands twice", r.name)
		}
		names[r.String()] = true
		if r.direct && r.retries > 0 {
			t.Errorf("%q has no Triggers", r)
		}
		if r.check == nil && r.proof == nil && r.name != "nothing fails" {
			t.Errorf("%q does not ask whether its fault did anything", r)
		}
		if r.stays && (r.inject == nil || r.end == nil || r.lasts == 0) {
			t.Errorf("%q stays without a beginning, a length and an end", r.name)
		}
	}
}

// Flags with one dash must work as the go command's do, and a mistake must be named.
func TestFlags(t *testing.T) {
	c, err := readConfig([]string{"-short", "-only", "a,b", "-o", "x.md"})
	if err != nil || !c.short || len(c.only) != 2 || c.output != "x.md" || c.events != 2000 || c.limit != 15*time.Minute || c.command() != `make gameday ARGS="-short -only a,b"` {
		t.Errorf("got %+v, %v", c, err)
	}
	if c, err := readConfig(nil); err != nil || c.events*len(rows) < 200_000 || c.command() != "make gameday" {
		t.Errorf("got %+v, %v", c, err)
	}
	for _, args := range [][]string{{"-shrt"}, {"run"}, {"--events", "1"}, {"--rate", "0"}} {
		if _, err := readConfig(args); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
}
