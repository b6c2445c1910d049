package engine

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// searchRequest is a parsed _search body and its parameters.
type searchRequest struct {
	query      query
	from, size int
	sort       []*sortKey
	after      *node
	source     *sourceFilter
	track      int // count hits up to this many; -1 all, 0 not at all
	aggs       []*aggregation
	version    bool
	seq        bool
}

type sortKey struct {
	field    string
	desc     bool
	missing  string // _last, _first
	unmapped string
	mode     string

	// set by bind
	slot  int
	typ   string // of the field; "" where no index has it
	after *sortValue
	leaf  *field
}

// sortValue is a document's value under one sort key.
type sortValue struct {
	i    int64
	f    float64
	s    string
	null bool
}

func parseSearch(body *node) (*searchRequest, error) {
	r := &searchRequest{query: matchAll{}, size: 10, track: 10000}
	if body == nil {
		return r, nil
	}
	if body.kind != kindObject {
		return nil, parsing(body.off, "Expected [START_OBJECT] but found [%s]", body.token())
	}
	for i := range body.fields {
		key, v := body.fields[i].key, &body.fields[i].val
		var err error
		switch key {
		case "query":
			if v.kind != kindObject {
				return nil, parsing(v.off, "Unknown key for a %s in [query].", v.token())
			}
			r.query, err = parseQuery(v, 0)
		case "from":
			if r.from, err = integerOf(key, v); err == nil && r.from < 0 {
				err = illegal("[from] parameter cannot be negative but was [%d]", r.from)
			}
		case "size":
			if r.size, err = integerOf(key, v); err == nil && r.size < 0 {
				err = illegal("[size] parameter cannot be negative, found [%d]", r.size)
			}
		case "sort":
			r.sort, err = parseSort(v)
		case "search_after":
			if v.kind != kindArray {
				return nil, parsing(v.off, "Expected [START_ARRAY] in [search_after] but found [%s]", v.token())
			}
			r.after = v
		case "_source":
			r.source, err = parseSource(v)
		case "track_total_hits":
			err = r.parseTrack(v)
		case "aggs", "aggregations":
			r.aggs, err = parseAggs(v, 0)
		case "version":
			r.version, err = boolOf(key, v)
		case "seq_no_primary_term":
			r.seq, err = boolOf(key, v)
		case "timeout":
			// There is no partial answer here, so a time-out has nothing to cut short.
		default:
			return nil, parsing(v.off, "Unknown key for a %s in [%s].", v.token(), key)
		}
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

func integerOf(name string, v *node) (int, error) {
	n, err := strconv.Atoi(v.text())
	if err != nil {
		return 0, illegal("Failed to parse int parameter [%s] with value [%s]", name, v.text())
	}
	return n, nil
}

func (r *searchRequest) parseTrack(v *node) error {
	switch s := v.text(); s {
	case "true":
		r.track = -1
	case "false":
		r.track = 0
	default:
		n, err := strconv.Atoi(s)
		if err != nil || n < -1 {
			return illegal("[track_total_hits] parameter must be positive or equals to -1, got %s", s)
		}
		r.track = n
	}
	return nil
}

func parseSource(v *node) (*sourceFilter, error) {
	list := func(n *node) ([]string, error) {
		items := n.items
		if n.kind != kindArray {
			items = []node{*n}
		}
		var out []string
		for i := range items {
			if items[i].kind != kindString {
				return nil, parsing(items[i].off, "Unknown key for a %s in [_source].", items[i].token())
			}
			out = append(out, items[i].str)
		}
		return out, nil
	}
	f := &sourceFilter{}
	var err error
	switch v.kind {
	case kindBool:
		f.none = !v.truth
	case kindString, kindArray:
		f.includes, err = list(v)
	case kindObject:
		for i := range v.fields {
			switch v.fields[i].key {
			case "includes", "include":
				f.includes, err = list(&v.fields[i].val)
			case "excludes", "exclude":
				f.excludes, err = list(&v.fields[i].val)
			default:
				return nil, parsing(v.fields[i].off, "Unknown key for a %s in [%s].", v.fields[i].val.token(), v.fields[i].key)
			}
			if err != nil {
				return nil, err
			}
		}
	case kindNull, kindNumber:
		return nil, parsing(v.off, "Expected one of [VALUE_BOOLEAN, VALUE_STRING, START_ARRAY, START_OBJECT] but found [%s]", v.token())
	}
	return f, err
}

func parseSort(v *node) ([]*sortKey, error) {
	items := v.items
	if v.kind != kindArray {
		items = []node{*v}
	}
	var out []*sortKey
	for i := range items {
		n := &items[i]
		switch n.kind {
		case kindString:
			out = append(out, &sortKey{field: n.str, missing: "_last", desc: n.str == "_score"})
		case kindObject:
			for j := range n.fields {
				k, err := parseSortKey(n.fields[j].key, &n.fields[j].val)
				if err != nil {
					return nil, err
				}
				out = append(out, k)
			}
		case kindNull, kindBool, kindNumber, kindArray:
			return nil, illegal("malformed sort format, within the sort array, an object, or an actual string are allowed")
		}
	}
	return out, nil
}

func parseSortKey(name string, v *node) (*sortKey, error) {
	k := &sortKey{field: name, missing: "_last", desc: name == "_score"}
	order := func(s string) error {
		switch strings.ToLower(s) {
		case "asc":
			k.desc = false
		case "desc":
			k.desc = true
		default:
			return illegal("No enum constant org.elasticsearch.search.sort.SortOrder.%s", strings.ToUpper(s))
		}
		return nil
	}
	if v.kind == kindString {
		return k, order(v.str)
	}
	if v.kind != kindObject {
		return nil, parsing(v.off, "[field_sort] expected an object or a string, found [%s]", v.token())
	}
	for i := range v.fields {
		key, x := v.fields[i].key, &v.fields[i].val
		switch key {
		case "order":
			if err := order(x.text()); err != nil {
				return nil, err
			}
		case "missing":
			if k.missing = x.text(); k.missing != "_last" && k.missing != "_first" {
				return nil, unsupported("sort missing [%s]", k.missing)
			}
		case "unmapped_type":
			if k.unmapped = x.text(); !numeric[k.unmapped] && !fieldTypes[k.unmapped] {
				return nil, illegal("No mapper found for type [%s]", k.unmapped)
			}
		case "mode":
			if k.mode = x.text(); k.mode != "min" && k.mode != "max" {
				return nil, unsupported("sort mode [%s]", k.mode)
			}
		default:
			return nil, fail(400, "x_content_parse_exception", "[1:%d] [field_sort] unknown field [%s]", v.fields[i].off+1, key)
		}
	}
	return k, nil
}

// bind finds the sort key's field in the indices.
func (k *sortKey) bind(cs []*compiler, p *plan) error {
	if k.field == "_score" || k.field == "_doc" || k.field == "_shard_doc" {
		k.typ = k.field
		return nil
	}
	k.slot = p.slot(k.field)
	for _, c := range cs {
		f, key := c.ix.mapping.leaf(k.field)
		switch {
		case f == nil && k.unmapped == "":
			return c.refuse(nil, "No mapping found for [%s] in order to sort on", k.field)
		case f == nil:
			continue
		case key != "" || f.typ == "flattened":
			return unsupported("sort on flattened field [%s]", k.field)
		case f.typ == "text":
			return shardError(c.ix.name, illegal("Fielddata is disabled on [%s] in [%s]. Text fields are not optimised for operations that require per-document field data like aggregations and sorting, so these operations are disabled by default. Please use a keyword field instead. Alternatively, set fielddata=true on [%s] in order to load field data by uninverting the inverted index. Note that this can use significant memory.", k.field, c.ix.name, k.field))
		case !f.docValues:
			return shardError(c.ix.name, illegal("Can't load fielddata on [%s] because fielddata is unsupported on fields of type [%s]. Use doc values instead.", k.field, f.typ))
		case k.leaf != nil && sortClass(k.leaf.typ) != sortClass(f.typ):
			return shardError(c.ix.name, illegal("Can't sort on field [%s]; the field has incompatible sort types: [%s] and [%s] across shards!", k.field, k.leaf.typ, f.typ))
		}
		k.leaf = f
		k.typ = f.typ
	}
	if k.leaf == nil {
		k.typ = k.unmapped
		k.leaf = newLeaf(k.field, k.unmapped)
	}
	return nil
}

// sortClass says how values compare: as int, float or text.
func sortClass(typ string) string {
	switch typ {
	case "keyword", "ip":
		return typ
	case "double", "float", "half_float", "scaled_float":
		return "float"
	}
	return "int"
}

// of is a document's value under the key: the least of several ascending, the greatest descending, unless mode says otherwise.
func (k *sortKey) of(d *document) sortValue {
	var out sortValue
	switch k.typ {
	case "_score":
		return sortValue{f: 1}
	case "_doc", "_shard_doc":
		return sortValue{i: d.pk}
	}
	vals := d.slots[k.slot]
	if len(vals) == 0 {
		// As in Elasticsearch, a missing number sorts, and shows, as the largest or smallest one.
		last := k.missing == "_last"
		high := last != k.desc
		switch sortClass(k.typ) {
		case "keyword", "ip":
			out.null = true
		case "float":
			out.f = math.Inf(1)
			if !high {
				out.f = math.Inf(-1)
			}
		default:
			out.i = math.MaxInt64
			if !high {
				out.i = math.MinInt64
			}
		}
		return out
	}
	greatest := k.desc
	if k.mode != "" {
		greatest = k.mode == "max"
	}
	for i := range vals {
		v := sortValue{i: vals[i].i, f: vals[i].f}
		switch {
		case vals[i].b != nil:
			v.s = string(vals[i].b)
		case sortClass(k.typ) == "float":
			v.f = vals[i].float()
		}
		if i == 0 || (k.natural(&v, &out) > 0) == greatest {
			out = v
		}
	}
	return out
}

func (k *sortKey) natural(x, y *sortValue) int {
	switch {
	case k.typ == "_score" || sortClass(k.typ) == "float":
		return cmp.Compare(x.f, y.f)
	case sortClass(k.typ) == "int":
		return cmp.Compare(x.i, y.i)
	}
	return strings.Compare(x.s, y.s)
}

func (k *sortKey) compare(x, y *sortValue) int {
	if x.null || y.null {
		if x.null == y.null {
			return 0
		}
		c := 1
		if y.null {
			c = -1
		}
		if k.missing == "_first" {
			c = -c
		}
		return c
	}
	c := k.natural(x, y)
	if k.desc {
		return -c
	}
	return c
}

func (k *sortKey) render(v *sortValue) any {
	switch {
	case v.null:
		return nil
	case k.typ == "_score":
		return v.f
	case k.typ == "ip":
		return ipString(v.s)
	case k.typ == "keyword":
		return v.s
	case sortClass(k.typ) == "float":
		if math.IsInf(v.f, 1) {
			return "Infinity"
		}
		if math.IsInf(v.f, -1) {
			return "-Infinity"
		}
		return v.f
	}
	return v.i
}

func (k *sortKey) parseAfter(n *node, now time.Time) (*sortValue, error) {
	bad := func() error { return illegal("Failed to parse search_after value for field [%s].", k.field) }
	if n.kind == kindNull {
		if k.typ == "keyword" || k.typ == "ip" {
			return &sortValue{null: true}, nil
		}
		return nil, bad()
	}
	s := n.text()
	switch {
	case n.kind == kindObject || n.kind == kindArray:
		return nil, bad()
	case k.typ == "keyword":
		return &sortValue{s: s}, nil
	case k.typ == "ip":
		e := encoder{}
		if err := e.leaf(&field{name: k.field, typ: "ip", index: true}, n); err != nil {
			return nil, bad()
		}
		return &sortValue{s: string(e.out[len(e.out)-16:])}, nil
	case k.typ == "_score" || sortClass(k.typ) == "float":
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, bad()
		}
		return &sortValue{f: f}, nil
	case k.typ == "date" && n.kind == kindString:
		ms, err := dateMath(s, k.leaf.format, time.UTC, now, false)
		if err != nil {
			return nil, bad()
		}
		return &sortValue{i: ms}, nil
	case k.typ == "boolean" && n.kind == kindBool:
		v := sortValue{}
		if n.truth {
			v.i = 1
		}
		return &v, nil
	}
	i, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return nil, bad()
	}
	return &sortValue{i: i}, nil
}

