//go:build integration

package main

import (
	"crypto/rand"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/functions/replay/internal/plan"
	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/search"
)

// Guards replay against what real servers say otherwise than the embedded ones: a day without an index, versions, offsets by time, deleted records.
func TestOnRealServers(t *testing.T) {
	brokers, elasticsearch := os.Getenv("KAFKA_BROKERS"), os.Getenv("ELASTICSEARCH_URL")
	if brokers == "" || elasticsearch == "" {
		t.Skip("KAFKA_BROKERS and ELASTICSEARCH_URL name no servers")
	}
	id := "replay-it-" + strings.ToLower(rand.Text()[:8])
	topics := map[string]string{"TOPIC_RAW": id + ".raw", "TOPIC_ENRICHED": id + ".enriched", "TOPIC_DEAD": id + ".dead"}
	admin, err := kafka.NewAdmin(kafka.SplitBrokers(brokers), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	client, err := sarama.NewClient(kafka.SplitBrokers(brokers), kafka.NewConfig("replay-it"))
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.Close() })
	for name, topic := range topics {
		t.Setenv(name, topic)
		if _, err := admin.EnsureTopic(t.Context(), kafka.TopicSpec{Name: topic, Partitions: 2, Replicas: 1}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := cluster.DeleteTopic(topic); err != nil {
				t.Error(err)
			}
		})
	}
	t.Setenv("INDEX_PREFIX", id+"-")
	t.Setenv("CONTRACTS", "")
	index, err := search.New(search.Options{URL: elasticsearch, Prefix: id + "-"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(index.Close)
	t.Cleanup(func() {
		for _, path := range []string{"/" + id + "-enriched-yellowtaxitriprecords-0-2026.11.21", "/_index_template/millrace-" + id + "-*"} {
			req, err := http.NewRequest(http.MethodDelete, elasticsearch+path, nil)
			if err != nil {
				t.Error(err)
				continue
			}
			if res, err := http.DefaultClient.Do(req); err != nil {
				t.Error(err)
			} else {
				_ = res.Body.Close()
			}
		}
	})
	p := &pipeline{TB: t, client: client, dir: t.TempDir()}
	p.producer = kafka.NewProducer(kafka.SplitBrokers(brokers), kafka.ProducerOptions{Timeout: 30 * time.Second})
	t.Cleanup(func() { _ = p.producer.Close(t.Context()) })
	dead := func(ids ...string) {
		for _, id := range ids {
			p.publish(topics["TOPIC_DEAD"], letter(raw(t, id, trip), "enrich", event.CodeDeliveryExhausted))
		}
	}
	dead("a", "b", "c")
	if s, entries := p.plan("plan.json"); s.Events != 3 || of(entries, "a") != "pass to raw, count 1" { // there is no index
		t.Fatalf("%+v", s)
	}
	embedded, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	c, _ := embedded.Find(taxi, "0-0-1")
	if err := index.EnsureEnriched(t.Context(), []*contract.Contract{c}); err != nil {
		t.Fatal(err)
	}
	write := func(id, payload string, version int64) {
		t.Helper()
		results, err := index.Bulk(t.Context(), []search.Operation{{
			Index: index.EnrichedIndex(taxi, 0, arrived), ID: event.Identity("/test", id), Version: version, Source: []byte(`{"data_hash":"` + event.Hash([]byte(payload)) + `"}`),
		}})
		if err != nil || results[0].Status != search.Done {
			t.Fatal(results, err)
		}
	}
	write("a", trip, 0)
	write("b", trip, 2)
	write("c", far, 0)
	s, entries := p.plan("plan.json")
	for id, want := range map[string]string{"a": "overwrite to raw, count 1", "b": "settled to raw, count 1", "c": "fail to raw, count 1"} {
		if got := of(entries, id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	p.run(0, "apply", p.file("plan.json"))
	sent := p.read(topics["TOPIC_RAW"])
	if len(sent) != 1 || sent[0].ID() != "a" || event.Attr(sent[0], event.ReplayID) != s.ID || event.Replays(sent[0]) != 1 {
		t.Errorf("sent %v", sent)
	}
	if s, _ := p.plan("raw.json", "--source", "raw", "--from", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)); s.Read != 0 {
		t.Errorf("records of the future: %+v", s.Summary)
	}
	if s, _ := p.plan("raw.json", "--source", "raw", "--from", "1h"); s.Read != 1 || s.Count(plan.Overwrite) != 1 {
		t.Errorf("records of the last hour: %+v", s.Summary)
	}
	dead("d", "e", "f", "g")
	if s, _ := p.plan("plan.json"); s.Count(plan.Pass) != 4 {
		t.Errorf("%+v", s.Summary)
	}
	ends := map[int32]int64{}
	for _, partition := range []int32{0, 1} {
		if ends[partition], err = client.GetOffset(topics["TOPIC_DEAD"], partition, sarama.OffsetNewest); err != nil {
			t.Fatal(err)
		}
	}
	if err := cluster.DeleteRecords(topics["TOPIC_DEAD"], ends); err != nil {
		t.Fatal(err)
	}
	if _, told := p.run(1, "apply", "--journal", p.file("another"), p.file("plan.json")); !strings.Contains(told, "--lake") {
		t.Errorf("deleted records: %s", told)
	}
}
