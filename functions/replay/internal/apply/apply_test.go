package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"millrace/functions/replay/internal/plan"
	"millrace/functions/replay/internal/source"
	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/kafka"
)

// memory is a source whose events are made up of their entries.
type memory struct{ gone error }

func (m memory) Check(context.Context, plan.Origin, []plan.Entry) error { return m.gone }

func (m memory) Events(_ context.Context, _ plan.Origin, entries []plan.Entry, f func(plan.Entry, source.Record) error) error {
	for _, at := range entries {
		e := ce.New()
		e.SetID(at.Root)
		e.SetSource("/test")
		e.SetType("T")
		e.SetExtension(event.RootID, at.Root)
		e.SetExtension(event.FailureCode, "missing_field")
		e.DataEncoded = []byte(`{"event_type":"T"}`)
		if err := f(at, source.Record{Place: at.Place, Event: &e}); err != nil {
			return err
		}
	}
	return nil
}

// topic keeps what it wrote; before and after fail an event without and with its write.
type topic struct {
	before, after func(e *event.Event) error
	written       []string
}

func (p *topic) Publish(_ context.Context, events []*event.Event) []error {
	errs := make([]error, len(events))
	for i, e := range events {
		if p.before != nil {
			if errs[i] = p.before(e); errs[i] != nil {
				continue
			}
		}
		p.written = append(p.written, fmt.Sprintf("%s %s %d", e.ID(), event.Attr(e, event.ReplayID), event.Replays(e)))
		if p.after != nil {
			errs[i] = p.after(e)
		}
	}
	return errs
}

func entries(n int) (list []plan.Entry) {
	for i := range n {
		list = append(list, plan.Entry{Place: plan.Place{Offset: int64(i)}, Root: fmt.Sprintf("e%02d", i), To: plan.Raw, Count: 1, Outcome: plan.Pass})
	}
	return list
}

func written(n int) (list []string) {
	for _, e := range entries(n) {
		list = append(list, e.Root+" r1 1")
	}
	return list
}

var header = plan.Header{ID: "r1", Digest: "d1"}

