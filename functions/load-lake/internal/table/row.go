package table

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/IBM/sarama"
	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/rawjson"
)

// attribute is a CloudEvents attribute that has a column.
type attribute struct {
	name    string // CloudEvents
	column  string
	kind    kind
	failure bool // only on dead letters: no column of enriched tables
	ours    bool // a time of a function of ours: what is finer than its column is no loss
}

type kind uint8

const (
	text kind = iota
	instant
	number
)

var attributes = []attribute{
	{name: "type", column: "event_type"},
	{name: event.SchemaVersion, column: "schema_version"},
	{name: event.VersionAssumed, column: "version_assumed"},
	{name: event.RootID, column: "root_id"},
	{name: "id", column: "id"},
	{name: "source", column: "source"},
	{name: "subject", column: "subject"},
	{name: "time", column: "time", kind: instant},
	{name: event.CollectorID, column: "collector_id"},
	{name: event.CollectorTime, column: "collector_tstamp", kind: instant, ours: true},
	{name: event.DataHash, column: "data_hash"},
	{name: "dataschema", column: "data_schema"},
	{name: "datacontenttype", column: "content_type"},
	{name: event.PartitionKey, column: "partition_key"},
	{name: event.Stage, column: "stage"},
	{name: event.FailureStage, column: "failure_stage", failure: true},
	{name: event.FailureCode, column: "failure_code", failure: true},
	{name: event.FailureMessage, column: "failure_message", failure: true},
	{name: event.FailureTime, column: "failure_time", kind: instant, failure: true, ours: true},
	{name: event.FailureSource, column: "failure_origin_source", failure: true},
	{name: event.FailureID, column: "failure_origin_id", failure: true},
	{name: event.FailureVersion, column: "failure_assumed_version", failure: true},
	{name: event.ReplayID, column: "replay_id"},
	{name: event.ReplayCount, column: "replay_count", kind: number},
}

// Indexes into attributes that the code needs by name.
var (
	atType, atRoot, atID, atSource     = at("type"), at(event.RootID), at("id"), at("source")
	atHash, atCollected, atContentType = at(event.DataHash), at(event.CollectorTime), at("datacontenttype")
	atKey, atStage                     = at(event.PartitionKey), at(event.Stage)
	atVersion, atSubject               = at(event.SchemaVersion), at("subject")
)

func at(name string) int {
	for i, a := range attributes {
		if a.name == name {
			return i
		}
	}
	panic("table: no column for " + name)
}

const headerPrefix = "ce_"

// headers finds an attribute's index by the name of its Kafka header.
var headers = func() map[string]int {
	m := map[string]int{"content-type": atContentType}
	for i, a := range attributes {
		if i != atContentType {
			m[headerPrefix+a.name] = i
		}
	}
	return m
}()

// row is one record, taken apart. Its bytes alias the record where they can.
type row struct {
	attr       [32][]byte // by attributes' index; nil is absent
	extensions []byte     // members of a JSON object, without its braces
	headers    []byte     // elements of a JSON array, without its brackets
	payload    []byte
	key        []byte // where it is not the partition key
	record     *sarama.ConsumerMessage
}

// read takes the record apart. It never fails: what is no attribute is kept as a header, what is no event as a payload.
func (r *row) read(m *sarama.ConsumerMessage) {
	*r = row{extensions: r.extensions[:0], headers: r.headers[:0], record: m, payload: m.Value}
	version, slow := false, false
	for _, h := range m.Headers {
		name := unsafe.String(unsafe.SliceData(h.Key), len(h.Key))
		switch i, known := headers[name]; {
		case known && r.attr[i] == nil && utf8.Valid(h.Value):
			if i == atContentType {
				// Kafka's header is HTTP's: not percent-encoded.
				r.attr[i] = nonNil(h.Value)
				slow = slow || event.IsStructured(string(h.Value))
			} else {
				r.attr[i] = decode(h.Value)
			}
		case name == headerPrefix+"specversion" && !version && string(h.Value) == ce.CloudEventsVersionV1:
			version = true
		case strings.HasPrefix(name, headerPrefix) && utf8.ValidString(name) && utf8.Valid(h.Value) && !known:
			extension := name[len(headerPrefix):]
			slow = slow || extension == event.KnativeErrorDst
			r.extend(extension, decode(h.Value))
		default:
			r.header(h)
		}
	}
	if slow {
		r.readEvent(m)
	}
	if r.attr[atKey] == nil && utf8.Valid(m.Key) {
		r.attr[atKey] = m.Key
	}
	if string(r.attr[atKey]) != string(m.Key) {
		r.key = m.Key
	}
	if r.attr[atType] == nil || r.attr[atID] == nil || r.attr[atSource] == nil {
		return // no event: nothing to derive
	}
	// The rules are event.Derive's: an empty attribute is a missing one.
	if len(r.attr[atRoot]) == 0 {
		r.attr[atRoot] = []byte(event.Identity(string(r.attr[atSource]), string(r.attr[atID])))
	}
	if len(r.attr[atHash]) == 0 {
		data := r.payload
		if string(r.attr[atStage]) == event.StageEnriched {
			if p, _, err := event.SplitEnriched(data); err == nil {
				data = p
			}
		}
		r.attr[atHash] = []byte(event.Hash(data))
	}
	if len(r.attr[atCollected]) == 0 {
		r.attr[atCollected] = []byte(event.FormatTime(m.Timestamp))
	}
}

