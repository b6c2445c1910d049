package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/report"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/contract"
)

// shownConflicts is how many identities the report names.
const shownConflicts = 50

// findings are what the report says that no step's result has: it is read from the tables when the run is over.
type findings struct {
	conflicts []report.Conflict
	conflict  int64            // identities in all
	waiting   map[string]int64 // rows that are held, by source and day
}

// findings reads them. What fails leaves its part out, and is in the error.
func (s *session) findings(ctx context.Context, o *outcome) (f findings, err error) {
	var errs []error
	if f.conflicts, f.conflict, err = s.conflicts(ctx, o); err != nil {
		errs = append(errs, fmt.Errorf("reading %s for the report: %w", model.ConflictsTable, err))
	}
	f.waiting = map[string]int64{}
	for _, h := range o.quality.Held {
		key := h.Source + " " + h.Day
		if _, known := f.waiting[key]; known || h.Day == "*" {
			continue
		}
		if f.waiting[key], err = s.waiting(ctx, h.Source, h.Day); err != nil {
			errs = append(errs, fmt.Errorf("counting the rows of %s that wait on %s: %w", h.Source, h.Day, err))
		}
	}
	return f, errors.Join(errs...)
}

// snapshotOf is the table's snapshot now, 0 where there is no table.
func (s *session) snapshotOf(ctx context.Context, name warehouse.Name) (int64, error) {
	t, err := s.warehouse.Load(ctx, name)
	if errors.Is(err, warehouse.ErrNoTable) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return t.Snapshot(), nil
}

// conflicts are the identities of which this run found other data, each with all its data by arrival, and how many they are.
func (s *session) conflicts(ctx context.Context, o *outcome) (list []report.Conflict, all int64, err error) {
	if !slices.ContainsFunc(o.models.Models, func(m model.Outcome) bool { return m.Counts.Conflicts > 0 }) {
		return nil, 0, nil
	}
	t, err := s.warehouse.Load(ctx, model.ConflictsTable)
	if err != nil {
		return nil, 0, err
	}
	changes, err := t.Changes(ctx, o.conflictsBefore)
	if err != nil {
		return nil, 0, err
	}
	files, err := t.Plan(ctx, nil)
	if err != nil {
		return nil, 0, err
	}
	db, err := s.duck(ctx)
	if err != nil {
		return nil, 0, err
	}
	for name, of := range map[string][]warehouse.File{"conflicts_new": changes.Added, "conflicts_all": files} {
		local, err := s.warehouse.Fetch(ctx, of, nil)
		if err != nil {
			return nil, 0, err
		}
		if err := db.Relation(ctx, warehouse.Name{Namespace: "report", Table: name}, t.Schema(), local, nil, ""); err != nil {
			return nil, 0, err
		}
	}
	query := fmt.Sprintf(`select a.source, a.root_id, string_agg(a.data_hash, ' ' order by a.arrived_at, a.kafka_partition, a.kafka_offset), epoch_us(min(a.arrived_at)), count(*) over ()
		from report.conflicts_all a join (select distinct source, root_id from report.conflicts_new) n on n.source = a.source and n.root_id = a.root_id group by 1, 2 order by 1, 2 limit %d`, shownConflicts)
	err = db.Rows(ctx, query, func(_ []string, row []any) error {
		c := report.Conflict{Table: fmt.Sprint(row[0]), RootID: fmt.Sprint(row[1]), Hashes: strings.Fields(fmt.Sprint(row[2]))}
		if us, ok := row[3].(int64); ok {
			c.Arrived = time.UnixMicro(us).UTC()
		}
		if n, ok := row[4].(int64); ok {
			all = n
		}
		list = append(list, c)
		return nil
	})
	return list, all, err
}

