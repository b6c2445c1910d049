package pipeline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/IBM/sarama"
	"github.com/parquet-go/parquet-go"

	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
)

// Names are those of what a pipeline makes on its servers.
type Names struct{ Raw, Enriched, Dead, Bucket, Private, IndexPrefix string }

// OwnNames are those that the manifests have.
var OwnNames = Names{Raw: "events.raw", Enriched: "events.enriched", Dead: "events.dead", Bucket: "millrace", Private: "millrace-private"}

// Stores are a pipeline's servers, to read from. It is safe for concurrent use.
type Stores struct {
	Brokers []string // host:port
	S3      string   // URL
	Search  string   // URL
	// Credentials are those of S3; they may come to be only once the platform has started.
	Credentials func() (id, secret string, err error)
	Names       Names
}

// client bounds one request to Elasticsearch.
var client = &http.Client{Timeout: 30 * time.Second}

// Do makes a request with a JSON body to a URL and decodes its JSON answer, where into is not nil. A status of 300 or more is an error.
func Do(ctx context.Context, method, url string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // only read from
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %.300s", method, url, res.Status, b)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(b, into)
}

// Document is what is looked at of a document.
type Document struct {
	RootID    string `json:"root_id"`
	EventType string `json:"event_type"`
	Failure   struct {
		Stage, Code string
	}
	Enrichment map[string]any
}

// page is how many documents one search returns.
const page = 1000

// Documents returns all documents of the indexes whose names match the pattern after the prefix, in the order of root ids.
func (s *Stores) Documents(ctx context.Context, pattern string) ([]Document, error) {
	var all []Document
	var after string
	for {
		query := map[string]any{
			"size": page, "_source": []string{"root_id", "event_type", "failure", "enrichment"}, "sort": []any{map[string]any{"root_id": "asc"}},
			"query": map[string]any{"match_all": map[string]any{}},
		}
		if after != "" {
			query["search_after"] = []string{after}
		}
		body, err := json.Marshal(query)
		if err != nil {
			return nil, err
		}
		var answer struct {
			Hits struct {
				Hits []struct {
					Source Document `json:"_source"`
				}
			}
		}
		if err := Do(ctx, http.MethodPost, s.Search+"/"+s.Names.IndexPrefix+pattern+"/_search", body, &answer); err != nil {
			return nil, err
		}
		hits := answer.Hits.Hits
		full := len(hits) == page
		if full { // a root id that stands twice across the edge of two pages must not be skipped
			last := hits[len(hits)-1].Source.RootID
			for len(hits) > 0 && hits[len(hits)-1].Source.RootID == last {
				hits = hits[:len(hits)-1]
			}
			if len(hits) == 0 {
				return nil, fmt.Errorf("root id %s stands %d times in %s", last, page, pattern)
			}
			after = hits[len(hits)-1].Source.RootID
		}
		for _, h := range hits {
			all = append(all, h.Source)
		}
		if !full {
			return all, nil
		}
	}
}

// Count returns how many documents the indexes hold, as far as they are refreshed.
func (s *Stores) Count(ctx context.Context, pattern string) (int64, error) {
	var answer struct{ Count int64 }
	err := Do(ctx, http.MethodGet, s.Search+"/"+s.Names.IndexPrefix+pattern+"/_count", nil, &answer)
	return answer.Count, err
}

// config bounds one request to Kafka: whoever looks at a Kafka that does not answer is told so soon, and asks again.
func config() *sarama.Config {
	c := kafka.NewConfig("millrace-pipeline")
	c.Metadata.Retry.Max, c.Net.ReadTimeout, c.Net.WriteTimeout = 3, 10*time.Second, 10*time.Second
	return c
}

// topic reads a topic: f is called with its reader and its partitions.
func (s *Stores) topic(ctx context.Context, topic string, f func(r *kafka.Reader, t kafka.Topic) error) error {
	c, err := sarama.NewClient(s.Brokers, config())
	if err != nil {
		return fmt.Errorf("read %s: %w", topic, err)
	}
	r := kafka.NewReader(c)
	t, err := r.Topic(ctx, topic)
	if err == nil {
		err = f(r, t)
	}
	return errors.Join(err, c.Close())
}

// Ends returns where the topic's partitions end.
func (s *Stores) Ends(ctx context.Context, topic string) (map[int32]int64, error) {
	ends := map[int32]int64{}
	err := s.topic(ctx, topic, func(r *kafka.Reader, t kafka.Topic) error {
		for _, p := range t.Partitions {
			span, err := r.Span(ctx, topic, p)
			if err != nil {
				return err
			}
			ends[p] = span.End
		}
		return nil
	})
	return ends, err
}

// Length returns how many offsets the topic holds.
func (s *Stores) Length(ctx context.Context, topic string) (int64, error) {
	var n int64
	err := s.topic(ctx, topic, func(r *kafka.Reader, t kafka.Topic) error {
		for _, p := range t.Partitions {
			span, err := r.Span(ctx, topic, p)
			if err != nil {
				return err
			}
			n += span.End - span.Start
		}
		return nil
	})
	return n, err
}

// Records returns the topic's events, and how many records are none.
func (s *Stores) Records(ctx context.Context, topic string) (events []*event.Event, foreign int, err error) {
	err = s.topic(ctx, topic, func(r *kafka.Reader, t kafka.Topic) error {
		for _, p := range t.Partitions {
			span, err := r.Span(ctx, topic, p)
			if err != nil {
				return err
			}
			for from := span.Start; from < span.End; {
				b, err := r.Fetch(ctx, topic, p, from, 8<<20)
				if err != nil {
					return err
				}
				for _, m := range b.Records {
					e, err := kafka.Decode(m) //nolint:contextcheck // it reads from memory only
					if err != nil {
						foreign++
						continue
					}
					events = append(events, e)
				}
				from = b.Next
			}
		}
		return nil
	})
	return events, foreign, err
}

