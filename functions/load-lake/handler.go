package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/functions/load-lake/internal/drain"
	"millrace/functions/load-lake/internal/sweep"
	"millrace/shared/contract"
	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/telemetry"
)

// drainer drains one topic, as drain.Drainer does: it blocks until the end or until more says no, may be repeated, and its errors are
// outages or conditions that an operator ends.
type drainer interface {
	Drain(ctx context.Context, more func() bool) (drain.Result, error)
}

// sweeper deletes the garbage of one topic, as sweep.Sweeper does: it blocks until it is through or until more says no, and may be repeated.
type sweeper interface {
	Sweep(ctx context.Context, dry bool, more func() bool) (sweep.Result, error)
}

// topic is what a tick can name.
type topic struct {
	drainer  drainer
	busy     sync.Mutex // held by the drain under way
	sweeper  sweeper
	sweeping sync.Mutex // held by the sweep under way
}

// handler answers ticks. A tick is done when the drain or sweep that it started has ended, or at once where one of its topic is under way.
type handler struct {
	topics map[string]*topic
	budget time.Duration   // of one drain
	stop   context.Context // ends when the process is to end: the drains under way then publish what they have
	clock  func() time.Time
	logger *slog.Logger
	// drained is told of each drain and swept of each sweep that may delete, with its error; they may be nil.
	drained func(topic string, r drain.Result, err error, now time.Time)
	swept   func(topic string, r sweep.Result, err error)
}

// tick is the data of a PingSource's event.
type tick struct {
	Topic  string `json:"topic"`
	Budget string `json:"budget"` // a duration, at most the configured one
	// Sweep asks for garbage to be deleted in place of a drain; DryRun for it only to be counted.
	Sweep  bool `json:"sweep"`
	DryRun bool `json:"dry_run"`
}

var errUnknownTopic = errors.New("no topic of this function")

// Handle drains the topic that each event names. Nothing is dead: a tick is a request, and the next one comes anyway.
func (h *handler) Handle(ctx context.Context, events []*event.Event) delivery.Outcomes {
	out := delivery.NewOutcomes(len(events))
	for i, e := range events {
		if err := h.tick(ctx, e.Data()); err != nil {
			out.Retry(i, err)
			continue
		}
		out.Done(i)
	}
	return out
}

func (h *handler) tick(ctx context.Context, data []byte) error {
	var t tick
	if err := json.Unmarshal(data, &t); err != nil {
		return fmt.Errorf("tick: %w", err)
	}
	budget := h.budget
	if t.Budget != "" {
		asked, err := time.ParseDuration(t.Budget)
		if err != nil || asked <= 0 {
			return fmt.Errorf("tick of %s: budget must be a duration above 0", t.Topic)
		}
		budget = min(budget, asked)
	}
	topic, ok := h.topics[t.Topic]
	if !ok {
		return fmt.Errorf("tick of %q: %w", t.Topic, errUnknownTopic)
	}
	start := h.clock()
	more := func() bool { return h.stop.Err() == nil && h.clock().Sub(start) < budget }
	if t.Sweep {
		return h.sweep(ctx, t, topic, more)
	}
	if !topic.busy.TryLock() {
		h.logger.DebugContext(ctx, "tick during a drain", "topic", t.Topic)
		return nil
	}
	defer topic.busy.Unlock()
	result, err := topic.drainer.Drain(ctx, more)
	if h.drained != nil {
		h.drained(t.Topic, result, err, h.clock())
	}
	if err != nil {
		return err
	}
	if result.Entries > 0 || !result.Done {
		h.logger.InfoContext(ctx, "drained", "topic", t.Topic, "drain", result.Drain, "entries", result.Entries, "rows", result.Rows,
			"lost", result.Lost, "reached_end", result.Done, "seconds", h.clock().Sub(start).Seconds())
	}
	return nil
}

// sweep deletes the topic's garbage. A drain of the topic may go on meanwhile.
func (h *handler) sweep(ctx context.Context, t tick, topic *topic, more func() bool) error {
	if !topic.sweeping.TryLock() {
		h.logger.DebugContext(ctx, "tick during a sweep", "topic", t.Topic)
		return nil
	}
	defer topic.sweeping.Unlock()
	start := h.clock()
	r, err := topic.sweeper.Sweep(ctx, t.DryRun, more)
	if h.swept != nil && !t.DryRun {
		h.swept(t.Topic, r, err)
	}
	if err != nil {
		return err
	}
	if r.Due {
		h.logger.InfoContext(ctx, "swept", "topic", t.Topic, "dry_run", t.DryRun, "complete", r.Complete, "listed", r.Listed, "too_young", r.Young,
			"orphans", r.Orphans, "deleted", r.Deleted, "bytes", r.Bytes, "foreign", r.Foreign, "foreign_example", r.Example, "seconds", h.clock().Sub(start).Seconds())
	}
	return nil
}

// invalid returns what logs, and counts, the contract files that a set does without. Events of such a contract that come all the same, since an enrich that was not started
// anew has it, wait for CONTRACTS_WAIT and then are rows without their payload (package table): the log's position cannot wait for one type for ever.
func invalid(logger *slog.Logger, r prometheus.Registerer) func(*contract.Set) error {
	var n atomic.Int64
	telemetry.Gauge(r, "millrace_contract_files_invalid", "Contract files that are wrong and therefore not in use: alarm above 0.", func() float64 {
		return float64(n.Load())
	})
	return func(set *contract.Set) error {
		files := set.Invalid()
		n.Store(int64(len(files)))
		for _, v := range files {
			logger.Error("a contract file is wrong", "contract", v)
		}
		return nil
	}
}

// refresh returns what looks at the contracts before a drain uses them, and logs what came of it.
func refresh(contracts *contract.Source, logger *slog.Logger) func(context.Context) {
	return func(ctx context.Context) {
		switch changed, err := contracts.Reload(ctx); {
		case err != nil:
			logger.ErrorContext(ctx, "contracts stay as they were", "error", err)
		case changed:
			logger.InfoContext(ctx, "contracts changed")
		}
	}
}
