package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"millrace/functions/curate/internal/fault"
)

// Guards who is called at night: of a scratch directory without room they are told which it is and what to do, once; other full disks are not taken for it.
func TestFull(t *testing.T) {
	const dir = "/scratch/curate"
	engine := errors.New(`writing the rows: IO Error: Could not write file "/scratch/curate/run-1/data_0.parquet": No space left on device`)
	for _, c := range []struct {
		err  error
		told bool
	}{
		{fmt.Errorf("fetching: %w", &fs.PathError{Op: "write", Path: dir + "/run-1/0.parquet", Err: syscall.ENOSPC}), true},
		{engine, true},
		{errors.Join(errors.New("something else"), fmt.Errorf("ingest: %w", engine)), true},
		{errors.New("Out of Memory Error: failed to offload data block of size 256.0 KiB (14.9 MiB/15.0 MiB used). This limit was set by the 'max_temp_directory_size' setting."), true},
		{&fs.PathError{Op: "write", Path: "/reports/curate.html", Err: syscall.ENOSPC}, false},
		{errors.New("database or disk is full"), false},
		{&fs.PathError{Op: "open", Path: dir, Err: syscall.EACCES}, false},
	} {
		got := full(full(c.err, dir), dir)
		if n := strings.Count(got.Error(), "The scratch directory /scratch/curate is full"); (n == 1) != c.told || n > 1 || !errors.Is(got, c.err) {
			t.Errorf("%v: %v", c.err, got)
		}
		if lacksRoom(errors.New(fault.Text(c.err)), dir) != c.told { // of a model there is the text without values alone
			t.Errorf("of the text alone: %v", c.err)
		}
	}
	if full(nil, dir) != nil {
		t.Error("nil became an error")
	}
}
