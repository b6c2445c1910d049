package maintain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"millrace/functions/curate/internal/warehouse"
)

// merged is the name of the relation through which files are merged.
var merged = warehouse.Name{Namespace: "maintain", Table: "files"}

const (
	smallest  = 512 << 10 // bytes up to which a file is of the lowest class
	growth    = 8         // how much larger the files of the next class are
	perCommit = 4         // targets that are merged before they are committed, which bounds disk, and what a crash loses
)

// class is the class of a file by its size; large is the one that is left alone.
func (o *Options) class(bytes int64) (class int, large bool) {
	if bytes >= o.Target/4*3 {
		return 0, true
	}
	for limit := int64(smallest); bytes > limit; limit *= growth {
		class++
	}
	return class, false
}

// batch is what becomes one file, all of one partition.
type batch struct {
	files []warehouse.File
	bytes int64
}

// batches returns what is to be merged of a partition's files: those with position deletes, and of small ones those of the highest class that has o.Files of them, with all below it. Each batch has
// o.Target bytes at most, or is one file with deletes.
func (o *Options) batches(files []warehouse.File) []batch {
	count := map[int]int{}
	for _, f := range files {
		if class, large := o.class(f.Bytes); !large {
			count[class]++
		}
	}
	highest := -1
	for class, n := range count {
		if n >= o.Files {
			highest = max(highest, class)
		}
	}
	var chosen []warehouse.File
	for _, f := range files {
		if class, large := o.class(f.Bytes); len(f.Deletes) > 0 || !large && class <= highest {
			chosen = append(chosen, f)
		}
	}
	var out []batch
	var b batch
	end := func() {
		if len(b.files) > 1 || len(b.files) == 1 && len(b.files[0].Deletes) > 0 {
			out = append(out, b)
		}
		b = batch{}
	}
	for _, f := range chosen {
		if len(b.files) > 0 && b.bytes+f.Bytes > o.Target {
			end()
		}
		b.files = append(b.files, f)
		b.bytes += f.Bytes
	}
	end()
	return out
}

// compact merges small files, partition by partition.
func (o *Options) compact(ctx context.Context, t *warehouse.Table, r *Result) (*warehouse.Table, error) {
	files, err := t.Plan(ctx, nil)
	if err != nil {
		return t, err
	}
	partitions := map[string][]warehouse.File{}
	for _, f := range files {
		key := ""
		for _, c := range t.Partition() {
			key += fmt.Sprintf("%T %v\x00", f.Partition[c], f.Partition[c])
		}
		if len(f.Partition) != len(t.Partition()) {
			continue // of another partitioning, by another writer
		}
		partitions[key] = append(partitions[key], f)
	}
	c := Compacted{Table: t.Name.String()}
	var waiting []batch
	var size int64
	for _, key := range slices.Sorted(maps.Keys(partitions)) {
		batches := o.batches(partitions[key])
		if len(batches) > 0 {
			c.Partitions++
		}
		for _, b := range batches {
			waiting = append(waiting, b)
			if size += b.bytes; size >= perCommit*o.Target {
				if t, err = o.merge(ctx, t, waiting, &c); err != nil {
					return t, err
				}
				waiting, size = nil, 0
			}
		}
	}
	if t, err = o.merge(ctx, t, waiting, &c); err != nil {
		return t, err
	}
	if c.Files > 0 {
		r.Compaction = append(r.Compaction, c)
	}
	return t, nil
}

// merge puts each batch into one file, and commits them together.
func (o *Options) merge(ctx context.Context, t *warehouse.Table, batches []batch, c *Compacted) (_ *warehouse.Table, err error) {
	if len(batches) == 0 {
		return t, nil
	}
	change := warehouse.Change{Compaction: true}
	done := Compacted{Table: c.Table, Partitions: c.Partitions}
	var local []string
	defer func() { err = errors.Join(err, o.Warehouse.Release(local)) }()
	for _, b := range batches {
		done.Files += len(b.files)
		done.Bytes += b.bytes
		change.Remove = append(change.Remove, b.files...)
		if o.DryRun {
			for _, f := range b.files {
				done.Rows += f.Rows
			}
			continue
		}
		written, rows, copies, err := o.rewrite(ctx, t, b, "", 0)
		local = append(local, copies...)
		if err != nil {
			return t, err
		}
		change.Add = append(change.Add, written...)
		local = append(local, written...)
		done.Rows += rows
	}
	if !o.DryRun {
		// All rows of a batch may have been deleted: what is left is no merger but a removal of nothing.
		change.Compaction = len(change.Add) > 0
		if t, err = o.Warehouse.Commit(ctx, t, change); err != nil {
			return t, err
		}
		done.Into = len(change.Add)
		o.Logger.Info("files are merged", "table", c.Table, "files", done.Files, "into", done.Into, "rows", done.Rows)
	}
	c.Files, c.Into, c.Rows, c.Bytes = c.Files+done.Files, c.Into+done.Into, c.Rows+done.Rows, c.Bytes+done.Bytes
	return t, nil
}

// rewrite writes the rows of the batch's files for which where is true (empty: all) to local ones, and returns these, how many rows they have, and the local copies that it made of the old. lost is how many
// rows where leaves out.
func (o *Options) rewrite(ctx context.Context, t *warehouse.Table, b batch, where string, lost int64) (written []string, rows int64, copies []string, err error) {
	db, err := o.DB()
	if err != nil {
		return nil, 0, nil, err
	}
	locals, err := o.Warehouse.Fetch(ctx, b.files, nil)
	if err != nil {
		return nil, 0, nil, err
	}
	for _, l := range locals {
		copies = append(append(copies, l.Path), l.Deletes...)
	}
	if err := db.Relation(ctx, merged, t.Schema(), locals, nil, where); err != nil {
		return nil, 0, copies, err
	}
	var want, most int64
	deletes := false
	for _, f := range b.files {
		most += f.Rows
		deletes = deletes || len(f.Deletes) > 0
	}
	if want = most - lost; deletes {
		if err := db.Rows(ctx, "select count(*) from "+merged.String(), func(_ []string, row []any) error {
			n, ok := row[0].(int64)
			want = cmp.Or(n, 0)
			if !ok {
				return fmt.Errorf("count(*) is %T", row[0])
			}
			return nil
		}); err != nil {
			return nil, 0, copies, err
		}
	}
	out, err := db.Write(ctx, "select * from "+merged.String(), t.Schema(), t.Partition(), func() string { return o.Warehouse.NewFile(t) })
	for _, f := range out {
		written = append(written, f.Path)
		rows += f.Rows
	}
	if err != nil {
		return nil, 0, append(copies, written...), err
	}
	if rows != want || rows > most {
		return nil, 0, append(copies, written...), fmt.Errorf("%d files of %d rows became %d: nothing is replaced", len(b.files), want, rows)
	}
	return written, rows, copies, nil
}
