package enrichment

import (
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"millrace/shared/contract"
	"millrace/shared/event"
)

func embedded(t *testing.T) *Rules {
	t.Helper()
	set, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := Reference()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := Bind(set, tables)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func page(t *testing.T, payload string) *event.Event {
	t.Helper()
	e := ce.New()
	e.SetID("1")
	e.SetSource("/test")
	e.SetType("PageView")
	e.DataEncoded = []byte(payload)
	if err := event.Derive(&e, time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	return &e
}

// Guards replay, which shows where events break their contract: the violations come with the failure, each with its pointer, as the message says them.
func TestFailureHasItsViolations(t *testing.T) {
	_, _, f := embedded(t).Enrich(page(t, `{"host":1}`))
	if f == nil || f.Code != event.CodeContractViolation || len(f.Violations) == 0 {
		t.Fatalf("failure %+v", f)
	}
	var texts []string
	for _, v := range f.Violations {
		texts = append(texts, v.Pointer+" "+v.Message)
	}
	if got := strings.Join(texts, "; "); got != f.Error() {
		t.Errorf("violations %q, message %q", got, f)
	}
	if _, _, f := embedded(t).Enrich(page(t, "no JSON")); f == nil || f.Code != event.CodeNotJSON || f.Violations != nil {
		t.Errorf("failure %+v", f)
	}
}

// Guards the promise of no side effects: an event that was looked at can still be written as it came.
func TestEnrichLeavesTheEventAlone(t *testing.T) {
	e := page(t, ` {"host":"example.com","method":"GET","url":"/","status":200,"visited_at":"2026-11-21T12:04:20Z"}`)
	before := e.Clone()
	out, _, f := embedded(t).Enrich(e)
	if f != nil {
		t.Fatal(f)
	}
	if !reflect.DeepEqual(e.Extensions(), before.Extensions()) || string(e.Data()) != string(before.Data()) || event.Attr(out, event.Stage) != event.StageEnriched {
		t.Errorf("before %s\nafter %s", before, e)
	}
	out.DataEncoded[len(`{"payload":`)] = 'x'
	if string(e.Data()) != string(before.Data()) {
		t.Error("the enriched event's data is the event's own")
	}
}

// Guards reference data against lines that would be used wrongly without a word.
func TestReadTablesRefuses(t *testing.T) {
	for text, want := range map[string]string{"": "no header", "a,b\n1\n": "wrong number of fields"} {
		if _, err := ReadTables(fstest.MapFS{"d/t.csv": {Data: []byte(text)}}, "d"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	tables, err := Reference()
	if err != nil || len(tables["taxi_zones"].rows) != 265 {
		t.Errorf("%d zones, %v", len(tables["taxi_zones"].rows), err)
	}
}
