package warehouse

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
	"golang.org/x/sync/errgroup"
)

// Table is a table at one point in time. It never changes; Commit returns the next one.
type Table struct {
	Name Name
	w    *Warehouse
	ice  *table.Table
}

// table makes iceberg-go's table ours: its file system and its commits go through this package.
func (w *Warehouse) table(name Name, t *table.Table) *Table {
	fs := func(ctx context.Context) (icebergio.IO, error) { return w.fileIO(ctx), nil }
	return &Table{name, w, table.New(t.Identifier(), t.Metadata(), t.MetadataLocation(), fs, &committer{w, t.Metadata()})}
}

// committer is the catalog as one Table sees it: it commits to the metadata that the Table was loaded with, or not at all.
type committer struct {
	w    *Warehouse
	base table.Metadata
}

// LoadTable is table.CatalogIO's.
func (c *committer) LoadTable(ctx context.Context, id table.Identifier) (*table.Table, error) {
	return c.w.cat.LoadTable(ctx, id)
}

// CommitTable is table.CatalogIO's. Its error is ErrConflict where nothing was committed because the table had moved on, and then never one that iceberg-go repeats.
func (c *committer) CommitTable(ctx context.Context, id table.Identifier, reqs []table.Requirement, updates []table.Update) (table.Metadata, string, error) {
	if err := c.w.Held(ctx); err != nil {
		return nil, "", err
	}
	if c.w.kind == "rest" {
		// The protocol has no such requirement: what it has (the branch's snapshot, the schema) decides, and this finds all but what happens in the moment between.
		now, err := c.w.cat.LoadTable(ctx, id)
		switch {
		case errors.Is(err, catalog.ErrNoSuchTable):
			return nil, "", fmt.Errorf("%w: %w", ErrNoTable, err)
		case err != nil:
			return nil, "", c.w.redact(err)
		}
		if err := (unchanged{c.base}).Validate(now.Metadata()); err != nil {
			return nil, "", err
		}
	} else {
		reqs = append([]table.Requirement{unchanged{c.base}}, reqs...)
	}
	meta, location, err := c.w.cat.CommitTable(ctx, id, reqs, updates)
	switch {
	case err == nil:
		return meta, location, nil
	case errors.Is(err, ErrConflict):
		return nil, "", err
	case errors.Is(err, table.ErrCommitFailed), errors.Is(err, table.ErrCommitDiverged):
		return nil, "", fmt.Errorf("%w: %s", ErrConflict, c.w.redact(err)) //nolint:errorlint // iceberg-go must not find its own error in it: it would repeat the commit
	case errors.Is(err, catalog.ErrNoSuchTable):
		return nil, "", fmt.Errorf("%w: %w", ErrNoTable, err)
	}
	return nil, "", c.w.redact(err)
}

// unchanged is the requirement that nobody committed since base was loaded, properties included. The SQL catalog checks requirements here, against what it then replaces by comparing pointers.
type unchanged struct{ base table.Metadata }

// Validate is table.Requirement's.
func (u unchanged) Validate(now table.Metadata) error {
	if now == nil {
		return fmt.Errorf("%w: the table is gone", ErrNoTable)
	}
	if !now.Equals(u.base) {
		return ErrConflict
	}
	return nil
}

// GetType is table.Requirement's.
func (unchanged) GetType() string { return "millrace-unchanged" }

// Iceberg returns iceberg-go's view, for what this package has no words for (maintenance).
func (t *Table) Iceberg() *table.Table { return t.ice }

// Schema returns the columns with their field ids.
func (t *Table) Schema() *iceberg.Schema { return t.ice.Schema() }

// Partition returns the names of the identity partition's columns.
func (t *Table) Partition() []string {
	var names []string
	spec := t.ice.Spec()
	for _, f := range spec.Fields() {
		if _, ok := f.Transform.(iceberg.IdentityTransform); ok {
			names = append(names, t.columnName(f))
		}
	}
	return names
}

