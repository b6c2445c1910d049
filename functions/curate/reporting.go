package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/functions/curate/internal/maintain"
	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/quality"
	"millrace/functions/curate/internal/report"
)

// report is the run as its page shows it. Examples show no value of a field that its contract classifies, whatever the lake has of it.
func (s *session) report(o *outcome, f findings) report.Run {
	private := withheld(s.contracts)
	r := report.Run{ID: o.id, Version: version(), Warehouse: s.warehouse.Location(), Engine: s.config.Engine, Start: o.start, End: o.end}
	for _, x := range o.steps {
		line := report.Step{Name: x.name, Duration: x.wall, CPU: x.cpu}
		if x.err != nil {
			line.Error = x.err.Error()
			r.Errors = append(r.Errors, report.Error{Step: x.name, Text: x.err.Error()})
		}
		r.Steps = append(r.Steps, line)
	}
	r.Ingest = ingested(o)
	r.Conflicts, r.Conflicted = f.conflicts, f.conflict
	for _, d := range o.quality.Days {
		for i := range d.Checks {
			if d.Checks[i].NotRun != "" { // a rule for people is neither kept nor broken, and not to be counted as a check that passed
				continue
			}
			rule := ruleOf(d, &d.Checks[i])
			rule.Examples = cover(rule.Examples, private)
			r.Rules = append(r.Rules, rule)
			if c := &d.Checks[i]; c.Flag && c.Ran && c.RowsFailed > 0 {
				near := nearOf(d, c)
				near.Examples = cover(near.Examples, private)
				r.NearCopies = append(r.NearCopies, near)
			}
		}
		if d.Columns != nil { // a day that hardly changed keeps the profile that it has
			r.Profiles = append(r.Profiles, profileOf(d))
		}
		if d.Unprofiled != "" {
			r.Profiles = append(r.Profiles, report.Profile{Table: d.Source, Day: d.Day, Rows: d.Rows, Error: d.Unprofiled})
		}
	}
	for _, h := range o.quality.Held {
		held := holdOf(h)
		held.Rows = f.waiting[h.Source+" "+h.Day]
		r.Quarantine = append(r.Quarantine, held)
	}
	for _, h := range o.quality.Ended {
		r.Quarantine = append(r.Quarantine, holdOf(h))
	}
	for _, m := range o.models.Models {
		built := modelOf(m)
		for i := range built.Tests {
			built.Tests[i].Examples = cover(built.Tests[i].Examples, private)
		}
		r.Models = append(r.Models, built)
	}
	for _, l := range o.sla.Levels {
		r.SLAs = append(r.SLAs, levelOf(l))
	}
	r.Maintenance = upkeepOf(o.upkeep)
	return r
}

func levelOf(l quality.Level) report.SLA {
	out := report.SLA{
		Table: l.Source, Property: l.Property, Element: l.Element, Description: strings.TrimSpace(l.Description + " " + l.Note), Unit: l.Unit, Value: l.Actual, Limit: l.Target,
		Kept: l.Met == nil || *l.Met,
	}
	if l.Met == nil {
		out.Error, out.Description = l.Note, l.Description
	}
	if l.Target != nil {
		out.Threshold = strconv.FormatFloat(*l.Target, 'g', -1, 64) + " " + l.Unit
	}
	for _, p := range l.Trend {
		out.Trend = append(out.Trend, report.Point{Day: p.Day, Value: p.Value})
	}
	return out
}

func upkeepOf(r maintain.Result) []report.Maintenance {
	var out []report.Maintenance
	for _, x := range r.Retention {
		out = append(out, report.Maintenance{Table: x.Table, Text: fmt.Sprintf("retention took what was before %s: %s", x.Before, taken(x))})
	}
	for _, x := range r.Compaction {
		out = append(out, report.Maintenance{Table: x.Table, Text: fmt.Sprintf("%d files became %d", x.Files, x.Into)})
	}
	for _, x := range r.Expiry {
		out = append(out, report.Maintenance{Table: x.Table, Text: fmt.Sprintf("%d snapshots expired, %d stay", x.Gone, x.Stay)})
	}
	if r.Sweep.Objects > 0 {
		out = append(out, report.Maintenance{Table: "all", Text: fmt.Sprintf("%d objects that nobody named were deleted, %d bytes", r.Sweep.Objects, r.Sweep.Bytes)})
	}
	return out
}

// ingested is what each table took in; alarms stand with their table, else with their topic.
func ingested(o *outcome) []report.Ingest {
	alarms := map[string][]report.Alarm{}
	for _, a := range o.ingest.Alarms {
		about := a.Table
		if about == "" {
			about = a.Topic
		}
		alarms[about] = append(alarms[about], report.Alarm{Kind: string(a.Code), Text: a.String()})
	}
	var out []report.Ingest
	for _, t := range o.ingest.Tables {
		name := t.Name.String()
		line := report.Ingest{Table: name, Rows: t.Rows, Files: t.Objects, Bytes: t.Bytes, Alarms: alarms[name]}
		for _, l := range o.ingest.Logs {
			if _, reads := t.Position[l.TopicID]; reads {
				line.Entries += int(l.Entries)
			}
		}
		out = append(out, line)
		delete(alarms, name)
	}
	for _, about := range slices.Sorted(maps.Keys(alarms)) {
		out = append(out, report.Ingest{Table: about, Alarms: alarms[about]})
	}
	return out
}

