package main

import (
	"sync"

	"millrace/shared/progress"
)

// counter is how far a long command is, for its bar.
type counter struct {
	mu   sync.Mutex
	name string
	done int64
}

func (c *counter) set(name string, done int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.name, c.done = name, done
}

func (c *counter) state() progress.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return progress.State{Name: c.name, Done: c.done, What: "rows"}
}
