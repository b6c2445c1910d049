package model

import (
	"bytes"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/apache/iceberg-go"
)

var update = flag.Bool("update", false, "write the golden files anew")

// front is a model's text.
func front(matter, sql string) string { return "/*---\n" + matter + "\n---*/\n" + sql + "\n" }

// Every mistake that front matter can have is told with the file and the line where it stands.
func TestFrontMatter(t *testing.T) {
	columns := "columns:\n  - {name: a, type: bigint}\n  - {name: d, type: date}"
	f := func(text string, want ...string) {
		t.Helper()
		_, err := Load(fstest.MapFS{"m.sql": {Data: []byte(text)}})
		var got []string
		for _, p := range Problems(err) {
			got = append(got, p.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s\ngives %q (%v)\nwant %q", text, got, err, want)
		}
	}
	f("select 1", "m.sql:1: a model begins with front matter: a line /*---, YAML, a line ---*/")
	f("/*---\nname: m\nselect 1", "m.sql:1: the front matter has no end: a line ---*/")
	f(front("name: m\nmaterialised: table", "select 1"), "m.sql:3: front matter: field materialised not found")
	f(front("name: m\nmaterialized: table\n"+columns+"\ncolumns: []", "select 1"), `m.sql:7: front matter: mapping key "columns" already defined at line 4`)
	f(front("name: [m", "select 1"), "m.sql:2: front matter: did not find expected ',' or ']'")
	f(front("name: M\nmaterialized: table\n"+columns, "select 1"), `m.sql:2: name "M": a model's name is of a-z, 0-9 and _`)
	f(front("name: m\nmaterialized: view\n"+columns, "select 1"), `m.sql:3: materialized is ephemeral, table or incremental, not "view"`)
	f(front("name: m\nmaterialized: table", "select 1"), "m.sql:1: columns: a table model declares its columns with their types")
	f(front("name: m\nmaterialized: table\ncolumns:\n  - {name: a, type: int8}", "select 1"),
		`m.sql:5: column a: type "int8" is not known: boolean, integer, bigint, double, decimal(p,s), varchar, date, timestamp, timestamptz`)
	f(front("name: m\nmaterialized: table\ncolumns:\n  - {name: a, type: bigint, test: [unique]}", "select 1"), "m.sql:5: front matter: field test is not known here: name, type, description, tests")
	f(front("name: m\nmaterialized: table\ncolumns:\n  - {name: a, type: bigint}\n  - {name: a, type: bigint}", "select 1"), "m.sql:6: column a is there twice")
	f(front("name: m\nmaterialized: table\ncolumns:\n  - name: a\n    type: bigint\n    tests:\n      - not_nul", "select 1"),
		`m.sql:8: column a: test "not_nul" is not known: not_null, unique, relationships, accepted_values`)
	f(front("name: m\nmaterialized: table\ncolumns:\n  - {name: a, type: bigint, tests: [{relationships: {to: x}}]}", "select 1"), "m.sql:5: column a: relationships needs to (a model) and field")
	f(front("name: m\nmaterialized: table\ncolumns:\n  - {name: a, type: bigint, tests: [{relationships: {to: x, field: a}}]}", "select 1"), "m.sql:5: test relationships_a: x is no model with a table")
	f(front("name: m\nmaterialized: table\ncolumns:\n  - {name: a, type: bigint, tests: [{accepted_values: {values: [1, x]}}]}", "select 1"), `m.sql:5: column a: accepted value: "x" is no value of type bigint`)
	f(front("name: m\nmaterialized: table\ncolumns:\n  - {name: a, type: bigint, tests: [{not_null: {severity: loud}}]}", "select 1"), `m.sql:5: test not_null_a: severity is error or warn, not "loud"`)
	f(front("name: m\nmaterialized: incremental\n"+columns, "select 1"), "m.sql:3: an incremental model needs unique_key and order_by, or strategy: insert_overwrite")
	f(front("name: m\nmaterialized: incremental\nunique_key: a\norder_by: [b desc]\n"+columns, "select a from events.x"), "m.sql:5: order_by: b is none of the columns")
	f(front("name: m\nmaterialized: incremental\nunique_key: a\norder_by: [a down]\n"+columns, "select a from events.x"),
		"m.sql:3: an incremental model needs unique_key and order_by, or strategy: insert_overwrite", `m.sql:5: order_by: "a down" is not a column, or a column and desc`)
	f(front("name: m\nmaterialized: table\nunique_key: a\n"+columns, "select 1"), "m.sql:4: unique_key is for incremental models")
	f(front("name: m\nmaterialized: table\npartition: a\n"+columns, "select 1"), "m.sql:4: partition: a is of type bigint; tables are partitioned by a date")
	f(front("name: m\nmaterialized: incremental\nstrategy: insert_overwrite\npartition: d\n"+columns, "select 1"), "m.sql:4: strategy insert_overwrite needs upstream (an incremental model) and partition")
	f(front("name: m\nmaterialized: incremental\nstrategy: append\n"+columns, "select 1"),
		"m.sql:3: an incremental model needs unique_key and order_by, or strategy: insert_overwrite", `m.sql:4: strategy "append" is not known: merge (by unique_key) or insert_overwrite (by partition)`)
	f(front("name: m\nmaterialized: table\n"+columns, ""), "m.sql:7: there is no SELECT behind the front matter")
	f(front("name: m\nmaterialized: table\n"+columns, "select 1\nfrom 'x"), "m.sql:9: a string has no end")
	f(front("name: m\nmaterialized: table\n"+columns+"\ntests:\n  - {name: t, sql: select * from other}", "select 1"), "m.sql:8: test t: other is no model; a test reads models by their bare names")
}

// What a model may not read, and circles, are told with the files that make them.
func TestReferences(t *testing.T) {
	table := func(name, sql string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(front("name: "+name+"\nmaterialized: table\ncolumns: [{name: a, type: bigint}]", sql))}
	}
	incremental := func(name, sql string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(front("name: "+name+"\nmaterialized: incremental\nunique_key: a\norder_by: a\npartition: d\ncolumns: [{name: a, type: bigint}, {name: d, type: date}]", sql))}
	}
	overwrite := func(name, upstream, sql string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(front("name: "+name+"\nmaterialized: incremental\nstrategy: insert_overwrite\nupstream: "+upstream+"\npartition: d\ncolumns: [{name: a, type: bigint}, {name: d, type: date}]", sql))}
	}
	f := func(files fstest.MapFS, want ...string) {
		t.Helper()
		_, err := Load(files)
		var got []string
		for _, p := range Problems(err) {
			got = append(got, p.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q (%v)\nwant %q", got, err, want)
		}
	}
	f(fstest.MapFS{"a.sql": table("a", "select a\nfrom zones"), "dim_zones.sql": table("dim_zones", "select 1 as a")}, "a.sql:7: zones is neither a model nor one of the query's own names (there is dim_zones)")
	f(fstest.MapFS{"a.sql": table("a", "select a from star.b"), "b.sql": table("b", "select 1 as a")}, "a.sql:6: star.b: a model is named without its schema: b")
	f(fstest.MapFS{"a.sql": table("a", "select a from raw.b, lake.events.c")},
		"a.sql:6: raw.b: a model reads events.*, ops.* and, by their bare names, other models", "a.sql:6: lake.events.c: a model reads events.*, ops.* and, by their bare names, other models")
	f(fstest.MapFS{"a.sql": table("a", "select a from b"), "b.sql": table("b", "select a from c"), "c.sql": table("c", "select a from a")},
		"a.sql:5: models in a circle: a (a.sql) reads b (b.sql) reads c (c.sql) reads a (a.sql)")
	f(fstest.MapFS{"a.sql": table("a", "select a from a")}, "a.sql:5: models in a circle: a (a.sql) reads a (a.sql)")
	f(fstest.MapFS{"x/a.sql": table("a", "select 1 as a"), "y/a.sql": table("a", "select 1 as a")}, "y/a.sql:2: model a is in x/a.sql too")
	f(fstest.MapFS{"a.sql": table("a", "with b as (select * from b) select a from b"), "b.sql": table("b", "select 1 as a")},
		"a.sql:6: b is read, and the name of a WITH clause too: the engines disagree about which is meant")
	f(fstest.MapFS{"a.sql": incremental("a", "select a, d from events.x join events.y on true")}, "a.sql:4: an incremental model is driven by exactly one events.* table, this one by 2 (events.x, events.y)")
	f(fstest.MapFS{"a.sql": incremental("a", "select a, d from events.x join ops.y on true")}, "a.sql:4: the query reads ops.y: an incremental model reads one events.* table, and table models")
	f(fstest.MapFS{"a.sql": incremental("a", "select a, d from events.x"), "b.sql": incremental("b", "select a, d from events.x join a on true")},
		"b.sql:4: the query reads a, which is incremental: rows that come to it late would be missed (a.sql)")
	f(fstest.MapFS{"a.sql": incremental("a", "select a, d from events.x"), "b.sql": overwrite("b", "a", "select a, d from c"), "c.sql": table("c", "select 1 as a")}, "b.sql:5: the query does not read upstream a")
	f(fstest.MapFS{"b.sql": overwrite("b", "c", "select a, d from c"), "c.sql": table("c", "select 1 as a")},
		"b.sql:5: upstream c is not incremental (c.sql)")
	f(fstest.MapFS{"a.sql": table("a", "select 1 as a from events.x, ops.x")}, "a.sql:2: tables events.x and ops.x in one model: their names differ in the schema alone")
}

