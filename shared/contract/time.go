package contract

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// zoneRule says what a field's text has to say about its zone.
type zoneRule uint8

const (
	zoneNone     zoneRule = iota // wall clock: an offset is a violation
	zoneOptional                 // an offset, or none, which means UTC
	zoneRequired                 // an offset, always
)

// layout is how a date, time or timestamp is spelled. With no parts it is ISO 8601's form as RFC 3339 narrows it: upper-case T between
// date and time, seconds, at most nine digits of a fraction, and `Z` or `+hh:mm`.
type layout struct {
	typ   Type
	zone  zoneRule
	parts []part
}

type part struct {
	kind byte // y M d H m s S X Z or ' for literal text
	n    int  // digits
	text string
}

var (
	errClock   = errors.New("is no such moment")
	errNoZone  = errors.New("has no time zone, and the contract asks for one")
	errHasZone = errors.New("has a time zone, and the contract asks for local time without one")
	errOffset  = errors.New("has a time zone beyond 18 hours")
)

// shape is the spelling as messages name it.
func (l *layout) shape() string {
	if l.parts != nil {
		var s strings.Builder
		for _, p := range l.parts {
			if p.kind == '\'' {
				s.WriteString(p.text)
			} else {
				s.WriteString(strings.Repeat(string(p.kind), p.n))
			}
		}
		return s.String()
	}
	zone := [...]string{zoneNone: "", zoneOptional: "[Z|+hh:mm]", zoneRequired: "(Z|+hh:mm)"}[l.zone]
	switch l.typ {
	case Date:
		return "yyyy-MM-dd"
	case Time:
		return "HH:mm:ss[.fraction]" + zone
	default:
		return "yyyy-MM-ddTHH:mm:ss[.fraction]" + zone
	}
}

// compileLayout reads the standard's format (a pattern of the JDK's DateTimeFormatter), of which the fixed-width numeric letters,
// quoted text, XXX (Z or +hh:mm) and Z (+hhmm) are understood. Anything else is an error, not a rule left out.
func compileLayout(typ Type, pattern string, zone zoneRule) (*layout, error) {
	l := &layout{typ: typ, zone: zone}
	if pattern == "" {
		return l, nil
	}
	var seen [128]bool
	for i := 0; i < len(pattern); {
		c := pattern[i]
		switch {
		case c == '\'':
			end := strings.IndexByte(pattern[i+1:], '\'')
			if end < 0 {
				return nil, fmt.Errorf("format %q: unclosed quote", pattern)
			}
			text := pattern[i+1 : i+1+end]
			if end == 0 {
				text = "'"
			}
			l.parts = append(l.parts, part{kind: '\'', text: text})
			i += end + 2
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			n := 1
			for i+n < len(pattern) && pattern[i+n] == c {
				n++
			}
			if c == 'u' {
				c = 'y'
			}
			ok := false
			switch c {
			case 'y':
				ok = n == 4
			case 'M', 'd', 'H', 'm', 's':
				ok = n == 2
			case 'S':
				ok = n <= 9
			case 'X':
				ok = n == 3
			case 'Z':
				ok = n == 1
			}
			if !ok || seen[c] {
				return nil, fmt.Errorf("format %q: %q is not supported here", pattern, pattern[i:i+n])
			}
			seen[c] = true
			l.parts = append(l.parts, part{kind: c, n: n})
			i += n
		case strings.IndexByte("[]{}#", c) >= 0 || c >= 0x80:
			return nil, fmt.Errorf("format %q: %q is not supported", pattern, string(c))
		default:
			l.parts = append(l.parts, part{kind: '\'', text: string(c)})
			i++
		}
	}
	day := seen['y'] && seen['M'] && seen['d']
	anyDay := seen['y'] || seen['M'] || seen['d']
	anyClock := seen['H'] || seen['m'] || seen['s'] || seen['S']
	clock := seen['H'] && (seen['m'] || !seen['s']) && (seen['s'] || !seen['S'])
	hasZone := seen['X'] || seen['Z']
	switch {
	case typ == Date && (!day || anyClock || hasZone),
		typ == Time && (anyDay || !clock),
		typ == Timestamp && (!day || anyClock && !clock):
		return nil, fmt.Errorf("format %q does not describe a %s", pattern, typ)
	case hasZone && zone == zoneNone, !hasZone && zone == zoneRequired:
		return nil, fmt.Errorf("format %q and option timezone contradict each other", pattern)
	case hasZone:
		l.zone = zoneRequired
	}
	return l, nil
}

func digits(s string, i, n int) (v, next int, ok bool) {
	if i+n > len(s) {
		return 0, i, false
	}
	for _, c := range []byte(s[i : i+n]) {
		if c < '0' || c > '9' {
			return 0, i, false
		}
		v = v*10 + int(c-'0')
	}
	return v, i + n, true
}

// parse reads s. A time without zone comes back as that wall clock in UTC; a time of day on 1 January of year 1. An error that is not one
// of the package's says that the spelling is another one.
func (l *layout) parse(s string) (time.Time, error) {
	var c clock
	var err error
	if l.parts == nil {
		err = c.iso(l, s)
	} else {
		err = c.pattern(l.parts, s)
	}
	if err != nil {
		return time.Time{}, err
	}
	return c.time()
}

var errShape = errors.New("is spelled otherwise")

type clock struct {
	year, month, day, hour, min, sec, nano, offset int
	zoned                                          bool
}

