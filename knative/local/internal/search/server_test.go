package search_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	elasticsearch "github.com/elastic/go-elasticsearch/v8"
	"github.com/elastic/go-elasticsearch/v8/esutil"

	"millrace/knative/local/internal/search"
)

func start(t testing.TB, dir string, opts ...search.Option) (*search.Server, string) {
	t.Helper()
	s, err := search.Open(dir, opts...)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		h.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, h.URL
}

// The embedded part must pass the suite that Elasticsearch passes.
func TestConformance(t *testing.T) {
	_, base := start(t, t.TempDir())
	conformance(t, base)
}

// go-elasticsearch must take us for Elasticsearch, and concurrent bulks must lose and double nothing.
func TestClient(t *testing.T) {
	_, base := start(t, t.TempDir())
	client, err := elasticsearch.NewClient(elasticsearch.Config{Addresses: []string{base}, CompressRequestBody: true})
	if err != nil {
		t.Fatal(err)
	}
	info, err := client.Info()
	if err != nil || info.IsError() {
		t.Fatalf("info: %v %v", info, err)
	}
	_ = info.Body.Close()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			indexer, err := esutil.NewBulkIndexer(esutil.BulkIndexerConfig{Client: client, NumWorkers: 2, FlushBytes: 4096})
			if err != nil {
				t.Error(err)
				return
			}
			for i := range 500 {
				err := indexer.Add(context.Background(), esutil.BulkIndexerItem{
					// Half of the ids are written by all four.
					Index: "c", Action: "create", DocumentID: fmt.Sprintf("%d-%d", w*(i%2), i), Body: strings.NewReader(`{"v":1,"f` + fmt.Sprint(i%20) + `":"x"}`),
				})
				if err != nil {
					t.Error(err)
				}
			}
			if err := indexer.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	_, out, _ := do(t, base, "POST", "/c/_count", "")
	if n, _ := lookup(out, "count"); !same(n, "1250") {
		t.Errorf("count %v, want 1250", n)
	}
	_, out, _ = do(t, base, "POST", "/c/_search", `{"size":0,"query":{"match":{"f3":"x"}},"aggs":{"v":{"sum":{"field":"v"}}}}`)
	if n, _ := lookup(out, "aggregations/v/value"); !same(n, "100") {
		t.Errorf("sum %v, want 100", n)
	}
}

// What was acknowledged must be there after a SIGKILL, mappings, templates and versions included.
func TestKill(t *testing.T) {
	if dir := os.Getenv("SEARCH_TEST_CHILD"); dir != "" {
		killMe(t, dir)
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), "SEARCH_TEST_CHILD="+dir)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child ended with %v:\n%s", err, out)
	}
	_, base := start(t, dir)
	run(t, base, []exchange{
		{"documents", "POST", "/killed/_search", `{"query":{"term":{"s.keyword":"x"}},"size":0}`, 200, map[string]string{"hits/total/value": "200"}},
		{"count", "GET", "/killed/_count", "", 200, map[string]string{"count": "200"}},
		{"version", "PUT", "/killed/_create/7", `{}`, 409, nil},
		{"new", "PUT", "/killed/_create/new", `{"n":"2"}`, 201, map[string]string{"_seq_no": "200"}},
		{"template", "GET", "/_index_template/t", "", 200, nil},
	})
}

func killMe(t *testing.T, dir string) {
	s, err := search.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	base := httptest.NewServer(s).URL
	do(t, base, "PUT", "/_index_template/t", `{"index_patterns":["x"]}`)
	for from := 0; from < 200; from += 50 {
		var b strings.Builder
		for i := range 50 {
			fmt.Fprintf(&b, "{\"create\":{\"_index\":\"killed\",\"_id\":\"%d\"}}\n{\"n\":%d,\"s\":\"x\"}\n", from+i, i)
		}
		if status, out, raw := do(t, base, "POST", "/_bulk", b.String()); status != 200 {
			t.Fatal(raw)
		} else if e, _ := lookup(out, "errors"); !same(e, "false") {
			t.Fatal(raw)
		}
	}
	p, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	select {}
}

