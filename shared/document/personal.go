package document

import (
	"millrace/shared/event"
	"millrace/shared/mask"
	"millrace/shared/rawjson"
)

// shown returns what of a dead letter's data everybody may see who may search, or why that is nothing; and what masks its attributes, nil where nothing does.
//
// It is as it came where the type's contract is known and masks nothing, masked where it can be, and else left out: nothing says then what in it is personal.
func shown(known Models, key Key, e *event.Event) (data []byte, masked *mask.Event, why string) {
	data = e.Data()
	if len(data) == 0 {
		return data, nil, ""
	}
	model, exact, ok := known.of(e)
	if !ok {
		return nil, nil, "no contract says what in it is personal"
	}
	if model.Mask == nil {
		return data, nil, ""
	}
	const unreadable = "its contract masks personal data, and it cannot be taken apart"
	// What collect refuses is the whole object that was sent, or a body of any kind.
	if !exact || event.Attr(e, event.FailureStage) == "collect" || !rawjson.Valid(data) {
		return nil, nil, unreadable
	}
	payload, enrichment := data, []byte(nil)
	enriched := event.Attr(e, event.Stage) == event.StageEnriched
	if enriched {
		var err error
		if payload, enrichment, err = event.SplitEnriched(data); err != nil {
			return nil, nil, unreadable
		}
	}
	k, err := key()
	masked = model.Mask.Event(k)
	if !enriched {
		data = masked.Payload(nil, payload)
	} else {
		data = masked.Payload([]byte(`{"payload":`), payload)
		if enrichment != nil {
			data = masked.Enrichment(append(data, `,"enrichment":`...), enrichment)
		}
		data = append(data, '}')
	}
	if err != nil { // what attributes say of it is left out, too
		return nil, masked, "its contract masks personal data, and there is no key to do so"
	}
	return data, masked, ""
}

// of returns the model of a dead letter's contract. Where the event names no version, it is a model of the type, one that masks if there is such: exact is false then.
func (m Models) of(e *event.Event) (model Model, exact, ok bool) {
	version := event.Attr(e, event.SchemaVersion)
	if version == "" {
		version = event.Attr(e, event.FailureVersion)
	}
	for key, one := range m {
		switch {
		case key.EventType != e.Type():
		case version == "":
			if !ok || model.Mask == nil {
				model, ok = one, true
			}
		case one.has(version):
			return one, true, true
		}
	}
	return model, false, ok
}
