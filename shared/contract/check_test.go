package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"millrace/shared/rawjson"
)

// Guards the messages and pointers that producers see, and that a good trip has none.
func TestCheckTaxi(t *testing.T) {
	c := taxi(t)
	f := func(old, new string, want ...string) {
		t.Helper()
		payload := strings.Replace(trip, old, new, 1)
		if old != "" && payload == trip {
			t.Fatalf("%q is not in the trip", old)
		}
		var got []string
		for _, v := range c.Check([]byte(payload)) {
			got = append(got, v.Pointer+" "+v.Message)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", new, got, want)
		}
	}
	f("", "")
	f(`"trip_distance":0.97`, `"trip_distance":1000`)
	f(`"trip_distance":0.97`, `"trip_distance":1000.01`, "/trip_distance is above 1000")
	f(`"trip_distance":0.97`, `"trip_distance":1e3`)
	f(`"trip_distance":0.97`, `"trip_distance":"0.97"`, "/trip_distance is not a number")
	f(`"trip_distance":0.97,`, ``, "/trip_distance is required and missing")
	f(`"trip_distance":0.97`, `"trip_distance":null`, "/trip_distance is null, and a value is required")
	f(`"passenger_count":1.0`, `"passenger_count":null`)
	f(`"fare_amount":9.3`, `"fare_amount":-9.3`)
	f(`"airport_fee":0.0`, `"Airport_fee":0.0`)
	f(`"VendorID":2`, `"VendorID":2.5`, "/VendorID is not an integer of 64 bits")
	f(`"VendorID":2`, `"VendorID":9223372036854775808`, "/VendorID is not an integer of 64 bits")
	f(`"VendorID":2`, `"VendorID":true`, "/VendorID is not an integer")
	f(`"VendorID":2`, `"VendorID":[{"a":1}]`, "/VendorID is not an integer")
	f(`"fare_amount":9.3`, `"fare_amount":1e999999`, "/fare_amount is beyond the largest double")
	f(`"fare_amount":9.3`, `"fare_amount":`+strings.Repeat("9", 2000), "/fare_amount has more digits than a number may have")
	f(`"store_and_fwd_flag":"N"`, `"store_and_fwd_flag":"\ud800"`, "/store_and_fwd_flag holds half of a surrogate pair")
	f(`"VendorID":2`, `"VendorID":2,"Vendor\u0049D":3`, "/VendorID is there more than once")
	f(`T00:32:10`, ` 00:32:10`, "/tpep_pickup_datetime is not a string spelled yyyy-MM-ddTHH:mm:ss[.fraction]")
	f(`T00:32:10`, `T00:32:10.123456`)
	f(`T00:32:10`, `T00:32:10Z`, "/tpep_pickup_datetime has a time zone, and the contract asks for local time without one")
	f(`2023-01-01T00:32:10`, `2023-02-29T00:32:10`, "/tpep_pickup_datetime is no such moment")
	f(`"VendorID":2`, `"VendorID":"x","payment_x":{"a":1,"a":2}`, "/VendorID is not an integer",
		" has, in a part that the contract does not describe, a value that names a member more than once")
	f(trip, `[]`, " is not an object")
	f(trip, `null`, " is null, and a value is required")
	f(trip, `{"a":1`, " is not JSON: byte 6: the text ends within an object")
	f(trip, "{} {}", " is not JSON: byte 3: another JSON text follows the first; several events go into an array")
}

// Guards the page view's contract with a line of a real web log, in both spellings of a missing length.
func TestCheckPageView(t *testing.T) {
	s, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	c, ok := s.Find("PageView", "0-0-1")
	if !ok {
		t.Fatal("no contract")
	}
	good := `{"host":"pppa006.compuserve.com","method":"GET","url":"/images/launch-logo.gif","status":200,"bytes":1713,"referrer":"","user_agent":null,"visited_at":"1995-08-01T00:00:00Z"}`
	for _, payload := range []string{good, strings.Replace(good, "1713", "null", 1), strings.Replace(good, "00Z", "00-04:00", 1)} {
		if got := c.Check([]byte(payload)); len(got) != 0 {
			t.Errorf("%s: %v", payload, got)
		}
	}
	for old, new := range map[string]string{"00Z": "00", "GET": "get it", "200": "700", "1713": "-1", `"/images/launch-logo.gif"`: `""`} {
		if got := c.Check([]byte(strings.Replace(good, old, new, 1))); len(got) != 1 {
			t.Errorf("%s: %v", new, got)
		}
	}
}

