package ledger

import (
	"maps"
	"strings"
	"testing"

	"millrace/functions/internal/gameday/internal/load"
)

// whole is a pipeline in which everything arrived: a good event, one that enrich refused, one that collect refused, one that search refused, and one that was never answered for and is
// in no store.
func whole() (*holdings, []load.Item) {
	h := &holdings{
		raw: map[string]int{"good": 2, "bad": 1, "refused": 1}, enriched: map[string]int{"good": 3, "refused": 1}, dead: map[string]int{"bad": 1, "top": 1, "refused": 2},
		search: map[string]int{"good": 1}, deadIndex: map[string]int{"bad": 1, "top": 1, "refused": 1}, foreign: map[string]int{raw: 2},
		failures: map[string]map[failure]bool{
			"bad": {{"enrich", "contract_violation"}: true}, "top": {{"collect", "missing_field"}: true}, "refused": {{loadSearch, "search_rejected"}: true},
		},
		shown: map[string]map[string]bool{"bad": {"enrich": true}, "top": {"collect": true}, "refused": {loadSearch: true}},
	}
	h.lakeRaw, h.lakeEnriched, h.lakeDead = maps.Clone(h.raw), maps.Clone(h.enriched), maps.Clone(h.dead)
	h.lakeRaw[""] = 2
	return h, []load.Item{
		{RootID: "good", Final: load.Accepted},
		{RootID: "bad", Final: load.Accepted},
		{RootID: "refused", Final: load.Accepted},
		{RootID: "top", Final: load.DeadLettered},
		{RootID: "never"},
	}
}

// An account that calls a whole pipeline wrong would be switched off; what is there twice in topics and lake is no loss.
func TestWhole(t *testing.T) {
	h, items := whole()
	a := h.compare(items)
	if !a.Clean() {
		t.Errorf("lost %v, wrong %v", a.Lost, a.Wrong)
	}
	want := Count{Rows: 4, Distinct: 2, Duplicates: 2}
	if a.Enriched != want || a.LakeEnriched != want {
		t.Errorf("enriched %+v, in the lake %+v, want %+v", a.Enriched, a.LakeEnriched, want)
	}
}

// An event that a receipt called durable and that is missing from any one place must be told as lost, with its id and the place; that of nobody's promise must not.
func TestLost(t *testing.T) {
	for _, one := range []struct {
		id, where string
		of        func(h *holdings) map[string]int
	}{
		{"good", "events.raw", func(h *holdings) map[string]int { return h.raw }},
		{"good", "events.enriched and events.dead", func(h *holdings) map[string]int { return h.enriched }},
		{"good", "search", func(h *holdings) map[string]int { return h.search }},
		{"good", "the lake's raw", func(h *holdings) map[string]int { return h.lakeRaw }},
		{"good", "the lake's enriched", func(h *holdings) map[string]int { return h.lakeEnriched }},
		{"bad", "events.enriched and events.dead", func(h *holdings) map[string]int { return h.dead }},
		{"bad", "the dead index", func(h *holdings) map[string]int { return h.deadIndex }},
		{"bad", "the lake's dead", func(h *holdings) map[string]int { return h.lakeDead }},
		{"top", "events.dead", func(h *holdings) map[string]int { return h.dead }},
		{"top", "the dead index", func(h *holdings) map[string]int { return h.deadIndex }},
		{"refused", "search", func(h *holdings) map[string]int { return h.dead }},
		{"refused", "the dead index", func(h *holdings) map[string]int { return h.deadIndex }},
	} {
		h, items := whole()
		delete(one.of(h), one.id)
		if h.dead[one.id] == 0 { // what no record tells
			delete(h.failures, one.id)
		}
		a := h.compare(items)
		if len(a.Lost) != 1 || a.Lost[0].RootID != one.id || !strings.Contains(a.Lost[0].Where, one.where) || !a.Lost[0].Stored {
			t.Errorf("%s gone from %s: lost %+v", one.id, one.where, a.Lost)
		}
	}
	h, items := whole()
	items = append(items, load.Item{RootID: "gone", Final: load.Accepted})
	if a := h.compare(items); len(a.Lost) != 1 || a.Lost[0].Stored {
		t.Errorf("an event in no store: %+v", a.Lost)
	}
	h, items = whole()
	h.raw["never"], h.lakeRaw["never"] = 1, 1
	if a := h.compare(items); len(a.Lost) != 1 || a.Lost[0].RootID != "never" {
		t.Errorf("an event of no receipt that stays in events.raw: %+v", a.Lost)
	}
}

