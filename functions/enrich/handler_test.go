package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/contract"
	"millrace/shared/deadletter"
	"millrace/shared/delivery"
	"millrace/shared/enrichment"
	"millrace/shared/event"
	"millrace/shared/kafka"
)

const trip = `{"VendorID":2,"tpep_pickup_datetime":"2023-01-01T00:32:10","tpep_dropoff_datetime":"2023-01-01T00:40:36",` +
	`"passenger_count":1.0,"trip_distance":0.97,"RatecodeID":1.0,"store_and_fwd_flag":"N","PULocationID":161,"DOLocationID":141,` +
	`"payment_type":2,"fare_amount":9.3,"extra":1.0,"mta_tax":0.5,"tip_amount":0.0,"tolls_amount":0.0,"improvement_surcharge":1.0,` +
	`"total_amount":14.3,"congestion_surcharge":2.5,"airport_fee":0.0}`

const taxi = "YellowTaxiTripRecords"

// topic is a publisher that keeps what it wrote, and can be told to fail before the write or after it (the answer is lost).
type topic struct {
	before, after func(e *event.Event) error
	short         bool // gives fewer results than events
	written       []*event.Event
	calls         int
}

func (p *topic) Publish(_ context.Context, events []*event.Event) []error {
	p.calls++
	errs := make([]error, len(events))
	for i, e := range events {
		if p.before != nil {
			if errs[i] = p.before(e); errs[i] != nil {
				continue
			}
		}
		p.written = append(p.written, e)
		if p.after != nil {
			errs[i] = p.after(e)
		}
	}
	if p.short {
		return errs[:0]
	}
	return errs
}

func (p *topic) ids() []string {
	ids := []string{}
	for _, e := range p.written {
		ids = append(ids, e.ID())
	}
	return ids
}

