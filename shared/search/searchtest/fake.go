// Package searchtest helps to test what writes to Elasticsearch: a conformance suite that every server has to pass, and a
// fake that can be told to fail. It is for tests only: production code must not import it.
package searchtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A Fake is Elasticsearch as far as shared/search asks it: _bulk with create and external versions, _mget, index templates, indexes and
// their mappings, in memory. Its hooks make it fail; they are called one at a time and may be changed between requests with Set.
type Fake struct {
	URL string

	mu        sync.Mutex
	hooks     Hooks
	docs      map[string]map[string]*Doc // by index and id
	templates map[string]json.RawMessage
	indexes   map[string]properties // what is mapped: the template's fields when the index was made, and those added since
	dynamic   map[string]string     // by index, what is done with unknown fields
	closed    bool                  // to indexes that make themselves: action.auto_create_index
	unmapped  []string
	bulks     int
}

// Hooks say how a Fake fails. A nil hook does not.
type Hooks struct {
	// Whole answers a request in the fake's place, before anything was done. Status 0 lets it through.
	Whole func(r *http.Request, body []byte) (status int, header http.Header, answer string)
	// Item refuses one document of a bulk request. Status 0 lets it through.
	Item func(index, id string) (status int, errorType, reason string)
	// Cut breaks the connection after a request was carried out, before it is answered.
	Cut func(r *http.Request) bool
	// Edit changes the items of a bulk answer.
	Edit func(items []map[string]any) []map[string]any
}

// Doc is one document of a Fake.
type Doc struct {
	Source  json.RawMessage
	Version int64
}

// NewFake starts a fake that ends with the test.
func NewFake(t testing.TB) *Fake {
	f := &Fake{docs: map[string]map[string]*Doc{}, templates: map[string]json.RawMessage{}, indexes: map[string]properties{}, dynamic: map[string]string{}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	f.URL = srv.URL
	return f
}

// Set replaces all hooks.
func (f *Fake) Set(h Hooks) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hooks = h
}

// Docs returns all documents by "index/id".
func (f *Fake) Docs() map[string]Doc {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[string]Doc{}
	for index, docs := range f.docs {
		for id, d := range docs {
			all[index+"/"+id] = *d
		}
	}
	return all
}

// Unmapped returns the indexes that were made by a write while no template matched: what must never happen.
func (f *Fake) Unmapped() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.unmapped)
}

// Bulks returns how many bulk requests came, answered or not.
func (f *Fake) Bulks() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bulks
}

// Templates returns the names of the index templates, sorted.
func (f *Fake) Templates() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for name := range f.templates {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// DropTemplates forgets all index templates.
func (f *Fake) DropTemplates() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.templates)
}

// DropIndex forgets an index and its documents, as a person would delete it.
func (f *Fake) DropIndex(index string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(index)
}

func (f *Fake) drop(index string) {
	delete(f.docs, index)
	delete(f.indexes, index)
	delete(f.dynamic, index)
}

// MakeIndex makes an index as a first document without a template would have made it: dynamic, with fields of these types, guessed from it.
func (f *Fake) MakeIndex(index string, types map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(index)
	f.indexes[index], f.dynamic[index] = properties{}, "true"
	for name, kind := range types {
		f.indexes[index][name] = property{Type: kind}
	}
}

// Dynamic returns what an index does with unknown fields, as Elasticsearch spells it; "" where there is no index.
func (f *Fake) Dynamic(index string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dynamic[index]
}

// SetDynamic changes what an index does with unknown fields.
func (f *Fake) SetDynamic(index, dynamic string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dynamic[index] = dynamic
}

// AutoCreate says whether a write makes its index; it does at first.
func (f *Fake) AutoCreate(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = !on
}

// ServeHTTP answers one request.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/_bulk" {
		f.bulks++
	}
	if f.hooks.Whole != nil {
		if status, header, answer := f.hooks.Whole(r, body); status != 0 {
			for k := range header {
				w.Header().Set(k, header.Get(k))
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, answer) // a client that went away sees what it should
			return
		}
	}
	status, answer := f.serve(r, body)
	if f.hooks.Cut != nil && f.hooks.Cut(r) {
		panic(http.ErrAbortHandler)
	}
	b, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	w.WriteHeader(status)
	_, _ = w.Write(b) // as above
}

func failure(status int, kind, reason string) (int, any) {
	return status, map[string]any{"status": status, "error": map[string]any{"type": kind, "reason": reason}}
}

