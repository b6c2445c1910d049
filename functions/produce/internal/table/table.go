// Package table turns the rows of CSV, TSV and like files into events, by a mapping from columns to a payload.
//
// A row that can be split into the header's columns is always an event: where a number does not parse, the text itself is sent, so
// that the contract can say what is wrong with it. A row that cannot be split (another number of columns, bad quoting, a row over
// 1 MiB) is a record.RowError with its line; reading goes on with the next line, so one open quotation mark does not swallow the
// file. Blank lines are no rows. Memory is bounded by one row. The first line must be a header.
package table

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"millrace/functions/produce/internal/record"
	"millrace/shared/rawjson"
)

// maxRow is the longest row taken, in bytes; collect takes no event of this size anyway.
const maxRow = 1 << 20

// Reader reads one table.
type Reader struct {
	name    string
	id      record.Identity
	mapping *Mapping
	split   *splitter
	width   int
	row     int64
	payload []byte
}

// Open reads the header of a table. With a nil mapping, the first built-in one whose columns the header has is taken. name is for errors.
func Open(r io.Reader, m *Mapping, name string, id record.Identity) (*Reader, error) {
	t, err := open(r, m, name, id)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

func open(r io.Reader, m *Mapping, name string, id record.Identity) (*Reader, error) {
	in := bufio.NewReaderSize(r, maxRow+4096)
	if bom, err := in.Peek(3); err == nil && string(bom) == "\xef\xbb\xbf" {
		if _, err := in.Discard(3); err != nil {
			return nil, err
		}
	}
	candidates := []*Mapping{m}
	if m == nil {
		candidates = nil
		for _, b := range Builtin {
			c, err := LoadMapping(b)
			if err != nil {
				return nil, err
			}
			candidates = append(candidates, c)
		}
	}
	// The header is looked at, not taken, until a mapping fits: what splits it is the mapping's.
	peek, err := in.Peek(64 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	line, _, ok := bytes.Cut(peek, []byte("\n"))
	if !ok && err == nil {
		return nil, errors.New("is no table: its first line is longer than 64 KiB")
	}
	var refused error
	for _, c := range candidates {
		header, _, err := splitRow(append(bytes.Clone(line), '\n'), c.Delimiter[0], c.Quote == "csv", true)
		if err != nil {
			refused = fmt.Errorf("the header cannot be split: %w", err)
			continue
		}
		if refused = c.bind(header); refused == nil {
			s := &splitter{in: in, delimiter: c.Delimiter[0], quoted: c.Quote == "csv", line: 1}
			if _, _, err := s.next(); err != nil {
				return nil, fmt.Errorf("read the header: %w", err)
			}
			return &Reader{name: name, id: id, mapping: c, split: s, width: len(header)}, nil
		}
	}
	if m == nil {
		return nil, fmt.Errorf("its header fits no built-in mapping (%s): name one with --mapping. It begins with %q",
			strings.Join(Builtin, ", "), strings.ToValidUTF8(string(line[:min(len(line), 120)]), "?"))
	}
	return nil, fmt.Errorf("does not fit the mapping for %s: %w", m.EventType, refused)
}

// EventType returns the type of the events.
func (t *Reader) EventType() string { return t.mapping.EventType }

// Skip passes over the next n rows.
func (t *Reader) Skip(ctx context.Context, n int64) error {
	for ; n > 0; n-- {
		if _, err := t.fields(ctx); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil && !isRowError(err) {
			return err
		}
	}
	return nil
}

func isRowError(err error) bool {
	var e *record.RowError
	return errors.As(err, &e)
}

// Next implements record.Reader.
func (t *Reader) Next(ctx context.Context) (record.Record, error) {
	fields, err := t.fields(ctx)
	if err != nil {
		return record.Record{}, err
	}
	b, at := t.payload[:0], time.Time{}
	b = append(b, '{')
	for i, f := range t.mapping.Columns {
		if i > 0 {
			b = append(b, ',')
		}
		b = rawjson.AppendString(b, f.Name)
		b = append(b, ':')
		var when time.Time
		b, when = t.mapping.appendValue(b, f, f.text(fields))
		if f.Name == t.mapping.Time {
			at = when
		}
	}
	b = append(b, '}')
	t.payload = b
	id := t.id.ID(t.row)
	return record.Record{
		Row: t.row, ID: id,
		Body: record.AppendEvent(make([]byte, 0, len(t.payload)+256), t.mapping.EventType, t.mapping.SchemaVersion, id, t.id.Source, at, t.payload),
	}, nil
}

// fields returns the next row's fields.
func (t *Reader) fields(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fields, line, err := t.split.next()
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	var shape *shapeError
	switch {
	case err == nil && len(fields) != t.width:
		err = &shapeError{fmt.Sprintf("the row has %d columns, the header %d", len(fields), t.width)}
	case err != nil && !errors.As(err, &shape):
		return nil, fmt.Errorf("%s:%d: %w", t.name, line, err)
	}
	t.row++
	if err != nil {
		return nil, &record.RowError{File: t.name, Line: line, Row: t.row, Reason: err.Error()}
	}
	return fields, nil
}

func (f *Field) text(fields []string) string {
	switch {
	case f.Value != nil:
		return *f.Value
	case len(f.at) == 1:
		return fields[f.at[0]]
	}
	parts := make([]string, len(f.at))
	for i, at := range f.at {
		parts[i] = fields[at]
	}
	return strings.Join(parts, f.Join)
}

// appendValue appends a field's JSON value, and returns the instant that it is, or the zero time.
func (m *Mapping) appendValue(b []byte, f *Field, s string) ([]byte, time.Time) {
	raw := s
	if f.Type != String {
		s = strings.TrimSpace(s)
	}
	numeric := s
	if m.Decimal == "," {
		numeric = strings.Replace(s, ",", ".", 1)
	}
	if f.Value == nil && m.isMissing(s, numeric, f.Type) {
		return append(b, "null"...), time.Time{}
	}
	switch f.Type {
	case Integer:
		if n, ok := wholeNumber(numeric); ok {
			return append(b, n...), time.Time{}
		}
	case Number:
		if out, ok := appendNumber(b, numeric); ok {
			return out, time.Time{}
		}
	case Boolean:
		if v := strings.ToLower(s); v == "true" || v == "false" {
			return append(b, v...), time.Time{}
		}
	case EpochSeconds, EpochMillis:
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			at := time.UnixMilli(n).UTC()
			if f.Type == EpochSeconds {
				at = time.Unix(n, 0).UTC()
			}
			if at.Year() >= 0 && at.Year() <= 9999 {
				return appendTime(b, at, time.RFC3339Nano), at
			}
		}
	case Timestamp:
		zone := f.location
		if zone == nil {
			zone = time.UTC
		}
		if at, err := time.ParseInLocation(f.Layout, s, zone); err == nil && at.Year() >= 0 && at.Year() <= 9999 {
			if f.instant() {
				return appendTime(b, at.UTC(), time.RFC3339Nano), at
			}
			return appendTime(b, at, "2006-01-02T15:04:05.999999999"), time.Time{}
		}
	case String:
	}
	return rawjson.AppendString(b, raw), time.Time{}
}

func appendTime(b []byte, at time.Time, layout string) []byte {
	b = append(b, '"')
	b = at.AppendFormat(b, layout)
	return append(b, '"')
}

// isMissing says that a text stands for no value.
func (m *Mapping) isMissing(s, numeric string, t Type) bool {
	if s == "" {
		return true
	}
	for _, missing := range m.Missing {
		if s == missing {
			return true
		}
		if t == Number || t == Integer {
			a, ok1 := number(numeric)
			b, ok2 := number(missing)
			if ok1 && ok2 && a == b {
				return true
			}
		}
	}
	return false
}

// number reads a decimal number. ParseFloat alone would also take words, hexadecimal and underscores.
func number(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// wholeNumber returns s as JSON writes an integer, where it is one; 7.0 and 07 are 7.
func wholeNumber(s string) (string, bool) {
	if _, ok := number(s); !ok || strings.ContainsAny(s, "eE") {
		return "", false
	}
	whole, fraction, _ := strings.Cut(s, ".")
	negative := strings.HasPrefix(whole, "-")
	whole = strings.TrimLeft(strings.TrimLeft(whole, "+-"), "0")
	if strings.Trim(fraction, "0") != "" {
		return "", false
	}
	if whole == "" {
		return "0", true
	}
	if negative {
		whole = "-" + whole
	}
	return whole, true
}

// appendNumber appends s as it is where JSON would write it so, else the same number without an exponent.
func appendNumber(b []byte, s string) ([]byte, bool) {
	f, ok := number(s)
	if !ok {
		return b, false
	}
	digits := strings.TrimPrefix(s, "-")
	whole, fraction, dotted := strings.Cut(digits, ".")
	plain := strings.Trim(whole+fraction, "0123456789") == "" && whole != "" && (whole == "0" || whole[0] != '0') && (!dotted || fraction != "")
	if plain {
		return append(b, s...), true
	}
	return record.AppendFloat(b, f, 64), true
}

// shapeError is a row that cannot be split.
type shapeError struct{ reason string }

func (e *shapeError) Error() string { return e.reason }

// splitter cuts a file into rows.
type splitter struct {
	in        *bufio.Reader
	delimiter byte
	quoted    bool
	line      int64 // of the next byte
}

// next returns the next row that is not blank and the line it starts on. After a *shapeError the next line is next.
func (s *splitter) next() ([]string, int64, error) {
	for want := 4096; ; {
		have := max(want, s.in.Buffered())
		data, err := s.in.Peek(min(have, maxRow))
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return nil, s.line, err
		}
		if len(data) == 0 {
			return nil, s.line, io.EOF
		}
		fields, n, err := splitRow(data, s.delimiter, s.quoted, end)
		start := s.line
		if errors.Is(err, errMore) {
			if len(data) < maxRow && !end {
				want = min(2*len(data)+1, maxRow)
				continue
			}
			reason := "a quotation mark is not closed within 1 MiB"
			if end {
				reason = "a quotation mark is not closed before the end of the file"
			}
			if i := bytes.IndexByte(data, '\n'); i < 0 {
				reason = "the row is longer than 1 MiB"
			}
			return nil, start, errors.Join(&shapeError{reason}, s.dropLine())
		}
		if err != nil {
			if derr := s.dropLine(); derr != nil {
				return nil, start, derr
			}
			return nil, start, err
		}
		s.line += int64(bytes.Count(data[:n], []byte("\n")))
		if _, err := s.in.Discard(n); err != nil {
			return nil, start, err
		}
		if len(fields) == 1 && fields[0] == "" {
			want = 4096
			continue
		}
		return fields, start, nil
	}
}

// dropLine passes over the rest of the line.
func (s *splitter) dropLine() error {
	for {
		_, err := s.in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == nil, errors.Is(err, io.EOF):
			s.line++
			return nil
		default:
			return err
		}
	}
}

