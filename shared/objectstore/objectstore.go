package objectstore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"millrace/shared/certificate"
)

var (
	// ErrNotFound is what Get and Stat return (wrapped) where no object has the key. A bucket that is missing is another error.
	ErrNotFound = errors.New("object not found")
	// ErrExists is what PutIfAbsent returns (wrapped) where an object has the key already, which may be the caller's own
	// earlier attempt whose answer was lost: read it and compare.
	ErrExists = errors.New("object exists")
	// ErrUnconditional is what CheckConditional returns (wrapped) for a store that ignores If-None-Match.
	ErrUnconditional = errors.New("the store ignores If-None-Match")
)

// MaxList is the largest number of objects that one List returns, S3's own limit.
const MaxList = 1000

// Config says where a bucket is and who asks. Endpoint, Region, Bucket and either keys or a file of them are required.
type Config struct {
	// Endpoint is the server's URL, http or https, without a path; buckets are addressed by path.
	Endpoint string
	Region   string
	// AccessKey and SecretKey sign the requests. They are never part of an error.
	AccessKey, SecretKey string
	// CredentialsFile holds the keys in place of these two, under the name Profile ("default" where it is empty), as AWS's tools have it. It is looked at with each request and read again when it
	// changed; a session token in it is sent too. Where it cannot be read the operation fails.
	CredentialsFile, Profile string
	// CA is a file of certificates (PEM) to trust in place of the system's, read at each new connection. It does not go for Transport.
	CA     string
	Bucket string
	// Timeout bounds one operation with its repetitions; 2 minutes where it is 0.
	Timeout time.Duration
	// Attempts is how often one operation is sent while the store answers 5xx, 429 or nothing; 4 where it is 0.
	Attempts int
	// Transport replaces the HTTP transport, for tests.
	Transport http.RoundTripper
}

// Validate returns all that is wrong with the configuration, joined; nil where nothing is.
func (c Config) Validate() error {
	var errs []error
	if u, err := url.Parse(c.Endpoint); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		errs = append(errs, fmt.Errorf("object store endpoint %q: want http://host:port or https://host", c.Endpoint))
	}
	for _, f := range []struct{ name, value string }{{"region", c.Region}, {"access key", c.AccessKey}, {"secret key", c.SecretKey}, {"bucket", c.Bucket}} {
		if key := strings.HasSuffix(f.name, " key"); key && c.CredentialsFile != "" {
			if f.value != "" {
				errs = append(errs, fmt.Errorf("object store %s and a credentials file exclude each other", f.name))
			}
			continue
		}
		if f.value == "" {
			errs = append(errs, fmt.Errorf("object store %s is empty", f.name))
		}
	}
	return errors.Join(errs...)
}

// Bucket reads and writes the objects of one bucket. It is safe for concurrent use.
type Bucket struct {
	core     *minio.Core // repeats by itself
	once     *minio.Core // does not: for requests with a body, see put
	name     string
	region   string
	timeout  time.Duration
	attempts int
}

// Info describes an object.
type Info struct {
	Key  string
	Size int64 // bytes
	// Modified is when the store says the object was written, by the store's clock.
	Modified time.Time
}

// Open returns the bucket that c names. It sends nothing: a wrong address or key shows at the first operation.
func Open(c Config) (*Bucket, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("object store endpoint %q: %w", c.Endpoint, err)
	}
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Minute
	}
	if c.Attempts == 0 {
		c.Attempts = 4
	}
	trusted := certificate.Authority{File: c.CA, Variable: "S3_CA"}
	if c.Transport == nil {
		t := &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			MaxIdleConnsPerHost:   16,
			IdleConnTimeout:       time.Minute,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: time.Minute,
			DisableCompression:    true,
		}
		if err := trusted.Trust(t); err != nil {
			return nil, err
		}
		c.Transport = t
	}
	keys := credentials.NewStaticV4(c.AccessKey, c.SecretKey, "")
	if c.CredentialsFile != "" {
		keys = credentials.New(&profile{file: c.CredentialsFile, name: cmp.Or(c.Profile, "default")})
	}
	client := func(attempts int) (*minio.Core, error) {
		return minio.NewCore(u.Host, &minio.Options{
			Creds:        keys,
			Secure:       u.Scheme == "https",
			Region:       c.Region,
			BucketLookup: minio.BucketLookupPath,
			Transport:    listener{c.Transport, trusted},
			MaxRetries:   attempts,
		})
	}
	core, err := client(c.Attempts)
	if err != nil {
		return nil, fmt.Errorf("object store client for %s: %w", c.Endpoint, err)
	}
	once, err := client(1)
	if err != nil {
		return nil, fmt.Errorf("object store client for %s: %w", c.Endpoint, err)
	}
	return &Bucket{core: core, once: once, name: c.Bucket, region: c.Region, timeout: c.Timeout, attempts: c.Attempts}, nil
}