// Guards the promise that messages may be stored where values may not: no text of the payload's values comes back.
func TestViolationsQuoteNoValues(t *testing.T) {
	c := mustParse(t, `
- {name: s, logicalType: string, logicalTypeOptions: {pattern: "^a$", maxLength: 1, format: uuid}, customProperties: [{property: enum, value: [a]}]}
- {name: n, logicalType: integer, logicalTypeOptions: {maximum: 5, multipleOf: 2}}
- {name: t, logicalType: timestamp}
- {name: o, logicalType: object, customProperties: [{property: additionalProperties, value: false}], properties: [{name: x, logicalType: string}]}
- {name: a, logicalType: array, items: {logicalType: string}, logicalTypeOptions: {uniqueItems: true}}`)
	payload := `{"s":"SECRET","n":7777,"t":"SECRET","o":{"SECRET@example.org":1,"ok_name":1,"x":7777},"a":["SECRET","SECRET",7777],"u":{"SECRET":1,"SECRET":"\udc00SECRET"}}`
	got := c.Check([]byte(payload))
	if len(got) != 14 {
		t.Errorf("%d violations: %q", len(got), got)
	}
	for _, v := range got {
		if text := v.Pointer + v.Message; strings.Contains(text, "SECRET") || strings.Contains(text, "7777") {
			t.Errorf("%q quotes the payload", text)
		}
	}
}

