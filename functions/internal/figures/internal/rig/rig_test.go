//go:build linux

package rig

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// Guards whose processor time and memory are told: the process that listens on an address, by host and port as well as by URL, and nobody's where none does.
func TestListener(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	for _, a := range []string{address, "http://" + address, "http://" + address + "/"} {
		if pid := Listener(a); pid != os.Getpid() {
			t.Errorf("%s: process %d, not %d", a, pid, os.Getpid())
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if pid := Listener(address); pid != 0 {
		t.Errorf("process %d listens on a closed port", pid)
	}
}

// Guards the reading of /proc: a process that works uses processor time, and has memory.
func TestProcess(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for n, used := 0, before; used-before < 20e6; n++ { // 20 ms
		if used, err = CPU(os.Getpid()); err != nil {
			t.Fatal(err)
		}
		if n > 1e6 {
			t.Fatal("no processor time was used")
		}
	}
	if mib, err := Memory(os.Getpid()); err != nil || mib < 1 || mib > 10_000 {
		t.Errorf("%g MiB, %v", mib, err)
	}
	if _, err := CPU(-1); err == nil {
		t.Error("no process, and no error")
	}
}

// Guards the count by which a stage's end is known: only the counter asked for, only with the label, all its lines.
func TestCounter(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Error("the process would compress its metrics, on the figures' account")
		}
		_, _ = w.Write([]byte("# TYPE x_total counter\nx_total{kind=\"a\",outcome=\"done\"} 2\nx_total{kind=\"b\",outcome=\"done\"} 3e+06\nx_total{kind=\"b\",outcome=\"dead\"} 5\nx_total_more{outcome=\"done\"} 7\n"))
	}))
	defer s.Close()
	p := &Process{Address: strings.TrimPrefix(s.URL, "http://")}
	if n, err := p.Counter(t.Context(), "x_total", `outcome="done"`); err != nil || n != 3_000_002 {
		t.Errorf("%g, %v", n, err)
	}
}
