package mask

import (
	"slices"

	"millrace/shared/contract"
	"millrace/shared/rawjson"
)

// Mask says what of the payloads and enrichments of one event type and MODEL is masked. It is safe for concurrent use and never changes.
type Mask struct {
	payload, enrichment node
}

// Of returns the mask of a MODEL, nil where nothing in any of its versions is masked: there is nothing to be done then, and no key is needed.
func Of(m contract.Model) *Mask {
	if !masked(m.Payload) && !masked(m.Enrichment) {
		return nil
	}
	return Strict(m)
}

// Strict is Of for an event of a version that is not known, whose contract may name and mask more than the versions of m do: without anything to mask, too, only what m names is
// shown. The zero Model shows nothing.
func Strict(m contract.Model) *Mask {
	return &Mask{payload: object(m.Payload), enrichment: object(m.Enrichment)}
}

func masked(fields []contract.Field) bool {
	return slices.ContainsFunc(fields, func(f contract.Field) bool {
		return f.Masked() || masked(f.Fields) || f.Items != nil && masked([]contract.Field{*f.Items})
	})
}

// rule is what becomes of a field's value.
type rule uint8

const (
	hide    rule = iota // null
	show                // as it is, without white space
	text                // of a string its pseudonym, else null
	members             // of an object the members that are named, else null
	items               // of an array each item, else null
)

type node struct {
	rule    rule
	members map[string]member
	item    *node
}

type member struct {
	name string // quoted, and with the colon
	node node
}

func object(fields []contract.Field) node {
	n := node{rule: members, members: make(map[string]member, len(fields))}
	for i := range fields {
		f := &fields[i]
		n.members[f.Name] = member{string(append(rawjson.AppendString(nil, f.Name), ':')), compile(f, false)}
	}
	return n
}

// compile returns the node of a field; above is whether it lies in one that is masked.
func compile(f *contract.Field, above bool) node {
	secret := above || f.Masked()
	switch f.Type {
	case contract.Object:
		switch {
		case secret:
			return node{rule: hide}
		case len(f.Fields) == 0:
			return node{rule: show}
		}
		return object(f.Fields)
	case contract.Array:
		item := node{rule: show}
		switch {
		case f.Items != nil:
			item = compile(f.Items, secret)
		case secret:
			item.rule = text
		}
		switch item.rule {
		case hide, show:
			return node{rule: item.rule}
		case text, members, items:
		}
		return node{rule: items, item: &item}
	case contract.Any, contract.String:
		if secret {
			return node{rule: text}
		}
	case contract.Integer, contract.Number, contract.Decimal, contract.Boolean, contract.Date, contract.Timestamp, contract.Time:
		if secret {
			return node{rule: hide}
		}
	}
	return node{rule: show}
}

// Payload appends the payload, which must be valid JSON, as it may be shown: masked, with the members that the MODEL names alone, and without white space. What is
// shown keeps its bytes.
func (m *Mask) Payload(dst []byte, k *Key, payload []byte) []byte {
	return m.payload.append(dst, k, rawjson.Trim(payload))
}

// Enrichment is Payload for the enrichment.
func (m *Mask) Enrichment(dst []byte, k *Key, enrichment []byte) []byte {
	return m.enrichment.append(dst, k, rawjson.Trim(enrichment))
}

const null = "null"

func (n *node) append(dst []byte, k *Key, value []byte) []byte {
	kind, start := rawjson.Kind(value), len(dst)
	switch n.rule {
	case show:
		return rawjson.Compact(dst, value)
	case text:
		if s, ok := rawjson.Unquote(value); ok {
			return k.appendQuoted(dst, s)
		}
	case members:
		if kind != '{' {
			break
		}
		dst = append(dst, '{')
		err := rawjson.Members(value, func(name string, v []byte) error {
			m, ok := n.members[name]
			if !ok {
				return nil
			}
			if dst[len(dst)-1] != '{' {
				dst = append(dst, ',')
			}
			dst = append(dst, m.name...)
			dst = m.node.append(dst, k, v)
			return nil
		})
		if err != nil { // not valid after all
			return append(dst[:start], null...)
		}
		return append(dst, '}')
	case items:
		if kind != '[' {
			break
		}
		dst = append(dst, '[')
		err := rawjson.Elements(value, func(i int, v []byte) error {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = n.item.append(dst, k, v)
			return nil
		})
		if err != nil {
			return append(dst[:start], null...)
		}
		return append(dst, ']')
	case hide:
	}
	return append(dst, null...)
}