// Guards every option of the standard that is enforced.
func TestCheckOptions(t *testing.T) {
	f := func(property string, good, bad []string) {
		t.Helper()
		c := mustParse(t, "- {name: v, required: true, "+property+"}")
		for _, v := range good {
			if got := c.Check([]byte(`{"v":` + v + `}`)); len(got) != 0 {
				t.Errorf("%s: %s: %v", property, v, got)
			}
		}
		for _, v := range bad {
			if got := c.Check([]byte(`{"v":` + v + `}`)); len(got) != 1 {
				t.Errorf("%s: %s: %v, want one violation", property, v, got)
			}
		}
	}
	list := func(values ...string) []string { return values }
	f(`logicalType: integer`, list("0", "-0", "1", "1.0", "1e0", "10e-1", "1000000000000000000000e-21", "9223372036854775807", "-9223372036854775808", "-9223372036854775808.000", "9.2e18"),
		list("1.5", "1e-1", "9223372036854775808", "-9223372036854775809", "9.3e18", "1e999999999999", `"1"`, "true", "[]", "{}", "null"))
	f(`logicalType: integer, logicalTypeOptions: {format: u8}`, list("0", "255"), list("-1", "256"))
	f(`logicalType: integer, logicalTypeOptions: {format: i16}`, list("-32768", "32767"), list("-32769", "32768"))
	f(`logicalType: integer, logicalTypeOptions: {exclusiveMinimum: 0, maximum: 10}`, list("1", "10"), list("0", "11"))
	f(`logicalType: number`, list("0", "1.7976931348623157e308", "1e-999999", "-0.0"), list("1.8e308", "1e999999", "-1e309", `"NaN"`))
	f(`logicalType: number, logicalTypeOptions: {multipleOf: 0.01}`, list("0.07", "1.1", "123456789.99", "1e3"), list("0.071", "1e-9999"))
	f(`logicalType: number, physicalType: "decimal(5,2)"`, list("999.99", "-999.99", "1.10", "1e2", "1.100", "0e99", "1.1000000000000000000000000"), list("1000", "0.001", "1e3", "1.1000000000000000000000001"))
	f(`logicalType: boolean`, list("true", "false"), list("0", `"true"`))
	f(`logicalType: string, logicalTypeOptions: {minLength: 2, maxLength: 3}`, list(`"ab"`, `"äöü"`, `"\ud83d\ude00a"`, `"\n\t"`), list(`"a"`, `"abcd"`, `"ä"`))
	f(`logicalType: string, logicalTypeOptions: {pattern: "^[ä/]+$"}`, list(`"\u00e4"`, `"\/ä"`), list(`"a"`))
	f(`logicalType: string, logicalTypeOptions: {format: uuid}`, list(`"2e73ba91-7c7f-5d9d-9666-7144e737a13b"`), list(`"2e73ba917c7f5d9d96667144e737a13b"`))
	f(`logicalType: string, logicalTypeOptions: {format: email}`, list(`"a@example.org"`), list(`"a"`, `"A <a@example.org>"`))
	f(`logicalType: string, logicalTypeOptions: {format: uri}`, list(`"https://example.org/a?b"`, `"urn:a:b"`), list(`"/a"`, `"%"`))
	f(`logicalType: string, logicalTypeOptions: {format: hostname}`, list(`"a.example"`), list(`"-a"`, `"a..b"`, `""`))
	f(`logicalType: string, logicalTypeOptions: {format: ipv4}`, list(`"10.0.0.1"`), list(`"10.0.0"`, `"::1"`))
	f(`logicalType: string, logicalTypeOptions: {format: ipv6}`, list(`"::1"`), list(`"10.0.0.1"`))
	f(`logicalType: string, logicalTypeOptions: {format: binary}`, list(`"YQ=="`, `""`), list(`"YQ"`))
	f(`logicalType: string, logicalTypeOptions: {format: password}`, list(`"anything"`), nil)
	f(`logicalType: string, customProperties: [{property: enum, value: [Y, "N", "\""]}]`, list(`"Y"`, `"\u004e"`, `"\""`), list(`"y"`, `""`))
	f(`logicalType: integer, customProperties: [{property: enum, value: [1, 2]}]`, list("1", "2.0"), list("3"))
	f(`logicalType: date`, list(`"2024-02-29"`), list(`"2023-02-29"`, `"2023-1-1"`, `"0000-01-01"`, `"2023-01-01T00:00:00"`, "20230101"))
	f(`logicalType: date, logicalTypeOptions: {format: dd.MM.yyyy, minimum: "01.01.2020", exclusiveMaximum: 2021-01-01}`, list(`"01.01.2020"`, `"31.12.2020"`), list(`"31.12.2019"`, `"01.01.2021"`, `"2020-01-01"`))
	f(`logicalType: timestamp`, list(`"2023-01-01T00:00:00"`, `"2023-01-01T00:00:00Z"`, `"2023-01-01T23:59:59.999999999+18:00"`), list(`"2023-01-01T00:00:00+18:01"`, `"2023-01-01T00:00:00.1234567890"`, `"2023-01-01T00:00:00."`, `"2023-01-01t00:00:00z"`, `"2023-01-01T24:00:00"`, `"2023-01-01T00:00:60Z"`))
	f(`logicalType: timestamp, logicalTypeOptions: {timezone: true, minimum: "2023-01-01T00:00:00Z"}`, list(`"2023-01-01T01:00:00+01:00"`), list(`"2023-01-01T00:00:00"`, `"2023-01-01T00:59:59+01:00"`))
	f(`logicalType: timestamp, logicalTypeOptions: {format: "yyyy-MM-dd HH:mm:ssZ"}`, list(`"2023-01-01 00:00:00+0100"`), list(`"2023-01-01 00:00:00"`, `"2023-01-01 00:00:00+01:00"`))
	f(`logicalType: timestamp, logicalTypeOptions: {timezone: false, format: "yyyy-MM-dd'T'HH:mm:ss.SSS"}`, list(`"2023-01-01T00:00:00.123"`), list(`"2023-01-01T00:00:00.12"`))
	f(`logicalType: time, logicalTypeOptions: {maximum: "12:00:00"}`, list(`"00:00:00"`, `"12:00:00"`), list(`"12:00:00.1"`, `"24:00:00"`))
	f(`logicalType: array, logicalTypeOptions: {minItems: 1, maxItems: 2, uniqueItems: true}`, list("[1]", "[1,2]", `[{"a":1},{"a":2}]`, `[1,"1"]`), list("[]", "[1,2,3]", "[1, 1.0]", `[{"a":1,"b":[null]},{"b":[null],"a":1e0}]`, `["a","\u0061"]`))
	f(`logicalType: array, items: {logicalType: integer}`, list("[]", "[1,null,2]"), list(`[1,"2"]`, "{}"))
	f(`logicalType: array, items: {logicalType: object, properties: [{name: x, logicalType: string, required: true}]}`, list(`[{"x":"a"}]`), list(`[{}]`, `[{"x":1}]`))
	f(`logicalType: object, logicalTypeOptions: {minProperties: 1, maxProperties: 2}`, list(`{"a":1}`), list(`{}`, `{"a":1,"b":2,"c":3}`))
	f(`logicalType: object, properties: [{name: "a/b~c", logicalType: string}]`, list(`{"a/b~c":"x"}`), list(`{"a/b~c":1}`))
	f(`description: anything`, list("1", `"a"`, "[]", `{"a":{}}`), list("null", `{"a":1,"a":1}`))
}

