package table

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"millrace/shared/event"
)

//go:embed mappings/*.yaml
var builtin embed.FS

// Builtin are the mappings that need no file, in the order in which they are tried on a header.
var Builtin = []string{"nasa", "airquality"}

// Type is how a column's text becomes a JSON value. Text that is not of its type stays a string, so that the contract explains it.
type Type string

// The types of a field.
const (
	String       Type = "string"        // as it is
	Integer      Type = "integer"       // 7, also spelled 7.0
	Number       Type = "number"        // spelled as in the file where that is a JSON number
	Boolean      Type = "boolean"       // true, false
	Timestamp    Type = "timestamp"     // by Layout; RFC 3339 in UTC where a Zone is known, else YYYY-MM-DDTHH:MM:SS
	EpochSeconds Type = "epoch_seconds" // to RFC 3339, UTC
	EpochMillis  Type = "epoch_millis"  // to RFC 3339, UTC
)

// Field is how one key of the payload is made.
type Field struct {
	// Name is the key.
	Name string `yaml:"-"`
	// Column is the column's header. Columns, in its place, are several, put together with Join.
	Column  string   `yaml:"column"`
	Columns []string `yaml:"columns"`
	Join    string   `yaml:"join"`
	// Value is a constant, in place of a column.
	Value *string `yaml:"value"`
	// Type is string where it is empty.
	Type Type `yaml:"type"`
	// Layout is a timestamp's, as Go writes it (2006-01-02 15:04:05); RFC 3339 where it is empty.
	Layout string `yaml:"layout"`
	// Zone is an IANA name for timestamps that carry none.
	Zone string `yaml:"zone"`

	location *time.Location
	at       []int // the columns' places in this file
}

// Mapping says what a table's rows are as events.
type Mapping struct {
	EventType     string `yaml:"event_type"`
	SchemaVersion string `yaml:"schema_version"`
	// Delimiter is one ASCII character; a comma where it is empty.
	Delimiter string `yaml:"delimiter"`
	// Quote is "csv" (RFC 4180, the default) or "none": then a quotation mark is a character like others.
	Quote string `yaml:"quote"`
	// Decimal is "." (the default) or ",".
	Decimal string `yaml:"decimal"`
	// Missing are texts that mean no value: such a field is null. A number is compared as one. The empty text always is.
	Missing []string `yaml:"missing"`
	// Time names the field that is the event's time: a timestamp with a zone, or an epoch. Empty: the events have none.
	Time string `yaml:"time"`
	// Columns are the payload's keys in the order of the file.
	Columns fields `yaml:"columns"`
}

// fields keeps the order in which a YAML mapping was written.
type fields []*Field

// UnmarshalYAML reads the keys in order; a key given twice is an error of the YAML library's.
func (f *fields) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: columns must map payload keys to columns", n.Line)
	}
	seen := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		name, body := n.Content[i].Value, n.Content[i+1]
		if seen[name] {
			return fmt.Errorf("line %d: %s is there twice", n.Content[i].Line, name)
		}
		seen[name] = true
		field := &Field{}
		if body.Kind == yaml.ScalarNode { // key: Header
			field.Column = body.Value
		} else {
			if err := knownKeys(body); err != nil {
				return err
			}
			if err := body.Decode(field); err != nil {
				return err
			}
		}
		field.Name = name
		*f = append(*f, field)
	}
	return nil
}

// knownKeys refuses a misspelt key, which KnownFields does not do below an UnmarshalYAML.
func knownKeys(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: a column's name or a mapping is wanted", n.Line)
	}
	for i := 0; i < len(n.Content); i += 2 {
		switch n.Content[i].Value {
		case "column", "columns", "join", "value", "type", "layout", "zone":
		default:
			return fmt.Errorf("line %d: %s is no key of a column (column, columns, join, value, type, layout, zone)", n.Content[i].Line, n.Content[i].Value)
		}
	}
	return nil
}

