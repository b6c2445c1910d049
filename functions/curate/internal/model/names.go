package model

import (
	"slices"
	"strings"
)

// given refuses names that the select list at sel gives where only DuckDB knows them: in WHERE, GROUP BY and HAVING, and in what follows in the list itself.
func (l *linter) given(sel int) {
	depth, stop := l.up[sel], len(l.ts)-1
	if depth >= 0 {
		stop = l.match[depth]
	}
	made := map[string]bool{}
	clause, item := "select", sel+1
	for j := sel + 1; j < stop; j++ {
		t := l.ts[j]
		if t.is("(") && l.at(j+1).is("select", "with") { // it has names of its own
			j = l.match[j]
			continue
		}
		if l.up[j] == depth {
			switch {
			case t.is("union", "except", "intersect", "order", "limit", "offset", "fetch", "window", "qualify"):
				return
			case t.is("where", "group", "having"), t.is("from") && !l.at(j-1).is("distinct"):
				if clause == "select" {
					l.makes(made, item, j)
				}
				clause = t.text
				continue
			case t.is(",") && clause == "select":
				l.makes(made, item, j)
				item = j + 1
				continue
			}
		}
		name := strings.ToLower(t.text)
		if clause == "from" || !t.name() || !made[name] || !l.means(j) {
			continue
		}
		switch {
		case clause == "group" && l.up[j] == depth && l.at(j-1).is("by", ","):
			l.add(j, "group by %s, a name that the query gives: Trino groups by columns, expressions and places (group by 1)", t.text)
		case clause == "having" && l.up[j] == depth, (clause != "having" || !l.aggregated(j)) && !l.columns[name] && !l.below(sel, name):
			l.add(j, "%s is a name that the query gives: Trino does not know it in %s; repeat the expression, or name the table before a column", t.text, strings.ToUpper(clause))
		}
	}
}

// makes adds the name that the item of a select list from i up to j gives to something other than a column of that name.
func (l *linter) makes(made map[string]bool, i, j int) {
	name, to := l.alias(i, j)
	if name == "" {
		return
	}
	if last := l.at(to - 1); last.name() && strings.EqualFold(last.text, name) && l.primary(i) == to {
		return
	}
	made[name] = true
	for k := i; k < to; k++ { // max(x) as x: there is a column x
		if l.ts[k].name() && strings.EqualFold(l.ts[k].text, name) && !l.at(k+1).is("(") {
			l.columns[name] = true
		}
	}
}

// aggregated says whether the token is an argument of a call, where HAVING has columns on both engines.
func (l *linter) aggregated(j int) bool {
	up := l.up[j]
	return up > 0 && l.at(up-1).name() && !keyword(l.at(up-1).text)
}

// alias returns the name that an item gives, with or without AS, and where what it names ends.
func (l *linter) alias(i, j int) (name string, to int) {
	for l.at(i).is("distinct", "all") {
		i++
	}
	last := l.at(j - 1)
	if j-1 <= i || !last.name() || last.is("end") {
		return "", 0
	}
	before := l.at(j - 2)
	if before.is("as") {
		return strings.ToLower(last.text), j - 2
	}
	if l.primary(i) == j || before.kind == symbol && !before.is(")", "]") || before.kind == word && (keyword(before.text) || before.is("interval", "time", "at", "escape")) {
		return "", 0
	}
	return strings.ToLower(last.text), j - 1
}

// means says whether the name at j stands for a value: not for a part of another name, a function, a type, a unit or a parameter.
func (l *linter) means(j int) bool {
	t, before, next := l.ts[j], l.at(j-1), l.at(j+1)
	switch {
	case before.is(".", "as") || next.is(".", "(", "->") || next.kind == str, l.inType(j):
		return false
	case next.is("from") && l.up[j] >= 0 && l.at(l.up[j]-1).is("extract"), before.kind == str && l.at(j-2).is("interval"):
		return false
	case before.is("time") && l.at(j-2).is("at"), t.is("time") && before.is("at"), t.is("rows", "range") && next.is("between", "unbounded", "current"), t.is("end"):
		return false
	}
	for up := l.up[j]; up >= 0; up = l.up[up] { // a lambda's parameter
		for k := up + 1; k < j; k++ {
			if l.ts[k].name() && l.ts[k].text == t.text && l.at(k+1).is("->") {
				return false
			}
		}
	}
	return true
}

// known gathers what can be a column: of the tables whose columns are known, of table aliases with columns, and of the select lists of subqueries.
func (l *linter) known(types map[string]string) {
	l.columns = map[string]bool{}
	for n := range types {
		l.columns[strings.ToLower(n)] = true
	}
	l.lists = map[string][]int{}
	for i, t := range l.ts {
		if t.is("(") && l.at(i-1).name() && l.at(i-2).is("as", ")", "with", ",", "recursive") && l.match[i] > i {
			for k := i + 1; k < l.match[i]; k++ {
				if l.ts[k].name() && l.up[k] == i && l.at(k-1).is("(", ",") && l.at(k+1).is(")", ",") && (l.at(l.match[i]+1).is("as") && l.at(l.match[i]+2).is("(") || l.at(i-2).is("as", ")")) {
					l.columns[strings.ToLower(l.ts[k].text)] = true
				}
			}
		}
		if !t.is("select") {
			continue
		}
		item := i + 1
		for j := i + 1; j < len(l.ts); j++ {
			if l.up[j] < l.up[i] || l.up[j] == l.up[i] && l.ts[j].is(",", "from", "union") || l.ts[j].kind == end {
				name, _ := l.alias(item, j)
				if name == "" && l.at(j-1).name() {
					name = strings.ToLower(l.at(j - 1).text)
				}
				if name != "" {
					l.lists[name] = append(l.lists[name], l.up[i])
				}
				item = j + 1
				if !l.ts[j].is(",") || l.up[j] != l.up[i] {
					break
				}
			}
		}
	}
}

// below says whether another query, of which sel can read, has a column of the name: one that does not hold sel itself.
func (l *linter) below(sel int, name string) bool {
	return slices.ContainsFunc(l.lists[name], func(bracket int) bool {
		for up := l.up[sel]; ; up = l.up[up] {
			if up == bracket {
				return false
			}
			if up < 0 {
				return true
			}
		}
	})
}
