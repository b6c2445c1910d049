package model

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind int

const (
	word     kind = iota // an identifier or keyword without quotes; text is lower case
	quoted               // an identifier in double quotes; text without them
	str                  // a string literal; text is its value
	prefixed             // a string literal with something before it (X'00', E'', U&''); text is what is before it, lower case
	number
	symbol
	end
)

type token struct {
	kind     kind
	text     string
	from, to int // bytes
	line     int // 1 is the first
}

// is says whether the token is one of these keywords or symbols. A quoted identifier or a string never is.
func (t token) is(texts ...string) bool {
	if t.kind != word && t.kind != symbol {
		return false
	}
	for _, s := range texts {
		if t.text == s {
			return true
		}
	}
	return false
}

func (t token) name() bool { return t.kind == word || t.kind == quoted }

// lexError is a text that cannot be split into tokens, in one line of it.
type lexError struct {
	line int
	msg  string
}

func (e *lexError) Error() string { return e.msg }

// symbols of more than one character, the longest first.
var symbols = []string{"->>", "!~~", "||", "<=", ">=", "<>", "!=", "->", "=>", "::", ":=", "==", "**", "//", "<<", ">>", "~~", "!~", "^@", "@>", "<@", "&&"}

// tokens splits SQL. The last token is of kind end.
func tokens(sql string) ([]token, error) {
	var out []token
	line := 1
	for i := 0; i < len(sql); {
		c := sql[i]
		at := line
		switch {
		case c == '\n':
			line++
			i++
		case c == ' ' || c == '\t' || c == '\r':
			i++
		case strings.HasPrefix(sql[i:], "--"):
			n := strings.IndexByte(sql[i:], '\n')
			if n < 0 {
				n = len(sql) - i
			}
			i += n
		case strings.HasPrefix(sql[i:], "/*"):
			n := strings.Index(sql[i+2:], "*/")
			if n < 0 {
				return nil, &lexError{at, "a comment has no end"}
			}
			body := sql[i+2 : i+2+n]
			if strings.Contains(body, "/*") {
				return nil, &lexError{at, "a comment in a comment: the engines disagree about its end"}
			}
			line += strings.Count(body, "\n")
			i += n + 4
		case c == '\'':
			text, n, ok := delimited(sql[i:], '\'')
			if !ok {
				return nil, &lexError{at, "a string has no end"}
			}
			out = append(out, token{str, text, i, i + n, at})
			line += strings.Count(sql[i:i+n], "\n")
			i += n
		case c == '"':
			text, n, ok := delimited(sql[i:], '"')
			if !ok {
				return nil, &lexError{at, "a quoted name has no end"}
			}
			out = append(out, token{quoted, text, i, i + n, at})
			line += strings.Count(sql[i:i+n], "\n")
			i += n
		case c >= '0' && c <= '9' || c == '.' && i+1 < len(sql) && sql[i+1] >= '0' && sql[i+1] <= '9':
			n := numberLength(sql[i:])
			out = append(out, token{number, strings.ToLower(sql[i : i+n]), i, i + n, at})
			i += n
		case c == '_' || c >= utf8.RuneSelf || unicode.IsLetter(rune(c)):
			n := wordLength(sql[i:])
			if n == 0 {
				return nil, &lexError{at, fmt.Sprintf("%q cannot stand here", firstRune(sql[i:]))}
			}
			text := strings.ToLower(sql[i : i+n])
			if i+n < len(sql) && sql[i+n] == '\'' && (text == "x" || text == "e" || text == "b" || text == "n") ||
				text == "u" && strings.HasPrefix(sql[i+n:], "&'") {
				lead := i + n
				if text == "u" {
					lead++
				}
				_, m, ok := delimited(sql[lead:], '\'')
				if !ok {
					return nil, &lexError{at, "a string has no end"}
				}
				out = append(out, token{prefixed, text, i, lead + m, at})
				line += strings.Count(sql[i:lead+m], "\n")
				i = lead + m
				continue
			}
			out = append(out, token{word, text, i, i + n, at})
			i += n
		default:
			n := 1
			for _, s := range symbols {
				if strings.HasPrefix(sql[i:], s) {
					n = len(s)
					break
				}
			}
			if n == 1 && !strings.ContainsRune("()[]{}.,;+-*/%<>=^~!&|?:@", rune(c)) {
				return nil, &lexError{at, fmt.Sprintf("%q cannot stand here", firstRune(sql[i:]))}
			}
			out = append(out, token{symbol, sql[i : i+n], i, i + n, at})
			i += n
		}
	}
	return append(out, token{end, "", len(sql), len(sql), line}), nil
}

func firstRune(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return s[:n]
}

// delimited reads what stands between two delimiters, of which a doubled one is one of the text, and returns how many bytes it took.
func delimited(s string, d byte) (text string, n int, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != d {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == d {
			b.WriteByte(d)
			i++
			continue
		}
		return b.String(), i + 1, true
	}
	return "", 0, false
}

func numberLength(s string) int {
	i, dot := 0, false
	for i < len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9' || c == '_':
		case c == '.' && !dot:
			dot = true
		case (c == 'e' || c == 'E') && i+1 < len(s) && (s[i+1] >= '0' && s[i+1] <= '9' ||
			(s[i+1] == '-' || s[i+1] == '+') && i+2 < len(s) && s[i+2] >= '0' && s[i+2] <= '9'):
			i++
			dot = true
		default:
			return i
		}
		i++
	}
	return i
}

func wordLength(s string) int {
	for i, r := range s {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r)) {
			return i
		}
	}
	return len(s)
}
