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

// A table must say with which servers it was made, without a path of the machine.
func TestVersions(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"lib/kafka/kafka_2.13-4.3.1.jar", "lib/elasticsearch/elasticsearch-8.19.21/bin/elasticsearch", "bin/minio"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(Programs{Dir: dir}.Versions(), ", "); got != "Kafka 4.3.1, Elasticsearch 8.19.21, MinIO" {
		t.Errorf("got %s", got)
	}
	for version, want := range map[string]string{"v0.0.0-20260212201848-7aac2a2c5b7c": "of 2026-02-12", "v1.2.3": "v1.2.3"} {
		if got := release(version); got != want {
			t.Errorf("%s: got %s", version, got)
		}
	}
}
