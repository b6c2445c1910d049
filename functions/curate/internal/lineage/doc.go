// Package lineage tells a lineage service, or a file, which job of curate read and wrote which tables: OpenLineage's run events (specification 2-0-2).
//
// It guarantees: what it is told is told on in this order, each event at most once, as one POST to <URL>/api/v1/lineage or as one line of the file; it never makes a run wait for the
// service (but for Close, until its context ends), never fails one, and never drops an event without a word: Close returns how many were not delivered, and why.
//
// It does not: try again (a lineage service that was away misses events; the tables know all of it), say which column came from which, or send values of rows.
//
// # Decision 2026-11-21: tables are named by where they lie
//
// Context: lineage joins jobs of different tools by the names of data sets, and OpenLineage's naming rules give an object store's table its location. Decision: namespace s3://<bucket>,
// name <prefix>/<schema>/<table>, and the facet symlinks with the name by which SQL knows it (schema.table). Consequences: Spark or Trino jobs of others that report the same location meet ours.
//
// # Decision 2026-11-22: a run, its steps, and what they do
//
// Context: events that all go out at the end of a run tell nothing of one that was killed, which is what a lineage service is asked about. Decision (of command curate, which calls this package): a job for the run (curate),
// under it one for each step (curate.ingest, curate.quality, curate.models, curate.sla, curate.maintenance), under those one for each table or model. START of run, step and model goes out when the work begins, COMPLETE or
// FAIL at its end, so that a run that dies leaves its STARTs without an end; tables of ingest and quality, which these steps take together, are told of when the step ends. A run that finds nothing to do sends
// nothing, every five minutes as it is. Consequences: whoever looks for runs that died looks for START without an end for longer than the job's deadline.
//
// # Decision 2026-11-21: tests and quality are jobs of their own
//
// Context: the specification keeps dataQualityAssertions for inputs, and a model's test runs on its output. Decision: as dbt's integration does, a model's tests are another job
// (<model>.test) that reads the table. Consequences: Input has assertions and Output has statistics, and the compiler keeps them apart.
package lineage