// waiting is how many rows of a day that is held the models have not taken: those behind where they stand, or all where none has taken any.
func (s *session) waiting(ctx context.Context, source, day string) (int64, error) {
	namespace, table, _ := strings.Cut(source, ".")
	t, err := s.warehouse.Load(ctx, warehouse.Name{Namespace: namespace, Table: table})
	if err != nil {
		return 0, err
	}
	files, err := t.Plan(ctx, nil)
	if err != nil {
		return 0, err
	}
	files = slices.DeleteFunc(files, func(f warehouse.File) bool {
		d, ok := f.Partition["arrival_date"].(iceberg.Date)
		return ok && d.ToTime().Format(time.DateOnly) != day || !ok && day != "null"
	})
	taken, err := s.taken(ctx, source, day)
	if err != nil {
		return 0, err
	}
	db, err := s.duck(ctx)
	if err != nil {
		return 0, err
	}
	columns := []string{"landing_log", "landing_sequence"}
	local, err := s.warehouse.Fetch(ctx, files, columns)
	if err != nil {
		return 0, err
	}
	if err := db.Relation(ctx, warehouse.Name{Namespace: "report", Table: "held"}, t.Schema(), local, columns, ""); err != nil {
		return 0, err
	}
	passed := "false"
	for _, log := range slices.Sorted(maps.Keys(taken)) {
		passed += fmt.Sprintf(" or landing_log = %s and landing_sequence <= %d", text(log), taken[log])
	}
	var n int64
	err = db.Rows(ctx, "select count(*) from report.held where not coalesce("+passed+", false)", func(_ []string, row []any) error {
		var ok bool
		if n, ok = row[0].(int64); !ok {
			return fmt.Errorf("a count came as %T", row[0])
		}
		return nil
	})
	return n, err
}

// taken is up to where the model that is furthest behind has taken the day's rows.
func (s *session) taken(ctx context.Context, source, day string) (model.Position, error) {
	var least model.Position
	for _, m := range s.models.Models() {
		if !slices.Contains(s.models.Inputs(m.Name), source) {
			continue
		}
		t, err := s.warehouse.Load(ctx, warehouse.Name{Namespace: model.Namespace, Table: m.Name})
		if errors.Is(err, warehouse.ErrNoTable) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var states map[string]struct {
			Position model.Position
			Held     map[string]model.Position
		}
		if text := t.Properties()[model.SourcesProperty]; text == "" {
			continue
		} else if err := json.Unmarshal([]byte(text), &states); err != nil {
			return nil, fmt.Errorf("property %s of %s: %w", model.SourcesProperty, t.Name, err)
		}
		state, reads := states[source]
		if !reads {
			continue
		}
		at := state.Position
		if held, is := state.Held[day]; is {
			at = held
		}
		if least == nil {
			least = at
			continue
		}
		for log, n := range least {
			least[log] = min(n, at[log])
		}
	}
	return least, nil
}

// withheld says of which columns the report shows no values, however they came into the lake: those named as fields that some contract classifies. A column of a model has another name only where its
// SQL gives it one.
func withheld(set *contract.Set) func(column string) bool {
	plain := strings.NewReplacer("_", "", "\"", "")
	names := map[string]bool{"subject": true}
	var add func(fields []contract.Field, path string, masked bool)
	add = func(fields []contract.Field, path string, masked bool) {
		for i := range fields {
			f := &fields[i]
			name := plain.Replace(strings.ToLower(f.Name))
			if masked || f.Masked() {
				names[name], names[path+name] = true, true
			}
			add(f.Fields, path+name+".", masked || f.Masked())
		}
	}
	for _, m := range set.Models() {
		add(m.Payload, "", false)
		add(m.Enrichment, "enrichment.", false)
	}
	return func(column string) bool { return names[plain.Replace(strings.ToLower(column))] }
}

// cover takes the values of such columns out of example rows: what is null or empty stays, since that is often what a rule is about.
func cover(e report.Examples, private func(column string) bool) report.Examples {
	for i, column := range e.Columns {
		if !private(column) {
			continue
		}
		rows := make([][]string, len(e.Rows))
		for r := range e.Rows {
			rows[r] = slices.Clone(e.Rows[r])
			if i < len(rows[r]) && rows[r][i] != "" && rows[r][i] != "null" {
				rows[r][i] = "(withheld)"
			}
		}
		e.Rows = rows
	}
	return e
}
