//go:build cgo

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/functions/curate/internal/duck"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// perEntry is how many events load-lake puts into one entry of the log at most.
const perEntry = 200_000

// tripsSQL is n made-up trips from number `first` on, in the columns of load-lake's objects. One in 200 is a copy of the one before it. Their pick-ups are in the month of the first of them,
// which is what a producer sends in a day.
const tripsSQL = `select cast(null as varchar) as _rescued, 'collect-00001' as collector_id, arrived as collector_tstamp, 'application/json' as content_type, sha256('p' || k) as data_hash,
	'urn:millrace:contract:YellowTaxiTripRecords:0-0-1' as data_schema,
	{'dropoff_borough': ['Manhattan','Queens','Brooklyn','Bronx','EWR'][d %% 5 + 1], 'dropoff_service_zone': ['Yellow Zone','Boro Zone','Airports'][d %% 3 + 1], 'dropoff_zone': 'Zone ' || d,
		'notes': cast(null as varchar[]), 'pickup_borough': ['Manhattan','Queens','Brooklyn','Bronx','EWR'][p %% 5 + 1], 'pickup_service_zone': ['Yellow Zone','Boro Zone','Airports'][p %% 3 + 1], 'pickup_zone': 'Zone ' || p} as enrichment,
	'YellowTaxiTripRecords' as event_type, cast(null as varchar) as extensions, cast(k as varchar) as id, cast(null as varchar) as kafka_headers, cast(null as blob) as kafka_key,
	cast(i as bigint) as kafka_offset, cast(0 as integer) as kafka_partition, arrived as kafka_timestamp, root as partition_key,
	{'airport_fee': (k %% 12 = 0)::int * 1.25::double, 'congestion_surcharge': 2.5::double, 'dolocationid': d::bigint, 'extra': [0, 0.5, 1, 2.5][k %% 4 + 1]::double, 'fare_amount': fare, 'improvement_surcharge': 1::double,
		'mta_tax': 0.5::double, 'passenger_count': (k %% 6)::double, 'payment_type': (h // 77 %% 4 + 1)::bigint, 'pulocationid': p::bigint, 'ratecodeid': (case when k %% 30 = 0 then 2 else 1 end)::bigint,
		'store_and_fwd_flag': case when k %% 150 = 0 then 'Y' else 'N' end, 'tip_amount': round(fare * (h // 1000 %% 30) / 100, 2), 'tolls_amount': (k %% 15 = 0)::int * 6.55::double, 'total_amount': round(fare * 1.2 + 4, 2),
		'tpep_dropoff_datetime': pickup + to_seconds(300 + h %% 2400), 'tpep_pickup_datetime': pickup, 'trip_distance': round((h // 7 %% 2000) / 100.0, 2)::double, 'vendorid': (k %% 2 + 1)::bigint} as payload,
	cast(null as bigint) as replay_count, cast(null as varchar) as replay_id, root as root_id, '0-0-1' as schema_version, '/produce/yellow_tripdata.parquet' as source, 'enriched' as stage,
	cast(null as varchar) as subject, cast(null as timestamptz) as time, cast(null as varchar) as version_assumed
from (select i, k, h, h // 3 %% 265 + 1 as p, h // 5 %% 265 + 1 as d, round(3 + (h // 11 %% 6000) / 100.0, 2)::double as fare,
	timestamp '%s' + to_seconds((k - %d) * 2678400 // %d) as pickup, timestamptz '%s+00' + to_milliseconds((i - %d) * 40) as arrived,
	substr(m, 1, 8) || '-' || substr(m, 9, 4) || '-5' || substr(m, 14, 3) || '-8' || substr(m, 18, 3) || '-' || substr(m, 21, 12) as root
	from (select i, k, cast(hash(k) >> 8 as bigint) as h, md5('r' || k) as m from (select i, case when i %% 200 = 199 then i - 1 else i end as k from range(%d, %d) t(i))) order by i)`

