package model

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// finding is something in a query that DuckDB and Trino answer differently, or that one of them does not know.
type finding struct {
	line int
	text string
}

// linter reads one query. Types are those of the common language, decimal without its precision; "" is not known.
type linter struct {
	ts      []token
	match   []int // of a bracket, its partner; else -1
	up      []int // of a token, the bracket that it stands in; -1 at the top
	types   map[string]string
	columns map[string]bool  // names of columns that are known
	lists   map[string][]int // by name that a select list has, the brackets that those stand in
	found   []finding
}

// lint returns what in the query is not of the common language. types are those of column names, where they are known.
func lint(ts []token, types map[string]string) []finding {
	l := &linter{ts: ts, types: map[string]string{}}
	for n, t := range types {
		l.types[n] = kindOf(t)
	}
	if !l.brackets() {
		return l.found
	}
	l.known(types)
	l.aliases()
	l.statement()
	for i := range ts {
		switch ts[i].kind {
		case prefixed:
			l.add(i, "%s'...' is written differently on the engines: use a plain string", strings.ToUpper(ts[i].text))
		case symbol:
			l.symbol(i)
		case word:
			l.word(i)
		case quoted, str, number, end:
		}
		if ts[i].name() && i+1 < len(ts) && ts[i+1].is("(") && l.isCall(i) {
			l.call(i)
		}
	}
	slices.SortStableFunc(l.found, func(a, b finding) int { return a.line - b.line })
	return slices.Compact(l.found)
}

func (l *linter) add(i int, format string, args ...any) {
	l.found = append(l.found, finding{l.ts[i].line, fmt.Sprintf(format, args...)})
}

// at is the token, or the end where there is none.
func (l *linter) at(i int) token {
	if i < 0 || i >= len(l.ts) {
		return token{kind: end}
	}
	return l.ts[i]
}

// brackets finds each bracket's partner.
func (l *linter) brackets() bool {
	l.match, l.up = make([]int, len(l.ts)), make([]int, len(l.ts))
	partner := map[string]string{")": "(", "]": "[", "}": "{"}
	var open []int
	for i, t := range l.ts {
		l.match[i], l.up[i] = -1, -1
		if t.is(")", "]", "}") {
			if len(open) == 0 || l.ts[open[len(open)-1]].text != partner[t.text] {
				l.add(i, "%s closes nothing", t.text)
				return false
			}
			o := open[len(open)-1]
			open = open[:len(open)-1]
			l.match[i], l.match[o] = o, i
		}
		if len(open) > 0 {
			l.up[i] = open[len(open)-1]
		}
		if t.is("(", "[", "{") {
			open = append(open, i)
		}
	}
	if len(open) > 0 {
		l.add(open[0], "%s is not closed", l.ts[open[0]].text)
		return false
	}
	return true
}

// statement checks the text as a whole.
func (l *linter) statement() {
	if !l.at(0).is("select", "with", "(", "values") {
		l.add(0, "a model is one SELECT: it begins with select or with")
	}
}

// isCall says whether the name before a parenthesis is a function's: not an alias with its columns, a type, or a keyword.
func (l *linter) isCall(i int) bool {
	t, before := l.ts[i], l.at(i-1)
	if t.kind == word && keyword(t.text) && (t.text != "filter" || before.is(")")) {
		return false
	}
	if before.is("as") || before.is(")") || before.is("with", "recursive") {
		return false
	}
	if l.at(l.match[i+1]+1).is("as") && l.at(l.match[i+1]+2).is("(") { // a CTE with its columns
		return false
	}
	return !l.inType(i) && (t.kind != word || !slices.Contains([]string{"decimal", "varchar", "char", "timestamp", "time", "group", "end", "row"}, t.text))
}

var plainTimestamp = regexp.MustCompile(`^\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d(\.\d{1,6})?)?)?$`)

var noSymbols = map[string]string{
	"::": "cast(... as ...)", "//": "/ of integers", "**": "power", "==": "=", "~": "regexp_like", "!~": "not regexp_like", "~~": "like", "!~~": "not like", "^@": "starts_with", "^": "power", "&": "arithmetic", "|": "arithmetic",
	"<<": "arithmetic", ">>": "arithmetic", "@>": "contains", "<@": "contains", "&&": "and", ":=": "as", "=>": "arguments by place", "->>": "json_extract_scalar", "?": "a literal", "@": "abs", "{": "row", "!": "not", ":": "array functions",
}

