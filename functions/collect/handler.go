package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/serve"
	"millrace/shared/telemetry"
	"millrace/shared/tracecontext"
	"millrace/shared/tracing"
)

// publisher writes events to one topic. *kafka.Sink is one.
//
// Publish blocks until each event is durable or has failed, within a time of its own; errs has one element per event, and nil alone means durable.
// Errors that wrap delivery.ErrBusy or delivery.ErrTooLarge say that the event will not be written; with any other it may be. It keeps no
// events, but may go on reading the data of one that it did not confirm. Durability says what nil means, and does not block for long.
type publisher interface {
	Publish(ctx context.Context, events []*event.Event) (errs []error)
	Durability() string
}

// limits bound one request.
type limits struct {
	body       int64         // bytes, decompressed
	events     int           // in one array
	retryAfter time.Duration // told with every 503
}

// collector answers producers. All its parts may be used concurrently.
type collector struct {
	maker     *maker
	raw, dead publisher
	admission *serve.Admission
	limits    limits
	clock     func() time.Time
	logger    *slog.Logger
	version   string
	tracer    *tracing.Tracer // nil: no spans

	events   map[status]prometheus.Counter
	failures *prometheus.CounterVec
	seconds  prometheus.Observer
	bytes    prometheus.Observer
	warned   atomic.Int64 // when a failed write was last logged, in Unix seconds
	buffers  sync.Pool    // of *[]byte, for answers
}

// register makes the metrics.
func (c *collector) register(r prometheus.Registerer) {
	events := telemetry.Counter(r, "millrace_collect_events_total", "Events by what their receipt says.", "status")
	c.events = make(map[status]prometheus.Counter)
	for _, s := range []status{accepted, deadLettered, busy, unconfirmed} {
		c.events[s] = events.WithLabelValues(string(s))
	}
	c.failures = telemetry.Counter(r, "millrace_collect_dead_letters_total", "Dead letters written, by code.", "code")
	c.seconds = telemetry.Histogram(r, "millrace_collect_request_seconds", "From the whole request to its answer.", telemetry.Latency).WithLabelValues()
	c.bytes = telemetry.Histogram(r, "millrace_collect_body_bytes", "Bodies of requests, decompressed.", telemetry.Size).WithLabelValues()
	telemetry.Gauge(r, "millrace_collect_admitted_bytes", "Bytes of bodies held now.", func() float64 { return float64(c.admission.Held()) })
}

// routes returns the public interface.
func (c *collector) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/collect", func(w http.ResponseWriter, r *http.Request) { c.take(w, r, c.readForm, c.receipts) })
	mux.HandleFunc("POST /api/v1/events", func(w http.ResponseWriter, r *http.Request) { c.take(w, r, c.readCloudEvents, c.receipts) })
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) { c.take(w, r, c.readCloudEvents, c.empty) })
	mux.HandleFunc("GET /api/v1", c.welcome)
	mux.HandleFunc("GET /api/v1/{$}", c.welcome)
	mux.HandleFunc("/", notFound)
	return mux
}

// paths names all that is there.
const paths = "POST /api/v1/collect (the JSON form), POST /api/v1/events (CloudEvents), POST / (CloudEvents from Knative), GET /api/v1 (what there is)"

// notFound answers a request for a path, or a method of it, that is not there.
func notFound(w http.ResponseWriter, r *http.Request) {
	code, what := http.StatusNotFound, "no such path"
	allow := map[string]string{"/api/v1/collect": "POST", "/api/v1/events": "POST", "/": "POST", "/api/v1": "GET, HEAD", "/api/v1/": "GET, HEAD"}[r.URL.Path]
	if allow != "" {
		code, what = http.StatusMethodNotAllowed, "the method is not for this path, which takes "+allow
		w.Header().Set("Allow", allow)
	}
	w.Header()["Content-Type"] = jsonHeader
	writeJSON(w, code, failed{what + "; there are " + paths})
}

// failed is the body of an answer without receipts.
type failed struct {
	Error string `json:"error"`
}

// errKey says that the header Idempotency-Key cannot become part of an id.
var errKey = errors.New("Idempotency-Key must have 1 to 256 printable ASCII characters")

// readForm takes JSON whatever the content type says: producers of the reference design send none, or text/plain.
func (c *collector) readForm(r *http.Request, body []byte, now string) ([]candidate, error) {
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return nil, err
	}
	from := sender{key, hasAttributes(r.Header) || strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "application/cloudevents")}
	return c.maker.form(body, from, c.limits.events, now)
}

func idempotencyKey(h http.Header) (string, error) {
	values := h.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	if len(values) > 1 || key == "" || len(key) > 256 {
		return "", errKey
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return "", errKey
		}
	}
	return key, nil
}

