package engine

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const defaultFormat = "strict_date_optional_time||epoch_millis"

// dateFormat is a parsed `format`: alternatives tried in order; the first one prints.
type dateFormat struct {
	spec  string
	parts []string
	// layouts holds Go's layout for each part that is a pattern.
	layouts []string
}

var isoNames = map[string]bool{
	"strict_date_optional_time": true, "date_optional_time": true, "strict_date_optional_time_nanos": true,
	"strict_date_time": true, "date_time": true, "iso8601": true, "strict_date": true, "date": true,
	"strict_date_time_no_millis": true, "date_time_no_millis": true,
}

func parseFormat(spec string) (*dateFormat, error) {
	f := &dateFormat{spec: spec}
	for part := range strings.SplitSeq(spec, "||") {
		layout := ""
		switch {
		case isoNames[part], part == "epoch_millis", part == "epoch_second":
		default:
			var err error
			if layout, err = goLayout(part); err != nil {
				return nil, fmt.Errorf("Invalid format: [%s]: %w", spec, err) //nolint:staticcheck // Elasticsearch's spelling
			}
		}
		f.parts = append(f.parts, part)
		f.layouts = append(f.layouts, layout)
	}
	return f, nil
}

var defaultDate = &dateFormat{spec: defaultFormat, parts: []string{"strict_date_optional_time", "epoch_millis"}, layouts: []string{"", ""}}

