package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Errors of [Function.RoundTrip] for which nothing reached the process or its answer is not known.
var (
	// ErrStopping is returned while the function is being stopped for good. The request did not reach a process.
	ErrStopping = errors.New("the function is being stopped")
	// ErrTimeout is returned when the answer did not begin within the Spec's Timeout. The process may have acted on the request.
	ErrTimeout = errors.New("no answer within the function's timeoutSeconds")
)

// ExitError says that a process ended before it was ready for a request. The request did not reach it.
type ExitError struct {
	Function string
	// Err is how it ended, nil for exit status 0.
	Err error
}

// Error implements error.
func (e *ExitError) Error() string {
	how := "exit status 0"
	if e.Err != nil {
		how = e.Err.Error()
	}
	return fmt.Sprintf("function %s ended before it was ready (%s); its log says why", e.Function, how)
}

// Unwrap returns how the process ended.
func (e *ExitError) Unwrap() error { return e.Err }

// Spec is what a Function runs.
type Spec struct {
	Name string
	// Path is the binary; Dir its working directory; Env all of its environment but PORT.
	Path string
	Dir  string
	Args []string
	Env  []string
	// ReadyPath is asked by GET until it answers 2xx or 3xx; empty means that a connection to the port is enough.
	ReadyPath string
	// HTTP2 says that the process speaks HTTP/2 without TLS.
	HTTP2 bool
	// MinScale of 1 or more keeps the process running from Start on. There is never more than one.
	MinScale int
	// Concurrency is how many requests the process gets at once; 0 is without limit.
	Concurrency int
	// Timeout is how long a request waits for the beginning of its answer, the start of the process included.
	Timeout time.Duration
	// Idle is how long a process without requests is kept.
	Idle time.Duration
	// Grace is how long a process may take to end after SIGTERM, and how long Stop waits for requests before it sends that.
	Grace time.Duration
}

// Backoff between the starts of a process that keeps ending.
const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 10 * time.Second
	// stableAfter is how long a process must have run for its end not to count as another failure in a row.
	stableAfter = time.Minute
)

// Function is a function whose process runs while it has work. Its methods are safe for concurrent use.
type Function struct {
	spec Spec
	out  *Lines
	log  *slog.Logger

	slots    chan struct{} // nil without a limit
	stopping chan struct{} // closed by Stop
	kill     chan struct{} // closed when Stop's context ends: no more grace
	killOnce sync.Once
	running  sync.WaitGroup

	// after and now are the clock of idleness and backoff; a test replaces them.
	after func(time.Duration, func()) (stop func() bool)
	now   func() time.Time

	mu        sync.Mutex
	stopped   bool
	current   *instance // the one process, until it has ended
	inflight  int
	drained   chan struct{} // closed when stopped and inflight is 0
	idle      func() bool   // stops the idle timer, nil where none runs
	restart   func() bool   // stops the restart timer, nil where none runs
	failures  int           // ends in a row that nobody asked for
	told      bool          // that a process is ready
	notBefore time.Time     // of the next start
}

// instance is one process of a Function.
type instance struct {
	*child
	addr      string
	transport *http.Transport
	ready     chan struct{} // closed at the first readiness
	started   time.Time
	draining  bool // guarded by Function.mu: SIGTERM was or is being sent
}

// New returns a Function without a process, whose output goes to out and whose life is told to log.
func New(spec Spec, out *Lines, log *slog.Logger) *Function {
	f := &Function{
		spec: spec, out: out, log: log.With("function", spec.Name),
		stopping: make(chan struct{}), kill: make(chan struct{}), drained: make(chan struct{}),
		after: func(d time.Duration, fn func()) func() bool { return time.AfterFunc(d, fn).Stop },
		now:   time.Now,
	}
	if spec.Concurrency > 0 {
		f.slots = make(chan struct{}, spec.Concurrency)
	}
	return f
}

// Start starts the process of a function with a MinScale; for others it does nothing. It does not wait for readiness.
func (f *Function) Start() error {
	if f.spec.MinScale < 1 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped || f.current != nil {
		return nil
	}
	return f.start()
}

