package search_test

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"millrace/shared/search"
	"millrace/shared/search/searchtest"
)

// guarded stands before an Elasticsearch over TLS and asks for a key. ca is the file of its certificate, and its key can be changed.
func guarded(t *testing.T, behind http.Handler) (url, ca string, key *atomic.Value) {
	t.Helper()
	key = new(atomic.Value)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " "); !strings.EqualFold(scheme, "ApiKey") || got != key.Load() {
			w.Header().Set("X-Elastic-Product", "Elasticsearch")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":{"type":"security_exception","reason":"no"},"status":401}`)) // a client that went away sees what it should
			return
		}
		behind.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of handshakes that are to fail
	server.StartTLS()
	t.Cleanup(server.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	return server.URL, ca, key
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Guards an Elasticsearch with security on, of a private CA: the key is sent, by value or from its file; one that was rotated is used at the next request; a wrong one,
// and a file that is away, are outages that pass; and no key is in an error.
func TestKeyAndCA(t *testing.T) {
	url, ca, key := guarded(t, searchtest.NewFake(t))
	file := filepath.Join(t.TempDir(), "key")
	const first, second = "Zmlyc3Q6c2VjcmV0", "c2Vjb25kOnNlY3JldA=="
	key.Store(first)
	write(t, file, first+"\n")
	for i, access := range []search.Access{{APIKey: first, CA: ca}, {APIKeyFile: file, CA: ca}} {
		got, err := searchtest.New(t, search.Options{URL: url, Access: access}).Bulk(t.Context(), ops(2))
		if want := []string{"done done", "conflict conflict"}[i]; err != nil || statuses(got) != want {
			t.Errorf("%d: %s, %v", i, statuses(got), err)
		}
	}
	outage := func(c *search.Client, status int) {
		t.Helper()
		var o *search.OutageError
		if err := c.EnsureDead(t.Context()); !errors.As(err, &o) || o.Status != status || strings.Contains(err.Error(), first) {
			t.Errorf("got %v, want an outage of status %d without the key", err, status)
		}
	}
	c := searchtest.New(t, search.Options{URL: url, Access: search.Access{APIKeyFile: file, CA: ca}})
	key.Store(second)
	outage(c, http.StatusUnauthorized)
	write(t, file, second)
	if err := c.EnsureDead(t.Context()); err != nil {
		t.Errorf("with the new key: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	outage(c, 0)
	write(t, file, first+"\x00") // no header can have it
	outage(c, 0)
	write(t, file, second)
	if err := c.EnsureDead(t.Context()); err != nil {
		t.Errorf("with the file back: %v", err)
	}
	outage(searchtest.New(t, search.Options{URL: url, Access: search.Access{APIKey: first, CA: ca}}), http.StatusUnauthorized)
	outage(searchtest.New(t, search.Options{URL: url, Access: search.Access{APIKey: second}}), 0) // the system does not know the CA
}

// Guards a certificate authority that is replaced, while the function runs: a new connection trusts what the file holds then, and checks the server's name.
func TestCAIsReadAgain(t *testing.T) {
	url, ca, _ := guarded(t, searchtest.NewFake(t))
	good, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	c := searchtest.New(t, search.Options{URL: url, Access: search.Access{CA: ca, APIKey: "k"}})
	reached := func(want bool) {
		t.Helper()
		c.Close() // what is open stays trusted
		var o *search.OutageError
		if err := c.EnsureDead(t.Context()); !errors.As(err, &o) || (o.Status == http.StatusUnauthorized) != want {
			t.Errorf("reached: %v, want %t", err, want)
		}
	}
	reached(true)
	write(t, ca, otherCA)
	reached(false)
	write(t, ca, "")
	reached(false)
	write(t, ca, string(good))
	reached(true)
	// The certificate is for 127.0.0.1 and example.com.
	c = searchtest.New(t, search.Options{URL: strings.Replace(url, "127.0.0.1", "localhost", 1), Access: search.Access{CA: ca, APIKey: "k"}})
	var wrong *tls.CertificateVerificationError
	if err := c.EnsureDead(t.Context()); !errors.As(err, &wrong) {
		t.Errorf("another name: %v", err)
	}
}

// Guards the start against files that are not there or hold nothing of use: the error names the variable, and not the key.
func TestAccessIsChecked(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	write(t, empty, "\n")
	for want, access := range map[string]search.Access{
		"reading certificates (ELASTICSEARCH_CA)":       {CA: empty + "x"},
		"(ELASTICSEARCH_CA), which must be PEM":         {CA: empty},
		"reading the key (ELASTICSEARCH_API_KEY_FILE)":  {APIKeyFile: empty + "x"},
		"(ELASTICSEARCH_API_KEY_FILE) is empty":         {APIKeyFile: empty},
		"ELASTICSEARCH_API_KEY_FILE exclude each other": {APIKeyFile: empty, APIKey: "secret"},
	} {
		if _, err := search.New(search.Options{URL: "https://127.0.0.1:1", Access: access}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// otherCA is a certificate that signed nothing.
const otherCA = `-----BEGIN CERTIFICATE-----
MIIBWzCCAQGgAwIBAgIBATAKBggqhkjOPQQDAjAcMRowGAYDVQQDExFhbm90aGVy
IGF1dGhvcml0eTAgFw0yMzExMTQyMjEzMjBaGA8yMDk2MTAwMjA3MDY0MFowHDEa
MBgGA1UEAxMRYW5vdGhlciBhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMB
BwNCAARjD1Jq/wV5OGB58Dc1c9o1g0ZDfplyhzvXwYbUB2ZhYxVN3J5ik3bnL8+B
FlF/o5iJutjA/UPdLLeyot0xzfVWozIwMDAPBgNVHRMBAf8EBTADAQH/MB0GA1Ud
DgQWBBRCceJPO13J8RrneFLc0K7XWb/tGjAKBggqhkjOPQQDAgNIADBFAiAmcIyv
HNc7hpPDd/3uZVGS2SbuC2bwrpjiq/TQ4cpcNwIhAMDf1qsuKXFhv/i41D3zfdQ7
VeNVSdlqxlW1Xfq3AWA5
-----END CERTIFICATE-----
`
