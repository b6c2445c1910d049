package engine

import (
	"bytes"
	"cmp"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxBuckets is search.max_buckets.
const maxBuckets = 65536

// aggregation is a parsed aggregation; collectors of it are made once per bucket.
type aggregation struct {
	name, typ string
	off       int
	body      *node
	subs      []*aggregation
	meta      any

	// set by bind
	field   *field // the mapped field in any of the indices; nil where none has it
	slot    int
	filters map[int64]matcher // by index number
	terms   termsOptions
	hist    histogramOptions
	bound   bool
}

type termsOptions struct {
	size, minCount int
	order          []ordering
}

type ordering struct {
	path string
	desc bool
}

type histogramOptions struct {
	fixed    int64
	calendar byte
	loc      *time.Location
	offset   int64
	minCount int
	format   *dateFormat
	desc     bool
}

var metricTypes = map[string]bool{"avg": true, "sum": true, "min": true, "max": true, "stats": true, "value_count": true, "cardinality": true}

func parseAggs(n *node, depth int) ([]*aggregation, error) {
	if n.kind != kindObject {
		return nil, parsing(n.off, "Expected [START_OBJECT] under [aggs], but got a [%s]", n.token())
	}
	if depth > 10 {
		return nil, unsupported("aggregations nested more than 10 levels deep")
	}
	var out []*aggregation
	for i := range n.fields {
		a := &aggregation{name: n.fields[i].key}
		def := &n.fields[i].val
		if strings.ContainsAny(a.name, "[]>") {
			return nil, parsing(n.fields[i].off, "Invalid aggregation name [%s]. Aggregation names can contain any character except '[', ']', and '>'", a.name)
		}
		if def.kind != kindObject {
			return nil, parsing(def.off, "Aggregation definition for [%s starts with a [%s], expected a [START_OBJECT].", a.name, def.token())
		}
		for j := range def.fields {
			key, v := def.fields[j].key, &def.fields[j].val
			switch key {
			case "aggs", "aggregations":
				subs, err := parseAggs(v, depth+1)
				if err != nil {
					return nil, err
				}
				a.subs = subs
				continue
			case "meta":
				a.meta = v.any()
				continue
			}
			if a.typ != "" {
				return nil, parsing(def.fields[j].off, "Found two aggregation type definitions in [%s]: [%s] and [%s]", a.name, a.typ, key)
			}
			if !metricTypes[key] && key != "terms" && key != "date_histogram" && key != "filter" {
				return nil, parsing(v.off, "Unknown aggregation type [%s]", key).
					causedBy(fail(http.StatusBadRequest, "named_object_not_found_exception", "[1:%d] unknown field [%s]", v.off+1, key))
			}
			if v.kind != kindObject {
				return nil, parsing(v.off, "Expected [START_OBJECT] under [%s], but got a [%s] in [%s]", key, v.token(), a.name)
			}
			a.typ, a.body, a.off = key, v, v.off
		}
		if a.typ == "" {
			return nil, parsing(def.off, "Missing definition for aggregation [%s]", a.name)
		}
		if metricTypes[a.typ] && len(a.subs) > 0 {
			return nil, fail(http.StatusBadRequest, "aggregation_initialization_exception", "Aggregator [%s] of type [%s] cannot accept sub-aggregations", a.name, a.typ)
		}
		out = append(out, a)
	}
	return out, nil
}

func (a *aggregation) unknown(m *member) error {
	return fail(http.StatusBadRequest, "x_content_parse_exception", "[1:%d] [%s] unknown field [%s]", m.off+1, a.typ, m.key)
}

// shardError is an error of the kind that Elasticsearch finds on the shards.
func shardError(ix string, e *apiError) *apiError {
	e.shard = ix
	return e
}

// bind checks the aggregation against the mappings it will run over.
func (a *aggregation) bind(cs []*compiler, plan *plan) error {
	a.bound = true
	if a.typ == "filter" {
		q, err := parseQuery(a.body, 0)
		if err != nil {
			return err
		}
		a.filters = map[int64]matcher{}
		for _, c := range cs {
			if a.filters[c.ix.num], err = q.compile(c); err != nil {
				return err
			}
		}
	} else if err := a.bindField(cs, plan); err != nil {
		return err
	}
	for _, s := range a.subs {
		if err := s.bind(cs, plan); err != nil {
			return err
		}
	}
	return nil
}

func (a *aggregation) bindField(cs []*compiler, plan *plan) error {
	f := a.body.get("field")
	if f == nil || f.kind != kindString || f.str == "" {
		if a.body.get("script") != nil {
			return unsupported("script in aggregation [%s]", a.name)
		}
		return illegal("Required one of fields [field, script], but none were specified. ")
	}
	a.slot = plan.slot(f.str)
	for _, c := range cs {
		leaf, key := c.ix.mapping.leaf(f.str)
		switch {
		case f.str == "_index" || f.str == "_id":
			return unsupported("aggregation on [%s]", f.str)
		case leaf == nil:
			continue
		case key != "" || leaf.typ == "flattened":
			return unsupported("aggregation on flattened field [%s]", f.str)
		case leaf.typ == "text":
			return shardError(c.ix.name, illegal("Fielddata is disabled on [%s] in [%s]. Text fields are not optimised for operations that require per-document field data like aggregations and sorting, so these operations are disabled by default. Please use a keyword field instead. Alternatively, set fielddata=true on [%s] in order to load field data by uninverting the inverted index. Note that this can use significant memory.", f.str, c.ix.name, f.str))
		case !leaf.docValues:
			return shardError(c.ix.name, illegal("Can't load fielddata on [%s] because fielddata is unsupported on fields of type [%s]. Use doc values instead.", f.str, leaf.typ))
		case a.field != nil && class(a.field) != class(leaf):
			return shardError(c.ix.name, illegal("field [%s] is of type [%s] in one index and [%s] in another: not supported by the embedded search", f.str, a.field.typ, leaf.typ))
		}
		onlyCount := a.typ == "terms" || a.typ == "value_count" || a.typ == "cardinality"
		if (!onlyCount && (leaf.typ == "keyword" || leaf.typ == "ip")) || a.typ == "date_histogram" && leaf.typ != "date" {
			return shardError(c.ix.name, illegal("Field [%s] of type [%s] is not supported for aggregation [%s]", f.str, leaf.typ, a.typ))
		}
		a.field = leaf
	}
	switch a.typ {
	case "terms":
		return a.bindTerms()
	case "date_histogram":
		return a.bindHistogram()
	}
	for i := range a.body.fields {
		m := &a.body.fields[i]
		switch {
		case m.key == "field":
		case m.key == "precision_threshold" && a.typ == "cardinality":
		case m.key == "missing" || m.key == "script" || m.key == "format" || m.key == "value_type" || m.key == "execution_hint":
			return unsupported("[%s] in aggregation [%s]", m.key, a.typ)
		default:
			return a.unknown(m)
		}
	}
	return nil
}

// class groups types whose values compare with one another.
func class(f *field) string {
	switch {
	case numeric[f.typ]:
		return "number"
	default:
		return f.typ
	}
}

func (a *aggregation) bindTerms() error {
	a.terms = termsOptions{size: 10, minCount: 1}
	for i := range a.body.fields {
		m := &a.body.fields[i]
		switch m.key {
		case "field", "execution_hint", "collect_mode", "shard_size", "show_term_doc_count_error", "shard_min_doc_count":
		case "size", "min_doc_count":
			n, err := strconv.Atoi(m.val.text())
			if err != nil || n < 0 || n == 0 && m.key == "size" {
				return illegal("[%s] must be greater than 0. Found [%s] in [%s]", m.key, m.val.text(), a.name)
			}
			if m.key == "size" {
				a.terms.size = n
			} else if a.terms.minCount = n; n == 0 {
				return unsupported("min_doc_count 0 in aggregation [terms]")
			}
		case "order":
			items := m.val.items
			if m.val.kind != kindArray {
				items = []node{m.val}
			}
			for j := range items {
				o, err := a.parseOrder(&items[j])
				if err != nil {
					return err
				}
				a.terms.order = append(a.terms.order, o)
			}
		case "missing", "include", "exclude", "script", "value_type", "format":
			return unsupported("[%s] in aggregation [terms]", m.key)
		default:
			return a.unknown(m)
		}
	}
	if len(a.terms.order) == 0 {
		a.terms.order = []ordering{{"_count", true}}
	}
	return nil
}

func (a *aggregation) parseOrder(n *node) (ordering, error) {
	if n.kind != kindObject || len(n.fields) != 1 {
		return ordering{}, parsing(n.off, "Must specify at least one field for [order]")
	}
	o := ordering{path: n.fields[0].key}
	switch strings.ToLower(n.fields[0].val.text()) {
	case "desc":
		o.desc = true
	case "asc":
	default:
		return o, parsing(n.off, "Unknown order direction [%s]", n.fields[0].val.text())
	}
	if o.path == "_count" || o.path == "_key" {
		return o, nil
	}
	name, metric, dotted := strings.Cut(o.path, ".")
	for _, s := range a.subs {
		if s.name != name {
			continue
		}
		ok := metricTypes[s.typ] && (s.typ == "stats") == dotted && (!dotted || slices.Contains([]string{"count", "min", "max", "avg", "sum"}, metric))
		ok = ok || metricTypes[s.typ] && s.typ != "stats" && metric == "value" || s.typ == "filter" && (!dotted || metric == "_count")
		if ok {
			return o, nil
		}
	}
	return o, fail(http.StatusBadRequest, "aggregation_execution_exception", "Invalid aggregation order path [%s]. The provided aggregation [%s] either does not exist, or is a pipeline aggregation and cannot be used to sort the buckets.", o.path, name)
}

var calendarUnits = map[string]byte{
	"minute": 'm', "1m": 'm', "hour": 'h', "1h": 'h', "day": 'd', "1d": 'd', "week": 'w', "1w": 'w', "month": 'M', "1M": 'M',
	"quarter": 'q', "1q": 'q', "year": 'y', "1y": 'y', "second": 's', "1s": 's',
}

func (a *aggregation) bindHistogram() error {
	h := histogramOptions{loc: time.UTC, format: defaultDate}
	if a.field != nil {
		h.format = a.field.format
	}
	for i := range a.body.fields {
		m := &a.body.fields[i]
		s := m.val.text()
		var err error
		switch m.key {
		case "field":
		case "calendar_interval":
			if h.calendar = calendarUnits[s]; h.calendar == 0 {
				return illegal("The supplied interval [%s] could not be parsed as a calendar interval.", s)
			}
		case "fixed_interval":
			if h.fixed, err = duration(s); err != nil || h.fixed <= 0 {
				return illegal("failed to parse setting [date_histogram.fixedInterval] with value [%s] as a time value", s)
			}
		case "time_zone":
			z, ok := parseZone(s)
			if !ok {
				return illegal("Unknown time-zone ID: %s", s)
			}
			h.loc = z
		case "offset":
			sign := int64(1)
			trimmed := strings.TrimPrefix(s, "+")
			if rest, ok := strings.CutPrefix(s, "-"); ok {
				sign, trimmed = -1, rest
			}
			if h.offset, err = duration(trimmed); err != nil {
				return illegal("failed to parse setting [date_histogram.offset] with value [%s] as a time value", s)
			}
			h.offset *= sign
		case "min_doc_count":
			if h.minCount, err = strconv.Atoi(s); err != nil || h.minCount < 0 {
				return illegal("[min_doc_count] must be greater than or equal to 0. Found [%s] in [%s]", s, a.name)
			}
		case "format":
			if h.format, err = parseFormat(s); err != nil {
				return illegal("%s", err)
			}
		case "order":
			o, err := a.parseOrder(&m.val)
			if err != nil {
				return err
			}
			if o.path != "_key" {
				return unsupported("date_histogram ordered by [%s]", o.path)
			}
			h.desc = o.desc
		case "keyed", "missing", "extended_bounds", "hard_bounds", "script":
			if m.key == "keyed" && s == "false" {
				continue
			}
			return unsupported("[%s] in aggregation [date_histogram]", m.key)
		default:
			return a.unknown(m)
		}
	}
	if (h.calendar == 0) == (h.fixed == 0) {
		return illegal("Invalid interval specified, must be non-null and exactly one of calendar_interval and fixed_interval")
	}
	a.hist = h
	return nil
}

// duration reads 500ms, 30s, 5m, 12h, 7d into milliseconds.
func duration(s string) (int64, error) {
	units := []struct {
		suffix string
		ms     int64
	}{{"ms", 1}, {"s", 1000}, {"m", 60_000}, {"h", 3_600_000}, {"d", 86_400_000}}
	for _, u := range units {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			v, err := strconv.ParseInt(n, 10, 32)
			return v * u.ms, err
		}
	}
	return 0, illegal("failed to parse [%s] as a time value: unit is missing or unrecognized", s)
}

