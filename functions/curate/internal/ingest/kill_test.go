package ingest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"millrace/functions/internal/pipeline"
	"millrace/shared/objectstore/objectstoretest"
)

// The variables by which TestKilled tells the process that it starts what to do.
const killStore, killCatalog = "INGEST_TEST_STORE", "INGEST_TEST_CATALOG"

// killStep is 1 where the process is to die at every write, in both ways, which takes half a minute.
var killStep = 5

// TestProcess is no test but the process that TestKilled kills: one run.
func TestProcess(t *testing.T) {
	store := os.Getenv(killStore)
	if store == "" {
		t.Skip("only TestKilled starts this")
	}
	l := &lake{t: t, catalog: os.Getenv(killCatalog), url: store}
	l.public, l.private = l.bucket("public"), l.bucket("private")
	l.know()
	l.must()
}

// Guards exactly once against the death of the process itself, at every request that writes, before it is served and after: the next run makes tables that are equal, row by row, to those of a run that
// nobody disturbed.
func TestKilled(t *testing.T) {
	t.Parallel()
	const state = `select 'a', count(*), sum(hash(a)) from events.enriched_a_0 as a union all select 'b', count(*), sum(hash(b)) from events.enriched_b_0 as b
		union all select 'o', count(*), sum(hash(o)) from ops.landing as o order by 1`
	l := newLake(t)
	l.land(enriched, plain("A", 3), plain("B", 2))
	l.land(enriched, plain("B", 4))
	l.land(deadOnes, deadObject("x"))
	fresh := func() { l.catalog = "sqlite://" + t.TempDir() + "/catalog.db" }
	before := l.s3.Requests("PUT")
	l.must()
	writes := l.s3.Requests("PUT") - before
	want := l.query(state)
	faults := []objectstoretest.Fault{objectstoretest.Cut, objectstoretest.WriteThenCut}
	for n := 1; n <= writes; n += killStep {
		if killStep > 1 {
			faults[0], faults[1] = faults[1], faults[0]
		}
		for _, fault := range faults[:min(2, 1+1/killStep)] {
			fresh()
			if err := l.runKilled(n, fault); err == nil {
				t.Fatalf("the process was not killed at write %d of %d", n, writes)
			}
			if res := l.must(); len(res.Alarms) > 0 {
				t.Errorf("write %d: %v", n, res.Alarms)
			}
			if got := l.query(state); got != want {
				t.Errorf("killed at write %d (%d)\ngot\n%s\nwant\n%s", n, fault, got, want)
			}
		}
	}
}

// runKilled runs an ingest in a process of its own, which dies at its nth write.
func (l *lake) runKilled(n int, fault objectstoretest.Fault) error {
	l.t.Helper()
	command := exec.CommandContext(l.t.Context(), os.Args[0], "-test.run=^TestProcess$", "-test.timeout=60s")
	command.Env = append(os.Environ(), killStore+"="+l.s3.URL, killCatalog+"="+l.catalog)
	command.SysProcAttr = pipeline.Dependent()
	var said strings.Builder
	command.Stdout, command.Stderr = &said, &said
	var started sync.WaitGroup
	started.Add(1)
	killed := error(nil)
	l.s3.Fail(func(method, _, _ string) objectstoretest.Fault {
		if method != "PUT" {
			return objectstoretest.Serve
		}
		if n--; n > 0 {
			return objectstoretest.Serve
		}
		if n == 0 {
			started.Wait()
			killed = command.Process.Kill()
			return fault
		}
		return objectstoretest.Cut // it is dead
	})
	err := command.Start()
	started.Done()
	if err != nil {
		l.t.Fatal(err)
	}
	err = command.Wait()
	l.s3.Fail(nil)
	var exit *exec.ExitError
	if killed != nil || err != nil && (!errors.As(err, &exit) || exit.Exited()) {
		l.t.Fatal(fmt.Errorf("%w, %w: %s", killed, err, said.String()))
	}
	return err
}
