package table

import (
	"encoding/base64"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/parquet-go/parquet-go"

	"millrace/shared/column"
	"millrace/shared/contract"
	"millrace/shared/rawjson"
)

// nodeOf returns the field's part of the schema.
func nodeOf(f contract.Field) parquet.Node {
	switch column.Of(f) {
	case column.Struct:
		g := parquet.Group{}
		for _, c := range f.Fields {
			g[column.Name(c)] = nodeOf(c)
		}
		return optional(g)
	case column.List:
		return optional(parquet.List(nodeOf(*f.Items)))
	case column.JSON:
		return optional(parquet.String())
	case column.Scalar:
	}
	switch f.Type {
	case contract.Integer:
		return optional(parquet.Int(64))
	case contract.Number:
		return optional(parquet.Leaf(parquet.DoubleType))
	case contract.Boolean:
		return optional(parquet.Leaf(parquet.BooleanType))
	case contract.Date:
		return optional(parquet.Date())
	case contract.Timestamp:
		return optional(timestamp(f.Timezone))
	case contract.Time:
		return optional(parquet.TimeAdjusted(parquet.Microsecond, f.Timezone))
	case contract.Decimal:
		switch {
		case f.Precision <= 9:
			return optional(parquet.Decimal(f.Scale, f.Precision, parquet.Int32Type))
		case f.Precision <= 18:
			return optional(parquet.Decimal(f.Scale, f.Precision, parquet.Int64Type))
		}
		return optional(parquet.Decimal(f.Scale, f.Precision, parquet.FixedLenByteArrayType(16)))
	default:
		return dictionary(parquet.String())
	}
}

// node is a field with its columns.
type node struct {
	field contract.Field
	shape column.Shape
	def   int // the definition level where the value is there
	rep   int // of a list: the repetition level of its second element

	names    map[string]int // of a struct: children by the field's name
	children []*node
	item     *node
	leaf     *leaf
	leaves   []*leaf // all below, itself included

	values [][]byte // of a struct: the members found, by child
}

// compile returns the node of the field whose column is at path, and which is at the definition and repetition levels.
func (l *Layout) compile(f contract.Field, path []string, def, rep int) *node {
	n := &node{field: f, shape: column.Of(f), def: def}
	below := func(name ...string) []string { return append(slices.Clone(path), name...) }
	switch n.shape {
	case column.Struct:
		n.names = map[string]int{}
		for i, c := range f.Fields {
			child := l.compile(c, below(column.Name(c)), def+1, rep)
			n.names[c.Name] = i
			n.children = append(n.children, child)
			n.leaves = append(n.leaves, child.leaves...)
		}
		n.values = make([][]byte, len(n.children))
	case column.List:
		n.rep = rep + 1
		n.item = l.compile(*f.Items, below("list", "element"), def+2, rep+1)
		n.leaves = n.item.leaves
	case column.JSON, column.Scalar:
		n.leaf = l.leaf(path...)
		n.leaves = []*leaf{n.leaf}
	}
	return n
}

// rescue collects what fits no column.
type rescue struct {
	path []string // of the value being written
	text []byte   // members of a JSON object, without its braces
}

