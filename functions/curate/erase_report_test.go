package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/functions/curate/internal/erase"
)

// Guards the report of an erasure that broke off: it is printed and written to the file, and the error stands beside it.
func TestTellErasure(t *testing.T) {
	broke := errors.New("the store is away")
	r := &erase.Report{Applied: true, Done: []string{"find"}, Left: []string{"search"}, Stopped: broke.Error()}
	file := filepath.Join(t.TempDir(), "report.json")
	var out bytes.Buffer
	if err := tellErasure(r, broke, file, &out); !errors.Is(err, broke) || !strings.Contains(err.Error(), "give the same command again") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(out.String(), "not done: search") {
		t.Error(out.String())
	}
	var written erase.Report
	b, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(b, &written) != nil || written.Stopped != broke.Error() || len(written.Left) != 1 {
		t.Errorf("%s, %v", b, err)
	}
	if err := tellErasure(r, nil, filepath.Join(t.TempDir(), "no", "such"), &out); err == nil {
		t.Error("a report that was not written is no error")
	}
}
