//go:build cgo

package duck

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/iceberg-go"
	duckdb "github.com/duckdb/duckdb-go/v2"

	"millrace/functions/curate/internal/warehouse"
)

//go:embed prelude.sql
var prelude string

// schemas are those of the warehouse; an unqualified name is looked for in this order, after the models and views of the session itself.
var schemas = []string{"star", "events", "ops"}

// DB is one DuckDB in memory, with the common language's prelude (UTC, integer division, macros). It uses one connection and is not safe for concurrent use.
// A name without a schema is found in main, star, events, ops, in this order.
type DB struct {
	pool    *sql.DB
	conn    *sql.Conn
	scratch string
	files   []string // of relations
	sealed  bool
}

// Open starts DuckDB. Nothing is loaded or installed from the network.
func Open(ctx context.Context, o Options) (_ *DB, err error) {
	if o.Memory <= 0 || o.Scratch == "" {
		return nil, errors.New("duckdb needs a memory limit and a scratch directory")
	}
	if err := os.MkdirAll(o.Scratch, 0o700); err != nil {
		return nil, fmt.Errorf("making the scratch directory: %w", err)
	}
	scratch, err := os.MkdirTemp(o.Scratch, "duckdb-*")
	if err != nil {
		return nil, fmt.Errorf("making a directory in %s: %w", o.Scratch, err)
	}
	d := &DB{scratch: scratch}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	// A statically linked DuckDB crashes where it loads an extension, so it must never try.
	settings := url.Values{
		"autoinstall_known_extensions": {"false"}, "autoload_known_extensions": {"false"}, "allow_community_extensions": {"false"},
		"memory_limit": {strconv.FormatInt(o.Memory, 10) + "B"}, "temp_directory": {scratch}, "preserve_insertion_order": {"false"},
	}
	if o.Threads > 0 {
		settings.Set("threads", strconv.Itoa(o.Threads))
	}
	if o.Spill > 0 {
		settings.Set("max_temp_directory_size", strconv.FormatInt(o.Spill, 10)+"B")
	}
	connector, err := duckdb.NewConnector("?"+settings.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("starting duckdb: %w", err)
	}
	d.pool = sql.OpenDB(connector)
	d.pool.SetMaxOpenConns(1)
	if d.conn, err = d.pool.Conn(ctx); err != nil { // macros are of one connection
		return nil, fmt.Errorf("connecting to duckdb: %w", err)
	}
	// Rows are handed to partitions' files in pieces that the processor's cache holds: half a million, the default, takes twice the time. Row groups are as large as before.
	// The file cache keeps bytes of files by their place, but those of a file fetched in part are filled in later.
	start := prelude + "set parquet_metadata_cache=true; set enable_external_file_cache=false; set enable_progress_bar=false; set partitioned_write_flush_threshold=100000;\n"
	for _, s := range schemas {
		start += "create schema " + s + ";\n"
	}
	start += "set search_path=" + Literal("main,"+strings.Join(schemas, ",")) + ";\n"
	if err := d.Exec(ctx, start); err != nil {
		return nil, err
	}
	return d, nil
}

// Close ends it and removes its temporary files.
func (d *DB) Close() error {
	var errs []error
	if d.conn != nil {
		errs = append(errs, d.conn.Close())
	}
	if d.pool != nil {
		errs = append(errs, d.pool.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(d.scratch))...)
}

// Seal ends what SQL may do outside of the relations that there are: from then on no other file is read or written, nothing is attached, installed or configured. It cannot be taken back.
func (d *DB) Seal(ctx context.Context) error {
	if d.sealed {
		return nil
	}
	if err := d.Exec(ctx, "set allowed_paths="+texts(d.files)+"; set enable_external_access=false; set lock_configuration=true"); err != nil {
		return fmt.Errorf("closing duckdb to the outside: %w", err)
	}
	d.sealed = true
	return nil
}

