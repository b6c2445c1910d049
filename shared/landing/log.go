package landing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"millrace/shared/objectstore"
)

// ErrLost is what Append returns (wrapped) where another drain wrote the sequence first: drop the work, whose objects
// nobody will name, and read the tail again.
var ErrLost = errors.New("another drain was first")

// store is what a log needs of a bucket; *objectstore.Bucket is one. List's order, PutIfAbsent's and Get's errors are those
// of package objectstore. Implementations are safe for concurrent use.
type store interface {
	PutIfAbsent(ctx context.Context, key string, body []byte) error
	Get(ctx context.Context, key string) ([]byte, error)
	List(ctx context.Context, prefix, startAfter string, max int) ([]objectstore.Info, error)
}

// Log is the landing log of one topic id. It is safe for concurrent use.
type Log struct {
	store          store
	topic, topicID string

	mu   sync.Mutex
	hint int64 // the highest sequence known to exist
}

// Open returns the log of the topic id. It sends nothing; a log without entries needs no creation.
func Open(s store, topic, topicID string) *Log { return &Log{store: s, topic: topic, topicID: topicID} }

// Topic returns the name of the topic whose log it is.
func (l *Log) Topic() string { return l.topic }

// TopicID returns the id of the topic whose log it is, in Kafka's spelling.
func (l *Log) TopicID() string { return l.topicID }

// Tail returns the newest entry; the zero Entry where there is none.
func (l *Log) Tail(ctx context.Context) (Entry, error) {
	l.mu.Lock()
	low := l.hint // an entry known to be there, or 0
	l.mu.Unlock()
	// behind returns the last entry of the page behind n, 0 where there is none, and whether the page is the last one.
	behind := func(n int64) (last int64, end bool, err error) {
		page, err := l.list(ctx, n, objectstore.MaxList)
		if err != nil || len(page) == 0 {
			return 0, true, err
		}
		return page[len(page)-1], len(page) < objectstore.MaxList, nil
	}
	high, step := int64(-1), int64(objectstore.MaxList) // no entry behind high, where it is set
	at := low
	for {
		last, end, err := behind(at)
		if err != nil {
			return Entry{}, fmt.Errorf("tail of the landing log of %s: %w", l.topic, err)
		}
		low = max(low, last)
		if low >= high { // entries came while we looked
			high = -1
		}
		switch {
		case end && (last != 0 || at <= low):
			if low == 0 {
				return Entry{}, nil
			}
			l.note(low)
			return l.Read(ctx, low)
		case last == 0:
			high = at
		}
		switch {
		case high < 0:
			at, step = low+step, step*2
		default:
			at = low + (high-low)/2
		}
	}
}

// Read returns the entry with the sequence, validated, and its key checked against its content. An entry that is not there
// is objectstore.ErrNotFound (wrapped).
func (l *Log) Read(ctx context.Context, sequence int64) (Entry, error) {
	key := Key(l.topic, l.topicID, sequence)
	b, err := l.store.Get(ctx, key)
	if err != nil {
		return Entry{}, fmt.Errorf("landing log entry: %w", err)
	}
	e, err := Decode(b)
	if err != nil {
		return Entry{}, fmt.Errorf("%s: %w", key, err)
	}
	if e.Topic != l.topic || e.TopicID != l.topicID || e.Sequence != sequence {
		return Entry{}, fmt.Errorf("%s holds the entry %s/%s/%d", key, e.Topic, e.TopicID, e.Sequence)
	}
	return e, nil
}

// After calls f with the entries behind the sequence (0 for all that are there) in order, each validated and joined to the
// one before it, until f or a read fails. It reads some entries ahead of f. The first one read is joined only where it is the log's first or the entry before
// it was asked for by its sequence and is still there.
func (l *Log) After(ctx context.Context, sequence int64, f func(Entry) error) error {
	var prev Entry
	if sequence > 0 {
		var err error
		if prev, err = l.Read(ctx, sequence); err != nil && !errors.Is(err, objectstore.ErrNotFound) {
			return err
		}
	}
	for at := sequence; ; {
		page, err := l.list(ctx, at, objectstore.MaxList)
		if err != nil {
			return fmt.Errorf("landing log of %s: %w", l.topic, err)
		}
		err = l.inOrder(ctx, page, func(e Entry) error {
			if prev.Sequence != 0 || e.Sequence == 1 {
				if err := e.Join(prev); err != nil {
					return err
				}
			}
			prev, at = e, e.Sequence
			return f(e)
		})
		if err != nil || len(page) < objectstore.MaxList {
			return err
		}
	}
}

