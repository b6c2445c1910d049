package landing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Version is the version of the entry format that this package writes, and the highest that it reads.
const Version = 1

// Kinds of objects.
const (
	KindRaw      = "raw"      // attributes and the payload's bytes
	KindEnriched = "enriched" // the contract's columns
	KindDead     = "dead"     // attributes with the failure, and the payload's bytes
)

// Reasons of skipped ranges.
const (
	ReasonControl = "control" // a transaction's marker
	ReasonAborted = "aborted" // records of an aborted transaction
	ReasonAbsent  = "absent"  // an offset that the topic does not hold, between two that it does
)

// Reasons of lost ranges.
const (
	ReasonRetention   = "retention"    // Kafka deleted them before they were read
	ReasonBeforeFirst = "before_first" // Kafka had deleted them when the topic was first drained
)

// MarkRecord is the kind of a mark at a record; others' kinds are the reasons of skipped ranges.
const MarkRecord = "record"

// Reasons of breaks.
const (
	BreakEnd    = "end"    // the partition ends before its log
	BreakRecord = "record" // the offset before the log's next holds something else than was read there
)

// Entry is one entry of the log: what one drain read and which objects it wrote. Its JSON is the format.
type Entry struct {
	Version  int    `json:"version"`
	Topic    string `json:"topic"`
	TopicID  string `json:"topic_id"`
	Sequence int64  `json:"sequence"`
	// Drain is the id of the drain that wrote the entry; no two drains share one.
	Drain string `json:"drain"`
	// Time is when the entry was written, by the drain's clock, in UTC.
	Time       time.Time   `json:"time"`
	Partitions []Partition `json:"partitions"` // ordered by partition
	Objects    []Object    `json:"objects"`
}

// Partition says that the offsets From up to but not including Next were read, and which of them are in no object.
type Partition struct {
	Partition int32   `json:"partition"`
	From      int64   `json:"from"`
	Next      int64   `json:"next"`
	Skipped   []Range `json:"skipped"`
	Lost      []Range `json:"lost"`

	// Last is what Kafka held at the offset before Next, so that the next drain can tell whether it still does. It is nil where that is not known: nothing was read yet, the
	// last offsets were lost, the entry is an older load-lake's.
	Last *Mark `json:"last,omitempty"`
	// Broken says that Kafka lost the end of the partition, which is therefore not read on until an entry has Rewound.
	Broken *Break `json:"broken,omitempty"`
	// Rewound is where the partition stood while it was broken. An operator's word put it back to From: the offsets from there on are other records than those before,
	// and are accounted for anew; what earlier entries say of them stays true of what was there then.
	Rewound *int64 `json:"rewound,omitempty"`
}

// Mark is what Kafka held at an offset.
type Mark struct {
	Kind      string `json:"kind"`                // MarkRecord, ReasonControl, ReasonAborted or ReasonAbsent
	Timestamp int64  `json:"timestamp,omitempty"` // the record's, in milliseconds since 1970; 0 for other kinds
	// LeaderEpoch is under which leader the offset was written; nil where Kafka did not tell.
	LeaderEpoch *int32 `json:"leader_epoch,omitempty"`
}

// Differs reports whether another mark of the same offset, made later, proves that something else is there. An offset that is absent now may have been compacted
// away, and proves nothing.
func (m Mark) Differs(now Mark) bool {
	if now.Kind == ReasonAbsent {
		return false
	}
	return now.Kind != m.Kind || now.Timestamp != m.Timestamp ||
		(m.LeaderEpoch != nil && now.LeaderEpoch != nil && *m.LeaderEpoch != *now.LeaderEpoch)
}

// Break is how Kafka lost the end of a partition.
type Break struct {
	Reason string `json:"reason"` // BreakEnd or BreakRecord
	End    int64  `json:"end"`    // the partition's end when that was found
	// Intact is up to where the partition was found to hold what was read of it, and the first offset that may hold something else.
	Intact int64 `json:"intact"`
}

// Range is the offsets First to Last, both included.
type Range struct {
	First  int64  `json:"first"`
	Last   int64  `json:"last"`
	Reason string `json:"reason"`
}

// Object is an object that the entry publishes.
type Object struct {
	Key    string `json:"key"`
	Kind   string `json:"kind"`
	Type   string `json:"type"` // the event type of an enriched object, else empty
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // of the object's bytes, in hex
}

// Encode returns the entry's JSON, with empty lists rather than null.
func (e Entry) Encode() ([]byte, error) {
	e.Partitions = append([]Partition{}, e.Partitions...)
	for i := range e.Partitions {
		p := &e.Partitions[i]
		p.Skipped, p.Lost = append([]Range{}, p.Skipped...), append([]Range{}, p.Lost...)
	}
	e.Objects = append([]Object{}, e.Objects...)
	e.Time = e.Time.UTC()
	return json.Marshal(e)
}

// Decode parses an entry and validates it.
func Decode(b []byte) (Entry, error) {
	var e Entry
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&e); err != nil {
		return Entry{}, fmt.Errorf("landing log entry: %w", err)
	}
	if d.More() {
		return Entry{}, errors.New("landing log entry: text after the entry")
	}
	return e, e.Validate()
}

