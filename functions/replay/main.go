// Command replay puts events back to where they failed, or takes a time range through the pipeline once more: first a plan, which says what would become of
// each, then its application. It is a job, started on purpose.
//
// Consumes: dead letters or raw events, from their topic or from the landing area; the contracts; what search shows of the events.
//
// Emits: by plan, a table and a file; by apply, the plan's events with replayid and replaycount, to events.raw, events.enriched or collect, and a journal beside the plan.
//
// On failure: it says what is wrong and ends with status 1; the same command goes on where it was. 2 says that it was called wrongly.
//
// Variables: replay plan --help and replay apply --help list them, from config.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
)

// command is one thing that replay does. run parses args by itself; an error that wraps errUsage is a mistake of the caller's.
type command struct {
	name, does string
	run        func(ctx context.Context, args []string, stdout, stderr io.Writer) error
}

var commands = []command{
	{"plan", "select events and say what a replay of them would do; write that down", runPlan},
	{"apply", "send the events of a plan", runApply},
	{"reconcile", "account for every event of a time: what arrived, what waits, what is missing", runReconcile},
	{"trace", "tell one event's way, and where it waits or why it failed", runTrace},
}

var errUsage = errors.New("called wrongly")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		fmt.Fprint(stdout, help())
		return 0
	}
	for _, c := range commands {
		if c.name != args[0] {
			continue
		}
		switch err := c.run(ctx, args[1:], stdout, stderr); {
		case err == nil, errors.Is(err, pflag.ErrHelp):
			return 0
		case errors.Is(err, errUsage):
			fmt.Fprintf(stderr, "replay %s: %v\nTry: replay %s --help\n", c.name, err, c.name)
			return 2
		default:
			fmt.Fprintf(stderr, "replay %s: %v\n", c.name, err)
			return 1
		}
	}
	fmt.Fprintf(stderr, "replay: unknown command %q\nTry: replay --help\n", args[0])
	return 2
}