func newTestEnricher(t testing.TB, sink delivery.Publisher, more ...*contract.Contract) *enricher {
	t.Helper()
	tables, err := enrichment.Reference()
	if err != nil {
		t.Fatal(err)
	}
	h := newEnricher(sink, tables, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	embedded, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	set, err := contract.NewSet(append(embedded.All(), more...)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.accept(set); err != nil {
		t.Fatal(err)
	}
	return h
}

func raw(t testing.TB, id, eventType, version, payload string) *event.Event {
	t.Helper()
	e := ce.New()
	e.SetID(id)
	e.SetSource("/test")
	e.SetType(eventType)
	e.SetDataContentType("application/json")
	e.DataEncoded = []byte(payload)
	if version != "" {
		e.SetExtension(event.SchemaVersion, version)
	}
	if err := event.Derive(&e, time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	return &e
}

func statuses(out delivery.Outcomes, n int) []delivery.Status {
	got := make([]delivery.Status, n)
	for i := range got {
		got[i] = out.Of(i).Status
	}
	return got
}

// Guards the shape of events.enriched that both loaders read: attributes kept, payload byte for byte, zone names by id.
func TestEnrichedEvent(t *testing.T) {
	sink := &topic{}
	h := newTestEnricher(t, sink)
	payload := " " + strings.Replace(trip, `"VendorID":2`, `"VendorID" : 2.0, "note":"\u00e4/\/"`, 1)
	in := raw(t, "1", taxi, "0-0-1", payload)
	in.SetExtension(event.PartitionKey, "k")
	in.SetTime(time.Date(2023, 1, 1, 0, 40, 36, 0, time.UTC))
	in.SetSubject("s")
	before := in.String()
	if got := h.Handle(t.Context(), []*event.Event{in}).Of(0); got.Status != delivery.Done {
		t.Fatal(got)
	}
	if in.String() != before {
		t.Error("the event was changed")
	}
	out := sink.written[0]
	want := in.Clone()
	want.SetExtension(event.Stage, "enriched")
	want.SetDataSchema("urn:millrace:contract:YellowTaxiTripRecords:0-0-1/enriched")
	if got, want := out.Context.String(), want.Context.String(); got != want {
		t.Errorf("attributes\n%s\nwant\n%s", got, want)
	}
	if err := out.Validate(); err != nil {
		t.Error(err)
	}
	kept, added, err := event.SplitEnriched(out.Data())
	if err != nil || string(kept) != strings.TrimSpace(payload) {
		t.Errorf("payload %s, %v", kept, err)
	}
	wantAdded := `{"pickup_borough":"Manhattan","pickup_zone":"Midtown Center","pickup_service_zone":"Yellow Zone",` +
		`"dropoff_borough":"Manhattan","dropoff_zone":"Lenox Hill West","dropoff_service_zone":"Yellow Zone"}`
	if string(added) != wantAdded {
		t.Errorf("enrichment %s", added)
	}
}

// Guards against an enrichment that fails or lies for a zone that nobody knows: null fields, and a note that says why.
func TestMissingZoneIsNullWithNote(t *testing.T) {
	sink := &topic{}
	h := newTestEnricher(t, sink)
	h.Handle(t.Context(), []*event.Event{raw(t, "1", taxi, "0-0-1", strings.Replace(trip, `"PULocationID":161`, `"PULocationID":999`, 1))})
	_, added, err := event.SplitEnriched(sink.written[0].Data())
	want := `{"pickup_borough":null,"pickup_zone":null,"pickup_service_zone":null,` +
		`"dropoff_borough":"Manhattan","dropoff_zone":"Lenox Hill West","dropoff_service_zone":"Yellow Zone",` +
		`"notes":["pickup_zone: table taxi_zones has no row for the value at /PULocationID"]}`
	if err != nil || string(added) != want {
		t.Errorf("enrichment %s, %v", added, err)
	}
}

// Guards redelivery: search compares hashes and the lake keeps the first, so the same event twice must be the same bytes twice.
func TestDeliveredTwiceGivesTheSameBytes(t *testing.T) {
	sink := &topic{}
	h := newTestEnricher(t, sink)
	for range 2 {
		h.Handle(t.Context(), []*event.Event{raw(t, "1", taxi, "", strings.Replace(trip, "161", "999", 1))})
	}
	var records [2][]byte
	for i := range records {
		m, err := kafka.Encode("t", sink.written[i])
		if err != nil {
			t.Fatal(err)
		}
		var headers []string // their order means nothing
		for _, h := range m.Headers {
			headers = append(headers, fmt.Sprintf("%s=%s\n", h.Key, h.Value))
		}
		slices.Sort(headers)
		value, err := m.Value.Encode()
		if err != nil {
			t.Fatal(err)
		}
		records[i] = append([]byte(strings.Join(headers, "")), value...)
	}
	if !bytes.Equal(records[0], records[1]) {
		t.Errorf("first\n%s\nsecond\n%s", records[0], records[1])
	}
}

// pipe is the handler as main wires it.
func pipe(h delivery.Handler, dead delivery.Publisher) delivery.Handler {
	return deadletter.Handler(delivery.Attempts(h, 5), dead, stage, func() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) })
}

// Guards a batch against one bad event in it: the good ones pass in one call, and each bad one is a dead letter with its own
// code and its original bytes.
func TestPoisonAmongGood(t *testing.T) {
	sink, dead := &topic{}, &topic{}
	h := pipe(newTestEnricher(t, sink), dead)
	bad := strings.Replace(trip, "0.97", "62359.52", 1)
	events := []*event.Event{
		raw(t, "good1", taxi, "0-0-1", trip),
		raw(t, "far", taxi, "0-0-1", bad),
		raw(t, "text", taxi, "0-0-1", "not JSON"),
		raw(t, "empty", taxi, "0-0-1", ""),
		raw(t, "version", taxi, "0-0-2", trip),
		raw(t, "type", "Nobody", "0-0-1", trip),
		raw(t, "good2", taxi, "", trip),
	}
	out := h.Handle(t.Context(), events)
	for i := range events {
		if out.Of(i).Status != delivery.Done {
			t.Errorf("%s: %+v", events[i].ID(), out.Of(i))
		}
	}
	if got := sink.ids(); !reflect.DeepEqual(got, []string{"good1", "good2"}) || sink.calls != 1 {
		t.Errorf("enriched %v in %d calls", got, sink.calls)
	}
	var got []string
	for _, e := range dead.written {
		got = append(got, fmt.Sprintf("%s %s: %s", e.ID(), event.Attr(e, event.FailureCode), event.Attr(e, event.FailureMessage)))
	}
	want := []string{
		"far contract_violation: /trip_distance is above 1000",
		"text not_json: byte 0: no JSON value begins like this",
		"empty not_json: the event has no data",
		"version unknown_contract: no contract for this schemaversion; the type has 0-0-1",
		"type unknown_contract: no contract for this type",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("dead letters %q", got)
	}
	if string(dead.written[0].Data()) != bad || event.Attr(dead.written[0], event.FailureStage) != "enrich" || event.Attr(dead.written[0], event.Stage) != "" {
		t.Errorf("dead letter %s", dead.written[0])
	}
}

// Guards search and lake against attributes that came past collect: what a producer says of a failure, a stage or an identity is a dead letter at
// once, whatever its payload is, and the good events beside it pass. It was retried for hours, or believed.
func TestForgedAttributesAreDead(t *testing.T) {
	for name, value := range map[string]string{
		event.FailureCode: "not_json", event.FailureStage: "x", "failurex": "y", event.KnativeErrorDst: "http://enrich.millrace/", event.KnativeErrCode: "500",
		event.VersionAssumed: "true", event.ReplayCount: "1",
		event.Stage: event.StageEnriched, event.RootID: event.Identity("/test", "another"), event.DataHash: event.Hash([]byte("another")),
	} {
		for _, payload := range []string{trip, "not JSON"} {
			sink, dead := &topic{}, &topic{}
			forged := raw(t, "forged", taxi, "0-0-1", payload)
			forged.SetExtension(name, value)
			if err := event.Derive(forged, time.Unix(0, 0)); err != nil { // as on each reading
				t.Fatal(err)
			}
			out := pipe(newTestEnricher(t, sink), dead).Handle(t.Context(), []*event.Event{raw(t, "good", taxi, "0-0-1", trip), forged})
			if !reflect.DeepEqual(statuses(out, 2), []delivery.Status{delivery.Done, delivery.Done}) || !reflect.DeepEqual(sink.ids(), []string{"good"}) || len(dead.written) != 1 {
				t.Fatalf("%s: %v, enriched %v, dead %v", name, out, sink.ids(), dead.written)
			}
			letter := dead.written[0]
			if event.Attr(letter, event.FailureCode) != "reserved_attribute" || event.Attr(letter, event.FailureStage) != stage || string(letter.Data()) != payload {
				t.Errorf("%s: %s", name, letter)
			}
		}
	}
}

// Guards replays: what failed before is enriched without the failure's attributes, which would make load-search take it for a dead letter, and what load-search
// had given up is not wrapped twice. A replay that fails again is a dead letter of its own.
func TestReplayLeavesItsFailureBehind(t *testing.T) {
	sink, dead := &topic{}, &topic{}
	h := pipe(newTestEnricher(t, sink), dead)
	replay := func(id, payload string) *event.Event {
		e := event.DeadLetter(raw(t, id, taxi, "0-0-1", payload), event.Failure{Stage: "load-search", Code: event.CodeSearchRejected, Message: "old"})
		for name, value := range map[string]any{event.ReplayID: "r1", event.ReplayCount: 1, event.KnativeErrorDst: "http://x/", event.KnativeErrCode: "500", event.KnativeErrData: "YQ=="} {
			e.SetExtension(name, value)
		}
		return e
	}
	wrapped := replay("wrapped", trip)
	wrapped.SetExtension(event.Stage, event.StageEnriched)
	wrapped.SetDataSchema("urn:millrace:contract:YellowTaxiTripRecords:0-0-1/enriched")
	wrapped.DataEncoded = event.EnrichedData([]byte(trip), []byte(`{"pickup_zone":"old"}`))
	out := h.Handle(t.Context(), []*event.Event{replay("plain", trip), wrapped, replay("bad", "not JSON")})
	if !reflect.DeepEqual(sink.ids(), []string{"plain", "wrapped"}) || len(dead.written) != 1 {
		t.Fatalf("%v: enriched %v, dead %v", out, sink.ids(), dead.written)
	}
	for _, e := range sink.written {
		p, added, err := event.SplitEnriched(e.Data())
		if err != nil || string(p) != trip || strings.Contains(string(added), "old") || event.Attr(e, event.DataHash) != event.Hash([]byte(trip)) {
			t.Errorf("%v, %s", err, e)
		}
		if event.FailureAttributes(e) != nil || event.Attr(e, event.ReplayID) != "r1" || event.Replays(e) != 1 || event.Attr(e, event.Stage) != event.StageEnriched {
			t.Errorf("attributes %s", e.Context)
		}
	}
	if letter := dead.written[0]; event.Attr(letter, event.FailureCode) != "not_json" || event.Attr(letter, event.FailureStage) != stage || event.Replays(letter) != 1 {
		t.Errorf("dead letter %s", letter)
	}
}

// Guards the rule that an event is answered for only once it is durable, at each place where the write can fail.
func TestSinkFails(t *testing.T) {
	lost := errors.New("connection reset")
	only2 := func(e *event.Event) error {
		if e.ID() == "2" {
			return lost
		}
		return nil
	}
	all := func(*event.Event) error { return lost }
	f := func(name string, sink topic, want ...delivery.Status) {
		t.Helper()
		dead := &topic{}
		out := pipe(newTestEnricher(t, &sink), dead).Handle(t.Context(), []*event.Event{
			raw(t, "1", taxi, "0-0-1", trip), raw(t, "2", taxi, "0-0-1", trip), raw(t, "bad", taxi, "0-0-1", "{}"),
		})
		if got := statuses(out, 3); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		if len(dead.written) != 1 {
			t.Errorf("%s: %d dead letters: an outage is not an event's fault", name, len(dead.written))
		}
	}
	f("before the write", topic{before: all}, delivery.Retry, delivery.Retry, delivery.Done)
	f("after the write", topic{after: all}, delivery.Retry, delivery.Retry, delivery.Done)
	f("one of two", topic{before: only2}, delivery.Done, delivery.Retry, delivery.Done)
	f("no results", topic{short: true}, delivery.Retry, delivery.Retry, delivery.Done)

	// The dead letter's own write is no different.
	out := pipe(newTestEnricher(t, &topic{}), &topic{after: all}).Handle(t.Context(), []*event.Event{
		raw(t, "1", taxi, "0-0-1", trip), raw(t, "bad", taxi, "0-0-1", "{}"),
	})
	if got := statuses(out, 2); !reflect.DeepEqual(got, []delivery.Status{delivery.Done, delivery.Retry}) {
		t.Errorf("dead sink fails: %v", got)
	}
}

// Guards the log in an outage, when every batch fails: the intake writes a line for each with the reason, so the handler hands that on and writes none.
func TestOutageIsLoggedOnce(t *testing.T) {
	h := newTestEnricher(t, &topic{before: func(*event.Event) error { return errors.New("connection reset") }})
	var log bytes.Buffer
	h.logger = slog.New(slog.NewTextHandler(&log, nil))
	out := h.Handle(t.Context(), []*event.Event{raw(t, "1", taxi, "0-0-1", trip)})
	if o := out.Of(0); o.Status != delivery.Retry || !strings.Contains(fmt.Sprint(o.Err), "connection reset") || log.Len() > 0 {
		t.Errorf("%+v, and the log says %q", o, log.String())
	}
}

// Guards against an event that comes for ever because Kafka will never take it with its enrichment.
func TestTooLargeForKafkaIsDead(t *testing.T) {
	sink := &topic{before: func(*event.Event) error { return fmt.Errorf("%w: 2 MB", kafka.ErrTooLarge) }}
	dead := &topic{}
	pipe(newTestEnricher(t, sink), dead).Handle(t.Context(), []*event.Event{raw(t, "1", taxi, "0-0-1", trip)})
	if len(dead.written) != 1 || event.Attr(dead.written[0], event.FailureCode) != "too_large" || string(dead.written[0].Data()) != trip {
		t.Errorf("dead letters %v", dead.written)
	}
}

// Guards the order in which a foreign event's contract is found, since a guess must never win over what the producer said.
func TestContractOfForeignEvents(t *testing.T) {
	embedded, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	base, _ := embedded.Find(taxi, "0-0-1")
	version := func(eventType, v, status string) *contract.Contract {
		text := strings.NewReplacer("value: "+taxi, "value: "+eventType, "version: 0.0.1", "version: "+v, "status: active", "status: "+status).
			Replace(string(base.Source()))
		c, err := contract.Parse(v, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	sink, dead := &topic{}, &topic{}
	h := pipe(newTestEnricher(t, sink, version("Two", "1.0.0", "active"), version("Two", "2.0.0", "active"), version("Old", "1.0.0", "retired"), version("New", "1.0.0", "draft")), dead)
	f := func(eventType, schemaVersion, dataSchema, want string) {
		t.Helper()
		sink.written, dead.written = nil, nil
		e := raw(t, "1", eventType, schemaVersion, trip)
		if dataSchema != "" {
			e.SetDataSchema(dataSchema)
		}
		if out := h.Handle(t.Context(), []*event.Event{e}); out.Of(0).Status != delivery.Done {
			t.Fatalf("%+v", out.Of(0))
		}
		got := ""
		if len(dead.written) > 0 {
			got = event.Attr(dead.written[0], event.FailureCode) + ": " + event.Attr(dead.written[0], event.FailureMessage)
		} else {
			got = strings.TrimSpace(event.Attr(sink.written[0], event.SchemaVersion) + " " + event.Attr(sink.written[0], event.VersionAssumed))
		}
		if got != want {
			t.Errorf("%s %q %q: %q, want %q", eventType, schemaVersion, dataSchema, got, want)
		}
	}
	f(taxi, "0-0-1", "", "0-0-1")
	f(taxi, "", "", "0-0-1 true")
	f(taxi, "", "https://example.org/their-schema.json", "0-0-1 true")
	f(taxi, "", base.URI, "0-0-1")
	f(taxi, "0-0-9", base.URI, "unknown_contract: no contract for this schemaversion; the type has 0-0-1")
	f(taxi, "", "urn:millrace:contract:"+taxi+":0-0-9", "unknown_contract: no contract of the dataschema's URI")
	f("Two", "", base.URI, "unknown_contract: dataschema is the contract of another type")
	f("Two", "", "", "ambiguous_version: no schemaversion, and the type has 1-0-0, 2-0-0")
	f("Two", "2-0-0", "", "2-0-0")
	f("Two", "", "urn:millrace:contract:Two:1-0-0", "1-0-0")
	f("Old", "", "", "unknown_contract: no schemaversion, and none of the type's contracts is active")
	// Its status decides who is guessed, never who is believed.
	f("Old", "1-0-0", "", "1-0-0")
	f("New", "1-0-0", "", "1-0-0")
	f("New", "", "", "unknown_contract: no schemaversion, and none of the type's contracts is active")
	f("Nobody", "", "", "unknown_contract: no contract for this type")
}

// Guards the attribute failuremessage: all pointers where they fit, a count of the rest where not, never beyond 1 KiB.
func TestFailureMessage(t *testing.T) {
	dead := &topic{}
	h := pipe(newTestEnricher(t, &topic{}), dead)
	h.Handle(t.Context(), []*event.Event{
		raw(t, "1", taxi, "0-0-1", `{"VendorID":"x","trip_distance":1e4}`),
		raw(t, "2", taxi, "0-0-1", `[]`),
		raw(t, "3", taxi, "0-0-1", `{`+strings.Repeat(`"VendorID":"x",`, 5000)+`"x":1}`),
	})
	message := func(i int) string { return event.Attr(dead.written[i], event.FailureMessage) }
	if want := "/VendorID is not an integer; /trip_distance is above 1000; /tpep_pickup_datetime is required and missing"; !strings.HasPrefix(message(0), want) ||
		strings.Contains(message(0), "more") || strings.Count(message(0), ";") != 8 {
		t.Errorf("message %s", message(0))
	}
	if message(1) != "the payload is not an object" {
		t.Errorf("message %s", message(1))
	}
	// 5,000 wrong values, 4,999 repetitions, 8 missing fields.
	var more int
	listed := strings.Count(message(2), "; /") + 1
	if _, err := fmt.Sscanf(message(2)[strings.LastIndex(message(2), "; and"):], "; and %d more", &more); err != nil || more+listed != 10007 || len(message(2)) > event.MaxFailureMessage {
		t.Errorf("%d listed, %d more, %v: %s", listed, more, err, message(2))
	}
}

// Guards against contracts whose steps cannot work: they are refused before the first event, with every reason.
func TestAcceptRefusesUnusableSteps(t *testing.T) {
	embedded, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	base, _ := embedded.Find(taxi, "0-0-1")
	f := func(old, new, want string) {
		t.Helper()
		h := newTestEnricher(t, &topic{})
		before := h.current.Load()
		text := strings.Replace(strings.Replace(string(base.Source()), "version: 0.0.1", "version: 1.0.0", 1), old, new, 1)
		c, err := contract.Parse("test", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		set, err := contract.NewSet(append(embedded.All(), c)...)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.accept(set); err == nil || !strings.Contains(err.Error(), want) || h.current.Load() != before {
			t.Errorf("%s: %v, want %q", new, err, want)
		}
	}
	f("table: taxi_zones", "table: zones", `no reference table "zones"`)
	f("column: LocationID", "column: ID", `no column "ID"`)
	f("column: LocationID", "column: Zone", "key is no integer")
	f("pickup_zone: Zone", "pickup_zone: zone", `no column "zone"`)
	f("- name: pickup_zone\n        logicalType: string", "- name: pickup_zone\n        logicalType: integer", "is no integer")
}

// Guards the other choice of a step: a key without a row is a dead letter, not a null.
func TestMissingKeyFailsWhereTheContractSaysSo(t *testing.T) {
	embedded, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	base, _ := embedded.Find(taxi, "0-0-1")
	text := strings.NewReplacer(`onMissing: "null"`, "onMissing: fail", "version: 0.0.1", "version: 1.0.0").Replace(string(base.Source()))
	c, err := contract.Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	sink, dead := &topic{}, &topic{}
	h := pipe(newTestEnricher(t, sink, c), dead)
	h.Handle(t.Context(), []*event.Event{raw(t, "1", taxi, "1-0-0", strings.Replace(trip, "161", "999", 1)), raw(t, "2", taxi, "1-0-0", trip)})
	if !reflect.DeepEqual(sink.ids(), []string{"2"}) || len(dead.written) != 1 ||
		event.Attr(dead.written[0], event.FailureMessage) != "step pickup_zone: table taxi_zones has no row for the value at /PULocationID" {
		t.Errorf("enriched %v, dead %v", sink.ids(), dead.written)
	}
}

// Guards the room that enriched events have below Kafka's limit: an enrichment over 64 KiB is a dead letter of the event as it came.
func TestEnrichmentTooLargeIsDead(t *testing.T) {
	c, err := contract.Parse("test", []byte(`apiVersion: v3.1.0
kind: DataContract
id: test
version: 0.0.1
status: active
customProperties:
  - {property: eventType, value: Test}
  - property: enrichmentSteps
    value:
      - name: big
        lookup: {table: big, column: key, key: /k, fields: {text: value}, onMissing: fail}
schema:
  - name: test
    properties: [{name: k, logicalType: string}]
  - name: enrichment
    properties: [{name: text, logicalType: string}]
`))
	if err != nil {
		t.Fatal(err)
	}
	set, err := contract.NewSet(c)
	if err != nil {
		t.Fatal(err)
	}
	sink, dead := &topic{}, &topic{}
	h := newTestEnricher(t, sink)
	h.tables, err = enrichment.ReadTables(fstest.MapFS{"d/big.csv": {Data: []byte("key,value\na," + strings.Repeat("x", 70_000) + "\nb,\"small \"\"\u00e4\"\"\"\n")}}, "d")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.accept(set); err != nil {
		t.Fatal(err)
	}
	pipe(h, dead).Handle(t.Context(), []*event.Event{raw(t, "1", "Test", "0-0-1", `{"k":"a"}`), raw(t, "2", "Test", "0-0-1", `{"k":"\u0062"}`)})
	if len(dead.written) != 1 || event.Attr(dead.written[0], event.FailureCode) != "enrichment_failed" || string(dead.written[0].Data()) != `{"k":"a"}` {
		t.Errorf("dead letters %v", dead.written)
	}
	if len(sink.written) != 1 || string(sink.written[0].Data()) != `{"payload":{"k":"\u0062"},"enrichment":{"text":"small \"ä\""}}` {
		t.Errorf("enriched %s", sink.written)
	}
}

// Guards that the enrichment is what its contract says it is, since the lake's columns come from there.
func TestEnrichmentIsJSONOfDeclaredFields(t *testing.T) {
	sink := &topic{}
	h := newTestEnricher(t, sink)
	for _, pickup := range []string{"1", "264", "265", "266", "-1"} {
		h.Handle(t.Context(), []*event.Event{raw(t, pickup, taxi, "0-0-1", strings.Replace(trip, "161", pickup, 1))})
	}
	if len(sink.written) != 5 {
		t.Fatalf("%d events", len(sink.written))
	}
	embedded, _ := contract.Embedded()
	c, _ := embedded.Find(taxi, "0-0-1")
	for _, e := range sink.written {
		_, added, err := event.SplitEnriched(e.Data())
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]any
		if err := json.Unmarshal(added, &members); err != nil {
			t.Fatal(err)
		}
		for name := range members {
			found := false
			for _, f := range c.Enrichment {
				found = found || f.Name == name
			}
			if !found {
				t.Errorf("%s is not in the contract", name)
			}
		}
	}
}

func BenchmarkHandle(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			h := newTestEnricher(b, delivery.Publisher(discard{}))
			events := make([]*event.Event, n)
			for i := range events {
				events[i] = raw(b, fmt.Sprint(i), taxi, "0-0-1", trip)
			}
			handler := pipe(h, discard{})
			b.ReportAllocs()
			for b.Loop() {
				if out := handler.Handle(context.Background(), events); out.Of(n-1).Status != delivery.Done {
					b.Fatal(out)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
		})
	}
}

type discard struct{}

func (discard) Publish(_ context.Context, events []*event.Event) []error {
	return make([]error, len(events))
}
