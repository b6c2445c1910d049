// Command provision makes what the functions need before the first event: topics, the starting positions of the Triggers' groups, buckets and index
// templates. It is a job, safe to repeat: what is there stays as it is, and what is missing is made.
//
// Consumes: the manifests of Brokers and Triggers and the contracts that are embedded in it.
// Emits: a line for each thing on standard output.
// On failure: it tries again until PROVISION_WAIT has passed, then ends with status 1 and names what was wrong and where. It refuses an object
// store that ignores If-None-Match, since two drains would overwrite each other's log there. Contract files that are wrong are named at once; the rest is
// made all the same, and it ends with status 1.
//
// The lake's catalog is not its business: curate makes tables and namespaces in it, in whatever kind it is, at its first run, and the warehouse's prefix comes with its first object. A database of PostgreSQL for it
// has to be there, with an owner that may make tables.
//
// Variables: provision --help lists them, from config.go, and says what to do where a topic gets partitions.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"millrace/shared/contract"
	"millrace/shared/telemetry"
	"millrace/shared/usage"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "provision:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	if done, err := usage.Asked(os.Stdout, args, help, config{}); done || err != nil {
		return err
	}
	c, err := readConfig()
	if err != nil {
		return err
	}
	contracts, err := contract.Open(ctx, c.Contracts)
	if err != nil {
		return fmt.Errorf("contracts: %w", err)
	}
	groups, err := c.groups()
	if err != nil {
		return err
	}
	slog.SetDefault(telemetry.Logger(os.Stderr, c.Log, "provision"))
	p := &provisioner{config: c, contracts: contracts.Set(), groups: groups, out: os.Stdout}
	defer func() { err = errors.Join(err, p.close()) }()
	wrong := p.wrong()
	return errors.Join(p.run(ctx), wrong)
}
