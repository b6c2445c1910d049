package source

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"millrace/functions/replay/internal/plan"
	"millrace/shared/event"
	"millrace/shared/kafka"
)

// fetchBytes is how much is asked of a partition at a time, as it lies in the log.
const fetchBytes = 512 << 10

// Topic is a topic in Kafka.
type Topic struct {
	client sarama.Client
	reader *kafka.Reader
	name   string
	decode func(*sarama.ConsumerMessage) (*event.Event, error)
}

// NewTopic returns the topic; client stays the caller's to close.
func NewTopic(client sarama.Client, name string) *Topic {
	return &Topic{client: client, reader: kafka.NewReader(client), name: name, decode: kafka.Decode}
}

// Scan calls f with each record that was written at from (the zero time: all there are) or later, until the topic's end as it is now, or f fails. It returns what was
// read. forgotten are the partitions of which Kafka has deleted records since from.
func (t *Topic) Scan(ctx context.Context, from time.Time, f func(Record) error) (origin plan.Origin, forgotten []int32, err error) {
	found, err := t.reader.Topic(ctx, t.name)
	if err != nil {
		return origin, nil, err
	}
	origin.Topic = plan.Topic{Name: t.name, ID: found.ID}
	for _, p := range found.Partitions {
		span, err := t.reader.Span(ctx, t.name, p)
		if err != nil {
			return origin, nil, err
		}
		at, err := t.start(p, span, from)
		if err != nil {
			return origin, nil, err
		}
		// What lies before the log's start may have been of that time.
		if span.Start > 0 && at == span.Start {
			forgotten = append(forgotten, p)
		}
		part := plan.Partition{Partition: p, From: at, Next: span.End}
		if err := t.scan(ctx, part, f); err != nil {
			if !errors.Is(err, ErrStop) {
				return origin, nil, err
			}
			origin.Partitions = append(origin.Partitions, part)
			return origin, forgotten, nil
		}
		origin.Partitions = append(origin.Partitions, part)
	}
	return origin, forgotten, nil
}

// Total returns how many records Scan would read now.
func (t *Topic) Total(ctx context.Context, from time.Time) (int64, error) {
	found, err := t.reader.Topic(ctx, t.name)
	if err != nil {
		return 0, err
	}
	var n int64
	for _, p := range found.Partitions {
		span, err := t.reader.Span(ctx, t.name, p)
		if err != nil {
			return 0, err
		}
		at, err := t.start(p, span, from)
		if err != nil {
			return 0, err
		}
		n += span.End - at
	}
	return n, nil
}

// start returns the offset to read from: that of the first record of the time or later.
func (t *Topic) start(partition int32, span kafka.Span, from time.Time) (int64, error) {
	if from.IsZero() {
		return span.Start, nil
	}
	at, err := t.client.GetOffset(t.name, partition, from.UnixMilli())
	if err != nil {
		return 0, fmt.Errorf("offset of %s/%d at %s: %w", t.name, partition, from.UTC().Format(time.RFC3339), err)
	}
	if at < 0 { // no record is as young
		return span.End, nil
	}
	return min(max(at, span.Start), span.End), nil
}