// start starts a process. f.mu is held and f.current is nil.
func (f *Function) start() error {
	port, err := freePort()
	if err != nil {
		return fmt.Errorf("start function %s: %w", f.spec.Name, err)
	}
	env := append(append([]string{}, f.spec.Env...), "PORT="+strconv.Itoa(port))
	c, err := startChild(f.spec.Path, f.spec.Args, env, f.spec.Dir, f.out)
	if err != nil {
		f.failed()
		return fmt.Errorf("start function %s: %w", f.spec.Name, err)
	}
	inst := &instance{
		child: c, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), transport: transport(f.spec.HTTP2),
		ready: make(chan struct{}), started: f.now(),
	}
	f.current = inst
	f.log.Debug("process started", "pid", c.cmd.Process.Pid, "addr", inst.addr)
	f.running.Go(func() { f.watch(inst) })
	if f.inflight == 0 {
		f.armIdle()
	}
	return nil
}

// The ports below the range that Linux and macOS give to outgoing connections, so that none takes a function's port between its
// choice and its use.
const lowestPort, highestPort = 20000, 32000

func freePort() (int, error) {
	var last error
	for range 100 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			last = err
			continue
		}
		return port, listener.Close()
	}
	return 0, fmt.Errorf("find a free port: %w", last)
}

func transport(http2 bool) *http.Transport {
	t := &http.Transport{
		MaxIdleConnsPerHost: 512, IdleConnTimeout: 30 * time.Second, DisableCompression: true, ExpectContinueTimeout: time.Second,
	}
	if http2 {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	return t
}

// watch asks for readiness and waits for the end of the process.
func (f *Function) watch(inst *instance) {
	ctx, cancel := context.WithCancel(context.Background())
	var probing sync.WaitGroup
	probing.Go(func() {
		if f.probe(ctx, inst) {
			f.log.Log(ctx, f.level(), "ready", "pid", inst.cmd.Process.Pid, "after", f.now().Sub(inst.started).Round(time.Millisecond))
			close(inst.ready)
		}
	})
	<-inst.done
	cancel()
	probing.Wait()
	inst.transport.CloseIdleConnections()

	f.mu.Lock()
	defer f.mu.Unlock()
	f.current = nil
	if f.idle != nil {
		f.idle()
		f.idle = nil
	}
	if inst.draining || f.stopped {
		f.failures = 0
		return
	}
	if f.now().Sub(inst.started) >= stableAfter {
		f.failures = 0
	}
	f.failed()
	f.log.Warn("process ended by itself", "pid", inst.cmd.Process.Pid, "state", inst.cmd.ProcessState.String(), "next_start_in", f.notBefore.Sub(f.now()).Round(time.Millisecond))
	if f.spec.MinScale > 0 {
		f.scheduleRestart()
	}
}

// level is that of the news that a process is ready: worth telling the first time and after a failure, but not each time that a function
// wakes up for a tick.
func (f *Function) level() slog.Level {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.told && f.failures == 0 {
		return slog.LevelDebug
	}
	f.told = true
	return slog.LevelInfo
}

// failed counts a failure and sets the time of the next start. f.mu is held.
func (f *Function) failed() {
	f.failures++
	wait := time.Duration(0)
	if f.failures > 1 {
		wait = min(maxBackoff, firstBackoff<<min(f.failures-2, 20))
	}
	f.notBefore = f.now().Add(wait)
}

// scheduleRestart starts the process again after the backoff. f.mu is held.
func (f *Function) scheduleRestart() {
	f.restart = f.after(max(0, f.notBefore.Sub(f.now())), func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.restart = nil
		if f.stopped || f.current != nil {
			return
		}
		if err := f.start(); err != nil {
			f.log.Error("restart", "error", err)
			f.scheduleRestart()
		}
	})
}

