package quality

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/fault"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/contract"
)

const (
	defaultTimeout = 2 * time.Minute
	profileAgain   = time.Hour // after which a day that changed a little is profiled again
	profileDays    = 7         // days whose profile is remembered
	retryHeld      = time.Hour // after which days that are held are looked at again though nothing of theirs changed
	trendPoints    = 30        // days that a rule's trend goes back
	maxGroupRows   = 200_000   // rows of near duplicates that a rule may write for one day

	propertyCheckpoint = "millrace.quality." // and the source: where its evaluation stands
	propertyTrend      = "millrace.trend."   // and the source: former values
	propertyPosition   = "millrace.position" // of a source, as ingest keeps it
)

// Options are what a run needs.
type Options struct {
	Warehouse *warehouse.Warehouse
	DB        func(ctx context.Context) (*duck.DB, error) // called where there is work, and not else; whoever gave it closes it
	Contracts *contract.Set
	Days      map[string][]string // days to look at, by source; nil: those that changed since the last run
	RunID     string
	Clock     func() time.Time
	Logger    *slog.Logger
	Timeout   time.Duration // of one statement of a rule; 0: two minutes
}

// Result is what a run found.
type Result struct {
	RunID     string
	Evaluated time.Time
	Days      []Day  // by source and day; none where nothing was new
	Began     []Hold // days that are held from now on
	Ended     []Hold // days that this run released
	// Held is what the facts must not take now: the holds of ops.quarantine; after an error also the days that could not be looked at, and everything where nothing could.
	Held Holds
	Rows int64 // written to ops.quality
}

// Day is what was found in one day of a source.
type Day struct {
	Source  string // events.x
	Day     string // YYYY-MM-DD, of arrival; "null": rows whose record time is no date
	Version string // of the contract whose rules were run; "" where no contract is known
	Rows    int64  // events, each once
	Copies  int64  // rows left out, since a better copy of the event is there
	Checks  []Check
	Columns []Column // the profile; nil where the day has one that is young and of about as many rows
	// Unprofiled says why the day's profile could not be made, "" where it was or was not due. It holds nothing.
	Unprofiled string
}

// checkpoint is how far a source was evaluated.
type checkpoint struct {
	Snapshot int64            `json:"snapshot"`
	Position map[string]int64 `json:"position,omitempty"` // for when the snapshot has expired
	Rules    string           `json:"rules"`              // fingerprint of the contract
	Held     time.Time        `json:"held"`               // when all days that were held then were looked at
	// Profiles are those of the last days.
	Profiles map[string]profiled `json:"profiles,omitempty"`
}

// profiled is what a day was when it was profiled.
type profiled struct {
	Rows  int64 `json:"rows"`
	At    int64 `json:"at"`              // seconds since 1970
	Stale bool  `json:"stale,omitempty"` // it has other rows since
}

// due reports whether a day of so many rows is to be profiled again: where it changed by an eighth, or it is an hour ago.
func (p profiled) due(rows int64, now time.Time) bool {
	return p.At == 0 || now.Unix()-p.At >= int64(profileAgain/time.Second) || 8*rows >= 9*p.Rows || 8*rows <= 7*p.Rows
}

// source is a table to be evaluated.
type source struct {
	name       string
	table      *warehouse.Table
	contract   *contract.Contract // nil where none is known
	model      contract.Model
	was, now   checkpoint
	days       []string
	trend      map[string][]trendPoint
	checkpoint bool // is set by this run
	lost       bool // what changed could not be found out
}

// trendPoint is a rule's last value on a day, as the table's property keeps it.
type trendPoint struct {
	Day    string  `json:"d"`
	At     int64   `json:"t"` // seconds since 1970
	Value  float64 `json:"v"`
	Passed bool    `json:"p"`
}

