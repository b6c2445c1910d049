package quality

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
)

// output gathers what a run writes.
type output struct {
	w  *warehouse.Warehouse
	db *duck.DB
	at time.Time
	id string

	quality    *warehouse.Table
	rows       [][]string
	quarantine *quarantine
	held       bool // the quarantine changed

	near   *warehouse.Table // nil until there is something for it
	groups []string         // data files
	stale  []warehouse.File // of days that were looked at again
}

func openOutput(ctx context.Context, w *warehouse.Warehouse, db *duck.DB, r Result) (*output, error) {
	out := &output{w: w, db: db, at: r.Evaluated, id: r.RunID}
	var err error
	if out.quality, err = w.Ensure(ctx, TableQuality, specQuality); err != nil {
		return nil, err
	}
	if out.near, err = load(ctx, w, TableNearDuplicates); err != nil {
		return nil, err
	}
	out.quarantine, err = openQuarantine(ctx, w, db)
	return out, err
}

// add makes a day's rows of ops.quality.
func (o *output) add(d *Day) {
	row := func(kind, rule, name, element, metric, dimension, severity, unit string, value Value, text, threshold, passed, blocking string, failed int64, examples []string, description string) {
		failedText, examplesText := "null", "null"
		if failed >= 0 {
			failedText = sqlLong(failed)
		}
		if b, err := json.Marshal(examples); err == nil && len(examples) > 0 { // texts always marshal
			examplesText = sqlText(string(b))
		}
		o.rows = append(o.rows, []string{
			sqlText(o.id), sqlInstant(o.at), sqlText(d.Source), sqlDate(d.Day), sqlText(kind), sqlText(rule), sqlText(name), literal(element), sqlText(metric), sqlText(dimension), sqlText(severity),
			sqlText(unit), sqlNumber(value), sqlText(text), sqlText(threshold), passed, blocking, sqlLong(d.Rows), failedText, examplesText, sqlText(description),
		})
	}
	for i := range d.Checks {
		c := &d.Checks[i]
		text, passed, metric := c.Value.Text, fmt.Sprint(c.Passed), c.Metric
		if c.Reason != "" {
			text = c.Reason
		}
		if c.NotRun != "" {
			passed, metric = "null", c.Type
		}
		row("rule", c.ID, c.Name, c.Element, metric, c.Dimension, c.Severity, c.Unit, c.Value, text, c.Threshold.String(), passed, fmt.Sprint(c.Blocking), c.RowsFailed, c.Examples.rootIDs(), c.Description)
	}
	profile := func(element, metric, unit string, value Value, text string) {
		row("profile", "", "", element, metric, "", "", unit, value, text, "", "null", "null", -1, nil, "")
	}
	profile("", "rows", unitRows, number(float64(d.Rows)), "")
	profile("", "copies", unitRows, number(float64(d.Copies)), "")
	if d.Unprofiled != "" {
		profile("", "failed", "", Value{}, d.Unprofiled)
	}
	for _, c := range d.Columns {
		profile(c.Element, "nulls", unitRows, number(float64(c.Nulls)), "")
		if c.Distinct >= 0 {
			unit := ""
			if c.Approximate {
				unit = "approximate"
			}
			profile(c.Element, "distinct", unit, number(float64(c.Distinct)), "")
		}
		for metric, v := range map[string]*Value{"min": c.Min, "max": c.Max} {
			if v != nil {
				profile(c.Element, metric, "", *v, v.Text)
			}
		}
		if c.Histogram != nil {
			profile(c.Element, "histogram", "", Value{}, c.Histogram.JSON())
		}
	}
}

// replaceGroups writes the groups of near duplicates of a day in place of those that are there. Without an evaluation the day has none.
func (o *output) replaceGroups(ctx context.Context, d *Day, e *evaluation) error {
	if o.near != nil {
		files, err := o.near.Plan(ctx, nil)
		if err != nil {
			return err
		}
		for _, f := range files {
			if f.Partition["source"] == any(d.Source) && dayOfFile(f) == d.Day {
				o.stale = append(o.stale, f)
			}
		}
	}
	if e == nil {
		return nil
	}
	var queries []string
	for i := range d.Checks {
		if c := &d.Checks[i]; c.members != "" {
			queries = append(queries, fmt.Sprintf("select %s as source, %s as arrival_date, %s as rule_id, group_key, root_id, rows_in_group from (select * from %s order by group_key, root_id limit %d) as g",
				literal(d.Source), sqlDate(d.Day), literal(c.ID), c.members, maxGroupRows))
		}
	}
	if len(queries) == 0 {
		return nil
	}
	if o.near == nil {
		var err error
		if o.near, err = o.w.Ensure(ctx, TableNearDuplicates, specNearDuplicates); err != nil {
			return err
		}
	}
	files, err := o.db.Write(ctx, strings.Join(queries, " union all "), o.near.Schema(), o.near.Partition(), func() string { return o.w.NewFile(o.near) })
	o.groups = append(o.groups, paths(files)...)
	return err
}

// commit writes all, ops.quality with the checkpoints last: what comes before it can be done again without a trace.
func (o *output) commit(ctx context.Context, r *Result, sources []*source) error {
	if len(o.groups)+len(o.stale) > 0 {
		if _, err := o.w.Commit(ctx, o.near, warehouse.Change{Add: o.groups, Remove: o.stale}); err != nil {
			return err
		}
	}
	if o.held {
		if err := o.quarantine.commit(ctx, o.w, o.db); err != nil {
			return err
		}
	}
	properties := map[string]string{}
	for _, s := range sources {
		if s.checkpoint {
			b, err := json.Marshal(s.now)
			if err != nil {
				return err
			}
			properties[propertyCheckpoint+s.name] = string(b)
		}
		if len(s.days) > 0 && len(s.trend) > 0 {
			b, err := json.Marshal(s.trend)
			if err != nil {
				return err
			}
			properties[propertyTrend+s.name] = string(b)
		}
	}
	files, err := write(ctx, o.w, o.db, o.quality, specQuality, o.rows)
	if err != nil {
		return err
	}
	if len(files) == 0 && len(properties) == 0 {
		return nil
	}
	o.quality, err = o.w.Commit(ctx, o.quality, warehouse.Change{Add: files, Properties: properties})
	r.Rows = int64(len(o.rows))
	return err
}
