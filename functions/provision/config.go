package main

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/kelseyhightower/envconfig"

	"millrace/shared/objectstore"
	"millrace/shared/telemetry"
)

const usage = `provision makes what Millrace needs before the first event: topics, the starting positions of the
Triggers' groups, buckets and index templates. It is safe to repeat.

  KAFKA_BROKERS=127.0.0.1:9092 ELASTICSEARCH_URL=http://127.0.0.1:9200 \
  S3_ENDPOINT=http://127.0.0.1:9000 AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... provision

On a cluster: ko create -f knative/jobs/provision.yaml

Settings (environment):
  TOPIC_RAW=events.raw    names of the topics; TOPIC_ENRICHED=events.enriched, TOPIC_DEAD=events.dead
  TOPIC_PARTITIONS=6      partitions of a topic that it makes
  TOPIC_REPLICAS=3        replicas; min.insync.replicas is one less
  ALLOW_FEWER_REPLICAS=   true: as many as there are brokers, where these are fewer (one machine, a test)
  RETENTION_RAW=168h      how long Kafka keeps events.raw; RETENTION_ENRICHED=168h, RETENTION_DEAD=720h
  INDEX_PREFIX=           before all names of indexes and templates
  INDEX_REPLICAS=0        copies of an index beside its primary
  NAMESPACE=              the namespace of the Triggers where it is not the manifests' own
  CONTRACTS=              a directory of contracts beside the embedded ones
  PROVISION_WAIT=2m       how long it waits for servers that are not there yet
`

type config struct {
	Brokers       []string `envconfig:"KAFKA_BROKERS" required:"true"`
	TopicRaw      string   `envconfig:"TOPIC_RAW" default:"events.raw"`
	TopicEnriched string   `envconfig:"TOPIC_ENRICHED" default:"events.enriched"`
	TopicDead     string   `envconfig:"TOPIC_DEAD" default:"events.dead"`
	Partitions    int32    `envconfig:"TOPIC_PARTITIONS" default:"6"`
	Replicas      int16    `envconfig:"TOPIC_REPLICAS" default:"3"`
	// AllowFewerReplicas takes as many replicas as there are brokers where these are fewer: one machine, or a test.
	AllowFewerReplicas bool          `envconfig:"ALLOW_FEWER_REPLICAS"`
	RetentionRaw       time.Duration `envconfig:"RETENTION_RAW" default:"168h"`
	RetentionEnrich    time.Duration `envconfig:"RETENTION_ENRICHED" default:"168h"`
	RetentionDead      time.Duration `envconfig:"RETENTION_DEAD" default:"720h"`
	ElasticsearchURL   string        `envconfig:"ELASTICSEARCH_URL" required:"true"`
	IndexPrefix        string        `envconfig:"INDEX_PREFIX"`
	IndexReplicas      int           `envconfig:"INDEX_REPLICAS" default:"0"`
	S3Endpoint         string        `envconfig:"S3_ENDPOINT" required:"true"`
	S3Region           string        `envconfig:"S3_REGION" default:"us-east-1"`
	Bucket             string        `envconfig:"S3_BUCKET" default:"millrace"`
	BucketPrivate      string        `envconfig:"S3_BUCKET_PRIVATE" default:"millrace-private"`
	AccessKey          string        `envconfig:"AWS_ACCESS_KEY_ID" required:"true"`
	SecretKey          string        `envconfig:"AWS_SECRET_ACCESS_KEY" required:"true"`
	PrivateAccessKey   string        `envconfig:"S3_PRIVATE_ACCESS_KEY_ID"`
	PrivateSecretKey   string        `envconfig:"S3_PRIVATE_SECRET_ACCESS_KEY"`
	Contracts          string        `envconfig:"CONTRACTS"`
	Namespace          string        `envconfig:"NAMESPACE"`
	Wait               time.Duration `envconfig:"PROVISION_WAIT" default:"2m"`
	telemetry.Log
}

func readConfig() (config, error) {
	var c config
	if err := envconfig.Process("", &c); err != nil {
		return c, fmt.Errorf("settings: %w", err)
	}
	return c, c.validate()
}

// validate joins everything that is wrong.
func (c *config) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Partitions > 0 && c.Partitions <= 1000, "TOPIC_PARTITIONS=%d: must be from 1 to 1000", c.Partitions)
	check(c.Replicas > 0, "TOPIC_REPLICAS=%d: must be at least 1", c.Replicas)
	check(c.IndexReplicas >= 0, "INDEX_REPLICAS=%d: must not be negative", c.IndexReplicas)
	check(c.RetentionRaw > 0 && c.RetentionEnrich > 0 && c.RetentionDead > 0, "RETENTION_*: must be above 0, as in 168h")
	check(c.Wait > 0, "PROVISION_WAIT=%s: must be above 0", c.Wait)
	check((c.PrivateAccessKey == "") == (c.PrivateSecretKey == ""), "S3_PRIVATE_ACCESS_KEY_ID and S3_PRIVATE_SECRET_ACCESS_KEY must both be set, or neither")
	check(c.TopicRaw != c.TopicEnriched && c.TopicEnriched != c.TopicDead && c.TopicDead != c.TopicRaw, "TOPIC_RAW, TOPIC_ENRICHED and TOPIC_DEAD must differ")
	check(c.Bucket != c.BucketPrivate, "S3_BUCKET and S3_BUCKET_PRIVATE must differ: raw events are unmasked")
	for name, value := range map[string]string{"ELASTICSEARCH_URL": c.ElasticsearchURL, "S3_ENDPOINT": c.S3Endpoint} {
		u, err := url.Parse(value)
		check(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", "%s: must be an http or https URL", name)
	}
	return errors.Join(errs...)
}

// bucket returns the settings of one of the two buckets.
func (c *config) bucket(name string) objectstore.Config {
	o := objectstore.Config{
		Endpoint: c.S3Endpoint, Region: c.S3Region, Bucket: name,
		AccessKey: c.AccessKey, SecretKey: c.SecretKey, Timeout: 20 * time.Second,
	}
	if name == c.BucketPrivate && c.PrivateAccessKey != "" {
		o.AccessKey, o.SecretKey = c.PrivateAccessKey, c.PrivateSecretKey
	}
	return o
}
