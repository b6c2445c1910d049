//go:build integration

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	processes "millrace/functions/internal/pipeline"
	"millrace/shared/kafka"
	"millrace/shared/objectstore"
	"millrace/shared/search"
)

// realServers are the real ones, with topics, indexes and buckets of the test's own, which go with it.
type realServers struct {
	testing.TB
	id                  string
	brokers             []string
	client              sarama.Client
	admin               sarama.ClusterAdmin
	producer            *kafka.Producer
	search              *search.Client
	url                 string
	landed, private     *objectstore.Bucket
	raw, enriched, dead string // topics
	replayPath          string
	lakeURL             string
	dir                 string
}

// withServers skips where no servers are named.
func withServers(t testing.TB, partitions int) *realServers {
	t.Helper()
	for _, name := range []string{"KAFKA_BROKERS", "ELASTICSEARCH_URL", "S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		if os.Getenv(name) == "" {
			t.Skip(name + " names no server")
		}
	}
	id := "replay-it-" + strings.ToLower(rand.Text()[:8])
	s := &realServers{
		TB: t, id: id, brokers: kafka.SplitBrokers(os.Getenv("KAFKA_BROKERS")), url: os.Getenv("ELASTICSEARCH_URL"),
		raw: id + ".raw", enriched: id + ".enriched", dead: id + ".dead", dir: t.TempDir(),
	}
	for name, value := range map[string]string{
		"TOPIC_RAW": s.raw, "TOPIC_ENRICHED": s.enriched, "TOPIC_DEAD": s.dead, "INDEX_PREFIX": id + "-", "CONTRACTS": "", "S3_BUCKET": id, "S3_BUCKET_PRIVATE": id + "-private",
	} {
		t.Setenv(name, value)
	}
	s.openKafka(partitions)
	s.openSearch()
	s.landed, s.private = s.openBucket(id), s.openBucket(id+"-private")
	return s
}

func (s *realServers) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *realServers) openKafka(partitions int) {
	admin, err := kafka.NewAdmin(s.brokers, nil)
	s.must(err)
	s.Cleanup(func() { _ = admin.Close() })
	s.client, err = sarama.NewClient(s.brokers, kafka.NewConfig("replay-it"))
	s.must(err)
	s.admin, err = sarama.NewClusterAdminFromClient(s.client)
	s.must(err)
	s.Cleanup(func() { _ = s.admin.Close() })
	for _, topic := range []string{s.raw, s.enriched, s.dead} {
		_, err := admin.EnsureTopic(s.Context(), kafka.TopicSpec{Name: topic, Partitions: int32(partitions), Replicas: 1})
		s.must(err)
		s.Cleanup(func() {
			if err := s.admin.DeleteTopic(topic); err != nil {
				s.Error(err)
			}
		})
	}
	s.producer = kafka.NewProducer(s.brokers, kafka.ProducerOptions{Timeout: time.Minute})
	s.Cleanup(func() { _ = s.producer.Close(context.WithoutCancel(s.Context())) })
}

func (s *realServers) openSearch() {
	var err error
	s.search, err = search.New(search.Options{URL: s.url, Prefix: s.id + "-", Timeout: time.Minute})
	s.must(err)
	s.Cleanup(s.search.Close)
	s.Cleanup(func() {
		for index := range strings.FieldsSeq(s.http(http.MethodGet, s.url+"/_cat/indices/"+s.id+"-*?h=index", nil)) {
			s.http(http.MethodDelete, s.url+"/"+index, nil)
		}
		s.http(http.MethodDelete, s.url+"/_index_template/millrace-"+s.id+"-*", nil)
	})
}

