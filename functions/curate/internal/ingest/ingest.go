package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/contract"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
)

// Properties of tables.
const (
	// PositionProperty is a Position: on a table of events up to where it has rows of each log, on ops.landing up to where each log was read.
	PositionProperty = "millrace.position"
	// TypeProperty of a table of events is the event type, as events have it.
	TypeProperty = "millrace.type"
	// ModelProperty of a table of events is the MODEL.
	ModelProperty = "millrace.model"
	// KindProperty of a table of events is the landing objects' kind.
	KindProperty = "millrace.kind"
	// behindProperty of ops.landing is a JSON object of positions by table: those that are not where ops.landing is.
	behindProperty = "millrace.behind"
	// rebuildProperty of ops.landing is a JSON list of tables that a rebuild has yet to drop.
	rebuildProperty = "millrace.rebuild"
	// tablesProperty of ops.landing is a JSON object of the tables of events that got rows, with the topic ids of the logs that these are of.
	tablesProperty = "millrace.tables"
	// topicsProperty of ops.landing is a JSON object of topics by topic id.
	topicsProperty = "millrace.topics"
)

// Namespace is that of the tables of events.
const Namespace = "events"

// Landing is the table of the landing log's entries, and Dead that of dead letters.
var (
	Landing = warehouse.Name{Namespace: "ops", Table: "landing"}
	Dead    = warehouse.Name{Namespace: Namespace, Table: "dead"}
)

// Position says up to which entry logs were taken: sequences by topic id. 0 and absent are before the first.
type Position map[string]int64

// ParsePosition reads what String wrote; the empty text is the empty position.
func ParsePosition(text string) (Position, error) {
	p := Position{}
	if text == "" {
		return p, nil
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, fmt.Errorf("position %q: %w", text, err)
	}
	return p, nil
}

// String is the position as a property holds it: a JSON object, in order.
func (p Position) String() string {
	b, err := json.Marshal(p)
	if err != nil {
		return "" // a map of numbers is always JSON
	}
	return string(b)
}

// TableOf returns the table of an event type's MODEL: lower case, with _ for everything but letters and digits.
func TableOf(eventType, model string) warehouse.Name {
	plain := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, eventType)
	return warehouse.Name{Namespace: Namespace, Table: "enriched_" + plain + "_" + model}
}

// Limits bound one commit, and with it memory and scratch. A commit takes whole entries, so that one entry can exceed them.
type Limits struct {
	Rows    int64 // 1,000,000 where it is 0
	Bytes   int64 // of landing objects; 512 MiB where it is 0
	Objects int   // 500 where it is 0
	Entries int   // 2,000 where it is 0
	// Keep is how many bytes of files that were committed stay on local disk until the warehouse is closed, for the models that read them next; 512 MiB where it is 0.
	Keep int64
}

func (l Limits) orDefault() Limits {
	if l.Rows == 0 {
		l.Rows = 1_000_000
	}
	if l.Bytes == 0 {
		l.Bytes = 512 << 20
	}
	if l.Objects == 0 {
		l.Objects = 500
	}
	if l.Entries == 0 {
		l.Entries = 2000
	}
	if l.Keep == 0 {
		l.Keep = 512 << 20
	}
	return l
}

// Progress says how far a run is.
type Progress struct {
	Topic    string
	Sequence int64 // of the last entry whose rows are committed
	Rows     int64 // committed by the run so far
}

// Options are what a run needs. All up to Clock must be there.
type Options struct {
	Warehouse *warehouse.Warehouse
	// DB gives the engine. It is asked only once there is something to write; who gives it closes it.
	DB func() (*duck.DB, error)
	// Public holds enriched objects and their logs, Private raw and dead ones. They may be one bucket.
	Public, Private *objectstore.Bucket
	Contracts       *contract.Set
	Logger          *slog.Logger
	Clock           func() time.Time
	Scratch         string // directory for landing objects while they are ingested; the system's where it is empty
	Limits          Limits
	Progress        func(Progress) // told after each commit; may be nil
	// Accept names entries, <topic id>@<sequence>, that an operator gives up: what is missing or wrong of them is left out, with an alarm that stops nothing.
	Accept []string

	// Partial lets Rebuild and Backfill go on where landing has less than the warehouse, and so lose the difference.
	Partial bool
	// Tables are those that Rebuild makes anew, of events or ops.landing; all of them where it is empty.
	Tables []warehouse.Name
	// Verify lets Rebuild fetch and check every object before it drops anything.
	Verify bool

	write writeFunc // in place of the engine, for tests
}

type writeFunc func(ctx context.Context, db *duck.DB, query string, t *warehouse.Table, partition []string, next func() string) ([]duck.Written, error)

