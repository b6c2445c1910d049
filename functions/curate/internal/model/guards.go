package model

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// reading is how text becomes a value of a type: which literals both engines read alike, and texts that they do not, which a pattern before the cast has to keep away.
type reading struct {
	alike  *regexp.Regexp
	traps  []string
	sample string // a pattern that does, for the advice
}

// readings are by the type that text is cast to. The traps were seen on DuckDB 1.5.5 and Trino 476: one takes them, the other does not, or takes another value.
var readings = map[string]reading{
	"integer":   {regexp.MustCompile(`^[+-]?\d+$`), []string{"1.5", "1.0", "1e3", "0x10", "1_000"}, "^-?[0-9]+$"},
	"double":    {regexp.MustCompile(`^([+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|NaN|-?Infinity)$`), []string{"nan", "inf", "1d", "0x1p3", "1_000.5"}, "^-?[0-9]+([.][0-9]+)?$"},
	"decimal":   {regexp.MustCompile(`^[+-]?(\d+(\.\d*)?|\.\d+)$`), []string{" 1.0 ", "1_000.5"}, "^-?[0-9]+([.][0-9]+)?$"},
	"date":      {regexp.MustCompile(`^\d{4}-\d\d-\d\d$`), []string{"2026-01-02 10:00:00", "2026-01-02T10:00:00"}, "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
	"timestamp": {regexp.MustCompile(`^\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?$`), []string{"2026-01-02T10:00:00", "2026-01-02 10:00:00Z", "2026-01-02T10:00:00Z"}, "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$"},
	"boolean":   {regexp.MustCompile(`^(?i:true|false|t|f|1|0)$`), []string{"yes", "no", "on", "y"}, "^(true|false)$"},
	"uuid":      {regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`), []string{"{00000000-0000-0000-0000-000000000001}", "00000000000000000000000000000001"}, "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
}

// isoReading is that of from_iso8601_timestamp: Trino keeps milliseconds, DuckDB takes a blank in place of T.
var isoReading = reading{
	regexp.MustCompile(`^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)?)?$`), []string{"2026-11-20 10:00:00", "2026-11-20T10:00:00.123456Z"}, "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
}

// alike says whether both engines read the text from i up to j to the same value: a literal, or what an enclosing CASE has matched with a pattern that no trap passes.
func (l *linter) alike(i, j int, r reading) bool {
	if l.at(i).kind == str && j == i+1 {
		return r.alike.MatchString(l.at(i).text)
	}
	for _, c := range l.conditions(i) {
		if !l.at(c[0]).is("regexp_like") || !l.at(c[0]+1).is("(") || l.match[c[0]+1] != c[1]-1 {
			continue
		}
		args := l.args(c[0])
		if len(args) != 2 || !l.same(args[0], [2]int{i, j}) || l.at(args[1][0]).kind != str || args[1][1] != args[1][0]+1 {
			continue
		}
		pattern, err := regexp.Compile(l.at(args[1][0]).text)
		if err == nil && !slices.ContainsFunc(r.traps, pattern.MatchString) {
			return true
		}
	}
	return false
}

// same says whether two ranges are the same text.
func (l *linter) same(a, b [2]int) bool {
	return slices.EqualFunc(l.ts[a[0]:a[1]], l.ts[b[0]:b[1]], func(x, y token) bool { return x.kind == y.kind && x.text == y.text })
}

// conditions are those under which alone the token is evaluated: parts, joined by AND, of the WHEN of each CASE in whose THEN it stands, and of the first argument of an IF in whose second it does.
// WHERE is none: engines may evaluate what a query selects before.
func (l *linter) conditions(i int) (out [][2]int) {
	for pos := i; pos >= 0; pos = l.up[pos] {
		depth, then := 0, -1
		other := false // within this CASE, the token is of no THEN
		for j := pos - 1; j > l.up[pos]; j-- {
			if l.match[j] >= 0 && l.match[j] < j {
				j = l.match[j]
				continue
			}
			t := l.ts[j]
			switch {
			case t.is("end") && !l.at(j-1).is("."):
				depth++
			case t.is("case") && depth > 0:
				depth--
			case depth > 0:
			case t.is("case"):
				then, other = -1, false
			case other:
			case t.is("else"), t.is("when") && then < 0:
				other = true
			case t.is("then"):
				then = j
			case t.is("when"):
				if l.at(l.caseOf(j) + 1).is("when") {
					out = append(out, l.parts(j+1, then)...)
				}
				other = true
			case t.is("select", "from", "where"):
				return out // the names of another query may mean something else
			}
		}
		open := l.up[pos]
		if open < 0 || l.at(open+1).is("select", "with") {
			return out
		}
		if l.at(open - 1).is("if") {
			if args := l.args(open - 1); len(args) == 3 && i >= args[1][0] && i < args[1][1] {
				out = append(out, l.parts(args[0][0], args[0][1])...)
			}
		}
	}
	return out
}

// caseOf is the CASE that the WHEN is of.
func (l *linter) caseOf(when int) int {
	depth := 0
	for j := when - 1; j > l.up[when]; j-- {
		switch {
		case l.match[j] >= 0 && l.match[j] < j:
			j = l.match[j]
		case l.ts[j].is("end"):
			depth++
		case l.ts[j].is("case"):
			if depth--; depth < 0 {
				return j
			}
		}
	}
	return -1
}

// parts splits a condition at AND; of one with OR there are none.
func (l *linter) parts(i, j int) (out [][2]int) {
	for l.at(i).is("(") && l.match[i] == j-1 {
		i, j = i+1, j-1
	}
	from := i
	for k := i; k < j; k++ {
		if l.match[k] > k {
			k = l.match[k]
			continue
		}
		switch {
		case l.ts[k].is("or", "case", "between"):
			return nil
		case l.ts[k].is("and"):
			out = append(out, [2]int{from, k})
			from = k + 1
		}
	}
	out = append(out, [2]int{from, j})
	for n, p := range out {
		for l.at(p[0]).is("(") && l.match[p[0]] == p[1]-1 {
			p = [2]int{p[0] + 1, p[1] - 1}
		}
		out[n] = p
	}
	return out
}

// above says whether the number from i up to j is known to be greater than zero, or where zero is allowed not less.
func (l *linter) above(i, j int, zero bool) bool {
	for l.at(i).is("(") && l.match[i] == j-1 {
		i, j = i+1, j-1
	}
	if l.at(i).is("cast") && l.at(i+1).is("(") && l.match[i+1] == j-1 {
		if as := l.castAs(i); as > 0 && l.above(i+2, as, zero) {
			return true
		}
	}
	t := l.at(i)
	call := l.at(i+1).is("(") && l.match[i+1] == j-1
	switch {
	case t.kind == number && j == i+1:
		return zero || strings.ContainsAny(beforeExponent(t.text), "123456789")
	case t.is("abs", "count", "count_if", "length", "cardinality") && call:
		if zero {
			return true
		}
	case t.is("nullif") && call:
		if args := l.args(i); len(args) == 2 && l.at(args[1][0]).kind == number && !strings.ContainsAny(beforeExponent(l.at(args[1][0]).text), "123456789") && l.above(args[0][0], args[0][1], true) {
			return true
		}
	}
	for _, c := range l.conditions(i) {
		to := l.operand(c[0])
		if to >= c[1] {
			continue
		}
		left, op, right := [2]int{c[0], to}, l.at(to).text, [2]int{to + 1, c[1]}
		if l.at(left[0]).kind == number {
			left, right = right, left
			op = map[string]string{"<": ">", "<=": ">="}[op]
		}
		if l.same(left, [2]int{i, j}) && right[1] == right[0]+1 && l.at(right[0]).kind == number && (op == ">" || op == ">=" && l.above(right[0], right[1], zero)) {
			return true
		}
	}
	return false
}

func beforeExponent(number string) string {
	digits, _, _ := strings.Cut(number, "e")
	return digits
}

// belows says whether a whole number from i up to j can be less than least, as far as that can be seen: a literal that is, or a difference that no greatest(..., least) bounds.
func (l *linter) belows(i, j, least int) bool {
	for l.at(i).is("(") && l.match[i] == j-1 {
		i, j = i+1, j-1
	}
	if l.at(i).is("cast") && l.at(i+1).is("(") && l.match[i+1] == j-1 {
		if as := l.castAs(i); as > 0 {
			return l.belows(i+2, as, least)
		}
	}
	if l.at(i).kind == number && j == i+1 {
		n, err := strconv.Atoi(l.at(i).text)
		return err == nil && n < least
	}
	if l.at(i).is("greatest") && l.at(i+1).is("(") && l.match[i+1] == j-1 {
		return !slices.ContainsFunc(l.args(i), func(a [2]int) bool { return l.at(a[0]).kind == number && !l.belows(a[0], a[1], least) })
	}
	return slices.ContainsFunc(l.ts[i:j], func(t token) bool { return t.is("-") })
}

// filled says whether a text is known not to be empty: a literal, or null in place of it.
func (l *linter) filled(i, j int) bool {
	if l.at(i).kind == str && j == i+1 {
		return l.at(i).text != ""
	}
	if !l.at(i).is("nullif") || !l.at(i+1).is("(") || l.match[i+1] != j-1 {
		return false
	}
	args := l.args(i)
	return len(args) == 2 && l.at(args[1][0]).kind == str && l.at(args[1][0]).text == "" && args[1][1] == args[1][0]+1
}

var (
	jsonPath = regexp.MustCompile(`^\$(\.[\pL_0-9]+|\[\d+\])*$`)
	// What both engines' regular expressions take, and understand differently, or only one of them takes: groups with names, sets in sets, words' borders beside letters that are not ASCII.
	ownPattern = regexp.MustCompile(`\(\?P|\(\?<|\(\?[a-zA-Z]*U|&&|\\[bB]`)
)

// pattern checks the regular expression from i up to j.
func (l *linter) pattern(i, j int) {
	t := l.at(i)
	switch {
	case t.kind != str || j != i+1:
		l.add(i, "a regular expression that is no literal: the engines know different ones; write it out")
	case ownPattern.MatchString(t.text), nested(t.text):
		l.add(i, "a regular expression that the engines understand differently: no \\b, no named groups, no (?U), no [ and no && in [...]")
	default:
		if _, err := regexp.Compile(t.text); err != nil {
			l.add(i, "a regular expression that DuckDB does not know: %v", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
	}
}

// nested says whether a set of characters has a [ that is neither escaped nor the beginning of a class such as [:alpha:].
func nested(pattern string) bool {
	in := false
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\':
			i++
		case c == '[' && !in:
			in = true
			if i+1 < len(pattern) && pattern[i+1] == '^' {
				i++
			}
			if i+1 < len(pattern) && pattern[i+1] == ']' { // stands for itself
				i++
			}
		case c == '[':
			n := strings.Index(pattern[i:], ":]")
			if !strings.HasPrefix(pattern[i:], "[:") || n < 0 {
				return true
			}
			i += n + 1
		case c == ']':
			in = false
		}
	}
	return false
}
