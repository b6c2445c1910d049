package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/shared/contract"
	"millrace/shared/kafka"
	"millrace/shared/objectstore/objectstoretest"
	"millrace/shared/search/searchtest"
)

func settings(t *testing.T) config {
	t.Helper()
	return config{
		Brokers: []string{"127.0.0.1:1"}, TopicRaw: "events.raw", TopicEnriched: "events.enriched", TopicDead: "events.dead", Partitions: 2, Replicas: 3, AllowFewerReplicas: true, RetentionRaw: time.Hour, RetentionEnrich: time.Hour, RetentionDead: time.Hour,
		ElasticsearchURL: "http://127.0.0.1:1", S3Endpoint: "http://127.0.0.1:1", S3Region: "r", Bucket: "a", BucketPrivate: "b",
		AccessKey: "k", SecretKey: "s", Wait: time.Minute,
	}
}

// Guards new Triggers against starting at the end of their topic: each embedded Trigger has a group, named as Knative's Broker names it, on its Broker's topic.
func TestTriggerGroups(t *testing.T) {
	got, err := triggerGroups("", nil)
	want := []kafka.GroupTopic{
		{Group: "knative-trigger-millrace-enrich", Topic: "events.raw"},
		{Group: "knative-trigger-millrace-load-search-dead", Topic: "events.dead"},
		{Group: "knative-trigger-millrace-load-search-enriched", Topic: "events.enriched"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	other, err := triggerGroups("other", map[string]string{"events.raw": "other.raw"})
	if err != nil || other[0] != (kafka.GroupTopic{Group: "knative-trigger-other-enrich", Topic: "other.raw"}) {
		t.Errorf("in another namespace %v, %v", other, err)
	}
}

// Guards against giving up at a server that is only late, and against waiting for what no waiting mends.
func TestTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provisioner{config: settings(t), out: io.Discard}
		calls := 0
		late := step{"late", func(context.Context) (string, error) {
			if calls++; calls < 8 {
				return "", errors.New("connection refused")
			}
			return "there", nil
		}}
		if err := p.try(t.Context(), late); err != nil || calls != 8 {
			t.Errorf("%v after %d calls", err, calls)
		}
		calls = 0
		if err := p.try(t.Context(), step{"refused", func(context.Context) (string, error) { calls++; return "", errRefused }}); !errors.Is(err, errRefused) || calls != 1 {
			t.Errorf("%v after %d calls", err, calls)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		never := errors.New("no such host")
		if err := p.try(ctx, step{"never", func(context.Context) (string, error) { return "", never }}); !errors.Is(err, never) {
			t.Errorf("gave up with %v", err)
		}
	})
}

// Guards the store that ignores If-None-Match, on which two drains would overwrite each other's log: refused at once, with the reason.
func TestStoreWithoutConditionsIsRefused(t *testing.T) {
	s3 := objectstoretest.NewServer()
	defer s3.Close()
	s3.IgnoreConditions()
	c := settings(t)
	c.S3Endpoint = s3.URL
	p := &provisioner{config: c, out: t.Output()}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := p.try(ctx, p.bucket("landing")); !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "If-None-Match") {
		t.Errorf("got %v", err)
	}
}

// Guards whoever publishes a contract: a mapping that Elasticsearch refuses ends the run at once, with the reason, and not after all the waiting.
func TestRefusedTemplateIsRefused(t *testing.T) {
	fake := searchtest.NewFake(t)
	fake.Set(searchtest.Hooks{Whole: func(r *http.Request, _ []byte) (int, http.Header, string) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "pageview") {
			return 400, nil, `{"error":{"type":"illegal_argument_exception","reason":"invalid mappings"},"status":400}`
		}
		return 0, nil, ""
	}})
	set, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	c := settings(t)
	c.ElasticsearchURL = fake.URL
	p := &provisioner{config: c, contracts: set, out: t.Output()}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := p.try(ctx, step{"index templates", p.templates}); !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "invalid mappings") {
		t.Errorf("got %v", err)
	}
	if n := len(fake.Templates()); n != len(set.All()) { // that of dead letters, and all but one
		t.Errorf("templates %v", fake.Templates())
	}
}

