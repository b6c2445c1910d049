package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/kafka"
)

// lockedText is what was written to it.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *lockedText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// String returns the text so far.
func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// remaking is a topic that is deleted and made anew while a group reads it.
type remaking struct {
	t       *testing.T
	brokers []string
	topic   string
	start   kafka.Start // of the reader
	client  sarama.Client
	admin   sarama.ClusterAdmin
	log     *lockedText

	mu   sync.Mutex
	read map[string]int // by the reader under test
}

func newRemaking(t *testing.T, brokers []string, topic string) *remaking {
	t.Helper()
	r := &remaking{t: t, brokers: brokers, topic: topic, log: new(lockedText), read: map[string]int{}}
	var err error
	if r.client, err = sarama.NewClient(brokers, kafka.NewConfig("test")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.client.Close() })
	if r.admin, err = sarama.NewClusterAdminFromClient(r.client); err != nil {
		t.Fatal(err)
	}
	r.create()
	return r
}

func (r *remaking) create() {
	r.t.Helper()
	until(r.t, func() error { // a server can take a moment to forget the old one
		return r.admin.CreateTopic(r.topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false)
	})
	until(r.t, func() error {
		_, err := r.client.GetOffset(r.topic, 0, sarama.OffsetNewest)
		return errors.Join(err, r.client.RefreshMetadata(r.topic))
	})
}

func (r *remaking) remove() {
	r.t.Helper()
	if err := r.admin.DeleteTopic(r.topic); err != nil {
		r.t.Fatal(err)
	}
	until(r.t, func() error {
		d, err := r.admin.DescribeTopics([]string{r.topic})
		if err != nil || len(d) != 1 || !errors.Is(d[0].Err, sarama.ErrUnknownTopicOrPartition) {
			return fmt.Errorf("the topic is still there: %w", err)
		}
		return nil
	})
}

// write writes n events with ids of this name.
func (r *remaking) write(name string, n int) {
	r.t.Helper()
	p := kafka.NewProducer(r.brokers, kafka.ProducerOptions{Timeout: 20 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	defer func() { _ = p.Close(r.t.Context()) }()
	for i := range n {
		if err := publishTo(r.t, p, r.topic, fmt.Sprintf("%s-%d", name, i)); err != nil {
			r.t.Fatal(err)
		}
	}
}

// has waits until n events of this name were read, all of them.
func (r *remaking) has(name string, n int) {
	r.t.Helper()
	until(r.t, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		for i := range n {
			if id := fmt.Sprintf("%s-%d", name, i); r.read[id] == 0 {
				return fmt.Errorf("%s was skipped", id)
			}
		}
		return nil
	})
}

func (r *remaking) took(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read[id]++
}

// commit returns what the group committed on the topic.
func (r *remaking) commit() sarama.OffsetAndMetadata {
	r.t.Helper()
	res, err := r.admin.ListConsumerGroupOffsets("g-"+r.topic, map[string][]int32{r.topic: {0}})
	if err != nil {
		r.t.Fatal(err)
	}
	b := res.GetBlock(r.topic, 0)
	return sarama.OffsetAndMetadata{Offset: b.Offset, LeaderEpoch: -1, Metadata: b.Metadata}
}

// bring commits what a group without members has then.
func (r *remaking) bring(o sarama.OffsetAndMetadata) {
	r.t.Helper()
	until(r.t, func() error {
		res, err := r.admin.AlterConsumerGroupOffsets("g-"+r.topic, map[string]map[int32]sarama.OffsetAndMetadata{r.topic: {0: o}}, nil)
		if err == nil && !errors.Is(res.Errors[r.topic][0], sarama.ErrNoError) {
			err = res.Errors[r.topic][0]
		}
		return err
	})
}

// consumer and intake run a reader of the group until the returned function is called.
func (r *remaking) consumer() (stop func()) {
	c := kafka.NewConsumer(r.brokers, r.topic, "g-"+r.topic, func(_ context.Context, m kafka.Message) bool {
		if e, err := kafka.Decode(m.ConsumerMessage); err == nil {
			r.took(e.ID())
		}
		return true
	}, kafka.ConsumerOptions{Start: r.start, Commit: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(r.log, nil))})
	return r.run(c.Run)
}

func (r *remaking) intake() (stop func()) {
	in := kafka.NewIntake(r.brokers, []string{r.topic}, "g-"+r.topic, delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
		out := delivery.NewOutcomes(len(events))
		for i, e := range events {
			r.took(e.ID())
			out.Done(i)
		}
		return out
	}), kafka.IntakeOptions{
		Start: r.start, Commit: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(r.log, nil)), Attempts: noAttempts{},
		OnUndecodable: func(context.Context, http.Header, []byte, error) error { return nil },
	})
	return r.run(in.Run)
}

type noAttempts struct{}

func (noAttempts) Count(*event.Event) int    { return 0 }
func (noAttempts) Restore(*event.Event, int) {}

func (r *remaking) run(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(stop)
	return stop
}

