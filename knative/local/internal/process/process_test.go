package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary itself the function that the tests run.
func TestMain(m *testing.M) {
	switch os.Getenv("PROCESS_TEST") {
	case "function":
		function()
	case "job":
		job()
	default:
		os.Exit(m.Run())
	}
}

// function is an HTTP server with the behaviour of functions, good and bad.
func function() {
	fmt.Println("started")
	if os.Getenv("EXIT") != "" {
		fmt.Print("no newline at the end")
		os.Exit(7)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if file := os.Getenv("READY_FILE"); file != "" {
			if _, err := os.Stat(file); err != nil {
				fmt.Println("not ready")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		// The first bytes are answered before the last ones are read: bodies stream.
		controller := http.NewResponseController(w)
		_ = controller.EnableFullDuplex()
		buffer := make([]byte, 1024)
		for {
			n, err := r.Body.Read(buffer)
			_, _ = w.Write(buffer[:n])
			_ = controller.Flush()
			if err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/pid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Join(os.Environ(), "\n")) })
	mux.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	mux.HandleFunc("/crash-within", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half of ")
		_ = http.NewResponseController(w).Flush()
		os.Exit(3)
	})
	release := make(chan struct{})
	mux.HandleFunc("/block", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Println("blocking")
		<-release
		fmt.Fprint(w, "finished")
	})
	mux.HandleFunc("/release", func(http.ResponseWriter, *http.Request) { close(release) })

	mux.HandleFunc("/proto", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) })
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	deaf := make(chan struct{})
	mux.HandleFunc("/deaf", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		close(deaf)
		_ = listener.Close()
	})
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: mux, Protocols: protocols}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	stopped := make(chan struct{})
	go func() {
		<-term
		fmt.Println("got SIGTERM")
		if os.Getenv("IGNORE_TERM") != "" {
			select {}
		}
		if os.Getenv("RELEASE_ON_TERM") != "" {
			close(release)
		}
		_ = server.Shutdown(context.Background())
		fmt.Println("drained")
		close(stopped)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		select {
		case <-deaf:
			select {} // it lives on
		default:
		}
		fmt.Println(err)
		os.Exit(1)
	}
	<-stopped
}

// job appends a line to a file, and fails unless the file has as many lines as SUCCEED_AT says.
func job() {
	fmt.Println("job", strings.Join(os.Args[1:], " "))
	if os.Getenv("BLOCK") != "" {
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		fmt.Println("blocking")
		<-term
		fmt.Println("got SIGTERM")
		os.Exit(0)
	}
	file, err := os.OpenFile(os.Getenv("RUNS"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		os.Exit(2)
	}
	_, _ = file.WriteString("run\n")
	content, _ := os.ReadFile(os.Getenv("RUNS"))
	if at, _ := strconv.Atoi(os.Getenv("SUCCEED_AT")); bytes.Count(content, []byte("\n")) != at {
		os.Exit(1)
	}
}

// output collects what processes write and lets a test wait for it.
type output struct {
	mu   sync.Mutex
	cond *sync.Cond
	text strings.Builder
}

func newOutput() *output {
	o := &output{}
	o.cond = sync.NewCond(&o.mu)
	return o
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	o.cond.Broadcast()
	return len(p), nil
}

// wait returns when text was written n times.
func (o *output) wait(t *testing.T, text string, n int) {
	t.Helper()
	stop := context.AfterFunc(t.Context(), o.cond.Broadcast)
	defer stop()
	deadline := time.AfterFunc(20*time.Second, o.cond.Broadcast)
	defer deadline.Stop()
	begin := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	for strings.Count(o.text.String(), text) < n {
		if time.Since(begin) > 19*time.Second {
			t.Fatalf("%q was not written %d times; output:\n%s", text, n, o.text.String())
		}
		o.cond.Wait()
	}
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// clock is a manual one: timers fire when the test says so.
type clock struct {
	mu     sync.Mutex
	timers []*timer
	armed  chan time.Duration
}

type timer struct {
	d    time.Duration
	f    func()
	done bool
}

func (c *clock) after(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	t := &timer{d: d, f: f}
	c.timers = append(c.timers, t)
	c.mu.Unlock()
	select {
	case c.armed <- d:
	default:
	}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		was := !t.done
		t.done = true
		return was
	}
}

// fire runs the active timers and returns how many there were.
func (c *clock) fire() int {
	c.mu.Lock()
	var active []*timer
	for _, t := range c.timers {
		if !t.done {
			t.done = true
			active = append(active, t)
		}
	}
	c.mu.Unlock()
	for _, t := range active {
		t.f()
	}
	return len(active)
}

type fixture struct {
	*Function
	out   *output
	clock *clock
}

func start(t *testing.T, change func(*Spec)) *fixture {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	spec := Spec{
		Name: "f", Path: binary, Dir: t.TempDir(), Env: []string{"PROCESS_TEST=function"}, ReadyPath: "/readyz",
		Timeout: 20 * time.Second, Idle: time.Hour, Grace: 20 * time.Second,
	}
	if change != nil {
		change(&spec)
	}
	out := newOutput()
	f := &fixture{
		Function: New(spec, NewConsole(out, false, 0).Prefixed("f"), slog.New(slog.NewTextHandler(out, nil))),
		out:      out, clock: &clock{armed: make(chan time.Duration, 100)},
	}
	f.after = f.clock.after
	t.Cleanup(func() {
		f.Stop(context.Background())
		if t.Failed() {
			t.Log(out.String())
		}
	})
	return f
}

func (f *fixture) send(t *testing.T, path, body string) (string, error) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://f.ns.svc.cluster.local"+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := f.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return string(answer), err
}

