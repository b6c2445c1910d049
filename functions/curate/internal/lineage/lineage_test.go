package lineage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 123456000, time.FixedZone("", 3600))

func config() Config {
	return Config{Namespace: "millrace", Version: "0.5.0", Warehouse: "s3://millrace/warehouse", Clock: func() time.Time { return noon }}
}

// work tells of a run with everything that an event can have.
func work(e *Emitter) *Run {
	curate := e.Start(Job{Name: "curate", Kind: "RUN"}, nil, "01936f2c-7b1e-7c3a-9f61-5a0f3f8a6f11", nil, nil)
	trips := Input{
		Dataset: e.Table("events.enriched_yellowtaxitriprecords_0", []Field{{Name: "root_id", Type: "varchar"}, {Name: "payload", Type: "struct", Fields: []Field{{Name: "fare_amount", Type: "double", Description: "US dollars"}}}}),
		Assertions: []Assertion{
			{Assertion: "invalidValues", Success: false, Column: "payload.passenger_count", Severity: "warn", Name: "passengers-zero", Expected: "at most 5 percent", Actual: "7.93"},
			{Assertion: "not_null", Success: true},
		},
	}
	fact := Output{Dataset: e.Table("star.fact_trip", []Field{{Name: "root_id", Type: "varchar"}}), Rows: 100_000, Bytes: 4_000_000, Files: 3}
	model := e.Start(Job{Name: "star.fact_trip", Kind: "MODEL", SQL: "select 1", Description: "One row per trip.", Engine: "duckdb"}, curate, "", []Input{trips}, []Output{fact})
	model.End(nil, []Input{trips}, []Output{fact})
	failed := e.Start(Job{Name: "star.dim_zone"}, curate, "", nil, nil)
	failed.End(errors.New("no memory\xff"), nil, nil)
	curate.End(nil, nil, nil)
	return curate
}

