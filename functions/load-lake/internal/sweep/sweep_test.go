package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"millrace/functions/load-lake/internal/sweep"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

const bucket = "lake"

// lake is a bucket with logs, whose clock is the test's.
type lake struct {
	t      *testing.T
	s3     *objectstoretest.Server
	b      *objectstore.Bucket
	now    time.Time
	tails  map[string]landing.Entry // by topic and id
	logged strings.Builder
}

func newLake(t *testing.T) *lake {
	t.Helper()
	l := &lake{t: t, s3: objectstoretest.NewServer(bucket), now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), tails: map[string]landing.Entry{}}
	t.Cleanup(l.s3.Close)
	l.s3.Clock(func() time.Time { return l.now })
	b, err := objectstore.Open(l.s3.Config(bucket, 1))
	if err != nil {
		t.Fatal(err)
	}
	l.b = b
	return l
}

// drainID returns the id of a drain that begins now.
func (l *lake) drainID() string {
	l.t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		l.t.Fatal(err)
	}
	ms := l.now.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id.String()
}

// put writes an object of a drain that begins now, and returns its key.
func (l *lake) put(kind, day string) string {
	l.t.Helper()
	p := landing.Place{Kind: kind, Day: day, Drain: l.drainID()}
	if kind == landing.KindEnriched {
		p.Type, p.Model = "PageView", "0"
	}
	l.write(p.Key())
	return p.Key()
}

func (l *lake) write(key string) {
	l.t.Helper()
	if err := l.b.Put(l.t.Context(), key, []byte("parquet")); err != nil {
		l.t.Fatal(err)
	}
}

// publish appends an entry that names the keys.
func (l *lake) publish(topic, id string, keys ...string) {
	l.t.Helper()
	prev := l.tails[topic+id]
	next := prev.Next()[0]
	e := landing.Entry{Version: 1, Topic: topic, TopicID: id, Sequence: prev.Sequence + 1, Drain: "d", Time: l.now}
	for _, k := range keys {
		e.Objects = append(e.Objects, landing.Object{Key: k, Kind: landing.KindRaw, Rows: 1, Bytes: 7, SHA256: strings.Repeat("0", 64)})
	}
	e.Partitions = []landing.Partition{{From: next, Next: next + int64(len(keys))}}
	if err := landing.Open(l.b, topic, id).Append(l.t.Context(), prev, e); err != nil {
		l.t.Fatal(err)
	}
	l.tails[topic+id] = e
}

func (l *lake) pass(d time.Duration) { l.now = l.now.Add(d) }

var settings = sweep.Settings{Topic: "events.raw", Kind: landing.KindRaw, Age: 24 * time.Hour, Every: time.Minute}

func (l *lake) sweeper(s sweep.Settings, store sweep.Store) *sweep.Sweeper {
	return sweep.New(s, store, func() time.Time { return l.now }, slog.New(slog.NewTextHandler(&l.logged, nil)))
}

func always() bool { return true }

