package kafka

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/kafka"
)

// serve is the variable by which this test's own binary becomes a process with a server: directory and address.
const serve = "MILLRACE_TEST_KAFKA"

func TestMain(m *testing.M) {
	if v := os.Getenv(serve); v != "" {
		dir, addr, _ := strings.Cut(v, "|")
		if _, err := Open(context.Background(), Options{Dir: dir, Listen: addr}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// freeAddr returns a loopback address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs a server as a process of its own; kill ends it by SIGKILL.
func start(t *testing.T, dir, addr string) (kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), serve+"="+dir+"|"+addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		if err := cmd.Process.Kill(); err == nil {
			_ = cmd.Wait() // it says "signal: killed"
		}
		_ = in.Close()
	}
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the server said %q, %v", line, err)
	}
	return kill
}

func read(t *testing.T, addr, topic string, n int) []string {
	t.Helper()
	c, err := sarama.NewConsumer([]string{addr}, kafka.NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pc, err := c.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	var got []string
	for len(got) < n {
		select {
		case m := <-pc.Messages():
			got = append(got, string(m.Value))
		case <-time.After(20 * time.Second):
			t.Fatalf("%d of %d records", len(got), n)
		}
	}
	return got
}

// Guards what the pipeline stands on: after a SIGKILL every acknowledged record, the topic with its id (the landing log is bound to it) and its settings, the
// producer's sequence and the committed offsets are there.
func TestSurvivesSIGKILL(t *testing.T) {
	dir, addr := t.TempDir(), freeAddr(t)
	kill := start(t, dir, addr)
	admin, err := kafka.NewAdmin([]string{addr}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.EnsureTopic(t.Context(), kafka.TopicSpec{Name: "events.raw", Partitions: 1, Replicas: 1, Retention: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.EnsureStart(t.Context(), kafka.GroupTopic{Group: "g", Topic: "events.raw"}); err != nil {
		t.Fatal(err)
	}
	before, err := admin.Topic(t.Context(), "events.raw")
	if err != nil {
		t.Fatal(err)
	}
	_ = admin.Close()
	p, err := sarama.NewSyncProducer([]string{addr}, kafka.NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	send := func(i int) {
		if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "events.raw", Value: sarama.StringEncoder(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 500 {
		send(i)
	}
	kill()
	start(t, dir, addr)
	for i := range 100 {
		send(500 + i) // the same producer goes on
	}
	for i, v := range read(t, addr, "events.raw", 600) {
		if v != fmt.Sprint(i) {
			t.Fatalf("record %d is %s", i, v)
		}
	}
	if admin, err = kafka.NewAdmin([]string{addr}, nil); err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	after, err := admin.Topic(t.Context(), "events.raw")
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(after) != fmt.Sprint(before) || after.ID == "" {
		t.Errorf("topic before %+v, after %+v", before, after)
	}
	if err := admin.GroupsReady(t.Context(), []kafka.GroupTopic{{Group: "g", Topic: "events.raw"}}); err != nil {
		t.Errorf("committed offsets: %v", err)
	}
}

// Guards a group over a SIGKILL of the broker: its consumer finds the broker again, and gets what it had not committed and all that came later.
func TestConsumerRidesOverSIGKILL(t *testing.T) {
	dir, addr := t.TempDir(), freeAddr(t)
	kill := start(t, dir, addr)
	admin, err := kafka.NewAdmin([]string{addr}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.EnsureTopic(t.Context(), kafka.TopicSpec{Name: "t", Partitions: 2, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	_ = admin.Close()
	got := make(chan string, 1000)
	var open atomic.Bool
	c := kafka.NewConsumer([]string{addr}, "t", "g", func(_ context.Context, m kafka.Message) bool {
		if string(m.Value) == "7" && !open.Load() {
			got <- "7 in hand"
			<-m.Stopping // the broker's end takes the partition away
			open.Store(true)
			return false
		}
		got <- string(m.Value)
		return true
	}, kafka.ConsumerOptions{Logger: slog.New(slog.DiscardHandler), Commit: 10 * time.Millisecond, Config: func(s *sarama.Config) {
		s.Consumer.Group.Heartbeat.Interval, s.Metadata.Retry.Max = 50*time.Millisecond, 1
		s.Consumer.Retry.Backoff = 50 * time.Millisecond
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	p, err := sarama.NewSyncProducer([]string{addr}, kafka.NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	seen := map[string]bool{}
	sendAndSee := func(from, to, want int) {
		for i := from; i < to; i++ {
			if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "t", Key: sarama.StringEncoder(fmt.Sprint(i)), Value: sarama.StringEncoder(fmt.Sprint(i))}); err != nil {
				t.Fatal(err)
			}
		}
		for len(seen) < want {
			select {
			case v := <-got:
				seen[v] = true
			case <-time.After(30 * time.Second):
				t.Fatalf("%d of %d came", len(seen), want)
			}
		}
	}
	sendAndSee(0, 20, 20) // 19 and the one in hand
	kill()
	start(t, dir, addr)
	sendAndSee(20, 40, 41)
	for i := range 40 {
		if !seen[fmt.Sprint(i)] {
			t.Errorf("%d never came", i)
		}
	}
}

// Guards an orderly restart, which must find the same, and the lock, which must be free by then.
func TestReopen(t *testing.T) {
	dir, addr := t.TempDir(), freeAddr(t)
	id := ""
	for i := range 2 {
		s, err := Open(t.Context(), Options{Dir: dir, Listen: addr})
		if err != nil {
			t.Fatal(err)
		}
		admin, err := kafka.NewAdmin([]string{s.Addr()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		created, err := admin.EnsureTopic(t.Context(), kafka.TopicSpec{Name: "t", Partitions: 2, Replicas: 1})
		if err != nil || created != (i == 0) {
			t.Errorf("round %d: created %v, %v", i, created, err)
		}
		info, err := admin.Topic(t.Context(), "t")
		if err != nil || (i == 1 && info.ID != id) {
			t.Errorf("round %d: topic id %s after %s, %v", i, info.ID, id, err)
		}
		id = info.ID
		_ = admin.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
}

// Guards the two mistakes of a user: a port that is taken, which the error names, and a directory in use. Neither may leave anything locked.
func TestOpenRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := Open(t.Context(), Options{Dir: dir, Listen: l.Addr().String()}); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("port in use: %v", err)
	}
	addr := l.Addr().String()
	l.Close()
	s, err := Open(t.Context(), Options{Dir: dir, Listen: addr})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.WithoutCancel(t.Context()))
	if _, err := Open(t.Context(), Options{Dir: dir, Listen: freeAddr(t)}); err == nil || !strings.Contains(err.Error(), "is in use by process") {
		t.Errorf("directory in use: %v", err)
	}
	if _, err := Open(t.Context(), Options{Dir: filepath.Join(dir, "x"), Listen: "127.0.0.1:kafka"}); err == nil {
		t.Error("a port by name")
	}
}

// Guards against topics that come into being by being asked for: they would be lost with their records by a SIGKILL.
func TestNoTopicByItself(t *testing.T) {
	s, err := Open(t.Context(), Options{Dir: t.TempDir(), Listen: freeAddr(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.WithoutCancel(t.Context()))
	config := kafka.NewConfig("test")
	config.Metadata.Retry.Max, config.Metadata.AllowAutoTopicCreation = 0, true
	p, err := sarama.NewSyncProducer([]string{s.Addr()}, config)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "none", Value: sarama.StringEncoder("x")}); err == nil {
		t.Error("a record was taken for a topic that does not exist")
	}
}
