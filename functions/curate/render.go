package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"millrace/functions/curate/internal/duck"
)

// cellWidth is how many characters a table shows of a value.
const cellWidth = 60

// errEnough ends a query whose rows are all shown.
var errEnough = errors.New("enough rows")

// render runs the query and writes its rows, at most max (0: all); stderr hears that there are more.
func render(ctx context.Context, db *duck.DB, sql, format string, max int64, stdout, stderr io.Writer) error {
	sql = "select * from (\n" + sql + "\n)" // whose columns' names differ
	columns, err := db.Describe(ctx, sql)
	if err != nil {
		return err
	}
	if max > 0 {
		sql += fmt.Sprintf(" limit %d", max+1)
	}
	w := bufio.NewWriterSize(stdout, 1<<16)
	var p printer
	switch format {
	case formatCSV:
		p = &csvPrinter{w: w}
		sql = "select " + selectList(columns, asText) + " from (" + sql + ")"
	case formatJSON:
		p = jsonPrinter{w}
		row := "row" // a name that no column has: to_json would mean the column
		for slices.ContainsFunc(columns, func(c duck.Column) bool { return strings.EqualFold(c.Name, row) }) {
			row += "_"
		}
		sql = "select cast(to_json(" + duck.Quote(row) + ") as varchar) from (select " + selectList(columns, asFinite) + " from (" + sql + ")) " + duck.Quote(row)
	default:
		p = &tablePrinter{w: w}
		sql = "select " + selectList(columns, asText) + " from (" + sql + ")"
	}
	if err := p.begin(columns); err != nil {
		return err
	}
	var n int64
	read := db.Stream
	if max > 0 && max < 10_000 {
		read = db.Rows
	}
	err = read(ctx, sql, func(_ []string, row []any) error {
		if max > 0 && n == max {
			return errEnough
		}
		n++
		return p.row(row)
	})
	more := errors.Is(err, errEnough)
	if err != nil && !more {
		return errors.Join(err, w.Flush())
	}
	if err := errors.Join(p.end(n, more), w.Flush()); err != nil {
		return fmt.Errorf("writing the rows: %w", err)
	}
	if more && format != formatTable {
		fmt.Fprintf(stderr, "the first %d rows; there are more (--max-rows)\n", n)
	}
	return nil
}

// selectList is the select list of all columns.
func selectList(columns []duck.Column, f func(duck.Column) string) string {
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = f(c) + " as " + duck.Quote(c.Name)
	}
	return strings.Join(parts, ", ")
}

// asText is the column's value as text; nested ones as JSON.
func asText(c duck.Column) string {
	switch name := duck.Quote(c.Name); {
	case strings.HasPrefix(c.Type, "STRUCT"), strings.HasPrefix(c.Type, "MAP"), strings.HasSuffix(c.Type, "]"):
		return "cast(to_json(" + name + ") as varchar)"
	default:
		return "cast(" + name + " as varchar)"
	}
}

// asFinite is the column's value as JSON can have it.
func asFinite(c duck.Column) string {
	name := duck.Quote(c.Name)
	if c.Type == "DOUBLE" || c.Type == "FLOAT" {
		return "case when isfinite(" + name + ") then " + name + " end"
	}
	return name
}

// printer writes rows of text, in which nil is NULL.
type printer interface {
	begin(columns []duck.Column) error
	row(values []any) error
	end(rows int64, more bool) error
}

// csvPrinter writes RFC 4180: NULL is nothing, an empty text is "".
type csvPrinter struct{ w *bufio.Writer }

