package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/intake"
	"millrace/shared/tracecontext"
)

// Options tune [Events]. The zero value of each field means its default.
type Options struct {
	// MaxBody is the largest body of one event, decompressed, in bytes; a larger one is answered 413. Default 2 MiB: an event of
	// the largest size with enrichment, even when it comes in base64.
	MaxBody int64
	// MaxBytes bounds the bodies held at one time, and headers of more than 16 KiB, in bytes; beyond it requests are answered 503. Default 32 MiB.
	MaxBytes int64
	// MaxBatch is the most events in one batch. Default 500.
	MaxBatch int
	// MaxBatchBytes is the size at which a batch is full, in bytes of bodies. Default 8 MiB.
	MaxBatchBytes int64
	// MaxWait is how long an event waits at most for others. Default 5 ms.
	MaxWait time.Duration
	// MaxConcurrentBatches is how many batches may be in the handler at one time. Default 2.
	MaxConcurrentBatches int
	// Timeout bounds one batch in the handler. Default 30 s.
	Timeout time.Duration
	// RetryAfter is what a refused request is told to wait. Default 1 s.
	RetryAfter time.Duration
	// OnUndecodable keeps a request that is no CloudEvent, as a dead letter: nil means that it is durable, and the request is answered
	// 202; an error means 503, and the request comes again. reason quotes no values. header and body must not be changed. Without
	// this function such a request is answered 400, which Knative takes to its dead letter sink.
	OnUndecodable intake.Keeper
	// Clock gives the time of arrival. Default time.Now.
	Clock func() time.Time
	// Trace hands the handler the trace contexts of requests' headers, by [tracecontext.Hops].
	Trace bool
	// Logger takes what no answer can tell: panics and refused input. Default slog.Default().
	Logger *slog.Logger
	// Registerer takes the metrics millrace_intake_*; nil means none.
	Registerer prometheus.Registerer
}

func (o *Options) setDefaults() {
	set(&o.MaxBody, 2<<20)
	set(&o.MaxBytes, 32<<20)
	set(&o.MaxBatch, 500)
	set(&o.MaxBatchBytes, 8<<20)
	set(&o.MaxWait, 5*time.Millisecond)
	set(&o.MaxConcurrentBatches, 2)
	set(&o.Timeout, 30*time.Second)
	set(&o.RetryAfter, time.Second)
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

func set[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Intake is Knative's way in: an [http.Handler] that takes one CloudEvent per request (POST /, binary or structured mode) and
// answers when its own event's outcome is known. Make one with [Events].
type Intake struct {
	runner    *intake.Runner
	o         Options
	admission *Admission
	base      context.Context // of all batches; ends only when Drain gives up
	abort     context.CancelFunc

	mu       sync.Mutex
	open     int // requests admitted and not answered for yet, those in batches included
	queue    []*item
	queued   int64 // bytes in queue
	running  int   // batches in the handler
	timer    *time.Timer
	idle     chan struct{} // closed when open is 0; nil where nobody waits
	draining bool

	answers *prometheus.CounterVec
}

// item is one request's event on its way through a batch.
type item struct {
	event   *event.Event
	body    *Body
	hop     tracecontext.Context // none where nobody asked
	due     time.Time
	outcome chan delivery.Outcome // buffered: who sends does not wait
}

// Events returns the intake that hands events to h in batches. h is called concurrently, at most MaxConcurrentBatches times, with a context
// that ends with Timeout and not with a request. [event.Derive] has completed each event.
//
// Answers: the outcome's own status; 202 or 503 for what is no CloudEvent (see OnUndecodable); 503 with Retry-After where too many
// bytes are in flight, and where a body broke off; 413, 415 and 405 for requests that cannot be an event of ours (415 for the batch format, too, unless
// attributes come with it: Knative sends one event a request). Nothing that a topic of ours holds is answered one of the last three: Knative takes them
// for final, and a Trigger whose dead letter sink is its own Broker would send the event round at full speed. All answers have an empty
// body, since Knative takes any other for an event in reply.
func Events(h delivery.Handler, o Options) *Intake {
	o.setDefaults()
	base, abort := context.WithCancel(context.Background())
	in := &Intake{runner: intake.NewRunner(h, o.Logger, o.Registerer), o: o, admission: NewAdmission(o.MaxBytes), base: base, abort: abort}
	in.answers = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "millrace_intake_requests_total", Help: "Requests with an event, by the status they were answered.",
	}, []string{"code"})
	if o.Registerer != nil {
		o.Registerer.MustRegister(in.answers, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "millrace_intake_admitted_bytes", Help: "Bytes of bodies held now.",
		}, func() float64 { return float64(in.admission.Held()) }))
	}
	return in
}

