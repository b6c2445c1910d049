package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
)

// Damaged is the error of a table that cannot be used as it is, while catalog and store answer: what it names is missing, cannot be read or says what cannot be. Nothing else is at fault, so that
// other tables can be worked on; asking again gives the same.
type Damaged struct {
	Name Name
	File string // the object that is at fault; the catalog's entry where it is empty
	Err  error
}

// Error says which file of which table is wrong, and how.
func (d *Damaged) Error() string {
	file := d.File
	if file == "" {
		file = "its entry in the catalog"
	}
	return fmt.Sprintf("table %s is damaged: %s: %v", d.Name, file, d.Err)
}

// Unwrap returns what was found.
func (d *Damaged) Unwrap() error { return d.Err }

// Examine reads what a commit to the table would read: its entry, its metadata, the manifests of its current snapshot. The error is a *Damaged (wrapped) where one of them is at fault, ErrNoTable
// (wrapped), or an outage of catalog or store; data files are not looked at.
func (w *Warehouse) Examine(ctx context.Context, name Name) error {
	t, err := w.Load(ctx, name)
	if err != nil {
		return err
	}
	s := t.ice.CurrentSnapshot()
	if s == nil {
		return nil
	}
	fs := w.fileIO(ctx)
	if err := w.readable(ctx, name, s.ManifestList); err != nil {
		return err
	}
	manifests, err := s.Manifests(fs)
	if err != nil {
		return &Damaged{name, s.ManifestList, err}
	}
	for _, m := range manifests {
		if err := w.readable(ctx, name, m.FilePath()); err != nil {
			return err
		}
		for _, err := range m.Entries(fs, true) {
			if err != nil {
				return &Damaged{name, m.FilePath(), err}
			}
		}
	}
	return nil
}

// readable returns a *Damaged where the table's object is not there or nowhere that it can be, and the store's own error where it cannot be asked.
func (w *Warehouse) readable(ctx context.Context, name Name, file string) error {
	if _, err := w.Key(file); err != nil {
		return &Damaged{name, file, err}
	}
	_, err := w.fileIO(ctx).ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &Damaged{name, file, errors.New("the object is missing")}
	}
	return err
}

// blame returns why a table could not be loaded: a *Damaged where that is the table's own fault, else the cause.
func (w *Warehouse) blame(ctx context.Context, name Name, cause error) error {
	if ctx.Err() != nil {
		return cause
	}
	absent := errors.Is(cause, catalog.ErrNoSuchTable) || errors.Is(cause, catalog.ErrNoSuchNamespace)
	if w.kind == "rest" {
		if listed, err := w.listed(ctx, name); absent && err == nil && listed {
			return &Damaged{name, "", fmt.Errorf("the catalog lists it and does not find it: %w", w.redact(cause))}
		}
		return cause
	}
	file, there, err := w.entry(ctx, name)
	switch {
	case err != nil || !there:
		return cause // the catalog is away, or has no such table
	case absent && file == "":
		return &Damaged{name, "", errors.New("it names no metadata file")}
	case absent:
		return &Damaged{name, "", errors.New("its name is that of something else than a table")}
	}
	if err := w.readable(ctx, name, file); err != nil {
		return err
	}
	if _, err := w.cat.LoadTable(ctx, w.identifier(name)); err == nil {
		return cause // an outage that is over
	}
	return &Damaged{name, file, cause} // it can be read, and not be understood
}

// entry returns what the SQL catalog's row of the table names as its metadata, "" where that is NULL.
func (w *Warehouse) entry(ctx context.Context, name Name) (file string, there bool, err error) {
	query := "select metadata_location from iceberg_tables where catalog_name = ? and table_namespace = ? and table_name = ?"
	if w.kind == "postgres" {
		query = "select metadata_location from iceberg_tables where catalog_name = $1 and table_namespace = $2 and table_name = $3"
	}
	var location sql.NullString
	err = w.db.QueryRowContext(ctx, query, w.config.Name, w.config.NamespacePrefix+name.Namespace, name.Table).Scan(&location)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return location.String, err == nil, err
}

// listed says whether the catalog has the table in its namespace's list.
func (w *Warehouse) listed(ctx context.Context, name Name) (bool, error) {
	names, err := w.TablesOf(ctx, name.Namespace)
	if errors.Is(err, catalog.ErrNoSuchNamespace) {
		return false, nil
	}
	for _, n := range names {
		if n == name {
			return true, nil
		}
	}
	return false, err
}

// TablesOf returns the tables of one of the namespaces events, ops and star, in the catalog's order: one request.
func (w *Warehouse) TablesOf(ctx context.Context, namespace string) ([]Name, error) {
	var names []Name
	for id, err := range w.cat.ListTables(ctx, table.Identifier{w.config.NamespacePrefix + namespace}) {
		if err != nil {
			return nil, fmt.Errorf("list the tables of %s: %w", namespace, w.redact(err))
		}
		names = append(names, Name{namespace, id[len(id)-1]})
	}
	return names, nil
}
