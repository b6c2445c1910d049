package maintain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/ingest"
	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/contract"
	"millrace/shared/objectstore"
)

// dayColumn is the column by which events.* are partitioned: the day of arrival, UTC.
const dayColumn = "arrival_date"

// policy is a contract's retention; the zero one keeps everything.
type policy struct{ years, months, days int }

// before returns the first day that stays, UTC.
func (p policy) before(now time.Time) time.Time {
	y, m, d := now.UTC().Date()
	first := time.Date(y-p.years, m-time.Month(p.months), 1, 0, 0, 0, 0, time.UTC)
	// The 31st of a month that is shorter would be a day of the next one, and rows would go before their time.
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(d, last)-1-p.days)
}

// policies returns the retention of each table of events, from the newest contract of its MODEL. One that cannot be understood is an error, and its table keeps everything.
func (o *Options) policies() (map[warehouse.Name]policy, []error) {
	out := map[warehouse.Name]policy{}
	var errs []error
	for _, m := range o.Contracts.Models() {
		newest := m.Versions[len(m.Versions)-1]
		p, err := retention(newest.SLA)
		if err != nil {
			errs = append(errs, fmt.Errorf("retention of %s %s: %w", newest.EventType, newest.Version, err))
			continue
		}
		out[ingest.TableOf(m.EventType, strconv.Itoa(m.Model))] = p
	}
	return out, errs
}

// retention returns the policy among the properties: property retention, in days, weeks, months or years. Of several the longest in days counts.
func retention(slas []contract.SLA) (policy, error) {
	var longest policy
	for _, s := range slas {
		if !strings.EqualFold(s.Property, "retention") {
			continue
		}
		p, err := parseRetention(s)
		if err != nil {
			return policy{}, err
		}
		if p.length() > longest.length() {
			longest = p
		}
	}
	return longest, nil
}

func (p policy) length() int { return p.years*365 + p.months*30 + p.days }

func parseRetention(s contract.SLA) (policy, error) {
	n, err := strconv.ParseFloat(fmt.Sprint(s.Value), 64)
	if err != nil || n != math.Trunc(n) || n < 1 || n > 100_000 {
		return policy{}, fmt.Errorf("value %v: want a whole number from 1 on", s.Value)
	}
	count := int(n)
	// The standard's short units: M is a month, m would be a minute.
	switch unit := s.Unit; {
	case slices.Contains([]string{"y", "yr", "year", "years", "Y"}, unit):
		return policy{years: count}, nil
	case slices.Contains([]string{"M", "mo", "month", "months"}, unit):
		return policy{months: count}, nil
	case slices.Contains([]string{"w", "week", "weeks"}, unit):
		return policy{days: 7 * count}, nil
	case slices.Contains([]string{"d", "day", "days", "D"}, unit):
		return policy{days: count}, nil
	}
	return policy{}, fmt.Errorf("unit %q: want d, w, M or y", s.Unit)
}

// rule says which rows of a table go: those whose column is before the time, and of the source where one is named. Rows where the column is null stay.
type rule struct {
	column string // a date or an instant
	before time.Time
	source string // what the column source of the table has, or ""
}

// opsRules are the tables of ops whose rows tell of runs and measurements, with the column that says when.
var opsRules = map[string]string{"ops.landing": "written_at", "ops.quality": "evaluated_at", "ops.sla": "evaluated_at", "ops.runs": "ended_at"}

// sourceRules are the tables of ops whose rows tell of single events, or of days of them, and go with the source's. What is on hold has no released_at, and stays.
var sourceRules = map[string]string{"ops.conflicts": "arrived_at", "ops.near_duplicates": dayColumn, "ops.quarantine": "released_at"}

// rules returns which rows of the table go; none where it keeps everything.
func (o *Options) rules(t *warehouse.Table, policies map[warehouse.Name]policy) ([]rule, error) {
	now := o.Clock()
	name := t.Name.String()
	source, fact, err := o.source(t)
	if err != nil {
		return nil, err
	}
	switch {
	case t.Name == ingest.Dead:
		return o.keep(dayColumn), nil
	case t.Name.Namespace == ingest.Namespace:
		if p := policies[t.Name]; p != (policy{}) && slices.Equal(t.Partition(), []string{dayColumn}) {
			return []rule{{column: dayColumn, before: p.before(now)}}, nil
		}
	case fact:
		if p := policies[source]; p != (policy{}) {
			return []rule{{column: dayColumn, before: p.before(now)}}, nil
		}
	case opsRules[name] != "":
		return o.keep(opsRules[name]), nil
	case sourceRules[name] != "":
		var out []rule
		for source, p := range policies {
			if p != (policy{}) {
				out = append(out, rule{sourceRules[name], p.before(now), source.String()})
			}
		}
		slices.SortFunc(out, func(a, b rule) int { return strings.Compare(a.source, b.source) })
		return out, nil
	}
	return nil, nil
}

