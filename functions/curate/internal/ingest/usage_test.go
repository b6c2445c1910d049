package ingest

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"millrace/functions/curate/internal/warehouse"
)

// usage is the processor time that this process has taken.
func usage(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func indexOf(columns []warehouse.Column, name string) int {
	return slices.IndexFunc(columns, func(c warehouse.Column) bool { return c.Name == name })
}
