package manifest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Duration is an ISO 8601 duration such as PT0.2S, as Knative's delivery specification writes them.
type Duration time.Duration

func (v *Duration) decodeNode(d *decoder, n *yaml.Node, path string) {
	text, ok := d.text(n, path)
	if !ok {
		return
	}
	parsed, err := ParseDuration(text)
	if err != nil {
		d.errorf(n, "%s: %v", path, err)
		return
	}
	*v = Duration(parsed)
}

// ParseDuration reads an ISO 8601 duration of weeks, days, hours, minutes and seconds, each at most once, in this order and
// with a fraction in the last one only: P1D, PT1M30S, PT0.2S. A day has 24 hours. Years and months have no fixed length and are
// refused, as is a sign.
func ParseDuration(text string) (time.Duration, error) {
	bad := func(why string) error {
		return fmt.Errorf("%q is no ISO 8601 duration: %s; write it like PT0.2S, PT30S, PT5M, P1D", text, why)
	}
	rest, ok := strings.CutPrefix(text, "P")
	if !ok {
		return 0, bad("it does not begin with P")
	}
	units := []struct {
		letter byte
		clock  bool
		length time.Duration
	}{
		{'W', false, 7 * 24 * time.Hour},
		{'D', false, 24 * time.Hour},
		{'H', true, time.Hour},
		{'M', true, time.Minute},
		{'S', true, time.Second},
	}
	var total time.Duration
	clock, next, parts, fraction := false, 0, 0, false
	for rest != "" {
		if rest[0] == 'T' {
			if clock || len(rest) == 1 {
				return 0, bad("T is misplaced")
			}
			clock, rest = true, rest[1:]
			continue
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if end <= 0 {
			return 0, bad("a number with a unit is missing")
		}
		at := -1
		for i := next; i < len(units); i++ {
			if units[i].letter == rest[end] && units[i].clock == clock {
				at = i
				break
			}
		}
		if at < 0 {
			return 0, bad(fmt.Sprintf("the unit %q is unknown or out of order here", rest[end]))
		}
		if fraction {
			return 0, bad("only the last number may have a fraction")
		}
		length, err := multiply(rest[:end], units[at].length)
		if err != nil {
			return 0, bad(err.Error())
		}
		if total += length; total < 0 {
			return 0, bad("it is too long")
		}
		fraction = strings.Contains(rest[:end], ".")
		next, rest = at+1, rest[end+1:]
		parts++
	}
	if parts == 0 {
		return 0, bad("it is empty")
	}
	return total, nil
}

// multiply returns number times unit, to the nanosecond, without the rounding of a floating-point product for whole numbers.
func multiply(number string, unit time.Duration) (time.Duration, error) {
	whole, fraction, _ := strings.Cut(number, ".")
	if strings.Contains(fraction, ".") || whole == "" || (fraction == "" && strings.Contains(number, ".")) {
		return 0, errors.New("a number is malformed")
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n > int64(1<<63-1)/int64(unit) {
		return 0, errors.New("it is too long")
	}
	result := time.Duration(n) * unit
	for place := unit / 10; fraction != "" && place > 0; place /= 10 {
		result += time.Duration(fraction[0]-'0') * place
		fraction = fraction[1:]
	}
	return result, nil
}
