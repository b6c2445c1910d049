package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/iceberg-go"
	"gopkg.in/yaml.v3"
)

// Materialization is what becomes of a model's rows.
type Materialization string

// The materializations.
const (
	// Ephemeral models have no table: models that name them read their query.
	Ephemeral Materialization = "ephemeral"
	// Table models are rebuilt whole when one of their inputs changed.
	Table Materialization = "table"
	// Incremental models take what is new, or recompute the partitions that changed.
	Incremental Materialization = "incremental"
)

// Severity says what a failing test does.
type Severity string

// The severities.
const (
	Error Severity = "error" // the rows are not committed
	Warn  Severity = "warn"  // told in the report
)

// Model is one SQL file. It is read only once its Set is loaded.
type Model struct {
	Name         string
	Description  string
	File         string // path within the file system it came from
	Materialized Materialization
	UniqueKey    []string
	Order        []Order
	Overwrite    bool   // strategy: insert_overwrite
	Upstream     string // of Overwrite: the model whose changed partitions are recomputed
	Partition    string // "" where there is none
	Tags         []string
	Columns      []Column
	Tests        []Test // of columns in their order, then of the table

	SQL     string   // what stands behind the front matter
	Tables  []string // events.* and ops.* tables that it names, sorted
	Models  []string // models that it names, sorted
	line    int      // of the first character of SQL in the file
	toks    []token
	refs    []reference
	own     []string // names of its WITH clauses
	body    string   // SQL without the schemas of its tables
	columns []int    // lines of Columns in the file
	lines   map[string]int
}

// Order is one term of order_by.
type Order struct {
	Column     string
	Descending bool
}

// Column is one column of a model's table.
type Column struct {
	Name        string
	Type        string // boolean, integer, bigint, double, decimal(p,s), varchar, date, timestamp or timestamptz
	Description string
}

// TestKind says what a test asks.
type TestKind string

// The tests.
const (
	NotNull        TestKind = "not_null"        // the column has a value in each new row
	Unique         TestKind = "unique"          // no two rows of the partitions that new rows lie in have one value (of a table without partitions: no two rows)
	Relationships  TestKind = "relationships"   // the column's value in each new row is null or a value of To's Field
	AcceptedValues TestKind = "accepted_values" // the column's value in each new row is null or one of Values
	SQLTest        TestKind = "sql"             // the query returns no row; the model's own name means the new rows
)

// Test is one test of a model.
type Test struct {
	Kind     TestKind
	Name     string // as a report has it: kind_column, or the given name
	Column   string
	To       string // Relationships: a model
	Field    string
	Values   []string // AcceptedValues: literals of the column's type
	SQL      string
	Severity Severity

	line int
	body string
	refs []string // models that SQL names, but for its own
}

// Problem is something wrong with a model, in a line of its file (0: none in particular).
type Problem struct {
	File    string
	Line    int
	Model   string
	Message string
}

// String is file:line: message.
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Message
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ": " + p.Message
}

// ProblemsError is what Load returns where models cannot be used: all problems, by file.
type ProblemsError []Problem

// Error has one line for each problem.
func (e ProblemsError) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

type frontMatter struct {
	Name         string      `yaml:"name"`
	Description  string      `yaml:"description"`
	Materialized string      `yaml:"materialized"`
	UniqueKey    texts       `yaml:"unique_key"`
	OrderBy      texts       `yaml:"order_by"`
	Strategy     string      `yaml:"strategy"`
	Upstream     string      `yaml:"upstream"`
	Partition    string      `yaml:"partition"`
	Tags         texts       `yaml:"tags"`
	Columns      []yaml.Node `yaml:"columns"`
	Tests        []yaml.Node `yaml:"tests"`
}

// texts is one string or several.
type texts []string

func (l *texts) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*l = texts{n.Value}
		return nil
	}
	var s []string
	if err := n.Decode(&s); err != nil {
		return err
	}
	*l = s
	return nil
}

