package drain_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/parquet-go/parquet-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/functions/load-lake/internal/drain"
	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

const bucket = "lake"

// lake is a Kafka and an object store in the process, with a topic.
type lake struct {
	t       testing.TB
	brokers []string
	store   func(attempts int) objectstore.Config
	client  sarama.Client
	admin   sarama.ClusterAdmin
	s3      *objectstoretest.Server // nil where the store is a real one
	topic   string
	logs    logs
	now     time.Time
}

func newLake(t testing.TB, topic string, partitions int32) *lake {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s3 := objectstoretest.NewServer(bucket)
	t.Cleanup(s3.Close)
	l := &lake{t: t, brokers: c.ListenAddrs(), topic: topic, s3: s3}
	l.store = func(attempts int) objectstore.Config { return s3.Config(bucket, attempts) }
	l.open()
	return l
}

// open connects to Kafka.
func (l *lake) open() {
	l.t.Helper()
	l.now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	l.client = l.connect()
	var err error
	if l.admin, err = sarama.NewClusterAdminFromClient(l.client); err != nil {
		l.t.Fatal(err)
	}
}

// logs is a buffer for concurrent loggers.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func config() *sarama.Config {
	c := kafka.NewConfig("test")
	c.Producer.Partitioner = sarama.NewManualPartitioner
	return c
}

func (l *lake) connect() sarama.Client {
	l.t.Helper()
	c, err := sarama.NewClient(l.brokers, config())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			l.t.Error(err)
		}
	})
	return c
}

func (l *lake) bucket(attempts int) *objectstore.Bucket {
	l.t.Helper()
	b, err := objectstore.Open(l.store(attempts))
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

// message returns a good event as a record.
func message(topic string, partition int32, n int) *sarama.ProducerMessage {
	e := event.Event{}
	e.SetSpecVersion("1.0")
	e.SetID(fmt.Sprint(n))
	e.SetSource("/test")
	e.SetType("PageView")
	e.SetDataContentType("application/json")
	e.DataEncoded = fmt.Appendf(nil, ` {"n": %d.0, "text":"\u00fc"}`, n)
	if err := event.Derive(&e, time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)); err != nil {
		panic(err)
	}
	m, err := kafka.Encode(topic, &e)
	if err != nil {
		panic(err)
	}
	return place(m, partition)
}

func place(m *sarama.ProducerMessage, partition int32) *sarama.ProducerMessage {
	m.Partition = partition
	m.Timestamp = time.Date(2026, 11, 20, 23, 59, 0, 0, time.UTC)
	return m
}

// produce writes the messages, in batches as the producer makes them.
func (l *lake) produce(ms ...*sarama.ProducerMessage) {
	l.t.Helper()
	p, err := sarama.NewSyncProducerFromClient(l.client)
	if err != nil {
		l.t.Fatal(err)
	}
	defer p.Close()
	if err := p.SendMessages(ms); err != nil {
		l.t.Fatal(err)
	}
}

// events produces n good events, spread over the partitions, with numbers from first on.
func (l *lake) events(first, n int, partitions int32) {
	l.t.Helper()
	var ms []*sarama.ProducerMessage
	for i := first; i < first+n; i++ {
		ms = append(ms, message(l.topic, int32(i)%partitions, i))
	}
	l.produce(ms...)
}

// deleteRecords makes Kafka forget what lies before the offset, as retention does.
func (l *lake) deleteRecords(partition int32, before int64) {
	l.t.Helper()
	if err := l.admin.DeleteRecords(l.topic, map[int32]int64{partition: before}); err != nil {
		l.t.Fatal(err)
	}
}

// remove deletes the topic.
func (l *lake) remove() {
	l.t.Helper()
	if err := l.admin.DeleteTopic(l.topic); err != nil {
		l.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; { // a real cluster deletes in the background
		d, err := l.admin.DescribeTopics([]string{l.topic})
		if err != nil || time.Now().After(deadline) {
			l.t.Fatalf("deleting: %v", err)
		}
		if len(d) == 1 && errors.Is(d[0].Err, sarama.ErrUnknownTopicOrPartition) {
			return
		}
	}
}

// recreate deletes the topic, where it is there, and makes it anew.
func (l *lake) recreate(partitions int32) {
	l.t.Helper()
	if err := l.admin.DeleteTopic(l.topic); err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		l.t.Fatal(err)
	}
	// A real cluster deletes in the background.
	for deadline := time.Now().Add(20 * time.Second); ; {
		err := l.admin.CreateTopic(l.topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}, false)
		if err == nil {
			break
		}
		if !errors.Is(err, sarama.ErrTopicAlreadyExists) || time.Now().After(deadline) {
			l.t.Fatal(err)
		}
	}
	if err := l.client.RefreshMetadata(l.topic); err != nil {
		l.t.Fatal(err)
	}
}

