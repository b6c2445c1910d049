//go:build integration

package functions_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/kafka"
	"millrace/shared/objectstore"
)

// newSystemOnServers builds the platform with the real servers that the environment names. Its topics, buckets and indexes have names of their own: the
// manifests are copied with these in place of Millrace's, as a user's overlay would have them. What it made is removed at the end.
func newSystemOnServers(t *testing.T) *system {
	t.Helper()
	s := newPlatform(t)
	variable := func(name string) string {
		v := os.Getenv(name)
		if v == "" {
			t.Fatalf("%s names no server: make integration needs real ones", name)
		}
		return v
	}
	s.brokers = kafka.SplitBrokers(variable("KAFKA_BROKERS"))
	s.s3, s.es = variable("S3_ENDPOINT"), variable("ELASTICSEARCH_URL")
	id, secret := variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")
	s.credentials = func() (string, string, error) { return id, secret, nil }
	s.environment = os.Environ()
	own := fmt.Sprintf("it%d", time.Now().UnixNano())
	s.names = names{
		raw: own + ".raw", enriched: own + ".enriched", dead: own + ".dead", bucket: own, private: own + "-private", indexPrefix: own + "-",
	}
	manifests := filepath.Join(s.dir, "manifests")
	replace := strings.NewReplacer("events.raw", s.names.raw, "events.enriched", s.names.enriched, "events.dead", s.names.dead,
		"S3_BUCKET: millrace", "S3_BUCKET: "+s.names.bucket+"\n  INDEX_PREFIX: "+s.names.indexPrefix, "S3_BUCKET_PRIVATE: millrace-private", "S3_BUCKET_PRIVATE: "+s.names.private)
	for _, dir := range []string{"knative", "knative/jobs", "triggers"} {
		files, err := fs.Glob(os.DirFS(filepath.Join(s.root, dir)), "*.yaml")
		if err != nil || len(files) == 0 {
			t.Fatalf("%d manifests in %s, %v", len(files), dir, err)
		}
		if err := os.MkdirAll(filepath.Join(manifests, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			b, err := os.ReadFile(filepath.Join(s.root, dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(manifests, dir, name), []byte(replace.Replace(string(b))), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.listen = freeAddress(t)
	s.flags = []string{"-listen", s.listen, "-manifests", filepath.Join(manifests, "knative") + "," + filepath.Join(manifests, "triggers")}
	t.Cleanup(func() { s.stop(syscall.SIGTERM); s.remove() })
	return s
}

// remove deletes what the pipeline made on the servers.
func (s *system) remove() {
	admin, err := sarama.NewClusterAdmin(s.brokers, kafka.NewConfig("pipeline-test"))
	if err != nil {
		s.t.Error(err)
		return
	}
	defer admin.Close()
	for _, topic := range []string{s.names.raw, s.names.enriched, s.names.dead} {
		if err := admin.DeleteTopic(topic); err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			s.t.Error(err)
		}
	}
	var indices []struct{ Index string }
	if err := s.get(s.es+"/_cat/indices/"+s.names.indexPrefix+"*?format=json&h=index", &indices); err != nil {
		s.t.Error(err)
	}
	for _, i := range indices {
		if err := s.do(http.MethodDelete, s.es+"/"+i.Index, nil, nil); err != nil {
			s.t.Error(err)
		}
	}
	if err := s.do(http.MethodDelete, s.es+"/_index_template/millrace-"+s.names.indexPrefix+"*", nil, nil); err != nil {
		s.t.Error(err)
	}
	id, secret, _ := s.credentials()
	for _, bucket := range []string{s.names.bucket, s.names.private} {
		store, err := objectstore.Open(objectstore.Config{Endpoint: s.s3, Region: "us-east-1", AccessKey: id, SecretKey: secret, Bucket: bucket})
		if err != nil {
			s.t.Error(err)
			continue
		}
		for after := ""; ; {
			page, err := store.List(s.cleanup(), "", after, 0)
			if err != nil {
				s.t.Error(err)
				break
			}
			for _, o := range page {
				if err := store.Delete(s.cleanup(), o.Key); err != nil {
					s.t.Error(err)
				}
				after = o.Key
			}
			if len(page) < objectstore.MaxList {
				break
			}
		}
	}
}

// Guards what users run: the 100,000 real trips through real Kafka, Elasticsearch and object storage, with the one rejection that they hold; every sum closes.
func TestRealTripsOnRealServers(t *testing.T) {
	trips, err := filepath.Abs("../../shared/data/nyc_taxi/yellow_tripdata_2023-01_first100k.parquet")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(trips); err != nil {
		t.Skip("../shared/data/nyc_taxi is not here")
	}
	s := newSystemOnServers(t)
	s.start()
	out, err := exec.CommandContext(t.Context(), filepath.Join(s.dir, "produce"), "--collect", "http://"+s.listen,
		"--max-record-count", "0", "--sleep-time", "0", "--batch", "200", "--concurrency", "4", trips).CombinedOutput()
	if err != nil {
		t.Fatalf("produce: %v\n%s", err, out)
	}
	raw, enriched, dead := s.reconcile()
	if len(raw) != 100_000 || len(enriched) != 99_999 || len(dead) != 1 {
		t.Errorf("%d raw, %d enriched, dead: %v; want 100000, 99999 and one too far", len(raw), len(enriched), dead)
	}
	for id := range dead {
		if !strings.HasSuffix(id, " enrich contract_violation") {
			t.Errorf("dead letter %s", id)
		}
	}
}
