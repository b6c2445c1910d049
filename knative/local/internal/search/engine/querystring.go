package engine

import (
	"errors"
	"net/http"
	"strings"
)

// queryString parses Lucene's syntax as far as people type it: field:value, "phrases", AND OR NOT && || !, + and -, parentheses
// (also field:(a b)), ranges [a TO b] {a TO b}, >= and the like, * and ?, _exists_:field. Fuzziness, boosts, slop and regular
// expressions are refused.
type queryString struct {
	text         string
	src          string
	pos          int
	defaultField string
	and          bool
	strict       bool // a value that cannot be its field's is refused, where otherwise it matches nothing
	depth        int
}

func parseQueryString(name string, n *node, _ int) (query, error) {
	if err := only(name, n, "query", "default_field", "default_operator", "analyze_wildcard", "lenient"); err != nil {
		return nil, err
	}
	q := n.get("query")
	if q == nil || q.kind != kindString {
		return nil, parsing(n.off, "[query_string] must be provided with a [query]")
	}
	p := &queryString{text: q.str, src: q.str}
	if f := n.get("default_field"); f != nil && f.text() != "*" {
		p.defaultField = f.text()
	}
	if op := n.get("default_operator"); op != nil {
		p.and = strings.EqualFold(op.text(), "and")
		if !p.and && !strings.EqualFold(op.text(), "or") {
			return nil, illegal("operator needs to be either and or or, but not [%s]", op.text())
		}
	}
	if l := n.get("lenient"); l != nil {
		lenient, err := boolOf("lenient", l)
		if err != nil {
			return nil, err
		}
		p.strict = !lenient
	}
	parsed, err := p.parse()
	var bad *apiError
	if errors.As(err, &bad) {
		return malformed{bad}, nil
	}
	return parsed, err
}

func (p *queryString) parse() (query, error) {
	p.space()
	if p.pos == len(p.src) {
		return matchAll{none: true}, nil
	}
	q, err := p.clauses("")
	if err != nil {
		return nil, err
	}
	if p.pos < len(p.src) {
		return nil, p.fail("unexpected '%c'", p.src[p.pos])
	}
	return q, nil
}

func (p *queryString) fail(format string, args ...any) error {
	e := fail(http.StatusBadRequest, "query_shard_exception", "Failed to parse query [%s]", p.text)
	return e.causedBy(fail(http.StatusBadRequest, "parse_exception", "Cannot parse '"+strings.ReplaceAll(p.text, "%", "%%")+"': "+format, args...))
}

func (p *queryString) space() {
	for p.pos < len(p.src) && strings.IndexByte(" \t\r\n", p.src[p.pos]) >= 0 {
		p.pos++
	}
}

// word takes an operator if it stands there as a word of its own.
func (p *queryString) word(w string) bool {
	if !strings.HasPrefix(p.src[p.pos:], w) {
		return false
	}
	if end := p.pos + len(w); w[0] >= 'A' && end < len(p.src) && strings.IndexByte(" \t\r\n(", p.src[end]) < 0 {
		return false
	}
	p.pos += len(w)
	return true
}

// clauses reads up to the closing parenthesis or the end. As in Lucene, AND makes both its sides required.
func (p *queryString) clauses(field string) (query, error) {
	if p.depth++; p.depth > 50 {
		return nil, p.fail("nested too deeply")
	}
	defer func() { p.depth-- }()
	const (
		optional = iota
		required
		excluded
	)
	type clause struct {
		q     query
		occur int
	}
	var all []clause
	and, or := false, false
	for {
		p.space()
		if p.pos == len(p.src) || p.src[p.pos] == ')' {
			break
		}
		if len(all) > 0 && !and && !or {
			if p.word("AND") || p.word("&&") {
				and = true
				continue
			}
			if p.word("OR") || p.word("||") {
				or = true
				continue
			}
		}
		occur := optional
		if p.and && !or || and {
			occur = required
		}
		modified := true
		switch {
		case p.word("NOT"), p.word("!"), p.word("-"):
			occur = excluded
		case p.word("+"):
			occur = required
		default:
			modified = false
		}
		p.space()
		var q query
		if !modified {
			q = p.words(field)
		}
		if q == nil {
			var err error
			if q, err = p.clause(field); err != nil {
				return nil, err
			}
		}
		if and && all[len(all)-1].occur == optional {
			all[len(all)-1].occur = required
		}
		if or && p.and && all[len(all)-1].occur == required {
			all[len(all)-1].occur = optional
		}
		all = append(all, clause{q, occur})
		and, or = false, false
	}
	if and || or || len(all) == 0 {
		return nil, p.fail("Encountered \"<EOF>\" where a term was expected")
	}
	b := &boolQuery{}
	for _, c := range all {
		switch c.occur {
		case optional:
			b.should = append(b.should, c.q)
		case required:
			b.must = append(b.must, c.q)
		default:
			b.mustNot = append(b.mustNot, c.q)
		}
	}
	return b, nil
}

