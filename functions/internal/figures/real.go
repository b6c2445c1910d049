package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"millrace/functions/internal/figures/internal/rig"
)

// bench is one benchmark on real servers.
type bench struct {
	name  string
	about string
	// takes is about how long it is on two cores that do nothing else, for the remaining time that is printed.
	takes     time.Duration
	sustained bool
	run       func(context.Context, *measurement) error
}

// measurement is what a benchmark works with.
type measurement struct {
	*rig.Rig
	*section
	o *options
	// filled are topics that one benchmark fills for those after it.
	raw, enriched string
}

// note keeps what a reader of the figures must know.
func (r *measurement) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	if !slices.Contains(r.notes, n) {
		r.notes = append(r.notes, n)
	}
}

var benches = []bench{
	{name: "collect", about: "collect in batches of 100 against a raw producer", takes: 60 * time.Second, run: collectBatches},
	{name: "collector", about: "collect's single events beside a FastAPI collector", takes: 75 * time.Second, run: collectors},
	{name: "enrich", about: "enrich by Kafka intake, 200,000 events", takes: 60 * time.Second, run: enrichIntake},
	{name: "search", about: "load-search against a bare bulk client", takes: 130 * time.Second, run: searchBulk},
	{name: "lake", about: "load-lake, drains of 200,000 events", takes: 45 * time.Second, run: lakeDrains},
	{name: "searchable", about: "receipt to searchable at 1,000 events/s", takes: 50 * time.Second, run: searchable},
	{name: "loads", about: "what an event costs at one, two and four times a load", takes: 160 * time.Second, sustained: true, run: loads},
	{name: "rate", about: "the highest steady rate, and minutes at it", takes: 15 * time.Minute, sustained: true, run: steady},
}

func names() []string {
	var all []string
	for _, b := range benches {
		all = append(all, b.name)
	}
	return all
}

var realFigures = []figure{
	{benchmark: "Batches", metric: "ratio", what: "collect in batches of 100 / raw AsyncProducer, acks=all", unit: "ratio", atLeast: 0.5},
	{benchmark: "Batches", metric: "cpu-ratio", what: "  the same by CPU of all processes, Kafka's and the sender's included", unit: "ratio"},
	{benchmark: "Batches", metric: "collect-events/s", what: "  collect", unit: "events/s"},
	{benchmark: "Batches", metric: "raw-events/s", what: "  raw producer", unit: "events/s"},
	{benchmark: "Batches", metric: "java-events/s", what: "  Kafka's ProducerPerformance, same values, no headers", unit: "events/s", optional: true},
	{benchmark: "Batches", metric: "collect-us", what: "  collect", unit: "us CPU"},
	{benchmark: "Batches", metric: "sender-us", what: "  its sender", unit: "us CPU"},
	{benchmark: "Batches", metric: "kafka-us", what: "  its Kafka", unit: "us CPU", optional: true},
	{benchmark: "Batches", metric: "raw-us", what: "  raw producer", unit: "us CPU"},
	{benchmark: "Collectors", metric: "collect-events/s", what: "single events, 64 connections: collect, kept with acks=all", unit: "events/s"},
	{benchmark: "Collectors", metric: "collect-us", what: "  its CPU", unit: "us CPU"},
	{benchmark: "Collectors", metric: "fastapi-events/s", what: "  FastAPI, one uvicorn worker, kept nowhere", unit: "events/s", optional: true},
	{benchmark: "Collectors", metric: "fastapi-us", what: "  its CPU", unit: "us CPU", optional: true},
	{benchmark: "Enrich", metric: "us", what: "enrich by Kafka intake: taxi contract, lookups, Kafka to Kafka", unit: "us CPU", atMost: 40},
	{benchmark: "Enrich", metric: "events/s", what: "  it", unit: "events/s"},
	{benchmark: "Enrich", metric: "MiB", what: "  its memory at the end (RSS)", unit: "MiB"},
	{benchmark: "Search", metric: "ratio", what: "load-search by Kafka intake / bare bulk client, same documents", unit: "ratio", atLeast: 0.8},
	{benchmark: "Search", metric: "load-docs/s", what: "  load-search", unit: "docs/s"},
	{benchmark: "Search", metric: "bare-docs/s", what: "  bare client", unit: "docs/s"},
	{benchmark: "Search", metric: "load-us", what: "  load-search", unit: "us CPU"},
	{benchmark: "Search", metric: "load-server-us", what: "  its Elasticsearch", unit: "us CPU", optional: true},
	{benchmark: "Search", metric: "bare-us", what: "  bare client", unit: "us CPU"},
	{benchmark: "Search", metric: "bare-server-us", what: "  its Elasticsearch", unit: "us CPU", optional: true},
	{benchmark: "Lake", metric: "raw-us", what: "load-lake, 200,000 raw events, Kafka to object storage", unit: "us CPU", atMost: 15},
	{benchmark: "Lake", metric: "typed-us", what: "load-lake, 200,000 enriched events, Kafka to object storage", unit: "us CPU", atMost: 40},
	{benchmark: "Lake", metric: "raw-events/s", what: "  raw", unit: "events/s"},
	{benchmark: "Lake", metric: "typed-events/s", what: "  enriched", unit: "events/s"},
	{benchmark: "Searchable", metric: "median-s", what: "receipt to searchable at 1,000/s, refresh_interval 500 ms, median", unit: "s", atMost: 1},
	{benchmark: "Searchable", metric: "p99-s", what: "  p99", unit: "s"},
}

