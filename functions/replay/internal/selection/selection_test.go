package selection

import (
	"strings"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"millrace/shared/event"
)

// Guards the choice: each filter alone, bounds of time that take their beginning and not their end, and no event of the dead topic that is no dead letter.
func TestMatches(t *testing.T) {
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	e := ce.New()
	e.SetType("T")
	for name, value := range map[string]string{event.SchemaVersion: "0-0-1", event.RootID: "r", event.FailureStage: "enrich", event.FailureCode: "not_json"} {
		e.SetExtension(name, value)
	}
	f := func(want bool, s Selection) {
		t.Helper()
		if s.Source == "" {
			s.Source = Dead
		}
		if s.Matches(&e, at) != want {
			t.Errorf("%+v: not %v", s, want)
		}
	}
	f(true, Selection{})
	f(true, Selection{
		Stages: []string{"x", "enrich"}, Codes: []event.Code{event.CodeNotJSON}, Types: []string{"T"}, Versions: []string{"0-0-1"}, RootIDs: []string{"r"},
		From: at, To: at.Add(1),
	})
	f(false, Selection{Stages: []string{"collect"}})
	f(false, Selection{Codes: []event.Code{event.CodeDeliveryExhausted}})
	f(false, Selection{Types: []string{"t"}})
	f(false, Selection{Versions: []string{"0-0-2"}})
	f(false, Selection{RootIDs: []string{"s"}})
	f(false, Selection{From: at.Add(1)})
	f(false, Selection{To: at})
	e.SetExtension(event.FailureCode, nil)
	f(false, Selection{})
	f(true, Selection{Source: Raw})
}

// Guards against a selection that means something else than it says: all that is wrong with it is told, by the flags' names.
func TestValidate(t *testing.T) {
	good := Selection{Source: Dead, Limit: 1, MaxReplays: 1, Reenter: "enrich", Codes: []event.Code{event.CodeNotJSON}, Versions: []string{"0-0-1"}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	err := Selection{Source: Raw, Stages: []string{"x"}, Codes: []event.Code{"y"}, Versions: []string{"1"}, Reenter: "load-search", From: time.Unix(2, 0), To: time.Unix(1, 0)}.Validate()
	for _, want := range []string{"--stage, --code", "--code \"y\"", "--schema-version", "--reenter", "--from", "--limit", "--max-replays"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
}
