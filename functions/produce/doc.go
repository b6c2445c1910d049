package main

/*
Decision, 2026-11-21: an id is the start of the file's SHA-256 and the row, counted from 1.

Context: a data set is sent again after an interrupt, by a Job that is started twice, or from another machine; its rows have no key of
their own, and some are equal. Decision: the file's content and the row's place are the identity, and the file's name is the source. A
table's rows that cannot be split count as rows. Consequences: the content is read once before the first event, to hash it; the
same bytes under another name are other events; another mapping of the same file is the same events with other payloads, which the
pipeline reports as identity_conflict, and rightly so.

Decision, 2026-11-21: a Parquet file is decoded twice, first to check it.

Context: a truncated file lacks its footer and is refused at once, but a damaged page shows only when it is decoded, perhaps after a
million events. Decision: every page of every column is decoded before the first event. Consequences: no event from a broken file,
for about a second a month of trips. A table has no such structure: its bad rows are told one by one, while the good ones flow.

Decision, 2026-11-21: the first batch that gets no final receipt within --retry-for ends the intake.

Context: with the collector away, each further batch would wait as long, for hours. Decision: stop, count, and say how to go on.
Consequences: what is in flight beside it is still finished; the exit code is 1; the same command continues. While events are busy
their requests' slots wait, on purpose: busy asks the producer to hold back.

Decision, 2026-11-21: in Parquet NaN is null, an infinity is a string.

Context: pandas and others write NaN for a missing number, and JSON has neither. Decision and consequence: a missing value is null
and may be accepted; an infinity reaches the contract as text and is a dead letter that says why.

Decision, 2026-11-21: the air quality readings have no time attribute.

Context: their clock has the hour 2004-03-28 02:00, which Italy's wall clock skipped, and its zone is not documented. Decision: measured_at
is sent as written, without a zone, and no instant is made up from it.
*/
