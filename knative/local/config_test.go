package main

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"millrace/knative/local/internal/platform"
	"millrace/shared/kafka"
	"millrace/shared/objectstore"
	"millrace/shared/search"
)

// clean is an environment without what a developer's shell may hold.
func clean(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"KAFKA_BROKERS", "CONTRACTS", "CATALOG_URL", "TRINO_URL", "S3_ENDPOINT", "S3_REGION", "ELASTICSEARCH_URL", "ELASTICSEARCH_API_KEY", "ELASTICSEARCH_CA", "MILLRACE_ENV", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"KAFKA_CA_FILE", "KAFKA_CERT_FILE", "KAFKA_KEY_FILE", "KAFKA_SERVER_NAME", "KAFKA_SASL_MECHANISM", "KAFKA_USER", "KAFKA_PASSWORD", "KAFKA_PASSWORD_FILE",
		"ELASTICSEARCH_API_KEY_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE", "S3_PRIVATE_PROFILE", "S3_PRIVATE_ACCESS_KEY_ID", "S3_PRIVATE_SECRET_ACCESS_KEY", "S3_CA",
		"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS_FILE",
		"OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("KAFKA_TLS", "false")
	t.Setenv("OTEL_SDK_DISABLED", "false")
	t.Setenv("PATH", "/bin")
	t.Setenv("HOME", "/home/x")
}

