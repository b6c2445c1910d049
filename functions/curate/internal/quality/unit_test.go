package quality

import (
	"testing"
	"time"
)

// Guards the units: above all m, the minute, and M, the month, which one letter's case tells apart.
func TestUnits(t *testing.T) {
	for text, want := range map[string]string{
		"m": "m", "min": "m", "Minutes": "m", "M": "M", "mo": "M", "months": "M", "h": "h", "H": "h", "hours": "h", "d": "d", "D": "d", "day": "d", "days": "d", "w": "w", "weeks": "w",
		"y": "y", "Y": "y", "yr": "y", "years": "y", "a": "y", "s": "s", "S": "s", "sec": "s", "ms": "ms", "MS": "ms", "percent": "percent", "%": "percent",
		"fortnight": "", "": "", "mm": "", "Mi": "",
	} {
		if u, err := unitOf(text); u.name != want || (err == nil) != (want != "") {
			t.Errorf("%q: %+v, %v, want %q", text, u, err, want)
		}
	}
}

// Guards what contracts write as a value: numbers, texts with and without a unit, and two units that contradict each other.
func TestAgreed(t *testing.T) {
	for _, c := range []struct {
		value any
		unit  string
		want  float64
		name  string
		bad   bool
	}{
		{15, "m", 15, "m", false},
		{99.5, "percent", 99.5, "percent", false},
		{"95%", "%", 95, "percent", false},
		{"95%", "", 95, "percent", false},
		{"500ms", "", 500, "ms", false},
		{"4", "d", 4, "d", false},
		{" 7 d", "days", 7, "d", false},
		{"99.9", "", 99.9, "", false},
		{"7d", "h", 0, "", true},
		{"soon", "d", 0, "", true},
		{nil, "d", 0, "", true},
		{true, "d", 0, "", true},
		{3, "fortnights", 3, "", true},
		{"2022-05-12T09:30:10-08:00", "", 0, "", true},
	} {
		x, u, err := agreed(c.value, c.unit)
		if (err != nil) != c.bad || err == nil && (x != c.want || u.name != c.name) {
			t.Errorf("%v %q: %g %+v %v", c.value, c.unit, x, u, err)
		}
	}
}

// Guards calendar units: seven years before a day are that day, leap years or not.
func TestBefore(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		n    float64
		unit string
		want string
	}{{7, "y", "2019-11-21T12:00:00Z"}, {13, "M", "2025-10-21T12:00:00Z"}, {0.5, "y", "2026-05-21T12:00:00Z"}, {90, "d", "2026-08-23T12:00:00Z"}, {15, "m", "2026-11-21T11:45:00Z"}, {2, "w", "2026-11-07T12:00:00Z"}} {
		u, err := unitOf(c.unit)
		if err != nil {
			t.Fatal(err)
		}
		if got := u.before(now, c.n).Format(time.RFC3339); got != c.want {
			t.Errorf("%g %s before: %s, want %s", c.n, c.unit, got, c.want)
		}
	}
}
