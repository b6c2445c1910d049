package search_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"millrace/shared/contract"
	"millrace/shared/search"
	"millrace/shared/search/searchtest"
)

// Guards counting by pseudonym: text that is masked is mapped as a keyword, since what stands there has no words, while other text is analysed as its contract says.
func TestMaskedTextIsAKeyword(t *testing.T) {
	fake := searchtest.NewFake(t)
	var sent struct {
		Template struct {
			Mappings struct {
				Properties struct {
					Payload struct {
						Properties map[string]struct{ Type string }
					}
				}
			}
		}
	}
	fake.Set(searchtest.Hooks{Whole: func(r *http.Request, body []byte) (int, http.Header, string) {
		if r.Method == http.MethodPut {
			if err := json.Unmarshal(body, &sent); err != nil {
				t.Error(err)
			}
		}
		return 0, nil, ""
	}})
	c := &contract.Contract{EventType: "New", Version: "0-0-1", Addition: 1, Payload: []contract.Field{
		{Name: "said", Type: contract.String, Search: "text"}, {Name: "agent", Type: contract.String, Search: "text", Classification: "personal"},
	}}
	if err := searchtest.New(t, search.Options{URL: fake.URL}).EnsureEnriched(t.Context(), []*contract.Contract{c}); err != nil {
		t.Fatal(err)
	}
	if p := sent.Template.Mappings.Properties.Payload.Properties; p["said"].Type != "text" || p["agent"].Type != "keyword" {
		t.Errorf("%v", p)
	}
}
