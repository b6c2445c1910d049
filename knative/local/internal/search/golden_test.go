package search_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "record: under -tags integration Elasticsearch's answers, else the embedded search's where they are known to differ")

// recorded is one request and what a server answered, without what differs from run to run (see normal).
type recorded struct {
	Name    string   `json:"name"`
	Request string   `json:"request"`
	Body    []string `json:"body,omitempty"` // its lines
	Status  int      `json:"status"`
	Answer  any      `json:"answer"`
}

// A difference is the embedded search's answer where it is not Elasticsearch's, and why that is so.
type difference struct {
	Why    string `json:"why"`
	Status int    `json:"status"`
	Answer any    `json:"answer"`
}

const differencesFile = "testdata/differences.json"

func goldenFile(group string) string { return filepath.Join("testdata", "golden", group+".json") }

// Guards the subset against drifting from Elasticsearch: each answer is, as a whole, the one that was recorded from it, but for those on the list of differences, which
// must be as that list says, and must differ.
func TestGolden(t *testing.T) {
	_, base := start(t, t.TempDir())
	differences := map[string]*difference{}
	load(t, differencesFile, &differences)
	known := map[string]bool{}
	for _, g := range goldens {
		var want []recorded
		load(t, goldenFile(g.name), &want)
		got := g.play(t, base)
		if len(want) != len(got) {
			t.Errorf("%s: %d answers are recorded of %d: record them anew", g.name, len(want), len(got))
			continue
		}
		for i := range got {
			key := g.name + "/" + got[i].Name
			known[key] = true
			if want[i].Name != got[i].Name || want[i].Request != got[i].Request || !slices.Equal(want[i].Body, got[i].Body) {
				t.Errorf("%s: another request is recorded: record it anew", key)
				continue
			}
			as := want[i]
			if d := differences[key]; d != nil {
				if *update {
					d.Status, d.Answer = got[i].Status, got[i].Answer
				}
				if d.Status == as.Status && reflect.DeepEqual(d.Answer, as.Answer) {
					t.Errorf("%s: no difference any more: take it off the list", key)
				}
				as.Status, as.Answer = d.Status, d.Answer
			}
			if got[i].Status != as.Status || !reflect.DeepEqual(got[i].Answer, as.Answer) {
				t.Errorf("%s: %s: status %d, want %d%s", key, got[i].Request, got[i].Status, as.Status, apart(t, "", got[i].Answer, as.Answer))
			}
		}
	}
	for key, d := range differences {
		if !known[key] || d.Why == "" {
			t.Errorf("difference %s: of no request, or without a reason", key)
		}
	}
	if *update {
		save(t, differencesFile, differences)
	}
}

// golden plays every group on Elasticsearch and compares, or records.
func golden(t *testing.T, base string) {
	t.Helper()
	for _, g := range goldens {
		got := g.play(t, base)
		if *update {
			save(t, goldenFile(g.name), got)
			continue
		}
		var want []recorded
		load(t, goldenFile(g.name), &want)
		for i := range got {
			if i >= len(want) || !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("%s/%s: Elasticsearch says %d %s", g.name, got[i].Name, got[i].Status, text(t, got[i].Answer))
			}
		}
	}
}

func load(t *testing.T, file string, to any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func save(t *testing.T, file string, v any) {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(v)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = os.WriteFile(file, b.Bytes(), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// apart lists where two answers differ.
func apart(t *testing.T, at string, got, want any) string {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return ""
	}
	out := ""
	if g, ok := got.(map[string]any); ok {
		if w, ok := want.(map[string]any); ok {
			all := map[string]any{}
			maps.Copy(all, g)
			maps.Copy(all, w)
			for _, k := range slices.Sorted(maps.Keys(all)) {
				out += apart(t, at+"/"+k, g[k], w[k])
			}
			return out
		}
	}
	if g, ok := got.([]any); ok {
		if w, ok := want.([]any); ok && len(w) == len(g) {
			for i := range g {
				out += apart(t, fmt.Sprint(at, "/", i), g[i], w[i])
			}
			return out
		}
	}
	return fmt.Sprintf("\n%s\n   got %s\n  want %s", at, text(t, got), text(t, want))
}

// group is a list of requests that build on each other, in indices whose names begin with golden-.
type group struct {
	name  string
	steps []step
}

type step struct{ name, request, body string }

func (g group) play(t *testing.T, base string) []recorded {
	t.Helper()
	clean := func() {
		_, out, _ := do(t, base, http.MethodGet, "/golden-*?ignore_unavailable=true", "")
		if indices, ok := out.(map[string]any); ok {
			for name := range indices {
				do(t, base, http.MethodDelete, "/"+name, "")
			}
		}
		do(t, base, http.MethodDelete, "/_index_template/golden-*", "")
	}
	clean()
	defer clean()
	var out []recorded
	for _, s := range g.steps {
		method, path, _ := strings.Cut(s.request, " ")
		status, _, raw := do(t, base, method, path, s.body)
		var answer any
		if raw != "" {
			if err := json.Unmarshal([]byte(raw), &answer); err != nil {
				answer = raw
			}
		}
		r := recorded{Name: s.name, Request: s.request, Status: status, Answer: normal(answer)}
		if s.body != "" {
			for line := range strings.SplitSeq(strings.TrimSuffix(s.body, "\n"), "\n") {
				if len(line) > 1000 {
					line = fmt.Sprintf("%s... (%d bytes)", line[:60], len(line))
				}
				r.Body = append(r.Body, line)
			}
		}
		out = append(out, r)
	}
	return out
}

// characters are listed by Elasticsearch in an order that each start of it draws anew.
var characters = regexp.MustCompile(`characters \[.*\]$`)

var uuid = regexp.MustCompile(`/[A-Za-z0-9_-]{22}\]`)

// normal leaves out what differs from run to run and between servers of one behaviour: durations, shard counts, scores, ids of nodes and indices, where in the
// request or inside the server a failure came from. Of a cause it keeps the type.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			switch k {
			case "took", "timed_out", "_shards", "_score", "max_score", "index_uuid", "node", "shard", "uuid", "creation_date", "line", "col", "terminated_early":
				continue
			case "caused_by":
				if m, ok := x.(map[string]any); ok {
					x = m["type"]
				}
			case "version":
				if _, object := x.(map[string]any); object {
					continue // the server's
				}
			}
			out[k] = normal(x)
		}
		return out
	case []any:
		for i := range v {
			v[i] = normal(v[i])
		}
	case string:
		return characters.ReplaceAllString(uuid.ReplaceAllString(v, "/uuid]"), "characters [in some order]")
	}
	return v
}