// keep is the rule of what tells of operation.
func (o *Options) keep(column string) []rule {
	if o.OpsKeep <= 0 {
		return nil
	}
	y, m, d := o.Clock().UTC().Add(-o.OpsKeep).Date()
	return []rule{{column: column, before: time.Date(y, m, d, 0, 0, 0, 0, time.UTC)}}
}

// source returns the table of events whose rows the table holds one by one: a model that is merged by key is driven by one. Where the model is gone, the table's checkpoint still names it.
func (o *Options) source(t *warehouse.Table) (source warehouse.Name, ok bool, err error) {
	if o.Models == nil || t.Name.Namespace != model.Namespace {
		return source, false, nil
	}
	m := o.Models.Model(t.Name.Table)
	if m == nil {
		return model.SourceOf(t)
	}
	if m.Materialized != model.Incremental || m.Overwrite {
		return source, false, nil
	}
	for _, input := range o.Models.Inputs(m.Name) {
		if table, found := strings.CutPrefix(input, ingest.Namespace+"."); found {
			return warehouse.Name{Namespace: ingest.Namespace, Table: table}, true, nil
		}
	}
	return source, false, nil
}

// marts are the models that are computed from the partitions of the fact.
func (o *Options) marts(fact warehouse.Name) []warehouse.Name {
	var out []warehouse.Name
	for _, m := range o.Models.Models() {
		if m.Overwrite && m.Upstream == fact.Table {
			out = append(out, warehouse.Name{Namespace: model.Namespace, Table: m.Name})
		}
	}
	return out
}

// condition is the rules in DuckDB's SQL.
func condition(rules []rule, date bool) string {
	var out []string
	for _, r := range rules {
		c := duck.Quote(r.column) + " < date '" + r.before.Format(time.DateOnly) + "'"
		if !date {
			c = duck.Quote(r.column) + " < timestamptz '" + r.before.Format("2006-01-02 15:04:05") + "+00'"
		}
		if r.source != "" {
			c += " and source = " + duck.Literal(r.source)
		}
		out = append(out, "("+c+")")
	}
	return "(" + strings.Join(out, " or ") + ")"
}

// filter is the rules for leaving files out.
func filter(rules []rule, date bool) iceberg.BooleanExpression {
	var out iceberg.BooleanExpression = iceberg.AlwaysFalse{}
	for _, r := range rules {
		e := iceberg.BooleanExpression(iceberg.LessThan(iceberg.Reference(r.column), iceberg.Timestamp(r.before.UnixMicro())))
		if date {
			e = iceberg.LessThan(iceberg.Reference(r.column), iceberg.Date(r.before.Unix()/86400))
		}
		if r.source != "" {
			e = iceberg.NewAnd(e, iceberg.EqualTo(iceberg.Reference("source"), r.source))
		}
		out = iceberg.NewOr(out, e)
	}
	return out
}

// whole says whether all rows of the file go, by its partition or its statistics.
func whole(f warehouse.File, field iceberg.NestedField, rules []rule) bool {
	for _, r := range rules {
		if r.source != "" && f.Partition["source"] != any(r.source) {
			continue
		}
		if v, ok := f.Partition[r.column]; ok {
			if d, ok := v.(iceberg.Date); ok && d.ToTime().Before(r.before) {
				return true
			}
			continue
		}
		bound, ok := f.Data.UpperBoundValues()[field.ID]
		nulls, counted := f.Data.NullValueCounts()[field.ID]
		if !ok || !counted || nulls > 0 {
			continue
		}
		lit, err := iceberg.LiteralFromBytes(field.Type, bound)
		if err != nil {
			continue // it is then looked at
		}
		switch v := lit.(type) {
		case iceberg.DateLiteral:
			if iceberg.Date(v).ToTime().Before(r.before) {
				return true
			}
		case iceberg.TimestampLiteral:
			if int64(v) < r.before.UnixMicro() {
				return true
			}
		}
	}
	return false
}

// retiring is what retention takes of one table.
type retiring struct {
	gone  []warehouse.File // whole
	mixed []warehouse.File // with rows that stay
	lost  map[string]int64 // how many rows of each of mixed go
	where string
}

