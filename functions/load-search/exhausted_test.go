package main

import (
	"testing"

	"millrace/shared/event"
	"millrace/shared/search/searchtest"
)

// Guards the one sign of what Knative gave up, which no function ever answered for: it is counted by the stage that was not reached, once it is in search and not while it cannot be written; dead letters of
// functions are not.
func TestExhaustedIsCounted(t *testing.T) {
	s := start(t)
	exhausted := func(id, destination string) *event.Event {
		return raw(t, "YellowTaxiTripRecords", id, []byte(tripPayload), event.KnativeErrorDst, destination)
	}
	count := func() map[string]float64 {
		t.Helper()
		families, err := s.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]float64{}
		for _, f := range families {
			if f.GetName() == "millrace_search_exhausted_total" {
				for _, m := range f.GetMetric() {
					found[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
				}
			}
		}
		return found
	}
	at := "http://enrich.millrace.svc.cluster.local/"
	s.fake.Set(failItem(root("1")+":enrich:0", 503, "unavailable_shards_exception"))
	s.want(t, "retry", exhausted("1", at))
	if got := count(); len(got) != 0 {
		t.Errorf("what was not written is counted: %v", got)
	}
	s.fake.Set(searchtest.Hooks{})
	s.want(t, "done done done done", exhausted("1", at), exhausted("2", "http://load-search.millrace/"), exhausted("3", "http://somebody.else/"), dead(t, "4", tripPayload))
	if got := count(); len(got) != 3 || got["enrich"] != 1 || got["load-search"] != 1 || got["other"] != 1 {
		t.Errorf("counted %v", got)
	}
}
