package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/IBM/sarama"

	"millrace/functions/load-lake/internal/drain"
	"millrace/shared/kafka"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
)

// errLostLog says that a topic has no landing log, though it was drained before.
var errLostLog = errors.New("the landing log is gone")

// positions is Kafka as lostLog needs it. Its methods block, and an error is an outage.
type positions interface {
	Topic(ctx context.Context, name string) (kafka.Topic, error)
	// Committed returns a group's committed offsets by partition, none where it has none.
	Committed(ctx context.Context, g kafka.GroupTopic) (map[int32]int64, error)
}

// logs is the bucket as lostLog needs it; *objectstore.Bucket is one.
type logs interface {
	PutIfAbsent(ctx context.Context, key string, body []byte) error
	Get(ctx context.Context, key string) ([]byte, error)
	List(ctx context.Context, prefix, startAfter string, max int) ([]objectstore.Info, error)
}

// lostLog keeps a topic from being drained from its beginning where its log was lost: a bucket that was deleted and made anew, or another one by mistake, is empty, and an empty log reads
// as a topic that was never drained. What Kafka still has would be landed twice, and what it has forgotten would be called lost before the first drain. That there was a log, the offsets of
// LAG_GROUP tell, which Kafka forgets together with the topic.
type lostLog struct {
	next    drainer
	topic   string
	group   string // LAG_GROUP; "" asks nothing
	accepts []string
	kafka   positions
	store   logs
}

// Drain implements drainer.
func (l *lostLog) Drain(ctx context.Context, more func() bool) (drain.Result, error) {
	if l.group != "" { // each time: a bucket can go while the function runs
		if err := l.look(ctx); err != nil {
			return drain.Result{}, err
		}
	}
	return l.next.Drain(ctx, more)
}

// look returns errLostLog where there is no log and was one.
func (l *lostLog) look(ctx context.Context) error {
	ids, err := landing.TopicIDs(ctx, l.store, l.topic)
	if err != nil {
		return err
	}
	if len(ids) > 0 { // of this topic, or of an earlier one of its name, which is the drain's business, as is one that does not exist
		return nil
	}
	topic, err := l.kafka.Topic(ctx, l.topic)
	if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		return fmt.Errorf("%w: run provision, which makes it (%w)", drain.ErrNoTopic, err)
	}
	if err != nil {
		return err
	}
	committed, err := l.kafka.Committed(ctx, kafka.GroupTopic{Group: l.group, Topic: l.topic})
	if err != nil {
		return fmt.Errorf("whether %s was drained before: %w", l.topic, err)
	}
	var read int64
	for _, offset := range committed {
		read += max(offset, 0)
	}
	if read == 0 || slices.Contains(l.accepts, topic.ID) {
		return nil
	}
	return fmt.Errorf("%w: the bucket has no log of %s, of which %d offsets were drained by group %s: was the bucket deleted and made anew, or is it another one (S3_BUCKET, S3_BUCKET_PRIVATE)? "+
		"Bring the log back (landing/_log/%s/), best with the objects; or, to land all that Kafka has once more, with what it has forgotten as a lost range, add the topic's id to DRAIN_ACCEPT_LOST_LOG: %s",
		errLostLog, l.topic, read, l.group, l.topic, topic.ID)
}
