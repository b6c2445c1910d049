package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/contract"
	"millrace/shared/deadletter"
	"millrace/shared/delivery"
	"millrace/shared/enrichment"
	"millrace/shared/event"
	"millrace/shared/telemetry"
)

// enricher holds events against their contracts, enriches them and publishes the result to sink, a batch in one call. An event is Done once the
// sink confirmed it, Dead where it would fail again in the same way, and Retry where the sink failed. Events are not changed.
type enricher struct {
	sink    delivery.Publisher
	tables  enrichment.Tables
	logger  *slog.Logger
	current atomic.Pointer[enrichment.Rules]

	events  *prometheus.CounterVec
	missing *prometheus.CounterVec
	reloads *prometheus.CounterVec
}

func newEnricher(sink delivery.Publisher, tables enrichment.Tables, logger *slog.Logger, r prometheus.Registerer) *enricher {
	h := &enricher{
		sink: sink, tables: tables, logger: logger,
		events: telemetry.Counter(r, "millrace_enrich_events_total",
			"Events handled, by outcome (enriched, dead, retry, waits) and failure code; a repeated delivery counts again.", "outcome", "code"),
		missing: telemetry.Counter(r, "millrace_enrich_lookups_missed_total", "Fields left null because a step's key was missing, by event type.", "type"),
		reloads: telemetry.Counter(r, "millrace_enrich_contract_reloads_total", "Sets of contracts read after the start, by result (taken, refused).", "result"),
	}
	telemetry.Gauge(r, "millrace_contract_files_invalid", "Contract files that are wrong and therefore not in use: alarm above 0.", func() float64 {
		rules := h.current.Load()
		if rules == nil {
			return 0
		}
		return float64(len(rules.Contracts().Invalid()))
	})
	return h
}

// accept takes a set of contracts into use, unless a step in it cannot work, and logs which files it does without.
func (h *enricher) accept(set *contract.Set) error {
	rules, err := enrichment.Bind(set, h.tables)
	if err != nil {
		return err
	}
	h.current.Store(rules)
	for _, v := range set.Invalid() {
		h.logger.Error("a contract file is wrong", "contract", v)
	}
	return nil
}

// reloaded reports what became of contracts that changed while the function runs.
func (h *enricher) reloaded(_ bool, err error) {
	if err != nil {
		h.reloads.WithLabelValues("refused").Inc()
		h.logger.Error("changed contracts are not used; the ones before stay", "error", err)
		return
	}
	h.reloads.WithLabelValues("taken").Inc()
	h.logger.Info("contracts read again", "contracts", len(h.current.Load().Contracts().All()))
}

// Handle implements [delivery.Handler]. All events of a batch see one set of contracts.
func (h *enricher) Handle(ctx context.Context, events []*event.Event) delivery.Outcomes {
	out := delivery.NewOutcomes(len(events))
	rules := h.current.Load()
	enriched := make([]*event.Event, 0, len(events))
	of := make([]int, 0, len(events)) // enriched[n] comes from events[of[n]]
	for i, e := range events {
		result, missed, f := rules.Enrich(e)
		switch {
		case f != nil && f.Waits:
			out.RetryAfter(i, f, waitForContract)
			h.events.WithLabelValues("waits", string(f.Code)).Inc()
			continue
		case f != nil:
			out.Dead(i, f.Code, deadletter.AssumedVersion(f, f.Assumed))
			h.events.WithLabelValues("dead", string(f.Code)).Inc()
			continue
		}
		if missed > 0 {
			h.missing.WithLabelValues(e.Type()).Add(float64(missed))
		}
		enriched, of = append(enriched, result), append(of, i)
	}
	if len(enriched) == 0 {
		return out
	}
	errs := h.sink.Publish(ctx, enriched)
	retries, good := 0, 0
	for n, i := range of {
		err := errNoResult
		if n < len(errs) {
			err = errs[n]
		}
		switch {
		case err == nil:
			out.Done(i)
			good++
		case errors.Is(err, delivery.ErrTooLarge):
			out.Dead(i, event.CodeTooLarge, errors.New("the event with its enrichment is larger than its sink takes"))
			h.events.WithLabelValues("dead", string(event.CodeTooLarge)).Inc()
		default:
			out.Settle(i, fmt.Errorf("publish enriched event %s: %w", event.Attr(enriched[n], event.RootID), err))
			retries++
		}
	}
	h.events.WithLabelValues("enriched", "").Add(float64(good))
	if retries > 0 {
		h.events.WithLabelValues("retry", "").Add(float64(retries))
	}
	return out
}

var errNoResult = errors.New("the sink gave no result")

// waitForContract is after what time an event should come again whose contract's file is wrong. People mend it.
const waitForContract = 10 * time.Second
