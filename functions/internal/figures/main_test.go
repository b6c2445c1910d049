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
		"--growth": false, "--growth --only lake": true, "--only rate": true, "--real --only loads": true, "--embedded --only enrich": true, "--only nothing": true,
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
BenchmarkMillion/new-2         	       1	       837.0 MiB-max	        20.63 cpu-s	         4.6 ingest-cpu-s	        10.3 wall-s
BenchmarkMillion/nothing_new-2 	       1	        88.0 MiB-max	         0.190 cpu-s	         0.04 wall-s
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
	verdict("curate, a million new rows", "20.6", "NO")
	verdict("  its memory, the most", "837", "yes")
	verdict("curate with nothing new", "0.04", "yes")
	if bounds := len(embedded); unmet == 0 || unmet >= bounds {
		t.Errorf("%d of %d are not met", unmet, bounds)
	}
}

// Guards the claim that costs follow the new rows: tables that make the same rows dearer must be told, and a size that was not measured is no proof.
func TestGrowth(t *testing.T) {
	r := results{}
	if err := r.read(strings.NewReader(`BenchmarkGrowth/days/0_million-2        	       1	       800.0 MiB-max	        17.6 cpu-s
BenchmarkGrowth/days/1_million-2        	       1	       800.0 MiB-max	        20.0 cpu-s
BenchmarkGrowth/days/8_million-2        	       1	       900.0 MiB-max	        24.0 cpu-s
BenchmarkGrowth/same_days/1_million-2   	       1	       800.0 MiB-max	        10.0 cpu-s
BenchmarkGrowth/same_days/8_million-2   	       1	      1900.0 MiB-max	        29.0 cpu-s
`)); err != nil {
		t.Fatal(err)
	}
	verdicts := func() string {
		r.grown()
		rows, _ := (&section{figures: growth, results: r}).lines()
		var out strings.Builder
		for _, row := range rows[1:] {
			if row[2] != "" {
				out.WriteString(row[3] + " " + row[5] + "; ")
			}
		}
		return out.String()
	}
	if got, want := verdicts(), "1.2 yes; 900 yes; not measured NO; 2.9 NO; 1900 NO; not measured NO; "; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	clear(r)
	if got, want := verdicts(), strings.Repeat("not measured NO; ", 6); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
