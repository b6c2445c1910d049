package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

var source = warehouse.Name{Namespace: "events", Table: "enriched_trip_0"}

// lake is a warehouse on a fake store, with DuckDB.
type lake struct {
	t       *testing.T
	w       *warehouse.Warehouse
	db      *duck.DB
	set     *Set
	server  *objectstoretest.Server
	columns []warehouse.Column
	opened  int // engines
	held    func(source, day string) bool
	wrap    func(Engine) Engine
	window  time.Duration
}

func openDuck(t *testing.T) *duck.DB {
	t.Helper()
	db, err := duck.Open(t.Context(), duck.Options{Memory: 512 << 20, Threads: 2, Scratch: t.TempDir()})
	if err != nil {
		if strings.Contains(err.Error(), "C compiler") {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func newLake(t *testing.T) *lake {
	t.Helper()
	db := openDuck(t)
	s := objectstoretest.NewServer("lake")
	t.Cleanup(s.Close)
	b, err := objectstore.Open(s.Config("lake", 1))
	if err != nil {
		t.Fatal(err)
	}
	w, err := warehouse.Open(t.Context(), warehouse.Config{
		Catalog: "sqlite://" + filepath.Join(t.TempDir(), "catalog.db"), Name: "lake", Store: b, Prefix: "warehouse", Scratch: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	p := iceberg.PrimitiveTypes
	payload := &iceberg.StructType{FieldList: []iceberg.NestedField{{ID: 1, Name: "pickup", Type: p.Timestamp}, {ID: 2, Name: "zone", Type: p.Int64}, {ID: 3, Name: "amount", Type: p.Float64}}}
	return &lake{t: t, w: w, db: db, server: s, set: load(t, os.DirFS("testdata/models")), columns: []warehouse.Column{
		{Name: "root_id", Type: p.String},
		{Name: "data_hash", Type: p.String},
		{Name: "replaycount", Type: p.Int64},
		{Name: "kafka_timestamp", Type: p.TimestampTz},
		{Name: "kafka_partition", Type: p.Int32},
		{Name: "kafka_offset", Type: p.Int64},
		{Name: "payload", Type: payload},
		{Name: "arrival_date", Type: p.Date},
		{Name: "landing_log", Type: p.String},
		{Name: "landing_sequence", Type: p.Int64},
		{Name: "landing_object", Type: p.String},
	}}
}

func load(t *testing.T, fsys ...fs.FS) *Set {
	t.Helper()
	s, err := Load(fsys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// modelsWith returns the test models with texts replaced, old and new in turn.
func modelsWith(t *testing.T, texts ...string) fs.FS {
	t.Helper()
	out := fstest.MapFS{}
	root := os.DirFS("testdata/models")
	used := make([]bool, len(texts))
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		text := string(b)
		for i := 0; i < len(texts); i += 2 {
			used[i] = used[i] || strings.Contains(text, texts[i])
			text = strings.ReplaceAll(text, texts[i], texts[i+1])
		}
		out[name] = &fstest.MapFile{Data: []byte(text)}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(texts); i += 2 {
		if !used[i] {
			t.Fatalf("no model has %q", texts[i])
		}
	}
	return out
}

// trip is one landed row. Its arrival is the base time and at minutes.
type trip struct {
	id, hash  string
	replay    int // 0: not replayed
	at        int // minutes
	partition int
	offset    int
	day       string // of pickup
	zone      int
	amount    float64
	dateless  bool // its record time is beyond all dates
}

var base = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

func (r trip) sql() string {
	replay := "null"
	if r.replay > 0 {
		replay = fmt.Sprint(r.replay)
	}
	id := "null"
	if r.id != "" {
		id = "'" + r.id + "'"
	}
	at := base.Add(time.Duration(r.at) * time.Minute)
	date := "date '" + at.Format(time.DateOnly) + "'"
	if r.dateless {
		date = "cast(null as date)"
	}
	return fmt.Sprintf("(cast(%s as varchar), '%s', cast(%s as bigint), timestamptz '%s+00', %d, %d, {'pickup': timestamp '%s 10:00:00', 'zone': %d, 'amount': cast(%v as double)}, %s)",
		id, r.hash, replay, at.Format(time.DateTime), r.partition, r.offset, r.day, r.zone, r.amount, date)
}

// land commits rows as one entry of a log.
func (l *lake) land(log string, sequence int64, rows ...trip) {
	l.t.Helper()
	l.landIn(source, log, sequence, rows...)
}

func (l *lake) landIn(name warehouse.Name, log string, sequence int64, rows ...trip) {
	l.t.Helper()
	ctx := l.t.Context()
	t, err := l.w.Ensure(ctx, name, warehouse.Spec{Columns: l.columns, Partition: []string{"arrival_date"}})
	if err != nil {
		l.t.Fatal(err)
	}
	var add []string
	if len(rows) > 0 {
		values := make([]string, len(rows))
		for i, r := range rows {
			values[i] = r.sql()
		}
		q := fmt.Sprintf("select *, '%s' as landing_log, %d as landing_sequence, 'object' as landing_object from (values %s) t(root_id, data_hash, replaycount, kafka_timestamp, kafka_partition, kafka_offset, payload, arrival_date)",
			log, sequence, strings.Join(values, ", "))
		for _, c := range l.columns {
			if strings.HasPrefix(c.Name, "extra_") {
				q = "select *, null as " + c.Name + " from (" + q + ")"
			}
		}
		written, err := l.db.Write(ctx, q, t.Schema(), t.Partition(), func() string { return l.w.NewFile(t) })
		if err != nil {
			l.t.Fatal(err)
		}
		for _, w := range written {
			add = append(add, w.Path)
		}
	}
	position, _, err := property[Position](t, PositionProperty)
	if err != nil {
		l.t.Fatal(err)
	}
	if position == nil {
		position = Position{}
	}
	position[log] = sequence
	text, err := json.Marshal(position)
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.w.Commit(ctx, t, warehouse.Change{Add: add, Properties: map[string]string{PositionProperty: string(text)}}); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lake) options(selectors ...string) Options {
	return Options{Set: l.set, Warehouse: l.w, Select: selectors, Held: l.held, Window: l.window, Engine: func(context.Context) (Engine, error) {
		l.opened++
		e := NewDuck(l.db, l.w)
		if l.wrap != nil {
			e = l.wrap(e)
		}
		return e, nil
	}}
}

// try runs the models and returns what became of them, by name.
func (l *lake) try(selectors ...string) map[string]Outcome {
	l.t.Helper()
	res, err := Run(l.t.Context(), l.options(selectors...))
	if err != nil {
		l.t.Fatal(err)
	}
	out := map[string]Outcome{}
	for _, m := range res.Models {
		out[m.Name] = m
	}
	return out
}

// run is try where nothing may fail.
func (l *lake) run(selectors ...string) map[string]Outcome {
	l.t.Helper()
	out := l.try(selectors...)
	for _, m := range out {
		if m.Status == Failed || m.Blocked {
			l.t.Fatalf("model %s: %s: %s", m.Name, m.Status, m.Cause)
		}
	}
	return out
}

// rows returns what a table holds, each row as text, sorted; the columns alone where some are named.
func (l *lake) rows(name warehouse.Name, columns ...string) []string {
	l.t.Helper()
	ctx := l.t.Context()
	t, err := l.w.Load(ctx, name)
	if errors.Is(err, warehouse.ErrNoTable) {
		return nil
	}
	if err != nil {
		l.t.Fatal(err)
	}
	files, err := t.Plan(ctx, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	ls, err := l.w.Fetch(ctx, files, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.db.Relation(ctx, warehouse.Name{Namespace: "look", Table: name.Table}, t.Schema(), ls, nil, ""); err != nil {
		l.t.Fatal(err)
	}
	what := "*"
	if len(columns) > 0 {
		what = strings.Join(columns, ", ")
	}
	var out []string
	err = l.db.Rows(ctx, "select "+what+" from look."+quote(name.Table), func(_ []string, row []any) error {
		parts := make([]string, len(row))
		for i, v := range row {
			parts[i] = show(v)
		}
		out = append(out, strings.Join(parts, " "))
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func (l *lake) star(model string, columns ...string) []string {
	l.t.Helper()
	return l.rows(starName(model), columns...)
}

// paths are the objects of a model's table.
func (l *lake) paths(model string) (out []string) {
	l.t.Helper()
	t, err := l.w.Load(l.t.Context(), starName(model))
	if err != nil {
		l.t.Fatal(err)
	}
	files, err := t.Plan(l.t.Context(), nil)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, f := range files {
		out = append(out, f.Path)
	}
	return out
}

func (l *lake) same(what string, got []string, want ...string) {
	l.t.Helper()
	if !slices.Equal(got, want) {
		l.t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func show(v any) string { return text(v) }
