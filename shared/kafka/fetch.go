package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// Why an offset that Fetch passed holds no record for a reader of committed records.
const (
	SkipControl = "control" // a transaction's marker
	SkipAborted = "aborted" // a record of an aborted transaction
	SkipAbsent  = "absent"  // the topic holds no record there, as after compaction
)

// Reader reads a topic from offset to offset, without a group and without hidden positions. sarama's PartitionConsumer hands
// over neither control records nor aborted ones nor where it stands, so "read until the end" can wait for ever with it; Fetch says for each
// offset that it passed what became of it.
//
// It reads committed records only. It keeps no state and is safe for concurrent use. Its methods check ctx between requests; one
// request ends by the client's Net.ReadTimeout.
type Reader struct {
	client sarama.Client
}

// NewReader returns a reader on the client, which stays the caller's to close.
func NewReader(client sarama.Client) *Reader { return &Reader{client: client} }

// Topic is a topic as the cluster knows it.
type Topic struct {
	Name string
	// ID is the topic's id in Kafka's own spelling, URL-safe base64. A topic that is deleted and created anew has another one.
	ID         string
	Partitions []int32 // in order
}

// Topic asks the cluster for the topic, past any cache. One that does not exist is sarama.ErrUnknownTopicOrPartition
// (wrapped) and is not created.
func (r *Reader) Topic(ctx context.Context, name string) (Topic, error) {
	var t Topic
	err := r.retry(ctx, name, func() error {
		b := r.client.LeastLoadedBroker()
		if b == nil {
			return sarama.ErrOutOfBrokers
		}
		// Version 10 is the first to carry topic ids, whatever the client's own version.
		resp, err := b.GetMetadata(&sarama.MetadataRequest{Version: 10, Topics: []string{name}})
		if err != nil {
			return errors.Join(err, b.Close())
		}
		if len(resp.Topics) != 1 || resp.Topics[0].Name != name {
			return sarama.ErrIncompleteResponse
		}
		m := resp.Topics[0]
		if m.Err != sarama.ErrNoError {
			return m.Err
		}
		if m.Uuid == (sarama.Uuid{}) {
			return errNoTopicID
		}
		t = Topic{Name: name, ID: m.Uuid.String()}
		for _, p := range m.Partitions {
			t.Partitions = append(t.Partitions, p.ID)
		}
		slices.Sort(t.Partitions)
		return nil
	})
	if err != nil {
		return Topic{}, fmt.Errorf("metadata of topic %s: %w", name, err)
	}
	return t, nil
}

// Span is what a partition holds for a reader of committed records: the offsets from Start up to but not including End.
type Span struct {
	Start int64 // the log's start
	End   int64 // the last stable offset: open transactions lie behind it
}

// Span returns what the partition holds now.
func (r *Reader) Span(ctx context.Context, topic string, partition int32) (Span, error) {
	var s Span
	err := r.retry(ctx, topic, func() error {
		b, err := r.client.Leader(topic, partition)
		if err != nil {
			return err
		}
		for _, q := range []struct {
			at  int64
			out *int64
		}{{sarama.OffsetOldest, &s.Start}, {sarama.OffsetNewest, &s.End}} {
			req := sarama.NewOffsetRequest(r.client.Config().Version)
			req.IsolationLevel = sarama.ReadCommitted
			req.AddBlock(topic, partition, q.at, 1)
			resp, err := b.GetAvailableOffsets(req)
			if err != nil {
				return errors.Join(err, b.Close())
			}
			block := resp.GetBlock(topic, partition)
			if block == nil {
				return sarama.ErrIncompleteResponse
			}
			if block.Err != sarama.ErrNoError {
				return block.Err
			}
			*q.out = block.Offset
		}
		return nil
	})
	if err != nil {
		return Span{}, fmt.Errorf("offsets of %s/%d: %w", topic, partition, err)
	}
	return s, nil
}

// Batch is what one Fetch read.
type Batch struct {
	// Records are the committed records from the offset asked for on, in order. They alias one buffer of the batch.
	Records []*sarama.ConsumerMessage
	// Skipped are the other offsets before Next, in order, neighbours of one reason joined.
	Skipped []Skip
	// Next is the offset to go on from; the offset asked for where nothing was read.
	Next int64
	// Stable is the last stable offset: where Next has reached it, there is no more to read now.
	Stable int64

	// Epochs are the leader epochs of the batches of records read, in order, neighbours of one epoch joined. LeaderEpoch looks into them.
	Epochs []Epoch
}

// Epoch is the leader epoch of the offsets up to Last.
type Epoch struct {
	Last   int64
	Leader int32
}

// LeaderEpoch returns the epoch of the leader that appended the offset, which stays with it: after a truncation what takes the offset's place has a higher one. -1 where it was
// not read or the broker does not say; of an absent offset it is the next one's.
func (b Batch) LeaderEpoch(offset int64) int32 {
	for _, e := range b.Epochs {
		if offset <= e.Last {
			return e.Leader
		}
	}
	return -1
}

// Skip is a run of offsets, both ends included, that hold no record to read.
type Skip struct {
	First, Last int64
	Reason      string // SkipControl, SkipAborted or SkipAbsent
}

