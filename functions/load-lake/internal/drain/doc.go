// Package drain moves a topic from Kafka to the lake: it reads on from where the landing log ends, writes objects, and publishes
// them with the next entry of the log.
//
// It guarantees: each offset of the topic is in exactly one entry, as a row of an object, skipped or lost, after any crash and
// with any number of drains at once; an entry is written after its objects; a drain ends, at the end of the topic as it was when
// the drain began, or with the entry during which its time was up.
//
// The life of an object, and what a crash leaves: encoded (nothing), written (an object that no entry names: garbage),
// published by the entry (done; a lost answer is found again by the next drain, which reads the tail). Garbage is never read, since readers
// go by the log.
//
// It stops with an error, and leaves the log as it is, where going on would skip events: ErrNoTopic (it is gone), ErrNewTopic (the topic was created
// anew), ErrTruncated (the topic lost what the log has). It does not dead-letter, commit offsets, or delete anything.
//
// Memory: an entry's records (Limits.Bytes, overheads counted), one fetch beside them (1 MiB compressed), one group's Parquet file with its
// column buffers, and what the collector has not taken yet of the entry before: a process that drains 200,000 events of 1 KB was seen at
// 520 MiB raw and 620 MiB typed with the function's GOGC=400 and GOMEMLIMIT=700MiB (BenchmarkDrainRaw, BenchmarkDrainTyped). Settings.Gate keeps the drains of several topics in one process from adding that up.
//
// # Decision 2026-11-21: a new topic id needs the operator's word
//
// Context: a topic that is deleted and created anew counts from 0 again under a new id, and its log is a new one. That may be a
// test being set up, or a disaster. Decision: where the log has other ids of the topic and none of this one, the drain stops with
// ErrNewTopic until Settings.AcceptTopicIDs has the new id exactly (a list: a Kafka that was set up anew has new ids for all topics). Consequences: the setting can stay without effect on a later
// re-creation; the old log stays, and readers see both.
//
// # Decision 2026-11-21: a truncated topic stops its drain, also when it has grown again
//
// Context: a partition can lose its end (an unclean election, a disk, a Kafka that does not fsync and a power cut). While it ends before the log that is plain; once it has
// grown again, "read on from next" skips for good what took the lost offsets' place. Decision: each entry has a mark of what was read last of each partition (its timestamp and leader
// epoch). Before a partition that grew is read on, that offset is fetched and compared. Where it differs, or the partition ends before the log, an entry
// is written that says so, and the topic is not read on, by anybody, until Settings.AcceptTruncations says where, for exactly that entry. The error
// proposes the newest position of the log whose mark still fits: from there on nothing is skipped. That entry says Rewound, and what follows is landed as it is.
// What cannot be compared is taken for whole: entries without marks, offsets that retention or compaction removed (or else each topic that is quiet for longer than its
// retention would stop). Consequences: one small fetch per drain and partition that grew. Nothing that Kafka has is skipped; between the position
// proposed and the first offset that changed (at most what one entry read) rows come twice, with the same root ids, by which everything is counted. A
// truncation in a Kafka without leader epochs is not seen where the same record, to the millisecond, lies at the same offset again. The other partitions wait too: a Kafka that loses what it acknowledged
// is a person's business first.
//
// # Decision 2026-11-21: the topic's id is asked for again before an entry is published
//
// Context: fetches go by the topic's name, so a topic that is created anew in the middle of a drain would be read on. Decision: the id is read
// before the first fetch of an entry and after the last one; an entry is published only where both are the log's. Ids never
// come back, so what lies between was the same topic.
//
// # Decision 2026-11-21: garbage is left, and never published late
//
// Context: objects that no entry names are deleted when they are old (package sweep). A drain that was suspended between its objects and its entry
// could publish what is gone. Decision: a drain deletes nothing, and does not publish an entry whose first object is older than Settings.PublishWithin
// (ErrStale). Consequences: each crash leaves at most one entry's objects behind, which nobody reads.
//
// # Decision 2026-11-21: partitions are read in turn
//
// Context: when time is short, reading partition after partition would let the last ones fall behind until retention takes them.
// Decision: one fetch of each partition in turn until the entry is full. Consequences: partitions advance alike.
//
// # Decision 2026-11-21: a partition waits before what cannot be written as it should
//
// Context: enriched rows are masked (package table), which takes the event's contract, and a key where that masks anything; contracts come to each process in their own time, and landed objects are never
// rewritten. Decision: an entry takes a partition up to the first event whose contract is not known, for as long as the event is younger than Settings.ContractsWait, or that needs a
// key that is not there; other partitions go on. Without a contract the drain ends well and before the topic's end; without a key it is an error once all else is published. Consequences: publishing
// a contract costs no rows, and at most the wait for one that never comes; a missing key stops the partitions of its types, which lag and alarms for failed drains show, and loses nothing within
// Kafka's retention. Events of one type hold up others in the same partition, since a position is one number.
//
// # Decision 2026-11-21: what waking costs is measured by itself
//
// Context: load-lake's processor time in the whole system's benchmark, 78 us for a raw and a typed row at 1,000 events a second, was held against a bound of 55. That benchmark
// keeps both cores full, where the same work was seen to take half as much time again; the parts did not add up to it. Decision: BenchmarkWake starts a process for 10,000 events, each in
// a batch of records by itself, and reports what the start takes and what each row adds, without a bound: it is the dearest way to bring events (60 us a pair). The bounds, 15 us a raw event
// and 40 a typed one, are held against whole drains of 200,000 from Kafka to the log (BenchmarkDrainRaw, BenchmarkDrainTyped: 9.6 and 25.4). Consequences: a start is some 25 ms, nearly all of it the
// runtime, the libraries' initialisation and page faults (the function's --help takes 16 ms; contracts, clients and layouts are 3 ms), so at a tick every five
// minutes it counts for nothing, and of a row a third is Kafka's batch (zstd over a single event: 7 us) and half is Parquet. The one large cost that was ours to remove was
// the garbage collector's, a tenth (typed) to a quarter (raw).
package drain
