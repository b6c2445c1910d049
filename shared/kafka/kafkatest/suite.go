package kafkatest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/kafka"
)

// Server is a kind of server that the suite runs against.
type Server int

// The servers that Differences tells apart.
const (
	Apache   Server = iota // Apache Kafka
	Embedded               // the one of knative/local
)

// A Difference is a behaviour in which the two servers differ: what the suite observes of it on each.
type Difference struct {
	What             string // the question that the suite asks
	Apache, Embedded string // the answers
	Why              string // it does not matter to our functions
}

// Differences lists all behaviours within the suite's reach in which the embedded Kafka is known to differ, by the names that the suite uses.
var Differences = map[string]Difference{
	"a topic's name": {
		What: "What becomes of a topic kafkatest/x, whose name Kafka does not allow?", Apache: "refused: invalid topic", Embedded: "made",
		Why: "names come from manifests, which provision checks",
	},
	"a setting's value": {
		What: "What becomes of a topic with retention.ms=x?", Apache: "refused: invalid configuration", Embedded: "made",
		Why: "provision makes the values from numbers",
	},
	"a setting's name": {
		What: "What becomes of a topic with the setting no.such.setting?", Apache: "refused: invalid configuration", Embedded: "made",
		Why: "provision's settings are a fixed list",
	},
	"offset metadata": {
		What: "What becomes of a commit with 4,097 bytes of metadata, one over offset.metadata.max.bytes?", Apache: "refused: metadata too large", Embedded: "taken",
		Why: "shared/kafka and shared/delivery keep metadata below 4,096 bytes themselves",
	},
	"a record without a key": {
		What: "What becomes of a record without a key on a topic with cleanup.policy=compact?", Apache: "refused: invalid record", Embedded: "taken",
		Why: "our topics have the delete policy, and records of ours a key",
	},
	compactedStart: {
		What: "Where does a log begin of which compaction removed the first two records?", Apache: "0", Embedded: "2",
		Why: "what is asked for below is out of range, which readers of ours take for lost, and the event is gone indeed",
	},
	"offsets of an unknown group": {
		What: "What are the committed offsets of a group that never was?", Apache: "-1, -1", Embedded: "refused: group id not found",
		Why: "Admin takes the refusal for no offsets",
	},
}

// compactedStart is the one difference that Compaction looks at, and Run does not.
const compactedStart = "the start of a compacted log"

// Run proves that the Kafka at brokers behaves as our functions rely on. It makes topics and groups of random names and removes them.
func Run(t *testing.T, brokers []string, server Server) {
	s := newSuite(t, brokers, server)
	t.Run("topics", s.topics)
	t.Run("unknown topics", s.unknownTopics)
	t.Run("partitions", s.partitions)
	t.Run("records", s.records)
	t.Run("keys", s.keys)
	t.Run("size limit", s.sizeLimit)
	t.Run("insync replicas", s.insync)
	t.Run("idempotence", s.idempotence)
	t.Run("gaps", s.gaps)
	t.Run("times", s.times)
	t.Run("delete records", s.deleteRecords)
	t.Run("compacted topic", s.compacted)
	t.Run("offsets of a group at rest", s.groupAtRest)
	t.Run("group", s.group)
	for name := range Differences {
		if !s.observed[name] && !t.Failed() && name != compactedStart {
			t.Errorf("difference %q was not looked at", name)
		}
	}
}

type suite struct {
	brokers  []string
	server   Server
	config   *sarama.Config
	client   sarama.Client
	admin    *kafka.Admin
	raw      sarama.ClusterAdmin
	reader   *kafka.Reader
	observed map[string]bool
}

func newSuite(t *testing.T, brokers []string, server Server) *suite {
	t.Helper()
	s := &suite{brokers: brokers, server: server, config: kafka.NewConfig("kafkatest"), observed: map[string]bool{}}
	// What is refused for good is to be seen at once, not after the producer's patience.
	s.config.Producer.Retry.Max, s.config.Metadata.Retry.Max = 3, 3
	s.config.Metadata.Retry.Backoff = 50 * time.Millisecond
	s.config.Consumer.Group.Heartbeat.Interval = 100 * time.Millisecond
	var err error
	if s.client, err = sarama.NewClient(brokers, s.config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { done(t, s.client.Close()) })
	// The client is shared: closing this one would close it.
	if s.raw, err = sarama.NewClusterAdminFromClient(s.client); err != nil {
		t.Fatal(err)
	}
	if s.admin, err = kafka.NewAdmin(brokers, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { done(t, s.admin.Close()) })
	s.reader = kafka.NewReader(s.client)
	return s
}

// differs compares what was observed with what Differences says of this server.
func (s *suite) differs(t *testing.T, name, got string) {
	t.Helper()
	d, known := Differences[name]
	if !known {
		t.Errorf("%q is on no list; got %q", name, got)
		return
	}
	s.observed[name] = true
	want := d.Apache
	if s.server == Embedded {
		want = d.Embedded
	}
	if got != want {
		t.Errorf("difference %q: got %q, the list says %q", name, got, want)
	}
}

// topic makes a topic that ends with the test.
func (s *suite) topic(t *testing.T, partitions int32) string {
	t.Helper()
	name := "kafkatest-" + rand.Text()
	if created, err := s.admin.EnsureTopic(t.Context(), kafka.TopicSpec{Name: name, Partitions: partitions, Replicas: 1, Retention: time.Hour}); err != nil || !created {
		t.Fatalf("topic %s: created %v, %v", name, created, err)
	}
	t.Cleanup(func() {
		if err := s.raw.DeleteTopic(name); err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			t.Errorf("cleaning up: %v", err)
		}
	})
	s.await(t, "the topic in every answer", func() bool {
		_, err := s.reader.Span(t.Context(), name, partitions-1)
		return err == nil
	})
	return name
}

