package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/delivery"
)

// Message is a record in a handler's hands. It belongs to the handler.
type Message struct {
	*sarama.ConsumerMessage
	// Stopping is closed when the partition is to be given up, some time before the handler's context ends: what is begun may be
	// finished, and nothing further should be begun or waited for.
	Stopping <-chan struct{}
}

// MessageHandler handles one record and reports whether it is finished, so that its offset may be committed. It is called concurrently, for records of one
// partition too, and blocks until the record is finished or cannot be for now. One that is not finished comes again: after
// a growing pause, or when the partition is read again from its committed offset. It returns soon after ctx ended.
type MessageHandler func(ctx context.Context, m Message) (finished bool)

// ConsumerOptions are the settings of a [Consumer]; zero values take the defaults.
type ConsumerOptions struct {
	ClientID string        // default "millrace"
	InFlight int           // records in the handler's hands at most, over all partitions; default 50
	Window   int64         // the distance, in offsets, from a partition's oldest unfinished record to its newest in hand, at most; default 100,000
	Commit   time.Duration // how often offsets are committed; default 1 s
	Drain    time.Duration // how long records in hand may take when a partition is given up, before their context ends; default 10 s
	Start    Start
	Logger   *slog.Logger // default slog.Default
	Config   func(*sarama.Config)
}

// Consumer reads a topic as a member of a group and hands records to a handler, in no order, committing behind the oldest unfinished one of each
// partition. Delivery is at least once: after a crash or a rebalance all from the oldest unfinished record on comes again.
//
// A record that takes long holds one in-flight slot; it delays neither other partitions nor, until Window is reached, its own. Beyond Window its partition
// is not read on.
type Consumer struct {
	member member
	topic  string
	handle MessageHandler
	o      ConsumerOptions

	slots    chan struct{}
	handlers sync.WaitGroup

	mu     sync.Mutex
	claims map[int32]*claim
}

// NewConsumer returns a consumer that does nothing until it is run.
func NewConsumer(brokers []string, topic, group string, handle MessageHandler, o ConsumerOptions) *Consumer {
	if o.ClientID == "" {
		o.ClientID = "millrace"
	}
	if o.InFlight <= 0 {
		o.InFlight = 50
	}
	if o.Window <= 0 {
		o.Window = 100_000
	}
	if o.Commit <= 0 {
		o.Commit = time.Second
	}
	if o.Drain <= 0 {
		o.Drain = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	c := &Consumer{topic: topic, handle: handle, o: o, slots: make(chan struct{}, o.InFlight), claims: map[int32]*claim{}}
	c.member = member{
		brokers: brokers, topics: []string{topic}, group: group, start: o.Start, logger: o.Logger, config: c.config,
		session: func(client sarama.Client) sarama.ConsumerGroupHandler { return &session{c: c, client: client} },
	}
	return c
}

func (c *Consumer) config() *sarama.Config {
	s := groupConfig(c.o.ClientID, c.o.Commit, c.o.Drain)
	if c.o.Config != nil {
		c.o.Config(s)
	}
	return s
}

// Run reads until ctx ends; then it hands out nothing more, gives what is in hand the time Drain, commits, leaves the group and returns nil. Errors of Kafka are
// logged and tried again with a growing pause; only settings that cannot work are returned.
//
// Run returns only when all handlers did: a handler that ignores its context holds it up.
func (c *Consumer) Run(ctx context.Context) error {
	defer c.handlers.Wait()
	return c.member.run(ctx)
}

// session is the group handler of one generation.
type session struct {
	c      *Consumer
	client sarama.Client
}

func (*session) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*session) Cleanup(sarama.ConsumerGroupSession) error { return nil }

// ConsumeClaim hands out the partition's records until the session ends, then drains. sarama commits what is marked after it returned.
func (s *session) ConsumeClaim(gs sarama.ConsumerGroupSession, gc sarama.ConsumerGroupClaim) error {
	c := s.c
	if gc.InitialOffset() < 0 {
		c.member.tellReset(s.client, gc)
	}
	// What is in hand outlives the session's context by the time it has to drain.
	ctx, cancel := context.WithCancel(context.WithoutCancel(gs.Context()))
	defer cancel()
	cl := &claim{
		session: gs, claim: gc, client: s.client, offsets: delivery.NewOffsets(gc.InitialOffset()), position: gc.InitialOffset(),
		ctx: ctx, stopping: make(chan struct{}), moved: make(chan struct{}, 1), idle: make(chan struct{}),
	}
	c.mu.Lock()
	c.claims[gc.Partition()] = cl
	c.mu.Unlock()
	defer func() {
		cl.drain(c.o.Drain, cancel)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.claims[gc.Partition()] == cl {
			delete(c.claims, gc.Partition())
		}
	}()
	done := gs.Context().Done()
	for {
		select {
		case <-done:
			return nil
		case m, ok := <-gc.Messages():
			if !ok {
				return nil
			}
			if !cl.await(done, m.Offset, c.o.Window) {
				return nil
			}
			select {
			case c.slots <- struct{}{}:
			case <-done:
				return nil
			}
			if err := cl.start(m.Offset); err != nil {
				<-c.slots
				return err
			}
			c.handlers.Go(func() {
				defer func() { <-c.slots }()
				c.hand(cl, m)
			})
		}
	}
}

