package objectstore

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
)

// A line of the child that is longer than a buffer, such as a stack trace or a request it quotes, must not end the reading: the child's next line would kill it.
func TestALongLineDoesNotEndTheReading(t *testing.T) {
	r, w := io.Pipe()
	var logged bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		relay(r, slog.New(slog.NewTextHandler(&logged, nil)))
		_ = r.Close() // as the platform closes its end: a writer then gets an error
	}()
	for _, line := range []string{"first\n", strings.Repeat("x", 3*maxLine) + "\n", "last\n"} {
		if _, err := io.WriteString(w, line); err != nil {
			t.Fatalf("the child could not write: %v", err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	if got := logged.String(); !strings.Contains(got, "msg=first") || !strings.Contains(got, "msg=last") || strings.Count(got, "x") < 3*maxLine {
		t.Errorf("%d bytes logged, the end: %s", len(got), got[max(0, len(got)-200):])
	}
}
