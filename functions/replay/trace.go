package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/pflag"

	"millrace/functions/replay/internal/trace"
	"millrace/shared/event"
	"millrace/shared/progress"
)

type traceFlags struct {
	source, id string
	from       string
	start      time.Time
	groups     map[string]string
	format     string
	root       string
}

func (f *traceFlags) set() *pflag.FlagSet {
	return newFlags("trace", &f.format, f.add)
}

func (f *traceFlags) add(set *pflag.FlagSet) {
	set.StringVar(&f.source, "source", "", "in place of the root id: the event's `source`,")
	set.StringVar(&f.id, "id", "", "and its `id`")
	set.StringVar(&f.from, "from", "", "read the topics from this `time` on: 2026-11-21, 2026-11-21T10:00:00Z, or 6h for six hours ago (default: since what search shows, else 24h)")
	set.StringToStringVar(&f.groups, "group", defaultGroups(), "the consumer group of each stage, as `stage=group`")
}

func (f *traceFlags) parse(args []string, now time.Time) error {
	set := f.set()
	if err := set.Parse(args); err != nil {
		return err
	}
	var errs []error
	switch {
	case (f.source == "") != (f.id == ""):
		errs = append(errs, errors.New("--source and --id belong together"))
	case f.source != "" && set.NArg() == 0:
		f.root = event.Identity(f.source, f.id)
	case f.source == "" && set.NArg() == 1:
		id, err := uuid.Parse(set.Arg(0))
		if err != nil {
			errs = append(errs, fmt.Errorf("%q is no root id, such as 38befcf3-8db2-5c59-a368-3993ac3f152d: --source and --id name an event by what its producer calls it", set.Arg(0)))
		}
		f.root = id.String()
	default:
		errs = append(errs, errors.New("trace takes one root id, or --source and --id"))
	}
	err := checkFormat(f.format)
	if err != nil {
		errs = append(errs, err)
	}
	if f.start, err = moment(f.from, now); err != nil {
		errs = append(errs, fmt.Errorf("--from: %w", err))
	}
	if f.groups, err = groupsOf(f.groups); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func runTrace(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	var f traceFlags
	if err := f.parse(args, time.Now()); err != nil {
		return misused(err, stdout, traceHelp(&f))
	}
	c, err := readConfig()
	if err != nil {
		return err
	}
	from, err := c.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.close()) }()
	stages, err := c.stages(from.kafka, f.groups, stderr)
	if err != nil {
		return err
	}
	rules, err := c.rules(ctx, stderr)
	if err != nil {
		return err
	}
	var read reading
	bar := progress.Start(stderr, read.state)
	defer bar.Stop()
	way, err := trace.Follow(ctx, trace.Options{
		RootID: f.root, From: f.start, Now: time.Now(), Stages: stages, Documents: from.search,
		Why: func(e *event.Event) string {
			if _, _, failure := rules.Enrich(e); failure != nil && failure.Waits {
				return failure.Error()
			}
			return ""
		},
		Progress: func(topic string, n int64) { read.note(topic, n, 0) },
	})
	bar.Stop()
	if err != nil {
		return err
	}
	return tell(stdout, f.format, way, way.Print)
}
