// # Decisions
//
// 2026-11-21, a replay replaces its own event alone. Context: a replay is written with an external version, which Elasticsearch compares and nothing else; and that an event is
// one is told by replayid and replaycount, which functions/replay writes to events.raw itself. Kafka names no sender, so whoever can write to that topic or to a Broker's ingress can
// set them, and another payload under a known source and id replaced the document without a word. Decision: before replays are written, what is there is asked for, and a document
// with another datahash stays: the event is a dead letter identity_conflict, as one that does not say that it is a replay. Consequences: one request more for a batch that has replays; what
// failed as identity_conflict cannot be forced in by replaying it. Two payloads that are written within the same milliseconds by two batches can still
// pass each other, of which the later wins, and the lake holds both. A forged replay with the event's own payload changes nothing but the document's replay_count.
//
// 2026-11-21, two payloads that die under one name. Context: dead letters are named by root id, stage and replaycount, and two payloads under one identity can
// fail in the same stage. Decision: the second one's id has its hash behind it. Consequences: neither is "already there" for the other; both are found by root_id.
//
// 2026-11-21, an event whose version has no contract here waits. Context: enrich passed it, so there is one, and files come to each pod in their own time. That another version of its
// MODEL is known does for its index, and not for people: the new one may be the first to say that a field is personal. Decision: contracts are
// looked at once more, and its events come again for CONTRACTS_WAIT, counted from the first one of the version; where the file is there and wrong, until it is mended (see
// package contract). Consequences: a contract's deployment costs no dead letters; a version that only enrich knows holds slots for half a minute, and then makes dead letters
// unknown_contract, which can be replayed.
//
// 2026-11-21, without a key to mask with, what is to be masked waits. Context: search shows no personal data (package mask); an operator has not made the key yet, or its file is
// unreadable. Decision: events whose contract masks come again every CONTRACTS_INTERVAL and are never dead letters of this function; all others go on, dead letters too, without their payload where
// it would have to be masked, and without attributes that say the same. Consequences: they hold a Trigger's slots, as whatever waits does, and are given up after its retries; millrace_mask_waiting_total and an error in the log, once
// a minute, say so. A key in a file is used from the next batch on; one in MASK_KEY takes a restart.
package main
