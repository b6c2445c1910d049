// Package search answers the part of Elasticsearch's HTTP API that Millrace and people looking at its documents use, on SQLite
// in one directory, so that `make run` needs no Elasticsearch. It is for one machine and some hundred thousand documents.
//
// It guarantees: a write that was acknowledged survives a SIGKILL of the process (not a power cut: SQLite runs with
// synchronous=NORMAL); all items of a _bulk request are one transaction, in which each succeeds or fails for itself; a value
// that does not fit its mapping fails its item with the type and status Elasticsearch gives; what it does not know (path,
// parameter, query, aggregation, mapping parameter, setting) is refused with 400 in Elasticsearch's shape, never ignored.
//
// That it answers as Elasticsearch does is checked by records: testdata/golden holds requests with Elasticsearch's whole answers, which `go test` compares with
// this package's and `make integration` with a server's. testdata/differences.json is the list of the answers that differ, each with what this package says and why.
// `go test -tags integration -run Golden . -update` records Elasticsearch, the same without the tag the differences.
//
// Where it differs from Elasticsearch 8 beyond that list:
//   - A write is searchable at once; refresh does nothing.
//   - Scores are all 1: hits without a sort come in the order of their first indexing. boost is accepted and without effect.
//   - nested fields are treated as plain objects: a nested query may combine values of two of a document's nested objects.
//   - date_nanos, geo, vector, range and alias types, aliases, data streams, component templates, dynamic templates,
//     routing, pipelines, updates, scripts, scroll, points in time and highlighting are refused.
//   - text has the standard analyzer, approximated: runs of letters and digits, lower-cased.
//   - Cardinality is exact. _cat sizes are the sources' bytes. Health is always green.
//   - A search over several indices that one of them refuses fails as a whole.
//   - A terms query with an unsuitable value, and similar, fails as "all shards failed" with 400, as on one shard.
//
// Decision, 2026-11-21. Context: queries over 100,000 documents should take less than a second and ingest 5,000 documents a
// second, in less than 100 MB. Parsed documents do not fit, and an inverted index as SQLite rows costs some forty inserts a
// document. Decision: beside its source each document has one compact blob of its indexed values, made at indexing by the
// mapping of that moment; a query scans the blobs of the indices it names, and only hits read the source. Consequences: a
// query's time grows with the number of documents in the indices it names, whatever it finds (100,000 take some 0.1 to 0.2 s on two busy cores), but for
// those that name documents by _id (ids, term and terms, also within bool, _mget) and counts of everything, which take less than 1 ms; a field mapped later does not
// show in documents indexed before, as in Elasticsearch; memory does not grow with the number of documents, except for
// what sorts and aggregations gather.
package search