// FROM in its many shapes: names are found where tables stand, and nowhere else.
func TestFindReferences(t *testing.T) {
	f := func(sql, want string) {
		t.Helper()
		ts, err := tokens(sql)
		if err != nil {
			t.Fatal(err)
		}
		refs, _ := references(ts)
		var got []string
		for _, r := range refs {
			got = append(got, r.String())
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %q, want %q", sql, s, want)
		}
	}
	f("select extract(hour from ts), substring(a from 2), trim(both from b) from t", "t")
	f("select * from a, b as x, (select * from c) y, (d join e on d.id = e.id)", "a b c d e")
	f("with x as (select * from a), y(n) as (select * from x join b on true) select * from x, y, z", "a b z")
	f("with recursive n(i) as (select 1 union all select i + 1 from n) select i from n", "")
	f("with x as (select 1) select * from (with y as (select * from x) select * from y) t, y", "y")
	f("select a is distinct from b from c where d is not distinct from e", "c")
	f("select u.e from t cross join unnest(t.a) as u(e) left join v on true", "t v")
	f("select (select max(i) from m) from (values (1, 'from x')) as t(a, b) where exists (select 1 from n where n.i = t.a) and a in (select i from o)", "m n o")
	f(`select * from "Events"."X" -- from y
		/* from z */ where a = ' from q '`, "Events.X")
	f("select * from a union all select * from b except (select * from c) order by 1", "a b c")
	f("select * from lake.events.x e join events.y using (id, j)", "lake.events.x events.y")
	f("select from_unixtime(a), x.from_ from t", "t")
}