// probe returns true as soon as the process is ready, false at the end of ctx.
func (f *Function) probe(ctx context.Context, inst *instance) bool {
	for wait := 2 * time.Millisecond; ; wait = min(wait*3/2, 100*time.Millisecond) {
		if f.isReady(ctx, inst) {
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

func (f *Function) isReady(ctx context.Context, inst *instance) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if f.spec.ReadyPath == "" {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", inst.addr)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+inst.addr+f.spec.ReadyPath, http.NoBody)
	if err != nil {
		return false
	}
	req.Header.Set("User-Agent", "kube-probe/millrace")
	resp, err := inst.transport.RoundTrip(req)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }() // the status counts
	// A short read lets the connection be used again; what fails here fails for the request that follows as well.
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	return resp.StatusCode >= 200 && resp.StatusCode < 400
}

// RoundTrip sends the request to the function's process, starting it where none runs, and returns its answer; it implements
// http.RoundTripper. Scheme and host of the URL are not looked at. It blocks until the answer begins, at most for the Spec's Timeout or
// until the request's context ends; the body streams afterwards, and must be closed. The request counts as in flight until then.
// An error is ErrStopping, ErrTimeout, an *ExitError, the context's, or that of the connection; after the last three of these the
// process may have acted on the request.
func (f *Function) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	fail := func(err error) (*http.Response, error) {
		cancel(nil)
		if req.Body != nil {
			_ = req.Body.Close() // the request has failed by err; RoundTrip's contract wants the body closed
		}
		return nil, err
	}
	if !f.enter() {
		return fail(ErrStopping)
	}
	timer := time.AfterFunc(f.spec.Timeout, func() { cancel(ErrTimeout) })
	if err := f.slot(ctx); err != nil {
		timer.Stop()
		f.leave()
		return fail(err)
	}
	release := sync.OnceFunc(func() {
		timer.Stop()
		if req.Body != nil {
			_ = req.Body.Close() // what was not read of it is not wanted
		}
		if f.slots != nil {
			<-f.slots
		}
		f.leave()
		cancel(nil)
	})
	resp, err := f.send(ctx, req)
	if err == nil && !timer.Stop() {
		// The time was up just as the answer began: its body is cut already.
		_ = resp.Body.Close()
		err = ErrTimeout
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		release()
		return fail(fmt.Errorf("function %s: %w", f.spec.Name, err))
	}
	resp.Request = req
	resp.Body = releasing(resp.Body, release)
	return resp, nil
}

// send passes the request to a ready process. Where none could be connected to, nothing was sent, and the process is ending: then
// the request waits for the next one.
func (f *Function) send(ctx context.Context, req *http.Request) (*http.Response, error) {
	for {
		inst, err := f.await(ctx)
		if err != nil {
			return nil, err
		}
		out := req.Clone(ctx)
		if out.Host == "" {
			out.Host = req.URL.Host
		}
		out.URL.Scheme, out.URL.Host = "http", inst.addr
		if req.Body != nil && req.Body != http.NoBody {
			// The transport must not close it: a request of which nothing was sent is sent again. net/http's server and RoundTrip close it. The transport
			// looks into a NopCloser, and sends a body that lies in memory in one piece with the header.
			out.Body = io.NopCloser(req.Body)
		}
		resp, err := inst.transport.RoundTrip(out)
		var network *net.OpError
		if err == nil || ctx.Err() != nil || !errors.As(err, &network) || network.Op != "dial" {
			return resp, err
		}
		select {
		case <-inst.done:
		case <-f.stopping:
			return nil, ErrStopping
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// slot waits for one of the process's concurrent requests.
func (f *Function) slot(ctx context.Context) error {
	if f.slots == nil {
		return nil
	}
	select {
	case f.slots <- struct{}{}:
		return nil
	case <-f.stopping:
		return ErrStopping
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// await returns a ready process, starting one where none runs.
func (f *Function) await(ctx context.Context) (*instance, error) {
	for {
		inst, draining, wait, err := f.ensure()
		if err != nil {
			return nil, err
		}
		if inst == nil {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-f.stopping:
			case <-ctx.Done():
				timer.Stop()
				return nil, context.Cause(ctx)
			}
			timer.Stop()
			continue
		}
		ready := inst.ready
		if draining {
			ready = nil // only its end is of interest: then the next one may start
		}
		select {
		case <-ready:
			return inst, nil
		case <-inst.done:
			if !draining && !f.idleStopped(inst) {
				return nil, &ExitError{Function: f.spec.Name, Err: inst.err}
			}
		case <-f.stopping:
			return nil, ErrStopping
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// ensure returns the process, started where none was, or how long to wait before that is allowed.
func (f *Function) ensure() (inst *instance, draining bool, wait time.Duration, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return nil, false, 0, ErrStopping
	}
	if f.current == nil {
		if wait := f.notBefore.Sub(f.now()); wait > 0 {
			return nil, false, wait, nil
		}
		if err := f.start(); err != nil {
			return nil, false, 0, err
		}
	} else if ended(f.current.done) {
		// Its watcher has not noticed yet.
		return nil, false, time.Millisecond, nil
	}
	return f.current, f.current.draining, 0, nil
}

func ended(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func (f *Function) idleStopped(inst *instance) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return inst.draining
}

// enter counts a request, unless the function is being stopped.
func (f *Function) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return false
	}
	f.inflight++
	if f.idle != nil {
		f.idle()
		f.idle = nil
	}
	return true
}

func (f *Function) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inflight--
	if f.inflight > 0 {
		return
	}
	if f.stopped {
		close(f.drained)
		return
	}
	f.armIdle()
}

// armIdle lets the process be stopped after the idle window. f.mu is held.
func (f *Function) armIdle() {
	if f.spec.MinScale > 0 || f.current == nil || f.current.draining || f.idle != nil {
		return
	}
	inst := f.current
	f.idle = f.after(f.spec.Idle, func() { f.stopIdle(inst) })
}

// stopIdle stops the process if it still has no request.
func (f *Function) stopIdle(inst *instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// A timer that fired while a request entered finds it here.
	if f.stopped || f.current != inst || f.inflight > 0 || inst.draining {
		return
	}
	f.idle = nil
	inst.draining = true
	f.log.Debug("idle, stopping", "pid", inst.cmd.Process.Pid)
	f.running.Go(func() { f.end(f.kill, inst) })
}

// end stops the process and tells when it had to be killed.
func (f *Function) end(kill <-chan struct{}, inst *instance) {
	if inst.stop(kill, f.spec.Grace) {
		f.log.Warn("killed: it did not end in time after SIGTERM", "pid", inst.cmd.Process.Pid)
	}
}

// Stop refuses further requests, waits at most the Spec's Grace for those in flight, sends the process SIGTERM and returns when it
// has ended, by SIGKILL where it takes longer than Grace. The end of ctx cuts both waits short and kills the process. A second
// call waits as the first one does.
func (f *Function) Stop(ctx context.Context) {
	f.mu.Lock()
	if !f.stopped {
		f.stopped = true
		close(f.stopping)
		for _, timer := range []func() bool{f.idle, f.restart} {
			if timer != nil {
				timer()
			}
		}
		f.idle, f.restart = nil, nil
		if f.inflight == 0 {
			close(f.drained)
		}
	}
	f.mu.Unlock()

	timer := time.NewTimer(f.spec.Grace)
	defer timer.Stop()
	select {
	case <-f.drained:
	case <-timer.C:
		f.log.Warn("stopping with requests in flight")
	case <-ctx.Done():
	}
	f.mu.Lock()
	inst := f.current
	if inst != nil {
		inst.draining = true
	}
	f.mu.Unlock()
	finished := context.AfterFunc(ctx, func() { f.killOnce.Do(func() { close(f.kill) }) })
	defer finished()
	if inst != nil {
		f.end(f.kill, inst)
	}
	f.running.Wait()
}

// releasing returns body with release called when it is closed. A body that can be written to, which is that of a switch of protocols,
// stays one.
func releasing(body io.ReadCloser, release func()) io.ReadCloser {
	if duplex, ok := body.(io.ReadWriteCloser); ok {
		return &duplexBody{duplex, release}
	}
	return &responseBody{body, release}
}

type responseBody struct {
	io.ReadCloser
	release func()
}

// Close implements io.Closer.
func (b *responseBody) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}

type duplexBody struct {
	io.ReadWriteCloser
	release func()
}

// Close implements io.Closer.
func (b *duplexBody) Close() error {
	defer b.release()
	return b.ReadWriteCloser.Close()
}
