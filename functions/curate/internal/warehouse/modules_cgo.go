//go:build cgo

package warehouse

import _ "github.com/duckdb/duckdb-go/v2"
