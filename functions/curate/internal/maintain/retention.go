package maintain

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/ingest"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/contract"
)

// dayColumn is the column by which events.* are partitioned: the day of arrival, UTC.
const dayColumn = "arrival_date"

// policy is a contract's retention; the zero one keeps everything.
type policy struct{ years, months, days int }

// before returns the first day that stays, UTC.
func (p policy) before(now time.Time) time.Time {
	y, m, d := now.UTC().Date()
	return time.Date(y-p.years, m-time.Month(p.months), d-p.days, 0, 0, 0, 0, time.UTC)
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

// retire removes the days that the policy keeps no longer, whole partitions of them. Tables of other namespaces, and those that are not partitioned by the day of arrival, are left alone.
func (o *Options) retire(ctx context.Context, t *warehouse.Table, p policy, r *Result) (*warehouse.Table, error) {
	if p == (policy{}) || !slices.Equal(t.Partition(), []string{dayColumn}) {
		return t, nil
	}
	first := p.before(o.Clock())
	files, err := t.Plan(ctx, iceberg.LessThan(iceberg.Reference(dayColumn), first.Format(time.DateOnly)))
	if err != nil {
		return t, err
	}
	days := map[string]bool{}
	x := Retired{Table: t.Name.String(), Before: first.Format(time.DateOnly)}
	var gone []warehouse.File
	for _, f := range files {
		day, ok := f.Partition[dayColumn].(iceberg.Date)
		if !ok || !day.ToTime().Before(first) {
			continue
		}
		if text := day.ToTime().Format(time.DateOnly); !days[text] {
			days[text] = true
			x.Days = append(x.Days, text)
		}
		gone = append(gone, f)
		x.Files++
		x.Rows += f.Rows
		x.Bytes += f.Bytes
	}
	if len(gone) == 0 {
		return t, nil
	}
	slices.Sort(x.Days)
	if !o.DryRun {
		if t, err = o.Warehouse.Commit(ctx, t, warehouse.Change{Remove: gone}); err != nil {
			return t, err
		}
		o.Logger.Info("days are past their retention", "table", x.Table, "days", len(x.Days), "before", x.Before, "rows", x.Rows)
	}
	r.Retention = append(r.Retention, x)
	return t, nil
}
