package kafka

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/event"
	"millrace/shared/tracecontext"
)

// Events that wait for a time of their own (as those do whose type waits for its contract) are set aside: of each only an item stays, without the event, and the event is read from Kafka
// again by its offset. Those of one kind wait together: one of them is tried, and when it did not have to wait again, all others are read.

const (
	// maxWaiting is the default of IntakeOptions.MaxWaiting.
	maxWaiting = 100_000
	// maxKinds is how many kinds are tried each by itself; what is of further ones counts as of one kind. Producers can invent any number.
	maxKinds = 1000
	// rereadBytes is how much is asked for at one time, compressed.
	rereadBytes = 256 << 10
	// rereadTimeout bounds one request, and, beside the dialling of one broker, connecting; and with it how long the end of an intake can wait for either.
	rereadTimeout = 5 * time.Second
)

// rereader reads records by their offsets. [Reader] is one.
type rereader interface {
	Fetch(ctx context.Context, topic string, partition int32, from int64, maxBytes int32) (Batch, error)
	Span(ctx context.Context, topic string, partition int32) (Span, error)
}

// openReader returns a reader on a connection of its own, so that it waits for no fetch of the group's member, nor that for it.
func (in *Intake) openReader() (r rereader, closeIt func() error, err error) {
	s := in.member.config()
	s.Metadata.Retry.Max, s.Metadata.Timeout = 1, rereadTimeout
	s.Net.ReadTimeout, s.Net.WriteTimeout = rereadTimeout, rereadTimeout
	client, err := Connect(in.member.brokers, s)
	if err != nil {
		return nil, nil, err
	}
	return NewReader(client), client.Close, nil
}

// kind is a number of events of which each waits for the same, as far as can be told: they are of one type and version.
type kind struct {
	name  string
	at    time.Time     // when one of them may be tried
	after time.Duration // how long they wait each time
	items []*item       // set aside
	tried bool          // one of them is being tried
}

// kindOf returns what an event's waiting can depend on.
func kindOf(e *event.Event) string {
	return e.Type() + "\x00" + event.Attr(e, event.SchemaVersion) + "\x00" + e.DataSchema() + "\x00" + event.Attr(e, event.Stage)
}

// aside reports whether the item's event was given up from memory.
func (r *item) aside() bool { return r.event == nil && r.foreign == nil }

// wait sets r aside until its kind's time, or where there are too many already keeps it for a time of its own; s.mu is held.
func (s *round) wait(r *item, now time.Time, after time.Duration) {
	after = max(after, firstRetryWait)
	name := kindOf(r.event)
	if !s.setAside(r) {
		r.at = now.Add(after)
		heap.Push(&s.later, r)
		return
	}
	for n := r.next; n != nil && s.setAside(n); n = n.next {
	}
	if s.kinds[name] == nil && len(s.kinds) >= maxKinds {
		name = ""
	}
	k := s.kinds[name]
	if k == nil {
		k = &kind{name: name, at: now.Add(after)}
		s.kinds[name] = k
	}
	k.after = after
	k.items = append(k.items, r)
	s.nextTry(k)
}

// setAside gives the item's event up from memory, where there is room for one more that waits; s.mu is held.
func (s *round) setAside(r *item) bool {
	if r.aside() {
		return true
	}
	// One that was set aside before is so again, whatever came meanwhile: its bytes are those that others need to come back.
	if r.event == nil || s.waiting >= s.in.o.MaxWaiting && !r.again {
		return false
	}
	if !r.first.IsZero() && s.in.o.Attempts != nil {
		r.attempts = int32(s.in.o.Attempts.Count(r.event))
	}
	s.giveBack(r)
	r.event, r.hop = nil, nil
	s.waiting++
	return true
}

// nextTry notes when the kind is to be tried; s.mu is held.
func (s *round) nextTry(k *kind) {
	if !k.tried && (s.tryAt.IsZero() || k.at.Before(s.tryAt)) {
		s.tryAt = k.at
	}
}

// try reads one event of each kind whose time has come; s.mu is held.
func (s *round) try(now time.Time) {
	if s.tryAt.IsZero() || s.tryAt.After(now) {
		return
	}
	s.tryAt = time.Time{}
	for _, k := range s.kinds {
		if !k.tried && !k.at.After(now) {
			r := k.items[0]
			k.items[0] = nil
			k.items = k.items[1:]
			k.tried, r.trial = true, k
			s.call(r)
		}
		s.nextTry(k)
	}
}

