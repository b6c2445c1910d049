package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/kafka"
)

// running is enrich as main runs it, in this process, on a Kafka of its own.
type running struct {
	url     string
	brokers []string
	cluster *kfake.Cluster
	stop    func() error
}

func start(t *testing.T, environment ...string) *running {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "events.enriched", "events.dead"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f := &running{url: fmt.Sprintf("http://127.0.0.1:%d", port), brokers: cluster.ListenAddrs(), cluster: cluster}
	t.Setenv("PORT", fmt.Sprint(port))
	t.Setenv("KAFKA_BROKERS", strings.Join(f.brokers, ","))
	t.Setenv("LOG_LEVEL", "error")
	for i := 0; i < len(environment); i += 2 {
		t.Setenv(environment[i], environment[i+1])
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, nil) }()
	f.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := f.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	f.await(t, "readiness", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return f
}

// await asks until yes.
func (f *running) await(t *testing.T, what string, yes func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(20 * time.Second)
	for !yes() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatal("no " + what)
		}
	}
}

func (f *running) post(t *testing.T, contentType, body string, attributes ...string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	for i := 0; i < len(attributes); i += 2 {
		req.Header.Set("Ce-"+attributes[i], attributes[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if answer, err := io.ReadAll(res.Body); err != nil || len(answer) > 0 {
		t.Errorf("answer %q, %v: Knative takes a body for an event", answer, err)
	}
	return res.StatusCode
}

func (f *running) trip(t *testing.T, id, payload string) int {
	t.Helper()
	return f.post(t, "application/json", payload, "Specversion", "1.0", "Id", id, "Source", "/t", "Type", taxi, "Schemaversion", "0-0-1")
}

// read returns what a topic holds, in order.
func (f *running) read(t *testing.T, topic string) (events []*event.Event) {
	t.Helper()
	client, err := sarama.NewClient(f.brokers, kafka.NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	reader := kafka.NewReader(client)
	for from := int64(0); ; {
		batch, err := reader.Fetch(t.Context(), topic, 0, from, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range batch.Records {
			e, err := kafka.Decode(m)
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, e)
		}
		if from = batch.Next; from >= batch.Stable {
			return events
		}
	}
}

// Guards the wiring of main on a real client and a real topic: one event of each kind over HTTP lies in its topic when the answer comes.
func TestRun(t *testing.T) {
	f := start(t)
	structured := `{"specversion":"1.0","id":"2","source":"/t","type":"YellowTaxiTripRecords","schemaversion":"0-0-1","data":` +
		strings.Replace(trip, "0.97", "1e6", 1) + `}`
	for name, status := range map[string]int{
		"good":        f.trip(t, "1", trip),
		"bad":         f.post(t, "application/cloudevents+json", structured),
		"undecodable": f.post(t, "application/cloudevents+json", "{"),
	} {
		if status != http.StatusAccepted {
			t.Errorf("%s: %d", name, status)
		}
	}
	enriched, dead := f.read(t, "events.enriched"), f.read(t, "events.dead")
	if len(enriched) != 1 || enriched[0].ID() != "1" || event.Attr(enriched[0], event.Stage) != "enriched" ||
		event.Attr(enriched[0], event.RootID) != event.Identity("/t", "1") || event.Attr(enriched[0], event.DataHash) != event.Hash([]byte(trip)) {
		t.Errorf("enriched %v", enriched)
	}
	codes := map[string]bool{}
	for _, e := range dead {
		codes[event.Attr(e, event.FailureCode)] = true
	}
	if len(dead) != 2 || !codes["contract_violation"] || !codes["invalid_cloudevent"] {
		t.Errorf("dead %v", dead)
	}
	if err := f.stop(); err != nil {
		t.Errorf("end: %v", err)
	}
}

// Guards the time when Kafka takes records and does not answer: 503 and no dead letter, and what comes again is the same event.
func TestRunWhileKafkaHangs(t *testing.T) {
	f := start(t, "SEND_TIMEOUT", "300ms")
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	defer release()
	f.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		f.cluster.KeepControl()
		f.cluster.SleepControl(func() { <-held })
		return nil, nil, false
	})
	if status := f.trip(t, "1", trip); status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
	release()
	f.await(t, "acceptance after the outage", func() bool { return f.trip(t, "1", trip) == http.StatusAccepted })
	enriched := f.read(t, "events.enriched")
	if len(enriched) == 0 || len(f.read(t, "events.dead")) != 0 {
		t.Fatalf("%d enriched events", len(enriched))
	}
	for _, e := range enriched[1:] { // written by the first try, and again by the second
		if string(e.Data()) != string(enriched[0].Data()) || event.Attr(e, event.RootID) != event.Attr(enriched[0], event.RootID) {
			t.Errorf("redelivered\n%s\nfirst\n%s", e, enriched[0])
		}
	}
}

// Guards the watch of CONTRACTS in the running function: a new file serves the next event, and a broken one changes nothing.
func TestRunReadsContractsAgain(t *testing.T) {
	dir := t.TempDir()
	f := start(t, "CONTRACTS", dir, "CONTRACTS_INTERVAL", "5ms")
	embedded, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	c, _ := embedded.Find(taxi, "0-0-1")
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
	next := strings.Replace(string(c.Source()), "version: 0.0.1", "version: 1.0.0", 1)
	write("broken.odcs.yaml", strings.Replace(next, "table: taxi_zones", "table: nowhere", 1))
	sent := 0
	enriched := func(version string) bool {
		sent++
		f.post(t, "application/json", trip, "Specversion", "1.0", "Id", fmt.Sprint(sent), "Source", "/t", "Type", taxi, "Schemaversion", version)
		list := f.read(t, "events.enriched")
		return len(list) > 0 && list[len(list)-1].ID() == fmt.Sprint(sent)
	}
	if !enriched("0-0-1") || enriched("1-0-0") {
		t.Fatal("the broken contract was taken")
	}
	write("broken.odcs.yaml", next)
	f.await(t, "use of the new contract", func() bool { return enriched("1-0-0") })
}
