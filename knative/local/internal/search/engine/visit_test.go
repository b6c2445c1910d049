package engine_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"millrace/knative/local/internal/search/engine"
)

// counting is a storage that counts how often all documents of an index are read.
type counting struct {
	*memory
	scans int
}

func (c *counting) Read(_ context.Context, f func(engine.Reader) error) error { return f(c) }

func (c *counting) Scan(ctx context.Context, index int64, limit int, f func(int64, []byte) error) error {
	if limit != 0 {
		c.scans++
	}
	return c.memory.Scan(ctx, index, limit, f)
}

// Guards trace and redelivery among many documents: what a query names by id is found without reading all others, and is what reading all others finds. A query that
// may match others reads them.
func TestNamedDocumentsAreNotSearchedFor(t *testing.T) {
	rows := &counting{memory: newMemory()}
	s, err := engine.New(rows)
	if err != nil {
		t.Fatal(err)
	}
	send := func(path, body string) string {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		s.ServeHTTP(w, r)
		if w.Code != 200 {
			t.Fatalf("%s: %d %s", body, w.Code, w.Body)
		}
		return w.Body.String()
	}
	var docs strings.Builder
	for i := range 40 {
		fmt.Fprintf(&docs, "{\"create\":{\"_index\":\"i%d\",\"_id\":\"%d\"}}\n{\"n\":%d,\"even\":%t}\n", i%2, i, i, i%4 < 2)
	}
	fmt.Fprintf(&docs, "{\"delete\":{\"_index\":\"i0\",\"_id\":\"8\"}}\n")
	send("/_bulk", docs.String())
	for query, scans := range map[string]int{
		`{"ids":{"values":["3","5","none","3","8"]}}`:            0,
		`{"term":{"_id":"4"}}`:                                   0,
		`{"terms":{"_id":["4","7"]}}`:                            0,
		`{"constant_score":{"filter":{"ids":{"values":["9"]}}}}`: 0,
		`{"bool":{"filter":[{"range":{"n":{"gte":0}}},{"ids":{"values":["1","2","6"]}}],"must_not":[{"term":{"n":2}}]}}`: 0,
		`{"bool":{"must":[{"ids":{"values":["1","2"]}},{"term":{"_id":"2"}}],"should":[{"term":{"n":1}}]}}`:              0,
		`{"bool":{"should":[{"ids":{"values":["1"]}},{"bool":{"filter":{"term":{"_id":"12"}}}}]}}`:                       0,
		`{"bool":{"should":[{"ids":{"values":["1"]}},{"term":{"n":12}}]}}`:                                               2,
		`{"bool":{"must_not":[{"ids":{"values":["1"]}}]}}`:                                                               2,
		`{"bool":{"filter":[{"term":{"even":true}}],"should":[{"ids":{"values":["1"]}}]}}`:                               2,
		`{"bool":{"should":[{"ids":{"values":["1"]}},{"match_all":{}}],"minimum_should_match":0}}`:                       2,
		`{"bool":{"filter":[{"bool":{"must_not":{"ids":{"values":["1"]}}}},{"ids":{"values":["1","2","3"]}}]}}`:          0,
	} {
		body := `{"size":50,"sort":["n"],"_source":false,"query":` + query + `,"aggs":{"s":{"sum":{"field":"n"}}}}`
		rows.scans = 0
		got := send("/i0,i1/_search", body)
		if rows.scans != scans {
			t.Errorf("%s: read all documents of %d indices, want %d", query, rows.scans, scans)
		}
		// A minimum says nothing about what may match, so this one reads all.
		rows.scans = 0
		want := send("/i0,i1/_search", strings.Replace(body, query, `{"bool":{"should":[`+query+`],"minimum_should_match":1}}`, 1))
		if rows.scans != 2 {
			t.Fatalf("the comparison read all documents of %d indices", rows.scans)
		}
		if cut(got) != cut(want) {
			t.Errorf("%s:\n got %s\nwant %s", query, got, want)
		}
	}
	rows.scans = 0
	send("/i0/_mget", `{"ids":["2","none"]}`)
	if got := send("/i0,i1/_count", ""); rows.scans != 0 || !strings.Contains(got, `"count":39`) {
		t.Errorf("mget and a count of all: %d reads, %s", rows.scans, got)
	}
}

// cut leaves out how long it took.
func cut(answer string) string {
	before, rest, _ := strings.Cut(answer, `"took":`)
	_, after, _ := strings.Cut(rest, ",")
	return before + after
}
