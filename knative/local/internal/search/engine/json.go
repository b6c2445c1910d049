package engine

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// kind says which JSON value a node holds.
type kind byte

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

// maxDepth bounds recursion on hostile input.
const maxDepth = 500

// node is one parsed JSON value. Unlike encoding/json's any it keeps the spelling of numbers, the order of keys and offsets,
// and it refuses duplicate keys as Elasticsearch does.
type node struct {
	kind   kind
	truth  bool
	off    int
	end    int
	str    string
	fields []member
	items  []node
}

type member struct {
	key string
	off int
	val node
}

func (n *node) get(key string) *node {
	for i := range n.fields {
		if n.fields[i].key == key {
			return &n.fields[i].val
		}
	}
	return nil
}

// token names a value as Elasticsearch's parser names the token it starts with.
func (n *node) token() string {
	switch n.kind {
	case kindObject:
		return "START_OBJECT"
	case kindArray:
		return "START_ARRAY"
	case kindString:
		return "VALUE_STRING"
	case kindNumber:
		return "VALUE_NUMBER"
	case kindBool:
		return "VALUE_BOOLEAN"
	case kindNull:
		return "VALUE_NULL"
	}
	return "VALUE_NULL"
}

// text is a scalar as a string: what a keyword field would hold.
func (n *node) text() string {
	if n.kind == kindBool {
		return strconv.FormatBool(n.truth)
	}
	return n.str
}

// any turns a node into what encoding/json would have made of it, numbers spelled as they came.
func (n *node) any() any {
	switch n.kind {
	case kindObject:
		m := make(map[string]any, len(n.fields))
		for i := range n.fields {
			m[n.fields[i].key] = n.fields[i].val.any()
		}
		return m
	case kindArray:
		a := make([]any, len(n.items))
		for i := range n.items {
			a[i] = n.items[i].any()
		}
		return a
	case kindString:
		return n.str
	case kindNumber:
		return number(n.str)
	case kindBool:
		return n.truth
	case kindNull:
		return nil
	}
	return nil
}

// number is a JSON number literal that marshals as itself.
type number string

// MarshalJSON returns the literal.
func (n number) MarshalJSON() ([]byte, error) { return []byte(n), nil }

// syntaxError is malformed JSON at a byte offset.
type syntaxError struct {
	off     int
	message string
	eof     bool
	extra   string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("[1:%d] %s", e.off+1, e.message) }

var errTrailing = errors.New("data after the value")

type jsonParser struct {
	src string
	pos int
}

// parseJSON reads exactly one JSON value.
func parseJSON(src string) (node, error) {
	p := jsonParser{src: src}
	p.space()
	n, err := p.value(0)
	if err != nil {
		return node{}, err
	}
	p.space()
	if p.pos != len(p.src) {
		q := jsonParser{src: src, pos: p.pos}
		token := "VALUE"
		if extra, err := q.value(0); err == nil {
			token = extra.token()
		}
		return node{}, &syntaxError{off: p.pos, message: errTrailing.Error(), extra: token}
	}
	return n, nil
}

