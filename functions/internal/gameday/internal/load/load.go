// Package load sends events of known identity to collect at a steady pace, as a careful producer does, and keeps every answer: what no receipt calls durable is sent again under the
// same identity until one does, or until its time is over.
//
// The pace does not wait for answers: what is due while collect is away is sent late, not left out. What is sent is the same for the same source and number; when, and what is sent
// again, depends on what goes wrong.
package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Status is what an answer said of an event.
type Status int

// The answers. The first two are final.
const (
	NoAnswer Status = iota // the connection broke, the time was over, or the answer held no receipt for it
	Accepted
	DeadLettered
	Busy
	Unconfirmed
	Statuses = iota // how many there are
)

// String returns the status as receipts spell it.
func (s Status) String() string {
	return [...]string{"no answer", "accepted", "dead_lettered", "busy", "unconfirmed"}[s]
}

func status(s string) Status {
	for _, one := range []Status{Accepted, DeadLettered, Busy, Unconfirmed} {
		if one.String() == s {
			return one
		}
	}
	return NoAnswer
}

// Event is one event to send.
type Event struct {
	// RootID is its identity, "" where only the receipt tells it.
	RootID string
	Body   []byte // the JSON form
}

// Item is what became of one event.
type Item struct {
	RootID string
	// Final is Accepted or DeadLettered, or NoAnswer where no receipt said either.
	Final Status
	// Answers counts all that was answered.
	Answers [Statuses]int
	// Others are identities that further receipts gave it: an event without one of its own gets a new one each time.
	Others []string

	given bool // RootID is the event's own
}

// Options say what to send, and how.
type Options struct {
	URL      string // of collect's JSON endpoint
	Count    int    // events, at least
	Rate     float64
	Batch    int // events in a request
	Workers  int // requests at a time
	Make     func(i int) Event
	Patience time.Duration // for one batch, from its first send
	// Until, where it is not nil, makes the load go on beyond Count until it is closed.
	Until <-chan struct{}
	// Abandon says for a batch that its first sends are broken off: after this share of the bytes, 1 being all of them, before the answer. Nil and 0 are never.
	Abandon func(batch int) float64
}

// Load is a load under way.
type Load struct {
	o      Options
	client *http.Client

	mu    sync.Mutex
	items []Item
	sent  int         // events whose first send has begun
	due   []time.Time // by batch, zero before it is due
	done  []bool      // by batch
	wrong []string

	finished chan struct{}
}

// Start begins to send. The load ends by itself; ctx ends it before.
func Start(ctx context.Context, o Options) *Load {
	l := &Load{
		o: o, finished: make(chan struct{}),
		client: &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: o.Workers}},
	}
	queue := make(chan batch, backlog)
	var working sync.WaitGroup
	for range o.Workers {
		working.Go(func() {
			for b := range queue {
				l.send(ctx, b)
			}
		})
	}
	go func() {
		defer close(l.finished)
		defer l.client.CloseIdleConnections()
		defer working.Wait()
		defer close(queue)
		begin := time.Now()
		for n, next := 0, 0; next < o.Count || !closed(o.Until); n++ {
			at := begin.Add(time.Duration(float64(next) / o.Rate * float64(time.Second)))
			if !pause(ctx, time.Until(at)) {
				return
			}
			b := batch{number: n, from: next, to: next + o.Batch}
			if next < o.Count {
				b.to = min(b.to, o.Count)
			}
			next = b.to
			l.mu.Lock()
			l.items = append(l.items, make([]Item, b.to-b.from)...)
			l.due, l.done = append(l.due, at), append(l.done, false)
			l.mu.Unlock()
			select {
			case queue <- b:
			case <-ctx.Done():
				return
			}
		}
	}()
	return l
}

// backlog is how many batches may be due while all that are under way wait for their answers.
const backlog = 1 << 14

// batch is the events from..to-1.
type batch struct{ number, from, to int }

