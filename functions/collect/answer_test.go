package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"millrace/shared/serve"
)

// pipes is a listener whose connections are in memory and hold nothing, so that an answer that is not read is not written, and synctest's clock holds for them.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// Guards everybody against who sends and does not read the answers: two such connections took all the room for bodies, for good.
func TestUnreadAnswersHoldNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		ctx, signal := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- serve.Run(ctx, serve.Config{Listener: l, Logger: slog.New(slog.DiscardHandler)}, r.h)
		}()
		send := func(body string) net.Conn {
			t.Helper()
			client, server := net.Pipe()
			l.conns <- server
			if _, err := fmt.Fprintf(client, "POST /api/v1/collect HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
				t.Fatal(err)
			}
			return client
		}
		one := `{"event_type":"T","schema_version":"0-0-1","payload":"` + strings.Repeat("x", 1500) + `"}`
		many := "[" + strings.Repeat(one+",", 9_999) + one + "]"
		began := time.Now()
		mute := []net.Conn{send(many), send(many)}
		synctest.Wait() // both answers stand in the way
		if got := len(r.raw.events); got != 20_000 {
			t.Fatalf("%d events taken, want 20,000", got)
		}
		if held := r.admission.Held(); held != 0 {
			t.Errorf("%d bytes held while answers are not read", held)
		}
		client := send(many)
		answer, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, answer.Body); answer.StatusCode != 200 || err != nil {
			t.Errorf("another producer was answered %d, %d bytes, %v", answer.StatusCode, n, err)
		}
		_ = client.Close()
		for _, c := range mute {
			time.Sleep(time.Minute) // synctest's clock
			if n, err := io.Copy(io.Discard, c); err != nil || n > 64<<10 {
				t.Errorf("after %s an answer that nobody read still comes: %d bytes, %v", time.Since(began), n, err)
			}
		}
		signal()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
