package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"millrace/shared/event"
	"millrace/shared/search"
	"millrace/shared/search/searchtest"
)

// Guards against types that Elasticsearch guessed: an index that was made without its template takes no document, makes no dead letter and is named, until it is made anew. Its events wait for a time
// of their own, so that the intake sets them aside and they hold up no others.
func TestGuessedIndexWaits(t *testing.T) {
	s := start(t)
	s.loader.interval = 10 * time.Second
	s.fake.MakeIndex(tripIndex, map[string]string{"root_id": "text"})
	for range 10 { // twice as often as an event may fail
		o := s.want(t, "retry done", trip(t, "1", tripPayload), dead(t, "2", tripPayload))
		var wrong *search.IndexError
		if !errors.As(o[0].Err, &wrong) || wrong.Index != tripIndex || !strings.Contains(wrong.Reason, "field root_id is text there and keyword in the contract") {
			t.Fatalf("the error names neither index nor field: %v", o[0].Err)
		}
		if o[0].After != 10*time.Second || o[0].Away {
			t.Fatalf("it waits with all others: %+v", o[0])
		}
	}
	s.letters(t, "")
	s.fake.DropIndex(tripIndex)
	s.want(t, "done", trip(t, "1", tripPayload))
	if got := s.fake.Dynamic(tripIndex); got != "false" {
		t.Errorf("the index made anew has dynamic %q", got)
	}
}

// Guards recovery alone where nothing was guessed otherwise yet: an index without its template is given the mapping before its first document.
func TestGuessingIndexIsGivenItsMapping(t *testing.T) {
	s := start(t)
	s.fake.MakeIndex(tripIndex, map[string]string{"root_id": "keyword"})
	s.want(t, "done done", trip(t, "1", tripPayload), trip(t, "2", `{"VendorID":"x"}`))
	s.letters(t, "search_rejected") // by the contract's type
	if got := s.fake.Dynamic(tripIndex); got != "false" {
		t.Errorf("dynamic %q", got)
	}
}

// Guards documents against an index that was deleted and guessed anew behind a look at it: what such an index refuses is no fault of theirs, and is asked before they are given up. One with types
// that somebody gave by hand refuses for good.
func TestRefusalByGuessedIndexIsNoDeadLetter(t *testing.T) {
	for name, tt := range map[string]struct {
		mapping func(s *setup)
		letters string
	}{
		"guessed": {func(s *setup) { s.fake.MakeIndex(tripIndex, map[string]string{"id": "long"}) }, ""},
		"by hand": {func(s *setup) {
			s.fake.MakeIndex(tripIndex, map[string]string{"id": "long"})
			s.fake.SetDynamic(tripIndex, "false")
		}, "search_rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			s.want(t, "done", trip(t, "1", tripPayload))
			tt.mapping(s)
			s.now = s.now.Add(doubtAfter)
			of := map[string]string{"": "retry", "search_rejected": "done"} // once its dead letter is written
			s.want(t, of[tt.letters]+" done", trip(t, "a", tripPayload), trip(t, "2", tripPayload))
			s.letters(t, tt.letters)
		})
	}
}

// Guards against an index that is deleted while Elasticsearch makes none by itself: it is made anew before the next write, with its mapping.
func TestDeletedIndexIsMadeAnew(t *testing.T) {
	s := start(t)
	s.fake.AutoCreate(false)
	s.want(t, "done", trip(t, "1", tripPayload))
	s.fake.DropIndex(tripIndex)
	s.want(t, "retry", trip(t, "2", tripPayload))
	s.want(t, "done", trip(t, "2", tripPayload))
	if got := s.fake.Dynamic(tripIndex); got != "false" {
		t.Errorf("dynamic %q", got)
	}
}

// Guards all other indexes against one that is closed, blocked or without a shard, or that refuses everything: as long as others take documents, its events wait for a time of their own, so that from Kafka
// any number of them are set aside. Where nothing is taken it may be the cluster, and overload is never one index's.
func TestIndexAtFaultWaitsAlone(t *testing.T) {
	for kind, tt := range map[string]struct {
		status int
		alone  bool
	}{
		"index_closed_exception":          {400, true},
		"cluster_block_exception":         {403, true},
		"unavailable_shards_exception":    {503, true},
		"illegal_argument_exception":      {400, true},
		"es_rejected_execution_exception": {429, false},
	} {
		t.Run(kind, func(t *testing.T) {
			s := start(t)
			s.loader.interval = 10 * time.Second
			s.fake.Set(searchtest.Hooks{Item: func(index, _ string) (int, string, string) {
				if index == tripIndex {
					return tt.status, kind, "reason"
				}
				return 0, "", ""
			}})
			o := s.want(t, "retry done", trip(t, "1", tripPayload), dead(t, "2", tripPayload))
			if alone := o[0].After == 10*time.Second && !o[0].Away; alone != tt.alone {
				t.Errorf("beside another index: %+v", o[0])
			}
			if o := s.want(t, "retry", trip(t, "1", tripPayload)); o[0].After != 0 {
				t.Errorf("with nothing else to tell by: %+v", o[0])
			}
			s.fake.Set(searchtest.Hooks{})
			s.want(t, "done", trip(t, "1", tripPayload))
		})
	}
}

// Guards the count of attempts: what other indexes take proves nothing against a document of one that refuses all; what the same index takes does.
func TestUnknownRefusalCountsByIndex(t *testing.T) {
	s := start(t)
	all := func(index, _ string) (int, string, string) {
		if index == tripIndex {
			return 400, "illegal_argument_exception", "pipeline with id [x] does not exist"
		}
		return 0, "", ""
	}
	s.fake.Set(searchtest.Hooks{Item: all})
	for range 10 {
		s.want(t, "retry done", trip(t, "1", tripPayload), dead(t, "2", tripPayload))
	}
	s.letters(t, "")
	s.fake.Set(failItem(event.Identity("/taxi", "1"), 400, "illegal_argument_exception"))
	for range 4 {
		s.want(t, "failed done", trip(t, "1", tripPayload), trip(t, "2", tripPayload))
	}
	s.want(t, "done done", trip(t, "1", tripPayload), trip(t, "2", tripPayload))
	s.letters(t, "attempts_exhausted")
}

// Guards against a clock that jumps: the index's day is the event's, whatever the clock says, and one that went back makes the index be looked at again rather than never.
func TestClockJumps(t *testing.T) {
	s := start(t)
	for i, jump := range []time.Duration{0, 400 * 24 * time.Hour, -800 * 24 * time.Hour} {
		s.now = s.now.Add(jump)
		s.want(t, "done", trip(t, string(rune('a'+i)), tripPayload))
	}
	for key := range s.fake.Docs() {
		if !strings.HasPrefix(key, tripIndex+"/") {
			t.Errorf("a document in %s", key)
		}
	}
	s.fake.MakeIndex(tripIndex, map[string]string{"root_id": "text"})
	s.now = s.now.Add(-time.Hour)
	s.want(t, "retry", trip(t, "z", tripPayload))
}
