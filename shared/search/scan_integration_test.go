//go:build integration

package search_test

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"millrace/shared/search"
	"millrace/shared/search/searchtest"
)

// Guards a scan against what Elasticsearch says otherwise than the test server: pages, the bounds of the time, an index that is not there, a document without a hash.
func TestScanOfElasticsearch(t *testing.T) {
	url := os.Getenv("ELASTICSEARCH_URL")
	if url == "" {
		t.Skip("ELASTICSEARCH_URL names no server")
	}
	c := searchtest.New(t, search.Options{URL: url, Prefix: fmt.Sprintf("millrace-scan-%d-", os.Getpid())})
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	index := c.DeadIndex(at)
	if err := c.EnsureDead(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, path := range []string{"/" + index, fmt.Sprintf("/_index_template/millrace-millrace-scan-%d-*", os.Getpid())} {
			req, err := http.NewRequest(http.MethodDelete, url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
		}
	})
	const n = 10_500
	var ops []search.Operation
	for i := range n {
		ops = append(ops, search.Operation{Index: index, ID: fmt.Sprintf("id-%d", i), Source: fmt.Appendf(nil, `{"data_hash":"h%d","collector_tstamp":"2026-11-21T10:00:00.0005Z"}`, i)})
	}
	ops = append(ops,
		search.Operation{Index: index, ID: "before", Source: []byte(`{"data_hash":"x","collector_tstamp":"2026-11-21T09:59:59.999Z"}`)},
		search.Operation{Index: index, ID: "bare", Source: []byte(`{"collector_tstamp":"2026-11-21T10:00:01Z"}`)},
	)
	results, err := c.Bulk(t.Context(), ops)
	if err != nil || results[n].Status != search.Done {
		t.Fatal(results, err)
	}
	res, err := http.Post(url+"/"+index+"/_refresh", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	from, to := at.Add(500*time.Microsecond), at.Add(time.Second)
	if count, err := c.Count(t.Context(), index, from, to); err != nil || count != n+1 {
		t.Errorf("count %d, %v", count, err)
	}
	found := map[string]string{}
	if err := c.Scan(t.Context(), index, from, to, func(id, hash []byte) error { found[string(id)] = string(hash); return nil }); err != nil || len(found) != n+1 {
		t.Errorf("%d documents, %v", len(found), err)
	}
	for i := range n {
		if found[fmt.Sprintf("id-%d", i)] != fmt.Sprintf("h%d", i) {
			t.Fatalf("document %d: %q", i, found[fmt.Sprintf("id-%d", i)])
		}
	}
	if hash, there := found["bare"]; !there || hash != "" {
		t.Errorf("without a hash: %q, %v", hash, there)
	}
	missing := c.DeadIndex(at.AddDate(1, 0, 0))
	if count, err := c.Count(t.Context(), missing, from, to); err != nil || count != 0 {
		t.Errorf("no index: %d, %v", count, err)
	}
	if err := c.Scan(t.Context(), missing, from, to, func(id, _ []byte) error { t.Errorf("%s", id); return nil }); err != nil {
		t.Errorf("no index: %v", err)
	}
}
