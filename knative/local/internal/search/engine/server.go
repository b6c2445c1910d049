package engine

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	clusterName = "millrace-local"
	nodeID      = "embedded"
	version     = "8.19.7"
)

// Server answers the subset. It is safe for concurrent use.
type Server struct {
	store   *store
	maxBody int64
	memory  *semaphore.Weighted
	now     func() time.Time
}

// Option changes a Server.
type Option func(*Server)

// WithMaxBody sets the largest request body in bytes, after decompression; the default is 100 MiB, as Elasticsearch's
// http.max_content_length. A larger one is answered 413.
func WithMaxBody(bytes int64) Option { return func(s *Server) { s.maxBody = bytes } }

// WithClock sets the clock that date math and creation dates go by; the default is time.Now.
func WithClock(now func() time.Time) Option { return func(s *Server) { s.now = now } }

// New returns a server on what is stored, which is its own from now on, also where it fails: it closes it.
func New(rows Storage, opts ...Option) (*Server, error) {
	s := &Server{maxBody: 100 << 20, now: time.Now}
	for _, o := range opts {
		o(s)
	}
	// Bodies in memory at any time: one of the largest, or many small ones.
	s.memory = semaphore.NewWeighted(s.maxBody + 1)
	st, err := openStore(context.Background(), rows, s.now)
	if err != nil {
		return nil, errors.Join(err, rows.Close())
	}
	s.store = st
	return s, nil
}

// Close closes the data. Requests still running fail.
func (s *Server) Close() error { return s.store.close() }

func (s *Server) replicas() func(string) int {
	c := s.store.catalog.Load()
	return func(name string) int {
		if ix := c.indices[name]; ix != nil {
			return ix.settings.replicas()
		}
		return 0
	}
}

// request is one HTTP request taken apart.
type request struct {
	http   *http.Request
	path   map[string]string
	query  url.Values
	body   string
	status int // of a success; 200 where zero
}

func (r *request) ctx() context.Context       { return r.http.Context() }
func (r *request) segment(name string) string { return r.path[name] }

