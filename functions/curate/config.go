package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/kelseyhightower/envconfig"

	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/objectstore"
	"millrace/shared/search"
	"millrace/shared/telemetry"
)

// Engines.
const (
	engineDuckDB = "duckdb"
	engineTrino  = "trino"
)

// namespacePrefix is what both engines and all catalogs take in a name without ado.
var namespacePrefix = regexp.MustCompile(`^[a-z0-9_]{0,60}$`)

// config is what all of curate's commands read from their environment.
type config struct {
	telemetry.Log

	Endpoint      string `envconfig:"S3_ENDPOINT" default:"http://127.0.0.1:9000" desc:"http or https URL"`
	Region        string `envconfig:"S3_REGION" default:"us-east-1" desc:"region to sign for"`
	Bucket        string `envconfig:"S3_BUCKET" default:"millrace" desc:"enriched objects, their log, and the warehouse"`
	BucketPrivate string `envconfig:"S3_BUCKET_PRIVATE" default:"millrace-private" desc:"raw and dead objects and their logs"`
	objectstore.Keys

	Catalog string `envconfig:"CATALOG_URL" desc:"the Iceberg catalog: sqlite:///<path>, postgres://..., or http(s)://... for REST; else that of make run, .millrace/catalog.db; may hold a password: never printed"`
	Prefix  string `envconfig:"WAREHOUSE_PREFIX" default:"warehouse" desc:"what the keys of the warehouse's objects begin with"`

	Namespaces string `envconfig:"NAMESPACE_PREFIX" desc:"before the names of the catalog's namespaces (events, ops, star), so that several warehouses share one catalog, and one Trino; each with a WAREHOUSE_PREFIX of its own"`

	ElasticsearchURL string `envconfig:"ELASTICSEARCH_URL" desc:"search, of which erase deletes documents; may hold user and password: never printed"`
	search.Access
	IndexPrefix string `envconfig:"INDEX_PREFIX" desc:"before all names of indexes"`

	Contracts string `envconfig:"CONTRACTS" desc:"a directory beside the embedded contracts"`
	Models    string `envconfig:"MODELS" desc:"a directory of models beside the embedded ones; one of the same name replaces"`

	Engine            string `envconfig:"ENGINE" default:"duckdb" desc:"what runs the models: duckdb, on this machine, or trino"`
	TrinoURL          string `envconfig:"TRINO_URL" desc:"Trino, http(s)://user@host:port, whose catalog TRINO_CATALOG is this one"`
	TrinoPasswordFile string `envconfig:"TRINO_PASSWORD_FILE" desc:"a file with that user's password; needs https"`
	TrinoTokenFile    string `envconfig:"TRINO_TOKEN_FILE" desc:"a file with a JWT in its place; needs https"`
	TrinoCA           string `envconfig:"TRINO_CA" desc:"a file of certificates (PEM) to trust in place of the system's"`
	TrinoCatalog      string `envconfig:"TRINO_CATALOG" default:"lake" desc:"Trino's name of this warehouse's catalog"`

	Memory  int64  `envconfig:"DUCKDB_MEMORY" default:"805306368" desc:"bytes that DuckDB takes at most; the process needs about 400 MiB beside it"`
	Threads int    `envconfig:"DUCKDB_THREADS" desc:"threads of DuckDB; 0 is one for each processor"`
	Scratch string `envconfig:"SCRATCH" desc:"a directory for files while a run is at work; else one below the system's for temporary files"`

	Accept []string `envconfig:"INGEST_ACCEPT" desc:"entries of the landing log that are given up, <topic id>@<sequence>, comma separated, as a run's alarm names them"`

	DedupWindow time.Duration `envconfig:"DEDUP_WINDOW" default:"720h" desc:"how long before the oldest new row another copy of an event is looked for outside of the days that a run touches"`

	MaintainEvery time.Duration `envconfig:"MAINTAIN_EVERY" default:"24h" desc:"how often a run merges small files, lets snapshots expire and applies retention; 0 never: curate maintain does it by hand"`

	OpsRetention time.Duration `envconfig:"OPS_RETENTION" default:"2160h" desc:"for how long rows of ops.* about runs, landing and measurements, events.dead and the warehouse's reports of runs are kept, in whole days; 0 for ever. What tells of events goes by their contract"`

	Report           string `envconfig:"REPORT" desc:"a file that the report of each run is written to, beside the warehouse's"`
	LineageURL       string `envconfig:"OPENLINEAGE_URL" desc:"http(s) URL that OpenLineage events go to, as <URL>/api/v1/lineage"`
	LineageKeyFile   string `envconfig:"OPENLINEAGE_API_KEY_FILE" desc:"a file with the key that goes with them"`
	LineageFile      string `envconfig:"OPENLINEAGE_FILE" desc:"a file that OpenLineage events are appended to, one a line"`
	LineageNamespace string `envconfig:"OPENLINEAGE_NAMESPACE" default:"millrace" desc:"the namespace of jobs in them"`
	PushgatewayURL   string `envconfig:"PUSHGATEWAY_URL" desc:"http(s) URL of the Prometheus Pushgateway that a run's metrics go to; none where it is empty; may hold user and password: never printed"`
}

