// # Decisions
//
// 2026-11-21, what cannot be kept is said, not cut. Context: an event over 900,000 bytes, or one whose attributes fill more than 32 KiB of headers
// (proxies before a Trigger's subscriber take about 60 KiB), cannot become a dead letter with all its bytes. Decision: where the producer's object
// still fits an event it is kept whole; else the dead letter too_large has no data and says how many bytes there were; the other events of
// its array are not touched. Only a body that cannot be read at all and is too large is 413. Consequences: each event of a readable body has a
// receipt; a lost payload is visible, and its producer was told.
//
// 2026-11-21, dead letters of binary CloudEvents. Context: a dead letter's data is the producer's object as it came, but in binary mode the attributes are
// headers. Decision: the body is the data; attributes that could be read and are nobody's own stay attributes. Consequences: nothing that was sent is lost, and
// bytes stay bytes.
//
// 2026-11-21, a dead letter says what its producer calls it. Context: what fails at the top level gets a new id and the collector's source, and whoever looks for
// an event by its own had to search payloads, which are not indexed and which a dead letter too_large does not have. Decision: source and id that can be read, of a
// body that is no JSON too as far as it goes, are failuresource and failureid, at most 1 KiB each; they are not its identity, since nothing proved them. Those of an
// array that is no JSON are not, for they would be one event's of many. Consequences: failure.origin_source and failure.origin_id find it in search.
//
// 2026-11-21, no CloudEvent within a CloudEvent. Context: a datacontenttype of application/cloudevents+json becomes the record's content type, which declares
// the whole record to be in structured mode. Decision: such an event is a dead letter. Consequences: producers nest events as application/json.
//
// 2026-11-21, null at the top level is absent, except for payload, whose null is a JSON value like any other. Context: serialisers write null for
// what is not set. Consequences: enrich's contract decides on a null payload.
//
// 2026-11-21, an event keeps its own data, not its request's body. Context: a record handed to Kafka and not confirmed is read on after its request was answered, and
// can be for minutes; payloads that alias their body kept all of it, so that tiny events in large bodies, or one event of each batch where one partition hangs,
// held a hundred times what SEND_BUFFER_BYTES counts. Decision: an event whose data are less than half of the body gets a copy; a larger one, which is most of its body, aliases it.
// No buffer is used twice. Consequences: what an unconfirmed event holds is at most twice its data, with its record's headers; a copy of some hundred bytes an event of a
// batch; while the copies are made, a request holds its body twice.
//
// 2026-11-21, a request's room is given back before its answer is written. Context: two producers that did not read their receipts shut out all others. Decision: the
// answer is made whole, body and events are dropped, and then it is written; serve bounds how long that may take, and what such answers hold together.
// Consequences: who does not read hinders nobody; it finds its connection broken, and its events in Kafka.
//
// 2026-11-21, all partitions share one buffer. Context: one partition can be out of order while the others are well: without a leader its records are tried again a hundred times,
// some 10 s; where its broker takes them and does not answer, each try takes 30 s. Its events are unconfirmed, after SEND_TIMEOUT, and so every batch with one of them is
// answered 503 then, although its other events were accepted, as their receipts say. All the while its records count against SEND_BUFFER_BYTES; once they fill it, which takes seconds under
// load, every event of every partition is busy until some are settled. Decision: no room of its own for each partition: which one an event goes to is known only within the
// producer, and a share for each would be too small for large events. Consequences: a partition that hangs stops all intake, with nothing lost or written twice, as an
// outage of Kafka does; producers send again, and accepted events are the same events then where they have ids. A larger SEND_BUFFER_BYTES (and memory limit) buys time.
//
// 2026-11-21, a body in the JSON form is taken apart while it is checked. Context: at a hundred events a request, checking, splitting and reading were three passes over
// every payload. Decision: one pass makes the events; where the body turns out not to be JSON, or to hold too many, they are thrown away before anything is
// published. Consequences: the same answers in a third of the passes; ids may be made for events that never are.
package main
