package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"syscall"
	"time"

	"millrace/functions/internal/gameday/internal/ledger"
	"millrace/functions/internal/gameday/internal/load"
	"millrace/functions/internal/gameday/internal/proxy"
	"millrace/functions/internal/gameday/internal/server"
)

// row is one fault.
type row struct {
	name   string
	direct bool // enrich and load-search read Kafka themselves; else Triggers bring them their events
	short  bool // in the short form, too

	// inject begins the fault; where it does not stay, it is over when inject returns. lasts is how long it takes, at least: the load goes on through it.
	inject func(ctx context.Context, s *scene) error
	stays  bool
	lasts  time.Duration
	brief  time.Duration // in place of lasts in the short form, where it is not 0
	// end undoes it.
	end func(ctx context.Context, s *scene) error

	events  func(source string, i int) load.Event // nil: trips, of which every 50th violates its contract
	abandon bool                                  // clients break off
	retries int                                   // of Triggers, in place of the manifests'; 0 as they are

	// proof is what shows that the fault did something: one that stays is not ended before. check says what else has to be there. Where either fails, the row shows nothing.
	proof *proof
	check func(s *scene, a *ledger.Account) error
}

// proof counts what a fault did.
type proof struct {
	what string
	n    func(s *scene) int64
}

// takes is how long the fault takes, at least.
func (r *row) takes(cfg *config) time.Duration {
	if cfg.short && r.brief > 0 {
		return r.brief
	}
	return r.lasts
}

// String returns the row's name with its form, which no other row has.
func (r *row) String() string {
	if r.direct {
		return r.name + " (Kafka intake)"
	}
	return r.name
}

const (
	// pace is the time between two signals, at most.
	pace = 1500 * time.Millisecond
	// anew is how long a function that reads Kafka itself is away after SIGKILL, about: Kafka waits that long for its member before another is given its partitions.
	anew = 8 * time.Second
)