// field is a landing area of made-up trips, the warehouse beside it, and what is needed to run curate over it as a process of its own.
type field struct {
	b      *testing.B
	store  *objectstoretest.Server
	bucket *objectstore.Bucket
	db     *duck.DB
	dir    string
	tail   landing.Entry
	trips  int
}

func newField(b *testing.B) *field {
	b.Helper()
	f := &field{b: b, store: objectstoretest.NewServer("millrace", "millrace-private"), dir: b.TempDir()}
	b.Cleanup(f.store.Close)
	c := f.store.Config("millrace", 1)
	var err error
	if f.bucket, err = objectstore.Open(c); err != nil {
		b.Fatal(err)
	}
	if f.db, err = duck.Open(b.Context(), duck.Options{Memory: 512 << 20, Scratch: b.TempDir()}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := f.db.Close(); err != nil {
			b.Error(err)
		}
	})
	for name, value := range map[string]string{
		"S3_ENDPOINT": c.Endpoint, "S3_REGION": c.Region, "AWS_ACCESS_KEY_ID": c.AccessKey, "AWS_SECRET_ACCESS_KEY": c.SecretKey, "CATALOG_URL": "sqlite://" + f.dir + "/catalog.db",
		"SCRATCH": filepath.Join(f.dir, "scratch"), "LOG_LEVEL": "warn",
	} {
		b.Setenv(name, value)
	}
	return f
}

// land adds n trips that arrive on the day, with pick-ups in the month.
func (f *field) land(n int, day, month time.Time) {
	f.b.Helper()
	for left := n; left > 0; left -= perEntry {
		rows := min(left, perEntry)
		seq := f.tail.Sequence + 1
		e := landing.Entry{
			Version: landing.Version, Topic: "events.enriched", TopicID: "bench", Sequence: seq, Drain: fmt.Sprintf("01890a5d-ac96-774b-bcce-%012d", seq), Time: day.Add(time.Hour),
			Partitions: []landing.Partition{{From: int64(f.trips), Next: int64(f.trips + rows)}},
		}
		file := filepath.Join(f.dir, "landing.parquet")
		first := f.trips - (n - left)
		query := fmt.Sprintf(tripsSQL, month.Format(time.DateTime), first, n, day.Format(time.DateTime), f.trips, f.trips, f.trips+rows)
		if err := f.db.Exec(f.b.Context(), "copy ("+query+") to "+duck.Literal(file)+" (format parquet, parquet_version v2, compression zstd, row_group_size 65536)"); err != nil {
			f.b.Fatal(err)
		}
		body, err := os.ReadFile(file)
		if err != nil {
			f.b.Fatal(err)
		}
		key := landing.Place{Kind: landing.KindEnriched, Type: "YellowTaxiTripRecords", Model: "0", Day: day.Format(time.DateOnly), Drain: e.Drain}.Key()
		if err := f.bucket.Put(f.b.Context(), key, body); err != nil {
			f.b.Fatal(err)
		}
		sum := sha256.Sum256(body)
		e.Objects = []landing.Object{{Key: key, Kind: landing.KindEnriched, Type: "YellowTaxiTripRecords", Rows: int64(rows), Bytes: int64(len(body)), SHA256: hex.EncodeToString(sum[:])}}
		if err := landing.Open(f.bucket, e.Topic, e.TopicID).Append(f.b.Context(), f.tail, e); err != nil {
			f.b.Fatal(err)
		}
		f.tail = e
		f.trips += rows
	}
}

// cost is what a run of curate took, as its own process tells.
type cost struct {
	CPU, Wall time.Duration
	MaxRSS    int64 // bytes
	Steps     []stepCost
}

type stepCost struct {
	Name      string
	CPU, Wall time.Duration
}

// childVariable makes the test's program be curate: a process of its own has memory and processor time of its own.
const childVariable = "MILLRACE_BENCH_CHILD"

