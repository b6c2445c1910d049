package dashboards

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
	"gopkg.in/yaml.v3"
)

//go:embed bundle
var embedded embed.FS

// Files of the bundle that options decide on.
const (
	lakeFile         = "databases/lake.yaml"
	searchFile       = "databases/search.yaml"
	searchDatasets   = "datasets/lake/search_"
	directDatasets   = "datasets/search/"
	masked           = "XXXXXXXXXX" // what Superset takes for "the password comes apart"
	lakeCatalog      = "lake"
	searchCatalog    = "search"
	searchIndex      = "dead-*"
	defaultTrinoUser = "millrace"
)

// Options fit the bundle to an installation.
type Options struct {
	Trino         string // http(s)://user@host:port as Superset reaches it; no password in it
	TrinoPassword string // sent apart from the bundle. Secret.
	Catalog       string // of the lake in Trino; empty: lake
	SchemaPrefix  string // stands before the schemas events, ops and star
	SearchCatalog string // Trino's catalog of the search indices; empty: its charts are left out
	SearchIndex   string // dead letters' indices in it; empty: dead-*
	Search        string // elasticsearch+http(s)://host:port for a direct connection; empty: none
}

// Validate says everything that is wrong with the options.
func (o Options) Validate() error {
	var errs []error
	if u, err := url.Parse(o.Trino); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		errs = append(errs, errors.New("the address of Trino must be http(s)://user@host:port"))
	} else if _, set := u.User.Password(); set {
		errs = append(errs, errors.New("the address of Trino holds a password, which has a file of its own"))
	}
	if o.Search != "" {
		if u, err := url.Parse(o.Search); err != nil || (u.Scheme != "elasticsearch+http" && u.Scheme != "elasticsearch+https") || u.Host == "" {
			errs = append(errs, errors.New("the address of search must be elasticsearch+http(s)://host:port"))
		} else if _, set := u.User.Password(); set {
			errs = append(errs, errors.New("the address of search holds a password; set it in Superset"))
		}
	}
	for name, value := range map[string]string{"catalog": o.Catalog, "schema prefix": o.SchemaPrefix, "catalog of search": o.SearchCatalog} {
		if !plain.MatchString(value) {
			errs = append(errs, fmt.Errorf("the %s may have lower-case letters, digits and _ only", name))
		}
	}
	if strings.ContainsAny(o.SearchIndex, `"'`+"`\n") {
		errs = append(errs, errors.New("the index of search holds a quotation mark"))
	}
	return errors.Join(errs...)
}

var (
	plain     = regexp.MustCompile(`^[a-z0-9_]*$`)
	uuids     = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
	lakeTable = regexp.MustCompile(`\blake\.(events|ops|star)\.`)
	deadTable = regexp.MustCompile(`\bsearch\.default\."dead-\*"`)
)

// source returns the bundle as it is in the tree, by path.
func source() (map[string][]byte, error) {
	files := map[string][]byte{}
	err := fs.WalkDir(embedded, "bundle", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := embedded.ReadFile(name)
		files[strings.TrimPrefix(name, "bundle/")] = content
		return err
	})
	return files, err
}

// Bundle returns the files to import, by path.
func Bundle(o Options) (map[string][]byte, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	files, err := source()
	if err != nil {
		return nil, fmt.Errorf("read the bundle: %w", err)
	}
	docs := map[string]map[string]any{}
	for name, content := range files {
		var doc map[string]any
		if err := yaml.Unmarshal(o.rename(content), &doc); err != nil {
			return nil, fmt.Errorf("read the bundle's %s: %w", name, err)
		}
		docs[name] = doc
	}
	if o.Search == "" {
		maps.DeleteFunc(docs, func(name string, _ map[string]any) bool {
			return name == searchFile || strings.HasPrefix(name, directDatasets)
		})
	} else {
		docs[searchFile]["sqlalchemy_uri"] = o.Search
	}
	if o.SearchCatalog == "" {
		maps.DeleteFunc(docs, func(name string, _ map[string]any) bool { return strings.HasPrefix(name, searchDatasets) })
	}
	if err := o.connect(docs[lakeFile]); err != nil {
		return nil, err
	}
	for name, doc := range docs {
		o.fit(name, doc)
	}
	prune(docs)
	out := map[string][]byte{}
	for name, doc := range docs {
		// JSON is YAML for every reader; Superset's takes a plain = or an unquoted yes for what Go's writer does not.
		content, err := json.MarshalIndent(doc, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("write the bundle's %s: %w", name, err)
		}
		out[name] = content
	}
	return out, nil
}

