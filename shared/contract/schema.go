package contract

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
)

// JSONSchema is the payload's part of the contract as a JSON Schema (draft 2020-12) whose $id is the contract's URI, for producers and
// for tools. It says what Check says, but for what JSON Schema cannot: duplicate member names, half surrogate pairs, and the limits of
// dates and times. Formats of dates and times beyond RFC 3339's are patterns, which do not know the calendar.
func (c *Contract) JSONSchema() ([]byte, error) {
	schema := jsonSchema(&c.root, true)
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["$id"] = c.URI
	schema["title"] = c.Name
	b, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("JSON Schema of %s: %w", c.URI, err)
	}
	return b, nil
}

// jsonSchema is that of one field; named is whether its members' names matter though it has no fields.
func jsonSchema(f *Field, named bool) map[string]any {
	named = named || len(f.Fields) > 0
	s := map[string]any{}
	r := &f.rules
	typ := ""
	switch f.Type {
	case Any:
	case String:
		typ = "string"
		lengths(s, r, "minLength", "maxLength")
		if r.pattern != nil {
			s["pattern"] = r.pattern.String()
		}
		if f.Format != "" {
			s["format"] = f.Format
		}
	case Integer:
		typ = "integer"
		s["minimum"], s["maximum"] = r.intMin, r.intMax
	case Number:
		typ = "number"
		s["minimum"], s["maximum"] = -math.MaxFloat64, math.MaxFloat64
	case Decimal:
		typ = "number"
		s["multipleOf"] = json.Number(fmt.Sprintf("1e-%d", f.Scale))
		limit := json.Number(fmt.Sprintf("1e%d", f.Precision-f.Scale))
		s["exclusiveMinimum"], s["exclusiveMaximum"] = "-"+limit, limit
	case Boolean:
		typ = "boolean"
	case Date, Timestamp, Time:
		typ = "string"
		if f.layout.parts == nil && f.Type == Date {
			s["format"] = "date"
		}
		s["pattern"] = f.layout.regexp()
	case Object:
		typ = "object"
		lengths(s, r, "minProperties", "maxProperties")
		properties := map[string]any{}
		var required []string
		for i := range f.Fields {
			properties[f.Fields[i].Name] = jsonSchema(&f.Fields[i], false)
			if f.Fields[i].Required {
				required = append(required, f.Fields[i].Name)
			}
		}
		if len(properties) > 0 {
			s["properties"] = properties
		}
		if len(required) > 0 {
			s["required"] = required
		}
		if f.Closed {
			s["additionalProperties"] = false
		} else if named {
			// Rather than propertyNames, since validators then point at the member.
			s["patternProperties"] = map[string]any{badNames(f.Fields): false}
		}
	case Array:
		typ = "array"
		lengths(s, r, "minItems", "maxItems")
		if r.uniqueItems {
			s["uniqueItems"] = true
		}
		if f.Items != nil {
			s["items"] = jsonSchema(f.Items, false)
		}
	}
	if f.Type == Integer || f.Type == Number || f.Type == Decimal {
		var more []any // beside the type's own limits
		if r.min != nil {
			more = append(more, map[string]any{r.min.keyword("Minimum"): json.Number(r.min.text)})
		}
		if r.max != nil {
			more = append(more, map[string]any{r.max.keyword("Maximum"): json.Number(r.max.text)})
		}
		if r.multipleOf != "" {
			more = append(more, map[string]any{"multipleOf": json.Number(r.multipleOf)})
		}
		if more != nil {
			s["allOf"] = more
		}
	}
	var enum []any
	for _, text := range r.enum {
		enum = append(enum, json.RawMessage(text))
	}
	switch {
	case typ == "" && f.Required:
		s["not"] = map[string]any{"type": "null"}
	case typ == "":
	case f.Required:
		s["type"] = typ
	default:
		s["type"] = []string{typ, "null"}
		if enum != nil {
			enum = append(enum, nil)
		}
	}
	if enum != nil {
		s["enum"] = enum
	}
	if f.Description != "" {
		s["description"] = f.Description
	}
	return s
}

// badNames is a pattern of what badName refuses.
func badNames(fields []Field) string {
	pattern := `(^|\.)[` + blanks + `]*(\.|$)`
	for i := range fields {
		sep := "|"
		if i == 0 {
			sep = "|^("
		}
		pattern += sep + regexp.QuoteMeta(fields[i].Name)
	}
	if len(fields) > 0 {
		pattern += `)\.`
	}
	return pattern
}

// keyword is name (Minimum, Maximum) as JSON Schema spells it for this bound.
func (b *bound) keyword(name string) string {
	if b.exclusive {
		return "exclusive" + name
	}
	return strings.ToLower(name)
}

func lengths(s map[string]any, r *rules, lo, hi string) {
	if r.minLength > 0 {
		s[lo] = r.minLength
	}
	if r.maxLength >= 0 {
		s[hi] = r.maxLength
	}
}
