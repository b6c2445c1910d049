package model

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
)

// Binder is the engine by which Check has models parsed and bound. *duck.DB is one.
type Binder interface {
	// References returns the tables that a query reads, as written (schema.table or table), sorted. An error says where the text is no SELECT.
	References(ctx context.Context, sql string) ([]string, error)
	// Relation makes an empty table of the schema known under the name.
	Relation(ctx context.Context, name warehouse.Name, schema *iceberg.Schema, files []warehouse.Local, columns []string, where string) error
	// Describe returns the query's columns without running it; what does not bind is an error.
	Describe(ctx context.Context, query string) ([]duck.Column, error)
}

// Checks are what Check knows beside the models.
type Checks struct {
	// Schema returns the columns of an events.* or ops.* table, nil where they are not known. Without it types of its columns are not judged, and models that read it not bound.
	Schema func(table string) (*iceberg.Schema, error)
	Binder Binder // nil: models are not parsed by an engine
}

// Check returns what is wrong with the models' SQL: what is not of the common language of DuckDB and Trino, and, where there is a Binder, what does not parse or bind: unknown columns, also of
// SQL tests, declared columns that the query lacks, or has of a type of which the engines make different values. Load has found what is wrong with front matter and references before.
func Check(ctx context.Context, s *Set, o Checks) []Problem {
	c := &checker{o: o, s: s, schemas: map[string]*iceberg.Schema{}}
	for _, m := range s.models {
		c.model(ctx, m)
	}
	slices.SortStableFunc(c.problems, func(a, b Problem) int { return cmp.Or(cmp.Compare(a.File, b.File), a.Line-b.Line) })
	return c.problems
}

type checker struct {
	o        Checks
	s        *Set
	schemas  map[string]*iceberg.Schema // of tables; nil: not known
	problems []Problem
}

func (c *checker) add(m *Model, line int, text string) {
	c.problems = append(c.problems, Problem{m.File, line, m.Name, text})
}

// schema returns a table's columns, nil where they are not known.
func (c *checker) schema(m *Model, table string) *iceberg.Schema {
	if s, ok := c.schemas[table]; ok || c.o.Schema == nil {
		return s
	}
	s, err := c.o.Schema(table)
	if err != nil {
		c.add(m, m.line, "the columns of "+table+" cannot be found: "+err.Error())
		s = nil
	}
	c.schemas[table] = s
	return s
}

func (c *checker) model(ctx context.Context, m *Model) {
	types := c.types(m)
	for _, f := range lint(m.toks, types) {
		c.add(m, m.line+f.line-1, f.text)
	}
	for _, t := range m.Tests {
		if t.Kind != SQLTest {
			continue
		}
		ts, err := tokens(t.SQL)
		if err != nil {
			continue // Load said so
		}
		own := c.types(m)
		for _, col := range m.Columns {
			own[col.Name] = col.Type
		}
		for _, f := range lint(ts, own) {
			c.add(m, t.line, "test "+t.Name+": "+f.text)
		}
	}
	if c.o.Binder == nil {
		return
	}
	refs, err := c.o.Binder.References(ctx, m.SQL)
	if err != nil {
		text, line := oneLine(err), m.line
		if at := inQuery.FindStringSubmatch(text); at != nil {
			if n, err := strconv.Atoi(at[1]); err == nil {
				line += n - 1
			}
			text = strings.TrimSuffix(text, at[0])
		}
		c.add(m, line, text)
		return
	}
	var ours []string
	for _, r := range m.refs {
		ours = append(ours, strings.ToLower(r.String()))
	}
	slices.Sort(ours)
	if !slices.Equal(ours, refs) {
		c.add(m, m.line, "DuckDB reads it as naming "+strings.Join(refs, ", ")+", and not "+strings.Join(ours, ", ")+": write the joins more plainly")
		return
	}
	c.bind(ctx, m)
	c.bindTests(ctx, m)
}

// inQuery is how package duck says where in a query an error is.
var inQuery = regexp.MustCompile(` \(line (\d+), column \d+\)$`)

// oneLine is an engine's error without its picture of the place.
func oneLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

// types are those of the column names that the model can mean; a name that has several has none.
func (c *checker) types(m *Model) map[string]string {
	out := map[string]string{}
	put := func(name, typ string) {
		name = strings.ToLower(name)
		if old, ok := out[name]; ok && kindOf(old) != kindOf(typ) {
			typ = ""
		}
		out[name] = typ
	}
	var fields func(fs []iceberg.NestedField)
	fields = func(fs []iceberg.NestedField) {
		for _, f := range fs {
			put(f.Name, languageType(f.Type))
			if st, ok := f.Type.(*iceberg.StructType); ok {
				fields(st.FieldList)
			}
		}
	}
	for _, t := range m.Tables {
		if s := c.schema(m, t); s != nil {
			fields(s.Fields())
		}
	}
	for _, n := range m.Models {
		for _, col := range c.s.byName[n].Columns {
			put(col.Name, col.Type)
		}
	}
	return out
}

