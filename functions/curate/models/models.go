// Package models is the SQL models that curate ships: staging, dimensions, facts and marts for each contract that ships with Millrace.
//
// A file is one model, with front matter and one SELECT in the language that DuckDB and Trino share; package model says what they mean.
// The folder that the variable MODELS names adds models, and replaces those of the same name.
//
// It guarantees: every SELECT gives the same rows on both engines, whatever the order of the rows it reads; a value that no instrument or meter can show (1e300 dollars)
// never makes a model fail; every fact's key is in its dimension.
//
// It does not: remove what the contracts allow. A reversal, a trip without passengers and one with a clock of 2001 are rows with a flag.
//
// # Decision 2026-11-21: days that cannot be are one day, 1900-01-01
//
// Context: facts are partitioned by the day on which things happened, and meters' clocks show 2001, 2008 and 2098. Each such day would be a partition, and a file in every run.
// Decision: a trip's day is taken for possible from 2009 (the first published month) to 2035, other facts' from 1990 to 2035; all else, and a missing time, is the day 1900-01-01, dim_date's
// unknown member. It depends on the payload alone, never on the arrival, so that copies of an event share a day. The time as sent stays in the fact (pickup_at).
// Consequences: reports by day show one odd day that can be filtered by dim_date.is_known; in 2036 three numbers must grow, which rebuilds the facts.
//
// # Decision 2026-11-21: sums are of integers in disguise
//
// Context: a sum of doubles depends on the order of the rows, so that two engines, or two runs of one, differ in the last digit; the engines round a double to a decimal differently at the half.
// Decision: round(x * 100), which is one operation of doubles on both, is cast to decimal(18, 0), summed, cast back and divided. Amounts of a milliard or more are left out
// of the sums, since they would not fit; they stay in the fact.
// Consequences: a mart is equal to the cent whoever computes it; amounts with more than two digits count rounded (measurements: four digits).
//
// # Decision 2026-11-21: facts keep the code beside the key
//
// Context: the TLC adds codes before anybody tells. Decision: a code that its dimension lacks has the key -1, and stays as sent in its own column. Consequences: relationships always hold; a
// dimension that learns the code changes facts that come later, and all of them once the fact is rebuilt (its fingerprint, or `curate backfill`).
package models

import "embed"

// Files holds the models, one *.sql each.
//
//go:embed *.sql
var Files embed.FS