// closed says that nothing holds the end of the load up.
func closed(until <-chan struct{}) bool {
	if until == nil {
		return true
	}
	select {
	case <-until:
		return true
	default:
		return false
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Done is closed when every event has its final receipt, or was given up.
func (l *Load) Done() <-chan struct{} { return l.finished }

// Progress returns how many events were sent, and how many have a final receipt.
func (l *Load) Progress() (sent, final int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.items {
		if l.items[i].Final != NoAnswer {
			final++
		}
	}
	return l.sent, final
}

// Waiting returns how many batches that were due by then have not come to their end.
func (l *Load) Waiting(then time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for b, at := range l.due {
		if !at.IsZero() && !at.After(then) && !l.done[b] {
			n++
		}
	}
	return n
}

// Result returns what became of each event, and what was wrong with answers. The load must be done.
func (l *Load) Result() (items []Item, wrong []string) {
	<-l.finished
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.items, l.wrong
}

// retryAfter is the pause before a batch is sent again; collect asks for a second.
const retryAfter = 500 * time.Millisecond

// send sends one batch until nothing of it is open.
func (l *Load) send(ctx context.Context, b batch) {
	from, to := b.from, b.to
	events := make([]Event, 0, to-from)
	open := make([]int, 0, to-from)
	for i := from; i < to; i++ {
		events, open = append(events, l.o.Make(i)), append(open, i)
	}
	l.mu.Lock()
	l.sent += len(open)
	for n, i := range open {
		l.items[i].RootID, l.items[i].given = events[n].RootID, events[n].RootID != ""
	}
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, l.o.Patience)
	defer cancel()
	if l.o.Abandon != nil {
		if share := l.o.Abandon(b.number); share > 0 {
			if err := l.abandon(ctx, body(events, open, from), share); err == nil {
				l.settle(open, nil)
			}
		}
	}
	for {
		receipts, err := l.post(ctx, body(events, open, from))
		if err != nil {
			receipts = nil
		}
		open = l.settle(open, receipts)
		if len(open) == 0 || !pause(ctx, retryAfter) {
			break
		}
	}
	l.mu.Lock()
	l.done[b.number] = true
	l.mu.Unlock()
}

func body(events []Event, open []int, from int) []byte {
	var b bytes.Buffer
	for n, i := range open {
		b.WriteByte("[,"[min(n, 1)])
		b.Write(events[i-from].Body)
	}
	b.WriteByte(']')
	return b.Bytes()
}

type receipt struct {
	Index  int    `json:"index"`
	RootID string `json:"root_id"`
	Status string `json:"status"`
}

func (l *Load) post(ctx context.Context, body []byte) ([]receipt, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.o.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // only read from
	var answer struct {
		Receipts []receipt `json:"receipts"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	return answer.Receipts, nil
}

// settle notes what a request was answered, and returns the events that are still open.
func (l *Load) settle(sent []int, receipts []receipt) (open []int) {
	got := make([]receipt, len(sent))
	for _, r := range receipts {
		if r.Index >= 0 && r.Index < len(sent) {
			got[r.Index] = r
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, i := range sent {
		it, s, id := &l.items[i], status(got[n].Status), got[n].RootID
		switch {
		case id == "" || id == it.RootID:
		case it.given:
			// As where one event makes a request unreadable as a whole: nothing was said of this one.
			l.wrong = append(l.wrong, fmt.Sprintf("event %s was answered for (%s) under the root id %s", it.RootID, s, id))
			s = NoAnswer
		default: // each dead letter of the top level has a new identity
			if it.RootID != "" {
				it.Others = append(it.Others, it.RootID)
			}
			it.RootID = id
		}
		it.Answers[s]++
		if s == Accepted || s == DeadLettered {
			it.Final = s
			continue
		}
		open = append(open, i)
	}
	return open
}

// abandon sends a share of a request over a connection of its own, and breaks off before the answer.
func (l *Load) abandon(ctx context.Context, body []byte, share float64) error {
	u, err := url.Parse(l.o.URL)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", u.Path, u.Host, len(body))
	_, err = io.WriteString(conn, head+string(body[:int(share*float64(len(body)))]))
	return errors.Join(err, conn.Close())
}
