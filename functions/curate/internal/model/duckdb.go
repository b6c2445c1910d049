package model

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
)

// duckSchema is DuckDB's schema of what a build makes on its way.
const duckSchema = "millrace"

// DuckDialect is how DuckDB wants the runner's statements. A CTE that is read twice is computed twice rather than kept.
var DuckDialect = Dialect{Inline: "not materialized"}

// NewDuck returns the engine that computes models with DuckDB on fetched files, and commits files. It uses the database alone while the runner runs.
func NewDuck(db *duck.DB, w *warehouse.Warehouse) Engine { return &duckEngine{db: db, w: w} }

type duckEngine struct {
	db *duck.DB
	w  *warehouse.Warehouse
	n  int
}

// duckStaged is a build's rows in local files.
type duckStaged struct {
	e      *duckEngine
	b      *Build
	schema *iceberg.Schema
	prefix string
	views  []string // to be dropped
	tables []string

	copied    string   // temp table of the query's rows whose key several of them have; "" where there are none
	losers    int64    // of those, how many the query's best left behind
	written   []string // by the query, each key once
	add       []string // what a commit adds
	remove    []warehouse.File
	removeAll bool
	rows      string // views
	after     string
	conflicts string // temp table; "" where there are none
	counts    Counts
	done      bool
}

