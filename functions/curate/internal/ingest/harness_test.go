package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/contract"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// lake is an object store in the process, two buckets, and a catalog.
type lake struct {
	t               testing.TB
	s3              *objectstoretest.Server
	url             string // of the store
	key, secret     string // of a real one
	prefix          string // of namespaces and objects, in a catalog that others use too
	public, private *objectstore.Bucket
	catalog         string
	contracts       *contract.Set
	logs            bytes.Buffer
	opened          int // engines
	tails           map[string]landing.Entry
}

const today = "2026-11-20"

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// engine is nil where there is an engine.
var engine = sync.OnceValue(func() error {
	dir, err := os.MkdirTemp("", "engine-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	db, err := duck.Open(context.Background(), duck.Options{Memory: 64 << 20, Scratch: dir})
	if err != nil {
		return err
	}
	return db.Close()
})

func newLake(t testing.TB) *lake {
	t.Helper()
	if errors.Is(engine(), duck.ErrNoCgo) {
		t.Skip(engine())
	}
	s3 := objectstoretest.NewServer("public", "private")
	t.Cleanup(s3.Close)
	l := &lake{t: t, s3: s3, url: s3.URL, catalog: "sqlite://" + filepath.Join(t.TempDir(), "catalog.db"), tails: map[string]landing.Entry{}}
	l.public, l.private = l.bucket("public"), l.bucket("private")
	var err error
	if l.contracts, err = contract.NewSet(); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lake) bucket(name string) *objectstore.Bucket {
	l.t.Helper()
	c := objectstore.Config{Endpoint: l.url, Region: "us-east-1", AccessKey: l.key, SecretKey: l.secret, Bucket: name, Attempts: 1}
	if l.key == "" {
		c.AccessKey, c.SecretKey, c.Transport = "key", "secret", &http.Transport{DisableKeepAlives: true}
	}
	b, err := objectstore.Open(c)
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

// contract is a contract of a type in version 0.0.ADDITION, with properties as YAML.
func (l *lake) contract(eventType string, addition int, properties string) *contract.Contract {
	l.t.Helper()
	c, err := contract.Parse(eventType, fmt.Appendf(nil, `apiVersion: v3.1.0
kind: DataContract
id: %[1]s-%[2]d
version: 0.0.%[2]d
status: active
customProperties: [{property: eventType, value: %[1]s}]
schema:
  - name: p
    logicalType: object
    properties: [%[3]s]
`, eventType, addition, properties))
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

func (l *lake) know(list ...*contract.Contract) {
	l.t.Helper()
	var err error
	if l.contracts, err = contract.NewSet(list...); err != nil {
		l.t.Fatal(err)
	}
}

// with opens warehouse and engine for f, as a process does.
func (l *lake) with(f func(o Options)) {
	l.t.Helper()
	w, err := warehouse.Open(context.Background(), warehouse.Config{Catalog: l.catalog, Name: "lake", Store: l.public, Prefix: l.prefix + "warehouse", NamespacePrefix: l.prefix, Scratch: l.t.TempDir()})
	if err != nil {
		l.t.Fatal(err)
	}
	var db *duck.DB
	defer func() {
		if db != nil {
			if err := db.Close(); err != nil {
				l.t.Error(err)
			}
		}
		if err := w.Close(); err != nil {
			l.t.Error(err)
		}
	}()
	f(Options{
		Warehouse: w, Public: l.public, Private: l.private, Contracts: l.contracts, Clock: func() time.Time { return now }, Scratch: l.t.TempDir(),
		Logger: slog.New(slog.NewTextHandler(&l.logs, nil)),
		DB: func() (*duck.DB, error) {
			l.opened++
			var err error
			db, err = duck.Open(context.Background(), duck.Options{Memory: 256 << 20, Threads: 2, Scratch: l.t.TempDir()})
			return db, err
		},
	})
}

// run runs an ingest with what change changes of its options.
func (l *lake) run(change func(*Options)) (res Result, err error) {
	l.t.Helper()
	l.with(func(o Options) {
		if change != nil {
			change(&o)
		}
		res, err = Run(context.Background(), o)
	})
	return res, err
}

// must is run without an error.
func (l *lake) must() Result {
	l.t.Helper()
	res, err := l.run(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	return res
}

// query returns the rows of a query over all tables of events and ops, a line each.
func (l *lake) query(sql string) string {
	l.t.Helper()
	ctx := context.Background()
	var out []string
	l.with(func(o Options) {
		db, err := o.DB()
		if err != nil {
			l.t.Fatal(err)
		}
		names, err := o.Warehouse.Tables(ctx)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, n := range names {
			t, err := o.Warehouse.Load(ctx, n)
			if err != nil {
				l.t.Fatal(err)
			}
			files, err := t.Plan(ctx, nil)
			if err != nil {
				l.t.Fatal(err)
			}
			locals, err := o.Warehouse.Fetch(ctx, files, nil)
			if err != nil {
				l.t.Fatal(err)
			}
			if err := db.Relation(ctx, n, t.Schema(), locals, nil, ""); err != nil {
				l.t.Fatal(err)
			}
		}
		err = db.Rows(ctx, sql, func(_ []string, row []any) error {
			var line []string
			for _, v := range row {
				if at, ok := v.(time.Time); ok {
					v = at.UTC().Format("2006-01-02T15:04:05.999999")
				}
				line = append(line, fmt.Sprint(v))
			}
			out = append(out, strings.Join(line, " "))
			return nil
		})
		if err != nil {
			l.t.Fatal(err)
		}
	})
	return strings.Join(out, "\n")
}

// row is what all landing objects of the tests have.
type row struct {
	EventType *string    `parquet:"event_type,optional"`
	RootID    *string    `parquet:"root_id,optional"`
	Partition *int32     `parquet:"kafka_partition,optional"`
	Offset    *int64     `parquet:"kafka_offset,optional"`
	Timestamp *time.Time `parquet:"kafka_timestamp,optional,timestamp(microsecond)"`
	Rescued   *string    `parquet:"_rescued,optional"`
}

type typed[P any] struct {
	EventType *string    `parquet:"event_type,optional"`
	RootID    *string    `parquet:"root_id,optional"`
	Partition *int32     `parquet:"kafka_partition,optional"`
	Offset    *int64     `parquet:"kafka_offset,optional"`
	Timestamp *time.Time `parquet:"kafka_timestamp,optional,timestamp(microsecond)"`
	Rescued   *string    `parquet:"_rescued,optional"`
	Payload   *P         `parquet:"payload,optional"`
}

type dead struct {
	EventType *string    `parquet:"event_type,optional"`
	RootID    *string    `parquet:"root_id,optional"`
	Code      *string    `parquet:"failure_code,optional"`
	Partition *int32     `parquet:"kafka_partition,optional"`
	Offset    *int64     `parquet:"kafka_offset,optional"`
	Timestamp *time.Time `parquet:"kafka_timestamp,optional,timestamp(microsecond)"`
	Extension *string    `parquet:"extensions,optional"`
	Headers   *string    `parquet:"kafka_headers,optional"`
	Key       []byte     `parquet:"kafka_key,optional"`
	Payload   []byte     `parquet:"payload,optional"`
}

// object is what the tests land: n rows whose offsets the entry decides.
type object struct {
	kind, eventType, model, day string
	n                           int
	body                        func(from int64) []byte
}

func encode[T any](rows []T) []byte {
	var b bytes.Buffer
	if err := parquet.Write(&b, rows); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func stamp(day string) *time.Time {
	t, err := time.Parse(time.DateOnly, day)
	if err != nil {
		panic(err)
	}
	t = t.Add(12 * time.Hour)
	return &t
}

func ref[T any](v T) *T { return &v }

// plain is an object of a type without a contract.
func plain(eventType string, n int) object { return plainOn(eventType, today, n) }

func plainOn(eventType, day string, n int) object {
	return object{landing.KindEnriched, eventType, "0", day, n, func(from int64) []byte {
		var rows []row
		for i := range int64(n) {
			rows = append(rows, row{&eventType, ref(fmt.Sprint(eventType, "-", from+i)), new(int32), ref(from + i), stamp(day), ref(`{"withheld":"x"}`)})
		}
		return encode(rows)
	}}
}

// typedObject is an object of a type with a payload.
func typedObject[P any](eventType string, payloads ...*P) object {
	return object{landing.KindEnriched, eventType, "0", today, len(payloads), func(from int64) []byte {
		var rows []typed[P]
		for i, p := range payloads {
			at := from + int64(i)
			rows = append(rows, typed[P]{EventType: &eventType, RootID: ref(fmt.Sprint(eventType, "-", at)), Partition: new(int32), Offset: &at, Timestamp: stamp(today), Payload: p})
		}
		return encode(rows)
	}}
}

func deadObject(codes ...string) object {
	return object{landing.KindDead, "", "", today, len(codes), func(from int64) []byte {
		var rows []dead
		for i, c := range codes {
			rows = append(rows, dead{ref("PageView"), ref("r"), &c, new(int32), ref(from + int64(i)), stamp(today), ref(`{"x":"secret"}`), ref("secret"), []byte("secret"), []byte("secret!")})
		}
		return encode(rows)
	}}
}

func rawObject(n int) object {
	o := plain("X", n)
	o.kind, o.eventType, o.model = landing.KindRaw, "", ""
	return o
}

// store returns the bucket of a topic.
func (l *lake) store(topic string) *objectstore.Bucket {
	if topic == "events.enriched" {
		return l.public
	}
	return l.private
}

func topicID(topic string) string { return strings.ReplaceAll(topic, ".", "-") + "-id" }

// entry writes the objects and returns the entry that would publish them.
func (l *lake) entry(topic string, objects ...object) landing.Entry {
	l.t.Helper()
	tail := l.tails[topic]
	drain, err := uuid.NewV7()
	if err != nil {
		l.t.Fatal(err)
	}
	from := tail.Next()[0]
	e := landing.Entry{
		Version: landing.Version, Topic: topic, TopicID: topicID(topic), Sequence: tail.Sequence + 1, Drain: drain.String(), Time: now,
		Partitions: []landing.Partition{{Partition: 0, From: from, Next: from}},
	}
	for i, o := range objects {
		eventType, model := o.eventType, o.model
		if o.kind == landing.KindEnriched && eventType == "" {
			eventType, model = "_", "_"
		}
		body := o.body(e.Partitions[0].Next)
		key := landing.Place{Kind: o.kind, Type: eventType, Model: model, Day: o.day, Drain: e.Drain, N: i}.Key()
		if err := l.store(topic).Put(context.Background(), key, body); err != nil {
			l.t.Fatal(err)
		}
		sum := sha256.Sum256(body)
		e.Objects = append(e.Objects, landing.Object{Key: key, Kind: o.kind, Type: o.eventType, Rows: int64(o.n), Bytes: int64(len(body)), SHA256: hex.EncodeToString(sum[:])})
		e.Partitions[0].Next += int64(o.n)
	}
	return e
}

// publish appends an entry to its log.
func (l *lake) publish(e landing.Entry) {
	l.t.Helper()
	if err := landing.Open(l.store(e.Topic), e.Topic, e.TopicID).Append(context.Background(), l.tails[e.Topic], e); err != nil {
		l.t.Fatal(err)
	}
	l.tails[e.Topic] = e
}

// land writes and publishes.
func (l *lake) land(topic string, objects ...object) landing.Entry {
	l.t.Helper()
	e := l.entry(topic, objects...)
	l.publish(e)
	return e
}

// codes are the alarms' codes, those that stop with a !.
func codes(r Result) string {
	var out []string
	for _, a := range r.Alarms {
		s := string(a.Code)
		if a.Stops {
			s += "!"
		}
		out = append(out, s)
		if a.Hint == "" || a.Message == "" {
			out = append(out, "without words")
		}
	}
	return strings.Join(out, " ")
}
