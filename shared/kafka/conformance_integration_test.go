//go:build integration

package kafka_test

import (
	"os"
	"testing"

	"millrace/shared/kafka"
	"millrace/shared/kafka/kafkatest"
)

// Guards against an Apache Kafka (KAFKA_BROKERS) that behaves otherwise than the embedded one, which passes the same suite in every `go test`.
func TestConformanceOfKafka(t *testing.T) {
	brokers := kafka.SplitBrokers(os.Getenv("KAFKA_BROKERS"))
	if len(brokers) == 0 {
		t.Skip("KAFKA_BROKERS is not set")
	}
	kafkatest.Run(t, brokers, kafkatest.Apache)
}

// Guards positions on a topic that Apache Kafka compacted, as the embedded one does.
func TestCompactionOfKafka(t *testing.T) {
	brokers := kafka.SplitBrokers(os.Getenv("KAFKA_BROKERS"))
	if len(brokers) == 0 {
		t.Skip("KAFKA_BROKERS is not set")
	}
	kafkatest.Compaction(t, brokers, kafkatest.Apache, nil)
}

// Guards the check of what a restart must keep, with no restart: it must pass where nothing can have been lost.
func TestKeepOnKafka(t *testing.T) {
	brokers := kafka.SplitBrokers(os.Getenv("KAFKA_BROKERS"))
	if len(brokers) == 0 {
		t.Skip("KAFKA_BROKERS is not set")
	}
	kafkatest.Keep(t, brokers, kafkatest.Apache)(t, false)
}