func (f *fixture) mustSend(t *testing.T, path, body string) string {
	t.Helper()
	answer, err := f.send(t, path, body)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return answer
}

type result struct {
	answer string
	err    error
}

func (f *fixture) async(t *testing.T, path string) <-chan result {
	done := make(chan result, 1)
	go func() {
		answer, err := f.send(t, path, "")
		done <- result{answer, err}
	}()
	return done
}

// A function that runs before it is asked costs memory for nothing; requests to one that is not ready must wait, not fail; and one
// process must serve them all.
func TestStartsAtTheFirstRequestAndHoldsRequestsUntilReady(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "ready")
	f := start(t, func(s *Spec) { s.Env = append(s.Env, "READY_FILE="+gate) })
	if err := f.Start(); err != nil || f.current != nil {
		t.Fatalf("a process runs before the first request, or %v", err)
	}
	first, second := f.async(t, "/pid"), f.async(t, "/pid")
	f.out.wait(t, "| not ready", 3)
	select {
	case r := <-first:
		t.Fatalf("answered before it was ready: %+v", r)
	case r := <-second:
		t.Fatalf("answered before it was ready: %+v", r)
	default:
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a, b := <-first, <-second
	if a.err != nil || b.err != nil || a.answer != b.answer || a.answer == "" {
		t.Errorf("answers %+v, %+v", a, b)
	}
	if n := strings.Count(f.out.String(), "| started"); n != 1 {
		t.Errorf("%d processes", n)
	}
}

// A request that waits for ever for a process that never becomes ready would hold its caller's slot.
func TestTimeoutWhileStarting(t *testing.T) {
	f := start(t, func(s *Spec) { s.Env = append(s.Env, "READY_FILE=/absent"); s.Timeout = 100 * time.Millisecond })
	if _, err := f.send(t, "/pid", ""); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v, want ErrTimeout", err)
	}
}

// A function that does not answer in time must give the caller an error, and its place back.
func TestTimeoutOfAnAnswer(t *testing.T) {
	f := start(t, func(s *Spec) { s.Timeout = 2 * time.Second; s.Concurrency = 1 })
	f.mustSend(t, "/pid", "")
	if _, err := f.send(t, "/block", ""); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v, want ErrTimeout", err)
	}
	f.mustSend(t, "/release", "")
	f.mustSend(t, "/pid", "")
}

