package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/functions/internal/gameday/internal/load"
)

// shown is how many root ids of a row are printed.
const shown = 20

// describe prints how a row went, and all that was wrong with it.
func (o *outcome) describe(w io.Writer) {
	verdict := "held"
	if !o.ok() {
		verdict = "DID NOT HOLD"
	}
	fmt.Fprintf(w, "    %s, in %s: start %s, load %s, calm %s, reading %s, stop %s\n", verdict, seconds(o.started+o.loaded+o.calmed+o.read+o.stopped), seconds(o.started), seconds(o.loaded),
		seconds(o.calmed), seconds(o.read), seconds(o.stopped))
	for _, note := range o.notes {
		fmt.Fprintf(w, "    %s\n", note)
	}
	if a := o.Account; a != nil {
		fmt.Fprintf(w, "    sent %d: accepted %d, dead_lettered %d, no final receipt %d; answered on the way: busy %d, unconfirmed %d, no answer %d\n",
			a.Sent, a.Final[load.Accepted], a.Final[load.DeadLettered], a.Final[load.NoAnswer], a.Answers[load.Busy], a.Answers[load.Unconfirmed], a.Answers[load.NoAnswer])
		fmt.Fprintf(w, "    topics: raw %s, enriched %s, dead %s; search %s, dead index %s; lake: raw %s, enriched %s, dead %s\n",
			a.Raw, a.Enriched, a.Dead, a.Search, a.DeadIndex, a.LakeRaw, a.LakeEnriched, a.LakeDead)
		fmt.Fprintf(w, "    lost %d; fault %s, search caught up %s after its end, lake %s\n", len(a.Lost), seconds(o.fault), seconds(o.toSearch), seconds(o.toLake))
		for _, code := range slices.Sorted(maps.Keys(a.Codes)) {
			fmt.Fprintf(w, "    dead letters: %s %d\n", code, a.Codes[code])
		}
		if n := len(a.Unknown); n > 0 {
			fmt.Fprintf(w, "    %d dead letters under identities that no receipt told, such as %s\n", n, a.Unknown[0])
		}
		for _, m := range a.Lost[:min(len(a.Lost), shown)] {
			where := m.Where
			if !m.Stored {
				where = "in no store at all"
			}
			fmt.Fprintf(w, "    LOST %s: %s\n", m.RootID, where)
		}
		for _, wrong := range a.Wrong[:min(len(a.Wrong), shown)] {
			fmt.Fprintf(w, "    WRONG %s\n", wrong)
		}
	}
	for _, broken := range o.broken {
		fmt.Fprintf(w, "    WRONG %s\n", broken)
	}
	if o.err != nil {
		fmt.Fprintf(w, "    WRONG %v\n", o.err)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// kept is how many rows held.
func kept(outcomes []*outcome) (n int) {
	for _, o := range outcomes {
		if o.ok() {
			n++
		}
	}
	return n
}

// verdict is the last line, and an error where it is not good: where a row did not hold, or none was played.
func verdict(outcomes []*outcome, took time.Duration) (string, error) {
	sent, lost, held := 0, 0, kept(outcomes)
	for _, o := range outcomes {
		if o.Account != nil {
			sent, lost = sent+o.Sent, lost+len(o.Lost)
		}
	}
	word := "HELD"
	var err error
	if held < len(outcomes) || held == 0 {
		word, err = "DID NOT HOLD", fmt.Errorf("%d of %d rows did not hold", len(outcomes)-held, len(outcomes))
	}
	return fmt.Sprintf("%s: %d of %d rows, %s events sent, %d lost, in %s", word, held, len(outcomes), thousands(sent), lost, short(took)), err
}

// circumstances are what a table was made with.
type circumstances struct {
	command  string
	date     string
	machine  string
	versions string
	took     time.Duration
}

// circumstances returns those of this run.
func (st *stage) circumstances(began time.Time) circumstances {
	c := circumstances{command: st.cfg.command(), date: began.UTC().Format(time.DateOnly), machine: fmt.Sprintf("%d cores", runtime.NumCPU()), took: time.Since(began)}
	if n := memory(); n > 0 {
		c.machine += fmt.Sprintf(", %d GiB", n)
	}
	c.versions = strings.Join(append(st.cfg.programs.Versions(), runtime.Version()), ", ")
	return c
}

// memory is the machine's, in GiB; 0 where it is not known.
func memory() int {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	var kib int
	if _, err := fmt.Sscanf(string(b), "MemTotal: %d kB", &kib); err != nil {
		return 0
	}
	return (kib + 1<<19) >> 20
}

// thousands writes a number with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// report returns the table in Markdown, with what it was made with.
func report(outcomes []*outcome, c circumstances) string {
	var b strings.Builder
	line, _ := verdict(outcomes, c.took) // whether it is good is in the line
	fmt.Fprintf(&b, "`%s`, %s, %s, everything on the one machine; %s. **%s.**\n\n", c.command, c.date, c.machine, c.versions, line)
	b.WriteString("| fault | intake | lasted | sent | accepted / dead_lettered | busy / unconfirmed / no answer | in search | in the landing log: raw / enriched / dead | dead-lettered | lost | " +
		"again in topics: raw / enriched / dead | again in search / lake | recovered: search / lake |\n")
	b.WriteString("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, o := range outcomes {
		intake := "Triggers"
		if o.row.direct {
			intake = "Kafka"
		}
		a := o.Account
		if a == nil {
			fmt.Fprintf(&b, "| %s | %s | | | | | | | | **not played** | | | |\n", o.row.name, intake)
			continue
		}
		lost := fmt.Sprint(len(a.Lost))
		if !o.ok() {
			lost = "**" + lost + ", did not hold**"
		}
		lake := a.LakeRaw.Rows - a.Raw.Rows + a.LakeEnriched.Rows - a.Enriched.Rows + a.LakeDead.Rows - a.Dead.Rows
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %d / %d | %d / %d / %d | %d | %d / %d / %d | %d | %s | %d / %d / %d | %d / %d | %s / %s |\n", o.row.name, intake, lasted(o.fault), a.Sent,
			a.Final[load.Accepted], a.Final[load.DeadLettered], a.Answers[load.Busy], a.Answers[load.Unconfirmed], a.Answers[load.NoAnswer],
			a.Search.Distinct, a.LakeRaw.Distinct, a.LakeEnriched.Distinct, a.LakeDead.Distinct, a.DeadIndex.Distinct, lost,
			a.Raw.Duplicates, a.Enriched.Duplicates, a.Dead.Duplicates, a.Search.Duplicates+a.DeadIndex.Duplicates, lake, seconds(o.toSearch), seconds(o.toLake))
	}
	b.WriteString("\n" + legend)
	return b.String()
}

// lasted is how long a fault did, if it did.
func lasted(d time.Duration) string {
	if d < 100*time.Millisecond {
		return ""
	}
	return seconds(d)
}

// legend says what the columns are.
const legend = "Counts are of distinct root ids but for *sent*, answers and *again*. *busy*, *unconfirmed* and *no answer* were sent again under the same identity. *Lost*: a receipt said accepted or dead_lettered, " +
	"or events.raw holds the event, and any place where it must be lacks it. *Again* counts copies beyond the first; in the lake, rows beyond the records of the topic, since the landing log holds each " +
	"record once. *Recovered*: from the end of the fault until everything due by then had its receipt and was through to search, and to the lake. A row also fails where its fault did not bite.\n"
