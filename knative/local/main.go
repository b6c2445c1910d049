// Command local runs the manifests of knative/ and triggers/ on this machine: functions as processes that start at their first
// request, Brokers and Triggers with Knative's delivery rules, PingSources, CronJobs, and embedded servers for Kafka, object storage and search.
//
//	go run ./knative/local        (make run)
//	go run ./knative/local lint   finds traps in manifests; lint --help explains each
//
// Flags are in config.go, as are the variables that put real servers in the place of embedded ones, KAFKA_BROKERS, S3_ENDPOINT,
// ELASTICSEARCH_URL, CATALOG_URL, and those by which these are reached. Ctrl-C finishes what is in flight and stops everything in
// order; a second one stops at once. What was acknowledged survives either, and SIGKILL.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"millrace/knative/local/internal/build"
	"millrace/knative/local/internal/lint"
	"millrace/knative/local/internal/objectstore"
	"millrace/knative/local/internal/platform"
)

func main() {
	objectstore.Main() // the embedded object storage is a child of this very binary
	err := run(os.Args[1:])
	switch {
	case errors.Is(err, errUsage), errors.Is(err, lint.ErrUsage):
		os.Exit(2)
	case errors.Is(err, lint.ErrFound):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 0 && args[0] == "lint" {
		return linted(args[1:])
	}
	// The heap is small and everything shares one machine's cores: memory is cheaper than collecting garbage.
	debug.SetGCPercent(300)
	debug.SetMemoryLimit(256 << 20)
	cfg, err := load(args)
	if err != nil {
		return err
	}
	ctx, force := signals()
	return platform.Run(ctx, force, cfg, parts())
}

// linted runs the subcommand lint on the manifests of this checkout, or of the paths in args.
func linted(args []string) error {
	root, err := build.Root(".", "millrace")
	if err != nil {
		return err
	}
	return lint.Run(args, lint.Environment{Root: root, In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
}

// signals returns a context that ends at the first SIGINT, SIGTERM or SIGHUP, and one that ends at the second.
func signals() (ctx, force context.Context) {
	force, kill := context.WithCancel(context.Background())
	ctx, stop := context.WithCancel(force)
	received := make(chan os.Signal, 2)
	signal.Notify(received, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-received
		stop()
		<-received
		kill()
	}()
	return ctx, force
}
