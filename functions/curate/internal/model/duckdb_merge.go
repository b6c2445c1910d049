package model

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
)

// fileColumn is, in relations of rows that are looked for, the local path of the file that a row is of.
const fileColumn = "millrace_file"

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

// meeting is the rows of the target that have a key of the new rows.
type meeting struct {
	rows       string           // temp table of Build.Contest and fileColumn; "" where there are none
	files      []warehouse.File // that hold them
	paths      []string         // their local paths
	candidates []warehouse.File // all that were looked at
}

// merge holds the new rows, of which each has a key of its own, against the target's, and rewrites the files that hold rows that lose.
func (s *duckStaged) merge(ctx context.Context) error {
	m, staged := s.b.Model, s.rows
	key, columns := list(m.UniqueKey), list(m.all())
	oldest, err := s.oldest(ctx, staged)
	if err != nil {
		return err
	}
	s.counts.Duplicates = s.losers
	met, err := s.meet(ctx, staged, oldest)
	if err != nil {
		return err
	}
	affected := ""
	if met.rows != "" {
		if affected, err = s.keep(ctx, "affected", "select distinct "+key+" from "+met.rows); err != nil {
			return err
		}
	}
	if err := s.findConflicts(ctx, staged, affected, met.rows); err != nil {
		return err
	}
	if met.rows == "" {
		return s.remains(ctx, met)
	}
	best, err := s.keep(ctx, "best", "select "+list(s.b.Contest())+" from "+staged+" semi join "+affected+" using ("+key+")")
	if err != nil {
		return err
	}
	join := " from " + best + " n join (select *, row_number() over (partition by " + key + " order by " + m.Ranking("") + ") as millrace_rank from " + met.rows + ") o using (" + key + ") where o.millrace_rank = 1 and "
	beaten, err := s.keep(ctx, "beaten", "select "+key+join+m.Better("n", "o"))
	if err != nil {
		return err
	}
	lost, err := s.keep(ctx, "lost", "select "+key+join+"not "+m.Better("n", "o"))
	if err != nil {
		return err
	}
	n, err := s.one(ctx, "select (select count(*) from "+lost+"), (select count(*) from "+beaten+")")
	if err != nil {
		return err
	}
	nLost, nBeaten := n[0], n[1]
	s.counts.Added -= nLost + nBeaten
	s.counts.Duplicates += nLost
	// survivors are the rows of a relation of new rows that stay.
	survivors := func(relation string) string {
		return "select " + columns + " from " + relation + " anti join " + lost + " using (" + key + ")"
	}
	s.add = slices.Clone(s.written)
	var again []string // what the rewritten files are to hold
	if nLost > 0 {
		if s.rows, err = s.define(ctx, "new", survivors(staged)); err != nil {
			return err
		}
		// Files of the query stay as they are where no row of theirs lost.
		written, err := s.origins(ctx, "written", s.schema, locals(s.written), m.UniqueKey)
		if err != nil {
			return err
		}
		spoiled, err := s.perFile(ctx, written+" semi join "+lost+" using ("+key+")")
		if err != nil {
			return err
		}
		rewrite := slices.DeleteFunc(slices.Clone(s.written), func(p string) bool { return spoiled[p] == 0 })
		s.add = slices.DeleteFunc(slices.Clone(s.written), func(p string) bool { return spoiled[p] > 0 })
		v, err := s.view(ctx, "spoiled", s.schema, locals(rewrite), nil)
		if err != nil {
			return err
		}
		again = append(again, survivors(v))
	}
	if nBeaten > 0 {
		holding, err := s.perFile(ctx, met.rows+" semi join "+beaten+" using ("+key+")")
		if err != nil {
			return err
		}
		for i, p := range met.paths {
			if n := holding[p]; n > 0 {
				s.remove, s.counts.Replaced = append(s.remove, met.files[i]), s.counts.Replaced+n
			}
		}
		old, err := s.fetched(ctx, "beaten_files", s.remove)
		if err != nil {
			return err
		}
		again = append(again, "select "+columns+" from "+old+" anti join "+beaten+" using ("+key+")")
	}
	written, err := s.e.db.Write(ctx, strings.Join(again, " union all "), s.schema, s.b.Spec.Partition, s.next)
	if err != nil {
		return err
	}
	for _, w := range written {
		s.add = append(s.add, w.Path)
	}
	return s.remains(ctx, met)
}

// oldest is when the first of the new rows arrived, the zero time where the model does not say. Rows without a key are an error.
func (s *duckStaged) oldest(ctx context.Context, staged string) (oldest time.Time, err error) {
	m := s.b.Model
	nulls := make([]string, len(m.UniqueKey))
	for i, k := range m.UniqueKey {
		nulls[i] = quote(k) + " is null"
	}
	arrival := "null"
	if c := m.Arrival(); c != "" {
		arrival = "min(" + quote(c) + ")"
	}
	err = s.e.db.Rows(ctx, "select count_if("+strings.Join(nulls, " or ")+"), cast("+arrival+" as timestamp) from "+staged, func(_ []string, row []any) error {
		n, err := count(row[0])
		if err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("%d rows have no %s, which is the unique key: leave them out by a condition", n, strings.Join(m.UniqueKey, ", "))
		}
		if t, ok := row[1].(time.Time); ok {
			oldest = t.UTC()
		}
		return nil
	})
	return oldest, err
}

