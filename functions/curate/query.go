package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/apache/iceberg-go"
	"github.com/spf13/pflag"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/objectstore"
	"millrace/shared/progress"
	"millrace/shared/usage"
)

const queryText = `curate query answers one SELECT over the lake's tables, beside a run that commits: each table is read as it was at one moment.

  curate query                                             # the tables there are
  curate query "select pickup_date, count(*) as trips from fact_trip group by 1 order by 1"
  curate query "select column_name, data_type from information_schema.columns where table_name = 'fact_trip'"
  curate query --format csv "select * from ops.landing" > landing.csv

Tables are events.*, ops.* and star.*; a name without a schema is looked for in star, events, ops; staging models (stg_...) can be named too. The SQL is
DuckDB's with Trino's function names. It can read nothing but these tables, and write nothing.

What the SELECT needs is fetched from object storage before it runs, and removed after it: of each table the columns that are named anywhere (all for a star), and all days, but for
those that a WHERE beside the table rules out, which compares the column of its partition (dates: pickup_date, arrival_date, ...) with days that are written out:

  curate query "select count(*) from fact_trip where pickup_date between '2023-01-05' and '2023-01-07'"     # three days

by =, <, <=, >, >=, between or in, joined to the rest by AND. From 32 MiB on the progress is shown. The disk of SCRATCH must hold it.

A table shows the first 200 rows; csv and json (an object a line) all of them. The columns of a table are as wide as its first %d rows need.

`

// The formats of curate query.
const (
	formatTable = "table"
	formatCSV   = "csv"
	formatJSON  = "json"
)

// tableRows is how many rows a table shows where nothing else is said.
const tableRows = 200

// fetchTold is the size from which the progress of a fetch is shown.
const fetchTold = 32 << 20

type queryFlags struct {
	format, dir string
	max         int64
	sql         string
}

func (f *queryFlags) set() *pflag.FlagSet {
	set := pflag.NewFlagSet("query", pflag.ContinueOnError)
	set.SortFlags = false
	set.Usage = func() {} // runQuery prints it
	set.StringVar(&f.format, "format", formatTable, "table, csv or json")
	set.Int64Var(&f.max, "max-rows", -1, "at most this `number` of rows; 0 is all (default 200 for a table, all else)")
	set.StringVar(&f.dir, "dir", ".millrace", "the `directory` of make run, whose servers are asked where the variables name no others")
	return set
}

