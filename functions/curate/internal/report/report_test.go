package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	update = flag.Bool("update", false, "rewrite the golden files")
	write  = flag.String("write", "", "write the sample pages to this directory, to be looked at")
)

func render(t *testing.T, r Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := Render(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// outline is the page as a reader of its structure sees it: headings, summaries, table heads, the text of cells; it fails where the page is not well-formed.
func outline(t *testing.T, page string) string {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.Entity = true, xml.HTMLEntity
	var out strings.Builder
	depth := 0
	inStyle := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			inStyle = e.Name.Local == "style"
			line := strings.Repeat(" ", depth) + e.Name.Local
			for _, a := range e.Attr {
				switch a.Name.Local {
				case "id", "class", "href", "open", "data-label", "style", "content":
					line += fmt.Sprintf(" %s=%q", a.Name.Local, a.Value)
				}
			}
			out.WriteString(line + "\n")
			depth++
		case xml.EndElement:
			inStyle = false
			depth--
		case xml.CharData:
			if text := strings.TrimSpace(string(e)); text != "" && !inStyle {
				out.WriteString(strings.Repeat(" ", depth) + "| " + text + "\n")
			}
		}
	}
	return out.String()
}

// A change of what the page says or how it is built must be seen by whoever makes it.
func TestStructure(t *testing.T) {
	for name, r := range map[string]Run{"sample": sample(), "healthy": healthy(), "empty": {}} {
		t.Run(name, func(t *testing.T) {
			got := outline(t, render(t, r))
			golden := filepath.Join("testdata", name+".outline")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the page's structure is not that of %s (go test -update rewrites it):\n%s", golden, firstDifference(got, string(want)))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d: got %q, want %q", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("got %d lines, want %d", len(g), len(w))
}

// A payload's value must never become markup, in whichever field of whichever struct it lands, and the page must load nothing.
func TestEscaping(t *testing.T) {
	evil := `"><script>alert(1)</script><img src=x onerror=alert(2)>` + "`'</style></title></svg> javascript:alert(3)"
	r := sample()
	poison(&r, evil)
	page := render(t, r)
	outline(t, page)
	for _, bad := range []string{"<script", "<img", "onerror=alert(2)>", "</style><", `href="javascript`, "http://", "https://", "src="} {
		if bad == "</style><" && strings.Count(page, "</style>") == 1 {
			continue
		}
		// Escaped, the value is text: `&lt;img src=x` is harmless, so only what begins as markup counts.
		if (bad == "src=" || bad == "onerror=alert(2)>") && !strings.Contains(page, "<img") {
			continue
		}
		if strings.Contains(strings.ToLower(page), bad) {
			t.Errorf("the page holds %s", bad)
		}
	}
	if n := strings.Count(page, "&lt;script&gt;"); n < 30 {
		t.Errorf("the value is shown as text %d times only: it is not everywhere it was put", n)
	}
	if !strings.Contains(page, `content="default-src 'none'; style-src 'unsafe-inline'"`) {
		t.Error("the page has no policy against scripts")
	}
}

// poison puts a value into every text that a Run holds.
func poison(r *Run, evil string) {
	r.ID, r.Version, r.Warehouse, r.Engine = evil, evil, evil, evil
	examples := Examples{Columns: []string{evil}, Rows: [][]string{{evil}}}
	for i := range r.Steps {
		r.Steps[i].Name, r.Steps[i].Note, r.Steps[i].Error = evil, evil, evil
	}
	for i := range r.Ingest {
		r.Ingest[i].Table = evil
		r.Ingest[i].Alarms = []Alarm{{Kind: evil, Text: evil}}
	}
	for i := range r.Rules {
		q := &r.Rules[i]
		q.Table, q.Day, q.ID, q.Column, q.Dimension, q.Description, q.Unit, q.Threshold, q.Error, q.Examples = evil, evil, evil, evil, evil, evil, evil, evil, evil, examples
		for j := range q.Trend {
			q.Trend[j].Day = evil
		}
	}
	for i := range r.Profiles {
		r.Profiles[i].Table, r.Profiles[i].Day = evil, evil
		for j := range r.Profiles[i].Columns {
			c := &r.Profiles[i].Columns[j]
			c.Name, c.Type, c.Min, c.Max, c.Mean = evil, evil, evil, evil, evil
			for k := range c.Histogram {
				c.Histogram[k].Label = evil
			}
			for k := range c.Frequent {
				c.Frequent[k].Label = evil
			}
		}
	}
	for i := range r.SLAs {
		s := &r.SLAs[i]
		s.Table, s.Property, s.Element, s.Description, s.Unit, s.Threshold, s.Error = evil, evil, evil, evil, evil, evil, evil
	}
	for i := range r.Quarantine {
		h := &r.Quarantine[i]
		h.Source, h.Day, h.Rule, h.Reason, h.Value, h.ReleasedBy = evil, evil, evil, evil, evil, evil
		if !h.Released {
			h.Release = evil
		}
	}
	for i := range r.Models {
		m := &r.Models[i]
		m.Name, m.Kind, m.Skipped, m.Error = evil, evil, evil, evil
		for j := range m.Tests {
			m.Tests[j] = Test{Name: evil, Column: evil, Severity: evil, Error: evil, Examples: examples}
		}
	}
	for i := range r.Conflicts {
		r.Conflicts[i].Table, r.Conflicts[i].RootID, r.Conflicts[i].Hashes = evil, evil, []string{evil}
	}
	for i := range r.NearCopies {
		r.NearCopies[i] = NearCopies{Table: evil, Rule: evil, Examples: examples}
	}
	r.Errors = []Error{{Step: evil, Text: evil}}
	r.Maintenance = []Maintenance{{Table: evil, Text: evil}}
}

// Hundreds of rules, and values of a megabyte, must give a page that a browser still opens.
func TestLarge(t *testing.T) {
	r := large()
	r.Rules[199].Examples = Examples{Columns: []string{"payload"}, Rows: [][]string{{strings.Repeat("ä", 1<<20)}}}
	page := render(t, r)
	outline(t, page)
	if len(page) > 700_000 {
		t.Errorf("the page has %d bytes", len(page))
	}
	if got := strings.Count(page, `<article class="problem`); got < 49 {
		t.Errorf("%d problems are shown, of at least 49", got)
	}
	if strings.Contains(page, strings.Repeat("ä", longest+1)) {
		t.Error("a value of a megabyte is shown whole")
	}
	if !strings.Contains(page, "151 of 200 passed") {
		t.Error("the page does not say how many rules passed")
	}
}

// Whoever looks only at the colour must be told the truth: each kind of failure gives the level that the package says, and says why.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Run)
		want   Level
		reason string
	}{
		{"nothing ran", func(r *Run) { *r = Run{} }, Good, ""},
		{"all well", func(*Run) {}, Good, ""},
		{"an error", func(r *Run) { r.Errors = []Error{{Step: "models", Text: "disk full"}} }, Bad, "The run met an error in models"},
		{"a step failed", func(r *Run) { r.Steps[0].Error = "away" }, Bad, "Step ingest failed"},
		{"an alarm", func(r *Run) { r.Ingest[0].Alarms = []Alarm{{Kind: "log_gap", Text: "x"}} }, Bad, "The landing log has a gap (events.enriched_yellowtaxitriprecords_0)"},
		{"a day is held", func(r *Run) { r.Quarantine[0].Released = false }, Bad, "A day is held back: 2026-11-19 (events.enriched_yellowtaxitriprecords_0)"},
		{"a rule that warns", func(r *Run) { r.Rules[2].Passed = false }, Warning, "Rule dropoff-after-pickup failed (events.enriched_yellowtaxitriprecords_0, 2026-11-21)"},
		{"a rule of severity error", func(r *Run) { r.Rules[2].Passed, r.Rules[2].Severity = false, SeverityError }, Bad, "Rule dropoff-after-pickup failed (events.enriched_yellowtaxitriprecords_0, 2026-11-21)"},
		{"a blocking rule", func(r *Run) { r.Rules[2].Passed, r.Rules[2].Blocking = false, true }, Bad, "Rule dropoff-after-pickup failed (events.enriched_yellowtaxitriprecords_0, 2026-11-21)"},
		{"a rule that only counts", func(r *Run) { r.Rules[2].Passed, r.Rules[2].Severity = false, SeverityInfo }, Good, ""},
		{"a rule that could not be computed", func(r *Run) { r.Rules[2].Passed, r.Rules[2].Value, r.Rules[2].Error = false, nil, "no such column" }, Warning, "Rule dropoff-after-pickup could not be computed (events.enriched_yellowtaxitriprecords_0, 2026-11-21)"},
		{"an SLA missed", func(r *Run) { r.SLAs[0].Kept = false }, Warning, "SLA freshness was missed (events.enriched_yellowtaxitriprecords_0, arrived_at)"},
		{"an SLA not measured", func(r *Run) { r.SLAs[0].Error = "no rows" }, Warning, "SLA freshness could not be measured (events.enriched_yellowtaxitriprecords_0, arrived_at)"},
		{"a model failed", func(r *Run) { r.Models[1].Error = "no memory" }, Bad, "Model fact_trip failed"},
		{"a model was skipped", func(r *Run) { r.Models[1].Skipped = "x" }, Warning, "Model fact_trip was not brought up to date"},
		{"a test of severity error", func(r *Run) { r.Models[1].Tests[0].Passed, r.Models[1].Tests[0].Severity = false, SeverityError }, Bad, "Test unique of model fact_trip failed (fact_trip)"},
		{"a test that warns", func(r *Run) { r.Models[1].Tests[0].Passed = false }, Warning, "Test unique of model fact_trip failed (fact_trip)"},
		{"a conflict", func(r *Run) { r.Conflicts = []Conflict{{}} }, Warning, "1 event arrived with different data under one identity (ops.conflicts)"},
	} {
		r := healthy()
		c.change(&r)
		v := r.Verdict()
		if v.Level != c.want || strings.Join(v.Reasons, "; ") != c.reason {
			t.Errorf("%s: got %v because of %q, want %v because of %q", c.name, v.Level, v.Reasons, c.want, c.reason)
		}
		if page := render(t, r); !strings.Contains(page, `class="verdict level-`+c.want.String()+`"`) {
			t.Errorf("%s: the page does not show the level %v", c.name, c.want)
		}
	}
}

// One rule that fails on every day of a backfill is one thing to look at, with its days, and the worst level of them.
func TestRuleOnSeveralDays(t *testing.T) {
	r := healthy()
	r.Rules = nil
	for day := 1; day <= 30; day++ {
		r.Rules = append(r.Rules, Rule{Table: "events.x", ID: "a", Day: fmt.Sprintf("2026-10-%02d", day), Severity: SeverityWarning, Value: new(float64(day))})
	}
	r.Rules[3].Blocking = true
	v := r.Verdict()
	if v.Level != Bad || len(v.Reasons) != 1 || v.Reasons[0] != "Rule a failed on 30 days (events.x)" {
		t.Errorf("got %v %q", v.Level, v.Reasons)
	}
	if page := render(t, r); !strings.Contains(page, "<li>2026-10-04: 4</li>") {
		t.Error("the page does not name the days")
	}
}

// A column that nobody has filled must not stand there as if it were empty data.
func TestUnknownColumnsAreLeftOut(t *testing.T) {
	r := sample()
	page := render(t, r)
	if !strings.Contains(page, ">Mean</th>") || !strings.Contains(page, ">Rows now</th>") {
		t.Error("columns that are filled are not shown")
	}
	for i := range r.Models {
		r.Models[i].Rows = 0
	}
	for i := range r.Profiles[0].Columns {
		r.Profiles[0].Columns[i].Mean = ""
	}
	page = render(t, r)
	outline(t, page)
	if strings.Contains(page, ">Mean</th>") || strings.Contains(page, ">Rows now</th>") || strings.Contains(page, `data-label="Mean"`) || strings.Contains(page, `data-label="Rows now"`) {
		t.Error("columns that nobody filled are shown")
	}
}

// Figures are what the page is read for: a wrong unit or a lost digit misleads.
func TestFormat(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{count(int64(0)), "0"},
		{count(int64(-1234567)), "-1,234,567"},
		{count(int64(999)), "999"},
		{count(int64(math.MinInt64)), "-9,223,372,036,854,775,808"},
		{number(1.002), "1.002"},
		{number(0.012345), "0.01235"},
		{number(123456.7), "123,457"},
		{number(1e20), "1e+20"},
		{number(math.NaN()), "NaN"},
		{number(-0.5), "-0.5"},
		{measure(7.9, "percent"), "7.9 %"},
		{measure(14520, "seconds"), "4 h 2 min"},
		{measure(1, "rows"), "1 row"},
		{measure(0.0898, "m"), "5.4 s"},
		{measure(0.0025, "y"), "21 h 54 min"},
		{measure(2, "M"), "60 days 20 h"},
		{measure(1e12, "y"), "1,000,000,000,000 y"},
		{words("mustBeLessOrEqualTo 5"), "at most 5"},
		{words("mustBe 0"), "exactly 0"},
		{words("mustBeGreaterThan 1, mustNotBe 7"), "more than 1, anything but 7"},
		{words("mustNotBeBetween 1 and 2"), "not between 1 and 2"},
		{words("at least 5"), "at least 5"},
		{measure(1536, "bytes"), "1.5 KiB"},
		{measure(871, "groups"), "871 groups"},
		{span(0), "0 s"},
		{span(350 * time.Microsecond), "350 µs"},
		{span(90 * time.Second), "1 min 30 s"},
		{span(49 * time.Hour), "2 days 1 h"},
		{span(-time.Second), "-1.0 s"},
		{clock(time.Time{}), "–"},
		{cut("a\xffb"), "a\uFFFDb"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// Values that have no place in a chart must not break the page: one value, equal values, infinities, a threshold far away, no rows.
func TestCharts(t *testing.T) {
	if spark(trend(1), nil, "") != nil || spark(trend(math.NaN(), 1), nil, "") != nil || bars(nil) != nil || bars([]Bin{{"a", 0}}) != nil {
		t.Error("a chart of nothing is drawn")
	}
	equal := spark(trend(5, 5, 5), new(5.0), "")
	if equal == nil || strings.Contains(equal.Points, "NaN") || !equal.HasLimit {
		t.Errorf("equal values: %+v", equal)
	}
	if far := spark(trend(1, 2), new(1e9), ""); far.HasLimit {
		t.Error("a threshold far away flattens the trend")
	}
	rising := spark(trend(0, 10), new(5.0), "rows")
	if want := "4,26 128,4"; rising.Points != want || rising.Limit != 15 || rising.Label != "2 values from 2026-11-20 to 2026-11-21, between 0 rows and 10 rows, now 10 rows" {
		t.Errorf("got %+v, want the points %s", rising, want)
	}
	h := bars([]Bin{{"a", 1_000_000}, {"b", 1}, {"c", 0}})
	if h.Bars[0].Height != barsHeight || h.Bars[1].Height != 1.5 || h.Bars[2].Height != 0 || h.Bars[1].Title != "b: 1 row" {
		t.Errorf("got %+v", h)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// A report that was not written must not pass for one.
func TestWriterFails(t *testing.T) {
	if err := Render(broken{}, sample()); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("got %v", err)
	}
}

// The pages are looked at in a browser: go test ./functions/curate/internal/report -run Pages -write DIR
func TestPages(t *testing.T) {
	if *write == "" {
		t.Skip("-write names no directory")
	}
	for name, r := range map[string]Run{"sample": sample(), "healthy": healthy(), "empty": {}, "large": large()} {
		if err := os.WriteFile(filepath.Join(*write, name+".html"), []byte(render(t, r)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
