package main

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/shared/contract"
	"millrace/shared/kafka"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
	"millrace/shared/search/searchtest"
	"millrace/shared/usage"
)

func settings(t *testing.T) config {
	t.Helper()
	return config{
		Brokers: []string{"127.0.0.1:1"}, TopicRaw: "events.raw", TopicEnriched: "events.enriched", TopicDead: "events.dead", Partitions: 2, Replicas: 3, AllowFewerReplicas: true, RetentionRaw: time.Hour, RetentionEnrich: time.Hour, RetentionDead: time.Hour,
		ElasticsearchURL: "http://127.0.0.1:1", S3Endpoint: "http://127.0.0.1:1", S3Region: "r", Bucket: "a", BucketPrivate: "b",
		Keys: objectstore.Keys{AccessKey: "k", SecretKey: "s"}, Wait: time.Minute,
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

// Guards both ways of delivery: Triggers have their positions unless it is said that there are none, and then nothing is made that would look like a reader that is stuck.
func TestGroupsWithoutTriggers(t *testing.T) {
	for name, value := range map[string]string{"KAFKA_BROKERS": "k:1", "ELASTICSEARCH_URL": "http://e", "S3_ENDPOINT": "http://s", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"} {
		t.Setenv(name, value)
	}
	for _, value := range []string{"", "true", "false"} {
		if value != "" { // else as nobody says anything
			t.Setenv("TRIGGERS", value)
		}
		want := 3
		if value == "false" {
			want = 0
		}
		c, err := readConfig()
		if err != nil {
			t.Fatal(err)
		}
		if groups, err := c.groups(); err != nil || len(groups) != want {
			t.Errorf("TRIGGERS=%s: %v, %v; want %d", value, groups, err, want)
		}
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

// Guards a contract of CONTRACTS that takes a shipped one's place under its version: its fields reach the template that was made from the shipped one, and a run without it takes
// none of them away.
func TestContractInAnothersPlace(t *testing.T) {
	fake := searchtest.NewFake(t)
	c := settings(t)
	c.ElasticsearchURL = fake.URL
	shipped, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	trips, _ := shipped.Find("YellowTaxiTripRecords", "0-0-1")
	changed := strings.Replace(string(trips.Source()), "name: trip_distance", "name: trip_length", 1)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "trips.odcs.yaml"), []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := contract.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if wrong := source.Set().Invalid(); len(wrong) > 0 {
		t.Fatal(wrong)
	}
	for i, set := range []*contract.Set{shipped, source.Set(), shipped} {
		p := &provisioner{config: c, contracts: set, out: t.Output()}
		if _, err := p.templates(t.Context()); err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fake.URL+"/_index_template/millrace-enriched-yellowtaxitriprecords-0", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(text), `"trip_length":{`); got != (i > 0) || !strings.Contains(string(text), `"trip_distance":{`) {
			t.Errorf("run %d: trip_length is mapped: %t: %s", i, got, text)
		}
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
		p.admin = nil // as another process
	}
}

// Guards the first events of a topic that was deleted and is made again: a Trigger's group whose old positions Kafka still has begins at the beginning, and one that is at work is not passed over.
func TestTopicIsMadeAgain(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c := settings(t)
	c.Brokers = cluster.ListenAddrs()
	group := kafka.GroupTopic{Group: "g", Topic: "events.raw"}
	p := &provisioner{config: c, groups: []kafka.GroupTopic{group}}
	run := func(s step) (string, error) {
		var out strings.Builder
		p.out = &out
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		err := p.try(ctx, s)
		return out.String(), err
	}
	for _, s := range []step{{"kafka", p.connect}, p.topic("events.raw", time.Hour)} {
		if _, err := run(s); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = p.close() })
	client, err := sarama.NewClient(c.Brokers, kafka.NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]map[int32]sarama.OffsetAndMetadata{"events.raw": {0: {Offset: 0, LeaderEpoch: -1}, 1: {Offset: 5, LeaderEpoch: -1}}}
	if _, err := admin.AlterConsumerGroupOffsets("g", at, nil); err != nil { // as the old topic's, by whoever says not of which it is
		t.Fatal(err)
	}
	said, err := run(p.group(group))
	if err != nil || !strings.Contains(said, "starts at the beginning of events.raw, partitions [1]") {
		t.Errorf("said %s, %v", said, err)
	}
	if got, err := kafka.Committed(client, group); err != nil || got[0] != 0 || got[1] != 0 {
		t.Errorf("committed %v, %v", got, err)
	}
	if said, err = run(p.group(group)); err != nil || !strings.Contains(said, "has its position on events.raw") {
		t.Errorf("again said %s, %v", said, err)
	}
	// Its members have the group's positions in their hands.
	if _, err := admin.AlterConsumerGroupOffsets("g", at, nil); err != nil {
		t.Fatal(err)
	}
	member, err := sarama.NewConsumerGroup(c.Brokers, "g", kafka.NewConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	joined := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- member.Consume(ctx, []string{"events.raw"}, joining(joined)) }()
	<-joined
	if _, err := run(p.group(group)); err == nil || !strings.Contains(err.Error(), "stop what reads through the Trigger") || !strings.Contains(err.Error(), "events.raw was made anew") {
		t.Errorf("at work: %v", err)
	}
	cancel()
	if err := errors.Join(<-ended, member.Close()); err != nil {
		t.Error(err)
	}
}

// joining is a group's handler that reads nothing, and is closed once it is a member.
type joining chan struct{}

func (j joining) Setup(sarama.ConsumerGroupSession) error { close(j); return nil }
func (joining) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (joining) ConsumeClaim(s sarama.ConsumerGroupSession, _ sarama.ConsumerGroupClaim) error {
	<-s.Context().Done()
	return nil
}

// Guards whoever provisions while Kafka comes and goes: each try that fails leaves no client behind, which would go on asking for metadata.
func TestOneClientForAllTries(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	c := settings(t)
	c.Brokers = cluster.ListenAddrs()
	p := &provisioner{config: c, out: t.Output()}
	if _, err := p.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := p.admin
	if _, err := p.connect(t.Context()); err != nil || p.admin != first {
		t.Errorf("another client at the second try, and the first is still open: %v", err)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
}

// Guards an Elasticsearch that asks for a key, of a private CA: the templates' step reaches it, and is not repeated for two minutes without one.
func TestTemplatesBehindKeyAndCA(t *testing.T) {
	const key = "aWQ6c2VjcmV0"
	fake := searchtest.NewFake(t)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.Header.Get("Authorization"), " "+key) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fake.ServeHTTP(w, r)
	}))
	defer server.Close()
	dir := t.TempDir()
	ca, file := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key")
	for path, text := range map[string][]byte{ca: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), file: []byte(key)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"KAFKA_BROKERS": "a:1", "S3_ENDPOINT": "http://s3", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s",
		"ELASTICSEARCH_URL": server.URL, "ELASTICSEARCH_CA": ca, "ELASTICSEARCH_API_KEY": key,
	} {
		t.Setenv(name, value)
	}
	try := func() (string, error) {
		c, err := readConfig()
		if err != nil {
			return "", err
		}
		return (&provisioner{config: c, contracts: set, out: t.Output()}).templates(t.Context())
	}
	if said, err := try(); err != nil || len(fake.Templates()) != 1+len(set.Models()) {
		t.Errorf("by value: %s, %v", said, err)
	}
	t.Setenv("ELASTICSEARCH_API_KEY_FILE", file)
	if _, err := try(); err == nil || !strings.Contains(err.Error(), "ELASTICSEARCH_API_KEY_FILE") || strings.Contains(err.Error(), key) {
		t.Errorf("by value and file: %v", err)
	}
	t.Setenv("ELASTICSEARCH_API_KEY", "")
	if said, err := try(); err != nil {
		t.Errorf("by file: %s, %v", said, err)
	}
	t.Setenv("ELASTICSEARCH_API_KEY_FILE", "")
	if _, err := try(); err == nil || errors.Is(err, errRefused) || strings.Contains(err.Error(), key) {
		t.Errorf("without: %v", err)
	}
}

