package document

import (
	"bytes"
	"encoding/json"
	"testing"

	"millrace/shared/event"
	"millrace/shared/rawjson"
)

// Guards people against any payload, as an enriched event and as a dead letter: in a page view of which no public field is there, nothing of the producer's is but for its names.
func FuzzPersonal(f *testing.F) {
	n, known := shippedModels(f)
	for _, s := range []string{
		viewPayload, `{"host":"jane"}`, `{"host":"j\u0061ne","user_agent":{"jane":["jane"]}}`, `{"host":["jane",{"jane":1}],"host":17,"jane":"jane"}`, `["jane"]`, `"jane"`, `17.5e3`, `{"host":"jane`, "\xffjane", ``,
		`{"ho\u0073t":"jane","HOST":"jane"}`, `{"payload":{"host":"jane"},"enrichment":{"jane":"jane"}}`,
	} {
		f.Add([]byte(s))
	}
	allowed := map[string]bool{"host": true, "user_agent": true}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, public := range []string{"method", "url", "status", "bytes", "referrer", "visited_at", `\u`} {
			if bytes.Contains(data, []byte(public)) {
				return
			}
		}
		check := func(shown []byte) {
			t.Helper()
			if len(shown) == 0 || string(shown) == "null" {
				return
			}
			var members map[string]*string
			if err := json.Unmarshal(shown, &members); err != nil {
				t.Fatalf("%q shows %s", data, shown)
			}
			for name, value := range members {
				if !allowed[name] || value != nil && (len(*value) != 34 || (*value)[:2] != "p_") {
					t.Fatalf("%q shows %s", data, shown)
				}
			}
		}
		var source struct {
			Payload json.RawMessage `json:"payload"`
		}
		if rawjson.Valid(data) {
			e := view(t, string(event.EnrichedData(data, []byte(`{"jane":"jane"}`))), event.Stage, event.StageEnriched)
			d, err := New(n, known, testKey, e)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(d.Source, &source); err != nil {
				t.Fatalf("%s: %v", d.Source, err)
			}
			check(source.Payload)
		}
		d, err := New(n, known, testKey, view(t, string(data), event.FailureStage, "enrich", event.FailureCode, "contract_violation"))
		if err != nil {
			t.Fatal(err)
		}
		var dead struct {
			Payload string `json:"payload"`
		}
		if err := json.Unmarshal(d.Source, &dead); err != nil {
			t.Fatalf("%s: %v", d.Source, err)
		}
		if len(dead.Payload) < maxDeadPayload-4 { // what is cut is no JSON
			check([]byte(dead.Payload))
		}
	})
}