// look finds what the rules take. Of files that may have rows of both sorts the columns of the rules are read.
func (o *Options) look(ctx context.Context, t *warehouse.Table, rules []rule) (x retiring, err error) {
	field, ok := t.Schema().FindFieldByName(rules[0].column)
	date := ok && field.Type.Equals(iceberg.PrimitiveTypes.Date)
	if !date && (!ok || !field.Type.Equals(iceberg.PrimitiveTypes.TimestampTz)) {
		return x, fmt.Errorf("there is no column %s, a date or an instant, to tell by which rows are past it", rules[0].column)
	}
	x.where, x.lost = condition(rules, date), map[string]int64{}
	files, err := t.Plan(ctx, filter(rules, date))
	if err != nil {
		return x, err
	}
	for _, f := range files {
		if whole(f, field, rules) {
			x.gone = append(x.gone, f)
			continue
		}
		if _, ok := f.Partition[rules[0].column]; ok {
			continue // another day's, which the filter did not leave out
		}
		n, err := o.count(ctx, t, f, rules, x.where)
		if err != nil {
			return x, err
		}
		if n > 0 {
			x.mixed, x.lost[f.Path] = append(x.mixed, f), n
		}
	}
	return x, nil
}

// count returns how many rows of the file go.
func (o *Options) count(ctx context.Context, t *warehouse.Table, f warehouse.File, rules []rule, where string) (n int64, err error) {
	db, err := o.DB()
	if err != nil {
		return 0, err
	}
	columns := []string{rules[0].column}
	if rules[0].source != "" {
		columns = append(columns, "source")
	}
	locals, err := o.Warehouse.Fetch(ctx, []warehouse.File{f}, columns)
	if err != nil {
		return 0, err
	}
	defer func() {
		err = errors.Join(err, o.Warehouse.Release(append(slices.Clone(locals[0].Deletes), locals[0].Path)))
	}()
	if err := db.Relation(ctx, merged, t.Schema(), locals, columns, where); err != nil {
		return 0, err
	}
	err = db.Rows(ctx, "select count(*) from "+merged.String(), func(_ []string, row []any) error {
		var ok bool
		if n, ok = row[0].(int64); !ok {
			return fmt.Errorf("count(*) is %T", row[0])
		}
		return nil
	})
	return n, err
}

// retire removes the rows that are not kept any longer: whole files by a commit, files that have others too by writing them again without.
func (o *Options) retire(ctx context.Context, t *warehouse.Table, policies map[warehouse.Name]policy, r *Result) (*warehouse.Table, error) {
	rules, err := o.rules(t, policies)
	if err != nil || len(rules) == 0 {
		return t, err
	}
	found, err := o.look(ctx, t, rules)
	if err != nil || len(found.gone)+len(found.mixed) == 0 {
		return t, err
	}
	x := Retired{Table: t.Name.String(), Before: rules[0].before.Format(time.DateOnly)}
	for _, other := range rules[1:] { // of several sources: the latest says it for all
		x.Before = max(x.Before, other.before.Format(time.DateOnly))
	}
	days := map[string]bool{}
	for _, f := range found.gone {
		if d, ok := f.Partition[rules[0].column].(iceberg.Date); ok {
			days[d.ToTime().Format(time.DateOnly)] = true
		}
		x.Files, x.Rows, x.Bytes = x.Files+1, x.Rows+f.Rows, x.Bytes+f.Bytes
	}
	for _, f := range found.mixed {
		x.Files, x.Rows, x.Bytes = x.Files+1, x.Rows+found.lost[f.Path], x.Bytes+f.Bytes
	}
	x.Days = slices.Sorted(maps.Keys(days))
	if !o.DryRun {
		if t, err = o.take(ctx, t, found); err != nil {
			return t, err
		}
		o.Logger.Info("rows are past their retention", "table", x.Table, "before", x.Before, "rows", x.Rows, "files", x.Files)
	}
	r.Retention = append(r.Retention, x)
	return t, nil
}

