// Package draft makes a plan of the records that a selection is about: it takes each event once, with its newest failure, and has it rehearsed.
//
// An event can be among the records several times: its dead letter was written twice, it failed again after a replay, or two payloads carry its identity. The letter of the
// latest replay counts, among those the one of the earliest stage; of two payloads the one that was read first counts, and the other fails, since it would
// replace it.
//
// Memory: about 300 bytes for each event that is chosen, and as much for each dead letter that was replayed before and is not; nothing of their payloads.
package draft

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"millrace/functions/replay/internal/plan"
	"millrace/functions/replay/internal/rehearsal"
	"millrace/functions/replay/internal/selection"
	"millrace/functions/replay/internal/source"
	"millrace/shared/event"
)

const (
	together   = 500  // events about which search is asked at a time
	maxReasons = 1000 // kept apart; further ones are counted as one
	examples   = 3    // root ids shown of each reason
)

type key [16]byte

func keyOf(root string) key {
	sum := sha256.Sum256([]byte(root))
	return key(sum[:16])
}

// Draft is a plan in the making. It is not safe for concurrent use.
type Draft struct {
	selection selection.Selection
	rehearsal *rehearsal.Rehearsal

	entries []plan.Entry // an empty Root: dropped
	live    int
	byRoot  map[key]int32
	later   map[key]int32 // replays of dead letters that are not chosen
	reasons []plan.Reason
	known   map[plan.Reason]int
	waiting []waiting
	summary Summary
}

type waiting struct {
	entry   int
	verdict *rehearsal.Verdict
}

// New returns an empty draft.
func New(s selection.Selection, r *rehearsal.Rehearsal) *Draft {
	return &Draft{selection: s, rehearsal: r, byRoot: map[key]int32{}, later: map[key]int32{}, known: map[plan.Reason]int{}}
}

// Add takes a record. It blocks while search is asked. source.ErrStop says that the selection's limit is reached; other errors are search's.
func (d *Draft) Add(ctx context.Context, r source.Record) error {
	d.summary.Read++
	if r.Event == nil {
		d.summary.NoEvents++
		return nil
	}
	root := event.Attr(r.Event, event.RootID)
	k := keyOf(root)
	if !d.selection.Matches(r.Event, r.Time) {
		if n := event.Replays(r.Event); n > 0 && d.selection.Source == selection.Dead {
			d.later[k] = max(d.later[k], int32(min(n, 1<<30)))
		}
		return nil
	}
	d.summary.Matched++
	hash := plan.HashPrefix(event.Attr(r.Event, event.DataHash))
	at, twice := d.byRoot[k]
	if !twice && d.live >= d.selection.Limit {
		d.summary.More = true
		return source.ErrStop
	}
	v := d.rehearsal.Judge(r.Event)
	entry := plan.Entry{
		Place: r.Place, Root: strings.Clone(root), Hash: strings.Clone(hash), To: v.To, Count: v.Count, Returned: event.Replays(r.Event), Outcome: v.Outcome,
	}
	if d.selection.Source == selection.Raw {
		entry.Returned = 0
	}
	if twice {
		old := &d.entries[at]
		switch {
		case old.Hash != hash:
			entry.Outcome, entry.Reason = plan.Fail, d.reason(plan.Reason{
				Stage: "load-search", Code: event.CodeIdentityConflict, Message: "another payload under the same source and id was chosen before it",
			})
			d.append(entry)
			return nil
		case !newer(r.Event, v, old, d.selection.Source):
			d.summary.Duplicates++
			return nil
		}
		d.summary.Superseded++
		old.Root = ""
		d.live--
	}
	d.byRoot[k] = int32(len(d.entries))
	d.append(entry)
	d.waiting = append(d.waiting, waiting{len(d.entries) - 1, &v})
	if len(d.waiting) >= together {
		return d.ask(ctx)
	}
	return nil
}