// Committed returns the offsets that a group has committed for a topic; a partition without one is missing.
func (s *Stores) Committed(_ context.Context, group, topic string) (map[int32]int64, error) {
	committed, err := s.committed(group, topic)
	if err != nil {
		return nil, fmt.Errorf("offsets of %s: %w", group, err)
	}
	return committed, nil
}

func (s *Stores) committed(group, topic string) (committed map[int32]int64, err error) {
	c, err := sarama.NewClient(s.Brokers, config())
	if err != nil {
		return nil, err
	}
	admin, err := sarama.NewClusterAdminFromClient(c)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	defer func() { err = errors.Join(err, admin.Close()) }() // the client, too
	partitions, err := c.Partitions(topic)
	if err != nil {
		return nil, err
	}
	found, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: partitions})
	if err != nil {
		return nil, err
	}
	if found.Err != sarama.ErrNoError {
		return nil, found.Err
	}
	committed = map[int32]int64{}
	for p, block := range found.Blocks[topic] {
		if block.Err != sarama.ErrNoError {
			return nil, block.Err
		}
		if block.Offset >= 0 {
			committed[p] = block.Offset
		}
	}
	return committed, nil
}

// bucket opens the bucket that a topic's landing log lies in.
func (s *Stores) bucket(topic string) (*objectstore.Bucket, error) {
	id, secret, err := s.Credentials()
	if err != nil {
		return nil, err
	}
	name := s.Names.Private
	if topic == s.Names.Enriched {
		name = s.Names.Bucket
	}
	return objectstore.Open(objectstore.Config{Endpoint: s.S3, Region: "us-east-1", AccessKey: id, SecretKey: secret, Bucket: name})
}

// log opens the topic's landing log; nil where nothing has been drained.
func (s *Stores) log(ctx context.Context, topic string) (*landing.Log, *objectstore.Bucket, error) {
	store, err := s.bucket(topic)
	if err != nil {
		return nil, nil, err
	}
	ids, err := landing.TopicIDs(ctx, store, topic)
	if err != nil || len(ids) == 0 {
		return nil, nil, err
	}
	if len(ids) != 1 {
		return nil, nil, fmt.Errorf("%d logs of %s", len(ids), topic)
	}
	return landing.Open(store, topic, ids[0]), store, nil
}

// Drained returns how far the topic's landing log goes, by partition; empty where nothing has been drained.
func (s *Stores) Drained(ctx context.Context, topic string) (map[int32]int64, error) {
	log, _, err := s.log(ctx, topic)
	if log == nil || err != nil {
		return nil, err
	}
	tail, err := log.Tail(ctx)
	return tail.Next(), err
}

// Landed is what the landing log of a topic accounts for.
type Landed struct {
	Rows    int64 // that the entries say
	Skipped int64 // offsets
	// RootIDs says how many rows of the objects hold each root id; only where objects are read.
	RootIDs map[string]int
}

// Landed reads the topic's whole landing log and checks that each object is there with the bytes that its entry says. With read, objects are read: their sum is checked, and rows
// are counted by root id. A range that the log calls lost is an error.
func (s *Stores) Landed(ctx context.Context, topic string, read bool) (Landed, error) {
	l := Landed{RootIDs: map[string]int{}}
	log, store, err := s.log(ctx, topic)
	if log == nil || err != nil {
		return l, err
	}
	var prev landing.Entry
	err = log.After(ctx, 0, func(e landing.Entry) error {
		if err := e.Join(prev); err != nil {
			return err
		}
		prev = e
		for _, p := range e.Partitions {
			if len(p.Lost) > 0 {
				return fmt.Errorf("lost ranges in %s/%d: %v", topic, p.Partition, p.Lost)
			}
			for _, r := range p.Skipped {
				l.Skipped += r.Last - r.First + 1
			}
		}
		for _, o := range e.Objects {
			l.Rows += o.Rows
			if err := s.object(ctx, store, o, read, l.RootIDs); err != nil {
				return err
			}
		}
		return nil
	})
	return l, err
}

// object checks one object, and counts its root ids where it is to be read.
func (s *Stores) object(ctx context.Context, store *objectstore.Bucket, o landing.Object, read bool, ids map[string]int) error {
	if !read {
		info, err := store.Stat(ctx, o.Key)
		if err != nil {
			return err
		}
		if info.Size != o.Bytes {
			return fmt.Errorf("%s has %d bytes, the log says %d", o.Key, info.Size, o.Bytes)
		}
		return nil
	}
	b, err := store.Get(ctx, o.Key)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != o.SHA256 {
		return fmt.Errorf("%s has another sum than the log says", o.Key)
	}
	type row struct {
		RootID *string `parquet:"root_id,optional"`
	}
	rows, err := parquet.Read[row](bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return fmt.Errorf("read %s: %w", o.Key, err)
	}
	if int64(len(rows)) != o.Rows {
		return fmt.Errorf("%s has %d rows, the log says %d", o.Key, len(rows), o.Rows)
	}
	for _, r := range rows {
		if r.RootID == nil {
			ids[""]++
			continue
		}
		ids[*r.RootID]++
	}
	return nil
}
