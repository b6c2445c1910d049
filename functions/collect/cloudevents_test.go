package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/shared/event"
)

var structured = http.Header{"Content-Type": {"application/cloudevents+json; charset=utf-8"}}

// Guards our reading of CloudEvents against the specification's 43 JSON cases, single and batch.
func TestConformanceSuite(t *testing.T) {
	f, err := os.Open("../../../shared/data/cloudevents/ce_json_cases.ndjson")
	if err != nil {
		t.Skip("../shared/data/cloudevents is not here")
	}
	defer func() { _ = f.Close() }()
	n := 0
	for sc := bufio.NewScanner(f); sc.Scan(); n++ {
		var c struct {
			ID, Expect, Kind string
			Body             json.RawMessage
		}
		if err := json.Unmarshal(sc.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		r := newRig(t, nil)
		h := structured
		if c.Kind == "batch" {
			h = http.Header{"Content-Type": {event.MediaBatch}}
		}
		w := r.post("/api/v1/events", h, c.Body)
		if (w.Code == 200) != (c.Expect == "accept") {
			t.Errorf("%s: want %s, answered %d %s", c.ID, c.Expect, w.Code, w.Body)
		}
		if (len(r.dead.events) == 0) != (c.Expect == "accept") {
			t.Errorf("%s: %d dead letters", c.ID, len(r.dead.events))
		}
	}
	if n != 43 {
		t.Errorf("%d cases, want 43", n)
	}
}

// Guards what real clients send: each captured request comes out with its attributes and its bytes, in whatever mode it came.
func TestCaptures(t *testing.T) {
	const dir = "../../../shared/data/sdk_captures/"
	if _, err := os.Stat(dir); err != nil {
		t.Skip("../shared/data/sdk_captures is not here")
	}
	const payload = `{"fare_amount":9.3,"note":"Ünï","trip_distance":0.97}`
	binary := string([]byte{0, 1, 2, 255})
	trip := func(data, contentType string) map[string]string {
		return map[string]string{
			"id": "trip-1", "source": "/nyc/taxi", "type": "org.example.taxi.trip", "subject": "VendorID/2", "time": "2023-01-01T00:32:10Z",
			"datacontenttype": contentType, "comment": `Euro € 😀 "q" %`, "partitionkey": "161",
			"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "data": data,
		}
	}
	nothing := map[string]string{"id": "nodata-1", "source": "/nyc/taxi", "type": "org.example.empty", "data": ""}
	for name, want := range map[string][]map[string]string{
		"cloudevents-go-binary-01":           {trip(payload, "application/json")},
		"cloudevents-go-structured-01":       {trip(payload, "application/json")},
		"cloudevents-go-binary-bytes-01":     {trip(binary, "application/octet-stream")},
		"cloudevents-go-structured-bytes-01": {trip(binary, "application/octet-stream")},
		"cloudevents-go-nodata-01":           {nothing},
		"cloudevents-go-batch-01":            {trip(payload, "application/json"), nothing, trip(binary, "application/octet-stream")},
	} {
		t.Run(name, func(t *testing.T) {
			head, err := os.ReadFile(filepath.Join(dir, name+".http"))
			if err != nil {
				t.Fatal(err)
			}
			req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				t.Fatal(err)
			}
			r := newRig(t, nil)
			w := r.post("/api/v1/events", req.Header, body)
			got := receiptsOf(t, w)
			if w.Code != 200 || len(got) != len(want) || len(r.raw.events) != len(want) {
				t.Fatalf("answered %d %s", w.Code, w.Body)
			}
			for i, want := range want {
				e := r.raw.events[i]
				for name, value := range want {
					have := event.Attr(e, name)
					if name == "data" {
						have = string(e.Data())
					}
					if have != value {
						t.Errorf("event %d: %s = %q, want %q", i, name, have, value)
					}
				}
				if event.Attr(e, event.DataHash) != event.Hash([]byte(want["data"])) || event.Attr(e, event.CollectorID) != "test-1" {
					t.Errorf("event %d is not completed: %v", i, e)
				}
			}
		})
	}
	// Other trackers' requests are none of ours, and say so instead of crashing.
	others, err := filepath.Glob(dir + "s*.http")
	if err != nil || len(others) == 0 {
		t.Fatalf("no captures of other trackers: %v", err)
	}
	for _, file := range others {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			t.Fatal(err)
		}
		body, err := os.ReadFile(strings.TrimSuffix(file, ".http") + ".body")
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		r := newRig(t, nil)
		if w := r.post("/api/v1/events", req.Header, body); w.Code != 415 {
			t.Errorf("%s: answered %d %s", file, w.Code, w.Body)
		}
		if w := r.post("/api/v1/collect", nil, body); w.Code != 422 {
			t.Errorf("%s in the JSON form: answered %d %s", file, w.Code, w.Body)
		}
	}
}

