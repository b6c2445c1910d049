package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// document is what a matcher sees of one document: the values of the wanted fields.
type document struct {
	pk    int64
	slots [][]value
}

type matcher func(d *document) bool

// query is a parsed query, still independent of any index. compile checks it against an index's mapping.
type query interface {
	compile(c *compiler) (matcher, error)
}

// plan numbers the fields that a request reads.
type plan struct {
	fields map[string]uint32
	slots  map[string]int
	slotOf []int32
}

func newPlan(c *catalog) *plan { return &plan{fields: c.fields, slots: map[string]int{}} }

func (p *plan) slot(name string) int {
	if s, ok := p.slots[name]; ok {
		return s
	}
	s := len(p.slots)
	p.slots[name] = s
	if id, ok := p.fields[name]; ok {
		for uint32(len(p.slotOf)) <= id {
			p.slotOf = append(p.slotOf, -1)
		}
		p.slotOf[id] = int32(s)
	}
	return s
}

// compiler binds a query to one index.
type compiler struct {
	ctx  context.Context //nolint:containedctx // lives as long as one request
	rows Reader
	plan *plan
	ix   *index
	now  time.Time
}

func (c *compiler) refuse(cause *apiError, format string, args ...any) error {
	e := fail(http.StatusBadRequest, "query_shard_exception", format, args...).with("index_uuid", c.ix.uuid, "index", c.ix.name)
	e.shard = c.ix.name
	e.cause = cause
	return e
}

func (c *compiler) badValue(reason string, typ string) error {
	return c.refuse(fail(http.StatusBadRequest, typ, "%s", reason), "failed to create query: %s", reason)
}

func never(*document) bool  { return false }
func always(*document) bool { return true }

type (
	matchAll   struct{ none bool }
	termsQuery struct {
		field string
		vals  []*node
		fold  bool
	}
	rangeQuery struct {
		field            string
		lower, upper     *node
		openLow, openUp  bool // exclusive
		format, timeZone string
	}
	boolQuery struct {
		must, filter, should, mustNot []query
		minimum                       *node
	}
	existsQuery  struct{ field string }
	idsQuery     struct{ ids []string }
	patternQuery struct {
		kind, field, pattern string
		fold                 bool
		// normal lower-cases the pattern for text, as query_string does and a wildcard query does not.
		normal bool
	}
	matchQuery struct {
		field  string
		val    *node
		and    bool
		phrase bool
		// lenient makes a value that cannot fit the field match nothing, as query_string over all fields needs.
		lenient bool
	}
	anyField struct{ make func(field string) query }
	// unfitting matches nothing where a value cannot be its field's, as query_string has it.
	unfitting struct{ query }
	// malformed is a query_string that does not parse, which Elasticsearch finds out on the shard.
	malformed struct{ err *apiError }
)

// parseQuery reads one query object.
func parseQuery(n *node, depth int) (query, error) {
	if depth > 50 {
		return nil, illegal("The query is nested too deeply: more than 50 levels")
	}
	if n.kind != kindObject {
		return nil, parsing(n.off, "[_na] query malformed, must start with start_object")
	}
	if len(n.fields) == 0 {
		return nil, illegal("query malformed, empty clause found at [1:%d]", n.end)
	}
	name, body := n.fields[0].key, &n.fields[0].val
	parse, known := queryTypes[name]
	if !known {
		return nil, parsing(body.off, "unknown query [%s]", name).
			causedBy(fail(http.StatusBadRequest, "named_object_not_found_exception", "[1:%d] unknown field [%s]", body.off+1, name))
	}
	if len(n.fields) > 1 {
		return nil, parsing(n.fields[1].off, "[%s] malformed query, expected [END_OBJECT] but found [FIELD_NAME]", name)
	}
	if body.kind != kindObject {
		return nil, parsing(body.off, "[%s] query malformed, no start_object after query name", name)
	}
	return parse(name, body, depth)
}

var queryTypes map[string]func(name string, n *node, depth int) (query, error)

