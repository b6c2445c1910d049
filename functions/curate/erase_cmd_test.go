package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Guards the file by which events that land late are found: what was kept is read again as it was, by nobody but its owner.
func TestRememberedIDs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ada.ids")
	ids := []string{"00000000-0000-5000-8000-000000000001", "00000000-0000-5000-8000-000000000002"}
	for n := range 2 {
		if err := writeIDs(file, append([]string{"no root id"}, ids[:n+1]...)); err != nil {
			t.Fatal(err)
		}
		got, err := readIDs(file)
		if err != nil || !slices.Equal(got, ids[:n+1]) {
			t.Errorf("%q, %v", got, err)
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := writeIDs(filepath.Join(file, "x"), ids); err == nil {
		t.Error("written below a file")
	}
}
