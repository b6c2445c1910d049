// Figures measures what README may claim, and prints it in tables beside its bounds: `make bench`. It is a tool of the tree, not a function. It ends with status 1 where a bound is
// not met, or what has one could not be measured.
//
// Four sets of figures:
//   - embedded: benchmarks of packages that bring their own servers, medians of three runs; those of curate need a C compiler, without which they are told as not measured;
//   - growth: what a million new rows cost curate on tables of 0 to 8 million, some fifteen minutes and 4 GB on disk, once;
//   - real: against the servers that KAFKA_BROKERS, ELASTICSEARCH_URL and S3_ENDPOINT (with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) name, functions as processes, some eight
//     minutes, medians of three runs; without those variables it is left out, which is said;
//   - sustained: the whole pipeline on those servers: the highest steady rate, ten minutes at it, and what events cost at three loads, some eighteen minutes, once.
//
// Without a flag, embedded and real are measured. KAFKA_PERF names the command that runs Kafka's ProducerPerformance, up to its own flags; else the one of ../shared/services is used
// where that is there. On the servers it makes topics, indexes and buckets of its own and removes them at its end, also when it is interrupted; others may
// use them meanwhile, which disturbs the figures but not the others.
//
// It says nothing of machines other than this one: where two costs are compared they are measured in one run, in turns, and by processor time where that is what counts. What else the
// machine does meanwhile disturbs throughput and latency; the load average at the start is printed.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"millrace/functions/internal/figures/internal/rig"
	"millrace/shared/kafka"
)

// options are the flags.
type options struct {
	embedded, growth, real, sustained bool

	only    []string // benchmarks of real and sustained; none is all
	output  string
	servers string // their versions, for the report
	minutes int    // of the steady load
	rate    int    // events a second that are wanted

	perf    string   // KAFKA_PERF
	environ []string // of this process
}

// What the flags are where they are not given.
const (
	minutes = 10
	rate    = 5000
)

// errUsage says that the flags are wrong; what is wrong has been printed.
var errUsage = errors.New("see --help")

func readOptions(args []string) (*options, error) {
	o := &options{perf: os.Getenv("KAFKA_PERF"), environ: os.Environ()}
	f := pflag.NewFlagSet("figures", pflag.ContinueOnError)
	f.BoolVar(&o.embedded, "embedded", false, "measure with embedded servers")
	f.BoolVar(&o.growth, "growth", false, "measure curate on tables of up to 8 million rows: some fifteen minutes")
	f.BoolVar(&o.real, "real", false, "measure on real servers: some eight minutes")
	f.BoolVar(&o.sustained, "sustained", false, "measure the whole pipeline on real servers under load: some eighteen minutes")
	f.StringSliceVar(&o.only, "only", nil, "of real and sustained only these: "+strings.Join(names(), ", "))
	f.StringVarP(&o.output, "output", "o", "", "a file for the report, in Markdown")
	f.StringVar(&o.servers, "servers", "", "what the servers are, for the report, as \"Kafka 4.3.1, MinIO 2026-02-12\"")
	f.IntVar(&o.minutes, "minutes", minutes, "of the steady load")
	f.IntVar(&o.rate, "rate", rate, "events a second that the pipeline is to sustain")
	f.Usage = func() {
		fmt.Fprintf(os.Stderr, "figures measures what README claims. Without --embedded, --growth, --real or --sustained it does the first and the third.\n\n%s\n"+
			"KAFKA_BROKERS, ELASTICSEARCH_URL, S3_ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY name the real servers; KAFKA_PERF the command of\n"+
			"Kafka's ProducerPerformance, up to its own flags.\n", f.FlagUsages())
	}
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	for _, name := range o.only {
		if !slices.Contains(names(), name) {
			return nil, fmt.Errorf("--only %s: there is %s: %w", name, strings.Join(names(), ", "), errUsage)
		}
	}
	if f.NArg() > 0 || o.minutes < 1 || o.rate < 100 {
		return nil, fmt.Errorf("no arguments, at least one minute and 100 events a second: %w", errUsage)
	}
	if !o.embedded && !o.growth && !o.real && !o.sustained {
		o.embedded, o.real = true, true
	}
	for _, b := range benches {
		if slices.Contains(o.only, b.name) && (b.sustained && !o.sustained || !b.sustained && !o.real) {
			return nil, fmt.Errorf("--only %s: it is none of what is measured, without %s: %w", b.name, map[bool]string{false: "--real", true: "--sustained"}[b.sustained], errUsage)
		}
	}
	return o, nil
}

