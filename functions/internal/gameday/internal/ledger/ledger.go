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
	"millrace/functions/internal/system"
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

// count sums up rows by root id.
func count(ids map[string]int) Count {
	c := Count{Distinct: len(ids)}
	for _, n := range ids {
		c.Rows += n
	}
	c.Duplicates = c.Rows - c.Distinct
	return c
}

// Take reads all stores and compares. An error means that a store could not be read.
func Take(ctx context.Context, stores *system.Stores, items []load.Item) (*Account, error) {
	a := &Account{Sent: len(items), Codes: map[string]int{}}
	names := stores.Names

	topics := map[string]map[string]int{}
	foreign := map[string]int{} // records that are no events
	failed := map[string]bool{} // "root stage code"
	for _, topic := range []string{names.Raw, names.Enriched, names.Dead} {
		events, others, err := stores.Records(ctx, topic)
		if err != nil {
			return nil, err
		}
		ids := map[string]int{}
		for _, e := range events {
			id := event.Attr(e, event.RootID)
			ids[id]++
			if topic == names.Dead {
				code := event.Attr(e, event.FailureStage) + " " + event.Attr(e, event.FailureCode)
				if failure := id + " " + code; !failed[failure] {
					failed[failure] = true
					a.Codes[code]++
				}
			}
		}
		topics[topic] = ids
		foreign[topic] = others
		a.Foreign += others
	}
	raw, enriched, dead := topics[names.Raw], topics[names.Enriched], topics[names.Dead]
	a.Raw, a.Enriched, a.Dead = count(raw), count(enriched), count(dead)

	documents, err := stores.Documents(ctx, "enriched-*")
	if err != nil {
		return nil, err
	}
	search := map[string]int{}
	for _, d := range documents {
		search[d.RootID]++
	}
	a.Search = count(search)
	if documents, err = stores.Documents(ctx, "dead-*"); err != nil {
		return nil, err
	}
	deadIndex, twice := map[string]int{}, map[string]int{}
	for _, d := range documents {
		deadIndex[d.RootID]++
		twice[d.RootID+" "+d.Failure.Stage]++
	}
	a.DeadIndex = Count{Rows: len(documents), Distinct: len(deadIndex), Duplicates: len(documents) - len(twice)}

	lake := map[string]map[string]int{}
	for _, topic := range []string{names.Raw, names.Enriched, names.Dead} {
		landed, err := stores.Landed(ctx, topic, true)
		if err != nil {
			return nil, err
		}
		lake[topic] = landed.RootIDs
		want := topics[topic]
		ids := maps.Clone(landed.RootIDs)
		delete(ids, "") // records that are no events
		a.differ(topic, want, ids)
		if n := landed.RootIDs[""]; n != foreign[topic] {
			a.Wrong = append(a.Wrong, fmt.Sprintf("%d rows of %s in the lake have no root id, where %d records are no events", n, topic, foreign[topic]))
		}
		lake[topic] = ids
	}
	a.LakeRaw, a.LakeEnriched, a.LakeDead = count(lake[names.Raw]), count(lake[names.Enriched]), count(lake[names.Dead])
	if a.Search.Duplicates > 0 {
		a.Wrong = append(a.Wrong, fmt.Sprintf("%d documents more than root ids are in search", a.Search.Duplicates))
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
		var gone []string
		missing := func(ids map[string]int, where string) {
			if ids[it.RootID] == 0 {
				gone = append(gone, where)
			}
		}
		deadAt := func() {
			missing(dead, "events.dead")
			missing(deadIndex, "the dead index")
			missing(lake[names.Dead], "the lake's dead")
		}
		id := it.RootID
		switch {
		case it.Final == load.DeadLettered:
			deadAt()
		case it.Final == load.Accepted || raw[id] > 0:
			missing(raw, "events.raw")
			missing(lake[names.Raw], "the lake's raw")
			switch {
			case enriched[id] > 0 && (search[id] > 0 || dead[id] == 0):
				missing(search, "search")
				missing(lake[names.Enriched], "the lake's enriched")
				if dead[id] > 0 {
					deadAt()
				}
			case enriched[id] > 0: // search did not take it
				missing(lake[names.Enriched], "the lake's enriched")
				deadAt()
			case dead[id] > 0:
				deadAt()
			default:
				gone = append(gone, "events.enriched and events.dead")
			}
		}
		if len(gone) > 0 {
			stored := raw[id]+enriched[id]+dead[id]+search[id]+deadIndex[id]+lake[names.Raw][id]+lake[names.Enriched][id]+lake[names.Dead][id] > 0
			a.Lost = append(a.Lost, Missing{RootID: id, Where: "not in " + strings.Join(gone, ", "), Stored: stored})
		}
	}
	for _, one := range []struct {
		ids   map[string]int
		where string
	}{{raw, "events.raw"}, {enriched, "events.enriched"}, {search, "search"}} {
		for _, id := range slices.Sorted(maps.Keys(one.ids)) {
			if !known[id] {
				a.Wrong = append(a.Wrong, fmt.Sprintf("nobody sent %s, which is in %s", id, one.where))
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(dead)) {
		if !known[id] {
			a.Unknown = append(a.Unknown, id)
		}
	}
	return a, nil
}

// differ notes where the lake does not hold each record of a topic exactly once.
func (a *Account) differ(topic string, want, got map[string]int) {
	var ids []string
	for id, n := range want {
		if got[id] != n {
			ids = append(ids, fmt.Sprintf("%s %d times, not %d", id, got[id], n))
		}
	}
	for id, n := range got {
		if want[id] == 0 {
			ids = append(ids, fmt.Sprintf("%s %d times, not 0", id, n))
		}
	}
	slices.Sort(ids)
	if len(ids) > 0 {
		a.Wrong = append(a.Wrong, fmt.Sprintf("the lake's rows of %s are not its records: %d root ids differ, such as %s", topic, len(ids), strings.Join(ids[:min(len(ids), 5)], "; ")))
	}
}
