package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/IBM/sarama"
	"github.com/spf13/pflag"

	"millrace/functions/replay/internal/apply"
	"millrace/functions/replay/internal/plan"
	"millrace/functions/replay/internal/selection"
	"millrace/functions/replay/internal/source"
	"millrace/shared/delivery"
	"millrace/shared/kafka"
	"millrace/shared/landing"
	"millrace/shared/progress"
)

type applyFlags struct {
	plan      string
	rate      float64
	journal   string
	unknown   bool
	collect   string
	retryFor  time.Duration
	contracts bool
	dryRun    bool
	format    string
}

func (f *applyFlags) set() *pflag.FlagSet {
	return newFlags("apply", &f.format, f.add)
}

func (f *applyFlags) add(set *pflag.FlagSet) {
	set.Float64Var(&f.rate, "rate", 500, "events a second, at most")
	set.StringVar(&f.journal, "journal", "", "`file` that keeps how far it came (default <plan>.<first eight of its id>.journal)")
	set.BoolVar(&f.unknown, "include-unknown", false, "send those, too, of which only their stage can tell what becomes of them")
	set.StringVar(&f.collect, "collect", "", "`URL` of collect, to which goes again what failed there; without it, that is left")
	set.DurationVar(&f.retryFor, "retry-for", 2*time.Minute, "how long to send again what is not confirmed")
	set.BoolVar(&f.contracts, "changed-contracts", false, "go on although the contracts are not those that the plan was made with")
	set.BoolVar(&f.dryRun, "dry-run", false, "check and read everything, and send nothing")
}

func (f *applyFlags) parse(args []string) error {
	set := f.set()
	if err := set.Parse(args); err != nil {
		return err
	}
	var errs []error
	fail := func(bad bool, text string) {
		if bad {
			errs = append(errs, errors.New(text))
		}
	}
	fail(set.NArg() != 1, "name one plan: replay apply plan.json")
	fail(!(f.rate > 0 && f.rate <= 1e6), "--rate must be above 0 and at most 1000000")
	fail(f.retryFor < 0, "--retry-for must not be negative")
	if f.collect != "" {
		u, err := url.Parse(f.collect)
		fail(err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "", "--collect must be an http or https URL")
	}
	f.plan = set.Arg(0)
	return errors.Join(append(errs, checkFormat(f.format))...)
}

func runApply(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	var f applyFlags
	if err := f.parse(args); err != nil {
		return misused(err, stdout, applyHelp(&f))
	}
	c, err := readConfig()
	if err != nil {
		return err
	}
	h, entries, err := plan.Read(f.plan)
	if err != nil {
		return fmt.Errorf("%s: %w", f.plan, err)
	}
	if f.journal == "" { // a plan that is made anew under the same name begins anew
		f.journal = fmt.Sprintf("%s.%.8s.journal", f.plan, h.ID)
	}
	if err := f.current(ctx, c, h, stderr); err != nil {
		return err
	}
	client, err := c.kafka()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := sameTopics(ctx, c, client, h); err != nil {
		return err
	}
	from, err := c.origin(client, h)
	if err != nil {
		return err
	}
	o := apply.Options{Rate: f.rate, Unknown: f.unknown, RetryFor: f.retryFor, DryRun: f.dryRun, Journal: f.journal}
	if f.collect != "" {
		o.Collect = &apply.HTTPCollector{URL: f.collect, Client: http.DefaultClient}
	}
	if !f.dryRun {
		producer := kafka.NewProducer(c.Brokers, kafka.ProducerOptions{ClientID: "millrace-replay", Timeout: 30 * time.Second, Logger: c.logger(), Config: c.Apply})
		defer func() {
			ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err = errors.Join(err, producer.Close(ending))
		}()
		o.Topics = map[plan.Target]delivery.Publisher{}
		for to, topic := range h.Topics {
			o.Topics[to] = producer.Sink(topic.Name)
		}
	}
	indexes, _ := o.Select(entries)
	var done atomic.Int64
	o.Progress = func(n int64) { done.Store(n) }
	bar := progress.Start(stderr, func() progress.State {
		return progress.State{Name: f.plan, Done: done.Load(), Total: int64(len(indexes)), What: "events"}
	})
	result, err := apply.Run(ctx, h, entries, from, o)
	bar.Stop()
	if n := result.Sent[apply.NotSent]; err == nil && n > 0 {
		err = fmt.Errorf("%d events were refused, and are not sent by running it again", n)
	}
	return errors.Join(tell(stdout, f.format, result, func(w io.Writer) error { return f.table(w, result) }), err)
}

// current refuses a plan whose outcomes were found with other contracts than today's.
func (f *applyFlags) current(ctx context.Context, c *config, h plan.Header, stderr io.Writer) error {
	rules, err := c.rules(ctx, stderr)
	if err != nil {
		return err
	}
	if now := versions(rules.Contracts()); !f.contracts && !slices.Equal(now, h.Contracts) {
		var changed []string
		for _, a := range [][2][]plan.Contract{{now, h.Contracts}, {h.Contracts, now}} {
			for _, contract := range a[0] {
				if !slices.Contains(a[1], contract) && !slices.Contains(changed, contract.URI) {
					changed = append(changed, contract.URI)
				}
			}
		}
		return fmt.Errorf("the contracts are not those of the plan (%v): plan again, or say --changed-contracts", changed)
	}
	return nil
}

// sameTopics refuses a plan for topics that were made anew.
func sameTopics(ctx context.Context, c *config, client sarama.Client, h plan.Header) error {
	now, err := c.topics(ctx, client)
	if err != nil {
		return err
	}
	var errs []error
	for _, to := range slices.Sorted(maps.Keys(now)) {
		if was := h.Topics[to]; was != now[to] {
			errs = append(errs, fmt.Errorf("topic %s has the id %s; the plan is for %s with the id %s: plan again", now[to].Name, now[to].ID, was.Name, was.ID))
		}
	}
	return errors.Join(errs...)
}

// origin returns where the plan's events lie.
func (c *config) origin(client sarama.Client, h plan.Header) (apply.Source, error) {
	topic, kind := c.TopicDead, landing.KindDead
	if h.Selection.Source == selection.Raw {
		topic, kind = c.TopicRaw, landing.KindRaw
	}
	if !h.Selection.Lake {
		return source.NewTopic(client, topic), nil
	}
	bucket, err := c.private()
	if err != nil {
		return nil, err
	}
	return source.NewLake(bucket, topic, kind), nil
}

func (f *applyFlags) table(w io.Writer, r apply.Result) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	sent := "sent to "
	if f.dryRun {
		sent = "would be sent to "
	}
	fmt.Fprintf(tw, "replay %s\tevents\n", r.ID)
	for _, to := range slices.Sorted(maps.Keys(r.Sent)) {
		if to == apply.NotSent {
			fmt.Fprintf(tw, "refused: too large, or no form to send\t%d\n", r.Sent[to])
			continue
		}
		fmt.Fprintf(tw, "%s%s\t%d\n", sent, to, r.Sent[to])
	}
	if r.Dead > 0 {
		fmt.Fprintf(tw, "of those, dead at collect again\t%d\n", r.Dead)
	}
	if r.Resumed > 0 {
		fmt.Fprintf(tw, "of those, by an earlier run\t%d\n", r.Resumed)
	}
	for _, why := range slices.Sorted(maps.Keys(r.Left)) {
		fmt.Fprintf(tw, "left: %s\t%d\n", why, r.Left[why])
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	for _, root := range r.Refused {
		fmt.Fprintf(w, "refused: %s\n", root)
	}
	return nil
}
