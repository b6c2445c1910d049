package serve

import (
	"context"
	"net/http"
	"testing"

	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/tracecontext"
)

// Guards what the handler is told of requests' senders, which Knative's dispatcher and other clients name in headers; and nothing where nobody asked.
func TestSendersAreTold(t *testing.T) {
	const sender = "00-0af7651916cd43dd8448eb211c80319c-00000000000000aa-01"
	for _, asked := range []bool{true, false} {
		var hops []tracecontext.Context
		in := Events(delivery.HandlerFunc(func(ctx context.Context, events []*event.Event) delivery.Outcomes {
			hops = tracecontext.Hops(ctx)
			return allDone(events)
		}), quiet(Options{Trace: asked}))
		r := request("1", "{}")
		r.Header.Set("Traceparent", sender)
		if w := send(in, r); w.Code != http.StatusAccepted {
			t.Fatalf("answered %d", w.Code)
		}
		if asked != (len(hops) == 1 && hops[0] == tracecontext.New(sender, "")) || !asked && hops != nil {
			t.Errorf("asked %t: %v", asked, hops)
		}
	}
}