func (f *queryFlags) parse(args []string) error {
	set := f.set()
	// The issue and make run write -dir, which pflag takes for -d -i -r.
	args = slices.Clone(args)
	for i, a := range args {
		if a == "-dir" || strings.HasPrefix(a, "-dir=") {
			args[i] = "-" + a
		}
	}
	if err := set.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	var errs []error
	if f.format != formatTable && f.format != formatCSV && f.format != formatJSON {
		errs = append(errs, fmt.Errorf("--format must be %s, %s or %s", formatTable, formatCSV, formatJSON))
	}
	if f.max < 0 {
		f.max = 0
		if f.format == formatTable {
			f.max = tableRows
		}
		if set.Changed("max-rows") {
			errs = append(errs, errors.New("--max-rows must not be negative"))
		}
	}
	switch set.NArg() {
	case 0:
	case 1:
		f.sql = strings.TrimRight(strings.TrimSpace(set.Arg(0)), "; \t\r\n")
	default:
		errs = append(errs, errors.New("query takes one SELECT; put it in quotation marks"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return nil
}

func runQuery(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	var f queryFlags
	if err := f.parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			fmt.Fprint(stdout, fmt.Sprintf(queryText, aligned)+f.set().FlagUsages()+"\nVariables:\n\n"+usage.Variables(config{}))
		}
		return err
	}
	if err := borrow(f.dir); err != nil {
		return err
	}
	c, err := readConfig()
	if err != nil {
		return err
	}
	if err := standing(c.Catalog); err != nil {
		return err
	}
	store, err := c.bucket(false)
	if err != nil {
		return err
	}
	models, err := c.models()
	if err != nil {
		return err
	}
	w, err := warehouse.Open(ctx, c.warehouse(store, c.logger(stderr, true)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	engine := duck.Options{Memory: c.Memory, Threads: c.Threads, Scratch: filepath.Join(w.Scratch(), "duckdb")}
	db, err := duck.Open(ctx, engine)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	q := &query{warehouse: w, db: db, engine: engine, models: models, stderr: stderr}
	if f.sql == "" {
		f.sql = "select * from " + queryTables
	}
	if err := q.prepare(ctx, f.sql); err != nil {
		return err
	}
	return render(ctx, db, f.sql, f.format, f.max, stdout, stderr)
}

// borrow sets the variables that make run has written into its directory and that are not set here, and the directory's catalog where none is named.
func borrow(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading the variables of %s: %w", dir, err)
	}
	file, err := filepath.Abs(filepath.Join(dir, "catalog.db"))
	if err != nil {
		return fmt.Errorf("finding %s: %w", dir, err)
	}
	catalog := "CATALOG_URL=" + (&url.URL{Scheme: "sqlite", Path: file}).String()
	for line := range strings.Lines(string(text) + catalog) {
		name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimRight(line, "\n"), "export "), "=")
		if !ok || strings.HasPrefix(line, "#") || isSet(name) {
			continue
		}
		if inner, quoted := strings.CutPrefix(value, "'"); quoted {
			value = strings.ReplaceAll(strings.TrimSuffix(inner, "'"), `'\''`, "'")
		}
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return nil
}

// standing refuses a catalog in a file that is not there, which opening it would make.
func standing(catalog string) error {
	u, err := url.Parse(catalog)
	if err != nil || u.Scheme != "sqlite" {
		return nil //nolint:nilerr // it was checked, and what is wrong with it is the warehouse's to say
	}
	if _, err := os.Stat(u.Path); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no catalog %s: start make run, or name its directory by --dir, or a catalog by CATALOG_URL", u.Path)
	}
	return nil
}

// queryTables is a table of the tables there are, for a query without SQL.
const queryTables = "millrace_tables"

// query makes the tables that a SELECT names known to DuckDB.
type query struct {
	warehouse *warehouse.Warehouse
	db        *duck.DB
	engine    duck.Options // of db
	models    *model.Set   // whose ephemeral models can be named; nil: none
	stderr    io.Writer

	tables []warehouse.Name
	needs  map[warehouse.Name]bool
	views  []*model.Model // in the order in which they need each other
	names  map[string]bool
	all    bool

	listed, outlined bool // queryTables is asked for, or information_schema

	places map[warehouse.Name][]place // where the tables stand
	whole  bool                       // no rows may be left out
}

// prepare fetches what the SELECT needs and makes relations of it; from then on DuckDB reads and writes nothing else. Each table is loaded once, so that the whole query sees one state of
// it. Files that maintenance removed meanwhile are a reason to do all of that once more.
//
// An engine that is not sealed only parses the SELECT: to bind one is enough to open what it names.
func (q *query) prepare(ctx context.Context, sql string) error {
	var err error
	if q.tables, err = q.warehouse.Tables(ctx); err != nil {
		return err
	}
	q.needs, q.names, q.places = map[warehouse.Name]bool{}, map[string]bool{}, map[warehouse.Name][]place{}
	if err := q.gather(ctx, sql); err != nil {
		return err
	}
	if err := q.bind(ctx, sql); err != nil {
		return err
	}
	err = q.relations(ctx)
	if errors.Is(err, objectstore.ErrNotFound) {
		err = q.relations(ctx)
	}
	if err != nil {
		return err
	}
	// A person who asks for the first ten rows twice expects the same.
	if err := q.db.Exec(ctx, "set preserve_insertion_order=true"); err != nil {
		return err
	}
	if err := q.db.Seal(ctx); err != nil {
		return err
	}
	return q.define(ctx, q.db)
}

