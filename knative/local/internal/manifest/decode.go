package manifest

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Pos is a place in a manifest file. Line counts from 1.
type Pos struct {
	File string
	Line int
}

// String returns "file:line".
func (p Pos) String() string { return p.File + ":" + strconv.Itoa(p.Line) }

// Error is one finding at one place; its text is "file:line: message".
type Error struct {
	Pos     Pos
	Message string
}

// Error implements error.
func (e *Error) Error() string { return e.Pos.String() + ": " + e.Message }

// Ignored is the type of a field that a cluster obeys and this platform knows but has no use for. Its content is not looked at.
type Ignored struct{}

// nodeDecoder is a type that reads itself from a node, reporting what is wrong to d.
type nodeDecoder interface {
	decodeNode(d *decoder, n *yaml.Node, path string)
}

// decoder reads the nodes of one file and collects every error.
type decoder struct {
	file string
	errs []error
}

func (d *decoder) errorf(n *yaml.Node, format string, args ...any) {
	d.errs = append(d.errs, &Error{Pos: Pos{File: d.file, Line: n.Line}, Message: fmt.Sprintf(format, args...)})
}

var (
	posType     = reflect.TypeFor[Pos]()
	ignoredType = reflect.TypeFor[Ignored]()
)

// decode reads n into v, which is settable. path names n in errors, such as "spec.template".
func (d *decoder) decode(n *yaml.Node, v reflect.Value, path string) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if v.Type() == ignoredType {
		return
	}
	if custom, ok := v.Addr().Interface().(nodeDecoder); ok {
		custom.decodeNode(d, n, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if n.Tag == "!!null" {
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(n, v.Elem(), path)
	case reflect.Struct:
		d.decodeStruct(n, v, path)
	case reflect.Map:
		d.decodeMap(n, v, path)
	case reflect.Slice:
		if n.Tag == "!!null" {
			return
		}
		if n.Kind != yaml.SequenceNode {
			d.errorf(n, "%s must be a list, not %s", path, describe(n))
			return
		}
		list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
		for i, item := range n.Content {
			d.decode(item, list.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
		v.Set(list)
	case reflect.String:
		if text, ok := d.text(n, path); ok {
			v.SetString(text)
		}
	case reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
			d.errorf(n, "%s must be true or false, not %s", path, describe(n))
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int:
		number, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil {
			d.errorf(n, "%s must be a whole number, not %s", path, describe(n))
			return
		}
		v.SetInt(int64(number))
	default:
		panic("manifest: no decoder for " + v.Type().String())
	}
}

// words11 are plain scalars that YAML 1.1, which Kubernetes reads, takes for booleans and YAML 1.2 for strings.
var words11 = []string{"y", "n", "yes", "no", "on", "off"}

// text returns the string that n holds, or reports that a cluster would not take it for one.
func (d *decoder) text(n *yaml.Node, path string) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		d.errorf(n, "%s must be a string, not %s", path, describe(n))
		return "", false
	}
	plain := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch {
	case n.Tag == "!!null":
		return "", true
	case n.Tag != "!!str" && n.Tag != "!!timestamp", plain && n.Tag == "!!str" && slices.Contains(words11, strings.ToLower(n.Value)):
		d.errorf(n, "%s must be a string, not %s: write it in quotes, %q", path, describe(n), n.Value)
		return "", false
	}
	return n.Value, true
}

func (d *decoder) decodeStruct(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.errorf(n, "%s must be a mapping, not %s", path, describe(n))
		return
	}
	fields := map[string]reflect.Value{}
	var names []string
	d.fields(n, v, fields, &names)
	d.each(n, path, func(key, value *yaml.Node) {
		field, ok := fields[key.Value]
		if !ok {
			d.errorf(key, "unknown field %q in %s%s", key.Value, path, suggest(key.Value, names))
			return
		}
		d.decode(value, field, path+"."+key.Value)
	})
}

// fields collects the fields of v, those of embedded structs included, by their names in YAML, and sets its Pos.
func (d *decoder) fields(n *yaml.Node, v reflect.Value, fields map[string]reflect.Value, names *[]string) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name := field.Tag.Get("yaml")
		switch {
		case field.Type == posType:
			v.Field(i).Set(reflect.ValueOf(Pos{File: d.file, Line: n.Line}))
		case field.Anonymous:
			d.fields(n, v.Field(i), fields, names)
		case name != "":
			fields[name] = v.Field(i)
			*names = append(*names, name)
		}
	}
}

func (d *decoder) decodeMap(n *yaml.Node, v reflect.Value, path string) {
	if n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.errorf(n, "%s must be a mapping", path)
		return
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	d.each(n, path, func(key, value *yaml.Node) {
		element := reflect.New(v.Type().Elem()).Elem()
		d.decode(value, element, path+"."+key.Value)
		m.SetMapIndex(reflect.ValueOf(key.Value), element)
	})
	v.Set(m)
}

// each calls f for every entry of the mapping n, refusing keys that stand there twice and keys that are no strings.
func (d *decoder) each(n *yaml.Node, path string, f func(key, value *yaml.Node)) {
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.errorf(key, "a key in %s must be a string, not %s", path, describe(key))
			continue
		}
		if first, ok := lines[key.Value]; ok {
			d.errorf(key, "%s.%s is there twice, first in line %d", path, key.Value, first)
			continue
		}
		lines[key.Value] = key.Line
		f(key, value)
	}
}

// describe names what n is, for errors. It quotes scalars, which are no secrets: those have decoders of their own.
func describe(n *yaml.Node) string {
	if n.Kind == yaml.MappingNode {
		return "a mapping"
	}
	if n.Kind == yaml.SequenceNode {
		return "a list"
	}
	switch n.Tag {
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!bool":
		return "the boolean " + n.Value
	case "!!null":
		return "nothing"
	}
	if slices.Contains(words11, strings.ToLower(n.Value)) {
		return "the boolean " + n.Value + " (YAML 1.1)"
	}
	return strconv.Quote(n.Value)
}

// suggest returns "; did you mean ..." for the known name nearest to name, or else the list of the known ones.
func suggest(name string, known []string) string {
	best, bestDistance := "", 1+max(1, min(2, len(name)/2), len(name)/3)
	for _, candidate := range known {
		if distance := editDistance(strings.ToLower(name), strings.ToLower(candidate)); distance < bestDistance {
			best, bestDistance = candidate, distance
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	if len(known) == 0 {
		return "; there is none"
	}
	sorted := slices.Sorted(slices.Values(known))
	return "; known here: " + strings.Join(sorted, ", ")
}

// editDistance is the number of letters to insert, delete or replace to turn a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			above := row[j]
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above+1, row[j-1]+1, diagonal+cost)
			diagonal = above
		}
	}
	return row[len(b)]
}
