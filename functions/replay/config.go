package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/kelseyhightower/envconfig"

	"millrace/shared/kafka"
	"millrace/shared/objectstore"
	"millrace/shared/search"
	"millrace/shared/telemetry"
)

// config is what all of replay's commands read from their environment: where the servers are. Everything else is a flag.
type config struct {
	telemetry.Log

	Brokers []string `envconfig:"KAFKA_BROKERS" default:"127.0.0.1:9092" desc:"host:port, comma separated"`
	kafka.Security
	TopicRaw      string `envconfig:"TOPIC_RAW" default:"events.raw" desc:"the topic of raw events"`
	TopicEnriched string `envconfig:"TOPIC_ENRICHED" default:"events.enriched" desc:"the topic of enriched events"`
	TopicDead     string `envconfig:"TOPIC_DEAD" default:"events.dead" desc:"the topic of dead letters"`

	SearchURL   string `envconfig:"ELASTICSEARCH_URL" default:"http://127.0.0.1:9200" desc:"address; may hold user and password: never printed"`
	IndexPrefix string `envconfig:"INDEX_PREFIX" desc:"before all names of indexes"`
	search.Access

	Contracts string `envconfig:"CONTRACTS" desc:"a directory beside the embedded contracts"`

	Endpoint      string `envconfig:"S3_ENDPOINT" default:"http://127.0.0.1:9000" desc:"http or https URL; for --lake, reconcile and trace"`
	Region        string `envconfig:"S3_REGION" default:"us-east-1" desc:"region to sign for"`
	Bucket        string `envconfig:"S3_BUCKET" default:"millrace" desc:"enriched objects and their log"`
	BucketPrivate string `envconfig:"S3_BUCKET_PRIVATE" default:"millrace-private" desc:"raw and dead ones and their logs"`
	objectstore.Keys
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

// Validate joins everything that is wrong.
func (c *config) Validate() error {
	var errs []error
	c.Brokers = kafka.SplitBrokers(strings.Join(c.Brokers, ","))
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("KAFKA_BROKERS must be a list host:port,host:port"))
	}
	if c.TopicRaw == c.TopicEnriched || c.TopicRaw == c.TopicDead || c.TopicEnriched == c.TopicDead {
		errs = append(errs, errors.New("TOPIC_RAW, TOPIC_ENRICHED and TOPIC_DEAD must differ"))
	}
	return errors.Join(append(errs, c.Access.Validate(), c.Security.Validate(), c.Keys.Validate())...)
}

// logger writes warnings for a person at a terminal, beside the progress and the table.
func (c *config) logger() *slog.Logger {
	c.Format = telemetry.Text
	if c.Level < slog.LevelWarn {
		c.Level = slog.LevelWarn
	}
	return telemetry.Logger(os.Stderr, c.Log, "replay")
}

// kafka connects; the caller closes the client.
func (c *config) kafka() (sarama.Client, error) {
	k := kafka.NewConfig("millrace-replay")
	k.Metadata.Retry.Max = 4 // who waits is a person
	c.Apply(k)
	client, err := kafka.Connect(c.Brokers, k)
	if err != nil {
		return nil, fmt.Errorf("brokers %s (KAFKA_BROKERS): %w", strings.Join(c.Brokers, ","), err)
	}
	return client, nil
}

func (c *config) search() (*search.Client, error) {
	return search.New(search.Options{URL: c.SearchURL, Access: c.Access, Prefix: c.IndexPrefix, Timeout: 30 * time.Second})
}

// landed returns the bucket of enriched objects.
func (c *config) landed() (*objectstore.Bucket, error) { return c.bucket(c.Bucket, false) }

// private returns the bucket of raw and dead objects.
func (c *config) private() (*objectstore.Bucket, error) { return c.bucket(c.BucketPrivate, true) }

func (c *config) bucket(name string, private bool) (*objectstore.Bucket, error) {
	if err := c.Present(); err != nil {
		return nil, err
	}
	return objectstore.Open(c.Use(objectstore.Config{Endpoint: c.Endpoint, Region: c.Region, Bucket: name}, private))
}
