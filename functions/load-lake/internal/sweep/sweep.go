package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"millrace/shared/landing"
	"millrace/shared/objectstore"
)

// ErrTooMany says that more objects than Settings.Max look like garbage. None of those found last was deleted.
var ErrTooMany = errors.New("more objects than crashes leave are in no landing log: was a log removed?")

// Store is a bucket of the lake; *objectstore.Bucket is one, with the errors of package objectstore.
type Store interface {
	Put(ctx context.Context, key string, body []byte) error
	PutIfAbsent(ctx context.Context, key string, body []byte) error
	Get(ctx context.Context, key string) ([]byte, error)
	List(ctx context.Context, prefix, startAfter string, max int) ([]objectstore.Info, error)
	Delete(ctx context.Context, key string) error
}

// Settings are what a Sweeper needs to know.
type Settings struct {
	Topic string
	Kind  string // of the topic's objects
	// Age is how old an object must be to count as garbage: far beyond what a drain can take. Required.
	Age time.Duration
	// Margin is how much later than an object the log's newest entry must have been written; 1 hour where it is 0, for stores whose machines do not agree on the time.
	Margin time.Duration
	// Max is how many objects one sweep may delete; 1,000 where it is 0.
	Max int
	// Chunk is how many objects are held in memory, some 250 bytes each; 50,000 where it is 0.
	Chunk int
	// Every is how long after a complete sweep another one does nothing; 20 hours where it is 0.
	Every time.Duration
}

// Sweeper sweeps the objects of one topic. It is safe for concurrent use.
type Sweeper struct {
	settings Settings
	store    Store
	clock    func() time.Time
	logger   *slog.Logger

	mu  sync.Mutex
	due time.Time // before that there is nothing to do; zero: not known
}

// New returns a sweeper. The clock only decides whether a sweep is due.
func New(s Settings, store Store, clock func() time.Time, logger *slog.Logger) *Sweeper {
	if s.Margin == 0 {
		s.Margin = time.Hour
	}
	if s.Max == 0 {
		s.Max = 1000
	}
	if s.Chunk == 0 {
		s.Chunk = 50_000
	}
	if s.Every == 0 {
		s.Every = 20 * time.Hour
	}
	return &Sweeper{settings: s, store: store, clock: clock, logger: logger.With("topic", s.Topic)}
}

// Result says what a sweep did.
type Result struct {
	Due      bool // false: the last one was too short a time ago, and nothing was done
	Complete bool // all folders were looked at; else the next sweep goes on
	Listed   int  // objects of drains that were looked at
	Young    int  // of these, not old enough, or written after the log's newest entry
	Orphans  int  // in no log
	Deleted  int  // of these; 0 in a dry run
	Bytes    int64
	Foreign  int // objects that no drain wrote
	Example  string
}

// state is what a sweep leaves for the next one.
type state struct {
	Version int       `json:"version"`
	Topic   string    `json:"topic"`
	Done    time.Time `json:"done"`  // when the last complete sweep began, by the store's clock
	Since   time.Time `json:"since"` // drains that began before were judged
	// Of a sweep that is not complete:
	Began time.Time `json:"began"`
	After string    `json:"after"` // the last key that was judged
	Young time.Time `json:"young"` // the first drain that has objects too young to judge
}

const stateVersion = 1

func (s *Sweeper) key() string { return "landing/_sweep/" + s.settings.Topic + ".json" }

// Sweep looks for garbage and deletes it, or only counts it in a dry run, which is always due. It goes on until more says no. After an error nothing of what was being judged
// was deleted, unless the error is a deletion's; repeating is always safe.
func (s *Sweeper) Sweep(ctx context.Context, dry bool, more func() bool) (Result, error) {
	r, err := s.sweep(ctx, dry, more)
	if err != nil {
		return r, fmt.Errorf("sweep of %s: %w", s.settings.Topic, err)
	}
	return r, nil
}

