// Package kafka is Millrace's adapter to Apache Kafka on IBM/sarama: safe settings, CloudEvents as records, a producer whose answer means durable, topics
// and groups, consuming behind the oldest unfinished event.
//
// It guarantees that [Producer] reports an event as written only after the brokers acknowledged it as acks=all says, and that what a reader commits is never
// ahead of what was finished. It does not create topics except where [Admin.EnsureTopic] is called for it.
//
// # Decisions
//
// 2026-11-21, own producer and consumer around sarama. Context: the CloudEvents SDK's sender ignores its context, sends one by one and takes a closed client for success;
// its consumer moves the commit past unfinished events. Decision: the SDK's Kafka binding encodes and decodes; sending goes by AsyncProducer waiting for
// each success, receiving by an own loop. Consequence: delivery is code of ours, with its own tests.
//
// 2026-11-21, attributes are percent-encoded in record headers. Context: the Kafka binding of CloudEvents says UTF-8, but Knative's Kafka Broker damages raw UTF-8 in headers. Decision: encode
// as the HTTP binding says, and decode on reading; raw UTF-8 is read too. Consequence: a foreign reader sees %20 for a space.
//
// 2026-11-21, two ways to consume. Context: knative/local gives each record of a Trigger to an HTTP subscriber, one by one; a function that takes its events straight from Kafka
// wants large batches, and to hold back when a dependency is away. Decision: [Consumer] for the first, [Intake] for the second; joining the group, positions and what is told of lost
// records are one code. Consequences: an Intake never gives an event up by itself (its handler's chain does), and reads one again in a generation only where it had to wait (see below).
//
// 2026-11-21, retention that overtakes an intake. Context: a committed offset that Kafka no longer holds leaves nothing to read. Decision: reading goes on at the oldest record; the range is
// an error in the log, and millrace_intake_lost_offsets_total counts it. Consequence: the pipeline does not stop for what is lost already; the alarm is the metric, and load-lake's
// lost range tells which events the lake has all the same.
//
// 2026-11-21, attempts live in the commit's metadata. Context: a count in memory begins anew with each owner of a partition, so that a poison event was retried for as long as members came and
// went. Decision: offset, attempts and time of the first failure of unfinished events that failed stand in the metadata of their partition's commit, at most 4,096 bytes (some 250 of them, those with most
// attempts first), fewer where the broker takes less. Consequence: beyond that number, and for the second between two commits, a count can be lost, which means more attempts and nothing else.
//
// 2026-11-21, events that wait are given up from memory. Context: an event whose contract is not there yet waits, without end where people must mend a file. Held with their bytes, some 17,000 of
// one type used up all memory of an intake and stopped it for every other type. Decision: of an event that is Retry with a time of its own only its offset, attempts and place among its key stay, some 200
// bytes; it is read again by its offset, over a connection of its own and into bytes of its own (a quarter of MaxBytes: what waits for it may hold all others). Those of one type and version wait together:
// one is tried each time, and all others are read once it did not have to wait, since 50,000 of them tried every ten seconds would be a load by themselves (beyond a thousand types and versions, which producers can invent, the
// further ones are as one). The commit stays behind the oldest. At
// most 100,000 wait so (20 MB); more stay in memory, and partitions pause when that is used up. The window became a million offsets, as what is finished behind an unfinished event costs
// almost nothing any more. Consequences: a crash or a rebalance brings up to a window of events again, which all writes can take, and reads those that wait anew from the commit on. With Ordered, later events of a
// waiting one's key wait behind it, whatever their type, and without their bytes too: order within a key is a promise, and which types of a key are independent is not for an intake to know. Whoever does
// not want that has no partition key of his own (the default is the root id). What retention or compaction removed meanwhile is an error in the log with its range and counts
// in millrace_intake_lost_offsets_total, as below; it is found when it is read again, and the commit goes on past it.
//
// 2026-11-21, a dependency's word holds back all, for a minute at most. Context: a proxy's Retry-After of an hour held each event for an hour, while others went on to the dependency that had asked for a
// pause. Decision: outcomes tell one from the other ([delivery.Outcome].Away); where a whole batch is away, nothing is handed out for the time asked, of which delivery.MaxHold counts.
//
// 2026-11-21, static members where there is a stable name. Context, measurements and decision are in package direct (knative/direct): a killed member's partitions wait for its session, nine to ten seconds, unless it
// comes back under its name. Consequence: [IntakeOptions].Instance is an option, off by default, since two members of one name throw each other out.
//
// 2026-11-21, a commit says of which topic it is. Context: a topic that is deleted and made anew counts from 0 again, under a new id; an offset that was committed on the old one (by a member that was
// late, or with a coordinator that was away) would skip as many events of the new one without a word, and so would a reader that goes on fetching. Decision: the metadata of our commits begin with the
// topic's id; a member compares it before it reads, begins at the oldest record where it is another, and looks every two seconds whether its topics are still those that it joined on. [Admin]'s
// calls take a commit of another topic for none. Consequences: events of the new topic that were read before that was noticed come twice, none is skipped; a commit without an id (another client's, an
// older release's) is believed unless it lies behind the partition's end, and gets an id when a member of ours takes the partition; Knative's own consumers do none of this: provision --help says what to do.
//
// 2026-11-21, nothing is handed over while it is known that it cannot be written. Context: sarama was handed events all through an outage, each unconfirmed, so that producers sent them again and
// Kafka had them twice in the end. Decision: once no connection is open and none can be made, or events are late or refused, connections of their own find out why: no broker to be reached, of those that were named and those that the
// open connection knows (or none that lets us in), no topic, no partition with as many replicas in sync as min.insync.replicas asks for. As long as one of these holds, events wait at the gate and are busy when their time is up; the
// log says so once, with the reason (again after a minute at the earliest where the reason has other words), and once when it is over. Consequences: what was handed over before it was noticed stays unconfirmed; two loads of a pointer for each Publish; one more
// metadata request a second while it lasts. Where only some partitions are affected nothing is held back, since the partition is chosen within sarama, but the reason is told. While a topic is gone the
// others of the same producer can stop for some ten seconds, as sarama asks for the metadata of the one that is missing.
//
// 2026-11-21, what is held is counted. Context: records are allocated 64 at a time, so that one which hung kept its neighbours' room too, 70 times what was counted. Decision: a piece's common room is
// counted until its last record is settled, and taken for the whole piece before any of it is handed over, so that none waits for room with some in its hands. Consequences: Buffer counts some 900 bytes
// more for an event than it used to.
//
// 2026-11-21, TLS and passwords by our own dialer. Context: sarama takes one TLS configuration and one password for all connections of a client, which may not change while it is used, and
// only SCRAM has a hook at each connection. Decision: [Security]'s dialer reads the files, does the handshake, and for PLAIN puts the password of now into the request in which sarama
// authenticates; for SCRAM the exchange reads it. Consequences: what is rotated is used by the next connection, and a handshake that fails says why; connections that are open stay open, which
// is the brokers' business (connections.max.reauth.ms has the password read again). What sarama was told in place of the password is never sent.
package kafka
