package ingress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/shared/delivery"
	"millrace/shared/event"
)

func newEvent(t *testing.T, id string) *event.Event {
	t.Helper()
	e, err := event.DecodeStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/s","type":"T","subject":"Zürich 100%%","data":{"n":1}}`, id))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func open(t *testing.T, address string, o Options) *Sink {
	t.Helper()
	u, err := Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	s := New(u, o)
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func only(t *testing.T, errs []error) error {
	t.Helper()
	if len(errs) != 1 {
		t.Fatalf("%d results of one event", len(errs))
	}
	return errs[0]
}

// Guards what stands on the wire: one event a request in binary mode, attributes percent-encoded, data byte for byte; and that what is read back is the same event.
func TestPublish(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]*event.Event{}
	conns := map[string]bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if got := r.Header.Get("Ce-Subject"); got != "Z%C3%BCrich%20100%25" {
			t.Errorf("header %q", got)
		}
		e, err := event.DecodeHTTP(r.Header, body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/ns/broker" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
			return
		}
		mu.Lock()
		seen[e.ID()], conns[r.RemoteAddr] = e, true
		mu.Unlock()
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "taken")
	}))
	defer srv.Close()
	s := open(t, srv.URL+"/ns/broker", Options{Concurrency: 4})
	var events []*event.Event
	for i := range 100 {
		events = append(events, newEvent(t, fmt.Sprint(i)))
	}
	for i, err := range s.Publish(t.Context(), events) {
		if err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
	}
	if len(seen) != 100 || seen["7"].Subject() != "Zürich 100%" || string(seen["7"].Data()) != `{"n":1}` {
		t.Errorf("%d events, %v", len(seen), seen["7"])
	}
	if len(conns) > 4 {
		t.Errorf("%d connections for 100 events", len(conns))
	}
}

// Guards the meaning of each answer: only 2xx is written, and only what is surely about the event is ever held against it.
func TestAnswers(t *testing.T) {
	var status atomic.Int64
	var after atomic.Value
	after.Store("")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if v := after.Load().(string); v != "" {
			w.Header().Set("Retry-After", v)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(int(status.Load()))
	}))
	defer srv.Close()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	s := open(t, srv.URL, Options{Clock: func() time.Time { return now }})
	f := func(code int, retryAfter string, want error, wait time.Duration) {
		t.Helper()
		status.Store(int64(code))
		after.Store(retryAfter)
		err := only(t, s.Publish(t.Context(), []*event.Event{newEvent(t, "1")}))
		if !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("%d: %v", code, err)
			return
		}
		o := delivery.NewOutcomes(1)
		o.Settle(0, err)
		if o[0].After != wait {
			t.Errorf("%d with Retry-After %q: to come after %s", code, retryAfter, o[0].After)
		}
		wantStatus := delivery.Retry
		switch {
		case want == nil:
			wantStatus = delivery.Done
		case errors.Is(want, delivery.ErrRefused):
			wantStatus = delivery.Failed
		}
		if o[0].Status != wantStatus {
			t.Errorf("%d: outcome %s", code, o[0].Status)
		}
	}
	f(200, "", nil, 0)
	f(202, "", nil, 0)
	f(204, "", nil, 0)
	f(301, "", delivery.ErrBusy, 0)
	f(307, "", delivery.ErrBusy, 0)
	f(400, "", delivery.ErrRefused, 0)
	f(415, "", delivery.ErrRefused, 0)
	f(422, "", delivery.ErrRefused, 0)
	f(401, "", delivery.ErrBusy, 0)
	f(403, "", delivery.ErrBusy, 0)
	f(404, "", delivery.ErrBusy, 0)
	f(405, "", delivery.ErrBusy, 0)
	f(408, "", delivery.ErrUnconfirmed, 0)
	f(409, "", delivery.ErrUnconfirmed, 0)
	f(413, "", delivery.ErrTooLarge, 0)
	f(431, "", delivery.ErrTooLarge, 0)
	f(425, "", delivery.ErrBusy, 0)
	f(429, "", delivery.ErrBusy, 0)
	f(429, "7", delivery.ErrBusy, 7*time.Second)
	f(503, "2", delivery.ErrUnconfirmed, 2*time.Second)
	f(503, now.Add(50*time.Second).Format(http.TimeFormat), delivery.ErrUnconfirmed, 50*time.Second)
	f(503, now.Add(time.Hour).Format(http.TimeFormat), delivery.ErrUnconfirmed, maxRetryAfter)
	f(503, now.Add(-time.Hour).Format(http.TimeFormat), delivery.ErrUnconfirmed, 0)
	f(503, "99999999999999", delivery.ErrUnconfirmed, maxRetryAfter)
	f(503, "-5", delivery.ErrUnconfirmed, 0)
	f(503, "soon", delivery.ErrUnconfirmed, 0)
	f(500, "", delivery.ErrUnconfirmed, 0)
	f(502, "", delivery.ErrUnconfirmed, 0)
	f(504, "", delivery.ErrUnconfirmed, 0)
}

