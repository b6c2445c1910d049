// Package ledger compares what producers were told with what the stores hold: every event that a receipt called durable must be in each place where it has to be, and nothing may be
// there that nobody sent.
//
// It reads durable state only, whole, by root id: records of topics, documents of indexes, rows of the Parquet objects that the landing log names. An event is lost where a receipt
// said accepted or dead_lettered, or events.raw holds it, and it is missing anywhere further on; that is more than "no store has it".
//
// A comparison that finds nothing proves itself: one thing of each store is taken out of what was read, one after the other, and each time it must be found missing.
package ledger

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"millrace/functions/internal/gameday/internal/load"
	"millrace/functions/internal/pipeline"
	"millrace/shared/event"
)

// Count is what one store holds.
type Count struct {
	Rows       int // records, documents or rows
	Distinct   int // root ids
	Duplicates int // rows beyond the first of an identity
}

// String returns the rows, and how many of them are there again.
func (c Count) String() string {
	if c.Duplicates == 0 {
		return strconv.Itoa(c.Rows)
	}
	return fmt.Sprintf("%d (%d of them again)", c.Rows, c.Duplicates)
}

// Missing is an event that is not where it must be.
type Missing struct {
	RootID string
	Where  string // the places, in words
	Stored bool   // some store has it
}

// Account is the whole comparison.
type Account struct {
	Sent    int
	Final   [load.Statuses]int // events by their final receipt; NoAnswer: none
	Answers [load.Statuses]int // all answers, resends included

	Raw, Enriched, Dead             Count // topics
	Search, DeadIndex               Count
	LakeRaw, LakeEnriched, LakeDead Count
	// Foreign is how many records of topics are no events.
	Foreign int

	// Codes counts distinct dead letters by "stage code".
	Codes map[string]int
	// Unknown are root ids that nobody was told of: of dead letters without an identity, whose answer was lost.
	Unknown []string

	Lost  []Missing
	Wrong []string // anything else that must not be
}

// Clean says that nothing is lost and nothing else is wrong.
func (a *Account) Clean() bool { return len(a.Lost) == 0 && len(a.Wrong) == 0 }

// count sums up rows by root id, but for those that have none.
func count(ids map[string]int) Count {
	var c Count
	for id, n := range ids {
		if id != "" {
			c.Rows += n
			c.Distinct++
		}
	}
	c.Duplicates = c.Rows - c.Distinct
	return c
}

// holdings are what the stores hold, by root id.
type holdings struct {
	raw, enriched, dead             map[string]int // records
	search, deadIndex               map[string]int // documents
	lakeRaw, lakeEnriched, lakeDead map[string]int // rows; "" are records that are no events

	failures map[string]map[failure]bool // of events.dead, by root id
	shown    map[string]map[string]bool  // stages of the dead index, by root id
	foreign  map[string]int              // records that are no events, by topic
}

// failure is why a dead letter is one.
type failure struct{ stage, code string }

// Source is read for an account. [pipeline.Stores] is one.
type Source interface {
	// Records returns the topic's events, and how many of its records are none.
	Records(ctx context.Context, topic string) ([]*event.Event, int, error)
	// Documents returns the documents of the indexes whose names match the pattern.
	Documents(ctx context.Context, pattern string) ([]pipeline.Document, error)
	// Landed returns what the topic's landing log and, with read, its objects hold.
	Landed(ctx context.Context, topic string, read bool) (pipeline.Landed, error)
}

// Take reads all stores of a pipeline with those names, and compares. An error means that a store could not be read.
func Take(ctx context.Context, stores Source, names pipeline.Names, items []load.Item) (*Account, error) {
	h, err := read(ctx, stores, names)
	if err != nil {
		return nil, err
	}
	a := h.compare(items)
	if a.Clean() {
		a.Wrong = h.blind(items, h.compare)
	}
	return a, nil
}