// rows are the table. The limits of Elasticsearch's and Kafka's clients, 10 s and 30 s, are what some of the times go by.
var rows = []row{
	{name: "nothing fails"},

	{name: "collect killed 5 times", inject: signalled(syscall.SIGKILL, 5, "collect"), lasts: 5 * pace, proof: ended, check: answered(load.NoAnswer)},
	{name: "enrich killed 5 times", short: true, inject: signalled(syscall.SIGKILL, 5, "enrich"), lasts: 5 * pace, proof: ended},
	{name: "load-search killed 5 times", inject: signalled(syscall.SIGKILL, 5, "load-search"), lasts: 5 * pace, proof: ended},
	{name: "load-lake killed 5 times", inject: signalled(syscall.SIGKILL, 5, "load-lake"), lasts: 5 * pace, proof: ended},
	{name: "SIGTERM to each function in mid-batch, 3 times", inject: signalled(syscall.SIGTERM, 3, "collect", "enrich", "load-search", "load-lake"), lasts: 12 * pace, proof: ended},
	{name: "the platform killed (gateway, Triggers, all functions)", inject: platformKilled, end: platformStarted, lasts: 5 * time.Second, check: answered(load.NoAnswer)},

	{name: "Kafka killed, started 5 s later", short: true, inject: killed(kafkaOf), end: started(kafkaOf), stays: true, lasts: 5 * time.Second, proof: kafkaAway, check: answered(load.Busy, load.Unconfirmed)},
	{
		name: "Kafka stopped (SIGSTOP)", inject: sending(kafkaOf, syscall.SIGSTOP), end: sending(kafkaOf, syscall.SIGCONT), stays: true, lasts: 30 * time.Second,
		check: answered(load.Unconfirmed),
	},
	{name: "connections to Kafka hang", inject: way(kafkaWay, proxy.Hang), end: way(kafkaWay, proxy.Pass), stays: true, lasts: 20 * time.Second, proof: held(kafkaWay), check: answered(load.Unconfirmed)},
	{name: "connections to Kafka cut in mid-response", inject: way(kafkaWay, proxy.Cut), end: way(kafkaWay, proxy.Pass), stays: true, lasts: 20 * time.Second, proof: cut(kafkaWay)},
	{name: "a rebalance storm", inject: storm, lasts: 30 * time.Second, proof: rebalanced},

	{name: "Elasticsearch killed, started 60 s later", inject: killed(searchOf), end: started(searchOf), stays: true, lasts: time.Minute, proof: searchAway},
	{name: "Elasticsearch answers 429", inject: answering(http.StatusTooManyRequests), end: answering(0), stays: true, lasts: 20 * time.Second, proof: refusedWhole},
	{name: "Elasticsearch rejects documents: 1 in 10 for now, 1 in 20 for good", short: true, inject: rejecting, end: accepting, stays: true, lasts: 20 * time.Second, brief: 8 * time.Second, proof: refusedPart, check: rejected},
	{name: "Elasticsearch away for longer than Triggers retry (3 times, 6 s)", retries: 3, inject: way(searchWay, proxy.Refuse), end: way(searchWay, proxy.Pass), stays: true, lasts: 40 * time.Second, proof: reset, check: exhausted},
	{name: "connections to Elasticsearch hang", inject: way(searchWay, proxy.Hang), end: way(searchWay, proxy.Pass), stays: true, lasts: 20 * time.Second, proof: held(searchWay)},
	{name: "connections to Elasticsearch cut in mid-response", inject: way(searchWay, proxy.Cut), end: way(searchWay, proxy.Pass), stays: true, lasts: 20 * time.Second, proof: cut(searchWay)},

	{name: "object storage killed, started 30 s later", inject: killed(storageOf), end: started(storageOf), stays: true, lasts: 30 * time.Second, proof: storageAway},
	{name: "object storage slow", inject: way(storageWay, proxy.Slow), end: way(storageWay, proxy.Pass), stays: true, lasts: 30 * time.Second, proof: slowed(storageWay)},
	{name: "connections to object storage cut in mid-response", inject: way(storageWay, proxy.Cut), end: way(storageWay, proxy.Pass), stays: true, lasts: 20 * time.Second, proof: cut(storageWay)},

	{name: "poison: 1 event in 3 of 14 kinds, and records that are no events", short: true, events: poison, inject: junk, check: poisoned},
	{name: "clients break off: half before, half after the whole request", abandon: true, check: brokenOff},

	{name: "enrich killed 3 times", direct: true, inject: signalled(syscall.SIGKILL, 3, "enrich"), lasts: 2 * anew, proof: ended},
	{name: "load-search killed 3 times", direct: true, short: true, inject: signalled(syscall.SIGKILL, 3, "load-search"), lasts: 2 * anew, proof: ended},
	{name: "SIGTERM to enrich and load-search in mid-batch, 3 times", direct: true, inject: signalled(syscall.SIGTERM, 3, "enrich", "load-search"), lasts: 12 * pace, proof: ended},
	{name: "Kafka killed, started 5 s later", direct: true, inject: killed(kafkaOf), end: started(kafkaOf), stays: true, lasts: 5 * time.Second, proof: kafkaAway, check: answered(load.Busy, load.Unconfirmed)},
	{name: "connections to Kafka cut in mid-response", direct: true, inject: way(kafkaWay, proxy.Cut), end: way(kafkaWay, proxy.Pass), stays: true, lasts: 20 * time.Second, proof: cut(kafkaWay)},
	{name: "a rebalance storm", direct: true, short: true, inject: storm, lasts: 20 * time.Second, brief: 12 * time.Second, proof: rebalanced},
	{name: "Elasticsearch killed, started 60 s later", direct: true, inject: killed(searchOf), end: started(searchOf), stays: true, lasts: time.Minute, proof: searchAway},
	{name: "Elasticsearch rejects documents: 1 in 10 for now, 1 in 20 for good", direct: true, inject: rejecting, end: accepting, stays: true, lasts: 20 * time.Second, proof: refusedPart, check: rejected},
	{name: "poison: 1 event in 3 of 14 kinds, and records that are no events", direct: true, events: poison, inject: junk, check: poisoned},
}

func kafkaOf(s *scene) *server.Server   { return s.kafka }
func searchOf(s *scene) *server.Server  { return s.search }
func storageOf(s *scene) *server.Server { return s.s3 }
func kafkaWay(s *scene) *proxy.TCP      { return s.kafkaWay }
func searchWay(s *scene) *proxy.TCP     { return s.searchWay }
func storageWay(s *scene) *proxy.TCP    { return s.s3At }

func killed(of func(*scene) *server.Server) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error { return of(s).Kill(ctx) }
}

func started(of func(*scene) *server.Server) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error { return of(s).Start(ctx) }
}

func sending(of func(*scene) *server.Server, what syscall.Signal) func(context.Context, *scene) error {
	return func(_ context.Context, s *scene) error { return of(s).Signal(what) }
}

