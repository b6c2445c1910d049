//go:build !cgo

package duck

import (
	"context"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/warehouse"
)

// DB stands for DuckDB where there is none.
type DB struct{}

// Open returns ErrNoCgo.
func Open(context.Context, Options) (*DB, error) { return nil, ErrNoCgo }

// Close does nothing.
func (*DB) Close() error { return nil }

// Seal returns ErrNoCgo.
func (*DB) Seal(context.Context) error { return ErrNoCgo }

// Relation returns ErrNoCgo.
func (*DB) Relation(context.Context, warehouse.Name, *iceberg.Schema, []warehouse.Local, []string, string) error {
	return ErrNoCgo
}

// Origins returns ErrNoCgo.
func (*DB) Origins(context.Context, warehouse.Name, *iceberg.Schema, []warehouse.Local, []string, string) error {
	return ErrNoCgo
}

// Exec returns ErrNoCgo.
func (*DB) Exec(context.Context, string, ...any) error { return ErrNoCgo }

// Rows returns ErrNoCgo.
func (*DB) Rows(context.Context, string, func([]string, []any) error) error { return ErrNoCgo }

// Stream returns ErrNoCgo.
func (*DB) Stream(context.Context, string, func([]string, []any) error) error { return ErrNoCgo }

// Describe returns ErrNoCgo.
func (*DB) Describe(context.Context, string) ([]Column, error) { return nil, ErrNoCgo }

// Write returns ErrNoCgo.
func (*DB) Write(context.Context, string, *iceberg.Schema, []string, func() string) ([]Written, error) {
	return nil, ErrNoCgo
}

// Parse returns ErrNoCgo.
func (*DB) Parse(context.Context, string) (*Parsed, error) { return nil, ErrNoCgo }

// References returns ErrNoCgo.
func (*DB) References(context.Context, string) ([]string, error) { return nil, ErrNoCgo }

// Columns returns ErrNoCgo.
func (*DB) Columns(context.Context, string) ([]string, bool, error) { return nil, false, ErrNoCgo }

// IsUnbound returns false.
func IsUnbound(error) bool { return false }
