// Package erase removes one person's events: from search, from the warehouse with its older snapshots and reports, and from the landing objects.
//
// It guarantees: nothing is changed without Options.Apply; what is changed is changed whole (a table by a commit, a landing object by one PUT that is published before, see package landing); a run that was killed is repeated by the same
// call, and finds what is left, since raw objects, by which a subject's root ids are found, go last; the report says what was found where, and what remains and until when, also where an error broke the
// erasure off: then it says which steps are done and which are not. Nothing is committed or deleted once the warehouse's lock was found lost, which is asked before each.
//
// It does not: touch Kafka, whose retention is the rest; look into payloads (a person is root ids, or the event attribute subject, exactly); find rows of records that are no events; stop new events of the person, or
// those that are on their way, which the same call erases once they have landed (by root ids that Options.Found was told, where the subject is a pseudonym); change aggregates (marts lose the person's part when the next run of curate recomputes them, which it does not for partitions of which retention took rows).
//
// # Which events
//
// Root ids that are given; and those of every row whose subject is given: of raw and dead objects, which are unmasked, of enriched ones and tables, and of search. What a contract calls personal is a pseudonym in enriched rows
// and in search, a subject that is one too: where raw objects are gone already, give the pseudonym as a subject as well.
//
// # Order, and what a kill leaves
//
// Search, reports, tables, enriched objects, dead ones, raw ones. Before each step all of what later steps need to be found is still there. A table's commit marks it (Pending) until its older snapshots are expired and their files
// deleted, so a repeated run expires what a killed one did not. The caller holds the warehouse's lock. Where that keeps
// nobody out (Options.Shared, a REST catalog), objects that are younger than a day and that the table did not name before stay for maintenance: they may be about to be committed.
//
// # Decision 2026-11-22: damage stops an erasure, or is given up by name
//
// Context: an entry of a landing log that cannot be read, or an object that is no Parquet, may have rows of the person; one of them made every erasure fail, of everybody. Decision: as with ingest, an entry that
// Options.Accept (INGEST_ACCEPT) names is given up: what can be read of it is erased like everything else, what cannot is in the report. One that nobody named ends the call before anything is changed, with the name to
// give. Consequences: an erasure with something given up is as good as its report says: put the entry or object back, take the name out, and give the same command again.
//
// # Decision 2026-11-21: all older snapshots of a table go
//
// Context: a snapshot that still names the removed files is a way to the person's rows, and which ones do cannot be told without reading each. Decision: a table that lost rows keeps the snapshot that is left alone. Consequences: no time
// travel before the erasure; whoever remembered a snapshot of it (marts do) recomputes all of its own table at the next run.
package erase
