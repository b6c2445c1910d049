package lineage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Config says where events go. Without URL and File they go nowhere.
type Config struct {
	URL       string        // of the service; events go to <URL>/api/v1/lineage
	Key       string        // sent as a bearer token where it is not empty. Secret.
	File      string        // events are appended to it, one a line
	Namespace string        // of jobs: "millrace"
	Version   string        // of this program
	Warehouse string        // s3://bucket/prefix: where Table places tables
	Timeout   time.Duration // of one event; 0: 5 s
	Clock     func() time.Time
}

// giveUp is after how many failures in a row the rest is not tried any more: a service that is away must not hold Close for the timeout of every event.
const giveUp = 3

// queued is how many events may wait. A run has a few hundred at most; more than that means that the service hangs.
const queued = 4096

// Emitter sends events. It is safe for concurrent use. A nil Emitter sends nothing.
type Emitter struct {
	config   Config
	endpoint string
	client   *http.Client
	stop     context.CancelFunc
	events   chan []byte
	ended    chan struct{}

	mu     sync.Mutex
	file   *os.File
	closed bool
	sent   int
	lost   int
	first  error
}

// New checks the configuration, opens the file, and starts to send. Close ends it. It returns nil where events go nowhere.
func New(c Config) (*Emitter, error) {
	if c.URL == "" && c.File == "" {
		return nil, nil
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Namespace == "" {
		return nil, errors.New("lineage: no namespace for jobs")
	}
	e := &Emitter{config: c}
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		switch {
		// url.Parse quotes what it was given, and that can hold a password.
		case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
			return nil, errors.New("lineage: the URL is not an http or https one")
		case u.User != nil:
			return nil, errors.New("lineage: the URL has credentials in it; the API key has a setting of its own")
		}
		e.endpoint = u.JoinPath("api/v1/lineage").String()
	}
	if c.File != "" {
		f, err := os.OpenFile(c.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
		if err != nil {
			return nil, fmt.Errorf("lineage: open %s: %w", c.File, err)
		}
		e.file = f
	}
	if e.endpoint != "" {
		// A redirect turns a POST into a GET, whose 200 would pass for a delivery.
		e.client = &http.Client{Timeout: c.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		ctx, stop := context.WithCancel(context.Background())
		e.stop, e.events, e.ended = stop, make(chan []byte, queued), make(chan struct{})
		go e.send(ctx)
	}
	return e, nil
}

// Close waits until all events were sent or ctx ends, and says what was not delivered. It closes the file. The Emitter takes no events after it.
func (e *Emitter) Close(ctx context.Context) error {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	e.mu.Unlock()
	if e.events != nil {
		close(e.events)
		select {
		case <-e.ended:
		case <-ctx.Done():
			e.stop()
			<-e.ended
		}
		e.stop()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.file != nil {
		if err := e.file.Close(); err != nil {
			e.fail(fmt.Errorf("close %s: %w", e.config.File, err))
		}
	}
	if e.first == nil {
		return nil
	}
	return fmt.Errorf("lineage: %d of %d events were not delivered: %w", e.lost, e.lost+e.sent, e.first)
}

func (e *Emitter) fail(err error) {
	e.lost++
	if e.first == nil {
		e.first = err
	}
}

// emit hands one event on: to the file at once, to the service behind those that wait.
func (e *Emitter) emit(ev event) {
	line, err := json.Marshal(ev)
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err != nil:
		e.fail(fmt.Errorf("encode an event of %s: %w", ev.Job.Name, err))
		return
	case e.closed:
		e.fail(fmt.Errorf("an event of %s came after the end", ev.Job.Name))
		return
	}
	if e.file != nil {
		if _, err := e.file.Write(append(line, '\n')); err != nil {
			e.fail(fmt.Errorf("append to %s: %w", e.config.File, err))
		} else if e.events == nil {
			e.sent++
		}
	}
	if e.events != nil {
		select {
		case e.events <- line:
		default:
			e.fail(fmt.Errorf("%d events wait for %s already", queued, e.endpoint))
		}
	}
}

func (e *Emitter) send(ctx context.Context) {
	defer close(e.ended)
	failures := 0
	for line := range e.events {
		var err error
		if failures < giveUp {
			err = e.post(ctx, line)
		} else {
			err = fmt.Errorf("%d failures in a row", giveUp)
		}
		if err != nil {
			failures++
		} else {
			failures = 0
		}
		e.mu.Lock()
		if err != nil {
			e.fail(err)
		} else {
			e.sent++
		}
		e.mu.Unlock()
	}
}

func (e *Emitter) post(ctx context.Context, line []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.endpoint, bytes.NewReader(line))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "millrace-curate/"+e.config.Version)
	if e.config.Key != "" {
		request.Header.Set("Authorization", "Bearer "+e.config.Key)
	}
	response, err := e.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	// The status is the answer: a body that breaks off behind it only shortens the error's text.
	told, _ := io.ReadAll(io.LimitReader(response.Body, 512))
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("POST %s: %s: %s", e.endpoint, response.Status, strings.TrimSpace(strings.ToValidUTF8(string(told), "")))
	}
	return nil
}

