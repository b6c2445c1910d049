package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/parquet-go/parquet-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/shared/contract"
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
		"MASK_KEY": "0123456789abcdef0123456789abcdef",
	} {
		t.Setenv(k, v)
	}
	return port
}

// lake is the function as it is deployed, with a Kafka and a store in the process.
type lake struct {
	s3       *objectstoretest.Server
	client   sarama.Client
	producer sarama.SyncProducer
	base     string
	stop     context.CancelFunc
	ended    chan error
}

// start runs the function and waits until it is ready; env holds variables beside those of environment.
func start(t *testing.T, env ...string) *lake {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "events.raw", "events.enriched", "events.dead"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	l := &lake{s3: objectstoretest.NewServer("millrace", "millrace-private"), ended: make(chan error, 1)}
	t.Cleanup(l.s3.Close)
	if l.client, err = sarama.NewClient(cluster.ListenAddrs(), kafka.NewConfig("test")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.client.Close() })
	if l.producer, err = sarama.NewSyncProducerFromClient(l.client); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.producer.Close() })
	l.serve(t, cluster.ListenAddrs()[0], env...)
	return l
}

// serve runs the function on l's servers.
func (l *lake) serve(t *testing.T, kafkaAddress string, env ...string) {
	t.Helper()
	l.base = "http://127.0.0.1:" + strconv.Itoa(environment(t, kafkaAddress, l.s3.URL))
	for i := 0; i < len(env); i += 2 {
		t.Setenv(env[i], env[i+1])
	}
	ctx, stop := context.WithCancel(t.Context())
	l.stop = stop
	go func() { l.ended <- run(ctx, nil) }()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if status, body := l.get(t, "/readyz"); status == 200 {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("not ready: %s", body)
		}
		select {
		case err := <-l.ended:
			t.Fatalf("ended: %v", err)
		default:
		}
	}
}

// end stops the function and fails the test where it does not end well.
func (l *lake) end(t *testing.T) {
	t.Helper()
	l.stop()
	if err := <-l.ended; err != nil {
		t.Error(err)
	}
}

func (l *lake) send(t *testing.T, topic, eventType, id, payload string) {
	t.Helper()
	e := &event.Event{}
	e.SetSpecVersion("1.0")
	e.SetID(id)
	e.SetSource("/test")
	e.SetType(eventType)
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
	if _, _, err := l.producer.SendMessage(m); err != nil {
		t.Fatal(err)
	}
}