type hit struct {
	ix   *index
	pk   int64
	keys []sortValue
}

// ranking keeps the best hits: a heap with the worst on top.
type ranking struct {
	keys []*sortKey
	hits []hit
}

func (r *ranking) Len() int           { return len(r.hits) }
func (r *ranking) Less(i, j int) bool { return r.order(&r.hits[i], &r.hits[j]) > 0 }
func (r *ranking) Swap(i, j int)      { r.hits[i], r.hits[j] = r.hits[j], r.hits[i] }
func (r *ranking) Push(x any)         { r.hits = append(r.hits, x.(hit)) }
func (r *ranking) Pop() any {
	last := r.hits[len(r.hits)-1]
	r.hits = r.hits[:len(r.hits)-1]
	return last
}

func (r *ranking) order(x, y *hit) int {
	for i, k := range r.keys {
		if c := k.compare(&x.keys[i], &y.keys[i]); c != 0 {
			return c
		}
	}
	if c := strings.Compare(x.ix.name, y.ix.name); c != 0 {
		return c
	}
	return cmp.Compare(x.pk, y.pk)
}

// answer is what a search found.
type answer struct {
	total int
	hits  []hit
	aggs  map[string]any
}

// scan runs a search over the values of all documents of the indices, within one read transaction.
func scan(ctx context.Context, rows Reader, c *catalog, indices []*index, r *searchRequest, now time.Time) (*answer, error) {
	p := newPlan(c)
	cs := make([]*compiler, len(indices))
	matchers := make([]matcher, len(indices))
	for i, ix := range indices {
		cs[i] = &compiler{ctx: ctx, rows: rows, plan: p, ix: ix, now: now}
		if limit := ix.settings.int("max_result_window", 10000); r.from+r.size > limit {
			return nil, shardError(ix.name, illegal("Result window is too large, from + size must be less than or equal to: [%d] but was [%d]. See the scroll api for a more efficient way to request large data sets. This limit can be set by changing the [index.max_result_window] index level setting.", limit, r.from+r.size))
		}
		var err error
		if matchers[i], err = r.query.compile(cs[i]); err != nil {
			return nil, err
		}
	}
	for _, k := range r.sort {
		if err := k.bind(cs, p); err != nil {
			return nil, err
		}
	}
	if err := r.bindAfter(indices, now); err != nil {
		return nil, err
	}
	collectors := make([]collector, len(r.aggs))
	for i, a := range r.aggs {
		if err := a.bind(cs, p); err != nil {
			return nil, err
		}
		collectors[i] = a.collector()
	}
	out := &answer{}
	best := &ranking{keys: r.sort}
	d := &document{slots: make([][]value, len(p.slots))}
	_, everything := r.query.(matchAll)
	for i, ix := range indices {
		limit := -1
		// Counts of whole indices are known: only the hits themselves are read.
		quick := everything && !r.query.(matchAll).none && len(r.aggs) == 0 && len(r.sort) == 0
		if quick {
			out.total += int(ix.docs)
			limit = max(0, r.from+r.size-len(best.hits))
		}
		look := func(pk int64, values []byte) error {
			d.pk = pk
			for j := range d.slots {
				d.slots[j] = d.slots[j][:0]
			}
			if err := decodeValues(values, p.slotOf, d.slots); err != nil {
				return err
			}
			if !matchers[i](d) {
				return nil
			}
			if !quick {
				out.total++
			}
			for _, c := range collectors {
				c.collect(d)
			}
			best.offer(ix, d, r)
			return nil
		}
		if err := visit(ctx, rows, ix, r.query, limit, look); err != nil {
			return nil, fmt.Errorf("index %s: %w", ix.name, err)
		}
	}
	slices.SortFunc(best.hits, func(x, y hit) int { return best.order(&x, &y) })
	if r.from < len(best.hits) {
		out.hits = best.hits[r.from:]
	}
	if len(r.aggs) > 0 {
		out.aggs = map[string]any{}
		count := &counter{}
		for i, a := range r.aggs {
			res, err := collectors[i].result(count)
			if err != nil {
				return nil, err
			}
			out.aggs[a.name] = res
		}
	}
	return out, nil
}

