//go:build integration

package main

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"millrace/shared/contract"
	"millrace/shared/document"
	"millrace/shared/enrichment"
	"millrace/shared/event"
	"millrace/shared/search"
)

// sizeOf is how many events a benchmark is about: what the variable says, or else the number.
func sizeOf(b *testing.B, variable string, otherwise int) int {
	b.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1000 {
		b.Fatalf("%s=%q is no number from 1000 on", variable, text)
	}
	return n
}

// measure tells what a process took.
func measure(b *testing.B, r ran) {
	b.Helper()
	b.ReportMetric(r.wall.Seconds(), "wall-s")
	b.ReportMetric(r.cpu.Seconds(), "cpu-s")
	b.ReportMetric(float64(r.memory)/(1<<20), "memory-MiB")
}

// rules are those of the embedded contracts.
func rules(t testing.TB) *enrichment.Rules {
	t.Helper()
	set, err := contract.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := enrichment.Reference()
	if err != nil {
		t.Fatal(err)
	}
	bound, err := enrichment.Bind(set, tables)
	if err != nil {
		t.Fatal(err)
	}
	return bound
}

// view is a small event as collect writes it.
func view(t testing.TB, id, payload string, arrived time.Time) *event.Event {
	t.Helper()
	e := ce.New()
	e.SetID(id)
	e.SetSource("/test")
	e.SetType("PageView")
	e.SetDataContentType("application/json")
	e.SetExtension(event.SchemaVersion, "0-0-1")
	e.SetExtension(event.CollectorID, "collect-1")
	e.SetExtension(event.CollectorTime, event.FormatTime(arrived))
	e.DataEncoded = []byte(payload)
	if err := event.Derive(&e, arrived); err != nil {
		t.Fatal(err)
	}
	return &e
}

const (
	page    = `{"host":"example.com","method":"GET","url":"/a/b","status":200,"bytes":1024,"visited_at":"2026-11-21T12:04:20Z"}`
	badPage = `{"host":"example.com","method":"GET","url":"/a/b","status":20,"bytes":1024,"visited_at":"2026-11-21T12:04:20Z"}`
)

// operation writes the document of e, with as much in it as reconcile and plan look at and about as much as load-search writes.
func (s *realServers) operation(e *event.Event, payload string) (search.Operation, error) {
	ref, err := document.Ref(s.search, e)
	source := fmt.Appendf(nil, `{"event_type":%q,"schema_version":"0-0-1","root_id":%q,"data_hash":%q,"collector_id":"collect-1","collector_tstamp":%q,"id":%q,"source":"/test"`,
		e.Type(), event.Attr(e, event.RootID), event.Attr(e, event.DataHash), event.Attr(e, event.CollectorTime), e.ID())
	if event.IsDead(e) {
		source = fmt.Appendf(source, `,"failure":{"stage":"enrich","code":%q},"payload":%q}`, event.Attr(e, event.FailureCode), payload)
	} else {
		source = fmt.Appendf(source, `,"payload":%s}`, payload)
	}
	return search.Operation{Index: ref.Index, ID: ref.ID, Source: source}, err
}

// write brings the events to where each stage of the pipeline brings them: raw, enriched or dead, and search.
func (s *realServers) write(n, deadEvery int) {
	s.Helper()
	bound := rules(s)
	arrived := time.Now().UTC()
	s.must(s.search.EnsureDead(s.Context()))
	for _, c := range bound.Contracts().All() {
		s.must(s.search.EnsureEnriched(s.Context(), []*contract.Contract{c}))
	}
	const together, writers = 2000, 3
	part := func(first, end int) error {
		var raw, good, dead []*event.Event
		var ops []search.Operation
		for i := first; i < end; i++ {
			payload := page
			if i%deadEvery == 0 {
				payload = badPage
			}
			e := view(s, strconv.Itoa(i), payload, arrived)
			raw = append(raw, e)
			out, _, failure := bound.Enrich(e)
			if failure != nil {
				out = event.DeadLetter(e, event.Failure{Stage: "enrich", Code: failure.Code, Message: failure.Error(), Time: arrived})
				dead = append(dead, out)
			} else {
				good = append(good, out)
			}
			op, err := s.operation(out, payload)
			if err != nil {
				return err
			}
			ops = append(ops, op)
		}
		for topic, list := range map[string][]*event.Event{s.raw: raw, s.enriched: good, s.dead: dead} {
			for i, err := range s.producer.Sink(topic).Publish(s.Context(), list) {
				if err != nil {
					return fmt.Errorf("%s, event %d: %w", topic, i, err)
				}
			}
		}
		results, err := s.search.Bulk(s.Context(), ops)
		if err != nil {
			return err
		}
		for _, r := range results {
			if r.Status != search.Done {
				return fmt.Errorf("a document is %s: %w", r.Status, r.Err)
			}
		}
		return nil
	}
	errs := make([]error, writers)
	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			for first := w * together; first < n && errs[w] == nil; first += writers * together {
				errs[w] = part(first, min(first+together, n))
			}
		})
	}
	work.Wait()
	for _, err := range errs {
		s.must(err)
	}
}

