package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/kelseyhightower/envconfig"

	"millrace/shared/function"
	"millrace/shared/kafka"
	"millrace/shared/mask"
	"millrace/shared/search"
)

// config is all that load-search reads from its environment.
type config struct {
	function.Process
	function.Brokers
	function.DeadLetters
	function.Contracts
	function.Intake
	search.Access
	mask.Settings

	URL      string        `envconfig:"ELASTICSEARCH_URL" required:"true" desc:"address; may hold user and password: never printed"`
	Replicas int           `envconfig:"INDEX_REPLICAS" default:"0" desc:"copies beside the primary, of new indexes"`
	Timeout  time.Duration `envconfig:"ELASTICSEARCH_REQUEST_TIMEOUT" default:"10s" desc:"time for one request"`
	Prefix   string        `envconfig:"INDEX_PREFIX" desc:"before all names of indexes and templates"`
	Bytes    int           `envconfig:"BULK_BYTES" default:"5242880" desc:"bytes of one bulk request"`
	Items    int           `envconfig:"BULK_DOCUMENTS" default:"2000" desc:"documents of one bulk request"`

	ContractsWait time.Duration `envconfig:"CONTRACTS_WAIT" default:"30s" desc:"how long events wait for a contract that enrich has read earlier"`

	from kafka.Subscription
	dead function.Target
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
	errs := []error{c.Process.Validate(), c.Contracts.Validate(), c.Intake.Validate(), c.Brokers.Validate(), c.Access.Validate(), c.Settings.Validate()}
	if c.Replicas < 0 || c.ContractsWait < 0 {
		errs = append(errs, errors.New("INDEX_REPLICAS and CONTRACTS_WAIT must not be negative"))
	}
	if c.Timeout <= 0 || c.Bytes <= 0 || c.Items <= 0 {
		errs = append(errs, errors.New("ELASTICSEARCH_REQUEST_TIMEOUT, BULK_BYTES and BULK_DOCUMENTS must be above 0"))
	}
	var err error
	c.from, err = c.From(c.Brokers)
	errs = append(errs, err)
	c.dead, err = c.Dead(c.Brokers)
	return errors.Join(append(errs, err)...)
}

func (c *config) search() search.Options {
	return search.Options{
		URL: c.URL, Access: c.Access, Prefix: c.Prefix, Replicas: c.Replicas,
		MaxBytes: c.Bytes, MaxItems: c.Items, Timeout: c.Timeout,
	}
}
