package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/kelseyhightower/envconfig"

	"millrace/shared/kafka"
	"millrace/shared/search"
	"millrace/shared/serve"
	"millrace/shared/telemetry"
)

// config is all that load-search reads from its environment.
type config struct {
	telemetry.Log
	serve.Address

	URL      string        `envconfig:"ELASTICSEARCH_URL" required:"true" desc:"address; may hold user and password: never printed"`
	APIKey   string        `envconfig:"ELASTICSEARCH_API_KEY" desc:"in place of user and password; secret"`
	Replicas int           `envconfig:"INDEX_REPLICAS" default:"0" desc:"copies beside the primary, of new indexes"`
	Timeout  time.Duration `envconfig:"ELASTICSEARCH_REQUEST_TIMEOUT" default:"10s" desc:"time for one request"`
	Prefix   string        `envconfig:"INDEX_PREFIX" desc:"before all names of indexes and templates"`
	Bytes    int           `envconfig:"BULK_BYTES" default:"5242880" desc:"bytes of one bulk request"`
	Items    int           `envconfig:"BULK_DOCUMENTS" default:"1000" desc:"documents of one bulk request"`

	Contracts         string        `envconfig:"CONTRACTS" desc:"a directory beside the embedded contracts"`
	ContractsInterval time.Duration `envconfig:"CONTRACTS_INTERVAL" default:"10s" desc:"how often the directory is looked at"`
	ContractsWait     time.Duration `envconfig:"CONTRACTS_WAIT" default:"30s" desc:"how long events wait for a contract that enrich has read earlier"`

	DeadSink string `envconfig:"DEAD_SINK" default:"kafka:///events.dead" desc:"where dead letters go"`
	Brokers  string `envconfig:"KAFKA_BROKERS" desc:"host:port, comma separated; for a sink that names none"`

	FlushInterval time.Duration `envconfig:"FLUSH_INTERVAL" default:"5ms" desc:"how long an event waits for others"`
	FlushEvents   int           `envconfig:"FLUSH_EVENTS" default:"500" desc:"events of one batch"`
	FlushBytes    int64         `envconfig:"FLUSH_BYTES" default:"5242880" desc:"bytes of one batch"`
	InFlight      int64         `envconfig:"MAX_BYTES_IN_FLIGHT" default:"33554432" desc:"bytes of events held"`
	BatchTimeout  time.Duration `envconfig:"BATCH_TIMEOUT" default:"25s" desc:"time for one batch, all requests together"`
	Attempts      int           `envconfig:"MAX_ATTEMPTS" default:"5" desc:"attempts of an event while others pass"`

	brokers []string // of DeadSink
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

// Validate joins everything that is wrong, and resolves the sink.
func (c *config) Validate() error {
	errs := []error{c.Address.Validate()}
	positive := func(name string, n int64) {
		if n <= 0 {
			errs = append(errs, fmt.Errorf("%s must be above 0", name))
		}
	}
	if c.Replicas < 0 {
		errs = append(errs, errors.New("INDEX_REPLICAS must not be negative"))
	}
	positive("ELASTICSEARCH_REQUEST_TIMEOUT", int64(c.Timeout))
	positive("BULK_BYTES", int64(c.Bytes))
	positive("BULK_DOCUMENTS", int64(c.Items))
	positive("CONTRACTS_INTERVAL", int64(c.ContractsInterval))
	if c.ContractsWait < 0 {
		errs = append(errs, errors.New("CONTRACTS_WAIT must not be negative"))
	}
	positive("FLUSH_INTERVAL", int64(c.FlushInterval))
	positive("FLUSH_EVENTS", int64(c.FlushEvents))
	positive("FLUSH_BYTES", c.FlushBytes)
	positive("MAX_BYTES_IN_FLIGHT", c.InFlight)
	positive("BATCH_TIMEOUT", int64(c.BatchTimeout))
	positive("MAX_ATTEMPTS", int64(c.Attempts))
	var err error
	if c.brokers, c.topic, err = kafka.ParseURL(c.DeadSink, kafka.SplitBrokers(c.Brokers)); err != nil {
		errs = append(errs, fmt.Errorf("DEAD_SINK: %w", err))
	}
	return errors.Join(errs...)
}

func (c *config) search() search.Options {
	return search.Options{
		URL: c.URL, APIKey: c.APIKey, Prefix: c.Prefix, Replicas: c.Replicas,
		MaxBytes: c.Bytes, MaxItems: c.Items, Timeout: c.Timeout,
	}
}

func (c *config) intake() serve.Options {
	return serve.Options{
		MaxBytes: c.InFlight, MaxBatch: c.FlushEvents, MaxBatchBytes: c.FlushBytes, MaxWait: c.FlushInterval, Timeout: c.BatchTimeout,
	}
}