// begin returns the context of one operation, which remembers what the store answers.
func (b *Bucket) begin(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithValue(ctx, answerKey{}, new(answer)), b.timeout)
}

// Name returns the bucket's name.
func (b *Bucket) Name() string { return b.name }

// Put writes body under key, replacing what was there. After an error the object may still have been written.
func (b *Bucket) Put(ctx context.Context, key string, body []byte) error {
	return b.put(ctx, key, body, false)
}

// PutIfAbsent writes body under key unless an object has that key. ErrExists (wrapped): one has, possibly because an
// earlier attempt of this very call succeeded. After any other error the object may still have been written, now or later.
func (b *Bucket) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	return b.put(ctx, key, body, true)
}

func (b *Bucket) put(ctx context.Context, key string, body []byte, ifAbsent bool) error {
	ctx, cancel := b.begin(ctx)
	defer cancel()
	sum := sha256.Sum256(body)
	return b.send(ctx, key, func() io.Reader { return bytes.NewReader(body) }, int64(len(body)), hex.EncodeToString(sum[:]), ifAbsent)
}

// send makes one PUT of the body, again while that may help; each attempt reads from a reader of its own.
func (b *Bucket) send(ctx context.Context, key string, body func() io.Reader, size int64, sum string, ifAbsent bool) error {
	opts := minio.PutObjectOptions{
		ContentType:          "application/octet-stream",
		DisableMultipart:     true,
		DisableContentSha256: true, // it is given, hence no chunked signature
	}
	if ifAbsent {
		opts.SetMatchETagExcept("*")
	}
	// minio-go repeats with the same reader, which the transport may still be reading for an attempt that was answered early: each
	// attempt gets a reader of its own here.
	for attempt := 1; ; attempt++ {
		_, err := b.once.PutObject(ctx, b.name, key, body(), size, "", sum, opts)
		if err == nil {
			return nil
		}
		if attempt == b.attempts || !repeatable(err) || !pause(ctx, attempt) {
			return b.wrap(ctx, "put", key, err)
		}
	}
}

// repeatable reports whether another attempt may succeed: not where the store refused the request as such.
func repeatable(err error) bool {
	status := minio.ToErrorResponse(err).StatusCode
	return status < 400 || status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status == http.StatusConflict
}