// Bodies must stream both ways: an upload larger than memory, an answer that comes in parts.
func TestBodiesStream(t *testing.T) {
	f := start(t, nil)
	reader, writer := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://f/echo", reader)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = writer.Write([]byte("one")) }()
	resp, err := f.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	part := make([]byte, 3)
	if _, err := io.ReadFull(resp.Body, part); err != nil || string(part) != "one" {
		t.Fatalf("%q, %v", part, err)
	}
	go func() { _, _ = writer.Write([]byte("two")); _ = writer.Close() }()
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "two" {
		t.Errorf("%q, %v", rest, err)
	}
}

// A function gets the variables of its manifest and no others: what happens to be set in a developer's shell must not change it.
func TestEnvironment(t *testing.T) {
	t.Setenv("LEAK", "1")
	f := start(t, func(s *Spec) { s.Env = append(s.Env, "K_SERVICE=f") })
	env := strings.Split(f.mustSend(t, "/env", ""), "\n")
	if len(env) != 3 || env[0] != "PROCESS_TEST=function" || env[1] != "K_SERVICE=f" || !strings.HasPrefix(env[2], "PORT=") {
		t.Errorf("environment %q", env)
	}
}

// An idle function is stopped by SIGTERM, so that it can flush, and the next request starts it again.
func TestIdleStopAndStartAgain(t *testing.T) {
	f := start(t, nil)
	first := f.mustSend(t, "/pid", "")
	if n := f.clock.fire(); n != 1 {
		t.Fatalf("%d idle timers", n)
	}
	second := f.mustSend(t, "/pid", "") // held until the first has ended
	if first == second {
		t.Error("the idle process still runs")
	}
	f.out.wait(t, "| drained", 1)
	if strings.Contains(f.out.String(), "ended by itself") {
		t.Error("an idle stop counts as a crash")
	}
}

// A request that takes longer than the idle window must be finished: stopping would be an error for work that was going well.
func TestNoIdleStopWithRequestsInFlight(t *testing.T) {
	f := start(t, nil)
	f.mustSend(t, "/pid", "")
	blocked := f.async(t, "/block")
	f.out.wait(t, "| blocking", 1)
	if n := f.clock.fire(); n != 0 {
		t.Errorf("%d idle timers run while a request is in flight", n)
	}
	f.stopIdle(f.current) // the timer fired just as the request entered
	f.mustSend(t, "/release", "")
	if r := <-blocked; r.err != nil || r.answer != "finished" {
		t.Errorf("got %+v", r)
	}
	if strings.Contains(f.out.String(), "SIGTERM") {
		t.Error("it got SIGTERM")
	}
}

// A process that dies within a request must never look like success, whether it dies before the answer or within it; the next
// request gets a new process.
func TestCrashInARequestIsAnError(t *testing.T) {
	for _, path := range []string{"/crash", "/crash-within"} {
		t.Run(path, func(t *testing.T) {
			f := start(t, nil)
			first := f.mustSend(t, "/pid", "")
			if answer, err := f.send(t, path, "x"); err == nil {
				t.Errorf("answered %q", answer)
			}
			f.out.wait(t, "ended by itself", 1)
			if second := f.mustSend(t, "/pid", ""); second == first {
				t.Error("the dead process answers")
			}
		})
	}
}

// A process that takes no connections any more is ending: nothing of the request reached it, so the request waits for the next one
// instead of failing.
func TestWaitsForTheNextProcessWhereNoneCanBeConnectedTo(t *testing.T) {
	f := start(t, nil)
	first := f.mustSend(t, "/pid", "")
	f.transport().CloseIdleConnections()
	f.mustSend(t, "/deaf", "")
	f.transport().CloseIdleConnections()
	held := f.async(t, "/pid")
	pid, _ := strconv.Atoi(first)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if r := <-held; r.err != nil || r.answer == first {
		t.Errorf("got %+v", r)
	}
}