func (l *linter) symbol(i int) {
	t := l.ts[i]
	if instead, ok := noSymbols[t.text]; ok {
		l.add(i, "%s is not of the common language: use %s", t.text, instead)
		return
	}
	switch {
	case t.text == ";":
		l.add(i, "a model is one SELECT without a semicolon")
	case t.text == "[" && !l.at(i-1).is(")", "]") && (!l.at(i-1).name() || l.at(i-1).kind == word && (keyword(l.at(i-1).text) || l.at(i-1).is("by"))):
		l.add(i, "a list is written array[...]")
	case t.text == "[" && !l.at(i-1).is("array"):
		l.subscript(i)
	case t.text == "->":
		if up := l.up[i]; up < 0 || !l.at(up-1).is("filter") {
			l.add(i, "a lambda: the engines only share the one of filter(array, x -> ...)")
		}
	case t.text == "*" && l.at(i+1).is("exclude", "except", "replace", "rename", "like", "ilike") && l.at(i+2).is("("):
		l.add(i, "* %s: name the columns", l.at(i+1).text)
	case t.text == "/":
		l.divisor(i)
		l.decimalDivision(i)
	case t.text == "%":
		l.divisor(i)
	case t.text == "+", t.text == "-":
		l.dates(i)
	case slices.Contains(comparisons, t.text):
		l.compared(i, i+1, l.primary(i+1))
		if from := l.primaryBack(i); l.at(from).kind == str && from == i-1 {
			l.stringAgainst(i, l.typeOf(i+1, l.primary(i+1)))
		}
	}
}

// subscript refuses a place in an array that may not be there.
func (l *linter) subscript(i int) {
	open := -1
	if l.at(i - 1).is("]") {
		open = l.match[i-1]
	}
	if n, err := strconv.Atoi(l.at(i + 1).text); err == nil && l.match[i] == i+2 && open > 0 && l.at(open-1).is("array") && n >= 1 && n <= len(l.args(open-1)) {
		return
	}
	l.add(i, "...[...]: where there is no such element DuckDB gives null, Trino fails; use element_at")
}

// divisor demands that what stands behind i cannot be zero.
func (l *linter) divisor(i int) {
	to := l.primary(i + 1)
	if !l.nonZero(i+1, to) {
		l.add(i, "division by what may be zero: DuckDB gives null, Trino an error or infinity; divide by nullif(..., 0)")
	}
}

func (l *linter) nonZero(from, to int) bool {
	for j := from; j < to; j++ {
		if l.ts[j].is("nullif") {
			return true
		}
	}
	for l.at(from).is("-", "+") {
		from++
	}
	for l.at(from).is("(") && l.match[from] == to-1 {
		from, to = from+1, to-1
	}
	if l.at(from).is("cast") && l.at(from+1).is("(") {
		from += 2
		to = from + 1
	}
	return to == from+1 && l.at(from).kind == number && strings.Trim(l.at(from).text, "0.e_") != ""
}

// decimalDivision refuses / of decimals, of which DuckDB makes a double.
func (l *linter) decimalDivision(i int) {
	from := l.primaryBack(i)
	for l.at(from-1).is("*", "/") {
		from = l.primaryBack(from - 1)
	}
	var firm, literal, double, unknown bool
	for k := from; ; {
		e := l.primary(k)
		switch t := l.typeOf(k, e); {
		case t == "double":
			double = true
		case t == "decimal" && l.at(k).kind == number:
			literal = true
		case t == "decimal":
			firm = true
		case t == "":
			unknown = true
		}
		if !l.at(e).is("*", "/") || e <= k {
			break
		}
		k = e + 1
	}
	if (firm || literal && !unknown) && !double {
		l.add(i, "division of decimals: DuckDB gives a double, Trino a rounded decimal; cast to double")
	}
}

// dates checks sums and differences of dates and times.
func (l *linter) dates(i int) {
	before := l.at(i - 1)
	if !before.name() && before.kind != str && before.kind != number && !before.is(")", "]") || before.kind == word && keyword(before.text) || before.is("then", "else", "interval", "preceding", "by") {
		return // a sign
	}
	from := l.primaryBack(i)
	to := l.primary(i + 1)
	left, right := l.typeOf(from, i), l.typeOf(i+1, to)
	moment := func(t string) bool { return t == "date" || t == "timestamp" || t == "timestamptz" }
	switch {
	case l.ts[i].text == "-" && moment(right) && (moment(left) || left == ""), l.ts[i].text == "-" && moment(left) && right != "interval" && right != "" && right != "integer":
		l.add(i, "a difference of dates or timestamps: the engines give different types; use date_diff")
	case left == "date" && right == "interval", left == "interval" && right == "date":
		for l.at(from-1).is("+", "-") {
			from = l.primaryBack(from - 1)
		}
		for l.at(to).is("+", "-") {
			to = l.primary(to + 1)
		}
		if l.castTo(from, to) != "date" {
			l.add(i, "date and interval: DuckDB gives a timestamp, Trino a date; write cast(... as date)")
		}
	case left == "date" && right == "integer", left == "integer" && right == "date":
		l.add(i, "date and number: Trino knows no such sum; write cast(... + interval '1' day as date)")
	}
}

