// Package report writes what one run of curate did, and what it found, as one HTML file that a person reads.
//
// It guarantees: the page is one file that loads nothing from anywhere and holds no script (and forbids both by its own policy), so that it can be mailed, archived and opened
// years later; whatever a value holds is shown as text; the same Run gives the same bytes; the verdict and its reasons stand first, in words, and colour says nothing that words
// do not. It is readable on paper and on a telephone, in light and in dark.
//
// It does not: decide what is checked, read tables, write the file (the caller has a Writer), or mask: example rows are shown as they are given, which is why they have to come from masked tables.
//
// # Decision 2026-11-21: structs of its own, in plain types
//
// Context: a run's results come from half a dozen packages, each with types of its own. Decision: Run repeats what is shown in strings, numbers and times, and imports none of those packages; run.go fills it
// in. Consequences: a step can change its types without the page, the page can be tested with any content, and package lineage takes its facts from the same steps by another way.
//
// # Decision 2026-11-21: three levels, from the facts
//
// Context: a page on which something is always red is not read. Decision: the verdict is computed here, from the facts alone (Run.Verdict). Bad is what somebody has to act on: data lost
// or unreadable, a failed step, a failed model, a rule of severity error, a day held back. Warning is what somebody should know of: any other failed rule or test (but those of severity info, which only
// count something), an SLA missed, conflicting events. Consequences: whoever wants another level for a rule gives it another severity in the contract.
package report
