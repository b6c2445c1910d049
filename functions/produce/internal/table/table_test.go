package table

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"millrace/functions/produce/internal/record"
	"millrace/shared/contract"
)

var id = record.Identity{Source: "/produce/t", Prefix: "f"}

const people = `
event_type: Person
schema_version: 1-0-0
missing: ["-200", n/a]
time: at
columns:
  name: Name
  age: {column: Age, type: integer}
  height: {column: Height, type: number}
  member: {column: Member, type: boolean}
  at: {column: At, type: timestamp, layout: "2006-01-02 15:04", zone: Europe/Berlin}
  both: {columns: [Name, Age], join: /}
  fixed: {value: x}
`

func mapping(t *testing.T, yaml string) *Mapping {
	t.Helper()
	m, err := ParseMapping([]byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// all reads a table to its end: the records' bodies, and the bad rows as "line/row".
func all(t *testing.T, r record.Reader) (bodies, bad []string) {
	t.Helper()
	for {
		rec, err := r.Next(t.Context())
		var row *record.RowError
		switch {
		case errors.Is(err, io.EOF):
			return bodies, bad
		case errors.As(err, &row):
			bad = append(bad, fmt.Sprintf("%d/%d", row.Line, row.Row))
		case err != nil:
			t.Fatal(err)
		default:
			bodies = append(bodies, string(rec.Body))
		}
	}
}

// Guards against values that change on their way, and against inventing any: what is no number goes on as the text that it is.
func TestRowsBecomeEvents(t *testing.T) {
	in := "\xef\xbb\xbfName,Age,Height,Member,At\r\n" +
		"Ann,07,1.50,TRUE,2026-07-01 12:00\r\n" +
		"\r\n" +
		"\"B \"\"o\"\"\nb\",7.0,1e3,no,yesterday\n" +
		",-200.0,n/a,,\n" +
		"C,seven,0x10,false,2026-01-01 00:30"
	r, err := Open(strings.NewReader(in), mapping(t, people), "t.csv", id)
	if err != nil {
		t.Fatal(err)
	}
	got, bad := all(t, r)
	event := func(row int, at, payload string) string {
		return fmt.Sprintf(`{"event_type":"Person","schema_version":"1-0-0","id":"f-%d","source":"/produce/t",%s"payload":{%s,"fixed":"x"}}`, row, at, payload)
	}
	want := []string{
		event(1, `"time":"2026-07-01T10:00:00Z",`, `"name":"Ann","age":7,"height":1.50,"member":true,"at":"2026-07-01T10:00:00Z","both":"Ann/07"`),
		event(2, "", `"name":"B \"o\"\nb","age":7,"height":1000,"member":"no","at":"yesterday","both":"B \"o\"\nb/7.0"`),
		event(3, "", `"name":null,"age":null,"height":null,"member":null,"at":null,"both":"/-200.0"`),
		event(4, `"time":"2025-12-31T23:30:00Z",`, `"name":"C","age":"seven","height":"0x10","member":false,"at":"2025-12-31T23:30:00Z","both":"C/seven"`),
	}
	if !slices.Equal(got, want) || len(bad) > 0 {
		t.Errorf("got\n%s\nbad rows %v, want\n%s", strings.Join(got, "\n"), bad, strings.Join(want, "\n"))
	}
	for _, b := range got {
		if !json.Valid([]byte(b)) {
			t.Errorf("not JSON: %s", b)
		}
	}
}

// Guards against one row that cannot be split taking others with it, and against ids that move because of it.
func TestARowThatCannotBeSplitIsReportedWithItsLine(t *testing.T) {
	const m = "event_type: T\nschema_version: 0-0-1\ncolumns: {a: a, b: b}\n"
	f := func(name, in string, rows, wantBad []string) {
		t.Helper()
		r, err := Open(strings.NewReader("a,b\n"+in), mapping(t, m), "t.csv", id)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		bodies, bad := all(t, r)
		var got []string
		for _, b := range bodies {
			var e struct {
				ID      string
				Payload struct{ A, B string }
			}
			if err := json.Unmarshal([]byte(b), &e); err != nil {
				t.Fatal(err)
			}
			got = append(got, e.ID+" "+e.Payload.A+" "+e.Payload.B)
		}
		if !slices.Equal(got, rows) || !slices.Equal(bad, wantBad) {
			t.Errorf("%s: rows %q, bad %q, want %q and %q", name, got, bad, rows, wantBad)
		}
	}
	f("too few", "1,2\n3\n5,6\n", []string{"f-1 1 2", "f-3 5 6"}, []string{"3/2"})
	f("too many", "1,2\n3,4,5\n5,6\n", []string{"f-1 1 2", "f-3 5 6"}, []string{"3/2"})
	f("text after the quote", "\"1\"x,2\n3,4\n", []string{"f-2 3 4"}, []string{"2/1"})
	f("a quote inside", "1\"x,2\n3,4\n", []string{"f-2 3 4"}, []string{"2/1"})
	f("a quote never closed", "\"1,2\n3,4\n5,6\n", []string{"f-2 3 4", "f-3 5 6"}, []string{"2/1"})
	f("a quote never closed, no line break", "3,4\n\"1,2", []string{"f-1 3 4"}, []string{"3/2"})
	f("lines are counted through quoted breaks", "\"1\n1\",2\n3\n", []string{"f-1 1\n1 2"}, []string{"4/2"})
	f("a row over the limit", strings.Repeat("x", 3<<20)+",2\n3,4\n", []string{"f-2 3 4"}, []string{"2/1"})
}

// Guards against sending a table's rows under another meaning: a header that does not fit is refused before the first row.
func TestHeadersThatDoNotFit(t *testing.T) {
	f := func(in string, m *Mapping, want string) {
		t.Helper()
		_, err := Open(strings.NewReader(in), m, "some.csv", id)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "some.csv") {
			t.Errorf("%.40q: error %v, want it to name some.csv and to say %q", in, err, want)
		}
	}
	m := mapping(t, people)
	f("Name,Age\n", m, `no column "Height", "Member", "At"`)
	f("Name,Name,Age,Height,Member,At\n", m, `"Name" is there twice`)
	f("a;b;c\n1;2;3\n", nil, "no built-in mapping")
	f("", m, "no column")
	f(strings.Repeat("x", 1<<17), m, "longer than 64 KiB")
}

// Guards against a mapping that is misspelt and quietly does less than it says.
func TestMappingsThatAreWrong(t *testing.T) {
	f := func(yaml, want string) {
		t.Helper()
		if _, err := ParseMapping([]byte(yaml)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", yaml, err, want)
		}
	}
	const head = "event_type: T\nschema_version: 0-0-1\n"
	f("", "empty")
	f(head, "columns is empty")
	f("schema_version: 0-0-1\ncolumns: {a: b}", "event_type")
	f("event_type: T\ncolumns: {a: b}", "schema_version")
	f(head+"colums: {a: b}", "colums")
	f(head+"columns: {a: {colum: b}}", "colum is no key")
	f(head+"columns: {a: {column: b, type: int}}", `type "int"`)
	f(head+"columns: {a: {type: integer}}", "one of column")
	f(head+"columns: {a: {column: b, value: c}}", "one of column")
	f(head+"columns: {a: b, a: c}", "a")
	f(head+"delimiter: ';;'\ncolumns: {a: b}", "delimiter")
	f(head+"time: a\ncolumns: {a: b}", "time")
	f(head+"time: a\ncolumns: {a: {column: b, type: timestamp, layout: '2006-01-02'}}", "time")
	f(head+"columns: {a: {column: b, type: timestamp, zone: Mars/Base}}", "zone")
	f(head+"decimal: x\ncolumns: {a: b}", "decimal")
	f(head+"quote: x\ncolumns: {a: b}", "quote")
}

// Guards against numbers in another spelling than JSON's, and against texts that only some parsers take for numbers.
func TestNumbers(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		got, ok := appendNumber(nil, in)
		if string(got) != want || ok != (want != "") {
			t.Errorf("number %q: %s %v, want %s", in, got, ok, want)
		}
	}
	f("1360.0", "1360.0")
	f("-0.5", "-0.5")
	f("+5", "5")
	f(".5", "0.5")
	f("5.", "5")
	f("007", "7")
	f("1e+06", "1000000")
	f("1E-3", "0.001")
	for _, s := range []string{"", "-", "NaN", "inf", "0x1p4", "1_000", "1,5", "--1", "1e999"} {
		f(s, "")
	}
	w := func(in, want string) {
		t.Helper()
		if got, ok := wholeNumber(in); got != want || ok != (want != "") {
			t.Errorf("integer %q: %s %v, want %s", in, got, ok, want)
		}
	}
	w("0", "0")
	w("-0", "0")
	w("-007", "-7")
	w("7.000", "7")
	w("12345678901234567890123", "12345678901234567890123")
	for _, s := range []string{"7.5", "1e3", "x", ""} {
		w(s, "")
	}
}