// hand gives the record to the handler until it is finished or the partition is given up.
func (c *Consumer) hand(cl *claim, m *sarama.ConsumerMessage) {
	for wait := firstConsumerWait; ; wait = min(2*wait, maxHandlerWait) {
		if c.handle(cl.ctx, Message{ConsumerMessage: m, Stopping: cl.stopping}) {
			cl.end(m.Offset, true)
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-cl.stopping:
			timer.Stop()
			cl.end(m.Offset, false)
			return
		case <-timer.C:
		}
	}
}

// claim is one partition between its assignment and its revocation.
type claim struct {
	session  sarama.ConsumerGroupSession
	claim    sarama.ConsumerGroupClaim
	client   sarama.Client
	ctx      context.Context
	stopping chan struct{}
	moved    chan struct{} // holds a token when the oldest unfinished offset moved

	mu       sync.Mutex
	offsets  *delivery.Offsets
	position int64 // as marked, or where it began
	open     int
	draining bool
	closed   bool          // marks go nowhere any more
	idle     chan struct{} // closed once draining with nothing open
}

// await waits until offset is within window of the oldest unfinished one. It reports false where done came first.
func (cl *claim) await(done <-chan struct{}, offset, window int64) bool {
	for {
		cl.mu.Lock()
		free := cl.open == 0 || offset-cl.offsets.Next() < window
		cl.mu.Unlock()
		if free {
			return true
		}
		select {
		case <-cl.moved:
		case <-done:
			return false
		}
	}
}

func (cl *claim) start(offset int64) error {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if err := cl.offsets.Start(offset); err != nil {
		return fmt.Errorf("partition %d: %w", cl.claim.Partition(), err)
	}
	if cl.position < 0 {
		cl.position = offset // where it began, as nothing was committed
	}
	cl.open++
	return nil
}

// end says that a record is out of hand. One that was finished after the partition was let go comes again to whoever has it then.
func (cl *claim) end(offset int64, finished bool) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.open--
	if finished && !cl.closed && cl.offsets.Finish(offset) {
		cl.position = cl.offsets.Next()
		cl.session.MarkOffset(cl.claim.Topic(), cl.claim.Partition(), cl.position, "")
		cl.session.ResetOffset(cl.claim.Topic(), cl.claim.Partition(), cl.position, "") // takes the lower positions of a topic that was made anew
		select {
		case cl.moved <- struct{}{}:
		default:
		}
	}
	if cl.draining && cl.open == 0 {
		close(cl.idle)
		cl.draining = false
	}
}

// drain waits until nothing is in hand, at most for the time limit and a little after cancel.
func (cl *claim) drain(limit time.Duration, cancel context.CancelFunc) {
	close(cl.stopping)
	cl.mu.Lock()
	if cl.open == 0 {
		close(cl.idle)
	} else {
		cl.draining = true
	}
	cl.mu.Unlock()
	for _, d := range []time.Duration{limit, abandonAfter} {
		timer := time.NewTimer(d)
		select {
		case <-cl.idle:
		case <-timer.C:
		}
		timer.Stop()
		cancel()
	}
	cl.mu.Lock()
	cl.closed = true
	cl.mu.Unlock()
}

// ConsumerStatus says how a consumer stands.
type ConsumerStatus struct {
	Partitions int // assigned to this member now
	InFlight   int // records in the handler's hands
}

// Status returns how the consumer stands. It asks nobody.
func (c *Consumer) Status() ConsumerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ConsumerStatus{Partitions: len(c.claims), InFlight: len(c.slots)}
}

// Lag returns how many offsets lie between what is finished and the ends of the partitions that are assigned to this member. It asks Kafka for the ends, one
// request for each partition; an error says that it could not be found out.
func (c *Consumer) Lag() (int64, error) {
	type place struct {
		client    sarama.Client
		partition int32
		position  int64
	}
	c.mu.Lock()
	places := make([]place, 0, len(c.claims))
	for p, cl := range c.claims {
		cl.mu.Lock()
		places = append(places, place{cl.client, p, max(0, cl.position)})
		cl.mu.Unlock()
	}
	c.mu.Unlock()
	var lag int64
	for _, p := range places {
		end, err := p.client.GetOffset(c.topic, p.partition, sarama.OffsetNewest)
		if err != nil {
			return 0, fmt.Errorf("end of %s/%d: %w", c.topic, p.partition, err)
		}
		lag += max(0, end-p.position)
	}
	return lag, nil
}