func way(of func(*scene) *proxy.TCP, mode proxy.Mode) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error { return of(s).Set(ctx, mode) }
}

func answering(status int) func(context.Context, *scene) error {
	return func(_ context.Context, s *scene) error {
		s.documents.Answer(status)
		return nil
	}
}

// happened says that a fault had no effect: then the row has shown nothing.
func happened(what string, n int64) error {
	if n == 0 {
		return fmt.Errorf("the row shows nothing: not one %s", what)
	}
	return nil
}

// answered wants at least one answer of one of the statuses.
func answered(any ...load.Status) func(*scene, *ledger.Account) error {
	return func(_ *scene, a *ledger.Account) error {
		n := 0
		for _, s := range any {
			n += a.Answers[s]
		}
		return happened(fmt.Sprint(any), int64(n))
	}
}

func cut(of func(*scene) *proxy.TCP) *proof {
	return &proof{"connection cut", func(s *scene) int64 { return of(s).Cuts.Load() }}
}

func held(of func(*scene) *proxy.TCP) *proof {
	return &proof{"request or answer that hung", func(s *scene) int64 { return of(s).Held.Load() }}
}

func slowed(of func(*scene) *proxy.TCP) *proof {
	return &proof{"request or answer slowed down", func(s *scene) int64 { return of(s).Slowed.Load() }}
}

var (
	kafkaAway    = &proof{"connection that found no Kafka", func(s *scene) int64 { return s.kafkaWay.Away.Load() }}
	searchAway   = &proof{"request that found no Elasticsearch", func(s *scene) int64 { return s.documents.Away.Load() }}
	storageAway  = &proof{"connection that found no object storage", func(s *scene) int64 { return s.s3At.Away.Load() }}
	refusedWhole = &proof{"request answered 429", func(s *scene) int64 { return s.documents.Answered.Load() }}
	refusedPart  = &proof{"document refused for now, and for good", func(s *scene) int64 { return min(s.documents.Full.Load(), s.documents.Never.Load()) }}
	ended        = &proof{"process that ended with events in hand", func(s *scene) int64 { return s.inHand }}
	rebalanced   = &proof{"guest that was given partitions", func(s *scene) int64 { return s.guests.Load() }}
	reset        = &proof{"connection reset", func(s *scene) int64 { return s.searchWay.Refused.Load() }}
)

// brokenOff wants clients that went without an answer, and events that were taken though their client had gone.
func brokenOff(s *scene, a *ledger.Account) error {
	return errors.Join(answered(load.NoAnswer)(s, a), happened("event that was taken and sent again", int64(a.Raw.Duplicates)))
}

func exhausted(_ *scene, a *ledger.Account) error {
	return happened("delivery_exhausted", int64(a.Codes["load-search delivery_exhausted"]))
}

func platformKilled(_ context.Context, s *scene) error {
	return s.platform.Stop(syscall.SIGKILL, time.Minute)
}

func platformStarted(ctx context.Context, s *scene) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	return s.platform.Start(ctx)
}

// rejecting refuses documents of events for good by their root ids, which are 36 bytes long, so that each time gives the same answer; and any document for now, now and then.
func rejecting(_ context.Context, s *scene) error {
	s.documents.Judge(func(id string) proxy.Verdict {
		h := fnv.New32a()
		_, _ = h.Write([]byte(id)) // a hash takes everything
		switch n := h.Sum32(); {
		case len(id) == 36 && n%20 == 0:
			return proxy.Never
		case s.documents.Seen.Add(1)%10 == 0:
			return proxy.Full
		}
		return proxy.Through
	})
	return nil
}

func accepting(_ context.Context, s *scene) error {
	s.documents.Judge(nil)
	return nil
}

func rejected(_ *scene, a *ledger.Account) error {
	return happened("search_rejected", int64(a.Codes["load-search search_rejected"]))
}

// poisoned wants each poison to have been found out where it should be.
func poisoned(s *scene, a *ledger.Account) error {
	var errs []error
	if s.row.direct { // Triggers skip them without a word
		errs = append(errs, happened("dead letter for a record that is no event", int64(a.Codes["enrich invalid_cloudevent"])))
	}
	for _, code := range poisonCodes {
		errs = append(errs, happened("dead letter "+code, int64(a.Codes[code])))
	}
	if a.Foreign != junkRecords {
		errs = append(errs, fmt.Errorf("%d records of events.raw are no events, not %d", a.Foreign, junkRecords))
	}
	return errors.Join(errs...)
}
