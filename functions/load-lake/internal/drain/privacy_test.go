package drain_test

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/parquet-go/parquet-go"

	"millrace/functions/load-lake/internal/drain"
	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/landing"
	"millrace/shared/mask"
)

const viewPayload = `{"host":"jane.example.com","method":"GET","url":"/","status":200,"visited_at":"2026-11-21T12:04:20Z"}`

// enriched returns an enriched event as a record, written on 21 November 2026 at 11:59.
func (l *lake) enriched(partition int32, n int, eventType, version, payload string) *sarama.ProducerMessage {
	l.t.Helper()
	e := event.Event{}
	e.SetSpecVersion("1.0")
	e.SetID(strconv.Itoa(n))
	e.SetSource("/test")
	e.SetType(eventType)
	e.SetDataContentType("application/json")
	e.DataEncoded = event.EnrichedData([]byte(payload), []byte(`{}`))
	e.SetExtension(event.SchemaVersion, version)
	e.SetExtension(event.Stage, event.StageEnriched)
	if err := event.Derive(&e, l.now); err != nil {
		l.t.Fatal(err)
	}
	m, err := kafka.Encode(l.topic, &e)
	if err != nil {
		l.t.Fatal(err)
	}
	m = place(m, partition)
	m.Timestamp = l.now.Add(-time.Minute)
	return m
}

