//go:build cgo

package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// Guards the age of the last success against a lock that is stuck: a run that finds it taken pushes no metrics, says by whom and since when, and counts as a success only while the other one may be at work.
func TestBusy(t *testing.T) {
	pushed := 0
	gateway := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { pushed++ }))
	defer gateway.Close()
	l := newLake(t)
	t.Setenv("PUSHGATEWAY_URL", gateway.URL)
	unlock, err := l.warehouse.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	holder := fmt.Sprintf("process %d on %s", os.Getpid(), host)
	since := func(text string) {
		t.Helper()
		if err := os.WriteFile(l.dir+"/catalog.db.lake.lock", []byte(text), 0o600); err != nil { // as the process that holds it does
			t.Fatal(err)
		}
	}
	f := func(name string, want int, words ...string) {
		t.Helper()
		var said bytes.Buffer
		if code := run(t.Context(), []string{"run", "--dir", l.dir, "--patience", "10m"}, &said, &said); code != want {
			t.Errorf("%s: ended with %d: %s", name, code, said.String())
		}
		for _, w := range append(words, "another run is at work") {
			if !strings.Contains(said.String(), w) {
				t.Errorf("%s: %s lacks %s", name, said.String(), w)
			}
		}
	}
	f("as it was taken", 0, holder, `"level":"WARN"`)
	short := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	since(holder + "\n" + short + "\n")
	f("just begun", 0, holder, `"level":"WARN"`, short)
	long := time.Now().Add(-11 * time.Minute).UTC().Format(time.RFC3339)
	since(holder + "\n" + long + "\n")
	f("stuck", 1, holder, long, "11m")
	since("")
	f("nobody knows", 1)
	if pushed > 0 {
		t.Errorf("metrics were pushed %d times", pushed)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	if code := run(t.Context(), []string{"run", "--dir", l.dir}, &said, &said); code != 0 || pushed == 0 {
		t.Errorf("free again: %d, %d pushes: %s", code, pushed, said.String())
	}
}
