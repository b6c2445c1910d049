package document

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/search"
	"millrace/shared/search/searchtest"
)

const (
	arrived     = "2026-11-21T10:00:00Z"
	tripPayload = `{"VendorID": 2,  "trip_distance": 1.50,
		"note": "a\u0000\ud800 b"}`
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func root(id string) string { return event.Identity("/taxi", id) }

// trip returns an enriched event of the source /taxi with this id, its payload and more attributes.
func trip(t testing.TB, id, payload string, more ...string) *event.Event {
	t.Helper()
	e := raw(t, "YellowTaxiTripRecords", id, event.EnrichedData([]byte(payload), []byte(`{"pickup_zone": "Midtown"}`)), append([]string{
		event.Stage, event.StageEnriched, event.DataHash, event.Hash([]byte(payload)),
	}, more...)...)
	return e
}

// letter returns a dead letter of the source /taxi with this id.
func letter(t testing.TB, id, payload string, more ...string) *event.Event {
	t.Helper()
	return raw(t, "YellowTaxiTripRecords", id, []byte(payload), append([]string{
		event.FailureStage, "enrich", event.FailureCode, "contract_violation", event.FailureMessage, "/VendorID: required",
		event.FailureTime, "2026-11-21T10:00:01Z",
	}, more...)...)
}

func raw(t testing.TB, eventType, id string, data []byte, attributes ...string) *event.Event {
	t.Helper()
	h := http.Header{
		"Ce-Specversion": {"1.0"}, "Ce-Type": {eventType}, "Ce-Source": {"/taxi"}, "Ce-Id": {id},
		"Ce-Collectortime": {arrived}, "Ce-Collectorid": {"c1"}, "Ce-Schemaversion": {"0-0-1"}, "Content-Type": {"application/json"},
	}
	for i := 0; i < len(attributes); i += 2 {
		h.Set("Ce-"+attributes[i], event.EncodeHeader(attributes[i+1]))
	}
	e, err := event.DecodeHTTP(h, data)
	if err != nil {
		t.Fatal(err)
	}
	if err := event.Derive(e, now); err != nil {
		t.Fatal(err)
	}
	return e
}

func documents(t testing.TB) func(e *event.Event) *Document {
	contracts, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	known := ModelsOf(contracts)
	n := searchtest.New(t, search.Options{URL: "http://127.0.0.1:1"})
	return func(e *event.Event) *Document {
		d, err := New(n, known, testKey, e)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(d.Source) || strings.ContainsAny(string(d.Source), "\n\r") || !utf8.Valid(d.Source) {
			t.Fatalf("not one line of JSON: %s", d.Source)
		}
		return d
	}
}

// Guards the names and the form of an enriched document: the payload keeps its members' order, its numbers' digits and its escapes, and
// loses its line breaks.
func TestEnrichedDocument(t *testing.T) {
	d := documents(t)(trip(t, "1", tripPayload, "subject", `a "b"`, "time", "2026-11-21T09:00:00.5+02:00", event.ReplayCount, "2", event.ReplayID, "r2"))
	want := `{"event_type":"YellowTaxiTripRecords","schema_version":"0-0-1","root_id":"` + root("1") + `","data_hash":"` + event.Hash([]byte(tripPayload)) +
		`","collector_id":"c1","collector_tstamp":"2026-11-21T10:00:00Z","id":"1","source":"/taxi","subject":"a \"b\"","time":"2026-11-21T07:00:00.5Z"` +
		`,"replay_id":"r2","replay_count":2,"payload":{"VendorID":2,"trip_distance":1.50,"note":"a\u0000\ud800 b"},"enrichment":{"pickup_zone":"Midtown"}}`
	if string(d.Source) != want {
		t.Errorf("got  %s\nwant %s", d.Source, want)
	}
	if d.Index != "enriched-yellowtaxitriprecords-0-2026.11.21" || d.ID != root("1") || d.Version != 3 {
		t.Errorf("index %s, id %s, version %d", d.Index, d.ID, d.Version)
	}
}

// Guards the form of a dead document: any bytes fit into it, in one string, and a long payload is cut at a character's edge.
func TestDeadDocument(t *testing.T) {
	of := documents(t)
	d := of(letter(t, "1", "\xff{\"a\":\n1}"))
	want := `{"event_type":"YellowTaxiTripRecords","schema_version":"0-0-1","root_id":"` + root("1") + `","data_hash":"` + event.Hash([]byte("\xff{\"a\":\n1}")) +
		`","collector_id":"c1","collector_tstamp":"2026-11-21T10:00:00Z","id":"1","source":"/taxi","replay_count":0` +
		`,"failure":{"stage":"enrich","code":"contract_violation","message":"/VendorID: required","hint":"` + event.CodeContractViolation.Hint() + `","time":"2026-11-21T10:00:01Z"}` +
		`,"payload":"` + "\ufffd" + `{\"a\":\n1}"}`
	if string(d.Source) != want {
		t.Errorf("got  %s\nwant %s", d.Source, want)
	}
	for payload, kept := range map[string]int{
		strings.Repeat("x", 8192):            8192,
		strings.Repeat("x", 8193):            8192,
		strings.Repeat("x", 8191) + "\u00e9": 8191,
		strings.Repeat("\U0001f600", 2049):   8192,
		"x" + strings.Repeat("é", 5000):      8191,
	} {
		var got struct {
			Payload   string `json:"payload"`
			Truncated bool   `json:"payload_truncated"`
		}
		if err := json.Unmarshal(of(letter(t, "1", payload)).Source, &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Payload) != kept || !strings.HasPrefix(payload, got.Payload) || got.Truncated != (len(payload) > maxDeadPayload) {
			t.Errorf("%d bytes of %d kept, want %d; truncated %v", len(got.Payload), len(payload), kept, got.Truncated)
		}
	}
}

// Guards dead documents against attributes that other producers wrote: none of them keeps one from being written, nor changes its
// index from one delivery to the next.
func TestDeadDocumentOfStrangeAttributes(t *testing.T) {
	of := documents(t)
	d := of(letter(t, "1", "x", event.CollectorTime, "yesterday", event.FailureTime, "", event.FailureStage, strings.Repeat("s", 3000), event.ReplayCount, "-7"))
	if d.Index != "dead-1970.01.01" || len(d.ID) > 512 || strings.Contains(string(d.Source), "yesterday") {
		t.Errorf("index %s, id %s: %s", d.Index, d.ID, d.Source)
	}
	d = of(letter(t, "1", "x", event.CollectorTime, "yesterday"))
	if d.Index != "dead-2026.11.21" {
		t.Errorf("index %s", d.Index)
	}
	// RFC 3339 allows them, but in UTC they have a year that Elasticsearch does not read.
	for _, far := range []string{"9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00"} {
		d = of(letter(t, "1", "x", event.CollectorTime, far, event.FailureTime, far))
		if d.Index != "dead-1970.01.01" || strings.Contains(string(d.Source), `tstamp"`) || strings.Contains(string(d.Source), `"time"`) {
			t.Errorf("%s: index %s: %s", far, d.Index, d.Source)
		}
	}
	bare := raw(t, "T", "2", []byte("x"), event.KnativeErrorDst, "http://enrich.millrace.svc/", event.KnativeErrCode, "500")
	d = of(bare)
	if d.ID != root("2")+":enrich:0" || !strings.Contains(string(d.Source), `"code":"delivery_exhausted"`) {
		t.Errorf("id %s: %s", d.ID, d.Source)
	}
}

// Guards the day of the index: the event's own time counts within 24 hours of its arrival, either way, and never the time of loading.
func TestDay(t *testing.T) {
	for own, want := range map[string]string{
		"":                          "2026.11.21",
		"2026-11-21T23:59:59Z":      "2026.11.21",
		"2026-11-22T01:30:00+02:00": "2026.11.21",
		"2026-11-20T10:00:00Z":      "2026.11.20",
		"2026-11-20T09:59:59.9Z":    "2026.11.21",
		"2026-11-22T10:00:00Z":      "2026.11.22",
		"2026-11-22T10:00:01Z":      "2026.11.21",
		"2023-01-01T00:00:00Z":      "2026.11.21",
	} {
		var more []string
		if own != "" {
			more = []string{"time", own}
		}
		if got := documents(t)(trip(t, "1", tripPayload, more...)).Index; got != "enriched-yellowtaxitriprecords-0-"+want {
			t.Errorf("time %q: %s, want %s", own, got, want)
		}
	}
}

// BenchmarkEnrichedDocument builds the document of an event of about 1 KB.
func BenchmarkEnrichedDocument(b *testing.B) {
	benchmark(b, trip(b, "1", `{"VendorID":2,"tpep_pickup_datetime":"2023-01-01T00:32:10","trip_distance":0.97,"note":"`+strings.Repeat("x", 700)+`"}`))
}

// BenchmarkDeadDocument builds the document of a dead letter of about 1 KB.
func BenchmarkDeadDocument(b *testing.B) {
	benchmark(b, letter(b, "1", `{"VendorID":2,"note":"`+strings.Repeat("x", 900)+`"}`))
}

func benchmark(b *testing.B, e *event.Event) {
	contracts, err := contract.Embedded()
	if err != nil {
		b.Fatal(err)
	}
	known := ModelsOf(contracts)
	n := searchtest.New(b, search.Options{URL: "http://127.0.0.1:1"})
	b.SetBytes(int64(len(e.Data())))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(n, known, testKey, e); err != nil {
			b.Fatal(err)
		}
	}
}