func ruleOf(d quality.Day, c *quality.Check) report.Rule {
	r := report.Rule{
		Table: d.Source, Day: d.Day, ID: c.ID, Column: c.Element, Dimension: c.Dimension, Severity: c.Severity, Metric: c.Metric, Description: c.Description,
		Unit: c.Unit, Threshold: c.Threshold.String(), Rows: c.RowsChecked, Passed: !c.Failed(), Blocking: c.Blocking,
		Examples: report.Examples{Columns: c.Examples.Columns, Rows: c.Examples.Rows},
	}
	if c.RowsFailed > 0 {
		r.Examples.Total = c.RowsFailed
	}
	if c.Value.IsNumber {
		r.Value = &c.Value.Number
	}
	if !c.Ran {
		r.Error = c.Reason
	}
	for _, p := range c.Trend {
		r.Trend = append(r.Trend, report.Point{Day: p.Day, Value: p.Value})
	}
	if c.Value.IsNumber {
		r.Trend = append(r.Trend, report.Point{Day: d.Day, Value: c.Value.Number})
	}
	return r
}

// nearOf are the near duplicates that a rule flagged.
func nearOf(d quality.Day, c *quality.Check) report.NearCopies {
	return report.NearCopies{
		Table: d.Source, Rule: c.ID, Groups: c.Groups, Rows: c.RowsFailed,
		Examples: report.Examples{Columns: c.Examples.Columns, Rows: c.Examples.Rows, Total: c.Groups},
	}
}

func profileOf(d quality.Day) report.Profile {
	p := report.Profile{Table: d.Source, Day: d.Day, Rows: d.Rows}
	for _, c := range d.Columns {
		one := report.ColumnProfile{Name: c.Element, Type: c.Type, Nulls: c.Nulls, Distinct: c.Distinct, Approximate: c.Approximate}
		if c.Min != nil {
			one.Min = c.Min.Text
		}
		if c.Max != nil {
			one.Max = c.Max.Text
		}
		if h := c.Histogram; h != nil {
			one.Histogram, one.Frequent, one.OtherFrequent = bins(h), frequent(h), h.Others
		}
		p.Columns = append(p.Columns, one)
	}
	return p
}

// bins are the bars of a histogram, each named by where it begins.
func bins(h *quality.Histogram) []report.Bin {
	var out []report.Bin
	if h.Below > 0 {
		out = append(out, report.Bin{Label: "below", Count: h.Below})
	}
	for i, n := range h.Counts {
		label := strconv.FormatFloat(h.Edges[i], 'g', 6, 64) + " to " + strconv.FormatFloat(h.Edges[i+1], 'g', 6, 64)
		if h.Time {
			label = moment(h.Edges[i]) + " to " + moment(h.Edges[i+1])
		}
		out = append(out, report.Bin{Label: label, Count: n})
	}
	if h.Above > 0 {
		out = append(out, report.Bin{Label: "above", Count: h.Above})
	}
	if h.Odd > 0 {
		out = append(out, report.Bin{Label: "not finite", Count: h.Odd})
	}
	return out
}

func moment(seconds float64) string {
	return time.Unix(int64(seconds), 0).UTC().Format("2006-01-02 15:04")
}

func frequent(h *quality.Histogram) []report.Bin {
	var out []report.Bin
	for _, v := range h.Values {
		out = append(out, report.Bin{Label: v.Value, Count: v.Rows})
	}
	return out
}

func holdOf(h quality.Hold) report.Hold {
	out := report.Hold{Source: h.Source, Day: h.Day, Rule: h.Rule, Reason: h.Reason, Since: h.Since, Released: !h.ReleasedAt.IsZero(), ReleasedBy: h.ReleasedBy}
	if h.Value != nil {
		out.Value = strconv.FormatFloat(*h.Value, 'g', -1, 64)
	}
	if !out.Released && h.Rule != "" { // a day that could not be looked at is held by no rule, and for this run alone
		out.Release = fmt.Sprintf("curate release %s %s --by NAME", h.Source, h.Day)
	}
	return out
}

func modelOf(m model.Outcome) report.Model {
	out := report.Model{
		Name: m.Name, Kind: string(m.Materialized), Added: m.Counts.Added, Replaced: m.Counts.Replaced, Removed: m.Counts.Removed,
		Rebuilt: m.Mode == model.Rebuild, Duration: m.Duration,
	}
	switch m.Status {
	case model.Failed:
		out.Error = m.Cause
	case model.Skipped:
		if m.Blocked { // any other waits for a table that nobody has sent events for, which is no fault
			out.Skipped = m.Cause
		}
	case model.Built, model.Current:
	}
	for _, t := range m.Tests {
		out.Tests = append(out.Tests, report.Test{
			Name: t.Name, Column: t.Column, Severity: string(t.Severity), Failures: t.Failures, Passed: t.Passed,
			Examples: report.Examples{Columns: t.Columns, Rows: t.Examples, Total: t.Failures},
		})
	}
	return out
}
