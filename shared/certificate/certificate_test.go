package certificate_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/shared/certificate"
)

// serve starts a server with a certificate of its own for 127.0.0.1 that is valid in this time, and returns the file of it.
func serve(t *testing.T, from, to time.Time) (server *httptest.Server, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the-store"}, NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}} //nolint:gosec // of a test
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)                         // of handshakes that are to fail
	server.StartTLS()
	t.Cleanup(server.Close)
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return server, file
}

// get asks the server with a new connection, as the authority's clients do.
func get(t *testing.T, a certificate.Authority, server *httptest.Server) error {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	if err := a.Trust(transport); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return a.Explain(req.URL.Host, err)
	}
	return res.Body.Close()
}

// Guards the operator who must find out which certificate is refused: the error names the host, from when to when its certificate is valid, and the file or variable to look at, for one that has run
// out, one that is not valid yet, and one of another authority.
func TestRefusedCertificateIsExplained(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	good, ca := serve(t, now.Add(-day), now.Add(day))
	if err := get(t, certificate.Authority{File: ca, Variable: "S3_CA"}, good); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for name, tt := range map[string]struct{ from, to time.Time }{"expired": {now.Add(-3 * day), now.Add(-2 * day)}, "not yet valid": {now.Add(2 * day), now.Add(3 * day)}} {
		server, file := serve(t, tt.from, tt.to)
		err := get(t, certificate.Authority{File: file, Variable: "S3_CA"}, server)
		for _, want := range []string{server.Listener.Addr().String(), "the-store", tt.from.UTC().Format(time.RFC3339), tt.to.UTC().Format(time.RFC3339), file, "S3_CA"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in %v", name, want, err)
			}
		}
	}
	_, other := serve(t, now.Add(-day), now.Add(day))
	for _, a := range []certificate.Authority{{File: other, Variable: "S3_CA"}, {Variable: "S3_CA"}} {
		if err := get(t, a, good); err == nil || !strings.Contains(err.Error(), good.Listener.Addr().String()) || !strings.Contains(err.Error(), "S3_CA") || !strings.Contains(err.Error(), a.File) {
			t.Errorf("of another authority: %v", err)
		}
	}
}

// Guards the start against a file that is not there or holds no certificate: the error names the variable.
func TestAuthorityIsChecked(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, empty + "x"} {
		if err := (certificate.Authority{File: file, Variable: "S3_CA"}).Trust(&http.Transport{}); err == nil || !strings.Contains(err.Error(), "S3_CA") {
			t.Errorf("%s: %v", file, err)
		}
	}
}
