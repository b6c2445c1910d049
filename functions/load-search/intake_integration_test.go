//go:build integration

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/search/searchtest"
)

// Guards the way from Kafka to Elasticsearch without HTTP between, as main puts it together: enriched events and dead letters, of two topics in one group, are one document each,
// though half of them are read twice; a record that is no CloudEvent becomes a dead letter, which then is a document too; and the group has committed all.
func TestKafkaIntakeToElasticsearch(t *testing.T) {
	brokers, url := kafka.SplitBrokers(os.Getenv("KAFKA_BROKERS")), os.Getenv("ELASTICSEARCH_URL")
	if len(brokers) == 0 || url == "" {
		t.Skip("KAFKA_BROKERS or ELASTICSEARCH_URL is not set")
	}
	name := "load-search-test-" + strings.ToLower(rand.Text()[:8])
	enriched, deadTopic, prefix := name+".enriched", name+".dead", name+"-"
	client, err := sarama.NewClient(brokers, kafka.NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close() }()
	topics, err := kafka.NewAdmin(brokers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer topics.Close()
	for _, topic := range []string{enriched, deadTopic} {
		if _, err := topics.EnsureTopic(t.Context(), kafka.TopicSpec{Name: topic, Partitions: 3, Replicas: 1, Retention: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		today := strings.ReplaceAll(time.Now().UTC().Format(time.DateOnly), "-", ".")
		searchtest.Remove(t, url, prefix+tripIndex, prefix+deadIndex, prefix+"dead-"+today,
			"_index_template/millrace-"+prefix+"dead", "_index_template/millrace-"+prefix+"enriched-yellowtaxitriprecords-0")
	})
	defer func() {
		for _, topic := range []string{enriched, deadTopic} {
			if err := admin.DeleteTopic(topic); err != nil {
				t.Error(err)
			}
		}
	}()
	p := kafka.NewProducer(brokers, kafka.ProducerOptions{Timeout: 30 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	defer func() { _ = p.Close(context.Background()) }()
	const trips, letters = 3000, 50
	var events, dead1 []*event.Event
	for i := range trips {
		events = append(events, trip(t, fmt.Sprint(i), `{"VendorID":2,"tpep_pickup_datetime":"2023-01-01T00:32:10","trip_distance":0.97}`))
	}
	for i := range letters {
		dead1 = append(dead1, dead(t, fmt.Sprint("d", i), "not JSON"))
	}
	for topic, list := range map[string][]*event.Event{enriched: append(events, events[:trips/2]...), deadTopic: dead1} {
		for _, err := range p.Sink(topic).Publish(t.Context(), list) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	raw, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := raw.SendMessage(&sarama.ProducerMessage{Topic: enriched, Value: sarama.StringEncoder("no CloudEvent")}); err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		"PORT": "0", "LISTEN_HOST": "127.0.0.1", "LOG_LEVEL": "error", "INDEX_PREFIX": prefix, "DEAD_SINK": "kafka:///" + deadTopic,
		"INTAKE": "kafka:///" + enriched + "," + deadTopic + "?group=" + name,
	} {
		t.Setenv(key, value)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- run(ctx, nil) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	defer stop()
	left := func() (n int64) {
		res, err := admin.ListConsumerGroupOffsets(name, map[string][]int32{enriched: {0, 1, 2}, deadTopic: {0, 1, 2}})
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range []string{enriched, deadTopic} {
			for part := range int32(3) {
				end, err := client.GetOffset(topic, part, sarama.OffsetNewest)
				if err != nil {
					t.Fatal(err)
				}
				n += end - max(0, res.GetBlock(topic, part).Offset)
			}
		}
		return n
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for left() > 0 {
		if time.Since(began) > 90*time.Second {
			t.Fatalf("%d records are not committed", left())
		}
		<-tick.C
	}
	t.Logf("%d events in %s", trips*3/2+letters, time.Since(began))
	stop()
	count := func(pattern string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/"+prefix+pattern+"/_refresh", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if req, err = http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/"+prefix+pattern+"/_count", nil); err != nil {
			t.Fatal(err)
		}
		if res, err = http.DefaultClient.Do(req); err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var answer struct{ Count int }
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		return answer.Count
	}
	if n, d := count("enriched-*"), count("dead-*"); n != trips || d != letters+1 {
		t.Errorf("%d documents of %d trips, %d of %d dead letters", n, trips, d, letters+1)
	}
}