// compared checks what stands from up to behind the comparison at i.
func (l *linter) compared(i, from, to int) {
	back := l.primaryBack(i)
	if l.at(from).kind == str && to == from+1 {
		l.stringAgainst(i, l.typeOf(back, i))
	}
	if l.ts[i].is("=", "<>", "!=") {
		for _, k := range []int{back, from} {
			if l.at(k).is("approx_percentile", "approx_distinct") {
				l.add(k, "equality on %s, which the engines estimate differently", l.at(k).text)
			}
		}
	}
}

func (l *linter) stringAgainst(i int, typ string) {
	switch typ {
	case "", "varchar", "json":
	default:
		l.add(i, "a string against a %s: Trino converts nothing by itself; write %s '...' or cast", typ, typ)
	}
}

func (l *linter) word(i int) {
	t, next := l.ts[i], l.at(i+1)
	if l.at(i - 1).is(".") {
		return
	}
	not := func(instead string) {
		l.add(i, "%s is not of the common language: %s", strings.ToUpper(t.text), instead)
	}
	switch t.text {
	case "qualify":
		if !next.is(",", ".", ")", "=") && next.kind != end {
			not("filter row_number() in an outer query")
		}
	case "ilike":
		not("use lower(...) like ...")
	case "glob":
		if next.kind == str {
			not("use like or regexp_like")
		}
	case "similar":
		if next.is("to") {
			not("use regexp_like")
		}
	case "semi", "anti", "asof", "positional":
		if next.is("join", "left") {
			not("use exists or not exists")
		}
	case "natural":
		if next.is("join", "left", "right", "full", "inner") {
			not("write the condition")
		}
	case "tablesample":
		not("the engines draw different rows")
	case "using":
		if next.is("sample") {
			not("the engines draw different rows")
		}
	case "pivot", "unpivot":
		if l.at(i-1).is(")") || l.at(i-1).name() {
			not("use case or union all")
		}
	case "ignore", "respect":
		if next.is("nulls") {
			not("the engines put it in different places")
		}
	case "distinct":
		if next.is("on") {
			not("use row_number()")
		}
	case "by":
		if next.is("all") && l.at(i-1).is("group", "order") {
			l.add(i, "%s by all: name the columns", l.at(i-1).text)
		}
		if next.is("name") && l.at(i-1).is("union", "all") {
			l.add(i, "union by name: name the columns in one order")
		}
	case "select":
		l.given(i)
	case "limit":
		for j := i + 1; j < len(l.ts) && l.up[j] == l.up[i]; j++ {
			if l.ts[j].is("offset") {
				l.add(i, "limit n offset m: Trino wants offset m limit n")
			}
		}
	case "full":
		l.fullJoin(i)
	case "at":
		if next.is("time") && l.at(i+2).is("zone") && (l.at(i+3).kind != str || l.at(i+3).text != "UTC") {
			l.add(i, "at time zone other than 'UTC': DuckDB and Trino mean different things")
		}
	case "timestamp":
		if next.kind == str && !plainTimestamp.MatchString(next.text) && l.castTo(i, i+2) != "date" {
			l.add(i, "a timestamp literal with a zone: DuckDB drops the zone; write cast('... UTC' as timestamp with time zone)")
		}
	case "varchar":
		if next.is("(") && l.inType(i) {
			l.add(i, "varchar with a length: DuckDB leaves the text as it is, Trino cuts it; write varchar, and substr")
		}
	case "char":
		if l.inType(i) {
			l.add(i, "char: Trino fills it up with blanks; write varchar")
		}
	case "timestamptz":
		if l.inType(i) {
			l.add(i, "timestamptz: Trino says timestamp with time zone")
		}
	case "interval":
		if next.kind == number || next.kind == str && !regexp.MustCompile(`^[+-]?\d+$`).MatchString(next.text) {
			l.add(i, "an interval is written interval '1' day")
		}
	case "in", "between":
		if up := i + 1; t.text == "in" && next.is("(") && l.at(up+1).kind == str || t.text == "between" && next.kind == str {
			operand := i
			if l.at(i - 1).is("not") {
				operand--
			}
			l.stringAgainst(i, l.typeOf(l.primaryBack(operand), operand))
		}
	case "insert", "update", "delete", "merge", "create", "drop", "alter", "copy", "attach", "install", "load", "pragma", "set", "call", "export", "import":
		if i == 0 {
			l.add(i, "%s: a model is one SELECT", t.text)
		}
	}
}

// fullJoin refuses FULL JOIN with USING, whose columns the engines name differently.
func (l *linter) fullJoin(i int) {
	if !l.at(i+1).is("join", "outer") {
		return
	}
	for j := i + 1; j < len(l.ts) && l.up[j] >= l.up[i]; j++ {
		if l.up[j] != l.up[i] {
			continue
		}
		if l.ts[j].is("on", "where", "group", "order", "limit") || j > i+2 && l.ts[j].is("join") {
			return
		}
		if l.ts[j].is("using") {
			l.add(i, "full join ... using: write on")
			return
		}
	}
}