func (p *csvPrinter) begin(columns []duck.Column) error {
	names := make([]any, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return p.row(names)
}

func (p *csvPrinter) row(values []any) error {
	for i, v := range values {
		if i > 0 {
			p.w.WriteByte(',') //nolint:errcheck // Flush tells
		}
		s, ok := v.(string)
		if ok && (s == "" || strings.ContainsAny(s, "\",\r\n")) {
			s = `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
		}
		p.w.WriteString(s) //nolint:errcheck // Flush tells
	}
	_, err := p.w.WriteString("\r\n")
	return err
}

func (p *csvPrinter) end(int64, bool) error { return nil }

// jsonPrinter writes an object a line.
type jsonPrinter struct{ w *bufio.Writer }

func (jsonPrinter) begin([]duck.Column) error { return nil }

func (p jsonPrinter) row(values []any) error {
	line, ok := values[0].(string)
	if !ok || !json.Valid([]byte(line)) {
		return fmt.Errorf("a row cannot be JSON (a NaN or an infinity in a nested value): %v", values[0])
	}
	_, err := p.w.WriteString(line + "\n")
	return err
}

func (jsonPrinter) end(int64, bool) error { return nil }

// aligned is how many rows say how wide a table's columns are.
const aligned = 1000

// tablePrinter aligns columns, numbers to the right. It holds no more than the first rows: what is wider further down stands out of its column.
type tablePrinter struct {
	w      *bufio.Writer
	right  []bool
	widths []int
	rows   [][]string // not written yet, the head among them
	begun  bool       // the head is written, and with it how wide the columns are
}

func (p *tablePrinter) begin(columns []duck.Column) error {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = cell(c.Name)
		p.right = append(p.right, number(c.Type))
	}
	p.rows = append(p.rows, names)
	return nil
}

// number says whether a type's values are aligned to the right.
func number(t string) bool {
	name, _, _ := strings.Cut(t, "(")
	return slices.Contains([]string{"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL"}, name) && !strings.HasSuffix(t, "]")
}

// cell is a value in one line, cut.
func cell(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '·'
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > cellWidth {
		s = string([]rune(s)[:cellWidth-1]) + "…"
	}
	return s
}

func (p *tablePrinter) row(values []any) error {
	cells := make([]string, len(values))
	for i, v := range values {
		cells[i] = "NULL"
		if s, ok := v.(string); ok {
			cells[i] = cell(s)
		}
	}
	if p.begun {
		return p.line(cells)
	}
	p.rows = append(p.rows, cells)
	if len(p.rows) > aligned {
		return p.write()
	}
	return nil
}

// write writes the head and the rows that were held back.
func (p *tablePrinter) write() error {
	p.begun, p.widths = true, make([]int, len(p.right))
	for _, r := range p.rows {
		for i, c := range r {
			p.widths[i] = max(p.widths[i], utf8.RuneCountInString(c))
		}
	}
	rule := make([]string, len(p.widths))
	for i, w := range p.widths {
		p.widths[i] = max(w, 1)
		rule[i] = strings.Repeat("─", p.widths[i])
	}
	for n, r := range p.rows {
		if err := p.line(r); err != nil {
			return err
		}
		if n == 0 {
			if _, err := fmt.Fprintln(p.w, strings.Join(rule, "  ")); err != nil {
				return err
			}
		}
	}
	p.rows = nil
	return nil
}

func (p *tablePrinter) line(cells []string) error {
	var line strings.Builder
	for i, c := range cells {
		pad := strings.Repeat(" ", max(0, p.widths[i]-utf8.RuneCountInString(c)))
		if p.right[i] {
			c = pad + c
		} else {
			c += pad
		}
		if i > 0 {
			line.WriteString("  ")
		}
		line.WriteString(c)
	}
	_, err := fmt.Fprintln(p.w, strings.TrimRight(line.String(), " "))
	return err
}

func (p *tablePrinter) end(rows int64, more bool) error {
	if !p.begun {
		if err := p.write(); err != nil {
			return err
		}
	}
	switch {
	case more:
		fmt.Fprintf(p.w, "(the first %d rows; --max-rows shows more)\n", rows)
	case rows == 1:
		fmt.Fprintln(p.w, "(1 row)")
	default:
		fmt.Fprintf(p.w, "(%d rows)\n", rows)
	}
	return nil
}
