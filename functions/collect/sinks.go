package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/types"

	"millrace/shared/kafka"
	"millrace/shared/serve"
	"millrace/shared/telemetry"
)

// sinks are the two topics, through one producer where their brokers are the same.
type sinks struct {
	raw, dead *kafka.Sink
	producers []*kafka.Producer
	brokers   []string // of the groups' topics
	groups    []kafka.GroupTopic
}

// openSinks returns at once, also while Kafka is away: the producers connect by themselves.
func openSinks(cfg *config, logger *slog.Logger) *sinks {
	o := kafka.ProducerOptions{
		ClientID: "millrace-collect", Timeout: cfg.SendTimeout, Buffer: cfg.SendBufferBytes, Linger: cfg.SendLinger, Logger: logger,
	}
	s := &sinks{brokers: cfg.rawBrokers, groups: cfg.groups}
	p := kafka.NewProducer(cfg.rawBrokers, o)
	s.producers = append(s.producers, p)
	s.raw = p.Sink(cfg.rawTopic)
	if !slices.Equal(cfg.rawBrokers, cfg.deadBrokers) {
		p = kafka.NewProducer(cfg.deadBrokers, o)
		s.producers = append(s.producers, p)
	}
	s.dead = p.Sink(cfg.deadTopic)
	return s
}

// ready is nil once both topics are seen and the groups have offsets.
func (s *sinks) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, sink := range []*kafka.Sink{s.raw, s.dead} {
		if err := sink.Ready(ctx); err != nil {
			return err
		}
	}
	if len(s.groups) == 0 {
		return nil
	}
	config := kafka.NewConfig("millrace-collect-ready")
	config.Metadata.Retry.Max = 1 // it will be asked again
	config.Net.ReadTimeout, config.Net.WriteTimeout = 5*time.Second, 5*time.Second
	admin, err := kafka.NewAdmin(s.brokers, config)
	if err != nil {
		return err
	}
	return errors.Join(admin.GroupsReady(ctx, s.groups), admin.Close())
}

// close flushes what is handed over and not confirmed.
func (s *sinks) close(ctx context.Context) error {
	var errs []error
	for _, p := range s.producers {
		errs = append(errs, p.Close(ctx))
	}
	return errors.Join(errs...)
}

// newCollector wires a collector; register makes its metrics.
func newCollector(cfg *config, raw, dead publisher, clock func() time.Time, logger *slog.Logger) *collector {
	source := *types.ParseURIRef(cfg.Source)
	return &collector{
		maker: &maker{
			source: source, sourceText: source.String(), collectorID: cfg.collector(), lowercase: cfg.LowercaseExtensions, newID: newID,
		},
		raw: raw, dead: dead,
		admission: serve.NewAdmission(cfg.MaxHeldBytes),
		limits:    limits{body: cfg.MaxBodyBytes, events: cfg.MaxEvents, retryAfter: cfg.RetryAfter},
		clock:     clock, logger: logger, version: telemetry.Version(),
	}
}