// words takes bare terms that follow each other without an operator as one value, as Lucene does: a keyword has to equal all of it, text is analyzed as a whole. It takes
// none, and returns nil, where fewer than two stand there.
func (p *queryString) words(field string) query {
	if field == "" {
		field = p.defaultField
	}
	from := p.pos
	var all []string
	for {
		at := p.pos
		s, pattern := p.term()
		next := p.pos
		p.space()
		operator := false
		if p.pos < len(p.src) && p.pos > next {
			here := p.pos
			operator = p.word("AND") || p.word("OR") || p.word("&&") || p.word("||")
			p.pos = here
		}
		bare := s != "" && !pattern && !operator && s != "AND" && s != "OR" && s != "NOT" && strings.IndexByte("+-!<>/&|=", p.src[at]) < 0
		if bare && next < len(p.src) && strings.IndexByte(":^~[]{}(\"", p.src[next]) >= 0 {
			bare = false
		}
		if !bare {
			p.pos = at
			break
		}
		all = append(all, s)
	}
	if len(all) < 2 {
		p.pos = from
		return nil
	}
	value := &node{kind: kindString, str: strings.Join(all, " ")}
	make := func(f string) query { return &matchQuery{field: f, val: value, and: p.and, lenient: field == ""} }
	if field == "" {
		return anyField{make}
	}
	return p.fitting(make(field))
}

func (p *queryString) fitting(q query) query {
	if p.strict {
		return q
	}
	return unfitting{q}
}

func (p *queryString) clause(field string) (query, error) {
	if p.pos == len(p.src) {
		return nil, p.fail("Encountered \"<EOF>\" where a term was expected")
	}
	if p.src[p.pos] == '(' {
		p.pos++
		q, err := p.clauses(field)
		if err != nil {
			return nil, err
		}
		if p.pos == len(p.src) {
			return nil, p.fail("Encountered \"<EOF>\" where ) was expected")
		}
		p.pos++
		return q, p.after()
	}
	if p.src[p.pos] == '"' || p.src[p.pos] == '[' || p.src[p.pos] == '{' {
		return p.value(field)
	}
	from := p.pos
	name, _ := p.term()
	if text := p.src[from:p.pos]; text == "AND" || text == "OR" || text == "NOT" {
		return nil, p.fail("Encountered \"%s\" where a term was expected", text)
	}
	if name != "" && p.pos < len(p.src) && p.src[p.pos] == ':' {
		p.pos++
		p.space()
		if name == "*" && strings.HasPrefix(p.src[p.pos:], "*") {
			p.pos++
			return matchAll{}, p.after()
		}
		if strings.ContainsAny(name, "*?") {
			return nil, p.fail("not supported by the embedded search: a pattern as field name")
		}
		if name == "_exists_" {
			f, _ := p.term()
			if f == "" {
				return nil, p.fail("a field name was expected")
			}
			return existsQuery{f}, p.after()
		}
		return p.fieldValue(name)
	}
	p.pos = from
	return p.value(field)
}

func (p *queryString) fieldValue(name string) (query, error) {
	if p.pos < len(p.src) && p.src[p.pos] == '(' {
		return p.clause(name)
	}
	return p.value(name)
}

// after refuses what Lucene allows behind a clause and we do not.
func (p *queryString) after() error {
	if p.pos < len(p.src) && (p.src[p.pos] == '^' || p.src[p.pos] == '~') {
		return p.fail("not supported by the embedded search: '%c'", p.src[p.pos])
	}
	return nil
}