// columnName returns the name of the column of a partition field.
func (t *Table) columnName(f iceberg.PartitionField) string {
	if c, ok := t.Schema().FindFieldByID(f.SourceID()); ok {
		return c.Name
	}
	return f.Name
}

// Properties returns the table's properties.
func (t *Table) Properties() map[string]string { return maps.Clone(t.ice.Properties()) }

// Location returns where the table lies, as the catalog has it.
func (t *Table) Location() string { return t.ice.Location() }

// Snapshot returns the id of the current snapshot, 0 where the table has none.
func (t *Table) Snapshot() int64 {
	if s := t.ice.CurrentSnapshot(); s != nil {
		return s.SnapshotID
	}
	return 0
}

const (
	prefetches    = 16
	prefetchBytes = 1 << 20 // of a manifest; a larger one may be ruled out by its partitions
)

// housekeeping is what each of our tables has among its properties.
var housekeeping = map[string]string{
	table.ManifestMergeEnabledKey:             "true",
	table.ManifestMinMergeCountKey:            "10", // each run plans anew, and reads them all
	table.MetadataDeleteAfterCommitEnabledKey: "true",
	table.MetadataPreviousVersionsMaxKey:      "20",
	"write.parquet.compression-codec":         "zstd",
}

// Ensure returns the table, made where it is missing; columns that it lacks are added (nested ones too) and the name mapping renewed. A column whose type in spec differs from the table's
// is an error that names both, and nothing is changed; so is another partition. Columns of the table that spec lacks stay. ErrConflict (wrapped) where another writer was faster.
func (w *Warehouse) Ensure(ctx context.Context, name Name, spec Spec) (*Table, error) {
	t, err := w.Load(ctx, name)
	if errors.Is(err, ErrNoTable) {
		t, err = w.create(ctx, name, spec)
	}
	if err != nil {
		return nil, err
	}
	if got := t.Partition(); !slices.Equal(got, spec.Partition) {
		return nil, &Damaged{name, t.ice.MetadataLocation(), fmt.Errorf("it is partitioned by %q and not by %q", got, spec.Partition)}
	}
	return t.evolve(ctx, spec)
}

func (w *Warehouse) create(ctx context.Context, name Name, spec Spec) (*Table, error) {
	if len(spec.Columns) == 0 {
		return nil, fmt.Errorf("make %s: no columns", name)
	}
	id := 0
	fields := numbered(spec.fields(), &id)
	// The ids that the catalog gives, so that the name mapping and the partition are right at once.
	schema, err := iceberg.AssignFreshSchemaIDs(iceberg.NewSchema(0, fields...), nil)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	mapping, err := json.Marshal(schema.NameMapping())
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	props := iceberg.Properties{table.DefaultNameMappingKey: string(mapping)}
	maps.Copy(props, housekeeping)
	maps.Copy(props, spec.Properties)
	partition := make([]iceberg.PartitionField, len(spec.Partition))
	for i, column := range spec.Partition {
		f, ok := schema.FindFieldByName(column)
		if !ok {
			return nil, fmt.Errorf("make %s: there is no column %q to partition by", name, column)
		}
		partition[i] = iceberg.PartitionField{SourceIDs: []int{f.ID}, FieldID: 1000 + i, Name: column, Transform: iceberg.IdentityTransform{}}
	}
	if err := w.Held(ctx); err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	ps := iceberg.NewPartitionSpec(partition...)
	t, err := w.cat.CreateTable(ctx, w.identifier(name), schema, catalog.WithLocation(w.location+"/"+name.Namespace+"/"+name.Table), catalog.WithPartitionSpec(&ps), catalog.WithProperties(props))
	if errors.Is(err, catalog.ErrTableAlreadyExists) {
		return w.Load(ctx, name)
	}
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, w.redact(err))
	}
	return w.table(name, t), nil
}

// fields returns the columns as iceberg-go has them.
func (s Spec) fields() []iceberg.NestedField {
	fields := make([]iceberg.NestedField, len(s.Columns))
	for i, c := range s.Columns {
		fields[i] = iceberg.NestedField{Name: c.Name, Type: c.Type, Doc: c.Doc}
	}
	return fields
}

