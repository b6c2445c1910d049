package main

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"millrace/shared/event"
	"millrace/shared/kafka"
)

// hanging is a topic that confirms nothing, and goes on reading the data of the events that it was handed and that keep says.
type hanging struct {
	keep func(i int) bool
	data [][]byte
}

func (*hanging) Durability() string { return kafka.DurabilityReplicated }

func (h *hanging) Publish(_ context.Context, events []*event.Event) []error {
	errs := make([]error, len(events))
	for i, e := range events {
		if h.keep(i) {
			errs[i] = kafka.ErrUnconfirmed
			h.data = append(h.data, e.DataEncoded)
		}
	}
	return errs
}

// Guards memory while Kafka hangs: what it still reads of a request is about as much as is counted for it, never the request's whole body.
func TestUnconfirmedEventsHoldTheirDataOnly(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what pools held for a while
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	f := func(name, path, contentType string, requests int, body string, keep func(i int) bool) {
		t.Helper()
		r := newRig(t, nil)
		topic := &hanging{keep: keep}
		r.collector.raw, r.collector.dead = topic, topic
		header := map[string][]string{"Content-Type": {contentType}}
		before := heap()
		for range requests {
			if w := r.post(path, header, []byte(body)); w.Code != 503 {
				t.Fatalf("%s: answered %d", name, w.Code)
			}
		}
		grown := heap() - before
		counted := 0
		for _, d := range topic.data {
			counted += len(d)
		}
		if most := int64(2*counted + 1<<20); grown > most {
			t.Errorf("%s: %d bytes held for %d bytes of data, want at most %d", name, grown, counted, most)
		}
		runtime.KeepAlive(topic)
	}
	all := func(int) bool { return true }
	one := `{"event_type":"T","schema_version":"0-0-1","payload":"` + strings.Repeat("x", 1000) + `"}`
	blank := strings.Repeat(" ", 15<<20)
	const form, events = "/api/v1/collect", "/api/v1/events"
	f("one event in a large body", form, "", 8, "["+one+blank+"]", all)
	f("a dead letter in a large body", form, "", 8, `[1`+blank+"]", all)
	f("one of many, as where one partition hangs", form, "", 8, "["+strings.Repeat(one+",", 9_999)+one+"]", func(i int) bool { return i == 5000 })
	f("a large event alone", form, "", 8, `{"event_type":"T","schema_version":"0-0-1","payload":"`+strings.Repeat("x", 800_000)+`"}`, all)
	f("a structured event", events, event.MediaStructured, 8, `{"specversion":"1.0","id":"1","source":"/s","type":"T","data":1`+blank+"}", all)
	f("a batch", events, event.MediaBatch, 8, `[{"specversion":"1.0","id":"1","source":"/s","type":"T","data":1}`+blank+"]", all)
}