// collector gathers one aggregation in one bucket.
type collector interface {
	collect(d *document)
	result(c *counter) (map[string]any, error)
	// sortValue is what a terms aggregation may order by.
	sortValue(metric string) float64
}

// counter bounds the buckets of an answer.
type counter struct{ buckets int }

func (c *counter) add() error {
	if c.buckets++; c.buckets > maxBuckets {
		return fail(http.StatusBadRequest, "too_many_buckets_exception", "Trying to create too many buckets. Must be less than or equal to: [%d] but this number of buckets was exceeded.", maxBuckets).with("max_buckets", maxBuckets)
	}
	return nil
}

func (a *aggregation) collector() collector {
	switch a.typ {
	case "terms":
		return &termsCollector{agg: a, text: map[string]*bucket{}, num: map[uint64]*bucket{}}
	case "date_histogram":
		return &histogramCollector{agg: a, buckets: map[int64]*bucket{}}
	case "filter":
		return &filterCollector{agg: a, bucket: newBucket(a.subs)}
	case "cardinality":
		return &cardinalityCollector{agg: a, text: map[string]struct{}{}, num: map[uint64]struct{}{}}
	}
	return &metricCollector{agg: a, min: math.Inf(1), max: math.Inf(-1)}
}

type bucket struct {
	value value
	text  string
	count int
	subs  []collector
}

