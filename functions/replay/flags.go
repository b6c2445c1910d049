package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/spf13/pflag"

	"millrace/shared/progress"
	"millrace/shared/search"
)

// newFlags returns a command's flags: one that says in which form it answers, and those that add puts before it.
func newFlags(command string, format *string, add func(*pflag.FlagSet)) *pflag.FlagSet {
	set := pflag.NewFlagSet("replay "+command, pflag.ContinueOnError)
	set.SortFlags = false
	set.Usage = func() {}
	add(set)
	set.StringVar(format, "format", "table", "`table`, or json for machines")
	return set
}

func checkFormat(format string) error {
	if format != "table" && format != "json" {
		return errors.New("--format must be table or json")
	}
	return nil
}

// moment reads a time: RFC 3339, a day, or how long ago; "" is the zero time.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UTC(), nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d).UTC().Truncate(time.Millisecond), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time: 2026-11-21, 2026-11-21T10:00:00Z, or 6h", text)
}

// misused gives help where that was asked for, and calls every other error of the arguments a mistake of the caller's.
func misused(err error, stdout io.Writer, help string) error {
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(stdout, help)
		return err
	}
	return fmt.Errorf("%w: %w", errUsage, err)
}

// tell writes what came out, as the format asks.
func tell(w io.Writer, format string, result any, table func(io.Writer) error) error {
	err := error(nil)
	if format == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		err = e.Encode(result)
	} else {
		err = table(w)
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// servers are those that every command but apply reads from.
type servers struct {
	kafka  sarama.Client
	search *search.Client
}

// open connects; the caller closes.
func (c *config) open() (*servers, error) {
	shown, err := c.search()
	if err != nil {
		return nil, err
	}
	client, err := c.kafka()
	if err != nil {
		shown.Close()
		return nil, err
	}
	return &servers{client, shown}, nil
}

func (s *servers) close() error {
	s.search.Close()
	return s.kafka.Close()
}

// reading counts the records of the topic that is read, for the bar.
type reading struct {
	topic       atomic.Pointer[string]
	done, total atomic.Int64
}

func (r *reading) note(topic string, done, total int64) {
	r.topic.Store(&topic)
	r.done.Store(done)
	r.total.Store(total)
}

func (r *reading) state() progress.State {
	s := progress.State{Done: r.done.Load(), Total: r.total.Load(), What: "records"}
	if name := r.topic.Load(); name != nil {
		s.Name = *name
	}
	return s
}
