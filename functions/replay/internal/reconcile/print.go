package reconcile

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// Print writes the report for a person.
func (r *Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s to %s, distinct root ids\n\n", r.From.UTC().Format(time.RFC3339), r.To.UTC().Format(time.RFC3339))
	missing := func(s Step) int64 { return s.All - s.Found - s.Dead - s.Waiting }
	first := Step{All: r.Raw, Found: r.Enriched, Dead: r.Dead, Waiting: r.Waiting}
	fmt.Fprintln(t, "step\tall\tarrived\tdead letters\twaiting\tmissing\t")
	fmt.Fprintf(t, "raw to enriched\t%d\t%d\t%d\t%d\t%d\t\n", first.All, first.Found, first.Dead, first.Waiting, missing(first))
	fmt.Fprintf(t, "enriched to search\t%d\t%d\t%d\t%d\t%d\t\n", r.Search.All, r.Search.Found, r.Search.Dead, r.Search.Waiting, missing(r.Search))
	fmt.Fprintf(t, "dead letters to search\t%d\t%d\t\t%d\t%d\t\n", r.Letters.All, r.Letters.Found, r.Letters.Waiting, missing(r.Letters))
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	fmt.Fprintln(t, "landing log\trecords\tlanded\twaiting\tlost\tskipped\tmissing\t")
	for _, l := range r.Landing {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", l.Topic, l.Records, l.Landed, l.Waiting, l.Lost, l.Skipped, l.Missing)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, topic := range slices.Sorted(maps.Keys(r.Undecodable)) {
		fmt.Fprintf(w, "%s: %d records are no CloudEvent, and have no root id to follow\n", topic, r.Undecodable[topic])
	}
	for _, topic := range slices.Sorted(maps.Keys(r.Forgotten)) {
		fmt.Fprintf(w, "%s: Kafka has deleted records of this time in the partitions %v: what they were is not accounted for here\n", topic, r.Forgotten[topic])
		in := r.InLake[topic]
		fmt.Fprintf(w, "  the landing log has at most %d of them in the lake (replay plan --lake reads those of events.raw and events.dead), and %d as lost\n", in.Landed, in.Lost)
	}
	for _, f := range r.Former {
		fmt.Fprintf(w, "%s: another topic of this name (id %s) was landed until %s: what it held is not accounted for here\n", f.Topic, f.TopicID, f.Landed.Format(time.RFC3339))
	}
	for _, t := range r.Truncated {
		fmt.Fprintf(w, "%s/%d: Kafka lost its end from offset %d on (seen %s): what it held there is not accounted for here\n", t.Topic, t.Partition, t.Offset, t.Seen.Format(time.RFC3339))
		if t.Stands {
			fmt.Fprintln(w, "  it is not drained until somebody says how to go on: load-lake's log says with which setting")
		}
	}
	all := r.GapCount
	for _, l := range r.Landing {
		all += l.Lost + l.Skipped + l.Missing
	}
	for _, g := range r.Gaps {
		name := g.RootID
		if name == "" {
			name = "(no CloudEvent)"
		}
		if g.Place != "" {
			name += " at " + g.Place
		}
		fmt.Fprintf(w, "missing %s: %s\n", name, g.Why)
	}
	if more := all - int64(len(r.Gaps)); more > 0 {
		fmt.Fprintf(w, "and %d more: --all names them\n", more)
	}
	var others int64
	for _, n := range r.Undecodable {
		others += n
	}
	verdict := "The sums do not close."
	switch waits := r.Waits(); {
	case r.Closed() && waits == 0 && others > 0:
		verdict = "The sums close, but for what is no CloudEvent: a Kafka intake makes dead letters of it, under root ids of their own, and Triggers skip it."
	case r.Closed() && waits == 0:
		verdict = "The sums close: nothing is missing."
	case r.Closed():
		verdict = fmt.Sprintf("Nothing is missing so far; %d are on their way.", waits)
	}
	_, err := fmt.Fprintln(w, verdict)
	return err
}
