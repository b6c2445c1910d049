package main

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/kelseyhightower/envconfig"

	"millrace/shared/kafka"
	"millrace/shared/objectstore"
	"millrace/shared/search"
	"millrace/shared/telemetry"
)

// config is all that provision reads from its environment.
type config struct {
	Brokers []string `envconfig:"KAFKA_BROKERS" required:"true" desc:"host:port, comma separated"`
	kafka.Security
	TopicRaw      string `envconfig:"TOPIC_RAW" default:"events.raw" desc:"the topic of raw events"`
	TopicEnriched string `envconfig:"TOPIC_ENRICHED" default:"events.enriched" desc:"the topic of enriched events"`
	TopicDead     string `envconfig:"TOPIC_DEAD" default:"events.dead" desc:"the topic of dead letters"`
	Partitions    int32  `envconfig:"TOPIC_PARTITIONS" default:"6" desc:"partitions of a topic that it makes"`
	Replicas      int16  `envconfig:"TOPIC_REPLICAS" default:"3" desc:"replicas; min.insync.replicas is one less"`
	// AllowFewerReplicas takes as many replicas as there are brokers where these are fewer: one machine, or a test.
	AllowFewerReplicas bool          `envconfig:"ALLOW_FEWER_REPLICAS" desc:"true: as many as there are brokers, where these are fewer (one machine, a test)"`
	RetentionRaw       time.Duration `envconfig:"RETENTION_RAW" default:"168h" desc:"how long Kafka keeps raw events, in a topic that it makes"`
	RetentionEnrich    time.Duration `envconfig:"RETENTION_ENRICHED" default:"168h" desc:"likewise enriched ones"`
	RetentionDead      time.Duration `envconfig:"RETENTION_DEAD" default:"720h" desc:"likewise dead letters"`
	Triggers           bool          `envconfig:"TRIGGERS" default:"true" desc:"false: no positions for Triggers, where functions read straight from Kafka (knative/direct): unused groups would look stuck"`
	Namespace          string        `envconfig:"NAMESPACE" desc:"of the Triggers, where it is not the manifests' own"`

	ElasticsearchURL string `envconfig:"ELASTICSEARCH_URL" required:"true" desc:"address; may hold user and password: never printed"`
	search.Access
	IndexPrefix   string `envconfig:"INDEX_PREFIX" desc:"before all names of indexes and templates"`
	IndexReplicas int    `envconfig:"INDEX_REPLICAS" default:"0" desc:"copies of an index beside its primary"`
	Contracts     string `envconfig:"CONTRACTS" desc:"a directory beside the embedded contracts"`

	S3Endpoint    string `envconfig:"S3_ENDPOINT" required:"true" desc:"http or https URL"`
	S3Region      string `envconfig:"S3_REGION" default:"us-east-1" desc:"region to sign for"`
	Bucket        string `envconfig:"S3_BUCKET" default:"millrace" desc:"enriched objects and their log"`
	BucketPrivate string `envconfig:"S3_BUCKET_PRIVATE" default:"millrace-private" desc:"raw and dead ones and their logs"`
	objectstore.Keys

	Wait time.Duration `envconfig:"PROVISION_WAIT" default:"2m" desc:"how long it waits for servers that are not there yet"`
	telemetry.Log
}

func readConfig() (config, error) {
	var c config
	if err := envconfig.Process("", &c); err != nil {
		return c, fmt.Errorf("settings: %w", err)
	}
	return c, c.Validate()
}

// Validate joins everything that is wrong.
func (c *config) Validate() error {
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
	check(c.TopicRaw != c.TopicEnriched && c.TopicEnriched != c.TopicDead && c.TopicDead != c.TopicRaw, "TOPIC_RAW, TOPIC_ENRICHED and TOPIC_DEAD must differ")
	check(c.Bucket != c.BucketPrivate, "S3_BUCKET and S3_BUCKET_PRIVATE must differ: raw events are unmasked")
	for name, value := range map[string]string{"ELASTICSEARCH_URL": c.ElasticsearchURL, "S3_ENDPOINT": c.S3Endpoint} {
		u, err := url.Parse(value)
		check(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", "%s: must be an http or https URL", name)
	}
	return errors.Join(append(errs, c.Access.Validate(), c.Security.Validate(), c.Keys.Validate(), c.Present())...)
}

// bucket returns the settings of one of the two buckets.
func (c *config) bucket(name string) objectstore.Config {
	return c.Use(objectstore.Config{Endpoint: c.S3Endpoint, Region: c.S3Region, Bucket: name, Timeout: 20 * time.Second}, name == c.BucketPrivate)
}