func init() { //nolint:gochecknoinits // the table refers to parsers that refer to the table
	queryTypes = map[string]func(string, *node, int) (query, error){
		"match_all": parseMatchAll, "match_none": parseMatchAll, "term": parseTerm, "terms": parseTerms, "range": parseRange, "bool": parseBool,
		"exists": parseExists, "ids": parseIDs, "prefix": parsePattern, "wildcard": parsePattern, "match": parseMatch, "match_phrase": parseMatch,
		"query_string": parseQueryString, "constant_score": parseConstant, "nested": parseNested,
	}
}

// only refuses parameters that a query does not know. boost and _name do nothing to what matches: scores are constant here.
func only(name string, n *node, known ...string) error {
next:
	for i := range n.fields {
		key := n.fields[i].key
		if key == "boost" {
			continue
		}
		for _, k := range known {
			if key == k {
				continue next
			}
		}
		return parsing(n.fields[i].off, "[%s] query does not support [%s]", name, key)
	}
	return nil
}

// single takes {"field": ...} apart.
func single(name string, n *node) (string, *node, error) {
	field := -1
	for i := range n.fields {
		if n.fields[i].key == "boost" && n.fields[i].val.kind != kindObject && len(n.fields) > 1 {
			continue
		}
		if field >= 0 {
			return "", nil, parsing(n.fields[i].off, "[%s] query doesn't support multiple fields, found [%s] and [%s]", name, n.fields[field].key, n.fields[i].key)
		}
		field = i
	}
	if field < 0 {
		return "", nil, illegal("[%s] query needs a field name", name)
	}
	return n.fields[field].key, &n.fields[field].val, nil
}

func scalar(name string, n *node) error {
	if n.kind == kindObject || n.kind == kindArray || n.kind == kindNull {
		return parsing(n.off, "[%s] query does not support a value of type [%s]", name, n.token())
	}
	return nil
}

func parseMatchAll(name string, n *node, _ int) (query, error) {
	for i := range n.fields {
		if n.fields[i].key != "boost" {
			off := n.fields[i].off
			return nil, parsing(off, "[1:%d] [%s] unknown field [%s]", off+1, name, n.fields[i].key)
		}
	}
	return matchAll{none: name == "match_none"}, nil
}

func parseTerm(name string, n *node, _ int) (query, error) {
	field, v, err := single(name, n)
	if err != nil {
		return nil, err
	}
	q := &termsQuery{field: field}
	if v.kind == kindObject {
		if err := only(name, v, "value", "case_insensitive"); err != nil {
			return nil, err
		}
		if f := v.get("case_insensitive"); f != nil {
			if q.fold, err = boolOf("case_insensitive", f); err != nil {
				return nil, err
			}
		}
		if v = v.get("value"); v == nil {
			return nil, illegal("value cannot be null")
		}
	}
	if v.kind == kindArray {
		return nil, parsing(v.off, "[term] query does not support array of values")
	}
	if err := scalar(name, v); err != nil {
		return nil, illegal("field name is null or empty")
	}
	q.vals = []*node{v}
	return q, nil
}

func parseTerms(name string, n *node, _ int) (query, error) {
	field, v, err := single(name, n)
	if err != nil {
		return nil, err
	}
	if v.kind == kindObject {
		return nil, unsupported("[terms] lookup")
	}
	if v.kind != kindArray {
		return nil, parsing(v.off, "[terms] query does not support [%s]", field)
	}
	if len(v.items) > 65536 {
		return nil, illegal("The number of terms [%d] used in the Terms Query request has exceeded the allowed maximum of [65536].", len(v.items))
	}
	q := &termsQuery{field: field}
	for i := range v.items {
		if err := scalar(name, &v.items[i]); err != nil {
			return nil, illegal("No value specified for terms query")
		}
		q.vals = append(q.vals, &v.items[i])
	}
	return q, nil
}

func parseRange(name string, n *node, _ int) (query, error) {
	field, v, err := single(name, n)
	if err != nil {
		return nil, err
	}
	if v.kind != kindObject {
		return nil, parsing(v.off, "[range] query does not support [%s]", field)
	}
	q := &rangeQuery{field: field}
	for i := range v.fields {
		key, x := v.fields[i].key, &v.fields[i].val
		if x.kind == kindObject || x.kind == kindArray {
			return nil, parsing(x.off, "[range] query does not support [%s]", key)
		}
		bound := x
		if x.kind == kindNull {
			bound = nil
		}
		switch key {
		case "gte":
			q.lower, q.openLow = bound, false
		case "gt":
			q.lower, q.openLow = bound, true
		case "lte":
			q.upper, q.openUp = bound, false
		case "lt":
			q.upper, q.openUp = bound, true
		case "format":
			q.format = x.text()
		case "time_zone":
			q.timeZone = x.text()
		case "boost":
		default:
			return nil, parsing(x.off, "[range] query does not support [%s]", key)
		}
	}
	return q, nil
}

