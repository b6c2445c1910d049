package main

import (
	"reflect"
	"strings"
	"testing"

	"millrace/shared/function"
	"millrace/shared/usage"
)

// Guards the settings that knative/ relies on, and that all mistakes are told at once.
func TestConfig(t *testing.T) {
	t.Setenv("KAFKA_BROKERS", "a:9092,b:9092")
	c, err := readConfig()
	if err != nil {
		t.Fatal(err)
	}
	if want := (function.Target{Brokers: []string{"a:9092", "b:9092"}, Topic: "events.enriched"}); !reflect.DeepEqual(c.sink, want) {
		t.Errorf("sink %v", c.sink)
	}
	if c.dead.Topic != "events.dead" || c.Listen() != ":8080" || c.Events != 2000 {
		t.Errorf("config %+v", c)
	}
	t.Setenv("KAFKA_BROKERS", "")
	t.Setenv("SINK", "ftp://broker")
	t.Setenv("SEND_TIMEOUT", "20s")
	t.Setenv("MAX_ATTEMPTS", "0")
	_, err = readConfig()
	for _, want := range []string{"SINK:", "DEAD_SINK:", "BATCH_TIMEOUT", "MAX_ATTEMPTS"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
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
