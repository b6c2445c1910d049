package model

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Set is models that fit together: every name one of them reads is there, and none needs itself.
type Set struct {
	models []*Model // every model behind those it reads, else by name
	byName map[string]*Model
}

// Load reads every *.sql of the file systems; a model of a later one replaces one of the same name. A file that is no model, a name that is not there and a
// circle are problems: the error is a ProblemsError with all of them.
func Load(fsys ...fs.FS) (*Set, error) {
	s := &Set{byName: map[string]*Model{}}
	var problems ProblemsError
	for _, f := range fsys {
		here := map[string]string{}
		err := fs.WalkDir(f, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path.Ext(name) != ".sql" {
				return err
			}
			text, err := fs.ReadFile(f, name)
			if err != nil {
				return err
			}
			m, bad := parse(name, text)
			if len(bad) > 0 {
				problems = append(problems, bad...)
			}
			if m == nil || m.Name == "" {
				return nil
			}
			if other, ok := here[m.Name]; ok {
				problems = append(problems, Problem{name, m.at("name"), m.Name, fmt.Sprintf("model %s is in %s too", m.Name, other)})
			}
			here[m.Name] = name
			s.byName[m.Name] = m
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading models: %w", err)
		}
	}
	if len(problems) == 0 {
		problems = s.resolve()
	}
	if len(problems) > 0 {
		slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Or(cmp.Compare(a.File, b.File), a.Line-b.Line) })
		return nil, problems
	}
	return s, nil
}

// Models returns all models, each behind those it reads.
func (s *Set) Models() []*Model { return slices.Clone(s.models) }

// Model returns the model of a name, nil where there is none.
func (s *Set) Model(name string) *Model { return s.byName[name] }

