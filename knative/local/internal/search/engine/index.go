package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// settings are an index's settings, flat, without the prefix "index.".
type settings map[string]string

// knownSettings are accepted. Only mapping.total_fields.limit and max_result_window do anything here: there is one shard,
// and what is written is searchable at once.
var knownSettings = map[string]bool{
	"number_of_shards": true, "number_of_replicas": true, "refresh_interval": true, "codec": true, "auto_expand_replicas": true,
	"mapping.total_fields.limit": true, "max_result_window": true, "translog.durability": true, "translog.sync_interval": true,
	"translog.flush_threshold_size": true, "merge.scheduler.max_thread_count": true, "mapping.ignore_malformed": false,
	"routing.allocation.include._tier_preference": true,
}

func (s settings) merge(def *node) error {
	if def == nil {
		return nil
	}
	flat := map[string]string{}
	if err := flatten("", def, flat); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(flat)) {
		name := strings.TrimPrefix(key, "index.")
		known, exists := knownSettings[name]
		if !exists {
			return illegal("unknown setting [index.%s] please check that any required plugins are installed, or check the breaking changes documentation for removed settings", name)
		}
		if !known {
			return unsupported("setting [index.%s]", name)
		}
		switch name {
		case "number_of_shards", "number_of_replicas", "mapping.total_fields.limit", "max_result_window":
			n, err := strconv.Atoi(flat[key])
			if err != nil {
				return illegal("Failed to parse value [%s] for setting [index.%s]", flat[key], name)
			}
			least := 1
			if name == "number_of_replicas" || name == "mapping.total_fields.limit" {
				least = 0
			}
			if n < least {
				return illegal("Failed to parse value [%s] for setting [index.%s] must be >= %d", flat[key], name, least)
			}
		}
		s[name] = flat[key]
	}
	return nil
}

func flatten(prefix string, n *node, out map[string]string) error {
	if n.kind != kindObject {
		return illegal("malformed settings: expected an object at [%s]", prefix)
	}
	for i := range n.fields {
		key, v := join(prefix, n.fields[i].key), &n.fields[i].val
		switch v.kind {
		case kindObject:
			if err := flatten(key, v, out); err != nil {
				return err
			}
		case kindArray:
			return unsupported("a list as setting [%s]", key)
		case kindNull:
		case kindBool, kindNumber, kindString:
			out[key] = v.text()
		}
	}
	return nil
}

func (s settings) int(name string, otherwise int) int {
	if n, err := strconv.Atoi(s[name]); err == nil {
		return n
	}
	return otherwise
}

func (s settings) fieldLimit() int { return s.int("mapping.total_fields.limit", defaultFieldLimit) }

func (s settings) replicas() int { return s.int("number_of_replicas", 1) }

func (s settings) render() map[string]any {
	root := map[string]any{}
	for key, v := range s {
		at := root
		parts := strings.Split(key, ".")
		for _, p := range parts[:len(parts)-1] {
			next, ok := at[p].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[p] = next
			}
			at = next
		}
		at[parts[len(parts)-1]] = v
	}
	return root
}

func (ix *index) renderSettings() map[string]any {
	out := ix.settings.render()
	out["provided_name"] = ix.name
	out["creation_date"] = strconv.FormatInt(ix.created, 10)
	out["uuid"] = ix.uuid
	out["version"] = map[string]any{"created": "8537000"}
	if out["number_of_shards"] == nil {
		out["number_of_shards"] = "1"
	}
	if out["number_of_replicas"] == nil {
		out["number_of_replicas"] = "1"
	}
	return map[string]any{"index": out}
}