// Relation makes a view schema.table over the files: the schema's columns in its order, each found by field id (by name in a file without ids), those that a file lacks are null, rows of
// position deletes left out. columns nil: all that were fetched. where, if not empty, is SQL over those columns. No files: an empty relation with the schema's types. It replaces an earlier
// one of the name. A name without a namespace is found before the warehouse's tables.
func (d *DB) Relation(ctx context.Context, name warehouse.Name, schema *iceberg.Schema, files []warehouse.Local, columns []string, where string) error {
	return d.relation(ctx, name, schema, files, columns, where, "")
}

// Origins is Relation with one column more, origin: the local path of the file that the row is of.
func (d *DB) Origins(ctx context.Context, name warehouse.Name, schema *iceberg.Schema, files []warehouse.Local, columns []string, origin string) error {
	return d.relation(ctx, name, schema, files, columns, "", origin)
}

func (d *DB) relation(ctx context.Context, name warehouse.Name, schema *iceberg.Schema, files []warehouse.Local, columns []string, where, origin string) error {
	if d.sealed {
		return fmt.Errorf("relation %s: duckdb is sealed", name)
	}
	query, err := relation(schema, files, columns, where, origin)
	if err != nil {
		return fmt.Errorf("relation %s: %w", name, err)
	}
	namespace := name.Namespace
	if namespace == "" {
		namespace = "main"
	} else if !slices.Contains(schemas, namespace) {
		if err := d.Exec(ctx, "create schema if not exists "+Quote(namespace)); err != nil {
			return err
		}
	}
	if _, err := d.conn.ExecContext(ctx, "create or replace view "+Quote(namespace)+"."+Quote(name.Table)+" as "+query); err != nil {
		return fmt.Errorf("relation %s: %w", name, err)
	}
	for _, l := range files {
		d.files = append(append(d.files, l.Path), l.Deletes...)
	}
	return nil
}

// Exec runs statements.
func (d *DB) Exec(ctx context.Context, query string, args ...any) error {
	if _, err := d.conn.ExecContext(ctx, query, args...); err != nil {
		return fmt.Errorf("running %s: %w", brief(query), err)
	}
	return nil
}

// Rows calls f with each row of the query; values as database/sql has them (lists []any, structs map[string]any, decimals duckdb.Decimal, UUIDs 16 bytes). f may keep the row.
// DuckDB holds the whole result in memory, beyond Options.Memory, before f sees the first row: Stream is for large ones.
func (d *DB) Rows(ctx context.Context, query string, f func(columns []string, row []any) error) (err error) {
	rows, err := d.conn.QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("running %s: %w", brief(strings.TrimPrefix(query, describe)), err)
	}
	defer func() {
		if c := rows.Close(); err == nil && c != nil {
			err = fmt.Errorf("running %s: %w", brief(query), c)
		}
	}()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		row, to := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			to[i] = &row[i]
		}
		if err := rows.Scan(to...); err != nil {
			return fmt.Errorf("reading a row of %s: %w", brief(query), err)
		}
		if err := f(columns, row); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("running %s: %w", brief(query), err)
	}
	return nil
}

// Stream is Rows for results of any size, in the query's order: what does not fit into Options.Memory waits in the scratch directory. f must not call Stream.
func (d *DB) Stream(ctx context.Context, query string, f func(columns []string, row []any) error) (err error) {
	if err := d.Exec(ctx, "create or replace temp table "+streamed+" as (\n"+query+"\n)"); err != nil {
		return err
	}
	defer func() {
		// Also where ctx has ended: what the table holds is to be let go.
		err = errors.Join(err, d.Exec(context.WithoutCancel(ctx), "drop table "+streamed))
	}()
	for at, n := 0, streamRows; n == streamRows; at += n {
		n = 0
		piece := fmt.Sprintf("select * from %s where rowid >= %d and rowid < %d order by rowid", streamed, at, at+streamRows)
		if err := d.Rows(ctx, piece, func(columns []string, row []any) error {
			n++
			return f(columns, row)
		}); err != nil {
			return err
		}
	}
	return nil
}

const (
	streamed   = "millrace_stream"
	streamRows = 20_000
)

const describe = "describe "

