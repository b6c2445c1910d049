package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config is what [Run] needs to know. Only Listen or Listener is required; the zero value of every other field means its default.
type Config struct {
	// Listen is the address, such as ":8080".
	Listen string
	// Listener is used instead of Listen where it is set; Run closes it.
	Listener net.Listener
	// Ready is asked until it returns nil once: /readyz is 503 until then, 200 from then on, and 503 again during the drain. An outage
	// later on is no reason to vanish: it is the handler's 503. nil means ready at once.
	Ready func(ctx context.Context) error
	// ReadyInterval is the pause between two calls of Ready that failed. Default 500 ms.
	ReadyInterval time.Duration
	// Components run beside the server, from start to drain: a Kafka intake, say. Their context ends when the drain begins, and they must return
	// then. The first that returns, for whatever reason, ends all.
	Components []Component
	// Drain runs in order when no request is in flight any more and all components have returned: flush, then close.
	Drain []Hook
	// Grace bounds everything from the end of the context to the return. It must be below the pod's grace period. Default 25 s.
	Grace time.Duration
	// Lag is how long the drain goes on taking requests, with /readyz at 503, for load balancers that learn late. Knative's
	// queue-proxy sees to that itself; a plain Deployment may want 5 s. At most half of Grace. Default 0.
	Lag time.Duration
	// HookTimeout is the deadline of each drain hook, from its own start. Requests in flight and components have Grace less this time
	// to end. Default 8 s.
	HookTimeout time.Duration
	// ReadTimeout bounds reading one request with its body. Default 30 s. Within it, a body of more than 4 KiB must come at 32 KiB a
	// second after the first 5 s.
	ReadTimeout time.Duration
	// MaxHeaderBytes bounds a request's header, which in binary mode holds the event's attributes; net/http takes 4 KiB more, and answers 431 to what
	// is larger. Default 4 MiB: no record of 1 MiB, which is what topics take, has a larger one, since percent-encoding makes a byte three. Whatever listens to the
	// public wants less.
	MaxHeaderBytes int
	// MaxAnswerBytes bounds the answers that are being written, those of up to 16 KiB not counted. Beyond it the one that has waited for its
	// reader the longest is broken off. Default 16 MiB. Every answer must be read at 32 KiB a second after the first 10 s.
	MaxAnswerBytes int64
	// Metrics is what /metrics shows; nil means no /metrics.
	Metrics prometheus.Gatherer
	// Logger tells the life cycle. Default slog.Default().
	Logger *slog.Logger
}

// Component is something that runs beside the server.
type Component struct {
	Name string
	Run  func(ctx context.Context) error
}

// Hook is one step of the drain. Its context is fresh: it has a deadline, and is not ended by the signal that started the drain.
type Hook struct {
	Name string
	Do   func(ctx context.Context) error
}

