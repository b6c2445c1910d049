//go:build integration

package search_test

import (
	"errors"
	"fmt"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/shared/contract"
	"millrace/shared/search"
	"millrace/shared/search/searchtest"
)

// Guards against an Elasticsearch that behaves otherwise than the fake: the same suite on a real one.
func TestConformanceOfElasticsearch(t *testing.T) {
	url := os.Getenv("ELASTICSEARCH_URL")
	if url == "" {
		t.Skip("ELASTICSEARCH_URL names no server")
	}
	prefix := fmt.Sprintf("millrace-test-%d-", os.Getpid())
	searchtest.Run(t, url, prefix)
	searchtest.DeadLetters(t, url, prefix)
	searchtest.Finding(t, url, prefix)
	searchtest.Weather(t, url, prefix)
	searchtest.Paging(t, url, prefix)
}

// Guards against taking Elasticsearch's refusal of a template for an outage: a real one refuses it in a form of its own, and says of which field.
func TestElasticsearchRefusesTemplate(t *testing.T) {
	url := os.Getenv("ELASTICSEARCH_URL")
	if url == "" {
		t.Skip("ELASTICSEARCH_URL names no server")
	}
	c := searchtest.New(t, search.Options{URL: url, Prefix: fmt.Sprintf("millrace-test-%d-", os.Getpid())})
	err := c.EnsureEnriched(t.Context(), []*contract.Contract{{
		EventType: "Bad", Version: "0-0-1", Addition: 1, Payload: []contract.Field{{Name: "d", Type: contract.Date, Format: "nonsense ["}},
	}})
	var refused *search.TemplateError
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, "field [d]") {
		t.Errorf("got %v", err)
	}
}

// Guards an Elasticsearch with security on, which the build that tests have is not: behind a proxy that asks for TLS and a key, with a key that is rotated between two writes, what was
// refused comes to pass without a restart, and nothing is there twice.
func TestElasticsearchBehindKeyAndCA(t *testing.T) {
	server := os.Getenv("ELASTICSEARCH_URL")
	if server == "" {
		t.Skip("ELASTICSEARCH_URL names no server")
	}
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header.Del("Authorization")
	}}
	address, ca, key := guarded(t, proxy)
	file := filepath.Join(t.TempDir(), "key")
	key.Store("first")
	write(t, file, "first")
	prefix := fmt.Sprintf("millrace-guarded-%d-", os.Getpid())
	c := searchtest.New(t, search.Options{URL: address, Prefix: prefix, Access: search.Access{APIKeyFile: file, CA: ca}})
	index := c.DeadIndex(time.Now())
	remove := func() { searchtest.Remove(t, server, index, "_index_template/millrace-"+prefix+"dead") }
	remove()
	t.Cleanup(remove)
	if err := c.EnsureDead(t.Context()); err != nil {
		t.Fatal(err)
	}
	put := func(want string, ids ...string) {
		t.Helper()
		var ops []search.Operation
		for _, id := range ids {
			ops = append(ops, search.Operation{Index: index, ID: id, Source: []byte(`{"data_hash":"h"}`)})
		}
		got, err := c.Bulk(t.Context(), ops)
		if statuses(got) != want || (err != nil) != strings.Contains(want, "unavailable") {
			t.Errorf("got %s, %v, want %s", statuses(got), err, want)
		}
	}
	put("done", "1")
	key.Store("second")
	put("unavailable unavailable", "1", "2")
	write(t, file, "second")
	put("conflict done", "1", "2")
}
