// Command load-search makes events searchable: it writes enriched events and dead letters to Elasticsearch.
//
// Consumes: CloudEvents over HTTP, one a request, from the Triggers load-search-enriched and load-search-dead.
//
// Emits: documents in enriched-<type>-<MODEL>-YYYY.MM.DD and dead-YYYY.MM.DD, each once however often its event comes. Not guaranteed for an event that
// came past collect (by a Broker's own ingress, from another team's producer) and has no time: delivered to enrich again on another day, it is there twice,
// since nothing in it says when it came; the lake counts it once. One that has a time goes to that day's index, so a backfill of years belongs to
// collect, or it makes an index a day.
//
// On failure: what Elasticsearch refuses for good, and an event whose root id belongs to another payload already, becomes a
// dead letter in DEAD_SINK at once; a dead letter that is refused is written without its payload. Anything else is answered
// 503 or 429 and comes again.
//
// Variables: load-search --help lists them, from config.go.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"millrace/shared/contract"
	"millrace/shared/deadletter"
	"millrace/shared/delivery"
	"millrace/shared/kafka"
	"millrace/shared/search"
	"millrace/shared/serve"
	"millrace/shared/telemetry"
	"millrace/shared/usage"
)

// stage is this function's name in the attributes of dead letters.
const stage = "load-search"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		slog.Error("load-search ended", "error", err)
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
	logger := telemetry.Logger(os.Stderr, c.Log, stage)
	slog.SetDefault(logger)
	client, err := search.New(c.search())
	if err != nil {
		return err
	}
	defer client.Close()
	registry := telemetry.NewRegistry(stage)
	producer := kafka.NewProducer(c.brokers, kafka.ProducerOptions{ClientID: stage, Logger: logger})
	dead := producer.Sink(c.topic)

	h := newHandler(client, time.Now, logger, registry)
	contracts, err := contract.Open(ctx, c.Contracts, h.accept)
	if err != nil {
		return err
	}
	follow := func(ctx context.Context) error { return contracts.Follow(ctx, c.ContractsInterval, h.reloaded) }
	h.reload, h.interval, h.wait = contracts.Reload, c.ContractsInterval, c.ContractsWait
	o := c.intake()
	o.Logger, o.Registerer, o.OnUndecodable = logger, registry, deadletter.Undecodable(dead, "/millrace/"+stage, stage, time.Now)
	intake := serve.Events(deadletter.Handler(delivery.Attempts(h, c.Attempts), dead, stage, time.Now, deadletter.ReadsDead()), o)
	return serve.Run(ctx, serve.Config{
		Listen: c.Listen(), Ready: dead.Ready, Metrics: registry, Logger: logger,
		Components: []serve.Component{{Name: "contracts", Run: follow}},
		Drain:      []serve.Hook{{Name: "intake", Do: intake.Drain}, {Name: "producer", Do: producer.Close}},
	}, intake)
}
