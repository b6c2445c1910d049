package model

import "slices"

// Inputs returns the tables that the model reads, through ephemeral models too, as schema.table in order; none of a name that is no model's.
func (s *Set) Inputs(name string) []string {
	m := s.Model(name)
	if m == nil {
		return nil
	}
	tables, models := s.reads(m)
	out := slices.Clone(tables)
	for _, n := range models {
		out = append(out, Namespace+"."+n)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
