package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

// outage is why events are not confirmed, as long as it lasts.
type outage struct {
	err   error
	holds bool          // no event can be written, so none is handed over
	ended chan struct{} // closed when it ended, or is another
}

const (
	examineEvery = 5 * time.Second        // how often it is looked, at most, where events are late
	examineSoon  = 250 * time.Millisecond // likewise where something was refused
	tellEvery    = time.Minute            // how often it is logged, at most, that the reason has other words
)

// gate finds out why events are not confirmed, and holds further ones back as long as it is known that they cannot be written. sarama tries again and again without telling, so a password that
// is refused now, a certificate that ended, a topic that is gone or replicas that are missing would look like any outage; and what it was handed can no longer be called never written.
type gate struct {
	p *Producer
	// check asks the brokers, over connections of its own; holds is whether its error goes for every event. It takes some seconds at most.
	check func() (holds bool, err error)
	what  string // for the log

	now  atomic.Pointer[outage] // nil for none
	told time.Time              // when the log said last what it is; of run alone

	mu        sync.Mutex
	examining bool
	examined  time.Time
}

// pass waits until nothing holds events back. Its error, once ctx or the producer ends, wraps ErrBusy and says what did.
func (g *gate) pass(ctx context.Context) error {
	for {
		o := g.now.Load()
		if o == nil || !o.holds {
			return nil
		}
		select {
		case <-o.ended:
		case <-g.p.ending:
			return fmt.Errorf("%w: the producer is closed", ErrBusy)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrBusy, o.err)
		}
	}
}

// examine looks in the background, unless it does already or did within that time, and goes on as long as there is an outage.
func (g *gate) examine(every time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.examining || time.Since(g.examined) < every {
		return
	}
	select {
	case <-g.p.ending:
		return
	default:
	}
	g.examining = true
	go g.run()
}

func (g *gate) run() {
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.examining, g.examined = false, time.Now()
	}()
	confirmed := g.p.confirmed.Load()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		holds, err := g.check()
		before := confirmed
		if confirmed = g.p.confirmed.Load(); err != nil && holds && confirmed != before && g.what == "" {
			err = nil // events were confirmed since the last look: only the new connection was refused
		}
		g.set(holds, err)
		if err == nil {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-g.p.ending:
			timer.Stop()
			return // which pass sees, too
		case <-timer.C:
		}
	}
}

// set notes what check found, and logs what changed.
func (g *gate) set(holds bool, err error) {
	before := g.now.Load()
	log := g.p.o.Logger.With("brokers", g.p.brokers)
	if g.what != "" {
		log = log.With("topic", g.what)
	}
	switch {
	case err == nil && before == nil:
		return
	case err == nil:
		g.now.Store(nil)
		log.Info("events can be written again")
	case before != nil && before.holds == holds && (before.err.Error() == err.Error() || time.Since(g.told) < tellEvery):
		// Brokers are asked in no order, and an error can name a port of ours: the words may differ each time.
		g.now.Store(&outage{err: err, holds: holds, ended: before.ended})
		return
	default:
		g.told = time.Now()
		g.now.Store(&outage{err: err, holds: holds, ended: make(chan struct{})})
		if holds {
			log.Error("events cannot be written: they are held back, and answered busy", "error", err)
		} else {
			log.Error("some events cannot be written, and are not confirmed", "error", err)
		}
	}
	if before != nil {
		close(before.ended)
	}
}

// last returns what was found last, a nil error for nothing.
func (g *gate) last() (holds bool, err error) {
	if o := g.now.Load(); o != nil {
		return o.holds, o.err
	}
	return false, nil
}

// why returns what was found last, nil for nothing.
func (g *gate) why() error {
	_, err := g.last()
	return err
}

// probe returns settings for a look, which ends soon.
func (p *Producer) probe() *sarama.Config {
	c := p.config()
	c.Metadata.Retry.Max, c.Net.ReadTimeout, c.Net.WriteTimeout = 0, c.Net.DialTimeout, c.Net.DialTimeout
	return c
}

