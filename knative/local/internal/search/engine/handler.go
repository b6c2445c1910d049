package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

type object = map[string]any

func (s *Server) info(*request) (any, error) {
	return object{
		"name": nodeID, "cluster_name": clusterName, "cluster_uuid": nodeID, "tagline": "You Know, for Search",
		"version": object{
			"number": version, "build_flavor": "default", "build_type": "embedded-subset", "build_hash": "none", "build_date": "2026-11-21T00:00:00Z",
			"build_snapshot": false, "lucene_version": "none", "minimum_wire_compatibility_version": "7.17.0", "minimum_index_compatibility_version": "7.0.0",
		},
	}, nil
}

// indices resolves the request's index expression.
func (r *request) indices(c *catalog) ([]*index, error) {
	ignore, err := r.flag("ignore_unavailable", false)
	if err != nil {
		return nil, err
	}
	allowNone, err := r.flag("allow_no_indices", true)
	if err != nil {
		return nil, err
	}
	for e := range strings.SplitSeq(r.query.Get("expand_wildcards"), ",") {
		if !slices.Contains([]string{"", "open", "all", "hidden", "closed"}, e) {
			return nil, unsupported("expand_wildcards [%s]", e)
		}
	}
	return c.resolve(r.segment("index"), ignore, allowNone)
}

// withQuery lays the parameters of a search over its body.
func (r *request) withQuery(body *node) error {
	q := r.query
	if q.Has("q") {
		def := object{"query": q.Get("q")}
		for param, name := range map[string]string{"df": "default_field", "default_operator": "default_operator", "lenient": "lenient", "analyze_wildcard": "analyze_wildcard"} {
			if q.Has(param) {
				def[name] = q.Get(param)
			}
		}
		n, err := nodeOf(object{"query_string": def})
		if err != nil {
			return err
		}
		body.set("query", n)
	} else if q.Has("df") || q.Has("default_operator") {
		return illegal("[df] and [default_operator] need [q]")
	}
	return nil
}

func nodeOf(v any) (node, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return node{}, err
	}
	return parseJSON(string(b))
}

func (n *node) set(key string, v node) {
	if old := n.get(key); old != nil {
		*old = v
		return
	}
	n.fields = append(n.fields, member{key: key, val: v})
}

func (r *request) searchBody() (*node, error) {
	body, err := r.json()
	if err != nil {
		return nil, err
	}
	if body == nil {
		body = &node{kind: kindObject}
	}
	if body.kind != kindObject {
		return nil, parsing(body.off, "Expected [START_OBJECT] but found [%s]", body.token())
	}
	return body, r.withQuery(body)
}

func (s *Server) search(r *request) (any, error) {
	body, err := r.searchBody()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"from", "size", "track_total_hits", "version", "seq_no_primary_term"} {
		if r.query.Has(name) {
			v := r.query.Get(name)
			if v == "" {
				v = "true"
			}
			body.set(name, node{kind: kindString, str: v})
		}
	}
	if list := r.query.Get("sort"); list != "" {
		keys := node{kind: kindArray}
		for k := range strings.SplitSeq(list, ",") {
			name, order, ok := strings.Cut(k, ":")
			if !ok {
				order = "asc"
				if name == "_score" {
					order = "desc"
				}
			}
			n, err := nodeOf(object{name: order})
			if err != nil {
				return nil, err
			}
			keys.items = append(keys.items, n)
		}
		body.set("sort", keys)
	}
	req, err := parseSearch(body)
	if err != nil {
		return nil, err
	}
	if f := r.sourceParams(); f != nil {
		req.source = f
	}
	asInt, err := r.flag("rest_total_hits_as_int", false)
	if err != nil {
		return nil, err
	}
	if asInt {
		req.track = -1
	}
	out, err := s.store.search(r.ctx(), r.indices, req)
	if err != nil {
		return nil, err
	}
	if hits, ok := out["hits"].(object); ok && asInt {
		if total, ok := hits["total"].(object); ok {
			hits["total"] = total["value"]
		}
	}
	return out, nil
}