// ServeHTTP takes one event.
func (in *Intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, after := in.serve(r)
	if after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(after))
	}
	if status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", http.MethodPost)
	}
	in.answers.WithLabelValues(strconv.Itoa(status)).Inc()
	w.WriteHeader(status)
}

// Seconds returns d in the unit of the header Retry-After: whole seconds, at least one.
func Seconds(d time.Duration) int {
	return int(max(1, (d+time.Second-1)/time.Second))
}

// serve returns the status and the seconds for Retry-After (0: none). It does not look at the request's context: that ends when the client
// only closed its sending side, too, and whoever returns without a status then has said 200.
func (in *Intake) serve(r *http.Request) (status, retryAfter int) {
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed, 0
	}
	if event.IsBatch(r.Header.Get("Content-Type")) && r.Header.Get("Ce-Specversion") == "" {
		return http.StatusUnsupportedMediaType, 0
	}
	if !in.enter() {
		return http.StatusServiceUnavailable, Seconds(in.o.RetryAfter)
	}
	body, err := in.admission.Read(r, in.o.MaxBody)
	if err != nil {
		in.leave(1)
		status := ReadStatus(err)
		if status == http.StatusServiceUnavailable || !refusal(err) {
			return http.StatusServiceUnavailable, Seconds(in.o.RetryAfter)
		}
		in.o.Logger.Warn("request refused", "status", status, "err", err)
		return status, 0
	}
	if size := headerSize(r.Header); size > freeHeader {
		if err := body.grow(int64(len(body.Bytes)) + size); err != nil {
			in.leave(1)
			body.Release()
			return http.StatusServiceUnavailable, Seconds(in.o.RetryAfter)
		}
	}
	arrived := in.o.Clock()
	e, err := event.DecodeHTTP(r.Header, body.Bytes)
	if err == nil {
		err = event.Derive(e, arrived)
	}
	if err != nil {
		defer in.leave(1)
		defer body.Release()
		return in.undecodable(r, body.Bytes, err)
	}
	it := &item{event: e, body: body, due: arrived.Add(in.o.MaxWait), outcome: make(chan delivery.Outcome, 1)}
	if in.o.Trace {
		it.hop = tracecontext.FromHeader(r.Header)
	}
	in.enqueue(it)
	o := <-it.outcome
	return o.HTTP() // an outcome that was not mentioned is the zero one: 503
}

// freeHeader is the size from which a header's bytes are admitted like a body's. Nearly all are far below.
const freeHeader = 16 << 10

func headerSize(h http.Header) (n int64) {
	for name, values := range h {
		for _, v := range values {
			n += int64(len(name) + len(v))
		}
	}
	return n
}

// refusal reports whether an error of [Admission.Read] is the request's own, so that it would be the same again. A body that broke off is not.
func refusal(err error) bool {
	return errors.Is(err, ErrBodyTooLarge) || errors.Is(err, ErrEncoding) || errors.Is(err, ErrCorrupt)
}

