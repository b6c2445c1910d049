package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"millrace/shared/event"
	"millrace/shared/rawjson"
)

// errTooMany says that a request has more events than one may have.
var errTooMany = errors.New("too many events in one request")

// errNotKept says that a body cannot be read and is too large to be kept as a dead letter.
var errNotKept = errors.New("a body that is not JSON and larger than an event may be is not kept")

// sender is what the head of a request in the JSON form says.
type sender struct {
	key        string // the Idempotency-Key, "" for none
	cloudEvent bool   // it claims to hold a CloudEvent
}

// form reads a body in the JSON form, one object or an array of them; limit is the most events. A
// body that is neither is one dead letter as a whole. Errors wrap [errTooMany] or [errNotKept], or are the random source's.
func (m *maker) form(body []byte, from sender, limit int, now string) ([]candidate, error) {
	if kind := rawjson.Kind(body); kind != '{' && kind != '[' {
		if rawjson.Valid(body) {
			return m.unparsed(body, "the body is JSON, but neither an object nor an array", now)
		}
		return m.unparsed(body, unreadable("body", body), now)
	}
	var candidates []candidate
	var f fields
	var events rooms
	held := attributeCount{limit: limit}
	err := rawjson.Objects(body, f.take, func(i int, value []byte, tooDeep bool) error {
		if i >= limit {
			return fmt.Errorf("%w: at most %d", errTooMany, limit)
		}
		if i == 0 { // as a rule the others are as long
			events.left = min(limit, 1+len(body)/(len(value)+1))
			candidates = make([]candidate, 0, events.left)
		}
		if tooDeep {
			f.problem = tooDeepProblem()
		}
		c, err := m.formEvent(value, &f, &events, from, i, now)
		if err != nil {
			return err
		}
		f = fields{}
		candidates = append(candidates, c)
		return held.add(c)
	})
	// What is not JSON is one dead letter, whatever of it was read until then.
	if errors.Is(err, rawjson.ErrSyntax) || errors.Is(err, errTooMany) && !rawjson.Valid(body) {
		return m.unparsed(body, unreadable("body", body), now)
	}
	return candidates, err
}

// tooDeepProblem is that of an event which is JSON, and nested deeper than is read here.
func tooDeepProblem() *problem {
	return problemf(event.CodeUnparsed, "the event is nested more than %d levels deep", rawjson.MaxDepth)
}

// room is an event with its attributes.
type room struct {
	event   event.Event
	context ce.EventContextV1
}

// rooms are allocated for several events at once.
type rooms struct {
	left int // events to come, about
	free []room
}

func (r *rooms) next() *room {
	if len(r.free) == 0 {
		const most = 64 // less than 32 KiB, beyond which memory is dearer
		r.free = make([]room, max(1, min(r.left, most)))
	}
	next := &r.free[0]
	r.free = r.free[1:]
	r.left--
	return next
}

// unreadable says why text, called what, is none that rawjson.Valid accepts.
func unreadable(what string, text []byte) string {
	if err := rawjson.Explain(text); err != nil {
		return "the " + what + " is not JSON: " + err.Error()
	}
	return "the " + what + " cannot be read"
}

// unparsed keeps a whole body as one dead letter.
func (m *maker) unparsed(body []byte, why string, now string) ([]candidate, error) {
	if len(body) > event.MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d: %s", errNotKept, len(body), event.MaxSize, why)
	}
	r := original{whole: body}
	r.recognize(body)
	r.eventType, r.version = "", "" // what is not JSON is of no type
	c, err := m.deadLetter(r, problemf(event.CodeUnparsed, "%s", why), now)
	return []candidate{c}, err
}

// recognize reads what an event is called, of what type and version, out of an object that is no event, or no JSON: as far as the top level can be read.
func (r *original) recognize(object []byte) {
	if rawjson.Kind(object) != '{' {
		return
	}
	into := map[string]*string{"id": &r.id, "source": &r.source, "type": &r.eventType, event.SchemaVersion: &r.version}
	// What comes before an error is what can be read.
	_ = rawjson.Members(object, func(name string, value []byte) error {
		if s := into[name]; s != nil && *s == "" {
			*s, _ = rawjson.Unquote(value)
		}
		return nil
	})
}

// fields are the top-level fields of one object in the JSON form.
type fields struct {
	eventType, version, id, source, subject, time, partitionKey string
	payload, extensions                                         []byte
	problem                                                     *problem // the first, except that a CloudEvent is called so
	seen                                                        uint16
}

func (f *fields) fail(p *problem) {
	if f.problem == nil {
		f.problem = p
	}
}

// formEvent makes the event of one object in the JSON form, whose members f has taken.
func (m *maker) formEvent(object []byte, f *fields, events *rooms, from sender, index int, now string) (candidate, error) {
	r := original{whole: object, contentType: "application/json"}
	if rawjson.Kind(object) != '{' {
		return m.deadLetter(r, problemf(event.CodeUnparsed, "an event must be a JSON object"), now)
	}
	r.eventType, r.version, r.source, r.id = f.eventType, f.version, f.source, f.id
	e := events.next()
	p := m.formContext(&e.context, f, from.key, index)
	if f.problem != nil {
		p = f.problem
	}
	if p != nil {
		if from.cloudEvent && (p.code == event.CodeUnknownField || p.code == event.CodeMissingField) && !strings.HasSuffix(p.message, isCloudEvent) {
			p.message += isCloudEvent
		}
		return m.deadLetter(r, p, now)
	}
	if e.context.ID == "" {
		var err error
		if e.context.ID, err = m.newID(); err != nil {
			return candidate{}, err
		}
	}
	e.event = event.Event{Context: &e.context, DataEncoded: f.payload}
	return m.admit(&e.event, r, now)
}

