package kafka

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/delivery"
	"millrace/shared/event"
)

// wire is a dialer whose connections can be cut for good, as those of a process that is killed.
type wire struct {
	mu    sync.Mutex
	conns []net.Conn
	dead  bool
}

func (w *wire) Dial(network, address string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return nil, errors.New("killed")
	}
	c, err := net.DialTimeout(network, address, 5*time.Second)
	if err == nil {
		w.conns = append(w.conns, c)
	}
	return c, err
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = true
	for _, c := range w.conns {
		_ = c.Close()
	}
}

// Guards a function that is killed and started anew under its name: a static member has its partitions back before the session's time is over, as a dynamic one has not; and one that ends in order
// leaves its group, so that one of another name need not wait either.
func TestIntakeStaticMember(t *testing.T) {
	brokers, _ := newCluster(t, "t")
	const (
		session   = 6 * time.Second // the least that brokers allow
		heartbeat = time.Second     // the session was last seen so long before a kill, at most
	)
	n := 0
	start := func(instance string) (w *wire, stop func()) {
		t.Helper()
		w = &wire{}
		seen := make(chan string, 1000)
		_, stop = runIntake(t, brokers, delivery.HandlerFunc(func(_ context.Context, events []*event.Event) delivery.Outcomes {
			for _, e := range events {
				seen <- e.ID()
			}
			return doneAll(events)
		}), func(o *IntakeOptions) {
			o.Instance = instance
			change := o.Config
			o.Config = func(s *sarama.Config) {
				change(s)
				s.Consumer.Group.Session.Timeout = session
				s.Net.Proxy.Enable, s.Net.Proxy.Dialer = true, w
			}
		})
		writeEvents(t, brokers, "t", n, 20)
		n += 20
		receive(t, seen)
		return w, stop
	}
	w, killedOne := start("a")
	killed := time.Now()
	w.cut()
	_, stop := start("a")
	if gone := time.Since(killed); gone >= session-heartbeat {
		t.Errorf("a member of the same name had its partitions %s after the kill", gone)
	}
	killedOne()
	ended := time.Now()
	stop()
	w, killedOne = start("b")
	if gone := time.Since(ended); gone >= session-heartbeat {
		t.Errorf("after an end in order a member of another name had its partitions %s later", gone)
	}
	killed = time.Now()
	w.cut()
	_, stop = start("c")
	if gone := time.Since(killed); gone < session-heartbeat {
		t.Errorf("after a kill a member of another name had its partitions %s later: the test shows nothing", gone)
	}
	killedOne()
	stop()
}
