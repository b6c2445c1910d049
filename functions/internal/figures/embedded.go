package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// runs is how often each benchmark is run, but for those of the sustained set.
const runs = 3

// suite is one package's benchmarks.
type suite struct {
	pkg, pattern, benchtime string
	about                   string
	once                    bool // in place of so many runs
}

var suites = []suite{
	{pkg: "./functions/collect", pattern: "^BenchmarkProcess$", benchtime: "1x", about: "collect against a bare handler and a raw producer"},
	{pkg: "./functions/load-lake/internal/table", pattern: "^Benchmark(Raw|Typed)$", benchtime: "10x", about: "landing objects"},
	{pkg: "./functions/load-lake/internal/drain", pattern: "^BenchmarkDrain(Raw|Typed)$", benchtime: "1x", about: "drains of 200,000 events"},
	{pkg: "./functions/load-lake/internal/drain", pattern: "^BenchmarkWake$", benchtime: "5x", about: "load-lake started for one tick"},
	{pkg: "./functions/curate", pattern: "^BenchmarkMillion$", benchtime: "1x", about: "curate, a million new rows"},
	{pkg: "./functions", pattern: "^BenchmarkPipeline$", benchtime: "1x", about: "the whole local system at 1,000 events a second"},
}

// growthSuites take ten minutes and more: they run when they are asked for, once.
var growthSuites = []suite{
	{pkg: "./functions/curate", pattern: "^BenchmarkGrowth$", benchtime: "1x", about: "curate, a million new rows on tables of up to 8 million", once: true},
}

var embedded = []figure{
	{benchmark: "Process", metric: "cpu-ratio", what: "collect's CPU for a single event / bare net/http handler's", unit: "ratio", atMost: 2.5},
	{benchmark: "Process", metric: "collect-us/event", what: "  collect", unit: "us CPU"},
	{benchmark: "Process", metric: "bare-us/event", what: "  bare handler", unit: "us CPU"},
	{benchmark: "Process", metric: "singles/s", what: "  single events, 64 connections", unit: "events/s"},
	{benchmark: "Process", metric: "batch-ratio", what: "collect in batches of 100 / raw AsyncProducer, acks=all", unit: "ratio", atLeast: 0.5},
	{benchmark: "Process", metric: "batched-events/s", what: "  collect", unit: "events/s"},
	{benchmark: "Process", metric: "raw-events/s", what: "  raw producer", unit: "events/s"},
	{benchmark: "Process", metric: "batched-collect-us", what: "  collect", unit: "us CPU"},
	{benchmark: "Process", metric: "batched-sender-us", what: "  its sender", unit: "us CPU"},
	{benchmark: "Process", metric: "batched-kafka-us", what: "  its Kafka", unit: "us CPU"},
	{benchmark: "Process", metric: "raw-producer-us", what: "  raw producer", unit: "us CPU"},
	{benchmark: "Process", metric: "batches-MiB", what: "  collect's memory at full load, 64 x 100 events in flight", unit: "MiB"},
	{benchmark: "DrainRaw", metric: "cpu-us/event", what: "load-lake, 200,000 raw events from Kafka to the log", unit: "us CPU", atMost: 15},
	{benchmark: "Raw", metric: "cpu-ns/event", what: "  of which record to Parquet", unit: "us CPU", scale: 1e-3},
	{benchmark: "DrainTyped", metric: "cpu-us/event", what: "load-lake, 200,000 typed events from Kafka to the log", unit: "us CPU", atMost: 40},
	{benchmark: "Typed", metric: "cpu-ns/event", what: "  of which record to Parquet", unit: "us CPU", scale: 1e-3},
	{benchmark: "Wake", metric: "pair-us", what: "  started for 10,000 events in batches of one, a raw and a typed row, starts included", unit: "us CPU"},
	{benchmark: "Wake", metric: "start-ms", what: "  its start, Kafka to log for one event", unit: "ms CPU"},
	{benchmark: "Wake", metric: "raw-us/row", what: "  each raw row more", unit: "us CPU"},
	{benchmark: "Wake", metric: "typed-us/row", what: "  each typed row more", unit: "us CPU"},
	{benchmark: "Million/new", metric: "cpu-s", what: "curate, a million new rows from landing to committed star schema", unit: "s CPU", atMost: 20},
	{benchmark: "Million/new", metric: "ingest-cpu-s", what: "  ingest", unit: "s CPU"},
	{benchmark: "Million/new", metric: "quality-cpu-s", what: "  quality", unit: "s CPU"},
	{benchmark: "Million/new", metric: "models-cpu-s", what: "  models", unit: "s CPU"},
	{benchmark: "Million/new", metric: "wall-s", what: "  by the clock", unit: "s"},
	{benchmark: "Million/new", metric: "MiB-max", what: "  its memory, the most", unit: "MiB", atMost: 1280},
	{benchmark: "Million/nothing_new", metric: "wall-s", what: "curate with nothing new", unit: "s", atMost: 0.2},
	{benchmark: "Million/nothing_new", metric: "cpu-s", what: "  with its start", unit: "s CPU"},
	{benchmark: "Pipeline", metric: "lake-us/event", what: "  the same while the whole system runs on this machine", unit: "us CPU"},
	{benchmark: "Pipeline", metric: "events/s", what: "single events of 1 KB through the local system", unit: "events/s"},
	{benchmark: "Pipeline", metric: "searchable-median-s", what: "receipt to searchable, median", unit: "s", atMost: 0.5},
	{benchmark: "Pipeline", metric: "searchable-p99-s", what: "receipt to searchable, p99", unit: "s", atMost: 2},
	{benchmark: "Pipeline", metric: "system-MiB", what: "memory of all processes (PSS, the most)", unit: "MiB", atMost: 600},
	{benchmark: "Pipeline", metric: "collect-MiB", what: "memory of collect (RSS, the most)", unit: "MiB", atMost: 64},
}

