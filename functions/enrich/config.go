package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/kelseyhightower/envconfig"

	"millrace/shared/kafka"
	"millrace/shared/serve"
	"millrace/shared/telemetry"
)

// config is all that enrich reads from its environment.
type config struct {
	telemetry.Log
	serve.Address

	Brokers  string `envconfig:"KAFKA_BROKERS" desc:"host:port, comma separated; for sinks that name none"`
	Sink     string `envconfig:"SINK" default:"kafka:///events.enriched" desc:"where enriched events go"`
	DeadSink string `envconfig:"DEAD_SINK" default:"kafka:///events.dead" desc:"where dead letters go"`

	Contracts         string        `envconfig:"CONTRACTS" desc:"a directory beside the embedded contracts"`
	ContractsInterval time.Duration `envconfig:"CONTRACTS_INTERVAL" default:"10s" desc:"how often the directory is looked at"`

	FlushInterval time.Duration `envconfig:"FLUSH_INTERVAL" default:"5ms" desc:"how long an event waits for others"`
	FlushEvents   int           `envconfig:"FLUSH_EVENTS" default:"500" desc:"events of one batch"`
	FlushBytes    int64         `envconfig:"FLUSH_BYTES" default:"8388608" desc:"bytes of one batch"`
	InFlight      int64         `envconfig:"MAX_BYTES_IN_FLIGHT" default:"25165824" desc:"bytes of events held, beside what waits for Kafka"`
	BatchTimeout  time.Duration `envconfig:"BATCH_TIMEOUT" default:"25s" desc:"time for one batch, both sinks together"`
	SendTimeout   time.Duration `envconfig:"SEND_TIMEOUT" default:"10s" desc:"time for one batch to one sink"`
	Attempts      int           `envconfig:"MAX_ATTEMPTS" default:"5" desc:"attempts of an event while others pass"`

	sink, dead target
}

// target is a parsed sink.
type target struct {
	brokers []string
	topic   string
}

func readConfig() (*config, error) {
	c := new(config)
	if err := envconfig.Process("", c); err != nil {
		return nil, fmt.Errorf("reading the environment: %w", err)
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return c, nil
}

// Validate joins everything that is wrong, and resolves the sinks.
func (c *config) Validate() error {
	errs := []error{c.Address.Validate()}
	positive := func(name string, n int64) {
		if n <= 0 {
			errs = append(errs, fmt.Errorf("%s must be above 0", name))
		}
	}
	positive("CONTRACTS_INTERVAL", int64(c.ContractsInterval))
	positive("FLUSH_INTERVAL", int64(c.FlushInterval))
	positive("FLUSH_EVENTS", int64(c.FlushEvents))
	positive("FLUSH_BYTES", c.FlushBytes)
	positive("MAX_BYTES_IN_FLIGHT", c.InFlight)
	positive("BATCH_TIMEOUT", int64(c.BatchTimeout))
	positive("SEND_TIMEOUT", int64(c.SendTimeout))
	positive("MAX_ATTEMPTS", int64(c.Attempts))
	if 2*c.SendTimeout > c.BatchTimeout {
		errs = append(errs, errors.New("BATCH_TIMEOUT must leave SEND_TIMEOUT to each of the two sinks"))
	}
	parse := func(name, sink string) (t target) {
		var err error
		if t.brokers, t.topic, err = kafka.ParseURL(sink, kafka.SplitBrokers(c.Brokers)); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		return t
	}
	c.sink, c.dead = parse("SINK", c.Sink), parse("DEAD_SINK", c.DeadSink)
	return errors.Join(errs...)
}

func (c *config) intake() serve.Options {
	return serve.Options{
		MaxBytes: c.InFlight, MaxBatch: c.FlushEvents, MaxBatchBytes: c.FlushBytes, MaxWait: c.FlushInterval, Timeout: c.BatchTimeout,
	}
}
