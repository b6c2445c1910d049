package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/shared/event"
	"millrace/shared/function"
	"millrace/shared/kafka"
	"millrace/shared/serve"
	"millrace/shared/telemetry"
)

// broker is a Kafka in this process that can be stopped and started again on its data.
type broker struct {
	dir     string
	port    int
	cluster *kfake.Cluster
}

func (b *broker) start(t *testing.T, topics ...string) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(b.port), kfake.DataDir(b.dir), kfake.SeedTopics(2, topics...))
	if err != nil {
		t.Fatal(err)
	}
	b.cluster = c
}

// newBroker takes a free port below the range from which outgoing connections take theirs: nobody may sit on it while the broker is away, not even the
// producer that dials it.
func newBroker(t *testing.T) *broker {
	t.Helper()
	for {
		b := &broker{dir: t.TempDir(), port: 20_000 + rand.IntN(10_000)}
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", b.address())
		if err != nil {
			continue // taken
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return b
	}
}

func (b *broker) address() string { return fmt.Sprintf("127.0.0.1:%d", b.port) }

// read returns what a topic holds, by id; an id that is there twice is an error.
func (b *broker) read(t *testing.T, topic string) map[string]*event.Event {
	t.Helper()
	client, err := sarama.NewClient([]string{b.address()}, kafka.NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]*event.Event{}
	for p := range int32(2) {
		end, err := client.GetOffset(topic, p, sarama.OffsetNewest)
		if err != nil {
			t.Fatal(err)
		}
		if end == 0 {
			continue
		}
		pc, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
		if err != nil {
			t.Fatal(err)
		}
		for m := range pc.Messages() {
			e, err := kafka.Decode(m)
			if err != nil {
				t.Fatal(err)
			}
			if got[e.ID()] != nil {
				t.Errorf("%s lies in %s twice", e.ID(), topic)
			}
			got[e.ID()] = e
			if m.Offset == end-1 {
				break
			}
		}
		if err := pc.Close(); err != nil {
			t.Error(err)
		}
	}
	return got
}

// live is a collector on a real producer, put together as main does.
func live(t *testing.T, b *broker, groups ...string) (serve.Config, *httptest.Server) {
	t.Helper()
	return liveWith(t, b, func(c *config) { c.ReadyGroups = groups })
}

func liveWith(t *testing.T, b *broker, change func(*config)) (serve.Config, *httptest.Server) {
	t.Helper()
	cfg := config{
		Process: function.Process{Log: telemetry.Log{Level: slog.LevelError + 1}, Address: serve.Address{Port: 8080}, Grace: time.Second},
		Output:  function.Output{Sink: "kafka:///events.raw"}, DeadLetters: function.DeadLetters{DeadSink: "kafka:///events.dead"},
		Source: "/collect", CollectorID: "test-1", Brokers: function.Brokers{Brokers: b.address()}, SendTimeout: time.Second, SendLinger: time.Millisecond,
		RetryAfter: time.Second, SendBufferBytes: 16 << 20, MaxBodyBytes: 16 << 20, MaxHeldBytes: 32 << 20, MaxEvents: 10_000,
	}
	change(&cfg)
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	f, c := assemble(&cfg)
	srv := httptest.NewServer(c.routes())
	t.Cleanup(srv.Close)
	return f.Server(), srv
}

func postTo(t *testing.T, srv *httptest.Server, body string) (int, []receipt) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/api/v1/collect", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	w := httptest.NewRecorder()
	if _, err := io.Copy(w, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, receiptsOf(t, w)
}

// Guards the promise of a receipt through the real producer: what was accepted lies in Kafka byte for byte, also after Kafka was away; what came
// meanwhile was answered 503 in time; and nothing lies there twice.
func TestKafkaAwayAndBack(t *testing.T) {
	b := newBroker(t)
	s, srv := live(t, b)
	// Not there at all yet: busy, since nothing can have been handed over.
	began := time.Now()
	code, got := postTo(t, srv, trip)
	if code != 503 || got[0].Status != "busy" {
		t.Errorf("before Kafka was there: answered %d %+v", code, got)
	}
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("before Kafka was there: answered after %s", d)
	}

	b.start(t, "events.raw", "events.dead")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for s.Ready(ctx) != nil {
		if ctx.Err() != nil {
			t.Fatal("never ready")
		}
	}
	accepted, unconfirmed := map[string]bool{}, map[string]bool{}
	dead := 0
	note := func(receipts []receipt) {
		for _, r := range receipts {
			switch r.Status {
			case "accepted":
				accepted[r.ID] = true
			case "unconfirmed":
				unconfirmed[r.ID] = true
			case "dead_lettered":
				dead++
			}
			if durable := r.Status == "accepted" || r.Status == "dead_lettered"; durable && r.Durability != kafka.DurabilitySingle {
				t.Errorf("durability %q on one broker", r.Durability)
			}
		}
	}
	code, got = postTo(t, srv, "["+trip+`,{"bad":"one"},`+trip+"]")
	note(got)
	if code != 207 {
		t.Fatalf("with Kafka: answered %d %+v", code, got)
	}

	b.cluster.Close()
	began = time.Now()
	code, got = postTo(t, srv, "["+trip+","+trip+"]")
	note(got)
	if code != 503 {
		t.Errorf("with Kafka away: answered %d %+v", code, got)
	}
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("with Kafka away: answered after %s", d)
	}

	b.start(t)
	t.Cleanup(b.cluster.Close)
	for code = 0; code != 200; {
		if ctx.Err() != nil {
			t.Fatalf("with Kafka back: answered %d %+v", code, got)
		}
		code, got = postTo(t, srv, trip)
		note(got)
	}
	srv.Close()
	if err := s.Drain[0].Do(ctx); err != nil {
		t.Error(err)
	}
	raw := b.read(t, "events.raw")
	for id := range accepted {
		e := raw[id]
		if e == nil {
			t.Errorf("%s was accepted and is not in Kafka", id)
			continue
		}
		if string(e.Data()) != `{"VendorID":2,"fare_amount": 9.30,"x":"\u00fc\/","VendorID":1e0}` || event.Attr(e, "collectorid") != "test-1" {
			t.Errorf("%s came back as %v", id, e)
		}
	}
	for id := range raw {
		if !accepted[id] && !unconfirmed[id] {
			t.Errorf("%s is in Kafka and nobody was told", id)
		}
	}
	if letters := b.read(t, "events.dead"); len(letters) != dead {
		t.Errorf("%d dead letters, want %d", len(letters), dead)
	}
}