// LoadMapping reads a built-in mapping by its name, or a YAML file.
func LoadMapping(name string) (*Mapping, error) {
	raw, err := builtin.ReadFile("mappings/" + name + ".yaml")
	if err != nil {
		if raw, err = os.ReadFile(name); err != nil {
			return nil, fmt.Errorf("mapping %q is none of %s, and cannot be read as a file: %w", name, strings.Join(Builtin, ", "), err)
		}
	}
	m, err := ParseMapping(raw)
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", name, err)
	}
	return m, nil
}

// ParseMapping reads a mapping's YAML and checks it.
func ParseMapping(raw []byte) (*Mapping, error) {
	var m Mapping
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(&m); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is empty")
		}
		return nil, err
	}
	if m.Delimiter == "" {
		m.Delimiter = ","
	}
	if m.Quote == "" {
		m.Quote = "csv"
	}
	if m.Decimal == "" {
		m.Decimal = "."
	}
	return &m, m.check()
}

func (m *Mapping) check() error {
	var errs []error
	fail := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	fail(!event.ValidType(m.EventType), "event_type %q is not one", m.EventType)
	fail(m.SchemaVersion == "", "schema_version is missing")
	fail(len(m.Delimiter) != 1 || strings.ContainsAny(m.Delimiter, "\"\r\n") || m.Delimiter[0] >= 0x80, "delimiter must be one ASCII character")
	fail(m.Quote != "csv" && m.Quote != "none", "quote must be csv or none")
	fail(m.Decimal != "." && m.Decimal != ",", `decimal must be "." or ","`)
	fail(len(m.Columns) == 0, "columns is empty")
	var timed *Field
	for _, f := range m.Columns {
		sources := 0
		for _, is := range []bool{f.Column != "", len(f.Columns) > 0, f.Value != nil} {
			if is {
				sources++
			}
		}
		fail(sources != 1, "%s: one of column, columns and value is wanted", f.Name)
		switch f.Type {
		case "":
			f.Type = String
		case String, Integer, Number, Boolean, Timestamp, EpochSeconds, EpochMillis:
		default:
			fail(true, "%s: type %q is not known", f.Name, f.Type)
		}
		if f.Layout == "" {
			f.Layout = time.RFC3339
		}
		if f.Zone != "" {
			var err error
			f.location, err = time.LoadLocation(f.Zone)
			fail(err != nil, "%s: zone %q is not known", f.Name, f.Zone)
		}
		if f.Name == m.Time {
			timed = f
		}
	}
	fail(m.Time != "" && (timed == nil || !timed.instant()), "time: %q must name a timestamp with a zone, or an epoch", m.Time)
	return errors.Join(errs...)
}

// instant says that the field's values are points in time, not a wall clock's.
func (f *Field) instant() bool {
	switch f.Type {
	case EpochSeconds, EpochMillis:
		return true
	case Timestamp:
		return f.location != nil || strings.Contains(f.Layout, "Z07") || strings.Contains(f.Layout, "-07")
	case String, Integer, Number, Boolean:
	}
	return false
}

// bind finds the mapping's columns in a header, and says which are not there.
func (m *Mapping) bind(header []string) error {
	at := make(map[string]int, len(header))
	for i, h := range header {
		h = strings.TrimSpace(h)
		if _, twice := at[h]; twice && h != "" {
			return fmt.Errorf("column %q is there twice", h)
		}
		at[h] = i
	}
	var missing []string
	for _, f := range m.Columns {
		names := f.Columns
		if f.Column != "" {
			names = []string{f.Column}
		}
		f.at = f.at[:0]
		for _, n := range names {
			i, ok := at[n]
			if !ok {
				missing = append(missing, strconv.Quote(n))
			}
			f.at = append(f.at, i)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the header has no column %s; it has %q", strings.Join(missing, ", "), header)
	}
	return nil
}