func read(ctx context.Context, stores Source, n pipeline.Names) (*holdings, error) {
	h := &holdings{failures: map[string]map[failure]bool{}, shown: map[string]map[string]bool{}, foreign: map[string]int{}}
	for _, one := range []struct {
		topic string
		into  *map[string]int
		what  string
	}{{n.Raw, &h.raw, raw}, {n.Enriched, &h.enriched, enriched}, {n.Dead, &h.dead, dead}} {
		events, foreign, err := stores.Records(ctx, one.topic)
		if err != nil {
			return nil, err
		}
		*one.into = map[string]int{}
		h.foreign[one.what] = foreign
		for _, e := range events {
			id := event.Attr(e, event.RootID)
			(*one.into)[id]++
			if one.topic != n.Dead {
				continue
			}
			add(h.failures, id, failure{event.Attr(e, event.FailureStage), event.Attr(e, event.FailureCode)})
		}
	}
	documents, err := stores.Documents(ctx, "enriched-*")
	if err != nil {
		return nil, err
	}
	h.search = map[string]int{}
	for _, d := range documents {
		h.search[d.RootID]++
	}
	if documents, err = stores.Documents(ctx, "dead-*"); err != nil {
		return nil, err
	}
	h.deadIndex = map[string]int{}
	for _, d := range documents {
		h.deadIndex[d.RootID]++
		add(h.shown, d.RootID, d.Failure.Stage)
	}
	for _, one := range []struct {
		topic string
		into  *map[string]int
	}{{n.Raw, &h.lakeRaw}, {n.Enriched, &h.lakeEnriched}, {n.Dead, &h.lakeDead}} {
		landed, err := stores.Landed(ctx, one.topic, true)
		if err != nil {
			return nil, err
		}
		*one.into = landed.RootIDs
	}
	return h, nil
}

func add[T comparable](to map[string]map[T]bool, id string, one T) {
	if to[id] == nil {
		to[id] = map[T]bool{}
	}
	to[id][one] = true
}

// What topics are called in what is told.
const (
	raw      = "events.raw"
	enriched = "events.enriched"
	dead     = "events.dead"
)