// A body beyond the limit must be refused, not read, and only what is known must be answered.
func TestRefuse(t *testing.T) {
	_, base := start(t, t.TempDir(), search.WithMaxBody(1000))
	run(t, base, []exchange{
		{"large", "PUT", "/i/_doc/1", `{"a":"` + strings.Repeat("x", 1000) + `"}`, 413, nil},
		{"fits", "PUT", "/i/_doc/1", `{"a":"x"}`, 201, nil},
		{"unknown path", "GET", "/i/_foo", "", 400, map[string]string{"status": "400"}},
		{"scroll", "POST", "/_search/scroll", "{}", 400, nil},
		{"update", "POST", "/i/_update/1", "{}", 400, nil},
		{"update in bulk", "POST", "/_bulk", "{\"update\":{\"_index\":\"i\",\"_id\":\"1\"}}\n{\"doc\":{}}\n", 400, nil},
		{"routing", "POST", "/_bulk", "{\"index\":{\"_index\":\"i\",\"routing\":\"1\"}}\n{}\n", 400, nil},
		{"highlight", "POST", "/i/_search", `{"highlight":{}}`, 400, nil},
		{"dynamic templates", "PUT", "/j", `{"mappings":{"dynamic_templates":[{"a":{}}]}}`, 400, nil},
		{"geo", "PUT", "/j", `{"mappings":{"properties":{"g":{"type":"geo_point"}}}}`, 400, nil},
		{"nested as object", "PUT", "/n", `{"mappings":{"properties":{"o":{"type":"nested","properties":{"a":{"type":"keyword"}}}}}}`, 200, nil},
		{"nested document", "PUT", "/n/_doc/1", `{"o":[{"a":"x"},{"a":"y"}]}`, 201, nil},
		{"nested query", "POST", "/n/_search", `{"query":{"nested":{"path":"o","query":{"term":{"o.a":"y"}}}}}`, 200, map[string]string{"hits/total/value": "1"}},
	})
}

// The field limit must stop a document that brings too many fields, not the index.
func TestFieldLimit(t *testing.T) {
	_, base := start(t, t.TempDir())
	wide := map[string]int{}
	for i := range 1001 {
		wide[fmt.Sprintf("f%d", i)] = i
	}
	b, err := json.Marshal(wide)
	if err != nil {
		t.Fatal(err)
	}
	run(t, base, []exchange{
		{"wide", "PUT", "/w/_doc/1", string(b), 400, map[string]string{"error/type": `"document_parsing_exception"`}},
		{"narrow", "PUT", "/w/_doc/1", `{"a":1}`, 201, nil},
		{"nothing is left of the wide one", "GET", "/w/_mapping", "", 200, map[string]string{"w/mappings": `{"properties":{"a":{"type":"long"}}}`}},
	})
}

func bulkBody(b *bytes.Buffer, from, n int) {
	b.Reset()
	for i := from; i < from+n; i++ {
		fmt.Fprintf(b, `{"create":{"_index":"bench","_id":"%08x-aaaa-bbbb-cccc-%012x"}}`+"\n", i*2654435761%(1<<32), i)
		fmt.Fprintf(b, `{"event_type":"YellowTaxiTripRecords","schema_version":"0-0-1","root_id":"%08x-aaaa-bbbb-cccc-%012x","collector_id":"collector-1","collector_tstamp":"2026-01-01T00:00:00Z","id":"%d","source":"/produce/yellow","time":"2026-01-%02dT10:%02d:00Z",`, i*2654435761%(1<<32), i, i, 1+i%28, i%60)
		fmt.Fprintf(b, `"payload":{"VendorID":%d,"trip_distance":%d.%d,"fare_amount":%d.5,"total_amount":12.75,"PULocationID":%d,"DOLocationID":%d,"payment_type":1,"store_and_fwd_flag":"N","tip_amount":2.5,"tolls_amount":0.0,"mta_tax":0.5,"extra":1.0,"passenger_count":1},`, 1+i%2, i%20, i%10, i%80, i%265, i%263)
		fmt.Fprintf(b, `"enrichment":{"pickup":{"borough":"Manhattan","zone":"Zone %d"},"dropoff":{"borough":"Queens","zone":"Zone %d"}},"note":"%s"}`+"\n", i%265, i%263, strings.Repeat("x", 250))
	}
}