func (t *Topic) scan(ctx context.Context, part plan.Partition, f func(Record) error) error {
	type fetched struct {
		kafka.Batch
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	batches := make(chan fetched)
	var fetching sync.WaitGroup
	fetching.Go(func() { // the next one, while f has the last
		defer close(batches)
		for at := part.From; at < part.Next; {
			batch, err := t.reader.Fetch(ctx, t.name, part.Partition, at, fetchBytes)
			select {
			case batches <- fetched{batch, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			at = batch.Next
		}
	})
	defer fetching.Wait()
	defer cancel()
	for batch := range batches {
		if batch.err != nil {
			return batch.err
		}
		for _, m := range batch.Records {
			if m.Offset >= part.Next {
				return nil
			}
			e, err := t.decode(m)
			if err != nil && !errors.Is(err, kafka.ErrNotCloudEvent) {
				return err
			}
			if err != nil {
				e = nil
			}
			if err := f(Record{Place: plan.Place{Partition: m.Partition, Offset: m.Offset}, Event: e, Time: m.Timestamp}); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// Record returns the record at an offset. The error wraps ErrGone where Kafka holds none there.
func (t *Topic) Record(ctx context.Context, partition int32, offset int64) (Record, error) {
	r := Record{Place: plan.Place{Partition: partition, Offset: offset}}
	batch, err := t.reader.Fetch(ctx, t.name, partition, offset, 1)
	if errors.Is(err, sarama.ErrOffsetOutOfRange) || err == nil && (len(batch.Records) == 0 || batch.Records[0].Offset != offset) {
		return r, fmt.Errorf("%s/%d@%d: %w", t.name, partition, offset, ErrGone)
	}
	if err != nil {
		return r, err
	}
	r.Time = batch.Records[0].Timestamp
	if e, err := t.decode(batch.Records[0]); err == nil {
		r.Event = e
	}
	return r, nil
}

// Check compares a plan's origin with what is there now: the topic's id, and that Kafka still holds every offset of the entries. The error wraps ErrGone where one is
// gone, and says which.
func (t *Topic) Check(ctx context.Context, origin plan.Origin, entries []plan.Entry) error {
	if err := t.same(ctx, origin); err != nil {
		return err
	}
	first, last := map[int32]int64{}, map[int32]int64{}
	for _, e := range entries {
		if at, ok := first[e.Partition]; !ok || e.Offset < at {
			first[e.Partition] = e.Offset
		}
		last[e.Partition] = max(last[e.Partition], e.Offset)
	}
	var errs []error
	for p := range first {
		span, err := t.reader.Span(ctx, t.name, p)
		if err != nil {
			return err
		}
		if first[p] < span.Start {
			errs = append(errs, fmt.Errorf("%s/%d holds offsets from %d on, and the plan's begin at %d: plan again with --lake: %w", t.name, p, span.Start, first[p], ErrGone))
		}
		if last[p] >= span.End {
			errs = append(errs, fmt.Errorf("%s/%d ends at %d, and the plan's offsets at %d: %w", t.name, p, span.End, last[p], ErrGone))
		}
	}
	return errors.Join(errs...)
}

func (t *Topic) same(ctx context.Context, origin plan.Origin) error {
	found, err := t.reader.Topic(ctx, t.name)
	if err != nil {
		return err
	}
	if found.ID != origin.ID || t.name != origin.Name {
		return fmt.Errorf("topic %s has the id %s; the plan was made of %s with the id %s: %w", t.name, found.ID, origin.Name, origin.ID, ErrGone)
	}
	return nil
}

// Events calls f with the event of each entry, in order. Entries of one partition must be in the order of their offsets.
func (t *Topic) Events(ctx context.Context, _ plan.Origin, entries []plan.Entry, f func(plan.Entry, Record) error) error {
	for i := 0; i < len(entries); {
		p := entries[i].Partition
		batch, err := t.reader.Fetch(ctx, t.name, p, entries[i].Offset, fetchBytes)
		if errors.Is(err, sarama.ErrOffsetOutOfRange) {
			return fmt.Errorf("event %s at %s/%d@%d: %w: %w", entries[i].Root, t.name, p, entries[i].Offset, ErrGone, err)
		}
		if err != nil {
			return err
		}
		if batch.Next <= entries[i].Offset {
			return fmt.Errorf("event %s: %s/%d@%d cannot be read: %w", entries[i].Root, t.name, p, entries[i].Offset, ErrGone)
		}
		n := 0
		for i < len(entries) && entries[i].Partition == p && entries[i].Offset < batch.Next {
			for n < len(batch.Records) && batch.Records[n].Offset < entries[i].Offset {
				n++
			}
			r := Record{Place: entries[i].Place}
			if n < len(batch.Records) && batch.Records[n].Offset == entries[i].Offset {
				m := batch.Records[n]
				r.Time = m.Timestamp
				if e, err := t.decode(m); err == nil { // what is no event is told by verify
					r.Event = e
				}
			}
			if err := verify(r.Event, entries[i]); err != nil {
				return err
			}
			if err := f(entries[i], r); err != nil {
				return err
			}
			i++
		}
	}
	return nil
}
