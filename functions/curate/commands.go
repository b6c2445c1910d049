package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"millrace/shared/usage"
)

// commands are all that curate does. It is a function since their help lists them.
func commands() []command {
	return []command{
		{"run", "take in what landed and bring all tables up to date: what the CronJob calls", runRun},
	}
}

// help says what curate does, in a line for each command.
func help() string {
	var b strings.Builder
	b.WriteString("curate makes tables of what landed: it verifies, checks, removes duplicates and builds the star schema.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  curate %-11s %s\n", c.name, c.does)
	}
	b.WriteString("\ncurate <command> --help says more. Servers come from the environment and default to those of make run.\n")
	return b.String()
}

func variables() string { return "\nVariables:\n\n" + usage.Variables(config{}) }

// misused gives help where that was asked for, and calls every other error of the arguments a mistake of the caller's.
func misused(err error, stdout io.Writer, help string) error {
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(stdout, help)
		return err
	}
	return fmt.Errorf("%w: %w", errUsage, err)
}