// languageType is the common language's name of a type; "" for those without.
func languageType(t iceberg.Type) string {
	switch t := t.(type) {
	case iceberg.StringType:
		return "varchar"
	case iceberg.Int32Type:
		return "integer"
	case iceberg.Int64Type:
		return "bigint"
	case iceberg.Float32Type, iceberg.Float64Type:
		return "double"
	case iceberg.BooleanType:
		return "boolean"
	case iceberg.DateType:
		return "date"
	case iceberg.TimestampType:
		return "timestamp"
	case iceberg.TimestampTzType:
		return "timestamptz"
	case iceberg.DecimalType:
		return t.String()
	}
	return ""
}

// bind has the engine find the model's columns in empty tables.
func (c *checker) bind(ctx context.Context, m *Model) {
	tables, models := c.s.reads(m)
	b := &Build{Model: m}
	known := func(name warehouse.Name, schema *iceberg.Schema) bool {
		if err := c.o.Binder.Relation(ctx, name, schema, nil, nil, ""); err != nil {
			c.add(m, m.line, oneLine(err))
			return false
		}
		b.Inputs = append(b.Inputs, Input{Name: name})
		return true
	}
	for _, t := range tables {
		s := c.schema(m, t)
		if s == nil || !known(tableName(t), s) {
			return
		}
	}
	for _, n := range models {
		spec, err := c.s.byName[n].spec()
		if err != nil {
			c.add(m, m.line, err.Error())
			return
		}
		if !known(starName(n), fresh(nil, 0, spec)) {
			return
		}
	}
	(&runner{o: Options{Set: c.s}}).with(b, nil)
	query := b.SQL(DuckDialect)
	if m.Materialized == Ephemeral {
		query = b.query(DuckDialect, "*")
	}
	if _, err := c.o.Binder.Describe(ctx, query); err != nil {
		c.add(m, m.line, oneLine(err))
		return
	}
	if len(m.Columns) == 0 {
		return
	}
	got, err := c.o.Binder.Describe(ctx, b.query(DuckDialect, "*"))
	if err != nil {
		c.add(m, m.line, oneLine(err))
		return
	}
	for _, g := range got {
		if m.typeOf(strings.ToLower(g.Name)) == "" {
			c.add(m, m.line, "the query has a column "+g.Name+", which is not declared")
		}
	}
	for i, col := range m.Columns {
		at := slices.IndexFunc(got, func(g duck.Column) bool { return strings.EqualFold(g.Name, col.Name) })
		if at < 0 {
			c.add(m, m.columns[i], "the query has no column "+col.Name)
			continue
		}
		if why := converted(got[at].Type, kindOf(col.Type)); why != "" {
			c.add(m, m.columns[i], "column "+col.Name+" is declared "+col.Type+", and the query's is of type "+got[at].Type+": "+why)
		}
	}
}

// converted says why the engines make different values of a column when it is cast to the declared type; "" where they do not.
func converted(from, to string) string {
	from, _, _ = strings.Cut(from, "(")
	switch {
	case (from == "DOUBLE" || from == "FLOAT") && (to == "integer" || to == "decimal"):
		return "they round a half differently; write cast(round(...) as ...)"
	case (from == "DOUBLE" || from == "FLOAT" || strings.HasPrefix(from, "TIMESTAMP") || from == "JSON" || from == "INTERVAL") && to == "varchar":
		return "they spell it differently"
	case from == "VARCHAR" && readings[to].alike != nil:
		return "they read text differently; cast it where regexp_like has seen it"
	}
	return ""
}

// bindTests has the engine find what the model's SQL tests name in empty tables.
func (c *checker) bindTests(ctx context.Context, m *Model) {
	for _, t := range m.Tests {
		if t.Kind != SQLTest {
			continue
		}
		for _, n := range append([]string{m.Name}, t.refs...) {
			spec, err := c.s.byName[n].spec()
			if err == nil {
				err = c.o.Binder.Relation(ctx, starName(n), fresh(nil, 0, spec), nil, nil, "")
			}
			if err != nil {
				c.add(m, t.line, "test "+t.Name+": "+oneLine(err))
				return
			}
		}
		if _, err := c.o.Binder.Describe(ctx, "select * from ("+t.body+"\n) t"); err != nil {
			c.add(m, t.line, "test "+t.Name+": "+oneLine(err))
		}
	}
}

// Problems returns the problems of an error of Load, nil of any other.
func Problems(err error) []Problem {
	var p ProblemsError
	if errors.As(err, &p) {
		return p
	}
	return nil
}