func parseBool(_ string, n *node, depth int) (query, error) {
	q := &boolQuery{}
	for i := range n.fields {
		key, v := n.fields[i].key, &n.fields[i].val
		var to *[]query
		switch key {
		case "must":
			to = &q.must
		case "filter":
			to = &q.filter
		case "should":
			to = &q.should
		case "must_not":
			to = &q.mustNot
		case "minimum_should_match":
			q.minimum = v
			continue
		case "boost":
			continue
		default:
			return nil, fail(http.StatusBadRequest, "x_content_parse_exception", "[1:%d] [bool] unknown field [%s]", n.fields[i].off+1, key)
		}
		items := v.items
		if v.kind != kindArray {
			items = []node{*v}
		}
		for j := range items {
			sub, err := parseQuery(&items[j], depth+1)
			if err != nil {
				return nil, err
			}
			*to = append(*to, sub)
		}
	}
	return q, nil
}

func parseExists(name string, n *node, _ int) (query, error) {
	if err := only(name, n, "field"); err != nil {
		return nil, err
	}
	f := n.get("field")
	if f == nil || f.kind != kindString || f.str == "" {
		return nil, parsing(n.off, "[exists] must be provided with a [field]")
	}
	return existsQuery{f.str}, nil
}

func parseIDs(name string, n *node, _ int) (query, error) {
	if err := only(name, n, "values"); err != nil {
		return nil, err
	}
	q := &idsQuery{}
	if v := n.get("values"); v != nil {
		items := v.items
		if v.kind != kindArray {
			items = []node{*v}
		}
		for i := range items {
			if err := scalar(name, &items[i]); err != nil {
				return nil, err
			}
			q.ids = append(q.ids, items[i].text())
		}
	}
	return q, nil
}

func parsePattern(name string, n *node, _ int) (query, error) {
	field, v, err := single(name, n)
	if err != nil {
		return nil, err
	}
	q := &patternQuery{kind: name, field: field}
	if v.kind == kindObject {
		known := []string{"value", "case_insensitive"}
		if name == "wildcard" {
			known = append(known, "wildcard")
		}
		if err := only(name, v, known...); err != nil {
			return nil, err
		}
		if f := v.get("case_insensitive"); f != nil {
			if q.fold, err = boolOf("case_insensitive", f); err != nil {
				return nil, err
			}
		}
		w := v.get("value")
		if w == nil {
			w = v.get("wildcard")
		}
		if w == nil {
			return nil, illegal("value cannot be null")
		}
		v = w
	}
	if err := scalar(name, v); err != nil {
		return nil, err
	}
	q.pattern = v.text()
	return q, nil
}

func parseMatch(name string, n *node, _ int) (query, error) {
	field, v, err := single(name, n)
	if err != nil {
		return nil, err
	}
	q := &matchQuery{field: field, phrase: name == "match_phrase"}
	if v.kind == kindObject {
		known := []string{"query"}
		if !q.phrase {
			known = append(known, "operator")
		}
		if err := only(name, v, known...); err != nil {
			return nil, err
		}
		if op := v.get("operator"); op != nil {
			switch strings.ToLower(op.text()) {
			case "and":
				q.and = true
			case "or":
			default:
				return nil, illegal("operator needs to be either and or or, but not [%s]", op.text())
			}
		}
		if v = v.get("query"); v == nil {
			return nil, illegal("[%s] requires query value", name)
		}
	}
	if err := scalar(name, v); err != nil {
		return nil, parsing(v.off, "[%s] unknown token [%s] after [%s]", name, v.token(), field)
	}
	q.val = v
	return q, nil
}

