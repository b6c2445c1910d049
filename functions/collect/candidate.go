package main

import (
	"fmt"
	"mime"
	"net/http"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"millrace/shared/event"
	"millrace/shared/rawjson"
)

// stage is the name under which this function gives events up.
const stage = "collect"

// maxAttributes bounds an event's attributes as they stand in headers, percent-encoded, in bytes. Proxies on the way to a Trigger's subscriber take
// about 60 KiB of headers; enrich and a failure's message add some.
const maxAttributes = 32 << 10

// candidate is what became of one event of a request: an event for the raw topic, or its dead letter.
type candidate struct {
	event   *event.Event
	id      string
	source  string
	rootID  string
	code    event.Code // why it is a dead letter; "" for the raw topic
	message string
	err     error // why it was not written
}

// problem is why an event is a dead letter. Its message quotes no values, names at most.
type problem struct {
	code    event.Code
	message string
}

func problemf(code event.Code, format string, args ...any) *problem {
	return &problem{code: code, message: fmt.Sprintf(format, args...)}
}

// original is a producer's event that failed at the top level, as it came.
type original struct {
	whole       []byte // its bytes: the dead letter's data
	contentType string // of whole; "" where it is not known
	eventType   string // where it could be read
	version     string
	source, id  string      // likewise: what the producer calls it, which is not what the dead letter is called
	header      http.Header // of a binary CloudEvent, whose attributes are not in whole
}

// attributesPerEvent bounds the attributes of all events of one request, as so many for each that it may have: an attribute of six bytes in JSON takes
// more than a hundred here and on its way to Kafka, which the bytes admitted for the body do not cover.
const attributesPerEvent = 32

// attributeCount adds up the attributes of one request with at most limit events.
type attributeCount struct{ n, limit int }

// add counts c's. The error wraps [errTooMany].
func (a *attributeCount) add(c candidate) error {
	v1, ok := c.event.Context.(*ce.EventContextV1)
	if !ok {
		return nil
	}
	a.n += len(v1.Extensions)
	if most := max(attributesPerEvent*a.limit, 2*event.MaxAttributes); a.n > most {
		return fmt.Errorf("%w: they have more than %d attributes", errTooMany, most)
	}
	return nil
}

// maker makes events out of what producers sent; now is the time of arrival, in RFC 3339 and UTC. It has no state and does no input or output; its methods may be called concurrently.
type maker struct {
	source      types.URIRef // of events without one, and of dead letters
	sourceText  string
	collectorID string
	lowercase   bool // extension names with capitals become lower case instead of dead letters
	newID       func() (string, error)
}

// admit checks an event that was read and completes it, or makes it a dead letter of the bytes that came.
func (m *maker) admit(e *event.Event, r original, now string) (candidate, error) {
	v1, ok := e.Context.(*ce.EventContextV1)
	if !ok {
		v1 = e.Context.AsV1()
		e.Context = v1
	}
	source := m.sourceText
	if v1.Source != m.source {
		source = v1.Source.String()
	}
	if p := check(e, v1, source); p != nil {
		return m.deadLetter(r, p, now)
	}
	if v1.Extensions == nil {
		v1.Extensions = make(map[string]any, 4)
	}
	x := v1.Extensions
	rootID := event.Identity(source, v1.ID)
	x[event.RootID] = rootID
	x[event.DataHash] = event.Hash(e.DataEncoded)
	x[event.CollectorID] = m.collectorID
	x[event.CollectorTime] = now
	return candidate{event: e, id: v1.ID, source: source, rootID: rootID}, nil
}

// check says what keeps e from the raw topic. It takes away what Knative's Kafka Broker adds.
func check(e *event.Event, v1 *ce.EventContextV1, source string) *problem {
	if len(v1.Extensions) > event.MaxAttributes {
		return problemf(event.CodeTooLarge, "more than %d extensions", event.MaxAttributes)
	}
	if p := checkNames(v1); p != nil {
		return p
	}
	if !event.ValidType(v1.Type) {
		return problemf(event.CodeInvalidField, "the event type must be a letter and at most 127 letters, digits, '.', '_' or '-'")
	}
	size := 0
	for _, a := range [...]struct{ name, value string }{
		{"id", v1.ID},
		{"source", source},
		{"type", v1.Type},
		{"subject", deref(v1.Subject)},
		{"datacontenttype", deref(v1.DataContentType)},
		{"dataschema", v1.GetDataSchema()},
	} {
		n, p := headerLen(event.CodeInvalidField, a.name, a.value)
		if p != nil {
			return p
		}
		size += n
	}
	for name, value := range v1.Extensions {
		s, ok := value.(string)
		if !ok {
			var err error
			if s, err = types.Format(value); err != nil {
				return problemf(event.CodeInvalidAttribute, "extension %s has a value of no CloudEvents type", name)
			}
		}
		n, p := headerLen(event.CodeInvalidAttribute, name, s)
		if p != nil {
			return p
		}
		size += n
	}
	// In a record's or request's header it would declare the data to be a whole event.
	if event.IsEventFormat(deref(v1.DataContentType)) {
		return problemf(event.CodeInvalidCloudEvent, "datacontenttype must not be that of a CloudEvent within a CloudEvent")
	}
	if size > maxAttributes {
		return problemf(event.CodeTooLarge, "the attributes have %d bytes in headers, at most %d", size, maxAttributes)
	}
	if size += len(e.DataEncoded); size > event.MaxSize {
		return problemf(event.CodeTooLarge, "the event has %d bytes with its attributes, at most %d", size, event.MaxSize)
	}
	return nil
}

