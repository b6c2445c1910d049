// Package enrichment is what enrich does to an event before it writes anything: it proves it against its contract and adds what the
// contract's steps ask for. functions/enrich publishes the result; functions/replay asks what would become of an event today.
//
// [Bind] ties a set of contracts to reference tables; [Rules.Enrich] is then a pure function of the event and the rules: it reads no clock, writes nothing,
// and gives the same bytes for the same event. A [Failure] is what the same event would always fail with.
//
// It does not read contracts (package contract does), count, log, or decide where events go.
//
// # Decisions
//
// 2026-11-21, out of functions/enrich. Context: replay tells what today's rules would make of a hundred thousand dead letters, without side effects,
// and a second reading of the rules would differ from the first one day. Decision: the rules are this package, and the function is what publishes.
// Consequence: reference tables are embedded here, so replay and enrich must be built from the same commit to agree on them.
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
package enrichment
