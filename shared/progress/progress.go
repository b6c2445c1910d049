// Package progress shows a person how far a job is: a bar that is redrawn on a terminal, a plain line every few seconds elsewhere.
//
// It counts nothing itself; the job says where it stands. What cannot be written is dropped: a job does not fail since nobody looks.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// drawEvery is how often the progress is drawn on a terminal, and TellEvery how often it is told in a log.
const (
	drawEvery = 200 * time.Millisecond
	TellEvery = 5 * time.Second
)

// State is where a job stands.
type State struct {
	Name  string
	Done  int64
	Total int64  // 0 or less where it is not known
	What  string // is counted, for an unknown total
	// Notes are what else there is to say, such as "3 failed".
	Notes []string
}

// Bar shows the state of a job until it is stopped.
type Bar struct {
	done chan struct{}
	once sync.Once
	wait sync.WaitGroup
}

// Start shows the state on w, which it asks for from a goroutine of its own until Stop.
func Start(w io.Writer, state func() State) *Bar {
	b, begin := &Bar{done: make(chan struct{})}, time.Now()
	drawn := IsTerminal(w)
	every := TellEvery
	if drawn {
		every = drawEvery
	}
	b.wait.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				line := state().Line(time.Since(begin), drawn)
				if drawn {
					line = "\r\x1b[K" + line
				} else {
					line += "\n"
				}
				fmt.Fprint(w, line)
			case <-b.done:
				if drawn {
					fmt.Fprint(w, "\r\x1b[K"+state().Line(time.Since(begin), drawn)+"\n")
				}
				return
			}
		}
	})
	return b
}

// Stop draws the state for the last time and waits until that is done. It may be called again.
func (b *Bar) Stop() {
	b.once.Do(func() { close(b.done) })
	b.wait.Wait()
}

// Line is the state in one line; with a bar where the total is known and one is wanted.
func (s State) Line(elapsed time.Duration, bar bool) string {
	rate := 0.0
	if seconds := elapsed.Seconds(); seconds > 0 {
		rate = float64(s.Done) / seconds
	}
	var b strings.Builder
	name := s.Name
	if len(name) > 30 && bar {
		name = name[:27] + "..."
	}
	b.WriteString(name + " ")
	if s.Total <= 0 {
		fmt.Fprintf(&b, "%d %s", s.Done, s.What)
	} else {
		share := min(1, float64(s.Done)/float64(s.Total))
		if bar {
			full := int(share * 20)
			b.WriteString("[" + strings.Repeat("=", full) + strings.Repeat(" ", 20-full) + "] ")
		}
		fmt.Fprintf(&b, "%d/%d %.0f%%", s.Done, s.Total, share*100)
		if rate > 0 && s.Done < s.Total {
			left := time.Duration(float64(s.Total-s.Done) / rate * float64(time.Second))
			fmt.Fprintf(&b, ", %s left", left.Round(time.Second))
		}
	}
	fmt.Fprintf(&b, ", %.0f/s", rate)
	for _, note := range s.Notes {
		b.WriteString(", " + note)
	}
	return b.String()
}

// IsTerminal tells a terminal by its being a character device, which leaves out files and pipes.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