// Validate returns what is wrong with the entry by itself: its version, its names, ranges outside of their partition or
// overlapping, and rows, skipped and lost offsets that do not add up to the offsets read.
func (e Entry) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("landing log entry %s/%s/%d: %s", e.Topic, e.TopicID, e.Sequence, fmt.Sprintf(format, args...))
	}
	if e.Version < 1 || e.Version > Version {
		return bad("version %d is not known here", e.Version)
	}
	if e.Topic == "" || e.TopicID == "" || e.Drain == "" || strings.Contains(e.Topic+e.TopicID, "/") || e.Sequence < 1 || e.Time.IsZero() {
		return bad("topic, topic id, sequence, drain and time must be there")
	}
	var read, accounted int64
	for i, p := range e.Partitions {
		if i > 0 && p.Partition <= e.Partitions[i-1].Partition {
			return bad("partitions are not in order")
		}
		if p.From < 0 || p.Next < p.From {
			return bad("partition %d reads [%d, %d)", p.Partition, p.From, p.Next)
		}
		if p.Broken != nil && (p.From != p.Next || p.Rewound != nil || p.Broken.Reason == "") {
			return bad("partition %d is broken, without a reason or though it goes on", p.Partition)
		}
		if p.Last != nil && p.Last.Kind == "" {
			return bad("partition %d has a mark without a kind", p.Partition)
		}
		if p.Rewound != nil && *p.Rewound < p.From {
			return bad("partition %d goes back from %d to %d", p.Partition, *p.Rewound, p.From)
		}
		read += p.Next - p.From
		for _, ranges := range [][]Range{p.Skipped, p.Lost} {
			at := p.From
			for _, r := range ranges {
				if r.First < at || r.Last < r.First || r.Last >= p.Next {
					return bad("partition %d: range %d-%d lies outside of [%d, %d)", p.Partition, r.First, r.Last, at, p.Next)
				}
				if r.Reason == "" {
					return bad("partition %d: range %d-%d without a reason", p.Partition, r.First, r.Last)
				}
				at = r.Last + 1
				accounted += r.Last - r.First + 1
			}
		}
	}
	for _, o := range e.Objects {
		if o.Key == "" || o.Kind == "" || o.Rows < 1 || o.Bytes < 1 || len(o.SHA256) != 64 {
			return bad("object %q needs key, kind, rows, bytes and sha256", o.Key)
		}
		accounted += o.Rows
	}
	if accounted != read {
		return bad("%d offsets were read, %d are accounted for", read, accounted)
	}
	return nil
}

// Join returns what keeps e from following prev: another topic or topic id, a sequence that is not the next, a partition
// that disappeared, a range that does not begin where prev's ended (a new partition's begins at 0), or a partition that was broken and goes on without Rewound. The first entry
// of a log follows the zero Entry.
func (e Entry) Join(prev Entry) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("landing log %s/%s: entry %d does not follow %d: %s", e.Topic, e.TopicID, e.Sequence, prev.Sequence, fmt.Sprintf(format, args...))
	}
	if prev.Sequence != 0 && (e.Topic != prev.Topic || e.TopicID != prev.TopicID) {
		return bad("it is %s/%s's", prev.Topic, prev.TopicID)
	}
	if e.Sequence != prev.Sequence+1 {
		return bad("its sequence is not the next")
	}
	next, broken := prev.Next(), map[int32]bool{}
	for _, p := range prev.Partitions {
		broken[p.Partition] = p.Broken != nil
	}
	for _, p := range e.Partitions {
		from := p.From
		if p.Rewound != nil {
			from = *p.Rewound
		}
		if from != next[p.Partition] {
			return bad("partition %d begins at %d, not at %d", p.Partition, from, next[p.Partition])
		}
		switch was := broken[p.Partition]; {
		case was && p.Broken == nil && p.Rewound == nil:
			return bad("partition %d was broken and goes on", p.Partition)
		case !was && p.Rewound != nil:
			return bad("partition %d goes back and was not broken", p.Partition)
		}
		delete(next, p.Partition)
	}
	if len(next) > 0 {
		return bad("partitions are missing: %v", next)
	}
	return nil
}

// Next returns the position behind the entry: for each partition the offset to go on from. Empty for the zero Entry.
func (e Entry) Next() map[int32]int64 {
	next := make(map[int32]int64, len(e.Partitions))
	for _, p := range e.Partitions {
		next[p.Partition] = p.Next
	}
	return next
}

const root = "landing/_log/"

// Key returns the key of the entry with the sequence.
func Key(topic, topicID string, sequence int64) string {
	return fmt.Sprintf("%s%s/%s/%020d.json", root, topic, topicID, sequence)
}

// parseKey is the inverse of Key, whose topic its callers know.
func parseKey(key string) (topicID string, sequence int64, err error) {
	parts := strings.Split(strings.TrimPrefix(key, root), "/")
	if len(parts) == 3 {
		n, ok := strings.CutSuffix(parts[2], ".json")
		if sequence, err = strconv.ParseInt(n, 10, 64); ok && err == nil && Key(parts[0], parts[1], sequence) == key {
			return parts[1], sequence, nil
		}
	}
	return "", 0, fmt.Errorf("landing log: %q is no entry's key", key)
}
