package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"millrace/shared/event"
	"millrace/shared/rawjson"
)

// errNoCloudEvent says that a request does not even claim to hold CloudEvents in a form that we read.
var errNoCloudEvent = errors.New("no CloudEvents: neither headers ce-* nor the content type " + event.MediaStructured + " or " + event.MediaBatch +
	"; events in the JSON form go to POST /api/v1/collect")

// cloudEvents reads a request's CloudEvents, in binary or structured mode or as a batch, at most limit. Errors wrap [errNoCloudEvent], [errTooMany]
// or [errTooLarge], or are the random source's.
func (m *maker) cloudEvents(h http.Header, body []byte, limit int, now string) ([]candidate, error) {
	contentType := h.Get("Content-Type")
	switch {
	case event.IsBatch(contentType):
		elements, err := event.SplitBatch(body, limit)
		if errors.Is(err, event.ErrTooMany) {
			return nil, fmt.Errorf("%w: at most %d", errTooMany, limit)
		}
		if err != nil {
			if rawjson.Valid(body) {
				return m.unparsed(body, "the batch is JSON, but no array", now)
			}
			return m.unparsed(body, unreadable("batch", body), now)
		}
		candidates := make([]candidate, len(elements))
		held := attributeCount{limit: limit}
		for i, element := range elements {
			if candidates[i], err = m.structured(element, now); err != nil {
				return nil, err
			}
			if err := held.add(candidates[i]); err != nil {
				return nil, err
			}
		}
		return candidates, nil
	case event.IsStructured(contentType):
		if !rawjson.Valid(body) {
			return m.unparsed(body, unreadable("body", body), now)
		}
		c, err := m.structured(rawjson.Trim(body), now)
		return []candidate{c}, err
	default:
		if event.IsEventFormat(contentType) || !hasAttributes(h) {
			return nil, errNoCloudEvent
		}
		c, err := m.binary(h, body, now)
		return []candidate{c}, err
	}
}

func (m *maker) options() []event.Option {
	if m.lowercase {
		return []event.Option{event.LowerCaseExtensions}
	}
	return nil
}

func hasAttributes(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, "Ce-") {
			return true
		}
	}
	return false
}

// structured makes the event of one object in the CloudEvents JSON format.
func (m *maker) structured(object []byte, now string) (candidate, error) {
	r := refused{whole: object, contentType: "application/json"}
	e, err := event.DecodeStructured(object, m.options()...)
	if err != nil {
		r.recognize(object)
		code := event.CodeInvalidCloudEvent
		if errors.Is(err, event.ErrTooManyAttributes) {
			code = event.CodeTooLarge
		}
		return m.deadLetter(r, wrong(code, "%s", err), now)
	}
	r.eventType, r.version, r.source, r.id = e.Type(), event.Attr(e, event.SchemaVersion), e.Source(), e.ID()
	return m.admitCloudEvent(e, r, now)
}

// admitCloudEvent is admit with what the JSON form has checked by itself.
func (m *maker) admitCloudEvent(e *event.Event, r refused, now string) (candidate, error) {
	if v, ok := e.Extensions()[event.SchemaVersion]; ok {
		if s, _ := v.(string); !event.ValidVersion(s) {
			return m.deadLetter(r, wrong(event.CodeInvalidAttribute, "schemaversion must be MODEL-REVISION-ADDITION, such as 0-0-1"), now)
		}
	}
	return m.admit(e, r, now)
}

// binary makes the event of a request in binary mode. A dead letter has the body as data and what could be read of the attributes as its own, but for the
// producer's id and source, which are not the letter's.
func (m *maker) binary(h http.Header, body []byte, now string) (candidate, error) {
	r := refused{
		whole: body, contentType: h.Get("Content-Type"), eventType: event.DecodeHeader(h.Get("Ce-Type")), version: h.Get("Ce-Schemaversion"),
		source: event.DecodeHeader(h.Get("Ce-Source")), id: event.DecodeHeader(h.Get("Ce-Id")),
	}
	e, err := event.DecodeHTTP(h, body, m.options()...)
	if err != nil {
		r.attributes = binaryAttributes(h)
		return m.deadLetter(r, binaryProblem(h), now)
	}
	c, err := m.admitCloudEvent(e, r, now)
	if err == nil && c.code != "" { // rare, and so done once more with the attributes
		r.attributes = binaryAttributes(h)
		return m.deadLetter(r, &problem{c.code, c.message}, now)
	}
	return c, err
}

// binaryProblem says what is wrong with headers that are no CloudEvent. The decoder's own errors may quote values.
func binaryProblem(h http.Header) *problem {
	for header, values := range h {
		if name := strings.ToLower(header); strings.HasPrefix(name, "ce-") && len(values) != 1 {
			return wrong(event.CodeInvalidCloudEvent, "the header %s stands %d times", event.Cut(name, 40), len(values))
		}
	}
	if h.Get("Ce-Specversion") != "1.0" {
		return wrong(event.CodeInvalidCloudEvent, "the header ce-specversion must be 1.0")
	}
	for _, name := range []string{"ce-id", "ce-source", "ce-type"} {
		if h.Get(name) == "" {
			return wrong(event.CodeInvalidCloudEvent, "the header %s is missing or empty", name)
		}
	}
	if v := h.Get("Ce-Time"); v != "" {
		if _, err := event.ParseTime(event.DecodeHeader(v)); err != nil {
			return wrong(event.CodeInvalidCloudEvent, "the header ce-time: %s", err)
		}
	}
	return wrong(event.CodeInvalidCloudEvent, "the headers are no CloudEvent 1.0: source must be a URI-reference, dataschema a URI, content-type a media type, "+
		"and names of extensions letters and digits")
}

func binaryAttributes(h http.Header) map[string]string {
	attributes := make(map[string]string)
	for header, values := range h {
		name, ok := strings.CutPrefix(strings.ToLower(header), "ce-")
		switch {
		case !ok, len(values) != 1, !event.ValidExtensionName(name), event.Reserved(name):
			continue
		case coreAttribute(name), name == event.SchemaVersion:
			continue
		}
		attributes[name] = event.DecodeHeader(values[0])
	}
	return attributes
}
