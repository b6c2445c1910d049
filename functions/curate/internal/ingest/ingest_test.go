package ingest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"millrace/shared/landing"
	"millrace/shared/objectstore/objectstoretest"
)

const (
	enriched = "events.enriched"
	raw      = "events.raw"
	deadOnes = "events.dead"
)

// Guards the main path: rows of all topics are where they belong, once, with their day, log, entry and object; what is private stays out; a second run takes nothing and opens no engine.
func TestRun(t *testing.T) {
	t.Parallel()
	l := newLake(t)
	l.land(enriched, plain("A.b-C", 3), plainOn("A.b-C", "2026-11-19", 2), plain("D", 1))
	l.land(raw, rawObject(7))
	l.land(deadOnes, deadObject("x", "y"))
	res := l.must()
	if res.Rows() != 8 || len(res.Alarms) > 0 || len(res.Tables) != 3 || l.opened != 1 {
		t.Errorf("%+v", res)
	}
	for sql, want := range map[string]string{
		`select event_type, root_id, kafka_offset, arrival_date, landing_log, landing_sequence, _rescued from events.enriched_a_b_c_0 order by kafka_offset`: `A.b-C A.b-C-0 0 2026-11-20T00:00:00 events-enriched-id 1 {"withheld":"x"}
A.b-C A.b-C-1 1 2026-11-20T00:00:00 events-enriched-id 1 {"withheld":"x"}
A.b-C A.b-C-2 2 2026-11-20T00:00:00 events-enriched-id 1 {"withheld":"x"}
A.b-C A.b-C-3 3 2026-11-19T00:00:00 events-enriched-id 1 {"withheld":"x"}
A.b-C A.b-C-4 4 2026-11-19T00:00:00 events-enriched-id 1 {"withheld":"x"}`,
		`select count(*), count(distinct landing_object) from events.enriched_a_b_c_0 where landing_object like 'landing/enriched/A.b-C/0/date=%'`: "5 2",
		`select * exclude (landing_object) from events.dead`: `PageView r x 7 0 0 2026-11-20T12:00:00 2026-11-20T00:00:00 events-dead-id 1
PageView r y 7 0 1 2026-11-20T12:00:00 2026-11-20T00:00:00 events-dead-id 1`,
		`select topic, landing_log, landing_sequence, written_at, kind, event_type, arrival_date, rows, bytes > 0, skipped, lost from ops.landing order by topic, arrival_date desc, event_type`: `events.dead events-dead-id 1 2026-11-21T12:00:00 dead <nil> 2026-11-20T00:00:00 2 true 0 0
events.enriched events-enriched-id 1 2026-11-21T12:00:00 enriched A.b-C 2026-11-20T00:00:00 3 true 0 0
events.enriched events-enriched-id 1 2026-11-21T12:00:00 enriched D 2026-11-20T00:00:00 1 true 0 0
events.enriched events-enriched-id 1 2026-11-21T12:00:00 enriched A.b-C 2026-11-19T00:00:00 2 true 0 0
events.raw events-raw-id 1 2026-11-21T12:00:00 raw <nil> 2026-11-20T00:00:00 7 true 0 0`,
	} {
		if got := l.query(sql); got != want {
			t.Errorf("%s\ngot\n%s\nwant\n%s", sql, got, want)
		}
	}
	l.opened = 0
	if res := l.must(); res.Rows() != 0 || len(res.Tables) > 0 || l.opened != 0 {
		t.Errorf("nothing new: %+v, %d engines", res, l.opened)
	}
	l.land(enriched, plain("D", 2))
	if res := l.must(); res.Rows() != 2 || len(res.Tables) != 1 || res.Tables[0].Position[topicID(enriched)] != 2 {
		t.Errorf("%+v", res)
	}
	if got := l.query("select count(*), count(distinct root_id) from events.enriched_d_0"); got != "3 3" {
		t.Errorf("got %s", got)
	}
}

