package main

import (
	"context"
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
		{"plan", "say what a run would do now, and write nothing", runPlan},
		{"query", "answer a SELECT over the tables", runQuery},
		{"models", "list, draw, check and run the models", runModels},
		{"release", "let a day out of quarantine", runRelease},
		{"dashboards", "bring the dashboards into a Superset, check, export and remove them", runDashboards},
		{"backfill", "make days of events.* anew from the landing log", runBackfill},
		{"rebuild", "make all of events.* anew from the landing log, for a catalog that is lost or stale", runRebuild},
		{"erase", "remove one person's events from search, warehouse and landing", runErase},
		{"maintain", "merge small files, let snapshots expire, apply retention, delete what nobody names", runMaintain},
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

// flags are those of a command for people: its own, and where make run has its data.
type flags struct {
	*pflag.FlagSet
	text string // what it does
	dir  string
}

// newFlags returns the flags of a command that says text of itself.
func newFlags(name, text string) *flags {
	f := &flags{FlagSet: pflag.NewFlagSet("curate "+name, pflag.ContinueOnError), text: text}
	f.SortFlags = false
	f.Usage = func() {} // parse prints it
	f.StringVar(&f.dir, "dir", ".millrace", "the `directory` of make run, whose servers are asked where the variables name no others")
	return f
}

// parse reads the arguments, of which want are no flags; it gives help where that is asked for.
func (f *flags) parse(args []string, stdout io.Writer, want int) error {
	if err := f.Parse(args); err != nil {
		return f.misused(err, stdout)
	}
	if f.NArg() != want {
		return fmt.Errorf("%w: %d arguments wanted, there are %d: %q", errUsage, want, f.NArg(), f.Args())
	}
	return nil
}

// misused gives help where that was asked for, and calls every other error of the arguments a mistake of the caller's.
func (f *flags) misused(err error, stdout io.Writer) error {
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(stdout, f.text+"\nFlags:\n"+f.FlagUsages()+"\nVariables:\n\n"+usage.Variables(config{}))
		return err
	}
	return fmt.Errorf("%w: %w", errUsage, err)
}

// forPerson opens the session of a command that somebody types, against make run where no servers are named.
func (f *flags) forPerson(ctx context.Context, stderr io.Writer) (*session, error) {
	if err := borrow(f.dir); err != nil {
		return nil, err
	}
	return open(ctx, stderr, true)
}
