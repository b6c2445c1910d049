// Package proxy stands between functions and servers, and fails as networks and servers do: [TCP] refuses, hangs, cuts and slows connections down; [Search] answers for Elasticsearch, in
// part or in whole.
//
// A proxy that passes changes nothing. What it does when a connection fails is the same for the same seed and the same traffic.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Mode is what a TCP proxy does.
type Mode int

// What a TCP proxy does with connections, those that are open as well as new ones.
const (
	Pass   Mode = iota
	Refuse      // nothing listens, open connections are reset
	Hang        // connections stand, new ones are accepted, and no byte passes in either direction
	Cut         // each connection is reset in the middle of one of its next answers
	Slow        // each piece of an answer or a request waits, and then passes at a low rate
)

// Slowness is what Slow means.
const (
	slowLatency = 150 * time.Millisecond
	slowRate    = 512 << 10 // bytes per second and connection
)

// cutWithin is how many pieces of answers pass before a cut, at most.
const cutWithin = 6

// TCP is a proxy for connections. It is safe for concurrent use.
type TCP struct {
	address, target string

	mu       sync.Mutex
	mode     Mode
	changed  chan struct{} // closed when the mode changes
	listener net.Listener
	pairs    map[*pair]struct{}
	random   *rand.Rand
	closed   bool

	running sync.WaitGroup

	// What the proxy has done, since it began or Forget was called: Cuts counts connections that were cut, Refused those that were open and reset, Away those that found no server, Held and
	// Slowed pieces of requests and answers that were kept for as long as Hang lasted, and that waited.
	Cuts, Refused, Away, Held, Slowed atomic.Int64
}

// Forget sets all counts to 0.
func (p *TCP) Forget() {
	for _, n := range []*atomic.Int64{&p.Cuts, &p.Refused, &p.Away, &p.Held, &p.Slowed} {
		n.Store(0)
	}
}

// NewTCP listens on address and passes connections to target. Close must follow.
func NewTCP(ctx context.Context, address, target string, seed uint64) (*TCP, error) {
	p := &TCP{address: address, target: target, changed: make(chan struct{}), pairs: map[*pair]struct{}{}, random: rand.New(rand.NewPCG(seed, 1))}
	return p, p.listen(ctx)
}

// Address is where clients connect to.
func (p *TCP) Address() string { return p.address }

func (p *TCP) listen(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", p.address)
	if err != nil {
		return fmt.Errorf("proxy of %s: %w", p.target, err)
	}
	p.mu.Lock()
	p.listener, p.address = l, l.Addr().String() // the first time, a port may have been left to the system
	p.mu.Unlock()
	p.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed: by Set or Close
			}
			p.running.Go(func() { p.serve(conn) })
		}
	})
	return nil
}

// Set changes what the proxy does, at once. Going back to Pass lets hanging bytes go on.
func (p *TCP) Set(ctx context.Context, mode Mode) error {
	p.mu.Lock()
	was := p.mode
	p.mode = mode
	close(p.changed)
	p.changed = make(chan struct{})
	listener := p.listener
	var open []*pair
	if mode == Refuse {
		for c := range p.pairs {
			open = append(open, c)
		}
	}
	p.mu.Unlock()
	switch {
	case mode == Refuse && was != Refuse:
		err := listener.Close()
		for _, c := range open {
			c.reset()
			p.Refused.Add(1)
		}
		return err
	case mode != Refuse && was == Refuse:
		return p.listen(ctx)
	}
	return nil
}

// Close ends the proxy and all its connections.
func (p *TCP) Close() error {
	p.mu.Lock()
	p.closed = true
	listener := p.listener
	for c := range p.pairs {
		c.reset()
	}
	p.mu.Unlock()
	err := listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	p.running.Wait()
	return err
}

// pair is a client's connection and the one to the server.
type pair struct {
	client, server net.Conn
	once           sync.Once
	gone           chan struct{}
	left           int // pieces of answers before a cut
}

// reset ends both connections without a farewell.
func (c *pair) reset() {
	c.once.Do(func() {
		close(c.gone)
		for _, conn := range []net.Conn{c.client, c.server} {
			if t, ok := conn.(*net.TCPConn); ok {
				_ = t.SetLinger(0) // it is closed all the same
			}
			_ = conn.Close() // broken on purpose
		}
	})
}

func (p *TCP) serve(client net.Conn) {
	server, err := new(net.Dialer).Dial("tcp", p.target)
	if err != nil {
		p.Away.Add(1)
		if t, ok := client.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // as the server would have refused it
		}
		_ = client.Close() // nothing was sent
		return
	}
	c := &pair{client: client, server: server, gone: make(chan struct{})}
	p.mu.Lock()
	if p.closed || p.mode == Refuse {
		p.mu.Unlock()
		c.reset()
		return
	}
	c.left = 1 + p.random.IntN(cutWithin)
	p.pairs[c] = struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(c, client, server, false) })
	both.Go(func() { p.copy(c, server, client, true) })
	both.Wait()
	c.reset()
	p.mu.Lock()
	delete(p.pairs, c)
	p.mu.Unlock()
}

// copy passes bytes in one direction until either side ends.
func (p *TCP) copy(c *pair, from, to net.Conn, answers bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			pass, alive := p.gate(c, n, answers)
			if _, werr := to.Write(buffer[:pass]); werr != nil || !alive {
				c.reset()
				return
			}
		}
		if err != nil {
			if t, ok := to.(*net.TCPConn); ok && t.CloseWrite() == nil {
				return // the other direction may have bytes to come
			}
			c.reset()
			return
		}
	}
}

// gate holds n bytes up as the mode says. It returns how many may pass, and whether the connection lives on.
func (p *TCP) gate(c *pair, n int, answer bool) (pass int, alive bool) {
	for held := false; ; held = true {
		p.mu.Lock()
		mode, changed := p.mode, p.changed
		cut := false
		if mode == Cut && answer {
			c.left--
			cut = c.left <= 0
		}
		p.mu.Unlock()
		switch mode {
		case Hang:
			if !held {
				p.Held.Add(1)
			}
			select {
			case <-changed:
				continue
			case <-c.gone:
				return 0, false
			}
		case Slow:
			p.Slowed.Add(1)
			timer := time.NewTimer(slowLatency + time.Duration(n)*time.Second/slowRate)
			select {
			case <-timer.C:
			case <-changed:
				timer.Stop()
			case <-c.gone:
				timer.Stop()
				return 0, false
			}
		case Cut:
			if cut {
				p.Cuts.Add(1)
				return n / 2, false
			}
		case Refuse:
			return 0, false
		case Pass:
		}
		return n, true
	}
}
