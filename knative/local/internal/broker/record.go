package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/types"

	"millrace/shared/event"
)

// outgoing is an event on its way to a destination.
type outgoing struct {
	event *event.Event
	// raw says that attributes are as they stood in the record's headers, percent-encoded where the producer did that: Knative filters
	// and passes on these very characters.
	raw bool
}

// parse returns the CloudEvent in a record, or why Knative would skip it. Its data aliases the record's.
func parse(m *sarama.ConsumerMessage) (outgoing, error) {
	headers := make([]*sarama.RecordHeader, 0, len(m.Headers))
	contentType := ""
	for _, h := range m.Headers {
		name, isAttribute := strings.CutPrefix(strings.ToLower(string(h.Key)), "ce_")
		switch {
		case name == "content-type":
			contentType = string(h.Value)
			headers = append(headers, h)
		case isAttribute:
			if !event.ValidExtensionName(name) {
				return outgoing{}, fmt.Errorf("attribute %q: names have lower-case letters and digits only", event.Cut(name, 40))
			}
			headers = append(headers, h)
		}
	}
	if event.IsStructured(contentType) {
		e, err := event.DecodeStructured(m.Value)
		return outgoing{event: e}, err
	}
	e, err := binding.ToEvent(context.Background(), kafka_sarama.NewMessageFromConsumerMessage(&sarama.ConsumerMessage{Headers: headers}))
	if err != nil {
		return outgoing{}, fmt.Errorf("no CloudEvent: %w", err)
	}
	if e.SpecVersion() != "1.0" {
		return outgoing{}, errors.New("no CloudEvent: specversion is not 1.0")
	}
	for name := range e.Extensions() { // of a copy
		if event.IsPosition(name) {
			e.SetExtension(name, nil) // the SDK's, and of no record, or of another one
		}
	}
	if len(m.Value) > 0 {
		e.DataEncoded = m.Value
	}
	if err := e.Validate(); err != nil {
		return outgoing{}, fmt.Errorf("no CloudEvent: %s", strings.Join(strings.Fields(err.Error()), " "))
	}
	return outgoing{event: e, raw: true}, nil
}

// place sets the position as Knative does on every event that comes from a topic.
func (o outgoing) place(m *sarama.ConsumerMessage) {
	o.event.SetExtension("knativekafkapartition", strconv.Itoa(int(m.Partition)))
	o.event.SetExtension("knativekafkaoffset", strconv.FormatInt(m.Offset, 10))
}

// decoded returns the event with its attributes percent-decoded. The data is shared.
func (o outgoing) decoded() *event.Event {
	if !o.raw {
		return o.event
	}
	e := *o.event
	e.Context = o.event.Context.Clone()
	e.SetID(event.DecodeHeader(e.ID()))
	e.SetType(event.DecodeHeader(e.Type()))
	e.SetSource(event.DecodeHeader(e.Source()))
	if s := e.Subject(); s != "" {
		e.SetSubject(event.DecodeHeader(s))
	}
	if s := e.DataSchema(); s != "" {
		e.SetDataSchema(event.DecodeHeader(s))
	}
	for name, value := range e.Extensions() {
		if s, ok := value.(string); ok {
			e.SetExtension(name, event.DecodeHeader(s))
		}
	}
	return &e
}

// http writes the event in binary mode: attributes into h, the data as the body.
func (o outgoing) http(h http.Header) (body []byte, err error) {
	if !o.raw {
		return event.EncodeHTTP(o.event, h)
	}
	set := func(name, value string) {
		if value != "" {
			h["Ce-"+strings.ToUpper(name[:1])+name[1:]] = []string{encodeRest(value)}
		}
	}
	for _, name := range []string{"specversion", "id", "source", "type", "subject", "dataschema", "time"} {
		set(name, event.Attr(o.event, name))
	}
	for name, value := range o.event.Extensions() {
		s, err := types.Format(value)
		if err != nil {
			return nil, fmt.Errorf("extension %s: %w", name, err)
		}
		set(name, s)
	}
	if ct := o.event.DataContentType(); ct != "" {
		h["Content-Type"] = []string{ct}
	}
	return o.event.Data(), nil
}

// encodeRest percent-encodes what a header cannot carry, and leaves what is encoded already.
func encodeRest(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f
	}
	if plain {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= ' ' && c < 0x7f {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
