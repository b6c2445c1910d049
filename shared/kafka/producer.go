package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/IBM/sarama"
	"golang.org/x/sync/semaphore"

	"millrace/shared/event"
	"millrace/shared/tracecontext"
)

// ProducerOptions are the settings of a [Producer]; zero values take the defaults.
type ProducerOptions struct {
	ClientID string        // default "millrace"
	Timeout  time.Duration // how long Publish waits for an answer; default 3 s
	Buffer   int64         // bytes of events handed over and not yet answered, at most; default 32 MiB
	Linger   time.Duration // how long a record may wait for others; default 2 ms
	Logger   *slog.Logger  // default slog.Default
	Config   func(*sarama.Config)
}

// Producer writes events to Kafka. It connects in the background and connects again after a failure: a function starts while Kafka is
// away, and answers that it is busy. It may be used concurrently.
//
// Its memory is bounded by Buffer; beyond it, events are refused with [ErrBusy] once the timeout has passed.
type Producer struct {
	brokers []string
	o       ProducerOptions
	buffer  *semaphore.Weighted
	ending  chan struct{} // closed by Close
	end     func()
	done    chan struct{}

	mu        sync.Mutex
	connected chan struct{} // closed while conn is there
	conn      *connection
	lastErr   error // of connecting

	away      gate
	confirmed atomic.Uint64 // events, since the start
	sinks     map[string]*Sink
}

type connection struct {
	client sarama.Client
	async  sarama.AsyncProducer
	users  sync.WaitGroup // Publish calls that write to async.Input
}

// NewProducer returns a producer on brokers (host:port) and starts to connect. Close it.
func NewProducer(brokers []string, o ProducerOptions) *Producer {
	if o.ClientID == "" {
		o.ClientID = "millrace"
	}
	if o.Timeout <= 0 {
		o.Timeout = 3 * time.Second
	}
	if o.Buffer <= 0 {
		o.Buffer = 32 << 20
	}
	if o.Linger <= 0 {
		o.Linger = 2 * time.Millisecond
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	p := &Producer{
		brokers: brokers, o: o, buffer: semaphore.NewWeighted(o.Buffer),
		ending: make(chan struct{}), done: make(chan struct{}), connected: make(chan struct{}), sinks: map[string]*Sink{},
	}
	p.away.p, p.away.check = p, p.reachable
	p.end = sync.OnceFunc(func() { close(p.ending) })
	go p.run()
	return p
}

func (p *Producer) config() *sarama.Config {
	c := NewConfig(p.o.ClientID)
	c.Producer.Flush.Frequency = p.o.Linger
	c.Producer.Flush.Bytes = 512 << 10
	if p.o.Config != nil {
		p.o.Config(c)
	}
	return c
}

// run keeps a connection until Close.
func (p *Producer) run() {
	defer close(p.done)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		conn, err := p.connect()
		if err == nil {
			p.serve(conn)
			return
		}
		p.mu.Lock()
		p.lastErr = err
		p.mu.Unlock()
		p.o.Logger.Warn("cannot connect to Kafka, trying again", "brokers", p.brokers, "wait", wait.String(), "error", err)
		select {
		case <-p.ending:
			return
		case <-time.After(wait):
		}
	}
}

func (p *Producer) connect() (*connection, error) {
	c := p.config()
	c.Metadata.Retry.Max = 3 // run tries again
	first, err := Connect(p.brokers, c)
	if err != nil {
		return nil, err
	}
	if err := first.Close(); err != nil {
		return nil, fmt.Errorf("connect to Kafka: %w", err)
	}
	c = p.config()
	dial := &counting{inner: &net.Dialer{Timeout: c.Net.DialTimeout, KeepAlive: c.Net.KeepAlive}, lost: func() { p.away.examine(examineSoon) }}
	if c.Net.Proxy.Enable {
		dial.inner = c.Net.Proxy.Dialer
	}
	c.Net.Proxy.Enable, c.Net.Proxy.Dialer = true, dial
	client, err := Connect(p.brokers, c)
	if err != nil {
		return nil, err
	}
	async, err := sarama.NewAsyncProducerFromClient(client)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start Kafka producer: %w", err), client.Close())
	}
	return &connection{client: client, async: async}, nil
}

