// Package sweep deletes garbage from the landing area: objects that no entry of any landing log names, left by drains that were killed, or lost their race, between
// writing objects and publishing them.
//
// It guarantees: an object goes only where each of these holds, and the first that does not stops it.
//
//   - Its key is one that a drain makes, of the kind asked for. Any other object is left, and counted as foreign.
//   - It is older than Settings.Age, both times being the store's: the age is taken against an object that the sweep itself has just written. No other clock counts.
//   - The topic's log went on after it was written: its newest entry is younger, by Settings.Margin. A drain writes its objects after it read the tail and publishes with the
//     number behind that tail, so an entry that came later has taken its number, and the object can never be named any more.
//     (A log that is missing altogether thus deletes nothing.)
//   - No entry of any log in the bucket names it: of this topic under any id it ever had, of any other topic. The logs are read after the object was listed, so what
//     was published between is seen. They are read whole, from the newest entry to the first: an entry that cannot be read, is of a version not known here, does not
//     join its neighbour, or is missing (a retention rule's work) ends the sweep with an error, and nothing is deleted.
//   - There are at most Settings.Max such objects (ErrTooMany). Crashes leave some hundred; thousands are a log that somebody removed.
//
// Beside that, drains publish nothing that is older than half of the age (drain.Settings.PublishWithin).
//
// It does not: look into objects, repair logs, delete what a log names, or run by itself.
//
// Two sweeps at once do the same work twice. A crash between two deletions leaves the rest to the next sweep.
//
// # Decision 2026-11-21: load-lake sweeps, once a day, when asked
//
// Context: the design has objects that no entry names deleted after 24 hours; package drain left that to reconcile, which is not there, and which should not need the right
// to delete. Decision: a PingSource of its own (knative/510-sweeps.yaml) asks load-lake with {"topic": ..., "sweep": true}; "dry_run": true only reports. A sweep that
// comes within 20 hours of the last complete one does nothing, for one GET a process, which the compressed schedules of a local platform rely on. Consequences: load-lake's
// credentials need s3:DeleteObject under landing/; a tick that drains never waits for a sweep.
//
// # Decision 2026-11-21: candidates first, then the log backwards
//
// Context: a year of five-minute drains is 100,000 entries and several times as many objects; either does not fit into memory for ever, and reading all of either each
// day is waste. Decision: list up to Settings.Chunk objects that are old enough, then read the log from its end and strike out what it names, until nothing is left or all
// logs are read. Consequences: without garbage, a day's objects are struck out by two days' entries; with garbage, the whole log is read once, 16 entries at a
// time (3,000 in two seconds where MinIO shares two cores with it, so a year in some 70), and a log too long for one tick's budget leaves the garbage, says so, and deletes nothing.
//
// # Decision 2026-11-21: what was looked at is not listed again
//
// Context: keys are ordered by kind, type and day of the record, not by when they were written, and listing a year costs a thousand requests. Decision: an object of
// ours, landing/_sweep/<topic>.json, holds how far a sweep came (the next one goes on there) and, after a complete one, the time before which all drains have been judged:
// of each day's folder only drains since then are listed, one small page a folder, since drain ids are UUIDv7 and so in order of time. Consequences: it only saves
// work. Lost or unreadable, everything is listed again; a drain whose clock was slow by more than an hour may leave garbage that stays; nothing in it can cause a
// deletion, for which only the list above counts. Foreign objects in folders that are passed over are not counted.
package sweep
