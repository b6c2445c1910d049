package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"millrace/shared/landing"
	"millrace/shared/objectstore"
)

// find returns all landing logs with where they are to be read from, by topic and id. It costs one listing for each log and one for each bucket, one after the other, and one more for each log, at once.
func (r *run) find(ctx context.Context) ([]*source, error) {
	buckets := []*objectstore.Bucket{r.o.Public, r.o.Private}
	if buckets[0].Name() == buckets[1].Name() {
		buckets = buckets[:1]
	}
	found, errs := make([][]*source, len(buckets)), make([]error, len(buckets))
	var asking sync.WaitGroup
	for i, b := range buckets {
		asking.Go(func() {
			var names []landing.Name
			names, errs[i] = landing.Logs(ctx, b)
			for _, n := range names {
				found[i] = append(found[i], &source{bucket: b, log: landing.Open(b, n.Topic, n.TopicID)})
			}
		})
	}
	asking.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	sources := slices.Concat(found...)
	slices.SortFunc(sources, func(a, b *source) int {
		return cmp.Or(strings.Compare(a.log.Topic(), b.log.Topic()), strings.Compare(a.log.TopicID(), b.log.TopicID()))
	})
	errs = make([]error, len(sources))
	here := map[string]bool{}
	for i, s := range sources {
		id := s.log.TopicID()
		if here[id] {
			return nil, fmt.Errorf("the topic id %s has two landing logs, the last one in %s: one of them is a copy that must go", id, s.bucket.Name())
		}
		here[id] = true
		s.done = r.position[id]
		s.from = s.done
		for _, p := range r.behind {
			if at, ok := p[id]; ok {
				s.from = min(s.from, at)
			}
		}
		s.result = &LogResult{Topic: s.log.Topic(), TopicID: id, Bucket: s.bucket.Name(), From: s.done, To: s.done}
		asking.Go(func() { errs[i] = s.probe(ctx) })
	}
	asking.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for id := range r.position {
		if !here[id] {
			r.alarm(Alarm{Code: CodeGone, Topic: r.topics[id], TopicID: id, Sequence: r.position[id], Message: fmt.Sprintf("the landing log of %s (topic id %s) is not there any more", cmp.Or(r.topics[id], "a topic"), id)})
		}
	}
	return sources, nil
}

// probe finds out whether the entry that the source is to be read from is there, and anything behind it.
func (s *source) probe(ctx context.Context) error {
	if s.from == 0 {
		s.begun, s.more = true, true // it was listed
		return nil
	}
	key := landing.Key(s.log.Topic(), s.log.TopicID(), s.from)
	page, err := s.bucket.List(ctx, strings.TrimSuffix(key, key[strings.LastIndexByte(key, '/')+1:]), landing.Key(s.log.Topic(), s.log.TopicID(), s.from-1), 2)
	if err != nil {
		return fmt.Errorf("looking for new entries of %s: %w", s.log.Topic(), err)
	}
	s.begun = len(page) > 0 && page[0].Key == key
	s.more = !s.begun || len(page) > 1
	return nil
}

// ingest reads a log and has its rows ingested. gone is an outage that kept it from being read on; err is one of the whole run.
func (r *run) ingest(ctx context.Context, s *source) (gone, err error) {
	at := landing.Entry{Sequence: s.from} // the last entry read, of which at first only the sequence is known
	if !s.begun {
		on, gone := r.unjoined(ctx, s, &at)
		if !on || gone != nil {
			return gone, nil
		}
	}
	w := &batch{run: r, source: s}
	for {
		stopped, readErr, err := r.read(ctx, s, w, &at)
		if err != nil {
			return nil, err
		}
		if more, err := w.ingest(ctx); err != nil || stopped || !more {
			return w.gone, err
		}
		if readErr == nil {
			w.caughtUp()
			return nil, nil
		}
		if on, gone := r.diagnose(ctx, s, &at, readErr); !on || gone != nil {
			return gone, nil
		}
	}
}

