package kafka

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"millrace/shared/event"
)

// Guards our writer of records against the SDK's, which implements the Kafka binding: the same headers, key and value, but for percent-encoding.
func TestEncodeAsTheSDKDoes(t *testing.T) {
	for _, body := range []string{
		`{"specversion":"1.0","id":"1","source":"/s","type":"T"}`,
		`{"specversion":"1.0","id":"1 2","source":"https://x.example/a?b=c","type":"T","subject":"Z\u00fcrich 1%","time":"2023-01-01T01:02:03.5+01:00",
			"datacontenttype":"text/plain; charset=utf-8","dataschema":"https://x.example/s","x":7,"y":true,"partitionkey":"p","rootid":"r","data":"hello"}`,
		`{"specversion":"1.0","id":"1","source":"/s","type":"T","rootid":"r","data_base64":"AAEC/w=="}`,
		`{"specversion":"1.0","id":"1","source":"/s","type":"T","rootid":"r","data":{"a": 1.0}}`,
	} {
		e, err := event.DecodeStructured([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Encode("t", e)
		if err != nil {
			t.Fatal(err)
		}
		want := &sarama.ProducerMessage{}
		if err := kafka_sarama.WriteProducerMessage(binding.WithForceBinary(t.Context()), binding.ToMessage(e), want); err != nil {
			t.Fatal(err)
		}
		for i, h := range want.Headers {
			if string(h.Key) != "content-type" {
				want.Headers[i].Value = []byte(event.EncodeHeader(string(h.Value)))
			}
		}
		if want.Key == nil && event.Attr(e, event.RootID) != "" {
			want.Key = sarama.StringEncoder(event.Attr(e, event.RootID))
		}
		for _, m := range []*sarama.ProducerMessage{got, want} {
			slices.SortFunc(m.Headers, func(a, b sarama.RecordHeader) int { return bytes.Compare(a.Key, b.Key) })
		}
		if !slices.EqualFunc(got.Headers, want.Headers, func(a, b sarama.RecordHeader) bool {
			return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value)
		}) {
			t.Errorf("headers %s\nwant    %s", got.Headers, want.Headers)
		}
		if (got.Key == nil) != (want.Key == nil) {
			t.Errorf("key %v, want %v", got.Key, want.Key)
		} else if got.Key != nil {
			a, _ := got.Key.Encode()
			b, _ := want.Key.Encode()
			if !bytes.Equal(a, b) {
				t.Errorf("key %q, want %q", a, b)
			}
		}
		if (got.Value == nil) != (want.Value == nil) {
			t.Errorf("value %v, want %v", got.Value, want.Value)
		} else if got.Value != nil {
			a, _ := got.Value.Encode()
			b, _ := want.Value.Encode()
			if !bytes.Equal(a, b) {
				t.Errorf("value %q, want %q", a, b)
			}
		}
	}
}

// Guards records that share pieces of memory: those of many different events, made by one encoder, are each what it is by itself, also after the others were made.
func TestRecordsOfOneBatchDoNotMix(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		return []string{"", "a", "a b", "Zürich 1%", `"q"`, strings.Repeat("long ", 1000), strconv.Itoa(r.IntN(3)), strings.Repeat("x", r.IntN(300))}[r.IntN(8)]
	}
	var events []*event.Event
	for i := range 300 {
		e := event.Event{Context: &ce.EventContextV1{
			ID: strconv.Itoa(i), Source: *types.ParseURIRef("/s" + strconv.Itoa(r.IntN(2))), Type: "T" + strconv.Itoa(r.IntN(2)), Extensions: map[string]any{},
		}}
		if r.IntN(2) == 0 {
			e.SetSubject(text() + "s")
			e.SetTime(time.Unix(int64(i), 0))
		}
		if r.IntN(2) == 0 {
			e.DataEncoded = []byte(text())
			e.SetDataContentType("application/json")
		}
		for range r.IntN(30) { // more than are remembered, and always others
			e.Context.(*ce.EventContextV1).Extensions["x"+strconv.Itoa(r.IntN(40))] = text()
		}
		if r.IntN(2) == 0 {
			e.SetExtension(event.RootID, text())
		}
		events = append(events, &e)
	}
	c := encoder{topic: "t", left: 100} // three times as many come
	records := make([]outgoing, len(events))
	for i, e := range events {
		if err := c.encode(&records[i], e); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range events {
		want, err := Encode("t", e)
		if err != nil {
			t.Fatal(err)
		}
		if got := dump(t, &records[i].message); got != dump(t, want) {
			t.Fatalf("record %d of the batch:\n%s\nalone:\n%s", i, got, dump(t, want))
		}
	}
}

// dump writes all that a message holds.
func dump(t *testing.T, m *sarama.ProducerMessage) string {
	t.Helper()
	var lines []string
	for _, h := range m.Headers {
		lines = append(lines, fmt.Sprintf("%s=%q", h.Key, h.Value))
	}
	slices.Sort(lines)
	for _, part := range []sarama.Encoder{m.Key, m.Value} {
		if part == nil {
			lines = append(lines, "none")
			continue
		}
		b, err := part.Encode()
		if err != nil || len(b) != part.Length() {
			t.Fatalf("%q says it has %d bytes: %v", b, part.Length(), err)
		}
		lines = append(lines, fmt.Sprintf("%q", b))
	}
	return m.Topic + "\n" + strings.Join(lines, "\n")
}