// bind finds what is wrong with the SELECT before anything is fetched, with the tables' columns in the error where a name may be wrong. It does so in an engine of its own, which is sealed
// over empty tables.
func (q *query) bind(ctx context.Context, sql string) (err error) {
	db, err := duck.Open(ctx, q.engine)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var columns string
	for _, name := range q.tables {
		if !q.needs[name] && !q.outlined {
			continue
		}
		t, err := q.warehouse.Load(ctx, name)
		if err != nil {
			return err
		}
		if err := db.Relation(ctx, name, t.Schema(), nil, nil, ""); err != nil {
			return err
		}
		if !q.needs[name] {
			continue
		}
		columns += "\n" + name.String() + " has"
		for i, f := range t.Schema().Fields() {
			if i > 0 {
				columns += ","
			}
			columns += " " + f.Name
		}
	}
	if q.listed {
		if err := db.Exec(ctx, createList); err != nil {
			return err
		}
	}
	if err := db.Seal(ctx); err != nil {
		return err
	}
	if err := q.define(ctx, db); err != nil {
		return err
	}
	_, err = db.Describe(ctx, sql)
	if duck.IsUnbound(err) {
		return fmt.Errorf("%w%s", err, columns)
	}
	return err
}

// define makes views of the ephemeral models that are named.
func (q *query) define(ctx context.Context, db *duck.DB) error {
	for _, m := range q.views {
		if err := db.Exec(ctx, "create or replace view "+duck.Quote(m.Name)+" as (\n"+m.SQL+"\n)"); err != nil {
			return fmt.Errorf("model %s: %w", m.Name, err)
		}
	}
	return nil
}

// gather finds the tables, ephemeral models and columns that the SQL names.
func (q *query) gather(ctx context.Context, sql string) error {
	p, err := q.db.Parse(ctx, sql)
	if errors.Is(err, duck.ErrNotSelect) {
		return fmt.Errorf("%w: curate query answers a SELECT, and information_schema.tables and information_schema.columns tell what there is", err)
	}
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(p.Functions, func(f string) bool { return slices.Contains(indirect, f) }); i >= 0 {
		return fmt.Errorf("%s takes a table or a query as text, of which nothing would be fetched: write it out", p.Functions[i])
	}
	list, ok := places(p)
	q.whole = q.whole || !ok
	for _, at := range list {
		if name, ok := q.find(at.ref); ok { // also one that a WITH clause hides: it takes a day's rows away from nobody
			q.places[name] = append(q.places[name], at)
		}
	}
	q.all = q.all || p.All
	for _, c := range p.Columns {
		q.names[c] = true
	}
	for _, ref := range p.Tables {
		if ref == queryTables {
			if err := q.list(ctx); err != nil {
				return err
			}
			q.listed = true
			continue
		}
		if strings.HasPrefix(ref, "information_schema.") {
			if err := q.outline(ctx); err != nil {
				return err
			}
			q.outlined = true
			continue
		}
		name, ok := q.find(ref)
		if ok {
			q.needs[name] = true
			continue
		}
		m := q.view(ref)
		if m == nil {
			return q.unknown(ref)
		}
		if slices.Contains(q.views, m) {
			continue
		}
		if err := q.gather(ctx, m.SQL); err != nil {
			return fmt.Errorf("model %s: %w", m.Name, err)
		}
		q.views = append(q.views, m)
	}
	return nil
}

// indirect are functions that read what their arguments name, which the parser does not show.
var indirect = []string{"query", "query_table", "json_execute_serialized_sql"}

// find returns the table that a name means, by DuckDB's search path.
func (q *query) find(ref string) (warehouse.Name, bool) {
	for _, namespace := range []string{"star", "events", "ops"} {
		n := warehouse.Name{Namespace: namespace, Table: ref}
		if schema, table, ok := strings.Cut(ref, "."); ok {
			n = warehouse.Name{Namespace: schema, Table: table}
		}
		if slices.Contains(q.tables, n) {
			return n, true
		}
	}
	return warehouse.Name{}, false
}

// view returns the ephemeral model of the name, or nil.
func (q *query) view(ref string) *model.Model {
	if q.models == nil {
		return nil
	}
	m := q.models.Model(ref)
	if m == nil || m.Materialized != model.Ephemeral {
		return nil
	}
	return m
}