func (s *Sweeper) sweep(ctx context.Context, dry bool, more func() bool) (Result, error) {
	if !dry && !s.isDue(time.Time{}) {
		return Result{}, nil
	}
	st, err := s.load(ctx)
	if err != nil {
		return Result{}, err
	}
	if !dry && st.After == "" && !s.isDue(st.Done) {
		return Result{}, nil
	}
	now, err := s.storeTime(ctx, st)
	if err != nil {
		return Result{}, err
	}
	if st.After == "" {
		st.Began, st.Young = now, time.Time{}
	}
	w := &walk{Sweeper: s, dry: dry, more: more, state: st, old: now.Add(-s.settings.Age)}
	w.result.Due = true
	for !w.result.Complete {
		if !more() {
			return w.result, nil
		}
		done, err := w.chunk(ctx)
		if errors.Is(err, errTime) {
			s.logger.WarnContext(ctx, "the time was up before all logs were read: what may be garbage stays", "candidates", w.left)
			return w.result, nil
		}
		if err != nil {
			return w.result, err
		}
		if done {
			since := w.state.Began.Add(-s.settings.Age - time.Hour)
			if !w.state.Young.IsZero() && w.state.Young.Before(since) {
				since = w.state.Young
			}
			w.state = state{Done: w.state.Began, Since: since}
			w.result.Complete = true
		}
		if dry {
			continue
		}
		if err := s.save(ctx, w.state); err != nil {
			return w.result, err
		}
	}
	if !dry {
		s.isDue(w.state.Done)
	}
	return w.result, nil
}

// isDue reports whether a sweep is due after one that was complete at the time, and remembers when the next one is. The zero time asks by what is remembered.
func (s *Sweeper) isDue(done time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !done.IsZero() {
		s.due = done.Add(s.settings.Every)
	}
	now := s.clock()
	// A clock that is far off must not put sweeps off for ever.
	return s.due.IsZero() || !now.Before(s.due) || s.due.Sub(now) > 2*s.settings.Every
}

func (s *Sweeper) load(ctx context.Context) (state, error) {
	b, err := s.store.Get(ctx, s.key())
	if errors.Is(err, objectstore.ErrNotFound) {
		return state{}, nil
	}
	if err != nil {
		return state{}, err
	}
	var st state
	if err := json.Unmarshal(b, &st); err != nil || st.Version != stateVersion || st.Topic != s.settings.Topic {
		s.logger.WarnContext(ctx, "how far the last sweep came cannot be read: everything is looked at again", "key", s.key(), "error", err)
		return state{}, nil
	}
	return st, nil
}

func (s *Sweeper) save(ctx context.Context, st state) error {
	st.Version, st.Topic = stateVersion, s.settings.Topic
	b, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("state of the sweep: %w", err)
	}
	return s.store.Put(ctx, s.key(), b)
}

// storeTime returns the time by the store's clock.
func (s *Sweeper) storeTime(ctx context.Context, st state) (time.Time, error) {
	if err := s.save(ctx, st); err != nil {
		return time.Time{}, err
	}
	page, err := s.store.List(ctx, s.key(), "", 1)
	if err != nil {
		return time.Time{}, err
	}
	if len(page) != 1 || page[0].Key != s.key() || page[0].Modified.IsZero() {
		return time.Time{}, fmt.Errorf("the store does not list %s, which was just written", s.key())
	}
	return page[0].Modified, nil
}

// walk is one sweep.
type walk struct {
	*Sweeper
	dry    bool
	more   func() bool
	old    time.Time // what was written before is old enough
	state  state
	left   int // candidates that no log read so far names
	result Result
}

var errTime = errors.New("the time is up")

// chunk judges the next objects; done is whether they were the last. It moves the state behind them.
func (w *walk) chunk(ctx context.Context) (done bool, err error) {
	candidates := map[string]objectstore.Info{}
	after, done, err := w.list(ctx, candidates)
	if err != nil {
		return false, err
	}
	if err := w.judge(ctx, candidates); err != nil {
		return false, err
	}
	w.state.After = after
	return done, nil
}

// firstPage is how much of a folder is listed at first, where older drains were judged before.
const firstPage = 4

