//go:build integration

package warehouse

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/apache/iceberg-go/table"
)

// realREST is a folder of a bucket and namespaces of its own, in the REST catalog that the environment names (Iceberg's own server, say), whose tables may lie in the store that S3_ENDPOINT names.
func realREST(t *testing.T) *lake {
	t.Helper()
	url := os.Getenv("REST_CATALOG_URL")
	if url == "" {
		t.Skip("REST_CATALOG_URL is not set: this test needs a catalog that speaks Iceberg's REST protocol, with access to S3_ENDPOINT")
	}
	name := strings.ToLower(rand.Text())[:10]
	l := realLake(t, "millrace-warehouse-test", "warehouse-rest-"+name, "none")
	l.catalog, l.namespaces = url, "rest_"+name+"_"
	w := l.open(t)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		names, err := w.Tables(ctx)
		if err != nil {
			t.Error(err)
		}
		for _, n := range names {
			if err := w.Drop(ctx, n); err != nil {
				t.Error(err)
			}
		}
		for _, n := range Namespaces {
			if err := w.cat.DropNamespace(ctx, table.Identifier{l.namespaces + n}); err != nil {
				t.Error(err)
			}
		}
	})
	return l
}

// Guards against a server of the REST protocol that behaves otherwise than ours of the unit tests: Iceberg's own, in Java.
func TestConformanceOnRealREST(t *testing.T) {
	t.Run("conformance", func(t *testing.T) { conformance(t, realREST(t)) })
	t.Run("columns", func(t *testing.T) { columnsAreAdded(t, realREST(t)) })
	t.Run("many committers", func(t *testing.T) { manyCommitters(t, realREST(t)) })
	t.Run("second committer", func(t *testing.T) { secondCommitterLoses(t, realREST) })
	t.Run("fetch", func(t *testing.T) { fetchColumns(t, realREST(t)) })
}

// Guards against a real server whose answer for a table without its metadata reads as "there is no such table": it would be made anew with the new rows alone.
func TestDamagedOnRealREST(t *testing.T) {
	l := realREST(t)
	w := l.open(t)
	tbl := ensure(t, w, events, spec())
	spoil(t, l, w, tbl.ice.MetadataLocation(), nil)
	_, err := l.open(t).Load(t.Context(), events)
	t.Log(err)
	if err == nil || errors.Is(err, ErrNoTable) {
		t.Errorf("got %v", err)
	}
}