// servers returns the real servers that the environment names, or which variable is missing.
func servers() (s rig.Servers, missing []string) {
	variable := func(name string) string {
		v := os.Getenv(name)
		if v == "" {
			missing = append(missing, name)
		}
		return v
	}
	return rig.Servers{
		Brokers: kafka.SplitBrokers(variable("KAFKA_BROKERS")), Search: strings.TrimSuffix(variable("ELASTICSEARCH_URL"), "/"), S3: strings.TrimSuffix(variable("S3_ENDPOINT"), "/"),
		ID: variable("AWS_ACCESS_KEY_ID"), Key: variable("AWS_SECRET_ACCESS_KEY"),
	}, missing
}

func run(ctx context.Context, o *options) error {
	facts := machine()
	fmt.Println(facts)
	began := time.Now()
	var sections []*section
	if o.embedded {
		s := &section{title: "With embedded servers", figures: embedded, results: results{}}
		if err := measureSuites(ctx, suites, s.results); err != nil {
			return err
		}
		sections = append(sections, s)
	}
	if o.growth {
		s := &section{title: "As tables grow", figures: growth, results: results{}}
		if err := measureSuites(ctx, growthSuites, s.results); err != nil {
			return err
		}
		s.results.grown()
		sections = append(sections, s)
	}
	var skipped string
	var versions string
	if o.real || o.sustained {
		named, missing := servers()
		if len(missing) > 0 {
			skipped = "LEFT OUT: figures on real servers, since " + strings.Join(missing, ", ") + " are not set"
			if !o.embedded && !o.growth { // they were asked for
				return errors.New(skipped)
			}
			fmt.Println(skipped)
		} else {
			measured, about, err := measureReal(ctx, o, named)
			sections, versions = append(sections, measured...), about
			if err != nil {
				// What was measured before is worth reading.
				if _, printing := print(os.Stdout, sections); printing != nil {
					return errors.Join(err, printing)
				}
				return err
			}
		}
	}
	fmt.Printf("\nmedians of %d runs where there are several, in %s\n", runs, time.Since(began).Round(time.Second))
	unmet, err := print(os.Stdout, sections)
	if err != nil {
		return err
	}
	if skipped != "" {
		fmt.Println("\n" + skipped)
	}
	if o.output != "" {
		if err := os.WriteFile(o.output, markdown(o, facts, versions, skipped, sections, began), 0o600); err != nil {
			return err
		}
	}
	if unmet > 0 {
		return fmt.Errorf("%d bounds are not met", unmet)
	}
	return nil
}

// print writes the sections for a terminal and returns how many bounds are not met.
func print(w io.Writer, sections []*section) (unmet int, err error) {
	for _, s := range sections {
		fmt.Fprintf(w, "\n%s\n", s.title)
		n, err := s.text(w)
		if err != nil {
			return 0, err
		}
		unmet += n
	}
	return unmet, nil
}

// markdown returns the report in Markdown. It names no host and no path of this machine.
func markdown(o *options, facts, versions, skipped string, sections []*section, began time.Time) []byte {
	var b bytes.Buffer
	command := "go run ./functions/internal/figures"
	for _, flag := range []struct {
		set  bool
		name string
	}{
		{o.embedded, " --embedded"},
		{o.growth, " --growth"},
		{o.real, " --real"},
		{o.sustained, " --sustained"},
		{len(o.only) > 0, " --only " + strings.Join(o.only, ",")},
		{o.minutes != minutes, fmt.Sprint(" --minutes ", o.minutes)},
		{o.rate != rate, fmt.Sprint(" --rate ", o.rate)},
	} {
		if flag.set {
			command += flag.name
		}
	}
	fmt.Fprintf(&b, "# Figures\n\n`%s`, %s, in %s. %s.\n", command, began.UTC().Format(time.DateOnly), time.Since(began).Round(time.Second), facts)
	if versions != "" {
		fmt.Fprintf(&b, "Servers: %s, on the same machine's cores where their processes are listed.\n", versions)
	}
	fmt.Fprintf(&b, "Medians of %d runs where \"runs\" shows a range.\n", runs)
	for _, s := range sections {
		s.markdown(&b)
	}
	if skipped != "" {
		fmt.Fprintf(&b, "\n%s\n", skipped)
	}
	return b.Bytes()
}

func main() {
	o, err := readOptions(os.Args[1:])
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}
