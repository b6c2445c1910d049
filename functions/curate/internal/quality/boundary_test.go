//go:build cgo

package quality

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/ingest"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/contract"
	"millrace/shared/objectstore/objectstoretest"
)

const today = "2026-11-21"

func setOf(t *testing.T, c *contract.Contract) *contract.Set {
	t.Helper()
	set, err := contract.NewSet(c)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// things returns a lake for the contract whose object carries the rules.
func things(t *testing.T, rules ...string) *lake {
	t.Helper()
	c, _ := contractOf(t, rules...)
	return newLake(t, setOf(t, c), "Thing")
}

// amounts is a query of things with these amounts.
func amounts(list ...string) string {
	return "select cast(v as double) as amount, cast(v as varchar) as name from (values (" + strings.Join(list, "), (") + ")) as t(v)"
}

func check(t *testing.T, r Result, id string) Check {
	t.Helper()
	for _, d := range r.Days {
		for _, c := range d.Checks {
			if c.ID == id {
				return c
			}
		}
	}
	t.Fatalf("no check %s in %+v", id, r.Days)
	return Check{}
}

// Guards the count of events: copies of one root id are one, by the copy that the facts take, and a row without a root id is none.
func TestCopiesCountOnce(t *testing.T) {
	l := things(t, "{id: rows, metric: rowCount, mustBe: 3}", "{id: sum, type: sql, query: 'select sum(amount) from ${table}', mustBe: 111}")
	l.land(today, `select cast(a as double) as amount, root_id, cast(replays as bigint) as replay_count, cast(ts as timestamptz) as kafka_timestamp from (values
		(1, 'a', null, '2026-11-21 10:00:01Z'), (2, 'a', null, '2026-11-21 10:00:02Z'), (3, 'a', 0, '2026-11-21 10:00:03Z'),
		(40, 'b', null, '2026-11-21 10:00:01Z'), (10, 'b', 2, '2026-11-21 10:00:05Z'), (50, 'b', 1, '2026-11-21 10:00:04Z'),
		(100, 'c', null, '2026-11-21 10:00:01Z'), (1000, null, null, '2026-11-21 10:00:01Z')) as t(a, root_id, replays, ts)`)
	r := l.run()
	if d := r.Days[0]; d.Rows != 3 || d.Copies != 4 || !d.Checks[0].Passed || !d.Checks[1].Passed {
		t.Errorf("%+v", d)
	}
	// The same once more by another entry: twice delivered, the day is the same.
	l.land(today, "select cast(7 as double) as amount, 'a' as root_id, timestamptz '2026-11-21 10:00:09Z' as kafka_timestamp")
	if d := l.run().Days[0]; d.Rows != 3 || d.Copies != 5 || !d.Checks[1].Passed {
		t.Errorf("%+v", d)
	}
}

// Guards one poison among good ones: rules that the engine refuses, that reach out, or that give no single value fail by themselves, with a reason; the others are judged.
func TestBrokenRules(t *testing.T) {
	l := things(t,
		"{id: good, metric: rowCount, mustBe: 2}",
		"{id: metric, metric: nothing, mustBe: 0}",
		"{id: syntax, type: sql, query: 'select count(* from ${table}', mustBe: 0}",
		"{id: column, type: sql, query: 'select sum(nothing) from ${table}', mustBe: 0}",
		"{id: ddl, type: sql, query: 'drop table ${table}', mustBe: 0}",
		"{id: two, type: sql, query: 'select 1; select 2', mustBe: 1}",
		"{id: other, type: sql, query: 'select count(*) from ops.quality', mustBe: 0}",
		"{id: file, type: sql, query: \"select count(*) from '/etc/passwd'\", mustBe: 0}",
		"{id: reads, type: sql, query: \"select count(*) from read_text('/etc/passwd')\", mustBe: 0}",
		"{id: settings, type: sql, query: \"select count(*) from ${table} where exists (select * from duckdb_settings())\", mustBe: 0}",
		"{id: files, type: sql, query: \"select count(*) from quality.files\", mustBe: 2}",
		"{id: rows, type: sql, query: 'select amount from ${table}', mustBe: 0}",
		"{id: columns, type: sql, query: 'select 1, 2', mustBe: 1}",
		"{id: nil, type: sql, query: 'select max(amount) from ${table} where amount > 99', mustBe: 0}",
		"{id: none, type: sql, query: 'select amount from ${table} where amount > 99', mustBe: 0}",
		"{id: comment, type: sql, query: 'select count(*) from ${object} -- all', mustBe: 2}",
		"{id: quoted, type: sql, query: 'select count(\"NAME\") + sum(Amount) from ${table}', mustBe: 5}",
		"{id: text, type: text, description: be good, severity: error}",
		"{id: word, type: sql, query: \"select 'open'\", mustBe: open}",
	)
	l.land(today, amounts("1", "2"))
	r := l.run()
	for id, want := range map[string]string{
		"metric": "is not known", "syntax": "syntax error", "column": "nothing", "ddl": "only a SELECT", "two": "semicolon", "other": "reads ops.quality", "file": "/etc/passwd", "reads": "read_text() is not for rules",
		"settings": "duckdb_settings() is not for rules", "files": "reads quality.files", "rows": "more than one value", "columns": "more than one value", "nil": "value is null", "none": "value is null",
	} {
		if c := check(t, r, id); c.Passed || !strings.Contains(c.Reason, want) {
			t.Errorf("%s: %+v, want a failure with %q", id, c, want)
		}
	}
	for _, id := range []string{"good", "comment", "quoted", "text", "word"} {
		if c := check(t, r, id); c.Failed() {
			t.Errorf("%s: %s", id, c.Reason)
		}
	}
	equal(t, "ops.quality", l.rows(TableQuality, "select rule_id, metric, passed, value, value_text from x where rule_id in ('good', 'metric', 'text', 'two') order by 1"), []string{
		"good rowCount true 2 2", `metric nothing false null metric "nothing" is not known; nullValues, missingValues, invalidValues, duplicateValues and rowCount are`,
		"text text null null rules of type text are for people and other programs", "two sql false null a semicolon: only one SELECT is run",
	})
}

// Guards the run against a rule whose SQL never ends: it fails when the time of a statement is over, and the rule behind it is run.
func TestEndlessRule(t *testing.T) {
	l := things(t, "{id: endless, type: sql, query: 'with recursive n(x) as (select 1 union all select (x + 1) % 1000 from n) select count(*) from n', mustBe: 0, severity: error}",
		"{id: after, metric: rowCount, mustBe: 1}")
	l.land(today, amounts("1"))
	o := l.options()
	o.Timeout = 300 * time.Millisecond
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if c := check(t, r, "endless"); c.Passed || !strings.Contains(c.Reason, "not done within 300ms") {
		t.Errorf("%+v", c)
	}
	if c := check(t, r, "after"); !c.Passed {
		t.Errorf("%+v", c)
	}
	if len(r.Began) != 1 || !r.Held.Held(l.table.String(), today) {
		t.Errorf("a blocking rule that could not be run holds nothing: %+v", r.Held)
	}
}

// Guards library rules on real rows: what counts as failing, shares, examples, values that are no numbers, and structs.
func TestLibraryRulesOnRows(t *testing.T) {
	for _, c := range []struct {
		property, rule string
		failed         int64
		value          float64
	}{
		{"Name", "metric: nullValues", 1, 1},
		{"Name", "metric: nullValues, unit: percent", 1, 20},
		{"Name", "metric: missingValues, arguments: {missingValues: [null, 'a']}", 3, 3},
		{"Name", "metric: invalidValues, arguments: {pattern: '^[ab]$'}", 1, 1},
		{"Name", "metric: invalidValues, arguments: {maxLength: 1}", 1, 1},
		{"Name", "metric: invalidValues, arguments: {validValues: [a, 'ünü']}", 1, 1},
		{"Name", "metric: duplicateValues", 2, 1},
		{"Name", "metric: duplicateValues, unit: percent", 2, 40},
		{"amount", "metric: invalidValues, arguments: {minimum: 0, maximum: 10}", 3, 3}, // -1, infinity, NaN
		{"amount", "metric: nullValues", 0, 0},
		{"X", "metric: nullValues", 4, 4},
	} {
		k, _ := on(t, c.property, "{id: r, mustBeLessThan: 0, "+c.rule+"}")
		l := newLake(t, setOf(t, k), "Thing")
		l.land(today, `select name, cast(amount as double) as amount, struct_pack(x := cast(x as bigint)) as inner, root_id from (values
			('a', '1', 5, 'r1'), ('a', '-1', null, 'r2'), ('b', 'inf', null, 'r3'), ('ünü', 'nan', null, 'r4'), (null, '5', null, 'r5')) as t(name, amount, x, root_id)`)
		got := check(t, l.run(), "r")
		if got.RowsFailed != c.failed || got.Value.Number != c.value || !got.Ran || got.Passed || (len(got.Examples.Rows) == 0) != (c.failed == 0) {
			t.Errorf("%s on %s: %+v", c.rule, c.property, got)
		}
	}
}

// Guards a query that gives NaN or an infinity, and a share of no rows, against passing for a number.
func TestValuesThatAreNoNumbers(t *testing.T) {
	l := things(t, "{id: nan, type: sql, query: 'select max(amount) from ${table}', mustBeGreaterThan: 0, severity: error}",
		"{id: inf, type: sql, query: \"select max(amount) from ${table} where not is_nan(amount)\", mustBeGreaterThan: 0}",
		"{id: div, type: sql, query: \"select cast(100 as double) * count(*) / nullif(cast(count(*) as double) - 3, 0) from ${table}\", unit: percent, mustBe: 0}")
	l.land(today, amounts("'nan'", "'inf'", "'1'"))
	r := l.run()
	for id, want := range map[string]string{"nan": "NaN", "inf": "+Inf", "div": "null"} {
		if c := check(t, r, id); c.Passed || !strings.Contains(c.Reason, want) {
			t.Errorf("%s: %+v", id, c)
		}
	}
	equal(t, "values", l.rows(TableQuality, "select rule_id, value from x where kind = 'rule' order by 1"), []string{"div null", "inf null", "nan null"})
	equal(t, "histogram", l.rows(TableQuality, "select metric, value, value_text from x where element = 'amount' and metric in ('min', 'max', 'histogram', 'nulls') order by 1"), []string{
		`histogram null {"not_finite":2,"values":[{"value":"1","rows":1},{"value":"+Inf","rows":1},{"value":"NaN","rows":1}]}`, "max 1 1", "min 1 1", "nulls 0 null",
	})
	// A day whose rows are all without a root id has no events: no share fails, and no query's null.
	l = things(t, "{id: share, type: sql, query: 'select cast(100 as double) * count(*) / nullif(cast(count(*) as double), 0) from ${table}', unit: percent, mustBe: 0, severity: error}",
		"{id: rows, metric: rowCount, mustBeGreaterThan: 0}", "{id: twice, metric: duplicateValues, arguments: {properties: [amount]}, unit: percent, mustBe: 0}")
	l.land(today, "select cast(1 as double) as amount, cast(null as varchar) as root_id")
	r = l.run()
	if a, b, c := check(t, r, "share"), check(t, r, "rows"), check(t, r, "twice"); !a.Passed || b.Passed || !c.Passed || c.Value.Number != 0 {
		t.Errorf("of no rows: %+v %+v %+v", a, b, c)
	}
}

// Guards what is masked: a rule on texts that nobody sees fails with that reason, one on nulls is run, and a profile shows no value.
func TestMaskedFields(t *testing.T) {
	c, _ := on(t, "host", "{id: pattern, metric: invalidValues, arguments: {pattern: x}, mustBe: 0}", "{id: nulls, metric: nullValues, mustBe: 0}", "{id: twice, metric: duplicateValues, mustBe: 0}")
	l := newLake(t, setOf(t, c), "Thing")
	l.land(today, "select 'p1' as host, cast(null as bigint) as age from range(3)")
	r := l.run()
	if c := check(t, r, "pattern"); c.Passed || !strings.Contains(c.Reason, "masked") {
		t.Errorf("%+v", c)
	}
	if c := check(t, r, "nulls"); !c.Passed {
		t.Errorf("%+v", c)
	}
	if c := check(t, r, "twice"); c.Value.Number != 1 || c.RowsFailed != 3 {
		t.Errorf("%+v", c)
	}
	equal(t, "profile", l.rows(TableQuality, "select element, metric, value, value_text from x where element in ('host', 'age') and kind = 'profile' order by 1, 2"), []string{"age nulls 3 null", "host distinct 1 null", "host nulls 0 null"})
}

// Guards quarantine's whole life: a day that fails is held with the reason, another is not; a run that finds it mended releases it.
func TestHoldAndRelease(t *testing.T) {
	l := things(t, "{id: negative, type: sql, query: 'select cast(100 as double) * count_if(amount < 0) / count(*) from ${table}', unit: percent, mustBeLessThan: 50, severity: error}", "{id: warn, metric: rowCount, mustBe: 0}")
	source := l.table.String()
	l.land("2026-11-20", amounts("1"))
	l.land(today, amounts("-1", "-2"))
	r := l.run()
	if len(r.Began) != 1 || r.Began[0].Day != today || r.Began[0].Rule != "negative" || *r.Began[0].Value != 100 || r.Held.Held(source, "2026-11-20") || !r.Held.Held(source, today) {
		t.Fatalf("%+v", r)
	}
	since := l.now
	held, err := Held(t.Context(), l.w)
	if err != nil || fmt.Sprint(held.Days(source)) != "[2026-11-21]" || held[0].Reason != "100 percent, and it must be less than 50" {
		t.Errorf("%+v, %v", held, err)
	}
	// A later row of the day changes the value, not the hold.
	l.now = l.now.Add(time.Minute)
	l.land(today, amounts("3"))
	if r := l.run(); len(r.Began)+len(r.Ended) != 0 || len(r.Held) != 1 || !r.Held[0].Since.Equal(since) || *r.Held[0].Value > 67 {
		t.Errorf("%+v", r)
	}
	// Enough good rows release it.
	l.land(today, amounts("4", "5"))
	if r := l.run(); len(r.Ended) != 1 || len(r.Held) != 0 || r.Ended[0].ReleasedBy != releasedPassed {
		t.Errorf("%+v", r)
	}
	// And bad ones hold it again, by a hold of its own.
	l.now = l.now.Add(time.Minute)
	l.land(today, amounts("-4", "-5", "-6", "-7"))
	if r := l.run(); len(r.Began) != 1 || len(r.Held) != 1 {
		t.Errorf("%+v", r)
	}
	equal(t, "ops.quarantine", l.rows(TableQuarantine, "select cast(arrival_date as varchar), rule, released_by, released_at is null from x order by since"), []string{"2026-11-21 negative " + releasedPassed + " false", "2026-11-21 negative null true"})
}

// Guards a release by a person: it names who, it lasts though the rule goes on failing, other rules still hold, and a day that is not held is an error.
func TestReleaseByHand(t *testing.T) {
	l := things(t, "{id: negative, type: sql, query: 'select count(*) from ${table} where amount < 0', mustBe: 0, severity: error}", "{id: many, metric: rowCount, mustBeLessThan: 3, severity: error}")
	source := l.table.String()
	release := func(day, by string) ([]Hold, error) {
		return Release(t.Context(), l.w, l.db, source, day, by, l.now)
	}
	if _, err := release(today, "ann"); err == nil {
		t.Error("released what was not held")
	}
	l.land(today, amounts("-1"))
	if r := l.run(); len(r.Held) != 1 || fmt.Sprint(check(t, r, "negative").Examples.Columns) != "[root_id]" || len(check(t, r, "negative").Examples.Rows) != 1 {
		t.Fatalf("%+v", r)
	}
	for _, by := range []string{"", "millrace:x"} {
		if _, err := release(today, by); err == nil {
			t.Errorf("released by %q", by)
		}
	}
	if _, err := release("yesterday", "ann"); err == nil {
		t.Error("released a day that is none")
	}
	if got, err := release(today, "ann"); err != nil || len(got) != 1 || got[0].ReleasedBy != "ann" {
		t.Fatalf("%+v, %v", got, err)
	}
	if held, err := Held(t.Context(), l.w); err != nil || len(held) != 0 {
		t.Errorf("%+v, %v", held, err)
	}
	l.land(today, amounts("-2"))
	if r := l.run(); len(r.Held) != 0 || check(t, r, "negative").Passed {
		t.Errorf("%+v", r.Held)
	}
	l.land(today, amounts("-3"))
	if r := l.run(); len(r.Began) != 1 || r.Began[0].Rule != "many" {
		t.Errorf("%+v", r)
	}
}

// Guards a mended contract: what was held by the rule that was wrong is looked at again though no row is new, and released where the rule passes, no longer blocks, or is gone.
func TestMendedContractReleases(t *testing.T) {
	for name, rule := range map[string]string{
		releasedPassed: "{id: few, metric: rowCount, mustBeLessThan: 9, severity: error}",
		releasedGone:   "{id: few, metric: rowCount, mustBeLessThan: 1}",
		"gone":         "{id: other, metric: rowCount, mustBeLessThan: 9}",
	} {
		l := things(t, "{id: few, metric: rowCount, mustBeLessThan: 1, severity: error}")
		l.land(today, amounts("1"))
		if r := l.run(); len(r.Held) != 1 {
			t.Fatalf("%+v", r)
		}
		c, _ := contractOf(t, rule)
		l.set = setOf(t, c)
		r := l.run()
		if len(r.Held) != 0 || len(r.Ended) != 1 || name != "gone" && r.Ended[0].ReleasedBy != name {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// Guards a hold against a contract file that somebody broke: without its rules a source must neither let go of its days nor pass new ones, and the mended file goes on where it was.
func TestBrokenContractFileHoldsAll(t *testing.T) {
	l := things(t, "{id: few, metric: rowCount, mustBeLessThan: 2, severity: error}")
	l.land(today, amounts("1", "2"))
	if r := l.run(); len(r.Held) != 1 {
		t.Fatalf("%+v", r)
	}
	whole := l.set
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thing.odcs.yaml"), []byte(head+"    quality: [{id: few, metric: rowCount, mustBeLessThan: 2, severity: error}, }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken, err := contract.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	l.set = broken.Set()
	if len(l.set.Invalid()) != 1 {
		t.Fatalf("%v", l.set.Invalid())
	}
	const next = "2026-11-22"
	l.land(next, amounts("1", "2", "3"))
	r, err := Run(t.Context(), l.options())
	if err == nil || !strings.Contains(err.Error(), "thing.odcs.yaml") {
		t.Errorf("%v", err)
	}
	if len(r.Ended) != 0 || !r.Held.Held(l.table.String(), today) || !r.Held.Held(l.table.String(), next) {
		t.Errorf("%+v", r)
	}
	l.set = whole
	if r := l.run(); len(r.Ended) != 0 || len(r.Began) != 1 || r.Began[0].Day != next || len(r.Held) != 2 {
		t.Errorf("%+v", r)
	}
}

// Guards rules against one event whose record time is beyond all dates, which any producer can set: such rows are a day of their own, which is looked at, held and released as any other, and the days of
// all others are as before.
func TestRowsOfNoDay(t *testing.T) {
	l := things(t, "{id: few, metric: rowCount, mustBeLessThan: 3, severity: error}", "{id: twins, metric: duplicateValues, arguments: {properties: [amount]}, mustBe: 0, customProperties: [{property: flag, value: true}]}")
	source := l.table.String()
	l.land("", amounts("1", "1"))
	l.land(today, amounts("1", "2"))
	if r := l.run(); len(r.Held) != 0 || len(r.Days) != 2 || r.Days[0].Day != today || r.Days[1].Day != noDay || r.Days[1].Rows != 2 || check(t, Result{Days: r.Days[1:]}, "twins").Passed {
		t.Errorf("%+v", r)
	}
	equal(t, "groups", l.rows(TableNearDuplicates, "select arrival_date, rule_id, group_key from x"), []string{"null twins 1.0", "null twins 1.0"})
	l.land("", amounts("2"))
	if r := l.run(); len(r.Days) != 1 || r.Days[0].Rows != 3 || len(r.Began) != 1 || !r.Held.Held(source, noDay) || r.Held.Held(source, today) {
		t.Errorf("%+v", r)
	}
	equal(t, "ops.quality", l.rows(TableQuality, "select arrival_date, rows_checked, passed from x where rule_id = 'few' and arrival_date is null order by evaluated_at, 2"), []string{"null 2 true", "null 3 false"})
	l.land(today, amounts("3"))
	if r := l.run(); len(r.Held) != 2 || len(r.Days) != 1 || r.Days[0].Rows != 3 {
		t.Errorf("%+v", r)
	}
	released, err := Release(t.Context(), l.w, l.db, source, noDay, "ann", l.now)
	if err != nil || len(released) != 1 {
		t.Errorf("%+v, %v", released, err)
	}
	l.land("", amounts("3"))
	if r := l.run(); len(r.Days) != 1 || len(r.Began) != 0 || len(r.Held) != 1 || r.Held[0].Day != today {
		t.Errorf("%+v", r)
	}
	equal(t, "ops.quarantine", l.rows(TableQuarantine, "select arrival_date, released_by from x where released_by is not null"), []string{"null ann"})
	equal(t, "groups after all", l.rows(TableNearDuplicates, "select distinct arrival_date, group_key from x"), []string{"null 1.0"})
}

// Guards held days against being forgotten: an hour later they are looked at again, since the cause may have been the engine's.
func TestHeldDaysAreTriedAgain(t *testing.T) {
	l := things(t, "{id: few, metric: rowCount, mustBeLessThan: 1, severity: error}")
	l.land(today, amounts("1"))
	l.run()
	l.now = l.now.Add(59 * time.Minute)
	if r := l.run(); len(r.Days) != 0 || len(r.Held) != 1 {
		t.Errorf("%+v", r)
	}
	l.now = l.now.Add(time.Minute)
	if r := l.run(); len(r.Days) != 1 || len(r.Held) != 1 {
		t.Errorf("%+v", r)
	}
	// Rows of other days meanwhile do not put it off.
	l.now = l.now.Add(30 * time.Minute)
	l.land("2026-11-22", amounts("1"))
	if r := l.run(); len(r.Days) != 1 || r.Days[0].Day != "2026-11-22" {
		t.Errorf("%+v", r)
	}
	l.now = l.now.Add(30 * time.Minute)
	if r := l.run(); len(r.Days) != 2 || len(r.Held) != 2 {
		t.Errorf("%+v", r)
	}
}

// Guards each commit of a run that ends there: the next run finds the same, and nothing stands twice.
func TestKilledRunIsRepeated(t *testing.T) {
	kill := func(table string, fault objectstoretest.Fault) {
		t.Helper()
		l := things(t, "{id: twins, metric: duplicateValues, arguments: {properties: [amount]}, mustBe: 0, severity: error, customProperties: [{property: flag, value: true}]}")
		l.land(today, amounts("1", "1", "2"))
		l.run() // makes the tables
		l.land(today, amounts("2", "3"))
		l.server.Fail(func(method, _, key string) objectstoretest.Fault {
			if method == http.MethodPut && strings.Contains(key, "ops/"+table+"/") {
				return fault
			}
			return objectstoretest.Serve
		})
		r, err := Run(t.Context(), l.options())
		if err == nil || !r.Held.Held(l.table.String(), today) {
			t.Errorf("%s: %v, held %+v", table, err, r.Held)
		}
		l.server.Fail(nil)
		if r := l.run(); len(r.Days) != 1 || len(r.Held) != 1 {
			t.Errorf("%s: %+v", table, r)
		}
		equal(t, table+": ops.quality", l.rows(TableQuality, "select run_id, value from x where kind = 'rule' order by 1"), []string{"run-1 1", "run-3 2"})
		equal(t, table+": groups", l.rows(TableNearDuplicates, "select rule_id, group_key, count(*), max(rows_in_group) from x group by 1, 2 order by 2"), []string{"twins 1.0 2 2", "twins 2.0 2 2"})
		equal(t, table+": quarantine", l.rows(TableQuarantine, "select rule, value, released_at is null from x"), []string{"twins 2 true"})
		if r := l.run(); len(r.Days) != 0 {
			t.Errorf("%s: once more %+v", table, r.Days)
		}
	}
	for _, table := range []string{"near_duplicates", "quarantine", "quality"} {
		kill(table, objectstoretest.Refuse)
		kill(table, objectstoretest.WriteThenFail)
	}
}

// Guards one table that cannot be read: the others are evaluated, the error names it, and its days are held until they are.
func TestOneSourceIsAway(t *testing.T) {
	l := things(t, "{id: rows, metric: rowCount, mustBe: 1}")
	l.land(today, amounts("1"))
	good := l.table
	l.table = warehouse.Name{Namespace: "events", Table: "enriched_other_0"}
	l.land(today, amounts("1"))
	_, err := l.w.Load(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	// A warehouse of a new process has none of the files.
	fresh := l.reopen()
	l.server.Fail(func(_, _, key string) objectstoretest.Fault {
		if strings.Contains(key, "enriched_other_0/data/") {
			return objectstoretest.Refuse
		}
		return objectstoretest.Serve
	})
	o := l.options()
	o.Warehouse = fresh
	r, err := Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "events.enriched_other_0 on "+today) || len(r.Days) != 1 || r.Days[0].Source != good.String() {
		t.Errorf("%v: %+v", err, r.Days)
	}
	if !r.Held.Held("events.enriched_other_0", today) || r.Held.Held(good.String(), today) {
		t.Errorf("held %+v", r.Held)
	}
	l.server.Fail(nil)
	o = l.options()
	o.Warehouse = fresh
	if r, err := Run(t.Context(), o); err != nil || len(r.Days) != 1 || r.Days[0].Source != "events.enriched_other_0" || len(r.Held) != 0 {
		t.Errorf("%v: %+v", err, r)
	}
}

// Guards the facts against days of which nothing is known: without the catalog, or the engine, all is held.
func TestNothingProvenHoldsAll(t *testing.T) {
	l := things(t, "{id: rows, metric: rowCount, mustBe: 1}")
	l.land(today, amounts("1"))
	o := l.options()
	away := errors.New("away")
	o.DB = func(context.Context) (*duck.DB, error) { return nil, away }
	if r, err := Run(t.Context(), o); !errors.Is(err, away) || !r.Held.Held("events.any", "2020-01-01") {
		t.Errorf("%v, %+v", err, r.Held)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o = l.options()
	o.DB = func(context.Context) (*duck.DB, error) { cancel(); return l.db, nil }
	if r, err := Run(ctx, o); !errors.Is(err, context.Canceled) || !r.Held.Held(l.table.String(), today) {
		t.Errorf("%v, %+v", err, r.Held)
	}
}

// Guards which days are looked at: those of new rows alone; by the position where the snapshot is gone; none after a compaction, which changes no row.
func TestTouchedDays(t *testing.T) {
	l := things(t, "{id: rows, metric: rowCount, mustBe: 1}")
	l.land("2026-11-19", amounts("1"))
	l.land("2026-11-20", amounts("1"))
	days := func(r Result) string {
		var list []string
		for _, d := range r.Days {
			list = append(list, d.Day)
		}
		return strings.Join(list, " ")
	}
	equal(t, "at first", days(l.run()), "2026-11-19 2026-11-20")
	l.land(today, amounts("1"))
	equal(t, "a new day", days(l.run()), today)
	l.land("2026-11-20", amounts("2"))
	q, err := l.w.Load(t.Context(), TableQuality)
	if err != nil {
		t.Fatal(err)
	}
	gone := `{"snapshot":42,"position":{"log":3},"rules":"x"}`
	if _, err := l.w.Commit(t.Context(), q, warehouse.Change{Properties: map[string]string{propertyCheckpoint + l.table.String(): gone}}); err != nil {
		t.Fatal(err)
	}
	equal(t, "an expired snapshot", days(l.run()), "2026-11-20")
	table, err := l.w.Load(t.Context(), l.table)
	if err != nil {
		t.Fatal(err)
	}
	files, err := table.Plan(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	local, err := l.w.Fetch(t.Context(), files, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.db.Relation(t.Context(), warehouse.Name{Namespace: "main", Table: "all"}, table.Schema(), local, nil, ""); err != nil {
		t.Fatal(err)
	}
	written, err := l.db.Write(t.Context(), `select * from "all"`, table.Schema(), table.Partition(), func() string { return l.w.NewFile(table) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.w.Commit(t.Context(), table, warehouse.Change{Add: paths(written), RemoveAll: true, Compaction: true}); err != nil {
		t.Fatal(err)
	}
	equal(t, "a compaction", days(l.run()), "")
	o := l.options()
	o.Days = map[string][]string{l.table.String(): {"2026-11-20", "2026-11-19"}}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "asked for", days(r), "2026-11-19 2026-11-20")
	if c := r.Days[1].Checks[0]; len(c.Trend) != 1 || c.Trend[0].Day != "2026-11-19" || c.Trend[0].Value != 1 || c.Value.Number != 2 {
		t.Errorf("trend %+v", c)
	}
}

// Guards tables without a contract, dead letters above all: they are profiled by their attributes, subject is shown to nobody, and no rule is run.
func TestDeadLettersAreProfiled(t *testing.T) {
	l := things(t, "{id: rows, metric: rowCount, mustBe: 0, severity: error}")
	text, long := iceberg.PrimitiveTypes.String, iceberg.PrimitiveTypes.Int64
	table, err := l.w.Ensure(t.Context(), warehouse.Name{Namespace: "events", Table: "dead"}, warehouse.Spec{Partition: []string{"arrival_date"}, Columns: []warehouse.Column{
		{Name: "root_id", Type: text},
		{Name: "event_type", Type: text},
		{Name: "subject", Type: text},
		{Name: "failure_code", Type: text},
		{Name: "replay_count", Type: long},
		{Name: "kafka_partition", Type: iceberg.PrimitiveTypes.Int32},
		{Name: "kafka_offset", Type: long},
		{Name: "kafka_timestamp", Type: iceberg.PrimitiveTypes.TimestampTz},
		{Name: "arrival_date", Type: iceberg.PrimitiveTypes.Date},
		{Name: "landing_log", Type: text},
		{Name: "landing_sequence", Type: long},
	}})
	if err != nil {
		t.Fatal(err)
	}
	files, err := l.db.Write(t.Context(), `select 'r' || n as root_id, 'Thing' as event_type, 'ann' as subject, case when n < 3 then 'not_json' else 'schema' end as failure_code, null as replay_count, 0 as kafka_partition, n as kafka_offset,
		timestamptz '2026-11-21 10:00:00Z' as kafka_timestamp, date '2026-11-21' as arrival_date, 'log' as landing_log, 1 as landing_sequence from range(5) as r(n)`, table.Schema(), table.Partition(), func() string { return l.w.NewFile(table) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.w.Commit(t.Context(), table, warehouse.Change{Add: paths(files)}); err != nil {
		t.Fatal(err)
	}
	if r := l.run(); len(r.Days) != 1 || r.Days[0].Source != "events.dead" || len(r.Days[0].Checks) != 0 || len(r.Held) != 0 {
		t.Errorf("%+v", r)
	}
	equal(t, "profile", l.rows(TableQuality, "select element, metric, value, value_text from x where element in ('@failure_code', '@subject') order by 1, 2"), []string{
		"@failure_code distinct 2 null", `@failure_code histogram null {"values":[{"value":"not_json","rows":3},{"value":"schema","rows":2}]}`, "@failure_code max null schema", "@failure_code min null not_json",
		"@failure_code nulls 0 null", "@subject distinct 1 null", "@subject nulls 0 null",
	})
}

// Guards the names of sources, which ingest gives.
func TestSourceIsIngestsTable(t *testing.T) {
	for _, name := range []string{"YellowTaxiTripRecords", "a.b-C_9", "Ünï"} {
		if got, want := Source(name, 3), ingest.TableOf(name, "3"); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// Guards the profile against costing every run the whole day: it is made again where the day grew by an eighth, or an hour later if any row came, and rules are run all the same.
func TestProfileOfAGrowingDay(t *testing.T) {
	l := things(t, "{id: rows, metric: rowCount, mustBeGreaterThan: 0}")
	step := func(what string, rows int, after time.Duration, looked, profiled bool) {
		t.Helper()
		l.now = l.now.Add(after)
		if rows > 0 {
			l.land(today, fmt.Sprintf("select cast(1 as double) as amount from range(%d)", rows))
		}
		r := l.run()
		if (len(r.Days) == 1) != looked || looked && ((r.Days[0].Columns != nil) != profiled || len(r.Days[0].Checks) != 1) {
			t.Errorf("%s: %+v", what, r.Days)
		}
	}
	step("at first", 80, 0, true, true)
	step("a little more", 9, time.Minute, true, false)
	step("an eighth more", 1, time.Minute, true, true)
	step("nothing", 0, 2*time.Hour, false, false)
	step("a little more, late", 1, 0, true, true)
	step("a little more, early", 1, time.Minute, true, false)
	step("nothing more, an hour later", 0, time.Hour, true, true)
	step("nothing more, another hour later", 0, time.Hour, false, false)
	equal(t, "profiles", l.rows(TableQuality, "select value from x where metric = 'nulls' and element = 'amount' order by evaluated_at"), []string{"0", "0", "0", "0"})
}

// Guards what retention leaves: a day that lost its files is held by nothing and has no near duplicates.
func TestDayThatIsGone(t *testing.T) {
	l := things(t, "{id: twins, metric: duplicateValues, arguments: {properties: [amount]}, mustBe: 0, severity: error, customProperties: [{property: flag, value: true}]}")
	l.land("2026-11-20", amounts("1", "1"))
	l.land(today, amounts("1", "1"))
	if r := l.run(); len(r.Held) != 2 {
		t.Fatalf("%+v", r)
	}
	table, err := l.w.Load(t.Context(), l.table)
	if err != nil {
		t.Fatal(err)
	}
	files, err := table.Plan(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var old []warehouse.File
	for _, f := range files {
		if strings.Contains(fmt.Sprint(f.Path), "2026-11-20") {
			old = append(old, f)
		}
	}
	if len(old) != 1 {
		t.Fatalf("%d files of the day", len(old))
	}
	if _, err := l.w.Commit(t.Context(), table, warehouse.Change{Remove: old}); err != nil {
		t.Fatal(err)
	}
	r := l.run()
	if len(r.Ended) != 1 || r.Ended[0].ReleasedBy != releasedEmpty || len(r.Held) != 1 || r.Held[0].Day != today {
		t.Errorf("%+v", r)
	}
	equal(t, "groups", l.rows(TableNearDuplicates, "select distinct cast(arrival_date as varchar) from x"), []string{today})
}

// Guards facts against a profile: one that fails is told of in ops.quality and in the result, without the value that the engine quotes, and holds nothing; it is tried again an hour later, and not by every run.
func TestProfileThatFails(t *testing.T) {
	l := things(t, "{id: rows, metric: rowCount, mustBe: 1, severity: error}")
	l.land(today, "select date '5000000-01-01' as day") // a timestamp cannot hold it
	r := l.run()
	if len(r.Days) != 1 || len(r.Held) != 0 || r.Days[0].Columns != nil || !strings.Contains(r.Days[0].Unprofiled, "Conversion Error") || !check(t, r, "rows").Passed {
		t.Fatalf("%+v", r)
	}
	told := l.rows(TableQuality, "select kind, metric, passed, value_text from x where metric in ('failed', 'rowCount') order by 2")
	if len(told) != 2 || !strings.HasPrefix(told[0], "profile failed null profile: ") || !strings.Contains(told[0], "Conversion Error") || strings.Contains(fmt.Sprint(r, told), "5000000") {
		t.Errorf("%q", told)
	}
	if again := l.run(); len(again.Days) != 0 {
		t.Errorf("the next run looked at %+v", again.Days)
	}
	l.now = l.now.Add(profileAgain)
	if later := l.run(); len(later.Days) != 1 || later.Days[0].Unprofiled == "" {
		t.Errorf("an hour later: %+v", later.Days)
	}
}

// Guards runs that find nothing new against a day that is gone: one whose profile was to be made again is forgotten with its rows, or each run from then on would look for it.
func TestProfileOfADayThatIsGone(t *testing.T) {
	l := things(t)
	l.land(today, "select date '5000000-01-01' as day")
	if r := l.run(); len(r.Days) != 1 || r.Days[0].Unprofiled == "" {
		t.Fatalf("%+v", r)
	}
	table, err := l.w.Load(t.Context(), l.table)
	if err != nil {
		t.Fatal(err)
	}
	files, err := table.Plan(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.w.Commit(t.Context(), table, warehouse.Change{Remove: files}); err != nil {
		t.Fatal(err)
	}
	if r := l.run(); len(r.Days) != 1 || r.Days[0].Rows != 0 {
		t.Errorf("%+v", r.Days)
	}
	l.now = l.now.Add(profileAgain)
	if r := l.run(); len(r.Days) != 0 {
		t.Errorf("an hour after the day went: %+v", r.Days)
	}
}

// Guards people in the rows: an engine's error quotes a value, which must stand neither in the check, nor in ops.quality, nor in the reason of the hold.
func TestErrorsQuoteNoValues(t *testing.T) {
	l := things(t, "{id: number, type: sql, query: 'select max(cast(Name as bigint)) from ${table}', mustBeGreaterThan: 0, severity: error}")
	l.land(today, "select 'Jane Doe' as name")
	r := l.run()
	if c := check(t, r, "number"); c.Passed || !strings.Contains(c.Reason, "Could not convert string … to INT64") || !r.Held.Held(l.table.String(), today) {
		t.Errorf("%+v", c)
	}
	for _, told := range []any{r.Days[0].Checks[0].Reason, r.Held, l.rows(TableQuality, "select value_text from x where kind = 'rule'"), l.rows(TableQuarantine, "select reason from x")} {
		if text := fmt.Sprint(told); strings.Contains(text, "Doe") || !strings.Contains(text, "Conversion Error") {
			t.Error(text)
		}
	}
}

// Guards the golden rule of counts: what a rule says of a day is of all its rows after each run that added some, also of a run that leaves the profile since the day hardly grew.
func TestCountsAreOfAllRows(t *testing.T) {
	c, _ := on(t, "amount", "{id: negative, metric: invalidValues, arguments: {minimum: 0}, mustBe: 0}", "{id: minus, type: sql, query: 'select count(*) from ${table} where ${column} < 0', unit: rows, mustBe: 0}")
	l := newLake(t, setOf(t, c), "Thing")
	l.land(today, "select cast(case when range < 10 then -1 else 1 end as double) as amount from range(100)")
	l.run()
	for range 3 { // an eighth is 12 rows
		l.now = l.now.Add(time.Minute)
		l.land(today, amounts("-1", "-2", "3"))
		if r := l.run(); len(r.Days) != 1 || r.Days[0].Columns != nil {
			t.Errorf("%+v", r.Days)
		}
	}
	equal(t, "counts", l.rows(TableQuality, "select rule_id, rows_checked, rows_failed, value from x where kind = 'rule' order by evaluated_at, 1"), []string{
		"minus 100 10 10", "negative 100 10 10", "minus 103 12 12", "negative 103 12 12", "minus 106 14 14", "negative 106 14 14", "minus 109 16 16", "negative 109 16 16",
	})
	equal(t, "rows", l.rows(TableQuality, "select value from x where kind = 'profile' and metric = 'rows' order by evaluated_at"), []string{"100", "103", "106", "109"})
}
