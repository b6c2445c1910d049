package event

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	ce "github.com/cloudevents/sdk-go/v2/event"
)

// Guards people's data: why a header is no CloudEvent goes into a dead letter's message, which is indexed and shown, and must quote no value.
func TestErrorsQuoteNoValues(t *testing.T) {
	good := http.Header{
		"Ce-Specversion": {"1.0"}, "Ce-Id": {"SECRET-1"}, "Ce-Source": {"/SECRET-2"}, "Ce-Type": {"T"}, "Ce-Note": {"SECRET-3"},
		"Content-Type": {"application/json"},
	}
	if _, err := DecodeHTTP(good, []byte("SECRET")); err != nil {
		t.Fatal(err)
	}
	f := func(name, value, want string) {
		t.Helper()
		h := maps.Clone(good)
		h[name] = []string{value}
		if value == "" {
			delete(h, name)
		}
		_, err := DecodeHTTP(h, []byte("SECRET"))
		if err == nil || strings.Contains(err.Error(), "SECRET") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q: %v, want %s", name, value, err, want)
		}
	}
	f("Ce-Time", "SECRET-4111", "ce-time")
	f("Ce-Source", "::SECRET%zz", "ce-source")
	f("Ce-Source", "", "ce-source")
	f("Ce-Id", "", "ce-id")
	f("Ce-Type", "", "ce-type")
	f("Ce-Specversion", "SECRET", "ce-specversion")
	f("Ce-Specversion", "", "neither")
	f("Ce-Dataschema", "SECRET", "ce-dataschema")
	f("Content-Type", "SECRET/;;;", "content-type")
	f("Content-Type", "application/cloudevents-SECRET", "content type")
	f("Ce-No_te", "SECRET", "extensions")
	twice := maps.Clone(good)
	twice["Ce-Note"] = []string{"SECRET", "SECRET"}
	if _, err := DecodeHTTP(twice, nil); err == nil || err.Error() != "the header ce-note stands 2 times" {
		t.Errorf("twice: %v", err)
	}
}

// Guards what a dead letter tells of a request that is no CloudEvent: all that can be read and is nobody's own, within a bound, and never in place of its own.
func TestAddFromHeader(t *testing.T) {
	e := ce.New()
	e.SetID("own")
	e.SetSource("/own")
	e.SetType(TypeUnparsed)
	e.SetExtension(CollectorID, "own")
	AddFromHeader(&e, http.Header{
		"Ce-Id": {"x"}, "Ce-Source": {"/x"}, "Ce-Type": {"T"}, "Ce-Time": {"2023-01-01T00:00:00Z"}, "Ce-Subject": {"Z%C3%BCrich"},
		"Ce-Schemaversion": {"0-0-1"}, "Ce-Traceparent": {"a%20b"}, "Ce-Twice": {"a", "b"}, "Ce-Rootid": {"x"}, "Ce-Collectorid": {"x"}, "Ce-Failurecode": {"x"},
		"Ce-Knativekafkaoffset": {"1"}, "Ce-Control": {"a%00b"}, "Ce-Under_score": {"x"}, "Authorization": {"x"}, "Ce-Datacontenttype": {"x"}, "Ce-Data": {"x"},
	}, 1000)
	want := ce.New()
	want.SetID("own")
	want.SetSource("/own")
	want.SetType("T")
	want.SetExtension(CollectorID, "own")
	want.SetSubject("Zürich")
	want.SetTime(e.Time())
	want.SetExtension(SchemaVersion, "0-0-1")
	want.SetExtension("traceparent", "a b")
	if e.String() != want.String() || Attr(&e, "time") != "2023-01-01T00:00:00Z" {
		t.Errorf("got %s\nwant %s", e, want)
	}

	bad := ce.New()
	bad.SetType(TypeUnparsed)
	AddFromHeader(&bad, http.Header{
		"Ce-Type": {"1 2"}, "Ce-Time": {"noon"}, "Ce-Schemaversion": {"latest"}, "Ce-Aa": {strings.Repeat("x", 900)}, "Ce-Bb": {strings.Repeat("x", 200)},
	}, 1000)
	if bad.Type() != TypeUnparsed || !bad.Time().IsZero() || len(Attr(&bad, "aa")) != 900 || len(bad.Extensions()) != 1 {
		t.Errorf("got %s", bad)
	}
}