// --select as dbt has it.
func TestSelect(t *testing.T) {
	s := load(t, os.DirFS("testdata/models"))
	f := func(want string, selectors ...string) {
		t.Helper()
		ms, err := s.Select(selectors...)
		var got []string
		for _, m := range ms {
			got = append(got, m.Name)
		}
		text := strings.Join(got, " ")
		if err != nil {
			text = err.Error()
		}
		if text != want {
			t.Errorf("%q selects %q, want %q", selectors, text, want)
		}
	}
	f("dim_zone stg_trip fact_trip daily_trips zone_totals")
	f("fact_trip", "fact_trip")
	f("dim_zone stg_trip fact_trip", "+fact_trip")
	f("fact_trip daily_trips zone_totals", "fact_trip+")
	f("dim_zone stg_trip fact_trip daily_trips zone_totals", "+fact_trip+")
	f("daily_trips zone_totals", "path:marts")
	f("daily_trips", "path:marts/daily_trips.sql")
	f("dim_zone stg_trip fact_trip", "tag:taxi")
	f("fact_trip", "tag:taxi,fact_*")
	f("dim_zone zone_totals", "dim_zone zone_totals")
	f("dim_zone zone_totals", "dim_zone", "zone_totals")
	f("daily_trips zone_totals", "fact_trip+,path:marts")
	f("--select nosuch selects no model", "nosuch")
	f("--select tag:taxi,zone_totals selects no model", "tag:taxi,zone_totals")
	f(`--select "+" names no model`, "+")
	f(`--select state:new: method "state" is not known: a name, tag:... or path:... is`, "state:new")
}

