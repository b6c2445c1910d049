package searchtest

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"millrace/shared/contract"
	"millrace/shared/search"
)

// Weather holds the server at url against what shared/search relies on where somebody changed templates or indexes by hand. It removes what it makes.
func Weather(t *testing.T, url, prefix string) {
	c := New(t, search.Options{URL: url, Prefix: prefix})
	contracts := []*contract.Contract{{EventType: "Trip-s", Model: 1, Payload: []contract.Field{{Name: "count", Type: contract.Integer}}}}
	name, index := "millrace-"+prefix+"enriched-trip~s-1", c.EnrichedIndex("Trip-s", 1, day)
	guessed := c.EnrichedIndex("Trip-s", 1, day.AddDate(0, 0, 1))
	remove := func() {
		Remove(t, url, index, guessed, "_index_template/millrace-"+prefix+"dead", "_index_template/"+name)
	}
	remove()
	t.Cleanup(remove)
	if err := c.EnsureTemplates(t.Context(), contracts); err != nil {
		t.Fatal(err)
	}

	// Guards against repairs where nothing is wrong.
	if mended, err := c.MendTemplates(t.Context(), contracts); err != nil || len(mended) > 0 {
		t.Fatalf("whole templates: %q, %v", mended, err)
	}
	_, version, _ := strings.Cut(string(ask(t, http.MethodGet, url+"/_index_template/"+name, "")), `"version":`)
	version = version[:strings.IndexAny(version, ",}")]
	template := func(mappings, more string) {
		ask(t, http.MethodPut, url+"/_index_template/"+name, `{"index_patterns":["`+prefix+`enriched-trip~s-1-*"],"priority":200,"version":`+version+`,
			"_meta":{`+more+`},"template":{"settings":{"number_of_replicas":"1"},"mappings":`+mappings+`}}`)
	}
	// Guards templates that were changed by hand, or put by somebody else: each is put right once, what differed is said, and what the operator has beside ours stays.
	for meta, want := range map[string]string{
		`"managed_by":"millrace","event_type":"Trip-s"`: "dynamic of the document was true; field collector_id was missing",
		``: "no _meta.managed_by",
	} {
		template(`{"dynamic":true,"properties":{"root_id":{"type":"text"},"mine":{"type":"long"}}}`, meta)
		mended, err := c.MendTemplates(t.Context(), contracts)
		if err != nil || len(mended) != 1 || !strings.HasPrefix(mended[0], name+": ") || !strings.Contains(mended[0], want) {
			t.Errorf("%s: %q, %v", meta, mended, err)
		}
		if again, err := c.MendTemplates(t.Context(), contracts); err != nil || len(again) > 0 {
			t.Errorf("%s, a second time: %q, %v", meta, again, err)
		}
		if got := string(ask(t, http.MethodGet, url+"/_index_template/"+name, "")); !strings.Contains(got, `"mine"`) || strings.Contains(got, `"text"`) {
			t.Errorf("the template is now %s", got)
		}
	}

	// Guards an index that comes to be while its template is away: it is made with the mapping, or held where types were guessed otherwise.
	Remove(t, url, "_index_template/"+name)
	if err := c.PrepareEnriched(t.Context(), index, contracts); err != nil {
		t.Errorf("without a template: %v", err)
	}
	if got := string(ask(t, http.MethodGet, url+"/"+index+"/_mapping", "")); !strings.Contains(strings.ReplaceAll(got, " ", ""), `"count":{"type":"long"}`) || !strings.Contains(got, `"dynamic":`) || strings.Contains(got, `"dynamic":"true"`) {
		t.Errorf("the mapping is %s", got)
	}
	ask(t, http.MethodPut, url+"/"+guessed, `{"mappings":{"properties":{"root_id":{"type":"text"}}}}`) // as a first document makes it
	var wrong *search.IndexError
	if err := c.PrepareEnriched(t.Context(), guessed, contracts); !errors.As(err, &wrong) || wrong.Index != guessed || !strings.Contains(fmt.Sprint(err), "root_id is text") {
		t.Errorf("guessed types: %v", err)
	}
}