func (s *suite) producer(t *testing.T, change func(*sarama.Config)) sarama.SyncProducer {
	t.Helper()
	c := *s.config
	c.Producer.Partitioner = func(topic string) sarama.Partitioner {
		return orKey{sarama.NewManualPartitioner(topic), sarama.NewMurmur2Partitioner(topic)}
	}
	if change != nil {
		change(&c)
	}
	p, err := sarama.NewSyncProducer(s.brokers, &c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { done(t, p.Close()) })
	return p
}

// orKey places a record by its key, or where it has none by its Partition.
type orKey struct{ manual, key sarama.Partitioner }

func (o orKey) Partition(m *sarama.ProducerMessage, n int32) (int32, error) {
	if m.Key == nil {
		return o.manual.Partition(m, n)
	}
	return o.key.Partition(m, n)
}

func (o orKey) RequiresConsistency() bool { return true }

func (s *suite) send(t *testing.T, p sarama.SyncProducer, topic string, partition int32, values ...string) {
	t.Helper()
	for _, v := range values {
		if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Partition: partition, Value: sarama.StringEncoder(v)}); err != nil {
			t.Fatalf("send to %s/%d: %v", topic, partition, err)
		}
	}
}

// read returns all that the partition holds from the offset on, and what it skipped.
func (s *suite) read(t *testing.T, topic string, partition int32, from int64) (records []*sarama.ConsumerMessage, skipped []kafka.Skip) {
	t.Helper()
	span, err := s.reader.Span(t.Context(), topic, partition)
	if err != nil {
		t.Fatal(err)
	}
	for from < span.End {
		b, err := s.reader.Fetch(t.Context(), topic, partition, from, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if b.Next == from {
			t.Fatalf("%s/%d: nothing at %d, before the end %d", topic, partition, from, span.End)
		}
		records, skipped, from = append(records, b.Records...), append(skipped, b.Skipped...), b.Next
	}
	return records, skipped
}

func values(records []*sarama.ConsumerMessage) string {
	var out []string
	for _, m := range records {
		out = append(out, string(m.Value))
	}
	return strings.Join(out, " ")
}

// stable waits until the topic's only partition is stable up to the offset.
func (s *suite) stable(t *testing.T, topic string, offset int64) {
	t.Helper()
	s.await(t, fmt.Sprint("the stable end ", offset), func() bool {
		span, err := s.reader.Span(t.Context(), topic, 0)
		return err == nil && span.End == offset
	})
}

// await looks again until ok: some of Kafka's answers are true only a moment later on every broker.
func (s *suite) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(60 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func done(t testing.TB, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, sarama.ErrClosedClient) {
		t.Error(err)
	}
}

func want(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: got %v, want %v", what, err, target)
	}
}

// Guards provision: a topic has the settings it was made with, making it again changes nothing, and what cannot be is refused.
func (s *suite) topics(t *testing.T) {
	name := s.topic(t, 3)
	before, err := s.admin.Topic(t.Context(), name)
	if err != nil || len(before.Partitions) != 3 || before.Replicas != 1 || before.MinInsync != 1 || before.RetentionMS != 3_600_000 || before.MaxMessageBytes != kafka.TopicMaxMessageBytes {
		t.Errorf("%+v, %v", before, err)
	}
	created, err := s.admin.EnsureTopic(t.Context(), kafka.TopicSpec{Name: name, Partitions: 6, Replicas: 1})
	if err != nil || created {
		t.Errorf("a second time: created %v, %v", created, err)
	}
	after, err := s.admin.Topic(t.Context(), name)
	slices.Sort(before.Partitions) // they come in no order
	slices.Sort(after.Partitions)
	if err != nil || fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a second time it is %+v, was %+v, %v", after, before, err)
	}
	detail := func(change func(*sarama.TopicDetail)) *sarama.TopicDetail {
		d := &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1, ConfigEntries: map[string]*string{}}
		change(d)
		return d
	}
	text := "x"
	want(t, "more replicas than brokers", s.raw.CreateTopic(name+"-r", detail(func(d *sarama.TopicDetail) { d.ReplicationFactor = 30 }), false), sarama.ErrInvalidReplicationFactor)
	want(t, "no partitions", s.raw.CreateTopic(name+"-p", detail(func(d *sarama.TopicDetail) { d.NumPartitions = 0 }), false), sarama.ErrInvalidPartitions)
	made := func(topic string, change func(*sarama.TopicDetail)) string {
		switch err := s.raw.CreateTopic(topic, detail(change), false); {
		case err == nil:
			done(t, s.raw.DeleteTopic(topic))
			return "made"
		case errors.Is(err, sarama.ErrInvalidTopic):
			return "refused: invalid topic"
		case errors.Is(err, sarama.ErrInvalidConfig):
			return "refused: invalid configuration"
		default:
			return err.Error()
		}
	}
	s.differs(t, "a topic's name", made("kafkatest/x", func(*sarama.TopicDetail) {}))
	s.differs(t, "a setting's value", made(name+"-v", func(d *sarama.TopicDetail) { d.ConfigEntries["retention.ms"] = &text }))
	s.differs(t, "a setting's name", made(name+"-n", func(d *sarama.TopicDetail) { d.ConfigEntries["no.such.setting"] = &text }))

	// The landing log is bound to the id: a topic that was made anew must have another.
	first, err := s.reader.Topic(t.Context(), name)
	if err != nil || len(first.ID) != 22 {
		t.Fatalf("%+v, %v", first, err)
	}
	if err := s.raw.DeleteTopic(name); err != nil {
		t.Fatal(err)
	}
	s.await(t, "the topic's end", func() bool {
		_, err := s.reader.Topic(t.Context(), name)
		return errors.Is(err, sarama.ErrUnknownTopicOrPartition)
	})
	want(t, "delete once more", s.raw.DeleteTopic(name), sarama.ErrUnknownTopicOrPartition)
	s.await(t, "the topic anew", func() bool { // its old data may be on their way out
		created, err := s.admin.EnsureTopic(t.Context(), kafka.TopicSpec{Name: name, Partitions: 2, Replicas: 1})
		return err == nil && created
	})
	var second kafka.Topic
	s.await(t, "the new topic", func() bool {
		second, err = s.reader.Topic(t.Context(), name)
		return err == nil
	})
	if second.ID == first.ID || len(second.Partitions) != 2 {
		t.Errorf("made anew: %+v, was %+v", second, first)
	}
}

