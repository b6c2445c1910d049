package mask

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/shared/contract"
	"millrace/shared/rawjson"
)

const odcs = `apiVersion: v3.1.0
kind: DataContract
id: person
name: Person
version: 1.0.0
status: active
customProperties:
  - {property: eventType, value: Person}
  - property: enrichmentSteps
    value:
      - {name: home, lookup: {table: zones, column: id, key: /where/zip, fields: {town: Town, country: Country, planet: Planet}, onMissing: fail}}
schema:
  - name: payload
    logicalType: object
    properties:
      - {name: email, logicalType: string, classification: personal}
      - {name: nick, logicalType: string, classification: Confidential}
      - {name: typo, logicalType: string, classification: publc}
      - {name: n, logicalType: integer, classification: restricted}
      - {name: born, logicalType: date, classification: sensitive}
      - {name: flag, logicalType: boolean, classification: personal}
      - {name: any, classification: personal}
      - {name: seen, logicalType: string, classification: Public}
      - {name: inner, logicalType: string, classification: internal}
      - {name: plain, logicalType: number}
      - {name: free, logicalType: object}
      - {name: secret, logicalType: object, classification: personal, properties: [{name: x, logicalType: string, classification: public}]}
      - {name: blob, logicalType: object, classification: personal}
      - name: where
        logicalType: object
        properties: [{name: zip, logicalType: string, classification: personal}, {name: hue, logicalType: string}]
      - {name: tags, logicalType: array, classification: personal, items: {logicalType: string}}
      - {name: mails, logicalType: array, items: {logicalType: string, classification: personal}}
      - {name: things, logicalType: array, classification: personal}
      - {name: ages, logicalType: array, items: {logicalType: integer, classification: personal}}
      - {name: open, logicalType: array, items: {logicalType: string}}
      - name: people
        logicalType: array
        items: {logicalType: object, properties: [{name: email, logicalType: string, classification: personal}, {name: role, logicalType: string}]}
  - name: enrichment
    logicalType: object
    properties: [{name: town, logicalType: string}, {name: country, logicalType: string, classification: public}, {name: planet, logicalType: string, classification: personal}]
`

