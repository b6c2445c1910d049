package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/spf13/pflag"

	"millrace/functions/replay/internal/draft"
	"millrace/functions/replay/internal/plan"
	"millrace/functions/replay/internal/rehearsal"
	"millrace/functions/replay/internal/selection"
	"millrace/functions/replay/internal/source"
	"millrace/shared/contract"
	"millrace/shared/enrichment"
	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/landing"
	"millrace/shared/progress"
)

// allCodes is what --code says for dead letters of every code.
const allCodes = "all"

type planFlags struct {
	selection selection.Selection
	codes     []string
	from, to  string
	output    string
	format    string
	noSearch  bool
	force     bool
	apply     bool
	rate      float64
}

func (f *planFlags) set() *pflag.FlagSet {
	return newFlags("plan", &f.format, f.add)
}

func (f *planFlags) add(set *pflag.FlagSet) {
	s := &f.selection
	set.StringVarP(&f.output, "output", "o", "", "write the plan to this `file`; without it, only the table is printed")
	set.StringVar(&s.Source, "source", selection.Dead, "`dead` letters, or raw events as collect took them")
	set.BoolVar(&s.Lake, "lake", false, "read the landing area, for what Kafka has forgotten")
	set.StringSliceVar(&s.Stages, "stage", nil, "failed at this `stage`: collect, enrich, load-search")
	set.StringSliceVar(&f.codes, "code", nil, "failed with this `code`, or all (default delivery_exhausted, with --root-id all)")
	set.StringSliceVar(&s.Types, "type", nil, "of this event `type`")
	set.StringSliceVar(&s.Versions, "schema-version", nil, "of this `version`, as 0-0-1")
	set.StringSliceVar(&s.RootIDs, "root-id", nil, "these events only, by their root `id`")
	set.StringVar(&f.from, "from", "", "written to the topic at this `time` or later: 2026-11-21, 2026-11-21T10:00:00Z, or 6h for six hours ago")
	set.StringVar(&f.to, "to", "", "and before this `time`")
	set.IntVar(&s.Limit, "limit", 1_000_000, "at most so many events")
	set.StringVar(&s.Reenter, "reenter", "", "`stage` at which all enter again, in place of where they failed: enrich enriches anew what load-search refused")
	set.IntVar(&s.MaxReplays, "max-replays", 3, "give up what came back as a dead letter so often")
	set.BoolVar(&f.noSearch, "no-search", false, "do not ask search what it shows")
	set.BoolVar(&f.force, "force", false, "replace the plan that the file of --output holds, and forget how far it was applied")
	set.BoolVar(&f.apply, "apply", false, "apply the plan at once; a plan that the file holds already is gone on with")
	set.Float64Var(&f.rate, "rate", 500, "with --apply: events a second, at most")
}

// parse reads the arguments; now is what durations are counted back from.
func (f *planFlags) parse(args []string, now time.Time) error {
	set := f.set()
	if err := set.Parse(args); err != nil {
		return err
	}
	var errs []error
	if set.NArg() > 0 {
		errs = append(errs, fmt.Errorf("plan takes no arguments: %q", set.Args()))
	}
	errs = append(errs, checkFormat(f.format))
	if f.apply && f.output == "" {
		errs = append(errs, errors.New("--apply needs --output, for the plan and its journal"))
	}
	if f.apply && f.force {
		errs = append(errs, errors.New("--apply goes on with the plan that the file holds, --force replaces it: plan with --force, then replay apply"))
	}
	for _, t := range []struct {
		name, text string
		into       *time.Time
	}{{"--from", f.from, &f.selection.From}, {"--to", f.to, &f.selection.To}} {
		at, err := moment(t.text, now)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.name, err))
		}
		*t.into = at
	}
	switch {
	case len(f.codes) == 1 && f.codes[0] == allCodes:
	case len(f.codes) > 0:
		for _, c := range f.codes {
			f.selection.Codes = append(f.selection.Codes, event.Code(c))
		}
	case f.selection.Source == selection.Dead && len(f.selection.RootIDs) == 0:
		f.selection.Codes = []event.Code{event.CodeDeliveryExhausted}
	}
	return errors.Join(append(errs, f.selection.Validate())...)
}

func runPlan(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var f planFlags
	if err := f.parse(args, time.Now()); err != nil {
		return misused(err, stdout, planHelp(&f))
	}
	var err error
	if f.output != "" && !f.force { // before the work, not behind it
		err = plan.Free(f.output)
	}
	if !f.apply {
		if err != nil {
			return f.taken(err)
		}
		return f.plan(ctx, stdout, stderr)
	}
	// A Job that was killed under way comes again with the same arguments.
	switch {
	case err == nil:
		if err := f.plan(ctx, stdout, stderr); err != nil {
			return err
		}
	case !errors.Is(err, plan.ErrExists):
		return err
	}
	return runApply(ctx, []string{"--rate", strconv.FormatFloat(f.rate, 'f', -1, 64), "--format", f.format, f.output}, stdout, stderr)
}

// taken says what to do where the name of the plan is taken.
func (f *planFlags) taken(err error) error {
	if !errors.Is(err, plan.ErrExists) {
		return err
	}
	h, entries, unread := plan.Read(f.output)
	if unread != nil {
		return fmt.Errorf("%w, and it is no plan that can be applied (%w): name another with -o, or say --force", err, unread)
	}
	return fmt.Errorf("%w, a plan of %d events made at %s: replay apply %s sends it, or goes on with it where that was begun; name another with -o; or say --force to replace it",
		err, len(entries), event.FormatTime(h.Created.Truncate(time.Second)), f.output)
}

