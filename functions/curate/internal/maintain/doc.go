// Package maintain keeps the warehouse in shape: it drops rows that their retention has passed, and reports of runs, puts many small files together, lets old snapshots expire, and removes objects that nobody
// names any more.
//
// It guarantees: rows stay the same but for retention, which takes whole days of arrival; what was taken is not taken again, since positions stay; a query that began before goes on reading what it planned, for Options.Keep at least; an object is deleted only where
// no snapshot or metadata of any table of the catalog names it, it is older than Options.Orphans, and it lies in the folder of a table that the catalog knows or that Drop marked; a kill at any
// point leaves what the next run does again.
//
// It does not: touch landing objects (its keys are those below the warehouse's prefix, and one that holds "landing/" is refused), load a table that another writer just changed again (that table's
// step fails with ErrConflict and is for the next run), or decide when it is time (the caller asks Due).
//
// # Order, and what a crash leaves
//
// Reports are deleted one by one, the oldest first. Retention of tables and compaction commit and delete nothing: the files that they replace stay named by older snapshots. Expiry commits and deletes nothing either. The sweep alone deletes, and only what
// is named nowhere; whatever was not deleted is still named nowhere when the next sweep comes.
//
// # Decision 2026-11-22: what retention takes, and counts from
//
// Context: a contract says for how long events of a type are kept, and their rows go on into facts, and from there into marts; a fact is partitioned by the day that its event is of, and events of 1995 can arrive today.
// Decision, by what a table holds, without a word in a model's front matter:
//
//   - events.enriched_*: the contract's retention (the newest version's of the MODEL), by day of arrival, whole partitions.
//   - star.*, models that are merged by key: the retention of the one source that drives them, by their column arrival_date, not by their partition. A file with rows of both sorts is written again. A model
//     without that column is an error of each maintenance where the source has a retention: it would keep rows for ever.
//   - star.*, models by partition (marts): they hold sums, no events, and keep them. A fact's commit remembers the partitions that lost rows (model.RetiredProperty); package model computes these never again, whatever
//     the reason. A fact waits for marts that have not seen all of it, and the maintenance says so.
//   - star.*, models of materialization table: nothing. They are rebuilt from what there is, and forget.
//   - ops.conflicts, ops.near_duplicates, ops.quarantine: rows of events or days of a source go when the source's do. What is on hold stays.
//   - ops.landing, ops.quality, ops.sla, ops.runs, events.dead, _reports/<day>/*.html: Options.OpsKeep.
//   - other tables of ops: nothing.
//
// Consequences: rows whose arrival has no day stay; late rows of a retired partition are in the fact and not in its marts; a mart that is made anew, or whose columns go or change type, has no retired partitions; a copy of an event that arrives
// after the kept one is gone is a row again, for its own time; a file of a fact with rows of many days of arrival is written again each day while they pass.
//
// # Decision 2026-11-21: expired files are orphans
//
// Context: iceberg-go can delete the files of the snapshots that it expires, after the commit; a crash between the two leaves them for ever unless something else looks for them, and another table may have
// adopted one. Decision: expiry deletes nothing, and one sweep serves both. Consequences: the sweep reads the manifests of all snapshots of all tables, so it is for once a day.
//
// # Decision 2026-11-21: a snapshot's age counts from when it was replaced
//
// Context: iceberg-go expires by when a snapshot was made. A table that rests for a week and is then compacted would lose the snapshot that a query of this minute reads. Decision: a snapshot may go
// once its successor is older than Options.Keep. Consequences: whatever was current within that time stays.
//
// # Decision 2026-11-21: small files are merged by size
//
// Context: a day gets a file with each run; to merge all small files of a day whenever there are some would write the first of them hundreds of times. Decision: files fall into classes by size,
// eight times as much each, and a class with Options.Files files is merged together with those below it. Consequences: a row is written about four times before its file has Options.Target.
package maintain
