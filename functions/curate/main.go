// Command curate takes what load-lake landed into Iceberg tables that people query: it verifies the landing log, checks quality and service levels, removes
// duplicates and builds the star schema. It is a job: the CronJob curate starts `curate run` every few minutes.
//
// Consumes: the landing log and the objects it names; the data contracts; the models.
//
// Emits: the tables events.*, ops.* and star.* of the warehouse, a report as one HTML file, OpenLineage events, metrics.
//
// On failure: it says what is wrong and ends with status 1; nothing is half committed, and the next run goes on where this one was. Where another run is at work it ends with 0, or with 1 where that one has been for longer than --patience.
// 2 says that it was called wrongly.
//
// Variables: each command's --help lists them, from config.go.
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

// command is one thing that curate does. run parses args by itself; an error that wraps errUsage is a mistake of the caller's.
type command struct {
	name, does string
	run        func(ctx context.Context, args []string, stdout, stderr io.Writer) error
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
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		switch err := c.run(ctx, args[1:], stdout, stderr); {
		case err == nil, errors.Is(err, pflag.ErrHelp):
			return 0
		case errors.Is(err, errUsage):
			fmt.Fprintf(stderr, "curate %s: %v\nTry: curate %s --help\n", c.name, err, c.name)
			return 2
		default:
			fmt.Fprintf(stderr, "curate %s: %v\n", c.name, explained(err))
			return 1
		}
	}
	fmt.Fprintf(stderr, "curate: unknown command %q\nTry: curate --help\n", args[0])
	return 2
}
