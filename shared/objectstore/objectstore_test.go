package objectstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

func open(t *testing.T, c objectstore.Config) *objectstore.Bucket {
	t.Helper()
	b, err := objectstore.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func server(t *testing.T, buckets ...string) *objectstoretest.Server {
	s := objectstoretest.NewServer(buckets...)
	t.Cleanup(s.Close)
	return s
}

// Guards the adapter, and the fake that other tests rest on, against drifting from what real stores do.
func TestConformance(t *testing.T) {
	objectstoretest.Run(t, open(t, server(t).Config("bucket", 2)))
}

// Guards against two drains that both win: a store that ignores If-None-Match must be found out, and its probe removed.
func TestCheckConditionalFindsAStoreThatIgnoresTheCondition(t *testing.T) {
	s := server(t, "bucket")
	s.IgnoreConditions()
	if err := open(t, s.Config("bucket", 2)).CheckConditional(t.Context()); !errors.Is(err, objectstore.ErrUnconditional) {
		t.Errorf("got %v", err)
	}
	if left := s.Objects("bucket"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Guards against an outage that reads as "this store is fine" or "this store is unfit".
func TestCheckConditionalDuringAnOutage(t *testing.T) {
	s := server(t, "bucket")
	s.Fail(func(string, string, string) objectstoretest.Fault { return objectstoretest.Refuse })
	err := open(t, s.Config("bucket", 1)).CheckConditional(t.Context())
	if err == nil || errors.Is(err, objectstore.ErrUnconditional) || errors.Is(err, objectstore.ErrExists) {
		t.Errorf("got %v", err)
	}
}

// Guards the case in which the first PUT succeeded and its answer was lost: the repetition is refused, which the caller
// must see as ErrExists and can resolve by reading its own bytes.
func TestPutIfAbsentWhoseAnswerWasLost(t *testing.T) {
	for _, fault := range []objectstoretest.Fault{objectstoretest.WriteThenCut, objectstoretest.WriteThenFail} {
		s := server(t, "bucket")
		first := true
		s.Fail(func(method, _, _ string) objectstoretest.Fault {
			if method == "PUT" && first {
				first = false
				return fault
			}
			return objectstoretest.Serve
		})
		b := open(t, s.Config("bucket", 3))
		if err := b.PutIfAbsent(t.Context(), "k", []byte("mine")); !errors.Is(err, objectstore.ErrExists) {
			t.Errorf("fault %d: got %v", fault, err)
		}
		if got, err := b.Get(t.Context(), "k"); err != nil || string(got) != "mine" {
			t.Errorf("fault %d: %q, %v", fault, got, err)
		}
	}
}

// Guards against a short outage that fails a drain, and against a long one that hangs or looks like a missing object.
func TestOutage(t *testing.T) {
	s := server(t, "bucket")
	left := 2
	s.Fail(func(string, string, string) objectstoretest.Fault {
		if left--; left >= 0 {
			return objectstoretest.Refuse
		}
		return objectstoretest.Serve
	})
	if err := open(t, s.Config("bucket", 3)).Put(t.Context(), "k", []byte("x")); err != nil {
		t.Errorf("a short outage: %v", err)
	}
	s.Fail(func(string, string, string) objectstoretest.Fault { return objectstoretest.Cut })
	b := open(t, s.Config("bucket", 1))
	if _, err := b.Get(t.Context(), "k"); err == nil || errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if _, err := b.List(t.Context(), "", "", 0); err == nil {
		t.Error("list succeeded")
	}
}

// Guards against a log that looks empty because its bucket is missing.
func TestMissingBucketIsNoMissingObject(t *testing.T) {
	b := open(t, server(t).Config("nowhere", 1))
	if _, err := b.Get(t.Context(), "k"); err == nil || errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if _, err := b.List(t.Context(), "", "", 0); err == nil {
		t.Error("list succeeded")
	}
}

// Guards the operator: all that is wrong is said at once, and no secret in it.
func TestConfigValidate(t *testing.T) {
	_, err := objectstore.Open(objectstore.Config{Endpoint: "127.0.0.1:9000", SecretKey: "hush"})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"endpoint", "region", "access key", "bucket"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q misses %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "hush") {
		t.Error("the secret shows")
	}
}

// Guards the operator against a full disk that reads as a timeout: what the store answered is in the error, also where the time ended on a later attempt that had no answer.
func TestFullDiskSaysSo(t *testing.T) {
	s := server(t, "bucket")
	says := func(err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "507 XMinioStorageFull") {
			t.Errorf("got %v", err)
		}
	}
	s.Fail(func(string, string, string) objectstoretest.Fault { return objectstoretest.Full })
	says(open(t, s.Config("bucket", 2)).Put(t.Context(), "k", []byte("x")))
	says(open(t, s.Config("bucket", 2)).PutIfAbsent(t.Context(), "k", []byte("x")))
	var n atomic.Int32 // a request that is given up may still be there
	s.Fail(func(string, string, string) objectstoretest.Fault {
		if n.Add(1) == 1 {
			return objectstoretest.Full
		}
		return objectstoretest.Hang
	})
	c := s.Config("bucket", 4)
	c.Timeout = time.Second
	err := open(t, c).Put(t.Context(), "k", []byte("x"))
	says(err)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	// minio-go repeats what has no body by itself.
	n.Store(0)
	s.Fail(func(string, string, string) objectstoretest.Fault {
		if n.Add(1) == 1 {
			return objectstoretest.Refuse
		}
		return objectstoretest.Hang
	})
	if _, err := open(t, c).List(t.Context(), "", "", 0); err == nil || !strings.Contains(err.Error(), "503 SlowDown") {
		t.Errorf("list: %v", err)
	}
}

// Guards large downloads: a body that is cut again and again is read on where it ended, as long as attempts are left, and never from another version of the object.
func TestDownloadGoesOn(t *testing.T) {
	body := []byte(strings.Repeat("0123456789", 10000))
	f := func(cuts int, change bool, want string) {
		t.Helper()
		s := server(t, "bucket")
		b := open(t, s.Config("bucket", 3))
		if err := b.Put(t.Context(), "key", body); err != nil {
			t.Fatal(err)
		}
		gets := 0
		s.CutBodies(func(_ string, size int) int {
			if gets++; gets <= cuts {
				return size / 2
			}
			return size
		})
		file, err := os.Create(filepath.Join(t.TempDir(), "got"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		w := &meddler{WriterAt: file, first: func() {
			if !change {
				return
			}
			if err := b.Put(t.Context(), "key", []byte(strings.Repeat("x", len(body)))); err != nil {
				t.Error(err)
			}
		}}
		_, err = b.Download(t.Context(), "key", w)
		if (err == nil) != (want == "") || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%d cuts: %v, want %q", cuts, err, want)
		}
		got, readErr := os.ReadFile(file.Name())
		if readErr != nil || err == nil && !bytes.Equal(got, body) {
			t.Errorf("%d cuts: %d bytes, %v", cuts, len(got), readErr)
		}
	}
	f(0, false, "")
	f(1, false, "")
	f(3, false, "bytes of 100000")
	f(1, true, "412")
}

// meddler calls first before the first write.
type meddler struct {
	io.WriterAt
	once  sync.Once
	first func()
}

func (m *meddler) WriteAt(p []byte, at int64) (int, error) {
	m.once.Do(m.first)
	return m.WriterAt.WriteAt(p, at)
}
