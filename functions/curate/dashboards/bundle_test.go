package dashboards

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"millrace/functions/curate/models"
)

func options() Options { return Options{Trino: "http://millrace@trino:8080"} }

func bundle(t *testing.T, o Options) map[string]map[string]any {
	t.Helper()
	files, err := Bundle(o)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]map[string]any{}
	for name, content := range files {
		var doc map[string]any
		if err := json.Unmarshal(content, &doc); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		docs[name] = doc
	}
	return docs
}

func of(docs map[string]map[string]any, folder string) map[string]map[string]any {
	out := map[string]map[string]any{}
	for name, doc := range docs {
		if strings.HasPrefix(name, folder+"/") {
			out[name] = doc
		}
	}
	return out
}

func list(v any) []any { l, _ := v.([]any); return l }

func object(v any) map[string]any { m, _ := v.(map[string]any); return m }

// A chart that names a column, a metric or a data set that is not there shows an error in place of data, and nobody sees it before somebody looks.
func TestReferences(t *testing.T) {
	o := options()
	o.SearchCatalog, o.Search = "search", "elasticsearch+http://search:9200"
	docs := bundle(t, o)
	databases, datasets := map[any]bool{}, map[any]map[string]any{}
	for _, doc := range of(docs, "databases") {
		databases[doc["uuid"]] = true
	}
	for name, doc := range of(docs, "datasets") {
		if !databases[doc["database_uuid"]] {
			t.Errorf("%s: no such database", name)
		}
		datasets[doc["uuid"]] = doc
	}
	charts := map[any]string{}
	for name, doc := range of(docs, "charts") {
		charts[doc["uuid"]] = fmt.Sprint(doc["slice_name"])
		dataset := datasets[doc["dataset_uuid"]]
		if dataset == nil {
			t.Errorf("%s: no such data set", name)
			continue
		}
		known := map[any]bool{}
		for _, c := range list(dataset["columns"]) {
			known[object(c)["column_name"]] = true
		}
		metrics := map[any]bool{}
		for _, m := range list(dataset["metrics"]) {
			metrics[object(m)["metric_name"]] = true
		}
		var query struct {
			Queries []struct {
				Columns []any    `json:"columns"`
				Metrics []string `json:"metrics"`
				Filters []struct {
					Col string `json:"col"`
				} `json:"filters"`
			} `json:"queries"`
			Form map[string]any `json:"form_data"`
		}
		if err := json.Unmarshal([]byte(fmt.Sprint(doc["query_context"])), &query); err != nil || len(query.Queries) != 1 {
			t.Errorf("%s: its query context: %v", name, err)
			continue
		}
		q := query.Queries[0]
		for _, c := range q.Columns {
			if axis := object(c); axis != nil {
				c = axis["sqlExpression"]
			}
			if !known[c] {
				t.Errorf("%s: the data set has no column %v", name, c)
			}
		}
		for _, m := range q.Metrics {
			if !metrics[m] {
				t.Errorf("%s: the data set has no metric %s", name, m)
			}
		}
		for _, f := range q.Filters {
			if !known[f.Col] {
				t.Errorf("%s: the data set has no column %s to filter by", name, f.Col)
			}
		}
		// The page draws from params and the check asks by query_context: they have to be of one mind.
		params := object(doc["params"])
		for _, key := range []string{"viz_type", "metrics", "metric", "groupby", "x_axis", "adhoc_filters", "row_limit"} {
			if a, b := fmt.Sprint(params[key]), fmt.Sprint(query.Form[key]); a != b {
				t.Errorf("%s: %s is %s to be drawn and %s to be asked", name, key, a, b)
			}
		}
		for _, m := range append(list(params["metrics"]), params["metric"]) {
			if m != nil && !slices.Contains(q.Metrics, fmt.Sprint(m)) {
				t.Errorf("%s draws %v, which its query does not ask for", name, m)
			}
		}
	}
	shown := map[any]bool{}
	for name, doc := range of(docs, "dashboards") {
		position := object(doc["position"])
		reached := map[string]bool{}
		var walk func(id string)
		walk = func(id string) {
			reached[id] = true
			width := 0
			for _, child := range list(object(position[id])["children"]) {
				node := object(position[fmt.Sprint(child)])
				if node == nil {
					t.Errorf("%s: %s has a child %v that is not there", name, id, child)
					continue
				}
				if node["type"] == "CHART" {
					w, _ := object(node["meta"])["width"].(float64)
					width += int(w)
				}
				walk(fmt.Sprint(child))
			}
			if width > 12 {
				t.Errorf("%s: %s is %d columns wide, of 12", name, id, width)
			}
		}
		walk("ROOT_ID")
		for id, v := range position {
			node := object(v)
			if node["type"] != "CHART" {
				continue
			}
			meta := object(node["meta"])
			if title, there := charts[meta["uuid"]]; !there || title != meta["sliceName"] || !reached[id] {
				t.Errorf("%s: the place %s is of no chart, of one with another title, or in no row", name, id)
			}
			shown[meta["uuid"]] = true
		}
		for _, f := range list(object(doc["metadata"])["native_filter_configuration"]) {
			for _, target := range list(object(f)["targets"]) {
				if id := object(target)["datasetUuid"]; id != nil && datasets[id] == nil {
					t.Errorf("%s: a filter is on a data set that is not there", name)
				}
			}
		}
	}
	for id, title := range charts {
		if !shown[id] {
			t.Errorf("the chart %s is on no dashboard", title)
		}
	}
}

