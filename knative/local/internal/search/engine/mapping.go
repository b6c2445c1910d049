package engine

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const defaultFieldLimit = 1000

// field is one mapped field: a leaf, or an object with properties.
type field struct {
	name   string // full path
	typ    string
	params map[string]any // explicit parameters, for answers and storage
	props  map[string]*field
	multi  map[string]*field
	id     uint32 // number of a leaf's values in stored documents; set before the mapping is published

	index, docValues, enabled, coerce, ignoreMalformed bool

	ignoreAbove int
	dynamic     string // of an object; empty inherits
	format      *dateFormat
	null        *node
	scale       float64
}

func (f *field) isObject() bool { return f.typ == "object" || f.typ == "nested" }

// stored says whether values of the field are kept for queries.
func (f *field) stored() bool {
	if f.typ == "text" {
		return f.index
	}
	return f.index || f.docValues
}

// mapping is an index's fields. A published mapping never changes; changes are made on a clone.
type mapping struct {
	root                            *field
	dateDetection, numericDetection bool
	limit                           int
	leaves                          map[string]*field
	count                           int
}

func newMapping() *mapping {
	return &mapping{
		root:          &field{typ: "object", enabled: true, params: map[string]any{}, props: map[string]*field{}},
		dateDetection: true, limit: defaultFieldLimit, leaves: map[string]*field{},
	}
}

func (m *mapping) clone() *mapping {
	c := *m
	c.root = m.root.clone()
	c.leaves = map[string]*field{}
	c.count = 0
	c.collect(c.root)
	return &c
}

func (f *field) clone() *field {
	c := *f
	c.params = maps.Clone(f.params)
	if f.props != nil {
		c.props = make(map[string]*field, len(f.props))
		for k, p := range f.props {
			c.props[k] = p.clone()
		}
	}
	if f.multi != nil {
		c.multi = make(map[string]*field, len(f.multi))
		for k, p := range f.multi {
			c.multi[k] = p.clone()
		}
	}
	return &c
}

// collect rebuilds the list of leaves.
func (m *mapping) collect(f *field) {
	if f.isObject() {
		for _, p := range f.props {
			m.count++
			m.collect(p)
		}
		return
	}
	m.leaves[f.name] = f
	for _, p := range f.multi {
		m.count++
		m.leaves[p.name] = p
	}
}

func (m *mapping) refresh() {
	m.leaves = map[string]*field{}
	m.count = 0
	m.collect(m.root)
}

// leaf finds a field that holds values; for a key within a flattened field it returns that field and the key.
func (m *mapping) leaf(path string) (f *field, key string) {
	if f := m.leaves[path]; f != nil {
		return f, ""
	}
	for i := len(path) - 1; i > 0; i-- {
		if path[i] == '.' {
			if f := m.leaves[path[:i]]; f != nil && f.typ == "flattened" {
				return f, path[i+1:]
			}
		}
	}
	return nil, ""
}

// under lists the leaves of an object, or all that match a pattern.
func (m *mapping) under(path string) []*field {
	var out []*field
	for _, name := range slices.Sorted(maps.Keys(m.leaves)) {
		if strings.HasPrefix(name, path+".") || strings.Contains(path, "*") && globMatch(path, name) {
			out = append(out, m.leaves[name])
		}
	}
	return out
}

func (m *mapping) render() map[string]any {
	out := m.root.render()
	delete(out, "type")
	return out
}

func (f *field) render() map[string]any {
	out := maps.Clone(f.params)
	if out == nil {
		out = map[string]any{}
	}
	if !f.isObject() || f.typ == "nested" {
		out["type"] = f.typ
	}
	if len(f.props) > 0 {
		props := map[string]any{}
		for k, p := range f.props {
			props[k] = p.render()
		}
		out["properties"] = props
	} else if f.typ == "object" && f.name != "" {
		out["type"] = "object"
	}
	if len(f.multi) > 0 {
		fields := map[string]any{}
		for k, p := range f.multi {
			fields[k] = p.render()
		}
		out["fields"] = fields
	}
	return out
}

func mapperError(format string, args ...any) *apiError {
	cause := fail(http.StatusBadRequest, "mapper_parsing_exception", format, args...)
	return fail(http.StatusBadRequest, "mapper_parsing_exception", "Failed to parse mapping: %s", cause.reason).causedBy(cause)
}

var numeric = map[string]bool{"long": true, "integer": true, "short": true, "byte": true, "double": true, "float": true, "half_float": true, "scaled_float": true}

var fieldTypes = map[string]bool{"keyword": true, "text": true, "boolean": true, "date": true, "ip": true, "flattened": true, "object": true, "nested": true}

