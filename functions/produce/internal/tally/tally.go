// Package tally counts what became of the events of a run, and how long it took, in bounded memory.
//
// Latencies are kept in buckets 2% wide: a percentile may be up to 2% too high; the maximum is exact. A Tally may be used
// by several goroutines.
package tally

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// Status is what became of one event in the end.
type Status string

// The four statuses of a receipt, and one for what was refused without a receipt.
const (
	Accepted     Status = "accepted"
	DeadLettered Status = "dead_lettered"
	Busy         Status = "busy"
	Unconfirmed  Status = "unconfirmed"
	Refused      Status = "refused"
)

// Statuses are all of them, in the order of the table.
var Statuses = []Status{Accepted, DeadLettered, Busy, Unconfirmed, Refused}

// maxReasons bounds the distinct reasons that are kept; further ones are only counted under their status.
const maxReasons = 50

// Tally counts events.
type Tally struct {
	mu       sync.Mutex
	status   map[Status]*spread
	reasons  map[reasonKey]*Reason
	requests int64
	resent   int64
	bytes    int64
}

type reasonKey struct {
	status Status
	code   string
}

// Reason is why events ended in a status, with the first of them as the example.
type Reason struct {
	Status  Status
	Code    string
	Count   int64
	Row     int64  // of the example
	Message string // of the example
}

// New returns an empty tally.
func New() *Tally {
	t := &Tally{status: map[Status]*spread{}, reasons: map[reasonKey]*Reason{}}
	for _, s := range Statuses {
		t.status[s] = &spread{}
	}
	return t
}

// Settle counts one event: its final status, how long after its first send that was known, and why. A code of "" has no reason to tell.
func (t *Tally) Settle(s Status, row int64, after time.Duration, code, message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status[s].add(after)
	if code == "" {
		return
	}
	k := reasonKey{s, code}
	r := t.reasons[k]
	if r == nil {
		if len(t.reasons) >= maxReasons {
			return
		}
		r = &Reason{Status: s, Code: code, Row: row, Message: message}
		t.reasons[k] = r
	}
	r.Count++
}

// Request counts one request of some bytes; events is how many of its events had been sent before.
func (t *Tally) Request(bytes, events int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests++
	t.bytes += int64(bytes)
	t.resent += int64(events)
}

// Count returns how many events ended in s.
func (t *Tally) Count(s Status) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status[s].n
}

// Total returns how many events are settled, one way or the other.
func (t *Tally) Total() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var n int64
	for _, s := range t.status {
		n += s.n
	}
	return n
}

// Safe returns how many events are durable: accepted or dead-lettered.
func (t *Tally) Safe() int64 { return t.Count(Accepted) + t.Count(DeadLettered) }

// Reasons returns why events ended as they did, the most frequent first.
func (t *Tally) Reasons() []Reason {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Reason, 0, len(t.reasons))
	for _, r := range t.reasons {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Reason) int {
		if a.Count != b.Count {
			return int(b.Count - a.Count)
		}
		return strings.Compare(string(a.Status)+a.Code, string(b.Status)+b.Code)
	})
	return out
}

// Write writes the table of receipts by status and latency, then the reasons.
func (t *Tally) Write(w io.Writer, elapsed time.Duration) error {
	t.mu.Lock()
	lines := []string{"receipt\tevents\tp50\tp95\tp99\tmax\t"}
	var total spread
	for _, s := range Statuses {
		sp := t.status[s]
		total.merge(sp)
		if sp.n > 0 || s == Accepted || s == DeadLettered {
			lines = append(lines, sp.line(string(s)))
		}
	}
	lines = append(lines, total.line("total"))
	requests, resent, bytes := t.requests, t.resent, t.bytes
	t.mu.Unlock()
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	if _, err := io.WriteString(tw, strings.Join(lines, "\n")+"\n"); err != nil {
		return err
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	rate := 0.0
	if elapsed > 0 {
		rate = float64(total.n) / elapsed.Seconds()
	}
	if _, err := fmt.Fprintf(w, "%d requests, %d events resent, %.1f MB, %s, %.0f events/s\n",
		requests, resent, float64(bytes)/1e6, short(elapsed), rate); err != nil {
		return err
	}
	for _, r := range t.Reasons() {
		if _, err := fmt.Fprintf(w, "%s %s: %d, first at row %d: %s\n", r.Status, r.Code, r.Count, r.Row, r.Message); err != nil {
			return err
		}
	}
	return nil
}

// spread is a histogram of durations.
type spread struct {
	n       int64
	max     time.Duration
	buckets [1600]int64 // 1 us * 1.02^i: the last one begins at 16,000 hours
}

var width = math.Log(1.02)

func (s *spread) add(d time.Duration) {
	i := 0
	if us := float64(d) / float64(time.Microsecond); us > 1 {
		i = min(int(math.Log(us)/width)+1, len(s.buckets)-1)
	}
	s.buckets[i]++
	s.n++
	s.max = max(s.max, d)
}

func (s *spread) merge(o *spread) {
	for i, n := range o.buckets {
		s.buckets[i] += n
	}
	s.n += o.n
	s.max = max(s.max, o.max)
}

// quantile returns the upper edge of the bucket in which the q-th of all durations lies, but never more than the maximum.
func (s *spread) quantile(q float64) time.Duration {
	rank, seen := int64(math.Ceil(q*float64(s.n))), int64(0)
	for i, n := range s.buckets {
		if seen += n; seen >= rank && n > 0 {
			return min(s.max, time.Duration(math.Exp(float64(i)*width)*float64(time.Microsecond)))
		}
	}
	return s.max
}

func (s *spread) line(name string) string {
	if s.n == 0 {
		return fmt.Sprintf("%s\t0\t-\t-\t-\t-\t", name)
	}
	return fmt.Sprintf("%s\t%d\t%s\t%s\t%s\t%s\t", name, s.n, short(s.quantile(.5)), short(s.quantile(.95)), short(s.quantile(.99)), short(s.max))
}

// short writes a duration with three digits or so.
func short(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
