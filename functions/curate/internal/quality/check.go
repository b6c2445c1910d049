package quality

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/fault"
)

// maxExamples is how many root ids of failing rows a check names.
const maxExamples = 5

// maxReason is how many characters of a reason are kept: an engine's message can hold a whole query.
const maxReason = 400

// Check is what a rule said of one day.
type Check struct {
	Rule
	Value       Value
	Ran         bool // it gave a value, which was judged
	Passed      bool // false where it did not run because of a Problem; true where it is NotRun
	Reason      string
	RowsChecked int64
	RowsFailed  int64 // -1 where the rule does not say
	Groups      int64 // of duplicateValues: values that more than one event has
	Examples    Examples
	Trend       []Point // earlier values of the rule on the same table, oldest first

	groups  string // of duplicateValues: the table of values that more than one row has
	members string // of a rule that flags: the table of these rows, by group; "" until it is made
}

// Examples are some of the rows that fail: root ids, and the values of the columns that the rule names.
type Examples struct {
	Columns []string
	Rows    [][]string
}

// rootIDs returns the first column.
func (e Examples) rootIDs() []string {
	ids := make([]string, 0, len(e.Rows))
	for _, r := range e.Rows {
		ids = append(ids, r[0])
	}
	return ids
}

// Point is one earlier value of a rule.
type Point struct {
	Evaluated time.Time
	Day       string
	Value     float64
	Passed    bool
}

// Failed reports whether the rule failed, be it by its value or because it could not be run.
func (c *Check) Failed() bool { return !c.Passed }

// parser is an engine that tells what a query is made of.
type parser interface {
	Parse(ctx context.Context, query string) (*duck.Parsed, error)
}

// evaluation runs the rules of one day.
type evaluation struct {
	db      engine
	rows    int64
	timeout time.Duration // of one statement
}

// check runs all rules. An error is one of the run (its context has ended, the engine is gone); a rule's own trouble is in its Check.
func (e *evaluation) check(ctx context.Context, rules []Rule) ([]Check, error) {
	checks := make([]Check, len(rules))
	var some []int
	for i, r := range rules {
		checks[i] = Check{Rule: r, RowsChecked: e.rows, RowsFailed: -1, groups: fmt.Sprintf("quality_groups_%d", i)}
		if r.Problem == "" && r.NotRun == "" && r.where != "" {
			some = append(some, i)
		}
	}
	// One pass over the rows for all rules that count rows; where a rule breaks it, each by itself.
	failing, err := e.counts(ctx, rules, some)
	if err != nil {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		failing = nil
	}
	for i := range checks {
		c := &checks[i]
		switch {
		case c.NotRun != "":
			c.Passed, c.Reason = true, c.NotRun
			continue
		case c.Problem != "":
			c.Reason = c.Problem
			continue
		}
		var err error
		switch {
		case c.where != "" && failing != nil:
			c.RowsFailed = failing[i]
		case c.where != "":
			var one map[int]int64
			if one, err = e.counts(ctx, rules, []int{i}); err == nil {
				c.RowsFailed = one[i]
			}
		case c.keys != nil:
			err = e.duplicates(ctx, c)
		case c.Metric == metricRows:
			c.Value = number(float64(e.rows))
		default:
			err = e.query(ctx, c)
		}
		if err == nil {
			e.judge(c)
			if !c.Passed || c.Flag && c.RowsFailed > 0 {
				err = e.examples(ctx, c)
			}
		}
		if err != nil {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			c.Ran, c.Passed, c.Reason = false, false, e.reason(err)
		}
	}
	if err := e.alive(ctx); err != nil {
		return nil, err
	}
	return checks, nil
}

// alive tells an engine that is gone from rules that are broken.
func (e *evaluation) alive(ctx context.Context) error {
	if err := e.one(ctx, "select 1", func([]any) error { return nil }); err != nil {
		return fmt.Errorf("the engine no longer answers: %w", err)
	}
	return nil
}

func (e *evaluation) reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("not done within %s, the time that one statement has", e.timeout)
	}
	return shorten(strings.Join(strings.Fields(fault.Text(err)), " "), maxReason)
}