// parseTemplate checks a composable index template.
func parseTemplate(name, raw string) (*template, error) {
	body, err := parseJSON(raw)
	if err != nil {
		return nil, syntax(err)
	}
	if body.kind != kindObject {
		return nil, fail(http.StatusBadRequest, "x_content_parse_exception", "[1:1] [index_template] Expected START_OBJECT but was: %s", body.token())
	}
	t := &template{name: name, body: &body, raw: raw}
	for i := range body.fields {
		key, v := body.fields[i].key, &body.fields[i].val
		switch key {
		case "index_patterns":
			items := v.items
			if v.kind == kindString {
				items = []node{*v}
			}
			for j := range items {
				if items[j].kind != kindString {
					return nil, illegal("index_patterns must be strings")
				}
				t.patterns = append(t.patterns, items[j].str)
			}
		case "priority":
			if t.priority, err = strconv.ParseInt(v.text(), 10, 64); err != nil || t.priority < 0 {
				return nil, illegal("index template priority must be >= 0")
			}
		case "template":
			if v.kind != kindObject {
				return nil, fail(http.StatusBadRequest, "x_content_parse_exception", "[1:%d] [index_template] template doesn't support values of type: %s", v.off+1, v.token())
			}
			for j := range v.fields {
				switch k := v.fields[j].key; k {
				case "mappings", "settings":
				case "aliases":
					if len(v.fields[j].val.fields) > 0 {
						return nil, unsupported("aliases in a template")
					}
				case "lifecycle", "data_stream_options":
					return nil, unsupported("[%s] in a template", k)
				default:
					return nil, fail(http.StatusBadRequest, "x_content_parse_exception", "[1:%d] [template] unknown field [%s]", v.fields[j].off+1, k)
				}
			}
		case "version", "_meta", "allow_auto_create", "deprecated":
		case "composed_of", "ignore_missing_component_templates":
			if len(v.items) > 0 {
				return nil, unsupported("[%s] in a template", key)
			}
		case "data_stream":
			return nil, unsupported("[%s] in a template", key)
		default:
			return nil, fail(http.StatusBadRequest, "x_content_parse_exception", "[1:%d] [index_template] unknown field [%s]", body.fields[i].off+1, key)
		}
	}
	if len(t.patterns) == 0 {
		return nil, illegal("Required [index_patterns]")
	}
	m, set := t.parts()
	probe := newMapping()
	s := settings{}
	if err := s.merge(set); err != nil {
		return nil, err
	}
	probe.limit = s.fieldLimit()
	if m != nil {
		if err := probe.merge(m); err != nil {
			return nil, illegal("composable template [%s] template after composition is invalid", name).
				causedBy(illegal("invalid composite mappings for [%s]", name).causedBy(asAPI(err)))
		}
	}
	return t, nil
}

func (t *template) parts() (mappings, set *node) {
	body := t.body.get("template")
	if body == nil {
		return nil, nil
	}
	return body.get("mappings"), body.get("settings")
}

func (t *template) render() (map[string]any, error) {
	out, ok := t.body.any().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("template %s is no object", t.name)
	}
	out["index_patterns"] = t.patterns
	if out["composed_of"] == nil {
		out["composed_of"] = []any{}
	}
	if inner, ok := out["template"].(map[string]any); ok {
		if _, set := t.parts(); set != nil {
			s := settings{}
			if err := s.merge(set); err != nil {
				return nil, err
			}
			inner["settings"] = map[string]any{"index": s.render()}
		}
	}
	return out, nil
}

// template is the one of highest priority that matches.
func (c *catalog) template(index string) *template {
	var best *template
	for _, t := range c.templates {
		for _, p := range t.patterns {
			if globMatch(p, index) && (best == nil || t.priority > best.priority) {
				best = t
			}
		}
	}
	return best
}

// clash refuses a template whose patterns overlap another's of the same priority: which one applies would be chance.
func (c *catalog) clash(t *template) error {
	for _, name := range slices.Sorted(maps.Keys(c.templates)) {
		o := c.templates[name]
		if o.name == t.name || o.priority != t.priority {
			continue
		}
		for _, p := range t.patterns {
			for _, q := range o.patterns {
				if overlap(p, q) {
					return illegal("index template [%s] has index patterns [%s] matching patterns from existing templates [%s] with patterns (%s => [%s]) that have the same priority [%d], multiple index templates may not match during index creation, please use a different priority",
						t.name, strings.Join(t.patterns, ", "), o.name, o.name, strings.Join(o.patterns, ", "), t.priority)
				}
			}
		}
	}
	return nil
}