// Guards against topics that come into being by being asked for, and the errors for what is not there.
func (s *suite) unknownTopics(t *testing.T) {
	name := "kafkatest-none-" + rand.Text()
	_, err := s.reader.Topic(t.Context(), name)
	want(t, "topic", err, sarama.ErrUnknownTopicOrPartition)
	_, err = s.admin.Topic(t.Context(), name)
	want(t, "describe", err, sarama.ErrUnknownTopicOrPartition)
	_, _, err = s.producer(t, nil).SendMessage(&sarama.ProducerMessage{Topic: name, Value: sarama.StringEncoder("x")})
	want(t, "produce", err, sarama.ErrUnknownTopicOrPartition)
	there := s.topic(t, 1)
	_, err = s.reader.Fetch(t.Context(), there, 7, 0, 1000)
	want(t, "a partition that is not there", err, sarama.ErrUnknownTopicOrPartition)
	topics, err := s.raw.ListTopics()
	if _, born := topics[name]; err != nil || born {
		t.Errorf("born by being asked for: %v, %v", born, err)
	}
}

// Guards a topic that grows under way: the new partitions are empty, the old ones keep what they have, and none can be taken away.
func (s *suite) partitions(t *testing.T) {
	name := s.topic(t, 2)
	s.send(t, s.producer(t, nil), name, 1, "a", "b")
	if err := s.raw.CreatePartitions(name, 4, nil, false); err != nil {
		t.Fatal(err)
	}
	s.await(t, "four partitions", func() bool {
		topic, err := s.reader.Topic(t.Context(), name)
		return err == nil && len(topic.Partitions) == 4
	})
	s.await(t, "a leader of the last", func() bool {
		span, err := s.reader.Span(t.Context(), name, 3)
		return err == nil && span == kafka.Span{}
	})
	if records, _ := s.read(t, name, 1, 0); values(records) != "a b" {
		t.Errorf("got %s", values(records))
	}
	s.send(t, s.producer(t, nil), name, 3, "c")
	if records, _ := s.read(t, name, 3, 0); values(records) != "c" {
		t.Errorf("got %s", values(records))
	}
	err := s.raw.CreatePartitions(name, 3, nil, false)
	if err == nil || !strings.Contains(err.Error(), sarama.ErrInvalidPartitions.Error()) {
		t.Errorf("fewer partitions: %v", err)
	}
}

// Guards events: keys, values and headers come back byte for byte, what is absent is not what is empty, and offsets go up by one, in each way of compressing.
func (s *suite) records(t *testing.T) {
	name := s.topic(t, 1)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	sent := []*sarama.ProducerMessage{
		{Key: sarama.ByteEncoder(all), Value: sarama.ByteEncoder(all), Headers: []sarama.RecordHeader{{Key: []byte("ce_x"), Value: all}, {Key: []byte("ce_x"), Value: []byte("again")}, {Key: []byte("empty"), Value: []byte{}}, {Key: []byte("ü%20"), Value: []byte("ü\x00\xff")}}},
		{Key: sarama.ByteEncoder{}, Value: sarama.ByteEncoder{}},
		{Value: nil, Headers: []sarama.RecordHeader{{Key: []byte("nil")}}},
		{Key: sarama.StringEncoder("k"), Value: sarama.StringEncoder(strings.Repeat("long ", 100_000))},
	}
	offset := int64(0)
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionZSTD, sarama.CompressionGZIP, sarama.CompressionLZ4, sarama.CompressionSnappy} {
		p := s.producer(t, func(c *sarama.Config) {
			c.Producer.Compression, c.Producer.CompressionLevel = codec, sarama.CompressionLevelDefault
		})
		first := offset
		for i, m := range sent {
			c := *m
			c.Topic, c.Timestamp = name, at
			if _, got, err := p.SendMessage(&c); err != nil || got != offset {
				t.Fatalf("%v: record %d got offset %d, want %d, %v", codec, i, got, offset, err)
			}
			offset++
		}
		got, skipped := s.read(t, name, 0, first)
		if len(got) != len(sent) || skipped != nil {
			t.Fatalf("%v: %d records, skipped %v", codec, len(got), skipped)
		}
		for i, m := range got {
			if !same(m.Key, sent[i].Key) || !same(m.Value, sent[i].Value) || !m.Timestamp.Equal(at) || len(m.Headers) != len(sent[i].Headers) {
				t.Errorf("%v: record %d came back with key %.20q, value %.20q, time %v, %d headers", codec, i, m.Key, m.Value, m.Timestamp, len(m.Headers))
				continue
			}
			for j, h := range m.Headers {
				if !bytes.Equal(h.Key, sent[i].Headers[j].Key) || !bytes.Equal(h.Value, sent[i].Headers[j].Value) {
					t.Errorf("%v: record %d, header %d is %q: %q", codec, i, j, h.Key, h.Value)
				}
			}
		}
	}
	// What is in the middle of a batch can be asked for.
	p := s.producer(t, nil)
	if err := p.SendMessages([]*sarama.ProducerMessage{{Topic: name, Value: sarama.StringEncoder("x")}, {Topic: name, Value: sarama.StringEncoder("y")}, {Topic: name, Value: sarama.StringEncoder("z")}}); err != nil {
		t.Fatal(err)
	}
	if records, _ := s.read(t, name, 0, offset+1); values(records) != "y z" {
		t.Errorf("from the middle of a batch: %s", values(records))
	}
	// The end holds nothing yet; what is behind it is not there; the high watermark says which is which.
	span, err := s.reader.Span(t.Context(), name, 0)
	if err != nil || span.Start != 0 || span.End != offset+3 {
		t.Errorf("%+v, %v, want 0 to %d", span, err, offset+3)
	}
	if b, err := s.reader.Fetch(t.Context(), name, 0, span.End, 1000); err != nil || b.Next != span.End || len(b.Records) != 0 || b.Stable != span.End {
		t.Errorf("at the end: %+v, %v", b, err)
	}
	_, err = s.reader.Fetch(t.Context(), name, 0, span.End+1, 1000)
	want(t, "behind the end", err, sarama.ErrOffsetOutOfRange)
	block := s.fetch(t, name, span.End)
	if block.HighWaterMarkOffset != span.End {
		t.Errorf("high watermark %d, want %d", block.HighWaterMarkOffset, span.End)
	}
}

