package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"millrace/functions/produce/internal/generator"
)

// Config is what a run is told: two variables, which flags override, and flags.
type Config struct {
	// DataURL is the file or URL to send.
	DataURL string `envconfig:"DATA_URL"`
	// CollectURL is collect's address, with or without the path /api/v1/collect.
	CollectURL string `envconfig:"COLLECT_URL" default:"http://127.0.0.1:8080"`

	Generate bool `ignored:"true"` // the first argument is generate

	SleepTime      float64       `ignored:"true"` // seconds between records
	MaxRecordCount int64         `ignored:"true"` // 0 is all
	Rate           float64       `ignored:"true"` // events per second, 0 is what SleepTime says
	Concurrency    int           `ignored:"true"`
	Batch          int           `ignored:"true"`
	Skip           int64         `ignored:"true"` // rows
	RetryFor       time.Duration `ignored:"true"`
	Timeout        time.Duration `ignored:"true"` // of one request
	Source         string        `ignored:"true"`
	DryRun         bool          `ignored:"true"`
	MaxDownloadMiB int64         `ignored:"true"`
	TempDir        string        `ignored:"true"`
	Mapping        string        `ignored:"true"`
	SkipBadRows    bool          `ignored:"true"`

	Seed     uint64   `ignored:"true"`
	BadShare float64  `ignored:"true"`
	BadKinds []string `ignored:"true"`
	Start    string   `ignored:"true"`

	flags *pflag.FlagSet
}

// collectPath is where collect takes the JSON form.
const collectPath = "/api/v1/collect"

func (c *Config) flagSet() *pflag.FlagSet {
	f := pflag.NewFlagSet("produce", pflag.ContinueOnError)
	f.SortFlags = false
	f.Usage = func() {}
	f.StringVar(&c.CollectURL, "collect", c.CollectURL, "`URL` of collect (variable COLLECT_URL)")
	f.Float64VarP(&c.SleepTime, "sleep-time", "s", 1, "`seconds` between records; 0 sends as fast as it is answered")
	f.Int64VarP(&c.MaxRecordCount, "max-record-count", "m", 1000, "send at most so many records; 0 sends all")
	f.Float64Var(&c.Rate, "rate", 0, "events per second, in place of --sleep-time")
	f.IntVar(&c.Concurrency, "concurrency", 1, "requests at a time")
	f.IntVar(&c.Batch, "batch", 1, "events in a request")
	f.Int64Var(&c.Skip, "skip", 0, "begin after the first so many `rows`")
	f.DurationVar(&c.RetryFor, "retry-for", 2*time.Minute, "how long to resend what is busy, unconfirmed or unanswered")
	f.DurationVar(&c.Timeout, "timeout", 30*time.Second, "how long to wait for an answer")
	f.StringVar(&c.Source, "source", "", "the events' source (default /produce/<file name>, /produce/generate)")
	f.BoolVar(&c.DryRun, "dry-run", false, "print the events instead of sending them: the first 10, or --max-record-count")
	return f
}

// parse reads the arguments over what the environment said.
func (c *Config) parse(args []string) error {
	c.flags = c.flagSet()
	if len(args) > 0 && args[0] == "generate" {
		c.Generate, args = true, args[1:]
		c.generateFlags()
	} else {
		c.fileFlags()
	}
	if err := c.flags.Parse(args); err != nil {
		if !c.Generate && slices.Contains(args, "generate") {
			return fmt.Errorf("%w (generate has flags of its own, and comes first: produce generate ...)", err)
		}
		return err
	}
	switch rest := c.flags.Args(); {
	case c.Generate && len(rest) > 0:
		return fmt.Errorf("generate takes no arguments: %q", rest)
	case len(rest) > 1:
		return fmt.Errorf("one file or URL at a time: %q", rest)
	case len(rest) == 1:
		c.DataURL = rest[0]
	}
	return nil
}

