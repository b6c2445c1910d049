package objectstoretest

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // S3's ETag is one
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"millrace/shared/objectstore"
)

// Kind is a kind of store that the suite runs against.
type Kind int

// The stores that Differences tells apart.
const (
	MinIO    Kind = iota
	Embedded      // the one of knative/local
)

// A Difference is a behaviour in which the two stores differ: what the suite observes of it on each.
type Difference struct {
	What            string // the question that the suite asks
	MinIO, Embedded string // the answers
	Why             string // it does not matter to our functions
}

// Differences lists the behaviours within the suite's reach in which the embedded store is known to differ. Both sides are asserted.
var Differences = map[string]Difference{
	"a key as a folder": {
		What: "What becomes of a write to k/below where k is an object?", MinIO: "written", Embedded: "refused",
		Why: "no key of the landing log or of a drain's objects is another key's folder",
	},
	"stat with an unknown access key": {
		What: "What does a HEAD say to a client whose access key nobody knows?", MinIO: "another error", Embedded: "no such object",
		Why: "a HEAD's 404 decides nothing here (see Bucket.Stat); reads, lists and writes are refused as such",
	},
	"lifecycle": {
		What: "What does the store answer when asked for its lifecycle rules?", MinIO: "none set", Embedded: "not implemented",
		Why: "no function asks for any; retention of landing objects is the operator's",
	},
}

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
	// Guards readers of Parquet and files larger than memory: parts and files come back as they are, at the object's borders too, and what is not there is an error.
	t.Run("ranges and files", func(t *testing.T) {
		for _, n := range []int{0, 1, 3 << 20} {
			body := make([]byte, n)
			rand.Read(body)
			local := filepath.Join(t.TempDir(), "body")
			if err := os.WriteFile(local, body, 0o600); err != nil {
				t.Fatal(err)
			}
			key := put(t, fmt.Sprintf("file-%d", n), []byte("an earlier body"))
			if err := b.PutFile(ctx, key, local); err != nil {
				t.Fatal(err)
			}
			if got, err := b.Get(ctx, key); err != nil || !bytes.Equal(got, body) {
				t.Errorf("PutFile of %d bytes: %d came back, %v", n, len(got), err)
			}
			f, err := os.Create(filepath.Join(t.TempDir(), "got"))
			if err != nil {
				t.Fatal(err)
			}
			info, err := b.Download(ctx, key, f)
			got, readErr := os.ReadFile(f.Name())
			if err := errors.Join(err, readErr, f.Close()); err != nil || !bytes.Equal(got, body) || info.Size != int64(n) || info.Key != key {
				t.Errorf("Download of %d bytes: %d came, %+v, %v", n, len(got), info, err)
			}
			for _, r := range [][2]int{{0, n}, {0, min(n, 7)}, {n - min(n, 9), min(n, 9)}, {n / 2, n / 3}} {
				if r[1] == 0 {
					continue
				}
				if got, info, err := b.GetRange(ctx, key, int64(r[0]), int64(r[1])); err != nil || !bytes.Equal(got, body[r[0]:r[0]+r[1]]) || info.Size != int64(n) {
					t.Errorf("%d bytes from %d on of %d: %d came, %v", r[1], r[0], n, len(got), err)
				}
			}
			for _, r := range [][2]int{{n, 1}, {0, n + 1}, {n + 5, 3}, {-1, 1}, {0, -1}, {0, 0}} {
				if got, _, err := b.GetRange(ctx, key, int64(r[0]), int64(r[1])); err == nil || errors.Is(err, objectstore.ErrNotFound) {
					t.Errorf("%d bytes from %d on of %d: %d came, %v", r[1], r[0], n, len(got), err)
				}
			}
		}
		if _, _, err := b.GetRange(ctx, dir+"none", 0, 1); !errors.Is(err, objectstore.ErrNotFound) {
			t.Errorf("range of no object: %v", err)
		}
		if _, err := b.Download(ctx, dir+"none", discard{}); !errors.Is(err, objectstore.ErrNotFound) {
			t.Errorf("download of no object: %v", err)
		}
		if err := b.PutFile(ctx, dir+"none", filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("put of no file: %v", err)
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

// Store proves of a whole store what [Run] proves of a bucket, and what takes more than one client to see: who is refused, a bucket that is missing, bodies that were
// damaged on their way, long listings, parts of objects, ETags. c.Bucket is made where it is missing; keys and further buckets are its own, and removed.
func Store(t *testing.T, c objectstore.Config, kind Kind) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	defer transport.CloseIdleConnections() // whoever ends the store next need not wait for them
	c.Transport = transport
	Run(t, open(t, c))
	ctx := t.Context()
	observed := map[string]bool{}
	differs := func(t *testing.T, name, got string) {
		t.Helper()
		d, known := Differences[name]
		observed[name] = true
		want := d.MinIO
		if kind == Embedded {
			want = d.Embedded
		}
		if !known || got != want {
			t.Errorf("difference %q: got %q, the list says %q", name, got, want)
		}
	}
	b, core := open(t, c), client(t, c)
	dir := "conformance/" + rand.Text() + "/"
	put := func(t *testing.T, key string, body []byte) string {
		t.Helper()
		if err := b.Put(ctx, dir+key, body); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Delete(context.WithoutCancel(ctx), dir+key); err != nil {
				t.Errorf("cleaning up: %v", err)
			}
		})
		return dir + key
	}

	// Guards the two buckets' separation and the operator: a wrong secret or key is refused, for each operation, as neither "there is none" nor "it exists".
	t.Run("wrong credentials", func(t *testing.T) {
		key := put(t, "private", []byte("x"))
		for what, change := range map[string]func(*objectstore.Config){
			"secret": func(c *objectstore.Config) { c.SecretKey = "not the secret" },
			"key":    func(c *objectstore.Config) { c.AccessKey = "not-the-key" },
		} {
			wrong := c
			change(&wrong)
			w := open(t, wrong)
			_, get := w.Get(ctx, key)
			_, list := w.List(ctx, dir, "", 0)
			for op, err := range map[string]error{
				"get": get, "list": list, "put": w.Put(ctx, key, nil), "put if absent": w.PutIfAbsent(ctx, key, nil), "delete": w.Delete(ctx, key), "make bucket": w.EnsureBucket(ctx),
			} {
				if err == nil || errors.Is(err, objectstore.ErrNotFound) || errors.Is(err, objectstore.ErrExists) {
					t.Errorf("%s with a wrong %s: %v", op, what, err)
				} else if strings.Contains(err.Error(), wrong.SecretKey) {
					t.Errorf("%s with a wrong %s shows the secret: %v", op, what, err)
				}
			}
		}
		wrong := c
		wrong.AccessKey = "not-the-key"
		_, err := open(t, wrong).Stat(ctx, key)
		got := "another error"
		if errors.Is(err, objectstore.ErrNotFound) {
			got = "no such object"
		}
		differs(t, "stat with an unknown access key", got)
		wrong = c
		wrong.SecretKey = "not the secret"
		if _, err := open(t, wrong).Stat(ctx, key); err == nil || errors.Is(err, objectstore.ErrNotFound) {
			t.Errorf("stat with a wrong secret: %v", err)
		}
		if got, err := b.Get(ctx, key); err != nil || string(got) != "x" {
			t.Errorf("afterwards %q, %v", got, err)
		}
	})
	// Guards keys in a file that are replaced while the bucket is in use: the next operation has the new ones. A file that is away, or that holds none, is an error that shows no secret.
	t.Run("credentials from a file", func(t *testing.T) {
		key := put(t, "rotated", []byte("x"))
		file := filepath.Join(t.TempDir(), "credentials")
		replace := func(text string) {
			t.Helper()
			if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		}
		const profile = "[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n"
		right := fmt.Sprintf(profile, "default", "none", "none") + fmt.Sprintf(profile, "lake", c.AccessKey, c.SecretKey)
		f := c
		f.AccessKey, f.SecretKey, f.CredentialsFile, f.Profile, f.Attempts = "", "", file, "lake", 1
		w := open(t, f)
		for i, step := range []struct{ text, want string }{
			{"-", "no such file"},
			{right, ""},
			{fmt.Sprintf(profile, "lake", c.AccessKey, "not the secret"), "get "},
			{"[lake]\n", "has no profile"},
			{"not the secret", "has no profile"},
			{fmt.Sprintf(profile, "other", c.AccessKey, c.SecretKey), `has no profile "lake"`},
			{right, ""},
		} {
			if step.text != "-" {
				replace(step.text)
			}
			got, err := w.Get(ctx, key)
			if (err == nil) != (step.want == "") || !strings.Contains(fmt.Sprint(err), step.want) || (err == nil && string(got) != "x") {
				t.Errorf("step %d: %q, %v; want %q", i, got, err, step.want)
			}
			if err != nil && (strings.Contains(err.Error(), c.SecretKey) || strings.Contains(err.Error(), "not the secret")) {
				t.Errorf("step %d shows a secret: %v", i, err)
			}
			if err := w.PutIfAbsent(ctx, key, nil); errors.Is(err, objectstore.ErrExists) != (step.want == "") {
				t.Errorf("step %d: put: %v", i, err)
			}
		}
	})
	// Guards against a log that looks empty, or an object that looks deleted, because the bucket is missing; and against a bucket that comes into being by a write.
	t.Run("missing bucket", func(t *testing.T) {
		missing := c
		missing.Bucket = "millrace-none-" + strings.ToLower(rand.Text())[:10]
		m := open(t, missing)
		_, get := m.Get(ctx, "k")
		_, list := m.List(ctx, "", "", 0)
		for op, err := range map[string]error{"get": get, "list": list, "put": m.Put(ctx, "k", nil), "put if absent": m.PutIfAbsent(ctx, "k", nil), "check": m.CheckConditional(ctx)} {
			if err == nil || errors.Is(err, objectstore.ErrNotFound) || errors.Is(err, objectstore.ErrExists) {
				t.Errorf("%s: %v", op, err)
			}
		}
		if err := m.EnsureBucket(ctx); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := core.RemoveBucket(ctx, missing.Bucket); err != nil {
				t.Error(err)
			}
		}()
		if l, err := m.List(ctx, "", "", 0); err != nil || len(l) != 0 {
			t.Errorf("the bucket once made: %v, %v", l, err)
		}
		// A bucket that holds something does not go.
		if err := m.Put(ctx, "k", nil); err != nil {
			t.Fatal(err)
		}
		if err := core.RemoveBucket(ctx, missing.Bucket); minio.ToErrorResponse(err).Code != "BucketNotEmpty" {
			t.Errorf("remove with an object in it: %v", err)
		}
		if err := m.Delete(ctx, "k"); err != nil {
			t.Fatal(err)
		}
	})
	// Guards the landing log's sha256: a body that is not what its sum says is refused, and nothing of it is kept.
	t.Run("damaged body", func(t *testing.T) {
		sum := sha256.Sum256([]byte("intended"))
		_, err := core.PutObject(ctx, c.Bucket, dir+"damaged", strings.NewReader("deviated"), 8, "", hex.EncodeToString(sum[:]), minio.PutObjectOptions{DisableMultipart: true, DisableContentSha256: true})
		if minio.ToErrorResponse(err).StatusCode != http.StatusBadRequest {
			t.Errorf("got %v", err)
		}
		if _, err := b.Get(ctx, dir+"damaged"); !errors.Is(err, objectstore.ErrNotFound) {
			t.Errorf("afterwards: %v", err)
		}
	})
	// Guards readers of Parquet: a part of an object is that part, and the whole object has the MD5 of its bytes as ETag, changing with them.
	t.Run("parts and ETag", func(t *testing.T) {
		body := make([]byte, 3<<20)
		_, _ = rand.Read(body) // it cannot fail
		key := put(t, "part", body)
		for _, r := range [][2]int64{{0, 0}, {1 << 20, 2<<20 - 1}, {3<<20 - 8, 3<<20 - 1}, {0, -8}} {
			var o minio.GetObjectOptions
			if err := o.SetRange(r[0], r[1]); err != nil {
				t.Fatal(err)
			}
			want := body[max(0, len(body)-8):]
			if r[1] >= 0 {
				want = body[r[0] : r[1]+1]
			}
			rc, _, header, err := core.GetObject(ctx, c.Bucket, key, o)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(rc)
			if err := errors.Join(err, rc.Close()); err != nil || !bytes.Equal(got, want) || header.Get("Content-Range") == "" {
				t.Errorf("range %v: %d bytes, %q, %v", r, len(got), header.Get("Content-Range"), err)
			}
		}
		sum := md5.Sum(body) //nolint:gosec // as above
		info, err := core.StatObject(ctx, c.Bucket, key, minio.StatObjectOptions{})
		if err != nil || info.ETag != hex.EncodeToString(sum[:]) {
			t.Errorf("ETag %s, want %x, %v", info.ETag, sum, err)
		}
		put(t, "part", body[1:])
		if again, err := core.StatObject(ctx, c.Bucket, key, minio.StatObjectOptions{}); err != nil || again.ETag == info.ETag {
			t.Errorf("ETag %s of other bytes, %v", again.ETag, err)
		}
	})
	// Guards the log beyond S3's 1,000 keys an answer: pages in byte order, without a gap or a repetition where they meet.
	t.Run("pages", func(t *testing.T) {
		var want []string
		var wg sync.WaitGroup
		slots := make(chan struct{}, 8)
		for i := range 1100 {
			key := fmt.Sprintf("%spages/%020d.json", dir, i*7)
			want = append(want, key)
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if err := b.PutIfAbsent(ctx, key, []byte("{}")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, size := range []int{0, 1000, 333} {
			var got []string
			for after := ""; ; {
				page, err := b.List(ctx, dir+"pages/", after, size)
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range page {
					got = append(got, o.Key)
				}
				if full := size; len(page) < 1 || full > 0 && len(page) < full || full == 0 && len(page) < objectstore.MaxList {
					break
				}
				after = got[len(got)-1]
			}
			if !slices.Equal(got, want) {
				t.Errorf("pages of %d: %d keys of %d", size, len(got), len(want))
			}
		}
		for _, key := range want {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if err := b.Delete(ctx, key); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if l, err := b.List(ctx, dir+"pages/", "", 0); err != nil || len(l) != 0 {
			t.Errorf("deleted, but %d are listed, %v", len(l), err)
		}
	})
	// Guards byte order where it is not a dictionary's: capitals before small letters, '-' before '/', umlauts last, and a folder's name among files'.
	t.Run("byte order", func(t *testing.T) {
		var want []string
		for _, k := range []string{"order/Z", "order/a-b", "order/a/b", "order/a0", "order/b", "order/ä"} {
			want = append(want, put(t, k, nil))
		}
		slices.Sort(want)
		l, err := b.List(ctx, dir+"order/", "", 0)
		var got []string
		for _, o := range l {
			got = append(got, o.Key)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, want %q, %v", got, want, err)
		}
	})
	// Says what becomes of a key that is another key's folder: our keys never are.
	t.Run("a key as a folder", func(t *testing.T) {
		put(t, "folder", []byte("x"))
		got := "refused"
		if err := b.Put(ctx, dir+"folder/below", []byte("y")); err == nil {
			got = "written"
			t.Cleanup(func() {
				if err := b.Delete(context.WithoutCancel(ctx), dir+"folder/below"); err != nil {
					t.Error(err)
				}
			})
		}
		differs(t, "a key as a folder", got)
	})
	// Says whether objects can be made to go by themselves: nothing of ours asks for it.
	t.Run("lifecycle", func(t *testing.T) {
		_, err := core.GetBucketLifecycle(ctx, c.Bucket)
		got := "another answer"
		switch r := minio.ToErrorResponse(err); {
		case r.Code == "NoSuchLifecycleConfiguration":
			got = "none set"
		case r.StatusCode == http.StatusNotImplemented:
			got = "not implemented"
		}
		differs(t, "lifecycle", got)
	})
	for name := range Differences {
		if !observed[name] && !t.Failed() {
			t.Errorf("difference %q was not looked at", name)
		}
	}
}

// discard forgets what is written to it.
type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func open(t *testing.T, c objectstore.Config) *objectstore.Bucket {
	t.Helper()
	b, err := objectstore.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// client is a client for what package objectstore does not offer.
func client(t *testing.T, c objectstore.Config) *minio.Core {
	t.Helper()
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	core, err := minio.NewCore(u.Host, &minio.Options{Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""), Secure: u.Scheme == "https", Region: c.Region, BucketLookup: minio.BucketLookupPath, MaxRetries: 1, Transport: c.Transport})
	if err != nil {
		t.Fatal(err)
	}
	return core
}
