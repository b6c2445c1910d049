// Command enrich proves events against their contracts and adds what the contracts' steps ask for.
//
// Consumes: CloudEvents of events.raw over HTTP, one a request, from the Trigger enrich; or, with INTAKE, straight from Kafka in batches, in order within a
// partition key.
//
// Emits: to SINK (events.enriched) the same event with the attribute stage=enriched, the dataschema <contract>/enriched and the data
// {"payload": <the bytes as they came>, "enrichment": {...}}. The same event delivered again gives the same bytes.
//
// On failure: an event that can never pass (reserved_attribute, not_json, unknown_contract, ambiguous_version, contract_violation, enrichment_failed,
// too_large) becomes a dead letter in DEAD_SINK at once, the event as it came. While a sink is away, events are answered 503 and come again; so are those whose contract's
// file is wrong, until it is mended or taken away (see package contract). From Kafka, MAX_WAITING_EVENTS of these wait without holding up other types, but
// later events of their partition key wait behind them, whatever their type.
//
// Variables: enrich --help lists them, from config.go.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"millrace/shared/contract"
	"millrace/shared/enrichment"
	"millrace/shared/function"
	"millrace/shared/kafka"
	"millrace/shared/serve"
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
	f := function.New(stage, c.Process, 96<<20)
	tables, err := enrichment.Reference()
	if err != nil {
		return err
	}
	sinks := f.OpenSinks(kafka.ProducerOptions{Timeout: c.SendTimeout, Buffer: c.InFlight})
	h := newEnricher(sinks.Open(c.sink), tables, f.Logger, f.Registry)
	contracts, err := contract.Open(ctx, c.Location, h.accept)
	if err != nil {
		return err
	}
	f.Follow(contracts, c.Contracts, h.reloaded)
	intake := f.Intake(function.In{Intake: c.Intake, From: c.from, Ordered: true, Dead: sinks.Open(c.dead)}, h)
	return serve.Run(ctx, f.Server(), intake)
}
