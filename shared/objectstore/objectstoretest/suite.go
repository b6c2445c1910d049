package objectstoretest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"millrace/shared/objectstore"
)

// Run proves that the bucket behind b behaves as package objectstore promises and as the landing log needs. It creates the
// bucket, uses keys of its own and removes them.
func Run(t *testing.T, b *objectstore.Bucket) {
	ctx := t.Context()
	if err := b.EnsureBucket(ctx); err != nil {
		t.Fatal(err)
	}
	// Guards provision's promise to be safe to repeat.
	t.Run("EnsureBucket twice", func(t *testing.T) {
		if err := b.EnsureBucket(ctx); err != nil {
			t.Error(err)
		}
	})
	dir := "conformance/" + rand.Text() + "/"
	put := func(t *testing.T, key string, body []byte) string {
		t.Helper()
		t.Cleanup(func() {
			if err := b.Delete(context.WithoutCancel(ctx), dir+key); err != nil {
				t.Errorf("cleaning up: %v", err)
			}
		})
		if err := b.Put(ctx, dir+key, body); err != nil {
			t.Fatal(err)
		}
		return dir + key
	}

	// Guards the bytes: what is read is what was written, at sizes around minio-go's part size, empty included.
	t.Run("bytes survive", func(t *testing.T) {
		for _, n := range []int{0, 1, 64 << 10, 17 << 20} {
			body := make([]byte, n)
			rand.Read(body)
			key := put(t, fmt.Sprintf("bytes-%d", n), body)
			got, err := b.Get(ctx, key)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes: %d came back, %v", n, len(got), err)
			}
			info, err := b.Stat(ctx, key)
			if err != nil || info.Size != int64(n) || info.Key != key || info.Modified.IsZero() {
				t.Errorf("stat of %d bytes: %+v, %v", n, info, err)
			}
		}
	})
	// Guards the keys that drains make: dates with '=', percent and plus signs, dots.
	t.Run("keys survive", func(t *testing.T) {
		for _, k := range []string{"date=2023-01-01/a-0.parquet", "type%2Fx/1/a+b", "events.raw/-_x/00000000000000000001.json"} {
			key := put(t, k, []byte(k))
			if got, err := b.Get(ctx, key); err != nil || string(got) != k {
				t.Errorf("%s: %q, %v", k, got, err)
			}
			l, err := b.List(ctx, key, "", 0)
			if err != nil || len(l) != 1 || l[0].Key != key {
				t.Errorf("list of %s: %v, %v", k, l, err)
			}
		}
	})
	// Guards the difference between "there is none" and "I cannot tell".
	t.Run("missing objects", func(t *testing.T) {
		if _, err := b.Get(ctx, dir+"none"); !errors.Is(err, objectstore.ErrNotFound) {
			t.Errorf("get: %v", err)
		}
		if _, err := b.Stat(ctx, dir+"none"); !errors.Is(err, objectstore.ErrNotFound) {
			t.Errorf("stat: %v", err)
		}
		if err := b.Delete(ctx, dir+"none"); err != nil {
			t.Errorf("delete: %v", err)
		}
	})
	// Guards Put's replacement and Delete.
	t.Run("replace and delete", func(t *testing.T) {
		key := put(t, "replace", []byte("one"))
		if err := b.Put(ctx, key, []byte("two")); err != nil {
			t.Fatal(err)
		}
		if got, err := b.Get(ctx, key); err != nil || string(got) != "two" {
			t.Errorf("%q, %v", got, err)
		}
		if err := b.Delete(ctx, key); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Get(ctx, key); !errors.Is(err, objectstore.ErrNotFound) {
			t.Errorf("after delete: %v", err)
		}
	})
	// Guards the landing log: the second conditional write is refused and changes nothing.
	t.Run("conditional write", func(t *testing.T) {
		key := put(t, "conditional", []byte("x"))
		if err := b.Delete(ctx, key); err != nil {
			t.Fatal(err)
		}
		if err := b.PutIfAbsent(ctx, key, []byte("first")); err != nil {
			t.Fatal(err)
		}
		if err := b.PutIfAbsent(ctx, key, []byte("second")); !errors.Is(err, objectstore.ErrExists) {
			t.Errorf("second write: %v", err)
		}
		if got, err := b.Get(ctx, key); err != nil || string(got) != "first" {
			t.Errorf("%q, %v", got, err)
		}
		if err := b.CheckConditional(ctx); err != nil {
			t.Errorf("CheckConditional: %v", err)
		}
	})
	// Guards the landing log under a race: of many conditional writers exactly one wins, and the object is the winner's.
	t.Run("conditional race", func(t *testing.T) {
		key := put(t, "race", []byte("x"))
		for round := range 5 {
			if err := b.Delete(ctx, key); err != nil {
				t.Fatal(err)
			}
			var wins atomic.Int32
			var winner atomic.Value
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					body := fmt.Sprintf("writer %d%s", i, strings.Repeat(" ", 4096))
					switch err := b.PutIfAbsent(ctx, key, []byte(body)); {
					case err == nil:
						wins.Add(1)
						winner.Store(body)
					case !errors.Is(err, objectstore.ErrExists):
						t.Errorf("writer %d: %v", i, err)
					}
				})
			}
			wg.Wait()
			got, err := b.Get(ctx, key)
			if wins.Load() != 1 || err != nil || string(got) != winner.Load() {
				t.Errorf("round %d: %d winners, object %.10q, %v", round, wins.Load(), got, err)
			}
		}
	})
	// Guards finding the log's tail: byte order, start-after exclusive, the limit, nothing of a neighbouring prefix.
	t.Run("list", func(t *testing.T) {
		var want []string
		for i := range 7 {
			want = append(want, put(t, fmt.Sprintf("list/%020d.json", i), []byte("{}")))
		}
		put(t, "list2/x", nil)
		keys := func(startAfter string, max int) string {
			l, err := b.List(ctx, dir+"list/", startAfter, max)
			if err != nil {
				t.Fatal(err)
			}
			var ks []string
			for _, o := range l {
				ks = append(ks, o.Key)
			}
			return strings.Join(ks, " ")
		}
		for _, c := range []struct {
			after string
			max   int
			want  []string
		}{{"", 0, want}, {want[2], 0, want[3:]}, {want[2], 2, want[3:5]}, {want[6], 0, nil}, {dir + "list0", 1, nil}, {dir + "list/00000000000000000002", 1, want[2:3]}} {
			if got := keys(c.after, c.max); got != strings.Join(c.want, " ") {
				t.Errorf("after %q, %d at most: got %s", c.after, c.max, got)
			}
		}
	})
	// Guards against a cancelled operation that reports success.
	t.Run("cancelled", func(t *testing.T) {
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		if err := b.Put(cancelled, dir+"cancelled", []byte("x")); err == nil {
			t.Error("put")
		}
		if _, err := b.List(cancelled, dir, "", 0); err == nil {
			t.Error("list")
		}
	})
}
