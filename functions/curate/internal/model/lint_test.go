package model

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// caseTypes are of the table that the cases were run on.
var caseTypes = map[string]string{"id": "integer", "x": "double", "m": "decimal(10,2)", "pay": "varchar", "csv": "varchar", "d": "date", "ts": "timestamp", "js": "varchar"}

// differentAccepted are cases with different answers that the lint lets pass, and why.
var differentAccepted = map[string]string{
	"cast(row(1, 'a') as row(p integer, q varchar))":  "the values are equal and shown differently; a row is no column of a model, and .p of it is the same",
	"select lower('ÄÉß'), upper('äéß'), length('äé')": "one letter (ß) of upper: in the data, not in the text",
}

// sameRefused are cases with one answer that the lint refuses, and why.
var sameRefused = map[string]string{
	"regexp_extract(pay, 'c(a)', 1)":                    "all rows of the case match; where one does not, DuckDB gives ''",
	"select any_value(d) = date '2026-01-01' from @rel": "one answer for every row that can be chosen",
	"select arbitrary(d) = date '2026-01-01' from @rel": "one answer for every row that can be chosen",
	"trim('  a ')":                         "there is no other white space in the text",
	"extract(dow from d)":                  "no day of the case is a Sunday, which is 0 on DuckDB and 7 on Trino",
	"select approx_distinct(id) from @rel": "three rows; the estimates of many differ",
	"try_cast('zz' as integer)":            "of '1.5' they differ",
	"try(cast('zz' as integer))":           "of '1.5' they differ",
	"greatest(x, 1)":                       "no row of the case is NaN, which is the greatest on DuckDB and left out on Trino",
	"array_distinct(array[1,1])":           "of [3, 1, 3, 2] the order differs, and DuckDB loses nulls",
	"map(array['a'], array[1])['a']":       "a key that is not there is null on DuckDB and an error on Trino",
	"log(2, 8)":                            "of log(2, 10) the last digit differs",
	"select stddev(x), variance(x), var_pop(x), stddev_pop(x) from @rel":                           "two values in one order; the last digits of many depend on it",
	"select sum(x), avg(x), min(x), max(x) from @rel":                                              "two values in one order; the last digits of many depend on it",
	"select cast(avg(cast(m as double)) as double) from @rel":                                      "three values in one order; the last digits of many depend on it",
	"select cast(cast('2.675' as double) as decimal(10,2)), cast(cast('1e3' as double) as bigint)": "neither is a half",
}

func asQuery(text string) string {
	text = strings.ReplaceAll(text, "@rel", "rel v")
	if strings.HasPrefix(text, "select ") || strings.HasPrefix(text, "with ") {
		return text
	}
	return "select " + text + " from rel v"
}

// What the engines were seen to answer differently is refused, what they answered alike is not, but for the exceptions with their reasons. An exception that is none any more is told.
func TestCases(t *testing.T) {
	f, err := os.Open("../../../../../shared/sql/cases.txt")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("../shared/sql/cases.txt is not here: the answers of both engines to 248 expressions")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	n := 0
	used := map[string]bool{}
	for sc.Scan() {
		verdict, text, ok := strings.Cut(sc.Text(), " ")
		text = strings.TrimSpace(text)
		if !ok || !slices.Contains([]string{"SAME", "DIFF", "-T", "D-"}, verdict) {
			continue
		}
		n++
		ts, err := tokens(asQuery(text))
		var found []finding
		if err != nil {
			found = []finding{{1, err.Error()}}
		} else {
			found = lint(ts, caseTypes)
		}
		used[text] = (verdict == "SAME") == (len(found) > 0)
		switch {
		case verdict == "SAME" && len(found) > 0 && sameRefused[text] == "":
			t.Errorf("SAME %s\n      %v", text, found)
		case verdict != "SAME" && len(found) == 0 && differentAccepted[text] == "":
			t.Errorf("%s %s passes", verdict, text)
		}
	}
	for _, list := range []map[string]string{differentAccepted, sameRefused} {
		for text := range list {
			if !used[text] {
				t.Errorf("%s needs no exception", text)
			}
		}
	}
	if n < 240 {
		t.Errorf("only %d cases were read", n)
	}
}

