package broker

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/IBM/sarama"

	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/serve"
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

// Guards the way of a record whose bulk is in attributes to a function, by the protocols that a Service can name: refused on the way, it would go to
// the dead letter sink, which for dead letters is where it came from.
func TestRecordOfAttributesReachesFunction(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *event.Event, 1)
	logger := slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- serve.Run(ctx, serve.Config{Listener: l, Logger: logger}, serve.Events(delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
			o := delivery.NewOutcomes(len(events))
			for i, e := range events {
				got <- e
				o.Done(i)
			}
			return o
		}), serve.Options{Logger: logger}))
	}()
	unencoded := strings.Repeat("\u00fc", kafka.TopicMaxMessageBytes/2) // as other producers write it: each byte is three in HTTP
	o, err := parse(&sarama.ConsumerMessage{Headers: []*sarama.RecordHeader{
		{Key: []byte("ce_specversion"), Value: []byte("1.0")},
		{Key: []byte("ce_id"), Value: []byte("1")},
		{Key: []byte("ce_source"), Value: []byte("/s")},
		{Key: []byte("ce_type"), Value: []byte("T")},
		{Key: []byte("ce_x"), Value: []byte(unencoded)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, http2 := range []bool{false, true} {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(!http2)
		transport.Protocols.SetUnencryptedHTTP2(http2)
		r := (&httpTarget{url: "http://" + l.Addr().String(), transport: transport}).send(t.Context(), o)
		if r.verdict != taken {
			t.Errorf("HTTP/2 %t: verdict %d: %d, %v", http2, r.verdict, r.status, r.err)
		} else if e := <-got; event.Attr(e, "x") != unencoded {
			t.Errorf("HTTP/2 %t: the attribute came with %d bytes, want %d", http2, len(event.Attr(e, "x")), len(unencoded))
		}
		transport.CloseIdleConnections()
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