func (r *request) flag(name string, otherwise bool) (bool, error) {
	if !r.query.Has(name) {
		return otherwise, nil
	}
	switch r.query.Get(name) {
	case "", "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, illegal("Failed to parse value [%s] as only [true] or [false] are allowed.", r.query.Get(name))
}

func (r *request) refreshParam() error {
	switch v := r.query.Get("refresh"); v {
	case "", "true", "false", "wait_for":
		return nil
	default:
		return illegal("Unknown value for refresh: [%s].", v)
	}
}

func (r *request) forcesRefresh() bool {
	v := r.query.Get("refresh")
	return r.query.Has("refresh") && (v == "" || v == "true")
}

// json parses the body; nil where there is none.
func (r *request) json() (*node, error) {
	if strings.TrimSpace(r.body) == "" {
		return nil, nil
	}
	n, err := parseJSON(r.body)
	if err != nil {
		return nil, syntax(err)
	}
	return &n, nil
}

// route is one endpoint: {name} in the path matches a segment.
type route struct {
	methods string
	path    string
	params  []string
	handle  func(*Server, *request) (any, error)
}

var (
	expand       = []string{"ignore_unavailable", "allow_no_indices", "expand_wildcards"}
	writeParams  = []string{"refresh", "timeout", "wait_for_active_shards", "version", "version_type", "if_seq_no", "if_primary_term", "op_type", "require_alias"}
	getParams    = []string{"_source", "_source_includes", "_source_excludes", "realtime", "refresh"}
	searchParams = append([]string{"q", "df", "default_operator", "analyze_wildcard", "lenient", "from", "size", "sort", "track_total_hits", "timeout", "version", "seq_no_primary_term", "request_cache", "rest_total_hits_as_int", "_source", "_source_includes", "_source_excludes"}, expand...)
	master       = []string{"master_timeout", "timeout"}
)

var routes []route

func init() { //nolint:gochecknoinits // the table refers to handlers that refer to the table
	routes = []route{
		{"GET HEAD", "/", nil, (*Server).info},
		{"POST PUT", "/_bulk", []string{"refresh", "timeout", "wait_for_active_shards", "require_alias"}, (*Server).bulk},
		{"POST PUT", "/{index}/_bulk", []string{"refresh", "timeout", "wait_for_active_shards", "require_alias"}, (*Server).bulk},
		{"GET POST", "/_search", searchParams, (*Server).search},
		{"GET POST", "/{index}/_search", searchParams, (*Server).search},
		{"GET POST", "/_count", append([]string{"q", "df", "default_operator"}, expand...), (*Server).count},
		{"GET POST", "/{index}/_count", append([]string{"q", "df", "default_operator"}, expand...), (*Server).count},
		{"GET POST", "/_mget", getParams, (*Server).mget},
		{"GET POST", "/{index}/_mget", getParams, (*Server).mget},
		{"GET POST", "/_refresh", expand, (*Server).refresh},
		{"GET POST", "/{index}/_refresh", expand, (*Server).refresh},
		{"GET", "/_mapping", append(expand, master...), (*Server).getMapping},
		{"GET", "/{index}/_mapping", append(expand, master...), (*Server).getMapping},
		{"PUT POST", "/{index}/_mapping", append(expand, master...), (*Server).putMapping},
		{"GET", "/{index}/_settings", append([]string{"flat_settings"}, expand...), (*Server).getSettings},
		{"PUT POST", "/_index_template/{name}", append([]string{"create", "cause"}, master...), (*Server).putTemplate},
		{"GET HEAD", "/_index_template/{name}", append([]string{"local"}, master...), (*Server).getTemplate},
		{"GET HEAD", "/_index_template", append([]string{"local"}, master...), (*Server).getTemplate},
		{"DELETE", "/_index_template/{name}", master, (*Server).deleteTemplate},
		{"GET", "/_cat/indices", append([]string{"format", "h", "v", "s", "bytes"}, expand...), (*Server).catIndices},
		{"GET", "/_cat/indices/{index}", append([]string{"format", "h", "v", "s", "bytes"}, expand...), (*Server).catIndices},
		{"GET", "/_cluster/health", append([]string{"wait_for_status", "level", "wait_for_no_relocating_shards"}, master...), (*Server).health},
		{"GET", "/_cluster/health/{index}", append([]string{"wait_for_status", "level", "wait_for_no_relocating_shards"}, master...), (*Server).health},
		{"GET", "/{index}/_doc/{id}", append([]string{"version", "version_type"}, getParams...), (*Server).getDoc},
		{"HEAD", "/{index}/_doc/{id}", getParams, (*Server).getDoc},
		{"GET HEAD", "/{index}/_source/{id}", getParams, (*Server).getSource},
		{"PUT POST", "/{index}/_doc/{id}", writeParams, (*Server).putDoc},
		{"POST", "/{index}/_doc", writeParams, (*Server).putDoc},
		{"PUT POST", "/{index}/_create/{id}", []string{"refresh", "timeout", "wait_for_active_shards", "require_alias", "version", "version_type"}, (*Server).createDoc},
		{"DELETE", "/{index}/_doc/{id}", []string{"refresh", "timeout", "wait_for_active_shards", "version", "version_type", "if_seq_no", "if_primary_term"}, (*Server).deleteDoc},
		{"PUT", "/{index}", append([]string{"wait_for_active_shards"}, master...), (*Server).createIndex},
		{"GET HEAD", "/{index}", append([]string{"flat_settings", "include_defaults", "local"}, append(expand, master...)...), (*Server).getIndex},
		{"DELETE", "/{index}", append(expand, master...), (*Server).deleteIndex},
	}
}

// everywhere lists parameters that every endpoint takes.
var everywhere = []string{"pretty", "human", "error_trace", "filter_path"}

// match compares a route's path with a request's segments.
func (rt *route) match(segments []string) (map[string]string, bool) {
	want := strings.Split(strings.Trim(rt.path, "/"), "/")
	if len(want) != len(segments) {
		return nil, false
	}
	vars := map[string]string{}
	for i, w := range want {
		switch {
		case strings.HasPrefix(w, "{"):
			if segments[i] == "" || i == 0 && strings.HasPrefix(segments[i], "_") && segments[i] != "_all" {
				return nil, false
			}
			vars[w[1:len(w)-1]] = segments[i]
		case w != segments[i]:
			return nil, false
		}
	}
	return vars, true
}

// ServeHTTP answers one request. What is unknown is refused with 400 in Elasticsearch's shape, a known path with a wrong method with 405.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	r := &request{http: hr, query: hr.URL.Query()}
	out, err := s.serve(hr.Context(), w, r)
	if err != nil {
		a := asAPI(err)
		if a.status >= http.StatusInternalServerError {
			slog.ErrorContext(hr.Context(), "search request failed", "method", hr.Method, "path", hr.URL.Path, "error", err)
		}
		r.status, out = a.status, a.body()
	}
	s.respond(hr.Context(), w, r, out)
}

