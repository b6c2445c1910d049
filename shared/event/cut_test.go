package event

import (
	"net/http"
	"testing"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"
)

// Guards whoever cuts what came from outside against texts that grow where they are made UTF-8, whatever the limit is.
func TestCutHoldsItsLimit(t *testing.T) {
	for _, s := range []string{"", "abc", "abcdef", "\xff", "a\xff", "\xffa\xff", "\x00", "\u0080", "üü", "\U0001fffe"} {
		for limit := range 8 {
			if got := Cut(s, limit); len(got) > limit || !utf8.ValidString(got) {
				t.Errorf("%q cut at %d is %q", s, limit, got)
			}
		}
	}
}

// Guards dead letters of requests and records with headers of bytes that are no text: what cannot be an attribute is left out.
func TestAddFromHeaderOfBytes(t *testing.T) {
	for _, value := range []string{"\xff", "a\xff", "\xffa\xff", "%FF", "\u0080"} {
		e := ce.New()
		e.SetType(TypeUnparsed)
		AddFromHeader(&e, http.Header{"Ce-Type": {value}, "Ce-Subject": {value}, "Ce-Time": {value}, "Ce-Other": {value}}, MaxSize)
		if e.Type() != TypeUnparsed || (value != "%FF" && (e.Subject() != "" || Attr(&e, "other") != "")) {
			t.Errorf("%q: %s", value, e)
		}
	}
}
