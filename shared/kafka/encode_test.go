package kafka

import (
	"bytes"
	"slices"
	"testing"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	"github.com/cloudevents/sdk-go/v2/binding"

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