// Guards search against names that Elasticsearch refuses, or reads as a part of another field: found by sending each to version 8.19. All that the contract does not
// describe keeps its freedom.
func TestNamesThatSearchCannotTake(t *testing.T) {
	c := mustParse(t, `
- {name: host, logicalType: string}
- {name: any}
- name: o
  logicalType: object
  properties: [{name: x, logicalType: integer}]
- {name: list, logicalType: array, items: {logicalType: object, properties: [{name: z, logicalType: string}]}}
- {name: free, logicalType: object}
- {name: shut, logicalType: object, properties: [{name: y, logicalType: string}], customProperties: [{property: additionalProperties, value: false}]}`)
	const blank = "has a member whose name, or a part of it between dots, is blank"
	of := func(field string) string {
		return "has a member whose name begins with that of the field " + field + " and a dot"
	}
	f := func(payload string, want ...Violation) {
		t.Helper()
		if got := c.Check([]byte(payload)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", payload, got, want)
		}
	}
	for _, name := range []string{"", " ", "  ", `\t`, `\u3000`, `\u2028`, `\u001c`, ".", "..", ".a", "a.", "a..b", "a. .b", "any..x"} {
		f(`{"`+name+`":1}`, Violation{"", blank})
		f(`{"o":{"`+name+`":1}}`, Violation{"/o", blank})
		f(`{"list":[{},{"`+name+`":1}]}`, Violation{"/list/1", blank})
		f(`{"free":{"` + name + `":1},"any":{"` + name + `":1},"other":[{"` + name + `":1}]}`)
	}
	f(`{"host.x":null}`, Violation{"", of("host")})
	f(`{"h\u006fst\u002ex":1}`, Violation{"", of("host")})
	f(`{"host":"a","o.x":"no integer","any.x":1}`, Violation{"", of("o")}, Violation{"", of("any")})
	f(`{"o":{"x.y":1}}`, Violation{"/o", of("x")})
	f(`{"list":[{"z.y":1}]}`, Violation{"/list/0", of("z")})
	f(`{"shut":{"y.x":1}}`, Violation{"/shut", "is a member that the contract does not name"})
	f(`{"a.b":1,"a.host.x":1,"Host.x":1,"hos.t":1,"host ":1," a":1,"a. b":1,"_id":1,"*":1,"z.y":1,"o":{"host.x":1},"free":{"host.x":1,"x.y":1},"any":{"host.x":1}}`)
	empty := mustParse(t, "[]")
	if got := empty.Check([]byte(`{"a..b":1}`)); !reflect.DeepEqual(got, []Violation{{"", blank}}) {
		t.Errorf("a payload without fields: %q", got)
	}
}

