package broker

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"millrace/shared/kafka"
)

// trigger delivers the events of a Broker's topic to one subscriber.
type trigger struct {
	namespace, name string
	topic           string
	group           string
	wants           filter
	policy          policy
	subscriber      target
	sink            target // nil: what is given up is dropped, as Knative does
	log             *slog.Logger
	consumer        *kafka.Consumer

	counts counts
}

type counts struct {
	delivered, filtered, skipped, retried, deadLettered, dropped, unfinished atomic.Int64
}

// handle brings one record to its end. It reports false where the record has to come again: when this process stops, and when
// the dead letter sink does not take it.
func (t *trigger) handle(ctx context.Context, m kafka.Message) bool {
	log := t.log.With("partition", m.Partition, "offset", m.Offset)
	o, err := parse(m.ConsumerMessage)
	if err != nil {
		t.counts.skipped.Add(1)
		log.Error("record skipped, as Knative does without a dead letter", "error", err)
		return true
	}
	if !t.wants(o.event) {
		t.counts.filtered.Add(1)
		return true
	}
	o.place(m.ConsumerMessage)
	r, stopped := t.policy.deliver(ctx, m.Stopping, t.subscriber, o, func(n int, wait time.Duration, r result) {
		t.counts.retried.Add(1)
		log.Log(ctx, retryLevel(n), "not delivered, trying again", "subscriber", t.subscriber.address(), "retry", n, "of", t.policy.retry, "wait", wait.String(), "error", r.err)
	})
	switch {
	case stopped:
		t.counts.unfinished.Add(1)
		return false
	case r.verdict == taken:
		t.counts.delivered.Add(1)
		return true
	case t.sink == nil:
		t.counts.dropped.Add(1)
		log.Error("EVENT LOST: given up, and neither the Trigger's delivery nor its Broker's has a deadLetterSink", "subscriber", t.subscriber.address(), "status", r.status, "error", r.err)
		return true
	}
	dead := outgoing{event: o.decoded()}
	deadLetter(dead.event, t.subscriber.address(), r)
	given, stopped := t.policy.deliver(ctx, m.Stopping, t.sink, dead, func(n int, wait time.Duration, r result) {
		t.counts.retried.Add(1)
		log.Log(ctx, retryLevel(n), "dead letter not delivered, trying again", "sink", t.sink.address(), "retry", n, "of", t.policy.retry, "wait", wait.String(), "error", r.err)
	})
	switch {
	case stopped:
		t.counts.unfinished.Add(1)
		return false
	case given.verdict != taken:
		t.counts.unfinished.Add(1)
		log.Error("the dead letter sink does not take the event, where Knative would lose it; it is held and delivered again", "sink", t.sink.address(), "status", given.status, "error", given.err)
		return false
	}
	t.counts.deadLettered.Add(1)
	log.Warn("dead letter", "subscriber", t.subscriber.address(), "status", r.status, "error", r.err)
	return true
}

// retryLevel keeps an outage from filling the log: of the retries of one event, the first, second, fourth, eighth and so on are told.
func retryLevel(n int) slog.Level {
	if n&(n-1) == 0 {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// TriggerStatus says how a Trigger stands. Counts are since the start of this process.
type TriggerStatus struct {
	Namespace, Name, Group string
	// Lag is how many records lie behind what is finished, -1 where Kafka does not say; InFlight how many are being delivered or wait for a retry.
	Lag      int64
	InFlight int
	// Partitions are assigned to it; 0 until the topic is there and the group joined.
	Partitions int

	Delivered, Filtered, Skipped, Retried, DeadLettered, Dropped, Unfinished int64
}

func (t *trigger) status() TriggerStatus {
	c := t.consumer.Status()
	lag, err := t.consumer.Lag()
	if err != nil {
		t.log.Debug("lag", "error", err)
		lag = -1
	}
	return TriggerStatus{
		Namespace: t.namespace, Name: t.name, Group: t.group, Lag: lag, InFlight: c.InFlight, Partitions: c.Partitions,
		Delivered: t.counts.delivered.Load(), Filtered: t.counts.filtered.Load(), Skipped: t.counts.skipped.Load(), Retried: t.counts.retried.Load(),
		DeadLettered: t.counts.deadLettered.Load(), Dropped: t.counts.dropped.Load(), Unfinished: t.counts.unfinished.Load(),
	}
}
