package record

import (
	"math"
	"net/url"
	"testing"
	"time"
)

// Guards against numbers with exponents, and against values that JSON has no number for.
func TestAppendFloat(t *testing.T) {
	f := func(v float64, bits int, want string) {
		t.Helper()
		if got := string(AppendFloat(nil, v, bits)); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
	f(1, 64, "1")
	f(1e6, 64, "1000000")
	f(62359.52, 64, "62359.52")
	f(1e-7, 64, "0.0000001")
	f(float64(float32(0.1)), 32, "0.1")
	f(math.NaN(), 64, "null")
	f(math.Inf(1), 64, `"Infinity"`)
	f(math.Inf(-1), 64, `"-Infinity"`)
}

// Guards against a source that is no URI-reference, and against a time that RFC 3339 cannot write.
func TestIdentityAndTime(t *testing.T) {
	for name, want := range map[string]string{"a b.csv": "/produce/a%20b.csv", "x/y?z#.csv": "/produce/x%2Fy%3Fz%23.csv", "é.csv": "/produce/%C3%A9.csv", "100%": "/produce/100%25"} {
		got := SourceOf(name)
		if u, err := url.Parse(got); got != want || err != nil || u.RawQuery != "" || u.Fragment != "" {
			t.Errorf("%s: %s (%v), want %s", name, got, err, want)
		}
	}
	for _, at := range []time.Time{{}, time.Date(12023, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if got, want := string(AppendEvent(nil, "T", "0-0-1", "i", "/s", at, []byte("{}"))), `{"event_type":"T","schema_version":"0-0-1","id":"i","source":"/s","payload":{}}`; got != want {
			t.Errorf("%s: %s", at, got)
		}
	}
}