func parseConstant(name string, n *node, depth int) (query, error) {
	if err := only(name, n, "filter"); err != nil {
		return nil, err
	}
	f := n.get("filter")
	if f == nil {
		return nil, parsing(n.off, "[constant_score] requires a 'filter' element")
	}
	return parseQuery(f, depth+1)
}

// parseNested takes a nested query as a query over all of a document's nested objects together: a match may combine values of
// two of them, where Elasticsearch wants all from one.
func parseNested(name string, n *node, depth int) (query, error) {
	if err := only(name, n, "path", "query", "ignore_unmapped", "score_mode"); err != nil {
		return nil, err
	}
	p, q := n.get("path"), n.get("query")
	if p == nil || q == nil {
		return nil, illegal("[nested] requires 'path' and 'query' fields")
	}
	inner, err := parseQuery(q, depth+1)
	if err != nil {
		return nil, err
	}
	skip := false
	if u := n.get("ignore_unmapped"); u != nil {
		if skip, err = boolOf("ignore_unmapped", u); err != nil {
			return nil, err
		}
	}
	return &nestedQuery{path: p.text(), query: inner, ignoreUnmapped: skip}, nil
}

type nestedQuery struct {
	path           string
	query          query
	ignoreUnmapped bool
}

func (q *nestedQuery) compile(c *compiler) (matcher, error) {
	f := c.ix.mapping.root
	for part := range strings.SplitSeq(q.path, ".") {
		if f = f.props[part]; f == nil {
			break
		}
	}
	if f == nil || f.typ != "nested" {
		if q.ignoreUnmapped {
			return never, nil
		}
		return nil, c.refuse(nil, "failed to create query: [nested] failed to find nested object under path [%s]", q.path)
	}
	return q.query.compile(c)
}

func (q matchAll) compile(*compiler) (matcher, error) {
	if q.none {
		return never, nil
	}
	return always, nil
}

