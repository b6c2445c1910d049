package report

import (
	"bufio"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"
)

// Run is one run of curate: what Render shows. The zero value is a run that did nothing.
type Run struct {
	ID        string // the run's id
	Version   string // of the program
	Warehouse string // where the tables are, without credentials
	Engine    string // duckdb or trino
	Start     time.Time
	End       time.Time

	Steps       []Step // in the order in which they ran
	Ingest      []Ingest
	Rules       []Rule
	Profiles    []Profile
	SLAs        []SLA
	Quarantine  []Hold // days held back now, and those that this run released
	Models      []Model
	Conflicts   []Conflict // some of those that this run found
	Conflicted  int64      // how many it found in all; 0: as many as Conflicts
	NearCopies  []NearCopies
	Errors      []Error
	Maintenance []Maintenance
}

// Step is one step of the run.
type Step struct {
	Name     string
	Duration time.Duration // wall clock
	CPU      time.Duration // user and system, of the whole process meanwhile
	Note     string        // what it did, or why it was left out
	Skipped  bool
	Error    string // empty where it succeeded
}

// Ingest is what one table took in from the landing log.
type Ingest struct {
	Table   string
	Rows    int64 // taken in by this run
	Files   int   // landing objects taken in
	Bytes   int64 // of these objects
	Entries int   // log entries read
	Alarms  []Alarm
}

// Alarm is something about the data that ingest could not make good: a gap between entries, offsets that Kafka lost, an object that is missing or not what its entry says.
type Alarm struct {
	Kind string // ingest's code: log_gap, offsets_lost, object_missing, ...
	Text string
}

// The severities of rules and tests. Any other counts as SeverityWarning.
const (
	SeverityError   = "error"
	SeverityWarning = "warning"
	SeverityInfo    = "info"
)

// Rule is one quality rule of a contract on one table and day.
type Rule struct {
	Table       string
	Day         string // YYYY-MM-DD, day of arrival; empty: all days
	ID          string
	Column      string // empty: the whole table
	Dimension   string // accuracy, completeness, conformity, consistency, coverage, timeliness, uniqueness
	Severity    string // SeverityError, SeverityWarning or SeverityInfo
	Metric      string // nullValues, invalidValues, sql, ...
	Description string
	Unit        string   // percent, rows, bytes, ms, s, m (minutes), h, d, w, M (months), y or any other word
	Value       *float64 // in Unit; nil: it could not be computed, and Error says why
	Threshold   string   // in words, or with the standard's: "at most 5", "mustBeLessOrEqualTo 5"
	Limit       *float64 // the threshold's number in Unit, drawn into the trend; nil: none
	Rows        int64    // rows looked at
	Passed      bool
	Blocking    bool // a failure holds the day back
	Error       string
	Examples    Examples
	Trend       []Point // former values, oldest first, this one last
}

// Examples are some of the rows that a rule or test found.
type Examples struct {
	Columns []string
	Rows    [][]string // each as long as Columns
	Total   int64      // how many rows there are in all; 0: not counted
}

// Point is one value of a trend.
type Point struct {
	Day   string
	Value float64
}

// Profile is what the values of one table's day look like.
type Profile struct {
	Table   string
	Day     string
	Rows    int64
	Columns []ColumnProfile
	Error   string // why it could not be made; empty where it was
}

// ColumnProfile is one column of a Profile.
type ColumnProfile struct {
	Name, Type    string
	Nulls         int64
	Distinct      int64
	Approximate   bool // Distinct is an estimate
	Min, Max      string
	Mean          string // empty where the type has none
	Histogram     []Bin  // of numbers and times, in order
	Frequent      []Bin  // the most frequent values of texts
	OtherFrequent int64  // rows with none of Frequent's values
}

// Bin is one bar of a histogram: the values that it stands for, and how many rows have one of them.
type Bin struct {
	Label string
	Count int64
}

// SLA is one SLA property of a contract as measured by this run.
type SLA struct {
	Table       string
	Property    string // freshness, latency, completeness, volume, retention
	Element     string // the column that it is measured on, if any
	Description string
	Unit        string   // as Rule's
	Value       *float64 // nil: it could not be measured, and Error says why
	Threshold   string   // in words: "at most 24 hours"
	Limit       *float64
	Kept        bool
	Error       string
	Trend       []Point
}

// Hold is a day of a source table that facts do not read.
type Hold struct {
	Source     string
	Day        string
	Rule       string
	Reason     string
	Value      string
	Since      time.Time
	Rows       int64  // rows that wait
	Release    string // the command that releases it in spite of the rule; empty where Released
	Released   bool   // by this run
	ReleasedBy string
}

// Model is what became of one model.
type Model struct {
	Name     string
	Kind     string // ephemeral, table, incremental
	Added    int64  // rows
	Replaced int64  // rows that a better copy or a recomputed day took the place of
	Removed  int64  // rows that are gone without one
	Rows     int64  // in the table now; where no model says, there is no such column
	Rebuilt  bool   // whole, since its SQL or columns changed
	Duration time.Duration
	CPU      time.Duration
	Skipped  string // why it did not run; empty where it ran
	Error    string
	Tests    []Test
}

// Test is one test of a model.
type Test struct {
	Name     string // not_null, unique, relationships, ... or the test's own name
	Column   string
	Severity string // SeverityError or SeverityWarning ("warn" too)
	Failures int64  // rows that fail
	Passed   bool
	Error    string
	Examples Examples
}

// Conflict is one event identity under which different data arrived.
type Conflict struct {
	Table   string
	RootID  string
	Hashes  []string  // of the data, by arrival
	Arrived time.Time // of the first
}

// NearCopies counts the groups of rows that a contract's rule calls near duplicates. They are flagged and stay.
type NearCopies struct {
	Table    string
	Rule     string
	Groups   int64
	Rows     int64
	Examples Examples
}

// Error is something that went wrong.
type Error struct {
	Step string
	Text string
}

// Maintenance is what one table's upkeep did.
type Maintenance struct {
	Table string
	Text  string
}

//go:embed report.css
var stylesheet string

//go:embed report.tmpl
var source string

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"span": span, "bytes": size, "clock": clock, "cut": cut,
	"count":  func(n any) string { return count(whole(n)) },
	"plural": func(n any, one, many string) string { return plural(whole(n), one, many) },
	"share":  func(a, b any) float64 { return share(whole(a), whole(b)) },
	"spark":  spark, "bars": bars, "value": valueOf, "tests": tests, "words": words, "whole": whole,
	"css": func() template.CSS { return template.CSS(stylesheet) },
}).Parse(source))

// Render writes the page. It returns the writer's error.
func Render(w io.Writer, r Run) error {
	b := bufio.NewWriter(w)
	if err := page.Execute(b, newView(r)); err != nil {
		return fmt.Errorf("render the report of run %s: %w", r.ID, err)
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write the report of run %s: %w", r.ID, err)
	}
	return nil
}