// serve hands out conn until Close, then flushes and closes it.
func (p *Producer) serve(conn *connection) {
	var results sync.WaitGroup
	results.Go(func() {
		for m := range conn.async.Successes() {
			p.confirmed.Add(1)
			m.Metadata.(*pending).settle(nil)
		}
	})
	results.Go(func() {
		for e := range conn.async.Errors() {
			m := e.Msg.Metadata.(*pending)
			err := e.Err
			if errors.Is(err, sarama.ErrSASLAuthenticationFailed) || errors.Is(err, sarama.ErrTopicAuthorizationFailed) || errors.Is(err, sarama.ErrClusterAuthorizationFailed) {
				err = asUser(conn.client.Config(), err)
			}
			p.away.examine(examineSoon)
			m.sink.away.examine(examineSoon)
			m.settle(m.sink.publishError(err, m.size))
		}
	})
	p.mu.Lock()
	p.conn, p.lastErr = conn, nil
	close(p.connected)
	p.mu.Unlock()

	<-p.ending
	p.mu.Lock()
	p.conn, p.connected = nil, make(chan struct{})
	p.mu.Unlock()
	conn.users.Wait()
	conn.async.AsyncClose() // flushes; the results end when all are answered
	results.Wait()
	if err := conn.client.Close(); err != nil && !errors.Is(err, sarama.ErrClosedClient) {
		p.o.Logger.Warn("close Kafka client", "error", err)
	}
}

// publishError names what sarama reports of a record of size bytes. A broker that finds a batch too large refuses all its records, of which only one that
// is too large alone will never pass: the others come in another batch when they are sent again.
func (t *Sink) publishError(err error, size int64) error {
	if limit := t.maxMessageBytes.Load(); errors.Is(err, sarama.ErrMessageSizeTooLarge) && limit > 0 && size > limit {
		return fmt.Errorf("%w: %d bytes with attributes, the topic takes %d", ErrTooLarge, size, limit)
	}
	return fmt.Errorf("%w: topic %s: %w", ErrUnconfirmed, t.name, err)
}

// acquire returns the connection, waiting for it until ctx ends. The caller calls users.Done.
func (p *Producer) acquire(ctx context.Context) (*connection, error) {
	for {
		p.mu.Lock()
		conn, connected := p.conn, p.connected
		if conn != nil {
			conn.users.Add(1)
			p.mu.Unlock()
			return conn, nil
		}
		p.mu.Unlock()
		select {
		case <-connected:
		case <-p.done:
			return nil, fmt.Errorf("%w: the producer is closed", ErrBusy)
		case <-ctx.Done():
			p.mu.Lock()
			lastErr := p.lastErr // of now: the first attempt may have ended meanwhile
			p.mu.Unlock()
			if lastErr != nil {
				return nil, fmt.Errorf("%w: %w", ErrBusy, lastErr)
			}
			return nil, fmt.Errorf("%w: no connection yet", ErrBusy)
		}
	}
}

// Close stops taking events, waits until those handed over are answered, and closes the connection. When ctx ends first it returns
// its error, and what is still unanswered may or may not be written.
func (p *Producer) Close(ctx context.Context) error {
	p.end()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close Kafka producer: %w", ctx.Err())
	}
}

// Sink returns the publisher for one topic, the same for the same topic.
func (p *Producer) Sink(topic string) *Sink {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.sinks[topic]
	if t == nil {
		t = &Sink{p: p, name: topic}
		t.away.p, t.away.check, t.away.what = p, t.writable, topic
		p.sinks[topic] = t
	}
	return t
}

// Sink publishes to one topic.
type Sink struct {
	p    *Producer
	name string
	away gate

	maxMessageBytes atomic.Int64 // of the topic, as found last; 0: not found yet

	mu         sync.Mutex
	durability string
	found      time.Time
}

// Name returns the topic's name.
func (t *Sink) Name() string { return t.name }

