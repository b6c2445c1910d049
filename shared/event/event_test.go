package event

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func newEvent(t *testing.T) *Event {
	t.Helper()
	e, err := DecodeStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"T","data":{"a":1.0}}`))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Guards identity against its own speed: it is written by hand, and must be what the library makes of any source and id.
func FuzzIdentity(f *testing.F) {
	f.Add("/produce/a.parquet", "42")
	f.Add("", "")
	f.Add(strings.Repeat("long", 100), "\x00\xff")
	f.Fuzz(func(t *testing.T, source, id string) {
		if got, want := Identity(source, id), uuid.NewSHA1(namespace, []byte(source+"\x00"+id)).String(); got != want {
			t.Errorf("Identity(%q, %q) = %s, want %s", source, id, got, want)
		}
	})
}

// Guards identity against change: root ids that were ever written must come out again. The value was computed with Python's uuid.uuid5.
func TestIdentity(t *testing.T) {
	if got, want := Identity("/produce/a.parquet", "42"), "38befcf3-8db2-5c59-a368-3993ac3f152d"; got != want {
		t.Errorf("Identity = %s, want %s", got, want)
	}
	if Identity("a", "bc") == Identity("ab", "c") {
		t.Error("source and id run into each other")
	}
}

// Guards that outer white space alone never makes an identity conflict, and that anything inside does.
func TestHash(t *testing.T) {
	if Hash([]byte(" {\"a\":1}\n")) != Hash([]byte(`{"a":1}`)) {
		t.Error("outer white space changes the hash")
	}
	if Hash([]byte(`{"a":1}`)) == Hash([]byte(`{"a":1.0}`)) {
		t.Error("another spelling has the same hash")
	}
}

// Guards the JSON format against the CloudEvents conformance suite, on which the SDK's reader is wrong in 5 cases.
func TestConformanceSuite(t *testing.T) {
	f, err := os.Open("../../../shared/data/cloudevents/ce_json_cases.ndjson")
	if err != nil {
		t.Skip("../shared/data/cloudevents is not here")
	}
	defer f.Close()
	n := 0
	for sc := bufio.NewScanner(f); sc.Scan(); n++ {
		var c struct {
			ID, Expect, Kind string
			Body             json.RawMessage
		}
		if err := json.Unmarshal(sc.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		events := [][]byte{c.Body}
		if c.Kind == "batch" {
			if events, err = SplitBatch(c.Body, 100); err != nil {
				if c.Expect == "accept" {
					t.Errorf("%s: %v", c.ID, err)
				}
				continue
			}
		}
		var failed error
		for _, body := range events {
			if _, err := DecodeStructured(body); err != nil {
				failed = err
			}
		}
		if (failed == nil) != (c.Expect == "accept") {
			t.Errorf("%s: want %s, got error %v", c.ID, c.Expect, failed)
		}
	}
	if n != 43 {
		t.Errorf("%d cases, want 43", n)
	}
}

// Guards that a payload keeps its bytes in structured mode, and that an attribute survives HTTP headers whatever it holds.
func TestHTTPRoundTrip(t *testing.T) {
	e := newEvent(t)
	e.SetSubject(`Zürich 100% "ok"`)
	e.SetExtension("comexampleother", "日本")
	if got := string(e.Data()); got != `{"a":1.0}` {
		t.Errorf("data %s", got)
	}
	h := http.Header{}
	body, err := EncodeHTTP(e, h)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := h["Ce-Subject"][0], "Z%C3%BCrich%20100%25%20%22ok%22"; got != want {
		t.Errorf("subject header %s, want %s", got, want)
	}
	back, err := DecodeHTTP(h, body)
	if err != nil {
		t.Fatal(err)
	}
	if back.Subject() != e.Subject() || Attr(back, "comexampleother") != "日本" || string(back.Data()) != string(e.Data()) {
		t.Errorf("came back as %v", back)
	}
	h["Ce-Subject"] = []string{"Zürich"}
	if back, err = DecodeHTTP(h, body); err != nil || back.Subject() != "Zürich" {
		t.Errorf("raw UTF-8: %v, %v", back, err)
	}
}

// Guards decoding against values that only look encoded.
func TestDecodeHeader(t *testing.T) {
	for in, want := range map[string]string{"100%": "100%", "%zz": "%zz", "%C3%BC": "ü", "%FF": "%FF", "a%20b": "a b", "": ""} {
		if got := DecodeHeader(in); got != want {
			t.Errorf("DecodeHeader(%q) = %q, want %q", in, got, want)
		}
	}
}

// Guards that a dead letter is the same event plus the failure, that the original is untouched, and that the message is bounded.
func TestDeadLetter(t *testing.T) {
	e := newEvent(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d := DeadLetter(e, Failure{Stage: "enrich", Code: CodeNotJSON, Message: strings.Repeat("ü\n", 2000), Time: at})
	if IsDead(e) || !IsDead(d) {
		t.Error("the failure is on the wrong event")
	}
	if !bytes.Equal(d.Data(), e.Data()) || d.ID() != e.ID() {
		t.Error("the dead letter is another event")
	}
	m := Attr(d, FailureMessage)
	if len(m) > MaxFailureMessage || strings.Contains(m, "\n") || !strings.HasSuffix(m, "...") {
		t.Errorf("message of %d bytes: %.20q", len(m), m)
	}
	if got := Attr(d, FailureTime); got != "2026-01-02T03:04:05Z" {
		t.Errorf("time %s", got)
	}
}

// Guards events that came past collect: they get the same identity, lose positions of brokers, and what a Trigger gave up has a code.
func TestDerive(t *testing.T) {
	e := newEvent(t)
	e.SetExtension("knativekafkaoffset", "12")
	e.SetExtension(KnativeErrorDst, "http://enrich.millrace.svc.cluster.local/")
	e.SetExtension(KnativeErrCode, "503")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for range 2 {
		if err := Derive(e, at); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			RootID: Identity("/s", "1"), DataHash: Hash([]byte(`{"a":1.0}`)), CollectorTime: "2026-01-02T03:04:05Z",
			"knativekafkaoffset": "", FailureCode: string(CodeDeliveryExhausted), FailureStage: "enrich",
		} {
			if got := Attr(e, name); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		at = at.Add(time.Hour)
	}
	dead := DeadLetter(newEvent(t), Failure{Code: CodeNotJSON})
	dead.SetExtension(KnativeErrorDst, "http://load-search.millrace")
	if err := Derive(dead, at); err != nil || Attr(dead, FailureCode) != string(CodeNotJSON) {
		t.Errorf("a dead letter changed its code: %v, %v", Attr(dead, FailureCode), err)
	}
}

// Guards identity against attributes that are there and say nothing: an empty rootid would give every such event the same name in search.
func TestDeriveTakesEmptyForMissing(t *testing.T) {
	e := newEvent(t)
	for _, name := range []string{RootID, DataHash, CollectorTime} {
		e.SetExtension(name, "")
	}
	if err := Derive(e, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if Attr(e, RootID) != Identity("/s", "1") || Attr(e, DataHash) != Hash(e.Data()) || Attr(e, CollectorTime) != "1970-01-01T00:00:00Z" {
		t.Errorf("derived %v", e)
	}
}

// Guards the closed list: every code has a hint, none stands twice.
func TestCodes(t *testing.T) {
	seen := map[Code]bool{}
	for _, c := range Codes() {
		if c.Hint() == "" || seen[c] {
			t.Errorf("%s: hint %q, twice %v", c, c.Hint(), seen[c])
		}
		seen[c] = true
	}
	if Code("no_such").Hint() != "" {
		t.Error("an unknown code has a hint")
	}
}

// Guards the wrapping of enriched data: the payload's bytes come back as they went in.
func TestEnrichedData(t *testing.T) {
	p, n, err := SplitEnriched(EnrichedData([]byte(" {\"b\":1.00, \"a\":2}\n"), []byte(`{"z":null}`)))
	if err != nil || string(p) != `{"b":1.00, "a":2}` || string(n) != `{"z":null}` {
		t.Errorf("%s, %s, %v", p, n, err)
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"payload":1,"jane":2}`, `{"payload":`} {
		if _, _, err := SplitEnriched([]byte(bad)); err == nil || strings.Contains(err.Error(), "jane") { // it becomes a dead letter's message
			t.Errorf("%s was taken, or is quoted: %v", bad, err)
		}
	}
}

