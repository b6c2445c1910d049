package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// figure is one line of a table.
type figure struct {
	benchmark, metric string
	what, unit        string
	scale             float64 // from the benchmark's unit; 0 is 1
	atMost, atLeast   float64 // the bound; none where both are 0
	optional          bool    // may be left out, which the notes then explain
}

// results are the values measured, by benchmark and metric.
type results map[string][]float64

func (r results) add(benchmark, metric string, v float64) {
	key := benchmark + " " + metric
	r[key] = append(r[key], v)
}

// median returns the middle of f's values; ok is false where there are none.
func (r results) median(f figure) (v float64, ok bool) {
	values := slices.Sorted(slices.Values(r[f.benchmark+" "+f.metric]))
	if len(values) == 0 {
		return 0, false
	}
	v = values[len(values)/2]
	if len(values)%2 == 0 {
		v = (values[len(values)/2-1] + v) / 2
	}
	return v * f.factor(), true
}

func (f figure) factor() float64 {
	if f.scale == 0 {
		return 1
	}
	return f.scale
}

// spread returns the least and the most of f's values, where there are several.
func (r results) spread(f figure) string {
	values := r[f.benchmark+" "+f.metric]
	if len(values) < 2 {
		return ""
	}
	return format(slices.Min(values)*f.factor()) + " to " + format(slices.Max(values)*f.factor())
}

// section is one part of a report: figures with their bounds, tables, and what a reader must know of them.
type section struct {
	title   string
	figures []figure
	results results
	tables  []table
	notes   []string
}

// table is one whose columns are its own.
type table struct {
	title string
	rows  [][]string // the first is the head
}

// lines returns the figures as a table, and how many have a bound that is not met, or no value.
func (s *section) lines() (rows [][]string, unmet int) {
	rows = append(rows, []string{"figure", "unit", "bound", "result", "runs", "met"})
	for _, f := range s.figures {
		v, ok := s.results.median(f)
		bound, met := "", ""
		holds := ok || f.optional
		switch {
		case f.atMost != 0:
			bound, holds = fmt.Sprintf("<= %g", f.atMost), ok && v <= f.atMost
		case f.atLeast != 0:
			bound, holds = fmt.Sprintf(">= %g", f.atLeast), ok && v >= f.atLeast
		}
		switch {
		case !holds:
			met = "NO"
			unmet++
		case bound != "":
			met = "yes"
		}
		result := "not measured"
		switch {
		case ok:
			result = format(v)
		case f.optional:
			result = "left out"
		}
		rows = append(rows, []string{f.what, f.unit, bound, result, s.results.spread(f), met})
	}
	return rows, unmet
}

// text writes the section for a terminal.
func (s *section) text(w io.Writer) (unmet int, err error) {
	rows, unmet := s.lines()
	if err := aligned(w, rows); err != nil {
		return 0, err
	}
	for _, t := range s.tables {
		fmt.Fprintf(w, "\n%s\n", t.title)
		if err := aligned(w, t.rows); err != nil {
			return 0, err
		}
	}
	for _, n := range s.notes {
		fmt.Fprintf(w, "%s\n", n)
	}
	return unmet, nil
}

func aligned(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

// markdown writes the section for README.
func (s *section) markdown(w io.Writer) {
	fmt.Fprintf(w, "\n## %s\n", s.title)
	rows, _ := s.lines()
	piped(w, rows)
	for _, t := range s.tables {
		fmt.Fprintf(w, "\n%s\n", t.title)
		piped(w, t.rows)
	}
	if len(s.notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, n := range s.notes {
		fmt.Fprintf(w, "- %s\n", n)
	}
}

func piped(w io.Writer, rows [][]string) {
	fmt.Fprintln(w)
	for i, r := range rows {
		cells := make([]string, len(r))
		for n, c := range r {
			if rest := strings.TrimLeft(c, " "); rest != c { // what belongs to the line above
				c = "… " + rest
			}
			cells[n] = strings.ReplaceAll(c, "|", `\|`)
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(r)))
		}
	}
}

func format(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// machine says where the figures come from.
func machine() string {
	load := "load average not known"
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = "load average " + strings.Join(strings.Fields(string(b))[:3], " ")
	}
	model := ""
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value) + ", "
				break
			}
		}
	}
	return fmt.Sprintf("%s%d cores, %s, %s/%s, %s at the start", model, runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, load)
}
