package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Level is how bad something is.
type Level int

// The levels, best first.
const (
	Good Level = iota
	Warning
	Bad
)

// String returns good, warning or bad.
func (l Level) String() string {
	switch l {
	case Good:
		return "good"
	case Warning:
		return "warning"
	case Bad:
		return "bad"
	}
	return fmt.Sprintf("Level(%d)", int(l))
}

// Verdict is what a run amounts to.
type Verdict struct {
	Level    Level
	Headline string   // one sentence
	Reasons  []string // one for each problem, worst first; empty where Level is Good
}

// problem is one thing that somebody has to act on or should know of.
type problem struct {
	Level    Level
	Title    string
	Where    string
	Text     string
	Note     string // the description that its contract gives
	Command  string // what to run, if anything
	Days     []dayValue
	Trend    *sparkline
	Examples Examples
	Open     bool // its example rows are shown without a click
}

type dayValue struct{ Day, Value string }

// Verdict computes the level from the run's facts; see the package's decision.
func (r Run) Verdict() Verdict { return verdict(r, problems(r)) }

func verdict(r Run, all []problem) Verdict {
	v := Verdict{Level: Good}
	kinds := map[Level]int{}
	for _, p := range all {
		v.Level = max(v.Level, p.Level)
		kinds[p.Level]++
		reason := p.Title
		if p.Where != "" {
			reason += " (" + p.Where + ")"
		}
		v.Reasons = append(v.Reasons, reason)
	}
	switch v.Level {
	case Bad:
		v.Headline = plural(kinds[Bad], "thing needs", "things need") + " somebody to act"
		switch n := kinds[Warning]; {
		case n == 1:
			v.Headline += ", and there is 1 warning"
		case n > 1:
			v.Headline += ", and there are " + count(n) + " warnings"
		}
		v.Headline += "."
	case Warning:
		v.Headline = "The tables are up to date, with " + plural(kinds[Warning], "warning", "warnings") + "."
	case Good:
		switch checks := r.checks(); {
		case r.nothing():
			v.Headline = "There was nothing to do, and nothing was checked."
		case checks == 0:
			v.Headline = "The tables are up to date. Nothing was checked."
		case checks == 1:
			v.Headline = "The tables are up to date, and the one check passed."
		default:
			v.Headline = "The tables are up to date, and all " + count(checks) + " checks passed."
		}
	}
	return v
}

// checks is how many rules, SLAs and tests were looked at.
func (r Run) checks() int {
	n := len(r.SLAs)
	for _, rule := range r.Rules {
		if rule.Severity != SeverityInfo {
			n++
		}
	}
	for _, m := range r.Models {
		n += len(m.Tests)
	}
	return n
}

// conflicts is how many identities have different data.
func (r Run) conflicts() int64 { return max(r.Conflicted, int64(len(r.Conflicts))) }

func (r Run) nothing() bool {
	return len(r.Ingest) == 0 && len(r.Rules) == 0 && len(r.Models) == 0 && len(r.SLAs) == 0 && len(r.Quarantine) == 0 && len(r.Profiles) == 0
}

// problems lists everything that is not as it should be, worst first, otherwise in the order in which the data flows.
func problems(r Run) []problem {
	var all []problem
	for _, e := range r.Errors {
		all = append(all, problem{Level: Bad, Title: "The run met an error in " + orElse(e.Step, "a step"), Text: e.Text})
	}
	for _, s := range r.Steps {
		told := slices.ContainsFunc(r.Errors, func(e Error) bool { return e.Step == s.Name })
		if s.Error != "" && !told {
			all = append(all, problem{Level: Bad, Title: "Step " + s.Name + " failed", Text: s.Error})
		}
	}
	for _, t := range r.Ingest {
		for _, a := range t.Alarms {
			all = append(all, problem{Level: Bad, Title: alarmTitle(a.Kind), Where: t.Table, Text: a.Text})
		}
	}
	rules := r.Rules
	for _, h := range r.Quarantine {
		if h.Released {
			continue
		}
		held := func(rule Rule) bool {
			return rule.Table == h.Source && rule.Day == h.Day && rule.ID == h.Rule && !rule.Passed
		}
		text := words(h.Reason)
		if h.Value != "" {
			text += " Value: " + h.Value + "."
		}
		if h.Rows > 0 {
			text += " " + plural(h.Rows, "row waits", "rows wait") + "."
		}
		by := " Held by rule " + h.Rule + " since " + clock(h.Since) + "."
		if h.Rule == "" {
			by = " It is not known whether its rules hold; the next run looks again."
		}
		p := problem{Level: Bad, Title: heldTitle(h.Day), Where: h.Source, Text: strings.TrimSpace(text + by), Command: h.Release}
		// The rule that holds the day is told with it, once.
		if at := slices.IndexFunc(rules, held); at >= 0 {
			p.Note, p.Trend, p.Examples = rules[at].Description, spark(rules[at].Trend, rules[at].Limit, rules[at].Unit), rules[at].Examples
			rules = slices.DeleteFunc(slices.Clone(rules), held)
		}
		all = append(all, p)
	}
	all = append(all, ruleProblems(rules)...)
	for _, s := range r.SLAs {
		switch {
		case s.Error != "":
			all = append(all, problem{Level: Warning, Title: "SLA " + s.Property + " could not be measured", Where: where(s.Table, s.Element), Text: s.Error, Note: s.Description})
		case !s.Kept:
			all = append(all, problem{
				Level: Warning, Title: "SLA " + s.Property + " was missed", Where: where(s.Table, s.Element), Text: found(s.Value, s.Unit, s.Threshold), Note: s.Description,
				Trend: spark(s.Trend, s.Limit, s.Unit),
			})
		}
	}
	for _, m := range r.Models {
		all = append(all, modelProblems(m)...)
	}
	for _, p := range r.Profiles {
		if p.Error != "" {
			all = append(all, problem{Level: Warning, Title: "A day could not be profiled", Where: where(p.Table, p.Day), Text: p.Error, Note: "Its rules were run all the same, and nothing waits for the profile."})
		}
	}
	if n := r.conflicts(); n > 0 {
		all = append(all, problem{
			Level: Warning, Title: plural(n, "event arrived", "events arrived") + " with different data under one identity", Where: "ops.conflicts",
			Text: "The copy with the highest replay count, then the earliest, is the one in the tables. All of them are in ops.conflicts.",
		})
	}
	slices.SortStableFunc(all, func(a, b problem) int { return cmp.Compare(b.Level, a.Level) })
	for i := range all {
		all[i].Open = i < 3
	}
	return all
}

