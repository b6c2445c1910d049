// Package rig is what figures on real servers are measured with: topics, indexes and buckets of a run's own on servers that others use as well, functions as processes, and the
// processor time and memory of processes, the servers' included where they are on this machine.
//
// What a run made, Close removes: processes, topics, consumer groups, indexes, templates and buckets, also where the run was interrupted. It measures, and judges nothing. Processes are
// looked at in /proc, so it needs Linux.
package rig

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"millrace/functions/internal/pipeline"
	"millrace/shared/kafka"
	"millrace/shared/objectstore"
)

// Partitions of each topic, as provision makes them.
const Partitions = 6

// retention of the topics, for what a killed run leaves behind.
const retention = 2 * time.Hour

// Servers are the real servers of a run.
type Servers struct {
	Brokers []string // host:port
	Search  string   // URL of Elasticsearch
	S3      string   // URL
	ID, Key string   // of S3
}

// Rig is one run's hold on the servers. Its methods are safe for concurrent use, but for Close.
type Rig struct {
	Servers

	Prefix string // of everything that the run makes, "-" at its end
	Dir    string // for binaries and logs; the caller's to remove

	environ []string // of this process

	client sarama.Client
	admin  sarama.ClusterAdmin
	topics *kafka.Admin
	s3     *minio.Client

	mu        sync.Mutex
	made      []string // topics
	groups    []string
	buckets   []string
	processes []*Process
}

// Open connects to the servers, each of which must answer, and builds the functions into dir. environ is this process's environment.
func Open(ctx context.Context, s Servers, dir string, environ []string, functions ...string) (r *Rig, err error) {
	r = &Rig{Servers: s, Prefix: "figures-" + strings.ToLower(rand.Text()[:6]) + "-", Dir: dir, environ: environ}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close(context.WithoutCancel(ctx)))
		}
	}()
	if r.client, err = kafka.Connect(s.Brokers, kafka.NewConfig("millrace-figures")); err != nil {
		return r, fmt.Errorf("connect to Kafka: %w", err)
	}
	if r.admin, err = sarama.NewClusterAdminFromClient(r.client); err != nil {
		return r, fmt.Errorf("connect to Kafka: %w", err)
	}
	if r.topics, err = kafka.NewAdmin(s.Brokers, nil); err != nil {
		return r, err
	}
	if _, err = r.SearchVersion(ctx); err != nil {
		return r, err
	}
	host, secure := strings.CutPrefix(s.S3, "https://")
	r.s3, err = minio.New(strings.TrimPrefix(host, "http://"), &minio.Options{Creds: credentials.NewStaticV4(s.ID, s.Key, ""), Secure: secure, Region: "us-east-1"})
	if err != nil {
		return r, fmt.Errorf("connect to object storage: %w", err)
	}
	if _, err = r.s3.ListBuckets(ctx); err != nil {
		return r, fmt.Errorf("connect to object storage: %w", err)
	}
	root, err := pipeline.Root()
	if err != nil {
		return r, err
	}
	for i, f := range functions {
		functions[i] = "./functions/" + f
	}
	return r, pipeline.Build(ctx, root, dir, functions...)
}

// SearchVersion returns Elasticsearch's version.
func (r *Rig) SearchVersion(ctx context.Context) (string, error) {
	var answer struct {
		Nodes map[string]struct{ Version string }
	}
	if err := pipeline.Do(ctx, http.MethodGet, r.Search+"/_nodes?filter_path=nodes.*.version", nil, &answer); err != nil {
		return "", fmt.Errorf("connect to Elasticsearch: %w", err)
	}
	for _, n := range answer.Nodes {
		return n.Version, nil
	}
	return "", errors.New("connect to Elasticsearch: it names no node of its own")
}

// Topic makes a topic of the run's own and returns its whole name.
func (r *Rig) Topic(ctx context.Context, name string) (string, error) {
	name = r.Prefix + name
	r.mu.Lock()
	r.made = append(r.made, name)
	r.mu.Unlock()
	_, err := r.topics.EnsureTopic(ctx, kafka.TopicSpec{Name: name, Partitions: Partitions, Replicas: 1, Retention: retention})
	return name, err
}

