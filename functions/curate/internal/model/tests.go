package model

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tests runs the model's tests on staged rows. The error is for what kept a test from running.
func (r *runner) tests(ctx context.Context, b *Build, st Staged) ([]TestResult, error) {
	m := b.Model
	rows, after := st.Relations()
	out := make([]TestResult, len(m.Tests))
	// Conditions on a row are counted together, in one pass.
	var parts []string
	var at []int
	for i, t := range m.Tests {
		out[i] = TestResult{Name: t.Name, Kind: t.Kind, Column: t.Column, Severity: t.Severity, Passed: true}
		if c := t.condition(); c != "" {
			parts, at = append(parts, "count_if("+c+")"), append(at, i)
		}
	}
	if len(parts) > 0 {
		start := r.o.Now()
		err := st.Query(ctx, "select "+strings.Join(parts, ", ")+" from "+rows, nil, func(_ []string, row []any) error {
			for k, i := range at {
				n, err := count(row[k])
				if err != nil {
					return err
				}
				out[i].Failures, out[i].Passed = n, n == 0
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("running the tests: %w", err)
		}
		for _, i := range at {
			out[i].Duration = r.o.Now().Sub(start) / time.Duration(len(at))
		}
	}
	for i, t := range m.Tests {
		start := r.o.Now()
		var counting, examples string
		switch t.Kind {
		case NotNull, AcceptedValues:
			examples = "select " + m.shown(t.Column) + " from " + rows + " where " + t.condition()
		case Unique:
			c := quote(t.Column)
			examples = "select " + c + ", count(*) as copies from " + after + " where " + c + " is not null group by " + c + " having count(*) > 1"
			counting = "select count(*) from (" + examples + ") t"
			examples += " order by 2 desc, 1"
		case Relationships:
			c := quote(t.Column)
			from := " from " + rows + " r where r." + c + " is not null and not exists (select 1 from " + quote(t.To) + " d where d." + quote(t.Field) + " = r." + c + ")"
			examples, counting = "select "+m.shown(t.Column)+from, "select count(*)"+from
		case SQLTest:
			examples = "select * from (" + t.body + "\n) t"
			counting = "select count(*) from (" + t.body + "\n) t"
		}
		with, inputs, err := r.testInputs(ctx, b, t, rows)
		if err != nil {
			return nil, fmt.Errorf("test %s: %w", t.Name, err)
		}
		if counting != "" {
			err := st.Query(ctx, with+counting, inputs, func(_ []string, row []any) (err error) {
				out[i].Failures, err = count(row[0])
				out[i].Passed = out[i].Failures == 0
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("test %s: %w", t.Name, err)
			}
		}
		if !out[i].Passed {
			err := st.Query(ctx, with+examples+" limit "+strconv.Itoa(r.o.Examples), inputs, func(columns []string, row []any) error {
				out[i].Columns = slices.Clone(columns)
				texts := make([]string, len(row))
				for j, v := range row {
					texts[j] = text(v)
				}
				out[i].Examples = append(out[i].Examples, texts)
				return nil
			})
			if err != nil {
				return nil, fmt.Errorf("examples of test %s: %w", t.Name, err)
			}
		}
		out[i].Duration += r.o.Now().Sub(start)
	}
	return out, nil
}

// condition is true for rows that fail the test; "" where the test is not one of single rows.
func (t Test) condition() string {
	switch t.Kind {
	case NotNull:
		return quote(t.Column) + " is null"
	case AcceptedValues:
		return quote(t.Column) + " not in (" + strings.Join(t.Values, ", ") + ")"
	case Unique, Relationships, SQLTest:
	}
	return ""
}

// shown is what an example has: the key, the partition and the column.
func (m *Model) shown(column string) string {
	names := append(slices.Clone(m.UniqueKey), column)
	if m.Partition != "" {
		names = append(names, m.Partition)
	}
	var out []string
	for i, n := range names {
		if slices.Index(names, n) == i {
			out = append(out, quote(n))
		}
	}
	return strings.Join(out, ", ")
}

// testInputs returns the WITH clause that makes the models known that a test reads, its own name meaning the new rows, and their tables.
func (r *runner) testInputs(ctx context.Context, b *Build, t Test, rows string) (with string, inputs []Input, err error) {
	names := slices.Clone(t.refs)
	if t.Kind == SQLTest {
		names = append(names, b.Model.Name)
	}
	slices.Sort(names)
	var parts []string
	for _, n := range slices.Compact(names) {
		if n == b.Model.Name {
			parts = append(parts, quote(n)+" as (select * from "+rows+")")
			continue
		}
		table, err := r.table(ctx, starName(n))
		if err != nil {
			return "", nil, err
		}
		if table == nil {
			return "", nil, fmt.Errorf("model %s has no table yet", n)
		}
		in := Input{Name: table.Name, Table: table}
		if t.Kind == Relationships {
			in.Columns = []string{t.Field}
		}
		inputs = append(inputs, in)
		parts = append(parts, quote(n)+" as (select * from "+quote(Namespace)+"."+quote(n)+")")
	}
	if len(parts) == 0 {
		return "", nil, nil
	}
	return "with " + strings.Join(parts, ", ") + " ", inputs, nil
}

func count(v any) (int64, error) {
	switch n := v.(type) {
	case int64:
		return n, nil
	case nil:
		return 0, nil
	}
	n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64) // such as DuckDB's sums, which are of 128 bits
	if err != nil {
		return 0, fmt.Errorf("a count came as %T", v)
	}
	return n, nil
}

// text is a value as a report shows it.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case time.Time:
		if v.Hour() == 0 && v.Minute() == 0 && v.Second() == 0 && v.Nanosecond() == 0 {
			return v.Format(time.DateOnly)
		}
		return v.Format("2006-01-02 15:04:05.999999")
	case []byte:
		return string(v)
	}
	return fmt.Sprint(v)
}
