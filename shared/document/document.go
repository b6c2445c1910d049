// Package document says what an event becomes in search: its index, id, version and source. load-search writes it; replay asks for it, to tell whether
// an event can be written today and what it would replace.
//
// It is a pure function of the event, the contracts and the key to mask with: the same event delivered again is the same document under the same id. It does no input or output, but for what gives it
// the key, and does not know what Elasticsearch thinks of the document.
//
// Whoever may search sees no personal data in it (package mask). Of an enriched event that is what the contract classifies; of a dead letter, which may break its contract, have none or be
// no JSON, the payload is shown as it came only where its contract is known and masks nothing, masked (payload_masked) where it can be taken apart by it, and else left out (payload_omitted, with the reason
// in payload_omitted_why): events.dead and its private bucket have it, and replay trace says where. The hash of a document is of the producer's bytes, masked or not.
package document

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"millrace/shared/contract"
	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/mask"
	"millrace/shared/rawjson"
	"millrace/shared/search"
	"millrace/shared/tracecontext"
)

// maxDeadPayload is how much of a dead letter's payload its document holds, in bytes. The whole is in the lake.
const maxDeadPayload = 8 << 10

// maxDeadID is how long a dead letter's id may be, in bytes: below Elasticsearch's 512, with room for a hash. Attributes that
// another producer wrote can be longer.
const maxDeadID = 400

// nearby is how far an event's own time may be from its arrival for its index to go by it.
const nearby = 24 * time.Hour

// Kind says which of the two kinds of documents an event becomes.
type Kind string

// The kinds of documents.
const (
	Enriched Kind = "enriched"
	Dead     Kind = "dead"
)

// A Document is what one event becomes.
type Document struct {
	search.Operation

	Kind  Kind
	Hash  string       // the event's datahash
	Event *event.Event // of which it is
	Bare  bool         // of a dead letter: without its payload
	// Distinct: of a dead letter: under an id that holds its hash, since the plain one is another payload's.
	Distinct bool
	// Model is whose template must be there before the document is written. Zero for dead letters.
	Model contract.Model

	shown *mask.Event // nil where nothing is masked
}

// Models are the contracts by what has an index of its own: a type and a MODEL.
type Models map[ModelKey]Model

// Model is one of [Models].
type Model struct {
	contract.Model
	Mask *mask.Mask // nil where nothing in it is masked
}

// has reports whether a version is one of the model's.
func (m *Model) has(version string) bool {
	for _, c := range m.Versions {
		if c.Version == version {
			return true
		}
	}
	return false
}

// ModelKey names one of [Models].
type ModelKey struct {
	EventType string
	Model     int
}

// ModelsOf returns the models of a set of contracts.
func ModelsOf(contracts *contract.Set) Models {
	m := Models{}
	for _, model := range contracts.Models() {
		m[ModelKey{model.EventType, model.Model}] = Model{model, mask.Of(model)}
	}
	return m
}

// UnknownModelError says that no contract is of an event's MODEL or, where there is one, of its version: what in the event is personal is not known then.
type UnknownModelError struct {
	Key     ModelKey
	Version string // the event's schema version
}

// Error implements error.
func (e *UnknownModelError) Error() string {
	return fmt.Sprintf("no contract of model %d, version %s for the event type", e.Key.Model, e.Version)
}

// Names names indexes; search.Client does.
type Names interface {
	EnrichedIndex(eventType string, model int, t time.Time) string
	DeadIndex(t time.Time) string
}

// Key returns the key to mask with; mask.Keyring's method does. It is called only for what is masked. Its error is an outage of the key, and no event's fault.
type Key func() (*mask.Key, error)

// New returns the document for e. A dead letter is told by its failure attributes and not by its stage, which is enriched on what load-search
// gave up itself; enrich lets no such attribute through to events.enriched. The error is permanent (see delivery.Permanent) and says what is wrong with e, an
// *UnknownModelError, or one of key, which a dead letter never has: it is without its payload then.
func New(n Names, known Models, key Key, e *event.Event) (*Document, error) {
	if event.IsDead(e) {
		return dead(n, known, key, e), nil
	}
	return enriched(n, known, key, e)
}

// Ref returns where e's document is, without making it or knowing its contract. The errors are New's.
func Ref(n Names, e *event.Event) (search.Ref, error) {
	if event.IsDead(e) {
		return search.Ref{Index: n.DeadIndex(deadDay(e)), ID: deadID(e)}, nil
	}
	ref, _, err := enrichedRef(n, e)
	return ref, err
}