// Describe returns the query's columns without running it. What does not bind is an error that shows the place.
func (d *DB) Describe(ctx context.Context, query string) ([]Column, error) {
	var columns []Column
	err := d.Rows(ctx, describe+query, func(_ []string, row []any) error {
		name, _ := row[0].(string)
		typ, _ := row[1].(string)
		columns = append(columns, Column{name, typ})
		return nil
	})
	if err == nil {
		return columns, nil
	}
	if s, own := d.conn.PrepareContext(ctx, query); own != nil {
		err = fmt.Errorf("running %s: %w", brief(query), own) // shows the query without our own word before it
	} else {
		err = errors.Join(err, s.Close())
	}
	return nil, err
}

// IsUnbound says whether the error is that of a query which names what there is not, or gives a function what it does not take.
func IsUnbound(err error) bool {
	var e *duckdb.Error
	return errors.As(err, &e) && (e.Type == duckdb.ErrorTypeBinder || e.Type == duckdb.ErrorTypeCatalog)
}

// Write runs the query, whose columns are those of the schema by name in any order, and writes its rows as Parquet (zstd, the schema's field ids and types, all optional), one or more files
// for each value of the partition's columns (null is one), none where there are no rows. next gives the paths, of one file system. A value that does not fit its column's type is an error, and
// no file is left. Rows come in the query's order where it has one and there is no partition.
func (d *DB) Write(ctx context.Context, query string, schema *iceberg.Schema, partition []string, next func() string) (_ []Written, err error) {
	copying, parts, err := d.selection(ctx, query, schema, partition)
	if err != nil {
		return nil, err
	}
	if len(parts) > 0 {
		// Splitting costs as much as writing does: rows of one partition are written as they come. Each of the two questions ends at the first row that answers it, which DISTINCT does not.
		values, err := d.values(ctx, copying, parts)
		if err != nil {
			return nil, fmt.Errorf("writing the rows of %s: %w", brief(query), unwrapped(err))
		}
		switch values {
		case 0:
			return nil, nil
		case 1:
			parts = nil
		default:
			copying = "select *, " + strings.Join(parts, ", ") + " from (" + copying + ")"
		}
	}
	path := next()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making a directory for data files: %w", err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), "write-*")
	if err != nil {
		return nil, fmt.Errorf("making a directory for data files: %w", err)
	}
	var out []Written
	defer func() {
		err = errors.Join(err, os.RemoveAll(dir))
		if err == nil {
			return
		}
		for _, w := range out {
			err = errors.Join(err, os.Remove(w.Path))
		}
	}()
	target := Literal(dir + "/data")
	options := "format parquet, compression zstd, compression_level 1, return_stats true, row_group_size " + strconv.Itoa(RowGroup) + ", field_ids " + fieldIDs(schema.Fields())
	if len(parts) > 0 {
		names := make([]string, len(parts))
		for i := range parts {
			names[i] = Quote(standIn(i))
		}
		options += ", partition_by (" + strings.Join(names, ", ") + ")"
	} else {
		options += ", file_size_bytes 134217728"
	}
	type file struct {
		path string
		rows int64
	}
	var files []file
	err = d.Rows(ctx, "copy ("+copying+") to "+target+" ("+options+")", func(_ []string, row []any) error {
		p, ok := row[0].(string)
		n, is := row[1].(uint64)
		if !ok || !is {
			return fmt.Errorf("copy returned %T and %T", row[0], row[1])
		}
		files = append(files, file{p, int64(n)})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("writing the rows of %s: %w", brief(query), unwrapped(err))
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	for _, f := range files {
		if f.rows == 0 {
			continue
		}
		if len(out) > 0 {
			path = next()
		}
		if err := os.Rename(f.path, path); err != nil {
			return nil, fmt.Errorf("naming a data file: %w", err)
		}
		out = append(out, Written{path, f.rows})
	}
	return out, nil
}

// values says whether the query's rows lie in no partition (0), in one (1), or in more (2), by the partition's stand-ins.
func (d *DB) values(ctx context.Context, query string, standIns []string) (int, error) {
	var others []string
	all := "select " + strings.Join(standIns, ", ") + " from (" + query + ")"
	err := d.Rows(ctx, all+" limit 1", func(_ []string, row []any) error {
		for i, v := range row {
			text, ok := v.(string)
			if !ok {
				return fmt.Errorf("the stand-in of a partition came as %T", v)
			}
			others = append(others, standIn(i)+" <> "+Literal(text))
		}
		return nil
	})
	if err != nil || others == nil {
		return 0, err
	}
	n := 1
	err = d.Rows(ctx, "select 1 from ("+all+") where "+strings.Join(others, " or ")+" limit 1", func([]string, []any) error {
		n++
		return nil
	})
	return n, err
}

// unwrapped is DuckDB's own error, without the statement that we made around a query.
func unwrapped(err error) error {
	var e *duckdb.Error
	if errors.As(err, &e) {
		return e
	}
	return err
}

func standIn(i int) string { return "__partition_" + strconv.Itoa(i) }

// selection returns the query with the columns of the schema, cast, and the partition's stand-ins over them.
func (d *DB) selection(ctx context.Context, query string, schema *iceberg.Schema, partition []string) (selection string, standIns []string, err error) {
	have, err := d.Describe(ctx, query)
	if err != nil {
		return "", nil, err
	}
	var parts []string
	fs := schema.Fields()
	for _, f := range fs {
		typ, err := Type(f.Type)
		if err != nil {
			return "", nil, fmt.Errorf("column %s: %w", f.Name, err)
		}
		if !slices.ContainsFunc(have, func(c Column) bool { return c.Name == f.Name }) {
			return "", nil, fmt.Errorf("the query %s has no column %s", brief(query), f.Name)
		}
		parts = append(parts, "cast("+Quote(f.Name)+" as "+typ+") as "+Quote(f.Name))
	}
	for _, c := range have {
		if !slices.ContainsFunc(fs, func(f iceberg.NestedField) bool { return f.Name == c.Name }) {
			return "", nil, fmt.Errorf("the query %s has a column %s, which is not among the table's", brief(query), c.Name)
		}
	}
	selection = "select " + strings.Join(parts, ", ") + " from (" + query + "\n)"
	for i, name := range partition {
		at := slices.IndexFunc(fs, func(f iceberg.NestedField) bool { return f.Name == name })
		if at < 0 {
			return "", nil, fmt.Errorf("partition: %w", errNoColumn(name, fs))
		}
		text := "cast(" + Quote(name) + " as varchar)"
		switch fs[at].Type.(type) {
		case iceberg.DateType, iceberg.Int32Type, iceberg.Int64Type, iceberg.BooleanType:
			text = "coalesce(" + text + ", 'null')"
		default:
			text = "coalesce(sha256(" + text + "), 'null')"
		}
		standIns = append(standIns, text+" as "+standIn(i))
	}
	return selection, standIns, nil
}

// Parse returns what the query is made of, by DuckDB's own parser; nothing is bound. ErrNotSelect (wrapped); a mistake of syntax is an error that shows the place.
func (d *DB) Parse(ctx context.Context, query string) (*Parsed, error) {
	var answer string
	if err := d.conn.QueryRowContext(ctx, "select cast(json_serialize_sql(cast(? as varchar)) as varchar)", query).Scan(&answer); err != nil {
		return nil, fmt.Errorf("parsing %s: %w", brief(query), err)
	}
	return parsed(query, answer)
}

// References returns the tables that a query reads (schema.table or table, lower case), without those of its own WITH clauses, sorted. ErrNotSelect (wrapped) where the text is not one SELECT.
func (d *DB) References(ctx context.Context, query string) ([]string, error) {
	p, err := d.Parse(ctx, query)
	if err != nil {
		return nil, err
	}
	return p.Tables, nil
}

// Columns returns the column and field names that a query uses anywhere, lower case and sorted, and whether it may need all of them (a star).
func (d *DB) Columns(ctx context.Context, query string) (names []string, all bool, err error) {
	p, err := d.Parse(ctx, query)
	if err != nil {
		return nil, false, err
	}
	return p.Columns, p.All, nil
}
