package rawjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Guards against accepting text that another JSON reader down the line refuses: trailing bytes, bad UTF-8, bottomless nesting.
func TestValid(t *testing.T) {
	f := func(in string, want bool) {
		t.Helper()
		if got := Valid([]byte(in)); got != want {
			t.Errorf("Valid(%.60q) = %v, want %v", in, got, want)
		}
	}
	f(`{"a":1}`, true)
	f(" \n[1,2]\t", true)
	f(`"x"`, true)
	f(``, false)
	f(`{"a":1}x`, false)
	f(`{"a":1}{}`, false)
	f("\"\xff\"", false)
	f("\xef\xbb\xbf{}", false)
	f(strings.Repeat("[", MaxDepth)+strings.Repeat("]", MaxDepth), true)
	f(strings.Repeat("[", MaxDepth+1)+strings.Repeat("]", MaxDepth+1), false)
	f(`"`+strings.Repeat("[", 2*MaxDepth)+`"`, true)
	f(strings.Repeat("[", 1_000_000), false)
}

// Guards the verdict on the public parsing suite: what must parse does, what must not does not.
func TestValidOnParsingSuite(t *testing.T) {
	files, err := filepath.Glob("../../../shared/data/badinput/JSONTestSuite/test_parsing/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("../shared/data/badinput/JSONTestSuite is not here")
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got := Valid(b)
		switch base := filepath.Base(name); base[0] {
		case 'y':
			if !got {
				t.Errorf("%s: refused", base)
			}
		case 'n':
			if got {
				t.Errorf("%s: accepted", base)
			}
		}
	}
}

// Guards the promise that a payload's bytes reach Kafka unchanged: members are slices of the input.
func TestMembersKeepBytes(t *testing.T) {
	in := []byte(" { \"a\" : 1.50e+2 , \"b\\u0041\":[ 1, {\"x\":\"}\\\\\"} ] ,\"c\":\"\\\"\" , \"d\":{}, \"e\": null } ")
	var got []string
	if err := Members(in, func(k string, v []byte) error {
		got = append(got, k+"="+string(v))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{"a=1.50e+2", "bA=[ 1, {\"x\":\"}\\\\\"} ]", `c="\""`, "d={}", "e=null"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// Guards that an error of the caller's function ends the walk and comes back as it is.
func TestWalkStopsAtError(t *testing.T) {
	stop := errors.New("stop")
	n := 0
	f := func(int, []byte) error { n++; return stop }
	if err := Elements([]byte(`[1,2]`), f); !errors.Is(err, stop) || n != 1 {
		t.Errorf("err %v after %d calls", err, n)
	}
	if err := Members([]byte(`[1]`), nil); !errors.Is(err, ErrSyntax) {
		t.Errorf("Members of an array: %v", err)
	}
}

// Guards compacting, which _bulk needs (one line per document), against touching strings.
func TestCompact(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := string(Compact(nil, []byte(in))); got != want {
			t.Errorf("Compact(%q) = %q, want %q", in, got, want)
		}
	}
	f("{ \"a\" :\n 1 , \"b c\" : \" \\n \\\" \" }", `{"a":1,"b c":" \n \" "}`)
	f(" 1.0 ", "1.0")
}

// Guards Valid against the standard library's verdict, from which only encoding and depth may part it.
func FuzzValid(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,{"b":"c"}],"d":null}`, `[[],{},"\\\""]`, `{"a":`, `[1,]`, `{"a":1,}`, `{,}`, `[}`, `{]`, `01`, `-`, `-0.0e+1`, `1.`, `1e`, `.1`, `+1`, `tru`, `truex`, `"\u00e"`,
		`"\x"`, "\"\t\"", "\"\x7f\"", "\xa0 1", "[1 2]", `{"a" "b"}`, `{1:2}`, " 1 ", "nul", `"\ud800"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Count(b, []byte{'{'})+bytes.Count(b, []byte{'['}) > MaxDepth {
			return
		}
		if got, want := Valid(b), utf8.Valid(b) && json.Valid(b); got != want {
			t.Errorf("Valid(%q) = %v, want %v", b, got, want)
		}
	})
}

func FuzzWalk(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":"c"}],"d":null}`, `[[],{},"\\\""]`, `{"a":`, `{`, `"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var rebuilt []byte
		err := Members(b, func(k string, v []byte) error {
			rebuilt = append(append(append(rebuilt, AppendString(nil, k)...), ':'), v...)
			rebuilt = append(rebuilt, ',')
			return nil
		})
		if !Valid(b) {
			return // neither panics nor hangs: that is all that is promised
		}
		if Kind(b) == '{' {
			if err != nil {
				t.Fatalf("Members(%q): %v", b, err)
			}
			obj := append(append([]byte{'{'}, bytes.TrimSuffix(rebuilt, []byte{','})...), '}')
			var x, y any
			if e1, e2 := json.Unmarshal(b, &x), json.Unmarshal(obj, &y); (e1 == nil) != (e2 == nil) {
				t.Fatalf("%q came back as %q: %v, %v", b, obj, e1, e2)
			}
		}
		compact := Compact(nil, b)
		var want bytes.Buffer
		if err := json.Compact(&want, b); err != nil || !bytes.Equal(compact, want.Bytes()) {
			t.Fatalf("Compact(%q) = %q, want %q (%v)", b, compact, want.Bytes(), err)
		}
	})
}

