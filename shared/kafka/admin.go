package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/IBM/sarama"
)

// Admin makes topics and groups' offsets. Every call is safe to repeat.
type Admin struct {
	client sarama.Client
	admin  sarama.ClusterAdmin
}

// NewAdmin connects to brokers (host:port). Close it. config may be nil.
func NewAdmin(brokers []string, config *sarama.Config) (*Admin, error) {
	if config == nil {
		config = NewConfig("millrace-admin")
	}
	client, err := sarama.NewClient(brokers, config)
	if err != nil {
		return nil, fmt.Errorf("connect to Kafka at %v: %w", brokers, asUser(config, err))
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to Kafka at %v: %w", brokers, err), client.Close())
	}
	return &Admin{client: client, admin: admin}, nil
}

// Close closes the connection.
func (a *Admin) Close() error { return a.admin.Close() }

// Brokers returns how many brokers are in the cluster now.
func (a *Admin) Brokers(context.Context) (int, error) {
	brokers, _, err := a.admin.DescribeCluster()
	if err != nil {
		return 0, fmt.Errorf("describe the cluster: %w", err)
	}
	return len(brokers), nil
}

// TopicSpec is what [Admin.EnsureTopic] makes.
type TopicSpec struct {
	Name       string
	Partitions int32
	Replicas   int16         // at most as many as there are brokers
	Retention  time.Duration // 0 or less keeps for ever
}

// EnsureTopic creates a topic unless it is there, with min.insync.replicas one below its replicas (at least 1), no unclean election and delete policy. It reports
// whether it created it, and never changes one that is there.
func (a *Admin) EnsureTopic(_ context.Context, t TopicSpec) (created bool, err error) {
	insync := max(1, t.Replicas-1)
	retention := int64(-1)
	if t.Retention > 0 {
		retention = t.Retention.Milliseconds()
	}
	entry := func(s string) *string { return &s }
	err = a.admin.CreateTopic(t.Name, &sarama.TopicDetail{
		NumPartitions: t.Partitions, ReplicationFactor: t.Replicas,
		ConfigEntries: map[string]*string{
			"cleanup.policy":                 entry("delete"),
			"retention.ms":                   entry(strconv.FormatInt(retention, 10)),
			"min.insync.replicas":            entry(strconv.Itoa(int(insync))),
			"unclean.leader.election.enable": entry("false"),
			"max.message.bytes":              entry(strconv.Itoa(TopicMaxMessageBytes)),
		},
	}, false)
	if errors.Is(err, sarama.ErrTopicAlreadyExists) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create topic %s: %w", t.Name, err)
	}
	return true, nil
}

// TopicInfo is what was found of a topic.
type TopicInfo struct {
	ID          string // Kafka's topic id, a UUID: another one means the topic was deleted and made again
	Partitions  []int32
	Replicas    int // of the partition that has the fewest
	MinInsync   int
	RetentionMS int64 // -1: for ever

	MaxMessageBytes int
}

// Topic describes a topic. An unknown one gives an error that wraps sarama.ErrUnknownTopicOrPartition.
func (a *Admin) Topic(_ context.Context, name string) (TopicInfo, error) {
	found, err := a.admin.DescribeTopics([]string{name})
	if err != nil {
		return TopicInfo{}, fmt.Errorf("describe topic %s: %w", name, err)
	}
	if len(found) != 1 {
		return TopicInfo{}, fmt.Errorf("describe topic %s: %d answers", name, len(found))
	}
	m := found[0]
	if !errors.Is(m.Err, sarama.ErrNoError) {
		return TopicInfo{}, fmt.Errorf("describe topic %s: %w", name, m.Err)
	}
	info := TopicInfo{ID: m.Uuid.String(), RetentionMS: -1}
	for i, p := range m.Partitions {
		info.Partitions = append(info.Partitions, p.ID)
		if i == 0 || len(p.Replicas) < info.Replicas {
			info.Replicas = len(p.Replicas)
		}
	}
	config, err := topicConfig(a.admin, name)
	if err != nil {
		return info, err
	}
	if info.MinInsync, err = strconv.Atoi(config["min.insync.replicas"]); err != nil {
		return info, fmt.Errorf("topic %s: min.insync.replicas: %w", name, err)
	}
	if info.RetentionMS, err = strconv.ParseInt(config["retention.ms"], 10, 64); err != nil {
		return info, fmt.Errorf("topic %s: retention.ms: %w", name, err)
	}
	if info.MaxMessageBytes, err = strconv.Atoi(config["max.message.bytes"]); err != nil {
		return info, fmt.Errorf("topic %s: max.message.bytes: %w", name, err)
	}
	return info, nil
}

