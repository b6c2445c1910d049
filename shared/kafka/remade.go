package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// errNoTopicID says that the cluster tells no ids of topics: a Kafka before 2.8.
var errNoTopicID = errors.New("the cluster gives the topic no id, which needs Kafka 2.8 or later")

// stampPrefix begins the metadata of a commit that says of which topic its offset is.
const stampPrefix = "topic="

// stampRoom is how long a stamp is at most, with an id of 22 characters.
const stampRoom = 32

// stamp puts before a commit's metadata the id of the topic whose offset is committed. An offset alone says nothing once the topic was deleted and made anew: the old one's would skip as
// many events of the new.
func stamp(id, metadata string) string {
	if id == "" {
		return metadata
	}
	return stampPrefix + id + " " + metadata
}

// cutStamp takes the stamp off a commit's metadata. id is "" where there is none: a commit of somebody else's, or of a release before there were stamps.
func cutStamp(metadata string) (id, rest string) {
	stamped, ok := strings.CutPrefix(metadata, stampPrefix)
	if !ok {
		return "", metadata
	}
	id, rest, _ = strings.Cut(stamped, " ")
	return id, rest
}

// otherTopic reports whether a commit with this metadata was made on a topic that is not there any more, but another of its name. It cannot be known of a commit without a stamp.
func otherTopic(metadata, id string) bool {
	of, _ := cutStamp(metadata)
	return of != "" && id != "" && of != id
}

// topicID returns the topic's id, "" where the cluster tells none.
func topicID(ctx context.Context, client sarama.Client, topic string) (string, error) {
	t, err := NewReader(client).Topic(ctx, topic)
	if errors.Is(err, errNoTopicID) {
		return "", nil
	}
	return t.ID, err
}

// watchEvery is how often a member asks whether its topics are still those that it joined on.
const watchEvery = 2 * time.Second

// generation is a group's handler in one generation, on the topics as they were when it began. Where one of them is not what a commit says, it begins at the topic's oldest record; what is
// marked says of which topic it is; and it ends once a topic is another, or gone.
type generation struct {
	sarama.ConsumerGroupHandler
	m      *member
	client sarama.Client
	end    context.CancelFunc // ends the generation
	stop   context.CancelFunc // ends the watch
	watch  sync.WaitGroup
}

// Setup implements [sarama.ConsumerGroupHandler].
func (g *generation) Setup(gs sarama.ConsumerGroupSession) error {
	ids := make(map[string]string, len(g.m.topics))
	for _, topic := range g.m.topics {
		id, err := topicID(gs.Context(), g.client, topic)
		if err != nil {
			return err
		}
		ids[topic] = id
	}
	g.m.ids = ids
	if err := g.begin(gs); err != nil {
		return err
	}
	if err := g.ConsumerGroupHandler.Setup(stamped{gs, g.m, ids}); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(gs.Context())
	g.stop = stop
	g.watch.Go(func() { g.look(ctx, ids) })
	return nil
}

// ConsumeClaim implements [sarama.ConsumerGroupHandler].
func (g *generation) ConsumeClaim(gs sarama.ConsumerGroupSession, gc sarama.ConsumerGroupClaim) error {
	return g.ConsumerGroupHandler.ConsumeClaim(stamped{gs, g.m, g.m.ids}, gc)
}

// Cleanup implements [sarama.ConsumerGroupHandler].
func (g *generation) Cleanup(gs sarama.ConsumerGroupSession) error {
	if g.stop != nil {
		g.stop()
		g.watch.Wait()
	}
	return g.ConsumerGroupHandler.Cleanup(stamped{gs, g.m, g.m.ids})
}

// begin takes back the positions that are of a topic which was made anew since, before sarama reads on from them, and puts stamps on those that have none.
func (g *generation) begin(gs sarama.ConsumerGroupSession) error {
	if len(gs.Claims()) == 0 {
		return nil
	}
	commits, err := g.m.fetchCommits(g.client, gs.Claims())
	if err != nil {
		return err
	}
	for topic, partitions := range gs.Claims() {
		id := g.m.ids[topic]
		for _, p := range partitions {
			b := commits.GetBlock(topic, p)
			if b == nil || b.Offset < 0 || id == "" {
				continue
			}
			if !errors.Is(b.Err, sarama.ErrNoError) {
				return fmt.Errorf("committed offset of %s/%d: %w", topic, p, b.Err)
			}
			if !otherTopic(b.Metadata, id) {
				if of, _ := cutStamp(b.Metadata); of == "" {
					stamped{gs, g.m, g.m.ids}.ResetOffset(topic, p, b.Offset, b.Metadata)
				}
				continue
			}
			oldest, err := g.client.GetOffset(topic, p, sarama.OffsetOldest)
			if err != nil {
				return fmt.Errorf("oldest offset of %s/%d: %w", topic, p, err)
			}
			of, _ := cutStamp(b.Metadata)
			g.m.logger.Error("the topic was deleted and made anew: the committed offset is the old one's, and reading begins at the new one's oldest record; what was not read of the old one is lost",
				"topic", topic, "group", g.m.group, "partition", p, "committed", b.Offset, "of_topic_id", of, "topic_id", id, "oldest", oldest)
			stamped{gs, g.m, g.m.ids}.ResetOffset(topic, p, oldest, "") // it takes lower offsets only; from a higher one sarama goes to the oldest by itself
		}
	}
	return nil
}

// look ends the generation once a topic is another than the one that it began with, whose offsets mean nothing, or gone.
func (g *generation) look(ctx context.Context, ids map[string]string) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	missing := map[string]int{} // times in a row
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for topic, id := range ids {
			now, err := topicID(ctx, g.client, topic)
			log := g.m.logger.With("topic", topic, "group", g.m.group, "topic_id", id)
			switch {
			case errors.Is(err, sarama.ErrUnknownTopicOrPartition):
				if missing[topic]++; missing[topic] < 2 {
					continue // one broker may be late
				}
				log.Error("the topic is gone: it was deleted; run provision, which makes it anew, and it is read from its beginning")
			case err != nil:
				continue // an outage, which others tell of
			case now == id || id == "":
				delete(missing, topic)
				continue
			default:
				log.Error("the topic was deleted and made anew", "new_topic_id", now)
			}
			g.end()
			return
		}
	}
}

// stamped is a session whose commits say of which topic they are.
type stamped struct {
	sarama.ConsumerGroupSession
	m   *member
	ids map[string]string
}

// MarkOffset implements [sarama.ConsumerGroupSession].
func (s stamped) MarkOffset(topic string, partition int32, offset int64, metadata string) {
	s.ConsumerGroupSession.MarkOffset(topic, partition, offset, s.stamp(topic, metadata))
}

// ResetOffset implements [sarama.ConsumerGroupSession].
func (s stamped) ResetOffset(topic string, partition int32, offset int64, metadata string) {
	s.ConsumerGroupSession.ResetOffset(topic, partition, offset, s.stamp(topic, metadata))
}

func (s stamped) stamp(topic, metadata string) string {
	if s.m.unstamped.Load() {
		return metadata
	}
	return stamp(s.ids[topic], metadata)
}
