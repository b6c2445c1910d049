package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/landing"
)

// target returns the table of an object's rows as the run has it; nil where the name is another type's, which is an alarm.
func (r *run) target(ctx context.Context, s *source, e landing.Entry, p place) (*target, error) {
	name, eventType, model := Dead, "", ""
	if p.Kind == landing.KindEnriched {
		name, eventType, model = TableOf(p.Type, p.Model), p.Type, p.Model
	}
	t, ok := r.tables[name]
	if !ok {
		var err error
		if t, err = r.open(ctx, name, p.Kind, eventType, model); err != nil {
			damaged := (*warehouse.Damaged)(nil)
			if !errors.As(err, &damaged) {
				return nil, err
			}
			t = newTarget(name, p.Kind, eventType, model)
			r.damaged(t, e, damaged)
		}
		r.tables[name] = t
		r.fits(t, s, e)
	}
	if t.kind == p.Kind && t.eventType == eventType && t.model == model {
		return t, nil
	}
	if a := [2]string{name.String(), eventType}; e.Sequence > s.done && !r.collided[a] {
		r.collided[a] = true
		r.alarm(Alarm{
			Code: CodeCollision, Topic: e.Topic, TopicID: e.TopicID, Sequence: e.Sequence, Table: name.String(),
			Message: fmt.Sprintf("the event types %q and %q have the same table; rows of the second are in no table", t.eventType, eventType),
		})
	}
	return nil, nil
}

func newTarget(name warehouse.Name, kind, eventType, model string) *target {
	return &target{name: name, kind: kind, eventType: eventType, model: model, position: Position{}, result: TableResult{Name: name, Days: map[string]int64{}}}
}

// open loads a table, or prepares one that is not there yet.
func (r *run) open(ctx context.Context, name warehouse.Name, kind, eventType, model string) (*target, error) {
	t := newTarget(name, kind, eventType, model)
	table, err := (*warehouse.Table)(nil), fmt.Errorf("%s: %w", name, warehouse.ErrNoTable)
	if !r.whole && !slices.Contains(r.rebuild, name.String()) {
		table, err = r.o.Warehouse.Load(ctx, name)
	}
	switch {
	case errors.Is(err, warehouse.ErrNoTable):
		if kind == landing.KindEnriched && !r.o.Contracts.Known(eventType) {
			// A type that has a contract has the name, whichever comes first.
			for _, m := range r.o.Contracts.Models() {
				if n := strconv.Itoa(m.Model); TableOf(m.EventType, n) == name {
					t.eventType, t.model = m.EventType, n
				}
			}
		}
	case err != nil:
		return nil, err
	default:
		p := table.Properties()
		t.table, t.kind, t.eventType, t.model = table, p[KindProperty], p[TypeProperty], p[ModelProperty]
		if t.position, err = ParsePosition(p[PositionProperty]); err != nil {
			return nil, &warehouse.Damaged{Name: name, Err: fmt.Errorf("property %s: %w", PositionProperty, err)}
		}
		if len(t.position) > 0 { // a run that was killed between a table's commit and that of ops.landing did not say so there
			r.known[name.String()] = slices.Sorted(maps.Keys(t.position))
		}
	}
	if n, err := strconv.Atoi(t.model); err == nil && kind == landing.KindEnriched {
		if m, err := r.o.Contracts.Model(t.eventType, n); err == nil { // else no contract is known, and objects have no payload
			t.contracted = contracted(m)
		}
	}
	return t, nil
}

// fits says by an alarm where the contract has other types than the table, which is then left alone.
func (r *run) fits(t *target, s *source, e landing.Entry) {
	if t.table == nil {
		return
	}
	if _, err := merge(columnsOf(t.table.Schema()), t.contracted); err != nil {
		t.failed = true
		r.alarm(Alarm{
			Code: CodeType, Topic: e.Topic, TopicID: s.log.TopicID(), Sequence: e.Sequence, Table: t.name.String(), Stops: true,
			Message: fmt.Sprintf("the table, and the contract of %s: %v", t.eventType, err),
		})
	}
}

