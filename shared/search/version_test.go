package search_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"millrace/shared/search"
	"millrace/shared/search/searchtest"
)

// Guards replay's look at what it would replace: a day without an index is a document that is not there, and any other error is an outage, not absence.
func TestVersions(t *testing.T) {
	fake := searchtest.NewFake(t)
	c := searchtest.New(t, search.Options{URL: fake.URL, MaxItems: 1})
	results, err := c.Bulk(t.Context(), []search.Operation{
		{Index: "i", ID: "a", Source: []byte(`{"data_hash":"h1"}`)}, {Index: "i", ID: "b", Version: 3, Source: []byte(`{"data_hash":"h2"}`)},
	})
	if err != nil || results[0].Status != search.Done || results[1].Status != search.Done {
		t.Fatal(results, err)
	}
	refs := []search.Ref{{Index: "i", ID: "a"}, {Index: "i", ID: "b"}, {Index: "i", ID: "c"}}
	got, err := c.Versions(t.Context(), refs)
	if want := "[{true h1 1} {true h2 3} {false  0}]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("versions %v, %v, want %s", got, err, want)
	}
	answer := func(text string) ([]search.Version, error) {
		fake.Set(searchtest.Hooks{Whole: func(*http.Request, []byte) (int, http.Header, string) { return 200, nil, text }})
		return c.Versions(t.Context(), refs[:1])
	}
	got, err = answer(`{"docs":[{"_index":"i","_id":"a","error":{"type":"index_not_found_exception"}}]}`)
	if err != nil || fmt.Sprint(got) != "[{false  0}]" {
		t.Errorf("no index: %v, %v", got, err)
	}
	for _, text := range []string{`{"docs":[{"_index":"i","_id":"a","error":{"type":"no_shard_available_action_exception"}}]}`, `{"docs":[]}`, `<html>`} {
		var outage *search.OutageError
		if got, err = answer(text); !errors.As(err, &outage) || got != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}