// take notes one member. A first failure does not end the walk, so that a dead letter knows its type.
func (f *fields) take(name, value []byte) {
	var bit uint16
	var into *string
	switch string(name) {
	case "event_type":
		bit, into = 1<<0, &f.eventType
	case "schema_version":
		bit, into = 1<<1, &f.version
	case "payload":
		bit = 1 << 2
	case "id":
		bit, into = 1<<3, &f.id
	case "source":
		bit, into = 1<<4, &f.source
	case "subject":
		bit, into = 1<<5, &f.subject
	case "time":
		bit, into = 1<<6, &f.time
	case "partition_key":
		bit, into = 1<<7, &f.partitionKey
	case "extensions":
		bit = 1 << 8
	default:
		if p := problemf(event.CodeUnknownField, "unknown top-level field %q", event.Cut(string(name), 40)); string(name) == "specversion" {
			p.message += isCloudEvent
			f.problem = p
		} else {
			f.fail(p)
		}
		return
	}
	if f.seen&bit != 0 {
		f.fail(problemf(event.CodeInvalidField, "the top-level field %s stands twice", name))
		return
	}
	f.seen |= bit
	switch {
	case string(name) == "payload":
		f.payload = value
	case rawjson.Kind(value) == 'n':
		// null is absent, as producers' serialisers write it.
	case string(name) == "extensions":
		f.extensions = value
	default:
		s, ok := rawjson.Unquote(value)
		switch {
		case !ok:
			f.fail(problemf(event.CodeInvalidField, "%s must be a string", name))
		case s == "":
			f.fail(problemf(event.CodeInvalidField, "%s must not be empty", name))
		default:
			*into = s
		}
	}
}

// isCloudEvent follows what is wrong with an event in the JSON form that is none, but a CloudEvent.
const isCloudEvent = ": this is a CloudEvent, which goes to POST /api/v1/events"

var jsonContentType = "application/json"

// formContext makes the attributes; an absent id stays empty.
func (m *maker) formContext(v1 *ce.EventContextV1, f *fields, key string, index int) *problem {
	switch {
	case f.eventType == "":
		return problemf(event.CodeMissingField, "event_type is missing")
	case f.version == "":
		return problemf(event.CodeMissingField, "schema_version is missing")
	case f.payload == nil:
		return problemf(event.CodeMissingField, "payload is missing")
	case !event.ValidVersion(f.version):
		return problemf(event.CodeInvalidField, "schema_version must be MODEL-REVISION-ADDITION, such as 0-0-1")
	case f.id != "" && f.source == "":
		return problemf(event.CodeMissingSource, "id is given without source")
	}
	*v1 = ce.EventContextV1{
		ID: f.id, Source: m.source, Type: f.eventType, DataContentType: &jsonContentType,
		Extensions: make(map[string]any, 8),
	}
	if f.source != "" {
		u := types.ParseURIRef(f.source)
		if u == nil || u.String() == "" {
			return problemf(event.CodeInvalidField, "source must be a URI-reference")
		}
		v1.Source = *u
	}
	if v1.ID == "" && key != "" {
		v1.ID = key + "/" + strconv.Itoa(index)
	}
	if subject := f.subject; subject != "" {
		v1.Subject = &subject
	}
	if f.time != "" {
		t, err := event.ParseTime(f.time)
		if err != nil {
			return problemf(event.CodeInvalidField, "time: %s", err)
		}
		v1.Time = &types.Timestamp{Time: t}
	}
	if f.extensions != nil {
		if p := m.formExtensions(v1.Extensions, f.extensions); p != nil {
			return p
		}
	}
	v1.Extensions[event.SchemaVersion] = f.version
	if f.partitionKey != "" {
		v1.Extensions[event.PartitionKey] = f.partitionKey
	}
	return nil
}

// formExtensions reads the object extensions. Values become strings in their own spelling, as Kafka's headers hold them anyway.
func (m *maker) formExtensions(x map[string]any, object []byte) *problem {
	if rawjson.Kind(object) != '{' {
		return problemf(event.CodeInvalidField, "extensions must be an object")
	}
	var p *problem
	err := rawjson.Members(object, func(name string, value []byte) error {
		if p != nil {
			return nil
		}
		if len(x) >= event.MaxAttributes {
			p = problemf(event.CodeTooLarge, "more than %d extensions", event.MaxAttributes)
			return nil
		}
		if m.lowercase {
			name = strings.ToLower(name)
		}
		if _, twice := x[name]; twice {
			p = problemf(event.CodeInvalidAttribute, "extension %q stands twice", event.Cut(name, 40))
			return nil
		}
		if event.IsContext(name) || name == event.SchemaVersion || name == event.PartitionKey {
			p = problemf(event.CodeInvalidAttribute, "%s is not an extension here: it has a field of its own, or follows from the form", name)
			return nil
		}
		switch rawjson.Kind(value) {
		case '"':
			s, ok := rawjson.Unquote(value)
			if !ok {
				p = problemf(event.CodeInvalidAttribute, "extension %q cannot be read", event.Cut(name, 40))
				return nil
			}
			x[name] = s
		case 't', '0':
			x[name] = string(value)
		case 'n':
		default:
			p = problemf(event.CodeInvalidAttribute, "extension %q must be a string, a number or a boolean", event.Cut(name, 40))
		}
		return nil
	})
	if err != nil {
		return problemf(event.CodeInvalidAttribute, "extensions cannot be read")
	}
	return p
}
