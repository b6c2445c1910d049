package serve

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// start runs a server on a free port and returns its address and the channel with Run's result.
func start(t *testing.T, ctx context.Context, c Config, h http.Handler) (url string, result <-chan error) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Listener = l
	c.Logger = slog.New(slog.DiscardHandler)
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c, h) }()
	return "http://" + l.Addr().String(), done
}

func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Guards the order of the end: requests in flight are answered first, then components, then each hook with a context that lives
// although the signal's has ended. A flush under a dead context would lose what is buffered.
func TestDrainOrder(t *testing.T) {
	var mu sync.Mutex
	var steps []string
	step := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		steps = append(steps, s)
	}
	entered, gate := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-gate
		if r.Context().Err() != nil {
			t.Error("the signal ended a request in flight")
		}
		step("request")
		w.WriteHeader(http.StatusAccepted)
	})
	hook := func(name string, err error) Hook {
		return Hook{name, func(ctx context.Context) error {
			if _, ok := ctx.Deadline(); !ok || ctx.Err() != nil {
				t.Errorf("%s: context without deadline, or ended: %v", name, ctx.Err())
			}
			step(name)
			return err
		}}
	}
	broken := errors.New("no")
	ctx, signal := context.WithCancel(t.Context())
	url, done := start(t, ctx, Config{
		Components: []Component{{"intake", func(ctx context.Context) error {
			<-ctx.Done()
			close(gate) // intake has stopped: now let the request go
			return ctx.Err()
		}}},
		Drain: []Hook{hook("flush", broken), hook("close", nil)},
	}, h)
	answer := make(chan int, 1)
	go func() {
		code, _ := get(t, http.DefaultClient, url+"/")
		answer <- code
	}()
	<-entered
	signal()
	if code := <-answer; code != http.StatusAccepted {
		t.Errorf("the request in flight was answered %d", code)
	}
	err := <-done
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "drain flush") {
		t.Errorf("Run returned %v, want the hook's error", err)
	}
	if want := []string{"request", "flush", "close"}; !slices.Equal(steps, want) {
		t.Errorf("steps %v, want %v", steps, want)
	}
}

// Guards readiness: 503 with the reason until the check passed once, 200 from then on whatever the dependency does, 503 during the drain.
func TestReadiness(t *testing.T) {
	asked := make(chan error)
	ctx, signal := context.WithCancel(t.Context())
	release := make(chan struct{})
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "millrace_test"}, func() float64 { return 1 }))
	url, done := start(t, ctx, Config{
		Ready: func(ctx context.Context) error {
			select {
			case err := <-asked:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		ReadyInterval: time.Nanosecond,
		Metrics:       registry,
		Lag:           time.Minute, // the drain goes on until the test has looked
		Grace:         500 * time.Millisecond,
		Drain: []Hook{{"wait", func(context.Context) error {
			<-release
			return nil
		}}},
	}, http.NotFoundHandler())
	f := func(path string, code int, text string) {
		t.Helper()
		if c, body := get(t, http.DefaultClient, url+path); c != code || !strings.Contains(body, text) {
			t.Errorf("%s: %d %q, want %d %q", path, c, body, code, text)
		}
	}
	f("/readyz", 503, "starting")
	f("/healthz", 200, "ok")
	asked <- errors.New("no topic events.raw")
	select { // the next question comes only after the answer was noted
	case asked <- errors.New("no topic events.raw"):
	case err := <-done:
		t.Fatal(err)
	}
	f("/readyz", 503, "no topic events.raw")
	asked <- nil
	for { // noted soon after
		if c, _ := get(t, http.DefaultClient, url+"/readyz"); c == 200 {
			break
		}
	}
	f("/metrics", 200, "millrace_test 1")
	f("/other", 404, "")
	signal()
	for { // Lag keeps the server up: until then no connection is refused
		if c, body := get(t, http.DefaultClient, url+"/readyz"); c == 503 && strings.Contains(body, "draining") {
			break
		}
	}
	close(release)
	if err := <-done; err != nil {
		t.Errorf("Run returned %v", err)
	}
}

// Guards against half a process: a component that ends by itself ends the server, with an error that names it.
func TestComponentEndsAll(t *testing.T) {
	for name, given := range map[string]error{"with an error": errors.New("broken"), "with none": nil} {
		t.Run(name, func(t *testing.T) {
			_, done := start(t, t.Context(), Config{
				Components: []Component{{"intake", func(context.Context) error { return given }}},
			}, http.NotFoundHandler())
			err := <-done
			if err == nil || !strings.Contains(err.Error(), "intake") || (given != nil && !errors.Is(err, given)) {
				t.Errorf("Run returned %v", err)
			}
		})
	}
}

// Guards that an address in use is an error that names it, not a server that never answers.
func TestListenError(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	err = Run(t.Context(), Config{Listen: l.Addr().String()}, http.NotFoundHandler())
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("Run returned %v", err)
	}
}

// pipes is a listener whose connections are in memory, so that synctest's clock holds for them.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// Guards the room for bodies against who announces one and does not send it, or too slowly; and a handler that takes its time from being told that its client went away.
func TestBodyMustCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		a := NewAdmission(16 << 20)
		ctx, signal := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- Run(ctx, Config{Listener: l, Logger: slog.New(slog.DiscardHandler)}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := a.Read(r, 1<<20)
				if err != nil {
					w.WriteHeader(ReadStatus(err))
					return
				}
				defer body.Release()
				time.Sleep(time.Minute) // synctest's clock
				if r.Context().Err() != nil {
					t.Error("the request's context ended while it was handled")
				}
			}))
		}()
		f := func(name string, pieces, size int, want int, after time.Duration) {
			t.Helper()
			client, server := net.Pipe()
			defer func() { _ = client.Close() }()
			l.conns <- server
			began := time.Now()
			go func() {
				if _, err := fmt.Fprintf(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 20*32<<10); err != nil {
					t.Error(err)
				}
				time.Sleep(500 * time.Millisecond) // so that no piece comes at the deadline's very moment
				for range pieces {
					if _, err := client.Write(make([]byte, size)); err != nil {
						return // the server gave up, as its answer says
					}
					time.Sleep(time.Second)
				}
			}()
			answer, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if took := time.Since(began); answer.StatusCode != want || took != after {
				t.Errorf("%s: answered %d after %s, want %d after %s", name, answer.StatusCode, took, want, after)
			}
			if a.Held() != 0 && want != 200 {
				t.Errorf("%s: %d bytes still held", name, a.Held())
			}
		}
		f("nothing", 0, 0, 408, 5*time.Second)
		f("a drip", 600, 1<<10, 408, 5*time.Second)
		f("half as fast as must be", 40, 16<<10, 408, 9*time.Second)
		f("fast enough", 20, 32<<10, 200, 79500*time.Millisecond)
		signal()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Guards HTTP/2 without TLS, which queue-proxy and gRPC clients speak.
func TestUnencryptedHTTP2(t *testing.T) {
	ctx, signal := context.WithCancel(t.Context())
	url, done := start(t, ctx, Config{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}))
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: p}
	if code, proto := get(t, &http.Client{Transport: transport}, url); code != 200 || proto != "HTTP/2.0" {
		t.Errorf("%d over %s", code, proto)
	}
	transport.CloseIdleConnections()
	signal()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
