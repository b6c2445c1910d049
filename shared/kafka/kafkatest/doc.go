// Package kafkatest holds the one suite that each Kafka under Millrace has to pass: the embedded one in every `go test`, Apache Kafka in `make integration`. It
// is for tests only: production code must not import it.
//
// It covers what our functions rely on: topics with settings and ids, acknowledged and idempotent writes, records byte for byte, refusals with their errors,
// reading by offset with every gap accounted for, DeleteRecords, groups and their offsets with metadata. [Compaction] is apart from [Run]: no topic of ours is compacted, but foreign ones that
// are read may be, and a broker compacts when it likes (Apache Kafka every 15 seconds, the embedded one every minute, which `go test` does not wait for).
//
// Not covered: replication (one broker each), quotas, ACLs, TLS and SASL.
//
// # 2026-11-21: differences are values, asserted on both sides
//
// Context: the embedded Kafka cannot be Kafka in everything, and a difference that is only written down goes stale in silence: the embedded part may gain what
// it lacked, or Kafka may change. Decision: [Differences] is the list; for each the suite observes what this server does and compares it with what the list
// says of it. Consequences: an upgrade of either that changes a difference fails a test, and the list is the documentation.
package kafkatest
