//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/search"
	"millrace/shared/search/searchtest"
)

// Guards against an Elasticsearch that behaves otherwise than the fake: redelivery, poison, an identity conflict and replays on a real
// one, with real events' fields, read back by what the templates make searchable.
func TestOnElasticsearch(t *testing.T) {
	url := os.Getenv("ELASTICSEARCH_URL")
	if url == "" {
		t.Skip("ELASTICSEARCH_URL names no server")
	}
	prefix := fmt.Sprintf("millrace-load-%d-", os.Getpid())
	remove := func() {
		searchtest.Remove(t, url, prefix+tripIndex, prefix+deadIndex,
			"_index_template/millrace-"+prefix+"dead", "_index_template/millrace-"+prefix+"enriched-yellowtaxitriprecords-0")
	}
	remove()
	t.Cleanup(remove)
	s := startOn(t, search.Options{URL: url, Prefix: prefix})

	payload := `{"VendorID":2,"tpep_pickup_datetime":"2023-01-01T00:32:10","trip_distance":0.97,
		"unknown":{"":{"deep":[1,"\ud800",{"a":null}]}}}`
	for range 2 {
		s.want(t, "done done done done", trip(t, "1", payload), trip(t, "2", payload),
			trip(t, "3", `{"VendorID":"x"}`), dead(t, "4", "\xff not JSON"))
	}
	s.letters(t, "search_rejected search_rejected")
	s.want(t, "done", trip(t, "1", `{"VendorID":1}`))
	s.letters(t, "search_rejected search_rejected identity_conflict")
	s.want(t, "done done", s.dead.letters[0], s.dead.letters[2])
	replay := func(n string) *event.Event { return trip(t, "2", payload, event.ReplayCount, n) }
	s.want(t, "done done done done", replay("2"), replay("1"), replay("2"), trip(t, "2", payload))
	s.want(t, "done done", trip(t, "2", `{"VendorID":1}`, event.ReplayCount, "9"), trip(t, "5", payload, event.ReplayCount, "1"))
	s.letters(t, "search_rejected search_rejected identity_conflict identity_conflict")

	search := func(index, query string) (ids []string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/"+prefix+index+"/_refresh", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		req, err = http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/"+prefix+index+"/_search",
			strings.NewReader(`{"query":{"bool":{"filter":[`+query+`]}},"sort":["id"]}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err = http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Hits struct {
				Hits []struct {
					Source struct {
						ID string `json:"id"`
					} `json:"_source"`
				} `json:"hits"`
			} `json:"hits"`
		}
		if err := json.Unmarshal(text, &answer); err != nil || res.StatusCode != 200 {
			t.Fatalf("status %d: %s, %v", res.StatusCode, text, err)
		}
		for _, h := range answer.Hits.Hits {
			ids = append(ids, h.Source.ID)
		}
		return ids
	}
	for _, tt := range []struct{ index, query, want string }{
		{tripIndex, `{"range":{"payload.tpep_pickup_datetime":{"gte":"2023-01-01","lt":"2023-01-02"}}},{"term":{"event_type":"YellowTaxiTripRecords"}}`, "[1 2 5]"},
		{tripIndex, `{"range":{"payload.trip_distance":{"lt":1}}},{"term":{"enrichment.pickup_zone":"Midtown"}},{"term":{"replay_count":2}}`, "[2]"},
		{tripIndex, `{"exists":{"field":"payload.unknown"}}`, "[]"},
		{deadIndex, `{"term":{"failure.code":"identity_conflict"}}`, "[1]"},
		{deadIndex, `{"match":{"failure.message":"document_parsing_exception"}}`, "[3]"},
		{deadIndex, `{"term":{"failure.stage":"enrich"}},{"range":{"failure.time":{"gte":"2026-11-21"}}}`, "[4]"},
	} {
		if got := fmt.Sprint(search(tt.index, tt.query)); got != tt.want {
			t.Errorf("%s: %s found %s, want %s", tt.index, tt.query, got, tt.want)
		}
	}
}

// Guards the check in enrich against Elasticsearch's own rules for names: a member's name that the contract's check lets pass is none for which a document is refused.
func TestElasticsearchTakesNamesThatPassTheCheck(t *testing.T) {
	url := os.Getenv("ELASTICSEARCH_URL")
	if url == "" {
		t.Skip("ELASTICSEARCH_URL names no server")
	}
	prefix := fmt.Sprintf("millrace-names-%d-", os.Getpid())
	remove := func() {
		searchtest.Remove(t, url, prefix+tripIndex, "_index_template/millrace-"+prefix+"enriched-yellowtaxitriprecords-0")
	}
	remove()
	t.Cleanup(remove)
	s := startOn(t, search.Options{URL: url, Prefix: prefix})
	embedded, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	c, _ := embedded.Find("YellowTaxiTripRecords", "0-0-1")
	unnamed := len(c.Check([]byte(`{}`))) // what is required
	parts := []string{"", " ", "\t", "\u001c", "\u00a0", "\u2028", "\u3000", "\u200b", ".", "a", "VendorID", "_id", "*", "extra"}
	var names []string
	for _, a := range parts {
		for _, b := range parts {
			names = append(names, a+b, a+"."+b, a+"."+b+"."+a)
		}
	}
	taken := 0
	for i, name := range names {
		member, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		payload := `{` + string(member) + `:{"x":"y"}}`
		if len(c.Check([]byte(payload))) > unnamed || name == "VendorID" || name == "extra" {
			continue
		}
		taken++
		s.handler.Handle(t.Context(), []*event.Event{trip(t, fmt.Sprint(i), payload)})
		if len(s.dead.letters) > 0 {
			t.Fatalf("the check lets %q pass: %s", name, event.Attr(s.dead.letters[0], event.FailureMessage))
		}
	}
	t.Logf("%d of %d names", taken, len(names))
}
