package search

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// paged answers searches as Elasticsearch does: the documents in the order of their root ids, those without last, a page behind the mark.
type paged struct {
	t     *testing.T
	roots []string // of the documents
	asked int
}

func (p *paged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.asked++
	body, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Error(err)
	}
	var ask struct {
		After []string `json:"search_after"`
	}
	if err := json.Unmarshal(body, &ask); err != nil {
		p.t.Errorf("%s: %v", body, err)
	}
	type document struct {
		id   int
		root string
	}
	var all []document
	for i, root := range p.roots {
		if len(ask.After) == 0 || root == "" || root > ask.After[0] {
			all = append(all, document{i, root})
		}
	}
	slices.SortStableFunc(all, func(a, b document) int {
		if (a.root == "") != (b.root == "") {
			return strings.Compare(b.root, a.root)
		}
		return strings.Compare(a.root, b.root)
	})
	var hits []string
	for _, d := range all[:min(len(all), 4)] {
		sort, source := `null`, `{}`
		if d.root != "" {
			sort, source = fmt.Sprintf("%q", d.root), fmt.Sprintf(`{"root_id":%q}`, d.root)
		}
		hits = append(hits, fmt.Sprintf(`{"_index":"i","_id":"%d","_source":%s,"sort":[%s]}`, d.id, source, sort))
	}
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"timed_out":false,"_shards":{"failed":0},"hits":{"hits":[%s]}}`, strings.Join(hits, ","))
}

// Guards documents beyond the first page, which a look would not count and an erasure leave: a page that ends within the documents of a root id loses none of them, each comes once, and where one root id fills a
// page that is said.
func TestFindByPages(t *testing.T) {
	f := func(roots string, more bool, requests int) {
		t.Helper()
		p := &paged{t: t}
		for root := range strings.SplitSeq(roots, " ") {
			p.roots = append(p.roots, strings.Trim(root, "-"))
		}
		server := httptest.NewServer(p)
		defer server.Close()
		c, err := New(Options{URL: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.maxHits = 4
		found, again, err := c.FindBy(t.Context(), "subject", []string{"ada"})
		if err != nil || again != more || p.asked != requests {
			t.Errorf("%s: more %t, %d requests, %v", roots, again, p.asked, err)
		}
		ids := map[string]bool{}
		for _, h := range found {
			ids[h.ID] = true
		}
		want := len(p.roots)
		if more {
			want = len(found) // some of one root id are not seen
		}
		if len(ids) != want || len(found) != want || len(found) < len(p.roots)-1 {
			t.Errorf("%s: found %v", roots, found)
		}
	}
	f("a b c", false, 1)
	f("a b c d", false, 2)
	f("d c b a h g f e i", false, 3)
	f("a a b b b c c", false, 3)
	f("a b b b b", true, 3)
	f("b b b b b c a", true, 3)
	f("a - - b", false, 2)
	f("- - - a - b", true, 2)
}
