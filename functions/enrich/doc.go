package main

// Decisions
//
// 2026-11-21, contracts and tables are bound before use. Context: a contract may come from a directory while the function runs, and
// name a reference table or column that is not there. Decision: a set of contracts is taken whole, after every step in it has been bound to its table
// and every value to its field's type, or it is refused whole and the one before stays. Consequences: a step cannot fail for a reason
// that was known before; one broken file holds back the other changes until it is repaired, with an error in the log and in
// millrace_enrich_contract_reloads_total{result="refused"}.
//
// 2026-11-21, enrich alone proves identity. Context: rootid, datahash, stage and failure* are believed by search, lake and accounting, and collect is not the only
// way to events.raw. Decision: enrich computes rootid and datahash again for every event (two hashes, one over the payload) and refuses what is
// reserved; nobody behind it does. With a replayid, leftovers of the failure are taken off, and data that is enriched already is enriched anew
// from its payload. Consequences: a forged event is a dead letter that still carries the forged attributes, as evidence; whoever writes to
// events.enriched past enrich is trusted.
