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

// Guards whoever sets an address wrongly: it is told before the run, not after an hour of work, and what may hold a password is not printed.
func TestAddresses(t *testing.T) {
	for _, c := range []struct{ name, value, wrong string }{
		{"PUSHGATEWAY_URL", "", ""},
		{"PUSHGATEWAY_URL", "http://pushgateway:9091", ""},
		{"PUSHGATEWAY_URL", "https://user:geheim@pushgateway/base", ""},
		{"PUSHGATEWAY_URL", "pushgateway:9091", "PUSHGATEWAY_URL must be http(s)://host:port"},
		{"PUSHGATEWAY_URL", "ftp://user:geheim@host", "PUSHGATEWAY_URL must be http(s)://host:port"},
		{"PUSHGATEWAY_URL", "http://user:geheim@:9091", "PUSHGATEWAY_URL must be http(s)://host:port"},
		{"PUSHGATEWAY_URL", "http://user:ge%zzheim@host", "PUSHGATEWAY_URL must be http(s)://host:port"},
		{"PUSHGATEWAY_URL", "http://host/?token=geheim", "PUSHGATEWAY_URL must end with its path"},
		{"OPENLINEAGE_URL", "https://marquez:5000/base/", ""},
		{"OPENLINEAGE_URL", "file:///tmp/geheim", "OPENLINEAGE_URL must be http(s)://host:port"},
		{"OPENLINEAGE_URL", "http://marquez:5000/api?key=geheim", "OPENLINEAGE_URL must end with its path"},
		{"OPENLINEAGE_URL", "http://user:geheim@marquez:5000", "OPENLINEAGE_URL must hold no user"},
	} {
		t.Run(c.name+" "+c.value, func(t *testing.T) {
			t.Setenv(c.name, c.value)
			_, err := readConfig()
			switch {
			case c.wrong == "" && err != nil, c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
				t.Errorf("%v", err)
			case err != nil && strings.Contains(err.Error(), "geheim"):
				t.Errorf("a secret is printed: %v", err)
			}
		})
	}
}
