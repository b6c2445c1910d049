package table

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/IBM/sarama"

	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/mask"
)

const personal = `apiVersion: v3.1.0
kind: DataContract
id: person
name: Person
version: 1.2.3
status: active
customProperties: [{property: eventType, value: Test}]
schema:
  - name: payload
    logicalType: object
    properties:
      - {name: email, logicalType: string, classification: personal}
      - {name: n, logicalType: integer, classification: personal}
      - {name: day, logicalType: date, classification: personal}
      - {name: any, classification: personal}
      - {name: free, logicalType: object, classification: personal}
      - {name: tags, logicalType: array, classification: personal, items: {logicalType: string}}
      - {name: shown, logicalType: string, classification: public}
      - {name: size, logicalType: number, classification: public}
`

type person struct {
	Payload *struct {
		Email *string   `parquet:"email,optional" json:",omitempty"`
		N     *int64    `parquet:"n,optional" json:",omitempty"`
		Day   *int32    `parquet:"day,optional,date" json:",omitempty"`
		Any   *string   `parquet:"any,optional" json:",omitempty"`
		Free  *string   `parquet:"free,optional" json:",omitempty"`
		Tags  []*string `parquet:"tags,optional,list" json:",omitempty"`
		Shown *string   `parquet:"shown,optional" json:",omitempty"`
		Size  *float64  `parquet:"size,optional" json:",omitempty"`
	} `parquet:"payload,optional" json:",omitempty"`
	Rescued    *string `parquet:"_rescued,optional" json:",omitempty"`
	ID         *string `parquet:"id,optional" json:",omitempty"`
	Subject    *string `parquet:"subject,optional" json:",omitempty"`
	Key        *string `parquet:"partition_key,optional" json:",omitempty"`
	Extensions *string `parquet:"extensions,optional" json:",omitempty"`
	KafkaKey   []byte  `parquet:"kafka_key,optional" json:",omitempty"`
}

