package process

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// maxLine is how many bytes a line may have before it is cut in two, so that a process without newlines fills no memory.
const maxLine = 64 << 10

// Console writes the lines of several processes to one writer, each whole and behind its process's name.
type Console struct {
	mu     sync.Mutex
	out    io.Writer
	color  bool
	width  int
	names  int
	failed error
}

// NewConsole returns a Console that writes to out, with ANSI colours where color is true. The names' column is at least width wide.
func NewConsole(out io.Writer, color bool, width int) *Console {
	return &Console{out: out, color: color, width: width}
}

// colors are those that are legible on black and on white.
var colors = []int{36, 33, 32, 35, 34, 31}

// Prefixed returns a writer whose lines appear behind name. It is safe for concurrent use. Write never fails: a console that is
// gone must not stop a function.
func (c *Console) Prefixed(name string) *Lines {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.width = max(c.width, len(name))
	color := colors[c.names%len(colors)]
	c.names++
	return &Lines{console: c, name: name, color: color}
}

// Print writes text as it is, between the lines of processes.
func (c *Console) Print(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		_, c.failed = io.WriteString(c.out, text)
	}
}

// Lines is a writer of lines behind one name.
type Lines struct {
	console *Console
	name    string
	color   int

	mu      sync.Mutex
	partial []byte
}

// Write implements io.Writer.
func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := p
	for len(rest) > 0 {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 && len(l.partial)+len(rest) < maxLine {
			l.partial = append(l.partial, rest...)
			break
		}
		line := rest
		if end >= 0 {
			line, rest = rest[:end], rest[end+1:]
		} else {
			rest = nil
		}
		l.console.line(l.name, l.color, append(l.partial, line...))
		l.partial = l.partial[:0]
	}
	return len(p), nil
}

// Flush writes what followed the last newline as a line of its own.
func (l *Lines) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.partial) > 0 {
		l.console.line(l.name, l.color, l.partial)
		l.partial = l.partial[:0]
	}
}

func (c *Console) line(name string, color int, text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return
	}
	text = bytes.TrimSuffix(text, []byte("\r"))
	if c.color {
		_, c.failed = fmt.Fprintf(c.out, "\x1b[%dm%-*s |\x1b[0m %s\n", color, c.width, name, text)
		return
	}
	_, c.failed = fmt.Fprintf(c.out, "%-*s | %s\n", c.width, name, text)
}