// numbered returns the fields, and those below them, optional and with ids of their own from *last + 1 on: iceberg-go panics where two have one.
func numbered(fields []iceberg.NestedField, last *int) []iceberg.NestedField {
	out := slices.Clone(fields)
	for i := range out {
		*last++
		out[i].ID, out[i].Required = *last, false
		out[i].Type = numberedType(out[i].Type, last)
	}
	return out
}

func numberedType(t iceberg.Type, last *int) iceberg.Type {
	switch t := t.(type) {
	case *iceberg.StructType:
		return &iceberg.StructType{FieldList: numbered(t.FieldList, last)}
	case *iceberg.ListType:
		*last++
		l := &iceberg.ListType{ElementID: *last}
		l.Element = numberedType(t.Element, last)
		return l
	case *iceberg.MapType:
		*last += 2
		m := &iceberg.MapType{KeyID: *last - 1, ValueID: *last}
		m.KeyType = numberedType(t.KeyType, last)
		m.ValueType = numberedType(t.ValueType, last)
		return m
	}
	return t
}

// addition is a column that a table lacks.
type addition struct {
	path  []string
	field iceberg.NestedField
}

// evolve adds what the table lacks of the columns, and sets what our tables need of properties.
func (t *Table) evolve(ctx context.Context, spec Spec) (*Table, error) {
	adds, err := missing(nil, t.Schema().Fields(), spec.fields())
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", t.Name, err)
	}
	tx := t.ice.NewTransaction()
	if len(adds) > 0 {
		update := tx.UpdateSchema(true, false)
		for _, a := range adds {
			id := 0
			a.field = numbered([]iceberg.NestedField{a.field}, &id)[0]
			update = update.AddColumn(a.path, a.field.Type, a.field.Doc, false, nil)
		}
		if err := update.Commit(); err != nil {
			return nil, fmt.Errorf("add columns to %s: %w", t.Name, err)
		}
	}
	staged, err := tx.StagedTable()
	if err != nil {
		return nil, fmt.Errorf("add columns to %s: %w", t.Name, err)
	}
	// Without it Trino reads new columns of files that have no field ids as NULL, without a word.
	mapping, err := json.Marshal(staged.Schema().NameMapping())
	if err != nil {
		return nil, fmt.Errorf("add columns to %s: %w", t.Name, err)
	}
	set := iceberg.Properties{}
	have := t.ice.Properties()
	for k, v := range housekeeping {
		if have[k] != v {
			set[k] = v
		}
	}
	if !sameJSON(have[table.DefaultNameMappingKey], mapping) {
		set[table.DefaultNameMappingKey] = string(mapping)
	}
	if len(adds) == 0 && len(set) == 0 {
		return t, nil
	}
	if err := tx.SetProperties(set); err != nil {
		return nil, fmt.Errorf("set properties of %s: %w", t.Name, err)
	}
	return t.commit(ctx, tx, "add columns to")
}

// sameJSON reports whether the text is the same JSON, whatever the order of keys that another writer chose.
func sameJSON(text string, want []byte) bool {
	if text == string(want) {
		return true
	}
	var a, b any
	if json.Unmarshal([]byte(text), &a) != nil || json.Unmarshal(want, &b) != nil {
		return false
	}
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && string(x) == string(y)
}

// missing returns what of wanted the fields lack, by name, in order. Another type under the same name is an error.
func missing(path []string, have, wanted []iceberg.NestedField) ([]addition, error) {
	var adds []addition
	for _, w := range wanted {
		at := append(slices.Clone(path), w.Name)
		i := slices.IndexFunc(have, func(h iceberg.NestedField) bool { return h.Name == w.Name })
		if i < 0 {
			adds = append(adds, addition{at, w})
			continue
		}
		below, err := differ(at, have[i].Type, w.Type)
		if err != nil {
			return nil, err
		}
		adds = append(adds, below...)
	}
	return adds, nil
}

