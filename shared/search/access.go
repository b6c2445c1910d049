package search

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
)

// Access is how an Elasticsearch that asks for credentials is reached. Its tags are those of the functions' settings. Files are read when they are used, so what changes
// in them (a key that is rotated, a Secret that Kubernetes mounts) is used without a restart; one that cannot be read then is an outage and not an event's fault.
type Access struct {
	APIKey     string `envconfig:"ELASTICSEARCH_API_KEY" desc:"as Elasticsearch hands it out (encoded), in place of user and password; secret"`
	APIKeyFile string `envconfig:"ELASTICSEARCH_API_KEY_FILE" desc:"in place of the key: a file that holds it, read at each request"`
	CA         string `envconfig:"ELASTICSEARCH_CA" desc:"a file of certificates (PEM) to trust in place of the system's, read at each connection"`
}

// Validate says what cannot be, without the key.
func (a Access) Validate() error {
	if a.APIKey != "" && a.APIKeyFile != "" {
		return errors.New("ELASTICSEARCH_API_KEY and ELASTICSEARCH_API_KEY_FILE exclude each other")
	}
	return nil
}

// key reads the file of the key.
func (a Access) key() (string, error) {
	b, err := os.ReadFile(a.APIKeyFile)
	if err != nil {
		return "", fmt.Errorf("reading the key (ELASTICSEARCH_API_KEY_FILE): %w", err)
	}
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return "", fmt.Errorf("the key's file %s (ELASTICSEARCH_API_KEY_FILE) is empty", a.APIKeyFile)
	}
	return string(b), nil
}

// pool reads the certificates to trust.
func (a Access) pool() (*x509.CertPool, error) {
	b, err := os.ReadFile(a.CA)
	if err != nil {
		return nil, fmt.Errorf("reading certificates (ELASTICSEARCH_CA): %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("no certificate in %s (ELASTICSEARCH_CA), which must be PEM", a.CA)
	}
	return pool, nil
}

// trust makes t trust the file's certificates, as they are at each new connection. Through a proxy of HTTPS_PROXY those of now count.
func (a Access) trust(t *http.Transport) error {
	pool, err := a.pool()
	if err != nil {
		return err
	}
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	t.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		pool, err := a.pool()
		if err != nil {
			return nil, err
		}
		d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: host}}
		return d.DialContext(ctx, network, addr)
	}
	return nil
}

// keyed gives each request the key that its file holds now.
type keyed struct {
	access Access
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (k *keyed) RoundTrip(r *http.Request) (*http.Response, error) {
	key, err := k.access.key()
	if err != nil {
		if r.Body != nil {
			err = errors.Join(err, r.Body.Close())
		}
		return nil, err
	}
	r = r.Clone(r.Context()) // a RoundTripper must not change the caller's
	r.Header.Set("Authorization", "ApiKey "+key)
	return k.next.RoundTrip(r)
}
