package report

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// count writes 1234567 as 1,234,567.
func count[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// plural writes "1 day", "2 days".
func plural[T int | int64](n T, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// number writes a value with as many digits as a reader needs: integers whole, others with four significant ones.
func number(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return strconv.FormatFloat(v, 'g', -1, 64)
	case v == math.Trunc(v) && math.Abs(v) < 1e15:
		return count(int64(v))
	case math.Abs(v) >= 1e15 || math.Abs(v) < 1e-4:
		return strconv.FormatFloat(v, 'g', 4, 64)
	case math.Abs(v) >= 1000:
		return count(int64(math.Round(v)))
	}
	decimals := 3 - int(math.Floor(math.Log10(math.Abs(v))))
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}

// spans are the units that are a length of time, in the spelling of package quality and in words. Longer ones are mean lengths.
var spans = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "seconds": time.Second, "m": time.Minute, "minutes": time.Minute, "h": time.Hour, "hours": time.Hour, "d": 24 * time.Hour, "days": 24 * time.Hour,
	"w": 7 * 24 * time.Hour, "M": 30*24*time.Hour + 10*time.Hour, "y": 365*24*time.Hour + 6*time.Hour,
}

// measure writes a value in its unit.
func measure(v float64, unit string) string {
	if length, ok := spans[unit]; ok && math.Abs(v)*float64(length) < math.MaxInt64 {
		return span(time.Duration(v * float64(length)))
	}
	switch strings.ToLower(unit) {
	case "":
		return number(v)
	case "percent", "%":
		return number(v) + " %"
	case "b", "byte", "bytes":
		return size(int64(v))
	case "row", "rows":
		return plural(int64(v), "row", "rows")
	}
	return number(v) + " " + unit
}

// operators are the Open Data Contract Standard's words for what a value must be, and ours. A longer one stands before those that it begins with.
var operators = strings.NewReplacer(
	"mustBeGreaterOrEqualTo ", "at least ", "mustBeGreaterThanOrEqualTo ", "at least ", "mustBeGreaterThan ", "more than ",
	"mustBeLessOrEqualTo ", "at most ", "mustBeLessThanOrEqualTo ", "at most ", "mustBeLessThan ", "less than ",
	"mustNotBeBetween ", "not between ", "mustBeBetween ", "between ", "mustNotBe ", "anything but ", "mustBe ", "exactly ",
)

// words says a threshold in words.
func words(threshold string) string { return operators.Replace(threshold) }

// span writes a duration in the one or two units that matter.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + span(-d)
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + " µs"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < time.Hour:
		return two(int64(d/time.Minute), "min", int64(d%time.Minute/time.Second), "s")
	case d < 48*time.Hour:
		return two(int64(d/time.Hour), "h", int64(d%time.Hour/time.Minute), "min")
	}
	return two(int64(d/(24*time.Hour)), "days", int64(d%(24*time.Hour)/time.Hour), "h")
}

func two(a int64, unitA string, b int64, unitB string) string {
	if b == 0 {
		return count(a) + " " + unitA
	}
	return fmt.Sprintf("%s %s %d %s", count(a), unitA, b, unitB)
}

// size writes bytes in binary units.
func size(n int64) string {
	if n < 1024 {
		return count(n) + " B"
	}
	v, unit := float64(n)/1024, 0
	for ; v >= 1024 && unit < 4; unit++ {
		v /= 1024
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " " + [...]string{"KiB", "MiB", "GiB", "TiB", "PiB"}[unit]
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// whole is the number in any integer that a template hands over: a length, a count, a duration.
func whole(n any) int64 { return reflect.ValueOf(n).Int() }

// share is a's part of b in percent, 0 to 100.
func share(a, b int64) float64 {
	if b <= 0 || a <= 0 {
		return 0
	}
	return math.Min(100, math.Round(float64(a)/float64(b)*1000)/10)
}

// longest is how many characters of one value are shown: more is not read, and a payload can be a megabyte.
const longest = 200

func cut(s string) string {
	if len(s) <= longest {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	end, n := 0, 0
	for end < len(s) && n < longest {
		_, width := utf8.DecodeRuneInString(s[end:])
		end += width
		n++
	}
	if end == len(s) {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:end], "\uFFFD") + "…"
}
