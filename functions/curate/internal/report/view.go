package report

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// view is what the template reads: everything is computed here, the template only lays out.
type view struct {
	Run
	Verdict    Verdict
	Word       string // of the verdict
	Problems   []problem
	Tiles      []tile
	Wall       time.Duration
	CPU        time.Duration
	RuleTables []ruleTable
	Held       []Hold
	Freed      []Hold
	TestsTotal int
	TestsBad   int
	Counted    bool // some model says how many rows it has
}

// tile is one figure at the top.
type tile struct {
	Figure, Label, Target string
	Level                 Level
	Neutral               bool // the figure is neither good nor bad
}

type ruleTable struct {
	Table  string
	Passed int
	Total  int
	Rules  []ruleRow
}

type ruleRow struct {
	Rule
	Level Level
	State string
	Shown string // the value
	Chart *sparkline
}

func newView(r Run) view {
	v := view{Run: r, Problems: problems(r), Wall: r.End.Sub(r.Start)}
	v.Verdict = verdict(r, v.Problems)
	v.Word = [...]string{Good: "Good", Warning: "Warnings", Bad: "Action needed"}[v.Verdict.Level]
	if r.Start.IsZero() || r.End.IsZero() || v.Wall < 0 {
		v.Wall = 0
	}
	for _, s := range r.Steps {
		v.CPU += s.CPU
	}
	for _, h := range r.Quarantine {
		if h.Released {
			v.Freed = append(v.Freed, h)
		} else {
			v.Held = append(v.Held, h)
		}
	}
	for _, m := range r.Models {
		v.TestsTotal += len(m.Tests)
		v.Counted = v.Counted || m.Rows > 0
		for _, t := range m.Tests {
			if !t.Passed || t.Error != "" {
				v.TestsBad++
			}
		}
	}
	v.RuleTables = ruleTables(r.Rules)
	v.Tiles = tiles(v)
	return v
}

func ruleTables(rules []Rule) []ruleTable {
	var all []ruleTable
	for _, r := range rules {
		at := slices.IndexFunc(all, func(t ruleTable) bool { return t.Table == r.Table })
		if at < 0 {
			at, all = len(all), append(all, ruleTable{Table: r.Table})
		}
		row := ruleRow{Rule: r, State: "passed", Shown: valueOf(r.Value, r.Unit), Chart: spark(r.Trend, r.Limit, r.Unit)}
		switch {
		case r.Error != "":
			row.State, row.Level, row.Shown = "no result", ruleLevel(r), "–"
		case r.Passed:
		case r.Severity == SeverityInfo:
			row.State = "noted"
		default:
			row.State, row.Level = "failed", ruleLevel(r)
		}
		all[at].Total++
		if row.Level == Good {
			all[at].Passed++
		}
		all[at].Rules = append(all[at].Rules, row)
	}
	for _, t := range all {
		slices.SortStableFunc(t.Rules, func(a, b ruleRow) int {
			return cmp.Or(cmp.Compare(b.Level, a.Level), strings.Compare(a.ID, b.ID), strings.Compare(a.Column, b.Column), strings.Compare(b.Day, a.Day))
		})
	}
	return all
}

func tiles(v view) []tile {
	var rows int64
	files, alarms := 0, 0
	for _, t := range v.Ingest {
		rows, files, alarms = rows+t.Rows, files+t.Files, alarms+len(t.Alarms)
	}
	in := tile{Figure: count(rows), Label: "rows taken in, from " + plural(files, "object", "objects"), Target: "ingest", Neutral: true}
	if alarms > 0 {
		in.Level, in.Neutral = Bad, false
	}
	all := []tile{in}
	if total := len(v.Rules); total > 0 {
		t := tile{Label: "quality rules passed", Target: "quality"}
		passed := 0
		for _, table := range v.RuleTables {
			passed += table.Passed
			for _, r := range table.Rules {
				t.Level = max(t.Level, r.Level)
			}
		}
		t.Figure = count(passed) + " / " + count(total)
		all = append(all, t)
	}
	if n := len(v.Quarantine); n > 0 {
		t := tile{Figure: count(len(v.Held)), Label: "days held back", Target: "quarantine"}
		if len(v.Held) == 1 {
			t.Label = "day held back"
		}
		if len(v.Held) > 0 {
			t.Level = Bad
		}
		all = append(all, t)
	}
	if total := len(v.Models); total > 0 {
		t := tile{Label: "models up to date", Target: "models"}
		good := 0
		for _, m := range v.Models {
			ps := modelProblems(m)
			for _, p := range ps {
				t.Level = max(t.Level, p.Level)
			}
			if m.Error == "" && m.Skipped == "" && !slices.ContainsFunc(ps, func(p problem) bool { return p.Level == Bad }) {
				good++
			}
		}
		t.Figure = count(good) + " / " + count(total)
		all = append(all, t)
	}
	if total := len(v.SLAs); total > 0 {
		t := tile{Label: "SLAs kept", Target: "sla"}
		kept := 0
		for _, s := range v.SLAs {
			if s.Kept && s.Error == "" {
				kept++
			}
		}
		if kept < total {
			t.Level = Warning
		}
		t.Figure = count(kept) + " / " + count(total)
		all = append(all, t)
	}
	return append(all, tile{Figure: span(v.Wall), Label: "from start to end, " + span(v.CPU) + " of CPU", Target: "steps", Neutral: true})
}

// outcome is how a model's tests came out.
type outcome struct {
	Level Level
	Text  string
}

// tests is nil where the model has none.
func tests(m Model) *outcome {
	if len(m.Tests) == 0 {
		return nil
	}
	o := &outcome{}
	bad := 0
	for _, t := range m.Tests {
		if t.Passed && t.Error == "" {
			continue
		}
		bad++
		if t.Severity == SeverityError {
			o.Level = Bad
		} else {
			o.Level = max(o.Level, Warning)
		}
	}
	o.Text = count(int64(len(m.Tests))) + " passed"
	if bad > 0 {
		o.Text = count(int64(bad)) + " of " + count(int64(len(m.Tests))) + " failed"
	}
	return o
}

// HasMean reports whether some column has a mean: a column without any figure is left out.
func (p Profile) HasMean() bool {
	return slices.ContainsFunc(p.Columns, func(c ColumnProfile) bool { return c.Mean != "" })
}
