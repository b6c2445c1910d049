// Package kafka is the Kafka of one machine: franz-go's kfake as a single broker with a data directory.
//
// It guarantees, as its tests prove by killing a process, that a SIGKILL loses no acknowledged record, no topic (nor its id, to which the landing log is
// bound) nor its settings, no producer's sequence, and no committed offset. It does not survive the machine's own crash: nothing is fsynced at
// each write, as in Kafka's own default. One process has a directory at a time (a lock that dies with the process), and topics never come into being by being
// asked for.
//
// What retention ended stays ended over a SIGKILL; what DeleteRecords deleted may be there again after one (not after an orderly end), as with Kafka, which
// writes the start of a log down once a minute.
//
// It is no substitute for Kafka in production: one broker, no replication (an acknowledgement means one copy), no quotas. It passes the suite that Apache Kafka
// passes (shared/kafka/kafkatest), whose Differences are the list of what is known to differ.
//
// # 2026-11-21: kfake, within the platform's process
//
// Context: `make run` must need nothing but Go; Kafka itself needs a JVM or an image. kfake speaks the protocol in full (groups, transactions,
// retention, persistence) and takes 20 to 70 MB. A topic that it makes on a metadata request is not persisted at once, and is lost by SIGKILL with its records.
//
// Decision: kfake with DataDir, without SyncWrites, without automatic topics; replication factor 1 by default, since it has one broker; retention is
// looked after once a minute.
//
// Consequences: the platform closes it last, after all who use it. An upgrade of kfake can read the data of the version before it only (its own rule).
package kafka
