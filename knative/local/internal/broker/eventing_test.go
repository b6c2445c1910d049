package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/knative/local/internal/manifest"
	"millrace/shared/event"
	"millrace/shared/kafka"
)

const brokersYAML = `
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: raw
  namespace: ns
  annotations: {eventing.knative.dev/broker.class: Kafka, kafka.eventing.knative.dev/external.topic: events.raw}
spec:
  delivery: {retry: 7, backoffPolicy: linear, backoffDelay: PT0.001S}
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: dead
  namespace: ns
  annotations: {eventing.knative.dev/broker.class: Kafka, kafka.eventing.knative.dev/external.topic: events.dead}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: f, namespace: ns}
spec: {template: {spec: {containers: [{image: ko://millrace/functions/f}]}}}
---
`

const triggerYAML = `
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: t, namespace: ns}
spec:
  broker: raw
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: f}}
  delivery:
    retry: %d
    backoffPolicy: linear
    backoffDelay: %s
    deadLetterSink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: dead}}
`

func load(t *testing.T, yaml string) *manifest.Set {
	t.Helper()
	s := manifest.NewSet()
	if err := s.Parse("test.yaml", []byte(yaml)); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	return s
}

func trigger1(retry int, delay string) string {
	return brokersYAML + fmt.Sprintf(triggerYAML, retry, delay)
}

// newKafka starts a broker with the topics events.raw and events.dead, and with committed starts for the Trigger ns/t, as provision makes them.
func newKafka(t *testing.T) (string, *kfake.Cluster) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "events.raw", "events.dead"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	a, err := kafka.NewAdmin(c.ListenAddrs(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.EnsureStart(t.Context(), kafka.GroupTopic{Group: "knative-trigger-ns-t", Topic: "events.raw"}); err != nil {
		t.Fatal(err)
	}
	return c.ListenAddrs()[0], c
}

// run runs the manifests' delivery with functions answered by h, until stop, which waits for the end.
func run(t *testing.T, addr, yaml string, c Config, h http.HandlerFunc) (e *Eventing, stop func()) {
	t.Helper()
	c.Brokers, c.Manifests, c.Transport = []string{addr}, load(t, yaml), handlerTransport(h)
	if c.Tick == 0 {
		c.Tick = time.Hour
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := receive(t, done); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return e, stop
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came within 20 s")
	}
	panic("unreachable")
}

// post sends an event to the ingress.
func post(t *testing.T, e *Eventing, path, id, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
	for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": id, "Ce-Source": "/s", "Ce-Type": "T", "Content-Type": "application/json"} {
		r.Header.Set(name, value)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	e.Ingress().ServeHTTP(w, r)
	return w
}

func mustPost(t *testing.T, e *Eventing, path, id, body string, header ...string) {
	t.Helper()
	if w := post(t, e, path, id, body, header...); w.Code != 202 || w.Body.Len() > 0 {
		t.Fatalf("ingress answered %d %s", w.Code, w.Body)
	}
}

// topicEvents follows a topic.
func topicEvents(t *testing.T, addr, topic string) <-chan *event.Event {
	t.Helper()
	c, err := sarama.NewConsumer([]string{addr}, kafka.NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan *event.Event, 100)
	var reading sync.WaitGroup
	var parts []sarama.PartitionConsumer
	for p := range int32(2) {
		pc, err := c.ConsumePartition(topic, p, sarama.OffsetOldest)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, pc)
		reading.Go(func() {
			for m := range pc.Messages() {
				o, err := parse(m)
				if err != nil {
					t.Error(err)
					continue
				}
				out <- o.decoded()
			}
		})
	}
	t.Cleanup(func() {
		for _, pc := range parts {
			_ = pc.Close()
		}
		reading.Wait()
		_ = c.Close()
	})
	return out
}

