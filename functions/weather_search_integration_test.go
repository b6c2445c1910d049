//go:build integration

package functions_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"millrace/functions/internal/pipeline"
	"millrace/shared/event"
)

// loader is load-search as a process of its own on a real Elasticsearch, with dead letters to an ingress of the test's.
type loader struct {
	t       *testing.T
	es      string // URL
	prefix  string
	address string
	output  string // file of what it said

	mu      sync.Mutex
	letters []string // "<id> <code>"
}

// startLoader starts load-search with more variables. What it makes on the server is removed at the end.
func startLoader(t *testing.T, variables ...string) *loader {
	t.Helper()
	from, err := built()
	if err != nil {
		t.Fatal(err)
	}
	l := &loader{t: t, es: os.Getenv("ELASTICSEARCH_URL"), prefix: fmt.Sprintf("weather%d-", time.Now().UnixNano()), address: freeAddress(t), output: filepath.Join(t.TempDir(), "output")}
	if l.es == "" {
		t.Fatal("ELASTICSEARCH_URL names no server: make integration needs real ones")
	}
	ingress := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", http.MethodPost)
		if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusNoContent)
			return // it only looks whether there is somebody
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.letters = append(l.letters, r.Header.Get("Ce-Id")+" "+r.Header.Get("Ce-Failurecode"))
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(ingress.Close)
	out, err := os.Create(l.output)
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(l.address, ":")
	cmd := exec.Command(filepath.Join(from, "functions", "load-search"))
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, pipeline.Dependent()
	cmd.Env = append([]string{
		"ELASTICSEARCH_URL=" + l.es, "INDEX_PREFIX=" + l.prefix, "DEAD_SINK=" + ingress.URL, "LISTEN_HOST=" + host, "PORT=" + port,
		"ELASTICSEARCH_REQUEST_TIMEOUT=5s", "BATCH_TIMEOUT=10s", "MASK_KEY=" + strings.Repeat("k", 32),
	}, variables...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("load-search ended: %v", err)
		}
		l.remove()
		if t.Failed() {
			t.Logf("load-search said:\n%s", l.said())
		}
	})
	l.eventually("load-search is ready", func() error {
		return l.ask(http.MethodGet, "http://"+l.address+"/readyz", "", nil)
	})
	return l
}

func (l *loader) said() string {
	b, err := os.ReadFile(l.output)
	if err != nil {
		l.t.Error(err)
	}
	return string(b)
}

// ask makes a request with a JSON body; a status of 300 or more is an error.
func (l *loader) ask(method, url, body string, into any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.t.Context()), 30*time.Second)
	defer cancel()
	if strings.HasPrefix(url, "http://"+l.address) {
		req, err := http.NewRequestWithContext(ctx, method, url, nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", res.StatusCode)
		}
		return nil
	}
	return pipeline.Do(ctx, method, url, []byte(body), into)
}

// do asks Elasticsearch, and fails the test where it refuses.
func (l *loader) do(method, path, body string) {
	l.t.Helper()
	if err := l.ask(method, l.es+"/"+path, body, nil); err != nil {
		l.t.Fatal(err)
	}
}

