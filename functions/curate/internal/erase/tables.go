package erase

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/objectstore"
)

// Pending is the property of a table that lost rows and still has older snapshots, whose value is the erasure's id.
const Pending = "millrace.erasure"

// personal are the columns by which rows are a person's: the first two name an event or a person, in the last there are root ids among other text.
var personal = []string{"root_id", "subject", "examples"}

// columnsOf returns which of them the table has, at its top level, as text.
func columnsOf(t *warehouse.Table) []string {
	var has []string
	for _, name := range personal {
		if f, ok := t.Schema().FindFieldByName(name); ok && f.Type.Equals(iceberg.PrimitiveTypes.String) {
			has = append(has, name)
		}
	}
	return has
}

// eachFile calls f with every data file of every table that has one of the columns. rows reads the file's, position deletes not considered.
func (e *eraser) eachFile(ctx context.Context, f func(t *warehouse.Table, file warehouse.File, rows func(func(row)) error) error) error {
	names, err := e.Warehouse.Tables(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		t, err := e.Warehouse.Load(ctx, name)
		if err != nil {
			return err
		}
		if len(columnsOf(t)) == 0 {
			continue
		}
		files, err := t.Plan(ctx, nil)
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := f(t, file, func(take func(row)) error { return e.read(ctx, t, file, take) }); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// read reads the columns of one file.
func (e *eraser) read(ctx context.Context, t *warehouse.Table, file warehouse.File, take func(row)) (err error) {
	local, err := e.Warehouse.Fetch(ctx, []warehouse.File{file}, columnsOf(t))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Warehouse.Release([]string{local[0].Path})) }()
	f, err := os.Open(local[0].Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return scan(f, info.Size(), columnsOf(t), take)
}

// uuids finds root ids in text, as event.Identity makes them.
var uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// mentions says whether a text has one of the person's root ids in it.
func (e *eraser) mentions(s string) bool {
	for _, id := range uuids.FindAllString(s, -1) {
		if e.roots[id] {
			return true
		}
	}
	return false
}

// pages deletes the reports of runs that mention the person's events.
func (e *eraser) pages(ctx context.Context) error {
	bucket, prefix := e.Warehouse.Store()
	found := Found{Where: bucket.Name() + "/" + path.Join(prefix, "_reports") + "/"}
	defer func() {
		if found.Rows > 0 {
			e.report.Pages = append(e.report.Pages, found)
		}
	}()
	for after := ""; ; {
		page, err := bucket.List(ctx, path.Join(prefix, "_reports")+"/", after, objectstore.MaxList)
		if err != nil {
			return err
		}
		for _, o := range page {
			after = o.Key
			body, err := bucket.Get(ctx, o.Key)
			if err != nil {
				return err
			}
			if !e.mentions(string(body)) {
				continue
			}
			if e.Apply {
				if err := e.Warehouse.Held(ctx); err != nil {
					return err
				}
				if err := bucket.Delete(ctx, o.Key); err != nil {
					return err
				}
			}
			found.Rows++
		}
		if len(page) < objectstore.MaxList {
			break
		}
	}
	return nil
}

// hit is a table with the files that hold rows of the person.
type hit struct {
	table *warehouse.Table
	files []warehouse.File
	rows  int64
}

// tables removes the person's rows from the tables, and then the snapshots that still have them.
func (e *eraser) tables(ctx context.Context) error {
	hits := map[warehouse.Name]*hit{}
	var order []warehouse.Name
	if err := e.eachFile(ctx, func(t *warehouse.Table, file warehouse.File, rows func(func(row)) error) error {
		n := int64(0)
		if err := rows(func(r row) {
			if e.theirs(r.root, r.subject) || e.mentions(r.examples) {
				n++
			}
		}); err != nil || n == 0 {
			return err
		}
		if hits[t.Name] == nil {
			hits[t.Name] = &hit{table: t}
			order = append(order, t.Name)
		}
		h := hits[t.Name]
		h.files, h.rows = append(h.files, file), h.rows+n
		return nil
	}); err != nil {
		return err
	}
	for _, name := range order {
		h := hits[name]
		found := Found{Where: name.String(), Objects: len(h.files), Rows: h.rows}
		if e.Apply {
			if err := e.remove(ctx, h); err != nil {
				return err
			}
		}
		e.report.Tables = append(e.report.Tables, found)
	}
	if !e.Apply {
		return nil
	}
	return e.expire(ctx)
}

// most is how many bytes of data files one commit rewrites, at least one file.
const most = 512 << 20

// remove commits the files without the person's rows.
func (e *eraser) remove(ctx context.Context, h *hit) error {
	db, err := e.DB()
	if err != nil {
		return err
	}
	if err := e.ids(ctx, db); err != nil {
		return err
	}
	for t := h.table; len(h.files) > 0; {
		n, size := 0, int64(0)
		for n < len(h.files) && (n == 0 || size+h.files[n].Bytes <= most) {
			size += h.files[n].Bytes
			n++
		}
		part := h.files[:n]
		h.files = h.files[n:]
		paths, copies, err := e.kept(ctx, db, t, part)
		if err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		if t, err = e.Warehouse.Commit(ctx, t, warehouse.Change{Add: paths, Remove: part, Properties: map[string]string{Pending: e.ID}}); err != nil {
			return err
		}
		if err := e.Warehouse.Release(append(copies, paths...)); err != nil {
			return err
		}
		e.Logger.Info("rows removed", "erasure", e.ID, "table", t.Name.String(), "files", len(part))
	}
	return nil
}

// ids makes tables of the root ids and subjects in DuckDB.
func (e *eraser) ids(ctx context.Context, db *duck.DB) error {
	for name, values := range map[string]map[string]bool{"erased_roots": e.roots, "erased_subjects": e.subjects} {
		if err := db.Exec(ctx, "create or replace table main."+name+" (id varchar)"); err != nil {
			return err
		}
		for part := range slices.Chunk(slices.Sorted(maps.Keys(values)), 1000) {
			quoted := make([]string, len(part))
			for i, v := range part {
				quoted[i] = "(" + duck.Literal(v) + ")"
			}
			if err := db.Exec(ctx, "insert into main."+name+" values "+strings.Join(quoted, ",")); err != nil {
				return err
			}
		}
	}
	return nil
}

// kept writes the files without the person's rows, and without root ids in examples. copies are the local ones of those that there were.
func (e *eraser) kept(ctx context.Context, db *duck.DB, t *warehouse.Table, files []warehouse.File) (paths, copies []string, err error) {
	local, err := e.Warehouse.Fetch(ctx, files, nil)
	if err != nil {
		return nil, nil, err
	}
	for _, l := range local {
		copies = append(append(copies, l.Path), l.Deletes...)
	}
	var where []string
	query := "select * from main.erased_from"
	for _, name := range columnsOf(t) {
		column := duck.Quote(name)
		switch name {
		case "root_id":
			where = append(where, "("+column+" is null or "+column+" not in (select id from main.erased_roots))")
		case "subject":
			where = append(where, "("+column+" is null or "+column+" not in (select id from main.erased_subjects))")
		default:
			query = "select * replace (case when exists (select 1 from main.erased_roots e where contains(" + column + ", e.id)) then null else " + column + " end as " + column + ") from main.erased_from"
		}
	}
	if err := db.Relation(ctx, warehouse.Name{Table: "erased_from"}, t.Schema(), local, nil, strings.Join(where, " and ")); err != nil {
		return nil, nil, err
	}
	written, err := db.Write(ctx, query, t.Schema(), t.Partition(), func() string { return e.Warehouse.NewFile(t) })
	if err != nil {
		return nil, nil, err
	}
	for _, w := range written {
		paths = append(paths, w.Path)
	}
	return paths, copies, nil
}

// expire leaves the tables that lost rows, in this run or one that was killed, the one snapshot that is theirs now, and deletes the files that no other has.
func (e *eraser) expire(ctx context.Context) error {
	names, err := e.Warehouse.Tables(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		t, err := e.Warehouse.Load(ctx, name)
		if err != nil {
			return err
		}
		if t.Properties()[Pending] == "" {
			continue
		}
		had := map[string]bool{}
		if err := e.named(ctx, t, nil, had); err != nil {
			return err
		}
		if err := e.forget(ctx, t); err != nil {
			return fmt.Errorf("expire snapshots of %s: %w", name, err)
		}
		if t, err = e.Warehouse.Load(ctx, name); err != nil {
			return err
		}
		if err := e.sweep(ctx, t, had); err != nil {
			return fmt.Errorf("delete what no snapshot of %s has: %w", name, err)
		}
		if _, err := e.Warehouse.Commit(ctx, t, warehouse.Change{Properties: map[string]string{Pending: ""}}); err != nil {
			return err
		}
		e.report.Expired = append(e.report.Expired, name.String())
	}
	return nil
}

// forget leaves the table one snapshot, whose manifests say nothing of files that were removed.
func (e *eraser) forget(ctx context.Context, t *warehouse.Table) error {
	tx := t.Iceberg().NewTransaction()
	// All manifests of data are written anew, into one group; those of removed files are not.
	if _, err := tx.RewriteManifests(ctx, table.WithRewriteManifestClusterBy(func(iceberg.DataFile) any { return 0 })); err != nil {
		return err
	}
	if _, err := tx.Commit(ctx); err != nil {
		return err
	}
	t, err := e.Warehouse.Load(ctx, t.Name)
	if err != nil {
		return err
	}
	if t, err = e.Warehouse.Expire(ctx, t, 1); err != nil {
		return err
	}
	return alone(t)
}

// alone returns why the table has older snapshots still: tags and branches of another writer's keep theirs, and so does a clock that was ahead.
func alone(t *warehouse.Table) error {
	var others []string
	for name, ref := range t.Iceberg().Metadata().Refs() {
		if name != table.MainBranch {
			others = append(others, fmt.Sprintf("%s %s", ref.SnapshotRefType, name))
		}
	}
	if n := len(t.Iceberg().Metadata().Snapshots()); n > 1 {
		return fmt.Errorf("%d snapshots stay, which may have the person's rows: drop what names them (%q), and see that no clock is ahead", n-1, others)
	}
	return nil
}

// named notes the keys of the objects that the table names.
func (e *eraser) named(ctx context.Context, t *warehouse.Table, seen, keys map[string]bool) error {
	return t.Named(ctx, seen, func(path string) {
		if key, err := e.Warehouse.Key(path); err == nil { // else it is in another bucket
			keys[key] = true
		}
	})
}

// young is the age up to which an object that nobody names may be about to be committed.
const young = 24 * time.Hour

// asked is how many objects are looked at after each question whether the lock is still held.
const asked = 50

// sweep deletes the objects of the table's folder that no table names, however young they are: whoever holds the lock writes none beside us. Where others may, those stay that are young and that
// the table did not have before.
func (e *eraser) sweep(ctx context.Context, t *warehouse.Table, had map[string]bool) error {
	folder, err := e.Warehouse.Key(t.Location() + "/")
	if err != nil {
		return err
	}
	all, err := e.Warehouse.Every(ctx)
	if err != nil {
		return err
	}
	named, seen := map[string]bool{}, map[string]bool{}
	for _, other := range all { // one may have adopted a file of another
		if err := e.named(ctx, other, seen, named); err != nil {
			return err
		}
	}
	bucket, _ := e.Warehouse.Store()
	spared, deleted := 0, 0
	for after := ""; ; {
		page, err := bucket.List(ctx, folder, after, objectstore.MaxList)
		if err != nil {
			return err
		}
		for _, o := range page {
			after = o.Key
			if named[o.Key] {
				continue
			}
			if !e.Shared && deleted%asked == 0 {
				// Without the lock the object may be another run's.
				if err := e.Warehouse.Held(ctx); err != nil {
					return err
				}
			}
			deleted++
			if e.Shared && !had[o.Key] && o.Modified.After(e.Clock().Add(-young)) {
				spared++
				continue
			}
			if err := bucket.Delete(ctx, o.Key); err != nil {
				return err
			}
		}
		if len(page) < objectstore.MaxList {
			break
		}
	}
	if spared > 0 {
		e.remain = append(e.remain, fmt.Sprintf("%d objects of %s that no snapshot names are younger than a day and may be another run's, since this catalog has no lock: curate maintain deletes them a day later", spared, t.Name))
	}
	return nil
}
