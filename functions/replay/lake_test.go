package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"millrace/shared/event"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// row has some of the columns of load-lake's dead objects; load-lake's own test reads back all.
type row struct {
	Type       string `parquet:"event_type,optional"`
	Version    string `parquet:"schema_version,optional"`
	Root       string `parquet:"root_id,optional"`
	ID         string `parquet:"id,optional"`
	Source     string `parquet:"source,optional"`
	Collected  int64  `parquet:"collector_tstamp,optional"`
	Hash       string `parquet:"data_hash,optional"`
	Stage      string `parquet:"failure_stage,optional"`
	Code       string `parquet:"failure_code,optional"`
	Extensions string `parquet:"extensions,optional"`
	Partition  int32  `parquet:"kafka_partition,optional"`
	Offset     int64  `parquet:"kafka_offset,optional"`
	Stamp      int64  `parquet:"kafka_timestamp,optional"`
	Payload    []byte `parquet:"payload,optional"`
}

// land writes one object of dead letters with an entry of the log.
func land(t *testing.T, bucket *objectstore.Bucket, sequence int64, day string, ids ...string) {
	t.Helper()
	log := landing.Open(bucket, "events.dead", "an-old-topic-id")
	prev, err := log.Tail(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.DateOnly, day)
	if err != nil {
		t.Fatal(err)
	}
	from := prev.Next()[0]
	var rows []row
	for i, id := range ids {
		rows = append(rows, row{
			Type: taxi, Version: "0-0-1", Root: event.Identity("/test", id), ID: id, Source: "/test", Collected: arrived.UnixMicro(), Hash: event.Hash([]byte(trip)),
			Stage: "enrich", Code: string(event.CodeDeliveryExhausted), Extensions: `{"knativeerrordest":"http://enrich.millrace/","color":"red"}`,
			Offset: from + int64(i), Stamp: at.Add(time.Hour).UnixMicro(), Payload: []byte(trip),
		})
	}
	var body bytes.Buffer
	w := parquet.NewGenericWriter[row](&body)
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprintf("landing/dead/date=%s/drain-%d.parquet", day, sequence)
	if err := bucket.Put(t.Context(), key, body.Bytes()); err != nil {
		t.Fatal(err)
	}
	e := landing.Entry{
		Version: 1, Topic: "events.dead", TopicID: "an-old-topic-id", Sequence: sequence, Drain: "drain", Time: at.Add(2 * time.Hour),
		Partitions: []landing.Partition{{From: from, Next: from + int64(len(ids))}},
		Objects:    []landing.Object{{Key: key, Kind: landing.KindDead, Rows: int64(len(ids)), Bytes: int64(body.Len()), SHA256: sum(body.Bytes())}},
	}
	if err := log.Append(t.Context(), prev, e); err != nil {
		t.Fatal(err)
	}
}

