package warehouse

import (
	"testing"

	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// Guards the upkeep and erasure of a warehouse whose catalog others use too: their tables in another bucket can name no object of this one, and must not end it; those in this bucket must all be seen.
func TestEveryInACatalogOfOthers(t *testing.T) {
	l := newLake(t)
	ours := l.open(t)
	ensure(t, ours, events, spec())
	beside := *l
	beside.prefix, beside.namespaces = "beside", "beside_"
	ensure(t, beside.open(t), events, spec())
	elsewhere := *l
	elsewhere.namespaces = "elsewhere_"
	s := objectstoretest.NewServer("elsewhere")
	t.Cleanup(s.Close)
	store, err := objectstore.Open(s.Config("elsewhere", 2))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere.store = store
	ensure(t, elsewhere.open(t), events, spec())
	tables, err := ours.Every(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, table := range tables {
		names[table.Name.String()] = true
	}
	if len(tables) != 2 || !names["events.enriched_x_0"] || !names["beside_events.enriched_x_0"] {
		t.Errorf("tables %v", names)
	}
}
