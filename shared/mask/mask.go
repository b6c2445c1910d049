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

// Event masks one event. It is not safe for concurrent use. The nil Event masks nothing.
type Event struct {
	mask   *Mask
	key    *Key
	hidden map[string]struct{} // the texts that were masked
}

// Event returns what masks an event with the key. Without one (nil), for whoever shows attributes alone then, what would be a pseudonym is null, and an attribute that would be one is empty.
func (m *Mask) Event(k *Key) *Event { return &Event{mask: m, key: k} }

// Payload appends the payload, which must be valid JSON, as it may be shown: masked, with the members that the MODEL names alone, and without white space. What is
// shown keeps its bytes.
func (e *Event) Payload(dst, payload []byte) []byte {
	if e == nil {
		return rawjson.Compact(dst, payload)
	}
	return e.append(dst, &e.mask.payload, rawjson.Trim(payload))
}

// Enrichment is Payload for the enrichment.
func (e *Event) Enrichment(dst, enrichment []byte) []byte {
	if e == nil {
		return rawjson.Compact(dst, enrichment)
	}
	return e.append(dst, &e.mask.enrichment, rawjson.Trim(enrichment))
}

// Attribute returns an attribute's text as it may be shown beside the payload and the enrichment that were masked before: its pseudonym where it is what was masked there, a string's text or a number
// as it was spelled.
func (e *Event) Attribute(text string) string {
	if e == nil || len(e.hidden) == 0 || text == "" {
		return text
	}
	if _, ok := e.hidden[text]; !ok {
		return text
	}
	if e.key == nil {
		return ""
	}
	return string(e.key.Append(nil, text))
}

func (e *Event) hide(text string) {
	if e.hidden == nil {
		e.hidden = map[string]struct{}{}
	}
	e.hidden[text] = struct{}{}
}

// hideAll notes all texts and numbers in a value. What is not valid after all is hidden as far as it was.
func (e *Event) hideAll(value []byte) {
	switch rawjson.Kind(value) {
	case '"':
		if s, ok := rawjson.Unquote(value); ok {
			e.hide(s)
		}
	case '0':
		e.hide(string(value))
	case '{':
		_ = rawjson.Members(value, func(_ string, v []byte) error { e.hideAll(v); return nil })
	case '[':
		_ = rawjson.Elements(value, func(_ int, v []byte) error { e.hideAll(v); return nil })
	}
}

const null = "null"

func (e *Event) append(dst []byte, n *node, value []byte) []byte {
	kind, start := rawjson.Kind(value), len(dst)
	switch n.rule {
	case show:
		return rawjson.Compact(dst, value)
	case text:
		if s, ok := rawjson.Unquote(value); ok && e.key != nil {
			e.hide(s)
			return e.key.appendQuoted(dst, s)
		}
		e.hideAll(value)
	case members:
		if kind != '{' {
			e.hideAll(value)
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
			dst = e.append(dst, &m.node, v)
			return nil
		})
		if err != nil { // not valid after all
			return append(dst[:start], null...)
		}
		return append(dst, '}')
	case items:
		if kind != '[' {
			e.hideAll(value)
			break
		}
		dst = append(dst, '[')
		err := rawjson.Elements(value, func(i int, v []byte) error {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = e.append(dst, n.item, v)
			return nil
		})
		if err != nil {
			return append(dst[:start], null...)
		}
		return append(dst, ']')
	case hide:
		e.hideAll(value)
	}
	return append(dst, null...)
}
