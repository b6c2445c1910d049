package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/kafka"
)

// committer commits offsets of a group, as kafka.Reader does.
type committer interface {
	Commit(ctx context.Context, g kafka.GroupTopic, next map[int32]int64) error
}

// gauge shows where the landing logs end as the committed offsets of a consumer group, to tools that know only those. It is told after the fact, works behind the drains' backs, and no drain
// reads on from there (lostLog asks whether there is any): what it cannot commit it counts and logs, and the next position makes it good.
type gauge struct {
	group  string // none where it is empty
	to     committer
	failed *prometheus.CounterVec // by topic
	logger *slog.Logger

	mu      sync.Mutex
	pending map[string]map[int32]int64 // by topic
	shown   map[string]map[int32]int64
	wake    chan struct{}
	ended   chan struct{}
	closed  bool
}

// newGauge returns a gauge that is at work until Close, beyond ctx.
func newGauge(ctx context.Context, group string, to committer, failed *prometheus.CounterVec, logger *slog.Logger) *gauge {
	g := &gauge{
		group: group, to: to, failed: failed, logger: logger, wake: make(chan struct{}, 1), ended: make(chan struct{}),
		pending: map[string]map[int32]int64{}, shown: map[string]map[int32]int64{},
	}
	go g.run(context.WithoutCancel(ctx)) // each commit is one request, bounded by the client's timeouts
	return g
}

// set shows the position of a topic soon. It never blocks; of several positions only the last may be shown. It is safe for concurrent use.
func (g *gauge) set(topic string, next map[int32]int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.group == "" || g.closed || len(next) == 0 {
		return
	}
	g.pending[topic] = next
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *gauge) run(ctx context.Context) {
	defer close(g.ended)
	for range g.wake {
		g.mu.Lock()
		pending := g.pending
		g.pending = map[string]map[int32]int64{}
		g.mu.Unlock()
		for topic, next := range pending {
			if maps.Equal(g.shown[topic], next) {
				continue
			}
			if err := g.to.Commit(ctx, kafka.GroupTopic{Group: g.group, Topic: topic}, next); err != nil {
				g.failed.WithLabelValues(topic).Inc()
				g.logger.WarnContext(ctx, "the lake's position is not shown as the group's offsets; the log is unharmed", "topic", topic, "error", err)
				continue
			}
			g.shown[topic] = next
		}
	}
}

// Close shows what is still to be shown, and ends the gauge. Nothing may be set at the same time.
func (g *gauge) Close(ctx context.Context) error {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		close(g.wake) // what it held is still delivered
	}
	g.mu.Unlock()
	select {
	case <-g.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("showing the lake's position: %w", ctx.Err())
	}
}