// Get returns the whole object. ErrNotFound (wrapped) where there is none.
func (b *Bucket) Get(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := b.begin(ctx)
	defer cancel()
	r, info, _, err := b.core.GetObject(ctx, b.name, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, b.wrap(ctx, "get", key, err)
	}
	defer func() { _ = r.Close() }() // a body cut short is seen by its length
	var buf bytes.Buffer
	if info.Size > 0 {
		buf.Grow(int(info.Size) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(r); err != nil {
		return nil, b.wrap(ctx, "get", key, err)
	}
	if int64(buf.Len()) != info.Size {
		return nil, b.wrap(ctx, "get", key, fmt.Errorf("%d bytes of %d: %w", buf.Len(), info.Size, io.ErrUnexpectedEOF))
	}
	return buf.Bytes(), nil
}

// Stat describes the object. ErrNotFound (wrapped) where there is none; since HEAD has no body, that can also mean that
// the bucket is missing: where the difference counts, use List.
func (b *Bucket) Stat(ctx context.Context, key string) (Info, error) {
	ctx, cancel := b.begin(ctx)
	defer cancel()
	o, err := b.core.StatObject(ctx, b.name, key, minio.StatObjectOptions{})
	if err != nil {
		return Info{}, b.wrap(ctx, "stat", key, err)
	}
	return Info{Key: key, Size: o.Size, Modified: o.LastModified}, nil
}

// List returns up to max objects (MaxList where max is 0 or larger than it) whose keys begin with prefix and lie behind
// startAfter in byte order, in that order. Fewer than asked for means that there are no more.
func (b *Bucket) List(ctx context.Context, prefix, startAfter string, max int) ([]Info, error) {
	if max <= 0 || max > MaxList {
		max = MaxList
	}
	ctx, cancel := b.begin(ctx)
	defer cancel()
	var out []Info
	// The listing ends with ctx: leaving the loop early must not leave minio-go's goroutine behind.
	opts := minio.ListObjectsOptions{Prefix: prefix, StartAfter: startAfter, Recursive: true, MaxKeys: max}
	for o := range b.core.ListObjectsIter(ctx, b.name, opts) {
		if o.Err != nil {
			return nil, b.wrap(ctx, "list", prefix, o.Err)
		}
		out = append(out, Info{Key: o.Key, Size: o.Size, Modified: o.LastModified})
		if len(out) == max {
			break
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, b.wrap(ctx, "list", prefix, err)
	}
	return out, nil
}

// Delete removes the object; one that is not there is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	ctx, cancel := b.begin(ctx)
	defer cancel()
	if err := b.core.RemoveObject(ctx, b.name, key, minio.RemoveObjectOptions{}); err != nil {
		if err = b.wrap(ctx, "delete", key, err); !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// EnsureBucket creates the bucket where it is missing.
func (b *Bucket) EnsureBucket(ctx context.Context) error {
	ctx, cancel := b.begin(ctx)
	defer cancel()
	ok, err := b.core.BucketExists(ctx, b.name)
	if err != nil {
		return b.wrap(ctx, "look for bucket", "", err)
	}
	if ok {
		return nil
	}
	if err := b.core.MakeBucket(ctx, b.name, minio.MakeBucketOptions{Region: b.region}); err != nil {
		if minio.ToErrorResponse(err).Code == "BucketAlreadyOwnedByYou" {
			return nil
		}
		return b.wrap(ctx, "make bucket", "", err)
	}
	return nil
}

// CheckConditional proves that the store honours If-None-Match, without which two drains would both win: it writes a probe
// object of its own twice and looks for the refusal and for the first body. ErrUnconditional (wrapped) where the store
// does not. It needs the bucket, and leaves nothing behind but, after an error, its probe.
func (b *Bucket) CheckConditional(ctx context.Context) error {
	key := fmt.Sprintf("landing/_probe/%d-%s", time.Now().UnixNano(), rand.Text())
	first, second := []byte("first "+key), []byte("second "+key)
	if err := b.PutIfAbsent(ctx, key, first); err != nil && !errors.Is(err, ErrExists) {
		return err
	}
	switch err := b.PutIfAbsent(ctx, key, second); {
	case err == nil:
		return errors.Join(fmt.Errorf("bucket %s, probe %s: %w", b.name, key, ErrUnconditional), b.Delete(ctx, key))
	case !errors.Is(err, ErrExists):
		return err
	}
	got, err := b.Get(ctx, key)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, first) {
		return errors.Join(fmt.Errorf("bucket %s, probe %s was refused and replaced all the same: %w", b.name, key, ErrUnconditional), b.Delete(ctx, key))
	}
	return b.Delete(ctx, key)
}

// wrap names the operation and turns the store's two answers that callers branch on into errors of this package.
func (b *Bucket) wrap(ctx context.Context, op, key string, err error) error {
	r := minio.ToErrorResponse(err)
	if r.StatusCode != 0 {
		err = fmt.Errorf("the store answered %d %s: %w", r.StatusCode, r.Code, err)
	} else if last := heard(ctx); last != "" {
		err = fmt.Errorf("%w; the store's last answer was %s", err, last)
	}
	switch {
	case r.Code == "NoSuchKey":
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	case r.StatusCode == http.StatusPreconditionFailed || r.Code == "PreconditionFailed":
		err = fmt.Errorf("%w: %w", ErrExists, err)
	}
	return fmt.Errorf("%s %s/%s: %w", op, b.name, key, err)
}