// Run looks at the days that changed: rules, profile, near duplicates, quarantine. It commits the near duplicates, then the quarantine, then ops.quality with the checkpoints, so
// that a run that ends on its way is repeated and leaves nothing twice. Where one source cannot be read, the others are still evaluated, and the error says which.
func Run(ctx context.Context, o Options) (Result, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := Result{RunID: o.RunID, Evaluated: o.Clock().UTC().Truncate(time.Microsecond)}
	var err error
	if r.Held, err = Held(ctx, o.Warehouse); err != nil {
		r.Held = everything(err)
		return r, err
	}
	sources, errs := o.sources(ctx, r)
	if sources == nil {
		r.Held = everything(errs[0])
		return r, errors.Join(errs...)
	}
	var unproven Holds
	for _, s := range sources {
		if s.lost {
			unproven = append(unproven, Hold{Source: s.name, Day: anyDay, Reason: "what changed could not be found out", Since: r.Evaluated, RunID: o.RunID})
		}
	}
	if !slices.ContainsFunc(sources, func(s *source) bool { return len(s.days) > 0 }) {
		r.Held = append(r.Held, unproven...)
		return r, errors.Join(errs...)
	}
	db, err := o.DB(ctx)
	if err != nil {
		r.Held = everything(err)
		return r, err
	}
	pending, err := openOutput(ctx, o.Warehouse, db, r)
	if err != nil {
		r.Held = everything(err)
		return r, err
	}
	for _, s := range sources {
		before := len(pending.rows)
		for _, day := range s.days {
			d, err := o.day(ctx, db, pending, s, day)
			if err == nil {
				r.Days = append(r.Days, d)
				continue
			}
			err = fmt.Errorf("quality of %s on %s: %w", s.name, day, fault.Hide(err))
			if ctx.Err() != nil {
				r.Held = everything(err)
				return r, err
			}
			errs = append(errs, err)
			unproven = append(unproven, Hold{Source: s.name, Day: day, Reason: err.Error(), Since: r.Evaluated, RunID: o.RunID})
			s.checkpoint = false
		}
		if !s.checkpoint && o.Days == nil { // all of its days are taken up again, and written then
			pending.rows = pending.rows[:before]
		}
	}
	for i := range r.Days {
		began, ended, changed := pending.quarantine.apply(&r.Days[i], o.RunID, r.Evaluated)
		r.Began, r.Ended, pending.held = append(r.Began, began...), append(r.Ended, ended...), pending.held || changed
	}
	r.Held = append(pending.quarantine.open(), unproven...)
	if err := pending.commit(ctx, &r, sources); err != nil {
		return r, errors.Join(append(errs, err)...)
	}
	for _, h := range r.Began {
		o.Logger.WarnContext(ctx, "day held", "source", h.Source, "day", h.Day, "rule", h.Rule, "reason", h.Reason)
	}
	return r, errors.Join(errs...)
}

// Source returns the name of the table that holds the enriched events of a type and MODEL.
func Source(eventType string, model int) warehouse.Name {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(eventType))
	return warehouse.Name{Namespace: "events", Table: fmt.Sprintf("enriched_%s_%d", name, model)}
}

// sources returns the tables of events with the days of each that are to be looked at. What is wrong with one keeps no other from being there; nil: nothing could be read.
func (o *Options) sources(ctx context.Context, r Result) ([]*source, []error) {
	names, err := o.Warehouse.Tables(ctx)
	if err != nil {
		return nil, []error{err}
	}
	quality, err := load(ctx, o.Warehouse, TableQuality)
	if err != nil {
		return nil, []error{err}
	}
	properties := map[string]string{}
	if quality != nil {
		properties = quality.Properties()
	}
	models := map[warehouse.Name]contract.Model{}
	for _, m := range o.Contracts.Models() {
		models[Source(m.EventType, m.Model)] = m
	}
	var list []*source
	var errs []error
	for _, name := range names {
		if name.Namespace != "events" {
			continue
		}
		s := &source{name: name.String(), model: models[name]}
		s.contract = ruling(s.model)
		if err := s.find(ctx, o, name, properties, r); err != nil {
			errs = append(errs, fmt.Errorf("quality of %s: %w", name, err))
			s.days, s.lost = nil, true
		}
		list = append(list, s)
	}
	return append([]*source{}, list...), errs
}

