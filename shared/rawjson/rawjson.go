// Package rawjson splits JSON text into its parts without changing a byte of them.
//
// Millrace carries a producer's payload byte for byte from collect to the raw archive: key order, number spelling and escapes
// are the producer's. So its parts are found by scanning, never by decoding and encoding again. [Valid] checks a text
// once, strictly (RFC 8259: one value, UTF-8, nothing after it); the other functions take text that was found valid and
// do not check it again: on other input they return an error or wrong parts, but neither panic nor hang.
//
// The package decodes no numbers and builds no trees.
package rawjson

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// ErrSyntax is wrapped by the errors of [Members] and [Elements] for text that is not what they expect.
var ErrSyntax = errors.New("not valid JSON")

// MaxDepth is the number of nested arrays and objects that [Valid] accepts. encoding/json stops at 10,000; producers' payloads
// are far flatter, and what search and lake can hold is flatter still.
const MaxDepth = 512

// Valid reports whether b is exactly one JSON value in UTF-8, at most [MaxDepth] deep, with nothing but white space
// around it.
//
// It is checked for every event, and so written by hand: three times as fast as json.Valid, with which a fuzz test compares it.
func Valid(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	i := validValue(b, skipSpace(b, 0), 0)
	return i >= 0 && skipSpace(b, i) == len(b)
}

// validValue returns the index behind the value at b[i], or -1 where there is none. Containers nest in recursion, at most MaxDepth deep.
func validValue(b []byte, i, depth int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return validString(b, i+1)
	case '{':
		return validObject(b, i, depth, nil)
	case '[':
		return validArray(b, i, depth)
	case 't':
		return validWord(b, i, "true")
	case 'f':
		return validWord(b, i, "false")
	case 'n':
		return validWord(b, i, "null")
	default:
		return validNumber(b, i)
	}
}

// validObject returns the index behind the object whose '{' is b[i], or -1. It calls member, where there is one, with each member's name, quotes
// included, and value.
func validObject(b []byte, i, depth int, member func(name, value []byte)) int {
	if depth >= MaxDepth {
		return -1
	}
	if i = skipSpace(b, i+1); i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		if i >= len(b) || b[i] != '"' {
			return -1
		}
		name := i
		if i = validString(b, i+1); i < 0 {
			return -1
		}
		nameEnd := i
		if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
			return -1
		}
		value := skipSpace(b, i+1)
		if i = validValue(b, value, depth+1); i < 0 {
			return -1
		}
		if member != nil {
			member(b[name:nameEnd:nameEnd], b[value:i:i])
		}
		if i = skipSpace(b, i); i >= len(b) {
			return -1
		}
		switch b[i] {
		case '}':
			return i + 1
		case ',':
			i = skipSpace(b, i+1)
		default:
			return -1
		}
	}
}

// validArray returns the index behind the array whose '[' is b[i], or -1.
func validArray(b []byte, i, depth int) int {
	if depth >= MaxDepth {
		return -1
	}
	if i = skipSpace(b, i+1); i < len(b) && b[i] == ']' {
		return i + 1
	}
	for {
		if i = validValue(b, i, depth+1); i < 0 {
			return -1
		}
		if i = skipSpace(b, i); i >= len(b) {
			return -1
		}
		switch b[i] {
		case ']':
			return i + 1
		case ',':
			i = skipSpace(b, i+1)
		default:
			return -1
		}
	}
}

// plain tells the bytes that stand in a string for themselves.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 0x20 && c != '"' && c != '\\'
	}
	return t
}()

// skipPlain returns the index of the first byte from b[i] on that is not plain, or len(b). It takes eight bytes at a time: of most texts, strings are the
// larger part.
func skipPlain(b []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		// The top bit of each byte that is below 0x20, or is 0 after the exclusive or. A borrow can only set one too many above a byte that is found anyway, and the
		// lowest is what counts; bytes with a top bit of their own are plain.
		quote, slash := w^ones*'"', w^ones*'\\'
		if found := ((w - ones*0x20) | (quote - ones) | (slash - ones)) & ^w & tops; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(b) && plain[b[i]] {
		i++
	}
	return i
}

// validString returns the index behind the string whose content starts at b[i], or -1.
func validString(b []byte, i int) int {
	for {
		if i = skipPlain(b, i); i >= len(b) {
			return -1
		}
		c := b[i]
		if c == '"' {
			return i + 1
		}
		if c != '\\' || i+1 >= len(b) {
			return -1
		}
		switch b[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i += 2
		case 'u':
			if i+6 > len(b) || !hexDigit(b[i+2]) || !hexDigit(b[i+3]) || !hexDigit(b[i+4]) || !hexDigit(b[i+5]) {
				return -1
			}
			i += 6
		default:
			return -1
		}
	}
}

