package rawjson

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// Guards every text that Millrace writes as JSON itself: it must not leave its string, must read back as what it was, and take no needless escapes.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a", `a"b\c`, "\x00\n\u2028\x7f", "é<&>", "𝄞", "a\xffb", "\xed\xa0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := AppendString([]byte("x"), s)
		if got[0] != 'x' || !Valid(got[1:]) {
			t.Fatalf("%q became %s", s, got)
		}
		want := string([]rune(s)) // bytes that are not UTF-8 become U+FFFD
		var back string
		if err := json.Unmarshal(got[1:], &back); err != nil || back != want {
			t.Errorf("%q came back as %q, %v", s, back, err)
		}
		plainly := utf8.ValidString(s)
		for i := range len(s) {
			plainly = plainly && plain[s[i]]
		}
		if plainly && string(got[1:]) != `"`+s+`"` {
			t.Errorf("%q became %s", s, got[1:])
		}
	})
}
