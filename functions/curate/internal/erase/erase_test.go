//go:build cgo

package erase

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/ingest"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
	"millrace/shared/search"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const day = "2026-11-21"

// landed is a row of every landing object of these tests.
type landed struct {
	Type      *string    `parquet:"event_type,optional"`
	Root      *string    `parquet:"root_id,optional"`
	Subject   *string    `parquet:"subject,optional"`
	Arrived   *time.Time `parquet:"collector_tstamp,optional,timestamp(microsecond)"`
	Partition *int32     `parquet:"kafka_partition,optional"`
	Offset    *int64     `parquet:"kafka_offset,optional"`
	Stamp     *time.Time `parquet:"kafka_timestamp,optional,timestamp(microsecond)"`
	Replay    *int64     `parquet:"replay_count,optional"`
	Hash      *string    `parquet:"data_hash,optional"`
	Rescued   *string    `parquet:"_rescued,optional"`
}

// whole is a row of raw and dead objects.
type whole struct {
	landed
	Payload []byte `parquet:"payload,optional"`
}

func root(n int) string { return event.Identity("/s", fmt.Sprint(n)) }

// lake is raw, enriched and dead events of four people, and a warehouse of them. Events 0, 4, 8, ... are Ada's, whose subject is masked in what is enriched.
type lake struct {
	t               *testing.T
	s3              *objectstoretest.Server
	public, private *objectstore.Bucket
	catalog         string
	index           *documents
	tails           map[string]landing.Entry
	shared          bool
	found           func([]string) error
	accept          []string
	ballast         int // bytes of each row that do not compress
}

const events = 40