var (
	nameForm    = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	columnForm  = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)
	decimalForm = regexp.MustCompile(`^decimal\((\d{1,2}),\s?(\d{1,2})\)$`)
	yamlLine    = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\n\s*)?line (\d+): `)
)

type fileProblems struct {
	file, model string
	all         ProblemsError
}

func (p *fileProblems) add(line int, format string, args ...any) {
	p.all = append(p.all, Problem{File: p.file, Line: line, Model: p.model, Message: fmt.Sprintf(format, args...)})
}

// yaml adds an error of the YAML library, which begins with the line.
func (p *fileProblems) yaml(err error) {
	var many *yaml.TypeError
	texts := []string{err.Error()}
	if errors.As(err, &many) {
		texts = many.Errors
	}
	for _, s := range texts {
		line := 1
		if m := yamlLine.FindStringSubmatch(s); m != nil {
			line, _ = strconv.Atoi(m[1])
			s = s[len(m[0]):]
			if strings.HasPrefix(s, "did not find expected ") { // the parser counts from 0, all others from 1
				line++
			}
		}
		p.add(line, "front matter: %s", strings.ReplaceAll(strings.ReplaceAll(s, " in type model.frontMatter", ""), " in type model.columnMatter", " of a column"))
	}
}

// parse reads one file. The model is of use only where there are no problems.
func parse(file string, text []byte) (*Model, ProblemsError) {
	p := &fileProblems{file: file}
	text = bytes.ReplaceAll(bytes.TrimPrefix(text, []byte("\uFEFF")), []byte("\r\n"), []byte("\n"))
	if i := bytes.IndexByte(text, '\r'); i >= 0 { // a line's end to YAML and to some engines
		p.add(1+bytes.Count(text[:i], []byte("\n")), "a carriage return without a line feed: lines end with a line feed, or with both")
		return nil, p.all
	}
	start := len(text) - len(bytes.TrimLeft(text, " \t\n"))
	if !bytes.HasPrefix(text[start:], []byte("/*---\n")) {
		p.add(1, "a model begins with front matter: a line /*---, YAML, a line ---*/")
		return nil, p.all
	}
	yamlFrom := start + len("/*---\n")
	length := bytes.Index(text[yamlFrom-1:], []byte("\n---*/"))
	if length < 0 {
		p.add(1+bytes.Count(text[:start], []byte("\n")), "the front matter has no end: a line ---*/")
		return nil, p.all
	}
	behind := yamlFrom - 1 + length + len("\n---*/")
	matter := text[yamlFrom : yamlFrom-1+length+1]
	// Lines before it, so that the library's line numbers are the file's.
	padded := append(bytes.Repeat([]byte("\n"), bytes.Count(text[:yamlFrom], []byte("\n"))), matter...)
	var f frontMatter
	dec := yaml.NewDecoder(bytes.NewReader(padded))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		p.yaml(err)
		return nil, p.all
	}
	p.model = f.Name
	m := &Model{
		Name: f.Name, Description: strings.TrimSpace(f.Description), File: file, Materialized: Materialization(f.Materialized), UniqueKey: f.UniqueKey, Upstream: f.Upstream,
		Partition: f.Partition, Tags: f.Tags, SQL: string(text[behind:]), line: 1 + bytes.Count(text[:behind], []byte("\n")), lines: topLines(padded),
	}
	for i := range f.Columns {
		m.column(p, &f.Columns[i])
	}
	for i := range f.Tests {
		m.tableTest(p, &f.Tests[i])
	}
	m.order(p, f.OrderBy)
	switch f.Strategy {
	case "", "merge":
	case "insert_overwrite":
		m.Overwrite = true
	default:
		p.add(m.at("strategy"), "strategy %q is not known: merge (by unique_key) or insert_overwrite (by partition)", f.Strategy)
	}
	m.validate(p, f.Strategy, len(f.Columns) > 0)

	var err error
	if m.toks, err = tokens(m.SQL); err != nil {
		var le *lexError
		if errors.As(err, &le) {
			p.add(m.line+le.line-1, "%s", le.msg)
		}
		return m, p.all
	}
	if len(m.toks) == 1 {
		p.add(m.line, "there is no SELECT behind the front matter")
	}
	m.refs, m.own = references(m.toks)
	return m, p.all
}

// topLines returns the line of each key of the document.
func topLines(doc []byte) map[string]int {
	out := map[string]int{}
	var n yaml.Node
	if err := yaml.Unmarshal(doc, &n); err != nil || len(n.Content) == 0 {
		return out
	}
	root := n.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		out[root.Content[i].Value] = root.Content[i].Line
	}
	return out
}

// at is the line of a key of the front matter, or the file's first.
func (m *Model) at(key string) int { return max(m.lines[key], 1) }

type columnMatter struct {
	Name        string      `yaml:"name"`
	Type        string      `yaml:"type"`
	Description string      `yaml:"description"`
	Tests       []yaml.Node `yaml:"tests"`
}

// strict decodes a node and refuses keys that the struct lacks, which yaml.v3 does for documents alone.
func strict(n *yaml.Node, to any, keys ...string) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: a mapping of %s is needed", n.Line, strings.Join(keys, ", "))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !slices.Contains(keys, n.Content[i].Value) {
			return fmt.Errorf("line %d: field %s is not known here: %s", n.Content[i].Line, n.Content[i].Value, strings.Join(keys, ", "))
		}
	}
	return n.Decode(to)
}

func (m *Model) column(p *fileProblems, n *yaml.Node) {
	var c columnMatter
	if err := strict(n, &c, "name", "type", "description", "tests"); err != nil {
		p.yaml(err)
		return
	}
	if !columnForm.MatchString(c.Name) {
		p.add(n.Line, "column %q: a name is of a-z, 0-9 and _", c.Name)
	}
	if slices.ContainsFunc(m.Columns, func(o Column) bool { return o.Name == c.Name }) {
		p.add(n.Line, "column %s is there twice", c.Name)
	}
	c.Type = strings.ReplaceAll(c.Type, ", ", ",")
	if _, err := icebergType(c.Type); err != nil {
		p.add(n.Line, "column %s: %v", c.Name, err)
	}
	m.Columns = append(m.Columns, Column{c.Name, c.Type, strings.TrimSpace(c.Description)})
	m.columns = append(m.columns, n.Line)
	for i := range c.Tests {
		m.columnTest(p, c, &c.Tests[i])
	}
}

func (m *Model) columnTest(p *fileProblems, c columnMatter, n *yaml.Node) {
	t := Test{Column: c.Name, Severity: Error, line: n.Line}
	var args *yaml.Node
	switch {
	case n.Kind == yaml.ScalarNode:
		t.Kind = TestKind(n.Value)
	case n.Kind == yaml.MappingNode && len(n.Content) == 2:
		t.Kind, args = TestKind(n.Content[0].Value), n.Content[1]
	default:
		p.add(n.Line, "column %s: a test is a name, or one name with its arguments", c.Name)
		return
	}
	t.Name = string(t.Kind) + "_" + c.Name
	var a struct {
		To       string      `yaml:"to"`
		Field    string      `yaml:"field"`
		Values   []yaml.Node `yaml:"values"`
		Severity Severity    `yaml:"severity"`
	}
	keys := []string{"severity"}
	switch t.Kind {
	case NotNull, Unique:
	case Relationships:
		keys = append(keys, "to", "field")
	case AcceptedValues:
		keys = append(keys, "values")
	case SQLTest:
		p.add(n.Line, "column %s: a SQL test is one of the table's tests", c.Name)
		return
	default:
		p.add(n.Line, "column %s: test %q is not known: not_null, unique, relationships, accepted_values", c.Name, t.Kind)
		return
	}
	if args != nil {
		if err := strict(args, &a, keys...); err != nil {
			p.yaml(err)
			return
		}
	}
	switch {
	case t.Kind == Relationships && (a.To == "" || a.Field == ""):
		p.add(n.Line, "column %s: relationships needs to (a model) and field", c.Name)
	case t.Kind == AcceptedValues && len(a.Values) == 0:
		p.add(n.Line, "column %s: accepted_values needs values", c.Name)
	}
	t.To, t.Field = a.To, a.Field
	for i := range a.Values {
		v := &a.Values[i]
		if v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
			p.add(v.Line, "column %s: an accepted value is a number, a string or a boolean", c.Name)
			continue
		}
		lit, err := literal(c.Type, v.Value)
		if err != nil {
			p.add(v.Line, "column %s: accepted value: %v", c.Name, err)
		}
		t.Values = append(t.Values, lit)
	}
	m.addTest(p, t, a.Severity)
}

func (m *Model) tableTest(p *fileProblems, n *yaml.Node) {
	var a struct {
		Name     string   `yaml:"name"`
		Severity Severity `yaml:"severity"`
		SQL      string   `yaml:"sql"`
	}
	if err := strict(n, &a, "name", "severity", "sql"); err != nil {
		p.yaml(err)
		return
	}
	if a.Name == "" || strings.TrimSpace(a.SQL) == "" {
		p.add(n.Line, "a test of the table needs name and sql")
		return
	}
	m.addTest(p, Test{Kind: SQLTest, Name: a.Name, SQL: a.SQL, Severity: Error, line: n.Line}, a.Severity)
}

func (m *Model) addTest(p *fileProblems, t Test, s Severity) {
	switch s {
	case "":
	case Error, Warn:
		t.Severity = s
	default:
		p.add(t.line, "test %s: severity is error or warn, not %q", t.Name, s)
	}
	if slices.ContainsFunc(m.Tests, func(o Test) bool { return o.Name == t.Name }) {
		p.add(t.line, "test %s is there twice", t.Name)
	}
	m.Tests = append(m.Tests, t)
}

func (m *Model) order(p *fileProblems, terms []string) {
	for _, s := range terms {
		f := strings.Fields(s)
		o := Order{}
		switch {
		case len(f) == 1, len(f) == 2 && strings.EqualFold(f[1], "asc"):
			o.Column = f[0]
		case len(f) == 2 && strings.EqualFold(f[1], "desc"):
			o = Order{f[0], true}
		default:
			p.add(m.at("order_by"), "order_by: %q is not a column, or a column and desc", s)
			continue
		}
		m.Order = append(m.Order, o)
	}
}

func (m *Model) typeOf(column string) string {
	for _, c := range m.Columns {
		if c.Name == column {
			return c.Type
		}
	}
	return ""
}

// validate checks what one file alone can be wrong in.
func (m *Model) validate(p *fileProblems, strategy string, declared bool) {
	if !nameForm.MatchString(m.Name) {
		p.add(m.at("name"), "name %q: a model's name is of a-z, 0-9 and _", m.Name)
	}
	switch m.Materialized {
	case Ephemeral, Table, Incremental:
	default:
		p.add(m.at("materialized"), "materialized is ephemeral, table or incremental, not %q", m.Materialized)
	}
	only := func(key string, there bool, on string) {
		if there {
			p.add(m.at(key), "%s is for %s models", key, on)
		}
	}
	if m.Materialized == Ephemeral {
		only("partition", m.Partition != "", "table and incremental")
		only("tests", len(m.Tests) > 0, "table and incremental")
	} else if !declared {
		p.add(m.at("columns"), "columns: a %s model declares its columns with their types", m.Materialized)
	}
	if m.Materialized != Incremental {
		only("unique_key", len(m.UniqueKey) > 0, "incremental")
		only("order_by", len(m.Order) > 0, "incremental")
		only("strategy", strategy != "", "incremental")
		only("upstream", m.Upstream != "", "incremental")
	}
	have := func(key, column string) {
		if m.typeOf(column) == "" {
			p.add(m.at(key), "%s: %s is none of the columns", key, column)
		}
	}
	for _, c := range m.UniqueKey {
		have("unique_key", c)
	}
	for _, o := range m.Order {
		have("order_by", o.Column)
	}
	if m.Partition != "" {
		have("partition", m.Partition)
		if t := m.typeOf(m.Partition); t != "" && t != "date" {
			p.add(m.at("partition"), "partition: %s is of type %s; tables are partitioned by a date", m.Partition, t)
		}
	}
	if m.Materialized != Incremental {
		return
	}
	switch {
	case m.Overwrite && (len(m.UniqueKey) > 0 || len(m.Order) > 0):
		p.add(m.at("strategy"), "strategy insert_overwrite recomputes partitions whole: unique_key and order_by have no place there")
	case m.Overwrite && (m.Upstream == "" || m.Partition == ""):
		p.add(m.at("strategy"), "strategy insert_overwrite needs upstream (an incremental model) and partition")
	case m.Overwrite:
	case m.Upstream != "":
		p.add(m.at("upstream"), "upstream is for strategy insert_overwrite")
	case len(m.UniqueKey) == 0 || len(m.Order) == 0:
		p.add(m.at("materialized"), "an incremental model needs unique_key and order_by, or strategy: insert_overwrite")
	}
}

// conflicts says whether rows of one identity with several data can be told: root_id is the key, and what tells them is among the columns.
func (m *Model) conflicts() bool {
	if len(m.UniqueKey) != 1 || m.UniqueKey[0] != "root_id" {
		return false
	}
	for _, c := range []string{"data_hash", "arrived_at", "kafka_partition", "kafka_offset"} {
		if m.typeOf(c) == "" {
			return false
		}
	}
	return true
}

// icebergType is the type of a column in the table.
func icebergType(t string) (iceberg.Type, error) {
	p := iceberg.PrimitiveTypes
	switch t {
	case "boolean":
		return p.Bool, nil
	case "integer":
		return p.Int32, nil
	case "bigint":
		return p.Int64, nil
	case "double":
		return p.Float64, nil
	case "varchar":
		return p.String, nil
	case "date":
		return p.Date, nil
	case "timestamp":
		return p.Timestamp, nil
	case "timestamptz":
		return p.TimestampTz, nil
	}
	if m := decimalForm.FindStringSubmatch(t); m != nil {
		precision, _ := strconv.Atoi(m[1])
		scale, _ := strconv.Atoi(m[2])
		if precision >= 1 && precision <= 38 && scale <= precision {
			return iceberg.DecimalTypeOf(precision, scale), nil
		}
	}
	return nil, fmt.Errorf("type %q is not known: boolean, integer, bigint, double, decimal(p,s), varchar, date, timestamp, timestamptz", t)
}

var numberForm = regexp.MustCompile(`^[+-]?\d+(\.\d+)?$`)

// literal spells a value of the type in the common language.
func literal(typ, v string) (string, error) {
	switch {
	case typ == "varchar":
		return "'" + strings.ReplaceAll(v, "'", "''") + "'", nil
	case typ == "boolean" && (v == "true" || v == "false"):
		return v, nil
	case typ == "date" && regexp.MustCompile(`^\d{4}-\d\d-\d\d$`).MatchString(v):
		return "date '" + v + "'", nil
	case (typ == "integer" || typ == "bigint") && regexp.MustCompile(`^-?\d+$`).MatchString(v):
		return v, nil
	case (typ == "double" || strings.HasPrefix(typ, "decimal")) && numberForm.MatchString(v):
		return "cast(" + v + " as " + typ + ")", nil
	}
	return "", fmt.Errorf("%q is no value of type %s", v, typ)
}

// fingerprint is of all that decides the table's rows: the model's tokens and configuration, and those of the ephemeral models that it reads. Comments, white space, descriptions and
// tests change nothing.
func (m *Model) fingerprint(s *Set) string {
	h := sha256.New()
	put := func(parts ...string) {
		for _, p := range parts {
			fmt.Fprintf(h, "%d:%s\n", len(p), p)
		}
	}
	put("1", m.Name, string(m.Materialized), strings.Join(m.UniqueKey, ","), fmt.Sprint(m.Order), strconv.FormatBool(m.Overwrite), m.Upstream, m.Partition)
	for _, c := range m.Columns {
		put(c.Name, c.Type)
	}
	for _, e := range append(s.ephemeral(m), m) {
		put(e.Name)
		for _, t := range e.toks {
			put(strconv.Itoa(int(t.kind)), t.text)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