// readEvent reads records that need more than their headers: structured ones, and those that Knative gave up.
func (r *row) readEvent(m *sarama.ConsumerMessage) {
	e, err := kafka.Decode(m)
	if err != nil {
		return // the row stays as the headers had it
	}
	contentType := r.attr[atContentType]
	r.attr, r.extensions, r.payload = [32][]byte{}, r.extensions[:0], e.Data()
	for i, a := range attributes {
		if v := event.Attr(e, a.name); v != "" {
			r.attr[i] = []byte(v)
		}
	}
	for name, v := range e.Extensions() {
		if _, known := headers[headerPrefix+name]; known {
			continue
		}
		s, err := types.Format(v)
		if err == nil {
			r.extend(name, []byte(s))
		}
	}
	if event.IsStructured(string(contentType)) {
		r.header(&sarama.RecordHeader{Key: []byte("content-type"), Value: contentType})
	}
}

func (r *row) extend(name string, value []byte) {
	if len(r.extensions) > 0 {
		r.extensions = append(r.extensions, ',')
	}
	r.extensions = rawjson.AppendString(r.extensions, name)
	r.extensions = append(r.extensions, ':')
	r.extensions = rawjson.AppendString(r.extensions, string(value))
}

// header keeps a header as [name, value], or [name, value in base64, "base64"] where one of them is no UTF-8.
func (r *row) header(h *sarama.RecordHeader) {
	if len(r.headers) > 0 {
		r.headers = append(r.headers, ',')
	}
	r.headers = append(r.headers, '[')
	if utf8.Valid(h.Key) && utf8.Valid(h.Value) {
		r.headers = rawjson.AppendString(r.headers, string(h.Key))
		r.headers = append(r.headers, ',')
		r.headers = rawjson.AppendString(r.headers, string(h.Value))
	} else {
		r.headers = rawjson.AppendString(r.headers, base64.StdEncoding.EncodeToString(h.Key))
		r.headers = append(r.headers, ',')
		r.headers = rawjson.AppendString(r.headers, base64.StdEncoding.EncodeToString(h.Value))
		r.headers = append(r.headers, `,"base64"`...)
	}
	r.headers = append(r.headers, ']')
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func decode(b []byte) []byte {
	for _, c := range b {
		if c == '%' {
			return []byte(event.DecodeHeader(string(b)))
		}
	}
	return nonNil(b)
}

// typed reads the attribute's value as its column's type. exact is false where the column does not give the same text back, what is finer in a time of ours left out.
func typed(a attribute, b []byte) (n int64, ok, exact bool) {
	s := unsafe.String(unsafe.SliceData(b), len(b))
	if a.kind == number {
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil, err == nil && strconv.FormatInt(n, 10) == s
	}
	t, err := event.ParseTime(s)
	if err != nil {
		return 0, false, false
	}
	return t.UnixMicro(), true, (a.ours || t.Nanosecond()%1000 == 0) && sameText(t, s)
}

// sameText reports whether s is how event.FormatTime spells t.
func sameText(t time.Time, s string) bool {
	var buf [40]byte
	return string(t.UTC().AppendFormat(buf[:0], time.RFC3339Nano)) == s
}

// Kind returns the event type and schema version of the record, each "" where it has none that is valid.
func Kind(m *sarama.ConsumerMessage) (eventType, version string) {
	structured := false
	for _, h := range m.Headers {
		switch string(h.Key) {
		case headerPrefix + "type":
			eventType = event.DecodeHeader(string(h.Value))
		case headerPrefix + event.SchemaVersion:
			version = event.DecodeHeader(string(h.Value))
		case "content-type":
			structured = event.IsStructured(string(h.Value))
		}
	}
	if structured {
		if e, err := kafka.Decode(m); err == nil {
			eventType, version = e.Type(), event.Attr(e, event.SchemaVersion)
		}
	}
	if !event.ValidType(eventType) {
		eventType = ""
	}
	if !event.ValidVersion(version) {
		version = ""
	}
	return eventType, version
}