// Since is After for the entries from the first on that was written at t or later, which it finds by halving. Entries' times are those of the drains' clocks: subtract from t how far those may be
// apart, and nothing that was written since t is left out.
func (l *Log) Since(ctx context.Context, t time.Time, f func(Entry) error) error {
	tail, err := l.Tail(ctx)
	if err != nil || tail.Sequence == 0 || tail.Time.Before(t) {
		return err
	}
	first, err := l.first(ctx)
	if err != nil {
		return err
	}
	low, high := max(first-1, 0), tail.Sequence // the entry low is too old, or is not there any more; high is of the time
	for high-low > 1 {
		middle := low + (high-low)/2
		e, err := l.Read(ctx, middle)
		switch {
		case errors.Is(err, objectstore.ErrNotFound): // removed meanwhile, as the oldest are, or a hole, before which may be entries of the time
			first, again := l.first(ctx)
			if again != nil {
				return again
			}
			if first <= middle {
				return err
			}
			low = middle
		case err != nil:
			return err
		case e.Time.Before(t):
			low = middle
		default:
			high = middle
		}
	}
	return l.After(ctx, low, f)
}

// first returns the oldest sequence that is there, 0 where there is none.
func (l *Log) first(ctx context.Context) (int64, error) {
	page, err := l.list(ctx, 0, 1)
	if err != nil {
		return 0, fmt.Errorf("landing log of %s: %w", l.topic, err)
	}
	if len(page) == 0 {
		return 0, nil
	}
	return page[0], nil
}

// ahead is how many entries are read at a time.
const ahead = 16

// inOrder calls f with the entries of the sequences in order, until f or a read fails, and reads up to [ahead] of them meanwhile.
func (l *Log) inOrder(ctx context.Context, sequences []int64, f func(Entry) error) error {
	type answer struct {
		entry Entry
		err   error
	}
	var reading sync.WaitGroup
	defer reading.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make([]chan answer, len(sequences))
	begin := func(i int) {
		if i < len(sequences) {
			answers[i] = make(chan answer, 1)
			reading.Go(func() {
				e, err := l.Read(ctx, sequences[i])
				answers[i] <- answer{e, err}
			})
		}
	}
	for i := range ahead {
		begin(i)
	}
	for i := range sequences {
		a := <-answers[i]
		begin(i + ahead)
		if a.err != nil {
			return a.err
		}
		if err := f(a.entry); err != nil {
			return err
		}
	}
	return nil
}

// Back calls f with the entries from the newest to the first, each validated and joined to the one before it, until f says that it needs no more, or f or a read fails.
// It proves that the log is whole as far as it went: an entry that is missing, the first one included, is objectstore.ErrNotFound (wrapped). A
// log without entries is no error.
func (l *Log) Back(ctx context.Context, f func(Entry) (more bool, err error)) error {
	e, err := l.Tail(ctx)
	if err != nil || e.Sequence == 0 {
		return err
	}
	for high := e.Sequence - 1; ; {
		low := max(high-ahead+1, 1)
		entries, errs := make([]Entry, max(high-low+1, 0)), make([]error, max(high-low+1, 0))
		more, err := f(e)
		if err != nil || !more {
			return err
		}
		var reading sync.WaitGroup
		for i := range entries {
			reading.Go(func() { entries[i], errs[i] = l.Read(ctx, low+int64(i)) })
		}
		reading.Wait()
		for i := len(entries) - 1; i >= 0; i-- {
			if errs[i] != nil {
				return errs[i]
			}
			if err := e.Join(entries[i]); err != nil {
				return err
			}
			if e = entries[i]; i > 0 {
				if more, err := f(e); err != nil || !more {
					return err
				}
			}
		}
		if len(entries) == 0 {
			return e.Join(Entry{})
		}
		high = low - 1
	}
}