func duckWrite(ctx context.Context, db *duck.DB, query string, t *warehouse.Table, partition []string, next func() string) ([]duck.Written, error) {
	return db.Write(ctx, query, t.Schema(), partition, next)
}

// TableResult is what a run did to one table.
type TableResult struct {
	Name     warehouse.Name   `json:"name"`
	Rows     int64            `json:"rows"`
	Files    int              `json:"files"`
	Bytes    int64            `json:"bytes"`   // of the files
	Objects  int              `json:"objects"` // of landing
	Commits  int              `json:"commits"`
	Created  bool             `json:"created"`
	Days     map[string]int64 `json:"days"` // rows by arrival_date; "" is none
	Position Position         `json:"position"`
}

// LogResult is what a run read of one landing log.
type LogResult struct {
	Topic   string    `json:"topic"`
	TopicID string    `json:"topic_id"`
	Bucket  string    `json:"bucket"`
	From    int64     `json:"from"` // the position before
	To      int64     `json:"to"`   // and after
	Entries int64     `json:"entries"`
	Rows    int64     `json:"rows"`
	Bytes   int64     `json:"bytes"`
	Skipped int64     `json:"skipped"` // offsets
	Lost    int64     `json:"lost"`    // offsets
	Newest  time.Time `json:"newest"`  // of the last entry read; zero where there was none
}

// Durations is where a run's time went.
type Durations struct {
	Find, Fetch, Verify, Write, Commit, All time.Duration
}

// Result is what a run did. It is whole also where Run returns an error.
type Result struct {
	Tables    []TableResult `json:"tables"` // those with new rows, by name
	Logs      []LogResult   `json:"logs"`   // all there are, by topic and id
	Alarms    []Alarm       `json:"alarms"`
	Durations Durations     `json:"durations"`
}

// Rows returns how many rows went into tables of events.
func (r Result) Rows() int64 {
	var n int64
	for _, t := range r.Tables {
		if t.Name.Namespace == Namespace {
			n += t.Rows
		}
	}
	return n
}

// Stopped returns the alarms of topics and tables that were not ingested to the end, joined; nil where there are none.
func (r Result) Stopped() error {
	var errs []error
	for _, a := range r.Alarms {
		if a.Stops {
			errs = append(errs, errors.New(a.String()))
		}
	}
	return errors.Join(errs...)
}

// Run ingests what the landing logs have beyond the warehouse's position. What is wrong with a log, an object or a table is an alarm in the Result, and the others go on; an error is what keeps
// the run from working: a store, the catalog or the engine that fails, another run's commit (warehouse.ErrConflict, wrapped), the context's end. After either the next run goes on where this one stopped.
//
// A rebuild that was interrupted is finished first.
func Run(ctx context.Context, o Options) (Result, error) {
	r, err := begin(ctx, o, false)
	if err != nil {
		return Result{}, err
	}
	if err := r.resume(ctx); err != nil {
		return r.finish(err)
	}
	return r.finish(r.all(ctx))
}

// run is one run.
type run struct {
	o       Options
	started time.Time
	result  Result
	sources []*source
	dry     bool                                     // nothing is fetched or written
	whole   bool                                     // of a dry run: as if there were no tables, and named is filled
	named   map[*objectstore.Bucket]map[string]claim // objects of events
	blind   bool                                     // ops.landing is damaged: all logs are read from their beginning, and nothing is written to it

	ops      *warehouse.Table // nil where there is none
	position Position         // of ops.landing: read and not yet committed included
	behind   map[string]Position
	topics   map[string]string
	rebuild  []string            // tables that a rebuild has yet to drop
	known    map[string][]string // tables of events that got rows, with the logs' topic ids
	saved    map[string]string   // the properties as they are
	entries  []opsRow            // that ops.landing lacks

	tables   map[warehouse.Name]*target
	collided map[[2]string]bool // table and event type
	engine   *duck.DB
	scratch  string
	rows     int64
	kept     int64 // bytes of committed files that lie on local disk, or did
}

// source is a landing log.
type source struct {
	bucket   *objectstore.Bucket
	log      *landing.Log
	erasures erasures
	done     int64 // the position of ops.landing: entries up to here are looked at for tables that are behind alone
	from     int64 // the entry after which it is read
	begun    bool  // the entry from is there, or from is 0
	more     bool  // there is something behind from
	result   *LogResult
}

// newRun is a run that knows of nothing that was ingested.
func newRun(o Options) *run {
	o.Limits = o.Limits.orDefault()
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.write == nil {
		o.write = duckWrite
	}
	return &run{
		o: o, started: o.Clock(), position: Position{}, behind: map[string]Position{}, topics: map[string]string{},
		saved: map[string]string{}, tables: map[warehouse.Name]*target{}, collided: map[[2]string]bool{},
		named: map[*objectstore.Bucket]map[string]claim{}, known: map[string][]string{},
	}
}