func (q *boolQuery) compile(c *compiler) (matcher, error) {
	all := func(qs []query) ([]matcher, error) {
		out := make([]matcher, len(qs))
		for i, sub := range qs {
			var err error
			if out[i], err = sub.compile(c); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	required, err := all(append(append([]query{}, q.filter...), q.must...))
	if err != nil {
		return nil, err
	}
	should, err := all(q.should)
	if err != nil {
		return nil, err
	}
	not, err := all(q.mustNot)
	if err != nil {
		return nil, err
	}
	need := 0
	if len(should) > 0 && len(required) == 0 {
		need = 1
	}
	if q.minimum != nil {
		if need, err = minimumShouldMatch(q.minimum, len(should)); err != nil {
			return nil, err
		}
	}
	return func(d *document) bool {
		for _, m := range required {
			if !m(d) {
				return false
			}
		}
		for _, m := range not {
			if m(d) {
				return false
			}
		}
		if need <= 0 {
			return true
		}
		n := 0
		for _, m := range should {
			if m(d) {
				if n++; n >= need {
					return true
				}
			}
		}
		return false
	}, nil
}

func minimumShouldMatch(n *node, clauses int) (int, error) {
	s := strings.TrimSpace(n.text())
	percent, isPercent := strings.CutSuffix(s, "%")
	v, err := strconv.Atoi(percent)
	if err != nil {
		return 0, unsupported("minimum_should_match [%s]", s)
	}
	if isPercent {
		part := int(math.Abs(float64(v)) / 100 * float64(clauses))
		if v < 0 {
			return clauses - part, nil
		}
		return part, nil
	}
	if v < 0 {
		return max(0, clauses+v), nil
	}
	return v, nil
}

func (q existsQuery) compile(c *compiler) (matcher, error) {
	switch q.field {
	case "_id", "_index", "_source", "_seq_no", "_version":
		return always, nil
	}
	m := c.ix.mapping
	f, key := m.leaf(q.field)
	if f != nil && key != "" {
		slot := c.plan.slot(f.name)
		exact, below := []byte(key+"\x00"), []byte(key+".")
		return anyValue(slot, func(v *value) bool { return bytes.HasPrefix(v.b, exact) || bytes.HasPrefix(v.b, below) }), nil
	}
	var slots []int
	if f != nil {
		slots = append(slots, c.plan.slot(f.name))
	} else {
		for _, leaf := range m.under(q.field) {
			slots = append(slots, c.plan.slot(leaf.name))
		}
	}
	return func(d *document) bool {
		for _, s := range slots {
			if len(d.slots[s]) > 0 {
				return true
			}
		}
		return false
	}, nil
}

func (q *idsQuery) compile(c *compiler) (matcher, error) {
	set := map[int64]bool{}
	for _, id := range q.ids {
		row, err := c.rows.Find(c.ctx, c.ix.num, id)
		if err != nil {
			return nil, fmt.Errorf("look up %s/%s: %w", c.ix.name, id, err)
		}
		if row != nil && row.Deleted == 0 {
			set[row.PK] = true
		}
	}
	return func(d *document) bool { return set[d.pk] }, nil
}

func anyValue(slot int, test func(*value) bool) matcher {
	return func(d *document) bool {
		vals := d.slots[slot]
		for i := range vals {
			if test(&vals[i]) {
				return true
			}
		}
		return false
	}
}

// searchable finds the leaf a query names. nil without an error: no such field, so nothing matches.
func (c *compiler) searchable(name string) (f *field, key string, err error) {
	f, key = c.ix.mapping.leaf(name)
	if f == nil {
		return nil, "", nil
	}
	if !f.stored() {
		why := "it is not indexed."
		if f.typ != "text" {
			why = "it is not indexed nor has doc values."
		}
		reason := "Cannot search on field [" + name + "] since " + why
		return nil, "", c.badValue(reason, "illegal_argument_exception")
	}
	return f, key, nil
}

func (q *termsQuery) compile(c *compiler) (matcher, error) {
	switch q.field {
	case "_id":
		ids := &idsQuery{}
		for _, v := range q.vals {
			ids.ids = append(ids.ids, v.text())
		}
		return ids.compile(c)
	case "_index":
		for _, v := range q.vals {
			if globMatch(v.text(), c.ix.name) {
				return always, nil
			}
		}
		return never, nil
	}
	f, key, err := c.searchable(q.field)
	if err != nil || f == nil {
		return never, err
	}
	slot := c.plan.slot(f.name)
	switch f.typ {
	case "keyword", "flattened":
		return q.keyword(f, key, slot), nil
	case "text":
		return anyValue(slot, func(v *value) bool {
			for _, n := range q.vals {
				want := n.text()
				if q.fold {
					want = strings.ToLower(want)
				}
				if !strings.Contains(want, " ") && hasToken(v.b, want) {
					return true
				}
			}
			return false
		}), nil
	}
	tests := make([]func(*value) bool, 0, len(q.vals))
	for _, v := range q.vals {
		test, err := c.equals(f, v)
		if err != nil {
			return nil, err
		}
		tests = append(tests, test)
	}
	return anyValue(slot, func(v *value) bool {
		for _, t := range tests {
			if t(v) {
				return true
			}
		}
		return false
	}), nil
}

func (q *termsQuery) keyword(f *field, key string, slot int) matcher {
	prefix := ""
	if f.typ == "flattened" && key != "" {
		prefix = key + "\x00"
	}
	if q.fold {
		return anyValue(slot, func(v *value) bool {
			for _, n := range q.vals {
				if bytes.EqualFold(v.b, []byte(prefix+n.text())) {
					return true
				}
			}
			return false
		})
	}
	if len(q.vals) == 1 && (f.typ == "keyword" || prefix != "") {
		want := []byte(prefix + q.vals[0].text())
		return anyValue(slot, func(v *value) bool { return bytes.Equal(v.b, want) })
	}
	set := make(map[string]bool, len(q.vals))
	for _, n := range q.vals {
		set[prefix+n.text()] = true
	}
	if f.typ == "flattened" && prefix == "" {
		return anyValue(slot, func(v *value) bool { return set[string(v.b[bytes.IndexByte(v.b, 0)+1:])] })
	}
	return anyValue(slot, func(v *value) bool { return set[string(v.b)] })
}

// equals tests a numeric, boolean, date or ip value.
func (c *compiler) equals(f *field, n *node) (func(*value) bool, error) {
	switch f.typ {
	case "boolean":
		s := n.text()
		if s != "true" && s != "false" && s != "" {
			return nil, c.badValue("Can't parse boolean value ["+s+"], expected [true] or [false]", "illegal_argument_exception")
		}
		want := int64(0)
		if s == "true" {
			want = 1
		}
		return func(v *value) bool { return v.i == want }, nil
	case "date":
		low, err := c.date(f, n, nil, time.UTC, false)
		if err != nil {
			return nil, err
		}
		high, err := c.date(f, n, nil, time.UTC, true)
		if err != nil {
			return nil, err
		}
		return func(v *value) bool { return v.i >= low && v.i <= high }, nil
	case "ip":
		s := n.text()
		if strings.Contains(s, "/") {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				return nil, c.badValue("'"+s+"' is not a CIDR address.", "illegal_argument_exception")
			}
			return func(v *value) bool {
				a, _ := netip.AddrFromSlice(v.b)
				return p.Contains(a.Unmap())
			}, nil
		}
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return nil, c.badValue("'"+s+"' is not an IP string literal.", "illegal_argument_exception")
		}
		want := ip.As16()
		return func(v *value) bool { return bytes.Equal(v.b, want[:]) }, nil
	}
	x, err := strconv.ParseFloat(n.text(), 64)
	if err != nil || n.kind == kindBool {
		return nil, c.badValue("For input string: \""+n.text()+"\"", "number_format_exception")
	}
	if integral(f.typ) {
		want, err := strconv.ParseInt(n.text(), 10, 64)
		if err != nil {
			if x != math.Trunc(x) || math.Abs(x) >= 1<<63 {
				return func(*value) bool { return false }, nil
			}
			want = int64(x)
		}
		return func(v *value) bool { return v.i == want }, nil
	}
	if _, rounded, err := parseNumber(f, n.text(), true); err == nil {
		x = rounded
	}
	return func(v *value) bool { return v.f == x }, nil
}

