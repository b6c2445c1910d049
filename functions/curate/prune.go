package main

import (
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
)

// place is where a table stands in a query, with the conditions that every row of it has to meet there.
type place struct {
	ref        string // as written: table, schema.table; lower case
	conditions []condition
}

// condition is a comparison of a column with days that stand in the query: one of them for "in", else the first. A null meets none.
type condition struct {
	column string // lower case
	op     string // =, <, <=, >, >= or in
	days   []iceberg.Date
}

// harmless are table functions that read nothing but their arguments. Of every other one it cannot be seen here which tables it reads.
var harmless = []string{"unnest", "range", "generate_series"}

// places returns where the query reads tables. ok is false where that cannot be told, and nothing may be left out.
//
// A condition is one that WHERE has, joined by AND, beside a FROM that names the table itself. It holds for every row of the table that comes out, also behind outer joins: a row without
// one of the table's has a null there, which meets no condition. So rows that do not meet it can be missing: what they were joined to is left out by WHERE all the same. That is not so for joins in
// which rows stand for others (ASOF, POSITIONAL, lateral ones), nor for samples.
func places(p *duck.Parsed) (list []place, ok bool) {
	v := &visitor{ok: true}
	v.walk(p.Tree)
	return v.list, v.ok
}

type visitor struct {
	list []place
	ok   bool
}

func (v *visitor) walk(node any) {
	switch n := node.(type) {
	case []any:
		for _, e := range n {
			v.walk(e)
		}
	case map[string]any:
		switch n["type"] {
		case "BASE_TABLE":
			v.table(n, nil, false)
			return
		case "SELECT_NODE":
			where := conjuncts(n["where_clause"])
			if n["sample"] != nil {
				where = nil
			}
			for k, e := range n {
				if k != "from_table" {
					v.walk(e)
				}
			}
			v.from(n["from_table"], where, true)
			return
		case "TABLE_FUNCTION":
			function, _ := n["function"].(map[string]any)
			name, _ := function["function_name"].(string)
			v.ok = v.ok && slices.Contains(harmless, strings.ToLower(name))
		}
		for _, e := range n {
			v.walk(e)
		}
	}
}

// from visits what stands in FROM, where alone says that there is nothing beside it, so that names need no table before them.
func (v *visitor) from(node any, where []map[string]any, alone bool) {
	n, _ := node.(map[string]any)
	switch n["type"] {
	case "BASE_TABLE":
		v.table(n, where, alone)
	case "JOIN":
		kind, joined := n["ref_type"], n["join_type"]
		plain := (kind == "REGULAR" || kind == "CROSS") && (joined == "INNER" || joined == "LEFT" || joined == "RIGHT" || joined == "FULL") && n["sample"] == nil
		if !plain {
			where = nil
		}
		for k, e := range n {
			if k != "left" && k != "right" {
				v.walk(e)
			}
		}
		v.from(n["left"], where, false)
		v.from(n["right"], where, false)
	default:
		v.walk(node)
	}
}

// table notes a table and those of the conditions that are of its columns.
func (v *visitor) table(n map[string]any, where []map[string]any, alone bool) {
	text := func(member string) string {
		s, _ := n[member].(string)
		return strings.ToLower(s)
	}
	p := place{ref: strings.TrimLeft(text("catalog_name")+"."+text("schema_name")+"."+text("table_name"), ".")}
	alias := text("alias")
	if alias == "" {
		alias = text("table_name")
	}
	if renamed, _ := n["column_name_alias"].([]any); len(renamed) == 0 && n["sample"] == nil && n["at_clause"] == nil {
		for _, c := range where {
			p.conditions = append(p.conditions, conditions(c, alias, alone)...)
		}
	}
	v.list = append(v.list, p)
}

// conjuncts are the parts of a WHERE that all have to hold.
func conjuncts(where any) []map[string]any {
	n, ok := where.(map[string]any)
	if !ok {
		return nil
	}
	if n["type"] != "CONJUNCTION_AND" {
		return []map[string]any{n}
	}
	var out []map[string]any
	children, _ := n["children"].([]any)
	for _, c := range children {
		out = append(out, conjuncts(c)...)
	}
	return out
}