// rename gives everything an identity of its own where there is a schema prefix.
func (o Options) rename(content []byte) []byte {
	if o.SchemaPrefix == "" {
		return content
	}
	return uuids.ReplaceAllFunc(content, func(id []byte) []byte { return []byte(o.identity(string(id))) })
}

func (o Options) identity(id string) string {
	if o.SchemaPrefix == "" {
		return id
	}
	return uuid.NewSHA1(uuid.MustParse(id), []byte(o.SchemaPrefix)).String()
}

// connect puts Trino's address into the lake's database, lake, whose members it needs are an error where they are not.
func (o Options) connect(lake map[string]any) error {
	if lake == nil {
		return fmt.Errorf("the bundle has no %s", lakeFile)
	}
	u, err := url.Parse(o.Trino)
	if err != nil {
		return errors.New("the address of Trino must be http(s)://user@host:port")
	}
	user := u.User.Username()
	if user == "" {
		user = defaultTrinoUser
	}
	uri := url.URL{Scheme: "trino", User: url.User(user), Host: u.Host, Path: "/" + orElse(o.Catalog, lakeCatalog)}
	if o.TrinoPassword != "" {
		uri.User = url.UserPassword(user, masked)
	}
	lake["sqlalchemy_uri"] = uri.String()
	if u.Scheme == "https" {
		extra, ok := lake["extra"].(map[string]any)
		if !ok {
			return fmt.Errorf("the bundle's %s has no member extra, which Superset wants and which says that Trino is reached by https", lakeFile)
		}
		extra["engine_params"] = map[string]any{"connect_args": map[string]any{"http_scheme": "https"}}
	}
	return nil
}

// cleared are members that a file may lack. They are sent as null: an import leaves alone what it is not told of, so that a later bundle could not take anything back.
var cleared = map[string][]string{
	"datasets": {"main_dttm_col", "description", "cache_timeout", "fetch_values_predicate", "template_params"}, "charts": {"description", "cache_timeout"}, "dashboards": {"description", "css"},
}

// fit puts names of this installation into a file.
func (o Options) fit(name string, doc map[string]any) {
	kind, _, _ := strings.Cut(name, "/")
	for _, member := range cleared[kind] {
		if _, there := doc[member]; !there {
			doc[member] = nil
		}
	}
	catalog, prefix := orElse(o.Catalog, lakeCatalog), o.SchemaPrefix
	label := func(member string) {
		if prefix != "" {
			doc[member] = fmt.Sprintf("%v (%s)", doc[member], strings.Trim(prefix, "_"))
		}
	}
	switch kind {
	case "databases":
		label("database_name")
	case "datasets":
		if strings.HasPrefix(name, directDatasets) {
			return
		}
		if doc["catalog"] == lakeCatalog {
			doc["catalog"] = catalog
		}
		doc["table_name"] = prefix + fmt.Sprint(doc["table_name"])
		if schema, _ := doc["schema"].(string); slices.Contains([]string{"events", "ops", "star"}, schema) {
			doc["schema"] = prefix + schema
		}
		if query, ok := doc["sql"].(string); ok {
			query = lakeTable.ReplaceAllString(query, catalog+"."+prefix+"$1.")
			doc["sql"] = deadTable.ReplaceAllLiteralString(query, orElse(o.SearchCatalog, searchCatalog)+`.default."`+orElse(o.SearchIndex, searchIndex)+`"`)
		}
	case "dashboards":
		label("dashboard_title")
		if prefix != "" {
			doc["slug"] = fmt.Sprintf("%v-%s", doc["slug"], strings.ReplaceAll(strings.Trim(prefix, "_"), "_", "-"))
		}
	}
}

