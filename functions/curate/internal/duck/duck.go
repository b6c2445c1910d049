// Package duck runs SQL on local Parquet files with DuckDB: the engine of curate on one machine.
//
// It guarantees: a relation has exactly the schema's columns and types, whatever the files lack, and no row of a position delete; a file that is written has the schema's
// field ids and types, one partition value, and every column optional; nothing is loaded or installed from the network; what does not fit into memory goes to the
// scratch directory, which Close empties.
//
// It does not: fetch or commit files (package warehouse does), check that SQL is of the common language (package model does), or run two queries at a time.
//
// It needs cgo. Without it Open is an error that says so.
//
// # Decision 2026-11-21: relations are spelled out, file by file
//
// Context: tables grow columns, also inside structs, and other engines write files too; DuckDB's own union_by_name goes by names and its schema option stops at the first level.
// Decision: the footers are read here (no DuckDB), files of equal columns share one read_parquet, and each such group's columns are chosen by field id, by name where a file has no ids, and cast to
// the table's type; a struct that a file has in full is passed on as it is, so that DuckDB still reads single fields of it. Consequences: a rename in the table is followed; a file is opened once more.
//
// # Decision 2026-11-21: partitions are split by a stand-in
//
// Context: DuckDB's PARTITION_BY makes a directory of each value: too long ones fail, NULL and the text that stands for it meet. Decision: it partitions by a stand-in
// (date, number or boolean as text, of anything else the SHA-256), which is not written, and the files are then renamed. Consequences: any value works; equal values always share a file's partition.
//
// # Decision 2026-11-21: memory_limit is not all
//
// Context: DuckDB's memory_limit holds for its buffers and hash tables, not for its readers' and writers' working space, nor for its C++ heap's holes; Go's heap
// (GOMEMLIMIT) knows nothing of either. Decision: Options.Memory is DuckDB's limit, and a query that needs more spills, or fails with an error that says so.
// Consequences: the process may need Options.Memory and about 400 MiB: a row group in work for each thread, Go's heap, the program; a run over a million new trips took
// 0.8 GiB in all with a limit of 768 MiB and two threads (BenchmarkMillion of command curate). Rows holds its result beside the limit, Stream does not.
package duck

import (
	"errors"

	"github.com/apache/iceberg-go"
)

// ErrNoCgo is what everything of DB returns where the program was built without cgo.
var ErrNoCgo = errors.New("this program was built without DuckDB: build it with a C compiler and CGO_ENABLED=1")

// Options bound an engine.
type Options struct {
	Memory  int64  // bytes; DuckDB's memory_limit
	Threads int    // 0: as many as there are processors
	Scratch string // directory for what does not fit into memory; made where it is missing
	Spill   int64  // bytes of Scratch that may be used; 0: nine tenths of what is free there
}

// Written is a file that Write wrote.
type Written struct {
	Path string
	Rows int64
}

// Column is a column of a query's result.
type Column struct {
	Name string
	Type string // as DuckDB spells it
}

// RowGroup is how many rows Write puts into a row group.
const RowGroup = 122_880

// fields returns the schema's columns of the names, in the schema's order; nil: all of them.
func fields(schema *iceberg.Schema, names []string) ([]iceberg.NestedField, error) {
	all := schema.Fields()
	if names == nil {
		return all, nil
	}
	want := map[string]bool{}
	for _, n := range names {
		want[n] = true
	}
	var out []iceberg.NestedField
	for _, f := range all {
		if want[f.Name] {
			out = append(out, f)
			delete(want, f.Name)
		}
	}
	for n := range want {
		return nil, errNoColumn(n, all)
	}
	return out, nil
}
