package event

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	ce "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/cloudevents/sdk-go/v2/types"

	"millrace/shared/rawjson"
)

// Media types of the JSON event format.
const (
	MediaStructured = "application/cloudevents+json"
	MediaBatch      = "application/cloudevents-batch+json"
)

// EncodeHeader percent-encodes an attribute's value for a header, HTTP's and Kafka's alike (CloudEvents HTTP binding 1.0.2, section
// 3.1.3.2): space, double quote, percent, and everything outside printable ASCII, byte by byte of its UTF-8.
func EncodeHeader(s string) string {
	if plainHeader(s) == len(s) {
		return s
	}
	b := make([]byte, 0, HeaderLen(s))
	for {
		n := plainHeader(s)
		b = append(b, s[:n]...)
		if n == len(s) {
			return string(b)
		}
		const hex = "0123456789ABCDEF"
		b = append(b, '%', hex[s[n]>>4], hex[s[n]&15])
		s = s[n+1:]
	}
}

// HeaderLen returns the length of [EncodeHeader] of s.
func HeaderLen(s string) int {
	n := len(s)
	for i := plainHeader(s); i < len(s); i++ {
		if !headerPlain[s[i]] {
			n += 2
		}
	}
	return n
}

// plainHeader returns how many bytes at the start of s stand for themselves in a header.
func plainHeader(s string) int {
	for i := 0; i < len(s); i++ {
		if !headerPlain[s[i]] {
			return i
		}
	}
	return len(s)
}

// headerPlain tells the bytes that stand for themselves in a header.
var headerPlain = func() (t [256]bool) {
	for c := range t {
		t[c] = c > ' ' && c < 0x7f && c != '"' && c != '%'
	}
	return t
}()

// DecodeHeader is the inverse of [EncodeHeader], and takes raw UTF-8 too. A percent sign that two hex digits do not follow stays as it is;
// a result that would not be UTF-8 leaves s undecoded.
func DecodeHeader(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(n))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	if out := string(b); strings.ToValidUTF8(out, "") == out {
		return out
	}
	return s
}

// IsBatch reports whether a content type is the CloudEvents JSON batch format's.
func IsBatch(contentType string) bool { return mediaType(contentType) == MediaBatch }

// IsStructured reports whether a content type is the CloudEvents JSON format's, for one event.
func IsStructured(contentType string) bool { return mediaType(contentType) == MediaStructured }

const eventFormats = "application/cloudevents"

// IsEventFormat reports whether a content type begins as those of all CloudEvents formats do, whatever follows. On a request or record it says that the body is a
// whole event, or several; so the data of an event in binary mode cannot have it.
func IsEventFormat(contentType string) bool {
	s := strings.TrimLeft(contentType, " \t")
	return len(s) >= len(eventFormats) && strings.EqualFold(s[:len(eventFormats)], eventFormats)
}

// DataContentType returns what a header may say of data whose datacontenttype is this: the same, but for a CloudEvents format, of which it keeps only
// whether it is JSON. With that type the data would be read as the event, and the event be lost.
func DataContentType(contentType string) string {
	switch {
	case !IsEventFormat(contentType):
		return contentType
	case strings.HasSuffix(mediaType(contentType), "+json"):
		return "application/json"
	default:
		return "application/octet-stream"
	}
}

func mediaType(contentType string) string {
	m, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		m, _, _ = strings.Cut(contentType, ";")
		m = strings.ToLower(strings.TrimSpace(m))
	}
	return m
}

// DecodeHTTP reads one CloudEvent from a request's header and whole body, in binary or structured mode, and validates it as
// the specification says. Attributes are percent-decoded. The event's data aliases body. A batch is an error: see [SplitBatch]. Errors quote names, no values.
func DecodeHTTP(h http.Header, body []byte) (*Event, error) {
	contentType := h.Get("Content-Type")
	switch {
	case IsStructured(contentType):
		return DecodeStructured(body)
	case IsEventFormat(contentType), h.Get("Ce-Specversion") != ce.CloudEventsVersionV1:
		return nil, HeaderError(h)
	}
	decoded := make(http.Header, len(h))
	for name, values := range h {
		if !strings.HasPrefix(name, "Ce-") {
			continue
		}
		if len(values) != 1 {
			return nil, HeaderError(h)
		}
		decoded[name] = []string{DecodeHeader(values[0])}
	}
	if contentType != "" {
		decoded["Content-Type"] = []string{contentType}
	}
	e, err := binding.ToEvent(context.Background(), cehttp.NewMessage(decoded, io.NopCloser(bytes.NewReader(nil))))
	if err != nil || e.Validate() != nil {
		return nil, HeaderError(h) // theirs quote values
	}
	if t, ok := decoded["Ce-Time"]; ok { // the SDK takes a year beyond 9999, which it then writes so that nobody reads it
		if _, err := ParseTime(t[0]); err != nil {
			return nil, HeaderError(h)
		}
	}
	if len(body) > 0 {
		e.DataEncoded = body
	}
	return e, nil
}