func (d *Draft) append(e plan.Entry) {
	d.entries = append(d.entries, e)
	d.live++
}

// newer reports whether the event that was judged now takes the place of the one before.
func newer(e *event.Event, v rehearsal.Verdict, old *plan.Entry, from string) bool {
	if from == selection.Raw {
		return v.Count > old.Count
	}
	if n := event.Replays(e); n != old.Returned {
		return n > old.Returned
	}
	order := []plan.Target{plan.Collect, plan.Raw, plan.Enriched}
	return slices.Index(order, v.To) < slices.Index(order, old.To)
}

// ask completes the verdicts that wait for search.
func (d *Draft) ask(ctx context.Context) error {
	list := make([]*rehearsal.Verdict, len(d.waiting))
	for i, w := range d.waiting {
		list[i] = w.verdict
	}
	if err := d.rehearsal.Shown(ctx, list); err != nil {
		return err
	}
	for _, w := range d.waiting {
		e := &d.entries[w.entry]
		e.Outcome, e.Count, e.Reason = w.verdict.Outcome, w.verdict.Count, d.reason(w.verdict.Reason)
	}
	d.waiting = d.waiting[:0]
	return nil
}

// reason returns the index of a reason, from 1; 0 for none.
func (d *Draft) reason(r plan.Reason) int {
	if r == (plan.Reason{}) {
		return 0
	}
	n, ok := d.known[r]
	if !ok {
		if len(d.reasons) >= maxReasons {
			r = plan.Reason{Stage: r.Stage, Code: r.Code, Message: "(and other reasons)"}
			if n, ok = d.known[r]; ok {
				return n
			}
		}
		d.reasons = append(d.reasons, r)
		n = len(d.reasons)
		d.known[r] = n
	}
	return n
}

