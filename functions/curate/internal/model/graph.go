package model

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// List writes one line for each of the models.
func List(w io.Writer, models []*Model) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MODEL\tMATERIALIZED\tKEPT BY\tPARTITION\tCOLUMNS\tTESTS\tFILE\tDESCRIPTION")
	for _, m := range models {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\n", m.Name, m.Materialized, m.keptBy(), m.Partition, len(m.Columns), len(m.Tests), m.File, firstLine(m.Description))
	}
	return t.Flush()
}

func (m *Model) keptBy() string {
	switch {
	case m.Materialized == Ephemeral:
		return ""
	case m.Materialized == Table:
		return "rebuild"
	case m.Overwrite:
		return "partitions of " + m.Upstream
	}
	return "key " + strings.Join(m.UniqueKey, ", ")
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// Format is how Graph writes.
type Format string

// The formats.
const (
	Text    Format = "text"
	Mermaid Format = "mermaid"
	DOT     Format = "dot"
)

// Graph writes which of the models (and sources) is read by which.
func (s *Set) Graph(w io.Writer, format Format, models []*Model) error {
	type edge struct{ from, to string }
	var nodes []string
	var edges []edge
	chosen := map[string]bool{}
	for _, m := range models {
		chosen[m.Name] = true
		for _, n := range m.Tables {
			nodes = append(nodes, n)
			edges = append(edges, edge{n, m.Name})
		}
		for _, n := range m.Models {
			if slices.Contains(models, s.byName[n]) {
				edges = append(edges, edge{n, m.Name})
			}
		}
	}
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	for _, m := range models {
		nodes = append(nodes, m.Name)
	}
	id := func(n string) string { return strings.ReplaceAll(n, ".", "__") }
	var b strings.Builder
	switch format {
	case Mermaid:
		b.WriteString("graph LR\n")
		for _, n := range nodes {
			open, shut := "([", "])" // a source
			if m := s.byName[n]; m != nil {
				open, shut = "[", "]"
				if m.Materialized == Ephemeral {
					open, shut = "(", ")"
				}
			}
			fmt.Fprintf(&b, "  %s%s\"%s\"%s\n", id(n), open, n, shut)
		}
		for _, e := range edges {
			fmt.Fprintf(&b, "  %s --> %s\n", id(e.from), id(e.to))
		}
	case DOT:
		b.WriteString("digraph models {\n  rankdir=LR;\n")
		for _, n := range nodes {
			shape := "cylinder"
			if m := s.byName[n]; m != nil {
				shape = "box"
				if m.Materialized == Ephemeral {
					shape = "ellipse"
				}
			}
			fmt.Fprintf(&b, "  %q [shape=%s];\n", n, shape)
		}
		for _, e := range edges {
			fmt.Fprintf(&b, "  %q -> %q;\n", e.from, e.to)
		}
		b.WriteString("}\n")
	case Text:
		for _, m := range models {
			fmt.Fprintf(&b, "%s (%s)\n", m.Name, m.Materialized)
			for _, n := range m.Tables {
				fmt.Fprintf(&b, "  reads %s\n", n)
			}
			for _, n := range m.Models {
				fmt.Fprintf(&b, "  reads %s\n", n)
			}
			for _, o := range s.models {
				if chosen[o.Name] && slices.Contains(o.Models, m.Name) {
					fmt.Fprintf(&b, "  read by %s\n", o.Name)
				}
			}
		}
	default:
		return fmt.Errorf("the graph's format %q is not known: text, mermaid, dot", format)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
