package search_test

import (
	"testing"

	"millrace/shared/search/searchtest"
)

// Guards load-search on the embedded part: it passes the adapter's suite, as Elasticsearch does.
func TestAdapter(t *testing.T) {
	_, base := start(t, t.TempDir())
	searchtest.Run(t, base, "")
}
