package quality

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// unit is a unit of a service level.
type unit struct {
	name    string        // as results have it
	length  time.Duration // of units of time, on average
	months  int           // calendar months, of M and y
	percent bool
}

const (
	meanDay  = 24 * time.Hour
	meanYear = 31556952 * time.Second // 365.2425 days
)

var units = map[string]unit{
	"ms": {name: "ms", length: time.Millisecond},
	"s":  {name: "s", length: time.Second},
	"m":  {name: "m", length: time.Minute},
	"h":  {name: "h", length: time.Hour},
	"d":  {name: "d", length: meanDay},
	"w":  {name: "w", length: 7 * meanDay},
	"M":  {name: "M", length: meanYear / 12, months: 1},
	"y":  {name: "y", length: meanYear, months: 12},
	"%":  {name: "percent", percent: true},
}

// spellings are other words for units, in lower case.
var spellings = map[string]string{
	"millisecond": "ms", "milliseconds": "ms", "msec": "ms", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
	"hr": "h", "hrs": "h", "hour": "h", "hours": "h", "day": "d", "days": "d", "wk": "w", "week": "w", "weeks": "w", "mo": "M", "mon": "M", "month": "M", "months": "M",
	"a": "y", "yr": "y", "yrs": "y", "year": "y", "years": "y", "percent": "%", "pct": "%",
}

// unitOf reads a unit. The standard says no more than "d, day, days; y, yr, years; units use the ISO standard", and ISO 8601 has one letter for months and minutes. Here m is the minute and M the
// month, as the contract files mean them; of all other units case does not matter.
func unitOf(text string) (unit, error) {
	text = strings.TrimSpace(text)
	if u, ok := units[text]; ok {
		return u, nil
	}
	lower := strings.ToLower(text)
	if name, ok := spellings[lower]; ok {
		return units[name], nil
	}
	if u, ok := units[lower]; ok && lower != "m" {
		return u, nil
	}
	return unit{}, fmt.Errorf("unit %q is not known; ms, s, m (minutes), h, d, w, M (months), y and percent are", shorten(text, 20))
}

// agreed reads a service level's value, a number or a text such as "99.5" or "95%", whose own unit counts where the level names none.
func agreed(value any, of string) (float64, unit, error) {
	var x float64
	switch v := value.(type) {
	case int:
		x = float64(v)
	case float64:
		x = v
	case string:
		text := strings.TrimSpace(v)
		end := len(text)
		for end > 0 && (text[end-1] < '0' || text[end-1] > '9') {
			end--
		}
		var err error
		if x, err = strconv.ParseFloat(text[:end], 64); err != nil {
			return 0, unit{}, fmt.Errorf("value %q is no number", shorten(v, 40))
		}
		if own := strings.TrimSpace(text[end:]); of == "" {
			of = own
		} else if own != "" {
			a, errA := unitOf(own)
			b, errB := unitOf(of)
			if errA != nil || errB != nil || a != b {
				return 0, unit{}, fmt.Errorf("value %q has another unit than %s", shorten(v, 40), shorten(of, 20))
			}
		}
	default:
		return 0, unit{}, fmt.Errorf("value %v is no number", shorten(fmt.Sprint(v), 40))
	}
	if of == "" {
		return x, unit{}, nil
	}
	u, err := unitOf(of)
	return x, u, err
}

// before returns the moment n units before t, by the calendar where the unit is one of it.
func (u unit) before(t time.Time, n float64) time.Time {
	if whole := n * float64(u.months); u.months > 0 && whole == float64(int(whole)) {
		return t.AddDate(0, -int(whole), 0)
	}
	return t.Add(-time.Duration(n * float64(u.length)))
}

// of returns a duration in the unit.
func (u unit) of(d time.Duration) float64 { return float64(d) / float64(u.length) }
