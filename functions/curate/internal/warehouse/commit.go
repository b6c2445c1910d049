package warehouse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// transfers is how many objects are uploaded or fetched at the same time.
const transfers = 4

// NewFile returns a local path for a data file that is to be committed to the table.
func (w *Warehouse) NewFile(t *Table) string {
	return filepath.Join(w.scratch.dir, t.Name.Table+"-"+uuid.NewString()+".parquet")
}

// Change is what a commit does.
type Change struct {
	Add        []string          // local paths of Parquet files with the table's field ids, each with one value of the partition's columns; uploaded by Commit
	Adopt      []File            // data files of another table of this warehouse with the same columns, field ids and partition: they become this table's where they lie
	Remove     []File            // data files that are no longer the table's
	RemoveAll  bool              // all data files of this Table's snapshot in place of Remove
	Properties map[string]string // set; an empty value removes
	Compaction bool              // the rows stay the same: a snapshot of operation replace
}

// Commit uploads the files and commits the change, in one transaction, against exactly the snapshot that t is of: ErrConflict (wrapped) where the table has moved on. A change without files
// sets properties alone. After any other error the commit may still have happened: load the table and look at its properties.
//
// The local files must not change afterwards: they are what Fetch returns for the objects that they became.
func (w *Warehouse) Commit(ctx context.Context, t *Table, c Change) (*Table, error) {
	remove := c.Remove
	if c.RemoveAll {
		var err error
		if remove, err = t.Plan(ctx, nil); err != nil {
			return nil, err
		}
	}
	if c.Compaction && (len(c.Add)+len(c.Adopt) == 0 || len(remove) == 0) {
		return nil, fmt.Errorf("commit to %s: a compaction puts files in the place of others", t.Name)
	}
	added, err := w.upload(ctx, t, c.Add)
	if err != nil {
		return nil, fmt.Errorf("commit to %s: %w", t.Name, err)
	}
	for _, f := range c.Adopt {
		d, err := t.adopted(f)
		if err != nil {
			return nil, fmt.Errorf("commit to %s: adopting %s: %w", t.Name, f.Path, err)
		}
		added = append(added, d)
	}
	deletes, err := t.spent(ctx, remove)
	if err != nil {
		return nil, fmt.Errorf("commit to %s: %w", t.Name, err)
	}
	tx := t.ice.NewTransaction()
	if err := setProperties(tx, t.ice.Properties(), c.Properties); err != nil {
		return nil, fmt.Errorf("commit to %s: %w", t.Name, err)
	}
	removed := make([]iceberg.DataFile, len(remove))
	for i, f := range remove {
		removed[i] = f.Data
	}
	switch {
	case len(added)+len(removed) == 0:
		if len(c.Properties) == 0 {
			return t, nil
		}
	case len(removed) == 0:
		err = tx.AddDataFiles(ctx, added, nil, table.WithoutDuplicateCheck()) // their names are new
	case c.Compaction:
		rewrite := tx.NewRewrite(nil)
		for _, f := range slices.Concat(removed, deletes) {
			rewrite.DeleteFile(f)
		}
		for _, f := range added {
			rewrite.AddDataFile(f)
		}
		err = rewrite.Commit(ctx)
	default:
		err = tx.ReplaceFiles(ctx, removed, added, deletes, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("commit to %s: %w", t.Name, err)
	}
	return t.commit(ctx, tx, "commit to")
}

// adopted is another table's data file as one of this table.
func (t *Table) adopted(f File) (iceberg.DataFile, error) {
	if len(f.Deletes) > 0 {
		return nil, errors.New("it has position deletes")
	}
	if got := slices.Sorted(maps.Keys(f.Partition)); !slices.Equal(got, slices.Sorted(slices.Values(t.Partition()))) {
		return nil, fmt.Errorf("it is partitioned by %q", got)
	}
	return renamed(t, f.Data, f.Path)
}

// setProperties stages the properties; an empty value removes.
func setProperties(tx *table.Transaction, have iceberg.Properties, props map[string]string) error {
	set := iceberg.Properties{}
	var remove []string
	for k, v := range props {
		if v != "" {
			set[k] = v
		} else if _, ok := have[k]; ok {
			remove = append(remove, k)
		}
	}
	slices.Sort(remove)
	return errors.Join(tx.SetProperties(set), tx.RemoveProperties(remove))
}

// spent returns the delete files that apply to no file but the removed ones.
func (t *Table) spent(ctx context.Context, removed []File) ([]iceberg.DataFile, error) {
	gone := map[string]bool{}
	candidates := map[string]iceberg.DataFile{}
	for _, f := range removed {
		gone[f.Path] = true
		for _, d := range f.deletes {
			candidates[d.FilePath()] = d
		}
	}
	if len(candidates) == 0 {
		return nil, nil
	}
	all, err := t.Plan(ctx, nil)
	if err != nil {
		return nil, err
	}
	for _, f := range all {
		if !gone[f.Path] {
			for _, d := range f.Deletes {
				delete(candidates, d)
			}
		}
	}
	var out []iceberg.DataFile
	for _, d := range candidates {
		out = append(out, d)
	}
	return out, nil
}

// upload makes data files of the local ones: statistics from their footers, then the objects.
func (w *Warehouse) upload(ctx context.Context, t *Table, paths []string) ([]iceberg.DataFile, error) {
	out := make([]iceberg.DataFile, len(paths))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(transfers)
	for i, p := range paths {
		group.Go(func() error {
			d, err := w.uploadOne(ctx, t, p)
			if err != nil {
				return fmt.Errorf("file %s: %w", filepath.Base(p), err)
			}
			out[i] = d
			return nil
		})
	}
	return out, group.Wait()
}

func (w *Warehouse) uploadOne(ctx context.Context, t *Table, p string) (iceberg.DataFile, error) {
	info, err := os.Stat(p)
	if err != nil {
		return nil, err
	}
	// The footer is read through the file system, under a name that only this call knows: the folder is made of what the footer says.
	probe := t.Location() + "/data/" + uuid.NewString() + ".parquet"
	w.remember(probe, p, info.Size())
	d, err := table.FileToDataFile(ctx, w.fileIO(ctx), probe, t.Schema(), t.ice.Spec(), 0, t.ice.Properties())
	w.forget(probe)
	if err != nil {
		return nil, err
	}
	if d.Count() == 0 {
		return nil, errors.New("it has no rows")
	}
	folder, err := t.folder(d)
	if err != nil {
		return nil, err
	}
	object := t.Location() + "/data/" + folder + uuid.NewString() + ".parquet"
	key, err := w.Key(object)
	if err != nil {
		return nil, err
	}
	if err := w.config.Store.PutFile(ctx, key, p); err != nil {
		return nil, err
	}
	w.remember(object, p, info.Size())
	return renamed(t, d, object)
}

// renamed is the data file under another path, with all that iceberg-go found out about it.
func renamed(t *Table, d iceberg.DataFile, object string) (iceberg.DataFile, error) {
	spec := t.ice.Spec()
	logical := map[int]string{}
	for _, p := range spec.Fields() {
		if f, ok := t.Schema().FindFieldByID(p.SourceID()); ok && f.Type.Equals(iceberg.PrimitiveTypes.Date) {
			logical[p.FieldID] = "date"
		}
	}
	b, err := iceberg.NewDataFileBuilder(spec, d.ContentType(), object, d.FileFormat(), d.Partition(), logical, nil, d.Count(), d.FileSizeBytes())
	if err != nil {
		return nil, err
	}
	return b.ColumnSizes(d.ColumnSizes()).ValueCounts(d.ValueCounts()).NullValueCounts(d.NullValueCounts()).NaNValueCounts(d.NaNValueCounts()).
		LowerBoundValues(d.LowerBoundValues()).UpperBoundValues(d.UpperBoundValues()).SplitOffsets(d.SplitOffsets()).Build(), nil
}

// folder returns the partition's part of a data file's key, as other writers of Iceberg have it: column=value/. Several values in one file are an error, NULL beside others included.
func (t *Table) folder(d iceberg.DataFile) (string, error) {
	var b strings.Builder
	spec := t.ice.Spec()
	for _, p := range spec.Fields() {
		v, ok := d.Partition()[p.FieldID]
		nulls := d.NullValueCounts()[p.SourceID()]
		if !ok || (v == nil && nulls != d.Count()) || (v != nil && nulls != 0) {
			return "", fmt.Errorf("the column %s, by which %s is partitioned, has several values in it, or no statistics", t.columnName(p), t.Name)
		}
		text := "null"
		if v != nil {
			text = fmt.Sprint(v)
		}
		if days, ok := v.(iceberg.Date); ok {
			text = days.ToTime().Format("2006-01-02")
		}
		b.WriteString(path.Clean(url.PathEscape(t.columnName(p))) + "=" + url.PathEscape(text) + "/")
	}
	return b.String(), nil
}
