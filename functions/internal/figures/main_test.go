package main

import (
	"errors"
	"strings"
	"testing"
)

// Guards against a run that measures nothing of what was asked for, and ends well: a benchmark that is named must be of a set that is measured.
func TestOnly(t *testing.T) {
	for args, wrong := range map[string]bool{
		"--only enrich": false, "--real --only enrich,lake": false, "--sustained --only rate": false, "--real --sustained --only rate,enrich": false,
		"--only rate": true, "--real --only loads": true, "--embedded --only enrich": true, "--only nothing": true,
	} {
		if _, err := readOptions(strings.Fields(args)); errors.Is(err, errUsage) != wrong {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// Guards the verdict: a figure over its bound, or one that was not measured, is never told as met.
func TestTable(t *testing.T) {
	r := results{}
	if err := r.read(strings.NewReader(`goos: linux
BenchmarkProcess-2   	       1	5044161134 ns/op	         2.4 cpu-ratio	         0.4 batch-ratio
BenchmarkProcess-2   	       1	5044161134 ns/op	         2.6 cpu-ratio	         0.6 batch-ratio
BenchmarkProcess-2   	       1	5044161134 ns/op	         2.5 cpu-ratio	         0.3 batch-ratio
BenchmarkDrainRaw-2  	       1	1974446882 ns/op	      9.551 cpu-us/event	       386.2 peak-MiB
BenchmarkRaw-2       	      10	 98989134 ns/op	      5281 cpu-ns/event
PASS
`)); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	s := &section{figures: embedded, results: r}
	unmet, err := s.text(&b)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	verdict := func(what, result, met string) {
		t.Helper()
		for _, line := range lines {
			if strings.HasPrefix(line, what) {
				if fields := strings.Fields(line); fields[len(fields)-1] != met || !strings.Contains(line, result) {
					t.Errorf("%q: want %s, %s", line, result, met)
				}
				return
			}
		}
		t.Errorf("no line %q in\n%s", what, b.String())
	}
	verdict("collect's CPU", "2.5", "yes")
	verdict("collect in batches", "0.4", "NO")
	verdict("load-lake, 200,000 raw events", "9.55", "yes")
	verdict("  of which record to Parquet", "5.28", "5.28") // has no bound, and so no verdict
	verdict("receipt to searchable, median", "not measured", "NO")
	if bounds := len(embedded); unmet == 0 || unmet >= bounds {
		t.Errorf("%d of %d are not met", unmet, bounds)
	}
}
