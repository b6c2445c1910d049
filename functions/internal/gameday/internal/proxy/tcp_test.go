package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// echo answers each line with itself, and tells how many it got.
func echo(t *testing.T) (address string, got chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got = make(chan string, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for in := bufio.NewReader(conn); ; {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					got <- line
					if _, err := io.WriteString(conn, line); err != nil {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return l.Addr().String(), got
}

func newTCP(t *testing.T) (*TCP, chan string) {
	t.Helper()
	target, got := echo(t)
	p, err := NewTCP(t.Context(), "127.0.0.1:0", target, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, got
}

func dial(t *testing.T, p *TCP) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func set(t *testing.T, p *TCP, mode Mode) {
	t.Helper()
	if err := p.Set(t.Context(), mode); err != nil {
		t.Fatal(err)
	}
}

func say(t *testing.T, conn net.Conn, line string) string {
	t.Helper()
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		t.Fatal(err)
	}
	got, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A proxy that is to refuse must cut open connections and take no new ones, on the same port afterwards: else a row of the table shows nothing.
func TestRefuse(t *testing.T) {
	p, _ := newTCP(t)
	conn := dial(t, p)
	if got := say(t, conn, "one"); got != "one\n" {
		t.Fatalf("got %q", got)
	}
	set(t, p, Refuse)
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("an open connection: %v, want a reset", err)
	}
	if c, err := net.Dial("tcp", p.Address()); err == nil {
		c.Close()
		t.Error("a new connection is taken")
	}
	set(t, p, Pass)
	if got := say(t, dial(t, p), "two"); got != "two\n" {
		t.Errorf("afterwards %q", got)
	}
	if n := p.Refused.Load(); n != 1 {
		t.Errorf("%d open connections were reset, want 1", n)
	}
}

// What a proxy counts proves that a fault did something: a row must not be shown by what was counted for another, nor by a fault that met nobody.
func TestCounts(t *testing.T) {
	p, _ := newTCP(t)
	conn := dial(t, p)
	say(t, conn, "one")
	counts := func() [5]int64 {
		return [5]int64{p.Cuts.Load(), p.Refused.Load(), p.Away.Load(), p.Held.Load(), p.Slowed.Load()}
	}
	if got := counts(); got != [5]int64{} {
		t.Errorf("counted while it passes: %v", got)
	}
	set(t, p, Slow)
	say(t, conn, "slow")
	if got := counts(); got != [5]int64{4: 2} {
		t.Errorf("a request and its answer slowed: %v", got)
	}
	p.Forget()
	if got := counts(); got != [5]int64{} {
		t.Errorf("forgotten: %v", got)
	}
	nobody, err := NewTCP(t.Context(), "127.0.0.1:0", "127.0.0.1:1", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	if conn, err := net.Dial("tcp", nobody.Address()); err == nil { // it may be reset before that returns
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("an answer from nobody")
		}
		conn.Close()
	}
	if n := nobody.Away.Load(); n != 1 {
		t.Errorf("%d connections found nobody, want 1", n)
	}
}

// What hangs must not reach the server, and must go on afterwards without a byte missing.
func TestHang(t *testing.T) {
	p, got := newTCP(t)
	conn := dial(t, p)
	say(t, conn, "one")
	<-got
	set(t, p, Hang)
	late := dial(t, p)
	for _, c := range []net.Conn{conn, late} {
		if _, err := io.WriteString(c, "held\n"); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case line := <-got:
		t.Errorf("%q passed", line)
	case <-time.After(50 * time.Millisecond):
	}
	set(t, p, Pass)
	for _, c := range []net.Conn{conn, late} {
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "held\n" {
			t.Errorf("afterwards %q, %v", line, err)
		}
	}
	if n := p.Held.Load(); n != 2 {
		t.Errorf("%d pieces were held, want 2", n)
	}
}

// A cut must fall into an answer whose request the server has acted on: that is the case which doubles events.
func TestCut(t *testing.T) {
	p, got := newTCP(t)
	set(t, p, Cut)
	conn := dial(t, p)
	in := bufio.NewReader(conn)
	for n := 1; ; n++ {
		if n > cutWithin {
			t.Fatalf("not cut after %d answers", n)
		}
		if _, err := io.WriteString(conn, "hello\n"); err != nil {
			t.Fatal(err)
		}
		<-got
		line, err := in.ReadString('\n')
		if err == nil {
			continue
		}
		if len(line) >= len("hello\n") {
			t.Errorf("the whole answer came: %q", line)
		}
		break
	}
	if n := p.Cuts.Load(); n != 1 {
		t.Errorf("%d cuts", n)
	}
}
