// Package load makes the events of the figures and sends them to a collector, at a pace or as fast as it answers, over connections that speak just enough HTTP: what the sender costs, on
// the same processors, is not what is measured.
//
// Events are taxi trips of about 1 KB in the JSON form, each with an identity of its own, that the shipped contract accepts. What is answered 503 is sent again under its identity; any other
// answer than 200 for every event ends a load with an error: figures of a load that lost some are none.
package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Source of all events; their ids are <name>/<number of ten digits>.
const Source = "/figures"

// ID returns the id of an event.
func ID(name string, i int) string { return fmt.Sprintf("%s/%010d", name, i) }

// words make notes that compress about as text does.
var words = strings.Fields("airport bridge cash corner credit curb detour door early east ferry flat gate hotel idle island jam lane late left light long meter mile night north park plaza " +
	"rain red ride rush school short snow south stand station street tip toll traffic tunnel turn uptown wait west wet yard zone")

// variants is how many trips differ in more than their identity.
const variants = 509

// Payloads are the trips' payloads, each of about 850 bytes.
var Payloads = sync.OnceValue(func() [][]byte {
	all := make([][]byte, variants)
	seed := uint32(1)
	next := func(n int) int {
		seed = seed*1664525 + 1013904223
		return int(seed>>8) % n
	}
	for i := range all {
		fare := 300 + next(6000)
		b := fmt.Appendf(nil, `{"VendorID":%d,"tpep_pickup_datetime":"2023-01-%02dT%02d:%02d:%02d","tpep_dropoff_datetime":"2023-01-31T23:59:%02d","passenger_count":%d.0,`+
			`"trip_distance":%d.%02d,"RatecodeID":1.0,"store_and_fwd_flag":"N","PULocationID":%d,"DOLocationID":%d,"payment_type":%d,"fare_amount":%d.%02d,`+
			`"extra":%d.5,"mta_tax":0.5,"tip_amount":%d.%02d,"tolls_amount":0.0,"improvement_surcharge":1.0,"total_amount":%d.%02d,"congestion_surcharge":2.5,"airport_fee":0.0,"note":"`,
			1+next(2), 1+next(30), next(24), next(60), next(60), next(60), 1+next(4), next(20), next(100), 1+next(263), 1+next(263), 1+next(2), fare/100, fare%100,
			next(3), next(9), next(100), fare/100+8, fare%100)
		for len(b) < 845 {
			b = append(append(b, words[next(len(words))]...), ' ')
		}
		all[i] = append(b, `"}`...)
	}
	return all
})

// Body appends events in the JSON form, from number i on: one as it is, several as an array. All happened at the time, so that one index holds them.
func Body(b []byte, name, at string, i, n int) []byte {
	if n > 1 {
		b = append(b, '[')
	}
	for j := i; j < i+n; j++ {
		if j > i {
			b = append(b, ',')
		}
		b = append(b, `{"event_type":"YellowTaxiTripRecords","schema_version":"0-0-1","source":"`+Source+`","id":"`...)
		b = append(append(b, name...), '/')
		start := len(b)
		b = append(b, "0000000000"...)
		for k, v := len(b)-1, j; v > 0 && k >= start; k, v = k-1, v/10 {
			b[k] = byte('0' + v%10)
		}
		b = append(append(b, `","time":"`...), at...)
		b = append(append(b, `","payload":`...), Payloads()[j%variants]...)
		b = append(b, '}')
	}
	if n > 1 {
		b = append(b, ']')
	}
	return b
}

// Options say what to send.
type Options struct {
	Address     string // host:port
	Path        string
	Name        string // of the load, part of the events' ids
	First       int    // number of the first event
	Events      int
	Batch       int // events in a request
	Connections int // requests at a time
	// Rate is how many events are due each second; 0 is as fast as they are answered. What is due while no connection is free is sent late, not left out.
	Rate float64
	// Answered is told of each request's first event and the time of its answer; it may be nil, and is called concurrently.
	Answered func(first int, at time.Time)
	// Receipts says that each event must be called accepted in the answer.
	Receipts bool
}

// Result is what a load was.
type Result struct {
	Events int // answered
	Took   time.Duration
	// Late is the most that a request was sent behind its time.
	Late time.Duration
	// Resent is how many requests were answered 503 and sent again, which can put their events into Kafka twice.
	Resent int
}

