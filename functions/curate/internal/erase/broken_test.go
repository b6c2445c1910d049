//go:build cgo

package erase

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"millrace/shared/landing"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// Guards everybody's right to be erased from one damaged entry or object of a landing log: it stops the erasure before anything is changed and is named as INGEST_ACCEPT wants it; named there, all else is erased,
// and the report says what was not looked at.
func TestEraseBesideDamage(t *testing.T) {
	ids, _ := adas()
	key := func(topic string, n int64) string { return landing.Key(topic, strings.ReplaceAll(topic, ".", "-"), n) }
	type damaged struct {
		bucket  *objectstore.Bucket
		key     string
		missing bool
	}
	f := func(name string, damage func(l *lake) []damaged, accept ...string) {
		t.Helper()
		l := newLake(t)
		l.land("events.raw", landing.KindRaw, 0, 10)
		l.land("events.raw", landing.KindRaw, 10, 20)
		broken := damage(l)
		for _, d := range broken {
			var err error
			if d.missing {
				err = d.bucket.Delete(t.Context(), d.key)
			} else {
				err = d.bucket.Put(t.Context(), d.key, []byte("PAR1 damaged"))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for i := range accept {
			r, err := l.erase(true, Person{Subjects: []string{"subject-ada"}, Roots: ids})
			if err == nil || !strings.Contains(err.Error(), accept[i]+" ") || len(l.index.held) != events || len(r.Done) != 0 {
				t.Errorf("%s, given up are %q: %v", name, l.accept, err)
			}
			l.accept = append(l.accept, accept[i])
		}
		r, err := l.erase(true, Person{Subjects: []string{"subject-ada"}, Roots: ids})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if len(r.GivenUp) != len(accept) {
			t.Errorf("%s: given up %q", name, r.GivenUp)
		}
		for _, id := range accept {
			if !strings.Contains(r.String(), id+": ") {
				t.Errorf("%s: %s is not told of: %s", name, id, r)
			}
		}
		unseen := map[string]bool{} // objects that a damaged entry named
		for _, n := range []int64{1, 2, 3, 4} {
			if !slices.ContainsFunc(broken, func(d damaged) bool { return d.key == key("events.raw", n) }) {
				continue
			}
			for k := range l.objects(l.private) {
				unseen[k] = true
			}
		}
		found := l.tracesBut(broken[0].key, ids...)
		for _, k := range found {
			if !unseen[k] {
				t.Errorf("%s: left in %s", name, k)
			}
		}
		if len(unseen) == 0 && len(found) > 0 {
			t.Errorf("%s: left in %v", name, found)
		}
		again, err := l.erase(true, Person{Subjects: []string{"subject-ada"}, Roots: ids})
		if err != nil || len(again.Search)+len(again.Tables)+len(again.Landing) > 0 {
			t.Errorf("%s, the second time: %v, %v", name, again, err)
		}
	}
	f("the first entry", func(l *lake) []damaged { return []damaged{{bucket: l.private, key: key("events.raw", 1)}} }, "events-raw@1")
	f("an entry between others", func(l *lake) []damaged { return []damaged{{bucket: l.private, key: key("events.raw", 2)}} }, "events-raw@2")
	f("the last entry", func(l *lake) []damaged { return []damaged{{bucket: l.private, key: key("events.raw", 4)}} }, "events-raw@4")
	f("two entries", func(l *lake) []damaged {
		return []damaged{{bucket: l.private, key: key("events.raw", 2)}, {bucket: l.private, key: key("events.raw", 3)}}
	}, "events-raw@2", "events-raw@3")
	f("a missing entry", func(l *lake) []damaged { return []damaged{{l.private, key("events.raw", 3), true}} }, "events-raw@3")
	f("an object", func(l *lake) []damaged {
		return []damaged{{bucket: l.private, key: l.tails["events.raw"].Objects[0].Key}}
	}, "events-raw@4")
}

// tracesBut is traces where an object cannot be read.
func (l *lake) tracesBut(key string, ids ...string) []string {
	l.t.Helper()
	for _, b := range []*objectstore.Bucket{l.public, l.private} {
		if err := b.Delete(context.Background(), key); err != nil {
			l.t.Fatal(err)
		}
	}
	return l.traces(ids...)
}

// Guards who must answer for an erasure that broke off from a bare error: the report says what is done, with its numbers, and what is not; the same command does the rest, and says so.
func TestBrokenOffIsReported(t *testing.T) {
	l := newLake(t)
	ids, others := adas()
	raws := 0
	l.s3.Fail(func(method, bucket, key string) objectstoretest.Fault {
		if method == "PUT" && bucket == "private" && strings.HasPrefix(key, "landing/raw/") {
			if raws++; raws == 2 {
				return objectstoretest.Refuse
			}
		}
		return objectstoretest.Serve
	})
	r, err := l.erase(true, Person{Subjects: []string{"subject-ada"}})
	l.s3.Fail(nil)
	if err == nil {
		t.Fatal("no error")
	}
	if got := fmt.Sprint(r.Done, r.Left); got != "[find search reports warehouse landing/enriched/ landing/dead/] [landing/raw/]" || r.Stopped != err.Error() {
		t.Errorf("%s, %q", got, r.Stopped)
	}
	if want := (Found{"private/landing/raw/", 1, 3}); !slices.Contains(r.Landing, want) || len(r.Search) != 1 || r.Search[0].Rows != 10 {
		t.Errorf("landing %v, search %v", r.Landing, r.Search)
	}
	text := r.String()
	for _, want := range []string{"10 events by root id, broken off at landing/raw/", "  not done: landing/raw/\n", "done: find, search, reports, warehouse,", "what is not done of this erasure: landing/raw/. The same command does it"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	r, err = l.erase(true, Person{Subjects: []string{"subject-ada"}})
	if err != nil || len(r.Left) > 0 || len(r.Search)+len(r.Tables) > 0 || !slices.Contains(r.Landing, Found{"private/landing/raw/", 3, 7}) {
		t.Errorf("again: %v, %v", r, err)
	}
	if found := l.traces(append(ids, "subject-ada")...); len(found) > 0 {
		t.Errorf("left in %v", found)
	}
	if got := l.left(); got != fmt.Sprint(others) {
		t.Errorf("left are %s", got)
	}
}

// Guards documents that one answer of search does not hold: an erasure asks until there are none.
func TestEraseManyDocuments(t *testing.T) {
	l := newLake(t)
	ids, _ := adas()
	l.index.page = 3
	r, err := l.erase(true, Person{Roots: ids})
	if err != nil || len(l.index.held) != events-len(ids) || len(r.Search) != 1 || r.Search[0].Rows != int64(len(ids)) {
		t.Errorf("%d documents are left: %v, %v", len(l.index.held), r, err)
	}
}

// Guards an erasure against documents that cannot be deleted by their id alone: it ends with an error and does not ask for ever.
func TestEraseStuckDocuments(t *testing.T) {
	l := newLake(t)
	ids, _ := adas()
	l.index.stuck = 100
	r, err := l.erase(true, Person{Roots: ids})
	if err == nil || !strings.Contains(err.Error(), "there again each time") || !slices.Contains(r.Left, "search") {
		t.Errorf("%v, %v", r, err)
	}
}