// Guards the help: it says of every variable what it is, among them those of Kafka, object storage and search, and a typing error on the command line starts nothing.
func TestHelp(t *testing.T) {
	var b strings.Builder
	if done, err := usage.Asked(&b, []string{"--help"}, help, config{}); !done || err != nil {
		t.Fatal(done, err)
	}
	for line := range strings.Lines(usage.Variables(config{})) {
		if strings.HasSuffix(line, " \n") {
			t.Errorf("no description: %q", line)
		}
	}
	for _, want := range []string{"KAFKA_BROKERS", "S3_ENDPOINT", "AWS_SECRET_ACCESS_KEY", "ELASTICSEARCH_API_KEY", "ELASTICSEARCH_CA", "LOG_LEVEL", "PROVISION_WAIT", "add the partitions"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s is not in the help", want)
		}
	}
	if err := run(t.Context(), []string{"-prot"}); err == nil || !strings.Contains(err.Error(), `unknown argument "-prot"`) {
		t.Errorf("an unknown argument: %v", err)
	}
}

// Guards against starting with settings that cannot work: all that is wrong is said at once, and no secret is.
func TestValidate(t *testing.T) {
	c := settings(t)
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c.Partitions, c.Wait, c.S3Endpoint, c.BucketPrivate, c.PrivateSecretKey = 0, 0, "minio:9000", "a", "verysecret"
	err := c.Validate()
	for _, want := range []string{"TOPIC_PARTITIONS", "PROVISION_WAIT", "S3_ENDPOINT", "S3_BUCKET_PRIVATE", "S3_PRIVATE_ACCESS_KEY_ID"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing said of %s: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "verysecret") {
		t.Error("a secret is in the error")
	}
}
