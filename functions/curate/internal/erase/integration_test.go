//go:build integration && cgo

package erase

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/contract"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
	"millrace/shared/search"
	"millrace/shared/search/searchtest"
)

// servers is a lake on real servers, with names of its own, and the program that works there.
type servers struct {
	*lake
	search      *search.Client
	index       string
	program     string
	environment []string
}

func newServers(t *testing.T) *servers {
	t.Helper()
	for _, name := range []string{"POSTGRES_DSN", "S3_ENDPOINT", "ELASTICSEARCH_URL"} {
		if os.Getenv(name) == "" {
			t.Skip(name + " is not set")
		}
	}
	own := "millrace-erase-" + strings.ToLower(rand.Text())[:10]
	s := &servers{lake: &lake{t: t, index: &documents{}, tails: map[string]landing.Entry{}}}
	id, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	open := func(name string) *objectstore.Bucket {
		b, err := objectstore.Open(objectstore.Config{Endpoint: os.Getenv("S3_ENDPOINT"), Region: "us-east-1", AccessKey: id, SecretKey: secret, Bucket: name})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.EnsureBucket(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx := context.WithoutCancel(t.Context())
			u, err := url.Parse(os.Getenv("S3_ENDPOINT"))
			if err != nil {
				t.Fatal(err)
			}
			core, err := minio.NewCore(u.Host, &minio.Options{Creds: credentials.NewStaticV4(id, secret, ""), Secure: u.Scheme == "https", Region: "us-east-1"})
			if err != nil {
				t.Fatal(err)
			}
			page, err := b.List(ctx, "", "", objectstore.MaxList)
			for _, o := range page {
				err = errors.Join(err, b.Delete(ctx, o.Key))
			}
			if err := errors.Join(err, core.RemoveBucket(ctx, name)); err != nil {
				t.Error(err)
			}
		})
		return b
	}
	s.public, s.private = open(own), open(own+"-private")

	admin, err := sql.Open("pgx", os.Getenv("POSTGRES_DSN"))
	if err != nil {
		t.Fatal(err)
	}
	database := strings.ReplaceAll(own, "-", "_")
	if _, err := admin.ExecContext(t.Context(), "create database "+database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := admin.ExecContext(context.WithoutCancel(t.Context()), "drop database "+database+" with (force)")
		if err := errors.Join(err, admin.Close()); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(os.Getenv("POSTGRES_DSN"))
	if err != nil {
		t.Fatal("POSTGRES_DSN is no URL")
	}
	u.Path = "/" + database
	s.catalog = u.String()

	s.search = searchtest.New(t, search.Options{URL: os.Getenv("ELASTICSEARCH_URL"), Prefix: own + "-"})
	s.lake.index = &documents{}
	s.index = s.search.EnrichedIndex("Page", 0, now)
	t.Cleanup(func() {
		searchtest.Remove(t, os.Getenv("ELASTICSEARCH_URL"), s.index, "_index_template/millrace-"+own+"-enriched-page-0", "_index_template/millrace-"+own+"-dead")
	})
	if err := s.search.EnsureTemplates(t.Context(), []*contract.Contract{{EventType: "Page", Version: "0-0-1", Addition: 1}}); err != nil {
		t.Fatal(err)
	}

	s.program = filepath.Join(t.TempDir(), "curate")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", s.program, "millrace/functions/curate").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	models := t.TempDir()
	for name, text := range map[string]string{
		"fact_page.sql": `/*---
name: fact_page
materialized: incremental
unique_key: [root_id]
order_by: [arrived_at, kafka_offset]
partition: arrival_date
columns:
  - {name: root_id, type: varchar}
  - {name: subject, type: varchar}
  - {name: arrived_at, type: timestamptz}
  - {name: arrival_date, type: date}
  - {name: kafka_offset, type: bigint}
---*/
select p.root_id, p.subject, p.kafka_timestamp as arrived_at, p.arrival_date, p.kafka_offset from events.enriched_page_0 p
`,
		"mart_page.sql": `/*---
name: mart_page
materialized: incremental
strategy: insert_overwrite
upstream: fact_page
partition: arrival_date
columns:
  - {name: arrival_date, type: date}
  - {name: pages, type: bigint}
---*/
select f.arrival_date, count(*) as pages from fact_page f group by f.arrival_date
`,
	} {
		if err := os.WriteFile(filepath.Join(models, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.environment = append(os.Environ(), "S3_REGION=us-east-1", "S3_BUCKET="+own, "S3_BUCKET_PRIVATE="+own+"-private", "CATALOG_URL="+s.catalog, "INDEX_PREFIX="+own+"-", "MODELS="+models, "SCRATCH="+t.TempDir(),
		"DUCKDB_MEMORY=268435456", "ENGINE=duckdb")
	return s
}

// curate runs a command of the program; one that does not end with 0 is an error of the test.
func (s *servers) curate(args ...string) string {
	s.t.Helper()
	var out, log bytes.Buffer
	cmd := exec.CommandContext(s.t.Context(), s.program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.Dir = s.environment, &out, &log, s.t.TempDir()
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("curate %v: %v\n%s%s", args, err, out.String(), log.String())
	}
	return out.String()
}

// load is what load-lake and load-search make of events.
func (s *servers) load(from, to int) {
	s.t.Helper()
	s.land("events.raw", landing.KindRaw, from, (from+to)/2, to)
	s.land("events.enriched", landing.KindEnriched, from, (from+to)/2, to)
	var ops []search.Operation
	for n := from; n < to; n++ {
		ops = append(ops, search.Operation{Index: s.index, ID: root(n), Source: fmt.Appendf(nil, `{"root_id":%q,"subject":"p_%s","data_hash":"h"}`, root(n), strings.Repeat(fmt.Sprint(n%4), 32))})
	}
	if results, err := s.search.Bulk(s.t.Context(), ops); err != nil || slices.ContainsFunc(results, func(r search.Result) bool { return r.Status != search.Done }) {
		s.t.Fatal(results, err)
	}
}

// Guards the erasure that people are promised on the servers that they use: the program, given twice, over MinIO, a catalog in PostgreSQL and Elasticsearch. What was the person's is in no object of either bucket and
// in no snapshot, what is other people's stays, and the mart that is computed next counts without the person.
func TestEraseOnRealServers(t *testing.T) {
	s := newServers(t)
	ids, others := adas()
	s.load(0, 20)
	s.land("events.dead", landing.KindDead, 0, 3)
	s.curate("run")
	s.load(20, 40)
	s.curate("run")
	snapshots := func() (n int) {
		s.with(func(w *warehouse.Warehouse, _ func() (*duck.DB, error)) {
			for _, name := range []warehouse.Name{{Namespace: "events", Table: "enriched_page_0"}, {Namespace: "star", Table: "fact_page"}} {
				table, err := w.Load(t.Context(), name)
				if err != nil {
					t.Fatal(err)
				}
				n += len(table.Iceberg().Metadata().Snapshots())
			}
		})
		return n
	}
	if n := snapshots(); n < 4 || len(s.traces(ids...)) < 8 {
		t.Fatalf("%d snapshots, and only %q has the person's events", n, s.traces(ids...))
	}
	count := func(what string) string {
		return strings.Join(strings.Fields(s.curate("query", "--format", "csv", "select "+what)), " ")
	}
	before := s.objects(s.private)
	if out := s.curate("erase", "--subject", "subject-ada"); !strings.Contains(out, "10 events by root id, would be removed") || !strings.Contains(out, "star.fact_page: 10 rows") {
		t.Errorf("a look: %s", out)
	}
	for key, body := range s.objects(s.private) {
		if !bytes.Equal(body, before[key]) {
			t.Errorf("a look changed %s", key)
		}
	}
	file := filepath.Join(t.TempDir(), "report.json")
	ask := []string{"erase", "--subject", "subject-ada", "--apply", "--remember", filepath.Join(t.TempDir(), "ids"), "--report", file}
	s.curate(ask...)
	done := s.read(file)
	want := []Found{
		{s.index, 0, 10},
		{"events.dead", 1, 1},
		{"events.enriched_page_0", 2, 10},
		{"star.fact_page", 2, 10},
		{s.public.Name() + "/landing/enriched/", 4, 10},
		{s.private.Name() + "/landing/dead/", 1, 1},
		{s.private.Name() + "/landing/raw/", 4, 10},
	}
	if got := slices.Concat(done.Search, done.Tables, done.Landing); !slices.Equal(got, want) || len(done.Left) > 0 {
		t.Errorf("removed %v, want %v, left %v", got, want, done.Left)
	}
	gone := func(when string) {
		t.Helper()
		found := slices.DeleteFunc(s.traces(append(ids, "subject-ada")...), func(f string) bool { return strings.Contains(f, "/star/mart_page/") }) // sums, of which an older snapshot may tell
		if len(found) > 0 {
			t.Errorf("%s: left in %v", when, found)
		}
		if got := s.left(); got != fmt.Sprint(others) {
			t.Errorf("%s: left are %s, want %v", when, got, others)
		}
		held, _, err := s.search.FindBy(t.Context(), "root_id", ids)
		rest, _, restErr := s.search.FindBy(t.Context(), "subject", []string{"p_" + strings.Repeat("1", 32), "p_" + strings.Repeat("2", 32), "p_" + strings.Repeat("3", 32)})
		if err != nil || restErr != nil || len(held) != 0 || len(rest) != len(others) {
			t.Errorf("%s: search has %d documents of the person and %d of others, %v, %v", when, len(held), len(rest), err, restErr)
		}
	}
	gone("erased")
	if n := snapshots(); n != 2 {
		t.Errorf("%d snapshots of two tables", n)
	}
	s.curate("run")
	if got := count("count(*) as n from star.fact_page") + " " + count("sum(pages) as n from star.mart_page"); got != "n 30 n 30" {
		t.Errorf("fact and mart count %q", got)
	}
	gone("after a run")
	s.curate(ask...)
	if again := s.read(file); len(again.Search)+len(again.Pages)+len(again.Tables)+len(again.Landing)+len(again.Expired)+len(again.Left) > 0 || again.Roots != 10 {
		t.Errorf("the second time: %+v", again)
	}
}

func (s *servers) read(file string) (r Report) {
	s.t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}
