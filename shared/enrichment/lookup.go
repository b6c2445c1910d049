package enrichment

import (
	"bytes"
	"embed"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/rawjson"
)

// reference holds the tables that lookup steps name: the file's name without .csv is the table's.
//
// taxi_zones.csv are the 265 taxi zones of the New York City Taxi & Limousine Commission, as published with its trip records
// (https://www.nyc.gov/site/tlc/about/tlc-trip-record-data.page, taxi_zone_lookup.csv); only its line ends were changed.
//
//go:embed reference/*.csv
var reference embed.FS

// Tables are reference tables by the name that lookup steps call them.
type Tables map[string]*Table

// Table is reference data: rows of text under named columns.
type Table struct {
	columns []string
	rows    [][]string
}

// Reference returns the tables that ship with Millrace.
func Reference() (Tables, error) { return ReadTables(reference, "reference") }

// ReadTables reads every *.csv in the folder dir of fsys, whose first line names the columns. Every line must have as many fields as that.
func ReadTables(fsys fs.FS, dir string) (Tables, error) {
	files, err := fs.Glob(fsys, path.Join(dir, "*.csv"))
	if err != nil {
		return nil, fmt.Errorf("list reference tables: %w", err)
	}
	tables := make(Tables, len(files))
	for _, name := range files {
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read reference table: %w", err)
		}
		rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
		if err == nil && len(rows) == 0 {
			err = errors.New("no header line")
		}
		if err != nil {
			return nil, fmt.Errorf("read reference table %s: %w", name, err)
		}
		tables[strings.TrimSuffix(path.Base(name), ".csv")] = &Table{columns: rows[0], rows: rows[1:]}
	}
	return tables, nil
}

// plan is a contract with its steps bound to tables.
type plan struct {
	contract *contract.Contract
	lookups  []lookup
}

// lookup is a lookup step, bound: for each key the members that it adds, as JSON text.
type lookup struct {
	name, table, key string
	integer          bool              // the key is an integer: 7, 7.0 and 7e0 are one
	found            map[string][]byte // by the key's text
	missing          []byte            // the same members, null; nil where a missing key is a failure
}

// bind makes the plan of a contract. Whatever a step could find wrong with a table later, it finds now: absent tables, columns and
// values that are not of their field's type.
func bind(c *contract.Contract, tables Tables) (*plan, error) {
	p := &plan{contract: c}
	var errs []error
	for _, step := range c.Steps {
		l, err := bindLookup(c, step, tables)
		if err != nil {
			errs = append(errs, fmt.Errorf("step %s of %s: %w", step.Name, c.URI, err))
			continue
		}
		p.lookups = append(p.lookups, l)
	}
	return p, errors.Join(errs...)
}

func bindLookup(c *contract.Contract, step contract.Step, tables Tables) (lookup, error) {
	s := step.Lookup
	if s == nil {
		return lookup{}, errors.New("only lookups are known")
	}
	l := lookup{name: step.Name, table: s.Table, key: s.Key, found: make(map[string][]byte)}
	t := tables[s.Table]
	if t == nil {
		return l, fmt.Errorf("no reference table %q", s.Table)
	}
	key := c.Field(s.Key)
	if key == nil {
		return l, fmt.Errorf("no field %s", s.Key)
	}
	l.integer = key.Type == contract.Integer
	column := func(name string) (int, error) {
		i := slices.Index(t.columns, name)
		if i < 0 {
			return 0, fmt.Errorf("table %s has no column %q", s.Table, name)
		}
		return i, nil
	}
	keyColumn, err := column(s.Column)
	if err != nil {
		return l, err
	}
	fields := make([]*contract.Field, len(s.Fields))
	columns := make([]int, len(s.Fields))
	for i, f := range s.Fields {
		if columns[i], err = column(f.Column); err != nil {
			return l, err
		}
		k := slices.IndexFunc(c.Enrichment, func(e contract.Field) bool { return e.Name == f.Field })
		if k < 0 {
			return l, fmt.Errorf("no field %q in the enrichment", f.Field)
		}
		fields[i] = &c.Enrichment[k]
	}
	for n, row := range t.rows {
		id := row[keyColumn]
		if l.integer {
			v, err := strconv.ParseInt(id, 10, 64)
			if err != nil {
				return l, fmt.Errorf("table %s, row %d: key is no integer", s.Table, n+1)
			}
			id = strconv.FormatInt(v, 10)
		}
		if _, twice := l.found[id]; twice {
			return l, fmt.Errorf("table %s, row %d: a key for the second time", s.Table, n+1)
		}
		members, err := members(fields, func(i int) string { return row[columns[i]] })
		if err != nil {
			return l, fmt.Errorf("table %s, row %d: %w", s.Table, n+1, err)
		}
		l.found[id] = members
	}
	if s.OnMissing == contract.MissingNull {
		l.missing, err = members(fields, nil)
	}
	return l, err
}

