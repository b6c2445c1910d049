package main

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"

	"millrace/functions/load-lake/internal/drain"
	"millrace/functions/load-lake/internal/sweep"
	"millrace/shared/contract"
	"millrace/shared/function"
	"millrace/shared/kafka"
	"millrace/shared/landing"
	"millrace/shared/mask"
	"millrace/shared/objectstore"
	"millrace/shared/serve"
)

// config is all that load-lake reads from its environment.
type config struct {
	function.Process

	Brokers []string `envconfig:"KAFKA_BROKERS" required:"true" desc:"host:port, comma separated"`
	kafka.Security

	Endpoint      string `envconfig:"S3_ENDPOINT" required:"true" desc:"http or https URL"`
	Region        string `envconfig:"S3_REGION" default:"us-east-1" desc:"region to sign for"`
	Bucket        string `envconfig:"S3_BUCKET" default:"millrace" desc:"enriched objects and their log"`
	BucketPrivate string `envconfig:"S3_BUCKET_PRIVATE" default:"millrace-private" desc:"raw and dead ones and their logs"`
	objectstore.Keys

	Contracts string `envconfig:"CONTRACTS" desc:"a directory beside the embedded contracts, looked at in each drain"`

	mask.Settings
	ContractsWait time.Duration `envconfig:"CONTRACTS_WAIT" default:"10m" desc:"how old an enriched event must be to be drained though its contract is not here; until then its partition waits"`

	TopicRaw      string `envconfig:"TOPIC_RAW" default:"events.raw" desc:"the topic of raw events"`
	TopicEnriched string `envconfig:"TOPIC_ENRICHED" default:"events.enriched" desc:"the topic of enriched events"`
	TopicDead     string `envconfig:"TOPIC_DEAD" default:"events.dead" desc:"the topic of dead letters"`

	Budget  time.Duration `envconfig:"DRAIN_BUDGET" default:"4m" desc:"time for one drain; a tick may ask for less"`
	Overrun time.Duration `envconfig:"DRAIN_OVERRUN" default:"45s" desc:"time for the entry during which the budget ends; both together below the request's timeout"`
	Bytes   int64         `envconfig:"DRAIN_ENTRY_BYTES" default:"134217728" desc:"bytes of records in one entry, as they lie in memory"`
	Events  int           `envconfig:"DRAIN_ENTRY_EVENTS" default:"200000" desc:"events in one entry"`

	AcceptTopicIDs    []string    `envconfig:"DRAIN_ACCEPT_TOPIC_ID" desc:"ids of topics that were created anew on purpose, comma separated, as the drain's error names them"`
	AcceptLostLogs    []string    `envconfig:"DRAIN_ACCEPT_LOST_LOG" desc:"ids of topics whose landing logs are gone, and that are to be landed from their beginning all the same, comma separated, as the drain's error names them"`
	AcceptTruncations acceptances `envconfig:"DRAIN_ACCEPT_TRUNCATION" desc:"where to read on topics that Kafka truncated, <topic>/<partition>@<offset>:<entry>, comma separated, as the drain's error proposes"`

	LagGroup string `envconfig:"LAG_GROUP" default:"millrace-load-lake" desc:"the consumer group whose committed offsets show where the landing logs end; none where it is set and empty"`

	OrphanAge time.Duration `envconfig:"ORPHAN_AGE" default:"24h" desc:"how old an object that no log names must be for a sweep to delete it; at least 1h and 12 times budget and overrun"`
	OrphanMax int           `envconfig:"ORPHAN_MAX" default:"1000" desc:"objects that one sweep may delete; where there are more it deletes none of them and is an error"`
}

// acceptances is a list of drain.Acceptance.
type acceptances []drain.Acceptance

