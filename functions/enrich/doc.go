// # Decisions
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
// way to events.raw. Decision: enrich computes rootid and datahash again for every event (two hashes, one over the payload) and refuses stage, failure*,
// knativeerror*, versionassumed, and replaycount where there is no replayid; nobody behind it does. With a replayid, leftovers of the failure are taken off, and data that is enriched already is enriched anew
// from its payload. What cannot be refused is replayid with replaycount, which functions/replay writes to events.raw itself, and collectorid with collectortime, which collect
// writes there: Kafka names no sender, so both can be forged by whoever may write to the topic or to the Broker's ingress. Therefore nothing rests on them: load-search compares
// datahash before a replay replaces a document (its doc.go), and the lake keeps every row. Consequences: a forged event is a dead letter that still carries the forged attributes, as
// evidence; a forged collectortime chooses the day's index and a forged collectorid a name in it, no more; who may write to events.raw is a matter of Kafka's ACLs and
// of the Broker's ingress; whoever writes to events.enriched past enrich is trusted.
package main