// batch gathers the answers of one Publish.
type batch struct {
	mu   sync.Mutex
	errs []error // nil once nobody waits any more
	open int
	done chan struct{}
}

// settle notes the answer for an event.
func (b *batch) settle(index int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.errs != nil {
		b.errs[index] = err
	}
	if b.open--; b.open == 0 {
		close(b.done)
	}
}

// piece is records that were allocated together: what they have in common is held until the last of them is settled.
type piece struct {
	open atomic.Int64 // records that are not settled
	held int64        // bytes beside those of the records' own
}

// pending is one event of a batch between Input and its answer.
type pending struct {
	outgoing
	sink  *Sink
	batch *batch
	piece *piece
	index int
	size  int64
}

const (
	pendingBytes = int64(unsafe.Sizeof(pending{}))
	headerBytes  = int64(unsafe.Sizeof(sarama.RecordHeader{}))
	// pieceBytes is from where on no further record is put to a piece.
	pieceBytes = 256 << 10
)

func (m *pending) settle(err error) {
	// The record's bytes only, as others of the same piece can wait for long: sarama still looks at its own fields after it gave a message back.
	m.message.Key, m.message.Value, m.message.Headers = nil, nil, nil
	m.key, m.value = nil, nil
	size := m.size
	if m.piece.open.Add(-1) == 0 {
		size += m.piece.held
	}
	m.sink.p.buffer.Release(size)
	m.batch.settle(m.index, err)
}

