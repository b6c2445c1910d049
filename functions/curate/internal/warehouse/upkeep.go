package warehouse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
)

// DroppedMark is the name, below a table's folder, of the object that says that Drop was called for it.
const DroppedMark = "metadata/dropped"

// Every returns all tables of the catalog, those of other namespaces than ours too, as they are now, but for those that lie in another bucket and so can name no object of this one. Its names hold the namespaces as the catalog has them, without what Config.NamespacePrefix leaves out.
func (w *Warehouse) Every(ctx context.Context) ([]*Table, error) {
	namespaces, err := w.namespaces(ctx, nil, map[string]bool{})
	if err != nil {
		return nil, fmt.Errorf("list the namespaces: %w", w.redact(err))
	}
	var out []*Table
	for _, n := range namespaces {
		for id, err := range w.cat.ListTables(ctx, n) {
			if err != nil {
				return nil, fmt.Errorf("list the tables of %v: %w", n, w.redact(err))
			}
			t, err := w.cat.LoadTable(ctx, id)
			if errors.Is(err, catalog.ErrNoSuchTable) {
				continue // dropped meanwhile
			}
			if errors.Is(err, errElsewhere) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("load %v: %w", id, w.redact(err))
			}
			out = append(out, w.table(Name{strings.Join(n, "."), id[len(id)-1]}, t))
		}
	}
	return out, nil
}

// namespaces returns the namespaces below parent and those below them, without those in seen. Some catalogs list all of them at once.
func (w *Warehouse) namespaces(ctx context.Context, parent table.Identifier, seen map[string]bool) ([]table.Identifier, error) {
	children, err := w.cat.ListNamespaces(ctx, parent)
	if err != nil {
		return nil, err
	}
	var out []table.Identifier
	for _, c := range children {
		key := strings.Join(c, "\x1f")
		if seen[key] {
			continue
		}
		seen[key] = true
		below, err := w.namespaces(ctx, c, seen)
		if err != nil {
			return nil, err
		}
		out = append(append(out, c), below...)
	}
	return out, nil
}

// Named calls f with the path of each object that the table names by any of its snapshots or metadata: an object of the table's folder that is not among them is nobody's. Paths can come several
// times, also from several calls with the same seen, which remembers the manifests that were read; nil for none.
func (t *Table) Named(ctx context.Context, seen map[string]bool, f func(path string)) error {
	if seen == nil {
		seen = map[string]bool{}
	}
	meta, fs := t.ice.Metadata(), t.w.fileIO(ctx)
	f(t.ice.MetadataLocation())
	for m := range meta.PreviousFiles() {
		f(m.MetadataFile)
	}
	for s := range meta.Statistics() {
		f(s.StatisticsPath)
	}
	for s := range meta.PartitionStatistics() {
		f(s.StatisticsPath)
	}
	var lists []string
	for _, s := range meta.Snapshots() {
		if s.ManifestList != "" {
			lists = append(lists, s.ManifestList)
			f(s.ManifestList)
		}
	}
	if err := t.w.prefetch(ctx, lists); err != nil {
		return fmt.Errorf("objects of %s: %w", t.Name, err)
	}
	for _, s := range meta.Snapshots() {
		manifests, err := s.Manifests(fs)
		if err != nil {
			return fmt.Errorf("objects of %s, snapshot %d: %w", t.Name, s.SnapshotID, err)
		}
		var unread []string
		for _, m := range manifests {
			if !seen[m.FilePath()] && m.Length() <= prefetchBytes {
				unread = append(unread, m.FilePath())
			}
		}
		if err := t.w.prefetch(ctx, unread); err != nil {
			return fmt.Errorf("objects of %s, snapshot %d: %w", t.Name, s.SnapshotID, err)
		}
		for _, m := range manifests {
			f(m.FilePath())
			if seen[m.FilePath()] {
				continue
			}
			// What this snapshot removed, an older one names by a manifest of its own, as long as it is there.
			for e, err := range m.Entries(fs, true) {
				if err != nil {
					return fmt.Errorf("objects of %s, manifest %s: %w", t.Name, m.FilePath(), err)
				}
				f(e.DataFile().FilePath())
			}
			seen[m.FilePath()] = true
		}
	}
	return nil
}

// Snapshots returns the current snapshot and those before it, back to where they have expired.
func (t *Table) Snapshots() []table.Snapshot {
	if t.Snapshot() == 0 {
		return nil
	}
	return table.AncestorsOf(t.Snapshot(), t.ice.Metadata().SnapshotByID)
}

// Expire forgets all snapshots but the current one and the keep-1 before it, those that other branches and tags name, and those made by a clock that is ahead of this one. No object is deleted: what no snapshot names any more is an orphan then. ErrConflict
// (wrapped).
func (w *Warehouse) Expire(ctx context.Context, t *Table, keep int) (*Table, error) {
	if keep < 1 {
		return nil, fmt.Errorf("expire snapshots of %s: the current one stays", t.Name)
	}
	tx := t.ice.NewTransaction()
	if err := tx.ExpireSnapshots(table.WithRetainLast(keep), table.WithOlderThan(0), table.WithPostCommit(false)); err != nil {
		return nil, fmt.Errorf("expire snapshots of %s: %w", t.Name, err)
	}
	return t.commit(ctx, tx, "expire snapshots of")
}

// Release removes local files, those that Fetch brought and those that Commit uploaded, to make room; they can be fetched again. Nobody may be reading them.
func (w *Warehouse) Release(paths []string) error {
	gone := map[string]bool{}
	for _, p := range paths {
		gone[p] = true
	}
	w.mu.Lock()
	for object, l := range w.files {
		l.mu.Lock()
		if gone[l.path] {
			delete(w.files, object)
		}
		l.mu.Unlock()
	}
	w.mu.Unlock()
	var errs []error
	for p := range gone {
		errs = append(errs, os.RemoveAll(p))
	}
	return errors.Join(errs...)
}

// Config returns how the warehouse was opened.
func (w *Warehouse) Config() Config { return w.config }