func (c *compiler) date(f *field, n *node, format *dateFormat, loc *time.Location, up bool) (int64, error) {
	if format == nil {
		format = f.format
	}
	ms, err := dateMath(n.text(), format, loc, c.now, up)
	if err != nil {
		e := fail(http.StatusBadRequest, "parse_exception", "%s: [%s]", err, err).causedBy(illegal("%s", err))
		e.shard = c.ix.name
		return 0, e
	}
	return ms, nil
}

func (q *rangeQuery) compile(c *compiler) (matcher, error) {
	f, key, err := c.searchable(q.field)
	if err != nil || f == nil {
		return never, err
	}
	slot := c.plan.slot(f.name)
	switch {
	case f.typ == "text" || f.typ == "flattened" && key == "" || f.typ == "boolean":
		return nil, c.badValue("not supported by the embedded search: [range] on field ["+q.field+"] of type ["+f.typ+"]", "illegal_argument_exception")
	case f.typ == "keyword" || f.typ == "flattened":
		return q.keyword(f, key, slot), nil
	case f.typ == "ip":
		return q.ip(c, slot)
	case f.typ == "date":
		return q.date(c, f, slot)
	case q.format != "" || q.timeZone != "":
		if q.timeZone != "" {
			return nil, c.badValue("Field ["+q.field+"] of type ["+f.typ+"] does not support [time_zone]", "illegal_argument_exception")
		}
		return nil, c.badValue("Field ["+q.field+"] of type ["+f.typ+"] does not support DATE ranges", "illegal_argument_exception")
	}
	return q.number(c, f, slot)
}

func (q *rangeQuery) keyword(f *field, key string, slot int) matcher {
	prefix := ""
	if f.typ == "flattened" {
		prefix = key + "\x00"
	}
	return anyValue(slot, func(v *value) bool {
		b, ok := bytes.CutPrefix(v.b, []byte(prefix))
		if !ok {
			return false
		}
		if q.lower != nil {
			if cmp := strings.Compare(string(b), q.lower.text()); cmp < 0 || cmp == 0 && q.openLow {
				return false
			}
		}
		if q.upper != nil {
			if cmp := strings.Compare(string(b), q.upper.text()); cmp > 0 || cmp == 0 && q.openUp {
				return false
			}
		}
		return true
	})
}