// heldTitle says which day is held; "*" is every day.
func heldTitle(day string) string {
	if day == "*" {
		return "All days are held back"
	}
	return "A day is held back: " + day
}

// ruleProblems are the failed rules, one for a rule on all its days: a month that is filled again does not tell the same thing thirty times.
func ruleProblems(rules []Rule) []problem {
	type key struct{ table, id, column string }
	days := map[key][]Rule{}
	var order []key
	for _, r := range rules {
		if r.Passed || (r.Severity == SeverityInfo && r.Error == "") {
			continue
		}
		k := key{r.Table, r.ID, r.Column}
		if _, there := days[k]; !there {
			order = append(order, k)
		}
		days[k] = append(days[k], r)
	}
	all := make([]problem, 0, len(order))
	for _, k := range order {
		failed := days[k]
		slices.SortStableFunc(failed, func(a, b Rule) int { return cmp.Compare(b.Day, a.Day) })
		r := failed[0]
		p := problem{
			Level: ruleLevel(r), Title: "Rule " + r.ID + " failed", Where: where(r.Table, r.Column, r.Day), Text: found(r.Value, r.Unit, r.Threshold), Note: r.Description,
			Trend: spark(r.Trend, r.Limit, r.Unit), Examples: r.Examples,
		}
		if r.Error != "" {
			p.Title, p.Text = "Rule "+r.ID+" could not be computed", r.Error
		}
		if r.Blocking {
			p.Text += " The rule is blocking: facts do not take the day's rows until it passes or somebody releases the day."
		}
		if len(failed) > 1 {
			p.Title += " on " + plural(len(failed), "day", "days")
			p.Where = where(r.Table, r.Column)
			for _, f := range failed {
				p.Level = max(p.Level, ruleLevel(f))
				p.Days = append(p.Days, dayValue{f.Day, valueOf(f.Value, f.Unit)})
			}
		}
		all = append(all, p)
	}
	return all
}

func ruleLevel(r Rule) Level {
	if r.Severity == SeverityError || r.Blocking {
		return Bad
	}
	return Warning
}

func modelProblems(m Model) []problem {
	var all []problem
	switch {
	case m.Error != "":
		all = append(all, problem{Level: Bad, Title: "Model " + m.Name + " failed", Text: m.Error})
	case m.Skipped != "":
		all = append(all, problem{Level: Warning, Title: "Model " + m.Name + " was not brought up to date", Text: m.Skipped})
	}
	for _, t := range m.Tests {
		if t.Passed && t.Error == "" {
			continue
		}
		p := problem{
			Level: Warning, Title: "Test " + t.Name + " of model " + m.Name + " failed", Where: where(m.Name, t.Column), Text: plural(t.Failures, "row fails", "rows fail") + " it.", Examples: t.Examples,
		}
		if t.Severity == SeverityError {
			p.Level = Bad
			p.Text += " The model's new rows were not committed."
		}
		if t.Error != "" {
			p.Title, p.Text = "Test "+t.Name+" of model "+m.Name+" could not be run", t.Error
		}
		all = append(all, p)
	}
	return all
}

// alarmTitles say in words what ingest's alarms are about; a kind that is new there is shown as it is.
var alarmTitles = map[string]string{
	"log_gap":           "The landing log has a gap",
	"log_broken":        "The landing log does not join",
	"log_entry_invalid": "An entry of the landing log cannot be read",
	"log_short":         "The landing log ends before what was taken in",
	"log_begins_late":   "The beginning of the landing log is gone",
	"log_unjoined":      "It cannot be told whether the landing log joins",
	"log_gone":          "A landing log is gone",
	"object_missing":    "A landed object is missing",
	"object_corrupt":    "A landed object is not what its log entry says",
	"object_differs":    "A landed object has other rows than its log entry says",
	"column_type":       "A column came with another type",
	"table_collision":   "Two event types have one table name",
	"table_damaged":     "A table is damaged and takes no rows",
	"table_dropped":     "A table was dropped and is made anew",
	"offsets_lost":      "Events were lost before they were landed",
	"topic_broken":      "A topic lost its end",
	"topic_rewound":     "A topic goes on from an earlier offset",
}

func alarmTitle(kind string) string {
	if title, known := alarmTitles[kind]; known {
		return title
	}
	return "Alarm while taking in: " + kind
}

// found says a value and what it should have been.
func found(v *float64, unit, threshold string) string {
	s := "Found " + valueOf(v, unit)
	if threshold != "" {
		s += ", expected " + words(threshold)
	}
	return s + "."
}

func valueOf(v *float64, unit string) string {
	if v == nil {
		return "no value"
	}
	return measure(*v, unit)
}

func where(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