// visit looks at the index's documents in order: at those alone that the query names by id, where it names some, else at all.
func visit(ctx context.Context, rows Reader, ix *index, q query, limit int, look func(pk int64, values []byte) error) error {
	ids, named := namedIDs(q)
	if !named || int64(len(ids)) > ix.docs {
		return rows.Scan(ctx, ix.num, limit, look)
	}
	pks := make([]int64, 0, len(ids))
	for _, id := range ids {
		row, err := rows.Find(ctx, ix.num, id)
		if err != nil {
			return fmt.Errorf("look up %s: %w", id, err)
		}
		if row != nil && row.Deleted == 0 {
			pks = append(pks, row.PK)
		}
	}
	slices.Sort(pks)
	for _, pk := range slices.Compact(pks) {
		values, err := rows.Values(ctx, pk)
		if err != nil {
			return fmt.Errorf("values of %d: %w", pk, err)
		}
		if err := look(pk, values); err != nil {
			return err
		}
	}
	return nil
}

// namedIDs returns ids beside which no document can match, where the query says so; ok is false where any document may match.
func namedIDs(q query) (ids []string, ok bool) {
	switch q := q.(type) {
	case *idsQuery:
		return q.ids, true
	case *termsQuery:
		if q.field != "_id" {
			return nil, false
		}
		for _, v := range q.vals {
			ids = append(ids, v.text())
		}
		return ids, true
	case *boolQuery:
		for _, list := range [][]query{q.filter, q.must} {
			for _, sub := range list {
				if found, named := namedIDs(sub); named && (!ok || len(found) < len(ids)) {
					ids, ok = found, true
				}
			}
		}
		if ok || len(q.filter)+len(q.must) > 0 || len(q.should) == 0 || q.minimum != nil {
			return ids, ok
		}
		// One of these has to match.
		for _, sub := range q.should {
			found, named := namedIDs(sub)
			if !named {
				return nil, false
			}
			ids = append(ids, found...)
		}
		return ids, true
	}
	return nil, false
}

