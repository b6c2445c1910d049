package function

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/serve"
	"millrace/shared/telemetry"
)

// Guards where events go and come from, by URL: every form, its defaults, and that what is wrong is told by the variable's name.
func TestURLs(t *testing.T) {
	b := Brokers{Brokers: "a:1, b:2"}
	sink := func(o Output, want, wantErr string) {
		t.Helper()
		got, err := o.Out(b, "kafka:///events.raw")
		text := strings.Join(got.Brokers, ",") + "/" + got.Topic
		if got.Address != nil {
			text = got.Address.String()
		}
		if wantErr != "" {
			text, want = fmt.Sprint(err), wantErr
			if !strings.Contains(text, want) {
				t.Errorf("%+v: %s lacks %s", o, text, want)
			}
			return
		}
		if err != nil || text != want {
			t.Errorf("%+v: %s, %v; want %s", o, text, err, want)
		}
	}
	sink(Output{}, "a:1,b:2/events.raw", "")
	sink(Output{Sink: "kafka:///x"}, "a:1,b:2/x", "")
	sink(Output{Sink: "kafka://c:3/x", KSink: "http://h/p"}, "c:3/x", "")
	sink(Output{KSink: "http://h/p"}, "http://h/p", "")
	sink(Output{Sink: "https://h:8443/ns/broker"}, "https://h:8443/ns/broker", "")
	sink(Output{Sink: "ftp://h/p"}, "", "SINK: ")
	sink(Output{KSink: "h/p"}, "", "K_SINK: ")
	sink(Output{Sink: "kafka:///x,y"}, "", "several topics")
	if _, err := (Output{}).Out(Brokers{}, "kafka:///events.raw"); err == nil {
		t.Error("no brokers, and no error")
	}
	if _, err := (DeadLetters{DeadSink: "http://"}).Dead(b); err == nil || !strings.HasPrefix(err.Error(), "DEAD_SINK: ") {
		t.Errorf("DEAD_SINK: %v", err)
	}
	from := func(url string, want kafka.Subscription, wantErr string) {
		t.Helper()
		got, err := Intake{URL: url, Hostname: "pod"}.From(b)
		if wantErr != "" {
			if err == nil || !strings.HasPrefix(err.Error(), "INTAKE: ") || !strings.Contains(err.Error(), wantErr) {
				t.Errorf("%s: %v lacks %s", url, err, wantErr)
			}
			return
		}
		if err != nil || !slices.Equal(got.Topics, want.Topics) || !slices.Equal(got.Brokers, want.Brokers) || got.Group != want.Group || got.Start != want.Start || got.Static != want.Static {
			t.Errorf("%s: %+v, %v", url, got, err)
		}
	}
	from("", kafka.Subscription{}, "")
	from("http", kafka.Subscription{}, "")
	from("http://", kafka.Subscription{}, "")
	from("kafka:///t?group=g", kafka.Subscription{Brokers: []string{"a:1", "b:2"}, Topics: []string{"t"}, Group: "g"}, "")
	from("kafka://c:3/t,u?group=g&start=newest", kafka.Subscription{Brokers: []string{"c:3"}, Topics: []string{"t", "u"}, Group: "g", Start: kafka.StartNewest}, "")
	from("kafka:///t?group=g&member=static", kafka.Subscription{Brokers: []string{"a:1", "b:2"}, Topics: []string{"t"}, Group: "g", Static: true}, "")
	from("kafka:///t?group=g&member=dynamic", kafka.Subscription{Brokers: []string{"a:1", "b:2"}, Topics: []string{"t"}, Group: "g"}, "")
	from("kafka:///t?group=g&member=x", kafka.Subscription{}, "member=static")
	if _, err := (Intake{URL: "kafka:///t?group=g&member=static"}).From(b); err == nil || !strings.Contains(err.Error(), "HOSTNAME") {
		t.Errorf("a static member without a name: %v", err)
	}
	for static, want := range map[bool]string{true: "pod", false: ""} {
		if got := (Intake{Hostname: "pod"}).Instance(kafka.Subscription{Static: static}); got != want {
			t.Errorf("instance %q, want %q", got, want)
		}
	}
	from("kafka:///t", kafka.Subscription{}, "group")
	from("kafka:///t,t?group=g", kafka.Subscription{}, "twice")
	from("kafka:///t?group=g&group=h", kafka.Subscription{}, "2 times")
	from("kafka:///t?group=g&start=middle", kafka.Subscription{}, "start=middle")
	from("kafka:///t?group=g&color=red", kafka.Subscription{}, "color")
	from("mqtt://h/t", kafka.Subscription{}, "kafka://")
}

