package quality

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/fault"
	"millrace/functions/curate/internal/warehouse"
)

// propertyHeld is where ops.quarantine keeps its open holds, in the commit of its rows: who only asks what is held needs no engine.
const propertyHeld = "millrace.held"

// Reasons why curate itself released a day.
const (
	releasedPassed = "millrace:the rule passes"
	releasedGone   = "millrace:the contract no longer has the rule, or it does not block"
	releasedEmpty  = "millrace:the day has no rows"
)

// Hold is a day that a blocking rule keeps from the facts.
type Hold struct {
	Source     string    `json:"source"` // events.x
	Day        string    `json:"day"`    // YYYY-MM-DD, of arrival; "null": rows whose record time is no date
	Rule       string    `json:"rule"`
	Reason     string    `json:"reason"`
	Value      *float64  `json:"value,omitempty"`
	Since      time.Time `json:"since"`
	RunID      string    `json:"run_id"`
	ReleasedAt time.Time `json:"released_at,omitzero"` // zero while it lasts
	ReleasedBy string    `json:"released_by,omitempty"`
}

// Holds are the days that are held now, by source, day and rule.
type Holds []Hold

// anyDay stands in a Hold for every day of the source, or with anySource for every day there is: nothing was proven.
const (
	anyDay    = "*"
	anySource = "*"
)

// everything holds all days, since what is held could not be found out.
func everything(why error) Holds {
	return Holds{{Source: anySource, Day: anyDay, Reason: fault.Text(why)}}
}

// Held reports whether the day of the source is held.
func (h Holds) Held(source, day string) bool {
	return slices.ContainsFunc(h, func(x Hold) bool {
		return (x.Source == source || x.Source == anySource) && (x.Day == day || x.Day == anyDay)
	})
}

// Days returns the days of the source that are held, in order.
func (h Holds) Days(source string) []string {
	var days []string
	for _, x := range h {
		if x.Source == source && !slices.Contains(days, x.Day) {
			days = append(days, x.Day)
		}
	}
	slices.Sort(days)
	return days
}

// Held returns what is held now. It reads no file of data.
func Held(ctx context.Context, w *warehouse.Warehouse) (Holds, error) {
	t, err := load(ctx, w, TableQuarantine)
	if err != nil || t == nil {
		return nil, err
	}
	return held(t)
}

func held(t *warehouse.Table) (Holds, error) {
	text := t.Properties()[propertyHeld]
	if text == "" {
		return nil, nil
	}
	var h Holds
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		return nil, fmt.Errorf("property %s of %s: %w", propertyHeld, t.Name, err)
	}
	return h, nil
}

// Release ends all holds of a day, in the name of a person: by must not be empty. The facts take the day's rows with the next run, and the same rules do not hold that day again; what they
// find is still in ops.quality. A day that is not held is an error.
func Release(ctx context.Context, w *warehouse.Warehouse, db *duck.DB, source, day, by string, now time.Time) ([]Hold, error) {
	if by == "" || strings.HasPrefix(by, "millrace:") {
		return nil, errors.New("a release needs the name of whoever releases")
	}
	if _, err := filesOf(day); err != nil {
		return nil, err
	}
	q, err := openQuarantine(ctx, w, db)
	if err != nil {
		return nil, err
	}
	var released []Hold
	for i := range q.rows {
		h := &q.rows[i]
		if h.Source == source && h.Day == day && h.ReleasedAt.IsZero() {
			h.ReleasedAt, h.ReleasedBy = now.UTC(), by
			released = append(released, *h)
		}
	}
	if len(released) == 0 {
		return nil, fmt.Errorf("%s of %s is not held", source, day)
	}
	return released, q.commit(ctx, w, db)
}

// quarantine is the whole table ops.quarantine.
type quarantine struct {
	table *warehouse.Table
	rows  []Hold
}