func key(t testing.TB) *Key {
	t.Helper()
	k, err := NewKey([]byte("a key for tests, and for nothing else"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func model(t testing.TB, sources ...string) contract.Model {
	t.Helper()
	var list []*contract.Contract
	for i, s := range sources {
		c, err := contract.Parse(fmt.Sprint(i), []byte(s))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	set, err := contract.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	m, err := set.Model(list[0].EventType, list[0].Model)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Guards every kind of field, the value that belongs there as one that does not: what is classified leaves no byte, what is not stays as it was spelled, and what has no
// name in the contract is gone with its name.
func TestPayload(t *testing.T) {
	k := key(t)
	m := Of(model(t, odcs))
	f := func(in, want string) {
		t.Helper()
		for strings.Contains(want, "{{") { // {{text}} is the text's pseudonym
			from, to := strings.Index(want, "{{"), strings.Index(want, "}}")
			want = want[:from] + `"` + string(k.Append(nil, want[from+2:to])) + `"` + want[to+2:]
		}
		if got := string(m.Event(k).Payload([]byte("> "), []byte(in))); got != "> "+want {
			t.Errorf("%s\ngot  %s\nwant > %s", in, got, want)
		}
	}
	f(`{"email":"a@b","nick":"n","typo":"t"}`, `{"email":{{a@b}},"nick":{{n}},"typo":{{t}}}`)
	f(`{"email":"\u0061\u0040b", "em\u0061il" : "a@b"}`, `{"email":{{a@b}},"email":{{a@b}}}`) // however it is spelled, as often as it is there
	f(`{"email":"ü\n\ud83d\ude00"}`, `{"email":{{`+"ü\n😀"+`}}}`)
	f(`{"email":""}`, `{"email":{{}}}`)
	f(`{"email":null,"n":null,"tags":null}`, `{"email":null,"n":null,"tags":null}`)
	f(`{"email":17,"nick":true,"typo":{"email":"a@b"}}`, `{"email":null,"nick":null,"typo":null}`)
	f(`{"email":["a@b",["c"]]}`, `{"email":null}`)
	f(`{"n":17,"born":"2000-01-01","flag":true}`, `{"n":null,"born":null,"flag":null}`)
	f(`{"n":"17","born":17,"flag":"yes"}`, `{"n":null,"born":null,"flag":null}`)
	f(`{"any":"a"}`, `{"any":{{a}}}`)
	f(`{"any":{"a":"b"}}`, `{"any":null}`)
	f(`{ "seen" : "a\u0062", "inner":"i", "plain":1.50 , "free":{"Email": "a"} }`, `{"seen":"a\u0062","inner":"i","plain":1.50,"free":{"Email":"a"}}`)
	f(`{"Email":"a@b","emial":"a@b","a@b":1,"plain":1}`, `{"plain":1}`)
	f(`{"secret":{"x":"a"},"blob":{"x":"a"}}`, `{"secret":null,"blob":null}`)
	f(`{"where":{"zip":"1","hue":"h","more":"1"}}`, `{"where":{"zip":{{1}},"hue":"h"}}`)
	f(`{"where":"1"}`, `{"where":null}`)
	f(`{"where":[{"zip":"1"}]}`, `{"where":null}`)
	f(`{"tags":["a",1,null,["b"],{"c":"d"}],"mails":["a", "a"],"things":["a",1]}`, `{"tags":[{{a}},null,null,null,null],"mails":[{{a}},{{a}}],"things":[{{a}},null]}`)
	f(`{"tags":"a","mails":{"a":"b"}}`, `{"tags":null,"mails":null}`)
	f(`{"ages":[1,2],"open":["a", 1]}`, `{"ages":null,"open":["a",1]}`)
	f(`{"people":[{"email":"a","role":"r","x":"a"},"a",{}]}`, `{"people":[{"email":{{a}},"role":"r"},null,{}]}`)
	f(`{}`, `{}`)
	f(` [{"email":"a"}]`, `null`)
	f(`"a@b"`, `null`)
	huge := strings.Repeat("x", 1<<20)
	f(`{"email":"`+huge+`","n":`+strings.Repeat("9", 1<<16)+`}`, `{"email":{{`+huge+`}},"n":null}`)
}

// Guards what steps add: a field that says nothing is as personal as the key that found it, one that says public is shown.
func TestEnrichment(t *testing.T) {
	k := key(t)
	got := string(Of(model(t, odcs)).Event(k).Enrichment(nil, []byte(`{"town":"Ulm","country":"DE","planet":"Earth","x":1}`)))
	want := fmt.Sprintf(`{"town":"%s","country":"DE","planet":"%s"}`, k.Append(nil, "Ulm"), k.Append(nil, "Earth"))
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Guards attributes: one that is masked in the event is its pseudonym, a number as it was spelled too, a text where an object or array should be as well, and nothing else is changed. Without
// a key they are empty.
func TestAttribute(t *testing.T) {
	k := key(t)
	e := Of(model(t, odcs)).Event(k)
	e.Payload(nil, []byte(`{"email":"a\u0040b","n":17.0,"flag":true,"blob":{"x":["deep"]},"nick":{"y":"wrong"},"seen":"s","where":"flat","people":"single"}`))
	keyless := Of(model(t, odcs)).Event(nil)
	if got := string(keyless.Payload(nil, []byte(`{"email":"a@b","n":17.0,"blob":{"x":["deep"]},"nick":["wrong"],"where":"flat","people":["single"]}`))); got != `{"email":null,"n":null,"blob":null,"nick":null,"where":null,"people":[null]}` {
		t.Errorf("without a key: %s", got)
	}
	for _, text := range []string{"a@b", "17.0", "deep", "wrong", "flat", "single"} {
		if got := e.Attribute(text); got != string(k.Append(nil, text)) {
			t.Errorf("%s stays %s", text, got)
		}
		if got := keyless.Attribute(text); got != "" {
			t.Errorf("%s is %s without a key", text, got)
		}
	}
	for _, text := range []string{"s", "17", "true", "x", ""} {
		if got := e.Attribute(text); got != text {
			t.Errorf("%s became %s", text, got)
		}
	}
	var none *Event
	if none.Attribute("a@b") != "a@b" || string(none.Payload(nil, []byte(`{ "a":1}`))) != `{"a":1}` {
		t.Error("no mask masks")
	}
}

// Guards types without personal data against any cost, and older producers' personal data against a version that was the first to say so.
func TestOf(t *testing.T) {
	plain := strings.NewReplacer("classification: personal", "classification: public", "Confidential", "public", "publc", "public", "restricted", "public", "sensitive", "public").Replace(odcs)
	if m := Of(model(t, plain)); m != nil {
		t.Errorf("masks %+v", m)
	}
	newer := strings.Replace(odcs, "version: 1.0.0", "version: 1.0.1", 1)
	for _, order := range [][]string{{plain, newer}, {newer, plain}} {
		m := Of(model(t, order...))
		if m == nil {
			t.Fatal("masks nothing")
		}
		if got := string(m.Event(key(t)).Payload(nil, []byte(`{"n":1,"where":{"zip":"1"},"people":[{"email":"a"}],"ages":[1],"plain":2}`))); strings.ContainsAny(strings.ReplaceAll(got, "p_", ""), "@") ||
			!strings.Contains(got, `"n":null`) || !strings.Contains(got, `"zip":"p_`) || !strings.Contains(got, `[{"email":"p_`) || !strings.Contains(got, `"ages":null`) || !strings.Contains(got, `"plain":2`) {
			t.Errorf("%s", got)
		}
	}
}

// Guards counting and joining: a pseudonym is one text's, under one key, and has a fixed form.
func TestPseudonym(t *testing.T) {
	a, b := key(t), key(t)
	one := string(a.Append([]byte("x"), "jane"))
	if one != "x"+string(b.Append(nil, "jane")) || len(one) != 1+2+32 || strings.Trim(one[3:], "0123456789abcdef") != "" || one[1:3] != "p_" {
		t.Errorf("%s", one)
	}
	if string(a.Append(nil, "Jane")) == one[1:] {
		t.Error("two texts, one pseudonym")
	}
	other, err := NewKey([]byte("another key for tests, and for nothing else"))
	if err != nil {
		t.Fatal(err)
	}
	if string(other.Append(nil, "jane")) == one[1:] {
		t.Error("two keys, one pseudonym")
	}
	// Written once and for all: what is in search and lake was made by this.
	if got := string(a.Append(nil, "jane")); got != "p_3e387ca0485f8834d666f7cbb49b6c2b" {
		t.Errorf("the pseudonym of jane is now %s", got)
	}
}

// Guards against keys that are short, in each form that a key may have, and against showing one.
func TestKeys(t *testing.T) {
	for text, ok := range map[string]bool{
		"": false, " \n": false, "0123456789abcde": false, "0123456789abcdef": false, "0123456789abcdef0123456789abcdef\n": true,
		"AAAAAAAAAAAAAAAAAAAA": false, "AAAAAAAAAAAAAAAAAAAAAA==": true, "fifteen letters": false, "sixteen letters!": true, "\xff0123456789abcde": true,
	} {
		k, err := NewKey([]byte(text))
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
		if text = strings.TrimSpace(text); err != nil && text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("the key is in %v", err)
		}
		s := Settings{Text: Secret(text)}
		if shown, _ := json.Marshal(s); text != "" && strings.Contains(fmt.Sprintf("%v %+v %#v %s %q %x %s", k, k, k, s, s.Text, s.Text, shown), text) {
			t.Errorf("the key %q is shown", text)
		}
		if err := s.Validate(); (err == nil) != (ok || text == "") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := (Settings{File: "f", Text: "0123456789abcdef0123456789abcdef"}).Validate(); err == nil {
		t.Error("file and text pass")
	}
}

// Guards a key in a file: it may come later, change and go away, and what is wrong with it is said without it.
func TestKeyring(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	ring := Settings{File: file}.Open()
	want := func(text string) {
		t.Helper()
		k, err := ring.Key()
		if text == "" {
			if err == nil || !strings.Contains(err.Error(), ErrNoKey.Error()) || strings.Contains(err.Error(), "hush") {
				t.Errorf("key %v, error %v", k, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		other, err := NewKey([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(k.Append(nil, "a"), other.Append(nil, "a")) {
			t.Errorf("not the key %s", text)
		}
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want("")
	write("the first key of all, hush")
	want("the first key of all, hush")
	first, _ := ring.Key()
	if again, _ := ring.Key(); again != first {
		t.Error("a new key of the same file")
	}
	write("the second key, hush, hush")
	want("the second key, hush, hush")
	write("hush")
	want("")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	want("")
}

// Guards against any payload: the output is one valid value, and of a marked text no piece is in it, wherever the payload has it, but in fields that are shown.
func FuzzPayload(f *testing.F) {
	const mark = "q\u1234é&Q"
	quoted := string(rawjson.AppendString(nil, mark))
	escaped := `"q\u1234\u00e9\u0026Q"`
	for _, s := range []string{
		`{"email":@}`, `{"email":@,"email":@}`, `{"n":@,"born":@,"flag":@,"any":[@]}`, `{"any":{"a":@}}`, `{@:1}`, `{"Email":@}`, `{"tags":[@,[@],{@:@}],"mails":@}`,
		`{"where":{"zip":@,"x":@,@:@}}`, `{"where":@}`, `{"people":[{"email":@,"email":@},@,[@]]}`, `{"secret":{"x":@},"blob":@}`, `[@]`, `@`, ` { "em\u0061il" : @ } `, `{"things":[[[@]]]}`,
	} {
		f.Add(strings.ReplaceAll(s, "@", quoted))
		f.Add(strings.ReplaceAll(s, "@", escaped))
	}
	m, k := Of(model(f, odcs)), key(f)
	shown := []string{"seen", "inner", "plain", "free", "hue", "open", "role"}
	f.Fuzz(func(t *testing.T, s string) {
		in := []byte(s)
		if !rawjson.Valid(in) {
			return
		}
		for _, name := range shown { // where the mark may stand
			if strings.Contains(s, name) || strings.Contains(s, `\`) && !strings.Contains(s, escaped) && !strings.Contains(s, `em\u0061il`) {
				return
			}
		}
		out := m.Event(k).Payload(nil, in)
		if !rawjson.Valid(out) {
			t.Fatalf("%s became %s", in, out)
		}
		for _, piece := range []string{"q\u1234", "é", "1234\\u", "00e9"} {
			if bytes.Contains(out, []byte(piece)) {
				t.Fatalf("%s became %s", in, out)
			}
		}
		// What is masked is masked: again, every string is another, and nothing else changes.
		again := m.Event(k).Payload(nil, out)
		if strings.Count(string(again), `"p_`) != strings.Count(string(out), `"p_`) {
			t.Fatalf("%s became %s, then %s", in, out, again)
		}
	})
}

// BenchmarkPayload is what masking adds to a page view.
func BenchmarkPayload(b *testing.B) {
	set, err := contract.Embedded()
	if err != nil {
		b.Fatal(err)
	}
	view, err := set.Model("PageView", 0)
	if err != nil {
		b.Fatal(err)
	}
	m, k := Of(view), key(b)
	payload := []byte(`{"host":"jane.example.com","method":"GET","url":"/shuttle/countdown/","status":200,"bytes":3985,"referrer":null,"user_agent":"Mozilla/5.0 (X11; Linux x86_64)","visited_at":"2026-11-21T12:04:20Z"}`)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = m.Event(k).Payload(out[:0], payload)
	}
	b.SetBytes(int64(len(payload)))
}