func (q *rangeQuery) ip(c *compiler, slot int) (matcher, error) {
	var low, high *netip.Addr
	for _, side := range []struct {
		n  *node
		to **netip.Addr
	}{{q.lower, &low}, {q.upper, &high}} {
		if side.n == nil {
			continue
		}
		a, err := netip.ParseAddr(side.n.text())
		if err != nil {
			return nil, c.badValue("'"+side.n.text()+"' is not an IP string literal.", "illegal_argument_exception")
		}
		a = netip.AddrFrom16(a.As16())
		*side.to = &a
	}
	return anyValue(slot, func(v *value) bool {
		a, _ := netip.AddrFromSlice(v.b)
		if low != nil {
			if cmp := a.Compare(*low); cmp < 0 || cmp == 0 && q.openLow {
				return false
			}
		}
		if high != nil {
			if cmp := a.Compare(*high); cmp > 0 || cmp == 0 && q.openUp {
				return false
			}
		}
		return true
	}), nil
}

func (q *rangeQuery) date(c *compiler, f *field, slot int) (matcher, error) {
	loc := time.UTC
	if q.timeZone != "" {
		z, ok := parseZone(q.timeZone)
		if !ok {
			return nil, c.badValue("Unknown time-zone ID: "+q.timeZone, "illegal_argument_exception")
		}
		loc = z
	}
	var format *dateFormat
	if q.format != "" {
		var err error
		if format, err = parseFormat(q.format); err != nil {
			return nil, c.badValue(err.Error(), "illegal_argument_exception")
		}
	}
	low, high := int64(math.MinInt64), int64(math.MaxInt64)
	var err error
	if q.lower != nil {
		if low, err = c.date(f, q.lower, format, loc, q.openLow); err != nil {
			return nil, err
		}
		if q.openLow {
			low++
		}
	}
	if q.upper != nil {
		if high, err = c.date(f, q.upper, format, loc, !q.openUp); err != nil {
			return nil, err
		}
		if q.openUp {
			high--
		}
	}
	return anyValue(slot, func(v *value) bool { return v.i >= low && v.i <= high }), nil
}

func (q *rangeQuery) number(c *compiler, f *field, slot int) (matcher, error) {
	low, high := math.Inf(-1), math.Inf(1)
	ilow, ihigh := int64(math.MinInt64), int64(math.MaxInt64)
	empty := false
	for _, side := range []struct {
		n     *node
		open  bool
		upper bool
	}{{q.lower, q.openLow, false}, {q.upper, q.openUp, true}} {
		if side.n == nil {
			continue
		}
		s := side.n.text()
		x, err := strconv.ParseFloat(s, 64)
		if err != nil || side.n.kind == kindBool {
			return nil, c.badValue("For input string: \""+s+"\"", "number_format_exception")
		}
		if !integral(f.typ) {
			if f.typ == "float" {
				x = float64(float32(x))
			}
			if side.upper {
				high = x
			} else {
				low = x
			}
			continue
		}
		i, err := strconv.ParseInt(s, 10, 64)
		whole := err == nil
		if !whole {
			switch {
			case x >= 1<<63:
				i = math.MaxInt64
				empty = empty || !side.upper
			case x < -(1 << 63):
				i = math.MinInt64
				empty = empty || side.upper
			case x == math.Trunc(x):
				i, whole = int64(x), true
			case side.upper:
				i = int64(math.Floor(x))
			default:
				i = int64(math.Ceil(x))
			}
		}
		switch {
		case side.upper && whole && side.open:
			empty = empty || i == math.MinInt64
			ihigh = i - 1
		case side.upper:
			ihigh = i
		case whole && side.open:
			empty = empty || i == math.MaxInt64
			ilow = i + 1
		default:
			ilow = i
		}
	}
	if empty {
		return never, nil
	}
	if integral(f.typ) {
		return anyValue(slot, func(v *value) bool { return v.i >= ilow && v.i <= ihigh }), nil
	}
	withLow, withHigh := !q.openLow || q.lower == nil, !q.openUp || q.upper == nil
	return anyValue(slot, func(v *value) bool {
		return (v.f > low || v.f == low && withLow) && (v.f < high || v.f == high && withHigh)
	}), nil
}