// ruling returns the version whose rules are run: the newest active one, else the newest.
func ruling(m contract.Model) *contract.Contract {
	var c *contract.Contract
	for _, v := range m.Versions { // oldest first
		if c == nil || v.Status == contract.StatusActive || c.Status != contract.StatusActive {
			c = v
		}
	}
	return c
}

// unusable returns a contract file that is wrong and may be the one with the source's rules; nil where there is none. Without it the source looks as if it had no rules, or only those of another version.
func unusable(set *contract.Set, source string) error {
	for _, bad := range set.Invalid() {
		if bad.EventType == "" || strings.HasPrefix(source, strings.TrimSuffix(Source(bad.EventType, 0).String(), "0")) {
			return bad
		}
	}
	return nil
}

// find sets which days are to be looked at.
func (s *source) find(ctx context.Context, o *Options, name warehouse.Name, properties map[string]string, r Result) error {
	var err error
	if s.table, err = o.Warehouse.Load(ctx, name); err != nil {
		return err
	}
	for key, into := range map[string]any{propertyCheckpoint + s.name: &s.was, propertyTrend + s.name: &s.trend} {
		if text := properties[key]; text != "" {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				return fmt.Errorf("property %s of %s: %w", key, TableQuality, err)
			}
		}
	}
	s.now = checkpoint{Snapshot: s.table.Snapshot(), Held: s.was.Held}
	if s.contract != nil {
		sum := sha256.Sum256(s.contract.Source())
		s.now.Rules = hex.EncodeToString(sum[:8])
	}
	if s.name != dead && (s.contract == nil || s.was.Rules != "" && s.was.Rules != s.now.Rules) {
		if bad := unusable(o.Contracts, s.name); bad != nil {
			return fmt.Errorf("its rules are not known: %w", bad)
		}
	}
	if text := s.table.Properties()[propertyPosition]; text != "" {
		if err := json.Unmarshal([]byte(text), &s.now.Position); err != nil {
			return fmt.Errorf("property %s: %w", propertyPosition, err)
		}
	}
	if o.Days != nil {
		s.days = slices.Compact(slices.Sorted(slices.Values(o.Days[s.name])))
		return nil
	}
	if s.now.Snapshot == 0 {
		return nil
	}
	days := map[string]bool{}
	if s.now.Snapshot != s.was.Snapshot {
		if err := s.changed(ctx, days); err != nil {
			return err
		}
	}
	s.now.Profiles = maps.Clone(s.was.Profiles)
	for day, p := range s.now.Profiles {
		if p.Stale && p.due(p.Rows, r.Evaluated) {
			days[day] = true
		}
	}
	if s.was.Rules != s.now.Rules || r.Evaluated.Sub(s.was.Held) >= retryHeld {
		s.now.Held = r.Evaluated
		for _, day := range r.Held.Days(s.name) {
			days[day] = true
		}
	}
	s.days = slices.Sorted(maps.Keys(days))
	s.checkpoint = len(s.days) > 0
	return nil
}

// changed adds the days of which files were added or removed since the checkpoint.
func (s *source) changed(ctx context.Context, days map[string]bool) error {
	changes, err := s.table.Changes(ctx, s.was.Snapshot)
	files := slices.Concat(changes.Added, changes.Removed)
	if errors.Is(err, warehouse.ErrExpired) {
		// Rows behind the position lie in files whose statistics say so; what was removed meanwhile (an erasure) is not seen.
		files, err = s.table.Plan(ctx, behind(s.was.Position, s.now.Position))
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		days[dayOfFile(f)] = true
	}
	return nil
}

// behind is the filter for rows that landed between two positions.
func behind(was, now map[string]int64) iceberg.BooleanExpression {
	if len(now) == 0 {
		return iceberg.AlwaysTrue{}
	}
	var filter iceberg.BooleanExpression = iceberg.AlwaysFalse{}
	for _, log := range slices.Sorted(maps.Keys(now)) {
		if now[log] > was[log] {
			filter = iceberg.NewOr(filter, iceberg.NewAnd(iceberg.EqualTo(iceberg.Reference("landing_log"), log), iceberg.GreaterThan(iceberg.Reference("landing_sequence"), was[log])))
		}
	}
	return filter
}