// Guards each moment at which a connection can fail: before the request the event is not taken, after it nobody knows, and half an answer is none.
func TestConnectionFails(t *testing.T) {
	serve := func(t *testing.T, handle func(net.Conn)) string {
		t.Helper()
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var conns sync.WaitGroup
		conns.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				conns.Go(func() {
					defer func() { _ = c.Close() }()
					handle(c)
				})
			}
		})
		t.Cleanup(func() { _ = l.Close(); conns.Wait() })
		return "http://" + l.Addr().String()
	}
	read := func(c net.Conn) {
		if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
		}
	}
	answer := func(text string) func(net.Conn) {
		return func(c net.Conn) { read(c); _, _ = io.WriteString(c, text) }
	}
	f := func(name string, want error, handle func(net.Conn)) {
		t.Helper()
		err := only(t, open(t, serve(t, handle), Options{RequestTimeout: 200 * time.Millisecond}).Publish(t.Context(), []*event.Event{newEvent(t, "1")}))
		if !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f("cut before the request is read", delivery.ErrUnconfirmed, func(net.Conn) {})
	f("cut in the middle of it", delivery.ErrUnconfirmed, func(c net.Conn) { _, _ = c.Read(make([]byte, 20)) })
	f("cut after it", delivery.ErrUnconfirmed, read)
	f("hangs", delivery.ErrUnconfirmed, func(c net.Conn) { read(c); _, _ = c.Read(make([]byte, 1)) })
	f("half a status line", delivery.ErrUnconfirmed, answer("HTTP/1.1 20"))
	f("half a header", delivery.ErrUnconfirmed, answer("HTTP/1.1 202 Accepted\r\nContent-Le"))
	f("half a body", delivery.ErrUnconfirmed, answer("HTTP/1.1 202 Accepted\r\nContent-Length: 10\r\n\r\nabc"))
	f("half a chunk", delivery.ErrUnconfirmed, answer("HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"))
	f("a whole answer", nil, answer("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
	f("a body without end", nil, func(c net.Conn) {
		read(c)
		_, _ = io.WriteString(c, "HTTP/1.1 202 Accepted\r\n\r\n")
		for {
			if _, err := c.Write(make([]byte, 1000)); err != nil {
				return
			}
		}
	})
	f("no HTTP", delivery.ErrUnconfirmed, answer("SSH-2.0\r\n\r\n"))

	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, strings.Replace(nobody, "http://", "http://user:secret@", 1), Options{})
	err = only(t, s.Publish(t.Context(), []*event.Event{newEvent(t, "1")}))
	if !errors.Is(err, delivery.ErrBusy) || strings.Contains(err.Error(), "secret") {
		t.Errorf("nobody listens: %v", err)
	}
	if err := s.Ready(t.Context()); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("ready: %v", err)
	}
}

// Guards good events against one poison, and one that hangs, among them: each has its own result.
func TestPoisonAmongGood(t *testing.T) {
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Ce-Id") {
		case "3":
			w.WriteHeader(http.StatusBadRequest)
		case "5":
			<-hang
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	}))
	defer srv.Close()
	defer close(hang)
	s := open(t, srv.URL, Options{Concurrency: 2, RequestTimeout: 200 * time.Millisecond, Timeout: 10 * time.Second})
	var events []*event.Event
	for i := range 20 {
		events = append(events, newEvent(t, fmt.Sprint(i)))
	}
	for i, err := range s.Publish(t.Context(), events) {
		want := map[int]error{3: delivery.ErrRefused, 5: delivery.ErrUnconfirmed}[i]
		if !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("event %d: %v", i, err)
		}
	}
}

// Guards the bound on requests: more callers than slots wait, and what finds no slot in time is said not to be taken.
func TestConcurrencyIsBounded(t *testing.T) {
	hang := make(chan struct{})
	var underWay, most atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n := underWay.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-hang
		underWay.Add(-1)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer srv.Close()
	defer close(hang)
	s := open(t, srv.URL, Options{Concurrency: 3, Timeout: 300 * time.Millisecond})
	var events []*event.Event
	for i := range 10 {
		events = append(events, newEvent(t, fmt.Sprint(i)))
	}
	busy, unconfirmed := 0, 0
	for _, err := range s.Publish(t.Context(), events) {
		switch {
		case errors.Is(err, delivery.ErrUnconfirmed):
			unconfirmed++
		case errors.Is(err, delivery.ErrBusy):
			busy++
		default:
			t.Errorf("%v", err)
		}
	}
	if busy != 7 || unconfirmed != 3 || most.Load() > 3 {
		t.Errorf("%d busy, %d unconfirmed, %d at one time", busy, unconfirmed, most.Load())
	}
}

// Guards readiness and addresses: a Broker that is not there is not ready, and an address that cannot be one is refused without being quoted.
func TestReady(t *testing.T) {
	var status atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	defer srv.Close()
	s := open(t, srv.URL, Options{})
	for code, ready := range map[int64]bool{200: true, 405: true, 401: true, 404: false, 502: false, 503: false} {
		status.Store(code)
		if err := s.Ready(t.Context()); (err == nil) != ready {
			t.Errorf("%d: %v", code, err)
		}
	}
	for _, bad := range []string{"", "x", "ftp://h/", "http://", "http:///path", "http://user:secret@h:port/", "http://h/#f"} {
		if _, err := Parse(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
