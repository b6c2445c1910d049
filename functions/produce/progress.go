package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"millrace/functions/produce/internal/record"
	"millrace/functions/produce/internal/tally"
)

// How often the progress is drawn on a terminal, and told in a log.
const (
	drawEvery = 200 * time.Millisecond
	tellEvery = 5 * time.Second
)

// progress shows how far a run is: a bar that is redrawn on a terminal, a plain line every few seconds elsewhere.
type progress struct {
	done chan struct{}
	once sync.Once
	wait sync.WaitGroup
}

func startProgress(w io.Writer, in *input, c Config, counts *tally.Tally) *progress {
	total := in.rows
	if c.MaxRecordCount > 0 && (total < 0 || c.MaxRecordCount < total) {
		total = c.MaxRecordCount
	}
	p, begin := &progress{done: make(chan struct{})}, time.Now()
	bar := isTerminal(w)
	every := tellEvery
	if bar {
		every = drawEvery
	}
	p.wait.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				line := progressLine(in.name, counts, total, time.Since(begin), bar)
				if bar {
					line = "\r\x1b[K" + line
				} else {
					line += "\n"
				}
				fmt.Fprint(w, line)
			case <-p.done:
				if bar {
					fmt.Fprint(w, "\r\x1b[K"+progressLine(in.name, counts, total, time.Since(begin), bar)+"\n")
				}
				return
			}
		}
	})
	return p
}

func (p *progress) stop() {
	p.once.Do(func() { close(p.done) })
	p.wait.Wait()
}

// progressLine is the state in one line; with a bar where the total is known and one is wanted.
func progressLine(name string, counts *tally.Tally, total int64, elapsed time.Duration, bar bool) string {
	n := counts.Total()
	rate := 0.0
	if s := elapsed.Seconds(); s > 0 {
		rate = float64(n) / s
	}
	var b strings.Builder
	if len(name) > 30 && bar {
		name = name[:27] + "..."
	}
	b.WriteString(name + " ")
	if total <= 0 {
		fmt.Fprintf(&b, "%d events", n)
	} else {
		share := min(1, float64(n)/float64(total))
		if bar {
			full := int(share * 20)
			b.WriteString("[" + strings.Repeat("=", full) + strings.Repeat(" ", 20-full) + "] ")
		}
		fmt.Fprintf(&b, "%d/%d %.0f%%", n, total, share*100)
		if rate > 0 && n < total {
			left := time.Duration(float64(total-n) / rate * float64(time.Second))
			fmt.Fprintf(&b, ", %s left", left.Round(time.Second))
		}
	}
	fmt.Fprintf(&b, ", %.0f/s", rate)
	for _, s := range tally.Statuses[1:] {
		if c := counts.Count(s); c > 0 {
			fmt.Fprintf(&b, ", %d %s", c, s)
		}
	}
	return b.String()
}

// isTerminal tells a terminal by its being a character device, which leaves out files and pipes.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// badRows reports rows that could not be made events: the first ones each, the rest by their number.
type badRows struct {
	w io.Writer
	n int
}

const mostBadRows = 20

func (b *badRows) report(e *record.RowError) {
	switch b.n++; {
	case b.n <= mostBadRows:
		fmt.Fprintln(b.w, e.Error())
	case b.n == mostBadRows+1:
		fmt.Fprintln(b.w, "more such rows are only counted")
	}
}
