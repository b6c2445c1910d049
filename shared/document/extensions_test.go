package document

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"millrace/shared/event"
)

// Guards what a producer sends beside its payload: the partition key, an assumed version and its own extensions are in the document, ours and Knative's are not
// among them, in an order that a redelivery repeats.
func TestExtensionsInDocuments(t *testing.T) {
	of := documents(t)
	more := []string{
		"traceparent", "00-\"1\"", "comexample", "7", event.PartitionKey, "car 7", event.VersionAssumed, "true",
		event.ReplayID, "r", "knativeerrordata", "x", "knativekafkaoffset", "9",
	}
	want := `"version_assumed":true,"partition_key":"car 7","extensions":{"comexample":"7","traceparent":"00-\"1\""},"`
	for range 5 {
		for _, e := range []*event.Event{trip(t, "1", tripPayload, more...), letter(t, "1", "x", more...)} {
			if d := of(e); !strings.Contains(string(d.Source), want) {
				t.Errorf("no %s in %s", want, d.Source)
			}
		}
	}
	if d := of(trip(t, "1", tripPayload)); strings.Contains(string(d.Source), "extensions") || strings.Contains(string(d.Source), "partition_key") || strings.Contains(string(d.Source), "assumed") {
		t.Errorf("an event without them: %s", d.Source)
	}
}

// Guards the field by which a trace finds its events, in both kinds of documents, beside the extension; one that is no trace is not in it.
func TestTraceIDInDocuments(t *testing.T) {
	of := documents(t)
	const id = "0af7651916cd43dd8448eb211c80319c"
	for parent, want := range map[string]bool{"00-" + id + "-b7ad6b7169203331-00": true, "00-" + id: false, "00-00000000000000000000000000000000-b7ad6b7169203331-01": false} {
		for _, e := range []*event.Event{trip(t, "1", tripPayload, "traceparent", parent), letter(t, "1", "x", "traceparent", parent)} {
			d := of(e)
			if strings.Contains(string(d.Source), `,"trace_id":"`+id+`",`) != want || strings.Contains(string(d.Source), `"trace_id"`) != want {
				t.Errorf("traceparent %s: %s", parent, d.Source)
			}
			if !strings.Contains(string(d.Source), `"extensions":{"traceparent":"`+parent+`"}`) {
				t.Errorf("no extension in %s", d.Source)
			}
		}
	}
}

// Guards the size of documents and the index's one field for extensions against producers that did not come by collect: what is too much is left out, and said.
func TestExtensionsAreBounded(t *testing.T) {
	of := documents(t)
	for name, tt := range map[string]struct {
		extensions []string
		kept       string
		left       bool
	}{
		"one too long":  {[]string{"a", strings.Repeat("x", maxExtensions), "b", "1"}, "b", true},
		"just as long":  {[]string{"a", strings.Repeat("x", maxExtensions-1)}, "a", false},
		"all too long":  {[]string{"a", strings.Repeat("x", maxExtensions)}, "", true},
		"not UTF-8":     {[]string{"a", "%FF"}, "a", false},
		"capitals, dot": {[]string{"A", "1", "b", "2"}, "a b", false}, // headers are lower case once they are read
	} {
		e := trip(t, "1", tripPayload, tt.extensions...)
		var got struct {
			Extensions map[string]string `json:"extensions"`
			Left       bool              `json:"extensions_truncated"`
		}
		if err := json.Unmarshal(of(e).Source, &got); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, n := range []string{"a", "b"} {
			if _, ok := got.Extensions[n]; ok {
				names = append(names, n)
			}
		}
		if strings.Join(names, " ") != tt.kept || len(got.Extensions) != len(names) || got.Left != tt.left {
			t.Errorf("%s: %d kept, %v, left out: %t", name, len(got.Extensions), names, got.Left)
		}
	}
	e := trip(t, "1", tripPayload)
	for i := range 1000 {
		e.SetExtension(fmt.Sprintf("x%04d", i), strings.Repeat("y", 20))
	}
	if d := of(e); len(d.Source) > 40_000 || !strings.Contains(string(d.Source), `"x0000":`) || !strings.Contains(string(d.Source), `"extensions_truncated":true`) {
		t.Errorf("%d bytes: %s", len(d.Source), d.Source)
	}
}

// Guards people who look for a dead letter by what its producer calls it, or ask which version it was held against.
func TestOriginInDeadDocument(t *testing.T) {
	d := documents(t)(letter(t, "1", "x", event.FailureSource, "/taxi/7", event.FailureID, "Z\u00fcrich", event.FailureVersion, "0-0-1"))
	want := `"origin_source":"/taxi/7","origin_id":"Zürich","assumed_version":"0-0-1"}`
	if !strings.Contains(string(d.Source), want) {
		t.Errorf("no %s in %s", want, d.Source)
	}
}
