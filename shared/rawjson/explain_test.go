package rawjson

import (
	"errors"
	"strings"
	"testing"
)

// Guards that a producer is told which of the many ways of not being JSON theirs is, and where: one message for all of them sent people looking
// for the wrong one.
func TestExplain(t *testing.T) {
	deep := strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1)
	for _, c := range []struct{ in, want string }{
		{"", "the text is empty"},
		{" \r\n\t", "the text is only white space"},
		{"\xef\xbb\xbf{}", "byte 0: a byte order mark, which JSON must not begin with"},
		{"\xff\xfe{\x00", "byte 0: the text looks like UTF-16; it must be UTF-8"},
		{"\x1f\x8b\x08\x00", "byte 0: the text looks like gzip; set Content-Encoding: gzip"},
		{"\n <!doctype html>", "byte 2: the text looks like HTML or XML"},
		{`{"a":"bc`, "byte 8: the text ends within a string"},
		{`{"a":"b\`, "byte 8: the text ends within a string"},
		{`{"a":"\u00`, "byte 10: the text ends within a string"},
		{`{"a`, "byte 3: the text ends within a string"},
		{`{"a"`, "byte 4: the text ends within an object"},
		{`{"a":`, "byte 5: the text ends within an object"},
		{`{"a":1,`, "byte 7: the text ends within an object"},
		{`{`, "byte 1: the text ends within an object"},
		{`[`, "byte 1: the text ends within an array"},
		{`[1`, "byte 2: the text ends within an array"},
		{`[1, `, "byte 4: the text ends within an array"},
		{`[tru`, "byte 4: the text ends within a word"},
		{`[-`, "byte 2: the text ends within a number"},
		{`[1.`, "byte 3: the text ends within a number"},
		{`[1e+`, "byte 4: the text ends within a number"},
		{"[\"\xc3", "byte 2: the text ends within a character"},
		{"{\"a\":\"caf\xe9\"}", "byte 9: not UTF-8"},
		{"{\"a\":x\xe9}", "byte 5: no JSON value begins like this"},
		{"{\"a\":1}\n{\"a\":2}\n", "byte 8: another JSON text follows the first; several events go into an array"},
		{`{"a":1}}`, "byte 7: something follows the JSON text"},
		{`[NaN]`, "byte 1: JSON has neither NaN nor Infinity; send null"},
		{`[-Infinity]`, "byte 2: JSON has neither NaN nor Infinity; send null"},
		{`{'a':1}`, "byte 1: no member name in double quotes where one is due"},
		{`['a']`, "byte 1: a single quote; strings take double quotes"},
		{`{"a":1,}`, "byte 7: no member behind a comma"},
		{`[1,]`, "byte 3: no element behind a comma"},
		{`{"a" 1}`, "byte 5: no colon behind a member's name"},
		{`{"a":1 "b":2}`, "byte 7: neither a comma nor the end of an object"},
		{`[1 2]`, "byte 3: neither a comma nor the end of an array"},
		{`[01]`, "byte 1: no number of JSON's"},
		{`[1.x]`, "byte 1: no number of JSON's"},
		{`[nil]`, "byte 1: no JSON value begins like this"},
		{`[,]`, "byte 1: no JSON value begins like this"},
		{"[\"a\nb\"]", "byte 3: a control character within a string, which must be escaped"},
		{`["\x41"]`, "byte 2: an unknown escape within a string"},
		{`["\u00g0"]`, `byte 6: no four hexadecimal digits behind \u`},
		{`event_type=a`, "byte 0: no JSON value begins like this"},
		{deep, "byte 512: more than 512 levels deep"},
	} {
		err := Explain([]byte(c.in))
		if err == nil || err.Error() != c.want || !errors.Is(err, ErrSyntax) || Valid([]byte(c.in)) {
			t.Errorf("%.40q: %v, want %s", c.in, err, c.want)
		}
	}
	if err := Explain([]byte(" {\"a\":[1,-2.5e3,true,null,\"\\u00e4\"],\"b\":{}}\n")); err != nil {
		t.Errorf("valid text: %v", err)
	}
}

// Guards that what is refused always has a reason and what is accepted none, whatever the text.
func FuzzExplain(f *testing.F) {
	for _, s := range []string{``, `{"a":[1,2.5e-3,"x\u00e4\n",null,true,false,{}]}`, `[1,]`, "[\"\xff", `[-`, `01`, `{"a":"\ud8`, "\xef\xbb\xbf1", "<"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := Explain(b)
		if (err == nil) != Valid(b) {
			t.Fatalf("%q: valid %t, explained %v", b, Valid(b), err)
		}
		if err != nil && (err.Reason == "" || err.Offset > len(b)) {
			t.Fatalf("%q: %+v", b, err)
		}
	})
}
