package warehouse

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
)

// restCatalog speaks the part of Iceberg's REST protocol that the warehouse needs, over a catalog of SQLite. Requests without the token are refused.
type restCatalog struct {
	catalog.Catalog
	user string                   // who may ask for a token: id:secret
	lose func(*http.Request) bool // requests that are answered with 404; may be nil
}

func (c *restCatalog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if body != nil {
			_ = json.NewEncoder(w).Encode(body) // the client is gone
		}
	}
	fail := func(status int, err error) {
		answer(status, map[string]any{"error": map[string]any{"message": err.Error(), "type": "Error", "code": status}})
	}
	if r.URL.Path == "/v1/oauth/tokens" {
		if err := r.ParseForm(); err != nil || r.Form.Get("client_id")+":"+r.Form.Get("client_secret") != c.user {
			fail(http.StatusUnauthorized, errors.New("unknown client"))
			return
		}
		answer(http.StatusOK, map[string]any{"access_token": "token", "token_type": "bearer"})
		return
	}
	if r.Header.Get("Authorization") != "Bearer token" {
		fail(http.StatusUnauthorized, errors.New("no token"))
		return
	}
	if c.lose != nil && c.lose(r) {
		fail(http.StatusNotFound, errors.New("lost"))
		return
	}
	ctx := r.Context()
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1/"), "/")
	loaded := func(t *table.Table, err error) {
		switch {
		case errors.Is(err, catalog.ErrNoSuchTable), errors.Is(err, catalog.ErrNoSuchNamespace):
			fail(http.StatusNotFound, err)
		case errors.Is(err, catalog.ErrTableAlreadyExists):
			fail(http.StatusConflict, err)
		case err != nil:
			fail(http.StatusInternalServerError, err)
		default:
			answer(http.StatusOK, map[string]any{"metadata-location": t.MetadataLocation(), "metadata": t.Metadata()})
		}
	}
	decode := func(into any) bool {
		if err := json.NewDecoder(r.Body).Decode(into); err != nil {
			fail(http.StatusBadRequest, err)
			return false
		}
		return true
	}
	switch method := r.Method; {
	case parts[0] == "config":
		answer(http.StatusOK, map[string]any{"defaults": map[string]string{}, "overrides": map[string]string{}})
	case len(parts) == 1 && method == http.MethodGet:
		if r.URL.Query().Get("parent") != "" {
			answer(http.StatusOK, map[string]any{"namespaces": [][]string{}})
			return
		}
		all, err := c.ListNamespaces(ctx, nil)
		if err != nil {
			fail(http.StatusInternalServerError, err)
			return
		}
		answer(http.StatusOK, map[string]any{"namespaces": all})
	case len(parts) == 1:
		var body struct {
			Namespace []string `json:"namespace"`
		}
		if decode(&body) {
			if err := c.CreateNamespace(ctx, body.Namespace, nil); err != nil {
				fail(http.StatusConflict, err)
				return
			}
			answer(http.StatusOK, body)
		}
	case len(parts) == 2:
		if ok, err := c.CheckNamespaceExists(ctx, table.Identifier{parts[1]}); err != nil || !ok {
			fail(http.StatusNotFound, errors.New("no such namespace"))
			return
		}
		answer(http.StatusOK, map[string]any{"namespace": parts[1:2], "properties": map[string]string{}})
	case len(parts) == 3 && method == http.MethodGet:
		list := []map[string]any{}
		for id, err := range c.ListTables(ctx, table.Identifier{parts[1]}) {
			if err != nil {
				fail(http.StatusInternalServerError, err)
				return
			}
			list = append(list, map[string]any{"namespace": id[:1], "name": id[1]})
		}
		answer(http.StatusOK, map[string]any{"identifiers": list})
	case len(parts) == 3:
		var body struct {
			Name       string                 `json:"name"`
			Location   string                 `json:"location"`
			Schema     *iceberg.Schema        `json:"schema"`
			Spec       *iceberg.PartitionSpec `json:"partition-spec"`
			Properties iceberg.Properties     `json:"properties"`
		}
		if decode(&body) {
			loaded(c.CreateTable(ctx, table.Identifier{parts[1], body.Name}, body.Schema, catalog.WithLocation(body.Location), catalog.WithPartitionSpec(body.Spec), catalog.WithProperties(body.Properties)))
		}
	case method == http.MethodGet, method == http.MethodHead:
		loaded(c.LoadTable(ctx, table.Identifier{parts[1], parts[3]}))
	case method == http.MethodDelete:
		if err := c.DropTable(ctx, table.Identifier{parts[1], parts[3]}); err != nil {
			fail(http.StatusNotFound, err)
			return
		}
		answer(http.StatusNoContent, nil)
	default:
		var body struct {
			Requirements table.Requirements `json:"requirements"`
			Updates      table.Updates      `json:"updates"`
		}
		if !decode(&body) {
			return
		}
		id := table.Identifier{parts[1], parts[3]}
		now, err := c.LoadTable(ctx, id)
		if err != nil {
			fail(http.StatusNotFound, err)
			return
		}
		for _, req := range body.Requirements {
			if err := req.Validate(now.Metadata()); err != nil {
				fail(http.StatusConflict, err)
				return
			}
		}
		meta, location, err := c.CommitTable(ctx, id, body.Requirements, body.Updates)
		if err != nil {
			fail(http.StatusConflict, err)
			return
		}
		answer(http.StatusOK, map[string]any{"metadata-location": location, "metadata": meta})
	}
}

