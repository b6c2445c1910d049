//go:build integration

package objectstore_test

import (
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/shared/objectstore"
)

// Guards a real store behind TLS of an authority of our own, with keys of a file: a bucket that is not there, a wrong key and a wrong authority are errors that name what is wrong and no secret, none
// of them reads as an object that is missing, and what was refused comes to pass when bucket, key and authority are right, without a restart.
func TestWeatherOfStore(t *testing.T) {
	target, err := url.Parse(os.Getenv("S3_ENDPOINT"))
	if err != nil || target.Host == "" {
		t.Skip("S3_ENDPOINT names no server")
	}
	proxy := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}})
	proxy.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of handshakes that are to fail
	proxy.StartTLS()
	t.Cleanup(proxy.Close)
	dir := t.TempDir()
	ca, keys := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "credentials")
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw}))
	id, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	profile := func(id, secret string) string {
		return "[default]\naws_access_key_id = " + id + "\naws_secret_access_key = " + secret + "\n"
	}
	write(ca, authority)
	write(keys, profile(id, secret))
	bucket, err := objectstore.Open(objectstore.Config{
		Endpoint: proxy.URL, Region: "us-east-1", Bucket: fmt.Sprintf("weather-%d", time.Now().UnixNano()), CredentialsFile: keys, CA: ca, Attempts: 1, Timeout: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	fails := func(wants ...string) {
		t.Helper()
		_, err := bucket.Get(t.Context(), "k")
		if err == nil || errors.Is(err, objectstore.ErrNotFound) || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "not-the-secret") {
			t.Fatalf("got %v", err)
		}
		for _, want := range append(wants, bucket.Name()) {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in %v", want, err)
			}
		}
	}
	fails("NoSuchBucket")
	if err := bucket.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := bucket.PutIfAbsent(t.Context(), "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	write(keys, profile(id, "not-the-secret-of-this-store"))
	fails("403", "SignatureDoesNotMatch")
	write(keys, profile("nobody", "not-the-secret"))
	fails("403", "InvalidAccessKeyId")
	write(keys, profile(id, secret))
	write(ca, otherCA)
	proxy.CloseClientConnections() // an open one lives on
	fails(proxy.Listener.Addr().String(), ca, "S3_CA", "valid from")
	write(ca, authority)
	if got, err := bucket.Get(t.Context(), "k"); err != nil || string(got) != "v" {
		t.Errorf("when all is right again: %q, %v", got, err)
	}
	if err := bucket.Delete(t.Context(), "k"); err != nil {
		t.Error(err)
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
