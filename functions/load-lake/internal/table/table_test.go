package table

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/parquet-go/parquet-go"

	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/kafka"
)

func ptr[T any](v T) *T { return &v }

// show renders what pointers point to.
func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

var arrived = time.Date(2026, 11, 21, 10, 0, 0, 123000000, time.UTC)

// record returns e as load-lake reads it.
func record(t testing.TB, e *event.Event) *sarama.ConsumerMessage {
	t.Helper()
	p, err := kafka.Encode("t", e)
	if err != nil {
		t.Fatal(err)
	}
	m := &sarama.ConsumerMessage{Topic: "t", Partition: 3, Offset: 42, Timestamp: arrived}
	for i := range p.Headers {
		m.Headers = append(m.Headers, &p.Headers[i])
	}
	if p.Value != nil {
		if m.Value, err = p.Value.Encode(); err != nil {
			t.Fatal(err)
		}
	}
	if p.Key != nil {
		if m.Key, err = p.Key.Encode(); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func newEvent(data string) *event.Event {
	e := &event.Event{}
	e.SetSpecVersion("1.0")
	e.SetID("1")
	e.SetSource("/s")
	e.SetType("Test")
	e.SetDataContentType("application/json")
	e.DataEncoded = []byte(data)
	return e
}

// rawRow is a row of the raw table.
type rawRow struct {
	Type        *string `parquet:"event_type,optional"`
	Version     *string `parquet:"schema_version,optional"`
	Assumed     *string `parquet:"version_assumed,optional"`
	Root        *string `parquet:"root_id,optional"`
	ID          *string `parquet:"id,optional"`
	Source      *string `parquet:"source,optional"`
	Subject     *string `parquet:"subject,optional"`
	Time        *int64  `parquet:"time,optional"`
	CollectorID *string `parquet:"collector_id,optional"`
	Collected   *int64  `parquet:"collector_tstamp,optional"`
	Hash        *string `parquet:"data_hash,optional"`
	Schema      *string `parquet:"data_schema,optional"`
	ContentType *string `parquet:"content_type,optional"`
	Key         *string `parquet:"partition_key,optional"`
	Stage       *string `parquet:"stage,optional"`
	FailStage   *string `parquet:"failure_stage,optional"`
	FailCode    *string `parquet:"failure_code,optional"`
	FailMessage *string `parquet:"failure_message,optional"`
	FailTime    *int64  `parquet:"failure_time,optional"`
	FailSource  *string `parquet:"failure_origin_source,optional"`
	FailID      *string `parquet:"failure_origin_id,optional"`
	FailVersion *string `parquet:"failure_assumed_version,optional"`
	ReplayID    *string `parquet:"replay_id,optional"`
	ReplayCount *int64  `parquet:"replay_count,optional"`
	Extensions  *string `parquet:"extensions,optional"`
	Headers     *string `parquet:"kafka_headers,optional"`
	KafkaKey    []byte  `parquet:"kafka_key,optional"`
	Partition   *int32  `parquet:"kafka_partition,optional"`
	Offset      *int64  `parquet:"kafka_offset,optional"`
	Stamp       *int64  `parquet:"kafka_timestamp,optional"`
	Payload     []byte  `parquet:"payload,optional"`
}

func encode(t testing.TB, l *Layout, ms ...*sarama.ConsumerMessage) []byte {
	t.Helper()
	b, err := l.Encode(ms)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read[T any](t testing.TB, b []byte) []T {
	t.Helper()
	rows, err := parquet.Read[T](bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// Guards the archive: every attribute of an event has its place, and the payload its bytes.
func TestRawRow(t *testing.T) {
	payload := " {\"b\": 1.0,\t\"a\":\"\\u00fc\\/\",\"a\":2 }\n"
	e := newEvent(payload)
	e.SetSubject("Zürich \"50%\"")
	e.SetTime(time.Date(2023, 1, 1, 0, 32, 10, 0, time.UTC))
	e.SetDataSchema("urn:millrace:contract:Test:0-0-1")
	for k, v := range map[string]any{
		event.SchemaVersion: "0-0-1", event.VersionAssumed: "true", event.CollectorID: "c", event.CollectorTime: "2026-11-21T09:59:59.5Z", event.PartitionKey: "ключ",
		event.Stage: "x", event.ReplayID: "r", event.ReplayCount: 2, "foreign": "ä\"\\", "other": true,
	} {
		e.SetExtension(k, v)
	}
	if err := event.Derive(e, arrived); err != nil {
		t.Fatal(err)
	}
	d := event.DeadLetter(e, event.Failure{Stage: "enrich", Code: event.CodeNotJSON, Message: "no", Time: arrived, Source: "/from/ä", ID: "theirs", Version: "0-0-1"})
	rows := read[rawRow](t, encode(t, Raw(), record(t, d)))
	want := rawRow{
		Type: ptr("Test"), Version: ptr("0-0-1"), Assumed: ptr("true"), Root: ptr(event.Identity("/s", "1")), ID: ptr("1"), Source: ptr("/s"),
		Subject: ptr("Zürich \"50%\""), Time: ptr(time.Date(2023, 1, 1, 0, 32, 10, 0, time.UTC).UnixMicro()), CollectorID: ptr("c"),
		Collected: ptr(time.Date(2026, 11, 21, 9, 59, 59, 5e8, time.UTC).UnixMicro()), Hash: ptr(event.Hash([]byte(payload))),
		Schema: ptr("urn:millrace:contract:Test:0-0-1"), ContentType: ptr("application/json"), Key: ptr("ключ"), Stage: ptr("x"),
		FailStage: ptr("enrich"), FailCode: ptr("not_json"), FailMessage: ptr("no"), FailTime: ptr(arrived.UnixMicro()), FailSource: ptr("/from/ä"), FailID: ptr("theirs"), FailVersion: ptr("0-0-1"), ReplayID: ptr("r"), ReplayCount: ptr(int64(2)),
		Partition: ptr(int32(3)), Offset: ptr(int64(42)), Stamp: ptr(arrived.UnixMicro()), Payload: []byte(payload),
	}
	if len(rows) != 1 {
		t.Fatalf("%d rows", len(rows))
	}
	var extensions map[string]string
	if err := json.Unmarshal([]byte(*rows[0].Extensions), &extensions); err != nil || fmt.Sprint(extensions) != `map[foreign:ä"\ other:true]` {
		t.Errorf("extensions %s, %v", *rows[0].Extensions, err)
	}
	rows[0].Extensions = nil
	if got := show(rows[0]); got != show(want) {
		t.Errorf("got  %s\nwant %s", got, show(want))
	}
}

// Guards against attributes that stand twice: what has a column is not in extensions, with the nanoseconds that our own functions write, in raw, dead and enriched rows, structured and
// binary; the partition key is in its column, and what has none in extensions.
func TestNothingTwice(t *testing.T) {
	e := newEvent("{}")
	e.SetTime(time.Date(2023, 1, 1, 0, 32, 10, 123456000, time.UTC))
	e.SetExtension(event.CollectorTime, "2026-11-21T09:00:00.123456789Z")
	e.SetExtension(event.CollectorID, "c")
	e.SetExtension(event.PartitionKey, "k")
	e.SetExtension("foreign", "x")
	if err := event.Derive(e, arrived); err != nil {
		t.Fatal(err)
	}
	d := event.DeadLetter(e, event.Failure{Stage: "enrich", Code: event.CodeNotJSON, Message: "no", Time: time.Date(2026, 11, 21, 9, 0, 1, 987654321, time.UTC)})
	m := record(t, d)
	structured, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	s := &sarama.ConsumerMessage{Key: m.Key, Value: structured, Timestamp: m.Timestamp, Headers: []*sarama.RecordHeader{{Key: []byte("content-type"), Value: []byte("application/cloudevents+json")}}}
	for i, r := range read[rawRow](t, encode(t, Raw(), m, s)) {
		if r.Extensions == nil || *r.Extensions != `{"foreign":"x"}` || *r.Key != "k" || *r.Collected != 1795251600123456 || *r.FailTime != 1795251601987654 {
			t.Errorf("%d: %s", i, show(r))
		}
	}
	x := read[struct {
		Extensions *string `parquet:"extensions,optional"`
		Key        *string `parquet:"partition_key,optional"`
	}](t, encode(t, Enriched(contract.Model{}, nil), record(t, e)))[0]
	if *x.Extensions != `{"foreign":"x"}` || *x.Key != "k" {
		t.Errorf("enriched: %s, %s", *x.Extensions, *x.Key)
	}
}

// Guards the exactness of the archive where a column's type does not hold an attribute's text: it stands in extensions too.
func TestRawKeepsTextThatItsColumnDoesNot(t *testing.T) {
	m := record(t, newEvent("{}"))
	set := func(name, value string) {
		m.Headers = append(m.Headers, &sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
	}
	set("ce_time", "2023-01-01T02:00:00.000000001%2B02:00")
	set("ce_replaycount", "many")
	set("ce_failuretime", "yesterday")
	set("ce_collectortime", "2026-11-21T09:00:00Z")
	r := read[rawRow](t, encode(t, Raw(), m))[0]
	if *r.Extensions != `{"time":"2023-01-01T02:00:00.000000001+02:00","failuretime":"yesterday","replaycount":"many"}` {
		t.Errorf("extensions %s", *r.Extensions)
	}
	if *r.Time != time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() || r.ReplayCount != nil || r.FailTime != nil || *r.Collected != time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC).UnixMicro() {
		t.Errorf("%s", show(r))
	}
}

// Guards events that came another way than by collect: identity, hash and time of arrival are derived by the rules of package event, in structured mode
// and after Knative gave up, too.
func TestDerived(t *testing.T) {
	plain := &sarama.ConsumerMessage{Timestamp: arrived, Value: []byte("{}"), Headers: []*sarama.RecordHeader{
		{Key: []byte("ce_specversion"), Value: []byte("1.0")},
		{Key: []byte("ce_id"), Value: []byte("ü")},
		{Key: []byte("ce_source"), Value: []byte("/s")},
		{Key: []byte("ce_type"), Value: []byte("Test")},
		{Key: []byte("traceparent"), Value: []byte("00-1")},
	}}
	structured := &sarama.ConsumerMessage{
		Timestamp: arrived, Key: []byte{0xff}, Value: []byte(`{"specversion":"1.0","id":"ü","source":"/s","type":"Test","myext":5,"data":{"a" :1}}`),
		Headers: []*sarama.RecordHeader{{Key: []byte("content-type"), Value: []byte("application/cloudevents+json; charset=utf-8")}},
	}
	dead := &sarama.ConsumerMessage{Timestamp: arrived, Value: []byte("{}"), Headers: append([]*sarama.RecordHeader{
		{Key: []byte("ce_knativeerrordest"), Value: []byte("http://enrich.millrace.svc.cluster.local/")}, {Key: []byte("ce_knativeerrorcode"), Value: []byte("503")},
	}, plain.Headers[:4]...)}
	empty := &sarama.ConsumerMessage{Timestamp: arrived, Value: []byte("{}"), Headers: append([]*sarama.RecordHeader{
		{Key: []byte("ce_rootid"), Value: []byte{}}, {Key: []byte("ce_datahash"), Value: []byte{}}, {Key: []byte("ce_collectortime"), Value: []byte{}},
	}, plain.Headers[:4]...)}
	rows := read[rawRow](t, encode(t, Raw(), plain, structured, dead, empty))
	for i, r := range rows {
		if r.Root == nil || *r.Root != event.Identity("/s", "ü") || *r.Collected != arrived.UnixMicro() || *r.Type != "Test" || r.Hash == nil || *r.Hash == "" {
			t.Errorf("%d: %s", i, show(r))
		}
	}
	if p := rows[0]; *p.Headers != `[["traceparent","00-1"]]` || p.Extensions != nil {
		t.Errorf("%s", show(p))
	}
	if s := rows[1]; string(s.Payload) != `{"a" :1}` || *s.Extensions != `{"myext":"5"}` || string(s.KafkaKey) != "\xff" || s.Key != nil || *s.Hash != event.Hash([]byte(`{"a" :1}`)) ||
		*s.Headers != `[["content-type","application/cloudevents+json; charset=utf-8"]]` {
		t.Errorf("%s", show(s))
	}
	if d := rows[2]; d.FailCode == nil || *d.FailCode != "delivery_exhausted" || *d.FailStage != "enrich" || !strings.Contains(*d.Extensions, "knativeerrordest") {
		t.Errorf("%s", show(d))
	}
	if typ, version := Kind(structured); typ != "Test" || version != "" {
		t.Errorf("kind %q %q", typ, version)
	}
}

const odcs = `apiVersion: v3.1.0
kind: DataContract
id: test
version: 1.2.3
status: active
customProperties:
  - {property: eventType, value: Test}
schema:
  - name: test
    logicalType: object
    properties:
      - {name: Int, logicalType: integer}
      - {name: num, logicalType: number}
      - {name: dec, logicalType: number, physicalType: "decimal(9,2)"}
      - {name: big, logicalType: number, physicalType: "decimal(38,10)"}
      - {name: flag, logicalType: boolean}
      - {name: str, logicalType: string}
      - {name: day, logicalType: date}
      - {name: wall, logicalType: timestamp, logicalTypeOptions: {timezone: false}}
      - {name: moment, logicalType: timestamp, logicalTypeOptions: {timezone: true}}
      - {name: clock, logicalType: time}
      - {name: free}
      - {name: shapeless, logicalType: object}
      - {name: anything, logicalType: array}
      - {name: tags, logicalType: array, items: {logicalType: string}}
      - name: grid
        logicalType: array
        items: {logicalType: array, items: {logicalType: integer}}
      - name: nested
        logicalType: object
        properties:
          - {name: id, logicalType: integer}
          - name: rows
            logicalType: array
            items:
              logicalType: object
              properties:
                - {name: a, logicalType: integer}
                - {name: b, logicalType: array, items: {logicalType: string}}
`

func model(t testing.TB, files ...string) contract.Model {
	t.Helper()
	var list []*contract.Contract
	for i, f := range files {
		c, err := contract.Parse(fmt.Sprint(i), []byte(f))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	set, err := contract.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	m, err := set.Model("Test", 1)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// typedRow is a row of the table of the contract above.
type typedRow struct {
	Root    *string `parquet:"root_id,optional"`
	Payload *struct {
		Int    *int64    `parquet:"int,optional" json:",omitempty"`
		Num    *float64  `parquet:"num,optional" json:",omitempty"`
		Dec    *int32    `parquet:"dec,optional,decimal(2:9)" json:",omitempty"`
		Big    *[16]byte `parquet:"big,optional,decimal(10:38)" json:",omitempty"`
		Flag   *bool     `parquet:"flag,optional" json:",omitempty"`
		Str    *string   `parquet:"str,optional" json:",omitempty"`
		Day    *int32    `parquet:"day,optional,date" json:",omitempty"`
		Wall   *int64    `parquet:"wall,optional,timestamp(microsecond:local)" json:",omitempty"`
		Moment *int64    `parquet:"moment,optional,timestamp(microsecond)" json:",omitempty"`
		Clock  *int64    `parquet:"clock,optional" json:",omitempty"`
		Free   *string   `parquet:"free,optional" json:",omitempty"`
		Shape  *string   `parquet:"shapeless,optional" json:",omitempty"`
		Any    *string   `parquet:"anything,optional" json:",omitempty"`
	} `parquet:"payload,optional" json:",omitempty"`
	Rescued *string `parquet:"_rescued,optional" json:",omitempty"`
}

func enriched(t testing.TB, payload, enrichment string) *sarama.ConsumerMessage {
	t.Helper()
	e := newEvent(string(event.EnrichedData([]byte(payload), []byte(enrichment))))
	e.SetExtension(event.SchemaVersion, "1-2-3")
	e.SetExtension(event.Stage, event.StageEnriched)
	return record(t, e)
}

// Guards each type: a value that fits is in its column, one that does not is null there and kept in _rescued under its pointer.
func TestTyped(t *testing.T) {
	l := Enriched(model(t, odcs), nil)
	f := func(payload, want string) {
		t.Helper()
		r := read[typedRow](t, encode(t, l, enriched(t, payload, "{}")))[0]
		if r.Root == nil || *r.Root != event.Identity("/s", "1") {
			t.Errorf("root %v", r.Root)
		}
		r.Root = nil
		if r.Payload != nil && r.Payload.Big != nil { // as a number
			n := new(big.Int).SetBytes(r.Payload.Big[:])
			if r.Payload.Big[0] >= 0x80 {
				n.Sub(n, new(big.Int).Lsh(big.NewInt(1), 128))
			}
			r.Payload.Big = nil
			want = strings.Replace(want, fmt.Sprintf(`"Big":%s`, n), "", 1)
		}
		if got := strings.ReplaceAll(show(r), `"Root":null,`, ""); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", payload, got, want)
		}
	}
	day := func(s string) int64 {
		d, err := time.Parse("2006-01-02", s)
		if err != nil {
			t.Fatal(err)
		}
		return d.Unix() / 86400
	}
	f(`{"Int":1,"num":1.5,"dec":1.25,"flag":true,"str":"a\u00fcb","free":{"x": [1 ]}}`, `{"Payload":{"Int":1,"Num":1.5,"Dec":125,"Flag":true,"Str":"aüb","Free":"{\"x\":[1]}"}}`)
	f(`{"Int":1.0,"num":7,"dec":-1e1,"flag":false,"str":""}`, `{"Payload":{"Int":1,"Num":7,"Dec":-1000,"Flag":false,"Str":""}}`)
	f(`{"Int":null,"str":null}`, `{"Payload":{}}`)
	f(`{"Int":1.5,"num":1e999,"dec":1.255,"flag":"true","str":5}`,
		`{"Payload":{},"Rescued":"{\"/payload/Int\":1.5,\"/payload/num\":1e999,\"/payload/dec\":1.255,\"/payload/flag\":\"true\",\"/payload/str\":5}"}`)
	f(`{"big":12345678901234567890.5}`, `{"Payload":{"Big":123456789012345678905000000000}}`)
	f(`{"big":-1}`, `{"Payload":{"Big":-10000000000}}`)
	f(`{"day":"1969-12-31","clock":"00:00:01.5"}`, `{"Payload":{"Day":-1,"Clock":1500000}}`)
	f(`{"day":"2024-02-29"}`, fmt.Sprintf(`{"Payload":{"Day":%d}}`, day("2024-02-29")))
	f(`{"day":"2023-02-29","clock":"25:00:00"}`, `{"Payload":{},"Rescued":"{\"/payload/day\":\"2023-02-29\",\"/payload/clock\":\"25:00:00\"}"}`)
	f(`{"wall":"1970-01-01T00:00:01","moment":"1970-01-01T01:00:01+01:00"}`, `{"Payload":{"Wall":1000000,"Moment":1000000}}`)
	f(`{"wall":"1970-01-01T00:00:01Z","moment":"1970-01-01T00:00:00.0000015Z"}`,
		`{"Payload":{"Moment":1},"Rescued":"{\"/payload/wall\":\"1970-01-01T00:00:01Z\",\"/payload/moment\":\"1970-01-01T00:00:00.0000015Z\"}"}`)
	f(`{"free":null,"shapeless":{"a":1},"anything":[1, "x"]}`, `{"Payload":{"Shape":"{\"a\":1}","Any":"[1,\"x\"]"}}`)
	f(`{"new~/field":{"a": 1},"int":3}`, `{"Payload":{},"Rescued":"{\"/payload/new~0~1field\":{\"a\":1},\"/payload/int\":3}"}`)
	f(`{"Int":1,"Int":2,"Int":3}`, `{"Payload":{"Int":3},"Rescued":"{\"/payload/Int#1\":1,\"/payload/Int#2\":2}"}`)
	f(`[1]`, `{"Rescued":"{\"/payload\":[1]}"}`)
	f(`null`, `{"Root":null}`)
}

// Guards nested columns: lists of lists, of objects with lists, empty and null ones at each level, and pointers into them.
func TestNested(t *testing.T) {
	type nested struct {
		ID   *int64 `parquet:"id,optional"`
		Rows []struct {
			A *int64   `parquet:"a,optional"`
			B []string `parquet:"b,optional,list"`
		} `parquet:"rows,optional,list"`
	}
	type row struct {
		Payload *struct {
			Tags   []*string `parquet:"tags,optional,list"`
			Nested *nested   `parquet:"nested,optional"`
		} `parquet:"payload,optional"`
		Rescued *string `parquet:"_rescued,optional"`
	}
	payloads := []string{
		`{"tags":["a","b"],"nested":{"id":1,"rows":[{"a":1,"b":["x","y"]},{"b":[]},{"a":3}]},"grid":[[1,2],[],[3]]}`,
		`{}`,
		`{"tags":[],"nested":{},"grid":[]}`,
		`{"tags":[null,"c",5],"nested":{"rows":[{"a":"z","c":1},7]},"grid":[[1,"x"],{}]}`,
		`{"tags":"no","nested":[]}`,
		`{"tags":["last"],"nested":{"id":2,"rows":[]}}`,
	}
	var ms []*sarama.ConsumerMessage
	for _, p := range payloads {
		ms = append(ms, enriched(t, p, "{}"))
	}
	b := encode(t, Enriched(model(t, odcs), nil), ms...)
	got := read[row](t, b)
	want := []string{
		`{"Payload":{"Tags":["a","b"],"Nested":{"ID":1,"Rows":[{"A":1,"B":["x","y"]},{"A":null,"B":[]},{"A":3,"B":null}]}},"Rescued":null}`,
		`{"Payload":{"Tags":null,"Nested":null},"Rescued":null}`,
		`{"Payload":{"Tags":[],"Nested":{"ID":null,"Rows":null}},"Rescued":null}`,
		`{"Payload":{"Tags":[null,"c",null],"Nested":{"ID":null,"Rows":[{"A":null,"B":null},{"A":null,"B":null}]}},"Rescued":"{\"/payload/tags/2\":5,\"/payload/grid/0/1\":\"x\",\"/payload/grid/1\":{},\"/payload/nested/rows/0/c\":1,\"/payload/nested/rows/0/a\":\"z\",\"/payload/nested/rows/1\":7}"}`,
		`{"Payload":{"Tags":null,"Nested":null},"Rescued":"{\"/payload/tags\":\"no\",\"/payload/nested\":[]}"}`,
		`{"Payload":{"Tags":["last"],"Nested":{"ID":2,"Rows":[]}},"Rescued":null}`,
	}
	for i := range want {
		if g := show(got[i]); g != want[i] {
			t.Errorf("%s\ngot  %s\nwant %s", payloads[i], g, want[i])
		}
	}
	// The list of lists, as levels: parquet-go's structs have no such type.
	file, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	column, ok := file.Schema().Lookup("payload", "grid", "list", "element", "list", "element")
	if !ok {
		t.Fatal("no column")
	}
	var levels []string
	rows := file.RowGroups()[0].Rows()
	defer rows.Close()
	buf := make([]parquet.Row, len(payloads))
	n, _ := rows.ReadRows(buf)
	for _, r := range buf[:n] {
		s := ""
		for _, v := range r {
			if v.Column() == column.ColumnIndex {
				s += fmt.Sprintf("%v/%d/%d ", v, v.RepetitionLevel(), v.DefinitionLevel())
			}
		}
		levels = append(levels, strings.TrimSpace(s))
	}
	// Levels: 1 payload, 2 grid, 3 an element's slot, 4 the inner list, 5 its slot, 6 the number.
	if want := "1/0/6 2/2/6 <null>/1/4 3/1/6|<null>/0/1|<null>/0/2|1/0/6 <null>/2/5 <null>/1/3|<null>/0/1|<null>/0/1"; strings.Join(levels, "|") != want {
		t.Errorf("grid %s", strings.Join(levels, "|"))
	}
}

// Guards versions of one MODEL: an event of the older one has nulls in the newer one's columns, in whatever order the contracts are known.
func TestVersions(t *testing.T) {
	newer := strings.Replace(strings.Replace(odcs, "version: 1.2.3", "version: 1.2.4", 1), "{name: num,", "{name: added, logicalType: string}\n      - {name: num,", 1)
	type row struct {
		Payload *struct {
			Added *string `parquet:"added,optional"`
			Int   *int64  `parquet:"int,optional"`
		} `parquet:"payload,optional"`
		Rescued *string `parquet:"_rescued,optional"`
	}
	rows := read[row](t, encode(t, Enriched(model(t, newer, odcs), nil), enriched(t, `{"Int":1}`, "{}"), enriched(t, `{"Int":2,"added":"x"}`, "{}")))
	if got := show(rows); got != `[{"Payload":{"Added":null,"Int":1},"Rescued":null},{"Payload":{"Added":"x","Int":2},"Rescued":null}]` {
		t.Errorf("got %s", got)
	}
}

// Guards what is no enriched event at all, of a contract that masks nothing: all of it is in _rescued.
func TestRescuedWhole(t *testing.T) {
	l := Enriched(model(t, odcs), nil)
	type row struct {
		Rescued *string `parquet:"_rescued,optional"`
	}
	plain := func(data string) *sarama.ConsumerMessage {
		e := newEvent(data)
		e.SetExtension(event.SchemaVersion, "1-2-3")
		return record(t, e)
	}
	rows := read[row](t, encode(t, l, enriched(t, `[{"a": 1}]`, `{"z":null}`), plain(`{"a":1 }`), plain("\xff"), enriched(t, `[{"a":1}]`, `null`), plain("")))
	want := []string{`{"/payload":[{"a":1}],"/enrichment":{"z":null}}`, `{"":{"a":1}}`, `{"base64":"` + "/w==" + `"}`, `{"/payload":[{"a":1}]}`, ""}
	for i, w := range want {
		got := ""
		if rows[i].Rescued != nil {
			got = *rows[i].Rescued
		}
		if got != w {
			t.Errorf("%d: got %s, want %s", i, got, w)
		}
	}
}

// Guards a layout that is used for entry after entry: nothing of one file may show in the next, and more rows than one flush holds keep their order.
func TestManyRowsAndReuse(t *testing.T) {
	l := Raw()
	for round := range 2 {
		var ms []*sarama.ConsumerMessage
		for i := range 3*flushRows + 7 {
			m := record(t, newEvent(fmt.Sprintf(`{"n":%d}`, i)))
			m.Offset = int64(i)
			ms = append(ms, m)
		}
		rows := read[rawRow](t, encode(t, l, ms...))
		if len(rows) != len(ms) {
			t.Fatalf("round %d: %d rows", round, len(rows))
		}
		for i, r := range rows {
			if *r.Offset != int64(i) || string(r.Payload) != fmt.Sprintf(`{"n":%d}`, i) {
				t.Fatalf("round %d: row %d is %s", round, i, hex.EncodeToString(r.Payload))
			}
		}
	}
}
