package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/rawjson"
)

// FuzzForm guards the JSON form's reader: whatever comes, it neither panics nor loses a byte, every event can become a record and be read again, and an
// accepted payload is JSON that stands in the body.
func FuzzForm(f *testing.F) {
	for _, s := range []string{
		trip, "[" + trip + ",7,{}]", `{"event_type":"T","schema_version":"0-0-1","payload":null,"id":"1","source":"/s","subject":"ü","time":"2023-01-01T00:00:00Z","partition_key":"k","extensions":{"a":1,"B":"x"}}`,
		`{"event_type":"T"`, "", "[]", "\"\xff\"", `{"event_type":"\ud800","schema_version":"0-0-1","payload":1}`,
	} {
		f.Add([]byte(s), "key")
	}
	r := newRig(f, nil)
	f.Fuzz(func(t *testing.T, body []byte, key string) {
		key, err := idempotencyKey(map[string][]string{"Idempotency-Key": {key}})
		if err != nil {
			key = ""
		}
		candidates, err := r.maker.form(body, sender{key: key}, 100, event.FormatTime(testTime))
		if err != nil {
			return // 413
		}
		if len(candidates) == 0 && string(rawjson.Compact(nil, body)) != "[]" {
			t.Fatalf("%q became nothing", body)
		}
		for _, c := range candidates {
			if !bytes.Contains(body, c.event.Data()) {
				t.Errorf("data %q does not stand in %q", c.event.Data(), body)
			}
			if c.code == "" && !json.Valid(c.event.Data()) {
				t.Errorf("accepted %q", c.event.Data())
			}
			if (c.code == "") == event.IsDead(c.event) {
				t.Errorf("code %q, dead letter %v", c.code, event.IsDead(c.event))
			}
			if err := c.event.Validate(); err != nil {
				t.Error(err)
			}
			if got, want := event.Attr(c.event, event.RootID), event.Identity(c.event.Source(), c.event.ID()); got != want || c.rootID != want || c.source != c.event.Source() {
				t.Errorf("root id %s, %s in the receipt, want %s", got, c.rootID, want)
			}
			if _, err := kafka.Encode("events.raw", c.event); err != nil {
				t.Errorf("no record of %q: %v", body, err)
			}
		}
		if b := appendReceipts(nil, candidates, "single", "single"); !json.Valid(b) {
			t.Errorf("receipts %q", b)
		}
	})
}