const benchMapping = `{"mappings":{"dynamic":false,"properties":{"event_type":{"type":"keyword"},"schema_version":{"type":"keyword"},"root_id":{"type":"keyword"},"collector_id":{"type":"keyword"},"collector_tstamp":{"type":"date"},"id":{"type":"keyword"},"source":{"type":"keyword"},"time":{"type":"date"},
"payload":{"properties":{"VendorID":{"type":"long"},"trip_distance":{"type":"double"},"fare_amount":{"type":"double"},"total_amount":{"type":"double"},"PULocationID":{"type":"long"},"DOLocationID":{"type":"long"},"payment_type":{"type":"long"},"store_and_fwd_flag":{"type":"keyword"},"tip_amount":{"type":"double"},"tolls_amount":{"type":"double"},"mta_tax":{"type":"double"},"extra":{"type":"double"},"passenger_count":{"type":"long"}}},
"enrichment":{"properties":{"pickup":{"properties":{"borough":{"type":"keyword"},"zone":{"type":"keyword"}}},"dropoff":{"properties":{"borough":{"type":"keyword"},"zone":{"type":"keyword"}}}}}}}}`

// BenchmarkBulk indexes 500 documents of 1 KB per iteration.
func BenchmarkBulk(b *testing.B) {
	_, base := start(b, b.TempDir())
	do(b, base, "PUT", "/bench", benchMapping)
	var body bytes.Buffer
	n := 0
	for b.Loop() {
		bulkBody(&body, n, 500)
		n += 500
		if status, _, raw := do(b, base, http.MethodPost, "/_bulk?filter_path=errors", body.String()); status != 200 || raw != `{"errors":false}` {
			b.Fatal(raw)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "docs/s")
}

// BenchmarkSearch asks questions of 100,000 documents of 1 KB.
func BenchmarkSearch(b *testing.B) {
	_, base := start(b, b.TempDir())
	do(b, base, "PUT", "/bench", benchMapping)
	var body bytes.Buffer
	for n := 0; n < 100_000; n += 1000 {
		bulkBody(&body, n, 1000)
		if status, _, raw := do(b, base, http.MethodPost, "/_bulk?filter_path=errors", body.String()); status != 200 || raw != `{"errors":false}` {
			b.Fatal(raw)
		}
	}
	for name, q := range map[string]string{
		"ids":  `{"query":{"ids":{"values":["00000000-aaaa-bbbb-cccc-000000000000"]}}}`,
		"id":   `{"query":{"bool":{"filter":[{"term":{"_id":"00000000-aaaa-bbbb-cccc-000000000000"}},{"exists":{"field":"time"}}]}}}`,
		"all":  `{"size":0,"track_total_hits":true}`,
		"term": `{"query":{"term":{"root_id":"00000000-aaaa-bbbb-cccc-000000000000"}}}`,
		"sort": `{"query":{"range":{"time":{"gte":"2026-01-10"}}},"sort":[{"time":"desc"}],"size":20}`,
		"aggs": `{"size":0,"aggs":{"d":{"date_histogram":{"field":"time","calendar_interval":"day"},"aggs":{"f":{"avg":{"field":"payload.fare_amount"}}}},"z":{"terms":{"field":"enrichment.pickup.zone"}}}}`,
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if status, _, raw := do(b, base, http.MethodPost, "/bench/_search", q); status != 200 {
					b.Fatal(raw)
				}
			}
		})
	}
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("%08x-aaaa-bbbb-cccc-%012x", i*77*2654435761%(1<<32), i*77)
	}
	ids, err := json.Marshal(many)
	if err != nil {
		b.Fatal(err)
	}
	for name, q := range map[string][2]string{
		"mget1000": {"/bench/_mget?_source=root_id", `{"ids":` + string(ids) + `}`},
		"ids1000":  {"/bench/_search", `{"size":0,"query":{"ids":{"values":` + string(ids) + `}}}`},
		"count":    {"/bench/_count", ""},
		"countOne": {"/bench/_count", `{"query":{"term":{"root_id":"00000000-aaaa-bbbb-cccc-000000000000"}}}`},
		"mget":     {"/bench/_mget", `{"ids":["00000000-aaaa-bbbb-cccc-000000000000","none"]}`},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if status, _, raw := do(b, base, http.MethodPost, q[0], q[1]); status != 200 {
					b.Fatal(raw)
				}
			}
		})
	}
}