// unsupportedTypes exist in Elasticsearch; the message says so instead of calling them unknown.
var unsupportedTypes = map[string]bool{
	"alias": true, "binary": true, "completion": true, "constant_keyword": true, "date_nanos": true, "date_range": true, "dense_vector": true,
	"geo_point": true, "geo_shape": true, "integer_range": true, "ip_range": true, "join": true, "long_range": true, "match_only_text": true,
	"search_as_you_type": true, "token_count": true, "unsigned_long": true, "version": true, "wildcard": true, "semantic_text": true,
}

// merge applies a mapping definition as PUT _mapping, a template or an index creation does.
func (m *mapping) merge(def *node) error {
	if def.kind != kindObject {
		return mapperError("Expected map for mapping definition")
	}
	for i := range def.fields {
		key, v := def.fields[i].key, &def.fields[i].val
		switch key {
		case "properties":
			if err := m.mergeProps(m.root, v); err != nil {
				return err
			}
		case "dynamic":
			d, err := dynamicValue(v)
			if err != nil {
				return err
			}
			m.root.dynamic = d
			m.root.params["dynamic"] = d
		case "date_detection", "numeric_detection":
			b, err := boolOf(key, v)
			if err != nil {
				return err
			}
			if key == "date_detection" {
				m.dateDetection = b
			} else {
				m.numericDetection = b
			}
			m.root.params[key] = b
		case "_meta":
			m.root.params[key] = v.any()
		case "dynamic_templates":
			if v.kind == kindArray && len(v.items) == 0 {
				continue
			}
			return unsupported("mapping parameter [dynamic_templates]")
		case "_source", "_routing", "_data_stream_timestamp", "runtime", "subobjects", "dynamic_date_formats", "_size":
			return unsupported("mapping parameter [%s]", key)
		default:
			return mapperError("Root mapping definition has unsupported parameters:  [%s : %s]", key, v.preview())
		}
	}
	m.refresh()
	if m.count > m.limit {
		return illegal("Limit of total fields [%d] has been exceeded", m.limit)
	}
	return nil
}

func dynamicValue(v *node) (string, error) {
	switch d := v.text(); d {
	case "true", "false", "strict":
		return d, nil
	case "runtime":
		return "", unsupported("dynamic: runtime")
	default:
		return "", mapperError("No enum constant for dynamic: [%s]", d)
	}
}

