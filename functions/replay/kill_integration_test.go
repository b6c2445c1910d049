//go:build integration

package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"millrace/shared/event"
	"millrace/shared/kafka"
)

// journalled is how much the journals of a plan hold.
func journalled(t *testing.T, plan string) (n int64) {
	t.Helper()
	journals, err := filepath.Glob(plan + ".*.journal")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range journals {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

// Guards a replay whose process is killed by SIGKILL, again and again, at points that nobody chose: the same command goes on, every event is sent, and what is sent more than once is the same event, of one batch for
// each kill at most.
func TestKilledForGood(t *testing.T) {
	s := withServers(t, 2)
	s.build()
	const n, rate = 600, 100
	var letters []*event.Event
	for i := range n {
		letters = append(letters, letter(raw(s, strconv.Itoa(i), trip), "enrich", event.CodeDeliveryExhausted))
	}
	for _, err := range s.producer.Sink(s.dead).Publish(s.Context(), letters) {
		s.must(err)
	}
	file := filepath.Join(s.dir, "plan.json")
	if r := s.replay("plan", "--no-search", "-o", file); r.code != 0 {
		t.Fatal(r.stderr)
	}
	kills := 0
	for done := false; !done; {
		if kills == 60 {
			t.Fatal("killed sixty times, and not through")
		}
		cmd := exec.Command(s.replayPath, "apply", "--rate", strconv.Itoa(rate), file)
		var told bytes.Buffer
		cmd.Stderr = &told
		s.must(cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		if kills%2 == 1 { // once it has settled something: a busy machine may take longer than that to start it
			before := journalled(t, file)
			s.eventually("something is settled", func() bool {
				return journalled(t, file) > before || len(ended) > 0
			})
		}
		kill := time.NewTimer(time.Duration(100+rand.IntN(1500)) * time.Millisecond)
		select {
		case err := <-ended:
			if done = err == nil; !done {
				t.Fatalf("%v: %s", err, told.String())
			}
		case <-kill.C:
			s.must(cmd.Process.Signal(syscall.SIGKILL))
			<-ended
			kills++
		}
		kill.Stop()
	}
	sent, copies := map[string]string{}, 0
	reader := kafka.NewReader(s.client)
	for _, partition := range []int32{0, 1} {
		for from := int64(0); ; {
			batch, err := reader.Fetch(s.Context(), s.raw, partition, from, 8<<20)
			s.must(err)
			for _, m := range batch.Records {
				e, err := kafka.Decode(m)
				s.must(err)
				if before, twice := sent[e.ID()]; twice {
					copies++
					if before != e.String() {
						t.Errorf("event %s was sent as two:\n%s\n%s", e.ID(), before, e)
					}
				}
				sent[e.ID()] = e.String()
			}
			if from = batch.Next; from >= batch.Stable {
				break
			}
		}
	}
	if len(sent) != n || copies > kills*rate/2 || kills < 2 {
		t.Errorf("%d of %d events, and %d once more after %d kills", len(sent), n, copies, kills)
	}
	t.Logf("%d kills, %d events sent once more", kills, copies)
	if r := s.replay("apply", file); r.code != 0 {
		t.Errorf("once more: %s", r.stderr)
	}
}
