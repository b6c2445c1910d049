// Package warehouse is the lake's Iceberg tables as curate sees them: a catalog, tables that grow columns, files that are fetched to local disk and files that are committed.
//
// It guarantees: a commit adds and removes data files and sets table properties in one step, or does none of it; a commit that another writer beat is an error (ErrConflict),
// never a merge; objects are uploaded whole before they are named; what is fetched has the bytes that the table names.
//
// It does not: run SQL (package duck does), decide what to write, delete objects of its own accord (package maintain does), or touch landing objects.
package warehouse

import (
	"context"
	"errors"
	"log/slog"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"millrace/shared/objectstore"
)

var (
	// ErrNoTable is what Load returns (wrapped) where the catalog has no such table.
	ErrNoTable = errors.New("no such table")
	// ErrConflict is what Commit returns (wrapped) where another writer committed first: nothing was committed.
	ErrConflict = errors.New("another writer committed first")
	// ErrBusy is what Lock returns (wrapped) where another process holds the lock.
	ErrBusy = errors.New("another run is at work")
	// ErrExpired is what Changes returns (wrapped) where the snapshot is no longer an ancestor of the current one.
	ErrExpired = errors.New("the snapshot has expired")
)

// Config says where the catalog and the objects are.
type Config struct {
	Catalog  string              // URL: sqlite:///path, postgres://..., http(s)://... (REST). Secret: it may hold a password.
	Name     string              // the catalog's name within the database, "lake"
	Store    *objectstore.Bucket // holds the tables
	Prefix   string              // of keys: "warehouse"
	Scratch  string              // directory for fetched files; made, and emptied of what earlier processes left
	Logger   *slog.Logger
	Location string // where it differs from s3://<bucket>/<prefix>, for catalogs that map it
}

// Name is a table's name.
type Name struct{ Namespace, Table string }

// String returns namespace.table.
func (n Name) String() string { return n.Namespace + "." + n.Table }

// Column is one column of a table as it should be. Nested types' field ids are ignored: the table gives its own.
type Column struct {
	Name string
	Type iceberg.Type
	Doc  string
}

// Spec is what a table should be like.
type Spec struct {
	Columns    []Column
	Partition  []string          // identity partition by these columns; none where empty
	Properties map[string]string // set when the table is made
}

// Warehouse is an open catalog with its objects. It is safe for concurrent use.
type Warehouse struct{}

// Open connects to the catalog, makes its tables and namespaces where they are missing. A catalog that is away is an error.
func Open(ctx context.Context, c Config) (*Warehouse, error) { panic("skeleton") }

// Close lets go of the catalog and removes the scratch files.
func (w *Warehouse) Close() error { panic("skeleton") }

// Lock keeps other runs out until unlock is called or the process dies. ErrBusy (wrapped): another one is at work. With a REST catalog it locks nothing: commits alone decide.
func (w *Warehouse) Lock(ctx context.Context) (unlock func() error, err error) { panic("skeleton") }

// Tables returns all tables of the namespaces events, ops and star, sorted.
func (w *Warehouse) Tables(ctx context.Context) ([]Name, error) { panic("skeleton") }

// Load returns the table as it is now. ErrNoTable (wrapped).
func (w *Warehouse) Load(ctx context.Context, name Name) (*Table, error) { panic("skeleton") }

// Ensure returns the table, made where it is missing; columns that it lacks are added (nested ones too) and the name mapping renewed. A column whose type in spec differs from the table's
// is an error that names both, and nothing is changed. Columns of the table that spec lacks stay.
func (w *Warehouse) Ensure(ctx context.Context, name Name, spec Spec) (*Table, error) {
	panic("skeleton")
}

// Drop forgets the table, its objects become orphans.
func (w *Warehouse) Drop(ctx context.Context, name Name) error { panic("skeleton") }

// Table is a table at one point in time. It never changes; Commit returns the next one.
type Table struct {
	Name Name
}

// Iceberg returns iceberg-go's view, for what this package has no words for (maintenance).
func (t *Table) Iceberg() *table.Table { panic("skeleton") }

// Schema returns the columns with their field ids.
func (t *Table) Schema() *iceberg.Schema { panic("skeleton") }

// Partition returns the names of the identity partition's columns.
func (t *Table) Partition() []string { panic("skeleton") }

// Properties returns the table's properties.
func (t *Table) Properties() map[string]string { panic("skeleton") }

// Snapshot returns the id of the current snapshot, 0 where the table has none.
func (t *Table) Snapshot() int64 { panic("skeleton") }

// File is a data file of a table.
type File struct {
	Path        string // s3://bucket/key
	Rows, Bytes int64
	Partition   map[string]any   // by column; dates as iceberg.Date
	Deletes     []string         // paths of position delete files that apply to it (Trino's DELETE, UPDATE and MERGE write them)
	Data        iceberg.DataFile // statistics and all else
}

// Plan returns the files that can hold rows that match the filter (nil: all). Rows that do not match can be in them.
func (t *Table) Plan(ctx context.Context, filter iceberg.BooleanExpression) ([]File, error) {
	panic("skeleton")
}

// Changes are the files by which two snapshots differ.
type Changes struct {
	Added, Removed []File
}

// Changes returns the files added and removed since the snapshot (0: all files are added), without those of compactions. ErrExpired (wrapped).
func (t *Table) Changes(ctx context.Context, since int64) (Changes, error) { panic("skeleton") }

// Local is a file on local disk.
type Local struct {
	Path    string // local
	File    File
	Columns []string // top-level columns whose bytes are there; nil: all. A file fetched in part is sparse: reading other columns fails.
	Deletes []string // local paths of File.Deletes
}

// Fetch brings files to the scratch directory, where they stay until Close (what this process uploaded or fetched is there already); of each only the top-level columns named
// (nil: all), by ranges. Some at a time; a missing or changed object is an error that names it.
func (w *Warehouse) Fetch(ctx context.Context, files []File, columns []string) ([]Local, error) {
	panic("skeleton")
}

// NewFile returns a local path for a data file that is to be committed to the table.
func (w *Warehouse) NewFile(t *Table) string { panic("skeleton") }

// Change is what a commit does.
type Change struct {
	Add        []string          // local paths of Parquet files with the table's field ids, each with one value of the partition's columns; uploaded by Commit
	Remove     []File            // data files that are no longer the table's
	RemoveAll  bool              // all data files of this Table's snapshot in place of Remove
	Properties map[string]string // set; an empty value removes
	Compaction bool              // the rows stay the same: a snapshot of operation replace
}

// Commit uploads the files and commits the change, in one transaction, against exactly the snapshot that t is of: ErrConflict (wrapped) where the table has moved on. A change without files
// sets properties alone. After any other error the commit may still have happened: load the table and look at its properties.
func (w *Warehouse) Commit(ctx context.Context, t *Table, c Change) (*Table, error) {
	panic("skeleton")
}