func (s *Server) serve(ctx context.Context, w http.ResponseWriter, r *request) (any, error) {
	path := strings.Trim(r.http.URL.EscapedPath(), "/")
	segments := strings.Split(path, "/")
	for i := range segments {
		v, err := url.PathUnescape(segments[i])
		if err != nil {
			return nil, illegal("malformed path: %s", err)
		}
		segments[i] = v
	}
	var allowed []string
	var found *route
	for i := range routes {
		rt := &routes[i]
		vars, ok := rt.match(segments)
		if !ok {
			continue
		}
		methods := strings.Fields(rt.methods)
		if slices.Contains(methods, r.http.Method) {
			found, r.path = rt, vars
			break
		}
		allowed = append(allowed, methods...)
	}
	if found == nil {
		if len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ","))
			return nil, &apiError{status: http.StatusMethodNotAllowed, plain: true, reason: fmt.Sprintf("Incorrect HTTP method for uri [%s] and method [%s], allowed: [%s]", r.http.URL.RequestURI(), r.http.Method, strings.Join(allowed, ", "))}
		}
		return nil, &apiError{status: http.StatusBadRequest, plain: true, reason: fmt.Sprintf("no handler found for uri [%s] and method [%s]", r.http.URL.RequestURI(), r.http.Method)}
	}
	var unknown []string
	for name := range r.query {
		if !slices.Contains(found.params, name) && !slices.Contains(everywhere, name) {
			unknown = append(unknown, "["+name+"]")
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		noun := "parameter: "
		if len(unknown) > 1 {
			noun = "parameters: "
		}
		return nil, illegal("request [%s] contains unrecognized %s%s", r.http.URL.Path, noun, strings.Join(unknown, ", "))
	}
	release, err := s.readBody(ctx, r)
	defer release()
	if err != nil {
		return nil, err
	}
	return found.handle(s, r)
}

// readBody reads a body within the limits. Waiting requests cost nothing: memory is taken before a body is read.
func (s *Server) readBody(ctx context.Context, r *request) (release func(), err error) {
	release = func() {}
	if r.http.Body == nil || r.http.ContentLength == 0 {
		return release, nil
	}
	tooLarge := func() error {
		return &apiError{status: http.StatusRequestEntityTooLarge, plain: true, reason: fmt.Sprintf("request body is larger than %d bytes", s.maxBody)}
	}
	if r.http.ContentLength > s.maxBody {
		return release, tooLarge()
	}
	weight := r.http.ContentLength
	gzipped := r.http.Header.Get("Content-Encoding") == "gzip"
	if weight < 0 || gzipped {
		weight = s.maxBody
	}
	if err := s.memory.Acquire(ctx, weight); err != nil {
		return release, err
	}
	release = func() { s.memory.Release(weight) }
	from := io.Reader(r.http.Body)
	if enc := r.http.Header.Get("Content-Encoding"); gzipped {
		z, err := gzip.NewReader(from)
		if err != nil {
			return release, illegal("body is not gzip: %s", err)
		}
		from = z
	} else if enc != "" && enc != "identity" {
		return release, unsupported("Content-Encoding [%s]", enc)
	}
	var b strings.Builder
	if r.http.ContentLength > 0 && !gzipped {
		b.Grow(int(r.http.ContentLength))
	}
	n, err := io.Copy(&b, io.LimitReader(from, s.maxBody+1))
	if err != nil {
		return release, illegal("reading the body: %s", err)
	}
	if n > s.maxBody {
		return release, tooLarge()
	}
	r.body = b.String()
	if n > 0 {
		media, _, _ := strings.Cut(r.http.Header.Get("Content-Type"), ";")
		switch strings.TrimSpace(media) {
		case "application/json", "application/x-ndjson", "application/vnd.elasticsearch+json", "application/vnd.elasticsearch+x-ndjson":
		default:
			return release, &apiError{status: http.StatusNotAcceptable, plain: true, reason: fmt.Sprintf("Content-Type header [%s] is not supported", r.http.Header.Get("Content-Type"))}
		}
	}
	return release, nil
}

