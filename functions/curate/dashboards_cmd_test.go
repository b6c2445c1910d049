package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A wrong call must be told apart from a Superset that is away, before a password is sent anywhere, and no message may hold one.
func TestDashboardsCalls(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("very-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"--help", 0, "--schema-prefix"},
		{"", 2, "one of import, check, export, remove"},
		{"inport --password-file " + password, 2, "one of import, check, export, remove"},
		{"import check --password-file " + password, 2, "one of import, check, export, remove"},
		{"import", 2, "--password-file names no file"},
		{"export --password-file " + password, 2, "--to names no directory"},
		{"check --format csv --password-file " + password, 2, "--format must be"},
		{"import --unknown", 2, "unknown flag"},
		{"import --trino-url trino://x --password-file " + password, 2, "the address of Trino"},
		{"import --password-file " + empty, 1, "there is no password"},
		{"import --password-file " + password + "-not-there", 1, "no such file"},
		{"import --url http://127.0.0.1:1 --password-file " + password, 1, "log in to http://127.0.0.1:1 as admin"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"dashboards"}, strings.Fields(c.args)...), &stdout, &stderr)
		said := stdout.String() + stderr.String()
		if code != c.code || !strings.Contains(said, c.says) || strings.Contains(said, "very-secret") {
			t.Errorf("dashboards %s: ended with %d and said %q, want %d and %q", c.args, code, said, c.code, c.says)
		}
	}
}