// meet finds the target's rows that have a key of the new ones. Of all files that can hold some it reads the key alone; what else rows are compared by, of those that do.
func (s *duckStaged) meet(ctx context.Context, staged string, oldest time.Time) (met meeting, err error) {
	if s.b.Mode != Merge || s.b.Target == nil || len(s.written) == 0 {
		return met, nil
	}
	touched, err := s.partitions(ctx, staged)
	if err != nil {
		return met, err
	}
	fs, err := s.b.Target.Plan(ctx, nil)
	if err != nil {
		return met, err
	}
	met.candidates = s.b.Candidates(fs, touched, oldest)
	if len(met.candidates) == 0 {
		return met, nil
	}
	key := list(s.b.Model.UniqueKey)
	ls, err := s.e.w.Fetch(ctx, met.candidates, s.b.Model.UniqueKey)
	if err != nil {
		return met, err
	}
	keys, err := s.origins(ctx, "keys", s.b.Target.Schema(), ls, s.b.Model.UniqueKey)
	if err != nil {
		return met, err
	}
	hits, err := s.keep(ctx, "hits", "select "+key+", "+fileColumn+" from "+keys+" semi join "+staged+" using ("+key+")")
	if err != nil {
		return met, err
	}
	holding, err := s.perFile(ctx, hits)
	if err != nil || len(holding) == 0 {
		return met, err
	}
	for i, l := range ls {
		if holding[l.Path] > 0 {
			met.files, met.paths = append(met.files, met.candidates[i]), append(met.paths, l.Path)
		}
	}
	if len(met.files) != len(holding) {
		return met, fmt.Errorf("rows of %d files have keys of new rows, of which %d are known", len(holding), len(met.files))
	}
	if ls, err = s.e.w.Fetch(ctx, met.files, s.b.Contest()); err != nil {
		return met, err
	}
	old, err := s.origins(ctx, "old", s.b.Target.Schema(), ls, s.b.Contest())
	if err != nil {
		return met, err
	}
	met.rows, err = s.keep(ctx, "met", "select * from "+old+" semi join "+hits+" using ("+key+")")
	return met, err
}

// origins makes a view over local files, with fileColumn.
func (s *duckStaged) origins(ctx context.Context, name string, schema *iceberg.Schema, ls []warehouse.Local, columns []string) (string, error) {
	n := warehouse.Name{Namespace: duckSchema, Table: s.prefix + name}
	if err := s.e.db.Origins(ctx, n, schema, ls, columns, fileColumn); err != nil {
		return "", err
	}
	return s.made(n), nil
}

// perFile counts the rows of a relation by the file that they are of.
func (s *duckStaged) perFile(ctx context.Context, relation string) (map[string]int64, error) {
	out := map[string]int64{}
	err := s.e.db.Rows(ctx, "select "+fileColumn+", count(*) from "+relation+" group by "+fileColumn, func(_ []string, row []any) error {
		path, ok := row[0].(string)
		if !ok {
			return fmt.Errorf("a file came as %T", row[0])
		}
		n, err := count(row[1])
		out[path] = n
		return err
	})
	return out, err
}

// findConflicts keeps, of the keys with several data, the best copy of each data.
func (s *duckStaged) findConflicts(ctx context.Context, staged, affected, met string) error {
	if !s.b.Conflicts {
		return nil
	}
	m := s.b.Model
	columns := list(s.b.Contest())
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

// remains makes the relation of the touched partitions as they will be, for tests of uniqueness. Of a key it has the new rows and those that met them alone: no other can be one of theirs twice.
func (s *duckStaged) remains(ctx context.Context, met meeting) error {
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
	look, alone := met.candidates, s.b.Model.TestsKeyAlone()
	if alone {
		look = met.files
	}
	var old []warehouse.File
	for _, f := range look {
		if touched.Has(f, s.b.Model.Partition) && !slices.ContainsFunc(s.remove, func(r warehouse.File) bool { return r.Path == f.Path }) {
			old = append(old, f)
		}
	}
	added, err := s.view(ctx, "added", s.schema, locals(s.add), columns)
	if err != nil {
		return err
	}
	query := "select " + list(columns) + " from " + added
	if len(old) > 0 {
		ls, err := s.e.w.Fetch(ctx, old, columns)
		if err != nil {
			return err
		}
		v, err := s.view(ctx, "unchanged", s.b.Target.Schema(), ls, columns)
		if err != nil {
			return err
		}
		query += " union all select " + list(columns) + " from " + v
		if alone {
			query += " semi join " + met.rows + " using (" + list(columns) + ")"
		}
	}
	s.after, err = s.define(ctx, "after", query)
	return err
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
	known, err := s.told(ctx)
	if err != nil {
		return err
	}
	fs, err := t.Plan(ctx, known)
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

// exactly is up to how many root ids are named one by one to find the files of ops.conflicts that can have them; of more the first and the last. iceberg-go's own limit is the same.
const exactly = 200

// told is a filter for the files of ops.conflicts that can have rows of the conflicts' root ids.
func (s *duckStaged) told(ctx context.Context) (iceberg.BooleanExpression, error) {
	id := iceberg.Reference("root_id")
	source := iceberg.EqualTo(iceberg.Reference("source"), s.b.Source)
	var ids []string
	read := func(_ []string, row []any) error {
		for _, v := range row {
			text, ok := v.(string)
			if !ok {
				return fmt.Errorf("a root id came as %T", v)
			}
			ids = append(ids, text)
		}
		return nil
	}
	if err := s.e.db.Rows(ctx, fmt.Sprintf("select distinct root_id from %s limit %d", s.conflicts, exactly+1), read); err != nil {
		return nil, err
	}
	if len(ids) <= exactly {
		return iceberg.NewAnd(source, iceberg.IsIn(id, ids...)), nil
	}
	ids = nil
	if err := s.e.db.Rows(ctx, "select min(root_id), max(root_id) from "+s.conflicts, read); err != nil {
		return nil, err
	}
	return iceberg.NewAnd(source, iceberg.GreaterThanEqual(id, ids[0]), iceberg.LessThanEqual(id, ids[1])), nil
}
