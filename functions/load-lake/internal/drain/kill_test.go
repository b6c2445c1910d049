package drain_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/functions/load-lake/internal/drain"
	"millrace/shared/contract"
	"millrace/shared/kafka"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
	"millrace/shared/objectstore/objectstoretest"
)

// TestMain is the drain that TestKill kills and that benchmarks measure, where the environment says so.
func TestMain(m *testing.M) {
	if os.Getenv("DRAIN_TEST_BROKER") == "" {
		os.Exit(m.Run())
	}
	if err := child(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child() error {
	client, err := sarama.NewClient([]string{os.Getenv("DRAIN_TEST_BROKER")}, config())
	if err != nil {
		return err
	}
	b, err := objectstore.Open(objectstore.Config{
		Endpoint: os.Getenv("DRAIN_TEST_S3"), Region: "us-east-1", AccessKey: "key", SecretKey: "secret", Bucket: bucket, Attempts: 1,
	})
	if err != nil {
		return err
	}
	s := drain.Settings{Topic: "events.raw", Kind: landing.KindRaw, Limits: drain.Limits{Events: 8}}
	if kind := os.Getenv("DRAIN_TEST_KIND"); kind != "" { // a benchmark's
		s.Kind, s.Limits = kind, drain.Limits{}
	}
	contracts, err := contract.Embedded()
	if err != nil {
		return err
	}
	_, err = drain.New(s, kafka.NewReader(client), b, contracts, time.Now, slog.New(slog.DiscardHandler), nil).Drain(context.Background(), always)
	return err
}

// Guards exactly once through a real end of the process, by SIGKILL at each step of its second entry: nothing that it held in memory may be needed, and
// nothing that it left may count.
func TestKill(t *testing.T) {
	for _, c := range []struct {
		name  string
		log   bool // at the entry, else at the object
		fault objectstoretest.Fault
	}{
		{"before the object is written", false, objectstoretest.Cut},
		{"after the object is written", false, objectstoretest.WriteThenCut},
		{"before the entry is written", true, objectstoretest.Cut},
		{"after the entry is written", true, objectstoretest.WriteThenCut},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLake(t, "events.raw", 1)
			l.events(0, 30, 1)
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), "DRAIN_TEST_BROKER="+l.brokers[0], "DRAIN_TEST_S3="+l.s3.URL)
			started := make(chan struct{})
			wait := sync.OnceValue(func() error { return cmd.Wait() })
			puts := 0
			l.s3.Fail(func(method, _, key string) objectstoretest.Fault {
				if method != "PUT" || strings.HasPrefix(key, "landing/_log/") != c.log {
					return objectstoretest.Serve
				}
				if puts++; puts != 2 {
					return objectstoretest.Serve
				}
				<-started
				if err := cmd.Process.Kill(); err != nil {
					t.Error(err)
				}
				var exit *exec.ExitError
				if err := wait(); !errors.As(err, &exit) || exit.String() != "signal: killed" {
					t.Errorf("the drain ended with %v", err)
				}
				return c.fault
			})
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			close(started)
			if err := wait(); err == nil || puts != 2 {
				t.Fatalf("the drain was not killed: %v after %d writes", err, puts)
			}
			l.s3.Fail(nil)
			entries := 1
			if c.fault == objectstoretest.WriteThenCut && c.log {
				entries = 2
			}
			if x := l.landed(l.id()); len(x.entries) != entries || x.ids() != numbers(0, 8*entries) {
				t.Errorf("after the kill: %d entries, %s", len(x.entries), x.ids())
			}
			l.events(30, 4, 1)
			l.drain()
			if got := l.landed(l.id()).ids(); got != numbers(0, 34) {
				t.Errorf("got %s", got)
			}
		})
	}
}