func (in *Intake) undecodable(r *http.Request, body []byte, reason error) (status, retryAfter int) {
	if in.o.OnUndecodable == nil {
		in.o.Logger.Warn("request is no CloudEvent", "err", reason)
		return http.StatusBadRequest, 0
	}
	ctx, cancel := context.WithTimeout(in.base, in.o.Timeout)
	defer cancel()
	if err := in.runner.Undecodable(ctx, in.o.OnUndecodable, r.Header, body, reason); err != nil {
		return http.StatusServiceUnavailable, Seconds(in.o.RetryAfter)
	}
	return http.StatusAccepted, 0
}

// enter counts a request in, unless the intake drains.
func (in *Intake) enter() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.draining {
		return false
	}
	in.open++
	return true
}

// leave counts n requests out, which may complete the batch of those that remain.
func (in *Intake) leave(n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.open -= n
	if in.open == 0 && in.idle != nil {
		close(in.idle)
		in.idle = nil
	}
	in.flush()
}

func (in *Intake) enqueue(it *item) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.queue = append(in.queue, it)
	in.queued += int64(len(it.body.Bytes))
	in.flush()
}

// flush starts batches while there is a reason and room; in.mu is held.
func (in *Intake) flush() {
	for len(in.queue) > 0 && in.running < in.o.MaxConcurrentBatches {
		full := len(in.queue) >= in.o.MaxBatch || in.queued >= in.o.MaxBatchBytes
		complete := len(in.queue) == in.open
		wait := in.queue[0].due.Sub(in.o.Clock())
		if !full && !complete && !in.draining && wait > 0 {
			if in.timer == nil {
				in.timer = time.AfterFunc(wait, in.waited)
			}
			return
		}
		if in.timer != nil {
			in.timer.Stop()
			in.timer = nil
		}
		n, size := 0, int64(0)
		for n < len(in.queue) && n < in.o.MaxBatch && (n == 0 || size < in.o.MaxBatchBytes) {
			size += int64(len(in.queue[n].body.Bytes))
			n++
		}
		batch := in.queue[:n:n]
		in.queue = append([]*item(nil), in.queue[n:]...)
		in.queued -= size
		in.running++
		go in.run(batch)
	}
}

// waited is the timer's end: its event's time is up, whatever the clock says of it.
func (in *Intake) waited() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.timer = nil
	if len(in.queue) > 0 {
		in.queue[0].due = time.Time{}
	}
	in.flush()
}

// run hands one batch to the handler and its outcomes to the requests.
func (in *Intake) run(batch []*item) {
	outcomes := in.handle(batch)
	for i, it := range batch {
		it.outcome <- outcomes[i]
		it.body.Release()
	}
	in.mu.Lock()
	in.running--
	in.mu.Unlock()
	in.leave(len(batch))
}

// handle calls the handler. Whatever the handler does, one outcome comes back for each event.
func (in *Intake) handle(batch []*item) delivery.Outcomes {
	events := make([]*event.Event, len(batch))
	for i, it := range batch {
		events[i] = it.event
	}
	ctx, cancel := context.WithTimeout(in.base, in.o.Timeout)
	defer cancel()
	if in.o.Trace {
		hops := make([]tracecontext.Context, len(batch))
		for i, it := range batch {
			hops[i] = it.hop
		}
		ctx = tracecontext.WithHops(ctx, hops)
	}
	return in.runner.Handle(ctx, events, nil)
}

// Drain refuses new requests, hands over what waits at once, and returns when all batches have ended. Where ctx ends first, the
// batches' contexts end too, and its error is returned.
func (in *Intake) Drain(ctx context.Context) error {
	in.mu.Lock()
	in.draining = true
	in.flush()
	if in.open == 0 {
		in.mu.Unlock()
		return nil
	}
	if in.idle == nil {
		in.idle = make(chan struct{})
	}
	idle := in.idle
	in.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		in.abort()
		return fmt.Errorf("waiting for batches in flight: %w", ctx.Err())
	}
}
