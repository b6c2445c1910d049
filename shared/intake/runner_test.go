package intake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/delivery"
	"millrace/shared/event"
)

func events(t *testing.T, n int) (list []*event.Event) {
	t.Helper()
	for i := range n {
		e, err := event.DecodeStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":"%d","source":"/s","type":"T","rootid":"root-%d"}`, i, i))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// counted returns the counts of events by outcome.
func counted(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch {
			case f.GetName() == "millrace_intake_batch_events":
				out = append(out, fmt.Sprintf("batches %d of %v", m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum()))
			case m.GetCounter().GetValue() > 0:
				out = append(out, fmt.Sprint(m.GetLabel()[0].GetValue(), " ", m.GetCounter().GetValue()))
			}
		}
	}
	return strings.Join(out, ", ")
}

// Guards the rule that nothing but an explicit Done finishes an event: each has an outcome whatever the handler does, is counted by it, and what is not done is said, with its root id and where it came from.
func TestHandle(t *testing.T) {
	f := func(name string, h delivery.HandlerFunc, statuses, counts string, says ...string) {
		t.Helper()
		registry, text := prometheus.NewRegistry(), new(bytes.Buffer)
		r := NewRunner(h, slog.New(slog.NewTextHandler(text, nil)), registry)
		out := r.Handle(t.Context(), events(t, 3), func(i int) []any { return []any{"offset", 10 + i} })
		var got []string
		for i := range out {
			got = append(got, out[i].Status.String())
		}
		if strings.Join(got, " ") != statuses {
			t.Errorf("%s: %s", name, got)
		}
		if got := counted(t, registry); got != "batches 1 of 3, "+counts {
			t.Errorf("%s: counted %s", name, got)
		}
		if len(says) == 0 && text.Len() > 0 {
			t.Errorf("%s: says %s", name, text)
		}
		for _, s := range says {
			if !strings.Contains(text.String(), s) {
				t.Errorf("%s: %s lacks %s", name, text, s)
			}
		}
	}
	done := func(n int) delivery.Outcomes {
		out := delivery.NewOutcomes(n)
		for i := range out {
			out.Done(i)
		}
		return out
	}
	f("done", func(context.Context, []*event.Event) delivery.Outcomes { return done(3) }, "done done done", "done 3")
	f("mixed", func(context.Context, []*event.Event) delivery.Outcomes {
		out := done(3)
		out.Retry(1, errors.New("away"))
		out.Dead(2, event.CodeNotJSON, &delivery.PanicError{Value: "v", Stack: []byte("s")})
		return out
	}, "done retry dead", "dead 1, done 1, retry 1", "events=2 of=3 first.root_id=root-1 first.offset=11 first.status=retry first.err=away", `"handler panicked" root_id=root-2 offset=12 panic=v`)
	f("forgets", func(context.Context, []*event.Event) delivery.Outcomes { return done(1) }, "done failed failed", "done 1, failed 2", "gave no outcome")
	f("too many", func(context.Context, []*event.Event) delivery.Outcomes { return done(4) }, "failed failed failed", "failed 3", "more outcomes than events")
	f("invents", func(context.Context, []*event.Event) delivery.Outcomes {
		return delivery.Outcomes{{Status: delivery.Done}, {Status: 99}, {Status: -1}}
	}, "done failed failed", "done 1, failed 2", "status 99")
	f("panics", func(context.Context, []*event.Event) delivery.Outcomes { panic("x") }, "retry retry retry", "retry 3", "all of its batch will be retried")
}

// Guards what is no event: it counts as kept only where it was, and a panic is an error.
func TestUndecodable(t *testing.T) {
	registry, text := prometheus.NewRegistry(), new(bytes.Buffer)
	r := NewRunner(nil, slog.New(slog.NewTextHandler(text, nil)), registry)
	keep := func(err error) error {
		return r.Undecodable(t.Context(), func(_ context.Context, h http.Header, body []byte, reason error) error {
			if h.Get("X") != "y" || string(body) != "b" || reason == nil {
				panic("not what came")
			}
			return err
		}, http.Header{"X": {"y"}}, []byte("b"), errors.New("bad"), "offset", 7)
	}
	away := errors.New("away")
	if err := keep(away); !errors.Is(err, away) || !strings.Contains(text.String(), "offset=7 reason=bad err=away") {
		t.Errorf("%v, %s", err, text)
	}
	if err := r.Undecodable(t.Context(), func(context.Context, http.Header, []byte, error) error { panic("x") }, nil, nil, away); err == nil {
		t.Error("a panic is no error")
	}
	if got := counted(t, registry); got != "batches 0 of 0" {
		t.Errorf("counted %s", got)
	}
	if err := keep(nil); err != nil || counted(t, registry) != "batches 0 of 0, undecodable 1" || !strings.Contains(text.String(), "it is a dead letter") {
		t.Errorf("%v, %s, %s", err, counted(t, registry), text)
	}
}