// unknown says what there is in place of a table that there is not.
func (q *query) unknown(ref string) error {
	if len(q.tables) == 0 {
		return fmt.Errorf("there is no table %s: the warehouse is empty, nothing has been curated yet", ref)
	}
	names := make([]string, len(q.tables))
	for i, n := range q.tables {
		names[i] = n.String()
	}
	if q.models != nil {
		for _, m := range q.models.Models() {
			if m.Materialized == model.Ephemeral {
				names = append(names, m.Name)
			}
		}
	}
	return fmt.Errorf("there is no table %s; there are:\n  %s", ref, strings.Join(names, "\n  "))
}

const createList = "create or replace table " + queryTables + ` ("table" varchar, "rows" bigint, bytes bigint, files bigint, changed timestamptz)`

// list makes the table of tables: rows, bytes and files as each table's snapshot says.
func (q *query) list(ctx context.Context) error {
	if err := q.db.Exec(ctx, createList); err != nil {
		return err
	}
	for _, name := range q.tables {
		t, err := q.warehouse.Load(ctx, name)
		if err != nil {
			return err
		}
		values := "0, 0, 0, null"
		if s := t.Iceberg().CurrentSnapshot(); s != nil && s.Summary != nil {
			number := func(key string) string {
				if v := s.Summary.Properties[key]; v != "" {
					return duck.Literal(v)
				}
				return "null"
			}
			values = fmt.Sprintf("%s, %s, %s, make_timestamptz(%d)", number("total-records"), number("total-files-size"), number("total-data-files"), s.TimestampMs*1000)
		}
		if err := q.db.Exec(ctx, "insert into "+queryTables+" values ("+duck.Literal(name.String())+", "+values+")"); err != nil {
			return err
		}
	}
	return nil
}

// outline makes every table known without its rows, for information_schema.
func (q *query) outline(ctx context.Context) error {
	for _, name := range q.tables {
		t, err := q.warehouse.Load(ctx, name)
		if err != nil {
			return err
		}
		if err := q.db.Relation(ctx, name, t.Schema(), nil, nil, ""); err != nil {
			return err
		}
	}
	return nil
}

// source is a table that is to be fetched.
type source struct {
	table   *warehouse.Table
	columns []string // nil: all
	files   []warehouse.File
}

// relations loads the tables, fetches their columns and makes the relations.
func (q *query) relations(ctx context.Context) error {
	var sources []source
	var total int64
	var count int
	for _, name := range q.tables {
		if !q.needs[name] {
			continue
		}
		t, err := q.warehouse.Load(ctx, name)
		if err != nil {
			return err
		}
		s := source{table: t, columns: q.columns(t)}
		if s.files, err = t.Plan(ctx, q.filter(t)); err != nil {
			return err
		}
		for _, f := range s.files {
			total += f.Bytes
		}
		count += len(s.files)
		sources = append(sources, s)
	}
	var done atomic.Int64
	if total >= fetchTold {
		bar := progress.Start(q.stderr, func() progress.State {
			return progress.State{Name: fmt.Sprintf("fetching columns of %d files", count), Done: done.Load() >> 20, Total: total >> 20, What: "MiB"}
		})
		defer bar.Stop()
	}
	for _, s := range sources {
		var locals []warehouse.Local
		for files := range slices.Chunk(s.files, 32) {
			some, err := q.warehouse.Fetch(ctx, files, s.columns)
			if err != nil {
				return err
			}
			locals = append(locals, some...)
			for _, f := range files {
				done.Add(f.Bytes)
			}
		}
		if err := q.db.Relation(ctx, s.table.Name, s.table.Schema(), locals, s.columns, ""); err != nil {
			return err
		}
	}
	return nil
}

// filter returns which rows of the table the query can need; nil is all.
func (q *query) filter(t *warehouse.Table) iceberg.BooleanExpression {
	if q.whole || len(q.places[t.Name]) == 0 {
		return nil
	}
	return filter(t, q.places[t.Name])
}

// columns returns the table's columns that the query can need: those that it names, or the first where it names none (it counts rows); nil is all.
func (q *query) columns(t *warehouse.Table) []string {
	if q.all {
		return nil
	}
	var out []string
	fields := t.Schema().Fields()
	for _, f := range fields {
		if q.names[strings.ToLower(f.Name)] {
			out = append(out, f.Name)
		}
	}
	if len(out) == 0 && len(fields) > 0 {
		out = []string{fields[0].Name}
	}
	return out
}
