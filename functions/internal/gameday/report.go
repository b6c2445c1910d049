package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
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
	fmt.Fprintf(w, "    %s, in %s\n", verdict, o.took.Round(time.Second))
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

// report returns the table in Markdown.
func report(outcomes []*outcome, took time.Duration) string {
	var b strings.Builder
	b.WriteString("| fault | lasted | sent | accepted / dead_lettered | busy / unconfirmed / no answer | in search | raw / enriched rows in the lake | dead letters | lost | twice in raw / enriched / search / lake | recovered: search / lake |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	sent, lost, held := 0, 0, 0
	for _, o := range outcomes {
		if o.ok() {
			held++
		}
		a := o.Account
		if a == nil {
			fmt.Fprintf(&b, "| %s | | | | | | | | **not played** | | |\n", o.row.name)
			continue
		}
		verdict := fmt.Sprint(len(a.Lost))
		if !o.ok() {
			verdict = "**" + verdict + ", did not hold**"
		}
		lake := a.LakeRaw.Rows - a.Raw.Rows + a.LakeEnriched.Rows - a.Enriched.Rows + a.LakeDead.Rows - a.Dead.Rows
		fmt.Fprintf(&b, "| %s | %s | %d | %d / %d | %d / %d / %d | %d | %d / %d | %d | %s | %d / %d / %d / %d | %s / %s |\n", o.row.name, seconds(o.fault), a.Sent,
			a.Final[load.Accepted], a.Final[load.DeadLettered], a.Answers[load.Busy], a.Answers[load.Unconfirmed], a.Answers[load.NoAnswer],
			a.Search.Distinct, a.LakeRaw.Distinct, a.LakeEnriched.Distinct, a.DeadIndex.Distinct, verdict,
			a.Raw.Duplicates, a.Enriched.Duplicates, a.Search.Duplicates, lake, seconds(o.toSearch), seconds(o.toLake))
		sent, lost = sent+a.Sent, lost+len(a.Lost)
	}
	fmt.Fprintf(&b, "\n%d events sent in %d rows, %d lost, %d rows held; %s.\n", sent, len(outcomes), lost, held, took.Round(time.Second))
	return b.String()
}
