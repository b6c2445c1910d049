//go:build cgo

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/ingest"
	"millrace/functions/curate/internal/model"
	"millrace/shared/landing"
)

// session opens a session over the lake, as curate run does.
func (l *lake) session(t *testing.T) *session {
	t.Helper()
	if err := borrow(l.dir); err != nil {
		t.Fatal(err)
	}
	s, err := open(t.Context(), io.Discard, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// landed puts made-up trips 0 to n into landing, as the first entry of a log of its own. change is SQL over their columns, such as replace(...); "" leaves them as they are.
func (l *lake) landed(t *testing.T, s *session, topicID, change string, n int) {
	t.Helper()
	day := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "landing.parquet")
	query := fmt.Sprintf(tripsSQL, day.Format(time.DateTime), 0, n, day.Format(time.DateTime), 0, 0, n)
	if err := l.db.Exec(t.Context(), "copy (select * "+change+" from ("+query+")) to "+duck.Literal(file)+" (format parquet, parquet_version v2, compression zstd)"); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sum, drain := sha256.Sum256(body), sha256.Sum256([]byte(topicID))
	e := landing.Entry{
		Version: landing.Version, Topic: "events.enriched", TopicID: topicID, Sequence: 1, Drain: fmt.Sprintf("01890a5d-ac96-774b-bcce-%x", drain[:6]), Time: day.Add(time.Hour), Partitions: []landing.Partition{{Next: int64(n)}},
	}
	key := landing.Place{Kind: landing.KindEnriched, Type: "YellowTaxiTripRecords", Model: "0", Day: day.Format(time.DateOnly), Drain: e.Drain}.Key()
	if err := s.public.Put(t.Context(), key, body); err != nil {
		t.Fatal(err)
	}
	e.Objects = []landing.Object{{Key: key, Kind: landing.KindEnriched, Type: "YellowTaxiTripRecords", Rows: int64(n), Bytes: int64(len(body)), SHA256: hex.EncodeToString(sum[:])}}
	if err := landing.Open(s.public, e.Topic, e.TopicID).Append(t.Context(), landing.Entry{}, e); err != nil {
		t.Fatal(err)
	}
}

// events returns "START job" and the like, in the order in which the file has them.
func events(t *testing.T, file []byte) []string {
	t.Helper()
	var list []string
	for line := range strings.Lines(string(file)) {
		var e struct {
			Type string `json:"eventType"`
			Job  struct{ Name string }
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		list = append(list, e.Type+" "+e.Job.Name)
	}
	return list
}

// Guards lineage of runs that die: START of the run, of its step and of the model goes out before the work is done and their end after it, so that what a killed run leaves has no end. A run with nothing new says nothing.
func TestLineageGoesOutAsTheRunDoes(t *testing.T) {
	l := newLake(t)
	s := l.session(t)
	s.config.MaintainEvery = 0
	s.config.LineageFile = filepath.Join(t.TempDir(), "lineage")
	l.landed(t, s, "id", "", 50)
	then := map[string][]byte{}
	l.before = func(r *http.Request) {
		for _, table := range []string{"events/enriched_yellowtaxitriprecords_0", "ops/quality", "star/fact_trip"} {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/"+table+"/data/") && then[table] == nil {
				then[table], _ = os.ReadFile(s.config.LineageFile) // no file is no event
			}
		}
	}
	o := s.run(t.Context(), time.Hour)
	if err := errors.Join(o.failed(), s.publish(t.Context(), o)); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]string{"events/enriched_yellowtaxitriprecords_0": "START curate.ingest", "ops/quality": "START curate.quality", "star/fact_trip": "START star.fact_trip"} {
		list := events(t, then[table])
		if len(list) == 0 || list[0] != "START curate" || list[len(list)-1] != want {
			t.Errorf("a run killed while it writes %s leaves %q, want %s at the end", table, list, want)
		}
	}
	file, err := os.ReadFile(s.config.LineageFile)
	if err != nil {
		t.Fatal(err)
	}
	list := events(t, file)
	if list[len(list)-1] != "COMPLETE curate" {
		t.Errorf("%q", list)
	}
	for _, e := range list {
		if job, ok := strings.CutPrefix(e, "START "); ok && slices.Index(list, e) > slices.Index(list, "COMPLETE "+job) {
			t.Errorf("%s has no end behind it", e)
		}
	}
	for _, job := range []string{"ingest.events.enriched_yellowtaxitriprecords_0", "quality.events.enriched_yellowtaxitriprecords_0", "star.mart_trip_daily", "curate.sla"} {
		if !slices.Contains(list, "COMPLETE "+job) {
			t.Errorf("nothing is told of %s: %q", job, list)
		}
	}
	again := s.run(t.Context(), time.Hour)
	if err := errors.Join(again.failed(), s.publish(t.Context(), again)); err != nil || again.worked() {
		t.Fatalf("%+v, %v", again, err)
	}
	if after, err := os.ReadFile(s.config.LineageFile); err != nil || len(after) != len(file) {
		t.Errorf("a run with nothing new told of itself: %v", err)
	}
}

// Guards lineage of what fails: a step and a model that failed before their work began have both ends, and the error is told without rows' values.
func TestLineageOfFailures(t *testing.T) {
	l := newLake(t)
	s := l.session(t)
	s.config.LineageFile = filepath.Join(t.TempDir(), "lineage")
	o := &outcome{trace: s.tracing(uuid.NewString())}
	o.do("ingest", func() error { return nil })
	o.do("models", func() error {
		o.trace.modelEnded(model.Outcome{Name: "dim_zone", Status: model.Current})
		o.trace.modelEnded(model.Outcome{Name: "fact_trip", Status: model.Failed, Cause: "no table"})
		return errors.New("running it: Conversion Error: Could not convert string 'Jane Doe' to INT32")
	})
	if err := o.trace.close(t.Context(), o.failed()); err != nil {
		t.Error(err)
	}
	file, err := os.ReadFile(s.config.LineageFile)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"START curate", "START curate.models", "START star.fact_trip", "FAIL star.fact_trip", "FAIL curate.models", "FAIL curate"}
	if list := events(t, file); !slices.Equal(list, want) || strings.Contains(string(file), "Doe") || !strings.Contains(string(file), "Conversion Error") {
		t.Errorf("%q: %s", list, file)
	}
}

// Guards who may see what by lineage's word: dead letters come of the private bucket, enriched events of the public one, and ops.landing of both buckets' logs.
func TestLineageNamesTheBucket(t *testing.T) {
	l := newLake(t)
	s := l.session(t)
	trace := &tracing{s: s}
	r := ingest.Result{Logs: []ingest.LogResult{{Topic: "events.raw", TopicID: "a", Bucket: "millrace-private", Entries: 1}, {Topic: "events.enriched", TopicID: "b", Bucket: "millrace"}}}
	for table, want := range map[string]string{"events.dead": "s3://millrace-private landing/dead", "events.enriched_thing_0": "s3://millrace landing/enriched", "ops.landing": "s3://millrace-private landing/_log/events.raw/a"} {
		name := ingest.Dead
		name.Namespace, name.Table, _ = strings.Cut(table, ".")
		in := trace.landed(name, r)
		if len(in) != 1 || in[0].Namespace+" "+in[0].Name != want {
			t.Errorf("%s: %+v", table, in)
		}
	}
}
