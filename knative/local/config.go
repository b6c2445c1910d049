package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"

	"millrace/knative/local/internal/build"
	"millrace/knative/local/internal/platform"
	"millrace/shared/kafka"
	"millrace/shared/objectstore"
	"millrace/shared/search"
	"millrace/shared/tracing"
)

// environment is what the command reads of its environment.
type environment struct {
	// Servers that are used in place of embedded ones.
	KafkaBrokers     []string `envconfig:"KAFKA_BROKERS"` // host:port, comma separated
	S3Endpoint       string   `envconfig:"S3_ENDPOINT"`   // http or https URL
	S3Region         string   `envconfig:"S3_REGION"`
	ElasticsearchURL string   `envconfig:"ELASTICSEARCH_URL"` // http or https URL
	CatalogURL       string   `envconfig:"CATALOG_URL"`       // sqlite:FILE, postgres://... or http(s)://...; may hold a password
	TrinoURL         string   `envconfig:"TRINO_URL"`         // http or https URL
	Contracts        string   `envconfig:"CONTRACTS"`         // a directory of contracts beside the embedded ones

	// How they are reached, by the variables that the functions have.
	kafka.Security
	objectstore.Keys
	search.Access

	// Spans, Path and the rest are passed on to every process.
	Spans      tracing.Spans
	Path       string `envconfig:"PATH"`
	Home       string `envconfig:"HOME"`
	HTTPSProxy string `envconfig:"HTTPS_PROXY"`
	SystemFile string `envconfig:"SSL_CERT_FILE"`
	SystemDir  string `envconfig:"SSL_CERT_DIR"`

	// Sourced is the file that a running platform writes for other shells, where this one has read it.
	Sourced string `envconfig:"MILLRACE_ENV"`

	NoColor string `envconfig:"NO_COLOR"`
	Term    string `envconfig:"TERM"`
}

const usage = `millrace runs the whole pipeline on this machine: the manifests of knative and triggers, functions as processes, and
embedded servers for Kafka, object storage and search. Ctrl-C drains and stops; data is kept.

  make run                                  # http://127.0.0.1:8080, data in .millrace
  make run ARGS="-dir /data/m -tick 5s"     # with flags
  make run ARGS="-cron 0"                   # without curate, which needs a C compiler
  make run ARGS="-overlay direct"           # functions take events straight from Kafka: knative/direct in place of knative and triggers
  go run ./knative/local lint --help        # finds traps in manifests

Variables: KAFKA_BROKERS, S3_ENDPOINT and ELASTICSEARCH_URL name real servers, used in place of the embedded ones. How these are reached, the functions
and this command take from the variables of the functions; files are read again as they change:

  KAFKA_BROKERS      KAFKA_TLS, KAFKA_CA_FILE, KAFKA_CERT_FILE, KAFKA_KEY_FILE, KAFKA_SERVER_NAME,
                     KAFKA_SASL_MECHANISM, KAFKA_USER, KAFKA_PASSWORD_FILE or KAFKA_PASSWORD
  S3_ENDPOINT        AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, S3_PRIVATE_ACCESS_KEY_ID and S3_PRIVATE_SECRET_ACCESS_KEY,
                     or AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE, S3_PRIVATE_PROFILE; S3_REGION, S3_CA
  ELASTICSEARCH_URL  ELASTICSEARCH_API_KEY or ELASTICSEARCH_API_KEY_FILE, ELASTICSEARCH_CA

CATALOG_URL names the catalog of the lake's tables, postgres://... or http(s)://... (REST), in place of a file in DIR; TRINO_URL a Trino on the same catalog, for curate.

CONTRACTS names a directory of your own contracts, *.odcs.yaml. OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT has the functions send
spans there, as the other OTEL_ variables of their --help say.

While it runs, DIR/env has the variables by which commands in another shell find its servers: . .millrace/env

Flags:
`

// errUsage is an error that the flag package has shown already, with the flags there are.
var errUsage = errors.New("usage")

