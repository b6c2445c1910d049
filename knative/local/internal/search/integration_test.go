//go:build integration

package search_test

import (
	"os"
	"strings"
	"testing"
)

// The suite must say what Elasticsearch does, not what we think it does.
func TestConformanceElasticsearch(t *testing.T) {
	base := strings.TrimSuffix(os.Getenv("ELASTICSEARCH_URL"), "/")
	if base == "" {
		t.Skip("ELASTICSEARCH_URL is not set")
	}
	conformance(t, base)
}

// The answers on record must be Elasticsearch's; -update records them.
func TestGoldenElasticsearch(t *testing.T) {
	base := strings.TrimSuffix(os.Getenv("ELASTICSEARCH_URL"), "/")
	if base == "" {
		t.Skip("ELASTICSEARCH_URL is not set")
	}
	golden(t, base)
}