// Finish asks search about the rest and returns the entries in the order of their places, the reasons that they refer to, and the summary. The error is
// search's.
func (d *Draft) Finish(ctx context.Context) ([]plan.Entry, []plan.Reason, Summary, error) {
	if err := d.ask(ctx); err != nil {
		return nil, nil, d.summary, err
	}
	kept := d.entries[:0]
	for _, e := range d.entries {
		if e.Root == "" {
			continue
		}
		if int32(min(e.Returned, 1<<30)) < d.later[keyOf(e.Root)] {
			d.summary.Superseded++
			continue
		}
		kept = append(kept, e)
	}
	slices.SortStableFunc(kept, func(a, b plan.Entry) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	d.summary.count(kept, d.reasons)
	return kept, d.reasons, d.summary, nil
}

// Read returns how many records were read so far, and how many events are chosen.
func (d *Draft) Read() (read, chosen int64) { return d.summary.Read, int64(d.live) }

// Summary is what a person, or a machine, is told of a plan.
type Summary struct {
	Read       int64 `json:"read"`       // records
	NoEvents   int64 `json:"no_events"`  // of them, that are no CloudEvents
	Matched    int64 `json:"matched"`    // of them, that the selection chose
	Duplicates int64 `json:"duplicates"` // of those, that tell of an event once more
	Superseded int64 `json:"superseded"` // of those, that a later failure of the event has overtaken
	More       bool  `json:"more"`       // the limit was reached before the end

	Events   int64        `json:"events"` // distinct ones
	Outcomes []OutcomeRow `json:"outcomes"`
	Reasons  []ReasonRow  `json:"reasons"`
}

// OutcomeRow says how many events have an outcome at a target.
type OutcomeRow struct {
	Outcome plan.Outcome `json:"outcome"`
	To      plan.Target  `json:"to,omitempty"`
	Events  int64        `json:"events"`
}

// ReasonRow says how many events have an outcome for a reason, the most frequent first.
type ReasonRow struct {
	Outcome plan.Outcome `json:"outcome"`
	plan.Reason
	Events   int64    `json:"events"`
	Examples []string `json:"examples"` // root ids
}

// Count returns how many events have the outcome.
func (s Summary) Count(o plan.Outcome) (n int64) {
	for _, row := range s.Outcomes {
		if row.Outcome == o {
			n += row.Events
		}
	}
	return n
}

func (s *Summary) count(entries []plan.Entry, reasons []plan.Reason) {
	type cell struct {
		o  plan.Outcome
		to plan.Target
	}
	type why struct {
		o plan.Outcome
		n int
	}
	cells, rows := map[cell]int64{}, map[why]*ReasonRow{}
	for _, e := range entries {
		s.Events++
		cells[cell{e.Outcome, e.To}]++
		if e.Reason == 0 {
			continue
		}
		row := rows[why{e.Outcome, e.Reason}]
		if row == nil {
			row = &ReasonRow{Outcome: e.Outcome, Reason: reasons[e.Reason-1]}
			rows[why{e.Outcome, e.Reason}] = row
		}
		if row.Events++; len(row.Examples) < examples {
			row.Examples = append(row.Examples, e.Root)
		}
	}
	s.Outcomes, s.Reasons = []OutcomeRow{}, []ReasonRow{}
	for c, n := range cells {
		s.Outcomes = append(s.Outcomes, OutcomeRow{c.o, c.to, n})
	}
	rank := func(o plan.Outcome) int { return slices.Index(plan.Outcomes, o) }
	slices.SortFunc(s.Outcomes, func(a, b OutcomeRow) int {
		return cmp.Or(cmp.Compare(rank(a.Outcome), rank(b.Outcome)), cmp.Compare(a.To, b.To))
	})
	for _, row := range rows {
		s.Reasons = append(s.Reasons, *row)
	}
	slices.SortFunc(s.Reasons, func(a, b ReasonRow) int {
		return cmp.Or(cmp.Compare(rank(a.Outcome), rank(b.Outcome)), cmp.Compare(b.Events, a.Events), cmp.Compare(a.Examples[0], b.Examples[0]))
	})
}

// shownReasons is how many reasons the table has; the plan and --format json have all.
const shownReasons = 20

// Write writes the summary as a table. asked says whether search was asked what it shows.
func (s Summary) Write(w io.Writer, asked bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d records read, %d chosen: %d events", s.Read, s.Matched, s.Events)
	for _, part := range []struct {
		n    int64
		what string
	}{{s.Duplicates, "told twice"}, {s.Superseded, "overtaken by a later failure"}, {s.NoEvents, "records are no CloudEvents"}} {
		if part.n > 0 {
			fmt.Fprintf(&b, ", %d %s", part.n, part.what)
		}
	}
	b.WriteString("\n")
	if s.More {
		b.WriteString("--limit was reached: there are more\n")
	}
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "\noutcome\tevents\tenter again at\n")
	for _, row := range s.Outcomes {
		fmt.Fprintf(tw, "%s\t%d\t%s\n", row.Outcome, row.Events, cmp.Or(string(row.To), "-"))
	}
	if len(s.Outcomes) == 0 {
		fmt.Fprint(tw, "none\t0\t-\n")
	}
	_ = tw.Flush() // a buffer's own writes cannot fail
	if !asked {
		b.WriteString("Search was not asked what it shows: some that pass may overwrite, and a count may be too low to replace it.\n")
	}
	if len(s.Reasons) > 0 {
		fmt.Fprint(tw, "\nevents\toutcome\tstage\tcode\twhy\tfor example\n")
		for i, row := range s.Reasons {
			if i == shownReasons {
				fmt.Fprintf(tw, "...\t\t\t\t%d more reasons: --format json\t\n", len(s.Reasons)-i)
				break
			}
			fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t%s\n", row.Events, row.Outcome, cmp.Or(row.Stage, "-"), cmp.Or(string(row.Code), "-"), row.Message, row.Examples[0])
		}
		_ = tw.Flush()
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}
