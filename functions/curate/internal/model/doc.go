// Package model is the star schema's models: SQL files with front matter, what they need of each other, whether they are written in the language that DuckDB and Trino share, and the runner
// that brings their tables up to date.
//
// It guarantees: a model's rows, its checkpoint and nothing else change in one commit; a run that is killed at any point is finished by the next; the tables do not depend on how the input was cut
// into runs; new rows that fail a test of severity error are not committed, nor those of models that depend on them; rows are never held in memory by this package.
//
// It does not: ingest, judge the sources' quality (it is told which days are held), maintain tables, or know DuckDB's or Trino's commands but through an Engine.
//
// # Decision 2026-11-21: dbt's words, not dbt
//
// Context: dbt users should read these files at once, and dbt-core with its adapters would run them. But it needs Python beside one static binary, its adapters commit a table and a checkpoint in
// two steps, its DuckDB adapter does not write Iceberg, and its incremental strategies know neither positions of a landing log nor days on hold. Decision: front matter with dbt's words
// (materialized, unique_key, tests, severity, --select), plain SQL behind it, references found from the SQL in place of Jinja. Consequences: no macros and no packages; a file becomes a dbt model by
// moving its front matter to schema.yml and writing ref() round the names.
//
// # Decision 2026-11-21: references and lint are found from tokens
//
// Context: DuckDB could parse the SQL for us, but only with cgo, and it accepts more than Trino does. Decision: a tokeniser and a small reader of FROM clauses and of operands' types,
// without an engine; what no engine answers alike (functions that are not listed, operators, operands) is refused by it. `models check` then has the engine, where there is one, parse every
// model too, and compare the references. Consequences: `models list`, `graph` and most of `check` work in any build; a type that cannot be told from the text and the declared columns is not
// judged.
//
// # Decision 2026-11-22: what the lint cannot see
//
// Context: beside the 248 expressions, some two hundred edge values were asked of DuckDB 1.5.5 and Trino 476. Decision: what the text shows is refused, and where a CASE or IF around an expression
// keeps the values away on which they differ (ln, sqrt, text cast to other types) it is let pass; a sum, average or deviation of doubles is an error, since the models that ship do without (they sum
// decimals). Consequences: what only the data shows stays: NaN (comparisons, max, max_by, sign; no expression that is let pass makes one of finite numbers but power and overflows), ties in an order,
// upper of a few letters, reverse with combining marks, $ before a line's end and \s of a vertical tab in patterns, date_diff of fractions below a millisecond, contains in an array with nulls,
// places (substr, split_part) in columns below 1, json_extract_scalar of an object or array (its text on DuckDB, null on Trino), JSON that is not valid (an error on DuckDB), 1e2 in JSON.
//
// # Decision 2026-11-21: inputs are common table expressions
//
// Context: one text has to run as a full build, over a delta and over some partitions, on views of fetched files and on Trino's tables. Decision: each table that a model reads, and each ephemeral
// model, becomes a common table expression in front of it, which selects the rows that this build needs; the model's text loses the schemas of its tables. Consequences: a model reads
// exactly the rows that its checkpoint will say it has read.
//
// # Decision 2026-11-21: which copies meet
//
// Context: existing rows of a new row's key can lie in any file; reading all keys of a table at each run makes a run's cost the table's. Decision: those in the partitions of the new rows and those
// in files with rows that arrived within Options.Window before the oldest new row are looked at (Build.Candidates, for both engines); files with rows that lose are written again without them.
// Consequences: a copy that arrives later than the window in another partition is a second row; a table grows beyond its window at no cost.
//
// # Decision 2026-11-22: keys first, and what still grows
//
// Context: ids are spread evenly, so neither bounds of files nor sorting leaves any file of the window out, and reading all by which copies are compared took twice the time of reading the key.
// Bloom filters would be asked for each new key and file, which with many files is more work than the scan; hashes beside the files would be faster, but are more to keep true when files are
// compacted, erased or written by others. Decision: of the window's files the key alone is read, and held against the new ones; what else is compared is fetched of the files that hold one of them.
// Consequences: an existing row of the window costs some 0.2 us of processor time (decoding its key, one look into a hash table) and the fetch of its key, where a new row costs 15 to 20 us. What
// else grows grows with the days that new rows lie in, not with the table: a mart by day reads all facts of a day that changed, about 0.6 us a row and mart, since an average or a count
// cannot be told from the new rows once a copy was replaced; and a file that holds a row that lost is written again, whole. Package quality says what it reads of a day.
//
// # Decision 2026-11-21: ops.conflicts is by source table, and appended to
//
// Context: a fact keeps the best copy and forgets the others, so that a later run cannot know which copy of a data was the earliest of all. Decision: source is the events.* table; a row for each
// (source, root_id, data_hash), with the copy that ranked first when the conflict was first seen, and nothing is changed later. Consequences: these three columns do not depend on
// how the input was cut into runs, the place of the copy can. Only models whose key is root_id and that have data_hash, arrived_at, kafka_partition and kafka_offset tell conflicts.
//
// # Decision 2026-11-21: what changes under a model
//
// Context: a fact joins dimensions, sources lose rows by erasure, columns change. Decision: a merged model reads dimensions as they are when its rows come, and does not follow their later changes
// (models by partition and rebuilt ones do: they remember every input's snapshot); rows of a source that are changed in place, behind positions that were taken, need Options.FullRefresh. A
// model whose columns went or changed type gets a new table: the old one is dropped right before the rows are committed. Consequences: a kill between the two leaves no rows, and no
// checkpoint, until the next run.
//
// # Decision 2026-11-21: what tests look at
//
// Context: tests run before the commit, and a table's rows cannot all be read each time. Decision: not_null, relationships, accepted_values and SQL tests look at the rows that a commit would add;
// unique looks at all rows of the partitions that they lie in, as those would be after it; where it is the key of a merge that is unique, only at those of them that have a new row's key, which the merge has
// looked up already. Consequences: two equal values in partitions that never meet in one run are not found.
package model
