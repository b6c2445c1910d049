//go:build integration

package functions_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/trinodb/trino-go-client/trino" // database/sql's driver of Trino
)

// byTrino returns a curate whose models Trino computes, with namespaces of its own in the catalog that Trino has; they go with the test.
func (s *system) byTrino(t *testing.T) (curate, *sql.DB) {
	t.Helper()
	address, catalog := os.Getenv("TRINO_URL"), os.Getenv("CATALOG_URL")
	if address == "" || catalog == "" {
		t.Skip("TRINO_URL and CATALOG_URL are not both set: this test needs a Trino and its catalog")
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("millrace")
	prefix := s.names.Bucket + "_"
	c := curate{s: s, name: "trino", environment: []string{"CATALOG_URL=" + catalog, "NAMESPACE_PREFIX=" + prefix, "ENGINE=trino", "TRINO_URL=" + u.String(), "LOG_LEVEL=debug", "LOG_FORMAT=text"}}
	db, err := sql.Open("trino", u.String()+"?catalog=lake")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(s.cleanup(), 2*time.Minute)
		defer cancel()
		for _, schema := range []string{"events", "ops", "star", "stage"} {
			if _, err := db.ExecContext(ctx, `drop schema if exists lake."`+prefix+schema+`" cascade`); err != nil {
				t.Error(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, db
}

// killedAt starts a run and ends it by SIGKILL once it has logged n lines with the text.
func (c curate) killedAt(t *testing.T, text string, n int) {
	t.Helper()
	command := c.command(t.Context(), "run", "--dir", filepath.Join(c.s.dir, "data"))
	told, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(told)
	lines.Buffer(nil, 1<<20)
	killed := false
	for !killed && lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			n--
		}
		if killed = n == 0; killed {
			if err := command.Process.Signal(syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}
	err = command.Wait()
	if !killed || command.ProcessState.Success() {
		t.Fatalf("the run ended before it was killed, with %d lines %q still to come: %v", n, text, err)
	}
}

// Guards the other engine where it matters, in the whole run and not in the models alone: the landing log of the real pipeline gives the same tables by Trino as by DuckDB, after a kill in the middle, after a
// run with nothing new, and after a replay of everything.
func TestCurateByTrino(t *testing.T) {
	data, err := filepath.Abs("../../shared/data")
	if err != nil {
		t.Fatal(err)
	}
	trips, views := filepath.Join(data, "nyc_taxi/yellow_tripdata_2023-01_first100k.parquet"), filepath.Join(data, "clickstream/nasa_19950801.tsv")
	for _, file := range []string{trips, views} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("the real data is not here: %v", err)
		}
	}
	s := newSystemOnServers(t)
	withCurate(t)
	s.flags = append(s.flags, "-cron", "0", "-feed", "0")
	byTrino, db := s.byTrino(t)
	byDuck := curate{s: s, name: "duck"}
	s.start()
	for file, n := range map[string]int{trips: 2000, views: 200} {
		out, err := exec.CommandContext(t.Context(), filepath.Join(s.dir, "produce"), "--collect", "http://"+s.listen, "-m", fmt.Sprint(n), "-s", "0", "--batch", "200", file).CombinedOutput()
		if err != nil {
			t.Fatalf("produce: %v\n%s", err, out)
		}
	}
	s.reconcile()

	if err := os.MkdirAll(filepath.Join(s.dir, byTrino.name), 0o755); err != nil {
		t.Fatal(err)
	}
	// Behind five INSERTs some dimensions are committed, and a fact lies half in the stage.
	byTrino.killedAt(t, `sql="insert into `, 5)
	alike := func(what string) (rows map[string]string) {
		t.Helper()
		began := time.Now()
		for _, c := range []curate{byDuck, byTrino} {
			if _, err := c.run("run"); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			t.Logf("%s: by %s in %s", what, c.name, time.Since(began).Round(100*time.Millisecond))
			began = time.Now()
		}
		want, err := byDuck.contents()
		if err != nil {
			t.Fatal(err)
		}
		got, err := byTrino.contents()
		if err != nil {
			t.Fatal(err)
		}
		differing(t, what, want, got)
		for name, content := range want {
			n, _, _ := strings.Cut(content, " ")
			schema, table, _ := strings.Cut(name, ".")
			var counted string
			if err := db.QueryRowContext(t.Context(), `select cast(count(*) as varchar) from lake."`+s.names.Bucket+"_"+schema+`"."`+table+`"`).Scan(&counted); err != nil {
				t.Fatal(err)
			}
			if counted != n {
				t.Errorf("%s: Trino counts %s rows in %s, DuckDB %s", what, counted, name, n)
			}
		}
		return want
	}
	first := alike("after a kill")
	if n, _, _ := strings.Cut(first["star.fact_trip"], " "); n != "2000" {
		t.Errorf("%s trips of 2000", n)
	}
	byTrino.shown(t)
	differing(t, "with nothing new", first, alike("with nothing new"))

	s.replayed()
	s.reconcile()
	replayed := alike("after a replay")
	for _, name := range []string{"star.fact_trip", "star.fact_page_view"} {
		was, _, _ := strings.Cut(first[name], " ")
		is, _, _ := strings.Cut(replayed[name], " ")
		if was != is || first[name] == replayed[name] {
			t.Errorf("%s was %s, and after a replay of everything is %s: want as many rows, and others", name, first[name], replayed[name])
		}
	}
	rows, err := byTrino.query("select min(replay_count), max(replay_count), count(*), count(distinct root_id) from fact_trip")
	if err != nil || len(rows) != 1 || strings.Join(rows[0], " ") != "1 1 2000 2000" {
		t.Errorf("after the replay: %v, %v", rows, err)
	}
	differing(t, "with nothing new after the replay", replayed, alike("with nothing new after the replay"))
	var left int
	if err := db.QueryRowContext(t.Context(), `select count(*) from lake.information_schema.tables where table_schema = '`+s.names.Bucket+`_stage'`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d tables are left in the stage, %v", left, err)
	}
}

// shown imports the dashboards over curate's own tables, and has every chart answer.
func (c curate) shown(t *testing.T) {
	t.Helper()
	superset := os.Getenv("SUPERSET_URL")
	if superset == "" {
		t.Log("SUPERSET_URL names no Superset: no dashboard is looked at")
		return
	}
	password := filepath.Join(c.s.dir, "superset-password")
	if err := os.WriteFile(password, []byte(os.Getenv("SUPERSET_ADMIN_PASSWORD")), 0o600); err != nil {
		t.Fatal(err)
	}
	dashboards := func(command string, more ...string) string {
		t.Helper()
		args := append([]string{"dashboards", command, "--url", superset, "--user", os.Getenv("SUPERSET_ADMIN_USER"), "--password-file", password, "--trino-url", os.Getenv("TRINO_URL"), "--schema-prefix", c.s.names.Bucket + "_"}, more...)
		out, err := c.command(t.Context(), args...).Output()
		if err != nil {
			told := ""
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				told = string(exit.Stderr)
			}
			t.Fatalf("dashboards %s: %v\n%s%s", command, err, out, told)
		}
		return string(out)
	}
	dashboards("import")
	defer dashboards("remove", "--yes")
	var charts []struct {
		Chart, State string
		Rows         int
	}
	if err := json.Unmarshal([]byte(dashboards("check", "--empty-ok", "--format", "json")), &charts); err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for _, chart := range charts {
		rows[chart.Chart] = chart.Rows
	}
	if len(charts) < 20 {
		t.Errorf("%d charts: %v", len(charts), charts)
	}
	for _, name := range []string{"Trips", "Revenue", "Trips by payment", "Trips by hour of pick-up", "Busiest pick-up zones", "Boroughs", "Events taken in", "Flow by topic", "Quality by dimension", "Service levels now"} {
		if rows[name] == 0 {
			t.Errorf("the chart %q shows nothing of curate's own tables: %v", name, rows)
		}
	}
}

// replayed sends all raw events again as replays.
func (s *system) replayed() {
	s.t.Helper()
	key, secret, err := s.credentials()
	if err != nil {
		s.t.Fatal(err)
	}
	plan := filepath.Join(s.dir, "plan.json")
	for _, args := range [][]string{{"plan", "-o", plan, "--source", "raw", "--from", "1h"}, {"apply", plan}} {
		cmd := exec.CommandContext(s.t.Context(), filepath.Join(s.dir, "replay"), args...)
		cmd.Env = slices.Concat(s.environment, []string{
			"KAFKA_BROKERS=" + strings.Join(s.brokers, ","), "ELASTICSEARCH_URL=" + s.es, "S3_ENDPOINT=" + s.s3, "AWS_ACCESS_KEY_ID=" + key, "AWS_SECRET_ACCESS_KEY=" + secret,
			"S3_BUCKET=" + s.names.Bucket, "S3_BUCKET_PRIVATE=" + s.names.Private, "INDEX_PREFIX=" + s.names.IndexPrefix,
			"TOPIC_RAW=" + s.names.Raw, "TOPIC_ENRICHED=" + s.names.Enriched, "TOPIC_DEAD=" + s.names.Dead,
		})
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Fatalf("replay %v: %v\n%s", args, err, out)
		}
	}
}
