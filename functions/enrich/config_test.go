package main

import (
	"reflect"
	"strings"
	"testing"
)

// Guards the settings that knative/ relies on, and that all mistakes are told at once.
func TestConfig(t *testing.T) {
	t.Setenv("KAFKA_BROKERS", "a:9092,b:9092")
	c, err := readConfig()
	if err != nil {
		t.Fatal(err)
	}
	if want := (target{[]string{"a:9092", "b:9092"}, "events.enriched"}); !reflect.DeepEqual(c.sink, want) {
		t.Errorf("sink %v", c.sink)
	}
	if c.dead.topic != "events.dead" || c.Listen() != ":8080" || c.intake().MaxBatch != 500 {
		t.Errorf("config %+v", c)
	}
	t.Setenv("KAFKA_BROKERS", "")
	t.Setenv("SINK", "http://broker")
	t.Setenv("SEND_TIMEOUT", "20s")
	t.Setenv("MAX_ATTEMPTS", "0")
	_, err = readConfig()
	for _, want := range []string{"SINK:", "DEAD_SINK:", "BATCH_TIMEOUT", "MAX_ATTEMPTS"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
}
