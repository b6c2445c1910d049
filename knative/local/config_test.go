package main

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"millrace/knative/local/internal/platform"
)

// clean is an environment without what a developer's shell may hold.
func clean(t *testing.T) {
	t.Helper()
	for _, name := range []string{"KAFKA_BROKERS", "CONTRACTS", "S3_ENDPOINT", "S3_REGION", "ELASTICSEARCH_URL", "ELASTICSEARCH_API_KEY", "ELASTICSEARCH_CA", "MILLRACE_ENV", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		t.Setenv(name, "")
	}
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
		Listen: "127.0.0.1:8080", Kafka: "127.0.0.1:9092", S3: "127.0.0.1:9000", Search: "127.0.0.1:9200", Tick: 10 * time.Second, Feed: 10000,
		Environment: map[string]string{"PATH": "/bin", "HOME": "/home/x"}, Out: got.Out, Color: got.Color,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	got, err = load([]string{"-dir", "d", "--listen=127.0.0.1:1", "-kafka=127.0.0.1:2", "-s3", "127.0.0.1:3", "-search", "127.0.0.1:4", "-tick", "1s", "-feed", "0", "-manifests", "a, b"})
	if err != nil {
		t.Fatal(err)
	}
	want.Dir, want.Listen, want.Kafka, want.S3, want.Search, want.Tick, want.Feed, want.Manifests = "d", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4", time.Second, 0, []string{"a", "b"}
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
	cfg, err := load(nil)
	if err != nil || !reflect.DeepEqual(cfg.Servers, platform.Servers{}) {
		t.Errorf("credentials of another purpose are used: %+v, %v", cfg.Servers, err)
	}
	t.Setenv("KAFKA_BROKERS", "a:1, b:2,")
	t.Setenv("S3_ENDPOINT", "http://s3:9000")
	t.Setenv("ELASTICSEARCH_URL", "https://es:9200")
	cfg, err = load(nil)
	want := platform.Servers{
		KafkaBrokers: []string{"a:1", "b:2"}, S3Endpoint: "http://s3:9000", ElasticsearchURL: "https://es:9200", ElasticsearchKey: "api key", ElasticsearchCA: "/ca.pem",
		Credentials: platform.Credentials{AccessKeyID: "id", SecretAccessKey: "key"},
	}
	if err != nil || !reflect.DeepEqual(cfg.Servers, want) {
		t.Errorf("got %+v, %v", cfg.Servers, err)
	}
}

// Every mistake must be named, all at once, by the flag or variable that it is in.
func TestMistakes(t *testing.T) {
	clean(t)
	t.Setenv("S3_ENDPOINT", "minio:9000")
	_, err := load([]string{"-listen", "8080", "-tick", "0", "-feed", "-1", "-dir", ""})
	for _, want := range []string{"-listen must be", "-tick must be", "-feed must", "-dir must", "S3_ENDPOINT must be an http or https URL"} {
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
