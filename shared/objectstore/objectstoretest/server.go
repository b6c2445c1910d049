// Package objectstoretest holds the conformance suite that every object store must pass (Run) and an S3 server in the
// process that can be told to fail (Server).
//
// Server speaks the part of S3 that package objectstore uses, keeps objects in memory, and checks the body's SHA-256. It
// does not check signatures and knows no multipart uploads, versions or ACLs.
package objectstoretest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"millrace/shared/objectstore"
)

// Fault is what the server does to a request instead of serving it as it should.
type Fault int

const (
	// Serve serves the request.
	Serve Fault = iota
	// Refuse answers 503 and does nothing.
	Refuse
	// WriteThenFail serves the request and answers 503 all the same.
	WriteThenFail
	// WriteThenCut serves the request and cuts the connection in place of an answer.
	WriteThenCut
	// Cut cuts the connection and does nothing.
	Cut
	// Full answers as MinIO does where its disk is full, and does nothing.
	Full
	// Hang does nothing and answers nothing until the client is gone.
	Hang
)

// Server is an S3 server in the process. It is safe for concurrent use.
type Server struct {
	*httptest.Server
	mu sync.Mutex
	// fault decides about each request.
	fault func(method, bucket, key string) Fault
	// cut says after how many bytes an answer is cut.
	cut func(key string, size int) int
	// unconditional makes the server ignore If-None-Match.
	unconditional bool
	buckets       map[string]map[string]object
	requests      map[string]int
	clock         func() time.Time
}

type object struct {
	body     []byte
	modified time.Time
}

// NewServer starts a server with the buckets named; Close ends it.
func NewServer(buckets ...string) *Server {
	s := &Server{buckets: map[string]map[string]object{}, requests: map[string]int{}, clock: time.Now}
	for _, b := range buckets {
		s.buckets[b] = map[string]object{}
	}
	s.Server = httptest.NewServer(s)
	return s
}

// Fail lets f decide about every request from now on; nil serves them all. f runs under the server's lock.
func (s *Server) Fail(f func(method, bucket, key string) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// CutBodies lets f decide after how many bytes of an answer to a GET the connection is cut from now on; size is the answer's, and to return it serves it whole, as does nil for f. f runs under the server's lock.
func (s *Server) CutBodies(f func(key string, size int) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = f
}

// IgnoreConditions makes the server ignore If-None-Match, as some stores do.
func (s *Server) IgnoreConditions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unconditional = true
}

// Clock makes the server date what is written from now on by f.
func (s *Server) Clock(f func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = f
}

// Config returns the configuration with which objectstore.Open reaches the bucket; each operation is sent at most
// attempts times.
func (s *Server) Config(bucket string, attempts int) objectstore.Config {
	return objectstore.Config{
		Endpoint: s.URL, Region: "us-east-1", AccessKey: "key", SecretKey: "secret", Bucket: bucket, Attempts: attempts,
		Transport: &http.Transport{DisableKeepAlives: true}, // a cut answer is then never taken for a stale connection
	}
}

// Objects returns a copy of the bucket's objects by key.
func (s *Server) Objects(bucket string) map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]byte{}
	for k, o := range s.buckets[bucket] {
		out[k] = bytes.Clone(o.body)
	}
	return out
}

// Requests returns how many requests with the method came so far.
func (s *Server) Requests(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[method]
}

// ServeHTTP serves one S3 request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[r.Method]++
	fault := Serve
	if s.fault != nil {
		fault = s.fault(r.Method, bucket, key)
	}
	switch fault {
	case Refuse:
		fail(w, http.StatusServiceUnavailable, "SlowDown")
	case Full:
		fail(w, http.StatusInsufficientStorage, "XMinioStorageFull")
	case Cut:
		panic(http.ErrAbortHandler)
	case Hang:
		s.mu.Unlock()
		<-r.Context().Done()
		s.mu.Lock()
	case WriteThenFail:
		s.serve(httptest.NewRecorder(), r, bucket, key, body)
		fail(w, http.StatusServiceUnavailable, "SlowDown")
	case WriteThenCut:
		s.serve(httptest.NewRecorder(), r, bucket, key, body)
		panic(http.ErrAbortHandler)
	default:
		s.serve(w, r, bucket, key, body)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, bucket, key string, body []byte) {
	objects, ok := s.buckets[bucket]
	if !ok && (r.Method != http.MethodPut || key != "") {
		fail(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	o, found := objects[key]
	switch {
	case r.Method == http.MethodPut && key == "":
		if !ok {
			s.buckets[bucket] = map[string]object{}
		}
	case key == "" && r.Method == http.MethodHead:
	case key == "" && r.Method == http.MethodGet:
		list(w, r, bucket, objects)
	case r.Method == http.MethodPut:
		sum := sha256.Sum256(body)
		if r.Header.Get("X-Amz-Content-Sha256") != hex.EncodeToString(sum[:]) {
			fail(w, http.StatusBadRequest, "XAmzContentSHA256Mismatch")
			return
		}
		if r.Header.Get("If-None-Match") == "*" && found && !s.unconditional {
			fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
			return
		}
		objects[key] = object{body: body, modified: s.clock()}
		w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	case r.Method == http.MethodDelete:
		delete(objects, key)
		w.WriteHeader(http.StatusNoContent)
	case !found:
		fail(w, http.StatusNotFound, "NoSuchKey")
	default: // GET, HEAD
		sum := sha256.Sum256(o.body)
		w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
		w.Header().Set("Content-Type", "application/octet-stream")
		answer := w
		var rec *httptest.ResponseRecorder
		if s.cut != nil {
			rec = httptest.NewRecorder()
			maps.Copy(rec.Header(), w.Header())
			answer = rec
		}
		http.ServeContent(answer, r, "", o.modified, bytes.NewReader(o.body))
		if rec == nil {
			return
		}
		n := s.cut(key, rec.Body.Len())
		maps.Copy(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()[:n]) // the client is gone
		if n == rec.Body.Len() {
			return
		}
		panic(http.ErrAbortHandler)
	}
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName       xml.Name `xml:"Error"`
		Code, Message string
	}{Code: code, Message: code})
}

func list(w http.ResponseWriter, r *http.Request, bucket string, objects map[string]object) {
	type content struct {
		Key          string
		LastModified string
		Size         int
	}
	q := r.URL.Query()
	after := max(q.Get("start-after"), q.Get("continuation-token"))
	limit, err := strconv.Atoi(q.Get("max-keys"))
	if err != nil || limit > objectstore.MaxList {
		limit = objectstore.MaxList
	}
	res := struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		Name, Prefix          string
		KeyCount, MaxKeys     int
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []content
	}{Name: bucket, Prefix: q.Get("prefix"), MaxKeys: limit}
	var keys []string
	for k := range objects {
		if strings.HasPrefix(k, res.Prefix) && k > after {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	if len(keys) > limit {
		keys, res.IsTruncated, res.NextContinuationToken = keys[:limit], true, keys[limit-1]
	}
	for _, k := range keys {
		res.Contents = append(res.Contents, content{k, objects[k].modified.UTC().Format("2006-01-02T15:04:05.000Z"), len(objects[k].body)})
	}
	res.KeyCount = len(keys)
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(res)
}
