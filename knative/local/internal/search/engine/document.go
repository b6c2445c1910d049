package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What a stored document's values blob holds, one entry per value: field number (uvarint), a kind, and the value. Queries
// read this, never the source.
const (
	valueKeyword byte = 1 + iota // uvarint length, bytes
	valueText                    // uvarint length, lower-cased tokens each between single spaces
	valueInt                     // 8 bytes: long, date in milliseconds, boolean 0 or 1
	valueFloat                   // 8 bytes
	valueIP                      // 16 bytes
)

// encoder turns one document into its values blob by a mapping.
type encoder struct {
	m   *mapping
	id  string
	out []byte
	// assign numbers a new field. It is nil where the mapping is not ours to extend.
	assign func(*field) error
}

// encode parses a document. Where it needs fields that the mapping lacks and assign is nil it returns errNeedsMapping.
func (e *encoder) encode(src string) error {
	if strings.TrimSpace(src) == "" {
		return fail(http.StatusBadRequest, "document_parsing_exception", "[0:0] failed to parse, document is empty")
	}
	doc, err := parseJSON(src)
	if err != nil {
		var s *syntaxError
		if errors.As(err, &s) && strings.HasPrefix(s.extra, "START_") {
			return illegal("Malformed content, found extra data after parsing: %s", s.extra)
		}
		return e.malformed(err)
	}
	if doc.kind != kindObject {
		return fail(http.StatusBadRequest, "document_parsing_exception", "Malformed content, must start with an object")
	}
	return e.object(e.m.root, &doc, "true")
}

func (e *encoder) malformed(err error) error {
	off := 0
	var s *syntaxError
	if errors.As(err, &s) {
		off = s.off
	}
	return fail(http.StatusBadRequest, "document_parsing_exception", "[1:%d] failed to parse: %s", off+1, err).causedBy(syntax(err))
}

