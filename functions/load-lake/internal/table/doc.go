// Package table turns Kafka records into Parquet: which columns a record has, and which value of it goes where.
//
// It guarantees: every record becomes one row, whatever it holds; a raw or dead row holds all that the record held (payload
// byte for byte, attributes, other headers, key), so that the record can be made again; an enriched row holds the whole
// payload and enrichment, masked (package mask), each value in its contract's column or else, as the JSON it was, in `_rescued`. Columns are
// optional, named in lower case, and never depend on the records.
//
// It does not: read Kafka, write objects, check contracts (a value that fits its column is taken), or refuse.
//
// # Decision 2026-11-21: a record that is no CloudEvent is a row
//
// Context: the lake is the archive; a skipped record is a lost one. Decision: its value is the payload, its headers are kept in
// `kafka_headers`, its attributes are null. On the enriched topic its value is withheld, since no contract says what in it is personal. Nothing is ever undecodable, so
// the landing log's skipped ranges hold only offsets without a record. Consequences: whoever counts events counts rows
// with a `root_id`.
//
// # Decision 2026-11-21: typed attributes keep their text where the type does not hold it
//
// Context: `time` and the like are timestamps of microseconds in UTC for SQL, but the producer's text may name an offset, or
// nanoseconds, or be no time at all. Decision: an attribute whose column does not give the same text back stands in
// `extensions` too, under its CloudEvents name; collectortime and failuretime, as our own functions
// spell them, are cut to microseconds without a word, since nothing rests on what is finer. Consequences: the raw row holds
// what a producer said exactly, at no cost for what we add. Every other attribute with a column is in its column alone, and every attribute without one in `extensions`.
//
// # Decision 2026-11-21: payload and enrichment are structs, names are lower case
//
// Context: a payload may have fields named id or time, as the attributes have; Iceberg and Trino ignore case. Decision: columns
// `payload` and `enrichment` are structs of the contract's fields with their names in lower case, which no two fields of one object share
// (package contract refuses that). An object of unknown shape, an array of anything, and "any" are JSON text. Consequences: names are stable, since additions come behind.
//
// # Decision 2026-11-21: one set of columns per MODEL
//
// Context: within a MODEL additions only add columns. Decision: the columns are those of all known versions of the MODEL (contract.Set.Model,
// which refuses versions that contradict each other); an event of a version that is not known yet is in their object, too.
// Consequences: its columns are empty (see below).
//
// # Decision 2026-11-21: what nobody has classified is withheld
//
// Context: enriched rows are masked as the event's contract says, and many may read them; raw rows have all of it. A new version can be the first to
// say that a field is personal, of those too that others name. Decision: where an event's version is not known, or the data of a masked type is no enriched event, the row shows nothing of it, and `_rescued` says so
// under "withheld"; attributes that say what other versions mask are masked.
// Consequences: `_rescued` is never a way round the mask; package drain waits for a contract before it writes such a row, and a replay from raw writes the event again once the
// contract is here (curation keeps the highest replaycount). An enriched record that another producer wrote past enrich, of a type that no contract knows, is in Kafka alone.
//
// `_rescued` is a JSON object from JSON pointers (of the enriched data: /payload/..., /enrichment/...; "" is all of it) to values. An
// earlier one of two members with one name stands under its pointer with #1, #2 behind it; data that is not JSON under "base64". A
// timestamp finer than microseconds is in its column, cut, and in `_rescued`.
package table
