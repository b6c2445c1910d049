package model

import (
	"fmt"
	"regexp"
	"slices"
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

// inType says whether the token is of the type in a cast.
func (l *linter) inType(i int) bool {
	for up := l.up[i]; up >= 0; up = l.up[up] {
		if !l.at(up-1).is("cast", "try_cast") {
			continue
		}
		if as := l.castAs(up - 1); as >= 0 && i > as && i < l.match[up] {
			return true
		}
	}
	return false
}

// castAs is the AS of a cast.
func (l *linter) castAs(i int) int {
	for j := l.match[i+1] - 1; j > i+1; j-- {
		if l.up[j] == i+1 && l.ts[j].is("as") {
			return j
		}
	}
	return -1
}

// args are the arguments of a call, as ranges of tokens.
func (l *linter) args(i int) (out [][2]int) {
	open, shut := i+1, l.match[i+1]
	if shut == open+1 {
		return nil
	}
	from := open + 1
	for j := from; j < shut; j++ {
		if l.up[j] == open && l.ts[j].is(",") {
			out = append(out, [2]int{from, j})
			from = j + 1
		}
	}
	return append(out, [2]int{from, shut})
}

// castTo is the type to which the tokens from i up to j are cast directly, "" where they are not.
func (l *linter) castTo(i, j int) string {
	for l.at(i-1).is("(") && l.at(j).is(")") && !l.at(i-2).is("cast", "try_cast") && (l.at(i-2).kind == symbol || l.at(i-2).kind == end) {
		i, j = i-1, j+1
	}
	if l.at(i-1).is("(") && l.at(i-2).is("cast", "try_cast") && l.at(j).is("as") {
		return l.typeName(j+1, l.match[i-1])
	}
	return ""
}

// typeName is the type that stands from i up to j.
func (l *linter) typeName(i, j int) string {
	var b strings.Builder
	for ; i < j; i++ {
		b.WriteString(l.ts[i].text + " ")
	}
	return kindOf(strings.TrimSpace(b.String()))
}

// kindOf is a type without what does not matter here.
func kindOf(t string) string {
	t = strings.ToLower(strings.TrimSpace(t))
	zone := strings.HasSuffix(t, "with time zone")
	t, _, _ = strings.Cut(t, "(")
	t = strings.TrimSpace(t)
	switch t {
	case "tinyint", "smallint", "integer", "int", "bigint":
		return "integer"
	case "double", "real", "float":
		return "double"
	case "decimal", "numeric":
		return "decimal"
	case "varchar", "char", "string", "text":
		return "varchar"
	case "timestamptz":
		return t
	}
	if strings.HasPrefix(t, "timestamp") {
		if zone {
			return "timestamptz"
		}
		return "timestamp"
	}
	return t
}

// aliases gives names that the query makes their types, and takes the type from a name that has two.
func (l *linter) aliases() {
	own := map[string]string{}
	for i := range l.ts {
		if !l.ts[i].is("as") || !l.at(i+1).name() || l.at(i+2).is("(") || l.up[i] >= 0 && l.at(l.up[i]-1).is("cast", "try_cast") || l.at(i+1).is("materialized") {
			continue
		}
		if !l.at(i+2).is(",", "from", ")") && l.at(i+2).kind != end {
			continue
		}
		if l.ofTable(i) {
			continue
		}
		name := strings.ToLower(l.ts[i+1].text)
		from := l.itemStart(i)
		t := l.typeOf(from, i)
		if other, ok := own[name]; ok && other != t {
			t = ""
		}
		own[name] = t
	}
	for n, t := range own {
		if other, ok := l.types[n]; ok && other != t {
			t = ""
		}
		l.types[n] = t
	}
}

// itemStart is the first token of the item of a list that ends before i.
func (l *linter) itemStart(i int) int {
	for j := i - 1; j >= 0; j-- {
		if l.match[j] >= 0 && l.match[j] < j {
			j = l.match[j]
			continue
		}
		if l.ts[j].is(",", "(", "[", "select", "distinct", "all", "from", "join", "by", "where", "on", "having") {
			return j + 1
		}
	}
	return 0
}

// ofTable says whether an alias at i is one of a table: of what FROM or JOIN names.
func (l *linter) ofTable(i int) bool {
	for j := i - 1; j >= 0; j-- {
		if l.match[j] >= 0 && l.match[j] < j {
			j = l.match[j]
			continue
		}
		switch {
		case l.ts[j].is("from", "join"):
			return true
		case l.ts[j].is("select", "(", "where", "by", "on", "having"):
			return false
		}
	}
	return false
}

// primary returns where the operand that begins at i ends.
func (l *linter) primary(i int) int { return min(l.operand(i), len(l.ts)-1) }

func (l *linter) operand(i int) int {
	for l.at(i).is("-", "+", "not") {
		i++
	}
	t := l.at(i)
	switch {
	case t.is("case"):
		return l.caseEnd(i)
	case t.is("interval"):
		i++
		if l.at(i).is("-", "+") {
			i++
		}
		return i + 2
	case t.is("date", "timestamp", "uuid", "time", "decimal") && l.at(i+1).kind == str:
		i += 2
	case t.is("(", "["):
		i = l.match[i] + 1
	case t.is("array") && l.at(i+1).is("["):
		i = l.match[i+1] + 1
	case t.kind == end:
		return i
	default:
		i++
	}
	for {
		switch {
		case l.at(i).is("(") && l.at(i-1).name():
			i = l.match[i] + 1
		case l.at(i).is("["):
			i = l.match[i] + 1
		case l.at(i).is(".") && (l.at(i+1).name() || l.at(i+1).is("*")):
			i += 2
		case l.at(i).is("over") && l.at(i+1).is("("), l.at(i).is("filter") && l.at(i+1).is("("):
			i = l.match[i+1] + 1
		case l.at(i).is("over") && l.at(i+1).name():
			i += 2
		case l.at(i).is("at") && l.at(i+1).is("time"):
			i += 4
		default:
			return i
		}
	}
}

func (l *linter) caseEnd(i int) int {
	depth := 0
	for ; i < len(l.ts); i++ {
		switch {
		case l.ts[i].is("case"):
			depth++
		case l.ts[i].is("end"):
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(l.ts) - 1
}

// primaryBack returns where the operand that ends before i begins.
func (l *linter) primaryBack(i int) int {
	j := i - 1
	if l.at(j).name() && slices.Contains(intervalUnits, l.at(j).text) && l.at(j-1).kind == str && l.at(j-2).is("interval") {
		return j - 2
	}
	if l.at(j).kind == str && l.at(j-1).is("zone") && l.at(j-3).is("at") {
		return l.primaryBack(j - 3)
	}
	if l.at(j).is("end") {
		depth := 0
		for ; j >= 0; j-- {
			switch {
			case l.ts[j].is("end"):
				depth++
			case l.ts[j].is("case"):
				if depth--; depth == 0 {
					return j
				}
			}
		}
		return 0
	}
	for {
		switch {
		case l.at(j).is(")", "]") && l.match[j] >= 0:
			j = l.match[j]
			before := l.at(j - 1)
			switch {
			case before.is("over", "filter") && l.at(j-2).is(")"):
				j -= 2
				continue
			case before.name() && (before.kind == quoted || !keyword(before.text)), before.is("filter"), before.is(")", "]") && l.ts[j].is("["), before.is("array"):
				j--
				if l.at(j).is(")", "]") {
					continue
				}
			default:
				return j
			}
		case l.at(j).kind == str && l.at(j-1).is("date", "timestamp", "uuid", "time", "decimal"):
			return j - 1
		}
		if l.at(j-1).is(".") && j >= 2 {
			j -= 2
			continue
		}
		return j
	}
}

var intervalUnits = []string{"second", "minute", "hour", "day", "week", "month", "year"}

var comparisons = []string{"=", "<>", "!=", "<", "<=", ">", ">="}

// typeOf is the type of the expression from i up to j.
func (l *linter) typeOf(i, j int) string {
	for l.at(i).is("(") && l.match[i] == j-1 {
		i, j = i+1, j-1
	}
	if i >= j {
		return ""
	}
	var operands [][2]int
	var ops []string
	for k := i; k < j; {
		e := l.primary(k)
		if e <= k || e > j {
			return ""
		}
		operands = append(operands, [2]int{k, e})
		if e == j {
			break
		}
		op := l.at(e)
		switch {
		case op.is(comparisons...), op.is("and", "or", "is", "in", "between", "like", "not", "exists"):
			return "boolean"
		case op.is("||"):
			return "varchar"
		case !op.is("+", "-", "*", "/", "%"):
			return ""
		}
		ops = append(ops, op.text)
		k = e + 1
	}
	if len(operands) == 1 {
		return l.primaryType(operands[0][0], operands[0][1])
	}
	seen := map[string]bool{}
	for _, o := range operands {
		seen[l.typeOf(o[0], o[1])] = true
	}
	switch {
	case seen["timestamp"] && slices.Contains(ops, "-") && len(seen) == 1, seen["date"] && slices.Contains(ops, "-") && len(seen) == 1:
		return "interval"
	case seen["timestamptz"]:
		return "timestamptz"
	case seen["timestamp"]:
		return "timestamp"
	case seen["date"]:
		return "date"
	case seen["double"]:
		return "double"
	case seen[""]:
		return ""
	case seen["decimal"]:
		return "decimal"
	case len(seen) == 1 && seen["integer"]:
		return "integer"
	}
	return ""
}

// resultTypes are the types of functions; "1", "2" mean that of the argument.
var resultTypes = map[string]string{
	"count": "integer", "count_if": "integer", "length": "integer", "strpos": "integer", "position": "integer", "cardinality": "integer", "year": "integer", "month": "integer", "day": "integer",
	"hour": "integer", "minute": "integer", "second": "integer", "quarter": "integer", "week": "integer", "day_of_week": "integer", "extract": "integer", "date_diff": "integer", "row_number": "integer",
	"rank": "integer", "dense_rank": "integer", "ntile": "integer", "grouping": "integer", "json_array_length": "integer",
	"lower": "varchar", "upper": "varchar", "trim": "varchar", "ltrim": "varchar", "rtrim": "varchar", "substr": "varchar", "substring": "varchar", "replace": "varchar", "reverse": "varchar", "lpad": "varchar",
	"rpad": "varchar", "split_part": "varchar", "concat_ws": "varchar", "regexp_extract": "varchar", "regexp_replace": "varchar", "to_hex": "varchar", "json_extract_scalar": "varchar",
	"json_format": "varchar", "array_join": "varchar",
	"avg": "double", "ln": "double", "log": "double", "log10": "double", "power": "double", "sqrt": "double", "stddev": "double", "stddev_pop": "double", "stddev_samp": "double", "variance": "double",
	"var_pop": "double", "var_samp": "double", "percent_rank": "double", "cume_dist": "double", "to_unixtime": "double",
	"json_extract": "json", "json_parse": "json", "from_unixtime": "timestamptz", "from_iso8601_timestamp": "timestamptz", "now": "timestamptz", "last_day_of_month": "date",
	"starts_with": "boolean", "regexp_like": "boolean", "contains": "boolean", "is_nan": "boolean", "bool_and": "boolean", "bool_or": "boolean",
	"split": "array", "array_agg": "array", "array_sort": "array", "array_distinct": "array", "sequence": "array", "filter": "array", "map_keys": "array", "map": "map", "histogram": "map", "map_from_entries": "map",
	"sum": "1", "min": "1", "max": "1", "any_value": "1", "arbitrary": "1", "coalesce": "1", "nullif": "1", "abs": "1", "round": "1", "ceil": "1", "floor": "1", "greatest": "1", "least": "1", "first_value": "1",
	"last_value": "1", "nth_value": "1", "lag": "1", "lead": "1", "try": "1", "max_by": "1", "min_by": "1", "mod": "1", "date_trunc": "2", "if": "2", "date_add": "3",
}

func (l *linter) primaryType(i, j int) string {
	for l.at(i).is("-", "+") {
		i++
	}
	t := l.at(i)
	switch {
	case t.is("not"):
		return "boolean"
	case t.kind == str && j == i+1:
		return "varchar"
	case t.kind == number && j == i+1:
		switch {
		case strings.ContainsAny(t.text, "e"):
			return "double"
		case strings.Contains(t.text, "."):
			return "decimal"
		}
		return "integer"
	case t.is("true", "false"):
		return "boolean"
	case t.is("null"):
		return ""
	case t.is("interval"):
		return "interval"
	case t.is("case"):
		return l.caseType(i, j)
	case t.is("current_date"):
		return "date"
	case t.is("current_timestamp"):
		return "timestamptz"
	case t.is("localtimestamp"):
		return "timestamp"
	case t.is("array") && l.at(i+1).is("[") && l.match[i+1] == j-1:
		return "array"
	case t.is("(") && l.match[i] == j-1:
		return l.typeOf(i+1, j-1)
	case j >= i+4 && l.at(j-4).is("at") && l.at(j-3).is("time"):
		return "timestamptz"
	case t.is("date", "timestamp", "uuid", "decimal") && l.at(i+1).kind == str && j == i+2:
		if t.is("timestamp") && !plainTimestamp.MatchString(l.ts[i+1].text) {
			return "timestamptz"
		}
		return t.text
	case t.is("cast", "try_cast") && l.at(i+1).is("(") && l.match[i+1] == j-1:
		if as := l.castAs(i); as >= 0 {
			return l.typeName(as+1, j-1)
		}
		return ""
	case t.name() && l.at(i+1).is("(") && l.at(l.match[i+1]+1).is("[", ".") && l.match[i+1] < j-1:
		return ""
	case t.name() && l.at(i+1).is("("):
		switch r := resultTypes[t.text]; r {
		case "1", "2", "3":
			args := l.args(i)
			n := int(r[0] - '1')
			for k, a := range args {
				if k >= n {
					if typ := l.typeOf(a[0], a[1]); typ != "" || n > 0 {
						return typ
					}
				}
			}
			return ""
		default:
			return r
		}
	case t.name():
		last := j - 1
		if l.at(last).name() && !l.at(last).is("end") {
			return l.types[strings.ToLower(l.ts[last].text)]
		}
	}
	return ""
}

// caseType is the type of the first branch of which one is known.
func (l *linter) caseType(i, j int) string {
	depth := 0
	for k := i; k < j; k++ {
		switch {
		case l.ts[k].is("case"):
			depth++
		case l.ts[k].is("end"):
			depth--
		case depth == 1 && l.up[k] == l.up[i] && l.ts[k].is("then", "else"):
			e := k + 1
			inner := 0
			for ; e < j; e++ {
				if l.ts[e].is("case") {
					inner++
				}
				if inner == 0 && l.up[e] == l.up[i] && l.ts[e].is("when", "else", "end") {
					break
				}
				if l.ts[e].is("end") {
					inner--
				}
			}
			if t := l.typeOf(k+1, e); t != "" {
				return t
			}
		}
	}
	return ""
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