// HeaderError says why a header holds no CloudEvent in binary mode, without quoting a value: it goes into dead letters, where everybody reads it.
func HeaderError(h http.Header) error {
	if t := h.Get("Content-Type"); IsEventFormat(t) {
		return fmt.Errorf("the content type is a CloudEvents format, but not %s", MediaStructured)
	}
	for _, header := range slices.Sorted(maps.Keys(h)) {
		if name := strings.ToLower(header); strings.HasPrefix(name, "ce-") && len(h[header]) != 1 {
			return fmt.Errorf("the header %s stands %d times", Cut(name, 40), len(h[header]))
		}
	}
	get := func(name string) string { return DecodeHeader(h.Get(name)) }
	switch get("Ce-Specversion") {
	case ce.CloudEventsVersionV1:
	case "":
		return errors.New("no CloudEvent: neither the header ce-specversion nor the content type " + MediaStructured)
	default:
		return errors.New("the header ce-specversion must be 1.0")
	}
	for _, name := range []string{"ce-id", "ce-source", "ce-type"} {
		if get(name) == "" {
			return fmt.Errorf("the header %s is missing or empty", name)
		}
	}
	if types.ParseURIRef(get("Ce-Source")) == nil {
		return errors.New("the header ce-source must be a URI-reference")
	}
	if v := get("Ce-Time"); v != "" {
		if _, err := ParseTime(v); err != nil {
			return fmt.Errorf("the header ce-time: %w", err)
		}
	}
	if v := get("Ce-Dataschema"); v != "" {
		if u := types.ParseURI(v); u == nil || !u.IsAbs() {
			return errors.New("the header ce-dataschema must be an absolute URI")
		}
	}
	return errors.New("the headers are no CloudEvent 1.0: content-type must be a media type, time one of RFC 3339, and names of extensions letters and digits")
}

// AddFromHeader gives e, which stands for a request or record whose header is no CloudEvent in binary mode, what can be read of the header: type, subject, time, and extensions
// that are nobody's own ([Reserved]), percent-decoded, each where it stands once and is what such an attribute may be. What e has stays. It leaves out id and source, which e has of its
// own, and the types of the data, which are e's business. Extensions of more than limit bytes together, as they stand in a header, are left out.
func AddFromHeader(e *Event, h http.Header, limit int) {
	get := func(header string) string {
		if values := h[header]; len(values) == 1 {
			if value := DecodeHeader(values[0]); Cut(value, len(value)) == value {
				return value
			}
		}
		return ""
	}
	if t := get("Ce-Type"); ValidType(t) && (e.Type() == "" || e.Type() == TypeUnparsed) {
		e.SetType(t)
	}
	if subject := get("Ce-Subject"); subject != "" && e.Subject() == "" && len(subject) <= limit {
		e.SetSubject(subject)
		limit -= HeaderLen(subject)
	}
	if t, err := ParseTime(get("Ce-Time")); err == nil && e.Time().IsZero() {
		e.SetTime(t)
	}
	has := extensions(e)
	for _, header := range slices.Sorted(maps.Keys(h)) {
		name, ok := strings.CutPrefix(strings.ToLower(header), "ce-")
		if _, there := has[name]; !ok || there || !ValidExtensionName(name) || IsContext(name) || IsPosition(name) || Reserved(name) {
			continue
		}
		value := get(header)
		if value == "" || name == SchemaVersion && !ValidVersion(value) {
			continue
		}
		if limit -= len("ce-") + len(name) + HeaderLen(value); limit < 0 {
			return
		}
		e.SetExtension(name, value)
	}
}

