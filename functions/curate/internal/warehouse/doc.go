// Package warehouse is the lake's Iceberg tables as curate sees them: a catalog, tables that grow columns, files that are fetched to local disk and files that are committed.
//
// It guarantees: a commit adds and removes data files and sets table properties in one step, or does none of it; a commit that another writer beat is an error (ErrConflict),
// never a merge; objects are uploaded whole before they are named; what is fetched has the bytes that the table names.
//
// It does not: run SQL (package duck does), decide what to write, delete objects of its own accord (package maintain does; iceberg-go removes metadata files that are older than the last
// 20), or touch landing objects.
//
// # Life of a file, and what a crash leaves
//
// NewFile names a local file; somebody writes it; Commit uploads it under <table>/data, writes manifests and a metadata file beside it, and then moves the catalog's pointer. Before that last
// step nothing of it is part of any table: a crash leaves objects that no snapshot names, which maintenance removes a day later. After it all of it is. The local file stays, as what
// Fetch would bring, until Close.
//
// # Decision 2026-11-21: conflicts are found here, not repeated by iceberg-go
//
// Context: iceberg-go repeats a commit that lost a race by putting its files onto the new snapshot, and a commit of properties alone merges with whatever came in between; both would let two
// runs take the same rows twice. Decision: each Table commits through a catalog of its own, which demands that the table's metadata is still what was loaded, and which turns each way of
// losing into ErrConflict, an error that iceberg-go does not repeat. Consequences: the table's property commit.retry.num-retries keeps its default, so that Trino's own commits still repeat. With
// a REST catalog, whose requirements are the protocol's, a change of properties alone by another writer is found by loading the table right before the commit, but for the moment between the two.
//
// # Decision 2026-11-21: one factory of file systems for s3, told by a property
//
// Context: the SQL catalog finds its file system by the location's scheme, through a registry of the whole process, and iceberg-go's own for s3 brings the SDKs of three clouds. Decision: we
// register one for s3, s3a and s3n that looks for the warehouse named by a property of the catalog. Consequences: io/gocloud must not be linked into the same program; several warehouses may be
// open at once. Metadata, manifest lists and manifests never change once written, so what was read or written is kept in memory, 64 MiB at most.
//
// # Decision 2026-11-21: columns are fetched into sparse files
//
// Context: DuckDB's httpfs cannot be had, and a merge needs the key columns of many files. Decision: the footer and the chunks of the columns asked for are read by ranges into a file of the
// object's size with holes elsewhere; objects below 1 MiB, and those of which more than two thirds are wanted, are read whole. Consequences: a query that names other columns fails or reads zeros:
// package duck only names what was fetched.
//
// # Decision 2026-11-22: damage is found out, not guessed
//
// Context: a table whose metadata are gone gives errors like those of a store that is away, and a caller that takes the one for the other either stops for one table or makes whole tables anew in an outage.
// Decision: after an error the catalog's row and the object that it names (Examine: the manifests too) are asked for by themselves; what is missing or cannot be understood while both answer is a *Damaged. A row
// without a metadata file, which iceberg-go calls no table, is one as well. Consequences: a second reading in case of errors alone.
//
// # Decision 2026-11-22: a lock that is lost stops commits
//
// Context: a connection that is cut in a long step lets go of Postgres' advisory lock while the run goes on. Decision: before each commit, and before a table is made or dropped, the connection that took the lock is
// asked whether its session holds it (on SQLite: whether the lock's file is still the same); if not the commit is ErrLockLost. Consequences: one short query for each commit; a pooler that gives connections out by
// the transaction is found at the first; what happens between question and commit the commits' own requirements decide, as ever.
//
// # Seen 2026-11-22: a real REST catalog
//
// Iceberg's own server in Java (RESTCatalogServer of iceberg-open-api 1.10.0's test fixtures, with a JDBC catalog on SQLite and S3FileIO on MinIO) passes this package's conformance suite, and a whole run, a second
// one, queries, maintenance and the rebuild of one table (functions/curate, TestRunOnRealREST; REST_CATALOG_URL names the server). Nothing had to be changed for it. A run that finds nothing new takes about a second,
// since each table is loaded over HTTP. Where a table's metadata file is missing the server answers with an error of its own ("NotFoundException: Location does not exist"), which cannot be told from an outage of its
// store: it ends the step and names the file, where SQL catalogs let the other tables go on. No authentication was tried.
package warehouse
