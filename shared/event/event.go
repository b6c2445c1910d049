package event

import (
	"crypto/sha1" // which UUIDv5 is defined by
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/google/uuid"

	"millrace/shared/rawjson"
)

// Event is the CloudEvents SDK's event.
type Event = ce.Event

// Names of the extension attributes that Millrace writes. See the table in the design document.
const (
	RootID          = "rootid"           // identity everywhere downstream: [Identity] of source and id
	DataHash        = "datahash"         // [Hash] of the payload
	SchemaVersion   = "schemaversion"    // MODEL-REVISION-ADDITION
	VersionAssumed  = "versionassumed"   // "true" where enrich chose the type's one active version
	CollectorID     = "collectorid"      // which collector took it
	CollectorTime   = "collectortime"    // when it was taken, RFC 3339, UTC
	PartitionKey    = "partitionkey"     // CloudEvents partitioning extension: Kafka's key
	Stage           = "stage"            // StageEnriched on events.enriched
	FailureStage    = "failurestage"     // the function that gave up
	FailureCode     = "failurecode"      // a [Code]
	FailureMessage  = "failuremessage"   // at most MaxFailureMessage bytes, quotes no values
	FailureTime     = "failuretime"      // RFC 3339, UTC
	FailureSource   = "failuresource"    // the producer's source, where it could be read and is not the dead letter's own; cut at MaxFailureOrigin bytes
	FailureID       = "failureid"        // the producer's id, likewise
	FailureVersion  = "failureversion"   // the schema version that was assumed, where the event names none
	ReplayID        = "replayid"         // which replay sent it
	ReplayCount     = "replaycount"      // how often it was replayed; absent means 0
	KnativeErrorDst = "knativeerrordest" // set by Knative on what reaches a dead letter sink
	KnativeErrCode  = "knativeerrorcode"
	KnativeErrData  = "knativeerrordata"
)

// StageEnriched is the value of the attribute [Stage] on events.enriched.
const StageEnriched = "enriched"

// TypeUnparsed is the type of a dead letter whose event type could not be read.
const TypeUnparsed = "millrace.unparsed"

// Limits of one event, in bytes.
const (
	MaxSize           = 900_000 // an event with its attributes, at collect
	MaxEnrichment     = 64 << 10
	MaxFailureMessage = 1 << 10
	MaxFailureOrigin  = 1 << 10
)

// MaxAttributes is how many members an event in the JSON format may have, and how many extensions one that collect takes: far more than any has.
const MaxAttributes = 1024

// namespace of [Identity], fixed for good: every root id ever written depends on it.
var namespace = uuid.MustParse("2e73ba91-7c7f-5d9d-9666-7144e737a13b")

// Identity returns the root id of the event that source calls id: the UUIDv5 of source, a NUL and id.
func Identity(source, id string) string {
	// uuid.NewSHA1 without its six allocations; a test compares.
	name := make([]byte, 0, 256)
	name = append(name, namespace[:]...)
	name = append(name, source...)
	name = append(name, 0)
	name = append(name, id...)
	sum := sha1.Sum(name)
	u := uuid.UUID(sum[:16])
	u[6] = u[6]&0x0f | 5<<4 // version
	u[8] = u[8]&0x3f | 2<<6 // variant
	return u.String()
}

// Hash returns the SHA-256 of payload without its outer white space, in lower-case hex.
func Hash(payload []byte) string {
	sum := sha256.Sum256(rawjson.Trim(payload))
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], sum[:])
	return string(text[:])
}