// Stage computes the rows into files.
func (e *duckEngine) Stage(ctx context.Context, b *Build) (_ Staged, err error) {
	e.n++
	s := &duckStaged{e: e, b: b, prefix: "b" + strconv.Itoa(e.n) + "_"}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Discard(context.WithoutCancel(ctx)))
		}
	}()
	s.schema = s.coming()
	if err := e.relations(ctx, b.Inputs); err != nil {
		return nil, err
	}
	query, err := s.single(ctx, b.SQL(DuckDialect))
	if err != nil {
		return nil, err
	}
	written, err := s.write(ctx, query)
	for _, w := range written {
		s.written = append(s.written, w.Path)
		s.counts.Added += w.Rows
	}
	if err != nil {
		return nil, err
	}
	s.add = s.written
	if s.rows, err = s.view(ctx, "rows", s.schema, locals(s.written), nil); err != nil {
		return nil, err
	}
	s.after = s.rows
	switch b.Mode {
	case Rebuild:
		s.removeAll = b.Target != nil
		if b.Target != nil {
			if s.remove, err = b.Target.Plan(ctx, nil); err != nil {
				return nil, err
			}
		}
		s.countRemoved()
		s.remove = nil
	case Overwrite:
		if err := s.overwrite(ctx); err != nil {
			return nil, err
		}
	case Merge:
	}
	if len(b.Model.UniqueKey) > 0 {
		if err := s.merge(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// write writes the query's rows. What is no merge is mostly sums: they are computed once, and kept for Write to see which partitions they are of.
func (s *duckStaged) write(ctx context.Context, query string) ([]duck.Written, error) {
	if len(s.b.Model.UniqueKey) > 0 || s.b.Model.Partition == "" {
		return s.e.db.Write(ctx, query, s.schema, s.b.Spec.Partition, s.next)
	}
	computed, err := s.keep(ctx, "computed", query)
	if err != nil {
		return nil, err
	}
	written, err := s.e.db.Write(ctx, "select * from "+computed, s.schema, s.b.Spec.Partition, s.next)
	return written, errors.Join(err, s.e.db.Exec(context.WithoutCancel(ctx), "drop table "+computed))
}

func (s *duckStaged) countRemoved() {
	for _, f := range s.remove {
		s.counts.Removed += f.Rows
	}
}

// coming is the schema that the table has when the rows are committed: its own with the columns that it lacks behind, as Ensure gives them ids, or a new table's.
func (s *duckStaged) coming() *iceberg.Schema {
	if t := s.b.Target; t != nil && !s.b.Recreate {
		return fresh(t.Schema().Fields(), t.Iceberg().Metadata().LastColumnID(), s.b.Spec)
	}
	return fresh(nil, 0, s.b.Spec)
}

// fresh is the fields with the columns that they lack behind.
func fresh(have []iceberg.NestedField, last int, spec warehouse.Spec) *iceberg.Schema {
	fields := slices.Clone(have)
	for _, c := range spec.Columns {
		if !slices.ContainsFunc(fields, func(f iceberg.NestedField) bool { return f.Name == c.Name }) {
			last++
			fields = append(fields, iceberg.NestedField{ID: last, Name: c.Name, Type: c.Type, Doc: c.Doc})
		}
	}
	return iceberg.NewSchema(0, fields...)
}

// next is a path for a file of the target.
func (s *duckStaged) next() string { return s.e.w.NewFile(&warehouse.Table{Name: s.b.Name}) }

func locals(paths []string) []warehouse.Local {
	out := make([]warehouse.Local, len(paths))
	for i, p := range paths {
		out[i] = warehouse.Local{Path: p, File: warehouse.File{Path: p}}
	}
	return out
}

// relations makes the inputs' tables known to DuckDB.
func (e *duckEngine) relations(ctx context.Context, inputs []Input) error {
	for _, in := range inputs {
		fs, err := in.Table.Plan(ctx, in.Filter)
		if err != nil {
			return err
		}
		if err := e.relation(ctx, in.Name, in.Table.Schema(), fs, in.Columns); err != nil {
			return err
		}
	}
	return nil
}

func (e *duckEngine) relation(ctx context.Context, name warehouse.Name, schema *iceberg.Schema, fs []warehouse.File, columns []string) error {
	if columns != nil && len(columns) == 0 { // such as count(*): some column has to be there
		columns = []string{schema.Fields()[0].Name}
	}
	ls, err := e.w.Fetch(ctx, fs, columns)
	if err != nil {
		return err
	}
	return e.db.Relation(ctx, name, schema, ls, columns, "")
}

// view makes a view over local files.
func (s *duckStaged) view(ctx context.Context, name string, schema *iceberg.Schema, ls []warehouse.Local, columns []string) (string, error) {
	n := warehouse.Name{Namespace: duckSchema, Table: s.prefix + name}
	if err := s.e.db.Relation(ctx, n, schema, ls, columns, ""); err != nil {
		return "", err
	}
	return s.made(n), nil
}

// made keeps in mind a view that was made, and returns its name in SQL.
func (s *duckStaged) made(n warehouse.Name) string {
	full := duck.Quote(n.Namespace) + "." + duck.Quote(n.Table)
	s.views = append(s.views, full)
	return full
}

// define makes a view of a query.
func (s *duckStaged) define(ctx context.Context, name, query string) (string, error) {
	full := duck.Quote(duckSchema) + "." + duck.Quote(s.prefix+name)
	s.views = append(s.views, full)
	return full, s.e.db.Exec(ctx, "create view "+full+" as "+query)
}

// keep makes a temporary table of a query.
func (s *duckStaged) keep(ctx context.Context, name, query string) (string, error) {
	full := duck.Quote(s.prefix + name)
	s.tables = append(s.tables, full)
	return full, s.e.db.Exec(ctx, "create temp table "+full+" as "+query)
}

// one runs a query of one row of numbers.
func (s *duckStaged) one(ctx context.Context, query string) (out []int64, err error) {
	err = s.e.db.Rows(ctx, query, func(_ []string, row []any) error {
		for _, v := range row {
			n, err := count(v)
			if err != nil {
				return err
			}
			out = append(out, n)
		}
		return nil
	})
	return out, err
}

// partitions returns the values of the partition's column in a relation.
func (s *duckStaged) partitions(ctx context.Context, relation string) (out Partitions, err error) {
	if s.b.Model.Partition == "" {
		return out, nil
	}
	c := quote(s.b.Model.Partition)
	err = s.e.db.Rows(ctx, "select distinct date_diff('day', date '1970-01-01', "+c+") from "+relation, func(_ []string, row []any) error {
		if row[0] == nil {
			out.Null = true
			return nil
		}
		n, err := count(row[0])
		out.Days = append(out.Days, iceberg.Date(n))
		return err
	})
	slices.Sort(out.Days)
	return out, err
}

// overwrite finds the files of the partitions that are recomputed.
func (s *duckStaged) overwrite(ctx context.Context) error {
	got, err := s.partitions(ctx, s.rows)
	if err != nil {
		return err
	}
	other := Partitions{Null: got.Null && !s.b.Days.Null}
	for _, d := range got.Days {
		if !slices.Contains(s.b.Days.Days, d) {
			other.Days = append(other.Days, d)
		}
	}
	if names := other.names(); len(names) > 0 {
		return fmt.Errorf("rows of %s = %s come of other partitions of %s: strategy insert_overwrite needs rows of one partition to come of that partition of the upstream",
			s.b.Model.Partition, names[0], s.b.Model.Upstream)
	}
	fs, err := s.b.Target.Plan(ctx, s.b.Days.filter(s.b.Model.Partition))
	if err != nil {
		return err
	}
	for _, f := range fs {
		if s.b.Days.Has(f, s.b.Model.Partition) {
			s.remove = append(s.remove, f)
		}
	}
	s.countRemoved()
	return nil
}

// list is the columns, quoted.
func list(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = quote(n)
	}
	return strings.Join(out, ", ")
}

// all are the names of the model's columns.
func (m *Model) all() []string {
	out := make([]string, len(m.Columns))
	for i, c := range m.Columns {
		out[i] = c.Name
	}
	return out
}

// fetched makes a view over files of the target, with all of their columns.
func (s *duckStaged) fetched(ctx context.Context, name string, fs []warehouse.File) (string, error) {
	ls, err := s.e.w.Fetch(ctx, fs, nil)
	if err != nil {
		return "", err
	}
	return s.view(ctx, name, s.b.Target.Schema(), ls, nil)
}

// Relations are views.
func (s *duckStaged) Relations() (rows, after string) { return s.rows, s.after }

// Query runs the SELECT.
func (s *duckStaged) Query(ctx context.Context, sql string, inputs []Input, f func(columns []string, row []any) error) error {
	if err := s.e.relations(ctx, inputs); err != nil {
		return err
	}
	return s.e.db.Rows(ctx, sql, f)
}

// Commit tells the conflicts, then commits the files with the checkpoint.
func (s *duckStaged) Commit(ctx context.Context) (Counts, error) {
	if err := s.tell(ctx); err != nil {
		return Counts{}, fmt.Errorf("telling conflicts: %w", err)
	}
	t := s.b.Target
	if t != nil && s.b.Recreate {
		if err := s.e.w.Drop(ctx, s.b.Name); err != nil {
			return Counts{}, err
		}
		t = nil
	}
	if t == nil || len(t.Schema().Fields()) != len(s.schema.Fields()) {
		made, err := s.e.w.Ensure(ctx, s.b.Name, s.b.Spec)
		if err != nil {
			return Counts{}, err
		}
		for _, f := range s.schema.Fields() {
			if g, ok := made.Schema().FindFieldByID(f.ID); !ok || g.Name != f.Name || !g.Type.Equals(f.Type) {
				return Counts{}, fmt.Errorf("table %s gave column %s another id: its files are of no use", s.b.Name, f.Name)
			}
		}
		if t != nil && made.Snapshot() != t.Snapshot() {
			return Counts{}, fmt.Errorf("table %s: %w", s.b.Name, warehouse.ErrConflict)
		}
		t = made
	}
	c := warehouse.Change{Add: s.add, Remove: s.remove, Properties: s.b.Properties}
	if s.removeAll {
		c.Remove, c.RemoveAll = nil, true
	}
	if _, err := s.e.w.Commit(ctx, t, c); err != nil {
		return Counts{}, err
	}
	s.done = true
	return s.counts, nil
}

// Discard drops what the build made, and removes the files that were not committed.
func (s *duckStaged) Discard(ctx context.Context) error {
	var errs []error
	for _, v := range slices.Backward(s.views) {
		errs = append(errs, s.e.db.Exec(ctx, "drop view if exists "+v))
	}
	for _, t := range s.tables {
		errs = append(errs, s.e.db.Exec(ctx, "drop table if exists "+t))
	}
	for _, p := range slices.Concat(s.written, s.add) {
		if s.done && slices.Contains(s.add, p) {
			continue // the warehouse has it for whoever reads the table next
		}
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