func (p *jsonParser) space() {
	for p.pos < len(p.src) {
		switch p.src[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

func (p *jsonParser) fail(format string, args ...any) error {
	if p.pos >= len(p.src) {
		return &syntaxError{off: p.pos, message: "Unexpected end of file", eof: true}
	}
	return &syntaxError{off: p.pos, message: fmt.Sprintf(format, args...)}
}

func (p *jsonParser) value(depth int) (node, error) {
	if depth > maxDepth {
		return node{}, p.fail("Depth is greater than %d", maxDepth)
	}
	if p.pos >= len(p.src) {
		return node{}, p.fail("")
	}
	start := p.pos
	n := node{off: start}
	switch c := p.src[p.pos]; {
	case c == '{':
		n.kind = kindObject
		p.pos++
		p.space()
		if p.pos < len(p.src) && p.src[p.pos] == '}' {
			p.pos++
			break
		}
		n.fields = make([]member, 0, 8)
		// A scan beats a map in small objects; in huge ones it would be quadratic.
		var seen map[string]struct{}
		for {
			p.space()
			if p.pos >= len(p.src) || p.src[p.pos] != '"' {
				return node{}, p.fail("Unexpected character: was expecting double-quote to start field name")
			}
			off := p.pos
			key, err := p.string()
			if err != nil {
				return node{}, err
			}
			duplicate := false
			if seen == nil {
				duplicate = n.get(key) != nil
			} else {
				_, duplicate = seen[key]
			}
			if duplicate {
				return node{}, &syntaxError{off: p.pos - 1, message: fmt.Sprintf("Duplicate field '%s'", key)}
			}
			p.space()
			if p.pos >= len(p.src) || p.src[p.pos] != ':' {
				return node{}, p.fail("Unexpected character: was expecting a colon to separate field name and value")
			}
			p.pos++
			p.space()
			v, err := p.value(depth + 1)
			if err != nil {
				return node{}, err
			}
			n.fields = append(n.fields, member{key: key, off: off, val: v})
			if seen != nil {
				seen[key] = struct{}{}
			} else if len(n.fields) > 48 {
				seen = make(map[string]struct{}, 128)
				for i := range n.fields {
					seen[n.fields[i].key] = struct{}{}
				}
			}
			p.space()
			if p.pos < len(p.src) && p.src[p.pos] == ',' {
				p.pos++
				continue
			}
			if p.pos < len(p.src) && p.src[p.pos] == '}' {
				p.pos++
				break
			}
			return node{}, p.fail("Unexpected character: was expecting comma to separate Object entries")
		}
	case c == '[':
		n.kind = kindArray
		p.pos++
		p.space()
		if p.pos < len(p.src) && p.src[p.pos] == ']' {
			p.pos++
			break
		}
		for {
			p.space()
			v, err := p.value(depth + 1)
			if err != nil {
				return node{}, err
			}
			n.items = append(n.items, v)
			p.space()
			if p.pos < len(p.src) && p.src[p.pos] == ',' {
				p.pos++
				continue
			}
			if p.pos < len(p.src) && p.src[p.pos] == ']' {
				p.pos++
				break
			}
			return node{}, p.fail("Unexpected character: was expecting comma to separate Array entries")
		}
	case c == '"':
		s, err := p.string()
		if err != nil {
			return node{}, err
		}
		n.kind, n.str = kindString, s
	case c == '-' || c >= '0' && c <= '9':
		if err := p.number(); err != nil {
			return node{}, err
		}
		n.kind, n.str = kindNumber, p.src[start:p.pos]
	case strings.HasPrefix(p.src[p.pos:], "true"):
		p.pos += 4
		n.kind, n.truth = kindBool, true
	case strings.HasPrefix(p.src[p.pos:], "false"):
		p.pos += 5
		n.kind = kindBool
	case strings.HasPrefix(p.src[p.pos:], "null"):
		p.pos += 4
	default:
		return node{}, p.fail("Unrecognized token: was expecting a JSON value")
	}
	n.end = p.pos
	return n, nil
}

func (p *jsonParser) number() error {
	digits := func() bool {
		from := p.pos
		for p.pos < len(p.src) && p.src[p.pos] >= '0' && p.src[p.pos] <= '9' {
			p.pos++
		}
		return p.pos > from
	}
	if p.src[p.pos] == '-' {
		p.pos++
	}
	lead := p.pos
	if !digits() {
		return p.fail("Unexpected character: expected digit (0-9) to follow minus sign")
	}
	if p.src[lead] == '0' && p.pos > lead+1 {
		return p.fail("Invalid numeric value: Leading zeroes not allowed")
	}
	if p.pos < len(p.src) && p.src[p.pos] == '.' {
		p.pos++
		if !digits() {
			return p.fail("Unexpected character: Decimal point not followed by a digit")
		}
	}
	if p.pos < len(p.src) && (p.src[p.pos] == 'e' || p.src[p.pos] == 'E') {
		p.pos++
		if p.pos < len(p.src) && (p.src[p.pos] == '+' || p.src[p.pos] == '-') {
			p.pos++
		}
		if !digits() {
			return p.fail("Unexpected character: Exponent indicator not followed by a digit")
		}
	}
	return nil
}

// string reads a string literal; without escapes it is a part of the source, not a copy.
func (p *jsonParser) string() (string, error) {
	p.pos++
	start := p.pos
	ascii := true
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		switch {
		case c == '"':
			s := p.src[start:p.pos]
			if !ascii && !utf8.ValidString(s) {
				p.pos = start
				return "", p.fail("Invalid UTF-8")
			}
			p.pos++
			return s, nil
		case c == '\\':
			return p.escaped(start)
		case c < 0x20:
			return "", p.fail("Illegal unquoted character (code %d)", c)
		case c >= 0x80:
			ascii = false
		}
		p.pos++
	}
	return "", p.fail("")
}

func (p *jsonParser) escaped(start int) (string, error) {
	var b strings.Builder
	b.WriteString(p.src[start:p.pos])
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		switch {
		case c == '"':
			if !utf8.ValidString(b.String()) {
				p.pos = start
				return "", p.fail("Invalid UTF-8")
			}
			p.pos++
			return b.String(), nil
		case c < 0x20:
			return "", p.fail("Illegal unquoted character (code %d)", c)
		case c != '\\':
			b.WriteByte(c)
			p.pos++
			continue
		}
		p.pos++
		if p.pos >= len(p.src) {
			break
		}
		switch e := p.src[p.pos]; e {
		case '"', '\\', '/':
			b.WriteByte(e)
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			r, ok := p.hex(p.pos + 1)
			if !ok {
				return "", p.fail("Unexpected character: expected a hex-digit for character escape sequence")
			}
			p.pos += 4
			if utf16.IsSurrogate(r) {
				if strings.HasPrefix(p.src[p.pos+1:], `\u`) {
					if low, ok := p.hex(p.pos + 3); ok {
						if joined := utf16.DecodeRune(r, low); joined != utf8.RuneError {
							b.WriteRune(joined)
							p.pos += 7
							continue
						}
					}
				}
				r = utf8.RuneError
			}
			b.WriteRune(r)
		default:
			return "", p.fail("Unrecognized character escape")
		}
		p.pos++
	}
	return "", p.fail("")
}

func (p *jsonParser) hex(at int) (rune, bool) {
	if at+4 > len(p.src) {
		return 0, false
	}
	v, err := strconv.ParseUint(p.src[at:at+4], 16, 32)
	return rune(v), err == nil
}