// newRESTLake is a lake whose catalog speaks REST.
func newRESTLake(t *testing.T) *lake {
	t.Helper()
	return newLake(t).served(t, nil)
}

// served is the lake by a catalog that speaks REST, and says of requests that they are of what is not there.
func (l *lake) served(t *testing.T, lose func(*http.Request) bool) *lake {
	t.Helper()
	s := httptest.NewServer(&restCatalog{l.open(t).cat, "client:s3cret", lose})
	t.Cleanup(s.Close)
	rest := *l
	rest.catalog = strings.Replace(s.URL, "http://", "http://client:s3cret@", 1)
	return &rest
}

// Guards the REST setting: the same tables, the same refusals, with the client's credential from the URL.
func TestConformanceOverREST(t *testing.T) {
	conformance(t, newRESTLake(t))
	columnsAreAdded(t, newRESTLake(t))
	manyCommitters(t, newRESTLake(t))
	secondCommitterLoses(t, newRESTLake)
	l := newRESTLake(t)
	w := l.open(t)
	for range 2 {
		if _, err := w.Lock(t.Context()); err != nil || w.Exclusive() {
			t.Errorf("the lock, which is none: %v, exclusive %t", err, w.Exclusive())
		}
	}
}

// Guards the operator: a wrong address or credential is an error at once, which shows no secret; each part that is missing is named.
func TestOpenRefuses(t *testing.T) {
	l := newRESTLake(t)
	for _, url := range []string{strings.Replace(l.catalog, "s3cret", "wr0ng", 1), "http://client:wr0ng@127.0.0.1:1/"} {
		c := l.config(t)
		c.Catalog = url
		if _, err := Open(t.Context(), c); err == nil || strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("got %v", err)
		}
	}
	for _, url := range []string{"", "sqlite://relative/catalog.db", "sqlite:///", "mysql://host/db", "http://user:s3cret@host:port:port/"} {
		c := Config{Catalog: url, Prefix: "/x"}
		err := c.Validate()
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", url, err)
			continue
		}
		for _, part := range []string{"catalog's URL", "name is empty", "no bucket", "prefix", "scratch"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: %v lacks %s", url, err, part)
			}
		}
	}
	c := l.config(t)
	c.Catalog = "sqlite:///proc/none/catalog.db"
	if _, err := Open(t.Context(), c); err == nil {
		t.Error("a directory that cannot be made")
	}
}

// Guards locations: paths of this bucket are keys under each scheme that writers use, a mapped location is the prefix, and another bucket's path is an error.
func TestKey(t *testing.T) {
	l := newLake(t)
	c := l.config(t)
	c.Location = "s3://logical/lake/"
	mapped, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mapped.Close() }()
	plain := l.open(t)
	f := func(w *Warehouse, path, want string) {
		t.Helper()
		if got, err := w.Key(path); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	for _, scheme := range []string{"s3", "s3a", "s3n"} {
		f(plain, scheme+"://lake/warehouse/star/x", "warehouse/star/x")
	}
	f(plain, "s3://lakes/warehouse/x", "")
	f(plain, "gs://lake/warehouse/x", "")
	f(plain, "/lake/warehouse/x", "")
	f(mapped, "s3://logical/lake/star/x", "warehouse/star/x")
	f(mapped, "s3://logical/lakes/x", "")
	tbl := ensure(t, mapped, events, spec())
	tbl = commit(t, mapped, tbl, Change{Add: []string{write(t, mapped, tbl, `[{"id":"a","day":"2026-11-20"}]`)}})
	if tbl.Location() != "s3://logical/lake/events/enriched_x_0" {
		t.Errorf("location %s", tbl.Location())
	}
	for key := range l.server.Objects("lake") {
		if !strings.HasPrefix(key, "warehouse/events/enriched_x_0/") {
			t.Errorf("object %s", key)
		}
	}
}
