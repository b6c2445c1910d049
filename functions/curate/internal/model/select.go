package model

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Select returns the models that the selectors name, each behind those it reads; all models where there are none. A selector is dbt's: name, +name (and all that it needs), name+ (and all
// that need it), +name+, tag:x, path:dir (or a file), and with a comma what several of them have in common; separate arguments, or words, add up. A name may have * in it. One that
// selects nothing is an error.
func (s *Set) Select(selectors ...string) ([]*Model, error) {
	var words []string
	for _, a := range selectors {
		words = append(words, strings.Fields(a)...)
	}
	if len(words) == 0 {
		return s.Models(), nil
	}
	chosen := map[string]bool{}
	for _, w := range words {
		var common map[string]bool
		for _, term := range strings.Split(w, ",") {
			got, err := s.term(term)
			if err != nil {
				return nil, err
			}
			if common == nil {
				common = got
				continue
			}
			for n := range common {
				if !got[n] {
					delete(common, n)
				}
			}
		}
		if len(common) == 0 {
			return nil, fmt.Errorf("--select %s selects no model", w)
		}
		for n := range common {
			chosen[n] = true
		}
	}
	var out []*Model
	for _, m := range s.models {
		if chosen[m.Name] {
			out = append(out, m)
		}
	}
	return out, nil
}

func (s *Set) term(term string) (map[string]bool, error) {
	core := strings.TrimSuffix(strings.TrimPrefix(term, "+"), "+")
	up, down := strings.HasPrefix(term, "+"), strings.HasSuffix(term, "+") && len(term) > 1
	if core == "" {
		return nil, fmt.Errorf("--select %q names no model", term)
	}
	out := map[string]bool{}
	method, value, ok := strings.Cut(core, ":")
	if !ok {
		method, value = "name", core
	}
	for _, m := range s.models {
		var hit bool
		var err error
		switch method {
		case "name":
			hit, err = path.Match(value, m.Name)
		case "tag":
			hit = slices.Contains(m.Tags, value)
		case "path":
			p := strings.Trim(strings.TrimPrefix(value, "./"), "/")
			hit = m.File == p || strings.HasPrefix(m.File, p+"/")
		default:
			return nil, fmt.Errorf("--select %s: method %q is not known: a name, tag:... or path:... is", term, method)
		}
		if err != nil {
			return nil, fmt.Errorf("--select %s: %w", term, err)
		}
		if hit {
			out[m.Name] = true
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("--select %s selects no model", term)
	}
	first := slices.Collect(func(yield func(string) bool) {
		for n := range out {
			if !yield(n) {
				return
			}
		}
	})
	if up {
		var visit func(n string)
		visit = func(n string) {
			out[n] = true
			for _, d := range s.needs(s.byName[n]) {
				visit(d)
			}
		}
		for _, n := range first {
			visit(n)
		}
	}
	if down {
		reached := map[string]bool{}
		for _, n := range first {
			reached[n] = true
		}
		for _, m := range s.models { // each behind those it needs
			if slices.ContainsFunc(s.needs(m), func(d string) bool { return reached[d] }) {
				reached[m.Name], out[m.Name] = true, true
			}
		}
	}
	return out, nil
}