// growth is what another million costs on tables of n million, in two ways: with days of their own, and all on the same days.
var growth = func() (all []figure) {
	for _, how := range []struct{ name, what string }{{"days", "days of their own"}, {"same_days", "all rows on the same days"}} {
		all = append(all, figure{benchmark: "Growth/" + how.name, metric: "ratio", what: "curate, a million new rows on 8 million / on 1 million, " + how.what, unit: "ratio of CPU", atMost: 1.5})
		for _, n := range []string{"0", "1", "2", "4", "8"} {
			all = append(all, figure{benchmark: "Growth/" + how.name + "/" + n + "_million", metric: "cpu-s", what: "  on " + n + " million", unit: "s CPU"})
		}
		all = append(all,
			figure{benchmark: "Growth/" + how.name + "/8_million", metric: "MiB-max", what: "  its memory on 8 million, the most", unit: "MiB", atMost: 1280},
			figure{benchmark: "Growth/" + how.name + "/nothing_new", metric: "wall-s", what: "  with nothing new", unit: "s", atMost: 0.2})
	}
	return all
}()

// grown adds the ratios of growth.
func (r results) grown() {
	for _, how := range []string{"days", "same_days"} {
		small, ok := r.median(figure{benchmark: "Growth/" + how + "/1_million", metric: "cpu-s"})
		large, there := r.median(figure{benchmark: "Growth/" + how + "/8_million", metric: "cpu-s"})
		if ok && there && small > 0 {
			r.add("Growth/"+how, "ratio", large/small)
		}
	}
}

// read takes the lines of `go test -bench` into r.
func (r results) read(output io.Reader) error {
	sc := bufio.NewScanner(output)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(fields[0], "Benchmark"), "-")
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return fmt.Errorf("read %q: %w", sc.Text(), err)
			}
			key := name + " " + fields[i+1]
			r[key] = append(r[key], v)
		}
	}
	return sc.Err()
}

// measureSuites runs the benchmarks of packages that bring their own servers.
func measureSuites(ctx context.Context, suites []suite, r results) error {
	for _, s := range suites {
		count, timeout := runs, "15m"
		if s.once {
			count, timeout = 1, "60m"
		}
		fmt.Printf("%s, runs: %d\n", s.about, count)
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", s.pattern, "-benchtime", s.benchtime, "-count", strconv.Itoa(count), "-timeout", timeout, s.pkg)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
		}
		if err := r.read(bytes.NewReader(out)); err != nil {
			return err
		}
	}
	return nil
}
