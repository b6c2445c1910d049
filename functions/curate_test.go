package functions_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// curate is the binary of curate, with a lake of its own beside the platform's where it has a name: the same landing log, another catalog and prefix.
type curate struct {
	s           *system
	name        string
	environment []string // beside the system's, and before it
}

func (c curate) command(ctx context.Context, args ...string) *exec.Cmd {
	dir := filepath.Join(c.s.dir, c.name)
	command := exec.CommandContext(ctx, filepath.Join(c.s.dir, "data", "bin", "curate"), args...)
	command.Env = slices.Clone(c.s.environment)
	if c.name == "" {
		return command
	}
	command.Env = append(command.Env, "CATALOG_URL=sqlite://"+filepath.Join(dir, "catalog.db"), "WAREHOUSE_PREFIX=lake-"+c.name, "SCRATCH="+filepath.Join(dir, "scratch"))
	command.Env = append(command.Env, c.environment...)
	return command
}

// run runs a command to its end and returns what it wrote.
func (c curate) run(args ...string) (string, error) {
	var out, told bytes.Buffer
	if err := os.MkdirAll(filepath.Join(c.s.dir, c.name), 0o755); err != nil {
		return "", err
	}
	command := c.command(c.s.t.Context(), append(args, "--dir", filepath.Join(c.s.dir, "data"))...)
	command.Stdout, command.Stderr = &out, &told
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("curate %v: %w: %s", args, err, told.String())
	}
	return out.String(), nil
}

// query returns the rows of an answer.
func (c curate) query(sql string) ([][]string, error) {
	out, err := c.run("query", "--format", "csv", sql)
	if err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(rows) == 0 {
		return nil, fmt.Errorf("answer %q: %w", out, err)
	}
	return rows[1:], nil
}

// contents are the number of rows and their hashes of all tables whose content is a function of the landing log; what a run says of itself is not.
func (c curate) contents() (map[string]string, error) {
	tables, err := c.query("select table_schema || '.' || table_name from information_schema.tables order by 1")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, t := range tables {
		name := t[0]
		switch {
		case strings.HasPrefix(name, "events."), strings.HasPrefix(name, "star."), name == "ops.landing", name == "ops.conflicts", name == "ops.near_duplicates":
			all = append(all, fmt.Sprintf("select '%s', count(*), bit_xor(hash(x)), sum(hash(x) %% 1000003) from %s x", name, name))
		default:
		}
	}
	out := map[string]string{}
	if len(all) == 0 {
		return nil, errors.New("there are no tables")
	}
	rows, err := c.query(strings.Join(all, " union all "))
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		out[r[0]] = strings.Join(r[1:], " ")
	}
	return out, nil
}

// withCurate skips where curate cannot be built.
func withCurate(t *testing.T) {
	t.Helper()
	if !compiled {
		t.Skip("curate is left out: it needs a C compiler")
	}
}

// An event that collect accepted has to be in the star schema once, however often it was sent, or among the dead letters; and whatever kills curate, wherever it is, the next run has
// to bring the tables to what they would have been.
func TestCurate(t *testing.T) {
	if testing.Short() {
		t.Skip("runs for minutes")
	}
	s := newSystem(t)
	withCurate(t)
	s.flags = append(s.flags, "-cron", "2s", "-feed", "3000")
	s.start()
	for range 2 { // the second time they are copies, in topics of their own offsets
		if _, err := s.send(t.Context(), trips("copies", 500)); err != nil {
			t.Fatal(err)
		}
	}
	_, enriched, dead := s.reconcile()
	s.curated(map[string]int{
		"select count(*) from fact_trip":                          len(enriched),
		"select count(distinct root_id) from fact_trip":           len(enriched),
		"select cast(sum(trips) as bigint) from mart_trip_daily":  len(enriched),
		"select cast(sum(trips) as bigint) from mart_trip_hourly": len(enriched),
		"select count(distinct root_id) from events.dead":         len(rootsOf(dead)),
		"select count(*) from ops.landing where lost > 0":         0,
	})
	t.Run("killed", func(t *testing.T) { s.killed(t, points) })
	t.Run("no room", s.noRoom)
}

// curated waits until each query gives its number.
func (s *system) curated(want map[string]int) {
	s.t.Helper()
	for what, n := range want {
		s.eventually(what, func() error {
			rows, err := curate{s: s}.query(what)
			if err == nil && (len(rows) == 0 || rows[0][0] != strconv.Itoa(n)) {
				err = fmt.Errorf("%v, want %d", rows, n)
			}
			return err
		})
	}
}

// points is at how many random points curate is killed; the integration tests take twenty.
const points = 3

func (s *system) killed(t *testing.T, points int) {
	clean := curate{s: s, name: "clean"}
	began := time.Now()
	if _, err := clean.run("run"); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(began)
	want, err := clean.contents()
	if err != nil {
		t.Fatal(err)
	}
	same := func(c curate, what string) {
		t.Helper()
		got, err := c.contents()
		if err != nil {
			t.Fatal(err)
		}
		differing(t, what, want, got)
	}
	for point := range points {
		c := curate{s: s, name: fmt.Sprintf("killed%d", point)}
		same(c, c.killedIn(t, whole, "run"))
	}
	// What those runs left is made anew and tidied up: that changes no row, killed or not.
	rows, err := clean.query("select min(arrival_date), max(arrival_date) from events.enriched_yellowtaxitriprecords_0")
	if err != nil || len(rows) != 1 {
		t.Fatalf("days of arrival: %v, %v", rows, err)
	}
	for _, args := range [][]string{{"backfill", "--from", rows[0][0], "--to", rows[0][1]}, {"maintain", "--yes"}, {"models", "run", "--full-refresh"}} {
		began := time.Now()
		if _, err := clean.run(args...); err != nil {
			t.Fatal(err)
		}
		whole := time.Since(began)
		same(clean, strings.Join(args, " "))
		for point := range min(points, 3) {
			c := curate{s: s, name: fmt.Sprintf("killed%d", point)}
			same(c, c.killedIn(t, whole, args...))
		}
	}
}

// killedIn starts a command, ends it by SIGKILL at a random time of the whole that it takes, and runs it again to its end. It returns what was done.
func (c curate) killedIn(t *testing.T, whole time.Duration, args ...string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(c.s.dir, c.name), 0o755); err != nil {
		t.Fatal(err)
	}
	after := time.Duration(rand.Int64N(int64(whole)))
	what := fmt.Sprintf("%s, %s", c.name, strings.Join(args, " "))
	command := c.command(t.Context(), append(args, "--dir", filepath.Join(c.s.dir, "data"))...)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	killed := false
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("%s ended before it was killed: %v", what, err)
		}
	case <-time.After(after):
		killed = true
		if err := command.Process.Signal(syscall.SIGKILL); err != nil {
			t.Logf("%s: %v", what, err)
		}
		<-ended
	}
	what = fmt.Sprintf("%s, killed (%t) after %s of %s", what, killed, after.Round(time.Millisecond), whole.Round(time.Millisecond))
	if _, err := c.run(args...); err != nil {
		t.Fatalf("%s: again: %v", what, err)
	}
	t.Log(what)
	return what
}

// differing fails the test for each table whose content is another.
func differing(t *testing.T, what string, want, got map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s: %s is\n%s, and should be\n%s", what, name, got[name], want[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %s is there, and should not be", what, name)
		}
	}
}

// rootsOf are the root ids of dead letters' keys.
func rootsOf(dead map[string]int) map[string]bool {
	out := map[string]bool{}
	for key := range dead {
		id, _, _ := strings.Cut(key, " ")
		out[id] = true
	}
	return out
}
