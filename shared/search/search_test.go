package search_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"millrace/shared/contract"
	"millrace/shared/search"
	"millrace/shared/search/searchtest"
)

// Guards the fake that the other tests rest on: it passes the suite that the real server passes.
func TestConformanceOfFake(t *testing.T) {
	searchtest.Run(t, searchtest.NewFake(t).URL, "")
}

func ops(n int) []search.Operation {
	ops := make([]search.Operation, n)
	for i := range ops {
		ops[i] = search.Operation{Index: "i", ID: fmt.Sprint(i), Source: []byte(`{"a":1}`)}
	}
	return ops
}

func statuses(results []search.Result) string {
	s := make([]string, len(results))
	for i, r := range results {
		s[i] = r.Status.String()
	}
	return strings.Join(s, " ")
}

// Guards the closed list: only what a document's content causes is permanent, what speaks of an index or the cluster counts
// nothing against a document, and all that is unknown is neither.
func TestItemErrors(t *testing.T) {
	for _, tt := range []struct {
		status int
		kind   string
		want   search.Status
	}{
		{400, "document_parsing_exception", search.Permanent},
		{400, "mapper_parsing_exception", search.Permanent},
		{400, "strict_dynamic_mapping_exception", search.Permanent},
		{409, "version_conflict_engine_exception", search.Conflict},
		{409, "something_else", search.Refused},
		{400, "illegal_argument_exception", search.Refused},
		{400, "invalid_index_name_exception", search.Refused},
		{400, "never_seen_before", search.Refused},
		{401, "security_exception", search.Unavailable},
		{403, "security_exception", search.Unavailable},
		{403, "cluster_block_exception", search.Unavailable},
		{404, "index_not_found_exception", search.Unavailable},
		{400, "index_closed_exception", search.Unavailable},
		{400, "validation_exception", search.Unavailable},
		{429, "es_rejected_execution_exception", search.Unavailable},
		{429, "cluster_block_exception", search.Unavailable}, // flood stage
		{429, "document_parsing_exception", search.Unavailable},
		{503, "unavailable_shards_exception", search.Unavailable},
		{500, "never_seen_before", search.Unavailable},
	} {
		t.Run(fmt.Sprint(tt.status, tt.kind), func(t *testing.T) {
			fake := searchtest.NewFake(t)
			fake.Set(searchtest.Hooks{Item: func(_, id string) (int, string, string) {
				if id == "1" {
					return tt.status, tt.kind, "a reason that quotes 'secret'"
				}
				return 0, "", ""
			}})
			got, err := searchtest.New(t, search.Options{URL: fake.URL}).Bulk(t.Context(), ops(3))
			if err != nil {
				t.Fatal(err)
			}
			if want := "done " + tt.want.String() + " done"; statuses(got) != want {
				t.Errorf("got %s, want %s", statuses(got), want)
			}
			if got[1].Type != tt.kind || strings.Contains(got[1].Err.Error(), "secret") {
				t.Errorf("got %+v", got[1])
			}
		})
	}
}

