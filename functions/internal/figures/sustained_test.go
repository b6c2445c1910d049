package main

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// Guards the verdict on growth: a line's slope is found among noise that has none, and what does not grow has none.
func TestSlope(t *testing.T) {
	x, flat, rising := make([]float64, 100), make([]float64, 100), make([]float64, 100)
	for i := range x {
		noise := float64(i%2)*2 - 1
		x[i], flat[i], rising[i] = float64(i), 50+noise, 50+noise+0.25*float64(i)
	}
	if s := slope(x, flat); math.Abs(s) > 0.01 {
		t.Errorf("flat: %g", s)
	}
	if s := slope(x, rising); math.Abs(s-0.25) > 0.01 {
		t.Errorf("rising: %g", s)
	}
	if s := slope([]float64{1}, []float64{1}); s != 0 {
		t.Errorf("one point: %g", s)
	}
}

// Guards against figures that go on beside a watcher that failed: its error ends what runs, and is told; one that is told to stop has none.
func TestBackground(t *testing.T) {
	bad := errors.New("a look failed")
	ctx, stop := background(t.Context(), func(context.Context) error { return bad })
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), bad) || !errors.Is(stop(), bad) {
		t.Errorf("the error is lost: %v", context.Cause(ctx))
	}
	ctx, stop = background(t.Context(), func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	if err := ctx.Err(); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// Guards the report: what was left out without harm is no failure, what has a bound and was not measured is one, and both can be read in Markdown beside the notes.
func TestReport(t *testing.T) {
	s := &section{title: "On real servers", results: results{}, figures: measured(realFigures, benches[:2])}
	s.results.add("Batches", "ratio", 0.7)
	s.results.add("Batches", "ratio", 0.6)
	s.results.add("Batches", "ratio", 0.4)
	s.notes = []string{"A note."}
	s.tables = []table{{title: "A table", rows: [][]string{{"a", "b"}, {"1", "2"}}}}
	var b bytes.Buffer
	unmet, err := s.text(&b)
	if err != nil || unmet != 8 { // those of two benchmarks that are neither optional nor measured
		t.Errorf("%d unmet, %v\n%s", unmet, err, b.String())
	}
	md := string(markdown(&options{real: true, only: []string{"collect"}, minutes: minutes, rate: rate}, "2 cores", "Elasticsearch 8", "", []*section{s}, time.Now()))
	for _, want := range []string{"--real --only collect", "## On real servers", "| >= 0.5 | 0.6 | 0.4 to 0.7 | yes |", "| … Kafka's ProducerPerformance, same values, no headers | events/s |  | left out |", "- A note.", "| 1 | 2 |", "Elasticsearch 8"} {
		if !strings.Contains(md, want) {
			t.Errorf("no %q in\n%s", want, md)
		}
	}
}