// bounded is the context of one statement.
func (e *evaluation) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if e.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, e.timeout)
}

// ended is the error of a statement whose context may have ended, of which the driver says only that it was interrupted.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

// one runs a query within the time of a statement.
func (e *evaluation) one(ctx context.Context, query string, f func(row []any) error) error {
	ctx, cancel := e.bounded(ctx)
	defer cancel()
	return ended(ctx, e.db.Rows(ctx, query, func(_ []string, row []any) error { return f(row) }))
}

// exec runs a statement within its time.
func (e *evaluation) exec(ctx context.Context, statement string) error {
	ctx, cancel := e.bounded(ctx)
	defer cancel()
	return ended(ctx, e.db.Exec(ctx, statement))
}

// counts returns how many rows fail each of the rules.
func (e *evaluation) counts(ctx context.Context, rules []Rule, of []int) (map[int]int64, error) {
	failing := map[int]int64{}
	if len(of) == 0 {
		return failing, nil
	}
	list := make([]string, len(of))
	for n, i := range of {
		list[n] = "count_if(" + rules[i].where + ")"
	}
	err := e.one(ctx, "select "+strings.Join(list, ", ")+" from "+rows, func(row []any) error {
		for n, i := range of {
			failing[i] = int64(valueOf(row[n]).Number)
		}
		return nil
	})
	return failing, err
}

// duplicates counts the values that more than one row has, and the rows that have them. The values stay in the check's table, since finding them is what costs.
func (e *evaluation) duplicates(ctx context.Context, c *Check) error {
	var columns []string
	for i, k := range c.keys {
		columns = append(columns, fmt.Sprintf("%s as k%d", k, i))
	}
	err := e.exec(ctx, "create or replace temp table "+c.groups+" as select "+strings.Join(columns, ", ")+", count(*) as n from "+rows+" where "+present(c.keys)+
		" group by "+strings.Join(c.keys, ", ")+" having count(*) > 1")
	if err != nil {
		return err
	}
	return e.one(ctx, "select count(*), coalesce(cast(sum(n) as bigint), 0) from "+c.groups, func(row []any) error {
		c.Value = valueOf(row[0])
		c.Groups, c.RowsFailed = int64(c.Value.Number), int64(valueOf(row[1]).Number)
		return nil
	})
}

// group is the query for the rows that share a value: group_key, root_id, rows_in_group and the keys k0, k1, ...
func (c *Check) group() string {
	var columns, texts, same []string
	for i, k := range c.keys {
		name := fmt.Sprintf("k%d", i)
		columns = append(columns, k+" as "+name)
		texts = append(texts, "coalesce(cast(g."+name+" as varchar), '')")
		same = append(same, "r."+name+" is not distinct from g."+name)
	}
	return "select " + strings.Join(texts, " || '|' || ") + " as group_key, r.root_id, g.n as rows_in_group, g.* from (select " + columnRoot + " as root_id, " + strings.Join(columns, ", ") + " from " + rows + ") as r join " +
		c.groups + " as g on " + strings.Join(same, " and ")
}

// present is the condition of rows that have any of the keys: rows with none are no duplicates of each other.
func present(keys []string) string {
	return "(" + strings.Join(keys, " is not null or ") + " is not null)"
}

// query runs a rule's own query, which gives one value.
func (e *evaluation) query(ctx context.Context, c *Check) error {
	if p, ok := e.db.(parser); ok {
		parsed, err := p.Parse(ctx, c.query)
		if err != nil {
			return err
		}
		for _, table := range parsed.Tables {
			if table != rows {
				return fmt.Errorf("the query reads %s; a rule reads ${table} alone", shorten(table, 80))
			}
		}
		if i := slices.IndexFunc(parsed.Functions, outside.MatchString); i >= 0 {
			return fmt.Errorf("%s() is not for rules", parsed.Functions[i])
		}
	}
	n := 0
	err := e.one(ctx, "select * from (\n"+c.query+"\n) as answer limit 2", func(row []any) error {
		if n++; n > 1 || len(row) != 1 {
			return errors.New("the query gives more than one value")
		}
		c.Value = valueOf(row[0])
		return nil
	})
	if err == nil && n == 0 {
		c.Value = Value{Null: true}
	}
	return err
}