// Guards pointers into nested values, and their escapes.
func TestPointers(t *testing.T) {
	c := mustParse(t, `
- name: a/b~c
  logicalType: array
  items:
    logicalType: object
    properties:
      - {name: x, logicalType: array, items: {logicalType: string}}`)
	got := c.Check([]byte(`{"a/b~c":[{"x":[]},{"x":["ok",5]}]}`))
	if want := []Violation{{"/a~1b~0c/1/x/1", "is not a string"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
}

// Guards memory and time against a payload that is one violation after the other.
func TestViolationsAreBounded(t *testing.T) {
	c := mustParse(t, "- {name: a, logicalType: array, items: {logicalType: string}}")
	r, err := c.Inspect([]byte(`{"a":[` + strings.Repeat("1,", 100_000) + `1]}`))
	if err != nil || len(r.Violations) != MaxViolations || r.More != 100_001-MaxViolations {
		t.Errorf("%d violations and %d more, %v", len(r.Violations), r.More, err)
	}
}

// Guards against payloads built to hurt: deep, wide, long.
func TestHostilePayloads(t *testing.T) {
	c := taxi(t)
	deep := strings.Repeat("[", 1_000_000)
	for name, payload := range map[string]string{
		"deep":      `{"x":` + deep + strings.Repeat("]", 1_000_000) + `}`,
		"unclosed":  `{"x":` + deep,
		"not UTF-8": "{\"x\":\"\xff\"}",
		"key":       "{\"\xff\":1}",
		"BOM":       "\ufeff{}",
		"control":   "{\"x\":\"\x01\"}",
	} {
		if _, err := c.Inspect([]byte(payload)); err == nil {
			t.Errorf("%s: accepted as JSON", name)
		}
	}
	var wide strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&wide, `"k%d":%d,`, i, i)
	}
	payload := strings.Replace(trip, `"VendorID"`, wide.String()+`"VendorID"`, 1)
	if got := c.Check([]byte(payload)); len(got) != 0 {
		t.Errorf("wide: %v", got)
	}
	if got := c.Check([]byte(strings.Replace(payload, `"k49999"`, `"k\u0030"`, 1))); len(got) != 1 {
		t.Errorf("wide with a duplicate: %v", got)
	}
}

// Guards the steps' keys: they come from the same walk, raw, and nil where absent.
func TestInspectPicksKeys(t *testing.T) {
	c := taxi(t)
	r, err := c.Inspect([]byte(`{"DOLocationID" : 141.0 ,"x":{"PULocationID":5}}`))
	if err != nil || len(r.Keys) != 2 || r.Keys[0] != nil || string(r.Keys[1]) != "141.0" {
		t.Errorf("keys %q, %v", r.Keys, err)
	}
}

// propertyContract has every type and rule whose meaning JSON Schema shares.
const propertyContract = `
- {name: s, logicalType: string, required: true, logicalTypeOptions: {minLength: 1, maxLength: 3, pattern: "^[a-zä]"}}
- {name: e, logicalType: string, customProperties: [{property: enum, value: [a, b]}]}
- {name: i, logicalType: integer, required: true, logicalTypeOptions: {minimum: -5, exclusiveMaximum: 100}}
- {name: j, logicalType: integer}
- {name: n, logicalType: number, logicalTypeOptions: {exclusiveMinimum: 0, maximum: 10, multipleOf: 0.5}}
- {name: d, logicalType: number, physicalType: "decimal(4,2)"}
- {name: b, logicalType: boolean}
- {name: t, logicalType: timestamp, logicalTypeOptions: {timezone: true}}
- {name: l, logicalType: timestamp, logicalTypeOptions: {timezone: false}}
- {name: y, logicalType: date}
- {name: any, required: true}
- name: o
  logicalType: object
  logicalTypeOptions: {maxProperties: 2}
  customProperties: [{property: additionalProperties, value: false}]
  properties:
    - {name: x, logicalType: integer, required: true}
    - {name: "y/~", logicalType: string}
    - {name: z, logicalType: boolean}
- {name: a, logicalType: array, logicalTypeOptions: {minItems: 1, maxItems: 3, uniqueItems: true}, items: {logicalType: number, required: true}}
- {name: w, logicalType: array, items: {logicalType: object, properties: [{name: k, logicalType: string, required: true}]}}`