// Guards indexes that are there when a contract gets a field: they take it, and one that refuses is told without ending the run.
func TestIndexesTakeAddedFields(t *testing.T) {
	fake := searchtest.NewFake(t)
	extended := map[string]bool{}
	refuse := false
	fake.Set(searchtest.Hooks{Whole: func(r *http.Request, _ []byte) (int, http.Header, string) {
		if strings.HasSuffix(r.URL.Path, "/_mapping") && r.Method == http.MethodPut {
			extended[r.URL.Path] = true
			if refuse && strings.Contains(r.URL.Path, "pageview") {
				return 400, nil, `{"error":{"type":"illegal_argument_exception","reason":"mapper [payload.url] cannot be changed"},"status":400}`
			}
		}
		if refuse && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/_mapping") {
			return 200, nil, `{"enriched-pageview-0-2026.11.20":{"mappings":{"properties":{"payload":{"properties":{"url":{"type":"text"}}}}}}}`
		}
		return 0, nil, ""
	}})
	set, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	c := settings(t)
	c.ElasticsearchURL = fake.URL
	p := &provisioner{config: c, contracts: set, out: t.Output()}
	if said, err := p.templates(t.Context()); err != nil || strings.Contains(said, "not take") || !extended["/dead-*/_mapping"] || len(extended) != 1+len(set.Models()) {
		t.Errorf("said %q, %v; extended %v", said, err, extended)
	}
	refuse = true
	said, err := p.templates(t.Context())
	if err != nil || !strings.Contains(said, "index enriched-pageview-0-2026.11.20 does not take all fields") {
		t.Errorf("said %q, %v", said, err)
	}
}

// Guards whoever deploys contracts: a file that is wrong is named at once and at the end, what is right is made, and the run has failed.
func TestWrongContractFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "orders.odcs.yaml"), []byte("version: 0.0.1\nkind: DataContract\nshema: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := contract.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	p := &provisioner{config: settings(t), contracts: source.Set(), out: &out}
	err = p.wrong()
	if !errors.Is(err, errRefused) {
		t.Errorf("got %v", err)
	}
	for _, want := range []string{"orders.odcs.yaml", "shema not found"} {
		if !strings.Contains(out.String(), want) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %s, %v", want, out.String(), err)
		}
	}
	if len(p.contracts.All()) == 0 {
		t.Error("nothing is left to provision")
	}
	p.contracts = new(contract.Set)
	if err := p.wrong(); err != nil {
		t.Errorf("nothing is wrong: %v", err)
	}
}

// Guards the run as a whole on Kafka: topics and positions are made once, and a second run changes nothing.
func TestTopicsAndGroups(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	c := settings(t)
	c.Brokers = cluster.ListenAddrs()
	set, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	group := kafka.GroupTopic{Group: "knative-trigger-millrace-enrich", Topic: "events.raw"}
	p := &provisioner{config: c, contracts: set, groups: []kafka.GroupTopic{group}}
	for i, want := range []string{"created", "there already"} {
		var out strings.Builder
		p.out = &out
		for _, s := range []step{{"kafka", p.connect}, p.topic("events.raw", time.Hour), p.group(group)} {
			if err := p.try(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.admin.GroupsReady(t.Context(), p.groups); err != nil {
			t.Error(err)
		}
		if !strings.Contains(out.String(), "topic events.raw: "+want) {
			t.Errorf("run %d said %s", i, out.String())
		}
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}
}

// Guards against starting with settings that cannot work: all that is wrong is said at once, and no secret is.
func TestValidate(t *testing.T) {
	c := settings(t)
	if err := c.validate(); err != nil {
		t.Error(err)
	}
	c.Partitions, c.Wait, c.S3Endpoint, c.BucketPrivate, c.PrivateSecretKey = 0, 0, "minio:9000", "a", "verysecret"
	err := c.validate()
	for _, want := range []string{"TOPIC_PARTITIONS", "PROVISION_WAIT", "S3_ENDPOINT", "S3_BUCKET_PRIVATE", "S3_PRIVATE_ACCESS_KEY_ID"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing said of %s: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "verysecret") {
		t.Error("a secret is in the error")
	}
}
