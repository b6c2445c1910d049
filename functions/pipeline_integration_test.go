//go:build integration

package functions_test

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql's driver of PostgreSQL
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"millrace/functions/internal/pipeline"
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
	own := fmt.Sprintf("it%d", time.Now().UnixNano())
	s.environment = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CATALOG_URL=") }), "CATALOG_URL="+s.catalog(variable("POSTGRES_DSN"), own))
	s.names = pipeline.Names{
		Raw: own + ".raw", Enriched: own + ".enriched", Dead: own + ".dead", Bucket: own, Private: own + "-private", IndexPrefix: own + "-",
	}
	manifests, err := pipeline.Manifests(s.root, filepath.Join(s.dir, "manifests"), strings.NewReplacer("events.raw", s.names.Raw, "events.enriched", s.names.Enriched, "events.dead", s.names.Dead,
		"S3_BUCKET: millrace", "S3_BUCKET: "+s.names.Bucket+"\n  INDEX_PREFIX: "+s.names.IndexPrefix, "S3_BUCKET_PRIVATE: millrace-private", "S3_BUCKET_PRIVATE: "+s.names.Private))
	if err != nil {
		t.Fatal(err)
	}
	s.listen = freeAddress(t)
	s.flags = []string{"-manifests", manifests}
	t.Cleanup(func() { s.stop(syscall.SIGTERM); s.remove() })
	return s
}

// catalog makes a database for the lake's catalog, which goes with the test, and returns its URL.
func (s *system) catalog(server, name string) string {
	s.t.Helper()
	db, err := sql.Open("pgx", server)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := db.ExecContext(s.t.Context(), "create database "+name); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if _, err := db.ExecContext(s.cleanup(), "drop database "+name+" with (force)"); err != nil {
			s.t.Error(err)
		}
		if err := db.Close(); err != nil {
			s.t.Error(err)
		}
	})
	u, err := url.Parse(server)
	if err != nil {
		s.t.Fatal("POSTGRES_DSN is no URL")
	}
	u.Path = "/" + name
	return u.String()
}

// remove deletes what the pipeline made on the servers.
func (s *system) remove() {
	admin, err := sarama.NewClusterAdmin(s.brokers, kafka.NewConfig("pipeline-test"))
	if err != nil {
		s.t.Error(err)
		return
	}
	defer admin.Close()
	for _, topic := range []string{s.names.Raw, s.names.Enriched, s.names.Dead} {
		if err := admin.DeleteTopic(topic); err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			s.t.Error(err)
		}
	}
	var indices []struct{ Index string }
	if err := s.get(s.es+"/_cat/indices/"+s.names.IndexPrefix+"*?format=json&h=index", &indices); err != nil {
		s.t.Error(err)
	}
	for _, i := range indices {
		if err := s.do(http.MethodDelete, s.es+"/"+i.Index, nil, nil); err != nil {
			s.t.Error(err)
		}
	}
	if err := s.do(http.MethodDelete, s.es+"/_index_template/millrace-"+s.names.IndexPrefix+"*", nil, nil); err != nil {
		s.t.Error(err)
	}
	id, secret, _ := s.credentials()
	for _, bucket := range []string{s.names.Bucket, s.names.Private} {
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
		if err := s.removeBucket(bucket, id, secret); err != nil {
			s.t.Error(err)
		}
	}
}

// removeBucket removes an empty bucket, which no function of ours ever does.
func (s *system) removeBucket(name, id, secret string) error {
	u, err := url.Parse(s.s3)
	if err != nil {
		return err
	}
	core, err := minio.NewCore(u.Host, &minio.Options{Creds: credentials.NewStaticV4(id, secret, ""), Secure: u.Scheme == "https", Region: "us-east-1"})
	if err != nil {
		return err
	}
	return core.RemoveBucket(s.cleanup(), name)
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
	s.flags = append(s.flags, "-cron", "5s")
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
	withCurate(t)
	// The counts are those of the file itself; the trip that is dead has neither a negative fare nor another fault.
	rule := func(id string) string {
		return "select cast(rows_failed as bigint) from ops.quality where kind = 'rule' and rule_id = '" + id + "' order by evaluated_at desc limit 1"
	}
	s.curated(map[string]int{
		"select count(*) from fact_trip":                                len(enriched),
		"select count(distinct root_id) from fact_trip":                 len(enriched),
		"select cast(sum(trips) as bigint) from mart_trip_daily":        len(enriched),
		"select count(*) from fact_trip where fare_amount < 0":          1002,
		"select count(distinct group_key) from ops.near_duplicates":     871,
		"select count(*) from star.fact_trip where has_no_passengers":   1749,
		"select count(distinct root_id) from events.dead":               1,
		rule("fare_amount-negative"):                                    1002,
		rule("passengers-zero"):                                         1749,
		rule("trip_distance-zero"):                                      1767,
		"select count(*) from ops.quarantine where released_at is null": 0,
	})
	s.killed(t, 20)
}
