// Figures runs the benchmarks whose results README may claim, each three times, and prints the medians in one table beside their bounds: `make bench`. It is a tool of the tree,
// not a function.
//
// It says nothing of machines other than this one: where two costs are compared they are measured in one run, by processor time where that is what counts. What else the
// machine does meanwhile disturbs throughput and latency; the load average at the start is printed.
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// runs is how often each benchmark is run.
const runs = 3

// suite is one package's benchmarks.
type suite struct {
	pkg, pattern, benchtime string
	about                   string
}

var suites = []suite{
	{"./functions/collect", "^BenchmarkProcess$", "1x", "collect against a bare handler and a raw producer"},
	{"./functions/load-lake/internal/table", "^Benchmark(Raw|Typed)$", "10x", "landing objects"},
	{"./functions/load-lake/internal/drain", "^BenchmarkDrain(Raw|Typed)$", "1x", "drains of 200,000 events"},
	{"./functions/load-lake/internal/drain", "^BenchmarkWake$", "5x", "load-lake started for one tick"},
	{"./functions", "^BenchmarkPipeline$", "1x", "the whole local system at 1,000 events a second"},
}

// figure is one line of the table.
type figure struct {
	benchmark, metric string
	what, unit        string
	scale             float64 // from the benchmark's unit; 0 is 1
	atMost, atLeast   float64 // the bound; none where both are 0
}

var figures = []figure{
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
	{benchmark: "Pipeline", metric: "lake-us/event", what: "  the same while the whole system runs on this machine", unit: "us CPU"},
	{benchmark: "Pipeline", metric: "events/s", what: "single events of 1 KB through the local system", unit: "events/s"},
	{benchmark: "Pipeline", metric: "searchable-median-s", what: "receipt to searchable, median", unit: "s", atMost: 0.5},
	{benchmark: "Pipeline", metric: "searchable-p99-s", what: "receipt to searchable, p99", unit: "s", atMost: 2},
	{benchmark: "Pipeline", metric: "system-MiB", what: "memory of all processes (PSS, the most)", unit: "MiB", atMost: 600},
	{benchmark: "Pipeline", metric: "collect-MiB", what: "memory of collect (RSS, the most)", unit: "MiB", atMost: 64},
}

// results are the values measured, by benchmark and metric.
type results map[string][]float64

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

// median returns the middle of f's values; ok is false where there are none.
func (r results) median(f figure) (v float64, ok bool) {
	values := slices.Sorted(slices.Values(r[f.benchmark+" "+f.metric]))
	if len(values) == 0 {
		return 0, false
	}
	v = values[len(values)/2]
	if len(values)%2 == 0 {
		v = (values[len(values)/2-1] + v) / 2
	}
	if f.scale != 0 {
		v *= f.scale
	}
	return v, true
}

// table writes the figures; it returns how many have a bound that is not met, or no value.
func (r results) table(w io.Writer) (unmet int, err error) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "figure\tunit\tbound\tresult\tmet")
	for _, f := range figures {
		v, ok := r.median(f)
		bound, met := "", ""
		holds := ok
		switch {
		case f.atMost != 0:
			bound, holds = fmt.Sprintf("<= %g", f.atMost), ok && v <= f.atMost
		case f.atLeast != 0:
			bound, holds = fmt.Sprintf(">= %g", f.atLeast), ok && v >= f.atLeast
		}
		switch {
		case !holds:
			met = "NO"
			unmet++
		case bound != "":
			met = "yes"
		}
		result := "not measured"
		if ok {
			result = format(v)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", f.what, f.unit, bound, result, met)
	}
	return unmet, t.Flush()
}

func format(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// machine says where the figures come from.
func machine() string {
	load := "load average not known"
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = "load average " + strings.Join(strings.Fields(string(b))[:3], " ")
	}
	model := ""
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value) + ", "
				break
			}
		}
	}
	return fmt.Sprintf("%s%d cores, %s, %s/%s, %s at the start", model, runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, load)
}

func run(ctx context.Context) error {
	facts := machine()
	fmt.Println(facts)
	r := results{}
	began := time.Now()
	for _, s := range suites {
		fmt.Printf("%s, %d runs\n", s.about, runs)
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", s.pattern, "-benchtime", s.benchtime, "-count", strconv.Itoa(runs), "-timeout", "10m", s.pkg)
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
	fmt.Printf("\nmedians of %d runs in %s\n", runs, time.Since(began).Round(time.Second))
	unmet, err := r.table(os.Stdout)
	if err != nil {
		return err
	}
	if unmet > 0 {
		return fmt.Errorf("%d bounds are not met", unmet)
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to undo
	}
}