// Guards taking eight bytes at a time against one by one: every byte at every place, alone and before each other one.
func TestSkipPlain(t *testing.T) {
	one := func(b []byte, i int) int {
		for i < len(b) && plain[b[i]] {
			i++
		}
		return i
	}
	for _, filler := range []byte{'x', 0x7f, 0x80, 0xff, ' ', '!', '#', '[', ']', 0x21, 0xa2, 0xdc} {
		for c := range 256 {
			for at := range 17 {
				b := bytes.Repeat([]byte{filler}, 19)
				b[at] = byte(c)
				b[at+1] ^= byte(c)
				for from := range 3 {
					if got, want := skipPlain(b, from), one(b, from); got != want {
						t.Fatalf("%q from %d: %d, want %d", b, from, got, want)
					}
				}
			}
		}
	}
}

// Guards the one pass against the three that it stands for: the same verdict, and of a valid text the same values and members.
func FuzzObjects(f *testing.F) {
	for _, s := range []string{
		`[{"a":[1,{"b":"c"}],"d":null}, 7 ,{}]`, ` {"\u0061":1} `, `[]`, ` [ ] `, `[{}`, `[{},]`, `[{}]]`, `{}{}`, `"x"`, `[[{"a":1}]]`, `[{"a":1}x`, "[\"\xff\"]", "", "[", "[,]", "{\"a\":1} x",
		strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1),
		"[" + strings.Repeat(`{"a":`, MaxDepth-1) + "1" + strings.Repeat("}", MaxDepth-1) + "]", "[" + strings.Repeat(`{"a":`, MaxDepth) + "1" + strings.Repeat("}", MaxDepth) + "]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got, want []string
		before, deep := string(b), false
		err := Objects(b, func(name, value []byte) { got = append(got, string(name)+"="+string(value)) }, func(i int, value []byte, tooDeep bool) error {
			if deep = deep || tooDeep; tooDeep == Valid(value) {
				t.Errorf("%q: too deep is %t of %q", b, tooDeep, value)
			}
			got = append(got, fmt.Sprintf("%d %s", i, value))
			return nil
		})
		if string(b) != before {
			t.Fatalf("%q was changed", before)
		}
		if end := validDeep(b, skipSpace(b, 0)); (err == nil) != (utf8.Valid(b) && end >= 0 && skipSpace(b, end) == len(b)) || (err != nil && !errors.Is(err, ErrSyntax)) {
			t.Fatalf("%q: %v, but by the slow path it ends at %d", b, err, end)
		}
		if err != nil || deep {
			return
		}
		each := func(i int, value []byte) error {
			if Kind(value) == '{' {
				if err := Members(value, func(k string, v []byte) error { want = append(want, k+"="+string(v)); return nil }); err != nil {
					t.Fatal(err)
				}
			}
			want = append(want, fmt.Sprintf("%d %s", i, value))
			return nil
		}
		if Kind(b) == '[' {
			err = Elements(b, each)
		} else {
			err = each(0, Trim(b))
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q\ngot  %q\nwant %q, %v", b, got, want, err)
		}
	})
}

// Guards good values against one among them that is nested too deep: it alone is told so, in an array as alone, with the members that came before.
func TestObjectsTooDeep(t *testing.T) {
	nested := func(n int) string {
		return `{"a":1,"b":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `,"c":2}`
	}
	for _, text := range []string{"[" + nested(MaxDepth) + "," + nested(MaxDepth+1) + "," + nested(2) + "]", nested(MaxDepth + 1)} {
		var got []string
		err := Objects([]byte(text), func(name, _ []byte) { got = append(got, string(name)) }, func(i int, _ []byte, tooDeep bool) error {
			got = append(got, fmt.Sprint(i, tooDeep))
			return nil
		})
		want := []string{"a", "0 true"}
		if text[0] == '[' {
			want = []string{"a", "b", "c", "0 false", "a", "1 true", "a", "b", "c", "2 false"}
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%.20s: %v, %v; want %v", text, got, err, want)
		}
	}
	if err := Objects([]byte("["+nested(MaxDepth+1)+",x]"), nil, func(int, []byte, bool) error { return nil }); !errors.Is(err, ErrSyntax) {
		t.Errorf("what follows a deep value: %v", err)
	}
}

// Guards that an error of the caller's function ends the walk and comes back as it is.
func TestObjectsStopAtError(t *testing.T) {
	stop := errors.New("stop")
	n := 0
	if err := Objects([]byte(`[1,{"a":2},3]`), func(_, _ []byte) { t.Error("a member of what was not asked for") }, func(int, []byte, bool) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
		t.Errorf("err %v after %d calls", err, n)
	}
}