// plan makes the plan, writes it down where that is asked for, and tells it.
func (f *planFlags) plan(ctx context.Context, stdout, stderr io.Writer) (err error) {
	c, err := readConfig()
	if err != nil {
		return err
	}
	client, err := c.kafka()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	rules, err := c.rules(ctx, stderr)
	if err != nil {
		return err
	}
	shown, err := c.search()
	if err != nil {
		return err
	}
	defer shown.Close()
	var index rehearsal.Index
	if !f.noSearch {
		index = shown
	}
	d := draft.New(f.selection, rehearsal.New(rules, shown, index, f.selection))
	h := plan.Header{Created: time.Now().UTC(), Selection: f.selection, Contracts: versions(rules.Contracts())}
	if h.Topics, err = c.topics(ctx, client); err != nil {
		return err
	}
	if h.Origin, err = f.scan(ctx, c, client, d, stderr); err != nil {
		return err
	}
	entries, reasons, summary, err := d.Finish(ctx)
	if err != nil {
		return err
	}
	h.Reasons = reasons
	if h, err = plan.Seal(h, entries); err != nil {
		return err
	}
	if f.output != "" {
		if err := plan.Write(f.output, h, entries, f.force); err != nil {
			return f.taken(err)
		}
	}
	return f.tell(stdout, h, summary)
}

// scan reads the records, and shows how far it is.
func (f *planFlags) scan(ctx context.Context, c *config, client sarama.Client, d *draft.Draft, stderr io.Writer) (origin plan.Origin, err error) {
	s := f.selection
	topic, kind := c.TopicDead, landing.KindDead
	if s.Source == selection.Raw {
		topic, kind = c.TopicRaw, landing.KindRaw
	}
	var total, read, chosen atomic.Int64
	add := func(r source.Record) error {
		err := d.Add(ctx, r)
		n, live := d.Read()
		read.Store(n)
		chosen.Store(live)
		return err
	}
	bar := progress.Start(stderr, func() progress.State {
		return progress.State{Name: topic, Done: read.Load(), Total: total.Load(), What: "records", Notes: []string{fmt.Sprintf("%d chosen", chosen.Load())}}
	})
	defer bar.Stop()
	if s.Lake {
		bucket, err := c.private()
		if err != nil {
			return origin, err
		}
		lake := source.NewLake(bucket, topic, kind)
		objects, err := lake.Find(ctx, s.From, s.To)
		if err != nil {
			return origin, err
		}
		total.Store(objects.Rows)
		return lake.Scan(ctx, objects, add)
	}
	t := source.NewTopic(client, topic)
	n, err := t.Total(ctx, s.From)
	if err != nil {
		return origin, err
	}
	total.Store(n)
	origin, forgotten, err := t.Scan(ctx, s.From, add)
	if err == nil && len(forgotten) > 0 {
		bar.Stop()
		fmt.Fprintf(stderr, "Kafka has deleted older records of %s (partitions %v); those are in the lake: --lake\n", topic, forgotten)
	}
	return origin, err
}

func (f *planFlags) tell(w io.Writer, h plan.Header, summary draft.Summary) error {
	return tell(w, f.format, struct {
		ID        string              `json:"id"`
		Digest    string              `json:"digest"`
		Plan      string              `json:"plan,omitempty"`
		Selection selection.Selection `json:"selection"`
		draft.Summary
	}{h.ID, h.Digest, f.output, h.Selection, summary}, func(w io.Writer) error { return f.table(w, h, summary) })
}

func (f *planFlags) table(w io.Writer, h plan.Header, summary draft.Summary) error {
	fmt.Fprintf(w, "%s\n", &h.Selection)
	if err := summary.Write(w, !f.noSearch); err != nil {
		return err
	}
	n := summary.Count(plan.Pass) + summary.Count(plan.Overwrite)
	switch {
	case f.apply:
		_, err := fmt.Fprintf(w, "\n%d events to send\n\n", n)
		return err
	case f.output != "":
		_, err := fmt.Fprintf(w, "\n%d events to send. replay apply %s\n", n, f.output)
		return err
	case n > 0:
		_, err := fmt.Fprintf(w, "\n%d events to send. Write the plan down with -o plan.json\n", n)
		return err
	}
	return nil
}

// rules are today's: the contracts as they are now, bound to the reference tables. Files that are wrong are told and left out, as enrich does; what enrich uses in
// their place, where it has read them while they were right, is not known here.
func (c *config) rules(ctx context.Context, stderr io.Writer) (*enrichment.Rules, error) {
	tables, err := enrichment.Reference()
	if err != nil {
		return nil, err
	}
	var rules *enrichment.Rules
	_, err = contract.Open(ctx, c.Contracts, func(set *contract.Set) error {
		bound, err := enrichment.Bind(set, tables)
		if err == nil {
			rules = bound
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("contracts (CONTRACTS): %w", err)
	}
	for _, wrong := range rules.Contracts().Invalid() {
		fmt.Fprintln(stderr, wrong)
	}
	return rules, nil
}

// versions lists contracts with their hashes.
func versions(set *contract.Set) []plan.Contract {
	list := []plan.Contract{}
	for _, c := range set.All() {
		sum := sha256.Sum256(c.Source())
		list = append(list, plan.Contract{URI: c.URI, SHA256: hex.EncodeToString(sum[:])})
	}
	return list
}

// topics are those that events are written to, with their ids.
func (c *config) topics(ctx context.Context, client sarama.Client) (map[plan.Target]plan.Topic, error) {
	reader := kafka.NewReader(client)
	topics := map[plan.Target]plan.Topic{}
	for to, name := range map[plan.Target]string{plan.Raw: c.TopicRaw, plan.Enriched: c.TopicEnriched} {
		found, err := reader.Topic(ctx, name)
		if err != nil {
			return nil, err
		}
		topics[to] = plan.Topic{Name: name, ID: found.ID}
	}
	return topics, nil
}