// Guards exactly once over each point at which a process can be killed: while files are uploaded, between upload and commit, between the tables' commits, before ops.landing has the position, and with
// commits whose answer is lost. Each must be an error, and the next run must make it good.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	for _, point := range []struct {
		name  string
		fault objectstoretest.Fault
		at    func(method, key string) bool
		nth   int
	}{
		{"first data file", objectstoretest.Refuse, uploads("/data/"), 1},
		{"last data file", objectstoretest.Refuse, uploads("/data/"), 3},
		{"data file written, answer lost", objectstoretest.WriteThenFail, uploads("/data/"), 2},
		{"first commit", objectstoretest.Refuse, uploads(".avro"), 1},
		{"second table", objectstoretest.Refuse, uploads("/enriched_b_0/metadata/"), 1},
		{"second table, written, answer lost", objectstoretest.WriteThenFail, uploads("/enriched_b_0/metadata/"), 2},
		{"ops.landing made", objectstoretest.Refuse, uploads("/landing/metadata/"), 1},
		{"ops.landing written", objectstoretest.Refuse, uploads("/landing/data/"), 1},
		{"ops.landing committed", objectstoretest.Refuse, uploads("/landing/metadata/"), 3},
	} {
		t.Run(point.name, func(t *testing.T) {
			t.Parallel()
			l := newLake(t)
			l.land(enriched, plain("A", 3), plain("B", 2))
			l.land(enriched, plain("B", 4))
			n := 0
			l.s3.Fail(func(method, bucket, key string) objectstoretest.Fault {
				if method == "PUT" && bucket == "public" && point.at(method, key) {
					if n++; n >= point.nth {
						return point.fault
					}
				}
				return objectstoretest.Serve
			})
			if _, err := l.run(nil); err == nil {
				t.Error("no error")
			}
			l.s3.Fail(nil)
			res := l.must()
			if len(res.Alarms) > 0 {
				t.Errorf("%+v", res.Alarms)
			}
			l.whole("A", 3)
			l.whole("B", 6)
			if got := l.query(`select sum(rows), count(*) from ops.landing`); got != "9 3" {
				t.Errorf("ops.landing: %s", got)
			}
		})
	}
}

func uploads(part string) func(method, key string) bool {
	return func(_, key string) bool { return strings.HasPrefix(key, "warehouse/") && strings.Contains(key, part) }
}

// whole checks that the table of the type has so many rows, none twice.
func (l *lake) whole(eventType string, n int) {
	l.t.Helper()
	got := l.query("select count(*), count(distinct kafka_offset), count(distinct root_id) from events." + TableOf(eventType, "0").Table)
	if want := fmt.Sprint(n, n, n); got != want {
		l.t.Errorf("%s has rows, offsets, root ids %s, want %s", eventType, got, want)
	}
}

