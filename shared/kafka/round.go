package kafka

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/tracecontext"
)

// round is an intake's work in one generation of the group: what was read, waits, is with the handler, or is to come again. It is the group handler of the generation.
type round struct {
	in     *Intake
	client sarama.Client
	before map[string]map[int32]map[int64]failure // failures of former owners, by topic, partition and offset
	ctx    context.Context                        // of batches; outlives the generation by the time it has to drain
	cancel context.CancelFunc

	mu       sync.Mutex
	parts    []*part
	ready    queue
	later    waiting
	last     map[partKey]*item // the last unfinished record of a key, where Ordered
	kinds    map[string]*kind  // events that are set aside, by what they wait for
	tryAt    time.Time         // when the first of them is to be tried; zero where none is
	waiting  int               // items whose events were given up from memory
	running  int               // batches in the handler
	failures int               // batches in a row of which nothing was done
	hold     time.Time         // nothing is handed out before
	timer    *time.Timer
	stopped  bool // nothing more is handed out

	rereading   bool
	calls       chan struct{} // holds a token when events are to be read again
	asideCtx    context.Context
	asideCancel context.CancelFunc // when nothing more is handed out
}

// part is one partition between its assignment and its revocation. What changes is guarded by the round.
type part struct {
	session  sarama.ConsumerGroupSession
	claim    sarama.ConsumerGroupClaim
	offsets  *delivery.Offsets
	failing  map[int64]*item   // by offset: unfinished and failed, not merely not handled
	before   map[int64]failure // what former owners knew of records that are not read yet
	bytes    int64             // of the semaphore
	again    int64             // of the semaphore for events that are read again
	called   byOffset          // set aside, and to be read again
	paused   time.Time         // since when it waits for room; zero where it does not
	inHand   int               // with the handler
	marked   int64             // position, as marked
	metadata string
	moved    chan struct{} // holds a token when the oldest unfinished offset moved
	idle     chan struct{} // closed when stopped with nothing in hand
	closed   bool          // marks go nowhere any more
}

type partKey struct {
	part *part
	key  uint64
}

// item is one record between being read and being finished. There are many while events wait: with what else is kept of one that is set aside it has some 200 bytes.
type item struct {
	part     *part
	offset   int64
	size     int64        // bytes that are admitted for it
	event    *event.Event // nil where it is none, and where it is set aside
	foreign  *noEvent     // where it is no event
	at       time.Time    // in the queue: when it waited long enough for others; in later: when it may come again
	first    time.Time    // when it failed first
	tries    int32
	attempts int32                 // of an event that is set aside
	key      uint64                // of its record's key, 0 where there is none; two keys of one number only wait for each other as one does
	next     *item                 // of the same key; waits for this one
	trial    *kind                 // of which it is tried
	again    bool                  // its bytes are those of events that are read again
	hop      *tracecontext.Context // what the record's plain headers say, where somebody asked and the event is here
}

// noEvent is a record that is no event.
type noEvent struct {
	message *sarama.ConsumerMessage
	reason  error
}

func (in *Intake) newRound(client sarama.Client) sarama.ConsumerGroupHandler {
	s := &round{in: in, client: client, last: map[partKey]*item{}, kinds: map[string]*kind{}, calls: make(chan struct{}, 1)}
	// What ends it is the end of its partitions' drain, not that of the generation.
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.asideCtx, s.asideCancel = context.WithCancel(s.ctx)
	return s
}

// keySeed makes numbers of keys.
var keySeed = maphash.MakeSeed()

// Setup implements [sarama.ConsumerGroupHandler].
func (s *round) Setup(gs sarama.ConsumerGroupSession) error {
	if s.in.left.Load() {
		return errors.New("the intake has ended")
	}
	if s.in.o.Attempts != nil {
		s.before = s.in.recall(s.client, gs.Claims())
	}
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	s.in.current, s.in.lastErr = s, nil
	s.in.joined.Store(true)
	return nil
}

// Cleanup implements [sarama.ConsumerGroupHandler].
func (s *round) Cleanup(sarama.ConsumerGroupSession) error {
	s.stop()
	s.cancel()
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	if s.in.current == s {
		s.in.current = nil
	}
	return nil
}

