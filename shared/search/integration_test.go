//go:build integration

package search_test

import (
	"fmt"
	"os"
	"testing"

	"millrace/shared/search/searchtest"
)

// Guards against an Elasticsearch that behaves otherwise than the fake: the same suite on a real one.
func TestConformanceOfElasticsearch(t *testing.T) {
	url := os.Getenv("ELASTICSEARCH_URL")
	if url == "" {
		t.Skip("ELASTICSEARCH_URL names no server")
	}
	searchtest.Run(t, url, fmt.Sprintf("millrace-test-%d-", os.Getpid()))
}