// Sources returns the events.* and ops.* tables that models read, sorted.
func (s *Set) Sources() []string {
	var out []string
	for _, m := range s.models {
		out = append(out, m.Tables...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (s *Set) names() []string {
	out := make([]string, 0, len(s.byName))
	for n := range s.byName {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// resolve finds what each model reads, and their order.
func (s *Set) resolve() (problems ProblemsError) {
	add := func(m *Model, line int, format string, args ...any) {
		problems = append(problems, Problem{m.File, line, m.Name, fmt.Sprintf(format, args...)})
	}
	for _, name := range s.names() {
		m := s.byName[name]
		var tables []reference
		for _, r := range m.refs {
			line := m.line + r.line - 1
			switch {
			case r.catalog != "" || r.schema != "" && r.schema != "events" && r.schema != "ops" && r.schema != "star":
				add(m, line, "%s: a model reads events.*, ops.* and, by their bare names, other models", r)
			case r.schema == "star":
				add(m, line, "%s: a model is named without its schema: %s", r, r.table)
			case r.schema != "":
				if !columnForm.MatchString(r.table) {
					add(m, line, "%s: a table's name is of a-z, 0-9 and _", r)
					continue
				}
				tables = append(tables, r)
				m.Tables = append(m.Tables, r.String())
			case s.byName[r.table] == nil:
				add(m, line, "%s is neither a model nor one of the query's own names%s", r.table, s.near(r.table))
			default:
				m.Models = append(m.Models, r.table)
			}
			if slices.Contains(m.own, r.table) {
				add(m, line, "%s is read, and the name of a WITH clause too: the engines disagree about which is meant", r.table)
			}
		}
		slices.Sort(m.Tables)
		slices.Sort(m.Models)
		m.Models = slices.Compact(m.Models)
		m.body = unqualified(m.SQL, m.toks, tables)
		problems = append(problems, s.resolveTests(m)...)
	}
	if len(problems) > 0 {
		return problems
	}
	if problems = s.sort(); len(problems) > 0 {
		return problems
	}
	for _, m := range s.models {
		problems = append(problems, s.shape(m)...)
	}
	return problems
}

func (s *Set) near(name string) string {
	for _, n := range s.names() {
		if strings.TrimPrefix(strings.TrimPrefix(n, "stg_"), "dim_") == name || strings.HasPrefix(n, name) || strings.HasPrefix(name, n) {
			return " (there is " + n + ")"
		}
	}
	return ""
}

func (s *Set) resolveTests(m *Model) (problems ProblemsError) {
	add := func(line int, format string, args ...any) {
		problems = append(problems, Problem{m.File, line, m.Name, fmt.Sprintf(format, args...)})
	}
	for i := range m.Tests {
		t := &m.Tests[i]
		switch t.Kind {
		case Relationships:
			to := s.byName[t.To]
			switch {
			case to == nil || to.Materialized == Ephemeral:
				add(t.line, "test %s: %s is no model with a table", t.Name, t.To)
			case to.typeOf(t.Field) == "":
				add(t.line, "test %s: model %s has no column %s", t.Name, t.To, t.Field)
			}
			t.refs = []string{t.To}
		case SQLTest:
			ts, err := tokens(t.SQL)
			var le *lexError
			if errors.As(err, &le) {
				add(t.line, "test %s: %s", t.Name, le.msg)
				continue
			}
			refs, _ := references(ts)
			for _, r := range refs {
				switch other := s.byName[r.table]; {
				case r.schema != "" || other == nil:
					add(t.line, "test %s: %s is no model; a test reads models by their bare names", t.Name, r)
				case other == m:
				case other.Materialized == Ephemeral:
					add(t.line, "test %s: model %s is ephemeral, a test reads tables", t.Name, r)
				default:
					t.refs = append(t.refs, r.table)
				}
			}
			t.body = t.SQL
		case NotNull, Unique, AcceptedValues:
		}
	}
	return problems
}

// needs are the models that have to be up to date before m is: those it reads and those that its tests read.
func (s *Set) needs(m *Model) []string {
	out := slices.Clone(m.Models)
	for _, t := range m.Tests {
		for _, r := range t.refs {
			if r != m.Name {
				out = append(out, r)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (s *Set) sort() (problems ProblemsError) {
	const (
		fresh = iota
		open
		done
	)
	state := map[string]int{}
	var trail []string
	var visit func(name string)
	visit = func(name string) {
		m := s.byName[name]
		switch state[name] {
		case done:
			return
		case open:
			circle := append(slices.Clone(trail[slices.Index(trail, name):]), name)
			files := make([]string, len(circle))
			for i, n := range circle {
				files[i] = n + " (" + s.byName[n].File + ")"
			}
			problems = append(problems, Problem{m.File, m.line, name, "models in a circle: " + strings.Join(files, " reads ")})
			return
		}
		state[name] = open
		trail = append(trail, name)
		for _, n := range s.needs(m) {
			visit(n)
		}
		trail = trail[:len(trail)-1]
		state[name] = done
		s.models = append(s.models, m)
	}
	for _, n := range s.names() {
		visit(n)
	}
	return problems
}

// ephemeral returns the ephemeral models that m reads, directly or through others of them, each behind those it reads itself.
func (s *Set) ephemeral(m *Model) []*Model {
	var out []*Model
	var visit func(m *Model)
	visit = func(m *Model) {
		for _, n := range m.Models {
			if e := s.byName[n]; e.Materialized == Ephemeral && !slices.Contains(out, e) {
				visit(e)
				out = append(out, e)
			}
		}
	}
	visit(m)
	return out
}

// reads returns what m's table is made of: the source tables and the models with tables, through ephemeral ones.
func (s *Set) reads(m *Model) (tables, models []string) {
	for _, e := range append(s.ephemeral(m), m) {
		tables = append(tables, e.Tables...)
		for _, n := range e.Models {
			if s.byName[n].Materialized != Ephemeral {
				models = append(models, n)
			}
		}
	}
	slices.Sort(tables)
	slices.Sort(models)
	return slices.Compact(tables), slices.Compact(models)
}

// shape checks that a model reads what its kind can be kept up to date by.
func (s *Set) shape(m *Model) (problems ProblemsError) {
	add := func(key string, format string, args ...any) {
		problems = append(problems, Problem{m.File, m.at(key), m.Name, fmt.Sprintf(format, args...)})
	}
	tables, models := s.reads(m)
	last := map[string]string{}
	for _, t := range tables {
		_, name, _ := strings.Cut(t, ".")
		if s.byName[name] != nil {
			add("name", "table %s has the name of a model", t)
		}
		if other, ok := last[name]; ok {
			add("name", "tables %s and %s in one model: their names differ in the schema alone", other, t)
		}
		last[name] = t
	}
	if m.Materialized != Incremental {
		return problems
	}
	if m.Overwrite {
		up := s.byName[m.Upstream]
		switch {
		case up == nil:
			add("upstream", "upstream %s is no model", m.Upstream)
		case up.Materialized != Incremental:
			add("upstream", "upstream %s is not incremental (%s)", m.Upstream, up.File)
		case up.Partition != m.Partition:
			add("upstream", "upstream %s is partitioned by %q, this model by %q: they must be the same column (%s)", m.Upstream, up.Partition, m.Partition, up.File)
		case !slices.Contains(models, m.Upstream):
			add("upstream", "the query does not read upstream %s", m.Upstream)
		}
		for _, n := range models {
			if o := s.byName[n]; n != m.Upstream && o.Materialized == Incremental {
				add("upstream", "the query reads %s, which is incremental too: partitions are recomputed by one upstream's changes (%s)", n, o.File)
			}
		}
		if len(tables) > 0 {
			add("upstream", "the query reads %s: a model by partition reads models", strings.Join(tables, ", "))
		}
		return problems
	}
	var events []string
	for _, t := range tables {
		if strings.HasPrefix(t, "events.") {
			events = append(events, t)
		} else {
			add("unique_key", "the query reads %s: an incremental model reads one events.* table, and table models", t)
		}
	}
	if len(events) != 1 {
		add("unique_key", "an incremental model is driven by exactly one events.* table, this one by %d%s", len(events), ifAny(events))
	}
	for _, n := range models {
		if o := s.byName[n]; o.Materialized == Incremental {
			add("unique_key", "the query reads %s, which is incremental: rows that come to it late would be missed (%s)", n, o.File)
		}
	}
	return problems
}

func ifAny(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return " (" + strings.Join(s, ", ") + ")"
}
