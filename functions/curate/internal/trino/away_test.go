//go:build integration && cgo

package trino_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/trino"
	"millrace/functions/curate/internal/warehouse"
	"millrace/functions/curate/models"
)

// flaky stands before Trino, and goes away for good once it has let some statements pass.
type flaky struct {
	*httptest.Server
	left  atomic.Int64 // statements that it lets pass
	after atomic.Bool  // the last of them is let pass, and its answer kept
}

func newFlaky(t *testing.T, target string) *flaky {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	u.User = nil
	p := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { // Trino's links must lead through here: the host stays
		r.SetURL(u)
		r.Out.Host = r.In.Host
	}}
	f := &flaky{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/v1/statement") {
			left := f.left.Add(-1)
			if left == 0 && f.after.Load() {
				p.ServeHTTP(httptest.NewRecorder(), r)
			}
			if left <= 0 {
				panic(http.ErrAbortHandler)
			}
		} else if f.left.Load() <= 0 {
			panic(http.ErrAbortHandler)
		}
		p.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

// Trino can go away at each statement, before it or with its answer: the run says so, no reader sees half a change, and the next run ends where one without trouble does.
func TestTrinoGoesAwayAtEachStatement(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	set, err := model.Load(models.Files)
	if err != nil {
		t.Fatal(err)
	}
	trinoURL, _, _ := environment(t)
	proxy := newFlaky(t, trinoURL)
	l := newLake(t, "away").byTrino(nil)
	steady := l.engine
	l.land(ctx, 1, 300)
	l.run(ctx, set, "+fact_trip")
	facts := func(l *lake) map[string][]string {
		tables := l.tables(ctx, set, true, "fact_trip")
		return tables
	}
	before := facts(l)
	l.land(ctx, 301, 600)
	broken := 0
	for n := int64(1); ; n += 3 { // each third is enough of them: a build has some twenty
		proxy.left.Store(n)
		proxy.after.Store(n%2 == 0) // every other time
		l.engine = func(ctx context.Context) (model.Engine, error) {
			e, err := trino.Open(ctx, trino.Config{URL: strings.Replace(proxy.URL, "//", "//millrace@", 1), Warehouse: l.w, Patience: 20 * time.Millisecond})
			if err != nil {
				return nil, err
			}
			t.Cleanup(func() {
				if err := e.Close(); err != nil {
					t.Error(err)
				}
			})
			return e, nil
		}
		res := l.run(ctx, set, "fact_trip")
		if len(res.Models) != 1 {
			t.Fatalf("result %+v", res)
		}
		if m := res.Models[0]; m.Status == model.Built {
			break
		} else if m.Status != model.Failed || !strings.Contains(m.Cause, "Trino is away") {
			t.Fatalf("statement %d: %s: %s", n, m.Status, m.Cause)
		}
		same(t, "after a failed run", map[string][]string{"star.fact_trip": before["star.fact_trip"]}, facts(l))
		broken++
	}
	if broken < 4 {
		t.Errorf("Trino went away at %d statements only", broken)
	}
	other := newLake(t, "well").byTrino(nil)
	for _, to := range []int{300, 600} {
		other.land(ctx, to-299, to)
		other.run(ctx, set, "+fact_trip")
	}
	same(t, "with and without trouble", facts(other), facts(l))
	l.engine = steady
	if res := l.run(ctx, set, "fact_trip"); res.Models[0].Status != model.Current {
		t.Errorf("after all that: %+v", res.Models[0])
	}
}

// lossy stands before Trino and loses the answer of one statement that Trino finished: the sender is told 502, as by a gateway, and sends it again.
func lossy(t *testing.T, target, statement string) (address string, lost *atomic.Int64) {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	u.User = nil
	p := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(u)
		r.Out.Host = r.In.Host
	}}
	lost = &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/v1/statement") && lost.Load() == 0 {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			if strings.HasPrefix(string(body), statement) {
				lost.Add(1)
				for next := u.String() + r.URL.Path; next != ""; {
					next = follow(r, next, body)
					body = nil
				}
				w.WriteHeader(http.StatusBadGateway)
				return
			}
		}
		p.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "//", "//millrace@", 1), lost
}

// follow sends the statement, or asks on, and returns where to ask on.
func follow(r *http.Request, address string, statement []byte) string {
	method := http.MethodGet
	if statement != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(r.Context(), method, address, bytes.NewReader(statement))
	if err != nil {
		panic(err)
	}
	req.Header = r.Header.Clone()
	req.Header.Del("Accept-Encoding")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	defer res.Body.Close()
	var answer struct {
		NextURI string `json:"nextUri"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		panic(err)
	}
	return answer.NextURI
}

// The driver sends a statement again where its answer got lost: an INSERT then runs twice, and a mart would have every row twice.
func TestAStatementThatRanTwice(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	// No test of the model's own finds it.
	text := "/*---\nname: mart_views\nmaterialized: incremental\nstrategy: insert_overwrite\nupstream: fact_page_view\npartition: view_date\ncolumns:\n  - {name: view_date, type: date}\n" +
		"  - {name: views, type: bigint}\n---*/\nselect f.view_date, count(*) as views from fact_page_view f group by f.view_date\n"
	set, err := model.Load(models.Files, fstest.MapFS{"mart_views.sql": {Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	trinoURL, _, _ := environment(t)
	l := newLake(t, "twice").byTrino(nil)
	steady := l.engine
	l.land(ctx, 1, 300)
	l.run(ctx, set, "+fact_page_view")
	stage, _ := l.w.Identifier(warehouse.Name{Namespace: "stage"})
	address, lost := lossy(t, trinoURL, `insert into "lake"."`+stage+`"."mart_views_delta_`)
	l.engine = func(ctx context.Context) (model.Engine, error) {
		e, err := trino.Open(ctx, trino.Config{URL: address, Warehouse: l.w})
		if err == nil {
			t.Cleanup(func() {
				if err := e.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		return e, err
	}
	res := l.run(ctx, set, "mart_views")
	if lost.Load() != 1 || len(res.Models) != 1 || res.Models[0].Status != model.Failed || !strings.Contains(res.Models[0].Cause, "ran twice") {
		t.Fatalf("%d statements ran twice: %+v", lost.Load(), res.Models)
	}
	l.engine = steady
	if m := l.run(ctx, set, "mart_views").Models[0]; m.Status != model.Built || m.Counts.Added == 0 {
		t.Fatalf("the next run: %+v", m)
	}
}
