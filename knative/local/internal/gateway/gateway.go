// Package gateway routes requests to functions by the Host header, as Knative's ingress and a cluster's DNS do.
//
// There are two ways in. Public is for the listener that users have: it reaches public functions only. Internal is for the
// functions themselves and for event delivery: it reaches all of them, by NAME.NAMESPACE.svc.cluster.local, and other
// handlers such as a Broker's ingress; as it is an HTTP proxy too, a process needs only HTTP_PROXY to use the very URLs that its
// manifest has.
//
// It guarantees that the caller gets the function's whole answer or sees a failure: 502 or 503 where no answer began, 504 where
// none began in time, an aborted body where it was cut within. It retries nothing, and does no TLS.
package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"millrace/knative/local/internal/manifest"
	"millrace/knative/local/internal/process"
)

// clusterDomain ends the name that a Service has within a cluster.
const clusterDomain = ".svc.cluster.local"

// Route is one function. Transport is called concurrently, returns when the answer begins, and its errors are those of
// [process.Function.RoundTrip].
type Route struct {
	Key       manifest.Key
	Public    bool
	Transport http.RoundTripper
}

// Router knows the functions. It is safe for concurrent use once all routes and handlers are there.
type Router struct {
	log        *slog.Logger
	routes     map[manifest.Key]*route
	namespaces map[string]bool
	public     []*route
	hosts      map[string]http.Handler
}

type route struct {
	Route
	handler http.Handler
}

// New returns a Router to these functions.
func New(log *slog.Logger, routes ...Route) *Router {
	r := &Router{log: log, routes: map[manifest.Key]*route{}, namespaces: map[string]bool{}, hosts: map[string]http.Handler{}}
	for _, one := range routes {
		entry := &route{Route: one}
		entry.handler = r.proxy(one)
		r.routes[one.Key] = entry
		r.namespaces[one.Key.Namespace] = true
		if one.Public {
			r.public = append(r.public, entry)
		}
	}
	return r
}

// Handle gives requests on the internal way to host, such as kafka-broker-ingress.knative-eventing.svc.cluster.local, to handler.
// It must not be called after the first request.
func (r *Router) Handle(host string, handler http.Handler) { r.hosts[host] = handler }

// copyBuffers saves the 32 KiB that every answer would allocate on its way through a proxy.
var copyBuffers = bufferPool{&sync.Pool{New: func() any { return new([32 << 10]byte) }}}

type bufferPool struct{ pool *sync.Pool }

func (p bufferPool) Get() []byte  { return p.pool.Get().(*[32 << 10]byte)[:] }
func (p bufferPool) Put(b []byte) { p.pool.Put((*[32 << 10]byte)(b)) }

// proxy returns the handler that passes requests to a function.
func (r *Router) proxy(to Route) http.Handler {
	return &httputil.ReverseProxy{
		Transport:  to.Transport, // answers without a length stream; the others go in one piece
		BufferPool: copyBuffers,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", p.In.Host
			p.Out.Host = p.In.Host
			p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
			p.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, req *http.Request, err error) {
			if req.Context().Err() != nil {
				// The caller is gone; nobody reads an answer.
				panic(http.ErrAbortHandler)
			}
			status := Status(err)
			r.log.Warn("request failed", "function", to.Key.Name, "method", req.Method, "path", req.URL.Path, "status", status, "error", err)
			if status == http.StatusServiceUnavailable {
				w.Header().Set("Retry-After", "1")
			}
			http.Error(w, err.Error(), status)
		},
		ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelWarn),
	}
}

// Status is the HTTP status for an error of a function's Transport.
func Status(err error) int {
	switch {
	case errors.Is(err, process.ErrStopping):
		return http.StatusServiceUnavailable
	case errors.Is(err, process.ErrTimeout):
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// find returns the function that host names as NAME.NAMESPACE or NAME.NAMESPACE.anything, nil where there is none; named says that
// host has this form for one of our namespaces.
func (r *Router) find(host string) (found *route, named bool) {
	labels := strings.SplitN(strings.ToLower(hostname(host)), ".", 3)
	if len(labels) < 2 {
		return nil, false
	}
	return r.routes[manifest.Key{Namespace: labels[1], Name: labels[0]}], r.namespaces[labels[1]]
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// Public returns the handler of the public listener: NAME.NAMESPACE.* is a public function, any other Host the one public
// function there is. A function of the cluster alone is 404, as on a cluster.
func (r *Router) Public() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		to, named := r.find(req.Host)
		if to == nil && !named && len(r.public) == 1 {
			to = r.public[0]
		}
		if to == nil || !to.Public {
			http.Error(w, fmt.Sprintf("no public function is %q; there are: %s", req.Host, r.publicHosts()), http.StatusNotFound)
			return
		}
		to.handler.ServeHTTP(w, req)
	})
}