func (f *fixture) transport() *http.Transport {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current.transport
}

// gRPC needs HTTP/2, which Knative gives to a port that is named h2c.
func TestHTTP2(t *testing.T) {
	for http2, want := range map[bool]string{true: "HTTP/2.0", false: "HTTP/1.1"} {
		f := start(t, func(s *Spec) { s.HTTP2 = http2 })
		if got := f.mustSend(t, "/proto", ""); got != want {
			t.Errorf("HTTP2 %v: got %s, want %s", http2, got, want)
		}
	}
}

// A function that cannot start must tell its callers so at once, and must not be started in a tight loop.
func TestCrashLoop(t *testing.T) {
	f := start(t, func(s *Spec) { s.Env = append(s.Env, "EXIT=1") })
	for range 3 {
		_, err := f.send(t, "/pid", "")
		var exit *ExitError
		if !errors.As(err, &exit) || !strings.Contains(err.Error(), "exit status 7") {
			t.Fatalf("got %v", err)
		}
	}
	f.out.wait(t, "| no newline at the end\n", 3)
	f.out.wait(t, "ended by itself", 3)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failures != 3 || time.Until(f.notBefore) > 2*firstBackoff {
		t.Errorf("%d failures, next start in %s", f.failures, time.Until(f.notBefore))
	}
}

// A function with min-scale must be there without a request, stay when idle, and come back when it dies.
func TestMinScale(t *testing.T) {
	f := start(t, func(s *Spec) { s.MinScale = 1 })
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	f.out.wait(t, "| started", 1)
	first := f.mustSend(t, "/pid", "")
	if n := f.clock.fire(); n != 0 {
		t.Errorf("%d idle timers", n)
	}
	_, _ = f.send(t, "/crash", "") // its error is another test's
	if d := <-f.clock.armed; d != 0 {
		t.Errorf("restart after %s, want at once", d)
	}
	f.clock.fire()
	f.out.wait(t, "| started", 2)
	second := f.mustSend(t, "/pid", "")
	if first == second {
		t.Error("the same process")
	}
	pid, _ := strconv.Atoi(second)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if d := <-f.clock.armed; d <= 0 || d > firstBackoff {
		t.Errorf("second restart after %s, want up to %s", d, firstBackoff)
	}
}

// The limit protects functions that cannot take more at once; waiting requests must get their turn.
func TestContainerConcurrency(t *testing.T) {
	f := start(t, func(s *Spec) { s.Concurrency = 1; s.Env = append(s.Env, "RELEASE_ON_TERM=1") })
	blocked := f.async(t, "/block")
	f.out.wait(t, "| blocking", 1)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://f/pid", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, cancel)
	if resp, err := f.RoundTrip(req); !errors.Is(err, context.Canceled) {
		if err == nil {
			_ = resp.Body.Close()
		}
		t.Errorf("a second request was not held: %v", err)
	}
	pid := f.current.cmd.Process.Pid
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r := <-blocked; r.err != nil || r.answer != "finished" {
		t.Errorf("got %+v", r)
	}
}

// Stopping must let requests in flight finish, refuse new ones, and leave no process behind.
func TestStopDrains(t *testing.T) {
	f := start(t, nil)
	blocked := f.async(t, "/block")
	f.out.wait(t, "| blocking", 1)
	addr, pid := f.current.addr, f.current.cmd.Process.Pid
	stopped := make(chan struct{})
	go func() { f.Stop(context.Background()); close(stopped) }()
	<-f.stopping
	if _, err := f.send(t, "/pid", ""); !errors.Is(err, ErrStopping) {
		t.Errorf("a request while stopping: %v", err)
	}
	if strings.Contains(f.out.String(), "SIGTERM") {
		t.Error("SIGTERM with a request in flight")
	}
	resp, err := http.Get("http://" + addr + "/release")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if r := <-blocked; r.err != nil || r.answer != "finished" {
		t.Errorf("got %+v", r)
	}
	<-stopped
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the process still exists: %v", err)
	}
}