func newBucket(subs []*aggregation) *bucket {
	b := &bucket{}
	if len(subs) > 0 {
		b.subs = make([]collector, len(subs))
		for i, s := range subs {
			b.subs[i] = s.collector()
		}
	}
	return b
}

func (b *bucket) collect(d *document) {
	b.count++
	for _, s := range b.subs {
		s.collect(d)
	}
}

func (b *bucket) render(subs []*aggregation, c *counter) (map[string]any, error) {
	out := map[string]any{"doc_count": b.count}
	for i, s := range subs {
		r, err := b.subs[i].result(c)
		if err != nil {
			return nil, err
		}
		out[s.name] = r
	}
	return out, nil
}

func withMeta(a *aggregation, m map[string]any) map[string]any {
	if a.meta != nil {
		m["meta"] = a.meta
	}
	return m
}

type metricCollector struct {
	agg      *aggregation
	count    int64
	sum      float64
	lost     float64 // Kahan's compensation, as Elasticsearch sums
	min, max float64
}

func (m *metricCollector) collect(d *document) {
	vals := d.slots[m.agg.slot]
	m.count += int64(len(vals))
	if m.agg.typ == "value_count" {
		return
	}
	for i := range vals {
		x := vals[i].float()
		y := x - m.lost
		t := m.sum + y
		m.lost = (t - m.sum) - y
		m.sum = t
		m.min, m.max = min(m.min, x), max(m.max, x)
	}
}

