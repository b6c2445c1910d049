//go:build integration

package warehouse

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	_ "github.com/trinodb/trino-go-client/trino" // the driver trino

	"millrace/shared/objectstore"
)

// realLake is a database and a folder of a bucket of its own, on Postgres and an object store. database names an existing database in place of an own one.
func realLake(t *testing.T, bucket, prefix, database string) *lake {
	t.Helper()
	dsn := os.Getenv("POSTGRES_DSN")
	if dsn == "" || os.Getenv("S3_ENDPOINT") == "" {
		t.Skip("POSTGRES_DSN or S3_ENDPOINT is not set")
	}
	b, err := objectstore.Open(objectstore.Config{
		Endpoint: os.Getenv("S3_ENDPOINT"), Region: os.Getenv("AWS_REGION"), AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), Bucket: bucket,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for {
			objects, err := b.List(ctx, prefix+"/", "", 0)
			if err != nil || len(objects) == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			for _, o := range objects {
				if err := b.Delete(ctx, o.Key); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if database != "" {
		u.Path = "/" + database
		return &lake{store: b, prefix: prefix, catalog: u.String()}
	}
	admin, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := "millrace_warehouse_" + strings.ToLower(rand.Text())[:10]
	if _, err := admin.ExecContext(t.Context(), "create database "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.WithoutCancel(t.Context()), "drop database "+name+" with (force)"); err != nil {
			t.Error(err)
		}
		_ = admin.Close()
	})
	u.Path = "/" + name
	return &lake{store: b, prefix: prefix, catalog: u.String()}
}

func ownLake(t *testing.T) *lake {
	return realLake(t, "millrace-warehouse-test", "warehouse-"+strings.ToLower(rand.Text())[:10], "")
}

// Guards against a Postgres catalog and a real store that behave otherwise than SQLite and the store of the unit tests.
func TestConformanceOnRealServers(t *testing.T) {
	t.Run("conformance", func(t *testing.T) { conformance(t, ownLake(t)) })
	t.Run("many committers", func(t *testing.T) { manyCommitters(t, ownLake(t)) })
	t.Run("lock", func(t *testing.T) { lockTwice(t, ownLake(t)) })
	t.Run("busy", func(t *testing.T) { busySince(t, ownLake(t)) })
	t.Run("lock lost", func(t *testing.T) { lockLost(t, ownLake(t)) })
	t.Run("columns", func(t *testing.T) { columnsAreAdded(t, ownLake(t)) })
	t.Run("fetch", func(t *testing.T) { fetchColumns(t, ownLake(t)) })
}

// lockLost cuts the connection that holds the lock, as a network does in the middle of a long step: whoever held it commits nothing more, even before another one takes it.
func lockLost(t *testing.T, l *lake) {
	t.Helper()
	w, other := l.open(t), l.open(t)
	tbl := ensure(t, w, events, spec())
	unlock, err := w.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tbl = commit(t, w, tbl, Change{Properties: map[string]string{"at": "1"}}) // as long as it is held
	if err := w.Held(t.Context()); err != nil {
		t.Fatal(err)
	}
	var cut bool
	if err := other.db.QueryRowContext(t.Context(), "select pg_terminate_backend((select l.pid from "+locks+"), 10000)", w.lockKey()).Scan(&cut); err != nil || !cut {
		t.Fatalf("the connection was not cut: %v", err)
	}
	lost(t, w, tbl)
	again, err := other.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lost(t, w, tbl)
	if err := unlock(); err == nil {
		t.Error("the end of a lock that was lost is no error")
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}

// Guards a catalog's password: what Open says of a wrong one does not hold it.
func TestOpenHidesThePassword(t *testing.T) {
	l := ownLake(t)
	u, err := url.Parse(l.catalog)
	if err != nil {
		t.Fatal(err)
	}
	for _, dsn := range []string{"postgres://nobody:s3cr%21t@" + u.Host + "/none?sslmode=disable", "postgres://nobody:s3cr%21t@127.0.0.1:1/none"} {
		c := l.config(t)
		c.Catalog = dsn
		if _, err := Open(t.Context(), c); err == nil || strings.Contains(err.Error(), "s3cr") {
			t.Errorf("got %v", err)
		}
	}
}

// Guards what Trino does to our tables: it reads new columns of files that lack them and of those that have them; its DELETE leaves position deletes that are planned with the files they apply to,
// and are a change; a rebuild and a compaction take them away again.
func TestTrinoBesideUs(t *testing.T) {
	dsn := os.Getenv("TRINO_DSN")
	if dsn == "" {
		t.Skip("TRINO_DSN is not set")
	}
	suffix := strings.ToLower(rand.Text())[:10]
	l := realLake(t, "lake", "warehouse-test-"+suffix, "iceberg") // Trino's catalog
	db, err := sql.Open("trino", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	ctx := t.Context()
	w := l.open(t)
	name := Name{"star", "warehouse_test_" + suffix}
	full := "lake.star." + name.Table
	tbl := ensure(t, w, name, spec())
	t.Cleanup(func() {
		if err := w.Drop(context.WithoutCancel(ctx), name); err != nil {
			t.Error(err)
		}
	})
	commit(t, w, tbl, Change{Add: []string{
		write(t, w, tbl, `[{"id":"a","n":1,"day":"2026-11-20"},{"id":"b","n":2,"day":"2026-11-20"}]`), write(t, w, tbl, `[{"id":"c","n":3,"day":"2026-11-21"}]`),
	}, Properties: map[string]string{"at": "1"}})
	wider := spec()
	wider.Columns = append(wider.Columns, Column{Name: "more", Type: text})
	wider.Columns[2].Type = structOf("a", long, "b", text)
	tbl = ensure(t, w, name, wider)
	tbl = commit(t, w, tbl, Change{Add: []string{write(t, w, tbl, `[{"id":"d","n":4,"day":"2026-11-21","more":"m","payload":{"a":1,"b":"x"}}]`)}})
	rows := func(query string) string {
		t.Helper()
		r, err := db.QueryContext(ctx, query)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		var out []string
		for r.Next() {
			var id, more, b sql.NullString
			if err := r.Scan(&id, &more, &b); err != nil {
				t.Fatal(err)
			}
			out = append(out, id.String+more.String+b.String)
		}
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(out)
	}
	if got := rows("select id, more, payload.b from " + full + " order by id"); got != "[a b c dmx]" {
		t.Errorf("Trino reads %s", got)
	}
	before := tbl.Snapshot()
	if _, err := db.ExecContext(ctx, "delete from "+full+" where id in ('a', 'c')"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(ctx, tbl, Change{Properties: map[string]string{"at": "2"}}); err == nil {
		t.Error("a commit to what Trino changed")
	}
	tbl, err = w.Load(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	if tbl.Properties()["at"] != "1" {
		t.Errorf("properties %v", tbl.Properties())
	}
	files, err := tbl.Plan(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	deletes := 0
	for _, f := range files {
		deletes += len(f.Deletes)
	}
	// The file of the 21st with c alone may be gone whole.
	if deletes == 0 {
		t.Errorf("no deletes among %d files", len(files))
	}
	local, err := w.Fetch(ctx, files, []string{"id"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range local {
		for _, d := range f.Deletes {
			if got := values(t, d, "file_path"); !slices.Contains(got, f.File.Path) {
				t.Errorf("the deletes of %s are of %q", f.File.Path, got)
			}
		}
	}
	changes, err := tbl.Changes(ctx, before)
	if err != nil || len(changes.Removed) == 0 || len(changes.Added) != 0 {
		t.Errorf("changes by Trino: %+v, %v", changes, err)
	}
	for _, f := range changes.Removed {
		if f.Partition["day"] == nil {
			t.Errorf("a change without its day: %+v", f)
		}
	}
	// A compaction of the file with deletes: the row that is left, and the deletes go with it.
	var old []File
	for _, f := range files {
		if len(f.Deletes) > 0 {
			old = append(old, f)
		}
	}
	var add []string
	for _, f := range old {
		if f.Rows == 2 {
			add = append(add, write(t, w, tbl, `[{"id":"b","n":2,"day":"2026-11-20"}]`))
		}
	}
	tbl = commit(t, w, tbl, Change{Compaction: true, Remove: old, Add: add})
	if got := rows("select id, more, payload.b from " + full + " order by id"); got != "[b dmx]" {
		t.Errorf("after the compaction Trino reads %s", got)
	}
	if files, err = tbl.Plan(ctx, nil); err != nil || slices.ContainsFunc(files, func(f File) bool { return len(f.Deletes) > 0 }) {
		t.Errorf("after the compaction: %+v, %v", files, err)
	}
	commit(t, w, tbl, Change{RemoveAll: true, Add: []string{write(t, w, tbl, `[{"id":"z","day":"2026-11-22"}]`)}})
	if got := rows("select id, more, payload.b from " + full + " order by id"); got != "[z]" {
		t.Errorf("after a rebuild Trino reads %s", got)
	}
	if _, err := db.ExecContext(ctx, "insert into "+full+" (id, day) values ('t', date '2026-11-23')"); err != nil {
		t.Fatal(err)
	}
	if tbl, err = w.Load(ctx, name); err != nil {
		t.Fatal(err)
	}
	if got := column(t, w, tbl, "id", true); !slices.Equal(got, []string{"t", "z"}) {
		t.Errorf("after Trino's insert we read %q", got)
	}
}