// A model that renames a column would break a chart of another folder: the data sets of models are held against the models' own columns.
func TestDatasetsFollowModels(t *testing.T) {
	columns := map[string]map[string]bool{}
	entries, err := models.Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := models.Files.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(content), "/*---")
		front, _, closed := strings.Cut(rest, "---*/")
		if !ok || !closed {
			continue
		}
		var m struct {
			Name    string `yaml:"name"`
			Columns []struct {
				Name string `yaml:"name"`
			} `yaml:"columns"`
		}
		if err := yaml.Unmarshal([]byte(front), &m); err != nil {
			t.Fatal(err)
		}
		columns[m.Name] = map[string]bool{}
		for _, c := range m.Columns {
			columns[m.Name][c.Name] = true
		}
	}
	asTheyAre := 0
	reference := regexp.MustCompile(`\blake\.star\.(\w+) (\w+)\b`)
	for name, doc := range of(bundle(t, options()), "datasets") {
		if doc["schema"] != "star" {
			continue
		}
		query := fmt.Sprint(doc["sql"])
		if _, model, whole := strings.Cut(query, "select * from lake.star."); whole {
			asTheyAre++
			for _, c := range list(doc["columns"]) {
				if !columns[model][fmt.Sprint(object(c)["column_name"])] {
					t.Errorf("%s: the model %s has no column %v", name, model, object(c)["column_name"])
				}
			}
			continue
		}
		for _, found := range reference.FindAllStringSubmatch(query, -1) {
			for _, used := range regexp.MustCompile(`\b`+found[2]+`\.(\w+)`).FindAllStringSubmatch(query, -1) {
				if !columns[found[1]][used[1]] {
					t.Errorf("%s: the model %s has no column %s", name, found[1], used[1])
				}
			}
		}
	}
	if asTheyAre < 2 {
		t.Errorf("only %d data sets are models as they are", asTheyAre)
	}
}

// A second set of dashboards must never overwrite the first, nor read its schemas.
func TestPrefix(t *testing.T) {
	plainOnes := bundle(t, options())
	o := options()
	o.SchemaPrefix, o.Catalog = "copy_", "other"
	copies := bundle(t, o)
	if !slices.Equal(slices.Sorted(maps.Keys(plainOnes)), slices.Sorted(maps.Keys(copies))) {
		t.Fatal("the files differ")
	}
	for name, doc := range copies {
		first := plainOnes[name]
		if doc["uuid"] != nil && doc["uuid"] == first["uuid"] {
			t.Errorf("%s has the same identity", name)
		}
		for _, key := range []string{"slug", "dashboard_title", "database_name", "table_name"} {
			if doc[key] != nil && doc[key] == first[key] {
				t.Errorf("%s: %s is the same", name, key)
			}
		}
		if query, ok := doc["sql"].(string); ok && (strings.Contains(query, "lake.") || !strings.Contains(query, "other.copy_")) {
			t.Errorf("%s reads the first one's schemas: %s", name, query)
		}
		if doc["schema"] != nil && doc["schema"] == first["schema"] {
			t.Errorf("%s: the schema is %v", name, doc["schema"])
		}
	}
	if uri := copies["databases/lake.yaml"]["sqlalchemy_uri"]; uri != "trino://millrace@trino:8080/other" {
		t.Errorf("the connection is %v", uri)
	}
}

// Without a catalog for search its chart must be gone, with its place, or the dashboard shows an error for ever.
func TestPrune(t *testing.T) {
	docs := bundle(t, options())
	for name, doc := range docs {
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(name, "search") || strings.Contains(string(b), "in search") {
			t.Errorf("%s is about search", name)
		}
	}
	o := options()
	o.SearchCatalog, o.SearchIndex = "elastic", "mine-dead-*"
	with := bundle(t, o)
	if got := fmt.Sprint(with["datasets/lake/search_dead.yaml"]["sql"]); !strings.Contains(got, `elastic.default."mine-dead-*"`) {
		t.Errorf("search is read by %s", got)
	}
	if len(with) != len(docs)+2 {
		t.Errorf("%d files with search, %d without", len(with), len(docs))
	}
	// A row of which nothing is left goes, too.
	position := map[string]any{
		"GRID_ID": map[string]any{"type": "GRID", "children": []any{"ROW-1", "ROW-2"}},
		"ROW-1":   map[string]any{"type": "ROW", "children": []any{"CHART-1"}}, "CHART-1": map[string]any{"type": "CHART", "meta": map[string]any{"uuid": "gone"}},
		"ROW-2": map[string]any{"type": "ROW", "children": []any{"CHART-2"}}, "CHART-2": map[string]any{"type": "CHART", "meta": map[string]any{"uuid": "stays"}},
	}
	small := map[string]map[string]any{
		"datasets/a.yaml": {"uuid": "data"}, "charts/a.yaml": {"uuid": "stays", "dataset_uuid": "data"}, "charts/b.yaml": {"uuid": "gone", "dataset_uuid": "none"}, "dashboards/a.yaml": {"position": position},
	}
	prune(small)
	if got := slices.Sorted(maps.Keys(position)); !slices.Equal(got, []string{"CHART-2", "GRID_ID", "ROW-2"}) || fmt.Sprint(object(position["GRID_ID"])["children"]) != "[ROW-2]" || small["charts/b.yaml"] != nil {
		t.Errorf("what is left is %v", position)
	}
}

