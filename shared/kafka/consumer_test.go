package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// produceTo writes n records to one partition.
func produceTo(t *testing.T, brokers []string, topic string, partition int32, n int) {
	t.Helper()
	config := NewConfig("test")
	config.Producer.Partitioner = sarama.NewManualPartitioner
	p, err := sarama.NewSyncProducer(brokers, config)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := range n {
		if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Partition: partition, Value: sarama.StringEncoder(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
}

// committed returns the group's committed offsets, -1 where there is none.
func committed(t *testing.T, brokers []string, topic, group string) map[int32]int64 {
	t.Helper()
	a, err := NewAdmin(brokers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	res, err := a.admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0, 1}})
	if err != nil {
		t.Fatal(err)
	}
	out := map[int32]int64{}
	for p, b := range res.Blocks[topic] {
		out[p] = b.Offset
	}
	return out
}

// runConsumer runs a consumer until the returned function is called, which waits for its end.
func runConsumer(t *testing.T, brokers []string, topic string, o ConsumerOptions, h MessageHandler) (c *Consumer, stop func()) {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	o.Commit = 10 * time.Millisecond
	o.Config = func(s *sarama.Config) {
		s.Consumer.Group.Heartbeat.Interval = 50 * time.Millisecond
		s.Consumer.Offsets.Retry.Max = 1
	}
	c = NewConsumer(brokers, topic, "g", h, o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the consumer does not end")
		}
	})
	t.Cleanup(stop)
	return c, stop
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

// onCommit calls seen for each partition of each commit that arrives; a false result breaks the connection in place of committing.
func onCommit(c *kfake.Cluster, seen func(partition int32, offset int64) bool) {
	c.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		ok := true
		for _, topic := range r.(*kmsg.OffsetCommitRequest).Topics {
			for _, p := range topic.Partitions {
				ok = seen(p.Partition, p.Offset) && ok
			}
		}
		if !ok {
			return nil, errors.New("refused by the test"), true
		}
		return nil, nil, false
	})
}

// Guards the commit: events that finish in another order must not carry it past the oldest unfinished one, which is why everything from that one on comes again.
func TestConsumerCommitsBehindTheOldestUnfinished(t *testing.T) {
	brokers, _ := newCluster(t, "t")
	produceTo(t, brokers, "t", 0, 10)
	finished := make(chan int64, 10)
	_, stop := runConsumer(t, brokers, "t", ConsumerOptions{}, func(_ context.Context, m Message) bool {
		if m.Offset == 3 {
			<-m.Stopping
			return false
		}
		finished <- m.Offset
		return true
	})
	for range 9 {
		receive(t, finished)
	}
	stop()
	if got := committed(t, brokers, "t", "g")[0]; got != 3 {
		t.Fatalf("committed %d with offset 3 unfinished", got)
	}
	_, stop = runConsumer(t, brokers, "t", ConsumerOptions{}, func(_ context.Context, m Message) bool { finished <- m.Offset; return true })
	again := map[int64]bool{}
	for range 7 {
		again[receive(t, finished)] = true
	}
	stop()
	if !maps.Equal(again, map[int64]bool{3: true, 4: true, 5: true, 6: true, 7: true, 8: true, 9: true}) {
		t.Errorf("came again: %v", again)
	}
	if got := committed(t, brokers, "t", "g")[0]; got != 10 {
		t.Errorf("committed %d of 10", got)
	}
}

// Guards a crash between the handler's success and the commit: without the commit everything comes again.
func TestConsumerRedeliversWithoutCommit(t *testing.T) {
	brokers, cluster := newCluster(t, "t")
	var refuse atomic.Bool
	refuse.Store(true)
	onCommit(cluster, func(int32, int64) bool { return !refuse.Load() })
	produceTo(t, brokers, "t", 1, 5)
	finished := make(chan int64, 100)
	h := func(_ context.Context, m Message) bool { finished <- m.Offset; return true }
	_, stop := runConsumer(t, brokers, "t", ConsumerOptions{}, h)
	for range 5 {
		receive(t, finished)
	}
	stop()
	if got := committed(t, brokers, "t", "g")[1]; got != -1 {
		t.Fatalf("committed %d", got)
	}
	for len(finished) > 0 {
		<-finished
	}
	refuse.Store(false)
	_, stop = runConsumer(t, brokers, "t", ConsumerOptions{}, h)
	again := map[int64]bool{}
	for len(again) < 5 {
		again[receive(t, finished)] = true
	}
	stop()
	if got := committed(t, brokers, "t", "g")[1]; got != 5 {
		t.Errorf("committed %d of 5", got)
	}
}

