package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

// Start is where a group begins on a partition for which it has committed nothing.
type Start int

// The starts.
const (
	StartOldest Start = iota // at the oldest record that the topic holds
	StartNewest              // at the topic's end, which is committed before the first record is read
)

const (
	firstConsumerWait = 100 * time.Millisecond
	maxConsumerWait   = 5 * time.Second
	maxHandlerWait    = 10 * time.Second
	// abandonAfter is how long a handler may take to return once its context ended, before its partition is let go without it.
	abandonAfter = time.Second
)

// groupConfig returns the settings of a group's member, which commits what is marked that often and may take that long to let a partition go.
func groupConfig(clientID string, commit, drain time.Duration) *sarama.Config {
	s := NewConfig(clientID)
	s.Metadata.Retry.Max = 3 // run tries again
	s.Consumer.Return.Errors = true
	s.Consumer.Offsets.Initial = sarama.OffsetOldest
	s.Consumer.Offsets.AutoCommit.Enable = true
	s.Consumer.Offsets.AutoCommit.Interval = commit
	s.Metadata.RefreshFrequency = time.Minute // which is when new partitions are found
	// A claim must be let go within this time of its revocation.
	s.Consumer.Group.Rebalance.Timeout = max(s.Consumer.Group.Rebalance.Timeout, 2*drain+abandonAfter)
	return s
}

// member is in a group, again after each rebalance and each error.
type member struct {
	brokers []string
	topics  []string
	group   string
	start   Start
	// instance is the name under which it is a static member: one that is started anew by it before the session's time is over has its partitions back at once. "" for a dynamic one.
	instance string
	logger   *slog.Logger
	began    bool // StartNewest was seen to; of run alone

	ids       map[string]string // of the topics, in the present generation; nil before the first. Of run and the generation's Setup
	unstamped atomic.Bool       // a broker took not even a stamp as metadata
	metadata  *atomic.Int64     // how long the handler's own metadata may be; nil where it has none

	config  func() *sarama.Config
	session func(sarama.Client) sarama.ConsumerGroupHandler // of one generation
	onError func(error)                                     // is told what does not end the generation; may be nil
}

// run consumes until ctx ends. Errors of Kafka are logged and tried again with a growing pause; only settings that cannot work are returned.
func (m *member) run(ctx context.Context) error {
	for wait := firstConsumerWait; ; wait = min(2*wait, maxConsumerWait) {
		began := time.Now()
		err := m.consume(ctx)
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, ctx.Err()) {
				m.logger.Warn("left the group with an error; what was not committed comes again", "topics", m.topics, "group", m.group, "error", err)
			}
			return nil
		}
		var bad sarama.ConfigurationError
		if errors.As(err, &bad) {
			return fmt.Errorf("consume %s as %s: %w", m.topics, m.group, err)
		}
		if time.Since(began) > time.Minute {
			wait = firstConsumerWait
		}
		if m.onError != nil {
			m.onError(err)
		}
		level := slog.LevelWarn
		if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			if err = fmt.Errorf("%w: run provision, which makes it", err); m.ids == nil {
				level = slog.LevelInfo // provision has not made it yet
			}
		}
		m.logger.Log(ctx, level, "cannot consume, trying again", "topics", m.topics, "group", m.group, "wait", wait.String(), "error", err)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// consume joins the group, again after each rebalance, until ctx ends or something fails.
func (m *member) consume(ctx context.Context) (err error) {
	client, err := Connect(m.brokers, m.config())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	for _, topic := range m.topics {
		// A group on a topic that is not there would wait without a word.
		if _, err := client.Partitions(topic); err != nil {
			return fmt.Errorf("topic %s: %w", topic, err)
		}
		if m.start == StartNewest && !m.began {
			if err := m.commitEnd(ctx, client, topic); err != nil {
				return err
			}
		}
	}
	m.began = true
	group, err := sarama.NewConsumerGroupFromClient(m.group, client)
	if err != nil {
		return fmt.Errorf("join group: %w", err)
	}
	var errs sync.WaitGroup
	errs.Go(func() {
		for e := range group.Errors() {
			if m.onError != nil {
				m.onError(e)
			}
			if errors.Is(e, sarama.ErrOffsetMetadataTooLarge) && (m.metadata == nil || m.metadata.Load() == 0) && !m.unstamped.Swap(true) {
				m.logger.Error("the brokers take no metadata with a commit (offset.metadata.max.bytes): should the topic be deleted and made anew, its first events may be skipped",
					"topics", m.topics, "group", m.group)
			}
			m.logger.Warn("consumer group", "topics", m.topics, "group", m.group, "error", e)
		}
	})
	defer func() {
		err = errors.Join(err, group.Close())
		errs.Wait()
		if m.instance != "" && ctx.Err() != nil {
			err = errors.Join(err, m.leave(client))
		}
	}()
	for ctx.Err() == nil {
		if err := m.consumeOnce(ctx, client, group); err != nil {
			return fmt.Errorf("consume: %w", err)
		}
	}
	return nil
}