// recall reads what former owners kept of failing events. Where it cannot, they are only tried more often.
func (in *Intake) recall(client sarama.Client, claims map[string][]int32) map[string]map[int32]map[int64]failure {
	if len(claims) == 0 {
		return nil
	}
	res, err := in.member.fetchCommits(client, claims)
	if err != nil {
		in.o.Logger.Warn("cannot read how often events failed: they are counted anew", "group", in.member.group, "error", err)
		return nil
	}
	out := map[string]map[int32]map[int64]failure{}
	for topic, blocks := range res.Blocks {
		out[topic] = map[int32]map[int64]failure{}
		for partition, b := range blocks {
			of, metadata := cutStamp(b.Metadata)
			if id := in.member.ids[topic]; of != "" && id != "" && of != id {
				continue // of a topic that is not there any more
			}
			failures, err := decodeFailures(b.Offset, metadata)
			if err != nil {
				in.o.Logger.Warn("cannot read how often events failed: they are counted anew", "topic", topic, "partition", partition, "error", err)
			}
			out[topic][partition] = failures
		}
	}
	return out
}

// ConsumeClaim implements [sarama.ConsumerGroupHandler]: it takes the partition's records in until the generation ends, then drains. sarama commits what is
// marked after it returned.
func (s *round) ConsumeClaim(gs sarama.ConsumerGroupSession, gc sarama.ConsumerGroupClaim) error {
	if gc.InitialOffset() < 0 {
		s.in.lost.Add(float64(s.in.member.tellReset(s.client, gc)))
	}
	p := &part{
		session: gs, claim: gc, offsets: delivery.NewOffsets(gc.InitialOffset()), failing: map[int64]*item{}, marked: gc.InitialOffset(),
		before: s.before[gc.Topic()][gc.Partition()], moved: make(chan struct{}, 1), idle: make(chan struct{}),
	}
	s.mu.Lock()
	s.parts = append(s.parts, p)
	s.mu.Unlock()
	defer s.leave(p)
	for {
		select {
		case <-gs.Context().Done():
			return nil
		case m, ok := <-gc.Messages():
			if !ok {
				return nil
			}
			size := min(recordSize(m), s.in.o.MaxBytes)
			if !s.admit(gs.Context(), p, m.Offset, size) {
				return nil
			}
			if more, err := s.take(p, m, size); !more {
				return err
			}
		}
	}
}

// take puts a record for which there is room into the queue. It reports false where the generation ended first.
func (s *round) take(p *part, m *sarama.ConsumerMessage, size int64) (more bool, err error) {
	r := &item{part: p, offset: m.Offset, size: size}
	e, err := Decode(m)
	if err != nil {
		r.foreign = &noEvent{message: m, reason: err}
	} else {
		r.event = e
	}
	r.hop = s.in.hop(m)
	if s.in.o.Ordered && len(m.Key) > 0 {
		r.key = max(1, maphash.Bytes(keySeed, m.Key))
	}
	r.at = time.Now().Add(s.in.o.MaxWait)
	s.mu.Lock()
	defer s.mu.Unlock()
	p.bytes += r.size
	if s.stopped {
		return false, nil // leave gives its bytes back
	}
	if err := p.offsets.Start(m.Offset); err != nil {
		return false, fmt.Errorf("%s/%d: %w", m.Topic, m.Partition, err)
	}
	if f, failed := p.before[m.Offset]; failed {
		delete(p.before, m.Offset)
		r.first, p.failing[r.offset] = f.first, r
		if r.event != nil {
			s.in.o.Attempts.Restore(r.event, f.attempts)
		}
	}
	if r.key != 0 {
		k := partKey{p, r.key}
		earlier := s.last[k]
		s.last[k] = r
		if earlier != nil {
			earlier.next = r
			if earlier.aside() {
				s.setAside(r) // else the bytes of those behind it are all used up in the end
			}
			return true, nil
		}
	}
	s.ready.push(r)
	s.flush()
	return true, nil
}

// recordSize is what a record and its event hold in memory, about, with what a handler makes of its data.
func recordSize(m *sarama.ConsumerMessage) int64 {
	n := len(m.Key) + 2*len(m.Value) + 1024
	for _, h := range m.Headers {
		n += 2*(len(h.Key)+len(h.Value)) + 96
	}
	return int64(n)
}

// admit waits until a record is within the window of its partition and there are bytes for it. It reports false where ctx ended first.
func (s *round) admit(ctx context.Context, p *part, offset, size int64) bool {
	within := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return p.offsets.Unfinished() == 0 || offset-p.offsets.Next() < s.in.o.Window
	}
	if !within() {
		defer s.pause(p)()
		for !within() {
			select {
			case <-p.moved:
			case <-ctx.Done():
				return false
			}
		}
	}
	if !s.in.bytes.TryAcquire(size) {
		goOn := s.pause(p)
		err := s.in.bytes.Acquire(ctx, size)
		goOn()
		if err != nil {
			return false
		}
	}
	s.in.held.Add(size)
	return true
}

// pause notes that the partition waits for room, until goOn is called.
func (s *round) pause(p *part) (goOn func()) {
	set := func(since time.Time, n int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if n > 0 == p.paused.IsZero() {
			p.paused = since
			s.in.paused.Add(n)
		}
	}
	set(time.Now(), 1)
	return func() { set(time.Time{}, -1) }
}

