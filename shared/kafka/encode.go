package kafka

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"
	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"millrace/shared/event"
	"millrace/shared/tracecontext"
)

// headerPrefix stands before the attributes' names in record headers (CloudEvents Kafka binding 1.0.2, section 3.2.3).
const headerPrefix = "ce_"

// Encode returns e as a record for topic in the Kafka binding's binary mode: attributes in headers, percent-encoded, the data as the value, byte
// for byte. The key is the attribute partitionkey, else rootid. The record's value is e's data, not a copy: it must not be changed while the record is
// on its way. Where e has a trace context it stands in the plain headers traceparent and tracestate, too, as OpenTelemetry has it.
//
// It writes the headers itself: the SDK's writer, whose result a test compares, takes seven times as long.
func Encode(topic string, e *event.Event) (*sarama.ProducerMessage, error) {
	r := new(outgoing)
	c := encoder{topic: topic, left: 1}
	if err := c.encode(r, e); err != nil {
		return nil, err
	}
	return &r.message, nil
}

// outgoing is a message with the bytes that it points to.
type outgoing struct {
	message    sarama.ProducerMessage
	key, value octets
}

// octets are a record's key or value. A pointer to them is a sarama.Encoder that nothing need be allocated for, and that does not copy when it is asked.
type octets []byte

// Encode implements sarama.Encoder.
func (o *octets) Encode() ([]byte, error) { return *o, nil }

// Length implements sarama.Encoder.
func (o *octets) Length() int { return len(*o) }

// perPiece is for how many records, at most, headers and text are allocated in one go: pieces below 32 KiB are cheaper than larger ones.
const perPiece = 64

// encoder makes the records of several events for one topic. It takes their headers and text from larger pieces, and what the last event had under an
// attribute's name is used again where the next one has the same: records share bytes, which nobody writes. It is not safe for concurrent use.
type encoder struct {
	topic      string
	left       int                  // events to come
	hop        tracecontext.Context // what sends the events; none: each event's own
	trace      tracecontext.Context // of the last record's plain headers
	traceText  [2][]byte
	headers    []sarama.RecordHeader
	text       []byte
	source     types.URIRef
	sourceText string
	remembered int
	attributes [16]attribute // the first so many names
}

// attribute is the last value of an attribute, as text and as a header.
type attribute struct {
	name, value string
	header      sarama.RecordHeader
}

// next makes room for the headers of the next event.
func (c *encoder) next(headers int) {
	if cap(c.headers)-len(c.headers) < headers {
		c.headers = make([]sarama.RecordHeader, 0, headers*max(1, min(c.left, perPiece)))
	}
	c.left--
}

// room returns n bytes' room, to be appended to.
func (c *encoder) room(n int) []byte {
	if cap(c.text)-len(c.text) < n {
		const first, further = 512, 256 // bytes; the further records share some with the first
		c.text = make([]byte, 0, max(n, first+further*min(c.left, perPiece)))
	}
	return c.text[len(c.text):len(c.text)]
}

// keep returns b, which was appended to room, as it is to stay.
func (c *encoder) keep(b []byte) []byte {
	c.text = c.text[:len(c.text)+len(b)]
	return b[:len(b):len(b)]
}

// copy returns s in bytes that stay.
func (c *encoder) copy(s string) []byte { return c.keep(append(c.room(len(s)), s...)) }

// header returns the header of an attribute.
func (c *encoder) header(name, value string) sarama.RecordHeader {
	var a *attribute
	for i := range c.attributes[:c.remembered] {
		if c.attributes[i].name == name {
			a = &c.attributes[i]
			break
		}
	}
	switch {
	case a == nil:
		a = &attribute{name: name}
		if c.left > 0 && c.remembered < len(c.attributes) {
			a = &c.attributes[c.remembered]
			a.name = name
			c.remembered++
		}
		a.header.Key = c.keep(append(append(c.room(len(headerPrefix)+len(name)), headerPrefix...), name...))
	case a.value == value:
		return a.header
	}
	a.value = value
	a.header.Value = c.value(value)
	return a.header
}

