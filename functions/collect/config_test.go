package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"millrace/shared/usage"
)

// Guards the table of variables in the package comment against drifting from the configuration and the help made of it: names, defaults and descriptions.
func TestVariablesAreDocumented(t *testing.T) {
	b, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	spaces := regexp.MustCompile(` +`)
	table := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^//\t([A-Z][A-Z_0-9]+ .*)$`).FindAllStringSubmatch(string(b), -1) {
		table[spaces.ReplaceAllString(m[1], " ")] = true
	}
	for line := range strings.Lines(usage.Variables(config{})) {
		line = spaces.ReplaceAllString(strings.TrimSpace(line), " ")
		if !table[line] {
			t.Errorf("not in the package comment: %s", line)
		}
		delete(table, line)
	}
	for line := range table {
		t.Errorf("in the package comment and not read: %s", line)
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
	if c.sink.Topic != "events.raw" || c.dead.Topic != "events.dead" || len(c.sink.Brokers) != 2 || c.SendTimeout != 3*time.Second || len(c.groups) != 2 || c.groups[1].Group != "g2" {
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

// Guards the help, which says of every variable what it is, and that a typing error on the command line starts nothing.
func TestHelp(t *testing.T) {
	for line := range strings.Lines(usage.Variables(config{})) {
		if strings.HasSuffix(line, " \n") {
			t.Errorf("no description: %q", line)
		}
	}
	if err := run(t.Context(), []string{"-prot"}); err == nil || !strings.Contains(err.Error(), `unknown argument "-prot"`) {
		t.Errorf("an unknown argument: %v", err)
	}
	if err := run(t.Context(), []string{"--help"}); err != nil {
		t.Errorf("--help: %v", err)
	}
}
