//go:build integration

package kafka

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// Guards against a real Kafka (KAFKA_BROKERS) that behaves otherwise than kfake: a new group at the end of a topic, a member that joins beside one
// that holds unfinished records, one that leaves, and commits that say what was finished.
func TestConsumerOnRealKafka(t *testing.T) {
	brokers := SplitBrokers(os.Getenv("KAFKA_BROKERS"))
	if len(brokers) == 0 {
		t.Skip("KAFKA_BROKERS is not set")
	}
	topic := "consumer-test-" + rand.Text()
	a, err := NewAdmin(brokers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.EnsureTopic(t.Context(), TopicSpec{Name: topic, Partitions: 2, Replicas: 1, Retention: time.Hour}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.admin.DeleteTopic(topic); err != nil {
			t.Error(err)
		}
	}()
	produceTo(t, brokers, topic, 0, 3) // before the group: not for it
	var mu sync.Mutex
	seen := map[string]int{}
	var count atomic.Int64
	more := make(chan struct{}, 10_000)
	start := func(name string) (*Consumer, func()) {
		c := NewConsumer(brokers, topic, topic, func(_ context.Context, m Message) bool {
			if m.Offset%50 == 17 && count.Add(1) < 20 { // unfinished as long as it is held
				<-m.Stopping
				return false
			}
			mu.Lock()
			seen[fmt.Sprint(m.Partition, "@", m.Offset)]++
			mu.Unlock()
			more <- struct{}{}
			return true
		}, ConsumerOptions{ClientID: name, Start: StartNewest, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Config: func(s *sarama.Config) {
			s.Consumer.Group.Heartbeat.Interval = 200 * time.Millisecond
		}})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		stop := sync.OnceFunc(func() {
			cancel()
			if err := receive(t, done); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(stop)
		return c, stop
	}
	await := func(what string, ok func() bool) {
		t.Helper()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(60 * time.Second); !ok(); <-tick.C {
			if time.Now().After(end) {
				t.Fatalf("%s: not within a minute", what)
			}
		}
	}
	first, stopFirst := start("first")
	await("the first member", func() bool { return first.Status().Partitions == 2 })
	produceTo(t, brokers, topic, 0, 500)
	produceTo(t, brokers, topic, 1, 500)
	second, stopSecond := start("second")
	await("both members", func() bool { return first.Status().Partitions == 1 && second.Status().Partitions == 1 })
	stopFirst()
	await("the second alone", func() bool { return second.Status().Partitions == 2 })
	produceTo(t, brokers, topic, 1, 100)
	await("every record", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) == 1100
	})
	stopSecond()
	if seen["0@0"]+seen["0@2"] > 0 {
		t.Error("a record from before the group was read")
	}
	res, err := a.admin.ListConsumerGroupOffsets(topic, map[string][]int32{topic: {0, 1}})
	if err != nil {
		t.Fatal(err)
	}
	if p0, p1 := res.GetBlock(topic, 0).Offset, res.GetBlock(topic, 1).Offset; p0 != 503 || p1 != 600 {
		t.Errorf("committed %d and %d, want 503 and 600", p0, p1)
	}
}