// What a file no longer says must be taken back by the next import, and Superset takes back only what it is told is null.
func TestCleared(t *testing.T) {
	b, err := json.Marshal(bundle(t, options())["datasets/lake/ops_quarantine.yaml"])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `"main_dttm_col":null`) {
		t.Error("a column of time that was taken away stays")
	}
}

// A password must not lie in a file that people mail around, and a wrong address must be told before anything is sent.
func TestOptions(t *testing.T) {
	o := options()
	o.Trino, o.TrinoPassword = "https://me@trino", "very secret"
	files, err := Bundle(o)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if strings.Contains(string(content), "very secret") {
			t.Errorf("%s holds the password", name)
		}
	}
	lake := string(files["databases/lake.yaml"])
	if !strings.Contains(lake, "trino://me:XXXXXXXXXX@trino/lake") || !strings.Contains(lake, `"http_scheme": "https"`) {
		t.Errorf("the connection is %s", lake)
	}
	if got := Passwords(o); len(got) != 1 || got["databases/lake.yaml"] != "very secret" || Passwords(options()) != nil {
		t.Errorf("the passwords are %d", len(got))
	}
	for name, o := range map[string]Options{
		"no address":      {},
		"not http":        {Trino: "trino://x@host"},
		"a password":      {Trino: "http://me:very-secret@host"},
		"a prefix":        {Trino: "http://host", SchemaPrefix: `a"; drop`},
		"a catalog":       {Trino: "http://host", Catalog: "A.B"},
		"an index":        {Trino: "http://host", SearchCatalog: "s", SearchIndex: `a"b`},
		"search":          {Trino: "http://host", Search: "http://host"},
		"search's secret": {Trino: "http://host", Search: "elasticsearch+http://me:very-secret@host"},
	} {
		if _, err := Bundle(o); err == nil || strings.Contains(err.Error(), "very-secret") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// What Superset exported of an import must be the tree's files again, or an export in git shows changes that nobody made.
func TestRestore(t *testing.T) {
	tree, err := source()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{options(), {Trino: "http://trino", SchemaPrefix: "copy_", Catalog: "other", SearchCatalog: "elastic", SearchIndex: "mine-*"}} {
		files, err := Bundle(o)
		if err != nil {
			t.Fatal(err)
		}
		exported := map[string][]byte{}
		for name, content := range files {
			kind, rest, nested := strings.Cut(name, "/")
			if !nested {
				continue
			}
			// Superset names files by titles and ids, and puts its own ids into charts.
			text := strings.ReplaceAll(string(content), `"datasource": ""`, `"datasource": "17__table"`)
			text = strings.ReplaceAll(text, `\"datasource\": {\"id\": 0,`, `\"datasource\": {\"id\": 17,`)
			exported[kind+"/Title_17_"+strings.ReplaceAll(rest, "/", "_")] = []byte(text)
		}
		restored, err := o.Restore(exported)
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range restored {
			if strings.HasPrefix(name, "dashboards/") && o.SearchCatalog == "" {
				continue // its chart of search was left out
			}
			if string(content) != string(tree[name]) {
				t.Errorf("%s is not what it was: %s", name, difference(string(content), string(tree[name])))
			}
		}
		if len(restored) != len(files) {
			t.Errorf("%d files came back, of %d", len(restored), len(files))
		}
	}
}

func difference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d: got %q, want %q", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("got %d lines, want %d", len(g), len(w))
}

// A database's file without the member extra, or no such file, is somebody's mistake in the bundle: an error that names it, no panic in the middle of an import.
func TestConnectWithoutExtra(t *testing.T) {
	o := Options{Trino: "https://millrace@trino:8443"}
	for name, lake := range map[string]map[string]any{
		"none": {"database_name": "x"}, "null": {"extra": nil}, "text": {"extra": "{}"}, "no file": nil,
	} {
		if err := o.connect(lake); err == nil || !strings.Contains(err.Error(), lakeFile) {
			t.Errorf("extra %s: %v", name, err)
		}
	}
	lake := map[string]any{"extra": map[string]any{}}
	if err := o.connect(lake); err != nil || fmt.Sprint(lake["extra"]) != "map[engine_params:map[connect_args:map[http_scheme:https]]]" {
		t.Errorf("%v, %v", lake, err)
	}
}