func (q *patternQuery) compile(c *compiler) (matcher, error) {
	f, key, err := c.searchable(q.field)
	if q.field == "_index" {
		if globMatch(q.pattern, c.ix.name) || q.kind == "prefix" && strings.HasPrefix(c.ix.name, q.pattern) {
			return always, nil
		}
		return never, nil
	}
	if err != nil || f == nil {
		return never, err
	}
	prefix := ""
	switch {
	case f.typ == "keyword" || f.typ == "text":
	case f.typ == "flattened" && key != "":
		prefix = key + "\x00"
	default:
		return nil, c.refuse(nil, "Can only use %s queries on keyword, text and wildcard fields - not on [%s] which is of type [%s]", q.kind, q.field, f.typ)
	}
	pattern := q.pattern
	if q.fold || q.normal && f.typ == "text" {
		pattern = strings.ToLower(pattern)
	}
	match := func(s string) bool {
		if q.fold {
			s = strings.ToLower(s)
		}
		if q.kind == "prefix" {
			return strings.HasPrefix(s, pattern)
		}
		return wildcard(pattern, s)
	}
	slot := c.plan.slot(f.name)
	return anyValue(slot, func(v *value) bool {
		s := string(v.b)
		if f.typ == "text" {
			for t := range strings.FieldsSeq(s) {
				if match(t) {
					return true
				}
			}
			return false
		}
		rest, ok := strings.CutPrefix(s, prefix)
		return ok && match(rest)
	}), nil
}

// wildcard matches * and ?, with backslash to escape them.
func wildcard(pattern, s string) bool {
	type unit struct {
		r    rune
		kind byte
	}
	var p []unit
	escaped := false
	for _, r := range pattern {
		switch {
		case escaped:
			p, escaped = append(p, unit{r: r}), false
		case r == '\\':
			escaped = true
		case r == '*' || r == '?':
			p = append(p, unit{kind: byte(r)})
		default:
			p = append(p, unit{r: r})
		}
	}
	text := []rune(s)
	star, mark, i, j := -1, 0, 0, 0
	for j < len(text) {
		switch {
		case i < len(p) && p[i].kind == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i].kind == '?' || p[i].kind == 0 && p[i].r == text[j]):
			i++
			j++
		case star >= 0:
			i = star + 1
			mark++
			j = mark
		default:
			return false
		}
	}
	for i < len(p) && p[i].kind == '*' {
		i++
	}
	return i == len(p)
}

func (q *matchQuery) compile(c *compiler) (matcher, error) {
	f, key := c.ix.mapping.leaf(q.field)
	if q.lenient && (f == nil || !f.stored()) {
		return never, nil
	}
	if f == nil || f.typ != "text" || key != "" {
		m, err := (&termsQuery{field: q.field, vals: []*node{q.val}}).compile(c)
		if err != nil && q.lenient {
			return never, nil // a value that cannot fit a field matches nothing there
		}
		return m, err
	}
	if _, _, err := c.searchable(q.field); err != nil {
		return nil, err
	}
	words := tokens(q.val.text())
	if len(words) == 0 {
		return never, nil
	}
	slot := c.plan.slot(f.name)
	if q.phrase {
		phrase := strings.Join(words, " ")
		return anyValue(slot, func(v *value) bool { return hasToken(v.b, phrase) }), nil
	}
	return func(d *document) bool {
		for _, w := range words {
			found := false
			for i := range d.slots[slot] {
				if hasToken(d.slots[slot][i].b, w) {
					found = true
					break
				}
			}
			if found != q.and {
				return found
			}
		}
		return q.and
	}, nil
}

func (q unfitting) compile(c *compiler) (matcher, error) {
	m, err := q.query.compile(c)
	var refused *apiError
	if errors.As(err, &refused) {
		return never, nil
	}
	return m, err
}

func (q malformed) compile(c *compiler) (matcher, error) {
	return nil, c.refuse(q.err.cause, "%s", q.err.reason)
}

func (q anyField) compile(c *compiler) (matcher, error) {
	var ms []matcher
	for name := range c.ix.mapping.leaves {
		m, err := q.make(name).compile(c)
		if err != nil {
			continue // over all fields a value that cannot fit one matches nothing there
		}
		ms = append(ms, m)
	}
	return func(d *document) bool {
		for _, m := range ms {
			if m(d) {
				return true
			}
		}
		return false
	}, nil
}