func (l *lake) get(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := http.Get(l.base + path)
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

// tick asks for a drain and returns the answer's status.
func (l *lake) tick(t *testing.T, topic string) int {
	t.Helper()
	return l.ask(t, tick{Topic: topic})
}

func (l *lake) ask(t *testing.T, what tick) int {
	t.Helper()
	body, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, l.base+"/", strings.NewReader(string(body)))
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

// tail returns the last entry of the topic's log and the bucket that holds it.
func (l *lake) tail(t *testing.T, bucket, topic string) (landing.Entry, *objectstore.Bucket) {
	t.Helper()
	b, err := objectstore.Open(l.s3.Config(bucket, 1))
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := kafka.NewReader(l.client).Topic(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	tail, err := landing.Open(b, topic, metadata.ID).Tail(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tail, b
}

// Guards the wiring: the function as it is deployed drains each kind of topic into its own bucket and layout, counts, and ends on its signal.
func TestRun(t *testing.T) {
	l := start(t)
	for _, topic := range []string{"events.raw", "events.enriched", "events.dead"} {
		for i := range 5 {
			l.send(t, topic, "PageView", strconv.Itoa(i), `{"a":1}`)
		}
	}
	for topic, want := range map[string]struct{ bucket, prefix string }{
		"events.raw":      {"millrace-private", "landing/raw/date="},
		"events.dead":     {"millrace-private", "landing/dead/date="},
		"events.enriched": {"millrace", "landing/enriched/PageView/0/date="},
	} {
		if status := l.tick(t, topic); status != 202 {
			t.Errorf("%s: %d", topic, status)
		}
		tail, _ := l.tail(t, want.bucket, topic)
		if tail.Sequence != 1 || len(tail.Objects) != 1 || tail.Objects[0].Rows != 5 || !strings.HasPrefix(tail.Objects[0].Key, want.prefix) {
			t.Errorf("%s: %+v", topic, tail)
		}
	}
	if status, body := l.get(t, "/metrics"); status != 200 || !strings.Contains(body, `millrace_lake_rows_total{topic="events.raw"} 5`) || !strings.Contains(body, `millrace_lake_lost_offsets_total{topic="events.raw"} 0`) {
		t.Errorf("metrics: %d", status)
	}
	_, body := l.get(t, "/metrics")
	for _, want := range []string{
		`millrace_lake_lag_offsets{topic="events.raw"} 0`, `millrace_lake_held_offsets{topic="events.raw"} 5`, `millrace_lake_last_entry_timestamp_seconds{topic="events.raw"} 1`,
		`millrace_lake_last_complete_drain_timestamp_seconds{topic="events.raw"} 1`, `millrace_lake_drains_total{result="complete",topic="events.raw"} 1`, `millrace_lake_stopped{topic="events.raw"} 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the metrics miss %s", want)
		}
	}
	// An outage of the store is the request's 503, not the end of the function.
	l.s3.Fail(func(string, string, string) objectstoretest.Fault { return objectstoretest.Cut })
	if status := l.tick(t, "events.raw"); status != 503 {
		t.Errorf("during an outage: %d", status)
	}
	l.end(t)
	// What was read is to be seen as the group's offsets, at the latest at the end.
	for _, topic := range []string{"events.raw", "events.enriched", "events.dead"} {
		committed, err := kafka.Committed(l.client, kafka.GroupTopic{Group: "millrace-load-lake", Topic: topic})
		if err != nil || committed[0]+committed[1] != 5 {
			t.Errorf("%s: committed %v, %v", topic, committed, err)
		}
	}
}

// Guards the life of garbage in the function as it is deployed: a drain whose entry could not be written leaves an object, the next one does the work again, and a sweep takes what
// was left, a day later, and nothing else.
func TestRunSweeps(t *testing.T) {
	l := start(t)
	entry := true
	l.s3.Fail(func(method, _, key string) objectstoretest.Fault {
		if method == "PUT" && strings.HasPrefix(key, "landing/_log/") && entry {
			return objectstoretest.Cut
		}
		return objectstoretest.Serve
	})
	var now time.Duration
	l.s3.Clock(func() time.Time { return time.Now().Add(now) })
	objects := func() int {
		n := 0
		for key := range l.s3.Objects("millrace-private") {
			if strings.HasPrefix(key, "landing/raw/") {
				n++
			}
		}
		return n
	}
	l.send(t, "events.raw", "PageView", "1", "{}")
	if status := l.tick(t, "events.raw"); status != 503 || objects() != 1 {
		t.Fatalf("%d, %d objects", status, objects())
	}
	entry = false
	now = 2 * time.Hour
	if status := l.tick(t, "events.raw"); status != 202 || objects() != 2 {
		t.Fatalf("%d, %d objects", status, objects())
	}
	now = 30 * time.Hour
	if status := l.ask(t, tick{Topic: "events.raw", Sweep: true, DryRun: true}); status != 202 || objects() != 2 {
		t.Errorf("dry run: %d, %d objects", status, objects())
	}
	if status := l.ask(t, tick{Topic: "events.raw", Sweep: true}); status != 202 || objects() != 1 {
		t.Errorf("sweep: %d, %d objects", status, objects())
	}
	tail, bucket := l.tail(t, "millrace-private", "events.raw")
	if len(tail.Objects) != 1 {
		t.Fatalf("%+v", tail)
	}
	if _, err := bucket.Get(t.Context(), tail.Objects[0].Key); err != nil {
		t.Error(err)
	}
	if _, body := l.get(t, "/metrics"); !strings.Contains(body, `millrace_lake_orphans_deleted_total{topic="events.raw"} 1`) || !strings.Contains(body, `millrace_lake_sweeps_total{topic="events.raw"} 1`) {
		t.Errorf("the metrics miss the sweep: %s", body)
	}
	l.end(t)
}

// Guards the columns of new types: a file in CONTRACTS may take the place of an embedded contract, and one that is published while the function runs gives
// the very next drain its columns, where the drain before wrote no payloads; a broken one is counted, keeps the
// function from nothing, at its start neither, and changes nothing.
func TestRunReadsContractsAgain(t *testing.T) {
	dir := t.TempDir()
	embedded, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	c, _ := embedded.Find("PageView", "0-0-1")
	write := func(name, text string) {
		t.Helper()
		// Renamed into place, as whoever publishes files should: the function never sees half of one.
		if err := os.WriteFile(filepath.Join(dir, "tmp"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	write("page.odcs.yaml", string(c.Source()))
	write("wrong.odcs.yaml", "version: 0.0.1")
	l := start(t, "CONTRACTS", dir, "CONTRACTS_WAIT", "0s")
	sent := 0
	known := func() bool {
		t.Helper()
		sent++
		l.send(t, "events.enriched", "Novel", strconv.Itoa(sent), "{}")
		if status := l.tick(t, "events.enriched"); status != 202 {
			t.Fatalf("tick: %d", status)
		}
		tail, bucket := l.tail(t, "millrace", "events.enriched")
		if tail.Sequence != int64(sent) || len(tail.Objects) != 1 {
			t.Fatalf("entry %+v after %d drains", tail, sent)
		}
		object, err := bucket.Get(t.Context(), tail.Objects[0].Key)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parquet.OpenFile(bytes.NewReader(object), int64(len(object)))
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(f.Schema().Columns(), func(path []string) bool { return path[0] == "payload" })
	}
	if known() {
		t.Fatal("columns of a type without a contract")
	}
	write("novel.odcs.yaml", strings.ReplaceAll(string(c.Source()), "PageView", "Novel"))
	if !known() {
		t.Fatal("the new contract is not used by the next drain")
	}
	write("broken.odcs.yaml", "no contract")
	if !known() {
		t.Fatal("a broken file takes the contracts away")
	}
	if _, body := l.get(t, "/metrics"); !strings.Contains(body, "\nmillrace_contract_files_invalid 2\n") {
		t.Error("the metrics miss the broken file")
	}
	if err := os.Remove(filepath.Join(dir, "broken.odcs.yaml")); err != nil {
		t.Fatal(err)
	}
	if !known() {
		t.Fatal("without the broken file")
	}
	if _, body := l.get(t, "/metrics"); !strings.Contains(body, "\nmillrace_contract_files_invalid 1\n") {
		t.Error("the metrics still count a file that is gone")
	}
	l.end(t)
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
	t.Setenv("S3_ENDPOINT", "http://127.0.0.1:9000")
	t.Setenv("DRAIN_ACCEPT_TOPIC_ID", "a,b")
	t.Setenv("DRAIN_ACCEPT_TRUNCATION", "events.raw/0@5:3, events.dead/1@0:7,")
	want := acceptances{{Topic: "events.raw", Offset: 5, Entry: 3}, {Topic: "events.dead", Partition: 1, Entry: 7}}
	if c, err := readConfig(); err != nil || !slices.Equal(c.AcceptTopicIDs, []string{"a", "b"}) || !slices.Equal(c.AcceptTruncations, want) {
		t.Errorf("%+v, %v", c, err)
	}
	t.Setenv("DRAIN_ACCEPT_TRUNCATION", "events.raw/0@5")
	if _, err := readConfig(); err == nil || !strings.Contains(err.Error(), "DRAIN_ACCEPT_TRUNCATION") {
		t.Errorf("half an acceptance: %v", err)
	}
	t.Setenv("DRAIN_ACCEPT_TRUNCATION", "")
	t.Setenv("S3_ENDPOINT", "127.0.0.1:9000")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hush")
	t.Setenv("DRAIN_BUDGET", "-1s")
	t.Setenv("TOPIC_DEAD", "events.raw")
	t.Setenv("ORPHAN_AGE", "50m")
	t.Setenv("S3_PRIVATE_ACCESS_KEY_ID", "alone")
	_, err := readConfig()
	if err == nil {
		t.Fatal("passes")
	}
	for _, want := range []string{"S3_PRIVATE_SECRET_ACCESS_KEY", "DRAIN_BUDGET", "must differ", "endpoint", "ORPHAN_AGE"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q misses %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "hush") {
		t.Error("the secret shows")
	}
}
