package broker

import (
	"testing"

	"github.com/IBM/sarama"

	"millrace/shared/event"
	"millrace/shared/kafka"
)

// Guards what goes to a dead letter sink against being percent-encoded once more: each attribute must stand in the second record as in the first.
func TestRecordOfARecordIsTheSame(t *testing.T) {
	e, err := event.DecodeStructured([]byte(`{"specversion":"1.0","id":"1 %20","source":"/a%20b?c=\u00fc","type":"T %","subject":"Z\u00fcrich 1%",
		"time":"2026-11-21T10:00:00Z","dataschema":"https://x.example/a%20b/%C3%BC","datacontenttype":"text/plain","x":"50% \u00fc","data":"d"}`))
	if err != nil {
		t.Fatal(err)
	}
	headers := func(e *event.Event) (map[string]string, []*sarama.RecordHeader) {
		t.Helper()
		m, err := kafka.Encode("t", e)
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]string{}
		var list []*sarama.RecordHeader
		for _, h := range m.Headers {
			values[string(h.Key)] = string(h.Value)
			list = append(list, &h)
		}
		return values, list
	}
	want, list := headers(e)
	o, err := parse(&sarama.ConsumerMessage{Headers: list, Value: []byte("d")})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := headers(o.decoded())
	if len(got) != len(want) {
		t.Errorf("%d headers, want %d", len(got), len(want))
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s = %q, want %q", name, got[name], value)
		}
	}
}
