package main

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Guards the table of variables in the package comment against drifting from the configuration, names and defaults both.
func TestVariablesAreDocumented(t *testing.T) {
	b, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^//\t([A-Z][A-Z_0-9]+) +(\S*)  `).FindAllStringSubmatch(string(b), -1) {
		table[m[1]] = m[2]
	}
	var walk func(typ reflect.Type)
	walk = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.Anonymous {
				walk(f.Type)
				continue
			}
			name := f.Tag.Get("envconfig")
			if name == "" {
				continue
			}
			if got, ok := table[name]; !ok || got != f.Tag.Get("default") {
				t.Errorf("%s: documented %v with default %q, is %q", name, ok, got, f.Tag.Get("default"))
			}
			delete(table, name)
		}
	}
	walk(reflect.TypeFor[config]())
	for name := range table {
		t.Errorf("%s is documented and not read", name)
	}
}

// Guards the start: what is wrong in the environment is said at once, all of it, and by the variable's name.
func TestConfig(t *testing.T) {
	t.Setenv("KAFKA_BROKERS", "a:9092,b:9092")
	t.Setenv("K_REVISION", "collect-00001")
	t.Setenv("HOSTNAME", "machine")
	t.Setenv("READY_GROUPS", "g1@events.raw, g2@events.dead")
	c, err := readConfig()
	if err != nil {
		t.Fatal(err)
	}
	if c.rawTopic != "events.raw" || c.deadTopic != "events.dead" || len(c.rawBrokers) != 2 || c.SendTimeout != 3*time.Second || len(c.groups) != 2 || c.groups[1].Group != "g2" {
		t.Errorf("%+v", c)
	}
	if got := c.collector(); got != "collect-00001" {
		t.Errorf("collector %q on a machine that is no pod", got)
	}
	t.Setenv("HOSTNAME", "collect-00001-deployment-x")
	if c, err = readConfig(); err != nil || c.collector() != "collect-00001-deployment-x" {
		t.Errorf("collector %q in a pod: %v", c.collector(), err)
	}
	t.Setenv("KAFKA_BROKERS", "")
	t.Setenv("SOURCE", "%zz")
	t.Setenv("SEND_TIMEOUT", "0s")
	t.Setenv("READY_GROUPS", "nonsense")
	_, err = readConfig()
	for _, name := range []string{"SINK", "DEAD_SINK", "SOURCE", "SEND_TIMEOUT", "READY_GROUPS"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not in the error: %v", name, err)
		}
	}
}
