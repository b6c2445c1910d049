package search

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/elastic/go-elasticsearch/v8"
	"github.com/elastic/go-elasticsearch/v8/esapi"
)

const (
	// DefaultMaxBytes is the size of a bulk request's body, in bytes, at which it is sent where Options say nothing.
	DefaultMaxBytes = 5 << 20
	// DefaultMaxItems is the number of documents of one bulk request where Options say nothing.
	DefaultMaxItems = 1000
	// DefaultTimeout is how long one request may take where Options say nothing.
	DefaultTimeout = 30 * time.Second

	// maxAnswer bounds what is read of one answer, in bytes. An answer is a few hundred bytes for each document.
	maxAnswer = 64 << 20
)

// Options say which Elasticsearch is meant and how it is used. Only URL is required.
type Options struct {
	URL      string            // http or https, user and password may be part of it
	Prefix   string            // put before every index name, and behind "millrace-" in templates' names; lower case
	Replicas int               // copies beside the primary that new indexes get
	MaxBytes int               // bytes of one bulk request; 0: DefaultMaxBytes
	MaxItems int               // documents of one bulk request; 0: DefaultMaxItems
	Timeout  time.Duration     // of one request; 0: DefaultTimeout
	HTTP     http.RoundTripper // nil: a transport of the client's own; one of the caller's knows its own certificates
	Logger   *slog.Logger      // told of templates that are replaced under their version; nil: slog.Default

	Access
}

// A Client talks to one Elasticsearch. It is safe for concurrent use.
type Client struct {
	es       *elasticsearch.Client
	http     http.RoundTripper
	prefix   string
	replicas int
	maxBytes int
	maxItems int
	maxHits  int // of one page of FindBy
	timeout  time.Duration
	logger   *slog.Logger
}

// New returns a client. It does not connect: an Elasticsearch that is away is found out by the first request. Files that [Access] names are read once, so that
// a wrong name is an error here. No error holds a key or a password.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, errors.New("search URL does not parse") // the parser's error quotes the URL, and with it a password
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("search URL %q: want http://host:port or https://host:port", u.Redacted())
	}
	if o.Replicas < 0 || o.MaxBytes < 0 || o.MaxItems < 0 || o.Timeout < 0 {
		return nil, errors.New("search options: replicas, sizes and timeout must not be negative")
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.HTTP == nil {
		t, err := o.connections()
		if err != nil {
			return nil, err
		}
		o.HTTP = t
	}
	var transport http.RoundTripper = &explained{o.authority(), o.HTTP}
	if o.APIKeyFile != "" {
		if _, err := o.key(); err != nil {
			return nil, err
		}
		transport = &keyed{access: o.Access, next: transport}
	}
	es, err := elasticsearch.NewClient(elasticsearch.Config{
		Addresses:    []string{o.URL},
		APIKey:       o.APIKey,
		Transport:    transport,
		DisableRetry: true, // a repeated request would hide an outage from whoever counts attempts
	})
	if err != nil {
		return nil, fmt.Errorf("search client for %s: %w", u.Redacted(), err)
	}
	c := &Client{es: es, http: o.HTTP, prefix: o.Prefix, replicas: o.Replicas, maxBytes: o.MaxBytes, maxItems: o.MaxItems, maxHits: mostHits, timeout: o.Timeout, logger: o.Logger}
	if c.logger == nil {
		c.logger = slog.Default()
	}
	if c.maxBytes == 0 {
		c.maxBytes = DefaultMaxBytes
	}
	if c.maxItems == 0 {
		c.maxItems = DefaultMaxItems
	}
	if c.timeout == 0 {
		c.timeout = DefaultTimeout
	}
	return c, nil
}

// Close gives idle connections back. Requests under way are not touched.
func (c *Client) Close() {
	if t, ok := c.http.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// An OutageError says that a request as a whole got no usable answer: no connection, a status other than success, or a
// body that does not fit the request. What was asked for may have been done or not.
type OutageError struct {
	Request string        // what was asked for: "bulk", "mget", "get template x"
	Status  int           // HTTP status; 0 where there was no answer, or none that could be read whole
	After   time.Duration // how long the server asked to wait; 0 where it did not say
	Err     error
}

// Error names the request, the status and the cause.
func (e *OutageError) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("search %s: status %d: %v", e.Request, e.Status, e.Err)
	}
	return fmt.Sprintf("search %s: %v", e.Request, e.Err)
}

// Unwrap returns the cause.
func (e *OutageError) Unwrap() error { return e.Err }

// answer reads a response whole. Any failure to do so, and any status that is neither a success nor in accept, is an
// OutageError.
func answer(request string, res *esapi.Response, err error, accept ...int) (status int, body []byte, _ error) {
	if err != nil {
		return 0, nil, &OutageError{Request: request, Err: err}
	}
	defer func() { _ = res.Body.Close() }() // it is read whole, or the answer is an error already
	body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return 0, nil, &OutageError{Request: request, Err: fmt.Errorf("reading the answer: %w", err)}
	}
	if len(body) > maxAnswer {
		return 0, nil, &OutageError{Request: request, Err: fmt.Errorf("the answer is larger than %d bytes", maxAnswer)}
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return res.StatusCode, body, nil
	}
	for _, s := range accept {
		if res.StatusCode == s {
			return res.StatusCode, body, nil
		}
	}
	return 0, nil, &OutageError{Request: request, Status: res.StatusCode, After: retryAfter(res.Header, time.Now()), Err: errors.New(errorType(body))}
}

// retryAfter reads a Retry-After header, seconds or a date (RFC 9110, paragraph 10.2.3), at most an hour of it. A date counts from the answer's own Date where it has one, since the
// server's clock need not be ours; one that is past is no wait.
func retryAfter(h http.Header, now time.Time) time.Duration {
	after := h.Get("Retry-After")
	if s, err := strconv.Atoi(after); err == nil {
		return min(max(time.Duration(min(s, 3600)), 0)*time.Second, time.Hour)
	}
	at, err := http.ParseTime(after)
	if err != nil {
		return 0
	}
	if sent, err := http.ParseTime(h.Get("Date")); err == nil {
		now = sent
	}
	return min(max(at.Sub(now), 0), time.Hour)
}