func (l *loader) eventually(what string, f func() error) {
	l.t.Helper()
	deadline := time.After(45 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			l.t.Fatalf("%s: %v", what, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (l *loader) remove() {
	var indexes map[string]any
	if err := l.ask(http.MethodGet, l.es+"/"+l.prefix+"*", "", &indexes); err != nil {
		l.t.Error(err)
	}
	for index := range indexes {
		if err := l.ask(http.MethodDelete, l.es+"/"+index, "", nil); err != nil {
			l.t.Error(err)
		}
	}
	if err := l.ask(http.MethodDelete, l.es+"/_index_template/millrace-"+l.prefix+"*", "", nil); err != nil {
		l.t.Error(err)
	}
}

// index is the name of the index of page views of a day of March 2026.
func (l *loader) index(day int) string {
	return fmt.Sprintf("%senriched-pageview-0-2026.03.%02d", l.prefix, day)
}

const view = `{"host": "example.com", "method": "GET", "url": "/", "status": 200, "visited_at": "2026-03-01T12:04:20Z"}`

// send gives load-search an enriched page view of a day, and returns the answer's status.
func (l *loader) send(day int, id, payload string) int {
	l.t.Helper()
	data := event.EnrichedData([]byte(payload), []byte(`{}`))
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.address+"/", bytes.NewReader(data))
	if err != nil {
		l.t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Specversion": "1.0", "Type": "PageView", "Source": "/weather", "Id": id, "Schemaversion": "0-0-1", "Stage": "enriched",
		"Datahash": event.Hash([]byte(payload)), "Collectortime": fmt.Sprintf("2026-03-%02dT10:00:00Z", day), "Collectorid": "c1",
	} {
		req.Header.Set("Ce-"+name, value)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		l.t.Fatal(err)
	}
	return res.StatusCode
}

// held sends the event ten times, twice as often as an event may fail, and another to another index in between: the first must wait, the other pass.
func (l *loader) held(day int, id string) {
	l.t.Helper()
	for i := range 10 {
		if status := l.send(day, id, view); status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests {
			l.t.Fatalf("attempt %d: status %d, want 503 or 429", i+1, status)
		}
		if status := l.send(31, fmt.Sprintf("%s-%d", id, i), view); status/100 != 2 {
			l.t.Fatalf("another index: status %d", status)
		}
	}
}

// passes sends the event until it is taken, and looks for it in its index.
func (l *loader) passes(day int, id string) {
	l.t.Helper()
	l.eventually("event "+id+" passes", func() error {
		if status := l.send(day, id, view); status/100 != 2 {
			return fmt.Errorf("status %d", status)
		}
		return nil
	})
	var doc struct {
		Source json.RawMessage `json:"_source"`
	}
	if err := l.ask(http.MethodGet, l.es+"/"+l.index(day)+"/_doc/"+event.Identity("/weather", id), "", &doc); err != nil || len(doc.Source) == 0 {
		l.t.Errorf("event %s is not in its index: %v", id, err)
	}
}

// dead compares the dead letters.
func (l *loader) dead(want string) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if got := strings.Join(l.letters, ", "); got != want {
		l.t.Errorf("dead letters %q, want %q", got, want)
	}
}

// Guards events against the faults of one index, as a real Elasticsearch answers them: its events wait and are not counted to death, those of other indexes pass, the log says which
// index it is and what to do, and they pass once the fault is gone, without a restart.
func TestSearchIndexFaults(t *testing.T) {
	l := startLoader(t)
	block := func(name, value string) func(string) {
		return func(index string) { l.do(http.MethodPut, index+"/_settings", `{"index.`+name+`":`+value+`}`) }
	}
	for day, tt := range []struct {
		name      string
		fault     func(index string)
		mend      func(index string)
		says      string
		unwritten bool // the fault comes before the index
	}{
		{name: "flood stage", fault: block("blocks.read_only_allow_delete", "true"), mend: block("blocks.read_only_allow_delete", "null"), says: "flood stage: make room"},
		{name: "write block", fault: block("blocks.write", "true"), mend: block("blocks.write", "null"), says: "take it away"},
		{
			name: "closed", says: "POST <index>/_open",
			fault: func(index string) { l.do(http.MethodPost, index+"/_close", "") },
			mend:  func(index string) { l.do(http.MethodPost, index+"/_open", "") },
		},
		{
			name: "primary unassigned", says: "_cluster/allocation/explain", unwritten: true,
			fault: func(index string) {
				l.do(http.MethodPut, index+"?wait_for_active_shards=0", `{"settings":{"index.routing.allocation.require._name":"nobody"}}`)
			},
			mend: block("routing.allocation.require._name", "null"),
		},
		{
			name: "alias of two", says: "alias of several indexes", unwritten: true,
			fault: func(index string) {
				l.do(http.MethodPut, index+"-a", `{}`)
				l.do(http.MethodPut, index+"-b", `{}`)
				l.do(http.MethodPost, "_aliases", `{"actions":[{"add":{"index":"`+index+`-a","alias":"`+index+`"}},{"add":{"index":"`+index+`-b","alias":"`+index+`"}}]}`)
			},
			mend: func(index string) {
				l.do(http.MethodPost, "_aliases", `{"actions":[{"remove":{"index":"`+index+`-b","alias":"`+index+`"}}]}`)
			},
		},
		{
			name: "alias that takes nothing", says: "set is_write_index", unwritten: true,
			fault: func(index string) {
				l.do(http.MethodPut, index+"-a", `{}`)
				l.do(http.MethodPost, "_aliases", `{"actions":[{"add":{"index":"`+index+`-a","alias":"`+index+`","is_write_index":false}}]}`)
			},
			mend: func(index string) {
				l.do(http.MethodPost, "_aliases", `{"actions":[{"add":{"index":"`+index+`-a","alias":"`+index+`","is_write_index":true}}]}`)
			},
		},
		{name: "missing pipeline", fault: block("default_pipeline", `"nothing"`), mend: block("default_pipeline", "null"), says: "took no document since"},
		{
			name: "guessed types", says: "types in it are guesses", unwritten: true,
			fault: func(index string) {
				l.do(http.MethodPut, index, `{"mappings":{"dynamic":true,"properties":{"root_id":{"type":"text"}}}}`) // as a first document makes it
			},
			mend: func(index string) { l.do(http.MethodDelete, index, "") },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.t = t
			day++
			index := l.index(day)
			if !tt.unwritten {
				l.passes(day, tt.name+" before")
			}
			tt.fault(index)
			l.held(day, tt.name)
			if said := l.said(); !strings.Contains(said, index) || !strings.Contains(said, tt.says) {
				t.Errorf("the log does not name %s and say %q", index, tt.says)
			}
			tt.mend(index)
			l.passes(day, tt.name)
			l.dead("")
		})
	}
	l.t = t
}