// same takes an absent value for absent only.
func same(got []byte, sent sarama.Encoder) bool {
	if sent == nil {
		return got == nil
	}
	b, err := sent.Encode()
	return err == nil && got != nil && bytes.Equal(got, b)
}

func (s *suite) fetch(t *testing.T, topic string, from int64) *sarama.FetchResponseBlock {
	t.Helper()
	b, err := s.client.Leader(topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	req := &sarama.FetchRequest{Version: 11, MaxWaitTime: 100, MinBytes: 1, MaxBytes: 1 << 20, Isolation: sarama.ReadCommitted, SessionEpoch: -1}
	req.AddBlock(topic, 0, from, 1<<20, -1)
	res, err := b.Fetch(req)
	if err != nil || res.GetBlock(topic, 0) == nil {
		t.Fatalf("fetch: %+v, %v", res, err)
	}
	return res.GetBlock(topic, 0)
}

// Guards the place of a key: Java's murmur2 decides, so that one key lies on one partition whoever produces.
func (s *suite) keys(t *testing.T) {
	name := s.topic(t, 6)
	p := s.producer(t, nil)
	// Key and hash, of Kafka's own UtilsTest.
	for key, hash := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		partition, offset, err := p.SendMessage(&sarama.ProducerMessage{Topic: name, Key: sarama.StringEncoder(key), Value: sarama.StringEncoder("x")})
		if at := hash & 0x7fffffff % 6; err != nil || partition != at {
			t.Errorf("key %s is on %d, want %d, %v", key, partition, at, err)
		}
		if records, _ := s.read(t, name, partition, offset); len(records) == 0 || string(records[0].Key) != key {
			t.Errorf("key %s is not at %d/%d", key, partition, offset)
		}
	}
}

// Guards the size limit: a record beyond the topic's is refused with the error that says so, nothing of it is written, and the next one passes; a changed limit counts
// from then on.
func (s *suite) sizeLimit(t *testing.T) {
	name := s.topic(t, 1)
	p := s.producer(t, func(c *sarama.Config) {
		c.Producer.MaxMessageBytes, c.Producer.Compression = 10<<20, sarama.CompressionNone
	})
	send := func(n int) error {
		_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: name, Value: sarama.ByteEncoder(make([]byte, n))})
		return err
	}
	if err := send(kafka.MaxMessageBytes); err != nil {
		t.Errorf("our largest record: %v", err)
	}
	want(t, "beyond the limit", send(kafka.TopicMaxMessageBytes+1000), sarama.ErrMessageSizeTooLarge)
	if err := send(10); err != nil {
		t.Errorf("the record after it: %v", err)
	}
	if records, skipped := s.read(t, name, 0, 0); len(records) != 2 || skipped != nil {
		t.Errorf("%d records, skipped %v", len(records), skipped)
	}
	limit := "2000"
	err := s.raw.IncrementalAlterConfig(sarama.TopicResource, name, map[string]sarama.IncrementalAlterConfigsEntry{"max.message.bytes": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &limit}}, false)
	if err != nil {
		t.Fatal(err)
	}
	s.await(t, "the lower limit", func() bool { return errors.Is(send(3000), sarama.ErrMessageSizeTooLarge) })
	if info, err := s.admin.Topic(t.Context(), name); err != nil || info.MaxMessageBytes != 2000 {
		t.Errorf("%+v, %v", info, err)
	}
}

// Guards what durability may conclude: min.insync.replicas alone promises no copies. Since Kafka 4.0 it counts for no more than the topic's replicas, so a
// topic with one replica and a minimum of two takes acks=all.
func (s *suite) insync(t *testing.T) {
	name := "kafkatest-" + rand.Text()
	two := "2"
	if err := s.raw.CreateTopic(name, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1, ConfigEntries: map[string]*string{"min.insync.replicas": &two}}, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { done(t, s.raw.DeleteTopic(name)) })
	s.await(t, "a leader", func() bool {
		_, err := s.reader.Span(t.Context(), name, 0)
		return err == nil
	})
	s.send(t, s.producer(t, nil), name, 0, "x")
	info, err := s.admin.Topic(t.Context(), name)
	if err != nil || info.MinInsync != 2 || info.Replicas != 1 {
		t.Errorf("%+v, %v", info, err)
	}
}

