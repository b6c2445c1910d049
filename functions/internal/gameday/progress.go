package main

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"millrace/functions/internal/gameday/internal/load"
)

// around is what a row takes beside its load, about: a platform's start and end, recovery, calm, and reading all stores.
const around = 17 * time.Second

// plan returns how long rows take on a quiet machine, about.
func plan(rows []row, cfg *config) []time.Duration {
	planned := make([]time.Duration, len(rows))
	for i := range rows {
		planned[i] = time.Duration(rows[i].loads(cfg)*float64(time.Second)) + around
	}
	return planned
}

func total(times []time.Duration) (sum time.Duration) {
	for _, t := range times {
		sum += t
	}
	return sum
}

// progress says how far a run is. It is safe for concurrent use.
type progress struct {
	planned []time.Duration
	now     func() time.Time

	mu          sync.Mutex
	row         int
	first, row0 time.Time // when the first row and this one began
	sent, lost  int
}

// begin notes that a row begins.
func (p *progress) begin(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.row, p.row0 = i, p.now()
	if i == 0 {
		p.first = p.row0
	}
}

// count notes how a row ended.
func (p *progress) count(o *outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.Account != nil {
		p.sent, p.lost = p.sent+o.Sent, p.lost+len(o.Lost)
	}
}

// width of the bar.
const width = 24

// line is what is told now and then: a bar, the row, its load where one is under way, and how long the rest takes, going by how long what is done took against its plan.
func (p *progress) line(l *load.Load) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, all := p.now(), total(p.planned)
	done := total(p.planned[:p.row])
	pace := 1.0
	if done > 0 {
		pace = float64(p.row0.Sub(p.first)) / float64(done)
	}
	// A row that takes longer than planned is always about to end.
	done += min(time.Duration(float64(now.Sub(p.row0))/pace), p.planned[p.row]*19/20)
	share := float64(done) / float64(all)
	bar := int(math.Round(share * width))
	what := "between loads"
	if l != nil {
		sent, final := l.Progress()
		what = fmt.Sprintf("%d sent, %d answered for", sent, final)
	}
	return fmt.Sprintf("[%s%s] %2.0f%%  %s gone, about %s left; row %d of %d: %s; before it %d sent, %d lost", strings.Repeat("#", bar), strings.Repeat("-", width-bar), share*100,
		short(now.Sub(p.first)), short(time.Duration(float64(all-done)*pace)), p.row+1, len(p.planned), what, p.sent, p.lost)
}

// short is a time in minutes and seconds.
func short(d time.Duration) string {
	s := int(d.Seconds() + 0.5)
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
