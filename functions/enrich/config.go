package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/kelseyhightower/envconfig"

	"millrace/shared/function"
	"millrace/shared/kafka"
)

// config is all that enrich reads from its environment.
type config struct {
	function.Process
	function.Brokers
	function.Output
	function.DeadLetters
	function.Contracts
	function.Intake

	SendTimeout time.Duration `envconfig:"SEND_TIMEOUT" default:"10s" desc:"time for one batch to one sink"`

	from       kafka.Subscription
	sink, dead function.Target
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
	errs := []error{c.Process.Validate(), c.Contracts.Validate(), c.Intake.Validate(), c.Brokers.Validate()}
	if c.SendTimeout <= 0 || 2*c.SendTimeout > c.BatchTimeout {
		errs = append(errs, errors.New("SEND_TIMEOUT must be above 0, and BATCH_TIMEOUT must leave it to each of the two sinks"))
	}
	var err error
	c.sink, err = c.Out(c.Brokers, "kafka:///events.enriched")
	errs = append(errs, err)
	c.from, err = c.From(c.Brokers)
	errs = append(errs, err)
	c.dead, err = c.Dead(c.Brokers)
	return errors.Join(append(errs, err)...)
}