// Fetch reads some records of the partition from the offset on: at most about maxBytes as they lie in the log, which are more once
// decompressed, but always one whole batch of records. It waits up to half a second for a record, and returns an empty Batch where none came.
// sarama.ErrOffsetOutOfRange (wrapped): Kafka does not hold the offset, no longer or not yet; Span tells.
func (r *Reader) Fetch(ctx context.Context, topic string, partition int32, from int64, maxBytes int32) (Batch, error) {
	var out Batch
	err := r.retry(ctx, topic, func() error {
		b, err := r.client.Leader(topic, partition)
		if err != nil {
			return err
		}
		for size := maxBytes; ; size *= 2 {
			// The partition's limit is the one that counts. kfake leaves the aborted transactions out where the request's limit cuts an answer
			// short, which would let aborted records pass as committed ones.
			req := &sarama.FetchRequest{Version: 11, MaxWaitTime: 500, MinBytes: 1, MaxBytes: math.MaxInt32, Isolation: sarama.ReadCommitted, SessionEpoch: -1}
			req.AddBlock(topic, partition, from, size, -1)
			resp, err := b.Fetch(req)
			if err != nil {
				return errors.Join(err, b.Close())
			}
			block := resp.GetBlock(topic, partition)
			if block == nil {
				return sarama.ErrIncompleteResponse
			}
			if block.Err != sarama.ErrNoError {
				return block.Err
			}
			var partial bool
			if out, partial, err = decodeBlock(topic, partition, from, block); err != nil {
				return err
			}
			// Brokers send the first batch whole whatever its size; one that does not is asked for more.
			if !partial || out.Next > from {
				return nil
			}
			if size > 1<<29 {
				return fmt.Errorf("a batch of records exceeds %d bytes: %w", size, sarama.ErrMessageTooLarge)
			}
		}
	})
	if err != nil {
		return Batch{}, fmt.Errorf("fetch %s/%d at %d: %w", topic, partition, from, err)
	}
	return out, nil
}

func decodeBlock(topic string, partition int32, from int64, block *sarama.FetchResponseBlock) (out Batch, partial bool, err error) {
	out = Batch{Next: from, Stable: block.LastStableOffset}
	partial = block.Partial
	skip := func(first, last int64, reason string) {
		if n := len(out.Skipped); n > 0 && out.Skipped[n-1].Reason == reason && out.Skipped[n-1].Last == first-1 {
			out.Skipped[n-1].Last = last
			return
		}
		out.Skipped = append(out.Skipped, Skip{first, last, reason})
	}
	// pass brings the position to the offset; what lies between is absent.
	pass := func(offset int64) {
		if offset > out.Next {
			skip(out.Next, offset-1, SkipAbsent)
			out.Next = offset
		}
	}
	pending := slices.Clone(block.AbortedTransactions)
	slices.SortFunc(pending, func(a, b *sarama.AbortedTransaction) int { return int(min(max(a.FirstOffset-b.FirstOffset, -1), 1)) })
	aborting := map[int64]bool{} // producers whose transaction, open at this point of the log, is aborted
	for _, set := range block.RecordsSet {
		if set.MsgSet != nil {
			return Batch{}, false, errors.New("records in the format of Kafka 0.10 or older are not read here")
		}
		b := set.RecordBatch
		if b == nil {
			continue
		}
		if b.PartialTrailingRecord {
			partial = true
			break
		}
		last := b.LastOffset()
		for len(pending) > 0 && pending[0].FirstOffset <= last {
			aborting[pending[0].ProducerID] = true
			pending = pending[1:]
		}
		reason := ""
		switch {
		case b.Control:
			reason = SkipControl
			// The key is a version and a type, two bytes each; type 0 ends an aborted transaction.
			if len(b.Records) > 0 && len(b.Records[0].Key) >= 4 && binary.BigEndian.Uint16(b.Records[0].Key[2:]) == 0 {
				delete(aborting, b.ProducerID)
			}
		case b.IsTransactional && aborting[b.ProducerID]:
			reason = SkipAborted
		}
		messages := make([]sarama.ConsumerMessage, len(b.Records))
		for i, rec := range b.Records {
			offset := b.FirstOffset + rec.OffsetDelta
			if offset < out.Next {
				continue // a batch is sent whole though it was asked for from its middle
			}
			pass(offset)
			out.Next = offset + 1
			if reason != "" {
				skip(offset, offset, reason)
				continue
			}
			at := b.FirstTimestamp.Add(rec.TimestampDelta)
			if b.LogAppendTime {
				at = b.MaxTimestamp
			}
			messages[i] = sarama.ConsumerMessage{
				Topic: topic, Partition: partition, Offset: offset, Timestamp: at.UTC(),
				Key: rec.Key, Value: rec.Value, Headers: rec.Headers,
			}
			out.Records = append(out.Records, &messages[i])
		}
		pass(last + 1)
		if n := len(out.Epochs); n > 0 && out.Epochs[n-1].Leader == b.PartitionLeaderEpoch {
			out.Epochs[n-1].Last = last
		} else {
			out.Epochs = append(out.Epochs, Epoch{last, b.PartitionLeaderEpoch})
		}
	}
	return out, partial, nil
}

// retry repeats what fails for reasons that new metadata or a new connection cure, three times within about a second and a half.
func (r *Reader) retry(ctx context.Context, topic string, f func() error) error {
	for attempt := 1; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := f()
		if err == nil || errors.Is(err, sarama.ErrOffsetOutOfRange) || errors.Is(err, sarama.ErrUnknownTopicOrPartition) ||
			errors.Is(err, sarama.ErrTopicAuthorizationFailed) || errors.Is(err, sarama.ErrClosedClient) || errors.Is(err, errNoTopicID) || attempt == 4 {
			return err
		}
		timer := time.NewTimer(time.Duration(attempt) * 250 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(err, ctx.Err())
		case <-timer.C:
		}
		if refresh := r.client.RefreshMetadata(topic); refresh != nil {
			return errors.Join(err, refresh)
		}
	}
}
