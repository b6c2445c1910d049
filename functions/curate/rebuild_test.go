//go:build cgo

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/functions/curate/internal/duck"
	"millrace/functions/curate/internal/ingest"
	"millrace/functions/curate/internal/jobmetrics"
	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/landing"
)

// Guards the whole run against one damaged table: its alarm is in the result and the metrics and the run fails, while another type's rows come all the way into its fact, and those of the damaged one stay as they were;
// the command that the alarm names brings the rest.
func TestRunWithADamagedTable(t *testing.T) {
	l := &lands{lake: newLake(t)}
	if err := borrow(l.dir); err != nil {
		t.Fatal(err)
	}
	l.land(t, "PageView", "AirQualitySensor")
	within := func(f func(s *session)) {
		t.Helper()
		s, err := open(t.Context(), io.Discard, false)
		if err != nil {
			t.Fatal(err)
		}
		f(s)
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
	within(func(s *session) {
		o := s.run(t.Context(), time.Minute)
		if err := o.failed(); err != nil || len(o.quality.Held) > 0 {
			t.Fatal(err, o.quality.Held)
		}
	})
	count := func(table string) string {
		t.Helper()
		var out, said bytes.Buffer
		if code := run(t.Context(), []string{"query", "--dir", l.dir, "--format", "csv", "select count(*) as n from " + table}, &out, &said); code != 0 {
			t.Fatalf("%s: %s", table, said.String())
		}
		return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(out.String()), "n"))
	}
	views, readings := count("star.fact_page_view"), count("star.fact_air_quality")
	name := warehouse.Name{Namespace: "events", Table: "enriched_pageview_0"}
	table, err := l.warehouse.Load(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	key, err := l.warehouse.Key(table.Iceberg().MetadataLocation())
	if err != nil {
		t.Fatal(err)
	}
	bucket, _ := l.warehouse.Store()
	if err := bucket.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	l.land(t, "PageView", "AirQualitySensor")
	within(func(s *session) {
		o := s.run(t.Context(), time.Minute)
		if err := o.failed(); err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "curate rebuild --table "+name.String()) {
			t.Errorf("the run: %v", err)
		}
		want := map[jobmetrics.Alarm]int64{{Topic: "events.enriched", Code: string(ingest.CodeDamaged), Stops: true}: 1}
		if got := o.metrics(); got.Succeeded || !maps.Equal(got.Alarms, want) {
			t.Errorf("metrics: %+v", got)
		}
		if got := strings.Join(o.models.Failed(), " "); got != "fact_page_view mart_page_view_daily" {
			t.Errorf("models that failed: %s", got)
		}
	})
	if got := count("star.fact_air_quality"); got == readings {
		t.Errorf("readings: %s as before", got)
	}
	files, err := bucket.List(t.Context(), "warehouse/star/fact_page_view/data/", "", 0)
	if err != nil || len(files) != 1 {
		t.Errorf("the damaged table's fact has %d files, %v", len(files), err)
	}
	var out, said bytes.Buffer
	if code := run(t.Context(), []string{"rebuild", "--dir", l.dir, "--table", name.String(), "--yes"}, &out, &said); code != 0 {
		t.Fatalf("rebuild: %s%s", out.String(), said.String())
	}
	within(func(s *session) {
		if err := s.run(t.Context(), time.Minute).failed(); err != nil {
			t.Errorf("made anew: %v", err)
		}
	})
	if got := count("star.fact_page_view"); got == views {
		t.Errorf("page views: %s as before", got)
	}
	if a, b := count("star.fact_page_view"), count(name.String()); a == "0" || b == "0" {
		t.Errorf("%s of %s", a, b)
	}
}

// lands writes entries of the log, with an object of ten rows of each type.
type lands struct {
	*lake
	tail landing.Entry
}

var payloads = map[string]string{"PageView": "{'url': '/x'}", "AirQualitySensor": "{'sensor_id': 's'}"}

func (l *lands) land(t *testing.T, types ...string) {
	t.Helper()
	bucket, _ := l.warehouse.Store()
	next := l.tail.Next()[0]
	e := landing.Entry{
		Version: landing.Version, Topic: "events.enriched", TopicID: "id", Sequence: l.tail.Sequence + 1, Drain: fmt.Sprintf("01890a5d-ac96-774b-bcce-%012d", l.tail.Sequence+1), Time: time.Unix(1_763_640_000, 0).UTC(),
		Partitions: []landing.Partition{{From: next, Next: next + int64(10*len(types))}},
	}
	for i, name := range types {
		from := next + int64(10*i)
		file := filepath.Join(t.TempDir(), "object.parquet")
		query := fmt.Sprintf(`select '%s' as event_type, '0-0-1' as schema_version, 'root-' || i as root_id, cast(i as varchar) as id, '/test' as source, 'hash' as data_hash, cast(null as bigint) as replay_count,
			timestamptz '2025-11-20 12:00:00+00' as collector_tstamp, cast(0 as integer) as kafka_partition, cast(i as bigint) as kafka_offset, timestamptz '2025-11-20 12:00:00+00' as kafka_timestamp, cast(null as varchar) as _rescued, %s as payload
			from range(%d, %d) as t(i)`, name, payloads[name], from, from+10)
		if err := l.db.Exec(t.Context(), "copy ("+query+") to "+duck.Literal(file)+" (format parquet)"); err != nil {
			t.Fatal(err)
		}
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		key := landing.Place{Kind: landing.KindEnriched, Type: name, Model: "0", Day: "2025-11-20", Drain: e.Drain, N: i}.Key()
		if err := bucket.Put(t.Context(), key, body); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(body)
		e.Objects = append(e.Objects, landing.Object{Key: key, Kind: landing.KindEnriched, Type: name, Rows: 10, Bytes: int64(len(body)), SHA256: hex.EncodeToString(sum[:])})
	}
	if err := landing.Open(bucket, e.Topic, e.TopicID).Append(t.Context(), l.tail, e); err != nil {
		t.Fatal(err)
	}
	l.tail = e
}
