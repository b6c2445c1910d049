package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"millrace/functions/curate/internal/ingest"
	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/quality"
)

const planText = `curate plan says what a run would do now: which entries of the landing log it would take in, which models it would build and why. It writes nothing and
takes no lock. Models that read what is not yet taken in will have more to do than is shown.
`

// plan is what a run would do.
type plan struct {
	Ingest     ingest.Result `json:"ingest"`
	Models     []model.Step  `json:"models"`
	Quarantine quality.Holds `json:"quarantine"`
}

func runPlan(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	f := newFlags("plan", planText)
	format := f.String("format", "table", "`table`, or json for machines")
	if err := f.parse(args, stdout, 0); err != nil {
		return err
	}
	if *format != "table" && *format != "json" {
		return fmt.Errorf("%w: --format must be table or json", errUsage)
	}
	s, err := f.forPerson(ctx, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var p plan
	if p.Ingest, err = ingest.Plan(ctx, s.ingest(ctx)); err != nil {
		return err
	}
	if p.Quarantine, err = quality.Held(ctx, s.warehouse); err != nil {
		return err
	}
	if p.Models, err = model.Plan(ctx, s.model(p.Quarantine)); err != nil {
		return err
	}
	if *format == "json" {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		err = e.Encode(p)
	} else {
		err = p.table(stdout)
	}
	if err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}

func (p plan) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	// The writer keeps everything until Flush, which tells.
	fmt.Fprintf(w, "LANDING LOG\tENTRIES\tROWS\tBYTES\n")
	for _, l := range p.Ingest.Logs {
		fmt.Fprintf(w, "%s %s\t%d\t%d\t%d\n", l.Topic, l.TopicID, l.Entries, l.Rows, l.Bytes)
	}
	fmt.Fprintf(w, "\nTABLE\tNEW ROWS\n")
	for _, t := range p.Ingest.Tables {
		fmt.Fprintf(w, "%s\t%d\n", t.Name, t.Rows)
	}
	fmt.Fprintf(w, "\nMODEL\tWHAT\tWHY\n")
	for _, m := range p.Models {
		what := string(m.Mode)
		if what == "" {
			what = "nothing"
		}
		if len(m.Days) > 0 {
			what += fmt.Sprintf(" of %d days", len(m.Days))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", m.Model, what, m.Reason)
	}
	for _, h := range p.Quarantine {
		fmt.Fprintf(w, "\nheld\t%s %s\t%s: %s\n", h.Source, h.Day, h.Rule, h.Reason)
	}
	for _, a := range p.Ingest.Alarms {
		fmt.Fprintf(w, "\nalarm\t%s\n", strings.ReplaceAll(a.String(), "\t", " "))
	}
	return w.Flush()
}
