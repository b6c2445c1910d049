// Package sender sends records to collect and keeps sending each until a receipt says that it is durable.
//
// Guarantees: an event counts as accepted or dead_lettered only where a receipt for its place in the request, and for its id,
// says so. What was `busy` or `unconfirmed`, what no receipt mentions, and what met a broken connection or a failed server
// is sent again with the same bytes, so with the same identity, until Options.RetryFor is over. Then the run takes no
// further records: a collector that was away for that long would only make each batch wait as long again. What a
// request is refused for (413 for a single event, another 4xx without receipts) is counted and not repeated.
//
// Not guaranteed: order (there are several requests under way, and resends), and that an event is sent only once. Memory
// holds (Concurrency + 1) batches.
package sender

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/functions/produce/internal/record"
	"millrace/functions/produce/internal/tally"
)

// Options say how to send.
type Options struct {
	// URL is the whole address of collect's JSON endpoint.
	URL string
	// Client makes the requests. Its Timeout bounds each.
	Client *http.Client
	// Batch is the most events in a request, Concurrency the most requests at a time.
	Batch, Concurrency int
	// Interval is the pause between records; 0 is none. A batch waits as many of them as it has records.
	Interval time.Duration
	// RetryFor is how long a batch is tried, from its first send.
	RetryFor time.Duration
	// BackoffMin and BackoffMax bound the pause before a resend where the answer names none.
	BackoffMin, BackoffMax time.Duration
	// Grace is how long what is in flight may still take once the context is done.
	Grace time.Duration
	// Max is the most records taken; 0 is all.
	Max int64
	// OnBadRow, where set, is told of each row that could not be made an event.
	OnBadRow func(*record.RowError)
	// OnWait, where set, is told how many events wait to be sent again, whenever that changes, and why: the last failure, or "" where the last that waited have their receipts. It is
	// called by several goroutines, one at a time, and must not block.
	OnWait func(events int64, why string)
}

// Result is how a run ended. The counts of events are in its tally.
type Result struct {
	// Taken is how many records were read, which includes those of no known outcome. BadRows is how many rows were none.
	Taken, BadRows int64
	// Through is the last row up to which every row is durable, refused or bad, so that a later run may skip so many; Done is
	// how many of the taken records lie up to there.
	Through, Done int64
	// Interrupted says that the context ended the run.
	Interrupted bool
	// GaveUp is the last failure of the batch whose time was over, or nil.
	GaveUp error
	// Stopped says why no event could have passed (401, 404, ...), or nil.
	Stopped error
}

// maxBatchBytes closes a batch before it holds its number of events.
const maxBatchBytes = 4 << 20

// maxAnswer bounds the answer that is read, in bytes per event sent plus a constant.
const maxAnswer = 64 << 10