// overlap says whether some name can match both patterns.
func overlap(p, q string) bool {
	type at struct{ i, j int }
	seen := map[at]bool{}
	var walk func(i, j int) bool
	walk = func(i, j int) bool {
		k := at{i, j}
		if seen[k] {
			return false
		}
		seen[k] = true
		switch {
		case i == len(p) && j == len(q):
			return true
		case i < len(p) && p[i] == '*':
			return walk(i+1, j) || j < len(q) && walk(i, j+1)
		case j < len(q) && q[j] == '*':
			return walk(i, j+1) || i < len(p) && walk(i+1, j)
		}
		return i < len(p) && j < len(q) && p[i] == q[j] && walk(i+1, j+1)
	}
	return walk(0, 0)
}

// resolve expands an index expression: names, wildcards, -exclusions, _all, commas.
func (c *catalog) resolve(expr string, ignoreUnavailable, allowNone bool) ([]*index, error) {
	names := slices.Sorted(maps.Keys(c.indices))
	if expr == "" || expr == "_all" {
		expr = "*"
	}
	chosen := map[string]bool{}
	wild := false
	for part := range strings.SplitSeq(expr, ",") {
		switch {
		case part == "":
		case part == "_all":
			part = "*"
			fallthrough
		case strings.Contains(part, "*"):
			exclude := wild && strings.HasPrefix(part, "-")
			pattern := part
			if exclude {
				pattern = part[1:]
			}
			wild = true
			matched := false
			for _, n := range names {
				if globMatch(pattern, n) && (!strings.HasPrefix(n, ".") || strings.HasPrefix(pattern, ".")) {
					chosen[n] = !exclude
					matched = true
				}
			}
			if !matched && !exclude && !allowNone {
				return nil, indexNotFound(part)
			}
		case wild && strings.HasPrefix(part, "-"):
			chosen[part[1:]] = false
		case c.indices[part] == nil:
			if strings.HasPrefix(part, "_") {
				return nil, fail(http.StatusBadRequest, "invalid_index_name_exception", "Invalid index name [%s], must not start with '_'.", part).with("index_uuid", "_na_", "index", part)
			}
			if !ignoreUnavailable {
				return nil, indexNotFound(part)
			}
		default:
			chosen[part] = true
		}
	}
	var out []*index
	for _, n := range names {
		if chosen[n] {
			out = append(out, c.indices[n])
		}
	}
	return out, nil
}

// sourceFilter is _source: which parts of a document to return.
type sourceFilter struct {
	none               bool
	includes, excludes []string
}

func (f *sourceFilter) all() bool {
	return f == nil || !f.none && len(f.includes) == 0 && len(f.excludes) == 0
}

// apply cuts a source down; nil means leave _source out of the answer.
func (f *sourceFilter) apply(source []byte) (json.RawMessage, error) {
	if f.all() {
		return source, nil
	}
	if f.none {
		return nil, nil
	}
	n, err := parseJSON(string(source))
	if err != nil {
		return nil, err
	}
	kept, _ := f.walk(&n, "", len(f.includes) == 0)
	out, err := json.Marshal(kept)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (f *sourceFilter) walk(n *node, path string, in bool) (any, bool) {
	switch n.kind {
	case kindObject:
		out := map[string]any{}
		for i := range n.fields {
			p := join(path, n.fields[i].key)
			if matchPath(f.excludes, p) {
				continue
			}
			v := &n.fields[i].val
			included := in || matchPath(f.includes, p)
			container := v.kind == kindObject || v.kind == kindArray
			if !included && !container {
				continue
			}
			if kept, some := f.walk(v, p, included); some || included {
				out[n.fields[i].key] = kept
			}
		}
		return out, len(out) > 0
	case kindArray:
		out := []any{}
		for i := range n.items {
			if kept, some := f.walk(&n.items[i], path, in); some || in {
				out = append(out, kept)
			}
		}
		return out, len(out) > 0
	case kindNull, kindBool, kindNumber, kindString:
	}
	return n.any(), in
}

func matchPath(patterns []string, path string) bool {
	for _, p := range patterns {
		if globMatch(p, path) {
			return true
		}
	}
	return false
}
