package main

// Decisions
//
// 2026-11-21, a plan, then its application. Context: replaying dead letters that still fail makes dead letters, and replaying old events can replace newer ones.
// Decision: plan runs enrich's own rules (shared/enrichment) and load-search's own documents (shared/document) over the selection, asks search what it shows, and
// writes down each event's place, target and count; apply sends that and nothing else. Consequences: replay, enrich and load-search must be of one
// commit for the plan to be right; what Elasticsearch thinks of a document is not known before it is written.
//
// 2026-11-21, the count goes above what search shows. Context: a replayed document is written with the external version replaycount + 1, and a raw
// event that was replayed before still has no count in its first record. Decision: the count is the larger of the event's own and the shown version less
// one, plus one. Consequences: a replay always replaces; two plans made at once have the same count, and the second one's documents are refused as equal (409),
// which is right where both were made with the same rules.
//
// 2026-11-21, the replay's id follows from the plan. Context: apply may be killed and run again, on another machine. Decision: id and counts are in the plan, the id
// is a UUIDv5 of its digest. Consequences: what is sent twice is the same event twice.
//
// 2026-11-21, a replay never changes a payload. Context: a producer that corrects a refused event often sends it again under the same id; its first letter,
// replayed, would take the good one's place in search. Decision: where search shows another payload hash, the event fails in the plan. Consequences: without
// search (--no-search) nobody looks; what arrives between plan and apply is not seen.
//
// 2026-11-21, what failed at load-search enters again at the enriched topic. Context: its letter holds the enriched event. Decision: as it is, since nothing
// was wrong with its enrichment; --reenter enrich sends it to the raw topic, where enrich takes the payload out and enriches it anew. Consequences: after a
// corrected lookup the second is the one to use.
//
// 2026-11-21, what failed at collect is sent to collect. Context: its letter holds what the producer sent, which has no identity yet, and only collect knows what it
// takes. Decision: apply --collect posts it again, with an Idempotency-Key of the letter's root id; no plan can say what comes of it (unknown). Consequences: sent
// twice it is one event where it passes; where it is refused, each sending is one more dead letter, since collect gives those a new id and refuses replay
// attributes from outside. So it is never part of the default selection and stays unsent without --collect.
//
// 2026-11-21, a dead letter is left alone once a later replay is in search. Context: dead letters stay in their topic for weeks; the same selection a day
// later finds those that were replayed well. Decision: search shows a version above the letter's next one: settled. Consequences: the same plan can be made
// every day; with --no-search it cannot.