// http sends a request and returns the answer's body; what is no 2xx is an error of the test, but for what is to be deleted and not there.
func (s *realServers) http(method, url string, body []byte) string {
	req, err := http.NewRequestWithContext(context.WithoutCancel(s.Context()), method, url, bytes.NewReader(body))
	s.must(err)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	s.must(err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	s.must(err)
	if res.StatusCode/100 != 2 && (method != http.MethodDelete || res.StatusCode != http.StatusNotFound) {
		s.Errorf("%s %s: %s: %.300s", method, url, res.Status, text)
	}
	return string(text)
}

func (s *realServers) openBucket(name string) *objectstore.Bucket {
	c := objectstore.Config{Endpoint: os.Getenv("S3_ENDPOINT"), Region: "us-east-1", Bucket: name, AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY")}
	bucket, err := objectstore.Open(c)
	s.must(err)
	s.must(bucket.EnsureBucket(s.Context()))
	s.Cleanup(func() { s.removeBucket(bucket, c) })
	return bucket
}

func (s *realServers) removeBucket(bucket *objectstore.Bucket, c objectstore.Config) {
	ctx := context.WithoutCancel(s.Context())
	for {
		page, err := bucket.List(ctx, "", "", objectstore.MaxList)
		s.must(err)
		if len(page) == 0 {
			break
		}
		for _, o := range page {
			s.must(bucket.Delete(ctx, o.Key))
		}
	}
	u, err := url.Parse(c.Endpoint)
	s.must(err)
	core, err := minio.NewCore(u.Host, &minio.Options{Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""), Secure: u.Scheme == "https", Region: c.Region})
	s.must(err)
	if err := core.RemoveBucket(ctx, c.Bucket); err != nil {
		s.Error(err)
	}
}

// build makes the commands that the test runs as processes.
func (s *realServers) build() {
	root, err := processes.Root()
	s.must(err)
	s.must(processes.Build(s.Context(), root, s.dir, "./functions/replay", "./functions/load-lake", "./functions/enrich", "./functions/load-search"))
	s.replayPath = filepath.Join(s.dir, "replay")
}

// ran is what a process did and took.
type ran struct {
	stdout, stderr string
	code           int
	wall, cpu      time.Duration
	memory         int64 // bytes, the most
}

// replay runs the command as a process.
func (s *realServers) replay(args ...string) ran {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), s.replayPath, args...)
	var out, told bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &told
	begun := time.Now()
	err := cmd.Run()
	r := ran{stdout: out.String(), stderr: told.String(), wall: time.Since(begun)}
	if cmd.ProcessState == nil {
		s.Fatal(err)
	}
	r.code, r.cpu = cmd.ProcessState.ExitCode(), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.memory = usage.Maxrss << 10
	}
	return r
}

// startLake starts load-lake as a process.
func (s *realServers) startLake() {
	s.Helper()
	s.lakeURL = s.start("load-lake", "LAG_GROUP=")
}

// start starts a function as a process, waits until it is ready, and returns its address.
func (s *realServers) start(name string, env ...string) string {
	s.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	address := l.Addr().String()
	s.must(l.Close())
	_, port, err := net.SplitHostPort(address)
	s.must(err)
	cmd := exec.Command(filepath.Join(s.dir, name))
	cmd.Env = append(os.Environ(), append(env, "PORT="+port, "LOG_LEVEL=error", "MASK_KEY=0123456789abcdef0123456789abcdef")...)
	cmd.SysProcAttr = processes.Dependent()
	cmd.Stderr = os.Stderr
	s.must(cmd.Start())
	s.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	base := "http://" + address
	s.eventually(name+" is ready", func() bool {
		res, err := http.Get(base + "/readyz")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return base
}

// eventually asks until it is so, for a minute.
func (s *realServers) eventually(what string, f func() bool) {
	s.Helper()
	deadline, tick := time.After(time.Minute), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline:
			s.Fatalf("not within a minute: %s", what)
		case <-tick.C:
		}
	}
}

// drain has load-lake drain the topics, each to its end. What it answers with 503 is asked for again, as a PingSource does.
func (s *realServers) drain(topics ...string) {
	s.Helper()
	for _, topic := range topics {
		for attempt := 1; ; attempt++ {
			req, err := http.NewRequestWithContext(s.Context(), http.MethodPost, s.lakeURL+"/", strings.NewReader(fmt.Sprintf(`{"topic":%q}`, topic)))
			s.must(err)
			for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/test", "Ce-Type": "dev.knative.sources.ping", "Content-Type": "application/json"} {
				req.Header.Set(name, value)
			}
			res, err := http.DefaultClient.Do(req)
			s.must(err)
			_ = res.Body.Close()
			if res.StatusCode/100 == 2 {
				break
			}
			if attempt == 10 {
				s.Fatalf("drain of %s: %s", topic, res.Status)
			}
		}
	}
}

// decode reads a command's JSON.
func (s *realServers) decode(r ran, into any) {
	s.Helper()
	if err := json.Unmarshal([]byte(r.stdout), into); err != nil {
		s.Fatalf("%v: %s%s", err, r.stdout, r.stderr)
	}
}
