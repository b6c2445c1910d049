//go:build integration

package drain_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/IBM/sarama"

	"millrace/functions/load-lake/internal/drain"
	"millrace/shared/kafka"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
)

// newRealLake is a lake on the servers that KAFKA_BROKERS, S3_ENDPOINT and AWS_* name, with a topic of its own.
func newRealLake(t *testing.T, partitions int32) *lake {
	t.Helper()
	if os.Getenv("KAFKA_BROKERS") == "" || os.Getenv("S3_ENDPOINT") == "" {
		t.Skip("KAFKA_BROKERS and S3_ENDPOINT are not set")
	}
	l := &lake{t: t, brokers: kafka.SplitBrokers(os.Getenv("KAFKA_BROKERS")), topic: "load-lake-test-" + rand.Text()}
	l.store = func(attempts int) objectstore.Config {
		return objectstore.Config{
			Endpoint: os.Getenv("S3_ENDPOINT"), Region: os.Getenv("AWS_REGION"), Bucket: "load-lake-test", Attempts: attempts,
			AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
		}
	}
	l.open()
	if err := l.bucket(1).EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.admin.CreateTopic(l.topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.admin.DeleteTopic(l.topic); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	if err := l.client.RefreshMetadata(l.topic); err != nil {
		t.Fatal(err)
	}
	return l
}

// Guards against a real Kafka and a real store that behave otherwise than those in the process: transactions, retention, drains at once, a
// topic created anew.
func TestRealServers(t *testing.T) {
	l := newRealLake(t, 3)
	l.events(0, 300, 3)
	l.transaction(true, message(l.topic, 0, 300), message(l.topic, 1, 301))
	l.transaction(false, message(l.topic, 0, 900), message(l.topic, 1, 901), message(l.topic, 2, 902))
	l.deleteRecords(2, 10)
	s := l.settings()
	s.Limits.Events = 40
	s.Limits.Fetch = 1000
	var wg sync.WaitGroup
	for range 3 {
		d := l.drainer(s, l.bucket(2))
		wg.Go(func() {
			if r, err := d.Drain(t.Context(), always); err != nil || !r.Done {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	wg.Wait()
	l.events(302, 50, 3)
	l.drain()
	x := l.landed(l.id())
	if len(x.rows) != 342 || x.lost[landing.ReasonBeforeFirst]+x.lost[landing.ReasonRetention] != 10 || x.skipped["aborted"] != 3 || x.skipped["control"] != 5 {
		t.Errorf("%d rows, lost %v, skipped %v", len(x.rows), x.lost, x.skipped)
	}
	group := kafka.GroupTopic{Group: l.topic, Topic: l.topic}
	for range 2 {
		if err := kafka.NewReader(l.client).Commit(t.Context(), group, x.next); err != nil {
			t.Error(err)
		}
	}
	if committed, err := kafka.Committed(l.client, group); err != nil || fmt.Sprint(committed) != fmt.Sprint(x.next) {
		t.Errorf("committed %v, want %v, %v", committed, x.next, err)
	}
	if err := l.admin.DeleteConsumerGroup(group.Group); err != nil {
		t.Errorf("cleaning up: %v", err)
	}
	old := l.id()
	l.recreate(3)
	l.events(0, 9, 3)
	if _, err := l.drainer(s, l.bucket(1)).Drain(t.Context(), always); !errors.Is(err, drain.ErrNewTopic) {
		t.Errorf("got %v", err)
	}
	s.AcceptTopicIDs = []string{l.id()}
	if _, err := l.drainer(s, l.bucket(1)).Drain(t.Context(), always); err != nil {
		t.Error(err)
	}
	if a, b := l.landed(old), l.landed(l.id()); len(a.rows) != 342 || b.ids() != numbers(0, 9) || strings.Contains(old, l.id()) {
		t.Errorf("old %d rows, new %s", len(a.rows), b.ids())
	}
}
