package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"millrace/functions/curate/dashboards"
)

const dashboardsText = `curate dashboards brings the dashboards Taxi and Operations, with their charts, data sets and databases, into a Superset, and back out.

  curate dashboards import --url http://127.0.0.1:8088 --user admin --password-file pw --trino-url http://millrace@trino:8080
  curate dashboards check  --url ... --user ... --password-file ...     ask every chart for its data; one that fails or is empty ends with status 1
  curate dashboards export --url ... --user ... --password-file ... --to DIR     what was changed in Superset, as the files of functions/curate/dashboards/bundle
  curate dashboards remove --url ... --user ... --password-file ... [--yes]      list what an import brought; with --yes, take it out again

An import can be repeated: it overwrites what an earlier one brought, changes made by hand in Superset included, and nothing else. The user needs the role Admin, or the right to write
databases, data sets, charts and dashboards. Trino's address is the one that Superset reaches it by. It reads no variables.

Charts of the search indices need a catalog of Trino's Elasticsearch connector (--search-catalog); without one they are left out.
--schema-prefix makes a second set of everything, over schemas whose names begin so; check, export and remove need the same one, and remove the other flags of the import too. The command makes no schemas, tables or catalogs.

Flags:
`

// dashboardsFlags are the flags of all; each has no use for some of them.
type dashboardsFlags struct {
	url, user, passwordFile string
	trinoPasswordFile       string
	to, format              string
	emptyOK, yes            bool
	options                 dashboards.Options
}

func (f *dashboardsFlags) set() *pflag.FlagSet {
	set := pflag.NewFlagSet("curate dashboards", pflag.ContinueOnError)
	set.SortFlags = false
	set.Usage = func() {} // misused prints it
	set.StringVar(&f.url, "url", "http://127.0.0.1:8088", "`address` of Superset")
	set.StringVar(&f.user, "user", "admin", "`name` of a user of Superset's own database")
	set.StringVar(&f.passwordFile, "password-file", "", "a `file` with the user's password; - is the standard input")
	set.StringVar(&f.options.Trino, "trino-url", "http://millrace@127.0.0.1:8080", "`address` of Trino as Superset reaches it, without a password")
	set.StringVar(&f.trinoPasswordFile, "trino-password-file", "", "a `file` with the password of that address's user, where Trino asks for one")
	set.StringVar(&f.options.Catalog, "catalog", "lake", "`name` of the lake's catalog in Trino")
	set.StringVar(&f.options.SchemaPrefix, "schema-prefix", "", "`text` before the names of the schemas events, ops and star")
	set.StringVar(&f.options.SearchCatalog, "search-catalog", "", "`name` of the search indices' catalog in Trino; empty: charts of search are left out")
	set.StringVar(&f.options.SearchIndex, "search-index", "dead-*", "`name` of the indices of dead letters in it")
	set.StringVar(&f.options.Search, "search-url", "", "`address` elasticsearch+http(s)://host:port of a direct connection to search, for a Superset with that driver")
	set.StringVar(&f.to, "to", "", "export: the `directory` to write to")
	set.StringVar(&f.format, "format", "table", "check: `table`, or json for machines")
	set.BoolVar(&f.emptyOK, "empty-ok", false, "check: a chart without a row is no failure")
	set.BoolVar(&f.yes, "yes", false, "remove: do it, and do not only list")
	return set
}

func runDashboards(ctx context.Context, args []string, stdout, _ io.Writer) error {
	f := new(dashboardsFlags)
	set := f.set()
	if err := set.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			fmt.Fprint(stdout, dashboardsText+set.FlagUsages())
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	do := map[string]func(context.Context, *dashboards.Superset, *dashboardsFlags, map[string][]byte, io.Writer) error{
		"import": importDashboards, "check": checkDashboards, "export": exportDashboards, "remove": removeDashboards,
	}[set.Arg(0)]
	switch {
	case do == nil || set.NArg() != 1:
		return fmt.Errorf("%w: dashboards wants one of import, check, export, remove", errUsage)
	case f.passwordFile == "":
		return fmt.Errorf("%w: --password-file names no file", errUsage)
	case set.Arg(0) == "export" && f.to == "":
		return fmt.Errorf("%w: --to names no directory", errUsage)
	case f.format != "table" && f.format != "json":
		return fmt.Errorf("%w: --format must be table or json", errUsage)
	}
	password, err := secret(f.passwordFile)
	if err != nil {
		return fmt.Errorf("--password-file: %w", err)
	}
	if f.trinoPasswordFile != "" {
		if f.options.TrinoPassword, err = secret(f.trinoPasswordFile); err != nil {
			return fmt.Errorf("--trino-password-file: %w", err)
		}
	}
	if err := f.options.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	files, err := dashboards.Bundle(f.options)
	if err != nil {
		return err
	}
	superset, err := dashboards.Login(ctx, f.url, f.user, password)
	if err != nil {
		return err
	}
	return do(ctx, superset, f, files, stdout)
}