func options(t *testing.T, to *topic) Options {
	return Options{
		Rate: 6, RetryFor: time.Minute, Journal: filepath.Join(t.TempDir(), "journal"), Topics: map[plan.Target]delivery.Publisher{plan.Raw: to},
		Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

// Guards against a process killed at any point: whatever it had sent and not journalled is sent again, as the same event, nothing is left out, and what was journalled is not
// sent again. The journal's last line may be half there.
func TestKilledAnywhere(t *testing.T) {
	const n = 10 // batches of three
	for kill := range n {
		for _, torn := range []bool{false, true} {
			to := &topic{}
			o := options(t, to)
			ctx, cancel := context.WithCancel(t.Context())
			to.after = func(*event.Event) error { // the write is done, and the process never hears of it
				if len(to.written) > kill {
					cancel()
					return kafka.ErrUnconfirmed
				}
				return nil
			}
			result, err := Run(ctx, header, entries(n), memory{}, o)
			if err == nil || result.Complete || !strings.Contains(err.Error(), "the same command goes on") {
				t.Fatalf("killed at %d: %+v, %v", kill, result, err)
			}
			if torn {
				f, err := os.OpenFile(o.Journal, os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteString(`{"next":9,"se`); err != nil {
					t.Fatal(err)
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
			}
			first := len(to.written)
			to.after = nil
			result, err = Run(t.Context(), header, entries(n), memory{}, o)
			if err != nil || !result.Complete || result.Resumed != int64(kill/3*3) || result.Sent["raw"] != n {
				t.Fatalf("killed at %d: %+v, %v", kill, result, err)
			}
			if again := to.written[first:]; !slices.Equal(again, written(n)[kill/3*3:]) {
				t.Errorf("killed at %d: again %v", kill, again)
			}
			distinct := slices.Clone(to.written)
			slices.Sort(distinct)
			if distinct = slices.Compact(distinct); !slices.Equal(distinct, written(n)) {
				t.Errorf("killed at %d: in all %v", kill, distinct)
			}
			// Once complete, nothing is sent.
			before := len(to.written)
			if result, err = Run(t.Context(), header, entries(n), memory{}, o); err != nil || len(to.written) != before || result.Resumed != n || result.Sent["raw"] != n {
				t.Errorf("a third time: %+v, %v, %d more", result, err, len(to.written)-before)
			}
		}
	}
}

// Guards the events of a batch against one that Kafka never takes: it is named, and the others are sent once.
func TestPoisonAmongGood(t *testing.T) {
	to := &topic{before: func(e *event.Event) error {
		if e.ID() == "e01" {
			return fmt.Errorf("%w: 2 MB", kafka.ErrTooLarge)
		}
		return nil
	}}
	result, err := Run(t.Context(), header, entries(5), memory{}, options(t, to))
	if err != nil || !result.Complete || !slices.Equal(result.Refused, []string{"e01"}) || result.Sent["raw"] != 4 || result.Sent[NotSent] != 1 {
		t.Errorf("%+v, %v", result, err)
	}
	if want := slices.Delete(written(5), 1, 2); !slices.Equal(to.written, want) {
		t.Errorf("written %v", to.written)
	}
}

// Guards against Kafka's absence: what is not confirmed is sent until it is, and only that; where Kafka stays away the run ends, and the next one goes on behind what was
// confirmed.
func TestKafkaAway(t *testing.T) {
	failures := 0
	to := &topic{before: func(e *event.Event) error {
		if e.ID() == "e04" && failures < 5 {
			failures++
			return kafka.ErrBusy
		}
		return nil
	}}
	result, err := Run(t.Context(), header, entries(7), memory{}, options(t, to))
	want := written(7)
	want = append(append(slices.Delete(slices.Clone(want), 4, 5)[:5:5], want[4]), want[6])
	if err != nil || !result.Complete || !slices.Equal(to.written, want) {
		t.Errorf("%+v, %v, written %v, want %v", result, err, to.written, want)
	}

	away := true
	to = &topic{before: func(e *event.Event) error {
		if away && e.ID() >= "e03" {
			return kafka.ErrBusy
		}
		return nil
	}}
	o := options(t, to)
	o.RetryFor = 0
	if result, err = Run(t.Context(), header, entries(7), memory{}, o); !errors.Is(err, kafka.ErrBusy) || result.Complete || result.Sent["raw"] != 3 {
		t.Errorf("%+v, %v", result, err)
	}
	away = false
	if result, err = Run(t.Context(), header, entries(7), memory{}, o); err != nil || result.Resumed != 3 || !slices.Equal(to.written, written(7)) {
		t.Errorf("%+v, %v, written %v", result, err, to.written)
	}
}

// Guards what must not be sent: what would fail, what was given up or settled, and unless they are asked for, what only a stage can tell.
func TestLeft(t *testing.T) {
	list := entries(6)
	for i, o := range plan.Outcomes {
		list[i].Outcome = o
	}
	to := &topic{}
	o := options(t, to)
	result, err := Run(t.Context(), header, list, memory{}, o)
	want := map[string]int64{"unknown": 1, "fail": 1, "given up": 1, "settled": 1}
	if err != nil || !reflect.DeepEqual(result.Left, want) || result.Sent["raw"] != 2 {
		t.Errorf("%+v, %v", result, err)
	}
	o.Unknown = true
	if _, err := Run(t.Context(), header, list, memory{}, o); err == nil || !strings.Contains(err.Error(), "--include-unknown") {
		t.Errorf("the positions of the journal mean other events now: %v", err)
	}
	o.Journal += "2"
	if result, err := Run(t.Context(), header, list, memory{}, o); err != nil || result.Sent["raw"] != 3 {
		t.Errorf("%+v, %v", result, err)
	}
	gone := fmt.Errorf("offset 3: %w", source.ErrGone)
	o.Journal += "3"
	if result, err := Run(t.Context(), header, list, memory{gone}, o); !errors.Is(err, source.ErrGone) || result.Sent["raw"] != 0 {
		t.Errorf("%+v, %v", result, err)
	}
}

// Guards the servers behind Kafka: batch after batch waits until it is due, and after a standstill there is no flood.
func TestRate(t *testing.T) { synctest.Test(t, testRate) }

func testRate(t *testing.T) {
	var waits []time.Duration
	o := options(t, &topic{})
	o.Rate = 100
	o.Wait = func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }
	if _, err := Run(t.Context(), header, entries(200), memory{}, o); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(waits, []time.Duration{0, 500 * time.Millisecond, time.Second, 1500 * time.Millisecond}) {
		t.Errorf("waits %v for batches of 50 at 100 a second", waits)
	}
	r := &run{o: o, started: time.Now().Add(-time.Hour), paced: 10}
	waits = nil
	for range 2 {
		if err := r.pace(t.Context(), 50); err != nil {
			t.Fatal(err)
		}
	}
	if waits[1] != 500*time.Millisecond {
		t.Errorf("after an hour's standstill: %v", waits)
	}
}

// Guards what failed at collect: it goes there in the form in which it came, under the same key each time, and the receipt decides what became of it.
func TestCollect(t *testing.T) {
	type request struct{ path, contentType, key, body, id, rootid, trace string }
	var got []request
	answers := []string{`{"receipts":[{"status":"accepted"}]}`}
	codes := []int{200}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, request{r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("Idempotency-Key"), readAll(r), r.Header.Get("Ce-Id"), r.Header.Get("Ce-Rootid"), r.Header.Get("Traceparent")})
		i := min(len(got), len(answers)) - 1
		w.WriteHeader(codes[i])
		fmt.Fprint(w, answers[i])
	}))
	defer srv.Close()
	c := &HTTPCollector{URL: srv.URL + "/", Client: srv.Client()}
	letter := func(data, contentType string, attributes ...string) *event.Event {
		e := ce.New()
		e.SetID("1")
		e.SetSource("/collect")
		e.SetType("T")
		e.SetDataContentType(contentType)
		e.SetExtension(event.RootID, "root")
		e.DataEncoded = []byte(data)
		for i := 0; i < len(attributes); i += 2 {
			e.SetExtension(attributes[i], attributes[i+1])
		}
		return &e
	}
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	form := letter(`{"event_type":"T"}`, "application/json", event.FailureCode, "missing_field", "traceparent", trace)
	post := func(e *event.Event, answer string, code int) (bool, error) {
		got, answers, codes = nil, []string{answer}, []int{code}
		return c.Post(t.Context(), e)
	}
	accepted, refused := `{"receipts":[{"status":"accepted"}]}`, `{"receipts":[{"status":"dead_lettered"}]}`
	if dead, err := post(form, accepted, 200); dead || err != nil || got[0] != (request{"/api/v1/collect", "application/json", "replay-root", `{"event_type":"T"}`, "", "", trace}) {
		t.Errorf("%v, %v, %+v", dead, err, got)
	}
	if dead, err := post(form, refused, 422); !dead || err != nil {
		t.Errorf("refused again: %v, %v", dead, err)
	}
	structured := letter(`{"specversion":"1.0"}`, "application/json", event.FailureCode, "missing_source")
	if _, err := post(structured, accepted, 200); err != nil || got[0].path != "/api/v1/events" || got[0].contentType != event.MediaStructured {
		t.Errorf("%v, %+v", err, got)
	}
	exhausted := letter(`{}`, "application/json", event.FailureCode, "delivery_exhausted", event.KnativeErrorDst, "http://collect.millrace/")
	if _, err := post(exhausted, accepted, 200); err != nil || got[0].id != "1" || got[0].rootid != "" || got[0].body != "{}" {
		t.Errorf("%v, %+v", err, got)
	}
	for answer, code := range map[string]int{"": 503, `{"receipts":[{"status":"busy"}]}`: 200, "<html>": 200} {
		if _, err := post(form, answer, code); err == nil || errors.Is(err, ErrRefused) {
			t.Errorf("%d %s: %v", code, answer, err)
		}
	}
	if _, err := post(form, `{"error":"x"}`, 413); !errors.Is(err, ErrRefused) {
		t.Errorf("413: %v", err)
	}
	// What speaks of the address or the credentials says nothing of the event, which must not be settled by it.
	for _, code := range []int{401, 403, 404, 405, 408, 429} {
		if _, err := post(form, `{"error":"x"}`, code); err == nil || errors.Is(err, ErrRefused) {
			t.Errorf("%d: %v", code, err)
		}
	}
	if _, err := post(letter("garbage", "text/plain", event.FailureCode, "unparsed"), accepted, 200); !errors.Is(err, ErrRefused) || len(got) != 0 {
		t.Errorf("garbage: %v, %v", err, got)
	}

	// In a plan, beside events of other stages.
	list := entries(2)
	list[0].To, list[0].Outcome = plan.Collect, plan.Unknown
	o := options(t, &topic{})
	o.Collect = c
	got, answers, codes = nil, []string{refused}, []int{422}
	if result, err := Run(t.Context(), header, list, memory{}, o); err != nil || result.Dead != 1 || result.Sent["collect"] != 1 || result.Sent["raw"] != 1 {
		t.Errorf("%+v, %v", result, err)
	}
}

func readAll(r *http.Request) string {
	var v json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
		return err.Error()
	}
	return string(v)
}
