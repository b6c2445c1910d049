package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/mask"
	"millrace/shared/search"
	"millrace/shared/search/searchtest"
)

const viewPayload = `{"host": "jane.example.com", "method":"GET","url":"/","status":200,"user_agent":"J\u0061ne's browser","visited_at":"2026-11-21T12:04:20Z","jane":1}`

// testKey is the key of tests.
func testKey() (*mask.Key, error) {
	return mask.NewKey([]byte("a key for tests, and for nothing else"))
}

func pseudonym(t testing.TB, s string) string {
	t.Helper()
	k, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	return string(k.Append(nil, s))
}

func view(t testing.TB, data string, more ...string) *event.Event {
	t.Helper()
	return raw(t, "PageView", "1", []byte(data), more...)
}

func enrichedView(t testing.TB, more ...string) *event.Event {
	t.Helper()
	return view(t, string(event.EnrichedData([]byte(viewPayload), []byte(`{}`))), append([]string{event.Stage, event.StageEnriched, event.DataHash, event.Hash([]byte(viewPayload))}, more...)...)
}

func shippedModels(t testing.TB) (Names, Models) {
	t.Helper()
	contracts, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	return searchtest.New(t, search.Options{URL: "http://127.0.0.1:1"}), ModelsOf(contracts)
}

// Guards people in search: what a shipped contract classifies as personal is a pseudonym, what it does not name is left out, and all else, the hash of the producer's own
// bytes included, is as it was.
func TestPersonalDataIsMasked(t *testing.T) {
	n, known := shippedModels(t)
	d, err := New(n, known, testKey, enrichedView(t))
	if err != nil {
		t.Fatal(err)
	}
	want := `"replay_count":0,"payload":{"host":"` + pseudonym(t, "jane.example.com") + `","method":"GET","url":"/","status":200,"user_agent":"` + pseudonym(t, "Jane's browser") +
		`","visited_at":"2026-11-21T12:04:20Z"},"enrichment":{}}`
	if !strings.HasSuffix(string(d.Source), want) || d.Hash != event.Hash([]byte(viewPayload)) {
		t.Errorf("got  %s\nwant %s", d.Source, want)
	}
}

// Guards people against attributes: one that is what is masked, as a partition key often is, is the same pseudonym; all others, and the identity, are as they were.
func TestAttributesThatAreMasked(t *testing.T) {
	n, known := shippedModels(t)
	who := pseudonym(t, "jane.example.com")
	more := []string{"subject", "jane.example.com", event.PartitionKey, "jane.example.com", "visitor", "jane.example.com", "traceparent", "00-1", "tenant", "GET"}
	for _, e := range []*event.Event{
		enrichedView(t, more...), view(t, viewPayload, append([]string{event.FailureStage, "enrich", event.FailureCode, "contract_violation"}, more...)...),
	} {
		d, err := New(n, known, testKey, e)
		if err != nil {
			t.Fatal(err)
		}
		if d.Kind == Dead {
			d.Source = append(append([]byte{}, d.Source...), WithoutPayload(n, d).Source...)
		}
		for _, want := range []string{`"subject":"` + who + `"`, `"partition_key":"` + who + `"`, `"extensions":{"tenant":"GET","traceparent":"00-1","visitor":"` + who + `"}`, `"id":"1"`, `"root_id":"` + root("1") + `"`} {
			if !strings.Contains(string(d.Source), want) {
				t.Errorf("%s is not in %s", want, d.Source)
			}
		}
		if strings.Contains(string(d.Source), "jane") {
			t.Errorf("%s", d.Source)
		}
	}
}

// Guards events whose contract masks against a process without a key: they are no documents, while those of other contracts and dead letters are.
func TestWithoutAKey(t *testing.T) {
	n, known := shippedModels(t)
	key := mask.Settings{}.Open().Key
	if d, err := New(n, known, key, enrichedView(t)); !errors.Is(err, mask.ErrNoKey) {
		t.Errorf("document %v, error %v", d, err)
	}
	if _, err := New(n, known, key, trip(t, "1", tripPayload)); err != nil {
		t.Error(err)
	}
	const who = "jane.example.com" // also where an attribute says what would be masked
	more := []string{event.FailureStage, "enrich", event.FailureCode, "contract_violation", "subject", who, event.PartitionKey, who, "visitor", who, event.FailureID, who, "tenant", "GET"}
	for _, e := range []*event.Event{view(t, viewPayload, more...), enrichedView(t, more...)} {
		d, err := New(n, known, key, e)
		if err != nil || !bytes.Contains(d.Source, []byte(`"payload_omitted":true`)) || bytes.Contains(d.Source, []byte("jane")) || !bytes.Contains(d.Source, []byte(`"tenant":"GET"`)) {
			t.Errorf("%v: %s", err, d.Source)
		}
	}
}

