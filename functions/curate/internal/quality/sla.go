package quality

import (
	"context"
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
	propertySLA = "millrace.sla" // of ops.sla: when was measured last, and what the tables were then

	settled   = time.Hour     // after its end a day counts as landed whole
	landings  = 8 * meanDay   // how far back the landing log is read
	atMost    = 90 * meanDay  // and how far for a frequency
	perhaps   = 2 * time.Hour // by which a drain's clock may be behind Kafka's
	dead      = "events.dead"
	landing   = "quality.landing"
	slaEvents = "quality.sla_events"
)

// SLAOptions are what measuring service levels needs.
type SLAOptions struct {
	Warehouse *warehouse.Warehouse
	DB        func(ctx context.Context) (*duck.DB, error) // called where there is work, and not else
	Contracts *contract.Set
	RunID     string
	Clock     func() time.Time
	Logger    *slog.Logger
	Interval  time.Duration // levels are measured again after it though nothing is new
}

// SLAResult is what was measured.
type SLAResult struct {
	Evaluated time.Time
	Levels    []Level // none where nothing was due
}

// Level is one service level of a source.
type Level struct {
	Source, Property, Element string
	Target, Actual            *float64 // in Unit; Actual is nil where it was not measured
	Unit                      string
	Met                       *bool // nil where it was not measured
	Driver, Description       string
	Note                      string  // what was measured, or why it was not
	Trend                     []Point // former values, oldest first
}

// slaCheckpoint is what ops.sla remembers.
type slaCheckpoint struct {
	At     time.Time                          `json:"at"`
	Tables map[string]int64                   `json:"tables"` // snapshots by table
	Trend  map[string]map[string][]trendPoint `json:"trend,omitempty"`
}

// measuring is one evaluation of service levels.
type measuring struct {
	o       SLAOptions
	db      *duck.DB
	now     time.Time
	tables  map[string]*warehouse.Table // by name
	landing *warehouse.Table            // nil where there is none
	damaged []string                    // of the tables that levels are measured on
	since   time.Time                   // from when on the relation of the landing log is whole
	share   *share                      // of completeness, which all sources have together
}

// share is how many events of a day are where they belong.
type share struct {
	day       string
	over      bool // the day was, long enough ago
	have, raw float64
}

// SLA measures the service levels of all contracts whose tables are there, where a table or the landing log changed or the interval is over, and appends them to ops.sla.
//
// freshness is the age of the newest event's collector_tstamp; latency the time from collector_tstamp to the landing log's entry, of the slowest but one in a hundred events of
// yesterday and today that are not replayed; completeness the share of the raw rows of the last whole day (or today so far) whose events are enriched or dead, over all event types,
// since raw objects do not say their type; throughput (or volume) the rows of the last whole day in one unit of time; frequency the mean time between landings until now; retention the age of the
// oldest day. All others are not measured here, and say so. Where the levels of one source cannot be measured, those of the others are, and the error says which.
func SLA(ctx context.Context, o SLAOptions) (SLAResult, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m := &measuring{o: o, now: o.Clock().UTC().Truncate(time.Microsecond), tables: map[string]*warehouse.Table{}}
	r := SLAResult{Evaluated: m.now}
	sla, err := load(ctx, o.Warehouse, TableSLA)
	if err != nil {
		return r, err
	}
	var was slaCheckpoint
	if sla != nil {
		if text := sla.Properties()[propertySLA]; text != "" {
			if err := json.Unmarshal([]byte(text), &was); err != nil {
				return r, fmt.Errorf("property %s of %s: %w", propertySLA, TableSLA, err)
			}
		}
	}
	due, err := m.due(ctx)
	if err != nil || len(due) == 0 {
		return r, err
	}
	now := slaCheckpoint{At: m.now, Tables: map[string]int64{}, Trend: was.Trend}
	for name, t := range m.tables {
		now.Tables[name] = t.Snapshot()
	}
	if m.landing != nil {
		now.Tables[m.landing.Name.String()] = m.landing.Snapshot()
	}
	if maps.Equal(was.Tables, now.Tables) && m.now.Sub(was.At) < o.Interval {
		return r, nil
	}
	if m.db, err = o.DB(ctx); err != nil {
		return r, err
	}
	var errs []error
	for _, s := range due {
		levels, err := m.levels(ctx, s)
		if err != nil {
			if ctx.Err() != nil {
				return r, err
			}
			errs = append(errs, fmt.Errorf("service levels of %s: %w", s.name, fault.Hide(err)))
			now.Tables[s.name] = -1 // measured again by the next run
		}
		r.Levels = append(r.Levels, levels...)
	}
	now.follow(r.Levels, m.now)
	return r, errors.Join(append(errs, m.commit(ctx, r, now))...)
}