// errMore says that the row does not end within the data.
var errMore = errors.New("the row is not complete")

// splitRow cuts the row at the start of data into its fields, and returns how many bytes it has with its line break. end says that the file ends
// with data.
func splitRow(data []byte, delimiter byte, quoted, end bool) ([]string, int, error) {
	var fields []string
	for i := 0; ; {
		if quoted && i < len(data) && data[i] == '"' {
			text, n, err := quotedField(data[i:], end)
			if err != nil {
				return nil, 0, err
			}
			fields = append(fields, text)
			i += n
			rest := data[i:]
			switch {
			case len(rest) == 0 && end:
				return fields, i, nil
			case len(rest) == 0, len(rest) == 1 && rest[0] == '\r' && !end:
				return nil, 0, errMore
			case rest[0] == delimiter:
				i++
				continue
			case rest[0] == '\n':
				return fields, i + 1, nil
			case rest[0] == '\r' && (len(rest) == 1 || rest[1] == '\n'):
				return fields, i + min(2, len(rest)), nil
			}
			return nil, 0, &shapeError{"there is text after a closing quotation mark"}
		}
		j := bytes.IndexAny(data[i:], string([]byte{delimiter, '\n'}))
		if j < 0 {
			if !end {
				return nil, 0, errMore
			}
			j = len(data) - i
		}
		text := data[i : i+j]
		last := i+j == len(data) || data[i+j] == '\n'
		if last {
			text = bytes.TrimSuffix(text, []byte("\r"))
		}
		if quoted && bytes.IndexByte(text, '"') >= 0 {
			return nil, 0, &shapeError{"there is a quotation mark inside a field that is not quoted"}
		}
		fields = append(fields, string(text))
		i += j
		if last {
			return fields, min(i+1, len(data)), nil
		}
		i++
	}
}

// quotedField reads a field that begins with a quotation mark (RFC 4180, section 2, rules 5 to 7).
func quotedField(data []byte, end bool) (string, int, error) {
	var b strings.Builder
	for i := 1; ; {
		j := bytes.IndexByte(data[i:], '"')
		if j < 0 {
			return "", 0, errMore
		}
		b.Write(data[i : i+j])
		i += j + 1
		switch {
		case i < len(data) && data[i] == '"':
			b.WriteByte('"')
			i++
		case i == len(data) && !end:
			return "", 0, errMore // the next byte may double it
		default:
			return b.String(), i, nil
		}
	}
}
