package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"millrace/shared/progress"
)

// outage tells a person that events wait to be sent again, and why: at once, every few seconds while it lasts, and when it is over. What comes and goes is told every few seconds too,
// not each time.
type outage struct {
	w     io.Writer
	clear string // removes what the bar has drawn on a terminal's line
	done  chan struct{}
	wait  sync.WaitGroup

	mu    sync.Mutex
	n     int64
	why   string
	since time.Time // when the first of them began to wait
	told  time.Time // the last time that a line was written
	open  bool      // a line was written since then
}

func startOutage(w io.Writer) *outage {
	o := &outage{w: w, done: make(chan struct{})}
	if progress.IsTerminal(w) {
		o.clear = "\r\x1b[K"
	}
	o.wait.Go(func() {
		ticker := time.NewTicker(progress.TellEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				o.mu.Lock()
				if o.n > 0 {
					o.tell()
				}
				o.mu.Unlock()
			case <-o.done:
				return
			}
		}
	})
	return o
}

// waiting is the sender's OnWait.
func (o *outage) waiting(events int64, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	began := o.n == 0
	if o.n = events; events > 0 {
		if o.why = why; began {
			o.since = time.Now()
		}
		if began && time.Since(o.told) >= progress.TellEvery {
			o.tell()
		}
		return
	}
	if o.open && why == "" {
		fmt.Fprintf(o.w, "%sno event waits any more, after %s\n", o.clear, time.Since(o.since).Round(100*time.Millisecond))
	}
	o.open = false
}

// tell writes how it stands.
func (o *outage) tell() {
	long := ""
	if d := time.Since(o.since).Round(time.Second); d > 0 {
		long = ", for " + d.String() + " now"
	}
	fmt.Fprintf(o.w, "%s%d events wait to be sent again%s: %s\n", o.clear, o.n, long, o.why)
	o.told, o.open = time.Now(), true
}

func (o *outage) events() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.n
}

// stop ends the telling.
func (o *outage) stop() {
	close(o.done)
	o.wait.Wait()
}