// judge holds the value against the threshold.
func (e *evaluation) judge(c *Check) {
	c.Ran = true
	percent := strings.EqualFold(c.Unit, unitPercent)
	switch {
	case c.where != "" || c.keys != nil && percent:
		x := float64(c.RowsFailed)
		if percent {
			x = 0 // of no rows none fails
			if e.rows > 0 {
				x = 100 * float64(c.RowsFailed) / float64(e.rows)
			}
		}
		c.Value = number(x)
	case c.Metric == metricSQL && c.Value.Null && e.rows == 0:
		c.Passed, c.Reason = true, "there are no rows"
		return
	case c.Metric == metricSQL && c.Value.IsNumber && c.Value.Number >= 0:
		// A query says how many rows fail only where its unit says that this is what it gives.
		switch n := c.Value.Number; {
		case percent && n <= 100:
			c.RowsFailed = int64(math.Round(n * float64(e.rows) / 100))
		case strings.EqualFold(c.Unit, unitRows) && n <= float64(e.rows):
			c.RowsFailed = int64(n)
		}
	}
	c.Passed, c.Reason = c.Threshold.judge(c.Value)
	if !c.Passed && c.Reason == "" {
		unit := ""
		if c.Unit != "" {
			unit = " " + c.Unit
		}
		c.Reason = fmt.Sprintf("%s%s, and it %s", shorten(c.Value.Text, 80), unit, must(c.Threshold))
	}
}

// must is the threshold as words: "must be less than 5".
func must(t Threshold) string {
	var text strings.Builder
	for _, r := range t.String() {
		if r >= 'A' && r <= 'Z' {
			text.WriteByte(' ')
			r += 'a' - 'A'
		}
		text.WriteRune(r)
	}
	return text.String()
}

var counting = regexp.MustCompile(`(?is)^\s*select\s+count\s*\(\s*\*\s*\)\s+from\s+` + rows + `\s+where\s(.*)$`)

// examples names rows that fail.
func (e *evaluation) examples(ctx context.Context, c *Check) error {
	where := c.where
	if c.Metric == metricSQL {
		where = counted(c.query)
	}
	c.Examples.Columns = append([]string{"root_id"}, c.names...)
	var query string
	switch {
	case where != "":
		query = "select " + strings.Join(append([]string{columnRoot}, c.shown...), ", ") + " from " + rows + " where " + where
	case c.keys != nil:
		var keys []string
		for i := range c.keys {
			keys = append(keys, fmt.Sprintf("k%d", i))
		}
		from := "(" + c.group() + ")"
		if c.Flag {
			from = c.groups + "_members"
			if err := e.exec(ctx, "create or replace temp table "+from+" as "+c.group()); err != nil {
				return err
			}
			c.members = from
		}
		query = "select min(root_id), " + strings.Join(keys, ", ") + " from " + from + " as x group by " + strings.Join(keys, ", ")
	default:
		c.Examples.Columns = nil
		return nil
	}
	return e.one(ctx, fmt.Sprintf("%s order by 1 limit %d", query, maxExamples), func(row []any) error {
		values := make([]string, len(row))
		for i, v := range row {
			values[i] = shorten(valueOf(v).Text, maxText)
		}
		c.Examples.Rows = append(c.Examples.Rows, values)
		return nil
	})
}

// counted returns the condition of a query that counts the rows for which one holds, "" for other queries: its rows are the failing ones.
func counted(query string) string {
	m := counting.FindStringSubmatch(query)
	if m == nil {
		return ""
	}
	list, err := tokens(m[1])
	if err != nil {
		return ""
	}
	depth := 0
	for _, t := range list {
		switch {
		case t.kind == '(':
			depth++
		case t.kind == ')':
			depth--
		case t.kind == 'w' && depth == 0 && slices.Contains([]string{"group", "having", "union", "except", "intersect", "limit", "order", "window", "offset", "fetch", "qualify"}, t.text):
			return ""
		}
	}
	return "(\n" + m[1] + "\n)"
}
