package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// freePort returns a port that nothing listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// environment points the function at a Kafka and a store in the process.
func environment(t *testing.T, kafkaAddress, s3 string) (port int) {
	t.Helper()
	port = freePort(t)
	for k, v := range map[string]string{
		"PORT": strconv.Itoa(port), "KAFKA_BROKERS": kafkaAddress, "S3_ENDPOINT": s3, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "LOG_LEVEL": "error",
	} {
		t.Setenv(k, v)
	}
	return port
}

// Guards the wiring: the function as it is deployed starts without Kafka, drains each kind of topic into its own bucket and layout, counts, and ends on its signal.
func TestRun(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "events.raw", "events.enriched", "events.dead"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	s3 := objectstoretest.NewServer("millrace", "millrace-private")
	defer s3.Close()
	port := environment(t, cluster.ListenAddrs()[0], s3.URL)

	client, err := sarama.NewClient(cluster.ListenAddrs(), kafka.NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	producer, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	send := func(topic, id, payload string) {
		e := &event.Event{}
		e.SetSpecVersion("1.0")
		e.SetID(id)
		e.SetSource("/test")
		e.SetType("PageView")
		e.SetDataContentType("application/json")
		e.SetExtension(event.SchemaVersion, "0-0-1")
		e.DataEncoded = []byte(payload)
		if topic == "events.enriched" {
			e.DataEncoded = event.EnrichedData(e.DataEncoded, []byte("{}"))
			e.SetExtension(event.Stage, event.StageEnriched)
		}
		m, err := kafka.Encode(topic, e)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := producer.SendMessage(m); err != nil {
			t.Fatal(err)
		}
	}
	for _, topic := range []string{"events.raw", "events.enriched", "events.dead"} {
		for i := range 5 {
			send(topic, strconv.Itoa(i), `{"a":1}`)
		}
	}

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	base := "http://127.0.0.1:" + strconv.Itoa(port)
	get := func(path string) (int, string) {
		resp, err := http.Get(base + path)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		if status, body := get("/readyz"); status == 200 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("not ready: %s", body)
		}
	}
	tick := func(topic string) int {
		body, err := json.Marshal(tick{Topic: topic})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/", strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{"Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": "1", "ce-type": "dev.knative.sources.ping", "ce-source": "/ping"} {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for topic, want := range map[string]struct{ bucket, prefix string }{
		"events.raw":      {"millrace-private", "landing/raw/date="},
		"events.dead":     {"millrace-private", "landing/dead/date="},
		"events.enriched": {"millrace", "landing/enriched/PageView/0/date="},
	} {
		if status := tick(topic); status != 202 {
			t.Errorf("%s: %d", topic, status)
		}
		b, err := objectstore.Open(s3.Config(want.bucket, 1))
		if err != nil {
			t.Fatal(err)
		}
		metadata, err := kafka.NewReader(client).Topic(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		tail, err := landing.Open(b, topic, metadata.ID).Tail(ctx)
		if err != nil || tail.Sequence != 1 || len(tail.Objects) != 1 || tail.Objects[0].Rows != 5 || !strings.HasPrefix(tail.Objects[0].Key, want.prefix) {
			t.Errorf("%s: %+v, %v", topic, tail, err)
		}
	}
	if status, body := get("/metrics"); status != 200 || !strings.Contains(body, `millrace_lake_rows_total{topic="events.raw"} 5`) || !strings.Contains(body, `millrace_lake_lost_offsets_total{topic="events.raw"} 0`) {
		t.Errorf("metrics: %d", status)
	}
	// An outage of the store is the request's 503, not the end of the function.
	s3.Fail(func(string, string, string) objectstoretest.Fault { return objectstoretest.Cut })
	if status := tick("events.raw"); status != 503 {
		t.Errorf("during an outage: %d", status)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Guards the operator: what is missing or wrong is said at once, all of it, and secrets are not in it.
func TestConfig(t *testing.T) {
	for _, name := range []string{"KAFKA_BROKERS", "S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "")
	}
	if _, err := readConfig(); err == nil {
		t.Error("an empty environment passes")
	}
	environment(t, "127.0.0.1:9092", "127.0.0.1:9000")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hush")
	t.Setenv("DRAIN_BUDGET", "-1s")
	t.Setenv("TOPIC_DEAD", "events.raw")
	t.Setenv("S3_PRIVATE_ACCESS_KEY_ID", "alone")
	_, err := readConfig()
	if err == nil {
		t.Fatal("passes")
	}
	for _, want := range []string{"S3_PRIVATE_SECRET_ACCESS_KEY", "DRAIN_BUDGET", "must differ", "endpoint"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q misses %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "hush") {
		t.Error("the secret shows")
	}
}