// Run sends what reader gives until it ends, Options.Max records were taken, ctx is done or the collector cannot be reached. It
// returns an error only for what the reader failed with; everything else is in the result and in the tally.
func Run(ctx context.Context, reader record.Reader, t *tally.Tally, o Options) (Result, error) {
	// Requests outlive ctx by the grace: an interrupt ends the reading, not the event under way.
	flight, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	intake, stop := context.WithCancel(ctx)
	defer stop()

	s := &run{o: o, tally: t, stop: stop, through: newMark()}
	batches := make(chan []*item)
	var group errgroup.Group
	for range o.Concurrency {
		group.Go(func() error {
			for b := range batches {
				s.send(flight, b)
			}
			return nil
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ctx.Done():
		case <-flight.Done():
			return
		}
		timer := time.NewTimer(o.Grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			abort()
		case <-flight.Done():
		}
	}()
	err := s.read(intake, reader, batches)
	close(batches)
	_ = group.Wait() // the workers return no error: every outcome is in the tally
	abort()
	<-done
	s.mu.Lock()
	defer s.mu.Unlock()
	s.result.Through, s.result.Done = s.through.low, s.through.done
	s.result.Interrupted = ctx.Err() != nil
	return s.result, err
}

type run struct {
	o     Options
	tally *tally.Tally
	stop  context.CancelFunc

	mu      sync.Mutex
	result  Result
	through *mark
	waiting int64 // events
}

// waits changes how many events wait to be sent again.
func (s *run) waits(more int, why string) {
	if more == 0 || s.o.OnWait == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting += int64(more)
	s.o.OnWait(s.waiting, why)
}

// item is one event under way.
type item struct {
	record.Record
	first time.Time // its first send, zero before
	// status is what the last answer said: busy was certainly not written, unconfirmed may have been.
	status        tally.Status
	code, message string
}

// read makes batches of the reader's records and hands them over, at the pace that is asked for.
func (s *run) read(ctx context.Context, reader record.Reader, out chan<- []*item) error {
	var batch []*item
	var size int
	pace := pacer{interval: s.o.Interval}
	flush := func() bool {
		if len(batch) == 0 {
			return true
		}
		if !pace.wait(ctx, len(batch)) {
			return false
		}
		select {
		case out <- batch:
			batch, size = nil, 0
			return true
		case <-ctx.Done():
			return false
		}
	}
	defer func() { // what was read and not handed over is as if never taken
		s.mu.Lock()
		defer s.mu.Unlock()
		s.result.Taken -= int64(len(batch))
	}()
	for s.o.Max == 0 || s.taken() < s.o.Max {
		if ctx.Err() != nil {
			return nil
		}
		rec, err := reader.Next(ctx)
		var bad *record.RowError
		switch {
		case errors.As(err, &bad):
			s.badRow(bad)
			continue
		case errors.Is(err, io.EOF):
			flush()
			return nil
		case ctx.Err() != nil:
			return nil
		case err != nil:
			flush() // the rows before the damage are good
			return err
		}
		s.mu.Lock()
		s.result.Taken++
		s.through.begin(rec.Row)
		s.mu.Unlock()
		if rec.Alone || size+len(rec.Body) > maxBatchBytes {
			if !flush() {
				batch = append(batch, &item{Record: rec})
				return nil
			}
		}
		batch = append(batch, &item{Record: rec})
		size += len(rec.Body)
		if (len(batch) >= s.o.Batch || rec.Alone) && !flush() {
			return nil
		}
	}
	flush()
	return nil
}

func (s *run) taken() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.result.Taken
}

func (s *run) badRow(e *record.RowError) {
	s.mu.Lock()
	s.result.BadRows++
	s.through.begin(e.Row)
	s.through.bad[e.Row] = true
	s.through.end(e.Row)
	s.mu.Unlock()
	if s.o.OnBadRow != nil {
		s.o.OnBadRow(e)
	}
}

// pacer spaces records evenly. A run that was held up does not make up for it with a burst.
type pacer struct {
	interval time.Duration
	next     time.Time
}