func lines(t *testing.T, path string) []map[string]any {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []map[string]any
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var m map[string]any
		if err := json.Unmarshal(s.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// at goes down members and indexes of decoded JSON; a member that is not there is nil.
func at(v any, path ...any) any {
	for _, step := range path {
		switch key := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[key]
		case int:
			l, _ := v.([]any)
			if key >= len(l) {
				return nil
			}
			v = l[key]
		}
	}
	return v
}

// conform checks what the specification requires of a run event, of its parts and of every facet that we send.
func conform(t *testing.T, e map[string]any) {
	t.Helper()
	text := func(v any, path ...any) string {
		s, ok := at(v, path...).(string)
		if !ok || s == "" {
			t.Errorf("%v is not a text that is there", path)
		}
		return s
	}
	uri := func(v any, path ...any) {
		if u, err := url.Parse(text(v, path...)); err != nil || u.Scheme == "" {
			t.Errorf("%v is no URI", path)
		}
	}
	if kind := text(e, "eventType"); !slices.Contains([]string{"START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"}, kind) {
		t.Errorf("eventType %s", kind)
	}
	if _, err := time.Parse(time.RFC3339Nano, text(e, "eventTime")); err != nil || !strings.HasSuffix(text(e, "eventTime"), "Z") {
		t.Errorf("eventTime: %v", err)
	}
	uri(e, "producer")
	if got := text(e, "schemaURL"); got != "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent" {
		t.Errorf("schemaURL %s", got)
	}
	id, err := uuid.Parse(text(e, "run", "runId"))
	if err != nil || id.Version() != 7 {
		t.Errorf("runId: %v", err)
	}
	text(e, "job", "namespace")
	text(e, "job", "name")
	required := map[string][]string{
		"parent": {"run", "job"}, "processing_engine": {"version"}, "errorMessage": {"message", "programmingLanguage"}, "jobType": {"processingType", "integration"}, "sql": {"query"},
		"documentation": {"description"}, "schema": {"fields"}, "symlinks": {"identifiers"}, "dataQualityAssertions": {"assertions"}, "outputStatistics": {"rowCount"},
	}
	facetsOf := func(v any) {
		m, _ := v.(map[string]any)
		for name, f := range m {
			uri(f, "_producer")
			uri(f, "_schemaURL")
			members, known := required[name]
			if !known {
				t.Errorf("the facet %s is not one that this test knows", name)
			}
			for _, member := range members {
				if at(f, member) == nil {
					t.Errorf("the facet %s lacks %s", name, member)
				}
			}
		}
	}
	facetsOf(at(e, "run", "facets"))
	facetsOf(at(e, "job", "facets"))
	for _, side := range []struct{ list, facets string }{{"inputs", "inputFacets"}, {"outputs", "outputFacets"}} {
		list, ok := at(e, side.list).([]any)
		if !ok {
			t.Errorf("%s is no array", side.list)
		}
		for _, d := range list {
			text(d, "namespace")
			text(d, "name")
			facetsOf(at(d, "facets"))
			facetsOf(at(d, side.facets))
			for _, f := range asList(at(d, "facets", "schema", "fields")) {
				text(f, "name")
			}
			for _, a := range asList(at(d, "inputFacets", "dataQualityAssertions", "assertions")) {
				text(a, "assertion")
				if _, ok := at(a, "success").(bool); !ok {
					t.Error("an assertion does not say whether it holds")
				}
			}
		}
	}
}

func asList(v any) []any {
	l, _ := v.([]any)
	return l
}

// A service refuses an event that lacks what the specification requires, and a run would lose its lineage for a member that was renamed.
func TestEventsConform(t *testing.T) {
	c := config()
	c.File = filepath.Join(t.TempDir(), "lineage.ndjson")
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	parent := work(e)
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := lines(t, c.File)
	var kinds []string
	for _, ev := range all {
		conform(t, ev)
		kinds = append(kinds, at(ev, "job", "name").(string)+" "+at(ev, "eventType").(string))
	}
	want := []string{"curate START", "star.fact_trip START", "star.fact_trip COMPLETE", "star.dim_zone START", "star.dim_zone FAIL", "curate COMPLETE"}
	if !slices.Equal(kinds, want) {
		t.Fatalf("got %v, want %v", kinds, want)
	}
	complete, failed := all[2], all[4]
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"the time in UTC", at(complete, "eventTime"), "2026-11-21T11:00:00.123456Z"},
		{"one run, one id", at(complete, "run", "runId"), at(all[1], "run", "runId")},
		{"the parent", at(complete, "run", "facets", "parent", "run", "runId"), parent.ID()},
		{"the input's name", at(complete, "inputs", 0, "name"), "warehouse/events/enriched_yellowtaxitriprecords_0"},
		{"its namespace", at(complete, "inputs", 0, "namespace"), "s3://millrace"},
		{"its name in SQL", at(complete, "inputs", 0, "facets", "symlinks", "identifiers", 0, "name"), "events.enriched_yellowtaxitriprecords_0"},
		{"a nested column", at(complete, "inputs", 0, "facets", "schema", "fields", 1, "fields", 0, "name"), "fare_amount"},
		{"a failed rule", at(complete, "inputs", 0, "inputFacets", "dataQualityAssertions", "assertions", 0, "success"), false},
		{"the rows written", at(complete, "outputs", 0, "outputFacets", "outputStatistics", "rowCount"), 100000.0},
		{"no rows before the end", at(all[1], "outputs", 0, "outputFacets"), nil},
		{"the query", at(complete, "job", "facets", "sql", "query"), "select 1"},
		{"the error", at(failed, "run", "facets", "errorMessage", "message"), "no memory"},
		{"no error where none was", at(complete, "run", "facets", "errorMessage"), nil},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, c.got, c.want)
		}
	}
}

