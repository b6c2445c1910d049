package event

import (
	"net/url"
	"strings"
	"testing"
)

// Guards the length that an event's size is counted by against what is written, and the writing itself, for every byte at every place among others.
func TestEncodeHeader(t *testing.T) {
	for c := range 256 {
		for _, around := range []string{"", "a", "a b", "ü"} {
			s := around + string([]byte{byte(c)}) + around
			got := EncodeHeader(s)
			if HeaderLen(s) != len(got) {
				t.Errorf("%q: length %d, written %q", s, HeaderLen(s), got)
			}
			if back, err := url.PathUnescape(got); err != nil || back != s {
				t.Errorf("%q is written %q, which reads as %q: %v", s, got, back, err)
			}
			plain := c > ' ' && c < 0x7f && c != '"' && c != '%'
			if strings.Contains(EncodeHeader(string([]byte{byte(c)})), "%") == plain {
				t.Errorf("byte %#x is written %q", c, EncodeHeader(string([]byte{byte(c)})))
			}
		}
	}
}