func committedSum(t *testing.T, addr string) (sum int64) {
	t.Helper()
	client, err := sarama.NewClusterAdmin([]string{addr}, kafka.NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	res, err := client.ListConsumerGroupOffsets("knative-trigger-ns-t", map[string][]int32{"events.raw": {0, 1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range res.Blocks["events.raw"] {
		sum += max(0, b.Offset)
	}
	return sum
}

// Guards the whole way of an event: from the ingress through the topic to the function, byte for byte, with attributes percent-encoded on the wire and
// the position that Knative adds; and the commit at the end.
func TestIngressToSubscriber(t *testing.T) {
	addr, _ := newKafka(t)
	type request struct {
		url    string
		header http.Header
		body   string
	}
	got := make(chan request, 1)
	e, stop := run(t, addr, trigger1(0, "PT0S"), Config{}, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- request{r.Method + " " + r.URL.String(), r.Header, string(body)}
	})
	mustPost(t, e, "/ns/raw", "1", `{"b": 1.50,  "a":"\u00fc"}`, "Ce-Subject", "Z%C3%BCrich 1%25", "Ce-Ext", "x")
	r := receive(t, got)
	if r.url != "POST http://f.ns.svc.cluster.local" || r.body != `{"b": 1.50,  "a":"\u00fc"}` {
		t.Errorf("%s with %s", r.url, r.body)
	}
	for name, want := range map[string]string{
		"Ce-Id": "1", "Ce-Source": "/s", "Ce-Type": "T", "Ce-Subject": "Z%C3%BCrich%201%25", "Ce-Ext": "x", "Content-Type": "application/json",
		"Ce-Knativekafkaoffset": "0", "Ce-Specversion": "1.0",
	} {
		if r.header.Get(name) != want {
			t.Errorf("%s: %q", name, r.header.Get(name))
		}
	}
	if p := r.header.Get("Ce-Knativekafkapartition"); p != "0" && p != "1" {
		t.Errorf("partition %q", p)
	}
	stop()
	if s := e.Status()[0]; s.Delivered != 1 || s.Group != "knative-trigger-ns-t" || s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
	if n := committedSum(t, addr); n != 1 {
		t.Errorf("committed %d", n)
	}
}

// Guards the ingress's answers: none but 202 may stand for a durable event, and what can never be taken must not look like an outage.
func TestIngressAnswers(t *testing.T) {
	addr, _ := newKafka(t)
	e, stop := run(t, addr, brokersYAML+strings.ReplaceAll(brokersYAML, "name: raw", "name: none")[:strings.Index(brokersYAML, "---")], Config{}, nil)
	structured := `{"specversion":"1.0","id":"1","source":"/s","type":"T","data":{"x": 1}}`
	for _, c := range []struct {
		method, path, body string
		header             http.Header
		want               int
	}{
		{"POST", "/ns/raw", structured, http.Header{"Content-Type": {"application/cloudevents+json"}}, 202},
		{"POST", "/ns/raw/", structured, http.Header{"Content-Type": {"application/cloudevents+json"}}, 202},
		{"POST", "/ns/raw", structured[1:], http.Header{"Content-Type": {"application/cloudevents+json"}}, 400},
		{"POST", "/ns/raw", "[" + structured + "]", http.Header{"Content-Type": {"application/cloudevents-batch+json"}}, 400},
		{"POST", "/ns/raw", "{}", http.Header{"Content-Type": {"application/json"}}, 400},
		{
			"POST", "/ns/raw", strings.Replace(structured, `"id"`, `"datacontenttype":"application/cloudevents-batch+json","id"`, 1),
			http.Header{"Content-Type": {"application/cloudevents+json"}},
			400,
		},
		{"POST", "/ns/raw", "{}", http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Type": {"T"}}, 400},
		{"POST", "/ns/raw", "{}", http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Type": {"T"}, "Ce-Source": {"/s"}, "Ce-X": {strings.Repeat("x", maxAttributes)}}, 431},
		{"POST", "/ns/none-such", structured, http.Header{"Content-Type": {"application/cloudevents+json"}}, 404},
		{"POST", "/ns", structured, http.Header{"Content-Type": {"application/cloudevents+json"}}, 404},
		{"GET", "/ns/raw", "", nil, 405},
		{"POST", "/ns/raw", strings.Repeat("x", maxIngress+1), http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Type": {"T"}, "Ce-Source": {"/s"}}, 503},
		{"POST", "/ns/raw", strings.Repeat("x", kafka.MaxMessageBytes), http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Type": {"T"}, "Ce-Source": {"/s"}}, 503},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, strings.NewReader(c.body))
		r.Header = c.header
		w := httptest.NewRecorder()
		e.Ingress().ServeHTTP(w, r)
		if w.Code != c.want || (w.Code == 202) != (w.Body.Len() == 0) {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, w.Code, w.Body, c.want)
		}
	}
	inTopic := topicEvents(t, addr, "events.raw")
	for range 2 {
		if ev := receive(t, inTopic); ev.ID() != "1" || string(ev.Data()) != `{"x": 1}` {
			t.Errorf("in the topic: %v", ev)
		}
	}
	stop()
	if w := post(t, e, "/ns/raw", "1", "{}"); w.Code != 503 {
		t.Errorf("after the end: %d", w.Code)
	}
}

// Guards against an ingress that answers before Kafka does, or for Kafka.
func TestIngressWithoutKafka(t *testing.T) {
	addr, cluster := newKafka(t)
	var refuse atomic.Bool
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return nil, errors.New("refused by the test"), refuse.Load()
	})
	e, _ := run(t, addr, brokersYAML, Config{}, nil)
	mustPost(t, e, "/ns/raw", "1", "{}")
	refuse.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/ns/raw", strings.NewReader("{}"))
	r.Header = http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"2"}, "Ce-Type": {"T"}, "Ce-Source": {"/s"}}
	w := httptest.NewRecorder()
	e.Ingress().ServeHTTP(w, r)
	if w.Code != 503 {
		t.Errorf("%d", w.Code)
	}
	refuse.Store(false)
}

// Guards dead letters by their way through Kafka: refused at once and given up after retries, each with its reason, the event's own bytes and identity; good events pass, and so does a reply.
func TestDeadLettersAndReply(t *testing.T) {
	addr, _ := newKafka(t)
	var tries atomic.Int32
	e, _ := run(t, addr, trigger1(2, "PT0.001S"), Config{}, func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Ce-Id") {
		case "poison":
			w.Header().Set("Kne-Hint", "look")
			w.WriteHeader(422)
			_, _ = io.WriteString(w, "no such thing")
		case "unlucky":
			tries.Add(1)
			w.WriteHeader(503)
		case "asks":
			for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "reply", "Ce-Source": "/r", "Ce-Type": "R"} {
				w.Header().Set(name, value)
			}
			_, _ = io.WriteString(w, "an answer")
		}
	})
	raw, dead := topicEvents(t, addr, "events.raw"), topicEvents(t, addr, "events.dead")
	for _, id := range []string{"poison", "good", "unlucky", "asks"} {
		mustPost(t, e, "/ns/raw", id, `{"id":  "`+id+`"}`, "Ce-Subject", "Z%C3%BCrich")
	}
	letters := map[string]*event.Event{}
	for range 2 {
		ev := receive(t, dead)
		letters[ev.ID()] = ev
	}
	for id, want := range map[string]map[string]string{
		"poison":  {"knativeerrorcode": "422", "knativeerrordata": "bm8gc3VjaCB0aGluZw==", "hint": "look"},
		"unlucky": {"knativeerrorcode": "503", "knativeerrordata": ""},
	} {
		ev := letters[id]
		if ev == nil {
			t.Fatalf("no dead letter %s", id)
		}
		want["knativeerrordest"], want["subject"] = "http://f.ns.svc.cluster.local", "Zürich"
		for name, value := range want {
			if event.Attr(ev, name) != value {
				t.Errorf("%s: %s = %q, want %q", id, name, event.Attr(ev, name), value)
			}
		}
		if string(ev.Data()) != `{"id":  "`+id+`"}` {
			t.Errorf("%s: data %s", id, ev.Data())
		}
		if err := event.Derive(ev, time.Now()); err != nil || event.Attr(ev, event.FailureCode) != string(event.CodeDeliveryExhausted) {
			t.Errorf("%s does not read as a dead letter: %v", id, err)
		}
	}
	if tries.Load() != 3 {
		t.Errorf("%d attempts with 2 retries", tries.Load())
	}
	for {
		if ev := receive(t, raw); ev.ID() == "reply" {
			if string(ev.Data()) != "an answer" || ev.Type() != "R" {
				t.Errorf("reply %v", ev)
			}
			break
		}
	}
}

