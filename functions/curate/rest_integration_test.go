//go:build integration && cgo

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"strings"
	"testing"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/objectstore"
)

// Guards the setting of a REST catalog over a whole run, on a real server and a real store: rows come all the way into facts and marts, a second run finds nothing new, a third takes what landed since, and queries
// answer. The catalog (Iceberg's own server, say) is this test's alone: its namespaces have the names that runs give them.
func TestRunOnRealREST(t *testing.T) {
	url, store := os.Getenv("REST_CATALOG_URL"), os.Getenv("S3_ENDPOINT")
	if url == "" || store == "" {
		t.Skip("REST_CATALOG_URL or S3_ENDPOINT is not set: this test needs a catalog that speaks Iceberg's REST protocol, with access to that store")
	}
	name := "curate-rest-" + strings.ToLower(rand.Text())[:8]
	c := objectstore.Config{Endpoint: store, Region: "us-east-1", AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), Bucket: name}
	l := &lands{lake: &lake{dir: t.TempDir()}}
	for variable, value := range map[string]string{"CATALOG_URL": url, "S3_BUCKET": name, "S3_BUCKET_PRIVATE": name + "-private", "S3_REGION": "us-east-1", "SCRATCH": t.TempDir(), "ELASTICSEARCH_URL": "", "LOG_FORMAT": "text"} {
		t.Setenv(variable, value)
	}
	for _, bucket := range []string{name + "-private", name} {
		c.Bucket = bucket
		b, err := objectstore.Open(c)
		if err == nil {
			err = b.EnsureBucket(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if l.warehouse, err = warehouse.Open(t.Context(), warehouse.Config{Catalog: url, Name: "lake", Store: b, Prefix: "warehouse", Scratch: t.TempDir()}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx := context.WithoutCancel(t.Context())
			for objects := []objectstore.Info{{}}; len(objects) > 0; {
				if objects, err = b.List(ctx, "", "", 0); err != nil {
					t.Error(err)
				}
				for _, o := range objects {
					if err := b.Delete(ctx, o.Key); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	tables, err := l.warehouse.Tables(t.Context())
	if err != nil || len(tables) > 0 {
		t.Skipf("the catalog is in use: %v, %v", tables, err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		tables, err := l.warehouse.Tables(ctx)
		if err != nil {
			t.Error(err)
		}
		for _, n := range tables {
			if err := l.warehouse.Drop(ctx, n); err != nil {
				t.Error(err)
			}
		}
	})
	if l.db, err = duck.Open(t.Context(), duck.Options{Memory: 128 << 20, Threads: 1, Scratch: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	do := func(want string, args ...string) {
		t.Helper()
		var out, said bytes.Buffer
		code := run(t.Context(), append([]string{args[0], "--dir", l.dir}, args[1:]...), &out, &said)
		if code != 0 || !strings.Contains(out.String()+said.String(), want) {
			t.Errorf("%q: %d, want %q: %s%s", args, code, want, out.String(), said.String())
		}
		if args[0] == "run" {
			t.Log(said.String())
		}
	}
	l.land(t, "PageView", "AirQualitySensor")
	do("rows=20", "run")
	do("rows=0", "run")
	do("\n10", "query", "--format", "csv", "select count(*) as n from star.fact_page_view")
	l.land(t, "PageView", "AirQualitySensor")
	do("rows=20", "run")
	do("\n20", "query", "--format", "csv", "select count(*) as n from star.fact_air_quality")
	do("", "maintain")
	do("events.enriched_pageview_0: 20 rows", "rebuild", "--table", "events.enriched_pageview_0", "--verify", "--yes")
	do("rows=0", "run")
	do("\n20", "query", "--format", "csv", "select count(*) as n from star.fact_page_view")
}
