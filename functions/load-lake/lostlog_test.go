package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/functions/load-lake/internal/drain"
	"millrace/shared/kafka"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// known is a Kafka that answers with these offsets of the group, or fails.
type known struct {
	committed map[int32]int64
	err       error
	missing   error // of the topic
}

func (k known) Topic(context.Context, string) (kafka.Topic, error) {
	return kafka.Topic{Name: "events.raw", ID: "id-1"}, k.missing
}

func (k known) Committed(context.Context, kafka.GroupTopic) (map[int32]int64, error) {
	return k.committed, k.err
}

// drained is a drainer that counts.
type drained int

func (d *drained) Drain(context.Context, func() bool) (drain.Result, error) {
	*d++
	return drain.Result{Done: true}, nil
}

// Guards an empty bucket: where the group says that the topic was drained, the drain stops and says how to go on, rather than landing everything again as if for the first time; where nothing
// says so, it begins. What cannot be found out is an outage.
func TestLostLogStops(t *testing.T) {
	s3 := objectstoretest.NewServer("millrace-private")
	t.Cleanup(s3.Close)
	bucket, err := objectstore.Open(s3.Config("millrace-private", 1))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		kafka   known
		group   string
		accepts []string
		drains  int
		lost    bool
	}{
		"never drained":   {kafka: known{}, group: "g", drains: 1},
		"nothing read":    {kafka: known{committed: map[int32]int64{0: 0}}, group: "g", drains: 1},
		"drained":         {kafka: known{committed: map[int32]int64{0: 5, 1: 2}}, group: "g", lost: true},
		"accepted":        {kafka: known{committed: map[int32]int64{0: 5}}, group: "g", accepts: []string{"id-1"}, drains: 1},
		"another's":       {kafka: known{committed: map[int32]int64{0: 5}}, group: "g", accepts: []string{"id-0"}, lost: true},
		"no group":        {kafka: known{committed: map[int32]int64{0: 5}}, drains: 1},
		"Kafka unasked":   {kafka: known{err: errors.New("away")}, group: "g"},
		"the log is here": {kafka: known{committed: map[int32]int64{0: 5}, err: errors.New("away"), missing: sarama.ErrUnknownTopicOrPartition}, group: "g", drains: 1}, // which says what is to be done
		"no topic":        {kafka: known{missing: fmt.Errorf("topic events.raw: %w", sarama.ErrUnknownTopicOrPartition)}, group: "g"},
	} {
		t.Run(name, func(t *testing.T) {
			key := "landing/_log/events.raw/id-1/00000000000000000001.json"
			if name == "the log is here" {
				if err := bucket.Put(t.Context(), key, []byte("{}")); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = bucket.Delete(context.WithoutCancel(t.Context()), key) }() // the next case fails where it stays
			}
			var n drained
			l := &lostLog{next: &n, topic: "events.raw", group: tt.group, accepts: tt.accepts, kafka: tt.kafka, store: bucket}
			_, err := l.Drain(t.Context(), func() bool { return true })
			if int(n) != tt.drains || (err == nil) != (tt.drains == 1) || errors.Is(err, errLostLog) != tt.lost {
				t.Errorf("%d drains, %v", n, err)
			}
			if tt.kafka.missing != nil && tt.drains == 0 && (!errors.Is(err, drain.ErrNoTopic) || !strings.Contains(err.Error(), "run provision")) {
				t.Errorf("the error does not name the remedy: %v", err)
			}
			if tt.lost && (!strings.Contains(err.Error(), "DRAIN_ACCEPT_LOST_LOG: id-1") || !strings.Contains(err.Error(), "events.raw")) {
				t.Errorf("the error does not say how to go on: %v", err)
			}
		})
	}
}

// Guards the wiring of all that: the function as it is deployed stops where its bucket is emptied while it runs, says so in its metrics, and lands all again once the operator accepts it.
func TestEmptiedBucketStopsTheFunction(t *testing.T) {
	l := start(t)
	for _, id := range []string{"1", "2", "3"} {
		l.send(t, "events.raw", "PageView", id, `{"a":1}`)
	}
	if status := l.tick(t, "events.raw"); status != 202 {
		t.Fatalf("the first drain: %d", status)
	}
	tail, bucket := l.tail(t, "millrace-private", "events.raw")
	for deadline := time.After(10 * time.Second); ; { // the position is shown behind the drain's back
		committed, err := kafka.Committed(l.client, kafka.GroupTopic{Group: "millrace-load-lake", Topic: "events.raw"})
		if err == nil && len(committed) > 0 {
			break
		}
		select {
		case <-deadline:
			t.Fatalf("no position: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	for key := range l.s3.Objects("millrace-private") {
		if err := bucket.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if status := l.tick(t, "events.raw"); status != 503 {
		t.Errorf("a drain of a lost log: %d", status)
	}
	if got := len(l.s3.Objects("millrace-private")); got != 0 {
		t.Errorf("%d objects were written", got)
	}
	if _, body := l.get(t, "/metrics"); !strings.Contains(body, `millrace_lake_stopped{topic="events.raw"} 1`) {
		t.Error("the metrics do not say that the drain stopped")
	}
	l.end(t)

	address := l.client.Brokers()[0].Addr()
	again := &lake{s3: l.s3, client: l.client, ended: make(chan error, 1)}
	again.serve(t, address, "DRAIN_ACCEPT_LOST_LOG", tail.TopicID)
	if status := again.tick(t, "events.raw"); status != 202 {
		t.Errorf("an accepted drain: %d", status)
	}
	if tail, _ := again.tail(t, "millrace-private", "events.raw"); tail.Sequence != 1 || len(tail.Objects) != 1 || tail.Objects[0].Rows != 3 {
		t.Errorf("landed again: %+v", tail)
	}
	again.end(t)
}
