//go:build integration

package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/kafka"
)

// Guards against an Apache Kafka that answers otherwise than the embedded one where a group is at work.
func TestGrownTopicOnKafka(t *testing.T) {
	brokers := kafka.SplitBrokers(os.Getenv("KAFKA_BROKERS"))
	if len(brokers) == 0 {
		t.Skip("KAFKA_BROKERS is not set")
	}
	name := fmt.Sprintf("millrace-grown-%d-%d", os.Getpid(), time.Now().UnixNano())
	admin, err := sarama.NewClusterAdmin(brokers, kafka.NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	defer func() {
		if err := admin.DeleteTopic(name); err != nil {
			t.Error(err)
		}
		if err := admin.DeleteConsumerGroup(name); err != nil {
			t.Error(err)
		}
	}()
	grownTopic(t, brokers, name)
}