// Guards the defaults and bounds of the shared settings.
func TestValidate(t *testing.T) {
	err := Intake{}.Validate()
	for _, name := range []string{"FLUSH_INTERVAL", "FLUSH_EVENTS", "FLUSH_BYTES", "MAX_BYTES_IN_FLIGHT", "BATCH_TIMEOUT", "MAX_ATTEMPTS"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v lacks %s", err, name)
		}
	}
	if err := (Process{Address: serve.Address{Port: -1}}).Validate(); err == nil || !strings.Contains(err.Error(), "PORT") || !strings.Contains(err.Error(), "SHUTDOWN_GRACE") {
		t.Errorf("%v", err)
	}
}

// Guards the whole of it: from a Kafka that asks for a user through a handler to an ingress over HTTP and a topic of dead letters; ready only once all were seen; and an end that closes the sinks after
// the intake is drained.
func TestFunction(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "dead"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "millrace", "hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	b := Brokers{Brokers: strings.Join(cluster.ListenAddrs(), ","), Security: kafka.Security{Mechanism: "PLAIN", User: "millrace", Password: "hunter2"}}
	taken := make(chan string, 100)
	ingress := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				t.Error(err)
			}
			taken <- r.Header.Get("Ce-Id")
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer ingress.Close()
	out, err := Output{KSink: ingress.URL + "/ns/enriched"}.Out(b, "")
	if err != nil {
		t.Fatal(err)
	}
	letters, err := DeadLetters{DeadSink: "kafka:///dead"}.Dead(b)
	if err != nil {
		t.Fatal(err)
	}
	from, err := Intake{URL: "kafka:///in?group=g"}.From(b)
	if err != nil {
		t.Fatal(err)
	}
	before := slog.Default()
	defer slog.SetDefault(before)
	f := New("enrich", Process{Log: telemetry.Log{Level: slog.LevelError}, Grace: 20 * time.Second, GOGC: "100", MemLimit: "1GiB"}, 0)
	sinks := f.OpenSinks(kafka.ProducerOptions{Timeout: 10 * time.Second})
	to := sinks.Open(out)
	h := delivery.HandlerFunc(func(ctx context.Context, events []*event.Event) delivery.Outcomes {
		o := delivery.NewOutcomes(len(events))
		for i, err := range to.Publish(ctx, events) {
			if events[i].ID() == "bad" {
				err = delivery.Permanent(event.CodeNotJSON, fmt.Errorf("bad"))
			}
			o.Settle(i, err)
		}
		return o
	})
	dead := sinks.Open(letters)
	settings := Intake{Flush: time.Millisecond, Events: 10, Bytes: 1 << 20, InFlight: 1 << 20, BatchTimeout: 10 * time.Second, Attempts: 5}
	answer := f.Intake(In{Intake: settings, From: from, Ordered: true, Dead: dead}, h)
	server := f.Server()
	if server.Ready(t.Context()) == nil {
		t.Error("ready before the group was joined")
	}
	w := httptest.NewRecorder()
	answer.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	if w.Code != http.StatusNotFound || w.Body.Len() > 0 {
		t.Errorf("a request is answered %d %q", w.Code, w.Body)
	}
	server.Listen = "127.0.0.1:0"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve.Run(ctx, server, answer) }()
	stop := sync.OnceValue(func() error { cancel(); return <-ended })
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	producer := kafka.NewProducer(from.Brokers, kafka.ProducerOptions{Timeout: 10 * time.Second, Config: b.Apply})
	defer func() { _ = producer.Close(context.Background()) }()
	var events []*event.Event
	for _, id := range []string{"1", "bad", "2"} {
		e, err := event.DecodeStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/s","type":"T","data":1}`, id))
		if err != nil {
			t.Fatal(err)
		}
		if err := event.Derive(e, time.Now()); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	for _, err := range producer.Sink("in").Publish(t.Context(), events) {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]bool{}
	for range 3 {
		select {
		case id := <-taken:
			got[id] = true
		case <-time.After(20 * time.Second):
			t.Fatalf("only %v came", got)
		}
	}
	if err := server.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := cluster.PartitionInfo("dead", 0).HighWatermark; n != 1 {
		t.Errorf("%d dead letters", n)
	}
}
