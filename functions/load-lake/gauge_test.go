package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/kafka"
)

// commits records what is committed, and fails where told to.
type commits struct {
	mu    sync.Mutex
	all   []string
	fail  int64         // this offset of partition 0 is refused, where it is above 0
	enter chan struct{} // where it is not nil, each commit sends to it first
}

func (c *commits) Commit(_ context.Context, g kafka.GroupTopic, next map[int32]int64) error {
	if c.enter != nil {
		c.enter <- struct{}{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail > 0 && next[0] == c.fail {
		return errors.New("no coordinator")
	}
	c.all = append(c.all, fmt.Sprint(g.Group, " ", g.Topic, " ", next))
	return nil
}

func (c *commits) got() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprint(c.all)
}

func testGauge(group string, c committer) *gauge {
	return newGauge(context.Background(), group, c, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x"}, []string{"topic"}), slog.New(slog.DiscardHandler))
}

// Guards what lag tools see: the last position reaches Kafka before the end, an equal one is not sent again, and without a group nothing is.
func TestGauge(t *testing.T) {
	c := &commits{enter: make(chan struct{})}
	g := testGauge("lake", c)
	g.set("t", map[int32]int64{0: 1})
	<-c.enter // under way: what comes now waits, and only the last of it counts
	g.set("t", map[int32]int64{0: 2})
	g.set("t", map[int32]int64{0: 3, 1: 9})
	g.set("t", nil)
	done := make(chan error)
	go func() { done <- g.Close(t.Context()) }()
	<-c.enter
	if err := <-done; err != nil {
		t.Error(err)
	}
	if want := "[lake t map[0:1] lake t map[0:3 1:9]]"; c.got() != want {
		t.Errorf("got %s", c.got())
	}
	g.set("t", map[int32]int64{0: 4}) // too late, and harmless

	c = &commits{}
	for _, group := range []string{"lake", ""} {
		g = testGauge(group, c)
		g.set("t", map[int32]int64{0: 1})
		if err := g.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if want := "[lake t map[0:1]]"; c.got() != want {
		t.Errorf("got %s", c.got())
	}
}

// Guards the drains against their gauge: an outage of the commit is counted and nothing else, the next position is committed, and one that hangs does not hold up whoever sets it, and the
// end only as long as the end may take.
func TestGaugeFails(t *testing.T) {
	c := &commits{fail: 1, enter: make(chan struct{})}
	g := testGauge("lake", c)
	g.set("t", map[int32]int64{0: 1})
	<-c.enter
	g.set("t", map[int32]int64{0: 1}) // the same again: it was not committed
	<-c.enter
	g.set("t", map[int32]int64{0: 2})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-c.enter
	<-g.ended
	registry := prometheus.NewRegistry()
	registry.MustRegister(g.failed)
	if all, err := registry.Gather(); err != nil || len(all) != 1 || all[0].Metric[0].Counter.GetValue() != 2 {
		t.Errorf("counted %v, %v", all, err)
	}
	if want := "[lake t map[0:2]]"; c.got() != want {
		t.Errorf("got %s", c.got())
	}
}
