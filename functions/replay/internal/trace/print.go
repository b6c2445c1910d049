package trace

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Print writes the way for a person.
func (w *Way) Print(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "root id  %s\n", w.RootID)
	if w.ID != "" {
		fmt.Fprintf(&b, "event    %s, id %q of source %q\n", w.Type, w.ID, w.Source)
	}
	if w.TraceID != "" {
		fmt.Fprintf(&b, "trace    %s\n", w.TraceID)
	}
	stamp := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000Z") }
	for _, s := range w.Steps {
		fmt.Fprintf(&b, "\n%s  partition %d offset %d  %s", s.Topic, s.Partition, s.Offset, stamp(s.Time))
		if s.Version != "" {
			fmt.Fprintf(&b, "  %s", s.Version)
		}
		if s.Replays > 0 {
			fmt.Fprintf(&b, "  replay %d (%s)", s.Replays, s.ReplayID)
		}
		b.WriteByte('\n')
		if f := s.Failure; f != nil {
			fmt.Fprintf(&b, "  failed at %s: %s: %s\n  %s\n", f.Stage, f.Code, f.Message, f.Hint)
		}
		if s.Waits {
			fmt.Fprintf(&b, "  waits for %s, %d records before it\n", s.Reader, s.Before)
			if s.Why != "" {
				fmt.Fprintf(&b, "    since %s\n", s.Why)
			}
		}
		if d := s.Document; d != nil {
			switch {
			case !d.Found:
				fmt.Fprintf(&b, "  search: %s/%s is not there\n", d.Index, d.ID)
			case d.Other:
				fmt.Fprintf(&b, "  search: %s/%s version %d is another payload's\n", d.Index, d.ID, d.Version)
			default:
				fmt.Fprintf(&b, "  search: %s/%s version %d\n", d.Index, d.ID, d.Version)
			}
		}
		switch l := s.Landed; {
		case l != nil:
			fmt.Fprintf(&b, "  lake: %s row %d, by entry %d of %s\n", l.Object, l.Row, l.Sequence, stamp(l.Time))
		case s.Lost != "":
			fmt.Fprintf(&b, "  lake: not there: %s\n", s.Lost)
		default:
			b.WriteString("  lake: not drained yet\n")
		}
	}
	for _, d := range w.Documents {
		fmt.Fprintf(&b, "\nsearch shows %s/%s version %d as well\n", d.Index, d.ID, d.Version)
	}
	for _, topic := range w.Forgotten {
		fmt.Fprintf(&b, "\nKafka has deleted records of %s since %s\n", topic, stamp(w.From))
	}
	fmt.Fprintf(&b, "\n%s\n", w.Verdict)
	_, err := io.WriteString(out, b.String())
	return err
}
