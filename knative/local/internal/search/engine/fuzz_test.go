package engine_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"millrace/knative/local/internal/search/engine"
)

// Whatever a client sends as a query, the answer must be 200 or a 4xx, never a 500 or a crash.
func FuzzSearch(f *testing.F) {
	for _, s := range []string{
		`{"query":{"term":{"k":"a"}}}`, `{"query":{"bool":{"must":[{"range":{"n":{"gte":1}}}],"minimum_should_match":"50%"}}}`, `{"query":{"query_string":{"query":"k:a AND (n:[1 TO 2] OR \"x\")"}}}`,
		`{"aggs":{"a":{"terms":{"field":"k"},"aggs":{"b":{"date_histogram":{"field":"d","fixed_interval":"1d"}}}}},"sort":[{"n":"desc"}],"search_after":[1]}`,
		`{"query":{"range":{"d":{"gte":"now-1d/d","lt":"2026-01-01||+1M/w"}}},"_source":{"includes":["*"]}}`, `{"query":{"wildcard":{"k":"*a?\\"}}}`,
	} {
		f.Add(s)
	}
	s, err := engine.New(newMemory())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	send := func(method, path, body string) (int, string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		s.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	send("PUT", "/i", `{"mappings":{"properties":{"k":{"type":"keyword"},"n":{"type":"long"},"x":{"type":"double"},"d":{"type":"date"},"b":{"type":"boolean"},"ip":{"type":"ip"},"fl":{"type":"flattened"},"t":{"type":"text","fields":{"raw":{"type":"keyword"}}},"o":{"type":"nested","properties":{"a":{"type":"keyword"}}}}}}`)
	send("PUT", "/i/_doc/1", `{"n":1,"k":"a","d":"2026-01-01","t":"some text","x":1.5}`)
	f.Fuzz(func(t *testing.T, body string) {
		status, out := send("POST", "/i/_search", body)
		if status >= 500 || !json.Valid([]byte(out)) {
			t.Errorf("status %d: %s", status, out)
		}
	})
}

// Whatever a client sends as documents, mappings or templates, the answer must be 200 or a 4xx, what was taken must be found again, and what follows must be served.
func FuzzWrite(f *testing.F) {
	for _, s := range [][2]string{
		{`{"properties":{"n":{"type":"long"},"k":{"type":"keyword","ignore_above":3}}}`, `{"n":1,"k":"abcd","new":{"a":[1.5,"x",null,true]}}`},
		{`{"dynamic":"strict","properties":{"d":{"type":"date","format":"epoch_millis||yyyy-MM-dd"}}}`, `{"d":"2026-01-01"}`},
		{`{"properties":{"f":{"type":"flattened"},"o":{"properties":{"a":{"type":"ip"}}}}}`, `{"f":{"a":{"b":1}},"o.a":"::1"}`},
		{`{"date_detection":false,"properties":{"s":{"type":"scaled_float","scaling_factor":100},"h":{"type":"half_float"}}}`, `{"s":"1.005","h":1e-9,"x":"2026-01-01"}`},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, mapping, doc string) {
		s, err := engine.New(newMemory())
		if err != nil {
			t.Fatal(err)
		}
		send := func(method, path, body string) int {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(method, path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			s.ServeHTTP(w, r)
			if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s %s: status %d: %s", method, path, w.Code, w.Body.String())
			}
			return w.Code
		}
		send("PUT", "/_index_template/t", `{"index_patterns":["i"],"template":{"mappings":`+mapping+`}}`)
		if send("PUT", "/i/_doc/1", doc) == 201 && send("GET", "/i/_doc/1", "") != 200 {
			t.Errorf("%s was taken and is not there", doc)
		}
		send("GET", "/i/_mapping", "")
		send("POST", "/i/_search", `{"query":{"query_string":{"query":"1 OR x"}},"sort":["_doc"]}`)
	})
}
