package event

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Code says why an event is a dead letter. The list is closed: a code is part of Millrace's interface, since dashboards, alerts
// and replay select by it.
type Code string

// The failure codes. [Code.Hint] tells a person what to do about each.
const (
	CodeUnparsed          Code = "unparsed"
	CodeInvalidCloudEvent Code = "invalid_cloudevent"
	CodeMissingField      Code = "missing_field"
	CodeUnknownField      Code = "unknown_field"
	CodeInvalidField      Code = "invalid_field"
	CodeMissingSource     Code = "missing_source"
	CodeReservedAttribute Code = "reserved_attribute"
	CodeInvalidAttribute  Code = "invalid_attribute"
	CodeTooLarge          Code = "too_large"
	CodeNotJSON           Code = "not_json"
	CodeUnknownContract   Code = "unknown_contract"
	CodeAmbiguousVersion  Code = "ambiguous_version"
	CodeContractViolation Code = "contract_violation"
	CodeEnrichmentFailed  Code = "enrichment_failed"
	CodeIdentityConflict  Code = "identity_conflict"
	CodeSearchRejected    Code = "search_rejected"
	CodeAttemptsExhausted Code = "attempts_exhausted"
	CodeDeliveryExhausted Code = "delivery_exhausted"
)

// hints is ordered as an event travels.
var hints = []struct {
	code Code
	hint string
}{
	{CodeUnparsed, "Send one JSON object or an array of objects in UTF-8; the dead letter's data is the body as it came."},
	{CodeInvalidCloudEvent, "Send a CloudEvent 1.0 with non-empty id, source, specversion and type; the message names the attribute."},
	{CodeMissingField, "Add the top-level field that the message names: event_type, schema_version and payload are required."},
	{CodeUnknownField, "Move the field into payload, or into extensions; other top-level fields than the documented ones are refused. CloudEvents go to /api/v1/events."},
	{CodeInvalidField, "Correct the form of the top-level field that the message names."},
	{CodeMissingSource, "Send source together with id: an id is unique only within its source."},
	{CodeReservedAttribute, "Do not set attributes that Millrace or Knative write themselves (rootid, datahash, stage, versionassumed, collector*, failure*, replay*, knativeerror*)."},
	{CodeInvalidAttribute, "Name extension attributes with lower-case letters and digits only, with a string, number or boolean as value."},
	{CodeTooLarge, "Make the event smaller, or send a reference to its data (CloudEvents dataref extension)."},
	{CodeNotJSON, "Send the payload as JSON; the dead letter holds the bytes as they came."},
	{CodeUnknownContract, "Publish a contract for this event type and schema version, or correct them, then replay."},
	{CodeAmbiguousVersion, "Send schemaversion: the event type has more than one active version."},
	{CodeContractViolation, "Correct the payload at the JSON pointers in the message, or publish a contract that allows it, then replay."},
	{CodeEnrichmentFailed, "Correct the enrichment step that the message names or its reference data, then replay."},
	{CodeIdentityConflict, "Two different payloads carry the same source and id: give each event an id of its own."},
	{CodeSearchRejected, "The search index refuses the document: compare the contract's mapping with the message, then replay."},
	{CodeAttemptsExhausted, "The event failed again and again while others passed: look at the function's log for its root id, then replay."},
	{CodeDeliveryExhausted, "The function could not be reached or kept failing for as long as its Trigger retries: replay once it is well."},
}

// Codes returns all failure codes, in the order in which an event can meet them.
func Codes() []Code {
	codes := make([]Code, len(hints))
	for i, h := range hints {
		codes[i] = h.code
	}
	return codes
}

// Hint returns a sentence for people: what to do about a failure of this code. It is "" for a code that is not in the list.
func (c Code) Hint() string {
	for _, h := range hints {
		if h.code == c {
			return h.hint
		}
	}
	return ""
}

// Failure is why, where and when an event was given up.
type Failure struct {
	Stage   string // the function
	Code    Code
	Message string // for people; quotes no values of the payload. Cut at MaxFailureMessage bytes.
	Time    time.Time

	// Source and ID are what the producer calls the event, where the dead letter has another identity; "" where that cannot be read. Cut at MaxFailureOrigin bytes.
	Source, ID string
	Version    string // the schema version that was assumed, "" where the event names one
}

// DeadLetter returns the dead letter of e: a copy with the same attributes and data, plus the failure's attributes. e stays as it is.
func DeadLetter(e *Event, f Failure) *Event {
	d := e.Clone()
	d.SetExtension(FailureStage, f.Stage)
	d.SetExtension(FailureCode, string(f.Code))
	d.SetExtension(FailureMessage, Cut(f.Message, MaxFailureMessage))
	d.SetExtension(FailureTime, FormatTime(f.Time))
	for name, value := range map[string]string{FailureSource: f.Source, FailureID: f.ID, FailureVersion: f.Version} {
		if value != "" {
			d.SetExtension(name, Cut(value, MaxFailureOrigin))
		}
	}
	return &d
}

// Cut returns s as valid UTF-8 without control characters and noncharacters, which no attribute may hold, cut to at most limit bytes at a character's edge. A cut text ends
// with "...".
func Cut(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	s = strings.Map(func(r rune) rune {
		switch {
		case r < 0x20, r >= 0x7f && r < 0xa0:
			return ' '
		case r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe:
			return '\ufffd'
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	end := limit - len("...")
	if end < 0 {
		return "..."[:max(0, limit)]
	}
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}
