package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Guards against a library's warnings among what the command says, and against a crash that nobody sees once those are gone.
func TestOwnStderrLeavesOutWarningsAndKeepsCrashes(t *testing.T) {
	if os.Getenv("PRODUCE_TEST_CRASH") != "" {
		own, err := ownStderr()
		if err != nil {
			panic(err)
		}
		println("parquet: warning")
		fmt.Fprintln(own, "said")
		panic("crashed")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "PRODUCE_TEST_CRASH=1")
	var errs strings.Builder
	cmd.Stderr = &errs
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) {
		t.Fatalf("got %v", err)
	}
	if got := errs.String(); !strings.HasPrefix(got, "said\n") || !strings.Contains(got, "crashed") || !strings.Contains(got, "goroutine") || strings.Contains(got, "parquet") {
		t.Errorf("standard error: %s", got)
	}
}