// sourceParams reads _source, _source_includes and _source_excludes; nil where none is given.
func (r *request) sourceParams() *sourceFilter {
	var f *sourceFilter
	if r.query.Has("_source") {
		f = &sourceFilter{}
		switch v := r.query.Get("_source"); v {
		case "true", "":
		case "false":
			f.none = true
		default:
			f.includes = strings.Split(v, ",")
		}
	}
	for name, to := range map[string]func(*sourceFilter) *[]string{
		"_source_includes": func(f *sourceFilter) *[]string { return &f.includes },
		"_source_excludes": func(f *sourceFilter) *[]string { return &f.excludes },
	} {
		if v := r.query.Get(name); v != "" {
			if f == nil {
				f = &sourceFilter{}
			}
			*to(f) = strings.Split(v, ",")
		}
	}
	return f
}

func (s *Server) count(r *request) (any, error) {
	body, err := r.searchBody()
	if err != nil {
		return nil, err
	}
	for i := range body.fields {
		if body.fields[i].key != "query" {
			return nil, parsing(body.fields[i].off, "request does not support [%s]", body.fields[i].key)
		}
	}
	req, err := parseSearch(body)
	if err != nil {
		return nil, err
	}
	req.size, req.track = 0, -1
	out, err := s.store.search(r.ctx(), r.indices, req)
	if err != nil {
		return nil, err
	}
	hits, _ := out["hits"].(object)
	total, _ := hits["total"].(object)
	return object{"count": total["value"], "_shards": out["_shards"]}, nil
}

func (s *Server) refresh(r *request) (any, error) {
	indices, err := r.indices(s.store.catalog.Load())
	if err != nil {
		return nil, err
	}
	n := 0
	for _, ix := range indices {
		n += 1 + ix.settings.replicas()
	}
	return object{"_shards": shardCount{Total: n, Successful: len(indices)}}, nil
}

type docAnswer struct {
	Index   string          `json:"_index"`
	ID      string          `json:"_id"`
	Version *int64          `json:"_version,omitempty"`
	Seq     *int64          `json:"_seq_no,omitempty"`
	Term    int             `json:"_primary_term,omitempty"`
	Found   bool            `json:"found"`
	Source  json.RawMessage `json:"_source,omitempty"`
}

// read reads one document; one that is not there is an answer, too.
func (s *Server) read(r *request, name, id string, f *sourceFilter) (a *docAnswer, err error) {
	err = s.store.rows.Read(r.ctx(), func(rows Reader) error {
		a, err = s.readOne(r, rows, name, id, f)
		return err
	})
	return a, err
}

func (s *Server) readOne(r *request, rows Reader, name, id string, f *sourceFilter) (*docAnswer, error) {
	ix := s.store.catalog.Load().indices[name]
	if ix == nil {
		if strings.ContainsAny(name, "*,") || name == "_all" {
			return nil, illegal("unable to return a single index as the index and options provided got resolved to multiple indices: [%s]", name)
		}
		return nil, indexNotFound(name)
	}
	a := &docAnswer{Index: name, ID: id}
	d, err := rows.Find(r.ctx(), ix.num, id)
	if err != nil {
		return nil, fmt.Errorf("read %s/%s: %w", ix.name, id, err)
	}
	if d == nil || d.Deleted != 0 {
		return a, nil
	}
	a.Version, a.Seq, a.Term, a.Found = &d.Version, &d.Seq, 1, true
	a.Source, err = f.apply(d.Source)
	return a, err
}

func (s *Server) getDoc(r *request) (any, error) {
	if r.query.Has("version") || r.query.Has("version_type") {
		return nil, unsupported("[version] of a get")
	}
	a, err := s.read(r, r.segment("index"), r.segment("id"), r.sourceParams())
	if err != nil {
		return nil, err
	}
	if !a.Found {
		r.status = http.StatusNotFound
	}
	return a, nil
}

func (s *Server) getSource(r *request) (any, error) {
	a, err := s.read(r, r.segment("index"), r.segment("id"), r.sourceParams())
	if err != nil {
		return nil, err
	}
	if !a.Found {
		return nil, fail(http.StatusNotFound, "resource_not_found_exception", "Document not found [%s]/[%s]", a.Index, a.ID)
	}
	return raw(a.Source), nil
}

