package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/warehouse"
)

// Properties of tables. PositionProperty is what package ingest writes into the source tables; the others are written here.
const (
	PositionProperty    = "millrace.position"    // of a source: JSON, up to which sequence of each landing log its rows are
	SourcesProperty     = "millrace.sources"     // of a model: JSON, by source table up to where its rows were taken, and since when days are on hold
	UpstreamProperty    = "millrace.upstream"    // of a model: JSON, the snapshot of each table that was read whole or by partition
	FingerprintProperty = "millrace.fingerprint" // of a model: of its SQL and columns
)

// Position is the sequence of the landing log, by topic id, up to which rows were taken.
type Position map[string]int64

// sourceState is what a model's table remembers of a source.
type sourceState struct {
	Position Position            `json:"position"`
	Held     map[string]Position `json:"held,omitempty"` // by day on hold (YYYY-MM-DD or null), up to where its rows had been taken when the hold began
}

func property[T any](t *warehouse.Table, name string) (v T, ok bool, err error) {
	text := t.Properties()[name]
	if text == "" {
		return v, false, nil
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return v, false, fmt.Errorf("property %s of %s: %w", name, t.Name, err)
	}
	return v, true, nil
}

// SourceOf returns the table of events that the rows of a merged model's table were taken from, as its checkpoint says; false where it is another kind of table.
func SourceOf(t *warehouse.Table) (source warehouse.Name, ok bool, err error) {
	sources, ok, err := property[map[string]sourceState](t, SourcesProperty)
	if err != nil || !ok {
		return source, false, err
	}
	for name := range sources {
		namespace, table, _ := strings.Cut(name, ".")
		return warehouse.Name{Namespace: namespace, Table: table}, len(sources) == 1, nil
	}
	return source, false, nil
}

func asJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// beyond says whether p has rows that old has not.
func (p Position) beyond(old Position) bool {
	for id, n := range p {
		if n > old[id] {
			return true
		}
	}
	return false
}

func (p Position) ids() []string { return slices.Sorted(maps.Keys(p)) }

// between is a condition, in the common language, on rows of the landing log behind from, up to to.
func between(from, to Position) string {
	var parts []string
	for _, id := range to.ids() {
		if to[id] <= from[id] {
			continue
		}
		s := "landing_log = '" + strings.ReplaceAll(id, "'", "''") + "' and landing_sequence <= " + strconv.FormatInt(to[id], 10)
		if from[id] > 0 {
			s += " and landing_sequence > " + strconv.FormatInt(from[id], 10)
		}
		parts = append(parts, "("+s+")")
	}
	return orFalse(parts)
}

func orFalse(parts []string) string {
	if len(parts) == 0 {
		return "false"
	}
	return "(" + strings.Join(parts, " or ") + ")"
}

// betweenFiles is the same for leaving files out.
func betweenFiles(from, to Position) iceberg.BooleanExpression {
	var out iceberg.BooleanExpression = iceberg.AlwaysFalse{}
	for _, id := range to.ids() {
		if to[id] <= from[id] {
			continue
		}
		e := iceberg.NewAnd(iceberg.EqualTo(iceberg.Reference("landing_log"), id), iceberg.LessThanEqual(iceberg.Reference("landing_sequence"), to[id]))
		if from[id] > 0 {
			e = iceberg.NewAnd(e, iceberg.GreaterThan(iceberg.Reference("landing_sequence"), from[id]))
		}
		out = iceberg.NewOr(out, e)
	}
	return out
}

// part is rows of one day, or of all days but some, between two positions.
type part struct {
	day      string   // "" for all but except
	except   []string // sorted
	from, to Position
}

const arrivalDate = "arrival_date"

// noDay is the day of rows without an arrival_date, as package quality names it.
const noDay = "null"

// where is the condition of the parts, in the common language.
func where(parts []part) string {
	var out []string
	for _, p := range parts {
		s := between(p.from, p.to)
		switch {
		case p.day == noDay:
			s = "(" + arrivalDate + " is null and " + s + ")"
		case p.day != "":
			s = "(" + arrivalDate + " = date '" + p.day + "' and " + s + ")"
		case len(p.except) > 0:
			others := arrivalDate + " is not null"
			if dates := slices.DeleteFunc(slices.Clone(p.except), func(d string) bool { return d == noDay }); len(dates) > 0 {
				others = arrivalDate + " not in (date '" + strings.Join(dates, "', date '") + "')" // which is not true of null
			}
			if !slices.Contains(p.except, noDay) {
				others = "(" + arrivalDate + " is null or " + others + ")"
			}
			s = "(" + s + " and " + others + ")"
		}
		out = append(out, s)
	}
	return orFalse(out)
}

// files is the same for leaving files out.
func files(parts []part) (iceberg.BooleanExpression, error) {
	var out iceberg.BooleanExpression = iceberg.AlwaysFalse{}
	for _, p := range parts {
		e := betweenFiles(p.from, p.to)
		if p.day == noDay {
			e = iceberg.NewAnd(e, iceberg.IsNull(iceberg.Reference(arrivalDate)))
		} else if p.day != "" {
			d, err := parseDay(p.day)
			if err != nil {
				return nil, err
			}
			e = iceberg.NewAnd(e, iceberg.EqualTo(iceberg.Reference(arrivalDate), d))
		}
		for _, x := range p.except {
			if x == noDay {
				e = iceberg.NewAnd(e, iceberg.NotNull(iceberg.Reference(arrivalDate)))
				continue
			}
			d, err := parseDay(x)
			if err != nil {
				return nil, err
			}
			e = iceberg.NewAnd(e, iceberg.NotEqualTo(iceberg.Reference(arrivalDate), d))
		}
		out = iceberg.NewOr(out, e)
	}
	return out, nil
}
