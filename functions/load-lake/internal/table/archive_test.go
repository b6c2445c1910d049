package table

import (
	"reflect"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/archive"
	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/kafka"
)

// Guards replay from the lake: an event read back from a raw or dead object is the one that its record held, to the byte of its payload and the digit of its
// times, and a record that is no event comes back as none.
func TestArchiveGivesTheEventsBack(t *testing.T) {
	plain := newEvent(` {"a": 1.0}`)
	full := newEvent("\xff no JSON")
	full.SetSubject("ü \"%\"")
	full.SetDataContentType("text/plain")
	full.SetDataSchema("https://example.org/s")
	full.SetTime(time.Date(2026, 11, 21, 9, 0, 0, 123456789, time.UTC))
	for name, value := range map[string]any{
		event.SchemaVersion: "0-0-1", event.PartitionKey: "k", event.CollectorID: "c", event.CollectorTime: "2026-11-21T11:00:00.5+02:00", "traceparent": "00-x", "n": 7,
	} {
		full.SetExtension(name, value)
	}
	if err := event.Derive(full, arrived); err != nil {
		t.Fatal(err)
	}
	letter := event.DeadLetter(full, event.Failure{Stage: "enrich", Code: event.CodeContractViolation, Message: "m", Time: arrived, Source: "/theirs", ID: "9", Version: "0-0-1"})
	letter.SetExtension(event.ReplayID, "r")
	letter.SetExtension(event.ReplayCount, 2)
	knative := newEvent("{}")
	knative.SetExtension(event.KnativeErrorDst, "http://load-search.millrace.svc.cluster.local/")
	knative.SetExtension(event.KnativeErrCode, "503")
	empty := newEvent("")
	records := []*sarama.ConsumerMessage{record(t, plain), record(t, full), record(t, letter), record(t, knative), record(t, empty), {
		Partition: 3, Offset: 43, Timestamp: arrived, Value: []byte("foreign"),
	}}
	var rows []archive.Row
	if err := archive.Read(encode(t, Raw(), records...), func(i int64, r archive.Row) error {
		if int(i) != len(rows) {
			t.Errorf("index %d of row %d", i, len(rows))
		}
		rows = append(rows, r)
		return nil
	}); err != nil || len(rows) != len(records) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	texts := func(e *event.Event) map[string]string {
		m := map[string]string{}
		for _, name := range []string{"id", "source", "type", "subject", "time", "datacontenttype", "dataschema"} {
			m[name] = event.Attr(e, name)
		}
		for name := range e.Extensions() {
			m[name] = event.Attr(e, name)
		}
		return m
	}
	for i, m := range records[:5] {
		want, err := kafka.Decode(m)
		if err != nil {
			t.Fatal(err)
		}
		got := rows[i]
		if got.Err != nil || got.Partition != m.Partition || got.Offset != m.Offset || !got.Time.Equal(m.Timestamp) {
			t.Fatalf("row %d: %+v", i, got)
		}
		if string(got.Event.Data()) != string(want.Data()) || !reflect.DeepEqual(texts(got.Event), texts(want)) {
			t.Errorf("event %d\n%v %q\nwant\n%v %q", i, texts(got.Event), got.Event.Data(), texts(want), want.Data())
		}
	}
	if rows[5].Event != nil || rows[5].Err == nil {
		t.Errorf("a foreign record is the event %v", rows[5].Event)
	}
}

// Guards trace against the wrong row: the one of the record's partition and offset, in objects of every kind, and none where there is none.
func TestLocate(t *testing.T) {
	first, second := record(t, newEvent(`{"a":1}`)), record(t, newEvent(`{"a":2}`))
	first.Partition, first.Offset, second.Partition, second.Offset = 1, 70, 2, 7
	for name, layout := range map[string]*Layout{"raw": Raw(), "enriched": Enriched(contract.Model{}, nil)} {
		object := encode(t, layout, first, second)
		for _, want := range []struct {
			partition int32
			offset    int64
			index     int64
			found     bool
		}{{1, 70, 0, true}, {2, 7, 1, true}, {1, 7, 0, false}, {2, 70, 0, false}} {
			if index, found, err := archive.Locate(object, want.partition, want.offset); err != nil || index != want.index || found != want.found {
				t.Errorf("%s: %d/%d: %d, %t, %v", name, want.partition, want.offset, index, found, err)
			}
		}
	}
}
