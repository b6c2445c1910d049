package main

import (
	"strings"
	"testing"
)

// Guards two warehouses in one catalog: with a prefix alone both would keep their tables in one folder, and the maintenance of one would take the other's objects for orphans.
func TestNamespacePrefix(t *testing.T) {
	for _, c := range []struct{ prefix, folder, wrong string }{
		{"", "warehouse", ""},
		{"test_", "test", ""},
		{"test_", "warehouse", "NAMESPACE_PREFIX needs a WAREHOUSE_PREFIX"},
		{"Test-", "test", "NAMESPACE_PREFIX must be of a-z"},
	} {
		t.Setenv("NAMESPACE_PREFIX", c.prefix)
		t.Setenv("WAREHOUSE_PREFIX", c.folder)
		got, err := readConfig()
		switch {
		case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
			t.Errorf("%+v: %v", c, err)
		case c.wrong == "" && (err != nil || got.warehouse(nil, nil).NamespacePrefix != c.prefix):
			t.Errorf("%+v: %+v, %v", c, got, err)
		}
	}
}