var (
	compares = map[any]string{
		"COMPARE_EQUAL": "=", "COMPARE_LESSTHAN": "<", "COMPARE_LESSTHANOREQUALTO": "<=", "COMPARE_GREATERTHAN": ">", "COMPARE_GREATERTHANOREQUALTO": ">=",
	}
	mirrored = map[string]string{"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
)

// conditions are those that an expression has of the table's columns; none where it is of another form.
func conditions(n map[string]any, alias string, alone bool) []condition {
	switch n["type"] {
	case "COMPARE_BETWEEN":
		column, ok := columnOf(n["input"], alias, alone)
		if !ok {
			return nil
		}
		var out []condition
		if d, ok := dayOf(n["lower"]); ok {
			out = append(out, condition{column, ">=", []iceberg.Date{d}})
		}
		if d, ok := dayOf(n["upper"]); ok {
			out = append(out, condition{column, "<=", []iceberg.Date{d}})
		}
		return out
	case "COMPARE_IN":
		children, _ := n["children"].([]any)
		if len(children) < 2 {
			return nil
		}
		column, ok := columnOf(children[0], alias, alone)
		if !ok {
			return nil
		}
		c := condition{column: column, op: "in"}
		for _, e := range children[1:] {
			d, ok := dayOf(e)
			if !ok {
				return nil
			}
			c.days = append(c.days, d)
		}
		return []condition{c}
	}
	op, ok := compares[n["type"]]
	if !ok {
		return nil
	}
	left, right := n["left"], n["right"]
	column, ok := columnOf(left, alias, alone)
	if !ok {
		if column, ok = columnOf(right, alias, alone); !ok {
			return nil
		}
		right, op = left, mirrored[op]
	}
	if d, ok := dayOf(right); ok {
		return []condition{{column, op, []iceberg.Date{d}}}
	}
	return nil
}

// columnOf returns the name where the expression is a column of the table: behind its name, or by itself where there is no other table.
func columnOf(v any, alias string, alone bool) (string, bool) {
	n, _ := v.(map[string]any)
	names, _ := n["column_names"].([]any)
	if n["class"] != "COLUMN_REF" || len(names) == 0 || len(names) > 2 {
		return "", false
	}
	last, _ := names[len(names)-1].(string)
	if len(names) == 1 {
		return strings.ToLower(last), alone
	}
	first, _ := names[0].(string)
	return strings.ToLower(last), strings.EqualFold(first, alias)
}

// dayOf returns the day that the expression is: '2026-11-20', date '2026-11-20' or cast('2026-11-20' as date).
func dayOf(v any) (iceberg.Date, bool) {
	n, _ := v.(map[string]any)
	if n["class"] == "CAST" {
		if to, _ := n["cast_type"].(map[string]any); to["id"] != "DATE" {
			return 0, false
		}
		n, _ = n["child"].(map[string]any)
	}
	value, _ := n["value"].(map[string]any)
	typ, _ := value["type"].(map[string]any)
	text, ok := value["value"].(string)
	if n["class"] != "CONSTANT" || typ["id"] != "VARCHAR" || !ok {
		return 0, false
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return 0, false
	}
	return iceberg.Date(day.Unix() / 86400), true
}

// filter returns which of the table's rows the places can need, by the days of its partition; nil is all.
func filter(t *warehouse.Table, of []place) iceberg.BooleanExpression {
	days := map[string]string{} // the schema's spelling, by the lower case
	seen := map[string]int{}
	for _, f := range t.Schema().Fields() {
		seen[strings.ToLower(f.Name)]++
		if _, ok := f.Type.(iceberg.DateType); ok && slices.Contains(t.Partition(), f.Name) {
			days[strings.ToLower(f.Name)] = f.Name
		}
	}
	var out iceberg.BooleanExpression = iceberg.AlwaysFalse{}
	for _, p := range of {
		var here iceberg.BooleanExpression = iceberg.AlwaysTrue{}
		for _, c := range p.conditions {
			if name, ok := days[c.column]; ok && seen[c.column] == 1 {
				here = iceberg.NewAnd(here, c.expression(name))
			}
		}
		out = iceberg.NewOr(out, here)
	}
	if _, all := out.(iceberg.AlwaysTrue); all {
		return nil
	}
	return out
}

func (c condition) expression(column string) iceberg.BooleanExpression {
	ref := iceberg.Reference(column)
	switch c.op {
	case "=":
		return iceberg.EqualTo(ref, c.days[0])
	case "<":
		return iceberg.LessThan(ref, c.days[0])
	case "<=":
		return iceberg.LessThanEqual(ref, c.days[0])
	case ">":
		return iceberg.GreaterThan(ref, c.days[0])
	case ">=":
		return iceberg.GreaterThanEqual(ref, c.days[0])
	}
	return iceberg.IsIn(ref, c.days...)
}