// Append writes e behind prev, the tail that e was made from (the zero Entry for the first). It fails without writing where
// e is invalid or does not join prev. ErrLost (wrapped): another drain was first. After any other error the entry may
// still have been written, or be written yet: leave the objects, and let the next drain read the tail.
func (l *Log) Append(ctx context.Context, prev, e Entry) error {
	if e.Topic != l.topic || e.TopicID != l.topicID {
		return fmt.Errorf("landing log of %s/%s: the entry is %s/%s's", l.topic, l.topicID, e.Topic, e.TopicID)
	}
	if err := errors.Join(e.Validate(), e.Join(prev)); err != nil {
		return err
	}
	body, err := e.Encode()
	if err != nil {
		return fmt.Errorf("landing log entry: %w", err)
	}
	key := Key(e.Topic, e.TopicID, e.Sequence)
	err = l.store.PutIfAbsent(ctx, key, body)
	if errors.Is(err, objectstore.ErrExists) {
		// Whose is it? Our own, where the answer to an earlier attempt was lost.
		there, err := l.store.Get(ctx, key)
		switch {
		case err != nil:
			return fmt.Errorf("append to the landing log, which has %s already: %w", key, err)
		case !bytes.Equal(there, body):
			return fmt.Errorf("append %s: %w", key, ErrLost)
		}
	} else if err != nil {
		return fmt.Errorf("append to the landing log: %w", err)
	}
	l.note(e.Sequence)
	return nil
}

func (l *Log) note(sequence int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hint = max(l.hint, sequence)
}

// list returns up to max sequences behind n.
func (l *Log) list(ctx context.Context, n int64, max int) ([]int64, error) {
	infos, err := l.store.List(ctx, root+l.topic+"/"+l.topicID+"/", Key(l.topic, l.topicID, n), max)
	if err != nil {
		return nil, err
	}
	out := make([]int64, len(infos))
	for i, o := range infos {
		if _, out[i], err = parseKey(o.Key); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Name is whose a log is.
type Name struct{ Topic, TopicID string }

// Logs returns whose logs there are in the bucket, one request for each and one more. A key under the logs' that is no entry's is an error.
func Logs(ctx context.Context, s store) ([]Name, error) {
	var names []Name
	for after := ""; ; {
		page, err := s.List(ctx, root, after, 1)
		if err != nil {
			return nil, fmt.Errorf("landing logs: %w", err)
		}
		if len(page) == 0 {
			return names, nil
		}
		id, _, err := parseKey(page[0].Key)
		if err != nil {
			return nil, err
		}
		topic, _, _ := strings.Cut(page[0].Key[len(root):], "/")
		names = append(names, Name{topic, id})
		after = root + topic + "/" + id + "0" // '0' follows '/'
	}
}

// Written returns when the store says that the log's newest entry was written; the zero Time where there is none.
func (l *Log) Written(ctx context.Context) (time.Time, error) {
	tail, err := l.Tail(ctx)
	if err != nil || tail.Sequence == 0 {
		return time.Time{}, err
	}
	page, err := l.store.List(ctx, Key(l.topic, l.topicID, tail.Sequence), "", 1)
	if err != nil {
		return time.Time{}, fmt.Errorf("newest entry of the landing log of %s: %w", l.topic, err)
	}
	if len(page) != 1 {
		return time.Time{}, fmt.Errorf("newest entry of the landing log of %s: %w", l.topic, objectstore.ErrNotFound)
	}
	return page[0].Modified, nil
}

// TopicIDs returns the topic ids under which the topic has a log, one request for each and one more.
func TopicIDs(ctx context.Context, s store, topic string) ([]string, error) {
	prefix := root + topic + "/"
	var ids []string
	for after := ""; ; {
		page, err := s.List(ctx, prefix, after, 1)
		if err != nil {
			return nil, fmt.Errorf("topic ids in the landing log of %s: %w", topic, err)
		}
		if len(page) == 0 {
			return ids, nil
		}
		id, _, err := parseKey(page[0].Key)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
		after = prefix + id + "0" // '0' follows '/'
	}
}