func enrichedRef(n Names, e *event.Event) (search.Ref, ModelKey, error) {
	if event.Attr(e, event.Stage) != event.StageEnriched {
		return search.Ref{}, ModelKey{}, delivery.Permanent(event.CodeInvalidAttribute, errors.New("attribute stage is not enriched: only enriched events can be searched"))
	}
	arrived, err := event.ParseTime(event.Attr(e, event.CollectorTime))
	if err != nil {
		return search.Ref{}, ModelKey{}, delivery.Permanent(event.CodeInvalidAttribute, errors.New("attribute collectortime is no time of RFC 3339"))
	}
	version := event.Attr(e, event.SchemaVersion)
	if !event.ValidVersion(version) {
		return search.Ref{}, ModelKey{}, delivery.Permanent(event.CodeUnknownContract, errors.New("attribute schemaversion is not MODEL-REVISION-ADDITION"))
	}
	first, _, _ := strings.Cut(version, "-")
	number, err := strconv.Atoi(first)
	if err != nil {
		return search.Ref{}, ModelKey{}, delivery.Permanent(event.CodeUnknownContract, fmt.Errorf("attribute schemaversion: %w", err))
	}
	return search.Ref{Index: n.EnrichedIndex(e.Type(), number, day(e, arrived)), ID: event.Attr(e, event.RootID)}, ModelKey{e.Type(), number}, nil
}

func enriched(n Names, known Models, key Key, e *event.Event) (*Document, error) {
	ref, of, err := enrichedRef(n, e)
	if err != nil {
		return nil, err
	}
	// The MODEL is not enough: a revision or addition that this process does not know yet has the same index, and may name what is personal.
	model, ok := known[of]
	if version := event.Attr(e, event.SchemaVersion); !ok || !model.has(version) {
		return nil, &UnknownModelError{of, version}
	}
	payload, enrichment, err := event.SplitEnriched(e.Data())
	if err != nil {
		return nil, delivery.Permanent(event.CodeNotJSON, err)
	}

	d := &Document{Kind: Enriched, Event: e, Model: model.Model, Hash: event.Attr(e, event.DataHash)}
	d.Index, d.ID = ref.Index, ref.ID
	if replays := event.Replays(e); replays > 0 {
		// A document that was created has version 1, so the first replay's is above it.
		d.Version = int64(replays) + 1
	}
	if model.Mask != nil {
		k, err := key()
		if err != nil {
			return nil, err
		}
		d.shown = model.Mask.Event(k)
		payload = d.shown.Payload(nil, payload) // before the attributes, which may say the same
		if enrichment != nil {
			enrichment = d.shown.Enrichment(nil, enrichment)
		}
	}
	b := make([]byte, 0, 768+len(payload)+len(enrichment))
	b = appendAttributes(b, e, d.shown)
	b = append(b, `,"payload":`...)
	b = rawjson.Compact(b, payload)
	if enrichment != nil {
		b = append(b, `,"enrichment":`...)
		b = rawjson.Compact(b, enrichment)
	}
	b = append(b, '}')
	d.Source = b
	return d, nil
}

// dead returns the document for a dead letter. There is one for every dead letter, whatever its attributes are: what
// cannot be read as the field's type is left out.
func dead(n Names, known Models, key Key, e *event.Event) *Document {
	payload, masked, why := shown(known, key, e)
	d := bare(n, e, masked)
	if why != "" {
		d.omit(why)
		return d
	}
	cut := len(payload) > maxDeadPayload
	if cut {
		end := maxDeadPayload
		for end > maxDeadPayload-utf8.UTFMax && !utf8.RuneStart(payload[end]) {
			end--
		}
		payload = payload[:end]
	}
	d.Source = append(d.Source[:len(d.Source)-1], `,"payload":`...)
	d.Source = rawjson.AppendString(d.Source, string(payload))
	if cut {
		d.Source = append(d.Source, `,"payload_truncated":true`...)
	}
	if masked != nil {
		d.Source = append(d.Source, `,"payload_masked":true`...)
	}
	d.Source = append(d.Source, '}')
	return d
}

// omit closes a bare document, which it tells to have no payload, and why: the whole dead letter is in Kafka and the lake.
func (d *Document) omit(why string) {
	d.Source = append(d.Source[:len(d.Source)-1], `,"payload_omitted":true,"payload_omitted_why":`...)
	d.Source = rawjson.AppendString(d.Source, why+"; replay trace tells where the original is")
	d.Source = append(d.Source, '}')
}

