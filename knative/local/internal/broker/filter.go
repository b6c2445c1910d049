package broker

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/knative/local/internal/manifest"
	"millrace/shared/event"
)

// filter reports whether a Trigger wants an event. It does not change it.
type filter func(e *event.Event) bool

// compileFilter returns what the Trigger's filters say together. Errors carry file and line.
func compileFilter(t *manifest.Trigger) (filter, error) {
	if len(t.Spec.Filters) > 0 {
		return every(t.Spec.Filters)
	}
	if t.Spec.Filter == nil {
		return func(*event.Event) bool { return true }, nil
	}
	return attributes(t.Spec.Filter.Attributes, func(have, want string) bool { return want == "" || have == want }), nil
}

// attributes wants each of the named attributes to be there and to stand in the relation to its value.
func attributes(want map[string]string, holds func(have, want string) bool) filter {
	names := slices.Sorted(maps.Keys(want))
	return func(e *event.Event) bool {
		for _, name := range names {
			if have := event.Attr(e, name); have == "" || !holds(have, want[name]) {
				return false
			}
		}
		return true
	}
}

func compileAll(specs []manifest.Filter) ([]filter, error) {
	all := make([]filter, len(specs))
	for i := range specs {
		var err error
		if all[i], err = compileOne(&specs[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func every(specs []manifest.Filter) (filter, error) {
	all, err := compileAll(specs)
	return func(e *event.Event) bool {
		for _, f := range all {
			if !f(e) {
				return false
			}
		}
		return true
	}, err
}

// compileOne returns the one dialect that the manifest's check left in f.
func compileOne(f *manifest.Filter) (filter, error) {
	switch {
	case f.Exact != nil:
		return attributes(f.Exact, func(have, want string) bool { return have == want }), nil
	case f.Prefix != nil:
		return attributes(f.Prefix, strings.HasPrefix), nil
	case f.Suffix != nil:
		return attributes(f.Suffix, strings.HasSuffix), nil
	case f.All != nil:
		return every(f.All)
	case f.Any != nil:
		all, err := compileAll(f.Any)
		return func(e *event.Event) bool {
			return slices.ContainsFunc(all, func(f filter) bool { return f(e) })
		}, err
	case f.Not != nil:
		not, err := compileOne(f.Not)
		return func(e *event.Event) bool { return !not(e) }, err
	case f.CESQL != "":
		expr, err := parseCESQL(f.CESQL)
		if err != nil {
			return nil, &manifest.Error{Pos: f.Pos, Message: fmt.Sprintf("cesql: %v", err)}
		}
		return func(e *event.Event) bool { return truth(expr, *e) }, nil
	}
	return nil, &manifest.Error{Pos: f.Pos, Message: "a filter without a dialect"}
}
