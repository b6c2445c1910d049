//go:build !cgo

package duck

import (
	"errors"
	"testing"
)

// Guards a build without a C compiler: it says what is missing, and so do the tests that are left out.
func TestNoCgo(t *testing.T) {
	if _, err := Open(t.Context(), Options{}); !errors.Is(err, ErrNoCgo) {
		t.Fatal(err)
	}
	t.Skip("DuckDB's tests are left out: this is a build without cgo")
}
