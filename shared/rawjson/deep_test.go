package rawjson

import (
	"encoding/json"
	"strings"
	"testing"
)

// Guards the slow path against another verdict than the fast one's, and both against the standard library's: what is nested too deep is still told from what is no JSON.
func FuzzDeep(f *testing.F) {
	for _, s := range []string{
		`{}`, `[]`, `[[],{}]`, `{"a":[1,{"b":null}],"c":"d"}`, `[1,]`, `{"a"}`, `{"a":}`, `{,}`, `[}`, `{]`, `[1 2]`, ` 1`, ``, `"a`, `[[`, `{"a":1,}`, `{"a":1 "b":2}`, `[1],`,
		strings.Repeat("[", 70) + strings.Repeat("]", 70), strings.Repeat(`{"a":[`, 40) + strings.Repeat("]}", 40),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		end := validDeep(b, skipSpace(b, 0))
		if len(b) < MaxDepth {
			if fast := validValue(b, skipSpace(b, 0), 0); fast != end {
				t.Errorf("%q ends at %d, and by the fast path at %d", b, end, fast)
			}
		}
		if end >= 0 && skipSpace(b, end) == len(b) && !json.Valid(b) {
			t.Errorf("%q passes", b)
		}
	})
}

// Guards against recursion: a body of the largest size that is nothing but brackets must not take a stack of its depth.
func TestDeepest(t *testing.T) {
	for _, pair := range [][2]string{{"[", "]"}, {`{"a":`, "}"}} {
		n := 1 << 20
		b := []byte(strings.Repeat(pair[0], n) + "1" + strings.Repeat(pair[1], n))
		if end := validDeep(b, 0); end != len(b) {
			t.Errorf("%s ends at %d of %d", pair[0], end, len(b))
		}
		if end := validDeep(b[:len(b)-1], 0); end != -1 {
			t.Errorf("%s without its end ends at %d", pair[0], end)
		}
	}
}