func (c *collector) readCloudEvents(r *http.Request, body []byte, now string) ([]candidate, error) {
	return c.maker.cloudEvents(r.Header, body, c.limits.events, now)
}

// answer is what a request is answered, whole: nothing that it was made of is needed any more.
type answer struct {
	code int
	body *[]byte // nil for none
}

// take is the whole way of a request. An answer can take long to be read, so the request's room is given back before it is written.
func (c *collector) take(w http.ResponseWriter, r *http.Request, read reader, render renderer) {
	a := c.handle(w.Header(), r, read, render)
	if a.body == nil {
		w.WriteHeader(a.code)
		return
	}
	if len(*a.body) > 2048 { // the server knows the length of the shortest by itself, and sends others in chunks
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(*a.body))}
	}
	w.WriteHeader(a.code)
	_, err := w.Write(*a.body)                // who went away will ask again
	if err == nil && cap(*a.body) <= 64<<10 { // after an error, HTTP/2 may still read it
		c.buffers.Put(a.body)
	}
}

type (
	reader   func(r *http.Request, body []byte, now string) ([]candidate, error)
	renderer func(h http.Header, candidates []candidate, err error) answer
)

// handle does what a request asks for: body, events, Kafka. render is given no candidates where it is given an error.
func (c *collector) handle(h http.Header, r *http.Request, read reader, render renderer) (a answer) {
	// What has begun is finished, whether or not anybody waits for the answer.
	ctx, span, from := c.receive(context.WithoutCancel(r.Context()), r)
	var candidates []candidate
	if c.tracer != nil {
		defer func() { span.End(summary(candidates, a.code)) }()
	}
	body, err := c.admission.Read(r, c.limits.body)
	if err != nil {
		return render(h, nil, err)
	}
	defer body.Release()
	began := c.clock()
	now := event.FormatTime(began)
	c.bytes.Observe(float64(len(body.Bytes)))
	if candidates, err = read(r, body.Bytes, now); err != nil {
		return render(h, nil, err)
	}
	inherit(candidates, from)
	keepData(candidates, len(body.Bytes))
	body.Bytes = nil
	if err := c.publish(ctx, candidates, now); err != nil {
		return render(h, nil, err)
	}
	c.count(candidates)
	a = render(h, candidates, nil)
	c.seconds.Observe(c.clock().Sub(began).Seconds())
	return a
}

// keepData gives events whose data are less than half of their request's body, which has size bytes, data of their own. An event that Kafka does not confirm can be
// read long after its request was answered, and would keep the whole body.
func keepData(candidates []candidate, size int) {
	for i := range candidates {
		if e := candidates[i].event; 2*len(e.DataEncoded) < size {
			e.DataEncoded = bytes.Clone(e.DataEncoded)
		}
	}
}

// publish writes the candidates, those with a code to the dead letters, and notes their errors.
func (c *collector) publish(ctx context.Context, candidates []candidate, now string) error {
	if len(candidates) == 1 {
		to := c.raw
		if candidates[0].code != "" {
			to = c.dead
		}
		candidates[0].err = first(to.Publish(ctx, []*event.Event{candidates[0].event}))
	} else {
		var raw, dead []int
		for i := range candidates {
			if candidates[i].code == "" {
				raw = append(raw, i)
			} else {
				dead = append(dead, i)
			}
		}
		var deadDone sync.WaitGroup
		if len(dead) > 0 {
			deadDone.Go(func() { publishSome(ctx, c.dead, candidates, dead) })
		}
		publishSome(ctx, c.raw, candidates, raw)
		deadDone.Wait()
	}
	return c.tooLarge(ctx, candidates, now)
}

// tooLarge makes dead letters without data of events that Kafka's limit refused although ours let them pass: sending them again would not help.
func (c *collector) tooLarge(ctx context.Context, candidates []candidate, now string) error {
	for i := range candidates {
		if it := &candidates[i]; it.code == "" && errors.Is(it.err, delivery.ErrTooLarge) {
			letter, err := c.maker.deadLetter(original{eventType: it.event.Type(), version: event.Attr(it.event, event.SchemaVersion)},
				problemf(event.CodeTooLarge, "Kafka does not take an event of this size; its %d bytes of data were not kept", len(it.event.Data())), now)
			if err != nil {
				return err
			}
			inherit([]candidate{letter}, tracecontext.Of(it.event))
			letter.err = first(c.dead.Publish(ctx, []*event.Event{letter.event}))
			*it = letter
		}
	}
	return nil
}

// errNoAnswer is the error of an event of which a publisher says nothing.
var errNoAnswer = errors.New("the publisher gave no answer for the event")

func first(errs []error) error {
	if len(errs) != 1 {
		return errNoAnswer
	}
	return errs[0]
}