func (f *Fake) serve(r *http.Request, body []byte) (int, any) {
	name, isTemplate := strings.CutPrefix(r.URL.Path, "/_index_template/")
	switch {
	case r.URL.Path == "/_bulk" && r.Method == http.MethodPost:
		return f.bulk(body)
	case r.URL.Path == "/_mget" && r.Method == http.MethodPost:
		return f.mget(body)
	case isTemplate && r.Method == http.MethodGet:
		if f.templates[name] == nil {
			return failure(404, "resource_not_found_exception", "index template matching ["+name+"] not found")
		}
		return 200, map[string]any{"index_templates": []any{map[string]any{"name": name, "index_template": f.templates[name]}}}
	case isTemplate && r.Method == http.MethodPut:
		if r.URL.Query().Get("create") == "true" && f.templates[name] != nil {
			return failure(400, "illegal_argument_exception", "index template ["+name+"] already exists")
		}
		f.templates[name] = body
		return 200, map[string]any{"acknowledged": true}
	case isTemplate && r.Method == http.MethodDelete:
		delete(f.templates, name)
		return 200, map[string]any{"acknowledged": true}
	case strings.HasSuffix(r.URL.Path, "/_mapping"):
		return f.mapping(r.Method, path.Dir(r.URL.Path[1:]), body)
	case r.Method == http.MethodDelete:
		f.drop(r.URL.Path[1:])
		return 200, map[string]any{"acknowledged": true}
	case r.Method == http.MethodPut && strings.Count(r.URL.Path, "/") == 1:
		if _, there := f.indexes[r.URL.Path[1:]]; there {
			return failure(400, "resource_already_exists_exception", "it is there")
		}
		f.create(r.URL.Path[1:])
		return 200, map[string]any{"acknowledged": true}
	case r.Method == http.MethodGet && strings.Count(r.URL.Path, "/") == 1:
		p, there := f.indexes[r.URL.Path[1:]]
		if !there {
			return failure(404, "index_not_found_exception", "no such index")
		}
		return 200, map[string]any{r.URL.Path[1:]: map[string]any{"mappings": map[string]any{"dynamic": f.dynamic[r.URL.Path[1:]], "properties": p}}}
	}
	return failure(400, "illegal_argument_exception", "the fake does not know "+r.Method+" "+r.URL.Path)
}

func (f *Fake) bulk(body []byte) (int, any) {
	lines := bytes.Split(body, []byte("\n"))
	if len(lines)%2 != 1 || len(lines[len(lines)-1]) != 0 {
		return failure(400, "illegal_argument_exception", "the bulk request must be terminated by a newline")
	}
	items := []map[string]any{}
	for i := 0; i+1 < len(lines); i += 2 {
		var action map[string]struct {
			Index   string `json:"_index"`
			ID      string `json:"_id"`
			Version int64  `json:"version"`
			Type    string `json:"version_type"`
		}
		if err := json.Unmarshal(lines[i], &action); err != nil || len(action) != 1 {
			return failure(400, "x_content_parse_exception", "malformed action line")
		}
		for op, a := range action {
			if len(a.ID) > 512 {
				return failure(400, "action_request_validation_exception", "id is too long")
			}
			item := map[string]any{"_index": a.Index, "_id": a.ID}
			status, kind, reason := f.write(op, a.Index, a.ID, a.Version, lines[i+1])
			item["status"] = status
			if kind != "" {
				item["error"] = map[string]any{"type": kind, "reason": reason}
			}
			items = append(items, map[string]any{op: item})
		}
	}
	if f.hooks.Edit != nil {
		items = f.hooks.Edit(items)
	}
	return 200, map[string]any{"took": 1, "errors": true, "items": items}
}

func (f *Fake) write(op, index, id string, version int64, source []byte) (status int, kind, reason string) {
	if f.hooks.Item != nil {
		if status, kind, reason := f.hooks.Item(index, id); status != 0 {
			return status, kind, reason
		}
	}
	var doc map[string]any
	if err := json.Unmarshal(source, &doc); err != nil {
		return 400, "document_parsing_exception", "failed to parse: " + err.Error()
	}
	if _, there := f.indexes[index]; !there {
		if f.closed {
			return 404, "index_not_found_exception", "no such index"
		}
		if !f.create(index) {
			f.unmapped = append(f.unmapped, index)
		}
	}
	if f.docs[index] == nil {
		f.docs[index] = map[string]*Doc{}
	}
	if field, kind := misfit(f.indexes[index], doc, ""); field != "" {
		return 400, "document_parsing_exception", fmt.Sprintf("[1:1] failed to parse field [%s] of type [%s] in document with id '%s'. Preview of field's value: '...'", field, kind, id)
	}
	old := f.docs[index][id]
	if op == "create" {
		if old != nil {
			return 409, "version_conflict_engine_exception", "document already exists"
		}
		f.docs[index][id] = &Doc{Source: bytes.Clone(source), Version: 1}
		return 201, "", ""
	}
	if old != nil && old.Version >= version {
		return 409, "version_conflict_engine_exception", "current version is higher or equal"
	}
	f.docs[index][id] = &Doc{Source: bytes.Clone(source), Version: version}
	if old != nil {
		return 200, "", ""
	}
	return 201, "", ""
}

