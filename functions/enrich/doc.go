package main

// Decisions
//
// 2026-11-21, contracts and tables are bound before use. Context: a contract may come from a directory while the function runs, and
// name a reference table or column that is not there. Decision: a set of contracts is taken whole, after every step in it has been bound to its table
// and every value to its field's type, or it is refused whole and the one before stays. Consequences: a step cannot fail for a reason
// that was known before; one broken file holds back the other changes until it is repaired, with an error in the log and in
// millrace_enrich_contract_reloads_total{result="refused"}.
//
// 2026-11-21, schemaversion wins over dataschema. Context: producers set dataschema to schemas of their own. Decision: a dataschema decides only
// where there is no schemaversion and it is one of our contracts' URIs; one that begins like ours and is unknown is a dead letter, and any other
// is ignored and, on the enriched event, replaced. Consequence: the producer's own dataschema is found in events.raw and the lake's raw rows only.
//
// 2026-11-21, the enriched event's datacontenttype is application/json. Context: foreign events send JSON as text/plain, or say nothing. Decision:
// bytes decide whether data is JSON, and what comes out is JSON and says so. Consequence: as for dataschema.
//
// 2026-11-21, a missing key is null and a note. Context: trips carry zone ids that the TLC has not published yet. Decision: where a step says
// onMissing null, its fields are null and the enrichment's notes say why, without the value. Consequences: the trip reaches search and lake;
// millrace_enrich_lookups_missed_total counts, and a later table is applied by replaying.
//
// 2026-11-21, enrich alone proves identity. Context: rootid, datahash, stage and failure* are believed by search, lake and accounting, and collect is not the only
// way to events.raw. Decision: enrich computes rootid and datahash again for every event (two hashes, one over the payload) and refuses what is
// reserved; nobody behind it does. With a replayid, leftovers of the failure are taken off, and data that is enriched already is enriched anew
// from its payload. Consequences: a forged event is a dead letter that still carries the forged attributes, as evidence; whoever writes to
// events.enriched past enrich is trusted.