// begin loads the position, and finds out which tables are gone. Without ops.landing each table's own position says what it has.
func begin(ctx context.Context, o Options, dry bool) (*run, error) {
	r := newRun(o)
	r.dry = dry
	t, err := o.Warehouse.Load(ctx, Landing)
	if errors.Is(err, warehouse.ErrNoTable) {
		return r, nil
	}
	if err == nil {
		err = r.load(t)
	}
	if damaged := (*warehouse.Damaged)(nil); errors.As(err, &damaged) {
		r = newRun(o)
		r.dry = dry
		r.blinded(damaged)
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	return r, r.missing(ctx)
}

// load takes the state from the properties of ops.landing.
func (r *run) load(t *warehouse.Table) error {
	r.ops = t
	p := t.Properties()
	var err error
	if r.position, err = ParsePosition(p[PositionProperty]); err != nil {
		return &warehouse.Damaged{Name: Landing, Err: err}
	}
	for name, into := range map[string]any{behindProperty: &r.behind, topicsProperty: &r.topics, rebuildProperty: &r.rebuild, tablesProperty: &r.known} {
		if p[name] == "" {
			continue
		}
		if err := json.Unmarshal([]byte(p[name]), into); err != nil {
			return &warehouse.Damaged{Name: Landing, Err: fmt.Errorf("property %s: %w", name, err)}
		}
	}
	r.saved = r.properties()
	return nil
}

// properties are those of ops.landing as they should be.
func (r *run) properties() map[string]string {
	out := map[string]string{PositionProperty: r.position.String()}
	for name, from := range map[string]any{behindProperty: r.behind, topicsProperty: r.topics, rebuildProperty: r.rebuild, tablesProperty: r.known} {
		out[name] = ""
		if b, err := json.Marshal(from); err == nil && !slices.Contains([]string{"{}", "[]", "null"}, string(b)) { // maps and lists of texts and numbers are always JSON
			out[name] = string(b)
		}
	}
	return out
}

// all ingests all logs.
func (r *run) all(ctx context.Context) (err error) {
	var away []error
	defer func() {
		if r.scratch != "" {
			err = errors.Join(err, os.RemoveAll(r.scratch))
		}
		err = errors.Join(err, errors.Join(away...))
	}()
	if r.sources, err = r.find(ctx); err != nil {
		return err
	}
	r.result.Durations.Find = r.o.Clock().Sub(r.started)
	for _, s := range r.sources {
		if !s.more {
			continue
		}
		gone, err := r.ingest(ctx, s)
		if err != nil {
			return err
		}
		if gone != nil {
			away = append(away, gone)
		}
	}
	return r.flush(ctx)
}

func (r *run) finish(err error) (Result, error) {
	for _, s := range r.sources {
		r.result.Logs = append(r.result.Logs, *s.result)
	}
	for _, name := range slices.SortedFunc(maps.Keys(r.tables), func(a, b warehouse.Name) int { return strings.Compare(a.String(), b.String()) }) {
		if t := r.tables[name]; t.result.Commits > 0 || r.dry && t.result.Objects > 0 {
			t.result.Position = maps.Clone(t.position)
			r.result.Tables = append(r.result.Tables, t.result)
		}
	}
	r.result.Durations.All = r.o.Clock().Sub(r.started)
	return r.result, err
}

func (r *run) alarm(a Alarm) {
	a.Hint = strings.ReplaceAll(hints[a.Code], "<table>", a.Table)
	if a.Stops && a.Code != CodeDamaged && (a.Code == CodeGap || a.Object != "") {
		a.Hint += fmt.Sprintf(" Only where that cannot be: INGEST_ACCEPT=%s@%d gives up what is missing or wrong of the entry.", a.TopicID, a.Sequence)
	}
	r.result.Alarms = append(r.result.Alarms, a)
	say := r.o.Logger.Warn
	if a.Stops {
		say = r.o.Logger.Error
	}
	if r.dry {
		return
	}
	say("ingest: "+a.Message, "code", a.Code, "topic", a.Topic, "sequence", a.Sequence, "object", a.Object, "table", a.Table, "hint", a.Hint)
}

// accepted reports whether the operator gave the entry up.
func (r *run) accepted(s *source, sequence int64) bool {
	return slices.Contains(r.o.Accept, fmt.Sprintf("%s@%d", s.log.TopicID(), sequence))
}

// timed adds the time since begin to d.
func (r *run) timed(d *time.Duration, begin time.Time) { *d += r.o.Clock().Sub(begin) }