func (e *encoder) object(f *field, n *node, dynamic string) error {
	if f.dynamic != "" {
		dynamic = f.dynamic
	}
	if !f.enabled {
		return nil
	}
	for i := range n.fields {
		m := &n.fields[i]
		if err := e.member(f, m.key, m, dynamic); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder) member(f *field, key string, m *member, dynamic string) error {
	name, rest, dotted := key, "", false
	child := f.props[key]
	if child == nil {
		if strings.IndexByte(key, '.') >= 0 {
			name, rest, dotted = cut(key)
		}
		if f == e.m.root && metadataFields[name] {
			cause := fail(http.StatusBadRequest, "document_parsing_exception", "[1:%d] Field [%s] is a metadata field and cannot be added inside a document. Use the index API request parameters.", m.val.off+1, name)
			return fail(http.StatusBadRequest, "document_parsing_exception", "[1:%d] failed to parse field [%s] of type [%s] in document with id '%s'. Preview of field's value: '%s'", m.val.off+1, name, name, e.id, m.val.preview()).causedBy(cause)
		}
		if blankPart(name, rest, dotted) {
			reason := "field name cannot be an empty string"
			if key != "" {
				reason = fmt.Sprintf("field name cannot contain only whitespace: ['%s']", key)
			}
			return fail(http.StatusBadRequest, "document_parsing_exception", "[1:%d] failed to parse: %s", m.off+1, reason).causedBy(illegal("%s", reason))
		}
		child = f.props[name]
	}
	if child == nil {
		v := &m.val
		if dotted {
			v = &node{kind: kindObject, off: m.val.off}
		}
		var err error
		if child, err = e.introduce(f, name, v, dynamic); child == nil || err != nil {
			return err
		}
	}
	if !dotted {
		return e.value(child, &m.val, dynamic)
	}
	if !child.isObject() {
		if child.typ == "flattened" {
			return e.flat(child, rest, &m.val)
		}
		return fail(http.StatusBadRequest, "document_parsing_exception", "[1:%d] object mapping for [%s] tried to parse field [%s] as object, but found a concrete value", m.val.off+1, child.name, key)
	}
	if !child.enabled {
		return nil
	}
	if child.dynamic != "" {
		dynamic = child.dynamic
	}
	return e.member(child, rest, m, dynamic)
}

// metadataFields are no document's to set.
var metadataFields = map[string]bool{
	"_id": true, "_index": true, "_source": true, "_routing": true, "_version": true, "_seq_no": true, "_field_names": true, "_ignored": true, "_nested_path": true, "_tier": true,
}

// blankPart says whether a field's name, which dots divide, has a part without a character.
func blankPart(name, rest string, dotted bool) bool {
	if strings.TrimSpace(name) == "" {
		return true
	}
	if dotted {
		for part := range strings.SplitSeq(rest, ".") {
			if strings.TrimSpace(part) == "" {
				return true
			}
		}
	}
	return false
}

func cut(key string) (name, rest string, dotted bool) { return strings.Cut(key, ".") }

// introduce handles a name that the mapping lacks; nil without an error means the value is not indexed.
func (e *encoder) introduce(parent *field, name string, v *node, dynamic string) (*field, error) {
	switch dynamic {
	case "false":
		return nil, nil
	case "strict":
		in := parent.name
		if in == "" {
			in = "_doc"
		}
		return nil, fail(http.StatusBadRequest, "strict_dynamic_mapping_exception", "[1:%d] mapping set to strict, dynamic introduction of [%s] within [%s] is not allowed", v.off+1, name, in)
	}
	for v.kind == kindArray {
		var first *node
		for i := range v.items {
			if v.items[i].kind != kindNull {
				first = &v.items[i]
				break
			}
		}
		if first == nil {
			return nil, nil
		}
		v = first
	}
	added := e.m.dynamicField(join(parent.name, name), v)
	if added == nil {
		return nil, nil
	}
	if e.assign == nil {
		return nil, errNeedsMapping
	}
	n := 1 + len(added.multi)
	if e.m.count+n > e.m.limit {
		cause := illegal("Limit of total fields [%d] has been exceeded while adding new fields [%d]", e.m.limit, n)
		return nil, fail(http.StatusBadRequest, "document_parsing_exception", "[1:%d] failed to parse: %s", v.off+1, cause.reason).causedBy(cause)
	}
	if !added.isObject() {
		if err := e.assign(added); err != nil {
			return nil, err
		}
	}
	parent.props[name] = added
	e.m.count += n
	if !added.isObject() {
		e.m.leaves[added.name] = added
		for _, sub := range added.multi {
			e.m.leaves[sub.name] = sub
		}
	}
	return added, nil
}

func (e *encoder) value(f *field, n *node, dynamic string) error {
	if n.kind == kindArray {
		for i := range n.items {
			if err := e.value(f, &n.items[i], dynamic); err != nil {
				return err
			}
		}
		return nil
	}
	if f.isObject() {
		switch {
		case n.kind == kindObject:
			return e.object(f, n, dynamic)
		case n.kind == kindNull || !f.enabled:
			return nil
		}
		return fail(http.StatusBadRequest, "document_parsing_exception", "[1:%d] object mapping for [%s] tried to parse field [%s] as object, but found a concrete value", n.off+1, f.name, leafName(f.name))
	}
	if n.kind == kindNull {
		if f.null == nil {
			return nil
		}
		n = f.null
	}
	err := e.leaf(f, n)
	if err == nil {
		for _, sub := range f.multi {
			if err = e.leaf(sub, n); err != nil {
				f = sub
				break
			}
		}
	}
	if err == nil || f.ignoreMalformed && n.kind != kindObject {
		return nil
	}
	off := n.off
	if n.kind == kindObject {
		off = n.end - 1
	}
	var cause *apiError
	if !errors.As(err, &cause) {
		cause = illegal("%s", err)
	}
	return fail(http.StatusBadRequest, "document_parsing_exception", "[1:%d] failed to parse field [%s] of type [%s] in document with id '%s'. Preview of field's value: '%s'", off+1, f.name, f.typ, e.id, n.preview()).causedBy(cause)
}

// leaf appends one scalar.
func (e *encoder) leaf(f *field, n *node) error {
	keep := f.stored()
	if f.typ == "flattened" {
		if n.kind != kindObject {
			return fail(http.StatusBadRequest, "parsing_exception", "Failed to parse object: expecting token of type [START_OBJECT] but found [%s]", n.token())
		}
		return e.flat(f, "", n)
	}
	if n.kind == kindObject {
		if numeric[f.typ] {
			return errors.New("Cannot parse object as number") //nolint:staticcheck // Elasticsearch's spelling
		}
		return fmt.Errorf("Expected text at 1:%d but found START_OBJECT", n.off+1) //nolint:staticcheck // Elasticsearch's spelling
	}
	switch f.typ {
	case "keyword":
		s := n.text()
		if keep && f.index && len(s) > 32766 && f.ignoreAbove > 32766 {
			return illegal("Document contains at least one immense term in field=\"%s\" (whose UTF8 encoding is longer than the max length 32766), all of which were skipped.", f.name)
		}
		if keep && (len(s) <= f.ignoreAbove || utf8.RuneCountInString(s) <= f.ignoreAbove) {
			e.bytes(f, valueKeyword, s)
		}
	case "text":
		if keep {
			e.head(f, valueText)
			e.out = appendTokens(e.out, n.text())
		}
	case "boolean":
		b := n.truth
		switch {
		case n.kind == kindBool:
		case n.kind == kindString && (n.str == "true" || n.str == "false" || n.str == ""):
			b = n.str == "true"
		case n.kind == kindNumber:
			return fail(http.StatusBadRequest, "x_content_parse_exception", "[1:%d] Current token (VALUE_NUMBER_INT) not of boolean type", n.off+1)
		default:
			return fmt.Errorf("Failed to parse value [%s] as only [true] or [false] are allowed.", n.str) //nolint:staticcheck // Elasticsearch's spelling
		}
		v := int64(0)
		if b {
			v = 1
		}
		e.int(f, keep, v)
	case "date":
		first, _, err := f.format.parse(n.text(), time.UTC)
		if err != nil {
			return illegal("%s", err).causedBy(fail(http.StatusBadRequest, "date_time_parse_exception", "Failed to parse with all enclosed parsers"))
		}
		e.int(f, keep, first)
	case "ip":
		ip, err := netip.ParseAddr(n.text())
		if err != nil || ip.Zone() != "" {
			return fmt.Errorf("'%s' is not an IP string literal.", n.text()) //nolint:staticcheck // Elasticsearch's spelling
		}
		if keep {
			b := ip.As16()
			e.head(f, valueIP)
			e.out = append(e.out, b[:]...)
		}
	default:
		return e.number(f, n, keep)
	}
	return nil
}

func (e *encoder) number(f *field, n *node, keep bool) error {
	if n.kind == kindBool {
		return fail(http.StatusBadRequest, "x_content_parse_exception", "[1:%d] Current token (VALUE_%s) not numeric, can not use numeric value accessors", n.end+1, strings.ToUpper(n.text()))
	}
	if n.kind == kindString {
		if n.str == "" && f.coerce {
			return nil
		}
		if !f.coerce {
			return errors.New("Number passed as String") //nolint:staticcheck // Elasticsearch's spelling
		}
	}
	i, x, err := parseNumber(f, n.str, f.coerce)
	if err != nil {
		return err
	}
	if integral(f.typ) {
		e.int(f, keep, i)
	} else if keep {
		e.head(f, valueFloat)
		e.out = binary.LittleEndian.AppendUint64(e.out, math.Float64bits(x))
	}
	return nil
}

func integral(typ string) bool {
	return typ == "long" || typ == "integer" || typ == "short" || typ == "byte"
}

var bounds = map[string][2]int64{
	"long": {math.MinInt64, math.MaxInt64}, "integer": {math.MinInt32, math.MaxInt32}, "short": {math.MinInt16, math.MaxInt16}, "byte": {math.MinInt8, math.MaxInt8},
}

var typeArticle = map[string]string{"long": "a long", "integer": "an integer", "short": "a short", "byte": "a byte"}

// parseNumber reads a number for a numeric field; with coerce an integral field drops decimals.
func parseNumber(f *field, s string, coerce bool) (int64, float64, error) {
	if integral(f.typ) {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			x, ferr := strconv.ParseFloat(s, 64)
			if ferr != nil && !errors.Is(ferr, strconv.ErrRange) || math.IsNaN(x) || strings.ContainsAny(s, "xX_nN") {
				return 0, 0, fmt.Errorf("For input string: \"%s\"", s) //nolint:staticcheck // Elasticsearch's spelling
			}
			if x < math.MinInt64 || x >= math.MaxInt64 {
				return 0, 0, fmt.Errorf("Value [%s] is out of range for %s", s, typeArticle[f.typ]) //nolint:staticcheck // Elasticsearch's spelling
			}
			if !coerce && x != math.Trunc(x) {
				return 0, 0, fmt.Errorf("%s cannot be converted to %s without data loss", s, f.typ)
			}
			v = int64(x)
		}
		if b := bounds[f.typ]; v < b[0] || v > b[1] {
			return 0, 0, fmt.Errorf("Value [%s] is out of range for %s", s, typeArticle[f.typ]) //nolint:staticcheck // Elasticsearch's spelling
		}
		return v, 0, nil
	}
	x, err := strconv.ParseFloat(s, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || strings.ContainsAny(s, "xX_") {
		return 0, 0, fmt.Errorf("For input string: \"%s\"", s) //nolint:staticcheck // Elasticsearch's spelling
	}
	switch f.typ {
	case "float":
		x = float64(float32(x))
	case "half_float":
		x = halfFloat(x)
	case "scaled_float":
		x = math.Round(x*f.scale) / f.scale
	}
	if math.IsInf(x, 0) || math.IsNaN(x) {
		return 0, 0, fmt.Errorf("[%s] supports only finite values, but got [%s]", f.typ, s)
	}
	return 0, x, nil
}

// halfFloat rounds to IEEE 754 binary16: 11 significant bits, exponents from -14, subnormals below.
func halfFloat(x float64) float64 {
	if x == 0 || math.IsInf(x, 0) || math.IsNaN(x) {
		return x
	}
	_, exp := math.Frexp(x)
	exp = max(exp, -13)
	unit := math.Ldexp(1, exp-11)
	r := math.RoundToEven(x/unit) * unit
	if math.Abs(r) > 65504 {
		return math.Inf(int(math.Copysign(1, r)))
	}
	return r
}

// flat appends every scalar below a flattened field as key NUL value.
func (e *encoder) flat(f *field, key string, n *node) error {
	switch n.kind {
	case kindObject:
		for i := range n.fields {
			if err := e.flat(f, join(key, n.fields[i].key), &n.fields[i].val); err != nil {
				return err
			}
		}
	case kindArray:
		for i := range n.items {
			if err := e.flat(f, key, &n.items[i]); err != nil {
				return err
			}
		}
	case kindNull:
	case kindBool, kindNumber, kindString:
		if s := n.text(); f.stored() && (len(s) <= f.ignoreAbove || utf8.RuneCountInString(s) <= f.ignoreAbove) {
			e.bytes(f, valueKeyword, key+"\x00"+s)
		}
	}
	return nil
}

func (e *encoder) head(f *field, k byte) {
	e.out = append(binary.AppendUvarint(e.out, uint64(f.id)), k)
}

func (e *encoder) bytes(f *field, k byte, s string) {
	e.head(f, k)
	e.out = append(binary.AppendUvarint(e.out, uint64(len(s))), s...)
}

func (e *encoder) int(f *field, keep bool, v int64) {
	if keep {
		e.head(f, valueInt)
		e.out = binary.LittleEndian.AppendUint64(e.out, uint64(v))
	}
}

// appendTokens writes length and tokens, as tokens does.
func appendTokens(out []byte, s string) []byte {
	t := " " + strings.Join(tokens(s), " ") + " "
	return append(binary.AppendUvarint(out, uint64(len(t))), t...)
}

// tokens approximates the standard analyzer: runs of letters, digits and underscores, lower-cased; a full stop, colon or apostrophe
// between letters and a full stop or comma between digits do not split.
func tokens(s string) []string {
	var out []string
	start := -1
	runes := func(i int) rune { r, _ := utf8.DecodeRuneInString(s[i:]); return r }
	var last rune
	for i, r := range s {
		if wordRune(r) {
			if start < 0 {
				start = i
			}
			last = r
			continue
		}
		if start < 0 {
			continue
		}
		next := utf8.RuneError
		if i+utf8.RuneLen(r) <= len(s) && r != utf8.RuneError {
			next = runes(i + utf8.RuneLen(r))
		}
		letters := unicode.IsLetter(last) && unicode.IsLetter(next)
		digits := unicode.IsDigit(last) && unicode.IsDigit(next)
		if (r == '.' || r == '\'' || r == '’') && (letters || digits) || r == ':' && letters || (r == ',' || r == ';') && digits {
			continue
		}
		out = append(out, strings.ToLower(s[start:i]))
		start = -1
	}
	if start >= 0 {
		out = append(out, strings.ToLower(s[start:]))
	}
	return out
}

func wordRune(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mn, r)
}

