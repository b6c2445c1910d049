package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"millrace/shared/delivery"
	"millrace/shared/event"
)

var (
	errRefused = errors.New("field 3 is no number")
	errDown    = errors.New("no broker")
	now        = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
)

const payload = ` {"b": 1.50,"a":"x"} `

func newEvent(t *testing.T, id, more string) *event.Event {
	t.Helper()
	e, err := event.DecodeStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/s","type":"T"%s,"data":%s}`, id, more, payload))
	if err != nil {
		t.Fatal(err)
	}
	if err := event.Derive(e, now); err != nil {
		t.Fatal(err)
	}
	return e
}

// topic records what was published, and answers as it was told.
type topic struct {
	calls [][]*event.Event
	errs  []error // nil: all durable
}

func (p *topic) Publish(_ context.Context, events []*event.Event) []error {
	p.calls = append(p.calls, events)
	if p.errs != nil {
		return p.errs
	}
	return make([]error, len(events))
}

func handle(t *testing.T, o delivery.Outcomes, p *topic, events ...*event.Event) delivery.Outcomes {
	t.Helper()
	return HandlerOfDead(always(o), p, "load-search", func() time.Time { return now }).Handle(t.Context(), events)
}

// always is a handler with these outcomes.
func always(o delivery.Outcomes) delivery.Handler {
	return delivery.HandlerFunc(func(context.Context, []*event.Event) delivery.Outcomes { return o })
}

// fixed is a Handler around one that always answers o.
func fixed(o delivery.Outcomes, p delivery.Publisher) delivery.Handler {
	return Handler(always(o), p, "load-search", func() time.Time { return now })
}

func statuses(o delivery.Outcomes) []delivery.Status {
	s := make([]delivery.Status, len(o))
	for i := range o {
		s[i] = o.Of(i).Status
	}
	return s
}