func (m *metricCollector) sortValue(metric string) float64 {
	if metric == "" || metric == "value" {
		metric = m.agg.typ
	}
	switch metric {
	case "value_count", "count":
		return float64(m.count)
	case "sum":
		return m.sum
	case "min":
		return m.min
	case "max":
		return m.max
	}
	return m.sum / float64(m.count)
}

func (m *metricCollector) result(*counter) (map[string]any, error) {
	date := m.agg.field != nil && m.agg.field.typ == "date"
	out := map[string]any{}
	put := func(name, asString string, x float64, empty bool) {
		if empty {
			out[name] = nil
			return
		}
		out[name] = x
		if date {
			out[asString] = m.agg.field.format.print(int64(x), time.UTC)
		}
	}
	none := m.count == 0
	switch m.agg.typ {
	case "value_count":
		out["value"] = m.count
	case "sum":
		put("value", "value_as_string", m.sum, false)
	case "stats":
		out["count"] = m.count
		for _, s := range []string{"min", "max", "avg"} {
			put(s, s+"_as_string", m.sortValue(s), none)
		}
		put("sum", "sum_as_string", m.sum, false)
	default:
		put("value", "value_as_string", m.sortValue(""), none)
	}
	return withMeta(m.agg, out), nil
}

// cardinalityCollector counts exactly, where Elasticsearch estimates beyond 3,000 values.
type cardinalityCollector struct {
	agg  *aggregation
	text map[string]struct{}
	num  map[uint64]struct{}
}

