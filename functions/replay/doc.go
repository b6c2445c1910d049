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
//
// 2026-11-21, a plan is not replaced. Context: replay plan -o plan.json wrote over a plan that was half applied, and with it the way to go on. Decision: a name that is taken is refused before the
// work, with what is there and what to do; --force replaces it. Consequences: the pair of commands in README asks for --force the second time; two that write the same name at the same
// moment are not kept apart.
//
// 2026-11-21, reconcile reads indexes as a whole. Context: to ask Elasticsearch for a document by its id costs it some 50 us of CPU, a million of them most of a minute. Decision: where many documents of one
// index are looked for and few others are of the same time, reconcile passes over the index in a point in time, and asks by id for what that did not show alone. Consequences: what is not refreshed is
// found as before; a scan only ever confirms, by id and 64 bits of the hash; a server without points in time, as the embedded one, is asked as before.
//
// 2026-11-21, a replay has an outcome of its own. Context: over distinct root ids, a replay that was lost is covered by the dead letter that it was made of, and a replaced document by the one before it.
// Decision: what came of an event must have the highest replaycount that raw has of it, and its document that count's version. Consequences: counts above 255 are taken for 255; a replay that went
// to the enriched topic directly must be in search, or a dead letter of load-search with its count: the letter that it was made of does not stand for it.
//
// 2026-11-21, what Kafka lost is not accounted for. Context: a partition that lost its end holds neither what its receipts called durable nor a trace of it; the topics alone add up. Decision: where the
// landing log says so within the time (Broken, Rewound), the sums do not close. Consequences: as after a topic that was made anew, --from a later time is whole; before the next drain nobody knows.