// value is one decoded value; b aliases the blob.
type value struct {
	kind byte
	i    int64
	f    float64
	b    []byte
}

// float is a numeric value whatever its kind.
func (v *value) float() float64 {
	if v.kind == valueInt {
		return float64(v.i)
	}
	return v.f
}

var errCorrupt = errors.New("corrupt values of a stored document")

// decodeValues puts the wanted fields' values into slots; slotOf is indexed by field number and holds -1 for fields not wanted.
func decodeValues(blob []byte, slotOf []int32, slots [][]value) error {
	for len(blob) > 0 {
		id, n := binary.Uvarint(blob)
		if n <= 0 || len(blob) <= n {
			return errCorrupt
		}
		v := value{kind: blob[n]}
		blob = blob[n+1:]
		switch v.kind {
		case valueKeyword, valueText:
			l, n := binary.Uvarint(blob)
			if n <= 0 || uint64(len(blob)-n) < l {
				return errCorrupt
			}
			v.b = blob[n : n+int(l)]
			blob = blob[n+int(l):]
		case valueInt, valueFloat:
			if len(blob) < 8 {
				return errCorrupt
			}
			bits := binary.LittleEndian.Uint64(blob)
			v.i, v.f = int64(bits), math.Float64frombits(bits)
			blob = blob[8:]
		case valueIP:
			if len(blob) < 16 {
				return errCorrupt
			}
			v.b, blob = blob[:16], blob[16:]
		default:
			return errCorrupt
		}
		if id < uint64(len(slotOf)) && slotOf[id] >= 0 {
			slots[slotOf[id]] = append(slots[slotOf[id]], v)
		}
	}
	return nil
}

func hasToken(text []byte, token string) bool {
	for {
		i := bytes.Index(text, []byte(token))
		if i < 0 {
			return false
		}
		if i > 0 && text[i-1] == ' ' && i+len(token) < len(text) && text[i+len(token)] == ' ' {
			return true
		}
		text = text[i+1:]
	}
}