// Drop deletes a topic of the run before the run's end, for the disk's sake.
func (r *Rig) Drop(topics ...string) error {
	var errs []error
	for _, t := range topics {
		if err := r.admin.DeleteTopic(t); err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			errs = append(errs, fmt.Errorf("delete topic %s: %w", t, err))
			continue
		}
		r.mu.Lock()
		r.made = slices.DeleteFunc(r.made, func(s string) bool { return s == t })
		r.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Group returns the whole name of a consumer group of the run's own.
func (r *Rig) Group(name string) string {
	name = r.Prefix + name
	r.mu.Lock()
	defer r.mu.Unlock()
	r.groups = append(r.groups, name)
	return name
}

// Bucket makes a bucket of the run's own and returns its whole name.
func (r *Rig) Bucket(ctx context.Context, name string) (string, error) {
	name = r.Prefix + name
	b, err := objectstore.Open(objectstore.Config{Endpoint: r.S3, Region: "us-east-1", AccessKey: r.ID, SecretKey: r.Key, Bucket: name})
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	r.buckets = append(r.buckets, name)
	r.mu.Unlock()
	return name, b.EnsureBucket(ctx)
}

// Client is the connection to Kafka, which stays the rig's to close.
func (r *Rig) Client() sarama.Client { return r.client }

// Length returns how many offsets the topic holds.
func (r *Rig) Length(topic string) (n int64, err error) {
	for p := range int32(Partitions) {
		end, err := r.client.GetOffset(topic, p, sarama.OffsetNewest)
		if err != nil {
			return 0, fmt.Errorf("length of %s: %w", topic, err)
		}
		n += end
	}
	return n, nil
}

// Lag returns how many offsets of the topic the group has not committed.
func (r *Rig) Lag(group, topic string) (n int64, err error) {
	partitions := make([]int32, Partitions)
	for p := range partitions {
		partitions[p] = int32(p)
	}
	committed, err := r.admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: partitions})
	if err != nil {
		return 0, fmt.Errorf("offsets of %s: %w", group, err)
	}
	for _, p := range partitions {
		end, err := r.client.GetOffset(topic, p, sarama.OffsetNewest)
		if err != nil {
			return 0, fmt.Errorf("length of %s: %w", topic, err)
		}
		next := int64(0)
		if b := committed.GetBlock(topic, p); b != nil {
			next = max(0, b.Offset)
		}
		n += end - next
	}
	return n, nil
}

// Refresh sets how often the run's indexes whose names match the pattern behind the prefix become searchable; they must be there.
func (r *Rig) Refresh(ctx context.Context, pattern, interval string) error {
	body, err := json.Marshal(map[string]any{"index": map[string]any{"refresh_interval": interval}})
	if err != nil {
		return err
	}
	return pipeline.Do(ctx, http.MethodPut, r.Search+"/"+r.Prefix+pattern+"/_settings", body, nil)
}

// Count refreshes the run's indexes whose names match the pattern behind the prefix, and returns how many documents they hold.
func (r *Rig) Count(ctx context.Context, pattern string) (int64, error) {
	if err := pipeline.Do(ctx, http.MethodPost, r.Search+"/"+r.Prefix+pattern+"/_refresh", nil, nil); err != nil {
		return 0, err
	}
	s := pipeline.Stores{Search: r.Search, Names: pipeline.Names{IndexPrefix: r.Prefix}}
	return s.Count(ctx, pattern)
}

// DropIndexes deletes the run's indexes whose names match the pattern behind the prefix; where there are none, that is no error.
func (r *Rig) DropIndexes(ctx context.Context, pattern string) error {
	var found []struct{ Index string }
	if err := pipeline.Do(ctx, http.MethodGet, r.Search+"/_cat/indices/"+r.Prefix+pattern+"?format=json&h=index", nil, &found); err != nil {
		return err
	}
	var errs []error
	for _, i := range found {
		if !strings.HasPrefix(i.Index, r.Prefix) {
			errs = append(errs, fmt.Errorf("index %s is not this run's", i.Index))
			continue
		}
		errs = append(errs, pipeline.Do(ctx, http.MethodDelete, r.Search+"/"+i.Index, nil, nil))
	}
	return errors.Join(errs...)
}

