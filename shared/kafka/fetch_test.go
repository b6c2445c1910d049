package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/shared/kafka"
)

// fetchCluster is a Kafka with the topic "t" of one partition, a client, and a function that writes n records, in a transaction where commit is not nil.
func fetchCluster(t *testing.T) (*kfake.Cluster, sarama.Client, func(n int, commit *bool)) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c := kafka.NewConfig("test")
	c.Metadata.Retry.Max = 1
	client, err := sarama.NewClient(cluster.ListenAddrs(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	written := 0
	write := func(n int, commit *bool) {
		t.Helper()
		c := kafka.NewConfig("test")
		if commit != nil {
			c.Producer.Transaction.ID = "transaction"
		}
		p, err := sarama.NewSyncProducer(cluster.ListenAddrs(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		var ms []*sarama.ProducerMessage
		for range n {
			ms = append(ms, &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(fmt.Sprint(written)), Headers: []sarama.RecordHeader{{Key: []byte("h"), Value: []byte("v")}}})
			written++
		}
		if commit != nil {
			if err := p.BeginTxn(); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.SendMessages(ms); err != nil {
			t.Fatal(err)
		}
		switch {
		case commit == nil:
		case *commit:
			err = p.CommitTxn()
		default:
			err = p.AbortTxn()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return cluster, client, write
}

// Guards positions: from whatever offset and in whatever steps the log is read, each offset behind it is a record or skipped, once, and aborted records never
// pass as committed ones.
func TestFetchAccountsForEveryOffset(t *testing.T) {
	_, client, write := fetchCluster(t)
	yes, no := true, false
	write(5, nil)
	write(3, &yes)
	write(4, &no)
	write(2, &no)
	write(6, &yes)
	write(1, &no)
	r := kafka.NewReader(client)
	span, err := r.Span(t.Context(), "t", 0)
	if err != nil || span.Start != 0 || span.End != 26 {
		t.Fatalf("%+v, %v", span, err)
	}
	// What each offset is: five records, three and a marker, four aborted and a marker, and so on.
	want := "rrrrr" + "rrrc" + "aaaac" + "aac" + "rrrrrrc" + "ac"
	for _, size := range []int32{1, 100, 300, 1 << 20} {
		for from := range span.End {
			got := []byte(strings.Repeat("?", int(from)))
			put := func(offset int64, as byte) {
				if offset != int64(len(got)) {
					t.Fatalf("size %d from %d: %d comes after %d offsets", size, from, offset, len(got))
				}
				got = append(got, as)
			}
			for at := from; at < span.End; {
				b, err := r.Fetch(t.Context(), "t", 0, at, size)
				if err != nil {
					t.Fatal(err)
				}
				if b.Next <= at {
					t.Fatalf("size %d: nothing at %d", size, at)
				}
				records := b.Records
				for offset := at; offset < b.Next; offset++ {
					if len(records) > 0 && records[0].Offset == offset {
						put(offset, 'r')
						if string(records[0].Headers[0].Value) != "v" || records[0].Timestamp.IsZero() {
							t.Errorf("record %+v", records[0])
						}
						records = records[1:]
						continue
					}
					for _, s := range b.Skipped {
						if offset >= s.First && offset <= s.Last {
							put(offset, s.Reason[0])
						}
					}
				}
				at = b.Next
			}
			if string(got[from:]) != want[from:] {
				t.Errorf("size %d from %d\ngot  %s\nwant %s", size, from, got[from:], want[from:])
			}
		}
	}
}

// Guards what tells a record from the one that takes its place after a truncation: each offset has the epoch of the batch that it came in, however batches are joined and wherever reading begins.
func TestLeaderEpoch(t *testing.T) {
	_, client, write := fetchCluster(t)
	write(3, nil)
	write(2, nil)
	b, err := kafka.NewReader(client).Fetch(t.Context(), "t", 0, 1, 1<<20)
	if err != nil || b.Next != 5 || len(b.Epochs) != 1 || b.LeaderEpoch(1) < 0 || b.LeaderEpoch(4) != b.LeaderEpoch(1) || b.LeaderEpoch(5) != -1 {
		t.Errorf("%+v, %v", b.Epochs, err)
	}
	b = kafka.Batch{Epochs: []kafka.Epoch{{Last: 4, Leader: 2}, {Last: 9, Leader: 3}}}
	for offset, want := range map[int64]int32{0: 2, 4: 2, 5: 3, 9: 3, 10: -1} {
		if got := b.LeaderEpoch(offset); got != want {
			t.Errorf("%d has %d, want %d", offset, got, want)
		}
	}
}

// Guards the errors that callers branch on, and that nothing is created by asking.
func TestFetchErrors(t *testing.T) {
	_, client, write := fetchCluster(t)
	write(3, nil)
	r := kafka.NewReader(client)
	if _, err := r.Fetch(t.Context(), "t", 0, 4, 1000); !errors.Is(err, sarama.ErrOffsetOutOfRange) {
		t.Errorf("behind the end: %v", err)
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.DeleteRecords("t", map[int32]int64{0: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Fetch(t.Context(), "t", 0, 1, 1000); !errors.Is(err, sarama.ErrOffsetOutOfRange) {
		t.Errorf("before the start: %v", err)
	}
	if b, err := r.Fetch(t.Context(), "t", 0, 3, 1000); err != nil || b.Next != 3 || len(b.Records) != 0 {
		t.Errorf("at the end: %+v, %v", b, err)
	}
	for range 2 {
		if _, err := r.Topic(t.Context(), "none"); !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			t.Errorf("unknown topic: %v", err)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Fetch(cancelled, "t", 0, 2, 1000); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Guards the topic's id: it is Kafka's own spelling, the same as long as the topic lives, and another one for a topic of the same name.
func TestTopicID(t *testing.T) {
	_, client, _ := fetchCluster(t)
	r := kafka.NewReader(client)
	a, err := r.Topic(t.Context(), "t")
	if err != nil || len(a.ID) != 22 || len(a.Partitions) != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(admin.DeleteTopic("t"), admin.CreateTopic("t", &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 1}, false)); err != nil {
		t.Fatal(err)
	}
	if b, err := r.Topic(t.Context(), "t"); err != nil || b.ID == a.ID || len(b.Partitions) != 2 {
		t.Errorf("%+v, %v", b, err)
	}
}

// Guards against a reader that stays broken after an outage: connections that were cut are made again within one call.
func TestFetchAfterCutConnections(t *testing.T) {
	_, client, write := fetchCluster(t)
	write(3, nil)
	r := kafka.NewReader(client)
	for range 3 {
		if _, err := r.Topic(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		if b, err := r.Fetch(t.Context(), "t", 0, 0, 1000); err != nil || len(b.Records) != 3 {
			t.Fatalf("%+v, %v", b, err)
		}
		for _, b := range client.Brokers() {
			if err := b.Close(); err != nil && !errors.Is(err, sarama.ErrNotConnected) && !errors.Is(err, net.ErrClosed) {
				t.Fatal(err)
			}
		}
	}
}