// Guards the producer's retries: the same batch sent twice is there once, answered alike, and a batch out of its turn is refused.
func (s *suite) idempotence(t *testing.T) {
	name := s.topic(t, 1)
	b, err := s.client.Leader(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	id, err := b.InitProducerID(&sarama.InitProducerIDRequest{Version: 1})
	if err != nil || id.Err != sarama.ErrNoError {
		t.Fatalf("%+v, %v", id, err)
	}
	send := func(sequence int32, value string) *sarama.ProduceResponseBlock {
		now := time.Now().Truncate(time.Millisecond)
		req := &sarama.ProduceRequest{Version: 7, RequiredAcks: sarama.WaitForAll, Timeout: 5000}
		req.AddBatch(name, 0, &sarama.RecordBatch{
			Version: 2, ProducerID: id.ProducerID, ProducerEpoch: id.ProducerEpoch, FirstSequence: sequence, FirstTimestamp: now, MaxTimestamp: now,
			Records: []*sarama.Record{{Value: []byte(value)}},
		})
		res, err := b.Produce(req)
		if err != nil || res.GetBlock(name, 0) == nil {
			t.Fatalf("%+v, %v", res, err)
		}
		return res.GetBlock(name, 0)
	}
	for _, c := range []struct {
		sequence int32
		value    string
		offset   int64
	}{{0, "a", 0}, {1, "b", 1}, {1, "b", 1}, {0, "a", 0}, {2, "c", 2}} {
		if got := send(c.sequence, c.value); got.Err != sarama.ErrNoError || got.Offset != c.offset {
			t.Errorf("sequence %d: offset %d, %v; want %d", c.sequence, got.Offset, got.Err, c.offset)
		}
	}
	want(t, "sequence 7 after 2", send(7, "d").Err, sarama.ErrOutOfOrderSequenceNumber)
	if records, _ := s.read(t, name, 0, 0); values(records) != "a b c" {
		t.Errorf("got %s", values(records))
	}
}

// Guards positions in a log with transactions: a reader of committed records gets neither aborted ones nor markers, and each offset is accounted for; an open
// transaction holds the stable end back.
func (s *suite) gaps(t *testing.T) {
	name := s.topic(t, 1)
	transactional := s.producer(t, func(c *sarama.Config) { c.Producer.Transaction.ID = "kafkatest-" + rand.Text() })
	plain := s.producer(t, nil)
	// The marker is written after the answer: what follows must wait for it, or it may come before.
	in := func(stable int64, end func() error, values ...string) {
		if err := transactional.BeginTxn(); err != nil {
			t.Fatal(err)
		}
		s.send(t, transactional, name, 0, values...)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		s.stable(t, name, stable)
	}
	s.send(t, plain, name, 0, "a")           // 0
	in(4, transactional.CommitTxn, "b", "c") // 1 2, marker 3
	in(7, transactional.AbortTxn, "x", "y")  // 4 5, marker 6
	s.send(t, plain, name, 0, "d")           // 7
	in(11, func() error {
		s.send(t, plain, name, 0, "f") // 9, behind an open transaction
		span, err := s.reader.Span(t.Context(), name, 0)
		if err != nil || span.End != 8 {
			t.Errorf("stable end %+v, %v, want 8", span, err)
		}
		return transactional.CommitTxn()
	}, "e") // 8, marker 10
	records, skipped := s.read(t, name, 0, 0)
	if values(records) != "a b c d e f" {
		t.Errorf("got %s", values(records))
	}
	if got := fmt.Sprint(skipped); got != "[{3 3 control} {4 5 aborted} {6 6 control} {10 10 control}]" {
		t.Errorf("skipped %s", got)
	}
}

// Guards replay of a time range: the offset of a time is the first record's not before it, and of a time after all records there is none.
func (s *suite) times(t *testing.T) {
	name := s.topic(t, 1)
	p := s.producer(t, nil)
	base := time.Now().Add(-time.Minute).Truncate(time.Second)
	for i := range 5 {
		if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: name, Timestamp: base.Add(time.Duration(i) * time.Second), Value: sarama.StringEncoder("x")}); err != nil {
			t.Fatal(err)
		}
	}
	for after, offset := range map[time.Duration]int64{-time.Hour: 0, 0: 0, time.Millisecond: 1, 3 * time.Second: 3, 4 * time.Second: 4, 4*time.Second + time.Millisecond: -1} {
		if got, err := s.client.GetOffset(name, 0, base.Add(after).UnixMilli()); err != nil || got != offset {
			t.Errorf("offset of %v is %d, want %d, %v", after, got, offset, err)
		}
	}
}