func topicConfig(admin sarama.ClusterAdmin, name string) (map[string]string, error) {
	results, err := admin.DescribeConfigs([]*sarama.ConfigResource{{Type: sarama.TopicResource, Name: name}}, sarama.DescribeConfigsOptions{})
	if err != nil {
		return nil, fmt.Errorf("describe settings of topic %s: %w", name, err)
	}
	config := make(map[string]string)
	for _, r := range results {
		if r.ErrorCode != sarama.ErrNoError {
			return nil, fmt.Errorf("describe settings of topic %s: %w: %s", name, r.ErrorCode, r.ErrorMsg)
		}
		for _, e := range r.Configs {
			config[e.Name] = e.Value
		}
	}
	return config, nil
}

// topicLimits returns how many replicas acks=all waits for at least, and max.message.bytes. Since Kafka 4.0 min.insync.replicas counts for no more than the
// replicas that a partition has: a topic with a minimum of 2 and one replica takes writes that lie on one broker.
func topicLimits(client sarama.Client, topic string) (insync, maxBytes int, err error) {
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return 0, 0, fmt.Errorf("describe topic %s: %w", topic, err)
	}
	config, err := topicConfig(admin, topic) // closing admin would close the client
	if err != nil {
		return 0, 0, err
	}
	if insync, err = strconv.Atoi(config["min.insync.replicas"]); err != nil {
		return 0, 0, fmt.Errorf("topic %s: min.insync.replicas: %w", topic, err)
	}
	if maxBytes, err = strconv.Atoi(config["max.message.bytes"]); err != nil {
		return 0, 0, fmt.Errorf("topic %s: max.message.bytes: %w", topic, err)
	}
	partitions, err := client.Partitions(topic)
	if err != nil {
		return 0, 0, fmt.Errorf("partitions of topic %s: %w", topic, err)
	}
	for _, p := range partitions {
		replicas, err := client.Replicas(topic, p)
		if err != nil {
			return 0, 0, fmt.Errorf("replicas of %s/%d: %w", topic, p, err)
		}
		insync = min(insync, len(replicas))
	}
	return insync, maxBytes, nil
}

// GroupTopic is a consumer group and the topic that it reads.
type GroupTopic struct{ Group, Topic string }

// An AtWorkError says that a group has members, which alone may commit its positions, and that it has none on some partitions.
type AtWorkError struct {
	GroupTopic
	Missing []int32 // partitions without a committed offset
	Old     []int32 // those of Missing, of a topic that has just been made, that have the offset of another
	All     int     // how many partitions the topic has
	Err     error   // Kafka's answer
}

// Error names the group, the topic and the partitions.
func (e *AtWorkError) Error() string {
	return fmt.Sprintf("group %s has members, and no position on partitions %v of the %d of %s: %v", e.Group, e.Missing, e.All, e.Topic, e.Err)
}

// Unwrap returns Kafka's answer.
func (e *AtWorkError) Unwrap() error { return e.Err }

// atWork reports whether Kafka refused to commit offsets from outside because the group has members.
func atWork(err error) bool {
	return errors.Is(err, sarama.ErrUnknownMemberId) || errors.Is(err, sarama.ErrRebalanceInProgress) || errors.Is(err, sarama.ErrNonEmptyGroup)
}

// EnsureStart commits the beginning of the topic for each partition where the group has committed nothing yet, so that a Trigger whose dispatcher starts later does not begin
// at the end. A commit that is of another topic counts for nothing: one of a topic of this name that was deleted since, as its metadata say (those of this package's commits), or one behind
// the partition's end. Where anything else is committed nothing changes. It returns the partitions that it committed.
//
// The error is an [*AtWorkError] where the group has members: Kafka then takes commits from them alone. Those partitions were added to the topic, or the members read
// nothing there yet.
func (a *Admin) EnsureStart(ctx context.Context, g GroupTopic) ([]int32, error) {
	missing, all, id, err := a.uncommitted(ctx, g)
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	return a.start(g, missing, all, id)
}

// Restart is [Admin.EnsureStart] for a topic that has just been made, where a commit counts only if its metadata say that it is of this very topic. There are others where a topic of this name
// was deleted while the group's coordinator was away, or its members committed after that: they would skip as many events of the new one.
func (a *Admin) Restart(ctx context.Context, g GroupTopic) ([]int32, error) {
	var old []int32
	missing, all, id, err := a.positions(ctx, g, func(b *sarama.OffsetFetchResponseBlock, p int32, id string) bool {
		of, _ := cutStamp(b.Metadata)
		is := b.Offset > 0 && (of == "" || of != id)
		if is {
			old = append(old, p)
		}
		return is
	})
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	started, err := a.start(g, missing, all, id)
	var busy *AtWorkError
	if errors.As(err, &busy) {
		busy.Old = old
	}
	return started, err
}