func (k *cardinalityCollector) collect(d *document) {
	for _, v := range d.slots[k.agg.slot] {
		if v.b != nil {
			if _, ok := k.text[string(v.b)]; !ok {
				k.text[string(v.b)] = struct{}{}
			}
			continue
		}
		k.num[numericKey(&v)] = struct{}{}
	}
}

// numericKey makes 1 and 1.0 the same key.
func numericKey(v *value) uint64 {
	if v.kind == valueFloat {
		if i := int64(v.f); float64(i) == v.f {
			return uint64(i)
		}
		return math.Float64bits(v.f)
	}
	return uint64(v.i)
}

func (k *cardinalityCollector) sortValue(string) float64 { return float64(len(k.text) + len(k.num)) }

func (k *cardinalityCollector) result(*counter) (map[string]any, error) {
	return withMeta(k.agg, map[string]any{"value": len(k.text) + len(k.num)}), nil
}

type filterCollector struct {
	agg    *aggregation
	bucket *bucket
}

func (f *filterCollector) collect(d *document) {
	if m := f.agg.filters[d.pk>>pkShift]; m != nil && m(d) {
		f.bucket.collect(d)
	}
}

func (f *filterCollector) sortValue(string) float64 { return float64(f.bucket.count) }

func (f *filterCollector) result(c *counter) (map[string]any, error) {
	out, err := f.bucket.render(f.agg.subs, c)
	if err != nil {
		return nil, err
	}
	return withMeta(f.agg, out), nil
}

type termsCollector struct {
	agg  *aggregation
	text map[string]*bucket
	num  map[uint64]*bucket
}

func (t *termsCollector) collect(d *document) {
	vals := d.slots[t.agg.slot]
	for i := range vals {
		v := &vals[i]
		if i > 0 && repeats(vals[:i], v) {
			continue
		}
		var b *bucket
		if v.b != nil {
			if b = t.text[string(v.b)]; b == nil {
				b = newBucket(t.agg.subs)
				b.text = string(v.b)
				b.value.kind = v.kind
				t.text[b.text] = b
			}
		} else {
			k := numericKey(v)
			if b = t.num[k]; b == nil {
				b = newBucket(t.agg.subs)
				b.value = *v
				t.num[k] = b
			}
		}
		b.collect(d)
	}
}

func repeats(before []value, v *value) bool {
	for i := range before {
		o := &before[i]
		if v.b != nil && bytes.Equal(o.b, v.b) || v.b == nil && numericKey(o) == numericKey(v) {
			return true
		}
	}
	return false
}

func (t *termsCollector) sortValue(string) float64 { return 0 }