// fit returns the pieces whose columns are those of the table, or can be added to it, up to the first that has another type: misfit, and why. Those of entries that were given up are left out. want is what
// the table has to have for them.
func (r *run) fit(t *target, s *source, pieces []*piece) (fitting []*piece, want []warehouse.Column, misfit *piece, why error) {
	want = t.contracted
	if t.table != nil {
		var err error
		if want, err = merge(columnsOf(t.table.Schema()), want); err != nil {
			return nil, nil, pieces[0], fmt.Errorf("the table, and the contract of %s: %w", t.eventType, err)
		}
	}
	for _, p := range pieces {
		all, err := merge(want, shown(t.kind, p.found.columns))
		if err == nil {
			fitting, want = append(fitting, p), all
			continue
		}
		err = fmt.Errorf("the table or its contract, and %s/%s: %w", s.bucket.Name(), p.object.Key, err)
		if !r.accepted(s, p.entry.Sequence) {
			return slices.DeleteFunc(fitting, func(f *piece) bool { return f.entry.Sequence == p.entry.Sequence }), want, p, err
		}
		a := alarmOf(s, *p.entry, p.object, CodeType, err)
		a.Stops, a.Table, a.Message = false, t.name.String(), a.Message+givenUp
		r.alarm(a)
	}
	return fitting, want, nil, nil
}

// ensure makes the table have the columns.
func (r *run) ensure(ctx context.Context, t *target, want []warehouse.Column) error {
	if t.table != nil && covers(columnsOf(t.table.Schema()), want) {
		return nil
	}
	if t.table == nil {
		want = tableOf(want)
	}
	created := t.table == nil
	table, err := r.o.Warehouse.Ensure(ctx, t.name, warehouse.Spec{
		Columns: want, Partition: []string{ArrivalDate},
		Properties: map[string]string{KindProperty: t.kind, TypeProperty: t.eventType, ModelProperty: t.model},
	})
	if err != nil {
		return err
	}
	t.table, t.result.Created = table, t.result.Created || created
	return nil
}

// added is what was added to a table.
type added struct {
	paths       []string
	rows, bytes int64
}

// append writes the pieces' rows and commits them with the properties.
func (r *run) append(ctx context.Context, t *target, pieces []*piece, properties map[string]string) (added, error) {
	a, err := r.writePieces(ctx, t, pieces)
	if err != nil {
		return a, err
	}
	begin := r.o.Clock()
	defer func() { r.timed(&r.result.Durations.Commit, begin) }()
	table, err := r.o.Warehouse.Commit(ctx, t.table, warehouse.Change{Add: a.paths, Properties: properties})
	if err != nil {
		return a, err
	}
	t.table = table
	return a, r.keep(a)
}

// keep leaves the local copies of files that were committed to those who read them next, as far as there is room for them.
func (r *run) keep(a added) error {
	if r.kept += a.bytes; r.kept > r.o.Limits.Keep {
		return r.o.Warehouse.Release(a.paths)
	}
	return nil
}

// maxDays is how many days are written one by one. DuckDB takes half as much time again to part rows by day itself.
const maxDays = 16

// writePieces writes the pieces' rows to files of one day each.
func (r *run) writePieces(ctx context.Context, t *target, pieces []*piece) (all added, err error) {
	days := map[string][]*piece{}
	for _, p := range pieces {
		days[p.place.date] = append(days[p.place.date], p)
	}
	partition := []string(nil)
	if len(days) > maxDays {
		days, partition = map[string][]*piece{"": pieces}, t.table.Partition()
	}
	for _, day := range slices.Sorted(maps.Keys(days)) {
		var want int64
		for _, p := range days[day] {
			want += p.object.Rows
		}
		a, err := r.write(ctx, t.table, query(t.table.Schema(), days[day]), partition, want)
		if err != nil {
			return all, err
		}
		all.add(a)
	}
	return all, nil
}