// Guards a dead letter sink that is spelled out as the address of a Broker's ingress, as a Broker's own must be on a cluster: here no name server knows that host, and the event
// would be held and sent again for ever.
func TestADeadLetterSinkByAddress(t *testing.T) {
	addr, _ := newKafka(t)
	yaml := strings.Replace(trigger1(0, "PT0S"), "ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: dead}", "uri: http://"+manifest.IngressHost+"/ns/dead", 1)
	e, _ := run(t, addr, yaml, Config{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) })
	dead := topicEvents(t, addr, "events.dead")
	mustPost(t, e, "/ns/raw", "1", "{}")
	if ev := receive(t, dead); ev.ID() != "1" || ev.Extensions()[event.KnativeErrCode] != "400" {
		t.Errorf("dead letter %v", ev)
	}
}

// Guards the good ones beside poison that waits for its retry for ever, and beside a record that is no CloudEvent: all are delivered, and the commit stays behind the poison.
func TestPoisonAmongGood(t *testing.T) {
	addr, _ := newKafka(t)
	config := kafka.NewConfig("test")
	config.Producer.Partitioner = sarama.NewManualPartitioner
	p, err := sarama.NewSyncProducer([]string{addr}, config)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := range 40 {
		headers := map[string]string{"ce_specversion": "1.0", "ce_id": fmt.Sprint(i), "ce_source": "/s", "ce_type": "T"}
		switch i {
		case 3:
			delete(headers, "ce_source")
		case 4:
			headers["ce_under_score"] = "x"
		case 5:
			headers["ce_time"] = "yesterday"
		}
		m := &sarama.ProducerMessage{Topic: "events.raw", Value: sarama.StringEncoder("{}")}
		for k, v := range headers {
			m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(k), Value: []byte(v)})
		}
		if _, _, err := p.SendMessage(m); err != nil {
			t.Fatal(err)
		}
	}
	good := make(chan string, 100)
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Ce-Id") == "10" {
			w.WriteHeader(503)
			return
		}
		good <- r.Header.Get("Ce-Id")
	}
	e, stop := run(t, addr, trigger1(5, "PT1H"), Config{InFlight: 2}, h)
	seen := map[string]bool{}
	for range 36 {
		seen[receive(t, good)] = true
	}
	if len(seen) != 36 || seen["3"] || seen["4"] || seen["5"] {
		t.Errorf("%d delivered: %v", len(seen), seen)
	}
	if s := e.Status()[0]; s.Skipped != 3 || s.InFlight < 1 || s.Partitions != 2 || s.Lag < 1 {
		t.Errorf("%+v", s)
	}
	stop()
	if n := committedSum(t, addr); n != 10 {
		t.Errorf("committed %d, the poison lies at 10", n)
	}
	if s := e.Status()[0]; s.Unfinished != 1 || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
}