func binaryHeader(change map[string]string) http.Header {
	h := http.Header{}
	for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/s", "Ce-Type": "T", "Content-Type": "application/json"} {
		h.Set(name, value)
	}
	for name, value := range change {
		h.Del(name)
		if value != "" {
			h.Set(name, value)
		}
	}
	return h
}

// Guards the rules that are ours, beyond the specification's, in each mode; and that a binary dead letter keeps what its headers said.
func TestCloudEventRules(t *testing.T) {
	r := newRig(t, nil)
	f := func(change map[string]string, body string, code event.Code) *event.Event {
		t.Helper()
		r.reset()
		w := r.post("/api/v1/events", binaryHeader(change), []byte(body))
		got := receiptsOf(t, w)
		if len(got) != 1 || got[0].Code != string(code) || strings.Contains(got[0].Message, "secret") {
			t.Errorf("%v: answered %d %+v, want %q", change, w.Code, got, code)
		}
		if code == "" {
			return r.raw.events[0]
		}
		d := r.dead.events[0]
		if string(d.Data()) != body {
			t.Errorf("%v: kept %q", change, d.Data())
		}
		if err := d.Validate(); err != nil {
			t.Errorf("%v: %v", change, err)
		}
		return d
	}
	if e := f(map[string]string{"Ce-Subject": "Z%C3%BCrich", "Ce-Comment": "Zürich", "Ce-Schemaversion": "1-0-0", "Ce-Knativekafkaoffset": "7"}, "not JSON", ""); event.Attr(e, "subject") != "Zürich" ||
		event.Attr(e, "comment") != "Zürich" || event.Attr(e, "knativekafkaoffset") != "" || string(e.Data()) != "not JSON" {
		t.Errorf("accepted as %v", e)
	}
	f(map[string]string{"Content-Type": ""}, "", "")
	f(map[string]string{"Content-Type": "text/plain"}, "\xff\x00", "")
	f(map[string]string{"Ce-Type": "a/b"}, "{}", event.CodeInvalidField)
	f(map[string]string{"Ce-Schemaversion": "1.0"}, "{}", event.CodeInvalidAttribute)
	f(map[string]string{"Ce-Rootid": "secret"}, "{}", event.CodeReservedAttribute)
	f(map[string]string{"Ce-Replaycount": "9"}, "{}", event.CodeReservedAttribute)
	f(map[string]string{"Ce-Subject": "%01secret"}, "{}", event.CodeInvalidField)
	f(map[string]string{"Ce-Time": "secret"}, "{}", event.CodeInvalidCloudEvent)
	f(map[string]string{"Ce-Specversion": "0.3"}, "{}", event.CodeInvalidCloudEvent)
	f(map[string]string{"Ce-Specversion": ""}, "{}", event.CodeInvalidCloudEvent)
	f(map[string]string{"Ce-Type": ""}, "{}", event.CodeInvalidCloudEvent)
	d := f(map[string]string{"Ce-Source": "", "Ce-Id": "mine", "Ce-Subject": "S", "Ce-Comment": "Z%C3%BCrich", "Ce-Schemaversion": "1-0-0", "Ce-Stage": "secret"}, "{}", event.CodeInvalidCloudEvent)
	for name, want := range map[string]string{"type": "T", "failureid": "mine", "comment": "Zürich", "schemaversion": "1-0-0", "stage": "", "source": "/collect", "datacontenttype": "application/json"} {
		if got := event.Attr(d, name); got != want {
			t.Errorf("dead letter: %s = %q, want %q", name, got, want)
		}
	}

	s := func(event1 string, code event.Code) *event.Event {
		t.Helper()
		r.reset()
		w := r.post("/api/v1/events", structured, []byte(event1))
		got := receiptsOf(t, w)
		if len(got) != 1 || got[0].Code != string(code) {
			t.Errorf("%s: answered %d %+v, want %q", event1, w.Code, got, code)
			return nil
		}
		if code == "" {
			return r.raw.events[0]
		}
		if string(r.dead.events[0].Data()) != event1 {
			t.Errorf("%s: kept %s", event1, r.dead.events[0].Data())
		}
		return r.dead.events[0]
	}
	with := func(rest string) string {
		return `{"specversion":"1.0","id":"1","source":"/s","type":"T",` + rest + `}`
	}
	if e := s(with(`"data": {"b":1.0,"a":"\u00fc"} `), ""); e != nil && string(e.Data()) != `{"b":1.0,"a":"\u00fc"}` {
		t.Errorf("data %s", e.Data())
	}
	s(with(`"iodebeziumtxId":"571"`), event.CodeInvalidCloudEvent)
	s(with(`"datahash":"x"`), event.CodeReservedAttribute)
	s(with(`"id":"2"`), event.CodeInvalidCloudEvent)
	// It would be read as a whole event in structured mode once it lies in a topic.
	s(with(`"datacontenttype":"application/cloudevents+json","data":{}`), event.CodeInvalidCloudEvent)
	if d := s(`{"specversion":"1.0","id":"1","type":"T","schemaversion":"0-0-1"}`, event.CodeInvalidCloudEvent); d != nil && (d.Type() != "T" || event.Attr(d, "schemaversion") != "0-0-1" || d.DataContentType() != "application/json") {
		t.Errorf("dead letter %v", d)
	}
	s(`[]`, event.CodeInvalidCloudEvent)
	s(`{`, event.CodeUnparsed)

	r.reset()
	w := r.post("/api/v1/events", http.Header{"Content-Type": {event.MediaBatch}}, []byte("["+with(`"data":1`)+`,{"id":"x"},`+with(`"data":2`)+"]"))
	if w.Code != 207 || len(r.raw.events) != 2 || len(r.dead.events) != 1 || string(r.dead.events[0].Data()) != `{"id":"x"}` {
		t.Errorf("batch: answered %d %s", w.Code, w.Body)
	}
	for _, media := range []string{"application/json", "application/cloudevents+avro", ""} {
		if w := r.post("/api/v1/events", http.Header{"Content-Type": {media}}, []byte("{}")); w.Code != 415 {
			t.Errorf("%s: answered %d %s", media, w.Code, w.Body)
		}
	}
}

