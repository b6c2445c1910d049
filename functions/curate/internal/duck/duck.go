// Package duck runs SQL on local Parquet files with DuckDB: the engine of curate on one machine.
//
// It needs cgo. Without it Open is an error that says so.
package duck

import (
	"context"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/warehouse"
)

// Options bound an engine.
type Options struct {
	Memory  int64  // bytes; DuckDB's memory_limit
	Threads int    // 0: as many as there are processors
	Scratch string // directory for what does not fit into memory
}

// DB is one DuckDB in memory, with the common language's prelude (UTC, integer division, macros). It uses one connection and is not safe for concurrent use.
type DB struct{}

// Open starts DuckDB. Nothing is loaded or installed from the network.
func Open(ctx context.Context, o Options) (*DB, error) { panic("skeleton") }

// Close ends it and removes its temporary files.
func (d *DB) Close() error { panic("skeleton") }

// Relation makes a view schema.table over the files: columns by field id order of the schema, those that a file lacks are null, rows of position deletes left out. columns nil: all that
// were fetched. where, if not empty, is SQL over those columns. No files: an empty relation with the schema's types. It replaces an earlier one of the name.
func (d *DB) Relation(ctx context.Context, name warehouse.Name, schema *iceberg.Schema, files []warehouse.Local, columns []string, where string) error {
	panic("skeleton")
}

// Exec runs statements.
func (d *DB) Exec(ctx context.Context, sql string, args ...any) error { panic("skeleton") }

// Rows calls f with each row of the query; values as database/sql has them.
func (d *DB) Rows(ctx context.Context, query string, f func(columns []string, row []any) error) error {
	panic("skeleton")
}

// Written is a file that Write wrote.
type Written struct {
	Path string
	Rows int64
}

// Write runs the query, whose columns are those of the schema by name, and writes its rows as Parquet (zstd, the schema's field ids and types, all optional), one or more files for each value of
// the partition's columns, none where there are no rows. next gives the paths.
func (d *DB) Write(ctx context.Context, query string, schema *iceberg.Schema, partition []string, next func() string) ([]Written, error) {
	panic("skeleton")
}

// References returns the tables that a query reads, as written (schema.table or table), without those of its own WITH clauses, sorted; and whether the text is one SELECT.
func (d *DB) References(ctx context.Context, sql string) ([]string, error) { panic("skeleton") }

// Columns returns the column names that a query names anywhere, lower case and sorted, and whether it may need all of them (a star).
func (d *DB) Columns(ctx context.Context, sql string) (names []string, all bool, err error) {
	panic("skeleton")
}