// What list and graph print is read by people and by programs.
func TestShow(t *testing.T) {
	s := load(t, os.DirFS("testdata/models"))
	var b bytes.Buffer
	if err := List(&b, s.Models()); err != nil {
		t.Fatal(err)
	}
	for _, f := range []Format{Text, Mermaid, DOT} {
		b.WriteString("\n")
		if err := s.Graph(&b, f, s.Models()); err != nil {
			t.Fatal(err)
		}
	}
	if *update {
		if err := os.WriteFile("testdata/show.golden", b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/show.golden")
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}
}

// A model of a later file system replaces one of the same name, and what reads it reads the new one.
func TestReplaced(t *testing.T) {
	s := load(t, os.DirFS("testdata/models"), fstest.MapFS{"mine.sql": {Data: []byte(front("name: dim_zone\nmaterialized: table\ncolumns: [{name: zone_key, type: bigint}, {name: zone_name, type: varchar}]", "select 1 as zone_key, 'x' as zone_name"))}})
	if m := s.Model("dim_zone"); m.File != "mine.sql" || len(s.Models()) != 5 {
		t.Errorf("dim_zone is of %s", m.File)
	}
}

// With DuckDB at hand, check finds what does not parse or bind; and it reads the same tables out of the SQL as this package does.
func TestCheck(t *testing.T) {
	db := openDuck(t)
	p := iceberg.PrimitiveTypes
	schema := iceberg.NewSchema(0, iceberg.NestedField{ID: 1, Name: "root_id", Type: p.String}, iceberg.NestedField{ID: 2, Name: "data_hash", Type: p.String}, iceberg.NestedField{ID: 3, Name: "replaycount", Type: p.Int64},
		iceberg.NestedField{ID: 4, Name: "kafka_timestamp", Type: p.TimestampTz}, iceberg.NestedField{ID: 5, Name: "kafka_partition", Type: p.Int32}, iceberg.NestedField{ID: 6, Name: "kafka_offset", Type: p.Int64},
		iceberg.NestedField{ID: 7, Name: "payload", Type: &iceberg.StructType{FieldList: []iceberg.NestedField{{ID: 8, Name: "pickup", Type: p.Timestamp}, {ID: 9, Name: "zone", Type: p.Int64}, {ID: 10, Name: "amount", Type: iceberg.DecimalTypeOf(9, 2)}}}})
	o := Checks{Binder: db, Schema: func(string) (*iceberg.Schema, error) { return schema, nil }}
	f := func(want []string, texts ...string) {
		t.Helper()
		var got []string
		for _, p := range Check(t.Context(), load(t, modelsWith(t, texts...)), o) {
			got = append(got, p.String())
		}
		ok := len(got) == len(want)
		for i := range want {
			ok = ok && strings.HasPrefix(got[i], want[i])
		}
		if !ok {
			t.Errorf("%q: %q, want %q", texts, got, want)
		}
	}
	f(nil)
	f([]string{"stg_trip.sql:17: division of decimals"}, "payload.amount as amount", "payload.amount / 3 as amount")
	f([]string{"stg_trip.sql:16: cast(timestamp as varchar)"}, "payload.zone as zone_key", "payload.zone as zone_key, cast(payload.pickup as varchar) as at_text")
	f([]string{`marts/zone_totals.sql:9: syntax error at or near "from"`}, "select zone_key, count(*) as trips from fact_trip", "select zone_key, count(*) as trips where from fact_trip")
	f([]string{`marts/zone_totals.sql:8: running with "fact_trip"`}, "select zone_key, count(*) as trips from fact_trip", "select zone_key, count(zone_keys) as trips from fact_trip")
	f([]string{"marts/zone_totals.sql:8: the query has a column more, which is not declared"}, "select zone_key, count(*) as trips", "select zone_key, 1 as more, count(*) as trips")
	f([]string{`fact_trip.sql:21: test not_before_2000: running select`}, "where pickup_date < date '2000-01-01'", "where picked_up < date '2000-01-01'")
	f([]string{"marts/zone_totals.sql:7: column trips is declared bigint, and the query's is of type DOUBLE"}, "select zone_key, count(*) as trips", "select zone_key, cast(count(*) as double) / 2 as trips")
	f([]string{"fact_trip.sql:21: test not_before_2000: strftime is not of the common language"}, "where pickup_date < date '2000-01-01'", "where strftime(pickup_date, '%Y') < '2000'")
}