func FuzzDecodeStructured(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"T","data":{"a":1.0},"x":1,"time":"2018-04-05T17:31:00Z"}`))
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"T","data_base64":"AAE="}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeStructured(b)
		if err != nil {
			return
		}
		h := http.Header{}
		body, err := EncodeHTTP(e, h)
		if err != nil {
			t.Fatalf("%q was read and cannot be written: %v", b, err)
		}
		if err := Derive(e, time.Unix(0, 0)); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if IsStructured(h.Get("Content-Type")) || IsBatch(h.Get("Content-Type")) {
			return
		}
		back, err := DecodeHTTP(h, body)
		if err != nil {
			return // an attribute that the SDK's header reader is stricter about
		}
		if !bytes.Equal(back.Data(), e.Data()) {
			t.Fatalf("data %q came back as %q", e.Data(), back.Data())
		}
	})
}

// Guards documents and lake rows against taking our attributes for the producer's, or the producer's for ours.
func TestForeignExtensions(t *testing.T) {
	e := newEvent(t)
	for _, name := range []string{
		RootID, DataHash, SchemaVersion, VersionAssumed, CollectorID, CollectorTime, PartitionKey, Stage, FailureStage, FailureSource, FailureID, FailureVersion,
		ReplayID, ReplayCount, KnativeErrorDst, "knativekafkaoffset", "kafkatopic", "traceparent", "comexample", "stages",
	} {
		e.SetExtension(name, "x")
	}
	if got := strings.Join(ForeignExtensions(e), " "); got != "comexample stages traceparent" {
		t.Errorf("got %s", got)
	}
}

// Guards dead letters against attributes that a CloudEvent may not have: whatever a producer sent as its id can stand in a header.
func TestFailureOriginIsAnAttribute(t *testing.T) {
	e := newEvent(t)
	d := DeadLetter(e, Failure{Stage: "s", Code: CodeNotJSON, Source: "/\x00\ufdd0\U0001ffff\xff", ID: strings.Repeat("é", 1000), Version: "0-0-1"})
	if got := Attr(d, FailureSource); got != "/ \ufffd\ufffd\ufffd" {
		t.Errorf("source %q", got)
	}
	if got := Attr(d, FailureID); len(got) > MaxFailureOrigin || !strings.HasSuffix(got, "é...") || Attr(d, FailureVersion) != "0-0-1" {
		t.Errorf("id of %d bytes, version %s", len(got), Attr(d, FailureVersion))
	}
	if n := len(FailureAttributes(d)); n != 7 {
		t.Errorf("%d attributes of the failure, which a replay takes off: %v", n, FailureAttributes(d))
	}
	if names := FailureAttributes(DeadLetter(e, Failure{Stage: "s", Code: CodeNotJSON})); len(names) != 4 {
		t.Errorf("attributes of what is not known: %v", names)
	}
	for _, name := range []string{FailureSource, FailureID, FailureVersion} {
		if !Reserved(name) {
			t.Errorf("%s can come from outside", name)
		}
	}
}