func checkNames(v1 *ce.EventContextV1) *problem {
	for name := range v1.Extensions {
		switch {
		case !event.ValidExtensionName(name):
			return problemf(event.CodeInvalidAttribute, "extension %q: names are lower-case letters and digits", event.Cut(name, 40))
		case event.IsContext(name):
			return problemf(event.CodeInvalidAttribute, "extension %s has the name of a context attribute", name)
		case event.Reserved(name):
			return problemf(event.CodeReservedAttribute, "extension %s is not the producer's to set", event.Cut(name, 40))
		case event.IsPosition(name):
			delete(v1.Extensions, name)
		}
	}
	return nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// text refuses strings that the CloudEvents type system refuses (1.0.2, section "Type System": control characters, noncharacters), and the
// replacement character, into which lone surrogates decode: two different ids would be one.
func text(code event.Code, name, value string) *problem {
	for i := 0; i < len(value); {
		c := value[i]
		if c < utf8.RuneSelf {
			if c < 0x20 || c == 0x7f {
				return problemf(code, "%s holds a control character", name)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(value[i:])
		switch {
		case r == utf8.RuneError:
			return problemf(code, "%s holds a lone surrogate, bytes that are not UTF-8, or U+FFFD", name)
		case r < 0xa0:
			return problemf(code, "%s holds a control character", name)
		case r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe:
			return problemf(code, "%s holds a Unicode noncharacter", name)
		}
		i += n
	}
	return nil
}

// headerLen is the length of an attribute in a header, or what [text] says against it.
func headerLen(code event.Code, name, value string) (n int, p *problem) {
	encoded := event.HeaderLen(value)
	if encoded > len(value) { // else it is plain ASCII
		p = text(code, name, value)
	}
	return len("ce_") + len(name) + encoded, p
}

// deadLetter makes the dead letter of what failed at the top level: a new identity of the collector's, the producer's bytes as data as far
// as an event may hold them, and what the producer calls it, so that it can be found by that.
func (m *maker) deadLetter(r original, p *problem, now string) (candidate, error) {
	id, err := m.newID()
	if err != nil {
		return candidate{}, err
	}
	x := make(map[string]any, 12)
	v1 := &ce.EventContextV1{ID: id, Source: m.source, Type: event.TypeUnparsed, Extensions: x}
	if event.ValidType(r.eventType) {
		v1.Type = r.eventType
	}
	if event.ValidVersion(r.version) {
		x[event.SchemaVersion] = r.version
	}
	letter := &event.Event{Context: v1}
	event.AddFromHeader(letter, r.header, maxAttributes)
	message, data := p.message, r.whole
	if len(data) > event.MaxSize {
		data = nil
		message = fmt.Sprintf("%s; its %d bytes were not kept", message, len(r.whole))
	}
	if len(data) > 0 {
		ct := contentType(r, data)
		v1.DataContentType = &ct
	}
	message = event.Cut(message, event.MaxFailureMessage)
	rootID := event.Identity(m.sourceText, id)
	x[event.RootID] = rootID
	x[event.DataHash] = event.Hash(data)
	x[event.CollectorID] = m.collectorID
	x[event.CollectorTime] = now
	x[event.FailureStage] = stage
	x[event.FailureCode] = string(p.code)
	x[event.FailureMessage] = message
	x[event.FailureTime] = now
	if r.source != "" {
		x[event.FailureSource] = event.Cut(r.source, event.MaxFailureOrigin)
	}
	if r.id != "" {
		x[event.FailureID] = event.Cut(r.id, event.MaxFailureOrigin)
	}
	letter.DataEncoded = data
	return candidate{
		event: letter, id: id, source: m.sourceText, rootID: rootID, code: p.code, message: message,
	}, nil
}

// contentType returns what a dead letter says of its data: never a CloudEvents format, since the letter carries the producer's event as data.
func contentType(r original, data []byte) string {
	if m, _, err := mime.ParseMediaType(r.contentType); err == nil && !event.IsEventFormat(m) {
		return r.contentType
	}
	if rawjson.Valid(data) {
		return "application/json"
	}
	return "application/octet-stream"
}
