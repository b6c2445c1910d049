package functions_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// noRoom has curate run over the landing log with a scratch directory that is too small, in several sizes, and then with one that is not: each time it says what is missing and commits nothing by halves, and in the
// end the tables are what they would have been.
func (s *system) noRoom(t *testing.T) {
	clean := curate{s: s, name: "roomy"}
	if _, err := clean.run("run"); err != nil {
		t.Fatal(err)
	}
	want, err := clean.contents()
	if err != nil {
		t.Fatal(err)
	}
	c := curate{s: s, name: "narrow"}
	scratch := filepath.Join(s.dir, c.name, "scratch")
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, size := range []string{"16k", "64k", "256k", "512k", "1m"} {
		curate := c.command(t.Context(), "run", "--dir", filepath.Join(s.dir, "data"))
		// A file system of its own, which no other process sees, is what a user may make in a namespace of theirs.
		command := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", `mount -t tmpfs -o size="$0" scratch "$SCRATCH" || exit 77; exec "$@"`, size, curate.Path}, curate.Args[1:]...)...)
		command.Env = curate.Env
		command.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
		var told bytes.Buffer
		command.Stderr = &told
		err := command.Run()
		switch {
		case command.ProcessState == nil, command.ProcessState.ExitCode() == 77:
			t.Skipf("this machine allows no file system of our own: %v %s", err, told.String())
		case err == nil:
			t.Logf("%s were enough", size)
			continue
		}
		failed++
		if text := told.String(); strings.Count(text, "The scratch directory "+scratch+" is full: give it more room") != 1 {
			t.Errorf("with %s: %v\n%s", size, err, text)
		}
		got, err := c.contents()
		if err != nil && !strings.Contains(err.Error(), "there are no tables") {
			t.Fatalf("with %s: %v", size, err)
		}
		for _, name := range []string{"ops.landing", "events.enriched_yellowtaxitriprecords_0", "star.fact_trip"} {
			if rows := got[name]; rows != "" && !strings.HasPrefix(rows, "0 ") && rows != want[name] {
				t.Errorf("with %s: %s is half done: %s, want %s", size, name, rows, want[name])
			}
		}
	}
	if failed == 0 {
		t.Error("each size was enough: nothing was tested")
	}
	if _, err := c.run("run"); err != nil {
		t.Fatal(err)
	}
	got, err := c.contents()
	if err != nil {
		t.Fatal(err)
	}
	differing(t, "after runs without room", want, got)
}
