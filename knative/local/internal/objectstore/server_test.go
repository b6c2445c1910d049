package objectstore_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/knative/local/internal/objectstore"
	s3 "millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// owner is the variable by which this test's own binary becomes a process that owns a store: directory and address.
const owner = "MILLRACE_TEST_OBJECTSTORE"

const accessKey, secretKey = "millrace", "a secret of the test"

func TestMain(m *testing.M) {
	objectstore.Main()
	if v := os.Getenv(owner); v != "" {
		dir, addr, _ := strings.Cut(v, "|")
		if _, err := objectstore.Start(context.Background(), objectstore.Options{Dir: dir, Listen: addr, AccessKey: accessKey, SecretKey: secretKey}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func start(t *testing.T, dir, addr string, o objectstore.Options) *objectstore.Server {
	t.Helper()
	o.Dir, o.Listen, o.AccessKey, o.SecretKey = dir, addr, accessKey, secretKey
	s, err := objectstore.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stop(t *testing.T, s *objectstore.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func config(addr string) s3.Config {
	return s3.Config{Endpoint: "http://" + addr, Region: "us-east-1", AccessKey: accessKey, SecretKey: secretKey, Bucket: "millrace"}
}

func bucket(t *testing.T, addr string) *s3.Bucket {
	t.Helper()
	b, err := s3.Open(config(addr))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Guards that the store is one that the landing log can stand on, by the suite that real stores pass too, and that it says nothing while it works.
func TestConformance(t *testing.T) {
	var log bytes.Buffer
	s := start(t, t.TempDir(), freeAddr(t), objectstore.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	objectstoretest.Store(t, config(s.Addr()), objectstoretest.Embedded)
	stop(t, s)
	if log.Len() > 0 {
		t.Errorf("it said: %s", log.String())
	}
}

// Guards the data: after a SIGKILL of the process that owns the store, the child is gone too, its address free, and every object that was answered for is there, also those
// written by If-None-Match, which are still refused a second time.
func TestSurvivesSIGKILLOfItsOwner(t *testing.T) {
	dir, addr := t.TempDir(), freeAddr(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), owner+"="+dir+"|"+addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the owner said %q, %v", line, err)
	}
	b := bucket(t, addr)
	if err := b.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for i := range 50 {
		key := fmt.Sprintf("landing/_log/events.raw/id/%020d.json", i)
		want[key] = strings.Repeat(strconv.Itoa(i), 1000)
		if err := b.PutIfAbsent(t.Context(), key, []byte(want[key])); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it says "signal: killed"
	awaitFree(t, addr)

	s := start(t, dir, addr, objectstore.Options{})
	defer stop(t, s)
	for key, body := range want {
		if got, err := b.Get(t.Context(), key); err != nil || string(got) != body {
			t.Errorf("%s: %d bytes, %v", key, len(got), err)
		}
		if err := b.PutIfAbsent(t.Context(), key, []byte("other")); err == nil {
			t.Errorf("%s was written a second time", key)
		}
	}
	if l, err := b.List(t.Context(), "landing/", "", 0); err != nil || len(l) != len(want) {
		t.Errorf("%d objects, %v", len(l), err)
	}
}

// awaitFree waits until the address can be listened on: the child is no child of ours, so nobody tells of its end.
func awaitFree(t *testing.T, addr string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); <-tick.C {
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return
		}
	}
	t.Fatalf("%s is still in use: the store outlived its owner", addr)
}

// Guards the two mistakes that a user can make with its address and directory, and that a failed start leaves nothing running.
func TestStartRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	_, err = objectstore.Start(t.Context(), objectstore.Options{Dir: t.TempDir(), Listen: addr, AccessKey: accessKey, SecretKey: secretKey})
	if err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("port in use: %v", err)
	}
	var log bytes.Buffer
	_, err = objectstore.Start(t.Context(), objectstore.Options{Dir: t.TempDir(), Listen: freeAddr(t), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err == nil || !strings.Contains(log.String(), "root user") {
		t.Errorf("no keys: %v; it said %s", err, log.String())
	}
}

// Guards that a store which ends by itself is noticed, and that one which was closed is not reported.
func TestExited(t *testing.T) {
	exited := make(chan error, 2)
	s := start(t, t.TempDir(), freeAddr(t), objectstore.Options{Exited: func(err error) { exited <- err }})
	if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-exited; err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("told %v", err)
	}
	s = start(t, t.TempDir(), freeAddr(t), objectstore.Options{Exited: func(err error) { exited <- err }})
	stop(t, s)
	if len(exited) > 0 {
		t.Errorf("told of a close: %v", <-exited)
	}
}
