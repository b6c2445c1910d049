package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"millrace/shared/kafka"
)

// sinks are the two topics, through one producer where their brokers are the same.
type sinks struct {
	enriched, dead *kafka.Sink
	producers      []*kafka.Producer
}

// openSinks returns at once, also while Kafka is away: the producers connect by themselves.
func openSinks(c *config, logger *slog.Logger) *sinks {
	o := kafka.ProducerOptions{ClientID: "millrace-" + stage, Timeout: c.SendTimeout, Buffer: c.InFlight, Logger: logger}
	p := kafka.NewProducer(c.sink.brokers, o)
	s := &sinks{enriched: p.Sink(c.sink.topic), producers: []*kafka.Producer{p}}
	if !slices.Equal(c.sink.brokers, c.dead.brokers) {
		p = kafka.NewProducer(c.dead.brokers, o)
		s.producers = append(s.producers, p)
	}
	s.dead = p.Sink(c.dead.topic)
	return s
}

// ready is nil once both topics are seen.
func (s *sinks) ready(ctx context.Context) error {
	return errors.Join(s.enriched.Ready(ctx), s.dead.Ready(ctx))
}

// close flushes what is handed over and not confirmed.
func (s *sinks) close(ctx context.Context) error {
	var errs []error
	for _, p := range s.producers {
		errs = append(errs, p.Close(ctx))
	}
	return errors.Join(errs...)
}