// publishSome writes the candidates with the given indexes.
func publishSome(ctx context.Context, to publisher, candidates []candidate, indexes []int) {
	if len(indexes) == 0 {
		return
	}
	events := make([]*event.Event, len(indexes))
	for i, j := range indexes {
		events[i] = candidates[j].event
	}
	errs := to.Publish(ctx, events)
	for i, j := range indexes {
		candidates[j].err = errNoAnswer
		if len(errs) == len(indexes) {
			candidates[j].err = errs[i]
		}
	}
}

func (c *collector) count(candidates []candidate) {
	taken := 0
	for i := range candidates {
		it := &candidates[i]
		s := it.status()
		if s == accepted { // nearly all: counted together
			taken++
			continue
		}
		c.events[s].Inc()
		if s == deadLettered {
			c.failures.WithLabelValues(string(it.code)).Inc()
		}
		if it.err != nil {
			// Once a second at most: an outage fails every event, and the counters tell how many.
			if now := c.clock().Unix(); c.warned.Swap(now) != now {
				c.logger.Warn("event not written", "status", string(s), "root_id", it.rootID, "err", it.err)
			}
		}
	}
	c.events[accepted].Add(float64(taken))
}

// answerStatus returns the HTTP status of an answer, and sets the headers that go with it.
func (c *collector) answerStatus(h http.Header, candidates []candidate, err error) int {
	var code int
	switch {
	case err == nil:
		code = verdict(candidates)
	case errors.Is(err, errTooMany), errors.Is(err, errNotKept):
		code = http.StatusRequestEntityTooLarge
	case errors.Is(err, errNoCloudEvent):
		code = http.StatusUnsupportedMediaType
	case errors.Is(err, errKey):
		code = http.StatusBadRequest
	case errors.Is(err, errIdentity):
		code = http.StatusServiceUnavailable
		c.logger.Error("no identity for an event", "err", err)
	default:
		code = serve.ReadStatus(err)
	}
	if code == http.StatusServiceUnavailable {
		h["Retry-After"] = []string{strconv.Itoa(serve.Seconds(c.limits.retryAfter))}
	}
	return code
}

var jsonHeader = []string{"application/json"}

// receipts answers a producer: receipts, or an error's text where there are none.
func (c *collector) receipts(h http.Header, candidates []candidate, err error) answer {
	code := c.answerStatus(h, candidates, err)
	h["Content-Type"] = jsonHeader
	if err != nil {
		text := encodeJSON(failed{err.Error()})
		return answer{code, &text}
	}
	raw, dead := "", ""
	for i := range candidates { // asked only for what is written: it may ask Kafka
		switch candidates[i].status() {
		case accepted:
			if raw == "" {
				raw = c.raw.Durability()
			}
		case deadLettered:
			if dead == "" {
				dead = c.dead.Durability()
			}
		case busy, unconfirmed:
		}
	}
	buffer, _ := c.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	*buffer = appendReceipts((*buffer)[:0], candidates, raw, dead)
	return answer{code, buffer}
}

// empty answers Knative's machinery, which takes any body for an event in reply, and every 4xx but 404, 408, 409, 429 for final.
func (c *collector) empty(h http.Header, candidates []candidate, err error) answer {
	code := c.answerStatus(h, candidates, err)
	if err == nil && code != http.StatusServiceUnavailable {
		code = http.StatusAccepted
	}
	return answer{code: code}
}

// welcome says who is there and how to go on.
func (c *collector) welcome(w http.ResponseWriter, _ *http.Request) {
	type endpoint struct {
		Request string `json:"request"`
		Body    string `json:"body"`
	}
	w.Header()["Content-Type"] = jsonHeader
	writeJSON(w, http.StatusOK, struct {
		Name          string     `json:"name"`
		Version       string     `json:"version"`
		CollectorID   string     `json:"collector_id"`
		MaxEventBytes int        `json:"max_event_bytes"`
		MaxBodyBytes  int64      `json:"max_body_bytes"`
		MaxEvents     int        `json:"max_events"`
		Endpoints     []endpoint `json:"endpoints"`
	}{
		"Millrace collect", c.version, c.maker.collectorID, event.MaxSize, c.limits.body, c.limits.events, []endpoint{
			{"POST /api/v1/collect", "one object or an array: event_type, schema_version, payload; optionally id, source, subject, time, partition_key, extensions"},
			{"POST /api/v1/events", "CloudEvents 1.0: binary, structured or batch"},
			{"POST /", "the same for Knative: answered 202 without a body"},
		},
	})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.WriteHeader(code)
	_, _ = w.Write(encodeJSON(v)) // who went away will ask again
}

func encodeJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encoding an answer of ours: %v", err))
	}
	return append(b, '\n')
}