// The addresses are those that the README and every command's defaults name; both spellings of a flag must work.
func TestDefaultsAndFlags(t *testing.T) {
	clean(t)
	got, err := load(nil)
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	want := platform.Config{
		Root: root, Dir: ".millrace", Manifests: []string{filepath.Join(root, "knative"), filepath.Join(root, "triggers")},
		Listen: "127.0.0.1:8080", Kafka: "127.0.0.1:9092", S3: "127.0.0.1:9000", Search: "127.0.0.1:9200", Tick: 10 * time.Second, Cron: time.Minute, Feed: 10000,
		Environment: map[string]string{"PATH": "/bin", "HOME": "/home/x"}, Out: got.Out, Color: got.Color,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	got, err = load([]string{"-dir", "d", "--listen=127.0.0.1:1", "-kafka=127.0.0.1:2", "-s3", "127.0.0.1:3", "-search", "127.0.0.1:4", "-tick", "1s", "-cron", "0", "-feed", "0", "-manifests", "a, b"})
	if err != nil {
		t.Fatal(err)
	}
	want.Dir, want.Listen, want.Kafka, want.S3, want.Search, want.Tick, want.Cron, want.Feed, want.Manifests = "d", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4", time.Second, 0, 0, []string{"a", "b"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// An overlay takes the place of the manifests, not beside them: both would deliver every event twice. A name that is none must not run nothing.
func TestOverlay(t *testing.T) {
	clean(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := load([]string{"-overlay", "direct"})
	want := []string{filepath.Join(root, "knative", "direct")}
	if err != nil || !reflect.DeepEqual(cfg.Manifests, want) {
		t.Errorf("got %v, %v; want %v", cfg.Manifests, err, want)
	}
	for _, args := range [][]string{{"-overlay", "drect"}, {"-overlay", "jobs"}, {"-overlay", "."}, {"-overlay", ".."}, {"-overlay", "direct", "-manifests", "a"}} {
		if _, err := load(args); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}

// A user's contracts reach the functions, wherever those run; a directory that is not there is said at once, not found out by the first event.
func TestContracts(t *testing.T) {
	clean(t)
	t.Setenv("CONTRACTS", ".")
	cfg, err := load(nil)
	if here, _ := filepath.Abs("."); err != nil || cfg.Contracts != here {
		t.Errorf("got %q, %v", cfg.Contracts, err)
	}
	t.Setenv("CONTRACTS", "no-such-directory")
	if _, err := load(nil); err == nil || !strings.Contains(err.Error(), "CONTRACTS") {
		t.Errorf("got %v", err)
	}
}

// Real servers come from the same variables that the functions have.
func TestServers(t *testing.T) {
	clean(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	t.Setenv("ELASTICSEARCH_API_KEY", "api key")
	t.Setenv("ELASTICSEARCH_CA", "/ca.pem")
	t.Setenv("KAFKA_SASL_MECHANISM", "SCRAM-SHA-256")
	t.Setenv("KAFKA_USER", "millrace")
	t.Setenv("KAFKA_PASSWORD_FILE", "config_test.go") // as it is named here, for functions that run elsewhere
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := load(nil)
	if err != nil || !reflect.DeepEqual(cfg.Servers, platform.Servers{}) {
		t.Errorf("credentials of another purpose are used: %+v, %v", cfg.Servers, err)
	}
	t.Setenv("KAFKA_BROKERS", "a:1, b:2,")
	t.Setenv("S3_ENDPOINT", "http://s3:9000")
	t.Setenv("ELASTICSEARCH_URL", "https://es:9200")
	cfg, err = load(nil)
	want := platform.Servers{
		KafkaBrokers: []string{"a:1", "b:2"}, S3Endpoint: "http://s3:9000", ElasticsearchURL: "https://es:9200",
		Search: search.Access{APIKey: "api key", CA: "/ca.pem"}, Keys: objectstore.Keys{AccessKey: "id", SecretKey: "key"},
		Kafka: kafka.Security{Mechanism: "SCRAM-SHA-256", User: "millrace", PasswordFile: filepath.Join(here, "config_test.go")},
	}
	if err != nil || !reflect.DeepEqual(cfg.Servers, want) {
		t.Errorf("got %+v, %v", cfg.Servers, err)
	}
	// What cannot be is said here, by the variable, and not by six processes.
	t.Setenv("KAFKA_USER", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/credentials")
	t.Setenv("ELASTICSEARCH_API_KEY_FILE", "/key")
	_, err = load(nil)
	for _, name := range []string{"KAFKA_USER", "AWS_SHARED_CREDENTIALS_FILE", "ELASTICSEARCH_API_KEY_FILE"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not in %v", name, err)
		}
	}
}

// The catalog goes on to a process in another directory, so a file's name becomes absolute; one that is none is refused without its password.
func TestCatalog(t *testing.T) {
	clean(t)
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{
		"": "", "sqlite:c.db": "sqlite://" + filepath.Join(here, "c.db"), "sqlite:///a/c%20d.db": "sqlite:///a/c%20d.db", "postgres://u:p%40@h:5432/lake?sslmode=disable": "postgres://u:p%40@h:5432/lake?sslmode=disable",
		"https://rest/catalog": "https://rest/catalog",
	} {
		t.Setenv("CATALOG_URL", given)
		if cfg, err := load(nil); err != nil || cfg.Servers.CatalogURL != want {
			t.Errorf("%s: got %q, %v; want %q", given, cfg.Servers.CatalogURL, err, want)
		}
	}
	for _, given := range []string{"catalog.db", "sqlite:", "sqlite://secret/c.db", "postgres:secret", "mysql://u:secret@h/lake", "postgres://u:se%cret@h/lake"} {
		t.Setenv("CATALOG_URL", given)
		if _, err := load(nil); err == nil || !strings.Contains(err.Error(), "CATALOG_URL") || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "se%cret") {
			t.Errorf("%s: %v", given, err)
		}
	}
}

// Spans of a pipeline on one machine go where OpenTelemetry's variables say, each function under its own name.
func TestSpans(t *testing.T) {
	clean(t)
	t.Setenv("OTEL_SERVICE_NAME", "mine")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS_FILE", "config_test.go")
	cfg, err := load(nil)
	if err != nil || cfg.Environment["OTEL_EXPORTER_OTLP_HEADERS_FILE"] != "" {
		t.Errorf("without an endpoint: %v, %v", cfg.Environment, err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
	here, err := filepath.Abs("config_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if cfg, err = load(nil); err != nil || cfg.Environment["OTEL_EXPORTER_OTLP_ENDPOINT"] != "http://127.0.0.1:4318" ||
		cfg.Environment["OTEL_EXPORTER_OTLP_HEADERS_FILE"] != here || cfg.Environment["OTEL_SERVICE_NAME"] != "" {
		t.Errorf("got %v, %v", cfg.Environment, err)
	}
	t.Setenv("OTEL_TRACES_SAMPLER", "sometimes")
	if _, err = load(nil); err == nil || !strings.Contains(err.Error(), "OTEL_TRACES_SAMPLER") {
		t.Errorf("got %v", err)
	}
}

// Somebody who reads the help must find every variable by which servers are reached.
func TestHelpNamesVariables(t *testing.T) {
	for _, of := range []any{kafka.Security{}, objectstore.Keys{}, search.Access{}} {
		for i := range reflect.TypeOf(of).NumField() {
			if name := reflect.TypeOf(of).Field(i).Tag.Get("envconfig"); !strings.Contains(usage, name) {
				t.Errorf("the help does not name %s", name)
			}
		}
	}
}

// Every mistake must be named, all at once, by the flag or variable that it is in.
func TestMistakes(t *testing.T) {
	clean(t)
	t.Setenv("S3_ENDPOINT", "minio:9000")
	t.Setenv("TRINO_URL", "trino:8080")
	_, err := load([]string{"-listen", "8080", "-tick", "0", "-cron", "-1s", "-feed", "-1", "-dir", ""})
	for _, want := range []string{"-listen must be", "-tick must be", "-cron must", "TRINO_URL must be an http or https URL", "-feed must", "-dir must", "S3_ENDPOINT must be an http or https URL"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	t.Setenv("MILLRACE_ENV", "/m/env")
	if _, err := load(nil); err == nil || !strings.Contains(err.Error(), "/m/env") || !strings.Contains(err.Error(), "unset MILLRACE_ENV") {
		t.Errorf("a shell that has another platform's servers: %v", err)
	}
	t.Setenv("MILLRACE_ENV", "")
	if _, err := load([]string{"run"}); err == nil || !strings.Contains(err.Error(), "no arguments are known") {
		t.Errorf("got %v", err)
	}
	if _, err := load([]string{"-listn", "x"}); !errors.Is(err, errUsage) {
		t.Errorf("got %v", err)
	}
}
