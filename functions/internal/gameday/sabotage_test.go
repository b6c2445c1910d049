package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/functions/internal/gameday/internal/ledger"
	"millrace/functions/internal/gameday/internal/load"
	"millrace/functions/internal/pipeline"
	"millrace/shared/event"
)

// stores are a pipeline's, held in memory.
type stores struct {
	records   map[string][]*event.Event
	documents map[string][]pipeline.Document
	landed    map[string]map[string]int
}

var names = pipeline.Names{Raw: "raw", Enriched: "enriched", Dead: "dead"}

func (s *stores) Records(_ context.Context, topic string) ([]*event.Event, int, error) {
	return s.records[topic], 0, nil
}

func (s *stores) Documents(_ context.Context, pattern string) ([]pipeline.Document, error) {
	return s.documents[pattern], nil
}

func (s *stores) Landed(_ context.Context, topic string, read bool) (pipeline.Landed, error) {
	if !read {
		return pipeline.Landed{}, errors.New("a log that is not compared with its objects proves nothing")
	}
	if s.landed[topic] == nil {
		return pipeline.Landed{}, errors.New("the log does not join")
	}
	return pipeline.Landed{RootIDs: s.landed[topic]}, nil
}

func (s *stores) record(topic, id string, failure ...string) {
	e := event.Event{}
	e.SetSpecVersion("1.0")
	e.SetExtension(event.RootID, id)
	if len(failure) > 0 {
		e.SetExtension(event.FailureStage, failure[0])
		e.SetExtension(event.FailureCode, failure[1])
	}
	s.records[topic] = append(s.records[topic], &e)
	if s.landed[topic] == nil {
		s.landed[topic] = map[string]int{}
	}
	s.landed[topic][id]++
}

func (s *stores) document(pattern, id, stage string) {
	d := pipeline.Document{RootID: id}
	d.Failure.Stage = stage
	s.documents[pattern] = append(s.documents[pattern], d)
}

// whole are stores of a pipeline in which everything arrived, and what was answered: every tenth event was refused by enrich, and every tenth by collect.
func whole() (*stores, []load.Item) {
	s := &stores{records: map[string][]*event.Event{}, documents: map[string][]pipeline.Document{}, landed: map[string]map[string]int{}}
	var items []load.Item
	for i := range 100 {
		id, final := fmt.Sprintf("r%02d", i), load.Accepted
		switch i % 10 {
		case 8:
			final = load.DeadLettered
			s.record(names.Dead, id, "collect", "missing_field")
			s.document("dead-*", id, "collect")
		case 9:
			s.record(names.Raw, id)
			s.record(names.Dead, id, "enrich", "contract_violation")
			s.document("dead-*", id, "enrich")
		default:
			s.record(names.Raw, id)
			s.record(names.Enriched, id)
			s.document("enriched-*", id, "")
		}
		items = append(items, load.Item{RootID: id, Final: final})
	}
	return s, items
}

// The whole way from stores to the last line must turn red by one document, one landed row, one entry of the log or one dead letter that is gone: else "0 lost" says nothing.
func TestSabotage(t *testing.T) {
	without := func(events []*event.Event, i int) []*event.Event { return slices.Delete(slices.Clone(events), i, i+1) }
	for what, take := range map[string]func(s *stores){
		"":                                func(*stores) {},
		"a document of search":            func(s *stores) { s.documents["enriched-*"] = s.documents["enriched-*"][1:] },
		"the last document of search":     func(s *stores) { s.documents["enriched-*"] = s.documents["enriched-*"][:79] },
		"a document of collect's":         func(s *stores) { s.documents["dead-*"] = s.documents["dead-*"][1:] },
		"a document of enrich's":          func(s *stores) { s.documents["dead-*"] = s.documents["dead-*"][:19] },
		"all documents":                   func(s *stores) { s.documents = nil },
		"a landed row of events.raw":      func(s *stores) { delete(s.landed[names.Raw], "r09") },
		"a landed row of events.enriched": func(s *stores) { delete(s.landed[names.Enriched], "r00") },
		"a landed row of events.dead":     func(s *stores) { delete(s.landed[names.Dead], "r98") },
		"an entry of a landing log":       func(s *stores) { delete(s.landed, names.Enriched) },
		"a dead letter of collect's":      func(s *stores) { s.records[names.Dead] = without(s.records[names.Dead], 0) },
		"a dead letter of enrich's":       func(s *stores) { s.records[names.Dead] = without(s.records[names.Dead], 1) },
		"a record of events.raw":          func(s *stores) { s.records[names.Raw] = without(s.records[names.Raw], 5) },
		"a record of events.enriched":     func(s *stores) { s.records[names.Enriched] = without(s.records[names.Enriched], 5) },
		"a record of a topic and its row": func(s *stores) {
			s.records[names.Raw] = without(s.records[names.Raw], 0)
			delete(s.landed[names.Raw], "r00")
		},
		"an event, from every store it is in": func(s *stores) {
			s.records[names.Raw] = without(s.records[names.Raw], 0)
			s.records[names.Enriched] = without(s.records[names.Enriched], 0)
			delete(s.landed[names.Raw], "r00")
			delete(s.landed[names.Enriched], "r00")
			s.documents["enriched-*"] = s.documents["enriched-*"][1:]
		},
		"everything": func(s *stores) {
			s.records, s.documents, s.landed = nil, nil, map[string]map[string]int{names.Raw: {}, names.Enriched: {}, names.Dead: {}}
		},
	} {
		s, items := whole()
		take(s)
		o := &outcome{row: &row{name: "a fault"}}
		o.Account, o.err = ledger.Take(t.Context(), s, names, items)
		line, err := verdict([]*outcome{o}, time.Minute)
		table := report([]*outcome{o}, circumstances{})
		red := strings.HasPrefix(line, "DID NOT HOLD") && err != nil && strings.Contains(table, "**DID NOT HOLD") && (strings.Contains(table, ", did not hold**") || strings.Contains(table, "**not played**"))
		if red != (what != "") {
			t.Errorf("without %q: %s, %v\n%s", what, line, err, table)
		}
	}
	// Nor may a run without one event, or without one row, pass.
	o := &outcome{row: &row{name: "a fault"}}
	s, _ := whole()
	s.records, s.documents, s.landed = nil, nil, map[string]map[string]int{names.Raw: {}, names.Enriched: {}, names.Dead: {}}
	if o.Account, o.err = ledger.Take(t.Context(), s, names, nil); o.ok() {
		t.Error("a row without events held")
	}
	if line, err := verdict(nil, 0); err == nil {
		t.Errorf("no row at all: %s", line)
	}
}
