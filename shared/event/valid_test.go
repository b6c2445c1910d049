package event

import (
	"regexp"
	"testing"
)

// Guards the two patterns, which are checked by hand because they are checked for every event, against the expressions in the design.
func FuzzPatterns(f *testing.F) {
	types := regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,127}$`)
	versions := regexp.MustCompile(`^(0|[1-9][0-9]{0,5})-(0|[1-9][0-9]{0,5})-(0|[1-9][0-9]{0,5})$`)
	for _, s := range []string{"", "T", "a.b_c-9", "9a", "a/b", "ü", "T\n", "@", "[", "0-0-1", "10-20-300", "0-0-01", "00-0-1", "1234567-0-0", "123456-0-0", "0-0", "0-0-", "-0-0", "0-0-0-0", "0-0-1 "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := ValidType(s), types.MatchString(s); got != want {
			t.Errorf("ValidType(%q) = %v, want %v", s, got, want)
		}
		if got, want := ValidVersion(s), versions.MatchString(s); got != want {
			t.Errorf("ValidVersion(%q) = %v, want %v", s, got, want)
		}
	})
}