// read gives the entries behind at to the batch, until that has to stop or an entry cannot be read.
func (r *run) read(ctx context.Context, s *source, w *batch, at *landing.Entry) (stopped bool, readErr, err error) {
	stop := errors.New("stop")
	readErr = s.log.After(ctx, at.Sequence, func(e landing.Entry) error {
		if e.Sequence != at.Sequence+1 {
			if at.Sequence > 0 {
				return fmt.Errorf("entry %d follows entry %d", e.Sequence, at.Sequence) // diagnosed by the caller
			}
			r.alarm(Alarm{Code: CodeBegins, Topic: e.Topic, TopicID: e.TopicID, Sequence: e.Sequence, Message: fmt.Sprintf("the log begins with entry %d", e.Sequence)})
		}
		*at = e
		more, failed := w.add(ctx, e)
		if failed != nil || !more {
			stopped, err = !more, failed
			return stop
		}
		return nil
	})
	if errors.Is(readErr, stop) {
		readErr = nil
	}
	return stopped, readErr, err
}

// unjoined looks at a log whose entry at the position is gone. on says whether to read on behind at.
func (r *run) unjoined(ctx context.Context, s *source, at *landing.Entry) (on bool, gone error) {
	a := Alarm{Topic: s.log.Topic(), TopicID: s.log.TopicID(), Sequence: s.from}
	page, err := s.bucket.List(ctx, dirOf(s.log), landing.Key(a.Topic, a.TopicID, s.from), 1)
	if err != nil {
		return false, fmt.Errorf("looking for new entries of %s: %w", a.Topic, err)
	}
	if len(page) > 0 && page[0].Key != landing.Key(a.Topic, a.TopicID, s.from+1) {
		return r.gap(s, at, page[0].Key), nil
	}
	if len(page) == 0 {
		a.Code, a.Stops, a.Message = CodeShort, true, fmt.Sprintf("the log ends before entry %d, which was ingested", s.from)
	} else {
		a.Code, a.Message = CodeUnjoined, fmt.Sprintf("entry %d, which was ingested last, is gone", s.from)
	}
	r.alarm(a)
	return !a.Stops, nil
}

// gap makes an alarm of the entries that are missing between at and the next one. Where the operator accepts that, at is moved and on is true.
func (r *run) gap(s *source, at *landing.Entry, next string) (on bool) {
	a := Alarm{Code: CodeGap, Topic: s.log.Topic(), TopicID: s.log.TopicID(), Sequence: at.Sequence + 1}
	a.Message = fmt.Sprintf("entry %d is missing, and there is %s", a.Sequence, next)
	var behind int64
	if _, err := fmt.Sscanf(next[len(dirOf(s.log)):], "%d.json", &behind); err == nil && r.accepted(s, a.Sequence) {
		*at, on = landing.Entry{Sequence: behind - 1}, true
		a.Message += givenUp
	}
	a.Stops = !on
	r.alarm(a)
	return on
}

func dirOf(l *landing.Log) string {
	key := landing.Key(l.Topic(), l.TopicID(), 1)
	return key[:strings.LastIndexByte(key, '/')+1]
}

// diagnose finds out why a log could not be read on behind an entry, and makes an alarm of what is the log's own fault. An outage it returns; on says that there is something behind at all the same.
func (r *run) diagnose(ctx context.Context, s *source, at *landing.Entry, cause error) (on bool, gone error) {
	if ctx.Err() != nil {
		return false, cause
	}
	a := Alarm{Topic: s.log.Topic(), TopicID: s.log.TopicID(), Sequence: at.Sequence + 1, Stops: true}
	key := landing.Key(a.Topic, a.TopicID, a.Sequence)
	prev := *at
	if prev.Topic == "" && prev.Sequence > 0 { // read before this run, or given up
		var err error
		if prev, err = s.log.Read(ctx, at.Sequence); err != nil && !errors.Is(err, objectstore.ErrNotFound) {
			a.Sequence, key = at.Sequence, landing.Key(a.Topic, a.TopicID, at.Sequence)
		}
	}
	e, err := s.log.Read(ctx, a.Sequence)
	switch {
	case err == nil && (prev.Sequence > 0 || e.Sequence == 1) && e.Join(prev) != nil:
		a.Code, a.Message = CodeJoin, e.Join(prev).Error()
	case err == nil:
		return false, cause
	case errors.Is(err, objectstore.ErrNotFound):
		page, listErr := s.bucket.List(ctx, dirOf(s.log), key, 1)
		if listErr != nil || len(page) == 0 {
			return false, errors.Join(cause, listErr)
		}
		return r.gap(s, at, page[0].Key), nil
	default:
		if _, getErr := s.bucket.Get(ctx, key); getErr != nil {
			return false, cause
		}
		a.Code, a.Message = CodeEntry, err.Error()
	}
	r.alarm(a)
	return false, nil
}