// Guards every failure of a request as a whole: no document of it is done, none is blamed, and the error is an outage.
func TestWholeRequestFailures(t *testing.T) {
	answer := func(status int, header http.Header, text string) searchtest.Hooks {
		return searchtest.Hooks{Whole: func(r *http.Request, _ []byte) (int, http.Header, string) {
			return status, header, text
		}}
	}
	edit := func(f func(items []map[string]any) []map[string]any) searchtest.Hooks {
		return searchtest.Hooks{Edit: f}
	}
	for name, tt := range map[string]struct {
		hooks  searchtest.Hooks
		status int
		after  time.Duration
	}{
		"429":              {answer(429, http.Header{"Retry-After": {"7"}}, `{"error":{"type":"es_rejected_execution_exception"}}`), 429, 7 * time.Second},
		"a date":           {answer(503, http.Header{"Date": {"Sat, 21 Nov 2026 10:00:00 GMT"}, "Retry-After": {"Sat, 21 Nov 2026 10:00:20 GMT"}}, ``), 503, 20 * time.Second},
		"a date long past": {answer(503, http.Header{"Retry-After": {"Sat, 21 Nov 2015 10:00:20 GMT"}}, ``), 503, 0},
		"a date far away":  {answer(503, http.Header{"Retry-After": {"Sat, 21 Nov 2093 10:00:20 GMT"}}, ``), 503, time.Hour},
		"a long wait":      {answer(503, http.Header{"Retry-After": {"9999999999"}}, ``), 503, time.Hour},
		"less than none":   {answer(503, http.Header{"Retry-After": {"-5"}}, ``), 503, 0},
		"503 of a proxy":   {answer(503, nil, `<html>`), 503, 0},
		"401":              {answer(401, nil, `{"error":"no"}`), 401, 0},
		"404":              {answer(404, nil, ``), 404, 0},
		"not JSON":         {answer(200, nil, `{"items":[`), 0, 0},
		"no items":         {answer(200, nil, `{}`), 0, 0},
		"empty":            {answer(200, nil, ``), 0, 0},
		"an item missing":  {edit(func(i []map[string]any) []map[string]any { return i[:2] }), 0, 0},
		"an item too many": {edit(func(i []map[string]any) []map[string]any { return append(i, i[0]) }), 0, 0},
		"another order":    {edit(func(i []map[string]any) []map[string]any { i[0], i[1] = i[1], i[0]; return i }), 0, 0},
		"another action": {edit(func(i []map[string]any) []map[string]any {
			return []map[string]any{i[0], {"index": i[1]["create"]}, i[2]}
		}), 0, 0},
		"connection cut": {searchtest.Hooks{Cut: func(*http.Request) bool { return true }}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			fake := searchtest.NewFake(t)
			fake.Set(tt.hooks)
			got, err := searchtest.New(t, search.Options{URL: fake.URL}).Bulk(t.Context(), ops(3))
			if statuses(got) != "unavailable unavailable unavailable" {
				t.Errorf("got %s", statuses(got))
			}
			var outage *search.OutageError
			if !errors.As(err, &outage) || outage.Status != tt.status || outage.After != tt.after {
				t.Errorf("error %v", err)
			}
			for _, r := range got {
				if !errors.Is(r.Err, err) {
					t.Errorf("a document's error is %v", r.Err)
				}
			}
			if fake.Bulks() != 1 {
				t.Errorf("%d requests: repeating is not this package's", fake.Bulks())
			}
		})
	}
}

// Guards a refused connection and a context that has ended: an outage as well.
func TestNoConnection(t *testing.T) {
	fake := searchtest.NewFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got, err := searchtest.New(t, search.Options{URL: fake.URL}).Bulk(ctx, ops(1))
	if !errors.Is(err, context.Canceled) || statuses(got) != "unavailable" {
		t.Errorf("ended context: %s, %v", statuses(got), err)
	}
	got, err = searchtest.New(t, search.Options{URL: "http://127.0.0.1:1"}).Bulk(t.Context(), ops(1))
	var outage *search.OutageError
	if !errors.As(err, &outage) || statuses(got) != "unavailable" {
		t.Errorf("refused connection: %s, %v", statuses(got), err)
	}
}

// Guards what was confirmed before an outage: earlier requests of the same call stand, later ones are not sent.
func TestOutageInTheMiddle(t *testing.T) {
	fake := searchtest.NewFake(t)
	fake.Set(searchtest.Hooks{Whole: func(_ *http.Request, body []byte) (int, http.Header, string) {
		if strings.Contains(string(body), `"_id":"2"`) {
			return 503, nil, ""
		}
		return 0, nil, ""
	}})
	got, err := searchtest.New(t, search.Options{URL: fake.URL, MaxItems: 2}).Bulk(t.Context(), ops(6))
	if err == nil || statuses(got) != "done done unavailable unavailable unavailable unavailable" {
		t.Errorf("got %s, %v", statuses(got), err)
	}
	if fake.Bulks() != 2 {
		t.Errorf("%d requests", fake.Bulks())
	}
}

