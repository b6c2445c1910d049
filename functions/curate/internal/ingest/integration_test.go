//go:build integration

package ingest

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

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	_ "github.com/trinodb/trino-go-client/trino" // the driver trino

	"millrace/shared/landing"
	"millrace/shared/objectstore"
)

// realLake is a lake on the servers that the environment names (TRINO_URL, CATALOG_URL, S3_ENDPOINT), with buckets and namespaces of its own, and Trino on it.
func realLake(t *testing.T) (*lake, *sql.DB) {
	t.Helper()
	trinoURL, catalog, store := os.Getenv("TRINO_URL"), os.Getenv("CATALOG_URL"), os.Getenv("S3_ENDPOINT")
	if trinoURL == "" || catalog == "" || store == "" {
		t.Skip("TRINO_URL, CATALOG_URL and S3_ENDPOINT are not all set: this test needs a Trino, its catalog and its store")
	}
	u, err := url.Parse(trinoURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User, u.RawQuery = url.User("millrace"), "catalog=lake"
	db, err := sql.Open("trino", u.String())
	if err != nil {
		t.Fatal(err)
	}
	name := "ingest" + strings.ToLower(rand.Text()[:8])
	l := &lake{t: t, url: store, key: os.Getenv("AWS_ACCESS_KEY_ID"), secret: os.Getenv("AWS_SECRET_ACCESS_KEY"), catalog: catalog, prefix: name + "_", tails: map[string]landing.Entry{}}
	l.public, l.private = l.bucket(name), l.bucket(name+"-private")
	l.know()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		for _, schema := range []string{"events", "ops", "star"} {
			if _, err := db.ExecContext(ctx, `drop schema if exists lake."`+l.prefix+schema+`" cascade`); err != nil {
				t.Error(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		for _, b := range []*objectstore.Bucket{l.public, l.private} {
			if err := l.remove(ctx, b); err != nil {
				t.Error(err)
			}
		}
	})
	for _, b := range []*objectstore.Bucket{l.public, l.private} {
		if err := b.EnsureBucket(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return l, db
}

// remove deletes a bucket with all its objects.
func (l *lake) remove(ctx context.Context, b *objectstore.Bucket) error {
	for {
		objects, err := b.List(ctx, "", "", 0)
		if err != nil {
			return err
		}
		for _, o := range objects {
			if err := b.Delete(ctx, o.Key); err != nil {
				return err
			}
		}
		if len(objects) == 0 {
			break
		}
	}
	c, err := minio.New(strings.TrimPrefix(l.url, "http://"), &minio.Options{Creds: credentials.NewStaticV4(l.key, l.secret, "")})
	if err != nil {
		return err
	}
	return c.RemoveBucket(ctx, b.Name())
}

// Guards the tables against being readable by DuckDB alone: with Postgres as the catalog and a real store, Trino reads rows of before and behind an addition to the contract, of a day that is no date, and what a
// rebuild and a backfill left.
func TestRealServers(t *testing.T) {
	l, db := realLake(t)
	want := func(sql, want string) {
		t.Helper()
		rows, err := db.QueryContext(t.Context(), strings.ReplaceAll(sql, "$", `lake."`+l.prefix+`events"`))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		var got []string
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			got = append(got, line)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(got, "\n"); got != want {
			t.Errorf("%s\ngot\n%s\nwant\n%s", sql, got, want)
		}
	}
	l.know(l.contract("X", 1, propertiesOne))
	l.land(enriched, typedObject("X", &first{A: ref(int64(1)), L: []inner{{stamp(today)}, {}}}, nil))
	l.must()
	l.know(l.contract("X", 1, propertiesOne), l.contract("X", 2, propertiesTwo))
	far := plain("Y", 1)
	far.day = "12026-01-01"
	l.land(enriched, typedObject("X", &second{A: ref(int64(2)), B: ref("b"), L: []moreInner{{stamp(today), ref("u")}}}), far)
	l.land(deadOnes, deadObject("x", "y"))
	check := func() {
		t.Helper()
		want(`select coalesce(cast(payload.a as varchar), '-') || coalesce(payload.b, '-') || coalesce(cast(cardinality(payload.l) as varchar), '-') || coalesce(payload.l[1].u, '-') from $.enriched_x_0 order by kafka_offset`,
			"1-2-\n----\n2b1u")
		want(`select cast(count(*) as varchar) || ' ' || cast(count(arrival_date) as varchar) from $.enriched_y_0`, "1 0")
		want(`select failure_code || cast(payload_bytes as varchar) || ' ' || cast(arrival_date as varchar) from $.dead where arrival_date = date '2026-11-20' order by 1`, "x7 2026-11-20\ny7 2026-11-20")
	}
	if res := l.must(); len(res.Alarms) > 0 || res.Rows() != 4 {
		t.Errorf("%+v", res)
	}
	check()
	l.with(func(o Options) {
		o.Clock = time.Now
		res, err := Run(t.Context(), o)
		if err != nil || res.Rows() != 0 {
			t.Errorf("%v, %+v", err, res)
		}
		t.Log("nothing new:", res.Durations.All)
		if _, err := Backfill(t.Context(), o, *stamp(today), *stamp(today)); err != nil {
			t.Error(err)
		}
		check()
		if res, err := Rebuild(t.Context(), o); err != nil || res.Rows() != 6 {
			t.Errorf("%v, %+v", err, res)
		}
		check()
	})
	if got := fmt.Sprint(l.query("select count(*) from events.enriched_x_0")); got != "3" {
		t.Error(got)
	}
	// Rows that Trino deletes are no rows that landing must have; those that it left are.
	l.land(enriched, plain("Z", 3))
	e := l.land(enriched, plain("Z", 3))
	l.must()
	if _, err := db.ExecContext(t.Context(), `delete from lake."`+l.prefix+`events".enriched_z_0 where kafka_offset % 3 = 0`); err != nil {
		t.Fatal(err)
	}
	backfill := func(accept ...string) (err error) {
		l.with(func(o Options) {
			o.Accept = accept
			_, err = Backfill(t.Context(), o, *stamp(today), *stamp(today))
		})
		return err
	}
	mend := l.deleteLanded(t.Context(), e.Sequence)
	if err := backfill(fmt.Sprintf("%s@%d", e.TopicID, e.Sequence)); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "it has 4 rows of these days, landing has 3") {
		t.Errorf("of half of the rows: %v", err)
	}
	mend()
	if err := backfill(); err != nil {
		t.Error(err)
	}
	want(`select cast(count(*) as varchar) from $.enriched_z_0`, "6")
}

// deleteLanded deletes the objects of type Z that the entry names, and returns what puts them back.
func (l *lake) deleteLanded(ctx context.Context, sequence int64) func() {
	l.t.Helper()
	e, err := landing.Open(l.public, enriched, topicID(enriched)).Read(ctx, sequence)
	if err != nil {
		l.t.Fatal(err)
	}
	key := e.Objects[0].Key
	body, err := l.public.Get(ctx, key)
	if err == nil {
		err = l.public.Delete(ctx, key)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return func() { l.put(key, body) }
}
