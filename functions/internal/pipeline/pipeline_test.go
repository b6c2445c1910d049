package pipeline

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"millrace/shared/landing"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// logged writes a landing log of three entries with two rows each, the root ids r0 to r5.
func logged(t *testing.T) (*Stores, *objectstore.Bucket) {
	t.Helper()
	server := objectstoretest.NewServer("private")
	t.Cleanup(server.Close)
	bucket, err := objectstore.Open(server.Config("private", 1))
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		RootID *string `parquet:"root_id,optional"`
	}
	log, prev := landing.Open(bucket, "raw", "id"), landing.Entry{}
	for n := range int64(3) {
		a, b := fmt.Sprintf("r%d", 2*n), fmt.Sprintf("r%d", 2*n+1)
		var object bytes.Buffer
		if err := parquet.Write(&object, []row{{&a}, {&b}}); err != nil {
			t.Fatal(err)
		}
		sum, key := sha256.Sum256(object.Bytes()), fmt.Sprintf("object%d", n)
		if err := bucket.Put(t.Context(), key, object.Bytes()); err != nil {
			t.Fatal(err)
		}
		e := landing.Entry{
			Version: 1, Topic: "raw", TopicID: "id", Sequence: n + 1, Drain: "d", Time: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC),
			Partitions: []landing.Partition{{From: 2 * n, Next: 2*n + 2}},
			Objects:    []landing.Object{{Key: key, Kind: landing.KindRaw, Rows: 2, Bytes: int64(object.Len()), SHA256: hex.EncodeToString(sum[:])}},
		}
		if err := log.Append(t.Context(), prev, e); err != nil {
			t.Fatal(err)
		}
		prev = e
	}
	return &Stores{
		S3: server.URL, Names: Names{Raw: "raw", Enriched: "enriched", Private: "private"},
		Credentials: func() (string, string, error) { return "key", "secret", nil },
	}, bucket
}

// A landing log that lacks an entry or an object, or holds another object than its entry says, must not read as whole: the proof that nothing is lost would rest on what is not there.
func TestLanded(t *testing.T) {
	whole := map[string]int{"r0": 1, "r1": 1, "r2": 1, "r3": 1, "r4": 1, "r5": 1}
	for _, one := range []struct {
		what  string
		spoil func(b *objectstore.Bucket) error
		want  map[string]int // nil: an error
	}{
		{"nothing", func(*objectstore.Bucket) error { return nil }, whole},
		{"the first entry gone", func(b *objectstore.Bucket) error { return b.Delete(t.Context(), landing.Key("raw", "id", 1)) }, nil},
		{"an entry gone", func(b *objectstore.Bucket) error { return b.Delete(t.Context(), landing.Key("raw", "id", 2)) }, nil},
		{"the last entry gone", func(b *objectstore.Bucket) error { return b.Delete(t.Context(), landing.Key("raw", "id", 3)) }, map[string]int{"r0": 1, "r1": 1, "r2": 1, "r3": 1}},
		{"an object gone", func(b *objectstore.Bucket) error { return b.Delete(t.Context(), "object1") }, nil},
		{"another object in its place", func(b *objectstore.Bucket) error {
			o, err := b.Get(t.Context(), "object0")
			if err != nil {
				return err
			}
			return b.Put(t.Context(), "object1", o)
		}, nil},
	} {
		stores, bucket := logged(t)
		if err := one.spoil(bucket); err != nil {
			t.Fatal(err)
		}
		got, err := stores.Landed(t.Context(), "raw", true)
		if (err != nil) != (one.want == nil) || err == nil && !maps.Equal(got.RootIDs, one.want) {
			t.Errorf("%s: %+v, %v", one.what, got, err)
		}
	}
}

// A server that is killed must find its port free again: none that others connect from, that a server has by default, or that the platform gives its functions.
func TestFreeAddress(t *testing.T) {
	for range 50 {
		address, err := FreeAddress(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		host, port, err := net.SplitHostPort(address)
		if n, _ := strconv.Atoi(port); err != nil || host != "127.0.0.1" || n < 10000 || n >= 20000 {
			t.Errorf("%s, %v", address, err)
		}
	}
}

// An overlay must be copied whole, what it links to included and with its own provision job, or the platform would run the rest of another one.
func TestOverlay(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	manifests, err := Overlay(root, dir, "direct", strings.NewReplacer("events.raw", "own.raw"))
	if err != nil || manifests != filepath.Join(dir, "knative", "direct") {
		t.Fatalf("%s, %v", manifests, err)
	}
	for name, want := range map[string]string{"200-config.yaml": "TOPIC_RAW: own.raw", "410-enrich.yaml": "kind: Deployment", "500-drains.yaml": "own.raw", "jobs/provision.yaml": "kind: Job"} {
		b, err := os.ReadFile(filepath.Join(manifests, name))
		if err != nil || !strings.Contains(string(b), want) || strings.Contains(string(b), "events.raw") {
			t.Errorf("%s, %v:\n%s", name, err, b)
		}
	}
	if _, err := Overlay(root, dir, "nowhere", strings.NewReplacer()); err == nil {
		t.Error("an overlay that is not there was copied")
	}
}