// Guards lost ranges: what was deleted is out of range for a reader, which is told where the log starts now; other partitions keep theirs.
func (s *suite) deleteRecords(t *testing.T) {
	name := s.topic(t, 2)
	p := s.producer(t, nil)
	for i := range int32(2) {
		s.send(t, p, name, i, "a", "b", "c", "d", "e")
	}
	if err := s.raw.DeleteRecords(name, map[int32]int64{0: 3}); err != nil {
		t.Fatal(err)
	}
	for from := range int64(3) {
		_, err := s.reader.Fetch(t.Context(), name, 0, from, 1000)
		want(t, fmt.Sprint("below the start, at ", from), err, sarama.ErrOffsetOutOfRange)
	}
	if span, err := s.reader.Span(t.Context(), name, 0); err != nil || span.Start != 3 || span.End != 5 {
		t.Errorf("%+v, %v", span, err)
	}
	if records, skipped := s.read(t, name, 0, 3); values(records) != "d e" || skipped != nil {
		t.Errorf("got %s, skipped %v", values(records), skipped)
	}
	if records, _ := s.read(t, name, 1, 0); values(records) != "a b c d e" {
		t.Errorf("the other partition: %s", values(records))
	}
	err := s.raw.DeleteRecords(name, map[int32]int64{0: 50})
	if err == nil || !strings.Contains(err.Error(), sarama.ErrOffsetOutOfRange.Error()) {
		t.Errorf("beyond the end: %v", err)
	}
	if err := s.raw.DeleteRecords(name, map[int32]int64{0: -1}); err != nil { // all
		t.Fatal(err)
	}
	if span, err := s.reader.Span(t.Context(), name, 0); err != nil || span.Start != 5 || span.End != 5 {
		t.Errorf("all deleted: %+v, %v", span, err)
	}
	s.send(t, p, name, 0, "f")
	if records, _ := s.read(t, name, 0, 5); values(records) != "f" || records[0].Offset != 5 {
		t.Errorf("offsets do not go on: %s", values(records))
	}
}

// compactedTopic makes a topic that is compacted as soon as the server may.
func (s *suite) compactedTopic(t *testing.T) string {
	t.Helper()
	name := "kafkatest-" + rand.Text()
	set := map[string]*string{}
	for key, value := range map[string]string{"cleanup.policy": "compact", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01"} {
		set[key] = &value
	}
	if err := s.raw.CreateTopic(name, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1, ConfigEntries: set}, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { done(t, s.raw.DeleteTopic(name)) })
	s.await(t, "the topic in every answer", func() bool {
		_, err := s.reader.Span(t.Context(), name, 0)
		return err == nil
	})
	return name
}

// Guards foreign topics that functions read: a topic may have the compact policy, and takes records with keys.
func (s *suite) compacted(t *testing.T) {
	name := s.compactedTopic(t)
	p := s.producer(t, func(c *sarama.Config) { c.Producer.Retry.Max = 1 })
	if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: name, Key: sarama.StringEncoder("k"), Value: sarama.StringEncoder("a")}); err != nil {
		t.Fatal(err)
	}
	_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: name, Value: sarama.StringEncoder("b")})
	switch {
	case err == nil:
		s.differs(t, "a record without a key", "taken")
	case errors.Is(err, sarama.ErrInvalidRecord):
		s.differs(t, "a record without a key", "refused: invalid record")
	default:
		t.Error(err)
	}
	if records, _ := s.read(t, name, 0, 0); len(records) == 0 || string(records[0].Value) != "a" {
		t.Errorf("got %s", values(records))
	}
}

// Compaction proves that positions stay right on a topic that the Kafka at brokers compacted: what remains of each key is its newest record, at the offset that it had, and a reader is told of each
// offset that holds none any more. now has the server compact; nil where it does so by itself within a minute.
func Compaction(t *testing.T, brokers []string, server Server, now func()) {
	s := newSuite(t, brokers, server)
	name, first := s.compactedTopic(t), s.compactedTopic(t)
	p := s.producer(t, nil)
	// The segment that is written to is never compacted: a record of another time begins a new one.
	at := time.Now().Add(-time.Hour)
	send := func(topic, key, value string) {
		t.Helper()
		m := &sarama.ProducerMessage{Topic: topic, Timestamp: at, Key: sarama.StringEncoder(key)}
		if value != "" {
			m.Value = sarama.StringEncoder(value)
		}
		if _, _, err := p.SendMessage(m); err != nil {
			t.Fatal(err)
		}
	}
	for i, key := range []string{"z", "a", "b", "a", "c", "b", "a"} {
		send(name, key, fmt.Sprint(key, i))
	}
	send(name, "c", "") // a tombstone, which stays for a day
	for range 3 {
		send(first, "a", "a")
	}
	at = time.Now()
	send(name, "d", "d8")
	send(first, "d", "d")
	if now != nil {
		now()
	}
	seen := func(records []*sarama.ConsumerMessage) string {
		var out []string
		for _, m := range records {
			out = append(out, fmt.Sprintf("%d:%s", m.Offset, m.Value))
		}
		return strings.Join(out, " ")
	}
	var records []*sarama.ConsumerMessage
	var skipped []kafka.Skip
	s.await(t, "compaction", func() bool {
		records, skipped = s.read(t, name, 0, 0)
		return len(records) < 9
	})
	if got := seen(records); got != "0:z0 5:b5 6:a6 7: 8:d8" || records[3].Value != nil {
		t.Errorf("what remains: %s", got)
	}
	if got := fmt.Sprint(skipped); got != "[{1 4 absent}]" {
		t.Errorf("skipped %s", got)
	}
	if span, err := s.reader.Span(t.Context(), name, 0); err != nil || span.Start != 0 || span.End != 9 {
		t.Errorf("%+v, %v", span, err)
	}
	if records, _ := s.read(t, name, 0, 2); seen(records) != "5:b5 6:a6 7: 8:d8" {
		t.Errorf("from an offset that holds nothing any more: %s", seen(records))
	}
	var span kafka.Span
	s.await(t, "compaction of the first records", func() bool {
		var err error
		if span, err = s.reader.Span(t.Context(), first, 0); err != nil {
			t.Fatal(err)
		}
		records, _ = s.read(t, first, 0, span.Start)
		return len(records) == 2
	})
	s.differs(t, compactedStart, fmt.Sprint(span.Start))
}