// sweep sweeps with a new sweeper, and fails the test on an error.
func (l *lake) sweep() sweep.Result {
	l.t.Helper()
	r, err := l.sweeper(settings, l.b).Sweep(l.t.Context(), false, always)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// has fails the test unless exactly these objects are there, beside logs and state.
func (l *lake) has(want ...string) {
	l.t.Helper()
	var got []string
	for k := range l.s3.Objects(bucket) {
		if !strings.HasPrefix(k, "landing/_") {
			got = append(got, k)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		l.t.Errorf("the bucket has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const day1, day2 = "2026-11-20", "2026-11-21"

// Guards both sides of the age: what no entry names goes after 24 hours and not a second sooner, what one names never does, and neither does what lies under another kind.
func TestAge(t *testing.T) {
	l := newLake(t)
	named := []string{l.put("raw", day1), l.put("raw", day1)}
	l.publish("events.raw", "id1", named...)
	orphan, dead := l.put("raw", day2), l.put("dead", day2)
	l.pass(23*time.Hour + 59*time.Minute)
	l.publish("events.raw", "id1", l.put("raw", day2))
	last := l.tails["events.rawid1"].Objects[0].Key
	if r := l.sweep(); !r.Due || !r.Complete || r.Listed != 4 || r.Young != 4 || r.Orphans != 0 {
		t.Errorf("%+v", r)
	}
	l.has(append(named, orphan, dead, last)...)
	l.pass(time.Minute)
	l.sweep()
	l.has(append(named, orphan, dead, last)...) // exactly 24 hours is not older
	l.pass(time.Minute)
	if r := l.sweep(); r.Deleted != 1 || r.Bytes != 7 || !r.Complete {
		t.Errorf("%+v", r)
	}
	l.has(append(named, dead, last)...)
	for range 10 {
		l.pass(30 * 24 * time.Hour)
		l.sweep()
	}
	l.has(append(named, dead, last)...)
}

// Guards the objects of other logs in the bucket: of a topic that was created anew, whose old id's log still counts, and of another topic that shares the folder.
func TestOtherLogs(t *testing.T) {
	l := newLake(t)
	old, foreign, mine := l.put("raw", day1), l.put("raw", day1), l.put("raw", day1)
	l.publish("events.raw", "id1", old)
	l.publish("zzz.raw", "id9", foreign)
	l.publish("a.raw", "id9", mine)
	l.put("raw", day1) // in no log
	l.pass(26 * time.Hour)
	l.publish("events.raw", "id2", l.put("raw", day2))
	last := l.tails["events.rawid2"].Objects[0].Key
	if r := l.sweep(); r.Deleted != 1 {
		t.Errorf("%+v", r)
	}
	l.has(old, foreign, mine, last)
}

// hooked calls f before the listing of logs, which is when the objects have been listed.
type hooked struct {
	*objectstore.Bucket
	f func()
}

func (h hooked) List(ctx context.Context, prefix, after string, max int) ([]objectstore.Info, error) {
	if strings.HasPrefix(prefix, "landing/_log/") {
		h.f()
	}
	return h.Bucket.List(ctx, prefix, after, max)
}

// Guards a drain that publishes while the sweep is under way: an old object that is named only after the listing stays. (A real drain would refuse to publish one so old.)
func TestPublishedDuringSweep(t *testing.T) {
	l := newLake(t)
	l.publish("events.raw", "id1", l.put("raw", day1))
	first := l.tails["events.rawid1"].Objects[0].Key
	late := l.put("raw", day1)
	l.pass(26 * time.Hour)
	done := false
	r, err := l.sweeper(settings, hooked{l.b, func() {
		if !done {
			done = true
			l.publish("events.raw", "id1", late)
		}
	}}).Sweep(t.Context(), false, always)
	if err != nil || r.Deleted != 0 || !done {
		t.Errorf("%+v, %v", r, err)
	}
	l.has(first, late)
}

// Guards a drain that is still to publish, however long it was held up: as long as no later entry has taken its number, its objects stay, and so they do where
// the topic has no log at all.
func TestLogMustHaveGoneOn(t *testing.T) {
	l := newLake(t)
	object := l.put("raw", day1)
	l.pass(100 * time.Hour)
	if r := l.sweep(); r.Orphans != 0 || r.Young != 1 {
		t.Errorf("no log: %+v", r)
	}
	l.publish("zzz.raw", "id1", l.put("raw", day2))
	other := l.tails["zzz.rawid1"].Objects[0].Key
	l.pass(100 * time.Hour)
	if r := l.sweep(); r.Orphans != 0 {
		t.Errorf("another topic's log: %+v", r)
	}
	l.publish("events.raw", "id1")
	late := l.put("raw", day2)
	l.pass(100 * time.Hour)
	if r := l.sweep(); r.Deleted != 1 {
		t.Errorf("the log went on: %+v", r)
	}
	l.has(late, other)
	if !strings.Contains(l.logged.String(), object) {
		t.Error("a deletion is not logged")
	}
}

// Guards what must end a sweep: a log that cannot be read to its first entry proves nothing, and nothing may go.
func TestUnreadableLog(t *testing.T) {
	for name, damage := range map[string]func(l *lake){
		"unknown version": func(l *lake) {
			key := landing.Key("events.raw", "id1", 2)
			body := strings.Replace(string(l.s3.Objects(bucket)[key]), `"version":1`, `"version":2`, 1)
			if err := l.b.Put(l.t.Context(), key, []byte(body)); err != nil {
				l.t.Fatal(err)
			}
		},
		"no JSON": func(l *lake) { l.write(landing.Key("events.raw", "id1", 2)) },
		"the first entry is gone": func(l *lake) {
			if err := l.b.Delete(l.t.Context(), landing.Key("events.raw", "id1", 1)); err != nil {
				l.t.Fatal(err)
			}
		},
		"one between is gone": func(l *lake) {
			if err := l.b.Delete(l.t.Context(), landing.Key("events.raw", "id1", 2)); err != nil {
				l.t.Fatal(err)
			}
		},
		"another topic's":      func(l *lake) { l.write(landing.Key("zzz", "id1", 1)) },
		"a key that is no log": func(l *lake) { l.write("landing/_log/note.txt") },
		"the store is away": func(l *lake) {
			l.s3.Fail(func(_, _, key string) objectstoretest.Fault {
				if key == landing.Key("events.raw", "id1", 1) {
					return objectstoretest.Refuse
				}
				return objectstoretest.Serve
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLake(t)
			named := l.put("raw", day1)
			l.publish("events.raw", "id1", named)
			orphan := l.put("raw", day1)
			l.pass(26 * time.Hour)
			l.publish("events.raw", "id1")
			l.publish("events.raw", "id1")
			damage(l)
			if r, err := l.sweeper(settings, l.b).Sweep(t.Context(), false, always); err == nil || r.Deleted != 0 {
				t.Errorf("%+v, %v", r, err)
			}
			l.has(named, orphan)
		})
	}
}

// Guards what is not ours: names that no drain makes are left and counted, however old.
func TestForeignObjects(t *testing.T) {
	l := newLake(t)
	place := landing.Place{Kind: "raw", Day: day1, Drain: l.drainID()}
	foreign := []string{
		"landing/raw/README", "landing/raw/date=2026-11-20/part-0.parquet", "landing/raw/date=2026-11-20/_SUCCESS",
		place.Dir() + place.Drain + "-00.parquet", place.Dir() + strings.ToUpper(place.Drain) + "-0.parquet", place.Dir() + place.Drain + "-0.parquet.bak",
		place.Dir() + place.Drain + "-0", "landing/raw/x/" + place.Drain + "-0.parquet", "landing/raw/date=yesterday/" + place.Drain + "-0.parquet",
		place.Dir() + uuid.NewString() + "-0.parquet",
	}
	for _, k := range foreign {
		l.write(k)
	}
	l.put("raw", day1)
	l.pass(26 * time.Hour)
	l.publish("events.raw", "id1")
	r := l.sweep()
	if r.Foreign != len(foreign) || r.Example == "" || r.Deleted != 1 {
		t.Errorf("%+v", r)
	}
	l.has(foreign...)
}

// Guards against a log that somebody removed: what it named looks like garbage, all of it, and must not go.
func TestTooMany(t *testing.T) {
	l := newLake(t)
	var keys []string
	for range 11 {
		keys = append(keys, l.put("raw", day1))
	}
	l.pass(26 * time.Hour)
	l.publish("events.raw", "id2")
	s := settings
	s.Max = 10
	if r, err := l.sweeper(s, l.b).Sweep(t.Context(), false, always); !errors.Is(err, sweep.ErrTooMany) || r.Deleted != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	l.has(keys...)
	s.Max = 11
	if r, err := l.sweeper(s, l.b).Sweep(t.Context(), false, always); err != nil || r.Deleted != 11 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Guards the report: it deletes nothing, says what a sweep would, and takes nothing from it.
func TestDryRun(t *testing.T) {
	l := newLake(t)
	orphan := l.put("raw", day1)
	l.pass(26 * time.Hour)
	l.publish("events.raw", "id1")
	for range 2 {
		if r, err := l.sweeper(settings, l.b).Sweep(t.Context(), true, always); err != nil || r.Orphans != 1 || r.Bytes != 7 || r.Deleted != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		l.has(orphan)
	}
	if r := l.sweep(); r.Deleted != 1 {
		t.Errorf("%+v", r)
	}
}

// Guards the cost of asking often: within the time, a sweep does nothing, by one request of a process.
func TestDue(t *testing.T) {
	l := newLake(t)
	s := settings
	s.Every = 20 * time.Hour
	l.put("raw", day1)
	a := l.sweeper(s, l.b)
	f := func(w *sweep.Sweeper, wantDue bool, wantGets int) {
		t.Helper()
		before := l.s3.Requests("GET")
		r, err := w.Sweep(t.Context(), false, always)
		if got := l.s3.Requests("GET") - before; err != nil || r.Due != wantDue || (wantGets >= 0 && got != wantGets) {
			t.Errorf("%+v after %d requests, %v", r, got, err)
		}
	}
	f(a, true, -1)
	l.pass(19 * time.Hour)
	f(a, false, 0)
	b := l.sweeper(s, l.b)
	f(b, false, 1)
	f(b, false, 0)
	l.pass(2 * time.Hour)
	f(b, true, -1)
	f(a, false, 1) // b has just swept
}

// Guards the saving: folders whose drains were judged cost one small listing each, garbage of new drains is found wherever it lies, and what was too young is judged later.
func TestOnlyNewDrains(t *testing.T) {
	l := newLake(t)
	var named []string
	for d := range 20 {
		for range 30 {
			l.pass(time.Second)
			named = append(named, l.put("raw", fmt.Sprintf("2026-10-%02d", d+1)))
		}
	}
	l.publish("events.raw", "id1", named...)
	l.pass(30 * time.Hour)
	l.publish("events.raw", "id1")
	if r := l.sweep(); r.Listed != 600 || !r.Complete {
		t.Errorf("%+v", r)
	}
	l.put("raw", "2026-10-03") // garbage, a day later
	l.publish("events.raw", "id1")
	l.pass(2 * time.Hour)
	if r := l.sweep(); r.Listed != 1 || r.Young != 1 {
		t.Errorf("%+v", r)
	}
	before := l.s3.Requests("GET")
	l.pass(23 * time.Hour)
	l.publish("events.raw", "id1")
	late := l.put("raw", "2026-10-01")
	if r := l.sweep(); r.Deleted != 1 || r.Listed != 2 {
		t.Errorf("%+v", r)
	}
	if got := l.s3.Requests("GET") - before; got > 60 {
		t.Errorf("%d requests", got)
	}
	l.has(append(named, late)...)
}

// Guards the state, which only saves work: without it, or with another version's, everything is looked at again.
func TestStateIsLost(t *testing.T) {
	l := newLake(t)
	l.put("raw", day1)
	l.sweep()
	l.pass(26 * time.Hour)
	l.publish("events.raw", "id1")
	l.write("landing/_sweep/events.raw.json")
	if r := l.sweep(); r.Deleted != 1 {
		t.Errorf("%+v", r)
	}
}

// Guards the time budget and the memory: a sweep ends when its time is up, and the next one, of another process, goes on behind what was judged.
func TestResume(t *testing.T) {
	l := newLake(t)
	var named []string
	want := 0
	for i := range 30 {
		key := l.put("raw", fmt.Sprintf("2026-10-%02d", i+1))
		if i%3 == 0 {
			want++
			continue
		}
		named = append(named, key)
	}
	l.publish("events.raw", "id1", named...)
	l.pass(26 * time.Hour)
	l.publish("events.raw", "id1")
	s := settings
	s.Chunk = 10
	deleted, sweeps := 0, 0
	for complete := false; !complete; sweeps++ {
		if sweeps == 20 {
			t.Fatal("it never ends")
		}
		left := 8
		r, err := l.sweeper(s, l.b).Sweep(t.Context(), false, func() bool { left--; return left > 0 })
		if err != nil {
			t.Fatal(err)
		}
		deleted += r.Deleted
		complete = r.Complete
	}
	if deleted != want || sweeps < 2 {
		t.Errorf("%d deleted in %d sweeps", deleted, sweeps)
	}
	l.has(named...)
}

// Guards a crash or an outage between two deletions: the rest goes with the next sweep.
func TestDeletionFails(t *testing.T) {
	l := newLake(t)
	for range 5 {
		l.put("raw", day1)
	}
	l.pass(26 * time.Hour)
	l.publish("events.raw", "id1")
	n := 0
	l.s3.Fail(func(method, _, _ string) objectstoretest.Fault {
		if method == "DELETE" {
			if n++; n == 3 {
				return objectstoretest.WriteThenCut
			}
		}
		return objectstoretest.Serve
	})
	if r, err := l.sweeper(settings, l.b).Sweep(t.Context(), false, always); err == nil || r.Deleted != 2 || r.Complete {
		t.Errorf("%+v, %v", r, err)
	}
	l.s3.Fail(nil)
	if r := l.sweep(); r.Deleted != 2 || !r.Complete {
		t.Errorf("%+v", r)
	}
	l.has()
}

// Guards the enriched folders, which lie by type and model.
func TestEnriched(t *testing.T) {
	l := newLake(t)
	named, orphan := l.put("enriched", day1), l.put("enriched", day1)
	l.publish("events.enriched", "id1", named)
	l.pass(26 * time.Hour)
	l.publish("events.enriched", "id1")
	r, err := l.sweeper(sweep.Settings{Topic: "events.enriched", Kind: "enriched", Age: 24 * time.Hour}, l.b).Sweep(t.Context(), false, always)
	if err != nil || r.Deleted != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	l.has(named)
	if slices.Contains(slices.Collect(maps.Keys(l.s3.Objects(bucket))), orphan) {
		t.Error("the orphan is still there")
	}
}
