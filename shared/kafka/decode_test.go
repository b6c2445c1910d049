package kafka

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/IBM/sarama"

	"millrace/shared/event"
)

// sameAsSDK compares our reading of a record with the SDK's.
func sameAsSDK(t *testing.T, m *sarama.ConsumerMessage) {
	t.Helper()
	got, ok, gotErr := decodeBinary(m)
	if !ok {
		return
	}
	if gotErr == nil && !plain(got) {
		gotErr = got.Validate()
	}
	want, wantErr := decodeOther(m)
	if wantErr == nil {
		wantErr = want.Validate()
	}
	if (gotErr == nil) != (wantErr == nil) {
		t.Fatalf("our error %v, the SDK's %v, of %s", gotErr, wantErr, headersOf(m))
	}
	if gotErr != nil {
		return
	}
	for _, name := range []string{"kafkaoffset", "kafkapartition", "kafkatopic"} {
		want.SetExtension(name, nil) // which the SDK adds
	}
	if !reflect.DeepEqual(got.Context.AsV1(), want.Context.AsV1()) {
		t.Fatalf("got\n%s\nthe SDK\n%s\nof %s", got, want, headersOf(m))
	}
}

func headersOf(m *sarama.ConsumerMessage) string {
	var b strings.Builder
	for _, h := range m.Headers {
		fmt.Fprintf(&b, "%q=%q ", h.Key, h.Value)
	}
	return b.String()
}

func foreign(pairs ...string) *sarama.ConsumerMessage {
	m := &sarama.ConsumerMessage{Topic: "t"}
	for i := 0; i+1 < len(pairs); i += 2 {
		m.Headers = append(m.Headers, &sarama.RecordHeader{Key: []byte(pairs[i]), Value: []byte(pairs[i+1])})
	}
	return m
}

// Guards our reading of records against differing from the SDK's: attributes of every kind, good and bad, in any case, encoded and raw.
func TestDecodeIsTheSDKs(t *testing.T) {
	base := []string{"ce_specversion", "1.0", "ce_id", "1", "ce_source", "/s", "ce_type", "T"}
	sameAsSDK(t, foreign(base...))
	for _, more := range [][]string{
		{"content-type", "application/json"},
		{"Content-Type", " text/plain; charset=utf-8 "},
		{"content-type", ""},
		{"content-type", "no type"},
		{"ce_datacontenttype", "text/csv"},
		{"ce_time", "2026-11-21T10:00:00.5+01:00"},
		{"ce_time", "yesterday"},
		{"ce_time", ""},
		{"ce_time", "0001-01-01T00:00:00Z"},
		{"ce_subject", "a%20b%C3%BC"},
		{"ce_subject", " "},
		{"ce_subject", "raw ü"},
		{"ce_dataschema", "urn:a:b"},
		{"ce_dataschema", "no/scheme"},
		{"ce_dataschema", "%zz"},
		{"ce_dataschema", ""},
		{"ce_rootid", "x"},
		{"CE_RootID", "x"},
		{"ce_other", ""},
		{"ce_Other", "1"},
		{"ce_a_b", "1"},
		{"ce_", "1"},
		{"ce_ü", "1"},
		{"ce_data", "1"},
		{"other", "1"},
		{"", "1"},
		{"ce_id", ""},
		{"ce_id", " 2 "},
		{"ce_source", ""},
		{"ce_source", "%25zz"},
		{"ce_source", "urn:x:y z"},
		{"ce_type", ""},
		{"ce_type", " "},
		{"ce_knativekafkaoffset", "7"},
		{"ce_partitionkey", "k"},
	} {
		// Replaces an attribute where it is one of the four, since which of two headers counts is nobody's business.
		pairs := append([]string(nil), base...)
		replaced := false
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == more[0] {
				pairs[i+1], replaced = more[1], true
			}
		}
		if !replaced {
			pairs = append(pairs, more...)
		}
		sameAsSDK(t, foreign(pairs...))
		sameAsSDK(t, foreign(append(more, pairs...)[:len(pairs)]...))
	}
}

