// Command produce sends a data set, or generated trips, to collect.
//
// It consumes a file or URL (TLC Parquet, CSV, TSV) or makes events itself, emits them as POST <collect>/api/v1/collect in the JSON
// form, and on failure sends again, with the same identity, what collect called busy or unconfirmed. It ends with 0 when
// every event has a receipt that says accepted or dead_lettered, with 1 when one has not, with 2 when it was called wrongly.
//
// Variables: DATA_URL (what to send), COLLECT_URL (where to). Everything else is a flag: see produce --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/kelseyhightower/envconfig"
	"github.com/spf13/pflag"
	"knative.dev/pkg/signals"
)

func main() {
	stderr, err := ownStderr()
	if err != nil {
		fmt.Fprintf(os.Stderr, "produce: %v\n", err)
		os.Exit(1)
	}
	os.Exit(run(signals.NewContext(), os.Args[1:], os.Stdout, stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c Config
	err := envconfig.Process("", &c)
	if err == nil {
		err = c.parse(args)
	}
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(stdout, c.help())
		return 0
	}
	if err == nil {
		err = c.Validate()
	}
	if err != nil {
		fmt.Fprintf(stderr, "produce: %v\nTry: produce --help\n", err)
		return 2
	}
	if err := newProducer(c, stdout, stderr).produce(ctx); err != nil {
		fmt.Fprintf(stderr, "produce: %v\n", err)
		return 1
	}
	return 0
}