// A process that does not obey SIGTERM, and one whose time is up because the user asked a second time, must be killed.
func TestStopKills(t *testing.T) {
	t.Run("after the grace period", func(t *testing.T) {
		f := start(t, func(s *Spec) { s.Env = append(s.Env, "IGNORE_TERM=1"); s.Grace = 50 * time.Millisecond })
		f.mustSend(t, "/pid", "")
		f.Stop(context.Background())
		f.out.wait(t, "killed", 1)
	})
	t.Run("at the end of the context", func(t *testing.T) {
		f := start(t, func(s *Spec) { s.Env = append(s.Env, "IGNORE_TERM=1"); s.Grace = time.Hour })
		f.mustSend(t, "/pid", "")
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() { f.Stop(ctx); close(stopped) }()
		f.out.wait(t, "| got SIGTERM", 1)
		cancel()
		<-stopped
	})
}

func jobSpec(t *testing.T, env ...string) JobSpec {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return JobSpec{
		Name: "j", Path: binary, Dir: t.TempDir(), Args: []string{"a", "b"}, Grace: 20 * time.Second,
		Env: append(env, "PROCESS_TEST=job", "RUNS="+filepath.Join(t.TempDir(), "runs")),
	}
}

// A job that fails is run again as often as its manifest says, with growing waits, and not once more.
func TestJobRetries(t *testing.T) {
	for _, test := range []struct {
		succeedAt, limit int
		waits            int
		ok               bool
	}{{1, 6, 0, true}, {3, 2, 2, true}, {4, 2, 2, false}, {2, 0, 0, false}} {
		out := newOutput()
		spec := jobSpec(t, "SUCCEED_AT="+strconv.Itoa(test.succeedAt))
		spec.BackoffLimit = test.limit
		var waits []time.Duration
		err := runJob(t.Context(), spec, NewConsole(out, false, 0).Prefixed("j"), slog.New(slog.DiscardHandler), func(_ context.Context, d time.Duration) error {
			waits = append(waits, d)
			return nil
		})
		if (err == nil) != test.ok || len(waits) != test.waits {
			t.Errorf("%+v: error %v, waits %s", test, err, waits)
		}
		if n := strings.Count(out.String(), "j | job a b\n"); n != test.waits+1 {
			t.Errorf("%+v: %d runs:\n%s", test, n, out)
		}
	}
}

// Ctrl-C must end a job by SIGTERM; that it then ends with status 0 does not make it done.
func TestJobIsStopped(t *testing.T) {
	out := newOutput()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	spec := jobSpec(t, "BLOCK=1")
	go func() {
		done <- RunJob(ctx, spec, NewConsole(out, false, 0).Prefixed("j"), slog.New(slog.DiscardHandler))
	}()
	out.wait(t, "| blocking", 1)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(out.String(), "got SIGTERM") {
		t.Error("no SIGTERM")
	}
}

// Lines of two processes must not mix, names must align, and a process without newlines must not fill the memory.
func TestConsole(t *testing.T) {
	var out bytes.Buffer
	console := NewConsole(&out, false, 7)
	a, b := console.Prefixed("a"), console.Prefixed("enrich")
	_, _ = a.Write([]byte("one\ntw"))
	_, _ = b.Write([]byte("x\r\n"))
	_, _ = a.Write([]byte("o\n\nrest"))
	a.Flush()
	if want := "a       | one\nenrich  | x\na       | two\na       | \na       | rest\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	out.Reset()
	_, _ = a.Write(bytes.Repeat([]byte("x"), 3*maxLine))
	if out.Len() == 0 || len(a.partial) > maxLine {
		t.Errorf("%d bytes are kept", len(a.partial))
	}
	out.Reset()
	_, _ = NewConsole(&out, true, 0).Prefixed("a").Write([]byte("one\n"))
	if want := "\x1b[36ma |\x1b[0m one\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
