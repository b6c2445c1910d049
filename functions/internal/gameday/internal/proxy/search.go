package proxy

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Verdict is what is done with one document of a _bulk request.
type Verdict int

// What is done with a document.
const (
	Through Verdict = iota // Elasticsearch decides
	Full                   // refused as by a queue that is full: it may pass later
	Never                  // refused for what it holds
)

// Search is an HTTP proxy for Elasticsearch. It is safe for concurrent use.
type Search struct {
	address string
	server  *http.Server
	pass    *httputil.ReverseProxy
	status  atomic.Int64 // answers everything where it is not 0
	judge   atomic.Pointer[func(id string) Verdict]
	done    chan struct{}

	// Full and Never count documents by verdict, Answered whole requests, Away those that found no Elasticsearch or lost it; Seen is for judges.
	Full, Never, Answered, Away, Seen atomic.Int64
}

// Forget sets all counts to 0.
func (s *Search) Forget() {
	for _, n := range []*atomic.Int64{&s.Full, &s.Never, &s.Answered, &s.Away, &s.Seen} {
		n.Store(0)
	}
}

// NewSearch listens on a free port of loopback and passes requests to target, host:port. Close must follow.
func NewSearch(ctx context.Context, target string) (*Search, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy of Elasticsearch: %w", err)
	}
	s := &Search{address: l.Addr().String(), done: make(chan struct{})}
	to := &url.URL{Scheme: "http", Host: target}
	s.pass = &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		// A server that is away shows as a broken connection, not as a gateway's answer.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			s.Away.Add(1)
			panic(http.ErrAbortHandler)
		},
	}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(l) // it ends by Close
	}()
	return s, nil
}

// Address is where clients connect to.
func (s *Search) Address() string { return s.address }

// Answer makes every request be answered by the status, without Elasticsearch; 0 ends that.
func (s *Search) Answer(status int) { s.status.Store(int64(status)) }

// Judge makes judge decide about each document of _bulk requests, by its _id; nil ends that. It is called concurrently.
func (s *Search) Judge(judge func(id string) Verdict) {
	if judge == nil {
		s.judge.Store(nil)
		return
	}
	s.judge.Store(&judge)
}

// Close ends the proxy.
func (s *Search) Close() error {
	err := s.server.Close()
	<-s.done
	return err
}

// ServeHTTP implements http.Handler.
func (s *Search) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if status := int(s.status.Load()); status != 0 {
		s.Answered.Add(1)
		_, _ = io.Copy(io.Discard, r.Body) // the answer is the same without it
		answer(w, status, []byte(`{"error":{"root_cause":[],"type":"es_rejected_execution_exception","reason":"rejected by the game day"},"status":`+strconv.Itoa(status)+`}`))
		return
	}
	judge := s.judge.Load()
	if judge == nil || !strings.HasSuffix(r.URL.Path, "/_bulk") {
		s.pass.ServeHTTP(w, r)
		return
	}
	if err := s.bulk(w, r, *judge); err != nil {
		panic(http.ErrAbortHandler) // the client sees a broken connection
	}
}

func answer(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever does not read it has gone
}

// action is the first of the two lines of a document.
type action map[string]struct {
	Index string `json:"_index"`
	ID    string `json:"_id"`
}

// bulk sends on what judge lets through, and puts its refusals into the answer.
func (s *Search) bulk(w http.ResponseWriter, r *http.Request, judge func(string) Verdict) error {
	body, err := read(r.Header, r.Body)
	if err != nil {
		return err
	}
	var passed bytes.Buffer
	var items []json.RawMessage // nil: Elasticsearch's
	for len(body) > 0 {
		head, rest, ok := bytes.Cut(body, []byte("\n"))
		doc, rest, more := bytes.Cut(rest, []byte("\n"))
		if !ok || !more {
			return errors.New("a _bulk request that does not end")
		}
		body = rest
		var a action
		if err := json.Unmarshal(head, &a); err != nil {
			return err
		}
		for op, on := range a {
			item := json.RawMessage(nil)
			switch judge(on.ID) {
			case Full:
				s.Full.Add(1)
				item = fmt.Appendf(nil, `{%q:{"_index":%q,"_id":%q,"status":429,"error":{"type":"es_rejected_execution_exception","reason":"rejected by the game day"}}}`, op, on.Index, on.ID)
			case Never:
				s.Never.Add(1)
				item = fmt.Appendf(nil, `{%q:{"_index":%q,"_id":%q,"status":400,"error":{"type":"document_parsing_exception","reason":"refused by the game day"}}}`, op, on.Index, on.ID)
			case Through:
				passed.Write(head)
				passed.WriteByte('\n')
				passed.Write(doc)
				passed.WriteByte('\n')
			}
			items = append(items, item)
		}
	}
	var got struct {
		Errors bool              `json:"errors"`
		Items  []json.RawMessage `json:"items"`
	}
	if passed.Len() > 0 {
		out := r.Clone(r.Context())
		out.RequestURI = ""
		out.URL.Scheme, out.URL.Host = "http", ""
		s.pass.Rewrite(&httputil.ProxyRequest{In: r, Out: out})
		out.Header.Del("Content-Encoding")
		out.Header.Del("Accept-Encoding")
		out.Body, out.ContentLength = io.NopCloser(&passed), int64(passed.Len())
		res, err := s.pass.Transport.RoundTrip(out)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(res.Body)
		if err = errors.Join(err, res.Body.Close()); err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK {
			answer(w, res.StatusCode, b)
			return nil
		}
		if err := json.Unmarshal(b, &got); err != nil {
			return err
		}
	}
	next := 0
	for i := range items {
		if items[i] != nil {
			got.Errors = true
			continue
		}
		if next == len(got.Items) {
			return errors.New("the _bulk answer has too few items")
		}
		items[i] = got.Items[next]
		next++
	}
	b, err := json.Marshal(map[string]any{"took": 1, "errors": got.Errors, "items": items})
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, b)
	return nil
}

// read returns a body, decompressed.
func read(h http.Header, body io.Reader) ([]byte, error) {
	if h.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		body = z
	}
	return io.ReadAll(body)
}