// bare returns the document of a dead letter's attributes only.
func bare(n Names, e *event.Event, shown *mask.Event) *Document {
	d := &Document{Kind: Dead, Event: e, Hash: event.Attr(e, event.DataHash), shown: shown}
	d.Index, d.ID = n.DeadIndex(deadDay(e)), deadID(e)
	b := make([]byte, 0, 1024+min(len(e.Data()), maxDeadPayload))
	b = appendAttributes(b, e, shown)
	b = appendText(b, "stage", event.Attr(e, event.Stage))
	b = append(b, `,"failure":{`...)
	start := len(b)
	b = appendText(b, "stage", event.Attr(e, event.FailureStage))
	b = appendText(b, "code", event.Attr(e, event.FailureCode))
	b = appendText(b, "message", event.Attr(e, event.FailureMessage))
	b = appendText(b, "hint", event.Code(event.Attr(e, event.FailureCode)).Hint())
	b = appendTime(b, "time", event.Attr(e, event.FailureTime))
	b = appendText(b, "origin_source", event.Attr(e, event.FailureSource))
	b = appendText(b, "origin_id", shown.Attribute(event.Attr(e, event.FailureID)))
	b = appendText(b, "assumed_version", event.Attr(e, event.FailureVersion))
	if len(b) > start {
		b = append(b[:start], b[start+1:]...) // the first comma
	}
	b = append(b, "}}"...)
	d.Source = b
	return d
}

// WithoutPayload returns the document for a dead letter whose payload could not be written.
func WithoutPayload(n Names, refused *Document) *Document {
	d := bare(n, refused.Event, refused.shown)
	d.Bare = true
	d.omit("Elasticsearch refuses it")
	return d
}

// deadID is a dead letter's id, but for a second one of the same event, stage and replay that has other data: see Distinguish.
func deadID(e *event.Event) string {
	id := event.Attr(e, event.RootID) + ":" + event.Attr(e, event.FailureStage) + ":" + strconv.Itoa(event.Replays(e))
	if len(id) > maxDeadID {
		return event.Hash([]byte(id))
	}
	return id
}

// Distinguish puts a dead letter's hash into its id.
func (d *Document) Distinguish() {
	d.Distinct = true
	d.ID = Distinct(d.ID, d.Hash)
}

// Distinct returns a dead letter's id with its hash, for one whose plain id is another payload's.
func Distinct(id, hash string) string { return id + ":" + hash[:min(16, len(hash))] }

// appendAttributes opens the document.
func appendAttributes(b []byte, e *event.Event, shown *mask.Event) []byte {
	b = append(b, `{"event_type":`...)
	b = rawjson.AppendString(b, e.Type())
	b = appendText(b, "schema_version", event.Attr(e, event.SchemaVersion))
	b = appendText(b, "root_id", event.Attr(e, event.RootID))
	b = appendText(b, "data_hash", event.Attr(e, event.DataHash))
	b = appendText(b, "collector_id", event.Attr(e, event.CollectorID))
	b = appendTime(b, "collector_tstamp", event.Attr(e, event.CollectorTime))
	b = appendText(b, "id", shown.Attribute(e.ID()))
	b = appendText(b, "source", e.Source())
	b = appendText(b, "subject", shown.Attribute(e.Subject()))
	b = appendTime(b, "time", event.Attr(e, "time"))
	b = appendText(b, "trace_id", tracecontext.Of(e).TraceID())
	b = appendText(b, "replay_id", event.Attr(e, event.ReplayID))
	b = append(b, `,"replay_count":`...)
	b = strconv.AppendInt(b, int64(event.Replays(e)), 10)
	if event.Attr(e, event.VersionAssumed) != "" {
		b = append(b, `,"version_assumed":true`...)
	}
	b = appendText(b, "partition_key", shown.Attribute(event.Attr(e, event.PartitionKey)))
	return appendExtensions(b, e, shown)
}

func appendText(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return rawjson.AppendString(b, value)
}

// appendTime leaves out what is no time: a date field that cannot be read would make Elasticsearch refuse the document.
func appendTime(b []byte, name, value string) []byte {
	t, err := event.ParseTime(value)
	if err != nil {
		return b
	}
	return appendText(b, name, event.FormatTime(t))
}

// day returns the time whose day, in UTC, names the index: the event's own where it is within 24 hours of its arrival, else
// that. It is never the time of loading, so that a redelivery finds the same index.
//
// An event that no collector took has no arrival of its own: its collectortime is that of the request which brought it to enrich, another one at
// each delivery. So its own time counts, however far it is.
func day(e *event.Event, arrived time.Time) time.Time {
	if t := e.Time(); !t.IsZero() && (t.Sub(arrived).Abs() <= nearby || event.Attr(e, event.CollectorID) == "") {
		return t
	}
	return arrived
}

// deadDay is day for an event whose collectortime may be no time: then it goes by the failure's, then by its own, and at last by
// one that at least stays the same.
func deadDay(e *event.Event) time.Time {
	for _, name := range []string{event.CollectorTime, event.FailureTime, "time"} {
		if t, err := event.ParseTime(event.Attr(e, name)); err == nil {
			return day(e, t)
		}
	}
	return time.Unix(0, 0)
}