// take commits the table without the rows. A fact remembers in the same commits of which partitions they were: the sums that were made of these cannot be made again.
func (o *Options) take(ctx context.Context, t *warehouse.Table, found retiring) (*warehouse.Table, error) {
	var properties func(files []warehouse.File) map[string]string
	_, fact, err := o.source(t)
	if err != nil {
		return t, err
	}
	if fact {
		retired, err := model.RetiredOf(t)
		if err != nil {
			return t, err
		}
		if err := o.current(ctx, t, retired); err != nil {
			return t, err
		}
		properties = func(files []warehouse.File) map[string]string {
			for _, f := range files {
				for _, column := range t.Partition() {
					retired.Add(f.Partition[column])
				}
			}
			return map[string]string{model.RetiredProperty: retired.String()}
		}
	} else {
		properties = func([]warehouse.File) map[string]string { return nil }
	}
	if len(found.gone) > 0 {
		if t, err = o.Warehouse.Commit(ctx, t, warehouse.Change{Remove: found.gone, Properties: properties(found.gone)}); err != nil {
			return t, err
		}
	}
	for len(found.mixed) > 0 {
		n, b := 0, batch{}
		for n < len(found.mixed) && (n == 0 || b.bytes+found.mixed[n].Bytes <= perCommit*o.Target) {
			b.bytes += found.mixed[n].Bytes
			n++
		}
		b.files, found.mixed = found.mixed[:n], found.mixed[n:]
		if t, err = o.without(ctx, t, b, found, properties(b.files)); err != nil {
			return t, err
		}
	}
	return t, nil
}

// without commits the batch's files without the rows that go.
func (o *Options) without(ctx context.Context, t *warehouse.Table, b batch, found retiring, properties map[string]string) (_ *warehouse.Table, err error) {
	var lost int64
	for _, f := range b.files {
		lost += found.lost[f.Path]
	}
	written, _, copies, err := o.rewrite(ctx, t, b, "("+found.where+") is not true", lost)
	defer func() { err = errors.Join(err, o.Warehouse.Release(append(copies, written...))) }()
	if err != nil {
		return t, err
	}
	return o.Warehouse.Commit(ctx, t, warehouse.Change{Add: written, Remove: b.files, Properties: properties})
}

// current returns why the fact may not lose rows yet: a mart that has not seen all changes of the fact's partitions could not be computed from them later.
func (o *Options) current(ctx context.Context, t *warehouse.Table, retired model.Retired) error {
	for _, name := range o.marts(t.Name) {
		mart, err := o.Warehouse.Load(ctx, name)
		if errors.Is(err, warehouse.ErrNoTable) {
			continue
		}
		if err != nil {
			return err
		}
		since, err := model.Seen(mart, t.Name)
		if err != nil {
			return err
		}
		changes, err := warehouse.Changes{}, warehouse.ErrExpired
		if since != 0 {
			changes, err = t.Changes(ctx, since)
		}
		if err != nil && !errors.Is(err, warehouse.ErrExpired) {
			return err
		}
		behind := err != nil
		for _, f := range slices.Concat(changes.Added, changes.Removed) {
			for _, column := range t.Partition() {
				behind = behind || !retired.Has(f.Partition[column])
			}
		}
		if behind {
			return fmt.Errorf("it waits for %s, which has not taken in all of the table yet: let a run of curate bring it up to date", name)
		}
	}
	return nil
}

// reports deletes the reports of runs that are older than Options.OpsKeep.
func (o *Options) reports(ctx context.Context, r *Result) error {
	rules := o.keep("")
	if len(rules) == 0 {
		return nil
	}
	bucket, prefix := o.Warehouse.Store()
	x := Retired{Table: reportsFolder, Before: rules[0].before.Format(time.DateOnly)}
	days := map[string]bool{}
	defer func() {
		if x.Files > 0 {
			x.Days = slices.Sorted(maps.Keys(days))
			r.Retention = append(r.Retention, x)
		}
	}()
	for after := ""; ; {
		page, err := bucket.List(ctx, prefix+"/"+reportsFolder+"/", after, objectstore.MaxList)
		if err != nil {
			return err
		}
		for _, object := range page {
			after = object.Key
			day, ok := reportDay(strings.TrimPrefix(object.Key, prefix+"/"))
			if !ok {
				continue
			}
			if day >= x.Before {
				return nil // keys come in order
			}
			if !o.DryRun {
				if err := bucket.Delete(ctx, object.Key); err != nil {
					return err
				}
			}
			days[day] = true
			x.Files, x.Bytes = x.Files+1, x.Bytes+object.Size
		}
		if len(page) < objectstore.MaxList {
			return nil
		}
	}
}

// reportsFolder is where the reports of runs are, below the warehouse's prefix.
const reportsFolder = "_reports"

// reportDay returns the day of a run's report, by its key below the warehouse's prefix: _reports/YYYY-MM-DD/<run id>.html.
func reportDay(key string) (day string, ok bool) {
	parts := strings.Split(key, "/")
	if len(parts) != 3 || parts[0] != reportsFolder || !strings.HasSuffix(parts[2], ".html") {
		return "", false
	}
	_, err := time.Parse(time.DateOnly, parts[1])
	return parts[1], err == nil
}