func readConfig() (*config, error) {
	c := new(config)
	if err := envconfig.Process("", c); err != nil {
		return nil, fmt.Errorf("reading the environment: %w", err)
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return c, nil
}

// Validate joins everything that is wrong.
func (c *config) Validate() error {
	errs := []error{c.Keys.Validate(), c.Access.Validate()}
	if c.Engine != engineDuckDB && c.Engine != engineTrino {
		errs = append(errs, fmt.Errorf("ENGINE must be %s or %s", engineDuckDB, engineTrino))
	}
	if c.Engine == engineTrino && c.TrinoURL == "" {
		errs = append(errs, errors.New("ENGINE=trino needs TRINO_URL"))
	}
	if c.Catalog == "" {
		if dir, err := filepath.Abs(".millrace"); err != nil {
			errs = append(errs, fmt.Errorf("CATALOG_URL is not set, and the working directory is not known: %w", err))
		} else {
			c.Catalog = "sqlite://" + filepath.ToSlash(filepath.Join(dir, "catalog.db"))
		}
	}
	if c.Bucket == c.BucketPrivate {
		errs = append(errs, errors.New("S3_BUCKET and S3_BUCKET_PRIVATE must differ"))
	}
	if c.Prefix == "" || c.Prefix == "landing" {
		errs = append(errs, errors.New("WAREHOUSE_PREFIX must be named, and not landing"))
	}
	if !namespacePrefix.MatchString(c.Namespaces) {
		errs = append(errs, errors.New("NAMESPACE_PREFIX must be of a-z, 0-9 and _, such as test_"))
	}
	if c.Namespaces != "" && c.Prefix == "warehouse" {
		errs = append(errs, errors.New("NAMESPACE_PREFIX needs a WAREHOUSE_PREFIX other than warehouse: two warehouses must not share a folder"))
	}
	if c.Memory < 128<<20 {
		errs = append(errs, errors.New("DUCKDB_MEMORY must be at least 134217728 (128 MiB)"))
	}
	if c.Threads < 0 {
		errs = append(errs, errors.New("DUCKDB_THREADS must not be negative"))
	}
	if c.MaintainEvery < 0 {
		errs = append(errs, errors.New("MAINTAIN_EVERY must not be negative"))
	}
	if c.OpsRetention != 0 && c.OpsRetention < 168*time.Hour {
		errs = append(errs, errors.New("OPS_RETENTION must be 0, or 168h at least: the service levels are measured by these rows"))
	}
	if c.DedupWindow <= 0 {
		errs = append(errs, errors.New("DEDUP_WINDOW must be above 0"))
	}
	for _, setting := range []struct{ name, text string }{{"PUSHGATEWAY_URL", c.PushgatewayURL}, {"OPENLINEAGE_URL", c.LineageURL}} {
		name, text := setting.name, setting.text
		if text == "" {
			continue
		}
		u, err := url.Parse(text)
		switch { // none of which quotes the URL: it may hold a password
		case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
			errs = append(errs, fmt.Errorf("%s must be http(s)://host:port", name))
		case u.RawQuery != "" || u.Fragment != "":
			errs = append(errs, fmt.Errorf("%s must end with its path", name))
		case u.User != nil && name == "OPENLINEAGE_URL":
			errs = append(errs, errors.New("OPENLINEAGE_URL must hold no user: OPENLINEAGE_API_KEY_FILE names a file with the key"))
		}
	}
	return errors.Join(errs...)
}

// logger writes what happens as a job's log, or for a person warnings alone.
func (c *config) logger(w io.Writer, person bool) *slog.Logger {
	if person {
		c.Format = telemetry.Text
		if c.Level < slog.LevelWarn {
			c.Level = slog.LevelWarn
		}
	}
	return telemetry.Logger(w, c.Log, "curate")
}

// bucket opens the bucket of enriched objects and the warehouse, or the private one.
func (c *config) bucket(private bool) (*objectstore.Bucket, error) {
	if err := c.Present(); err != nil {
		return nil, err
	}
	name := c.Bucket
	if private {
		name = c.BucketPrivate
	}
	return objectstore.Open(c.Use(objectstore.Config{Endpoint: c.Endpoint, Region: c.Region, Bucket: name}, private))
}

// scratch is the directory that runs have theirs in.
func (c *config) scratch() string {
	if c.Scratch != "" {
		return c.Scratch
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("millrace-curate-%d", os.Getuid())) // users of one machine do not share theirs
}

// warehouse says where the tables are.
func (c *config) warehouse(store *objectstore.Bucket, logger *slog.Logger) warehouse.Config {
	return warehouse.Config{Catalog: c.Catalog, Name: "lake", Store: store, Prefix: c.Prefix, Scratch: c.scratch(), Logger: logger, NamespacePrefix: c.Namespaces}
}

// isSet says whether the environment has the variable, be it empty.
func isSet(name string) bool {
	_, ok := os.LookupEnv(name)
	return ok
}
