package main

import (
	"context"
	"sync"

	"github.com/IBM/sarama"

	"millrace/shared/kafka"
)

// source reads Kafka by a client that is made when it is first needed: the function starts, and is ready, without Kafka, and an outage is
// a drain's failure.
type source struct {
	brokers  []string
	security kafka.Security

	mu     sync.Mutex
	client sarama.Client
}

func newSource(brokers []string, security kafka.Security) *source {
	return &source{brokers: brokers, security: security}
}

func (s *source) reader(ctx context.Context) (*kafka.Reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.client == nil {
		c := kafka.NewConfig(component)
		c.Metadata.Retry.Max = 4 // the next tick comes soon
		s.security.Apply(c)
		client, err := kafka.Connect(s.brokers, c)
		if err != nil {
			return nil, err
		}
		s.client = client
	}
	return kafka.NewReader(s.client), nil
}

// Topic is kafka.Reader's.
func (s *source) Topic(ctx context.Context, name string) (kafka.Topic, error) {
	r, err := s.reader(ctx)
	if err != nil {
		return kafka.Topic{}, err
	}
	return r.Topic(ctx, name)
}

// Span is kafka.Reader's.
func (s *source) Span(ctx context.Context, topic string, partition int32) (kafka.Span, error) {
	r, err := s.reader(ctx)
	if err != nil {
		return kafka.Span{}, err
	}
	return r.Span(ctx, topic, partition)
}

// Fetch is kafka.Reader's.
func (s *source) Fetch(ctx context.Context, topic string, partition int32, from int64, maxBytes int32) (kafka.Batch, error) {
	r, err := s.reader(ctx)
	if err != nil {
		return kafka.Batch{}, err
	}
	return r.Fetch(ctx, topic, partition, from, maxBytes)
}

// Commit is kafka.Reader's.
func (s *source) Commit(ctx context.Context, g kafka.GroupTopic, next map[int32]int64) error {
	r, err := s.reader(ctx)
	if err != nil {
		return err
	}
	return r.Commit(ctx, g, next)
}

// Committed is kafka.Committed.
func (s *source) Committed(ctx context.Context, g kafka.GroupTopic) (map[int32]int64, error) {
	if _, err := s.reader(ctx); err != nil {
		return nil, err
	}
	return kafka.Committed(s.client, g)
}

// Close closes the client, if there is one. No drain may be under way.
func (s *source) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		return nil
	}
	return s.client.Close()
}
