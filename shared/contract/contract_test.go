package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

const (
	shared     = "../../../shared/data/contracts/"
	odcsSchema = shared + "odcs/schema/odcs-json-schema-v3.1.0.json"
)

func taxi(t testing.TB) *Contract {
	t.Helper()
	s, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	c, ok := s.Find("YellowTaxiTripRecords", "0-0-1")
	if !ok {
		t.Fatal("no taxi contract")
	}
	return c
}

const trip = `{"VendorID":2,"tpep_pickup_datetime":"2023-01-01T00:32:10","tpep_dropoff_datetime":"2023-01-01T00:40:36",` +
	`"passenger_count":1.0,"trip_distance":0.97,"RatecodeID":1.0,"store_and_fwd_flag":"N","PULocationID":161,"DOLocationID":141,` +
	`"payment_type":2,"fare_amount":9.3,"extra":1.0,"mta_tax":0.5,"tip_amount":0.0,"tolls_amount":0.0,"improvement_surcharge":1.0,` +
	`"total_amount":14.3,"congestion_surcharge":2.5,"airport_fee":0.0}`

// parseSchema makes a contract of the given properties, written as a YAML list.
func parseSchema(properties string, object ...string) (*Contract, error) {
	indented := "\n      " + strings.ReplaceAll(strings.TrimSpace(properties), "\n", "\n      ")
	return Parse("test", []byte(`apiVersion: v3.1.0
kind: DataContract
id: test
version: 1.2.3
status: active
customProperties:
  - {property: eventType, value: Test}
schema:
  - name: test
    logicalType: object
`+strings.Join(object, "")+`    properties:`+indented+"\n"))
}