// Send sends the events and returns once all are answered; the first error ends it.
func Send(ctx context.Context, o Options) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type request struct {
		first, n int
		due      time.Time
	}
	queue := make(chan request, o.Connections)
	at := time.Now().UTC().Format(time.RFC3339)
	var done, late, resent atomic.Int64
	var workers sync.WaitGroup
	began := time.Now()
	for range o.Connections {
		workers.Go(func() {
			if err := func() error {
				c := connection{address: o.Address}
				defer c.close()
				var body, message, answer []byte
				var err error
				for q := range queue {
					body = Body(body[:0], o.Name, at, q.first, q.n)
					message = fmt.Appendf(message[:0], "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", o.Path, o.Address, len(body))
					message = append(message, body...)
					if behind := int64(time.Since(q.due)); o.Rate > 0 && behind > late.Load() {
						late.Store(behind) // of two at once the larger may be lost: it is a hint
					}
					answer, err = c.send(ctx, message, answer[:0])
					for again := 0; errors.Is(err, errBusy) && again < resends && pause(ctx, resendAfter); again++ {
						resent.Add(1)
						answer, err = c.send(ctx, message, answer[:0])
					}
					if err != nil {
						return err
					}
					if n := bytes.Count(answer, []byte(`"status":"accepted"`)); o.Receipts && n != q.n {
						return fmt.Errorf("%d of %d events were accepted: %.300s", n, q.n, answer)
					}
					if o.Answered != nil {
						o.Answered(q.first, time.Now())
					}
					done.Add(int64(q.n))
				}
				return nil
			}(); err != nil {
				cancel(fmt.Errorf("send to %s%s: %w", o.Address, o.Path, err))
			}
		})
	}
	func() {
		defer close(queue)
		timer := time.NewTimer(0)
		defer timer.Stop()
		for i := 0; i < o.Events; i += o.Batch {
			due := began
			if o.Rate > 0 {
				due = began.Add(time.Duration(float64(i) / o.Rate * float64(time.Second)))
				timer.Reset(time.Until(due))
				select {
				case <-timer.C:
				case <-ctx.Done():
					return
				}
			}
			select {
			case queue <- request{o.First + i, min(o.Batch, o.Events-i), due}:
			case <-ctx.Done():
				return
			}
		}
	}()
	workers.Wait()
	result := Result{Events: int(done.Load()), Took: time.Since(began), Late: time.Duration(late.Load()), Resent: int(resent.Load())}
	if result.Events < o.Events {
		return result, context.Cause(ctx)
	}
	return result, nil
}

// What is answered 503 is sent again as it is, as a careful producer does.
const (
	resends     = 60
	resendAfter = 500 * time.Millisecond
)

var errBusy = errors.New("answered 503")

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

// fresh is how long a connection may rest between two requests: a server closes idle ones, and what meets that is lost.
const fresh = time.Second

// connection is one to the collector, dialed where there is none or it rested too long.
type connection struct {
	address string
	conn    net.Conn
	reader  *bufio.Reader
	used    time.Time
	release func() bool
}

// send sends a request and appends the answer's body to b.
func (c *connection) send(ctx context.Context, request, b []byte) ([]byte, error) {
	if c.conn != nil && time.Since(c.used) > fresh {
		c.close()
	}
	if c.conn == nil {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.address)
		if err != nil {
			return b, err
		}
		c.conn, c.reader = conn, bufio.NewReaderSize(conn, 64<<10)
		c.release = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	}
	if _, err := c.conn.Write(request); err != nil {
		return b, err
	}
	b, err := read(c.reader, b)
	c.used = time.Now()
	return b, err
}

func (c *connection) close() {
	if c.conn != nil {
		c.release()
		_ = c.conn.Close() // all its answers are read
		c.conn = nil
	}
}

// read reads an answer that states its length into b, and returns an error unless it is 200: errBusy where it is 503.
func read(r *bufio.Reader, b []byte) ([]byte, error) {
	length, ok := -1, false
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return b, err
		}
		switch {
		case first:
			if ok = bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")); !ok && !bytes.HasPrefix(line, []byte("HTTP/1.1 503 ")) {
				return b, fmt.Errorf("answered %s", bytes.TrimSpace(line))
			}
		case len(line) <= 2 && length < 0:
			return b, errors.New("the answer does not state its length")
		case len(line) <= 2:
			start := len(b)
			if cap(b)-start < length {
				b = append(make([]byte, 0, start+length), b...)
			}
			b = b[:start+length]
			if _, err := io.ReadFull(r, b[start:]); err != nil {
				return b, err
			}
			if !ok {
				return b, errBusy
			}
			return b, nil
		case len(line) > 16 && strings.EqualFold(string(line[:16]), "content-length: "):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[16:]))); err != nil {
				return b, err
			}
		}
	}
}