// Guards good documents against one that makes the server or a proxy refuse the whole request.
func TestRefusedRequestIsHalved(t *testing.T) {
	for _, status := range []int{400, 413} {
		fake := searchtest.NewFake(t)
		fake.Set(searchtest.Hooks{Whole: func(_ *http.Request, body []byte) (int, http.Header, string) {
			if strings.Contains(string(body), `"_id":"5"`) {
				return status, nil, `{"error":{"type":"action_request_validation_exception","reason":"secret"},"status":400}`
			}
			return 0, nil, ""
		}})
		got, err := searchtest.New(t, search.Options{URL: fake.URL}).Bulk(t.Context(), ops(8))
		if err != nil || statuses(got) != "done done done done done refused done done" {
			t.Errorf("status %d: %s, %v", status, statuses(got), err)
		}
		if got[5].HTTP != status || strings.Contains(got[5].Err.Error(), "secret") {
			t.Errorf("status %d: %+v", status, got[5])
		}
		if len(fake.Docs()) != 7 {
			t.Errorf("status %d: %d documents", status, len(fake.Docs()))
		}
	}
}

// Guards the comparison of hashes: an answer that is partial, or about other documents, is an outage and not "not found".
func TestHashFailures(t *testing.T) {
	for name, text := range map[string]string{
		"partial":       `{"docs":[]}`,
		"another":       `{"docs":[{"_index":"i","_id":"2","found":false}]}`,
		"not JSON":      `<html>`,
		"no error form": `{"docs":[5]}`,
	} {
		fake := searchtest.NewFake(t)
		fake.Set(searchtest.Hooks{Whole: func(*http.Request, []byte) (int, http.Header, string) { return 200, nil, text }})
		got, err := searchtest.New(t, search.Options{URL: fake.URL}).Hashes(t.Context(), []search.Ref{{Index: "i", ID: "1"}})
		var outage *search.OutageError
		if !errors.As(err, &outage) || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	fake := searchtest.NewFake(t)
	fake.Set(searchtest.Hooks{Whole: func(*http.Request, []byte) (int, http.Header, string) {
		return 200, nil, `{"docs":[{"_index":"i","_id":"1","error":{"type":"index_closed_exception","reason":"secret"}},{"_index":"j","_id":"2","found":true,"_source":{"data_hash":"h"}}]}`
	}})
	got, err := searchtest.New(t, search.Options{URL: fake.URL}).Hashes(t.Context(), []search.Ref{{Index: "i", ID: "1"}, {Index: "j", ID: "2"}})
	var outage *search.OutageError
	if err != nil || len(got) != 2 || !errors.As(got[0].Err, &outage) || got[1] != (search.Stored{Found: true, Hash: "h"}) {
		t.Errorf("one index that is away takes others with it: %+v, %v", got, err)
	}
}

// Guards templates against a proxy's answers: a 404 that is not Elasticsearch's must not read as a missing template.
func TestTemplateFailures(t *testing.T) {
	for name, reply := range map[string]struct {
		status int
		text   string
	}{
		"proxy's 404": {404, `<html>`},
		"another":     {200, `{"index_templates":[]}`},
		"503":         {503, ``},
	} {
		fake := searchtest.NewFake(t)
		fake.Set(searchtest.Hooks{Whole: func(r *http.Request, _ []byte) (int, http.Header, string) {
			if r.Method != http.MethodGet {
				t.Errorf("%s: %s %s", name, r.Method, r.URL)
			}
			return reply.status, nil, reply.text
		}})
		var outage *search.OutageError
		if err := searchtest.New(t, search.Options{URL: fake.URL}).EnsureDead(t.Context()); !errors.As(err, &outage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Guards templates of good contracts against a bad one: Elasticsearch's refusal is told apart from an outage and names the field, and all others are made. A 400
// of a proxy, or one for the cluster's state, stays an outage.
func TestTemplateRefused(t *testing.T) {
	typed := func(eventType string) *contract.Contract {
		return &contract.Contract{EventType: eventType, Version: "0-0-1", Addition: 1, Payload: []contract.Field{{Name: "d", Type: contract.Date}}}
	}
	// As 8.19 answers to a format that it does not know.
	const answer = `{"error":{"type":"illegal_argument_exception","reason":"composable template [x] template after composition is invalid","caused_by":
		{"type":"mapper_parsing_exception","reason":"Failed to parse mapping: Error parsing [format] on field [d]: Invalid format: [nonsense]: Unknown pattern letter: o",
		"caused_by":{"type":"illegal_argument_exception","reason":"Unknown pattern letter: o"}}},"status":400}`
	fake := searchtest.NewFake(t)
	text := answer
	fake.Set(searchtest.Hooks{Whole: func(r *http.Request, _ []byte) (int, http.Header, string) {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "-bad-0") {
			return 400, nil, text
		}
		return 0, nil, ""
	}})
	c := searchtest.New(t, search.Options{URL: fake.URL})
	err := c.EnsureTemplates(t.Context(), []*contract.Contract{typed("Bad"), typed("Good")})
	var refused *search.TemplateError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "millrace-enriched-bad-0") || !strings.Contains(err.Error(), "format] on field [d]") {
		t.Errorf("refused: %v", err)
	}
	if got := strings.Join(fake.Templates(), " "); got != "millrace-dead millrace-enriched-good-0" {
		t.Errorf("templates %s", got)
	}
	for _, text = range []string{"<html>", `{"error":{"type":"validation_exception","reason":"too many shards"},"status":400}`} {
		var outage *search.OutageError
		if err := c.EnsureEnriched(t.Context(), []*contract.Contract{typed("Bad")}); !errors.As(err, &outage) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Guards secrets: a URL that does not parse is not quoted, and one without a host is refused at the start.
func TestOptions(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:9200", "ftp://host", "http://", "http://user:secret@%zz"} {
		if _, err := search.New(search.Options{URL: url}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// Guards index names: lower case, no separator within a type, the day in UTC, and the prefix before all.
func TestNames(t *testing.T) {
	c := searchtest.New(t, search.Options{URL: "http://127.0.0.1:1", Prefix: "x-"})
	late := time.Date(2026, 11, 21, 23, 30, 0, 0, time.FixedZone("", -3600))
	if got := c.EnrichedIndex("Yellow-Taxi.Trip_s", 12, late); got != "x-enriched-yellow~taxi.trip_s-12-2026.11.22" {
		t.Error(got)
	}
	if got := c.DeadIndex(late); got != "x-dead-2026.11.22" {
		t.Error(got)
	}
}

// Guards loading against what may come of extending mappings: a block on one index is that index's and is named; a missing right, a proxy's answer and an outage
// are not the contract's fault.
func TestMappingFailures(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		answer string
		index  string // refuses; "" for an outage
	}{
		"blocked":  {403, `{"error":{"type":"cluster_block_exception","reason":"index [dead-2026.11.20] blocked by: [FORBIDDEN/5/index read-only (api)];"},"status":403}`, "dead-2026.11.20"},
		"no right": {403, `{"error":{"type":"security_exception","reason":"action is unauthorized"},"status":403}`, ""},
		"proxy":    {400, `<html>`, ""},
		"away":     {503, `{}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			fake := searchtest.NewFake(t)
			fake.Set(searchtest.Hooks{Whole: func(r *http.Request, _ []byte) (int, http.Header, string) {
				switch {
				case r.Method == http.MethodGet:
					return 200, nil, `{"dead-2026.11.20":{"mappings":{"properties":{}}},"dead-2026.11.21":{"mappings":{"properties":{}}}}`
				case strings.Contains(r.URL.Path, "2026.11.21"):
					return 200, nil, `{"acknowledged":true}`
				}
				return tt.status, nil, tt.answer
			}})
			err := searchtest.New(t, search.Options{URL: fake.URL}).ExtendDead(t.Context())
			var refused *search.MappingError
			var outage *search.OutageError
			if isOutage := errors.As(err, &outage); isOutage != (tt.index == "") {
				t.Errorf("got %v", err)
			}
			if errors.As(err, &refused) && refused.Index != tt.index || refused == nil && tt.index != "" || strings.Contains(err.Error(), "2026.11.21") {
				t.Errorf("got %v", err)
			}
		})
	}
}