func (c *Config) fileFlags() {
	f := c.flags
	f.StringVar(&c.Mapping, "mapping", "", "how a CSV or TSV becomes events: nasa, airquality or a YAML `file`; told from the header where not given")
	f.BoolVar(&c.SkipBadRows, "skip-bad-rows", false, "rows that cannot be split do not make the run fail")
	f.Int64Var(&c.MaxDownloadMiB, "max-download", 4096, "the largest download taken, in `MiB`")
	f.StringVar(&c.TempDir, "temp-dir", "", "where downloads are put (default "+os.TempDir()+")")
}

func (c *Config) generateFlags() {
	f := c.flags
	f.Int64Var(&c.MaxRecordCount, "count", 1000, "the same as --max-record-count; 0 goes on until interrupted")
	f.Uint64Var(&c.Seed, "seed", 1, "the same seed makes the same events")
	f.Float64Var(&c.BadShare, "bad-share", 0, "share of bad events, from 0 to 1")
	f.StringSliceVar(&c.BadKinds, "bad-kinds", nil, "which `kinds` of bad events, with commas between; all where not given")
	f.StringVar(&c.Start, "start", "2023-01-01T00:00:00", "when the trips begin, by New York's `clock`")
	// Nobody wants to wait an hour for an hour's worth of made-up trips.
	f.Lookup("sleep-time").DefValue, c.SleepTime = "0", 0
}

// startLayout is how --start is written.
const startLayout = "2006-01-02T15:04:05"

// countGiven says that the number of records was asked for, not the default.
func (c *Config) countGiven() bool {
	return c.flags.Changed("max-record-count") || (c.Generate && c.flags.Changed("count"))
}

// Validate says everything that is wrong with the configuration.
func (c *Config) Validate() error {
	var errs []error
	fail := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	u, err := url.Parse(c.CollectURL)
	fail(err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "", "--collect (COLLECT_URL) must be an http or https URL")
	fail(!c.Generate && c.DataURL == "", "name a file or URL, as an argument or in DATA_URL, or say: produce generate")
	fail(!(c.SleepTime >= 0 && c.SleepTime <= 86400), "--sleep-time must be from 0 to 86400 seconds")
	fail(!(c.Rate >= 0 && c.Rate <= 1e6), "--rate must be from 0 to 1000000")
	fail(c.Rate > 0 && c.flags.Changed("sleep-time"), "--rate and --sleep-time exclude each other")
	fail(c.MaxRecordCount < 0, "--max-record-count must not be negative")
	fail(c.Skip < 0, "--skip must not be negative")
	fail(c.Concurrency < 1 || c.Concurrency > 1024, "--concurrency must be from 1 to 1024")
	fail(c.Batch < 1 || c.Batch > 10000, "--batch must be from 1 to 10000")
	fail(c.RetryFor < 0, "--retry-for must not be negative")
	fail(c.Timeout <= 0, "--timeout must be more than 0")
	fail(!c.Generate && (c.MaxDownloadMiB < 1 || c.MaxDownloadMiB > 1<<30), "--max-download must be from 1 to %d MiB", 1<<30)
	if c.Generate {
		fail(!(c.BadShare >= 0 && c.BadShare <= 1), "--bad-share must be from 0 to 1")
		_, err := generator.ParseKinds(c.BadKinds)
		fail(err != nil, "--bad-kinds: %w", err)
		at, err := time.Parse(startLayout, c.Start)
		fail(err != nil || at.Year() < 1 || at.Year() > 9000, "--start must be written like 2023-01-01T00:00:00")
	}
	if c.Source != "" {
		_, err := url.Parse(c.Source)
		fail(err != nil || strings.ContainsAny(c.Source, " \t\r\n\"<>\\^`{|}"), "--source must be a URI-reference; percent-encode what it may not hold")
	}
	return errors.Join(errs...)
}

// endpoint is the whole address that events are posted to.
func (c *Config) endpoint() string {
	base := strings.TrimRight(c.CollectURL, "/")
	if strings.HasSuffix(base, collectPath) {
		return base
	}
	return base + collectPath
}

// interval is the pause between records.
func (c *Config) interval() time.Duration {
	if c.Rate > 0 {
		return time.Duration(float64(time.Second) / c.Rate)
	}
	return time.Duration(c.SleepTime * float64(time.Second))
}