// term reads a bare term; pattern says whether it holds an unescaped * or ?.
func (p *queryString) term() (text string, pattern bool) {
	var b strings.Builder
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		if c == '\\' && p.pos+1 < len(p.src) {
			p.pos++
			b.WriteByte(p.src[p.pos])
			p.pos++
			continue
		}
		if strings.IndexByte(" \t\r\n():\"[]{}^~", c) >= 0 {
			break
		}
		pattern = pattern || c == '*' || c == '?'
		b.WriteByte(c)
		p.pos++
	}
	return b.String(), pattern
}

func (p *queryString) value(field string) (query, error) {
	if field == "" {
		field = p.defaultField
	}
	build := func(make func(string) query) (query, error) {
		if err := p.after(); err != nil {
			return nil, err
		}
		if field == "" {
			return anyField{make}, nil
		}
		return p.fitting(make(field)), nil
	}
	if p.pos == len(p.src) {
		return nil, p.fail("Encountered \"<EOF>\" where a term was expected")
	}
	str := func(s string) *node { return &node{kind: kindString, str: s} }
	switch c := p.src[p.pos]; c {
	case '"':
		s, err := p.quoted()
		if err != nil {
			return nil, err
		}
		lenient := field == ""
		return build(func(f string) query { return &matchQuery{field: f, val: str(s), phrase: true, lenient: lenient} })
	case '[', '{':
		low, high, err := p.bounds()
		if err != nil {
			return nil, err
		}
		closing := p.src[p.pos-1]
		return build(func(f string) query {
			r := &rangeQuery{field: f, openLow: c == '{', openUp: closing == '}'}
			if low != "*" {
				r.lower = str(low)
			}
			if high != "*" {
				r.upper = str(high)
			}
			return r
		})
	case '>', '<':
		p.pos++
		open := true
		if p.pos < len(p.src) && p.src[p.pos] == '=' {
			p.pos++
			open = false
		}
		s, _ := p.term()
		if s == "" {
			return nil, p.fail("a bound was expected")
		}
		return build(func(f string) query {
			if c == '>' {
				return &rangeQuery{field: f, lower: str(s), openLow: open}
			}
			return &rangeQuery{field: f, upper: str(s), openUp: open}
		})
	case '/':
		return nil, p.fail("not supported by the embedded search: regular expressions")
	}
	s, pattern := p.term()
	// A date has colons: within a value they do not end it.
	for p.pos < len(p.src) && p.src[p.pos] == ':' && field != "" {
		p.pos++
		more, also := p.term()
		s, pattern = s+":"+more, pattern || also
	}
	switch {
	case s == "":
		return nil, p.fail("unexpected '%c'", p.src[p.pos])
	case s == "*":
		if field == "" {
			return matchAll{}, p.after()
		}
		return existsQuery{field}, p.after()
	case pattern:
		return build(func(f string) query { return &patternQuery{kind: "wildcard", field: f, pattern: s, normal: true} })
	}
	lenient := field == ""
	return build(func(f string) query { return &matchQuery{field: f, val: str(s), lenient: lenient} })
}

func (p *queryString) quoted() (string, error) {
	p.pos++
	var b strings.Builder
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		p.pos++
		switch {
		case c == '"':
			return b.String(), nil
		case c == '\\' && p.pos < len(p.src):
			b.WriteByte(p.src[p.pos])
			p.pos++
		default:
			b.WriteByte(c)
		}
	}
	return "", p.fail("Lexical error: <EOF> within a quoted phrase")
}

func (p *queryString) bounds() (low, high string, err error) {
	p.pos++
	end := strings.IndexAny(p.src[p.pos:], "]}")
	if end < 0 {
		return "", "", p.fail("Encountered \"<EOF>\" within a range")
	}
	inner := p.src[p.pos : p.pos+end]
	p.pos += end + 1
	low, high, ok := strings.Cut(inner, " TO ")
	if !ok {
		return "", "", p.fail("a range needs TO")
	}
	trim := func(s string) string { return strings.Trim(strings.TrimSpace(s), `"`) }
	return trim(low), trim(high), nil
}