// A file may be shared by all runs: a second one must append to it, and a run that begins again must not cut it.
func TestFileIsAppendedTo(t *testing.T) {
	c := config()
	c.File = filepath.Join(t.TempDir(), "lineage.ndjson")
	for range 2 {
		e, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		work(e)
		if err := e.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(lines(t, c.File)); n != 12 {
		t.Errorf("%d events are in the file, of 12", n)
	}
}

// service is a lineage service that answers as it is told to.
type service struct {
	*httptest.Server
	mu     sync.Mutex
	paths  []string
	keys   []string
	events []map[string]any
}

func serviceWith(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *service {
	s := &service{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var ev map[string]any
		err := json.Unmarshal(body, &ev)
		s.mu.Lock()
		n := len(s.paths)
		s.paths = append(s.paths, r.Method+" "+r.URL.Path)
		s.keys = append(s.keys, r.Header.Get("Authorization"))
		if err == nil {
			s.events = append(s.events, ev)
		}
		s.mu.Unlock()
		answer(n, w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// Every event must reach the service whole, once, in order, with the key.
func TestSend(t *testing.T) {
	s := serviceWith(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
	c := config()
	c.URL, c.Key = s.URL+"/base/", "secret"
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	work(e)
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.events) != 6 || at(s.events[0], "eventType") != "START" || at(s.events[4], "eventType") != "FAIL" {
		t.Errorf("got %d events", len(s.events))
	}
	for i := range s.paths {
		if s.paths[i] != "POST /base/api/v1/lineage" || s.keys[i] != "Bearer secret" {
			t.Errorf("got %s with %q", s.paths[i], s.keys[i])
		}
	}
}

// What the service refuses, or answers with a redirect that would turn the POST into a GET, must be reported, and one refusal must not keep the others back.
func TestRefused(t *testing.T) {
	for name, answer := range map[string]func(n int, w http.ResponseWriter, r *http.Request){
		"refused": func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				http.Error(w, "no such job", http.StatusUnprocessableEntity)
			}
		},
		"redirected": func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
			}
		},
		"broken off": func(n int, _ http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				panic(http.ErrAbortHandler)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serviceWith(t, answer)
			c := config()
			c.URL = s.URL
			e, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			work(e)
			err = e.Close(t.Context())
			if err == nil || !strings.Contains(err.Error(), "1 of 6 events were not delivered") {
				t.Errorf("got %v", err)
			}
			if len(s.events) != 6 {
				t.Errorf("%d events were sent, of 6", len(s.events))
			}
		})
	}
}

// A service that is away must cost a run a few attempts and not one for each of its events, and the file must have them all the same.
func TestAway(t *testing.T) {
	s := serviceWith(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	c := config()
	c.URL, c.File = s.URL, filepath.Join(t.TempDir(), "lineage.ndjson")
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	work(e)
	if err := e.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "6 of 6 events were not delivered") || !strings.Contains(err.Error(), "503") {
		t.Errorf("got %v", err)
	}
	if len(s.paths) != giveUp {
		t.Errorf("the service was asked %d times", len(s.paths))
	}
	if n := len(lines(t, c.File)); n != 6 {
		t.Errorf("%d events are in the file", n)
	}
}

// A service that never answers must not hold the end of a run longer than its context.
func TestHangs(t *testing.T) {
	asked, release := make(chan struct{}, 16), make(chan struct{})
	s := serviceWith(t, func(int, http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-release
	})
	defer close(release)
	c := config()
	c.URL, c.Timeout = s.URL, time.Hour
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	work(e)
	<-asked
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := e.Close(ctx); err == nil || !strings.Contains(err.Error(), "6 of 6 events were not delivered") {
		t.Errorf("got %v", err)
	}
}

// What comes after the end is not silently gone: nothing panics, and a closed Emitter stays closed.
func TestAfterClose(t *testing.T) {
	s := serviceWith(t, func(int, http.ResponseWriter, *http.Request) {})
	c := config()
	c.URL = s.URL
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r := e.Start(Job{Name: "a"}, nil, "", nil, nil)
	if err := errors.Join(e.Close(t.Context()), e.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	r.End(nil, nil, nil)
	if e.lost != 1 || len(s.events) != 1 {
		t.Errorf("%d lost, %d sent", e.lost, len(s.events))
	}
}

// Lineage that nobody asked for must cost nothing and break nothing.
func TestNowhere(t *testing.T) {
	e, err := New(Config{})
	if e != nil || err != nil {
		t.Fatalf("got %v, %v", e, err)
	}
	work(e)
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A wrong setting must be told at the start, without the secrets that it holds.
func TestWrongConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"no http":     {Namespace: "n", URL: "ftp://secret@host"},
		"no URL":      {Namespace: "n", URL: "http://secret:%zz@host"},
		"no host":     {Namespace: "n", URL: "http:///path"},
		"credentials": {Namespace: "n", URL: "http://user:secret@host"},
		"no folder":   {Namespace: "n", File: filepath.Join(t.TempDir(), "none", "x")},
		"namespace":   {URL: "http://host"},
	} {
		if _, err := New(c); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// The events are checked against the published schema by hand: go test ./functions/curate/internal/lineage -run Sample, LINEAGE_SAMPLE naming a file.
func TestSample(t *testing.T) {
	path := os.Getenv("LINEAGE_SAMPLE")
	if path == "" {
		t.Skip("LINEAGE_SAMPLE names no file")
	}
	c := config()
	c.File = path
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	work(e)
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
