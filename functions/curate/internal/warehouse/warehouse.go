package warehouse

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/catalog/rest"
	sqlcat "github.com/apache/iceberg-go/catalog/sql"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
	_ "modernc.org/sqlite"             // the driver sqlite

	"millrace/shared/objectstore"
)

// Namespaces are the namespaces of the lake.
var Namespaces = []string{"events", "ops", "star"}

var (
	// ErrNoTable is what Load returns (wrapped) where the catalog has no such table.
	ErrNoTable = errors.New("no such table")
	// ErrConflict is what Commit returns (wrapped) where another writer committed first: nothing was committed.
	ErrConflict = errors.New("another writer committed first")
	// ErrBusy is what Lock returns (wrapped) where another process holds the lock.
	ErrBusy = errors.New("another run is at work")
	// ErrExpired is what Changes returns (wrapped) where the snapshot is no longer an ancestor of the current one.
	ErrExpired = errors.New("the snapshot has expired")
	// ErrLockLost is what Held, Commit, Ensure, Drop and Expire return (wrapped) where Lock was held and is no longer: nothing was committed.
	ErrLockLost = errors.New("the lock of the warehouse is lost, another run may be at work")
)

// errElsewhere is what Key returns (wrapped).
var errElsewhere = errors.New("is not in the bucket")

// Config says where the catalog and the objects are.
type Config struct {
	Catalog  string              // URL: sqlite:///path, postgres://..., http(s)://... (REST). Secret: it may hold a password.
	Name     string              // the catalog's name within the database, "lake"
	Store    *objectstore.Bucket // holds the tables
	Prefix   string              // of keys: "warehouse"
	Scratch  string              // directory for fetched files; made, and emptied of what earlier processes left
	Logger   *slog.Logger
	Location string // where it differs from s3://<bucket>/<prefix>, for catalogs that map it

	NamespacePrefix string // of the namespaces' names in the catalog, so that several warehouses can share one: "" or such as "test_"
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
type Warehouse struct {
	config   Config
	id       string // in the registry of file systems
	kind     string // sqlite, postgres or rest
	path     string // of SQLite's database
	location string
	cat      catalog.Catalog
	db       *sql.DB // nil for REST
	scratch  *scratch
	objects  *objectCache
	held     atomic.Pointer[lock] // nil where Lock is not held

	mu    sync.Mutex
	files map[string]*local // by the object's path
}

// Validate returns all that is wrong with the configuration, joined; nil where nothing is.
func (c Config) Validate() error {
	var errs []error
	if _, _, err := parseCatalog(c.Catalog); err != nil {
		errs = append(errs, err)
	}
	if c.Name == "" {
		errs = append(errs, errors.New("the catalog's name is empty"))
	}
	if c.Store == nil {
		errs = append(errs, errors.New("the warehouse has no bucket"))
	}
	if c.Prefix == "" || strings.HasPrefix(c.Prefix, "/") || strings.HasSuffix(c.Prefix, "/") {
		errs = append(errs, fmt.Errorf("the warehouse's prefix %q: want a folder, without slashes at its ends", c.Prefix))
	}
	if c.Scratch == "" {
		errs = append(errs, errors.New("the scratch directory is empty"))
	}
	return errors.Join(errs...)
}

// parseCatalog returns the kind of the catalog and its address for the driver. Errors do not hold the URL, which may hold a password.
func parseCatalog(raw string) (kind, address string, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", "", errors.New("the catalog's URL cannot be parsed: want sqlite:///path, postgres://host/database or http(s)://host")
	}
	switch u.Scheme {
	case "sqlite":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.Path == "/" {
			return "", "", errors.New("the catalog's URL: want sqlite:///path, three slashes and an absolute path")
		}
		return "sqlite", u.Path, nil
	case "postgres", "postgresql":
		return "postgres", raw, nil
	case "http", "https":
		return "rest", raw, nil
	}
	return "", "", fmt.Errorf("the catalog's URL has the scheme %q: want sqlite:///path, postgres://host/database or http(s)://host", u.Scheme)
}

