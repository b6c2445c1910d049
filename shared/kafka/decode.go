package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	ce "github.com/cloudevents/sdk-go/v2/event"

	"millrace/shared/event"
)

// Decode returns the CloudEvent that a record holds, in binary or structured mode, with what is missing derived ([event.Derive]) by the record's time. Its data aliases
// m.Value. The error wraps [ErrNotCloudEvent].
func Decode(m *sarama.ConsumerMessage) (*event.Event, error) {
	e, err := decode(m)
	if err == nil {
		err = event.Derive(e, m.Timestamp)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s/%d@%d: %w", ErrNotCloudEvent, m.Topic, m.Partition, m.Offset, err)
	}
	return e, nil
}

func decode(m *sarama.ConsumerMessage) (e *event.Event, err error) {
	contentType := ""
	for _, h := range m.Headers {
		if len(h.Key) == len(contentTypeName) && strings.EqualFold(string(h.Key), contentTypeName) {
			contentType = string(h.Value)
		}
	}
	if event.IsStructured(contentType) {
		return event.DecodeStructured(m.Value)
	}
	ok := false
	if !event.IsEventFormat(contentType) {
		e, ok, err = decodeBinary(m)
	}
	if !ok {
		e, err = decodeOther(m)
	}
	if err != nil || !plain(e) && e.Validate() != nil {
		return nil, event.HeaderError(header(m)) // those errors quote values
	}
	if len(m.Value) > 0 {
		e.DataEncoded = m.Value
	}
	return e, nil
}

// plain reports whether e is valid beyond doubt, as nearly all are: the SDK's look at the rest costs a tenth of reading them.
func plain(e *event.Event) bool {
	c, ok := e.Context.(*ce.EventContextV1)
	return ok && c.ID != "" && c.Type != "" && len(c.Source.Path) > 1 && c.DataSchema == nil && (c.DataContentType == nil || *c.DataContentType == "application/json") && e.FieldErrors == nil
}

// decodeOther leaves it to the SDK what a record is: an event of an older version, or none.
func decodeOther(m *sarama.ConsumerMessage) (*event.Event, error) {
	other := *m
	other.Value = nil // the binding would copy it
	other.Headers = make([]*sarama.RecordHeader, 0, len(m.Headers))
	for _, h := range m.Headers {
		switch name := strings.ToLower(string(h.Key)); {
		case name == contentTypeName:
			other.Headers = append(other.Headers, h)
		case strings.HasPrefix(name, headerPrefix):
			other.Headers = append(other.Headers, &sarama.RecordHeader{Key: h.Key, Value: []byte(event.DecodeHeader(string(h.Value)))})
		}
	}
	return binding.ToEvent(context.Background(), kafka_sarama.NewMessageFromConsumerMessage(&other))
}

// decodeBinary returns the event of a record in binary mode of version 1.0, without data. ok is false for a record that is something else, which is the SDK's
// business. It is a reading of headers of its own: the SDK's, to which a test compares it, takes five times as long.
func decodeBinary(m *sarama.ConsumerMessage) (e *event.Event, ok bool, err error) {
	c := &ce.EventContextV1{}
	version, size := false, 0
	for _, h := range m.Headers {
		size += len(h.Value)
		if string(h.Key) == "ce_specversion" && string(h.Value) == ce.CloudEventsVersionV1 {
			version = true
		}
	}
	if !version {
		return nil, false, nil
	}
	var text strings.Builder // holds all values in one piece
	text.Grow(size)
	for _, h := range m.Headers {
		name, ours := attributeName(h.Key)
		if !ours {
			continue
		}
		start := text.Len()
		text.Write(h.Value)
		value := text.String()[start:]
		if name == contentTypeName {
			err = c.SetDataContentType(value)
		} else {
			err = set(c, name, event.DecodeHeader(value), len(m.Headers))
		}
		if err != nil {
			return nil, true, err
		}
	}
	return &event.Event{Context: c}, true, nil
}

// contentTypeName stands for the header content-type, the one that is not prefixed nor encoded.
const contentTypeName = "content-type"

// known are the attributes of most events by their headers, so that their names are not made anew for each.
var known = func() map[string]string {
	m := map[string]string{contentTypeName: contentTypeName}
	for _, name := range []string{
		"specversion", "id", "source", "type", "subject", "time", "dataschema", event.RootID, event.DataHash, event.SchemaVersion, event.VersionAssumed, event.CollectorID,
		event.CollectorTime, event.PartitionKey, event.Stage, event.FailureStage, event.FailureCode, event.FailureMessage, event.FailureTime, event.ReplayID, event.ReplayCount,
		"traceparent", "tracestate",
	} {
		m[headerPrefix+name] = name
	}
	return m
}()

// attributeName returns the name of the attribute that a header holds.
func attributeName(key []byte) (name string, ok bool) {
	if name, ok = known[string(key)]; ok {
		return name, true
	}
	lower := strings.ToLower(string(key))
	if name, ok = known[lower]; ok {
		return name, true
	}
	return strings.CutPrefix(lower, headerPrefix)
}

func set(c *ce.EventContextV1, name, value string, headers int) error {
	switch name {
	case "specversion":
		if value != ce.CloudEventsVersionV1 {
			return errors.New("two values of specversion")
		}
		return nil
	case "id":
		return c.SetID(value)
	case "source":
		return c.SetSource(value)
	case "type":
		return c.SetType(value)
	case "subject":
		return c.SetSubject(value)
	case "dataschema":
		return c.SetDataSchema(value)
	case "datacontenttype":
		return c.SetDataContentType(value)
	case "time":
		t, err := event.ParseTime(value)
		if err != nil {
			return fmt.Errorf("time: %w", err)
		}
		return c.SetTime(t)
	}
	if !event.ValidExtensionName(name) {
		return fmt.Errorf("extension %q: names have letters and digits only", event.Cut(name, 40))
	}
	if c.Extensions == nil {
		c.Extensions = make(map[string]any, headers)
	}
	c.Extensions[name] = value
	return nil
}
