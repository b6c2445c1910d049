// Package landing is the landing log: which objects of the lake hold which offsets of which topic. load-lake appends to it;
// curate, replay and reconcile read it. The objects it names are complete and never rewritten, but for the erasure of a person, which is published before (below); an object it does not name
// does not count.
//
// It guarantees: entries of one topic id form one sequence without gaps, since an entry is one conditional PUT of the next
// number; each entry continues the one before it offset by offset (Join); within an entry rows, skipped and lost offsets
// add up to the offsets read (Validate), so that summing the log accounts for each offset of the topic exactly once; and once
// more from where a partition was Rewound, since Kafka gave those offsets out again.
//
// It does not: read or write the objects, read Kafka, delete anything, or keep entries in memory.
//
// A log lies in the bucket of its topic's objects, at
//
//	landing/_log/<topic>/<topic id>/<sequence, 20 digits>.json
//
// with Kafka's topic id in Kafka's own spelling (URL-safe base64, as `kafka-topics --describe` prints it).
//
// # Decision 2026-11-21: sequences begin at 1, partitions at offset 0
//
// Context: the design fixes neither. Decision: the first entry is 1, so that 0 means "none"; each partition's first range
// begins at offset 0, also where Kafka no longer has that offset, which is then a lost range. Consequences: a log says of
// every offset there ever was what became of it, and load-lake installed beside an old topic raises its alarm once.
//
// # Decision 2026-11-21: every entry holds every partition
//
// Context: to go on, a drain needs the position of all partitions, and a cold process has no memory. Decision: partitions
// in which nothing was read appear with from = next. Consequences: the tail alone is the position; a partition may appear
// in a later entry (partitions added to the topic), never disappear.
//
// # Decision 2026-11-21: what Kafka took back is part of the log
//
// Context: Kafka can lose a partition's end (an unclean election, a disk, a power cut), and then gives the offsets out again to other records. A log that
// knows only offsets takes those for read. Decision: each partition has a mark of the offset before its next (the record's timestamp, the leader's epoch); an entry
// that reads nothing says Broken where the mark does not fit or the partition ends before the log, and keeps the topic from being read until an entry
// says Rewound, by an operator's word. The fields are optional, the version stays 1: older entries have no marks and are not compared; a reader
// that does not know the fields refuses a log that goes back, since its ranges do not join. Consequences: a break is never forgotten, not even when
// retention has removed its traces; an offset can be accounted for twice, as two records, and whoever looks an offset up goes from the newest entry
// back, as trace does; rows between the offset gone back to and the first one that changed come twice, with the same root ids.
//
// # Decision 2026-11-21: the tail is found by galloping listings
//
// Context: a year of entries is 100 pages of a listing, and load-lake starts cold every few minutes. Decision: "is there an
// entry behind n" is one listing with start-after; steps double from the last tail known (or 0), then halve. Consequences:
// one request where the hint is fresh, about twice the logarithm of the pages where it is not; old entries may be removed
// by a retention rule, the newest must not.
//
// # Decision 2026-11-21: an erasure rewrites objects where they lie, and is published beside the log
//
// Context: a person's events are to leave the lake on request, and objects that entries name never change otherwise. An entry of the log that says "X is replaced by Y" would be read by whoever follows the log from
// X's entry only after X; would make drains that race with it drop their work; and readers of version 1 that do not know it would miss X, as the sweep of garbage would take Y for some. Decision: the object keeps its
// key and loses the rows. Before that is done, landing/_erased/<topic>/<topic id>/<sequence, 20 digits>.json says which SHA-256, rows and bytes the object will have and which offsets are gone from it (Erase); entries
// stay as they are, and say what was drained. A reader that finds other bytes than the entry's looks there (Versions) and takes what it finds, so an object has its entry's bytes, or those of one of its erasures, at every
// moment, however the erasure ended; what has neither is damaged, as before. Consequences: positions, sums and sequences of the log do not move, so nobody reads a row again; readers ask for erasures only where
// a hash differs; those that compare hashes and do not know of erasures refuse the object, and those that do not compare read it without the rows. Offsets that are gone stay accounted for as rows of their entry. A bucket
// that keeps versions of its objects keeps the old one until its own rule removes it.
package landing
