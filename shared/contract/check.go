package contract

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"millrace/shared/rawjson"
)

// MaxViolations is how many violations of one payload are listed; the others are counted.
const MaxViolations = 100

// maxPointer is the length in bytes at which a violation's pointer is cut, and marked with "...".
const maxPointer = 256

// Violation is one way in which a payload breaks its contract.
type Violation struct {
	// Pointer is a JSON pointer (RFC 6901) to the value, "" for the whole payload. It is made of the contract's own names and of array
	// indexes; a name that the producer chose appears only where it looks like an identifier.
	Pointer string
	// Message says what is asked for, in at most some hundred bytes. It never quotes a value of the payload, which may be personal data.
	Message string
}

// SyntaxError says that a payload is not JSON at all: not the grammar of RFC 8259, not UTF-8, or nested deeper than rawjson.MaxDepth.
type SyntaxError = rawjson.SyntaxError

// Result is what one reading of a payload found.
type Result struct {
	Violations []Violation // in the payload's order, at most MaxViolations
	More       int         // violations beyond those
	// Keys are, for each step of the contract, the raw JSON of the value at its key, aliasing the payload; nil where it is absent.
	Keys [][]byte
}

// Check returns everything in which payload breaks the contract, in the payload's order, at most [MaxViolations]; none means that it
// conforms. A payload that is no JSON has one violation.
func (c *Contract) Check(payload []byte) []Violation {
	r, err := c.Inspect(payload)
	if err != nil {
		return []Violation{{Message: "is not JSON: " + err.Error()}}
	}
	return r.Violations
}

// Inspect is Check, which also picks the values that the contract's steps ask for, in the same single walk. Its only error is a
// *[SyntaxError]: the payload is not JSON.
func (c *Contract) Inspect(payload []byte) (Result, error) {
	w := walkers.Get().(*walker)
	defer w.release()
	w.b = payload
	if n := len(c.paths); n > 0 {
		w.keys = make([][]byte, n)
	}
	w.space()
	ok := w.value(&c.checker.root, 0)
	if ok {
		w.space()
		if w.i < len(w.b) {
			ok = w.syntax("something follows the value")
		}
	}
	if !ok {
		// The walk knows that something is wrong; what it is best called is told by a second one, as it is everywhere else.
		if err := rawjson.Explain(payload); err != nil {
			return Result{}, err
		}
		return Result{}, w.err
	}
	return Result{Violations: w.found, More: w.more, Keys: w.keys}, nil
}

type checker struct{ root node }

// node is a field, compiled.
type node struct {
	*Field
	children []node
	index    map[string]int
	required []int
	named    bool // its members' names are search's business: see badName
	item     *node
	pick     []int // indexes of Result.Keys
}

func compile(root Field, paths [][]string) *checker {
	c := &checker{root: compileField(&root)}
	c.root.named = true // also without any field
	for i, path := range paths {
		n := &c.root
		for _, name := range path {
			n = &n.children[n.index[name]]
		}
		n.pick = append(n.pick, i)
	}
	return c
}

func compileField(f *Field) node {
	n := node{Field: f, index: make(map[string]int, len(f.Fields)), named: len(f.Fields) > 0}
	for i := range f.Fields {
		n.children = append(n.children, compileField(&f.Fields[i]))
		n.index[f.Fields[i].Name] = i
		if f.Fields[i].Required {
			n.required = append(n.required, i)
		}
	}
	if f.Items != nil {
		item := compileField(f.Items)
		n.item = &item
	}
	return n
}

// unknown stands for values that the contract says nothing about: only the grammar is checked, and what breaks parsers downstream.
var unknown = &node{Field: &Field{Type: Any}}

// element is one part of the path to the value at hand: a name, or where name is "" an index.
type element struct {
	name  string
	index int
}

type walker struct {
	b     []byte
	i     int
	path  []element
	dark  int // depth within parts that the contract does not describe: path does not grow there
	found []Violation
	more  int
	keys  [][]byte
	names []byte   // scratch: decoded member names
	seen  [][]byte // scratch: unknown member names of the open objects
	bits  []uint64 // scratch: known members of the open objects that were seen
	err   *SyntaxError
}

var walkers = sync.Pool{New: func() any { return new(walker) }}