// wait waits until n more records may go. The first ones go at once.
func (p *pacer) wait(ctx context.Context, n int) bool {
	if p.interval <= 0 {
		return ctx.Err() == nil
	}
	now := time.Now()
	if p.next.After(now) {
		if !pause(ctx, p.next.Sub(now)) {
			return false
		}
		p.next = p.next.Add(p.interval * time.Duration(n))
		return true
	}
	if now.Sub(p.next) > time.Second+p.interval {
		p.next = now
	}
	p.next = p.next.Add(p.interval * time.Duration(n))
	return ctx.Err() == nil
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

// send tries a batch until nothing of it is left open, its time is over, or ctx is done.
func (s *run) send(ctx context.Context, batch []*item) {
	start := time.Now()
	backoff := s.o.BackoffMin
	waiting := 0
	hold := func(n int, why string) { s.waits(n-waiting, why); waiting = n }
	for attempt := 1; ; attempt++ {
		answer := s.try(ctx, batch)
		batch = answer.open
		if len(batch) == 0 {
			hold(0, "")
			return
		}
		if answer.split && len(batch) > 1 {
			hold(0, "")
			// Too large for one request: halves may pass, and a half that is one event and does not is refused.
			s.send(ctx, batch[:len(batch)/2])
			s.send(ctx, batch[len(batch)/2:])
			return
		}
		wait := backoff/2 + rand.N(backoff/2+1)
		if answer.after > 0 {
			// Others were told the same: come back a little apart from them, and never too early.
			wait = answer.after + rand.N(min(answer.after/4, 5*time.Second)+time.Millisecond)
		}
		backoff = min(2*backoff, s.o.BackoffMax)
		if left := s.o.RetryFor - time.Since(start); wait > left {
			s.giveUp(batch, fmt.Errorf("no final receipt within %s and %d attempts: %s", s.o.RetryFor, attempt, batch[0].message))
			hold(0, "gave up")
			return
		}
		hold(len(batch), batch[0].message)
		if !pause(ctx, wait) {
			s.giveUp(batch, nil)
			hold(0, "interrupted")
			return
		}
	}
}

func (s *run) giveUp(batch []*item, why error) {
	for _, it := range batch {
		s.tally.Settle(it.status, it.Row, time.Since(it.first), it.code, it.message)
	}
	if why == nil {
		return
	}
	s.mu.Lock()
	s.result.GaveUp = why
	s.mu.Unlock()
	s.stop()
}

// answer is what one request came to, as far as it is not yet settled.
type answer struct {
	open  []*item
	after time.Duration // what Retry-After asks for, 0 where it does not
	split bool
}

// try makes one request and settles what its answer settles.
func (s *run) try(ctx context.Context, batch []*item) answer {
	body := encode(batch)
	now, resent := time.Now(), 0
	for _, it := range batch {
		if it.first.IsZero() {
			it.first = now
		} else {
			resent++
		}
	}
	s.tally.Request(len(body), resent)
	code, header, got, err := s.post(ctx, body, len(batch))
	if unconnected(err) {
		return s.hold(batch, answer{}, tally.Busy, "no_connection", err.Error())
	}
	if err != nil {
		// The request may have arrived, so nothing is known of its events.
		return s.hold(batch, answer{}, tally.Unconfirmed, "no_answer", err.Error())
	}
	receipts, ok := decode(got)
	after := retryAfter(header.Get("Retry-After"), time.Now())
	switch {
	case ok && (code < 300 || code >= 400):
		return s.settle(batch, receipts, answer{after: after})
	case code == http.StatusRequestEntityTooLarge && len(batch) > 1:
		return s.hold(batch, answer{split: true}, tally.Busy, "http_413", "the request is too large")
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		return s.hold(batch, answer{after: after}, tally.Unconfirmed, "http_"+strconv.Itoa(code), "the answer was "+describe(code, got))
	case code < 300:
		return s.hold(batch, answer{}, tally.Unconfirmed, "no_receipts", "the answer was "+describe(code, got)+" without receipts: is "+s.o.URL+" collect?")
	}
	why := "the answer was " + describe(code, got)
	for _, it := range batch {
		s.tally.Settle(tally.Refused, it.Row, time.Since(it.first), "http_"+strconv.Itoa(code), why)
		s.ended(it)
	}
	if addressed(code) {
		s.mu.Lock()
		s.result.Stopped = fmt.Errorf("%s: %s: no event can pass there", s.o.URL, why)
		s.mu.Unlock()
		s.stop()
	}
	return answer{}
}

// unconnected says that there was no connection, so that surely nothing was handed over: refused, no route, no such host. The transport makes a second connection for a request
// only where it has written nothing of it on the first.
func unconnected(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect")
}

// addressed says that a status is about the address or the credentials, so that no other event would fare better.
func addressed(code int) bool {
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		return true
	}
	return code >= 300 && code < 400
}

func (s *run) hold(batch []*item, a answer, status tally.Status, code, message string) answer {
	for _, it := range batch {
		// Once an event may have been written, no later "busy" takes that back.
		if it.status != tally.Unconfirmed {
			it.status = status
		}
		it.code, it.message = code, message
	}
	a.open = batch
	return a
}

func (s *run) ended(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.through.end(it.Row)
}

