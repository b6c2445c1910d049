package duck

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"

	"millrace/functions/curate/internal/warehouse"
)

// node is a column of a file, or a field, element, key or value in one.
type node struct {
	name string
	id   int
	list bool
	kv   bool // a map: its kids are key and value
	kids []node
}

// shape is what a file's columns are.
type shape struct {
	key   string // equal for files that one read_parquet can read
	ids   bool   // the file has field ids
	nodes []node
}

func readShape(path string) (_ shape, err error) {
	f, err := os.Open(path)
	if err != nil {
		return shape{}, err
	}
	defer func() {
		if c := f.Close(); err == nil {
			err = c
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return shape{}, err
	}
	p, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return shape{}, fmt.Errorf("reading the footer of %s: %w", path, err)
	}
	elements := p.Metadata().Schema
	if len(elements) == 0 {
		return shape{}, fmt.Errorf("%s has no schema", path)
	}
	var s shape
	var key strings.Builder
	for _, e := range elements[1:] {
		s.ids = s.ids || e.FieldID != 0
		fmt.Fprintf(&key, "%q %d %v %v %v %v %v %v %v %s\n", e.Name, e.FieldID, e.Type, e.TypeLength, e.RepetitionType, e.NumChildren, e.ConvertedType, e.Scale, e.Precision, e.LogicalType.String())
	}
	s.key = key.String()
	root, rest, err := tree(elements)
	if err != nil || len(rest) > 0 {
		return shape{}, fmt.Errorf("%s has a broken schema", path)
	}
	s.nodes = root.kids
	return s, nil
}

// tree returns the first element with its children, and the elements behind it.
func tree(es []format.SchemaElement) (node, []format.SchemaElement, error) {
	if len(es) == 0 {
		return node{}, nil, fmt.Errorf("an element is missing")
	}
	e, rest := es[0], es[1:]
	n := node{name: e.Name, id: int(e.FieldID)}
	for range int(e.NumChildren.V) {
		kid, more, err := tree(rest)
		if err != nil {
			return node{}, nil, err
		}
		n.kids, rest = append(n.kids, kid), more
	}
	converted := deprecated.ConvertedType(-1)
	if e.ConvertedType.Valid {
		converted = e.ConvertedType.V
	}
	if len(n.kids) != 1 {
		return n, rest, nil
	}
	inner := n.kids[0]
	switch {
	case converted == deprecated.List || isLogical[*format.ListType](e):
		n.list = true
		if len(inner.kids) == 1 {
			n.kids = inner.kids
		}
	case converted == deprecated.Map || converted == deprecated.MapKeyValue || isLogical[*format.MapType](e):
		if len(inner.kids) == 2 {
			n.kv, n.kids = true, inner.kids
		}
	}
	return n, rest, nil
}

func isLogical[T any](e format.SchemaElement) bool {
	_, ok := e.LogicalType.Value.(T)
	return ok
}

func (s shape) find(nodes []node, id int, name string) (node, bool) {
	i := slices.IndexFunc(nodes, func(n node) bool {
		if s.ids {
			return n.id == id
		}
		return n.name == name
	})
	if i < 0 {
		return node{}, false
	}
	return nodes[i], true
}

// value returns the SQL by which a file's node, reached by access, is a value of the type's form, and whether that is the node itself.
func (s shape) value(n node, t iceberg.Type, access string) (string, bool, error) {
	switch t := t.(type) {
	case *iceberg.StructType:
		same := len(n.kids) == len(t.FieldList)
		parts := make([]string, len(t.FieldList))
		for i, f := range t.FieldList {
			kid, ok := s.find(n.kids, f.ID, f.Name)
			if !ok {
				typ, err := Type(f.Type)
				if err != nil {
					return "", false, fmt.Errorf("%s: %w", f.Name, err)
				}
				parts[i], same = Quote(f.Name)+" := cast(null as "+typ+")", false
				continue
			}
			v, is, err := s.value(kid, f.Type, access+"."+Quote(kid.name))
			if err != nil {
				return "", false, fmt.Errorf("%s: %w", f.Name, err)
			}
			same = same && is && kid.name == f.Name && n.kids[i].name == f.Name
			parts[i] = Quote(f.Name) + " := " + v
		}
		if same {
			return access, true, nil
		}
		return "case when " + access + " is not null then struct_pack(" + strings.Join(parts, ", ") + ") end", false, nil
	case *iceberg.ListType:
		if !n.list || len(n.kids) != 1 {
			return "", false, fmt.Errorf("the file's %s is no list", n.name)
		}
		v, is, err := s.value(n.kids[0], t.Element, "e")
		if err != nil || is {
			return access, is, err
		}
		return "list_transform(" + access + ", lambda e: " + v + ")", false, nil
	case *iceberg.MapType:
		if !n.kv {
			return "", false, fmt.Errorf("the file's %s is no map", n.name)
		}
		v, is, err := s.value(n.kids[1], t.ValueType, "e.value")
		if err != nil || is {
			return access, is, err
		}
		return "map_from_entries(list_transform(map_entries(" + access + "), lambda e: struct_pack(key := e.key, value := " + v + ")))", false, nil
	}
	if len(n.kids) > 0 {
		return "", false, fmt.Errorf("the file's %s is nested", n.name)
	}
	return access, true, nil
}

