package model

import (
	"slices"
	"strings"
)

// reference is a table that a query reads, as written.
type reference struct {
	schema, table string // lower case unless quoted; schema may be empty
	catalog       string
	line          int
}

func (r reference) String() string {
	s := r.table
	if r.schema != "" {
		s = r.schema + "." + s
	}
	if r.catalog != "" {
		s = r.catalog + "." + s
	}
	return s
}

// level is one pair of parentheses (or the whole text).
type level struct {
	query  bool // SELECT, WITH or VALUES was seen, so that FROM begins tables
	tables bool // within FROM: a comma goes on to the next table
	expect bool // a table comes next
	call   bool // the arguments of a function
	with   int  // 1: a CTE's name comes next, 2: its columns, AS and its parenthesis, 0: not within WITH
	name   string
	ctes   []string
}

// afterTable ends the tables of a FROM.
var afterTable = []string{"where", "group", "having", "order", "limit", "offset", "fetch", "window", "union", "except", "intersect", "select", "qualify"}

// references finds the tables that a query names in FROM and JOIN, without those of its own WITH clauses, and the names of those. It reads tokens, not grammar: of a text that is no SQL it finds something
// or nothing, and the engine says what is wrong with it.
func references(ts []token) (refs []reference, own []string) {
	stack := []*level{{}}
	for i := 0; i < len(ts); i++ {
		t, top := ts[i], stack[len(stack)-1]
		switch {
		case t.is("("):
			next := &level{}
			switch {
			case top.with == 2: // a CTE's columns, or its query; which of them shows inside
			case top.expect: // a query or a join in parentheses
				next.expect, next.tables = true, true
				top.expect = false
			case i > 0 && (ts[i-1].kind == quoted || ts[i-1].kind == word && !keyword(ts[i-1].text)):
				next.call = true
			}
			stack = append(stack, next)
		case t.is(")"):
			if len(stack) == 1 {
				continue
			}
			closed := top
			stack = stack[:len(stack)-1]
			top = stack[len(stack)-1]
			if top.with == 2 && closed.query {
				// A CTE sees those before it, not itself (but for WITH RECURSIVE, whose name was known before).
				top.add(top.name)
				own = append(own, top.name)
				top.with = 3
			}
		case t.is("with") && top.with == 0 && !top.query && i+1 < len(ts) && ts[i+1].name():
			top.query, top.with, top.expect = true, 1, false
		case top.with == 1 && t.is("recursive") && i+1 < len(ts) && ts[i+1].name():
			top.add(ts[i+1].text)
		case top.with == 1 && t.name():
			top.name, top.with = t.text, 2
		case top.with == 3 && t.is(","):
			top.with = 1
		case t.is("select"), t.is("values") && i+1 < len(ts) && ts[i+1].is("("):
			top.query, top.expect, top.tables, top.with = true, false, false, 0
		case t.is(afterTable...):
			top.expect, top.tables = false, false
		case t.is("from") && top.query && !top.call && (i < 2 || !ts[i-1].is("distinct") || !ts[i-2].is("is", "not")):
			top.expect, top.tables = true, true
		case t.is("join") && (top.query || top.tables):
			top.expect, top.tables = true, true
		case t.is(",") && top.tables:
			top.expect = true
		case t.is("lateral") && top.expect:
		case top.expect && t.name():
			parts := []string{t.text}
			line := t.line
			for i+2 < len(ts) && ts[i+1].is(".") && ts[i+2].name() {
				parts = append(parts, ts[i+2].text)
				i += 2
			}
			top.expect = false
			if i+1 < len(ts) && ts[i+1].is("(") { // a function of tables, such as unnest
				continue
			}
			r := reference{table: parts[len(parts)-1], line: line}
			if len(parts) > 1 {
				r.schema = parts[len(parts)-2]
			}
			if len(parts) > 2 {
				r.catalog = strings.Join(parts[:len(parts)-2], ".")
			}
			if r.schema == "" && known(stack, r.table) {
				continue
			}
			if !slices.ContainsFunc(refs, func(o reference) bool { return o.String() == r.String() }) {
				refs = append(refs, r)
			}
		}
	}
	return refs, own
}

func (l *level) add(name string) { l.ctes = append(l.ctes, strings.ToLower(name)) }

func known(stack []*level, name string) bool {
	for _, l := range stack {
		if slices.Contains(l.ctes, strings.ToLower(name)) {
			return true
		}
	}
	return false
}

// keyword says whether a word before a parenthesis is no function's name.
func keyword(w string) bool {
	switch w {
	case "in", "and", "or", "not", "on", "where", "when", "then", "else", "case", "select", "from", "join", "as", "by", "having", "exists", "all", "any", "some",
		"union", "except", "intersect", "distinct", "between", "like", "is", "limit", "using", "over", "filter", "set", "sets", "with", "values", "lateral", "return", "materialized":
		return true
	}
	return false
}

// words returns the names that a query can mean by columns: every identifier of it; and whether it has a star that means all columns.
func words(ts []token) (names []string, star bool) {
	seen := map[string]bool{}
	for i, t := range ts {
		switch {
		case t.name() && !seen[strings.ToLower(t.text)]:
			seen[strings.ToLower(t.text)] = true
			names = append(names, strings.ToLower(t.text))
		case t.is("*") && i > 0 && ts[i-1].is("select", ",", ".", "distinct", "all"):
			star = true
		}
	}
	slices.Sort(names)
	return names, star
}

// unqualified is the text with the schema of the tables left out, by whose last name the runner makes them known.
func unqualified(sql string, ts []token, tables []reference) string {
	var b strings.Builder
	at := 0
	for i := 0; i+2 < len(ts); i++ {
		if !ts[i].name() || !ts[i+1].is(".") || !ts[i+2].name() || i > 0 && ts[i-1].is(".") {
			continue
		}
		if slices.ContainsFunc(tables, func(r reference) bool { return r.schema == ts[i].text && r.table == ts[i+2].text }) {
			b.WriteString(sql[at:ts[i].from])
			at = ts[i+2].from
		}
	}
	b.WriteString(sql[at:])
	return b.String()
}