func maskKey(t testing.TB) *mask.Key {
	t.Helper()
	k, err := mask.NewKey([]byte("a key for tests, and for nothing else"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Guards people in enriched rows: a masked field is a pseudonym or null in its own column, of its own type; nothing of it, of what the contract does not name, or of what does not fit
// is in _rescued; attributes that say the same are pseudonyms as well; and what is public stays, rescued where it does not fit.
func TestPersonalDataIsMasked(t *testing.T) {
	k := maskKey(t)
	who := string(k.Append(nil, "jane"))
	l := Enriched(model(t, personal), k)
	f := func(m *sarama.ConsumerMessage, want string) {
		t.Helper()
		object := encode(t, l, m)
		r := read[person](t, object)[0]
		if got := show(r); got != strings.ReplaceAll(want, "WHO", who) {
			t.Errorf("got  %s\nwant %s", got, strings.ReplaceAll(want, "WHO", who))
		}
	}
	const id = `"ID":"1"}`
	of := func(payload string) *sarama.ConsumerMessage { return enriched(t, payload, "{}") }
	f(of(`{"email":"jane","n":5,"day":"2000-01-01","any":"jane","free":{"jane":2},"tags":["jane",7],"shown":"s","size":1.5}`),
		`{"Payload":{"Email":"WHO","Any":"\"WHO\"","Tags":["WHO",null],"Shown":"s","Size":1.5},`+id)
	f(of(`{"email":{"jane":"jane"},"n":"jane","day":"jane","any":["jane"],"free":"jane","tags":"jane","shown":5,"size":"x"}`),
		`{"Payload":{},"Rescued":"{\"/payload/shown\":5,\"/payload/size\":\"x\"}",`+id)
	f(of(`{"Email":"jane","jane":1,"email":"jane","email":"jan\u0065"}`), `{"Payload":{"Email":"WHO"},"Rescued":"{\"/payload/email#1\":\"WHO\"}",`+id)
	f(of(`["jane"]`), `{`+id)

	e := newEvent(string(event.EnrichedData([]byte(`{"email":"jane"}`), []byte(`{}`))))
	for name, value := range map[string]string{event.SchemaVersion: "1-2-3", event.Stage: event.StageEnriched, event.PartitionKey: "jane", "visitor": "jane"} {
		e.SetExtension(name, value)
	}
	e.SetSubject("jane")
	m := record(t, e)
	f(m, `{"Payload":{"Email":"WHO"},"ID":"1","Subject":"WHO","Key":"WHO","Extensions":"{\"visitor\":\"WHO\"}"}`)
	m.Key = []byte("5")
	f(m, `{"Payload":{"Email":"WHO"},"ID":"1","Subject":"WHO","Key":"WHO","Extensions":"{\"visitor\":\"WHO\"}","KafkaKey":"NQ=="}`) // a key that is nobody's
	e.SetExtension(event.PartitionKey, "k")
	m = record(t, e)
	m.Key = []byte("jane")
	f(m, `{"Payload":{"Email":"WHO"},"ID":"1","Subject":"WHO","Key":"k","Extensions":"{\"visitor\":\"WHO\"}","KafkaKey":"`+base64.StdEncoding.EncodeToString([]byte(who))+`"}`)
	m = record(t, e)
	m.Value = []byte(`{"jane"`)
	f(m, `{"Rescued":"{\"withheld\":\"`+withheldForm+`\"}","ID":"1","Subject":"jane","Key":"k","Extensions":"{\"visitor\":\"jane\"}"}`)
}

// Guards people against contracts that are not here: of an event of another version, which may be the first to call a field personal, nothing is shown, as of one without any contract, and the row says so;
// attributes are masked all the same.
func TestUnknownContractsShowNothing(t *testing.T) {
	type row struct {
		Payload *struct {
			Int *int64 `parquet:"int,optional" json:",omitempty"`
		} `parquet:"payload,optional" json:",omitempty"`
		Rescued *string `parquet:"_rescued,optional" json:",omitempty"`
	}
	other := func(data []byte, version string) *sarama.ConsumerMessage {
		e := newEvent(string(data))
		e.SetExtension(event.SchemaVersion, version)
		e.SetExtension(event.Stage, event.StageEnriched)
		return record(t, e)
	}
	data := event.EnrichedData([]byte(`{"Int":1,"email":"jane"}`), []byte(`{"jane":1}`))
	rows := read[row](t, encode(t, Enriched(model(t, odcs), nil), other(data, "1-2-4"), other([]byte(`{"jane":1}`), "1-2-4"), other(data, "1-2-3")))
	if got, want := show(rows), `[{"Rescued":"{\"withheld\":\"`+withheldVersion+`\"}"},{"Rescued":"{\"withheld\":\"`+withheldVersion+
		`\"}"},{"Payload":{"Int":1},"Rescued":"{\"/payload/email\":\"jane\",\"/enrichment\":{\"jane\":1}}"}]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	masked := other(event.EnrichedData([]byte(`{"email":"jane","shown":"jane"}`), []byte(`{}`)), "1-2-9")
	masked.Key = []byte("jane")
	object := encode(t, Enriched(model(t, personal), maskKey(t)), masked)
	if got, want := show(read[person](t, object)), `[{"Rescued":"{\"withheld\":\"`+withheldVersion+`\"}","ID":"1","Key":"`+string(maskKey(t).Append(nil, "jane"))+`"}]`; got != want || bytes.Contains(object, []byte("jane")) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	type bare struct {
		Rescued *string `parquet:"_rescued,optional" json:",omitempty"`
	}
	object = encode(t, Enriched(contract.Model{}, nil), other(data, "1-2-4"), record(t, newEvent("jane")), record(t, newEvent("")))
	if got, want := show(read[bare](t, object)), `[{"Rescued":"{\"withheld\":\"`+withheldType+`\"}"},{"Rescued":"{\"withheld\":\"`+withheldType+`\"}"},{}]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if bytes.Contains(object, []byte("jane")) {
		t.Error("the object has it all the same")
	}
}

// Guards raw and dead rows, which hold what was sent, personal or not.
func TestRawIsUnmasked(t *testing.T) {
	rows := read[rawRow](t, encode(t, Raw(), record(t, newEvent(`{"email": "jane"}`))))
	if string(rows[0].Payload) != `{"email": "jane"}` {
		t.Errorf("%s", rows[0].Payload)
	}
}
