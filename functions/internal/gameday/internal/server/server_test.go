package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is not there, or may not be entered by the user that Elasticsearch runs as, must be said before anything is started, with its name.
func TestMissing(t *testing.T) {
	dir := t.TempDir()
	err := Programs{Dir: dir}.Missing()
	for _, want := range []string{"lib/kafka/", "lib/elasticsearch/", "bin/minio"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
	closed := filepath.Join(dir, "closed")
	if err := os.MkdirAll(filepath.Join(closed, "in"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(closed, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := enterable(filepath.Join(closed, "in")); err == nil || !strings.Contains(err.Error(), "may not enter "+closed) {
		t.Errorf("a directory in a closed one: %v", err)
	}
	if err := enterable("/"); err != nil {
		t.Error(err)
	}
}