// due returns the sources that have service levels, and loads what they are measured on.
func (m *measuring) due(ctx context.Context) ([]*source, error) {
	names, err := m.o.Warehouse.Tables(ctx)
	if err != nil {
		return nil, err
	}
	var list []*source
	for _, model := range m.o.Contracts.Models() {
		name := Source(model.EventType, model.Model)
		if c := ruling(model); slices.Contains(names, name) && len(c.SLA) > 0 {
			list = append(list, &source{name: name.String(), model: model, contract: c})
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	for _, name := range names {
		if name.Namespace != "events" && name.String() != "ops.landing" {
			continue
		}
		t, err := m.o.Warehouse.Load(ctx, name)
		if damaged := (*warehouse.Damaged)(nil); errors.As(err, &damaged) {
			m.o.Logger.WarnContext(ctx, "service levels are not measured", "table", name.String(), "error", err)
			m.damaged = append(m.damaged, name.String())
			list = slices.DeleteFunc(list, func(s *source) bool { return s.name == name.String() })
			continue
		}
		if err != nil {
			return nil, err
		}
		if name.Namespace == "events" {
			m.tables[name.String()] = t
		} else {
			m.landing = t
		}
	}
	for _, s := range list {
		s.table = m.tables[s.name]
	}
	return list, nil
}

// measured is what a property's measurement gives.
type measured struct {
	actual float64
	met    *bool
	note   string
}

// errUnmeasured is why a level was not measured; anything else ends the evaluation.
type errUnmeasured struct{ why string }

func (e errUnmeasured) Error() string { return e.why }

func unmeasured(format string, args ...any) error { return errUnmeasured{fmt.Sprintf(format, args...)} }

func (m *measuring) levels(ctx context.Context, s *source) ([]Level, error) {
	files, err := s.table.Plan(ctx, nil)
	if err != nil {
		return nil, err
	}
	days := map[string]int64{} // rows
	for _, f := range files {
		if d, ok := f.Partition["arrival_date"].(iceberg.Date); ok {
			days[dayOf(d)] += f.Rows
		}
	}
	var levels []Level
	for _, p := range s.contract.SLA {
		l := Level{Source: s.name, Property: p.Property, Element: p.Element, Unit: p.Unit, Driver: p.Driver, Description: p.Description}
		got, err := m.measure(ctx, s, p, days, files, &l)
		var not errUnmeasured
		switch {
		case errors.As(err, &not):
			l.Note = not.why
		case err != nil:
			return nil, fmt.Errorf("%s: %w", p.Property, err)
		default:
			l.Actual, l.Met, l.Note = &got.actual, got.met, got.note
		}
		levels = append(levels, l)
	}
	return levels, nil
}

// measure measures one level.
func (m *measuring) measure(ctx context.Context, s *source, p contract.SLA, days map[string]int64, files []warehouse.File, l *Level) (measured, error) {
	property := strings.ToLower(p.Property)
	f := map[string]func(context.Context, *source, contract.SLA, target, map[string]int64, []warehouse.File) (measured, error){
		"freshness": m.freshness, "latency": m.latency, "completeness": m.completeness, "throughput": m.throughput, "volume": m.throughput, "frequency": m.frequency, "retention": m.retention,
	}[property]
	switch {
	case property == "availability":
		return measured{}, unmeasured("not measured here: the availability of a function is its monitoring's")
	case f == nil:
		return measured{}, unmeasured("not measured here")
	}
	x, u, err := agreed(p.Value, p.Unit)
	if err != nil {
		return measured{}, unmeasured("%v", err)
	}
	l.Target = &x
	if u.name != "" {
		l.Unit = u.name
	}
	timed := property == "freshness" || property == "latency" || property == "frequency" || property == "retention"
	switch {
	case timed && u.length == 0:
		return measured{}, unmeasured("%s wants a unit of time", property)
	case property == "completeness" && !u.percent:
		return measured{}, unmeasured("completeness wants the unit percent")
	case property != "completeness" && u.percent:
		return measured{}, unmeasured("%s in percent of what?", property)
	case len(days) == 0:
		return measured{}, unmeasured("no event has landed yet")
	}
	return f(ctx, s, p, target{x, u}, days, files)
}

// target is what was agreed.
type target struct {
	value float64
	unit  unit
}

// atMost is a measurement that must not exceed the target.
func (t target) atMost(actual float64, note string) measured {
	met := actual <= t.value
	return measured{actual, &met, note}
}

func (t target) atLeast(actual float64, note string) measured {
	met := actual >= t.value
	return measured{actual, &met, note}
}

// recent makes the relation of the source's events of yesterday and today, or of its newest day where there are none.
func (m *measuring) recent(ctx context.Context, s *source, days map[string]int64, files []warehouse.File) error {
	newest := slices.Max(slices.Collect(maps.Keys(days)))
	from := min(newest, m.now.Add(-meanDay).Format(time.DateOnly))
	if from < newest && days[from] == 0 {
		from = newest
	}
	if newest < m.now.Add(-meanDay).Format(time.DateOnly) {
		from = newest
	}
	var of []warehouse.File
	for _, f := range files {
		if d, ok := f.Partition["arrival_date"].(iceberg.Date); ok && dayOf(d) >= from {
			of = append(of, f)
		}
	}
	return m.relation(ctx, slaEvents, s.table, of, []string{"collector_tstamp", "replay_count", "landing_log", "landing_sequence"})
}

// relation makes files a relation with these columns.
func (m *measuring) relation(ctx context.Context, name string, t *warehouse.Table, files []warehouse.File, columns []string) error {
	local, err := m.o.Warehouse.Fetch(ctx, files, columns)
	if err != nil {
		return err
	}
	namespace, table, _ := strings.Cut(name, ".")
	return m.db.Relation(ctx, warehouse.Name{Namespace: namespace, Table: table}, t.Schema(), local, columns, "")
}

// log makes the relation of the landing log's entries since a moment.
func (m *measuring) log(ctx context.Context, since time.Time) error {
	if m.landing == nil {
		return unmeasured("the landing log has no entry yet")
	}
	if !m.since.IsZero() && !since.Before(m.since) {
		return nil
	}
	files, err := m.landing.Plan(ctx, iceberg.GreaterThanEqual(iceberg.Reference("written_at"), iceberg.Timestamp(since.UnixMicro())))
	if err != nil {
		return err
	}
	m.since = since
	return m.relation(ctx, landing, m.landing, files, []string{"landing_log", "landing_sequence", "written_at", "kind", "event_type", "arrival_date", "rows"})
}

// values returns the single row of a query.
func (m *measuring) values(ctx context.Context, query string) ([]Value, error) {
	var out []Value
	err := m.db.Rows(ctx, query, func(_ []string, row []any) error {
		for _, v := range row {
			out = append(out, valueOf(v))
		}
		return nil
	})
	return out, err
}

func (m *measuring) freshness(ctx context.Context, s *source, _ contract.SLA, t target, days map[string]int64, files []warehouse.File) (measured, error) {
	if err := m.recent(ctx, s, days, files); err != nil {
		return measured{}, err
	}
	v, err := m.values(ctx, "select max(to_unixtime(collector_tstamp)) from "+slaEvents)
	if err != nil {
		return measured{}, err
	}
	if !v[0].IsNumber {
		return measured{}, unmeasured("no event says when it was collected")
	}
	age := m.now.Sub(time.UnixMicro(int64(v[0].Number * 1e6)))
	return t.atMost(t.unit.of(age), "age of the newest event, by its collector"), nil
}

func (m *measuring) latency(ctx context.Context, s *source, _ contract.SLA, t target, days map[string]int64, files []warehouse.File) (measured, error) {
	if err := m.recent(ctx, s, days, files); err != nil {
		return measured{}, err
	}
	newest, err := time.Parse(time.DateOnly, slices.Max(slices.Collect(maps.Keys(days))))
	if err != nil {
		return measured{}, err
	}
	if err := m.log(ctx, newest.Add(-meanDay-perhaps)); err != nil {
		return measured{}, err
	}
	v, err := m.values(ctx, "select count(*), approx_percentile(took, 0.99), max(took) from (select to_unixtime(l.written_at) - to_unixtime(e.collector_tstamp) as took from "+slaEvents+
		" as e join (select landing_log, landing_sequence, min(written_at) as written_at from "+landing+" group by landing_log, landing_sequence) as l "+
		"on l.landing_log = e.landing_log and l.landing_sequence = e.landing_sequence where coalesce(e.replay_count, 0) = 0 and e.collector_tstamp is not null) as x")
	if err != nil {
		return measured{}, err
	}
	if v[0].Number == 0 || !v[1].IsNumber {
		return measured{}, unmeasured("no event of the last days says when it was collected, or the landing log does not say when it landed")
	}
	seconds := func(x float64) time.Duration { return time.Duration(x * float64(time.Second)).Round(time.Millisecond) }
	return t.atMost(t.unit.of(seconds(v[1].Number)), fmt.Sprintf("99 of 100 of %.0f events took at most %s, the slowest %s", v[0].Number, seconds(v[1].Number), seconds(v[2].Number))), nil
}

func (m *measuring) completeness(ctx context.Context, _ *source, _ contract.SLA, t target, _ map[string]int64, _ []warehouse.File) (measured, error) {
	if m.share == nil {
		var err error
		if m.share, err = m.count(ctx); err != nil {
			return measured{}, err
		}
	}
	so := ""
	if !m.share.over {
		so = " so far, what is on its way included"
	}
	return t.atLeast(min(100, 100*m.share.have/m.share.raw), fmt.Sprintf("%.0f events of all types are enriched or dead, of %.0f raw rows of %s%s; an event that was sent twice is two rows", m.share.have, m.share.raw, m.share.day, so)), nil
}

// count counts raw rows, and events that are enriched or dead, of the last day that ended long enough ago, else of the newest.
func (m *measuring) count(ctx context.Context) (*share, error) {
	if len(m.damaged) > 0 { // what is in them would count as lost
		return nil, unmeasured("%s cannot be read, so that not all events can be counted", strings.Join(m.damaged, ", "))
	}
	if err := m.log(ctx, m.now.Add(-landings)); err != nil {
		return nil, err
	}
	last := m.now.Add(-settled - meanDay).Format(time.DateOnly)
	v, err := m.values(ctx, "select cast(coalesce(max(case when arrival_date <= "+sqlDate(last)+" then arrival_date end), max(arrival_date)) as varchar) from "+landing+" where kind = 'raw'")
	if err != nil {
		return nil, err
	}
	if v[0].Null {
		return nil, unmeasured("no raw event has landed in the last %d days", landings/meanDay)
	}
	s := &share{day: v[0].Text, over: v[0].Text <= last}
	date, err := dateOf(s.day)
	if err != nil {
		return nil, err
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m.tables)) {
		files, err := m.tables[name].Plan(ctx, iceberg.EqualTo(iceberg.Reference("arrival_date"), date))
		if err != nil {
			return nil, err
		}
		columns, where := []string{"root_id", "arrival_date"}, ""
		if name == dead { // what collect refused never was a raw event
			columns, where = append(columns, "failure_stage"), " and coalesce(failure_stage, '') <> 'collect'"
		}
		relation := fmt.Sprintf("quality.sla_roots_%d", len(parts))
		if err := m.relation(ctx, relation, m.tables[name], files, columns); err != nil {
			return nil, err
		}
		parts = append(parts, "select root_id from "+relation+" where root_id is not null and arrival_date = "+sqlDate(s.day)+where)
	}
	v, err = m.values(ctx, "select (select count(distinct root_id) from ("+strings.Join(parts, " union all ")+") as x), (select cast(sum(\"rows\") as bigint) from "+landing+" where kind = 'raw' and arrival_date = "+sqlDate(s.day)+")")
	if err != nil {
		return nil, err
	}
	s.have, s.raw = v[0].Number, v[1].Number
	if s.raw == 0 { // of no rows no share is
		return nil, unmeasured("the landing log has no raw row of %s", s.day)
	}
	return s, nil
}

func (m *measuring) throughput(_ context.Context, _ *source, _ contract.SLA, t target, days map[string]int64, _ []warehouse.File) (measured, error) {
	per := t.unit.length
	if per == 0 {
		per = meanDay
	}
	whole, newest := "", slices.Max(slices.Collect(maps.Keys(days)))
	for day := range days {
		if day <= m.now.Add(-settled-meanDay).Format(time.DateOnly) && day > whole {
			whole = day
		}
	}
	if whole == "" {
		actual := float64(days[newest]) * float64(per) / float64(meanDay)
		got := t.atLeast(actual, fmt.Sprintf("%d rows on %s, which is not over", days[newest], newest))
		if !*got.met {
			got.met = nil
		}
		return got, nil
	}
	return t.atLeast(float64(days[whole])*float64(per)/float64(meanDay), fmt.Sprintf("%d rows on %s", days[whole], whole)), nil
}

func (m *measuring) frequency(ctx context.Context, s *source, _ contract.SLA, t target, _ map[string]int64, _ []warehouse.File) (measured, error) {
	window := min(max(meanDay, time.Duration(10*t.value*float64(t.unit.length))), atMost)
	from := m.now.Add(-window)
	if err := m.log(ctx, from); err != nil {
		return measured{}, err
	}
	v, err := m.values(ctx, "select count(distinct written_at), min(to_unixtime(written_at)) from "+landing+" where kind = 'enriched' and event_type = "+literal(s.model.EventType)+
		" and to_unixtime(written_at) >= "+double(float64(from.UnixMicro())/1e6))
	if err != nil {
		return measured{}, err
	}
	if v[0].Number == 0 {
		return t.atMost(t.unit.of(window), "nothing landed in that time"), nil
	}
	span := m.now.Sub(time.UnixMicro(int64(v[1].Number * 1e6)))
	return t.atMost(t.unit.of(span)/v[0].Number, fmt.Sprintf("%.0f landings in %s", v[0].Number, span.Round(time.Second))), nil
}

func (m *measuring) retention(_ context.Context, _ *source, _ contract.SLA, t target, days map[string]int64, _ []warehouse.File) (measured, error) {
	oldest, err := time.Parse(time.DateOnly, slices.Min(slices.Collect(maps.Keys(days))))
	if err != nil {
		return measured{}, err
	}
	// A day goes as a whole, once all of it is old enough.
	met := !oldest.Add(meanDay).Before(t.unit.before(m.now, t.value).Truncate(meanDay))
	return measured{t.unit.of(m.now.Sub(oldest)), &met, "age of the oldest day, " + oldest.Format(time.DateOnly)}, nil
}

// follow gives levels their trends, and the trends the levels' values.
func (c *slaCheckpoint) follow(levels []Level, now time.Time) {
	trend := map[string]map[string][]trendPoint{} // of levels that are still agreed, and of sources that could not be measured
	for name, list := range c.Trend {
		if !slices.ContainsFunc(levels, func(l Level) bool { return l.Source == name }) {
			trend[name] = list
		}
	}
	day := now.Format(time.DateOnly)
	for i := range levels {
		l := &levels[i]
		key := l.Property + " " + l.Element
		list := slices.DeleteFunc(c.Trend[l.Source][key], func(p trendPoint) bool { return p.Day == day })
		for _, p := range list {
			l.Trend = append(l.Trend, Point{Evaluated: time.Unix(p.At, 0).UTC(), Day: p.Day, Value: p.Value, Passed: p.Passed})
		}
		if l.Actual != nil {
			list = append(list, trendPoint{day, now.Unix(), *l.Actual, l.Met == nil || *l.Met})
		}
		if trend[l.Source] == nil {
			trend[l.Source] = map[string][]trendPoint{}
		}
		trend[l.Source][key] = list[max(0, len(list)-trendPoints):]
	}
	c.Trend = trend
}

// commit appends the levels, with the checkpoint.
func (m *measuring) commit(ctx context.Context, r SLAResult, c slaCheckpoint) error {
	t, err := m.o.Warehouse.Ensure(ctx, TableSLA, specSLA)
	if err != nil {
		return err
	}
	optional := func(x *float64) string {
		if x == nil {
			return "null"
		}
		return sqlNumber(number(*x))
	}
	values := make([][]string, len(r.Levels))
	for i, l := range r.Levels {
		met := "null"
		if l.Met != nil {
			met = fmt.Sprint(*l.Met)
		}
		description := strings.TrimSpace(l.Description + " (" + l.Note + ")")
		values[i] = []string{
			sqlText(m.o.RunID), sqlInstant(m.now), sqlText(l.Source), sqlText(l.Property), sqlText(l.Element), optional(l.Target), optional(l.Actual), sqlText(l.Unit), met, sqlText(l.Driver), sqlText(description),
		}
		if l.Met != nil && !*l.Met {
			m.o.Logger.WarnContext(ctx, "service level missed", "source", l.Source, "property", l.Property, "target", *l.Target, "actual", *l.Actual, "unit", l.Unit, "measured", l.Note)
		}
	}
	files, err := write(ctx, m.o.Warehouse, m.db, t, specSLA, values)
	if err != nil {
		return err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = m.o.Warehouse.Commit(ctx, t, warehouse.Change{Add: files, Properties: map[string]string{propertySLA: string(text)}})
	return err
}
