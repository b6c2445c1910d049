package landing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"millrace/shared/objectstore"
)

// ErasureVersion is the version of the format of erasures that this package writes, and the highest that it reads.
const ErasureVersion = 1

// Erasure says which objects of a log were rewritten without a person's events, before they are. Its JSON is the format.
type Erasure struct {
	Version  int    `json:"version"`
	Topic    string `json:"topic"`
	TopicID  string `json:"topic_id"`
	Sequence int64  `json:"sequence"`
	// ID is the erasure's, which names no person.
	ID      string    `json:"id"`
	Time    time.Time `json:"time"`
	Objects []Erased  `json:"objects"`
}

// Erased is an object as an erasure leaves it, under the key that the log names.
type Erased struct {
	Key    string `json:"key"`
	Was    string `json:"was"`    // the SHA-256 of the object's bytes before, in hex
	SHA256 string `json:"sha256"` // of its bytes now
	Bytes  int64  `json:"bytes"`
	Rows   int64  `json:"rows"` // that are left, perhaps 0
	// Gone are the offsets whose rows were removed, by this erasure and all before it, in order.
	Gone []Gone `json:"gone"`
}

// Gone is the offsets First to Last of a partition, both included.
type Gone struct {
	Partition int32 `json:"partition"`
	First     int64 `json:"first"`
	Last      int64 `json:"last"`
}

// Validate returns what is wrong with the erasure by itself.
func (e Erasure) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("erasure %s/%s/%d: %s", e.Topic, e.TopicID, e.Sequence, fmt.Sprintf(format, args...))
	}
	if e.Version < 1 || e.Version > ErasureVersion {
		return bad("version %d is not known here", e.Version)
	}
	if e.Topic == "" || e.TopicID == "" || strings.Contains(e.Topic+e.TopicID, "/") || e.Sequence < 1 || e.ID == "" || e.Time.IsZero() || len(e.Objects) == 0 {
		return bad("topic, topic id, sequence, id, time and objects must be there")
	}
	for _, o := range e.Objects {
		if o.Key == "" || len(o.Was) != 64 || len(o.SHA256) != 64 || o.Bytes < 1 || o.Rows < 0 || len(o.Gone) == 0 {
			return bad("object %q needs key, was, sha256, bytes, rows and gone", o.Key)
		}
		for _, g := range o.Gone {
			if g.First < 0 || g.Last < g.First {
				return bad("object %q: offsets %d to %d are gone", o.Key, g.First, g.Last)
			}
		}
	}
	return nil
}

const erasures = "landing/_erased/"

// ErasureKey returns the key of the erasure with the sequence.
func ErasureKey(topic, topicID string, sequence int64) string {
	return fmt.Sprintf("%s%s/%s/%020d.json", erasures, topic, topicID, sequence)
}

// Erase publishes the erasure, whose sequence it gives, behind those that are there. Only then may the objects be put in the place of those they name. After an error it may have been published: that harms
// nobody, since an object may still have the bytes that it had before.
func (l *Log) Erase(ctx context.Context, e Erasure) error {
	e.Version, e.Topic, e.TopicID, e.Time = ErasureVersion, l.topic, l.topicID, e.Time.UTC()
	there, err := l.erasures(ctx)
	if err != nil {
		return err
	}
	for sequence := int64(len(there)) + 1; ; sequence++ {
		e.Sequence = sequence
		if err := e.Validate(); err != nil {
			return err
		}
		body, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("erasure: %w", err)
		}
		key := ErasureKey(l.topic, l.topicID, sequence)
		err = l.store.PutIfAbsent(ctx, key, body)
		if !errors.Is(err, objectstore.ErrExists) {
			if err != nil {
				return fmt.Errorf("publish the erasure %s: %w", key, err)
			}
			return nil
		}
		if found, err := l.store.Get(ctx, key); err != nil {
			return fmt.Errorf("publish the erasure %s: %w", key, err)
		} else if bytes.Equal(found, body) { // our own, where the answer to an earlier attempt was lost
			return nil
		}
	}
}

// erasures returns the keys of the log's erasures, in order.
func (l *Log) erasures(ctx context.Context) (keys []string, err error) {
	prefix := erasures + l.topic + "/" + l.topicID + "/"
	for after := ""; ; {
		page, err := l.store.List(ctx, prefix, after, objectstore.MaxList)
		if err != nil {
			return nil, fmt.Errorf("erasures of %s: %w", l.topic, err)
		}
		for _, o := range page {
			name := strings.TrimSuffix(strings.TrimPrefix(o.Key, prefix), ".json")
			if n, err := strconv.ParseInt(name, 10, 64); err != nil || ErasureKey(l.topic, l.topicID, n) != o.Key {
				return nil, fmt.Errorf("erasures of %s: %q is no erasure's key", l.topic, o.Key)
			}
			keys, after = append(keys, o.Key), o.Key
		}
		if len(page) < objectstore.MaxList {
			return keys, nil
		}
	}
}

// Versions are the objects as erasures left them, by key.
type Versions map[string][]Erased

// Versions returns what erasures made of the log's objects: a request where there was none, which is what nearly all logs have, and one more for each. A reader that finds an object with another SHA-256 than its
// entry says asks for them, and takes the object where Find knows it.
func (l *Log) Versions(ctx context.Context) (Versions, error) {
	keys, err := l.erasures(ctx)
	if err != nil {
		return nil, err
	}
	v := Versions{}
	for _, key := range keys {
		body, err := l.store.Get(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("erasure %s: %w", key, err)
		}
		var e Erasure
		if err := json.Unmarshal(body, &e); err != nil {
			return nil, fmt.Errorf("erasure %s: %w", key, err)
		}
		if err := e.Validate(); err != nil {
			return nil, err
		}
		if e.Topic != l.topic || e.TopicID != l.topicID || ErasureKey(e.Topic, e.TopicID, e.Sequence) != key {
			return nil, fmt.Errorf("%s holds the erasure %s/%s/%d", key, e.Topic, e.TopicID, e.Sequence)
		}
		for _, o := range e.Objects {
			v[o.Key] = append(v[o.Key], o)
		}
	}
	return v, nil
}

// Find returns the version of the object that has the SHA-256, in hex; false where no erasure made it, so that something else did.
func (v Versions) Find(key, sha256 string) (Erased, bool) {
	for _, o := range v[key] {
		if o.SHA256 == sha256 {
			return o, true
		}
	}
	return Erased{}, false
}
