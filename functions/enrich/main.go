// Command enrich proves events against their contracts and adds what the contracts' steps ask for.
//
// Consumes: CloudEvents of events.raw over HTTP, one a request, from the Trigger enrich.
//
// Emits: to SINK (events.enriched) the same event with the attribute stage=enriched, the dataschema <contract>/enriched and the data
// {"payload": <the bytes as they came>, "enrichment": {...}}. The same event delivered again gives the same bytes.
//
// On failure: an event that can never pass (reserved_attribute, not_json, unknown_contract, ambiguous_version, contract_violation, enrichment_failed,
// too_large) becomes a dead letter in DEAD_SINK at once, the event as it came. While a sink is away, events are answered 503 and come again.
//
// Variables: enrich --help lists them, from config.go.
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
	"millrace/shared/enrichment"
	"millrace/shared/serve"
	"millrace/shared/telemetry"
	"millrace/shared/usage"
)

// stage is this function's name in the attributes of dead letters.
const stage = "enrich"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		slog.Error("enrich ended", "error", err)
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
	tables, err := enrichment.Reference()
	if err != nil {
		return err
	}
	registry := telemetry.NewRegistry(stage)
	to := openSinks(c, logger)
	h := newEnricher(to.enriched, tables, logger, registry)
	contracts, err := contract.Open(ctx, c.Contracts, h.accept)
	if err != nil {
		return err
	}
	o := c.intake()
	o.Logger, o.Registerer, o.OnUndecodable = logger, registry, deadletter.Undecodable(to.dead, "/millrace/"+stage, stage, time.Now)
	intake := serve.Events(deadletter.Handler(delivery.Attempts(h, c.Attempts), to.dead, stage, time.Now), o)
	follow := func(ctx context.Context) error { return contracts.Follow(ctx, c.ContractsInterval, h.reloaded) }
	return serve.Run(ctx, serve.Config{
		Listen: c.Listen(), Ready: to.ready, Metrics: registry, Logger: logger,
		Components: []serve.Component{{Name: "contracts", Run: follow}},
		Drain:      []serve.Hook{{Name: "intake", Do: intake.Drain}, {Name: "sinks", Do: to.close}},
	}, intake)
}
