// Package ingest takes what load-lake landed into the warehouse: the landing logs' entries become rows of ops.landing, the objects they name rows of events.*.
//
// It guarantees: a row is in its table exactly once, whatever was killed when, since each table's commit carries the position up to which it has rows; an object is taken only with the bytes, the
// number of rows and the offsets that its entry says (or, where a person's rows were erased, the erasure: see package landing); entries are taken in order and without gaps; what cannot be taken is an alarm, and stands where it is: a topic in front of the entry
// that is missing or lies, a table in front of the rows that it cannot hold or where its metadata are damaged, while all others go on; landing is only read.
//
// It does not: deduplicate (every landed row is a row here), check quality, keep other runs out (warehouse.Lock does), or read raw objects, of which only the log counts.
//
// # Tables
//
// events.enriched_<type>_<MODEL> has the columns of the landing objects, events.dead their attributes and the payload's size in place of the payload: dead letters are unmasked, and stay in the private
// bucket. Both have arrival_date, landing_log, landing_sequence and landing_object behind them, and are partitioned by arrival_date, which is null for days beyond the years 1 to 9999. ops.landing has a
// row for each object of each entry of all topics.
//
// # What a kill leaves
//
// Tables of events are committed one after the other, each with its own position (PositionProperty), then ops.landing with the position up to which the logs were read. Killed before a commit: its files
// are garbage of the warehouse. Killed between the commits: the next run reads the same entries again, and each table takes those behind its own position alone.
//
// # Memory and scratch
//
// A commit takes whole entries up to Limits. In memory are the log's entries, four objects' pages at a time (some MiB) and a bitmap of one entry's offsets; the engine has its own limit. On disk are the
// landing objects of one commit (512 MiB and one entry's), what is written of them, as large again, and Limits.Keep (512 MiB) of what was committed, for the models. Backfill has all of a table's days on disk.
//
// # Decision 2026-11-21: tables that are behind are named by ops.landing
//
// Context: a table whose contract contradicts it must not hold up others, so that positions differ; and a type that is seldom seen must not make each run read a year of entries to find that there is
// nothing for it. Decision: the position of ops.landing is how far logs were read for all tables but those that its property millrace.behind names, with the position of each. Consequences: a log is read
// from the lowest of them; entries up to the common position are looked at for the tables that are behind alone. A table that stays behind makes each run read more: its alarm is there to be acted on.
//
// # Decision 2026-11-22: a damaged table is an alarm, a dropped one is made anew
//
// Context: one table whose metadata were missing ended each run for all tables; one that was dropped by hand came back with the next new row, and with new rows alone, which nobody saw. Decision: a table whose
// entry, metadata or manifests cannot be used, while catalog and store answer, is an alarm that stops that table (CodeDamaged), as one whose contract contradicts it; what is made of it is behind, not wrong.
// It is not made anew by itself: its files are there, and a copy of the one that is missing is the shorter way. ops.landing names the tables that got rows (millrace.tables); one that the catalog does not list is
// made anew from the beginning of its logs, with an alarm that stops nothing (CodeDropped), since rows of landing belong into tables and facts find them again under the same positions; where landing lacks
// objects, their alarm says so. A damaged ops.landing stops only itself: the tables' own positions say what they have. Consequences: one list of the catalog in each run; a table cannot be got rid of by dropping
// it; rows that retention had taken come back until the next maintenance; while ops.landing is damaged each run reads all logs.
//
// # Decision 2026-11-22: a rebuild is written down first
//
// Context: a rebuild that was killed while it dropped tables left some of them as they were. Decision: one commit to ops.landing takes its rows and positions and names the tables to be dropped
// (millrace.rebuild); each Run first does what is written there. Consequences: from that commit on the next run finishes a rebuild; before it nothing is changed.
//
// # Decision 2026-11-21: objects say which columns there are, contracts what is to come
//
// Context: an object may be older than its contract, or have none. Decision: a table has the columns of the contract's MODEL and of all objects that were ingested; where two of these differ in a
// type it is an alarm (CodeType), and nothing of the table changes. Consequences: a contract that is taken away costs no column; a rebuild makes the same table from the same log.
//
// # Decision 2026-11-21: every offset is checked, by a bitmap
//
// Context: an entry's sums say how many rows there are, and the checksum that the bytes are the drain's, but not that the drain was right. Decision: the two columns kafka_partition and kafka_offset of each
// object are read in Go (some 40 ns a row), and every row must be of an offset that the entry says was read, neither skipped nor lost, and none of two. With the sums that makes rows and offsets one to one.
// Consequences: a drain that doubles or drops a row is seen before the row is in a table.
//
// # Decision 2026-11-21: two types of one name
//
// Context: names of types have letters, dots and dashes that SQL's names do not. Decision: the first type to make a table has it, a type with a contract before those without; rows of the other are in
// no table, which is an alarm (CodeCollision) whenever there are new ones. Consequences: its rows stay in landing.
package ingest
