// Package ledger compares what producers were told with what the stores hold: every event that a receipt called durable must be in each place where it has to be, and nothing may be
// there that nobody sent.
//
// It reads durable state only, whole, by root id: records of topics, documents of indexes, rows of the Parquet objects that the landing log names. An event is lost where a receipt
// said accepted or dead_lettered, or events.raw holds it, and it is missing anywhere further on; that is more than "no store has it".
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
	// Foreign is how many records of events.raw are no events; Skipped how many offsets the landing log passed over.
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

	codes        map[string]int // distinct dead letters by "stage code"
	deadDistinct int            // documents that differ in root id or stage
	foreign      map[string]int // records that are no events, by topic
}

// Take reads all stores and compares. An error means that a store could not be read.
func Take(ctx context.Context, stores *pipeline.Stores, items []load.Item) (*Account, error) {
	h, err := read(ctx, stores)
	if err != nil {
		return nil, err
	}
	return h.compare(items), nil
}

func read(ctx context.Context, stores *pipeline.Stores) (*holdings, error) {
	h := &holdings{codes: map[string]int{}, foreign: map[string]int{}}
	n := stores.Names
	failed := map[string]bool{} // "root stage code"
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
			code := event.Attr(e, event.FailureStage) + " " + event.Attr(e, event.FailureCode)
			if failure := id + " " + code; !failed[failure] {
				failed[failure] = true
				h.codes[code]++
			}
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
	distinct := map[string]bool{}
	for _, d := range documents {
		h.deadIndex[d.RootID]++
		distinct[d.RootID+" "+d.Failure.Stage] = true
	}
	h.deadDistinct = len(distinct)
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

// What topics are called in what is told.
const (
	raw      = "events.raw"
	enriched = "events.enriched"
	dead     = "events.dead"
)

func (h *holdings) compare(items []load.Item) *Account {
	a := &Account{
		Sent: len(items), Codes: h.codes, Raw: count(h.raw), Enriched: count(h.enriched), Dead: count(h.dead), Search: count(h.search), DeadIndex: count(h.deadIndex),
		LakeRaw: count(h.lakeRaw), LakeEnriched: count(h.lakeEnriched), LakeDead: count(h.lakeDead),
	}
	a.DeadIndex.Duplicates = a.DeadIndex.Rows - h.deadDistinct // a root id may fail in two stages
	for _, n := range h.foreign {
		a.Foreign += n
	}
	a.differ(raw, h.raw, h.lakeRaw, h.foreign[raw])
	a.differ(enriched, h.enriched, h.lakeEnriched, h.foreign[enriched])
	a.differ(dead, h.dead, h.lakeDead, h.foreign[dead])
	if n := a.Search.Duplicates; n > 0 {
		a.wrong("%d documents more than root ids are in search", n)
	}
	if n := a.DeadIndex.Duplicates; n > 0 {
		a.wrong("%d documents more than root ids and stages are in the dead index", n)
	}
	known := map[string]bool{}
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
	}
	return a
}

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
	if h.enriched[id] > 0 {
		must(h.lakeEnriched, "the lake's enriched")
	}
	if h.dead[id] > 0 {
		deadLetter() // of enrich, or of what search did not take
	} else {
		must(h.search, "search")
	}
	return gone
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
