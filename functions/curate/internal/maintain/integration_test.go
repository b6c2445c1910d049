//go:build integration

package maintain

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/objectstore"
)

// Guards against a real store and a Postgres catalog that behave otherwise: what a maintenance of everything leaves is the table's rows, in one object of data, and nothing that nobody names.
func TestMaintenanceOnRealServers(t *testing.T) {
	dsn := os.Getenv("POSTGRES_DSN")
	if dsn == "" || os.Getenv("S3_ENDPOINT") == "" {
		t.Skip("POSTGRES_DSN or S3_ENDPOINT is not set")
	}
	name := "millrace_maintain_" + strings.ToLower(rand.Text())[:10]
	admin, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.ExecContext(t.Context(), "create database "+name); err != nil {
		t.Fatal(err)
	}
	b, err := objectstore.Open(objectstore.Config{
		Endpoint: os.Getenv("S3_ENDPOINT"), Region: os.Getenv("AWS_REGION"), AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), Bucket: "millrace-maintain-test",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := func(ctx context.Context, part string) []objectstore.Info {
		objects, err := b.List(ctx, name+part, "", 0)
		if err != nil {
			t.Error(err)
		}
		return objects
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, o := range list(ctx, "/") {
			if err := b.Delete(ctx, o.Key); err != nil {
				t.Error(err)
			}
		}
		_, err := admin.ExecContext(ctx, "drop database "+name+" with (force)")
		if err := errors.Join(err, admin.Close()); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	w, err := warehouse.Open(t.Context(), warehouse.Config{Catalog: u.String(), Name: "lake", Store: b, Prefix: name, Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	l := &lake{t: t, w: w, now: time.Now()}
	t.Cleanup(func() {
		if l.db != nil {
			err = l.db.Close()
		}
		if err := errors.Join(err, w.Close()); err != nil {
			t.Error(err)
		}
	})
	tbl := l.ensure(trips, spec)
	for i := range 6 {
		tbl = l.add(tbl, "2026-11-20", fmt.Sprint("a", i))
	}
	l.add(tbl, "2020-01-01", "past")
	stage := l.ensure(warehouse.Name{Namespace: "star", Table: "stage"}, spec)
	l.add(stage, "2026-11-20", "x")
	if err := w.Drop(t.Context(), stage.Name); err != nil {
		t.Fatal(err)
	}
	o := l.options()
	o.Snapshots = 1
	o.Contracts = pageView(t, "13", "M")
	r := l.run(o)
	if len(r.Retention) != 1 || len(r.Compaction) != 1 || r.Sweep.Objects != 0 || r.Sweep.Young == 0 {
		t.Errorf("at first %+v", r)
	}
	l.now = l.now.Add(2 * day)
	r = l.run(o)
	if len(r.Expiry) != 1 || r.Sweep.Objects < 10 || len(r.Sweep.Unknown) != 0 {
		t.Errorf("two days later %+v", r)
	}
	tbl = l.load(trips)
	if got := l.rows(tbl, l.files(tbl)); got != "a0 2026-11-20, a1 2026-11-20, a2 2026-11-20, a3 2026-11-20, a4 2026-11-20, a5 2026-11-20" {
		t.Errorf("rows %s", got)
	}
	if data, all := list(t.Context(), "/events/enriched_pageview_0/data/"), list(t.Context(), "/"); len(data) != 1 || len(list(t.Context(), "/star/")) != 0 {
		t.Errorf("%d objects of data, %d in all", len(data), len(all))
	}
}
