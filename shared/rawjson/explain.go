package rawjson

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// A SyntaxError says where a text stops being what [Valid] accepts, and why. It wraps [ErrSyntax] and quotes nothing of the text.
type SyntaxError struct {
	Offset int    // in bytes; -1 where the text as a whole is meant
	Reason string // for people, a phrase that begins with a small letter
}

// Error names the byte and the reason.
func (e *SyntaxError) Error() string {
	if e.Offset < 0 {
		return e.Reason
	}
	return fmt.Sprintf("byte %d: %s", e.Offset, e.Reason)
}

// Unwrap returns [ErrSyntax].
func (e *SyntaxError) Unwrap() error { return ErrSyntax }

// Explain returns why [Valid] refuses b, and nil where it accepts it. It reads b a second time and more slowly, and is meant for texts that Valid has refused.
func Explain(b []byte) *SyntaxError {
	if e := foreign(b); e != nil {
		return e
	}
	x := explainer{b: b, at: -1}
	end := x.value(skipSpace(b, 0), 0)
	if x.at < 0 {
		if end = skipSpace(b, end); end < len(b) {
			if c := b[end]; c == '{' || c == '[' {
				x.fail(end, "another JSON text follows the first; several events go into an array")
			} else {
				x.fail(end, "something follows the JSON text")
			}
		}
	}
	// What comes first is the cause, and what follows bytes of another encoding may be no fault at all.
	if u := invalidUTF8(b); u < len(b) && (x.at < 0 || u <= x.at) {
		x.at, x.reason = u, "not UTF-8"
		if !utf8.FullRune(b[u:]) {
			x.reason = "the text ends within a character"
		}
	}
	if x.at < 0 {
		return nil
	}
	return &SyntaxError{Offset: x.at, Reason: x.reason}
}

// foreign recognizes by their first bytes texts that were not meant to be JSON in UTF-8.
func foreign(b []byte) *SyntaxError {
	first := Trim(b)
	switch {
	case len(b) == 0:
		return &SyntaxError{Offset: -1, Reason: "the text is empty"}
	case len(first) == 0:
		return &SyntaxError{Offset: -1, Reason: "the text is only white space"}
	case bytes.HasPrefix(b, []byte("\xef\xbb\xbf")):
		return &SyntaxError{Reason: "a byte order mark, which JSON must not begin with"}
	case bytes.HasPrefix(b, []byte("\xff\xfe")), bytes.HasPrefix(b, []byte("\xfe\xff")):
		return &SyntaxError{Reason: "the text looks like UTF-16; it must be UTF-8"}
	case bytes.HasPrefix(b, []byte("\x1f\x8b")):
		return &SyntaxError{Reason: "the text looks like gzip; set Content-Encoding: gzip"}
	case first[0] == '<':
		return &SyntaxError{Offset: len(b) - len(bytes.TrimLeft(b, " \t\r\n")), Reason: "the text looks like HTML or XML"}
	}
	return nil
}