// Guards against entries and objects that are missing or lie: the topic stops in front of them with an alarm that says which and what to do, what lies before them is committed, other topics go on, and once the
// thing is mended, the next run goes on.
func TestBadEntry(t *testing.T) {
	t.Parallel()
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	for _, c := range []struct {
		name  string
		code  Code
		spoil func(l *lake, e landing.Entry) (mend func())
	}{
		{"object missing", CodeObjectMissing, func(l *lake, e landing.Entry) func() {
			l.publish(e)
			return l.replaceObject(e.Objects[1].Key, nil)
		}},
		{"object corrupt", CodeObjectCorrupt, func(l *lake, e landing.Entry) func() {
			l.publish(e)
			return l.replaceObject(e.Objects[1].Key, flip)
		}},
		{"object cut short", CodeObjectCorrupt, func(l *lake, e landing.Entry) func() {
			l.publish(e)
			return l.replaceObject(e.Objects[1].Key, func(b []byte) []byte { return b[:len(b)-9] })
		}},
		{"entry missing", CodeGap, func(l *lake, e landing.Entry) func() {
			l.publish(e)
			return l.replaceObject(landing.Key(e.Topic, e.TopicID, e.Sequence), nil)
		}},
		{"entry is no JSON", CodeEntry, func(l *lake, e landing.Entry) func() {
			l.publish(e)
			return l.replaceObject(landing.Key(e.Topic, e.TopicID, e.Sequence), func(b []byte) []byte { return b[1:] })
		}},
		{"entry of another sequence", CodeEntry, func(l *lake, e landing.Entry) func() {
			l.publish(e)
			return l.replaceObject(landing.Key(e.Topic, e.TopicID, e.Sequence), func(b []byte) []byte {
				return []byte(strings.Replace(string(b), `"sequence":2`, `"sequence":7`, 1))
			})
		}},
		{"entry does not join", CodeJoin, func(l *lake, e landing.Entry) func() {
			l.publish(e)
			return l.replaceObject(landing.Key(e.Topic, e.TopicID, e.Sequence), func(b []byte) []byte {
				return []byte(strings.Replace(string(b), `"from":3,"next":7`, `"from":4,"next":8`, 1))
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLake(t)
			l.land(enriched, plain("A", 3))
			mend := c.spoil(l, l.entry(enriched, plain("A", 2), plain("B", 2)))
			l.land(enriched, plain("A", 5))
			l.land(deadOnes, deadObject("x"))
			for range 2 { // it stays an alarm
				res := l.must()
				if codes(res) != string(c.code)+"!" || res.Stopped() == nil || res.Alarms[0].Sequence != 2 {
					t.Errorf("%+v", res.Alarms)
				}
			}
			l.whole("A", 3)
			if got := l.query(`select topic, sum(rows) from ops.landing group by topic order by topic`); got != "events.dead 1\nevents.enriched 3" {
				t.Errorf("ops.landing: %s", got)
			}
			mend()
			if res := l.must(); len(res.Alarms) > 0 {
				t.Errorf("%+v", res.Alarms)
			}
			l.whole("A", 10)
			l.whole("B", 2)
		})
	}
}

// replaceObject changes an object of the public bucket, or deletes it where f is nil, and returns what puts it back.
func (l *lake) replaceObject(key string, f func([]byte) []byte) func() {
	l.t.Helper()
	was := l.s3.Objects("public")[key]
	if was == nil {
		l.t.Fatalf("no object %s", key)
	}
	if f == nil {
		if err := l.public.Delete(context.Background(), key); err != nil {
			l.t.Fatal(err)
		}
	} else {
		l.put(key, f(bytes.Clone(was)))
	}
	return func() { l.put(key, was) }
}

func (l *lake) put(key string, body []byte) {
	l.t.Helper()
	if err := l.public.Put(context.Background(), key, body); err != nil {
		l.t.Fatal(err)
	}
}

// Guards against entries whose sums are right and whose objects are not what they say: rows of other offsets, of skipped ones, of another day, two of one offset, another number of rows, another kind or type than
// the key's, no Parquet at all.
func TestLyingEntry(t *testing.T) {
	t.Parallel()
	other := func(change func(e *landing.Entry)) func(l *lake) {
		return func(l *lake) {
			e := l.entry(enriched, plain("A", 4))
			change(&e)
			l.publish(e)
		}
	}
	body := func(day string, rows func(from int64) []byte) func(l *lake) {
		return func(l *lake) {
			l.publish(l.entry(enriched, object{landing.KindEnriched, "A", "0", day, 4, rows}))
		}
	}
	rows := func(day string, partition int32, offsets ...int64) func(int64) []byte {
		return func(int64) []byte {
			var rows []row
			for _, o := range offsets {
				rows = append(rows, row{Partition: &partition, Offset: &o, Timestamp: stamp(day)})
			}
			return encode(rows)
		}
	}
	for _, c := range []struct {
		name string
		code Code
		land func(l *lake)
	}{
		{"rows beyond", CodeObjectDiffers, body(today, rows(today, 0, 1, 2, 3, 5))},
		{"rows of before", CodeObjectDiffers, body(today, rows(today, 0, 0, 1, 2, 3))},
		{"rows of another partition", CodeObjectDiffers, body(today, rows(today, 1, 1, 2, 3, 4))},
		{"a row twice", CodeObjectDiffers, body(today, rows(today, 0, 1, 2, 2, 3))},
		{"fewer rows", CodeObjectDiffers, body(today, rows(today, 0, 1, 2, 3))},
		{"another day", CodeObjectDiffers, body(today, rows("2026-11-21", 0, 1, 2, 3, 4))},
		{"no offsets", CodeObjectCorrupt, body(today, func(int64) []byte {
			return encode([]struct{ A int32 }{{1}, {2}, {3}, {4}})
		})},
		{"no Parquet", CodeObjectCorrupt, body(today, func(int64) []byte { return []byte("PAR1 is not all PAR1") })},
		{"a skipped offset", CodeObjectDiffers, other(func(e *landing.Entry) {
			e.Partitions[0].Next++
			e.Partitions[0].Skipped = []landing.Range{{First: 2, Last: 2, Reason: landing.ReasonControl}}
		})},
		{"another type", CodeObjectDiffers, other(func(e *landing.Entry) { e.Objects[0].Type = "B" })},
		{"another kind", CodeObjectDiffers, other(func(e *landing.Entry) { e.Objects[0].Kind = landing.KindDead })},
		{"no key of a drain", CodeObjectDiffers, other(func(e *landing.Entry) { e.Objects[0].Key = "landing/enriched/A/0/date=soon/x-0.parquet" })},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLake(t)
			l.land(enriched, plain("A", 1))
			c.land(l)
			if res := l.must(); codes(res) != string(c.code)+"!" {
				t.Errorf("%+v", res.Alarms)
			}
			l.whole("A", 1)
		})
	}
}