// value returns an attribute's value as it stands in a header.
func (c *encoder) value(s string) []byte {
	if event.HeaderLen(s) == len(s) {
		return c.copy(s)
	}
	return []byte(event.EncodeHeader(s))
}

// encode makes r the record of e.
func (c *encoder) encode(r *outgoing, e *event.Event) error {
	if e.Context == nil {
		return errors.New("encode event: no CloudEvents context")
	}
	version := ce.CloudEventsVersionV1
	v1, ok := e.Context.(*ce.EventContextV1)
	if !ok { // asking for it, or for the version, copies the context
		v1, version = e.Context.AsV1(), e.SpecVersion()
	}
	headers := 8 + len(v1.Extensions)
	if _, own := v1.Extensions[tracecontext.Parent]; own || !c.hop.IsZero() {
		headers += 2
	}
	c.next(headers)
	first := len(c.headers)
	add := func(name, value string) { c.headers = append(c.headers, c.header(name, value)) }
	if v1.Source != c.source || c.sourceText == "" {
		c.source, c.sourceText = v1.Source, v1.Source.String()
	}
	add("specversion", version)
	add("id", v1.ID)
	add("source", c.sourceText)
	add("type", v1.Type)
	if v1.DataContentType != nil {
		c.headers = append(c.headers, sarama.RecordHeader{Key: headerContentType, Value: c.copy(event.DataContentType(*v1.DataContentType))})
	}
	if v1.DataSchema != nil {
		add("dataschema", v1.DataSchema.String())
	}
	if v1.Subject != nil {
		add("subject", *v1.Subject)
	}
	if v1.Time != nil && !v1.Time.IsZero() {
		add("time", event.FormatTime(v1.Time.Time))
	}
	key := ""
	trace := c.hop
	for name, value := range v1.Extensions {
		s, ok := value.(string)
		if !ok {
			var err error
			if s, err = types.Format(value); err != nil {
				return fmt.Errorf("encode event: extension %s: %w", name, err)
			}
		}
		add(name, s)
		if s != "" && (name == event.PartitionKey || name == event.RootID && key == "") {
			key = s
		}
		if name == tracecontext.Parent && trace.IsZero() {
			trace = tracecontext.Of(e)
		}
	}
	c.plain(trace)
	r.message.Topic, r.message.Headers = c.topic, c.headers[first:len(c.headers):len(c.headers)]
	if key != "" {
		r.key = c.copy(key)
		r.message.Key = &r.key
	}
	if len(e.DataEncoded) > 0 {
		r.value = e.DataEncoded
		r.message.Value = &r.value
	}
	return nil
}

// plain adds the headers of a trace context.
func (c *encoder) plain(trace tracecontext.Context) {
	if trace.IsZero() {
		return
	}
	if trace != c.trace { // the events of a request have one as a rule
		c.trace, c.traceText = trace, [2][]byte{c.copy(trace.Parent), c.copy(trace.State)}
	}
	c.headers = append(c.headers, sarama.RecordHeader{Key: headerParent, Value: c.traceText[0]})
	if trace.State != "" {
		c.headers = append(c.headers, sarama.RecordHeader{Key: headerState, Value: c.traceText[1]})
	}
}

// traceOf returns the trace context of a record's plain headers.
func traceOf(m *sarama.ConsumerMessage) tracecontext.Context {
	parent, state := "", ""
	for _, h := range m.Headers {
		switch string(h.Key) {
		case tracecontext.Parent:
			parent = string(h.Value)
		case tracecontext.State:
			state = string(h.Value)
		}
	}
	return tracecontext.New(parent, state)
}

var (
	headerContentType = []byte("content-type")
	headerParent      = []byte(tracecontext.Parent)
	headerState       = []byte(tracecontext.State)
)