// members is the JSON text of an object's members, without braces; without value, of nulls.
func members(fields []*contract.Field, value func(i int) string) ([]byte, error) {
	var b []byte
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(rawjson.AppendString(b, f.Name), ':')
		if value == nil {
			b = append(b, "null"...)
			continue
		}
		text := value(i)
		switch f.Type {
		case contract.String:
			b = rawjson.AppendString(b, text)
			continue
		case contract.Integer:
			if _, ok := contract.ParseInteger([]byte(text)); ok {
				b = append(b, text...)
				continue
			}
		case contract.Number:
			if _, ok := contract.ParseNumber([]byte(text)); ok {
				b = append(b, text...)
				continue
			}
		case contract.Boolean:
			if text == "true" || text == "false" {
				b = append(b, text...)
				continue
			}
		case contract.Any, contract.Decimal, contract.Date, contract.Timestamp, contract.Time, contract.Object, contract.Array:
		}
		return nil, fmt.Errorf("the value for %s is no %s", f.Name, f.Type)
	}
	return b, nil
}

// get returns the members for a key as it stands in the payload, nil for an absent one. note says why they are null.
func (l *lookup) get(raw []byte) (members []byte, note string, err error) {
	var text string
	reason := "there is no value at " + l.key
	if kind := rawjson.Kind(raw); kind != 0 && kind != 'n' {
		ok := false
		if l.integer {
			var n int64
			if n, ok = contract.ParseInteger(raw); ok {
				var digits [20]byte
				members, ok = l.found[string(strconv.AppendInt(digits[:0], n, 10))]
			}
		} else if text, ok = rawjson.Unquote(raw); ok {
			members, ok = l.found[text]
		}
		if ok {
			return members, "", nil
		}
		reason = "table " + l.table + " has no row for the value at " + l.key
	}
	if l.missing == nil {
		return nil, "", fmt.Errorf("step %s: %s", l.name, reason)
	}
	return l.missing, l.name + ": " + reason, nil
}

// enrichment runs the plan's steps over their keys. It is a pure function of them: the same event enriched again has the same bytes.
func (p *plan) enrichment(keys [][]byte) (data []byte, notes int, err error) {
	var told []string
	b := append(make([]byte, 0, 512), '{')
	add := func() {
		if len(b) > 1 {
			b = append(b, ',')
		}
	}
	for i := range p.lookups {
		members, note, err := p.lookups[i].get(keys[i])
		if err != nil {
			return nil, 0, err
		}
		add()
		b = append(b, members...)
		if note != "" {
			told = append(told, note)
		}
	}
	if len(told) > 0 {
		add()
		b = append(rawjson.AppendString(b, contract.Notes), ':')
		text, err := json.Marshal(told)
		if err != nil {
			return nil, 0, fmt.Errorf("notes: %w", err)
		}
		b = append(b, text...)
	}
	if b = append(b, '}'); len(b) > event.MaxEnrichment {
		return nil, 0, fmt.Errorf("the enrichment has %d bytes; at most %d are allowed", len(b), event.MaxEnrichment)
	}
	return b, len(told), nil
}