func (r *searchRequest) bindAfter(indices []*index, now time.Time) error {
	if r.after == nil {
		return nil
	}
	if r.from > 0 {
		return illegal("`from` parameter must be set to 0 when `search_after` is used")
	}
	if len(indices) == 0 {
		return nil
	}
	ix := indices[0].name
	if len(r.sort) == 0 {
		return shardError(ix, illegal("Sort must contain at least one field."))
	}
	if len(r.after.items) != len(r.sort) {
		return shardError(ix, illegal("search_after has %d value(s) but sort has %d.", len(r.after.items), len(r.sort)))
	}
	for i, k := range r.sort {
		v, err := k.parseAfter(&r.after.items[i], now)
		if err != nil {
			return err
		}
		k.after = v
	}
	return nil
}

func (r *ranking) offer(ix *index, d *document, req *searchRequest) {
	limit := req.from + req.size
	if limit == 0 {
		return
	}
	if len(r.keys) == 0 {
		if len(r.hits) < limit {
			r.hits = append(r.hits, hit{ix: ix, pk: d.pk})
		}
		return
	}
	h := hit{ix: ix, pk: d.pk, keys: make([]sortValue, len(r.keys))}
	for i, k := range r.keys {
		h.keys[i] = k.of(d)
	}
	if req.after != nil {
		c := 0
		for i, k := range r.keys {
			if c = k.compare(&h.keys[i], k.after); c != 0 {
				break
			}
		}
		if c <= 0 {
			return
		}
	}
	if len(r.hits) < limit {
		heap.Push(r, h)
	} else if r.order(&h, &r.hits[0]) < 0 {
		r.hits[0] = h
		heap.Fix(r, 0)
	}
}

