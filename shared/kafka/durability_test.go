package kafka

import (
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
)

// Guards receipts: "replicated" is said only where acks=all waits for two brokers. A minimum of two on a topic with one replica is no such thing: Kafka 4 takes its writes.
func TestDurability(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	brokers := cluster.ListenAddrs()
	admin, err := NewAdmin(brokers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	p := NewProducer(brokers, ProducerOptions{})
	defer p.Close(t.Context())
	for _, c := range []struct {
		name     string
		replicas int16
		minimum  string
		want     string
	}{
		{"both", 2, "2", DurabilityReplicated},
		{"minimum", 1, "2", DurabilitySingle},
		{"replicas", 2, "1", DurabilitySingle},
		{"neither", 1, "1", DurabilitySingle},
	} {
		detail := &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: c.replicas, ConfigEntries: map[string]*string{"min.insync.replicas": &c.minimum}}
		if err := admin.admin.CreateTopic(c.name, detail, false); err != nil {
			t.Fatal(err)
		}
		sink := p.Sink(c.name)
		if err := sink.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := sink.Durability(); got != c.want {
			t.Errorf("%d replicas, a minimum of %s: %s, want %s", c.replicas, c.minimum, got, c.want)
		}
	}
}