// invalidUTF8 returns the index of the first byte that begins no character, or len(b).
func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		if b[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// explainer walks as validValue does, and notes where and why it stops.
type explainer struct {
	b      []byte
	at     int // -1 while nothing is wrong
	reason string
}

func (x *explainer) fail(at int, reason string) int {
	x.at, x.reason = at, reason
	return -1
}

// within fails at b[i] with a reason for what stands there, or for the end of the text within what.
func (x *explainer) within(i int, what, reason string) int {
	if i >= len(x.b) {
		return x.fail(len(x.b), "the text ends within "+what)
	}
	return x.fail(i, reason)
}

// value returns the index behind the value at b[i], or -1.
func (x *explainer) value(i, depth int) int {
	if i >= len(x.b) {
		return x.fail(len(x.b), "the text ends where a value is due")
	}
	switch c := x.b[i]; c {
	case '"':
		return x.text(i)
	case '{', '[':
		if depth >= MaxDepth {
			return x.fail(i, fmt.Sprintf("more than %d levels deep", MaxDepth))
		}
		if c == '{' {
			return x.object(i, depth)
		}
		return x.array(i, depth)
	case 't':
		return x.word(i, "true")
	case 'f':
		return x.word(i, "false")
	case 'n':
		return x.word(i, "null")
	default:
		return x.number(i)
	}
}

func (x *explainer) object(i, depth int) int {
	const what = "an object"
	for first := true; ; first = false {
		i = skipSpace(x.b, i+1)
		if i < len(x.b) && x.b[i] == '}' {
			if first {
				return i + 1
			}
			return x.fail(i, "no member behind a comma")
		}
		if i >= len(x.b) || x.b[i] != '"' {
			return x.within(i, what, "no member name in double quotes where one is due")
		}
		if i = x.text(i); i < 0 {
			return -1
		}
		if i = skipSpace(x.b, i); i >= len(x.b) || x.b[i] != ':' {
			return x.within(i, what, "no colon behind a member's name")
		}
		if i = skipSpace(x.b, i+1); i >= len(x.b) {
			return x.within(i, what, "")
		}
		if i = x.value(i, depth+1); i < 0 {
			return -1
		}
		i = skipSpace(x.b, i)
		switch {
		case i < len(x.b) && x.b[i] == '}':
			return i + 1
		case i >= len(x.b) || x.b[i] != ',':
			return x.within(i, what, "neither a comma nor the end of an object")
		}
	}
}

func (x *explainer) array(i, depth int) int {
	const what = "an array"
	for first := true; ; first = false {
		i = skipSpace(x.b, i+1)
		switch {
		case i >= len(x.b):
			return x.within(i, what, "")
		case x.b[i] == ']' && first:
			return i + 1
		case x.b[i] == ']':
			return x.fail(i, "no element behind a comma")
		}
		if i = x.value(i, depth+1); i < 0 {
			return -1
		}
		i = skipSpace(x.b, i)
		switch {
		case i < len(x.b) && x.b[i] == ']':
			return i + 1
		case i >= len(x.b) || x.b[i] != ',':
			return x.within(i, what, "neither a comma nor the end of an array")
		}
	}
}

// text is for the string whose opening quote is b[i].
func (x *explainer) text(i int) int {
	if end := validString(x.b, i+1); end >= 0 {
		return end
	}
	for i++; i < len(x.b); i++ {
		switch c := x.b[i]; {
		case c < 0x20:
			return x.fail(i, "a control character within a string, which must be escaped")
		case c != '\\':
		case i+1 >= len(x.b):
			return x.within(i+1, "a string", "")
		case bytes.IndexByte([]byte(`"\/bfnrt`), x.b[i+1]) >= 0:
			i++
		case x.b[i+1] != 'u':
			return x.fail(i, "an unknown escape within a string")
		default:
			for n := i + 2; n < i+6; n++ {
				if n >= len(x.b) || !hexDigit(x.b[n]) {
					return x.within(n, "a string", "no four hexadecimal digits behind \\u")
				}
			}
			i += 5
		}
	}
	return x.within(i, "a string", "")
}

func (x *explainer) word(i int, word string) int {
	end := validWord(x.b, i, word)
	if end >= 0 {
		return end
	}
	if rest := x.b[i:]; len(rest) < len(word) && word[:len(rest)] == string(rest) {
		return x.within(len(x.b), "a word", "")
	}
	return x.noValue(i)
}

func (x *explainer) number(i int) int {
	if end := validNumber(x.b, i); end >= 0 {
		return end
	}
	c := x.b[i]
	if c != '-' && (c < '0' || c > '9') {
		return x.noValue(i)
	}
	end := i + 1
	for end < len(x.b) && bytes.IndexByte([]byte("+-.0123456789Ee"), x.b[end]) >= 0 {
		end++
	}
	switch {
	case end < len(x.b) && (x.b[end] == 'I' || x.b[end] == 'N'):
		return x.noValue(end)
	// More digits would have made it one.
	case end == len(x.b) && validNumber(append(bytes.Clone(x.b[i:]), '0'), 0) == len(x.b)-i+1:
		return x.within(end, "a number", "")
	}
	return x.fail(i, "no number of JSON's")
}

func (x *explainer) noValue(i int) int {
	switch rest := x.b[i:]; {
	case bytes.HasPrefix(rest, []byte("NaN")), bytes.HasPrefix(rest, []byte("Inf")):
		return x.fail(i, "JSON has neither NaN nor Infinity; send null")
	case rest[0] == '\'':
		return x.fail(i, "a single quote; strings take double quotes")
	}
	return x.fail(i, "no JSON value begins like this")
}