type hitAnswer struct {
	Index   string          `json:"_index"`
	ID      string          `json:"_id"`
	Version *int64          `json:"_version,omitempty"`
	Seq     *int64          `json:"_seq_no,omitempty"`
	Term    int             `json:"_primary_term,omitempty"`
	Score   *float64        `json:"_score"`
	Source  json.RawMessage `json:"_source,omitempty"`
	Sort    []any           `json:"sort,omitempty"`
}

// read makes the answer's hits of what was found.
func (r *searchRequest) read(ctx context.Context, rows Reader, found *answer) ([]hitAnswer, error) {
	one := 1.0
	hits := make([]hitAnswer, 0, len(found.hits))
	for i := range found.hits {
		h := &found.hits[i]
		a := hitAnswer{Index: h.ix.name, Score: &one}
		row, err := rows.Document(ctx, h.pk)
		if err != nil {
			return nil, fmt.Errorf("read a hit of %s: %w", h.ix.name, err)
		}
		a.ID = row.ID
		if a.Source, err = r.source.apply(row.Source); err != nil {
			return nil, fmt.Errorf("filter the source of %s/%s: %w", h.ix.name, a.ID, err)
		}
		if r.version {
			a.Version = &row.Version
		}
		if r.seq {
			a.Seq, a.Term = &row.Seq, 1
		}
		for j, k := range r.sort {
			a.Sort = append(a.Sort, k.render(&h.keys[j]))
		}
		if len(r.sort) > 0 {
			a.Score = nil
		}
		hits = append(hits, a)
	}
	return hits, nil
}