// goLayout translates a Java date pattern.
func goLayout(p string) (string, error) {
	tokens := []struct{ java, layout string }{
		{"yyyy", "2006"},
		{"uuuu", "2006"},
		{"MMM", "Jan"},
		{"MM", "01"},
		{"dd", "02"},
		{"HH", "15"},
		{"mm", "04"},
		{"ss", "05"},
		{"SSSSSSSSS", "000000000"},
		{"SSSSSS", "000000"},
		{"SSS", "000"},
		{"XXX", "Z07:00"},
		{"XX", "Z0700"},
		{"X", "Z07"},
		{"Z", "-0700"},
		{"EEE", "Mon"},
		{"d", "2"},
		{"M", "1"},
	}
	var b strings.Builder
next:
	for i := 0; i < len(p); {
		for _, t := range tokens {
			if strings.HasPrefix(p[i:], t.java) && (i+len(t.java) == len(p) || p[i+len(t.java)] != t.java[0]) {
				b.WriteString(t.layout)
				i += len(t.java)
				continue next
			}
		}
		c := p[i]
		switch {
		case c == '\'':
			end := strings.IndexByte(p[i+1:], '\'')
			if end < 0 {
				return "", fmt.Errorf("unterminated literal")
			}
			b.WriteString(p[i+1 : i+1+end])
			i += end + 2
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			return "", fmt.Errorf("unknown pattern letter: %c", c)
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String(), nil
}

// parse reads a date. It returns the first millisecond it can mean and the last that rounding up gives.
func (f *dateFormat) parse(s string, loc *time.Location) (first, last int64, err error) {
	for i, part := range f.parts {
		switch {
		case isoNames[part]:
			if first, last, ok := parseISO(s, loc); ok {
				return first, last, nil
			}
		case part == "epoch_millis":
			if v, ok := epoch(s); ok {
				return v, v, nil
			}
		case part == "epoch_second":
			if v, err := strconv.ParseFloat(s, 64); err == nil {
				return int64(v * 1000), int64(v * 1000), nil
			}
		default:
			if t, err := time.ParseInLocation(f.layouts[i], s, loc); err == nil {
				first, last = t.UnixMilli(), t.UnixMilli()
				if !strings.Contains(f.layouts[i], "15") {
					last = t.AddDate(0, 0, 1).UnixMilli() - 1
				}
				return first, last, nil
			}
		}
	}
	return 0, 0, fmt.Errorf("failed to parse date field [%s] with format [%s]", s, f.spec)
}

func epoch(s string) (int64, bool) {
	if v, err := strconv.ParseInt(s, 10, 64); err == nil {
		return v, true
	}
	whole, frac, ok := strings.Cut(s, ".")
	if !ok || frac == "" || strings.Trim(frac, "0123456789") != "" {
		return 0, false
	}
	v, err := strconv.ParseInt(whole, 10, 64)
	return v, err == nil
}

// print renders milliseconds in the first format.
func (f *dateFormat) print(ms int64, loc *time.Location) string {
	t := time.UnixMilli(ms).In(loc)
	switch p := f.parts[0]; {
	case p == "epoch_millis":
		return strconv.FormatInt(ms, 10)
	case p == "epoch_second":
		return strconv.FormatInt(ms/1000, 10)
	case p == "strict_date" || p == "date":
		return t.Format("2006-01-02")
	case p == "strict_date_time_no_millis" || p == "date_time_no_millis":
		return t.Format("2006-01-02T15:04:05Z07:00")
	case isoNames[p]:
		return t.Format("2006-01-02T15:04:05.000Z07:00")
	default:
		return t.Format(f.layouts[0])
	}
}

// parseISO reads yyyy[-MM[-dd[THH[:mm[:ss[.fraction]]]]]][zone].
func parseISO(s string, loc *time.Location) (first, last int64, ok bool) {
	digits := func(n int) (int, bool) {
		if len(s) < n {
			return 0, false
		}
		v := 0
		for i := range n {
			c := s[i]
			if c < '0' || c > '9' {
				return 0, false
			}
			v = v*10 + int(c-'0')
		}
		s = s[n:]
		return v, true
	}
	lead := func(chars string) bool {
		if s != "" && strings.IndexByte(chars, s[0]) >= 0 {
			s = s[1:]
			return true
		}
		return false
	}
	v := [6]int{0, 1, 1, 0, 0, 0}
	if v[0], ok = digits(4); !ok {
		return 0, 0, false
	}
	precision, nanos := 0, 0
	for i, sep := range []string{"-", "-", "T", ":", ":"} {
		if !lead(sep) {
			break
		}
		if sep == "T" && s == "" {
			break
		}
		if v[i+1], ok = digits(2); !ok {
			return 0, 0, false
		}
		precision = i + 1
	}
	if precision == 5 && lead(".,") {
		scale, n := 100_000_000, 0
		for s != "" && s[0] >= '0' && s[0] <= '9' && n < 9 {
			nanos += int(s[0]-'0') * scale
			scale /= 10
			s = s[1:]
			n++
		}
		if n == 0 {
			return 0, 0, false
		}
		precision = 6
	}
	if s != "" && precision >= 3 {
		if loc, ok = parseZone(s); !ok {
			return 0, 0, false
		}
		s = ""
	}
	if s != "" || v[1] < 1 || v[1] > 12 || v[2] < 1 || v[2] > 31 || v[3] > 23 || v[4] > 59 || v[5] > 59 {
		return 0, 0, false
	}
	t := time.Date(v[0], time.Month(v[1]), v[2], v[3], v[4], v[5], nanos, loc)
	if t.In(loc).Day() != v[2] {
		return 0, 0, false
	}
	var end time.Time
	switch precision {
	case 0, 1, 2:
		// A missing month or day is the first even when rounding up, as in Elasticsearch: only the time of day goes to its end.
		end = t.AddDate(0, 0, 1)
	case 3:
		end = t.Add(time.Hour)
	case 4:
		end = t.Add(time.Minute)
	case 5:
		end = t.Add(time.Second)
	default:
		end = t.Add(time.Millisecond)
	}
	return t.UnixMilli(), end.UnixMilli() - 1, true
}

// parseZone reads Z, +hh:mm, +hhmm, +hh, or a zone's name.
func parseZone(s string) (*time.Location, bool) {
	if s == "Z" || s == "UTC" {
		return time.UTC, true
	}
	for _, layout := range []string{"-07:00", "-0700", "-07"} {
		if t, err := time.Parse(layout, s); err == nil {
			_, seconds := t.Zone()
			return time.FixedZone("", seconds), true
		}
	}
	if strings.Contains(s, "/") {
		if loc, err := time.LoadLocation(s); err == nil {
			return loc, true
		}
	}
	return nil, false
}

// dateMath evaluates `now-1d/d` or `2026-01-01||+1M/d`. With up, rounding and missing parts go to the last millisecond, as
// lte and gt ask.
func dateMath(s string, f *dateFormat, loc *time.Location, now time.Time, up bool) (int64, error) {
	var t time.Time
	rest := ""
	if after, ok := strings.CutPrefix(s, "now"); ok {
		t, rest = now, after
	} else {
		anchor, math, _ := strings.Cut(s, "||")
		first, last, err := f.parse(anchor, loc)
		if err != nil {
			return 0, err
		}
		if up && math == "" {
			first = last
		}
		t, rest = time.UnixMilli(first), math
	}
	t = t.In(loc)
	for rest != "" {
		op := rest[0]
		rest = rest[1:]
		n := 1
		if op != '/' {
			end := 0
			for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
				end++
			}
			if end > 0 {
				v, err := strconv.ParseInt(rest[:end], 10, 32)
				if err != nil {
					return 0, fmt.Errorf("date math number out of range in [%s]", s)
				}
				n, rest = int(v), rest[end:]
			}
		}
		if rest == "" {
			return 0, fmt.Errorf("truncated date math [%s]", s)
		}
		unit := rest[0]
		rest = rest[1:]
		switch op {
		case '+', '-':
			if op == '-' {
				n = -n
			}
			moved, ok := addUnit(t, unit, n)
			if !ok {
				return 0, fmt.Errorf("unit [%c] not supported for date math [%s]", unit, s)
			}
			t = moved
		case '/':
			start, ok := floorUnit(t, unit)
			if !ok {
				return 0, fmt.Errorf("unit [%c] not supported for date math [%s]", unit, s)
			}
			t = start
			if up {
				next, _ := addUnit(start, unit, 1)
				t = next.Add(-time.Millisecond)
			}
		default:
			return 0, fmt.Errorf("operator not supported for date math [%s]", s)
		}
	}
	return t.UnixMilli(), nil
}

func addUnit(t time.Time, unit byte, n int) (time.Time, bool) {
	switch unit {
	case 'y':
		return addMonths(t, 12*n), true
	case 'M':
		return addMonths(t, n), true
	case 'w':
		return t.AddDate(0, 0, 7*n), true
	case 'd':
		return t.AddDate(0, 0, n), true
	case 'h', 'H':
		return t.Add(time.Duration(n) * time.Hour), true
	case 'm':
		return t.Add(time.Duration(n) * time.Minute), true
	case 's':
		return t.Add(time.Duration(n) * time.Second), true
	}
	return t, false
}

// addMonths keeps to the month's last day, where Go would run over into the next month.
func addMonths(t time.Time, n int) time.Time {
	first := time.Date(t.Year(), t.Month(), 1, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location()).AddDate(0, n, 0)
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(t.Day(), last)-1)
}

func floorUnit(t time.Time, unit byte) (time.Time, bool) {
	y, m, d := t.Date()
	loc := t.Location()
	switch unit {
	case 'y':
		return time.Date(y, 1, 1, 0, 0, 0, 0, loc), true
	case 'q':
		return time.Date(y, (m-1)/3*3+1, 1, 0, 0, 0, 0, loc), true
	case 'M':
		return time.Date(y, m, 1, 0, 0, 0, 0, loc), true
	case 'w':
		return time.Date(y, m, d-(int(t.Weekday())+6)%7, 0, 0, 0, 0, loc), true
	case 'd':
		return time.Date(y, m, d, 0, 0, 0, 0, loc), true
	case 'h', 'H':
		return t.Add(-time.Duration(t.Minute())*time.Minute - time.Duration(t.Second())*time.Second - time.Duration(t.Nanosecond())), true
	case 'm':
		return t.Add(-time.Duration(t.Second())*time.Second - time.Duration(t.Nanosecond())), true
	case 's':
		return t.Truncate(time.Second), true
	}
	return t, false
}
