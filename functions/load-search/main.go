// Command load-search makes events searchable: it writes enriched events and dead letters to Elasticsearch.
//
// Consumes: CloudEvents over HTTP, one a request, from the Triggers load-search-enriched and load-search-dead; or, with INTAKE, straight from Kafka in batches.
//
// Emits: documents in enriched-<type>-<MODEL>-YYYY.MM.DD and dead-YYYY.MM.DD, each once however often its event is delivered, with what the contract classifies as personal masked (package mask); a
// dead letter's payload is masked too, and left out where no contract says what in it is personal. An event that is sent to collect again
// on another day (UTC) is a second document there, unless its time is within 24 hours of both arrivals: uniqueness is per index, and the lake is the count of record. Not
// guaranteed for an event that came past collect (by a Broker's own ingress, from another team's producer) and has no time: delivered to enrich again on another day, it is there twice,
// since nothing in it says when it came; the lake counts it once. One that has a time goes to that day's index, so a backfill of years belongs to
// collect, or it makes an index a day.
//
// On failure: what Elasticsearch refuses for good, and an event whose root id belongs to another payload already, becomes a
// dead letter in DEAD_SINK at once; a dead letter that is refused is written without its payload. Anything else is answered
// 503 or 429 and comes again. So is an enriched event whose contract this process does not have: for CONTRACTS_WAIT, or, where its file is wrong, until that is mended or
// taken away (see package contract); and one whose contract masks, until there is a key to do so (MASK_KEY_FILE, MASK_KEY).
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
	"millrace/shared/function"
	"millrace/shared/kafka"
	"millrace/shared/search"
	"millrace/shared/serve"
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
	f := function.New(stage, c.Process, 192<<20)
	client, err := search.New(c.search())
	if err != nil {
		return err
	}
	defer client.Close()
	h := newHandler(client, time.Now, f.Logger, f.Registry)
	contracts, err := contract.Open(ctx, c.Location, h.accept)
	if err != nil {
		return err
	}
	h.key = c.Settings.Open().Key
	h.reload, h.interval, h.wait = contracts.Reload, c.Interval, c.ContractsWait
	f.Follow(contracts, c.Contracts, h.reloaded)
	dead := f.OpenSinks(kafka.ProducerOptions{}).Open(c.dead)
	intake := f.Intake(function.In{Intake: c.Intake, From: c.from, Dead: dead, ReadsDead: true}, h)
	return serve.Run(ctx, f.Server(), intake)
}