// EncodeHTTP writes e in binary mode: attributes into h, percent-encoded, and the data as the body, which aliases e's. The content type is e's, but for [DataContentType].
func EncodeHTTP(e *Event, h http.Header) (body []byte, err error) {
	if e.Context == nil {
		return nil, errors.New("no CloudEvents context")
	}
	set := func(name, value string) {
		if value != "" {
			h["Ce-"+strings.ToUpper(name[:1])+name[1:]] = []string{EncodeHeader(value)}
		}
	}
	for _, name := range []string{"specversion", "id", "source", "type", "subject", "dataschema", "time"} {
		set(name, Attr(e, name))
	}
	for name, value := range e.Extensions() {
		s, err := types.Format(value)
		if err != nil {
			return nil, fmt.Errorf("extension %s: %w", name, err)
		}
		set(name, s)
	}
	if ct := e.DataContentType(); ct != "" {
		h.Set("Content-Type", DataContentType(ct))
	}
	return e.Data(), nil
}

// ErrTooMany says that a batch has more events than were asked for.
var ErrTooMany = errors.New("too many events in one batch")

// ErrTooManyAttributes says that an event in the JSON format has more than [MaxAttributes].
var ErrTooManyAttributes = fmt.Errorf("more than %d attributes", MaxAttributes)