func mustParse(t testing.TB, properties string, object ...string) *Contract {
	t.Helper()
	c, err := parseSchema(properties, object...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Guards the mapping from ODCS to attributes and fields: a wrong version or order would break every consumer at once.
func TestEmbeddedTaxi(t *testing.T) {
	c := taxi(t)
	if c.URI != "urn:millrace:contract:YellowTaxiTripRecords:0-0-1" || c.EnrichedURI() != c.URI+"/enriched" {
		t.Errorf("URI %s, %s", c.URI, c.EnrichedURI())
	}
	if c.Model != 0 || c.Revision != 0 || c.Addition != 1 || c.Version != "0-0-1" {
		t.Errorf("version %s: %d %d %d", c.Version, c.Model, c.Revision, c.Addition)
	}
	var names []string
	for _, f := range c.Payload {
		names = append(names, f.Name)
	}
	want := strings.Fields(`VendorID tpep_pickup_datetime tpep_dropoff_datetime passenger_count trip_distance RatecodeID
		store_and_fwd_flag PULocationID DOLocationID payment_type fare_amount extra mta_tax tip_amount tolls_amount improvement_surcharge
		total_amount congestion_surcharge airport_fee`)
	if !reflect.DeepEqual(names, want) {
		t.Errorf("fields %v", names)
	}
	if len(c.Steps) != 2 || c.Steps[1].Lookup.Key != "/DOLocationID" || !reflect.DeepEqual(c.Steps[1].Lookup.Path, []string{"DOLocationID"}) {
		t.Errorf("steps %+v", c.Steps)
	}
	if len(c.Enrichment) != 7 || c.Enrichment[0].Name != "pickup_borough" || c.Enrichment[6].Items.Type != String {
		t.Errorf("enrichment %+v", c.Enrichment)
	}
	if len(c.Quality) != 7 || c.Quality[3].Element != "/passenger_count" || c.Quality[3].Part != "payload" || c.Quality[3].Arguments["minimum"] != 1 || len(c.SLA) != 3 {
		t.Errorf("quality %+v, SLA %+v", c.Quality, c.SLA)
	}
	s, _ := Embedded()
	if got := s.Active("YellowTaxiTripRecords"); len(got) != 1 || got[0] != c {
		t.Errorf("active %v", got)
	}
	for _, uri := range []string{c.URI, c.EnrichedURI()} {
		if got, ok := s.ByURI(uri); !ok || got != c {
			t.Errorf("ByURI(%s) = %v", uri, got)
		}
	}
	if len(s.All()) != 3 || len(s.Models()) != 3 {
		t.Errorf("%d contracts", len(s.All()))
	}
}

// Guards the shipped contracts against drifting from the standard that other tools read them by.
func TestEmbeddedConformToODCS(t *testing.T) {
	schema := odcs(t)
	s, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range s.All() {
		if err := schema.Validate(yamlAsJSON(t, c.Source())); err != nil {
			t.Errorf("%s: %v", c.URI, err)
		}
	}
}

func odcs(t *testing.T) *jsonschema.Schema {
	t.Helper()
	if _, err := os.Stat(odcsSchema); err != nil {
		t.Skip("the standard's JSON schema is not here: " + odcsSchema)
	}
	schema, err := jsonschema.NewCompiler().Compile(odcsSchema)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func yamlAsJSON(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// Guards against a reader that knows only our own three files: the standard's v3.1 examples have every key decoded, and lack only what
// is Millrace's (the event type), or use what Parse says it does not take.
func TestStandardExamples(t *testing.T) {
	paths, _ := filepath.Glob(shared + "odcs/docs/examples/*/*.odcs.yaml")
	if len(paths) == 0 {
		t.Skip("the standard's examples are not here: " + shared)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(data, []byte("v3.1.0")) {
			continue
		}
		_, err = Parse(filepath.Base(path), data)
		if err == nil || !strings.Contains(err.Error(), "eventType is missing") {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
		t.Log(err)
	}
}

// Guards the refusal of contracts that cannot work: each would otherwise fail at run time, for every event.
func TestParseRefuses(t *testing.T) {
	f := func(properties, want string) {
		t.Helper()
		if _, err := parseSchema(properties); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", properties, err, want)
		}
	}
	f(`- {name: a, logicalTyp: string}`, "logicalTyp not found")
	f(`- {name: a, logicalType: text}`, `logicalType "text"`)
	f("- {name: a, logicalType: string}\n- {name: A, logicalType: string}", "differ in case")
	f(`- {name: a.b, logicalType: string}`, "no dots")
	f(`- {name: _a, logicalType: string}`, "underscore")
	f(`- {name: a, logicalType: string, logicalTypeOptions: {pattern: "("}}`, "pattern")
	f(`- {name: a, logicalType: string, logicalTypeOptions: {minimum: 1}}`, "minimum on a field of type string")
	f(`- {name: a, logicalType: integer, logicalTypeOptions: {format: u64}}`, "64 bits")
	f(`- {name: a, logicalType: number, physicalType: "decimal(39,2)"}`, "precision")
	f(`- {name: a, logicalType: date, logicalTypeOptions: {format: EEEE}}`, "not supported")
	f(`- {name: a, logicalType: timestamp, logicalTypeOptions: {timezone: true, format: "yyyy-MM-dd HH:mm:ss"}}`, "contradict")
	f(`- {name: a, logicalType: timestamp, logicalTypeOptions: {defaultTimezone: Europe/Paris}}`, "defaultTimezone")
	f(`- {name: a, logicalType: object, logicalTypeOptions: {required: [b]}}`, "no property")
	f(`- {name: a, logicalType: string, customProperties: [{property: enum, value: [1]}]}`, "enum value 0")
	f("- {name: a, logicalType: string}\n---\na: b", "")
	f(strings.Repeat("- {name: a, logicalType: array, items: {logicalType: string}}\n", 1)+"- name: b\n  logicalType: string\n  items: {logicalType: string}", "items on a field")
	var many strings.Builder
	for i := range 950 {
		fmt.Fprintf(&many, "- {name: f%d, logicalType: string}\n", i)
	}
	f(many.String(), "at most 900")
}

// Guards the steps: a step that names what is not there would fail for every event.
func TestStepsRefused(t *testing.T) {
	taxi := string(taxi(t).Source())
	f := func(old, new, want string) {
		t.Helper()
		text := strings.Replace(taxi, old, new, 1)
		if text == taxi {
			t.Fatalf("%q is not in the contract", old)
		}
		if _, err := Parse("test", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", new, err, want)
		}
	}
	f("key: /PULocationID", "key: /nowhere", `key "/nowhere"`)
	f("key: /PULocationID", "key: /fare_amount", "is a number")
	f("pickup_zone: Zone", "elsewhere: Zone", `field "elsewhere"`)
	f("dropoff_zone: Zone", "pickup_zone: Zone", "filled by two steps")
	f(`onMissing: "null"`, "onMissing: ignore", "onMissing")
	f("- name: notes", "- name: remarks", "needs the field notes")
	f("name: dropoff_zone\n        lookup", "name: pickup_zone\n        lookup", "used twice")
	f("version: 0.0.1", "version: 0.0.1-rc1", "MODEL.REVISION.ADDITION")
	f("value: YellowTaxiTripRecords", "value: 9Trips", "eventType")
}

// Guards the rule that additions only add: a column that changes its type within a MODEL breaks the lake's table for good.
func TestSetRefusesTypeChangeWithinModel(t *testing.T) {
	version := func(v, properties string) *Contract {
		c := mustParse(t, properties)
		text := strings.Replace(string(c.Source()), "version: 1.2.3", "version: "+v, 1)
		c, err := Parse(v, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	a := version("1.0.0", "- {name: a, logicalType: integer}\n- {name: o, logicalType: object, properties: [{name: x, logicalType: string}]}")
	b := version("1.0.1", "- {name: b, logicalType: string, required: true}\n- {name: a, logicalType: integer}\n- {name: o, logicalType: object, properties: [{name: y, logicalType: date}]}")
	s, err := NewSet(b, a)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Model("Test", 1)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range m.Payload {
		got = append(got, fmt.Sprintf("%s %s %t %d", f.Name, f.Type, f.Required, len(f.Fields)))
	}
	if want := []string{"a integer false 0", "o object false 2", "b string false 0"}; !reflect.DeepEqual(got, want) {
		t.Errorf("merged %q", got)
	}
	for _, change := range []string{"- {name: a, logicalType: number}", "- {name: A, logicalType: integer}", "- {name: o, logicalType: object}"} {
		if _, err := NewSet(a, version("1.1.0", change)); err == nil {
			t.Errorf("%s: accepted", change)
		}
		if _, err := NewSet(a, version("2.0.0", change)); err != nil {
			t.Errorf("%s in another MODEL: %v", change, err)
		}
	}
	if _, err := NewSet(a, a); err == nil {
		t.Error("one version twice: accepted")
	}
}

// Guards against contract files that others write: whatever they hold, Parse answers, and what it takes can be used.
func FuzzParse(f *testing.F) {
	s, err := Embedded()
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range s.All() {
		f.Add(c.Source())
	}
	f.Add(mustParse(f, propertyContract).Source())
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("fuzz", data)
		if err != nil {
			return
		}
		c.Check([]byte(trip))
		c.Check([]byte(`{"a":[1],"o":{"x":1},"t":"2023-01-01T00:00:00Z"}`))
		if text, err := c.JSONSchema(); err != nil || !json.Valid(text) {
			t.Fatalf("JSON Schema %s, %v", text, err)
		}
		if _, err := NewSet(c); err != nil {
			t.Fatal(err)
		}
	})
}