func (s *store) search(ctx context.Context, expr func(*catalog) ([]*index, error), r *searchRequest) (map[string]any, error) {
	began := s.now()
	var indices []*index
	var found *answer
	var hits []hitAnswer
	err := s.rows.Read(ctx, func(rows Reader) (err error) {
		c := s.catalog.Load()
		if indices, err = expr(c); err != nil {
			return err
		}
		if found, err = scan(ctx, rows, c, indices, r, began); err != nil {
			return err
		}
		hits, err = r.read(ctx, rows, found)
		return err
	})
	if err != nil {
		return nil, err
	}
	one := 1.0
	inner := map[string]any{"max_score": nil, "hits": hits}
	if len(hits) > 0 && len(r.sort) == 0 {
		inner["max_score"] = one
	}
	switch {
	case r.track == 0:
	case r.track > 0 && found.total > r.track:
		inner["total"] = map[string]any{"value": r.track, "relation": "gte"}
	default:
		inner["total"] = map[string]any{"value": found.total, "relation": "eq"}
	}
	out := map[string]any{
		"took": s.now().Sub(began).Milliseconds(), "timed_out": false, "hits": inner,
		"_shards": map[string]any{"total": len(indices), "successful": len(indices), "skipped": 0, "failed": 0},
	}
	if found.aggs != nil {
		out["aggregations"] = found.aggs
	}
	return out, nil
}