// objects returns the log's newest position by partition, and all objects that it names, by offset in partition 0 or 1.
func (l *lake) objects() (next map[int32]int64, rows int, objects [][]byte) {
	l.t.Helper()
	b := l.bucket(1)
	next = map[int32]int64{}
	if err := landing.Open(b, l.topic, l.id()).After(l.t.Context(), 0, func(e landing.Entry) error {
		next = e.Next()
		for _, o := range e.Objects {
			object, err := b.Get(l.t.Context(), o.Key)
			if err != nil {
				return err
			}
			rows, objects = rows+int(o.Rows), append(objects, object)
		}
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
	return next, rows, objects
}

// Guards personal data without a key: everything before the first event that needs it is drained, in each partition, the drain is an error that says what is missing, and says it again, and
// with a key the rest follows, each event once, people as pseudonyms.
func TestDrainsUpToWhatNeedsTheKey(t *testing.T) {
	l := newLake(t, "events.enriched", 2)
	const trip = "YellowTaxiTripRecords"
	l.produce(l.enriched(0, 1, trip, "0-0-1", `{}`), l.enriched(0, 2, "PageView", "0-0-1", viewPayload), l.enriched(0, 3, trip, "0-0-1", `{}`),
		l.enriched(1, 4, trip, "0-0-1", `{}`), l.enriched(1, 5, trip, "0-0-1", `{}`))
	s := l.settings()
	s.Kind = landing.KindEnriched
	for range 2 {
		r, err := l.drainer(s, l.bucket(1)).Drain(t.Context(), always)
		if !errors.Is(err, mask.ErrNoKey) || r.Done {
			t.Errorf("%+v, %v", r, err)
		}
		if next, rows, _ := l.objects(); next[0] != 1 || next[1] != 2 || rows != 3 {
			t.Fatalf("drained to %v, %d rows", next, rows)
		}
	}
	s.Key = mask.Settings{Text: "0123456789abcdef0123456789abcdef"}.Open().Key
	if r, err := l.drainer(s, l.bucket(1)).Drain(t.Context(), always); err != nil || !r.Done {
		t.Fatalf("%+v, %v", r, err)
	}
	next, rows, objects := l.objects()
	if next[0] != 3 || next[1] != 2 || rows != 5 {
		t.Errorf("drained to %v, %d rows", next, rows)
	}
	type view struct {
		Type    string `parquet:"event_type,optional"`
		Payload *struct {
			Host string `parquet:"host,optional"`
		} `parquet:"payload,optional"`
	}
	views := 0
	for _, object := range objects {
		rows, err := parquet.Read[view](bytes.NewReader(object), int64(len(object)))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if r.Type == "PageView" {
				views++
				if r.Payload == nil || len(r.Payload.Host) != 34 || !strings.HasPrefix(r.Payload.Host, "p_") {
					t.Errorf("%+v", r.Payload)
				}
			}
		}
		if bytes.Contains(object, []byte("jane")) {
			t.Error("a person is in an object")
		}
	}
	if views != 1 {
		t.Errorf("%d views", views)
	}
}

// Guards events whose contract comes to this process after enrich's: their partition waits, without an error and without holding up the other, and they have their
// columns once the contract is here; one that waited for too long is written without what nobody has classified, and the row says so.
func TestDrainsUpToWhatHasNoContractYet(t *testing.T) {
	for _, late := range []bool{false, true} {
		l := newLake(t, "events.enriched", 2)
		l.produce(l.enriched(0, 1, "New", "0-0-1", `{"a":"x"}`), l.enriched(0, 2, "New", "0-0-2", `{"a":"x","b":"jane"}`), l.enriched(0, 3, "New", "0-0-1", `{"a":"x"}`), l.enriched(1, 4, "New", "0-0-1", `{"a":"x"}`))
		a, b := contract.Field{Name: "a", Type: contract.String}, contract.Field{Name: "b", Type: contract.String, Classification: "public"}
		version := func(addition int, fields ...contract.Field) *contract.Contract {
			return &contract.Contract{EventType: "New", Version: "0-0-" + strconv.Itoa(addition), Addition: addition, Payload: fields}
		}
		set := func(list ...*contract.Contract) *contract.Set {
			set, err := contract.NewSet(list...)
			if err != nil {
				t.Fatal(err)
			}
			return set
		}
		s := l.settings()
		s.Kind, s.ContractsWait = landing.KindEnriched, 10*time.Minute
		var log bytes.Buffer
		run := func(contracts drain.Contracts) drain.Result {
			log.Reset()
			r, err := drain.New(s, kafka.NewReader(l.client), l.bucket(1), contracts, func() time.Time { return l.now }, slog.New(slog.NewTextHandler(&log, nil)), nil).Drain(t.Context(), always)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		for range 2 {
			if r := run(set(version(1, a))); r.Done {
				t.Errorf("%+v", r)
			}
			if next, rows, _ := l.objects(); next[0] != 1 || next[1] != 1 || rows != 2 {
				t.Fatalf("drained to %v, %d rows", next, rows)
			}
		}
		known := set(version(1, a), version(2, a, b))
		if late {
			l.now, known = l.now.Add(9*time.Minute), set(version(1, a))
		}
		if r := run(known); !r.Done {
			t.Errorf("%+v", r)
		}
		if n := strings.Count(log.String(), "rows without their data"); (n == 1) != late || n > 1 {
			t.Errorf("late %v: %s", late, log.String())
		}
		next, rows, objects := l.objects()
		if next[0] != 3 || rows != 4 {
			t.Errorf("drained to %v, %d rows", next, rows)
		}
		has := func(text string) bool {
			return slices.ContainsFunc(objects, func(object []byte) bool {
				type row struct {
					Rescued *string `parquet:"_rescued,optional"`
					Payload *struct {
						B *string `parquet:"b,optional"`
					} `parquet:"payload,optional"`
				}
				rows, err := parquet.Read[row](bytes.NewReader(object), int64(len(object)))
				if err != nil {
					t.Fatal(err)
				}
				return slices.ContainsFunc(rows, func(r row) bool {
					return r.Payload != nil && r.Payload.B != nil && strings.Contains(*r.Payload.B, text) || r.Rescued != nil && strings.Contains(*r.Rescued, text)
				})
			})
		}
		if has("jane") == late || has("withheld") != late {
			t.Errorf("late %v: jane %v, withheld %v", late, has("jane"), has("withheld"))
		}
	}
}

// Guards a partition against a clock that is years ahead: an event without a contract keeps it waiting for no longer than one that came now.
func TestEventFromTheFutureHoldsNothingUp(t *testing.T) {
	l := newLake(t, "events.enriched", 1)
	future := l.enriched(0, 1, "New", "0-0-1", `{"a":"jane"}`)
	future.Timestamp = l.now.AddDate(100, 0, 0)
	l.produce(future, l.enriched(0, 2, "YellowTaxiTripRecords", "0-0-1", `{}`))
	s := l.settings()
	s.Kind, s.ContractsWait = landing.KindEnriched, 10*time.Minute
	if r, err := l.drainer(s, l.bucket(1)).Drain(t.Context(), always); err != nil || !r.Done || r.Rows != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}