// Job is what runs again and again.
type Job struct {
	Name        string // star.fact_trip, ingest.events.dead, ...
	Kind        string // MODEL, INGEST, QUALITY, TEST, RUN: the jobType facet
	Description string
	SQL         string // a model's, if it is one
	Engine      string // duckdb or trino, if one ran it
	EngineIs    string // the engine's version
}

// Dataset is a table or a set of objects.
type Dataset struct {
	Namespace string // s3://bucket
	Name      string
	Table     string // its name in SQL, if it has one: schema.table
	Fields    []Field
}

// Field is a column. A struct's members are Fields of it.
type Field struct {
	Name        string  `json:"name"`
	Type        string  `json:"type,omitempty"`
	Description string  `json:"description,omitempty"`
	Fields      []Field `json:"fields,omitempty"`
}

// Input is what a job read.
type Input struct {
	Dataset
	Assertions []Assertion
}

// Output is what a job wrote.
type Output struct {
	Dataset
	Rows, Bytes, Files int64
}

// Assertion is one quality rule or test with its result.
type Assertion struct {
	Assertion   string `json:"assertion"` // not_null, unique, invalidValues, sql, ...
	Success     bool   `json:"success"`
	Column      string `json:"column,omitempty"`
	Severity    string `json:"severity,omitempty"` // error or warn
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
	Expected    string `json:"expected,omitempty"`
	Actual      string `json:"actual,omitempty"`
}

// Run is one run of a job. A nil Run does nothing.
type Run struct {
	emitter *Emitter
	id      string
	job     Job
	parent  *Run
}

// Start says that a job began, as a part of parent (nil: of none), and returns its run. An id that is not empty has to be a UUID and becomes the run's; otherwise the run gets a UUIDv7.
func (e *Emitter) Start(job Job, parent *Run, id string, inputs []Input, outputs []Output) *Run {
	if e == nil {
		return nil
	}
	if id == "" {
		// NewV7 fails only where the system has no randomness, and panicking for lineage's sake would fail a run.
		v7, err := uuid.NewV7()
		if err != nil {
			e.mu.Lock()
			e.fail(fmt.Errorf("make a run id for %s: %w", job.Name, err))
			e.mu.Unlock()
			return nil
		}
		id = v7.String()
	}
	r := &Run{emitter: e, id: id, job: job, parent: parent}
	e.emit(r.event("START", inputs, outputs, nil))
	return r
}

// ID returns the run's UUID; empty for nil.
func (r *Run) ID() string {
	if r == nil {
		return ""
	}
	return r.id
}

// End says that the run ended: COMPLETE where err is nil, else FAIL with its text.
func (r *Run) End(err error, inputs []Input, outputs []Output) {
	if r == nil {
		return
	}
	kind := "COMPLETE"
	if err != nil {
		kind = "FAIL"
	}
	r.emitter.emit(r.event(kind, inputs, outputs, err))
}

// Table is the data set of a table of the warehouse, by its SQL name schema.table.
func (e *Emitter) Table(name string, fields []Field) Dataset {
	if e == nil {
		return Dataset{}
	}
	namespace, prefix := split(e.config.Warehouse)
	schema, table, _ := strings.Cut(name, ".")
	return Dataset{Namespace: namespace, Name: strings.TrimPrefix(prefix+"/"+schema+"/"+table, "/"), Table: name, Fields: fields}
}

// split takes s3://bucket/prefix apart.
func split(location string) (namespace, prefix string) {
	scheme, rest, ok := strings.Cut(location, "://")
	if !ok {
		return location, ""
	}
	bucket, prefix, _ := strings.Cut(rest, "/")
	return scheme + "://" + bucket, strings.Trim(prefix, "/")
}