// Guards a crash after the subscriber's success and before the commit: the event comes again, to a new process.
func TestRedeliveredWithoutCommit(t *testing.T) {
	addr, cluster := newKafka(t)
	var refuse atomic.Bool
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return nil, errors.New("refused by the test"), refuse.Load()
	})
	got := make(chan string, 10)
	h := func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("Ce-Id") }
	refuse.Store(true)
	e, stop := run(t, addr, trigger1(0, "PT0S"), Config{}, h)
	mustPost(t, e, "/ns/raw", "1", "{}")
	receive(t, got)
	stop()
	refuse.Store(false)
	for len(got) > 0 {
		<-got
	}
	_, stop = run(t, addr, trigger1(0, "PT0S"), Config{}, h)
	if id := receive(t, got); id != "1" {
		t.Errorf("%s came again", id)
	}
	stop()
	if n := committedSum(t, addr); n != 1 {
		t.Errorf("committed %d", n)
	}
}

// Guards the end: a request in flight finishes and is committed, nothing new begins, and one that never ends is cut and comes again.
func TestDrain(t *testing.T) {
	for name, c := range map[string]struct {
		finishes  bool
		committed int64
	}{"finishes": {true, 1}, "hangs": {false, 0}} {
		t.Run(name, func(t *testing.T) {
			addr, _ := newKafka(t)
			began, release := make(chan struct{}, 1), make(chan struct{})
			drain := 20 * time.Second
			if !c.finishes {
				drain = 20 * time.Millisecond
			}
			e, stop := run(t, addr, trigger1(0, "PT0S"), Config{Drain: drain}, func(_ http.ResponseWriter, r *http.Request) {
				began <- struct{}{}
				select {
				case <-release:
				case <-r.Context().Done():
				}
			})
			mustPost(t, e, "/ns/raw", "1", "{}")
			receive(t, began)
			stopped := make(chan struct{})
			go func() { stop(); close(stopped) }()
			if c.finishes {
				close(release)
			}
			receive(t, stopped)
			if n := committedSum(t, addr); n != c.committed {
				t.Errorf("committed %d, want %d", n, c.committed)
			}
		})
	}
}

// Guards the loss that Knative allows: while the dead letter sink is away the event is held, and reaches it once it is back.
func TestDeadLetterSinkAway(t *testing.T) {
	addr, _ := newKafka(t)
	yaml := strings.Replace(trigger1(1, "PT0.001S"), "deadLetterSink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: dead}}", "deadLetterSink: {uri: 'http://sink.example'}", 1)
	var sinkTries, subscriberTries atomic.Int32
	taken := make(chan string, 1)
	e, stop := run(t, addr, yaml, Config{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host != "sink.example" {
			subscriberTries.Add(1)
			w.WriteHeader(422)
			return
		}
		if sinkTries.Add(1) <= 4 {
			w.WriteHeader(500)
			return
		}
		taken <- r.Header.Get("Ce-Knativeerrorcode")
	})
	mustPost(t, e, "/ns/raw", "1", "{}")
	if code := receive(t, taken); code != "422" {
		t.Errorf("code %s", code)
	}
	stop()
	if s := e.Status()[0]; s.DeadLettered != 1 || s.Unfinished != 2 || s.Dropped != 0 || sinkTries.Load() != 5 || subscriberTries.Load() != 3 {
		t.Errorf("%+v, sink %d, subscriber %d", s, sinkTries.Load(), subscriberTries.Load())
	}
	if n := committedSum(t, addr); n != 1 {
		t.Errorf("committed %d", n)
	}
}