// Each rule of the lint, with a spelling that is refused and the one that is advised instead.
func TestLanguage(t *testing.T) {
	b, err := os.ReadFile("testdata/language.txt")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		verdict, rest, _ := strings.Cut(line, " ")
		text, want, _ := strings.Cut(rest, " | ")
		if verdict == "#" {
			continue
		}
		if !strings.HasPrefix(text, "from ") && !strings.HasPrefix(text, "delete ") {
			text = asQuery(text)
		}
		var found []finding
		ts, err := tokens(text)
		if err != nil {
			found = []finding{{1, err.Error()}}
		} else {
			found = lint(ts, caseTypes)
		}
		hit := slices.ContainsFunc(found, func(f finding) bool { return strings.HasPrefix(f.text, want) })
		if verdict == "ok" && len(found) > 0 || verdict == "no" && !hit {
			t.Errorf("line %d: %s\n      %v", i+1, line, found)
		}
	}
}

// Whatever the text, the tokeniser and all that reads tokens come to an end without a panic.
func FuzzLint(f *testing.F) {
	b, err := os.ReadFile("testdata/language.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		f.Add(line)
	}
	f.Add("with a as (select 1), b(c) as (select * from a, (b join c on true)) select case when 1 then cast(x as row(a decimal(1,2))) end from a.b.c -- ")
	f.Fuzz(func(_ *testing.T, text string) {
		ts, err := tokens(text)
		if err != nil {
			return
		}
		references(ts)
		words(ts)
		lint(ts, caseTypes)
	})
}

// Whatever somebody's file holds, it is loaded and checked, or told to be wrong, in the lines that it has: front matter, tokens, references, lint.
func FuzzModel(f *testing.F) {
	for _, dir := range []string{"testdata/models", "testdata/models/marts", "../../models"} {
		names, err := filepath.Glob(filepath.Join(dir, "*.sql"))
		if err != nil || len(names) == 0 {
			f.Fatal(names, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			if len(text) < 6000 {
				f.Add(text)
			}
		}
	}
	b, err := os.ReadFile("testdata/language.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		f.Add([]byte("/*---\nname: a\nmaterialized: table\ncolumns: [{name: b, type: bigint}]\n---*/\nselect " + line))
	}
	f.Add([]byte("/*---\nname: a\nmaterialized: incremental\nunique_key: [b]\norder_by: [b desc]\npartition: c\ncolumns:\n  - {name: b, type: 'decimal(10, 2)', tests: [not_null, {accepted_values: {values: [1], severity: warn}}]}\n" +
		"tests: [{name: x, severity: warn, sql: select 1 from a}]\n---*/\nselect 1 as b from events.c"))
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := bytes.Count(text, []byte("\n")) + 1
		set, err := Load(fstest.MapFS{"a.sql": &fstest.MapFile{Data: text}})
		problems := Problems(err)
		if err == nil {
			problems = Check(t.Context(), set, Checks{})
		} else if problems == nil {
			t.Errorf("an error without a place: %v", err)
		}
		for _, p := range problems {
			if p.Line < 0 || p.Line > lines {
				t.Errorf("%s: of %d lines", p, lines)
			}
		}
	})
}

// Pieces of SQL in any order, as somebody's half-written model has them, are told or let pass, and neither panic nor hang.
func TestAnyText(t *testing.T) {
	b, err := os.ReadFile("testdata/language.txt")
	if err != nil {
		t.Fatal(err)
	}
	pieces := append(strings.Fields(string(b)), "(", ")", "case", "when", "then", "end", "from", "with", "as", ",", "select", "[", "]", "over", "cast(", "in (", "/", "-", "+", "interval", "at time zone", "group by", "join", "unnest(")
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var s strings.Builder
		for range r.IntN(25) {
			s.WriteString(" " + pieces[r.IntN(len(pieces))])
		}
		for strings.Count(s.String(), "(") > strings.Count(s.String(), ")") {
			s.WriteString(")")
		}
		ts, err := tokens(s.String())
		if err != nil {
			continue
		}
		references(ts)
		words(ts)
		lint(ts, caseTypes)
	}
}
