// Command load-lake drains topics to object storage, in large objects, when it is asked to.
//
// Consumes: ticks over HTTP from one PingSource per topic, CloudEvents with the data {"topic": "events.raw"} and, optionally,
// "budget": "30s"; then the records of that topic, straight from Kafka, from where the landing log ends. {"topic": "events.raw", "sweep": true} asks for
// the deletion of objects that crashed drains left, which is done at most once in 20 hours, "dry_run": true for a report of them.
//
// Emits: Parquet objects under landing/ and the landing log that names them (package landing), raw and dead ones in a bucket of
// their own. Where the logs end also stands in Kafka as the committed offsets of LAG_GROUP, for tools that show lag; they are read for one thing alone: that an empty
// bucket had a log.
//
// On failure: 503, and the PingSource comes again; the log stands at the last entry published and nothing is read twice
// into it. Offsets that Kafka no longer has become a lost range, an error in the log and millrace_lake_lost_offsets_total; a topic that was
// created anew stops its drains until DRAIN_ACCEPT_TOPIC_ID names its new id, one that lost its end until DRAIN_ACCEPT_TRUNCATION says where to go on, one whose landing log is
// gone (a bucket made anew) until DRAIN_ACCEPT_LOST_LOG has its id. It dead-letters nothing.
// An enriched event whose contract is not here keeps its partition waiting for CONTRACTS_WAIT; one whose contract masks personal data, without a key to do so (MASK_KEY_FILE, MASK_KEY), until there is
// one, and the drain is an error then.
//
// Its own metrics, at /metrics: millrace_lake_lag_offsets, millrace_lake_held_offsets and millrace_lake_last_complete_drain_timestamp_seconds by topic say how far the lake is behind, as
// the last drain saw it; monitoring/alerts.yaml has the alarms.
//
// Variables: load-lake --help lists them, from config.go.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"millrace/shared/contract"
	"millrace/shared/function"
	"millrace/shared/serve"
	"millrace/shared/usage"
)

const component = "load-lake"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		slog.Error("load-lake ended", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if done, err := usage.Asked(os.Stdout, args, help, config{}); done || err != nil {
		return err
	}
	c, err := readConfig()
	if err != nil {
		return err
	}
	f := function.New(component, c.Process, 700<<20)
	source := newSource(c.Brokers, c.Security)
	contracts, err := contract.Open(ctx, c.Contracts, invalid(f.Logger, f.Registry))
	if err != nil {
		return err
	}
	m := newMetrics(f.Registry)
	position := newGauge(ctx, c.LagGroup, source, m.uncommitted, f.Logger)
	topics, err := c.topics(source, contracts, f.Logger, m, position)
	if err != nil {
		return errors.Join(err, position.Close(ctx))
	}
	o := c.intake()
	o.Logger, o.Registerer = f.Logger, f.Registry
	intake := serve.Events(&handler{topics: topics, budget: c.Budget, stop: ctx, clock: time.Now, logger: f.Logger, drained: m.drained, swept: m.swept}, o)
	server := f.Server()
	server.Drain = []serve.Hook{{Name: "intake", Do: intake.Drain}, {Name: "position", Do: position.Close}, {Name: "kafka", Do: source.Close}}
	return serve.Run(ctx, server, intake)
}
