package model

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
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
	"regexp_extract(pay, 'c(a)', 1)":       "all rows of the case match; where one does not, DuckDB gives ''",
	"extract(dow from d)":                  "no day of the case is a Sunday, which is 0 on DuckDB and 7 on Trino",
	"select approx_distinct(id) from @rel": "three rows; the estimates of many differ",
}

func asQuery(text string) string {
	text = strings.ReplaceAll(text, "@rel", "rel v")
	if strings.HasPrefix(text, "select ") || strings.HasPrefix(text, "with ") {
		return text
	}
	return "select " + text + " from rel v"
}

// What the engines were seen to answer differently is refused, what they answered alike is not, but for the exceptions with their reasons.
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
		switch {
		case verdict == "SAME" && len(found) > 0 && sameRefused[text] == "":
			t.Errorf("SAME %s\n      %v", text, found)
		case verdict != "SAME" && len(found) == 0 && differentAccepted[text] == "":
			t.Errorf("%s %s passes", verdict, text)
		}
	}
	if n < 240 {
		t.Errorf("only %d cases were read", n)
	}
}