// tried takes the answer that the trial of a kind gave: where its event need not wait, all of them are called. s.mu is held.
func (s *round) tried(r *item, now time.Time, passed bool) {
	k := r.trial
	r.trial, k.tried = nil, false
	switch {
	case passed:
		for _, r := range k.items {
			s.call(r)
		}
		k.items = nil
	default:
		k.at = now.Add(k.after)
	}
	if len(k.items) == 0 {
		delete(s.kinds, k.name)
		return
	}
	s.nextTry(k)
}

// call has the item's event read again; s.mu is held.
func (s *round) call(r *item) {
	if s.stopped {
		return
	}
	heap.Push(&r.part.called, r)
	if !s.rereading {
		s.rereading = true
		s.in.batches.Go(s.reread)
	}
	select {
	case s.calls <- struct{}{}:
	default:
	}
}

// reread reads what is called, partition after partition, until nothing more is handed out.
func (s *round) reread() {
	var reader rereader
	var turn int
	for failures := 0; ; {
		p, from := s.nextCalled(&turn)
		if p == nil {
			select {
			case <-s.calls:
				continue
			case <-s.asideCtx.Done():
				return
			}
		}
		var err error
		if reader == nil {
			var closeIt func() error
			if reader, closeIt, err = s.in.reader(); err == nil {
				defer func() {
					if err := closeIt(); err != nil {
						s.in.o.Logger.Warn("closing what reads waiting events again", "error", err)
					}
				}()
			} else {
				reader = nil
			}
		}
		if err == nil {
			err = s.rereadFrom(reader, p, from)
		}
		if s.asideCtx.Err() != nil {
			return
		}
		if err == nil {
			failures = 0
			continue
		}
		failures++
		pause := backoff(failures)
		s.in.o.Logger.Warn("cannot read waiting events again, trying again", "topic", p.claim.Topic(), "partition", p.claim.Partition(), "offset", from, "wait", pause.String(), "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.asideCtx.Done():
			timer.Stop()
			return
		}
	}
}

// nextCalled returns a partition of which events are called, and the first one's offset; nil where there is none.
func (s *round) nextCalled(turn *int) (p *part, from int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range s.parts {
		*turn++
		if p := s.parts[*turn%len(s.parts)]; len(p.called) > 0 && !p.closed {
			return p, p.called[0].offset
		}
	}
	return nil, 0
}

// rereadFrom reads some of the partition's called events, the first of which is at the offset from.
func (s *round) rereadFrom(reader rereader, p *part, from int64) error {
	topic, partition := p.claim.Topic(), p.claim.Partition()
	got, err := reader.Fetch(s.asideCtx, topic, partition, from, rereadBytes)
	if errors.Is(err, sarama.ErrOffsetOutOfRange) {
		span, err := reader.Span(s.asideCtx, topic, partition)
		if err != nil {
			return err
		}
		if span.Start <= from {
			return fmt.Errorf("offset %d is none of the partition's, which has %d to %d", from, span.Start, span.End)
		}
		s.loseBefore(p, span.Start)
		return nil
	}
	if err != nil {
		return err
	}
	if got.Next <= from {
		return fmt.Errorf("nothing came from offset %d on, and the partition is stable up to %d", from, got.Stable)
	}
	var gone []*item
	defer func() { s.lose(p, gone, 0) }()
	for records, at := got.Records, from; ; {
		s.mu.Lock()
		// One that was called meanwhile can lie before what is left of these records.
		if s.stopped || len(p.called) == 0 || p.called[0].offset < at || p.called[0].offset >= got.Next {
			s.mu.Unlock()
			return nil
		}
		r, _ := heap.Pop(&p.called).(*item)
		s.mu.Unlock()
		for at = r.offset + 1; len(records) > 0 && records[0].Offset < r.offset; {
			records = records[1:]
		}
		if len(records) == 0 || records[0].Offset > r.offset {
			gone = append(gone, r)
			continue
		}
		if err := s.back(r, records); err != nil {
			return err
		}
	}
}