func (c *clock) time() (time.Time, error) {
	if c.year < 1 || c.month < 1 || c.month > 12 || c.day < 1 || c.day > daysIn(c.year, c.month) || c.hour > 23 || c.min > 59 || c.sec > 59 {
		return time.Time{}, errClock
	}
	t := time.Date(c.year, time.Month(c.month), c.day, c.hour, c.min, c.sec, c.nano, time.UTC)
	if c.zoned {
		t = t.Add(-time.Duration(c.offset) * time.Second)
	}
	return t, nil
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

func (c *clock) iso(l *layout, s string) error {
	i := 0 // where the time of day begins
	c.year, c.month, c.day = 1, 1, 1
	if l.typ != Time {
		if len(s) < 10 || s[4] != '-' || s[7] != '-' {
			return errShape
		}
		var a, b, d bool
		c.year, _, a = digits(s, 0, 4)
		c.month, _, b = digits(s, 5, 2)
		c.day, _, d = digits(s, 8, 2)
		if !a || !b || !d {
			return errShape
		}
		if l.typ == Date {
			if len(s) != 10 {
				return errShape
			}
			return nil
		}
		if len(s) == 10 || s[10] != 'T' {
			return errShape
		}
		i = 11
	}
	if len(s) < i+8 || s[i+2] != ':' || s[i+5] != ':' {
		return errShape
	}
	var a, b, d bool
	c.hour, _, a = digits(s, i, 2)
	c.min, _, b = digits(s, i+3, 2)
	c.sec, i, d = digits(s, i+6, 2)
	if !a || !b || !d {
		return errShape
	}
	if i < len(s) && s[i] == '.' {
		i++
		start := i
		for i < len(s) && s[i]-'0' <= 9 {
			if i-start == 9 {
				return errShape
			}
			c.nano = c.nano*10 + int(s[i]-'0')
			i++
		}
		if i == start {
			return errShape
		}
		for n := i - start; n < 9; n++ {
			c.nano *= 10
		}
	}
	if i == len(s) {
		if l.zone == zoneRequired {
			return errNoZone
		}
		return nil
	}
	i, err := c.readZone(s, i, true)
	if err != nil {
		return err
	}
	if i != len(s) {
		return errShape
	}
	if l.zone == zoneNone {
		return errHasZone
	}
	return nil
}

func (c *clock) readZone(s string, i int, colon bool) (int, error) {
	if i >= len(s) {
		return i, errShape
	}
	c.zoned = true
	if s[i] == 'Z' && colon {
		return i + 1, nil
	}
	if s[i] != '+' && s[i] != '-' {
		return i, errShape
	}
	neg := s[i] == '-'
	h, i, ok := digits(s, i+1, 2)
	if !ok {
		return i, errShape
	}
	if colon {
		if i >= len(s) || s[i] != ':' {
			return i, errShape
		}
		i++
	}
	m, i, ok := digits(s, i, 2)
	if !ok {
		return i, errShape
	}
	if m > 59 || h*60+m > 18*60 { // what java.time, and so Elasticsearch, can hold
		return i, errOffset
	}
	c.offset = (h*60 + m) * 60
	if neg {
		c.offset = -c.offset
	}
	return i, nil
}

func (c *clock) pattern(parts []part, s string) error {
	c.year, c.month, c.day = 1, 1, 1
	i := 0
	for _, p := range parts {
		ok := true
		switch p.kind {
		case '\'':
			if ok = strings.HasPrefix(s[i:], p.text); ok {
				i += len(p.text)
			}
		case 'y':
			c.year, i, ok = digits(s, i, p.n)
		case 'M':
			c.month, i, ok = digits(s, i, p.n)
		case 'd':
			c.day, i, ok = digits(s, i, p.n)
		case 'H':
			c.hour, i, ok = digits(s, i, p.n)
		case 'm':
			c.min, i, ok = digits(s, i, p.n)
		case 's':
			c.sec, i, ok = digits(s, i, p.n)
		case 'S':
			c.nano, i, ok = digits(s, i, p.n)
			for n := p.n; n < 9; n++ {
				c.nano *= 10
			}
		default:
			var err error
			if i, err = c.readZone(s, i, p.kind == 'X'); err != nil {
				return err
			}
		}
		if !ok {
			return errShape
		}
	}
	if i != len(s) {
		return errShape
	}
	return nil
}

// regexp is the spelling as a regular expression that JSON Schema validators understand. It does not know the calendar.
func (l *layout) regexp() string {
	const day, clock, offset = `\d{4}-\d{2}-\d{2}`, `\d{2}:\d{2}:\d{2}(\.\d{1,9})?`, `(Z|[+-]\d{2}:\d{2})`
	if l.parts == nil {
		zone := [...]string{zoneNone: "", zoneOptional: offset + "?", zoneRequired: offset}[l.zone]
		switch l.typ {
		case Date:
			return "^" + day + "$"
		case Time:
			return "^" + clock + zone + "$"
		default:
			return "^" + day + "T" + clock + zone + "$"
		}
	}
	var s strings.Builder
	s.WriteByte('^')
	for _, p := range l.parts {
		switch p.kind {
		case '\'':
			s.WriteString(regexp.QuoteMeta(p.text))
		case 'X':
			s.WriteString(offset)
		case 'Z':
			s.WriteString(`[+-]\d{4}`)
		default:
			fmt.Fprintf(&s, `\d{%d}`, p.n)
		}
	}
	s.WriteByte('$')
	return s.String()
}
