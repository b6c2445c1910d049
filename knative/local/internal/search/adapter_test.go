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

// Guards the questions that people ask of dead letters on one machine.
func TestDeadLetters(t *testing.T) {
	_, base := start(t, t.TempDir())
	searchtest.DeadLetters(t, base, "")
}

// Guards replay trace on one machine.
func TestFinding(t *testing.T) {
	_, base := start(t, t.TempDir())
	searchtest.Finding(t, base, "")
}

// Guards templates and indexes that somebody changed by hand on one machine, as on Elasticsearch.
func TestWeather(t *testing.T) {
	_, base := start(t, t.TempDir())
	searchtest.Weather(t, base, "")
}

// Guards an erasure of a person with more documents than one answer holds.
func TestPaging(t *testing.T) {
	_, base := start(t, t.TempDir())
	searchtest.Paging(t, base, "")
}