// run runs `curate run` in a process of its own, once, and reports what it took under the name, if there is one.
func (f *field) run(name string) {
	f.b.Helper()
	program, err := os.Executable()
	if err != nil {
		f.b.Fatal(err)
	}
	cmd := exec.CommandContext(f.b.Context(), program, "-test.run=^TestBenchChild$")
	cmd.Env = append(os.Environ(), childVariable+"="+filepath.Join(f.dir, "cost.json"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.b.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(f.dir, "cost.json"))
	if err != nil {
		f.b.Fatalf("%v\n%s", err, out)
	}
	var c cost
	if err := json.Unmarshal(text, &c); err != nil {
		f.b.Fatal(err)
	}
	if name == "" {
		return
	}
	f.b.Run(name, func(b *testing.B) { // which is called until its time is up, and always tells the one run
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(c.CPU.Seconds(), "cpu-s")
		b.ReportMetric(c.Wall.Seconds(), "wall-s")
		b.ReportMetric(float64(c.MaxRSS)/(1<<20), "MiB-max")
		for _, s := range c.Steps {
			b.ReportMetric(s.CPU.Seconds(), s.Name+"-cpu-s")
		}
	})
	f.b.Logf("%s: %.2f s of CPU, %.2f s, %d MiB; %+v\n%s", name, c.CPU.Seconds(), c.Wall.Seconds(), c.MaxRSS>>20, c.Steps, out)
}

// TestBenchChild is no test but the process that a benchmark measures.
func TestBenchChild(t *testing.T) {
	name := os.Getenv(childVariable)
	if name == "" {
		t.Skip("this is the child of a benchmark")
	}
	c, err := measured(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// measured does what runRun does, and says what it took.
func measured(ctx context.Context) (_ cost, err error) {
	start := time.Now()
	s, err := open(ctx, os.Stderr, false)
	if err != nil {
		return cost{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	unlock, err := s.warehouse.Lock(ctx)
	if err != nil {
		return cost{}, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	o := s.run(ctx, 15*time.Minute)
	before := used()
	if err := errors.Join(o.failed(), s.publish(ctx, o)); err != nil {
		return cost{}, err
	}
	c := cost{CPU: used(), Wall: time.Since(start)}
	for _, step := range o.steps {
		c.Steps = append(c.Steps, stepCost{step.name, step.cpu, step.wall})
	}
	c.Steps = append(c.Steps, stepCost{Name: "publish", CPU: used() - before})
	status, err := os.ReadFile("/proc/self/status") // of this image alone; rusage counts the parent's memory at the start
	if err != nil {
		return cost{}, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			if err != nil {
				return cost{}, err
			}
			c.MaxRSS = kib << 10
		}
	}
	return c, nil
}

var benchDay = time.Date(2026, 11, 20, 6, 0, 0, 0, time.UTC)

// BenchmarkMillion is one million new trips from landing to committed star schema, and then a run with nothing new.
func BenchmarkMillion(b *testing.B) {
	f := newField(b)
	f.land(1_000_000, benchDay, time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC))
	f.run("new")
	f.run("nothing new")
	out, err := f.count(b.Context())
	b.Logf("rows: %s, %v", out, err)
}

// BenchmarkGrowth is what another million costs on tables of 0, 1, 2, 4 and 8 million, with pick-ups in a month of its own each (days) or all in one month (same days).
func BenchmarkGrowth(b *testing.B) {
	for _, name := range []string{"days", "same days"} {
		f := newField(b)
		for n := 0; n <= 8; n++ {
			month := time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)
			if name == "days" {
				month = month.AddDate(0, n, 0)
			}
			f.land(1_000_000, benchDay.AddDate(0, 0, n), month)
			label := ""
			if n == 0 || n == 1 || n == 2 || n == 4 || n == 8 {
				label = fmt.Sprintf("%s/%d million", name, n)
			}
			f.run(label)
		}
		f.run(name + "/nothing new")
	}
}

// count tells the tables' rows.
func (f *field) count(ctx context.Context) (string, error) {
	var out strings.Builder
	err := runQuery(ctx, []string{"--format", "csv", `select "table", "rows" from millrace_tables`}, &out, io.Discard)
	return strings.ReplaceAll(out.String(), "\r\n", " "), err
}