// create makes an index and reports whether a template matched.
func (f *Fake) create(index string) (found bool) {
	f.indexes[index], found = f.mappings(index)
	f.dynamic[index] = strconv.FormatBool(!found)
	return found
}

type properties map[string]property

type property struct {
	Type       string     `json:"type,omitempty"`
	Enabled    *bool      `json:"enabled,omitempty"`
	Properties properties `json:"properties,omitempty"`
}

// mapping adds fields to the indexes of a pattern, to all or to none, or shows them.
func (f *Fake) mapping(method, pattern string, body []byte) (int, any) {
	var ask struct {
		Dynamic    any        `json:"dynamic"`
		Properties properties `json:"properties"`
	}
	if method != http.MethodGet {
		if err := json.Unmarshal(body, &ask); err != nil {
			return failure(400, "x_content_parse_exception", err.Error())
		}
	}
	shown, grown := map[string]any{}, map[string]properties{}
	for index, p := range f.indexes {
		if ok, err := path.Match(pattern, index); err != nil || !ok {
			continue
		}
		all, reason := join(p, ask.Properties, "")
		if reason != "" {
			return failure(400, "illegal_argument_exception", reason)
		}
		grown[index] = all
		shown[index] = map[string]any{"mappings": map[string]any{"properties": all}}
	}
	if method != http.MethodGet {
		for index := range grown {
			if ask.Dynamic != nil {
				f.dynamic[index] = fmt.Sprint(ask.Dynamic)
			}
		}
		maps.Copy(f.indexes, grown)
		return 200, map[string]any{"acknowledged": true}
	}
	return 200, shown
}

// join returns the fields of both, or why they do not fit.
func join(p, more properties, at string) (all properties, reason string) {
	if all = maps.Clone(p); all == nil {
		all = properties{}
	}
	for name, m := range more {
		old, ok := all[name]
		if ok && m.Type != old.Type {
			return nil, fmt.Sprintf("mapper [%s%s] cannot be changed from type [%s] to [%s]", at, name, old.Type, m.Type)
		}
		if m.Properties != nil || old.Properties != nil {
			if m.Properties, reason = join(old.Properties, m.Properties, at+name+"."); reason != "" {
				return nil, reason
			}
		}
		all[name] = m
	}
	return all, ""
}

func (f *Fake) mappings(index string) (properties, bool) {
	for _, raw := range f.templates {
		var t struct {
			Patterns []string `json:"index_patterns"`
			Template struct {
				Mappings struct {
					Properties properties `json:"properties"`
				} `json:"mappings"`
			} `json:"template"`
		}
		if err := json.Unmarshal(raw, &t); err != nil {
			panic(err)
		}
		for _, p := range t.Patterns {
			if ok, err := path.Match(p, index); err == nil && ok {
				return t.Template.Mappings.Properties, true
			}
		}
	}
	return nil, false
}

// misfit returns a field, and its type, whose value cannot be its mapping's.
func misfit(p properties, doc map[string]any, at string) (field, kind string) {
	for name, m := range p {
		v := doc[name]
		inner, isObject := v.(map[string]any)
		text, isString := v.(string)
		switch {
		case m.Properties != nil && isObject:
			if field, kind := misfit(m.Properties, inner, at+name+"."); field != "" {
				return field, kind
			}
		case m.Properties != nil && v != nil:
			return at + name, "object"
		case (m.Type == "long" || m.Type == "double") && (isObject || isString && strings.Trim(text, "0123456789.-") != ""):
			return at + name, m.Type
		}
	}
	return "", ""
}

func (f *Fake) mget(body []byte) (int, any) {
	var ask struct {
		Docs []struct {
			Index  string   `json:"_index"`
			ID     string   `json:"_id"`
			Source []string `json:"_source"`
		} `json:"docs"`
	}
	if err := json.Unmarshal(body, &ask); err != nil {
		return failure(400, "x_content_parse_exception", err.Error())
	}
	docs := []any{}
	for _, d := range ask.Docs {
		found := f.docs[d.Index][d.ID]
		if found == nil {
			docs = append(docs, map[string]any{"_index": d.Index, "_id": d.ID, "found": false})
			continue
		}
		var source map[string]any
		if err := json.Unmarshal(found.Source, &source); err != nil {
			panic(err)
		}
		for k := range source {
			if !slices.Contains(d.Source, k) {
				delete(source, k)
			}
		}
		docs = append(docs, map[string]any{"_index": d.Index, "_id": d.ID, "_version": found.Version, "found": true, "_source": source})
	}
	return 200, map[string]any{"docs": docs}
}