// load reads flags and environment.
func load(args []string) (platform.Config, error) {
	var env environment
	if err := envconfig.Process("", &env); err != nil {
		return platform.Config{}, fmt.Errorf("read the environment: %w", err)
	}
	var cfg platform.Config
	var manifests, overlay string
	flags := flag.NewFlagSet("millrace", flag.ContinueOnError)
	flags.Usage = func() {
		_, _ = fmt.Fprint(flags.Output(), usage) // who cannot read it has no use for an error either
		flags.PrintDefaults()
	}
	flags.StringVar(&cfg.Dir, "dir", ".millrace", "`directory` for all data, made where it is absent")
	flags.StringVar(&cfg.Listen, "listen", "127.0.0.1:8080", "`address` of the gateway: collect and other public functions")
	flags.StringVar(&cfg.Kafka, "kafka", "127.0.0.1:9092", "`address` of the embedded Kafka; the variable KAFKA_BROKERS names a real one")
	flags.StringVar(&cfg.S3, "s3", "127.0.0.1:9000", "`address` of the embedded object storage; the variable S3_ENDPOINT names a real one")
	flags.StringVar(&cfg.Search, "search", "127.0.0.1:9200", "`address` of the embedded search; the variable ELASTICSEARCH_URL names a real one")
	flags.DurationVar(&cfg.Tick, "tick", 10*time.Second, "`time` between two ticks of each PingSource, in place of its schedule")
	flags.DurationVar(&cfg.Cron, "cron", time.Minute, "`time` between two runs of each CronJob (curate), in place of its schedule; 0 runs none")
	flags.StringVar(&manifests, "manifests", "", "`files` and directories of manifests, comma separated (default knative and triggers of this checkout)")
	flags.StringVar(&overlay, "overlay", "", "`name` of a directory in knative that is run in place of knative and triggers: direct")
	flags.IntVar(&cfg.Feed, "feed", 10000, "feed a new directory with this `number` of generated trips; 0 is none")
	flags.BoolVar(&cfg.Verbose, "verbose", false, "tell of every process")
	if err := flags.Parse(args); err != nil {
		return platform.Config{}, fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() > 0 {
		return platform.Config{}, fmt.Errorf("no arguments are known, only flags: %q", flags.Args())
	}
	if env.Sourced != "" {
		return platform.Config{}, fmt.Errorf("this shell has read %s, whose variables name the servers of a platform, and here would mean real servers: use another shell, or unset MILLRACE_ENV, KAFKA_BROKERS, S3_ENDPOINT, ELASTICSEARCH_URL and CATALOG_URL", env.Sourced)
	}
	root, err := build.Root(".", "millrace")
	if err != nil {
		return platform.Config{}, err
	}
	cfg.Root = root
	cfg.Manifests = []string{filepath.Join(root, "knative"), filepath.Join(root, "triggers")}
	switch {
	case overlay != "" && manifests != "":
		return platform.Config{}, errors.New("-overlay and -manifests exclude each other")
	case overlay != "":
		if cfg.Manifests, err = overlaid(root, overlay); err != nil {
			return platform.Config{}, err
		}
	case manifests != "":
		cfg.Manifests = list(strings.Split(manifests, ","))
	}
	cfg.Servers = platform.Servers{
		KafkaBrokers: list(env.KafkaBrokers), S3Endpoint: env.S3Endpoint, S3Region: env.S3Region, ElasticsearchURL: env.ElasticsearchURL,
		TrinoURL: env.TrinoURL,
	}
	if cfg.Servers.CatalogURL, err = catalog(env.CatalogURL); err != nil {
		return platform.Config{}, err
	}
	if err := env.secure(&cfg.Servers); err != nil {
		return platform.Config{}, err
	}
	if env.Contracts != "" {
		if cfg.Contracts, err = filepath.Abs(env.Contracts); err != nil {
			return platform.Config{}, fmt.Errorf("CONTRACTS: %w", err)
		}
		if info, err := os.Stat(cfg.Contracts); err != nil || !info.IsDir() {
			return platform.Config{}, fmt.Errorf("CONTRACTS must be a directory: %s is none", env.Contracts)
		}
	}
	if err := env.Spans.Validate(); err != nil {
		return platform.Config{}, err
	}
	cfg.Environment = map[string]string{}
	passed := map[string]string{
		"PATH": env.Path, "HOME": env.Home, "HTTPS_PROXY": env.HTTPSProxy, "SSL_CERT_FILE": env.SystemFile, "SSL_CERT_DIR": env.SystemDir,
	}
	if s := env.Spans; s.On() {
		if s.HeadersFile != "" {
			if s.HeadersFile, err = filepath.Abs(s.HeadersFile); err != nil {
				return platform.Config{}, fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS_FILE: %w", err)
			}
		}
		// Without a service's name: each function has its own.
		maps.Copy(passed, map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": s.Endpoint, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": s.TracesEndpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": s.Protocol,
			"OTEL_EXPORTER_OTLP_HEADERS": string(s.Headers), "OTEL_EXPORTER_OTLP_HEADERS_FILE": s.HeadersFile,
			"OTEL_RESOURCE_ATTRIBUTES": s.Resource, "OTEL_TRACES_SAMPLER": s.Sampler, "OTEL_TRACES_SAMPLER_ARG": s.SamplerArg,
		})
	}
	for key, value := range passed {
		if value != "" {
			cfg.Environment[key] = value
		}
	}
	cfg.Out = os.Stdout
	info, err := os.Stdout.Stat()
	cfg.Color = err == nil && info.Mode()&os.ModeCharDevice != 0 && env.NoColor == "" && env.Term != "dumb"
	return cfg, validate(cfg)
}