func (s *Server) mget(r *request) (any, error) {
	body, err := r.json()
	if err != nil {
		return nil, err
	}
	if body == nil || body.kind != kindObject {
		return nil, fail(http.StatusBadRequest, "parse_exception", "request body is required")
	}
	outer := r.sourceParams()
	type item struct {
		index, id string
		source    *sourceFilter
	}
	var items []item
	for i := range body.fields {
		key, v := body.fields[i].key, &body.fields[i].val
		if v.kind != kindArray || key != "ids" && key != "docs" {
			return nil, parsing(v.off, "unexpected token [%s], expected [docs] or [ids]", v.token())
		}
		for j := range v.items {
			it := item{index: r.segment("index"), source: outer}
			if key == "ids" {
				it.id = v.items[j].text()
				items = append(items, it)
				continue
			}
			for k := range v.items[j].fields {
				m := &v.items[j].fields[k]
				switch m.key {
				case "_index":
					it.index = m.val.text()
				case "_id":
					it.id = m.val.text()
				case "_source":
					if it.source, err = parseSource(&m.val); err != nil {
						return nil, err
					}
				default:
					return nil, parsing(m.off, "unknown parameter [%s] in request body or parameter is of the wrong type[%s] ", m.key, m.val.token())
				}
			}
			items = append(items, it)
		}
	}
	var invalid []string
	if len(items) == 0 {
		invalid = append(invalid, "no documents to get")
	}
	for i, it := range items {
		if it.index == "" {
			invalid = append(invalid, fmt.Sprintf("index is missing for doc %d", i))
		}
		if it.id == "" {
			invalid = append(invalid, fmt.Sprintf("id is missing for doc %d", i))
		}
	}
	if err := invalidRequest(invalid); err != nil {
		return nil, err
	}
	docs := make([]any, len(items))
	err = s.store.rows.Read(r.ctx(), func(rows Reader) error {
		for i, it := range items {
			a, err := s.readOne(r, rows, it.index, it.id, it.source)
			if err == nil {
				docs[i] = a
				continue
			}
			e := asAPI(err)
			if e.status >= http.StatusInternalServerError {
				return err
			}
			docs[i] = object{"_index": it.index, "_id": it.id, "error": e.body()["error"]}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return object{"docs": docs}, nil
}

// writeOp makes an operation from a request's path and parameters.
func (r *request) writeOp(action string) (*op, error) {
	o := newOp(action, r.segment("index"), r.segment("id"))
	switch r.query.Get("op_type") {
	case "", "index":
	case "create":
		o.action = "create"
	default:
		return nil, illegal("opType must be 'create' or 'index', found: [%s]", r.query.Get("op_type"))
	}
	for _, key := range []string{"version", "version_type", "if_seq_no", "if_primary_term", "require_alias"} {
		if r.query.Has(key) {
			if err := o.set(key, r.query.Get(key), 1); err != nil {
				return nil, err
			}
		}
	}
	if o.id == "" && !r.query.Has("op_type") {
		o.action = "create"
	}
	if err := r.refreshParam(); err != nil {
		return nil, err
	}
	return o, invalidRequest(validate(o))
}

func (s *Server) write(r *request, o *op) (any, error) {
	out, err := s.store.bulk(r.ctx(), []*op{o})
	if err != nil {
		return nil, err
	}
	if out[0].err != nil {
		return nil, out[0].err
	}
	r.status = out[0].status
	return out[0].render(s.replicas(), r.forcesRefresh(), false), nil
}

func (s *Server) putDoc(r *request) (any, error) {
	o, err := r.writeOp("index")
	if err != nil {
		return nil, err
	}
	if r.body == "" {
		return nil, fail(http.StatusBadRequest, "parse_exception", "request body is required")
	}
	o.source = r.body
	return s.write(r, o)
}

func (s *Server) createDoc(r *request) (any, error) {
	o, err := r.writeOp("create")
	if err != nil {
		return nil, err
	}
	if r.body == "" {
		return nil, fail(http.StatusBadRequest, "parse_exception", "request body is required")
	}
	o.source = r.body
	return s.write(r, o)
}

func (s *Server) deleteDoc(r *request) (any, error) {
	o, err := r.writeOp("delete")
	if err != nil {
		return nil, err
	}
	return s.write(r, o)
}

func (s *Server) createIndex(r *request) (any, error) {
	body, err := r.json()
	if err != nil {
		return nil, err
	}
	var mappings, set *node
	if body != nil {
		for i := range body.fields {
			switch key := body.fields[i].key; key {
			case "mappings":
				mappings = &body.fields[i].val
			case "settings":
				set = &body.fields[i].val
			case "aliases":
				if len(body.fields[i].val.fields) > 0 {
					return nil, unsupported("aliases")
				}
			default:
				return nil, fail(http.StatusBadRequest, "parse_exception", "unknown key [%s] for create index", key)
			}
		}
	}
	name := r.segment("index")
	err = s.store.update(r.ctx(), func(b *batch) error {
		_, err := b.create(name, mappings, set)
		return err
	})
	if err != nil {
		return nil, err
	}
	return object{"acknowledged": true, "shards_acknowledged": true, "index": name}, nil
}

func (s *Server) getIndex(r *request) (any, error) {
	indices, err := r.indices(s.store.catalog.Load())
	if err != nil {
		return nil, err
	}
	out := object{}
	for _, ix := range indices {
		out[ix.name] = object{"aliases": object{}, "mappings": ix.mapping.render(), "settings": ix.renderSettings()}
	}
	return out, nil
}

func (s *Server) getSettings(r *request) (any, error) {
	if r.query.Has("flat_settings") {
		return nil, unsupported("[flat_settings]")
	}
	indices, err := r.indices(s.store.catalog.Load())
	if err != nil {
		return nil, err
	}
	out := object{}
	for _, ix := range indices {
		out[ix.name] = object{"settings": ix.renderSettings()}
	}
	return out, nil
}

func (s *Server) deleteIndex(r *request) (any, error) {
	expr := r.segment("index")
	if expr == "_all" || strings.Contains(expr, "*") {
		return nil, illegal("Wildcard expressions or all indices are not allowed")
	}
	err := s.store.update(r.ctx(), func(b *batch) error {
		indices, err := r.indices(b.next)
		if err != nil {
			return err
		}
		for _, ix := range indices {
			if err := b.drop(ix.name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return object{"acknowledged": true}, nil
}

func (s *Server) getMapping(r *request) (any, error) {
	indices, err := r.indices(s.store.catalog.Load())
	if err != nil {
		return nil, err
	}
	out := object{}
	for _, ix := range indices {
		out[ix.name] = object{"mappings": ix.mapping.render()}
	}
	return out, nil
}

func (s *Server) putMapping(r *request) (any, error) {
	body, err := r.json()
	if err != nil {
		return nil, err
	}
	if body == nil {
		return nil, fail(http.StatusBadRequest, "parse_exception", "request body is required")
	}
	if !r.query.Has("allow_no_indices") {
		r.query.Set("allow_no_indices", "false") // whoever maps fields is to know that nothing has them
	}
	err = s.store.update(r.ctx(), func(b *batch) error {
		indices, err := r.indices(b.next)
		if err != nil {
			return err
		}
		for _, ix := range indices {
			if err := b.putMapping(ix.name, body); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return object{"acknowledged": true}, nil
}

func (s *Server) putTemplate(r *request) (any, error) {
	if strings.TrimSpace(r.body) == "" {
		return nil, fail(http.StatusBadRequest, "parse_exception", "request body is required")
	}
	t, err := parseTemplate(r.segment("name"), r.body)
	if err != nil {
		return nil, err
	}
	create, err := r.flag("create", false)
	if err != nil {
		return nil, err
	}
	err = s.store.update(r.ctx(), func(b *batch) error {
		if create && b.next.templates[t.name] != nil {
			return illegal("index template [%s] already exists", t.name)
		}
		if err := b.next.clash(t); err != nil {
			return err
		}
		return b.putTemplate(t)
	})
	if err != nil {
		return nil, err
	}
	return object{"acknowledged": true}, nil
}

func (s *Server) getTemplate(r *request) (any, error) {
	pattern := r.segment("name")
	if pattern == "" {
		pattern = "*"
	}
	c := s.store.catalog.Load()
	list := []any{}
	for _, name := range slices.Sorted(maps.Keys(c.templates)) {
		if globMatch(pattern, name) {
			body, err := c.templates[name].render()
			if err != nil {
				return nil, err
			}
			list = append(list, object{"name": name, "index_template": body})
		}
	}
	if len(list) == 0 && !strings.Contains(pattern, "*") {
		return nil, fail(http.StatusNotFound, "resource_not_found_exception", "index template matching [%s] not found", pattern)
	}
	return object{"index_templates": list}, nil
}

func (s *Server) deleteTemplate(r *request) (any, error) {
	pattern := r.segment("name")
	err := s.store.update(r.ctx(), func(b *batch) error {
		found := false
		for _, name := range slices.Sorted(maps.Keys(b.next.templates)) {
			if globMatch(pattern, name) {
				found = true
				if err := b.dropTemplate(name); err != nil {
					return err
				}
			}
		}
		if !found && !strings.Contains(pattern, "*") {
			return fail(http.StatusNotFound, "index_template_missing_exception", "index_template [%s] missing", pattern)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return object{"acknowledged": true}, nil
}

var catColumns = []string{"health", "status", "index", "uuid", "pri", "rep", "docs.count", "docs.deleted", "store.size", "pri.store.size", "dataset.size"}

func (s *Server) catIndices(r *request) (any, error) {
	indices, err := r.indices(s.store.catalog.Load())
	if err != nil {
		return nil, err
	}
	columns := catColumns
	if h := r.query.Get("h"); h != "" {
		columns = strings.Split(h, ",")
		for _, c := range columns {
			if !slices.Contains(catColumns, c) {
				return nil, unsupported("_cat/indices column [%s]", c)
			}
		}
	}
	if by := r.query.Get("s"); by != "" && by != "index" && by != "index:asc" {
		return nil, unsupported("_cat/indices sorted by [%s]", by)
	}
	if b := r.query.Get("bytes"); b != "" && b != "b" {
		return nil, unsupported("_cat/indices bytes [%s]", b)
	}
	rows := make([]map[string]string, len(indices))
	for i, ix := range indices {
		size, err := s.store.size(r.ctx(), ix)
		if err != nil {
			return nil, err
		}
		shown := strconv.FormatInt(size, 10)
		if r.query.Get("bytes") == "" {
			shown = humanBytes(size)
		}
		rows[i] = map[string]string{
			"health": "green", "status": "open", "index": ix.name, "uuid": ix.uuid, "pri": strconv.Itoa(ix.settings.int("number_of_shards", 1)),
			"rep": strconv.Itoa(ix.settings.replicas()), "docs.count": strconv.FormatInt(ix.docs, 10), "docs.deleted": "0",
			"store.size": shown, "pri.store.size": shown, "dataset.size": shown,
		}
	}
	switch f := r.query.Get("format"); f {
	case "json":
		list := make([]object, len(rows))
		for i, row := range rows {
			list[i] = object{}
			for _, c := range columns {
				list[i][c] = row[c]
			}
		}
		return list, nil
	case "", "text":
	default:
		return nil, unsupported("_cat format [%s]", f)
	}
	head, err := r.flag("v", false)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 1, 1, ' ', 0)
	if head {
		_, _ = fmt.Fprintln(w, strings.Join(columns, "\t")) // a strings.Builder does not fail
	}
	for _, row := range rows {
		cells := make([]string, len(columns))
		for i, c := range columns {
			cells[i] = row[c]
		}
		_, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) // a strings.Builder does not fail
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	return text(b.String()), nil
}

func humanBytes(n int64) string {
	units := []string{"b", "kb", "mb", "gb"}
	x := float64(n)
	for i, u := range units {
		if x < 1024 || i == len(units)-1 {
			return strings.TrimSuffix(strconv.FormatFloat(x, 'f', 1, 64), ".0") + u
		}
		x /= 1024
	}
	return ""
}

func (s *Server) health(r *request) (any, error) {
	indices, err := s.store.catalog.Load().resolve(r.segment("index"), false, true)
	if err != nil {
		return nil, err
	}
	switch r.query.Get("wait_for_status") {
	case "", "green", "yellow", "red":
	default:
		return nil, illegal("unknown cluster health status [%s]", r.query.Get("wait_for_status"))
	}
	if l := r.query.Get("level"); l != "" && l != "cluster" {
		return nil, unsupported("health level [%s]", l)
	}
	n := len(indices)
	return object{
		"cluster_name": clusterName, "status": "green", "timed_out": false, "number_of_nodes": 1, "number_of_data_nodes": 1, "active_primary_shards": n,
		"active_shards": n, "relocating_shards": 0, "initializing_shards": 0, "unassigned_shards": 0, "unassigned_primary_shards": 0,
		"delayed_unassigned_shards": 0, "number_of_pending_tasks": 0, "number_of_in_flight_fetch": 0, "task_max_waiting_in_queue_millis": 0,
		"active_shards_percent_as_number": 100.0,
	}, nil
}
