//go:build integration && cgo

package models_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/trinodb/trino-go-client/trino" // the driver trino

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/model"
	"millrace/functions/curate/models"
	"millrace/functions/curate/models/sample"
)

// both is the two engines, each with the tables in a schema of its own.
type both struct {
	t     *testing.T
	duck  *duck.DB
	trino *sql.DB
}

func newBoth(t *testing.T) *both {
	raw := os.Getenv("TRINO_URL")
	if raw == "" {
		t.Skip("TRINO_URL is not set: this test compares DuckDB with a Trino that has a catalog lake")
	}
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("millrace")
	schema := "millrace_models_" + strings.ToLower(rand.Text()[:8])
	u.RawQuery = url.Values{"catalog": {"lake"}, "schema": {schema}}.Encode()
	b := &both{t: t}
	if b.trino, err = sql.Open("trino", u.String()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := b.trino.ExecContext(ctx, "create schema "+schema); err != nil {
		t.Fatal(err)
	}
	if b.duck, err = duck.Open(ctx, duck.Options{Memory: 512 << 20, Threads: 1, Scratch: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := b.trino.ExecContext(ctx, "drop schema "+schema+" cascade"); err != nil {
			t.Error(err)
		}
		if err := b.trino.Close(); err != nil {
			t.Error(err)
		}
		if err := b.duck.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// make has each engine make the table of the query, columns cast to their types. Tables have no schema in either.
func (b *both) make(ctx context.Context, name, query string, columns []model.Column) {
	b.t.Helper()
	spell := func(types map[string]string) string {
		parts := []string{}
		for _, c := range columns {
			typ := c.Type
			if s, ok := types[typ]; ok {
				typ = s
			}
			parts = append(parts, "cast("+c.Name+" as "+typ+") as "+c.Name)
		}
		if len(parts) == 0 {
			parts = []string{"*"}
		}
		return "create table " + name + " as select " + strings.Join(parts, ", ") + " from (" + query + "\n) q"
	}
	if err := b.duck.Exec(ctx, spell(nil)); err != nil {
		b.t.Fatalf("DuckDB, %s: %v", name, err)
	}
	if _, err := b.trino.ExecContext(ctx, spell(map[string]string{"timestamp": "timestamp(6)", "timestamptz": "timestamp(6) with time zone"})); err != nil {
		b.t.Fatalf("Trino, %s: %v", name, err)
	}
}

// compare reads the table from both, and reports rows that differ.
func (b *both) compare(ctx context.Context, name string, columns []string) {
	b.t.Helper()
	query := "select " + strings.Join(columns, ", ") + " from " + name
	var left, right []string
	line := func(row []any) string {
		var w strings.Builder
		for i, v := range row {
			w.WriteString(columns[i] + "=" + canonical(v) + "|")
		}
		return w.String()
	}
	err := b.duck.Rows(ctx, query, func(_ []string, row []any) error {
		left = append(left, line(row))
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	rows, err := b.trino.QueryContext(ctx, query)
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	values, to := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		to[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			b.t.Fatal(err)
		}
		right = append(right, line(values))
	}
	if err := rows.Err(); err != nil {
		b.t.Fatal(err)
	}
	if len(left) == 0 || len(left) != len(right) {
		b.t.Errorf("%s: %d rows by DuckDB, %d by Trino", name, len(left), len(right))
	}
	slices.Sort(left)
	slices.Sort(right)
	shown := 0
	for i := range min(len(left), len(right)) {
		if left[i] != right[i] && shown < 3 {
			b.t.Errorf("%s differs\nDuckDB %s\nTrino  %s", name, left[i], right[i])
			shown++
		}
	}
}

func canonical(v any) string {
	switch v := v.(type) {
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return fmt.Sprint(v)
}

// A model that the engines answer differently would change its tables with the engine: each is computed by both on the same rows, whatever those hold.
func TestModelsAreTheSameOnBothEngines(t *testing.T) {
	b := newBoth(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for _, s := range sample.Sources() {
		b.make(ctx, s.Table, s.Query(1, 3000), nil)
		b.compare(ctx, s.Table, []string{"root_id", "data_hash", "replay_count", "kafka_partition", "kafka_offset", "kafka_timestamp", "arrival_date", "landing_sequence", "payload is null"})
	}
	set, err := model.Load(models.Files)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range set.Models() {
		var columns []string
		for _, c := range m.Columns {
			columns = append(columns, c.Name)
		}
		b.make(ctx, m.Name, strings.ReplaceAll(m.SQL, "from events.", "from "), m.Columns)
		b.compare(ctx, m.Name, columns)
	}
}
