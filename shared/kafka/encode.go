package kafka

import (
	"context"
	"fmt"
	"strings"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	"github.com/cloudevents/sdk-go/v2/binding"

	"millrace/shared/event"
)

// headerPrefix stands before the attributes' names in record headers (CloudEvents Kafka binding 1.0.2, section 3.2.3).
const headerPrefix = "ce_"

var encodeContext = binding.WithForceBinary(context.Background())

// Encode returns e as a record for topic in the Kafka binding's binary mode: attributes in headers, percent-encoded, the data as the value, byte
// for byte. The key is the attribute partitionkey, else rootid.
func Encode(topic string, e *event.Event) (*sarama.ProducerMessage, error) {
	m := &sarama.ProducerMessage{Topic: topic}
	if err := kafka_sarama.WriteProducerMessage(encodeContext, binding.ToMessage(e), m); err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	for i := range m.Headers {
		h := &m.Headers[i]
		if strings.HasPrefix(string(h.Key), headerPrefix) {
			h.Value = []byte(event.EncodeHeader(string(h.Value)))
		}
	}
	if m.Key == nil {
		if id := event.Attr(e, event.RootID); id != "" {
			m.Key = sarama.StringEncoder(id)
		}
	}
	return m, nil
}

// Decode returns the CloudEvent that a record holds, in binary or structured mode, with what is missing derived ([event.Derive]) by the record's time. Its data aliases
// m.Value. The error wraps [ErrNotCloudEvent].
func Decode(m *sarama.ConsumerMessage) (*event.Event, error) {
	plain := *m
	plain.Headers = make([]*sarama.RecordHeader, 0, len(m.Headers))
	contentType := ""
	for _, h := range m.Headers {
		switch name := strings.ToLower(string(h.Key)); {
		case name == "content-type":
			contentType = string(h.Value)
			plain.Headers = append(plain.Headers, h)
		case strings.HasPrefix(name, headerPrefix):
			plain.Headers = append(plain.Headers, &sarama.RecordHeader{Key: h.Key, Value: []byte(event.DecodeHeader(string(h.Value)))})
		}
	}
	e, err := decode(&plain, contentType)
	if err != nil {
		return nil, fmt.Errorf("%w: %s/%d@%d: %w", ErrNotCloudEvent, m.Topic, m.Partition, m.Offset, err)
	}
	if err := event.Derive(e, m.Timestamp); err != nil {
		return nil, fmt.Errorf("%w: %s/%d@%d: %w", ErrNotCloudEvent, m.Topic, m.Partition, m.Offset, err)
	}
	return e, nil
}

func decode(m *sarama.ConsumerMessage, contentType string) (*event.Event, error) {
	if event.IsStructured(contentType) {
		return event.DecodeStructured(m.Value)
	}
	value := m.Value
	m.Value = nil // the binding would copy it
	e, err := binding.ToEvent(context.Background(), kafka_sarama.NewMessageFromConsumerMessage(m))
	if err != nil {
		return nil, err
	}
	if len(value) > 0 {
		e.DataEncoded = value
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	return e, nil
}