func newLake(t *testing.T) *lake {
	t.Helper()
	s3 := objectstoretest.NewServer("public", "private")
	t.Cleanup(s3.Close)
	l := &lake{t: t, s3: s3, catalog: "sqlite://" + filepath.Join(t.TempDir(), "catalog.db"), index: &documents{held: map[search.Ref]search.Held{}}, tails: map[string]landing.Entry{}}
	open := func(name string) *objectstore.Bucket {
		b, err := objectstore.Open(s3.Config(name, 1))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	l.public, l.private = open("public"), open("private")
	for n := 0; n < events; n += 20 {
		l.land("events.raw", landing.KindRaw, n, n+10, n+20)
		l.land("events.enriched", landing.KindEnriched, n, n+10, n+20)
	}
	l.land("events.dead", landing.KindDead, 0, 3)
	for n := range events {
		ref := search.Ref{Index: "enriched-page-0-2026.11.21", ID: root(n)}
		l.index.held[ref] = search.Held{Ref: ref, RootID: root(n)}
	}
	l.ingest()
	return l
}

// land writes one object for each pair of bounds, and publishes them.
func (l *lake) land(topic, kind string, bounds ...int) {
	l.t.Helper()
	bucket := l.private
	if kind == landing.KindEnriched {
		bucket = l.public
	}
	drain, err := uuid.NewV7()
	if err != nil {
		l.t.Fatal(err)
	}
	tail := l.tails[topic]
	from := tail.Next()[0]
	e := landing.Entry{
		Version: landing.Version, Topic: topic, TopicID: strings.ReplaceAll(topic, ".", "-"), Sequence: tail.Sequence + 1, Drain: drain.String(), Time: now,
		Partitions: []landing.Partition{{From: from, Next: from + int64(bounds[len(bounds)-1]-bounds[0])}},
	}
	offset := from
	for i := range bounds[1:] {
		var rows []landed
		var unmasked []whole
		filler := `{"n":1}`
		for n := bounds[i]; n < bounds[i+1]; n++ {
			if l.ballast > 0 {
				noise := make([]byte, l.ballast/2)
				_, _ = rand.Read(noise) // it never fails
				filler = fmt.Sprintf(`{"n":"%x"}`, noise)
			}
			eventType, id, subject, at, partition, rescued := "Page", root(n), []string{"subject-ada", "subject-bob", "subject-cy", "subject-dee"}[n%4], offset, int32(0), filler
			if kind == landing.KindEnriched {
				subject = "p_" + strings.Repeat(fmt.Sprint(n%4), 32)
			}
			rows = append(rows, landed{Type: &eventType, Root: &id, Subject: &subject, Arrived: &now, Partition: &partition, Offset: &at, Stamp: &now, Rescued: &rescued})
			unmasked = append(unmasked, whole{rows[len(rows)-1], []byte(`{"n":1}`)})
			offset++
		}
		var body bytes.Buffer
		err := parquet.Write(&body, rows)
		if kind != landing.KindEnriched {
			body.Reset()
			err = parquet.Write(&body, unmasked)
		}
		if err != nil {
			l.t.Fatal(err)
		}
		place := landing.Place{Kind: kind, Day: day, Drain: e.Drain, N: i}
		o := landing.Object{Kind: kind, Rows: int64(len(rows)), Bytes: int64(body.Len()), SHA256: hash(body.Bytes())}
		if kind == landing.KindEnriched {
			place.Type, place.Model, o.Type = "Page", "0", "Page"
		}
		o.Key = place.Key()
		if err := bucket.Put(context.Background(), o.Key, body.Bytes()); err != nil {
			l.t.Fatal(err)
		}
		e.Objects = append(e.Objects, o)
	}
	if err := landing.Open(bucket, topic, e.TopicID).Append(context.Background(), tail, e); err != nil {
		l.t.Fatal(err)
	}
	l.tails[topic] = e
}

// with opens warehouse and engine for f, as a process does.
func (l *lake) with(f func(w *warehouse.Warehouse, db func() (*duck.DB, error))) {
	l.t.Helper()
	w, err := warehouse.Open(context.Background(), warehouse.Config{Catalog: l.catalog, Name: "lake", Store: l.public, Prefix: "warehouse", Scratch: l.t.TempDir()})
	if err != nil {
		l.t.Fatal(err)
	}
	db := sync.OnceValues(func() (*duck.DB, error) {
		return duck.Open(context.Background(), duck.Options{Memory: 256 << 20, Threads: 2, Scratch: l.t.TempDir()})
	})
	f(w, db)
	if d, err := db(); err == nil {
		_ = d.Close()
	}
	if err := w.Close(); err != nil {
		l.t.Error(err)
	}
}

// ingest takes what landed into the warehouse; what it cannot take is an error of the test.
func (l *lake) ingest() {
	l.t.Helper()
	l.with(func(w *warehouse.Warehouse, db func() (*duck.DB, error)) {
		contracts, err := contract.NewSet()
		if err != nil {
			l.t.Fatal(err)
		}
		r, err := ingest.Run(context.Background(), ingest.Options{
			Warehouse: w, DB: db, Public: l.public, Private: l.private, Contracts: contracts, Logger: slog.New(slog.DiscardHandler), Clock: func() time.Time { return now }, Scratch: l.t.TempDir(),
		})
		if err != nil || len(r.Alarms) > 0 {
			l.t.Fatalf("ingest: %v, %v", r.Alarms, err)
		}
	})
}

func (l *lake) erase(apply bool, person Person) (r *Report, err error) {
	l.t.Helper()
	l.with(func(w *warehouse.Warehouse, db func() (*duck.DB, error)) {
		r, err = Run(context.Background(), person, Options{
			Buckets: []*objectstore.Bucket{l.public, l.private}, Warehouse: w, DB: db, Search: l.index, Apply: apply, Shared: l.shared, Found: l.found, Accept: l.accept, ID: "e-1", Clock: func() time.Time { return now },
			Logger: slog.New(slog.DiscardHandler),
		})
		left, globErr := filepath.Glob(filepath.Join(w.Scratch(), "*.parquet"))
		if globErr != nil || err == nil && len(left) > 0 {
			l.t.Errorf("on local disk: %d files, %v", len(left), globErr) // a warehouse is larger than that
		}
	})
	return r, err
}

// traces returns where any of the root ids is left: objects of both buckets, whatever they are, and search.
func (l *lake) traces(ids ...string) (found []string) {
	l.t.Helper()
	for _, b := range []*objectstore.Bucket{l.public, l.private} {
		for key, body := range l.objects(b) {
			has := func(text string) bool {
				return slices.ContainsFunc(ids, func(id string) bool { return strings.Contains(text, id) })
			}
			hit := has(string(body))
			if strings.HasSuffix(key, ".parquet") {
				if err := scan(bytes.NewReader(body), int64(len(body)), personal, func(r row) { hit = hit || has(r.root) }); err != nil {
					l.t.Fatalf("%s: %v", key, err)
				}
			}
			if hit {
				found = append(found, key)
			}
		}
	}
	l.with(func(w *warehouse.Warehouse, _ func() (*duck.DB, error)) {
		tables, err := w.Every(context.Background())
		if err != nil {
			l.t.Fatal(err)
		}
		for _, t := range tables {
			fs, err := t.Iceberg().FS(context.Background())
			if err != nil {
				l.t.Fatal(err)
			}
			for _, s := range t.Iceberg().Metadata().Snapshots() {
				manifests, err := s.Manifests(fs)
				if err != nil {
					l.t.Fatal(err)
				}
				for _, m := range manifests {
					for entry, err := range m.Entries(fs, false) {
						if err != nil {
							l.t.Fatal(err)
						}
						if entry.Status() == iceberg.EntryStatusDELETED {
							found = append(found, "removed, but named with its statistics: "+entry.DataFile().FilePath())
						}
					}
				}
			}
		}
	})
	for ref, h := range l.index.held {
		if slices.Contains(ids, h.RootID) {
			found = append(found, ref.Index)
		}
	}
	return found
}

func (l *lake) objects(b *objectstore.Bucket) map[string][]byte {
	l.t.Helper()
	page, err := b.List(context.Background(), "", "", objectstore.MaxList)
	if err != nil || len(page) == objectstore.MaxList {
		l.t.Fatal(len(page), err)
	}
	all := map[string][]byte{}
	for _, o := range page {
		if all[o.Key], err = b.Get(context.Background(), o.Key); err != nil {
			l.t.Fatal(err)
		}
	}
	return all
}

// left are the numbers of the events that the tables have, which must be the ones that landing has, each once.
func (l *lake) left() string {
	l.t.Helper()
	var in [2][]int
	number := map[string]int{}
	for n := range events {
		number[root(n)] = n
	}
	l.with(func(w *warehouse.Warehouse, _ func() (*duck.DB, error)) {
		e := &eraser{Options: Options{Warehouse: w, Buckets: []*objectstore.Bucket{l.public}}}
		if err := e.eachFile(context.Background(), func(t *warehouse.Table, _ warehouse.File, rows func(func(row)) error) error {
			if t.Name.Table != "enriched_page_0" {
				return nil
			}
			return rows(func(r row) { in[0] = append(in[0], number[r.root]) })
		}); err != nil {
			l.t.Fatal(err)
		}
		objects, err := e.objects(context.Background())
		if err != nil {
			l.t.Fatal(err)
		}
		for _, o := range objects {
			if err := o.scan(context.Background(), func(r row) { in[1] = append(in[1], number[r.root]) }); err != nil {
				l.t.Fatal(err)
			}
		}
	})
	slices.Sort(in[0])
	slices.Sort(in[1])
	if !slices.Equal(in[0], in[1]) {
		l.t.Errorf("the table has %v, landing %v", in[0], in[1])
	}
	return fmt.Sprint(in[0])
}

// documents is a search index.
type documents struct {
	held  map[search.Ref]search.Held
	more  bool // than one answer holds
	page  int  // documents of one answer; 0: all
	stuck int  // so often it deletes nothing and says it did; then it is an error
	fail  error
}

func (d *documents) FindBy(_ context.Context, field string, values []string) (found []search.Held, more bool, err error) {
	for _, h := range d.held {
		if d.page > 0 && len(found) == d.page {
			return found, true, d.fail
		}
		if field == "root_id" && slices.Contains(values, h.RootID) {
			found = append(found, h)
		}
	}
	return found, d.more, d.fail
}

func (d *documents) Delete(_ context.Context, refs []search.Ref) error {
	for _, r := range refs {
		if d.stuck == 0 {
			delete(d.held, r)
		}
	}
	if d.stuck > 0 {
		if d.stuck--; d.stuck == 0 {
			return errors.New("asked for ever")
		}
	}
	return d.fail
}

// adas are the root ids of one person's events, and others the numbers of those of all other people.
func adas() (ids []string, others []int) {
	for n := range events {
		if n%4 == 0 {
			ids = append(ids, root(n))
		} else {
			others = append(others, n)
		}
	}
	return ids, others
}

// Guards both ways to be wrong: a look that changes something, and an erasure that leaves a copy anywhere, in an older snapshot or in a statistic of a file, or takes what is another person's. Landing
// must still be one that ingest takes, now and from the beginning.
func TestErase(t *testing.T) {
	l := newLake(t)
	ids, others := adas()
	for name, id := range map[string]string{"1": ids[0], "2": root(1)} {
		if err := l.public.Put(t.Context(), "warehouse/_reports/2026-11-21/"+name+".html", []byte("<td>"+id+"</td>")); err != nil {
			t.Fatal(err)
		}
	}
	before := [2]map[string][]byte{l.objects(l.public), l.objects(l.private)}
	plan, err := l.erase(false, Person{Subjects: []string{"subject-ada"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range []*objectstore.Bucket{l.public, l.private} {
		if !maps.EqualFunc(before[i], l.objects(b), bytes.Equal) {
			t.Errorf("a look changed %s", b.Name())
		}
	}
	if len(l.index.held) != events {
		t.Error("a look deleted documents")
	}
	done, err := l.erase(true, Person{Subjects: []string{"subject-ada"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Found{
		{"enriched-page-0-2026.11.21", 0, 10},
		{"public/warehouse/_reports/", 0, 1},
		{"events.dead", 1, 1},
		{"events.enriched_page_0", 1, 10},
		{"public/landing/enriched/", 4, 10},
		{"private/landing/dead/", 1, 1},
		{"private/landing/raw/", 4, 10},
	}
	for _, r := range []*Report{plan, done} {
		if got := slices.Concat(r.Search, r.Pages, r.Tables, r.Landing); !slices.Equal(got, want) || r.Roots != 10 || len(r.Unlisted) > 0 {
			t.Errorf("%d root ids: %v, want %v", r.Roots, got, want)
		}
	}
	if fmt.Sprint(done.Expired) != "[events.dead events.enriched_page_0]" || len(plan.Expired) > 0 {
		t.Errorf("expired %v, %v", plan.Expired, done.Expired)
	}
	if text := done.String(); !strings.Contains(text, "landing    private/landing/raw/: 10 rows in 4 objects") || strings.Contains(text, "subject-ada") {
		t.Error(text)
	}
	if found := l.traces(append(ids, "subject-ada")...); len(found) > 0 {
		t.Errorf("left in %v", found)
	}
	if got := l.left(); got != fmt.Sprint(others) {
		t.Errorf("left are %s, want %v", got, others)
	}
	l.ingest() // nothing new, nothing wrong
	if got := l.left(); got != fmt.Sprint(others) {
		t.Errorf("after another run %s", got)
	}
	l.catalog = "sqlite://" + filepath.Join(t.TempDir(), "new.db")
	l.ingest() // from the beginning of the log
	if got := l.left(); got != fmt.Sprint(others) {
		t.Errorf("ingested anew %s", got)
	}
	again, err := l.erase(true, Person{Subjects: []string{"subject-ada"}, Roots: ids})
	if err != nil || len(again.Search)+len(again.Pages)+len(again.Tables)+len(again.Landing)+len(again.Expired) > 0 {
		t.Errorf("the second time: %+v, %v", again, err)
	}
}

// Guards a second person in the same objects: what the first erasure left is known by its hash, and the offsets of both are gone. All rows of an object may go.
func TestEraseTwice(t *testing.T) {
	l := newLake(t)
	for _, subject := range []string{"subject-ada", "subject-bob", "subject-cy", "subject-dee"} {
		if _, err := l.erase(true, Person{Subjects: []string{subject}}); err != nil {
			t.Fatal(err)
		}
	}
	var all []string
	for n := range events {
		all = append(all, root(n))
	}
	if found := l.traces(all...); len(found) > 0 {
		t.Errorf("left in %v", found)
	}
	v, err := landing.Open(l.private, "events.raw", "events-raw").Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for key, versions := range v {
		last := versions[len(versions)-1]
		if len(versions) != 4 || last.Rows != 0 || len(last.Gone) != 1 || last.Gone[0].Last-last.Gone[0].First != 9 {
			t.Errorf("%s: %+v", key, versions)
		}
	}
	l.catalog = "sqlite://" + filepath.Join(t.TempDir(), "new.db")
	l.ingest()
	if got := l.left(); got != "[]" {
		t.Errorf("left are %s", got)
	}
}

// Guards against an erasure that was killed and cannot be ended: wherever a write fails, before or after it was done, the same call finds what is left and removes it, and what it left was readable.
func TestEraseKilled(t *testing.T) {
	ids, others := adas()
	killed := true
	for n := 1; killed; n += 7 {
		fault := []objectstoretest.Fault{objectstoretest.Refuse, objectstoretest.WriteThenCut}[n/7%2]
		l := newLake(t)
		var mu sync.Mutex
		writes := 0
		l.s3.Fail(func(method, _, _ string) objectstoretest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if method == "GET" || method == "HEAD" {
				return objectstoretest.Serve
			}
			if writes++; writes < n {
				return objectstoretest.Serve
			} else if writes == n {
				return fault
			}
			return objectstoretest.Refuse // the process is gone
		})
		_, err := l.erase(true, Person{Subjects: []string{"subject-ada"}})
		mu.Lock() // the server may still be at the request that was cut
		killed = writes >= n
		mu.Unlock()
		if killed == (err == nil) {
			t.Errorf("write %d: killed %t, %v", n, killed, err)
		}
		l.s3.Fail(nil)
		l.ingest()
		if _, err := l.erase(true, Person{Subjects: []string{"subject-ada"}}); err != nil {
			t.Fatalf("after write %d: %v", n, err)
		}
		if got := l.left(); got != fmt.Sprint(others) {
			t.Errorf("write %d: left are %s", n, got)
		}
		if found := l.traces(append(ids, "subject-ada")...); len(found) > 0 {
			t.Errorf("write %d: left in %v", n, found)
		}
	}
}

// Guards events that are drained after their raw copies were erased: their subject is a pseudonym, so only the root ids that were told find them. They are told before anything is gone.
func TestEraseLate(t *testing.T) {
	l := newLake(t)
	ids, others := adas()
	subject := Person{Subjects: []string{"subject-ada"}}
	var told []string
	l.found = func(roots []string) error { told = roots; return errors.New("the disk is full") }
	if _, err := l.erase(false, subject); err != nil || told != nil {
		t.Errorf("a look told %v, %v", told, err)
	}
	if _, err := l.erase(true, subject); err == nil || len(l.index.held) != events {
		t.Errorf("%d documents, %v", len(l.index.held), err)
	}
	l.left()
	l.found = func(roots []string) error { told = roots; return nil }
	if _, err := l.erase(true, subject); err != nil {
		t.Fatal(err)
	}
	if want := slices.Sorted(slices.Values(ids)); !slices.Equal(told, want) {
		t.Fatalf("told %v, want %v", told, want)
	}
	l.land("events.enriched", landing.KindEnriched, 0, 10) // as load-lake was behind
	l.ingest()
	if _, err := l.erase(true, Person{Subjects: subject.Subjects, Roots: told}); err != nil {
		t.Fatal(err)
	}
	if found := l.traces(ids...); len(found) > 0 {
		t.Errorf("left in %v", found)
	}
	for _, n := range others {
		if n < 10 {
			others = append(others, n) // landed twice
		}
	}
	slices.Sort(others)
	if got := l.left(); got != fmt.Sprint(others) {
		t.Errorf("left are %s, want %v", got, others)
	}
}

// Guards the claim that older snapshots are gone: where any stays the erasure is no success.
func TestSnapshotsThatStay(t *testing.T) {
	l := newLake(t)
	for n := range 2 {
		l.with(func(w *warehouse.Warehouse, _ func() (*duck.DB, error)) {
			table, err := w.Load(t.Context(), warehouse.Name{Namespace: "events", Table: "enriched_page_0"})
			if err != nil {
				t.Fatal(err)
			}
			if err := alone(table); (err == nil) != (n == 0) {
				t.Errorf("%d snapshots: %v", n+1, err)
			}
		})
		l.land("events.enriched", landing.KindEnriched, 0, 10)
		l.ingest()
	}
}

// Guards a person with events in many objects: what earlier erasures did is read once for each log, not once for each object.
func TestEraseReadsErasuresOnce(t *testing.T) {
	l := newLake(t)
	if _, err := l.erase(true, Person{Subjects: []string{"subject-ada"}}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	read := map[string]int{}
	l.s3.Fail(func(method, _, key string) objectstoretest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if method == "GET" && strings.Contains(key, "landing/_erased/") {
			read[key]++
		}
		return objectstoretest.Serve
	})
	if _, err := l.erase(true, Person{Subjects: []string{"subject-bob"}}); err != nil {
		t.Fatal(err)
	}
	l.s3.Fail(nil)
	if len(read) != 9 || slices.Max(slices.Collect(maps.Values(read))) > 1 {
		t.Errorf("of 9 erasures were read %v", read)
	}
}

// Guards the reader of a look from numbers that are too small without a word: search does not answer with all documents at once.
func TestLookAtManyDocuments(t *testing.T) {
	l := newLake(t)
	for _, more := range []bool{true, false} {
		l.index.more = more
		r, err := l.erase(false, Person{Roots: []string{root(0)}})
		if err != nil || strings.Contains(r.String(), "more documents than are counted") != more {
			t.Errorf("%v: %s", err, r)
		}
	}
}

// Guards files that are so large that only some of their columns are fetched to look for the person.
func TestEraseFromLargeFiles(t *testing.T) {
	l := newLake(t)
	l.ballast = 300 << 10
	l.land("events.enriched", landing.KindEnriched, 0, 20)
	l.ingest()
	ids, _ := adas()
	r, err := l.erase(true, Person{Roots: ids})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Found{"events.enriched_page_0", 2, 15}); !slices.Contains(r.Tables, want) {
		t.Errorf("%v, want %v", r.Tables, want)
	}
	if found := l.traces(ids...); len(found) > 0 {
		t.Errorf("left in %v", found)
	}
	l.left()
}

// Guards a run that is at work where the lock keeps nobody out, as with a REST catalog: the file that it is about to commit stays, and the report says so. What is the person's goes all the same.
func TestEraseBesideARun(t *testing.T) {
	ids, others := adas()
	for _, shared := range []bool{true, false} {
		l := newLake(t)
		l.shared = shared
		young := "warehouse/events/enriched_page_0/data/arrival_date=2026-11-21/young.parquet"
		var body bytes.Buffer
		if err := parquet.Write(&body, []landed{{Root: new(string)}}); err != nil {
			t.Fatal(err)
		}
		if err := l.public.Put(t.Context(), young, body.Bytes()); err != nil {
			t.Fatal(err)
		}
		r, err := l.erase(true, Person{Subjects: []string{"subject-ada"}})
		if err != nil {
			t.Fatal(err)
		}
		if there, told := l.objects(l.public)[young] != nil, strings.Contains(r.String(), "1 objects of events.enriched_page_0 "); there != shared || told != shared {
			t.Errorf("shared %t: there %t, told %t: %s", shared, there, told, r)
		}
		if found := l.traces(append(ids, "subject-ada")...); len(found) > 0 {
			t.Errorf("shared %t: left in %v", shared, found)
		}
		if got := l.left(); got != fmt.Sprint(others) {
			t.Errorf("shared %t: left are %s", shared, got)
		}
	}
}

// Guards against damage that passes for an erasure: an object that is neither what its entry says nor what an erasure made is not rewritten. And whoever names nobody is told so.
func TestEraseRefuses(t *testing.T) {
	l := newLake(t)
	if _, err := l.erase(true, Person{Roots: []string{""}}); err == nil {
		t.Error("nobody's events were erased")
	}
	l.index.fail = errors.New("away")
	if _, err := l.erase(true, Person{Roots: []string{root(0)}}); !errors.Is(err, l.index.fail) {
		t.Errorf("%v", err)
	}
	if got := l.left(); !strings.HasPrefix(got, "[0 1 2") {
		t.Errorf("search was away, and left are %s", got)
	}
	l.index.fail = nil
	key := l.tails["events.raw"].Objects[0].Key
	var rows []landed
	id, at, partition := root(20), int64(20), int32(0)
	rows = append(rows, landed{Root: &id, Offset: &at, Partition: &partition})
	var body bytes.Buffer
	if err := parquet.Write(&body, rows); err != nil {
		t.Fatal(err)
	}
	if err := l.private.Put(t.Context(), key, body.Bytes()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.erase(true, Person{Roots: []string{root(20)}}); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("%v", err)
	}
}
