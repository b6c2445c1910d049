package model

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

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
	written, err := e.db.Write(ctx, query, s.schema, b.Spec.Partition, s.next)
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
	full := duck.Quote(n.Namespace) + "." + duck.Quote(n.Table)
	s.views = append(s.views, full)
	return full, nil
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
func (s *duckStaged) partitions(ctx context.Context, relation string) (map[any]bool, error) {
	out := map[any]bool{}
	if s.b.Model.Partition == "" {
		return out, nil
	}
	c := quote(s.b.Model.Partition)
	err := s.e.db.Rows(ctx, "select distinct date_diff('day', date '1970-01-01', "+c+") from "+relation, func(_ []string, row []any) error {
		if row[0] == nil {
			out[nil] = true
			return nil
		}
		n, err := count(row[0])
		out[iceberg.Date(n)] = true
		return err
	})
	return out, err
}

// in says whether the file is of one of the partitions; any is, of a table without.
func (s *duckStaged) in(f warehouse.File, partitions map[any]bool) bool {
	if s.b.Model.Partition == "" {
		return true
	}
	if d, ok := f.Partition[s.b.Model.Partition].(iceberg.Date); ok {
		return partitions[d]
	}
	return partitions[nil]
}

// overwrite finds the files of the partitions that are recomputed.
func (s *duckStaged) overwrite(ctx context.Context) error {
	days := map[any]bool{}
	for _, d := range s.b.Days.Days {
		days[d] = true
	}
	if s.b.Days.Null {
		days[nil] = true
	}
	got, err := s.partitions(ctx, s.rows)
	if err != nil {
		return err
	}
	for d := range got {
		if !days[d] {
			name := "null"
			if d, ok := d.(iceberg.Date); ok {
				name = day(d)
			}
			return fmt.Errorf("rows of %s = %s come of other partitions of %s: strategy insert_overwrite needs rows of one partition to come of that partition of the upstream",
				s.b.Model.Partition, name, s.b.Model.Upstream)
		}
	}
	fs, err := s.b.Target.Plan(ctx, s.b.Days.filter(s.b.Model.Partition))
	if err != nil {
		return err
	}
	for _, f := range fs {
		if s.in(f, days) {
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

// single is the query with the best row of each key alone. Copies are found by the key first, and only they are numbered; rows are written once, whether or not there are copies.
func (s *duckStaged) single(ctx context.Context, query string) (string, error) {
	m := s.b.Model
	if len(m.UniqueKey) == 0 {
		return query, nil
	}
	key := list(m.UniqueKey)
	keys, err := s.keep(ctx, "copies", "select "+key+" from ("+query+") group by "+key+" having count(*) > 1")
	if err != nil {
		return "", err
	}
	n, err := s.one(ctx, "select count(*) from "+keys)
	if err != nil || n[0] == 0 {
		return query, err
	}
	if s.copied, err = s.keep(ctx, "copied", "select * from ("+query+") semi join "+keys+" using ("+key+")"); err != nil {
		return "", err
	}
	if n, err = s.one(ctx, "select (select count(*) from "+s.copied+") - (select count(distinct ("+key+")) from "+s.copied+")"); err != nil {
		return "", err
	}
	s.losers = n[0]
	columns := list(m.all())
	return "select " + columns + " from (" + query + ") anti join " + keys + " using (" + key + ") union all select " + columns + " from (select *, row_number() over (partition by " + key +
		" order by " + m.Ranking("") + ", " + columns + ") as millrace_rank from " + s.copied + ") where millrace_rank = 1", nil
}

// all are the names of the model's columns.
func (m *Model) all() []string {
	out := make([]string, len(m.Columns))
	for i, c := range m.Columns {
		out[i] = c.Name
	}
	return out
}

// merge holds the new rows, of which each has a key of its own, against the target's, and rewrites the files that hold rows that lose.
func (s *duckStaged) merge(ctx context.Context) error {
	m, staged := s.b.Model, s.rows
	key := list(m.UniqueKey)
	nulls := make([]string, len(m.UniqueKey))
	for i, k := range m.UniqueKey {
		nulls[i] = quote(k) + " is null"
	}
	n, err := s.one(ctx, "select count_if("+strings.Join(nulls, " or ")+") from "+staged)
	if err != nil {
		return err
	}
	if n[0] > 0 {
		return fmt.Errorf("%d rows have no %s, which is the unique key: leave them out by a condition", n[0], strings.Join(m.UniqueKey, ", "))
	}
	s.counts.Duplicates = s.losers
	candidates, met, err := s.meet(ctx, staged)
	if err != nil {
		return err
	}
	var keys int64
	affected := ""
	if met != "" {
		if affected, err = s.keep(ctx, "affected", "select distinct "+key+" from "+met); err != nil {
			return err
		}
		if n, err = s.one(ctx, "select count(*) from "+affected); err != nil {
			return err
		}
		keys = n[0]
	}
	if err := s.findConflicts(ctx, staged, affected, met); err != nil {
		return err
	}
	if keys == 0 {
		return s.remains(ctx, candidates, nil)
	}
	all := m.all()
	best, err := s.keep(ctx, "best", "select "+list(s.contest())+" from "+staged+" semi join "+affected+" using ("+key+")")
	if err != nil {
		return err
	}
	join := " from " + best + " n join (select *, row_number() over (partition by " + key + " order by " + m.Ranking("") + ") as millrace_rank from " + met + ") o using (" + key + ") where o.millrace_rank = 1 and "
	beaten, err := s.keep(ctx, "beaten", "select "+key+join+m.Better("n", "o"))
	if err != nil {
		return err
	}
	lost, err := s.keep(ctx, "lost", "select "+key+join+"not "+m.Better("n", "o"))
	if err != nil {
		return err
	}
	if n, err = s.one(ctx, "select (select count(*) from "+lost+"), (select count(*) from "+beaten+")"); err != nil {
		return err
	}
	nLost, nBeaten := n[0], n[1]
	s.counts.Added -= nLost + nBeaten
	s.counts.Duplicates += nLost
	columns := list(all)
	// survivors are the rows of a relation of new rows that stay.
	survivors := func(relation string) string {
		return "select " + columns + " from " + relation + " anti join " + lost + " using (" + key + ")"
	}
	if nLost > 0 {
		if s.rows, err = s.define(ctx, "new", survivors(staged)); err != nil {
			return err
		}
	}
	// Files of the query stay as they are where no row of theirs lost.
	spoiled, clean, err := s.holding(ctx, "w", s.schema, locals(s.written), lost)
	if err != nil {
		return err
	}
	rewrite, err := s.view(ctx, "spoiled", s.schema, spoiled, nil)
	if err != nil {
		return err
	}
	query := survivors(rewrite)
	if nBeaten > 0 {
		if s.remove, s.counts.Replaced, err = s.beaten(ctx, candidates, beaten); err != nil {
			return err
		}
		old, err := s.fetched(ctx, "beaten_files", s.remove, nil)
		if err != nil {
			return err
		}
		query += " union all select " + columns + " from " + old + " anti join " + beaten + " using (" + key + ")"
	}
	written, err := s.e.db.Write(ctx, query, s.schema, s.b.Spec.Partition, s.next)
	if err != nil {
		return err
	}
	s.add = nil
	for _, l := range clean {
		s.add = append(s.add, l.Path)
	}
	for _, w := range written {
		s.add = append(s.add, w.Path)
	}
	return s.remains(ctx, candidates, s.remove)
}

// contest is the columns by which rows of a key are compared and told.
func (s *duckStaged) contest() []string {
	m := s.b.Model
	names := slices.Clone(m.UniqueKey)
	for _, o := range m.Order {
		names = append(names, o.Column)
	}
	if m.Partition != "" {
		names = append(names, m.Partition)
	}
	if s.b.Conflicts {
		names = append(names, "data_hash", "arrived_at", "kafka_partition", "kafka_offset")
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// meet returns the target's files that can hold rows of the new rows' keys, and a table of those rows; "" where there are no files.
func (s *duckStaged) meet(ctx context.Context, staged string) (candidates []warehouse.File, met string, err error) {
	if s.b.Mode != Merge || s.b.Target == nil || len(s.written) == 0 {
		return nil, "", nil
	}
	touched, err := s.partitions(ctx, staged)
	if err != nil {
		return nil, "", err
	}
	since, bounded, err := s.since(ctx, staged)
	if err != nil {
		return nil, "", err
	}
	fs, err := s.b.Target.Plan(ctx, nil)
	if err != nil {
		return nil, "", err
	}
	for _, f := range fs {
		if s.in(f, touched) || !bounded || !before(f, s.schema, since) {
			candidates = append(candidates, f)
		}
	}
	if len(candidates) == 0 {
		return nil, "", nil
	}
	old, err := s.fetched(ctx, "old", candidates, s.contest())
	if err != nil {
		return nil, "", err
	}
	met, err = s.keep(ctx, "met", "select * from "+old+" semi join "+staged+" using ("+list(s.b.Model.UniqueKey)+")")
	return candidates, met, err
}

// since is from when on existing rows are looked at for copies, by their arrival; bounded is false where the model does not say when a row arrived.
func (s *duckStaged) since(ctx context.Context, staged string) (since time.Time, bounded bool, err error) {
	if t := s.b.Model.typeOf(arrivedAt); t != "timestamptz" && t != "timestamp" {
		return since, false, nil
	}
	err = s.e.db.Rows(ctx, "select cast(min("+arrivedAt+") as timestamp) from "+staged, func(_ []string, row []any) error {
		if t, ok := row[0].(time.Time); ok {
			since, bounded = t.UTC().Add(-s.b.Window), true
		}
		return nil
	})
	return since, bounded, err
}

const arrivedAt = "arrived_at"

// before says whether all rows of the file arrived before the time, by its statistics.
func before(f warehouse.File, schema *iceberg.Schema, since time.Time) bool {
	field, ok := schema.FindFieldByName(arrivedAt)
	if !ok {
		return false
	}
	bytes, ok := f.Data.UpperBoundValues()[field.ID]
	if !ok {
		return false
	}
	lit, err := iceberg.LiteralFromBytes(field.Type, bytes)
	if err != nil {
		return false // it is then looked at
	}
	l, ok := lit.(iceberg.TimestampLiteral)
	return ok && int64(l) < since.UnixMicro()
}

// fetched makes a view over files of the target.
func (s *duckStaged) fetched(ctx context.Context, name string, fs []warehouse.File, columns []string) (string, error) {
	ls, err := s.e.w.Fetch(ctx, fs, columns)
	if err != nil {
		return "", err
	}
	return s.view(ctx, name, s.b.Target.Schema(), ls, columns)
}

// holding parts files into those that hold rows of the keys and those that do not.
func (s *duckStaged) holding(ctx context.Context, name string, schema *iceberg.Schema, ls []warehouse.Local, keys string) (with, without []warehouse.Local, err error) {
	counts, err := s.perFile(ctx, name, schema, ls, keys)
	if err != nil {
		return nil, nil, err
	}
	for i, l := range ls {
		if counts[i] > 0 {
			with = append(with, l)
		} else {
			without = append(without, l)
		}
	}
	return with, without, nil
}

// perFile counts the rows of the keys in each of the files.
func (s *duckStaged) perFile(ctx context.Context, name string, schema *iceberg.Schema, ls []warehouse.Local, keys string) ([]int64, error) {
	out := make([]int64, len(ls))
	key := list(s.b.Model.UniqueKey)
	for i, l := range ls {
		v, err := s.view(ctx, name+strconv.Itoa(i), schema, []warehouse.Local{l}, s.b.Model.UniqueKey)
		if err != nil {
			return nil, err
		}
		n, err := s.one(ctx, "select count(*) from "+v+" semi join "+keys+" using ("+key+")")
		if err != nil {
			return nil, err
		}
		out[i] = n[0]
	}
	return out, nil
}

// beaten returns the files of the target that hold rows that lost, and how many those are.
func (s *duckStaged) beaten(ctx context.Context, candidates []warehouse.File, keys string) (fs []warehouse.File, rows int64, err error) {
	if s.b.Model.Partition != "" {
		met := duck.Quote(s.prefix + "met")
		of, err := s.partitions(ctx, "(select * from "+met+" semi join "+keys+" using ("+list(s.b.Model.UniqueKey)+"))")
		if err != nil {
			return nil, 0, err
		}
		candidates = slices.DeleteFunc(slices.Clone(candidates), func(f warehouse.File) bool { return !s.in(f, of) })
	}
	ls, err := s.e.w.Fetch(ctx, candidates, s.b.Model.UniqueKey)
	if err != nil {
		return nil, 0, err
	}
	counts, err := s.perFile(ctx, "o", s.b.Target.Schema(), ls, keys)
	if err != nil {
		return nil, 0, err
	}
	for i, n := range counts {
		if n > 0 {
			fs, rows = append(fs, candidates[i]), rows+n
		}
	}
	return fs, rows, nil
}

// findConflicts keeps, of the keys with several data, the best copy of each data.
func (s *duckStaged) findConflicts(ctx context.Context, staged, affected, met string) error {
	if !s.b.Conflicts {
		return nil
	}
	m := s.b.Model
	columns := list(s.contest())
	var groups []string // with a row twice, maybe, which the ranking does not mind
	if s.copied != "" {
		groups = append(groups, "select "+columns+" from "+s.copied)
	}
	if met != "" {
		groups = append(groups, "select "+columns+" from "+staged+" semi join "+affected+" using (root_id)", "select "+columns+" from "+met)
	}
	if len(groups) == 0 {
		return nil
	}
	group := strings.Join(groups, " union all ")
	query := "with g as (" + group + "), several as (select root_id from g group by root_id having count(distinct coalesce(data_hash, '')) > 1) " +
		"select " + duck.Literal(s.b.Source) + " as source, root_id, coalesce(data_hash, '') as data_hash, cast(arrived_at as timestamptz) as arrived_at, cast(kafka_partition as integer) as kafka_partition, " +
		"cast(kafka_offset as bigint) as kafka_offset from (select *, row_number() over (partition by root_id, coalesce(data_hash, '') order by " + m.Ranking("") +
		") as millrace_rank from g semi join several using (root_id)) where millrace_rank = 1"
	var err error
	s.conflicts, err = s.keep(ctx, "conflicts", query)
	return err
}

// remains makes the relation of the touched partitions as they will be, for tests of uniqueness.
func (s *duckStaged) remains(ctx context.Context, candidates, removed []warehouse.File) error {
	s.after = s.rows
	var columns []string
	for _, t := range s.b.Model.Tests {
		if t.Kind == Unique {
			columns = append(columns, t.Column)
		}
	}
	if len(columns) == 0 || s.b.Mode != Merge {
		return nil
	}
	slices.Sort(columns)
	columns = slices.Compact(columns)
	touched, err := s.partitions(ctx, s.rows)
	if err != nil {
		return err
	}
	var old []warehouse.File
	for _, f := range candidates {
		if s.in(f, touched) && !slices.ContainsFunc(removed, func(r warehouse.File) bool { return r.Path == f.Path }) {
			old = append(old, f)
		}
	}
	added, err := s.view(ctx, "added", s.schema, locals(s.add), columns)
	if err != nil {
		return err
	}
	query := "select " + list(columns) + " from " + added
	if len(old) > 0 {
		v, err := s.fetched(ctx, "unchanged", old, columns)
		if err != nil {
			return err
		}
		query += " union all select " + list(columns) + " from " + v
	}
	s.after, err = s.define(ctx, "after", query)
	return err
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

// tell adds the conflicts that are not there yet to ops.conflicts. A kill behind it is harmless: the next run finds them there.
func (s *duckStaged) tell(ctx context.Context) error {
	if s.conflicts == "" {
		return nil
	}
	n, err := s.one(ctx, "select count(*) from "+s.conflicts)
	if err != nil || n[0] == 0 {
		return err
	}
	t, err := s.e.w.Ensure(ctx, ConflictsTable, ConflictsSpec())
	if err != nil {
		return err
	}
	fs, err := t.Plan(ctx, nil)
	if err != nil {
		return err
	}
	ls, err := s.e.w.Fetch(ctx, fs, []string{"source", "root_id", "data_hash"})
	if err != nil {
		return err
	}
	there, err := s.view(ctx, "told", t.Schema(), ls, []string{"source", "root_id", "data_hash"})
	if err != nil {
		return err
	}
	written, err := s.e.db.Write(ctx, "select * from "+s.conflicts+" anti join "+there+" using (source, root_id, data_hash)", t.Schema(), nil, func() string { return s.e.w.NewFile(t) })
	if err != nil {
		return err
	}
	var add []string
	for _, w := range written {
		add = append(add, w.Path)
		s.counts.Conflicts += w.Rows
	}
	if len(add) == 0 {
		return nil
	}
	_, err = s.e.w.Commit(ctx, t, warehouse.Change{Add: add})
	return err
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