// transaction writes the messages in one transaction, and commits or aborts it.
func (l *lake) transaction(commit bool, ms ...*sarama.ProducerMessage) {
	l.t.Helper()
	c := config()
	c.Producer.Transaction.ID = "test-transaction"
	p, err := sarama.NewSyncProducer(l.brokers, c)
	if err != nil {
		l.t.Fatal(err)
	}
	defer p.Close()
	if err := p.BeginTxn(); err != nil {
		l.t.Fatal(err)
	}
	if err := p.SendMessages(ms); err != nil {
		l.t.Fatal(err)
	}
	end := p.CommitTxn
	if !commit {
		end = p.AbortTxn
	}
	if err := end(); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lake) settings() drain.Settings {
	return drain.Settings{Topic: l.topic, Kind: landing.KindRaw}
}

func (l *lake) drainer(s drain.Settings, store drain.Store) *drain.Drainer {
	l.t.Helper()
	contracts, err := contract.Embedded()
	if err != nil {
		l.t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(&l.logs, nil))
	return drain.New(s, kafka.NewReader(l.client), store, contracts, func() time.Time { return l.now }, logger, nil)
}

func always() bool { return true }

// drain drains by one drainer and fails the test on an error.
func (l *lake) drain() drain.Result {
	l.t.Helper()
	r, err := l.drainer(l.settings(), l.bucket(1)).Drain(l.t.Context(), always)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// row is what the tests look at of a row.
type row struct {
	Partition int32   `parquet:"kafka_partition"`
	Offset    int64   `parquet:"kafka_offset"`
	Root      *string `parquet:"root_id,optional"`
	Type      *string `parquet:"event_type,optional"`
	ID        *string `parquet:"id,optional"`
	Headers   *string `parquet:"kafka_headers,optional"`
	Payload   []byte  `parquet:"payload,optional"`
}

// landed is what the log says and its objects hold.
type landed struct {
	entries []landing.Entry
	rows    []row
	skipped map[string]int64 // offsets by reason
	lost    map[string]int64
	next    map[int32]int64
}

// landed reads the log of the topic id and all that it names, and fails the test unless every offset is there exactly once, each object is as
// its entry says, and no two entries name one object.
func (l *lake) landed(topicID string) landed {
	l.t.Helper()
	ctx := context.Background()
	b := l.bucket(1)
	out := landed{skipped: map[string]int64{}, lost: map[string]int64{}, next: map[int32]int64{}}
	type position struct {
		partition int32
		offset    int64
	}
	seen := map[position]string{}
	mark := func(partition int32, offset int64, as string) {
		p := position{partition, offset}
		if was, ok := seen[p]; ok {
			l.t.Errorf("%d/%d is %s and %s", partition, offset, was, as)
		}
		seen[p] = as
	}
	named := map[string]bool{}
	err := landing.Open(b, l.topic, topicID).After(ctx, 0, func(e landing.Entry) error {
		out.entries = append(out.entries, e)
		for _, o := range e.Objects {
			if named[o.Key] {
				l.t.Errorf("%s is named twice", o.Key)
			}
			named[o.Key] = true
			body, err := b.Get(ctx, o.Key)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(body)
			if int64(len(body)) != o.Bytes || hex.EncodeToString(sum[:]) != o.SHA256 {
				l.t.Errorf("%s is not what the log says", o.Key)
			}
			rows, err := parquet.Read[row](bytes.NewReader(body), int64(len(body)))
			if err != nil {
				return fmt.Errorf("%s: %w", o.Key, err)
			}
			if int64(len(rows)) != o.Rows {
				l.t.Errorf("%s has %d rows, not %d", o.Key, len(rows), o.Rows)
			}
			for _, r := range rows {
				mark(r.Partition, r.Offset, "in "+o.Key)
			}
			out.rows = append(out.rows, rows...)
		}
		for _, p := range e.Partitions {
			if p.Rewound != nil { // from here on the offsets count anew
				for o := p.From; o < *p.Rewound; o++ {
					delete(seen, position{p.Partition, o})
				}
			}
			for _, s := range p.Skipped {
				out.skipped[s.Reason] += s.Last - s.First + 1
				for o := s.First; o <= s.Last; o++ {
					mark(p.Partition, o, "skipped")
				}
			}
			for _, s := range p.Lost {
				out.lost[s.Reason] += s.Last - s.First + 1
				for o := s.First; o <= s.Last; o++ {
					mark(p.Partition, o, "lost")
				}
			}
			out.next[p.Partition] = p.Next
		}
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	var all int64
	for p, n := range out.next {
		all += n
		for o := range n {
			if _, ok := seen[position{p, o}]; !ok {
				l.t.Errorf("%d/%d is nowhere", p, o)
			}
		}
	}
	if all != int64(len(seen)) {
		l.t.Errorf("%d offsets are accounted for, the log goes over %d", len(seen), all)
	}
	slices.SortFunc(out.rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return out
}

// id is the topic's id.
func (l *lake) id() string {
	l.t.Helper()
	topic, err := kafka.NewReader(l.client).Topic(context.Background(), l.topic)
	if err != nil {
		l.t.Fatal(err)
	}
	return topic.ID
}

// ids returns the ids of the events landed, in order of number.
func (x landed) ids() string {
	var ids []int
	for _, r := range x.rows {
		if r.ID != nil {
			var n int
			fmt.Sscan(*r.ID, &n)
			ids = append(ids, n)
		}
	}
	slices.Sort(ids)
	var b strings.Builder
	for _, n := range ids {
		fmt.Fprint(&b, n, " ")
	}
	return strings.TrimSpace(b.String())
}