func (w *walker) release() {
	if cap(w.seen) > 1024 || cap(w.names) > 1<<16 {
		return
	}
	clear(w.seen[:cap(w.seen)])
	*w = walker{path: w.path[:0], names: w.names[:0], seen: w.seen[:0], bits: w.bits[:0]}
	walkers.Put(w)
}

func (w *walker) syntax(reason string) bool {
	if w.err == nil {
		w.err = &SyntaxError{Offset: w.i, Reason: reason}
	}
	return false
}

func (w *walker) fail(message string) { w.failAt("", message) }

// failAt reports a violation of the value at hand, or of its member.
func (w *walker) failAt(member, message string) {
	if len(w.found) >= MaxViolations {
		w.more++
		return
	}
	var p strings.Builder
	for _, e := range w.path {
		p.WriteByte('/')
		if e.name != "" {
			p.WriteString(escapePointer(e.name))
		} else {
			p.WriteString(strconv.Itoa(e.index))
		}
	}
	if member != "" {
		p.WriteByte('/')
		p.WriteString(escapePointer(member))
	}
	pointer := p.String()
	if len(pointer) > maxPointer {
		pointer = strings.ToValidUTF8(pointer[:maxPointer], "") + "..."
	}
	if w.dark > 0 {
		message = "has, in a part that the contract does not describe, a value that " + message
	}
	w.found = append(w.found, Violation{Pointer: pointer, Message: message})
}

func (w *walker) space() {
	for w.i < len(w.b) {
		switch w.b[w.i] {
		case ' ', '\t', '\n', '\r':
			w.i++
		default:
			return
		}
	}
}

func (w *walker) value(n *node, depth int) bool {
	if w.i >= len(w.b) {
		return w.syntax("the text ends where a value is due")
	}
	switch c := w.b[w.i]; {
	case c == '{':
		if n.Type != Object && n.Type != Any {
			return w.mismatch(n, depth)
		}
		return w.object(n, depth+1)
	case c == '[':
		if n.Type != Array && n.Type != Any {
			return w.mismatch(n, depth)
		}
		return w.array(n, depth+1)
	case c == '"':
		return w.text(n)
	case c == '-' || c >= '0' && c <= '9':
		start := w.i
		end, ok := scanNumber(w.b, w.i)
		w.i = end
		if !ok {
			return w.syntax("malformed number")
		}
		w.number(n, w.b[start:end])
		return true
	case c == 't':
		return w.literal("true", n)
	case c == 'f':
		return w.literal("false", n)
	case c == 'n':
		return w.literal("null", n)
	}
	return w.syntax("no value begins like this")
}

// mismatch reports a value of the wrong type and walks through it.
func (w *walker) mismatch(n *node, depth int) bool {
	w.wrongType(n)
	w.dark++
	ok := w.value(unknown, depth)
	w.dark--
	return ok
}

func (w *walker) wrongType(n *node) {
	switch n.Type {
	case Integer, Array, Object:
		w.fail("is not an " + n.Type.String())
	case Decimal:
		w.fail("is not a number")
	case Date, Timestamp, Time:
		w.fail("is not a string spelled " + n.layout.shape())
	case Any, String, Number, Boolean:
		w.fail("is not a " + n.Type.String())
	}
}

func (w *walker) literal(word string, n *node) bool {
	if len(w.b)-w.i < len(word) || string(w.b[w.i:w.i+len(word)]) != word {
		return w.syntax("no value begins like this")
	}
	w.i += len(word)
	switch {
	case word == "null":
		if n.Required {
			w.fail("is null, and a value is required")
		}
	case n.Type != Boolean && n.Type != Any:
		w.wrongType(n)
	}
	return true
}