func data(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open("../../../../../shared/data/" + name)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("the real data set %s is not here", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// Guards against built-in mappings that drift from the shipped contracts: every row of the real files must be an event that its contract accepts.
func TestRealFilesFitTheirContracts(t *testing.T) {
	set, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	f := func(t *testing.T, file, eventType string, rows, nulls int) {
		t.Helper()
		r, err := Open(data(t, file), nil, file, id)
		if err != nil {
			t.Fatal(err)
		}
		c, ok := set.Find(eventType, "0-0-1")
		if !ok || r.EventType() != eventType {
			t.Fatalf("type %s, contract found: %v", r.EventType(), ok)
		}
		bodies, bad := all(t, r)
		if len(bodies) != rows || len(bad) > 0 {
			t.Errorf("%s: %d events, %d bad rows; want %d", file, len(bodies), len(bad), rows)
		}
		seen := 0
		for _, b := range bodies {
			var e struct{ Payload json.RawMessage }
			if err := json.Unmarshal([]byte(b), &e); err != nil {
				t.Fatal(err)
			}
			if v := c.Check(e.Payload); len(v) > 0 {
				t.Fatalf("%s: %v in %s", file, v, b)
			}
			seen += strings.Count(string(e.Payload), ":null")
		}
		if seen != nulls {
			t.Errorf("%s: %d nulls, want %d", file, seen, nulls)
		}
	}
	t.Run("nasa", func(t *testing.T) { f(t, "clickstream/nasa_19950801.tsv", "PageView", 30969, 2*30969) })
	t.Run("airquality", func(t *testing.T) { f(t, "iot/AirQualityUCI.csv", "AirQualitySensor", 9357, 16701) })
}

// Guards against skipping rows by another count than the ids use.
func TestSkip(t *testing.T) {
	const in = "a,b\n1,1\nbad\n3,3\n4,4\n"
	m := mapping(t, "event_type: T\nschema_version: 0-0-1\ncolumns: {a: a}\n")
	for skip, want := range map[int64]string{0: "f-1", 2: "f-3", 3: "f-4"} {
		r, err := Open(strings.NewReader(in), m, "t.csv", id)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Skip(t.Context(), skip); err != nil {
			t.Fatal(err)
		}
		if rec, err := r.Next(t.Context()); err != nil || rec.ID != want {
			t.Errorf("after %d rows comes %s (%v), want %s", skip, rec.ID, err, want)
		}
	}
}

// Guards against a splitter of our own that reads well-formed CSV otherwise than the standard library, or that loops on anything else.
func FuzzSplitter(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "\"a\"\"b\",c\r\n", "\"x\ny\",z", "a\"b,c\n", "\"a\n", ",\n,", "\r\n\r", "\"\",\"\"\r"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMapping([]byte("event_type: T\nschema_version: 0-0-1\ncolumns: {h: h}\n"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := Open(strings.NewReader("h\n"+s), m, "f", id)
		if err != nil {
			t.Fatal(err)
		}
		var got [][]string
		failed := false
		for range len(s) + 2 {
			fields, _, err := r.split.next()
			if errors.Is(err, io.EOF) {
				break
			}
			var shape *shapeError
			if errors.As(err, &shape) {
				failed = true
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fields)
		}
		if _, err := r.Next(context.Background()); !errors.Is(err, io.EOF) {
			t.Fatalf("no end after %d rows: %v", len(s)+2, err)
		}
		std := csv.NewReader(strings.NewReader(s))
		std.FieldsPerRecord = -1
		want, err := std.ReadAll()
		if err != nil || failed || strings.Contains(s, "\r") {
			return // the library reads a lone carriage return and broken rows in its own way
		}
		want = slices.DeleteFunc(want, func(r []string) bool { return len(r) == 1 && r[0] == "" })
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%q: %q, the standard library says %q", s, got, want)
		}
	})
}