// addresses returns where brokers may be: those that were named, and those that the connection knows of, since the named ones need not be all, nor be there.
func (p *Producer) addresses() []string {
	all := slices.Clone(p.brokers)
	if conn := p.current(); conn != nil {
		defer conn.users.Done()
		for _, b := range conn.client.Brokers() {
			if !slices.Contains(all, b.Addr()) {
				all = append(all, b.Addr())
			}
		}
	}
	return all
}

// reachable is whether some broker lets us in.
func (p *Producer) reachable() (holds bool, err error) {
	client, err := Connect(p.addresses(), p.probe())
	if err != nil {
		return true, err
	}
	return false, client.Close()
}

// writable is whether the topic is there and has the replicas in sync that acks=all asks for. Where no broker can be reached it stays as it was: that is another's to find out.
func (t *Sink) writable() (holds bool, err error) {
	client, err := Connect(t.p.addresses(), t.p.probe())
	if err != nil {
		return t.away.last() // reachable tells it
	}
	defer func() { _ = client.Close() }() // nothing was sent
	if err := client.RefreshMetadata(t.name); errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		return true, fmt.Errorf("topic %s does not exist, or was deleted: run provision, which makes it", t.name)
	} else if errors.Is(err, sarama.ErrTopicAuthorizationFailed) {
		return true, fmt.Errorf("topic %s: %w", t.name, asUser(client.Config(), err))
	}
	all, err := client.Partitions(t.name)
	if err != nil {
		return t.away.last() // an outage of brokers, which passes or which reachable tells
	}
	led, err := client.WritablePartitions(t.name)
	if err != nil {
		return t.away.last() // as above
	}
	least := t.insync(client)
	var bad []int32
	example := ""
	for _, p := range all {
		replicas, _ := client.Replicas(t.name, p) // none where they are not known
		insync, _ := client.InSyncReplicas(t.name, p)
		need := min(least, len(replicas))
		switch {
		case !slices.Contains(led, p):
			bad = append(bad, p)
			example = fmt.Sprintf("partition %d has no leader; its replicas are on brokers %v", p, replicas)
		case len(insync) < need:
			bad = append(bad, p)
			example = fmt.Sprintf("partition %d is in sync on brokers %v of %v, and min.insync.replicas is %d", p, insync, replicas, least)
		}
	}
	if len(bad) == 0 {
		return false, nil
	}
	return len(bad) == len(all), fmt.Errorf("topic %s: %d of its %d partitions take no events: %s; start the brokers that are missing", t.name, len(bad), len(all), example)
}

// insync returns the topic's min.insync.replicas; as it was found last where it cannot be asked for, 1 where it never was.
func (t *Sink) insync(client sarama.Client) int {
	if admin, err := sarama.NewClusterAdminFromClient(client); err == nil { // closing it would close the client
		if config, err := topicConfig(admin, t.name); err == nil {
			if n, err := strconv.Atoi(config["min.insync.replicas"]); err == nil {
				return n
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.durability == DurabilityReplicated {
		return 2
	}
	return 1
}

// counting dials as inner does and knows how many connections are open.
type counting struct {
	inner interface {
		Dial(network, addr string) (net.Conn, error)
	}
	open atomic.Int64
	lost func() // is called where none is open and none can be made
}

// Dial implements proxy.Dialer of golang.org/x/net, as sarama wants it.
func (d *counting) Dial(network, addr string) (net.Conn, error) {
	conn, err := d.inner.Dial(network, addr)
	if err != nil {
		if d.open.Load() == 0 {
			d.lost()
		}
		return nil, err
	}
	d.open.Add(1)
	return &counted{Conn: conn, closed: sync.OnceFunc(func() { d.open.Add(-1) })}, nil
}

// counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn
	closed func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.closed()
	return c.Conn.Close()
}
