package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/types"

	"millrace/shared/event"
)

// headerPrefix stands before the attributes' names in record headers (CloudEvents Kafka binding 1.0.2, section 3.2.3).
const headerPrefix = "ce_"

// Encode returns e as a record for topic in the Kafka binding's binary mode: attributes in headers, percent-encoded, the data as the value, byte
// for byte. The key is the attribute partitionkey, else rootid. The record's value is e's data, not a copy: it must not be changed while the record is
// on its way.
//
// It writes the headers itself: the SDK's writer, whose result a test compares, takes seven times as long.
func Encode(topic string, e *event.Event) (*sarama.ProducerMessage, error) {
	if e.Context == nil {
		return nil, errors.New("encode event: no CloudEvents context")
	}
	v1 := e.Context.AsV1()
	m := &sarama.ProducerMessage{Topic: topic, Headers: make([]sarama.RecordHeader, 0, 8+len(v1.Extensions))}
	key := ""
	text := make([]byte, 0, 512) // what key and headers hold, in one piece where it fits
	piece := func(s string) []byte {
		start := len(text)
		text = append(text, s...)
		return text[start:len(text):len(text)]
	}
	add := func(key []byte, value string) {
		m.Headers = append(m.Headers, sarama.RecordHeader{Key: key, Value: piece(event.EncodeHeader(value))})
	}
	add(headerSpecVersion, e.SpecVersion())
	add(headerID, v1.ID)
	add(headerSource, v1.Source.String())
	add(headerType, v1.Type)
	if v1.DataContentType != nil {
		m.Headers = append(m.Headers, sarama.RecordHeader{Key: headerContentType, Value: piece(event.DataContentType(*v1.DataContentType))})
	}
	if v1.DataSchema != nil {
		add(headerDataSchema, v1.DataSchema.String())
	}
	if v1.Subject != nil {
		add(headerSubject, *v1.Subject)
	}
	if v1.Time != nil && !v1.Time.IsZero() {
		add(headerTime, event.FormatTime(v1.Time.Time))
	}
	for name, value := range v1.Extensions {
		s, ok := value.(string)
		if !ok {
			var err error
			if s, err = types.Format(value); err != nil {
				return nil, fmt.Errorf("encode event: extension %s: %w", name, err)
			}
		}
		start := len(text)
		text = append(append(text, headerPrefix...), name...)
		add(text[start:len(text):len(text)], s)
		if s != "" && (name == event.PartitionKey || name == event.RootID && key == "") {
			key = s
		}
	}
	if key != "" {
		m.Key = sarama.ByteEncoder(piece(key)) // not a StringEncoder, which copies whenever it is asked
	}
	if len(e.DataEncoded) > 0 {
		m.Value = sarama.ByteEncoder(e.DataEncoded)
	}
	return m, nil
}

// Keys of headers, shared by all records.
var (
	headerContentType = []byte("content-type")
	headerSpecVersion = []byte(headerPrefix + "specversion")
	headerID          = []byte(headerPrefix + "id")
	headerSource      = []byte(headerPrefix + "source")
	headerType        = []byte(headerPrefix + "type")
	headerDataSchema  = []byte(headerPrefix + "dataschema")
	headerSubject     = []byte(headerPrefix + "subject")
	headerTime        = []byte(headerPrefix + "time")
)

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