// start commits the beginning of the partitions of a topic of all partitions, and this id.
func (a *Admin) start(g GroupTopic, missing []int32, all int, id string) ([]int32, error) {
	offsets := make(map[int32]sarama.OffsetAndMetadata, len(missing))
	for _, p := range missing {
		first, err := a.client.GetOffset(g.Topic, p, sarama.OffsetOldest)
		if err != nil {
			return nil, fmt.Errorf("group %s: first offset of %s/%d: %w", g.Group, g.Topic, p, err)
		}
		offsets[p] = sarama.OffsetAndMetadata{Offset: first, LeaderEpoch: -1, Metadata: stamp(id, "")}
	}
	res, err := a.admin.AlterConsumerGroupOffsets(g.Group, map[string]map[int32]sarama.OffsetAndMetadata{g.Topic: offsets}, nil)
	if err != nil {
		return nil, fmt.Errorf("group %s: commit the start of %s: %w", g.Group, g.Topic, err)
	}
	for p, kerr := range res.Errors[g.Topic] {
		if atWork(kerr) {
			return nil, &AtWorkError{GroupTopic: g, Missing: missing, All: all, Err: kerr}
		}
		if !errors.Is(kerr, sarama.ErrNoError) {
			return nil, fmt.Errorf("group %s: commit the start of %s/%d: %w", g.Group, g.Topic, p, kerr)
		}
	}
	return missing, nil
}

// uncommitted returns the partitions of the topic for which the group has no committed offset, or one that is of another topic, how many the topic has, and its id, "" where the cluster
// tells none.
func (a *Admin) uncommitted(ctx context.Context, g GroupTopic) (missing []int32, all int, id string, err error) {
	return a.positions(ctx, g, func(b *sarama.OffsetFetchResponseBlock, _ int32, id string) bool { return otherTopic(b.Metadata, id) })
}

// positions is uncommitted, where other says of a commit that it is of another topic.
func (a *Admin) positions(ctx context.Context, g GroupTopic, other func(b *sarama.OffsetFetchResponseBlock, p int32, id string) bool) (missing []int32, all int, id string, err error) {
	fail := func(err error) ([]int32, int, string, error) {
		return nil, 0, "", fmt.Errorf("group %s: %w", g.Group, err)
	}
	if err := a.client.RefreshMetadata(g.Topic); err != nil {
		return fail(fmt.Errorf("topic %s: %w", g.Topic, err))
	}
	parts, err := a.client.Partitions(g.Topic)
	if err != nil {
		return fail(fmt.Errorf("topic %s: %w", g.Topic, err))
	}
	if id, err = topicID(ctx, a.client, g.Topic); err != nil {
		return fail(err)
	}
	res, err := a.admin.ListConsumerGroupOffsets(g.Group, map[string][]int32{g.Topic: parts})
	if err == nil && !errors.Is(res.Err, sarama.ErrNoError) {
		err = res.Err
	}
	if errors.Is(err, sarama.ErrGroupIDNotFound) {
		return parts, len(parts), id, nil
	}
	if err != nil {
		return fail(fmt.Errorf("committed offsets: %w", err))
	}
	for _, p := range parts {
		block := res.GetBlock(g.Topic, p)
		if block != nil && !errors.Is(block.Err, sarama.ErrNoError) {
			return fail(fmt.Errorf("committed offset of %s/%d: %w", g.Topic, p, block.Err))
		}
		if block == nil || block.Offset < 0 || other(block, p, id) {
			missing = append(missing, p)
			continue
		}
		end, err := a.client.GetOffset(g.Topic, p, sarama.OffsetNewest)
		if err != nil {
			return fail(fmt.Errorf("end of %s/%d: %w", g.Topic, p, err))
		}
		if block.Offset > end {
			missing = append(missing, p)
		}
	}
	return missing, len(parts), id, nil
}

// GroupsReady reports whether each group has committed offsets on its topic, so that events written from now on will reach it. One partition is enough: one
// that was added to the topic must not stop what writes to it. There a group of ours ([Intake], [Consumer]) reads from the oldest record; Knative's begins at
// the end when it first sees the partition, unless EnsureStart gave it a position before. The error names the first group without any.
func (a *Admin) GroupsReady(ctx context.Context, groups []GroupTopic) error {
	for _, g := range groups {
		missing, all, _, err := a.uncommitted(ctx, g)
		if err != nil {
			return err
		}
		if len(missing) == all {
			return fmt.Errorf("group %s has no committed offset on %s: run provision", g.Group, g.Topic)
		}
	}
	return nil
}
