//go:build integration && cgo

package trino_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/trino"
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