// remadeTopic shows on these brokers that no reader skips events of a topic that was made anew.
func remadeTopic(t *testing.T, brokers []string, name string) {
	for kind, start := range map[string]func(*remaking) (stop func()){"consumer": (*remaking).consumer, "intake": (*remaking).intake} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			t.Run("commit of the old topic", func(t *testing.T) {
				t.Parallel()
				r := newRemaking(t, brokers, name+"-stale-"+kind)
				r.write("old", 10)
				stop := start(r)
				r.has("old", 10)
				until(t, func() error {
					if c := r.commit(); c.Offset != 10 {
						return fmt.Errorf("committed %+v", c)
					}
					return nil
				})
				stop()
				was := r.commit()
				r.remove()
				r.create()
				r.bring(was) // as of a coordinator that did not see the deletion, or a member that committed late
				r.write("new", 25)
				start(r)
				r.has("new", 25)
				if log := r.log.String(); !strings.Contains(log, "the topic was deleted and made anew") || !strings.Contains(log, "committed=10") || !strings.Contains(log, r.topic) {
					t.Errorf("the log does not say what happened: %s", log)
				}
				until(t, func() error {
					if c := r.commit(); c.Offset != 25 || c.Metadata == was.Metadata {
						return fmt.Errorf("committed %+v after %+v", c, was)
					}
					return nil
				})
			})
			// Guards the new topic's events where a group without a position would begin at the end: one that has the old topic's is not without.
			t.Run("commit of the old topic, and start at the newest", func(t *testing.T) {
				t.Parallel()
				r := newRemaking(t, brokers, name+"-newest-"+kind)
				r.start = kafka.StartNewest
				r.write("old", 10)
				stop := start(r)
				until(t, func() error {
					c, err := kafka.Committed(r.client, kafka.GroupTopic{Group: "g-" + r.topic, Topic: r.topic})
					if err == nil && c[0] != 10 {
						err = fmt.Errorf("committed %v", c)
					}
					return err
				})
				stop()
				was := r.commit()
				r.remove()
				r.create()
				r.bring(was)
				r.write("new", 25)
				start(r)
				r.has("new", 25)
			})
			t.Run("under way", func(t *testing.T) {
				t.Parallel()
				r := newRemaking(t, brokers, name+"-live-"+kind)
				start(r)
				r.write("old", 10)
				r.has("old", 10)
				r.remove()
				r.create()
				r.write("new", 25)
				r.has("new", 25)
			})
			t.Run("gone for a while", func(t *testing.T) {
				t.Parallel()
				r := newRemaking(t, brokers, name+"-gone-"+kind)
				start(r)
				r.write("old", 10)
				r.has("old", 10)
				r.remove()
				until(t, func() error {
					if log := r.log.String(); !strings.Contains(log, "the topic is gone: it was deleted; run provision") || !strings.Contains(log, "cannot consume, trying again") {
						return fmt.Errorf("the log does not say so: %s", log[max(0, len(log)-1000):])
					}
					return nil
				})
				r.create()
				r.write("new", 25)
				r.has("new", 25)
			})
		})
	}
	t.Run("provision", func(t *testing.T) {
		t.Parallel()
		r := newRemaking(t, brokers, name+"-provision")
		g := kafka.GroupTopic{Group: "g-" + r.topic, Topic: r.topic}
		config := kafka.NewConfig("test")
		config.Metadata.Retry.Max = 1
		a, err := kafka.NewAdmin(brokers, config)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = a.Close() }()
		r.write("old", 10)
		start := func(what string, f func(context.Context, kafka.GroupTopic) ([]int32, error), want string, at int64) {
			t.Helper()
			got, err := f(t.Context(), g)
			if c := r.commit(); err != nil || fmt.Sprint(got) != want || c.Offset != at {
				t.Errorf("%s: %v, %v, committed %+v; want %s and %d", what, got, err, c, want, at)
			}
		}
		until(t, func() error { // a server can take a moment to know the group
			_, err := a.EnsureStart(t.Context(), kafka.GroupTopic{Group: g.Group, Topic: r.topic})
			return err
		})
		start("a group that has its position", a.EnsureStart, "[]", 0)
		mine := r.commit()
		mine.Offset = 10
		r.bring(mine)
		start("a position of this topic", a.EnsureStart, "[]", 10)
		r.remove()
		r.create()
		r.write("new", 25)
		r.bring(mine)
		if err := a.GroupsReady(t.Context(), []kafka.GroupTopic{g}); err == nil || !strings.Contains(err.Error(), "run provision") {
			t.Errorf("a position of another topic is as none: %v", err)
		}
		start("a position of another topic", a.EnsureStart, "[0]", 0)
		foreign := sarama.OffsetAndMetadata{Offset: 26, LeaderEpoch: -1}
		r.bring(foreign)
		start("a foreign position behind the end", a.EnsureStart, "[0]", 0)
		foreign.Offset = 10
		r.bring(foreign)
		start("a foreign position that may be right", a.EnsureStart, "[]", 10)
		start("on a topic that was just made", a.Restart, "[0]", 0)
		start("again", a.Restart, "[]", 0)
		if _, err := a.EnsureStart(t.Context(), kafka.GroupTopic{Group: g.Group, Topic: "nowhere"}); !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			t.Errorf("no such topic: %v", err)
		}
	})
}

// Guards accepted events against positions of a topic that is not there any more: an offset of 10 that was committed on the old topic would skip the first ten events of the new one without a
// word.
func TestRemadeTopic(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	remadeTopic(t, cluster.ListenAddrs(), "t")
}