// bulkLines makes a body of actions and documents, one a line.
func bulkLines(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

const goldenMapping = `{"settings":{"number_of_replicas":0,"number_of_shards":1},"mappings":{"dynamic":false,"properties":{
"event_type":{"type":"keyword"},"root_id":{"type":"keyword"},"source":{"type":"keyword"},"time":{"type":"date"},"replay_count":{"type":"long"},
"payload":{"dynamic":false,"properties":{"n":{"type":"long"},"x":{"type":"double"},"f":{"type":"float"},"k":{"type":"keyword","ignore_above":20},"long":{"type":"keyword"},"b":{"type":"boolean"},"d":{"type":"date"},"day":{"type":"date","format":"yyyy-MM-dd"},"ip":{"type":"ip"},"flat":{"type":"flattened"},"tags":{"type":"keyword"},"by":{"type":"byte"}}},
"failure":{"properties":{"code":{"type":"keyword"},"message":{"type":"text","fields":{"keyword":{"type":"keyword","ignore_above":1024}}},"hint":{"type":"keyword","index":false,"doc_values":false}}}}}}`

func create(index, id string) string {
	return fmt.Sprintf(`{"create":{"_index":%q,"_id":%q}}`, index, id)
}

// external is the write of a replayed event.
func external(index, id string, version int) string {
	return fmt.Sprintf(`{"index":{"_index":%q,"_id":%q,"version":%d,"version_type":"external"}}`, index, id, version)
}

// refusedDocs lists documents that goldenMapping refuses, or takes, each for a reason of its own.
var refusedDocs = []string{
	`{"payload":{"n":"text"}}`, `{"payload":{"n":{"a":1}}}`, `{"payload":{"n":true}}`, `{"payload":{"n":1.7}}`, `{"payload":{"n":"7"}}`, `{"payload":{"n":9223372036854775808}}`, `{"payload":{"n":[1,"x"]}}`, `{"payload":{"n":null}}`,
	`{"payload":{"x":"nan"}}`, `{"payload":{"x":1e400}}`, `{"payload":{"f":1e39}}`, `{"payload":{"by":200}}`,
	`{"payload":{"b":"yes"}}`, `{"payload":{"b":1}}`, `{"payload":{"b":"true"}}`,
	`{"payload":{"d":"nonsense"}}`, `{"payload":{"d":"2026-13-01"}}`, `{"payload":{"d":"2026-02-30"}}`, `{"payload":{"d":{}}}`, `{"payload":{"d":1767225600000}}`, `{"payload":{"day":"01.02.2026"}}`, `{"time":""}`,
	`{"payload":{"ip":"1.2.3"}}`, `{"payload":{"ip":"::1"}}`, `{"payload":{"flat":"text"}}`,
	`{"payload":"text"}`, `{"payload":[1]}`, `{"payload":null}`, `{"payload":[]}`, `{"payload":{"k":{"a":"b"}}}`, `{"payload":{"unknown":{"a":[1,"x"]}}}`,
	`{"payload":{"long":"` + strings.Repeat("x", 32767) + `"}}`, `{"payload":{"k":"` + strings.Repeat("x", 40000) + `"}}`, `{"failure":{"hint":"` + strings.Repeat("h", 40000) + `"}}`,
	`{"a":1`, `{"a":1}}`, `[]`, `"x"`, `{"a":1} x`, `{"a":1}{}`, `{"a":1,"a":2}`, `{"_id":"x"}`, `{"_routing":1}`, `{"_foo":1}`, `{"o":{"_id":1}}`, `{"_id.x":1}`, `{"a. .b":1}`, `{"":1}`, `{"a..b":1}`, `{"payload.n":1}`, `{"payload.n":"x"}`, `{}`,
}

func documentSteps() []step {
	out := []step{{"index", "PUT /golden-b", goldenMapping}}
	for i, d := range refusedDocs {
		name := d
		if len(name) > 100 {
			name = fmt.Sprintf("%s... (%d bytes)", d[:40], len(d))
		}
		out = append(out, step{name, "POST /_bulk?filter_path=items.*.status,items.*.error", bulkLines(create("golden-b", fmt.Sprint("r", i)), d)})
	}
	return out
}

// queried are the documents that searches look at.
func queried() string {
	var lines []string
	for i := range 12 {
		day := fmt.Sprintf("2026-01-%02d", 1+i)
		doc := fmt.Sprintf(`{"event_type":"T%d","root_id":"root-%02d","source":"/try/%d","time":"%sT%02d:30:00Z","replay_count":%d,"payload":{"n":%d,"x":%d.5,"k":"key %c","b":%t,"day":"%s","ip":"10.0.0.%d","flat":{"a":"v%d","deep":{"er":%d}},"tags":["all","t%d"]}`,
			i%3, i, i%2, day, i, i%2, i-3, i*i, 'a'+i%4, i%2 == 0, day, i, i%2, i, i%5)
		if i%4 != 3 {
			doc += fmt.Sprintf(`,"failure":{"code":"code_%d","message":"the field /payload/n is missing, Again %d","hint":"h"}`, i%3, i%2)
		}
		lines = append(lines, create("golden-s", fmt.Sprintf("root-%02d", i)), doc+"}")
	}
	lines = append(lines, create("golden-s", "empty"), `{"root_id":"empty","payload":{}}`, create("golden-t", "other"), `{"event_type":"other","root_id":"other","time":"2026-03-01T00:00:00Z","source":"/try"}`)
	return bulkLines(lines...)
}

// search makes a step of _search in golden-s whose hits come in order.
func search1(query string) step {
	return step{query, "POST /golden-s/_search", `{"_source":false,"sort":["root_id"],"size":20,"query":` + query + `}`}
}

// body is a step of _search in golden-s with the whole body.
func body(b string) step { return step{b, "POST /golden-s/_search", b} }

func each(f func(string) step, of ...string) []step {
	out := make([]step, len(of))
	for i, s := range of {
		out[i] = f(s)
	}
	return out
}

var filled = []step{
	{"index", "PUT /golden-s", goldenMapping},
	{"another index", "PUT /golden-t", goldenMapping},
	{"documents", "POST /_bulk?refresh=true&filter_path=errors", queried()},
}

var goldens = []group{
	{"refused documents", documentSteps()},
	{"bulk", []step{
		{"index", "PUT /golden-b", goldenMapping},
		{"create", "POST /_bulk", bulkLines(create("golden-b", "1"), `{"root_id":"1","data_hash":"h"}`, create("golden-b", "2"), `{"root_id":"2"}`)},
		{"conflict", "POST /_bulk", bulkLines(create("golden-b", "1"), `{"root_id":"x"}`, create("golden-b", "3"), `{"root_id":"3"}`)},
		{"same id twice", "POST /_bulk", bulkLines(create("golden-b", "twice"), `{"a":1}`, create("golden-b", "twice"), `{"a":2}`)},
		{"external versions", "POST /_bulk", bulkLines(external("golden-b", "v", 2), `{"replay_count":1}`, external("golden-b", "v", 2), `{"replay_count":1}`, external("golden-b", "v", 1), `{}`, external("golden-b", "v", 5), `{"replay_count":4}`)},
		{"external over created", "POST /_bulk", bulkLines(external("golden-b", "1", 1), `{}`, external("golden-b", "1", 2), `{"replay_count":1}`, create("golden-b", "1"), `{}`)},
		{"index and delete", "POST /golden-b/_bulk", bulkLines(`{"index":{"_id":"i"}}`, `{"a":1}`, `{"index":{"_id":"i"}}`, `{"a":2}`, `{"delete":{"_id":"i"}}`, `{"delete":{"_id":"i"}}`, `{"create":{"_id":"i"}}`, `{"a":3}`)},
		{"names of indices", "POST /_bulk", bulkLines(create("Golden-Upper", "1"), `{}`, create("golden,comma", "1"), `{}`, create("_golden", "1"), `{}`, create("golden a", "1"), `{}`, create("golden-"+strings.Repeat("x", 250), "1"), `{}`, create("golden:x", "1"), `{}`, create("golden-b", "good"), `{}`)},
		{"a long id", "POST /_bulk", bulkLines(create("golden-b", strings.Repeat("i", 513)), `{}`)},
		{"an id of 512", "POST /_bulk?filter_path=errors,items.*.status", bulkLines(create("golden-b", strings.Repeat("i", 512)), `{}`)},
		{"an empty id", "POST /_bulk", bulkLines(`{"create":{"_index":"golden-b","_id":""}}`, `{}`)},
		{"no index", "POST /_bulk", bulkLines(`{"create":{"_id":"1"}}`, `{}`)},
		{"create with a version", "POST /_bulk", bulkLines(`{"create":{"_index":"golden-b","_id":"1","version":3,"version_type":"external"}}`, `{}`)},
		{"a version of no type", "POST /_bulk", bulkLines(`{"index":{"_index":"golden-b","_id":"1","version":3}}`, `{}`)},
		{"an unknown action", "POST /_bulk", bulkLines(`{"put":{"_index":"golden-b","_id":"1"}}`, `{}`)},
		{"an unknown parameter", "POST /_bulk", bulkLines(`{"create":{"_index":"golden-b","_id":"1","foo":1}}`, `{}`)},
		{"an action that is no object", "POST /_bulk", bulkLines(`[]`, `{}`)},
		{"an action cut short", "POST /_bulk", bulkLines(`{"create":`, `{}`)},
		{"no newline", "POST /_bulk", `{"create":{"_index":"golden-b","_id":"1"}}` + "\n{}"},
		{"no document", "POST /_bulk", bulkLines(create("golden-b", "1"))},
		{"nothing", "POST /_bulk", "\n"},
		{"errors only", "POST /_bulk?filter_path=errors,items.*.error.type,items.*.status", bulkLines(create("golden-b", "1"), `{}`, create("golden-b", "e"), `{"payload":{"n":"x"}}`, create("golden-b", "f"), `{}`)},
		{"fewer fields in the answer", "POST /_bulk?filter_path=items.create._id,-items.create._seq_no", bulkLines(create("golden-b", "g"), `{}`)},
		{"a new index by itself", "POST /_bulk?refresh=true", bulkLines(create("golden-new", "1"), `{"n":1,"s":"text","d":"2026-01-01","b":true,"x":1.5,"o":{"p":["a"]}}`)},
		{"what it mapped", "GET /golden-new/_mapping", ""},
		{"strict", "PUT /golden-strict", `{"settings":{"number_of_replicas":0},"mappings":{"dynamic":"strict","properties":{"a":{"type":"long"}}}}`},
		{"an unknown field, strict", "POST /_bulk", bulkLines(create("golden-strict", "1"), `{"b":1}`, create("golden-strict", "2"), `{"a":1}`)},
		{"few fields", "PUT /golden-few", `{"settings":{"number_of_replicas":0,"index.mapping.total_fields.limit":2}}`},
		{"too many fields", "POST /_bulk", bulkLines(create("golden-few", "1"), `{"a":1,"b":2,"c":3}`, create("golden-few", "2"), `{"a":1,"b":2}`)},
	}},
	{"documents", []step{
		{"index", "PUT /golden-d", goldenMapping},
		{"put", "PUT /golden-d/_doc/1", `{"root_id":"1","data_hash":"h1","payload":{"n":1,"unmapped":"u"}}`},
		{"put again", "PUT /golden-d/_doc/1", `{"root_id":"1","data_hash":"h2"}`},
		{"create", "PUT /golden-d/_create/2", `{"root_id":"2"}`},
		{"create again", "PUT /golden-d/_create/2", `{"root_id":"2"}`},
		{"external", "PUT /golden-d/_doc/3?version=7&version_type=external", `{"data_hash":"h3"}`},
		{"external again", "PUT /golden-d/_doc/3?version=7&version_type=external", `{}`},
		{"compare and set", "PUT /golden-d/_doc/2?if_seq_no=2&if_primary_term=1", `{"root_id":"2b"}`},
		{"compare and set, late", "PUT /golden-d/_doc/2?if_seq_no=2&if_primary_term=1", `{"root_id":"2c"}`},
		{"refused", "PUT /golden-d/_doc/4", `{"payload":{"n":"x"}}`},
		{"no body", "PUT /golden-d/_doc/4", ""},
		{"get", "GET /golden-d/_doc/1", ""},
		{"get some", "GET /golden-d/_doc/1?_source=data_hash,payload.*", ""},
		{"get none", "GET /golden-d/_doc/none", ""},
		{"get of no index", "GET /golden-none/_doc/1", ""},
		{"exists", "HEAD /golden-d/_doc/1", ""},
		{"exists not", "HEAD /golden-d/_doc/none", ""},
		{"source", "GET /golden-d/_source/2", ""},
		{"source of none", "GET /golden-d/_source/none", ""},
		{"mget", "POST /_mget", `{"docs":[{"_index":"golden-d","_id":"1","_source":["data_hash"]},{"_index":"golden-d","_id":"none"},{"_index":"golden-none","_id":"1"},{"_index":"golden-d","_id":"3","_source":["data_hash","nothing"]}]}`},
		{"mget by ids", "POST /golden-d/_mget", `{"ids":["1","2","none"]}`},
		{"mget of no index", "POST /golden-none/_mget", `{"ids":["1"]}`},
		{"mget of nothing", "POST /_mget", `{"docs":[]}`},
		{"mget without an index", "POST /_mget", `{"ids":["1"]}`},
		{"mget, filtered", "POST /golden-d/_mget?filter_path=docs._id,docs.found", `{"ids":["1","none"]}`},
		{"delete", "DELETE /golden-d/_doc/1", ""},
		{"delete again", "DELETE /golden-d/_doc/1", ""},
		{"deleted", "GET /golden-d/_doc/1", ""},
		{"create after delete", "PUT /golden-d/_create/1", `{}`},
	}},
	{"queries", slices.Concat(filled, each(search1,
		`{"match_all":{}}`, `{"match_none":{}}`,
		`{"term":{"root_id":"root-03"}}`, `{"term":{"root_id":{"value":"ROOT-03","case_insensitive":true}}}`, `{"term":{"root_id":"none"}}`, `{"term":{"_id":"root-05"}}`, `{"term":{"_index":"golden-s"}}`, `{"term":{"unmapped":"x"}}`,
		`{"term":{"payload.n":2}}`, `{"term":{"payload.n":"2"}}`, `{"term":{"payload.n":2.5}}`, `{"term":{"payload.x":4.5}}`, `{"term":{"payload.b":true}}`, `{"term":{"payload.b":"false"}}`, `{"term":{"payload.day":"2026-01-04"}}`, `{"term":{"time":"2026-01-04T03:30:00Z"}}`, `{"term":{"payload.ip":"10.0.0.0/30"}}`, `{"term":{"payload.flat":"v1"}}`, `{"term":{"payload.flat.a":"v1"}}`, `{"term":{"payload.tags":"t2"}}`, `{"term":{"failure.message":"missing"}}`, `{"term":{"failure.message.keyword":"the field /payload/n is missing, Again 1"}}`,
		`{"terms":{"root_id":["root-01","root-02","none"]}}`, `{"terms":{"_id":["root-01","empty"]}}`, `{"terms":{"payload.n":[1,"2",3.0]}}`, `{"terms":{"root_id":[]}}`,
		`{"ids":{"values":["root-01","none","root-07","root-01"]}}`, `{"ids":{"values":[]}}`,
		`{"range":{"payload.n":{"gte":2,"lt":5}}}`, `{"range":{"payload.n":{"gt":2.5}}}`, `{"range":{"payload.x":{"lte":1.5}}}`, `{"range":{"root_id":{"gte":"root-09"}}}`, `{"range":{"payload.ip":{"gt":"10.0.0.8"}}}`, `{"range":{"payload.n":{}}}`, `{"range":{"payload.n":{"gte":null}}}`,
		`{"range":{"time":{"gte":"2026-01-04","lt":"2026-01-06"}}}`, `{"range":{"time":{"gt":"2026-01-04","lte":"2026-01-06"}}}`, `{"range":{"time":{"gte":"2026-01-01||+2d/d","lt":"2026-01-01||+1w"}}}`, `{"range":{"time":{"lt":"now"}}}`, `{"range":{"time":{"gte":"now-1m/m"}}}`, `{"range":{"time":{"gte":"2026-01-04T04:00:00+01:00","lte":"2026-01-04T23:59:59.999Z"}}}`, `{"range":{"time":{"gte":"2026-01-04T00:00","time_zone":"+05:00","lt":"2026-01-05"}}}`, `{"range":{"time":{"gte":"05.01.2026","format":"dd.MM.yyyy"}}}`, `{"range":{"time":{"gte":1767571200000}}}`, `{"range":{"payload.day":{"lte":"2026-01-02"}}}`, `{"range":{"time":{"gte":"2026-01"}}}`,
		`{"exists":{"field":"failure.code"}}`, `{"exists":{"field":"failure"}}`, `{"exists":{"field":"payload.flat.deep.er"}}`, `{"exists":{"field":"unmapped"}}`, `{"exists":{"field":"time"}}`, `{"exists":{"field":"failure.hint"}}`,
		`{"prefix":{"root_id":"root-1"}}`, `{"prefix":{"root_id":{"value":"ROOT-1","case_insensitive":true}}}`, `{"wildcard":{"root_id":"root-?1"}}`, `{"wildcard":{"payload.k":{"value":"*A","case_insensitive":true}}}`, `{"wildcard":{"source":"/try/*"}}`,
		`{"match":{"failure.message":"AGAIN missing"}}`, `{"match":{"failure.message":{"query":"again 1","operator":"and"}}}`, `{"match":{"root_id":"root-03"}}`, `{"match":{"payload.n":"4"}}`, `{"match_phrase":{"failure.message":"is missing"}}`, `{"match_phrase":{"failure.message":"missing is"}}`,
		`{"bool":{"must":[{"term":{"payload.b":true}}],"must_not":[{"term":{"event_type":"T0"}}]}}`, `{"bool":{"filter":{"range":{"payload.n":{"gt":0}}},"should":[{"term":{"event_type":"T1"}}]}}`, `{"bool":{"should":[{"term":{"event_type":"T1"}},{"term":{"source":"/try/0"}}]}}`, `{"bool":{"should":[{"term":{"event_type":"T1"}},{"term":{"source":"/try/0"}},{"term":{"payload.k":"key a"}}],"minimum_should_match":2}}`, `{"bool":{"should":[{"term":{"event_type":"T1"}},{"term":{"source":"/try/0"}}],"minimum_should_match":"100%"}}`, `{"bool":{}}`, `{"bool":{"must_not":{"exists":{"field":"time"}}}}`, `{"bool":{"filter":[{"ids":{"values":["root-01","root-02"]}},{"term":{"payload.b":true}}]}}`, `{"bool":{"should":[{"ids":{"values":["root-01"]}},{"term":{"_id":"root-02"}}]}}`, `{"bool":{"must_not":[{"ids":{"values":["root-01"]}}],"filter":[{"terms":{"_id":["root-01","root-02"]}}]}}`,
		`{"constant_score":{"filter":{"term":{"event_type":"T2"}}}}`,
		`{"query_string":{"query":"event_type:T1"}}`, `{"query_string":{"query":"source:\"/try/1\" AND payload.n:>4"}}`, `{"query_string":{"query":"event_type:(T1 OR T2) AND NOT payload.b:true"}}`, `{"query_string":{"query":"payload.n:[2 TO 4]"}}`, `{"query_string":{"query":"payload.n:{2 TO 4}"}}`, `{"query_string":{"query":"time:[2026-01-04 TO 2026-01-05]"}}`, `{"query_string":{"query":"time:>=2026-01-10"}}`, `{"query_string":{"query":"root_id:root-1*"}}`, `{"query_string":{"query":"failure.message:missing"}}`, `{"query_string":{"query":"failure.message:\"is missing\""}}`, `{"query_string":{"query":"_exists_:failure.code"}}`, `{"query_string":{"query":"NOT _exists_:failure.code"}}`, `{"query_string":{"query":"+event_type:T1 -source:\"/try/0\""}}`, `{"query_string":{"query":"T1"}}`, `{"query_string":{"query":"*"}}`, `{"query_string":{"query":"*:*"}}`, `{"query_string":{"query":"T1 T2","default_field":"event_type"}}`, `{"query_string":{"query":"code_1 missing","fields":["failure.code","failure.message"],"default_operator":"AND"}}`, `{"query_string":{"query":"failure.*:code_2"}}`, `{"query_string":{"query":"payload.ip:\"10.0.0.3\""}}`,
		`{"query_string":{"query":"event_type:(T1 T2)"}}`, `{"query_string":{"query":"payload.k:(key a)"}}`, `{"query_string":{"query":"key a","default_field":"payload.k"}}`, `{"query_string":{"query":"key a"}}`, `{"query_string":{"query":"T1 OR T2"}}`, `{"query_string":{"query":"event_type:T1 payload.n:5"}}`, `{"query_string":{"query":"missing again","default_field":"failure.message"}}`, `{"query_string":{"query":"missing 1","default_field":"failure.message","default_operator":"AND"}}`, `{"query_string":{"query":"missing nothing","default_field":"failure.message","default_operator":"AND"}}`, `{"query_string":{"query":"root-01 root-02 AND T2"}}`, `{"query_string":{"query":"missing -T1"}}`, `{"query_string":{"query":"T1 T2*"}}`, `{"query_string":{"query":"AND"}}`, `{"query_string":{"query":"T1 AND"}}`,
		`{"query_string":{"query":"payload.b:abc"}}`, `{"query_string":{"query":"time:nonsense"}}`, `{"query_string":{"query":"payload.ip:abc"}}`, `{"query_string":{"query":"payload.n:[a TO b]"}}`, `{"query_string":{"query":"payload.n:>x OR event_type:T1"}}`, `{"query_string":{"query":"payload.n:4*"}}`, `{"query_string":{"query":"payload.n:1.5"}}`, `{"query_string":{"query":"NOT payload.n:abc"}}`, `{"query_string":{"query":"failure.hint:h"}}`, `{"query_string":{"query":"unmapped:x"}}`, `{"query_string":{"query":"payload.n:abc","lenient":false}}`, `{"query_string":{"query":"payload.n:(4 5)"}}`,
	))},
	{"refusals", slices.Concat(filled, each(search1,
		`{"foo":{}}`, `{}`, `[]`, `{"term":{"payload.n":1,"payload.x":1}}`, `{"match_all":{},"term":{}}`, `{"match_all":{"foo":1}}`, `{"bool":{"foo":[]}}`, `{"range":{"payload.n":{"foo":1}}}`, `{"terms":{"root_id":"a"}}`, `{"term":{"root_id":["a"]}}`, `{"term":{"root_id":null}}`, `{"term":{"payload.n":"abc"}}`, `{"term":{"payload.b":"abc"}}`, `{"term":{"payload.ip":"abc"}}`, `{"range":{"time":{"gte":"nonsense"}}}`, `{"range":{"payload.n":{"gte":"x"}}}`, `{"term":{"failure.hint":"h"}}`, `{"prefix":{"payload.n":"1"}}`, `{"exists":{}}`, `{"ids":{"foo":1}}`, `{"query_string":{"query":"root_id:(a"}}`, `{"query_string":{"query":"payload.n:abc"}}`, `{"query_string":{}}`, `{"term":{"failure.message":{"foo":1}}}`,
	), each(body,
		`{"foo":1}`, `{"size":-2}`, `{"size":20000}`, `{"from":-1}`, `{"query":`, `{"query":{"match_all":{}}} {"x":1}`, `[]`, `{"sort":["failure.message"]}`, `{"sort":["unmapped"]}`, `{"sort":[{"time":"up"}]}`, `{"sort":["root_id"],"search_after":[1,2]}`, `{"search_after":[1]}`, `{"aggs":{"x":{"foo":{}}}}`, `{"aggs":{"x":{}}}`, `{"aggs":{"x":{"terms":{"field":"failure.message"}}}}`, `{"aggs":{"x":{"sum":{"field":"root_id"}}}}`, `{"aggs":{"x":{"date_histogram":{"field":"time","interval":"day"}}}}`, `{"aggs":{"x":{"date_histogram":{"field":"time"}}}}`, `{"aggs":{"x":{"terms":{"field":"root_id","size":0}}}}`, `{"aggs":{"x":{"terms":{"field":"root_id","order":{"none":"asc"}}}}}`, `{"track_total_hits":"maybe"}`,
	), []step{
		{"an unknown parameter", "GET /golden-s/_search?foo=1", ""},
		{"no such index", "POST /golden-none/_search", `{}`},
		{"no such index, ignored", "POST /golden-none/_search?ignore_unavailable=true", `{}`},
		{"one of two is not there", "POST /golden-s,golden-none/_search?size=0", ``},
		{"no index of a pattern", "POST /golden-none-*/_search", `{}`},
		{"no index of a pattern, forbidden", "POST /golden-none-*/_search?allow_no_indices=false", `{}`},
		{"count with a size", "POST /golden-s/_count", `{"size":1}`},
		{"count of no index", "GET /golden-none/_count", ""},
		{"a bad index name", "GET /Golden-s/_search", ""},
		{"put a bad index name", "PUT /Golden-s", ""},
		{"an unknown setting", "PUT /golden-x", `{"settings":{"foo":1}}`},
		{"an unknown key", "PUT /golden-x", `{"foo":{}}`},
		{"an index that is there", "PUT /golden-s", ""},
		{"delete of none", "DELETE /golden-none", ""},
		{"refresh of none", "POST /golden-none/_refresh", ""},
		{"mapping of none", "GET /golden-none/_mapping", ""},
		{"template of none", "GET /_index_template/golden-none", ""},
		{"delete no template", "DELETE /_index_template/golden-none", ""},
	})},
	{"search", slices.Concat(filled, each(body,
		`{"size":2,"sort":[{"time":"desc"}],"_source":["root_id","payload.n"]}`, `{"size":2,"from":3,"sort":["root_id"],"_source":{"includes":["payload.*"],"excludes":["payload.flat"]}}`, `{"size":1,"sort":["root_id"],"_source":"failure.c*"}`, `{"size":1,"sort":["root_id"],"version":true,"seq_no_primary_term":true}`,
		`{"size":3,"sort":[{"payload.n":{"order":"desc"}}],"_source":false}`, `{"size":3,"sort":[{"payload.n":{"order":"asc","missing":"_first"}},"root_id"],"_source":false}`, `{"size":3,"sort":[{"failure.code":{"order":"desc","missing":"_first"}},{"root_id":"desc"}],"_source":false}`, `{"size":2,"sort":[{"payload.tags":{"order":"asc","mode":"max"}},"root_id"],"_source":false}`, `{"size":2,"sort":[{"unmapped":{"unmapped_type":"long","order":"asc"}},"root_id"],"_source":false}`, `{"size":2,"sort":[{"payload.x":"desc"}],"_source":false}`, `{"size":2,"sort":[{"payload.b":"desc"},{"payload.ip":"desc"}],"_source":false}`,
		`{"size":2,"sort":["root_id"],"search_after":["root-05"],"_source":false}`, `{"size":3,"sort":[{"time":"desc"},"root_id"],"search_after":[1767832200000,"root-07"],"_source":false}`, `{"size":3,"sort":[{"time":"asc"}],"search_after":["2026-01-08T00:00:00Z"],"_source":false}`, `{"size":2,"sort":[{"payload.n":"asc"}],"search_after":[6],"_source":false}`,
		`{"size":0}`, `{"size":0,"track_total_hits":3}`, `{"size":0,"track_total_hits":false}`, `{"size":0,"track_total_hits":true}`, `{"size":0,"timeout":"1s"}`,
	), []step{
		{"q", `GET /golden-s/_search?q=source:"/try/1"&sort=root_id&filter_path=hits.hits._source.root_id,hits.total.value`, ""},
		{"q with sort and size", "GET /golden-s/_search?q=event_type:T1&sort=time:desc&size=2&_source=root_id", ""},
		{"q over all fields", "GET /golden-s/_search?q=code_1&sort=root_id&_source=false", ""},
		{"q with df", "GET /golden-s/_search?q=T1&df=event_type&size=0", ""},
		{"total as a number", "GET /golden-s/_search?rest_total_hits_as_int=true&size=0", ""},
		{"a source path", "GET /golden-s/_search?size=1&sort=root_id&filter_path=hits.hits._source.failure,hits.hits._id", ""},
		{"nothing left by filter_path", "GET /golden-s/_search?size=0&filter_path=hits.hits", ""},
		{"all indices of a pattern", "POST /golden-*/_search", `{"sort":["root_id"],"_source":false,"query":{"terms":{"root_id":["other","root-01"]}}}`},
		{"ids over two indices", "POST /golden-s,golden-t/_search", `{"sort":["root_id"],"_source":false,"query":{"ids":{"values":["other","root-01","none"]}}}`},
		{"an event's documents", "POST /golden-s*,golden-none-*/_search?size=100&ignore_unavailable=true&allow_no_indices=true", `{"query":{"term":{"root_id":"root-01"}},"sort":[{"collector_tstamp":{"order":"asc","unmapped_type":"date"}}],"version":true,"_source":["data_hash","collector_tstamp","root_id"]}`},
		{"everything, page by page", "POST /golden-*/_search", `{"size":3,"_source":["root_id","event_type","failure"],"sort":[{"root_id":"asc"}],"query":{"match_all":{}},"search_after":["other"]}`},
		{"dead letters by reason", "POST /golden-*/_search?filter_path=aggregations.reasons.buckets", `{"size":0,"query":{"match":{"failure.message":"missing"}},"aggs":{"reasons":{"terms":{"field":"failure.message.keyword"}}}}`},
		{"dead letters by code and day", "POST /golden-*/_search", `{"size":0,"query":{"bool":{"filter":[{"exists":{"field":"failure.code"}},{"range":{"time":{"gte":"2026-01-02","lt":"2026-01-09"}}}]}},"aggs":{"day":{"date_histogram":{"field":"time","calendar_interval":"day"},"aggs":{"code":{"terms":{"field":"failure.code"}}}}}}`},
		{"by index", "POST /golden-*/_search", `{"sort":["root_id"],"_source":false,"query":{"term":{"_index":"golden-t"}}}`},
		{"count", "GET /golden-s/_count", ""},
		{"count of a pattern", "GET /golden-*/_count", ""},
		{"count of two patterns", "GET /golden-s*,golden-t*/_count", ""},
		{"count of a query", "POST /golden-s/_count", `{"query":{"term":{"event_type":"T1"}}}`},
		{"count of one document", "POST /golden-*/_count", `{"query":{"term":{"root_id":"root-01"}}}`},
		{"count by id", "POST /golden-*/_count", `{"query":{"ids":{"values":["root-01","other"]}}}`},
		{"count of q", "GET /golden-s/_count?q=payload.b:true", ""},
		{"count of no index of a pattern", "GET /golden-none-*/_count", ""},
	})},
	{"aggregations", slices.Concat(filled, each(body,
		`{"size":0,"aggs":{"t":{"terms":{"field":"event_type"}}}}`, `{"size":0,"aggs":{"t":{"terms":{"field":"failure.code","size":2}}}}`, `{"size":0,"aggs":{"t":{"terms":{"field":"failure.message.keyword"}}}}`, `{"size":0,"query":{"match":{"failure.message":"missing"}},"aggs":{"t":{"terms":{"field":"failure.code","order":{"_key":"desc"}}}}}`, `{"size":0,"aggs":{"t":{"terms":{"field":"payload.tags","min_doc_count":3}}}}`, `{"size":0,"aggs":{"t":{"terms":{"field":"payload.n","size":3,"order":{"_key":"asc"}}}}}`, `{"size":0,"aggs":{"t":{"terms":{"field":"payload.b"}}}}`, `{"size":0,"aggs":{"t":{"terms":{"field":"payload.day","size":2,"order":{"_key":"asc"}}}}}`, `{"size":0,"aggs":{"t":{"terms":{"field":"payload.ip","size":2,"order":{"_key":"asc"}}}}}`, `{"size":0,"aggs":{"t":{"terms":{"field":"unmapped"}}}}`, `{"size":0,"aggs":{"t":{"terms":{"field":"payload.flat.a"}}}}`,
		`{"size":0,"aggs":{"t":{"terms":{"field":"event_type","order":{"m":"desc"}},"aggs":{"m":{"max":{"field":"payload.n"}},"s":{"stats":{"field":"payload.x"}}}}}}`, `{"size":0,"aggs":{"t":{"terms":{"field":"event_type","order":[{"s.avg":"asc"},{"_key":"asc"}]},"aggs":{"s":{"stats":{"field":"payload.x"}}}}}}`,
		`{"size":0,"aggs":{"d":{"date_histogram":{"field":"time","calendar_interval":"day"}}}}`, `{"size":0,"aggs":{"d":{"date_histogram":{"field":"time","calendar_interval":"week","time_zone":"Europe/Berlin"},"aggs":{"c":{"cardinality":{"field":"source"}}}}}}`, `{"size":0,"aggs":{"d":{"date_histogram":{"field":"time","fixed_interval":"36h","min_doc_count":1}}}}`, `{"size":0,"aggs":{"d":{"date_histogram":{"field":"time","calendar_interval":"month","format":"yyyy-MM"}}}}`, `{"size":0,"aggs":{"d":{"date_histogram":{"field":"time","fixed_interval":"3d","offset":"1h","order":{"_key":"desc"}}}}}`, `{"size":0,"aggs":{"d":{"date_histogram":{"field":"unmapped","calendar_interval":"day"}}}}`, `{"size":0,"query":{"range":{"time":{"gte":"2026-01-03","lt":"2026-01-05"}}},"aggs":{"d":{"date_histogram":{"field":"time","fixed_interval":"12h"},"aggs":{"t":{"terms":{"field":"event_type"}}}}}}`,
		`{"size":0,"aggs":{"a":{"avg":{"field":"payload.x"}},"s":{"sum":{"field":"payload.n"}},"mi":{"min":{"field":"payload.n"}},"ma":{"max":{"field":"time"}},"st":{"stats":{"field":"payload.n"}},"v":{"value_count":{"field":"failure.code"}},"c":{"cardinality":{"field":"payload.k"}}}}`, `{"size":0,"aggs":{"a":{"avg":{"field":"unmapped"}},"s":{"sum":{"field":"unmapped"}},"st":{"stats":{"field":"unmapped"}},"v":{"value_count":{"field":"unmapped"}},"c":{"cardinality":{"field":"unmapped"}}}}`,
		`{"size":0,"aggs":{"f":{"filter":{"term":{"payload.b":true}},"aggs":{"t":{"terms":{"field":"event_type"}}}}}}`, `{"size":1,"sort":["root_id"],"_source":false,"aggs":{"t":{"meta":{"m":1},"terms":{"field":"source"}}}}`, `{"size":0,"query":{"match_none":{}},"aggs":{"t":{"terms":{"field":"source"}},"d":{"date_histogram":{"field":"time","calendar_interval":"day"}},"st":{"stats":{"field":"payload.n"}}}}`,
	))},
	{"indices", []step{
		{"template", "PUT /_index_template/golden-t", `{"index_patterns":["golden-t-*"],"priority":300,"version":7,"_meta":{"type":"T"},"template":{"settings":{"number_of_replicas":0,"refresh_interval":"1s"},"mappings":{"dynamic":false,"properties":{"a":{"type":"long"},"o":{"properties":{"b":{"type":"keyword","ignore_above":5}}}}}}}`},
		{"template, create", "PUT /_index_template/golden-t?create=true", `{"index_patterns":["golden-t-*"],"priority":300,"template":{}}`},
		{"template, replace", "PUT /_index_template/golden-t", `{"index_patterns":["golden-t-*"],"priority":300,"version":8,"_meta":{"type":"T"},"template":{"settings":{"number_of_replicas":0},"mappings":{"dynamic":false,"properties":{"a":{"type":"long"},"o":{"properties":{"b":{"type":"keyword"}}}}}}}`},
		{"template read", "GET /_index_template/golden-t", ""},
		{"template, same priority", "PUT /_index_template/golden-u", `{"index_patterns":["golden-t-*"],"priority":300,"template":{}}`},
		{"template, higher priority", "PUT /_index_template/golden-v", `{"index_patterns":["golden-t-v*"],"priority":301,"template":{"settings":{"number_of_replicas":0},"mappings":{"properties":{"a":{"type":"keyword"}}}}}`},
		{"template, bad type", "PUT /_index_template/golden-w", `{"index_patterns":["golden-w-*"],"template":{"mappings":{"properties":{"a":{"type":"nonsense"}}}}}`},
		{"template, bad format", "PUT /_index_template/golden-w", `{"index_patterns":["golden-w-*"],"template":{"mappings":{"properties":{"a":{"type":"date","format":"nonsense ["}}}}}`},
		{"template, unknown key", "PUT /_index_template/golden-w", `{"index_patterns":["golden-w-*"],"foo":1}`},
		{"template, no patterns", "PUT /_index_template/golden-w", `{"template":{}}`},
		{"index of the template", "POST /_bulk", bulkLines(create("golden-t-1", "1"), `{"a":1,"c":"unmapped","o":{"b":"long enough"}}`, create("golden-t-v1", "1"), `{"a":"x"}`, create("golden-t-1", "2"), `{"a":"x"}`)},
		{"mapping", "GET /golden-t-1/_mapping", ""},
		{"mapping of the higher", "GET /golden-t-v1/_mapping", ""},
		{"add a field", "PUT /golden-t-1/_mapping", `{"properties":{"n":{"type":"long"},"o":{"properties":{"c":{"type":"date"}}}}}`},
		{"add it again", "PUT /golden-t-1/_mapping", `{"properties":{"n":{"type":"long"}}}`},
		{"add it to all of a pattern", "PUT /golden-t-*/_mapping", `{"properties":{"m":{"type":"boolean"}}}`},
		{"add it to no index of a pattern", "PUT /golden-none-*/_mapping", `{"properties":{"m":{"type":"boolean"}}}`},
		{"add it to no index of a pattern, which is no matter", "PUT /golden-none-*/_mapping?allow_no_indices=true", `{"properties":{"m":{"type":"boolean"}}}`},
		{"add it to no index", "PUT /golden-none/_mapping", `{"properties":{"m":{"type":"boolean"}}}`},
		{"change a type", "PUT /golden-t-1/_mapping", `{"properties":{"n":{"type":"keyword"}}}`},
		{"change a type in one of a pattern", "PUT /golden-t-*/_mapping", `{"properties":{"a":{"type":"long"}}}`},
		{"an object of a field", "PUT /golden-t-1/_mapping", `{"properties":{"a":{"properties":{"b":{"type":"long"}}}}}`},
		{"a field of an object", "PUT /golden-t-1/_mapping", `{"properties":{"o":{"type":"long"}}}`},
		{"no type", "PUT /golden-t-1/_mapping", `{"properties":{"q":{}}}`},
		{"an unknown type", "PUT /golden-t-1/_mapping", `{"properties":{"q":{"type":"nonsense"}}}`},
		{"an unknown parameter", "PUT /golden-t-1/_mapping", `{"properties":{"q":{"type":"long","foo":1}}}`},
		{"no body", "PUT /golden-t-1/_mapping", ""},
		{"flattened", "PUT /golden-t-1/_mapping", `{"properties":{"fl":{"type":"flattened","ignore_above":100}}}`},
		{"what came of it", "GET /golden-t-*/_mapping", ""},
		{"refresh", "POST /golden-t-1/_refresh", ""},
		{"refresh of a pattern", "POST /golden-none-*/_refresh", ""},
		{"exists", "HEAD /golden-t-1", ""},
		{"exists not", "HEAD /golden-none", ""},
		{"create", "PUT /golden-c", `{"settings":{"number_of_replicas":0,"index":{"refresh_interval":"500ms"}},"mappings":{"properties":{"a":{"type":"keyword"}}}}`},
		{"delete", "DELETE /golden-c", ""},
		{"delete the template", "DELETE /_index_template/golden-t", ""},
	}},
}
