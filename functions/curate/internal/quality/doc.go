// Package quality holds the warehouse's rows against their contracts: the Open Data Contract Standard's quality rules and a profile into ops.quality, days that fail a blocking rule into
// ops.quarantine, near duplicates into ops.near_duplicates, service levels into ops.sla.
//
// It guarantees: what is looked at is a whole day of a source (arrival_date), each event once by its best copy, so that a result says something of the day and not of a run; a run that ends
// on its way leaves nothing that the next one doubles (near duplicates and quarantine are replaced, ops.quality is appended in one commit with the checkpoint); a rule that cannot be run is a
// failed rule with its reason and keeps no other from running; no rule's SQL reads anything but the rows of the day.
//
// It does not: change or remove an event, run rules of type text and custom, notify anybody, or know of days that no run touched.
//
// Rows without an arrival_date (record times beyond the years 1 to 9999, which any producer can set) are a day of their own, named null: it has rules, a profile and holds as any other, and no trend.
//
// # Rules
//
// A rule of a MODEL's newest active version (else the newest one) is run on all of the MODEL's rows. What counts:
//
//   - nullValues: rows where the property is null. missingValues: rows with a value of arguments.missingValues, where null must be named to count.
//   - invalidValues: rows with a value that is there and breaks any of the arguments validValues, pattern, minimum, maximum, exclusiveMinimum, exclusiveMaximum, minLength,
//     maxLength. Null is never invalid; NaN always is.
//   - duplicateValues: values of the property (or combinations of arguments.properties) that more than one event has; with unit percent the share of events that have one. Events
//     with none of the properties are left out.
//   - rowCount: events. sql: the one value of the query.
//   - unit percent of the first three is a share of the day's events; of no events none fails. Any other unit leaves a number of events.
//   - A query with unit rows or percent gives rows_failed, too. One that is null fails, unless the day has no events.
//   - Several operators must all hold. NaN and the infinities pass none.
//
// A query reads one table, ${table} (or ${object}): the payload's fields under their names in the contract, any case, quoted or not; structs are structs; what the steps add is in the struct enrichment (_enrichment where the
// payload has a field of that name); the attributes root_id, source, subject, time, schema_version and collector_tstamp where no field has the name. ${column} (or ${property}) is the property
// that carries the rule. Dates and texts compare as package model's common language says.
//
// Severity error blocks, and the custom property blocking (true or false) says otherwise.
//
// # Service levels
//
// [SLA] says what each property is measured by. In units m is the minute and M the month: the standard has no more than "d, day, days; y, yr, years; units use the ISO standard", ISO 8601 spells both
// M, and the contracts' latency of 15 m and retention of 13 M mean those. Months and years are the calendar's for retention, means elsewhere. A day is granted to retention, since days go whole.
//
// # Decision 2026-11-21: completeness is over all event types, by rows
//
// Context: raw objects do not say their type without being read, and they lie in a bucket that curation need not see. Decision: distinct root ids that are enriched or dead (less what collect
// refused, which never was raw), over the raw rows of the landing log, of the last day that ended an hour ago. Consequences: it costs one column of one day; a retried send lowers
// it though nothing is lost, so that a value below the target is a question, to which reconcile has the exact answer. Of a day whose entries have no raw rows it is not measured: met is null, with the reason.
//
// # Decision 2026-11-21: a rule that cannot be run fails, and blocks if it is blocking
//
// Context: a metric that is misspelt, SQL that is broken or never ends, a pattern on a masked field. Decision: it fails; a day is held by it as by any other. Consequences: what was not proven is not
// passed on; the mended contract is seen (a fingerprint) and all held days of the source are looked at again, as they are once an hour anyway, since a disk that was full is nobody's rule.
//
// The same of a contract file that cannot be used: without it a source would look as if it had no rules, so that all of its days are held, and none is let go, until the file is mended.
//
// # Decision 2026-11-22: a profile that fails holds nothing
//
// Context: a profile takes other statements than the rules do, which one odd value can break (a date that no timestamp holds), and a day whose profile failed was as one that could not be looked at: all its facts
// waited. Decision: it proves nothing, so that nothing waits for it: the reason stands in ops.quality (metric failed), in the report and in the log, the rules' results are as they are, and the profile is tried again
// an hour later or where the day grows by an eighth. Consequences: a day can be without a profile while its facts go on; an engine that is gone still fails the day.
//
// # Decision 2026-11-22: reasons quote no values
//
// Context: engines quote values in their errors, and reasons go where people read who may not see the rows. Decision: all of them pass package fault. Consequences: whoever mends a rule runs it by curate query to see on which
// value it fails.
//
// # Decision 2026-11-21: a release by a person lasts
//
// Context: a day is evaluated whole, so what was bad in the morning still fails with the rows of the evening. Decision: a rule does not hold a day again that a person released; the failure
// stays in ops.quality. Consequences: worse data of the same day under the same rule pass as well; the day's other rules still hold it.
//
// # Decision 2026-11-21: days are found by snapshot, then by position
//
// Context: compaction, erasure and retention change files, too. Decision: the checkpoint has the source's snapshot, and its position for when that has expired. Files of
// compactions are nobody's change; a day that lost all its files loses its near duplicates and its holds.
//
// # Decision 2026-11-21: profiles estimate where it is dear, and wait
//
// Rules must see all rows of a day before the facts do; a profile need not. It is made again where the day grew or shrank by an eighth since the last one, or an hour after it if the day changed at all. So its
// cost is that of the new rows, while that of the rules is the day's: about a second of processor time for a million trips, of which most is for finding copies and near duplicates.
//
// Distinct values are counted up to 20,000 events and estimated beyond (unit approximate); the quantiles that cut a histogram come from 20,000 events of the day. Strings of more than 10,000
// distinct values have no histogram. A masked text shows nulls and distinct pseudonyms, any other masked field nulls; subject is treated as masked. Arrays show nulls.
package quality
