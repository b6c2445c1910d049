package trino_test

import (
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/functions/curate/internal/trino"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

func newWarehouse(t *testing.T) *warehouse.Warehouse {
	t.Helper()
	s := objectstoretest.NewServer("lake")
	t.Cleanup(s.Close)
	b, err := objectstore.Open(s.Config("lake", 1))
	if err != nil {
		t.Fatal(err)
	}
	w, err := warehouse.Open(t.Context(), warehouse.Config{Catalog: "sqlite://" + filepath.Join(t.TempDir(), "catalog.db"), Name: "lake", Store: b, Prefix: "warehouse", Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// answering is a Trino that answers each statement with these values in one column, and notes what it was sent.
func answering(values string, seen *[]*http.Request, statements *[]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		*seen, *statements = append(*seen, r), append(*statements, string(body))
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id": "1", "infoUri": "http://localhost/1", "columns": [{"name": "Schema", "type": "varchar", "typeSignature": {"rawType": "varchar", "arguments": []}}], "data": [%s], "stats": {"state": "FINISHED"}}`, values)
	}
}

// What is wrong with the address is found before anything is sent, and never quotes a password.
func TestConfigIsChecked(t *testing.T) {
	w := newWarehouse(t)
	f := func(c trino.Config, want string) {
		t.Helper()
		c.Warehouse = w
		err := c.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", c.URL, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error quotes the password: %v", err)
		}
	}
	f(trino.Config{URL: "http://curate@trino:8080"}, "")
	f(trino.Config{URL: "https://curate@trino", PasswordFile: "p"}, "")
	f(trino.Config{URL: ""}, "http(s)://user@host:port")
	f(trino.Config{URL: "trino:8080"}, "http(s)://user@host:port")
	f(trino.Config{URL: "http://trino:8080"}, "names no user")
	f(trino.Config{URL: "https://curate:hunter2@trino"}, "put it into a file")
	f(trino.Config{URL: "https://curate:hunter2@tri no"}, "http(s)://user@host:port")
	f(trino.Config{URL: "http://curate@trino", PasswordFile: "p"}, "needs https")
	f(trino.Config{URL: "http://curate@trino", TokenFile: "p"}, "needs https")
	f(trino.Config{URL: "https://curate@trino", TokenFile: "t", PasswordFile: "p"}, "give one of them")
	f(trino.Config{URL: "https://curate@trino/path"}, "more than a host")
}

// A Trino over another catalog would compute from, and write beside, tables that are not the warehouse's.
func TestAnotherCatalogIsRefused(t *testing.T) {
	var seen []*http.Request
	var statements []string
	server := httptest.NewServer(answering(`["information_schema"], ["other"]`, &seen, &statements))
	defer server.Close()
	_, err := trino.Open(t.Context(), trino.Config{URL: strings.Replace(server.URL, "//", "//curate@", 1), Catalog: "hive", Warehouse: newWarehouse(t)})
	if err == nil || !strings.Contains(err.Error(), "catalog hive of Trino has no schema star") {
		t.Errorf("error %v", err)
	}
	if len(statements) != 1 || statements[0] != `show schemas from "hive"` {
		t.Errorf("statements %q: nothing may be made there", statements)
	}
}

// A Trino that is away must not hold a run for minutes, and the error must say what is away.
func TestTrinoAway(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	url := strings.Replace(server.URL, "//", "//curate@", 1)
	server.Close()
	_, err := trino.Open(t.Context(), trino.Config{URL: url, Patience: 50 * time.Millisecond, Warehouse: newWarehouse(t)})
	if err == nil || !strings.Contains(err.Error(), "Trino is away") {
		t.Errorf("error %v", err)
	}
}

// Credentials come from files, go over TLS that the given authority vouches for, and to nobody else.
func TestCredentials(t *testing.T) {
	var seen []*http.Request
	var statements []string
	server := httptest.NewTLSServer(answering(`["information_schema"]`, &seen, &statements))
	defer server.Close()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := file("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	url := strings.Replace(server.URL, "//", "//curate@", 1)
	w := newWarehouse(t)
	for _, c := range []struct {
		config trino.Config
		want   string
	}{
		{trino.Config{PasswordFile: file("password", "hunter2\n"), CAFile: ca}, "Basic Y3VyYXRlOmh1bnRlcjI="},
		{trino.Config{TokenFile: file("token", "a.b.c\n"), CAFile: ca}, "Bearer a.b.c"},
	} {
		seen = nil
		c.config.URL, c.config.Warehouse = url, w
		if _, err := trino.Open(t.Context(), c.config); err == nil || !strings.Contains(err.Error(), "has no schema star") {
			t.Errorf("error %v", err)
		}
		if len(seen) == 0 || seen[0].Header.Get("Authorization") != c.want || seen[0].Header.Get("X-Trino-User") != "curate" {
			t.Errorf("requests %v", seen)
		}
	}
	seen = nil
	_, err := trino.Open(t.Context(), trino.Config{URL: url, PasswordFile: filepath.Join(dir, "password"), Patience: 50 * time.Millisecond, Warehouse: w})
	if err == nil || len(seen) > 0 {
		t.Errorf("a certificate that nobody vouches for was taken: %v, %d requests", err, len(seen))
	}
	for name, want := range map[string]string{"absent": "no such file", "empty": "is empty"} {
		if name == "empty" {
			file("empty", " \n")
		}
		_, err := trino.Open(t.Context(), trino.Config{URL: url, PasswordFile: filepath.Join(dir, name), CAFile: ca, Warehouse: w})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