// committed shows the group's offsets with their metadata.
func (s *suite) committed(t *testing.T, group, topic string, partitions ...int32) string {
	t.Helper()
	res, err := s.raw.ListConsumerGroupOffsets(group, map[string][]int32{topic: partitions})
	if errors.Is(err, sarama.ErrGroupIDNotFound) || err == nil && errors.Is(res.Err, sarama.ErrGroupIDNotFound) {
		return "refused: group id not found"
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range partitions {
		b := res.GetBlock(topic, p)
		if b == nil || b.Err != sarama.ErrNoError {
			t.Fatalf("offset of %s/%d: %+v", topic, p, b)
		}
		out = append(out, strings.TrimSpace(fmt.Sprint(b.Offset, " ", b.Metadata)))
	}
	return strings.Join(out, ", ")
}

func (s *suite) commit(group, topic string, offset int64, metadata string) error {
	res, err := s.raw.AlterConsumerGroupOffsets(group, map[string]map[int32]sarama.OffsetAndMetadata{topic: {0: {Offset: offset, LeaderEpoch: -1, Metadata: metadata}}}, nil)
	if err != nil {
		return err
	}
	if kerr := res.Errors[topic][0]; kerr != sarama.ErrNoError {
		return kerr
	}
	return nil
}

// Guards the start of a Trigger's group: offsets can be committed where no member ever was, are there with their metadata, once, and a group can be removed.
func (s *suite) groupAtRest(t *testing.T) {
	name, group := s.topic(t, 2), "kafkatest-"+rand.Text()
	s.differs(t, "offsets of an unknown group", s.committed(t, group, name, 0, 1))
	err := s.admin.GroupsReady(t.Context(), []kafka.GroupTopic{{Group: group, Topic: name}})
	if err == nil {
		t.Error("an unknown group is ready")
	}
	s.send(t, s.producer(t, nil), name, 0, "a", "b", "c")
	if err := s.commit(group, name, 2, "m"); err != nil {
		t.Fatal(err)
	}
	if got := s.committed(t, group, name, 0, 1); got != "2 m, -1" {
		t.Errorf("committed %s", got)
	}
	started, err := s.admin.EnsureStart(t.Context(), kafka.GroupTopic{Group: group, Topic: name})
	if err != nil || !slices.Equal(started, []int32{1}) {
		t.Errorf("started %v, %v: the one that had an offset is to keep it", started, err)
	}
	if got := s.committed(t, group, name, 0, 1); !strings.HasPrefix(got, "2 m, 0 topic=") { // of which topic it is
		t.Errorf("committed %s", got)
	}
	if err := s.commit(group, name, 1, strings.Repeat("m", 4096)); err != nil {
		t.Errorf("metadata of 4096 bytes: %v", err)
	}
	got := "taken"
	if err := s.commit(group, name, 3, strings.Repeat("m", 4097)); errors.Is(err, sarama.ErrOffsetMetadataTooLarge) {
		got = "refused: metadata too large"
	} else if err != nil {
		got = "another error: " + err.Error()
	}
	s.differs(t, "offset metadata", got)
	if err := s.raw.DeleteConsumerGroup(group); err != nil {
		t.Fatal(err)
	}
	s.differs(t, "offsets of an unknown group", s.committed(t, group, name, 0, 1))
	want(t, "remove once more", s.raw.DeleteConsumerGroup(group), sarama.ErrGroupIDNotFound)
}

// member is a group's member that reports what it holds.
type member struct {
	claims  chan []int32
	session chan sarama.ConsumerGroupSession
	leave   context.CancelFunc
	ended   chan error
}

func (m *member) Setup(s sarama.ConsumerGroupSession) error {
	for _, partitions := range s.Claims() {
		p := slices.Clone(partitions)
		slices.Sort(p)
		m.claims <- p
	}
	if len(s.Claims()) == 0 {
		m.claims <- nil
	}
	m.session <- s
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *member) ConsumeClaim(s sarama.ConsumerGroupSession, _ sarama.ConsumerGroupClaim) error {
	<-s.Context().Done()
	return nil
}

// join makes a member that stays until leave.
func (s *suite) join(t *testing.T, group, topic string) *member {
	t.Helper()
	g, err := sarama.NewConsumerGroup(s.brokers, group, s.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	m := &member{claims: make(chan []int32, 100), session: make(chan sarama.ConsumerGroupSession, 100), ended: make(chan error, 1)}
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			err = g.Consume(ctx, []string{topic}, m)
		}
		m.ended <- errors.Join(err, g.Close())
	}()
	left := false
	m.leave = func() {
		if left {
			return
		}
		left = true
		cancel()
		if err := <-m.ended; err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, sarama.ErrClosedConsumerGroup) {
			t.Errorf("the member ended with %v", err)
		}
	}
	t.Cleanup(m.leave)
	return m
}

// holds waits until the member holds n partitions.
func (m *member) holds(t *testing.T, n int) (partitions []int32, session sarama.ConsumerGroupSession) {
	t.Helper()
	limit := time.NewTimer(60 * time.Second)
	defer limit.Stop()
	for {
		select {
		case p := <-m.claims:
			session = <-m.session
			if len(p) == n {
				return p, session
			}
		case <-limit.C:
			t.Fatalf("the member does not hold %d partitions within a minute", n)
		}
	}
}

