package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/contract"
	"millrace/shared/kafka"
	"millrace/shared/objectstore"
	"millrace/shared/search"
)

// provisioner makes what is missing, step by step.
type provisioner struct {
	config    config
	contracts *contract.Set
	groups    []kafka.GroupTopic
	out       io.Writer

	admin *kafka.Admin
	made  map[string]bool // topics that this run made
}

// step is one thing to make. do is repeated until it succeeds or the time is over; it returns what it found or made, for people.
type step struct {
	name string
	do   func(ctx context.Context) (string, error)
}

// errRefused marks what waiting does not mend.
var errRefused = errors.New("refused")

func (p *provisioner) run(ctx context.Context) error {
	steps := []step{
		{"kafka", p.connect},
		p.topic(p.config.TopicRaw, p.config.RetentionRaw),
		p.topic(p.config.TopicEnriched, p.config.RetentionEnrich),
		p.topic(p.config.TopicDead, p.config.RetentionDead),
	}
	for _, g := range p.groups {
		steps = append(steps, p.group(g))
	}
	steps = append(steps,
		p.bucket(p.config.Bucket),
		p.bucket(p.config.BucketPrivate),
		step{"index templates", p.templates},
	)
	deadline, cancel := context.WithTimeout(ctx, p.config.Wait)
	defer cancel()
	for _, s := range steps {
		if err := p.try(deadline, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// wrong names the contract files that are wrong. Functions do without them and make their events wait; whoever runs this can mend them first.
func (p *provisioner) wrong() error {
	var errs []error
	for _, v := range p.contracts.Invalid() {
		err := fmt.Errorf("%w: %w", errRefused, v)
		errs = append(errs, err)
		if _, werr := fmt.Fprintf(p.out, "contracts: %v\n", err); werr != nil {
			errs = append(errs, werr)
		}
	}
	return errors.Join(errs...)
}

// patience is how long a step may fail before try says so: a new topic takes a moment to be known everywhere.
const patience = time.Second

// try repeats a step until it succeeds, is refused, or ctx ends; it says so once when it has to wait.
func (p *provisioner) try(ctx context.Context, s step) error {
	for wait, waited, told := 100*time.Millisecond, time.Duration(0), false; ; wait = min(2*wait, 5*time.Second) {
		found, err := s.do(ctx)
		if err == nil {
			_, err := fmt.Fprintf(p.out, "%s: %s\n", s.name, found)
			return err
		}
		if errors.Is(err, errRefused) || ctx.Err() != nil {
			return err
		}
		if waited += wait; !told && waited >= patience {
			told = true
			if _, werr := fmt.Fprintf(p.out, "%s: not yet (%v), trying again\n", s.name, err); werr != nil {
				return werr
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up after %s: %w", p.config.Wait, err)
		case <-time.After(wait):
		}
	}
}

// connect makes the one client, which finds brokers that went away and came back by itself.
func (p *provisioner) connect(ctx context.Context) (string, error) {
	if p.admin == nil {
		config := kafka.NewConfig("millrace-provision")
		config.Metadata.Retry.Max = 1
		p.config.Apply(config)
		a, err := kafka.NewAdmin(p.config.Brokers, config)
		if err != nil {
			return "", err
		}
		p.admin = a
	}
	n, err := p.admin.Brokers(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d broker(s)", n), nil
}

func (p *provisioner) close() error {
	if p.admin == nil {
		return nil
	}
	return p.admin.Close()
}

func (p *provisioner) topic(name string, retention time.Duration) step {
	const created = "created"
	verb := "there already"
	return step{"topic " + name, func(ctx context.Context) (string, error) {
		info, err := p.admin.Topic(ctx, name)
		if errors.Is(err, sarama.ErrUnknownTopicOrPartition) && verb != created {
			var replicas int16
			if replicas, err = p.replicas(ctx); err != nil {
				return "", err
			}
			if _, err = p.admin.EnsureTopic(ctx, kafka.TopicSpec{
				Name: name, Partitions: p.config.Partitions, Replicas: replicas, Retention: retention,
			}); err != nil {
				return "", err
			}
			verb = created // stays so when describing it has to be tried again
			if p.made == nil {
				p.made = map[string]bool{}
			}
			p.made[name] = true
			info, err = p.admin.Topic(ctx, name)
		}
		if err != nil {
			return "", err
		}
		if info.MaxMessageBytes < kafka.TopicMaxMessageBytes {
			return "", fmt.Errorf("%w: its max.message.bytes is %d, below %d, so large events would be lost between collect and Kafka: raise it",
				errRefused, info.MaxMessageBytes, kafka.TopicMaxMessageBytes)
		}
		durability := kafka.DurabilitySingle
		if info.MinInsync >= 2 {
			durability = kafka.DurabilityReplicated
		}
		kept := "for ever"
		if info.RetentionMS >= 0 && info.RetentionMS < math.MaxInt64/int64(time.Millisecond) {
			kept = "for " + strings.Replace((time.Duration(info.RetentionMS)*time.Millisecond).String(), "h0m0s", "h", 1)
		}
		return fmt.Sprintf("%s, %d partition(s), kept %s, %d replica(s), min.insync.replicas %d: receipts say %q",
			verb, len(info.Partitions), kept, info.Replicas, info.MinInsync, durability), nil
	}}
}

// replicas returns how many a new topic gets. Brokers that are only late must not leave a topic with fewer for ever, so fewer than configured are
// taken only where that is allowed.
func (p *provisioner) replicas(ctx context.Context) (int16, error) {
	n, err := p.admin.Brokers(ctx)
	if err != nil {
		return 0, err
	}
	if n >= int(p.config.Replicas) {
		return p.config.Replicas, nil
	}
	if !p.config.AllowFewerReplicas {
		return 0, fmt.Errorf("%d of the %d brokers for TOPIC_REPLICAS=%d are there; ALLOW_FEWER_REPLICAS=true takes those that are", n, p.config.Replicas, p.config.Replicas)
	}
	return int16(max(1, n)), nil
}

// group gives a group its positions. One that has some and is at work is done: its members read the partitions that were added in their own way, which nobody else can
// change meanwhile, and the rest must not wait for it. One that has positions of a topic that was there before, under the name of one that this run made, must give them up, or it skips events.
func (p *provisioner) group(g kafka.GroupTopic) step {
	return step{"group " + g.Group, func(ctx context.Context) (string, error) {
		var busy *kafka.AtWorkError
		if p.made[g.Topic] {
			parts, err := p.admin.Restart(ctx, g)
			if errors.As(err, &busy) && len(busy.Old) > 0 {
				return "", fmt.Errorf("%s was made anew while the group was at work, which may skip its first events: stop what reads through the Trigger until this is done, see \"deleted\" in provision --help: %w", g.Topic, err)
			}
			if busy == nil && (err != nil || len(parts) > 0) {
				return fmt.Sprintf("starts at the beginning of %s, partitions %v", g.Topic, parts), err
			}
		}
		parts, err := p.admin.EnsureStart(ctx, g)
		if errors.As(err, &busy) && len(busy.Missing) < busy.All {
			return fmt.Sprintf("is at work on %s and has no position on partitions %v, which were added to it or hold nothing yet; a Trigger may skip what is written "+
				"there first: see \"partitions\" in provision --help", g.Topic, busy.Missing), nil
		}
		if err != nil {
			return "", err
		}
		if len(parts) == 0 {
			return "has its position on " + g.Topic, nil
		}
		return fmt.Sprintf("starts at the beginning of %s, partitions %v", g.Topic, parts), nil
	}}
}

func (p *provisioner) bucket(name string) step {
	return step{"bucket " + name, func(ctx context.Context) (string, error) {
		b, err := objectstore.Open(p.config.bucket(name))
		if err != nil {
			return "", fmt.Errorf("%w: %w", errRefused, err)
		}
		if err := b.EnsureBucket(ctx); err != nil {
			return "", err
		}
		if err := b.CheckConditional(ctx); err != nil {
			if errors.Is(err, objectstore.ErrUnconditional) {
				return "", fmt.Errorf("%w: %w: two drains would overwrite each other's log; use a store that honours conditional writes (MinIO, S3)", errRefused, err)
			}
			return "", err
		}
		return "there, and honours If-None-Match", nil
	}}
}

func (p *provisioner) templates(ctx context.Context) (string, error) {
	client, err := search.New(search.Options{URL: p.config.ElasticsearchURL, Access: p.config.Access, Prefix: p.config.IndexPrefix, Replicas: p.config.IndexReplicas})
	if err != nil {
		return "", fmt.Errorf("%w: %w", errRefused, err)
	}
	defer client.Close()
	mended, err := client.MendTemplates(ctx, p.contracts.All())
	for _, said := range mended { // at once: a step that fails later is done again, and finds them right
		if _, err := fmt.Fprintf(p.out, "index template put right: %s\n", said); err != nil {
			return "", err
		}
	}
	if err == nil {
		err = client.EnsureTemplates(ctx, p.contracts.All())
	}
	if err != nil {
		var taken *search.NameTakenError
		var refused *search.TemplateError
		if errors.As(err, &taken) || errors.As(err, &refused) {
			return "", fmt.Errorf("%w: %w", errRefused, err)
		}
		return "", err
	}
	refused, err := p.extend(ctx, client)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("for dead letters and %d contract(s)%s", len(p.contracts.All()), refused), nil
}

// extend gives indexes that are there the fields that were added since. One that refuses is told and no failure: it goes on as it is.
func (p *provisioner) extend(ctx context.Context, client *search.Client) (refused string, err error) {
	results := []error{client.ExtendDead(ctx)}
	for _, m := range p.contracts.Models() {
		results = append(results, client.ExtendEnriched(ctx, m.Versions))
	}
	for _, err := range results {
		var outage *search.OutageError
		if errors.As(err, &outage) {
			return "", err
		}
		if err != nil {
			refused += "; " + strings.ReplaceAll(err.Error(), "\n", "; ")
		}
	}
	return refused, nil
}
