// # Decisions
//
// 2026-11-21, what cannot be kept is said, not cut. Context: an event over 900,000 bytes, or one whose attributes fill more than 32 KiB of headers
// (proxies before a Trigger's subscriber take about 60 KiB), cannot become a dead letter with all its bytes. Decision: where the producer's object
// still fits an event it is kept whole; else the dead letter too_large has no data and says how many bytes there were; the other events of
// its array are not touched. Only a body that cannot be read at all and is too large is 413. Consequences: each event of a readable body has a
// receipt; a lost payload is visible, and its producer was told.
//
// 2026-11-21, dead letters of binary CloudEvents. Context: a dead letter's data is the producer's object as it came, but in binary mode the attributes are
// headers. Decision: the body is the data; attributes that could be read and are nobody's own stay attributes; the producer's id and source, which
// are not the letter's identity, are producerid and producersource. Consequences: nothing that was sent is lost, and bytes stay bytes.
//
// 2026-11-21, no CloudEvent within a CloudEvent. Context: a datacontenttype of application/cloudevents+json becomes the record's content type, which declares
// the whole record to be in structured mode. Decision: such an event is a dead letter. Consequences: producers nest events as application/json.
//
// 2026-11-21, null at the top level is absent, except for payload, whose null is a JSON value like any other. Context: serialisers write null for
// what is not set. Consequences: enrich's contract decides on a null payload.
//
// 2026-11-21, the body's buffer is not pooled. Context: a record handed to Kafka and not confirmed is read on after its request was answered.
// Decision: payloads alias the body, which is left to the garbage collector. Consequences: no copy, no use after release; one allocation a request.
package main
