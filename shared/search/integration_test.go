//go:build integration

package search_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

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
