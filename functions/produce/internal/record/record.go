// Package record holds what a data set is turned into: one event in the JSON form that collect takes, together with the
// row it came from and its identity.
//
// A record's bytes are a pure function of the data set and the row, so that a second run over the same file sends the
// same ids with the same payloads. The package sends nothing and reads nothing.
package record

import (
	"context"
	"math"
	"net/url"
	"strconv"
	"time"

	"millrace/shared/rawjson"
)

// Record is one event, ready to be sent.
type Record struct {
	// Row is the row of the data set, counted from 1. Header lines and blank lines are not rows.
	Row int64
	// ID is the event's id, or empty where the event names none (which only the generator's bad events do).
	ID string
	// Body is the event in collect's JSON form: one object, without a line break. Owned by the record.
	Body []byte
	// Alone says that Body must not share a request with other events, because it is not JSON and would make the whole
	// request unreadable.
	Alone bool
}

// Reader gives a data set's records in the order of their rows.
type Reader interface {
	// Next returns the next record, or io.EOF after the last. An error of type *RowError concerns one row, and Next may be
	// called again; any other error ends the data set. Not for concurrent use.
	Next(ctx context.Context) (Record, error)
}

// RowError says that one row could not be made an event. The rows after it can.
type RowError struct {
	// File names the data set.
	File string
	// Line is where in the file the row starts, counted from 1.
	Line int64
	// Row is the row's number, counted from 1.
	Row int64
	// Reason says what is wrong, without quoting the row.
	Reason string
}

// Error names file, line and reason.
func (e *RowError) Error() string {
	return e.File + ":" + strconv.FormatInt(e.Line, 10) + ": " + e.Reason
}

// Identity gives each row of a data set its id, and all of them a source.
type Identity struct {
	// Source is a URI-reference (CloudEvents 1.0, section "source").
	Source string
	// Prefix is what all ids start with: it stands for the content.
	Prefix string
}

// SourceOf returns the source of a data set's events: /produce/<file name>, percent-encoded as a path segment (RFC 3986,
// section 3.3).
func SourceOf(name string) string { return "/produce/" + url.PathEscape(name) }

// ID returns the id of a row's event.
func (i Identity) ID(row int64) string { return i.Prefix + "-" + strconv.FormatInt(row, 10) }

// AppendEvent appends an event in collect's JSON form. payload must be valid JSON. A zero time, or one that RFC 3339
// cannot write, is left out: the producer then has no time to tell.
func AppendEvent(b []byte, eventType, schemaVersion, id, source string, at time.Time, payload []byte) []byte {
	b = append(b, `{"event_type":`...)
	b = rawjson.AppendString(b, eventType)
	b = append(b, `,"schema_version":`...)
	b = rawjson.AppendString(b, schemaVersion)
	b = append(b, `,"id":`...)
	b = rawjson.AppendString(b, id)
	b = append(b, `,"source":`...)
	b = rawjson.AppendString(b, source)
	if at = at.UTC(); !at.IsZero() && at.Year() >= 0 && at.Year() <= 9999 {
		b = append(b, `,"time":"`...)
		b = at.AppendFormat(b, time.RFC3339Nano)
		b = append(b, '"')
	}
	b = append(b, `,"payload":`...)
	b = append(b, payload...)
	return append(b, '}')
}

// AppendFloat appends f as a JSON number without an exponent, in the fewest digits that read back as f at the given size
// (32 or 64 bits). NaN, which several writers use for a missing value, becomes null; an infinity, which JSON has no number for,
// becomes a string, so that the contract explains it.
func AppendFloat(b []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "null"...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	}
	return strconv.AppendFloat(b, f, 'f', -1, bits)
}