// What is there twice in search or in the lake, and what nobody sent, must fail a row.
func TestWrong(t *testing.T) {
	for _, one := range []struct {
		want  string
		spoil func(h *holdings)
	}{
		{"1 documents more than root ids are in search", func(h *holdings) { h.search["good"]++ }},
		{"1 documents more than root ids and stages are in the dead index", func(h *holdings) { h.deadIndex["bad"]++ }},
		{"the lake's rows of events.raw are not its records: 1 root ids differ, such as good 3 times, not 2", func(h *holdings) { h.lakeRaw["good"]++ }},
		{"the lake's rows of events.enriched are not its records: 1 root ids differ, such as x 1 times, not 0", func(h *holdings) { h.lakeEnriched["x"]++ }},
		{"nobody sent x, which is in search", func(h *holdings) { h.search["x"]++ }},
		{"3 rows of events.raw in the lake have no root id, where 2 records are no events", func(h *holdings) { h.lakeRaw[""]++ }},
	} {
		h, items := whole()
		one.spoil(h)
		if a := h.compare(items); len(a.Wrong) != 1 || a.Wrong[0] != one.want {
			t.Errorf("got %q, want %q", a.Wrong, one.want)
		}
	}
}

// An event that search took, though another one of its identity was refused, must still be in search; one that failed in two stages must be in the dead index for both, whoever sent it.
func TestTwoFates(t *testing.T) {
	twice := func() (*holdings, []load.Item) {
		h, items := whole()
		for _, ids := range []map[string]int{h.dead, h.deadIndex, h.lakeDead} {
			ids["good"], ids["unknown"] = 1, 2
		}
		h.failures["good"] = map[failure]bool{{loadSearch, "identity_conflict"}: true}
		h.shown["good"] = map[string]bool{loadSearch: true}
		h.failures["unknown"] = map[failure]bool{{"collect", "missing_field"}: true, {loadSearch, "search_rejected"}: true}
		h.shown["unknown"] = map[string]bool{"collect": true, loadSearch: true}
		return h, items
	}
	h, items := twice()
	if a := h.compare(items); !a.Clean() || len(a.Unknown) != 1 {
		t.Fatalf("%+v", a)
	}
	delete(h.search, "good")
	if a := h.compare(items); len(a.Lost) != 1 || a.Lost[0].RootID != "good" || a.Lost[0].Where != "not in search" {
		t.Errorf("gone from search: %+v", a.Lost)
	}
	h, items = twice()
	delete(h.shown["unknown"], "collect")
	h.deadIndex["unknown"]--
	if a := h.compare(items); len(a.Lost) != 1 || a.Lost[0].RootID != "unknown" || a.Lost[0].Where != "not in the dead index, of collect" {
		t.Errorf("gone from the dead index: %+v", a.Lost)
	}
}

// An account that would not miss what is gone, or that has nothing to miss, must not be believed.
func TestBlind(t *testing.T) {
	h, items := whole()
	if errs := h.blind(items, h.compare); len(errs) > 0 {
		t.Errorf("a whole pipeline: %q", errs)
	}
	if errs := h.blind(items, func([]load.Item) *Account { return new(Account) }); len(errs) != 8 || !strings.Contains(errs[3], "good once less in search was not missed") {
		t.Errorf("a comparison that finds nothing: %q", errs)
	}
	if a := h.compare(items); !a.Clean() {
		t.Errorf("what was taken out was not put back: %+v", a)
	}
	if errs := h.blind(items[3:], h.compare); len(errs) == 0 || !strings.Contains(errs[0], "no event to miss in events.raw") {
		t.Errorf("without an accepted event: %q", errs)
	}
	// Search is not asked about what load-search refused: an account that believed so of all would miss nothing.
	h, items = whole()
	delete(h.search, "good")
	h.failures["good"] = map[failure]bool{{loadSearch, "search_rejected"}: true}
	if errs := h.blind(items, h.compare); len(errs) == 0 {
		t.Error("nothing is in search, and nothing is found wrong with that")
	}
}