func (s *round) release(n int64) {
	s.in.held.Add(-n)
	s.in.bytes.Release(n)
}

// giveBack gives the item's bytes back; s.mu is held.
func (s *round) giveBack(r *item) {
	if r.again {
		r.part.again -= r.size
		s.in.held.Add(-r.size)
		s.in.again.Release(r.size)
	} else {
		r.part.bytes -= r.size
		s.release(r.size)
	}
	r.size, r.again = 0, false
}

// flush hands out batches while there is a reason and room, and sets the timer for what is to come; s.mu is held.
func (s *round) flush() {
	now := time.Now()
	for len(s.later) > 0 && !s.later[0].at.After(now) {
		r := heap.Pop(&s.later).(*item)
		r.at = now
		s.ready.push(r)
	}
	s.try(now)
	var wake time.Duration = -1
	most := max(1, s.in.o.MaxBatch>>min(s.failures, 30))
	concurrent := s.in.o.MaxConcurrentBatches
	if s.failures > 0 {
		concurrent = 1 // one is enough to find out whether the dependency is back
	}
	for !s.stopped && s.ready.len() > 0 && s.running < concurrent {
		if wait := s.hold.Sub(now); wait > 0 {
			wake = wait
			break
		}
		n, size := 0, int64(0)
		for n < s.ready.len() && n < most && (n == 0 || size < s.in.o.MaxBatchBytes) {
			size += s.ready.at(n).size
			n++
		}
		full := n == most || size >= s.in.o.MaxBatchBytes
		if wait := s.ready.at(0).at.Sub(now); !full && wait > 0 {
			wake = wait
			break
		}
		batch := s.ready.take(n)
		for _, r := range batch {
			r.part.inHand++
		}
		s.running++
		s.in.batches.Go(func() { s.settle(batch, s.in.handle(s.ctx, batch)) })
	}
	if s.stopped {
		return
	}
	if len(s.later) > 0 {
		if wait := s.later[0].at.Sub(now); wake < 0 || wait < wake {
			wake = wait
		}
	}
	if !s.tryAt.IsZero() {
		if wait := s.tryAt.Sub(now); wake < 0 || wait < wake {
			wake = wait
		}
	}
	switch {
	case wake < 0 && s.timer != nil:
		s.timer.Stop()
	case wake >= 0 && s.timer == nil:
		s.timer = time.AfterFunc(wake, s.woken)
	case wake >= 0:
		s.timer.Reset(wake)
	}
}

func (s *round) woken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
}

const (
	firstRetryWait = 100 * time.Millisecond
	maxRetryWait   = 5 * time.Second
)

// backoff returns the pause after n failures in a row, between half of it and all, so that members do not come back at one moment.
func backoff(n int) time.Duration {
	d := min(firstRetryWait<<min(n-1, 20), maxRetryWait)
	return d/2 + rand.N(d/2+1)
}

// settle takes a batch back: what is done is finished, all else waits to come again.
func (s *round) settle(batch []*item, out delivery.Outcomes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.flush()
	s.running--
	now := time.Now()
	done, failed, away, asked := 0, false, false, time.Duration(0)
	for i := range batch {
		switch o := out.Of(i); o.Status {
		case delivery.Done:
			done++
		case delivery.Failed, delivery.Dead:
			failed = true
		case delivery.Retry:
			away = away || o.After == 0 || o.Away // one with a time of its own waits by itself: thousands of one type may, for their contract
			if o.Away {
				asked = max(asked, min(o.After, delivery.MaxHold))
			}
		}
	}
	outage := away && !failed && done == 0
	switch {
	case outage:
		s.failures++
		s.hold = now.Add(max(backoff(s.failures), asked))
	case done > 0:
		s.failures, s.hold = 0, time.Time{}
	}
	touched := make([]*part, 0, 8)
	for i, r := range batch {
		p := r.part
		if p.inHand--; p.inHand == 0 && s.stopped && !p.closed {
			close(p.idle)
		}
		if !p.closed && !contains(touched, p) {
			touched = append(touched, p)
		}
		o := out.Of(i)
		own := o.Status == delivery.Retry && o.After > 0 && !o.Away // it waits for a time of its own
		if r.trial != nil && !s.stopped {
			s.tried(r, now, o.Status == delivery.Done)
		}
		switch {
		case p.closed:
		case o.Status == delivery.Done:
			s.finish(r)
		default:
			r.tries++
			if o.Status != delivery.Retry {
				if r.first.IsZero() {
					r.first = now
				}
				p.failing[r.offset] = r
			}
			switch {
			case s.stopped: // it comes again to whoever has the partition then
			case own:
				s.wait(r, now, o.After)
			case outage:
				s.ready.push(r) // behind all others, which may fare better
			default:
				r.at = now.Add(max(backoff(int(r.tries)), o.After))
				heap.Push(&s.later, r)
			}
		}
	}
	for _, p := range touched {
		s.markPart(p)
	}
}

