package main

import (
	"strings"
	"testing"

	"millrace/shared/usage"
)

// Guards the help, which says of every variable what it is, and that a typing error on the command line starts nothing.
func TestHelp(t *testing.T) {
	for line := range strings.Lines(usage.Variables(config{})) {
		if strings.HasSuffix(line, " \n") {
			t.Errorf("no description: %q", line)
		}
	}
	if err := run(t.Context(), []string{"-prot"}); err == nil || !strings.Contains(err.Error(), `unknown argument "-prot"`) {
		t.Errorf("an unknown argument: %v", err)
	}
	if err := run(t.Context(), []string{"--help"}); err != nil {
		t.Errorf("--help: %v", err)
	}
}
