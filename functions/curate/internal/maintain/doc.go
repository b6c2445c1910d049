// Package maintain keeps the warehouse in shape: it drops days that a contract's retention has passed, puts many small files together, lets old snapshots expire, and removes objects that nobody
// names any more.
//
// It guarantees: rows stay the same but for retention, which takes whole days; a query that began before goes on reading what it planned, for Options.Keep at least; an object is deleted only where
// no snapshot or metadata of any table of the catalog names it, it is older than Options.Orphans, and it lies in the folder of a table that the catalog knows or that Drop marked; a kill at any
// point leaves what the next run does again.
//
// It does not: touch landing objects (its keys are those below the warehouse's prefix, and one that holds "landing/" is refused), load a table that another writer just changed again (that table's
// step fails with ErrConflict and is for the next run), or decide when it is time (the caller asks Due).
//
// # Order, and what a crash leaves
//
// Retention and compaction commit and delete nothing: the files that they replace stay named by older snapshots. Expiry commits and deletes nothing either. The sweep alone deletes, and only what
// is named nowhere; whatever was not deleted is still named nowhere when the next sweep comes.
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