// keep keeps the value, which stands at the path, then at more.
func (r *rescue) keep(value []byte, suffix string, more ...string) {
	var pointer strings.Builder
	for _, p := range [][]string{r.path, more} {
		for _, s := range p {
			pointer.WriteByte('/')
			pointer.WriteString(strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1"))
		}
	}
	pointer.WriteString(suffix)
	r.member(pointer.String(), value)
}

func (r *rescue) member(name string, value []byte) {
	if len(r.text) > 0 {
		r.text = append(r.text, ',')
	}
	r.text = rawjson.AppendString(r.text, name)
	r.text = append(r.text, ':')
	r.text = rawjson.Compact(r.text, value)
}

// addData adds the data of an enriched event to the columns of payload, enrichment and _rescued.
func (l *Layout) addData(d shown) {
	r := &l.rescue
	r.path, r.text = r.path[:0], r.text[:0]
	switch {
	case d.withheld != "":
		r.member("withheld", rawjson.AppendString(nil, d.withheld))
	case rawjson.Valid(d.rest):
		r.member("", d.rest)
	case d.rest != nil:
		r.member("base64", rawjson.AppendString(nil, base64.StdEncoding.EncodeToString(d.rest)))
	}
	l.addPart(l.payload, "payload", d.payload)
	l.addPart(l.enrichment, "enrichment", d.enrichment)
	l.rescued.bytes(wrap('{', r.text, '}'))
}

func (l *Layout) addPart(n *node, name string, value []byte) {
	r := &l.rescue
	r.path = append(r.path, name)
	switch {
	case n != nil:
		n.write(r, value, 0, 0)
	case value == nil, rawjson.Kind(value) == 'n':
	case name == "enrichment" && string(rawjson.Compact(nil, value)) == "{}": // a contract without steps
	default:
		r.keep(value, "")
	}
	r.path = r.path[:0]
}

// write adds the value, nil where it is absent, to the node's columns; def is the definition level of what it lies in.
func (n *node) write(r *rescue, value []byte, rep, def int) {
	kind := rawjson.Kind(value)
	if kind != 0 && kind != 'n' {
		switch n.shape {
		case column.Struct:
			if kind == '{' {
				n.writeStruct(r, value, rep)
				return
			}
		case column.List:
			if kind == '[' {
				n.writeList(r, value, rep)
				return
			}
		case column.JSON:
			n.leaf.add(parquet.ByteArrayValue(rawjson.Compact(nil, value)), rep)
			return
		case column.Scalar:
			v, ok, exact := scalar(&n.field, kind, value)
			if !exact {
				r.keep(value, "")
			}
			if ok {
				n.leaf.add(v, rep)
				return
			}
		}
		if n.shape != column.Scalar {
			r.keep(value, "")
		}
	}
	for _, f := range n.leaves {
		f.null(rep, def)
	}
}

func (n *node) writeStruct(r *rescue, value []byte, rep int) {
	clear(n.values)
	repeated := map[string]int(nil)
	// Members fails only on text that is not valid JSON, and this is.
	_ = rawjson.Members(value, func(key string, v []byte) error {
		i, ok := n.names[key]
		if !ok {
			r.keep(v, "", key)
			return nil
		}
		if n.values[i] != nil { // the last of several counts, as for most readers
			if repeated == nil {
				repeated = map[string]int{}
			}
			repeated[key]++
			r.keep(n.values[i], "#"+strconv.Itoa(repeated[key]), key)
		}
		n.values[i] = v
		return nil
	})
	for i, c := range n.children {
		v := n.values[i]
		r.path = append(r.path, c.field.Name)
		c.write(r, v, rep, n.def)
		r.path = r.path[:len(r.path)-1]
	}
}

func (n *node) writeList(r *rescue, value []byte, rep int) {
	empty := true
	_ = rawjson.Elements(value, func(i int, v []byte) error {
		if !empty {
			rep = n.rep
		}
		empty = false
		r.path = append(r.path, strconv.Itoa(i))
		n.item.write(r, v, rep, n.def+1)
		r.path = r.path[:len(r.path)-1]
		return nil
	})
	if empty {
		for _, f := range n.leaves {
			f.null(rep, n.def)
		}
	}
}

// scalar returns the value as its column has it. exact is false where the column does not hold all of it, or nothing (not ok).
func scalar(f *contract.Field, kind byte, value []byte) (v parquet.Value, ok, exact bool) {
	switch f.Type {
	case contract.Boolean:
		ok = kind == 't'
		v = parquet.BooleanValue(ok && value[0] == 't')
	case contract.Integer:
		var n int64
		n, ok = contract.ParseInteger(value)
		v = parquet.Int64Value(n)
	case contract.Number:
		var x float64
		x, ok = contract.ParseNumber(value)
		v = parquet.DoubleValue(x)
	case contract.Decimal:
		var n *big.Int
		if n, ok = contract.ParseDecimal(value, f.Precision, f.Scale); ok {
			v = decimal(n, f.Precision)
		}
	case contract.String:
		if kind == '"' {
			var b []byte
			if b, ok = unquote(value); ok {
				v = parquet.ByteArrayValue(b)
			}
		}
	case contract.Date, contract.Timestamp, contract.Time:
		if kind != '"' {
			return v, false, false
		}
		b, isText := unquote(value)
		if !isText {
			return v, false, false
		}
		t, err := f.ParseTime(unsafe.String(unsafe.SliceData(b), len(b)))
		if err != nil {
			return v, false, false
		}
		t = t.UTC()
		switch f.Type {
		case contract.Date:
			v = parquet.Int32Value(int32(floorDiv(t.Unix(), 24*60*60)))
		case contract.Timestamp:
			v = parquet.Int64Value(t.UnixMicro())
		default:
			midnight := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
			v = parquet.Int64Value(t.Sub(midnight).Microseconds())
		}
		return v, true, t.Nanosecond()%1000 == 0
	case contract.Any, contract.Object, contract.Array:
	}
	return v, ok, ok
}

func floorDiv(a, b int64) int64 {
	if a < 0 {
		return (a - b + 1) / b
	}
	return a / b
}

// unquote returns the text of a JSON string, which aliases it where it has no escapes.
func unquote(value []byte) ([]byte, bool) {
	for _, c := range value {
		if c == '\\' {
			s, ok := rawjson.Unquote(value)
			return []byte(s), ok
		}
	}
	return value[1 : len(value)-1], true
}

// decimal returns the unscaled number as a column of the precision holds it: 32 or 64 bits, or 16 bytes, two's complement, big endian.
func decimal(n *big.Int, precision int) parquet.Value {
	switch {
	case precision <= 9:
		return parquet.Int32Value(int32(n.Int64()))
	case precision <= 18:
		return parquet.Int64Value(n.Int64())
	}
	b := make([]byte, 16)
	if n.Sign() < 0 {
		n = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), 128))
	}
	n.FillBytes(b)
	return parquet.FixedLenByteArrayValue(b)
}
