// Package certificate has HTTP clients trust a certificate authority that a file names, and says of a server's certificate that was refused what an operator needs to know.
//
// It guarantees that the file is read at each new connection, so that an authority that is replaced is used without a restart, and that an error never holds a key. Connections that are open
// live on under the authority that they were made with; through a proxy of HTTPS_PROXY the authority of the start counts.
//
// It does not give out certificates of our own, and does not know Kafka (package kafka has its own connections).
package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// An Authority is whom to trust: the certificates in a file (PEM), or those of the system where File is empty. Variable is what names the file, for errors.
type Authority struct{ File, Variable string }

// Pool reads the certificates; nil, which means the system's, where there is no file.
func (a Authority) Pool() (*x509.CertPool, error) {
	if a.File == "" {
		return nil, nil
	}
	b, err := os.ReadFile(a.File)
	if err != nil {
		return nil, fmt.Errorf("reading certificates (%s): %w", a.Variable, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("no certificate in %s (%s), which must be PEM", a.File, a.Variable)
	}
	return pool, nil
}

// Trust makes t check servers by the authority, as its file is at each new connection. It returns an error where the file holds nothing of use now.
func (a Authority) Trust(t *http.Transport) error {
	if a.File == "" {
		return nil
	}
	pool, err := a.Pool()
	if err != nil {
		return err
	}
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	t.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		pool, err := a.Pool()
		if err != nil {
			return nil, err
		}
		d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: host}}
		return d.DialContext(ctx, network, addr)
	}
	return nil
}

// Explain adds to the error of a request to host what is to be known of a certificate that was refused: whose it is, from when to when it is valid, and by which file it was checked. Any
// other error, nil included, stays as it is.
func (a Authority) Explain(host string, err error) error {
	var refused *tls.CertificateVerificationError
	if !errors.As(err, &refused) || len(refused.UnverifiedCertificates) == 0 {
		return err
	}
	leaf := refused.UnverifiedCertificates[0]
	by := "the system's authorities (" + a.Variable + " names a file of others)"
	if a.File != "" {
		by = a.File + " (" + a.Variable + ")"
	}
	return fmt.Errorf("the certificate of %s, for %q by %q, valid from %s to %s, was checked by %s: %w", host, leaf.Subject, leaf.Issuer,
		leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339), by, err)
}