// Guards against events that no Trigger will see: not ready before the groups have committed offsets, and the error says what to do.
func TestReadyWaitsForGroups(t *testing.T) {
	b := newBroker(t)
	b.start(t, "events.raw", "events.dead")
	t.Cleanup(b.cluster.Close)
	s, _ := live(t, b, "knative-trigger-millrace-enrich@events.raw")
	defer func() { _ = s.Drain[0].Do(context.WithoutCancel(t.Context())) }()
	if err := s.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "knative-trigger-millrace-enrich") {
		t.Errorf("without offsets: %v", err)
	}
	admin, err := kafka.NewAdmin([]string{b.address()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.EnsureStart(t.Context(), kafka.GroupTopic{Group: "knative-trigger-millrace-enrich", Topic: "events.raw"}); err != nil {
		t.Fatal(errors.Join(err, admin.Close()))
	}
	if err := admin.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("with offsets: %v", err)
	}
}

// Guards many producers at once through the real producer (run it with -race): each has its own receipt, all events are there once.
func TestManyProducers(t *testing.T) {
	b := newBroker(t)
	b.start(t, "events.raw", "events.dead")
	t.Cleanup(b.cluster.Close)
	s, srv := live(t, b)
	var mu sync.Mutex
	want := map[string]string{}
	var wg sync.WaitGroup
	for p := range 16 {
		wg.Go(func() {
			for i := range 20 {
				id, payload := fmt.Sprintf("%d-%d", p, i), fmt.Sprintf(`{"p":%d,"i":%d}`, p, i)
				code, got := postTo(t, srv, fmt.Sprintf(`{"event_type":"T","schema_version":"0-0-1","source":"/p","id":%q,"payload":%s}`, id, payload))
				if code != 200 || got[0].ID != id {
					t.Errorf("%s: answered %d %+v", id, code, got)
				}
				mu.Lock()
				want[id] = payload
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := s.Drain[0].Do(t.Context()); err != nil {
		t.Error(err)
	}
	raw := b.read(t, "events.raw")
	for id, payload := range want {
		if e := raw[id]; e == nil || string(e.Data()) != payload {
			t.Errorf("%s: %v", id, e)
		}
	}
	if len(raw) != len(want) {
		t.Errorf("%d events, want %d", len(raw), len(want))
	}
}

// Guards what the package's decisions say of one broker that takes records and does not answer: its partitions' events are unconfirmed, the others' are accepted; once what
// waits for it fills the buffer, all are busy, told in time; and when it answers again, nothing is lost and all is well.
func TestOneBrokerHangs(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(2, "events.raw", "events.dead"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for partition := range int32(2) {
		if err := c.MoveTopicPartition("events.raw", partition, partition); err != nil {
			t.Fatal(err)
		}
	}
	_, port, err := net.SplitHostPort(c.ListenAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{cluster: c}
	if b.port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	const timeout, buffer = time.Second, 4 << 20
	s, srv := liveWith(t, b, func(cfg *config) { cfg.SendTimeout, cfg.SendBufferBytes = timeout, buffer })
	if code, got := postTo(t, srv, trip); code != 200 {
		t.Fatalf("answered %d %+v", code, got)
	}
	held, hang := make(chan struct{}), atomic.Bool{}
	hang.Store(true)
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if c.CurrentNode() == 1 && hang.Load() {
			c.SleepControl(func() { <-held })
		}
		return nil, nil, false
	})
	one := `{"event_type":"T","schema_version":"0-0-1","payload":"` + strings.Repeat("x", 1000) + `"}`
	batch := "[" + strings.Repeat(one+",", 999) + one + "]"
	said := map[string]string{}
	send := func() (statuses map[string]int) {
		statuses = map[string]int{}
		began := time.Now()
		_, got := postTo(t, srv, batch)
		if d := time.Since(began); d > 3*timeout {
			t.Errorf("answered after %s", d)
		}
		for _, r := range got {
			statuses[r.Status]++
			said[r.ID] = r.Status
		}
		return statuses
	}
	first := send()
	if first["accepted"] < 300 || first["unconfirmed"] < 300 || first["busy"] != 0 {
		t.Errorf("at first: %v", first)
	}
	last := first
	for range 20 {
		if last = send(); last["busy"] == 1000 {
			break
		}
	}
	if last["busy"] != 1000 {
		t.Errorf("with a full buffer: %v", last)
	}
	hang.Store(false)
	close(held)
	for range 20 {
		if last = send(); last["accepted"] == 1000 {
			break
		}
	}
	if last["accepted"] != 1000 {
		t.Errorf("afterwards: %v", last)
	}
	if err := s.Drain[0].Do(t.Context()); err != nil {
		t.Error(err)
	}
	raw := b.read(t, "events.raw")
	for id, status := range said {
		if there := raw[id] != nil; there && status == "busy" || !there && status == "accepted" {
			t.Errorf("%s is %s; in Kafka: %t", id, status, there)
		}
	}
}
