package warehouse

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/apache/iceberg-go"

	"millrace/shared/objectstore/objectstoretest"
)

// wide makes a table with one file of some megabytes, most of which is the column big.
func wide(t *testing.T, w *Warehouse) *Table {
	t.Helper()
	tbl := ensure(t, w, events, Spec{Columns: []Column{{Name: "id", Type: text}, {Name: "big", Type: text}, {Name: "s", Type: structOf("a", long, "b", text)}, {Name: "n", Type: long}}})
	var rows strings.Builder
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		fmt.Fprintf(&rows, `,{"id":"id-%d","big":"%d%s","s":{"a":%d,"b":"b%d"},"n":%d}`, i, r.Uint64(), strings.Repeat("x", 1000), i, i, i*2)
	}
	return commit(t, w, tbl, Change{Add: []string{write(t, w, tbl, "["+rows.String()[1:]+"]")}})
}

// Guards cost and truth of a fetch by column: the columns asked for are the table's, nested ones whole, what was not asked for takes no disk, further columns come to what is there, and a second
// fetch asks nothing of the store.
func TestFetchColumns(t *testing.T) { fetchColumns(t, newLake(t)) }

func fetchColumns(t *testing.T, l *lake) {
	w := l.open(t)
	source := wide(t, w)
	want := map[string][]string{}
	for _, c := range []string{"id", "big", "s", "n"} {
		want[c] = column(t, w, source, c, false)
	}
	reader := l.open(t)
	tbl, err := reader.Load(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	files, err := tbl.Plan(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	gets := func() int {
		if l.server == nil {
			return 0
		}
		return l.server.Requests(http.MethodGet)
	}
	for _, columns := range [][]string{{"id", "n"}, {"id"}, {"s"}, {"n", "absent"}} {
		got, err := reader.Fetch(t.Context(), files, columns)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range columns {
			have := values(t, got[0].Path, c)
			if c == "absent" {
				continue
			}
			if slices.Sort(have); !slices.Equal(have, want[c]) {
				t.Errorf("column %s of %v: %d values", c, columns, len(have))
			}
		}
		if !slices.Equal(got[0].Columns, columns) {
			t.Errorf("columns %v, want %v", got[0].Columns, columns)
		}
		before := gets()
		if _, err := reader.Fetch(t.Context(), files, columns); err != nil || gets() != before {
			t.Errorf("a second fetch of %v: %d requests, %v", columns, gets()-before, err)
		}
		info, err := os.Stat(got[0].Path)
		if err != nil || info.Size() != files[0].Bytes {
			t.Fatalf("%v, %v", info, err)
		}
		if blocks := info.Sys().(*syscall.Stat_t).Blocks * 512; blocks > info.Size()/3 {
			t.Errorf("%v take %d bytes of %d", columns, blocks, info.Size())
		}
	}
	all, err := reader.Fetch(t.Context(), files, []string{"id", "big", "n"})
	if err != nil || all[0].Columns != nil {
		t.Errorf("most of it: %v, %v", all[0].Columns, err)
	}
	for c := range want {
		if have := values(t, all[0].Path, c); !slices.Equal(slices.Sorted(slices.Values(have)), want[c]) {
			t.Errorf("column %s of all: %d values", c, len(have))
		}
	}
}

// Guards what is read against a store that lost, cut or replaced an object: an error that names it, by columns and whole, and nothing of it is taken for a copy afterwards.
func TestFetchOfADamagedObject(t *testing.T) {
	l := newLake(t)
	source := wide(t, l.open(t))
	files, err := source.Plan(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := source.w.Key(files[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	right := l.server.Objects("lake")[key]
	zeros := slices.Clone(right)
	clear(zeros[len(zeros)-64<<10:])
	long := slices.Clone(right)
	copy(long[len(long)-8:], []byte{255, 255, 255, 127})
	for name, body := range map[string][]byte{"none": nil, "short": right[:len(right)-1], "longer": append(slices.Clone(right), 0), "zeros": zeros, "footer too long": long, "tiny": []byte("PAR1")} {
		w := l.open(t)
		if body == nil {
			err = l.store.Delete(t.Context(), key)
		} else {
			err = l.store.Put(t.Context(), key, body)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, columns := range [][]string{{"id"}, nil} {
			if columns == nil && (name == "zeros" || name == "footer too long") {
				continue // as long as it should be: DuckDB will say so
			}
			if _, err := w.Fetch(t.Context(), files, columns); err == nil || !strings.Contains(err.Error(), files[0].Path) {
				t.Errorf("%s, %v: %v", name, columns, err)
			}
		}
		if left, err := filepath.Glob(filepath.Join(w.scratch.dir, "*")); err != nil || len(left) != 0 {
			t.Errorf("%s: left behind %v, %v", name, left, err)
		}
		if err := l.store.Put(t.Context(), key, right); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Fetch(t.Context(), files, []string{"id"}); err != nil {
			t.Errorf("%s, restored: %v", name, err)
		}
	}
	l.server.Fail(func(string, string, string) objectstoretest.Fault { return objectstoretest.Refuse })
	if _, err := l.open(t).Fetch(t.Context(), files, nil); err == nil {
		t.Error("fetch during an outage")
	}
	l.server.Fail(nil)
	elsewhere := File{Path: "s3://elsewhere/x", Data: files[0].Data}
	if _, err := l.open(t).Fetch(t.Context(), []File{elsewhere}, nil); err == nil || !strings.Contains(err.Error(), "s3://elsewhere/x") {
		t.Errorf("another bucket's object: %v", err)
	}
}

// Guards schema evolution: columns are added at the top, in structs and in structs of lists; files from before and after are planned and read; the name mapping has the new columns, for those who
// read files by it; another type changes nothing and the error names both.
func TestColumnsAreAdded(t *testing.T) { columnsAreAdded(t, newLake(t)) }

func columnsAreAdded(t *testing.T, l *lake) {
	w := l.open(t)
	list := func(of ...any) iceberg.Type { return &iceberg.ListType{ElementID: 1, Element: structOf(of...)} }
	old := Spec{Columns: []Column{{Name: "id", Type: text}, {Name: "s", Type: structOf("a", long)}, {Name: "l", Type: list("x", long)}, {Name: "day", Type: date}}, Partition: []string{"day"}}
	tbl := ensure(t, w, events, old)
	tbl = commit(t, w, tbl, Change{Add: []string{write(t, w, tbl, `[{"id":"old","s":{"a":1},"l":[{"x":1}],"day":"2026-11-20"}]`)}, Properties: map[string]string{"p": "1"}})
	wider := Spec{Columns: []Column{
		{Name: "id", Type: text},
		{Name: "s", Type: structOf("a", long, "b", text, "deep", structOf("c", long))},
		{Name: "l", Type: list("x", long, "y", structOf("z", text))},
		{Name: "new", Type: structOf("a", long, "b", list("q", date))},
		{Name: "tail", Type: iceberg.PrimitiveTypes.TimestampTz},
	}, Partition: []string{"day"}}
	next := ensure(t, w, events, wider)
	next = commit(t, w, next, Change{Add: []string{write(t, w, next, `[{"id":"new","s":{"a":2,"b":"b","deep":{"c":3}},"l":[{"x":1,"y":{"z":"z"}}],"day":"2026-11-21","new":{"a":1,"b":[{"q":"2026-11-21"}]}}]`)}})
	if next.Properties()["p"] != "1" {
		t.Errorf("properties %v", next.Properties())
	}
	ids := map[int]string{}
	for _, path := range []string{"id", "s", "s.a", "s.b", "s.deep", "s.deep.c", "l", "l.element", "l.element.x", "l.element.y", "l.element.y.z", "new", "new.a", "new.b", "new.b.element", "new.b.element.q", "tail", "day"} {
		f, ok := next.Schema().FindFieldByName(path)
		if !ok || ids[f.ID] != "" || f.Required {
			t.Errorf("column %s: %v, id %d is %q too", path, f, f.ID, ids[f.ID])
		}
		ids[f.ID] = path
		if was, ok := tbl.Schema().FindFieldByName(path); ok && was.ID != f.ID {
			t.Errorf("column %s: id %d became %d", path, was.ID, f.ID)
		}
	}
	mapping := next.Properties()["schema.name-mapping.default"]
	for id, path := range ids {
		if !strings.Contains(mapping, fmt.Sprintf(`"field-id":%d`, id)) {
			t.Errorf("the name mapping lacks %s (%d): %s", path, id, mapping)
		}
	}
	if again := ensure(t, w, events, wider); again.ice.MetadataLocation() != next.ice.MetadataLocation() {
		t.Error("a second Ensure committed")
	}
	if again := ensure(t, w, events, old); again.ice.MetadataLocation() != next.ice.MetadataLocation() {
		t.Error("an Ensure of fewer columns committed")
	}
	reader := l.open(t)
	seen, err := reader.Load(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	if got := column(t, reader, seen, "id", false); !slices.Equal(got, []string{"new", "old"}) {
		t.Errorf("rows %q", got)
	}
	if files, err := seen.Plan(t.Context(), iceberg.EqualTo(iceberg.Reference("s.b"), "b")); err != nil || len(files) == 0 {
		t.Errorf("planned by a column that old files lack: %v, %v", files, err)
	}
	f := func(c Column, want string) {
		t.Helper()
		if _, err := w.Ensure(t.Context(), events, Spec{Columns: []Column{{Name: "fresh", Type: long}, c}, Partition: []string{"day"}}); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f(Column{Name: "id", Type: long}, "column id is string and would become long")
	f(Column{Name: "s", Type: structOf("a", text)}, "column s.a is long and would become string")
	f(Column{Name: "l", Type: structOf("x", long)}, "column l is list")
	f(Column{Name: "l", Type: list("x", text)}, "column l.element.x is long and would become string")
	if _, err := w.Ensure(t.Context(), events, Spec{Columns: old.Columns, Partition: []string{"id"}}); !strings.Contains(fmt.Sprint(err), "partitioned by") {
		t.Errorf("another partition: %v", err)
	}
	if now, err := w.Load(t.Context(), events); err != nil || now.ice.MetadataLocation() != next.ice.MetadataLocation() {
		t.Errorf("a refused change left something: %v", err)
	}
}