func (r *Router) publicHosts() string {
	hosts := make([]string, len(r.public))
	for i, to := range r.public {
		hosts[i] = to.Key.Name + "." + to.Key.Namespace + ".example.com"
	}
	slices.Sort(hosts)
	return strings.Join(hosts, ", ")
}

// Internal returns the handler of the listener for functions: the hosts of Handle, and every function by its name in the
// cluster. Requests for other hosts in a proxy's form (GET http://host/path) are sent on by forward, which may be nil for none.
func (r *Router) Internal(forward http.RoundTripper) http.Handler {
	var onward http.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.Error(w, fmt.Sprintf("%q is no function here", req.Host), http.StatusNotFound)
	})
	if forward != nil {
		onward = &httputil.ReverseProxy{
			Transport: forward, BufferPool: copyBuffers, Rewrite: func(*httputil.ProxyRequest) {},
			ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelWarn),
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		host := hostname(req.Host)
		if handler, ok := r.hosts[host]; ok {
			handler.ServeHTTP(w, req)
			return
		}
		to, named := r.find(host)
		switch {
		case to != nil:
			to.handler.ServeHTTP(w, req)
		case !named && req.URL.IsAbs() && !strings.HasSuffix(host, clusterDomain):
			onward.ServeHTTP(w, req)
		default:
			http.Error(w, fmt.Sprintf("%q is no function here", req.Host), http.StatusNotFound)
		}
	})
}

// UnknownError says that a URL in the cluster's domain names nothing that runs here.
type UnknownError struct{ Host string }

// Error implements error.
func (e *UnknownError) Error() string { return fmt.Sprintf("%q is no function here", e.Host) }

// Transport returns a RoundTripper for URLs as they stand in manifests: those of functions, and of hosts given to Handle, go to them without a connection of our
// own, all others to forward. A handler's answer is gathered before it is returned. A Host header that differs from the URL is passed on but does not route.
func (r *Router) Transport(forward http.RoundTripper) http.RoundTripper {
	return transportFunc(func(req *http.Request) (*http.Response, error) {
		host := req.URL.Hostname()
		to, named := r.find(host)
		switch {
		case to != nil:
			return to.Transport.RoundTrip(req)
		case r.hosts[host] != nil:
			return answer(r.hosts[host], req), nil
		case named || strings.HasSuffix(host, clusterDomain):
			if req.Body != nil {
				_ = req.Body.Close() // RoundTrip's contract
			}
			return nil, &UnknownError{Host: host}
		}
		return forward.RoundTrip(req)
	})
}

// answer has the handler answer the request in memory.
func answer(handler http.Handler, req *http.Request) *http.Response {
	in := req.Clone(req.Context())
	in.RequestURI, in.Host = req.URL.RequestURI(), req.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	out := &gathered{header: http.Header{}}
	handler.ServeHTTP(out, in)
	_ = in.Body.Close() // RoundTrip's contract
	if out.status == 0 {
		out.status = http.StatusOK
	}
	return &http.Response{
		Status: strconv.Itoa(out.status) + " " + http.StatusText(out.status), StatusCode: out.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: out.header, Body: io.NopCloser(&out.body), ContentLength: int64(out.body.Len()), Request: req,
	}
}

// gathered is an answer in memory.
type gathered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (g *gathered) Header() http.Header { return g.header }

// WriteHeader implements http.ResponseWriter.
func (g *gathered) WriteHeader(status int) {
	if g.status == 0 {
		g.status = status
	}
}

// Write implements http.ResponseWriter.
func (g *gathered) Write(b []byte) (int, error) {
	g.WriteHeader(http.StatusOK)
	return g.body.Write(b)
}

type transportFunc func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f transportFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// Do sends a request to a function; of its URL path and query count. See [process.Function.RoundTrip] for what it returns.
func (r *Router) Do(ctx context.Context, key manifest.Key, req *http.Request) (*http.Response, error) {
	host := key.Name + "." + key.Namespace + clusterDomain
	to, ok := r.routes[key]
	if !ok {
		return nil, &UnknownError{Host: host}
	}
	out := req.Clone(ctx)
	out.URL.Scheme, out.URL.Host, out.Host = "http", host, host
	return to.Transport.RoundTrip(out)
}

// URL is the address of a function within the cluster.
func URL(key manifest.Key, path string) *url.URL {
	return &url.URL{Scheme: "http", Host: key.Name + "." + key.Namespace + clusterDomain, Path: path}
}