// leave has the group forget a static member that ends, which closing does not.
func (m *member) leave(client sarama.Client) error {
	admin, err := sarama.NewClusterAdminFromClient(client) // closing it would close the client
	if err != nil {
		return fmt.Errorf("leave the group: %w", err)
	}
	res, err := admin.RemoveMemberFromConsumerGroup(m.group, []string{m.instance})
	if err != nil {
		return fmt.Errorf("leave the group: %w", err)
	}
	for _, r := range res.Members {
		if !errors.Is(r.Err, sarama.ErrNoError) && !errors.Is(r.Err, sarama.ErrUnknownMemberId) {
			return fmt.Errorf("leave the group: %w", r.Err)
		}
	}
	return nil
}

// consumeOnce is in the group for one generation.
func (m *member) consumeOnce(ctx context.Context, client sarama.Client, group sarama.ConsumerGroup) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	return group.Consume(ctx, m.topics, &generation{ConsumerGroupHandler: m.session(client), m: m, client: client, end: end})
}

// commitEnd commits the topic's end for a group that has committed nothing on it, so that what is written from now on is read even if this process ends before it
// commits for the first time. A group with a commit on any partition is not new: partitions without one were added to the topic, or nothing of them is finished
// yet, and are read from their oldest record.
func (m *member) commitEnd(ctx context.Context, client sarama.Client, topic string) error {
	// A position of a topic that was there before under the name is one, too: a member begins at the oldest record then (see generation.begin).
	committed, err := Committed(client, GroupTopic{Group: m.group, Topic: topic})
	if err != nil || len(committed) > 0 {
		return err
	}
	partitions, err := client.Partitions(topic)
	if err != nil {
		return fmt.Errorf("commit the end of %s: %w", topic, err)
	}
	id, err := topicID(ctx, client, topic)
	if err != nil {
		return fmt.Errorf("commit the end of %s: %w", topic, err)
	}
	admin, err := sarama.NewClusterAdminFromClient(client) // closing it would close the client
	if err != nil {
		return fmt.Errorf("commit the end of %s: %w", topic, err)
	}
	offsets := make(map[int32]sarama.OffsetAndMetadata, len(partitions))
	for _, p := range partitions {
		end, err := client.GetOffset(topic, p, sarama.OffsetNewest)
		if err != nil {
			return fmt.Errorf("end of %s/%d: %w", topic, p, err)
		}
		first, err := client.GetOffset(topic, p, sarama.OffsetOldest)
		if err != nil {
			return fmt.Errorf("beginning of %s/%d: %w", topic, p, err)
		}
		if first < end {
			m.logger.Error("a group without a position begins at the topic's end: what is there already is not delivered (provision gives it a position before the first event)",
				"topic", topic, "group", m.group, "partition", p, "first", first, "last", end-1)
		}
		offsets[p] = sarama.OffsetAndMetadata{Offset: end, LeaderEpoch: -1, Metadata: stamp(id, "")}
	}
	res, err := admin.AlterConsumerGroupOffsets(m.group, map[string]map[int32]sarama.OffsetAndMetadata{topic: offsets}, nil)
	if err != nil {
		return fmt.Errorf("commit the end of %s: %w", topic, err)
	}
	for p, kerr := range res.Errors[topic] {
		switch {
		case errors.Is(kerr, sarama.ErrNoError):
		case atWork(kerr):
			return nil // the group has members, each of which did this before it joined
		default:
			return fmt.Errorf("commit the end of %s/%d: %w", topic, p, kerr)
		}
	}
	return nil
}

// tellReset says what is lost where sarama did not begin at the committed offset, since Kafka does not hold it, and returns how many offsets.
func (m *member) tellReset(client sarama.Client, gc sarama.ConsumerGroupClaim) (lost int64) {
	log := m.logger.With("topic", gc.Topic(), "group", m.group, "partition", gc.Partition())
	at, oldest, err := m.committed(client, gc)
	switch {
	case err != nil:
		log.Warn("reading begins at the oldest record; cannot find out whether any were lost", "error", err)
	case at < 0: // the group is new
	case at < oldest:
		log.Error("records are lost: Kafka deleted them before they were read", "first", at, "last", oldest-1)
		return oldest - at
	default:
		log.Error("the topic ends before the committed offset, as after it was made anew; reading begins at its oldest record", "committed", at, "oldest", oldest)
	}
	return 0
}

// committed returns what the group committed, -1 for nothing, and the oldest offset that the partition holds.
func (m *member) committed(client sarama.Client, gc sarama.ConsumerGroupClaim) (at, oldest int64, err error) {
	blocks, err := m.fetchCommits(client, map[string][]int32{gc.Topic(): {gc.Partition()}})
	if err != nil {
		return 0, 0, err
	}
	if oldest, err = client.GetOffset(gc.Topic(), gc.Partition(), sarama.OffsetOldest); err != nil {
		return 0, 0, fmt.Errorf("oldest offset: %w", err)
	}
	if b := blocks.GetBlock(gc.Topic(), gc.Partition()); b != nil {
		return b.Offset, oldest, nil
	}
	return -1, oldest, nil
}

func (m *member) fetchCommits(client sarama.Client, partitions map[string][]int32) (*sarama.OffsetFetchResponse, error) {
	admin, err := sarama.NewClusterAdminFromClient(client) // closing it would close the client
	if err != nil {
		return nil, fmt.Errorf("committed offsets: %w", err)
	}
	res, err := admin.ListConsumerGroupOffsets(m.group, partitions)
	if err != nil {
		return nil, fmt.Errorf("committed offsets: %w", err)
	}
	return res, nil
}
