package main

import (
	"context"
	"errors"
	"io"
	"net/http"
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