// catalog checks the catalog's URL, which errors never quote, and makes the name of a file absolute: curate runs in another directory than this command.
func catalog(address string) (string, error) {
	if address == "" {
		return "", nil
	}
	u, err := url.Parse(address)
	if err == nil {
		switch u.Scheme {
		case "postgres", "postgresql", "http", "https":
			if u.Host != "" {
				return address, nil
			}
		case "sqlite":
			name := u.Path
			if u.Opaque != "" {
				name = u.Opaque
			}
			if name == "" || u.Host != "" {
				break
			}
			if name, err = filepath.Abs(name); err != nil {
				return "", fmt.Errorf("CATALOG_URL: %w", err)
			}
			return (&url.URL{Scheme: u.Scheme, Path: name, RawQuery: u.RawQuery}).String(), nil
		}
	}
	return "", errors.New("CATALOG_URL must be sqlite:FILE, or a URL of postgres, http or https")
}

// secure says how the real servers are reached. Credentials of another purpose that happen to be set are not for the embedded ones. Functions run in another directory than this
// command, so names of files become absolute.
func (env *environment) secure(s *platform.Servers) error {
	var errs []error
	absolute := func(variable string, name *string) {
		if *name == "" {
			return
		}
		abs, err := filepath.Abs(*name)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", variable, err))
		}
		*name = abs
	}
	if len(s.KafkaBrokers) > 0 {
		absolute("KAFKA_CA_FILE", &env.CAFile)
		absolute("KAFKA_CERT_FILE", &env.CertFile)
		absolute("KAFKA_KEY_FILE", &env.KeyFile)
		absolute("KAFKA_PASSWORD_FILE", &env.PasswordFile)
		s.Kafka = env.Security
		errs = append(errs, s.Kafka.Validate())
	}
	if s.ElasticsearchURL != "" {
		absolute("ELASTICSEARCH_CA", &env.Access.CA)
		absolute("ELASTICSEARCH_API_KEY_FILE", &env.APIKeyFile)
		s.Search = env.Access
		errs = append(errs, s.Search.Validate())
	}
	if s.S3Endpoint != "" {
		absolute("AWS_SHARED_CREDENTIALS_FILE", &env.File)
		absolute("S3_CA", &env.Keys.CA)
		s.Keys = env.Keys
		errs = append(errs, s.Keys.Validate())
	}
	return errors.Join(errs...)
}

// overlaid returns the manifests of an overlay, a complete directory in knative; the provision job is its own where it has one.
func overlaid(root, name string) ([]string, error) {
	dir := filepath.Join(root, "knative", name)
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 || strings.ContainsAny(name, `./\`) || name == "jobs" {
		return nil, fmt.Errorf("-overlay: there is no overlay %q in %s", name, filepath.Join(root, "knative"))
	}
	if _, err := os.Stat(filepath.Join(dir, "jobs", "provision.yaml")); err == nil {
		return []string{dir}, nil
	}
	return []string{dir, filepath.Join(root, "knative", "jobs", "provision.yaml")}, nil
}

// list returns the items without white space around them and without empty ones.
func list(items []string) []string {
	var kept []string
	for _, item := range items {
		if item = strings.TrimSpace(item); item != "" {
			kept = append(kept, item)
		}
	}
	return kept
}

// validate says everything that is wrong with the configuration.
func validate(cfg platform.Config) error {
	var errs []error
	for _, one := range []struct{ flag, addr string }{{"listen", cfg.Listen}, {"kafka", cfg.Kafka}, {"s3", cfg.S3}, {"search", cfg.Search}} {
		if _, _, err := net.SplitHostPort(one.addr); err != nil {
			errs = append(errs, fmt.Errorf("-%s must be an address such as 127.0.0.1:8080: %w", one.flag, err))
		}
	}
	for _, one := range []struct{ variable, address string }{{"S3_ENDPOINT", cfg.Servers.S3Endpoint}, {"ELASTICSEARCH_URL", cfg.Servers.ElasticsearchURL}, {"TRINO_URL", cfg.Servers.TrinoURL}} {
		if u, err := url.Parse(one.address); one.address != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			errs = append(errs, fmt.Errorf("%s must be an http or https URL", one.variable))
		}
	}
	if cfg.Dir == "" {
		errs = append(errs, errors.New("-dir must not be empty"))
	}
	if cfg.Tick <= 0 {
		errs = append(errs, errors.New("-tick must be above zero"))
	}
	if cfg.Cron < 0 {
		errs = append(errs, errors.New("-cron must not be negative"))
	}
	if cfg.Feed < 0 {
		errs = append(errs, errors.New("-feed must not be negative"))
	}
	return errors.Join(errs...)
}
