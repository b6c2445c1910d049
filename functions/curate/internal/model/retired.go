package model

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/warehouse"
)

// RetiredProperty is, of a fact and of the models that are computed from its partitions, JSON: the partitions of which retention took rows, as days (YYYY-MM-DD), spans of days (first/last) and null.
const RetiredProperty = "millrace.retired"

// Retired are partitions of which retention took rows (package maintain decides of which), so that what was computed from them cannot be computed again. The zero one is of none.
//
// A model by partition (insert_overwrite) leaves them as they are, whether its upstream changes, its history expired, a full refresh is asked for or its text has changed; where its table is made anew it has none of them,
// rather than sums of what is left. It takes over what its upstream remembers, since a table that is gone forgets; a fact that is
// made anew since its columns changed takes over what it remembered itself.
type Retired struct {
	days map[iceberg.Date]bool
	null bool
}

// RetiredOf returns those of a table; none where there is no table.
func RetiredOf(t *warehouse.Table) (Retired, error) {
	r := Retired{days: map[iceberg.Date]bool{}}
	if t == nil {
		return r, nil
	}
	spans, _, err := property[[]string](t, RetiredProperty)
	if err != nil {
		return r, err
	}
	for _, s := range spans {
		if s == "null" {
			r.null = true
			continue
		}
		from, to, two := strings.Cut(s, "/")
		first, err := parseDay(from)
		last := first
		if err == nil && two {
			last, err = parseDay(to)
		}
		if err != nil {
			return r, fmt.Errorf("property %s of %s: %w", RetiredProperty, t.Name, err)
		}
		for d := first; d <= last; d++ {
			r.days[d] = true
		}
	}
	return r, nil
}

// Add notes a partition by its value, as a warehouse.File has it: an iceberg.Date, or nil.
func (r *Retired) Add(partition any) {
	if r.days == nil {
		r.days = map[iceberg.Date]bool{}
	}
	if d, ok := partition.(iceberg.Date); ok {
		r.days[d] = true
	} else {
		r.null = true
	}
}

// Has says whether the partition is among them.
func (r Retired) Has(partition any) bool {
	if d, ok := partition.(iceberg.Date); ok {
		return r.days[d]
	}
	return r.null
}

// Empty says that there are none.
func (r Retired) Empty() bool { return len(r.days) == 0 && !r.null }

// String is RetiredProperty's value; empty where there are none.
func (r Retired) String() string {
	if r.Empty() {
		return ""
	}
	spans := []string{}
	for _, s := range r.spans() {
		text := day(s[0])
		if s[1] > s[0] {
			text += "/" + day(s[1])
		}
		spans = append(spans, text)
	}
	if r.null {
		spans = append(spans, "null")
	}
	b, err := json.Marshal(spans)
	if err != nil {
		return "" // a list of strings is always JSON
	}
	return string(b)
}

// spans are the days, first and last of each row of neighbours.
func (r Retired) spans() [][2]iceberg.Date {
	var out [][2]iceberg.Date
	for _, d := range slices.Sorted(maps.Keys(r.days)) {
		if n := len(out); n > 0 && out[n-1][1]+1 == d {
			out[n-1][1] = d
			continue
		}
		out = append(out, [2]iceberg.Date{d, d})
	}
	return out
}

// others is the condition, in the common language, on rows of all other partitions; empty where there are none of these.
func (r Retired) others(column string) string {
	if r.Empty() {
		return ""
	}
	c := quote(column)
	var in []string
	for _, s := range r.spans() {
		in = append(in, c+" between date '"+day(s[0])+"' and date '"+day(s[1])+"'")
	}
	switch {
	case len(in) == 0:
		return c + " is not null"
	case r.null:
		return "not (" + strings.Join(in, " or ") + ")"
	}
	return "(" + c + " is null or not (" + strings.Join(in, " or ") + "))"
}

// retired returns the partitions that a model by partition keeps as they are: those that its upstream lost rows of, as either table remembers.
func (r *runner) retired(b *Build, up warehouse.Name) (Retired, error) {
	own, err := RetiredOf(b.Target)
	if err != nil {
		return own, err
	}
	i := slices.IndexFunc(b.Inputs, func(in Input) bool { return in.Name == up })
	theirs, err := RetiredOf(b.Inputs[i].Table)
	maps.Copy(own.days, theirs.days)
	own.null = own.null || theirs.null
	return own, err
}

// everyOther returns all partitions that the upstream or the model's table has, but for the retired ones.
func everyOther(ctx context.Context, b *Build, up warehouse.Name, retired Retired) (Partitions, error) {
	var p Partitions
	days := map[iceberg.Date]bool{}
	i := slices.IndexFunc(b.Inputs, func(in Input) bool { return in.Name == up })
	for _, t := range []*warehouse.Table{b.Inputs[i].Table, b.Target} {
		fs, err := t.Plan(ctx, nil)
		if err != nil {
			return p, err
		}
		for _, f := range fs {
			v := f.Partition[b.Model.Partition]
			if retired.Has(v) {
				continue
			}
			if d, ok := v.(iceberg.Date); ok {
				days[d] = true
			} else {
				p.Null = true
			}
		}
	}
	p.Days = slices.Sorted(maps.Keys(days))
	return p, nil
}

// Seen returns the snapshot of the table that the model's table was made from; 0 where it remembers none.
func Seen(t *warehouse.Table, of warehouse.Name) (int64, error) {
	snaps, _, err := property[map[string]int64](t, UpstreamProperty)
	return snaps[of.String()], err
}
