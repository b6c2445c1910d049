// Package trino computes models with Trino over the warehouse's own Iceberg tables: curate's engine where the rows outgrow one machine.
//
// It guarantees: what package model guarantees of its DuckDB engine. Rows and checkpoint change in one commit, made by package warehouse; a run that is killed at any point, or whose Trino
// goes away, leaves tables as they were, and the next run finishes them; the same models give the same tables.
//
// It does not: move rows through this process (they go from Trino to the object storage), create tables by Trino, or leave position deletes.
//
// # What Trino needs
//
// A catalog of the Iceberg connector over the same catalog database (or REST catalog) and bucket, that may write: connector.name=iceberg, iceberg.jdbc-catalog.catalog-name=lake, and so on. Rows on their way
// lie in tables of the schema stage, which nobody else should use.
//
// # Decision 2026-11-21: Trino computes, package warehouse commits
//
// Context: by statements alone a change is several commits: DELETE and INSERT for partitions that are recomputed, MERGE or UPDATE for rows that lose, ALTER TABLE for the checkpoint; each of them is seen by
// readers half done, MERGE leaves position deletes that slow each reader until compaction, and whoever asks which files changed has to know about those. Decision: Trino
// writes the rows into a table of the schema stage that has the target's columns, field ids and partition, and package warehouse then makes those very objects the target's, removes the files they
// replace, and sets the checkpoint, in one commit. Files of the target that hold rows that lose are written anew without them, as DuckDB's engine does.
// Consequences: one snapshot for each change, never an in-between; a repeated run adds nothing; a stage table that was adopted is forgotten by the catalog (its metadata objects are orphans for
// maintenance), and never dropped by Trino, which would delete objects that are now the target's. Such objects lie under stage/ in the warehouse until compaction.
//
// # Decision 2026-11-21: what Trino says it wrote is compared with what is there
//
// Context: the driver, and gateways, send a statement again whose answer got lost; the first one may have run, or be about to end. An INSERT then ran twice, and no table says so. Decision:
// before anything is committed, the rows of each table of the stage are counted from its files and compared with what the statements answered; conflicts go through the stage too. Consequences:
// such a run fails for that model ("a statement ran twice"), and the next one does it again; a repeated statement that ends later writes into a stage table that nobody reads any more.
//
// With a REST catalog the warehouse's lock holds nobody: a second run then clears the first one's stage, whose models fail, and nothing is committed of them.
//
// # Decision 2026-11-21: copies are looked for by partition
//
// Context: DuckDB's engine fetches the key columns of the files that can hold copies: those of touched partitions, and those whose rows arrived within the window. A list of files does not scale as SQL.
// Decision: the partitions of those files are a condition on the target. Consequences: Trino sees at least the rows that DuckDB sees; a copy that arrived longer ago than the window can be found by
// one engine and not by the other.
package trino
