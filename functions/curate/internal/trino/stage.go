package trino

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/warehouse"
)

// staged is a build's rows in tables of the stage.
type staged struct {
	e      *Engine
	b      *model.Build
	id     string
	tables map[string]*warehouse.Table // of the stage, by what they are for
	wrote  map[string]int64            // rows that Trino said it wrote into them

	delta, rows, after string // relations
	met                string // rows of the target with keys of the delta; "" where there are none
	losing             []warehouse.File
	removed            []warehouse.File // Overwrite
	counts             model.Counts
}

// The tables of a build in the stage.
const (
	deltaTable = "delta" // all rows of the query
	rowsTable  = "rows"  // those that the target takes
	keptTable  = "kept"  // of files that hold rows that lose, the others
	metTable   = "met"   // of the target, the rows that have a key of delta
	bestTable  = "best"  // of delta, those that rows is to have, where it takes several statements to write them
	toldTable  = "told"  // new rows of ops.conflicts
	pathColumn = "millrace_path"
)

// adoptable are the properties of a table whose objects may become another's: no engine is to delete them with it.
var adoptable = map[string]string{"gc.enabled": "false"}

// Stage computes the rows into tables of the stage.
func (e *Engine) Stage(ctx context.Context, b *model.Build) (_ model.Staged, err error) {
	s := &staged{e: e, b: b, id: strings.ToLower(rand.Text()[:12]), tables: map[string]*warehouse.Table{}, wrote: map[string]int64{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Discard(context.WithoutCancel(ctx)))
		}
	}()
	spec := warehouse.Spec{Columns: s.columns(), Partition: b.Spec.Partition, Properties: adoptable}
	if s.rows, err = s.make(ctx, rowsTable, spec); err != nil {
		return nil, err
	}
	s.after = s.rows
	sql := b.SQL(e.dialect())
	if len(b.Model.UniqueKey) == 0 && b.Model.Partition == "" {
		if s.counts.Added, err = s.insert(ctx, rowsTable, s.names(), "select "+list("q", s.names())+" from ("+sql+") q"); err != nil {
			return nil, err
		}
	} else {
		if s.delta, err = s.make(ctx, deltaTable, warehouse.Spec{Columns: s.columns()}); err != nil {
			return nil, err
		}
		n, err := s.insert(ctx, deltaTable, s.names(), "select "+list("q", s.names())+" from ("+sql+") q")
		if err != nil {
			return nil, err
		}
		if err := s.choose(ctx, n); err != nil {
			return nil, err
		}
	}
	if err := s.replaced(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// choose fills rows from delta, which has n.
func (s *staged) choose(ctx context.Context, n int64) error {
	m := s.b.Model
	if n == 0 {
		return nil
	}
	days, err := s.partitions(ctx, s.delta)
	if err != nil {
		return err
	}
	from := s.delta
	if len(m.UniqueKey) > 0 {
		if err := s.meet(ctx, days); err != nil {
			return err
		}
		from = "(" + s.best() + ")"
		if len(days.Days) > partitionsAtOnce { // lest each statement finds them again
			if from, err = s.make(ctx, bestTable, warehouse.Spec{Columns: s.columns()}); err != nil {
				return err
			}
			if _, err := s.insert(ctx, bestTable, s.names(), s.best()); err != nil {
				return err
			}
		}
	}
	if s.counts.Added, err = s.fill(ctx, days, "select "+list("n", s.names())+" from "+from+" n", "n"); err != nil {
		return err
	}
	s.counts.Duplicates = n - s.counts.Added
	if s.met != "" {
		if err := s.beaten(ctx); err != nil {
			return err
		}
		s.counts.Added -= s.counts.Replaced
	}
	if s.b.Mode != model.Merge || s.b.Target == nil || s.b.Recreate {
		return nil
	}
	where := ""
	if m.Partition != "" {
		where = days.Where(m.Partition) + " and "
	}
	if m.TestsKeyAlone() { // then no other row can be one of theirs twice
		if s.met != "" {
			s.after = "(select " + list("t", m.UniqueKey) + " from " + s.met + " t where " + where + s.notIn("t", s.rows) + " union all select " + list("r", m.UniqueKey) + " from " + s.rows + " r)"
		}
		return nil
	}
	names := s.shared()
	s.after = "(select " + list("t", names) + " from " + s.e.table(s.b.Name) + " t where " + where + s.notIn("t", s.rows) + " union all select " + list("r", names) + " from " + s.rows + " r)"
	return nil
}

// shared are the columns that the target has already.
func (s *staged) shared() []string {
	return slices.DeleteFunc(s.names(), func(n string) bool {
		_, ok := s.b.Target.Schema().FindFieldByName(n)
		return !ok
	})
}

// columns are the target's in their order, so that the stage's tables give the same field ids, then those that it lacks.
func (s *staged) columns() []warehouse.Column {
	var out []warehouse.Column
	if t := s.b.Target; t != nil && !s.b.Recreate {
		for _, f := range t.Schema().Fields() {
			out = append(out, warehouse.Column{Name: f.Name, Type: f.Type})
		}
	}
	for _, c := range s.b.Spec.Columns {
		if !slices.ContainsFunc(out, func(o warehouse.Column) bool { return o.Name == c.Name }) {
			out = append(out, warehouse.Column{Name: c.Name, Type: c.Type})
		}
	}
	return out
}

func (s *staged) names() []string {
	var out []string
	for _, c := range s.b.Spec.Columns {
		out = append(out, c.Name)
	}
	return out
}

// make makes a table of the stage, and returns it as Trino's SQL has it.
func (s *staged) make(ctx context.Context, purpose string, spec warehouse.Spec) (string, error) {
	name := warehouse.Name{Namespace: stageNamespace, Table: s.b.Model.Name + "_" + purpose + "_" + s.id}
	t, err := s.e.w.Ensure(ctx, name, spec)
	if err != nil {
		return "", err
	}
	s.tables[purpose] = t
	return s.e.table(name), nil
}

// insert has a table of the stage take the rows of the query, and keeps count.
func (s *staged) insert(ctx context.Context, purpose string, columns []string, query string) (int64, error) {
	n, err := s.e.exec(ctx, "insert into "+s.e.table(s.tables[purpose].Name)+" ("+list("", columns)+") "+query)
	s.wrote[purpose] += n
	return n, err
}

// verified returns the files of the stage's tables. A statement whose answer got lost on the way is sent again by the driver, and by gateways, while it may be at work: then a table has rows twice, and nothing
// that was made of it may be used.
func (s *staged) verified(ctx context.Context) (map[string][]warehouse.File, error) {
	out := map[string][]warehouse.File{}
	for purpose, t := range s.tables {
		now, err := s.e.w.Load(ctx, t.Name)
		if err != nil {
			return nil, err
		}
		if out[purpose], err = now.Plan(ctx, nil); err != nil {
			return nil, err
		}
		var rows int64
		for _, f := range out[purpose] {
			rows += f.Rows
		}
		if rows != s.wrote[purpose] {
			return nil, fmt.Errorf("Trino said it wrote %d rows into %s, which has %d: a statement ran twice", s.wrote[purpose], t.Name, rows) //nolint:staticcheck // a name
		}
	}
	return out, nil
}

// fill inserts the rows of the query, whose rows lie in the partitions, some partitions at a time. alias is the query's name of what has the partition's column.
func (s *staged) fill(ctx context.Context, days model.Partitions, query, alias string) (int64, error) {
	partition := s.b.Model.Partition
	if partition == "" || len(days.Days) <= partitionsAtOnce {
		return s.insert(ctx, rowsTable, s.names(), query)
	}
	var rows int64
	for chunk := range slices.Chunk(days.Days, partitionsAtOnce) {
		some := model.Partitions{Days: chunk, Null: days.Null && chunk[0] == days.Days[0]}
		n, err := s.insert(ctx, rowsTable, s.names(), "select * from ("+query+") "+alias+" where "+some.Where(partition))
		if err != nil {
			return rows, err
		}
		rows += n
	}
	return rows, nil
}

// partitions returns the partitions that rows of a relation lie in.
func (s *staged) partitions(ctx context.Context, relation string) (model.Partitions, error) {
	var out model.Partitions
	if s.b.Model.Partition == "" {
		return out, nil
	}
	err := s.e.query(ctx, "select distinct date_diff('day', date '1970-01-01', "+quote(s.b.Model.Partition)+") from "+relation+" r", func(_ []string, row []any) error {
		switch v := row[0].(type) {
		case nil:
			out.Null = true
		case int64:
			out.Days = append(out.Days, iceberg.Date(v))
		default:
			return fmt.Errorf("a day came as %T", v)
		}
		return nil
	})
	slices.Sort(out.Days)
	return out, err
}

// meet keeps the target's rows that have a key of the delta, as far as they are looked for.
func (s *staged) meet(ctx context.Context, days model.Partitions) error {
	m := s.b.Model
	var nulls []string
	for _, k := range m.UniqueKey {
		nulls = append(nulls, quote(k)+" is null")
	}
	missing, err := s.number(ctx, "select count_if("+strings.Join(nulls, " or ")+") from "+s.delta)
	if err != nil {
		return err
	}
	if missing > 0 {
		return fmt.Errorf("%d rows have no %s, which is the unique key: leave them out by a condition", missing, strings.Join(m.UniqueKey, ", "))
	}
	if s.b.Mode != model.Merge || s.b.Target == nil || s.b.Recreate {
		return nil
	}
	oldest, err := s.oldest(ctx)
	if err != nil {
		return err
	}
	files, err := s.b.Target.Plan(ctx, nil)
	if err != nil {
		return err
	}
	files = s.b.Candidates(files, days, oldest)
	look := model.Partitions{Days: slices.Clone(days.Days), Null: days.Null}
	for _, f := range files {
		if d, dated := f.Partition[m.Partition].(iceberg.Date); dated {
			look.Days = append(look.Days, d)
		} else {
			look.Null = true
		}
	}
	if len(files) == 0 {
		return nil
	}
	slices.Sort(look.Days)
	look.Days = slices.Compact(look.Days)
	where := ""
	if m.Partition != "" {
		where = look.Where(m.Partition) + " and "
	}
	contest := s.b.Contest()
	spec := warehouse.Spec{}
	for _, c := range s.columns() {
		if slices.Contains(contest, c.Name) {
			spec.Columns = append(spec.Columns, c)
		}
	}
	spec.Columns = append(spec.Columns, warehouse.Column{Name: pathColumn, Type: iceberg.PrimitiveTypes.String})
	table, err := s.make(ctx, metTable, spec)
	if err != nil {
		return err
	}
	n, err := s.insert(ctx, metTable, append(slices.Clone(contest), pathColumn), "select "+list("t", contest)+`, t."$path" from `+s.e.table(s.b.Name)+" t where "+where+s.in("t", s.delta))
	if n > 0 {
		s.met = table
	}
	return err
}

// oldest is when the first row of the delta arrived, the zero time where the model does not say.
func (s *staged) oldest(ctx context.Context) (oldest time.Time, err error) {
	column := s.b.Model.Arrival()
	if column == "" {
		return oldest, nil
	}
	err = s.e.query(ctx, "select cast(min("+quote(column)+") as timestamp(6)) from "+s.delta, func(_ []string, row []any) error {
		if t, ok := row[0].(time.Time); ok {
			oldest = t.UTC()
		}
		return nil
	})
	return oldest, err
}

// best is a query of the delta's best row of each key, without those that lose against the target.
func (s *staged) best() string {
	m := s.b.Model
	key, all := list("d", m.UniqueKey), list("d", s.names())
	// Only keys with copies are ranked: ranking all rows breaks Trino's memory.
	query := "with millrace_twice as (select " + key + " from " + s.delta + " d group by " + key + " having count(*) > 1), " +
		"millrace_ranked as (select " + all + ", row_number() over (partition by " + key + " order by " + m.Ranking("d") + ", " + all + ") as millrace_rank from " + s.delta + " d where " + s.in("d", "millrace_twice") + "), " +
		"millrace_best as (select " + all + " from " + s.delta + " d where " + s.notIn("d", "millrace_twice") + " union all select " + all + " from millrace_ranked d where d.millrace_rank = 1) " +
		"select " + list("b", s.names()) + " from millrace_best b"
	if s.met == "" {
		return query
	}
	contest := s.b.Contest()
	return query + " left join (select " + list("t", contest) + " from (select " + list("m", contest) + ", row_number() over (partition by " + list("m", m.UniqueKey) + " order by " + m.Ranking("m") +
		") as millrace_rank from " + s.met + " m) t where t.millrace_rank = 1) o on " + s.same("b", "o") + " where o." + quote(m.UniqueKey[0]) + " is null or " + m.Better("b", "o")
}

// beaten finds the files of the target that hold rows that lose.
func (s *staged) beaten(ctx context.Context) error {
	counts := map[string]bool{}
	err := s.e.query(ctx, "select m."+pathColumn+", count(*) from "+s.met+" m where "+s.in("m", s.rows)+" group by m."+pathColumn, func(_ []string, row []any) error {
		path, text := row[0].(string)
		n, number := row[1].(int64)
		if !text || !number {
			return fmt.Errorf("a path and a number came as %T and %T", row[0], row[1])
		}
		counts[path] = true
		s.counts.Replaced += n
		return nil
	})
	if err != nil || len(counts) == 0 {
		return err
	}
	files, err := s.b.Target.Plan(ctx, nil)
	if err != nil {
		return err
	}
	for _, f := range files {
		if counts[f.Path] {
			s.losing = append(s.losing, f)
			delete(counts, f.Path)
		}
	}
	for path := range counts {
		return fmt.Errorf("Trino read %s, which is no file of %s as this run knows it: %w", path, s.b.Name, warehouse.ErrConflict) //nolint:staticcheck // a name
	}
	return nil
}

// keep writes the files that hold rows that lose anew, without those.
func (s *staged) keep(ctx context.Context) error {
	spec := warehouse.Spec{Columns: s.columns(), Partition: s.b.Spec.Partition, Properties: adoptable}
	if _, err := s.make(ctx, keptTable, spec); err != nil {
		return err
	}
	// Some files at a time: a statement's text has a limit, and so have its partitions.
	for chunk := range slices.Chunk(s.losing, partitionsAtOnce) {
		paths := make([]string, len(chunk))
		for i, f := range chunk {
			paths[i] = literal(f.Path)
		}
		_, err := s.insert(ctx, keptTable, s.names(), "select "+list("t", s.names())+" from "+s.e.table(s.b.Name)+` t where t."$path" in (`+strings.Join(paths, ", ")+") and "+s.notIn("t", s.rows))
		if err != nil {
			return err
		}
	}
	return nil
}

// replaced finds what Rebuild and Overwrite take away.
func (s *staged) replaced(ctx context.Context) error {
	if s.b.Mode == model.Merge || s.b.Target == nil {
		return nil
	}
	days := map[iceberg.Date]bool{}
	for _, d := range s.b.Days.Days {
		days[d] = true
	}
	if s.b.Mode == model.Overwrite {
		got, err := s.partitions(ctx, s.rows)
		if err != nil {
			return err
		}
		got.Days = slices.DeleteFunc(got.Days, func(d iceberg.Date) bool { return days[d] })
		if got.Null = got.Null && !s.b.Days.Null; len(got.Days) > 0 || got.Null {
			return fmt.Errorf("rows where %s come of other partitions of %s: strategy insert_overwrite needs rows of one partition to come of that partition of the upstream",
				got.Where(s.b.Model.Partition), s.b.Model.Upstream)
		}
	}
	files, err := s.b.Target.Plan(ctx, nil)
	if err != nil {
		return err
	}
	for _, f := range files {
		if s.b.Mode == model.Overwrite {
			if d, dated := f.Partition[s.b.Model.Partition].(iceberg.Date); dated && !days[d] || !dated && !s.b.Days.Null {
				continue
			}
		}
		s.removed = append(s.removed, f)
		s.counts.Removed += f.Rows
	}
	return nil
}

// Relations are tables of the stage, and a query over the target.
func (s *staged) Relations() (rows, after string) { return s.rows, s.after }

// Query runs the SELECT.
func (s *staged) Query(ctx context.Context, sql string, inputs []model.Input, f func(columns []string, row []any) error) error {
	for _, in := range inputs { // by their names in the warehouse, which the catalog may prefix
		sql = strings.ReplaceAll(sql, quote(in.Name.Namespace)+"."+quote(in.Name.Table), s.e.table(in.Name))
	}
	return s.e.query(ctx, sql, f)
}

// Commit tells the conflicts, then makes the rows the target's, with the checkpoint.
func (s *staged) Commit(ctx context.Context) (model.Counts, error) {
	conflicts, err := s.tell(ctx)
	if err != nil {
		return model.Counts{}, fmt.Errorf("telling conflicts: %w", err)
	}
	if len(s.losing) > 0 {
		if err := s.keep(ctx); err != nil {
			return model.Counts{}, fmt.Errorf("writing the files that hold rows that lose: %w", err)
		}
	}
	files, err := s.verified(ctx)
	if err != nil {
		return model.Counts{}, err
	}
	if len(files[toldTable]) > 0 {
		if err := sameIDs(conflicts, s.tables[toldTable]); err != nil {
			return model.Counts{}, err
		}
		if _, err := s.e.w.Commit(ctx, conflicts, warehouse.Change{Adopt: files[toldTable]}); err != nil {
			return model.Counts{}, fmt.Errorf("telling conflicts: %w", err)
		}
	}
	change := warehouse.Change{Adopt: slices.Concat(files[rowsTable], files[keptTable]), Remove: s.losing, Properties: s.b.Properties}
	if s.b.Mode != model.Merge {
		change.Remove = s.removed
	}
	planned := s.b.Target
	if s.b.Recreate && planned != nil {
		if err := s.e.w.Drop(ctx, s.b.Name); err != nil {
			return model.Counts{}, err
		}
		planned, change.Remove = nil, nil
	}
	target, err := s.e.w.Ensure(ctx, s.b.Name, s.b.Spec)
	if err != nil {
		return model.Counts{}, err
	}
	if planned == nil && target.Snapshot() != 0 || planned != nil && planned.Snapshot() != target.Snapshot() {
		return model.Counts{}, fmt.Errorf("table %s: %w", s.b.Name, warehouse.ErrConflict)
	}
	if err := sameIDs(target, s.tables[rowsTable]); err != nil {
		return model.Counts{}, err
	}
	if _, err := s.e.w.Commit(ctx, target, change); err != nil {
		return model.Counts{}, err
	}
	return s.counts, nil
}

// sameIDs says whether files of one table can be the other's: readers find columns by field id.
func sameIDs(target, stage *warehouse.Table) error {
	for _, f := range stage.Schema().Fields() {
		if g, ok := target.Schema().FindFieldByID(f.ID); !ok || g.Name != f.Name || !g.Type.Equals(f.Type) {
			return fmt.Errorf("table %s has column %s under another field id than a new table has: drop it, and the next run makes it anew", target.Name, f.Name)
		}
	}
	return nil
}

// tell finds the conflicts that are not in ops.conflicts yet, which it returns, or nil where there are none at all. A kill behind their commit is harmless: the next run finds them there.
func (s *staged) tell(ctx context.Context) (*warehouse.Table, error) {
	if !s.b.Conflicts || s.delta == "" {
		return nil, nil
	}
	m, columns := s.b.Model, s.b.Contest()
	seen := "select " + list("d", columns) + " from " + s.delta + " d"
	if s.met != "" {
		seen += " union all select " + list("m", columns) + " from " + s.met + " m"
	}
	with := "with millrace_seen as (" + seen + "), millrace_several as (select root_id from millrace_seen group by root_id having count(distinct coalesce(data_hash, '')) > 1) "
	n, err := s.number(ctx, with+"select count(*) from millrace_several")
	if err != nil || n == 0 {
		return nil, err
	}
	t, err := s.e.w.Ensure(ctx, model.ConflictsTable, model.ConflictsSpec())
	if err != nil {
		return nil, err
	}
	spec := warehouse.Spec{Properties: adoptable}
	for _, f := range t.Schema().Fields() {
		spec.Columns = append(spec.Columns, warehouse.Column{Name: f.Name, Type: f.Type})
	}
	if _, err := s.make(ctx, toldTable, spec); err != nil {
		return nil, err
	}
	source := literal(s.b.Source)
	s.counts.Conflicts, err = s.insert(ctx, toldTable, []string{"source", "root_id", "data_hash", "arrived_at", "kafka_partition", "kafka_offset"}, with+
		", millrace_ranked as (select s.root_id, coalesce(s.data_hash, '') as data_hash, s.arrived_at, s.kafka_partition, s.kafka_offset, row_number() over (partition by s.root_id, coalesce(s.data_hash, '') order by "+
		m.Ranking("s")+") as millrace_rank from millrace_seen s where s.root_id in (select v.root_id from millrace_several v)) "+
		"select "+source+", r.root_id, r.data_hash, cast(r.arrived_at as timestamp(6) with time zone), cast(r.kafka_partition as integer), cast(r.kafka_offset as bigint) from millrace_ranked r where r.millrace_rank = 1 "+
		"and not exists (select 1 from "+s.e.table(t.Name)+" c where c.source = "+source+" and c.root_id = r.root_id and c.data_hash = r.data_hash)")
	return t, err
}

// discarding is how long Discard tries: what it leaves, the next Open clears.
const discarding = 20 * time.Second

// Discard forgets the tables of the stage; objects that are nobody's are deleted.
func (s *staged) Discard(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, discarding)
	defer cancel()
	var errs []error
	for purpose, t := range s.tables {
		if purpose == rowsTable || purpose == keptTable || purpose == toldTable {
			// Its objects may be the target's. Those that are not are orphans, which maintenance removes.
			errs = append(errs, s.e.w.Drop(ctx, t.Name))
			continue
		}
		_, err := s.e.exec(ctx, "drop table if exists "+s.e.table(t.Name))
		errs = append(errs, err)
	}
	s.tables = map[string]*warehouse.Table{}
	return errors.Join(errs...)
}

// number runs a query of one number.
func (s *staged) number(ctx context.Context, query string) (out int64, err error) {
	err = s.e.query(ctx, query, func(_ []string, row []any) error {
		n, ok := row[0].(int64)
		if !ok {
			return fmt.Errorf("a number came as %T", row[0])
		}
		out = n
		return nil
	})
	return out, err
}

// same is a condition that two rows have one key.
func (s *staged) same(a, b string) string {
	parts := make([]string, len(s.b.Model.UniqueKey))
	for i, k := range s.b.Model.UniqueKey {
		parts[i] = a + "." + quote(k) + " = " + b + "." + quote(k)
	}
	return strings.Join(parts, " and ")
}

// in is a condition that a relation has the key of the row named a.
func (s *staged) in(a, relation string) string {
	return "exists (select 1 from " + relation + " millrace_x where " + s.same(a, "millrace_x") + ")"
}

func (s *staged) notIn(a, relation string) string { return "not " + s.in(a, relation) }

// list is the columns, quoted, of the relation named alias.
func list(alias string, names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		if out[i] = quote(n); alias != "" {
			out[i] = alias + "." + out[i]
		}
	}
	return strings.Join(out, ", ")
}