// prune takes out charts whose data set is not there, their places in dashboards, and rows that are empty then.
func prune(docs map[string]map[string]any) {
	datasets, charts := map[any]bool{}, map[any]bool{}
	for name, doc := range docs {
		if strings.HasPrefix(name, "datasets/") {
			datasets[doc["uuid"]] = true
		}
	}
	for name, doc := range docs {
		if strings.HasPrefix(name, "charts/") {
			if !datasets[doc["dataset_uuid"]] {
				delete(docs, name)
				continue
			}
			charts[doc["uuid"]] = true
		}
	}
	for name, doc := range docs {
		if !strings.HasPrefix(name, "dashboards/") {
			continue
		}
		position, _ := doc["position"].(map[string]any)
		for again := true; again; {
			again = false
			for id, v := range position {
				node, _ := v.(map[string]any)
				meta, _ := node["meta"].(map[string]any)
				children, _ := node["children"].([]any)
				gone := (node["type"] == "CHART" && !charts[meta["uuid"]]) || (node["type"] == "ROW" && len(children) == 0)
				if !gone {
					continue
				}
				delete(position, id)
				again = true
				for _, other := range position {
					if parent, ok := other.(map[string]any); ok {
						if list, ok := parent["children"].([]any); ok {
							parent["children"] = slices.DeleteFunc(list, func(child any) bool { return child == id })
						}
					}
				}
			}
		}
	}
}

// Passwords returns the passwords that go with a bundle of these options, by the path of a database's file.
func Passwords(o Options) map[string]string {
	if o.TrinoPassword == "" {
		return nil
	}
	return map[string]string{lakeFile: o.TrinoPassword}
}

// Slugs returns the addresses of the dashboards in the bundle, sorted.
func Slugs(files map[string][]byte) ([]string, error) {
	var all []string
	for name, content := range files {
		if path.Dir(name) != "dashboards" {
			continue
		}
		var doc struct {
			Slug string `yaml:"slug"`
		}
		if err := yaml.Unmarshal(content, &doc); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		all = append(all, doc.Slug)
	}
	slices.Sort(all)
	return all, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// Restore is the inverse of Bundle for what Superset exported: paths and names of the tree, this installation's names taken out. What the tree does not know gets a path from its title.
func (o Options) Restore(exported map[string][]byte) (map[string][]byte, error) {
	files, err := source()
	if err != nil {
		return nil, fmt.Errorf("read the bundle: %w", err)
	}
	known, original := map[string]string{}, map[string]string{}
	for name, content := range files {
		var doc struct {
			UUID string `yaml:"uuid"`
		}
		if err := yaml.Unmarshal(content, &doc); err != nil {
			return nil, fmt.Errorf("read the bundle's %s: %w", name, err)
		}
		if doc.UUID != "" {
			known[doc.UUID], original[o.identity(doc.UUID)] = name, doc.UUID
		}
	}
	out := map[string][]byte{"metadata.yaml": files["metadata.yaml"]}
	for name, content := range exported {
		kind, _, nested := strings.Cut(name, "/")
		if !nested {
			continue
		}
		content = uuids.ReplaceAllFunc(content, func(id []byte) []byte { return []byte(orElse(original[string(id)], string(id))) })
		var doc map[string]any
		if err := yaml.Unmarshal(content, &doc); err != nil {
			return nil, fmt.Errorf("read the exported %s: %w", name, err)
		}
		id, _ := doc["uuid"].(string)
		at, ours := known[id]
		switch {
		// Where the databases are is the installation's business.
		case ours && kind == "databases":
			out[at] = files[at]
			continue
		case !ours:
			at = name
		}
		if err := o.unfit(kind, doc); err != nil {
			return nil, fmt.Errorf("read the exported %s: %w", name, err)
		}
		written, err := write(doc)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", at, err)
		}
		out[at] = written
	}
	return out, nil
}