// settle matches receipts with what was sent. An event without a receipt, with two that differ, or with another event's, has none.
func (s *run) settle(batch []*item, receipts []receipt, a answer) answer {
	given := make([]*receipt, len(batch))
	doubtful := make([]bool, len(batch))
	for i := range receipts {
		r := &receipts[i]
		if r.Index < 0 || r.Index >= len(batch) {
			continue
		}
		if g := given[r.Index]; g != nil && g.Status != r.Status {
			doubtful[r.Index] = true
		}
		given[r.Index] = r
	}
	var open []*item
	for i, it := range batch {
		r := given[i]
		switch {
		case r == nil || doubtful[i]:
			s.hold(batch[i:i+1], answer{}, tally.Unconfirmed, "no_receipt", "the answer had no receipt for this event")
		case r.Status == tally.Accepted && r.ID != "" && it.ID != "" && r.ID != it.ID:
			s.hold(batch[i:i+1], answer{}, tally.Unconfirmed, "foreign_receipt", "the receipt names another event's id")
		case r.Status == tally.Accepted || r.Status == tally.DeadLettered:
			s.tally.Settle(r.Status, it.Row, time.Since(it.first), r.Code, r.text())
			s.ended(it)
			continue
		case r.Status == tally.Busy || r.Status == tally.Unconfirmed:
			s.hold(batch[i:i+1], answer{}, r.Status, or(r.Code, string(r.Status)), r.text())
		default:
			s.hold(batch[i:i+1], answer{}, tally.Unconfirmed, "unknown_status", "the receipt's status is none that produce knows")
		}
		open = append(open, it)
	}
	a.open = open
	return a
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

type receipt struct {
	Index   int          `json:"index"`
	ID      string       `json:"id"`
	Status  tally.Status `json:"status"`
	Code    string       `json:"code"`
	Message string       `json:"message"`
	Hint    string       `json:"hint"`
}

func (r *receipt) text() string {
	if r.Hint == "" {
		return r.Message
	}
	return r.Message + " (" + r.Hint + ")"
}

func decode(b []byte) ([]receipt, bool) {
	var a struct {
		Receipts []receipt `json:"receipts"`
	}
	if err := json.Unmarshal(b, &a); err != nil || len(a.Receipts) == 0 {
		return nil, false
	}
	return a.Receipts, true
}

func encode(batch []*item) []byte {
	if len(batch) == 1 {
		return batch[0].Body
	}
	n := 2
	for _, it := range batch {
		n += len(it.Body) + 1
	}
	b := append(make([]byte, 0, n), '[')
	for i, it := range batch {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, it.Body...)
	}
	return append(b, ']')
}

func (s *run) post(ctx context.Context, body []byte, events int) (int, http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.o.URL, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "millrace-produce")
	resp, err := s.o.Client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }() // only read from: nothing is lost with its error
	limit := int64(maxAnswer + 4096*events)
	got, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("read the answer: %w", err)
	}
	if int64(len(got)) > limit {
		return 0, nil, nil, fmt.Errorf("the answer is larger than %d bytes", limit)
	}
	return resp.StatusCode, resp.Header, got, nil
}

// describe writes a status and the beginning of a body on one line.
func describe(code int, body []byte) string {
	s := strconv.Itoa(code) + " " + http.StatusText(code)
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body[:min(len(body), 200)]), "?")), " ")
	if text == "" {
		return s
	}
	return fmt.Sprintf("%s (%q)", s, text)
}

// retryAfter reads the header (RFC 9110, section 10.2.3): seconds or a date. What it cannot read is 0.
func retryAfter(v string, now time.Time) time.Duration {
	if v == "" {
		return 0
	}
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// mark knows up to which row everything has ended, though rows end out of order. It holds only the rows under way, and the bad ones since
// the first of those.
type mark struct {
	low     int64 // every row up to here has ended
	high    int64 // the last row begun
	done    int64 // the records among the rows up to low
	started bool
	open    map[int64]bool
	bad     map[int64]bool
}

func newMark() *mark { return &mark{open: map[int64]bool{}, bad: map[int64]bool{}} }

func (m *mark) begin(row int64) {
	if !m.started {
		m.started, m.low = true, row-1
	}
	m.high = row
	m.open[row] = true
}

func (m *mark) end(row int64) {
	delete(m.open, row)
	for m.low < m.high && !m.open[m.low+1] {
		m.low++
		if m.bad[m.low] {
			delete(m.bad, m.low)
		} else {
			m.done++
		}
	}
}