func (t *termsCollector) compare(x, y *bucket) int {
	key := func() int {
		if x.value.kind == valueInt || x.value.kind == valueFloat {
			return cmp.Compare(x.value.float(), y.value.float())
		}
		return strings.Compare(x.text, y.text)
	}
	for _, o := range t.agg.terms.order {
		c := 0
		switch o.path {
		case "_count":
			c = cmp.Compare(x.count, y.count)
		case "_key":
			c = key()
		default:
			name, metric, _ := strings.Cut(o.path, ".")
			for i, s := range t.agg.subs {
				if s.name == name {
					c = compareMetric(x.subs[i].sortValue(metric), y.subs[i].sortValue(metric), o.desc)
				}
			}
		}
		if o.desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return key()
}

// compareMetric puts buckets without a value last in either direction.
func compareMetric(x, y float64, desc bool) int {
	xn, yn := math.IsNaN(x) || math.IsInf(x, 0), math.IsNaN(y) || math.IsInf(y, 0)
	if xn != yn {
		c := 1
		if yn {
			c = -1
		}
		if desc {
			c = -c
		}
		return c
	}
	if xn {
		return 0
	}
	return cmp.Compare(x, y)
}

func (t *termsCollector) result(c *counter) (map[string]any, error) {
	all := make([]*bucket, 0, len(t.text)+len(t.num))
	for _, m := range []any{t.text, t.num} {
		switch m := m.(type) {
		case map[string]*bucket:
			all = slices.AppendSeq(all, maps.Values(m))
		case map[uint64]*bucket:
			all = slices.AppendSeq(all, maps.Values(m))
		}
	}
	slices.SortFunc(all, t.compare)
	buckets := []any{}
	other := 0
	for _, b := range all {
		if b.count < t.agg.terms.minCount {
			continue
		}
		if len(buckets) >= t.agg.terms.size {
			other += b.count
			continue
		}
		if err := c.add(); err != nil {
			return nil, err
		}
		out, err := b.render(t.agg.subs, c)
		if err != nil {
			return nil, err
		}
		t.key(b, out)
		buckets = append(buckets, out)
	}
	return withMeta(t.agg, map[string]any{"doc_count_error_upper_bound": 0, "sum_other_doc_count": other, "buckets": buckets}), nil
}

func (t *termsCollector) key(b *bucket, out map[string]any) {
	switch b.value.kind {
	case valueIP:
		a, _ := netip.AddrFromSlice([]byte(b.text))
		out["key"] = a.Unmap().String()
	case valueKeyword:
		out["key"] = b.text
	case valueFloat:
		out["key"] = b.value.f
	default:
		out["key"] = b.value.i
		switch t.agg.field.typ {
		case "boolean":
			out["key_as_string"] = strconv.FormatBool(b.value.i == 1)
		case "date":
			out["key_as_string"] = t.agg.field.format.print(b.value.i, time.UTC)
		}
	}
}

type histogramCollector struct {
	agg     *aggregation
	buckets map[int64]*bucket
}

func (h *histogramCollector) floor(ms int64) int64 {
	o := &h.agg.hist
	ms -= o.offset
	if o.calendar != 0 {
		t, _ := floorUnit(time.UnixMilli(ms).In(o.loc), o.calendar)
		return t.UnixMilli() + o.offset
	}
	_, seconds := time.UnixMilli(ms).In(o.loc).Zone()
	shift := int64(seconds) * 1000
	local := ms + shift
	rest := local % o.fixed
	if rest < 0 {
		rest += o.fixed
	}
	return local - rest - shift + o.offset
}

func (h *histogramCollector) next(ms int64) int64 {
	o := &h.agg.hist
	if o.calendar == 0 {
		return ms + o.fixed
	}
	t := time.UnixMilli(ms - o.offset).In(o.loc)
	if o.calendar == 'q' {
		return addMonths(t, 3).UnixMilli() + o.offset
	}
	t, _ = addUnit(t, o.calendar, 1)
	return t.UnixMilli() + o.offset
}

func (h *histogramCollector) collect(d *document) {
	vals := d.slots[h.agg.slot]
	for i := range vals {
		k := h.floor(vals[i].i)
		seen := false
		for j := range i {
			seen = seen || h.floor(vals[j].i) == k
		}
		if seen {
			continue
		}
		b := h.buckets[k]
		if b == nil {
			b = newBucket(h.agg.subs)
			h.buckets[k] = b
		}
		b.collect(d)
	}
}

func (h *histogramCollector) sortValue(string) float64 { return 0 }

func (h *histogramCollector) result(c *counter) (map[string]any, error) {
	keys := slices.Sorted(maps.Keys(h.buckets))
	out := []any{}
	add := func(k int64, b *bucket) error {
		if b.count < h.agg.hist.minCount {
			return nil
		}
		if err := c.add(); err != nil {
			return err
		}
		r, err := b.render(h.agg.subs, c)
		if err != nil {
			return err
		}
		r["key"] = k
		r["key_as_string"] = h.agg.hist.format.print(k, h.agg.hist.loc)
		out = append(out, r)
		return nil
	}
	for i, k := range keys {
		if i > 0 && h.agg.hist.minCount == 0 {
			for gap := h.next(keys[i-1]); gap < k; gap = h.next(gap) {
				if err := add(gap, newBucket(h.agg.subs)); err != nil {
					return nil, err
				}
			}
		}
		if err := add(k, h.buckets[k]); err != nil {
			return nil, err
		}
	}
	if h.agg.hist.desc {
		slices.Reverse(out)
	}
	return withMeta(h.agg, map[string]any{"buckets": out}), nil
}