// Publish writes events and waits until each is acknowledged by all in-sync replicas, at most for the producer's timeout and ctx. An error
// wraps [ErrBusy] (never handed to Kafka), [ErrTooLarge], or [ErrUnconfirmed] (may still be written; a handed-over record cannot be withdrawn).
//
// As long as it is known that no broker can be reached, that the topic is gone, or that none of its partitions has the replicas in sync that it asks for, nothing is handed over: events
// wait, and are busy in the end.
func (t *Sink) Publish(ctx context.Context, events []*event.Event) []error {
	if len(events) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.p.o.Timeout)
	defer cancel()
	b := &batch{errs: make([]error, len(events)), open: len(events) + 1, done: make(chan struct{})}
	conn, err := t.p.acquire(ctx)
	if err == nil {
		if err = cmp.Or(t.p.away.pass(ctx), t.away.pass(ctx)); err != nil {
			conn.users.Done()
		}
	}
	if err != nil {
		for i := range b.errs {
			b.errs[i] = err
		}
		return b.errs
	}
	for i := range b.errs {
		b.errs[i] = ErrUnconfirmed // until it is answered
	}
	c := encoder{topic: t.name, left: len(events), hop: tracecontext.Hop(ctx)}
	for i := 0; i < len(events); {
		i += t.send(ctx, conn, &c, b, i, events[i:])
	}
	conn.users.Done()
	b.mu.Lock()
	b.open--
	finished := b.open == 0
	b.mu.Unlock()
	if !finished {
		select {
		case <-b.done:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) { // and not a caller who went away
				t.p.away.examine(examineEvery)
				t.away.examine(examineEvery)
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	errs := b.errs
	b.errs = nil // one event that waits for long is not to hold the answers of all
	if trouble := cmp.Or(t.p.away.why(), t.away.why()); trouble != nil {
		for i, err := range errs {
			if err == ErrUnconfirmed { //nolint:errorlint // the very value: not answered
				errs[i] = fmt.Errorf("%w: %w", ErrUnconfirmed, trouble)
			}
		}
	}
	return errs
}

// send hands some of the events over, of which the first is the batch's with this index, or settles them with the reason why not. It returns how many.
func (t *Sink) send(ctx context.Context, conn *connection, c *encoder, b *batch, index int, events []*event.Event) (taken int) {
	room := make([]pending, min(len(events), perPiece))
	pc := &piece{held: int64(len(room)) * pendingBytes}
	used, sum := 0, int64(0)
	for taken < len(room) && sum < pieceBytes {
		m, i := &room[used], index+taken
		err := c.encode(&m.outgoing, events[taken])
		taken++
		m.size = int64(m.message.ByteSize(2))
		switch {
		case err != nil:
			b.settle(i, fmt.Errorf("%w: %w", ErrBusy, err))
			m.outgoing = outgoing{}
		case m.size > MaxMessageBytes:
			b.settle(i, fmt.Errorf("%w: %d bytes with attributes, at most %d", ErrTooLarge, m.size, MaxMessageBytes))
			m.outgoing = outgoing{}
		default:
			m.sink, m.batch, m.piece, m.index = t, b, pc, i
			m.message.Metadata = m
			sum += m.size
			pc.held += headerBytes * int64(len(m.message.Headers))
			used++
		}
	}
	if used == 0 {
		return taken
	}
	if err := t.p.buffer.Acquire(ctx, sum+pc.held); err != nil {
		for i := range room[:used] {
			b.settle(room[i].index, fmt.Errorf("%w: %d bytes wait for Kafka already", ErrBusy, t.p.o.Buffer))
		}
		return taken
	}
	pc.open.Store(int64(used))
	for i := range room[:used] {
		m := &room[i]
		select {
		case conn.async.Input() <- &m.message: // as a rule there is room, and asking for one thing alone is cheaper
			continue
		default:
		}
		select {
		case conn.async.Input() <- &m.message:
		case <-ctx.Done():
			m.settle(fmt.Errorf("%w: %w", ErrBusy, ctx.Err()))
		}
	}
	return taken
}

// Ready reports whether the topic could be seen, with its partitions, and takes records as large as ours may be. The error says what is missing.
func (t *Sink) Ready(ctx context.Context) error {
	conn, err := t.p.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.users.Done()
	if err := conn.client.RefreshMetadata(t.name); err != nil {
		return fmt.Errorf("topic %s: %w", t.name, err)
	}
	parts, err := conn.client.WritablePartitions(t.name)
	if err == nil && len(parts) == 0 {
		err = errors.New("no partition can be written")
	}
	if err != nil {
		return fmt.Errorf("topic %s: %w", t.name, err)
	}
	t.findSettings(conn)
	if limit := t.maxMessageBytes.Load(); limit > 0 && limit < MaxMessageBytes {
		return fmt.Errorf("topic %s: its max.message.bytes is %d, below %d, which events may have: raise it", t.name, limit, MaxMessageBytes)
	}
	return nil
}

// The values of [Sink.Durability].
const (
	DurabilityReplicated = "replicated" // an acknowledged event lies on at least two brokers
	DurabilitySingle     = "single"     // it may lie on one only
)

// Durability says what an acknowledgement means on this topic, as found in its settings: replicated where min.insync.replicas, and each partition's number of
// replicas, are at least 2, since acks=all waits for those; single otherwise, or as long as it could not be found. It never blocks: [Sink.Ready] finds it, and it is found again once a minute in the background.
func (t *Sink) Durability() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.found) >= time.Minute {
		t.found = time.Now()
		if conn := t.p.current(); conn != nil {
			go func() {
				defer conn.users.Done()
				t.findSettings(conn)
			}()
		}
	}
	if t.durability == "" {
		return DurabilitySingle
	}
	return t.durability
}

func (t *Sink) findSettings(conn *connection) {
	n, limit, err := topicLimits(conn.client, t.name)
	if err != nil {
		t.p.o.Logger.Warn("cannot find the topic's settings: what was found last holds", "topic", t.name, "error", err)
		return
	}
	if t.maxMessageBytes.Swap(int64(limit)); limit < MaxMessageBytes {
		t.p.o.Logger.Error("the topic refuses large events: raise its max.message.bytes", "topic", t.name, "max.message.bytes", limit, "needed", MaxMessageBytes)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.found, t.durability = time.Now(), DurabilitySingle
	if n >= 2 {
		t.durability = DurabilityReplicated
	}
}

// current returns the connection where there is one. The caller calls users.Done.
func (p *Producer) current() *connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		p.conn.users.Add(1)
	}
	return p.conn
}