func (r *Rig) dropTemplates(ctx context.Context) error {
	pattern := "millrace-" + r.Prefix + "*"
	var found []struct{ Name string }
	if err := pipeline.Do(ctx, http.MethodGet, r.Search+"/_cat/templates/"+pattern+"?format=json&h=name", nil, &found); err != nil || len(found) == 0 {
		return err
	}
	return pipeline.Do(ctx, http.MethodDelete, r.Search+"/_index_template/"+pattern, nil, nil)
}

// Close ends the run's processes and removes what it made. It tries everything and joins what went wrong.
func (r *Rig) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var errs []error
	for _, p := range r.processes {
		if _, err := p.Stop(); err != nil {
			errs = append(errs, err)
		}
	}
	if r.s3 != nil { // the last to connect: without it nothing was made
		errs = append(errs, r.Drop(slices.Clone(r.made)...), r.dropGroups(ctx), r.DropIndexes(ctx, "*"), r.dropBuckets(ctx))
		errs = append(errs, r.dropTemplates(ctx))
	}
	if r.topics != nil {
		errs = append(errs, r.topics.Close())
	}
	if r.admin != nil {
		errs = append(errs, r.admin.Close()) // and its client
	} else if r.client != nil {
		errs = append(errs, r.client.Close())
	}
	return errors.Join(errs...)
}

// dropGroups deletes the consumer groups. A member that was killed stays in its group until its session ends.
func (r *Rig) dropGroups(ctx context.Context) error {
	var errs []error
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for _, g := range r.groups {
		err := r.admin.DeleteConsumerGroup(g)
		for errors.Is(err, sarama.ErrNonEmptyGroup) && ctx.Err() == nil {
			<-tick.C
			err = r.admin.DeleteConsumerGroup(g)
		}
		if err != nil && !errors.Is(err, sarama.ErrGroupIDNotFound) {
			errs = append(errs, fmt.Errorf("delete group %s: %w", g, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Rig) dropBuckets(ctx context.Context) error {
	var errs []error
	for _, b := range r.buckets {
		for o := range r.s3.ListObjects(ctx, b, minio.ListObjectsOptions{Recursive: true}) {
			if o.Err != nil {
				errs = append(errs, o.Err)
				break
			}
			errs = append(errs, r.s3.RemoveObject(ctx, b, o.Key, minio.RemoveObjectOptions{}))
		}
		errs = append(errs, r.s3.RemoveBucket(ctx, b))
	}
	return errors.Join(errs...)
}

// environment is what every function gets, before its own variables: nothing of what this process was given, but for what a program needs to run at all.
func (r *Rig) environment() []string {
	env := []string{
		"KAFKA_BROKERS=" + strings.Join(r.Brokers, ","), "ELASTICSEARCH_URL=" + r.Search, "S3_ENDPOINT=" + r.S3, "AWS_ACCESS_KEY_ID=" + r.ID, "AWS_SECRET_ACCESS_KEY=" + r.Key,
		"LISTEN_HOST=127.0.0.1", "LOG_LEVEL=warn", "INDEX_PREFIX=" + r.Prefix,
	}
	for _, v := range r.environ {
		if name, _, _ := strings.Cut(v, "="); slices.Contains([]string{"PATH", "HOME", "TMPDIR"}, name) {
			env = append(env, v)
		}
	}
	return env
}

// Function starts a function that Open built, with variables beside those of the servers, and returns once it is ready.
func (r *Rig) Function(ctx context.Context, name string, env ...string) (*Process, error) {
	return r.Start(ctx, Spec{Name: name, Path: filepath.Join(r.Dir, name), Env: append(r.environment(), env...), Ready: "/readyz"})
}