func (h *holdings) compare(items []load.Item) *Account {
	a := &Account{
		Sent: len(items), Codes: map[string]int{}, Raw: count(h.raw), Enriched: count(h.enriched), Dead: count(h.dead), Search: count(h.search), DeadIndex: count(h.deadIndex),
		LakeRaw: count(h.lakeRaw), LakeEnriched: count(h.lakeEnriched), LakeDead: count(h.lakeDead),
	}
	for _, failures := range h.failures {
		for f := range failures {
			a.Codes[f.stage+" "+f.code]++
		}
	}
	a.DeadIndex.Duplicates = a.DeadIndex.Rows
	for _, stages := range h.shown {
		a.DeadIndex.Duplicates -= len(stages) // a root id may fail in two
	}
	for _, n := range h.foreign {
		a.Foreign += n
	}
	a.differ(raw, h.raw, h.lakeRaw, h.foreign[raw])
	a.differ(enriched, h.enriched, h.lakeEnriched, h.foreign[enriched])
	a.differ(dead, h.dead, h.lakeDead, h.foreign[dead])
	if n := a.Search.Duplicates; n > 0 {
		a.wrong("%d documents more than root ids are in search", n)
	}
	if n := a.DeadIndex.Duplicates; n != 0 {
		a.wrong("%d documents more than root ids and stages are in the dead index", n)
	}
	known, lost := map[string]bool{}, map[string]bool{}
	for i := range items {
		it := &items[i]
		a.Final[it.Final]++
		for s, n := range it.Answers {
			a.Answers[s] += n
		}
		known[it.RootID] = true
		for _, id := range it.Others {
			known[id] = true
		}
		if gone := h.missing(it); len(gone) > 0 {
			lost[it.RootID] = true
			a.Lost = append(a.Lost, Missing{RootID: it.RootID, Where: "not in " + strings.Join(gone, ", "), Stored: h.stored(it.RootID)})
		}
	}
	for _, one := range []struct {
		ids   map[string]int
		where string
	}{{h.raw, raw}, {h.enriched, enriched}, {h.search, "search"}} {
		for _, id := range slices.Sorted(maps.Keys(one.ids)) {
			if !known[id] {
				a.wrong("nobody sent %s, which is in %s", id, one.where)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(h.dead)) {
		if !known[id] {
			a.Unknown = append(a.Unknown, id)
		}
		// Whoever they are of: a dead letter that nobody can find is lost.
		for _, stage := range slices.Sorted(maps.Keys(h.stages(id))) {
			if id != "" && !lost[id] && !h.shown[id][stage] {
				a.Lost = append(a.Lost, Missing{RootID: id, Where: "not in the dead index, of " + stage, Stored: true})
			}
		}
	}
	return a
}

// stages are those in which an event failed.
func (h *holdings) stages(id string) map[string]bool {
	stages := map[string]bool{}
	for f := range h.failures[id] {
		stages[f.stage] = true
	}
	return stages
}

// refused says that search was not to take an event: load-search has made a dead letter of it, and not because another event has its identity already.
func (h *holdings) refused(id string) bool {
	for f := range h.failures[id] {
		if f.stage == loadSearch && f.code != string(event.CodeIdentityConflict) {
			return true
		}
	}
	return false
}

const loadSearch = "load-search"

// missing returns where an event is not, though it must be there.
func (h *holdings) missing(it *load.Item) (gone []string) {
	id := it.RootID
	must := func(ids map[string]int, where string) {
		if ids[id] == 0 {
			gone = append(gone, where)
		}
	}
	deadLetter := func() {
		must(h.dead, dead)
		must(h.deadIndex, "the dead index")
		must(h.lakeDead, "the lake's dead")
	}
	if it.Final == load.DeadLettered {
		deadLetter()
		return gone
	}
	if it.Final != load.Accepted && h.raw[id] == 0 {
		return nil // nobody promised anything, and nothing is there
	}
	must(h.raw, raw)
	must(h.lakeRaw, "the lake's raw")
	if h.enriched[id] == 0 && h.dead[id] == 0 {
		return append(gone, enriched+" and "+dead)
	}
	if h.dead[id] > 0 {
		deadLetter() // of enrich, or of what search did not take
	}
	if h.enriched[id] > 0 {
		must(h.lakeEnriched, "the lake's enriched")
		if !h.refused(id) {
			must(h.search, "search")
		}
	}
	return gone
}

// blind takes one thing of each store out of what was read, and says where a comparison of it would not find that missing.
func (h *holdings) blind(items []load.Item, compare func([]load.Item) *Account) (errs []string) {
	plain := "" // an event that everything has to hold
	for i := range items {
		if id := items[i].RootID; items[i].Final == load.Accepted && h.search[id] > 0 && !h.refused(id) {
			plain = id
			break
		}
	}
	refused := "" // a dead letter
	for i := range items {
		if id := items[i].RootID; items[i].Final != load.NoAnswer && h.deadIndex[id] > 0 {
			refused = id
			break
		}
	}
	for _, one := range []struct {
		ids   map[string]int
		id    string
		store string
	}{
		{h.raw, plain, raw},
		{h.enriched, plain, enriched},
		{h.dead, refused, dead},
		{h.search, plain, "search"},
		{h.deadIndex, refused, "the dead index"},
		{h.lakeRaw, plain, "the lake's raw"},
		{h.lakeEnriched, plain, "the lake's enriched"},
		{h.lakeDead, refused, "the lake's dead"},
	} {
		n := one.ids[one.id]
		if n == 0 {
			errs = append(errs, fmt.Sprintf("the account proves nothing: there is no event to miss in %s", one.store))
			continue
		}
		one.ids[one.id]--
		if compare(items).Clean() {
			errs = append(errs, fmt.Sprintf("the account is blind: %s once less in %s was not missed", one.id, one.store))
		}
		one.ids[one.id] = n
	}
	return errs
}

// stored says that some store has the event.
func (h *holdings) stored(id string) bool {
	n := 0
	for _, ids := range []map[string]int{h.raw, h.enriched, h.dead, h.search, h.deadIndex, h.lakeRaw, h.lakeEnriched, h.lakeDead} {
		n += ids[id]
	}
	return n > 0
}

func (a *Account) wrong(format string, args ...any) {
	a.Wrong = append(a.Wrong, fmt.Sprintf(format, args...))
}

// differ notes where the lake does not hold each record of a topic exactly once.
func (a *Account) differ(topic string, want, got map[string]int, foreign int) {
	var ids []string
	for id, n := range want {
		if got[id] != n {
			ids = append(ids, fmt.Sprintf("%s %d times, not %d", id, got[id], n))
		}
	}
	for id, n := range got {
		if id != "" && want[id] == 0 {
			ids = append(ids, fmt.Sprintf("%s %d times, not 0", id, n))
		}
	}
	slices.Sort(ids)
	if len(ids) > 0 {
		a.wrong("the lake's rows of %s are not its records: %d root ids differ, such as %s", topic, len(ids), strings.Join(ids[:min(len(ids), 5)], "; "))
	}
	if n := got[""]; n != foreign {
		a.wrong("%d rows of %s in the lake have no root id, where %d records are no events", n, topic, foreign)
	}
}