// Guards the hand-written checker: over random payloads it agrees with an independent implementation of JSON Schema about
// whether a payload conforms, and about which values do not.
func TestCheckAgreesWithJSONSchema(t *testing.T) {
	c := mustParse(t, propertyContract)
	schema := compileSchema(t, c)
	g := generator{rand.New(rand.NewPCG(1, 2))}
	good, bad := 0, 0
	for range 10_000 {
		payload := g.object(&c.root, 0)
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(payload))
		if err != nil {
			t.Fatalf("%s: %v", payload, err)
		}
		want := map[string]bool{}
		if err := schema.Validate(doc); err != nil {
			leaves(err.(*jsonschema.ValidationError), want) //nolint:errorlint // Validate's only error
		}
		got := map[string]bool{}
		for _, v := range c.Check([]byte(payload)) {
			got[v.Pointer] = true
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\nCheck: %v\nJSON Schema: %v", payload, got, want)
		}
		if len(got) == 0 {
			good++
		} else {
			bad++
		}
	}
	t.Logf("%d conform, %d do not", good, bad)
	if good < 1000 || bad < 1000 {
		t.Errorf("%d good and %d bad payloads: the generator says too little", good, bad)
	}
}

func compileSchema(t testing.TB, c *Contract) *jsonschema.Schema {
	t.Helper()
	text, err := c.JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(c.URI, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(c.URI)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// leaves collects the pointers of the values that are wrong: of required and additional members, the member's.
func leaves(err *jsonschema.ValidationError, into map[string]bool) {
	if len(err.Causes) > 0 {
		for _, cause := range err.Causes {
			leaves(cause, into)
		}
		return
	}
	at, location := "", err.InstanceLocation
	if _, ok := err.ErrorKind.(*kind.FalseSchema); ok { // a name that is not allowed: its object is at fault
		location = location[:len(location)-1]
	}
	for _, part := range location {
		at += "/" + escapePointer(part)
	}
	switch k := err.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			into[at+"/"+escapePointer(name)] = true
		}
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			if identifier([]byte(name)) != "" { // others are not quoted: their object is at fault
				into[at+"/"+name] = true
			} else {
				into[at] = true
			}
		}
	default:
		into[at] = true
	}
}

// generator makes payloads that mostly conform, with every rule broken now and then.
type generator struct{ *rand.Rand }

func (g generator) pick(from ...string) string { return from[g.IntN(len(from))] }

// mostly picks from the first half, where the values are that conform.
func (g generator) mostly(from ...string) string {
	if g.IntN(30) == 0 {
		return g.pick(from...)
	}
	return from[g.IntN((len(from)+1)/2)]
}