func (w *walker) number(n *node, raw []byte) {
	switch n.Type {
	case Any:
		return
	case Integer, Number, Decimal:
	case String, Boolean, Date, Timestamp, Time, Object, Array:
		w.wrongType(n)
		return
	}
	if len(raw) > maxNumber {
		w.fail("has more digits than a number may have")
		return
	}
	var f float64
	r := &n.rules
	switch n.Type {
	case Integer:
		v, ok := ParseInteger(raw)
		if !ok {
			w.fail("is not an integer of 64 bits")
			return
		}
		if v < r.intMin || v > r.intMax {
			w.fail("is not an integer of format " + n.Format)
			return
		}
		if r.enumSet != nil && !r.enumSet[strconv.FormatInt(v, 10)] {
			w.fail("is none of the values that the contract lists")
		}
		f = float64(v)
	case Decimal:
		if !fitsDecimal(raw, n.Precision, n.Scale) {
			w.fail("does not fit in " + n.PhysicalType)
			return
		}
		f, _ = number(raw) // 38 digits fit in a double's range
	default:
		var ok bool
		if f, ok = number(raw); !ok {
			w.fail("is beyond the largest double")
			return
		}
	}
	if r.min != nil && (f < r.min.number || r.min.exclusive && f == r.min.number) {
		w.fail(r.min.lower())
	}
	if r.max != nil && (f > r.max.number || r.max.exclusive && f == r.max.number) {
		w.fail(r.max.upper())
	}
	if r.multipleOf != "" && !isMultiple(raw, r.multipleOf) {
		w.fail("is not a multiple of " + r.multipleOf)
	}
}

func (b *bound) lower() string {
	if b.exclusive {
		return "is not above " + b.text
	}
	return "is below " + b.text
}

func (b *bound) upper() string {
	if b.exclusive {
		return "is not below " + b.text
	}
	return "is above " + b.text
}

func isMultiple(raw []byte, of string) bool {
	v, ok := rat(raw)
	if !ok {
		return false
	}
	d, ok := rat([]byte(of))
	return ok && v.Quo(v, d).IsInt()
}

// stringFlags say what a string literal holds.
type stringFlags struct {
	escaped, wide, lone bool
}

// scanString reads the string literal at w.i and returns what is between the quotes.
func (w *walker) scanString() (raw []byte, fl stringFlags, ok bool) {
	b, i := w.b, w.i+1
	start := i
	for i < len(b) {
		switch c := b[i]; {
		case c == '"':
			raw = b[start:i]
			if fl.wide && !utf8.Valid(raw) {
				w.i = start
				return nil, fl, w.syntax("a string is not UTF-8")
			}
			w.i = i + 1
			return raw, fl, true
		case c == '\\':
			fl.escaped = true
			n, lone := scanEscape(b[i:])
			if n == 0 {
				w.i = i
				return nil, fl, w.syntax("malformed escape in a string")
			}
			fl.lone = fl.lone || lone
			i += n
		case c < 0x20:
			w.i = i
			return nil, fl, w.syntax("control character in a string")
		default:
			if c >= utf8.RuneSelf {
				fl.wide = true
			}
			i++
		}
	}
	w.i = i
	return nil, fl, w.syntax("a string has no end")
}

