package kafka

import (
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/kafka"
	"millrace/shared/kafka/kafkatest"
)

// open starts a server in this process; close ends it in order.
func open(t *testing.T, dir, addr string) (closeIt func()) {
	t.Helper()
	s, err := Open(t.Context(), Options{Dir: dir, Listen: addr})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	}
}

// Guards that the embedded Kafka is one that our functions can run on, by the suite that Apache Kafka passes too: on an empty directory, and on one that it finds after
// an orderly end and after a SIGKILL, with what was there before.
func TestConformance(t *testing.T) {
	dir, addr := t.TempDir(), freeAddr(t)
	brokers := []string{addr}
	run := func(t *testing.T) { kafkatest.Run(t, brokers, kafkatest.Embedded) }
	var end func()
	t.Cleanup(func() { end() }) // after the topics, which need a server to be removed
	end = open(t, dir, addr)
	t.Run("new", run)
	check := kafkatest.Keep(t, brokers, kafkatest.Embedded)
	end()
	end = start(t, dir, addr)
	t.Run("kept by an orderly end", func(t *testing.T) { check(t, false) })
	t.Run("after an orderly end", run)
	check = kafkatest.Keep(t, brokers, kafkatest.Embedded)
	end()
	end = open(t, dir, addr)
	t.Run("kept by a SIGKILL", func(t *testing.T) { check(t, true) })
	t.Run("after a SIGKILL", run)
}

// Guards positions on a topic that was compacted, by what Apache Kafka passes too.
func TestCompaction(t *testing.T) {
	addr := freeAddr(t)
	s, err := Open(t.Context(), Options{Dir: t.TempDir(), Listen: addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	kafkatest.Compaction(t, []string{addr}, kafkatest.Embedded, s.cluster.Compact)
}

// Guards disks and lost ranges: what retention ends is out of range, its bytes leave the directory, and neither comes back with a restart or a SIGKILL; offsets go on.
func TestRetention(t *testing.T) {
	dir, addr := t.TempDir(), freeAddr(t)
	s, err := Open(t.Context(), Options{Dir: dir, Listen: addr})
	if err != nil {
		t.Fatal(err)
	}
	client, err := sarama.NewClient([]string{addr}, kafka.NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	entry := func(s string) *string { return &s }
	err = admin.CreateTopic("t", &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1, ConfigEntries: map[string]*string{"retention.ms": entry("3600000"), "segment.bytes": entry("100000")}}, false)
	if err != nil {
		t.Fatal(err)
	}
	p, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	send := func(n int, age time.Duration) {
		for range n {
			body := make([]byte, 20_000)
			_, _ = rand.Read(body) // it cannot fail
			if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: "t", Timestamp: time.Now().Add(-age), Value: sarama.ByteEncoder(body)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(100, 2*time.Hour)
	send(10, time.Minute)
	full := size(t, dir)
	s.cluster.ApplyRetention()
	span := func() string {
		s, err := kafka.NewReader(client).Span(t.Context(), "t", 0)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(s.Start, "-", s.End)
	}
	before := span()
	if first, _, _ := strings.Cut(before, "-"); first == "0" || !strings.HasSuffix(before, "-110") {
		t.Errorf("after retention the log is %s", before)
	}
	if now := size(t, dir); now > full/3 {
		t.Errorf("the directory has %d bytes, had %d", now, full)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	kill := start(t, dir, addr)
	if got := span(); got != before {
		t.Errorf("after a restart the log is %s, was %s", got, before)
	}
	kill()
	start(t, dir, addr)
	if got := span(); got != before {
		t.Errorf("after a SIGKILL the log is %s, was %s", got, before)
	}
	send(1, 0)
	if got := span(); !strings.HasSuffix(got, "-111") {
		t.Errorf("after one more record the log is %s", got)
	}
}

// size is what the files below dir hold.
func size(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
