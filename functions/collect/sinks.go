package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/cloudevents/sdk-go/v2/types"

	"millrace/shared/function"
	"millrace/shared/kafka"
	"millrace/shared/serve"
	"millrace/shared/telemetry"
)

// assemble puts collect together: the function with its sinks, and what answers producers.
func assemble(cfg *config) (*function.Function, *collector) {
	f := function.New(stage, cfg.Process, 96<<20)
	sinks := f.OpenSinks(kafka.ProducerOptions{Timeout: cfg.SendTimeout, Buffer: cfg.SendBufferBytes, Linger: cfg.SendLinger})
	c := newCollector(cfg, sinks.Open(cfg.sink), sinks.Open(cfg.dead), time.Now, f.Logger)
	c.register(f.Registry)
	c.tracer = f.Tracer
	f.AddReady(groupsReady(cfg.groupBrokers(), cfg.Security, cfg.groups))
	return f, c
}

// groupsReady returns what is nil once the groups have offsets, so that what is collected from then on reaches them.
func groupsReady(brokers []string, security kafka.Security, groups []kafka.GroupTopic) func(context.Context) error {
	return func(ctx context.Context) error {
		if len(groups) == 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		config := kafka.NewConfig("millrace-collect-ready")
		config.Metadata.Retry.Max = 1 // it will be asked again
		config.Net.ReadTimeout, config.Net.WriteTimeout = 5*time.Second, 5*time.Second
		security.Apply(config)
		admin, err := kafka.NewAdmin(brokers, config)
		if err != nil {
			return err
		}
		return errors.Join(admin.GroupsReady(ctx, groups), admin.Close())
	}
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
