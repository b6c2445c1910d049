package search_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"millrace/shared/search"
	"millrace/shared/search/searchtest"
)

// scanned answers as Elasticsearch does: a point in time, the pages, and the point's end, which it counts.
type scanned struct {
	pages       []string
	status      int // of the point, in place of 200
	body        string
	asked       []string
	ended, open int
}

func (s *scanned) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasSuffix(r.URL.Path, "/_pit") && r.Method == http.MethodPost:
		if s.status != 0 {
			w.WriteHeader(s.status)
			_, _ = io.WriteString(w, s.body)
			return
		}
		s.open++
		_, _ = io.WriteString(w, `{"id":"p1"}`)
	case r.URL.Path == "/_pit" && r.Method == http.MethodDelete:
		s.ended++
		_, _ = io.WriteString(w, `{"succeeded":true,"num_freed":1}`)
	default:
		s.asked = append(s.asked, string(body))
		_, _ = io.WriteString(w, s.pages[0])
		s.pages = s.pages[1:]
	}
}

func hits(first, n int) string {
	var b strings.Builder
	b.WriteString(`{"pit_id":"p2","timed_out":false,"_shards":{"failed":0},"hits":{"hits":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"_id":"id-%d","fields":{"data_hash":["h%d"]},"sort":[%d]}`, first+i, first+i, first+i)
	}
	return b.String() + `]}}`
}

// Guards reconcile against a part of the documents passing for all: each page begins behind the last, the point in time is given back, and an answer that is not whole is an error.
func TestScan(t *testing.T) {
	at := time.Date(2026, 11, 21, 10, 0, 0, 123_456_789, time.UTC)
	scan := func(s *scanned, f func(id, hash []byte) error) error {
		t.Helper()
		server := httptest.NewServer(s)
		defer server.Close()
		return searchtest.New(t, search.Options{URL: server.URL}).Scan(t.Context(), "i", at, at.Add(time.Hour), f)
	}
	s := &scanned{pages: []string{hits(0, 10_000), hits(10_000, 1)}}
	n := 0
	if err := scan(s, func(id, hash []byte) error {
		if string(id) != fmt.Sprintf("id-%d", n) || string(hash) != fmt.Sprintf("h%d", n) {
			t.Fatalf("document %d is %s %s", n, id, hash)
		}
		n++
		return nil
	}); err != nil || n != 10_001 || s.ended != 1 {
		t.Errorf("%d documents, %d points ended, %v", n, s.ended, err)
	}
	if !strings.Contains(s.asked[0], `"gte":"2026-11-21T10:00:00.123Z","lte":"2026-11-21T11:00:00.123Z"`) || strings.Contains(s.asked[0], "search_after") {
		t.Errorf("the first page: %s", s.asked[0])
	}
	if !strings.Contains(s.asked[1], `"search_after":[9999]`) || !strings.Contains(s.asked[1], `"p2"`) {
		t.Errorf("the second page: %s", s.asked[1])
	}

	s, n = &scanned{pages: []string{hits(0, 10_000), `{"pit_id":"p2","timed_out":false,"_shards":{"failed":0}}`}}, 0
	if err := scan(s, func(_, _ []byte) error { n++; return nil }); err != nil || n != 10_000 || len(s.asked) != 2 {
		t.Errorf("a last page that is full: %d documents, %d pages, %v", n, len(s.asked), err)
	}

	none := func(id, _ []byte) error { t.Errorf("document %s", id); return nil }
	if err := scan(&scanned{status: 404, body: `{"error":{"type":"index_not_found_exception"}}`}, none); err != nil {
		t.Errorf("no index: %v", err)
	}
	for status, body := range map[int]string{400: `{"error":{"type":"parsing_exception"}}`, 404: `not found`, 405: `{}`} {
		if err := scan(&scanned{status: status, body: body}, none); !errors.Is(err, search.ErrNoScan) {
			t.Errorf("status %d: %v", status, err)
		}
	}
	var outage *search.OutageError
	for _, page := range []string{
		`{"timed_out":true,"hits":{"hits":[]}}`, `{"_shards":{"failed":1},"hits":{"hits":[]}}`, `<html>`, `{"hits":{"hits":[{"fields":{}}]}}`, `{"hits":{"hits":[{"_id":"a"}]}}`,
	} {
		s := &scanned{pages: []string{page}}
		if err := scan(s, none); !errors.As(err, &outage) || s.ended != 1 {
			t.Errorf("%s: %v", page, err)
		}
	}
	if err := scan(&scanned{status: 503, body: `{}`}, none); !errors.As(err, &outage) {
		t.Errorf("503: %v", err)
	}
	stop := errors.New("stop")
	s = &scanned{pages: []string{hits(0, 10)}}
	if err := scan(s, func(_, _ []byte) error { return stop }); !errors.Is(err, stop) || s.ended != 1 {
		t.Errorf("stopped: %v", err)
	}
}
