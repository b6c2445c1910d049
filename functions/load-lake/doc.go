// # Decisions
//
// 2026-11-21, an empty bucket is no new lake where the topic was drained. Context: the landing log is the position, and it lies in the bucket; a bucket that was deleted and made anew, or a wrong S3_BUCKET,
// has none, which read as a topic that was never drained: everything that Kafka still has was landed once more, and what it has forgotten was called lost before the first drain, without an
// alarm. Decision: where a topic has no log under any id and LAG_GROUP has offsets of it, the drain stops (millrace_lake_stopped, an error that names bucket settings, topic and key prefix) until the log is brought
// back or DRAIN_ACCEPT_LOST_LOG has the topic's id; then it lands from Kafka's oldest record, what came before as a lost range. Consequences: one or two listings more a drain; one request to Kafka more for a first one. A
// LAG_GROUP that is set and empty, or whose offsets Kafka has dropped, guards nothing. The setting can stay: Kafka never gives a topic's id again, but a second loss of the same topic's log is then accepted too.
package main