// text is an answer in plain text.
type text string

// raw is an answer that is JSON already.
type raw []byte

func (s *Server) respond(ctx context.Context, w http.ResponseWriter, r *request, out any) {
	status := r.status
	if status == 0 {
		status = http.StatusOK
	}
	if t, ok := out.(text); ok {
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, string(t)) // the client is gone
		return
	}
	body, err := s.marshal(r, out)
	if err != nil {
		slog.ErrorContext(ctx, "marshalling a search answer", "error", err)
		status, body = http.StatusInternalServerError, []byte(`{"error":"cannot marshal the answer","status":500}`)
	}
	contentType := "application/json"
	if strings.Contains(r.http.Header.Get("Accept"), "application/vnd.elasticsearch+json") {
		contentType = "application/vnd.elasticsearch+json;compatible-with=8"
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	if r.http.Method != http.MethodHead {
		_, _ = w.Write(body) // the client is gone
	}
}

func (s *Server) marshal(r *request, out any) ([]byte, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if r.query.Has("pretty") && r.query.Get("pretty") != "false" {
		e.SetIndent("", "  ")
	}
	if bytes, ok := out.(raw); ok {
		return bytes, nil
	}
	if p := r.query.Get("filter_path"); p != "" {
		body, err := json.Marshal(out)
		if err != nil {
			return nil, err
		}
		n, err := parseJSON(string(body))
		if err != nil {
			return nil, err
		}
		out = filterPaths(&n, strings.Split(p, ","))
	}
	if err := e.Encode(out); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

// filterPaths keeps what filter_path names: a.b, * within a name, ** for any depth; -a.b leaves out.
func filterPaths(n *node, paths []string) any {
	var keep, drop [][]string
	for _, p := range paths {
		if rest, ok := strings.CutPrefix(p, "-"); ok {
			drop = append(drop, strings.Split(rest, "."))
		} else {
			keep = append(keep, strings.Split(p, "."))
		}
	}
	out, ok := filterNode(n, keep, drop, len(keep) == 0)
	if !ok {
		return map[string]any{}
	}
	return out
}

// step advances patterns by one name; done says that one of them ends here.
func step(patterns [][]string, name string) (rest [][]string, done bool) {
	for _, p := range patterns {
		if p[0] == "**" {
			rest = append(rest, p)
			if len(p) == 1 {
				done = true
				continue
			}
			p = p[1:]
		}
		if globMatch(p[0], name) {
			if len(p) == 1 {
				done = true
			} else {
				rest = append(rest, p[1:])
			}
		}
	}
	return rest, done
}

func filterNode(n *node, keep, drop [][]string, all bool) (any, bool) {
	switch n.kind {
	case kindObject:
		out := map[string]any{}
		for i := range n.fields {
			k := n.fields[i].key
			below, gone := step(drop, k)
			if gone {
				continue
			}
			next, whole := step(keep, k)
			if !all && !whole && len(next) == 0 {
				continue
			}
			if v, ok := filterNode(&n.fields[i].val, next, below, all || whole); ok {
				out[k] = v
			}
		}
		return out, all || len(out) > 0
	case kindArray:
		out := []any{}
		for i := range n.items {
			if v, ok := filterNode(&n.items[i], keep, drop, all); ok {
				out = append(out, v)
			}
		}
		return out, all || len(out) > 0
	case kindNull, kindBool, kindNumber, kindString:
	}
	return n.any(), all
}

func ipString(s string) string {
	a, ok := netip.AddrFromSlice([]byte(s))
	if !ok {
		return ""
	}
	return a.Unmap().String()
}