// Guards what Kafka has forgotten: a topic of another id, years ago, is planned and replayed from the lake like one that is there; only the days that were asked for are read; and an
// object that is not the one of the plan any more stops the replay.
func TestLake(t *testing.T) {
	p := newPipeline(t)
	store := objectstoretest.NewServer("private")
	t.Cleanup(store.Close)
	bucket, err := objectstore.Open(store.Config("private", 1))
	if err != nil {
		t.Fatal(err)
	}
	c := store.Config("private", 1)
	t.Setenv("S3_ENDPOINT", c.Endpoint)
	t.Setenv("S3_BUCKET_PRIVATE", "private")
	keys := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(keys, fmt.Appendf(nil, "[lake]\naws_access_key_id=%s\naws_secret_access_key=%s\n", c.AccessKey, c.SecretKey), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", keys)
	t.Setenv("S3_PRIVATE_PROFILE", "lake")
	if _, told := p.run(1, "plan", "--lake"); !strings.Contains(told, "no landing log of events.dead") {
		t.Errorf("an empty lake: %s", told)
	}
	land(t, bucket, 1, "2023-03-01", "a", "b", "c")
	land(t, bucket, 2, "2023-03-02", "d", "a")
	land(t, bucket, 3, "2023-03-03", "e")

	s, entries := p.plan("day.json", "--lake", "--from", "2023-03-02", "--to", "2023-03-03")
	if s.Read != 2 || s.Events != 2 || of(entries, "d") != "pass to raw, count 1" {
		t.Errorf("one day: %+v, %v", s.Summary, entries)
	}
	s, _ = p.plan("all.json", "--lake")
	if s.Read != 6 || s.Events != 5 || s.Duplicates != 1 {
		t.Errorf("all days: %+v", s.Summary)
	}
	p.run(0, "apply", p.file("all.json"))
	sent := p.read("events.raw")
	var ids []string
	for _, e := range sent {
		ids = append(ids, e.ID())
		if string(e.Data()) != trip || event.FailureAttributes(e) != nil || event.Attr(e, "color") != "red" || event.Attr(e, event.ReplayID) != s.ID {
			t.Errorf("event %s", e)
		}
	}
	if !slices.Equal(ids, []string{"a", "b", "c", "d", "e"}) {
		t.Errorf("sent %v", ids)
	}

	// An object that a person's events were erased from is one that is not the log's, until the erasure says so; a plan of before is over.
	land(t, bucket, 4, "2023-03-04", "f", "g")
	p.plan("before.json", "--lake", "--from", "2023-03-04")
	other := objectstoretest.NewServer("private")
	t.Cleanup(other.Close)
	without, err := objectstore.Open(other.Config("private", 1))
	if err != nil {
		t.Fatal(err)
	}
	land(t, without, 1, "2023-03-04", "g")
	left, err := without.Get(t.Context(), "landing/dead/date=2023-03-04/drain-1.parquet")
	if err != nil {
		t.Fatal(err)
	}
	key := "landing/dead/date=2023-03-04/drain-4.parquet"
	was, err := bucket.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Put(t.Context(), key, left); err != nil {
		t.Fatal(err)
	}
	if _, told := p.run(1, "plan", "--lake", "--from", "2023-03-04"); !strings.Contains(told, key) {
		t.Errorf("damage: %s", told)
	}
	if err := landing.Open(bucket, "events.dead", "an-old-topic-id").Erase(t.Context(), landing.Erasure{ID: "e", Time: time.Now(), Objects: []landing.Erased{
		{Key: key, Was: sum(was), SHA256: sum(left), Bytes: int64(len(left)), Rows: 1, Gone: []landing.Gone{{Partition: 0, First: 6, Last: 6}}},
	}}); err != nil {
		t.Fatal(err)
	}
	if _, told := p.run(1, "apply", p.file("before.json")); !strings.Contains(told, "gone") {
		t.Errorf("a plan of before: %s", told)
	}
	if s, entries := p.plan("after.json", "--lake", "--from", "2023-03-04"); s.Read != 1 || of(entries, "g") != "pass to raw, count 1" {
		t.Errorf("after an erasure: %+v, %v", s.Summary, entries)
	}
	p.run(0, "apply", p.file("after.json"))
	if sent := p.read("events.raw"); len(sent) != 6 || sent[5].ID() != "g" {
		t.Errorf("sent %v", sent)
	}

	if err := bucket.Put(t.Context(), "landing/dead/date=2023-03-02/drain-2.parquet", []byte("another")); err != nil {
		t.Fatal(err)
	}
	if _, told := p.run(1, "apply", p.file("day.json")); !strings.Contains(told, "date=2023-03-02/drain-2.parquet") {
		t.Errorf("another object: %s", told)
	}
	if err := bucket.Delete(t.Context(), "landing/dead/date=2023-03-02/drain-2.parquet"); err != nil {
		t.Fatal(err)
	}
	if _, told := p.run(1, "apply", p.file("day.json")); !strings.Contains(told, "gone") || len(p.read("events.raw")) != 6 {
		t.Errorf("no object: %s", told)
	}
	if _, err := os.Stat(p.file("day.json")); err != nil {
		t.Error(err)
	}
}

// BenchmarkPlan plans 100,000 dead letters, of which one in a hundred would fail, and search shows none.
func BenchmarkPlan(b *testing.B) {
	const n = 100_000
	p := newPipeline(b)
	var batch []*event.Event
	for i := range n {
		payload := trip
		if i%100 == 0 {
			payload = far
		}
		batch = append(batch, letter(raw(b, fmt.Sprint(i), payload), "enrich", event.CodeDeliveryExhausted))
		if len(batch) == 1000 {
			p.publish("events.dead", batch...)
			batch = batch[:0]
		}
	}
	for b.Loop() {
		s, _ := p.plan("plan.json")
		if s.Events != n || s.Count("fail") != n/100 {
			b.Fatalf("%+v", s.Summary)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Seconds())/float64(b.N), "s/100000")
}