// Guards what is none of ours to read: an older version, a batch, a structured event, and a record without any of it.
func TestDecodeOther(t *testing.T) {
	for name, c := range map[string]struct {
		m    *sarama.ConsumerMessage
		good bool
	}{
		"0.3":        {foreign("ce_specversion", "0.3", "ce_id", "1", "ce_source", "/s", "ce_type", "T"), true},
		"9.9":        {foreign("ce_specversion", "9.9", "ce_id", "1", "ce_source", "/s", "ce_type", "T"), false},
		"nothing":    {foreign(), false},
		"batch":      {foreign("content-type", "application/cloudevents-batch+json", "ce_specversion", "1.0", "ce_id", "1", "ce_source", "/s", "ce_type", "T"), false},
		"structured": {&sarama.ConsumerMessage{Headers: foreign("content-type", event.MediaStructured).Headers, Value: []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"T"}`)}, true},
		"two ids":    {foreign("ce_specversion", "1.0", "ce_id", "1", "ce_source", "/s"), false},
	} {
		e, err := Decode(c.m)
		if (err == nil) != c.good {
			t.Errorf("%s: %v, %v", name, e, err)
		}
	}
}

// Guards people's data: the reason why a record is no CloudEvent goes into a dead letter's message, which is indexed and shown.
func TestDecodeQuotesNoValues(t *testing.T) {
	for _, c := range [][]string{{"ce_time", "SECRET"}, {"ce_source", "::SECRET%zz"}, {"ce_dataschema", "SECRET"}, {"ce_specversion", "SECRET"}, {"ce_a_b", "SECRET"}} {
		pairs := append([]string{"ce_specversion", "1.0", "ce_id", "SECRET", "ce_type", "T", "ce_source", "/SECRET"}, c...)
		switch c[0] {
		case "ce_specversion":
			pairs = append(c, pairs[2:8]...)
		case "ce_source":
			pairs = append(pairs[:6], c...)
		}
		if e, err := Decode(foreign(pairs...)); err != nil && strings.Contains(err.Error(), "SECRET") || err == nil && c[0] != "ce_a_b" {
			t.Errorf("%s: %v, %v", c[0], e, err)
		}
	}
}

// Fuzzes one header beside the required ones.
func FuzzDecodeHeader(f *testing.F) {
	f.Add("ce_time", "2026-11-21T10:00:00Z")
	f.Add("ce_subject", "%41")
	f.Add("content-type", "a/b")
	f.Fuzz(func(t *testing.T, key, value string) {
		if lower := strings.ToLower(key); lower == "ce_specversion" {
			t.Skip("two versions")
		}
		pairs := []string{"ce_specversion", "1.0", "ce_id", "1", "ce_source", "/s", "ce_type", "T", key, value}
		for i := 0; i < 8; i += 2 {
			if strings.EqualFold(pairs[i], key) {
				pairs[i+1], pairs = value, append(pairs[:8:8], "x", "y")
			}
		}
		m := foreign(pairs...)
		if event.IsEventFormat(strings.TrimSpace(value)) && strings.EqualFold(key, contentTypeName) {
			t.Skip("another mode")
		}
		sameAsSDK(t, m)
	})
}

func BenchmarkDecode(b *testing.B) {
	m := foreign(
		"ce_specversion", "1.0", "ce_id", "12345", "ce_source", "/produce/yellow_tripdata_2023-01.parquet", "ce_type", "YellowTaxiTripRecords", "content-type", "application/json",
		"ce_rootid", "0198f3e2-0000-5000-8000-000000000000", "ce_datahash", strings.Repeat("0123456789abcdef", 4), "ce_schemaversion", "0-0-1", "ce_collectorid", "collect-00001",
		"ce_collectortime", "2026-11-21T10:00:00.123456789Z")
	m.Value = []byte("{}")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(m); err != nil {
			b.Fatal(err)
		}
	}
}