func hexDigit(c byte) bool {
	return (c >= '0' && c <= '9') || (c|0x20 >= 'a' && c|0x20 <= 'f')
}

func validWord(b []byte, i int, word string) int {
	if end := i + len(word); end <= len(b) && string(b[i:end]) == word {
		return end
	}
	return -1
}

// validNumber returns the index behind the number at b[i], or -1.
func validNumber(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	first := i
	if i = digits(b, i); i == first || (b[first] == '0' && i > first+1) {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		first = i + 1
		if i = digits(b, first); i == first {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		first = i
		if i = digits(b, i); i == first {
			return -1
		}
	}
	return i
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

// Kind returns the class of the JSON value that b starts with, after white space: '{', '[', '"', 't' for true and false, 'n' for
// null, '0' for a number, and 0 for anything else.
func Kind(b []byte) byte {
	i := skipSpace(b, 0)
	if i >= len(b) {
		return 0
	}
	switch c := b[i]; {
	case c == '{', c == '[', c == '"', c == 'n':
		return c
	case c == 't', c == 'f':
		return 't'
	case c == '-', c >= '0' && c <= '9':
		return '0'
	}
	return 0
}

// Members calls f for each member of the object obj, in the text's order. key is decoded; value is the bytes of
// the member's value without white space around it, and aliases obj. An error of f ends the walk and is returned as it is.
func Members(obj []byte, f func(key string, value []byte) error) error {
	i := skipSpace(obj, 0)
	if i >= len(obj) || obj[i] != '{' {
		return fmt.Errorf("%w: no object at byte %d", ErrSyntax, i)
	}
	i = skipSpace(obj, i+1)
	if i < len(obj) && obj[i] == '}' {
		return nil
	}
	for {
		keyEnd := stringEnd(obj, i)
		if keyEnd < 0 {
			return fmt.Errorf("%w: no member name at byte %d", ErrSyntax, i)
		}
		key, ok := Unquote(obj[i:keyEnd])
		if !ok {
			return fmt.Errorf("%w: bad member name at byte %d", ErrSyntax, i)
		}
		i = skipSpace(obj, keyEnd)
		if i >= len(obj) || obj[i] != ':' {
			return fmt.Errorf("%w: no ':' at byte %d", ErrSyntax, i)
		}
		i = skipSpace(obj, i+1)
		end := valueEnd(obj, i)
		if end < 0 {
			return fmt.Errorf("%w: no value at byte %d", ErrSyntax, i)
		}
		if err := f(key, obj[i:end:end]); err != nil {
			return err
		}
		i = skipSpace(obj, end)
		if i >= len(obj) {
			return fmt.Errorf("%w: object without end", ErrSyntax)
		}
		if obj[i] == '}' {
			return nil
		}
		if obj[i] != ',' {
			return fmt.Errorf("%w: no ',' at byte %d", ErrSyntax, i)
		}
		i = skipSpace(obj, i+1)
	}
}

// Elements calls f for each element of the array arr, in order. value aliases arr. An error of f ends the walk and is
// returned as it is.
func Elements(arr []byte, f func(i int, value []byte) error) error {
	i := skipSpace(arr, 0)
	if i >= len(arr) || arr[i] != '[' {
		return fmt.Errorf("%w: no array at byte %d", ErrSyntax, i)
	}
	i = skipSpace(arr, i+1)
	if i < len(arr) && arr[i] == ']' {
		return nil
	}
	for n := 0; ; n++ {
		end := valueEnd(arr, i)
		if end < 0 {
			return fmt.Errorf("%w: no value at byte %d", ErrSyntax, i)
		}
		if err := f(n, arr[i:end:end]); err != nil {
			return err
		}
		i = skipSpace(arr, end)
		if i >= len(arr) {
			return fmt.Errorf("%w: array without end", ErrSyntax)
		}
		if arr[i] == ']' {
			return nil
		}
		if arr[i] != ',' {
			return fmt.Errorf("%w: no ',' at byte %d", ErrSyntax, i)
		}
		i = skipSpace(arr, i+1)
	}
}

// Objects takes apart a text that is one value or an array of values, and checks each of them as [Valid] does: both in one pass, for what comes by the hundred. It
// calls member, which may be nil, for each member of a value that is an object, with the name decoded, and element after each value, with its number and its bytes. All of them
// alias b, which is not changed, except for names with escapes.
//
// A value that is JSON but nested more than [MaxDepth] deep is told to element as tooDeep, with those of its members that came before the depth; the others are read all the
// same. The array around them is no level of theirs.
//
// An error of element ends the walk and is returned as it is. The error wraps [ErrSyntax] where b is no JSON; what was told of it until
// then is not to be used.
func Objects(b []byte, member func(name, value []byte), element func(i int, value []byte, tooDeep bool) error) error {
	if !utf8.Valid(b) {
		return fmt.Errorf("%w: not UTF-8", ErrSyntax)
	}
	unquoted := func(name, value []byte) {
		if bytes.IndexByte(name, '\\') < 0 {
			member(name[1:len(name)-1:len(name)-1], value)
			return
		}
		s, _ := Unquote(name) // which was found valid
		member([]byte(s), value)
	}
	if member == nil {
		unquoted = nil
	}
	one := func(n, i int) (end int, err error) {
		if i < len(b) && b[i] == '{' {
			end = validObject(b, i, 0, unquoted)
		} else {
			end = validValue(b, i, 0)
		}
		tooDeep := end < 0
		if tooDeep {
			if end = validDeep(b, i); end < 0 {
				return end, fmt.Errorf("%w: value %d", ErrSyntax, n)
			}
		}
		return end, element(n, b[i:end:end], tooDeep)
	}
	i := skipSpace(b, 0)
	if i == len(b) || b[i] != '[' {
		end, err := one(0, i)
		if err == nil && skipSpace(b, end) < len(b) {
			err = fmt.Errorf("%w: something after byte %d", ErrSyntax, end)
		}
		return err
	}
	if i = skipSpace(b, i+1); i == len(b) || b[i] != ']' {
		for n := 0; ; n++ {
			end, err := one(n, i)
			if err != nil {
				return err
			}
			if i = skipSpace(b, end); i < len(b) && b[i] == ',' {
				i = skipSpace(b, i+1)
				continue
			}
			break
		}
	}
	if i == len(b) || b[i] != ']' || skipSpace(b, i+1) < len(b) {
		return fmt.Errorf("%w: no end of the array at byte %d, or something after it", ErrSyntax, i)
	}
	return nil
}

// Unquote decodes the JSON string b, quotes included. A lone surrogate escape becomes U+FFFD, as encoding/json has it.
// ok is false where b is no JSON string.
func Unquote(b []byte) (s string, ok bool) {
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return "", false
	}
	inner := b[1 : len(b)-1]
	if skipPlain(inner, 0) == len(inner) {
		return string(inner), true
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return "", false
	}
	return s, true
}

// Trim returns b without JSON's white space at either end; it aliases b.
func Trim(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// Compact appends src to dst without the white space between its tokens. Strings and numbers keep their bytes.
func Compact(dst, src []byte) []byte {
	for i := 0; i < len(src); {
		switch {
		case isSpace(src[i]):
			i++
		case src[i] == '"':
			end := stringEnd(src, i)
			if end < 0 {
				return append(dst, src[i:]...)
			}
			dst = append(dst, src[i:end]...)
			i = end
		default:
			j := i + 1
			for j < len(src) && src[j] != '"' && !isSpace(src[j]) {
				j++
			}
			dst = append(dst, src[i:j]...)
			i = j
		}
	}
	return dst
}

// AppendString appends s to dst as a JSON string. Invalid UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if plain[c] {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				const hex = "0123456789abcdef"
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\ufffd"...)
			i++
			start = i
			continue
		}
		i += size
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func skipSpace(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && isSpace(b[i]) { // one comparison for what is none, as a rule
		i++
	}
	return i
}

// stringEnd returns the index behind the string that starts at b[i], or -1.
func stringEnd(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	for j := i + 1; j < len(b); {
		k := bytes.IndexByte(b[j:], '"')
		if k < 0 {
			return -1
		}
		k += j
		slashes := 0
		for m := k - 1; m > i && b[m] == '\\'; m-- {
			slashes++
		}
		if slashes%2 == 0 {
			return k + 1
		}
		j = k + 1
	}
	return -1
}

// valueEnd returns the index behind the value that starts at b[i], or -1.
func valueEnd(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return stringEnd(b, i)
	case '{', '[':
		depth := 0
		for j := i; j < len(b); {
			switch b[j] {
			case '"':
				end := stringEnd(b, j)
				if end < 0 {
					return -1
				}
				j = end
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return j + 1
				}
			}
			j++
		}
		return -1
	default:
		j := i
		for j < len(b) && b[j] != ',' && b[j] != '}' && b[j] != ']' && !isSpace(b[j]) {
			j++
		}
		if j == i {
			return -1
		}
		return j
	}
}