var sustainedFigures = []figure{
	{benchmark: "Loads", metric: "most-us", what: "all functions together, at the highest of the loads", unit: "us CPU"},
	{benchmark: "Steady", metric: "rate", what: "highest steady rate, all on these cores", unit: "events/s"},
	{benchmark: "Steady", metric: "held", what: "rate held for the minutes that follow", unit: "events/s"},
	{benchmark: "Steady", metric: "lag-s", what: "  lag at their end, in seconds of the rate", unit: "s"},
	{benchmark: "Steady", metric: "growth-%", what: "  memory of the function that grew most, from minute 2 to the end, by a linear fit", unit: "%", atMost: maxGrowth},
}

// chosen returns the benchmarks that the flags ask for.
func chosen(o *options) []bench {
	var list []bench
	for _, b := range benches {
		if (b.sustained && o.sustained || !b.sustained && o.real) && (len(o.only) == 0 || slices.Contains(o.only, b.name)) {
			if b.name == "rate" {
				b.takes += time.Duration(o.minutes-minutes) * time.Minute
			}
			list = append(list, b)
		}
	}
	return list
}

// measured leaves of figures those of benchmarks that were run, so that what was not asked for does not count as missing.
func measured(figures []figure, list []bench) []figure {
	var of []figure
	for _, f := range figures {
		for _, b := range list {
			if benchmarkOf[f.benchmark] == b.name {
				of = append(of, f)
			}
		}
	}
	return of
}

var benchmarkOf = map[string]string{
	"Batches": "collect", "Collectors": "collector", "Enrich": "enrich", "Search": "search", "Lake": "lake", "Searchable": "searchable", "Loads": "loads", "Steady": "rate",
}

// measureReal runs the benchmarks on real servers. It returns what was measured also beside an error.
func measureReal(ctx context.Context, o *options, s rig.Servers) (sections []*section, versions string, err error) {
	dir, err := os.MkdirTemp("", "figures")
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Println("real servers: building functions")
	hold, err := rig.Open(ctx, s, dir, o.environ, "collect", "enrich", "load-search", "load-lake")
	if err != nil {
		return nil, "", err
	}
	defer func() {
		fmt.Println("removing what was made on the servers")
		err = errors.Join(err, hold.Close(context.WithoutCancel(ctx)))
	}()
	number, err := hold.SearchVersion(ctx)
	if err != nil {
		return nil, "", err
	}
	versions = "Elasticsearch " + number
	if o.servers != "" {
		versions += ", " + o.servers
	}
	list := chosen(o)
	var left time.Duration
	for _, b := range list {
		left += b.takes
	}
	short := &section{title: "On real servers", results: results{}}
	long := &section{title: "The whole pipeline on real servers", results: results{}}
	for _, part := range []*section{short, long} {
		figures := realFigures
		if part == long {
			figures = sustainedFigures
		}
		if part.figures = measured(figures, list); len(part.figures) > 0 {
			sections = append(sections, part)
		}
	}
	r := &measurement{Rig: hold, o: o}
	began := time.Now()
	for i, b := range list {
		fmt.Printf("%s  %d/%d %s, about %s; all done at about %s\n", time.Now().Format(time.TimeOnly), i+1, len(list), b.about, b.takes, time.Now().Add(left).Format(time.TimeOnly))
		r.section = short
		if b.sustained {
			r.section = long
		}
		if err := b.run(ctx, r); err != nil {
			return sections, versions, fmt.Errorf("%s: %w", b.about, err)
		}
		left -= b.takes
		if spent, planned := time.Since(began), spentOn(list[:i+1]); planned > 0 { // by what this machine takes
			left = time.Duration(float64(spentOn(list[i+1:])) * max(0.5, float64(spent)/float64(planned)))
		}
	}
	return sections, versions, nil
}

func spentOn(list []bench) (d time.Duration) {
	for _, b := range list {
		d += b.takes
	}
	return d
}

// self is the processor time of this process: the sender's, the raw producer's, the bare client's.
func self() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// meter reads the processor time of several processes; those that are not on this machine are not in it.
type meter struct {
	pids map[string]int
	self bool
}

// selfName is this process's in a meter's readings.
const selfName = "sender"

func (m meter) read() (map[string]time.Duration, error) {
	used := map[string]time.Duration{}
	for name, pid := range m.pids {
		d, err := rig.CPU(pid)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		used[name] = d
	}
	if m.self {
		d, err := self()
		if err != nil {
			return nil, err
		}
		used[selfName] = d
	}
	return used, nil
}

// during calls f and returns what each process used meanwhile.
func (m meter) during(f func() error) (map[string]time.Duration, error) {
	before, err := m.read()
	if err != nil {
		return nil, err
	}
	if err := f(); err != nil {
		return nil, err
	}
	used, err := m.read()
	for name := range used {
		used[name] -= before[name]
	}
	return used, err
}

// perEvent returns microseconds.
func perEvent(d time.Duration, n int) float64 { return float64(d.Nanoseconds()) / 1000 / float64(n) }

// until calls ok at intervals until it says so, an error comes, or the time is over.
func until(ctx context.Context, what string, every, patience time.Duration, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		done, err := ok()
		if err != nil || done {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
	}
}

// The settings of knative/direct.
var (
	collectEnv = []string{"GOMEMLIMIT=96MiB"}
	enrichEnv  = []string{"GOMEMLIMIT=96MiB", "GOGC=300"}
	searchEnv  = []string{"GOMEMLIMIT=192MiB", "GOGC=300"}
	lakeEnv    = []string{"GOMEMLIMIT=768MiB"}
)

func with(env []string, more ...string) []string { return append(slices.Clone(env), more...) }
