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
	s    *system
	name string
}

func (c curate) command(ctx context.Context, args ...string) *exec.Cmd {
	dir := filepath.Join(c.s.dir, c.name)
	command := exec.CommandContext(ctx, filepath.Join(c.s.dir, "data", "bin", "curate"), args...)
	command.Env = slices.Clone(c.s.environment)
	if c.name == "" {
		return command
	}
	command.Env = append(command.Env, "CATALOG_URL=sqlite://"+filepath.Join(dir, "catalog.db"), "WAREHOUSE_PREFIX=lake-"+c.name, "SCRATCH="+filepath.Join(dir, "scratch"))
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
}

// curated waits until each query gives its number.
func (s *system) curated(want map[string]int) {
	s.t.Helper()
	for what, n := range want {
		s.eventually(what, func() error {
			rows, err := curate{s, ""}.query(what)
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
	clean := curate{s, "clean"}
	began := time.Now()
	if _, err := clean.run("run"); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(began)
	want, err := clean.contents()
	if err != nil {
		t.Fatal(err)
	}
	for point := range points {
		c := curate{s, fmt.Sprintf("killed%d", point)}
		if err := os.MkdirAll(filepath.Join(s.dir, c.name), 0o755); err != nil {
			t.Fatal(err)
		}
		after := time.Duration(rand.Int64N(int64(whole)))
		command := c.command(t.Context(), "run", "--dir", filepath.Join(s.dir, "data"))
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- command.Wait() }()
		killed := false
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("point %d: curate ended before it was killed: %v", point, err)
			}
		case <-time.After(after):
			killed = true
			if err := command.Process.Signal(syscall.SIGKILL); err != nil {
				t.Logf("point %d: %v", point, err)
			}
			<-ended
		}
		if _, err := c.run("run"); err != nil {
			t.Fatalf("point %d, killed after %s: the next run: %v", point, after, err)
		}
		got, err := c.contents()
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(got, want) {
			for _, name := range slices.Sorted(maps.Keys(want)) {
				if got[name] != want[name] {
					t.Errorf("point %d, killed (%t) after %s: %s is\n%s\nwithout a kill\n%s", point, killed, after, name, got[name], want[name])
				}
			}
		}
		t.Logf("point %d: killed (%t) after %s of %s", point, killed, after, whole)
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
