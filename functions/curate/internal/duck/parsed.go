package duck

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// ErrNotSelect is what Parse, References and Columns return (wrapped) where the text is no SELECT, or more than one statement.
var ErrNotSelect = errors.New("not one SELECT")

// Parsed is what DuckDB's own parser says of a query. All lists are sorted and without repeats.
type Parsed struct {
	Tables    []string // that it reads: table, schema.table or catalog.schema.table, in lower case, without those of its own WITH clauses
	Columns   []string // the names that it uses anywhere as column or field, lower case
	All       bool     // it may need every column: a star, a table's alias as a value, a natural join, renamed columns, PIVOT
	Functions []string // lower case, operators as they are written
	Tree      any      // json_serialize_sql's statement, as encoding/json has it with json.Number
}

// serialized is what json_serialize_sql returns.
type serialized struct {
	Error      bool             `json:"error"`
	Type       string           `json:"error_type"`
	Message    string           `json:"error_message"`
	Position   json.Number      `json:"position"`
	Statements []map[string]any `json:"statements"`
}

// parsed reads json_serialize_sql's answer on the query.
func parsed(query, answer string) (*Parsed, error) {
	d := json.NewDecoder(strings.NewReader(answer))
	d.UseNumber()
	var s serialized
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("reading the parser's answer: %w", err)
	}
	switch {
	case s.Error && s.Type == "not implemented":
		return nil, fmt.Errorf("%w: %s", ErrNotSelect, brief(query))
	case s.Error:
		return nil, fmt.Errorf("%s%s", s.Message, place(query, s.Position))
	case len(s.Statements) != 1:
		return nil, fmt.Errorf("%w: there are %d statements", ErrNotSelect, len(s.Statements))
	}
	w := walker{tables: map[string]bool{}, names: map[string]bool{}, columns: map[string]bool{}, functions: map[string]bool{}, whole: map[string]bool{}}
	w.walk(s.Statements[0], nil)
	if w.show {
		return nil, fmt.Errorf("%w: %s", ErrNotSelect, brief(query))
	}
	p := &Parsed{All: w.all, Tree: s.Statements[0]}
	p.Tables = slices.Sorted(maps.Keys(w.tables))
	p.Columns = slices.Sorted(maps.Keys(w.columns))
	p.Functions = slices.Sorted(maps.Keys(w.functions))
	for name := range w.whole {
		p.All = p.All || w.names[name]
	}
	return p, nil
}

// walker gathers from DuckDB's tree.
type walker struct {
	tables    map[string]bool
	names     map[string]bool // tables and aliases, which as a column are the whole row
	columns   map[string]bool
	whole     map[string]bool // columns without a qualifier
	functions map[string]bool
	all, show bool
}

// walk visits a part of the tree, where the names of scope are those of WITH clauses.
func (w *walker) walk(v any, scope map[string]bool) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			w.walk(e, scope)
		}
	case map[string]any:
		if ctes, ok := v["cte_map"].(map[string]any); ok {
			scope = w.ctes(ctes, scope)
		}
		w.visit(v, &scope)
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if k != "cte_map" {
				w.walk(v[k], scope)
			}
		}
	}
}

// ctes visits the queries of a WITH clause and returns the scope of what is behind it. Each sees those before it.
func (w *walker) ctes(m map[string]any, scope map[string]bool) map[string]bool {
	scope = maps.Clone(scope)
	if scope == nil {
		scope = map[string]bool{}
	}
	entries, _ := m["map"].([]any)
	for _, e := range entries {
		entry, _ := e.(map[string]any)
		w.walk(entry["value"], scope)
		scope[lower(entry["key"])] = true
	}
	return scope
}

func (w *walker) visit(m map[string]any, scope *map[string]bool) {
	switch m["type"] {
	case "RECURSIVE_CTE_NODE":
		s := maps.Clone(*scope)
		if s == nil {
			s = map[string]bool{}
		}
		s[lower(m["cte_name"])] = true
		*scope = s
	case "BASE_TABLE":
		catalog, schema, table := lower(m["catalog_name"]), lower(m["schema_name"]), lower(m["table_name"])
		w.names[table], w.names[lower(m["alias"])] = true, true
		if renamed, _ := m["column_name_alias"].([]any); len(renamed) > 0 {
			w.all = true
		}
		if catalog == "" && schema == "" && (*scope)[table] {
			return
		}
		w.tables[strings.TrimLeft(catalog+"."+schema+"."+table, ".")] = true
	case "SUBQUERY":
		w.names[lower(m["alias"])] = true
	case "SHOW_REF":
		w.show = true
	case "PIVOT", "STAR", "POSITIONAL_REFERENCE":
		w.all = true
	}
	if m["ref_type"] == "NATURAL" {
		w.all = true
	}
	if list, ok := m["using_columns"].([]any); ok {
		for _, c := range list {
			w.columns[lower(c)] = true
		}
	}
	if name := lower(m["function_name"]); name != "" {
		w.functions[name] = true
	}
	if m["class"] == "COLUMN_REF" {
		parts, _ := m["column_names"].([]any)
		for _, p := range parts {
			w.columns[lower(p)] = true
		}
		if len(parts) > 0 {
			w.whole[lower(parts[len(parts)-1])] = true
		}
	}
}

func lower(v any) string {
	s, _ := v.(string)
	return strings.ToLower(s)
}

// brief is the beginning of a query, for an error.
func brief(query string) string {
	text := strings.Join(strings.Fields(query), " ")
	if r := []rune(text); len(r) > 60 {
		text = string(r[:60]) + "..."
	}
	return text
}

// place says where in the query the parser's position is, which counts characters, and shows the line.
func place(query string, position json.Number) string {
	text := []rune(query)
	at, err := position.Int64()
	if err != nil || at < 0 || at > int64(len(text)) {
		return ""
	}
	before := strings.Split(string(text[:at]), "\n")
	column := utf8.RuneCountInString(before[len(before)-1])
	return fmt.Sprintf(" (line %d, column %d)\n  %s\n  %s^", len(before), column+1, strings.Split(query, "\n")[len(before)-1], strings.Repeat(" ", column))
}