// Guards the setting for Debezium's sake: names become lower case, but two that then are one do not.
func TestLowercaseExtensions(t *testing.T) {
	r := newRig(t, func(c *config) { c.LowercaseExtensions = true })
	post := func(rest string) []receipt {
		return receiptsOf(t, r.post("/api/v1/events", structured, []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"T",`+rest+`}`)))
	}
	if got := post(`"iodebeziumtxId":"571","iodebeziumOp":"c"`); got[0].Status != "accepted" {
		t.Fatalf("%+v", got)
	}
	if e := r.raw.events[0]; event.Attr(e, "iodebeziumtxid") != "571" || !slices.Contains(slices.Collect(maps.Keys(e.Extensions())), "iodebeziumop") {
		t.Errorf("extensions %v", e.Extensions())
	}
	if got := post(`"aB":"1","ab":"2"`); got[0].Code != string(event.CodeInvalidCloudEvent) {
		t.Errorf("two of one name: %+v", got)
	}
	if got := post(`"Subject":"1"`); got[0].Code != string(event.CodeInvalidAttribute) {
		t.Errorf("a context attribute in capitals: %+v", got)
	}
	w := r.post("/api/v1/collect", nil, []byte(`{"event_type":"T","schema_version":"0-0-1","payload":1,"extensions":{"txId":"1"}}`))
	if w.Code != 200 || event.Attr(r.raw.events[len(r.raw.events)-1], "txid") != "1" {
		t.Errorf("in the JSON form: answered %d %s", w.Code, w.Body)
	}
	if got := post(`"rootId":"1"`); got[0].Code != string(event.CodeReservedAttribute) {
		t.Errorf("a reserved name in capitals: %+v", got)
	}
}