// Guards one poison event among good ones: it alone is written, its bytes unchanged, the reason beside them, and all are done.
func TestDeadLetterIsWrittenAtOnce(t *testing.T) {
	o := delivery.NewOutcomes(3)
	o.Done(0)
	o.Dead(1, event.CodeSearchRejected, errRefused)
	o.Done(2)
	p := &topic{}
	poison := newEvent(t, "2", "")
	out := handle(t, o, p, newEvent(t, "1", ""), poison, newEvent(t, "3", ""))
	if got := fmt.Sprint(statuses(out)); got != "[done done done]" {
		t.Fatalf("outcomes %s", got)
	}
	if len(p.calls) != 1 || len(p.calls[0]) != 1 {
		t.Fatalf("published %v", p.calls)
	}
	letter := p.calls[0][0]
	if !bytes.Equal(letter.Data(), poison.Data()) || letter.ID() != "2" || letter.Source() != "/s" {
		t.Errorf("the dead letter is another event: %v", letter)
	}
	for name, want := range map[string]string{
		event.RootID: event.Identity("/s", "2"), event.FailureStage: "load-search", event.FailureCode: "search_rejected",
		event.FailureMessage: errRefused.Error(), event.FailureTime: "2026-11-21T12:00:00Z",
	} {
		if got := event.Attr(letter, name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if event.IsDead(poison) {
		t.Error("the event itself was changed")
	}
}

// Guards the version that a dead letter was held against, through whatever wraps the error.
func TestAssumedVersionIsNamed(t *testing.T) {
	if err := AssumedVersion(errRefused, ""); err != errRefused { //nolint:errorlint // the very same
		t.Errorf("no version: %v", err)
	}
	o := delivery.NewOutcomes(1)
	o.Settle(0, delivery.Permanent(event.CodeContractViolation, fmt.Errorf("x: %w", AssumedVersion(errRefused, "0-0-1"))))
	p := &topic{}
	handle(t, o, p, newEvent(t, "1", ""))
	letter := p.calls[0][0]
	if got := event.Attr(letter, event.FailureVersion) + " " + event.Attr(letter, event.FailureMessage); got != "0-0-1 x: "+errRefused.Error() {
		t.Errorf("got %s", got)
	}
	if !errors.Is(AssumedVersion(errRefused, "0-0-1"), errRefused) {
		t.Error("the reason is gone")
	}
}

// Guards against acknowledging what was not written: a failed write, and a result that is missing, are retried, and only they.
func TestUnconfirmedIsRetried(t *testing.T) {
	o := delivery.NewOutcomes(3)
	for i := range o {
		o.Dead(i, event.CodeSearchRejected, errRefused)
	}
	p := &topic{errs: []error{nil, errDown}}
	out := handle(t, o, p, newEvent(t, "1", ""), newEvent(t, "2", ""), newEvent(t, "3", ""))
	if got := fmt.Sprint(statuses(out)); got != "[done retry retry]" {
		t.Fatalf("outcomes %s", got)
	}
	if !errors.Is(out[1].Err, errDown) || !errors.Is(out[2].Err, ErrNotConfirmed) {
		t.Errorf("errors %v, %v", out[1].Err, out[2].Err)
	}
	if len(p.calls) != 1 {
		t.Errorf("%d writes for one batch", len(p.calls))
	}
}

// Guards against events that go round: a dead letter, ours or Knative's, is not dead-lettered again, nor ever done by that.
func TestDeadLetterIsNotDeadAgain(t *testing.T) {
	o := delivery.NewOutcomes(2)
	o.Dead(0, event.CodeSearchRejected, errRefused)
	o.Dead(1, event.CodeSearchRejected, errRefused)
	p := &topic{}
	out := handle(t, o, p, newEvent(t, "1", `,"failurecode":"not_json"`), newEvent(t, "2", `,"knativeerrordest":"http://enrich.millrace/"`))
	if got := fmt.Sprint(statuses(out)); got != "[failed failed]" || !errors.Is(out[0].Err, ErrAlreadyDead) {
		t.Fatalf("outcomes %s, %v", got, out[0].Err)
	}
	if len(p.calls) != 0 {
		t.Errorf("published %v", p.calls)
	}
}

// Guards functions that do not read events.dead against an event that claims to come from there: it was retried for hours and held a slot.
func TestClaimToBeDeadIsNotBelieved(t *testing.T) {
	o := delivery.NewOutcomes(1)
	o.Dead(0, event.CodeNotJSON, errRefused)
	p := &topic{}
	out := fixed(o, p).Handle(t.Context(), []*event.Event{newEvent(t, "1", `,"failurecode":"search_rejected","failurestage":"x"`)})
	if out[0].Status != delivery.Done || len(p.calls) != 1 {
		t.Fatalf("outcome %+v, published %v", out[0], p.calls)
	}
	if letter := p.calls[0][0]; event.Attr(letter, event.FailureCode) != "not_json" || event.Attr(letter, event.FailureStage) != "load-search" {
		t.Errorf("dead letter %v", letter)
	}
}

// Guards the outcomes that are none of this package's: they pass unchanged, a missing one fails, and nothing is written.
func TestOtherOutcomesPass(t *testing.T) {
	o := delivery.NewOutcomes(3)
	o.Done(0)
	o.RetryAfter(1, errDown, time.Minute)
	o.Dead(2, "", errRefused)
	p := &topic{}
	out := handle(t, o, p, newEvent(t, "1", ""), newEvent(t, "2", ""), newEvent(t, "3", ""), newEvent(t, "4", ""))
	if got := fmt.Sprint(statuses(out)); got != "[done retry failed failed]" || out[1].After != time.Minute {
		t.Fatalf("outcomes %s after %s", got, out[1].After)
	}
	if len(p.calls) != 0 {
		t.Errorf("published %v", p.calls)
	}
}

// Guards requests that are no CloudEvent: the body is kept as bytes under an id that is the same when it comes again, and another where
// the headers differ; it counts as kept only once it is durable.
func TestUndecodable(t *testing.T) {
	p := &topic{}
	keep := Undecodable(p, "/millrace/load-search", "load-search", func() time.Time { return now })
	header := http.Header{"Content-Type": {"application/cloudevents+json"}}
	for range 2 {
		if err := keep(t.Context(), header, []byte(payload), errRefused); err != nil {
			t.Fatal(err)
		}
	}
	if err := keep(t.Context(), http.Header{"Ce-Id": {"Z%C3%BCrich"}, "Ce-Source": {"/" + strings.Repeat("s", 2000)}}, []byte(payload), errRefused); err != nil {
		t.Fatal(err)
	}
	headers := http.Header{
		"Ce-Specversion": {"1.0"}, "Ce-Type": {"T"}, "Ce-Source": {"/s"}, "Ce-Id": {"1"}, "Ce-Time": {"SECRET"}, "Ce-Subject": {"s"}, "Ce-Traceparent": {"00-a"}, "Ce-Stage": {"enriched"},
	}
	_, reason := event.DecodeHTTP(headers, []byte(payload))
	if err := keep(t.Context(), headers, []byte(payload), reason); err != nil {
		t.Fatal(err)
	}
	if d := p.calls[3][0]; d.Type() != "T" || d.Subject() != "s" || event.Attr(d, "traceparent") != "00-a" || event.Attr(d, event.Stage) != "" ||
		strings.Contains(event.Attr(d, event.FailureMessage), "SECRET") || d.Source() != "/millrace/load-search" {
		t.Errorf("dead letter of headers that are no event: %v", d)
	}
	a, b, c := p.calls[0][0], p.calls[1][0], p.calls[2][0]
	if string(a.Data()) != payload || a.Type() != event.TypeUnparsed || event.Attr(a, event.FailureCode) != "invalid_cloudevent" ||
		a.DataContentType() != "application/octet-stream" {
		t.Errorf("dead letter %v", a)
	}
	if got := event.Attr(a, event.FailureID) + event.Attr(a, event.FailureSource); got != "" {
		t.Errorf("origin %s, and the request names none", got)
	}
	if id, source := event.Attr(c, event.FailureID), event.Attr(c, event.FailureSource); id != "Zürich" || len(source) != event.MaxFailureOrigin {
		t.Errorf("origin %s, %s", id, source)
	}
	if a.ID() != b.ID() || a.ID() == c.ID() {
		t.Errorf("ids %s, %s, %s", a.ID(), b.ID(), c.ID())
	}
	for _, errs := range [][]error{{errDown}, {}} {
		p.errs = errs
		if keep(t.Context(), header, []byte(payload), errRefused) == nil {
			t.Errorf("kept while the publisher said %v", errs)
		}
	}
}

// Guards an event that is as large as its topic takes: with the failure's attributes it no longer fits events.dead, and must neither be retried for ever nor vanish.
func TestTooLargeIsWrittenWithoutData(t *testing.T) {
	o := delivery.NewOutcomes(2)
	o.Dead(0, event.CodeNotJSON, errRefused)
	o.Dead(1, event.CodeNotJSON, errRefused)
	p := &topic{errs: []error{nil, fmt.Errorf("x: %w", delivery.ErrTooLarge)}}
	next := delivery.HandlerFunc(func(context.Context, []*event.Event) delivery.Outcomes { return o })
	second := delivery.HandlerFunc(func(ctx context.Context, events []*event.Event) delivery.Outcomes {
		return Handler(next, publisher(func(ctx context.Context, letters []*event.Event) []error {
			if errs := p.Publish(ctx, letters); len(p.calls) == 1 {
				return errs
			}
			return make([]error, len(letters))
		}), "enrich", func() time.Time { return now }).Handle(ctx, events)
	})
	out := second.Handle(t.Context(), []*event.Event{newEvent(t, "1", ""), newEvent(t, "2", "")})
	if got := fmt.Sprint(statuses(out)); got != "[done done]" {
		t.Fatalf("outcomes %s: %v", got, out)
	}
	if len(p.calls) != 2 || len(p.calls[1]) != 1 {
		t.Fatalf("published %v", p.calls)
	}
	bare := p.calls[1][0]
	if len(bare.Data()) != 0 || bare.ID() != "2" || event.Attr(bare, event.FailureCode) != "not_json" || !strings.Contains(event.Attr(bare, event.FailureMessage), "too large") {
		t.Errorf("got %v", bare)
	}
	if event.Attr(bare, event.DataHash) != event.Attr(newEvent(t, "2", ""), event.DataHash) {
		t.Error("the hash is no longer the event's")
	}
}

// upTo is a publisher that takes events up to a size, as Kafka counts them, and records those.
func upTo(limit int, p *topic) delivery.Publisher {
	return publisher(func(ctx context.Context, letters []*event.Event) []error {
		errs := make([]error, len(letters))
		for i, e := range letters {
			h := http.Header{}
			body, err := event.EncodeHTTP(e, h)
			size := len(body)
			for name, values := range h {
				size += len(name) + len(values[0])
			}
			if errs[i] = err; err == nil && size > limit {
				errs[i] = fmt.Errorf("%d bytes: %w", size, delivery.ErrTooLarge)
			}
			if errs[i] == nil {
				p.Publish(ctx, letters[i:i+1])
			}
		}
		return errs
	})
}

// Guards an event whose attributes alone are more than a topic takes, as a Broker's ingress lets in: its dead letter was retried for ever. It keeps its identity
// and its reason, can be read back, and takes no good letter with it.
func TestTooLargeAttributesAreCut(t *testing.T) {
	long := strings.Repeat("ü", 300_000)
	for name, change := range map[string]func(e *event.Event){
		"an extension of another": func(e *event.Event) { e.SetExtension("comexample", long) },
		"partitionkey":            func(e *event.Event) { e.SetExtension(event.PartitionKey, long) },
		"rootid":                  func(e *event.Event) { e.SetExtension(event.RootID, long) },
		"schemaversion":           func(e *event.Event) { e.SetExtension(event.SchemaVersion, long) },
		"id":                      func(e *event.Event) { e.SetID(long) },
		"source":                  func(e *event.Event) { e.SetSource("/s/" + strings.Repeat("%41", 300_000)) },
		"subject":                 func(e *event.Event) { e.SetSubject(long) },
		"type":                    func(e *event.Event) { e.SetType(strings.Repeat("T", 900_000)) },
		"dataschema":              func(e *event.Event) { e.SetDataSchema("http://x/" + strings.Repeat("y", 900_000)) },
		"datacontenttype":         func(e *event.Event) { e.SetDataContentType("text/" + strings.Repeat("y", 900_000)) },
		"hundreds of others": func(e *event.Event) {
			for i := range 900 {
				e.SetExtension(fmt.Sprintf("x%d", i), long[:1000])
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			huge := newEvent(t, "1", `,"subject":"s"`)
			huge.SetTime(now)
			change(huge)
			if name == "id" || name == "source" {
				huge.SetExtension(event.RootID, event.Identity(huge.Source(), huge.ID()))
			}
			o := delivery.NewOutcomes(2)
			o.Dead(0, event.CodeReservedAttribute, errRefused)
			o.Dead(1, event.CodeNotJSON, errRefused)
			p := &topic{}
			out := fixed(o, upTo(500_000, p)).Handle(t.Context(), []*event.Event{huge, newEvent(t, "2", "")})
			if got := fmt.Sprint(statuses(out)); got != "[done done]" || len(p.calls) != 2 {
				t.Fatalf("outcomes %s: %.200v, %d letters", got, out[0].Err, len(p.calls))
			}
			letter := p.calls[1][0] // the good one was written at the first attempt
			if err := letter.Validate(); err != nil {
				t.Errorf("it cannot be read back: %.200v", err)
			}
			if got := event.Attr(letter, event.RootID); got != event.Identity(huge.Source(), huge.ID()) {
				t.Errorf("rootid %.100s", got)
			}
			if event.Attr(letter, event.FailureCode) != "reserved_attribute" || event.Attr(letter, event.DataHash) != event.Attr(huge, event.DataHash) || !letter.Time().Equal(now) {
				t.Errorf("attributes %.500s", letter)
			}
			m := event.Attr(letter, event.FailureMessage)
			if !strings.HasPrefix(m, errRefused.Error()) || !strings.Contains(m, "of data, which are") || !strings.Contains(m, "left out or cut") || len(m) > event.MaxFailureMessage {
				t.Errorf("message %q", m)
			}
		})
	}
}

type publisher func(context.Context, []*event.Event) []error

func (f publisher) Publish(ctx context.Context, events []*event.Event) []error { return f(ctx, events) }
