package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/shared/event"
)

// newCluster starts an in-process Kafka with the topics.
func newCluster(t *testing.T, topics ...string) (brokers []string, cluster *kfake.Cluster) {
	t.Helper()
	opts := []kfake.Opt{kfake.NumBrokers(1)}
	for _, name := range topics {
		opts = append(opts, kfake.SeedTopics(2, name))
	}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs(), c
}

func newTestEvent(t *testing.T, id, data string) *event.Event {
	t.Helper()
	e, err := event.DecodeStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/s","type":"T","subject":"Zürich 1%%","x":7,"data":%s}`, id, data))
	if err != nil {
		t.Fatal(err)
	}
	if err := event.Derive(e, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	return e
}

func newTestProducer(t *testing.T, brokers []string, o ProducerOptions) *Producer {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	p := NewProducer(brokers, o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Log(err)
		}
	})
	return p
}

func readAll(t *testing.T, brokers []string, topic string, n int) []*sarama.ConsumerMessage {
	t.Helper()
	c, err := sarama.NewConsumer(brokers, NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	parts, err := c.Partitions(topic)
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan *sarama.ConsumerMessage)
	for _, p := range parts {
		pc, err := c.ConsumePartition(topic, p, sarama.OffsetOldest)
		if err != nil {
			t.Fatal(err)
		}
		defer pc.AsyncClose()
		go func() {
			for m := range pc.Messages() {
				out <- m
			}
		}()
	}
	var got []*sarama.ConsumerMessage
	for len(got) < n {
		select {
		case m := <-out:
			got = append(got, m)
		case <-t.Context().Done():
			t.Fatal("no more messages")
		case <-time.After(10 * time.Second):
			t.Fatalf("%d of %d messages after 10 s", len(got), n)
		}
	}
	return got
}

