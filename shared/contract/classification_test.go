package contract

import (
	"strings"
	"testing"
)

// Guards which words show a field: few, in any case, and a slip of the pen is none of them.
func TestMasked(t *testing.T) {
	for word, want := range map[string]bool{
		"": false, "public": false, "Public": false, " INTERNAL ": false,
		"personal": true, "confidential": true, "Restricted": true, "sensitive": true, "publc": true, "not public": true, "C1": true,
	} {
		if f := (Field{Classification: word}); f.Masked() != want {
			t.Errorf("%q masks: %v", word, !want)
		}
	}
}

const classified = `apiVersion: v3.1.0
kind: DataContract
id: order
version: 1.0.0
status: active
customProperties:
  - {property: eventType, value: Order}
  - property: enrichmentSteps
    value:
      - {name: by_who, lookup: {table: t, column: c, key: /buyer/id, fields: {town: a, country: b}, onMissing: fail}}
      - {name: by_what, lookup: {table: t, column: c, key: /what, fields: {kind: a}, onMissing: fail}}
schema:
  - name: payload
    logicalType: object
    properties:
      - {name: what, logicalType: string}
      - {name: buyer, logicalType: object, classification: personal, properties: [{name: id, logicalType: string, classification: public}]}
  - name: enrichment
    logicalType: object
    properties: [{name: town, logicalType: string}, {name: country, logicalType: string, classification: public}, {name: kind, logicalType: string}]
`

// Guards what a file does not say for a field itself: an enrichment is as personal as its key, whose object may be what is classified, and a payload that is classified as a whole is so in
// every field.
func TestInheritedClassification(t *testing.T) {
	f := func(source, want string) {
		t.Helper()
		c, err := Parse("order", []byte(source))
		if err != nil {
			t.Fatal(err)
		}
		var masked []string
		for _, f := range append(append([]Field{}, c.Payload...), c.Enrichment...) {
			if f.Masked() {
				masked = append(masked, f.Name)
			}
		}
		if got := strings.Join(masked, " "); got != want {
			t.Errorf("masked: %s; want %s", got, want)
		}
	}
	f(classified, "buyer town")
	f(strings.Replace(classified, "name: payload\n    logicalType: object", "name: payload\n    logicalType: object\n    classification: confidential", 1), "what buyer town kind")
	f(strings.Replace(classified, "name: enrichment\n    logicalType: object", "name: enrichment\n    logicalType: object\n    classification: C3", 1), "buyer town country kind")
}

// Guards events of older producers: the strictest version of a MODEL counts for each field at any depth, whichever version came first, and names and types stay.
func TestStrictestVersionCounts(t *testing.T) {
	newer := strings.NewReplacer("version: 1.0.0", "version: 1.1.0", "{name: what, logicalType: string}", "{name: what, logicalType: string, classification: restricted}",
		"logicalType: object, classification: personal, properties: [{name: id, logicalType: string, classification: public}]", "logicalType: object, properties: [{name: id, logicalType: string, classification: personal}]").Replace(classified)
	var list []*Contract
	for _, source := range []string{classified, newer} {
		c, err := Parse("order", []byte(source))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	set, err := NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	m, err := set.Model("Order", 1)
	if err != nil {
		t.Fatal(err)
	}
	if !m.Payload[0].Masked() || !m.Payload[1].Masked() || !m.Payload[1].Fields[0].Masked() || !m.Enrichment[2].Masked() {
		t.Errorf("%+v", m.Payload)
	}
	if older, _ := set.Find("Order", "1-0-0"); older.Payload[0].Masked() || m.Payload[0].Type != String {
		t.Error("the older contract itself was changed")
	}
}
