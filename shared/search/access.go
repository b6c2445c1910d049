package search

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"

	"millrace/shared/certificate"
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
	if a.APIKeyFile == "" {
		return a.APIKey, nil
	}
	b, err := os.ReadFile(a.APIKeyFile)
	if err != nil {
		return "", fmt.Errorf("reading the key (ELASTICSEARCH_API_KEY_FILE): %w", err)
	}
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return "", fmt.Errorf("the key's file %s (ELASTICSEARCH_API_KEY_FILE) is empty", a.APIKeyFile)
	}
	return string(b), nil
}

// authority is whom to trust.
func (a Access) authority() certificate.Authority {
	return certificate.Authority{File: a.CA, Variable: "ELASTICSEARCH_CA"}
}

// Transport returns a way to an Elasticsearch that trusts what CA says and sends the key, each as the files are when they are used. It returns an error where a file is not there or holds nothing of
// use now. Its idle connections are the caller's to close.
func (a Access) Transport() (http.RoundTripper, error) {
	t, err := a.connections()
	if err != nil {
		return nil, err
	}
	if a.APIKeyFile != "" {
		if _, err := a.key(); err != nil {
			return nil, err
		}
	}
	if a.APIKeyFile == "" && a.APIKey == "" {
		return &explained{a.authority(), t}, nil
	}
	return &keyed{access: a, next: &explained{a.authority(), t}}, nil
}

// connections returns a transport without the key.
func (a Access) connections() (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 8
	return t, a.authority().Trust(t)
}

// explained says more of certificates that are refused.
type explained struct {
	authority certificate.Authority
	next      http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (e *explained) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := e.next.RoundTrip(r)
	return res, e.authority.Explain(r.URL.Host, err)
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