// differ returns what the type have lacks of wanted, which must be the same but for fields of structs.
func differ(path []string, have, wanted iceberg.Type) ([]addition, error) {
	switch h := have.(type) {
	case *iceberg.StructType:
		if w, ok := wanted.(*iceberg.StructType); ok {
			return missing(path, h.FieldList, w.FieldList)
		}
	case *iceberg.ListType:
		if w, ok := wanted.(*iceberg.ListType); ok {
			return differ(append(slices.Clone(path), "element"), h.Element, w.Element)
		}
	case *iceberg.MapType:
		if w, ok := wanted.(*iceberg.MapType); ok {
			if _, err := differ(append(slices.Clone(path), "key"), h.KeyType, w.KeyType); err != nil {
				return nil, err
			}
			return differ(append(slices.Clone(path), "value"), h.ValueType, w.ValueType)
		}
	default:
		if have.Equals(wanted) {
			return nil, nil
		}
	}
	return nil, fmt.Errorf("column %s is %s and would become %s", strings.Join(path, "."), have, wanted)
}

// commit sends the transaction, which must be against exactly the table's metadata.
func (t *Table) commit(ctx context.Context, tx *table.Transaction, what string) (*Table, error) {
	if err := tx.AssertRefSnapshotID(table.MainBranch); err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, t.Name, err)
	}
	next, err := tx.Commit(ctx)
	if err != nil {
		if errors.Is(err, table.ErrCommitFailed) && !errors.Is(err, ErrConflict) {
			err = fmt.Errorf("%w: %w", ErrConflict, err)
		}
		return nil, fmt.Errorf("%s %s: %w", what, t.Name, t.w.redact(err))
	}
	return t.w.table(t.Name, next), nil
}

// File is a data file of a table.
type File struct {
	Path        string // s3://bucket/key
	Rows, Bytes int64
	Partition   map[string]any   // by column; dates as iceberg.Date, nil for the partition of NULLs
	Deletes     []string         // paths of position delete files that apply to it (Trino's DELETE, UPDATE and MERGE write them)
	Data        iceberg.DataFile // statistics and all else
	deletes     []iceberg.DataFile
}

// file makes a File of iceberg-go's.
func (t *Table) file(d iceberg.DataFile, deletes []iceberg.DataFile) File {
	f := File{Path: d.FilePath(), Rows: d.Count(), Bytes: d.FileSizeBytes(), Data: d, Partition: map[string]any{}, deletes: deletes}
	for _, d := range deletes {
		f.Deletes = append(f.Deletes, d.FilePath())
	}
	meta := t.ice.Metadata()
	spec := meta.PartitionSpecByID(int(d.SpecID()))
	if spec == nil {
		return f
	}
	values := d.Partition()
	for _, p := range spec.Fields() {
		v := values[p.FieldID]
		if days, ok := v.(int32); ok {
			if c, found := t.Schema().FindFieldByID(p.SourceID()); found && c.Type.Equals(iceberg.PrimitiveTypes.Date) {
				v = iceberg.Date(days) // written without Avro's logical type
			}
		}
		f.Partition[t.columnName(p)] = v
	}
	return f
}

// Plan returns the files that can hold rows that match the filter (nil: all), by path. Rows that do not match can be in them. Equality deletes, which nobody of ours or Trino's writes, are an error.
func (t *Table) Plan(ctx context.Context, filter iceberg.BooleanExpression) ([]File, error) {
	if t.ice.CurrentSnapshot() == nil {
		return nil, nil
	}
	if filter == nil {
		filter = iceberg.AlwaysTrue{}
	}
	if err := t.prefetch(ctx); err != nil {
		return nil, fmt.Errorf("plan %s: %w", t.Name, err)
	}
	tasks, err := t.ice.Scan(table.WithRowFilter(filter)).PlanFiles(ctx)
	if err != nil {
		return nil, fmt.Errorf("plan %s: %w", t.Name, err)
	}
	files := make([]File, 0, len(tasks))
	for _, task := range tasks {
		if len(task.EqualityDeleteFiles) > 0 || len(task.DeletionVectorFiles) > 0 {
			return nil, fmt.Errorf("plan %s: %s has equality deletes or deletion vectors, which curate cannot read", t.Name, task.File.FilePath())
		}
		files = append(files, t.file(task.File, task.DeleteFiles))
	}
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return files, nil
}

