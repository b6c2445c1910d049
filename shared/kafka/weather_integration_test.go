//go:build integration && linux

package kafka_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/kafka"
	"millrace/shared/kafka/kafkatest"
)

// Guards what an Apache Kafka of two brokers does otherwise than the embedded one: topics that are made anew under readers' feet, and a broker that is killed.
func TestWeatherOnKafka(t *testing.T) {
	cluster := kafkatest.StartCluster(t, services(), 2, "")
	t.Run("remade topic", func(t *testing.T) { remadeTopic(t, cluster.Brokers, "weather") })
	// Guards acknowledgements where min.insync.replicas is not met: nothing is taken, it is said why, what was taken is there, and it goes on by itself.
	t.Run("replicas", func(t *testing.T) {
		config := kafka.NewConfig("test")
		admin, err := sarama.NewClusterAdmin(cluster.Brokers[:1], config)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = admin.Close() }()
		set := func(n string) {
			t.Helper()
			until(t, func() error { // a connection to the broker that was killed can be the first that is tried
				return admin.IncrementalAlterConfig(sarama.TopicResource, "replicated", map[string]sarama.IncrementalAlterConfigsEntry{
					"min.insync.replicas": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &n},
				}, false)
			})
		}
		two := "2"
		if err := admin.CreateTopic("replicated", &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 2, ConfigEntries: map[string]*string{"min.insync.replicas": &two}}, false); err != nil {
			t.Fatal(err)
		}
		log := new(lockedText)
		p := kafka.NewProducer(cluster.Brokers, kafka.ProducerOptions{Timeout: 2 * time.Second, Logger: slog.New(slog.NewTextHandler(log, nil))})
		defer func() { _ = p.Close(t.Context()) }()
		sink := p.Sink("replicated")
		until(t, func() error { return sink.Ready(t.Context()) })
		if d := sink.Durability(); d != kafka.DurabilityReplicated {
			t.Errorf("durability %s", d)
		}
		n, taken := 0, map[string]bool{}
		send := func() error {
			n++
			err := publishTo(t, p, "replicated", fmt.Sprint(n))
			if err == nil {
				taken[fmt.Sprint(n)] = true
			}
			return err
		}
		for range 20 {
			until(t, send)
		}
		cluster.Kill(t, 1)
		until(t, func() error {
			if err := send(); !errors.Is(err, kafka.ErrBusy) {
				return fmt.Errorf("it should be busy: %w", errors.Join(err, errors.New("the log: "+log.String())))
			}
			return nil
		})
		err = send()
		if text := fmt.Sprint(err); !errors.Is(err, kafka.ErrBusy) || !strings.Contains(text, "topic replicated: 2 of its 2 partitions take no events") ||
			!strings.Contains(text, "in sync on brokers [1] of [") || !strings.Contains(text, "min.insync.replicas is 2; start the brokers that are missing") {
			t.Errorf("one broker of two: %v", err)
		}
		if text := log.String(); !strings.Contains(text, "events cannot be written: they are held back, and answered busy") {
			t.Errorf("the log: %s", text)
		}
		set("1")
		until(t, send)
		until(t, func() error { // it is found again once a minute, and when somebody asks
			if err := sink.Ready(t.Context()); err != nil {
				return err
			}
			if d := sink.Durability(); d != kafka.DurabilitySingle {
				return fmt.Errorf("durability %s with one replica", d)
			}
			return nil
		})
		set("2")
		until(t, func() error {
			if send() == nil {
				return errors.New("taken on one broker of two")
			}
			return nil
		})
		cluster.Start(t, 1)
		until(t, send)
		for range 20 {
			until(t, send)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		client, err := sarama.NewClient(cluster.Brokers, config)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
		all := 0 // with those that were written and not confirmed
		for partition := range int32(2) {
			end, err := client.GetOffset("replicated", partition, sarama.OffsetNewest)
			if err != nil {
				t.Fatal(err)
			}
			all += int(end)
		}
		found := map[string]bool{}
		for _, id := range readFrom(t, cluster.Brokers, "replicated", kafka.Security{}, all) {
			found[id] = true
		}
		for id := range taken {
			if !found[id] {
				t.Errorf("%s was taken and is not there", id)
			}
		}
	})
}