func (a *added) add(b added) {
	a.paths = append(a.paths, b.paths...)
	a.rows += b.rows
	a.bytes += b.bytes
}

// write runs the query, which must have so many rows, and returns the files.
func (r *run) write(ctx context.Context, t *warehouse.Table, query string, partition []string, want int64) (a added, err error) {
	if r.engine == nil {
		if r.engine, err = r.o.DB(); err != nil {
			return a, err
		}
	}
	begin := r.o.Clock()
	defer func() { r.timed(&r.result.Durations.Write, begin) }()
	files, err := r.o.write(ctx, r.engine, query, t, partition, func() string { return r.o.Warehouse.NewFile(t) })
	if err != nil {
		return a, err
	}
	for _, f := range files {
		info, err := os.Stat(f.Path)
		if err != nil {
			return a, err
		}
		a.paths = append(a.paths, f.Path)
		a.rows += f.Rows
		a.bytes += info.Size()
	}
	if a.rows != want {
		return a, fmt.Errorf("%d rows were to be written, %d were", want, a.rows)
	}
	return a, nil
}

// query returns the rows of the pieces with the columns of the schema.
func query(schema *iceberg.Schema, pieces []*piece) string {
	var parts []string
	for _, p := range pieces {
		parts = append(parts, "select "+strings.Join(selection(schema, p), ", ")+" from read_parquet("+quoteText(p.path)+", hive_partitioning=false)")
	}
	return strings.Join(parts, "\nunion all\n")
}

func selection(schema *iceberg.Schema, p *piece) []string {
	var out []string
	for _, f := range schema.Fields() {
		i := slices.IndexFunc(p.found.columns, func(c warehouse.Column) bool { return c.Name == f.Name })
		typ := typeName(f.Type)
		value := "cast(null as " + typ + ")"
		switch {
		case f.Name == ArrivalDate:
			if p.place.date != "" {
				value = "date " + quoteText(p.place.date)
			}
		case f.Name == LandingLog:
			value = quoteText(p.entry.TopicID)
		case f.Name == LandingSequence:
			value = "cast(" + strconv.FormatInt(p.entry.Sequence, 10) + " as bigint)"
		case f.Name == LandingObject:
			value = quoteText(p.object.Key)
		case f.Name == PayloadBytes && p.object.Kind == landing.KindDead:
			value = "octet_length(payload)"
		case i >= 0 && typeName(p.found.columns[i].Type) == typ:
			value = quoteName(f.Name)
		case i >= 0: // a struct that lacks what later ones have
			value = "cast(" + quoteName(f.Name) + " as " + typ + ")"
		}
		out = append(out, value+" as "+quoteName(f.Name))
	}
	return out
}

// opsRow is a row of ops.landing.
type opsRow struct {
	entry         landing.Entry
	object        landing.Object // the zero Object where the entry has none
	date          string
	skipped, lost int64
}

var opsColumns = []warehouse.Column{
	{Name: "topic", Type: iceberg.PrimitiveTypes.String, Doc: "Name of the topic that was drained."},
	{Name: LandingLog, Type: iceberg.PrimitiveTypes.String, Doc: docs[LandingLog]},
	{Name: LandingSequence, Type: iceberg.PrimitiveTypes.Int64, Doc: docs[LandingSequence]},
	{Name: "drain", Type: iceberg.PrimitiveTypes.String, Doc: "Id of the drain that wrote the entry."},
	{Name: "written_at", Type: iceberg.PrimitiveTypes.TimestampTz, Doc: "When the entry was written, by the drain's clock."},
	{Name: "kind", Type: iceberg.PrimitiveTypes.String, Doc: "raw, enriched or dead; null where the entry has no object."},
	{Name: "event_type", Type: iceberg.PrimitiveTypes.String, Doc: "Of enriched objects."},
	{Name: "object", Type: iceberg.PrimitiveTypes.String, Doc: "Key of the object."},
	{Name: ArrivalDate, Type: iceberg.PrimitiveTypes.Date, Doc: docs[ArrivalDate]},
	{Name: "rows", Type: iceberg.PrimitiveTypes.Int64, Doc: "Of the object."},
	{Name: "bytes", Type: iceberg.PrimitiveTypes.Int64, Doc: "Of the object."},
	{Name: "skipped", Type: iceberg.PrimitiveTypes.Int64, Doc: "Offsets without a row, on the entry's first row."},
	{Name: "lost", Type: iceberg.PrimitiveTypes.Int64, Doc: "Offsets that Kafka no longer had, on the entry's first row."},
}