// Guards a rebalance: what the first member had in hand unfinished is not committed by it, and is handled by whoever has the partition then.
func TestConsumerRebalance(t *testing.T) {
	brokers, _ := newCluster(t, "t")
	produceTo(t, brokers, "t", 0, 5)
	produceTo(t, brokers, "t", 1, 5)
	held := make(chan string, 10)
	var open atomic.Bool
	finished := make(chan string, 100)
	handler := func(name string) MessageHandler {
		return func(_ context.Context, m Message) bool {
			if !open.Load() {
				held <- fmt.Sprint(m.Partition, "@", m.Offset)
				<-m.Stopping // as a subscriber's answer that does not come
				open.Store(true)
				return false
			}
			finished <- fmt.Sprint(m.Partition, "@", m.Offset, " ", name)
			return true
		}
	}
	_, stopA := runConsumer(t, brokers, "t", ConsumerOptions{}, handler("a"))
	for range 10 {
		receive(t, held)
	}
	_, stopB := runConsumer(t, brokers, "t", ConsumerOptions{}, handler("b"))
	records, members := map[string]bool{}, map[string]bool{}
	for len(records) < 10 {
		var record, member string
		if _, err := fmt.Sscan(receive(t, finished), &record, &member); err != nil {
			t.Fatal(err)
		}
		records[record], members[member] = true, true
	}
	stopA()
	stopB()
	if len(members) != 2 {
		t.Errorf("only %v took part", members)
	}
	if got := committed(t, brokers, "t", "g"); got[0] != 5 || got[1] != 5 {
		t.Errorf("committed %v", got)
	}
}

// Guards against a stuck handler: other partitions go on and commit, its own goes on up to the window and no further, and at the end it is
// waited for no longer than the drain, and not committed.
func TestConsumerStuckHandler(t *testing.T) {
	brokers, cluster := newCluster(t, "t")
	produceTo(t, brokers, "t", 0, 30)
	produceTo(t, brokers, "t", 1, 30)
	all := make(chan struct{})
	var once sync.Once
	onCommit(cluster, func(partition int32, offset int64) bool {
		if partition == 1 && offset == 30 {
			once.Do(func() { close(all) })
		}
		return true
	})
	var handed [2]atomic.Int64
	finished := make(chan int64, 100)
	var ended atomic.Bool
	c, stop := runConsumer(t, brokers, "t", ConsumerOptions{Window: 5, Drain: 50 * time.Millisecond}, func(ctx context.Context, m Message) bool {
		handed[m.Partition].Add(1)
		if m.Partition == 0 && m.Offset == 0 {
			<-ctx.Done()
			ended.Store(true)
			return false
		}
		if m.Partition == 0 {
			finished <- m.Offset
		}
		return true
	})
	receive(t, all)
	for range 4 {
		receive(t, finished)
	}
	if s := c.Status(); s.Partitions != 2 || s.InFlight < 1 {
		t.Errorf("status %+v", s)
	}
	if lag, err := c.Lag(); err != nil || lag != 30 {
		t.Errorf("lag %d, %v", lag, err)
	}
	stop()
	if !ended.Load() || handed[0].Load() != 5 || handed[1].Load() != 30 {
		t.Errorf("handed out %d and %d, context ended %v", handed[0].Load(), handed[1].Load(), ended.Load())
	}
	if got := committed(t, brokers, "t", "g"); got[0] > 0 || got[1] != 30 {
		t.Errorf("committed %v", got)
	}
}

