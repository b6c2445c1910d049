// Package search writes documents to Elasticsearch and says of each what became of it.
//
// It guarantees that a result is Done or Conflict only where Elasticsearch itself said so for that very document, that a
// document counts as permanently refused only for an error type on a closed list, and that everything else (no
// connection, an answer that does not parse or misses items, 401, 403, 404, 429, 5xx, an error type never seen before) is
// told apart from it. It sends a document once per call, but for a request that is refused as a whole for its content or size (400, 413), of which
// nothing was written and which goes again in halves: repeating anything else is the business of whoever delivers.
//
// It does not look into documents, does not decide what a conflict means (the caller compares Hashes), keeps no queue and
// no retries of its own, and starts no goroutine.
//
// # Decision of 2026-11-21: esapi directly, one request at a time
//
// Context: the client library's bulk indexer counts a 409 as a failure, flushes from its own goroutines and retries on
// its own, so that a caller cannot say for an event when its write was confirmed. Decision: Bulk builds the request
// itself, splits by bytes and count, and maps every item of the answer. Consequences: batches and concurrency are the
// caller's; a caller that wants two requests in flight calls Bulk twice.
//
// # Decision of 2026-11-21: what is permanent
//
// Context: all that Elasticsearch 8.19 refuses because of a document's content (a value that does not fit its field, a
// duplicate member, nesting deeper than 1,000, a number of 2,000 digits, an over-long term, a metadata field) arrives as
// document_parsing_exception; before 8.9 it was mapper_parsing_exception. illegal_argument_exception by itself says
// nothing: a full index and a field limit have it as well, and a cluster with too many shards answers
// validation_exception with status 400 to good documents. Decision: permanent are document_parsing_exception,
// mapper_parsing_exception, strict_dynamic_mapping_exception, and illegal_argument_exception where its cause is
// max_bytes_length_exceeded_exception. invalid_index_name_exception is none of them: names are made here, so it would be
// our fault and not the event's. Outages of one index (flood stage, closed, missing, unassigned, overload, missing
// rights) are Unavailable and count nothing against a document; the unknown rest is Refused, which a caller may count.
// Consequences: a new error type costs retries and never an event.
//
// # Decision of 2026-11-21: names of indexes
//
// Context: an index name is lower case, an event type is not, and may hold the '-' that separates the parts of the name:
// the pattern of type "a", model 1 (enriched-a-1-*) would match the index of type "a-1". Decision: the type is
// lower-cased and each '-' in it becomes '~', which no type holds; so the parts can be read back, and no template's
// pattern matches another's index. Two types that differ only in case would still share a name, and no rule can tell
// them apart without knowing both: the template therefore records its type in _meta, and whoever comes second with that
// name is refused with a NameTakenError before anything is written. Consequences: names stay readable; two types never
// share an index; of two types that differ in case only the first can be searched, the other's events become dead
// letters that say so.
//
// # Decision of 2026-11-21: versions of templates
//
// Context: an older process must not take a newer one's fields away, and Elasticsearch has no conditional write for
// templates. A contract can also change under its version (edited in place, or a file of CONTRACTS that takes a shipped one's place): by the version alone its fields never
// reached a template. Decision: a template's version is made from the layout of this package and the highest revision and
// addition of the contracts it covers; it is written with create=true where there is none, and replaced where the
// one found is lower. _meta holds the hash of the mapping that its writer wanted. Where the version is the same and the hash another, and the template lacks something of
// ours or has it otherwise, it is replaced, and a line logged; fields that only the other has are kept, since nobody can tell which of the two is the newer. Where the hash is ours
// it is left alone, so that what an operator changed in it stays. Consequences:
// two processes that upgrade the same template within the same moment may leave the lower one; the higher repairs that at
// its next check. Two processes that run for long with contracts of one version that give a field two types replace each other's template at each check (every ten minutes,
// or a run of provision), and the log says so each time: give the contract a new version. A field that is taken out of a contract stays in its template until the next version.
// A changed number of replicas reaches existing templates with the next version, or by hand.
//
// # Decision of 2026-11-21: credentials by value or by file
//
// Context: keys are rotated and certificates run out while functions run; a variable of the environment is fixed at the start. Decision: [Access] takes a key by value or the
// name of its file, and certificates by file. The key's file is read for each request (a bulk request is many documents), the certificates' for each connection. Consequences: what
// changed in a file is used without a restart; a file that is away is an outage, whose error names the variable; open connections live on under the authority that they were made with.
//
// # Decision of 2026-11-21: added fields reach the indexes that are there
//
// Context: a template is for indexes to come, so a field that an ADDITION brings was found from the next day's index on, and by backfill never. Decision:
// [Client.ExtendEnriched] puts the fields of the whole MODEL into the mappings of all its indexes, in one request by their pattern, and where that is refused
// (one index can keep all from it) into each by itself, and only what it lacks. An index that has a field with another type keeps it and is named in a MappingError.
// Whoever loads does this once for each set of versions, before the first write, and goes on writing whatever came of it.
// Consequences: an added field is found in what is written from then on, in whichever day's index. Documents that are there already hold the field and are not found by
// it until they are written again: POST enriched-<type>-<MODEL>-*/_update_by_query?conflicts=proceed does that, and is a person's to start, since it
// rewrites the index. The key that load-search uses needs the right to change mappings (manage); without it, it says so once in ten minutes and loads.
//
// # Decision of 2026-11-21: no document into an index whose types were guessed
//
// Context: an index that is made while its template is away, or hidden by another template of a higher priority, guesses the types of its fields from the first documents; then
// good documents are refused (document_parsing_exception, a field limit), searches miss what is there, and nobody is told. A write makes its index by itself, so that a look at the
// template before it is not enough. Decision: [Client.PrepareEnriched] makes the index in a request of its own and looks at the mapping that it got, before the first write and once in ten
// minutes, and again before a document that it refuses is given up. Where it would guess and no field of ours is otherwise yet, it is given our mapping; where one is, it is
// an *IndexError, and its events wait until a person deletes it or makes it anew. An index that guesses nothing and has a field of another type was made so by hand: it is
// written to, the log names the fields, and what it refuses is a dead letter search_rejected. Behind an alias there must be one index that may be written to. Consequences: action.auto_create_index
// may be off; one request more for a new index, two in ten minutes for one that is there. A key without the rights to look (view_index_metadata) or to make indexes (create_index) loads
// as before, and the log says that nothing is looked at. No index is deleted here.
//
// # Decision of 2026-11-21: provision puts templates right, functions leave them
//
// Context: a template that was changed by hand changes each day's index from then on; load-search looks at it every ten minutes, and an operator may have meant it. One that somebody else put under our name,
// without our _meta, read as a type's name that is taken, which gives events up. Decision: [Client.MendTemplates], which provision alone calls, puts back what is ours (fields, dynamic, patterns, priority)
// and says what differed; fields beside ours and all settings stay. A template that is not Millrace's is replaced by whoever finds it, with a warning. Consequences: what an operator changes in our fields
// lasts until provision runs; settings and added fields last.
//
// # Decision of 2026-11-21: what one index fails with is not another's
//
// Context: Elasticsearch waits a minute for a primary shard that is nowhere, longer than a request of ours, so that the documents of all other indexes in it went without an answer; and an error
// type that is not known, as of an index whose pipeline is missing, counted against its events as long as other indexes took theirs. Decision: a bulk request waits a quarter of its time for shards;
// Hashes fails for each document by itself; and whoever counts attempts asks whether that very index took another document since it refused one. Consequences: a lone poison document of an
// unknown error waits until its index takes another one.
//
// # Decision of 2026-11-21: one field for a producer's own extensions
//
// Context: extensions (traceparent, a tenant's name) are what people look for, and anyone can invent a thousand of them. Decision: they are one field of the type
// flattened, at most 8 KiB in a document (package document) and 2,048 characters of a value in the index; what is left out, extensions_truncated says, and the lake has all.
// Consequences: extensions.traceparent:"00-..." finds, values compare as text, and no producer adds a field to an index.
//
// # Decision of 2026-11-21: a trace's id is a field
//
// Context: people have a trace's id from elsewhere, not the span's nor the flags that extensions.traceparent holds as well. Decision: trace_id, 32 hex digits of a valid traceparent, beside the
// extension, in both kinds of documents; layout 4. Consequences: trace_id:"..." finds; indexes that are there get the field as any other that is added.
package search