// list collects objects that are old enough.
func (w *walk) list(ctx context.Context, into map[string]objectstore.Info) (after string, done bool, err error) {
	after = w.state.After
	most := min(objectstore.MaxList, w.settings.Chunk)
	size := most
	if !w.state.Since.IsZero() {
		size = min(firstPage, most)
	}
	for len(into) < w.settings.Chunk {
		if !w.more() {
			return after, false, nil
		}
		page, err := w.store.List(ctx, landing.Prefix(w.settings.Kind), after, size)
		if err != nil {
			return "", false, err
		}
		behind := "" // keys before that are of drains that were judged
		for _, o := range page {
			after = o.Key
			if o.Key < behind {
				continue
			}
			place, ok := landing.ParsePlace(o.Key)
			if !ok || place.Kind != w.settings.Kind {
				w.result.Foreign++
				w.result.Example = o.Key
				continue
			}
			if !w.state.Since.IsZero() && place.Started().Before(w.state.Since) {
				behind = place.Since(w.state.Since)
				continue
			}
			w.result.Listed++
			if !o.Modified.Before(w.old) {
				w.young(place)
				continue
			}
			into[o.Key] = o
		}
		if len(page) < size {
			return after, true, nil
		}
		if behind > after {
			after, size = behind, min(firstPage, most)
		} else {
			size = min(size*2, most)
		}
	}
	return after, false, nil
}

// young notes an object that a later sweep must look at again.
func (w *walk) young(p landing.Place) {
	w.result.Young++
	if t := p.Started(); w.state.Young.IsZero() || t.Before(w.state.Young) {
		w.state.Young = t
	}
}

// judge deletes those of the candidates that are garbage.
func (w *walk) judge(ctx context.Context, candidates map[string]objectstore.Info) error {
	if len(candidates) == 0 {
		return nil
	}
	logs, err := w.logs(ctx)
	if err != nil {
		return err
	}
	var newest time.Time
	for _, l := range logs {
		if l.Topic() != w.settings.Topic {
			continue
		}
		written, err := l.Written(ctx)
		if err != nil {
			return err
		}
		if written.After(newest) {
			newest = written
		}
	}
	for key, o := range candidates {
		if o.Modified.Add(w.settings.Margin).Before(newest) {
			continue
		}
		if place, ok := landing.ParsePlace(key); ok {
			w.young(place)
		}
		delete(candidates, key)
	}
	for _, l := range logs {
		if len(candidates) == 0 {
			return nil
		}
		err := l.Back(ctx, func(e landing.Entry) (bool, error) {
			for _, o := range e.Objects {
				delete(candidates, o.Key)
			}
			if w.left = len(candidates); w.left == 0 {
				return false, nil
			}
			if !w.more() {
				return false, errTime
			}
			return true, nil
		})
		if err != nil {
			return fmt.Errorf("nothing is deleted, since not all logs can be read: %w", err)
		}
	}
	return w.delete(ctx, candidates)
}

// logs returns all logs in the bucket, the topic's own first.
func (w *walk) logs(ctx context.Context) ([]*landing.Log, error) {
	names, err := landing.Logs(ctx, w.store)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(names, func(a, b landing.Name) int {
		own := func(n landing.Name) int {
			if n.Topic == w.settings.Topic {
				return 0
			}
			return 1
		}
		return own(a) - own(b)
	})
	var logs []*landing.Log
	for _, n := range names {
		logs = append(logs, landing.Open(w.store, n.Topic, n.TopicID))
	}
	return logs, nil
}

func (w *walk) delete(ctx context.Context, orphans map[string]objectstore.Info) error {
	w.result.Orphans += len(orphans)
	if w.dry {
		for _, o := range orphans {
			w.result.Bytes += o.Size
		}
		return nil
	}
	if w.result.Orphans > w.settings.Max {
		return fmt.Errorf("%w: %d objects, %d is the most that one sweep deletes; look at landing/_log/, then set ORPHAN_MAX", ErrTooMany, w.result.Orphans, w.settings.Max)
	}
	for key, o := range orphans {
		if err := w.store.Delete(ctx, key); err != nil {
			return err
		}
		w.logger.InfoContext(ctx, "deleted an object that no landing log names", "key", key, "bytes", o.Size, "written", o.Modified)
		w.result.Deleted++
		w.result.Bytes += o.Size
	}
	return nil
}
