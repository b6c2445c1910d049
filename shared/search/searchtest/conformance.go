package searchtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/search"
)

var day = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// Run holds the server at url against what shared/search relies on. prefix begins the name of every index and template that
// it makes; it removes them at the end.
func Run(t *testing.T, url, prefix string) {
	c := New(t, search.Options{URL: url, Prefix: prefix})
	trips := func(revision, addition int, fields ...contract.Field) *contract.Contract {
		return &contract.Contract{EventType: "Trip-s", Model: 1, Revision: revision, Addition: addition, Payload: fields}
	}
	count := contract.Field{Name: "count", Type: contract.Integer}
	index, dead := c.EnrichedIndex("Trip-s", 1, day), c.DeadIndex(day)
	remove := func() {
		Remove(t, url, index, dead, "_index_template/millrace-"+prefix+"dead", "_index_template/millrace-"+prefix+"enriched-trip~s-1")
	}
	remove()
	t.Cleanup(remove)

	// Guards the rule that templates are there before the first write, that making them again changes nothing, and that an older
	// process does not take a newer one's fields away.
	t.Run("templates", func(t *testing.T) {
		for _, contracts := range [][]*contract.Contract{
			{trips(0, 1, count, contract.Field{Name: "added", Type: contract.Integer})},
			{trips(0, 1, count)},
			{trips(0, 0, count)},
		} {
			if err := c.EnsureTemplates(t.Context(), contracts); err != nil {
				t.Fatal(err)
			}
		}
		r := bulk(t, c, search.Operation{Index: index, ID: "added", Source: []byte(`{"payload":{"added":"no number"}}`)})
		if r[0].Status != search.Permanent {
			t.Errorf("the newer template is gone: %+v", r[0])
		}
		var taken *search.NameTakenError
		err := c.EnsureTemplates(t.Context(), []*contract.Contract{{EventType: "trip-S", Model: 1, Payload: []contract.Field{count}}})
		if !errors.As(err, &taken) || taken.By != "Trip-s" {
			t.Errorf("a type that differs in case only: %v", err)
		}
	})

	// Guards an added field against waiting for the next day's index: indexes that are there take it, and an old process takes nothing away. One that has
	// the field with another type keeps its own and is named, and takes the rest, and so do the others.
	t.Run("extend", func(t *testing.T) {
		extended := func(n int) string { return c.EnrichedIndex("Extended", 1, day.AddDate(0, 0, n)) }
		cleanup := func() {
			Remove(t, url, extended(0), extended(1), "_index_template/millrace-"+prefix+"enriched-extended-1")
		}
		cleanup()
		t.Cleanup(cleanup)
		version := func(addition int, fields ...contract.Field) *contract.Contract {
			return &contract.Contract{EventType: "Extended", Model: 1, Addition: addition, Payload: fields}
		}
		number := func(name string) contract.Field { return contract.Field{Name: name, Type: contract.Integer} }
		object := func(fields ...contract.Field) contract.Field {
			return contract.Field{Name: "o", Type: contract.Object, Fields: fields}
		}
		refuses := func(index string, payload string, want bool) {
			t.Helper()
			r := bulk(t, c, search.Operation{Index: index, ID: payload, Source: []byte(`{"payload":` + payload + `}`)})
			if got := r[0].Status == search.Permanent; got != want {
				t.Errorf("%s: %s refused: %t (%v)", index, payload, got, r[0].Err)
			}
		}
		first := []*contract.Contract{version(1, number("a"), object(number("x")))}
		if err := c.ExtendEnriched(t.Context(), first); err != nil {
			t.Errorf("no index is there: %v", err)
		}
		if err := c.EnsureEnriched(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		for n := range 2 {
			refuses(extended(n), `{"b":"text","o":{"y":"text"}}`, false)
		}
		second := slices.Concat(first, []*contract.Contract{version(2, number("b"), object(number("y")))})
		for _, versions := range [][]*contract.Contract{second, second, first} {
			if err := c.ExtendEnriched(t.Context(), versions); err != nil {
				t.Fatal(err)
			}
		}
		for n := range 2 {
			refuses(extended(n), `{"b":"more text"}`, true)
			refuses(extended(n), `{"o":{"y":"more text"}}`, true)
			refuses(extended(n), `{"a":1,"b":2,"o":{"x":3,"y":4}}`, false)
		}
		// Today's index comes to have a field that the contract types in another way.
		post(t, url+"/"+extended(1)+"/_mapping", `{"properties":{"payload":{"properties":{"c":{"type":"keyword"}}}}}`)
		third := slices.Concat(second, []*contract.Contract{version(3, number("c"), number("d"))})
		err := c.ExtendEnriched(t.Context(), third)
		var refused *search.MappingError
		if !errors.As(err, &refused) || refused.Index != extended(1) || !strings.Contains(refused.Reason, "payload.c is keyword there and long") ||
			strings.Contains(err.Error(), extended(0)) {
			t.Errorf("a field of another type: %v", err)
		}
		refuses(extended(1), `{"c":"text"}`, false)
		refuses(extended(0), `{"c":"text"}`, true)
		for n := range 2 {
			refuses(extended(n), `{"d":"text"}`, true)
		}
		if err := c.ExtendDead(t.Context()); err != nil {
			t.Errorf("of dead letters: %v", err)
		}
	})

	// Guards a contract that was changed in place, or that took a shipped one's: its fields and types reach the next index though its version is no other. A process with the
	// contract as it was takes nothing back, and what an operator changed by hand stays.
	t.Run("in place", func(t *testing.T) {
		name := "_index_template/millrace-" + prefix + "enriched-placed-1"
		placed := func(n int) string { return c.EnrichedIndex("Placed", 1, day.AddDate(0, 0, n)) }
		cleanup := func() { Remove(t, url, placed(0), placed(1), placed(2), name) }
		cleanup()
		t.Cleanup(cleanup)
		var log bytes.Buffer
		c := New(t, search.Options{URL: url, Prefix: prefix, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		ensure := func(lines int, fields ...contract.Field) {
			t.Helper()
			if err := c.EnsureEnriched(t.Context(), []*contract.Contract{{EventType: "Placed", Model: 1, Addition: 1, Payload: fields}}); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(log.String(), "\n"); n != lines {
				t.Errorf("%d lines of log, want %d:\n%s", n, lines, log.String())
			}
		}
		takes := func(index, payload string, want search.Status) {
			t.Helper()
			if r := bulk(t, c, search.Operation{Index: index, ID: payload, Source: []byte(`{"payload":` + payload + `}`)}); r[0].Status != want {
				t.Errorf("%s takes %s: %v (%v), want %v", index, payload, r[0].Status, r[0].Err, want)
			}
		}
		field := func(name string, of contract.Type) contract.Field { return contract.Field{Name: name, Type: of} }
		was := []contract.Field{field("a", contract.String), {Name: "o", Type: contract.Object, Fields: []contract.Field{field("x", contract.Integer)}}}
		ensure(0, was...)
		ensure(0, was...)
		// A field more, another within an object, and one that is gone.
		is := []contract.Field{field("b", contract.Integer), {Name: "o", Type: contract.Object, Fields: []contract.Field{field("y", contract.Integer)}}}
		ensure(1, is...)
		ensure(1, is...)
		ensure(1, was...)
		takes(placed(0), `{"b":"text"}`, search.Permanent)
		takes(placed(0), `{"o":{"x":"text"}}`, search.Permanent)
		takes(placed(0), `{"o":{"y":"text"}}`, search.Permanent)
		takes(placed(0), `{"a":"text","b":1}`, search.Done)
		// A field of another type.
		is[0].Type = contract.String
		ensure(2, is...)
		takes(placed(1), `{"b":"text"}`, search.Done)
		// By hand: what is searched in that field is nobody's business any more.
		var found struct {
			Templates []struct {
				Template map[string]any `json:"index_template"`
			} `json:"index_templates"`
		}
		if err := json.Unmarshal(ask(t, http.MethodGet, url+"/"+name, ""), &found); err != nil || len(found.Templates) != 1 {
			t.Fatalf("%+v, %v", found, err)
		}
		byHand := found.Templates[0].Template
		payload := byHand["template"].(map[string]any)["mappings"].(map[string]any)["properties"].(map[string]any)["payload"].(map[string]any)
		payload["properties"].(map[string]any)["b"] = map[string]any{"type": "long"}
		body, err := json.Marshal(byHand)
		if err != nil {
			t.Fatal(err)
		}
		ask(t, http.MethodPut, url+"/"+name, string(body))
		ensure(2, is...)
		takes(placed(2), `{"b":"text"}`, search.Permanent)
	})

	// Guards redelivery: what is there is a conflict and not a second document, and its hash can be read at once.
	t.Run("create", func(t *testing.T) {
		op := search.Operation{Index: index, ID: "a", Source: []byte("{\"data_hash\":\"h1\",\n\"payload\":{\"count\":1}}")}
		want(t, bulk(t, c, op, op), search.Done, search.Conflict)
		want(t, bulk(t, c, op), search.Conflict)
		got, err := c.Hashes(t.Context(), []search.Ref{{Index: index, ID: "a"}, {Index: index, ID: "none"}})
		if err != nil || fmt.Sprint(got) != "[{true h1 <nil>} {false  <nil>}]" {
			t.Errorf("hashes %v, %v", got, err)
		}
	})

	// Guards replays: the first one replaces the created document (whose own version is 1), and an older or equal one never a newer.
	t.Run("versions", func(t *testing.T) {
		create := search.Operation{Index: index, ID: "v", Source: []byte(`{"replay_count":0}`)}
		replay := func(n int64) search.Operation {
			return search.Operation{Index: index, ID: "v", Version: n + 1, Source: fmt.Appendf(nil, `{"replay_count":%d}`, n)}
		}
		want(t, bulk(t, c, create, replay(1), replay(3), replay(2), replay(3), create),
			search.Done, search.Done, search.Done, search.Conflict, search.Conflict, search.Conflict)
		fresh := search.Operation{Index: index, ID: "w", Version: 2, Source: []byte(`{"replay_count":1,"data_hash":"h2"}`)}
		want(t, bulk(t, c, fresh, search.Operation{Index: index, ID: "w", Source: []byte(`{}`)}), search.Done, search.Conflict)
		// What is there can be asked before anything is written, at once and in an index that does not exist.
		got, err := c.Versions(t.Context(), []search.Ref{{Index: index, ID: "w"}, {Index: index, ID: "none"}, {Index: c.EnrichedIndex("Trip-s", 1, day.AddDate(1, 0, 0)), ID: "w"}, {Index: index, ID: "v"}})
		if err != nil || fmt.Sprint(got) != "[{true h2 2} {false  0} {false  0} {true  4}]" {
			t.Errorf("versions %v, %v", got, err)
		}
	})

	// Guards good documents against poison ones: each kind is refused alone, and the message names the field but quotes no value.
	t.Run("poison", func(t *testing.T) {
		r := bulk(t, c,
			search.Operation{Index: index, ID: "p1", Source: []byte(`{"payload":{"count":1,"unknown":{"a":[1,"x"]}}}`)},
			search.Operation{Index: index, ID: "p2", Source: []byte(`{"payload":{"count":"secret"}}`)},
			search.Operation{Index: index, ID: strings.Repeat("i", 513), Source: []byte(`{}`)},
			search.Operation{Index: index, ID: "p3", Source: []byte("{\"a\"\n:}")},
			search.Operation{Index: index, ID: "p4", Source: []byte(`{"payload":7}`)},
			search.Operation{Index: index, ID: "p5", Source: []byte(`{"payload":`)},
			search.Operation{Index: dead, ID: "p6", Source: []byte(`{"payload":"text","failure":{"code":"not_json","unknown":1}}`)},
		)
		want(t, r, search.Done, search.Permanent, search.Permanent, search.Permanent, search.Permanent, search.Permanent, search.Done)
		if text := r[1].Err.Error(); strings.Contains(text, "secret") || !strings.Contains(text, "payload.count") {
			t.Errorf("message %q", text)
		}
	})

	// Guards the split of a batch into requests: no document gets another's result, whichever of the two limits splits.
	t.Run("split", func(t *testing.T) {
		for name, o := range map[string]search.Options{"bytes": {MaxBytes: 700}, "count": {MaxItems: 3}} {
			o.URL, o.Prefix = url, prefix
			split := New(t, o)
			var ops []search.Operation
			var statuses []search.Status
			for i := range 50 {
				op := search.Operation{Index: index, ID: fmt.Sprintf("%s-%d", name, i), Source: []byte(`{"payload":{"count":1}}`)}
				status := search.Done
				if i%7 == 3 {
					op.Source, status = []byte(`{"payload":{"count":"x"}}`), search.Permanent
				}
				ops, statuses = append(ops, op), append(statuses, status)
			}
			want(t, bulk(t, split, ops...), statuses...)
		}
	})
}

// DeadLetters holds the server at url, one that can search, against the first question about dead letters, how many there are for each reason: a message
// can be counted as a whole, and the hint beside it never keeps a document from being written. prefix is as for [Run].
func DeadLetters(t *testing.T, url, prefix string) {
	c := New(t, search.Options{URL: url, Prefix: prefix})
	dead := c.DeadIndex(day)
	remove := func() { Remove(t, url, dead, "_index_template/millrace-"+prefix+"dead") }
	remove()
	t.Cleanup(remove)
	if err := c.EnsureDead(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, message := range []string{"a is missing", "a is missing", "b is missing", strings.Repeat("m", event.MaxFailureMessage)} {
		// A value of an extension that is too long for a term is kept all the same.
		source := fmt.Appendf(nil, `{"failure":{"message":%q,"hint":%q,"origin_source":"/s%d","origin_id":"i","assumed_version":"0-0-%d"},"extensions":{"traceparent":"00-%d","long":%q}}`,
			message, strings.Repeat("h", 40_000), i, i, i, strings.Repeat("é", 4096))
		want(t, bulk(t, c, search.Operation{Index: dead, ID: fmt.Sprintf("d%d", i), Source: source}), search.Done)
	}
	post(t, url+"/"+dead+"/_refresh", "")
	var answer struct {
		Aggregations struct {
			Reasons struct {
				Buckets []struct {
					Key   string `json:"key"`
					Count int    `json:"doc_count"`
				} `json:"buckets"`
			} `json:"reasons"`
		} `json:"aggregations"`
	}
	text := post(t, url+"/"+dead+"/_search", `{"size":0,"query":{"match":{"failure.message":"missing"}},"aggs":{"reasons":{"terms":{"field":"failure.message.keyword"}}}}`)
	if err := json.Unmarshal(text, &answer); err != nil || fmt.Sprint(answer.Aggregations.Reasons.Buckets) != "[{a is missing 2} {b is missing 1}]" {
		t.Errorf("got %s, %v", text, err)
	}
	for _, query := range []string{
		`{"term":{"failure.origin_source":"/s2"}}`, `{"term":{"failure.assumed_version":"0-0-2"}}`, `{"term":{"extensions.traceparent":"00-2"}}`,
		`{"query_string":{"query":"extensions.traceparent:\"00-2\" AND failure.origin_id:i"}}`,
	} {
		var found struct {
			Hits struct {
				Hits []struct {
					ID string `json:"_id"`
				} `json:"hits"`
			} `json:"hits"`
		}
		text := post(t, url+"/"+dead+"/_search", `{"_source":false,"query":`+query+`}`)
		if err := json.Unmarshal(text, &found); err != nil || len(found.Hits.Hits) != 1 || found.Hits.Hits[0].ID != "d2" {
			t.Errorf("%s: got %s, %v", query, text, err)
		}
	}
}

// Finding holds the server at url, one that can search, against Find: all documents of a root id, in indexes of both kinds, the earliest first, and none where there are no
// indexes; and against FindBy and Delete, by which a person's documents go. prefix is as for [Run].
func Finding(t *testing.T, url, prefix string) {
	c := New(t, search.Options{URL: url, Prefix: prefix})
	if found, err := c.Find(t.Context(), "none"); err != nil || len(found) != 0 {
		t.Errorf("without an index: %v, %v", found, err)
	}
	old, today, dead := c.EnrichedIndex("Found", 1, day.AddDate(0, 0, -1)), c.EnrichedIndex("Found", 1, day), c.DeadIndex(day)
	remove := func() {
		Remove(t, url, old, today, dead, "_index_template/millrace-"+prefix+"dead", "_index_template/millrace-"+prefix+"enriched-found-1")
	}
	remove()
	t.Cleanup(remove)
	if err := c.EnsureTemplates(t.Context(), []*contract.Contract{{EventType: "Found", Model: 1, Payload: []contract.Field{{Name: "count", Type: contract.Integer}}}}); err != nil {
		t.Fatal(err)
	}
	source := func(root string, collected time.Time) []byte {
		return fmt.Appendf(nil, `{"root_id":%q,"data_hash":"h","collector_tstamp":%q}`, root, event.FormatTime(collected))
	}
	want(t, bulk(t, c,
		search.Operation{Index: today, ID: "r", Version: 3, Source: source("r", day)},
		search.Operation{Index: old, ID: "r", Source: source("r", day.AddDate(0, 0, -1))},
		search.Operation{Index: dead, ID: "r:enrich:0", Source: source("r", day.Add(time.Second))},
		search.Operation{Index: today, ID: "s", Source: source("s", day)},
	), search.Done, search.Done, search.Done, search.Done)
	for _, index := range []string{old, today, dead} {
		post(t, url+"/"+index+"/_refresh", "")
	}
	found, err := c.Find(t.Context(), "r")
	expected := []search.Found{
		{Ref: search.Ref{Index: old, ID: "r"}, Version: 1, Hash: "h", Collected: day.AddDate(0, 0, -1)},
		{Ref: search.Ref{Index: today, ID: "r"}, Version: 3, Hash: "h", Collected: day},
		{Ref: search.Ref{Index: dead, ID: "r:enrich:0"}, Version: 1, Hash: "h", Collected: day.Add(time.Second)},
	}
	if err != nil || !slices.Equal(found, expected) {
		t.Errorf("found %v, %v; want %v", found, err, expected)
	}
	held, more, err := c.FindBy(t.Context(), "root_id", []string{"r", "none"})
	if err != nil || more || len(held) != 3 || held[0].RootID != "r" {
		t.Errorf("by root id: %v, %t, %v", held, more, err)
	}
	refs := []search.Ref{{Index: today, ID: "r"}, {Index: old, ID: "r"}, {Index: dead, ID: "r:enrich:0"}, {Index: dead, ID: "none"}}
	for range 2 { // the second time they are gone already
		if err := c.Delete(t.Context(), refs); err != nil {
			t.Error(err)
		}
	}
	if held, _, err := c.FindBy(t.Context(), "root_id", []string{"r", "s"}); err != nil || len(held) != 1 || held[0].ID != "s" {
		t.Errorf("after they were deleted: %v, %v", held, err)
	}
}

// Paging checks that more documents than a server answers with at once are found, and deleted: 12,001 of one subject, half of them dead letters of the same events.
func Paging(t *testing.T, url, prefix string) {
	c := New(t, search.Options{URL: url, Prefix: prefix})
	enriched, dead := c.EnrichedIndex("Paged", 1, day), c.DeadIndex(day)
	remove := func() {
		Remove(t, url, enriched, dead, "_index_template/millrace-"+prefix+"dead", "_index_template/millrace-"+prefix+"enriched-paged-1")
	}
	remove()
	t.Cleanup(remove)
	if err := c.EnsureTemplates(t.Context(), []*contract.Contract{{EventType: "Paged", Model: 1, Payload: []contract.Field{{Name: "count", Type: contract.Integer}}}}); err != nil {
		t.Fatal(err)
	}
	source := func(root, subject string) []byte {
		return fmt.Appendf(nil, `{"root_id":%q,"subject":%q,"data_hash":"h","collector_tstamp":%q}`, root, subject, event.FormatTime(day))
	}
	const events = 6000
	ops := []search.Operation{{Index: enriched, ID: "other", Source: source("other", "bob")}, {Index: dead, ID: "none", Source: []byte(`{"subject":"ada"}`)}}
	for n := range events {
		root := fmt.Sprintf("r%d", n)
		ops = append(ops, search.Operation{Index: enriched, ID: root, Source: source(root, "ada")}, search.Operation{Index: dead, ID: root + ":enrich:0", Source: source(root, "ada")})
	}
	for _, r := range bulk(t, c, ops...) {
		if r.Status != search.Done {
			t.Fatal(r)
		}
	}
	for _, index := range []string{enriched, dead} {
		post(t, url+"/"+index+"/_refresh", "")
	}
	found, more, err := c.FindBy(t.Context(), "subject", []string{"ada"})
	refs := map[search.Ref]bool{}
	var list []search.Ref
	for _, h := range found {
		refs[h.Ref] = true
		list = append(list, h.Ref)
	}
	if err != nil || more || len(found) != 2*events+1 || len(refs) != len(found) {
		t.Fatalf("found %d, of which %d differ, %t, %v", len(found), len(refs), more, err)
	}
	if err := c.Delete(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	if held, more, err := c.FindBy(t.Context(), "subject", []string{"ada", "bob"}); err != nil || more || len(held) != 1 || held[0].RootID != "other" {
		t.Errorf("after they were deleted: %v, %t, %v", held, more, err)
	}
}

// New returns a client that is closed at the end of the test.
func New(t testing.TB, o search.Options) *search.Client {
	t.Helper()
	c, err := search.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Remove deletes each path ("index", "_index_template/name") at the server. What is not there is no error.
func Remove(t testing.TB, url string, paths ...string) {
	t.Helper()
	for _, p := range paths {
		// The test's own context has ended when cleanups run.
		req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodDelete, url+"/"+p, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			continue
		}
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != 200 && res.StatusCode != 404 {
			t.Errorf("DELETE %s: %d %s, %v", p, res.StatusCode, text, err)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}

// post returns the server's answer, which must be 200.
func post(t *testing.T, url, body string) []byte {
	t.Helper()
	return ask(t, http.MethodPost, url, body)
}

// ask is post with another method.
func ask(t *testing.T, method, url, body string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %s, %v", method, url, res.StatusCode, text, err)
	}
	return text
}

func bulk(t *testing.T, c *search.Client, ops ...search.Operation) []search.Result {
	t.Helper()
	r, err := c.Bulk(t.Context(), ops)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func want(t *testing.T, got []search.Result, statuses ...search.Status) {
	t.Helper()
	if len(got) != len(statuses) {
		t.Fatalf("%d results for %d documents", len(got), len(statuses))
	}
	for i, s := range statuses {
		if got[i].Status != s || (got[i].Err == nil) != (s == search.Done) {
			t.Errorf("document %d is %v (%v), want %v", i, got[i].Status, got[i].Err, s)
		}
	}
}