// Open connects to the catalog, makes its tables and namespaces where they are missing. A catalog that is away is an error.
//
// For REST, a user in the URL is the client's credential (user:password) and the query's warehouse= its name of the warehouse.
func Open(ctx context.Context, c Config) (_ *Warehouse, err error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Warehouse{config: c, id: uuid.NewString(), location: cmp.Or(strings.TrimRight(c.Location, "/"), "s3://"+c.Store.Name()+"/"+c.Prefix), objects: newObjectCache(), files: map[string]*local{}}
	if w.scratch, err = newScratch(c.Scratch); err != nil {
		return nil, err
	}
	warehouses.Store(w.id, w)
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	w.kind, w.path, err = parseCatalog(c.Catalog)
	if err != nil {
		return nil, err
	}
	if err := w.connect(ctx); err != nil {
		return nil, fmt.Errorf("open the catalog: %w", w.redact(err))
	}
	for _, n := range Namespaces {
		if err := w.ensureNamespace(ctx, c.NamespacePrefix+n); err != nil {
			return nil, fmt.Errorf("make the namespace %s: %w", n, w.redact(err))
		}
	}
	return w, nil
}

// connect opens the catalog.
func (w *Warehouse) connect(ctx context.Context) error {
	props := iceberg.Properties{warehouseKey: w.id, "warehouse": w.location}
	switch w.kind {
	case "rest":
		u, err := url.Parse(w.path)
		if err != nil {
			return err
		}
		opts := []rest.Option{rest.WithAdditionalProps(iceberg.Properties{warehouseKey: w.id})}
		if u.User != nil {
			opts = append(opts, rest.WithCredential(u.User.String()))
			u.User = nil
		}
		if name := u.Query().Get("warehouse"); name != "" {
			opts = append(opts, rest.WithWarehouseLocation(name))
		}
		u.RawQuery = ""
		cat, err := rest.NewCatalog(ctx, w.config.Name, u.String(), opts...)
		if err != nil {
			return err
		}
		w.cat = cat
		return nil
	case "sqlite":
		if err := os.MkdirAll(filepath.Dir(w.path), 0o750); err != nil {
			return err
		}
		// Readers (a query while a run commits) never wait, and writers wait for each other.
		dsn := (&url.URL{Scheme: "file", OmitHost: true, Path: w.path, RawQuery: "_pragma=busy_timeout(15000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"}).String()
		db, err := sql.Open("sqlite", dsn)
		if err != nil {
			return err
		}
		w.db = db
		return w.openSQL(ctx, sqlcat.SQLite, props)
	default:
		db, err := sql.Open("pgx", w.path)
		if err != nil {
			return err
		}
		w.db = db
		return w.openSQL(ctx, sqlcat.Postgres, props)
	}
}

func (w *Warehouse) openSQL(ctx context.Context, dialect sqlcat.SupportedDialect, props iceberg.Properties) error {
	if err := w.db.PingContext(ctx); err != nil {
		return err
	}
	cat, err := sqlcat.NewCatalog(w.config.Name, w.db, dialect, props)
	if err != nil {
		// Two that make the tables at once can meet in Postgres' own catalog in spite of IF NOT EXISTS; the second attempt finds them made.
		var again error
		if cat, again = sqlcat.NewCatalog(w.config.Name, w.db, dialect, props); again != nil {
			return err
		}
	}
	w.cat = cat
	return nil
}

// redact takes the catalog's URL and its password out of an error's text, for a caller that prints it, and says so where Postgres does not answer.
func (w *Warehouse) redact(err error) error {
	if err == nil || w.kind == "sqlite" {
		return err
	}
	if w.kind == "postgres" {
		err = outage(err)
	}
	secrets := []string{w.config.Catalog}
	if u, parseErr := url.Parse(w.config.Catalog); parseErr == nil {
		if password, ok := u.User.Password(); ok && password != "" {
			secrets = append(secrets, password, url.QueryEscape(password))
		}
	}
	text := err.Error()
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, "***")
	}
	if text == err.Error() {
		return err
	}
	return redacted{text, err}
}

// redacted is an error whose text holds no secret.
type redacted struct {
	text string
	err  error
}

func (r redacted) Error() string { return r.text }
func (r redacted) Unwrap() error { return r.err }

func (w *Warehouse) ensureNamespace(ctx context.Context, name string) error {
	ok, err := w.cat.CheckNamespaceExists(ctx, table.Identifier{name})
	if err != nil || ok {
		return err
	}
	err = w.cat.CreateNamespace(ctx, table.Identifier{name}, nil)
	if err == nil || errors.Is(err, catalog.ErrNamespaceAlreadyExists) {
		return nil
	}
	// Another process may have made it meanwhile, which not each catalog says so.
	if ok, checkErr := w.cat.CheckNamespaceExists(ctx, table.Identifier{name}); checkErr == nil && ok {
		return nil
	}
	return err
}