// secret reads a password from a file; a line's end behind it is none of it.
func secret(name string) (string, error) {
	content, err := os.ReadFile(name)
	if name == "-" {
		content, err = io.ReadAll(io.LimitReader(os.Stdin, 64<<10))
	}
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(content), "\r\n")
	if text == "" {
		return "", errors.New("there is no password in it")
	}
	return text, nil
}

func importDashboards(ctx context.Context, s *dashboards.Superset, f *dashboardsFlags, files map[string][]byte, stdout io.Writer) error {
	if err := s.Import(ctx, files, dashboards.Passwords(f.options)); err != nil {
		return err
	}
	slugs, err := dashboards.Slugs(files)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "imported %d files\n", len(files))
	for _, slug := range slugs {
		fmt.Fprintf(stdout, "%s/superset/dashboard/%s/\n", strings.TrimRight(f.url, "/"), slug)
	}
	return nil
}

// asked is what check says of one chart.
type asked struct {
	Dashboard string `json:"dashboard"`
	Chart     string `json:"chart"`
	Rows      int    `json:"rows"`
	State     string `json:"state"` // ok, empty, failed
	Error     string `json:"error,omitempty"`
}

func checkDashboards(ctx context.Context, s *dashboards.Superset, f *dashboardsFlags, files map[string][]byte, stdout io.Writer) error {
	slugs, err := dashboards.Slugs(files)
	if err != nil {
		return err
	}
	charts, err := s.Charts(ctx, slugs)
	if err != nil {
		return err
	}
	all := make([]asked, 0, len(charts))
	failed, empty := 0, 0
	for _, c := range charts {
		a := asked{Dashboard: c.Dashboard, Chart: c.Name, Rows: len(c.Rows), State: "ok"}
		switch {
		case c.Err != nil:
			a.State, a.Error = "failed", c.Err.Error()
			failed++
		case a.Rows == 0:
			a.State = "empty"
			empty++
		}
		all = append(all, a)
	}
	if f.format == "json" {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		if err := e.Encode(all); err != nil {
			return err
		}
	} else {
		t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "DASHBOARD\tCHART\tROWS\tSTATE")
		for _, a := range all {
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", a.Dashboard, a.Chart, a.Rows, a.State)
			if a.Error != "" {
				fmt.Fprintf(t, "\t  %s\t\t\n", a.Error)
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if failed > 0 || (empty > 0 && !f.emptyOK) {
		return fmt.Errorf("of %d charts %d failed and %d are empty", len(all), failed, empty)
	}
	return nil
}

func exportDashboards(ctx context.Context, s *dashboards.Superset, f *dashboardsFlags, files map[string][]byte, stdout io.Writer) error {
	slugs, err := dashboards.Slugs(files)
	if err != nil {
		return err
	}
	exported, err := s.Export(ctx, slugs)
	if err != nil {
		return err
	}
	restored, err := f.options.Restore(exported)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(restored)) {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("the export has a file %q, which lies outside of --to", name)
		}
		at := filepath.Join(f.to, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, restored[name], 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(stdout, "wrote %d files to %s\n", len(restored), f.to)
	return nil
}

func removeDashboards(ctx context.Context, s *dashboards.Superset, f *dashboardsFlags, files map[string][]byte, stdout io.Writer) error {
	members, err := s.Members(ctx, files)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, m := range members {
		fmt.Fprintf(t, "%s\t%s\n", m.Kind, m.Name)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if !f.yes {
		fmt.Fprintf(stdout, "%d would be removed; --yes does it\n", len(members))
		return nil
	}
	if err := s.Remove(ctx, members); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "removed %d\n", len(members))
	return nil
}