// SplitBatch returns the elements of a body in the JSON batch format, at most limit, each to be read by [DecodeStructured], so that one bad
// event, even one nested too deep to be read, does not take the others with it. The error wraps [ErrTooMany], found before more is held, or says that the body is no JSON array.
func SplitBatch(body []byte, limit int) ([][]byte, error) {
	if rawjson.Kind(body) != '[' {
		return nil, errors.New("batch: no array")
	}
	var events [][]byte
	if err := rawjson.Objects(body, nil, func(i int, value []byte, _ bool) error {
		if i >= limit {
			return fmt.Errorf("%w: at most %d", ErrTooMany, limit)
		}
		events = append(events, value)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("batch: %w", err)
	}
	return events, nil
}

// DecodeStructured reads one event in the CloudEvents JSON format 1.0 and validates it. JSON data keeps its bytes and aliases body.
// Extension values are strings, integers (32 bit) or booleans. The error wraps [ErrTooManyAttributes] where that is the fault.
func DecodeStructured(body []byte) (*Event, error) { return structured(body, false) }

// DecodeStructuredAnyCase is DecodeStructured, but lower-cases the names of extension attributes in place of refusing those with capitals, which the
// specification does not allow but Debezium sends (iodebeziumtxId).
func DecodeStructuredAnyCase(body []byte) (*Event, error) { return structured(body, true) }

func structured(body []byte, lower bool) (*Event, error) {
	e, err := decodeStructured(body, lower)
	if err != nil {
		return nil, fmt.Errorf("structured CloudEvent: %w", err)
	}
	return e, nil
}

func decodeStructured(body []byte, lower bool) (*Event, error) {
	if !rawjson.Valid(body) {
		return nil, rawjson.ErrSyntax
	}
	c := &ce.EventContextV1{}
	var data, dataBase64 []byte
	var specVersion string
	seen := make(map[string]bool, 16)
	err := rawjson.Members(body, func(name string, value []byte) error {
		if seen[name] {
			return fmt.Errorf("%q stands twice", Cut(name, 40))
		}
		if len(seen) >= MaxAttributes {
			return ErrTooManyAttributes // before a body of a few bytes a member fills the memory
		}
		seen[name] = true
		if name == "data" {
			data = value
			return nil
		}
		kind := rawjson.Kind(value)
		if kind == 'n' {
			return nil // null means absent (JSON format, section 2.2)
		}
		text := func() (string, error) {
			s, ok := rawjson.Unquote(value)
			if !ok {
				return "", fmt.Errorf("%s must be a string", name)
			}
			return s, nil
		}
		var err error
		switch name {
		case "specversion":
			specVersion, err = text()
		case "id":
			c.ID, err = text()
		case "type":
			c.Type, err = text()
		case "source":
			var s string
			if s, err = text(); err == nil {
				u := types.ParseURIRef(s)
				if u == nil || s == "" {
					return errors.New("source must be a non-empty URI-reference")
				}
				c.Source = *u
			}
		case "subject":
			var s string
			s, err = text()
			c.Subject = &s
		case "datacontenttype":
			var s string
			s, err = text()
			c.DataContentType = &s
		case "dataschema":
			var s string
			if s, err = text(); err == nil {
				if c.DataSchema = types.ParseURI(s); c.DataSchema == nil {
					return errors.New("dataschema must be an absolute URI")
				}
			}
		case "time":
			var s string
			if s, err = text(); err == nil {
				t, perr := ParseTime(s)
				if perr != nil {
					return fmt.Errorf("time: %w", perr)
				}
				c.Time = &types.Timestamp{Time: t}
			}
		case "data_base64":
			var s string
			if s, err = text(); err == nil {
				if dataBase64, err = base64.StdEncoding.DecodeString(s); err != nil {
					return errors.New("data_base64 is not base64")
				}
				if dataBase64 == nil {
					dataBase64 = []byte{}
				}
			}
		default:
			if lower {
				name = strings.ToLower(name)
			}
			err = extension(c, name, kind, value)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if specVersion != ce.CloudEventsVersionV1 {
		return nil, errors.New("specversion must be the string 1.0")
	}
	e := &Event{Context: c}
	switch {
	case dataBase64 != nil && data != nil:
		return nil, errors.New("both data and data_base64")
	case dataBase64 != nil:
		e.DataEncoded, e.DataBase64 = dataBase64, true
	case data != nil:
		if e.DataEncoded, err = structuredData(c.GetDataContentType(), data); err != nil {
			return nil, err
		}
	}
	if c.DataContentType != nil {
		if m, _, err := mime.ParseMediaType(*c.DataContentType); err != nil || !strings.Contains(m, "/") {
			return nil, errors.New("datacontenttype must be a media type such as application/json")
		}
	}
	if err := e.Validate(); err != nil {
		return nil, oneLine(err)
	}
	return e, nil
}

// structuredData returns the payload that the member data stands for (JSON format, section 3.1.1): its bytes where the content is JSON, the
// string's text otherwise. Data of another type that is no string is JSON all the same, as the format allows for any value.
func structuredData(contentType string, data []byte) ([]byte, error) {
	m := mediaType(contentType)
	if contentType == "" || m == "application/json" || m == "text/json" || strings.HasSuffix(m, "+json") {
		return data, nil
	}
	if rawjson.Kind(data) != '"' {
		return data, nil
	}
	s, ok := rawjson.Unquote(data)
	if !ok {
		return nil, errors.New("data is no JSON string")
	}
	return []byte(s), nil
}

func extension(c *ce.EventContextV1, name string, kind byte, value []byte) error {
	if !ValidExtensionName(name) {
		return fmt.Errorf("extension %q: names have lower-case letters and digits only", Cut(name, 40))
	}
	if _, ok := c.Extensions[name]; ok {
		return fmt.Errorf("extension %s stands twice", name)
	}
	if c.Extensions == nil {
		c.Extensions = make(map[string]any)
	}
	switch kind {
	case '"':
		s, ok := rawjson.Unquote(value)
		if !ok {
			return fmt.Errorf("extension %s is no JSON string", name)
		}
		c.Extensions[name] = s
	case 't':
		c.Extensions[name] = value[0] == 't'
	case '0':
		n, err := strconv.ParseInt(string(value), 10, 32)
		if err != nil {
			return fmt.Errorf("extension %s: numbers are 32 bit integers", name)
		}
		c.Extensions[name] = int32(n)
	default:
		return fmt.Errorf("extension %s must be a string, an integer or a boolean", name)
	}
	return nil
}

// ParseTime reads an RFC 3339 time, strictly: "2018-04-05T17:31:00Z", with any number of digits of a second up to nine that are kept, and an
// offset of hours and minutes.
func ParseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || strings.Contains(s, ",") {
		return time.Time{}, errors.New("not an RFC 3339 time such as 2018-04-05T17:31:00Z")
	}
	if y := t.UTC().Year(); y < 0 || y > 9999 {
		return time.Time{}, errors.New("the year is not between 0000 and 9999")
	}
	return t, nil
}

// oneLine puts an error of several lines, as the SDK's validation gives it, on one line.
func oneLine(err error) error {
	if s := err.Error(); strings.Contains(s, "\n") {
		return errors.New(strings.Join(strings.Fields(s), " "))
	}
	return err
}