// Close lets go of the catalog and removes the scratch files.
func (w *Warehouse) Close() error {
	warehouses.Delete(w.id)
	var errs []error
	if closer, ok := w.cat.(catalog.Closer); ok {
		errs = append(errs, closer.Close())
	}
	if w.db != nil {
		errs = append(errs, w.db.Close())
	}
	return errors.Join(append(errs, w.scratch.remove())...)
}

// Location returns where the tables lie, as the catalog has it: s3://bucket/prefix, or what Config.Location says.
func (w *Warehouse) Location() string { return w.location }

// Scratch returns the directory of this process's own below Config.Scratch, for what else a run keeps on disk. Close removes it; that of a process that was killed goes when the next one opens.
func (w *Warehouse) Scratch() string { return w.scratch.dir }

// Store returns the bucket and the prefix of the keys under which the tables lie, for maintenance.
func (w *Warehouse) Store() (bucket *objectstore.Bucket, prefix string) {
	return w.config.Store, w.config.Prefix
}

// Key returns the key of the object that a table names by path. One that is not in the warehouse's bucket is an error.
func (w *Warehouse) Key(path string) (string, error) {
	if rest, ok := strings.CutPrefix(path, w.location+"/"); ok {
		return w.config.Prefix + "/" + rest, nil
	}
	scheme, rest, ok := strings.Cut(path, "://")
	if ok && (scheme == "s3" || scheme == "s3a" || scheme == "s3n") {
		if key, ok := strings.CutPrefix(rest, w.config.Store.Name()+"/"); ok {
			return key, nil
		}
	}
	return "", fmt.Errorf("%s %w %s", path, errElsewhere, w.config.Store.Name())
}

// Tables returns all tables of the namespaces events, ops and star, sorted.
func (w *Warehouse) Tables(ctx context.Context) ([]Name, error) {
	var names []Name
	for _, n := range Namespaces {
		of, err := w.TablesOf(ctx, n)
		if err != nil {
			return nil, err
		}
		names = append(names, of...)
	}
	slices.SortFunc(names, func(a, b Name) int { return strings.Compare(a.String(), b.String()) })
	return names, nil
}

// Load returns the table as it is now. ErrNoTable (wrapped); a *Damaged (wrapped) where its own entry or metadata are at fault.
func (w *Warehouse) Load(ctx context.Context, name Name) (*Table, error) {
	t, err := w.cat.LoadTable(ctx, w.identifier(name))
	if err != nil {
		err = w.blame(ctx, name, err)
	}
	if damaged := (*Damaged)(nil); errors.As(err, &damaged) {
		return nil, fmt.Errorf("load %s: %w", name, w.redact(err))
	}
	if errors.Is(err, catalog.ErrNoSuchTable) || errors.Is(err, catalog.ErrNoSuchNamespace) {
		return nil, fmt.Errorf("load %s: %w: %w", name, ErrNoTable, err)
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", name, w.redact(err))
	}
	return w.table(name, t), nil
}

// Identifier returns the table's namespace and name as the catalog, and so Trino, has them.
func (w *Warehouse) Identifier(n Name) (namespace, table string) {
	return w.config.NamespacePrefix + n.Namespace, n.Table
}

func (w *Warehouse) identifier(n Name) table.Identifier {
	return table.Identifier{w.config.NamespacePrefix + n.Namespace, n.Table}
}

// Drop forgets the table, its objects become orphans. A table that is not there is no error.
//
// An object named DroppedMark says so in the table's folder, first: maintenance removes nothing from folders of which it knows no table, since they may be another catalog's, unless they have it.
func (w *Warehouse) Drop(ctx context.Context, name Name) error {
	location := w.location + "/" + name.Namespace + "/" + name.Table
	t, err := w.Load(ctx, name)
	if errors.Is(err, ErrNoTable) {
		return nil
	}
	if err == nil { // otherwise its metadata are damaged, or the catalog is away, which shows below
		location = t.Location()
	}
	key, err := w.Key(location + "/" + DroppedMark)
	if err != nil {
		return fmt.Errorf("drop %s: %w", name, err)
	}
	if err := w.Held(ctx); err != nil {
		return fmt.Errorf("drop %s: %w", name, err)
	}
	if err := w.config.Store.Put(ctx, key, []byte("dropped\n")); err != nil {
		return fmt.Errorf("drop %s: %w", name, err)
	}
	if err := w.cat.DropTable(ctx, w.identifier(name)); err != nil && !errors.Is(err, catalog.ErrNoSuchTable) {
		return fmt.Errorf("drop %s: %w", name, w.redact(err))
	}
	return nil
}