// back hands the item out again, with the event that was read again, as soon as there are bytes for it. records begin with its own; those of events that wait behind it for their key come back with it, as
// far as there are bytes: one by one each would be a fetch of its own.
func (s *round) back(r *item, records []*sarama.ConsumerMessage) error {
	size := min(recordSize(records[0]), s.in.againBytes)
	if err := s.in.again.Acquire(s.asideCtx, size); err != nil {
		return err
	}
	batch := []restored{s.decode(r, records[0], size)}
	for _, n := range s.behind(r) {
		for len(records) > 0 && records[0].Offset < n.offset {
			records = records[1:]
		}
		if len(records) == 0 || records[0].Offset > n.offset {
			break
		}
		size := recordSize(records[0])
		if !s.in.again.TryAcquire(size) {
			break
		}
		batch = append(batch, s.decode(n, records[0], size))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range batch {
		if s.stopped {
			s.in.again.Release(b.size)
			continue
		}
		s.in.held.Add(b.size)
		n := b.item
		n.size, n.again = b.size, true
		n.part.again += b.size
		n.event, n.foreign, n.hop = b.event, b.foreign, b.hop
		s.waiting--
		if n.event != nil && n.attempts > 0 {
			s.in.o.Attempts.Restore(n.event, int(n.attempts))
		}
	}
	if s.stopped {
		return nil
	}
	r.at = time.Now().Add(s.in.o.MaxWait)
	s.ready.push(r)
	s.flush()
	return nil
}

// maxBehind is how many events come back together with one that they waited for.
const maxBehind = 200

// behind returns items that are set aside and wait for r, in their order. Nobody else calls them before r is done.
func (s *round) behind(r *item) (items []*item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := r.next; n != nil && n.aside() && len(items) < maxBehind; n = n.next {
		items = append(items, n)
	}
	return items
}

// restored is an item's record, read again.
type restored struct {
	item    *item
	size    int64
	event   *event.Event
	foreign *noEvent
	hop     *tracecontext.Context
}

func (s *round) decode(r *item, m *sarama.ConsumerMessage, size int64) restored {
	own := *m
	own.Value = bytes.Clone(m.Value) // the batch it lies in would live as long
	out := restored{item: r, size: size, hop: s.in.hop(m)}
	e, err := Decode(&own)
	if err != nil {
		out.foreign = &noEvent{message: &own, reason: err}
	} else {
		out.event = e
	}
	return out
}

// loseBefore finishes what waits of the partition and lies before its log's start.
func (s *round) loseBefore(p *part, start int64) {
	lost := func(r *item) bool { return r.part == p && r.offset < start }
	var gone []*item
	s.mu.Lock()
	for len(p.called) > 0 && lost(p.called[0]) {
		gone = append(gone, heap.Pop(&p.called).(*item))
	}
	for _, k := range s.kinds {
		kept := k.items[:0]
		for _, r := range k.items {
			if lost(r) {
				gone = append(gone, r)
			} else {
				kept = append(kept, r)
			}
		}
		clear(k.items[len(kept):])
		if k.items = kept; len(kept) == 0 && !k.tried {
			delete(s.kinds, k.name)
		}
	}
	s.mu.Unlock()
	s.lose(p, gone, start)
}

// lose finishes items, none of which is in a queue any more, whose records Kafka does not hold any more, and says so. Those that waited for them for their key, and lie before start, are lost with them.
func (s *round) lose(p *part, gone []*item, start int64) {
	if len(gone) == 0 {
		return
	}
	first, last, n, ok := s.finishLost(p, gone, start)
	if !ok {
		return // whoever has the partition then finds out
	}
	s.in.lost.Add(float64(n))
	s.in.o.Logger.Error("records are lost: Kafka deleted them while their events waited", "topic", p.claim.Topic(), "group", s.in.member.group, "partition", p.claim.Partition(),
		"first", first, "last", last, "events", n)
}

// finishLost returns the first and last offset of how many it finished, and false where nothing is handed out any more.
func (s *round) finishLost(p *part, gone []*item, start int64) (first, last int64, n int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return 0, 0, 0, false
	}
	now := time.Now()
	for first = gone[0].offset; n < len(gone); n++ {
		r := gone[n]
		first, last = min(first, r.offset), max(last, r.offset)
		s.waiting--
		if r.trial != nil {
			k := r.trial
			s.tried(r, now, false)
			if s.kinds[k.name] == k {
				k.at = now
				s.nextTry(k)
			}
		}
		s.finish(r)
		for len(p.called) > 0 && p.called[0].offset < start {
			gone = append(gone, heap.Pop(&p.called).(*item))
		}
	}
	s.markPart(p)
	s.flush()
	return first, last, n, true
}

// byOffset is a heap of items by their offsets.
type byOffset []*item

// Len implements heap.Interface.
func (h byOffset) Len() int { return len(h) }

// Less implements heap.Interface.
func (h byOffset) Less(i, j int) bool { return h[i].offset < h[j].offset }

// Swap implements heap.Interface.
func (h byOffset) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *byOffset) Push(x any) { *h = append(*h, x.(*item)) }

// Pop implements heap.Interface.
func (h *byOffset) Pop() any {
	old := *h
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return r
}
