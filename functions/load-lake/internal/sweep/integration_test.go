//go:build integration

package sweep_test

import (
	"context"
	"os"
	"testing"
	"time"

	"millrace/functions/load-lake/internal/sweep"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
)

// newRealLake is a lake in a bucket that it empties, on the server that S3_ENDPOINT and AWS_* name, whose clock is the server's.
func newRealLake(t *testing.T) *lake {
	t.Helper()
	if os.Getenv("S3_ENDPOINT") == "" {
		t.Skip("S3_ENDPOINT is not set")
	}
	b, err := objectstore.Open(objectstore.Config{
		Endpoint: os.Getenv("S3_ENDPOINT"), Region: "us-east-1", Bucket: "load-lake-sweep-test", AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := &lake{t: t, b: b, now: time.Now(), tails: map[string]landing.Entry{}}
	t.Cleanup(func() {
		ctx := context.Background()
		for {
			page, err := b.List(ctx, "", "", 0)
			if err != nil || len(page) == 0 {
				return // the empty bucket stays
			}
			for _, o := range page {
				if err := b.Delete(ctx, o.Key); err != nil {
					t.Error(err)
				}
			}
		}
	})
	return l
}

// Guards the sweep against a real store, by its clock and its listings: garbage goes, what the log names stays, through a log of more entries than are read at a time.
func TestRealStore(t *testing.T) {
	l := newRealLake(t)
	var named []string
	for range 40 {
		named = append(named, l.put("raw", day1), l.put("raw", day2))
		l.publish("events.raw", "id1", named[len(named)-2:]...)
	}
	orphan := l.put("raw", day1)
	s := settings
	s.Age, s.Margin, s.Every = time.Nanosecond, time.Nanosecond, time.Nanosecond
	deleted := 0
	for deadline := time.Now().Add(20 * time.Second); deleted == 0; { // the store's clock must move on
		if time.Now().After(deadline) {
			t.Fatal("the garbage stays")
		}
		l.publish("events.raw", "id1")
		r, err := l.sweeper(s, l.b).Sweep(t.Context(), false, always)
		if err != nil || r.Deleted > 1 {
			t.Fatalf("%+v, %v", r, err)
		}
		deleted = r.Deleted
	}
	if _, err := l.b.Stat(t.Context(), orphan); err == nil {
		t.Error("the garbage is still there")
	}
	for _, k := range named {
		if _, err := l.b.Stat(t.Context(), k); err != nil {
			t.Error(err)
		}
	}
	const entries = 300
	for range entries {
		l.publish("events.raw", "id1")
	}
	began := time.Now()
	n := 0
	if err := landing.Open(l.b, "events.raw", "id1").Back(t.Context(), func(landing.Entry) (bool, error) { n++; return true, nil }); err != nil {
		t.Fatal(err)
	}
	t.Logf("a log of %d entries is read whole in %s", n, time.Since(began))
}

var _ sweep.Store = (*objectstore.Bucket)(nil)
