package search_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// exchange is one request and what of its answer both the embedded part and Elasticsearch must give.
type exchange struct {
	name   string
	method string
	path   string
	body   string
	status int
	// want maps paths into the answer, as hits.total.value or items.0.create.status, to values as JSON; "-" means absent.
	want map[string]string
}

func do(t testing.TB, base, method, path, body string) (int, any, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.Header.Get("X-Elastic-Product") != "Elasticsearch" {
		t.Errorf("%s %s: no product header", method, path)
	}
	var out any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		out = nil
	}
	return res.StatusCode, out, string(raw)
}

func lookup(v any, path string) (any, bool) {
	for part := range strings.SplitSeq(path, "/") {
		switch x := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = x[part]; !ok {
				return nil, false
			}
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// same compares as JSON, numbers by value.
func same(got any, want string) bool {
	b, err := json.Marshal(got)
	if err != nil {
		return false
	}
	var x, y any
	if json.Unmarshal(b, &x) != nil || json.Unmarshal([]byte(want), &y) != nil {
		return false
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return bytes.Equal(p, q)
}

func run(t *testing.T, base string, list []exchange) {
	t.Helper()
	for _, e := range list {
		t.Run(e.name, func(t *testing.T) {
			status, out, raw := do(t, base, e.method, e.path, e.body)
			if status != e.status {
				t.Fatalf("status %d, want %d: %s", status, e.status, raw)
			}
			for path, want := range e.want {
				got, found := lookup(out, path)
				if want == "-" {
					if found {
						t.Errorf("%s is there: %v", path, got)
					}
					continue
				}
				if !found || !same(got, want) {
					t.Errorf("%s = %v, want %s\n%s", path, got, want, raw)
				}
			}
		})
	}
}

const mappings = `{"settings":{"number_of_replicas":0,"number_of_shards":1},"mappings":{"dynamic":"strict","properties":{
 "n":{"type":"long"},"by":{"type":"byte"},"k":{"type":"keyword","ignore_above":10},"t":{"type":"text"},"d":{"type":"date"},"b":{"type":"boolean"},
 "ip":{"type":"ip"},"x":{"type":"double"},"f":{"type":"flattened"},"nt":{"type":"text","index":false},"nk":{"type":"keyword","index":false,"doc_values":false},
 "off":{"type":"object","enabled":false},"o":{"properties":{"p":{"type":"keyword"},"loose":{"dynamic":false,"properties":{}}}},"es":{"type":"date","format":"epoch_second||yyyy-MM-dd"}}}}`

// conformance is what the embedded part and Elasticsearch must answer alike. Every index begins with embsearch-.
func conformance(t *testing.T, base string) {
	t.Helper()
	clean := func() {
		for _, ix := range []string{"a", "dyn", "tpl-1", "s", "s2"} {
			do(t, base, http.MethodDelete, "/embsearch-"+ix+"?ignore_unavailable=true", "")
		}
		do(t, base, http.MethodDelete, "/_index_template/embsearch-*", "")
	}
	clean()
	t.Cleanup(clean)
	t.Run("documents", func(t *testing.T) { documents(t, base) })
	t.Run("bulk", func(t *testing.T) { bulkItems(t, base) })
	t.Run("admin", func(t *testing.T) { admin(t, base) })
	t.Run("search", func(t *testing.T) { searches(t, base) })
	t.Run("refusals", func(t *testing.T) { refusals(t, base) })
}

// A value that does not fit must fail with the type a loader branches on; one that fits must not.
func documents(t *testing.T, base string) {
	list := []exchange{{"create", "PUT", "/embsearch-a", mappings, 200, map[string]string{"acknowledged": "true", "index": `"embsearch-a"`}}}
	list = append(list, exchange{"create again", "PUT", "/embsearch-a", "{}", 400, map[string]string{"error/type": `"resource_already_exists_exception"`}})
	for _, d := range []struct{ doc, typ, cause string }{
		{`{"n":"abc"}`, "document_parsing_exception", "illegal_argument_exception"},
		{`{"n":{"a":1}}`, "document_parsing_exception", "illegal_argument_exception"},
		{`{"k":{"a":1}}`, "document_parsing_exception", "illegal_argument_exception"},
		{`{"t":{"a":1}}`, "document_parsing_exception", "illegal_argument_exception"},
		{`{"d":"yesterday"}`, "document_parsing_exception", "illegal_argument_exception"},
		{`{"d":true}`, "document_parsing_exception", "illegal_argument_exception"},
		{`{"d":"2020-02-30"}`, "document_parsing_exception", ""},
		{`{"b":"yes"}`, "document_parsing_exception", "illegal_argument_exception"},
		{`{"b":1}`, "document_parsing_exception", "x_content_parse_exception"},
		{`{"ip":"1.2.3"}`, "document_parsing_exception", "illegal_argument_exception"},
		{`{"by":300}`, "document_parsing_exception", "illegal_argument_exception"},
		{`{"n":true}`, "document_parsing_exception", "x_content_parse_exception"},
		{`{"x":"NaN"}`, "document_parsing_exception", "illegal_argument_exception"},
		{`{"n":99999999999999999999}`, "document_parsing_exception", ""},
		{`{"f":3}`, "document_parsing_exception", "parsing_exception"},
		{`{"o":3}`, "document_parsing_exception", ""},
		{`{"n":1,"n":2}`, "document_parsing_exception", "x_content_parse_exception"},
		{`{"":1}`, "document_parsing_exception", "illegal_argument_exception"},
		{`{".n":1}`, "document_parsing_exception", "illegal_argument_exception"},
		{`[1]`, "document_parsing_exception", ""},
		{`{"n":1`, "document_parsing_exception", "x_content_e_o_f_exception"},
		{`{"n":1} {"n":2}`, "illegal_argument_exception", ""},
		{`{"zz":1}`, "strict_dynamic_mapping_exception", ""},
		{`{"o":{"zz":1}}`, "strict_dynamic_mapping_exception", ""},
		{``, "parse_exception", ""},
	} {
		want := map[string]string{"error/type": `"` + d.typ + `"`, "status": "400"}
		if d.cause != "" {
			want["error/caused_by/type"] = `"` + d.cause + `"`
		}
		list = append(list, exchange{"bad " + d.doc, "PUT", "/embsearch-a/_doc/bad", d.doc, 400, want})
	}
	for _, doc := range []string{
		`{"n":1.5}`, `{"n":"12"}`, `{"n":""}`, `{"n":1e3}`, `{"n":[null,1,[2]]}`, `{"k":[1,true,"x"]}`, `{"b":""}`, `{"b":"false"}`, `{"d":1.5}`, `{"d":"2020-01-01T10"}`,
		`{"d":"2020"}`, `{"o.p":"x"}`, `{"o":null}`, `{"o":{"loose":{"any":{"thing":1}}}}`, `{"off":{"a":[{"b":1},2]}}`, `{"off":3}`, `{"nk":"v","nt":"w"}`, `{"es":1700000000}`, `{"es":"2020-01-02"}`, `{}`,
	} {
		list = append(list, exchange{"good " + doc, "PUT", "/embsearch-a/_doc/good-" + fmt.Sprint(len(list)), doc, 201, map[string]string{"result": `"created"`, "_version": "1"}})
	}
	const p = "/embsearch-a/_doc/v"
	list = append(list, []exchange{
		{"create", "PUT", "/embsearch-a/_create/v", `{"n":1}`, 201, map[string]string{"result": `"created"`}},
		{"create twice", "PUT", "/embsearch-a/_create/v", `{"n":2}`, 409, map[string]string{"error/type": `"version_conflict_engine_exception"`, "error/reason": `"[v]: version conflict, document already exists (current version [1])"`}},
		{"get", "GET", p, "", 200, map[string]string{"found": "true", "_source/n": "1", "_version": "1"}},
		{"get without source", "GET", p + "?_source=false", "", 200, map[string]string{"_source": "-"}},
		{"external", "PUT", p + "?version=5&version_type=external", `{"n":3}`, 200, map[string]string{"_version": "5", "result": `"updated"`}},
		{"external again", "PUT", p + "?version=5&version_type=external", `{"n":4}`, 409, map[string]string{"error/reason": `"[v]: version conflict, current version [5] is higher or equal to the one provided [5]"`}},
		{"external equal allowed", "PUT", p + "?version=5&version_type=external_gte", `{"n":4}`, 200, map[string]string{"_version": "5"}},
		{"internal version", "PUT", p + "?version=7", `{}`, 400, map[string]string{"error/type": `"action_request_validation_exception"`}},
		{"wrong seq no", "PUT", p + "?if_seq_no=12345&if_primary_term=1", `{}`, 409, map[string]string{"error/type": `"version_conflict_engine_exception"`}},
		{"delete", "DELETE", p, "", 200, map[string]string{"result": `"deleted"`, "_version": "6"}},
		{"delete again", "DELETE", p, "", 404, map[string]string{"result": `"not_found"`, "_version": "7"}},
		{"a deleted version still counts", "PUT", p + "?version=6&version_type=external", `{}`, 409, nil},
		{"gone", "GET", p, "", 404, map[string]string{"found": "false"}},
		{"no index", "GET", "/embsearch-zz/_doc/1", "", 404, map[string]string{"error/type": `"index_not_found_exception"`}},
		{"mget", "POST", "/embsearch-a/_mget", `{"ids":["v","good-26"]}`, 200, map[string]string{"docs/0/found": "false", "docs/1/_id": `"good-26"`}},
	}...)
	run(t, base, list)
}

// One poison item must not take its neighbours with it, nor one malformed line pass unnoticed.
func bulkItems(t *testing.T, base string) {
	lines := func(l ...string) string { return strings.Join(l, "\n") + "\n" }
	run(t, base, []exchange{
		{"mixed", "POST", "/_bulk", lines(
			`{"create":{"_index":"embsearch-dyn","_id":"1"}}`, `{"a":1,"s":"hello","day":"2020-01-01","x":1.5,"o":{"y":true}}`,
			`{"create":{"_index":"embsearch-dyn","_id":"1"}}`, `{"a":1}`,
			`{"index":{"_index":"embsearch-dyn","_id":"2"}}`, `{"a":"abc"}`,
			`{"index":{"_index":"embsearch-dyn","_id":"3","version":5,"version_type":"external"}}`, `{"a":1}`,
			`{"index":{"_index":"embsearch-dyn","_id":"3","version":5,"version_type":"external"}}`, `{"a":2}`,
			`{"delete":{"_index":"embsearch-dyn","_id":"zz"}}`, `{"delete":{"_index":"embsearch-dyn","_id":"1"}}`,
			`{"index":{"_index":"Bad","_id":"1"}}`, `{"a":1}`,
			`{"index":{"_index":"embsearch-dyn","_id":"4"}}`, `{"a":1`,
			`{"index":{"_index":"embsearch-dyn","_id":"5"}}`, ``,
			`{"index":{"_index":"embsearch-dyn"}}`, `{"a":7}`), 200, map[string]string{
			"errors": "true", "items/0/create/status": "201", "items/1/create/status": "409", "items/1/create/error/type": `"version_conflict_engine_exception"`,
			"items/2/index/status": "400", "items/2/index/error/type": `"document_parsing_exception"`, "items/2/index/error/caused_by/type": `"illegal_argument_exception"`,
			"items/3/index/_version": "5", "items/4/index/status": "409", "items/5/delete/status": "404", "items/5/delete/result": `"not_found"`,
			"items/6/delete/status": "200", "items/7/index/error/type": `"invalid_index_name_exception"`, "items/8/index/error/type": `"document_parsing_exception"`,
			"items/9/index/error/type": `"document_parsing_exception"`, "items/10/index/status": "201",
		}},
		{"dynamic mapping", "GET", "/embsearch-dyn/_mapping", "", 200, map[string]string{"embsearch-dyn/mappings": `{"properties":{"a":{"type":"long"},"day":{"type":"date"},"x":{"type":"float"},"o":{"properties":{"y":{"type":"boolean"}}},"s":{"type":"text","fields":{"keyword":{"type":"keyword","ignore_above":256}}}}}`}},
		{"require_alias", "POST", "/_bulk", lines(`{"index":{"_index":"embsearch-dyn","_id":"6","require_alias":true}}`, `{}`), 200, map[string]string{"items/0/index/error/type": `"index_not_found_exception"`, "items/0/index/status": "404"}},
		{"no newline at the end", "POST", "/_bulk", `{"index":{"_index":"embsearch-dyn"}}` + "\n{}", 400, map[string]string{"error/type": `"illegal_argument_exception"`}},
		{"unknown action", "POST", "/_bulk", lines(`{"foo":{"_index":"embsearch-dyn"}}`, `{}`), 400, map[string]string{"error/type": `"illegal_argument_exception"`}},
		{"unknown metadata", "POST", "/_bulk", lines(`{"index":{"_index":"embsearch-dyn","foo":1}}`, `{}`), 400, map[string]string{"error/type": `"illegal_argument_exception"`}},
		{"no index", "POST", "/_bulk", lines(`{"index":{"_id":"1"}}`, `{}`), 400, map[string]string{"error/type": `"action_request_validation_exception"`}},
		{"create with version", "POST", "/_bulk", lines(`{"create":{"_index":"embsearch-dyn","_id":"1","version":2,"version_type":"external"}}`, `{}`), 400, map[string]string{"error/type": `"action_request_validation_exception"`}},
		{"empty", "POST", "/_bulk", "", 400, map[string]string{"error/type": `"parse_exception"`}},
		{"filter_path", "POST", "/_bulk?filter_path=errors,items.*.status", lines(`{"index":{"_index":"embsearch-dyn","_id":"9"}}`, `{}`), 200, map[string]string{"errors": "false", "items/0/index": `{"status":201}`, "took": "-"}},
	})
}

// Templates must apply when a write makes an index, and broken ones must not be kept.
func admin(t *testing.T, base string) {
	run(t, base, []exchange{
		{"put template", "PUT", "/_index_template/embsearch-t", `{"index_patterns":["embsearch-tpl-*"],"priority":10,"template":{"settings":{"number_of_replicas":0},"mappings":{"dynamic":false,"properties":{"k":{"type":"keyword"}}}}}`, 200, map[string]string{"acknowledged": "true"}},
		{"lower priority", "PUT", "/_index_template/embsearch-u", `{"index_patterns":["embsearch-*"],"priority":1,"template":{"mappings":{"properties":{"k":{"type":"long"}}}}}`, 200, nil},
		{"same priority", "PUT", "/_index_template/embsearch-w", `{"index_patterns":["embsearch-*-1"],"priority":10}`, 400, map[string]string{"error/type": `"illegal_argument_exception"`}},
		{"bad type", "PUT", "/_index_template/embsearch-w", `{"index_patterns":["embsearch-w"],"template":{"mappings":{"properties":{"a":{"type":"kw"}}}}}`, 400, map[string]string{"error/type": `"illegal_argument_exception"`}},
		{"unknown key", "PUT", "/_index_template/embsearch-w", `{"index_patterns":["embsearch-w"],"foo":1}`, 400, map[string]string{"error/type": `"x_content_parse_exception"`}},
		{"get", "GET", "/_index_template/embsearch-t", "", 200, map[string]string{"index_templates/0/index_template/priority": "10", "index_templates/0/index_template/template/settings": `{"index":{"number_of_replicas":"0"}}`}},
		{"get missing", "GET", "/_index_template/embsearch-none", "", 404, map[string]string{"error/type": `"resource_not_found_exception"`}},
		{"auto create", "PUT", "/embsearch-tpl-1/_doc/1", `{"k":"a","other":{"deep":1}}`, 201, nil},
		{"applied", "GET", "/embsearch-tpl-1/_mapping", "", 200, map[string]string{"embsearch-tpl-1/mappings": `{"dynamic":"false","properties":{"k":{"type":"keyword"}}}`}},
		{"delete", "DELETE", "/_index_template/embsearch-t", "", 200, nil},
		{"delete again", "DELETE", "/_index_template/embsearch-t", "", 404, map[string]string{"error/type": `"index_template_missing_exception"`}},
		{"delete the other", "DELETE", "/_index_template/embsearch-u", "", 200, nil},
		{"add field", "PUT", "/embsearch-tpl-1/_mapping", `{"properties":{"n":{"type":"long"}}}`, 200, nil},
		{"change type", "PUT", "/embsearch-tpl-1/_mapping", `{"properties":{"n":{"type":"keyword"}}}`, 400, map[string]string{"error/type": `"illegal_argument_exception"`}},
		{"unknown type", "PUT", "/embsearch-tpl-1/_mapping", `{"properties":{"q":{"type":"foo"}}}`, 400, map[string]string{"error/type": `"mapper_parsing_exception"`}},
		{"unknown parameter", "PUT", "/embsearch-tpl-1/_mapping", `{"properties":{"q":{"type":"keyword","foo":1}}}`, 400, map[string]string{"error/type": `"mapper_parsing_exception"`}},
		{"unknown setting", "PUT", "/embsearch-s", `{"settings":{"foo":1}}`, 400, map[string]string{"error/type": `"illegal_argument_exception"`}},
		{"unknown key of an index", "PUT", "/embsearch-s", `{"foo":{}}`, 400, map[string]string{"error/type": `"parse_exception"`}},
		{"upper case", "PUT", "/embsearch-S", "", 400, map[string]string{"error/type": `"invalid_index_name_exception"`}},
		{"head", "HEAD", "/embsearch-tpl-1", "", 200, nil},
		{"head missing", "HEAD", "/embsearch-zz", "", 404, nil},
		{"refresh", "POST", "/embsearch-tpl-1/_refresh", "", 200, map[string]string{"_shards/failed": "0"}},
		{"cat", "GET", "/_cat/indices/embsearch-tpl-*?format=json&h=index,docs.count", "", 200, map[string]string{"0": `{"index":"embsearch-tpl-1","docs.count":"1"}`}},
		{"delete missing", "DELETE", "/embsearch-zz", "", 404, nil},
		{"delete wildcard", "DELETE", "/embsearch-zz*", "", 400, map[string]string{"error/type": `"illegal_argument_exception"`}},
		{"delete index", "DELETE", "/embsearch-tpl-1", "", 200, map[string]string{"acknowledged": "true"}},
		{"health", "GET", "/_cluster/health", "", 200, map[string]string{"timed_out": "false"}},
	})
}

// Queries, sorts and aggregations must find what Elasticsearch finds.
func searches(t *testing.T, base string) {
	if status, _, raw := do(t, base, "PUT", "/embsearch-s", strings.Replace(mappings, `"strict"`, `true`, 1)); status != 200 {
		t.Fatal(raw)
	}
	for i, doc := range []string{
		`{"n":1,"k":"a","t":"Hello World","d":"2026-01-01T10:00:00Z","b":true,"ip":"10.0.0.1","x":1.5,"f":{"x":{"y":1}}}`,
		`{"n":2,"k":["a","b"],"t":"Quick brown-fox jumps","d":"2026-01-02T11:00:00Z","b":false,"ip":"10.0.1.1","x":2.5,"o":{"p":"inner"}}`,
		`{"n":3,"k":"c","d":1767571200000,"nt":"hidden","nk":"hidden"}`,
		`{"k":"this is longer than ten","s":"dyn text","off":{"a":1}}`,
	} {
		if status, _, raw := do(t, base, "PUT", fmt.Sprintf("/embsearch-s/_doc/%d", i+1), doc); status != 201 {
			t.Fatal(raw)
		}
	}
	do(t, base, "POST", "/embsearch-s/_refresh", "")
	var list []exchange
	finds := func(query, ids string) {
		var want []string
		for id := range strings.FieldsSeq(ids) {
			want = append(want, `"`+id+`"`)
		}
		e := exchange{query, "POST", "/embsearch-s/_search", `{"query":` + query + `,"sort":["_doc"],"_source":false}`, 200, map[string]string{"hits/total/value": fmt.Sprint(len(want))}}
		for i, id := range want {
			e.want[fmt.Sprintf("hits/hits/%d/_id", i)] = id
		}
		list = append(list, e)
	}
	finds(`{"match_all":{}}`, "1 2 3 4")
	finds(`{"match_none":{}}`, "")
	finds(`{"term":{"k":"a"}}`, "1 2")
	finds(`{"term":{"k":{"value":"A","case_insensitive":true}}}`, "1 2")
	finds(`{"term":{"nope":"a"}}`, "")
	finds(`{"term":{"n":"2"}}`, "2")
	finds(`{"term":{"n":2.5}}`, "")
	finds(`{"term":{"b":true}}`, "1")
	finds(`{"term":{"b":"false"}}`, "2")
	finds(`{"term":{"x":2.5}}`, "2")
	finds(`{"term":{"d":"2026-01-01"}}`, "1")
	finds(`{"term":{"ip":"10.0.0.0/24"}}`, "1")
	finds(`{"term":{"f.x.y":"1"}}`, "1")
	finds(`{"term":{"t":"hello"}}`, "1")
	finds(`{"term":{"t":"Hello"}}`, "")
	finds(`{"term":{"o.p":"inner"}}`, "2")
	finds(`{"term":{"s":"dyn text"}}`, "")
	finds(`{"term":{"s.keyword":"dyn text"}}`, "4")
	finds(`{"term":{"_id":"3"}}`, "3")
	finds(`{"terms":{"k":["b","c","zz"]}}`, "2 3")
	finds(`{"terms":{"n":[1,"3"]}}`, "1 3")
	finds(`{"range":{"n":{"gt":1,"lte":3}}}`, "2 3")
	finds(`{"range":{"n":{"gte":1.5}}}`, "2 3")
	finds(`{"range":{"x":{"lt":2.5}}}`, "1")
	finds(`{"range":{"k":{"gte":"b"}}}`, "2 3")
	finds(`{"range":{"d":{"gte":"2026-01-02||/d","lt":"2026-01-02||+1d/d"}}}`, "2")
	finds(`{"range":{"d":{"lte":"2026-01-02"}}}`, "1 2")
	finds(`{"range":{"d":{"gt":"2026-01-02"}}}`, "3")
	finds(`{"range":{"d":{"gte":"2026-01"}}}`, "1 2 3")
	finds(`{"range":{"d":{"gt":"2026-01"}}}`, "2 3")
	finds(`{"range":{"d":{"gt":"now/M"}}}`, "")
	finds(`{"range":{"d":{"gte":"02/01/2026","format":"dd/MM/yyyy"}}}`, "2 3")
	finds(`{"range":{"d":{"gte":"2026-01-02T12:00:00","time_zone":"+02:00"}}}`, "2 3")
	finds(`{"range":{"d":{"gte":"now+100y"}}}`, "")
	finds(`{"range":{"ip":{"gte":"10.0.1.0"}}}`, "2")
	finds(`{"exists":{"field":"o"}}`, "2")
	finds(`{"exists":{"field":"off"}}`, "")
	finds(`{"exists":{"field":"nk"}}`, "")
	finds(`{"exists":{"field":"f"}}`, "1")
	finds(`{"exists":{"field":"k"}}`, "1 2 3")
	finds(`{"ids":{"values":["4","1","99"]}}`, "1 4")
	finds(`{"prefix":{"k":"a"}}`, "1 2")
	finds(`{"wildcard":{"o.p":{"value":"i?n*r"}}}`, "2")
	finds(`{"wildcard":{"t":"WOR*"}}`, "")
	finds(`{"wildcard":{"t":"wor*"}}`, "1")
	finds(`{"query_string":{"query":"t:WOR*"}}`, "1")
	finds(`{"prefix":{"t":"wor"}}`, "1")
	finds(`{"match":{"t":"hello FOX"}}`, "1 2")
	finds(`{"match":{"t":{"query":"brown fox","operator":"and"}}}`, "2")
	finds(`{"match":{"n":"3"}}`, "3")
	finds(`{"match_phrase":{"t":"quick brown fox"}}`, "2")
	finds(`{"match_phrase":{"t":"brown quick"}}`, "")
	finds(`{"bool":{"must":{"term":{"k":"a"}},"must_not":[{"term":{"b":true}}]}}`, "2")
	finds(`{"bool":{"should":[{"term":{"k":"a"}},{"term":{"n":2}},{"term":{"b":true}}],"minimum_should_match":2}}`, "1 2")
	finds(`{"bool":{"filter":{"exists":{"field":"n"}},"should":[{"term":{"k":"zz"}}]}}`, "1 2 3")
	finds(`{"bool":{"should":[{"term":{"k":"c"}}]}}`, "3")
	finds(`{"bool":{}}`, "1 2 3 4")
	finds(`{"constant_score":{"filter":{"term":{"k":"c"}}}}`, "3")
	finds(`{"query_string":{"query":"k:a AND (n:[2 TO *] OR t:hello) -b:true"}}`, "2")
	finds(`{"query_string":{"query":"k:c OR n:1"}}`, "1 3")
	finds(`{"query_string":{"query":"n:>=2 AND NOT k:c"}}`, "2")
	finds(`{"query_string":{"query":"_exists_:o.p"}}`, "2")
	finds(`{"query_string":{"query":"t:\"hello world\""}}`, "1")
	finds(`{"query_string":{"query":"hello"}}`, "1")
	finds(`{"query_string":{"query":"o.p:inn*"}}`, "2")
	run(t, base, list)

	const p = "/embsearch-s/_search"
	run(t, base, []exchange{
		{"shape", "POST", p, `{}`, 200, map[string]string{"hits/max_score": "1", "hits/hits/0/_score": "1", "timed_out": "false", "hits/total/relation": `"eq"`, "_shards/failed": "0"}},
		{"q", "GET", p + "?q=k:a%20AND%20n:2&_source=false", "", 200, map[string]string{"hits/total/value": "1", "hits/hits/0/_id": `"2"`, "hits/hits/0/_source": "-"}},
		{"sort", "POST", p, `{"sort":[{"n":"desc"},{"k":{"order":"asc"}}],"_source":["k"],"size":2}`, 200, map[string]string{"hits/hits/0/sort": `[3,"c"]`, "hits/hits/1/sort": `[2,"a"]`, "hits/hits/0/_source": `{"k":"c"}`, "hits/max_score": "null", "hits/hits/0/_score": "null"}},
		{"sort missing", "POST", p, `{"sort":["k"],"_source":false}`, 200, map[string]string{"hits/hits/3/sort": `[null]`}},
		{"sort date", "POST", p, `{"sort":[{"d":"asc"}],"_source":false}`, 200, map[string]string{"hits/hits/0/sort": `[1767261600000]`}},
		{"sort double", "POST", p, `{"sort":[{"x":"desc"}],"_source":false}`, 200, map[string]string{"hits/hits/0/sort": `[2.5]`, "hits/hits/2/sort": `["-Infinity"]`}},
		{"search_after", "POST", p, `{"sort":[{"n":"desc"}],"search_after":[3],"size":1}`, 200, map[string]string{"hits/hits/0/_id": `"2"`, "hits/total/value": "4"}},
		{"search_after mismatch", "POST", p, `{"sort":["n"],"search_after":[3,1]}`, 400, map[string]string{"error/type": `"search_phase_execution_exception"`}},
		{"unmapped", "POST", p, `{"sort":[{"nope":{"unmapped_type":"long"}}]}`, 200, map[string]string{"hits/total/value": "4"}},
		{"from", "POST", p, `{"sort":["_doc"],"from":2,"size":1}`, 200, map[string]string{"hits/hits/0/_id": `"3"`, "hits/hits/1": "-"}},
		{"source filter", "POST", p, `{"query":{"ids":{"values":["1"]}},"_source":{"includes":["f.*","n","k"],"excludes":["k"]}}`, 200, map[string]string{"hits/hits/0/_source": `{"n":1,"f":{"x":{"y":1}}}`}},
		{"track", "POST", p, `{"track_total_hits":2,"size":0}`, 200, map[string]string{"hits/total": `{"value":2,"relation":"gte"}`}},
		{"track off", "POST", p, `{"track_total_hits":false,"size":0}`, 200, map[string]string{"hits/total": "-"}},
		{"versions", "POST", p, `{"version":true,"seq_no_primary_term":true,"size":1}`, 200, map[string]string{"hits/hits/0/_version": "1", "hits/hits/0/_primary_term": "1"}},
		{"ignore_unavailable", "GET", "/embsearch-s,embsearch-zz/_search?ignore_unavailable=true&size=0", "", 200, map[string]string{"hits/total/value": "4"}},
		{"wildcard without match", "GET", "/embsearch-zz*/_search", "", 200, map[string]string{"hits/total/value": "0"}},
		{"missing", "GET", "/embsearch-zz/_search", "", 404, map[string]string{"error/type": `"index_not_found_exception"`}},
		{"count", "POST", "/embsearch-s*/_count", `{"query":{"term":{"k":"a"}}}`, 200, map[string]string{"count": "2"}},
		{"terms", "POST", p, `{"size":0,"aggs":{"k":{"terms":{"field":"k","size":2},"aggs":{"a":{"avg":{"field":"x"}},"s":{"stats":{"field":"n"}}}},"n":{"terms":{"field":"n","order":{"_key":"desc"}}},"b":{"terms":{"field":"b"}},"u":{"terms":{"field":"nope"}}}}`, 200, map[string]string{
			"aggregations/k":               `{"doc_count_error_upper_bound":0,"sum_other_doc_count":1,"buckets":[{"key":"a","doc_count":2,"a":{"value":2},"s":{"count":2,"min":1,"max":2,"avg":1.5,"sum":3}},{"key":"b","doc_count":1,"a":{"value":2.5},"s":{"count":1,"min":2,"max":2,"avg":2,"sum":2}}]}`,
			"aggregations/n/buckets/0/key": "3", "aggregations/b/buckets/0": `{"key":0,"key_as_string":"false","doc_count":1}`, "aggregations/u/buckets": "[]",
		}},
		{"terms by metric", "POST", p, `{"size":0,"aggs":{"k":{"terms":{"field":"k","order":{"m":"desc"}},"aggs":{"m":{"max":{"field":"n"}}}}}}`, 200, map[string]string{"aggregations/k/buckets/0/key": `"c"`}},
		{"dates", "POST", p, `{"size":0,"aggs":{"h":{"date_histogram":{"field":"d","calendar_interval":"day"}},"w":{"date_histogram":{"field":"d","fixed_interval":"12h","min_doc_count":1,"time_zone":"+02:00"}},"mx":{"max":{"field":"d"}}}}`, 200, map[string]string{
			"aggregations/h/buckets/0": `{"key_as_string":"2026-01-01T00:00:00.000Z","key":1767225600000,"doc_count":1}`, "aggregations/h/buckets/2/doc_count": "0", "aggregations/h/buckets/4/doc_count": "1", "aggregations/h/buckets/5": "-",
			"aggregations/w/buckets/0": `{"key_as_string":"2026-01-01T12:00:00.000+02:00","key":1767261600000,"doc_count":1}`, "aggregations/mx": `{"value":1.7675712E12,"value_as_string":"2026-01-05T00:00:00.000Z"}`,
		}},
		{"metrics", "POST", p, `{"size":0,"aggs":{"a":{"avg":{"field":"nope"}},"su":{"sum":{"field":"nope"}},"st":{"stats":{"field":"nope"}},"vc":{"value_count":{"field":"k"}},"c":{"cardinality":{"field":"k"}},"f":{"filter":{"term":{"k":"a"}},"aggs":{"s":{"sum":{"field":"n"}}}}}}`, 200, map[string]string{
			"aggregations": `{"a":{"value":null},"su":{"value":0},"st":{"count":0,"min":null,"max":null,"avg":null,"sum":0},"vc":{"value":4},"c":{"value":3},"f":{"doc_count":2,"s":{"value":3}}}`,
		}},
	})
}

// What is not known must be refused, with the type that Elasticsearch gives.
func refusals(t *testing.T, base string) {
	var list []exchange
	const p = "/embsearch-s/_search"
	refuse := func(body, typ string) {
		list = append(list, exchange{body, "POST", p, body, 400, map[string]string{"error/root_cause/0/type": `"` + typ + `"`, "status": "400"}})
	}
	refuse(`{"query":{"foo":{}}}`, "parsing_exception")
	refuse(`{"query":{"term":{"n":1,"k":1}}}`, "parsing_exception")
	refuse(`{"query":{"match_all":{},"term":{}}}`, "parsing_exception")
	refuse(`{"query":{"match_all":{"foo":1}}}`, "parsing_exception")
	refuse(`{"query":{"bool":{"foo":[]}}}`, "x_content_parse_exception")
	refuse(`{"query":{"range":{"n":{"foo":1}}}}`, "parsing_exception")
	refuse(`{"query":{"terms":{"k":"a"}}}`, "parsing_exception")
	refuse(`{"query":{}}`, "illegal_argument_exception")
	refuse(`{"query":[]}`, "parsing_exception")
	refuse(`{"foo":1}`, "parsing_exception")
	refuse(`{"size":-2}`, "illegal_argument_exception")
	refuse(`{"size":20000}`, "illegal_argument_exception")
	refuse(`{"a":`, "x_content_e_o_f_exception")
	refuse(`{"query":{"match_all":{}}} {"x":1}`, "parsing_exception")
	refuse(`{"query":{"term":{"n":"abc"}}}`, "query_shard_exception")
	refuse(`{"query":{"term":{"nt":"abc"}}}`, "query_shard_exception")
	refuse(`{"query":{"term":{"nk":"abc"}}}`, "query_shard_exception")
	refuse(`{"query":{"range":{"d":{"gte":"nope"}}}}`, "parse_exception")
	refuse(`{"query":{"prefix":{"n":"1"}}}`, "query_shard_exception")
	refuse(`{"query":{"query_string":{"query":"k:(a"}}}`, "query_shard_exception")
	refuse(`{"sort":["t"]}`, "illegal_argument_exception")
	refuse(`{"sort":["nope"]}`, "query_shard_exception")
	refuse(`{"aggs":{"x":{"foo":{}}}}`, "parsing_exception")
	refuse(`{"aggs":{"x":{"terms":{"field":"t"}}}}`, "illegal_argument_exception")
	refuse(`{"aggs":{"x":{"sum":{"field":"k"}}}}`, "illegal_argument_exception")
	refuse(`{"aggs":{"x":{"date_histogram":{"field":"d","interval":"day"}}}}`, "x_content_parse_exception")
	list = append(list,
		exchange{"parameter", "GET", p + "?foo=1", "", 400, map[string]string{"error/type": `"illegal_argument_exception"`}},
		exchange{"count with size", "POST", "/embsearch-s/_count", `{"size":1}`, 400, map[string]string{"error/type": `"parsing_exception"`}},
		exchange{"method", "DELETE", "/_search", "", 405, nil},
	)
	run(t, base, list)
}
