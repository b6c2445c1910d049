package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/google/uuid"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/quality"
	"millrace/functions/curate/internal/warehouse"
)

const modelsText = `curate models shows, checks and runs the models: SQL files that make the tables star.*, those that ship and those of MODELS.

  curate models list   [--select ...]                     what there is
  curate models graph  [--select ...] [--format mermaid]  which reads which
  curate models check  [--select ...] [--tables]          whether DuckDB and Trino would answer them alike
  curate models run    [--select ...] [--full-refresh]    judge new days, then bring their tables up to date, as curate run does

--select is dbt's: a name (* stands for anything), +name with all that it needs, name+ with all that need it, tag:x, path:dir; a comma for what several have in common.
check reads no server but with --tables, which has the columns of the tables events.* and ops.* in the warehouse looked at too.
`

func runModels(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := newFlags("models", modelsText)
	selectors := f.StringArray("select", nil, "which models; several add up")
	format := f.String("format", "text", "of graph: text, mermaid or dot")
	full := f.Bool("full-refresh", false, "run: build them anew from all that their inputs hold, after rows of the past were changed")
	tables := f.Bool("tables", false, "check: look at the tables of the warehouse, too")
	if err := f.parse(args, stdout, 1); err != nil {
		return err
	}
	if f.Arg(0) == "run" {
		return modelsRun(ctx, f, *selectors, *full, stdout, stderr)
	}
	if !slices.Contains([]string{"list", "graph", "check"}, f.Arg(0)) {
		return fmt.Errorf("%w: models %s is not known: list, graph, check, run", errUsage, f.Arg(0))
	}
	c, err := readConfig()
	if err != nil {
		return err
	}
	set, err := c.models()
	if problems := model.Problems(err); problems != nil {
		return told(stdout, problems)
	}
	if err != nil {
		return err
	}
	chosen, err := set.Select(*selectors...)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	switch f.Arg(0) {
	case "list":
		return model.List(stdout, chosen)
	case "graph":
		return set.Graph(stdout, model.Format(*format), chosen)
	}
	problems, err := modelsCheck(ctx, f, set, *tables, stderr)
	if err != nil {
		return err
	}
	problems = slices.DeleteFunc(problems, func(p model.Problem) bool {
		return !slices.ContainsFunc(chosen, func(m *model.Model) bool { return m.Name == p.Model })
	})
	if len(problems) > 0 {
		return told(stdout, problems)
	}
	fmt.Fprintf(stdout, "%d models, nothing to say against them\n", len(chosen))
	return nil
}

// told prints the problems, one a line.
func told(stdout io.Writer, problems []model.Problem) error {
	for _, p := range problems {
		fmt.Fprintln(stdout, p)
	}
	return fmt.Errorf("%d problems in the models", len(problems))
}

// modelsCheck has the models checked, by DuckDB too where the program has it.
func modelsCheck(ctx context.Context, f *flags, set *model.Set, tables bool, stderr io.Writer) (problems []model.Problem, err error) {
	var o model.Checks
	var scratch string
	if tables {
		s, err := f.forPerson(ctx, stderr)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		scratch = filepath.Join(s.warehouse.Scratch(), "check")
		o.Schema = func(name string) (*iceberg.Schema, error) {
			namespace, table, _ := strings.Cut(name, ".")
			t, err := s.warehouse.Load(ctx, warehouse.Name{Namespace: namespace, Table: table})
			if errors.Is(err, warehouse.ErrNoTable) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			return t.Schema(), nil
		}
	} else {
		if scratch, err = os.MkdirTemp("", "millrace-models-check-"); err != nil { // two users of one machine, and two checks, do not share it
			return nil, fmt.Errorf("making a scratch directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	}
	db, err := duck.Open(ctx, duck.Options{Memory: 256 << 20, Threads: 1, Scratch: scratch})
	switch {
	case errors.Is(err, duck.ErrNoCgo):
		fmt.Fprintf(stderr, "the models were not parsed: %v\n", err)
	case err != nil:
		return nil, err
	default:
		o.Binder = db
		defer func() { err = errors.Join(err, db.Close()) }()
	}
	return model.Check(ctx, set, o), nil
}

func modelsRun(ctx context.Context, f *flags, selectors []string, full bool, stdout, stderr io.Writer) (err error) {
	s, err := f.forPerson(ctx, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if _, err := s.models.Select(selectors...); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	unlock, err := s.warehouse.Lock(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("making the run's id: %w", err)
	}
	// A run may have been killed behind its ingest: days that nobody has judged yet do not get past the rules.
	judged, unproven := quality.Run(ctx, s.quality(id.String()))
	o := s.model(judged.Held)
	o.Select, o.FullRefresh = selectors, full
	res, err := model.Run(ctx, o)
	if unproven != nil {
		err = errors.Join(fmt.Errorf("quality: %w", unproven), err)
	}
	if tell := modelsTable(stdout, res); tell != nil {
		return fmt.Errorf("write what was done: %w", tell)
	}
	if failed := res.Failed(); len(failed) > 0 {
		err = errors.Join(err, fmt.Errorf("not built: %s", strings.Join(failed, ", ")))
	}
	return err
}

// modelsTable writes a line for each model, then the tests that failed with some of the rows.
func modelsTable(out io.Writer, res model.Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	// The writer keeps everything until Flush, which tells.
	fmt.Fprintf(w, "MODEL\tSTATUS\tADDED\tREPLACED\tREMOVED\tDUPLICATES\tCONFLICTS\tTOOK\tWHY\n")
	for _, m := range res.Models {
		n := m.Counts
		why, _, _ := strings.Cut(m.Cause, "\n")
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", m.Name, m.Status, n.Added, n.Replaced, n.Removed, n.Duplicates, n.Conflicts, m.Duration.Round(time.Millisecond), why)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, m := range res.Models {
		for _, t := range m.Tests {
			if t.Passed {
				continue
			}
			w := tabwriter.NewWriter(out, 2, 0, 2, ' ', 0)
			fmt.Fprintf(w, "\n%s: test %s (%s) failed for %d\n  %s\n", m.Name, t.Name, t.Severity, t.Failures, strings.Join(t.Columns, "\t"))
			for _, row := range t.Examples {
				fmt.Fprintf(w, "  %s\n", strings.Join(row, "\t"))
			}
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}