// Guards that the loss which a manifest asks for (no dead letter sink) is told loudly, at the start and at each event, and counted; and that a Trigger's delivery replaces its Broker's whole: seven
// retries are the Broker's.
func TestWithoutDeadLetterSink(t *testing.T) {
	addr, _ := newKafka(t)
	yaml, _, _ := strings.Cut(trigger1(0, "PT0S"), "    deadLetterSink: {ref")
	var log lockedBuffer
	refused := make(chan struct{}, 10)
	e, stop := run(t, addr, yaml, Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(503)
		refused <- struct{}{}
	})
	mustPost(t, e, "/ns/raw", "1", "{}")
	receive(t, refused)
	stop()
	if s := e.Status()[0]; s.Dropped != 1 || len(refused) != 0 {
		t.Errorf("%+v, %d retries", s, len(refused))
	}
	for _, want := range []string{"will be LOST", "EVENT LOST", "test.yaml:"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is missing in the log: %s", want, log.String())
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Guards the start: mistakes that only this package can see are all reported, with their lines.
func TestNewReportsMistakes(t *testing.T) {
	yaml := trigger1(0, "PT0S") + `  filters:
    - cesql: "type = "
---
apiVersion: sources.knative.dev/v1
kind: PingSource
metadata: {name: p, namespace: ns}
spec: {schedule: "61 * * * *", sink: {uri: "http://x"}}
`
	before, _, _ := strings.Cut(yaml, "- cesql")
	line := strings.Count(before, "\n") + 1
	_, err := New(Config{Brokers: []string{"127.0.0.1:1"}, Manifests: load(t, yaml), Tick: time.Second, Log: slog.New(slog.DiscardHandler)})
	for _, want := range []string{fmt.Sprintf("test.yaml:%d: cesql: unexpected end", line), "PingSource p: schedule", `"61" is not between 0 and 59`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not contain %q", err, want)
		}
	}
}

// Guards PingSources: a tick comes at its time with the source's data, does not wait for the answer to the last one, is sent again when it fails, and at the end nothing is left running.
func TestPing(t *testing.T) {
	yaml := brokersYAML + `
apiVersion: sources.knative.dev/v1
kind: PingSource
metadata: {name: drain, namespace: ns}
spec:
  schedule: "*/5 * * * *"
  contentType: application/json
  data: '{"topic": "events.raw"}'
  sink: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: f}}
  ceOverrides: {extensions: {x: "1"}}
`
	set := load(t, yaml)
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		var ids []string
		var mu sync.Mutex
		start := time.Now()
		e := &Eventing{brokers: map[manifest.Key]*topicTarget{}}
		c := Config{Manifests: set, Tick: 10 * time.Second, Log: slog.New(slog.DiscardHandler), Transport: handlerTransport(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			h := r.Header
			if string(body) != `{"topic": "events.raw"}` || h.Get("Ce-Type") != "dev.knative.sources.ping" || h.Get("Ce-Source") != "/apis/v1/namespaces/ns/pingsources/drain" ||
				h.Get("Content-Type") != "application/json" || h.Get("Ce-X") != "1" || h.Get("Ce-Time") == "" || r.URL.String() != "http://f.ns.svc.cluster.local" {
				t.Errorf("%s %v %s", r.URL, h, body)
			}
			mu.Lock()
			at = append(at, time.Since(start))
			ids = append(ids, h.Get("Ce-Id"))
			n := len(at)
			mu.Unlock()
			if n == 2 {
				w.WriteHeader(503)
				return
			}
			<-r.Context().Done() // no answer before the end
		})}
		p, err := e.newPing(c, manifest.Sorted(set.PingSources)[0])
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 35*time.Second)
		defer cancel()
		p.run(ctx)
		want := []time.Duration{10 * time.Second, 20 * time.Second, 20*time.Second + 200*time.Millisecond, 30 * time.Second}
		if fmt.Sprint(at) != fmt.Sprint(want) || ids[1] != ids[2] || ids[0] == ids[1] {
			t.Errorf("at %v, want %v; ids %v", at, want, ids)
		}
	})
}