// Decode reads a list, comma separated.
func (a *acceptances) Decode(list string) error {
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		one, err := drain.ParseAcceptance(s)
		if err != nil {
			return err
		}
		*a = append(*a, one)
	}
	return nil
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
	errs := []error{c.Process.Validate(), c.Security.Validate(), c.Settings.Validate()}
	if c.ContractsWait < 0 {
		errs = append(errs, errors.New("CONTRACTS_WAIT must not be negative"))
	}
	if len(c.Brokers) == 0 || slices.Contains(c.Brokers, "") {
		errs = append(errs, errors.New("KAFKA_BROKERS must be a list host:port,host:port"))
	}
	for name, n := range map[string]int64{
		"DRAIN_BUDGET": int64(c.Budget), "DRAIN_OVERRUN": int64(c.Overrun),
		"DRAIN_ENTRY_BYTES": c.Bytes, "DRAIN_ENTRY_EVENTS": int64(c.Events), "ORPHAN_MAX": int64(c.OrphanMax),
	} {
		if n <= 0 {
			errs = append(errs, fmt.Errorf("%s must be above 0", name))
		}
	}
	if c.OrphanAge < time.Hour || c.OrphanAge < 12*(c.Budget+c.Overrun) {
		errs = append(errs, errors.New("ORPHAN_AGE must be at least 1h, and 12 times DRAIN_BUDGET and DRAIN_OVERRUN together"))
	}
	if c.TopicRaw == c.TopicEnriched || c.TopicRaw == c.TopicDead || c.TopicEnriched == c.TopicDead {
		errs = append(errs, errors.New("TOPIC_RAW, TOPIC_ENRICHED and TOPIC_DEAD must differ"))
	}
	errs = append(errs, c.Keys.Validate(), c.Present(), c.store(false).Validate(), c.store(true).Validate())
	return errors.Join(errs...)
}

// intake gives each tick to the handler by itself and at once: a tick that comes during a drain must not wait for it.
func (c *config) intake() serve.Options {
	return serve.Options{MaxBody: 64 << 10, MaxBytes: 1 << 20, MaxBatch: 1, MaxConcurrentBatches: 16, Timeout: c.Budget + c.Overrun}
}

func (c *config) store(private bool) objectstore.Config {
	o := objectstore.Config{Endpoint: c.Endpoint, Region: c.Region, Bucket: c.Bucket}
	if private {
		o.Bucket = c.BucketPrivate
	}
	return c.Use(o, private)
}

// topics returns what each topic's ticks ask for.
func (c *config) topics(source *source, contracts *contract.Source, logger *slog.Logger, m *metrics, g *gauge) (map[string]*topic, error) {
	public, err := objectstore.Open(c.store(false))
	if err != nil {
		return nil, err
	}
	private, err := objectstore.Open(c.store(true))
	if err != nil {
		return nil, err
	}
	out := map[string]*topic{}
	gate := drain.NewGate(1) // drains go on at the same time, their entries one after the other
	for _, t := range []struct {
		name, kind string
		store      *objectstore.Bucket
	}{{c.TopicRaw, landing.KindRaw, private}, {c.TopicDead, landing.KindDead, private}, {c.TopicEnriched, landing.KindEnriched, public}} {
		s := drain.Settings{Topic: t.name, Kind: t.kind, AcceptTopicIDs: c.AcceptTopicIDs, AcceptTruncations: c.AcceptTruncations, Gate: gate, PublishWithin: c.OrphanAge / 2}
		s.Limits = drain.Limits{Bytes: c.Bytes, Events: c.Events}
		s.Progress = func(p drain.Progress) {
			m.progress(t.name, p)
			g.set(t.name, p.Next)
		}
		if t.kind == landing.KindEnriched { // the others' columns are no contract's
			s.Refresh, s.Key, s.ContractsWait = refresh(contracts, logger), c.Settings.Open().Key, c.ContractsWait
		}
		out[t.name] = &topic{
			drainer: &lostLog{
				next:  drain.New(s, source, t.store, contracts, time.Now, logger, m.published),
				topic: t.name, group: c.LagGroup, accepts: c.AcceptLostLogs, kafka: source, store: t.store,
			},
			sweeper: sweep.New(sweep.Settings{Topic: t.name, Kind: t.kind, Age: c.OrphanAge, Max: c.OrphanMax}, t.store, time.Now, logger),
		}
	}
	return out, nil
}