func (g generator) value(f *Field, depth int) string {
	if g.IntN(200) == 0 {
		return g.pick("null", "true", "0", `"a"`, "[]", "{}", `[1,"x",{"a":[]}]`, "1.5", `"2023-01-01"`)
	}
	switch f.Type {
	case String:
		if f.rules.enumSet != nil {
			return g.mostly(`"a"`, `"b"`, `"\u0061"`, `"a"`, `"b"`, `"c"`)
		}
		return g.mostly(`"a"`, `"äa"`, `"abc"`, `"z\n"`, `"a\ud83d\ude00"`, `"abcd"`, `""`, `"B"`, `"aäöü"`)
	case Integer:
		return g.mostly("0", "1", "-5", "99", "1.0", "5e1", "-0", "7", "-6", "100", "1.5", "9223372036854775807", "9223372036854775808", "1e30", "99.00000000000000000000")
	case Number:
		return g.mostly("0.5", "10", "1", "1.5e0", "2.50", "0", "-1", "10.5", "0.3", "1e400", "1e-300")
	case Decimal:
		return g.mostly("1", "99.99", "-99.99", "0.10", "1e1", "100", "0.001", "99.990", "99.999")
	case Boolean:
		return g.mostly("true", "false")
	case Date:
		return g.mostly(`"2024-02-29"`, `"1999-12-31"`, `"2023-02-29"`, `"2023-13-01"`, `"23-01-01"`)
	case Timestamp:
		if f.Timezone {
			return g.mostly(`"2023-01-01T00:00:00Z"`, `"2023-12-31T23:59:59.5+01:00"`, `"2023-01-01T00:00:00"`, `"2023-01-01 00:00:00Z"`)
		}
		return g.mostly(`"2023-01-01T00:00:00"`, `"2023-01-01T00:00:00.25"`, `"2023-01-01T00:00:00Z"`, `"2023-01-01"`)
	case Object:
		return g.object(f, depth)
	case Array:
		var items []string
		for range 1 + g.IntN(3)*g.IntN(2) {
			switch {
			case f.Items == nil:
				items = append(items, g.mostly("1", `"a"`))
			case f.Items.Type == Number:
				items = append(items, g.pick("1", "2", "1.0", "3.5", "7", "8", "9", "4", "5", "6"))
			default:
				items = append(items, g.value(f.Items, depth+1))
			}
		}
		return "[" + strings.Join(items, " , ") + "]"
	default:
		return g.mostly("1", `"x"`, "[1,[2]]", `{"p":{"q":null}}`)
	}
}

func (g generator) object(f *Field, depth int) string {
	var members []string
	for i := range f.Fields {
		child := &f.Fields[i]
		if g.IntN(60) == 0 || !child.Required && g.IntN(2) == 0 {
			continue
		}
		members = append(members, string(rawjson.AppendString(nil, child.Name))+g.pick(":", " : ")+g.value(child, depth+1))
	}
	if g.IntN(10) == 0 {
		members = append(members, g.pick(`"extra":1`, `"more":{"a":[{}]}`, `"x.extra.":1`, `"S.x":1`, `"a b":1`, `"sx.y":{"":1,"s.x":1,"..":1}`,
			`"":1`, `" ":null`, `".":1`, `"e..f":1`, `".e":1`, `"e.\u3000":1`, `"\u001f":1`, `"s.x":1`, `"o.x":1`, `"any.x":[]`, `"x.y":1`, `"k.":1`, `"y\/~.a":1`, `"\u0073\u002ex":1`))
	}
	g.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return "{" + strings.Join(members, g.pick(",", ",\n ")) + "}"
}

// Guards number reading against big arithmetic: a wrong integer or a wrong limit silently changes what lands in the lake.
func TestNumbersAgreeWithBigArithmetic(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(3, 4))}
	for range 30_000 {
		text := g.pick("", "-") + g.digits(1+g.IntN(22))
		if g.IntN(2) == 0 {
			text += "." + strings.Repeat("0", g.IntN(5)) + strconv.Itoa(g.IntN(1000)) + strings.Repeat("0", g.IntN(20))
		}
		if g.IntN(2) == 0 {
			text += g.pick("e", "E") + g.pick("", "+", "-") + strconv.Itoa(g.IntN(40))
		}
		r, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatal(text)
		}
		wantInt := r.IsInt() && r.Num().IsInt64()
		n, ok := ParseInteger([]byte(text))
		if ok != wantInt || ok && n != r.Num().Int64() {
			t.Fatalf("ParseInteger(%s) = %d, %t", text, n, ok)
		}
		want, err := strconv.ParseFloat(text, 64)
		f, ok := ParseNumber([]byte(text))
		if ok != (err == nil) || math.Float64bits(f) != math.Float64bits(want) {
			t.Fatalf("ParseNumber(%s) = %v, %t, want %v", text, f, ok, want)
		}
		unscaled := new(big.Rat).Mul(r, big.NewRat(1000, 1))
		wantDecimal := unscaled.IsInt() && unscaled.Num().CmpAbs(tenTo(12)) < 0
		d, ok := ParseDecimal([]byte(text), 12, 3)
		if ok != wantDecimal || ok && d.Cmp(unscaled.Num()) != 0 || fitsDecimal([]byte(text), 12, 3) != ok {
			t.Fatalf("ParseDecimal(%s, 12, 3) = %v, %t; fits %t", text, d, ok, fitsDecimal([]byte(text), 12, 3))
		}
	}
	for _, text := range []string{"", "-", "01", "1.", ".5", "1e", "+1", "NaN", "0x1", "1_0", "1 "} {
		if _, ok := ParseNumber([]byte(text)); ok {
			t.Errorf("ParseNumber(%q) is ok", text)
		}
		if _, ok := ParseInteger([]byte(text)); ok {
			t.Errorf("ParseInteger(%q) is ok", text)
		}
	}
}

