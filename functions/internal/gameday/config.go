package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"
	"github.com/spf13/pflag"

	"millrace/functions/internal/gameday/internal/server"
)

var errUsage = errors.New("usage")

// config is what a run is told.
type config struct {
	Cache string `envconfig:"SERVICES_CACHE"`
	Home  string `envconfig:"HOME"`
	Path  string `envconfig:"PATH"`

	short    bool
	only     []string
	events   int
	rate     float64
	seed     uint64
	output   string
	dir      string
	keep     bool
	list     bool
	patience time.Duration
	limit    time.Duration
	programs server.Programs
	told     []string // flags that change what a run shows
}

func readConfig(args []string) (*config, error) {
	c := new(config)
	if err := envconfig.Process("", c); err != nil {
		return nil, fmt.Errorf("read the environment: %w", err)
	}
	f := pflag.NewFlagSet("gameday", pflag.ContinueOnError)
	f.SortFlags = false
	f.BoolVar(&c.short, "short", false, "a few rows with fewer events, for CI")
	f.StringSliceVar(&c.only, "only", nil, "run the rows whose `names` hold one of these")
	f.BoolVar(&c.list, "list", false, "list the rows and end")
	f.IntVar(&c.events, "events", 0, "events in each row, at least (default 7000, with -short 2000)")
	f.Float64Var(&c.rate, "rate", 400, "events per second, at most; less where the load has to last through the fault")
	f.Uint64Var(&c.seed, "seed", 1, "of what is chosen by chance")
	f.StringVarP(&c.output, "output", "o", "", "write the table to this `file`, too")
	f.StringVar(&c.dir, "dir", "", "`directory` for data and logs (default a temporary one)")
	f.BoolVar(&c.keep, "keep", false, "keep the directory; one that --dir named is kept in any case")
	f.DurationVar(&c.patience, "patience", 4*time.Minute, "how long a row may take to come to rest after its load")
	f.DurationVar(&c.limit, "limit", 0, "how long all of it may take (default 1h, with -short 15m)")
	f.StringVar(&c.programs.Dir, "services", c.services(), "`directory` with lib/kafka, lib/elasticsearch and bin/minio, as ../shared/services makes it")
	f.StringVar(&c.programs.User, "user", "testservices", "who runs Elasticsearch where this is root")
	f.Usage = func() {
		fmt.Fprintf(os.Stderr, "gameday breaks the pipeline on real servers and counts what is lost.\n\n  go run ./functions/internal/gameday --short\n  go run ./functions/internal/gameday -o gameday.md\n\n%s", f.FlagUsages())
	}
	if err := f.Parse(single(args)); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	if c.events == 0 {
		c.events = 7000
		if c.short {
			c.events = 2000
		}
	}
	if c.limit == 0 {
		c.limit = time.Hour
		if c.short {
			c.limit = 15 * time.Minute
		}
	}
	f.Visit(func(one *pflag.Flag) {
		if slices.Contains([]string{"short", "only", "events", "rate", "seed"}, one.Name) {
			c.told = append(c.told, "-"+one.Name+map[bool]string{false: " " + strings.Trim(one.Value.String(), "[]")}[one.NoOptDefVal != ""])
		}
	})
	switch {
	case f.NArg() > 0:
		return nil, fmt.Errorf("%w: no arguments are known, only flags: %q", errUsage, f.Args())
	case c.events < 100:
		return nil, fmt.Errorf("%w: --events must be at least 100", errUsage)
	case c.limit < 0:
		return nil, fmt.Errorf("%w: --limit must be above zero", errUsage)
	case c.rate < 1:
		return nil, fmt.Errorf("%w: --rate must be at least 1", errUsage)
	}
	return c, nil
}

// command is how the run was started, as far as it matters for what it shows.
func (c *config) command() string {
	if len(c.told) == 0 {
		return "make gameday"
	}
	return fmt.Sprintf("make gameday ARGS=%q", strings.Join(c.told, " "))
}

// single takes flags with one dash, as the go command has them.
func single(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if len(a) > 2 && a[0] == '-' && a[1] != '-' {
			a = "-" + a
		}
		out[i] = a
	}
	return out
}

// services is where ../shared/services keeps its programs, under the path that its unprivileged user can enter.
func (c *config) services() string {
	if c.Cache != "" {
		return c.Cache
	}
	const mounted = "/run/test-services"
	if _, err := os.Stat(filepath.Join(mounted, "lib")); err == nil {
		return mounted
	}
	return filepath.Join(c.Home, ".cache", "test-services")
}

// environment is what the platform gets beside its servers.
func (c *config) environment() []string {
	env := []string{"PATH=" + c.Path, "HOME=" + c.Home}
	for _, one := range os.Environ() {
		if strings.HasPrefix(one, "GO") || strings.HasPrefix(one, "HTTPS_PROXY=") || strings.HasPrefix(one, "SSL_CERT_") {
			env = append(env, one)
		}
	}
	return env
}