// write writes a file as the tree has it: the same content is the same bytes, whatever order Superset's database gave it in.
func write(doc map[string]any) ([]byte, error) {
	for member, key := range map[string]string{"columns": "column_name", "metrics": "metric_name"} {
		if list, ok := doc[member].([]any); ok {
			slices.SortFunc(list, func(a, b any) int {
				x, _ := a.(map[string]any)
				y, _ := b.(map[string]any)
				return strings.Compare(fmt.Sprint(x[key]), fmt.Sprint(y[key]))
			})
		}
	}
	if position, ok := doc["position"].(map[string]any); ok {
		number := 0
		for _, id := range slices.Sorted(maps.Keys(position)) {
			node, _ := position[id].(map[string]any)
			if meta, ok := node["meta"].(map[string]any); ok && node["type"] == "CHART" {
				number++
				meta["chartId"] = number
			}
		}
	}
	drop(doc)
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	err := errors.Join(e.Encode(doc), e.Close())
	return b.Bytes(), err
}

// drop takes out members that are null: which there are differs from version to version of Superset.
func drop(v any) {
	switch v := v.(type) {
	case map[string]any:
		maps.DeleteFunc(v, func(_ string, member any) bool { return member == nil })
		for _, member := range v {
			drop(member)
		}
	case []any:
		for _, member := range v {
			drop(member)
		}
	}
}

func (o Options) unfit(kind string, doc map[string]any) error {
	catalog, prefix := orElse(o.Catalog, lakeCatalog), o.SchemaPrefix
	unlabel := func(member string) {
		if s, ok := doc[member].(string); ok && prefix != "" {
			doc[member] = strings.TrimSuffix(s, " ("+strings.Trim(prefix, "_")+")")
		}
	}
	switch kind {
	case "charts":
		// Ids are of one Superset; an import sets them anew.
		if params, ok := doc["params"].(map[string]any); ok {
			params["datasource"], params["dashboards"] = "", []any{}
			delete(params, "slice_id")
		}
		if text, ok := doc["query_context"].(string); ok && text != "" {
			var query map[string]any
			if err := json.Unmarshal([]byte(text), &query); err != nil {
				return fmt.Errorf("its query context: %w", err)
			}
			query["datasource"] = map[string]any{"id": 0, "type": "table"}
			if form, ok := query["form_data"].(map[string]any); ok {
				form["datasource"], form["dashboards"] = "", []any{}
				delete(form, "slice_id")
			}
			var b strings.Builder
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			if err := e.Encode(query); err != nil {
				return fmt.Errorf("its query context: %w", err)
			}
			doc["query_context"] = strings.TrimSpace(b.String())
		}
	case "datasets":
		if doc["catalog"] == catalog {
			doc["catalog"] = lakeCatalog
		}
		if name, ok := doc["table_name"].(string); ok {
			doc["table_name"] = strings.TrimPrefix(name, prefix)
		}
		if schema, ok := doc["schema"].(string); ok {
			doc["schema"] = strings.TrimPrefix(schema, prefix)
		}
		if query, ok := doc["sql"].(string); ok {
			for _, schema := range []string{"events", "ops", "star"} {
				query = strings.ReplaceAll(query, catalog+"."+prefix+schema+".", lakeCatalog+"."+schema+".")
			}
			doc["sql"] = strings.ReplaceAll(query, orElse(o.SearchCatalog, searchCatalog)+`.default."`+orElse(o.SearchIndex, searchIndex)+`"`, searchCatalog+`.default."`+searchIndex+`"`)
		}
	case "dashboards":
		unlabel("dashboard_title")
		if s, ok := doc["slug"].(string); ok && prefix != "" {
			doc["slug"] = strings.TrimSuffix(s, "-"+strings.ReplaceAll(strings.Trim(prefix, "_"), "_", "-"))
		}
	}
	return nil
}