// Guards that an unfinished record comes again without a rebalance, and that others are not held up by it.
func TestConsumerHandsUnfinishedOutAgain(t *testing.T) {
	brokers, _ := newCluster(t, "t")
	produceTo(t, brokers, "t", 0, 3)
	finished := make(chan int64, 10)
	var tries atomic.Int32
	_, stop := runConsumer(t, brokers, "t", ConsumerOptions{}, func(_ context.Context, m Message) bool {
		if m.Offset == 0 && tries.Add(1) < 3 {
			return false
		}
		finished <- m.Offset
		return true
	})
	var order []int64
	for range 3 {
		order = append(order, receive(t, finished))
	}
	stop()
	if order[2] != 0 || tries.Load() != 3 {
		t.Errorf("order %v, %d tries", order, tries.Load())
	}
	if got := committed(t, brokers, "t", "g")[0]; got != 3 {
		t.Errorf("committed %d", got)
	}
}

// Guards the start of a new group at the end: what was there before is not read, and the end is committed before anything else, so that what is written
// while the first member is already gone is read. Also guards that a consumer waits for its topic.
func TestConsumerStartsAtTheEnd(t *testing.T) {
	brokers, cluster := newCluster(t)
	asked := make(chan struct{}, 100)
	cluster.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if len(r.(*kmsg.MetadataRequest).Topics) > 0 {
			asked <- struct{}{}
		}
		return nil, nil, false
	})
	commits := make(chan int64, 100)
	onCommit(cluster, func(_ int32, offset int64) bool { commits <- offset; return true })
	finished := make(chan int64, 10)
	h := func(_ context.Context, m Message) bool { finished <- m.Offset; return true }
	_, stop := runConsumer(t, brokers, "t", ConsumerOptions{Start: StartNewest}, h)
	receive(t, asked) // it looked for the topic, and must look again
	a, err := NewAdmin(brokers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.EnsureTopic(t.Context(), TopicSpec{Name: "t", Partitions: 2, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	receive(t, commits)
	receive(t, commits)
	stop()
	produceTo(t, brokers, "t", 0, 2)
	_, stop = runConsumer(t, brokers, "t", ConsumerOptions{Start: StartNewest}, h)
	receive(t, finished)
	receive(t, finished)
	stop()
	if got := committed(t, brokers, "t", "g"); got[0] != 2 || got[1] != 0 {
		t.Errorf("committed %v", got)
	}
}

// Guards events of partitions that were added to a topic, or of which nothing was finished before a crash: a group that has a position anywhere on its topic is not
// new, and reads them from the beginning.
func TestConsumerReadsAddedPartitions(t *testing.T) {
	brokers, _ := newCluster(t)
	a, err := NewAdmin(brokers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.EnsureTopic(t.Context(), TopicSpec{Name: "t", Partitions: 1, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.EnsureStart(t.Context(), GroupTopic{Group: "g", Topic: "t"}); err != nil {
		t.Fatal(err)
	}
	if err := a.admin.CreatePartitions("t", 2, nil, false); err != nil {
		t.Fatal(err)
	}
	produceTo(t, brokers, "t", 1, 3)
	finished := make(chan int64, 10)
	_, stop := runConsumer(t, brokers, "t", ConsumerOptions{Start: StartNewest}, func(_ context.Context, m Message) bool { finished <- m.Offset; return true })
	defer stop()
	for range 3 {
		receive(t, finished)
	}
}

// Guards retention that overtakes a group: it goes on at the oldest record there is, and the loss is told as an error with its offsets, not passed over.
func TestConsumerTellsLostRecords(t *testing.T) {
	brokers, _ := newCluster(t, "t")
	produceTo(t, brokers, "t", 0, 10)
	a, err := NewAdmin(brokers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.EnsureStart(t.Context(), GroupTopic{Group: "g", Topic: "t"}); err != nil {
		t.Fatal(err)
	}
	if err := a.admin.DeleteRecords("t", map[int32]int64{0: 6}); err != nil {
		t.Fatal(err)
	}
	finished := make(chan int64, 10)
	var log lockedBuffer
	c := NewConsumer(brokers, "t", "g", func(_ context.Context, m Message) bool { finished <- m.Offset; return true },
		ConsumerOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	got := map[int64]bool{}
	for range 4 {
		got[receive(t, finished)] = true
	}
	cancel()
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
	if !maps.Equal(got, map[int64]bool{6: true, 7: true, 8: true, 9: true}) {
		t.Errorf("got %v", got)
	}
	if text := log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "first=0 last=5") {
		t.Errorf("log: %s", text)
	}
	if n := committed(t, brokers, "t", "g")[0]; n != 10 {
		t.Errorf("committed %d", n)
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