// Run serves h and, before it, /healthz, /readyz and /metrics, over HTTP/1.1 and HTTP/2 without TLS, until ctx ends or a component
// returns. Then, within Grace: /readyz turns 503, the listener closes, components stop, requests in flight finish, drain hooks run.
// An [Intake] needs a Hook only for requests that did not finish in time: Hook{"intake", in.Drain}.
//
// nil means that ctx ended and all went well. Otherwise the error joins what ended the run and what failed in the drain.
func Run(ctx context.Context, c Config, h http.Handler) error {
	set(&c.ReadyInterval, 500*time.Millisecond)
	set(&c.Grace, 25*time.Second)
	set(&c.HookTimeout, 8*time.Second)
	set(&c.ReadTimeout, 30*time.Second)
	set(&c.MaxAnswerBytes, 16<<20)
	if c.MaxHeaderBytes <= 0 {
		c.MaxHeaderBytes = 4 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Listener == nil {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
		if err != nil {
			return fmt.Errorf("listening on %s: %w", c.Listen, err)
		}
		c.Listener = l
	}

	var ready readiness
	ready.why.Store(new("starting"))
	srv := &http.Server{
		Handler:           c.routes(&ready, h),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       c.ReadTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    c.MaxHeaderBytes,
		Protocols:         new(http.Protocols),
		ErrorLog:          slog.NewLogLogger(c.Logger.Handler(), slog.LevelWarn),
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)

	// The parts' context is not ctx: it ends where any part returns, too.
	parts, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, len(c.Components)+2)
	part := func(name string, run func() error) {
		go func() {
			err := run()
			if err == nil && parts.Err() == nil {
				err = errors.New("ended by itself")
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
			ended <- err
		}()
	}
	part("server", func() error {
		if err := srv.Serve(c.Listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	for _, component := range c.Components {
		part(component.Name, func() error {
			err := component.Run(parts)
			if errors.Is(err, context.Canceled) && parts.Err() != nil {
				err = nil // it was asked to end
			}
			return err
		})
	}
	probed := make(chan struct{})
	go func() {
		defer close(probed)
		c.probe(parts, &ready)
	}()
	c.Logger.Debug("serving", "address", c.Listener.Addr().String())

	// Until the end.
	var errs []error
	left := len(c.Components) + 1
	select {
	case <-ctx.Done():
	case err := <-ended:
		left--
		errs = append(errs, err)
	}

	// The drain.
	ready.why.Store(new("draining"))
	ready.draining.Store(true)
	c.Logger.Debug("draining", "grace", c.Grace.String())
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Grace)
	defer cancel()
	if lag := min(c.Lag, c.Grace/2); lag > 0 {
		<-time.After(lag)
	}
	stop()
	finish, cancelFinish := context.WithTimeout(context.WithoutCancel(ctx), max(c.Grace/4, remaining(grace)-c.HookTimeout))
	defer cancelFinish()
	if err := srv.Shutdown(finish); err != nil {
		errs = append(errs, fmt.Errorf("finishing requests in flight: %w", err), srv.Close())
	}
	for ; left > 0; left-- {
		select {
		case err := <-ended:
			errs = append(errs, err)
		case <-finish.Done():
			errs = append(errs, fmt.Errorf("%d components did not end: %w", left, finish.Err()))
			left = 1
		}
	}
	select {
	case <-probed:
	case <-finish.Done():
		errs = append(errs, fmt.Errorf("the readiness check did not end: %w", finish.Err()))
	}
	for _, hook := range c.Drain {
		// Even where the grace is used up, a hook gets a moment: a flush that takes a millisecond is better done than not.
		deadline := max(500*time.Millisecond, min(c.HookTimeout, remaining(grace)))
		hctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadline)
		if err := hook.Do(hctx); err != nil {
			errs = append(errs, fmt.Errorf("drain %s: %w", hook.Name, err))
		}
		cancel()
	}
	return errors.Join(errs...)
}

func remaining(ctx context.Context) time.Duration {
	deadline, _ := ctx.Deadline()
	return time.Until(deadline)
}

// readiness is what /readyz tells; why is empty once ready.
type readiness struct {
	why      atomic.Pointer[string]
	draining atomic.Bool
}

// probe asks c.Ready until it is nil once.
func (c *Config) probe(ctx context.Context, ready *readiness) {
	last := ""
	for c.Ready != nil {
		err := c.Ready(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		if why := err.Error(); why != last {
			c.Logger.Warn("not ready", "err", err)
			ready.why.Store(&why)
			last = why
		}
		select {
		case <-time.After(c.ReadyInterval):
		case <-ctx.Done():
			return
		}
	}
	ready.why.Store(new(""))
	c.Logger.Debug("ready")
}

func (c *Config) routes(ready *readiness, h http.Handler) http.Handler {
	var metrics http.Handler
	if c.Metrics != nil {
		metrics = promhttp.HandlerFor(c.Metrics, promhttp.HandlerOpts{})
	}
	all := &answers{room: c.MaxAnswerBytes}
	return http.HandlerFunc(func(connection http.ResponseWriter, r *http.Request) {
		w := &answer{ResponseWriter: connection, all: all}
		if r.Header.Get("Expect") != "" {
			w.deadline(time.Time{}) // of the answer before: "100 Continue" is written outside of this one
		}
		switch {
		case r.URL.Path == "/healthz":
			plain(w, http.StatusOK, "ok")
		case r.URL.Path == "/readyz":
			if ready.draining.Load() {
				plain(w, http.StatusServiceUnavailable, "draining")
			} else if why := *ready.why.Load(); why != "" {
				plain(w, http.StatusServiceUnavailable, why)
			} else {
				plain(w, http.StatusOK, "ok")
			}
		case r.URL.Path == "/metrics" && metrics != nil:
			metrics.ServeHTTP(w, r)
		default:
			if r.ContentLength < 0 || r.ContentLength > paceFrom {
				r.Body = pace(connection, r.Body, c.ReadTimeout)
			}
			h.ServeHTTP(w, r)
		}
		w.begin() // for a handler that wrote nothing: net/http does now
	})
}

// How fast a body must come: bytes that nobody sends hold room that others could use.
const (
	paceStart = 5 * time.Second
	paceBytes = 32 << 10 // for each further second
	paceFrom  = 4 << 10  // said to be smaller: it is here with its header, and would hold little
)

// pace returns body with a deadline for reading that moves on as bytes come, at most until limit from now.
func pace(w http.ResponseWriter, body io.ReadCloser, limit time.Duration) io.ReadCloser {
	p := &paced{ReadCloser: body, control: http.NewResponseController(w), began: time.Now(), limit: limit}
	if p.control.SetReadDeadline(p.began.Add(min(paceStart, limit))) != nil {
		return body // no connection of net/http's, and so not one of Run's
	}
	return p
}

type paced struct {
	io.ReadCloser
	control *http.ResponseController
	began   time.Time
	limit   time.Duration
	n       int64 // bytes that came
	moved   int64 // seconds by which the deadline was moved for them
}

// Read implements io.Reader.
func (p *paced) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	p.n += int64(n)
	switch seconds := p.n / paceBytes; {
	case errors.Is(err, io.EOF):
		// The deadline would end the request's context while it is handled. An error tells of a connection that is no more, as the next use of it will.
		_ = p.control.SetReadDeadline(time.Time{})
	case err == nil && seconds > p.moved:
		p.moved = seconds
		err = p.control.SetReadDeadline(p.began.Add(min(paceStart+time.Duration(seconds)*time.Second, p.limit)))
	}
	return n, err
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	// A probe that went away has no use for an error.
	_, _ = w.Write([]byte(text + "\n"))
}