// day evaluates one day of a source, and adds what it found to the output.
func (o *Options) day(ctx context.Context, db *duck.DB, out *output, s *source, day string) (Day, error) {
	d := Day{Source: s.name, Day: day}
	filter, err := filesOf(day)
	if err != nil {
		return d, err
	}
	files, err := s.table.Plan(ctx, filter)
	if err != nil {
		return d, err
	}
	files = slices.DeleteFunc(files, func(f warehouse.File) bool { return dayOfFile(f) != day })
	if len(files) == 0 { // retention took the day
		delete(s.now.Profiles, day)
		return d, out.replaceGroups(ctx, &d, nil)
	}
	wanted := wanted(s.table.Schema(), s.name)
	local, err := o.Warehouse.Fetch(ctx, files, wanted)
	if err != nil {
		return d, err
	}
	if err := db.Relation(ctx, warehouse.Name{Namespace: baseSchema, Table: baseTable}, s.table.Schema(), local, wanted, ""); err != nil {
		return d, err
	}
	if d.Rows, d.Copies, err = prepare(ctx, db, s.table.Schema(), s.model, s.name); err != nil {
		return d, err
	}
	e := &evaluation{db: db, rows: d.Rows, timeout: o.Timeout}
	if s.contract != nil {
		d.Version = s.contract.Version
		if d.Checks, err = e.check(ctx, compile(s.contract, s.model)); err != nil {
			return d, err
		}
	}
	if p := s.now.Profiles[day]; o.Days != nil || p.due(d.Rows, out.at) {
		if d.Columns, err = e.profile(ctx, s.table.Schema(), s.model, s.name); err != nil {
			// A profile proves nothing, so that its failure holds nothing; an engine that is gone would fail whatever comes.
			if gone := e.alive(ctx); gone != nil {
				return d, errors.Join(err, gone)
			}
			d.Columns, d.Unprofiled = nil, e.reason(err)
			o.Logger.WarnContext(ctx, "day not profiled", "source", s.name, "day", day, "reason", d.Unprofiled)
		}
		s.profiled(day, profiled{Rows: d.Rows, At: out.at.Unix(), Stale: err != nil})
	} else {
		p.Stale = p.Stale || d.Rows != p.Rows
		s.profiled(day, p)
	}
	for i := range d.Checks {
		s.follow(&d.Checks[i], &d, out.at)
	}
	out.add(&d)
	return d, out.replaceGroups(ctx, &d, e)
}

// profiled remembers a day's profile, and forgets those of old days.
func (s *source) profiled(day string, p profiled) {
	if s.now.Profiles == nil {
		s.now.Profiles = map[string]profiled{}
	}
	s.now.Profiles[day] = p
	days := slices.Sorted(maps.Keys(s.now.Profiles))
	for _, old := range days[:max(0, len(days)-profileDays)] {
		delete(s.now.Profiles, old)
	}
}

// follow gives a check its trend, and the trend the check's value.
func (s *source) follow(c *Check, d *Day, at time.Time) {
	if d.Day == noDay { // it has no place among the days
		return
	}
	for _, p := range s.trend[c.ID] {
		if p.Day < d.Day {
			c.Trend = append(c.Trend, Point{Evaluated: time.Unix(p.At, 0).UTC(), Day: p.Day, Value: p.Value, Passed: p.Passed})
		}
	}
	if !c.Ran || !c.Value.IsNumber {
		return
	}
	if s.trend == nil {
		s.trend = map[string][]trendPoint{}
	}
	list := slices.DeleteFunc(s.trend[c.ID], func(p trendPoint) bool { return p.Day == d.Day })
	list = append(list, trendPoint{d.Day, at.Unix(), c.Value.Number, c.Passed})
	slices.SortFunc(list, func(a, b trendPoint) int { return strings.Compare(a.Day, b.Day) })
	s.trend[c.ID] = list[max(0, len(list)-trendPoints):]
}