// selection returns the select list that gives the columns from a file of the shape.
func (s shape) selection(columns []iceberg.NestedField) (string, error) {
	parts := make([]string, len(columns))
	for i, f := range columns {
		typ, err := Type(f.Type)
		if err != nil {
			return "", fmt.Errorf("column %s: %w", f.Name, err)
		}
		v := "null"
		if n, ok := s.find(s.nodes, f.ID, f.Name); ok {
			if v, _, err = s.value(n, f.Type, "f."+Quote(n.name)); err != nil {
				return "", fmt.Errorf("column %s: %w", f.Name, err)
			}
		}
		parts[i] = "cast(" + v + " as " + typ + ") as " + Quote(f.Name)
	}
	return strings.Join(parts, ", "), nil
}

// relation returns the query that Relation makes a view of. origin, if not empty, is a column more: the file's local path.
func relation(schema *iceberg.Schema, files []warehouse.Local, names []string, where, origin string) (string, error) {
	if names == nil {
		names = fetched(files)
	}
	columns, err := fields(schema, names)
	if err != nil {
		return "", err
	}
	if len(columns) == 0 {
		return "", fmt.Errorf("no columns were asked for")
	}
	type group struct {
		shape shape
		files []warehouse.Local
	}
	var groups []*group
	byKey := map[string]*group{}
	for _, l := range files {
		for _, f := range columns {
			if l.Columns != nil && !slices.Contains(l.Columns, f.Name) {
				return "", fmt.Errorf("column %s of %s was not fetched", f.Name, l.File.Path)
			}
		}
		s, err := readShape(l.Path)
		if err != nil {
			return "", err
		}
		key := s.key
		if len(l.Deletes) > 0 { // the positions are those of one file
			key += "\x00" + l.Path
		}
		g := byKey[key]
		if g == nil {
			g = &group{shape: s}
			groups, byKey[key] = append(groups, g), g
		}
		g.files = append(g.files, l)
	}
	var parts []string
	for _, g := range groups {
		selection, err := g.shape.selection(columns)
		if err != nil {
			return "", fmt.Errorf("%s: %w", g.files[0].File.Path, err)
		}
		if origin != "" {
			selection += ", f.filename as " + Quote(origin)
		}
		paths := make([]string, len(g.files))
		for i, l := range g.files {
			paths[i] = l.Path
		}
		part := "select " + selection + " from read_parquet(" + texts(paths) + ", hive_partitioning=false"
		if deletes := g.files[0].Deletes; len(deletes) > 0 {
			part += ", file_row_number=true) f anti join (select pos from read_parquet(" + texts(deletes) +
				", hive_partitioning=false) where file_path = " + Literal(g.files[0].File.Path) + ") d on f.file_row_number = d.pos"
		} else {
			part += ") f"
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		selection, err := shape{}.selection(columns)
		if err != nil {
			return "", err
		}
		if origin != "" {
			selection += ", cast(null as varchar) as " + Quote(origin)
		}
		parts = append(parts, "select "+selection+" where false")
	}
	query := strings.Join(parts, "\nunion all\n")
	if where != "" {
		query = "select * from (" + query + ") where (" + where + "\n)"
	}
	return query, nil
}

// fetched returns the columns that every file has been fetched with; nil: all.
func fetched(files []warehouse.Local) []string {
	var names []string
	for _, l := range files {
		switch {
		case l.Columns == nil:
		case names == nil:
			names = slices.Clone(l.Columns)
		default:
			names = slices.DeleteFunc(names, func(n string) bool { return !slices.Contains(l.Columns, n) })
		}
	}
	return names
}

func texts(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = Literal(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}