// prefetch reads the current snapshot's small manifests into memory.
func (t *Table) prefetch(ctx context.Context) error {
	manifests, err := t.ice.CurrentSnapshot().Manifests(t.w.fileIO(ctx))
	if err != nil {
		return err
	}
	var paths []string
	for _, m := range manifests {
		if m.Length() <= prefetchBytes {
			paths = append(paths, m.FilePath())
		}
	}
	return t.w.prefetch(ctx, paths)
}

// prefetch reads metadata into memory, many objects at a time: iceberg-go reads as many as there are processors, or one, and the store's latency is what planning costs.
func (w *Warehouse) prefetch(ctx context.Context, paths []string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(prefetches)
	fs := w.fileIO(ctx)
	for _, p := range paths {
		group.Go(func() error {
			_, err := fs.ReadFile(p)
			return err
		})
	}
	return group.Wait()
}

// Changes are the files by which two snapshots differ.
type Changes struct {
	Added, Removed []File
}

// Changes returns the files added and removed since the snapshot (0: all files are added), without those of compactions. A file of position deletes counts as removed, with its partition. What
// was added may have been removed since, and is then in both. ErrExpired (wrapped).
func (t *Table) Changes(ctx context.Context, since int64) (Changes, error) {
	var c Changes
	if since == 0 {
		files, err := t.Plan(ctx, nil)
		return Changes{Added: files}, err
	}
	meta, fs := t.ice.Metadata(), t.w.fileIO(ctx)
	for id := t.Snapshot(); id != since; {
		s := meta.SnapshotByID(id)
		if s == nil {
			return Changes{}, fmt.Errorf("changes of %s since snapshot %d: %w", t.Name, since, ErrExpired)
		}
		if s.Summary == nil || s.Summary.Operation != table.OpReplace {
			if err := t.snapshotChanges(fs, s, &c); err != nil {
				return Changes{}, fmt.Errorf("changes of %s by snapshot %d: %w", t.Name, id, err)
			}
		}
		id = 0
		if s.ParentSnapshotID != nil {
			id = *s.ParentSnapshotID
		}
	}
	return c, nil
}

// snapshotChanges adds what the snapshot changed.
func (t *Table) snapshotChanges(fs icebergio.IO, s *table.Snapshot, c *Changes) error {
	manifests, err := s.Manifests(fs)
	if err != nil {
		return err
	}
	for _, m := range manifests {
		if m.SnapshotID() != s.SnapshotID {
			continue // as an earlier snapshot wrote it
		}
		for e, err := range m.Entries(fs, false) {
			if err != nil {
				return err
			}
			if e.SnapshotID() != s.SnapshotID {
				continue // carried over by a merge of manifests
			}
			f := t.file(e.DataFile(), nil)
			switch added := e.Status() == iceberg.EntryStatusADDED; {
			case e.Status() == iceberg.EntryStatusEXISTING:
			case m.ManifestContent() == iceberg.ManifestContentDeletes:
				c.Removed = append(c.Removed, f)
			case added:
				c.Added = append(c.Added, f)
			default:
				c.Removed = append(c.Removed, f)
			}
		}
	}
	return nil
}

// Live returns how many rows the files have that no position delete takes; it can be fewer than that where two deletes take one row, or a delete is of other files too.
func Live(files []File) int64 {
	var n int64
	deletes := map[string]int64{}
	for _, f := range files {
		n += f.Rows
		for _, d := range f.deletes {
			deletes[d.FilePath()] = d.Count()
		}
	}
	for _, rows := range deletes {
		n -= rows
	}
	return max(n, 0)
}
