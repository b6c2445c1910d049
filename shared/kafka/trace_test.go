package kafka

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/tracecontext"
)

const (
	traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	sender      = "00-0af7651916cd43dd8448eb211c80319c-00000000000000aa-01"
)

// traced returns an event with these extensions, as members of a JSON object.
func traced(t *testing.T, extensions string) *event.Event {
	t.Helper()
	e, err := event.DecodeStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"T"` + extensions + `}`))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Guards the plain headers, which any consumer that knows OpenTelemetry goes on with: what sends where that is known, else the event's own context; none for an attribute that is no context, which stays an attribute
// as it is; and that they are no attribute to whoever reads the record.
func TestTraceHeaders(t *testing.T) {
	f := func(extensions string, hop tracecontext.Context, want ...string) {
		t.Helper()
		c := encoder{topic: "t", left: 2, hop: hop}
		for range 2 { // the second takes the bytes of the first
			var r outgoing
			if err := c.encode(&r, traced(t, extensions)); err != nil {
				t.Fatal(err)
			}
			var got []string
			m := &sarama.ConsumerMessage{Topic: "t"}
			for _, h := range r.message.Headers {
				m.Headers = append(m.Headers, &h)
				if strings.Contains(string(h.Key), "trace") {
					got = append(got, string(h.Key)+"="+string(h.Value))
				}
			}
			for _, w := range want {
				if !strings.Contains(strings.Join(got, " ")+" ", w+" ") {
					t.Errorf("%s: headers %v lack %s", extensions, got, w)
				}
			}
			if len(got) != len(want) {
				t.Errorf("%s: headers %v, want %v", extensions, got, want)
			}
			e, err := Decode(m)
			if err != nil {
				t.Fatal(err)
			}
			if before := event.Attr(traced(t, extensions), "traceparent"); event.Attr(e, "traceparent") != before {
				t.Errorf("%s: read as %s", extensions, event.Attr(e, "traceparent"))
			}
			plain := hop
			if hop.IsZero() {
				plain = tracecontext.Of(e)
			}
			if got := traceOf(m); got != plain {
				t.Errorf("%s: the record comes from %+v", extensions, got)
			}
		}
	}
	none := tracecontext.Context{}
	f(``, none)
	f(`,"traceparent":"`+traceparent+`"`, none, "ce_traceparent="+traceparent, "traceparent="+traceparent)
	f(`,"traceparent":"`+traceparent+`","tracestate":"a=1 2,b=2"`, none, "ce_traceparent="+traceparent, "ce_tracestate=a=1%202,b=2", "traceparent="+traceparent, "tracestate=a=1 2,b=2")
	f(`,"traceparent":"`+traceparent+`"`, tracecontext.New(sender, "c=3"), "ce_traceparent="+traceparent, "traceparent="+sender, "tracestate=c=3")
	f(``, tracecontext.New(sender, ""), "traceparent="+sender)
	f(`,"traceparent":"wrong 1"`, none, "ce_traceparent=wrong%201")
	f(`,"tracestate":"a=1"`, none, "ce_tracestate=a=1")
}

// Guards what the handler is told of records' senders: each event's own, also when it waited and was read again; and nothing where nobody asked.
func TestIntakeTellsSenders(t *testing.T) {
	for _, asked := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var hops [][]tracecontext.Context
			b := newBench(t, 1, IntakeOptions{Trace: asked}, delivery.HandlerFunc(func(ctx context.Context, events []*event.Event) delivery.Outcomes {
				hops = append(hops, tracecontext.Hops(ctx))
				out := doneAll(events)
				if len(hops) == 1 {
					out.RetryAfter(1, context.Canceled, 10*time.Second) // long enough for its event to be given up from memory, and read again
				}
				return out
			}))
			for i := range int64(2) {
				m := message(0, i, "")
				if i == 1 {
					m.Headers = append(m.Headers, &sarama.RecordHeader{Key: []byte("traceparent"), Value: []byte(sender)}, &sarama.RecordHeader{Key: []byte("tracestate"), Value: []byte("a=1")})
				}
				b.log.append(m)
				b.claims[0].messages <- m
			}
			<-time.After(time.Minute) // of the bubble
			b.leave()
			if !asked {
				if len(hops) != 2 || hops[0] != nil {
					t.Errorf("told %v, and nobody asked", hops)
				}
				return
			}
			want := tracecontext.New(sender, "a=1")
			if len(hops) != 2 || len(hops[0]) != 2 || !hops[0][0].IsZero() || hops[0][1] != want || len(hops[1]) != 1 || hops[1][0] != want {
				t.Errorf("told %v", hops)
			}
		})
	}
}
