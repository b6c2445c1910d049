package objectstore

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Keys are the credentials for the two buckets, and whom to trust there. Its tags are those of the functions' settings.
type Keys struct {
	AccessKey        string `envconfig:"AWS_ACCESS_KEY_ID" desc:"for both buckets"`
	SecretKey        string `envconfig:"AWS_SECRET_ACCESS_KEY" desc:"secret"`
	PrivateAccessKey string `envconfig:"S3_PRIVATE_ACCESS_KEY_ID" desc:"for the private bucket; else as above"`
	PrivateSecretKey string `envconfig:"S3_PRIVATE_SECRET_ACCESS_KEY" desc:"secret"`
	File             string `envconfig:"AWS_SHARED_CREDENTIALS_FILE" desc:"in place of all keys: a file of profiles as AWS's tools have it, read again when it changed"`
	Profile          string `envconfig:"AWS_PROFILE" default:"default" desc:"the file's profile for both buckets"`
	PrivateProfile   string `envconfig:"S3_PRIVATE_PROFILE" desc:"its profile for the private bucket; else as above"`
	CA               string `envconfig:"S3_CA" desc:"a file of certificates (PEM) to trust in place of the system's, read at each connection"`
}

// Validate joins what cannot be, without any key. A file is read when it is first used.
func (k Keys) Validate() error {
	var errs []error
	if (k.AccessKey == "") != (k.SecretKey == "") {
		errs = append(errs, errors.New("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together"))
	}
	if (k.PrivateAccessKey == "") != (k.PrivateSecretKey == "") {
		errs = append(errs, errors.New("S3_PRIVATE_ACCESS_KEY_ID and S3_PRIVATE_SECRET_ACCESS_KEY belong together"))
	}
	if k.File != "" && (k.AccessKey != "" || k.PrivateAccessKey != "") {
		errs = append(errs, errors.New("AWS_SHARED_CREDENTIALS_FILE and keys (AWS_ACCESS_KEY_ID, S3_PRIVATE_ACCESS_KEY_ID) exclude each other"))
	}
	if k.File == "" && k.PrivateProfile != "" {
		errs = append(errs, errors.New("S3_PRIVATE_PROFILE needs AWS_SHARED_CREDENTIALS_FILE"))
	}
	return errors.Join(errs...)
}

// Present says that there are no keys, for who cannot do without.
func (k Keys) Present() error {
	if k.File == "" && k.AccessKey == "" && k.SecretKey == "" {
		return errors.New("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE, must be set")
	}
	return nil
}

// Use returns c with the credentials for the private bucket, or for the other.
func (k Keys) Use(c Config, private bool) Config {
	c.CA = k.CA
	c.AccessKey, c.SecretKey, c.CredentialsFile, c.Profile = k.AccessKey, k.SecretKey, k.File, k.Profile
	if private && k.PrivateAccessKey != "" {
		c.AccessKey, c.SecretKey = k.PrivateAccessKey, k.PrivateSecretKey
	}
	if private {
		c.Profile = cmp.Or(k.PrivateProfile, k.Profile)
	}
	return c
}

// profile gives the keys that a profile of a file holds now.
type profile struct {
	file, name string
	seen       os.FileInfo // what the keys were read from; nil before that
}

// IsExpired implements credentials.Provider.
func (p *profile) IsExpired() bool {
	if p.seen == nil {
		return true
	}
	now, err := os.Stat(p.file)
	return err != nil || !os.SameFile(now, p.seen) || !now.ModTime().Equal(p.seen.ModTime()) || now.Size() != p.seen.Size()
}

// Retrieve implements credentials.Provider.
func (p *profile) Retrieve() (credentials.Value, error) { return p.RetrieveWithCredContext(nil) }

// RetrieveWithCredContext implements credentials.Provider.
func (p *profile) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	p.seen = nil
	found, err := os.Stat(p.file) // before it is read: a change from here on is seen
	if err != nil {
		return credentials.Value{}, fmt.Errorf("reading credentials (AWS_SHARED_CREDENTIALS_FILE): %w", err)
	}
	keys, err := (&credentials.FileAWSCredentials{Filename: p.file, Profile: p.name}).RetrieveWithCredContext(nil)
	if err != nil || keys.AccessKeyID == "" || keys.SecretAccessKey == "" {
		var path *os.PathError
		if errors.As(err, &path) {
			return credentials.Value{}, fmt.Errorf("reading credentials (AWS_SHARED_CREDENTIALS_FILE): %w", err)
		}
		// A parser's error may quote a line, which may be a secret.
		return credentials.Value{}, fmt.Errorf("the file %s (AWS_SHARED_CREDENTIALS_FILE) has no profile %q with aws_access_key_id and aws_secret_access_key", p.file, p.name)
	}
	p.seen = found
	return keys, nil
}
