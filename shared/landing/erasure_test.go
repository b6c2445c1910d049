package landing

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/shared/objectstore/objectstoretest"
)

func erased(key, was, now string, first, last int64) Erased {
	return Erased{Key: key, Was: strings.Repeat(was, 64), SHA256: strings.Repeat(now, 64), Bytes: 1, Gone: []Gone{{0, first, last}}}
}

// Guards readers of an object that lost rows on request: each version that an erasure published is known by its hash, in the order of their publication, anything else is not, and the log is as it was.
func TestErasures(t *testing.T) {
	b, s := bucket(t, 1)
	l := Open(b, "t", "id")
	fill(t, l, 2)
	before := s.Requests("GET")
	if v, err := l.Versions(t.Context()); err != nil || len(v) != 0 || s.Requests("GET") != before+1 {
		t.Errorf("without erasures: %v, %v, %d requests", v, err, s.Requests("GET")-before)
	}
	at := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	for i, o := range [][]Erased{{erased("k", "a", "b", 3, 4), erased("x", "a", "c", 1, 1)}, {erased("k", "b", "d", 3, 5)}} {
		if err := l.Erase(t.Context(), Erasure{ID: fmt.Sprint("e", i), Time: at, Objects: o}); err != nil {
			t.Fatal(err)
		}
	}
	v, err := Open(b, "t", "id").Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, hash := range []string{"b", "d"} {
		if o, ok := v.Find("k", strings.Repeat(hash, 64)); !ok || o.SHA256[:1] != hash {
			t.Errorf("%s: %+v, %t", hash, o, ok)
		}
	}
	for _, pair := range [][2]string{{"k", "a"}, {"k", "c"}, {"y", "b"}} {
		if _, ok := v.Find(pair[0], strings.Repeat(pair[1], 64)); ok {
			t.Errorf("%v is known", pair)
		}
	}
	if tail, err := l.Tail(t.Context()); err != nil || tail.Sequence != 2 {
		t.Errorf("the log's tail is %d, %v", tail.Sequence, err)
	}
	if names, err := Logs(t.Context(), b); err != nil || len(names) != 1 {
		t.Errorf("logs %v, %v", names, err)
	}
	if _, ok := ParsePlace(ErasureKey("t", "id", 1)); ok {
		t.Error("the sweep takes an erasure for an object")
	}
}

// Guards against an erasure that nobody could read, and against one whose answer was lost: it is there once, and two at the same time are two.
func TestEraseIsPublishedOnce(t *testing.T) {
	b, s := bucket(t, 1)
	l := Open(b, "t", "id")
	e := Erasure{ID: "e", Time: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC), Objects: []Erased{erased("k", "a", "b", 3, 4)}}
	wrong := e
	wrong.Objects = []Erased{{Key: "k"}}
	if err := l.Erase(t.Context(), wrong); err == nil {
		t.Error("an erasure that says nothing was published")
	}
	s.Fail(func(method, _, _ string) objectstoretest.Fault {
		if method == "PUT" {
			return objectstoretest.WriteThenCut
		}
		return objectstoretest.Serve
	})
	if err := l.Erase(t.Context(), e); err == nil {
		t.Error("an outage passes")
	}
	s.Fail(nil)
	if err := b.Put(t.Context(), ErasureKey("t", "id", 2), []byte(`{"version": 2}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Versions(t.Context()); err == nil {
		t.Error("a version that is not known passes")
	}
	if err := b.Delete(t.Context(), ErasureKey("t", "id", 2)); err != nil {
		t.Fatal(err)
	}
	if err := l.Erase(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if v, err := l.Versions(t.Context()); err != nil || len(v["k"]) != 2 {
		t.Errorf("%v, %v", v, err)
	}
}