// ValidType reports whether s can be an event type: a letter, then at most 127 letters, digits, '.', '_' or '-'.
func ValidType(s string) bool {
	if s == "" || len(s) > 128 || !letter(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !letter(c) && !digit(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// ValidVersion reports whether s is a schema version MODEL-REVISION-ADDITION, such as 0-0-1: three numbers below a million without
// leading zeros.
func ValidVersion(s string) bool {
	for part := range 3 {
		n := 0
		for n < len(s) && digit(s[n]) {
			n++
		}
		if n == 0 || n > 6 || (n > 1 && s[0] == '0') {
			return false
		}
		if s = s[n:]; part == 2 {
			return s == ""
		}
		if s == "" || s[0] != '-' {
			return false
		}
		s = s[1:]
	}
	return false
}

// ValidExtensionName reports whether s can name an extension attribute: lower-case ASCII letters and digits.
// Knative's Kafka Broker skips a record with any other name.
func ValidExtensionName(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// IsContext reports whether name is that of a context attribute or of the data, which no extension may have (CloudEvents 1.0.2, section "Context Attributes").
func IsContext(name string) bool {
	switch name {
	case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data":
		return true
	}
	return false
}

// positions are added by Knative's Kafka Broker, KafkaSource and by the SDK's Kafka binding to what they read.
var positions = [...]string{"knativekafkaoffset", "knativekafkapartition", "kafkaoffset", "kafkapartition", "kafkatopic"}

// IsPosition reports whether the extension name tells where in a topic the event was, as brokers and bindings add it: no longer true once the event moves on.
func IsPosition(name string) bool { return slices.Contains(positions[:], name) }

// Reserved reports whether the extension attribute name is Millrace's or Knative's own, which nobody outside may set.
func Reserved(name string) bool {
	switch name {
	case RootID, DataHash, Stage, VersionAssumed:
		return true
	}
	for _, prefix := range []string{"collector", "failure", "replay", "knativeerror"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// Attr returns the attribute name of e as a string in the CloudEvents canonical form, "" where it is absent. It reads
// context attributes (id, source, type, time, ...) and extensions alike.
func Attr(e *Event, name string) string {
	switch name {
	case "specversion":
		return e.SpecVersion()
	case "id":
		return e.ID()
	case "source":
		return e.Source()
	case "type":
		return e.Type()
	case "subject":
		return e.Subject()
	case "datacontenttype":
		return e.DataContentType()
	case "dataschema":
		return e.DataSchema()
	case "time":
		if t := e.Time(); !t.IsZero() {
			return FormatTime(t)
		}
		return ""
	}
	v, ok := extensions(e)[name]
	if !ok {
		return ""
	}
	if s, ok := v.(string); ok {
		return s
	}
	s, err := types.Format(v)
	if err != nil {
		return ""
	}
	return s
}

// extensions returns e's extensions to read. The SDK's own method copies them at each call, which costs more than all else that is done with an
// attribute.
func extensions(e *Event) map[string]any {
	switch c := e.Context.(type) {
	case *ce.EventContextV1:
		return c.Extensions
	case nil:
		return nil
	default:
		return c.GetExtensions()
	}
}

// FormatTime returns t in RFC 3339 with as many digits of a second as it has, in UTC.
func FormatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Replays returns how often e was replayed: its attribute [ReplayCount], 0 where that is absent or no number.
func Replays(e *Event) int {
	n, err := strconv.Atoi(Attr(e, ReplayCount))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// IsDead reports whether e says that it is a dead letter. Only what was read from events.dead may be believed in that: elsewhere another
// producer can have written the attributes, or a replay can have left them ([FailureAttributes]).
func IsDead(e *Event) bool {
	return Attr(e, FailureCode) != "" || Attr(e, KnativeErrorDst) != ""
}

// FailureAttributes returns the names of e's extensions that tell of a failure, ours (failure*) or Knative's (knativeerror*), in order.
func FailureAttributes(e *Event) []string {
	var names []string
	for name := range extensions(e) {
		if strings.HasPrefix(name, "failure") || strings.HasPrefix(name, "knativeerror") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ForeignExtensions returns the names of e's extensions that are neither Millrace's nor Knative's: the producer's own (traceparent, ...), in order.
func ForeignExtensions(e *Event) []string {
	var names []string
	for name := range extensions(e) {
		switch {
		case name == SchemaVersion, name == PartitionKey, Reserved(name), IsPosition(name):
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Derive completes an event that came another way than by collect (through a Broker's ingress, from another team's
// producer): a missing or empty [RootID], [DataHash] or [CollectorTime] is set by the same rules; arrived is the time of its Kafka record, or
// of its request. Those that are there stay, right or wrong: enrich compares them, once for all that come behind it. Positions that brokers add are removed. What reached a Trigger's dead letter sink becomes a dead letter with the
// code [CodeDeliveryExhausted], unless it already was one. Deriving twice changes nothing.
//
// The error says which attribute makes e unusable (no id, no source, no type).
func Derive(e *Event, arrived time.Time) error {
	if e.Context == nil {
		return errors.New("no CloudEvents context")
	}
	if e.ID() == "" || e.Source() == "" || e.Type() == "" {
		return fmt.Errorf("incomplete CloudEvent: id, source and type must not be empty")
	}
	ext := extensions(e)
	for _, name := range positions {
		if _, ok := ext[name]; ok {
			e.SetExtension(name, nil)
		}
	}
	if Attr(e, RootID) == "" {
		e.SetExtension(RootID, Identity(e.Source(), e.ID()))
	}
	if Attr(e, DataHash) == "" {
		payload := e.Data()
		if Attr(e, Stage) == StageEnriched {
			if p, _, err := SplitEnriched(payload); err == nil {
				payload = p
			}
		}
		e.SetExtension(DataHash, Hash(payload))
	}
	if Attr(e, CollectorTime) == "" {
		e.SetExtension(CollectorTime, FormatTime(arrived))
	}
	if dest := Attr(e, KnativeErrorDst); dest != "" && Attr(e, FailureCode) == "" {
		message := "given up after all retries to deliver it"
		if code := Attr(e, KnativeErrCode); code != "" {
			message += ", last answered with HTTP " + code
		}
		e.SetExtension(FailureStage, destinationName(dest))
		e.SetExtension(FailureCode, string(CodeDeliveryExhausted))
		e.SetExtension(FailureMessage, message)
		e.SetExtension(FailureTime, FormatTime(arrived))
	}
	return nil
}

// destinationName returns the first label of a subscriber's host: the Service's name.
func destinationName(dest string) string {
	_, rest, ok := strings.Cut(dest, "://")
	if !ok {
		rest = dest
	}
	host, _, _ := strings.Cut(rest, "/")
	name, _, _ := strings.Cut(host, ".")
	name, _, _ = strings.Cut(name, ":")
	return name
}

// EnrichedData returns the data of an enriched event: an object of the payload's bytes and the enrichment's. Both must be JSON.
func EnrichedData(payload, enrichment []byte) []byte {
	b := make([]byte, 0, len(payload)+len(enrichment)+32)
	b = append(b, `{"payload":`...)
	b = append(b, rawjson.Trim(payload)...)
	b = append(b, `,"enrichment":`...)
	b = append(b, enrichment...)
	return append(b, '}')
}

// SplitEnriched is the inverse of [EnrichedData]: the bytes of payload and enrichment, which alias data. It checks that data is JSON.
func SplitEnriched(data []byte) (payload, enrichment []byte, err error) {
	if !rawjson.Valid(data) {
		return nil, nil, fmt.Errorf("enriched data: %w", rawjson.ErrSyntax)
	}
	err = rawjson.Members(data, func(key string, value []byte) error {
		switch key {
		case "payload":
			payload = value
		case "enrichment":
			enrichment = value
		default:
			return errors.New("a member that is neither payload nor enrichment") // its name is the producer's, and this goes into dead letters
		}
		return nil
	})
	if err == nil && payload == nil {
		err = errors.New("no payload")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("enriched data: %w", err)
	}
	return payload, enrichment, nil
}