// Guards the record's form: payload bytes as they were, attributes percent-encoded on the wire and as sent after reading, the key by root id.
func TestRecordRoundTrip(t *testing.T) {
	brokers, _ := newCluster(t, "raw")
	p := newTestProducer(t, brokers, ProducerOptions{})
	e := newTestEvent(t, "1", `{"b": 1.50, "a":"\u00fc"}`)
	if err := p.Sink("raw").Publish(t.Context(), []*event.Event{e})[0]; err != nil {
		t.Fatal(err)
	}
	m := readAll(t, brokers, "raw", 1)[0]
	if string(m.Value) != `{"b": 1.50, "a":"\u00fc"}` {
		t.Errorf("value %s", m.Value)
	}
	if string(m.Key) != event.Identity("/s", "1") {
		t.Errorf("key %s", m.Key)
	}
	for _, h := range m.Headers {
		if string(h.Key) == "ce_subject" && string(h.Value) != "Z%C3%BCrich%201%25" {
			t.Errorf("subject on the wire: %s", h.Value)
		}
	}
	back, err := Decode(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"id", "source", "type", "subject", event.RootID, event.DataHash, event.CollectorTime, "x", "kafkaoffset"} {
		if got, want := event.Attr(back, name), event.Attr(e, name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

// Guards an event whose data is a CloudEvent: with the data's own content type its record would read back as the event within, or as none.
func TestEventWithinEvent(t *testing.T) {
	inner := `{"specversion":"1.0","id":"inner","source":"/inner","type":"Inner"}`
	for given, want := range map[string]string{
		event.MediaStructured: "application/json", "Application/CloudEvents+JSON; charset=utf-8": "application/json", event.MediaBatch: "application/json",
		"application/cloudevents+avro": "application/octet-stream", "application/cloud": "application/cloud",
	} {
		e := newTestEvent(t, "outer", inner)
		e.SetDataContentType(given)
		record, err := Encode("raw", e)
		if err != nil {
			t.Fatal(err)
		}
		m := &sarama.ConsumerMessage{}
		for _, h := range record.Headers {
			m.Headers = append(m.Headers, &h)
		}
		if m.Value, err = record.Value.Encode(); err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		body, err := event.EncodeHTTP(e, h)
		if err != nil {
			t.Fatal(err)
		}
		fromKafka, err := Decode(m)
		if err != nil {
			t.Fatal(err)
		}
		fromHTTP, err := event.DecodeHTTP(h, body)
		if err != nil {
			t.Fatal(err)
		}
		for _, back := range []*event.Event{fromKafka, fromHTTP} {
			if back.ID() != "outer" || string(back.Data()) != inner || back.DataContentType() != want {
				t.Errorf("%s: came back as %v", given, back)
			}
		}
	}
}

// Guards that another team's record without our attributes gets the same identity, and that one that is no CloudEvent says so.
func TestDecodeForeignRecords(t *testing.T) {
	h := func(kv ...string) (hs []*sarama.RecordHeader) {
		for i := 0; i < len(kv); i += 2 {
			hs = append(hs, &sarama.RecordHeader{Key: []byte(kv[i]), Value: []byte(kv[i+1])})
		}
		return hs
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	e, err := Decode(&sarama.ConsumerMessage{Timestamp: at, Value: []byte(`{}`), Headers: h("ce_specversion", "1.0", "ce_id", "1", "ce_source", "/s", "ce_type", "T", "ce_subject", "Zürich")})
	if err != nil || event.Attr(e, event.RootID) != event.Identity("/s", "1") || event.Attr(e, event.CollectorTime) != "2026-01-02T03:04:05Z" || e.Subject() != "Zürich" {
		t.Errorf("binary: %v, %v", e, err)
	}
	e, err = Decode(&sarama.ConsumerMessage{Timestamp: at, Headers: h("content-type", event.MediaStructured+"; charset=utf-8"), Value: []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"T","data":{"a":1.0}}`)})
	if err != nil || string(e.Data()) != `{"a":1.0}` {
		t.Errorf("structured: %v, %v", e, err)
	}
	for name, m := range map[string]*sarama.ConsumerMessage{
		"plain":    {Value: []byte(`{"a":1}`)},
		"no type":  {Headers: h("ce_specversion", "1.0", "ce_id", "1", "ce_source", "/s")},
		"bad time": {Headers: h("ce_specversion", "1.0", "ce_id", "1", "ce_source", "/s", "ce_type", "T", "ce_time", "lunch")},
		"bad JSON": {Headers: h("content-type", event.MediaStructured), Value: []byte(`{`)},
	} {
		if _, err := Decode(m); !errors.Is(err, ErrNotCloudEvent) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Guards one event's trouble from touching others in its batch.
func TestPublishTooLarge(t *testing.T) {
	brokers, _ := newCluster(t, "raw")
	p := newTestProducer(t, brokers, ProducerOptions{Timeout: 20 * time.Second})
	big := newTestEvent(t, "big", `"`+strings.Repeat("x", MaxMessageBytes)+`"`)
	errs := p.Sink("raw").Publish(t.Context(), []*event.Event{newTestEvent(t, "1", `1`), big, newTestEvent(t, "2", `2`)})
	if errs[0] != nil || errs[2] != nil || !errors.Is(errs[1], ErrTooLarge) {
		t.Errorf("got %v", errs)
	}
}

// Guards the answer while Kafka is away from the start: busy, in time, and nothing is ever written of it; and that the producer comes to life alone.
func TestPublishBeforeKafkaIsThere(t *testing.T) {
	p := newTestProducer(t, []string{"127.0.0.1:1"}, ProducerOptions{Timeout: 50 * time.Millisecond})
	errs := p.Sink("raw").Publish(t.Context(), []*event.Event{newTestEvent(t, "1", `1`)})
	if !errors.Is(errs[0], ErrBusy) {
		t.Errorf("got %v", errs)
	}
}

// Guards the difference between busy and unconfirmed while Kafka does not answer: what was handed over may still be written, what found the buffer full was not; when Kafka is
// back, what was handed over is there once and the producer works on.
func TestPublishWhileKafkaHangs(t *testing.T) {
	brokers, cluster := newCluster(t, "raw")
	e := newTestEvent(t, "1", `1`)
	m, err := Encode("raw", e)
	if err != nil {
		t.Fatal(err)
	}
	one := int64(m.ByteSize(2)) + pendingBytes + headerBytes*int64(len(m.Headers))
	p := newTestProducer(t, brokers, ProducerOptions{Timeout: 300 * time.Millisecond, Buffer: one})
	sink := p.Sink("raw")
	ready, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := sink.Ready(ready); err != nil {
		t.Fatal(err)
	}
	release := holdProduce(cluster)
	errs := append(sink.Publish(t.Context(), []*event.Event{e}), sink.Publish(t.Context(), []*event.Event{newTestEvent(t, "2", `2`)})...)
	if !errors.Is(errs[0], ErrUnconfirmed) || errors.Is(errs[0], ErrBusy) || !errors.Is(errs[1], ErrBusy) {
		t.Errorf("while it hangs: %v", errs)
	}
	release()
	for {
		errs = sink.Publish(t.Context(), []*event.Event{newTestEvent(t, "3", `3`)})
		if errs[0] == nil {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal("the producer never came back")
		}
	}
	ids := map[string]int{}
	for _, m := range readAll(t, brokers, "raw", 2) {
		back, err := Decode(m)
		if err != nil {
			t.Fatal(err)
		}
		ids[back.ID()]++
	}
	if ids["1"] != 1 || ids["3"] != 1 {
		t.Errorf("found %v", ids)
	}
}

// Guards shutdown: Close waits for what was handed over, and a later Publish says busy.
func TestCloseFlushes(t *testing.T) {
	brokers, _ := newCluster(t, "raw")
	p := newTestProducer(t, brokers, ProducerOptions{Timeout: 20 * time.Second})
	var events []*event.Event
	for i := range 500 {
		events = append(events, newTestEvent(t, fmt.Sprint(i), `1`))
	}
	done := make(chan []error)
	started := make(chan struct{})
	go func() { close(started); done <- p.Sink("raw").Publish(context.Background(), events) }()
	<-started
	errs := <-done
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, err := range errs {
		if err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
	}
	readAll(t, brokers, "raw", 500)
	if err := p.Sink("raw").Publish(t.Context(), events[:1])[0]; !errors.Is(err, ErrBusy) {
		t.Errorf("after Close: %v", err)
	}
}

// Guards provision against being run twice, and a Trigger's group against starting at the end of a topic that has events already.
func TestEnsureTopicAndStart(t *testing.T) {
	brokers, _ := newCluster(t)
	a, err := NewAdmin(brokers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	spec := TopicSpec{Name: "events.raw", Partitions: 3, Replicas: 1, Retention: time.Hour}
	for _, want := range []bool{true, false} {
		if created, err := a.EnsureTopic(t.Context(), spec); err != nil || created != want {
			t.Fatalf("created %v, %v; want %v", created, err, want)
		}
	}
	info, err := a.Topic(t.Context(), "events.raw")
	if err != nil || len(info.Partitions) != 3 || info.Replicas != 1 || info.MinInsync != 1 || info.RetentionMS != 3_600_000 || info.ID == "" {
		t.Errorf("topic %+v, %v", info, err)
	}
	g := GroupTopic{Group: "g", Topic: "events.raw"}
	if err := a.GroupsReady(t.Context(), []GroupTopic{g}); err == nil {
		t.Error("a group without offsets is ready")
	}
	if parts, err := a.EnsureStart(t.Context(), g); err != nil || len(parts) != 3 {
		t.Fatalf("committed %v, %v", parts, err)
	}
	if parts, err := a.EnsureStart(t.Context(), g); err != nil || len(parts) != 0 {
		t.Fatalf("committed again %v, %v", parts, err)
	}
	if err := a.GroupsReady(t.Context(), []GroupTopic{g}); err != nil {
		t.Error(err)
	}
	if err := a.admin.CreatePartitions("events.raw", 5, nil, false); err != nil {
		t.Fatal(err)
	}
	if err := a.GroupsReady(t.Context(), []GroupTopic{g}); err != nil {
		t.Errorf("after partitions were added: %v", err)
	}
}

// Guards small events against a topic that takes less than ours may have: its broker refuses a whole batch, of which none is too large alone, so none may be given
// up; one that is says so; and a topic that refuses large events is not ready.
func TestTopicThatTakesLess(t *testing.T) {
	brokers, cluster := newCluster(t, "raw")
	a, err := NewAdmin(brokers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	limit := "20000"
	if err := a.admin.AlterConfig(sarama.TopicResource, "raw", map[string]*string{"max.message.bytes": &limit}, false); err != nil {
		t.Fatal(err)
	}
	cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		req := r.(*kmsg.ProduceRequest)
		res := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range req.Topics {
			rt := kmsg.ProduceResponseTopic{Topic: topic.Topic}
			for _, p := range topic.Partitions {
				rt.Partitions = append(rt.Partitions, kmsg.ProduceResponseTopicPartition{Partition: p.Partition, ErrorCode: 10})
			}
			res.Topics = append(res.Topics, rt)
		}
		return res, nil, true
	})
	p := newTestProducer(t, brokers, ProducerOptions{Timeout: 10 * time.Second})
	sink := p.Sink("raw")
	if err := sink.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "max.message.bytes") {
		t.Errorf("ready: %v", err)
	}
	events := []*event.Event{newTestEvent(t, "big", `"`+strings.Repeat("x", 30_000)+`"`)}
	for i := range 20 {
		events = append(events, newTestEvent(t, fmt.Sprint(i), `"`+strings.Repeat("x", 2000)+`"`))
	}
	errs := sink.Publish(t.Context(), events)
	if !errors.Is(errs[0], ErrTooLarge) {
		t.Errorf("the large one: %v", errs[0])
	}
	for i, err := range errs[1:] {
		if errors.Is(err, ErrTooLarge) || !errors.Is(err, ErrUnconfirmed) {
			t.Errorf("small event %d: %v", i, err)
		}
	}
}

// Guards sinks' URLs against being misread.
func TestParseURL(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		b, topic, err := ParseURL(in, []string{"default:9092"})
		got := fmt.Sprint(b, topic)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("ParseURL(%q) = %s (%v), want %s", in, got, err, want)
		}
	}
	f("kafka:///events.raw", "[default:9092]events.raw")
	f("kafka://a:1,b:2/t", "[a:1 b:2]t")
	f("kafka://a:1/t?group=g", "[a:1]t")
	f("kafka://a:1", "error")
	f("kafka:///", "error")
	f("http://x/y", "error")
}
