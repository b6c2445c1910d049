package kafka

import (
	"testing"

	"github.com/cloudevents/sdk-go/v2/types"
	"golang.org/x/sync/semaphore"

	ce "github.com/cloudevents/sdk-go/v2/event"
)

// Guards memory where one partition hangs: a batch's records are allocated together, and one that waits for long must not keep the data of those that are confirmed.
func TestSettledRecordHoldsNoData(t *testing.T) {
	p := &Producer{buffer: semaphore.NewWeighted(1)}
	b := &batch{errs: make([]error, 1), open: 1, done: make(chan struct{})}
	m := &pending{sink: &Sink{p: p}, batch: b, piece: &piece{}}
	m.piece.open.Store(1)
	c := encoder{topic: "t", left: 1}
	context := &ce.EventContextV1{ID: "1", Source: *types.ParseURIRef("/s"), Type: "T", Extensions: map[string]any{"rootid": "r"}}
	if err := c.encode(&m.outgoing, &ce.Event{Context: context, DataEncoded: []byte("data")}); err != nil {
		t.Fatal(err)
	}
	if m.message.Value == nil || m.message.Headers == nil || m.value == nil || m.key == nil {
		t.Fatal("the record is empty before it is settled")
	}
	m.settle(nil)
	if m.message.Value != nil || m.message.Headers != nil || m.value != nil || m.key != nil {
		t.Errorf("a settled record still has %+v", m.outgoing)
	}
	<-b.done
}