// Guards Kafka intake: members share the partitions, commits of the current generation are kept with their metadata, those of an older one are refused, a member that
// leaves hands its partitions over, and while members are there nobody else moves the group's offsets.
func (s *suite) group(t *testing.T) {
	name, group := s.topic(t, 4), "kafkatest-"+rand.Text()
	s.send(t, s.producer(t, nil), name, 0, "a", "b", "c")
	first := s.join(t, group, name)
	_, old := first.holds(t, 4)
	old.MarkOffset(name, 0, 2, "attempts")
	old.Commit()
	if got := s.committed(t, group, name, 0, 1); got != "2 attempts, -1" {
		t.Errorf("committed %s", got)
	}
	want(t, "commit from outside while there are members", s.commit(group, name, 1, ""), sarama.ErrUnknownMemberId)
	want(t, "remove a group with members", s.raw.DeleteConsumerGroup(group), sarama.ErrNonEmptyGroup)
	second := s.join(t, group, name)
	p2, newer := second.holds(t, 2)
	p1, _ := first.holds(t, 2)
	if both := append(slices.Clone(p1), p2...); len(both) != 4 || slices.Equal(p1, p2) {
		t.Errorf("shared as %v and %v", p1, p2)
	}
	// A commit of the generation before is refused and changes nothing.
	b, err := s.client.Coordinator(group)
	if err != nil {
		t.Fatal(err)
	}
	req := &sarama.OffsetCommitRequest{Version: 5, ConsumerGroup: group, ConsumerGroupGeneration: old.GenerationID(), ConsumerID: old.MemberID(), RetentionTime: -1}
	req.AddBlock(name, 0, 1, 0, "late")
	res, err := b.CommitOffset(req)
	if err != nil || res.Errors[name][0] != sarama.ErrIllegalGeneration {
		t.Errorf("late commit: %+v, %v", res, err)
	}
	if newer.GenerationID() <= old.GenerationID() {
		t.Errorf("generation %d after %d", newer.GenerationID(), old.GenerationID())
	}
	first.leave()
	_, session := second.holds(t, 4)
	session.MarkOffset(name, 0, 3, "")
	session.Commit()
	second.leave()
	if got := s.committed(t, group, name, 0); got != "3" {
		t.Errorf("committed %s", got)
	}
	s.await(t, "the group empty", func() bool { return s.commit(group, name, 0, "back") == nil })
	if got := s.committed(t, group, name, 0); got != "0 back" {
		t.Errorf("set back to %s", got)
	}
	if err := s.raw.DeleteConsumerGroup(group); err != nil {
		t.Error(err)
	}
}

// Keep writes what a restart must not lose and returns a check of it, for afterwards: records, a log's start, an aborted transaction, added partitions, a changed setting,
// topic ids, a deleted topic's end, committed offsets with metadata, and a producer's sequence. The topics end with t, which the server has to outlive.
//
// Where the server was killed, the start that DeleteRecords moved may be the old one again, with the records: Kafka itself writes it down once a minute only.
func Keep(t *testing.T, brokers []string, server Server) (check func(t *testing.T, killed bool)) {
	s := newSuite(t, brokers, server)
	name, gone, group := s.topic(t, 1), s.topic(t, 1), "kafkatest-"+rand.Text()
	p := s.producer(t, nil)
	s.send(t, p, name, 0, "a", "b", "c", "d")
	transactional := s.producer(t, func(c *sarama.Config) { c.Producer.Transaction.ID = group })
	for i, abort := range []bool{true, false} {
		if err := transactional.BeginTxn(); err != nil {
			t.Fatal(err)
		}
		s.send(t, transactional, name, 0, fmt.Sprint("aborted:", abort))
		end := transactional.CommitTxn
		if abort {
			end = transactional.AbortTxn
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		s.stable(t, name, int64(6+2*i))
	}
	limit := "500000"
	if err := errors.Join(
		s.raw.DeleteRecords(name, map[int32]int64{0: 2}),
		s.raw.CreatePartitions(name, 3, nil, false),
		s.raw.IncrementalAlterConfig(sarama.TopicResource, name, map[string]sarama.IncrementalAlterConfigsEntry{"max.message.bytes": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &limit}}, false),
		s.raw.DeleteTopic(gone),
		s.commit(group, name, 3, "attempts"),
	); err != nil {
		t.Fatal(err)
	}
	var before kafka.TopicInfo
	s.await(t, "the changed topic", func() bool {
		var err error
		before, err = s.admin.Topic(t.Context(), name)
		return err == nil && len(before.Partitions) == 3 && before.MaxMessageBytes == 500_000
	})
	return func(t *testing.T, killed bool) {
		after := newSuite(t, brokers, server)
		found, err := after.admin.Topic(t.Context(), name)
		slices.Sort(found.Partitions)
		slices.Sort(before.Partitions)
		if err != nil || fmt.Sprint(found) != fmt.Sprint(before) || len(found.Partitions) != 3 || found.MaxMessageBytes != 500_000 {
			t.Errorf("topic before %+v, after %+v, %v", before, found, err)
		}
		_, err = after.reader.Topic(t.Context(), gone)
		want(t, "a deleted topic", err, sarama.ErrUnknownTopicOrPartition)
		span, err := after.reader.Span(t.Context(), name, 0)
		if err != nil || span.Start != 2 && (!killed || span.Start != 0) || span.End < 8 {
			t.Errorf("%+v, %v", span, err)
		}
		if span.Start == 2 {
			_, err = after.reader.Fetch(t.Context(), name, 0, 1, 1000)
			want(t, "below the start", err, sarama.ErrOffsetOutOfRange)
		}
		s.send(t, p, name, 0, "e") // the same producer goes on
		records, skipped := after.read(t, name, 0, 2)
		if values(records) != "c d aborted:false e" || fmt.Sprint(skipped) != "[{4 4 aborted} {5 5 control} {7 7 control}]" {
			t.Errorf("got %s, skipped %v", values(records), skipped)
		}
		if got := after.committed(t, group, name, 0); got != "3 attempts" {
			t.Errorf("committed %s", got)
		}
	}
}