func (g generator) digits(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('0' + g.IntN(10))
	}
	if n > 1 && b[0] == '0' {
		b[0] = '1'
	}
	return string(b)
}

// Guards the reading of times against the standard library's: a moment off by an hour is worse than a refused one.
func TestParseTimeAgreesWithTimePackage(t *testing.T) {
	c := mustParse(t, "- {name: z, logicalType: timestamp, logicalTypeOptions: {timezone: true}}\n- {name: l, logicalType: timestamp, logicalTypeOptions: {timezone: false}}")
	g := generator{rand.New(rand.NewPCG(5, 6))}
	for range 20_000 {
		local := fmt.Sprintf("%04d-%02d-%02dT%02d:%02d:%02d%s", 1+g.IntN(9999), g.IntN(14), g.IntN(33), g.IntN(26), g.IntN(62), g.IntN(62), g.pick("", ".5", ".123456789"))
		zoned := local + g.pick("Z", "+01:00", "-17:59", "+05:30")
		want, err := time.Parse(time.RFC3339Nano, zoned)
		got, gotErr := c.Payload[0].ParseTime(zoned)
		if (err == nil) != (gotErr == nil) || err == nil && !got.Equal(want) {
			t.Fatalf("%s: %v, %v; want %v, %v", zoned, got, gotErr, want, err)
		}
		want, err = time.Parse("2006-01-02T15:04:05", local)
		got, gotErr = c.Payload[1].ParseTime(local)
		if (err == nil) != (gotErr == nil) || err == nil && !got.Equal(want) {
			t.Fatalf("%s: %v, %v; want %v, %v", local, got, gotErr, want, err)
		}
	}
}

// Guards against a grammar of our own: what Inspect takes for JSON is what encoding/json does, and nothing makes it panic.
func FuzzInspect(f *testing.F) {
	c := mustParse(f, propertyContract)
	g := generator{rand.New(rand.NewPCG(7, 8))}
	f.Add([]byte(trip))
	for range 20 {
		f.Add([]byte(g.object(&c.root, 0)))
	}
	for _, s := range []string{`{"a":"\ud800"}`, `{"a":1e999}`, "[]", " 1 ", `{"s":"\u00e4"}`, "{\"a\":\"\xff\"}", `{"a":[1,1.0]}`, `{"":{"":1,"":2}}`} {
		f.Add([]byte(s))
	}
	taxi := taxi(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		before := bytes.Clone(payload)
		for _, c := range []*Contract{c, taxi} {
			r, err := c.Inspect(payload)
			if (err == nil) != rawjson.Valid(payload) {
				t.Fatalf("Inspect: %v, rawjson.Valid: %t", err, err != nil)
			}
			for _, v := range r.Violations {
				if len(v.Pointer) > maxPointer+3 || len(v.Message) > 300 {
					t.Fatalf("long violation %q", v)
				}
			}
			if err == nil && len(r.Violations) == 0 {
				var object map[string]json.RawMessage
				if err := json.Unmarshal(payload, &object); err != nil {
					t.Fatalf("conforms, yet: %v", err)
				}
			}
		}
		if !bytes.Equal(before, payload) {
			t.Fatal("the payload was changed")
		}
	})
}

func BenchmarkCheckTaxi(b *testing.B) {
	c := taxi(b)
	payload := []byte(trip)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if v := c.Check(payload); len(v) != 0 {
			b.Fatal(v)
		}
	}
}