func boolOf(name string, v *node) (bool, error) {
	switch v.text() {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, illegal("Failed to parse value [%s] as only [true] or [false] are allowed for [%s].", v.text(), name)
}

func (m *mapping) mergeProps(parent *field, def *node) error {
	if def.kind != kindObject {
		return mapperError("Expected map for property [properties] on field [%s] but got a %s", parent.name, def.token())
	}
	for i := range def.fields {
		key, v := def.fields[i].key, &def.fields[i].val
		// A dotted name is the same as nested objects.
		at := parent
		parts := strings.Split(key, ".")
		for _, part := range parts {
			if strings.TrimSpace(part) == "" {
				return mapperError("field name cannot be an empty string")
			}
		}
		for _, part := range parts[:len(parts)-1] {
			next := at.props[part]
			if next == nil {
				next = newObject(join(at.name, part))
				at.props[part] = next
			}
			if !next.isObject() {
				return illegal("can't merge a non object mapping [%s] with an object mapping", next.name)
			}
			at = next
		}
		last := parts[len(parts)-1]
		f, err := m.parseField(join(at.name, last), v, at.props[last])
		if err != nil {
			return err
		}
		at.props[last] = f
	}
	return nil
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

func newObject(name string) *field {
	return &field{name: name, typ: "object", enabled: true, params: map[string]any{}, props: map[string]*field{}}
}

func newLeaf(name, typ string) *field {
	return &field{
		name: name, typ: typ, params: map[string]any{}, index: true, docValues: typ != "text", enabled: true, coerce: true,
		ignoreAbove: math.MaxInt32, format: defaultDate,
	}
}

func (m *mapping) parseField(name string, def *node, old *field) (*field, error) {
	if def.kind != kindObject {
		return nil, mapperError("Expected map for property [fields] on field [%s] but got %s", name, def.token())
	}
	typ := ""
	if t := def.get("type"); t != nil {
		typ = t.text()
	} else if def.get("properties") != nil || def.get("dynamic") != nil || def.get("enabled") != nil {
		typ = "object"
		if old != nil && old.typ == "nested" {
			typ = "nested"
		}
	}
	switch {
	case typ == "" && old != nil && old.isObject():
		typ = old.typ
	case typ == "":
		return nil, mapperError("No type specified for field [%s]", leafName(name))
	case unsupportedTypes[typ]:
		return nil, unsupported("field type [%s] of [%s]", typ, name)
	case !numeric[typ] && !fieldTypes[typ]:
		return nil, mapperError("The mapper type [%s] declared on field [%s] does not exist. It might have been created within a future version or requires a plugin to be installed. Check the documentation.", typ, leafName(name))
	}
	if old != nil {
		if old.isObject() != (typ == "object" || typ == "nested") {
			return nil, illegal("can't merge a non object mapping [%s] with an object mapping", name)
		}
		if old.typ != typ {
			return nil, illegal("mapper [%s] cannot be changed from type [%s] to [%s]", name, old.typ, typ)
		}
	}
	if typ == "object" || typ == "nested" {
		return m.parseObject(name, typ, def, old)
	}
	f := newLeaf(name, typ)
	for i := range def.fields {
		key, v := def.fields[i].key, &def.fields[i].val
		if key == "type" {
			continue
		}
		if err := m.parseParam(f, key, v, old); err != nil {
			return nil, err
		}
		if key != "fields" {
			f.params[key] = v.any()
		}
	}
	if f.typ == "scaled_float" && f.scale == 0 {
		return nil, mapperError("Field [scaling_factor] is required")
	}
	if old != nil {
		f.id = old.id
		for k, sub := range old.multi {
			if f.multi == nil {
				f.multi = map[string]*field{}
			}
			if f.multi[k] == nil {
				f.multi[k] = sub
			}
		}
		if old.index != f.index || old.docValues != f.docValues {
			return nil, illegal("Mapper for [%s] conflicts with existing mapper:\n\tCannot update parameter [index]", name)
		}
		if old.format.spec != f.format.spec {
			return nil, illegal("Mapper for [%s] conflicts with existing mapper:\n\tCannot update parameter [format] from [%s] to [%s]", name, old.format.spec, f.format.spec)
		}
	}
	return f, nil
}

func leafName(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

func (m *mapping) parseObject(name, typ string, def *node, old *field) (*field, error) {
	f := newObject(name)
	f.typ = typ
	if old != nil {
		f = old
	}
	for i := range def.fields {
		key, v := def.fields[i].key, &def.fields[i].val
		switch key {
		case "type":
		case "properties":
			if err := m.mergeProps(f, v); err != nil {
				return nil, err
			}
		case "dynamic":
			d, err := dynamicValue(v)
			if err != nil {
				return nil, err
			}
			f.dynamic, f.params[key] = d, d
		case "enabled":
			b, err := boolOf(key, v)
			if err != nil {
				return nil, err
			}
			if old != nil && old.enabled != b {
				return nil, fail(http.StatusBadRequest, "mapper_exception", "the [enabled] parameter can't be updated for the object mapping [%s]", name)
			}
			f.enabled, f.params[key] = b, b
		default:
			if typ == "nested" && (key == "include_in_parent" || key == "include_in_root") || key == "subobjects" {
				return nil, unsupported("mapping parameter [%s] of [%s]", key, name)
			}
			return nil, mapperError("Mapping definition for [%s] has unsupported parameters:  [%s : %s]", leafName(name), key, v.preview())
		}
	}
	return f, nil
}

func (m *mapping) parseParam(f *field, key string, v *node, old *field) error {
	number := numeric[f.typ]
	unknown := func() error {
		return mapperError("unknown parameter [%s] on mapper [%s] of type [%s]", key, leafName(f.name), f.typ)
	}
	flag := func(to *bool) error {
		b, err := boolOf(key, v)
		if err == nil {
			*to = b
		}
		return err
	}
	var ignored bool
	switch key {
	case "index":
		return flag(&f.index)
	case "doc_values":
		if f.typ == "text" {
			return unknown()
		}
		return flag(&f.docValues)
	case "store":
		if err := flag(&ignored); err != nil {
			return err
		}
		if ignored {
			return unsupported("mapping parameter [store] of [%s]", f.name)
		}
		return nil
	case "meta":
		return nil
	case "ignore_above":
		if f.typ != "keyword" && f.typ != "flattened" {
			return unknown()
		}
		n, err := strconv.Atoi(v.text())
		if err != nil || n < 0 {
			return illegal("Failed to parse value [%s] for [ignore_above]", v.text())
		}
		f.ignoreAbove = n
		return nil
	case "null_value":
		if f.typ == "text" {
			return unknown()
		}
		f.null = v
		return nil
	case "ignore_malformed":
		if !number && f.typ != "date" && f.typ != "ip" && f.typ != "boolean" {
			return unknown()
		}
		return flag(&f.ignoreMalformed)
	case "coerce":
		if !number {
			return unknown()
		}
		return flag(&f.coerce)
	case "scaling_factor":
		if f.typ != "scaled_float" {
			return unknown()
		}
		s, err := strconv.ParseFloat(v.text(), 64)
		if err != nil || s <= 0 {
			return illegal("[scaling_factor] must be a positive number, got [%s]", v.text())
		}
		f.scale = s
		return nil
	case "format":
		if f.typ != "date" {
			return unknown()
		}
		format, err := parseFormat(v.text())
		if err != nil {
			return mapperError("%s", err)
		}
		f.format = format
		return nil
	case "analyzer", "search_analyzer":
		if f.typ != "text" {
			return unknown()
		}
		if v.text() != "standard" {
			return unsupported("[%s] other than standard on [%s]", key, f.name)
		}
		return nil
	case "norms", "eager_global_ordinals", "index_phrases":
		// They change speed and scores; scores are constant here.
		if f.typ != "text" && f.typ != "keyword" && f.typ != "flattened" {
			return unknown()
		}
		return flag(&ignored)
	case "index_options", "similarity":
		if f.typ != "text" && f.typ != "keyword" && f.typ != "flattened" {
			return unknown()
		}
		return nil
	case "depth_limit":
		if f.typ != "flattened" {
			return unknown()
		}
		return nil
	case "fields":
		return m.parseMulti(f, v, old)
	case "copy_to", "fielddata", "normalizer", "time_series_dimension", "time_series_metric", "script", "on_script_error",
		"split_queries_on_whitespace", "locale", "term_vector", "index_prefixes", "boost", "position_increment_gap":
		return unsupported("mapping parameter [%s] of [%s]", key, f.name)
	}
	return unknown()
}

func (m *mapping) parseMulti(f *field, v *node, old *field) error {
	if v.kind != kindObject {
		return mapperError("expected map for property [fields] on field [%s]", f.name)
	}
	f.multi = map[string]*field{}
	for i := range v.fields {
		name := v.fields[i].key
		var before *field
		if old != nil {
			before = old.multi[name]
		}
		sub, err := m.parseField(join(f.name, name), &v.fields[i].val, before)
		if err != nil {
			return err
		}
		if sub.isObject() || len(sub.multi) > 0 || sub.typ == "flattened" {
			return mapperError("Type [%s] cannot be used in multi field", sub.typ)
		}
		f.multi[name] = sub
	}
	return nil
}

// dynamicField is what Elasticsearch maps an unmapped value to.
func (m *mapping) dynamicField(name string, v *node) *field {
	switch v.kind {
	case kindBool:
		return newLeaf(name, "boolean")
	case kindNumber:
		if strings.ContainsAny(v.str, ".eE") {
			return newLeaf(name, "float")
		}
		return newLeaf(name, "long")
	case kindString:
		if m.dateDetection && strings.ContainsAny(v.str, "-:/") {
			if _, _, ok := parseISO(v.str, time.UTC); ok {
				return newLeaf(name, "date")
			}
			const slashes = "yyyy/MM/dd HH:mm:ss||yyyy/MM/dd||epoch_millis"
			if f, err := parseFormat(slashes); err == nil {
				if _, _, err := f.parse(v.str, time.UTC); err == nil {
					leaf := newLeaf(name, "date")
					leaf.format, leaf.params["format"] = f, slashes
					return leaf
				}
			}
		}
		if m.numericDetection {
			if _, err := strconv.ParseInt(v.str, 10, 64); err == nil {
				return newLeaf(name, "long")
			}
			if _, err := strconv.ParseFloat(v.str, 64); err == nil {
				return newLeaf(name, "float")
			}
		}
		f := newLeaf(name, "text")
		k := newLeaf(name+".keyword", "keyword")
		k.ignoreAbove = 256
		k.params["ignore_above"] = 256
		f.multi = map[string]*field{"keyword": k}
		return f
	case kindObject:
		return newObject(name)
	case kindNull, kindArray:
	}
	return nil
}

// preview renders a value as Java's Map.toString does in Elasticsearch's messages.
func (n *node) preview() string {
	switch n.kind {
	case kindObject:
		parts := make([]string, len(n.fields))
		for i := range n.fields {
			parts[i] = n.fields[i].key + "=" + n.fields[i].val.preview()
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case kindArray:
		parts := make([]string, len(n.items))
		for i := range n.items {
			parts[i] = n.items[i].preview()
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case kindNull:
		return "null"
	case kindBool, kindNumber, kindString:
	}
	return n.text()
}

// globMatch matches * only.
func globMatch(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			p = star + 1
			mark++
			i = mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

var errNeedsMapping = fmt.Errorf("the document needs new fields")
