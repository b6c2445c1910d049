package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"millrace/knative/local/internal/manifest"
	"millrace/knative/local/internal/process"
)

// function is a Transport that answers with its name, the host and the body it saw, or fails as told.
type function struct {
	name string
	err  error
}

func (f function) RoundTrip(req *http.Request) (*http.Response, error) {
	if f.err != nil {
		return nil, f.err
	}
	body := ""
	if req.Body != nil {
		content, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		body = string(content)
	}
	text := fmt.Sprintf("%s %s %s%s %s", f.name, req.Method, req.Host, req.URL.RequestURI(), body)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: req}, nil
}

func router() *Router {
	return New(slog.New(slog.DiscardHandler),
		Route{Key: manifest.Key{Namespace: "millrace", Name: "collect"}, Public: true, Transport: function{name: "collect"}},
		Route{Key: manifest.Key{Namespace: "millrace", Name: "enrich"}, Transport: function{name: "enrich"}},
	)
}

func ask(t *testing.T, handler http.Handler, host, path string) (int, string) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader("body"))
	req.Host = host
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

// A function of the cluster alone must not be reachable from outside, and users must reach the public one without a Host header.
func TestPublic(t *testing.T) {
	for _, test := range []struct {
		host   string
		status int
		body   string
	}{
		{"127.0.0.1:8080", 200, "collect POST 127.0.0.1:8080/a?b=c body"},
		{"localhost", 200, "collect POST localhost/a?b=c body"},
		{"laptop.lan:8080", 200, "collect POST laptop.lan:8080/a?b=c body"},
		{"collect.millrace.example.com", 200, "collect POST collect.millrace.example.com/a?b=c body"},
		{"Collect.Millrace.svc.cluster.local:80", 200, "collect POST Collect.Millrace.svc.cluster.local:80/a?b=c body"},
		{"enrich.millrace.example.com", 404, `no public function is "enrich.millrace.example.com"; there are: collect.millrace.example.com` + "\n"},
		{"enrich.millrace.svc.cluster.local", 404, `no public function is "enrich.millrace.svc.cluster.local"; there are: collect.millrace.example.com` + "\n"},
		{"colect.millrace.example.com", 404, `no public function is "colect.millrace.example.com"; there are: collect.millrace.example.com` + "\n"},
	} {
		if status, body := ask(t, router().Public(), test.host, "/a?b=c"); status != test.status || body != test.body {
			t.Errorf("%s: got %d %q, want %d %q", test.host, status, body, test.status, test.body)
		}
	}
}

// With two public functions a request without a name must not reach one of them by chance.
func TestNoDefaultAmongTwo(t *testing.T) {
	r := New(slog.New(slog.DiscardHandler),
		Route{Key: manifest.Key{Namespace: "m", Name: "a"}, Public: true, Transport: function{}},
		Route{Key: manifest.Key{Namespace: "m", Name: "b"}, Public: true, Transport: function{}})
	if status, body := ask(t, r.Public(), "localhost", "/"); status != 404 || !strings.Contains(body, "a.m.example.com, b.m.example.com") {
		t.Errorf("got %d %s", status, body)
	}
}

// What a process sends by HTTP_PROXY to a name in the cluster must reach the function, a Broker's ingress or the world outside, and a
// misspelt name must not leave this machine.
func TestInternal(t *testing.T) {
	r := router()
	r.Handle("ingress.knative-eventing.svc.cluster.local", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ingress") }))
	server := httptest.NewServer(r.Internal(function{name: "outside"}))
	defer server.Close()
	proxy, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}}
	for address, want := range map[string]string{
		"http://enrich.millrace.svc.cluster.local/x":              "200 enrich POST enrich.millrace.svc.cluster.local/x body",
		"http://collect.millrace/x":                               "200 collect POST collect.millrace/x body",
		"http://ingress.knative-eventing.svc.cluster.local/m/raw": "200 ingress",
		"http://example.com/x":                                    "200 outside POST example.com/x body",
		"http://enrihc.millrace.svc.cluster.local/x":              "404 \"enrihc.millrace.svc.cluster.local\" is no function here\n",
		"http://a.b.svc.cluster.local/x":                          "404 \"a.b.svc.cluster.local\" is no function here\n",
	} {
		resp, err := client.Post(address, "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if got := fmt.Sprintf("%d %s", resp.StatusCode, body); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", address, got, err, want)
		}
	}
}

// Event delivery goes by URLs of manifests: a wrong one must be an error of ours, not a request to the DNS.
func TestTransport(t *testing.T) {
	transport := router().Transport(function{name: "outside"})
	for address, want := range map[string]string{
		"http://enrich.millrace.svc.cluster.local/x": "enrich",
		"http://example.com":                         "outside",
		"http://enrihc.millrace.svc.cluster.local/":  `"enrihc.millrace.svc.cluster.local" is no function here`,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if resp, err := transport.RoundTrip(req); err != nil {
			got = err.Error()
		} else {
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			got, _, _ = strings.Cut(string(body), " ")
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
}

// Each failure of a function must be a failure to the caller, with the status that tells it when to try again.
func TestFailures(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
	}{
		{process.ErrStopping, 503},
		{fmt.Errorf("function f: %w", process.ErrTimeout), 504},
		{&process.ExitError{Function: "f"}, 502},
		{errors.New("connection reset"), 502},
	} {
		r := New(slog.New(slog.DiscardHandler), Route{Key: manifest.Key{Namespace: "m", Name: "f"}, Public: true, Transport: function{err: test.err}})
		if status, body := ask(t, r.Public(), "localhost", "/"); status != test.status || !strings.Contains(body, test.err.Error()) {
			t.Errorf("%v: got %d %s", test.err, status, body)
		}
	}
}

// A body that is cut within must reach the caller as a failure, never as a short answer.
func TestCutBodyIsAFailure(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "half of ")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer backend.Close()
	to := transportFunc(func(req *http.Request) (*http.Response, error) {
		out := req.Clone(req.Context())
		out.URL.Host = strings.TrimPrefix(backend.URL, "http://")
		return http.DefaultTransport.RoundTrip(out)
	})
	server := httptest.NewServer(New(slog.New(slog.DiscardHandler), Route{Key: manifest.Key{Namespace: "m", Name: "f"}, Public: true, Transport: to}).Public())
	defer server.Close()
	resp, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the caller read %q without an error", body)
	}
}

// Do must reach exactly the function that was meant.
func TestDo(t *testing.T) {
	req := httptest.NewRequest(http.MethodPost, "http://anything/drain?x=1", strings.NewReader("body"))
	resp, err := router().Do(context.Background(), manifest.Key{Namespace: "millrace", Name: "enrich"}, req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "enrich POST enrich.millrace.svc.cluster.local/drain?x=1 body" {
		t.Errorf("got %q", body)
	}
	var unknown *UnknownError
	if _, err := router().Do(context.Background(), manifest.Key{Namespace: "millrace", Name: "x"}, req); !errors.As(err, &unknown) {
		t.Errorf("got %v", err)
	}
}
