package main

// Decisions
//
// 2026-11-21, contracts and tables are bound before use. Context: a contract may come from a directory while the function runs, and
// name a reference table or column that is not there. Decision: before a contract is taken every step in it is bound to its table and every value to its
// field's type; one that cannot be bound is left out, as a file that is wrong (see package contract), and the others are taken. Consequences: a step cannot fail for a
// reason that was known before; events of a contract that cannot be bound wait, with an error in the log, millrace_contract_files_invalid above 0 and
// millrace_enrich_events_total{outcome="waits"}.
//
// 2026-11-21, an assumed version is named on a dead letter. Context: an event without schemaversion is held against its type's one active contract; the
// enriched event says so (schemaversion, versionassumed), its dead letter did not, and nobody could tell which rules it broke. Decision: the dead letter
// carries failureversion. schemaversion stays absent, since a dead letter is the event as it came: put back, it is to be held against what is active then.
//
// 2026-11-21, enrich alone proves identity. Context: rootid, datahash, stage and failure* are believed by search, lake and accounting, and collect is not the only
// way to events.raw. Decision: enrich computes rootid and datahash again for every event (two hashes, one over the payload) and refuses what is
// reserved; nobody behind it does. With a replayid, leftovers of the failure are taken off, and data that is enriched already is enriched anew
// from its payload. Consequences: a forged event is a dead letter that still carries the forged attributes, as evidence; whoever writes to
// events.enriched past enrich is trusted.
//
// 2026-11-21, order within a partition key, by Kafka intake. Context: a batch is published in one call, and when one event of it fails another of its key may be written
// already. Decision: an event is not handed out while an earlier one of its record key, on its partition, is unfinished. Consequences: most events have a key of their own (rootid) and notice
// nothing; one busy key passes one event a batch, some hundred a second; an event that waits for its sink holds back its key and no other. After a crash, or where a member was
// not done in time, events from the oldest unfinished one on come again, in order.