func contains(list []*part, p *part) bool {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == p {
			return true
		}
	}
	return false
}

// finish lets a record go, and the one that waited for it out.
func (s *round) finish(r *item) {
	p := r.part
	if p.offsets.Finish(r.offset) {
		select {
		case p.moved <- struct{}{}:
		default:
		}
	}
	if !r.first.IsZero() {
		delete(p.failing, r.offset)
	}
	s.giveBack(r)
	if r.key == 0 {
		return
	}
	if r.next != nil {
		switch {
		case s.stopped:
		case r.next.aside():
			s.call(r.next)
		default:
			s.ready.push(r.next)
		}
		return
	}
	delete(s.last, partKey{p, r.key})
}

// mark marks all partitions anew, as their metadata must be shorter.
func (s *round) mark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts {
		if !p.closed {
			s.markPart(p)
		}
	}
}

// markPart gives sarama the position to commit and what is kept of failing events; s.mu is held.
func (s *round) markPart(p *part) {
	next, metadata := p.offsets.Next(), ""
	if next < 0 {
		return // nothing was read yet
	}
	if s.in.o.Attempts != nil && len(p.failing)+len(p.before) > 0 {
		failures := make([]failure, 0, len(p.failing)+len(p.before))
		for _, f := range p.before {
			if f.offset >= next {
				failures = append(failures, f)
			}
		}
		for _, r := range p.failing {
			f := failure{offset: r.offset, first: r.first, attempts: int(r.attempts)}
			if r.event != nil {
				f.attempts = s.in.o.Attempts.Count(r.event)
			}
			failures = append(failures, f)
		}
		metadata = encodeFailures(next, failures, int(s.in.metadataLimit.Load()))
	}
	if next == p.marked && metadata == p.metadata {
		return
	}
	p.marked, p.metadata = next, metadata
	topic, partition := p.claim.Topic(), p.claim.Partition()
	p.session.MarkOffset(topic, partition, next, metadata)  // moves forwards only
	p.session.ResetOffset(topic, partition, next, metadata) // takes new metadata for the same position, and the lower ones of a topic that was made anew
}

// stop hands nothing more out.
func (s *round) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	s.stopped = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.asideCancel()
	s.ready, s.later = queue{}, nil
	clear(s.last)
	clear(s.kinds)
	for _, p := range s.parts {
		if p.inHand == 0 {
			close(p.idle)
		}
	}
}

// leave gives a partition up, and with it the generation, as sarama does: nothing more is handed out, and what is in hand has the time to drain, and a little after its
// context ended.
func (s *round) leave(p *part) {
	s.mu.Lock()
	late := s.stopped && p.inHand == 0 // it came after the stop, or is idle already
	s.mu.Unlock()
	s.stop()
	if !late {
		for _, d := range []time.Duration{s.in.o.Drain, abandonAfter} {
			timer := time.NewTimer(d)
			select {
			case <-p.idle:
			case <-timer.C:
				s.cancel()
			}
			timer.Stop()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.closed = true
	s.release(p.bytes)
	s.in.held.Add(-p.again)
	s.in.again.Release(p.again)
	p.bytes, p.again = 0, 0
}

// queue is records first in, first out.
type queue struct {
	records []*item
	head    int
}

func (q *queue) len() int       { return len(q.records) - q.head }
func (q *queue) at(i int) *item { return q.records[q.head+i] }
func (q *queue) push(r *item)   { q.records = append(q.records, r) }
func (q *queue) take(n int) []*item {
	out := append([]*item(nil), q.records[q.head:q.head+n]...)
	clear(q.records[q.head : q.head+n])
	if q.head += n; q.head > len(q.records)/2 {
		left := copy(q.records, q.records[q.head:])
		clear(q.records[left:])
		q.records, q.head = q.records[:left], 0
	}
	return out
}

// waiting is a heap of records by the time at which they may come again.
type waiting []*item

// Len implements heap.Interface.
func (w waiting) Len() int { return len(w) }

// Less implements heap.Interface.
func (w waiting) Less(i, j int) bool { return w[i].at.Before(w[j].at) }

// Swap implements heap.Interface.
func (w waiting) Swap(i, j int) { w[i], w[j] = w[j], w[i] }

// Push implements heap.Interface.
func (w *waiting) Push(x any) { *w = append(*w, x.(*item)) }

// Pop implements heap.Interface.
func (w *waiting) Pop() any {
	old := *w
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	return r
}
