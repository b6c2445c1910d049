package monitoring_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// rule is an alert as Prometheus reads it.
type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t *testing.T) []rule {
	t.Helper()
	b, err := os.ReadFile("alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	d := yaml.NewDecoder(strings.NewReader(string(b)))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no alerts")
	}
	return all
}

// metric is what the sources say of a metric.
type metric struct {
	texts map[string]bool // string literals of the call that makes it, labels among them, and of its package
	words string          // its help
}

// exporter has the metrics of kafka_exporter and kube-state-metrics that the rules use; they have no values of ours.
var exporter = map[string][]string{
	"kafka_consumergroup_current_offset":   {"consumergroup", "topic", "partition"},
	"kafka_consumergroup_lag":              {"consumergroup", "topic", "partition"},
	"kafka_topic_partition_current_offset": {"topic", "partition"},
	"kafka_topic_partition_oldest_offset":  {"topic", "partition"},
	// of kube-state-metrics
	"kube_cronjob_status_last_successful_time": {"namespace", "cronjob"},
	"kube_cronjob_created":                     {"namespace", "cronjob"},
}

var ours = regexp.MustCompile(`^millrace_[a-z0-9_]+$`)

// registered finds the metrics that the functions register: each call that is given a metric's name, itself or in a struct, and a help.
func registered(t *testing.T) map[string]metric {
	t.Helper()
	found := map[string]metric{}
	for _, root := range []string{"../functions", "../shared"} {
		packages := map[string]map[string]bool{} // string literals by directory
		type call struct {
			dir   string
			texts []string
		}
		var calls []call
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			dir := filepath.Dir(path)
			if packages[dir] == nil {
				packages[dir] = map[string]bool{}
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					packages[dir][text(n)] = true
				case *ast.CallExpr:
					if texts := literals(n); slices.ContainsFunc(texts, ours.MatchString) && len(texts) > 1 {
						calls = append(calls, call{dir, texts})
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range calls {
			i := slices.IndexFunc(c.texts, ours.MatchString)
			if i+1 == len(c.texts) {
				continue // a name of something else
			}
			m := metric{texts: maps.Clone(packages[c.dir]), words: c.texts[i+1]}
			found[c.texts[i]] = m
		}
	}
	return found
}

// literals returns the string literals of a call, in order, but not those of calls within it, beyond one that only makes the options.
func literals(c *ast.CallExpr) (texts []string) {
	for _, a := range c.Args {
		ast.Inspect(a, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit, *ast.CallExpr:
				return false
			case *ast.BasicLit:
				if s := text(n); s != "" {
					texts = append(texts, s)
				}
			}
			return true
		})
	}
	return texts
}

func text(n *ast.BasicLit) string {
	if n.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(n.Value)
	if err != nil {
		return ""
	}
	return s
}

var (
	selector = regexp.MustCompile(`\b((?:millrace|kafka|kube)_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	grouping = regexp.MustCompile(`\b(?:by|on)\s*\(([^)]*)\)`)
)

// Guards against alerts that can never fire: a metric, a label or a label's value that the functions no longer have, or never had.
func TestAlertsAreOfMetricsThatExist(t *testing.T) {
	metrics := registered(t)
	for _, name := range []string{"millrace_lake_stopped", "millrace_intake_lag_offsets", "millrace_collect_events_total"} {
		if _, ok := metrics[name]; !ok {
			t.Fatalf("%s is not found in the sources: is the search at fault? It found %v", name, slices.Sorted(maps.Keys(metrics)))
		}
	}
	for _, r := range rules(t) {
		selectors := selector.FindAllStringSubmatch(r.Expr, -1)
		if len(selectors) == 0 {
			t.Errorf("%s is of no metric", r.Alert)
		}
		grouped := func(has func(string) bool) {
			for _, g := range grouping.FindAllStringSubmatch(r.Expr, -1) {
				for _, label := range strings.Split(g[1], ",") {
					if !has(strings.TrimSpace(label)) {
						t.Errorf("%s: no metric has the label %q", r.Alert, label)
					}
				}
			}
		}
		for _, s := range selectors {
			name, matchers := s[1], matcher.FindAllStringSubmatch(s[2], -1)
			if labels, ok := exporter[name]; ok {
				grouped(func(label string) bool { return slices.Contains(labels, label) || label == "consumergroup" })
				for _, m := range matchers {
					if !slices.Contains(labels, m[1]) {
						t.Errorf("%s: %s has no label %q", r.Alert, name, m[1])
					}
				}
				continue
			}
			m, ok := metrics[name]
			if !ok {
				t.Errorf("%s: no function has the metric %s", r.Alert, name)
				continue
			}
			grouped(func(label string) bool { return m.texts[label] })
			for _, pair := range matchers {
				if !m.texts[pair[1]] {
					t.Errorf("%s: %s has no label %q", r.Alert, name, pair[1])
				}
				for _, value := range strings.Split(pair[2], "|") {
					if value != "5.." && !m.texts[value] && !strings.Contains(m.words, value) {
						t.Errorf("%s: %s is never %q", r.Alert, pair[1], value)
					}
				}
			}
		}
	}
}

// Guards whoever is woken: each alert says how bad it is, what is the matter and where to read on, the runbook has what it points to, in its three parts, and nothing for alerts that are gone.
func TestAlertsHaveARunbook(t *testing.T) {
	b, err := os.ReadFile("RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]string{} // by anchor
	for _, part := range strings.Split(string(b), "\n### ")[1:] {
		title, body, _ := strings.Cut(part, "\n")
		entries[strings.ToLower(title)] = body
	}
	pointed, seen := map[string]bool{}, map[string]bool{}
	for _, r := range rules(t) {
		if !strings.HasPrefix(r.Alert, "Millrace") || seen[r.Alert] {
			t.Errorf("alert %q: a name of its own that begins with Millrace", r.Alert)
		}
		seen[r.Alert] = true
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" {
			t.Errorf("%s has no summary", r.Alert)
		}
		anchor, ok := strings.CutPrefix(r.Annotations["runbook_url"], "RUNBOOK.md#")
		body := entries[anchor]
		for _, part := range []string{"\n**Means** ", "\n**Look** ", "\n**Do** "} {
			if !ok || !strings.Contains(body, part) {
				t.Errorf("%s: the runbook's entry %q has no %q", r.Alert, anchor, part)
			}
		}
		if anchor != strings.ToLower(r.Alert) && !strings.Contains(body, r.Alert) {
			t.Errorf("%s: the runbook's entry %q does not name it", r.Alert, anchor)
		}
		pointed[anchor] = true
	}
	for anchor := range entries {
		if !pointed[anchor] {
			t.Errorf("the runbook's entry %q is no alert's", anchor)
		}
	}
	for _, link := range regexp.MustCompile(`\]\(#([a-z0-9-]+)\)`).FindAllStringSubmatch(string(b), -1) {
		if _, ok := entries[link[1]]; !ok && !strings.Contains(strings.ToLower(string(b)), "\n## "+strings.ReplaceAll(link[1], "-", " ")) {
			t.Errorf("the runbook links to %q, which it does not have", link[1])
		}
	}
}