// rowsOf returns the rows of ops.landing for an entry.
func rowsOf(e landing.Entry) []opsRow {
	objects := e.Objects
	if len(objects) == 0 {
		objects = make([]landing.Object, 1)
	}
	var out []opsRow
	for i, o := range objects {
		row := opsRow{entry: e, object: o}
		if p, err := placeOf(o); err == nil {
			row.date = p.date
		}
		if i == 0 {
			for _, p := range e.Partitions {
				for _, s := range p.Skipped {
					row.skipped += s.Last - s.First + 1
				}
				for _, l := range p.Lost {
					row.lost += l.Last - l.First + 1
				}
			}
		}
		out = append(out, row)
	}
	return out
}

// sql returns the row's values in the columns' order.
func (o opsRow) sql() string {
	text := func(s string) string {
		if s == "" {
			return "null"
		}
		return quoteText(s)
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return "(" + strings.Join([]string{
		text(o.entry.Topic), text(o.entry.TopicID), number(o.entry.Sequence), text(o.entry.Drain), text(o.entry.Time.UTC().Format(time.RFC3339Nano)),
		text(o.object.Kind), text(o.object.Type), text(o.object.Key), text(o.date), number(o.object.Rows), number(o.object.Bytes), number(o.skipped), number(o.lost),
	}, ",") + ")"
}

// opsQuery returns the rows as a query with the columns of ops.landing.
func opsQuery(rows []opsRow) string {
	var names, casts, values []string
	for _, c := range opsColumns {
		name := quoteName(c.Name)
		names = append(names, name)
		casts = append(casts, "cast("+name+" as "+typeName(c.Type)+") as "+name)
	}
	for _, row := range rows {
		values = append(values, row.sql())
	}
	return "select " + strings.Join(casts, ", ") + " from (values " + strings.Join(values, ",\n") + ") as v(" + strings.Join(names, ", ") + ")"
}

// flush commits to ops.landing what it lacks, and the position.
func (r *run) flush(ctx context.Context) error {
	properties := r.properties()
	if r.dry || r.blind || (len(r.entries) == 0 && (r.ops == nil || maps.Equal(properties, r.saved))) {
		return nil
	}
	err := r.record(ctx, properties)
	if err == nil {
		return nil
	}
	if damaged := r.atFault(ctx, Landing, err); damaged != nil {
		r.blinded(damaged)
		return nil
	}
	return err
}

// record commits to ops.landing what it lacks, with the properties.
func (r *run) record(ctx context.Context, properties map[string]string) error {
	if r.ops == nil || !covers(columnsOf(r.ops.Schema()), opsColumns) {
		var err error
		if r.ops, err = r.o.Warehouse.Ensure(ctx, Landing, warehouse.Spec{Columns: opsColumns}); err != nil {
			return err
		}
	}
	change := warehouse.Change{Properties: properties}
	if len(r.entries) > 0 {
		a, err := r.write(ctx, r.ops, opsQuery(r.entries), nil, int64(len(r.entries)))
		if err != nil {
			return fmt.Errorf("%s: %w", Landing, err)
		}
		change.Add = a.paths
	}
	begin := r.o.Clock()
	defer func() { r.timed(&r.result.Durations.Commit, begin) }()
	table, err := r.o.Warehouse.Commit(ctx, r.ops, change)
	if err != nil {
		return fmt.Errorf("%s: %w", Landing, err)
	}
	r.ops, r.saved, r.entries = table, properties, nil
	return nil
}