// Guards people against a version that enrich knows and this process does not: it may name what is personal, so the MODEL's other versions do not do.
func TestUnknownVersionIsNotWritten(t *testing.T) {
	n, known := shippedModels(t)
	var unknown *UnknownModelError
	if _, err := New(n, known, testKey, trip(t, "1", tripPayload, event.SchemaVersion, "0-0-2")); !errors.As(err, &unknown) || unknown.Version != "0-0-2" {
		t.Errorf("%v", err)
	}
}

// Guards people in the index of dead letters: the payload is as it came only where its contract is known and masks nothing, masked where that can be, and else left out.
func TestDeadLettersShowNobody(t *testing.T) {
	n, known := shippedModels(t)
	enriched := string(event.EnrichedData([]byte(viewPayload), []byte(`{"jane":1}`)))
	f := func(name string, e *event.Event, wantPayload, wantWhy string) {
		t.Helper()
		d, err := New(n, known, testKey, e)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Payload string `json:"payload"`
			Omitted bool   `json:"payload_omitted"`
			Masked  bool   `json:"payload_masked"`
			Why     string `json:"payload_omitted_why"`
		}
		if err := json.Unmarshal(d.Source, &got); err != nil {
			t.Fatal(err)
		}
		if got.Payload != wantPayload || !strings.HasPrefix(got.Why, wantWhy) || got.Omitted != (wantWhy != "") || got.Masked != strings.Contains(wantPayload, "p_") ||
			bytes.Contains(bytes.ToLower(d.Source), []byte("jane")) {
			t.Errorf("%s: %s", name, d.Source)
		}
	}
	at := func(stage string, more ...string) []string {
		return append([]string{event.FailureStage, stage, event.FailureCode, "contract_violation"}, more...)
	}
	masked := `{"host":"` + pseudonym(t, "jane.example.com") + `","method":"GET","url":"/","status":200,"user_agent":"` + pseudonym(t, "Jane's browser") + `","visited_at":"2026-11-21T12:04:20Z"}`
	f("of enrich", view(t, viewPayload, at("enrich")...), masked, "")
	f("of enrich, version assumed", view(t, viewPayload, at("enrich", event.SchemaVersion, "", event.FailureVersion, "0-0-1")...), masked, "")
	f("of load-search", view(t, enriched, at("load-search", event.Stage, event.StageEnriched)...), `{"payload":`+masked+`,"enrichment":{}}`, "")
	f("no enriched data", view(t, viewPayload, at("load-search", event.Stage, event.StageEnriched)...), "", "its contract masks")
	f("of collect", view(t, `{"event_type":"PageView","payload":`+viewPayload+`}`, at("collect")...), "", "its contract masks")
	f("no JSON", view(t, `{"host":"jane`, at("enrich")...), "", "its contract masks")
	f("no version", view(t, viewPayload, at("enrich", event.SchemaVersion, "")...), "", "its contract masks")
	f("unknown version", view(t, viewPayload, at("enrich", event.SchemaVersion, "0-0-2")...), "", "no contract")
	f("unknown type", raw(t, "Person", "1", []byte(viewPayload), at("enrich")...), "", "no contract")
	f("unparsed", raw(t, event.TypeUnparsed, "1", []byte(viewPayload), at("collect", event.SchemaVersion, "")...), "", "no contract")
	f("of a type without a person", raw(t, "YellowTaxiTripRecords", "1", []byte(`{"a": 1`), at("enrich")...), `{"a": 1`, "")
	f("of a type without a person, of collect, no version", raw(t, "YellowTaxiTripRecords", "1", []byte(`{"event_type":"YellowTaxiTripRecords"}`), at("collect", event.SchemaVersion, "")...), `{"event_type":"YellowTaxiTripRecords"}`, "")
	f("of a type without a person, unknown version", raw(t, "YellowTaxiTripRecords", "1", []byte(viewPayload), at("enrich", event.SchemaVersion, "0-0-9")...), "", "no contract")
	f("empty", view(t, "", at("enrich")...), "", "")
}

// Guards people against the order of a map: of a dead letter without a version nothing is shown where any MODEL of its type masks.
func TestDeadLetterOfNoVersion(t *testing.T) {
	var list []*contract.Contract
	for i, classification := range []string{"public", "personal", "public"} {
		list = append(list, &contract.Contract{EventType: "New", Version: fmt.Sprintf("%d-0-0", i), Model: i, Payload: []contract.Field{{Name: "who", Type: contract.String, Classification: classification}}})
	}
	set, err := contract.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := shippedModels(t)
	for range 20 {
		d, err := New(n, ModelsOf(set), testKey, raw(t, "New", "1", []byte(`{"who":"jane"}`), event.SchemaVersion, "", event.FailureStage, "enrich", event.FailureCode, "contract_violation"))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(d.Source, []byte("jane")) || !bytes.Contains(d.Source, []byte(`"payload_omitted":true`)) {
			t.Fatalf("%s", d.Source)
		}
	}
}
