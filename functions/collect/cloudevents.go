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
// or [errNotKept], or are the random source's.
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
	r := original{whole: object, contentType: "application/json"}
	decode := event.DecodeStructured
	if m.lowercase {
		decode = event.DecodeStructuredAnyCase
	}
	e, err := decode(object)
	if err != nil {
		r.recognize(object)
		if !rawjson.Valid(object) { // it is JSON, as the body was found to be
			return m.deadLetter(r, tooDeepProblem(), now)
		}
		code := event.CodeInvalidCloudEvent
		if errors.Is(err, event.ErrTooManyAttributes) {
			code = event.CodeTooLarge
		}
		return m.deadLetter(r, problemf(code, "%s", err), now)
	}
	r.eventType, r.version, r.source, r.id = e.Type(), event.Attr(e, event.SchemaVersion), e.Source(), e.ID()
	return m.admitCloudEvent(e, r, now)
}

// admitCloudEvent is admit with what the JSON form has checked by itself.
func (m *maker) admitCloudEvent(e *event.Event, r original, now string) (candidate, error) {
	if v, ok := e.Extensions()[event.SchemaVersion]; ok {
		if s, _ := v.(string); !event.ValidVersion(s) {
			return m.deadLetter(r, problemf(event.CodeInvalidAttribute, "schemaversion must be MODEL-REVISION-ADDITION, such as 0-0-1"), now)
		}
	}
	return m.admit(e, r, now)
}

// binary makes the event of a request in binary mode. A dead letter has the body as data and what could be read of the attributes as its own, but for the
// producer's id and source, which are not the letter's.
func (m *maker) binary(h http.Header, body []byte, now string) (candidate, error) {
	r := original{
		whole: body, contentType: h.Get("Content-Type"), eventType: event.DecodeHeader(h.Get("Ce-Type")), version: h.Get("Ce-Schemaversion"),
		source: event.DecodeHeader(h.Get("Ce-Source")), id: event.DecodeHeader(h.Get("Ce-Id")),
	}
	e, err := event.DecodeHTTP(h, body)
	if err != nil {
		r.header = h
		return m.deadLetter(r, problemf(event.CodeInvalidCloudEvent, "%s", err), now)
	}
	c, err := m.admitCloudEvent(e, r, now)
	if err == nil && c.code != "" { // rare, and so done once more with the attributes
		r.header = h
		return m.deadLetter(r, &problem{c.code, c.message}, now)
	}
	return c, err
}
