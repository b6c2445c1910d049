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

// Guards a person whose subject is not a plain word, and a file that ends each line as Windows does.
func TestSubjectsOfFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subjects")
	if err := os.WriteFile(file, []byte("ada #1\r\n\n  \n bob\ncy"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readSubjects(file)
	if err != nil || strings.Join(got, "|") != "ada #1| bob|cy" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := readSubjects(file + ".none"); err == nil {
		t.Error("a file that is not there is no error")
	}
}
