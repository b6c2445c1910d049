// Package engine is the search of one machine without its storage: the HTTP API, queries, aggregations, mappings and documents, on a [Storage] that keeps
// rows. Package search, one level up, says what it answers and where it differs from Elasticsearch, and has the storage.
//
// # 2026-11-21: rows behind an interface
//
// Context: everything a client can send is parsed here, so it has to be fuzzed; with SQLite (a million lines of generated Go) in the same test binary, building it
// with a fuzzer's instrumentation did not end. Decision: what is known of documents, their ids, versions and deletions, is rows that Storage keeps and finds by
// primary key or id; what they mean, and all JSON, is here. Storage is declared here, by its user; SQLite implements it in package search, and the fuzz test has one in memory.
// Consequences: `make fuzz` covers the engine; no SQL here, so no query can be answered by an index of the database other than by id.
package engine