// BenchmarkReconcile accounts for a million events, of which one in a hundred is a dead letter, on real servers: RECONCILE_EVENTS asks for another number. The command runs as a
// process, so wall-s, cpu-s and memory-MiB are its own; the sums must close. It brings the events there and removes all again.
func BenchmarkReconcile(b *testing.B) {
	n := sizeOf(b, "RECONCILE_EVENTS", 1_000_000)
	s := withServers(b, 6)
	s.build()
	s.startLake()
	begun := time.Now()
	from := begun.Add(-time.Second).UTC().Format(time.RFC3339)
	s.write(n, 100)
	b.Logf("%d events written in %s", n, time.Since(begun).Round(time.Second))
	begun = time.Now()
	s.drain(s.raw, s.enriched, s.dead)
	b.Logf("landed in %s", time.Since(begun).Round(time.Second))
	for b.Loop() {
		r := s.replay("reconcile", "--from", from, "--format", "json")
		var report struct {
			Raw, Enriched, Dead int
			Search, Letters     struct{ All, Found int }
			Landing             []struct{ Records, Landed int }
		}
		s.decode(r, &report)
		if r.code != 0 || report.Raw != n || report.Enriched != n-(n+99)/100 || report.Search.Found != report.Enriched || len(report.Landing) != 3 || report.Landing[0].Landed != n {
			b.Fatalf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
		}
		b.Logf("wall %s, CPU %s, memory %d MiB", r.wall, r.cpu, r.memory>>20)
		measure(b, r)
		b.ReportMetric(float64(n), "events")
	}
}

// BenchmarkPlanReal plans a hundred thousand dead letters on real servers, of which one in a hundred would fail and search shows every tenth already: PLAN_EVENTS asks for another number.
func BenchmarkPlanReal(b *testing.B) {
	n := sizeOf(b, "PLAN_EVENTS", 100_000)
	s := withServers(b, 6)
	s.build()
	bound := rules(s)
	c, _ := bound.Contracts().Find(taxi, "0-0-1")
	s.must(s.search.EnsureEnriched(s.Context(), []*contract.Contract{c}))
	for first := 0; first < n; first += 1000 {
		var letters []*event.Event
		var ops []search.Operation
		for i := first; i < min(first+1000, n); i++ {
			payload := trip
			if i%100 == 0 {
				payload = far
			}
			e := raw(s, strconv.Itoa(i), payload)
			letters = append(letters, letter(e, "enrich", event.CodeDeliveryExhausted))
			if i%10 == 5 {
				out, _, failure := bound.Enrich(e)
				if failure != nil {
					s.Fatal(failure)
				}
				op, err := s.operation(out, payload)
				s.must(err)
				ops = append(ops, op)
			}
		}
		for _, err := range s.producer.Sink(s.dead).Publish(s.Context(), letters) {
			s.must(err)
		}
		_, err := s.search.Bulk(s.Context(), ops)
		s.must(err)
	}
	for b.Loop() {
		r := s.replay("plan", "--force", "--format", "json", "-o", s.dir+"/plan.json")
		var summary planned
		s.decode(r, &summary)
		if r.code != 0 || summary.Events != int64(n) || summary.Count("fail") != int64(n/100) || summary.Count("overwrite") != int64(n/10) {
			b.Fatalf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
		}
		b.Logf("wall %s, CPU %s, memory %d MiB", r.wall, r.cpu, r.memory>>20)
		measure(b, r)
	}
}