// scanEscape returns the length of the escape that b begins with, a surrogate pair being one, or 0.
func scanEscape(b []byte) (n int, lone bool) {
	if len(b) < 2 {
		return 0, false
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, false
	case 'u':
		r, ok := hex4(b[2:])
		if !ok {
			return 0, false
		}
		if !utf16.IsSurrogate(r) {
			return 6, false
		}
		if r < 0xdc00 && len(b) >= 8 && b[6] == '\\' && b[7] == 'u' {
			if low, ok := hex4(b[8:]); ok && low >= 0xdc00 && low <= 0xdfff {
				return 12, false
			}
		}
		return 6, true
	}
	return 0, false
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unescape appends the decoded form of what scanString returned. A lone surrogate becomes U+FFFD.
func unescape(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			i++
			continue
		}
		switch c := raw[i+1]; c {
		case 'u':
			r, _ := hex4(raw[i+2:]) // scanString saw four
			i += 6
			if utf16.IsSurrogate(r) {
				low := rune(0)
				if i+6 <= len(raw) && raw[i] == '\\' && raw[i+1] == 'u' {
					low, _ = hex4(raw[i+2:]) // likewise
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			switch c {
			case 'b':
				c = '\b'
			case 'f':
				c = '\f'
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			}
			dst = append(dst, c)
			i += 2
		}
	}
	return dst
}

func (w *walker) text(n *node) bool {
	raw, fl, ok := w.scanString()
	if !ok {
		return false
	}
	if fl.lone {
		w.fail("holds half of a surrogate pair")
	}
	switch n.Type {
	case Any:
		return true
	case String, Date, Timestamp, Time:
	case Integer, Number, Decimal, Boolean, Object, Array:
		w.wrongType(n)
		return true
	}
	if fl.escaped {
		raw = unescape(nil, raw)
	}
	s := unsafe.String(unsafe.SliceData(raw), len(raw)) // does not outlive this call
	r := &n.rules
	if n.Type != String {
		t, err := n.layout.parse(s)
		switch {
		case err == errShape: //nolint:errorlint // a sentinel of this package, returned bare
			w.wrongType(n)
			return true
		case err != nil:
			w.fail(err.Error())
			return true
		}
		if r.min != nil && (t.Before(r.min.time) || r.min.exclusive && t.Equal(r.min.time)) {
			w.fail(r.min.lower())
		}
		if r.max != nil && (t.After(r.max.time) || r.max.exclusive && t.Equal(r.max.time)) {
			w.fail(r.max.upper())
		}
		return true
	}
	if r.minLength > 0 || r.maxLength >= 0 {
		length := len(raw)
		if fl.wide || fl.escaped {
			length = utf8.RuneCount(raw)
		}
		if length < r.minLength {
			w.fail("has fewer than " + strconv.Itoa(r.minLength) + " characters")
		}
		if r.maxLength >= 0 && length > r.maxLength {
			w.fail("has more than " + strconv.Itoa(r.maxLength) + " characters")
		}
	}
	if r.pattern != nil && !r.pattern.Match(raw) {
		w.fail("does not match " + clip(r.pattern.String(), 100))
	}
	if r.format != nil && !r.format(s) {
		w.fail("is not of format " + n.Format)
	}
	if r.enumSet != nil && !r.enumSet[string(rawjson.AppendString(nil, s))] {
		w.fail("is none of the values that the contract lists")
	}
	return true
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}

func (w *walker) array(n *node, depth int) bool {
	if depth > rawjson.MaxDepth {
		return w.syntax("nested too deep")
	}
	described := n.Type == Array && n.item != nil
	item := unknown
	if described {
		item = n.item
	} else {
		w.dark++
	}
	w.i++
	w.space()
	count := 0
	var items [][]byte
	if w.i < len(w.b) && w.b[w.i] == ']' {
		w.i++
	} else {
		for {
			if described {
				w.path = append(w.path, element{index: count})
			}
			from := w.i
			if !w.value(item, depth) {
				return false
			}
			if described {
				w.path = w.path[:len(w.path)-1]
			}
			if n.rules.uniqueItems {
				items = append(items, w.b[from:w.i])
			}
			count++
			w.space()
			if w.i >= len(w.b) {
				return w.syntax("an array has no end")
			}
			c := w.b[w.i]
			if c != ',' && c != ']' {
				return w.syntax("neither comma nor end of an array")
			}
			w.i++
			if c == ']' {
				break
			}
			w.space()
		}
	}
	if !described {
		w.dark--
	}
	if n.Type != Array {
		return true
	}
	if r := &n.rules; count < r.minLength {
		w.fail("has fewer than " + strconv.Itoa(r.minLength) + " items")
	} else if r.maxLength >= 0 && count > r.maxLength {
		w.fail("has more than " + strconv.Itoa(r.maxLength) + " items")
	}
	if n.rules.uniqueItems && !allDistinct(items) {
		w.fail("has the same item twice")
	}
	return true
}

func (w *walker) object(n *node, depth int) bool {
	if depth > rawjson.MaxDepth {
		return w.syntax("nested too deep")
	}
	// Known members are marked in bits, unknown ones listed in seen; both are stacks shared with the objects around this one.
	firstBit, firstSeen, firstName := len(w.bits), len(w.seen), len(w.names)
	for i := 0; i < len(n.children); i += 64 {
		w.bits = append(w.bits, 0)
	}
	var many map[string]struct{} // in place of seen, beyond a few
	count, next := 0, 0
	w.i++
	w.space()
	if w.i < len(w.b) && w.b[w.i] == '}' {
		w.i++
	} else {
		for {
			if w.i >= len(w.b) || w.b[w.i] != '"' {
				return w.syntax("no member name where one is due")
			}
			key, fl, ok := w.scanString()
			if !ok {
				return false
			}
			if fl.escaped {
				from := len(w.names)
				w.names = unescape(w.names, key)
				key = w.names[from:len(w.names):len(w.names)]
			}
			w.space()
			if w.i >= len(w.b) || w.b[w.i] != ':' {
				return w.syntax("no colon behind a member's name")
			}
			w.i++
			w.space()
			count++

			// Producers mostly keep the contract's order, so the next field is tried before the index is asked.
			k := -1
			if next < len(n.children) && string(key) == n.children[next].Name {
				k = next
			} else if j, found := n.index[string(key)]; found {
				k = j
			}
			if k >= 0 {
				next = k + 1
				child := &n.children[k]
				bit := &w.bits[firstBit+k/64]
				if *bit>>(k%64)&1 == 1 {
					w.failAt(child.Name, "is there more than once")
				}
				*bit |= 1 << (k % 64)
				w.path = append(w.path, element{name: child.Name})
				from := w.i
				if !w.value(child, depth) {
					return false
				}
				w.path = w.path[:len(w.path)-1]
				for _, p := range child.pick {
					w.keys[p] = w.b[from:w.i:w.i]
				}
			} else {
				if n.Closed {
					w.failAt(identifier(key), "is a member that the contract does not name")
				} else if n.named {
					if message := n.badName(key); message != "" {
						w.fail(message)
					}
				}
				twice := false
				if many == nil && len(w.seen)-firstSeen < 16 {
					for _, other := range w.seen[firstSeen:] {
						twice = twice || bytes.Equal(other, key)
					}
					w.seen = append(w.seen, key)
				} else {
					if many == nil {
						many = make(map[string]struct{})
						for _, other := range w.seen[firstSeen:] {
							many[string(other)] = struct{}{}
						}
					}
					_, twice = many[string(key)]
					many[string(key)] = struct{}{}
				}
				w.dark++
				if twice {
					w.fail("names a member more than once")
				}
				if fl.lone {
					w.fail("holds half of a surrogate pair")
				}
				if !w.value(unknown, depth) {
					return false
				}
				w.dark--
			}
			w.space()
			if w.i >= len(w.b) {
				return w.syntax("an object has no end")
			}
			c := w.b[w.i]
			if c != ',' && c != '}' {
				return w.syntax("neither comma nor end of an object")
			}
			w.i++
			if c == '}' {
				break
			}
			w.space()
		}
	}
	for _, k := range n.required {
		if w.bits[firstBit+k/64]>>(k%64)&1 == 0 {
			w.failAt(n.children[k].Name, "is required and missing")
		}
	}
	w.bits, w.seen, w.names = w.bits[:firstBit], w.seen[:firstSeen], w.names[:firstName]
	if n.Type == Object {
		if r := &n.rules; count < r.minLength {
			w.fail("has fewer than " + strconv.Itoa(r.minLength) + " members")
		} else if r.maxLength >= 0 && count > r.maxLength {
			w.fail("has more than " + strconv.Itoa(r.maxLength) + " members")
		}
	}
	return true
}

// badName says what is wrong with the name of a member that the contract does not name, in an object that it describes. Elasticsearch takes the name
// apart at its dots, even of a member that it is to leave alone: it refuses the document where a part is blank, and looks for the
// second part in the field that the first one names, past the check of that field. The message quotes the contract's names alone.
func (n *node) badName(key []byte) string {
	if len(key) > 0 && key[0] > ' ' && key[0] < utf8.RuneSelf && bytes.IndexByte(key, '.') < 0 {
		return ""
	}
	first, _, dotted := bytes.Cut(key, dot)
	for part := range bytes.SplitSeq(key, dot) {
		if bytes.IndexFunc(part, notBlank) < 0 {
			return "has a member whose name, or a part of it between dots, is blank"
		}
	}
	if dotted {
		if i, ok := n.index[string(first)]; ok {
			return "has a member whose name begins with that of the field " + n.children[i].Name + " and a dot"
		}
	}
	return ""
}

var dot = []byte{'.'}

// blanks is a class of a regular expression: all that Unicode or Java calls white space.
const blanks = "\t-\r\x1c- \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

func notBlank(r rune) bool { return !unicode.IsSpace(r) && (r < 0x1c || r > 0x1f) }

// identifier returns a producer's member name if it looks like one of a programmer's, and "" where it may be data.
func identifier(key []byte) string {
	if len(key) == 0 || len(key) > 64 {
		return ""
	}
	for i, c := range key {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return ""
		}
	}
	return string(key)
}