// openQuarantine reads the table, which it makes where it is missing.
func openQuarantine(ctx context.Context, w *warehouse.Warehouse, db *duck.DB) (*quarantine, error) {
	t, err := w.Ensure(ctx, TableQuarantine, specQuarantine)
	if err != nil {
		return nil, err
	}
	q := &quarantine{table: t}
	files, err := t.Plan(ctx, nil)
	if err != nil || len(files) == 0 {
		return q, err
	}
	local, err := w.Fetch(ctx, files, nil)
	if err != nil {
		return nil, err
	}
	name := warehouse.Name{Namespace: baseSchema, Table: "quarantine"}
	if err := db.Relation(ctx, name, t.Schema(), local, nil, ""); err != nil {
		return nil, err
	}
	err = db.Rows(ctx, "select source, coalesce(cast(arrival_date as varchar), '"+noDay+"'), rule, reason, value, epoch_us(since), run_id, epoch_us(released_at), released_by from "+name.String()+" order by 1, 2, 3, 6", func(_ []string, row []any) error {
		texts := make([]string, len(row))
		for i, v := range row {
			texts[i] = valueOf(v).Text
		}
		h := Hold{Source: texts[0], Day: texts[1], Rule: texts[2], Reason: texts[3], RunID: texts[6], ReleasedBy: texts[8]}
		if v := valueOf(row[4]); v.IsNumber {
			h.Value = &v.Number
		}
		if us, ok := row[5].(int64); ok {
			h.Since = time.UnixMicro(us).UTC()
		}
		if us, ok := row[7].(int64); ok {
			h.ReleasedAt = time.UnixMicro(us).UTC()
		}
		q.rows = append(q.rows, h)
		return nil
	})
	return q, err
}

// open returns the holds that last.
func (q *quarantine) open() Holds {
	var open Holds
	for _, h := range q.rows {
		if h.ReleasedAt.IsZero() {
			open = append(open, h)
		}
	}
	return open
}

// commit replaces the table's rows.
func (q *quarantine) commit(ctx context.Context, w *warehouse.Warehouse, db *duck.DB) error {
	slices.SortFunc(q.rows, func(a, b Hold) int {
		return strings.Compare(a.Source+"\x00"+a.Day+"\x00"+a.Rule+a.Since.Format(time.RFC3339Nano), b.Source+"\x00"+b.Day+"\x00"+b.Rule+b.Since.Format(time.RFC3339Nano))
	})
	values := make([][]string, len(q.rows))
	for i, h := range q.rows {
		v := Value{}
		if h.Value != nil {
			v = number(*h.Value)
		}
		values[i] = []string{sqlText(h.Source), sqlDate(h.Day), sqlText(h.Rule), sqlText(h.Reason), sqlNumber(v), sqlInstant(h.Since), sqlText(h.RunID), sqlInstant(h.ReleasedAt), sqlText(h.ReleasedBy)}
	}
	files, err := write(ctx, w, db, q.table, specQuarantine, values)
	if err != nil {
		return err
	}
	text, err := json.Marshal(q.open())
	if err != nil {
		return err
	}
	q.table, err = w.Commit(ctx, q.table, warehouse.Change{Add: files, RemoveAll: true, Properties: map[string]string{propertyHeld: string(text)}})
	return err
}

// apply takes over what a day's checks say, and returns the holds that it began and those that it ended. A day without rows has none.
func (q *quarantine) apply(d *Day, runID string, now time.Time) (began, ended []Hold, changed bool) {
	failing := map[string]*Check{}
	blocking := map[string]bool{}
	for i := range d.Checks {
		c := &d.Checks[i]
		blocking[c.ID] = c.Blocking
		if c.Blocking && c.Failed() {
			failing[c.ID] = c
		}
	}
	open, byHand := map[string]bool{}, map[string]bool{}
	for i := range q.rows {
		h := &q.rows[i]
		switch {
		case h.Source != d.Source || h.Day != d.Day:
			continue
		case !h.ReleasedAt.IsZero():
			byHand[h.Rule] = byHand[h.Rule] || !strings.HasPrefix(h.ReleasedBy, "millrace:")
			continue
		}
		if c := failing[h.Rule]; c != nil {
			open[h.Rule] = true
			value := valuePointer(c.Value)
			if h.Reason != c.Reason || !equalValue(h.Value, value) {
				h.Reason, h.Value, changed = c.Reason, value, true
			}
			continue
		}
		h.ReleasedAt, h.ReleasedBy = now, releasedPassed
		switch {
		case d.Rows == 0:
			h.ReleasedBy = releasedEmpty
		case !blocking[h.Rule]:
			h.ReleasedBy = releasedGone
		}
		ended, changed = append(ended, *h), true
	}
	for _, c := range d.Checks {
		if failing[c.ID] == nil || open[c.ID] || byHand[c.ID] {
			continue
		}
		h := Hold{Source: d.Source, Day: d.Day, Rule: c.ID, Reason: c.Reason, Value: valuePointer(c.Value), Since: now, RunID: runID}
		q.rows, began, changed = append(q.rows, h), append(began, h), true
	}
	return began, ended, changed
}

func valuePointer(v Value) *float64 {
	if !v.IsNumber {
		return nil
	}
	return &v.Number
}

func equalValue(a, b *float64) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }
